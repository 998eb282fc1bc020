//! A local copy of a quorum's committed log and snapshots, in Kafka's files, that follows for ever.
//!
//! Only what is committed is written, so nothing ever has to be cut off again: what was fetched above
//! the high watermark waits in memory. A quorum that no longer holds what this copy holds has lost
//! committed records; that is an error with both positions, never a truncation.
//!
//! The directory holds `mirror.json` and `__cluster_metadata-0`, but no `meta.properties`: no controller
//! starts on it by mistake.

use crate::source::{Fetched, Source};
use crate::{ShadowError, storage_at};
use bytes::{Bytes, BytesMut};
use quorate_base::{Offset, OffsetAndEpoch, Prng};
use quorate_protocol::batch::{BatchHeader, batches};
use quorate_storage::{
    Disk, DiskLock, FileDisk, LOCK, LogConfig, LogReader, LogWriter, METADATA_DIR,
    SnapshotReceiver, Snapshots, check_fetched, open_log, remove_leftovers,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MANIFEST: &str = "mirror.json";
/// Small enough that what is past retention soon fills whole segments, which can go.
const LOG: LogConfig =
    LogConfig { segment_bytes: 64 * 1024 * 1024, segment_ms: 7 * 24 * 3600 * 1000 };
/// What is fetched and not yet committed is bounded: beyond this it is dropped and fetched again.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What one step of following did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing new is committed.
    Idle,
    /// The log now ends here.
    Grown {
        /// Where it ended before.
        from: Offset,
        /// One past the last record now.
        to: Offset,
    },
    /// The leader's log starts later than this copy ended: its snapshot was fetched, and the log goes on
    /// from there. `skipped` tells whether records between were never seen.
    Restarted {
        /// The snapshot.
        at: OffsetAndEpoch,
        /// True unless the copy was empty.
        skipped: bool,
    },
}

/// A directory that follows a quorum.
pub struct Mirror {
    dir: PathBuf,
    log: LogWriter,
    reader: LogReader,
    snapshots: Snapshots,
    prng: Prng,
    pending: BytesMut,
    pending_end: OffsetAndEpoch,
    high_watermark: Option<Offset>,
    may_skip: bool,
    /// Bytes fetched over the network.
    pub fetched_bytes: u64,
    _lock: Box<dyn DiskLock>,
}

