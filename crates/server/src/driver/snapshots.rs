//! The snapshot thread: writes snapshots, receives and loads the leader's, and deletes what retention
//! says. Slow work, away from everything that answers.

use super::disk::DiskThread;
use super::queue::{CoreQueue, FailIfPanicking};
use bytes::Bytes;
use quorate_base::{OffsetAndEpoch, Prng};
use quorate_host::{InstallError, LoadedSnapshot, SnapshotDesk, SnapshotJob};
use quorate_node::Event;
use quorate_storage::{Retention, Snapshots};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often retention is looked at, beside after each snapshot.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread is asked for, in order.
enum Job {
    Write(Box<SnapshotJob>),
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

/// The way to the snapshot thread; cheap to clone.
#[derive(Clone)]
pub struct SnapshotThread {
    jobs: Sender<Job>,
}

/// What the thread works with.
pub struct SnapshotTools {
    /// The snapshots of the metadata directory.
    pub snapshots: Snapshots,
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
        let SnapshotTools { snapshots, disk, core, retention, wall_ms, prng } = tools;
        let desk = SnapshotDesk::new(snapshots, prng, wall_ms());
        let worker = Worker { desk, disk, core, retention, wall_ms };
        let thread =
            std::thread::Builder::new().name("quorate-snapshot".to_owned()).spawn(move || {
                let _guard = guard;
                worker.run(&queue);
            })?;
        Ok((SnapshotThread { jobs }, thread))
    }

    /// Writes a snapshot; `Event::SnapshotWritten` or `SnapshotFailed` follows.
    pub fn write(&self, job: SnapshotJob) {
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
    desk: SnapshotDesk,
    disk: DiskThread,
    core: CoreQueue,
    retention: Retention,
    wall_ms: fn() -> i64,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(RETENTION_INTERVAL) {
                Ok(Job::Write(job)) => {
                    let written = self.desk.write(&job, (self.wall_ms)());
                    self.core.tell(written);
                    drop(job);
                    self.retain();
                }
                Ok(Job::Download { id, position, bytes }) => {
                    if !self.desk.receive(id, position, &bytes) {
                        tracing::warn!(%id, position, "a part of a snapshot whose beginning is missing");
                    }
                }
                Ok(Job::Discard { id }) => self.desk.discard(id),
                Ok(Job::Install { id }) => {
                    self.install(id);
                    self.retain();
                }
                Err(RecvTimeoutError::Timeout) => self.retain(),
                Ok(Job::Read { id }) => {
                    if self.desk.read_by_other(id, (self.wall_ms)()) {
                        self.retain();
                    }
                }
                Ok(Job::Close) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn install(&mut self, id: OffsetAndEpoch) {
        match self.desk.complete(id) {
            Ok(loaded) => self.adopt(loaded),
            Err(InstallError::Rejected(why)) => {
                self.core.tell(Event::SnapshotRejected { id, why });
            }
            Err(InstallError::Unreadable(why)) => self.core.fail(why, 3),
        }
    }

    fn adopt(&mut self, loaded: LoadedSnapshot) {
        let id = loaded.id;
        match self.disk.reset(id) {
            Ok(Ok(())) => self.core.tell(loaded.into_installed()),
            Ok(Err(error)) => {
                let why = format!("the log cannot be emptied for the snapshot at {id}: {error}");
                self.core.fail(why, error.exit_code());
            }
            // The core has been told why the disk thread is gone.
            Err(_) => {}
        }
    }

    /// Deletes what retention allows. The disk thread does it: it owns the log.
    fn retain(&mut self) {
        let now_ms = (self.wall_ms)();
        let in_use = self.desk.in_use(now_ms);
        let snapshots = self.desk.snapshots().clone();
        let Ok(retained) = self.disk.clean(snapshots, self.retention, now_ms, in_use) else {
            return;
        };
        if let Some(start) = retained.start {
            let (snapshots, segments) =
                (retained.cleaned.snapshots.len(), retained.cleaned.segments);
            tracing::info!(start, snapshots, segments, "deleted what retention lets go");
        }
        if let Some(error) = &retained.failure {
            tracing::warn!(%error, "old snapshots or segments could not be deleted");
        }
        for event in retained.into_events() {
            self.core.tell(event);
        }
    }
}
