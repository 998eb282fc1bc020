//! Quorums of Kafka's controllers and ours, with a real broker: either side leads in turn, under a
//! stream of creates. One Kafka version a test, so that each can be run alone.
use quorate_interop::{
    Controller, Creates, DEADLINE, Failure, KafkaVersion, Node, Outcome, Quorum, drill_rounds,
    each_exactly_once, ensure, wait_for,
};
use std::time::Duration;

const OURS: Controller = Controller::Quorate;

#[test]
fn one_of_ours_among_two_of_kafka_4_3_0() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_3_0);
    either_side_leads("mixed-jjq-4.3.0", KafkaVersion::V4_3_0, [java, java, OURS])
}

#[test]
fn two_of_ours_beside_one_of_kafka_4_3_0() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_3_0);
    either_side_leads("mixed-qqj-4.3.0", KafkaVersion::V4_3_0, [OURS, OURS, java])
}

#[test]
fn one_of_ours_among_two_of_kafka_3_9_1() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V3_9_1);
    either_side_leads("mixed-jjq-3.9.1", KafkaVersion::V3_9_1, [java, java, OURS])
}

#[test]
fn two_of_ours_beside_one_of_kafka_3_9_1() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V3_9_1);
    either_side_leads("mixed-qqj-3.9.1", KafkaVersion::V3_9_1, [OURS, OURS, java])
}

#[test]
fn one_of_ours_among_two_of_kafka_4_1_1() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_1_1);
    either_side_leads("mixed-jjq-4.1.1", KafkaVersion::V4_1_1, [java, java, OURS])
}

#[test]
fn two_of_ours_beside_one_of_kafka_4_1_1() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_1_1);
    either_side_leads("mixed-qqj-4.1.1", KafkaVersion::V4_1_1, [OURS, OURS, java])
}

#[test]
fn one_of_ours_among_two_of_kafka_4_4_0() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_4_0);
    either_side_leads("mixed-jjq-4.4.0", KafkaVersion::V4_4_0, [java, java, OURS])
}

#[test]
fn two_of_ours_beside_one_of_kafka_4_4_0() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_4_0);
    either_side_leads("mixed-qqj-4.4.0", KafkaVersion::V4_4_0, [OURS, OURS, java])
}

fn either_side_leads(name: &str, version: KafkaVersion, voters: [Controller; 3]) -> Outcome<()> {
    // Snapshots every few dozen records, so that both kinds write some.
    let mut builder = Quorum::builder(name)
        .property("metadata.log.max.record.bytes.between.snapshots", "4000")
        .dynamic()
        .release_version(version.release_version())
        .broker(version);
    for voter in voters {
        builder = builder.voter(voter);
    }
    let mut quorum = builder.start()?;
    let servers = quorum.brokers.values().map(Node::address).collect();
    let creates = Creates::start("mixed", servers, Duration::from_secs(20));
    creates.await_more(5)?;
    let (of_ours, of_java): (Vec<i32>, Vec<i32>) =
        quorum.controllers.keys().partition(|id| quorum.controllers[id].is_quorate());
    // Each brings both sides to power, with half a dozen starts of JVMs.
    let rounds = drill_rounds(8) / 4;
    for round in 0..rounds {
        for side in [&of_ours, &of_java] {
            let wanted = side[round % side.len()];
            quorum.force_leader(wanted, || creates.await_more(1))?;
            creates.await_more(5)?;
            let all: Vec<i32> = quorum.controllers.keys().copied().collect();
            quorum.await_caught_up(&all)?;
            println!("{name}: {wanted} leads, {} topics", creates.count());
        }
    }
    // One of Kafka's that was killed again and again had no time for it.
    wait_for("all have written snapshots", DEADLINE, || {
        quorum.controllers.values().try_for_each(|node| {
            let found = snapshots_of(node)?.len();
            ensure!(found > 0, "controller {} has written no snapshot", node.id);
            Ok(())
        })
    })?;
    let acked = creates.stop();
    ensure!(acked.len() >= 10 * rounds, "only {} topics were created", acked.len());
    let log = quorum.compare_logs()?;
    each_exactly_once(&acked, &log)?;
    log.one_leader_an_epoch()?;
    let ids: Vec<i32> = quorum.controllers.keys().copied().collect();
    let records = quorum.compare_dumps(version, &ids)?;
    let snapshots = readable_snapshots(&quorum)?;
    println!(
        "{name}: {} topics acknowledged over {} epochs, {} batches and {records} dumped \
         records equal on all nodes, {snapshots} snapshots",
        acked.len(),
        quorum.epochs.epochs_seen(),
        log.len()
    );
    if drill_rounds(1) > 1 {
        // Each side runs what the other wrote.
        quorum.hand_over(version, &acked)?;
        quorum.compare_logs()?.one_leader_an_epoch()?;
    }
    quorum.finish()
}

/// Our tool reads all snapshots, Kafka's and ours; how many.
fn readable_snapshots(quorum: &Quorum) -> Outcome<usize> {
    let mut count = 0;
    for node in quorum.controllers.values() {
        for path in snapshots_of(node)? {
            quorum.quorate(&["dump", &path])?.ok()?.says("SnapshotFooter")?;
            count += 1;
        }
    }
    Ok(count)
}

/// What it has written itself, or was sent: the one at offset 0 is the format tool's.
fn snapshots_of(node: &Node) -> Outcome<Vec<String>> {
    let dir = node.dir().join("__cluster_metadata-0");
    let fault = |e: std::io::Error| Failure(format!("{}: {e}", dir.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path().display().to_string();
        if path.ends_with(".checkpoint") && !path.contains("/00000000000000000000-") {
            found.push(path);
        }
    }
    Ok(found)
}
