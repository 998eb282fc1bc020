//! What a leader makes of the place that a replica wants to fetch from (KIP-595, KIP-630): records, the point
//! where the logs part, or a snapshot.

mod replica;

use replica::*;

#[derive(Debug, PartialEq)]
enum Answer {
    Records,
    Nothing,
    Parts(i64, i32),
    Snapshot(i64, i32),
    Refused(ErrorCode),
}

/// Leads epoch 9, its own record at the end of this log.
fn leading(start: i64, epochs: &[(i32, i64)], end: i64, snapshots: &[(i64, i32)]) -> Replica {
    let last = epochs.last().map_or(0, |(epoch, _)| *epoch);
    let setup = Setup {
        state: Some(epoch(8)),
        log: LogSummary { start, end: at(end, last), epoch_starts: epochs.to_vec() },
        snapshots: snapshots.iter().map(|(offset, epoch)| at(*offset, *epoch)).collect(),
        ..Setup::default()
    };
    let (mut leader, _) = setup.start();
    leader.lead();
    assert_eq!(leader.raft.log_end(), at(end + 1, 9));
    leader
}

fn answer(leader: &mut Replica, offset: i64, last_epoch: i32) -> Answer {
    let request = fetch_by(key(2), 9, offset, last_epoch);
    let actions = leader.ask(18, PeerRequest::Fetch(request));
    let (answer, records) = actions
        .iter()
        .find_map(|a| match a {
            Action::Respond { response: AnyResponse::Fetch(r), .. } => Some((r.clone(), false)),
            Action::RespondFetch { response, read, .. } => {
                assert_eq!((read.from, read.end), (offset, leader.raft.log_end().offset));
                Some((response.clone(), true))
            }
            _ => None,
        })
        .expect("an answer");
    let p = &answer.responses[0].partitions[0];
    assert_eq!((p.current_leader.leader_id, p.current_leader.leader_epoch), (1, 9));
    assert_eq!(p.log_start_offset, leader.raft.log_start());
    match (p.error_code, p.diverging_epoch.epoch, p.snapshot_id.epoch) {
        (0, -1, -1) if records => Answer::Records,
        (0, -1, -1) => Answer::Nothing,
        (0, _, -1) => Answer::Parts(p.diverging_epoch.end_offset, p.diverging_epoch.epoch),
        (0, -1, _) => Answer::Snapshot(p.snapshot_id.end_offset, p.snapshot_id.epoch),
        (code, _, _) => Answer::Refused(ErrorCode::from_code(code).expect("a known code")),
    }
}

#[test]
fn a_log_from_its_beginning() {
    // 3 records of epoch 1, 3 of epoch 3, 3 of epoch 5.
    let mut leader = leading(0, &[(1, 0), (3, 3), (5, 6)], 9, &[]);
    for (offset, epoch, expected) in [
        (0, 0, Answer::Records),
        (2, 1, Answer::Records),
        (3, 1, Answer::Records),
        (9, 5, Answer::Records),
        (10, 9, Answer::Nothing),
        // An epoch that the leader has not: its last one before that.
        (6, 2, Answer::Parts(3, 1)),
        (4, 4, Answer::Parts(6, 3)),
        (2, 0, Answer::Parts(0, 0)),
        // More records in the epoch than the leader has.
        (4, 1, Answer::Parts(3, 1)),
        (10, 5, Answer::Parts(9, 5)),
        (11, 9, Answer::Parts(10, 9)),
        (99, 9, Answer::Parts(10, 9)),
        // An epoch to come is a mistake.
        (4, 10, Answer::Refused(ErrorCode::InvalidRequest)),
        (-5, 0, Answer::Refused(ErrorCode::InvalidRequest)),
        (0, -1, Answer::Refused(ErrorCode::InvalidRequest)),
    ] {
        assert_eq!(answer(&mut leader, offset, epoch), expected, "offset {offset} epoch {epoch}");
    }
}

#[test]
fn a_log_with_a_snapshot_behind_its_beginning() {
    // 3 records of epoch 2 under the snapshot, 3 more, 3 of epoch 4.
    let mut leader = leading(0, &[(2, 0), (4, 6)], 9, &[(3, 2)]);
    for (offset, epoch, expected) in [
        // From nothing, the snapshot is shorter.
        (0, 0, Answer::Snapshot(3, 2)),
        (3, 2, Answer::Records),
        (5, 2, Answer::Records),
        (4, 3, Answer::Parts(6, 2)),
        (7, 2, Answer::Parts(6, 2)),
        // Before the snapshot's epoch the leader knows nothing for sure.
        (9, 1, Answer::Snapshot(3, 2)),
        (2, 1, Answer::Snapshot(3, 2)),
    ] {
        assert_eq!(answer(&mut leader, offset, epoch), expected, "offset {offset} epoch {epoch}");
    }
    // Where the two part right behind the snapshot.
    let mut leader = leading(0, &[(2, 0), (4, 3)], 6, &[(3, 2)]);
    assert_eq!(answer(&mut leader, 4, 3), Answer::Parts(3, 2));
}

#[test]
fn a_log_that_begins_at_a_snapshot() {
    let mut leader = leading(3, &[(2, 3), (4, 6)], 9, &[(3, 2), (7, 4)]);
    for (offset, epoch, expected) in [
        (0, 0, Answer::Snapshot(7, 4)),
        (1, 2, Answer::Snapshot(7, 4)),
        (3, 2, Answer::Records),
        // At its beginning, with another epoch than the snapshot's.
        (3, 3, Answer::Snapshot(7, 4)),
        (3, 1, Answer::Snapshot(7, 4)),
        (6, 1, Answer::Snapshot(7, 4)),
        (5, 2, Answer::Records),
        (7, 2, Answer::Parts(6, 2)),
        (7, 3, Answer::Parts(6, 2)),
        (10, 4, Answer::Parts(9, 4)),
    ] {
        assert_eq!(answer(&mut leader, offset, epoch), expected, "offset {offset} epoch {epoch}");
    }
    // All that is left is of a later epoch than the snapshot.
    let mut leader = leading(3, &[(4, 3)], 6, &[(3, 2)]);
    for (offset, epoch, expected) in
        [(9, 3, Answer::Parts(3, 2)), (9, 2, Answer::Parts(3, 2)), (3, 2, Answer::Records)]
    {
        assert_eq!(answer(&mut leader, offset, epoch), expected, "offset {offset} epoch {epoch}");
    }
}
