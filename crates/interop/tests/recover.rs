//! Quorums that lost their majority, or their addresses, and go on by `quorate recover`: the commands
//! of docs/guide/recover.md, run on real nodes' directories.

use quorate_client::{Admin, NewTopic};
use quorate_interop::{
    Controller, DEADLINE, Failure, FollowingBrokers, KafkaVersion, Outcome, Quorum, ToolOutput,
    ensure, free_port, wait_for,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FIRST: i32 = 3001;

fn quorum(name: &str, programs: &[Controller], dynamic: bool, release: &str) -> Outcome<Quorum> {
    let builder = Quorum::builder(name).release_version(release);
    let builder = programs.iter().fold(builder, |builder, program| builder.voter(*program));
    if dynamic { builder.dynamic().start() } else { builder.start() }
}

fn ours(name: &str, count: usize, dynamic: bool) -> Outcome<Quorum> {
    quorum(name, &vec![Controller::Quorate; count], dynamic, "4.3")
}

/// Creates topics at the leader, which all voters that run then have.
fn create(quorum: &mut Quorum, names: &[&str]) -> Outcome<()> {
    let (leader, seen) = quorum.await_leader()?;
    let address = quorum.addresses()[&leader].clone();
    let controllers = vec![address.clone()];
    let cluster_id = quorum.cluster_id;
    // An earlier one with its id is taken for alive until its session is over.
    let broker = wait_for("a broker registers", DEADLINE, || {
        FollowingBrokers::start(&address, &controllers, cluster_id, 1)
    })?;
    let mut admin = Admin::connect(&address)?;
    for name in names {
        admin.create_topic(NewTopic {
            name: (*name).to_owned(),
            partitions: Some(1),
            replication_factor: Some(1),
            ..NewTopic::default()
        })?;
    }
    drop(broker);
    let running: Vec<i32> = {
        let voters = seen.current_voters.iter().map(|it| it.replica_id);
        voters
            .filter(|id| quorum.controllers.get_mut(id).is_some_and(|it| it.is_running()))
            .collect()
    };
    quorum.await_caught_up(&running)?;
    Ok(())
}

fn topics(quorum: &mut Quorum, of: i32) -> Outcome<BTreeSet<String>> {
    Ok(quorum.compare_logs_of(&[of])?.topics()?.into_keys().collect())
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|it| (*it).to_owned()).collect()
}

fn dir(quorum: &mut Quorum, id: i32) -> PathBuf {
    quorum.controller(id).dir().to_owned()
}

fn kill_all(quorum: &mut Quorum) {
    quorum.controllers.values_mut().for_each(|node| node.kill());
}

fn lose(quorum: &mut Quorum, ids: &[i32]) -> Outcome<()> {
    for id in ids {
        let path = dir(quorum, *id);
        fs::remove_dir_all(&path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
    }
    Ok(())
}

/// Runs `quorate recover` on these directories.
fn recover(quorum: &Quorum, dirs: &[&Path], options: &[&str]) -> Outcome<ToolOutput> {
    let dirs = dirs.iter().map(|dir| dir.to_str().expect("our own paths are text"));
    let args: Vec<&str> =
        std::iter::once("recover").chain(dirs).chain(options.iter().copied()).collect();
    quorum.quorate(&args)
}

fn ends_with(output: ToolOutput, code: i32, says: &str) -> Outcome<ToolOutput> {
    if output.code != code || !(output.out.contains(says) || output.err.contains(says)) {
        return Err(output.fault(&format!("should end with {code} and say {says:?}")));
    }
    Ok(output)
}

/// Everything in a directory that is the quorum's, to see that nothing was written, or that all was copied.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(content(&path));
        } else if path
            .file_name()
            .is_some_and(|name| name != ".lock" && name != "quorate-audit.log")
        {
            let bytes = fs::read(&path).unwrap_or_default();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

/// The quorum is this one voter, in a later epoch than before, and the others observe at most.
fn leads_alone(quorum: &mut Quorum, id: i32, after_epoch: i32) -> Outcome<()> {
    let (leader, seen) = quorum.await_leader_where(&format!("{id} leads alone"), |_, seen| {
        seen.current_voters.len() == 1 && seen.leader_epoch > after_epoch
    })?;
    ensure!(leader == id, "{leader} leads");
    ensure!(seen.current_voters[0].replica_id == id, "{:?}", seen.current_voters);
    Ok(())
}

#[test]
fn two_of_three_directories_are_gone() -> Outcome<()> {
    two_of_three(ours("recover-2of3", 3, true)?)
}

#[test]
fn two_of_three_directories_of_kafka_4_3_are_gone() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_3_0);
    two_of_three(quorum("recover-2of3-java43", &[java; 3], true, "4.3")?)
}

