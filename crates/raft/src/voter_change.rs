//! Changes of the voter set as a leader makes them (KIP-853): one at a time, each effective when
//! appended, the next only after the last one is committed.

use crate::answers::respond;
use crate::leader::{LeaderState, voters_record};
use crate::mutant::mutated;
use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use crate::voter_set::known_directory;
use crate::{Action, Endpoint, PeerAddress, PeerRequest, PeerResponse, RpcFailure, Token, Voter};
use quorate_base::{NodeId, Offset, ReplicaKey, Time, Uuid};
use quorate_protocol::control::ControlRecord;
use quorate_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsRequest, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
    update_raft_voter_response,
};
use quorate_protocol::{AnyResponse, ErrorCode};
use std::time::Duration;

/// An observer that is to become a voter must have fetched within this time.
const FRESH_ENOUGH_MS: i64 = 3_600_000;
/// No change waits longer than this, whatever was asked for.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// A change of the voter set under way.
#[derive(Clone, Debug)]
pub(crate) struct VoterChange {
    /// Who asked; `None` once he is answered or gone.
    token: Option<Token>,
    adds: Option<Voter>,
    stage: Stage,
    ack_when_committed: bool,
    pub deadline: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Asking the new voter which kraft.version it supports; also shows that it can be reached.
    Probing,
    /// Waiting for the new voter to fetch what the leader has.
    CatchingUp,
    /// The record is in the log; offset of it.
    Committing(Offset),
}

pub(crate) type Refusal = (ErrorCode, String);

impl Raft {
    pub(crate) fn handle_add_voter(
        &mut self,
        cx: &mut Cx,
        token: Token,
        version: i16,
        request: AddRaftVoterRequest,
    ) {
        if let Err(refusal) = self.start_adding(cx, token, version, &request) {
            respond(cx, token, add_answer(Some(refusal)));
        }
    }

    fn start_adding(
        &mut self,
        cx: &mut Cx,
        token: Token,
        version: i16,
        request: &AddRaftVoterRequest,
    ) -> Result<(), Refusal> {
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            return Err(plain(ErrorCode::InconsistentClusterId));
        }
        self.must_lead()?;
        let key = voter_key(request.voter_id, request.voter_directory_id)?;
        let listeners: Vec<Endpoint> = request
            .listeners
            .iter()
            .map(|l| Endpoint { name: l.name.to_string(), host: l.host.to_string(), port: l.port })
            .collect();
        let voter = Voter { key, listeners, kraft_version_range: (0, 0) };
        let to = self.default_address(&voter)?;
        self.must_be_free_to_change()?;
        self.must_be_dynamic()?;
        if self.voters().get(key.id).is_some() {
            let text = format!(
                "node {} is a voter already ({}); remove it first to change its directory",
                key.id,
                self.voters().ids().iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
            );
            return Err((ErrorCode::DuplicateVoter, text));
        }
        let timeout = Duration::from_millis(request.timeout_ms.max(0).unsigned_abs().into());
        let change = VoterChange {
            token: Some(token),
            adds: Some(voter),
            stage: Stage::Probing,
            ack_when_committed: version < 1 || request.ack_when_committed,
            deadline: cx.now.time + timeout.min(MAX_TIMEOUT),
        };
        self.set_change(Some(change));
        let request = ApiVersionsRequest {
            client_software_name: "quorate".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        self.send(cx, to, Purpose::ProbeVoter, PeerRequest::ApiVersions(request));
        Ok(())
    }

