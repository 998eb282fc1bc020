//! Reads of the log and of snapshots for answers, away from the core thread.

use super::disk::DiskThread;
use super::queue::{Fill, Reply};
use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch};
pub use quorate_host::LogSource;
use quorate_host::fill;
use quorate_protocol::AnyResponse;
use quorate_storage::{LogReader, Snapshots};
use std::io;
use std::sync::Arc;

/// The answer with what it lacked.
pub async fn complete(source: &Arc<dyn LogSource>, reply: Reply) -> io::Result<AnyResponse> {
    if reply.fill == Fill::Nothing {
        return Ok(reply.response);
    }
    let source = source.clone();
    let filled = tokio::task::spawn_blocking(move || fill(&*source, reply.response, reply.fill));
    filled.await.map_err(|error| io::Error::other(format!("a reading task died: {error}")))?
}

/// The log and snapshots of an open directory.
pub struct DiskSource {
    log: LogReader,
    snapshots: Snapshots,
    disk: DiskThread,
}

impl DiskSource {
    /// Reads beside the disk thread.
    pub fn new(log: LogReader, snapshots: Snapshots, disk: DiskThread) -> DiskSource {
        DiskSource { log, snapshots, disk }
    }
}

impl LogSource for DiskSource {
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
        self.disk.generation()
    }
}