#[test]
fn two_of_three_directories_of_kafka_3_9_are_gone() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V3_9_1);
    two_of_three(quorum("recover-2of3-java39", &[java; 3], true, "3.9")?)
}

fn two_of_three(mut quorum: Quorum) -> Outcome<()> {
    create(&mut quorum, &["a", "b"])?;
    let (_, before) = quorum.await_leader()?;
    kill_all(&mut quorum);
    lose(&mut quorum, &[FIRST, FIRST + 1])?;
    let survivor = FIRST + 2;
    let dir = dir(&mut quorum, survivor);

    let untouched = content(&dir);
    ends_with(recover(&quorum, &[&dir], &[])?, 0, "This was a preview")?;
    ends_with(recover(&quorum, &[&dir], &["--execute"])?, 3, "--accept-loss")?;
    ensure!(content(&dir) == untouched, "a preview has written");
    let done = recover(&quorum, &[&dir], &["--execute", "--accept-loss"])?;
    let done = ends_with(done, 0, "it leads alone")?;
    let copy = done.out.lines().find_map(|line| line.strip_prefix("  copy of what was there: "));
    let copy = PathBuf::from(copy.and_then(|it| it.split(" (").next()).unwrap_or_default());
    for (path, bytes) in &untouched {
        let copied = copy.join(path.strip_prefix(&dir).expect("is below it"));
        ensure!(fs::read(&copied).is_ok_and(|it| it == *bytes), "{} is not copied", path.display());
    }
    ends_with(quorum.quorate(&["fsck", &dir.display().to_string()])?, 0, "[voters-replaced]")?;

    quorum.controller(survivor).start()?;
    leads_alone(&mut quorum, survivor, before.leader_epoch + 1000)?;
    ensure!(topics(&mut quorum, survivor)? == names(&["a", "b"]), "topics are lost");
    create(&mut quorum, &["c"])?;
    ensure!(topics(&mut quorum, survivor)? == names(&["a", "b", "c"]), "it does not go on");
    // Three again, on empty directories, one at a time.
    for (id, voters) in [(FIRST, 2), (FIRST + 1, 3)] {
        add_anew(&mut quorum, id, voters)?;
    }
    // And each of them can be lost.
    quorum.controller(survivor).kill();
    quorum.await_leader_where("another leads", |id, _| id != survivor)?;
    create(&mut quorum, &["d"])?;
    quorum.controller(survivor).start()?;
    quorum.await_caught_up(&[FIRST, FIRST + 1, survivor])?;
    ensure!(
        topics(&mut quorum, FIRST)? == names(&["a", "b", "c", "d"]),
        "a voter that came differs"
    );
    quorum.finish()
}

/// The end of the runbook: formats an empty directory, starts the node, makes it a voter.
fn add_anew(quorum: &mut Quorum, id: i32, voters: usize) -> Outcome<()> {
    let dir = dir(quorum, id);
    fs::create_dir_all(&dir).map_err(|e| Failure(format!("{}: {e}", dir.display())))?;
    // With `--no-initial-controllers`, by its own program's tool.
    quorum.lose_disk(id)?;
    let file = quorum.controller(id).properties().display().to_string();
    let bootstrap = quorum.bootstrap();
    let add = ["quorum", "--bootstrap", &bootstrap, "add-controller", "-c", &file];
    // Java refuses one that it has not seen fetch yet.
    wait_for("it is made a voter", DEADLINE, || {
        let ran = quorum.quorate(&add)?;
        ensure!(ran.code == 0 || ran.err.contains("DUPLICATE_VOTER"), "{}{}", ran.out, ran.err);
        Ok(())
    })?;
    quorum.await_leader_where(&format!("{voters} voters"), |_, seen| {
        seen.current_voters.len() == voters
    })?;
    let all: Vec<i32> =
        quorum.await_leader()?.1.current_voters.iter().map(|it| it.replica_id).collect();
    quorum.await_caught_up(&all).map(drop)
}

