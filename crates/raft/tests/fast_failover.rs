//! What makes a lost leader be replaced in tens of milliseconds: doubt, support of another's doubt, and
//! elections that end as soon as they are decided.

mod replica;

use quorate_protocol::messages::{VoteResponse, vote_response};
use replica::*;

fn refused(leader: i32, epoch: i32) -> PeerResponse {
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
        ..Default::default()
    })
}

/// A follower of 2 in epoch 5 whose fetch was answered once; the next one is under way.
fn following() -> (Replica, RpcId) {
    let mut follower = replica(epoch(4));
    let (rpc, _) = follower.follow(2, 5);
    let news = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: 10,
        ..Default::default()
    };
    let actions = follower.answer_fetch(rpc, news);
    let (rpc, _) = sent_fetch(&actions).expect("the next fetch");
    (follower, rpc)
}

fn to(votes: &[(RpcId, VoteRequest)], voter: NodeId) -> Option<RpcId> {
    votes.iter().find(|(_, request)| request.voter_id == voter).map(|(rpc, _)| *rpc)
}

#[test]
fn a_follower_that_doubts_its_leader_supports_another_that_asks() {
    let (mut follower, _) = following();
    assert!(!follower.vote(pre_vote(3, 5)).0.vote_granted, "it hears its leader");
    follower.step(Event::PeerDown { node: 2 });
    assert!(follower.vote(pre_vote(3, 5)).0.vote_granted, "the connection is lost");
    assert_eq!(follower.raft.leader(), Some((2, 5)), "a pre-vote gives nothing up");
}

#[test]
fn a_late_answer_is_enough_to_support_another_that_asks() {
    let (mut follower, _) = following();
    follower.ms += 600;
    assert!(!follower.vote(pre_vote(3, 5)).0.vote_granted, "a leader may keep a fetch for 500 ms");
    follower.ms += 60;
    assert!(follower.vote(pre_vote(3, 5)).0.vote_granted);
}

#[test]
fn a_leader_that_answers_again_is_doubted_no_more() {
    let (mut follower, rpc) = following();
    follower.step(Event::PeerDown { node: 2 });
    let lost = Err(RpcFailure::Disconnected);
    follower.step(Event::Response { rpc, result: lost });
    let actions = (0..5).map(|_| follower.timeout()).find(|a| !sent_votes(a).is_empty());
    let votes = sent_votes(&actions.expect("it asks the others"));
    let rpc = to(&votes, 3).expect("3 is asked");
    let actions = follower.step(Event::Response { rpc, result: Ok(refused(2, 5)) });
    assert_eq!(follower.raft.role(), Role::Follower, "its vote is not waited for");
    let (rpc, fetch) = sent_fetch(&actions).expect("the leader is asked at once");
    assert_eq!(fetch.max_wait_ms, 0, "any answer will do, and soon");
    let news = fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: 10,
        ..Default::default()
    };
    let actions = follower.answer_fetch(rpc, news);
    let (_, fetch) = sent_fetch(&actions).expect("the next fetch");
    assert_eq!(fetch.max_wait_ms, 500);
    assert!(!follower.vote(pre_vote(3, 5)).0.vote_granted);
}

#[test]
fn a_doubt_that_was_not_shared_comes_back_while_the_leader_is_silent() {
    let (mut follower, _) = following();
    follower.ms += 820;
    let votes = sent_votes(&follower.step(Event::Timeout));
    assert_eq!(follower.raft.role(), Role::Prospective);
    let first = follower.ms;
    let rpc = to(&votes, 3).expect("3 is asked");
    follower.step(Event::Response { rpc, result: Ok(refused(2, 5)) });
    assert_eq!(follower.raft.role(), Role::Follower);
    follower.until(Role::Prospective);
    let pause = follower.ms - first;
    assert!((80..=400).contains(&pause), "{pause} ms: not another overdue fetch");
}

