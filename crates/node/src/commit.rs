//! What is committed becomes state: replay on a standby, release on the active controller, snapshots.

use crate::action::{Action, LogLevel};
use crate::node::Node;
use bytes::Bytes;
use quorate_base::{Now, Offset, OffsetAndEpoch};
use quorate_controller::Event as ControllerEvent;
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::{self, Batch};
use std::time::Duration;

/// Records replayed in one step at most, so that votes and fetches are never far behind a replay.
const REPLAY_RECORDS_PER_STEP: usize = 10_000;
/// How much of the log is asked for at once where memory does not reach back far enough.
const READ_BYTES: u32 = 4 * 1024 * 1024;

/// Where replay stands.
#[derive(Debug)]
pub(crate) struct Applied {
    /// All records below are in the controller's committed image.
    pub end: Offset,
    /// Epoch of the record before `end`.
    pub epoch: i32,
    /// Append time of the batch before `end`, wall clock.
    pub timestamp_ms: i64,
    /// Batches read from disk and not applied yet.
    pub read: Option<Bytes>,
    /// A read was asked for and is not here yet.
    pub reading: bool,
    /// There is more to apply than one step may.
    pub more: bool,
}

/// When the last snapshot was written and what came since.
#[derive(Debug)]
pub(crate) struct SnapshotClock {
    /// Id of the newest snapshot, written or loaded.
    pub last: OffsetAndEpoch,
    /// When it was written, or when this process started.
    pub at: quorate_base::Time,
    /// Bytes of log since.
    pub bytes: u64,
    /// One is being written.
    pub writing: bool,
}

impl Node {
    /// Brings the controller up to the high watermark, as far as one step may. True if something
    /// was done that may have caused more to do.
    pub(crate) fn advance(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let Some(high_watermark) = self.high_watermark else { return false };
        if self.is_active() {
            if high_watermark > self.applied.end {
                self.release(now, high_watermark);
                self.snapshot_if_due(now, out);
                return true;
            }
            return false;
        }
        let mut moved = false;
        if high_watermark > self.applied.end {
            moved = self.replay(now, high_watermark, out);
            self.snapshot_if_due(now, out);
        }
        moved | self.activate_if_ready(now, out)
    }

    /// The active controller's own records are committed: they are in its images already.
    fn release(&mut self, now: Now, high_watermark: Offset) {
        let batches = self.tail.from(self.applied.end);
        let batches = batches.expect("the tail holds what is not applied");
        let (mut bytes, mut end, mut epoch, mut timestamp_ms) = (0, self.applied.end, 0, 0);
        for batch in batches.take_while(|batch| batch.end_offset <= high_watermark) {
            bytes += batch.bytes.len() as u64;
            (end, epoch, timestamp_ms) = (batch.end_offset, batch.epoch, batch.append_time_ms);
        }
        assert_eq!(end, high_watermark, "the high watermark lies on a batch boundary");
        self.moved_to(end, epoch, timestamp_ms, bytes);
        self.step_controller(now, ControllerEvent::Committed { end_offset: high_watermark });
    }

    /// Applies committed batches from memory, or asks for them where they are on disk only.
    fn replay(&mut self, now: Now, high_watermark: Offset, out: &mut Vec<Action>) -> bool {
        let mut budget = REPLAY_RECORDS_PER_STEP as i64;
        let before = self.applied.end;
        self.applied.more = false;
        while self.applied.end < high_watermark && self.fatal.is_none() {
            if budget <= 0 {
                self.applied.more = true;
                break;
            }
            let Some(next) = self.next_batch(high_watermark) else {
                if !self.applied.reading {
                    self.applied.reading = true;
                    let (from, end) = (self.applied.end, high_watermark);
                    out.push(Action::ReadLog { from, end, max_bytes: READ_BYTES });
                }
                break;
            };
            budget -= i64::from(next.header.record_count);
            self.replay_batch(now, &next, out);
        }
        self.applied.end > before
    }

    /// The batch that starts where the image ends.
    fn next_batch(&mut self, high_watermark: Offset) -> Option<Batch> {
        let from = self.applied.end;
        if let Some(mut batches) = self.tail.from(from) {
            self.applied.read = None;
            let next = batches.next().filter(|batch| batch.end_offset <= high_watermark)?;
            return Batch::parse(&next.bytes, 0).ok();
        }
        let rest = self.applied.read.take()?;
        let batch = Batch::parse(&rest, 0).ok()?;
        if batch.bytes.len() < rest.len() {
            self.applied.read = Some(rest.slice(batch.bytes.len()..));
        }
        if batch.last_offset() < from {
            return self.next_batch(high_watermark);
        }
        (batch.header.end_offset() <= high_watermark).then_some(batch)
    }

