//! What `server.properties` may say, and what is answered to what it may not.

use quorate_server::config::properties::Properties;
use quorate_server::config::{ServerConfig, reference, table};
use std::time::Duration;

const GOOD: &str = "\
process.roles=controller
node.id=1
listeners=CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:9093
log.dirs=/data/c1
";

fn load(text: &str) -> Result<ServerConfig, String> {
    let properties = Properties::parse(text.as_bytes(), "server.properties").expect("syntax");
    ServerConfig::from_properties(&properties, "server.properties").map_err(|e| e.to_string())
}

/// `GOOD` with more lines; a line for a key of `GOOD` replaces it.
fn load_with(lines: &str) -> Result<ServerConfig, String> {
    load(&format!("{GOOD}{lines}"))
}

#[test]
fn a_plain_controller_file_is_read_with_kafkas_defaults() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.metadata_dir.to_str(), Some("/data/c1"));
    assert_eq!(config.listeners, config.advertised_listeners);
    assert_eq!(config.bootstrap_servers, [("127.0.0.1".to_owned(), 9093)]);
    assert_eq!(config.quorum.fetch_timeout, Duration::from_secs(2));
    assert_eq!(config.log.segment_bytes, 1 << 30);
    assert_eq!(config.log.idle_interval, Some(Duration::from_millis(500)));
    assert_eq!(config.controller.broker_session_timeout, Duration::from_secs(9));
    assert!(config.controller.topic_defaults.is_empty());
    assert!(config.unknown.is_empty());
}

#[test]
fn every_problem_is_reported_with_its_place_and_what_is_allowed() {
    let message = load_with(
        "controller.quorum.fetch.timeout.ms=soon\nnum.partitions=0\nauto.leader.rebalance.enable=maybe\n",
    )
    .unwrap_err();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    for (line, parts) in lines.iter().zip([
        ["server.properties:7:", "controller.quorum.fetch.timeout.ms=soon", "from 0 up"],
        ["server.properties:9:", "auto.leader.rebalance.enable=maybe", "true or false"],
        ["server.properties:8:", "num.partitions=0", "from 1 up"],
    ]) {
        for part in parts {
            assert!(line.contains(part), "{line} lacks {part}");
        }
    }
}

#[test]
fn settings_of_the_quorum_are_refused_below_their_range() {
    for setting in [
        "election.timeout.ms",
        "fetch.timeout.ms",
        "election.backoff.max.ms",
        "append.linger.ms",
        "request.timeout.ms",
        "retry.backoff.ms",
        "auto.join.enable",
        "fetch.snapshot.max.bytes",
        "fetch.max.bytes",
    ] {
        let line = format!("controller.quorum.{setting}=-1");
        let message = load_with(&line).expect_err(&line);
        assert!(message.contains(&line), "{line} answered: {message}");
    }
}

