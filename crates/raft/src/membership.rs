//! What a follower does about its own place in the voter set: reports changed endpoints
//! (KIP-853), and joins by itself where that is wanted (KIP-1186).

use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use crate::{PeerAddress, PeerRequest, PeerResponse, RpcFailure};
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest, add_raft_voter_request,
    update_raft_voter_request,
};

impl Raft {
    /// Sends what is due to the leader. True if something was sent.
    pub(crate) fn poll_membership(&mut self, cx: &mut Cx, to: &PeerAddress) -> bool {
        let now = cx.now.time;
        let RoleState::Follower(state) = &self.role else {
            return false;
        };
        if !state.has_fetched || !self.config.is_controller {
            return false;
        }
        let (update_due, join_due) = (state.update_voter_at <= now, state.join_at <= now);
        if self.is_voter() {
            if update_due && self.is_entry_outdated() {
                let request = self.update_request();
                self.send(cx, to.clone(), Purpose::UpdateVoter, request);
                return true;
            }
            return false;
        }
        let may_join = self.config.auto_join && self.kraft_version() > 0 && !self.was_voter;
        if !may_join || !join_due || !self.is_caught_up() {
            return false;
        }
        let me = self.config.node_id;
        let former = self.voters().get(me).map(|voter| voter.key);
        let request = match former {
            // This node's former disk is a voter still; nobody can be that voter again.
            Some(key) => PeerRequest::RemoveRaftVoter(RemoveRaftVoterRequest {
                cluster_id: Some(self.config.cluster_id.as_str().into()),
                voter_id: me,
                voter_directory_id: key.directory_id.unwrap_or_default(),
                ..Default::default()
            }),
            None => self.add_request(),
        };
        let purpose = if former.is_some() { Purpose::JoinRemove } else { Purpose::JoinAdd };
        self.send(cx, to.clone(), purpose, request);
        true
    }

    fn is_caught_up(&self) -> bool {
        self.high_watermark == Some(self.log.end().offset)
    }

    /// At kraft.version 0 the leader only keeps the report in mind, so each leader gets one.
    fn is_entry_outdated(&self) -> bool {
        let RoleState::Follower(state) = &self.role else {
            return false;
        };
        if self.config.listeners.is_empty() {
            return false;
        }
        if self.kraft_version() == 0 {
            !state.updated_leader
        } else {
            self.voters().get(self.config.node_id) != Some(&self.own_voter())
        }
    }

    fn update_request(&self) -> PeerRequest {
        let (min, max) = self.config.kraft_version_range;
        let level = |level: u16| i16::try_from(level).unwrap_or(i16::MAX);
        let listeners = self.config.listeners.iter().map(|e| update_raft_voter_request::Listener {
            name: e.name.as_str().into(),
            host: e.host.as_str().into(),
            port: e.port,
            ..Default::default()
        });
        PeerRequest::UpdateRaftVoter(UpdateRaftVoterRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            current_leader_epoch: self.epoch,
            voter_id: self.config.node_id,
            voter_directory_id: self.config.directory_id,
            listeners: listeners.collect(),
            kraft_version_feature: update_raft_voter_request::KRaftVersionFeature {
                min_supported_version: level(min),
                max_supported_version: level(max),
                ..Default::default()
            },
            ..Default::default()
        })
    }

    fn add_request(&self) -> PeerRequest {
        let listeners = self.config.listeners.iter().map(|e| add_raft_voter_request::Listener {
            name: e.name.as_str().into(),
            host: e.host.as_str().into(),
            port: e.port,
            ..Default::default()
        });
        PeerRequest::AddRaftVoter(AddRaftVoterRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            timeout_ms: i32::try_from(self.config.request_timeout.as_millis()).unwrap_or(i32::MAX),
            voter_id: self.config.node_id,
            voter_directory_id: self.config.directory_id,
            listeners: listeners.collect(),
            // This replica must go on fetching for the change to commit.
            ack_when_committed: false,
            ..Default::default()
        })
    }

    pub(crate) fn update_voter_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let again = cx.now.time + self.config.fetch_timeout;
        let response = match result {
            Ok(PeerResponse::UpdateRaftVoter(response)) => response,
            other => {
                if let RoleState::Follower(state) = &mut self.role {
                    state.update_voter_at = again;
                    // A leader of Kafka 3.8 or before does not know the request.
                    state.updated_leader |= other == Err(RpcFailure::UnsupportedVersion);
                }
                return self.peers.failed(&call.to, cx.now.time);
            }
        };
        self.peers.succeeded(&call.to);
        let leader = &response.current_leader;
        let endpoints = self.endpoints_on_default_listener(
            u16::try_from(leader.port)
                .ok()
                .filter(|_| !leader.host.is_empty())
                .map(|port| (leader.host.as_str(), port))
                .into_iter(),
        );
        if self.learn(cx, leader.leader_epoch, Some(leader.leader_id), endpoints) {
            return;
        }
        if let RoleState::Follower(state) = &mut self.role {
            state.update_voter_at = again;
            let settled = [ErrorCode::None, ErrorCode::UnsupportedVersion];
            state.updated_leader |= settled.iter().any(|e| e.code() == response.error_code);
        }
    }

    pub(crate) fn join_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let again = cx.now.time + self.config.fetch_timeout;
        if let RoleState::Follower(state) = &mut self.role {
            state.join_at = again;
        }
        match result {
            Ok(_) => self.peers.succeeded(&call.to),
            Err(_) => self.peers.failed(&call.to, cx.now.time),
        }
    }
}
