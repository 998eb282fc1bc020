//! The snapshot thread's jobs: writing snapshots, receiving and loading the leader's, and knowing which
//! ones others are reading.

use crate::recover::voter_set;
use bytes::Bytes;
use quorate_base::{OffsetAndEpoch, Prng};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_node::Event;
use quorate_protocol::control::{ControlRecord, Voter};
use quorate_storage::{
    SnapshotReader, SnapshotReads, SnapshotReceiver, SnapshotVoters, Snapshots, StorageError,
};

/// How often retention is looked at, beside after each snapshot.
const RETENTION_INTERVAL_MS: i64 = 60_000;

/// A snapshot to be written.
#[derive(Debug)]
pub struct SnapshotJob {
    /// Its name.
    pub id: OffsetAndEpoch,
    /// The state.
    pub image: Image,
    /// Voters and kraft.version for its header; none in a static quorum.
    pub control_records: Vec<ControlRecord>,
    /// Of the last record in it.
    pub last_contained_log_timestamp_ms: i64,
}

/// Snapshots being written, received and read. One for each directory.
#[derive(Debug)]
pub struct SnapshotDesk {
    snapshots: Snapshots,
    /// Names part files.
    prng: Prng,
    receiving: Option<Receiving>,
    reads: SnapshotReads,
    /// When retention was looked at last.
    retained_ms: i64,
}

/// A download; an error in the middle is told when it should be installed.
#[derive(Debug)]
struct Receiving {
    id: OffsetAndEpoch,
    part: Result<SnapshotReceiver, String>,
}

/// Why a snapshot that was received is not in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InstallError {
    /// It was not received as it should be, and is gone; the node goes on without it.
    Rejected(String),
    /// It is complete, ahead of the log, and cannot be loaded: the node cannot go on.
    Unreadable(String),
}

impl SnapshotDesk {
    /// A desk for an open directory. `now_ms` is wall time.
    pub fn new(snapshots: Snapshots, prng: Prng, now_ms: i64) -> SnapshotDesk {
        SnapshotDesk {
            snapshots,
            prng,
            receiving: None,
            reads: SnapshotReads::default(),
            retained_ms: now_ms,
        }
    }

    /// The directory's snapshots.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Writes a snapshot, and gives the news of that.
    pub fn write(&mut self, job: &SnapshotJob, now_ms: i64) -> Event {
        let id = job.id;
        match self.try_write(job, now_ms) {
            Ok(size_bytes) => Event::SnapshotWritten { id, size_bytes },
            Err(error) => Event::SnapshotFailed { id, why: error.to_string() },
        }
    }

    fn try_write(&mut self, job: &SnapshotJob, now_ms: i64) -> Result<u64, StorageError> {
        let last_ms = job.last_contained_log_timestamp_ms;
        let voters = snapshot_voters(&job.control_records);
        let mut writer = self.snapshots.create(job.id, last_ms, now_ms, &voters, &mut self.prng)?;
        for (record, version) in job.image.to_records() {
            let value = record.encode_framed(version).expect("an image's records can be written");
            writer.append(value)?;
        }
        writer.finish()
    }

    /// Takes a part of the leader's snapshot; position 0 begins anew. False if the beginning is
    /// missing: the part is dropped.
    pub fn receive(&mut self, id: OffsetAndEpoch, position: u64, bytes: &Bytes) -> bool {
        if position == 0 {
            let part = self.snapshots.receive(id, &mut self.prng);
            self.receiving = Some(Receiving { id, part: part.map_err(|error| error.to_string()) });
        }
        let Some(receiving) = self.receiving.as_mut().filter(|receiving| receiving.id == id) else {
            return false;
        };
        if let Ok(part) = &mut receiving.part {
            if part.position() != position {
                let why = format!("byte {position} came where {} was due", part.position());
                receiving.part = Err(why);
            } else if let Err(error) = part.append(bytes) {
                receiving.part = Err(error.to_string());
            }
        }
        true
    }

    /// Forgets a download.
    pub fn discard(&mut self, id: OffsetAndEpoch) {
        self.receiving.take_if(|receiving| receiving.id == id);
    }

