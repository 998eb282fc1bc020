//! KIP-595 as followers, observers and candidates see it: whom they ask, what they take from answers, and
//! what they forget.

mod replica;

use quorate_base::Prng;
use quorate_protocol::messages::{
    DescribeQuorumRequest, FetchSnapshotRequest, fetch_snapshot_request as snapshot,
};
use replica::*;

fn from_leader(high_watermark: i64) -> fetch_response::PartitionData {
    fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark,
        ..Default::default()
    }
}

fn batch(base: i64, epoch: i32, records: usize) -> Bytes {
    encode_data_batch(base, epoch, 1_700_000_000_000, &vec![Bytes::from_static(b"x"); records])
}

fn votes(asked: &[(RpcId, VoteRequest)], voter: NodeId) -> RpcId {
    asked.iter().find(|(_, r)| r.voter_id == voter).expect("asked").0
}

#[test]
fn empty_answers_move_the_high_watermark_but_never_beyond_the_log() {
    let mut follower = replica(epoch(4));
    let (rpc, fetch) = follower.follow(2, 5);
    assert_eq!(fetch.topics[0].partitions[0].high_watermark, -1);
    let actions = follower.answer_fetch(rpc, from_leader(7));
    assert_eq!(follower.raft.high_watermark(), Some(7));
    let (rpc, fetch) = sent_fetch(&actions).expect("the next fetch");
    assert_eq!(fetch.topics[0].partitions[0].high_watermark, 7, "KIP-1166");
    let more = fetch_response::PartitionData { records: Some(batch(10, 5, 2)), ..from_leader(7) };
    follower.answer_fetch(rpc, more);
    assert_eq!((follower.raft.log_end(), follower.raft.high_watermark()), (at(12, 5), Some(7)));
    let (rpc, fetch) = sent_fetch(&follower.synced()).expect("the next fetch");
    let p = &fetch.topics[0].partitions[0];
    assert_eq!((p.fetch_offset, p.last_fetched_epoch, p.high_watermark), (12, 5, 7));
    let actions = follower.answer_fetch(rpc, from_leader(12));
    assert!(actions.contains(&Action::HighWatermark { offset: 12 }));
    let (rpc, _) = sent_fetch(&actions).expect("the next fetch");
    follower.answer_fetch(rpc, from_leader(99));
    assert_eq!(follower.raft.high_watermark(), Some(12), "what is not here is not committed here");
}

#[test]
fn a_batch_of_an_epoch_to_come_is_not_taken_and_the_one_before_it_is() {
    let mut follower = replica(epoch(4));
    let (rpc, _) = follower.follow(2, 5);
    let both = [batch(10, 5, 10), batch(20, 6, 10)].concat();
    let answer = fetch_response::PartitionData { records: Some(both.into()), ..from_leader(-1) };
    follower.answer_fetch(rpc, answer);
    assert_eq!(follower.raft.log_end(), at(20, 5));
}

/// Whatever bytes come, nothing is appended and nothing breaks.
#[test]
fn random_bytes_are_not_taken_for_records() {
    let mut prng = Prng::new(595);
    let good = batch(10, 5, 3);
    for round in 0..2_000 {
        let mut bytes: Vec<u8> = match round % 3 {
            0 => (0..prng.below(200)).map(|_| prng.below(256) as u8).collect(),
            _ => good.to_vec(),
        };
        match round % 3 {
            1 => {
                let at = prng.below(bytes.len() as u64) as usize;
                // Not the leader's epoch at 12 to 15: that one is outside of the checksum.
                let at = if (12..16).contains(&at) { 17 } else { at };
                bytes[at] ^= 1 << prng.below(8);
            }
            2 => bytes.truncate(prng.below(bytes.len() as u64) as usize),
            _ => {}
        }
        let mut follower = replica(epoch(4));
        let (rpc, _) = follower.follow(2, 5);
        let records = Some(Bytes::from(bytes.clone()));
        follower.answer_fetch(rpc, fetch_response::PartitionData { records, ..from_leader(-1) });
        assert_eq!(follower.raft.log_end(), at(10, 4), "{bytes:?}");
    }
}

