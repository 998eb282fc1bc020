//! IncrementalAlterConfigs and AlterConfigs. The rows are what Kafka 4.3.0 and 4.4.0 answered to the same
//! requests, unless a row says otherwise.

mod desk;
mod world;

use desk::{Desk, config, name};
use quorate_controller::AuthorizerConfig;
use quorate_controller::decide::configs::{
    alter_configs, incremental_alter_configs, set_new_topic_configs,
};
use quorate_metadata::Str;
use quorate_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use quorate_protocol::messages::*;
use quorate_protocol::records::ClearElrRecord;
use quorate_protocol::{AnyRequest, AnyResponse, KStr, MetadataRecord};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;

type Op<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, resource: &str, ops: &[Op<'_>]) -> AlterConfigsResource {
    let op = |(name, operation, value): &Op<'_>| AlterableConfig {
        name: KStr::from(*name),
        config_operation: *operation,
        value: value.map(KStr::from),
        ..Default::default()
    };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: KStr::from(resource),
        configs: ops.iter().map(op).collect(),
        ..Default::default()
    }
}

type Outcome = (i8, String, &'static str, Option<String>);

fn alter(
    desk: &mut Desk,
    resources: Vec<AlterConfigsResource>,
    validate_only: bool,
) -> (Vec<Outcome>, Vec<MetadataRecord>) {
    let request = IncrementalAlterConfigsRequest { resources, validate_only, ..Default::default() };
    let (answer, records) =
        desk.decide(|env, draft, context| incremental_alter_configs(env, draft, context, &request));
    let outcomes = answer.responses.into_iter().map(|it| {
        let message = it.error_message.map(String::from);
        (it.resource_type, it.resource_name.into(), name(it.error_code), message)
    });
    (outcomes.collect(), records)
}

/// One resource: error and text, records.
fn one(desk: &mut Desk, it: AlterConfigsResource) -> (&'static str, String, Vec<MetadataRecord>) {
    let (mut outcomes, records) = alter(desk, vec![it], false);
    assert_eq!(outcomes.len(), 1);
    let (_, _, error, message) = outcomes.remove(0);
    (error, message.unwrap_or_default(), records)
}

#[test]
fn incremental_alter_configs_writes_what_changes() {
    let mut desk = Desk::at(30);
    let (error, _, records) =
        one(&mut desk, resource(TOPIC, "foo", &[("retention.ms", SET, Some("5"))]));
    assert_eq!((error, records), ("NONE", vec![config(TOPIC, "foo", "retention.ms", Some("5"))]));
    let (error, _, records) =
        one(&mut desk, resource(TOPIC, "foo", &[("retention.ms", SET, Some("5"))]));
    assert_eq!((error, records), ("NONE", vec![]), "it is so already");
    let (error, _, records) =
        one(&mut desk, resource(TOPIC, "foo", &[("retention.ms", DELETE, None)]));
    assert_eq!((error, records), ("NONE", vec![config(TOPIC, "foo", "retention.ms", None)]));
    let (error, _, records) =
        one(&mut desk, resource(TOPIC, "foo", &[("retention.ms", DELETE, None)]));
    assert_eq!((error, records), ("NONE", vec![]), "it is gone already");
}

#[test]
fn brokers_are_told_again_of_what_did_not_change() {
    let mut desk = Desk::at(30);
    let asked = || resource(BROKER, "7", &[("ssl.keystore.location", SET, Some("/k"))]);
    let expected = vec![config(BROKER, "7", "ssl.keystore.location", Some("/k"))];
    assert_eq!(one(&mut desk, asked()), ("NONE", String::new(), expected.clone()));
    assert_eq!(one(&mut desk, asked()), ("NONE", String::new(), expected));
}

#[test]
fn setting_null_removes() {
    let mut desk = Desk::at(30);
    desk.apply(config(TOPIC, "foo", "flush.ms", Some("1")));
    let (error, _, records) = one(&mut desk, resource(TOPIC, "foo", &[("flush.ms", SET, None)]));
    assert_eq!((error, records), ("NONE", vec![config(TOPIC, "foo", "flush.ms", None)]));
}

#[test]
fn lists_grow_and_shrink() {
    const EMPTY: &str = "Configuration 'cleanup.policy' values must not be empty.";
    let mut desk = Desk::at(30);
    let policy =
        |operation, value| resource(TOPIC, "foo", &[("cleanup.policy", operation, Some(value))]);
    let written = |value| vec![config(TOPIC, "foo", "cleanup.policy", Some(value))];
    let (_, _, records) = one(&mut desk, policy(APPEND, "compact"));
    assert_eq!(records, written("delete,compact"), "starts from the default");
    assert_eq!(one(&mut desk, policy(APPEND, "delete,compact")).2, vec![], "both are there");
    assert_eq!(one(&mut desk, policy(SUBTRACT, " delete")).2, vec![], "spaces belong to an entry");
    assert_eq!(one(&mut desk, policy(APPEND, ",")).2, vec![], "no entry at all");
    let (error, why, _) = one(&mut desk, policy(APPEND, ""));
    assert_eq!((error, &*why), ("INVALID_CONFIG", EMPTY), "an empty entry");
    assert_eq!(one(&mut desk, policy(SUBTRACT, "delete")).2, written("compact"));
    assert_eq!(one(&mut desk, policy(SUBTRACT, "compact,delete")).2, written(""));
    let broker = resource(BROKER, "7", &[("log.cleanup.policy", APPEND, Some("compact"))]);
    let (_, _, records) = one(&mut desk, broker);
    assert_eq!(records, vec![config(BROKER, "7", "log.cleanup.policy", Some("delete,compact"))]);
    // What is set for the cluster is no beginning.
    let mut desk = Desk::at(30);
    desk.apply(config(BROKER, "", "log.cleanup.policy", Some("compact")));
    assert_eq!(one(&mut desk, policy(APPEND, "delete")).2, written("delete"));
}

#[test]
fn each_error_of_one_resource() {
    let long = "x".repeat(32_768);
    let long: &str = &long;
    #[rustfmt::skip]
    let rows: &[(i8, &str, &[Op<'_>], &str, &str)] = &[
        (3, "foo", &[("x", SET, Some("y"))], "UNSUPPORTED_VERSION", "Unknown resource type 3."),
        (0, "foo", &[("x", SET, Some("y"))], "UNSUPPORTED_VERSION", "Unknown resource type 0."),
        (TOPIC, "foo", &[("retention.ms", APPEND, Some("5"))], "INVALID_CONFIG", "Can't APPEND to key retention.ms because its type is not LIST."),
        (TOPIC, "foo", &[("bogus", SUBTRACT, Some("5"))], "INVALID_CONFIG", "Can't SUBTRACT to key bogus because its type is not LIST."),
        // Kafka's controller breaks over these two and resigns.
        (TOPIC, "foo", &[("cleanup.policy", APPEND, None)], "INVALID_REQUEST", "Null value"),
        (TOPIC, "foo", &[("cleanup.policy", 9, Some("x"))], "INVALID_REQUEST", "Unknown config operation 9"),
        (TOPIC, "foo", &[("leader.replication.throttled.replicas", SET, Some(long))], "INVALID_CONFIG", "exceeds the maximum value size"),
        (TOPIC, "", &[("retention.ms", SET, Some("1"))], "INVALID_REQUEST", "Default topic resources are not allowed."),
        (TOPIC, "a b", &[("retention.ms", SET, Some("1"))], "INVALID_TOPIC_EXCEPTION", "Topic name is invalid"),
        (TOPIC, "nope", &[("retention.ms", SET, Some("x"))], "INVALID_CONFIG", "Not a number of type LONG"),
        (TOPIC, "nope", &[("retention.ms", SET, Some("1"))], "UNKNOWN_TOPIC_OR_PARTITION", "The topic 'nope' does not exist."),
        (TOPIC, "foo", &[("bogus", SET, Some("1"))], "INVALID_CONFIG", "Unknown topic config name: bogus"),
        (TOPIC, "foo", &[("retention.ms", SET, Some("x"))], "INVALID_CONFIG", "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        (TOPIC, "foo", &[("segment.bytes", SET, Some("9999999999999"))], "INVALID_CONFIG", "Not a number of type INT"),
        (TOPIC, "foo", &[("segment.bytes", SET, Some("1"))], "INVALID_CONFIG", "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"),
        (TOPIC, "foo", &[("preallocate", SET, Some("x"))], "INVALID_CONFIG", "Expected value to be either true or false"),
        (TOPIC, "foo", &[("min.cleanable.dirty.ratio", SET, Some("x"))], "INVALID_CONFIG", "Not a number of type DOUBLE"),
        (TOPIC, "foo", &[("min.cleanable.dirty.ratio", SET, Some("2"))], "INVALID_CONFIG", "Value must be no more than 1"),
        (TOPIC, "foo", &[("compression.gzip.level", SET, Some("0"))], "INVALID_CONFIG", "Value must be between 1 and 9 or equal to -1"),
        (TOPIC, "foo", &[("compression.lz4.level", SET, Some("0"))], "INVALID_CONFIG", "Value must be at least 1"),
        (TOPIC, "foo", &[("compression.type", SET, Some("brotli"))], "INVALID_CONFIG", "String must be one of: uncompressed, zstd"),
        (TOPIC, "foo", &[("cleanup.policy", SET, Some("shred"))], "INVALID_CONFIG", "String must be one of: compact, delete"),
        (TOPIC, "foo", &[("cleanup.policy", SET, Some("delete,,compact"))], "INVALID_CONFIG", "values must not be empty"),
        (TOPIC, "foo", &[("leader.replication.throttled.replicas", SET, Some("0:1,*"))], "INVALID_CONFIG", "must be the literal '*'"),
        (TOPIC, "foo", &[("min.compaction.lag.ms", SET, Some("10")), ("max.compaction.lag.ms", SET, Some("5"))], "INVALID_CONFIG", "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"),
        (TOPIC, "foo", &[("remote.storage.enable", SET, Some("true"))], "INVALID_CONFIG", "Tiered Storage functionality is disabled"),
        (TOPIC, "foo", &[("min.insync.replicas", SET, Some("0"))], "INVALID_CONFIG", "Value must be at least 1"),
        (BROKER, "99", &[("x", SET, Some("0"))], "BROKER_ID_NOT_REGISTERED", "No node with id 99 found."),
        (BROKER, "-1", &[("x", SET, Some("0"))], "INVALID_REQUEST", "Invalid negative broker ID."),
        (BROKER, "abc", &[("x", SET, Some("0"))], "INVALID_REQUEST", "Unable to parse broker name as a base 10 number."),
        (BROKER, "7", &[("bogus", APPEND, Some("0"))], "INVALID_CONFIG", "its type is not LIST"),
        (BROKER, "7", &[("min.insync.replicas", SET, Some("1"))], "INVALID_CONFIG", "Broker-level min.insync.replicas cannot be altered while ELR is enabled."),
        (BROKER, "7", &[("min.insync.replicas", DELETE, None)], "INVALID_CONFIG", "Broker-level min.insync.replicas cannot be altered while ELR is enabled."),
        (BROKER, "", &[("min.insync.replicas", DELETE, None)], "INVALID_CONFIG", "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."),
        // Kafka takes it, and fails over it at the next change of an ISR.
        (BROKER, "", &[("min.insync.replicas", SET, Some("x"))], "INVALID_CONFIG", "Not a number of type INT"),
        (METRICS, "", &[("interval.ms", SET, Some("100"))], "INVALID_REQUEST", "Subscription name can't be empty"),
        (METRICS, "s", &[("bogus", SET, Some("100"))], "INVALID_REQUEST", "Unknown client metrics configuration: bogus"),
        (METRICS, "s", &[("interval.ms", SET, Some("x"))], "INVALID_CONFIG", "Not a number of type INT"),
        (METRICS, "s", &[("interval.ms", SET, Some("1"))], "INVALID_REQUEST", "interval must be between 100 and 3600000 (1 hour)"),
        (METRICS, "s", &[("match", SET, Some("foo=bar"))], "INVALID_CONFIG", "Illegal client matching pattern: foo=bar"),
        (METRICS, "s", &[("match", SET, Some("client_id"))], "INVALID_CONFIG", "Illegal client matching pattern: client_id"),
        (METRICS, "s", &[("match", SET, Some("client_id=["))], "INVALID_CONFIG", "Illegal client matching pattern: client_id=["),
        (GROUP, "", &[("consumer.session.timeout.ms", SET, Some("50000"))], "INVALID_REQUEST", "Default group resources are not allowed."),
        (GROUP, "g", &[("bogus", SET, Some("1"))], "INVALID_CONFIG", "Unknown group config name: bogus"),
        (GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("-1"))], "INVALID_CONFIG", "Value must be at least 1"),
        (GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("1"))], "INVALID_CONFIG", "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive."),
        (GROUP, "g", &[("share.record.lock.duration.ms", SET, Some("99999999"))], "INVALID_CONFIG", "must be in the range 15000 to 60000 inclusive."),
        (GROUP, "g", &[("share.delivery.count.limit", SET, Some("11"))], "INVALID_CONFIG", "must be in the range 2 to 10 inclusive."),
        (GROUP, "g", &[("share.partition.max.record.locks", SET, Some("5000"))], "INVALID_CONFIG", "must be in the range 100 to 4000 inclusive."),
        (GROUP, "g", &[("streams.num.standby.replicas", SET, Some("3"))], "INVALID_CONFIG", "streams.num.standby.replicas must be less than or equal to 2"),
        (GROUP, "g", &[("share.auto.offset.reset", SET, Some("x"))], "INVALID_CONFIG", "share.auto.offset.reset"),
        (GROUP, "g", &[("share.isolation.level", SET, Some("x"))], "INVALID_CONFIG", "String must be one of: read_committed, read_uncommitted"),
        (LOGGER, "2", &[("kafka", SET, Some("DEBUG"))], "INVALID_REQUEST", "Unexpected node id. Expected 1, but received 2"),
        (LOGGER, "x", &[("kafka", SET, Some("DEBUG"))], "INVALID_REQUEST", "Node id must be an integer"),
        (LOGGER, "1", &[("kafka.controller", SET, Some("DEBUG"))], "INVALID_CONFIG", "Logger kafka.controller does not exist!"),
    ];
    for (kind, name, ops, expected, text) in rows {
        let mut desk = Desk::with_elr();
        let (error, message, records) = one(&mut desk, resource(*kind, name, ops));
        assert_eq!((error, records), (*expected, vec![]), "{kind} {name} {ops:?}: {message}");
        assert!(message.contains(text), "{kind} {name} {ops:?}: {message}");
    }
}

