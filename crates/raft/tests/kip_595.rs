//! One of three voters, asked and answered by hand: KIP-595 (and 996) rule by rule.

mod replica;

use replica::*;

#[test]
fn a_vote_is_persisted_before_it_is_given() {
    let mut replica = replica(epoch(4));
    let (answer, actions) = replica.vote(vote(2, 5));
    assert!(answer.vote_granted);
    assert_eq!((answer.leader_id, answer.leader_epoch), (-1, 5));
    let place = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted);
    let vote = place(
        &|a| matches!(a, Action::PersistElectionState(s) if s.epoch == 5 && s.voted == Some(key(2))),
    );
    let answered = place(&|a| matches!(a, Action::Respond { .. }));
    assert!(vote.expect("persisted") < answered.expect("answered"));
}

#[test]
fn one_vote_an_epoch() {
    let mut replica = replica(epoch(4));
    assert!(replica.vote(vote(2, 5)).0.vote_granted);
    assert!(!replica.vote(vote(3, 5)).0.vote_granted, "another in the same epoch");
    let (again, actions) = replica.vote(vote(2, 5));
    assert!(again.vote_granted, "the same asks again");
    assert_eq!(persisted(&actions), Vec::<&ElectionState>::new());
    assert!(replica.vote(vote(3, 6)).0.vote_granted, "another epoch");
}

#[test]
fn a_vote_is_remembered_over_a_restart() {
    let mut replica = replica(ElectionState { voted: Some(key(2)), ..epoch(5) });
    assert!(!replica.vote(vote(3, 5)).0.vote_granted);
    assert!(replica.vote(vote(2, 5)).0.vote_granted);
}

#[test]
fn no_vote_in_an_epoch_that_has_a_leader() {
    let mut follower = replica(ElectionState { leader: Some(3), ..epoch(5) });
    assert!(!follower.vote(vote(2, 5)).0.vote_granted);
    // Least of all if this replica was that leader.
    let mut resigned = replica(ElectionState { leader: Some(1), ..epoch(5) });
    assert_eq!(resigned.raft.role(), Role::Resigned);
    assert!(!resigned.vote(vote(2, 5)).0.vote_granted);
    assert!(resigned.vote(pre_vote(2, 5)).0.vote_granted);
}

#[test]
fn no_vote_for_a_log_that_is_behind() {
    let mut replica = replica(epoch(4));
    for log in [at(9, 4), at(99, 3), at(0, 0)] {
        let (answer, _) = replica.vote(Ask { log, ..vote(2, 6) });
        assert!(!answer.vote_granted, "{log}");
        assert_eq!(answer.leader_epoch, 6, "the epoch is taken over all the same");
    }
    assert!(replica.vote(Ask { log: at(3, 5), ..vote(3, 6) }).0.vote_granted);
}

#[test]
fn vote_errors() {
    let mut replica = replica(epoch(5));
    let code = |p: vote_response::PartitionData| ErrorCode::from_code(p.error_code);
    let (old, _) = replica.vote(Ask { log: at(9, 3), ..vote(2, 4) });
    assert_eq!(code(old.clone()), Some(ErrorCode::FencedLeaderEpoch));
    assert_eq!(old.leader_epoch, 5);
    for bad in [
        Ask { log: at(10, 6), ..vote(2, 6) },
        Ask { log: at(10, 7), ..pre_vote(2, 6) },
        Ask { log: at(-1, 4), ..vote(2, 6) },
        Ask { log: at(10, -1), ..vote(2, 6) },
        vote(-2, 6),
    ] {
        assert_eq!(code(replica.vote(bad).0), Some(ErrorCode::InvalidRequest));
    }
    let other = Ask { voter: 3, ..vote(2, 6) };
    assert_eq!(code(replica.vote(other).0), Some(ErrorCode::InvalidVoterKey));
    let other = Ask { directory: Uuid::from_u128(0xbad), ..vote(2, 6) };
    assert_eq!(code(replica.vote(other).0), Some(ErrorCode::InvalidVoterKey));
    assert!(replica.vote(Ask { voter: -1, ..vote(2, 7) }).0.vote_granted, "nobody in particular");

    let mut foreign = vote(2, 8).request();
    foreign.cluster_id = Some("AAAAAAAAAAAAAAAAAAAAAA".into());
    let mut elsewhere = vote(2, 8).request();
    elsewhere.topics[0].topic_name = "payments".into();
    for (request, error) in
        [(foreign, ErrorCode::InconsistentClusterId), (elsewhere, ErrorCode::InvalidRequest)]
    {
        let actions = replica.ask(2, PeerRequest::Vote(request));
        let [Action::Respond { response: AnyResponse::Vote(r), .. }] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        assert_eq!(r.error_code, error.code());
        assert!(r.topics.is_empty());
    }
    assert_eq!(replica.raft.epoch(), 7);
}

