use crate::{LogBatch, VoterSet};
use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use quorate_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsRequest, ApiVersionsResponse,
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, TransferLeadershipRequest, TransferLeadershipResponse,
    UpdateRaftVoterRequest, UpdateRaftVoterResponse, VoteRequest, VoteResponse,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey};

/// Names one request that came in; the driver hands it out and gets it back in the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names one request that went out; this crate hands it out and gets it back with the outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RpcId(pub u64);

/// What can happen to a replica. Everything the state machine knows of the world comes by here.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request of a peer, an observer or an administrator. Exactly one of `Action::Respond`,
    /// `RespondFetch` and `RespondSnapshotChunk` follows sooner or later, unless cancelled.
    Request {
        /// Comes back in the answer.
        token: Token,
        /// Name of the listener the request came in on: answers name the leader's endpoint for it.
        listener: String,
        /// Version of the request, hence of the answer.
        api_version: i16,
        /// Address of the client, for messages only.
        client_host: String,
        /// The decoded request.
        request: PeerRequest,
    },
    /// The connection of that request is gone: no answer is wanted any more.
    RequestCancelled {
        /// The token of the request.
        token: Token,
    },
    /// The outcome of an `Action::Send`. Exactly one for each.
    Response {
        /// As in the `Action::Send`.
        rpc: RpcId,
        /// The answer, or why there is none.
        result: Result<PeerResponse, RpcFailure>,
    },
    /// Leader only: append this batch, already encoded at `base_offset == log_end()` in the current
    /// epoch (asserted). It comes back as `Action::AppendLog` at once.
    Append {
        /// The batch.
        batch: LogBatch,
    },
    /// The local log is synced up to here (`epoch` is that of the last record synced). Must not be
    /// reported after a later `Action::TruncateLog` for bytes appended before that.
    Persisted {
        /// One past the last synced record and that record's epoch.
        end: OffsetAndEpoch,
    },
    /// The node wrote a snapshot of its own, at or below the high watermark.
    SnapshotWritten {
        /// Its id.
        id: OffsetAndEpoch,
    },
    /// Retention deleted a snapshot.
    SnapshotDeleted {
        /// Its id.
        id: OffsetAndEpoch,
    },
    /// Retention deleted the records before `start`. A snapshot at or above `start` must exist.
    LogStartMoved {
        /// The first offset that is still there.
        start: Offset,
    },
    /// `Action::InstallSnapshot` is done: the snapshot is durable and the log is empty, starting and
    /// ending at the snapshot's offset.
    SnapshotInstalled {
        /// Its id.
        id: OffsetAndEpoch,
        /// The voter set in its header, if there is one.
        voters: Option<VoterSet>,
        /// The kraft.version in its header; 0 if there is none.
        kraft_version: u16,
    },
    /// `Action::InstallSnapshot` or `WriteSnapshotChunk` failed: the file is damaged or could not be
    /// written. The log is as it was; the replica fetches again.
    SnapshotRejected {
        /// Its id.
        id: OffsetAndEpoch,
    },
    /// A connection to that node was reset or refused: its process is probably gone. Only a hint.
    PeerDown {
        /// The node.
        node: NodeId,
    },
    /// The moment named by `next_timeout` has come. Harmless at any other time.
    Timeout,
    /// The process is to end: a leader hands over. `Action::ShutdownComplete` follows.
    Shutdown,
    /// Leader only (ignored otherwise): resign and name `to` as the preferred successor, as soon as it
    /// has caught up; if it has not within the request timeout, nothing changes. `None`: resign at
    /// once and name the voter with the most complete log.
    TransferLeader {
        /// The wanted leader.
        to: Option<NodeId>,
    },
    /// Leader only: raise the finalised kraft.version (0 to 1). The answer is
    /// `Action::KraftVersionUpgrade`.
    UpgradeKraftVersion {
        /// Comes back in the answer.
        token: Token,
        /// The wanted level.
        level: u16,
        /// Check only; write nothing.
        validate_only: bool,
    },
}

