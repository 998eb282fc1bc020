//! DescribeQuorum as a leader answers it (KIP-595, KIP-836, KIP-853): where everybody is, and since when.

mod replica;

use quorate_protocol::messages::{
    DescribeQuorumRequest, describe_quorum_request as describe,
    describe_quorum_response::PartitionData,
};
use replica::*;

const WALL: i64 = 1_700_000_000_000;

fn ask(replica: &mut Replica) -> PartitionData {
    let topics = vec![describe::TopicData {
        topic_name: TOPIC.into(),
        partitions: vec![Default::default()],
        ..Default::default()
    }];
    let request = DescribeQuorumRequest { topics, ..Default::default() };
    let actions = replica.ask(2, PeerRequest::DescribeQuorum(request));
    let AnyResponse::DescribeQuorum(answer) = answered(&actions) else { panic!("{actions:?}") };
    assert_eq!(answer.error_code, 0);
    answer.topics[0].partitions[0].clone()
}

/// Id, whether a directory id is told, log end, last fetch and last caught up (after the start of the clock).
type Row = (NodeId, bool, i64, i64, i64);

fn rows(list: &[quorate_protocol::messages::describe_quorum_response::ReplicaState]) -> Vec<Row> {
    let since = |ms: i64| if ms < 0 { ms } else { ms - WALL };
    let row = |r: &quorate_protocol::messages::describe_quorum_response::ReplicaState| {
        let known = r.replica_directory_id != Uuid::ZERO;
        let (fetched, caught_up) = (r.last_fetch_timestamp, r.last_caught_up_timestamp);
        (r.replica_id, known, r.log_end_offset, since(fetched), since(caught_up))
    };
    list.iter().map(row).collect()
}

fn leading(dynamic: bool) -> Replica {
    let (mut leader, _) = Setup { dynamic, state: Some(epoch(4)), ..Setup::default() }.start();
    leader.lead();
    leader.synced();
    leader
}

#[test]
fn voters_are_described_before_and_after_they_fetch() {
    for dynamic in [false, true] {
        let mut leader = leading(dynamic);
        let end = leader.raft.log_end().offset;
        let t0 = leader.ms as i64;
        let told = ask(&mut leader);
        assert_eq!((told.leader_id, told.leader_epoch, told.high_watermark), (1, 5, -1));
        let nothing = |id| (id, dynamic, -1, -1, -1);
        let me = |end, at| (1, dynamic, end, at, at);
        assert_eq!(rows(&told.current_voters), [me(end, t0), nothing(2), nothing(3)]);
        assert_eq!(rows(&told.observers), []);

        leader.ms += 100;
        leader.fetched(2, end);
        leader.append(2);
        leader.synced();
        leader.ms += 100;
        let told = ask(&mut leader);
        assert_eq!(told.high_watermark, end);
        let two = (2, dynamic, end, t0 + 100, t0 + 100);
        assert_eq!(rows(&told.current_voters), [me(end + 2, t0 + 200), two, nothing(3)]);

        leader.ms += 100;
        leader.fetched(3, end + 2);
        leader.ms += 100;
        let told = ask(&mut leader);
        assert_eq!(told.high_watermark, end + 2);
        let three = (3, dynamic, end + 2, t0 + 300, t0 + 300);
        assert_eq!(rows(&told.current_voters), [me(end + 2, t0 + 400), two, three]);

        // One that fell back, say on a lost disk: told as it is, and nothing is taken back.
        leader.ms += 100;
        leader.fetched(3, end + 1);
        let told = ask(&mut leader);
        assert_eq!(told.high_watermark, end + 2);
        let three = (3, dynamic, end + 1, t0 + 500, t0 + 300);
        assert_eq!(rows(&told.current_voters), [me(end + 2, t0 + 500), two, three]);

        // Who leads no more describes nothing.
        leader.step(Event::TransferLeader { to: None });
        let told = ask(&mut leader);
        assert_eq!(told.error_code, ErrorCode::NotLeaderOrFollower.code());
        assert_eq!((told.current_voters.len(), told.observers.len()), (0, 0));
    }
}

#[test]
fn observers_are_described_until_they_are_silent_for_five_minutes() {
    for dynamic in [false, true] {
        let mut leader = leading(dynamic);
        let end = leader.raft.log_end().offset;
        leader.fetched(2, end);
        leader.ms += 100;
        leader.fetched(9, 0);
        let t1 = leader.ms as i64;
        assert_eq!(rows(&ask(&mut leader).observers), [(9, true, 0, t1, -1)]);
        leader.ms += 100;
        leader.fetched(9, end);
        let t2 = leader.ms as i64;
        assert_eq!(rows(&ask(&mut leader).observers), [(9, true, end, t2, t2)]);
        leader.ms += 100;
        leader.append(2);
        leader.synced();
        assert_eq!(rows(&ask(&mut leader).observers), [(9, true, end, t2, t2)], "it falls behind");
        // A fetch without an id is nobody's.
        let anonymous = ReplicaKey { id: -1, directory_id: None };
        leader.ask(18, PeerRequest::Fetch(fetch_by(anonymous, 5, 0, 0)));
        assert_eq!(ask(&mut leader).observers.len(), 1);
        while leader.ms < t2 as u64 + 299_000 {
            leader.ms += 1_000;
            leader.fetched(2, end);
            leader.step(Event::Timeout);
        }
        leader.ms = t2 as u64 + 299_999;
        leader.fetched(2, end);
        assert_eq!(ask(&mut leader).observers.len(), 1);
        leader.ms += 2;
        leader.fetched(2, end);
        assert_eq!(ask(&mut leader).observers.len(), 0);
        assert_eq!(leader.raft.role(), Role::Leader);
    }
}
