//! Vote, real and in advance (KIP-595, KIP-996).

use crate::answers::{TOPIC, respond};
use crate::mutant::mutated;
use crate::peers::{Outstanding, Purpose};
use crate::quorum::{Tally, tally};
use crate::raft::{Cx, Raft};
use crate::role::{Election, RoleState};
use crate::voter_set::{known_directory, same_replica};
use crate::{Action, Endpoint, PeerAddress, PeerRequest, PeerResponse, RpcFailure, Token};
use quorate_base::{NodeId, OffsetAndEpoch, ReplicaKey, Time, Uuid};
use quorate_protocol::messages::{VoteRequest, VoteResponse, vote_request, vote_response};
use quorate_protocol::{AnyResponse, ErrorCode};

impl Raft {
    pub(crate) fn handle_vote(
        &mut self,
        cx: &mut Cx,
        token: Token,
        listener: &str,
        version: i16,
        request: &VoteRequest,
    ) {
        let whole = |error: ErrorCode| {
            AnyResponse::Vote(VoteResponse { error_code: error.code(), ..Default::default() })
        };
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            return respond(cx, token, whole(ErrorCode::InconsistentClusterId));
        }
        let Some(ask) = only_partition(request) else {
            return respond(cx, token, whole(ErrorCode::InvalidRequest));
        };
        let result = self.judge_vote(cx, request.voter_id, ask);
        let leader = self.leader_for(listener);
        let partition = vote_response::PartitionData {
            partition_index: 0,
            error_code: result.err().unwrap_or(ErrorCode::None).code(),
            leader_id: leader.id,
            leader_epoch: leader.epoch,
            vote_granted: result == Ok(true),
            ..Default::default()
        };
        let node_endpoints = leader.endpoint.filter(|_| version >= 1).map(|(host, port)| {
            vote_response::NodeEndpoint { node_id: leader.id, host, port, ..Default::default() }
        });
        let response = VoteResponse {
            topics: vec![vote_response::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            node_endpoints: node_endpoints.into_iter().collect(),
            ..Default::default()
        };
        respond(cx, token, AnyResponse::Vote(response));
    }

    fn judge_vote(
        &mut self,
        cx: &mut Cx,
        voter_id: NodeId,
        ask: &vote_request::PartitionData,
    ) -> Result<bool, ErrorCode> {
        let malformed = ask.last_offset < 0
            || ask.last_offset_epoch < 0
            || ask.replica_epoch < 0
            || ask.replica_id < 0
            || ask.last_offset_epoch > ask.replica_epoch
            || (!ask.pre_vote && ask.last_offset_epoch == ask.replica_epoch);
        if malformed {
            return Err(ErrorCode::InvalidRequest);
        }
        if ask.replica_epoch < self.epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        let candidate = ReplicaKey {
            id: ask.replica_id,
            directory_id: known_directory(ask.replica_directory_id),
        };
        if ask.replica_epoch > self.epoch {
            self.become_unattached(cx, ask.replica_epoch, None);
        }
        if !self.is_me(voter_id, ask.voter_directory_id) {
            return Err(ErrorCode::InvalidVoterKey);
        }
        let theirs = OffsetAndEpoch { offset: ask.last_offset, epoch: ask.last_offset_epoch };
        self.heard_candidate(cx, candidate, theirs);
        let granted = self.would_vote_for(cx.now.time, candidate, theirs, ask.pre_vote);
        if granted && !ask.pre_vote {
            self.vote_for(cx, candidate);
        }
        if !granted && theirs < self.log.end() {
            self.refused_shorter_log(cx, candidate, ask.pre_vote);
        }
        Ok(granted)
    }

    /// Another voter found that there is no leader, and cannot be elected by this one: rather than wait
    /// for its turn, this one stands itself, or asks again whom it has asked too early.
    fn refused_shorter_log(&mut self, cx: &mut Cx, candidate: ReplicaKey, pre_vote: bool) {
        if !self.config.fast_failover || !self.may_stand() || !self.voters().contains(candidate) {
            return;
        }
        // The others that refused have the same thought.
        let soon = cx.now.time + self.jitter(self.turn_length());
        match &mut self.role {
            RoleState::Follower(state) => {
                state.suspect_at = state.suspect_at.map(|at| at.min(soon));
            }
            RoleState::Unattached(state) if !pre_vote => {
                state.election_deadline = state.election_deadline.min(soon);
            }
            RoleState::Prospective(election) if pre_vote => {
                election.rejected.remove(&candidate.id);
            }
            _ => {}
        }
    }

