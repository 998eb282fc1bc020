//! Stock brokers of every supported release on the controller under test, driven by Kafka's own
//! command-line tools. One cluster a release: starting JVMs is what these tests cost.
use quorate_interop::{Cluster, DEADLINE, KafkaVersion, Outcome, Tool, ensure};
use std::time::Duration;

#[test]
fn brokers_of_3_9_1_serve_all_tools() -> Outcome<()> {
    serves_all_tools("kafka-3.9.1", KafkaVersion::V3_9_1)
}

#[test]
fn brokers_of_4_1_1_serve_all_tools() -> Outcome<()> {
    serves_all_tools("kafka-4.1.1", KafkaVersion::V4_1_1)
}

#[test]
fn brokers_of_4_3_0_serve_all_tools() -> Outcome<()> {
    serves_all_tools("kafka-4.3.0", KafkaVersion::V4_3_0)
}

#[test]
fn brokers_of_4_4_0_serve_all_tools() -> Outcome<()> {
    serves_all_tools("kafka-4.4.0", KafkaVersion::V4_4_0)
}

fn serves_all_tools(name: &str, version: KafkaVersion) -> Outcome<()> {
    let cluster = Cluster::builder(name).brokers(3, version).start()?;
    topics_are_created_described_altered_and_deleted(&cluster)?;
    configs_are_set_described_and_deleted(&cluster)?;
    a_group_consumes_what_was_produced(&cluster)?;
    idempotent_and_transactional_producers_get_ids(&cluster)?;
    leaders_are_elected(&cluster)?;
    the_cluster_describes_itself(&cluster)?;
    the_controller_answers_tools_itself(&cluster)?;
    kafka_decodes_every_record_in_a_brokers_copy_of_the_metadata_log(&cluster)?;
    cluster.finish()
}

fn topics_are_created_described_altered_and_deleted(cluster: &Cluster) -> Outcome<()> {
    let create =
        ["--create", "--topic", "orders", "--partitions", "4", "--replication-factor", "3"];
    cluster.tool(Tool::Topics, &create)?.ok()?;
    let orders = cluster.await_topic(1, "orders", "has full ISRs", DEADLINE, |topic| {
        topic.partitions.len() == 4 && topic.isr_is(3)
    })?;
    // Spread: three brokers lead four partitions.
    for broker in 1..=3 {
        ensure!(
            orders.partitions.iter().any(|partition| partition.leader == Some(broker)),
            "broker {broker} leads nothing of {orders:?}"
        );
    }
    cluster.tool(Tool::Topics, &create)?.refused_with("TopicExistsException")?;
    let too_many = ["--create", "--topic", "wide", "--replication-factor", "4"];
    cluster.tool(Tool::Topics, &too_many)?.refused_with("InvalidReplicationFactorException")?;
    let bad_name = ["--create", "--topic", "no spaces", "--partitions", "1"];
    cluster.tool(Tool::Topics, &bad_name)?.refused_with("InvalidTopicException")?;

    let describe = ["--describe", "--topic", "orders"];
    let described = cluster.tool(Tool::Topics, &describe)?.ok()?;
    let described = described.says("PartitionCount: 4")?.says("ReplicationFactor: 3")?;
    ensure!(
        described.out.contains(&orders.id.to_string()),
        "the topic id {} is not in {}",
        orders.id,
        described.out
    );
    cluster.tool(Tool::Topics, &["--alter", "--topic", "orders", "--partitions", "6"])?.ok()?;
    cluster.await_topic(2, "orders", "has six partitions", DEADLINE, |topic| {
        topic.partitions.len() == 6 && topic.isr_is(3)
    })?;
    cluster
        .tool(Tool::Topics, &["--alter", "--topic", "orders", "--partitions", "2"])?
        .refused_with("InvalidPartitionsException")?;

    // A manual assignment is kept as it is.
    let placed = ["--create", "--topic", "placed", "--replica-assignment", "3:1,2:3"];
    cluster.tool(Tool::Topics, &placed)?.ok()?;
    let placed = cluster.await_topic(3, "placed", "has full ISRs", DEADLINE, |t| t.isr_is(2))?;
    let replicas: Vec<&[i32]> = placed.partitions.iter().map(|p| p.replicas.as_slice()).collect();
    ensure!(replicas == [[3, 1], [2, 3]], "assigned 3:1,2:3, got {replicas:?}");

    cluster.tool(Tool::Topics, &["--delete", "--topic", "placed"])?.ok()?;
    let list = cluster.tool(Tool::Topics, &["--list"])?.ok()?;
    ensure!(!list.out.contains("placed"), "placed was deleted and is listed:\n{}", list.out);
    list.says("orders")?;
    Ok(())
}