#[test]
fn values_that_kafka_takes() {
    #[rustfmt::skip]
    let rows: &[(i8, &str, &[Op<'_>])] = &[
        (TOPIC, "foo", &[("cleanup.policy", SET, Some(""))]),
        (TOPIC, "foo", &[("cleanup.policy", SET, Some("delete,delete"))]),
        (TOPIC, "foo", &[("leader.replication.throttled.replicas", SET, Some("*"))]),
        (TOPIC, "foo", &[("min.insync.replicas", SET, Some("1"))]),
        (BROKER, "7", &[("bogus", SET, Some("0"))]),
        (BROKER, "07", &[("bogus", SET, Some("0"))]),
        (BROKER, "1", &[("bogus", SET, Some("0"))]),
        (BROKER, "", &[("min.insync.replicas", SET, Some("2"))]),
        (METRICS, "s", &[("match", SET, Some("client_id=a.*,client_source_port=1")), ("interval.ms", SET, Some("100"))]),
        (GROUP, "g", &[("streams.num.standby.replicas", SET, Some("1"))]),
        (GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("50000"))]),
        (GROUP, "g", &[("share.auto.offset.reset", SET, Some("by_duration:PT1H"))]),
    ];
    for (kind, name, ops) in rows {
        let (error, message, records) = one(&mut Desk::with_elr(), resource(*kind, name, ops));
        assert_eq!(error, "NONE", "{kind} {name} {ops:?}: {message}");
        assert!(!records.is_empty(), "{kind} {name} {ops:?}");
    }
}

