//! DescribeConfigs, against what a Kafka 4.4.0 controller with the same settings answered.
//!
//! The fixture: `R resource` begins an answer, `C name|value|read only|source|sensitive|type|synonyms` is one
//! config in it, with `\N` for no value and `name=value@source;…` for synonyms. After `R created` follow the
//! configs in an answer to CreateTopics, without type and synonyms.

mod desk;

use desk::{Desk, config, name};
use quorate_controller::decide::describe_configs::describe_configs;
use quorate_controller::decide::effective_configs::effective_new_topic_configs;
use quorate_protocol::KStr;
use quorate_protocol::messages::describe_configs_request::DescribeConfigsResource;
use quorate_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use quorate_protocol::messages::*;
use std::collections::BTreeMap;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;

fn desk() -> Desk {
    let mut desk = Desk::with_elr();
    for (name, value) in [
        ("process.roles", "controller"),
        ("node.id", "1"),
        ("listeners", "CONTROLLER://127.0.0.1:29394"),
        ("advertised.listeners", "CONTROLLER://127.0.0.1:29394"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT"),
        ("controller.quorum.bootstrap.servers", "127.0.0.1:29394"),
        ("log.dirs", "/data"),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
        ("allow.everyone.if.no.acl.found", "true"),
        ("delegation.token.secret.key", "secret"),
        ("log.roll.ms", "3600000"),
        ("log.retention.hours", "24"),
        ("ssl.key.password", "hush"),
        ("group.consumer.heartbeat.interval.ms", "6000"),
        ("num.partitions", "3"),
        ("quorate.unknown", "1"),
    ] {
        desk.set_file(name, value);
    }
    for (kind, resource, name, value) in [
        (TOPIC, "foo", "segment.bytes", "2000000"),
        (TOPIC, "foo", "retention.ms", "77"),
        (TOPIC, "foo", "cleanup.policy", " compact , delete"),
        (BROKER, "", "log.segment.bytes", "3000000"),
        (BROKER, "", "log.retention.ms", "88"),
        (BROKER, "1", "log.cleaner.threads", "2"),
        (BROKER, "1", "listener.name.controller.ssl.keystore.password", "x"),
        (BROKER, "1", "bogus.thing", "y"),
        (BROKER, "1", "log.preallocate", "TRUE"),
        (METRICS, "s", "interval.ms", "100"),
        (METRICS, "s", "match", "client_id=a"),
        (GROUP, "g", "consumer.session.timeout.ms", "46000"),
    ] {
        desk.apply(config(kind, resource, name, Some(value)));
    }
    desk
}

fn ask(
    desk: &mut Desk,
    asked: &[(i8, &str, Option<&[&str]>)],
    include_synonyms: bool,
) -> Vec<DescribeConfigsResult> {
    let resource = |(kind, name, keys): &(i8, &str, Option<&[&str]>)| DescribeConfigsResource {
        resource_type: *kind,
        resource_name: KStr::from(*name),
        configuration_keys: keys.map(|keys| keys.iter().map(|it| KStr::from(*it)).collect()),
        ..Default::default()
    };
    let resources = asked.iter().map(resource).collect();
    let request = DescribeConfigsRequest { resources, include_synonyms, ..Default::default() };
    let (answer, records) = desk.decide(|env, draft, context| {
        describe_configs(env, &draft.image().clone(), context, &request)
    });
    assert!(records.is_empty());
    answer.results
}

fn shown(value: &Option<KStr>) -> &str {
    value.as_deref().unwrap_or("\\N")
}

fn line(it: &DescribeConfigsResourceResult) -> String {
    let synonyms = it.synonyms.iter();
    let synonyms = synonyms.map(|it| format!("{}={}@{}", it.name, shown(&it.value), it.source));
    format!(
        "C {}|{}|{}|{}|{}|{}|{}",
        it.name,
        shown(&it.value),
        it.read_only,
        it.config_source,
        it.is_sensitive,
        it.config_type,
        synonyms.collect::<Vec<_>>().join(";")
    )
}

/// The fixture's answers by resource.
fn kafkas() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut answers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut resource = "";
    for line in include_str!("fixtures/describe_configs.txt").lines() {
        match line.strip_prefix("R ") {
            Some(next) => resource = next,
            None => answers.entry(resource).or_default().push(line),
        }
    }
    answers
}

/// Kafka forgets the file's log.retention.hours once log.retention.ms is set for all brokers (but still shows
/// it as a synonym), and fills in broker.id from node.id.
fn is_kafkas_own_way(line: &str) -> bool {
    line.starts_with("C log.retention.hours|") || line.starts_with("C broker.id|")
}

#[test]
fn our_answers_are_kafkas() {
    let kafkas = kafkas();
    for (resource, kind, name) in [
        ("topic foo", TOPIC, "foo"),
        ("broker 1", BROKER, "1"),
        ("broker ", BROKER, ""),
        ("metrics s", METRICS, "s"),
        ("group g", GROUP, "g"),
    ] {
        let results = ask(&mut desk(), &[(kind, name, None)], true);
        let [result] = results.as_slice() else { panic!("one result") };
        assert_eq!((result.error_code, result.error_message.as_deref()), (0, Some("")));
        assert_eq!((result.resource_type, result.resource_name.as_str()), (kind, name));
        let ours: Vec<String> = result.configs.iter().map(line).collect();
        let expected = &kafkas[resource];
        let missing = expected.iter().filter(|it| !ours.iter().any(|our| our == *it));
        let missing: Vec<_> = missing.filter(|it| !is_kafkas_own_way(it)).collect();
        let extra = ours.iter().filter(|it| !expected.contains(&it.as_str()));
        let extra: Vec<_> = extra.filter(|it| !is_kafkas_own_way(it)).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{resource}: Kafka has\n{missing:#?}\nwe have\n{extra:#?}"
        );
        assert!(result.configs.is_sorted_by_key(|it| it.name.clone()));
    }
}

