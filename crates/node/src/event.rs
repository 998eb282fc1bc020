//! Everything that can make a node move. The list is closed: whoever reads it knows all causes.

use bytes::Bytes;
use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use quorate_controller::RequestContext;
use quorate_metadata::Image;
use quorate_protocol::{AnyRequest, AnyResponse};
use quorate_raft::{RpcFailure, VoterSet};

/// Names one request in flight from the edge; never reused while the process lives.
pub type Token = u64;

/// Names one outgoing request to a peer.
pub type RpcId = u64;

/// What the edge tells the node.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a request; a box would cost one more allocation each"
)]
pub enum Event {
    /// A decoded request. An Envelope has been unwrapped by the edge (`context.forwarded`), which also
    /// wraps the answer again.
    Request {
        /// To answer with.
        token: Token,
        /// Who asks, how, and in which version.
        context: RequestContext,
        /// The request's body.
        request: AnyRequest,
    },
    /// The connection of this request is gone: a parked fetch is forgotten, nobody reads an answer.
    Cancelled {
        /// The request's token.
        token: Token,
    },
    /// The outcome of an [`crate::Action::Send`].
    PeerAnswered {
        /// The id given with the send.
        rpc: RpcId,
        /// The peer's answer, or why there is none.
        result: Result<AnyResponse, RpcFailure>,
    },
    /// A peer's process is gone, as far as its sockets tell (reset or refused).
    PeerDown {
        /// The peer.
        node: NodeId,
    },
    /// The log is on disk up to here. `end.epoch` is the epoch of the last persisted batch, which tells
    /// a report of what was since truncated from a true one.
    Persisted {
        /// One past the last persisted record, and its epoch.
        end: OffsetAndEpoch,
    },
    /// The snapshot asked for by [`crate::Action::WriteSnapshot`] is complete and synced.
    SnapshotWritten {
        /// Its id.
        id: OffsetAndEpoch,
        /// Its size on disk.
        size_bytes: u64,
    },
    /// Writing a snapshot failed; the node goes on with what it has.
    SnapshotFailed {
        /// Its id.
        id: OffsetAndEpoch,
        /// What the disk said.
        why: String,
    },
    /// A snapshot received from the leader was installed and loaded: the log is now empty and starts
    /// at its end.
    SnapshotInstalled {
        /// Its id.
        id: OffsetAndEpoch,
        /// The state in it.
        image: Box<Image>,
        /// The voter set in its header, if there is one.
        voters: Option<VoterSet>,
        /// The kraft.version in its header; 0 if there is none.
        kraft_version: u16,
        /// `LastContainedLogTimestamp` of its header.
        last_contained_log_timestamp_ms: i64,
    },
    /// A received snapshot was damaged or could not be written; the log is as it was.
    SnapshotRejected {
        /// Its id.
        id: OffsetAndEpoch,
        /// What is wrong with it.
        why: String,
    },
    /// What [`crate::Action::ReadLog`] asked for.
    LogRead {
        /// The offset asked for.
        from: Offset,
        /// Whole batches, the first of which contains `from`; or why they cannot be read.
        batches: Result<Bytes, String>,
    },
    /// Segments below this offset were deleted by retention.
    LogStartMoved {
        /// The new first offset.
        start: Offset,
    },
    /// Snapshots deleted by retention.
    SnapshotsDeleted {
        /// Their ids.
        ids: Vec<OffsetAndEpoch>,
    },
    /// The time returned by `next_timeout` has come.
    Timeout,
    /// Give leadership to a voter (or, with `None`, to the most caught-up one). Ignored elsewhere
    /// than on the leader.
    TransferLeader {
        /// The wanted leader.
        to: Option<NodeId>,
    },
    /// SIGTERM: hand over and finish with [`crate::Action::ShutdownComplete`].
    Shutdown,
}