/// Requests time out and are asked again; the answer of the first one is worth nothing any more.
#[test]
fn a_vote_that_comes_after_its_timeout_does_not_count() {
    for pre in [true, false] {
        let (mut replica, _) = Setup { voters: vec![1, 2], ..Setup::default() }.start();
        let mut actions = replica.until(Role::Prospective);
        if !pre {
            actions = replica.votes_for_me(&actions);
        }
        let role = replica.raft.role();
        let epoch = replica.raft.epoch();
        let (first, request) = sent_votes(&actions)[0].clone();
        assert_eq!(request.topics[0].partitions[0].pre_vote, pre);
        replica.ms += 500;
        let mut actions =
            replica.step(Event::Response { rpc: first, result: Err(RpcFailure::Timeout) });
        while sent_votes(&actions).is_empty() {
            actions = replica.timeout();
        }
        let (second, again) = sent_votes(&actions)[0].clone();
        assert_eq!(again, request, "the same question");
        let late = replica.step(Event::Response { rpc: first, result: Ok(granted(epoch)) });
        assert_eq!((late, replica.raft.role()), (vec![], role));
        replica.step(Event::Response { rpc: second, result: Ok(granted(epoch)) });
        let next = if pre { Role::Candidate } else { Role::Leader };
        assert_eq!(replica.raft.role(), next);
    }
}

/// Kafka 3.9 does not know pre-votes; what others then say about it is not waited for.
#[test]
fn one_voter_without_pre_vote_is_enough_to_stand_and_the_next_round_asks_again() {
    let mut replica = replica(epoch(4));
    let asked = sent_votes(&replica.until(Role::Prospective));
    let result = Err(RpcFailure::UnsupportedVersion);
    replica.step(Event::Response { rpc: votes(&asked, 2), result });
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 5));
    let rpc = votes(&asked, 3);
    assert_eq!(replica.step(Event::Response { rpc, result: Ok(granted(4)) }), vec![]);
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 5));
    let asked = sent_votes(&replica.until(Role::Prospective));
    assert!(asked.iter().all(|(_, r)| r.topics[0].partitions[0].pre_vote));
    assert_eq!((asked.len(), replica.raft.epoch()), (2, 5));
    replica.step(Event::Response { rpc: votes(&asked, 3), result: Ok(granted(5)) });
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 6));
    let result = Err(RpcFailure::UnsupportedVersion);
    replica.step(Event::Response { rpc: votes(&asked, 2), result });
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 6));
}

#[test]
fn an_observer_votes_and_never_stands() {
    let setup = Setup { voters: vec![2, 3, 4], state: Some(epoch(5)), ..Setup::default() };
    let (mut observer, _) = setup.start();
    let (answer, actions) = observer.vote(vote(2, 6));
    assert_eq!((answer.vote_granted, answer.leader_id, answer.leader_epoch), (true, -1, 6));
    let votes: Vec<_> = persisted(&actions).iter().map(|s| (s.epoch, s.voted)).collect();
    assert_eq!(votes.last(), Some(&(6, Some(key(2)))));
    assert!(!observer.vote(vote(3, 6)).0.vote_granted, "one vote an epoch");
    for _ in 0..50 {
        let actions = observer.timeout();
        assert_eq!((sent_votes(&actions).len(), observer.raft.role()), (0, Role::Unattached));
        if let Some((rpc, fetch)) = sent_fetch(&actions) {
            assert_eq!(fetch.topics[0].partitions[0].current_leader_epoch, 6);
            observer.step(Event::Response { rpc, result: Err(RpcFailure::Timeout) });
        }
    }
}

#[test]
fn an_observer_replicates_as_a_follower_does() {
    for is_controller in [true, false] {
        let setup = Setup { voters: vec![2, 3], is_controller, ..Setup::default() };
        let (mut observer, _) = Setup { state: Some(epoch(5)), ..setup }.start();
        let (rpc, fetch) = observer.follow(2, 5);
        assert_eq!(fetch.replica_state.replica_id, 1);
        let more =
            fetch_response::PartitionData { records: Some(batch(10, 5, 2)), ..from_leader(10) };
        let actions = observer.answer_fetch(rpc, more);
        assert!(matches!(&actions[0], Action::AppendLog { batch } if batch.end_offset == 12));
        let (_, fetch) = sent_fetch(&observer.synced()).expect("the next fetch");
        assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 12);
    }
}

