//! Snapshots of the metadata: `%020d-%010d.checkpoint` files beside the log.
//!
//! The name is the snapshot's id: one past the last contained offset, and the epoch of that
//! record. A file is complete when it has its name: it is written under another, synced, made
//! read-only and renamed.

use crate::disk::{Disk, read_at};
use crate::error::{At, StorageError};
use crate::snapshot_reader::SnapshotReader;
use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch, Prng};
use quorate_protocol::batch::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DiskFile, remove_if_there};
use crate::snapshot_writer::SnapshotWriter;
use quorate_protocol::control::Voter;

const SUFFIX: &str = ".checkpoint";

/// `0-0`: the checkpoint that `format` writes for the first voter set (and, since Kafka 4.4, the
/// bootstrap records). Never served to others.
pub const BOOTSTRAP_SNAPSHOT_ID: OffsetAndEpoch = OffsetAndEpoch { offset: 0, epoch: 0 };

/// Whether Kafka's raft layer writes its own records into a snapshot, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotVoters {
    /// `kraft.version` 0: static voters, nothing is written.
    Static,
    /// `kraft.version` 1 (or later) and the voter set as of the snapshot's end.
    Dynamic {
        /// The finalised `kraft.version`.
        kraft_version: i16,
        /// The voters.
        voters: Vec<Voter>,
    },
}

/// Largest batches a snapshot is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotLimits {
    /// Most records in a batch.
    pub batch_records: usize,
    /// Most bytes in a batch, unless one record alone is larger.
    pub batch_bytes: usize,
}

impl Default for SnapshotLimits {
    fn default() -> SnapshotLimits {
        SnapshotLimits { batch_records: MAX_BATCH_RECORDS, batch_bytes: MAX_BATCH_BYTES }
    }
}

/// The snapshots of one metadata directory; cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// File name of a snapshot.
pub fn snapshot_file_name(id: OffsetAndEpoch) -> String {
    format!("{:020}-{:010}{SUFFIX}", id.offset, id.epoch)
}

