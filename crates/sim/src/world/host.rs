//! A machine that runs a controller.

use super::CallId;
use crate::disk::SimDisk;
use bytes::Bytes;
use quorate_base::{NodeId, Offset, OffsetAndEpoch, Time, Uuid};
use quorate_host::{Fill, LogSource, SnapshotDesk, SnapshotJob, Votes};
use quorate_metadata::Image;
use quorate_node::{LogAppend, Node, Status, Token};
use quorate_protocol::{AnyResponse, ApiKey};
use quorate_storage::{DiskLock, LogReader, LogWriter, MemDisk, Snapshots};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

/// Why a process does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// The process was killed or ended: the machine refuses connections.
    Process,
    /// The machine is off: nothing answers.
    Machine,
}

/// A machine with its disk and, mostly, a process.
pub struct Host {
    pub id: NodeId,
    /// Of the disk as formatted last.
    pub directory_id: Uuid,
    pub disk: MemDisk,
    pub process: Option<Process>,
    /// Counts the lives of the process: what belongs to an earlier one is dropped.
    pub life: u64,
    pub down: Down,
    /// SIGSTOP until then.
    pub frozen_until: Option<Time>,
    /// The wall clock's error.
    pub wall_offset_ms: i64,
    /// Speed of the monotonic clock: 1,000,000 is right.
    pub rate_ppm: u64,
    pub last_line: Option<String>,
    /// The disk is full or its syncs fail, or did in this life of the process.
    pub disk_ails: bool,
}

/// A running controller: the node and what the server has around it.
pub struct Process {
    pub node: Node,
    pub disk: SimDisk,
    pub log: LogWriter,
    pub reader: LogReader,
    pub desk: SnapshotDesk,
    pub votes: Votes,
    /// Held while the process lives.
    pub _lock: Box<dyn DiskLock>,
    pub started: Time,
    pub rate_ppm: u64,
    pub timer: Option<Time>,
    pub timer_generation: u64,
    /// Who waits for which answer.
    pub replies: BTreeMap<Token, Reply>,
    pub next_token: Token,
    /// Appends that the disk thread has not written yet.
    pub queued: VecDeque<LogAppend>,
    /// The disk thread is at work.
    pub disk_busy: bool,
    /// The last batch written and not synced.
    pub written: Option<OffsetAndEpoch>,
    /// Counts cuts of the log, as the server does.
    pub generation: u64,
    /// The disk thread has ended by a failure.
    pub disk_gone: bool,
    /// The process was told of a failure and stops.
    pub ending: bool,
    pub snapshot_jobs: VecDeque<SnapshotWork>,
    pub snapshot_busy: bool,
    /// Events from the other threads arrive in their order, not before this.
    pub queue_time: Time,
    /// The last two committed images.
    pub published: [Option<Image>; 2],
}

/// Who gets an answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub call: CallId,
    pub api: ApiKey,
    pub version: i16,
}

/// Work of the snapshot thread.
#[derive(Debug)]
pub enum SnapshotWork {
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
    /// Retention, because somebody reads snapshots.
    Retain,
}

/// An answer that lacks bytes from the disk.
#[derive(Debug)]
pub struct Unfilled {
    pub reply: Reply,
    pub response: AnyResponse,
    pub fill: Fill,
}

/// The log and the snapshots of a process, to read.
pub struct Source {
    pub log: LogReader,
    pub snapshots: Snapshots,
    pub generation: u64,
}

impl LogSource for Source {
    fn read_log(&self, from: Offset, end: Offset, max_bytes: u32) -> io::Result<Bytes> {
        quorate_host::read_log(&self.log, from, end, max_bytes)
    }

    fn read_snapshot(
        &self,
        id: OffsetAndEpoch,
        position: u64,
        max_bytes: u32,
    ) -> io::Result<Option<(Bytes, u64)>> {
        quorate_host::read_snapshot(&self.snapshots, id, position, max_bytes)
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

impl Process {
    /// What answers are completed from.
    pub fn source(&self) -> Source {
        Source {
            log: self.reader.clone(),
            snapshots: self.desk.snapshots().clone(),
            generation: self.generation,
        }
    }

    /// The process's monotonic clock, which starts with it.
    pub fn local_time(&self, now: Time) -> Time {
        let nanos = u128::from(now.since(self.started).as_nanos() as u64);
        let nanos = nanos * u128::from(self.rate_ppm) / 1_000_000;
        Time::from_nanos(u64::try_from(nanos).expect("runs are short"))
    }

    /// When the node wants to be called, in the world's time.
    pub fn next_timeout(&self) -> Option<Time> {
        let (local, _why) = self.node.next_timeout()?;
        let nanos = u128::from(local.as_nanos()) * 1_000_000;
        let nanos = nanos.div_ceil(u128::from(self.rate_ppm)).min(u128::from(u64::MAX / 2));
        Some(self.started + Duration::from_nanos(u64::try_from(nanos).expect("bounded")))
    }
}

impl Host {
    /// The columns of the trace.
    pub fn line(&self, status: Status) -> String {
        let process = self.process.as_ref().expect("it runs");
        let active = if status.active { "*" } else { "" };
        let role = format!("{}{active}", status.role);
        let leader = status.leader.map_or("-".to_owned(), |id| id.to_string());
        let watermark = status.high_watermark.map_or("-".to_owned(), |offset| offset.to_string());
        let raft = process.node.raft();
        format!(
            "{role:<11} {:>3}/{leader:<2} {}..{} s{} {watermark}/{}",
            status.epoch,
            raft.log_start(),
            status.log_end,
            process.log.synced_end(),
            status.applied,
        )
    }
}