#[test]
fn a_voter_without_a_leader_asks_for_one_and_follows_whom_it_is_named() {
    for error in [ErrorCode::None, ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch] {
        let (mut voter, actions) = Setup { state: Some(epoch(5)), ..Setup::default() }.start();
        let (rpc, fetch) = sent_fetch(&actions).expect("a fetch");
        let p = &fetch.topics[0].partitions[0];
        assert_eq!((p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch), (5, 10, 4));
        let answer = fetch_response::PartitionData {
            error_code: error.code(),
            current_leader: leader_is(3, 5),
            ..Default::default()
        };
        voter.answer_fetch(rpc, answer);
        assert_eq!((voter.raft.role(), voter.raft.leader()), (Role::Follower, Some((3, 5))));
    }
    // Nobody is known there: it waits, and stands in the end.
    let (mut voter, actions) = Setup { state: Some(epoch(5)), ..Setup::default() }.start();
    let (rpc, _) = sent_fetch(&actions).expect("a fetch");
    let nobody = fetch_response::PartitionData {
        error_code: ErrorCode::NotLeaderOrFollower.code(),
        current_leader: leader_is(-1, 5),
        high_watermark: -1,
        ..Default::default()
    };
    voter.answer_fetch(rpc, nobody);
    assert_eq!((voter.raft.role(), voter.raft.leader()), (Role::Unattached, None));
    voter.until(Role::Prospective);
}

/// A replica that knows no voters, or none that answer, asks the bootstrap servers in turn.
#[test]
fn bootstrap_servers_are_asked_in_turn_until_one_names_the_leader() {
    let servers = vec![("b1".to_owned(), 1234), ("b2".to_owned(), 1234)];
    let setup = Setup { voters: vec![], dynamic: false, state: Some(epoch(3)), ..Setup::default() };
    let (mut observer, mut actions) =
        Setup { bootstrap_servers: servers, log: LogSummary::default(), ..setup }.start();
    let mut asked = Vec::new();
    for _ in 0..6 {
        while sent_fetch(&actions).is_none() {
            actions = observer.timeout();
        }
        let (rpc, fetch) = sent_fetch(&actions).expect("a fetch");
        let p = &fetch.topics[0].partitions[0];
        assert_eq!((p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch), (3, 0, 0));
        let to = actions.iter().find_map(|a| match a {
            Action::Send { to, .. } => Some((to.node, to.host.clone())),
            _ => None,
        });
        asked.push(to.expect("somebody"));
        assert_eq!(observer.raft.role(), Role::Unattached);
        let failed = fetch_response::PartitionData {
            error_code: ErrorCode::UnknownServerError.code(),
            current_leader: leader_is(-1, -1),
            ..Default::default()
        };
        actions = observer.answer_fetch(rpc, failed);
        assert!(sent_fetch(&actions).is_none_or(|_| asked.len() % 2 == 1), "a pause for each");
    }
    assert!(asked.iter().all(|(node, _)| node.is_none()), "servers have no id: {asked:?}");
    for name in ["b1", "b2"] {
        assert_eq!(asked.iter().filter(|(_, host)| host == name).count(), 3, "{asked:?}");
    }
    while sent_fetch(&actions).is_none() {
        actions = observer.timeout();
    }
    let (rpc, _) = sent_fetch(&actions).expect("a fetch");
    let response = FetchResponse {
        responses: vec![fetch_response::FetchableTopicResponse {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![fetch_response::PartitionData {
                error_code: ErrorCode::FencedLeaderEpoch.code(),
                current_leader: leader_is(7, 5),
                ..Default::default()
            }],
            ..Default::default()
        }],
        node_endpoints: vec![fetch_response::NodeEndpoint {
            node_id: 7,
            host: "n7".into(),
            port: 9093,
            ..Default::default()
        }],
        ..Default::default()
    };
    let result = Ok(PeerResponse::Fetch(response));
    let actions = observer.step(Event::Response { rpc, result });
    assert_eq!(observer.raft.leader(), Some((7, 5)));
    assert!(sent_fetch(&actions).is_some(), "it fetches from there");
}