#[test]
fn each_refusal_names_its_setting() {
    for (lines, setting, hint) in [
        ("process.roles=broker", "process.roles", "run brokers with Apache Kafka"),
        ("process.roles=broker,controller", "process.roles", "Combined mode"),
        ("process.roles=", "process.roles", "missing"),
        ("node.id=-1", "node.id", "from 0"),
        ("node.id=", "node.id", "whole number"),
        ("listeners=CONTROLLER//h", "listeners", "NAME://host:port"),
        ("listeners=", "listeners", "missing"),
        ("listeners=CONTROLLER://:1,PLAINTEXT://:2", "listeners", "controller.listener.names"),
        ("listeners=CONTROLLER://:1,CONTROLLER://:2", "listeners", "twice"),
        ("controller.listener.names=X", "controller.listener.names", "listeners"),
        ("listener.security.protocol.map=CONTROLLER:SSL", "ssl.keystore.location", "certificate"),
        (
            "listener.security.protocol.map=CONTROLLER:NOISE",
            "listener.security.protocol.map",
            "SASL_SSL",
        ),
        (
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT",
            "listener.security.protocol.map",
            "missing",
        ),
        (
            "listener.security.protocol.map=CONTROLLER",
            "listener.security.protocol.map",
            "NAME:PROTOCOL",
        ),
        ("advertised.listeners=CONTROLLER://0.0.0.0:1", "advertised.listeners", "nobody can dial"),
        ("advertised.listeners=X://h:1", "advertised.listeners", "not in listeners"),
        ("controller.quorum.voters=2@h:1", "controller.quorum.voters", "among the voters"),
        ("controller.quorum.voters=1@h:1,1@h:2", "controller.quorum.voters", "twice"),
        ("controller.quorum.voters=h:1", "controller.quorum.voters", "id@host:port"),
        (
            "controller.quorum.bootstrap.servers=h",
            "controller.quorum.bootstrap.servers",
            "host:port",
        ),
        ("controller.quorum.bootstrap.servers=", "controller.quorum.voters", "needed"),
        ("log.dirs=,", "log.dirs", "at least one"),
        ("authorizer.class.name=org.example.A", "authorizer.class.name", "StandardAuthorizer"),
        (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=root",
            "super.users",
            "User:name",
        ),
        ("create.topic.policy.class.name=a.B", "create.topic.policy.class.name", "Java"),
        ("alter.config.policy.class.name=a.B", "alter.config.policy.class.name", "Java"),
        ("client.quota.callback.class=a.B", "client.quota.callback.class", "Java"),
        ("principal.builder.class=a.B", "principal.builder.class", "Java"),
        ("config.providers=file", "config.providers", "providers"),
        ("metadata.log.segment.bytes=100", "metadata.log.segment.bytes", "8388608"),
        ("quorate.log.level=loud", "quorate.log.level", "one of error"),
        ("compression.type=arj", "compression.type", "zstd"),
    ] {
        let message = load_with(lines).expect_err(lines);
        assert!(message.contains(setting) && message.contains(hint), "{lines} answered: {message}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = load_with("delegation.token.secret.key=s3cret").unwrap();
    assert_eq!(config.controller.delegation_token_secret.as_deref(), Some("s3cret"));
    assert!(!config.controller.explicit.contains_key("delegation.token.secret.key"));
}

#[test]
fn what_only_kafka_knows_is_silent_and_what_nobody_knows_is_named() {
    let config = load_with(
        "num.io.threads=8\nzookeeper.connect=x\nlistener.name.x.ssl.keystore.type=PEM\n\
         principal.builder.class=org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder\n\
         authorizer.class.name=\nfoo.bar=1\nquorate.fast.failver=true\n",
    )
    .unwrap();
    assert_eq!(
        config.unknown,
        ["foo.bar (server.properties:12)", "quorate.fast.failver (server.properties:13)"]
    );
}

#[test]
fn listeners_without_a_host_advertise_the_machine_and_stated_ones_win() {
    let config = load_with("listeners=CONTROLLER://:9093,OTHER://0.0.0.0:9094\n\
        controller.listener.names=CONTROLLER,OTHER\nadvertised.listeners=OTHER://c1.example.com:19094")
    .unwrap();
    assert_eq!(config.advertised_listeners[0].host, "");
    assert_eq!(config.advertised_listeners[1].to_string(), "OTHER://c1.example.com:19094");
}

#[test]
fn a_static_quorum_and_a_separate_metadata_directory() {
    let config = load_with(
        "controller.quorum.bootstrap.servers=\ncontroller.quorum.voters=1@a:1,2@b:2\n\
         log.dirs=/d1,/d2,/d1\nmetadata.log.dir=/m\n",
    )
    .unwrap();
    assert_eq!(config.static_voters.len(), 2);
    assert_eq!(config.log_dirs.len(), 3);
    assert_eq!(config.metadata_dir.to_str(), Some("/m"));
}

#[test]
fn topic_defaults_follow_kafkas_synonyms() {
    let config = load_with(
        "log.retention.hours=2\nlog.roll.ms=7\nlog.roll.hours=9\nmessage.max.bytes=5\n\
         log.flush.scheduler.interval.ms=3\nlog.retention.bytes=-1\nunclean.leader.election.enable=true\n",
    )
    .unwrap();
    let defaults: Vec<(&str, &str)> =
        config.controller.topic_defaults.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        defaults,
        [
            ("flush.ms", "3"),
            ("max.message.bytes", "5"),
            ("retention.bytes", "-1"),
            ("retention.ms", "7200000"),
            ("segment.ms", "7"),
            ("unclean.leader.election.enable", "true"),
        ]
    );
    assert!(config.controller.unclean_leader_election);
}

#[test]
fn zero_and_negative_values_that_mean_never() {
    let config = load_with(
        "metadata.max.idle.interval.ms=0\nmetadata.log.max.snapshot.interval.ms=0\n\
         metadata.max.retention.bytes=-1\nmetadata.max.retention.ms=-1\nconnections.max.idle.ms=-1\n",
    )
    .unwrap();
    assert_eq!(config.log.idle_interval, None);
    assert_eq!(config.log.snapshot_interval, None);
    assert_eq!(config.log.retention_bytes, None);
    assert_eq!(config.log.retention_age, None);
    assert_eq!(config.network.max_idle, None);
}

#[test]
fn broker_id_stands_in_for_node_id() {
    let text = GOOD.replace("node.id", "broker.id");
    assert_eq!(load(&text).unwrap().node_id, 1);
}

#[test]
fn the_reference_page_is_what_the_table_prints() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(page, reference::markdown()).expect("the page can be written");
    }
    let checked_in = std::fs::read_to_string(page).expect("docs/reference/configuration.md exists");
    assert!(
        checked_in == reference::markdown(),
        "docs/reference/configuration.md is stale: run UPDATE=1 cargo test -p quorate-server --test config"
    );
    assert!(table::SETTINGS.len() > 80);
}

#[test]
fn the_standard_authorizer_and_its_settings_are_read() {
    const CLASS: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let config = load_with(&format!(
        "authorizer.class.name={CLASS}\nsuper.users=User:ANONYMOUS; User:CN=admin,O=x\nallow.everyone.if.no.acl.found=true"
    ))
    .expect("a good file");
    let authorizer = config.authorizer.expect("one is configured");
    let users: Vec<String> = authorizer.super_users.iter().map(ToString::to_string).collect();
    assert_eq!(users, ["User:ANONYMOUS", "User:CN=admin,O=x"]);
    assert!(authorizer.allow_everyone_if_no_acl_found);
    assert!(load_with("").expect("a good file").authorizer.is_none());
}
