//! KIP-595: which role a replica starts in, and from which it goes to which.

mod replica;

use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use replica::*;

fn started(state: ElectionState) -> Replica {
    replica(state)
}

fn only(state: ElectionState) -> (Replica, Vec<Action>) {
    Setup { voters: vec![1], state: Some(state), ..Setup::default() }.start()
}

fn candidate() -> Replica {
    let mut replica = replica(epoch(4));
    let actions = replica.until(Role::Prospective);
    replica.votes_for_me(&actions);
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 5));
    replica
}

fn leader() -> Replica {
    let mut replica = replica(epoch(4));
    replica.lead();
    replica
}

#[test]
fn a_replica_starts_where_its_promises_allow() {
    let unattached = started(epoch(5));
    assert_eq!((unattached.raft.role(), unattached.raft.epoch()), (Role::Unattached, 5));
    let voted = started(ElectionState { voted: Some(key(2)), ..epoch(5) });
    assert_eq!(voted.raft.role(), Role::Unattached);
    let follower = started(ElectionState { leader: Some(2), ..epoch(5) });
    assert_eq!(follower.raft.leader(), Some((2, 5)), "the leader is known by name");
    let both = ElectionState { leader: Some(2), voted: Some(key(3)), ..epoch(5) };
    let mut both = started(both);
    assert!(!both.vote(vote(2, 5)).0.vote_granted, "the epoch has its leader");
    assert!(both.vote(vote(3, 5)).0.vote_granted, "that vote was given before");
    // It stood for election: the epoch is used up, the election is not resumed.
    let stood = started(ElectionState { voted: Some(key(1)), ..epoch(5) });
    assert_eq!((stood.raft.role(), stood.raft.epoch()), (Role::Unattached, 5));
    let led = started(ElectionState { leader: Some(1), voted: Some(key(1)), ..epoch(5) });
    assert_eq!(led.raft.role(), Role::Resigned);
    // The log is ahead of a state that was lost.
    let old = started(epoch(2));
    assert_eq!(old.raft.epoch(), 4);
}

#[test]
fn the_only_voter_leads_whatever_it_was_before() {
    for state in [
        epoch(0),
        epoch(5),
        ElectionState { voted: Some(key(1)), ..epoch(5) },
        ElectionState { voted: Some(key(2)), ..epoch(5) },
        ElectionState { leader: Some(1), ..epoch(5) },
        ElectionState { leader: Some(2), ..epoch(5) },
    ] {
        let before = state.epoch.max(4);
        let (replica, actions) = only(state.clone());
        assert_eq!(replica.raft.leader(), Some((1, before + 1)), "{state:?}");
        let states = persisted(&actions);
        assert_eq!(states.last().map(|s| s.leader), Some(Some(1)), "{state:?}");
    }
}

#[test]
fn a_resigned_leader_tells_the_others_and_stands_again() {
    let state = ElectionState { leader: Some(1), ..epoch(5) };
    let (mut resigned, actions) = Setup { state: Some(state), ..Setup::default() }.start();
    let ends = actions
        .iter()
        .filter(|a| matches!(a, Action::Send { request: PeerRequest::EndQuorumEpoch(_), .. }));
    assert_eq!(ends.count(), 2);
    assert!(!resigned.vote(vote(2, 5)).0.vote_granted, "it led this epoch");
    resigned.until(Role::Prospective);
    assert_eq!(resigned.raft.epoch(), 5);
    let mut resigned = started(ElectionState { leader: Some(1), ..epoch(5) });
    assert!(resigned.vote(vote(2, 6)).0.vote_granted, "a later epoch");
    assert_eq!((resigned.raft.role(), resigned.raft.epoch()), (Role::Unattached, 6));
    let mut resigned = started(ElectionState { leader: Some(1), ..epoch(5) });
    assert_eq!(resigned.begin(3, 6).0, ErrorCode::None);
    assert_eq!(resigned.raft.leader(), Some((3, 6)));
}

#[test]
fn a_candidate_stands_in_a_later_epoch_each_time() {
    let mut replica = candidate();
    let start = replica.ms;
    let actions = replica.until(Role::Prospective);
    assert_eq!(replica.raft.epoch(), 5, "asking first again");
    assert!((1000..=2000).contains(&(replica.ms - start)), "after an election timeout");
    replica.votes_for_me(&actions);
    assert_eq!(replica.raft.role(), Role::Candidate);
    assert_eq!(replica.raft.epoch(), 6);
}

