//! The topic `foo`, its partitions and the brokers they are on.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::desk::Desk;
use quorate_base::{NodeId, Uuid};
use quorate_metadata::Partition;
use quorate_protocol::records::{PartitionRecord, RegisterBrokerRecord};

pub const FOO: Uuid = Uuid::from_u128(0xf00);

pub fn directory(broker: NodeId, which: u128) -> Uuid {
    Uuid::from_u128(2000 + 10 * broker as u128 + which)
}

pub fn broker(id: NodeId, fenced: bool, in_controlled_shutdown: bool) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: id,
        broker_epoch: 100 + i64::from(id),
        incarnation_id: Uuid::from_u128(1000 + id as u128),
        fenced,
        in_controlled_shutdown,
        log_dirs: vec![directory(id, 0), directory(id, 1)],
        ..Default::default()
    }
}

/// Brokers 1 to 3 live, 4 fenced, 5 in controlled shutdown; `foo` without partitions.
pub fn desk() -> Desk {
    at(Desk::at(30))
}

pub fn at(mut desk: Desk) -> Desk {
    for (id, fenced, leaving) in [
        (1, false, false),
        (2, false, false),
        (3, false, false),
        (4, true, false),
        (5, false, true),
    ] {
        desk.apply(broker(id, fenced, leaving));
    }
    desk.context.api_version = 3;
    desk
}

/// Adds a partition of `foo`, led by the first of its ISR.
pub fn with_partition(desk: &mut Desk, index: i32, replicas: &[NodeId], isr: &[NodeId]) {
    desk.apply(PartitionRecord {
        topic_id: FOO,
        partition_id: index,
        replicas: replicas.to_vec(),
        isr: isr.to_vec(),
        leader: isr.first().copied().unwrap_or(-1),
        leader_epoch: 5,
        partition_epoch: 9,
        directories: replicas.iter().map(|it| directory(*it, 0)).collect(),
        ..Default::default()
    });
}

pub fn partition(desk: &Desk, index: i32) -> &Partition {
    desk.image.topics.partition(FOO, index).expect("exists")
}

pub fn epochs(desk: &Desk, index: i32) -> (i32, i32) {
    (partition(desk, index).leader_epoch(), partition(desk, index).partition_epoch())
}
