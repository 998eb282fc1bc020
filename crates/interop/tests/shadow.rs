//! `quorate shadow` beside Kafka's controllers during a randomised administration: no divergence, also
//! across restarts of the shadow and lost leaders; planted ones are found and named.
//!
//! `QUORATE_SHADOW_MINUTES=60` runs the administration for so long instead of some seconds.

#[path = "shadow/churn.rs"]
mod churn;

use churn::Churn;
use quorate_interop::{
    Controller, DEADLINE, Failure, KafkaVersion, Outcome, Process, Quorum, ensure, quorate_binary,
    wait_for,
};
use quorate_protocol::batch::{batches, encode_data_batch};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const JAVA: Controller = Controller::Java(KafkaVersion::V4_3_0);

/// Small enough that checkpoints come every few seconds of this load.
const BYTES_BETWEEN_SNAPSHOTS: (&str, &str) =
    ("metadata.log.max.record.bytes.between.snapshots", "10000");
const SESSION_TIMEOUT: (&str, &str) = ("broker.session.timeout.ms", "3000");
const HEARTBEATS: (&str, &str) = ("broker.heartbeat.interval.ms", "1000");
/// So long that Kafka's one balancing round does not fall into a short run, and some fall into a long one.
const BALANCE: (&str, &str) = ("leader.imbalance.check.interval.seconds", "20");

/// A shadow process with its directory and report.
struct Follower {
    process: Process,
    report: PathBuf,
}

impl Follower {
    fn start(quorum: &Quorum, dir: &Path, more: &[&str]) -> Outcome<Follower> {
        let report = dir.with_extension("json");
        let bootstrap: Vec<String> = quorum.addresses().into_values().collect();
        let mut command = Command::new(quorate_binary()?);
        command.args(["shadow", "--bootstrap", &bootstrap.join(",")]);
        command.arg("--dir").arg(dir).arg("--report").arg(&report).args(more);
        let log = dir.with_extension("log");
        // What an earlier one said must not be taken for this one's.
        fs::write(&log, "").map_err(|e| Failure(format!("{}: {e}", log.display())))?;
        let process = Process::spawn("quorate shadow", &mut command, &log)?;
        Ok(Follower { process, report })
    }

    /// SIGTERM, its exit code, and its report.
    fn stop(mut self) -> Outcome<(i32, String)> {
        if self.process.is_running() {
            self.process.terminate()?;
        }
        let status = self.process.wait_exit(DEADLINE)?;
        let text = fs::read_to_string(&self.report).map_err(|e| {
            Failure(format!("no report: {e}; it printed: {}", self.process.log_tail()))
        })?;
        let code = status.code().unwrap_or(-1);
        Ok((code, text))
    }

    /// Waits until its output says so.
    fn await_output(&mut self, text: &str, count: usize) -> Outcome<()> {
        let (log, process) = (self.process.log().to_owned(), &mut self.process);
        wait_for(&format!("the shadow says {text:?}"), DEADLINE, || {
            let output = fs::read_to_string(&log).unwrap_or_default();
            ensure!(process.is_running(), "it has ended: {output}");
            let found = output.matches(text).count();
            ensure!(found >= count, "{found} of {count} in: {output}");
            Ok(())
        })
    }
}

fn minutes() -> Option<u64> {
    std::env::var("QUORATE_SHADOW_MINUTES").ok().and_then(|it| it.parse().ok())
}

fn java_quorum(name: &str, voters: usize) -> Outcome<Quorum> {
    let mut builder = Quorum::builder(name).dynamic();
    for (key, value) in [BYTES_BETWEEN_SNAPSHOTS, SESSION_TIMEOUT, HEARTBEATS, BALANCE] {
        builder = builder.property(key, value);
    }
    for _ in 0..voters {
        builder = builder.voter(JAVA);
    }
    builder.start()
}

/// A number in the report, as its JSON writes it.
fn number(report: &str, key: &str) -> Outcome<u64> {
    let at = report.find(&format!("\"{key}\": "));
    let rest = at.map(|at| &report[at + key.len() + 4..]);
    let digits = rest.map(|it| it.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    digits
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| Failure(format!("no number {key} in the report:\n{report}")))
}

