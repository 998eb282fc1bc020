//! KIP-853 and KIP-1186 as a follower sees them: it reports what the voter set has wrong of it, and joins by
//! itself where that is wanted.

mod replica;

use quorate_protocol::batch::encode_control_batch;
use quorate_protocol::control::ControlRecord;
use quorate_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, FetchSnapshotResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
    fetch_snapshot_response as chunk, update_raft_voter_response as update,
};
use quorate_raft::{Voter, VoterSet};
use replica::*;

fn second() -> Endpoint {
    Endpoint { name: "SECOND".into(), host: "n1".into(), port: 9094 }
}

/// Follows node 2 in an epoch; its requests are answered by hand.
struct Following {
    replica: Replica,
    leader: NodeId,
    fetch: Option<RpcId>,
    /// What it sent since, other than fetches.
    others: Vec<(RpcId, PeerRequest)>,
}

impl Following {
    fn start(setup: Setup) -> Following {
        let (replica, _) = Setup { state: Some(epoch(4)), ..setup }.start();
        let mut following = Following { replica, leader: 2, fetch: None, others: Vec::new() };
        let (_, actions) = following.replica.begin(2, 5);
        following.take(&actions);
        following
    }

    fn take(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Send { rpc, request: PeerRequest::Fetch(_), .. } => self.fetch = Some(*rpc),
                Action::Send { rpc, to, request, .. } => {
                    assert_eq!(to.node, Some(self.leader), "{request:?}");
                    self.others.push((*rpc, request.clone()));
                }
                _ => {}
            }
        }
    }

    /// The leader has no news.
    fn answer_fetch(&mut self, records: Bytes) {
        let answer = fetch_response::PartitionData {
            current_leader: leader_is(self.leader, self.replica.raft.epoch()),
            high_watermark: self.replica.raft.log_end().offset,
            records: Some(records),
            ..Default::default()
        };
        let rpc = self.fetch.take().expect("a fetch");
        let actions = self.replica.answer_fetch(rpc, answer);
        self.take(&actions);
    }

    /// Answers fetches every 400 ms until it sends something else, at most for so long.
    fn pass(&mut self, ms: u64) {
        let end = self.replica.ms + ms;
        while self.replica.ms < end && self.others.is_empty() {
            self.replica.ms += 400;
            if self.fetch.is_some() {
                self.answer_fetch(Bytes::new());
            }
            let next = self.replica.raft.next_timeout();
            let now = Time::from_millis(self.replica.ms);
            assert!(next.is_none_or(|(at, _)| at > now), "it wakes for nothing: {next:?}");
            let actions = self.replica.step(Event::Timeout);
            self.take(&actions);
        }
        assert_eq!(self.replica.raft.role(), Role::Follower);
    }

    fn respond(&mut self, rpc: RpcId, response: PeerResponse) {
        let actions = self.replica.step(Event::Response { rpc, result: Ok(response) });
        self.take(&actions);
    }

    fn update(&mut self) -> (RpcId, UpdateRaftVoterRequest) {
        match self.others.pop().expect("a request") {
            (rpc, PeerRequest::UpdateRaftVoter(request)) => (rpc, request),
            other => panic!("{other:?}"),
        }
    }
}

fn updated(error: ErrorCode, leader_id: NodeId, leader_epoch: i32) -> PeerResponse {
    PeerResponse::UpdateRaftVoter(UpdateRaftVoterResponse {
        error_code: error.code(),
        current_leader: update::CurrentLeader {
            leader_id,
            leader_epoch,
            host: format!("n{leader_id}").into(),
            port: 9093,
            ..Default::default()
        },
        ..Default::default()
    })
}

fn in_log(voters: &[NodeId]) -> Setup {
    Setup { voters: voters.to_vec(), dynamic: true, ..Setup::default() }
}

