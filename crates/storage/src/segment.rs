//! One `.log` file: where its batches are, and whether all of them are whole.

use crate::disk::{Disk, DiskFile, read_at};
use crate::error::{At, StorageError};
use bytes::Bytes;
use quorate_base::{Epoch, Offset};
use quorate_protocol::batch::{
    Batch, BatchErrorKind, BatchHeader, HEADER_LEN, LENGTH_PREFIX_LEN, batches_at,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes between two entries of the index in memory: a read skips at most this much.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 16 * 1024;
const SCAN_CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base_offset: Offset,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    /// Bytes of whole batches.
    pub size: u64,
    /// Timestamp of the first batch, which the segment's age is reckoned from.
    pub first_timestamp_ms: Option<i64>,
    index: Vec<IndexEntry>,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    offset: Offset,
    position: u64,
}

/// What a scan found behind the last whole batch of a segment.
#[derive(Debug)]
pub(crate) struct Scan {
    /// One past the last record of the whole batches.
    pub end_offset: Offset,
    /// Epochs that begin in the segment and their first offsets.
    pub epochs: Vec<(Epoch, Offset)>,
    /// Bytes in the file, whole batches or not.
    pub file_len: u64,
    pub tail: Tail,
}

#[derive(Debug)]
pub(crate) enum Tail {
    /// Nothing behind the last whole batch.
    Clean,
    /// A last batch that was never written to its end.
    Torn { why: String },
    /// Anything else.
    Corrupt { why: String },
}

pub(crate) fn file_name(base_offset: Offset) -> String {
    format!("{base_offset:020}.log")
}

