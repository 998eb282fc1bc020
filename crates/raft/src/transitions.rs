//! Changes of role. Each persists what must survive before anybody hears of it.

use crate::mutant::mutated;
use crate::raft::{Cx, Raft};
use crate::role::{Election, Follower, Resigned, RoleState, Unattached};
use crate::{Action, ElectionState, Endpoint, PeerAddress};
use quorate_base::{Epoch, NodeId, ReplicaKey};

impl Raft {
    /// The first role of a process. A leader never resumes its epoch, and a candidate never resumes
    /// its election: both may have lost the unsynced end of their log, which others have counted.
    pub(crate) fn start(&mut self, cx: &mut Cx) {
        let log_epoch = self.log.last_epoch();
        if log_epoch > self.epoch {
            // `quorum-state` is gone or old. The log proves that this epoch has begun.
            self.epoch = log_epoch;
            self.epoch_leader = None;
            self.voted = None;
        }
        let me = self.config.node_id;
        if mutated!(self, LeaderResumesEpoch) && self.is_voter() && self.epoch_leader == Some(me) {
            return self.become_leader(cx, vec![me]);
        }
        if self.is_voter() && self.epoch_leader == Some(me) && !self.is_only_voter() {
            let successors = self.other_voters();
            self.enter_resigned(cx, successors);
        } else {
            let election_deadline = cx.now.time + self.election_timeout();
            self.enter(cx, RoleState::Unattached(Unattached { election_deadline }));
        }
    }

    pub(crate) fn is_only_voter(&self) -> bool {
        self.config.is_controller && self.voters().is_only(self.config.local_key())
    }

    /// A voter that remembers what it promised, or one that was removed by a record that is not committed: until it is, this
    /// replica's log may be the only one that the others can go on from (Raft thesis §4.2.2).
    pub(crate) fn can_be_elected(&self) -> bool {
        let key = self.config.local_key();
        self.config.is_controller
            && self.recovery.is_none()
            && self.history.is_voter_until_committed(key, self.high_watermark)
    }

    /// All voters but this replica.
    pub(crate) fn other_voters(&self) -> Vec<ReplicaKey> {
        let me = self.config.node_id;
        self.voters().iter().map(|v| v.key).filter(|key| key.id != me).collect()
    }

