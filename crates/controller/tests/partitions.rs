//! AlterPartition, ElectLeaders and reassignments. Rows of errors stand in the order in which Kafka looks for them: each request also
//! carries mistakes of the rows after it. Random stories are in `kafka_decisions.rs`.

mod desk;
mod stage;

use desk::{Desk, config, name};
use quorate_base::{NodeId, Uuid};
use quorate_controller::decide::{elections, isr, reassign};
use quorate_metadata::RecoveryState;
use quorate_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use quorate_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use quorate_protocol::messages::elect_leaders_request::TopicPartitions;
use quorate_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use quorate_protocol::messages::*;
use quorate_protocol::records::PartitionRecord;
use quorate_protocol::{KStr, MetadataRecord};
use stage::*;

fn asked(isr: &[(NodeId, i64)]) -> PartitionData {
    let state = |(broker_id, broker_epoch): &(NodeId, i64)| BrokerState {
        broker_id: *broker_id,
        broker_epoch: *broker_epoch,
        ..Default::default()
    };
    PartitionData {
        partition_index: 0,
        leader_epoch: 5,
        partition_epoch: 9,
        new_isr_with_epochs: isr.iter().map(state).collect(),
        new_isr: isr.iter().map(|it| it.0).collect(),
        ..Default::default()
    }
}

fn alter(
    desk: &mut Desk,
    from: (NodeId, i64),
    topic_id: Uuid,
    partition: PartitionData,
) -> (AlterPartitionResponse, Vec<MetadataRecord>) {
    let partitions = vec![partition];
    let request = AlterPartitionRequest {
        broker_id: from.0,
        broker_epoch: from.1,
        topics: vec![TopicData { topic_id, partitions, ..Default::default() }],
        ..Default::default()
    };
    desk.decide(|env, draft, context| isr::alter_partition(env, draft, context, &request))
}

#[test]
fn test_invalid_alter_partition_requests() {
    type Row = (NodeId, Uuid, fn(&mut PartitionData), &'static str);
    let rows: [Row; 15] = [
        (1, Uuid::from_u128(1), |it| it.leader_epoch = 6, "UNKNOWN_TOPIC_ID"),
        (1, FOO, |it| (it.partition_index, it.leader_epoch) = (7, 6), "UNKNOWN_TOPIC_OR_PARTITION"),
        (2, FOO, |it| (it.leader_epoch, it.partition_epoch) = (6, 8), "NOT_CONTROLLER"),
        (2, FOO, |it| (it.leader_epoch, it.partition_epoch) = (4, 10), "NOT_CONTROLLER"),
        (2, FOO, |it| (it.leader_epoch, it.partition_epoch) = (4, 8), "FENCED_LEADER_EPOCH"),
        (2, FOO, |it| it.partition_epoch = 8, "INVALID_REQUEST"),
        (
            1,
            FOO,
            |it| (it.partition_epoch, it.new_isr_with_epochs) = (8, vec![]),
            "INVALID_UPDATE_VERSION",
        ),
        (
            1,
            FOO,
            |it| it.new_isr_with_epochs.push(asked(&[(7, -1)]).new_isr_with_epochs[0].clone()),
            "INVALID_REQUEST",
        ),
        (
            1,
            FOO,
            |it| it.new_isr_with_epochs.push(asked(&[(4, -1)]).new_isr_with_epochs[0].clone()),
            "INVALID_REQUEST",
        ),
        (
            1,
            FOO,
            |it| it.new_isr_with_epochs = asked(&[(2, -1), (4, -1)]).new_isr_with_epochs,
            "INVALID_REQUEST",
        ),
        (1, FOO, |it| it.leader_recovery_state = 1, "INVALID_REQUEST"),
        (
            1,
            FOO,
            |it| {
                (it.leader_recovery_state, it.new_isr_with_epochs) =
                    (1, asked(&[(1, -1)]).new_isr_with_epochs)
            },
            "INVALID_REQUEST",
        ),
        (1, FOO, |it| it.leader_recovery_state = 9, "INVALID_REQUEST"),
        (1, FOO, |_| (), "INELIGIBLE_REPLICA"),
        (
            1,
            FOO,
            |it| it.new_isr_with_epochs = asked(&[(1, 101), (2, 7)]).new_isr_with_epochs,
            "INELIGIBLE_REPLICA",
        ),
    ];
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2, 4, 5], &[1, 2]);
    for (from, topic, change, expected) in rows {
        let mut wanted = asked(&[(1, 101), (2, 102), (4, 104)]);
        change(&mut wanted);
        let about = format!("{wanted:?}");
        let (response, records) = alter(&mut desk, (from, 100 + i64::from(from)), topic, wanted);
        assert_eq!(response.error_code, 0);
        assert_eq!(name(response.topics[0].partitions[0].error_code), expected, "{about}");
        assert!(records.is_empty(), "{about}: {records:?}");
    }
    for from in [(1, 7), (99, 199)] {
        let (response, _) = alter(&mut desk, from, FOO, asked(&[(1, 101)]));
        assert_eq!(name(response.error_code), "STALE_BROKER_EPOCH");
        assert!(response.topics.is_empty());
    }
    // In controlled shutdown, or with another epoch.
    for isr in [[(1, 101), (5, 105)], [(1, 100), (2, 102)]] {
        let (response, _) = alter(&mut desk, (1, 101), FOO, asked(&isr));
        assert_eq!(name(response.topics[0].partitions[0].error_code), "INELIGIBLE_REPLICA");
    }
}

