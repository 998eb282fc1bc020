//! A broker's copy of the metadata log: an observer's side of Fetch and FetchSnapshot, written
//! independently of the crate under test.

use crate::invariants::Invariants;
use crate::world::cluster_id;
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch, Prng, Uuid};
use quorate_host::load_snapshot;
use quorate_protocol::AnyRequest;
use quorate_protocol::batch::{Batch, batches};
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use quorate_protocol::messages::fetch_response::PartitionData;
use quorate_protocol::messages::fetch_snapshot_request::{
    PartitionSnapshot, SnapshotId, TopicSnapshot,
};
use quorate_protocol::messages::{FetchRequest, FetchSnapshotRequest};
use quorate_storage::{Disk, MemDisk, Snapshots};
use std::path::Path;
use std::sync::Arc;

/// Where downloaded snapshots are kept.
const DIR: &str = "/broker";

/// A copy of the log, from the newest snapshot loaded on.
#[derive(Debug)]
pub struct Replica {
    id: NodeId,
    pub directory_id: Uuid,
    /// The epoch it follows.
    pub epoch: Epoch,
    base: OffsetAndEpoch,
    batches: Vec<Batch>,
    pub high_watermark: Offset,
    /// All records below are applied.
    pub applied: Offset,
    download: Option<(OffsetAndEpoch, Vec<u8>)>,
}

impl Replica {
    /// A replica of that broker that holds nothing.
    pub fn new(id: NodeId, directory_id: Uuid) -> Replica {
        Replica {
            id,
            directory_id,
            epoch: 0,
            base: OffsetAndEpoch::default(),
            batches: Vec::new(),
            high_watermark: -1,
            applied: 0,
            download: None,
        }
    }

    fn end(&self) -> OffsetAndEpoch {
        self.batches.last().map_or(self.base, |last| OffsetAndEpoch {
            offset: last.header.end_offset(),
            epoch: last.header.partition_leader_epoch,
        })
    }

    /// What to ask the leader next.
    pub fn request(&self) -> AnyRequest {
        if let Some((id, bytes)) = &self.download {
            return AnyRequest::FetchSnapshot(FetchSnapshotRequest {
                cluster_id: cluster_id(),
                replica_id: self.id,
                max_bytes: 10_000,
                topics: vec![TopicSnapshot {
                    name: "__cluster_metadata".into(),
                    partitions: vec![PartitionSnapshot {
                        partition: 0,
                        current_leader_epoch: self.epoch,
                        snapshot_id: SnapshotId {
                            end_offset: id.offset,
                            epoch: id.epoch,
                            ..Default::default()
                        },
                        position: i64::try_from(bytes.len()).expect("small"),
                        replica_directory_id: self.directory_id,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            });
        }
        let end = self.end();
        AnyRequest::Fetch(FetchRequest {
            cluster_id: cluster_id(),
            replica_state: ReplicaState { replica_id: self.id, ..Default::default() },
            max_wait_ms: 500,
            max_bytes: 1 << 20,
            topics: vec![FetchTopic {
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: self.epoch,
                    fetch_offset: end.offset,
                    last_fetched_epoch: end.epoch,
                    log_start_offset: self.base.offset,
                    replica_directory_id: self.directory_id,
                    high_watermark: self.high_watermark,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    /// Takes a fetch's answer without error in.
    pub fn fetched(&mut self, partition: &PartitionData, invariants: &mut Invariants) {
        let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
        if diverging.epoch >= 0 {
            let agreed = |batch: &Batch| {
                batch.header.partition_leader_epoch <= diverging.epoch
                    && batch.header.end_offset() <= diverging.end_offset
            };
            let before = self.end();
            while self.batches.last().is_some_and(|last| !agreed(last)) {
                self.batches.pop();
            }
            assert!(
                self.end().offset >= self.applied,
                "b{} is told to give up what it was told to be committed: {} of {}",
                self.id,
                self.end(),
                self.applied
            );
            assert!(self.end() < before, "b{} diverges at {before} and cannot say where", self.id);
            return;
        }
        if snapshot.epoch >= 0 {
            let id = OffsetAndEpoch { offset: snapshot.end_offset, epoch: snapshot.epoch };
            assert!(
                id.offset >= self.applied,
                "b{} has applied {} and is sent back to the snapshot at {id}",
                self.id,
                self.applied
            );
            self.download = Some((id, Vec::new()));
            return;
        }
        for batch in batches(partition.records.clone().unwrap_or_default()) {
            let Ok(batch) = batch else { break };
            if batch.header.end_offset() <= self.end().offset {
                continue;
            }
            assert_eq!(batch.base_offset(), self.end().offset, "b{} gets a gap", self.id);
            batch.verify().expect("records arrive whole");
            self.batches.push(batch);
        }
        let reached = partition.high_watermark.min(self.end().offset);
        self.high_watermark = self.high_watermark.max(reached);
        let first = self.batches.partition_point(|it| it.header.end_offset() <= self.applied);
        for batch in &self.batches[first..] {
            if batch.header.end_offset() > self.high_watermark {
                break;
            }
            invariants.broker_applied(self.id, &batch.bytes);
            self.applied = batch.header.end_offset();
        }
    }

    /// A part of a snapshot has come.
    pub fn received(
        &mut self,
        position: i64,
        size: i64,
        part: &Bytes,
        invariants: &mut Invariants,
    ) {
        let Some((id, bytes)) = &mut self.download else { return };
        if usize::try_from(position) != Ok(bytes.len()) {
            return;
        }
        bytes.extend_from_slice(part);
        if i64::try_from(bytes.len()) == Ok(size) {
            let (id, bytes) = (*id, std::mem::take(bytes));
            self.download = None;
            self.load(id, &bytes, invariants);
        }
    }

    fn load(&mut self, id: OffsetAndEpoch, bytes: &[u8], invariants: &mut Invariants) {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let dir = Path::new(DIR);
        disk.create_dir_all(dir).expect("an empty disk");
        let snapshots = Snapshots::new(disk, dir);
        let mut part = snapshots.receive(id, &mut Prng::new(0)).expect("a healthy disk");
        part.append(bytes).expect("a healthy disk");
        part.finish().expect("a served snapshot is whole");
        let loaded = load_snapshot(&snapshots, id).expect("a served snapshot is readable");
        invariants.broker_loaded(self.id, &loaded.image, id);
        self.base = id;
        self.batches.clear();
        self.applied = id.offset;
        self.high_watermark = id.offset;
    }

    /// The leader no longer has the snapshot, or there is another leader.
    pub fn drop_download(&mut self) {
        self.download = None;
    }
}
