//! CreateTopics, DeleteTopics and CreatePartitions. Rows of errors stand in the order in which Kafka looks
//! for them. What Kafka decides in random stories is compared in `kafka_decisions.rs`.

mod desk;

use desk::{Desk, config, name};
use quorate_base::{NodeId, Uuid};
use quorate_controller::decide::{partitions, topics};
use quorate_metadata::Str;
use quorate_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use quorate_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use quorate_protocol::messages::delete_topics_request::DeleteTopicState;
use quorate_protocol::messages::*;
use quorate_protocol::records::{BrokerRegistrationChangeRecord, RegisterBrokerRecord};
use quorate_protocol::{KStr, MetadataRecord};

/// Brokers 1 to 3 live, 4 fenced, 5 in controlled shutdown; 7 of the desk is fenced too.
fn desk() -> Desk {
    let mut desk = Desk::at(30);
    for (id, fenced, leaving) in [
        (1, false, false),
        (2, false, false),
        (3, false, false),
        (4, true, false),
        (5, false, true),
    ] {
        desk.apply(RegisterBrokerRecord {
            broker_id: id,
            broker_epoch: i64::from(id),
            incarnation_id: Uuid::from_u128(1000 + id as u128),
            fenced,
            in_controlled_shutdown: leaving,
            log_dirs: vec![Uuid::from_u128(2000 + id as u128)],
            ..Default::default()
        });
    }
    desk.context.api_version = 7;
    desk
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: KStr::from(name),
        num_partitions: partitions,
        replication_factor,
        ..Default::default()
    }
}

fn by_hand(name: &str, replicas: &[&[NodeId]]) -> CreatableTopic {
    let assignment = |(i, replicas): (i32, &&[NodeId])| CreatableReplicaAssignment {
        partition_index: i,
        broker_ids: replicas.to_vec(),
        ..Default::default()
    };
    CreatableTopic {
        assignments: (0..).zip(replicas).map(assignment).collect(),
        ..topic(name, -1, -1)
    }
}

fn setting(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    let value = value.map(KStr::from);
    CreatableTopicConfig { name: KStr::from(name), value, ..Default::default() }
}

fn with_config(mut topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    topic.configs.push(setting(name, value));
    topic
}

fn create(
    desk: &mut Desk,
    topics: Vec<CreatableTopic>,
) -> (CreateTopicsResponse, Vec<MetadataRecord>) {
    let request = CreateTopicsRequest { topics, ..Default::default() };
    desk.decide(|env, draft, context| topics::create_topics(env, draft, context, &request))
}

fn created(response: &CreateTopicsResponse) -> Vec<(String, &'static str)> {
    response.topics.iter().map(|it| (it.name.to_string(), name(it.error_code))).collect()
}

