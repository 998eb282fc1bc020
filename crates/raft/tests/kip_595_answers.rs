//! Answers that make no sense: nothing is taken from them, the peer is asked again after a pause,
//! and the operator is told who, what and why; once.

mod replica;

use quorate_protocol::messages::{
    BeginQuorumEpochResponse, EndQuorumEpochResponse, FetchSnapshotResponse,
    begin_quorum_epoch_response as begin, fetch_snapshot_response as snapshot,
};
use replica::*;

fn lines<'a>(actions: &'a [Action]) -> Vec<&'a str> {
    let log = |action: &'a Action| match action {
        Action::Log { message, .. } => Some(message.as_str()),
        _ => None,
    };
    actions.iter().filter_map(log).collect()
}

fn fetched() -> fetch_response::PartitionData {
    fetch_response::PartitionData {
        current_leader: leader_is(2, 5),
        high_watermark: -1,
        ..Default::default()
    }
}

#[test]
fn a_senseless_fetch_answer_is_told_once_and_asked_again_after_a_pause() {
    let snapshot =
        |end_offset, epoch| fetch_response::SnapshotId { end_offset, epoch, ..Default::default() };
    let part = |epoch, end_offset| fetch_response::EpochEndOffset {
        epoch,
        end_offset,
        ..Default::default()
    };
    let data = |base| encode_data_batch(base, 5, 1_700_000_000_000, &[Bytes::from_static(b"x")]);
    let with =
        |records: Bytes| fetch_response::PartitionData { records: Some(records), ..fetched() };
    for (answer, why) in [
        (
            fetch_response::PartitionData { snapshot_id: snapshot(0, 0), ..fetched() },
            "it offers a snapshot",
        ),
        (
            fetch_response::PartitionData { snapshot_id: snapshot(20, -1), ..fetched() },
            "it offers a snapshot",
        ),
        (
            fetch_response::PartitionData { snapshot_id: snapshot(20, 6), ..fetched() },
            "it offers a snapshot",
        ),
        (
            fetch_response::PartitionData { diverging_epoch: part(-1, 5), ..fetched() },
            "the point where the logs part",
        ),
        (
            fetch_response::PartitionData { diverging_epoch: part(4, 10), ..fetched() },
            "its log parts from ours",
        ),
        (with(data(11)), "does not follow the log's end"),
        (with(Bytes::from_static(b"nonsense")), "its first batch cannot be read"),
        (with(data(10).slice(..40)), "its first batch cannot be read"),
        (
            fetch_response::PartitionData {
                error_code: ErrorCode::InvalidRequest.code(),
                ..fetched()
            },
            "INVALID_REQUEST",
        ),
    ] {
        let mut replica = replica(epoch(4));
        let (rpc, _) = replica.follow(2, 5);
        let actions = replica.answer_fetch(rpc, answer.clone());
        let [line] = lines(&actions)[..] else { panic!("{why}: {actions:?}") };
        assert!(line.contains(why) && line.contains("node 2 at n2:9093 to Fetch"), "{line}");
        assert!(sent_fetch(&actions).is_none(), "{why}: a pause first");
        assert_eq!(replica.raft.log_end(), at(10, 4), "{why}");
        let again = replica.timeout();
        let (rpc, _) = sent_fetch(&again).expect("asked again");
        let actions = replica.answer_fetch(rpc, answer);
        assert_eq!(lines(&actions), Vec::<&str>::new(), "{why}: told once");
    }
}

/// Found by reading Kafka's tests: any answer put the fetch timeout off, so that a leader which had lost
/// data kept all its followers, and none of them got anything.
#[test]
fn a_leader_that_never_makes_sense_is_given_up_after_the_fetch_timeout() {
    let snapshot_without_epoch = fetch_response::PartitionData {
        snapshot_id: fetch_response::SnapshotId { end_offset: 100, ..Default::default() },
        ..fetched()
    };
    let lost_data = fetch_response::PartitionData {
        diverging_epoch: fetch_response::EpochEndOffset {
            epoch: 2,
            end_offset: 7,
            ..Default::default()
        },
        ..fetched()
    };
    for senseless in [snapshot_without_epoch, lost_data] {
        let mut replica = replica(epoch(4));
        let (rpc, _) = replica.follow(2, 5);
        let committed = fetch_response::PartitionData { high_watermark: 9, ..fetched() };
        let start = replica.ms;
        let mut next = sent_fetch(&replica.answer_fetch(rpc, committed));
        let mut asked = 0;
        while replica.raft.role() == Role::Follower {
            if let Some((rpc, _)) = next {
                asked += 1;
                replica.answer_fetch(rpc, senseless.clone());
            }
            next = sent_fetch(&replica.timeout());
        }
        assert!(asked > 3, "asked {asked} times");
        assert_eq!((replica.raft.role(), replica.ms - start), (Role::Prospective, 2000));
        assert_eq!(replica.raft.log_end(), at(10, 4));
    }
}

