//! The metadata log, `__cluster_metadata-0`: append, sync, read, truncate.
//!
//! One [`LogWriter`] belongs to the disk thread; any number of [`LogReader`]s read beside it.
//! What a reader sees is appended, not necessarily synced: [`LogWriter::synced_end`] says how much
//! is. Group commit is `append` as often as there is work, then one `sync`.

use crate::disk::{Disk, DiskFile, read_at, read_text, remove_if_there, replace_file};
use crate::epochs::EpochCache;
use crate::error::{At, StorageError};
use crate::segment::{INDEX_INTERVAL_BYTES, Segment};
use bytes::Bytes;
use quorate_base::{Epoch, Offset, OffsetAndEpoch};
use quorate_protocol::batch::{BatchError, BatchErrorKind, BatchHeader, batches, whole_batches};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Kafka's file of epochs and their first offsets. Java rebuilds it; writing it is a courtesy.
const EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// What Java keeps beside a segment and must not outlive it.
const COMPANION_SUFFIXES: [&str; 4] = ["index", "timeindex", "txnindex", "snapshot"];
/// Java's index holds offsets relative to the segment's base in 32 bits.
const MAX_OFFSETS_PER_SEGMENT: i64 = i32::MAX as i64;

/// When to begin a new segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: u64,
    /// `metadata.log.segment.ms`.
    pub segment_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { segment_bytes: 1024 * 1024 * 1024, segment_ms: 7 * 24 * 3600 * 1000 }
    }
}

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub dir: PathBuf,
    /// Never empty; ascending, without gaps.
    pub segments: Vec<Segment>,
    pub log_start: Offset,
    pub log_end: Offset,
    pub epochs: EpochCache,
    /// Counts truncations: a read across one is not to be trusted.
    pub generation: u64,
}

/// The writing end; one per log.
#[derive(Debug)]
pub struct LogWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: LogConfig,
    shared: Arc<RwLock<Shared>>,
    synced_end: Offset,
    /// What `leader-epoch-checkpoint` holds.
    checkpointed: Option<String>,
    poisoned: bool,
}

/// A reading end; cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<RwLock<Shared>>,
}

/// What an append added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// One past the last record: the log's end now.
    pub end_offset: Offset,
}