/// Kafka asks a bootstrap server as soon as a call to the leader fails; ours asks the leader again, and
/// around when the fetch timeout is over.
#[test]
fn an_observer_that_loses_its_leader_asks_around_after_the_fetch_timeout() {
    for failure in [RpcFailure::Timeout, RpcFailure::Refused] {
        let setup = Setup { voters: vec![2, 3, 4], state: Some(epoch(5)), ..Setup::default() };
        let (mut observer, _) = setup.start();
        let (rpc, _) = observer.follow(2, 5);
        let start = observer.ms;
        let mut actions = observer.step(Event::Response { rpc, result: Err(failure) });
        while observer.raft.role() == Role::Follower {
            if let Some((rpc, _)) = sent_fetch(&actions) {
                actions = observer.step(Event::Response { rpc, result: Err(failure) });
            } else {
                actions = observer.timeout();
            }
        }
        assert_eq!((observer.raft.role(), observer.ms - start), (Role::Unattached, 2000));
        let mut asked = Vec::new();
        for _ in 0..10 {
            for (rpc, to, ()) in
                sent(&actions, |r| matches!(r, PeerRequest::Fetch(_)).then_some(()))
            {
                asked.push(to);
                observer.step(Event::Response { rpc, result: Err(failure) });
            }
            actions = observer.timeout();
        }
        assert!(asked.contains(&3) && asked.contains(&4), "{failure:?}: {asked:?}");
        while sent_fetch(&actions).is_none() {
            actions = observer.timeout();
        }
        let (rpc, _) = sent_fetch(&actions).expect("a fetch");
        let answer = fetch_response::PartitionData {
            error_code: ErrorCode::NotLeaderOrFollower.code(),
            current_leader: leader_is(2, 5),
            ..Default::default()
        };
        observer.answer_fetch(rpc, answer);
        assert_eq!(observer.raft.leader(), Some((2, 5)));
    }
}

#[test]
fn a_leader_may_tell_of_more_listeners_at_any_time() {
    let mut follower = replica(epoch(4));
    follower.follow(2, 5);
    assert_eq!(follower.raft.leader_endpoint("SECOND"), None);
    let told = begin::LeaderEndpoint {
        name: "SECOND".into(),
        host: "s2".into(),
        port: 8,
        ..Default::default()
    };
    let first = begin::LeaderEndpoint {
        name: "CONTROLLER".into(),
        host: "n2".into(),
        port: 9093,
        ..Default::default()
    };
    let request =
        BeginQuorumEpochRequest { leader_endpoints: vec![first, told], ..begin_request(2, 5) };
    let actions = follower.ask(1, PeerRequest::BeginQuorumEpoch(request));
    let AnyResponse::BeginQuorumEpoch(answer) = answered(&actions) else { panic!("{actions:?}") };
    let p = &answer.topics[0].partitions[0];
    assert_eq!((p.error_code, p.leader_id, p.leader_epoch), (0, 2, 5));
    assert_eq!(follower.raft.leader_endpoint("SECOND"), Some((2, "s2", 8)));
}