    pub(crate) fn probe_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let level = self.kraft_version();
        let RoleState::Leader(state) = &mut self.role else {
            return;
        };
        let Some(change) = &mut state.change else {
            return;
        };
        let Some(voter) = change.adds.as_mut().filter(|_| change.stage == Stage::Probing) else {
            return;
        };
        let (id, place) = (voter.key.id, format!("{}:{}", call.to.host, call.to.port));
        let refusal = match result {
            Ok(PeerResponse::ApiVersions(answer)) if answer.error_code == 0 => {
                let range = answer.supported_features.iter().find(|f| f.name == "kraft.version");
                let range = range.and_then(|f| {
                    Some((u16::try_from(f.min_version).ok()?, u16::try_from(f.max_version).ok()?))
                });
                match range {
                    Some((min, max)) if min <= level && level <= max => {
                        voter.kraft_version_range = (min, max);
                        change.stage = Stage::CatchingUp;
                        None
                    }
                    _ => Some((
                        ErrorCode::InvalidRequest,
                        format!(
                            "node {id} at {place} does not support kraft.version {level}, which is \
                             finalised: upgrade that node first"
                        ),
                    )),
                }
            }
            Ok(_) => Some((
                ErrorCode::RequestTimedOut,
                format!("node {id} at {place} did not say what it supports; try again"),
            )),
            Err(failure) => Some((
                ErrorCode::RequestTimedOut,
                format!("node {id} cannot be reached at {place} ({failure:?}); nothing is changed"),
            )),
        };
        match refusal {
            Some(refusal) => self.end_change(cx, Some(refusal)),
            None => self.try_to_add(cx),
        }
    }

    /// Called after an observer fetched: it may be the one that is to become a voter.
    pub(crate) fn observer_fetched(&mut self, cx: &mut Cx, key: ReplicaKey) {
        let RoleState::Leader(state) = &self.role else {
            return;
        };
        let waits = state.change.as_ref().is_some_and(|c| {
            c.stage == Stage::CatchingUp && c.adds.as_ref().is_some_and(|v| v.key == key)
        });
        if waits {
            self.try_to_add(cx);
        }
    }

    fn try_to_add(&mut self, cx: &mut Cx) {
        let RoleState::Leader(state) = &self.role else {
            return;
        };
        let Some(change) = &state.change else { return };
        let Some(voter) = change.adds.clone().filter(|_| change.stage == Stage::CatchingUp) else {
            return;
        };
        let caught_up = state.observers.get(&voter.key).is_some_and(|p| {
            p.last_caught_up_ms > 0 && p.last_fetch_ms > cx.now.wall_ms - FRESH_ENOUGH_MS
        });
        if !caught_up {
            return;
        }
        let set = self.voters().with(voter);
        let at = self.append_voter_set(cx, &set);
        self.change_appended(cx, at);
    }

    /// Writes a voter set; gives the record's offset.
    fn append_voter_set(&mut self, cx: &mut Cx, set: &crate::VoterSet) -> Offset {
        assert!(
            self.voters().has_overlapping_majority(set),
            "voters change one at a time: {:?} to {:?}",
            self.voters().ids(),
            set.ids()
        );
        assert!(!set.is_empty(), "a quorum has voters");
        let at = self.log.end().offset;
        self.append_control(cx, &[voters_record(set)]);
        at
    }

    fn change_appended(&mut self, cx: &mut Cx, at: Offset) {
        let RoleState::Leader(state) = &mut self.role else {
            return;
        };
        let Some(change) = &mut state.change else {
            return;
        };
        change.stage = Stage::Committing(at);
        if !change.ack_when_committed
            && let Some(token) = change.token.take()
        {
            let answer = if change.adds.is_some() { add_answer(None) } else { remove_answer(None) };
            respond(cx, token, answer);
        }
        self.voter_change_committed(cx);
    }

    /// Called when the high watermark moved.
    pub(crate) fn voter_change_committed(&mut self, cx: &mut Cx) {
        let committed = |at: Offset| self.high_watermark.is_some_and(|hw| at < hw);
        let RoleState::Leader(state) = &self.role else {
            return;
        };
        let done = state
            .change
            .as_ref()
            .is_some_and(|c| matches!(c.stage, Stage::Committing(at) if committed(at)));
        let settled = state.committed_own_epoch && self.history.last_change().is_none_or(committed);
        if done {
            self.end_change(cx, None);
        }
        if settled && !self.is_voter() {
            // This leader removed itself, and that is committed now.
            self.hand_over(cx, None);
        }
    }

    pub(crate) fn poll_voter_change(&mut self, cx: &mut Cx) {
        let RoleState::Leader(state) = &self.role else {
            return;
        };
        let Some(change) = state.change.as_ref().filter(|c| c.deadline <= cx.now.time) else {
            return;
        };
        let text = match change.stage {
            Stage::Probing => "the new voter did not answer in time; nothing is changed",
            Stage::CatchingUp => {
                "the new voter has not caught up with the leader in time; nothing is changed"
            }
            Stage::Committing(_) => {
                "the change is in the log, but not committed in time; it may still take effect"
            }
        };
        self.end_change(cx, Some((ErrorCode::RequestTimedOut, text.to_owned())));
    }

    fn set_change(&mut self, change: Option<VoterChange>) -> Option<VoterChange> {
        match &mut self.role {
            RoleState::Leader(state) => std::mem::replace(&mut state.change, change),
            _ => None,
        }
    }

    fn end_change(&mut self, cx: &mut Cx, refusal: Option<Refusal>) {
        if let Some(change) = self.set_change(None) {
            answer_change(cx, change, refusal);
        }
    }

    /// Leadership is lost.
    pub(crate) fn abandon_voter_change(&mut self, cx: &mut Cx, state: LeaderState) {
        if let Some(change) = state.change {
            answer_change(cx, change, Some(plain(ErrorCode::NotLeaderOrFollower)));
        }
    }

    pub(crate) fn cancel_voter_change(&mut self, token: Token) {
        if let RoleState::Leader(state) = &mut self.role
            && let Some(change) = &mut state.change
            && change.token == Some(token)
        {
            change.token = None;
        }
    }

    pub(crate) fn handle_remove_voter(
        &mut self,
        cx: &mut Cx,
        token: Token,
        request: &RemoveRaftVoterRequest,
    ) {
        if let Err(refusal) = self.start_removing(cx, token, request) {
            respond(cx, token, remove_answer(Some(refusal)));
        }
    }

    fn start_removing(
        &mut self,
        cx: &mut Cx,
        token: Token,
        request: &RemoveRaftVoterRequest,
    ) -> Result<(), Refusal> {
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            return Err(plain(ErrorCode::InconsistentClusterId));
        }
        self.must_lead()?;
        let key = voter_key(request.voter_id, request.voter_directory_id)?;
        self.must_be_free_to_change()?;
        self.must_be_dynamic()?;
        let set = self.voters();
        if set.get(key.id).is_none_or(|v| v.key != key) || set.len() == 1 {
            let text = if set.len() == 1 {
                format!("{key} cannot be removed: a quorum keeps at least one voter")
            } else {
                format!("{key} is not a voter")
            };
            return Err((ErrorCode::VoterNotFound, text));
        }
        let set = set.without(key.id);
        self.set_change(Some(VoterChange {
            token: Some(token),
            adds: None,
            stage: Stage::CatchingUp,
            ack_when_committed: true,
            deadline: cx.now.time + self.config.request_timeout,
        }));
        let at = self.append_voter_set(cx, &set);
        self.change_appended(cx, at);
        Ok(())
    }

    pub(crate) fn handle_update_voter(
        &mut self,
        cx: &mut Cx,
        token: Token,
        listener: &str,
        request: &UpdateRaftVoterRequest,
    ) {
        let error = self.update_voter(cx, request).err().unwrap_or(ErrorCode::None);
        let leader = self.leader_for(listener);
        let current_leader = match leader.endpoint {
            Some((host, port)) => update_raft_voter_response::CurrentLeader {
                leader_id: leader.id,
                leader_epoch: leader.epoch,
                host,
                port: i32::from(port),
                ..Default::default()
            },
            None => update_raft_voter_response::CurrentLeader {
                leader_id: -1,
                leader_epoch: leader.epoch,
                ..Default::default()
            },
        };
        let response = UpdateRaftVoterResponse {
            error_code: error.code(),
            current_leader,
            ..Default::default()
        };
        respond(cx, token, AnyResponse::UpdateRaftVoter(response));
    }

    fn update_voter(
        &mut self,
        cx: &mut Cx,
        request: &UpdateRaftVoterRequest,
    ) -> Result<(), ErrorCode> {
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            return Err(ErrorCode::InconsistentClusterId);
        }
        if let Some(error) = self.leader_only(request.current_leader_epoch) {
            return Err(error);
        }
        let key = voter_key(request.voter_id, request.voter_directory_id).map_err(|(e, _)| e)?;
        let range = &request.kraft_version_feature;
        let level = |level: i16| u16::try_from(level).map_err(|_| ErrorCode::InvalidRequest);
        let voter = Voter {
            key,
            listeners: request
                .listeners
                .iter()
                .map(|l| Endpoint {
                    name: l.name.to_string(),
                    host: l.host.to_string(),
                    port: l.port,
                })
                .collect(),
            kraft_version_range: (
                level(range.min_supported_version)?,
                level(range.max_supported_version)?,
            ),
        };
        self.default_address(&voter).map_err(|(error, _)| error)?;
        self.must_be_free_to_change().map_err(|(error, _)| error)?;
        let (min, max) = voter.kraft_version_range;
        let level = self.kraft_version();
        if level < min || level > max {
            return Err(ErrorCode::InvalidRequest);
        }
        if !self.voters().contains(key) {
            return Err(ErrorCode::VoterNotFound);
        }
        if level == 0 {
            // Nothing to write; kept for the upgrade to kraft.version 1.
            self.reported_voters.insert(key.id, voter);
        } else if self.voters().get(key.id) != Some(&voter) {
            let set = self.voters().with(voter);
            self.append_voter_set(cx, &set);
        }
        Ok(())
    }

    /// Raises kraft.version from 0 to 1: from then on the voter set stands in the log.
    pub(crate) fn upgrade_kraft_version(
        &mut self,
        cx: &mut Cx,
        token: Token,
        level: u16,
        validate_only: bool,
    ) {
        let result = self.try_upgrade(cx, level, validate_only);
        let (error, message) = match result {
            Ok(()) => (ErrorCode::None, None),
            Err((error, message)) => (error, Some(message)),
        };
        cx.push(Action::KraftVersionUpgrade { token, error, message });
    }

    fn try_upgrade(&mut self, cx: &mut Cx, level: u16, validate_only: bool) -> Result<(), Refusal> {
        self.must_lead()?;
        let current = self.kraft_version();
        let (min, max) = self.config.kraft_version_range;
        let invalid = |text: String| Err((ErrorCode::InvalidUpdateVersion, text));
        if level == current {
            return Ok(());
        }
        if level < current || level < min || level > max {
            return invalid(format!(
                "kraft.version cannot go from {current} to {level}: it can only be raised, up to {max}"
            ));
        }
        self.must_be_free_to_change()?;
        let mut reported = self.reported_voters.clone();
        reported.insert(self.config.node_id, self.own_voter());
        let mut voters = Vec::new();
        for id in self.voters().ids() {
            match reported.remove(&id) {
                Some(v) if v.kraft_version_range.0 <= level && level <= v.kraft_version_range.1 => {
                    voters.push(v);
                }
                Some(_) => {
                    return invalid(format!(
                        "voter {id} does not support kraft.version {level}: upgrade it first"
                    ));
                }
                None => {
                    return invalid(format!(
                        "voter {id} has not told the leader its directory id and endpoints: it is \
                         down, or of a release that cannot; try again when it is up"
                    ));
                }
            }
        }
        if !validate_only {
            let set = crate::VoterSet::new(voters);
            let level = i16::try_from(level).unwrap_or(i16::MAX);
            self.append_control(cx, &[ControlRecord::KRaftVersion(level), voters_record(&set)]);
        }
        Ok(())
    }

    fn must_lead(&self) -> Result<(), Refusal> {
        if self.is_leader() && self.shutdown_deadline.is_none() {
            Ok(())
        } else {
            Err(plain(ErrorCode::NotLeaderOrFollower))
        }
    }

    fn must_be_dynamic(&self) -> Result<(), Refusal> {
        if self.kraft_version() > 0 {
            return Ok(());
        }
        let text = "voters can be changed from kraft.version 1 on, and 0 is finalised: raise it with \
                    kafka-features, or change controller.quorum.voters on all nodes";
        Err((ErrorCode::UnsupportedVersion, text.to_owned()))
    }

    fn must_be_free_to_change(&self) -> Result<(), Refusal> {
        if mutated!(self, OverlappingVoterChanges) {
            return Ok(());
        }
        let RoleState::Leader(state) = &self.role else {
            return Err(plain(ErrorCode::NotLeaderOrFollower));
        };
        let busy = if state.change.is_some() {
            "another change of the voter set is under way"
        } else if !state.committed_own_epoch {
            "the new leader has not committed a record of its epoch yet"
        } else if self.history.last_change() >= self.high_watermark {
            "the last change of the voter set is not committed yet"
        } else {
            return Ok(());
        };
        Err((ErrorCode::RequestTimedOut, format!("{busy}; try again")))
    }

    /// Where a voter is called: it needs an endpoint on this quorum's first listener.
    fn default_address(&self, voter: &Voter) -> Result<PeerAddress, Refusal> {
        let listener = &self.config.default_listener;
        match voter.endpoint(listener) {
            Some(endpoint) => Ok(PeerAddress {
                node: Some(voter.key.id),
                host: endpoint.host.clone(),
                port: endpoint.port,
            }),
            None => Err((
                ErrorCode::InvalidRequest,
                format!("{} has no endpoint on the listener {listener}", voter.key),
            )),
        }
    }
}

