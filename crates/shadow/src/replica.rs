//! The image that a log leads to, step by step, with the place of every record.

use crate::compare::QuorumFacts;
use crate::{RecordKey, ShadowError};
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_metadata::{Image, LoadError, Replayer, load_values};
use quorate_protocol::batch::{Batch, batches};
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_protocol::{MetadataRecord, WireError};
use quorate_storage::{LogReader, Snapshots, StorageError};

const READ_BYTES: usize = 4 * 1024 * 1024;

/// An image and where in the log it stands. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Replica {
    replayer: Replayer,
    end: OffsetAndEpoch,
    quorum: QuorumFacts,
    timestamp_ms: i64,
    #[cfg(feature = "planted-fault")]
    fault: Option<fn(&MetadataRecord) -> bool>,
}

/// What was applied, for whoever wants to look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Metadata records.
    pub records: u64,
    /// Batches, control batches included.
    pub batches: u64,
    /// Bytes of the batches.
    pub bytes: u64,
}

impl Replica {
    /// Before the first record.
    pub fn empty() -> Replica {
        Replica::at(Image::empty(), OffsetAndEpoch::default(), QuorumFacts::default(), 0)
    }

    fn at(image: Image, end: OffsetAndEpoch, quorum: QuorumFacts, timestamp_ms: i64) -> Replica {
        Replica {
            replayer: Replayer::new(image),
            end,
            quorum,
            timestamp_ms,
            #[cfg(feature = "planted-fault")]
            fault: None,
        }
    }

    /// For tests that a wrong rule is found: records that `forgets` answers true for are not applied.
    #[cfg(feature = "planted-fault")]
    pub fn with_fault(mut self, forgets: fn(&MetadataRecord) -> bool) -> Replica {
        self.fault = Some(forgets);
        self
    }

    /// The image without the records of an open transaction.
    pub fn image(&self) -> &Image {
        self.replayer.stable()
    }

    /// With the records of an open transaction.
    pub fn latest(&self) -> &Image {
        self.replayer.latest()
    }

    /// One past the last record applied, and its epoch.
    pub fn end(&self) -> OffsetAndEpoch {
        self.end
    }

    /// Voters as of the end.
    pub fn quorum(&self) -> &QuorumFacts {
        &self.quorum
    }

    /// Timestamp of the last record, milliseconds since the Unix epoch; 0 before the first.
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Applies the log up to `until` (exclusive). `look` sees each data batch's records before they are
    /// applied, with the image before them.
    pub fn replay(
        &mut self,
        log: &LogReader,
        until: Offset,
        mut look: impl FnMut(&Replica, &[(Offset, MetadataRecord)]),
    ) -> Result<Applied, ShadowError> {
        let mut applied = Applied::default();
        while self.end.offset < until {
            let bytes = log.read_until(self.end.offset, until, READ_BYTES)?;
            if bytes.is_empty() {
                let why = format!("the log has no whole batches up to offset {until}");
                return Err(ShadowError::NotThere(why));
            }
            for batch in batches(bytes) {
                let batch = batch.map_err(|error| unreadable(self.end.offset, &error))?;
                applied.batches += 1;
                applied.bytes += batch.bytes.len() as u64;
                applied.records += self.batch(&batch, &mut look)?;
            }
        }
        Ok(applied)
    }

    /// Applies batches up to the last whose newest record is not younger than `until_ms`.
    pub fn replay_until_time(&mut self, log: &LogReader, until_ms: i64) -> Result<(), ShadowError> {
        while self.end.offset < log.log_end() {
            let bytes = log.read(self.end.offset, READ_BYTES)?;
            for batch in batches(bytes) {
                let batch = batch.map_err(|error| unreadable(self.end.offset, &error))?;
                if batch.header.max_timestamp > until_ms {
                    return Ok(());
                }
                self.batch(&batch, &mut |_, _| ())?;
            }
        }
        Ok(())
    }

    /// Applies whole batches that end at or before `until`; one that holds it is left out, as a batch is
    /// committed as a whole.
    pub fn replay_until_offset(
        &mut self,
        log: &LogReader,
        until: Offset,
    ) -> Result<(), ShadowError> {
        loop {
            let bytes = log.read_until(self.end.offset, until, READ_BYTES)?;
            if bytes.is_empty() {
                return Ok(());
            }
            for batch in batches(bytes) {
                let batch = batch.map_err(|error| unreadable(self.end.offset, &error))?;
                self.batch(&batch, &mut |_, _| ())?;
            }
        }
    }