#[test]
fn a_voter_that_listens_elsewhere_says_so_after_a_fetch_timeout() {
    let mut voter =
        Following::start(Setup { more_listeners: vec![second()], ..in_log(&[1, 2, 3]) });
    let start = voter.replica.ms;
    voter.pass(10_000);
    let waited = voter.replica.ms - start;
    assert!((2000..=2400).contains(&waited), "after {waited} ms");
    let (rpc, request) = voter.update();
    assert_eq!(
        (request.voter_id, request.voter_directory_id),
        (1, key(1).directory_id.expect("one"))
    );
    assert_eq!(request.current_leader_epoch, 5);
    assert_eq!(request.cluster_id.as_ref().map(|id| id.as_str()), Some(CLUSTER));
    let listeners: Vec<_> =
        request.listeners.iter().map(|l| (l.name.as_str(), l.host.as_str(), l.port)).collect();
    assert_eq!(listeners, [("CONTROLLER", "n1", 9093), ("SECOND", "n1", 9094)]);
    let range = &request.kraft_version_feature;
    assert_eq!((range.min_supported_version, range.max_supported_version), (0, 1));
    assert_eq!(voter.fetch, None, "one request at a time");
    voter.respond(rpc, updated(ErrorCode::None, 2, 5));
    assert!(voter.fetch.is_some(), "then it goes on fetching");
}

#[test]
fn a_report_waits_for_the_fetch_before_it() {
    let mut voter =
        Following::start(Setup { more_listeners: vec![second()], ..in_log(&[1, 2, 3]) });
    voter.pass(1_600);
    voter.replica.ms += 700;
    let actions = voter.replica.step(Event::Timeout);
    voter.take(&actions);
    assert!(voter.others.is_empty(), "a fetch is under way");
    voter.answer_fetch(Bytes::new());
    voter.update();
}

#[test]
fn a_voter_that_the_set_has_right_reports_nothing() {
    let mut voter = Following::start(in_log(&[1, 2, 3]));
    voter.pass(20_000);
    assert_eq!(voter.others, vec![]);
}

/// The leader keeps the report in mind only, so each gets one.
#[test]
fn at_kraft_version_0_each_leader_is_told_once() {
    for said in [ErrorCode::None, ErrorCode::UnsupportedVersion] {
        let mut voter = Following::start(Setup::default());
        voter.pass(10_000);
        let (rpc, request) = voter.update();
        assert_eq!(request.current_leader_epoch, 5);
        voter.respond(rpc, updated(said, 2, 5));
        voter.pass(20_000);
        assert_eq!(voter.others, vec![], "{said}");
        let (_, actions) = voter.replica.begin(2, 6);
        voter.fetch = None;
        voter.take(&actions);
        voter.pass(10_000);
        assert_eq!(voter.update().1.current_leader_epoch, 6);
    }
}

#[test]
fn the_answer_to_a_report_may_name_the_next_leader() {
    let mut voter =
        Following::start(Setup { more_listeners: vec![second()], ..in_log(&[1, 2, 3]) });
    voter.pass(10_000);
    let (rpc, _) = voter.update();
    let result = Ok(updated(ErrorCode::NotLeaderOrFollower, 3, 6));
    let actions = voter.replica.step(Event::Response { rpc, result });
    assert_eq!(voter.replica.raft.leader(), Some((3, 6)));
    let fetches = sent(&actions, |r| match r {
        PeerRequest::Fetch(r) => Some(r.topics[0].partitions[0].current_leader_epoch),
        _ => None,
    });
    assert_eq!(fetches.iter().map(|(_, to, epoch)| (*to, *epoch)).collect::<Vec<_>>(), [(3, 6)]);
}