fn voter_key(id: NodeId, directory: Uuid) -> Result<ReplicaKey, Refusal> {
    match known_directory(directory) {
        Some(directory) if id >= 0 => Ok(ReplicaKey { id, directory_id: Some(directory) }),
        _ => Err((
            ErrorCode::InvalidRequest,
            format!("a voter is named by its id and directory id, not by {id} and {directory}"),
        )),
    }
}

fn plain(error: ErrorCode) -> Refusal {
    (error, error.message().to_owned())
}

fn answer_change(cx: &mut Cx, change: VoterChange, refusal: Option<Refusal>) {
    let Some(token) = change.token else { return };
    let answer = if change.adds.is_some() { add_answer(refusal) } else { remove_answer(refusal) };
    respond(cx, token, answer);
}

fn add_answer(refusal: Option<Refusal>) -> AnyResponse {
    let (error, message) = refusal.unzip();
    AnyResponse::AddRaftVoter(AddRaftVoterResponse {
        error_code: error.unwrap_or(ErrorCode::None).code(),
        error_message: message.map(Into::into),
        ..Default::default()
    })
}

fn remove_answer(refusal: Option<Refusal>) -> AnyResponse {
    let (error, message) = refusal.unzip();
    AnyResponse::RemoveRaftVoter(RemoveRaftVoterResponse {
        error_code: error.unwrap_or(ErrorCode::None).code(),
        error_message: message.map(Into::into),
        ..Default::default()
    })
}
