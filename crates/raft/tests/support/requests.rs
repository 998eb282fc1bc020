//! Requests of administrators, and what a node says of itself.

use super::{CLUSTER, PORT, World, directory};
use quorate_base::NodeId;
use quorate_protocol::AnyResponse;
use quorate_protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, add_raft_voter_request,
};
use quorate_raft::{Endpoint, PeerRequest};

impl World {
    /// Asks a node to add that one to the voters.
    pub fn add_voter(&mut self, at: NodeId, id: NodeId) -> u64 {
        let own = self.nodes.get(&id).map_or(directory(id), |n| n.config.directory_id);
        let request = AddRaftVoterRequest {
            cluster_id: Some(CLUSTER.into()),
            timeout_ms: 5000,
            voter_id: id,
            voter_directory_id: own,
            listeners: vec![add_raft_voter_request::Listener {
                name: "CONTROLLER".into(),
                host: host(id).into(),
                port: PORT,
                ..Default::default()
            }],
            ack_when_committed: true,
            ..Default::default()
        };
        self.request(at, 1, PeerRequest::AddRaftVoter(request))
    }

    /// Asks a node to remove that voter, under the directory id the leader knows.
    pub fn remove_voter(&mut self, at: NodeId, id: NodeId) -> u64 {
        let known = self.leader().and_then(|l| self.raft(l).voters().get(id)?.key.directory_id);
        let request = RemoveRaftVoterRequest {
            cluster_id: Some(CLUSTER.into()),
            voter_id: id,
            voter_directory_id: known.unwrap_or_else(|| directory(id)),
            ..Default::default()
        };
        self.request(at, 0, PeerRequest::RemoveRaftVoter(request))
    }
}

pub fn host(id: NodeId) -> String {
    format!("n{id}")
}

pub fn endpoint(id: NodeId) -> Endpoint {
    Endpoint { name: "CONTROLLER".into(), host: host(id), port: PORT }
}

pub fn newest_version(request: &PeerRequest) -> i16 {
    match request {
        PeerRequest::Fetch(_) => 18,
        PeerRequest::Vote(_) | PeerRequest::DescribeQuorum(_) => 2,
        PeerRequest::RemoveRaftVoter(_) | PeerRequest::UpdateRaftVoter(_) => 0,
        _ => 1,
    }
}

/// What a node says whose kraft.version goes from `range.0` to `range.1`.
pub fn api_versions(range: (u16, u16)) -> AnyResponse {
    use quorate_protocol::messages::ApiVersionsResponse;
    use quorate_protocol::messages::api_versions_response::SupportedFeatureKey;
    AnyResponse::ApiVersions(ApiVersionsResponse {
        supported_features: vec![SupportedFeatureKey {
            name: "kraft.version".into(),
            min_version: range.0 as i16,
            max_version: range.1 as i16,
            ..Default::default()
        }],
        ..Default::default()
    })
}
