//! What all answers have in common: the leader, its epoch, and where it is reached on the listener
//! the question came in on; and what all requests must say.

use crate::raft::{Cx, Raft};
use crate::{Action, Token};
use quorate_base::NodeId;
use quorate_protocol::{AnyResponse, ErrorCode, KStr};

/// Name of the topic that holds the metadata log.
pub(crate) const TOPIC: &str = "__cluster_metadata";

/// The leader as an answer names it: -1 if there is none, or none that the asker could reach. A
/// leader's id without its address stops a Java peer for good.
pub(crate) struct NamedLeader {
    pub id: NodeId,
    pub epoch: i32,
    pub endpoint: Option<(KStr, u16)>,
}

impl Raft {
    pub(crate) fn leader_for(&self, listener: &str) -> NamedLeader {
        let endpoint = self.known_leader().and_then(|id| {
            let (host, port) = self.endpoint_for(id, listener)?;
            Some((id, KStr::from(host), port))
        });
        match endpoint {
            Some((id, host, port)) => {
                NamedLeader { id, epoch: self.epoch, endpoint: Some((host, port)) }
            }
            None => NamedLeader { id: -1, epoch: self.epoch, endpoint: None },
        }
    }

    /// Where a leader or voter is reached on the listener of that name.
    fn endpoint_for(&self, id: NodeId, listener: &str) -> Option<(&str, u16)> {
        let named = |e: &&crate::Endpoint| e.name.eq_ignore_ascii_case(listener);
        let endpoint = if id == self.config.node_id {
            self.config.listeners.iter().find(named)
        } else {
            let told = self.epoch_leader == Some(id);
            let told = told.then(|| self.leader_endpoints.iter().find(named)).flatten();
            told.or_else(|| self.voters().get(id).and_then(|v| v.endpoint(listener)))
        }?;
        Some((endpoint.host.as_str(), endpoint.port))
    }

    /// The leader's endpoint on a listener, for those who look for the leader by other ways.
    pub fn leader_endpoint(&self, listener: &str) -> Option<(NodeId, &str, u16)> {
        let id = self.known_leader()?;
        self.endpoint_for(id, listener).map(|(host, port)| (id, host, port))
    }

    /// A cluster id may be left out, but not be another's.
    pub(crate) fn is_our_cluster(&self, cluster_id: Option<&KStr>) -> bool {
        cluster_id.is_none_or(|id| id.as_str() == self.config.cluster_id)
    }

    /// What is wrong with a request that only a leader of its very epoch may serve.
    pub(crate) fn leader_only(&self, epoch: i32) -> Option<ErrorCode> {
        if epoch < self.epoch {
            Some(ErrorCode::FencedLeaderEpoch)
        } else if epoch > self.epoch {
            Some(ErrorCode::UnknownLeaderEpoch)
        } else if !self.is_leader() {
            Some(ErrorCode::NotLeaderOrFollower)
        } else {
            None
        }
    }
}

pub(crate) fn respond(cx: &mut Cx, token: Token, response: impl Into<AnyResponse>) {
    cx.push(Action::Respond { token, response: response.into() });
}