#[test]
fn a_peer_that_does_not_lead_any_more_is_no_complaint() {
    for code in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::BrokerNotAvailable,
    ] {
        let mut replica = replica(epoch(4));
        let (rpc, _) = replica.follow(2, 5);
        let answer = fetch_response::PartitionData { error_code: code.code(), ..fetched() };
        assert_eq!(lines(&replica.answer_fetch(rpc, answer)), Vec::<&str>::new(), "{code}");
    }
    for failure in [RpcFailure::Timeout, RpcFailure::Disconnected, RpcFailure::Refused] {
        let mut replica = replica(epoch(4));
        let (rpc, _) = replica.follow(2, 5);
        let actions = replica.step(Event::Response { rpc, result: Err(failure) });
        assert_eq!(lines(&actions), Vec::<&str>::new(), "{failure:?}");
    }
}

#[test]
fn refusals_of_the_whole_request_are_told_whatever_was_asked() {
    let code = ErrorCode::ClusterAuthorizationFailed.code();
    let mut follower = replica(epoch(4));
    let (rpc, _) = follower.follow(2, 5);
    let denied = PeerResponse::Fetch(FetchResponse { error_code: code, ..Default::default() });
    let actions = follower.step(Event::Response { rpc, result: Ok(denied) });
    assert!(lines(&actions)[0].contains("CLUSTER_AUTHORIZATION_FAILED"), "{actions:?}");
    assert_eq!(follower.raft.role(), Role::Follower, "it goes on, and asks again");

    let mut follower = replica(epoch(4));
    let (rpc, _) = follower.follow(2, 5);
    let result = Err(RpcFailure::Authentication);
    let actions = follower.step(Event::Response { rpc, result });
    assert!(lines(&actions)[0].contains("TLS or SASL failed"), "{actions:?}");

    let mut asking = replica(epoch(4));
    let actions = asking.until(Role::Prospective);
    let (rpc, _) = sent_votes(&actions)[0].clone();
    let denied = PeerResponse::Vote(VoteResponse { error_code: code, ..Default::default() });
    let actions = asking.step(Event::Response { rpc, result: Ok(denied) });
    assert!(lines(&actions)[0].contains("to Vote is of no use"), "{actions:?}");

    let mut leader = replica(epoch(4));
    let actions = leader.until(Role::Prospective);
    let actions = leader.votes_for_me(&actions);
    let actions = leader.votes_for_me(&actions);
    let begin = actions.iter().find_map(|a| match a {
        Action::Send { rpc, request: PeerRequest::BeginQuorumEpoch(_), .. } => Some(*rpc),
        _ => None,
    });
    let denied = BeginQuorumEpochResponse { error_code: code, ..Default::default() };
    let result = Ok(PeerResponse::BeginQuorumEpoch(denied));
    let actions = leader.step(Event::Response { rpc: begin.expect("told"), result });
    assert!(lines(&actions)[0].contains("to BeginQuorumEpoch is of no use"), "{actions:?}");
    assert_eq!(leader.raft.role(), Role::Leader);

    let (mut resigned, actions) =
        Setup { state: Some(ElectionState { leader: Some(1), ..epoch(5) }), ..Setup::default() }
            .start();
    let end = actions.iter().find_map(|a| match a {
        Action::Send { rpc, request: PeerRequest::EndQuorumEpoch(_), .. } => Some(*rpc),
        _ => None,
    });
    let denied = EndQuorumEpochResponse { error_code: code, ..Default::default() };
    let result = Ok(PeerResponse::EndQuorumEpoch(denied));
    let actions = resigned.step(Event::Response { rpc: end.expect("told"), result });
    assert!(lines(&actions)[0].contains("to EndQuorumEpoch is of no use"), "{actions:?}");
    let again = resigned.timeout();
    assert!(
        again
            .iter()
            .any(|a| matches!(a, Action::Send { request: PeerRequest::EndQuorumEpoch(_), .. })),
        "it is told again until it acknowledges"
    );
}