#[test]
fn each_error_of_a_creation() {
    let long = "x".repeat(250);
    let shifted = {
        let mut topic = by_hand("t", &[&[1], &[2]]);
        topic.assignments[1].partition_index = 2;
        topic
    };
    let twice = {
        let mut topic = by_hand("t", &[&[1], &[2]]);
        topic.assignments[1].partition_index = 0;
        topic
    };
    let assigned_with_factor = CreatableTopic { replication_factor: 1, ..by_hand("t", &[&[1]]) };
    let assigned_with_count = CreatableTopic { num_partitions: 1, ..by_hand("t", &[&[1]]) };
    let rows = [
        (topic("foo", 0, 0), "TOPIC_ALREADY_EXISTS"),
        (topic("", 0, 0), "INVALID_TOPIC_EXCEPTION"),
        (topic(".", 0, 0), "INVALID_TOPIC_EXCEPTION"),
        (topic("..", 0, 0), "INVALID_TOPIC_EXCEPTION"),
        (topic("a b", 0, 0), "INVALID_TOPIC_EXCEPTION"),
        (topic("ä", 0, 0), "INVALID_TOPIC_EXCEPTION"),
        (topic(&long, 0, 0), "INVALID_TOPIC_EXCEPTION"),
        (topic("__cluster_metadata", 0, 0), "INVALID_REQUEST"),
        (with_config(topic("t", 0, 0), "retention.ms", None), "INVALID_CONFIG"),
        (with_config(topic("t", 0, 0), "no.such.setting", Some("1")), "INVALID_CONFIG"),
        (with_config(topic("t", 0, 0), "retention.ms", Some("soon")), "INVALID_CONFIG"),
        (assigned_with_factor, "INVALID_REQUEST"),
        (assigned_with_count, "INVALID_REQUEST"),
        (by_hand("t", &[&[]]), "INVALID_REPLICA_ASSIGNMENT"),
        (by_hand("t", &[&[1, 99]]), "INVALID_REPLICA_ASSIGNMENT"),
        (by_hand("t", &[&[1, 1]]), "INVALID_REPLICA_ASSIGNMENT"),
        (by_hand("t", &[&[1, 2], &[1]]), "INVALID_REPLICA_ASSIGNMENT"),
        (by_hand("t", &[&[1], &[4]]), "INVALID_REPLICA_ASSIGNMENT"),
        (by_hand("t", &[&[4, 5]]), "INVALID_REPLICA_ASSIGNMENT"),
        (twice, "INVALID_REPLICA_ASSIGNMENT"),
        (shifted, "INVALID_REPLICA_ASSIGNMENT"),
        (topic("t", 0, 0), "INVALID_REPLICATION_FACTOR"),
        (topic("t", 0, -2), "INVALID_REPLICATION_FACTOR"),
        (topic("t", 0, 1), "INVALID_PARTITIONS"),
        (topic("t", -2, 1), "INVALID_PARTITIONS"),
        // The broker in controlled shutdown does not count.
        (topic("t", 1, 6), "INVALID_REPLICATION_FACTOR"),
        (topic("t", 1, 5), "NONE"),
        (by_hand("t2", &[&[4, 1, 5]]), "NONE"),
    ];
    let mut desk = desk();
    for (topic, expected) in rows {
        let about = format!("{topic:?}");
        let (response, records) = create(&mut desk, vec![topic]);
        assert_eq!(name(response.topics[0].error_code), expected, "{about}");
        assert_eq!(records.is_empty(), expected != "NONE", "{about}: {records:?}");
        match (expected, response.topics[0].error_message.as_deref()) {
            ("NONE", text) => assert_eq!(text, None, "{about}"),
            ("TOPIC_AUTHORIZATION_FAILED", text) => assert_eq!(text, Some(""), "as from Kafka"),
            (_, text) => assert!(text.is_some_and(|it| !it.is_empty()), "{about}"),
        }
    }
}

#[test]
fn test_create_topics() {
    let mut desk = desk();
    let asked = with_config(by_hand("t", &[&[3, 4, 1], &[1, 2, 3]]), "retention.ms", Some("5"));
    let (response, records) = create(&mut desk, vec![asked]);
    let [result] = response.topics.as_slice() else { panic!("one topic: {response:?}") };
    assert_eq!((result.num_partitions, result.replication_factor), (2, 3));
    let shown = result.configs.as_ref().expect("may be described");
    let retention = shown.iter().find(|it| it.name == "retention.ms").expect("is a topic's");
    assert_eq!(retention.value.as_deref(), Some("5"));
    assert_eq!(retention.config_source, 1);
    let names: Vec<&str> = shown.iter().map(|it| it.name.as_str()).collect();
    assert!(names.is_sorted() && names.len() > 30, "{names:?}");

    let [MetadataRecord::Topic(it), MetadataRecord::Config(setting), rest @ ..] =
        records.as_slice()
    else {
        panic!("topic, settings, partitions: {records:?}")
    };
    assert_eq!(it.topic_id, result.topic_id);
    assert_eq!((setting.resource_type, setting.name.as_str()), (2, "retention.ms"));
    let [MetadataRecord::Partition(first), MetadataRecord::Partition(second)] = rest else {
        panic!("two partitions: {rest:?}")
    };
    assert_eq!((&first.replicas, &first.isr, first.leader), (&vec![3, 4, 1], &vec![3, 1], 3));
    let directories: Vec<Uuid> = [2003, 2004, 2001].map(Uuid::from_u128).to_vec();
    assert_eq!(first.directories, directories);
    assert_eq!((second.partition_id, second.leader), (1, 1));
    assert_eq!((second.leader_epoch, second.partition_epoch), (0, 0));
}

