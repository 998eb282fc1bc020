//! Reading a snapshot, batch by batch, from the header to the footer.

use crate::disk::{Disk, DiskFile, read_at};
use crate::error::{At, StorageError};
use bytes::Bytes;
use quorate_protocol::batch::{Batch, BatchHeader, HEADER_LEN};
use quorate_protocol::control::{ControlRecord, Voter, control_records};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads one snapshot (or bootstrap checkpoint), by Kafka or by us. Every batch is checked.
#[derive(Debug)]
pub struct SnapshotReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    size: u64,
    position: u64,
    last_contained_log_timestamp_ms: i64,
    kraft_version: Option<i16>,
    voters: Option<Vec<Voter>>,
    footer_seen: bool,
}

impl SnapshotReader {
    /// Opens the file and reads its header.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<SnapshotReader, StorageError> {
        let file = disk.open_read(path).at("open", path)?;
        let size = file.len().at("look at", path)?;
        let mut reader = SnapshotReader {
            file,
            path: path.to_owned(),
            size,
            position: 0,
            last_contained_log_timestamp_ms: 0,
            kraft_version: None,
            voters: None,
            footer_seen: false,
        };
        let first = reader.next_batch()?.filter(Batch::is_control);
        let records = first.map(|batch| reader.control(&batch)).transpose()?.unwrap_or_default();
        match records.split_first() {
            Some((ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms }, rest)) => {
                reader.last_contained_log_timestamp_ms = *last_contained_log_timestamp_ms;
                rest.iter().try_for_each(|record| reader.note(record))?;
                Ok(reader)
            }
            _ => Err(reader.corrupt(0, "a snapshot starts with a header record".to_owned())),
        }
    }

    /// Timestamp of the last record contained, milliseconds since the Unix epoch; 0 in
    /// `bootstrap.checkpoint`.
    pub fn last_contained_log_timestamp_ms(&self) -> i64 {
        self.last_contained_log_timestamp_ms
    }

    /// `kraft.version` as of the snapshot's end; `None` (that is, 0) where not recorded.
    pub fn kraft_version(&self) -> Option<i16> {
        self.kraft_version
    }

    /// The voter set as of the snapshot's end, where recorded.
    pub fn voters(&self) -> Option<&[Voter]> {
        self.voters.as_deref()
    }

    /// Bytes of the file.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// The framed metadata records of the next data batch; `None` after the last. A file that ends
    /// without a footer is corrupt.
    pub fn next_values(&mut self) -> Result<Option<Vec<Bytes>>, StorageError> {
        while let Some(batch) = self.next_batch()? {
            if self.footer_seen {
                return Err(
                    self.corrupt(batch.position, "there are batches behind the footer".into())
                );
            }
            if batch.is_control() {
                for record in self.control(&batch)? {
                    self.note(&record)?;
                }
                continue;
            }
            let values = batch.records().map(|record| record.map(|r| r.value.unwrap_or_default()));
            let values = values.collect::<Result<Vec<_>, _>>();
            return values
                .map(Some)
                .map_err(|error| self.corrupt(error.position, error.kind.to_string()));
        }
        if self.footer_seen {
            return Ok(None);
        }
        Err(self.corrupt(self.position, "the snapshot ends without a footer".to_owned()))
    }

    fn note(&mut self, record: &ControlRecord) -> Result<(), StorageError> {
        match record {
            ControlRecord::KRaftVersion(version) => self.kraft_version = Some(*version),
            ControlRecord::Voters(voters) => self.voters = Some(voters.clone()),
            ControlRecord::SnapshotFooter => self.footer_seen = true,
            ControlRecord::Unknown { .. } => {}
            ControlRecord::SnapshotHeader { .. } | ControlRecord::LeaderChange { .. } => {
                let why = format!("a {} record does not belong here", record.name());
                return Err(self.corrupt(self.position, why));
            }
        }
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, StorageError> {
        if self.position >= self.size {
            return Ok(None);
        }
        let position = self.position;
        let header = self.read(HEADER_LEN as u64)?;
        let size = BatchHeader::parse(&header)
            .map_err(|error| self.corrupt(position, error.kind.to_string()))?
            .size() as u64;
        // Bounded by the file, so that a wrong length allocates nothing.
        let bytes = self.read(size.min(self.size - position))?;
        let batch = Batch::parse(&bytes, position).and_then(|batch| batch.verify().map(|()| batch));
        let batch = batch.map_err(|error| self.corrupt(error.position, error.kind.to_string()))?;
        self.position += size;
        Ok(Some(batch))
    }

    fn control(&self, batch: &Batch) -> Result<Vec<ControlRecord>, StorageError> {
        let records = control_records(batch)
            .map_err(|error| self.corrupt(batch.position, error.to_string()))?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    fn read(&self, count: u64) -> Result<Bytes, StorageError> {
        read_at(self.file.as_ref(), self.position, count as usize).at("read", &self.path)
    }

    fn corrupt(&self, position: u64, why: String) -> StorageError {
        StorageError::Corrupt { file: self.path.clone(), position, why }
    }
}