fn configs_are_set_described_and_deleted(cluster: &Cluster) -> Outcome<()> {
    let on_topic = ["--entity-type", "topics", "--entity-name", "orders"];
    let with = |more: &[&'static str]| -> Vec<&'static str> {
        on_topic.iter().chain(more).copied().collect()
    };
    let set = with(&["--alter", "--add-config", "retention.ms=3600000,cleanup.policy=compact"]);
    cluster.tool(Tool::Configs, &set)?.ok()?;
    cluster
        .tool(Tool::Configs, &with(&["--describe"]))?
        .ok()?
        .says("retention.ms=3600000")?
        .says("cleanup.policy=compact")?;
    let bad = with(&["--alter", "--add-config", "retention.ms=soon"]);
    cluster.tool(Tool::Configs, &bad)?.refused_with("InvalidConfigurationException")?;
    let unknown = with(&["--alter", "--add-config", "no.such.config=1"]);
    cluster.tool(Tool::Configs, &unknown)?.refused_with("InvalidConfigurationException")?;
    cluster.tool(Tool::Configs, &with(&["--alter", "--delete-config", "cleanup.policy"]))?.ok()?;
    let left = cluster.tool(Tool::Configs, &with(&["--describe"]))?.ok()?.says("retention.ms")?;
    ensure!(!left.out.contains("cleanup.policy=compact"), "deleted and still there: {}", left.out);

    let broker = ["--entity-type", "brokers", "--entity-name", "1"];
    let alter = [&broker[..], &["--alter", "--add-config", "message.max.bytes=1234567"]].concat();
    cluster.tool(Tool::Configs, &alter)?.ok()?;
    let describe = [&broker[..], &["--describe"]].concat();
    cluster.tool(Tool::Configs, &describe)?.ok()?.says("message.max.bytes=1234567")?;
    Ok(())
}

fn a_group_consumes_what_was_produced(cluster: &Cluster) -> Outcome<()> {
    let bootstrap = cluster.bootstrap();
    let records: Vec<String> = (0..200).map(|i| format!("order-{i}")).collect();
    let produce = ["--bootstrap-server", &bootstrap, "--topic", "orders"];
    cluster.tool_raw(Tool::ConsoleProducer, &produce, &(records.join("\n") + "\n"))?.ok()?;
    let consumed = cluster
        .tool(
            Tool::ConsoleConsumer,
            &[
                "--topic",
                "orders",
                "--group",
                "shop",
                "--from-beginning",
                "--max-messages",
                "200",
                "--timeout-ms",
                "60000",
            ],
        )?
        .ok()?;
    let mut got: Vec<&str> = consumed.out.lines().collect();
    let mut want: Vec<&str> = records.iter().map(String::as_str).collect();
    got.sort_unstable();
    want.sort_unstable();
    ensure!(got == want, "produced {} records, consumed {}: {got:?}", want.len(), got.len());
    cluster.tool(Tool::ConsumerGroups, &["--describe", "--group", "shop"])?.ok()?.says("orders")?;
    Ok(())
}

fn idempotent_and_transactional_producers_get_ids(cluster: &Cluster) -> Outcome<()> {
    let bootstrap = cluster.bootstrap();
    let idempotent = [
        "--topic",
        "orders",
        "--num-records",
        "100",
        "--record-size",
        "10",
        "--throughput",
        "-1",
        "--producer-props",
        &format!("bootstrap.servers={bootstrap}"),
        "enable.idempotence=true",
        "acks=all",
    ];
    cluster.tool_raw(Tool::ProducerPerformance, &idempotent, "")?.ok()?.says("100 records sent")?;
    cluster.tool(Tool::Topics, &["--create", "--topic", "payments", "--partitions", "1"])?.ok()?;
    let transactional = [
        "--topic",
        "payments",
        "--num-records",
        "100",
        "--record-size",
        "10",
        "--throughput",
        "-1",
        "--producer-props",
        &format!("bootstrap.servers={bootstrap}"),
        "--transactional-id",
        "till-1",
        "--transaction-duration-ms",
        "50",
    ];
    cluster
        .tool_raw(Tool::ProducerPerformance, &transactional, "")?
        .ok()?
        .says("100 records sent")?;
    let committed = cluster
        .tool(
            Tool::ConsoleConsumer,
            &[
                "--topic",
                "payments",
                "--from-beginning",
                "--max-messages",
                "100",
                "--timeout-ms",
                "60000",
                "--isolation-level",
                "read_committed",
            ],
        )?
        .ok()?;
    let count = committed.out.lines().count();
    ensure!(count == 100, "100 records were committed, {count} are read");
    cluster.tool(Tool::Transactions, &["list"])?.ok()?.says("till-1")?;
    Ok(())
}

fn leaders_are_elected(cluster: &Cluster) -> Outcome<()> {
    // Everybody's first choice leads already: nothing to elect, and Kafka says so.
    let elect = ["--election-type", "preferred", "--topic", "orders", "--partition", "0"];
    cluster.tool(Tool::LeaderElection, &elect)?.ok()?;
    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    cluster.tool(Tool::LeaderElection, &all)?.ok()?;
    let unknown = ["--election-type", "preferred", "--topic", "nowhere", "--partition", "0"];
    cluster.tool(Tool::LeaderElection, &unknown)?.refused_with("nowhere")?;
    Ok(())
}

fn the_cluster_describes_itself(cluster: &Cluster) -> Outcome<()> {
    let versions = cluster.tool(Tool::BrokerApiVersions, &[])?.ok()?;
    for id in 1..=3 {
        let line = format!("(id: {id} ");
        ensure!(versions.out.contains(&line), "{line:?} is not in {}", versions.out);
    }
    let bootstrap = cluster.bootstrap();
    cluster
        .tool_raw(Tool::Cluster, &["cluster-id", "--bootstrap-server", &bootstrap], "")?
        .ok()?
        .says(&cluster.cluster_id.to_string())?;
    let controller = cluster.controller.id;
    let status = ["describe", "--status"];
    for output in [
        cluster.tool(Tool::MetadataQuorum, &status)?,
        cluster.tool_via_controller(Tool::MetadataQuorum, &status)?,
    ] {
        let output = output.ok()?.says(&cluster.cluster_id.to_string())?;
        let led = output
            .out
            .lines()
            .any(|l| l.starts_with("LeaderId:") && l.ends_with(&controller.to_string()));
        ensure!(led, "controller {controller} does not lead:\n{}", output.out);
    }
    let replication = cluster.tool(Tool::MetadataQuorum, &["describe", "--replication"])?.ok()?;
    for (id, role) in [(controller, "Leader"), (1, "Observer"), (2, "Observer"), (3, "Observer")] {
        let shown = replication.out.lines().any(|line| {
            line.split_whitespace().next() == Some(&id.to_string()) && line.contains(role)
        });
        ensure!(shown, "node {id} is not shown as {role}:\n{}", replication.out);
    }
    cluster.tool(Tool::Features, &["describe"])?.ok()?.says("metadata.version")?;
    Ok(())
}

/// `--bootstrap-controller` (KIP-919); the 3.9 tools know fewer of these.
fn the_controller_answers_tools_itself(cluster: &Cluster) -> Outcome<()> {
    let replication = ["describe", "--replication"];
    cluster.tool_via_controller(Tool::MetadataQuorum, &replication)?.ok()?.says("Observer")?;
    cluster.tool_via_controller(Tool::Features, &["describe"])?.ok()?.says("metadata.version")?;
    if cluster.kafka >= KafkaVersion::V4_1_1 {
        let controller = cluster.controller.address();
        let endpoints = ["list-endpoints", "--bootstrap-controller", &controller];
        cluster
            .tool_raw(Tool::Cluster, &endpoints, "")?
            .ok()?
            .says(&cluster.controller.port.to_string())?;
        let id = cluster.controller.id.to_string();
        let configs = ["--describe", "--entity-type", "brokers", "--entity-name", &id, "--all"];
        cluster
            .tool_via_controller(Tool::Configs, &configs)?
            .ok()?
            .says(&format!("node.id={id}"))?;
    }
    Ok(())
}

fn kafka_decodes_every_record_in_a_brokers_copy_of_the_metadata_log(
    cluster: &Cluster,
) -> Outcome<()> {
    let log = cluster.brokers[&1].dir().join("__cluster_metadata-0/00000000000000000000.log");
    let log = log.to_string_lossy();
    let dump = cluster
        .tool_raw(Tool::DumpLog, &["--cluster-metadata-decoder", "--files", &log], "")?
        .ok()?;
    for bad in ["Could not decode", "isvalid: false", "Exception"] {
        let found = dump.out.lines().chain(dump.err.lines()).find(|line| line.contains(bad));
        if let Some(line) = found {
            return Err(dump.fault(&format!("found something wrong: {line}")));
        }
    }
    for record in [
        "REGISTER_BROKER_RECORD",
        "BROKER_REGISTRATION_CHANGE_RECORD",
        "TOPIC_RECORD",
        "PARTITION_RECORD",
        "CONFIG_RECORD",
        "REMOVE_TOPIC_RECORD",
        "PRODUCER_IDS_RECORD",
        "FEATURE_LEVEL_RECORD",
    ] {
        let quoted = format!("\"{record}\"");
        ensure!(dump.out.contains(&quoted), "the log of broker 1 holds no {record}: {}", dump.line);
    }
    Ok(())
}

#[test]
fn a_static_quorum_serves_brokers_too() -> Outcome<()> {
    let cluster = Cluster::builder("static-quorum")
        .static_quorum()
        .brokers(1, KafkaVersion::V4_3_0)
        .start()?;
    cluster.tool(Tool::Topics, &["--create", "--topic", "a", "--partitions", "2"])?.ok()?;
    cluster.await_topic(1, "a", "is served", Duration::from_secs(30), |topic| topic.isr_is(1))?;
    cluster.finish()
}
