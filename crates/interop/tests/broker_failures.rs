//! Brokers that die or leave, with a producer running that counts what was acknowledged.
use quorate_interop::{
    Cluster, DEADLINE, Failure, KafkaVersion, Outcome, STOP_DEADLINE, Tool, TopicView, ensure,
    wait_for,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Default `broker.session.timeout.ms` plus what a busy machine may add.
const FENCED_BY: Duration = Duration::from_secs(9 + 30);

const TOPIC: &str = "ledger";

#[test]
fn no_acknowledged_record_is_lost_when_brokers_are_killed_and_leave() -> Outcome<()> {
    let mut cluster = Cluster::builder("broker-failures")
        .brokers(3, KafkaVersion::V4_3_0)
        // Restarted brokers lead again soon without waiting for the balancer's five minutes.
        .start()?;
    cluster
        .tool(
            Tool::Topics,
            &[
                "--create",
                "--topic",
                TOPIC,
                "--partitions",
                "6",
                "--replication-factor",
                "3",
                "--config",
                "min.insync.replicas=2",
            ],
        )?
        .ok()?;
    let before = cluster.await_topic(1, TOPIC, "full ISRs", DEADLINE, |topic| topic.isr_is(3))?;

    let bootstrap = cluster.bootstrap();
    let mut producer = cluster.start_tool(
        Tool::VerifiableProducer,
        &[
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            TOPIC,
            "--acks",
            "-1",
            "--throughput",
            "100",
            "--max-messages",
            "-1",
        ],
    )?;
    producer.await_lines(100, "an acknowledgement", is_ack)?;

    let after_kill = a_killed_broker_is_fenced_and_its_partitions_move(&mut cluster, &before)?;
    producer_goes_on(&mut producer)?;
    a_broker_that_returns_is_back_in_the_isr(&mut cluster, 1)?;
    preferred_leaders_are_elected_again(&cluster, &after_kill)?;
    a_clean_shutdown_hands_leaders_over_first(&mut cluster)?;
    producer_goes_on(&mut producer)?;
    a_broker_that_returns_is_back_in_the_isr(&mut cluster, 2)?;

    let produced = producer.stop(STOP_DEADLINE)?;
    let acked: BTreeSet<i64> = produced.out.lines().filter_map(acked_value).collect();
    ensure!(acked.len() > 300, "only {} records were acknowledged:\n{}", acked.len(), produced.out);
    let consumed = cluster
        .tool(
            Tool::ConsoleConsumer,
            &["--topic", TOPIC, "--from-beginning", "--timeout-ms", "10000"],
        )?
        .ok()?;
    let consumed: BTreeSet<i64> = consumed.out.lines().filter_map(|l| l.parse().ok()).collect();
    let missing: Vec<&i64> = acked.difference(&consumed).take(20).collect();
    ensure!(
        missing.is_empty(),
        "of {} acknowledged records these are missing: {missing:?}",
        acked.len()
    );
    println!("{} acknowledged records, all there", acked.len());
    cluster.finish()
}

fn a_killed_broker_is_fenced_and_its_partitions_move(
    cluster: &mut Cluster,
    before: &TopicView,
) -> Outcome<TopicView> {
    cluster.broker(1).kill();
    let after = cluster.await_topic(2, TOPIC, "broker 1 left all ISRs", FENCED_BY, |topic| {
        topic.partitions.iter().all(|p| !p.isr.contains(&1) && p.leader.is_some())
    })?;
    for (old, new) in before.partitions.iter().zip(&after.partitions) {
        let leader = new.leader.unwrap_or(-1);
        ensure!(
            old.isr.contains(&leader),
            "partition {} moved outside its ISR: {new:?}",
            old.index
        );
        if old.leader == Some(1) {
            ensure!(
                leader != 1 && new.leader_epoch > old.leader_epoch,
                "partition {}: the leader died, {old:?} became {new:?}",
                old.index
            );
        }
    }
    ensure!(
        before.partitions.iter().any(|p| p.leader == Some(1)),
        "broker 1 led nothing: {before:?}"
    );
    Ok(after)
}

fn a_broker_that_returns_is_back_in_the_isr(cluster: &mut Cluster, id: i32) -> Outcome<()> {
    cluster.broker(id).start()?;
    cluster.await_brokers()?;
    cluster.await_topic(3, TOPIC, "ISRs are healed", DEADLINE, |topic| topic.isr_is(3))?;
    Ok(())
}

fn preferred_leaders_are_elected_again(cluster: &Cluster, after: &TopicView) -> Outcome<()> {
    cluster
        .tool(Tool::LeaderElection, &["--election-type", "preferred", "--all-topic-partitions"])?
        .ok()?;
    let preferred = |topic: &TopicView| {
        topic.partitions.iter().all(|p| p.leader == p.replicas.first().copied())
    };
    let healed = cluster.await_topic(2, TOPIC, "preferred leaders lead", DEADLINE, preferred)?;
    for (old, new) in after.partitions.iter().zip(&healed.partitions) {
        ensure!(
            old.leader == new.leader || new.leader_epoch > old.leader_epoch,
            "a new leader in an old epoch: {old:?} became {new:?}"
        );
    }
    Ok(())
}

fn a_clean_shutdown_hands_leaders_over_first(cluster: &mut Cluster) -> Outcome<()> {
    let before = cluster.topic(3, TOPIC)?;
    ensure!(
        before.partitions.iter().any(|p| p.leader == Some(2)),
        "broker 2 leads nothing: {before:?}"
    );
    let process = cluster.broker(2).process();
    process.ok_or_else(|| Failure::new("broker 2 does not run"))?.terminate()?;
    // While the process still runs, another broker already shows new leaders.
    wait_for("leaders left broker 2 before it exits", STOP_DEADLINE, || {
        let topic = cluster.topic(3, TOPIC)?;
        let led = topic.partitions.iter().filter(|p| p.leader == Some(2)).count();
        let runs = cluster.broker(2).is_running();
        match (led, runs) {
            (0, _) => Ok(Ok(topic)),
            (_, true) => Err(Failure(format!("it leads {led} partitions"))),
            (_, false) => Ok(Err(Failure(format!("it exited while it led {led} partitions")))),
        }
    })??;
    let status = wait_exit(cluster, 2)?;
    // A JVM ends by SIGTERM with 128 + 15.
    ensure!(status.code() == Some(143), "broker 2 ended with {status}");
    // Kafka's own words for a shutdown that the controller allowed.
    let log = std::fs::read_to_string(cluster.broker(2).log()).unwrap_or_default();
    ensure!(
        log.contains("The controller has asked us to exit controlled shutdown"),
        "broker 2 was not told to go on with its shutdown"
    );
    cluster.await_topic(3, TOPIC, "broker 2 left the ISRs", DEADLINE, |topic| {
        topic.partitions.iter().all(|p| !p.isr.contains(&2) && p.leader.is_some())
    })?;
    Ok(())
}

fn wait_exit(cluster: &mut Cluster, id: i32) -> Outcome<std::process::ExitStatus> {
    let process = cluster.broker(id).process();
    process.ok_or_else(|| Failure(format!("broker {id} does not run")))?.wait_exit(STOP_DEADLINE)
}

/// Since now, at least a hundred records more were acknowledged.
fn producer_goes_on(producer: &mut quorate_interop::RunningTool) -> Outcome<()> {
    let so_far = producer.lines().iter().filter(|line| is_ack(line)).count();
    producer.await_lines(so_far + 100, "an acknowledgement", is_ack)?;
    Ok(())
}

fn is_ack(line: &str) -> bool {
    line.contains("\"producer_send_success\"")
}

/// The value in an acknowledgement: `..."value":"17"...`.
fn acked_value(line: &str) -> Option<i64> {
    if !is_ack(line) {
        return None;
    }
    let (_, rest) = line.split_once("\"value\":\"")?;
    rest.split('"').next()?.parse().ok()
}
