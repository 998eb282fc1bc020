//! The disk thread: appends and syncs the metadata log.
//!
//! Group commit without a timer: whatever arrived during the last sync is written and goes into the
//! next one.

use super::queue::{CoreQueue, FailIfPanicking};
use crate::telemetry::{Telemetry, since_start};
use quorate_base::OffsetAndEpoch;
use quorate_host::Retained;
use quorate_node::LogAppend;
use quorate_storage::{LogWriter, Retention, Snapshots, StorageError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Bytes written before a sync at most, so that nobody waits for an endless one.
const BYTES_PER_SYNC_MAX: usize = 64 * 1024 * 1024;

/// What the thread is asked for, in order.
enum Job {
    Append(LogAppend),
    Truncate {
        to: OffsetAndEpoch,
        done: Sender<()>,
    },
    Reset {
        to: OffsetAndEpoch,
        done: Sender<Result<(), StorageError>>,
    },
    Clean {
        snapshots: Snapshots,
        retention: Retention,
        now_ms: i64,
        in_use: Vec<OffsetAndEpoch>,
        done: Sender<Retained>,
    },
    Close,
}

/// The way to the disk thread; cheap to clone.
#[derive(Clone)]
pub struct DiskThread {
    jobs: Sender<Job>,
    generation: Arc<AtomicU64>,
}

/// The disk thread is gone, after it reported why to the core.
#[derive(Debug)]
pub struct DiskGone;

impl DiskThread {
    /// Starts the thread. It ends with [`DiskThread::close`], or after a failure that it reports.
    pub fn start(
        log: LogWriter,
        core: CoreQueue,
        telemetry: Arc<Telemetry>,
    ) -> std::io::Result<(DiskThread, JoinHandle<()>)> {
        let (jobs, queue) = channel();
        let thread =
            std::thread::Builder::new().name("quorate-disk".to_owned()).spawn(move || {
                let _guard = FailIfPanicking { core: core.clone(), thread: "disk" };
                if let Err(error) = run(log, &queue, &core, &telemetry) {
                    core.fail(
                        format!("the metadata log cannot be written: {error}"),
                        error.exit_code(),
                    );
                }
            })?;
        Ok((DiskThread { jobs, generation: Arc::default() }, thread))
    }

    /// Queues an append; `Event::Persisted` follows once it is synced.
    pub fn append(&self, batch: LogAppend) {
        // If the thread is gone the core has been told and stops.
        let _ = self.jobs.send(Job::Append(batch));
    }

    /// Cuts the log durably before it returns.
    pub fn truncate(&self, to: OffsetAndEpoch) -> Result<(), DiskGone> {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let (done, wait) = channel();
        self.jobs.send(Job::Truncate { to, done }).map_err(|_| DiskGone)?;
        wait.recv().map_err(|_| DiskGone)
    }

    /// Empties the log so that it starts at an installed snapshot's end.
    pub fn reset(&self, to: OffsetAndEpoch) -> Result<Result<(), StorageError>, DiskGone> {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let (done, wait) = channel();
        self.jobs.send(Job::Reset { to, done }).map_err(|_| DiskGone)?;
        wait.recv().map_err(|_| DiskGone)
    }

    /// Deletes the snapshots and segments that retention lets go.
    pub fn clean(
        &self,
        snapshots: Snapshots,
        retention: Retention,
        now_ms: i64,
        in_use: Vec<OffsetAndEpoch>,
    ) -> Result<Retained, DiskGone> {
        let (done, wait) = channel();
        let job = Job::Clean { snapshots, retention, now_ms, in_use, done };
        self.jobs.send(job).map_err(|_| DiskGone)?;
        wait.recv().map_err(|_| DiskGone)
    }

    /// Syncs what is queued and ends the thread.
    pub fn close(&self) {
        let _ = self.jobs.send(Job::Close);
    }

    /// Changes each time the log is cut or emptied, before it is.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

fn run(
    mut log: LogWriter,
    jobs: &Receiver<Job>,
    core: &CoreQueue,
    telemetry: &Telemetry,
) -> Result<(), StorageError> {
    let mut next = jobs.recv().ok();
    while let Some(job) = next.take() {
        match job {
            Job::Append(batch) => next = append_all(&mut log, batch, jobs, core, telemetry)?,
            Job::Truncate { to, done } => {
                quorate_host::cut(&mut log, to)?;
                let _ = done.send(());
            }
            Job::Reset { to, done } => {
                let _ = done.send(log.reset_to_snapshot(to));
            }
            Job::Clean { snapshots, retention, now_ms, in_use, done } => {
                let retained =
                    quorate_host::retain(&mut log, &snapshots, retention, now_ms, &in_use);
                let _ = done.send(retained);
            }
            Job::Close => {
                log.close()?;
                return Ok(());
            }
        }
        if next.is_none() {
            next = jobs.recv().ok();
        }
    }
    Ok(())
}

/// Writes `first` and all appends queued behind it, syncs once, and reports once. Gives back the
/// job that ended the run.
fn append_all(
    log: &mut LogWriter,
    first: LogAppend,
    jobs: &Receiver<Job>,
    core: &CoreQueue,
    telemetry: &Telemetry,
) -> Result<Option<Job>, StorageError> {
    let mut batch = first;
    let mut bytes = 0;
    let (written, next) = loop {
        bytes += batch.bytes.len();
        let written = quorate_host::append(log, &batch)?;
        if bytes >= BYTES_PER_SYNC_MAX {
            break (written, None);
        }
        match jobs.try_recv() {
            Ok(Job::Append(another)) => batch = another,
            Ok(other) => break (written, Some(other)),
            Err(_) => break (written, None),
        }
    };
    let before = telemetry.clock.time();
    let persisted = quorate_host::sync(log, written)?;
    let after = telemetry.clock.time();
    telemetry.fsync.record(since_start(after), after.since(before));
    core.tell(persisted);
    Ok(next)
}
