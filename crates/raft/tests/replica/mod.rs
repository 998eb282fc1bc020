//! One of three voters, asked and answered by hand.

#![allow(dead_code, unused_imports)]

pub use bytes::Bytes;
pub use quorate_base::{NodeId, Now, OffsetAndEpoch, ReplicaKey, Time, Uuid};
pub use quorate_protocol::batch::encode_data_batch;
pub use quorate_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest, FetchRequest,
    FetchResponse, VoteRequest, VoteResponse, begin_quorum_epoch_request as begin,
    begin_quorum_epoch_response as begin_response, end_quorum_epoch_request as end, fetch_request,
    fetch_response, vote_request, vote_response,
};
pub use quorate_protocol::{AnyResponse, ErrorCode};
pub use quorate_raft::{
    Action, Config, ElectionState, Endpoint, Event, LogSummary, PeerRequest, PeerResponse, Raft,
    Recovered, Role, RpcFailure, RpcId, Token, Voter, VoterSet,
};

pub const CLUSTER: &str = "Kb3vZ0aYTnWq1g7cQ2m5xA";
pub const TOPIC: &str = "__cluster_metadata";

pub fn at(offset: i64, epoch: i32) -> OffsetAndEpoch {
    OffsetAndEpoch { offset, epoch }
}

pub fn key(id: NodeId) -> ReplicaKey {
    ReplicaKey { id, directory_id: Some(Uuid::from_u128(0xd000 + u128::from(id.unsigned_abs()))) }
}

