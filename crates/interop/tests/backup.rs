//! A cluster with a real broker is backed up, changed further, lost, and restored to before: the broker
//! joins, and finds what `quorate restore` said it would find. The commands are those of
//! `docs/guide/backup.md` and `docs/guide/what-if.md`.

use quorate_client::{Admin, NewTopic};
use quorate_interop::{
    Cluster, Controller, DEADLINE, Failure, KafkaVersion, Outcome, STOP_DEADLINE, Tool, ToolOutput,
    ensure, quorate_binary,
};
use std::fs;
use std::process::Command;

const RECORDS: usize = 50;

#[test]
fn ours_restored_to_an_earlier_offset_into_a_quorum_of_ours() -> Outcome<()> {
    lost_and_restored("backup-ours", Controller::Quorate, false)
}

#[test]
fn kafkas_restored_to_an_earlier_offset_into_a_static_quorum_of_kafka() -> Outcome<()> {
    lost_and_restored("backup-java", Controller::Java(KafkaVersion::V4_3_0), true)
}

fn lost_and_restored(name: &str, controller: Controller, is_static: bool) -> Outcome<()> {
    let mut builder =
        Cluster::builder(name).controller(controller).brokers(1, KafkaVersion::V4_3_0);
    if is_static {
        builder = builder.static_quorum();
    }
    let mut cluster = builder.start()?;
    let address = cluster.controller.address();
    let backup = cluster.path().join("backup");
    let backup = backup.display().to_string();
    let copy = ["backup", "--bootstrap", &address, "--to", &backup, "--once"];

    for topic in ["orders", "deleted-since", "replaced", "grown"] {
        create(&mut cluster, topic)?;
        produce(&cluster, topic)?;
    }
    set_retention(&cluster, "1111111")?;
    let first = quorate(&copy)?.ok()?;
    let offset = number_after(&first, "everything committed up to offset ")?;

    what_if(&cluster, &address, &backup)?;

    create(&mut cluster, "created-since")?;
    produce(&cluster, "created-since")?;
    for topic in ["deleted-since", "replaced"] {
        Admin::connect(&cluster.broker(1).address())?.delete_topic(topic)?;
    }
    create(&mut cluster, "replaced")?;
    produce(&cluster, "replaced")?;
    cluster.tool(Tool::Topics, &["--alter", "--topic", "grown", "--partitions", "2"])?.ok()?;
    cluster.await_topic(1, "grown", "has two partitions", DEADLINE, |it| {
        it.partitions.len() == 2 && it.partitions.iter().all(|it| it.leader.is_some())
    })?;
    set_retention(&cluster, "2222222")?;
    // It goes on where it was.
    let second = quorate(&copy)?.ok()?;
    let end = number_after(&second, "everything committed up to offset ")?;
    ensure!(end > offset, "{end} after {offset}");

    // Everything stops, and the controller's disk is gone.
    cluster.broker(1).stop(STOP_DEADLINE)?;
    cluster.controller.kill();
    let dir = cluster.controller.dir().to_owned();
    let fault = |e: std::io::Error| Failure(e.to_string());
    let properties = cluster.controller.properties().display().to_string();
    let offset_text = offset.to_string();
    let mut restore =
        vec!["restore", "--from", &backup, "--config", &properties, "--offset", &offset_text];
    if !is_static {
        restore.push("--standalone");
    }
    // Where something is, nothing is restored.
    let refused = quorate(&restore)?;
    ensure!(refused.code == 3, "{}", refused.fault("wrote over a directory"));
    fs::rename(&dir, dir.with_extension("lost")).map_err(fault)?;
    let preview = quorate(&[&restore[..], &["--dry-run"]].concat())?.ok()?;
    ensure!(!dir.exists(), "a dry run wrote something");
    let preview =
        preview.says("created-since")?.says("deleted-since")?.says("nothing was written")?;
    let preview = preview.says("replaced")?.says("grown-1")?;
    ensure!(!preview.out.contains("orders,"), "{}", preview.out);
    quorate(&restore)?.ok()?;
    quorate(&["fsck", &dir.display().to_string()])?.ok()?;

    cluster.start_all()?;
    let topics = cluster.tool(Tool::Topics, &["--list"])?.ok()?;
    let topics: Vec<&str> =
        topics.out.lines().filter(|it| !it.starts_with("__")).map(str::trim).collect();
    let expected = ["deleted-since", "grown", "orders", "replaced"];
    ensure!(topics == expected, "the topics are {topics:?}");
    // The data that is still there is still there; what was deleted comes back empty.
    let orders = cluster.await_topic(1, "orders", "has a leader", DEADLINE, |it| {
        it.partitions.iter().all(|it| it.leader == Some(1))
    })?;
    ensure!(orders.partitions[0].leader_epoch > 1_000, "the leader epoch regressed: {orders:?}");
    ensure!(records_in(&cluster, "orders")? == RECORDS, "records of orders are gone");
    for topic in ["deleted-since", "replaced", "grown"] {
        let back = cluster.await_topic(1, topic, "has a leader", DEADLINE, |it| {
            it.partitions.iter().all(|it| it.leader == Some(1))
        })?;
        ensure!(back.partitions.len() == 1, "{back:?}");
    }
    ensure!(records_in(&cluster, "deleted-since")? == 0, "deleted data came back");
    ensure!(records_in(&cluster, "replaced")? == 0, "another topic's data is taken for this one's");
    ensure!(records_in(&cluster, "grown")? == RECORDS, "records of grown are gone");
    // What was created since lies aside.
    let broker_dir = cluster.broker(1).dir().to_owned();
    let names: Vec<String> = fs::read_dir(&broker_dir)
        .map_err(fault)?
        .filter_map(|it| it.ok().map(|it| it.file_name().to_string_lossy().into_owned()))
        .collect();
    for created in ["created-since-0.", "replaced-0.", "grown-1."] {
        ensure!(
            names.iter().any(|it| it.starts_with(created) && it.ends_with("-stray")),
            "no stray directory {created} among {names:?}"
        );
    }
    let described = cluster.tool(
        Tool::Configs,
        &["--describe", "--entity-type", "topics", "--entity-name", "orders"],
    )?;
    described.ok()?.says("retention.ms=1111111")?;
    // And it goes on from there.
    produce(&cluster, "orders")?;
    ensure!(
        records_in(&cluster, "orders")? == 2 * RECORDS,
        "records after the restore are missing"
    );
    create(&mut cluster, "afterwards")?;
    // A backup of what was is no backup of what is.
    let parted = quorate(&copy)?;
    ensure!(parted.code == 3, "{}", parted.fault("went on with another history"));
    cluster.allowed_errors.push("stray");
    cluster.finish()
}