#[test]
fn defaults_of_the_file_are_for_those_that_ask_for_none() {
    let mut desk = desk();
    desk.config.num_partitions = 4;
    desk.config.default_replication_factor = 3;
    let (response, _) = create(&mut desk, vec![topic("t", -1, -1)]);
    assert_eq!((response.topics[0].num_partitions, response.topics[0].replication_factor), (4, 3));
}

#[test]
fn test_create_topics_with_validate_only_flag() {
    let mut desk = desk();
    let request = CreateTopicsRequest {
        topics: vec![topic("t", 1, 1), topic("foo", 1, 1)],
        validate_only: true,
        ..Default::default()
    };
    let (response, records) =
        desk.decide(|env, draft, context| topics::create_topics(env, draft, context, &request));
    let expected = [("t".to_owned(), "NONE"), ("foo".to_owned(), "TOPIC_ALREADY_EXISTS")];
    assert_eq!(created(&response), expected);
    assert!(records.is_empty());
    assert!(desk.image.topics.by_name("t").is_none());
}

#[test]
fn names_given_twice_are_refused_and_the_others_created() {
    let mut desk = desk();
    let asked = vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 2, 1), topic("a", 3, 1)];
    let (response, _) = create(&mut desk, asked);
    let expected = [("b".to_owned(), "NONE"), ("a".to_owned(), "INVALID_REQUEST")];
    assert_eq!(created(&response), expected);
}

#[test]
fn test_topic_name_collision() {
    let mut desk = desk();
    let many = "a.b_c.d_e.f_g.h_i";
    create(&mut desk, vec![topic("x.y", 1, 1), topic(many, 1, 1), topic("plain", 1, 1)]);
    for (other, collides) in [
        ("x_y", true),
        ("x.z", false),
        ("x.yz", false),
        ("a_b.c_d.e_f.g_h.i", true),
        ("a_b.c_d.e_f.g_h.j", false),
        ("plain.", false),
    ] {
        let (response, _) = create(&mut desk, vec![topic(other, 1, 1)]);
        let expected = if collides { "INVALID_TOPIC_EXCEPTION" } else { "NONE" };
        assert_eq!(name(response.topics[0].error_code), expected, "{other}");
    }
    // Two new ones at once are let through, as by Kafka.
    let (response, _) = create(&mut desk, vec![topic("m.n", 1, 1), topic("m_n", 1, 1)]);
    assert!(response.topics.iter().all(|it| it.error_code == 0), "{response:?}");
}

#[test]
fn a_request_for_too_much_is_refused_as_a_whole() {
    let mut desk = desk();
    for asked in [
        vec![topic("a", 10_001, 1)],
        vec![topic("a", 10_000, 1), topic("b", -1, 1)],
        vec![topic("a", i32::MAX, 1), topic("b", i32::MAX, 1)],
        // 10,000 partitions are allowed, but the topic's own record makes it 10,001.
        vec![topic("a", 10_000, 1)],
    ] {
        let (response, records) = create(&mut desk, asked);
        let refused = response.topics.iter().all(|it| name(it.error_code) == "POLICY_VIOLATION");
        assert!(refused && records.is_empty(), "{:?}", created(&response));
    }
    let (response, records) = create(&mut desk, vec![topic("a", 9_999, 1)]);
    assert_eq!((name(response.topics[0].error_code), records.len()), ("NONE", 10_000));
}