impl Mirror {
    /// Opens or creates the copy in `dir`. A directory of another cluster, or one that holds something
    /// else, is refused. `seed` draws names of unfinished files; `now_ms` is wall time.
    pub fn open(
        dir: &Path,
        cluster_id: &str,
        purpose: &str,
        seed: u64,
        now_ms: i64,
    ) -> Result<Mirror, ShadowError> {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk);
        disk.create_dir_all(dir).map_err(|source| storage_at(dir, source))?;
        adopt(disk.as_ref(), dir, cluster_id, purpose, now_ms)?;
        let lock = disk.lock(&dir.join(LOCK))?;
        let metadata = dir.join(METADATA_DIR);
        disk.create_dir_all(&metadata).map_err(|source| storage_at(&metadata, source))?;
        remove_leftovers(disk.as_ref(), &metadata)?;
        let snapshots = Snapshots::new(disk.clone(), &metadata);
        let newest = snapshots.newest()?;
        let (log, _) = open_log(&disk, &metadata, LOG, newest)?;
        let reader = log.reader();
        let mut mirror = Mirror {
            dir: dir.to_owned(),
            pending: BytesMut::new(),
            pending_end: OffsetAndEpoch::default(),
            high_watermark: None,
            may_skip: false,
            fetched_bytes: 0,
            prng: Prng::new(seed),
            log,
            reader,
            snapshots,
            _lock: lock,
        };
        mirror.forget_pending()?;
        Ok(mirror)
    }

    /// Opens a copy that is there already, of whatever cluster.
    pub fn open_existing(dir: &Path, seed: u64, now_ms: i64) -> Result<Mirror, ShadowError> {
        let cluster_id = mirrored_cluster(dir)?.ok_or_else(|| ShadowError::NotAMirror {
            dir: dir.to_owned(),
            why: format!("it has no {MANIFEST}; `quorate backup` makes one"),
        })?;
        Mirror::open(dir, &cluster_id, "", seed, now_ms)
    }

    /// The directory given to [`Mirror::open`].
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets the copy go on from the leader's snapshot where the leader's log no longer reaches back to
    /// the copy's end: what the copy holds is dropped then. Otherwise that is an error.
    pub fn may_skip(mut self) -> Mirror {
        self.may_skip = true;
        self
    }

    /// For reading the log.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The snapshots fetched so far.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// One past the last record kept, and its epoch.
    pub fn end(&self) -> Result<OffsetAndEpoch, ShadowError> {
        let offset = self.reader.log_end();
        let epoch = match self.reader.epochs().last_epoch() {
            Some(epoch) => epoch,
            None => self.snapshots.newest()?.map_or(0, |id| id.epoch),
        };
        Ok(OffsetAndEpoch { offset, epoch })
    }

    /// The leader's high watermark as last heard.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// One exchange with the leader. An error that [`ShadowError::is_transient`] means: call again.
    pub fn step(&mut self, source: &mut Source, now_ms: i64) -> Result<Step, ShadowError> {
        match source.fetch(self.pending_end, self.high_watermark)? {
            Fetched::Records { records, high_watermark } => {
                self.take(&records, source)?;
                self.high_watermark = high_watermark.or(self.high_watermark);
                self.commit(now_ms)
            }
            Fetched::Snapshot(id) => self.restart(source, id),
            Fetched::Diverging(at) => self.diverge(at),
        }
    }

    /// Fetches a snapshot of the leader into the copy, beside the log. False: the leader has dropped it.
    pub fn fetch_snapshot(
        &mut self,
        source: &mut Source,
        id: OffsetAndEpoch,
    ) -> Result<bool, ShadowError> {
        let mut receiver: SnapshotReceiver = self.snapshots.receive(id, &mut self.prng)?;
        loop {
            let position = receiver.position();
            // A leader that moves in the middle serves the same bytes elsewhere.
            let answer = match source.fetch_snapshot(id, position) {
                Err(ShadowError::Again) => continue,
                other => other?,
            };
            let Some((chunk, size)) = answer else { return Ok(false) };
            if chunk.is_empty() && position < size {
                let why = format!("the leader sent nothing of snapshot {id} from {position} on");
                return Err(ShadowError::Unreachable(why));
            }
            self.fetched_bytes += chunk.len() as u64;
            receiver.append(&chunk)?;
            if receiver.position() >= size {
                receiver.finish()?;
                return Ok(true);
            }
        }
    }

    /// Removes what is older than the snapshot `keep`: log and snapshots wholly below its end.
    pub fn forget_below(&mut self, keep: OffsetAndEpoch) -> Result<usize, ShadowError> {
        let segments = self.log.advance_start(keep.offset.min(self.reader.log_end()))?;
        Ok(segments + self.snapshots.remove_below(keep.offset)?.len())
    }

    fn take(&mut self, records: &Bytes, source: &Source) -> Result<(), ShadowError> {
        if records.is_empty() {
            return Ok(());
        }
        self.fetched_bytes += records.len() as u64;
        let epoch = source.leader().map_or(i32::MAX, |it| it.epoch);
        let end = self.pending_end;
        let whole = check_fetched(records, end.offset, end.epoch, epoch)
            .map_err(|error| ShadowError::Unreachable(format!("a fetched batch: {error}")))?;
        if self.pending.len() + whole.len() > PENDING_BYTES_MAX {
            return self.forget_pending();
        }
        for batch in batches(whole.clone()).flatten() {
            let epoch = batch.header.partition_leader_epoch;
            self.pending_end = OffsetAndEpoch { offset: batch.header.end_offset(), epoch };
        }
        self.pending.extend_from_slice(&whole);
        Ok(())
    }

    /// Writes what is committed of the batches that wait.
    fn commit(&mut self, now_ms: i64) -> Result<Step, ShadowError> {
        let high_watermark = self.high_watermark.unwrap_or(0);
        let mut len = 0;
        while let Ok(header) = BatchHeader::parse(&self.pending[len..]) {
            if header.end_offset() > high_watermark {
                break;
            }
            len += header.size();
        }
        if len == 0 {
            return Ok(Step::Idle);
        }
        let from = self.reader.log_end();
        self.log.append(&self.pending.split_to(len).freeze(), now_ms)?;
        let to = self.log.sync()?;
        Ok(Step::Grown { from, to })
    }

    fn restart(&mut self, source: &mut Source, id: OffsetAndEpoch) -> Result<Step, ShadowError> {
        let end = self.end()?;
        if self.pending_end != end {
            self.forget_pending()?;
            return Ok(Step::Idle);
        }
        if id.offset < end.offset {
            return Err(ShadowError::LostHistory { ours: end, theirs: id });
        }
        if end.offset > 0 && !self.may_skip {
            return Err(ShadowError::Gap { ours: end, theirs: id });
        }
        if !self.fetch_snapshot(source, id)? {
            return Err(ShadowError::Unreachable(format!("the leader dropped snapshot {id}")));
        }
        self.log.reset_to_snapshot(id)?;
        self.forget_pending()?;
        Ok(Step::Restarted { at: id, skipped: end.offset > 0 })
    }

    fn diverge(&mut self, at: OffsetAndEpoch) -> Result<Step, ShadowError> {
        let end = self.end()?;
        if self.pending_end != end {
            // Only what was never committed is in doubt.
            self.forget_pending()?;
            return Ok(Step::Idle);
        }
        Err(ShadowError::LostHistory { ours: end, theirs: at })
    }

    fn forget_pending(&mut self) -> Result<(), ShadowError> {
        self.pending.clear();
        self.pending_end = self.end()?;
        Ok(())
    }
}