/// The base offset in a segment's file name; `None` for other files.
pub(crate) fn parse_file_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl Segment {
    /// Creates an empty segment file; its name is not durable yet.
    pub fn create(disk: &dyn Disk, dir: &Path, base_offset: Offset) -> Result<Self, StorageError> {
        let path = dir.join(file_name(base_offset));
        let file = disk.create(&path).at("create", &path)?;
        Ok(Self::new(base_offset, path, file))
    }

    fn new(base_offset: Offset, path: PathBuf, file: Arc<dyn DiskFile>) -> Segment {
        let (size, first_timestamp_ms, index) = (0, None, Vec::new());
        Segment { base_offset, path, file, size, first_timestamp_ms, index }
    }

    /// Opens a segment and reads every batch in it. `last_epoch` is that of the segments before.
    pub fn open(
        disk: &dyn Disk,
        path: PathBuf,
        base_offset: Offset,
        last_epoch: Option<Epoch>,
    ) -> Result<(Segment, Scan), StorageError> {
        let file = disk.open_write(&path).at("open", &path)?;
        let mut segment = Segment::new(base_offset, path, file);
        let scan = segment.scan(last_epoch)?;
        Ok((segment, scan))
    }

    fn scan(&mut self, mut last_epoch: Option<Epoch>) -> Result<Scan, StorageError> {
        let file_len = self.file.len().at("look at", &self.path)?;
        let mut scan =
            Scan { end_offset: self.base_offset, epochs: Vec::new(), file_len, tail: Tail::Clean };
        let mut chunk_len = SCAN_CHUNK_BYTES;
        while self.size < file_len {
            let chunk = self.read(self.size, chunk_len.min(file_len - self.size))?;
            let before = self.size;
            for batch in batches_at(chunk, self.size) {
                let problem = match batch.and_then(|batch| batch.check_crc().map(|()| batch)) {
                    Ok(batch) => match self.misplaced(&batch.header, &scan, last_epoch) {
                        None => {
                            if last_epoch != Some(batch.header.partition_leader_epoch) {
                                last_epoch = Some(batch.header.partition_leader_epoch);
                                scan.epochs.push((
                                    batch.header.partition_leader_epoch,
                                    batch.base_offset(),
                                ));
                            }
                            self.note(&batch.header);
                            scan.end_offset = batch.header.end_offset();
                            continue;
                        }
                        Some(why) => {
                            scan.tail = Tail::Corrupt { why };
                            return Ok(scan);
                        }
                    },
                    Err(error) => error,
                };
                if let BatchErrorKind::Truncated { needed, .. } = problem.kind
                    && needed <= file_len - self.size
                {
                    // Only the chunk ends here, not the file.
                    chunk_len = SCAN_CHUNK_BYTES.max(needed);
                    break;
                }
                let why = problem.kind.to_string();
                scan.tail = match self.find_batch_after(self.size + 1, scan.end_offset, file_len)? {
                    None => Tail::Torn { why },
                    Some(position) => Tail::Corrupt {
                        why: format!("{why}; a whole batch follows at byte {position}"),
                    },
                };
                return Ok(scan);
            }
            if self.size > before {
                chunk_len = SCAN_CHUNK_BYTES;
            }
        }
        Ok(scan)
    }

    /// Why a whole batch cannot stand here, if so. No crash leads to this.
    fn misplaced(
        &self,
        header: &BatchHeader,
        scan: &Scan,
        last_epoch: Option<Epoch>,
    ) -> Option<String> {
        if header.base_offset != scan.end_offset {
            let (found, expected) = (header.base_offset, scan.end_offset);
            return Some(format!("a batch starts at offset {found} where {expected} is due"));
        }
        let epoch = header.partition_leader_epoch;
        match last_epoch {
            _ if epoch < 0 => Some(format!("a batch has epoch {epoch}")),
            Some(last) if epoch < last => {
                Some(format!("a batch of epoch {epoch} follows one of epoch {last}"))
            }
            _ => None,
        }
    }

    /// Position of the first whole batch of at least `min_offset` that starts at `from` or later.
    fn find_batch_after(
        &self,
        from: u64,
        min_offset: Offset,
        file_len: u64,
    ) -> Result<Option<u64>, StorageError> {
        let mut position = from;
        while position + HEADER_LEN as u64 <= file_len {
            let chunk = self.read(position, SCAN_CHUNK_BYTES.min(file_len - position))?;
            let starts = chunk.len().saturating_sub(HEADER_LEN - 1);
            if starts == 0 {
                break;
            }
            for at in 0..starts {
                // The magic byte first: it rules out nearly every position.
                if chunk[at + LENGTH_PREFIX_LEN + 4] != 2 {
                    continue;
                }
                let Ok(header) = BatchHeader::parse(&chunk[at..]) else { continue };
                let here = position + at as u64;
                let size = header.size() as u64;
                if header.base_offset < min_offset || size > file_len - here {
                    continue;
                }
                if let Ok(batch) = Batch::parse(&self.read(here, size)?, here)
                    && batch.is_valid_crc()
                {
                    return Ok(Some(here));
                }
            }
            position += starts as u64;
        }
        Ok(None)
    }

    /// A batch was written (or found) at the end.
    pub fn note(&mut self, header: &BatchHeader) {
        if self.index.last().is_none_or(|last| self.size - last.position >= INDEX_INTERVAL_BYTES) {
            self.index.push(IndexEntry { offset: header.base_offset, position: self.size });
        }
        self.first_timestamp_ms.get_or_insert(header.base_timestamp);
        self.size += header.size() as u64;
    }

    /// A position at or before the batch that holds `offset`, less than
    /// [`INDEX_INTERVAL_BYTES`] before it.
    pub fn position_before(&self, offset: Offset) -> u64 {
        let after = self.index.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map_or(0, |i| self.index[i].position)
    }

    /// Position of the batch that holds `offset` and its base offset; the end if there is none.
    pub fn find(&self, offset: Offset) -> Result<(u64, Option<Offset>), StorageError> {
        let mut position = self.position_before(offset);
        while position < self.size {
            let header = self.read(position, HEADER_LEN as u64)?;
            let header = BatchHeader::parse(&header).map_err(|error| StorageError::Corrupt {
                file: self.path.clone(),
                position,
                why: error.kind.to_string(),
            })?;
            if header.end_offset() > offset {
                return Ok((position, Some(header.base_offset)));
            }
            position += header.size() as u64;
        }
        Ok((self.size, None))
    }

    /// Cuts the file at `position`, which must be the start of a batch, durably.
    pub fn cut(&mut self, position: u64) -> Result<(), StorageError> {
        self.file.set_len(position).at("truncate", &self.path)?;
        self.file.sync().at("sync", &self.path)?;
        self.size = position;
        self.index.retain(|entry| entry.position < position);
        if position == 0 {
            self.first_timestamp_ms = None;
        }
        Ok(())
    }

    /// Exactly `count` bytes, which must be there.
    pub fn read(&self, position: u64, count: u64) -> Result<Bytes, StorageError> {
        let short = |kind: io::ErrorKind| Err(io::Error::from(kind)).at("read", &self.path);
        let Ok(count) = usize::try_from(count) else { return short(io::ErrorKind::FileTooLarge) };
        let bytes = read_at(self.file.as_ref(), position, count).at("read", &self.path)?;
        if bytes.len() < count { short(io::ErrorKind::UnexpectedEof) } else { Ok(bytes) }
    }
}