#[test]
fn a_begin_answer_of_a_later_epoch_ends_the_term() {
    let mut leader = replica(epoch(4));
    let actions = leader.until(Role::Prospective);
    let actions = leader.votes_for_me(&actions);
    let actions = leader.votes_for_me(&actions);
    let rpc = actions.iter().find_map(|a| match a {
        Action::Send { rpc, request: PeerRequest::BeginQuorumEpoch(_), .. } => Some(*rpc),
        _ => None,
    });
    let answer = BeginQuorumEpochResponse {
        topics: vec![begin::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![begin::PartitionData {
                error_code: ErrorCode::FencedLeaderEpoch.code(),
                leader_id: -1,
                leader_epoch: 9,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let result = Ok(PeerResponse::BeginQuorumEpoch(answer));
    let actions = leader.step(Event::Response { rpc: rpc.expect("told"), result });
    assert!(actions.contains(&Action::LostLeadership { epoch: 5 }));
    assert_eq!((leader.raft.role(), leader.raft.epoch()), (Role::Unattached, 9));
}

/// A follower that was offered the snapshot at offset 20, epoch 5, and the request it sends.
fn downloading() -> (Replica, RpcId) {
    let mut replica = replica(epoch(4));
    let (rpc, _) = replica.follow(2, 5);
    let id = fetch_response::SnapshotId { end_offset: 20, epoch: 5, ..Default::default() };
    let offer = fetch_response::PartitionData { snapshot_id: id, ..fetched() };
    let actions = replica.answer_fetch(rpc, offer);
    let rpc = sent_chunk_request(&actions).expect("it asks for the snapshot");
    (replica, rpc)
}

fn sent_chunk_request(actions: &[Action]) -> Option<RpcId> {
    actions.iter().find_map(|a| match a {
        Action::Send { rpc, request: PeerRequest::FetchSnapshot(_), .. } => Some(*rpc),
        _ => None,
    })
}

fn chunk(position: i64, bytes: &'static [u8], size: i64) -> snapshot::PartitionSnapshot {
    snapshot::PartitionSnapshot {
        snapshot_id: snapshot::SnapshotId { end_offset: 20, epoch: 5, ..Default::default() },
        current_leader: snapshot::LeaderIdAndEpoch {
            leader_id: 2,
            leader_epoch: 5,
            ..Default::default()
        },
        size,
        position,
        unaligned_records: Bytes::from_static(bytes),
        ..Default::default()
    }
}

fn answer_chunk(
    replica: &mut Replica,
    rpc: RpcId,
    chunk: snapshot::PartitionSnapshot,
) -> Vec<Action> {
    let response = FetchSnapshotResponse {
        topics: vec![snapshot::TopicSnapshot {
            name: TOPIC.into(),
            partitions: vec![chunk],
            ..Default::default()
        }],
        ..Default::default()
    };
    replica.step(Event::Response { rpc, result: Ok(PeerResponse::FetchSnapshot(response)) })
}

const ID: OffsetAndEpoch = OffsetAndEpoch { offset: 20, epoch: 5 };

#[test]
fn a_snapshot_comes_in_parts_and_is_installed_when_whole() {
    let (mut replica, rpc) = downloading();
    let actions = answer_chunk(&mut replica, rpc, chunk(0, b"abcd", 6));
    let written = Action::WriteSnapshotChunk { id: ID, position: 0, bytes: Bytes::from("abcd") };
    assert_eq!(actions[0], written);
    let rpc = sent_chunk_request(&actions).expect("the rest");
    let actions = answer_chunk(&mut replica, rpc, chunk(4, b"ef", 6));
    let written = Action::WriteSnapshotChunk { id: ID, position: 4, bytes: Bytes::from("ef") };
    assert_eq!(actions, vec![written, Action::InstallSnapshot { id: ID }]);
    assert_eq!(replica.raft.log_end(), at(10, 4), "not before it is checked");
    let event = Event::SnapshotInstalled { id: ID, voters: None, kraft_version: 0 };
    let actions = replica.step(event);
    assert!(actions.contains(&Action::HighWatermark { offset: 20 }));
    assert_eq!((replica.raft.log_start(), replica.raft.log_end()), (20, ID));
    let (_, fetch) = sent_fetch(&actions).expect("it goes on behind the snapshot");
    assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 20);
}

#[test]
fn a_snapshot_that_is_gone_lets_the_follower_fetch_again() {
    for code in [ErrorCode::SnapshotNotFound, ErrorCode::PositionOutOfRange] {
        let (mut replica, rpc) = downloading();
        let gone = snapshot::PartitionSnapshot { error_code: code.code(), ..chunk(0, b"", 0) };
        let actions = answer_chunk(&mut replica, rpc, gone);
        assert_eq!(actions[0], Action::DiscardSnapshot { id: ID }, "{code}");
        assert!(sent_fetch(&replica.timeout()).is_some(), "{code}");
    }
}

/// Kafka's leader answers so if the snapshot went away while the answer was made.
#[test]
fn a_snapshot_answer_that_names_none_lets_the_follower_fetch_again() {
    for (end_offset, epoch) in [(-1, 5), (20, -1)] {
        let (mut replica, rpc) = downloading();
        let none = snapshot::SnapshotId { end_offset, epoch, ..Default::default() };
        let answer = snapshot::PartitionSnapshot { snapshot_id: none, ..chunk(0, b"", 0) };
        let actions = answer_chunk(&mut replica, rpc, answer);
        assert_eq!(actions, vec![Action::DiscardSnapshot { id: ID }]);
        let (_, fetch) = sent_fetch(&replica.timeout()).expect("a fetch instead");
        let p = &fetch.topics[0].partitions[0];
        assert_eq!((p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch), (5, 10, 4));
    }
}

#[test]
fn a_snapshot_part_that_was_not_asked_for_is_not_written() {
    let other = snapshot::SnapshotId { end_offset: 21, epoch: 5, ..Default::default() };
    for (wrong, what) in [
        (snapshot::PartitionSnapshot { snapshot_id: other, ..chunk(0, b"ab", 4) }, "another id"),
        (chunk(2, b"ab", 4), "another position"),
        (chunk(0, b"abcde", 4), "more than its size"),
        (chunk(0, b"", 4), "nothing"),
        (chunk(-1, b"ab", -4), "negative numbers"),
    ] {
        let (mut replica, rpc) = downloading();
        let actions = answer_chunk(&mut replica, rpc, wrong);
        assert_eq!(lines(&actions).len(), 1, "{what}: {actions:?}");
        assert_eq!(actions.len(), 1, "{what}: {actions:?}");
        assert!(sent_chunk_request(&replica.timeout()).is_some(), "{what}: asked again");
    }
}

#[test]
fn a_snapshot_answer_of_a_later_epoch_ends_the_download() {
    for (leader_id, role) in [(-1, Role::Unattached), (3, Role::Follower), (2, Role::Follower)] {
        let (mut replica, rpc) = downloading();
        let leader =
            snapshot::LeaderIdAndEpoch { leader_id, leader_epoch: 9, ..Default::default() };
        let news = snapshot::PartitionSnapshot {
            error_code: ErrorCode::FencedLeaderEpoch.code(),
            current_leader: leader,
            ..chunk(0, b"", 0)
        };
        let actions = answer_chunk(&mut replica, rpc, news);
        assert_eq!((replica.raft.role(), replica.raft.epoch()), (role, 9));
        assert!(actions.contains(&Action::DiscardSnapshot { id: ID }));
        let (_, fetch) = sent_fetch(&actions).expect("it asks for records again");
        assert_eq!(fetch.topics[0].partitions[0].current_leader_epoch, 9);
        let known = (leader_id >= 0).then_some((leader_id, 9));
        assert_eq!(replica.raft.leader(), known);
    }
    // An answer of an earlier epoch says nothing.
    let (mut replica, rpc) = downloading();
    let leader = snapshot::LeaderIdAndEpoch { leader_id: 3, leader_epoch: 3, ..Default::default() };
    let old = snapshot::PartitionSnapshot {
        error_code: ErrorCode::UnknownLeaderEpoch.code(),
        current_leader: leader,
        ..chunk(0, b"", 0)
    };
    answer_chunk(&mut replica, rpc, old);
    assert_eq!(replica.raft.leader(), Some((2, 5)));
    assert!(sent_chunk_request(&replica.timeout()).is_some(), "it asks for the same again");
    // Nor does one that comes when this replica follows no more.
    let (mut replica, rpc) = downloading();
    replica.vote(vote(3, 9));
    assert_eq!(answer_chunk(&mut replica, rpc, chunk(0, b"ab", 2)), vec![]);
}
