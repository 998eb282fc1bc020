//! Which snapshots and segments may go: Kafka's rules for the metadata log.

use crate::error::StorageError;
use crate::log::LogWriter;
use crate::snapshot::Snapshots;
use quorate_base::{Offset, OffsetAndEpoch};
use std::collections::BTreeMap;

/// How long a snapshot is kept after somebody read a part of it: a follower fetches one in slices,
/// and would have to start over. As long as Kafka delays the deletion of the file.
pub const READ_GRACE_MS: i64 = 60_000;

/// How much history to keep. `None` keeps all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// `metadata.max.retention.bytes`: segments and snapshots together.
    pub max_bytes: Option<u64>,
    /// `metadata.max.retention.ms`: age of a snapshot's last record.
    pub max_ms: Option<i64>,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { max_bytes: Some(100 * 1024 * 1024), max_ms: Some(7 * 24 * 3600 * 1000) }
    }
}

/// What a cleaning removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cleaned {
    /// Snapshots removed, oldest first.
    pub snapshots: Vec<OffsetAndEpoch>,
    /// Segments removed.
    pub segments: usize,
}

/// Which snapshots are being fetched by others.
#[derive(Clone, Debug, Default)]
pub struct SnapshotReads {
    last_ms: BTreeMap<OffsetAndEpoch, i64>,
}

impl SnapshotReads {
    /// A part of that snapshot is given out. `now_ms` is wall time.
    pub fn note(&mut self, id: OffsetAndEpoch, now_ms: i64) {
        self.last_ms.insert(id, now_ms);
    }

    /// The snapshots read within the last [`READ_GRACE_MS`].
    pub fn in_use(&mut self, now_ms: i64) -> Vec<OffsetAndEpoch> {
        self.last_ms.retain(|_, read_ms| now_ms.saturating_sub(*read_ms) < READ_GRACE_MS);
        self.last_ms.keys().copied().collect()
    }
}

/// Removes the oldest snapshots while they are too old or all is too large, and the segments that
/// only they needed. The newest snapshot always stays, and nothing at or above `high_watermark`
/// goes. `now_ms` is wall time.
pub fn clean(
    log: &mut LogWriter,
    snapshots: &Snapshots,
    retention: Retention,
    high_watermark: Offset,
    now_ms: i64,
) -> Result<Cleaned, StorageError> {
    clean_unless_read(log, snapshots, retention, high_watermark, now_ms, &[])
}

/// As [`clean`], but stops at the first snapshot that is `in_use`; the next cleaning goes on there.
pub fn clean_unless_read(
    log: &mut LogWriter,
    snapshots: &Snapshots,
    retention: Retention,
    high_watermark: Offset,
    now_ms: i64,
    in_use: &[OffsetAndEpoch],
) -> Result<Cleaned, StorageError> {
    let ids = snapshots.list()?;
    let mut bytes = log.reader().size_bytes();
    for id in &ids {
        bytes += snapshots.size_bytes(*id)?;
    }
    let mut keep_from = None;
    for pair in ids.windows(2) {
        let (old, next) = (pair[0], pair[1]);
        if next.offset > high_watermark || in_use.contains(&old) {
            break;
        }
        let too_large = retention.max_bytes.is_some_and(|max| bytes > max);
        let too_old = match retention.max_ms {
            Some(max_ms) => {
                let last_ms = snapshots.open(old)?.last_contained_log_timestamp_ms();
                now_ms.saturating_sub(last_ms) > max_ms
            }
            None => false,
        };
        if !too_large && !too_old {
            break;
        }
        bytes = bytes.saturating_sub(snapshots.size_bytes(old)?);
        keep_from = Some(next);
    }
    let Some(keep_from) = keep_from else { return Ok(Cleaned::default()) };
    // The log first: its start must never be above the oldest snapshot that is left.
    let segments = log.advance_start(keep_from.offset)?;
    let snapshots = snapshots.remove_below(keep_from.offset)?;
    Ok(Cleaned { snapshots, segments })
}