impl LogWriter {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        shared: Shared,
    ) -> Result<LogWriter, StorageError> {
        let dir = shared.dir.clone();
        let mut writer = LogWriter {
            checkpointed: read_text(disk.as_ref(), &dir.join(EPOCH_CHECKPOINT))?,
            disk,
            dir,
            config,
            synced_end: shared.log_end,
            shared: Arc::new(RwLock::new(shared)),
            poisoned: false,
        };
        writer.write_epoch_checkpoint()?;
        Ok(writer)
    }

    /// A reading end.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    /// One past the last record appended.
    pub fn log_end(&self) -> Offset {
        read_lock(&self.shared).log_end
    }

    /// One past the last record that a crash cannot take.
    pub fn synced_end(&self) -> Offset {
        self.synced_end
    }

    /// Appends one or more whole batches whose offsets continue the log and whose epochs do not
    /// fall; what comes from a peer is checked with [`check_fetched`] first. Not durable before
    /// [`LogWriter::sync`], but readable at once. `now_ms` is wall time, for the segment's age.
    ///
    /// After an error nothing was appended; if even that is not certain, everything that follows
    /// is [`StorageError::Poisoned`].
    ///
    /// # Panics
    /// If `batches` is not whole batches that continue the log.
    pub fn append(&mut self, batches: &Bytes, now_ms: i64) -> Result<Appended, StorageError> {
        self.check_well()?;
        let headers = headers(batches);
        let (base_offset, log_end, last_epoch) = {
            let shared = read_lock(&self.shared);
            (headers[0].base_offset, shared.log_end, shared.epochs.last_epoch())
        };
        let mut due = (log_end, last_epoch.unwrap_or(0));
        for header in &headers {
            let (offset, epoch) = due;
            assert_eq!(header.base_offset, offset, "a batch continues the log");
            assert!(header.partition_leader_epoch >= epoch, "epochs never fall in a log");
            due = (header.end_offset(), header.partition_leader_epoch);
        }
        self.roll_if_due(due.0, batches.len() as u64, now_ms)?;
        self.write(batches)?;

        let mut shared = write_lock(&self.shared);
        for header in &headers {
            shared.epochs.note(header.partition_leader_epoch, header.base_offset);
            active(&mut shared).note(header);
        }
        shared.log_end = due.0;
        Ok(Appended { base_offset, end_offset: due.0 })
    }

    /// Makes everything appended so far durable and answers where that ends. After an error
    /// nobody knows what is on disk: the writer is [`StorageError::Poisoned`] for good.
    pub fn sync(&mut self) -> Result<Offset, StorageError> {
        self.check_well()?;
        let (file, path, log_end) = {
            let shared = read_lock(&self.shared);
            let active = last(&shared);
            (active.file.clone(), active.path.clone(), shared.log_end)
        };
        if log_end > self.synced_end {
            self.poisoned = true;
            file.sync().at("sync", &path)?;
            self.poisoned = false;
            self.synced_end = log_end;
        }
        Ok(self.synced_end)
    }

    /// Removes everything at and after `offset`, durably, and answers the new end: lower than
    /// `offset` if that lies within a batch. For followers whose log parts from the leader's; the
    /// caller makes sure that nothing committed is removed.
    ///
    /// # Panics
    /// If `offset` is below the log's start.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<Offset, StorageError> {
        self.check_well()?;
        let shared = self.shared.clone();
        let mut shared = write_lock(&shared);
        assert!(offset >= shared.log_start, "the start of the log is not truncated");
        if offset >= shared.log_end {
            return Ok(shared.log_end);
        }
        self.poisoned = true;
        shared.generation += 1;
        // From the end, each removal durable before the next: a crash leaves no gap.
        while last(&shared).base_offset > offset {
            let segment = shared.segments.pop();
            self.remove_segment(segment)?;
        }
        let (position, batch_start) = last(&shared).find(offset)?;
        active(&mut shared).cut(position)?;
        let end = batch_start.unwrap_or(offset);
        shared.log_end = end;
        shared.epochs.truncate(end);
        self.remove_stale_snapshots_of_java(end)?;
        drop(shared);
        self.synced_end = end;
        self.poisoned = false;
        self.write_epoch_checkpoint()?;
        Ok(end)
    }

    /// Empties the log and lets it start at `id.offset`: after a snapshot that is ahead of it was
    /// installed. The snapshot must be durable already.
    pub fn reset_to_snapshot(&mut self, id: OffsetAndEpoch) -> Result<(), StorageError> {
        self.check_well()?;
        let shared = self.shared.clone();
        let mut shared = write_lock(&shared);
        self.poisoned = true;
        shared.generation += 1;
        shared.log_start = id.offset;
        shared.log_end = id.offset;
        shared.epochs.clear();
        while let Some(segment) = shared.segments.pop() {
            self.remove_segment(Some(segment))?;
        }
        shared.segments.push(Segment::create(self.disk.as_ref(), &self.dir, id.offset)?);
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        self.remove_stale_snapshots_of_java(id.offset)?;
        drop(shared);
        self.synced_end = id.offset;
        self.poisoned = false;
        self.write_epoch_checkpoint()
    }

    /// Moves the log's start up to `offset`, the end of a retained snapshot, and removes the
    /// segments wholly below it. Answers how many were removed. After a restart the log starts at
    /// its first segment again, as with Java.
    pub fn advance_start(&mut self, offset: Offset) -> Result<usize, StorageError> {
        self.check_well()?;
        let shared = self.shared.clone();
        let mut shared = write_lock(&shared);
        if offset <= shared.log_start {
            return Ok(0);
        }
        assert!(offset <= shared.log_end, "the log starts within itself");
        shared.log_start = offset;
        shared.epochs.advance_start(offset);
        let mut removed = 0;
        // From the start, each removal durable before the next: a crash leaves no gap.
        while shared.segments.get(1).is_some_and(|next| next.base_offset <= offset) {
            let segment = shared.segments.remove(0);
            self.remove_segment(Some(segment))?;
            removed += 1;
        }
        drop(shared);
        self.write_epoch_checkpoint()?;
        Ok(removed)
    }

    /// Writes `leader-epoch-checkpoint` if epochs changed. Java rebuilds the file from the log, so
    /// this waits for an idle moment or the shutdown.
    pub fn write_epoch_checkpoint(&mut self) -> Result<(), StorageError> {
        let text = read_lock(&self.shared).epochs.checkpoint_text();
        if self.checkpointed.as_ref() != Some(&text) {
            let path = self.dir.join(EPOCH_CHECKPOINT);
            replace_file(self.disk.as_ref(), &path, text.as_bytes())?;
            self.checkpointed = Some(text);
        }
        Ok(())
    }

    /// Syncs and writes the courtesy files: the last act of a clean shutdown.
    pub fn close(mut self) -> Result<Offset, StorageError> {
        let end = self.sync()?;
        self.write_epoch_checkpoint()?;
        Ok(end)
    }

    fn check_well(&self) -> Result<(), StorageError> {
        if self.poisoned { Err(StorageError::Poisoned) } else { Ok(()) }
    }

    fn roll_if_due(&mut self, end: Offset, bytes: u64, now_ms: i64) -> Result<(), StorageError> {
        let due = {
            let shared = read_lock(&self.shared);
            let active = last(&shared);
            let age_ms = active.first_timestamp_ms.map_or(0, |first| now_ms.saturating_sub(first));
            active.size > 0
                && (active.size + bytes > self.config.segment_bytes
                    || age_ms > self.config.segment_ms
                    || end - active.base_offset > MAX_OFFSETS_PER_SEGMENT)
        };
        if due {
            // A later sync reaches only the new segment, so the old one is made durable here.
            let end = self.sync()?;
            let segment = Segment::create(self.disk.as_ref(), &self.dir, end)?;
            self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
            write_lock(&self.shared).segments.push(segment);
        }
        Ok(())
    }

    fn write(&mut self, batches: &Bytes) -> Result<(), StorageError> {
        let (file, path, size) = {
            let shared = read_lock(&self.shared);
            let active = last(&shared);
            (active.file.clone(), active.path.clone(), active.size)
        };
        let written = file.write_at(batches, size).at("append to", &path);
        if written.is_err() && file.set_len(size).is_err() {
            self.poisoned = true;
        }
        written
    }

    fn remove_segment(&self, segment: Option<Segment>) -> Result<(), StorageError> {
        let Some(segment) = segment else { return Ok(()) };
        self.disk.remove(&segment.path).at("remove", &segment.path)?;
        for suffix in COMPANION_SUFFIXES {
            remove_if_there(self.disk.as_ref(), &segment.path.with_extension(suffix))?;
        }
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)
    }

    /// Java's producer state of offsets that are no longer in the log.
    fn remove_stale_snapshots_of_java(&self, end: Offset) -> Result<(), StorageError> {
        for name in self.disk.list(&self.dir).at("list", &self.dir)? {
            let digits = name.strip_suffix(".snapshot").filter(|digits| digits.len() == 20);
            if digits.and_then(|digits| digits.parse::<Offset>().ok()).is_some_and(|at| at > end) {
                remove_if_there(self.disk.as_ref(), &self.dir.join(name))?;
            }
        }
        Ok(())
    }
}