#[test]
fn a_voter_set_counts_when_it_is_fetched() {
    let mut voter = Following::start(in_log(&[1, 2]));
    assert_eq!(voter.replica.raft.voters().ids(), [1, 2]);
    let records = [
        ControlRecord::LeaderChange {
            leader_id: 2,
            voters: vec![1, 2],
            granting_voters: vec![1, 2],
        },
        ControlRecord::KRaftVersion(1),
        ControlRecord::Voters([1, 2, 3].iter().map(|id| (&self::voter(*id)).into()).collect()),
    ];
    voter.answer_fetch(encode_control_batch(10, 5, 1_700_000_000_000, &records));
    assert_eq!(voter.replica.raft.voters().ids(), [1, 2, 3]);
    assert_eq!(voter.replica.raft.high_watermark(), Some(10), "long before it is committed");
}

/// The configuration, then a snapshot, then the log behind it; and back when that is cut off.
#[test]
fn voters_of_a_snapshot_count_until_the_log_says_more() {
    let set = |ids: &[NodeId]| VoterSet::new(ids.iter().map(|id| voter(*id)));
    let configured = ([1, 2, 3].as_slice(), 0);
    for (held, then) in [(None, configured), (Some(set(&[1, 2, 4])), (&[1, 2, 4], 1))] {
        let mut follower = replica(epoch(4));
        let in_force = |follower: &Replica| {
            (follower.raft.voters().ids(), i32::from(follower.raft.kraft_version()))
        };
        let (rpc, _) = follower.follow(2, 5);
        assert_eq!(in_force(&follower), (configured.0.to_vec(), configured.1));
        let id = fetch_response::SnapshotId { end_offset: 20, epoch: 5, ..Default::default() };
        let from_leader = fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            high_watermark: 20,
            ..Default::default()
        };
        let offer = fetch_response::PartitionData { snapshot_id: id, ..from_leader.clone() };
        let actions = follower.answer_fetch(rpc, offer);
        let asked = sent(&actions, |r| matches!(r, PeerRequest::FetchSnapshot(_)).then_some(()));
        let chunk = chunk::PartitionSnapshot {
            snapshot_id: chunk::SnapshotId { end_offset: 20, epoch: 5, ..Default::default() },
            current_leader: chunk::LeaderIdAndEpoch {
                leader_id: 2,
                leader_epoch: 5,
                ..Default::default()
            },
            size: 4,
            unaligned_records: Bytes::from_static(b"abcd"),
            ..Default::default()
        };
        let whole = FetchSnapshotResponse {
            topics: vec![chunk::TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![chunk],
                ..Default::default()
            }],
            ..Default::default()
        };
        let result = Ok(PeerResponse::FetchSnapshot(whole));
        let actions = follower.step(Event::Response { rpc: asked[0].0, result });
        let id = at(20, 5);
        assert!(actions.contains(&Action::InstallSnapshot { id }));
        let kraft_version = u16::from(held.is_some());
        let installed = Event::SnapshotInstalled { id, voters: held, kraft_version };
        let actions = follower.step(installed);
        assert_eq!(in_force(&follower), (then.0.to_vec(), then.1));

        let records = [
            ControlRecord::KRaftVersion(1),
            ControlRecord::Voters([1, 2, 5].iter().map(|id| (&voter(*id)).into()).collect()),
        ];
        let records = Some(encode_control_batch(20, 5, 1_700_000_000_000, &records));
        let (rpc, _) = sent_fetch(&actions).expect("it goes on behind the snapshot");
        let more = fetch_response::PartitionData { records, ..from_leader.clone() };
        follower.answer_fetch(rpc, more);
        assert_eq!(in_force(&follower), (vec![1, 2, 5], 1));
        follower.synced();
        let (rpc, _) = follower.follow(3, 6);
        let cut = fetch_response::PartitionData {
            current_leader: leader_is(3, 6),
            diverging_epoch: fetch_response::EpochEndOffset {
                epoch: 5,
                end_offset: 20,
                ..Default::default()
            },
            ..from_leader
        };
        let actions = follower.answer_fetch(rpc, cut);
        assert!(actions.contains(&Action::TruncateLog { to: id }));
        assert_eq!(in_force(&follower), (then.0.to_vec(), then.1));
    }
}

