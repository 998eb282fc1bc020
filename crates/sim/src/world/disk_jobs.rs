//! What the server's disk thread and snapshot thread do: appends, syncs, snapshots, retention.

use super::host::{Fill, FillWith, SnapshotJob};
use super::{Local, World};
use crate::Mutant;
use crate::driver::recovery::voter_set;
use crate::driver::snapshots::{self, Receiving};
use crate::trace::who;
use bytes::Bytes;
use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use quorate_node::Event;
use quorate_protocol::{AnyResponse, ErrorCode};
use quorate_storage::{Retention, StorageError, clean};
use std::time::Duration;

/// How long after the last part was read.
const SERVED_SNAPSHOT_STAYS: Duration = Duration::from_secs(5);

impl World {
    /// Starts the disk thread's next round if there is work and it is idle.
    pub(super) fn wake_disk(&mut self, id: NodeId) {
        let process = self.process(id).expect("it runs");
        if process.disk_busy || process.queued.is_empty() {
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
        if !self.write_queued(id) {
            return;
        }
        if self.has(Mutant::AcknowledgeBeforeSync) {
            self.report_persisted(id);
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
        // What was written before this is synced first, and reported, as the thread would.
        self.sync_written(id) && self.write_queued(id) && self.sync_written(id)
    }

    fn write_queued(&mut self, id: NodeId) -> bool {
        let process = self.process(id).expect("it runs");
        let disk = process.disk.clone();
        while let Some(append) = process.queued.pop_front() {
            match process.log.append(&append.bytes, append.append_time_ms) {
                Ok(appended) => assert_eq!(
                    (appended.base_offset, appended.end_offset),
                    (append.base_offset, append.end_offset),
                    "the node and the log agree on offsets"
                ),
                Err(error) => {
                    self.storage_failed(id, &disk, "while it appends", &error);
                    return false;
                }
            }
            let end = OffsetAndEpoch { offset: append.end_offset, epoch: append.epoch };
            process.written = Some(end);
        }
        // Rolling a segment syncs what was before.
        let synced = process.log.synced_end();
        self.invariants.synced(id, synced);
        true
    }

    fn sync_written(&mut self, id: NodeId) -> bool {
        let process = self.process(id).expect("it runs");
        let Some(written) = process.written else { return true };
        let disk = process.disk.clone();
        match process.log.sync() {
            Ok(end) => assert_eq!(end, written.offset, "a sync covers all that was appended"),
            Err(error) => {
                self.storage_failed(id, &disk, "while it syncs", &error);
                return false;
            }
        }
        self.invariants.synced(id, written.offset);
        self.report_persisted(id);
        true
    }

    fn report_persisted(&mut self, id: NodeId) {
        let keep = self.has(Mutant::AcknowledgeBeforeSync);
        let process = self.process(id).expect("it runs");
        let Some(end) = process.written else { return };
        if !keep {
            process.written = None;
        }
        let disk = &process.disk;
        assert!(!disk.is_dead(), "a dead process reports nothing");
        self.tell(id, Event::Persisted { end });
    }

    pub(super) fn queue_snapshot_job(&mut self, id: NodeId, job: SnapshotJob) {
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
            SnapshotJob::Write(_) | SnapshotJob::Install { .. } => self.options.sync_max * 4,
            SnapshotJob::Download { .. } | SnapshotJob::Discard { .. } => Duration::from_millis(1),
        };
        let pause = self.up_to(most);
        self.local_in(id, pause, Local::Snapshot);
    }

    /// The snapshot thread's next job.
    pub(super) fn snapshot_job(&mut self, id: NodeId) {
        let life = self.hosts[&id].life;
        let process = self.process(id).expect("checked");
        process.snapshot_busy = false;
        let job = process.snapshot_jobs.pop_front().expect("it was woken for one");
        match job {
            SnapshotJob::Write(job) => {
                let now_ms = self.local_wall_ms(id);
                let process = self.process(id).expect("checked");
                let snapshots = process.snapshots.clone();
                let written = snapshots::write(&snapshots, &job, now_ms, &mut process.prng);
                let disk = process.disk.clone();
                match written {
                    Ok(size_bytes) => {
                        self.tell(id, Event::SnapshotWritten { id: job.id, size_bytes });
                        self.retain(id);
                    }
                    Err(error) => {
                        self.storage_failed(id, &disk, "while it writes a snapshot", &error);
                    }
                }
            }
            SnapshotJob::Download { id: snapshot, position, bytes } => {
                self.download(id, snapshot, position, &bytes);
            }
            SnapshotJob::Discard { id: snapshot } => {
                process.receiving.take_if(|receiving| receiving.id == snapshot);
            }
            SnapshotJob::Install { id: snapshot } => {
                self.install(id, snapshot);
                if self.hosts[&id].life == life {
                    self.retain(id);
                }
            }
        }
        if self.hosts[&id].life == life {
            self.wake_snapshots(id);
        }
    }

    fn local_wall_ms(&self, id: NodeId) -> i64 {
        self.hosts[&id].local_now(self.now).wall_ms
    }

    fn download(&mut self, id: NodeId, snapshot: OffsetAndEpoch, position: u64, bytes: &Bytes) {
        let process = self.process(id).expect("it runs");
        if position == 0 {
            let part = process.snapshots.receive(snapshot, &mut process.prng);
            let part = part.map_err(|error| error.to_string());
            process.receiving = Some(Receiving { id: snapshot, part });
        }
        let receiving = process.receiving.as_mut().filter(|receiving| receiving.id == snapshot);
        if let Some(Receiving { part: Ok(part), .. }) = receiving
            && part.position() == position
        {
            if let Err(error) = part.append(bytes) {
                let disk = process.disk.clone();
                self.storage_failed(id, &disk, "while it receives a snapshot", &error);
            }
            return;
        }
        let dead = process.disk.is_dead();
        assert!(dead, "c{id} cannot put byte {position} of snapshot {snapshot} anywhere");
        self.crash(id, "dies while it begins to receive a snapshot");
    }

    fn install(&mut self, id: NodeId, snapshot: OffsetAndEpoch) {
        let process = self.process(id).expect("it runs");
        let disk = process.disk.clone();
        let receiving = process.receiving.take_if(|receiving| receiving.id == snapshot);
        let Some(Receiving { part: Ok(part), .. }) = receiving else {
            panic!("c{id} installs snapshot {snapshot} that it has not received");
        };
        let snapshots = process.snapshots.clone();
        let loaded = part.finish().and_then(|_| snapshots::load(&snapshots, snapshot));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.storage_failed(id, &disk, "while it installs", &error),
        };
        self.process(id).expect("it runs").generation += 1;
        if !self.disk_flush(id) {
            return;
        }
        let process = self.process(id).expect("it runs");
        if let Err(error) = process.log.reset_to_snapshot(snapshot) {
            return self.storage_failed(id, &disk, "while it empties its log", &error);
        }
        process.written = None;
        self.trace.line(self.now, &who(id), &format!("has installed the snapshot at {snapshot}"));
        self.invariants.reset(id, snapshot);
        self.tell(
            id,
            Event::SnapshotInstalled {
                id: snapshot,
                image: Box::new(loaded.image),
                voters: loaded.voters.map(|voters| voter_set(&voters)),
                kraft_version: loaded.kraft_version,
                last_contained_log_timestamp_ms: loaded.last_contained_log_timestamp_ms,
            },
        );
    }