    /// Whether a voter named in a request is this replica: -1 and the zero directory name nobody in
    /// particular.
    pub(crate) fn is_me(&self, voter_id: NodeId, directory: Uuid) -> bool {
        let key = ReplicaKey { id: voter_id, directory_id: known_directory(directory) };
        voter_id < 0 || same_replica(key, self.config.local_key())
    }

    fn would_vote_for(
        &self,
        now: Time,
        candidate: ReplicaKey,
        theirs: OffsetAndEpoch,
        pre: bool,
    ) -> bool {
        if let Some(answer) = self.forgetful_vote(theirs, pre) {
            return answer;
        }
        let up_to_date = theirs >= self.log.end() || mutated!(self, VotesForStaleLogs);
        match &self.role {
            RoleState::Leader(_) => false,
            // A replica that hears from a leader sees no need for another (KIP-996).
            RoleState::Follower(state) if pre => up_to_date && !self.hears_leader(state, now),
            RoleState::Candidate(_) | RoleState::Resigned(_) => pre && up_to_date,
            _ if pre => up_to_date,
            _ => match self.voted {
                Some(voted) => same_replica(voted, candidate),
                None => self.epoch_leader.is_none() && up_to_date,
            },
        }
    }

    /// Asks each voter that has not answered yet, and gives up when the time is over.
    pub(crate) fn poll_election(&mut self, cx: &mut Cx) {
        let now = cx.now.time;
        let (pre_vote, election) = match &self.role {
            RoleState::Prospective(election) => (true, election),
            RoleState::Candidate(election) => (false, election),
            _ => return,
        };
        if !self.can_be_elected() {
            let epoch = self.epoch;
            self.become_unattached(cx, epoch, None);
            return self.poll(cx);
        }
        if now >= election.deadline {
            self.failed_elections += 1;
            self.election_over(cx);
            return self.poll(cx);
        }
        let open: Vec<ReplicaKey> = self
            .other_voters()
            .into_iter()
            .filter(|k| !election.granted.contains(&k.id) && !election.rejected.contains(&k.id))
            .collect();
        for voter in open {
            if let Some(to) = self.voter_address(voter.id)
                && self.peers.is_ready(&to, now)
            {
                self.send_vote(cx, to, voter, pre_vote);
            }
        }
    }

    fn send_vote(&mut self, cx: &mut Cx, to: PeerAddress, voter: ReplicaKey, pre_vote: bool) {
        let request = self.vote_request(voter, pre_vote);
        let purpose = if pre_vote { Purpose::PreVote } else { Purpose::Vote };
        self.send(cx, to, purpose, request);
    }

