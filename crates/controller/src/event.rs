//! Everything that can make the controller move, and everything it can ask for. Both lists are closed.

use crate::{RequestContext, Token};
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch};
use quorate_metadata::Image;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, MetadataRecord};

/// What the node tells the controller.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a request is moved once, and most events are one")]
pub enum Event {
    /// A decoded request of an API that is not raft's own.
    Request {
        /// To answer with.
        token: Token,
        /// Who asks, how, and in which version.
        context: RequestContext,
        /// The request's body.
        request: AnyRequest,
    },
    /// This node leads, the first record of its epoch is committed, and everything before was
    /// replayed: it decides from now on.
    Activated {
        /// The epoch it leads in.
        epoch: Epoch,
    },
    /// This node leads no longer.
    Deactivated,
    /// Everything before `end_offset` is committed. Lies on the boundary of an append.
    Committed {
        /// One past the last committed record.
        end_offset: Offset,
    },
    /// Committed records that this controller did not decide in its present term. Never while active.
    Replay {
        /// Offset of the first record.
        base_offset: Offset,
        /// One past the last offset of the batch, which a batch of raft's control records reaches
        /// without any record for us.
        end_offset: Offset,
        /// Epoch of the batch.
        epoch: Epoch,
        /// When it was appended, wall clock.
        append_time_ms: i64,
        /// The records.
        records: Vec<MetadataRecord>,
    },
    /// The state is to start over from a snapshot. Never while active.
    SnapshotLoaded {
        /// What is in it.
        image: Image,
        /// Its id.
        id: OffsetAndEpoch,
        /// When its last record was appended, wall clock.
        last_timestamp_ms: i64,
    },
    /// The outcome of [`Action::UpgradeKraftVersion`].
    KraftVersionUpgraded {
        /// As in the action.
        token: Token,
        /// `ErrorCode::None` if the control records are appended (or would be, if only validated).
        error: ErrorCode,
        /// Why not.
        message: Option<String>,
    },
    /// The edge is sure that a broker's process is dead. Believed only where
    /// `quorate.fast.fencing` is on.
    BrokerProcessDead {
        /// Its node id.
        broker: NodeId,
    },
    /// The time given by `next_timeout` has come.
    Timeout,
}

/// What the controller asks of the node. Carried out in order.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an answer is moved once, and most actions are one")]
pub enum Action {
    /// Append these records, each in its version, as one batch at the end of raft's log.
    Append {
        /// In order.
        records: Vec<(MetadataRecord, i16)>,
    },
    /// Answer a request.
    Respond {
        /// The request's token.
        token: Token,
        /// The body.
        response: AnyResponse,
    },
    /// Have raft write a new kraft.version. [`Event::KraftVersionUpgraded`] follows.
    UpgradeKraftVersion {
        /// The request that wants it.
        token: Token,
        /// The new level.
        level: u16,
        /// Check only.
        validate_only: bool,
    },
    /// This node must not lead on: somebody else may do better.
    Resign {
        /// What went wrong.
        why: String,
    },
    /// The state of this node cannot be trusted, or its log cannot be replayed: stop.
    Fatal {
        /// What happened, with offset and record, and what to do next.
        message: String,
    },
    /// A line for the operator.
    Log {
        /// How loud.
        level: LogLevel,
        /// What happened, with ids.
        message: String,
    },
}

/// How loud a line for the operator is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// For whoever debugs.
    Debug,
    /// Normal life.
    Info,
    /// Somebody should look, nothing is broken yet.
    Warn,
    /// Something is broken.
    Error,
}