/// Requests name the cluster, or none; an empty or another name is refused as a whole.
#[test]
fn a_cluster_id_may_be_left_out_but_not_be_another() {
    let named = |cluster: Option<&'static str>| cluster.map(Into::into);
    let of = |cluster: Option<&'static str>| -> Vec<PeerRequest> {
        let vote = VoteRequest { cluster_id: named(cluster), ..vote(2, 5).request() };
        let asked = VoteRequest {
            cluster_id: named(cluster),
            ..Ask { log: at(10, 4), ..pre_vote(2, 5) }.request()
        };
        let begin = BeginQuorumEpochRequest { cluster_id: named(cluster), ..begin_request(2, 5) };
        let end = EndQuorumEpochRequest {
            cluster_id: named(cluster),
            topics: vec![end::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![end::PartitionData {
                    leader_id: 2,
                    leader_epoch: 5,
                    preferred_successors: vec![3, 1],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let fetch = FetchRequest { cluster_id: named(cluster), ..fetch_by(key(3), 5, 10, 4) };
        let chunk = FetchSnapshotRequest {
            cluster_id: named(cluster),
            topics: vec![snapshot::TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![snapshot::PartitionSnapshot {
                    current_leader_epoch: 5,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        vec![
            PeerRequest::Vote(vote),
            PeerRequest::Vote(asked),
            PeerRequest::BeginQuorumEpoch(begin),
            PeerRequest::EndQuorumEpoch(end),
            PeerRequest::Fetch(fetch),
            PeerRequest::FetchSnapshot(chunk),
        ]
    };
    let whole = |response: &AnyResponse| match response {
        AnyResponse::Vote(r) => (r.error_code, r.topics.len()),
        AnyResponse::BeginQuorumEpoch(r) => (r.error_code, r.topics.len()),
        AnyResponse::EndQuorumEpoch(r) => (r.error_code, r.topics.len()),
        AnyResponse::Fetch(r) => (r.error_code, r.responses.len()),
        AnyResponse::FetchSnapshot(r) => (r.error_code, r.topics.len()),
        other => panic!("{other:?}"),
    };
    let refused = ErrorCode::InconsistentClusterId.code();
    for (cluster, answer) in [
        (Some(CLUSTER), (0, 1)),
        (None, (0, 1)),
        (Some(""), (refused, 0)),
        (Some("invalid-uuid"), (refused, 0)),
    ] {
        for request in of(cluster) {
            let mut follower = replica(epoch(4));
            follower.follow(2, 5);
            let version = if matches!(request, PeerRequest::Fetch(_)) { 18 } else { 1 };
            let actions = follower.ask(version, request.clone());
            assert_eq!(whole(&answered(&actions)), answer, "{cluster:?}: {request:?}");
        }
    }
    // DescribeQuorum names no cluster.
    let mut follower = replica(epoch(4));
    let request = DescribeQuorumRequest::default();
    let actions = follower.ask(2, PeerRequest::DescribeQuorum(request));
    assert!(matches!(answered(&actions), AnyResponse::DescribeQuorum(_)));
}

/// Everybody who asks the wrong replica is told whom to ask.
#[test]
fn refusals_name_the_leader_and_the_epoch() {
    let mut follower = replica(epoch(4));
    follower.follow(2, 5);
    let chunk = |epoch: i32| {
        PeerRequest::FetchSnapshot(FetchSnapshotRequest {
            topics: vec![snapshot::TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![snapshot::PartitionSnapshot {
                    current_leader_epoch: epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    for (epoch, error) in [
        (4, ErrorCode::FencedLeaderEpoch),
        (5, ErrorCode::NotLeaderOrFollower),
        (6, ErrorCode::UnknownLeaderEpoch),
    ] {
        let AnyResponse::FetchSnapshot(answer) = answered(&follower.ask(1, chunk(epoch))) else {
            panic!("another answer")
        };
        let p = &answer.topics[0].partitions[0];
        assert_eq!(p.error_code, error.code());
        assert_eq!((p.current_leader.leader_id, p.current_leader.leader_epoch), (2, 5));
        assert_eq!(answer.node_endpoints[0].node_id, 2);
        let fetch = fetch_by(key(3), epoch, 10, 4);
        let AnyResponse::Fetch(answer) = answered(&follower.ask(18, PeerRequest::Fetch(fetch)))
        else {
            panic!("another answer")
        };
        let p = &answer.responses[0].partitions[0];
        assert_eq!(p.error_code, error.code());
        assert_eq!((p.current_leader.leader_id, p.current_leader.leader_epoch), (2, 5));
        assert_eq!(answer.node_endpoints[0].node_id, 2);
    }
    for bad in [
        Ask { log: at(-5, 0), ..vote(3, 6) },
        Ask { log: at(0, -1), ..vote(3, 6) },
        Ask { log: at(0, 6), ..vote(3, 6) },
        Ask { log: at(0, 7), ..pre_vote(3, 6) },
    ] {
        let (answer, _) = follower.vote(bad);
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
        assert_eq!((answer.leader_id, answer.leader_epoch), (2, 5), "and nothing has changed");
    }
    // A vote for another voter: the epoch is news, the rest is a mistake.
    for (epoch, wrong) in [
        (6, Ask { voter: 3, ..vote(3, 6) }),
        (7, Ask { directory: Uuid::from_u128(0xbad), ..vote(3, 7) }),
    ] {
        let (answer, _) = follower.vote(wrong);
        assert_eq!(answer.error_code, ErrorCode::InvalidVoterKey.code());
        assert_eq!(
            (answer.vote_granted, answer.leader_id, answer.leader_epoch),
            (false, -1, epoch)
        );
    }
}
