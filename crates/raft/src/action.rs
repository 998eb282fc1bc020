use crate::{ElectionState, PeerRequest, RpcId, Token};
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch};
use quorate_protocol::AnyResponse;
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::{FetchResponse, FetchSnapshotResponse};
use std::time::Duration;

/// What is to be done, strictly in order: an action starts when the one before it is complete, where
/// "complete" is said with each.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Complete when synced: promises in later actions rest on it.
    PersistElectionState(ElectionState),
    /// Complete when queued; `Event::Persisted` follows when it is synced. Reads named by later
    /// `RespondFetch` actions may reach into it at once, so what is not written yet is served from
    /// memory.
    AppendLog {
        /// The batch, contiguous with the log.
        batch: LogBatch,
    },
    /// Drop all records at and above `to.offset`. Complete when done (or queued behind the appends
    /// in such a way that no earlier append is reported as persisted afterwards). Never below the
    /// high watermark.
    TruncateLog {
        /// The new end, and the epoch of the last record that stays.
        to: OffsetAndEpoch,
    },
    /// Complete when queued. It must not wait behind an unanswered earlier request to the same
    /// peer: a vote cannot wait for a parked fetch. The driver picks the API version.
    Send {
        /// Comes back in `Event::Response`.
        rpc: RpcId,
        /// Whom to ask. The name is to be resolved again on each connection attempt.
        to: PeerAddress,
        /// The request, in terms of the newest version.
        request: PeerRequest,
        /// After this long the driver reports `RpcFailure::Timeout`.
        timeout: Duration,
    },
    /// Answer a request.
    Respond {
        /// The token of the request.
        token: Token,
        /// The answer.
        response: AnyResponse,
    },
    /// Answer a Fetch with records: the driver puts the bytes into the only partition's `records`.
    RespondFetch {
        /// The token of the request.
        token: Token,
        /// The answer, `records` empty.
        response: FetchResponse,
        /// What to put in.
        read: LogRead,
    },
    /// Answer a FetchSnapshot: the driver fills `unaligned_records` and `size` of the only partition;
    /// if `position` is not below the file's size, the partition's error is POSITION_OUT_OF_RANGE;
    /// if the snapshot is gone meanwhile, SNAPSHOT_NOT_FOUND.
    RespondSnapshotChunk {
        /// The token of the request.
        token: Token,
        /// The answer, without bytes and size.
        response: FetchSnapshotResponse,
        /// What to put in.
        read: SnapshotRead,
    },
    /// The high watermark is now here. Never goes back in the life of a process.
    HighWatermark {
        /// All records below are committed.
        offset: Offset,
    },
    /// Another leader, another epoch, or leader lost.
    LeaderChanged {
        /// The leader, if one is known.
        leader: Option<NodeId>,
        /// The current epoch.
        epoch: Epoch,
    },
    /// This replica leads. Comes before the `AppendLog` of the epoch's first batch; it may serve as
    /// controller once the high watermark is above `start_offset`.
    BecameLeader {
        /// The new epoch.
        epoch: Epoch,
        /// Offset of this epoch's LeaderChange record.
        start_offset: Offset,
    },
    /// This replica does not lead any more: what is above the high watermark may never commit.
    LostLeadership {
        /// The epoch it led.
        epoch: Epoch,
    },
    /// Put these bytes into the file of the snapshot being received, at this position (0 starts it
    /// anew). Complete when written or queued.
    WriteSnapshotChunk {
        /// The snapshot's id.
        id: OffsetAndEpoch,
        /// Where in the file.
        position: u64,
        /// What.
        bytes: Bytes,
    },
    /// All bytes of the snapshot are there: check it, make it durable, drop the whole log and let it
    /// start and end at `id.offset`. `Event::SnapshotInstalled` or `SnapshotRejected` follows. State
    /// built from the log must be built anew from the snapshot.
    InstallSnapshot {
        /// The snapshot's id.
        id: OffsetAndEpoch,
    },
    /// Forget the snapshot being received.
    DiscardSnapshot {
        /// The snapshot's id.
        id: OffsetAndEpoch,
    },
    /// Answer to `Event::UpgradeKraftVersion`.
    KraftVersionUpgrade {
        /// The token of the event.
        token: Token,
        /// `ErrorCode::None` if it is done (that is: appended) or would be.
        error: ErrorCode,
        /// Why not.
        message: Option<String>,
    },
    /// A line for the operator: what, about which peer, and why.
    Log {
        /// How loud.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// Nothing more will be done: the process may end.
    ShutdownComplete,
}

/// How loud a line for the operator is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Normal life.
    Info,
    /// Somebody should look.
    Warn,
}

/// A record batch with what the log needs to know of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// One past its last record.
    pub end_offset: Offset,
    /// Its leader epoch.
    pub epoch: Epoch,
    /// Wall clock of its last record, milliseconds.
    pub append_time_ms: i64,
    /// True for control records (leader change, voters, ...), which the controller skips.
    pub is_control: bool,
    /// The encoded batch.
    pub bytes: Bytes,
}

/// A part of the log: whole batches from `from`, at least one, at most about `max_bytes`, none
/// starting at or above `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRead {
    /// The first offset wanted. A batch that contains it is given whole.
    pub from: Offset,
    /// Limit in bytes; the first batch may exceed it.
    pub max_bytes: u32,
    /// The end of the log when the answer was decided.
    pub end: Offset,
}

/// A slice of a snapshot file, not aligned to batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotRead {
    /// The snapshot's id.
    pub id: OffsetAndEpoch,
    /// Position in the file.
    pub position: u64,
    /// At most this many bytes.
    pub max_bytes: u32,
}

/// Whom to connect to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeerAddress {
    /// The node expected there; `None` for a bootstrap server.
    pub node: Option<NodeId>,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}
