//! Partitions are lawful: the ISR and the ELR are replicas and do not overlap, the leader is in the
//! ISR, leader and partition epochs only grow, the ELR is empty while the ISR is large enough, and a
//! fenced broker is in no ISR, unless it is the last in it and leads nothing.
//!
//! Source: KIP-841 (fenced replicas leave the ISR), KIP-966; `ValidControllerState` and
//! `ValidControllerIsrAndElr` of the kip-966 TLA+ module.

use quorate_base::Offset;
use quorate_metadata::{ConfigResource, Image, Partition};

/// From one committed state to the next.
pub fn lawful(older: &Image, newer: &Image, offset: Offset) {
    let diff = older.diff(newer);
    for change in diff.partitions() {
        if let (Some(before), Some(after)) = (change.old, change.new) {
            let grows = after.leader_epoch() >= before.leader_epoch()
                && after.partition_epoch() > before.partition_epoch();
            let moved = after.leader() != before.leader();
            assert!(
                grows && (!moved || after.leader_epoch() > before.leader_epoch()),
                "PARTITIONS: before offset {offset}: epochs do not grow from {before:?} to {after:?}"
            );
        }
        if let Some(after) = change.new {
            well_formed(after, offset);
            elr_is_needed(after, newer, offset);
            fenced_is_out(after, newer, offset);
        }
    }
    if diff.brokers().next().is_some() {
        for topic in newer.topics.iter_by_id() {
            for (_, partition) in newer.topics.partitions(topic.id) {
                fenced_is_out(partition, newer, offset);
            }
        }
    }
}

fn well_formed(partition: &Partition, offset: Offset) {
    let on = |id: &i32| partition.replicas().contains(id);
    let isr = partition.isr();
    let ok = isr.iter().all(on)
        && partition.elr().iter().all(on)
        && partition.elr().iter().all(|id| !isr.contains(id))
        && partition.leader().is_none_or(|leader| isr.contains(&leader));
    assert!(ok, "PARTITIONS: before offset {offset}: {partition:?} is not lawful");
}

/// With `min.insync.replicas` in the ISR, no other replica is sure to have all that is committed.
fn elr_is_needed(partition: &Partition, image: &Image, offset: Offset) {
    let cluster = ConfigResource::default_broker();
    let min_insync = image.configs.value(&cluster, "min.insync.replicas");
    let min_insync = min_insync.map_or(1, |text| text.parse().expect("a checked number"));
    let enough = partition.isr().len() >= min_insync.min(partition.replicas().len());
    assert!(
        !enough || partition.elr().is_empty(),
        "PARTITIONS: before offset {offset}: {partition:?} has an ELR beside an ISR of {min_insync}"
    );
}

fn fenced_is_out(partition: &Partition, image: &Image, offset: Offset) {
    for id in partition.isr() {
        let fenced = image.cluster.broker(*id).is_none_or(|broker| broker.fenced);
        let last = partition.isr().len() == 1;
        assert!(
            !fenced || (last && partition.leader().is_none()),
            "PARTITIONS: before offset {offset}: fenced broker {id} is in the ISR of {partition:?}"
        );
    }
}