#[test]
fn a_refused_topic_leaves_nothing_behind() {
    let mut desk = desk();
    let bad = with_config(by_hand("bad", &[&[1], &[99]]), "retention.ms", Some("5"));
    let (_, records) = create(&mut desk, vec![bad, by_hand("good", &[&[1]])]);
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(desk.image.topics.by_name("bad").is_none());
}

#[test]
fn no_live_broker_no_topic() {
    let mut desk = Desk::at(30);
    let (response, _) = create(&mut desk, vec![topic("t", 1, 1)]);
    let [result] = response.topics.as_slice() else { panic!("one topic") };
    assert_eq!(name(result.error_code), "INVALID_REPLICATION_FACTOR");
    let text = result.error_message.as_deref().expect("says why");
    assert!(text.contains("fenced"), "{text}");
}

/// Name, id and error of a topic that was to be deleted.
type Deleted = (Option<String>, Uuid, &'static str);

fn delete(desk: &mut Desk, topics: Vec<DeleteTopicState>, names: &[&str]) -> (Vec<Deleted>, usize) {
    let topic_names = names.iter().map(|it| KStr::from(*it)).collect();
    let request = DeleteTopicsRequest { topics, topic_names, ..Default::default() };
    let (response, records) =
        desk.decide(|env, draft, context| topics::delete_topics(env, draft, context, &request));
    let show = |it: &delete_topics_response::DeletableTopicResult| {
        (it.name.as_ref().map(|it| it.to_string()), it.topic_id, name(it.error_code))
    };
    (response.responses.iter().map(show).collect(), records.len())
}

fn state(name: Option<&str>, id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: name.map(KStr::from), topic_id: id, ..Default::default() }
}

#[test]
fn test_delete_topics() {
    let mut desk = desk();
    create(&mut desk, vec![topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1), topic("d", 1, 1)]);
    let id = |desk: &Desk, name: &str| desk.image.topics.by_name(name).expect("exists").id;
    let (a, b, c) = (id(&desk, "a"), id(&desk, "b"), id(&desk, "c"));
    let unknown = Uuid::from_u128(999);
    let (mut answers, records) = delete(
        &mut desk,
        vec![
            state(Some("a"), Uuid::ZERO),
            state(None, b),
            state(None, unknown),
            state(None, Uuid::ZERO),
            state(Some("d"), c),
            state(None, c),
            state(Some("c"), Uuid::ZERO),
            state(Some("none"), Uuid::ZERO),
            state(Some("twice"), Uuid::ZERO),
            state(Some("twice"), Uuid::ZERO),
        ],
        &[],
    );
    answers.sort();
    let text = |it: &str| Some(it.to_owned());
    let mut expected = vec![
        (text("a"), a, "NONE"),
        (text("b"), b, "NONE"),
        (None, unknown, "UNKNOWN_TOPIC_ID"),
        (None, Uuid::ZERO, "INVALID_REQUEST"),
        (text("d"), c, "INVALID_REQUEST"),
        (text("c"), c, "INVALID_REQUEST"),
        (text("none"), Uuid::ZERO, "UNKNOWN_TOPIC_OR_PARTITION"),
        (text("twice"), Uuid::ZERO, "INVALID_REQUEST"),
    ];
    expected.sort();
    assert_eq!(answers, expected);
    assert_eq!(records, 2);
    assert!(desk.image.topics.by_id(b).is_none());
    // Old versions name topics in another field.
    desk.context.api_version = 5;
    let (answers, records) = delete(&mut desk, vec![], &["c"]);
    assert_eq!((answers, records), (vec![(text("c"), c, "NONE")], 1));
}

#[test]
fn topics_are_not_deleted_where_the_file_forbids_it() {
    let mut desk = desk();
    desk.set_file("delete.topic.enable", "false");
    for (version, expected) in [(2, "INVALID_REQUEST"), (3, "TOPIC_DELETION_DISABLED")] {
        desk.context.api_version = version;
        let (answers, records) = delete(&mut desk, vec![], &["foo"]);
        assert_eq!((answers[0].2, records), (expected, 0));
    }
}