#[test]
fn a_static_quorum_goes_on_with_one_voter() -> Outcome<()> {
    let mut quorum = ours("recover-static", 3, false)?;
    create(&mut quorum, &["a", "b"])?;
    let (_, before) = quorum.await_leader()?;
    kill_all(&mut quorum);
    lose(&mut quorum, &[FIRST + 1, FIRST + 2])?;
    let dir = dir(&mut quorum, FIRST);
    // The log does not tell where the others were.
    ends_with(recover(&quorum, &[&dir], &[])?, 3, "--config")?;
    let file = quorum.controller(FIRST).properties().to_owned();
    let config = ["--config", file.to_str().expect("text"), "--execute", "--accept-loss"];
    ends_with(recover(&quorum, &[&dir], &config)?, 0, "controller.quorum.voters=3001@HOST:PORT")?;
    let address = quorum.controller(FIRST).address();
    set_property(&file, "controller.quorum.voters", &format!("{FIRST}@{address}"))?;
    quorum.controller(FIRST).start()?;
    leads_alone(&mut quorum, FIRST, before.leader_epoch + 1000)?;
    ensure!(topics(&mut quorum, FIRST)? == names(&["a", "b"]), "topics are lost");
    quorum.finish()
}

fn set_property(file: &Path, key: &str, value: &str) -> Outcome<()> {
    let fault = |e: std::io::Error| Failure(format!("{}: {e}", file.display()));
    let text = fs::read_to_string(file).map_err(fault)?;
    let line = |line: &str| match line.split_once('=') {
        Some((name, _)) if name == key => format!("{key}={value}\n"),
        _ => format!("{line}\n"),
    };
    fs::write(file, text.lines().map(line).collect::<String>()).map_err(fault)
}

#[test]
fn of_two_survivors_the_better_log_is_kept() -> Outcome<()> {
    let mut quorum = ours("recover-behind", 5, true)?;
    create(&mut quorum, &["a"])?;
    let (leader, _) = quorum.await_leader()?;
    let behind = if leader == FIRST { FIRST + 1 } else { FIRST };
    quorum.controller(behind).kill();
    create(&mut quorum, &["b", "c"])?;
    let (leader, before) = quorum.await_leader()?;
    kill_all(&mut quorum);
    let others: Vec<i32> =
        quorum.controllers.keys().copied().filter(|id| *id != behind && *id != leader).collect();
    lose(&mut quorum, &others)?;
    let (of_behind, of_best) = (dir(&mut quorum, behind), dir(&mut quorum, leader));
    // The order in which they are given does not matter.
    let options = ["--execute", "--accept-loss"];
    let done = recover(&quorum, &[&of_behind, &of_best], &options)?;
    ends_with(done, 0, &format!("Start node {leader}: it leads alone"))?;
    quorum.controller(leader).start()?;
    leads_alone(&mut quorum, leader, before.leader_epoch + 1000)?;
    ensure!(topics(&mut quorum, leader)? == names(&["a", "b", "c"]), "topics are lost");

    // The one that was behind comes back, as an observer.
    quorum.controller(behind).start()?;
    await_observer(&mut quorum, leader, behind)?;
    quorum.finish()
}

/// Waits until a node follows the leader without a vote.
fn await_observer(quorum: &mut Quorum, leader: i32, id: i32) -> Outcome<()> {
    let (now, _) = quorum.await_leader_where(&format!("{id} observes"), |_, seen| {
        let observes = seen
            .observers
            .iter()
            .any(|it| it.replica_id == id && it.log_end_offset >= seen.high_watermark);
        observes && seen.current_voters.iter().all(|it| it.replica_id != id)
    })?;
    ensure!(now == leader, "{now} leads, not {leader}");
    Ok(())
}