/// Marks the directory as a copy of this cluster, or checks that it is one.
fn adopt(
    disk: &dyn Disk,
    dir: &Path,
    cluster_id: &str,
    purpose: &str,
    now_ms: i64,
) -> Result<(), ShadowError> {
    let refused = |why: String| ShadowError::NotAMirror { dir: dir.to_owned(), why };
    if let Some(known) = mirrored_cluster(dir)? {
        return match known == cluster_id {
            true => Ok(()),
            false => Err(refused(format!(
                "it is a copy of cluster {known}, and {cluster_id} answers; give another directory"
            ))),
        };
    }
    let names = disk.list(dir).map_err(|source| storage_at(dir, source))?;
    if let Some(other) = names.iter().find(|name| *name != LOCK) {
        return Err(refused(format!(
            "it holds {other} and no {MANIFEST}; give an empty directory, so that nothing else is touched"
        )));
    }
    let text = json!({
        "format": 1,
        "cluster_id": cluster_id,
        "purpose": purpose,
        "created_ms": now_ms,
    });
    let path = dir.join(MANIFEST);
    let text = format!("{text:#}\n");
    std::fs::write(&path, text).map_err(|source| storage_at(&path, source))?;
    disk.sync_dir(dir).map_err(|source| storage_at(dir, source))
}

/// The cluster that a directory is a copy of; `None` if it is no copy.
pub fn mirrored_cluster(dir: &Path) -> Result<Option<String>, ShadowError> {
    let path = dir.join(MANIFEST);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(storage_at(&path, source)),
    };
    let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let known = parsed.as_ref().and_then(|it| it["cluster_id"].as_str());
    let unreadable = || ShadowError::NotAMirror {
        dir: dir.to_owned(),
        why: format!("{MANIFEST} names no cluster_id"),
    };
    known.map(|it| Some(it.to_owned())).ok_or_else(unreadable)
}
