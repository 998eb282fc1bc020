//! KIP-996: asking in advance. Named after the behaviours of Kafka's own tests of it.

mod replica;

use quorate_protocol::messages::{VoteResponse, vote_response};
use replica::*;

fn empty() -> LogSummary {
    LogSummary::default()
}

fn refused(leader: i32, epoch: i32) -> PeerResponse {
    let node = vote_response::NodeEndpoint {
        node_id: leader,
        host: format!("n{leader}").into(),
        port: 9093,
        ..Default::default()
    };
    PeerResponse::Vote(VoteResponse {
        topics: vec![vote_response::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![vote_response::PartitionData {
                leader_id: leader,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        node_endpoints: if leader >= 0 { vec![node] } else { vec![] },
        ..Default::default()
    })
}

fn prospective() -> (Replica, Vec<(RpcId, VoteRequest)>) {
    let mut replica = replica(epoch(4));
    let actions = replica.until(Role::Prospective);
    let votes = sent_votes(&actions);
    (replica, votes)
}

#[test]
fn every_role_answers_a_pre_vote_of_its_epoch() {
    let mut unattached = replica(epoch(5));
    assert!(unattached.vote(pre_vote(2, 5)).0.vote_granted, "unattached");
    let mut voted = replica(ElectionState { voted: Some(key(2)), ..epoch(5) });
    assert!(voted.vote(pre_vote(3, 5)).0.vote_granted, "a vote given binds real votes only");
    let mut knows_leader = replica(ElectionState { leader: Some(3), ..epoch(5) });
    assert!(
        knows_leader.vote(pre_vote(2, 5)).0.vote_granted,
        "it has not fetched from that leader"
    );
    let (mut asking, _) = prospective();
    assert!(asking.vote(pre_vote(2, 4)).0.vote_granted, "prospective");
    let mut candidate = replica(epoch(4));
    let actions = candidate.until(Role::Prospective);
    candidate.votes_for_me(&actions);
    assert_eq!(candidate.raft.role(), Role::Candidate);
    assert!(candidate.vote(pre_vote(2, 5)).0.vote_granted, "candidate");
    let mut resigned = replica(ElectionState { leader: Some(1), ..epoch(5) });
    assert!(resigned.vote(pre_vote(2, 5)).0.vote_granted, "resigned");
    let mut leader = replica(epoch(4));
    leader.lead();
    let log = leader.raft.log_end();
    let (answer, _) = leader.vote(Ask { log, ..pre_vote(2, 5) });
    assert!(!answer.vote_granted, "a leader needs no other");
    assert_eq!((answer.leader_id, answer.leader_epoch), (1, 5));
}

#[test]
fn a_leader_refuses_the_pre_vote_of_a_replica_that_is_no_voter() {
    let mut leader = replica(epoch(4));
    leader.lead();
    let log = leader.raft.log_end();
    assert!(!leader.vote(Ask { log, ..pre_vote(9, 5) }).0.vote_granted);
    assert_eq!(leader.raft.role(), Role::Leader);
    assert!(leader.vote(Ask { log, ..vote(9, 6) }).0.vote_granted, "but a later epoch counts");
    assert_eq!((leader.raft.role(), leader.raft.epoch()), (Role::Unattached, 6));
}

#[test]
fn an_observer_grants_pre_votes_as_a_voter_does() {
    let observer = || Setup { voters: vec![2, 3, 4], state: Some(epoch(5)), ..Setup::default() };
    let (mut unattached, _) = observer().start();
    assert!(unattached.vote(pre_vote(2, 5)).0.vote_granted);
    let (mut follower, _) = observer().start();
    let (rpc, _) = follower.follow(2, 5);
    let news = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: -1,
        ..Default::default()
    };
    follower.answer_fetch(rpc, news);
    assert!(!follower.vote(pre_vote(3, 5)).0.vote_granted, "it hears its leader");
}

#[test]
fn malformed_pre_votes_are_refused() {
    let mut replica = replica(epoch(5));
    let code = |p: vote_response::PartitionData| ErrorCode::from_code(p.error_code);
    let old = replica.vote(Ask { log: at(9, 3), ..pre_vote(2, 4) }).0;
    assert_eq!(code(old), Some(ErrorCode::FencedLeaderEpoch));
    for bad in [
        Ask { log: at(10, 7), ..pre_vote(2, 6) },
        Ask { log: at(-1, 4), ..pre_vote(2, 5) },
        Ask { log: at(10, -1), ..pre_vote(2, 5) },
        pre_vote(-2, 5),
    ] {
        assert_eq!(code(replica.vote(bad).0), Some(ErrorCode::InvalidRequest));
    }
    let other = Ask { voter: 3, ..pre_vote(2, 5) };
    assert_eq!(code(replica.vote(other).0), Some(ErrorCode::InvalidVoterKey));
    let other = Ask { directory: Uuid::from_u128(0xbad), ..pre_vote(2, 5) };
    assert_eq!(code(replica.vote(other).0), Some(ErrorCode::InvalidVoterKey));
    // Unlike a real vote, a pre-vote's epoch may be that of its last record.
    assert!(replica.vote(Ask { log: at(10, 5), ..pre_vote(2, 5) }).0.vote_granted);
    let mut foreign = pre_vote(2, 5).request();
    foreign.cluster_id = Some("AAAAAAAAAAAAAAAAAAAAAA".into());
    let actions = replica.ask(2, PeerRequest::Vote(foreign));
    let [Action::Respond { response: AnyResponse::Vote(r), .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(r.error_code, ErrorCode::InconsistentClusterId.code());
}

#[test]
fn a_prospective_that_loses_becomes_unattached_and_asks_again() {
    let (mut replica, votes) = prospective();
    for (rpc, _) in votes {
        replica.step(Event::Response { rpc, result: Ok(refused(-1, 4)) });
    }
    assert_eq!((replica.raft.role(), replica.raft.epoch()), (Role::Unattached, 4));
    replica.until(Role::Prospective);
    assert_eq!(replica.raft.epoch(), 4);
}

#[test]
fn a_prospective_that_nobody_answers_asks_on_without_using_up_epochs() {
    let (mut replica, votes) = prospective();
    let start = replica.ms;
    let mut open: Vec<RpcId> = votes.into_iter().map(|(rpc, _)| rpc).collect();
    let mut asked = 0;
    while replica.ms < start + 10_000 {
        for rpc in std::mem::take(&mut open) {
            let actions = replica.step(Event::Response { rpc, result: Err(RpcFailure::Timeout) });
            open.extend(sent_votes(&actions).into_iter().map(|(rpc, _)| rpc));
        }
        open.extend(sent_votes(&replica.timeout()).into_iter().map(|(rpc, _)| rpc));
        asked += open.len();
        assert!(matches!(replica.raft.role(), Role::Prospective | Role::Unattached));
        assert_eq!(replica.raft.epoch(), 4);
    }
    assert!((10..400).contains(&asked), "asked {asked} times in ten seconds");
}

#[test]
fn a_prospective_follows_the_leader_that_a_refusal_names() {
    let (mut same, votes) = prospective();
    let actions = same.step(Event::Response { rpc: votes[0].0, result: Ok(refused(3, 4)) });
    assert_eq!(same.raft.leader(), Some((3, 4)));
    assert!(sent_fetch(&actions).is_some());
    let (mut later, votes) = prospective();
    later.step(Event::Response { rpc: votes[0].0, result: Ok(refused(3, 9)) });
    assert_eq!(later.raft.leader(), Some((3, 9)));
    let (mut nobody, votes) = prospective();
    nobody.step(Event::Response { rpc: votes[0].0, result: Ok(refused(-1, 9)) });
    assert_eq!((nobody.raft.role(), nobody.raft.epoch()), (Role::Unattached, 9));
}

#[test]
fn a_prospective_that_gave_its_leader_up_goes_back_to_it() {
    let mut replica = replica(epoch(4));
    replica.follow(2, 5);
    let actions = replica.until(Role::Prospective);
    for (rpc, _) in sent_votes(&actions) {
        if replica.raft.role() == Role::Prospective {
            replica.step(Event::Response { rpc, result: Ok(refused(2, 5)) });
        }
    }
    assert_eq!((replica.raft.role(), replica.raft.leader()), (Role::Follower, Some((2, 5))));
}

/// Its time is over, the others refuse and name nobody, or they name a later leader.
#[test]
fn a_prospective_with_a_leader_ends_as_a_follower() {
    let doubting = || {
        let mut replica = replica(epoch(4));
        replica.follow(2, 5);
        let votes = sent_votes(&replica.until(Role::Prospective));
        assert_eq!((votes.len(), replica.raft.leader()), (2, Some((2, 5))));
        (replica, votes)
    };
    let (mut alone, _) = doubting();
    let start = alone.ms;
    let actions = alone.until(Role::Follower);
    assert!((1000..=2000).contains(&(alone.ms - start)), "{} ms", alone.ms - start);
    assert_eq!(alone.raft.leader(), Some((2, 5)));
    assert!(sent_fetch(&actions).is_some());
    let (mut refused_by_all, votes) = doubting();
    let mut actions = Vec::new();
    for (rpc, _) in votes {
        actions.extend(refused_by_all.step(Event::Response { rpc, result: Ok(refused(-1, 5)) }));
    }
    assert_eq!(refused_by_all.raft.role(), Role::Follower);
    assert_eq!(refused_by_all.raft.leader(), Some((2, 5)));
    assert!(sent_fetch(&actions).is_some());
    let (mut told, votes) = doubting();
    let actions = told.step(Event::Response { rpc: votes[0].0, result: Ok(refused(3, 6)) });
    assert_eq!((told.raft.role(), told.raft.leader()), (Role::Follower, Some((3, 6))));
    let states: Vec<_> = persisted(&actions).iter().map(|s| (s.epoch, s.leader)).collect();
    assert_eq!(states, [(6, Some(3))]);
}

#[test]
fn a_prospective_hears_of_its_leader_by_begin_quorum_epoch() {
    let (mut replica, votes) = prospective();
    assert_eq!(replica.begin(2, 4).0, ErrorCode::None);
    assert_eq!(replica.raft.leader(), Some((2, 4)));
    let late = replica.step(Event::Response { rpc: votes[0].0, result: Ok(granted(4)) });
    assert_eq!(late, vec![], "pre-votes that come later mean nothing");
    assert_eq!(replica.raft.role(), Role::Follower);
}

#[test]
fn a_prospective_grants_real_votes() {
    let mut free = replica(epoch(5));
    free.until(Role::Prospective);
    assert!(free.vote(vote(3, 5)).0.vote_granted, "in its own epoch, in which it has not voted");
    assert_eq!((free.raft.role(), free.raft.epoch()), (Role::Unattached, 5));
    let mut voted = replica(ElectionState { voted: Some(key(2)), ..epoch(5) });
    voted.until(Role::Prospective);
    assert!(!voted.vote(vote(3, 5)).0.vote_granted, "that vote is given");
    assert!(voted.vote(vote(2, 5)).0.vote_granted);
    let (mut later, _) = prospective();
    assert!(later.vote(vote(3, 8)).0.vote_granted);
    assert_eq!((later.raft.role(), later.raft.epoch()), (Role::Unattached, 8));
}

/// A vote goes to a replica on its disk, if that is known; a pre-vote to whoever has the log for it.
#[test]
fn a_vote_is_given_again_to_the_very_same_replica_only() {
    let ask = |id: NodeId, directory: Option<u128>, pre: bool| {
        let mut request = Ask { pre, ..vote(id, 5) }.request();
        let named = directory.map_or(Uuid::ZERO, Uuid::from_u128);
        request.topics[0].partitions[0].replica_directory_id = named;
        request
    };
    let own = 0xd002;
    let unknown = ReplicaKey { id: 2, directory_id: None };
    for prospective in [false, true] {
        for (voted, cases) in [
            (
                key(2),
                [
                    (2, Some(own), true),
                    (2, Some(7), false),
                    (2, None, false),
                    (3, Some(own), false),
                ],
            ),
            (
                unknown,
                [(2, Some(own), true), (2, Some(7), true), (2, None, true), (3, None, false)],
            ),
        ] {
            for (id, directory, granted) in cases {
                for pre in [false, true] {
                    let mut replica = replica(ElectionState { voted: Some(voted), ..epoch(5) });
                    if prospective {
                        replica.until(Role::Prospective);
                    }
                    let actions = replica.ask(2, PeerRequest::Vote(ask(id, directory, pre)));
                    let AnyResponse::Vote(answer) = answered(&actions) else { panic!() };
                    let given = answer.topics[0].partitions[0].vote_granted;
                    assert_eq!(given, granted || pre, "{voted}: {id} {directory:?} pre {pre}");
                    let states = persisted(&actions);
                    assert!(states.iter().all(|s| s.voted == Some(voted)), "{states:?}");
                }
            }
        }
    }
}

#[test]
fn answers_to_a_fetch_mean_nothing_to_a_prospective() {
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    replica.until(Role::Prospective);
    let late = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: 10,
        ..Default::default()
    };
    assert_eq!(replica.answer_fetch(rpc, late), vec![]);
    assert_eq!((replica.raft.role(), replica.raft.high_watermark()), (Role::Prospective, None));
}

#[test]
fn two_voters_need_both() {
    let (mut two, _) = Setup { voters: vec![1, 2], ..Setup::default() }.start();
    let actions = two.until(Role::Prospective);
    assert_eq!(sent_votes(&actions).len(), 1);
    let actions = two.votes_for_me(&actions);
    assert_eq!(two.raft.role(), Role::Candidate);
    let (rpc, _) = sent_votes(&actions)[0].clone();
    let epoch = two.raft.epoch();
    two.step(Event::Response { rpc, result: Ok(refused(-1, epoch)) });
    assert_eq!(two.raft.role(), Role::Candidate, "lost: it waits, and leads nothing");
    two.until(Role::Prospective);
}

#[test]
fn an_empty_log_grants_pre_votes_to_empty_logs_until_all_are_known() {
    let new = || Setup { state: None, log: empty(), ..Setup::default() };
    let (mut replica, actions) = new().start();
    let probes = sent_votes(&actions);
    assert_eq!(probes.len(), 2, "it asks the others at once");
    assert!(probes.iter().all(|(_, r)| r.topics[0].partitions[0].pre_vote));
    assert!(replica.vote(Ask { log: at(0, 0), ..pre_vote(2, 0) }).0.vote_granted);
    assert!(!replica.vote(Ask { log: at(5, 1), ..pre_vote(2, 1) }).0.vote_granted);
    assert!(!replica.vote(Ask { log: at(0, 0), ..vote(2, 2) }).0.vote_granted);
    assert!(!replica.vote(Ask { log: at(5, 1), ..vote(3, 3) }).0.vote_granted);
    assert_eq!(replica.raft.role(), Role::Unattached);
}

#[test]
fn an_empty_log_fetches_anonymously_until_enough_are_heard() {
    let (mut replica, actions) = Setup { state: None, log: empty(), ..Setup::default() }.start();
    let probes = sent_votes(&actions);
    // Node 2 names itself the leader of epoch 5.
    let leader = replica.step(Event::Response { rpc: probes[0].0, result: Ok(refused(2, 5)) });
    assert_eq!(replica.raft.leader(), Some((2, 5)));
    let recovering = persisted(&leader).iter().all(|s| s.recovering);
    assert!(recovering, "a restart does not forget that it has forgotten");
    let (_, fetch) = sent_fetch(&leader).expect("a fetch");
    assert_eq!(fetch.replica_state.replica_id, -1);
    assert_eq!(fetch.topics[0].partitions[0].replica_directory_id, Uuid::ZERO);
    let (rpc, to_three) =
        sent_votes(&leader).into_iter().find(|(_, r)| r.voter_id == 3).expect("3 is asked again");
    assert_eq!(to_three.topics[0].partitions[0].replica_epoch, 5);
    replica.step(Event::Response { rpc, result: Ok(refused(2, 5)) });
    let mut named = None;
    for _ in 0..20 {
        let actions = replica.timeout();
        named = named.or(sent_fetch(&actions).filter(|(_, r)| r.replica_state.replica_id == 1));
    }
    assert!(named.is_some(), "with both heard it acknowledges under its name");
    assert!(!replica.vote(Ask { log: at(50, 5), ..vote(3, 6) }).0.vote_granted, "not yet");
}
