//! `cargo xtask demo [--once]`: one Quorate controller and three Apache Kafka brokers on this
//! machine, driven by Kafka's own console tools, with a broker killed and healed.
#![forbid(unsafe_code)]

use quorate_interop::{
    Cluster, DEADLINE, Failure, KafkaVersion, Outcome, RunningTool, Tool, TopicView, ensure,
    remove_when_killed,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOPIC: &str = "demo";
const KAFKA: KafkaVersion = KafkaVersion::V4_4_0;
/// `broker.session.timeout.ms` is nine seconds; a busy machine may add some.
const FENCED_BY: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let once = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--once"] => true,
        _ => {
            eprintln!("usage: demo [--once]");
            return ExitCode::from(2);
        }
    };
    match demo(once) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("the demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what happened since the last step, with the time it took.
struct Steps {
    start: Instant,
    last: Instant,
}

impl Steps {
    fn done(&mut self, what: &str) {
        let now = Instant::now();
        let (total, step) = (now - self.start, now - self.last);
        println!("[{:6.2} s] {what} ({:.2} s)", total.as_secs_f64(), step.as_secs_f64());
        self.last = now;
    }
}

fn demo(once: bool) -> Outcome<()> {
    let now = Instant::now();
    let mut steps = Steps { start: now, last: now };
    let mut cluster = Cluster::builder("demo").brokers(3, KAFKA).format()?;
    remove_when_killed(cluster.path());
    steps.done(&format!("formatted a cluster in {}", cluster.path().display()));
    cluster.controller.start()?;
    cluster.await_controller()?;
    let controller = &cluster.controller;
    steps.done(&format!("Quorate controller {} leads at {}", controller.id, controller.address()));
    cluster.start_all()?;
    steps.done(&format!("three Apache Kafka {KAFKA} brokers serve at {}", cluster.bootstrap()));

    let create = ["--create", "--topic", TOPIC, "--partitions", "6", "--replication-factor", "3"];
    cluster.tool(Tool::Topics, &create)?.ok()?;
    let before = cluster.await_topic(1, TOPIC, "full ISRs", DEADLINE, |topic| topic.isr_is(3))?;
    steps.done(&format!("kafka-topics created topic {TOPIC}: {}", leaders(&before)));

    let bootstrap = cluster.bootstrap();
    let mut consumer = cluster.start_tool(
        Tool::ConsoleConsumer,
        &[
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            TOPIC,
            "--group",
            "demo",
            "--from-beginning",
        ],
    )?;
    produce(&cluster, "before", 100)?;
    steps.done("kafka-console-producer wrote 100 records");
    consumed(&mut consumer, "before", 100)?;
    steps.done("kafka-console-consumer read them");

    survive_a_kill(leader_of_first(&before)?, &mut cluster, &before, &mut consumer, &mut steps)?;
    println!();
    if once {
        drop(consumer);
        cluster.finish()?;
        steps.done("stopped everything and removed its files");
        return Ok(());
    }
    println!("The cluster runs on:");
    println!("  --bootstrap-server     {}", cluster.bootstrap());
    println!("  --bootstrap-controller {}", cluster.controller.address());
    println!("  logs and data          {}", cluster.path().display());
    println!("Ctrl-C stops it and removes its files.");
    drop(consumer);
    loop {
        // SIGINT ends this process; the watchdog then ends the cluster and removes the folder.
        std::thread::park();
    }
}

/// The broker that leads the first partition: the one to kill.
fn leader_of_first(topic: &TopicView) -> Outcome<i32> {
    let leader = topic.partitions.first().and_then(|partition| partition.leader);
    leader.ok_or_else(|| Failure::new("partition 0 has no leader"))
}

fn survive_a_kill(
    victim: i32,
    cluster: &mut Cluster,
    before: &TopicView,
    consumer: &mut RunningTool,
    steps: &mut Steps,
) -> Outcome<()> {
    let witness = if victim == 1 { 2 } else { 1 };
    cluster.broker(victim).kill();
    steps.done(&format!("killed broker {victim} with SIGKILL"));
    let after = cluster.await_topic(witness, TOPIC, "the dead one is out", FENCED_BY, |topic| {
        topic.partitions.iter().all(|p| !p.isr.contains(&victim) && p.leader.is_some())
    })?;
    for (old, new) in before.partitions.iter().zip(&after.partitions) {
        ensure!(
            old.leader != Some(victim) || new.leader_epoch > old.leader_epoch,
            "partition {} kept its epoch: {new:?}",
            old.index
        );
    }
    steps.done(&format!("broker {victim} is fenced; leaders moved: {}", leaders(&after)));
    produce(cluster, "after", 100)?;
    consumed(consumer, "after", 100)?;
    steps.done("100 more records were written, and the same consumer read them");
    cluster.broker(victim).start()?;
    cluster.await_brokers()?;
    steps.done(&format!("broker {victim} is back and unfenced"));
    let healed = cluster.await_topic(witness, TOPIC, "full ISRs", DEADLINE, |t| t.isr_is(3))?;
    steps.done(&format!("every ISR is whole again: {}", leaders(&healed)));
    Ok(())
}

fn produce(cluster: &Cluster, prefix: &str, count: usize) -> Outcome<()> {
    let lines: String = (0..count).map(|i| format!("{prefix}-{i}\n")).collect();
    let bootstrap = cluster.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--topic", TOPIC];
    cluster.tool_raw(Tool::ConsoleProducer, &args, &lines)?.ok().map(drop)
}

fn consumed(consumer: &mut RunningTool, prefix: &str, count: usize) -> Outcome<()> {
    consumer.await_lines(count, prefix, |line| line.starts_with(prefix)).map(drop)
}

fn leaders(topic: &TopicView) -> String {
    let all = topic.partitions.iter().map(|p| {
        let leader = p.leader.map_or("none".to_owned(), |id| id.to_string());
        format!("{}→{leader} (epoch {})", p.index, p.leader_epoch)
    });
    all.collect::<Vec<_>>().join(", ")
}