    pub(crate) fn vote_request(&self, voter: ReplicaKey, pre_vote: bool) -> PeerRequest {
        let me = self.config.local_key();
        let end = self.log.end();
        let partition = vote_request::PartitionData {
            partition_index: 0,
            replica_epoch: self.epoch,
            replica_id: me.id,
            replica_directory_id: me.directory_id.unwrap_or_default(),
            voter_directory_id: voter.directory_id.unwrap_or_default(),
            last_offset_epoch: end.epoch,
            last_offset: end.offset,
            pre_vote,
            ..Default::default()
        };
        PeerRequest::Vote(VoteRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            voter_id: voter.id,
            topics: vec![vote_request::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    /// Sends a request and remembers what for.
    pub(crate) fn send(
        &mut self,
        cx: &mut Cx,
        to: PeerAddress,
        purpose: Purpose,
        request: PeerRequest,
    ) {
        let timeout = match purpose {
            // Said again every half fetch timeout: one that is lost must not stand in for the next.
            Purpose::BeginQuorumEpoch => {
                self.config.request_timeout.min(self.config.fetch_timeout / 2)
            }
            _ => self.config.request_timeout,
        };
        let rpc = self.peers.start(to.clone(), purpose, cx.now.time, timeout);
        cx.push(Action::Send { rpc, to, request, timeout });
    }

    pub(crate) fn vote_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let Some(voter) = call.to.node else { return };
        let pre_vote = call.purpose == Purpose::PreVote;
        let response = match result {
            Ok(PeerResponse::Vote(response)) => response,
            Err(RpcFailure::UnsupportedVersion) if pre_vote => {
                return self.pre_vote_unsupported(cx, voter);
            }
            other => {
                if matches!(other, Err(RpcFailure::Refused | RpcFailure::Disconnected)) {
                    self.voter_unreachable(voter, pre_vote);
                }
                self.refuse_outcome(cx, call, &other);
                return self.check_tally(cx);
            }
        };
        let partition = match response.topics.first().and_then(|t| t.partitions.first()) {
            Some(partition) if response.error_code == 0 => partition,
            _ if response.error_code == ErrorCode::UnsupportedVersion.code() && pre_vote => {
                return self.pre_vote_unsupported(cx, voter);
            }
            _ => return self.refuse_outcome(cx, call, &Ok(PeerResponse::Vote(response))),
        };
        self.peers.succeeded(&call.to);
        self.doubted = self.doubted.filter(|id| *id != voter);
        if pre_vote {
            self.no_pre_vote.remove(&voter);
        }
        let endpoints = self.endpoints_on_default_listener(
            response
                .node_endpoints
                .iter()
                .filter(|e| e.node_id == partition.leader_id)
                .map(|e| (e.host.as_str(), e.port)),
        );
        if self.learn(cx, partition.leader_epoch, Some(partition.leader_id), endpoints) {
            return;
        }
        if partition.leader_epoch < self.epoch {
            // It has not heard of this epoch; nothing that counts. Ask again.
            return self.peers.failed(&call.to, cx.now.time);
        }
        if partition.error_code != 0 {
            // For instance INVALID_VOTER_KEY: another disk stands under that id now.
            return self.refuse_error(cx, call, partition.error_code);
        }
        let Some(election) = self.election(pre_vote) else { return };
        election.unreachable.remove(&voter);
        if partition.vote_granted {
            election.granted.insert(voter);
        } else {
            election.rejected.insert(voter);
        }
        self.end_refused_election_early(cx, pre_vote);
        self.check_tally(cx);
    }

    fn election(&mut self, pre_vote: bool) -> Option<&mut Election> {
        match &mut self.role {
            RoleState::Prospective(election) if pre_vote => Some(election),
            RoleState::Candidate(election) if !pre_vote => Some(election),
            _ => None,
        }
    }

    fn voter_unreachable(&mut self, voter: NodeId, pre_vote: bool) {
        if let Some(election) = self.election(pre_vote) {
            election.unreachable.insert(voter);
        }
    }

    /// Once refused, an election waits for those who are still silent only so long as answers usually
    /// take, and longer each time that it came to nothing: some may be far away, some may be dead.
    fn end_refused_election_early(&mut self, cx: &mut Cx, pre_vote: bool) {
        let patience = self.config.election_timeout / 8 * (1 << self.failed_elections.min(3));
        let end = cx.now.time + patience + self.jitter(patience);
        let fast = self.config.fast_failover;
        if let Some(election) = self.election(pre_vote)
            && fast
            && !election.rejected.is_empty()
        {
            election.deadline = election.deadline.min(end);
        }
    }

    /// Kafka 3.9 knows no pre-vote: stand at once.
    fn pre_vote_unsupported(&mut self, cx: &mut Cx, voter: NodeId) {
        self.no_pre_vote.insert(voter);
        match &self.role {
            RoleState::Prospective(election) if election.only_suspicion => self.election_over(cx),
            RoleState::Prospective(_) => self.become_candidate(cx),
            _ => {}
        }
    }

    /// Goes on if the election is decided.
    pub(crate) fn check_tally(&mut self, cx: &mut Cx) {
        let voters = self.voters().clone();
        let (election, pre_vote) = match &self.role {
            RoleState::Prospective(election) => (election, true),
            RoleState::Candidate(election) => (election, false),
            _ => return,
        };
        let among = |set: &std::collections::BTreeSet<NodeId>| {
            set.iter().filter(|id| voters.get(**id).is_some()).count()
        };
        let count = tally(voters.len(), among(&election.granted), among(&election.rejected));
        match count {
            Tally::Open if !self.is_hopeless(election) => {}
            Tally::Won if pre_vote => self.become_candidate(cx),
            Tally::Won => {
                let granting = election.granted.iter().copied().collect();
                self.become_leader(cx, granting);
            }
            Tally::Open | Tally::Lost => {
                self.failed_elections += 1;
                if pre_vote {
                    self.election_over(cx);
                } else {
                    self.wait_after_lost_election(cx);
                }
            }
        }
    }

    /// An open election that was refused, and where the votes missing are those of voters that cannot
    /// be reached and of the leader that is thought to be gone.
    fn is_hopeless(&self, election: &Election) -> bool {
        let answers = |id: &NodeId| {
            !election.rejected.contains(id)
                && !election.granted.contains(id)
                && !election.unreachable.contains(id)
                && self.doubted != Some(*id)
        };
        self.config.fast_failover
            && !election.rejected.is_empty()
            && !self.voters().ids().iter().any(answers)
    }

    /// A lost candidate waits before it tries again, the longer the more often it lost, and never
    /// longer than the election would have lasted. After a few losses it waits that long: a voter
    /// that keeps granting its vote puts off its own election each time, and must get its turn.
    fn wait_after_lost_election(&mut self, cx: &mut Cx) {
        if self.failed_elections > 4 {
            return;
        }
        let base = self.config.retry_backoff.max(std::time::Duration::from_millis(10));
        let most = base * (1u32 << self.failed_elections.min(7));
        let most = most.min(self.config.election_backoff_max);
        let pause = self.jitter(most);
        if let RoleState::Candidate(election) = &mut self.role {
            election.deadline = election.deadline.min(cx.now.time + pause);
        }
    }

    /// A pre-vote or vote came to nothing.
    fn election_over(&mut self, cx: &mut Cx) {
        match &self.role {
            RoleState::Candidate(_) => self.become_prospective(cx, None),
            RoleState::Prospective(election) => {
                let leader = election.leader.filter(|id| self.leader_address(*id).is_some());
                let epoch = self.epoch;
                let lost_at = election.fetch_deadline;
                match leader {
                    // The others still hear from the leader.
                    Some(leader) => {
                        let still_silent = self.doubted == Some(leader) && self.may_doubt();
                        let endpoints = self.leader_endpoints.clone();
                        let failed = self.failed_elections;
                        self.become_follower(cx, epoch, leader, endpoints);
                        self.failed_elections = failed;
                        let calm = self.config.retry_backoff * (4 << failed.min(6));
                        let calm = calm.min(self.config.fetch_timeout / 2);
                        self.calm_until = cx.now.time + calm + self.jitter(calm);
                        let again = still_silent.then_some(self.calm_until);
                        if let RoleState::Follower(state) = &mut self.role {
                            state.suspect_at = again;
                            state.fetch_deadline = lost_at.unwrap_or(state.fetch_deadline);
                        }
                    }
                    None => {
                        let deadline = election.deadline;
                        self.become_unattached(cx, epoch, None);
                        let pause = self.config.retry_backoff * (2 << self.failed_elections.min(6));
                        let pause = pause.min(self.config.election_backoff_max);
                        let at = cx.now.time + self.jitter(pause);
                        if let RoleState::Unattached(state) = &mut self.role {
                            state.election_deadline = at.min(deadline.max(cx.now.time));
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Endpoints in answers are for the listener the question went to: the default one.
    pub(crate) fn endpoints_on_default_listener<'a>(
        &self,
        endpoints: impl Iterator<Item = (&'a str, u16)>,
    ) -> Vec<Endpoint> {
        endpoints
            .map(|(host, port)| Endpoint {
                name: self.config.default_listener.clone(),
                host: host.to_owned(),
                port,
            })
            .collect()
    }
}

fn only_partition(request: &VoteRequest) -> Option<&vote_request::PartitionData> {
    match request.topics.as_slice() {
        [topic] if topic.topic_name == TOPIC => match topic.partitions.as_slice() {
            [partition] if partition.partition_index == 0 => Some(partition),
            _ => None,
        },
        _ => None,
    }
}