#[test]
fn nothing_diverges_during_a_randomised_administration() -> Outcome<()> {
    let long = minutes();
    let mut quorum = java_quorum("shadow", if long.is_some() { 3 } else { 1 })?;
    let (leader, _) = quorum.await_leader()?;
    let address = quorum.addresses()[&leader].clone();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut churn = Churn::start(&address, quorum.cluster_id, seed)?;
    let dir = quorum.path().join("copy");
    let own = quorum.controllers[&leader].dir().join("__cluster_metadata-0");
    let own = own.display().to_string();
    let options = ["--decide", "--checkpoint-dir", &own, "--replica-id", "9000"];
    let mut follower = Follower::start(&quorum, &dir, &options)?;

    let end = Instant::now() + Duration::from_secs(long.map_or(10, |it| it * 60));
    let (mut leader, mut last_loss, mut losses, mut renounced) = (leader, Instant::now(), 0, 0);
    let file = dir.with_extension("log");
    let compared = || fs::read_to_string(&file).map_or(0, |it| it.matches("all the same").count());
    let give_up = end + DEADLINE;
    while Instant::now() < end || (compared() < 3 && Instant::now() < give_up) {
        let stepped = churn.step();
        if long.is_some() && last_loss.elapsed() > Duration::from_secs(240) {
            quorum.controller(leader).kill();
            let (next, _) = quorum.await_leader_where("another leads", |id, _| id != leader)?;
            quorum.controller(leader).start()?;
            (leader, last_loss, losses) = (next, Instant::now(), losses + 1);
            churn.follow(&quorum.addresses()[&leader])?;
        } else if let Err(why) = stepped {
            // Or the same one again: it gave up, and was elected anew.
            (leader, _) = quorum.await_leader()?;
            println!("{why}; {leader} leads now");
            renounced += 1;
            ensure!(renounced < 500, "nobody leads for long");
            // If it is gone again, the next step says so.
            let _ = churn.follow(&quorum.addresses()[&leader]);
        }
    }
    follower.await_output("all the same", 3)?;
    // Its own restart resumes.
    let (code, report) = follower.stop()?;
    ensure!(code == 0, "exit code {code}:\n{report}");
    let before = number(&report, "high_watermark")?;
    let mut follower = Follower::start(&quorum, &dir, &options)?;
    follower.await_output("following cluster", 1)?;
    for _ in 0..150 {
        if churn.step().is_err() {
            let (leader, _) = quorum.await_leader()?;
            churn.follow(&quorum.addresses()[&leader])?;
        }
    }
    quorum.await_leader()?;
    follower.await_output("all the same", 1)?;
    let (code, report) = follower.stop()?;
    println!("sent: {:?}; {losses} leaders lost, {renounced} gave up\n{report}", churn.sent);
    ensure!(code == 0, "exit code {code}:\n{report}");
    ensure!(report.contains("\"divergences\": []"), "{report}");
    ensure!(report.contains("\"otherwise_count\": 0"), "Java decided otherwise:\n{report}");
    ensure!(number(&report, "high_watermark")? > before, "it did not go on:\n{report}");
    ensure!(number(&report, "topics")? > 0, "{report}");
    // Seen as an observer, and never more than that.
    let (_, state) = quorum.await_leader()?;
    ensure!(state.current_voters.iter().all(|it| it.replica_id != 9000), "{state:?}");
    if renounced > 0 {
        // Its log tells of a fault of its own: after a topic with an ELR was deleted, its id may stay in
        // Kafka's index of replicas by broker, and the next registration of one of its brokers then makes
        // the leader give up (observed with 4.3.0).
        quorum.discard();
        return Ok(());
    }
    quorum.finish()
}