#[test]
fn test_shrink_and_expand_isr() {
    // The leader epoch moves with a shrinking ISR below 3.6-IV0 only.
    for (level, leader_epoch) in [(7, 6), (11, 6), (12, 5), (30, 5)] {
        let mut desk = at(Desk::at(level));
        with_partition(&mut desk, 0, &[1, 2, 3], &[1, 2, 3]);
        let (response, records) = alter(&mut desk, (1, 101), FOO, asked(&[(1, 101), (3, -1)]));
        let answer = &response.topics[0].partitions[0];
        assert_eq!((name(answer.error_code), records.len()), ("NONE", 1), "level {level}");
        assert_eq!((answer.leader_epoch, answer.partition_epoch), (leader_epoch, 10));
        assert_eq!((answer.leader_id, answer.isr.as_slice()), (1, &[1, 3][..]));
        let grown = PartitionData {
            leader_epoch,
            partition_epoch: 10,
            ..asked(&[(1, 101), (3, 103), (2, 102)])
        };
        let (response, _) = alter(&mut desk, (1, 101), FOO, grown);
        let answer = &response.topics[0].partitions[0];
        assert_eq!((answer.leader_epoch, answer.partition_epoch), (leader_epoch, 11));
        assert_eq!(answer.isr, [1, 3, 2]);
    }
}

#[test]
fn before_version_3_the_isr_comes_without_epochs() {
    let mut desk = desk();
    desk.context.api_version = 2;
    with_partition(&mut desk, 0, &[1, 2, 3], &[1, 2, 3]);
    let wanted = PartitionData { new_isr_with_epochs: Vec::new(), ..asked(&[(1, -1), (2, -1)]) };
    let (response, records) = alter(&mut desk, (1, 101), FOO, wanted);
    assert_eq!(response.topics[0].partitions[0].isr, [1, 2]);
    assert_eq!(records.len(), 1);
}

#[test]
fn an_isr_as_it_is_writes_nothing_and_is_answered() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2, 3], &[1, 2]);
    let (response, records) = alter(&mut desk, (1, 101), FOO, asked(&[(1, 101), (2, 102)]));
    let answer = &response.topics[0].partitions[0];
    assert_eq!((name(answer.error_code), answer.partition_epoch), ("NONE", 9));
    assert!(records.is_empty());
}

#[test]
fn an_isr_that_ends_the_askers_leadership_is_taken_and_says_so() {
    let mut desk = desk();
    desk.apply(PartitionRecord {
        topic_id: FOO,
        partition_id: 0,
        replicas: vec![2, 3, 1],
        isr: vec![1],
        removing_replicas: vec![1],
        adding_replicas: vec![2, 3],
        leader: 1,
        leader_epoch: 5,
        partition_epoch: 9,
        ..Default::default()
    });
    let (response, records) =
        alter(&mut desk, (1, 101), FOO, asked(&[(1, 101), (2, 102), (3, 103)]));
    assert_eq!(name(response.topics[0].partitions[0].error_code), "NEW_LEADER_ELECTED");
    assert_eq!(records.len(), 1);
    let partition = partition(&desk, 0);
    assert_eq!((partition.replicas(), partition.isr()), (&[2, 3][..], &[2, 3][..]));
    assert_eq!(partition.leader(), Some(2));
    assert!(!partition.is_reassigning());
}

