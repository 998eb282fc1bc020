//! Recorded changes decided again, on logs made by hand.

use quorate_base::{NodeId, Offset, Uuid};
use quorate_controller::ControllerConfig;
use quorate_metadata::Image;
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::{
    BrokerRegistrationChangeRecord, FeatureLevelRecord, NoOpRecord, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord, TopicRecord,
};
use quorate_protocol::{KStr, MetadataRecord};
use quorate_shadow::redecide::{Redecided, Redecider};

const TOPIC: Uuid = Uuid::from_u128(5000);

/// Brokers 1 and 2; ELR is on.
fn cluster(partitions: &[(&[NodeId], &[NodeId])]) -> Image {
    let mut image = Image::empty();
    let mut apply = |record: MetadataRecord| image.apply(&record).expect("applies");
    let version = MetadataVersion::LATEST_PRODUCTION.level();
    for (name, feature_level) in
        [("metadata.version", version), ("eligible.leader.replicas.version", 1)]
    {
        let name = KStr::from(name);
        apply(FeatureLevelRecord { name, feature_level, ..Default::default() }.into());
    }
    for broker_id in [1, 2] {
        apply(
            RegisterBrokerRecord {
                broker_id,
                broker_epoch: 100,
                incarnation_id: Uuid::from_u128(1000 + broker_id as u128),
                fenced: false,
                log_dirs: vec![Uuid::from_u128(2000 + broker_id as u128)],
                ..Default::default()
            }
            .into(),
        );
    }
    apply(TopicRecord { name: KStr::from("t"), topic_id: TOPIC, ..Default::default() }.into());
    for (partition_id, (replicas, isr)) in (0..).zip(partitions) {
        let directories = replicas.iter().map(|id| Uuid::from_u128(2000 + *id as u128)).collect();
        let (replicas, isr) = (replicas.to_vec(), isr.to_vec());
        let leader = isr[0];
        apply(
            PartitionRecord {
                partition_id,
                topic_id: TOPIC,
                replicas,
                isr,
                leader,
                directories,
                ..Default::default()
            }
            .into(),
        );
    }
    image
}

/// Each batch decided again over the state that the ones before lead to.
fn decided_again(mut image: Image, batches: &[Vec<MetadataRecord>]) -> Redecided {
    let mut redecider = Redecider::new(ControllerConfig::default());
    let mut offset: Offset = 500;
    for batch in batches {
        let records: Vec<(Offset, MetadataRecord)> = (offset..).zip(batch.clone()).collect();
        redecider.batch(&image, &records);
        batch.iter().for_each(|record| image.apply(record).expect("applies"));
        offset += batch.len() as Offset;
    }
    redecider.result().clone()
}

fn isr(partition_id: i32, isr: &[NodeId]) -> PartitionChangeRecord {
    let isr = Some(isr.to_vec());
    PartitionChangeRecord { partition_id, topic_id: TOPIC, isr, ..Default::default() }
}

/// The partition's only replica is gone, and would be its leader again.
fn alone_and_gone(partition_id: i32, broker: NodeId) -> PartitionChangeRecord {
    PartitionChangeRecord {
        leader: -1,
        eligible_leader_replicas: Some(vec![broker]),
        last_known_elr: Some(vec![broker]),
        ..isr(partition_id, &[])
    }
}

fn fenced(broker_id: NodeId) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord { broker_id, broker_epoch: 100, fenced: 1, ..Default::default() }
}

#[test]
fn a_partition_that_came_to_the_broker_just_before_belongs_to_its_fencing() {
    let image = cluster(&[(&[1, 2], &[1]), (&[2], &[2])]);
    let joins = vec![isr(0, &[1, 2]).into()];
    let fencing = vec![
        NoOpRecord::default().into(),
        alone_and_gone(1, 2).into(),
        isr(0, &[1]).into(),
        fenced(2).into(),
    ];
    for batches in [
        vec![joins.clone(), fencing.clone()],
        // Both in one batch, as Kafka's accumulator may put them.
        vec![[joins, fencing[1..].to_vec()].concat()],
    ] {
        let found = decided_again(image.clone(), &batches);
        assert_eq!(found.otherwise, []);
        let agreed: Vec<_> = found.agreed.into_iter().collect();
        assert_eq!(agreed, [("ISR change", 1), ("broker fenced", 2)]);
    }
}

#[test]
fn a_fencing_that_forgot_a_partition_is_named() {
    let image = cluster(&[(&[1, 2], &[1, 2]), (&[2], &[2])]);
    let found = decided_again(image, &[vec![alone_and_gone(1, 2).into(), fenced(2).into()]]);
    assert_eq!((found.otherwise_count, found.otherwise.len()), (1, 1));
    let it = &found.otherwise[0];
    assert_eq!((it.offset, it.what.as_str()), (501, "broker 2 fenced"));
    assert!(it.theirs.is_empty() && it.ours.len() == 1, "{it:?}");
    assert!(it.ours[0].starts_with("t-0: "), "{it:?}");
}