    fn replay_batch(&mut self, now: Now, batch: &Batch, out: &mut Vec<Action>) {
        let header = &batch.header;
        assert_eq!(header.base_offset, self.applied.end, "replay leaves no gap");
        let records = match decode_records(batch) {
            Ok(records) => records,
            Err(why) => return self.fail(why, out),
        };
        let event = ControllerEvent::Replay {
            base_offset: header.base_offset,
            end_offset: header.end_offset(),
            epoch: header.partition_leader_epoch,
            append_time_ms: header.max_timestamp,
            records,
        };
        self.moved_to(
            header.end_offset(),
            header.partition_leader_epoch,
            header.max_timestamp,
            batch.bytes.len() as u64,
        );
        self.step_controller(now, event);
    }

    fn moved_to(&mut self, end: Offset, epoch: i32, timestamp_ms: i64, bytes: u64) {
        self.applied.end = end;
        self.applied.epoch = epoch;
        self.applied.timestamp_ms = timestamp_ms;
        self.snapshots.bytes += bytes;
    }

    /// Batches asked for with [`Action::ReadLog`].
    pub(crate) fn on_log_read(
        &mut self,
        from: Offset,
        batches: Result<Bytes, String>,
        out: &mut Vec<Action>,
    ) {
        self.applied.reading = false;
        match batches {
            Ok(bytes) if from == self.applied.end => self.applied.read = Some(bytes),
            // A snapshot was installed meanwhile: the answer is to a question of the past.
            Ok(_) => {}
            Err(why) if from == self.applied.end => self
                .fail(format!("committed records from offset {from} cannot be read: {why}"), out),
            Err(_) => {}
        }
    }

    /// Asks for a snapshot of the committed state if enough came since the last one.
    pub(crate) fn snapshot_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let policy = self.config.snapshots;
        let by_time = !policy.max_interval.is_zero()
            && now.time.since(self.snapshots.at) >= policy.max_interval;
        let due = by_time || self.snapshots.bytes >= policy.max_bytes_between;
        let something_new = self.applied.end > self.snapshots.last.offset;
        // An open metadata transaction may yet be aborted: a snapshot must not contain half of it.
        let stable = !self.controller.in_transaction();
        if !due || !something_new || !stable || self.snapshots.writing || self.fatal.is_some() {
            return;
        }
        let id = OffsetAndEpoch { offset: self.applied.end, epoch: self.applied.epoch };
        self.snapshots.writing = true;
        self.snapshots.at = now.time;
        self.snapshots.bytes = 0;
        out.push(Action::WriteSnapshot {
            id,
            image: self.controller.committed().clone(),
            control_records: self.snapshot_control_records(id.offset),
            last_contained_log_timestamp_ms: self.applied.timestamp_ms,
        });
    }

    /// When the next snapshot by time is due, if there is something to put in it.
    pub(crate) fn snapshot_timeout(&self) -> Option<(quorate_base::Time, &'static str)> {
        let interval: Duration = self.config.snapshots.max_interval;
        let wanted = !interval.is_zero()
            && !self.snapshots.writing
            && self.applied.end > self.snapshots.last.offset;
        wanted.then(|| (self.snapshots.at + interval, "metadata snapshot"))
    }

    /// This node cannot trust its state any more and must stop before it writes anything down.
    pub(crate) fn fail(&mut self, message: String, out: &mut Vec<Action>) {
        if self.fatal.is_none() {
            out.push(Action::Log { level: LogLevel::Error, message: message.clone() });
            out.push(Action::Fatal { message: message.clone() });
            self.fatal = Some(message);
        }
    }
}

fn decode_records(batch: &Batch) -> Result<Vec<MetadataRecord>, String> {
    if batch.is_control() {
        return Ok(Vec::new());
    }
    let mut records = Vec::with_capacity(
        usize::try_from(batch.header.record_count).unwrap_or(0).min(batch::MAX_BATCH_RECORDS),
    );
    for record in batch.records() {
        let record = record.map_err(|error| {
            format!("batch at offset {} is not readable: {error}", batch.base_offset())
        })?;
        let value = record.value.unwrap_or_default();
        let (decoded, _version) = MetadataRecord::decode_framed(value).map_err(|error| {
            format!(
                "record at offset {} is not a metadata record this release knows: {error}",
                record.offset
            )
        })?;
        records.push(decoded);
    }
    Ok(records)
}