#[test]
fn a_voter_that_was_asked_too_early_is_asked_again_when_it_asks_itself() {
    // Five voters: 3 refuses because it has not noticed yet; the others are silent.
    let setup = Setup { voters: vec![1, 2, 3, 4, 5], state: Some(epoch(4)), ..Setup::default() };
    let (mut prospective, _) = setup.start();
    let votes = sent_votes(&prospective.until(Role::Prospective));
    let rpc = to(&votes, 3).expect("3 is asked");
    prospective.step(Event::Response { rpc, result: Ok(refused(-1, 4)) });
    let (answer, actions) = prospective.vote(Ask { log: at(9, 4), ..pre_vote(3, 4) });
    assert!(!answer.vote_granted, "its log is shorter");
    assert!(to(&sent_votes(&actions), 3).is_some(), "but now it will support this one");
    let (_, actions) = prospective.vote(Ask { log: at(9, 4), ..pre_vote(4, 4) });
    assert_eq!(sent_votes(&actions), vec![], "4 has been asked and has not answered");
}

#[test]
fn a_refused_election_does_not_wait_a_whole_timeout_for_the_silent() {
    let setup = Setup { voters: vec![1, 2, 3, 4, 5], state: Some(epoch(4)), ..Setup::default() };
    let (mut prospective, _) = setup.start();
    let votes = sent_votes(&prospective.until(Role::Prospective));
    let deadline = |r: &Replica| {
        let (at, _) = r.raft.next_timeout().expect("a timeout");
        at.as_nanos() / 1_000_000 - r.ms
    };
    assert!(deadline(&prospective) >= 1000);
    let rpc = to(&votes, 3).expect("3 is asked");
    prospective.step(Event::Response { rpc, result: Ok(refused(-1, 4)) });
    assert_eq!(prospective.raft.role(), Role::Prospective, "it could still be won");
    let first = deadline(&prospective);
    assert!((125..=250).contains(&first), "{first} ms");
    let again = (0..20).find_map(|_| to(&sent_votes(&prospective.timeout()), 3));
    let rpc = again.expect("3 is asked again");
    prospective.step(Event::Response { rpc, result: Ok(refused(-1, 4)) });
    let second = deadline(&prospective);
    assert!((250..=500).contains(&second), "{second} ms: the others may be far away");
}

#[test]
fn an_election_that_only_unreachable_voters_could_win_is_over() {
    let (mut prospective, _) = Setup { state: Some(epoch(4)), ..Setup::default() }.start();
    let votes = sent_votes(&prospective.until(Role::Prospective));
    let (two, three) = (to(&votes, 2).expect("2 is asked"), to(&votes, 3).expect("3 is asked"));
    prospective.step(Event::Response { rpc: two, result: Err(RpcFailure::Refused) });
    assert_eq!(prospective.raft.role(), Role::Prospective, "3 has not answered");
    prospective.step(Event::Response { rpc: three, result: Ok(refused(-1, 4)) });
    assert_eq!(prospective.raft.role(), Role::Unattached);
    let (at, _) = prospective.raft.next_timeout().expect("a timeout");
    assert!(at.as_nanos() / 1_000_000 - prospective.ms <= 80, "and it is tried again soon");
}

#[test]
fn who_refuses_a_shorter_log_stands_soon() {
    let mut refuser = replica(epoch(4));
    assert!(!refuser.vote(Ask { log: at(9, 4), ..vote(3, 6) }).0.vote_granted);
    assert_eq!((refuser.raft.role(), refuser.raft.epoch()), (Role::Unattached, 6));
    let refused_at = refuser.ms;
    refuser.until(Role::Prospective);
    assert!(refuser.ms - refused_at <= 21, "after {} ms", refuser.ms - refused_at);
    // Not for a stranger, and not where it is switched off.
    let mut calm = replica(epoch(4));
    assert!(!calm.vote(Ask { log: at(9, 4), ..vote(9, 6) }).0.vote_granted);
    let refused_at = calm.ms;
    calm.until(Role::Prospective);
    assert!(calm.ms - refused_at >= 500, "after {} ms", calm.ms - refused_at);
}
