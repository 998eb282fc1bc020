//! `quorate quorum` and Kafka's own tool on quorums of both kinds: what is shown, voters added and
//! removed, the leader among them.
use quorate_interop::{
    Controller, Creates, DEADLINE, KafkaVersion, Outcome, Quorum, STOP_DEADLINE, Tool,
    each_exactly_once, ensure, wait_for,
};
use quorate_interop::{Failure, FollowingBrokers};
use std::collections::BTreeSet;
use std::time::Duration;

const JAVA: Controller = Controller::Java(KafkaVersion::V4_3_0);
const OURS: Controller = Controller::Quorate;

#[test]
fn one_of_ours_joins_a_quorum_of_kafka_and_leaves_it() -> Outcome<()> {
    join_and_leave("join-java", JAVA, OURS)
}

#[test]
fn one_of_kafka_joins_a_quorum_of_ours_and_leaves_it() -> Outcome<()> {
    join_and_leave("join-ours", OURS, JAVA)
}

#[test]
fn one_of_ours_joins_a_quorum_of_ours_and_leaves_it() -> Outcome<()> {
    join_and_leave("join-own", OURS, OURS)
}

/// Adds by our command and removes by Kafka's, then the other way round.
fn join_and_leave(name: &str, first: Controller, joining: Controller) -> Outcome<()> {
    let mut quorum = Quorum::builder(name).dynamic().voter(first).joins_later().start()?;
    let (leader, _) = quorum.await_leader()?;
    let id = quorum.add_observer(joining)?;
    await_observer(&mut quorum, id)?;
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 1)?;
    let creates = Creates::start(name, controllers, Duration::from_secs(5));
    creates.await_more(5)?;
    let bootstrap = quorum.addresses()[&leader].clone();
    let properties = quorum.controllers[&id].properties().display().to_string();
    let directory = quorum.directory_id(id).to_string();
    let (id_text, leader_text) = (id.to_string(), leader.to_string());

    let ours = ["quorum", "--bootstrap", &bootstrap];
    let javas = ["--bootstrap-controller", &bootstrap];
    let java_remove =
        ["remove-controller", "--controller-id", &id_text, "--controller-directory-id", &directory];

    let add = [&ours[..], &["add-controller", "-c", &properties]].concat();
    quorum.quorate(&add)?.ok()?.says(&format!("Added controller {id}"))?;
    await_voters(&mut quorum, &[leader, id])?;
    shown_alike(&mut quorum, &bootstrap)?;
    quorum.quorate(&add)?.refused_with("DUPLICATE_VOTER")?;
    creates.await_more(5)?;
    let remove = [&javas[..], &java_remove].concat();
    quorum.tool(KafkaVersion::V4_3_0, Tool::MetadataQuorum, &remove)?.ok()?;
    await_voters(&mut quorum, &[leader])?;
    await_observer(&mut quorum, id)?;

    let add = ["--bootstrap-controller", &bootstrap, "--command-config", &properties];
    let add = [&add[..], &["add-controller"]].concat();
    quorum.tool(KafkaVersion::V4_3_0, Tool::MetadataQuorum, &add)?.ok()?;
    await_voters(&mut quorum, &[leader, id])?;
    creates.await_more(5)?;

    // The leader itself is removed: it commits that, resigns, and the new one takes over.
    let old = quorum.directory_id(leader).to_string();
    let remove = ["remove-controller", "--id", &leader_text, "--directory-id", &old];
    let remove = [&ours[..], &remove].concat();
    quorum.quorate(&remove)?.ok()?.says(&format!("Removed KRaft controller {leader}"))?;
    quorum.await_leader_where("the new one leads", |now, _| now == id)?;
    await_voters(&mut quorum, &[id])?;
    creates.await_more(5)?;
    quorum.quorate(&remove)?.refused_with("VOTER_NOT_FOUND")?;

    let acked = creates.stop();
    drop(brokers);
    await_observer(&mut quorum, leader)?;
    let log = quorum.compare_logs_of(&[id])?;
    each_exactly_once(&acked, &log)?;
    println!("{name}: {} topics over {} epochs", acked.len(), quorum.epochs.epochs_seen());
    quorum.finish()
}

