//! A snapshot that comes in pieces, loaded while it comes: no more than a batch is kept.

use crate::live::LiveError;
use bytes::{Buf, Bytes, BytesMut};
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::batch::{Batch, BatchError, BatchErrorKind};
use quorate_protocol::control::{ControlRecord, Voter, control_records};

/// A batch larger than this is not waited for: Kafka writes none above 8 MiB.
pub const BATCH_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// What a whole snapshot holds.
#[derive(Clone, Debug)]
pub struct LoadedSnapshot {
    /// All metadata in it.
    pub image: Image,
    /// Number of metadata records.
    pub records: u64,
    /// Timestamp of the last record contained, milliseconds since the Unix epoch.
    pub last_contained_log_timestamp_ms: i64,
    /// `kraft.version`, where recorded.
    pub kraft_version: Option<i16>,
    /// The voters, where recorded.
    pub voters: Option<Vec<Voter>>,
}

/// Takes a snapshot's bytes in pieces of any size.
#[derive(Debug)]
pub struct SnapshotStream {
    id: OffsetAndEpoch,
    rest: BytesMut,
    position: u64,
    due: Offset,
    replayer: Replayer,
    loaded: LoadedSnapshot,
    header_seen: bool,
    footer_seen: bool,
}

impl SnapshotStream {
    /// A snapshot of which nothing has come yet.
    pub fn new(id: OffsetAndEpoch) -> SnapshotStream {
        SnapshotStream {
            id,
            rest: BytesMut::new(),
            position: 0,
            due: 0,
            replayer: Replayer::new(Image::empty()),
            loaded: LoadedSnapshot {
                image: Image::empty(),
                records: 0,
                last_contained_log_timestamp_ms: 0,
                kraft_version: None,
                voters: None,
            },
            header_seen: false,
            footer_seen: false,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), LiveError> {
        self.rest.extend_from_slice(piece);
        loop {
            let batch = match Batch::parse(&self.peek(), self.position) {
                Ok(batch) => batch,
                Err(BatchError { kind: BatchErrorKind::Truncated { needed, .. }, .. })
                    if needed <= BATCH_BYTES_MAX =>
                {
                    return Ok(());
                }
                Err(error) => return Err(self.bad(error)),
            };
            batch.verify().map_err(|error| self.bad(error))?;
            self.take(&batch)?;
            self.position += batch.header.size() as u64;
            self.rest.advance(batch.header.size());
        }
    }

    /// Nothing more comes: it must have been whole.
    pub fn finish(mut self) -> Result<LoadedSnapshot, LiveError> {
        if !self.rest.is_empty() || !self.footer_seen {
            return Err(self.bad("it ends without a footer"));
        }
        self.loaded.image = self.replayer.stable().clone();
        Ok(self.loaded)
    }

    /// The bytes of the next batch, or all there are.
    fn peek(&self) -> Bytes {
        let size = self.rest.get(8..12).and_then(|field| field.first_chunk::<4>());
        let size = size.map_or(0, |field| i32::from_be_bytes(*field).max(0) as usize + 12);
        let size = size.max(quorate_protocol::batch::HEADER_LEN).min(self.rest.len());
        Bytes::copy_from_slice(&self.rest[..size])
    }

    fn take(&mut self, batch: &Batch) -> Result<(), LiveError> {
        if self.footer_seen {
            return Err(self.bad("there are batches behind the footer"));
        }
        if batch.base_offset() != self.due {
            let (found, due) = (batch.base_offset(), self.due);
            return Err(self.bad(format!("a batch has offset {found} where {due} is due")));
        }
        self.due = batch.header.end_offset();
        if !batch.is_control() {
            if !self.header_seen {
                return Err(self.bad("it does not start with a header"));
            }
            let records = batch.records().collect::<Result<Vec<_>, _>>();
            let records = records.map_err(|error| self.bad(error))?;
            let values = records.into_iter().map(|it| (it.offset, it.value.unwrap_or_default()));
            self.loaded.records += load_values(&mut self.replayer, values)?;
            return Ok(());
        }
        for (_, record) in control_records(batch).map_err(|error| self.bad(error))? {
            match record {
                ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms } => {
                    self.header_seen = true;
                    self.loaded.last_contained_log_timestamp_ms = last_contained_log_timestamp_ms;
                }
                ControlRecord::SnapshotFooter => self.footer_seen = true,
                ControlRecord::KRaftVersion(version) => self.loaded.kraft_version = Some(version),
                ControlRecord::Voters(voters) => self.loaded.voters = Some(voters),
                ControlRecord::LeaderChange { .. } | ControlRecord::Unknown { .. } => {}
            }
        }
        Ok(())
    }

    fn bad(&self, why: impl ToString) -> LiveError {
        LiveError::BadSnapshot { id: self.id, why: why.to_string() }
    }
}