/// KIP-996: a pre-vote changes nothing.
#[test]
fn a_pre_vote_takes_no_vote() {
    let mut replica = replica(epoch(5));
    let (answer, actions) = replica.vote(pre_vote(2, 5));
    assert!(answer.vote_granted);
    assert_eq!(persisted(&actions), Vec::<&ElectionState>::new());
    assert!(replica.vote(pre_vote(3, 5)).0.vote_granted, "several may get one");
    assert!(!replica.vote(Ask { log: at(9, 4), ..pre_vote(3, 5) }).0.vote_granted);
}

/// KIP-996: a follower grants pre-votes until it has fetched from the leader.
#[test]
fn a_follower_that_hears_its_leader_refuses_pre_votes() {
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    assert!(replica.vote(pre_vote(3, 5)).0.vote_granted);
    let answer = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: -1,
        ..Default::default()
    };
    replica.answer_fetch(rpc, answer);
    assert!(!replica.vote(pre_vote(3, 5)).0.vote_granted);
    assert!(!replica.vote(vote(3, 5)).0.vote_granted);
}

#[test]
fn an_election_asks_in_advance_then_for_real() {
    let mut replica = replica(epoch(4));
    let actions = replica.until(Role::Prospective);
    assert_eq!(replica.raft.epoch(), 4, "asking in advance raises no epoch");
    assert_eq!(persisted(&actions), Vec::<&ElectionState>::new());
    let asked = sent_votes(&actions);
    assert_eq!(asked.len(), 2);
    for (_, request) in &asked {
        let p = &request.topics[0].partitions[0];
        assert!(p.pre_vote);
        assert_eq!((p.replica_epoch, p.last_offset, p.last_offset_epoch), (4, 10, 4));
    }
    let actions = replica.votes_for_me(&actions);
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 5));
    let votes: Vec<_> = persisted(&actions).iter().map(|s| (s.epoch, s.voted)).collect();
    assert_eq!(votes, vec![(5, Some(key(1)))]);
    let asked = sent_votes(&actions);
    assert!(asked.iter().all(|(_, r)| !r.topics[0].partitions[0].pre_vote));
    let actions = replica.votes_for_me(&actions);
    assert_eq!(replica.raft.leader(), Some((1, 5)));
    assert!(actions.contains(&Action::BecameLeader { epoch: 5, start_offset: 10 }));
    let told = actions
        .iter()
        .filter(|a| matches!(a, Action::Send { request: PeerRequest::BeginQuorumEpoch(_), .. }));
    assert_eq!(told.count(), 2);
    // Its own sync is no majority.
    replica.step(Event::Persisted { end: at(11, 5) });
    assert_eq!(replica.raft.high_watermark(), None);
}

/// Kafka 3.9 has no pre-vote.
#[test]
fn a_peer_without_pre_vote_makes_it_stand_at_once() {
    let mut replica = replica(epoch(4));
    let actions = replica.until(Role::Prospective);
    let (rpc, _) = sent_votes(&actions)[0].clone();
    let result = Err(RpcFailure::UnsupportedVersion);
    replica.step(Event::Response { rpc, result });
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Candidate, 5));
}