    /// Deletes what retention lets go, on the disk thread.
    fn retain(&mut self, id: NodeId) {
        // A snapshot that somebody is reading stays; else with a tiny retention and tiny parts nobody
        // would ever finish reading one. While faults last that may happen.
        let since = self.now.since(self.hosts[&id].served_snapshot_at);
        if self.healed && since < SERVED_SNAPSHOT_STAYS {
            return;
        }
        let now_ms = self.local_wall_ms(id);
        let retention = Retention { max_bytes: self.options.retention_bytes, max_ms: None };
        if !self.disk_flush(id) {
            return;
        }
        let process = self.process(id).expect("it runs");
        let disk = process.disk.clone();
        let before = process.reader.log_start();
        let snapshots = process.snapshots.clone();
        let cleaned = clean(&mut process.log, &snapshots, retention, Offset::MAX, now_ms);
        let start = process.reader.log_start();
        match cleaned {
            Ok(cleaned) => {
                if start > before {
                    self.invariants.start_moved(id, start);
                    self.tell(id, Event::LogStartMoved { start });
                }
                if !cleaned.snapshots.is_empty() {
                    self.tell(id, Event::SnapshotsDeleted { ids: cleaned.snapshots });
                }
            }
            Err(error) => self.storage_failed(id, &disk, "while it cleans", &error),
        }
    }

    pub(super) fn read_log(&mut self, id: NodeId, from: Offset, end: Offset, max_bytes: u32) {
        let process = self.process(id).expect("checked");
        let batches = match process.reader.read_until(from, end, max_bytes as usize) {
            Ok(batches) => Ok(batches),
            // As the server has it: the question is of the past.
            Err(StorageError::OffsetOutOfRange { .. }) => Ok(Bytes::new()),
            Err(error) => Err(error.to_string()),
        };
        self.tell(id, Event::LogRead { from, batches });
    }

    /// Completes an answer with bytes from the disk.
    pub(super) fn fill(&mut self, id: NodeId, fill: Fill) {
        let Fill { reply, mut response, what } = fill;
        if matches!(what, FillWith::Snapshot { .. }) {
            self.hosts.get_mut(&id).expect("it exists").served_snapshot_at = self.now;
        }
        let process = self.process(id).expect("checked");
        match (&mut response, what) {
            (
                AnyResponse::Fetch(fetch),
                FillWith::Log { from, end, max_bytes, generation: then },
            ) => {
                let records = match process.reader.read_until(from, end, max_bytes as usize) {
                    Ok(records) if process.generation == then => records,
                    Ok(_) | Err(StorageError::OffsetOutOfRange { .. }) => Bytes::new(),
                    Err(error) => panic!("c{id} cannot read its log at {from}: {error}"),
                };
                let partition = &mut fetch.responses[0].partitions[0];
                partition.records = Some(records);
            }
            (
                AnyResponse::FetchSnapshot(chunk),
                FillWith::Snapshot { id: snapshot, position, max_bytes },
            ) => {
                let partition = &mut chunk.topics[0].partitions[0];
                let at = i64::try_from(position).unwrap_or(i64::MAX);
                match process.snapshots.read_slice(snapshot, at, max_bytes as usize) {
                    Ok((bytes, size)) => {
                        partition.size = i64::try_from(size).expect("small");
                        partition.position = at;
                        partition.unaligned_records = bytes;
                    }
                    Err(StorageError::SnapshotNotFound(_)) => {
                        partition.error_code = ErrorCode::SnapshotNotFound.code();
                    }
                    Err(StorageError::PositionOutOfRange { .. }) => {
                        partition.error_code = ErrorCode::PositionOutOfRange.code();
                    }
                    Err(error) => panic!("c{id} cannot read snapshot {snapshot}: {error}"),
                }
            }
            (response, what) => panic!("{what:?} cannot fill {}", response.api_key()),
        }
        self.reply(id, reply, &response);
    }
}
