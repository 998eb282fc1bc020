//! What the server's disk thread and snapshot thread do, through the code that they share
//! (`quorate_host`): here it takes simulated time, and may fail or be the process's last.

use super::host::{SnapshotWork, Unfilled};
use super::{Local, World};
use crate::Mutant;
use crate::trace::who;
use bytes::Bytes;
use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use quorate_host::InstallError;
use quorate_node::Event;
use quorate_storage::{Retention, StorageError};
use std::time::Duration;

/// How long a process that must stop may hand over, as in the server.
const FAREWELL: Duration = Duration::from_secs(1);

impl World {
    /// Starts the disk thread's next round if there is work and it is idle.
    pub(super) fn wake_disk(&mut self, id: NodeId) {
        let process = self.process(id).expect("it runs");
        if process.disk_busy || process.disk_gone || process.queued.is_empty() {
            return;
        }
        process.disk_busy = true;
        let pause = self.up_to(Duration::from_micros(100));
        self.local_in(id, pause, Local::DiskWrite);
    }

    /// Writes what is queued; the sync takes its time.
    pub(super) fn disk_write(&mut self, id: NodeId) {
        let process = self.process(id).expect("checked");
        if process.queued.is_empty() {
            // A cut of the log has done this round's work.
            process.disk_busy = false;
            return;
        }
        if process.disk_gone || !self.write_queued(id) {
            return;
        }
        if self.has(Mutant::AcknowledgeBeforeSync) {
            self.report_written(id);
        }
        let slow = self.prng.chance(self.options.slow_sync_per_mille, 1000);
        let most = if slow { Duration::from_secs(1) } else { self.options.sync_max };
        let pause = self.up_to(most);
        self.local_in(id, pause, Local::DiskSynced);
    }

    pub(super) fn disk_synced(&mut self, id: NodeId) {
        if !self.sync_written(id) {
            return;
        }
        self.process(id).expect("it runs").disk_busy = false;
        self.wake_disk(id);
    }

    /// Does all that is queued, now. False if the process dies of it.
    pub(super) fn disk_flush(&mut self, id: NodeId) -> bool {
        let life = self.hosts[&id].life;
        // What was written before this is synced first, and reported, as the thread would.
        let _ = self.sync_written(id) && self.write_queued(id) && self.sync_written(id);
        self.hosts[&id].life == life
    }

    /// False if the disk thread is gone, or the process.
    fn write_queued(&mut self, id: NodeId) -> bool {
        let process = self.process(id).expect("it runs");
        if process.disk_gone {
            return false;
        }
        while let Some(append) = process.queued.pop_front() {
            match quorate_host::append(&mut process.log, &append) {
                Ok(end) => process.written = Some(end),
                Err(error) => {
                    self.disk_thread_failed(id, "while it appends", &error);
                    return false;
                }
            }
        }
        // Rolling a segment syncs what was before.
        let synced = process.log.synced_end();
        self.invariants.synced(id, synced);
        true
    }

    fn sync_written(&mut self, id: NodeId) -> bool {
        let process = self.process(id).expect("it runs");
        if process.disk_gone {
            return false;
        }
        let Some(written) = process.written else { return true };
        match quorate_host::sync(&mut process.log, written) {
            Ok(persisted) => {
                process.written = None;
                self.invariants.synced(id, written.offset);
                self.tell(id, persisted);
                true
            }
            Err(error) => {
                self.disk_thread_failed(id, "while it syncs", &error);
                false
            }
        }
    }

    /// For a mutant: as if it were synced.
    fn report_written(&mut self, id: NodeId) {
        let process = self.process(id).expect("it runs");
        if let Some(end) = process.written {
            self.tell(id, Event::Persisted { end });
        }
    }

    /// The disk thread ends, and the process hands over and stops; or it has died within the operation.
    fn disk_thread_failed(&mut self, id: NodeId, when: &str, error: &StorageError) {
        let process = self.process(id).expect("it runs");
        process.disk_gone = true;
        if process.disk.is_dead() {
            return self.crash(id, &format!("dies within a disk operation {when}"));
        }
        self.assert_disk_ails(id, when, &error.to_string());
        self.fail(id, &format!("its disk fails {when}: {error}"));
    }

    /// As the server's core thread when another thread reports a failure.
    fn fail(&mut self, id: NodeId, why: &str) {
        self.note(&who(id), &format!("must stop: {why}"));
        let process = self.process(id).expect("it runs");
        if !process.ending {
            process.ending = true;
            self.tell(id, Event::Shutdown);
            self.local_in(id, FAREWELL, Local::Farewell);
        }
    }

    pub(super) fn queue_snapshot_job(&mut self, id: NodeId, job: SnapshotWork) {
        self.process(id).expect("it acts").snapshot_jobs.push_back(job);
        self.wake_snapshots(id);
    }

    fn wake_snapshots(&mut self, id: NodeId) {
        let process = self.process(id).expect("it runs");
        let Some(job) = process.snapshot_jobs.front() else { return };
        if process.snapshot_busy {
            return;
        }
        process.snapshot_busy = true;
        let most = match job {
            SnapshotWork::Write(_) | SnapshotWork::Install { .. } => self.options.sync_max * 4,
            _ => Duration::from_millis(1),
        };
        let pause = self.up_to(most);
        self.local_in(id, pause, Local::Snapshot);
    }

