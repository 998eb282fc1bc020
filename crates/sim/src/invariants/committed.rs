//! Committed never lost: a record that was committed once is in every later leader's log, and every
//! node that calls its offset committed has the same record there, and nobody who has it cuts it off.
//!
//! Source: State Machine Safety (Raft §5.4.3); `NoLogDivergence` of the kip_853 TLA+ module;
//! `AckedValueNotLost` (kip_853); `ConsistentCommittedData` of Kafka's RaftEventSimulationTest; `MetadataLogMatching` for brokers.

use super::shadow::{Entry, Shadow};
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset};
use quorate_protocol::batch::Batch;
use std::ops::Deref;

/// The one committed log, from its very first record.
#[derive(Default)]
pub struct Committed {
    batches: Vec<CommittedBatch>,
}

/// A committed batch.
pub struct CommittedBatch {
    entry: Entry,
    /// The epoch in which it was first known to be committed.
    pub committed_in: Epoch,
}

impl Deref for CommittedBatch {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Committed {
    /// One past the last committed record.
    pub fn end(&self) -> Offset {
        self.batches.last().map_or(0, |batch| batch.end)
    }

    /// A node calls everything below `watermark` committed; from `from` on that is news from it. Gives
    /// the first offset that is news to everybody.
    pub fn advance(
        &mut self,
        id: NodeId,
        shadow: &Shadow,
        from: Offset,
        watermark: Offset,
        epoch: Epoch,
    ) -> Option<Offset> {
        let end = self.end();
        let from = from.max(shadow.start());
        for entry in shadow.from(from).iter().take_while(|entry| entry.base < watermark) {
            assert!(
                entry.end <= watermark,
                "COMMITTED: c{id}'s high watermark {watermark} lies within a batch"
            );
            match self.batch_at(entry.base) {
                Some(known) => assert_eq!(
                    known.entry, *entry,
                    "COMMITTED: c{id} commits something else at offset {}",
                    entry.base
                ),
                None => {
                    assert_eq!(entry.base, self.end(), "COMMITTED: c{id} leaves a gap");
                    self.batches.push(CommittedBatch { entry: entry.clone(), committed_in: epoch });
                }
            }
        }
        assert!(
            self.end() >= watermark,
            "COMMITTED: c{id} calls {watermark} committed, its log ends at {}",
            shadow.end().offset
        );
        (self.end() > end).then_some(end)
    }

    /// A node cuts a batch off its log: whether or not it knows, that one must not be committed, as its
    /// copy may be one of the majority's.
    pub fn cut_off(&self, id: NodeId, entry: &Entry) {
        let known = self.batch_at(entry.base);
        assert!(
            known.is_none_or(|known| known.entry != *entry),
            "COMMITTED: c{id} cuts off the batch at {} of epoch {}, which is committed",
            entry.base,
            entry.epoch
        );
    }

    /// The committed batches from an offset on.
    pub fn since(&self, offset: Offset) -> &[CommittedBatch] {
        let first = self.batches.partition_point(|batch| batch.end <= offset);
        &self.batches[first..]
    }

    /// The batch that begins there.
    pub fn batch_at(&self, base: Offset) -> Option<&CommittedBatch> {
        self.since(base).first().filter(|batch| batch.base <= base)
    }

    /// A broker applies these bytes.
    pub fn broker_applied(&self, id: NodeId, bytes: &Bytes) {
        let batch = Batch::parse(bytes, 0).expect("the broker has parsed it");
        let known = self.batch_at(batch.base_offset());
        assert!(
            known.is_some_and(|known| known.bytes == *bytes),
            "COMMITTED: b{id} was told that the batch at {} is committed, and it is not that",
            batch.base_offset()
        );
    }
}
