use crate::fetch::Parked;
use crate::log_view::LogView;
use crate::peers::Peers;
use crate::role::{Role, RoleState, Unattached};
use crate::voter_set::VoterHistory;
use crate::{Action, Config, ElectionState, Event, PeerRequest, Recovered, Token, Voter, VoterSet};
use quorate_base::{Epoch, NodeId, Now, Offset, OffsetAndEpoch, Prng, ReplicaKey, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One replica of the metadata log.
///
/// Feed it with [`Raft::step`]; execute the actions in order; call again with [`Event::Timeout`] at
/// the moment [`Raft::next_timeout`] names.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) prng: Prng,
    pub(crate) log: LogView,
    pub(crate) history: VoterHistory,
    /// The current epoch, this epoch's leader as far as ever known, and the vote given in it.
    pub(crate) epoch: Epoch,
    pub(crate) epoch_leader: Option<NodeId>,
    pub(crate) voted: Option<ReplicaKey>,
    pub(crate) persisted_election: ElectionState,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) role: RoleState,
    pub(crate) peers: Peers,
    pub(crate) parked: BTreeMap<Token, Parked>,
    /// What the last `LeaderChanged` said.
    pub(crate) announced: (Option<NodeId>, Epoch),
    /// Endpoints of this epoch's leader as it or others told them.
    pub(crate) leader_endpoints: Vec<crate::Endpoint>,
    /// Voters that answered a pre-vote with UNSUPPORTED_VERSION.
    pub(crate) no_pre_vote: BTreeSet<NodeId>,
    /// How often elections failed since there was a leader, for the back-off.
    pub(crate) failed_elections: u32,
    /// The leader that this replica has given up, until it answers or somebody else leads: no
    /// election waits for its vote.
    pub(crate) doubted: Option<NodeId>,
    /// No further suspicion of the leader before this.
    pub(crate) calm_until: Time,
    /// Turns of the search for a leader.
    pub(crate) discovery_turn: usize,
    /// The snapshot that the driver is putting in the log's place.
    pub(crate) installing: Option<OffsetAndEpoch>,
    /// Who waits for the outcome of a transfer of leadership.
    pub(crate) transfer: Option<crate::transfer::TransferRequest>,
    /// Set by `Event::Shutdown`: when to give up waiting for the others.
    pub(crate) shutdown_deadline: Option<Time>,
    pub(crate) shut_down: bool,
    /// This replica was a voter in this process's life: auto-join does not bring it back.
    pub(crate) was_voter: bool,
    /// Voters' endpoints and ranges as they reported them at kraft.version 0 (UpdateRaftVoter).
    pub(crate) reported_voters: BTreeMap<NodeId, Voter>,
    /// Set while this voter may have forgotten promises with its former disk.
    pub(crate) recovery: Option<crate::recovery::Recovery>,
}

/// The moment of a step and where its actions go.
pub(crate) struct Cx<'a> {
    pub now: Now,
    pub actions: &'a mut Vec<Action>,
}

impl Cx<'_> {
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }
}

impl Raft {
    /// A replica that starts on what the disk says. The only voter of a quorum leads at once: its
    /// first actions are among `actions`.
    pub fn new(config: Config, recovered: Recovered, now: Now, actions: &mut Vec<Action>) -> Raft {
        let mut prng = Prng::new(config.seed);
        let static_voters = VoterSet::from_static(
            config.static_voters.as_deref().unwrap_or_default(),
            &config.default_listener,
            config.kraft_version_range,
        );
        let log = LogView::new(&recovered);
        let mut history = VoterHistory::new(static_voters);
        for (offset, set) in recovered.voters {
            history.put_voters(offset, set);
        }
        for (offset, level) in recovered.kraft_versions {
            history.put_kraft_version(offset, level);
        }
        let forgot = recovered.quorum_state.is_none();
        let state = recovered.quorum_state.unwrap_or_default();
        let flagged = state.recovering;
        let peers = Peers::new(
            config.retry_backoff,
            config.election_backoff_max,
            Prng::new(prng.next_u64()),
        );
        let mut raft = Raft {
            prng,
            history,
            epoch: state.epoch,
            epoch_leader: state.leader,
            voted: state.voted,
            persisted_election: state,
            high_watermark: None,
            role: RoleState::Unattached(Unattached { election_deadline: now.time }),
            peers,
            parked: BTreeMap::new(),
            announced: (None, 0),
            leader_endpoints: Vec::new(),
            no_pre_vote: BTreeSet::new(),
            failed_elections: 0,
            doubted: None,
            calm_until: now.time,
            discovery_turn: 0,
            installing: None,
            transfer: None,
            shutdown_deadline: None,
            shut_down: false,
            was_voter: false,
            reported_voters: BTreeMap::new(),
            recovery: None,
            log,
            config,
        };
        // Everything at or below a snapshot's end is committed.
        raft.high_watermark = raft.log.latest_snapshot().map(|id| id.offset);
        let mut cx = Cx { now, actions };
        raft.start_recovery(&mut cx, forgot, flagged);
        raft.start(&mut cx);
        raft.poll(&mut cx);
        raft.check_invariants();
        raft
    }