#[test]
fn planted_divergences_are_found_and_named() -> Outcome<()> {
    let mut quorum = java_quorum("shadow-planted", 1)?;
    let (leader, _) = quorum.await_leader()?;
    let address = quorum.addresses()[&leader].clone();
    let mut churn = Churn::start(&address, quorum.cluster_id, 7)?;
    let checkpoints = quorum.controllers[&leader].dir().join("__cluster_metadata-0");
    let checkpoint = wait_for("Kafka writes a checkpoint", DEADLINE, || {
        for _ in 0..20 {
            churn.step()?;
        }
        newest_checkpoint(&checkpoints)
    })?;
    let dir = quorum.path().join("copy");
    let planted = quorum.path().join("planted");
    let fault = |e: std::io::Error| Failure(e.to_string());
    fs::create_dir_all(&planted).map_err(fault)?;
    let file = planted.join(checkpoint.file_name().unwrap_or_default());
    let whole = fs::read(&checkpoint).map_err(fault)?;

    // A flipped byte: damage, with its place.
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&file, flipped).map_err(fault)?;
    let planted = planted.display().to_string();
    let options = ["--checkpoint-dir", &planted];
    let mut follower = Follower::start(&quorum, &dir, &options)?;
    follower.await_output("is corrupt at byte", 1)?;
    let (code, report) = follower.stop()?;
    ensure!(code == 1 && report.contains("is corrupt at byte"), "{code}: {report}");

    // A value changed, the checksum right: the record, and both values.
    fs::write(&file, with_another_value(&whole)?).map_err(fault)?;
    let mut follower = Follower::start(&quorum, &dir, &options)?;
    follower.await_output("DIVERGENCE", 1)?;
    let (code, report) = follower.stop()?;
    ensure!(code == 1, "{code}: {report}");
    for part in ["records differ, the first is ", "replaying leads to ", "the checkpoint says "] {
        ensure!(report.contains(part), "no {part:?} in {report}");
    }

    // The same beside the checkpoint as Kafka wrote it.
    fs::write(&file, whole).map_err(fault)?;
    let mut follower = Follower::start(&quorum, &dir, &options)?;
    follower.await_output("all the same", 1)?;
    let (code, report) = follower.stop()?;
    ensure!(code == 0, "{code}: {report}");
    quorum.finish()
}

fn newest_checkpoint(dir: &Path) -> Outcome<PathBuf> {
    let fault = |e: std::io::Error| Failure(e.to_string());
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(fault)?
        .filter_map(|it| it.ok().map(|it| it.path()))
        .filter(|it| it.extension().is_some_and(|it| it == "checkpoint"))
        .filter(|it| !it.ends_with("00000000000000000000-0000000000.checkpoint"))
        .collect();
    found.sort();
    found.pop().ok_or_else(|| Failure::new("none yet"))
}

/// The checkpoint with one record's value changed: the last byte of a text in its first setting.
fn with_another_value(whole: &[u8]) -> Outcome<Vec<u8>> {
    let fault = |e: quorate_protocol::batch::BatchError| Failure(e.to_string());
    let mut out = Vec::new();
    let mut changed = false;
    for batch in batches(whole.to_vec().into()) {
        let batch = batch.map_err(fault)?;
        if batch.is_control() || changed {
            out.extend_from_slice(&batch.bytes);
            continue;
        }
        let mut values = Vec::new();
        for record in batch.records() {
            let value = record.map_err(fault)?.value.unwrap_or_default();
            let mut bytes = value.to_vec();
            // Frame version, type, version, then the record: 4 is a setting, its value stands last.
            if bytes.get(1) == Some(&4) && !changed {
                let at = bytes.len() - 2;
                bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
                changed = true;
            }
            values.push(bytes.into());
        }
        let header = batch.header;
        out.extend_from_slice(&encode_data_batch(
            header.base_offset,
            header.partition_leader_epoch,
            header.base_timestamp,
            &values,
        ));
    }
    ensure!(changed, "the checkpoint has no setting");
    Ok(out)
}

/// `--compare-with` a second node: its hash is the same; a wrong one is a divergence.
#[test]
fn a_second_node_is_held_against_the_log() -> Outcome<()> {
    let mut builder = Quorum::builder("shadow-second").dynamic();
    for _ in 0..2 {
        builder = builder.voter(Controller::Quorate);
    }
    let mut quorum = builder.start()?;
    // On a busy machine the first leader may not last.
    let (leader, mut churn) = wait_for("the brokers register", DEADLINE, || {
        let (leader, _) = quorum.await_leader()?;
        let address = quorum.addresses()[&leader].clone();
        Ok((leader, Churn::start(&address, quorum.cluster_id, 11)?))
    })?;
    for _ in 0..30 {
        if churn.step().is_err() {
            let (leader, _) = quorum.await_leader()?;
            churn.follow(&quorum.addresses()[&leader])?;
        }
    }
    let other = *quorum.controllers.keys().find(|id| **id != leader).expect("two");
    let http = quorum.controllers[&other].http_address().expect("it has one");
    let agreed = |report: &str| number(report, "agreed");
    let dir = quorum.path().join("copy");
    let mut follower = Follower::start(&quorum, &dir, &["--compare-with", &http, "--for", "25s"])?;
    let status = follower.process.wait_exit(DEADLINE)?;
    let (code, report) = follower.stop()?;
    ensure!(code == 0 && status.success(), "{code}: {report}");
    ensure!(agreed(&report)? >= 1, "nothing was compared: {report}");

    // One that tells another hash for the same offset.
    let liar = liar(&http)?;
    let dir = quorum.path().join("copy-2");
    let follower = Follower::start(&quorum, &dir, &["--compare-with", &liar, "--for", "25s"]);
    let mut follower = follower?;
    follower.process.wait_exit(DEADLINE)?;
    let (code, report) = follower.stop()?;
    ensure!(code == 1, "{code}: {report}");
    ensure!(report.contains("at the second node"), "{report}");
    quorum.finish()
}