#[test]
fn resources_not_looked_at_come_first_and_loggers_last() {
    let asked = vec![
        resource(LOGGER, "1", &[("kafka", SET, Some("INFO"))]),
        resource(TOPIC, "nope", &[("retention.ms", SET, Some("x"))]),
        resource(TOPIC, "foo", &[("flush.ms", SET, Some("5"))]),
        resource(GROUP, "g", &[("bogus", SET, Some("5"))]),
        resource(3, "a", &[("b", SET, Some("c"))]),
        resource(GROUP, "g", &[("bogus", SET, Some("5"))]),
        resource(GROUP, "g", &[("bogus", SET, Some("5"))]),
    ];
    let (outcomes, records) = alter(&mut Desk::at(30), asked, false);
    let seen: Vec<_> = outcomes.iter().map(|(_, name, error, _)| (name.as_str(), *error)).collect();
    assert_eq!(
        seen,
        [
            ("g", "INVALID_REQUEST"),
            ("a", "UNSUPPORTED_VERSION"),
            ("nope", "INVALID_CONFIG"),
            ("foo", "NONE"),
            ("1", "INVALID_CONFIG"),
        ]
    );
    assert_eq!(outcomes[0].3.as_deref(), Some("Duplicate resource."));
    assert_eq!(records, [config(TOPIC, "foo", "flush.ms", Some("5"))]);
}