#[test]
fn a_leader_that_hears_of_a_newer_epoch_steps_down_and_tells_those_who_wait() {
    let mut replica = replica(epoch(4));
    replica.lead();
    let parked = FetchRequest {
        max_wait_ms: 500,
        max_bytes: 1000,
        replica_state: quorate_protocol::messages::fetch_request::ReplicaState {
            replica_id: 2,
            ..Default::default()
        },
        topics: vec![quorate_protocol::messages::fetch_request::FetchTopic {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![quorate_protocol::messages::fetch_request::FetchPartition {
                current_leader_epoch: 5,
                fetch_offset: 11,
                last_fetched_epoch: 5,
                high_watermark: i64::MAX,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let actions = replica.ask(17, PeerRequest::Fetch(parked));
    assert!(!actions.iter().any(|a| matches!(a, Action::Respond { .. })), "parked");
    let (answer, actions) = replica.vote(vote(3, 9));
    assert!(!answer.vote_granted, "its log is behind");
    let place = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted).expect("there");
    let persisted = place(&|a| matches!(a, Action::PersistElectionState(s) if s.epoch == 9));
    let lost = place(&|a| *a == Action::LostLeadership { epoch: 5 });
    let told = place(&|a| match a {
        Action::Respond { response: AnyResponse::Fetch(r), .. } => {
            let p = &r.responses[0].partitions[0];
            p.error_code == ErrorCode::NotLeaderOrFollower.code()
                && p.current_leader.leader_epoch == 9
        }
        _ => false,
    });
    assert!(persisted < lost && lost < told);
}

#[test]
fn begin_quorum_epoch_makes_a_follower() {
    let mut replica = replica(epoch(4));
    let (rpc, fetch) = replica.follow(2, 5);
    assert_eq!(fetch.replica_state.replica_id, 1);
    assert_eq!((fetch.max_wait_ms, fetch.min_bytes), (500, 0));
    let p = &fetch.topics[0].partitions[0];
    assert_eq!((p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch), (5, 10, 4));
    assert_eq!((p.high_watermark, p.partition_max_bytes), (-1, 0));
    assert_eq!(replica.raft.leader_endpoint("controller"), Some((2, "n2", 9093)));
    assert_eq!(replica.begin(2, 5).0, ErrorCode::None, "told again");
    assert_eq!(replica.begin(3, 5).0, ErrorCode::InvalidRequest, "two leaders in one epoch");
    assert_eq!(replica.begin(2, 4).0, ErrorCode::FencedLeaderEpoch);
    assert_eq!(replica.begin(1, 6).0, ErrorCode::InvalidRequest, "we do not lead");
    assert_eq!(replica.raft.leader(), Some((2, 5)));
    assert_eq!(replica.begin(3, 6).0, ErrorCode::None);
    assert_eq!(replica.raft.leader(), Some((3, 6)));
    let late = replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            high_watermark: 10,
            ..Default::default()
        },
    );
    assert_eq!(late, vec![], "an answer of an earlier leader means nothing");
}

#[test]
fn end_quorum_epoch_lets_the_first_successor_stand_at_once() {
    let mut first = replica(epoch(4));
    first.follow(2, 5);
    let actions = first.end(2, 5, &[1, 3]);
    assert_eq!((first.raft.role(), first.raft.epoch()), (Role::Candidate, 6));
    assert!(sent_votes(&actions).iter().all(|(_, r)| !r.topics[0].partitions[0].pre_vote));

    let mut second = replica(epoch(4));
    second.follow(2, 5);
    second.end(2, 5, &[3, 1]);
    assert_eq!(second.raft.role(), Role::Follower);
    assert_eq!(second.raft.leader(), None);
    let start = second.ms;
    second.until(Role::Prospective);
    assert!(second.ms - start < 200, "it waits {} ms", second.ms - start);
}

#[test]
fn a_follower_acknowledges_only_what_it_has_synced() {
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    let records = encode_data_batch(10, 5, 1_700_000_000_000, &[Bytes::from_static(b"x")]);
    let actions = replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            high_watermark: 10,
            records: Some(records.clone()),
            ..Default::default()
        },
    );
    let Action::AppendLog { batch } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((batch.base_offset, batch.end_offset, &batch.bytes), (10, 11, &records));
    assert_eq!(actions[1..], [Action::HighWatermark { offset: 10 }]);
    let actions = replica.step(Event::Persisted { end: at(11, 5) });
    let (_, fetch) = sent_fetch(&actions).expect("the next fetch");
    assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 11);
    assert_eq!(fetch.topics[0].partitions[0].high_watermark, 10);
}