/// Passes on what the node says, with a hash of its own; its address.
fn liar(http: &str) -> Outcome<String> {
    let fault = |e: std::io::Error| Failure(e.to_string());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?.to_string();
    let http = http.to_owned();
    std::thread::spawn(move || {
        for asked in listener.incoming().flatten() {
            let mut asked: std::net::TcpStream = asked;
            let Ok(mut node) = std::net::TcpStream::connect(&http) else { continue };
            let question = "GET /status?hash=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            let told = node
                .write_all(question.as_bytes())
                .and_then(|()| node.read_to_string(&mut answer).map(drop));
            let other = answer
                .replace("\"hash\":\"", "\"hash\":\"0")
                .replace("\"hash\": \"", "\"hash\": \"0");
            // Closing with the question unread would reset the connection. The length no longer fits by
            // one byte: whoever reads to the end does not mind.
            let heard = asked.read(&mut [0; 1024]);
            if told.is_ok() && heard.is_ok() {
                let _ = asked.write_all(other.as_bytes());
            }
        }
    });
    Ok(address)
}

/// `backup --keep`: old snapshots go, the newest that is old enough stays, and so does a way back.
#[test]
fn a_backup_keeps_what_a_restore_may_want_and_no_more() -> Outcome<()> {
    let (key, value) = BYTES_BETWEEN_SNAPSHOTS;
    let mut quorum = Quorum::builder("shadow-keep")
        .dynamic()
        .property(key, value)
        .property("metadata.max.retention.bytes", "1")
        .voter(Controller::Quorate)
        .start()?;
    let (leader, _) = quorum.await_leader()?;
    let mut churn = Churn::start(&quorum.addresses()[&leader].clone(), quorum.cluster_id, 12)?;
    let to = quorum.path().join("backup");
    let bootstrap = quorum.addresses()[&leader].clone();
    let mut command = Command::new(quorate_binary()?);
    command.args(["backup", "--bootstrap", &bootstrap, "--keep", "5s", "--to"]).arg(&to);
    let mut process = Process::spawn("quorate backup", &mut command, &to.with_extension("log"))?;
    let said = |text: &str| {
        let log = fs::read_to_string(to.with_extension("log")).unwrap_or_default();
        log.matches(text).count()
    };
    let left = || -> Outcome<usize> {
        let entries = fs::read_dir(to.join("__cluster_metadata-0"));
        let names = entries.map_err(|e| Failure(e.to_string()))?.flatten();
        Ok(names.filter(|it| it.path().extension().is_some_and(|it| it == "checkpoint")).count())
    };
    wait_for("some snapshots are copied", DEADLINE, || {
        for _ in 0..20 {
            churn.step()?;
        }
        ensure!(process.is_running(), "it has ended: {}", process.log_tail());
        let copied = said("copied and verified");
        ensure!(copied >= 3 && left()? < copied, "{copied}, {} still there", left()?);
        Ok(())
    })?;
    process.terminate()?;
    let status = process.wait_exit(DEADLINE)?;
    ensure!(status.success(), "{status}");
    ensure!(left()? >= 1, "the last snapshot is gone");
    // And what is left can be restored.
    let target = quorum.path().join("restored");
    let text = fs::read_to_string(quorum.controllers[&leader].properties())
        .map_err(|e| Failure(e.to_string()))?;
    let own = quorum.controllers[&leader].dir().display().to_string();
    let file = quorum.path().join("restored.properties");
    fs::write(&file, text.replace(&own, &target.display().to_string()))
        .map_err(|e| Failure(e.to_string()))?;
    let (to, file) = (to.display().to_string(), file.display().to_string());
    quorum.quorate(&["restore", "--from", &to, "--config", &file, "--standalone"])?.ok()?;
    quorum.quorate(&["fsck", &target.display().to_string()])?.ok()?;
    quorum.finish()
}
