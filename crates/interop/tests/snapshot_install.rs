//! A voter that was away for so long that the log it needs is gone: it takes the leader's snapshot,
//! ours from ours, ours from Kafka's, Kafka's from ours.
use quorate_interop::{
    Controller, Creates, DEADLINE, Failure, FollowingBrokers, KafkaVersion, Outcome, Quorum,
    drill_rounds, ensure, wait_for,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const OURS: Controller = Controller::Quorate;
const JAVA: Controller = Controller::Java(KafkaVersion::V4_3_0);

#[test]
fn one_of_ours_takes_the_snapshot_of_ours() -> Outcome<()> {
    drill("snapshot-qqq", [OURS, OURS, OURS], drill_rounds(1))
}

#[test]
fn one_of_ours_takes_the_snapshot_of_kafka() -> Outcome<()> {
    // Kafka looks at retention once a minute: a round takes as long.
    drill("snapshot-jjq", [JAVA, JAVA, OURS], drill_rounds(1).min(3))
}

#[test]
fn one_of_kafka_takes_the_snapshot_of_ours() -> Outcome<()> {
    drill("snapshot-qqj", [OURS, OURS, JAVA], drill_rounds(1).min(3))
}

/// The last voter is killed and comes back when the others have dropped what it needs.
fn drill(name: &str, voters: [Controller; 3], rounds: usize) -> Outcome<()> {
    let mut builder = Quorum::builder(name)
        .property("metadata.log.max.record.bytes.between.snapshots", "6000")
        .property("internal.metadata.log.segment.bytes", "10000")
        // One answer must fit into a segment: Kafka's raft thread ends if it does not.
        .property("controller.quorum.fetch.max.bytes", "8000")
        // So must the batch that moves all of a lost broker's partitions: none is lost here.
        .property("broker.session.timeout.ms", "600000")
        .property("metadata.max.retention.bytes", "30000");
    for voter in voters {
        builder = builder.voter(voter);
    }
    let mut quorum = builder.start()?;
    quorum.allowed_errors.push("Overriding internal.metadata.log.segment.bytes is only supported");
    let ids: Vec<i32> = quorum.controllers.keys().copied().collect();
    let late = ids[2];
    let (leader, _) = quorum.await_leader()?;
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 1)?;
    let pause = Duration::from_millis(10);
    let creates = Creates::paced(name, controllers, Duration::from_secs(5), pause);
    let mut installed = Vec::new();
    for _ in 0..rounds {
        creates.await_more(5)?;
        quorum.controller(late).kill();
        let had = end_of(&files(&quorum, late, ".log")?)?;
        for id in &ids[..2] {
            wait_for("the others drop what the late one needs", DEADLINE, || {
                creates.await_more(5)?;
                let start = files(&quorum, *id, ".log")?.keys().next().copied().unwrap_or(0);
                ensure!(start > had, "{id} begins at {start}, {late} ends at {had}");
                Ok(())
            })?;
        }
        quorum.controller(late).start()?;
        quorum.await_caught_up(&ids)?;
        let start = files(&quorum, late, ".log")?.keys().next().copied().unwrap_or(0);
        ensure!(start > had, "{late} had all up to {had} and still begins at {start}");
        installed.push(start);
    }
    // It has to know everything by the snapshot and what came after: it leads, and is asked.
    quorum.force_leader(late, || creates.await_more(1))?;
    creates.await_more(5)?;
    let acked = creates.stop();
    drop(brokers);
    quorum.await_topics(&acked)?;
    let log = quorum.compare_logs()?;
    log.one_leader_an_epoch()?;
    quorum.compare_images()?;
    let snapshots = readable_snapshots(&quorum, &ids)?;
    let records = quorum.compare_dumps(KafkaVersion::V4_3_0, &ids)?;
    println!(
        "{name}: snapshots installed at {installed:?}; {} topics known to the late one, {records} \
         records equal on all, {snapshots} snapshots readable",
        acked.len()
    );
    if drill_rounds(1) > 1 {
        quorum.hand_over(KafkaVersion::V4_3_0, &acked)?;
    }
    quorum.finish()
}

/// The segments or snapshots of a controller, by the offset in their name.
fn files(quorum: &Quorum, id: i32, ending: &str) -> Outcome<BTreeMap<i64, PathBuf>> {
    let dir = quorum.controllers[&id].dir().join("__cluster_metadata-0");
    let fault = |e: std::io::Error| Failure(format!("{}: {e}", dir.display()));
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let offset = name.get(..20).and_then(|digits| digits.parse().ok());
        if let (true, Some(offset)) = (name.ends_with(ending), offset) {
            found.insert(offset, path);
        }
    }
    Ok(found)
}

/// Where the last segment ends; a log without segments, or with an empty last one, ends there.
fn end_of(segments: &BTreeMap<i64, PathBuf>) -> Outcome<i64> {
    let Some((base, path)) = segments.last_key_value() else { return Ok(0) };
    let bytes = read(path)?;
    let mut end = *base;
    for batch in quorate_protocol::batch::batches(bytes.into()) {
        let Ok(batch) = batch else { break };
        end = batch.last_offset() + 1;
    }
    Ok(end)
}

/// Our tool reads every snapshot on every node; how many there are.
fn readable_snapshots(quorum: &Quorum, ids: &[i32]) -> Outcome<usize> {
    let mut count = 0;
    for id in ids {
        for path in files(quorum, *id, ".checkpoint")?.values() {
            let dump = quorum.quorate(&["dump", &path.display().to_string()])?;
            // Retention may have taken it since it was listed.
            if path.exists() {
                dump.ok()?.says("SnapshotFooter")?;
                count += 1;
            }
        }
    }
    Ok(count)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure(format!("{}: {e}", path.display())))
}