/// Live and from the backup, the same answers.
fn what_if(cluster: &Cluster, address: &str, backup: &str) -> Outcome<()> {
    for source in [["--bootstrap", address], ["--dir", backup]] {
        let ask = |question: &[&str]| quorate(&[&["what-if"], &source[..], question].concat());
        let fence = ask(&["--fence", "1"])?;
        ensure!(fence.code == 1, "{}", fence.fault("sees no harm in losing the only broker"));
        fence.says("4 partition(s) offline")?.says("orders-0")?;
        let decommission = ask(&["--decommission", "1", "--json"])?;
        ensure!(decommission.code == 1, "{}", decommission.fault("finds a place where none is"));
        decommission.says("\"brokers_left\": 0")?;
        let nobody = ask(&["--fence", "77"])?;
        ensure!(nobody.code == 2, "{}", nobody.fault("knows broker 77"));
        ask(&["--upgrade", "4.3"])?.ok()?.says("nothing")?;
    }
    let id = cluster.controller.id.to_string();
    let stop = quorate(&["what-if", "--bootstrap", address, "--stop-controller", &id])?;
    ensure!(stop.code == 1, "{}", stop.fault("sees no harm in losing the only controller"));
    stop.says("THE QUORUM STOPS").map(drop)
}

fn create(cluster: &mut Cluster, topic: &str) -> Outcome<()> {
    let new = NewTopic {
        name: topic.to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    Admin::connect(&cluster.broker(1).address())?.create_topic(new)?;
    cluster
        .await_topic(1, topic, "has a leader", DEADLINE, |it| {
            it.partitions.iter().all(|it| it.leader.is_some())
        })
        .map(drop)
}

fn produce(cluster: &Cluster, topic: &str) -> Outcome<()> {
    let records: String = (0..RECORDS).map(|i| format!("{topic}-{i}\n")).collect();
    let bootstrap = cluster.bootstrap();
    let produce = ["--bootstrap-server", &bootstrap, "--topic", topic];
    cluster.tool_raw(Tool::ConsoleProducer, &produce, &records)?.ok().map(drop)
}

/// How many records there are from the beginning on.
fn records_in(cluster: &Cluster, topic: &str) -> Outcome<usize> {
    let consume = ["--topic", topic, "--from-beginning", "--timeout-ms", "8000"];
    // It ends with an error when nothing more comes.
    Ok(cluster
        .tool(Tool::ConsoleConsumer, &consume)?
        .out
        .lines()
        .filter(|it| it.starts_with(topic))
        .count())
}

fn set_retention(cluster: &Cluster, value: &str) -> Outcome<()> {
    let setting = format!("retention.ms={value}");
    let args = ["--alter", "--entity-type", "topics", "--entity-name", "orders", "--add-config"];
    cluster.tool(Tool::Configs, &[&args[..], &[&setting]].concat())?.ok().map(drop)
}

fn quorate(args: &[&str]) -> Outcome<ToolOutput> {
    let line = format!("quorate {}", args.join(" "));
    let output = Command::new(quorate_binary()?)
        .args(args)
        .output()
        .map_err(|e| Failure(format!("cannot start {line}: {e}")))?;
    Ok(ToolOutput {
        line,
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn number_after(output: &ToolOutput, text: &str) -> Outcome<i64> {
    let rest = output.out.split_once(text).map(|(_, rest)| rest).unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| output.fault(&format!("has no number behind {text:?}")))
}
