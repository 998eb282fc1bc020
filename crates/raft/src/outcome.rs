//! What the outcome of an outgoing request means.

use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::{Action, LogLevel, PeerResponse, RpcFailure, RpcId};
use quorate_protocol::ErrorCode;

impl Raft {
    pub(crate) fn handle_outcome(
        &mut self,
        cx: &mut Cx,
        rpc: RpcId,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        // Requests of an earlier role are forgotten; so is what comes of them.
        let Some(call) = self.peers.finish(rpc) else {
            return;
        };
        match call.purpose {
            Purpose::PreVote | Purpose::Vote => self.vote_answered(cx, &call, result),
            Purpose::BeginQuorumEpoch => self.begin_epoch_answered(cx, &call, result),
            Purpose::EndQuorumEpoch => self.end_epoch_answered(cx, &call, result),
            Purpose::Fetch => self.fetch_answered(cx, &call, result),
            Purpose::FetchSnapshot => self.snapshot_chunk_answered(cx, &call, result),
            Purpose::UpdateVoter => self.update_voter_answered(cx, &call, result),
            Purpose::JoinAdd | Purpose::JoinRemove => self.join_answered(cx, &call, result),
            Purpose::ProbeVote | Purpose::ProbeFetch => {
                self.recovery_probe_answered(cx, &call, result);
            }
            Purpose::ProbeVoter => self.probe_answered(cx, &call, result),
        }
    }

    /// An answer arrived that this replica can make no use of: the peer is called again after a
    /// pause, and the operator is told once.
    pub(crate) fn refuse_answer(&mut self, cx: &mut Cx, call: &Outstanding, why: &str) {
        self.peers.failed(&call.to, cx.now.time);
        if !self.peers.may_complain(&call.to, why, cx.now.time) {
            return;
        }
        let (host, port) = (&call.to.host, call.to.port);
        let peer = match call.to.node {
            Some(node) => format!("node {node} at {host}:{port}"),
            None => format!("{host}:{port}"),
        };
        let what = call.purpose.request_name();
        self.warn(cx, format!("the answer of {peer} to {what} is of no use: {why}; asking again"));
    }

    /// What a transport failure says beyond "nobody there", if anything.
    pub(crate) fn refuse_outcome(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: &Result<PeerResponse, RpcFailure>,
    ) {
        match result {
            Ok(response) => {
                let why = match error_of(response) {
                    0 => "it lacks the partition asked for, or is of another kind".to_owned(),
                    code => error_text(code),
                };
                self.refuse_answer(cx, call, &why);
            }
            Err(RpcFailure::Garbage) => self.refuse_answer(cx, call, "it cannot be decoded"),
            Err(RpcFailure::Authentication) => self.refuse_answer(cx, call, "TLS or SASL failed"),
            Err(RpcFailure::UnsupportedVersion) => {
                self.refuse_answer(cx, call, "it speaks no version of the request that would do");
            }
            // Peers come and go; whoever leads or not is told elsewhere.
            Err(RpcFailure::Timeout | RpcFailure::Disconnected | RpcFailure::Refused) => {
                self.peers.failed(&call.to, cx.now.time);
            }
        }
    }

    /// An error in an answer's partition. That the other does not lead (any more) is no complaint.
    pub(crate) fn refuse_error(&mut self, cx: &mut Cx, call: &Outstanding, code: i16) {
        let ordinary = [
            ErrorCode::FencedLeaderEpoch,
            ErrorCode::UnknownLeaderEpoch,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::BrokerNotAvailable,
        ];
        if ordinary.iter().any(|error| error.code() == code) {
            self.peers.failed(&call.to, cx.now.time);
        } else {
            self.refuse_answer(cx, call, &error_text(code));
        }
    }

    pub(crate) fn warn(&self, cx: &mut Cx, message: String) {
        cx.push(Action::Log { level: LogLevel::Warn, message });
    }
}

fn error_of(response: &PeerResponse) -> i16 {
    match response {
        PeerResponse::Vote(r) => r.error_code,
        PeerResponse::BeginQuorumEpoch(r) => r.error_code,
        PeerResponse::EndQuorumEpoch(r) => r.error_code,
        PeerResponse::Fetch(r) => r.error_code,
        PeerResponse::FetchSnapshot(r) => r.error_code,
        PeerResponse::DescribeQuorum(r) => r.error_code,
        PeerResponse::AddRaftVoter(r) => r.error_code,
        PeerResponse::RemoveRaftVoter(r) => r.error_code,
        PeerResponse::UpdateRaftVoter(r) => r.error_code,
        PeerResponse::TransferLeadership(r) => r.error_code,
        PeerResponse::ApiVersions(r) => r.error_code,
    }
}

/// An error code as its name.
pub(crate) fn error_text(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(error) => format!("{} ({})", error.name(), error.message()),
        None => format!("unknown error {code}"),
    }
}