fn more(name: &str, count: i32, replicas: Option<&[&[NodeId]]>) -> CreatePartitionsTopic {
    let assignment = |replicas: &&[NodeId]| CreatePartitionsAssignment {
        broker_ids: replicas.to_vec(),
        ..Default::default()
    };
    let assignments = replicas.map(|it| it.iter().map(assignment).collect());
    CreatePartitionsTopic { name: KStr::from(name), count, assignments, ..Default::default() }
}

fn add(
    desk: &mut Desk,
    topics: Vec<CreatePartitionsTopic>,
    validate_only: bool,
) -> (Vec<(String, &'static str)>, Vec<MetadataRecord>) {
    let request = CreatePartitionsRequest { topics, validate_only, ..Default::default() };
    let (response, records) = desk
        .decide(|env, draft, context| partitions::create_partitions(env, draft, context, &request));
    let show = |it: &create_partitions_response::CreatePartitionsTopicResult| {
        (it.name.to_string(), name(it.error_code))
    };
    (response.results.iter().map(show).collect(), records)
}

#[test]
fn each_error_of_more_partitions() {
    let mut desk = desk();
    create(&mut desk, vec![by_hand("t", &[&[1, 2], &[2, 1]])]);
    let rows = [
        (more("none", 3, None), "UNKNOWN_TOPIC_OR_PARTITION"),
        (more("t", 2, Some(&[])), "INVALID_PARTITIONS"),
        (more("t", 1, Some(&[])), "INVALID_PARTITIONS"),
        (more("t", -1, None), "INVALID_PARTITIONS"),
        (more("t", 4, Some(&[&[1, 99]])), "INVALID_REPLICA_ASSIGNMENT"),
        (more("t", 3, Some(&[&[]])), "INVALID_REPLICA_ASSIGNMENT"),
        (more("t", 3, Some(&[&[1, 99]])), "INVALID_REPLICA_ASSIGNMENT"),
        (more("t", 3, Some(&[&[1, 1]])), "INVALID_REPLICA_ASSIGNMENT"),
        (more("t", 3, Some(&[&[1]])), "INVALID_REPLICA_ASSIGNMENT"),
        (more("t", 3, Some(&[&[4, 5]])), "INVALID_REPLICA_ASSIGNMENT"),
        (more("t", 3, Some(&[&[4, 1]])), "NONE"),
        (more("t", 5, None), "NONE"),
    ];
    for (topic, expected) in rows {
        let about = format!("{topic:?}");
        let (results, records) = add(&mut desk, vec![topic], false);
        assert_eq!(results[0].1, expected, "{about}");
        assert_eq!(records.is_empty(), expected != "NONE", "{about}");
    }
    let partitions = desk.image.topics.by_name("t").expect("exists").partition_count;
    assert_eq!(partitions, 5);
}

#[test]
fn test_create_partitions() {
    let mut desk = desk();
    create(&mut desk, vec![by_hand("t", &[&[1, 2]]), by_hand("u", &[&[1]])]);
    let asked = vec![more("t", 2, Some(&[&[4, 3]])), more("u", 2, None), more("u", 3, None)];
    let (results, records) = add(&mut desk, asked.clone(), true);
    let expected = [("u".to_owned(), "INVALID_REQUEST"), ("t".to_owned(), "NONE")];
    assert_eq!(results, expected);
    assert!(records.is_empty(), "only validated");
    let (_, records) = add(&mut desk, asked, false);
    let [MetadataRecord::Partition(it)] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((it.partition_id, &it.replicas, &it.isr), (1, &vec![4, 3], &vec![3]));
    assert_eq!(it.leader, 3);
}

#[test]
fn too_many_new_partitions_are_refused_as_a_whole() {
    let mut desk = desk();
    create(&mut desk, vec![by_hand("t", &[&[1]]), by_hand("u", &[&[1]])]);
    let asked = vec![more("t", 5_002, None), more("u", 5_001, None)];
    let (results, records) = add(&mut desk, asked, false);
    assert!(results.iter().all(|it| it.1 == "POLICY_VIOLATION"), "{results:?}");
    assert!(records.is_empty());
    let (results, records) = add(&mut desk, vec![more("t", i32::MAX, None)], false);
    assert_eq!((results[0].1, records.len()), ("POLICY_VIOLATION", 0));
}

/// KIP-1066: by hand neither, as long as every directory of the broker is cordoned.
#[test]
fn no_replica_goes_to_a_broker_with_all_directories_cordoned() {
    let mut desk = desk();
    let cordon = |desk: &mut Desk, directories: Vec<Uuid>| {
        desk.apply(BrokerRegistrationChangeRecord {
            broker_id: 2,
            broker_epoch: 2,
            cordoned_log_dirs: Some(directories),
            ..Default::default()
        });
    };
    cordon(&mut desk, vec![Uuid::from_u128(2002)]);
    let (response, _) = create(&mut desk, vec![by_hand("t", &[&[1, 2]])]);
    assert_eq!(created(&response), [("t".to_owned(), "INVALID_REPLICA_ASSIGNMENT")]);
    cordon(&mut desk, vec![Uuid::from_u128(9)]);
    let (response, _) = create(&mut desk, vec![by_hand("t", &[&[1, 2]])]);
    assert_eq!(created(&response), [("t".to_owned(), "NONE")]);
}

#[test]
fn operations_are_checked_where_there_is_an_authorizer() {
    let mut desk = Desk::guarded(30, false);
    desk.ask_as("nobody");
    let (response, _) = create(&mut desk, vec![topic("t", 1, 1)]);
    assert_eq!(created(&response), [("t".to_owned(), "TOPIC_AUTHORIZATION_FAILED")]);
    let (results, _) = add(&mut desk, vec![more("foo", 2, None)], false);
    assert_eq!(results, [("foo".to_owned(), "TOPIC_AUTHORIZATION_FAILED")]);
    // Kafka tells that there is one, not how it is called.
    let (answers, _) = delete(&mut desk, vec![state(None, Uuid::from_u128(0xf00))], &[]);
    assert_eq!(answers[0].2, "TOPIC_AUTHORIZATION_FAILED");
    let (answers, _) = delete(&mut desk, vec![state(Some("foo"), Uuid::ZERO)], &[]);
    assert_eq!(answers[0].2, "TOPIC_AUTHORIZATION_FAILED");
}

#[test]
fn effective_min_isr_comes_from_the_nearest_place() {
    use quorate_controller::cluster_view::ClusterView;
    let mut desk = desk();
    create(&mut desk, vec![by_hand("t", &[&[1, 2, 3]]), by_hand("u", &[&[1]])]);
    let rules = |desk: &Desk, topic: &str| {
        let view = ClusterView::new(&desk.image, &desk.config);
        view.topic_rules(desk.image.topics.by_name(topic).expect("exists"))
    };
    desk.config.min_insync_replicas = 2;
    assert_eq!(rules(&desk, "t").min_isr, 2);
    assert_eq!(rules(&desk, "u").min_isr, 1, "never above the number of replicas");
    desk.apply(config(4, "", "min.insync.replicas", Some("3")));
    assert_eq!(rules(&desk, "t").min_isr, 3);
    desk.apply(config(4, "1", "min.insync.replicas", Some("2")));
    assert_eq!(rules(&desk, "t").min_isr, 2);
    desk.apply(config(2, "t", "min.insync.replicas", Some("1")));
    assert_eq!(rules(&desk, "t").min_isr, 1);
    assert!(!rules(&desk, "t").unclean_election);
    desk.apply(config(4, "", "unclean.leader.election.enable", Some("TRUE")));
    assert!(rules(&desk, "t").unclean_election);
    desk.config.static_settings.insert(Str::from("min.insync.replicas"), Str::from("9"));
    assert_eq!(rules(&desk, "t").min_isr, 1, "the topic's own value is the nearest");
}
