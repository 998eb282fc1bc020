//! The controller is killed and started again, and its directory is handed to Kafka's own
//! controller and back: nothing that was acknowledged may be missing.
use quorate_client::{Admin, NewTopic};
use quorate_interop::{
    Cluster, Controller, DEADLINE, Failure, KafkaVersion, Outcome, STOP_DEADLINE, Tool, ToolOutput,
    ensure, quorate_binary, wait_for,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

#[test]
fn acknowledged_topics_survive_kills_of_the_controller_at_any_point() -> Outcome<()> {
    let mut cluster =
        Cluster::builder("controller-kills").brokers(1, KafkaVersion::V4_3_0).start()?;
    let creator = Creator::start(cluster.broker(1).address());
    // Pauses of different lengths put the kill into different moments of start and work.
    for pause_ms in [400, 50, 5, 900, 150, 20] {
        let before = creator.count();
        wait_for("topics are created", DEADLINE, || {
            let count = creator.count();
            if count >= before + 3 { Ok(()) } else { Err(Failure(format!("{count}"))) }
        })?;
        std::thread::sleep(Duration::from_millis(pause_ms));
        cluster.controller.kill();
        cluster.controller.start()?;
        if pause_ms < 100 {
            // And once more in the middle of its start.
            std::thread::sleep(Duration::from_millis(pause_ms));
            cluster.controller.kill();
            cluster.controller.start()?;
        }
        cluster.await_controller()?;
    }
    let acked = creator.stop();
    ensure!(acked.len() >= 18, "only {} topics were created", acked.len());
    cluster.await_brokers()?;
    let address = cluster.broker(1).address();
    wait_for("the broker shows all acknowledged topics", DEADLINE, || {
        let shown = topics_with_leader(&address)?;
        let missing: Vec<&String> = acked.difference(&shown).take(10).collect();
        ensure!(missing.is_empty(), "missing or without leader: {missing:?}");
        Ok(())
    })?;
    println!("{} topics acknowledged over 6 kills, all there", acked.len());
    cluster.finish()
}

#[test]
fn a_directory_goes_to_a_java_controller_and_back() -> Outcome<()> {
    let mut cluster = Cluster::builder("handover").brokers(2, KafkaVersion::V4_3_0).start()?;
    let create = |cluster: &Cluster, topic: &str| {
        let args = ["--create", "--topic", topic, "--partitions", "3", "--replication-factor", "2"];
        cluster.tool(Tool::Topics, &args)?.ok()
    };
    create(&cluster, "ours")?;
    let config = [
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "ours",
        "--add-config",
        "retention.ms=7200000",
    ];
    cluster.tool(Tool::Configs, &config)?.ok()?;
    produce(&cluster, "ours", 50)?;

    let stopped = stop_controller(&mut cluster)?;
    stopped.says_nothing_wrong()?;
    cluster.hand_controller_to(Controller::Java(KafkaVersion::V4_3_0));
    cluster.start_all()?;
    everything_is_there(&cluster, &["ours"])?;
    create(&cluster, "javas")?;
    produce(&cluster, "javas", 50)?;

    let stopped = stop_controller(&mut cluster)?;
    stopped.says_nothing_wrong()?;
    our_dump_reads_what_java_wrote(&cluster)?;
    cluster.hand_controller_to(Controller::under_test(KafkaVersion::V4_3_0));
    cluster.start_all()?;
    everything_is_there(&cluster, &["ours", "javas"])?;
    create(&cluster, "ours-again")?;
    everything_is_there(&cluster, &["ours", "javas", "ours-again"])?;
    cluster.finish()
}

fn produce(cluster: &Cluster, topic: &str, count: usize) -> Outcome<ToolOutput> {
    let lines: String = (0..count).map(|i| format!("{topic}-{i}\n")).collect();
    let bootstrap = cluster.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--topic", topic];
    cluster.tool_raw(Tool::ConsoleProducer, &args, &lines)?.ok()
}

fn everything_is_there(cluster: &Cluster, topics: &[&str]) -> Outcome<()> {
    for topic in topics {
        cluster.await_topic(1, topic, "two in each ISR", DEADLINE, |view| {
            view.partitions.len() == 3
                && view.isr_is(2)
                && view.partitions.iter().all(|p| p.leader.is_some())
        })?;
    }
    let describe = ["--describe", "--entity-type", "topics", "--entity-name", "ours"];
    cluster.tool(Tool::Configs, &describe)?.ok()?.says("retention.ms=7200000")?;
    let consumed = cluster
        .tool(
            Tool::ConsoleConsumer,
            &[
                "--topic",
                "ours",
                "--from-beginning",
                "--max-messages",
                "50",
                "--timeout-ms",
                "60000",
            ],
        )?
        .ok()?;
    let count = consumed.out.lines().count();
    ensure!(count == 50, "50 records were produced to ours, {count} are read");
    Ok(())
}

fn our_dump_reads_what_java_wrote(cluster: &Cluster) -> Outcome<()> {
    if Controller::under_test(KafkaVersion::V4_3_0) != Controller::Quorate {
        return Ok(());
    }
    let files = metadata_files(cluster)?;
    let output = Command::new(quorate_binary()?)
        .arg("dump")
        .args(&files)
        .output()
        .map_err(|e| Failure(format!("cannot start quorate dump: {e}")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains("javas"),
        "quorate dump {files:?} ended with {}:\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The segments and snapshots in the controller's directory.
fn metadata_files(cluster: &Cluster) -> Outcome<Vec<PathBuf>> {
    let dir = cluster.controller.dir().join("__cluster_metadata-0");
    let entries =
        std::fs::read_dir(&dir).map_err(|e| Failure(format!("{}: {e}", dir.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "log" || e == "checkpoint"));
    files.sort();
    ensure!(!files.is_empty(), "{} holds neither logs nor snapshots", dir.display());
    Ok(files)
}

/// Stops the controller cleanly; what Kafka's dump tool makes of the log it leaves.
fn stop_controller(cluster: &mut Cluster) -> Outcome<Dump> {
    let ours = cluster.controller.is_quorate();
    let status = cluster.controller.stop(STOP_DEADLINE)?;
    // A JVM ends by SIGTERM with 128 + 15.
    ensure!(status.code() == Some(if ours { 0 } else { 143 }), "SIGTERM: ended with {status}");
    let mut dumps = Vec::new();
    for file in metadata_files(cluster)? {
        let file = file.to_string_lossy();
        let args = ["--cluster-metadata-decoder", "--skip-record-metadata", "--files", &file];
        dumps.push(cluster.tool_raw(Tool::DumpLog, &args, "")?.ok()?);
    }
    Ok(Dump(dumps))
}

/// What Kafka's dump tool said about the files of a metadata directory.
struct Dump(Vec<ToolOutput>);

impl Dump {
    fn says_nothing_wrong(&self) -> Outcome<()> {
        for dump in &self.0 {
            for bad in ["Could not decode", "isvalid: false", "corrupt", "Exception"] {
                let found = dump.out.lines().chain(dump.err.lines()).find(|l| l.contains(bad));
                if let Some(line) = found {
                    return Err(dump.fault(&format!("found something wrong: {line}")));
                }
            }
        }
        let shows_topics = self.0.iter().any(|dump| dump.out.contains("TOPIC_RECORD"));
        ensure!(shows_topics, "no dump shows a topic record: {:?}", self.0);
        Ok(())
    }
}

/// Creates topics one after another through a broker and keeps the names of those acknowledged.
struct Creator {
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<BTreeSet<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Creator {
    fn start(broker: String) -> Creator {
        let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let thread = {
            let (stop, acked) = (Arc::clone(&stop), Arc::clone(&acked));
            std::thread::spawn(move || create_until(&broker, &stop, &acked))
        };
        Creator { stop, acked, thread: Some(thread) }
    }

    fn count(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    fn stop(mut self) -> BTreeSet<String> {
        self.halt();
        self.acked.lock().unwrap().clone()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn create_until(broker: &str, stop: &AtomicBool, acked: &Mutex<BTreeSet<String>>) {
    let mut number = 0;
    let mut admin = None;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("topic-{number}");
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(2),
            replication_factor: Some(1),
            ..Default::default()
        };
        // A failed create is unknown, not absent: its name is never used again.
        let connected = match admin.take() {
            Some(admin) => Ok(admin),
            None => Admin::connect(broker),
        };
        match connected.and_then(|mut admin| admin.create_topic(topic).map(|()| admin)) {
            Ok(kept) => {
                admin = Some(kept);
                acked.lock().unwrap().insert(name);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn topics_with_leader(broker: &str) -> Outcome<BTreeSet<String>> {
    let answer = Admin::connect(broker)?.metadata(None)?;
    let led = answer.topics.iter().filter(|topic| {
        topic.partitions.len() == 2 && topic.partitions.iter().all(|p| p.leader_id >= 0)
    });
    Ok(led.filter_map(|topic| topic.name.as_ref().map(ToString::to_string)).collect())
}