/// This replica's id with another disk.
fn former() -> Voter {
    let key = ReplicaKey { id: 1, directory_id: Some(Uuid::from_u128(0xf00)) };
    Voter { key, ..voter(1) }
}

fn joining(voters: &[Voter]) -> Following {
    let mut joining = Following::start(Setup { auto_join: true, ..in_log(&[2, 3]) });
    let set: Vec<Voter> = voters.to_vec();
    joining.change(&set);
    joining
}

impl Following {
    fn change(&mut self, voters: &[Voter]) {
        let end = self.replica.raft.log_end().offset;
        let records = [ControlRecord::Voters(voters.iter().map(Into::into).collect())];
        self.answer_fetch(encode_control_batch(end, 5, 1_700_000_000_000, &records));
        let actions = self.replica.synced();
        self.take(&actions);
        // And the commit.
        self.answer_fetch(Bytes::new());
        assert_eq!(self.replica.raft.voters(), &VoterSet::new(voters.iter().cloned()));
    }

    fn add(&mut self) -> (RpcId, AddRaftVoterRequest) {
        match self.others.pop().expect("a request") {
            (rpc, PeerRequest::AddRaftVoter(request)) => (rpc, request),
            other => panic!("{other:?}"),
        }
    }

    fn remove(&mut self) -> (RpcId, RemoveRaftVoterRequest) {
        match self.others.pop().expect("a request") {
            (rpc, PeerRequest::RemoveRaftVoter(request)) => (rpc, request),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_controller_that_joins_by_itself_asks_until_it_is_a_voter() {
    let mut observer = joining(&[voter(2), voter(3)]);
    let mut asked = 0;
    // Whatever the outcome: no answer, a refusal, a yes that changes nothing.
    for code in [None, Some(ErrorCode::RequestTimedOut), Some(ErrorCode::None)] {
        let before = observer.replica.ms;
        observer.pass(10_000);
        let (rpc, request) = observer.add();
        asked += 1;
        assert!(observer.replica.ms - before >= 1_200, "attempt {asked}: a pause before");
        assert_eq!((request.voter_id, Some(request.voter_directory_id)), (1, key(1).directory_id));
        assert_eq!(request.listeners[0].host.as_str(), "n1");
        assert!(!request.ack_when_committed, "it has to fetch for the change to commit");
        match code {
            Some(code) => {
                let error_code = code.code();
                let answer = AddRaftVoterResponse { error_code, ..Default::default() };
                observer.respond(rpc, PeerResponse::AddRaftVoter(answer));
            }
            None => {
                observer.replica.ms += 1_000;
                let result = Err(RpcFailure::Timeout);
                let actions = observer.replica.step(Event::Response { rpc, result });
                observer.take(&actions);
                while observer.fetch.is_none() {
                    let actions = observer.replica.timeout();
                    observer.take(&actions);
                }
            }
        }
        assert!(observer.fetch.is_some(), "it goes on fetching");
    }
    observer.change(&[voter(1), voter(2), voter(3)]);
    assert!(observer.replica.raft.is_voter());
    observer.pass(20_000);
    assert_eq!(observer.others, vec![], "there, and right in the set");
}

#[test]
fn a_controller_on_a_new_disk_has_its_former_self_removed_and_joins() {
    let mut observer = joining(&[former(), voter(2), voter(3)]);
    assert!(!observer.replica.raft.is_voter());
    for _ in 0..2 {
        observer.pass(10_000);
        let (rpc, request) = observer.remove();
        let old = former().key.directory_id.expect("one");
        assert_eq!((request.voter_id, request.voter_directory_id), (1, old));
        let answer = RemoveRaftVoterResponse::default();
        observer.respond(rpc, PeerResponse::RemoveRaftVoter(answer));
    }
    observer.change(&[voter(2), voter(3)]);
    observer.pass(10_000);
    let (rpc, request) = observer.add();
    assert_eq!((request.voter_id, Some(request.voter_directory_id)), (1, key(1).directory_id));
    observer.respond(rpc, PeerResponse::AddRaftVoter(AddRaftVoterResponse::default()));
    observer.change(&[voter(1), voter(2), voter(3)]);
    assert!(observer.replica.raft.is_voter());
    observer.pass(20_000);
    assert_eq!(observer.others, vec![]);
}

/// Kafka's controller comes back as often as it is removed.
#[test]
fn a_voter_that_was_removed_does_not_come_back_by_itself() {
    let mut observer = joining(&[voter(1), voter(2), voter(3)]);
    assert!(observer.replica.raft.is_voter());
    observer.change(&[voter(2), voter(3)]);
    observer.pass(20_000);
    assert_eq!(observer.others, vec![]);
}

#[test]
fn nobody_else_joins_by_itself() {
    let no_wish = in_log(&[2, 3]);
    let no_controller = Setup { auto_join: true, is_controller: false, ..in_log(&[2, 3]) };
    let version_0 = Setup { auto_join: true, voters: vec![2, 3], ..Setup::default() };
    for setup in [no_wish, no_controller, version_0] {
        let mut observer = Following::start(setup);
        observer.pass(20_000);
        assert_eq!(observer.others, vec![]);
    }
}

/// Two faults of Java's controller (4.4.0): one that had stood for election, and was removed while it was down, stops
/// at its start; so does one that has heard of a leader which its own log does not know as a voter.
#[test]
fn what_a_replica_remembers_need_not_fit_the_voter_set_that_it_finds() {
    let stood = ElectionState { voted: Some(key(1)), ..epoch(5) };
    let led = ElectionState { leader: Some(1), voted: Some(key(1)), ..epoch(5) };
    let led_by_stranger = ElectionState { leader: Some(9), ..epoch(5) };
    let voted_for_stranger = ElectionState { voted: Some(key(9)), ..epoch(5) };
    for state in [stood, led, led_by_stranger, voted_for_stranger] {
        for voters in [vec![2, 3], vec![1, 2, 3]] {
            let is_voter = voters.contains(&1);
            let setup = Setup { state: Some(state.clone()), ..in_log(&voters) };
            let (mut replica, mut actions) = setup.start();
            let led_before = state.leader == Some(1) && is_voter;
            let role = if led_before { Role::Resigned } else { Role::Unattached };
            assert_eq!(replica.raft.role(), role, "{state:?} {voters:?}");
            assert_eq!(replica.raft.epoch(), 5);
            // Led by a stranger: its address comes with an answer, in the same epoch.
            let (leader, epoch) = if state.leader == Some(9) { (9, 5) } else { (2, 6) };
            while sent_fetch(&actions).is_none() {
                if replica.raft.role() == Role::Resigned {
                    actions = replica.begin(leader, epoch).1;
                } else {
                    actions = replica.timeout();
                }
            }
            let (rpc, _) = sent_fetch(&actions).expect("a fetch");
            let response = FetchResponse {
                responses: vec![fetch_response::FetchableTopicResponse {
                    topic_id: Uuid::METADATA_TOPIC,
                    partitions: vec![fetch_response::PartitionData {
                        error_code: ErrorCode::NotLeaderOrFollower.code(),
                        current_leader: leader_is(leader, epoch),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                node_endpoints: vec![fetch_response::NodeEndpoint {
                    node_id: leader,
                    host: format!("n{leader}").into(),
                    port: 9093,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let result = Ok(PeerResponse::Fetch(response));
            let actions = replica.step(Event::Response { rpc, result });
            assert_eq!(replica.raft.leader(), Some((leader, epoch)), "{state:?} {voters:?}");
            assert!(sent_fetch(&actions).is_some() || led_before);
        }
    }
}