impl LogReader {
    /// First offset of the log.
    pub fn log_start(&self) -> Offset {
        read_lock(&self.shared).log_start
    }

    /// One past the last record appended.
    pub fn log_end(&self) -> Offset {
        read_lock(&self.shared).log_end
    }

    /// Epochs and their first offsets, as of now.
    pub fn epochs(&self) -> EpochCache {
        read_lock(&self.shared).epochs.clone()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        read_lock(&self.shared).segments.iter().map(|segment| segment.size).sum()
    }

    /// Whole batches from the one that holds `from` on: as many as fit into `max_bytes`, but at
    /// least one. Empty at the end of the log. Never crosses a segment, so ask again.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Bytes, StorageError> {
        self.read_until(from, Offset::MAX, max_bytes)
    }

    /// As [`LogReader::read`], but only batches that end at or before `end`; with the high
    /// watermark, what is committed. Empty if the first batch ends later.
    pub fn read_until(
        &self,
        from: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<Bytes, StorageError> {
        loop {
            let (file, path, start, size, generation) = {
                let shared = read_lock(&self.shared);
                if from < shared.log_start || from > shared.log_end {
                    let (start, end) = (shared.log_start, shared.log_end);
                    return Err(StorageError::OffsetOutOfRange { offset: from, start, end });
                }
                if from == shared.log_end || from >= end {
                    return Ok(Bytes::new());
                }
                let after = shared.segments.partition_point(|s| s.base_offset <= from);
                let segment = &shared.segments[after - 1];
                let start = segment.position_before(from);
                let (file, path) = (segment.file.clone(), segment.path.clone());
                (file, path, start, segment.size, shared.generation)
            };
            let result = read_batches(file.as_ref(), &path, start..size, from..end, max_bytes);
            if read_lock(&self.shared).generation == generation {
                return result;
            }
        }
    }

    /// Is `id` the end of a batch (or the start of the log) with that epoch before it? Only such a
    /// position can become a snapshot.
    pub fn is_batch_boundary(&self, id: OffsetAndEpoch) -> Result<bool, StorageError> {
        let shared = read_lock(&self.shared);
        if id.offset <= shared.log_start || id.offset > shared.log_end {
            return Ok(false);
        }
        if shared.epochs.epoch_at(id.offset - 1) != Some(id.epoch) {
            return Ok(false);
        }
        if id.offset == shared.log_end {
            return Ok(true);
        }
        let after = shared.segments.partition_point(|s| s.base_offset <= id.offset);
        Ok(shared.segments[after - 1].find(id.offset)?.1 == Some(id.offset))
    }
}

