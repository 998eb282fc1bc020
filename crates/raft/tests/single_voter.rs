//! One voter with observers: the smallest quorum, and what stock brokers see of it.

use bytes::Bytes;
use quorate_base::{NodeId, Now, OffsetAndEpoch, ReplicaKey, Time, Uuid};
use quorate_protocol::batch::{batches, encode_data_batch};
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use quorate_protocol::messages::{
    DescribeQuorumRequest, FetchRequest, FetchResponse, FetchSnapshotRequest,
    describe_quorum_request, fetch_snapshot_request,
};
use quorate_protocol::{AnyResponse, ErrorCode};
use quorate_raft::{
    Action, Config, ElectionState, Endpoint, Event, LogBatch, LogRead, LogSummary, PeerRequest,
    Raft, Recovered, Role, SnapshotRead, Token, Voter, VoterSet,
};

const CLUSTER: &str = "Kb3vZ0aYTnWq1g7cQ2m5xA";

struct Single {
    raft: Raft,
    ms: u64,
    next_token: u64,
}

fn now(ms: u64) -> Now {
    Now { time: Time::from_millis(ms), wall_ms: 1_700_000_000_000 + ms as i64 }
}

fn config() -> Config {
    let mut config = Config::new(1, Uuid::from_u128(0x1001), CLUSTER);
    config.listeners =
        vec![Endpoint { name: "CONTROLLER".into(), host: "ctrl.example".into(), port: 9093 }];
    config.static_voters = Some(vec![(1, "ctrl.example".into(), 9093)]);
    config
}

fn at(offset: i64, epoch: i32) -> OffsetAndEpoch {
    OffsetAndEpoch { offset, epoch }
}

impl Single {
    fn start(config: Config, recovered: Recovered) -> (Single, Vec<Action>) {
        let mut actions = Vec::new();
        let raft = Raft::new(config, recovered, now(1000), &mut actions);
        (Single { raft, ms: 1000, next_token: 1 }, actions)
    }

    /// A fresh leader in epoch 1 whose first record is committed.
    fn leading() -> Single {
        let (mut single, _) = Single::start(config(), Recovered::default());
        single.step(Event::Persisted { end: at(1, 1) });
        assert_eq!(single.raft.high_watermark(), Some(1));
        single
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.raft.step(now(self.ms), event, &mut actions);
        actions
    }

