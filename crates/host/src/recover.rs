//! From an open directory to what the node needs to know of its disk.

use crate::snapshots::load_snapshot;
use crate::votes::promise;
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_protocol::batch::batches;
use quorate_protocol::control::{ControlRecord, Voter, control_records};
use quorate_raft::{LogSummary, VoterSet};
use quorate_storage::{BOOTSTRAP_SNAPSHOT_ID, LogReader, NodeDir, Snapshots, StorageError};

/// How much of the log is read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Reads the newest snapshot and looks through the log for what raft keeps in it. The metadata
/// records themselves are read later, once it is known which are committed.
pub fn recover(dir: &NodeDir) -> Result<quorate_node::Recovered, StorageError> {
    let ids = dir.snapshots.list()?;
    let newest = ids.last().copied().filter(|&id| id != BOOTSTRAP_SNAPSHOT_ID);
    let mut found = Found::default();
    let mut recovered = quorate_node::Recovered::nothing();
    if ids.contains(&BOOTSTRAP_SNAPSHOT_ID) {
        found.note_header(&dir.snapshots, BOOTSTRAP_SNAPSHOT_ID, -1)?;
    }
    if let Some(id) = newest {
        let loaded = load_snapshot(&dir.snapshots, id)?;
        found.note(id.offset - 1, Some(loaded.kraft_version), loaded.voters.as_deref());
        recovered.image = loaded.image;
        recovered.image_id = id;
        recovered.image_timestamp_ms = loaded.last_contained_log_timestamp_ms;
    }
    recovered.log_bytes_since_image = found.scan(&dir.reader, recovered.image_id.offset)?;
    recovered.raft = quorate_raft::Recovered {
        quorum_state: promise(&dir.election),
        log: summary(&dir.reader, newest),
        snapshots: ids,
        voters: found.voters,
        kraft_versions: found.kraft_versions,
    };
    Ok(recovered)
}

/// Voter sets and versions by offset.
#[derive(Default)]
struct Found {
    voters: Vec<(Offset, VoterSet)>,
    kraft_versions: Vec<(Offset, u16)>,
}

impl Found {
    fn note_header(
        &mut self,
        snapshots: &Snapshots,
        id: OffsetAndEpoch,
        offset: Offset,
    ) -> Result<(), StorageError> {
        let reader = snapshots.open(id)?;
        let version = reader.kraft_version().and_then(|version| u16::try_from(version).ok());
        self.note(offset, version, reader.voters());
        Ok(())
    }

    fn note(&mut self, offset: Offset, version: Option<u16>, voters: Option<&[Voter]>) {
        if let Some(voters) = voters {
            self.voters.push((offset, voter_set(voters)));
        }
        if let Some(version) = version {
            self.kraft_versions.push((offset, version));
        }
    }

    /// Looks through the whole log; gives the bytes of batches that end behind `image_end`.
    fn scan(&mut self, log: &LogReader, image_end: Offset) -> Result<u64, StorageError> {
        let mut bytes_since_image = 0;
        let mut from = log.log_start();
        loop {
            let bytes = log.read(from, READ_BYTES)?;
            if bytes.is_empty() {
                return Ok(bytes_since_image);
            }
            for batch in batches(bytes) {
                // Opening the log has just checked every batch.
                let batch = batch.map_err(|error| unreadable(from, &error.to_string()))?;
                from = batch.last_offset() + 1;
                if from > image_end {
                    bytes_since_image += batch.bytes.len() as u64;
                }
                // The snapshot's header already tells what was in force at its end.
                if batch.is_control() && batch.last_offset() >= image_end {
                    self.note_control(&batch)?;
                }
            }
        }
    }

    fn note_control(&mut self, batch: &quorate_protocol::batch::Batch) -> Result<(), StorageError> {
        let records = control_records(batch)
            .map_err(|error| unreadable(batch.base_offset(), &error.to_string()))?;
        for (offset, record) in records {
            match record {
                ControlRecord::Voters(voters) => self.note(offset, None, Some(&voters)),
                ControlRecord::KRaftVersion(version) => {
                    self.note(offset, u16::try_from(version).ok(), None);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn unreadable(offset: Offset, why: &str) -> StorageError {
    StorageError::Invalid(format!("the log is not readable at offset {offset}: {why}"))
}

fn summary(log: &LogReader, newest: Option<OffsetAndEpoch>) -> LogSummary {
    let epochs = log.epochs();
    let (start, end) = (log.log_start(), log.log_end());
    let empty_epoch = newest.filter(|id| id.offset == end).map_or(0, |id| id.epoch);
    LogSummary {
        start,
        end: OffsetAndEpoch { offset: end, epoch: epochs.last_epoch().unwrap_or(empty_epoch) },
        epoch_starts: epochs.starts().iter().map(|it| (it.epoch, it.start_offset)).collect(),
    }
}

/// The voters of a control record, as raft speaks of them.
pub(crate) fn voter_set(voters: &[Voter]) -> VoterSet {
    VoterSet::new(voters.iter().map(quorate_raft::Voter::from))
}