#[test]
fn the_last_of_two_settings_of_one_key_counts() {
    let ops = [("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))];
    let (error, _, records) = one(&mut Desk::at(30), resource(TOPIC, "foo", &ops));
    assert_eq!((error, records), ("NONE", vec![config(TOPIC, "foo", "retention.ms", Some("2"))]));
    // The first is not even looked at.
    let ops = [("retention.ms", APPEND, Some("1")), ("retention.ms", SET, Some("2"))];
    let (error, _, records) = one(&mut Desk::at(30), resource(TOPIC, "foo", &ops));
    assert_eq!((error, records), ("NONE", vec![config(TOPIC, "foo", "retention.ms", Some("2"))]));
}

#[test]
fn validating_only_writes_nothing() {
    let asked = vec![
        resource(TOPIC, "foo", &[("flush.ms", SET, Some("5"))]),
        resource(TOPIC, "nope", &[("flush.ms", SET, Some("5"))]),
    ];
    let mut desk = Desk::at(30);
    let (outcomes, records) = alter(&mut desk, asked, true);
    let errors: Vec<_> = outcomes.iter().map(|it| it.2).collect();
    assert_eq!(errors, ["NONE", "UNKNOWN_TOPIC_OR_PARTITION"]);
    assert!(records.is_empty() && desk.image.configs.iter().next().is_none());
}

#[test]
fn more_than_ten_thousand_records_are_refused_as_a_whole() {
    let names: Vec<String> = (0..10_001).map(|it| format!("setting.{it}")).collect();
    let ops: Vec<Op<'_>> = names.iter().map(|it| (it.as_str(), SET, Some("v"))).collect();
    let other = resource(TOPIC, "foo", &[("flush.ms", SET, Some("5"))]);
    let mut desk = Desk::at(30);
    let (outcomes, records) = alter(&mut desk, vec![resource(BROKER, "7", &ops), other], false);
    assert!(outcomes.iter().all(|it| it.2 == "POLICY_VIOLATION"), "{outcomes:?}");
    assert!(records.is_empty());
    let (outcomes, records) = alter(&mut desk, vec![resource(BROKER, "7", &ops[1..])], false);
    assert_eq!((outcomes[0].2, records.len()), ("NONE", 10_000));
}

#[test]
fn elr_is_cleared_when_min_insync_replicas_changes() {
    let clear = |name: &str| -> MetadataRecord {
        ClearElrRecord { topic_name: KStr::from(name), ..Default::default() }.into()
    };
    let min_isr =
        |kind, name, value| resource(kind, name, &[("min.insync.replicas", SET, Some(value))]);
    let mut desk = Desk::with_elr();
    let asked = vec![
        min_isr(TOPIC, "foo", "2"),
        min_isr(BROKER, "", "3"),
        resource(BROKER, "7", &[("bogus", SET, Some("1"))]),
    ];
    let (_, records) = alter(&mut desk, asked, false);
    assert_eq!(
        records,
        [
            config(TOPIC, "foo", "min.insync.replicas", Some("2")),
            config(BROKER, "", "min.insync.replicas", Some("3")),
            config(BROKER, "7", "bogus", Some("1")),
            clear("foo"),
            clear(""),
        ]
    );
    let (_, _, records) = one(&mut desk, min_isr(TOPIC, "foo", "2"));
    assert!(records.is_empty(), "nothing changed");
    let mut without = Desk::at(30);
    let (_, _, records) = one(&mut without, min_isr(TOPIC, "foo", "2"));
    assert_eq!(records, [config(TOPIC, "foo", "min.insync.replicas", Some("2"))]);
}

#[test]
fn remote_storage_where_the_node_has_it() {
    let mut desk = Desk::at(30);
    desk.set_file("remote.log.storage.system.enable", "true");
    let remote = |ops: &[Op<'_>]| resource(TOPIC, "foo", ops);
    #[rustfmt::skip]
    let rows: &[(&[Op<'_>], &str, &str)] = &[
        (&[("remote.storage.enable", SET, Some("true")), ("cleanup.policy", SET, Some("compact"))], "INVALID_CONFIG", "only supports topics with cleanup.policy=delete"),
        (&[("remote.storage.enable", SET, Some("true")), ("retention.ms", SET, Some("10")), ("local.retention.ms", SET, Some("11"))], "INVALID_CONFIG", "retention.ms"),
        (&[("remote.storage.enable", SET, Some("true")), ("retention.bytes", SET, Some("10")), ("local.retention.bytes", SET, Some("-1"))], "INVALID_CONFIG", "retention.bytes"),
        (&[("remote.storage.enable", SET, Some("true"))], "NONE", ""),
        (&[("remote.storage.enable", SET, Some("false"))], "INVALID_CONFIG", "without deleting remote data"),
        (&[("remote.storage.enable", SET, Some("false")), ("remote.log.delete.on.disable", SET, Some("true"))], "NONE", ""),
    ];
    for (ops, expected, text) in rows {
        let (error, message, _) = one(&mut desk, remote(ops));
        assert_eq!(error, *expected, "{ops:?} {message}");
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn whoever_may_not_is_refused_by_kind() {
    let mut desk = Desk::at(30);
    desk.config.authorizer = Some(AuthorizerConfig::default());
    for (kind, resource_name, expected) in [
        (TOPIC, "foo", "TOPIC_AUTHORIZATION_FAILED"),
        (BROKER, "7", "CLUSTER_AUTHORIZATION_FAILED"),
        (METRICS, "s", "CLUSTER_AUTHORIZATION_FAILED"),
        (GROUP, "g", "GROUP_AUTHORIZATION_FAILED"),
        (LOGGER, "1", "CLUSTER_AUTHORIZATION_FAILED"),
    ] {
        let asked = resource(kind, resource_name, &[("bogus", SET, Some("1"))]);
        assert_eq!(one(&mut desk, asked).0, expected, "{kind}");
    }
}

fn legacy(
    desk: &mut Desk,
    kind: i8,
    resource: &str,
    values: &[(&str, Option<&str>)],
) -> (&'static str, Option<String>, Vec<MetadataRecord>) {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let request = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: KStr::from(resource),
            configs: values
                .iter()
                .map(|(name, value)| AlterableConfig {
                    name: KStr::from(*name),
                    value: value.map(KStr::from),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let (answer, records) =
        desk.decide(|env, draft, context| alter_configs(env, draft, context, &request));
    let [answer] = answer.responses.as_slice() else { panic!("one answer") };
    (name(answer.error_code), answer.error_message.clone().map(String::from), records)
}

#[test]
fn legacy_alter_configs_replaces_everything() {
    let mut desk = Desk::at(30);
    desk.apply(config(TOPIC, "foo", "retention.ms", Some("1")));
    desk.apply(config(TOPIC, "foo", "flush.ms", Some("2")));
    let (error, _, records) =
        legacy(&mut desk, TOPIC, "foo", &[("flush.ms", Some("2")), ("segment.ms", Some("9"))]);
    assert_eq!(error, "NONE");
    assert_eq!(
        records,
        [config(TOPIC, "foo", "retention.ms", None), config(TOPIC, "foo", "segment.ms", Some("9")),]
    );
    let (error, _, records) = legacy(&mut desk, TOPIC, "foo", &[("flush.ms", None)]);
    assert_eq!((error, records.len()), ("NONE", 2), "null is the same as not named");
}

#[test]
fn legacy_alter_configs_refuses() {
    let mut desk = Desk::with_elr();
    let (error, message, _) =
        legacy(&mut desk, BROKER, "", &[("log.flush.interval.ms", Some("5"))]);
    assert_eq!(error, "INVALID_CONFIG", "it would remove the minimum");
    assert!(message.expect("a text").contains("cannot be removed while ELR is enabled"));
    let (error, message, _) = legacy(&mut desk, LOGGER, "1", &[("kafka", Some("INFO"))]);
    assert_eq!(error, "INVALID_REQUEST");
    assert_eq!(message.as_deref(), Some("Unexpected resource type BROKER_LOGGER."));
    assert_eq!(legacy(&mut desk, 3, "1", &[]).0, "UNSUPPORTED_VERSION");
    assert_eq!(legacy(&mut desk, TOPIC, "nope", &[]).0, "UNKNOWN_TOPIC_OR_PARTITION");
}

#[test]
fn a_new_topic_need_not_exist_and_is_checked_with_the_file() {
    let mut desk = Desk::at(30);
    let new = |desk: &mut Desk, key: &str, value: &str| {
        let settings = [(Str::from(key), Some(Str::from(value)))];
        desk.decide(|env, draft, _| set_new_topic_configs(env, draft, "new", &settings))
    };
    let (outcome, records) = new(&mut desk, "flush.ms", "5");
    assert_eq!(outcome, Ok(()));
    assert_eq!(records, [config(TOPIC, "new", "flush.ms", Some("5"))]);
    desk.set_file("log.cleaner.max.compaction.lag.ms", "100");
    let (outcome, records) = new(&mut desk, "min.compaction.lag.ms", "101");
    assert_eq!(name(outcome.expect_err("above the file's").code()), "INVALID_CONFIG");
    assert!(records.is_empty());
}

#[test]
fn what_does_not_fit_into_one_append_is_refused_as_a_whole() {
    let mut world = world::World::active(30);
    world.register(7);
    world.appends.clear();
    let value = "v".repeat(32_000);
    let names: Vec<String> = (0..300).map(|it| format!("setting.{it}")).collect();
    let ops: Vec<Op<'_>> =
        names.iter().map(|it| (it.as_str(), SET, Some(value.as_str()))).collect();
    for (count, expected) in [(300, "POLICY_VIOLATION"), (200, "NONE")] {
        let resources = vec![resource(BROKER, "7", &ops[..count])];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        let answer = world.ask(AnyRequest::IncrementalAlterConfigs(request));
        let AnyResponse::IncrementalAlterConfigs(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(name(answer.responses[0].error_code), expected);
        let written = world.take_records().len();
        assert_eq!(written, if expected == "NONE" { count } else { 0 });
    }
}
