//! Writing a snapshot: header, records in batches, footer.

use crate::error::StorageError;
use crate::snapshot::{PartFile, SnapshotLimits, SnapshotVoters};
use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_protocol::batch::{
    HEADER_LEN, encode_control_batch, encode_data_batch, encoded_record_len,
};
use quorate_protocol::control::ControlRecord;

/// Writes one snapshot; dropped before [`SnapshotWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    id: OffsetAndEpoch,
    part: PartFile,
    batches: SnapshotBatches,
    position: u64,
}

impl SnapshotWriter {
    pub(crate) fn create(
        part: PartFile,
        id: OffsetAndEpoch,
        last_contained_log_timestamp_ms: i64,
        now_ms: i64,
        voters: &SnapshotVoters,
    ) -> Result<SnapshotWriter, StorageError> {
        let mut batches = SnapshotBatches::new(id, now_ms, SnapshotLimits::default());
        let header = batches.header(last_contained_log_timestamp_ms, voters);
        let mut writer = SnapshotWriter { id, part, batches, position: 0 };
        writer.write(header)?;
        Ok(writer)
    }

    /// Id of the snapshot being written.
    pub fn id(&self) -> OffsetAndEpoch {
        self.id
    }

    /// Adds one framed metadata record. Batches are formed by size and written as they fill.
    pub fn append(&mut self, value: Bytes) -> Result<(), StorageError> {
        match self.batches.push(value) {
            Some(batch) => self.write(batch),
            None => Ok(()),
        }
    }

    /// Writes what is left and the footer, makes the file durable and gives it its name. Answers
    /// the file's size in bytes.
    pub fn finish(mut self) -> Result<u64, StorageError> {
        let tail = self.batches.footer();
        self.write(tail)?;
        self.part.finish()?;
        Ok(self.position)
    }

    fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.part.write_at(&bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// Forms the batches of a snapshot; pure. Offsets in the file start at 0 and have no gaps.
#[derive(Debug)]
pub struct SnapshotBatches {
    id: OffsetAndEpoch,
    now_ms: i64,
    limits: SnapshotLimits,
    next_offset: Offset,
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

impl SnapshotBatches {
    /// `now_ms`: wall time for the batches.
    pub fn new(id: OffsetAndEpoch, now_ms: i64, limits: SnapshotLimits) -> SnapshotBatches {
        let (pending, pending_bytes) = (Vec::new(), HEADER_LEN);
        SnapshotBatches { id, now_ms, limits, next_offset: 0, pending, pending_bytes }
    }

    /// The first batch.
    pub fn header(&mut self, last_contained_log_timestamp_ms: i64, v: &SnapshotVoters) -> Bytes {
        assert_eq!(self.next_offset, 0, "the header comes first");
        let mut records = vec![ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms }];
        if let SnapshotVoters::Dynamic { kraft_version, voters } = v {
            records.push(ControlRecord::KRaftVersion(*kraft_version));
            records.push(ControlRecord::Voters(voters.clone()));
        }
        self.control(&records)
    }

    /// Adds a framed metadata record; answers a batch that is full now.
    pub fn push(&mut self, value: Bytes) -> Option<Bytes> {
        let full = self.pending.len() >= self.limits.batch_records
            || self.pending_bytes + encoded_record_len(self.pending.len(), value.len())
                > self.limits.batch_bytes;
        let batch = if full { self.flush() } else { None };
        self.pending_bytes += encoded_record_len(self.pending.len(), value.len());
        self.pending.push(value);
        batch
    }

    /// What is left, and the footer.
    pub fn footer(&mut self) -> Bytes {
        let rest = self.flush().unwrap_or_default();
        let footer = self.control(&[ControlRecord::SnapshotFooter]);
        if rest.is_empty() { footer } else { Bytes::from([rest, footer].concat()) }
    }

    fn flush(&mut self) -> Option<Bytes> {
        if self.pending.is_empty() {
            return None;
        }
        let values = std::mem::take(&mut self.pending);
        self.pending_bytes = HEADER_LEN;
        let batch = encode_data_batch(self.next_offset, self.id.epoch, self.now_ms, &values);
        self.next_offset += values.len() as Offset;
        Some(batch)
    }

    fn control(&mut self, records: &[ControlRecord]) -> Bytes {
        let batch = encode_control_batch(self.next_offset, self.id.epoch, self.now_ms, records);
        self.next_offset += records.len() as Offset;
        batch
    }
}