#[test]
fn a_candidate_gives_way_to_a_leader_or_a_later_epoch() {
    let mut same = candidate();
    assert!(!same.vote(vote(2, 5)).0.vote_granted, "it has voted for itself");
    assert_eq!(same.begin(2, 5).0, ErrorCode::None);
    assert_eq!(same.raft.leader(), Some((2, 5)));
    let late = same.step(Event::Response { rpc: RpcId(2), result: Ok(granted(5)) });
    assert_eq!((late, same.raft.role()), (vec![], Role::Follower), "a late vote");

    let mut later = candidate();
    assert_eq!(later.begin(2, 9).0, ErrorCode::None);
    assert_eq!(later.raft.leader(), Some((2, 9)));
    let mut voted = candidate();
    assert!(voted.vote(vote(2, 9)).0.vote_granted);
    assert_eq!((voted.raft.role(), voted.raft.epoch()), (Role::Unattached, 9));
    let mut ended = candidate();
    ended.end(2, 4, &[1, 3]);
    assert_eq!((ended.raft.role(), ended.raft.epoch()), (Role::Candidate, 5), "an old epoch's end");
}

#[test]
fn a_leader_gives_way_to_later_epochs_only() {
    let log = |r: &Replica| r.raft.log_end();
    let mut same = leader();
    let end = log(&same);
    assert!(!same.vote(Ask { log: end, ..vote(2, 6 - 1) }).0.vote_granted);
    assert_eq!(same.begin(2, 5).0, ErrorCode::InvalidRequest, "the epoch has its leader: us");
    assert_eq!(same.begin(2, 4).0, ErrorCode::FencedLeaderEpoch);
    same.end(2, 4, &[3]);
    assert_eq!(same.raft.leader(), Some((1, 5)));

    let mut follower = leader();
    let (error, actions) = follower.begin(2, 9);
    assert_eq!(error, ErrorCode::None);
    assert!(actions.contains(&Action::LostLeadership { epoch: 5 }));
    assert_eq!(follower.raft.leader(), Some((2, 9)));
    let mut unattached = leader();
    let (answer, _) = unattached.vote(vote(2, 9));
    assert!(!answer.vote_granted, "its log lacks this leader's record");
    assert_eq!((unattached.raft.role(), unattached.raft.epoch()), (Role::Unattached, 9));
}

#[test]
fn a_follower_keeps_its_leader_for_the_epoch() {
    let mut replica = replica(epoch(4));
    replica.follow(2, 5);
    assert_eq!(replica.begin(3, 5).0, ErrorCode::InvalidRequest);
    assert_eq!(replica.raft.leader(), Some((2, 5)));
    assert!(!replica.vote(vote(3, 5)).0.vote_granted);
    assert!(replica.vote(vote(3, 6)).0.vote_granted);
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Unattached, 6));
    assert_eq!(replica.begin(3, 6).0, ErrorCode::None);
    assert_eq!(replica.begin(2, 7).0, ErrorCode::None);
    assert_eq!(replica.raft.leader(), Some((2, 7)));
}

#[test]
fn a_silent_leader_is_doubted_after_the_fetch_timeout_by_voters_only() {
    let mut voter = replica(epoch(4));
    voter.follow(2, 5);
    let start = voter.ms;
    voter.until(Role::Prospective);
    assert!(voter.ms - start <= 2000);
    assert_eq!(voter.raft.epoch(), 5);

    for is_controller in [true, false] {
        let voters = vec![2, 3, 4];
        let setup = Setup { voters, is_controller, state: Some(epoch(4)), ..Setup::default() };
        let (mut observer, _) = setup.start();
        observer.follow(2, 5);
        for _ in 0..50 {
            let actions = observer.timeout();
            assert_eq!(sent_votes(&actions).len(), 0);
            assert!(matches!(observer.raft.role(), Role::Follower | Role::Unattached));
        }
        assert_eq!(observer.raft.epoch(), 5);
    }
}

