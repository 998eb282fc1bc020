//! The snapshot thread: writes snapshots, receives and loads the leader's, and deletes what retention
//! says. Slow work, away from everything that answers.

use super::disk::DiskThread;
use super::queue::{CoreQueue, FailIfPanicking};
use bytes::Bytes;
use quorate_base::{OffsetAndEpoch, Prng};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_node::Event;
use quorate_protocol::control::{ControlRecord, Voter};
use quorate_storage::{
    LogReader, Retention, SnapshotReader, SnapshotReads, SnapshotReceiver, SnapshotVoters,
    Snapshots, StorageError,
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often retention is looked at, beside after each snapshot.
const RETENTION_INTERVAL_MS: i64 = 60_000;
const RETENTION_INTERVAL: Duration = Duration::from_millis(RETENTION_INTERVAL_MS.unsigned_abs());

/// What the thread is asked for, in order.
enum Job {
    Write(Box<Write>),
    Download {
        id: OffsetAndEpoch,
        position: u64,
        bytes: Bytes,
    },
    Discard {
        id: OffsetAndEpoch,
    },
    Install {
        id: OffsetAndEpoch,
    },
    /// A part of it is given to a follower.
    Read {
        id: OffsetAndEpoch,
    },
    Close,
}

/// A snapshot to be written.
struct Write {
    id: OffsetAndEpoch,
    image: Image,
    control_records: Vec<ControlRecord>,
    last_contained_log_timestamp_ms: i64,
}

/// The way to the snapshot thread; cheap to clone.
#[derive(Clone)]
pub struct SnapshotThread {
    jobs: Sender<Job>,
}

/// What the thread works with.
pub struct SnapshotTools {
    /// The snapshots of the metadata directory.
    pub snapshots: Snapshots,
    /// To see how large the log is.
    pub log: LogReader,
    /// To empty or shorten the log.
    pub disk: DiskThread,
    /// To report.
    pub core: CoreQueue,
    /// What is kept.
    pub retention: Retention,
    /// Wall clock in milliseconds.
    pub wall_ms: fn() -> i64,
    /// Names part files.
    pub prng: Prng,
}

impl SnapshotThread {
    /// Starts the thread; it ends with [`SnapshotThread::close`].
    pub fn start(tools: SnapshotTools) -> std::io::Result<(SnapshotThread, JoinHandle<()>)> {
        let (jobs, queue) = channel();
        let guard = FailIfPanicking { core: tools.core.clone(), thread: "snapshot" };
        let retained_ms = (tools.wall_ms)();
        let reads = SnapshotReads::default();
        let worker = Worker { tools, receiving: None, reads, retained_ms };
        let thread =
            std::thread::Builder::new().name("quorate-snapshot".to_owned()).spawn(move || {
                let _guard = guard;
                worker.run(&queue);
            })?;
        Ok((SnapshotThread { jobs }, thread))
    }

    /// Writes a snapshot; `Event::SnapshotWritten` or `SnapshotFailed` follows.
    pub fn write(
        &self,
        id: OffsetAndEpoch,
        image: Image,
        control_records: Vec<ControlRecord>,
        last_contained_log_timestamp_ms: i64,
    ) {
        let job = Write { id, image, control_records, last_contained_log_timestamp_ms };
        self.send(Job::Write(Box::new(job)));
    }

    /// Takes a part of the leader's snapshot; position 0 begins anew.
    pub fn download(&self, id: OffsetAndEpoch, position: u64, bytes: Bytes) {
        self.send(Job::Download { id, position, bytes });
    }

    /// Forgets a download.
    pub fn discard(&self, id: OffsetAndEpoch) {
        self.send(Job::Discard { id });
    }

    /// Completes a download; `Event::SnapshotInstalled` or `SnapshotRejected` follows.
    pub fn install(&self, id: OffsetAndEpoch) {
        self.send(Job::Install { id });
    }

    /// A part of that snapshot is given to a follower, which will want the rest.
    pub fn reading(&self, id: OffsetAndEpoch) {
        self.send(Job::Read { id });
    }

    /// Ends the thread after what it is doing.
    pub fn close(&self) {
        self.send(Job::Close);
    }

    fn send(&self, job: Job) {
        // The thread lives until it is closed, and then nothing is missed.
        let _ = self.jobs.send(job);
    }
}

struct Worker {
    tools: SnapshotTools,
    receiving: Option<Receiving>,
    reads: SnapshotReads,
    /// When retention was looked at last.
    retained_ms: i64,
}

/// A download; an error in the middle is told when it should be installed.
struct Receiving {
    id: OffsetAndEpoch,
    part: Result<SnapshotReceiver, String>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(RETENTION_INTERVAL) {
                Ok(Job::Write(job)) => {
                    self.write(&job);
                    drop(job);
                    self.retain();
                }
                Ok(Job::Download { id, position, bytes }) => self.download(id, position, &bytes),
                Ok(Job::Discard { id }) => {
                    self.receiving.take_if(|receiving| receiving.id == id);
                }
                Ok(Job::Install { id }) => {
                    self.install(id);
                    self.retain();
                }
                Err(RecvTimeoutError::Timeout) => self.retain(),
                Ok(Job::Read { id }) => {
                    let now_ms = (self.tools.wall_ms)();
                    self.reads.note(id, now_ms);
                    if now_ms.saturating_sub(self.retained_ms) >= RETENTION_INTERVAL_MS {
                        self.retain();
                    }
                }
                Ok(Job::Close) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, job: &Write) {
        let id = job.id;
        let event = match self.try_write(job) {
            Ok(size_bytes) => Event::SnapshotWritten { id, size_bytes },
            Err(error) => Event::SnapshotFailed { id, why: error.to_string() },
        };
        self.tools.core.tell(event);
    }

    fn try_write(&mut self, job: &Write) -> Result<u64, StorageError> {
        let tools = &mut self.tools;
        let (now_ms, last_ms) = ((tools.wall_ms)(), job.last_contained_log_timestamp_ms);
        let voters = snapshot_voters(&job.control_records);
        let mut writer =
            tools.snapshots.create(job.id, last_ms, now_ms, &voters, &mut tools.prng)?;
        for (record, version) in job.image.to_records() {
            let value = record.encode_framed(version).expect("an image's records can be written");
            writer.append(value)?;
        }
        writer.finish()
    }

    fn download(&mut self, id: OffsetAndEpoch, position: u64, bytes: &Bytes) {
        if position == 0 {
            let part = self.tools.snapshots.receive(id, &mut self.tools.prng);
            self.receiving = Some(Receiving { id, part: part.map_err(|error| error.to_string()) });
        }
        let Some(receiving) = self.receiving.as_mut().filter(|receiving| receiving.id == id) else {
            tracing::warn!(%id, position, "a part of a snapshot whose beginning is missing");
            return;
        };
        let Ok(part) = &mut receiving.part else { return };
        if part.position() != position {
            let why = format!("byte {position} came where {} was due", part.position());
            receiving.part = Err(why);
        } else if let Err(error) = part.append(bytes) {
            receiving.part = Err(error.to_string());
        }
    }

    fn install(&mut self, id: OffsetAndEpoch) {
        let received = match self.receiving.take_if(|receiving| receiving.id == id) {
            Some(receiving) => receiving.part,
            None => Err("no download of it is under way".to_owned()),
        };
        let named = received.and_then(|part| part.finish().map_err(|error| error.to_string()));
        if let Err(why) = named {
            self.tools.core.tell(Event::SnapshotRejected { id, why });
            return;
        }
        // From here on the snapshot counts, whatever happens: it is ahead of the log.
        match load(&self.tools.snapshots, id) {
            Ok(loaded) => self.adopt(id, loaded),
            Err(error) => {
                let why = format!("the leader's snapshot at {id} cannot be loaded: {error}");
                self.tools.core.fail(why, 3);
            }
        }
    }

    fn adopt(&mut self, id: OffsetAndEpoch, loaded: LoadedSnapshot) {
        match self.tools.disk.reset(id) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let why = format!("the log cannot be emptied for the snapshot at {id}: {error}");
                return self.tools.core.fail(why, error.exit_code());
            }
            Err(_) => return,
        }
        self.tools.core.tell(Event::SnapshotInstalled {
            id,
            image: Box::new(loaded.image),
            voters: loaded.voters.map(|voters| super::recovery::voter_set(&voters)),
            kraft_version: loaded.kraft_version,
            last_contained_log_timestamp_ms: loaded.last_contained_log_timestamp_ms,
        });
    }

    /// Deletes what retention allows. The disk thread does it: it owns the log.
    fn retain(&mut self) {
        let tools = &self.tools;
        let before = tools.log.log_start();
        let now_ms = (tools.wall_ms)();
        self.retained_ms = now_ms;
        let (snapshots, in_use) = (tools.snapshots.clone(), self.reads.in_use(now_ms));
        let Ok(cleaned) = tools.disk.clean(snapshots, tools.retention, now_ms, in_use) else {
            return;
        };
        match cleaned {
            Ok(cleaned) => {
                let start = tools.log.log_start();
                if start > before {
                    let (snapshots, segments) = (cleaned.snapshots.len(), cleaned.segments);
                    tracing::info!(start, snapshots, segments, "deleted what retention lets go");
                    tools.core.tell(Event::LogStartMoved { start });
                }
                if !cleaned.snapshots.is_empty() {
                    tools.core.tell(Event::SnapshotsDeleted { ids: cleaned.snapshots });
                }
            }
            Err(error) => tracing::warn!(%error, "old snapshots or segments could not be deleted"),
        }
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
pub struct LoadedSnapshot {
    /// The state.
    pub image: Image,
    /// The voters in its header.
    pub voters: Option<Vec<Voter>>,
    /// The kraft.version in its header; 0 if there is none.
    pub kraft_version: u16,
    /// Of its header.
    pub last_contained_log_timestamp_ms: i64,
}

/// Reads a snapshot whole.
pub fn load(snapshots: &Snapshots, id: OffsetAndEpoch) -> Result<LoadedSnapshot, StorageError> {
    let mut reader = snapshots.open(id)?;
    let image = load_image(&mut reader).map_err(|error| match error {
        LoadFailure::Storage(error) => error,
        LoadFailure::Record(why) => StorageError::BadFile { file: snapshots.path(id), why },
    })?;
    let kraft_version = reader.kraft_version().unwrap_or(0);
    Ok(LoadedSnapshot {
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