fn read_batches(
    file: &dyn DiskFile,
    path: &Path,
    span: std::ops::Range<u64>,
    offsets: std::ops::Range<Offset>,
    max_bytes: usize,
) -> Result<Bytes, StorageError> {
    let window = INDEX_INTERVAL_BYTES.saturating_add(max_bytes as u64);
    let count = window.min(span.end - span.start) as usize;
    let buf = read_at(file, span.start, count).at("read", path)?;
    let corrupt = |at: usize, kind: BatchErrorKind| StorageError::Corrupt {
        file: path.to_owned(),
        position: span.start + at as u64,
        why: kind.to_string(),
    };
    let (mut first, mut at) = (None, 0);
    while span.start + (at as u64) < span.end {
        let header = match BatchHeader::parse(buf.get(at..).unwrap_or_default()) {
            Ok(header) => header,
            // The window ends within a header.
            Err(_) if first.is_some() && span.start + (buf.len() as u64) < span.end => break,
            Err(BatchError { kind: BatchErrorKind::Truncated { .. }, .. }) if at > 0 => {
                let rest = span.start + at as u64..span.end;
                return read_batches(file, path, rest, offsets, max_bytes.max(1));
            }
            Err(error) => return Err(corrupt(at, error.kind)),
        };
        if header.end_offset() <= offsets.start {
            at += header.size();
            assert!(at as u64 <= INDEX_INTERVAL_BYTES, "the index has an entry for each interval");
            continue;
        }
        if header.end_offset() > offsets.end {
            break;
        }
        let from = *first.get_or_insert(at);
        let end = at + header.size();
        if end - from > max_bytes && at > from {
            break;
        }
        if end > buf.len() {
            if at > from {
                break;
            }
            // A first batch larger than the window.
            return read_at(file, span.start + at as u64, header.size()).at("read", path);
        }
        at = end;
    }
    Ok(first.map_or_else(Bytes::new, |first| buf.slice(first..at)))
}

/// What a follower may append of a fetch answer: the whole batches of `records`, checked by CRC,
/// offsets that continue `log_end`, and epochs that neither fall below `last_epoch` nor pass the
/// leader's. A batch that is cut at the end is left out; it is fetched again.
pub fn check_fetched(
    records: &Bytes,
    log_end: Offset,
    last_epoch: Epoch,
    leader_epoch: Epoch,
) -> Result<Bytes, BatchError> {
    let (len, _) = whole_batches(records);
    let (mut offset, mut epoch) = (log_end, last_epoch);
    for batch in batches(records.clone()) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(BatchError { kind: BatchErrorKind::Truncated { .. }, .. }) => break,
            Err(error) => return Err(error),
        };
        batch.verify()?;
        let why = if batch.base_offset() != offset {
            Some("its offset does not continue the log")
        } else if batch.header.partition_leader_epoch < epoch {
            Some("its epoch is below the one before it")
        } else if batch.header.partition_leader_epoch > leader_epoch {
            Some("its epoch is above the leader's")
        } else {
            None
        };
        if let Some(why) = why {
            let kind = BatchErrorKind::BadHeader { why };
            return Err(BatchError { position: batch.position, kind });
        }
        (offset, epoch) = (batch.header.end_offset(), batch.header.partition_leader_epoch);
    }
    Ok(records.slice(..len))
}

fn headers(batches: &Bytes) -> Vec<BatchHeader> {
    let (mut headers, mut at) = (Vec::new(), 0);
    while at < batches.len() {
        let header = BatchHeader::parse(&batches[at..]).expect("only checked batches are appended");
        at += header.size();
        headers.push(header);
    }
    assert!(at == batches.len() && at > 0, "only whole batches are appended");
    headers
}

fn read_lock(shared: &RwLock<Shared>) -> RwLockReadGuard<'_, Shared> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock(shared: &RwLock<Shared>) -> RwLockWriteGuard<'_, Shared> {
    shared.write().unwrap_or_else(PoisonError::into_inner)
}

fn last(shared: &Shared) -> &Segment {
    shared.segments.last().expect("a log always has a segment")
}

fn active(shared: &mut Shared) -> &mut Segment {
    shared.segments.last_mut().expect("a log always has a segment")
}
