//! BeginQuorumEpoch and EndQuorumEpoch: a leader tells the voters that it leads, or gives up.

use crate::answers::{TOPIC, respond};
use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use crate::{Endpoint, PeerRequest, PeerResponse, RpcFailure, Token};
use quorate_base::{NodeId, ReplicaKey};
use quorate_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, begin_quorum_epoch_request as begin_request,
    begin_quorum_epoch_response as begin_response, end_quorum_epoch_request as end_request,
    end_quorum_epoch_response as end_response,
};
use quorate_protocol::{AnyResponse, ErrorCode};
use std::time::Duration;

/// Takes in a request whose shape BeginQuorumEpoch and EndQuorumEpoch share, and answers it.
macro_rules! epoch_request_handler {
    ($name:ident, $judge:ident, $api:ident, $request:ident, $response:ident, $parts:ident) => {
        pub(crate) fn $name(
            &mut self,
            cx: &mut Cx,
            token: Token,
            listener: &str,
            version: i16,
            request: &$request,
        ) {
            let refuse = |error: ErrorCode| {
                let error_code = error.code();
                AnyResponse::$api($response { error_code, ..Default::default() })
            };
            if !self.is_our_cluster(request.cluster_id.as_ref()) {
                return respond(cx, token, refuse(ErrorCode::InconsistentClusterId));
            }
            let partition = match request.topics.as_slice() {
                [topic] if topic.topic_name == TOPIC => match topic.partitions.as_slice() {
                    [partition] if partition.partition_index == 0 => partition,
                    _ => return respond(cx, token, refuse(ErrorCode::InvalidRequest)),
                },
                _ => return respond(cx, token, refuse(ErrorCode::InvalidRequest)),
            };
            let error = self.$judge(cx, request, partition);
            let leader = self.leader_for(listener);
            let endpoints = leader.endpoint.filter(|_| version >= 1).map(|(host, port)| {
                $parts::NodeEndpoint { node_id: leader.id, host, port, ..Default::default() }
            });
            let response = $response {
                topics: vec![$parts::TopicData {
                    topic_name: TOPIC.into(),
                    partitions: vec![$parts::PartitionData {
                        partition_index: 0,
                        error_code: error.unwrap_or(ErrorCode::None).code(),
                        leader_id: leader.id,
                        leader_epoch: leader.epoch,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                node_endpoints: endpoints.into_iter().collect(),
                ..Default::default()
            };
            respond(cx, token, AnyResponse::$api(response));
        }
    };
}

impl Raft {
    epoch_request_handler!(
        handle_begin_epoch,
        judge_begin_epoch,
        BeginQuorumEpoch,
        BeginQuorumEpochRequest,
        BeginQuorumEpochResponse,
        begin_response
    );
    epoch_request_handler!(
        handle_end_epoch,
        judge_end_epoch,
        EndQuorumEpoch,
        EndQuorumEpochRequest,
        EndQuorumEpochResponse,
        end_response
    );

    pub(crate) fn begin_epoch_request(&self, voter: NodeId) -> PeerRequest {
        let directory = self.voters().get(voter).and_then(|v| v.key.directory_id);
        let endpoints = self.config.listeners.iter().map(|e| begin_request::LeaderEndpoint {
            name: e.name.as_str().into(),
            host: e.host.as_str().into(),
            port: e.port,
            ..Default::default()
        });
        PeerRequest::BeginQuorumEpoch(BeginQuorumEpochRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            voter_id: voter,
            topics: vec![begin_request::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![begin_request::PartitionData {
                    partition_index: 0,
                    voter_directory_id: directory.unwrap_or_default(),
                    leader_id: self.config.node_id,
                    leader_epoch: self.epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            leader_endpoints: endpoints.collect(),
            ..Default::default()
        })
    }

    fn judge_begin_epoch(
        &mut self,
        cx: &mut Cx,
        request: &BeginQuorumEpochRequest,
        partition: &begin_request::PartitionData,
    ) -> Option<ErrorCode> {
        let (leader, epoch) = (partition.leader_id, partition.leader_epoch);
        if epoch < self.epoch {
            return Some(ErrorCode::FencedLeaderEpoch);
        }
        let other = self.epoch_leader.filter(|known| epoch == self.epoch && *known != leader);
        if leader < 0 || leader == self.config.node_id || other.is_some() {
            return Some(ErrorCode::InvalidRequest);
        }
        let endpoints: Vec<Endpoint> = request
            .leader_endpoints
            .iter()
            .map(|e| Endpoint { name: e.name.to_string(), host: e.host.to_string(), port: e.port })
            .collect();
        if !self.learn(cx, epoch, Some(leader), endpoints.clone()) {
            self.leader_is_alive(cx, leader, endpoints);
        }
        if !self.is_me(request.voter_id, partition.voter_directory_id) {
            return Some(ErrorCode::InvalidVoterKey);
        }
        None
    }

    /// The leader of this epoch itself called.
    fn leader_is_alive(&mut self, cx: &mut Cx, leader: NodeId, endpoints: Vec<Endpoint>) {
        let deadline = cx.now.time + self.config.fetch_timeout;
        match &mut self.role {
            RoleState::Follower(state) if state.leader == leader => {
                state.fetch_deadline = state.fetch_deadline.max(deadline);
                state.suspect_at = None;
                if !endpoints.is_empty() {
                    self.leader_endpoints = endpoints;
                }
            }
            RoleState::Prospective(_) => {
                let epoch = self.epoch;
                self.become_follower(cx, epoch, leader, endpoints);
            }
            _ => {}
        }
    }

    pub(crate) fn begin_epoch_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let partition = match &result {
            Ok(PeerResponse::BeginQuorumEpoch(response)) if response.error_code == 0 => {
                response.topics.first().and_then(|t| t.partitions.first())
            }
            _ => None,
        };
        if matches!(result, Err(RpcFailure::Timeout)) {
            // Cut off, perhaps. It is told again on the beat: a pause that grows would keep it from
            // its leader when it can be reached again.
            return;
        }
        let Some(partition) = partition else {
            self.refuse_outcome(cx, call, &result);
            return self.tell_again_after_pause(cx, call);
        };
        if partition.error_code == 0 {
            self.peers.succeeded(&call.to);
        } else {
            self.refuse_error(cx, call, partition.error_code);
        }
        self.learn(cx, partition.leader_epoch, Some(partition.leader_id), Vec::new());
    }

    fn tell_again_after_pause(&mut self, cx: &mut Cx, call: &Outstanding) {
        let now = cx.now.time;
        let unheard_since = call.sent + self.config.fetch_timeout / 2;
        if let (RoleState::Leader(state), Some(id)) = (&mut self.role, call.to.node)
            && let Some(progress) = state.voters.get_mut(&id)
            // One that has fetched meanwhile knows who leads.
            && progress.begin_epoch_at <= unheard_since
        {
            // The pause after the failure decides.
            progress.begin_epoch_at = progress.begin_epoch_at.min(now);
        }
    }

    /// Tells the voters, best successor first, that this leader gave up; stands again later.
    pub(crate) fn poll_resigned(&mut self, cx: &mut Cx) {
        let now = cx.now.time;
        let RoleState::Resigned(state) = &self.role else {
            return;
        };
        if self.shutdown_deadline.is_none() && now >= state.deadline {
            let epoch = self.epoch;
            if self.can_be_elected() {
                self.become_prospective(cx, None);
            } else {
                self.become_unattached(cx, epoch, None);
            }
            return self.poll(cx);
        }
        let first = |key: &ReplicaKey| state.successors.iter().position(|s| s.id == key.id);
        let mut open: Vec<ReplicaKey> = self.other_voters();
        open.retain(|key| state.unacknowledged.contains(&key.id));
        open.sort_by_key(|key| first(key).unwrap_or(usize::MAX));
        for voter in open {
            if let Some(to) = self.voter_address(voter.id)
                && self.peers.is_ready(&to, now)
            {
                let request = self.end_epoch_request();
                self.send(cx, to, Purpose::EndQuorumEpoch, request);
            }
        }
    }

    fn end_epoch_request(&self) -> PeerRequest {
        let successors = match &self.role {
            RoleState::Resigned(state) => state.successors.as_slice(),
            _ => &[],
        };
        let endpoints = self.config.listeners.iter().map(|e| end_request::LeaderEndpoint {
            name: e.name.as_str().into(),
            host: e.host.as_str().into(),
            port: e.port,
            ..Default::default()
        });
        let candidates = successors.iter().map(|key| end_request::ReplicaInfo {
            candidate_id: key.id,
            candidate_directory_id: key.directory_id.unwrap_or_default(),
            ..Default::default()
        });
        PeerRequest::EndQuorumEpoch(EndQuorumEpochRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            topics: vec![end_request::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![end_request::PartitionData {
                    partition_index: 0,
                    leader_id: self.config.node_id,
                    leader_epoch: self.epoch,
                    preferred_successors: successors.iter().map(|key| key.id).collect(),
                    preferred_candidates: candidates.collect(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            leader_endpoints: endpoints.collect(),
            ..Default::default()
        })
    }

    fn judge_end_epoch(
        &mut self,
        cx: &mut Cx,
        request: &EndQuorumEpochRequest,
        partition: &end_request::PartitionData,
    ) -> Option<ErrorCode> {
        let (leader, epoch) = (partition.leader_id, partition.leader_epoch);
        if epoch < self.epoch {
            return Some(ErrorCode::FencedLeaderEpoch);
        }
        let other = self.epoch_leader.filter(|known| epoch == self.epoch && *known != leader);
        if leader < 0 || leader == self.config.node_id || other.is_some() {
            return Some(ErrorCode::InvalidRequest);
        }
        let endpoints: Vec<Endpoint> = request
            .leader_endpoints
            .iter()
            .map(|e| Endpoint { name: e.name.to_string(), host: e.host.to_string(), port: e.port })
            .collect();
        self.learn(cx, epoch, Some(leader), endpoints);
        let me = self.config.node_id;
        let successors: Vec<NodeId> = if partition.preferred_candidates.is_empty() {
            partition.preferred_successors.clone()
        } else {
            partition.preferred_candidates.iter().map(|c| c.candidate_id).collect()
        };
        let place = successors.iter().position(|id| *id == me);
        let may_stand = self.can_be_elected();
        let slot = self.config.retry_backoff.max(Duration::from_millis(20));
        let pause = match place {
            Some(0) => Duration::ZERO,
            Some(place) => slot * u32::try_from(place.min(32)).unwrap_or(32) + self.jitter(slot),
            None => self.config.election_timeout,
        };
        let mut changed = false;
        if let RoleState::Follower(state) = &mut self.role
            && state.leader == leader
        {
            changed = !state.leader_resigned;
            state.leader_resigned = true;
            state.stand_at_once = place == Some(0);
            state.has_fetched = false;
            if may_stand {
                let at = cx.now.time + pause.min(self.config.election_backoff_max);
                state.suspect_at = Some(state.suspect_at.map_or(at, |old| old.min(at)));
            }
        }
        if changed {
            self.announce(cx);
        }
        None
    }

    pub(crate) fn end_epoch_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let partition = match &result {
            Ok(PeerResponse::EndQuorumEpoch(response)) if response.error_code == 0 => {
                response.topics.first().and_then(|t| t.partitions.first())
            }
            _ => None,
        };
        let Some(partition) = partition else {
            return self.refuse_outcome(cx, call, &result);
        };
        self.peers.succeeded(&call.to);
        if let (RoleState::Resigned(state), Some(id)) = (&mut self.role, call.to.node) {
            state.unacknowledged.remove(&id);
        }
        self.learn(cx, partition.leader_epoch, Some(partition.leader_id), Vec::new());
    }
}