#[test]
fn what_a_follower_does_not_take() {
    let data = |base: i64, epoch: i32| {
        encode_data_batch(base, epoch, 1_700_000_000_000, &[Bytes::from_static(b"x")])
    };
    let mut broken = data(10, 5).to_vec();
    if let Some(last) = broken.last_mut() {
        *last ^= 1;
    }
    let cut = data(10, 5).slice(..40);
    for (records, what) in [
        (data(11, 5), "a hole"),
        (data(10, 3), "an older epoch than the log's"),
        (data(10, 6), "an epoch that has not begun"),
        (Bytes::from(broken), "a wrong checksum"),
        (cut, "half a batch"),
        (Bytes::from_static(b"nonsense"), "nonsense"),
    ] {
        let mut replica = replica(epoch(4));
        let (rpc, _) = replica.follow(2, 5);
        let actions = replica.answer_fetch(
            rpc,
            fetch_response::PartitionData {
                current_leader: leader_is(2, 5),
                high_watermark: -1,
                records: Some(records),
                ..Default::default()
            },
        );
        assert!(!actions.iter().any(|a| matches!(a, Action::AppendLog { .. })), "{what}");
        assert_eq!(replica.raft.log_end(), at(10, 4), "{what}");
    }
}

#[test]
fn a_follower_truncates_where_it_diverges_but_never_what_is_committed() {
    let diverging = |epoch: i32, end_offset: i64| fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: -1,
        diverging_epoch: fetch_response::EpochEndOffset { epoch, end_offset, ..Default::default() },
        ..Default::default()
    };
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    let actions = replica.answer_fetch(rpc, diverging(4, 9));
    assert_eq!(actions[0], Action::TruncateLog { to: at(9, 4) });
    let (rpc, fetch) = sent_fetch(&actions).expect("the next fetch");
    assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 9);
    let known = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: 8,
        ..Default::default()
    };
    let actions = replica.answer_fetch(rpc, known);
    assert_eq!(actions[0], Action::HighWatermark { offset: 8 });
    let (rpc, _) = sent_fetch(&actions).expect("the next fetch");
    let actions = replica.answer_fetch(rpc, diverging(2, 7));
    let [Action::Log { message, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(message.contains("the leader has lost data"), "offset 7 is committed: {message}");
    assert_eq!(replica.raft.log_end(), at(9, 4));
    let again = replica.timeout();
    assert!(sent_fetch(&again).is_some(), "it asks again after a pause");
}

#[test]
fn an_answer_naming_another_leader_is_followed() {
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    let actions = replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            error_code: ErrorCode::FencedLeaderEpoch.code(),
            current_leader: leader_is(3, 7),
            ..Default::default()
        },
    );
    assert_eq!(replica.raft.leader(), Some((3, 7)));
    assert_eq!(persisted(&actions).iter().map(|s| s.leader).collect::<Vec<_>>(), vec![Some(3)]);
    assert!(sent_fetch(&actions).is_some());
}

#[test]
fn a_leader_is_told_nothing_by_its_own_name() {
    // Only a replica that lost its disk can hear that it leads. It must not lead, nor vote.
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            error_code: ErrorCode::FencedLeaderEpoch.code(),
            current_leader: leader_is(1, 7),
            ..Default::default()
        },
    );
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Unattached, 7));
    assert!(!replica.vote(vote(2, 7)).0.vote_granted);
}