/// What a leader tells this voter, without endpoints.
pub fn begin_request(leader: NodeId, epoch: i32) -> BeginQuorumEpochRequest {
    BeginQuorumEpochRequest {
        cluster_id: Some(CLUSTER.into()),
        voter_id: 1,
        topics: vec![begin::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![begin::PartitionData {
                leader_id: leader,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What a voter answers that was told who leads.
pub fn begin_acknowledged(leader: NodeId, epoch: i32) -> PeerResponse {
    PeerResponse::BeginQuorumEpoch(BeginQuorumEpochResponse {
        topics: vec![begin_response::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![begin_response::PartitionData {
                leader_id: leader,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

pub struct Replica {
    pub raft: Raft,
    pub ms: u64,
    pub token: u64,
}

/// Node 1 of voters 1, 2 and 3, whose log ends at offset 10 in epoch 4.
pub fn replica(state: ElectionState) -> Replica {
    Setup { state: Some(state), ..Setup::default() }.start().0
}

/// What node 1 finds at its start.
pub struct Setup {
    pub voters: Vec<NodeId>,
    pub state: Option<ElectionState>,
    pub log: LogSummary,
    pub snapshots: Vec<OffsetAndEpoch>,
    pub is_controller: bool,
    pub fetch_max_bytes: u32,
    /// kraft.version 1: the voters stand in the log, not in the configuration.
    pub dynamic: bool,
    pub auto_join: bool,
    pub bootstrap_servers: Vec<(String, u16)>,
    /// Own listeners beside CONTROLLER.
    pub more_listeners: Vec<Endpoint>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            voters: vec![1, 2, 3],
            state: Some(ElectionState::default()),
            log: LogSummary { start: 0, end: at(10, 4), epoch_starts: vec![(2, 0), (4, 7)] },
            snapshots: Vec::new(),
            is_controller: true,
            fetch_max_bytes: 1024 * 1024,
            dynamic: false,
            auto_join: false,
            bootstrap_servers: Vec::new(),
            more_listeners: Vec::new(),
        }
    }
}

pub fn endpoint(id: NodeId) -> Endpoint {
    Endpoint { name: "CONTROLLER".into(), host: format!("n{id}"), port: 9093 }
}

/// As a dynamic voter set has it.
pub fn voter(id: NodeId) -> Voter {
    Voter { key: key(id), listeners: vec![endpoint(id)], kraft_version_range: (0, 1) }
}

impl Setup {
    pub fn start(self) -> (Replica, Vec<Action>) {
        let mut config = Config::new(1, key(1).directory_id.unwrap_or_default(), CLUSTER);
        let mut voters = Vec::new();
        let mut kraft_versions = Vec::new();
        if self.dynamic {
            voters.push((1, VoterSet::new(self.voters.iter().map(|id| voter(*id)))));
            kraft_versions.push((0, 1));
        } else {
            let address = |id: &NodeId| (*id, format!("n{id}"), 9093);
            config.static_voters = Some(self.voters.iter().map(address).collect());
        }
        config.listeners = vec![endpoint(1)];
        config.listeners.extend(self.more_listeners);
        config.bootstrap_servers = self.bootstrap_servers;
        config.auto_join = self.auto_join;
        config.is_controller = self.is_controller;
        config.fetch_max_bytes = self.fetch_max_bytes;
        let recovered = Recovered {
            quorum_state: self.state,
            log: self.log,
            snapshots: self.snapshots,
            voters,
            kraft_versions,
        };
        let now = Now { time: Time::from_millis(1000), wall_ms: 1_700_000_001_000 };
        let mut actions = Vec::new();
        let raft = Raft::new(config, recovered, now, &mut actions);
        (Replica { raft, ms: 1000, token: 0 }, actions)
    }
}

pub fn epoch(epoch: i32) -> ElectionState {
    ElectionState { epoch, ..Default::default() }
}

impl Replica {
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let time = Time::from_millis(self.ms);
        let now = Now { time, wall_ms: 1_700_000_000_000 + self.ms as i64 };
        let mut actions = Vec::new();
        self.raft.step(now, event, &mut actions);
        actions
    }

    pub fn ask(&mut self, version: i16, request: PeerRequest) -> Vec<Action> {
        self.token += 1;
        self.step(Event::Request {
            token: Token(self.token),
            listener: "CONTROLLER".into(),
            api_version: version,
            client_host: String::new(),
            request,
        })
    }

    pub fn vote(&mut self, vote: Ask) -> (vote_response::PartitionData, Vec<Action>) {
        let actions = self.ask(2, PeerRequest::Vote(vote.request()));
        let response = actions.iter().find_map(|a| match a {
            Action::Respond { response: AnyResponse::Vote(r), .. } => Some(r.clone()),
            _ => None,
        });
        let response = response.expect("an answer");
        assert_eq!(response.error_code, 0);
        (response.topics[0].partitions[0].clone(), actions)
    }

    pub fn begin(&mut self, leader: NodeId, epoch: i32) -> (ErrorCode, Vec<Action>) {
        let request = BeginQuorumEpochRequest {
            leader_endpoints: vec![begin::LeaderEndpoint {
                name: "CONTROLLER".into(),
                host: format!("n{leader}").into(),
                port: 9093,
                ..Default::default()
            }],
            ..begin_request(leader, epoch)
        };
        let actions = self.ask(1, PeerRequest::BeginQuorumEpoch(request));
        let code = actions.iter().find_map(|a| match a {
            Action::Respond { response: AnyResponse::BeginQuorumEpoch(r), .. } => {
                Some(r.topics[0].partitions[0].error_code)
            }
            _ => None,
        });
        (ErrorCode::from_code(code.expect("an answer")).expect("a known code"), actions)
    }

    pub fn end(&mut self, leader: NodeId, epoch: i32, successors: &[NodeId]) -> Vec<Action> {
        let candidates = successors.iter().map(|id| end::ReplicaInfo {
            candidate_id: *id,
            candidate_directory_id: key(*id).directory_id.unwrap_or_default(),
            ..Default::default()
        });
        let request = EndQuorumEpochRequest {
            cluster_id: Some(CLUSTER.into()),
            topics: vec![end::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![end::PartitionData {
                    leader_id: leader,
                    leader_epoch: epoch,
                    preferred_candidates: candidates.collect(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.ask(1, PeerRequest::EndQuorumEpoch(request))
    }

    pub fn follow(&mut self, leader: NodeId, epoch: i32) -> (RpcId, FetchRequest) {
        let (error, actions) = self.begin(leader, epoch);
        assert_eq!(error, ErrorCode::None);
        assert_eq!(self.raft.role(), Role::Follower);
        sent_fetch(&actions).expect("a fetch")
    }

    pub fn answer_fetch(&mut self, rpc: RpcId, p: fetch_response::PartitionData) -> Vec<Action> {
        let response = FetchResponse {
            responses: vec![fetch_response::FetchableTopicResponse {
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![p],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.step(Event::Response { rpc, result: Ok(PeerResponse::Fetch(response)) })
    }

    /// Waits until the state machine wants to act, and lets it.
    pub fn timeout(&mut self) -> Vec<Action> {
        let (at, _) = self.raft.next_timeout().expect("a timeout");
        self.ms = self.ms.max(at.as_nanos().div_ceil(1_000_000));
        self.step(Event::Timeout)
    }

    /// Appends a batch at the leader.
    pub fn append(&mut self, records: usize) -> Vec<Action> {
        let (end, epoch) = (self.raft.log_end().offset, self.raft.epoch());
        let append_time_ms = 1_700_000_000_000 + self.ms as i64;
        let values = vec![Bytes::from_static(b"x"); records];
        let batch = quorate_raft::LogBatch {
            base_offset: end,
            end_offset: end + records as i64,
            epoch,
            append_time_ms,
            is_control: false,
            bytes: encode_data_batch(end, epoch, append_time_ms, &values),
        };
        self.step(Event::Append { batch })
    }

    /// All that was appended is synced.
    pub fn synced(&mut self) -> Vec<Action> {
        self.step(Event::Persisted { end: self.raft.log_end() })
    }

    /// A fetch of that voter or observer at this offset, in the current epoch.
    pub fn fetched(&mut self, id: NodeId, offset: i64) -> Vec<Action> {
        let epoch = self.raft.epoch();
        let last = self.raft.epoch_before(offset).expect("an offset of the log");
        self.ask(18, PeerRequest::Fetch(fetch_by(key(id), epoch, offset, last)))
    }

    pub fn until(&mut self, role: Role) -> Vec<Action> {
        for _ in 0..100 {
            let actions = self.timeout();
            if self.raft.role() == role {
                return actions;
            }
        }
        panic!("never {role:?}");
    }

    pub fn votes_for_me(&mut self, actions: &[Action]) -> Vec<Action> {
        let (rpc, _) = sent_votes(actions)[0].clone();
        let epoch = self.raft.epoch();
        self.step(Event::Response { rpc, result: Ok(granted(epoch)) })
    }

    pub fn lead(&mut self) {
        let actions = self.until(Role::Prospective);
        let actions = self.votes_for_me(&actions);
        assert_eq!(self.raft.role(), Role::Candidate);
        self.votes_for_me(&actions);
        assert_eq!(self.raft.role(), Role::Leader);
    }
}

/// A fetch that waits for nothing.
pub fn fetch_by(replica: ReplicaKey, epoch: i32, offset: i64, last_epoch: i32) -> FetchRequest {
    FetchRequest {
        cluster_id: Some(CLUSTER.into()),
        max_bytes: 1_000_000,
        replica_state: fetch_request::ReplicaState { replica_id: replica.id, ..Default::default() },
        topics: vec![fetch_request::FetchTopic {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![fetch_request::FetchPartition {
                current_leader_epoch: epoch,
                fetch_offset: offset,
                last_fetched_epoch: last_epoch,
                high_watermark: i64::MAX,
                replica_directory_id: replica.directory_id.unwrap_or_default(),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The only answer among the actions.
pub fn answered(actions: &[Action]) -> AnyResponse {
    let answers: Vec<&AnyResponse> = actions
        .iter()
        .filter_map(|a| match a {
            Action::Respond { response, .. } => Some(response),
            _ => None,
        })
        .collect();
    assert_eq!(answers.len(), 1, "{actions:?}");
    answers[0].clone()
}

/// The requests sent that `pick` wants, with whom they go to.
pub fn sent<T>(
    actions: &[Action],
    pick: impl Fn(&PeerRequest) -> Option<T>,
) -> Vec<(RpcId, NodeId, T)> {
    let send = |a: &Action| match a {
        Action::Send { rpc, to, request, .. } => {
            Some((*rpc, to.node.unwrap_or(-1), pick(request)?))
        }
        _ => None,
    };
    actions.iter().filter_map(send).collect()
}

/// Who is told that this replica leads.
pub fn told_begin(actions: &[Action]) -> Vec<(RpcId, NodeId)> {
    let begins = sent(actions, |r| matches!(r, PeerRequest::BeginQuorumEpoch(_)).then_some(()));
    begins.into_iter().map(|(rpc, to, ())| (rpc, to)).collect()
}

/// Who is told that this replica has resigned, and what.
pub fn told_end(actions: &[Action]) -> Vec<(RpcId, NodeId, EndQuorumEpochRequest)> {
    sent(actions, |r| match r {
        PeerRequest::EndQuorumEpoch(r) => Some(r.clone()),
        _ => None,
    })
}

pub fn granted(epoch: i32) -> PeerResponse {
    PeerResponse::Vote(VoteResponse {
        topics: vec![vote_response::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![vote_response::PartitionData {
                leader_id: -1,
                leader_epoch: epoch,
                vote_granted: true,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

pub fn sent_fetch(actions: &[Action]) -> Option<(RpcId, FetchRequest)> {
    actions.iter().find_map(|a| match a {
        Action::Send { rpc, request: PeerRequest::Fetch(r), .. } => Some((*rpc, r.clone())),
        _ => None,
    })
}

pub fn sent_votes(actions: &[Action]) -> Vec<(RpcId, VoteRequest)> {
    let votes = actions.iter().filter_map(|a| match a {
        Action::Send { rpc, request: PeerRequest::Vote(r), .. } => Some((*rpc, r.clone())),
        _ => None,
    });
    votes.collect()
}

pub fn persisted(actions: &[Action]) -> Vec<&ElectionState> {
    let states = actions.iter().filter_map(|a| match a {
        Action::PersistElectionState(state) => Some(state),
        _ => None,
    });
    states.collect()
}

/// A vote request of candidate 2 with a log as good as ours.
#[derive(Clone)]
pub struct Ask {
    pub candidate: NodeId,
    pub epoch: i32,
    pub log: OffsetAndEpoch,
    pub pre: bool,
    pub voter: NodeId,
    pub directory: Uuid,
}

pub fn vote(candidate: NodeId, epoch: i32) -> Ask {
    let log = at(10, 4);
    Ask { candidate, epoch, log, pre: false, voter: 1, directory: Uuid::ZERO }
}

pub fn pre_vote(candidate: NodeId, epoch: i32) -> Ask {
    Ask { pre: true, ..vote(candidate, epoch) }
}

impl Ask {
    pub fn request(&self) -> VoteRequest {
        VoteRequest {
            cluster_id: Some(CLUSTER.into()),
            voter_id: self.voter,
            topics: vec![vote_request::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![vote_request::PartitionData {
                    replica_epoch: self.epoch,
                    replica_id: self.candidate,
                    replica_directory_id: key(self.candidate).directory_id.unwrap_or_default(),
                    voter_directory_id: self.directory,
                    last_offset_epoch: self.log.epoch,
                    last_offset: self.log.offset,
                    pre_vote: self.pre,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }
}

pub fn leader_is(leader_id: NodeId, leader_epoch: i32) -> fetch_response::LeaderIdAndEpoch {
    fetch_response::LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() }
}