/// From one of ours to the other, to Kafka's, and not back: Kafka's controller has no such request.
#[test]
fn leadership_goes_to_whom_it_was_asked_for() -> Outcome<()> {
    let mut quorum =
        Quorum::builder("transfer").voter(OURS).voter(OURS).voter(JAVA).dynamic().start()?;
    let (java, one, other) = (3003, 3001, 3002);
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let (leader, _) = quorum.await_leader()?;
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 1)?;
    let creates = Creates::start("transfer", controllers, Duration::from_secs(5));
    creates.await_more(5)?;
    let bootstrap = quorum.bootstrap();
    let line = |to: i32| {
        ["quorum", "--bootstrap", &bootstrap, "transfer-leader", &to.to_string()].map(str::to_owned)
    };
    if leader == java {
        // Only a leader of ours takes the request.
        quorum.controller(java).stop(STOP_DEADLINE)?;
        quorum.await_leader_where("one of ours leads", |id, _| id != java)?;
        quorum.controller(java).start()?;
        quorum.await_caught_up(&[one, other, java])?;
    }
    for to in [one, other, one, java] {
        let words = line(to);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        quorum.quorate(&words)?.ok()?.says(&format!("{to}"))?;
        let (leader, _) = quorum.await_leader_where("a leader is told", |_, _| true)?;
        ensure!(leader == to, "{leader} leads, not {to}");
        creates.await_more(5)?;
    }
    // Kafka's controller closes the connection over a request that it does not know, and says so.
    quorum.allowed_errors = vec!["Closing socket for", "Exception while processing request from"];
    let words = line(one);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    quorum.quorate(&words)?.refused_with("it is not Quorate")?;
    quorum
        .quorate(&["quorum", "-b", &bootstrap, "transfer-leader", "9"])?
        .refused_with("voters")?;
    let acked = creates.stop();
    drop(brokers);
    each_exactly_once(&acked, &quorum.compare_logs()?)?;
    println!("transfer: {} topics over {} epochs", acked.len(), quorum.epochs.epochs_seen());
    quorum.finish()
}

/// The same voters and observers in the same words, however fast offsets move.
fn shown_alike(quorum: &mut Quorum, bootstrap: &str) -> Outcome<()> {
    let ours = quorum.quorate(&["quorum", "--bootstrap", bootstrap, "status"])?.ok()?;
    let describe = ["--bootstrap-controller", bootstrap, "describe", "--status"];
    let javas = quorum.tool(KafkaVersion::V4_3_0, Tool::MetadataQuorum, &describe)?.ok()?;
    let steady = |text: &str| -> BTreeSet<String> {
        let moving = ["HighWatermark:", "MaxFollowerLag"];
        let lines = text.lines().filter(|line| !moving.iter().any(|m| line.starts_with(m)));
        lines.map(|line| line.trim_end().to_owned()).collect()
    };
    let (one, other) = (steady(&ours.out), steady(&javas.out));
    ensure!(one == other, "status:\nours {one:#?}\nKafka's {other:#?}");
    let ours = quorum.quorate(&["quorum", "--bootstrap", bootstrap, "replication"])?.ok()?;
    let describe = ["--bootstrap-controller", bootstrap, "describe", "--replication"];
    let javas = quorum.tool(KafkaVersion::V4_3_0, Tool::MetadataQuorum, &describe)?.ok()?;
    let columns = |text: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let steady = |words: Vec<String>| match words.as_slice() {
            [id, directory, _, _, _, _, status] => {
                vec![id.clone(), directory.clone(), status.clone()]
            }
            _ => words,
        };
        text.lines().map(|line| steady(words(line))).collect()
    };
    let (one, other) = (columns(&ours.out), columns(&javas.out));
    ensure!(one == other, "replication:\nours {one:#?}\nKafka's {other:#?}");
    let heading = |text: &str| text.lines().next().map(|l| l.split_whitespace().count());
    ensure!(heading(&ours.out) == heading(&javas.out), "{}\n{}", ours.out, javas.out);
    Ok(())
}

fn await_voters(quorum: &mut Quorum, wanted: &[i32]) -> Outcome<()> {
    let what = format!("voters are {wanted:?}");
    quorum.await_leader_where(&what, |_, quorum| {
        let mut ids: Vec<i32> = quorum.current_voters.iter().map(|v| v.replica_id).collect();
        ids.sort_unstable();
        ids == wanted
    })?;
    Ok(())
}

fn await_observer(quorum: &mut Quorum, id: i32) -> Outcome<()> {
    let what = format!("{id} observes and has caught up");
    let mut seen = None;
    wait_for(&what, DEADLINE, || {
        let (_, state) = quorum.await_leader()?;
        let target = *seen.get_or_insert(state.high_watermark);
        let of = state.observers.iter().find(|observer| observer.replica_id == id);
        let of = of.ok_or_else(|| Failure::new("it does not fetch"))?;
        ensure!(of.log_end_offset >= target, "it has {} of {target}", of.log_end_offset);
        Ok(())
    })
}