/// The id in a snapshot's file name; `None` for other files, unfinished ones included.
pub fn parse_snapshot_file_name(name: &str) -> Option<OffsetAndEpoch> {
    let (offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(offset, 20) || !digits(epoch, 10) {
        return None;
    }
    Some(OffsetAndEpoch { offset: offset.parse().ok()?, epoch: epoch.parse().ok()? })
}

impl Snapshots {
    /// The snapshots in `dir`, which must exist (a `__cluster_metadata-0`).
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Snapshots {
        Snapshots { disk, dir: dir.to_owned() }
    }

    /// Ids of all finished snapshots, oldest first; [`BOOTSTRAP_SNAPSHOT_ID`] may be the first.
    pub fn list(&self) -> Result<Vec<OffsetAndEpoch>, StorageError> {
        let names = self.disk.list(&self.dir).at("list", &self.dir)?;
        let mut ids: Vec<_> =
            names.iter().filter_map(|name| parse_snapshot_file_name(name)).collect();
        ids.sort_by_key(|id| (id.offset, id.epoch));
        Ok(ids)
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Result<Option<OffsetAndEpoch>, StorageError> {
        Ok(self.list()?.last().copied())
    }

    /// Where the snapshot is, or would be.
    pub fn path(&self, id: OffsetAndEpoch) -> PathBuf {
        self.dir.join(snapshot_file_name(id))
    }

    /// Bytes of a snapshot.
    pub fn size_bytes(&self, id: OffsetAndEpoch) -> Result<u64, StorageError> {
        let path = self.path(id);
        let len = self.disk.len(&path).at("look at", &path)?;
        len.ok_or(StorageError::SnapshotNotFound(id))
    }

    /// Begins a snapshot. `last_contained_log_timestamp_ms` is that of the last record contained,
    /// `now_ms` goes into the batches; both are milliseconds since the Unix epoch. The name of the
    /// unfinished file is drawn from `prng`.
    pub fn create(
        &self,
        id: OffsetAndEpoch,
        last_contained_log_timestamp_ms: i64,
        now_ms: i64,
        voters: &SnapshotVoters,
        prng: &mut Prng,
    ) -> Result<SnapshotWriter, StorageError> {
        SnapshotWriter::create(
            self.begin(id, prng)?,
            id,
            last_contained_log_timestamp_ms,
            now_ms,
            voters,
        )
    }

    /// Opens a snapshot to read its records.
    pub fn open(&self, id: OffsetAndEpoch) -> Result<SnapshotReader, StorageError> {
        self.size_bytes(id)?;
        SnapshotReader::open(self.disk.as_ref(), &self.path(id))
    }

    /// Bytes of the file from `position` on, at most `max_bytes`, and the size of the whole: an
    /// answer to FetchSnapshot. [`BOOTSTRAP_SNAPSHOT_ID`] is not served.
    pub fn read_slice(
        &self,
        id: OffsetAndEpoch,
        position: i64,
        max_bytes: usize,
    ) -> Result<(Bytes, u64), StorageError> {
        if id == BOOTSTRAP_SNAPSHOT_ID {
            return Err(StorageError::SnapshotNotFound(id));
        }
        let size = self.size_bytes(id)?;
        let from = u64::try_from(position).ok().filter(|position| *position < size);
        let Some(from) = from else {
            return Err(StorageError::PositionOutOfRange { id, position, size });
        };
        let path = self.path(id);
        let file = self.disk.open_read(&path).at("open", &path)?;
        let count = (size - from).min(max_bytes as u64) as usize;
        Ok((read_at(file.as_ref(), from, count).at("read", &path)?, size))
    }

    /// Begins to receive a snapshot from the leader.
    pub fn receive(
        &self,
        id: OffsetAndEpoch,
        prng: &mut Prng,
    ) -> Result<SnapshotReceiver, StorageError> {
        Ok(SnapshotReceiver { id, part: self.begin(id, prng)?, position: 0 })
    }

    /// Removes the snapshots that end below `offset`, oldest first. Answers which.
    pub fn remove_below(&self, offset: Offset) -> Result<Vec<OffsetAndEpoch>, StorageError> {
        let old: Vec<_> = self.list()?.into_iter().filter(|id| id.offset < offset).collect();
        for id in &old {
            remove_if_there(self.disk.as_ref(), &self.path(*id))?;
        }
        if !old.is_empty() {
            self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        }
        Ok(old)
    }

    fn begin(&self, id: OffsetAndEpoch, prng: &mut Prng) -> Result<PartFile, StorageError> {
        let name = format!("{:020}-{:010}-{}{SUFFIX}.part", id.offset, id.epoch, prng.next_u64());
        let path = self.dir.join(name);
        let file = self.disk.create(&path).at("create", &path)?;
        Ok(PartFile { disk: self.disk.clone(), path, file, named: self.path(id), finished: false })
    }
}

/// A file that has not got its name yet; removed when dropped before that.
#[derive(Debug)]
pub(crate) struct PartFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    named: PathBuf,
    finished: bool,
}

impl PartFile {
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, named: PathBuf) -> Result<Self, StorageError> {
        let file = disk.create(&path).at("create", &path)?;
        Ok(PartFile { disk, path, file, named, finished: false })
    }

    pub fn write_at(&self, bytes: &[u8], position: u64) -> Result<(), StorageError> {
        self.file.write_at(bytes, position).at("write", &self.path)
    }

    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().at("sync", &self.path)
    }

    pub fn verify(&self) -> Result<(), StorageError> {
        let mut reader = SnapshotReader::open(self.disk.as_ref(), &self.path)?;
        while reader.next_values()?.is_some() {}
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), StorageError> {
        self.sync()?;
        self.disk.set_read_only(&self.path).at("make read-only", &self.path)?;
        self.disk.rename(&self.path, &self.named).at("rename", &self.path)?;
        self.finished = true;
        crate::disk::sync_parent(self.disk.as_ref(), &self.named)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing depends on it: what stays is removed at the next start.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Receives a snapshot in chunks, as FetchSnapshot hands it out.
#[derive(Debug)]
pub struct SnapshotReceiver {
    id: OffsetAndEpoch,
    part: PartFile,
    position: u64,
}

impl SnapshotReceiver {
    /// Id of the snapshot being received.
    pub fn id(&self) -> OffsetAndEpoch {
        self.id
    }

    /// Bytes received: the position to ask for next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds the next chunk.
    pub fn append(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        self.part.write_at(chunk, self.position)?;
        self.position += chunk.len() as u64;
        Ok(())
    }

    /// Checks the whole file, from header to footer, and gives it its name, durably. Then
    /// [`crate::LogWriter::reset_to_snapshot`] completes the installation.
    pub fn finish(self) -> Result<OffsetAndEpoch, StorageError> {
        self.part.verify()?;
        self.part.finish()?;
        Ok(self.id)
    }
}
