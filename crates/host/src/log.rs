//! The disk thread's jobs: appending to, cutting and shortening the log.

use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_node::{Event, LogAppend};
use quorate_storage::{Cleaned, LogWriter, Retention, Snapshots, StorageError, clean_unless_read};

/// Appends what the node wants appended; not durable before [`sync`]. Gives where the log ends then.
pub fn append(log: &mut LogWriter, batch: &LogAppend) -> Result<OffsetAndEpoch, StorageError> {
    let bytes: &Bytes = &batch.bytes;
    let appended = log.append(bytes, batch.append_time_ms)?;
    assert_eq!(
        (appended.base_offset, appended.end_offset),
        (batch.base_offset, batch.end_offset),
        "the node and the log agree on offsets"
    );
    Ok(OffsetAndEpoch { offset: batch.end_offset, epoch: batch.epoch })
}

/// Syncs all that was appended, `written` being its end, and gives the news of that.
pub fn sync(log: &mut LogWriter, written: OffsetAndEpoch) -> Result<Event, StorageError> {
    let synced = log.sync()?;
    assert_eq!(synced, written.offset, "a sync covers all that was appended");
    Ok(Event::Persisted { end: written })
}

/// Cuts the log, durably, where the node says.
pub fn cut(log: &mut LogWriter, to: OffsetAndEpoch) -> Result<(), StorageError> {
    let end = log.truncate_to(to.offset)?;
    assert_eq!(end, to.offset, "the log is cut between batches");
    Ok(())
}

/// What retention removed.
#[derive(Debug)]
pub struct Retained {
    /// The log starts here now, and did not before.
    pub start: Option<Offset>,
    /// What is gone.
    pub cleaned: Cleaned,
    /// Why not all of it is gone. What is gone all the same counts: a node that does not know that
    /// its log starts later would answer fetches from before with nothing, for ever.
    pub failure: Option<StorageError>,
}

impl Retained {
    /// What the node has to know of it.
    pub fn into_events(self) -> Vec<Event> {
        let ids = self.cleaned.snapshots;
        let deleted = (!ids.is_empty()).then_some(Event::SnapshotsDeleted { ids });
        let moved = self.start.map(|start| Event::LogStartMoved { start });
        moved.into_iter().chain(deleted).collect()
    }
}

/// Deletes the snapshots and segments that retention lets go, except for snapshots `in_use`. `now_ms`
/// is wall time.
pub fn retain(
    log: &mut LogWriter,
    snapshots: &Snapshots,
    retention: Retention,
    now_ms: i64,
    in_use: &[OffsetAndEpoch],
) -> Retained {
    let reader = log.reader();
    let before = reader.log_start();
    // Every snapshot here is of committed records, so the high watermark is no limit.
    let result = clean_unless_read(log, snapshots, retention, Offset::MAX, now_ms, in_use);
    let (cleaned, failure) = match result {
        Ok(cleaned) => (cleaned, None),
        Err(error) => (Cleaned::default(), Some(error)),
    };
    let start = reader.log_start();
    Retained { start: (start > before).then_some(start), cleaned, failure }
}
