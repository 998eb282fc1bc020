//! When a voter that lost its disk has caught up (docs/decisions/0003-empty-log.md): answers of a
//! leader by hand.

mod replica;

use replica::*;

/// Node 1, whose disk was lost in an earlier life, with a log of epochs 2 and 4 up to offset 10. It has
/// heard the other voters, follows 2 in epoch 5, and its first fetch is under way.
fn recovering() -> (Replica, RpcId) {
    let state = ElectionState { epoch: 4, recovering: true, ..Default::default() };
    let (mut replica, actions) = Setup { state: Some(state), ..Setup::default() }.start();
    for (rpc, _) in sent_votes(&actions) {
        replica.step(Event::Response { rpc, result: Ok(refused(4)) });
    }
    let (error, actions) = replica.begin(2, 5);
    assert_eq!(error, ErrorCode::None);
    let (rpc, request) = match sent_fetch(&actions) {
        Some(sent) => sent,
        None => sent_fetch(&replica.timeout()).expect("a fetch"),
    };
    assert_eq!(request.replica_state.replica_id, 1, "both were heard: it may acknowledge");
    (replica, rpc)
}

fn refused(epoch: i32) -> PeerResponse {
    let PeerResponse::Vote(mut response) = granted(epoch) else { unreachable!() };
    response.topics[0].partitions[0].vote_granted = false;
    PeerResponse::Vote(response)
}

fn ends_recovery(actions: &[Action]) -> bool {
    persisted(actions).iter().any(|state| !state.recovering)
}

#[test]
fn a_log_that_is_long_enough_and_differs_holds_nothing() {
    let (mut replica, rpc) = recovering();
    // The leader's log is epoch 1 up to offset 2 and epoch 3 up to 6, all committed. Cut there, ours
    // reaches further, with records of epoch 2 that the leader does not have.
    let part = fetch_response::EpochEndOffset { epoch: 3, end_offset: 6, ..Default::default() };
    let actions = replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            high_watermark: 6,
            diverging_epoch: part,
            ..Default::default()
        },
    );
    assert_eq!(replica.raft.log_end(), at(7, 2));
    assert!(!ends_recovery(&actions));
    // Once the leader takes a fetch at the end of the log, it is the beginning of the leader's.
    let (rpc, _) = sent_fetch(&actions).expect("it goes on");
    let actions = replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            high_watermark: 7,
            ..Default::default()
        },
    );
    assert!(ends_recovery(&actions));
}

#[test]
fn the_high_watermark_of_an_answer_that_makes_no_sense_does_not_count() {
    let (mut replica, rpc) = recovering();
    let records = encode_data_batch(11, 5, 1_700_000_000_000, &[Bytes::from_static(b"x")]);
    let actions = replica.answer_fetch(
        rpc,
        fetch_response::PartitionData {
            current_leader: leader_is(2, 5),
            high_watermark: 9,
            records: Some(records),
            ..Default::default()
        },
    );
    assert!(!ends_recovery(&actions));
    assert_eq!(replica.raft.view().following.expect("it follows").leader_high_watermark, None);
}