    /// Completes a download and loads the snapshot. From then on it counts, whatever happens, as it is
    /// ahead of the log, which is to be emptied next.
    pub fn complete(&mut self, id: OffsetAndEpoch) -> Result<LoadedSnapshot, InstallError> {
        let received = match self.receiving.take_if(|receiving| receiving.id == id) {
            Some(receiving) => receiving.part,
            None => Err("no download of it is under way".to_owned()),
        };
        received
            .and_then(|part| part.finish().map_err(|error| error.to_string()))
            .map_err(InstallError::Rejected)?;
        load_snapshot(&self.snapshots, id).map_err(|error| {
            let why = format!("the leader's snapshot at {id} cannot be loaded: {error}");
            InstallError::Unreadable(why)
        })
    }

    /// A part of that snapshot is given to a follower, which will want the rest. True if retention was
    /// not looked at for a while.
    pub fn read_by_other(&mut self, id: OffsetAndEpoch, now_ms: i64) -> bool {
        self.reads.note(id, now_ms);
        now_ms.saturating_sub(self.retained_ms) >= RETENTION_INTERVAL_MS
    }

    /// Retention is about to be looked at: these snapshots must stay, as others are reading them.
    pub fn in_use(&mut self, now_ms: i64) -> Vec<OffsetAndEpoch> {
        self.retained_ms = now_ms;
        self.reads.in_use(now_ms)
    }
}

/// What raft wants in a snapshot's header, as storage takes it.
fn snapshot_voters(control: &[ControlRecord]) -> SnapshotVoters {
    let kraft_version = control.iter().find_map(|record| match record {
        ControlRecord::KRaftVersion(version) => Some(*version),
        _ => None,
    });
    let voters = control.iter().find_map(|record| match record {
        ControlRecord::Voters(voters) => Some(voters.clone()),
        _ => None,
    });
    match (kraft_version, voters) {
        (Some(kraft_version), Some(voters)) => SnapshotVoters::Dynamic { kraft_version, voters },
        _ => SnapshotVoters::Static,
    }
}

/// A snapshot in memory.
#[derive(Debug)]
pub struct LoadedSnapshot {
    /// Its name.
    pub id: OffsetAndEpoch,
    /// The state.
    pub image: Image,
    /// The voters in its header.
    pub voters: Option<Vec<Voter>>,
    /// The kraft.version in its header; 0 if there is none.
    pub kraft_version: u16,
    /// Of its header.
    pub last_contained_log_timestamp_ms: i64,
}

impl LoadedSnapshot {
    /// The news for the node, once the log is emptied for it.
    pub fn into_installed(self) -> Event {
        Event::SnapshotInstalled {
            id: self.id,
            image: Box::new(self.image),
            voters: self.voters.map(|voters| voter_set(&voters)),
            kraft_version: self.kraft_version,
            last_contained_log_timestamp_ms: self.last_contained_log_timestamp_ms,
        }
    }
}

/// Reads a snapshot whole.
pub fn load_snapshot(
    snapshots: &Snapshots,
    id: OffsetAndEpoch,
) -> Result<LoadedSnapshot, StorageError> {
    let mut reader = snapshots.open(id)?;
    let image = load_image(&mut reader).map_err(|error| match error {
        LoadFailure::Storage(error) => error,
        LoadFailure::Record(why) => StorageError::BadFile { file: snapshots.path(id), why },
    })?;
    let kraft_version = reader.kraft_version().unwrap_or(0);
    Ok(LoadedSnapshot {
        id,
        image,
        voters: reader.voters().map(<[Voter]>::to_vec),
        kraft_version: u16::try_from(kraft_version).unwrap_or(0),
        last_contained_log_timestamp_ms: reader.last_contained_log_timestamp_ms(),
    })
}

enum LoadFailure {
    Storage(StorageError),
    Record(String),
}

fn load_image(reader: &mut SnapshotReader) -> Result<Image, LoadFailure> {
    let mut replayer = Replayer::new(Image::empty());
    let mut offset = 0;
    while let Some(values) = reader.next_values().map_err(LoadFailure::Storage)? {
        let numbered = (offset..).zip(values);
        offset += load_values(&mut replayer, numbered)
            .map_err(|error| LoadFailure::Record(error.to_string()))?
            .cast_signed();
    }
    Ok(replayer.latest().clone())
}
