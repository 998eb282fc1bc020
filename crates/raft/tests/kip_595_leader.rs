//! KIP-595 as a leader sees it: who is told that it leads, who keeps it leading, and how it goes.

mod replica;

use quorate_protocol::messages::{
    EndQuorumEpochResponse, FetchSnapshotRequest, end_quorum_epoch_response as end_answer,
    fetch_snapshot_request as snapshot,
};
use replica::*;

/// Node 1 leads epoch 5 among these; its log ends at 11.
fn leading(voters: &[NodeId]) -> Replica {
    let (mut replica, _) =
        Setup { voters: voters.to_vec(), state: Some(epoch(4)), ..Setup::default() }.start();
    let mut actions = replica.until(Role::Prospective);
    while replica.raft.role() != Role::Leader {
        let asked = sent_votes(&actions);
        let in_advance = replica.raft.role();
        for (rpc, _) in asked {
            if replica.raft.role() == in_advance {
                let answer = granted(replica.raft.epoch());
                actions = replica.step(Event::Response { rpc, result: Ok(answer) });
            }
        }
    }
    assert_eq!(replica.raft.log_end(), at(11, 5));
    replica
}

fn end_acknowledged(epoch: i32) -> PeerResponse {
    PeerResponse::EndQuorumEpoch(EndQuorumEpochResponse {
        topics: vec![end_answer::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![end_answer::PartitionData {
                leader_id: 1,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Lets the time pass, `to` milliseconds, timer by timer.
fn pass(replica: &mut Replica, ms: u64) -> Vec<Action> {
    let end = replica.ms + ms;
    let mut actions = Vec::new();
    while let Some((at, _)) = replica.raft.next_timeout()
        && at.as_nanos() <= end * 1_000_000
    {
        replica.ms = replica.ms.max(at.as_nanos().div_ceil(1_000_000));
        actions.extend(replica.step(Event::Timeout));
    }
    replica.ms = end;
    actions
}

fn names(told: &[(RpcId, NodeId)]) -> Vec<NodeId> {
    told.iter().map(|(_, id)| *id).collect()
}

/// Every half fetch timeout, until it fetches.
#[test]
fn who_does_not_fetch_is_told_on_a_beat() {
    let (mut leader, _) = Setup { state: Some(epoch(4)), ..Setup::default() }.start();
    let actions = leader.until(Role::Prospective);
    let actions = leader.votes_for_me(&actions);
    let actions = leader.votes_for_me(&actions);
    let told = told_begin(&actions);
    assert_eq!(names(&told), [2, 3]);
    for (rpc, _) in told {
        leader.step(Event::Response { rpc, result: Ok(begin_acknowledged(1, 5)) });
    }
    assert_eq!(told_begin(&pass(&mut leader, 999)), []);
    let told = told_begin(&pass(&mut leader, 1));
    assert_eq!(names(&told), [2, 3]);
    for (rpc, _) in told {
        leader.step(Event::Response { rpc, result: Ok(begin_acknowledged(1, 5)) });
    }
    pass(&mut leader, 333);
    leader.fetched(2, 10);
    let told = told_begin(&pass(&mut leader, 667));
    assert_eq!(names(&told), [3], "2 has fetched");
    leader.step(Event::Response { rpc: told[0].0, result: Ok(begin_acknowledged(1, 5)) });
    leader.fetched(2, 10);
    assert_eq!(names(&told_begin(&pass(&mut leader, 1000))), [2, 3]);
}

/// The request was lost, and its voter found the leader by itself: nobody tells it again.
#[test]
fn a_fetch_is_an_acknowledgement_of_the_leader() {
    for failure in [RpcFailure::Timeout, RpcFailure::Disconnected] {
        let (mut leader, _) = Setup { state: Some(epoch(4)), ..Setup::default() }.start();
        let actions = leader.until(Role::Prospective);
        let actions = leader.votes_for_me(&actions);
        let told = told_begin(&leader.votes_for_me(&actions));
        leader.ms += 500;
        leader.fetched(2, 10);
        leader.ms += 400;
        let (rpc, _) = told[0];
        leader.step(Event::Response { rpc, result: Err(failure) });
        let again = told_begin(&pass(&mut leader, 590));
        assert!(!names(&again).contains(&2), "{failure:?}: {again:?}");
    }
}

#[test]
fn a_begin_that_is_lost_does_not_stand_in_for_the_next() {
    let (mut leader, _) = Setup { state: Some(epoch(4)), ..Setup::default() }.start();
    let actions = leader.until(Role::Prospective);
    let actions = leader.votes_for_me(&actions);
    let actions = leader.votes_for_me(&actions);
    let start = leader.ms;
    let timeout = actions.iter().find_map(|a| match a {
        Action::Send { request: PeerRequest::BeginQuorumEpoch(_), timeout, .. } => Some(*timeout),
        _ => None,
    });
    assert_eq!(timeout.map(|t| t.as_millis()), Some(1000), "half a fetch timeout");
    let mut told = told_begin(&actions);
    for beat in 1..=5 {
        leader.fetched(2, 10);
        leader.ms = start + 1000 * beat;
        let mut next = Vec::new();
        for (rpc, _) in told {
            let result = Err(RpcFailure::Timeout);
            next.extend(told_begin(&leader.step(Event::Response { rpc, result })));
        }
        assert!(names(&next).contains(&3), "beat {beat}: no pause that grows");
        told = next;
    }
}

/// Fetches of voters, and their requests for parts of a snapshot; not those of observers.
#[test]
fn a_leader_that_no_majority_asks_resigns_after_one_and_a_half_fetch_timeouts() {
    let chunk = |id: NodeId| {
        PeerRequest::FetchSnapshot(FetchSnapshotRequest {
            cluster_id: Some(CLUSTER.into()),
            replica_id: id,
            max_bytes: 1000,
            topics: vec![snapshot::TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![snapshot::PartitionSnapshot {
                    current_leader_epoch: 5,
                    snapshot_id: snapshot::SnapshotId {
                        end_offset: 10,
                        epoch: 4,
                        ..Default::default()
                    },
                    replica_directory_id: key(id).directory_id.unwrap_or_default(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    for by_snapshot in [false, true] {
        let setup = Setup { snapshots: vec![at(10, 4)], state: Some(epoch(4)), ..Setup::default() };
        let (mut leader, _) = setup.start();
        leader.lead();
        let ask = |leader: &mut Replica, id: NodeId| match by_snapshot {
            true => leader.ask(1, chunk(id)),
            false => leader.fetched(id, 10),
        };
        for voter in [2, 3] {
            pass(&mut leader, 1500);
            assert_eq!(leader.raft.role(), Role::Leader);
            ask(&mut leader, voter);
        }
        pass(&mut leader, 1500);
        assert_eq!(leader.raft.role(), Role::Leader, "3 was in touch half of the time ago");
        ask(&mut leader, 9);
        let actions = pass(&mut leader, 1499);
        assert_eq!(leader.raft.role(), Role::Leader);
        assert!(!actions.contains(&Action::LostLeadership { epoch: 5 }));
        let actions = pass(&mut leader, 1);
        assert_eq!(leader.raft.role(), Role::Resigned, "an observer keeps nobody leading");
        assert!(actions.contains(&Action::LostLeadership { epoch: 5 }));
        assert_eq!(persisted(&actions), Vec::<&ElectionState>::new(), "it led this epoch");
    }
}

#[test]
fn of_five_voters_two_must_be_in_touch() {
    let mut leader = leading(&[1, 2, 3, 4, 5]);
    pass(&mut leader, 1500);
    leader.fetched(2, 10);
    leader.fetched(3, 10);
    pass(&mut leader, 1500);
    // One voter and an observer are no two voters.
    leader.fetched(4, 10);
    leader.fetched(9, 10);
    pass(&mut leader, 1499);
    assert_eq!(leader.raft.role(), Role::Leader);
    pass(&mut leader, 1);
    assert_eq!(leader.raft.role(), Role::Resigned);
}

/// The most complete log first.
#[test]
fn who_resigns_names_its_successors_and_asks_until_each_has_heard() {
    let mut leader = leading(&[1, 2, 3]);
    leader.fetched(2, 11);
    leader.append(2);
    leader.fetched(3, 13);
    let actions = leader.step(Event::TransferLeader { to: None });
    let told = told_end(&actions);
    assert_eq!(told.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [3, 2]);
    for (_, _, request) in &told {
        let p = &request.topics[0].partitions[0];
        assert_eq!((p.leader_id, p.leader_epoch), (1, 5));
        assert_eq!(p.preferred_successors, [3, 2]);
        let candidates: Vec<_> = p.preferred_candidates.iter().map(|c| c.candidate_id).collect();
        assert_eq!(candidates, [3, 2]);
    }
    let (rpc, ..) = told[0];
    let actions = leader.step(Event::Response { rpc, result: Ok(end_acknowledged(5)) });
    assert_eq!(told_end(&actions).len(), 0);
    // 2 does not answer; 3 is not told twice.
    leader.ms += 500;
    let (rpc, ..) = told[1];
    let mut again =
        told_end(&leader.step(Event::Response { rpc, result: Err(RpcFailure::Timeout) }));
    again.extend(told_end(&pass(&mut leader, 100)));
    assert_eq!(again.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [2]);
    let (rpc, ..) = again[0];
    leader.step(Event::Response { rpc, result: Ok(end_acknowledged(5)) });
    assert_eq!(told_end(&pass(&mut leader, 200)).len(), 0, "all have heard");
    assert_eq!(leader.raft.role(), Role::Resigned);
}

/// What a resigned leader answers, and what it does when nobody comes forward.
#[test]
fn a_resigned_leader_serves_nobody_and_asks_again_after_an_election_timeout() {
    let mut resigned = leading(&[1, 2]);
    let told = told_end(&resigned.step(Event::TransferLeader { to: None }));
    resigned.step(Event::Response { rpc: told[0].0, result: Ok(end_acknowledged(5)) });
    let anonymous = ReplicaKey { id: -1, directory_id: None };
    let actions = resigned.ask(18, PeerRequest::Fetch(fetch_by(anonymous, 5, 0, 0)));
    let AnyResponse::Fetch(answer) = answered(&actions) else { panic!("{actions:?}") };
    let p = &answer.responses[0].partitions[0];
    assert_eq!(p.error_code, ErrorCode::NotLeaderOrFollower.code());
    // Differs from Kafka, which names the one that has resigned.
    assert_eq!((p.current_leader.leader_id, p.current_leader.leader_epoch), (-1, 5));
    let (answer, _) = resigned.vote(Ask { log: at(11, 5), ..vote(2, 5) });
    assert!(!answer.vote_granted, "it led this epoch");
    let (answer, _) = resigned.vote(Ask { log: at(11, 5), ..pre_vote(2, 5) });
    assert!(answer.vote_granted);
    let start = resigned.ms;
    let actions = resigned.until(Role::Prospective);
    assert!((1000..=2000).contains(&(resigned.ms - start)), "{} ms", resigned.ms - start);
    assert_eq!(resigned.raft.epoch(), 5, "asking first uses up no epoch");
    assert_eq!(sent_votes(&actions).len(), 1);
}

#[test]
fn parked_fetches_are_refused_when_the_leader_resigns_or_follows() {
    for resigns in [true, false] {
        let mut leader = leading(&[1, 2, 3]);
        let waiting = FetchRequest { max_wait_ms: 500, ..fetch_by(key(2), 5, 11, 5) };
        let actions = leader.ask(18, PeerRequest::Fetch(waiting));
        assert_eq!(actions, vec![], "parked");
        let actions = if resigns { leader.step(Event::Shutdown) } else { leader.begin(3, 6).1 };
        let refused = actions.iter().find_map(|a| match a {
            Action::Respond { response: AnyResponse::Fetch(r), .. } => Some(r.clone()),
            _ => None,
        });
        let p = refused.expect("an answer").responses[0].partitions[0].clone();
        assert_eq!(p.error_code, ErrorCode::NotLeaderOrFollower.code());
        assert_eq!(p.records, Some(Bytes::new()));
        let leader = if resigns { (-1, 5) } else { (3, 6) };
        assert_eq!((p.current_leader.leader_id, p.current_leader.leader_epoch), leader);
    }
}

/// Voters are woken by the append, as commits wait for them; observers by the commit, with both in one
/// answer.
#[test]
fn parked_fetches_are_answered_by_what_their_replica_waits_for() {
    let mut leader = leading(&[1, 2, 3]);
    leader.synced();
    leader.fetched(3, 11);
    for id in [2, 9] {
        let waiting = FetchRequest { max_wait_ms: 500, ..fetch_by(key(id), 5, 11, 5) };
        assert_eq!(leader.ask(18, PeerRequest::Fetch(waiting)), vec![], "parked");
    }
    let reads = |actions: &[Action]| -> Vec<_> {
        let read = |a: &Action| match a {
            Action::RespondFetch { response, read, .. } => {
                let p = &response.responses[0].partitions[0];
                Some((read.from, read.end, p.high_watermark, p.current_leader.leader_id))
            }
            _ => None,
        };
        actions.iter().filter_map(read).collect()
    };
    let actions = leader.append(3);
    assert_eq!(reads(&actions), [(11, 14, 11, 1)], "the voter");
    assert_eq!(reads(&leader.synced()), []);
    let actions = leader.fetched(2, 14);
    assert!(actions.contains(&Action::HighWatermark { offset: 14 }));
    assert_eq!(reads(&actions), [(11, 14, 14, 1)], "the observer");
}

/// A replica of every version of the request counts, by whichever field has its name.
#[test]
fn a_voters_fetch_commits_at_every_version() {
    for version in 13..=18 {
        let mut leader = leading(&[1, 2]);
        leader.synced();
        assert_eq!(leader.raft.high_watermark(), None, "version {version}");
        let mut request = fetch_by(key(2), 5, 11, 5);
        if version < 15 {
            request.replica_id = 2;
            request.replica_state.replica_id = -1;
        }
        if version < 17 {
            request.topics[0].partitions[0].replica_directory_id = Uuid::ZERO;
        }
        leader.ask(version, PeerRequest::Fetch(request));
        assert_eq!(leader.raft.high_watermark(), Some(11), "version {version}");
    }
}

#[test]
fn the_first_batch_names_those_who_voted() {
    use quorate_protocol::batch::batches;
    use quorate_protocol::control::{ControlRecord, control_records};
    let mut replica = replica(epoch(4));
    let actions = replica.until(Role::Prospective);
    let actions = replica.votes_for_me(&actions);
    let asked = sent_votes(&actions);
    let (rpc, request) = asked[1].clone();
    let voter = request.voter_id;
    let actions = replica.step(Event::Response { rpc, result: Ok(granted(5)) });
    let batch = actions.iter().find_map(|a| match a {
        Action::AppendLog { batch } => Some(batch.clone()),
        _ => None,
    });
    let batch = batch.expect("a first batch");
    assert_eq!((batch.base_offset, batch.end_offset, batch.epoch), (10, 11, 5));
    assert_eq!(batch.append_time_ms, 1_700_000_000_000 + replica.ms as i64);
    let parsed = batches(batch.bytes).next().expect("a batch").expect("a good batch");
    let mut granting = vec![1, voter];
    granting.sort_unstable();
    let change = ControlRecord::LeaderChange {
        leader_id: 1,
        voters: vec![1, 2, 3],
        granting_voters: granting,
    };
    assert_eq!(control_records(&parsed).expect("control records"), vec![(10, change)]);
}
