//! New partitions as records, placed by hand or by the placer.

use crate::cluster_view::ClusterView;
use crate::decide::refusal::Refusal;
use quorate_base::{NodeId, Uuid};
use quorate_metadata::{Partition, PartitionState};
use quorate_protocol::{ErrorCode, MetadataRecord};

/// Most partitions that one request may create (Kafka's `MAX_PARTITIONS_PER_BATCH`).
pub const MAX_PARTITIONS_PER_REQUEST: i64 = 10_000;

/// The live brokers of an assignment: the ISR that a new partition starts with.
pub fn initial_isr(view: &ClusterView<'_>, replicas: &[NodeId]) -> Vec<NodeId> {
    replicas.iter().copied().filter(|it| view.is_active(*it)).collect()
}

/// The record of a new partition: led by the first of its ISR, with epochs 0.
pub fn record(
    view: &ClusterView<'_>,
    topic: Uuid,
    index: i32,
    replicas: Vec<NodeId>,
    isr: Vec<NodeId>,
) -> MetadataRecord {
    let leader = isr.first().copied();
    let directories = replicas.iter().map(|it| view.default_directory(*it)).collect();
    let state = PartitionState { replicas, directories, isr, leader, ..Default::default() };
    let partition = Partition::new(state).expect("a validated assignment makes a partition");
    partition.to_record(topic, index, view.metadata_version())
}

/// What to say where none of an assignment written by hand is live.
pub fn nobody_live_of_manual(index: i32) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidReplicaAssignment,
        format!(
            "All brokers of the manual assignment of partition {index} are fenced or in controlled \
             shutdown."
        ),
    )
}

/// What to say where none of a computed assignment is live.
pub fn nobody_live(replication_factor: i16) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidReplicationFactor,
        format!(
            "Unable to replicate the partition {replication_factor} time(s): All brokers are \
             currently fenced or in controlled shutdown."
        ),
    )
}

/// What to say to a request for more partitions than one may create.
pub fn too_many_partitions() -> Refusal {
    Refusal::new(
        ErrorCode::PolicyViolation,
        // Kafka's very words: its own tests and clients compare them.
        "Excessively large number of partitions per request.",
    )
}
