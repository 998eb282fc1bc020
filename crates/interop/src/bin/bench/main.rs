//! `cargo xtask bench`: how fast topics are created, by Quorate and by Apache Kafka's own
//! controller, one after the other on the same machine, with brokers that are simulated: they
//! register and heartbeat and do nothing else, so that only the controller is measured. And
//! `cargo xtask bench failover`: for how long nothing can be created when the leader is lost.
#![forbid(unsafe_code)]

mod failover;

use quorate_client::{Admin, NewTopic};
use quorate_interop::{Cluster, Controller, Failure, KafkaVersion, Outcome, SimulatedBrokers};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const KAFKA: KafkaVersion = KafkaVersion::V4_3_0;
const BROKERS: i32 = 10;
/// Creates before the measured ones: Java compiles its code meanwhile.
const WARM_UP_CREATES: usize = 100;
const CREATES: usize = 300;
/// Bulk: requests of so many topics with so many partitions each.
const BULK_TOPICS: usize = 100;
const BULK_PARTITIONS: i32 = 10;
const BULK_WARM_UP_REQUESTS: usize = 10;
const BULK_REQUESTS: usize = 50;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] => compare(),
        ["--only", "quorate"] => measure("Quorate", Controller::Quorate).map(drop),
        ["--only", "java"] => measure("Apache Kafka", Controller::Java(KAFKA)).map(drop),
        ["failover", rest @ ..] => match failover::Plan::parse(rest) {
            Some(plan) => plan.run(),
            None => return usage(),
        },
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("the bench failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: bench [--only quorate|java]\n       bench failover [--only quorate|java] [--rounds N]"
    );
    ExitCode::from(2)
}

struct Figures {
    p50: Duration,
    p99: Duration,
    partitions_per_second: f64,
}

fn compare() -> Outcome<()> {
    println!(
        "{BROKERS} simulated brokers; {CREATES} creates of one partition, replication factor 3, \
         one after another; then {BULK_REQUESTS} requests of {BULK_TOPICS} topics with \
         {BULK_PARTITIONS} partitions"
    );
    let quorate = measure("Quorate", Controller::Quorate)?;
    let java = measure("Apache Kafka 4.3.0", Controller::Java(KAFKA))?;
    println!();
    println!("{:34} {:>12} {:>12} {:>8}", "", "Quorate", "Kafka 4.3.0", "ratio");
    let millis = |d: Duration| d.as_secs_f64() * 1000.0;
    for (what, ours, theirs) in
        [("create, p50, ms", quorate.p50, java.p50), ("create, p99, ms", quorate.p99, java.p99)]
    {
        let (ours, theirs) = (millis(ours), millis(theirs));
        println!("{what:34} {ours:12.2} {theirs:12.2} {:7.1}x", theirs / ours);
    }
    let (ours, theirs) = (quorate.partitions_per_second, java.partitions_per_second);
    println!("{:34} {ours:12.0} {theirs:12.0} {:7.1}x", "bulk create, partitions/s", ours / theirs);
    Ok(())
}

fn measure(name: &str, controller: Controller) -> Outcome<Figures> {
    let mut cluster = Cluster::builder("bench").controller(controller).format()?;
    cluster.controller.start()?;
    cluster.await_controller()?;
    let address = cluster.controller.address();
    let brokers = SimulatedBrokers::start(&address, cluster.cluster_id, BROKERS)?;
    let mut admin = Admin::connect(&address)?;
    println!("{name}: controller leads, {BROKERS} brokers unfenced");

    let mut latencies = Vec::with_capacity(CREATES);
    for number in 0..WARM_UP_CREATES + CREATES {
        let start = Instant::now();
        admin.create_topic(topic(format!("single-{number}"), 1))?;
        if number >= WARM_UP_CREATES {
            latencies.push(start.elapsed());
        }
    }
    latencies.sort_unstable();
    let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
    println!("{name}: create p50 {p50:.2?}, p99 {p99:.2?}");

    for request in 0..BULK_WARM_UP_REQUESTS {
        bulk_create(&mut admin, "warm", request)?;
    }
    let start = Instant::now();
    for request in 0..BULK_REQUESTS {
        bulk_create(&mut admin, "bulk", request)?;
    }
    let partitions = (BULK_REQUESTS * BULK_TOPICS) as f64 * f64::from(BULK_PARTITIONS);
    let partitions_per_second = partitions / start.elapsed().as_secs_f64();
    println!("{name}: bulk create {partitions_per_second:.0} partitions/s");

    drop(brokers);
    // Simulated brokers leave when they like: errors in this log are not what is measured.
    cluster.controller.kill();
    cluster.discard();
    Ok(Figures { p50, p99, partitions_per_second })
}

fn topic(name: String, partitions: i32) -> NewTopic {
    NewTopic {
        name,
        partitions: Some(partitions),
        replication_factor: Some(3),
        ..Default::default()
    }
}

fn bulk_create(admin: &mut Admin, prefix: &str, request: usize) -> Outcome<()> {
    let topics: Vec<NewTopic> = (0..BULK_TOPICS)
        .map(|number| topic(format!("{prefix}-{request}-{number}"), BULK_PARTITIONS))
        .collect();
    let answer = admin.create_topics(&topics, 60_000, false)?;
    match answer.topics.iter().find(|result| result.error_code != 0) {
        Some(result) => {
            Err(Failure(format!("create {}: error {}", result.name, result.error_code)))
        }
        None => Ok(()),
    }
}

/// Nearest rank of an ascending, non-empty list.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