    /// The leader this replica believes in.
    pub(crate) fn known_leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Leader(_) => Some(self.config.node_id),
            RoleState::Follower(state) if !state.leader_resigned => Some(state.leader),
            RoleState::Prospective(state) => state.leader,
            RoleState::Unattached(_) => self.epoch_leader.filter(|id| *id != self.config.node_id),
            _ => None,
        }
    }

    fn enter(&mut self, cx: &mut Cx, next: RoleState) {
        let old = std::mem::replace(&mut self.role, next);
        self.peers.reset();
        if let RoleState::Follower(Follower { download: Some(download), .. }) = &old
            && !download.installing
        {
            cx.push(Action::DiscardSnapshot { id: download.id });
        }
        self.persist(cx);
        if let RoleState::Leader(leader) = old {
            cx.push(Action::LostLeadership { epoch: leader.epoch });
            self.abandon_voter_change(cx, *leader);
        }
        self.answer_all_parked_not_leader(cx);
        self.announce(cx);
    }

    /// Writes epoch, leader and vote if they changed. Whatever is sent after this rests on it.
    pub(crate) fn persist(&mut self, cx: &mut Cx) {
        let data_version = u16::from(self.history.kraft_version() > 0);
        let state = ElectionState {
            epoch: self.epoch,
            leader: self.epoch_leader,
            voted: self.voted,
            voters: if data_version == 0 { self.voters().ids() } else { Vec::new() },
            data_version,
            recovering: self.recovery.is_some(),
        };
        let old = &self.persisted_election;
        assert!(state.epoch >= old.epoch, "epochs never go back");
        assert!(
            state.epoch > old.epoch || old.voted.is_none() || state.voted == old.voted,
            "a vote is given once"
        );
        assert!(
            state.epoch > old.epoch || old.leader.is_none() || state.leader == old.leader,
            "an epoch has one leader"
        );
        let promises = |s: &ElectionState| (s.epoch, s.leader, s.voted, s.recovering);
        if promises(&state) != promises(old) {
            cx.push(Action::PersistElectionState(state.clone()));
            self.persisted_election = state;
        }
    }

    pub(crate) fn announce(&mut self, cx: &mut Cx) {
        let now = (self.known_leader(), self.epoch);
        if now != self.announced {
            self.announced = now;
            cx.push(Action::LeaderChanged { leader: now.0, epoch: now.1 });
        }
    }

    fn set_epoch(&mut self, epoch: Epoch) {
        assert!(epoch >= self.epoch, "epochs never go back");
        if epoch > self.epoch {
            self.epoch = epoch;
            self.epoch_leader = None;
            self.voted = None;
            self.leader_endpoints.clear();
        }
    }

    /// No leader to follow in this (or a newer) epoch. `leader` is one that is known by name only.
    pub(crate) fn become_unattached(&mut self, cx: &mut Cx, epoch: Epoch, leader: Option<NodeId>) {
        let standing = match &self.role {
            // A replica about to stand keeps its place in the queue, or two that bump each other's
            // epoch would put each other off for ever.
            RoleState::Unattached(state) => Some(state.election_deadline),
            RoleState::Prospective(state) | RoleState::Candidate(state) => Some(state.deadline),
            _ => None,
        };
        self.set_epoch(epoch);
        self.epoch_leader = self.epoch_leader.or(leader);
        let fresh = cx.now.time + self.election_timeout();
        let soon = cx.now.time + self.jitter(self.config.election_timeout);
        let election_deadline = standing.map_or(fresh, |at| at.max(soon));
        self.enter(cx, RoleState::Unattached(Unattached { election_deadline }));
    }

    /// Records a vote for `candidate` in the current epoch.
    pub(crate) fn vote_for(&mut self, cx: &mut Cx, candidate: ReplicaKey) {
        assert!(self.voted.is_none_or(|voted| voted.id == candidate.id), "a vote is given once");
        if self.voted.is_none() {
            self.voted = Some(candidate);
        }
        let election_deadline = cx.now.time + self.election_timeout();
        self.enter(cx, RoleState::Unattached(Unattached { election_deadline }));
    }

    pub(crate) fn become_follower(
        &mut self,
        cx: &mut Cx,
        epoch: Epoch,
        leader: NodeId,
        endpoints: Vec<Endpoint>,
    ) {
        assert_ne!(leader, self.config.node_id, "nobody follows himself");
        self.set_epoch(epoch);
        assert!(
            self.epoch_leader.is_none_or(|known| known == leader),
            "epoch {epoch} has two leaders: {:?} and {leader}",
            self.epoch_leader
        );
        self.epoch_leader = Some(leader);
        if !endpoints.is_empty() {
            self.leader_endpoints = endpoints;
        }
        self.failed_elections = 0;
        self.doubted = None;
        let now = cx.now.time;
        let follower = Follower {
            leader,
            fetch_deadline: now + self.config.fetch_timeout,
            suspect_at: None,
            leader_resigned: false,
            stand_at_once: false,
            has_fetched: false,
            last_fetch: None,
            leader_high_watermark: None,
            agrees: false,
            download: None,
            update_voter_at: now + self.config.fetch_timeout,
            updated_leader: false,
            join_at: now + self.config.fetch_timeout,
        };
        self.enter(cx, RoleState::Follower(follower));
    }

    /// Asks the others first, or, alone, goes on at once.
    pub(crate) fn become_prospective(&mut self, cx: &mut Cx, leader: Option<NodeId>) {
        assert!(self.can_be_elected(), "an observer does not stand for election");
        if self.is_only_voter() {
            return self.become_candidate(cx);
        }
        let deadline = cx.now.time + self.election_timeout();
        let election = Election { leader, ..Election::new(self.config.node_id, deadline) };
        self.enter(cx, RoleState::Prospective(election));
    }

    pub(crate) fn become_candidate(&mut self, cx: &mut Cx) {
        assert!(self.can_be_elected(), "an observer does not stand for election");
        let next = self.epoch.checked_add(1).expect("the last possible epoch is over");
        self.set_epoch(next);
        self.voted = Some(self.config.local_key());
        let deadline = cx.now.time + self.election_timeout();
        self.enter(cx, RoleState::Candidate(Election::new(self.config.node_id, deadline)));
        self.check_tally(cx);
    }

    pub(crate) fn enter_leader(&mut self, cx: &mut Cx, state: crate::leader::LeaderState) {
        self.epoch_leader = Some(self.config.node_id);
        self.failed_elections = 0;
        self.doubted = None;
        self.enter(cx, RoleState::Leader(Box::new(state)));
    }

    pub(crate) fn enter_resigned(&mut self, cx: &mut Cx, successors: Vec<ReplicaKey>) {
        let deadline = cx.now.time + self.election_timeout();
        let unacknowledged = self.other_voters().iter().map(|key| key.id).collect();
        let resigned = Resigned { deadline, unacknowledged, successors };
        self.enter(cx, RoleState::Resigned(resigned));
    }

    /// Takes in what a peer says of epoch and leader. True if it is about a newer epoch than was
    /// known, or gives the current one its leader: the role has then changed.
    pub(crate) fn learn(
        &mut self,
        cx: &mut Cx,
        epoch: Epoch,
        leader: Option<NodeId>,
        endpoints: Vec<Endpoint>,
    ) -> bool {
        let leader = leader.filter(|id| *id >= 0);
        let me = self.config.node_id;
        if epoch < self.epoch {
            return false;
        }
        if leader == Some(me) {
            // Only a replica that lost its disk hears this. It must neither lead nor vote in that
            // epoch.
            if epoch > self.epoch {
                self.become_unattached(cx, epoch, leader);
                return true;
            }
            return false;
        }
        if let Some(id) = leader {
            if epoch == self.epoch && self.epoch_leader.is_some_and(|known| known != id) {
                // Two leaders in one epoch cannot be; somebody lost state. Keep to what is known.
                return false;
            }
            let reachable = !endpoints.is_empty()
                || self.voters().get(id).is_some_and(|v| !v.listeners.is_empty());
            let news = epoch > self.epoch || self.is_looking_for_leader();
            if news && reachable {
                self.become_follower(cx, epoch, id, endpoints);
                return true;
            }
        }
        if epoch > self.epoch {
            self.become_unattached(cx, epoch, leader);
            return true;
        }
        false
    }

    fn is_looking_for_leader(&self) -> bool {
        match &self.role {
            RoleState::Unattached(_) | RoleState::Candidate(_) => true,
            RoleState::Prospective(state) => state.leader.is_none(),
            _ => false,
        }
    }

    /// Where to call the leader: what it said itself, or what the voter set says, in turns while
    /// calls fail.
    pub(crate) fn leader_address(&self, leader: NodeId) -> Option<PeerAddress> {
        let listener = &self.config.default_listener;
        let told = self.leader_endpoints.iter().find(|e| e.name.eq_ignore_ascii_case(listener));
        let listed = self.voters().get(leader).and_then(|v| v.endpoint(listener));
        let (first, second) = (told.or(listed)?, listed.or(told)?);
        let failures = self.peers.failures_of(leader);
        let endpoint = if failures.is_multiple_of(2) { first } else { second };
        Some(PeerAddress { node: Some(leader), host: endpoint.host.clone(), port: endpoint.port })
    }

    /// Where to call a voter.
    pub(crate) fn voter_address(&self, id: NodeId) -> Option<PeerAddress> {
        let endpoint = self.voters().get(id)?.endpoint(&self.config.default_listener)?;
        Some(PeerAddress { node: Some(id), host: endpoint.host.clone(), port: endpoint.port })
    }
}
