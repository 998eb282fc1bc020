//! Partitions are lawful: the ISR and the ELR are replicas and do not overlap, the leader is in the
//! ISR, leader and partition epochs only grow, and a fenced broker is in no ISR, unless it is the last
//! in it and leads nothing.
//!
//! Source: KIP-841 (fenced replicas leave the ISR), KIP-966; `ValidControllerState` and
//! `ValidControllerIsrAndElr` of the kip-966 TLA+ module.

use quorate_base::Offset;
use quorate_metadata::{Image, Partition};

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