    /// The snapshot thread's next job.
    pub(super) fn snapshot_job(&mut self, id: NodeId) {
        let life = self.hosts[&id].life;
        let now_ms = self.local_wall_ms(id);
        let process = self.process(id).expect("checked");
        process.snapshot_busy = false;
        let (desk, disk) = (&mut process.desk, process.disk.clone());
        match process.snapshot_jobs.pop_front().expect("it was woken for one") {
            SnapshotWork::Write(job) => {
                let written = desk.write(&job, now_ms);
                if disk.is_dead() {
                    return self.crash(id, "dies while it writes a snapshot");
                }
                if let Event::SnapshotFailed { why, .. } = &written {
                    self.assert_disk_ails(id, "while it writes a snapshot", why);
                }
                self.tell(id, written);
                self.retain(id);
            }
            SnapshotWork::Download { id: snapshot, position, bytes } => {
                self.download(id, snapshot, position, &bytes);
            }
            SnapshotWork::Discard { id: snapshot } => desk.discard(snapshot),
            SnapshotWork::Install { id: snapshot } => {
                self.install(id, snapshot);
                if self.hosts[&id].life == life {
                    self.retain(id);
                }
            }
            SnapshotWork::Retain => self.retain(id),
        }
        if self.hosts[&id].life == life {
            self.wake_snapshots(id);
        }
    }

    pub(super) fn local_wall_ms(&self, id: NodeId) -> i64 {
        self.hosts[&id].local_now(self.now).wall_ms
    }

    fn download(&mut self, id: NodeId, snapshot: OffsetAndEpoch, position: u64, bytes: &Bytes) {
        let process = self.process(id).expect("it runs");
        let known = process.desk.receive(snapshot, position, bytes);
        if process.disk.is_dead() {
            return self.crash(id, "dies while it receives a snapshot");
        }
        assert!(known, "c{id} cannot put byte {position} of snapshot {snapshot} anywhere");
    }

    fn install(&mut self, id: NodeId, snapshot: OffsetAndEpoch) {
        let process = self.process(id).expect("it runs");
        let completed = process.desk.complete(snapshot);
        if process.disk.is_dead() {
            return self.crash(id, "dies while it completes a snapshot");
        }
        let loaded = match completed {
            Ok(loaded) => loaded,
            Err(InstallError::Rejected(why)) => {
                self.assert_disk_ails(id, "while it receives a snapshot", &why);
                return self.tell(id, Event::SnapshotRejected { id: snapshot, why });
            }
            Err(InstallError::Unreadable(why)) => panic!("c{id}: {why}"),
        };
        process.generation += 1;
        if !self.disk_flush(id) {
            return;
        }
        let process = self.process(id).expect("it runs");
        if process.disk_gone {
            // The process has been told, and stops.
            return;
        }
        if let Err(error) = process.log.reset_to_snapshot(snapshot) {
            if process.disk.is_dead() {
                return self.crash(id, "dies while it empties its log");
            }
            // Nobody appends any more, and what the log holds is seen at the next start.
            process.disk_gone = true;
            self.assert_disk_ails(id, "while it empties its log", &error.to_string());
            return self.fail(id, &format!("its log cannot be emptied: {error}"));
        }
        process.written = None;
        self.trace.line(self.now, &who(id), &format!("has installed the snapshot at {snapshot}"));
        self.invariants.reset(id, snapshot);
        self.tell(id, loaded.into_installed());
    }

    /// Deletes what retention lets go, on the disk thread.
    fn retain(&mut self, id: NodeId) {
        let now_ms = self.local_wall_ms(id);
        let mut in_use = self.process(id).expect("it runs").desk.in_use(now_ms);
        if !self.healed && !self.options.keeps_snapshots_in_use {
            // A clock that jumps far enough has the same effect: followers find a part of one missing.
            in_use.clear();
        }
        let retention = Retention { max_bytes: self.options.retention_bytes, max_ms: None };
        if !self.disk_flush(id) {
            return;
        }
        let process = self.process(id).expect("it runs");
        if process.disk_gone {
            return;
        }
        let snapshots = process.desk.snapshots().clone();
        let retained =
            quorate_host::retain(&mut process.log, &snapshots, retention, now_ms, &in_use);
        if process.disk.is_dead() {
            return self.crash(id, "dies while it cleans");
        }
        if let Some(error) = &retained.failure {
            self.assert_disk_ails(id, "while it cleans", &error.to_string());
        }
        if let Some(start) = retained.start {
            self.invariants.start_moved(id, start);
        }
        for event in retained.into_events() {
            self.tell(id, event);
        }
    }

    pub(super) fn read_log(&mut self, id: NodeId, from: Offset, end: Offset, max_bytes: u32) {
        let process = self.process(id).expect("checked");
        let batches = quorate_host::read_log(&process.reader, from, end, max_bytes);
        let batches = batches.map_err(|error| error.to_string());
        self.tell(id, Event::LogRead { from, batches });
    }

    /// Completes an answer with bytes from the disk.
    pub(super) fn fill(&mut self, id: NodeId, unfilled: Unfilled) {
        let Unfilled { reply, response, fill } = unfilled;
        let source = self.process(id).expect("checked").source();
        match quorate_host::fill(&source, response, fill) {
            Ok(response) => self.reply(id, reply, &response),
            Err(error) => panic!("c{id} cannot read {fill:?}: {error}"),
        }
    }
}