fn elect(
    desk: &mut Desk,
    election_type: i8,
    partitions: Option<&[(&str, i32)]>,
) -> (ElectLeadersResponse, Vec<MetadataRecord>) {
    let one = |(topic, index): &(&str, i32)| TopicPartitions {
        topic: KStr::from(*topic),
        partitions: vec![*index],
        ..Default::default()
    };
    let request = ElectLeadersRequest {
        election_type,
        topic_partitions: partitions.map(|it| it.iter().map(one).collect()),
        ..Default::default()
    };
    desk.decide(|env, draft, context| elections::elect_leaders(env, draft, context, &request))
}

fn elected(response: &ElectLeadersResponse) -> Vec<(i32, &'static str)> {
    let results = response.replica_election_results.iter().flat_map(|it| &it.partition_result);
    results.map(|it| (it.partition_id, name(it.error_code))).collect()
}

#[test]
fn test_elect_preferred_leaders() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2, 3], &[1, 2]);
    with_partition(&mut desk, 1, &[1, 2, 3], &[2, 1]);
    with_partition(&mut desk, 2, &[4, 2, 3], &[2, 3]);
    let named = [("foo", 0), ("foo", 1), ("foo", 2), ("foo", 3), ("bar", 0)];
    let (response, records) = elect(&mut desk, 0, Some(&named));
    let expected = [
        (0, "ELECTION_NOT_NEEDED"),
        (1, "NONE"),
        (2, "PREFERRED_LEADER_NOT_AVAILABLE"),
        (3, "UNKNOWN_TOPIC_OR_PARTITION"),
        (0, "UNKNOWN_TOPIC_OR_PARTITION"),
    ];
    assert_eq!(elected(&response), expected);
    assert_eq!(records.len(), 1);
    assert_eq!(partition(&desk, 1).leader(), Some(1));
    assert_eq!(epochs(&desk, 1), (6, 10));
    // All at once: those that need none are left out.
    let (response, _) = elect(&mut desk, 0, None);
    assert_eq!(elected(&response), [(2, "PREFERRED_LEADER_NOT_AVAILABLE")]);
}

#[test]
fn test_elect_unclean_leaders_without_elr() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[4, 2, 3], &[]);
    with_partition(&mut desk, 1, &[1, 2, 3], &[1]);
    with_partition(&mut desk, 2, &[4, 5], &[]);
    let (response, _) = elect(&mut desk, 1, Some(&[("foo", 0), ("foo", 1), ("foo", 2)]));
    let expected = [(0, "NONE"), (1, "ELECTION_NOT_NEEDED"), (2, "ELIGIBLE_LEADERS_NOT_AVAILABLE")];
    assert_eq!(elected(&response), expected);
    let partition = partition(&desk, 0);
    assert_eq!((partition.leader(), partition.isr()), (Some(2), &[2][..]));
    assert_eq!(partition.leader_recovery_state(), RecoveryState::Recovering);
}

#[test]
fn elections_that_cannot_be_are_refused_as_a_whole() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[2, 1]);
    let (response, records) = elect(&mut desk, 7, Some(&[("foo", 0)]));
    assert_eq!(name(response.error_code), "INVALID_REQUEST");
    assert_eq!(elected(&response), [(0, "INVALID_REQUEST")]);
    assert!(records.is_empty());
    for index in 1..=10_000 {
        with_partition(&mut desk, index, &[1, 2], &[2, 1]);
    }
    let (response, records) = elect(&mut desk, 0, None);
    assert_eq!((name(response.error_code), records.len()), ("POLICY_VIOLATION", 0));
}

