//! Numbers that brokers compare, raised above any that the lost part of a log can have given out.
//!
//! A broker may have seen leader epochs that the kept log never reached, and followers find out by
//! leader epochs where their logs part. A leader in an epoch that was used before, for other records,
//! would leave replicas different from each other, or a follower asking for ever. Clients do not go
//! back to an older leader epoch either. A producer id that is given out twice makes brokers take one
//! producer's records for repetitions of another's, and drop them.

use bytes::Bytes;
use quorate_metadata::{Image, Partition, PartitionState};
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::record_version;
use quorate_protocol::records::{AbortTransactionRecord, ProducerIdsRecord};

/// Leader and partition epochs: each election and each change of an ISR is worth one.
pub const LEADER_EPOCH_MARGIN: i32 = 10_000;
/// Producer ids: a broker takes 1,000 at a time.
pub const PRODUCER_ID_MARGIN: i64 = 1_000_000_000;

/// What is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raise {
    /// Partitions that get higher leader and partition epochs.
    pub partitions: usize,
    /// The producer id that is given out next.
    pub next_producer_id: i64,
}

impl Raise {
    pub(super) fn of(image: &Image) -> Raise {
        let next = image.producer_ids.next_producer_id().unwrap_or(0);
        Raise {
            partitions: image.topics.partition_count(),
            next_producer_id: next.saturating_add(PRODUCER_ID_MARGIN),
        }
    }
}

/// The records that raise them, encoded. `in_transaction`: the log ends within an atomic batch, which
/// has to be given up first, or these records would go with it.
pub(super) fn raising_records(image: &Image, in_transaction: bool) -> Vec<Bytes> {
    let version = image.metadata_version();
    let mut values = Vec::new();
    let mut push = |record: MetadataRecord| {
        let value = record.encode_framed(record_version(&record, version));
        values.push(value.expect("a record can be written in the version it has here"));
    };
    if in_transaction {
        let reason = Some("the quorum was recovered".into());
        push(AbortTransactionRecord { reason, ..Default::default() }.into());
    }
    for topic in image.topics.iter_by_name() {
        for (index, partition) in image.topics.partitions(topic.id) {
            let raised = Partition::new(raised(partition.to_state()));
            let raised = raised.expect("replicas and directories are as they were");
            push(raised.to_record(topic.id, index, version));
        }
    }
    let Raise { next_producer_id, .. } = Raise::of(image);
    push(
        ProducerIdsRecord {
            broker_id: -1,
            broker_epoch: -1,
            next_producer_id,
            ..Default::default()
        }
        .into(),
    );
    values
}

fn raised(mut state: PartitionState) -> PartitionState {
    state.leader_epoch = state.leader_epoch.saturating_add(LEADER_EPOCH_MARGIN);
    state.partition_epoch = state.partition_epoch.saturating_add(LEADER_EPOCH_MARGIN);
    state
}
