//! Snapshots as the server's snapshot thread writes, receives and loads them, without the thread.

use quorate_base::{OffsetAndEpoch, Prng};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::control::{ControlRecord, Voter};
use quorate_storage::{SnapshotReceiver, SnapshotVoters, Snapshots, StorageError};

/// A snapshot to be written.
#[derive(Debug)]
pub struct Write {
    pub id: OffsetAndEpoch,
    pub image: Image,
    pub control_records: Vec<ControlRecord>,
    pub last_contained_log_timestamp_ms: i64,
}

/// A download; an error in the middle is told when it should be installed.
#[derive(Debug)]
pub struct Receiving {
    pub id: OffsetAndEpoch,
    pub part: Result<SnapshotReceiver, String>,
}

/// Writes a snapshot and gives its size.
pub fn write(
    snapshots: &Snapshots,
    job: &Write,
    now_ms: i64,
    prng: &mut Prng,
) -> Result<u64, StorageError> {
    let voters = snapshot_voters(&job.control_records);
    let last_ms = job.last_contained_log_timestamp_ms;
    let mut writer = snapshots.create(job.id, last_ms, now_ms, &voters, prng)?;
    for (record, version) in job.image.to_records() {
        let value = record.encode_framed(version).expect("an image's records can be written");
        writer.append(value)?;
    }
    writer.finish()
}

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
pub struct LoadedSnapshot {
    pub image: Image,
    pub voters: Option<Vec<Voter>>,
    pub kraft_version: u16,
    pub last_contained_log_timestamp_ms: i64,
}

/// Reads a snapshot whole.
pub fn load(snapshots: &Snapshots, id: OffsetAndEpoch) -> Result<LoadedSnapshot, StorageError> {
    let mut reader = snapshots.open(id)?;
    let mut replayer = Replayer::new(Image::empty());
    let mut offset = 0;
    while let Some(values) = reader.next_values()? {
        let count = load_values(&mut replayer, (offset..).zip(values));
        offset += count.map_err(|error| StorageError::Invalid(error.to_string()))?.cast_signed();
    }
    let kraft_version = reader.kraft_version().unwrap_or(0);
    Ok(LoadedSnapshot {
        image: replayer.latest().clone(),
        voters: reader.voters().map(<[Voter]>::to_vec),
        kraft_version: u16::try_from(kraft_version).unwrap_or(0),
        last_contained_log_timestamp_ms: reader.last_contained_log_timestamp_ms(),
    })
}