#[test]
fn an_observer_looks_for_the_leader_among_all_it_knows() {
    let setup = Setup { voters: vec![2, 3, 4], state: None, ..Setup::default() };
    let (mut observer, actions) = Setup { log: LogSummary::default(), ..setup }.start();
    let mut asked = vec![];
    let mut next = actions;
    for _ in 0..12 {
        for action in &next {
            if let Action::Send { to, rpc, request: PeerRequest::Fetch(_), .. } = action {
                asked.push(to.node.expect("a voter"));
                let refused = Err(RpcFailure::Refused);
                observer.step(Event::Response { rpc: *rpc, result: refused });
            }
        }
        next = observer.timeout();
    }
    for voter in [2, 3, 4] {
        assert!(asked.contains(&voter), "{voter} of {asked:?}");
    }
    // Whoever answers names the leader.
    let rpc = loop {
        if let Some((rpc, _)) = sent_fetch(&next) {
            break rpc;
        }
        next = observer.timeout();
    };
    let answer = fetch_response::PartitionData {
        error_code: ErrorCode::NotLeaderOrFollower.code(),
        current_leader: leader_is(3, 7),
        ..Default::default()
    };
    let actions = observer.answer_fetch(rpc, answer);
    assert_eq!(observer.raft.leader(), Some((3, 7)));
    let (_, fetch) = sent_fetch(&actions).expect("it fetches from the leader");
    assert_eq!(fetch.topics[0].partitions[0].current_leader_epoch, 7);
}

#[test]
fn a_fetch_answer_of_an_earlier_term_means_nothing() {
    let late = || fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: 10,
        ..Default::default()
    };
    let mut other = replica(epoch(4));
    let (rpc, _) = other.follow(2, 5);
    other.begin(3, 6);
    assert_eq!(other.answer_fetch(rpc, late()), vec![]);
    assert_eq!(other.raft.leader(), Some((3, 6)));
    let mut standing = replica(epoch(4));
    let (rpc, _) = standing.follow(2, 5);
    standing.end(2, 5, &[1, 3]);
    assert_eq!(standing.raft.role(), Role::Candidate);
    assert_eq!(standing.answer_fetch(rpc, late()), vec![]);
    assert_eq!(standing.raft.high_watermark(), None);
}

#[test]
fn the_high_watermark_outlives_changes_of_role() {
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    let answer = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: 9,
        ..Default::default()
    };
    replica.answer_fetch(rpc, answer);
    assert_eq!(replica.raft.high_watermark(), Some(9));
    replica.vote(vote(3, 6));
    assert_eq!(replica.raft.high_watermark(), Some(9));
    let (rpc, _) = replica.follow(3, 7);
    // A later leader may know less than its predecessor told us.
    let less = fetch_response::PartitionData {
        current_leader: leader_is(3, 7),
        high_watermark: 8,
        ..Default::default()
    };
    replica.answer_fetch(rpc, less);
    assert_eq!(replica.raft.high_watermark(), Some(9));
}

#[test]
fn end_quorum_epoch_of_an_unknown_term_starts_an_election_too() {
    let mut replica = replica(epoch(4));
    let actions = replica.end(2, 5, &[1, 3]);
    let at_once = replica.raft.role() == Role::Candidate;
    assert!(at_once || !sent_votes(&replica.timeout()).is_empty(), "{actions:?}");
    let mut last = self::replica(epoch(4));
    last.follow(2, 5);
    last.end(2, 5, &[]);
    let start = last.ms;
    last.until(Role::Prospective);
    assert!(last.ms - start >= 500, "one that is not named leaves the others time");
}

#[test]
fn a_shut_down_follower_leaves_at_once_and_votes_until_then() {
    let mut follower = replica(epoch(4));
    follower.follow(2, 5);
    let actions = follower.step(Event::Shutdown);
    assert!(actions.contains(&Action::ShutdownComplete));
    let (mut observer, _) = Setup { voters: vec![2, 3], ..Setup::default() }.start();
    assert!(observer.step(Event::Shutdown).contains(&Action::ShutdownComplete));
    // A leader that hands over still votes.
    let mut leader = leader();
    let actions = leader.step(Event::Shutdown);
    assert!(!actions.contains(&Action::ShutdownComplete), "its successors do not know yet");
    let log = leader.raft.log_end();
    assert!(leader.vote(Ask { log, ..vote(2, 6) }).0.vote_granted);
}