    /// Takes one event in and says what is to be done about it.
    pub fn step(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        let before = self.high_watermark;
        let mut cx = Cx { now, actions };
        self.peers.expire(now.time);
        match event {
            Event::Request { token, listener, api_version, client_host: _, request } => {
                self.handle_request(&mut cx, token, listener, api_version, request);
            }
            Event::RequestCancelled { token } => {
                self.cancel(token);
                self.cancel_transfer_request(token);
            }
            Event::Response { rpc, result } => self.handle_outcome(&mut cx, rpc, result),
            Event::Append { batch } => self.append_as_leader(&mut cx, batch),
            Event::Persisted { end } => {
                self.log.set_persisted(end);
                self.advance_leader_high_watermark(&mut cx);
            }
            Event::SnapshotWritten { id } => {
                assert!(
                    self.high_watermark.is_some_and(|hw| id.offset <= hw),
                    "a snapshot at {id} holds records that are not committed"
                );
                self.log.add_snapshot(id);
            }
            Event::SnapshotDeleted { id } => self.log.remove_snapshot(id),
            Event::LogStartMoved { start } => {
                self.log.move_start(start);
                self.history.forget_before(start);
            }
            Event::SnapshotInstalled { id, voters, kraft_version } => {
                self.snapshot_installed(&mut cx, id, voters, kraft_version);
            }
            Event::SnapshotRejected { id } => self.snapshot_rejected(&mut cx, id),
            Event::PeerDown { node } => self.peer_down(&mut cx, node),
            Event::Timeout => {}
            Event::Shutdown => self.begin_shutdown(&mut cx),
            Event::TransferLeader { to } => self.transfer_leader(&mut cx, to),
            Event::UpgradeKraftVersion { token, level, validate_only } => {
                self.upgrade_kraft_version(&mut cx, token, level, validate_only);
            }
        }
        self.poll(&mut cx);
        assert!(self.high_watermark >= before, "the high watermark never goes back");
        self.check_invariants();
    }

    /// When to send [`Event::Timeout`] at the latest, and what for.
    pub fn next_timeout(&self) -> Option<(Time, &'static str)> {
        if self.shut_down {
            return None;
        }
        let role = match &self.role {
            RoleState::Unattached(state) if self.may_stand() => {
                Some((state.election_deadline, "stand for election: no leader is known"))
            }
            RoleState::Unattached(_) => None,
            RoleState::Prospective(state) => Some((state.deadline, "end of the pre-vote")),
            RoleState::Candidate(state) => Some((state.deadline, "end of the election")),
            RoleState::Follower(state) => self.follower_timeout(state),
            RoleState::Leader(state) => self.leader_timeout(state),
            RoleState::Resigned(_) if self.shutdown_deadline.is_some() => None,
            RoleState::Resigned(state) => Some((state.deadline, "stand again after resigning")),
        };
        let parked = self.parked.values().map(|p| (p.deadline, "answer a parked fetch")).min();
        let peers = self.peers.next_timeout().map(|at| (at, "call a peer again"));
        let shutdown = self.shutdown_deadline.map(|at| (at, "end without the others' answers"));
        let (recovery, transfer) = (self.recovery_timeout(), self.transfer_timeout());
        [role, parked, peers, shutdown, recovery, transfer].into_iter().flatten().min()
    }

    fn handle_request(
        &mut self,
        cx: &mut Cx,
        token: Token,
        listener: String,
        version: i16,
        request: PeerRequest,
    ) {
        match request {
            PeerRequest::Vote(r) => self.handle_vote(cx, token, &listener, version, &r),
            PeerRequest::BeginQuorumEpoch(r) => {
                self.handle_begin_epoch(cx, token, &listener, version, &r);
            }
            PeerRequest::EndQuorumEpoch(r) => {
                self.handle_end_epoch(cx, token, &listener, version, &r)
            }
            PeerRequest::Fetch(r) => self.handle_fetch(cx, token, listener, version, r),
            PeerRequest::FetchSnapshot(r) => {
                self.handle_fetch_snapshot(cx, token, &listener, version, &r);
            }
            PeerRequest::DescribeQuorum(r) => self.handle_describe(cx, token, version, &r),
            PeerRequest::AddRaftVoter(r) => self.handle_add_voter(cx, token, version, r),
            PeerRequest::RemoveRaftVoter(r) => self.handle_remove_voter(cx, token, &r),
            PeerRequest::UpdateRaftVoter(r) => {
                self.handle_update_voter(cx, token, &listener, &r);
            }
            PeerRequest::TransferLeadership(r) => self.handle_transfer(cx, token, &r),
            PeerRequest::ApiVersions(_) => {
                panic!("ApiVersions requests are answered by the node, not by raft")
            }
        }
    }