fn reassign(
    desk: &mut Desk,
    topic: &str,
    index: i32,
    replicas: Option<&[NodeId]>,
    allow_replication_factor_change: bool,
) -> (&'static str, Vec<MetadataRecord>) {
    let partition = ReassignablePartition {
        partition_index: index,
        replicas: replicas.map(<[NodeId]>::to_vec),
        ..Default::default()
    };
    let request = AlterPartitionReassignmentsRequest {
        allow_replication_factor_change,
        topics: vec![ReassignableTopic {
            name: KStr::from(topic),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let (response, records) = desk.decide(|env, draft, context| {
        reassign::alter_partition_reassignments(env, draft, context, &request)
    });
    assert_eq!((response.error_code, response.error_message), (0, None));
    let answer = &response.responses[0].partitions[0];
    if name(answer.error_code) == "NO_REASSIGNMENT_IN_PROGRESS" {
        assert_eq!(answer.error_message, None, "Kafka gives the code alone");
    }
    (name(answer.error_code), records)
}

#[test]
fn each_error_of_a_reassignment() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[1, 2]);
    type Row = (&'static str, i32, Option<&'static [NodeId]>, &'static str);
    let rows: [Row; 8] = [
        ("bar", 0, Some(&[]), "UNKNOWN_TOPIC_OR_PARTITION"),
        ("foo", 7, Some(&[]), "UNKNOWN_TOPIC_OR_PARTITION"),
        ("foo", 0, None, "NO_REASSIGNMENT_IN_PROGRESS"),
        ("foo", 0, Some(&[]), "INVALID_REPLICA_ASSIGNMENT"),
        ("foo", 0, Some(&[1, 1, 99]), "INVALID_REPLICA_ASSIGNMENT"),
        ("foo", 0, Some(&[99]), "INVALID_REPLICA_ASSIGNMENT"),
        ("foo", 0, Some(&[1]), "INVALID_REPLICATION_FACTOR"),
        ("foo", 0, Some(&[1, 2]), "NONE"),
    ];
    for (topic, index, replicas, expected) in rows {
        let (error, records) = reassign(&mut desk, topic, index, replicas, false);
        assert_eq!(error, expected, "{topic}-{index} to {replicas:?}");
        assert!(records.is_empty());
    }
}

#[test]
fn test_reassign_partitions_and_list_them() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[1, 2]);
    with_partition(&mut desk, 1, &[1, 2], &[1, 2]);
    assert_eq!(reassign(&mut desk, "foo", 0, Some(&[3, 1]), false).0, "NONE");
    let now = partition(&desk, 0);
    assert_eq!(now.replicas(), [3, 1, 2]);
    assert_eq!((now.adding(), now.removing()), (&[3][..], &[2][..]));
    assert_eq!(now.directories(), [Uuid::DIR_UNASSIGNED, directory(1, 0), directory(2, 0)]);
    let ask = |topics| ListPartitionReassignmentsRequest { topics, ..Default::default() };
    let one = |name: &str, partition_indexes| ListPartitionReassignmentsTopics {
        name: KStr::from(name),
        partition_indexes,
        ..Default::default()
    };
    let named = vec![one("foo", vec![1, 0, 9]), one("bar", vec![0])];
    for request in [ask(None), ask(Some(named))] {
        let response = reassign::list_partition_reassignments(&desk.image, &request);
        let [topic] = response.topics.as_slice() else { panic!("{response:?}") };
        let [ongoing] = topic.partitions.as_slice() else { panic!("{response:?}") };
        assert_eq!((ongoing.partition_index, &ongoing.replicas), (0, &vec![3, 1, 2]));
        assert_eq!((&ongoing.adding_replicas, &ongoing.removing_replicas), (&vec![3], &vec![2]));
    }
    let none = ask(Some(vec![one("foo", vec![1])]));
    assert!(reassign::list_partition_reassignments(&desk.image, &none).topics.is_empty());
    // Cancelled, it is as before.
    assert_eq!(reassign(&mut desk, "foo", 0, None, false).0, "NONE");
    let now = partition(&desk, 0);
    assert_eq!((now.replicas(), now.is_reassigning()), (&[1, 2][..], false));
}

#[test]
fn test_reassign_partitions_handles_new_reassignment_that_removes_previously_adding_replicas() {
    let mut desk = desk();
    with_partition(&mut desk, 0, &[1, 2], &[1, 2]);
    assert_eq!(reassign(&mut desk, "foo", 0, Some(&[1, 3, 4]), true).0, "NONE");
    // Nothing new is added, and what was being added goes: the reassignment must be able to end.
    assert_eq!(reassign(&mut desk, "foo", 0, Some(&[1, 2]), true).0, "NONE");
    let now = partition(&desk, 0);
    assert_eq!((now.replicas(), now.isr()), (&[1, 2][..], &[1, 2][..]));
    assert!(!now.is_reassigning(), "nobody waits for 3 and 4 any more");
}

#[test]
fn a_cancel_that_needs_an_unclean_leader_asks_the_topic_first() {
    let mut desk = desk();
    desk.apply(PartitionRecord {
        topic_id: FOO,
        partition_id: 0,
        replicas: vec![1, 2, 3],
        isr: vec![3],
        removing_replicas: vec![1],
        adding_replicas: vec![3],
        leader: 3,
        leader_epoch: 1,
        partition_epoch: 1,
        ..Default::default()
    });
    assert_eq!(reassign(&mut desk, "foo", 0, None, true).0, "INVALID_REPLICA_ASSIGNMENT");
    desk.apply(config(2, "foo", "unclean.leader.election.enable", Some("true")));
    assert_eq!(reassign(&mut desk, "foo", 0, None, true).0, "NONE");
    assert_eq!(partition(&desk, 0).replicas(), [1, 2]);
    assert_eq!(partition(&desk, 0).leader(), Some(1));
}