#[test]
fn a_new_topics_configs_are_kafkas() {
    let own = BTreeMap::from([("segment.bytes", "2000000")]);
    let (configs, _) =
        desk().decide(|env, draft, _| effective_new_topic_configs(env, draft.image(), &own));
    let ours: Vec<String> = configs
        .iter()
        .map(|it| {
            let value = shown(&it.value);
            format!(
                "C {}|{value}|{}|{}|{}",
                it.name, it.read_only, it.config_source, it.is_sensitive
            )
        })
        .collect();
    assert_eq!(ours, kafkas()["created"]);
}

#[test]
fn only_what_is_asked_for_and_no_synonyms_unless_asked_for() {
    let keys: &[&str] = &["segment.bytes", "bogus", "retention.ms"];
    let results = ask(&mut desk(), &[(TOPIC, "foo", Some(keys))], false);
    let lines: Vec<String> = results[0].configs.iter().map(line).collect();
    assert_eq!(
        lines,
        ["C retention.ms|77|false|1|false|5|", "C segment.bytes|2000000|false|1|false|3|"]
    );
    let results = ask(&mut desk(), &[(TOPIC, "foo", Some(&[]))], false);
    assert!(results[0].configs.len() > 30, "an empty list asks for all");
}

#[test]
fn each_error_of_a_resource() {
    #[rustfmt::skip]
    let rows = [
        (TOPIC, "nope", "UNKNOWN_TOPIC_OR_PARTITION", ""),
        (TOPIC, "a b", "INVALID_TOPIC_EXCEPTION", "Topic name is invalid"),
        (TOPIC, "", "INVALID_TOPIC_EXCEPTION", "Topic name is invalid"),
        (BROKER, "7", "INVALID_REQUEST", "Unexpected broker id, expected 1 or empty string, but received 7"),
        (BROKER, "abc", "INVALID_REQUEST", "Broker id must be an integer, but it is: abc"),
        (LOGGER, "", "INVALID_REQUEST", "Broker id must not be empty"),
        (LOGGER, "7", "INVALID_REQUEST", "Unexpected broker id, expected 1 but received 7"),
        (METRICS, "", "INVALID_REQUEST", "Client metrics subscription name must not be empty"),
        (GROUP, "", "INVALID_REQUEST", "Group name must not be empty"),
        (3, "g", "INVALID_REQUEST", "Unexpected resource type 3."),
        // No loggers of Java's, no levels.
        (LOGGER, "1", "NONE", ""),
    ];
    for (kind, resource, error, text) in rows {
        let results = ask(&mut desk(), &[(kind, resource, None)], true);
        assert_eq!(name(results[0].error_code), error, "{kind} {resource}");
        let message = results[0].error_message.as_deref().unwrap_or_default();
        assert!(message.contains(text), "{message}");
        assert!(results[0].configs.is_empty());
    }
}

#[test]
fn a_type_that_nobody_knows_refuses_the_whole_request() {
    let results = ask(&mut desk(), &[(TOPIC, "foo", None), (3, "x", None)], false);
    assert!(results.iter().all(|it| name(it.error_code) == "INVALID_REQUEST"), "{results:?}");
    assert_eq!(results.len(), 2);
}

#[test]
fn what_may_not_be_described_comes_last() {
    let mut desk = desk();
    desk.config.authorizer = Some(Default::default());
    desk.ask_as("alice");
    let read_foo = quorate_metadata::StandardAcl {
        id: quorate_base::Uuid::from_u128(1),
        resource_type: 2,
        resource_name: "foo".into(),
        pattern_type: 3,
        principal: "User:alice".into(),
        host: "*".into(),
        operation: 10,
        permission_type: 3,
    };
    desk.apply(read_foo.to_record());
    let asked = [
        (BROKER, "1", None),
        (TOPIC, "bar", None),
        (GROUP, "g", None),
        (METRICS, "s", None),
        (LOGGER, "1", None),
        (TOPIC, "foo", None),
    ];
    let results = ask(&mut desk, &asked, false);
    let seen: Vec<_> =
        results.iter().map(|it| (it.resource_name.as_str(), name(it.error_code))).collect();
    assert_eq!(
        seen,
        [
            ("foo", "NONE"),
            ("1", "CLUSTER_AUTHORIZATION_FAILED"),
            ("bar", "TOPIC_AUTHORIZATION_FAILED"),
            ("g", "GROUP_AUTHORIZATION_FAILED"),
            ("s", "CLUSTER_AUTHORIZATION_FAILED"),
            ("1", "CLUSTER_AUTHORIZATION_FAILED"),
        ]
    );
}

#[test]
fn of_what_is_set_for_all_brokers_only_what_has_an_effect_is_shown() {
    let mut desk = Desk::at(30);
    for (name, value) in [
        ("log.cleaner.threads", "x"),
        ("follower.replication.throttled.rate", "-3"),
        ("leader.replication.throttled.rate", "3"),
        ("log.retention.ms", "-1"),
        ("node.id", "4"),
        ("bogus.thing", "y"),
    ] {
        desk.apply(config(BROKER, "", name, Some(value)));
    }
    let results = ask(&mut desk, &[(BROKER, "", None)], false);
    let shown: Vec<&str> = results[0].configs.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(shown, ["bogus.thing", "leader.replication.throttled.rate", "log.retention.ms"]);
}