    /// Does all that is due, whatever the event was. What is sent depends on state and time only, so
    /// that no lost message can leave a replica waiting for ever.
    pub(crate) fn poll(&mut self, cx: &mut Cx) {
        if self.shut_down {
            return;
        }
        let committed = self.high_watermark.map(|hw| self.history.at(hw));
        self.was_voter |= committed.is_some_and(|set| set.contains(self.config.local_key()));
        self.answer_overdue_fetches(cx);
        self.poll_recovery(cx);
        match self.role {
            RoleState::Unattached(_) => self.poll_unattached(cx),
            RoleState::Prospective(_) | RoleState::Candidate(_) => self.poll_election(cx),
            RoleState::Follower(_) => self.poll_follower(cx),
            RoleState::Leader(_) => self.poll_leader(cx),
            RoleState::Resigned(_) => self.poll_resigned(cx),
        }
        self.poll_transfer(cx);
        self.poll_shutdown(cx);
    }

    fn check_invariants(&self) {
        assert!(self.log.last_epoch() <= self.epoch, "the log is ahead of the epoch");
        if let Some(hw) = self.high_watermark {
            assert!(hw <= self.log.end().offset, "the high watermark is beyond the log's end");
        }
        if let RoleState::Leader(_) = self.role {
            assert_eq!(self.epoch_leader, Some(self.config.node_id), "a leader that is not named");
        }
    }

    /// A random election timeout: between one and two times the configured one.
    pub(crate) fn election_timeout(&mut self) -> Duration {
        self.config.election_timeout + self.jitter(self.config.election_timeout)
    }

    /// Between nothing and `most`.
    pub(crate) fn jitter(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.prng.below(nanos))
    }

    /// The part this replica plays.
    pub fn role(&self) -> Role {
        match self.role {
            RoleState::Unattached(_) => Role::Unattached,
            RoleState::Prospective(_) => Role::Prospective,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Follower(_) => Role::Follower,
            RoleState::Leader(_) => Role::Leader,
            RoleState::Resigned(_) => Role::Resigned,
        }
    }

    /// The configuration given at start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The current epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The leader, if one is known, with its epoch.
    pub fn leader(&self) -> Option<(NodeId, Epoch)> {
        self.known_leader().map(|id| (id, self.epoch))
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, RoleState::Leader(_))
    }

    /// Whether this very replica (id and directory) is in the voter set.
    pub fn is_voter(&self) -> bool {
        self.config.is_controller && self.history.last().0.contains(self.config.local_key())
    }

    /// All records below are committed; `None` until this is known.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// One past the last record appended (synced or not), and that record's epoch.
    pub fn log_end(&self) -> OffsetAndEpoch {
        self.log.end()
    }

    /// First offset of the log.
    pub fn log_start(&self) -> Offset {
        self.log.start()
    }

    /// All below is synced here.
    pub fn persisted(&self) -> Offset {
        self.log.persisted()
    }

    /// The voter set in force, committed or not.
    pub fn voters(&self) -> &VoterSet {
        self.history.last().0
    }

    /// The voter set that a snapshot ending at `end` has to carry.
    pub fn voters_at(&self, end: Offset) -> &VoterSet {
        self.history.at(end)
    }

    /// The finalised kraft.version, committed or not.
    pub fn kraft_version(&self) -> u16 {
        self.history.kraft_version()
    }

    /// The kraft.version that a snapshot ending at `end` has to carry.
    pub fn kraft_version_at(&self, end: Offset) -> u16 {
        self.history.kraft_version_at(end)
    }

    /// Epoch of the record before `end`: the epoch of a snapshot that ends there.
    pub fn epoch_before(&self, end: Offset) -> Option<Epoch> {
        self.log.epoch_before(end)
    }

    /// The newest snapshot, the bootstrap checkpoint aside.
    pub fn latest_snapshot(&self) -> Option<OffsetAndEpoch> {
        self.log.latest_snapshot()
    }
}
