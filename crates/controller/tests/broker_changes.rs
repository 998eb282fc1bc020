//! What brokers that come and go, and directories that fail, do to partitions. Random stories are in
//! `kafka_decisions.rs`.

mod desk;
mod stage;

use desk::{Desk, config, name};
use quorate_base::{NodeId, Uuid};
use quorate_controller::decide::{broker_changes, directories};
use quorate_protocol::MetadataRecord;
use quorate_protocol::messages::AssignReplicasToDirsRequest;
use stage::*;

fn assign(
    desk: &mut Desk,
    from: (NodeId, i64),
    directory: Uuid,
    partitions: &[(Uuid, i32)],
) -> (&'static str, Vec<&'static str>) {
    use quorate_protocol::messages::assign_replicas_to_dirs_request as request;
    let topic = |(topic_id, index): &(Uuid, i32)| request::TopicData {
        topic_id: *topic_id,
        partitions: vec![request::PartitionData { partition_index: *index, ..Default::default() }],
        ..Default::default()
    };
    let request = AssignReplicasToDirsRequest {
        broker_id: from.0,
        broker_epoch: from.1,
        directories: vec![request::DirectoryData {
            id: directory,
            topics: partitions.iter().map(topic).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let (response, _) = desk.decide(|env, draft, context| {
        directories::assign_replicas_to_dirs(env, draft, context, &request)
    });
    let partitions = response.directories.iter().flat_map(|it| &it.topics);
    let codes = partitions.flat_map(|it| &it.partitions).map(|it| name(it.error_code));
    (name(response.error_code), codes.collect())
}

#[test]
fn test_handle_assign_replicas_to_dirs() {
    let mut old = at(Desk::at(16));
    with_partition(&mut old, 0, &[1, 2], &[1, 2]);
    assert_eq!(assign(&mut old, (1, 101), directory(1, 1), &[(FOO, 0)]).0, "UNSUPPORTED_VERSION");

    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[1, 2]);
    with_partition(&mut desk, 1, &[2, 3], &[2, 3]);
    assert_eq!(assign(&mut desk, (1, 7), directory(1, 1), &[(FOO, 0)]).0, "STALE_BROKER_EPOCH");
    let asked = [(FOO, 0), (FOO, 1), (FOO, 2), (Uuid::from_u128(1), 0)];
    let (error, partitions) = assign(&mut desk, (1, 101), directory(1, 1), &asked);
    let expected =
        ["NONE", "NOT_LEADER_OR_FOLLOWER", "UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_TOPIC_ID"];
    assert_eq!((error, partitions.as_slice()), ("NONE", &expected[..]));
    assert_eq!(partition(&desk, 0).directories(), [directory(1, 1), directory(2, 0)]);
    assert_eq!(epochs(&desk, 0), (5, 10));
    // Into a directory that is gone: the leader moves on.
    assert_eq!(assign(&mut desk, (1, 101), Uuid::DIR_LOST, &[(FOO, 0)]).1, ["NONE"]);
    assert_eq!(partition(&desk, 0).leader(), Some(2));
    assert_eq!(partition(&desk, 0).isr(), [2]);
}

#[test]
fn test_handle_directories_offline() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[1, 2]);
    with_partition(&mut desk, 1, &[1, 2], &[1, 2]);
    assign(&mut desk, (1, 101), directory(1, 1), &[(FOO, 1)]);
    let unlisted = Uuid::from_u128(12345);
    desk.decide(|env, draft, _| {
        broker_changes::on_directories_offline(env, draft, 1, &[directory(1, 1), unlisted]);
    });
    assert_eq!(partition(&desk, 0).leader(), Some(1), "its directory is still there");
    assert_eq!((partition(&desk, 1).leader(), partition(&desk, 1).isr()), (Some(2), &[2][..]));
}

#[test]
fn fencing_moves_leaders_and_says_fenced_last() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2, 3], &[1, 2, 3]);
    with_partition(&mut desk, 1, &[2, 1, 3], &[2, 1]);
    with_partition(&mut desk, 2, &[1, 4], &[1]);
    with_partition(&mut desk, 3, &[2, 3], &[2, 3]);
    let (_, records) = desk.decide(|env, draft, _| broker_changes::on_broker_fenced(env, draft, 1));
    assert_eq!(records.len(), 4, "{records:?}");
    let Some(MetadataRecord::BrokerRegistrationChange(last)) = records.last() else {
        panic!("the broker's record comes last: {records:?}")
    };
    assert_eq!((last.broker_id, last.broker_epoch, last.fenced), (1, 101, 1));
    assert_eq!((partition(&desk, 0).leader(), partition(&desk, 0).isr()), (Some(2), &[2, 3][..]));
    assert_eq!(epochs(&desk, 0), (6, 10));
    assert_eq!((partition(&desk, 1).leader(), partition(&desk, 1).isr()), (Some(2), &[2][..]));
    assert_eq!(epochs(&desk, 1), (5, 10), "the leader stays");
    // The last member of an ISR stays in it: it alone has everything.
    assert_eq!((partition(&desk, 2).leader(), partition(&desk, 2).isr()), (None, &[1][..]));

    let (_, records) =
        desk.decide(|env, draft, _| broker_changes::on_broker_unfenced(env, draft, 1));
    let Some(MetadataRecord::BrokerRegistrationChange(first)) = records.first() else {
        panic!("the broker's record comes first: {records:?}")
    };
    assert_eq!((first.fenced, records.len()), (-1, 2));
    assert_eq!(partition(&desk, 2).leader(), Some(1));
    assert_eq!(epochs(&desk, 2), (7, 11));
}