    fn ask(&mut self, version: i16, request: PeerRequest) -> (Token, Vec<Action>) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let event = Event::Request {
            token,
            listener: "CONTROLLER".into(),
            api_version: version,
            client_host: "10.0.0.9".into(),
            request,
        };
        (token, self.step(event))
    }

    fn fetch(&mut self, fetch: Fetch) -> (Token, Vec<Action>) {
        self.ask(fetch.version, PeerRequest::Fetch(fetch.request()))
    }

    fn append(&mut self, records: usize) -> Vec<Action> {
        let end = self.raft.log_end();
        let values = vec![Bytes::from_static(b"value"); records];
        let epoch = self.raft.epoch();
        let bytes = encode_data_batch(end.offset, epoch, now(self.ms).wall_ms, &values);
        let batch = LogBatch {
            base_offset: end.offset,
            end_offset: end.offset + records as i64,
            epoch,
            append_time_ms: now(self.ms).wall_ms,
            is_control: false,
            bytes,
        };
        self.step(Event::Append { batch })
    }

    fn describe(&mut self, version: i16, topic: &str) -> AnyResponse {
        let request = DescribeQuorumRequest {
            topics: vec![describe_quorum_request::TopicData {
                topic_name: topic.into(),
                partitions: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let (_, actions) = self.ask(version, PeerRequest::DescribeQuorum(request));
        match actions.as_slice() {
            [Action::Respond { response, .. }] => response.clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// A fetch as a broker sends it.
#[derive(Clone)]
struct Fetch {
    replica: NodeId,
    epoch: i32,
    offset: i64,
    last_epoch: i32,
    wait_ms: i32,
    version: i16,
    high_watermark: i64,
    cluster: Option<&'static str>,
}

impl Fetch {
    fn by(replica: NodeId, epoch: i32, offset: i64, last_epoch: i32) -> Fetch {
        Fetch {
            replica,
            epoch,
            offset,
            last_epoch,
            wait_ms: 500,
            version: 17,
            high_watermark: i64::MAX,
            cluster: Some(CLUSTER),
        }
    }

    fn request(&self) -> FetchRequest {
        FetchRequest {
            cluster_id: self.cluster.map(Into::into),
            replica_state: ReplicaState { replica_id: self.replica, ..Default::default() },
            max_wait_ms: self.wait_ms,
            min_bytes: 0,
            max_bytes: 8_388_608,
            topics: vec![FetchTopic {
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![FetchPartition {
                    current_leader_epoch: self.epoch,
                    fetch_offset: self.offset,
                    last_fetched_epoch: self.last_epoch,
                    partition_max_bytes: 0,
                    high_watermark: self.high_watermark,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }
}

fn fetch_response(action: &Action) -> (Token, FetchResponse, Option<LogRead>) {
    match action {
        Action::Respond { token, response: AnyResponse::Fetch(r) } => (*token, r.clone(), None),
        Action::RespondFetch { token, response, read } => (*token, response.clone(), Some(*read)),
        other => panic!("not an answer to a fetch: {other:?}"),
    }
}

fn only(actions: &[Action]) -> &Action {
    assert_eq!(actions.len(), 1, "{actions:#?}");
    &actions[0]
}

#[test]
fn the_only_voter_leads_at_once() {
    let (single, actions) = Single::start(config(), Recovered::default());
    assert_eq!(single.raft.role(), Role::Leader);
    assert_eq!(single.raft.leader(), Some((1, 1)));
    let me = ReplicaKey { id: 1, directory_id: Some(Uuid::from_u128(0x1001)) };
    let voted = ElectionState {
        epoch: 1,
        leader: None,
        voted: Some(me),
        voters: vec![1],
        ..Default::default()
    };
    let elected = ElectionState { leader: Some(1), ..voted.clone() };
    assert_eq!(actions[0], Action::PersistElectionState(voted));
    let rest: Vec<&Action> = actions
        .iter()
        .filter(|a| !matches!(a, Action::LeaderChanged { leader: None, .. }))
        .collect();
    assert_eq!(*rest[1], Action::PersistElectionState(elected));
    assert_eq!(*rest[2], Action::LeaderChanged { leader: Some(1), epoch: 1 });
    assert_eq!(*rest[3], Action::BecameLeader { epoch: 1, start_offset: 0 });
    let Action::AppendLog { batch } = rest[4] else { panic!("{:?}", rest[4]) };
    assert_eq!((batch.base_offset, batch.end_offset, batch.epoch), (0, 1, 1));
    assert!(batch.is_control);
    let parsed = batches(batch.bytes.clone()).next().expect("a batch").expect("a good batch");
    parsed.verify().expect("intact");
    let records = control_records(&parsed).expect("control records");
    let change =
        ControlRecord::LeaderChange { leader_id: 1, voters: vec![1], granting_voters: vec![1] };
    assert_eq!(records, vec![(0, change)]);
    assert_eq!(rest.len(), 5);
    assert_eq!(single.raft.high_watermark(), None, "nothing is committed before it is synced");
}

#[test]
fn commits_when_synced_and_not_before() {
    let (mut single, _) = Single::start(config(), Recovered::default());
    assert_eq!(
        single.step(Event::Persisted { end: at(1, 1) }),
        vec![Action::HighWatermark { offset: 1 }]
    );
    let appended = single.append(3);
    assert!(matches!(only(&appended), Action::AppendLog { .. }));
    assert_eq!(single.raft.high_watermark(), Some(1));
    single.append(2);
    assert_eq!(
        single.step(Event::Persisted { end: at(4, 1) }),
        vec![Action::HighWatermark { offset: 4 }]
    );
    assert_eq!(single.step(Event::Persisted { end: at(4, 1) }), vec![]);
    assert_eq!(
        single.step(Event::Persisted { end: at(6, 1) }),
        vec![Action::HighWatermark { offset: 6 }]
    );
}

#[test]
fn a_restarted_leader_never_resumes_its_epoch() {
    let recovered = Recovered {
        quorum_state: Some(ElectionState { epoch: 4, leader: Some(1), ..Default::default() }),
        log: LogSummary { start: 0, end: at(10, 4), epoch_starts: vec![(2, 0), (4, 7)] },
        ..Default::default()
    };
    let (mut single, actions) = Single::start(config(), recovered);
    assert_eq!(single.raft.leader(), Some((1, 5)));
    assert!(actions.contains(&Action::BecameLeader { epoch: 5, start_offset: 10 }));
    // What the log held before counts as committed only with the new epoch's first record.
    assert_eq!(single.step(Event::Persisted { end: at(10, 4) }), vec![]);
    assert_eq!(
        single.step(Event::Persisted { end: at(11, 5) }),
        vec![Action::HighWatermark { offset: 11 }]
    );
}

#[test]
fn an_epoch_in_the_log_counts_when_quorum_state_is_gone() {
    let recovered = Recovered {
        log: LogSummary { start: 0, end: at(10, 4), epoch_starts: vec![(4, 0)] },
        ..Default::default()
    };
    let (single, _) = Single::start(config(), recovered);
    assert_eq!(single.raft.leader(), Some((1, 5)));
}

#[test]
fn kraft_version_1_voters_of_the_bootstrap_checkpoint_go_into_the_first_batch() {
    let mut config = config();
    config.static_voters = None;
    let voter = Voter {
        key: config.local_key(),
        listeners: config.listeners.clone(),
        kraft_version_range: (0, 1),
    };
    let recovered = Recovered {
        voters: vec![(-1, VoterSet::new([voter.clone()]))],
        kraft_versions: vec![(-1, 1)],
        ..Default::default()
    };
    let (single, actions) = Single::start(config.clone(), recovered);
    assert_eq!(single.raft.role(), Role::Leader);
    assert_eq!(single.raft.log_end(), at(3, 1));
    assert!(actions.iter().any(
        |a| matches!(a, Action::PersistElectionState(s) if s.data_version == 1 && s.voters.is_empty())
    ));
    let batch = actions
        .iter()
        .find_map(|a| match a {
            Action::AppendLog { batch } => Some(batch.clone()),
            _ => None,
        })
        .expect("a first batch");
    let parsed = batches(batch.bytes).next().expect("a batch").expect("a good batch");
    let records = control_records(&parsed).expect("control records");
    assert!(matches!(records[0].1, ControlRecord::LeaderChange { leader_id: 1, .. }));
    assert_eq!(records[1].1, ControlRecord::KRaftVersion(1));
    assert!(matches!(&records[2].1, ControlRecord::Voters(v) if v.len() == 1));

    // Started again from its log: only the leader change, unless the address has changed.
    let again = |port: u16| {
        let mut config = config.clone();
        config.listeners[0].port = port;
        let recovered = Recovered {
            quorum_state: Some(ElectionState { epoch: 1, leader: Some(1), ..Default::default() }),
            log: LogSummary { start: 0, end: at(3, 1), epoch_starts: vec![(1, 0)] },
            voters: vec![(2, VoterSet::new([voter.clone()]))],
            kraft_versions: vec![(1, 1)],
            ..Default::default()
        };
        Single::start(config, recovered).0
    };
    assert_eq!(again(9093).raft.log_end(), at(4, 2));
    let moved = again(19093);
    assert_eq!(moved.raft.log_end(), at(6, 2));
    assert_eq!(moved.raft.voters().get(1).map(|v| v.listeners[0].port), Some(19093));
}

#[test]
fn a_broker_finds_the_leader_by_its_first_fetch() {
    let mut single = Single::leading();
    let (_, actions) = single.fetch(Fetch::by(5, 0, 0, 0));
    let (_, response, read) = fetch_response(only(&actions));
    assert_eq!(read, None);
    assert_eq!(response.error_code, 0);
    let partition = &response.responses[0].partitions[0];
    assert_eq!(response.responses[0].topic_id, Uuid::METADATA_TOPIC);
    assert_eq!(partition.error_code, ErrorCode::FencedLeaderEpoch.code());
    assert_eq!(partition.current_leader.leader_id, 1);
    assert_eq!(partition.current_leader.leader_epoch, 1);
    assert_eq!(partition.records, Some(Bytes::new()));
    let endpoint = &response.node_endpoints[0];
    assert_eq!(
        (endpoint.node_id, endpoint.host.as_str(), endpoint.port),
        (1, "ctrl.example", 9093)
    );

    let (_, actions) = single.fetch(Fetch::by(5, 1, 0, 0));
    let (_, response, read) = fetch_response(only(&actions));
    assert_eq!(read, Some(LogRead { from: 0, max_bytes: 8_388_608, end: 1 }));
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
}

#[test]
fn an_unknown_listener_gets_no_leader_without_address() {
    let mut single = Single::leading();
    let mut fetch = Fetch::by(5, 0, 0, 0).request();
    fetch.max_wait_ms = 0;
    let event = Event::Request {
        token: Token(99),
        listener: "OTHER".into(),
        api_version: 17,
        client_host: String::new(),
        request: PeerRequest::Fetch(fetch),
    };
    let actions = single.step(event);
    let (_, response, _) = fetch_response(only(&actions));
    assert_eq!(response.responses[0].partitions[0].current_leader.leader_id, -1);
    assert!(response.node_endpoints.is_empty());
}

#[test]
fn parked_fetches_are_answered_with_the_commit() {
    let mut single = Single::leading();
    let (first, actions) = single.fetch(Fetch::by(5, 1, 1, 1));
    assert_eq!(actions, vec![], "at the end of the log a fetch waits");
    let (second, actions) = single.fetch(Fetch::by(-1, 1, 1, 1));
    assert_eq!(actions, vec![]);
    single.append(2);
    let actions = single.step(Event::Persisted { end: at(3, 1) });
    assert_eq!(actions[0], Action::HighWatermark { offset: 3 });
    let answers: Vec<_> = actions[1..].iter().map(fetch_response).collect();
    assert_eq!(answers.iter().map(|a| a.0).collect::<Vec<_>>(), vec![first, second]);
    for (_, response, read) in answers {
        assert_eq!(read, Some(LogRead { from: 1, max_bytes: 8_388_608, end: 3 }));
        assert_eq!(response.responses[0].partitions[0].high_watermark, 3);
    }
}

#[test]
fn a_parked_fetch_is_answered_at_its_deadline() {
    let mut single = Single::leading();
    let (token, _) = single.fetch(Fetch::by(5, 1, 1, 1));
    assert_eq!(
        single.raft.next_timeout(),
        Some((Time::from_millis(1500), "answer a parked fetch"))
    );
    single.ms += 499;
    assert_eq!(single.step(Event::Timeout), vec![]);
    single.ms += 1;
    let actions = single.step(Event::Timeout);
    let (answered, response, read) = fetch_response(only(&actions));
    assert_eq!((answered, read), (token, None));
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    assert_eq!(single.raft.next_timeout(), None, "an idle leader alone wakes for nothing");
}

#[test]
fn a_cancelled_fetch_is_not_answered() {
    let mut single = Single::leading();
    let (token, _) = single.fetch(Fetch::by(5, 1, 1, 1));
    assert_eq!(single.step(Event::RequestCancelled { token }), vec![]);
    single.append(1);
    let actions = single.step(Event::Persisted { end: at(2, 1) });
    assert_eq!(actions, vec![Action::HighWatermark { offset: 2 }]);
}

/// KIP-1166: from version 18 on the fetcher says which high watermark it knows.
#[test]
fn a_fetcher_with_an_old_high_watermark_is_answered_at_once() {
    let mut single = Single::leading();
    let fetch = |known| Fetch { version: 18, high_watermark: known, ..Fetch::by(5, 1, 1, 1) };
    assert_eq!(single.fetch(fetch(1)).1, vec![], "up to date: parked");
    for known in [-1, 0] {
        let (_, actions) = single.fetch(fetch(known));
        let (_, response, read) = fetch_response(only(&actions));
        assert_eq!(read, None);
        assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    }
    // A leader that knows no high watermark itself must not be asked in a loop.
    let (mut fresh, _) = Single::start(config(), Recovered::default());
    assert_eq!(fresh.fetch(fetch(-1)).1, vec![]);
}

#[test]
fn an_uncommitted_tail_is_served_but_not_announced_as_committed() {
    let mut single = Single::leading();
    single.append(4);
    let (_, actions) = single.fetch(Fetch::by(5, 1, 1, 1));
    let (_, response, read) = fetch_response(only(&actions));
    assert_eq!(read.map(|r| (r.from, r.end)), Some((1, 5)));
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
}

#[test]
fn a_diverging_fetcher_is_told_where_to_cut() {
    let recovered = Recovered {
        quorum_state: Some(ElectionState { epoch: 4, leader: Some(1), ..Default::default() }),
        log: LogSummary { start: 0, end: at(10, 4), epoch_starts: vec![(2, 0), (4, 7)] },
        ..Default::default()
    };
    let (mut single, _) = Single::start(config(), recovered);
    let (_, actions) = single.fetch(Fetch::by(5, 5, 9, 3));
    let (_, response, read) = fetch_response(only(&actions));
    let partition = &response.responses[0].partitions[0];
    assert_eq!(read, None);
    assert_eq!(partition.error_code, 0);
    assert_eq!((partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset), (2, 7));
}

#[test]
fn a_fetch_from_zero_gets_the_snapshot_and_its_chunks() {
    let recovered = Recovered {
        quorum_state: Some(ElectionState { epoch: 4, leader: Some(1), ..Default::default() }),
        log: LogSummary { start: 5, end: at(10, 4), epoch_starts: vec![(2, 5), (4, 7)] },
        snapshots: vec![at(0, 0), at(5, 2), at(9, 4)],
        ..Default::default()
    };
    let (mut single, _) = Single::start(config(), recovered);
    assert_eq!(single.raft.high_watermark(), Some(9), "a snapshot holds committed records only");
    for (offset, epoch) in [(0, 0), (3, 2)] {
        let (_, actions) = single.fetch(Fetch::by(5, 5, offset, epoch));
        let (_, response, _) = fetch_response(only(&actions));
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.snapshot_id.end_offset, partition.snapshot_id.epoch), (9, 4));
        assert_eq!(partition.error_code, 0);
    }
    let ask = |id: (i64, i32), position: i64, epoch: i32| {
        PeerRequest::FetchSnapshot(FetchSnapshotRequest {
            replica_id: 5,
            max_bytes: 1000,
            topics: vec![fetch_snapshot_request::TopicSnapshot {
                name: "__cluster_metadata".into(),
                partitions: vec![fetch_snapshot_request::PartitionSnapshot {
                    current_leader_epoch: epoch,
                    snapshot_id: fetch_snapshot_request::SnapshotId {
                        end_offset: id.0,
                        epoch: id.1,
                        ..Default::default()
                    },
                    position,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    let (token, actions) = single.ask(1, ask((9, 4), 77, 5));
    let Action::RespondSnapshotChunk { token: answered, response, read } = only(&actions) else {
        panic!("{actions:?}")
    };
    assert_eq!(*answered, token);
    assert_eq!(*read, SnapshotRead { id: at(9, 4), position: 77, max_bytes: 1000 });
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.snapshot_id.end_offset, partition.snapshot_id.epoch), (9, 4));
    assert_eq!(partition.position, 77);
    assert_eq!(response.node_endpoints[0].port, 9093);

    for (request, error) in [
        (ask((0, 0), 0, 5), ErrorCode::SnapshotNotFound),
        (ask((8, 4), 0, 5), ErrorCode::SnapshotNotFound),
        (ask((9, 4), -1, 5), ErrorCode::PositionOutOfRange),
        (ask((9, 4), 0, 4), ErrorCode::FencedLeaderEpoch),
        (ask((9, 4), 0, 6), ErrorCode::UnknownLeaderEpoch),
    ] {
        let (_, actions) = single.ask(1, request);
        let Action::Respond { response: AnyResponse::FetchSnapshot(r), .. } = only(&actions) else {
            panic!("{actions:?}")
        };
        assert_eq!(r.topics[0].partitions[0].error_code, error.code());
    }
}

/// A Java follower stops for good if the high watermark it is told goes back. A leader may know an
/// older one than its followers do, until it has committed in its own epoch.
#[test]
fn a_new_leader_names_no_high_watermark_before_its_own_epoch_is_committed() {
    let recovered = Recovered {
        quorum_state: Some(ElectionState { epoch: 4, leader: Some(1), ..Default::default() }),
        log: LogSummary { start: 0, end: at(10, 4), epoch_starts: vec![(2, 0), (4, 7)] },
        snapshots: vec![at(9, 4)],
        ..Default::default()
    };
    let (mut single, _) = Single::start(config(), recovered);
    let named = |single: &mut Single| {
        let (_, actions) = single.fetch(Fetch { wait_ms: 0, ..Fetch::by(5, 5, 10, 4) });
        fetch_response(only(&actions)).1.responses[0].partitions[0].high_watermark
    };
    assert_eq!(named(&mut single), -1);
    single.step(Event::Persisted { end: at(11, 5) });
    assert_eq!(named(&mut single), 11);
}

#[test]
fn malformed_fetches_are_refused_in_kafkas_order() {
    let mut single = Single::leading();
    let foreign = Fetch { cluster: Some("AAAAAAAAAAAAAAAAAAAAAA"), ..Fetch::by(5, 1, 0, 0) };
    let (_, actions) = single.fetch(foreign);
    let (_, response, _) = fetch_response(only(&actions));
    assert_eq!(response.error_code, ErrorCode::InconsistentClusterId.code());
    assert!(response.responses.is_empty());

    let no_cluster = Fetch { cluster: None, ..Fetch::by(5, 1, 0, 0) };
    let (_, actions) = single.fetch(no_cluster);
    assert_eq!(fetch_response(only(&actions)).1.error_code, 0);

    let mut other_topic = Fetch::by(5, 1, 0, 0).request();
    other_topic.topics[0].topic_id = Uuid::from_u128(77);
    let (_, actions) = single.ask(17, PeerRequest::Fetch(other_topic));
    let (_, response, _) = fetch_response(only(&actions));
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());

    for bad in [
        Fetch::by(5, 1, -1, 0),
        Fetch::by(5, 1, 0, -1),
        Fetch::by(5, -1, 0, 0),
        Fetch::by(5, 1, 0, 2),
        Fetch { wait_ms: -1, ..Fetch::by(5, 1, 0, 0) },
    ] {
        let (_, actions) = single.fetch(bad);
        let (_, response, _) = fetch_response(only(&actions));
        assert_eq!(response.error_code, 0);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::InvalidRequest.code());
    }
    let (_, actions) = single.fetch(Fetch::by(5, 2, 0, 0));
    let (_, response, _) = fetch_response(only(&actions));
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::UnknownLeaderEpoch.code());
}

#[test]
fn describe_quorum_tells_of_voters_and_observers() {
    let mut single = Single::leading();
    single.fetch(Fetch::by(5, 1, 1, 1));
    single.ms += 100;
    single.append(1);
    single.step(Event::Persisted { end: at(2, 1) });
    single.fetch(Fetch { wait_ms: 0, ..Fetch::by(6, 1, 1, 1) });
    single.fetch(Fetch { wait_ms: 0, ..Fetch::by(-1, 1, 1, 1) });
    let AnyResponse::DescribeQuorum(answer) = single.describe(2, "__cluster_metadata") else {
        panic!()
    };
    assert_eq!(answer.error_code, 0);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!((partition.leader_id, partition.leader_epoch, partition.high_watermark), (1, 1, 2));
    let voters: Vec<_> =
        partition.current_voters.iter().map(|v| (v.replica_id, v.log_end_offset)).collect();
    assert_eq!(voters, vec![(1, 2)]);
    // The set is static: Kafka's tools show a directory where one is told.
    assert_eq!(partition.current_voters[0].replica_directory_id, Uuid::ZERO);
    let wall = 1_700_000_000_000i64;
    let observers: Vec<_> = partition
        .observers
        .iter()
        .map(|o| {
            (
                o.replica_id,
                o.log_end_offset,
                o.last_fetch_timestamp - wall,
                o.last_caught_up_timestamp,
            )
        })
        .collect();
    assert_eq!(observers, vec![(5, 1, 1000, wall + 1000), (6, 1, 1100, -1)]);
    assert_eq!(answer.nodes.len(), 1);
    assert_eq!(answer.nodes[0].listeners[0].host.as_str(), "ctrl.example");

    // Kafka forgets an observer after five minutes.
    single.ms += 300_001;
    single.fetch(Fetch { wait_ms: 0, ..Fetch::by(6, 1, 2, 1) });
    let AnyResponse::DescribeQuorum(answer) = single.describe(0, "__cluster_metadata") else {
        panic!()
    };
    let ids: Vec<_> =
        answer.topics[0].partitions[0].observers.iter().map(|o| o.replica_id).collect();
    assert_eq!(ids, vec![6]);
    assert!(answer.nodes.is_empty(), "nodes are there from version 2 on");
    assert!(AnyResponse::DescribeQuorum(answer).encode(0).is_ok());

    let AnyResponse::DescribeQuorum(answer) = single.describe(2, "payments") else { panic!() };
    assert_eq!(answer.error_code, 0);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn every_answer_can_be_encoded_at_the_version_asked() {
    let mut single = Single::leading();
    for version in 13..=18 {
        for fetch in [Fetch::by(5, 0, 0, 0), Fetch::by(5, 1, 0, 0), Fetch::by(5, 1, 9, 1)] {
            let high_watermark = if version < 18 { i64::MAX } else { -1 };
            let fetch = Fetch { version, high_watermark, wait_ms: 0, ..fetch };
            let (_, actions) = single.fetch(fetch);
            let (_, response, _) = fetch_response(only(&actions));
            let encoded = AnyResponse::Fetch(response).encode(version);
            assert!(encoded.is_ok(), "version {version}: {encoded:?}");
        }
    }
}

#[test]
fn shutdown_of_the_only_voter_is_immediate() {
    let mut single = Single::leading();
    let (token, _) = single.fetch(Fetch::by(5, 1, 1, 1));
    let actions = single.step(Event::Shutdown);
    let (answered, response, _) = fetch_response(&actions[0]);
    assert_eq!(answered, token);
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::NotLeaderOrFollower.code());
    assert_eq!(actions[1..], [Action::ShutdownComplete]);
    assert_eq!(single.raft.next_timeout(), None);
}

#[test]
fn own_snapshots_and_retention() {
    let mut single = Single::leading();
    single.append(9);
    single.step(Event::Persisted { end: at(10, 1) });
    single.step(Event::SnapshotWritten { id: at(6, 1) });
    single.step(Event::SnapshotWritten { id: at(10, 1) });
    single.step(Event::SnapshotDeleted { id: at(6, 1) });
    single.step(Event::LogStartMoved { start: 8 });
    assert_eq!(single.raft.log_start(), 8);
    let answer = |single: &mut Single, offset| {
        let fetch = Fetch { wait_ms: 0, ..Fetch::by(5, 1, offset, 1) };
        let (_, actions) = single.fetch(fetch);
        fetch_response(only(&actions))
    };
    let (_, response, _) = answer(&mut single, 7);
    assert_eq!(response.responses[0].partitions[0].snapshot_id.end_offset, 10);
    let (_, response, read) = answer(&mut single, 9);
    assert_eq!(response.responses[0].partitions[0].log_start_offset, 8);
    assert_eq!(read.map(|r| r.from), Some(9));
}
