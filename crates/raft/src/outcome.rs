//! What the outcome of an outgoing request means.

use crate::peers::Purpose;
use crate::raft::{Cx, Raft};
use crate::{PeerResponse, RpcFailure, RpcId};

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
            Purpose::ProbeVoter => self.probe_answered(cx, &call, result),
        }
    }
}