#[test]
fn a_controlled_shutdown_is_announced_once() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[1, 2]);
    let shut = |desk: &mut Desk| {
        desk.decide(|env, draft, _| broker_changes::on_controlled_shutdown(env, draft, 1)).1
    };
    let records = shut(&mut desk);
    assert!(matches!(records[0], MetadataRecord::BrokerRegistrationChange(_)), "{records:?}");
    assert_eq!((records.len(), partition(&desk, 0).leader()), (2, Some(2)));
    assert!(shut(&mut desk).is_empty());
}

#[test]
fn test_eligible_leader_replicas_unclean_shutdown() {
    let mut desk = at(Desk::with_elr());
    desk.apply(config(2, "foo", "min.insync.replicas", Some("3")));
    with_partition(&mut desk, 0, &[1, 2, 3], &[1, 2, 3]);
    let mut event =
        |change: fn(&mut quorate_controller::Env<'_>, &mut quorate_controller::Draft)| {
            desk.decide(|env, draft, _| change(env, draft));
            let now = partition(&desk, 0);
            (now.leader(), now.isr().to_vec(), now.elr().to_vec(), now.last_known_elr().to_vec())
        };
    let fenced = event(|env, draft| broker_changes::on_broker_fenced(env, draft, 1));
    assert_eq!(fenced, (Some(2), vec![2, 3], vec![1], vec![]));
    let fenced = event(|env, draft| broker_changes::on_broker_fenced(env, draft, 2));
    assert_eq!(fenced, (Some(3), vec![3], vec![1, 2], vec![]));
    // With ELR an ISR may become empty.
    let fenced = event(|env, draft| broker_changes::on_broker_fenced(env, draft, 3));
    assert_eq!(fenced, (None, vec![], vec![1, 2, 3], vec![3]));
    // Whoever may have lost records is no candidate any more.
    let restarted = event(|env, draft| broker_changes::on_unclean_shutdown(env, draft, 1));
    assert_eq!(restarted, (None, vec![], vec![2, 3], vec![3]));
    let restarted = event(|env, draft| broker_changes::on_clean_restart(env, draft, 2));
    assert_eq!(restarted, (None, vec![], vec![2, 3], vec![3]));
    let unfenced = event(|env, draft| broker_changes::on_broker_unfenced(env, draft, 1));
    assert_eq!(unfenced, (None, vec![], vec![2, 3], vec![3]));
    let unfenced = event(|env, draft| broker_changes::on_broker_unfenced(env, draft, 2));
    assert_eq!(unfenced, (Some(2), vec![2], vec![3], vec![]));
}

#[test]
fn test_balance_partition_leaders() {
    let mut desk = desk();
    for index in 0..5 {
        with_partition(&mut desk, index, &[1, 2], &[2, 1]);
    }
    with_partition(&mut desk, 5, &[4, 2], &[2]);
    let balance = |desk: &mut Desk, max| {
        desk.decide(|env, draft, _| broker_changes::balance_preferred_leaders(env, draft, max))
    };
    let (more, records) = balance(&mut desk, 3);
    assert_eq!((more, records.len()), (true, 3));
    let (more, records) = balance(&mut desk, 3);
    assert_eq!((more, records.len()), (false, 2));
    assert_eq!(balance(&mut desk, 3), (false, vec![]));
    assert_eq!(partition(&desk, 5).leader(), Some(2), "its preferred leader is fenced");
}

#[test]
fn test_maybe_trigger_unclean_leader_election_for_leaderless_partitions() {
    let mut desk = desk();
    for index in 0..3 {
        with_partition(&mut desk, index, &[4, 2], &[]);
    }
    let run = |desk: &mut Desk, max| {
        desk.decide(|env, draft, _| broker_changes::elect_unclean(env, draft, max))
    };
    assert_eq!(run(&mut desk, 2), (false, vec![]), "the topic does not allow it");
    desk.apply(config(4, "", "unclean.leader.election.enable", Some("true")));
    let (more, records) = run(&mut desk, 2);
    assert_eq!((more, records.len()), (true, 2));
    let (more, records) = run(&mut desk, 2);
    assert_eq!((more, records.len()), (false, 1));
    assert_eq!(partition(&desk, 2).leader(), Some(2));
}