#[test]
fn the_survivor_is_damaged_at_its_end() -> Outcome<()> {
    let mut quorum = ours("recover-damaged", 3, true)?;
    create(&mut quorum, &["a", "b"])?;
    let (_, before) = quorum.await_leader()?;
    kill_all(&mut quorum);
    lose(&mut quorum, &[FIRST + 1, FIRST + 2])?;
    let dir = dir(&mut quorum, FIRST);
    let log = dir.join("__cluster_metadata-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).map_err(|e| Failure(e.to_string()))?;
    let at = bytes.len() - 5;
    bytes[at] ^= 0xff;
    fs::write(&log, &bytes).map_err(|e| Failure(e.to_string()))?;
    ends_with(quorum.quorate(&["fsck", &dir.display().to_string()])?, 1, "[bad-checksum]")?;
    ends_with(recover(&quorum, &[&dir], &[])?, 0, "left out:")?;
    let done = recover(&quorum, &[&dir], &["--execute", "--accept-loss"])?;
    ends_with(done, 0, "it leads alone")?;
    quorum.controller(FIRST).start()?;
    leads_alone(&mut quorum, FIRST, before.leader_epoch + 1000)?;
    // The damaged batch was one of the last: a heartbeat of the log, or the last topic.
    ensure!(topics(&mut quorum, FIRST)?.contains("a"), "topics before the damage are lost");
    create(&mut quorum, &["c"])?;
    quorum.finish()
}

#[test]
fn all_addresses_have_changed() -> Outcome<()> {
    let mut quorum = ours("recover-addresses", 3, true)?;
    create(&mut quorum, &["a", "b"])?;
    kill_all(&mut quorum);
    let mut options = vec!["--execute".to_owned()];
    let mut dirs = Vec::new();
    for node in quorum.controllers.values_mut() {
        let old = node.port;
        node.port = free_port();
        let file = node.properties().to_owned();
        let text = fs::read_to_string(&file).map_err(|e| Failure(e.to_string()))?;
        // Nobody's list of bootstrap servers is of any use either.
        let text = text.replace(
            &format!("CONTROLLER://127.0.0.1:{old}"),
            &format!("CONTROLLER://127.0.0.1:{}", node.port),
        );
        fs::write(&file, text).map_err(|e| Failure(e.to_string()))?;
        options.push("--set-endpoint".to_owned());
        options.push(format!("{}=127.0.0.1:{}", node.id, node.port));
        dirs.push(node.dir().to_owned());
    }
    let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    ends_with(recover(&quorum, &dirs, &options)?, 0, "nothing; a majority of the voters is here")?;
    for node in quorum.controllers.values_mut() {
        node.start()?;
    }
    let (_, seen) = quorum.await_leader()?;
    ensure!(seen.current_voters.len() == 3, "{:?}", seen.current_voters);
    let all: Vec<i32> = quorum.controllers.keys().copied().collect();
    quorum.await_caught_up(&all)?;
    let log = quorum.compare_logs()?.topics()?;
    ensure!(log.into_keys().collect::<BTreeSet<_>>() == names(&["a", "b"]), "topics are lost");
    quorum.finish()
}

#[test]
fn old_voters_that_return_give_way() -> Outcome<()> {
    return_of_old_voters(ours("recover-return", 3, true)?)
}

#[test]
fn old_voters_of_kafka_that_return_give_way() -> Outcome<()> {
    let java = Controller::Java(KafkaVersion::V4_3_0);
    return_of_old_voters(quorum("recover-return-java", &[java; 3], true, "4.3")?)
}

/// Two of three were only unreachable, and know more than the one that went on.
fn return_of_old_voters(mut quorum: Quorum) -> Outcome<()> {
    create(&mut quorum, &["a"])?;
    let (leader, _) = quorum.await_leader()?;
    let kept = if leader == FIRST { FIRST + 1 } else { FIRST };
    quorum.controller(kept).kill();
    create(&mut quorum, &["unknown-to-the-kept"])?;
    let (_, before) = quorum.await_leader()?;
    kill_all(&mut quorum);
    let dir = dir(&mut quorum, kept);
    ends_with(recover(&quorum, &[&dir], &["--execute", "--accept-loss"])?, 0, "it leads alone")?;
    quorum.controller(kept).start()?;
    leads_alone(&mut quorum, kept, before.leader_epoch + 1000)?;
    create(&mut quorum, &["b"])?;
    let others: Vec<i32> = quorum.controllers.keys().copied().filter(|id| *id != kept).collect();
    // Together they were a majority.
    for id in &others {
        quorum.controller(*id).start()?;
    }
    for id in &others {
        await_observer(&mut quorum, kept, *id)?;
    }
    ensure!(topics(&mut quorum, kept)? == names(&["a", "b"]), "another log won");
    for id in others {
        let node = quorum.controller(id);
        let said = fs::read_to_string(node.log()).map_err(|e| Failure(e.to_string()))?;
        let why = "the quorum was recovered without it";
        ensure!(
            !node.is_quorate() || said.contains(why),
            "{id} does not say why it is out: {said}"
        );
    }
    quorum.finish()
}

#[test]
fn beside_a_live_quorum_it_is_refused() -> Outcome<()> {
    let mut quorum = ours("recover-refused", 3, true)?;
    create(&mut quorum, &["a"])?;
    let (leader, _) = quorum.await_leader()?;
    let down = if leader == FIRST { FIRST + 1 } else { FIRST };
    quorum.controller(down).kill();
    let options = ["--execute", "--accept-loss"];
    let of_down = dir(&mut quorum, down);
    let untouched = content(&of_down);
    ends_with(recover(&quorum, &[&of_down], &options)?, 3, "a leader exists")?;

    // A directory that is in use, asked or not.
    let of_leader = dir(&mut quorum, leader);
    let offline = ["--execute", "--accept-loss", "--offline"];
    ends_with(recover(&quorum, &[&of_leader], &offline)?, 3, "is in use by")?;

    // No leader any more, but a voter that may know better.
    quorum.controller(leader).kill();
    let alive = *quorum.controllers.keys().find(|id| ![leader, down].contains(id)).expect("three");
    wait_for("nobody leads", DEADLINE, || {
        let refused = recover(&quorum, &[&of_down], &options)?;
        ensure!(!refused.err.contains("a leader exists"), "{}", refused.err);
        ends_with(refused, 3, &format!("--ignore-voter {alive}")).map(drop)
    })?;
    ensure!(content(&of_down) == untouched, "a refusal has written");

    // With the directories of two, nothing is lost: they need only start.
    kill_all(&mut quorum);
    let refused = recover(&quorum, &[&of_down, &of_leader], &options)?;
    ends_with(refused, 3, "a majority. Start them")?;
    quorum.controller(down).start()?;
    quorum.controller(leader).start()?;
    quorum.await_leader()?;
    ensure!(topics(&mut quorum, leader)? == names(&["a"]), "topics are lost");
    quorum.finish()
}

/// `quorate diff` reads a quorum as an observer: Kafka's and ours, beside the directories.
#[test]
fn a_running_quorum_and_its_directories_are_the_same() -> Outcome<()> {
    for (name, program) in [
        ("diff-ours", Controller::Quorate),
        ("diff-java", Controller::Java(KafkaVersion::V4_3_0)),
        ("diff-java39", Controller::Java(KafkaVersion::V3_9_1)),
    ] {
        let release = if program == Controller::Java(KafkaVersion::V3_9_1) { "3.9" } else { "4.3" };
        let mut quorum = quorum(name, &[program, Controller::Quorate], true, release)?;
        create(&mut quorum, &["a", "b"])?;
        let (leader, seen) = quorum.await_leader()?;
        for id in [FIRST, FIRST + 1] {
            let (dir, address) = (dir(&mut quorum, id), quorum.addresses()[&leader].clone());
            let dir = dir.display().to_string();
            ends_with(quorum.quorate(&["diff", &dir, &address])?, 0, "the same metadata")?;
            // Before the topics, there were none.
            let early = ["diff", &dir, &address, "--at", "5"];
            ends_with(quorum.quorate(&early)?, 0, "the same metadata")?;
        }
        // Whoever is asked, the leader answers.
        let other = if leader == FIRST { FIRST + 1 } else { FIRST };
        let (a, b) = (quorum.addresses()[&leader].clone(), quorum.addresses()[&other].clone());
        ends_with(quorum.quorate(&["diff", &a, &b])?, 0, "the same metadata")?;
        let voters = quorum.await_leader()?.1;
        ensure!(voters.observers.len() == seen.observers.len(), "the reader is listed");
        quorum.finish()?;
    }
    Ok(())
}