    fn batch(
        &mut self,
        batch: &Batch,
        look: &mut impl FnMut(&Replica, &[(Offset, MetadataRecord)]),
    ) -> Result<u64, ShadowError> {
        let mut count = 0;
        if batch.is_control() {
            let records = control_records(batch).map_err(|error| {
                StorageError::Invalid(format!("control batch at {}: {error}", batch.base_offset()))
            })?;
            for (_, record) in records {
                match record {
                    ControlRecord::Voters(voters) => self.quorum.voters = Some(voters),
                    ControlRecord::KRaftVersion(version) => {
                        self.quorum.kraft_version = Some(version);
                    }
                    _ => {}
                }
            }
        } else {
            let records = decoded(batch)?;
            look(self, &records);
            for (offset, record) in &records {
                if self.is_forgotten(record) {
                    continue;
                }
                self.replayer
                    .apply(record)
                    .map_err(|source| LoadError::Inapplicable { offset: *offset, source })?;
            }
            count = records.len() as u64;
        }
        let epoch = batch.header.partition_leader_epoch;
        self.end = OffsetAndEpoch { offset: batch.header.end_offset(), epoch };
        self.timestamp_ms = batch.header.max_timestamp;
        Ok(count)
    }

    #[cfg(feature = "planted-fault")]
    fn is_forgotten(&self, record: &MetadataRecord) -> bool {
        self.fault.is_some_and(|forgets| forgets(record))
    }

    #[cfg(not(feature = "planted-fault"))]
    fn is_forgotten(&self, _: &MetadataRecord) -> bool {
        false
    }
}

/// The last record of the log below `until` that touches `key`: its offset and the record.
pub(crate) fn last_change(
    log: &LogReader,
    from: Offset,
    until: Offset,
    key: &RecordKey,
) -> Result<Option<(Offset, MetadataRecord)>, ShadowError> {
    let (mut at, mut found) = (from, None);
    while at < until {
        let bytes = log.read_until(at, until, READ_BYTES)?;
        if bytes.is_empty() {
            break;
        }
        for batch in batches(bytes) {
            let batch = batch.map_err(|error| unreadable(at, &error))?;
            at = batch.header.end_offset();
            if !batch.is_control() {
                let touching = decoded(&batch)?.into_iter();
                found = touching
                    .filter(|(_, record)| RecordKey::of(record).touches(key))
                    .last()
                    .or(found);
            }
        }
    }
    Ok(found)
}

fn decoded(batch: &Batch) -> Result<Vec<(Offset, MetadataRecord)>, ShadowError> {
    let mut records = Vec::new();
    for record in batch.records() {
        let record = record.map_err(|error| unreadable(batch.base_offset(), &error))?;
        let offset = record.offset;
        let value = record.value.unwrap_or_default();
        let (decoded, _) = MetadataRecord::decode_framed(value).map_err(|source| match source {
            WireError::UnknownRecord(key) => LoadError::UnknownRecord { offset, key },
            source => LoadError::Undecodable { offset, source },
        })?;
        records.push((offset, decoded));
    }
    Ok(records)
}

fn unreadable(offset: Offset, why: &dyn std::fmt::Display) -> ShadowError {
    StorageError::Invalid(format!("the log is not readable at offset {offset}: {why}")).into()
}

/// The image of a snapshot.
pub fn load_snapshot(snapshots: &Snapshots, id: OffsetAndEpoch) -> Result<Replica, ShadowError> {
    let mut reader = snapshots.open(id)?;
    let mut replayer = Replayer::new(Image::empty());
    while let Some(values) = reader.next_values()? {
        load_values(&mut replayer, (0..).zip(values))?;
    }
    let quorum = QuorumFacts {
        kraft_version: reader.kraft_version(),
        voters: reader.voters().map(<[_]>::to_vec),
    };
    let timestamp_ms = reader.last_contained_log_timestamp_ms();
    Ok(Replica::at(replayer.stable().clone(), id, quorum, timestamp_ms))
}
