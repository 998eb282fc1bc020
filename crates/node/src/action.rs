//! Everything a node can ask of its driver. Actions are executed strictly in order; each is complete
//! before the next starts, except where its text says that an event reports completion.

use crate::event::{RpcId, Token};
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch};
pub use quorate_controller::LogLevel;
use quorate_metadata::Image;
use quorate_protocol::messages::{FetchResponse, FetchSnapshotResponse};
use quorate_protocol::{AnyRequest, AnyResponse};
use quorate_raft::ElectionState;
use std::time::Duration;

/// What the node asks of its driver.
#[derive(Debug)]
pub enum Action {
    /// Write and sync both homes of the vote (`quorum-state` and `quorate.vote`) before going on.
    PersistElectionState(ElectionState),
    /// Append an encoded batch to the log. Asynchronous: [`crate::Event::Persisted`] follows once it
    /// is synced. Appends are contiguous.
    AppendLog(LogAppend),
    /// Cut the log so that it ends here, durably, before going on. Appends still queued that lie
    /// beyond are dropped.
    TruncateLog {
        /// The new end.
        to: OffsetAndEpoch,
    },
    /// Send a request to a peer; [`crate::Event::PeerAnswered`] follows in any case.
    Send {
        /// Names the answer.
        rpc: RpcId,
        /// Where to.
        to: PeerAddress,
        /// The body; the driver picks the highest version both sides know.
        request: AnyRequest,
        /// After this the driver reports [`crate::RpcFailure::TimedOut`].
        timeout: Duration,
    },
    /// Answer a request.
    Respond {
        /// The request's token.
        token: Token,
        /// The body.
        response: AnyResponse,
    },
    /// Answer a fetch with records that are no longer in the node's memory: the driver reads them
    /// from the log into the response's one partition, off the core thread, and sends it.
    RespondFetchFromLog {
        /// The request's token.
        token: Token,
        /// The answer, with `records` still empty.
        response: FetchResponse,
        /// First offset wanted.
        from: Offset,
        /// Do not hand out records at or beyond this offset.
        end: Offset,
        /// About this many bytes, but at least one whole batch.
        max_bytes: u32,
    },
    /// Answer FetchSnapshot with a slice of a snapshot: the driver fills the one partition's bytes
    /// and size (or POSITION_OUT_OF_RANGE / SNAPSHOT_NOT_FOUND), off the core thread.
    RespondSnapshotChunk {
        /// The request's token.
        token: Token,
        /// The answer, with `unaligned_records` empty and `size` 0.
        response: FetchSnapshotResponse,
        /// Which snapshot.
        id: OffsetAndEpoch,
        /// First byte wanted.
        position: u64,
        /// At most this many bytes.
        max_bytes: u32,
    },
    /// Write a snapshot of this image on the snapshot thread.
    /// [`crate::Event::SnapshotWritten`] or `SnapshotFailed` follows.
    WriteSnapshot {
        /// Its id: end offset and epoch of the last record contained.
        id: OffsetAndEpoch,
        /// The committed state at that offset.
        image: Image,
        /// Values of the control records beside the header (KRaftVersion, KRaftVoters); empty at
        /// kraft.version 0. Encoded by `quorate_protocol::control`.
        control_records: Vec<quorate_protocol::control::ControlRecord>,
        /// `LastContainedLogTimestamp` of the header.
        last_contained_log_timestamp_ms: i64,
    },
    /// Write a received part of the leader's snapshot at this position of a part file.
    SnapshotDownload {
        /// Which snapshot.
        id: OffsetAndEpoch,
        /// Where the bytes belong.
        position: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Drop the part file of a download that will not be finished.
    SnapshotDiscard {
        /// Which snapshot.
        id: OffsetAndEpoch,
    },
    /// Read committed batches that are no longer in memory, off the core thread;
    /// [`crate::Event::LogRead`] follows.
    ReadLog {
        /// First offset wanted.
        from: Offset,
        /// Nothing at or beyond this offset.
        end: Offset,
        /// About this many bytes, but at least one whole batch.
        max_bytes: u32,
    },
    /// The download is complete: sync and rename the part file, load it, empty the log so that it
    /// starts at the snapshot's end; [`crate::Event::SnapshotInstalled`] or `SnapshotRejected` follows.
    SnapshotInstall {
        /// Which snapshot.
        id: OffsetAndEpoch,
    },
    /// The committed image advanced. The driver publishes it to readers (metrics, console) and drops
    /// the one it replaces off the core thread.
    Publish {
        /// The committed state.
        image: Image,
        /// One past the last record in it.
        offset: Offset,
    },
    /// The node's place in the quorum changed; for logs, metrics, health and the start-up line.
    RoleChanged {
        /// As Kafka's `current-state` names it: leader, follower, candidate, …
        role: &'static str,
        /// The epoch of it.
        epoch: Epoch,
        /// The leader, where known.
        leader: Option<NodeId>,
        /// True once this node leads and its controller has caught up: it decides requests.
        active: bool,
    },
    /// A line for the operator.
    Log {
        /// How loud.
        level: LogLevel,
        /// What happened, with ids.
        message: String,
    },
    /// This node must stop: its state cannot be trusted or its log cannot be replayed. Exit code 3.
    Fatal {
        /// What happened, with offset and record, and what to do next.
        message: String,
    },
    /// Shutdown asked for earlier is complete: sync what is queued and exit 0.
    ShutdownComplete,
}

/// One encoded record batch for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAppend {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// One past its last record.
    pub end_offset: Offset,
    /// The leader epoch it was written in.
    pub epoch: Epoch,
    /// Wall clock in it, for `segment.ms`.
    pub append_time_ms: i64,
    /// The batch as it lies on disk.
    pub bytes: Bytes,
}

/// Where a peer listens. The name is resolved anew on each attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// The peer's node id, where known (bootstrap servers have none).
    pub node: Option<NodeId>,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}