/// Why a request got no usable answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RpcFailure {
    /// No answer within the timeout of the `Action::Send`.
    Timeout,
    /// The connection broke after it had been established.
    Disconnected,
    /// The connection was refused, or the address does not resolve or route.
    Refused,
    /// The peer does not speak a version that can carry this request (for a Vote request with
    /// `pre_vote`: not version 2).
    UnsupportedVersion,
    /// TLS or SASL failed.
    Authentication,
    /// The answer could not be decoded.
    Garbage,
}

/// The requests between raft replicas, and those about the quorum.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum PeerRequest {
    Vote(VoteRequest),
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    EndQuorumEpoch(EndQuorumEpochRequest),
    Fetch(FetchRequest),
    FetchSnapshot(FetchSnapshotRequest),
    DescribeQuorum(DescribeQuorumRequest),
    AddRaftVoter(AddRaftVoterRequest),
    RemoveRaftVoter(RemoveRaftVoterRequest),
    UpdateRaftVoter(UpdateRaftVoterRequest),
    /// Only received, and no request of Kafka's.
    TransferLeadership(TransferLeadershipRequest),
    /// Only sent, never received: asks a new voter for its kraft.version range.
    ApiVersions(ApiVersionsRequest),
}

/// The answers to `PeerRequest`s.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum PeerResponse {
    Vote(VoteResponse),
    BeginQuorumEpoch(BeginQuorumEpochResponse),
    EndQuorumEpoch(EndQuorumEpochResponse),
    Fetch(FetchResponse),
    FetchSnapshot(FetchSnapshotResponse),
    DescribeQuorum(DescribeQuorumResponse),
    AddRaftVoter(AddRaftVoterResponse),
    RemoveRaftVoter(RemoveRaftVoterResponse),
    UpdateRaftVoter(UpdateRaftVoterResponse),
    TransferLeadership(TransferLeadershipResponse),
    ApiVersions(ApiVersionsResponse),
}

macro_rules! between_any {
    ($($variant:ident),*; only sent: $sent:ident) => {
        impl PeerRequest {
            /// The API of this request.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(PeerRequest::$variant(_) => ApiKey::$variant,)*
                    PeerRequest::$sent(_) => ApiKey::$sent,
                }
            }
        }
        impl From<PeerRequest> for AnyRequest {
            fn from(request: PeerRequest) -> AnyRequest {
                match request {
                    $(PeerRequest::$variant(r) => AnyRequest::$variant(r),)*
                    PeerRequest::$sent(r) => AnyRequest::$sent(r),
                }
            }
        }
        impl From<PeerResponse> for AnyResponse {
            fn from(response: PeerResponse) -> AnyResponse {
                match response {
                    $(PeerResponse::$variant(r) => AnyResponse::$variant(r),)*
                    PeerResponse::$sent(r) => AnyResponse::$sent(r),
                }
            }
        }
        /// Gives the request back if it is not one that raft answers.
        impl TryFrom<AnyRequest> for PeerRequest {
            type Error = Box<AnyRequest>;
            fn try_from(request: AnyRequest) -> Result<PeerRequest, Box<AnyRequest>> {
                match request {
                    $(AnyRequest::$variant(r) => Ok(PeerRequest::$variant(r)),)*
                    other => Err(Box::new(other)),
                }
            }
        }
        /// Gives the response back if it is not one of these.
        impl TryFrom<AnyResponse> for PeerResponse {
            type Error = Box<AnyResponse>;
            fn try_from(response: AnyResponse) -> Result<PeerResponse, Box<AnyResponse>> {
                match response {
                    $(AnyResponse::$variant(r) => Ok(PeerResponse::$variant(r)),)*
                    AnyResponse::$sent(r) => Ok(PeerResponse::$sent(r)),
                    other => Err(Box::new(other)),
                }
            }
        }
    };
}

between_any!(
    Vote,
    BeginQuorumEpoch,
    EndQuorumEpoch,
    Fetch,
    FetchSnapshot,
    DescribeQuorum,
    AddRaftVoter,
    RemoveRaftVoter,
    UpdateRaftVoter,
    TransferLeadership;
    only sent: ApiVersions
);