#[test]
fn a_leader_that_nobody_acknowledges_ends_after_the_request_timeout() {
    let mut leader = leader();
    leader.step(Event::Shutdown);
    let start = leader.ms;
    for _ in 0..100 {
        if leader.timeout().contains(&Action::ShutdownComplete) {
            assert!((1900..=2100).contains(&(leader.ms - start)), "{} ms", leader.ms - start);
            return;
        }
    }
    panic!("it never ends");
}

fn voter_fetch(id: NodeId, epoch: i32, offset: i64, last_epoch: i32) -> PeerRequest {
    PeerRequest::Fetch(FetchRequest {
        max_bytes: 1_000_000,
        replica_state: ReplicaState { replica_id: id, ..Default::default() },
        topics: vec![FetchTopic {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![FetchPartition {
                current_leader_epoch: epoch,
                fetch_offset: offset,
                last_fetched_epoch: last_epoch,
                high_watermark: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

#[test]
fn a_leader_commits_by_the_fetches_of_a_majority_and_its_own_sync() {
    let mut leader = leader();
    let fetched = leader.ask(18, voter_fetch(2, 5, 10, 4));
    assert!(!fetched.iter().any(|a| matches!(a, Action::HighWatermark { .. })));
    leader.ask(18, voter_fetch(2, 5, 11, 5));
    assert_eq!(leader.raft.high_watermark(), None, "one of three, and not synced here");
    let actions = leader.step(Event::Persisted { end: at(11, 5) });
    assert!(actions.contains(&Action::HighWatermark { offset: 11 }));
    // A fetch that falls back takes nothing back.
    leader.ask(18, voter_fetch(2, 5, 10, 4));
    assert_eq!(leader.raft.high_watermark(), Some(11));
    // An observer's fetch commits nothing.
    let end = leader.raft.log_end();
    let bytes = encode_data_batch(end.offset, 5, 1_700_000_000_000, &[Bytes::from_static(b"x")]);
    let batch = quorate_raft::LogBatch {
        base_offset: 11,
        end_offset: 12,
        epoch: 5,
        append_time_ms: 1_700_000_000_000,
        is_control: false,
        bytes,
    };
    leader.step(Event::Append { batch });
    leader.step(Event::Persisted { end: at(12, 5) });
    leader.ask(18, voter_fetch(9, 5, 12, 5));
    assert_eq!(leader.raft.high_watermark(), Some(11));
    leader.ask(18, voter_fetch(3, 5, 12, 5));
    assert_eq!(leader.raft.high_watermark(), Some(12));
}

#[test]
fn a_silent_voter_is_told_who_leads_and_one_that_fetches_is_not() {
    let mut leader = leader();
    let told = |actions: &[Action]| -> Vec<NodeId> {
        let begin = |a: &Action| match a {
            Action::Send { to, request: PeerRequest::BeginQuorumEpoch(_), .. } => to.node,
            _ => None,
        };
        actions.iter().filter_map(begin).collect()
    };
    let mut heard = vec![];
    for _ in 0..8 {
        leader.ask(18, voter_fetch(2, 5, 10, 4));
        leader.ms += 400;
        heard.extend(told(&leader.step(Event::Timeout)));
        // The request to the silent one times out.
        for rpc in 0..50 {
            let result = Err(RpcFailure::Timeout);
            heard.extend(told(&leader.step(Event::Response { rpc: RpcId(rpc), result })));
        }
    }
    assert!(!heard.contains(&2), "{heard:?}");
    assert!(heard.iter().filter(|id| **id == 3).count() >= 2, "{heard:?}");
    assert_eq!(leader.raft.role(), Role::Leader, "a majority is in touch");
    let start = leader.ms;
    while leader.raft.role() == Role::Leader {
        leader.timeout();
    }
    assert!(leader.ms - start <= 3000, "alone it resigns after 1.5 fetch timeouts");
}

/// What a follower, or a request of another cluster or for another voter, is told.
#[test]
fn requests_that_reach_the_wrong_replica_are_refused() {
    use quorate_protocol::messages::{
        DescribeQuorumRequest, FetchSnapshotRequest, describe_quorum_request as describe,
        fetch_snapshot_request as snapshot,
    };
    let answer = |actions: &[Action]| match actions {
        [.., Action::Respond { response, .. }] => response.clone(),
        other => panic!("{other:?}"),
    };
    let mut follower = replica(epoch(4));
    follower.follow(2, 5);
    let topics = vec![describe::TopicData {
        topic_name: TOPIC.into(),
        partitions: vec![Default::default()],
        ..Default::default()
    }];
    let request = DescribeQuorumRequest { topics, ..Default::default() };
    let AnyResponse::DescribeQuorum(told) =
        answer(&follower.ask(2, PeerRequest::DescribeQuorum(request)))
    else {
        panic!("another answer")
    };
    // At the partition: Kafka's tools and brokers look for it there.
    assert_eq!((told.error_code, told.error_message), (0, Some("".into())));
    let [refused] = told.topics[0].partitions.as_slice() else { panic!("one partition") };
    assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower.code());
    let why = refused.error_message.as_ref().map(|text| text.to_string());
    assert_eq!(why.as_deref(), Some(ErrorCode::NotLeaderOrFollower.message()));

    let chunk = |cluster: &'static str, topic: &'static str| {
        PeerRequest::FetchSnapshot(FetchSnapshotRequest {
            cluster_id: Some(cluster.into()),
            topics: vec![snapshot::TopicSnapshot {
                name: topic.into(),
                partitions: vec![snapshot::PartitionSnapshot {
                    current_leader_epoch: 5,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    let other = "AAAAAAAAAAAAAAAAAAAAAA";
    for (request, whole, partition) in [
        (chunk(other, TOPIC), ErrorCode::InconsistentClusterId, None),
        (chunk(CLUSTER, TOPIC), ErrorCode::None, Some(ErrorCode::NotLeaderOrFollower)),
        (chunk(CLUSTER, "payments"), ErrorCode::None, Some(ErrorCode::UnknownTopicOrPartition)),
    ] {
        let AnyResponse::FetchSnapshot(told) = answer(&follower.ask(1, request)) else {
            panic!("another answer")
        };
        assert_eq!(told.error_code, whole.code());
        let code = told.topics.first().map(|t| t.partitions[0].error_code);
        assert_eq!(code, partition.map(|e| e.code()));
    }

    let foreign = BeginQuorumEpochRequest { cluster_id: Some(other.into()), ..Default::default() };
    let AnyResponse::BeginQuorumEpoch(told) =
        answer(&follower.ask(1, PeerRequest::BeginQuorumEpoch(foreign)))
    else {
        panic!("another answer")
    };
    assert_eq!(told.error_code, ErrorCode::InconsistentClusterId.code());
    let foreign = EndQuorumEpochRequest { cluster_id: Some(other.into()), ..Default::default() };
    let AnyResponse::EndQuorumEpoch(told) =
        answer(&follower.ask(1, PeerRequest::EndQuorumEpoch(foreign)))
    else {
        panic!("another answer")
    };
    assert_eq!(told.error_code, ErrorCode::InconsistentClusterId.code());
    // Meant for another voter: the news is taken, and the mistake is told.
    let misled = BeginQuorumEpochRequest { voter_id: 3, ..begin_request(2, 5) };
    let AnyResponse::BeginQuorumEpoch(told) =
        answer(&follower.ask(1, PeerRequest::BeginQuorumEpoch(misled)))
    else {
        panic!("another answer")
    };
    let code = told.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::InvalidVoterKey.code());
    assert_eq!(follower.raft.leader(), Some((2, 5)));
}

/// A leader's id without its address would be followed into nothing.
#[test]
fn a_leader_that_is_no_voter_is_followed_if_it_tells_its_address() {
    let mut silent = replica(epoch(4));
    let (rpc, _) = silent.follow(2, 5);
    let named = || fetch_response::PartitionData {
        error_code: ErrorCode::FencedLeaderEpoch.code(),
        current_leader: leader_is(9, 7),
        ..Default::default()
    };
    silent.answer_fetch(rpc, named());
    assert_eq!((silent.raft.role(), silent.raft.epoch()), (Role::Unattached, 7));
    let mut told = replica(epoch(4));
    assert_eq!(told.begin(9, 7).0, ErrorCode::None);
    assert_eq!(told.raft.leader(), Some((9, 7)));
}

#[test]
fn a_fetch_asks_for_no_more_bytes_than_configured() {
    let setup = Setup { state: Some(epoch(4)), fetch_max_bytes: 12_345, ..Setup::default() };
    let (mut follower, _) = setup.start();
    let (_, fetch) = follower.follow(2, 5);
    assert_eq!(fetch.max_bytes, 12_345);
}
