//! The console in a real browser, without a screen: what it shows is what is there, on the leader and on
//! a follower, and it keeps itself up to date.
use quorate_client::{Admin, NewTopic};
use quorate_interop::{
    Controller, DEADLINE, Failure, FollowingBrokers, Outcome, Quorum, WorkDir, ensure, wait_for,
};
use quorate_protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use quorate_protocol::{AnyRequest, AnyResponse, KStr};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_console_shows_the_quorum_the_brokers_the_topics_and_what_is_moved() -> Outcome<()> {
    if Command::new("chromium").arg("--version").output().is_err() {
        let said = "\nLEFT OUT: a test, because chromium is not installed";
        let _ = writeln!(std::io::stderr(), "{said}");
        return Ok(());
    }
    let mut builder = Quorum::builder("console").dynamic();
    for _ in 0..3 {
        builder = builder.voter(Controller::Quorate);
    }
    let mut quorum = builder.start()?;
    let (leader, _) = quorum.await_leader()?;
    let at = quorum.addresses();
    let servers: Vec<String> = at.values().cloned().collect();
    let _brokers = FollowingBrokers::start(&at[&leader], &servers, quorum.cluster_id, 3)?;
    let mut admin = Admin::connect(&at[&leader])?;
    admin.create_topic(NewTopic {
        name: "orders".to_owned(),
        assignment: vec![vec![1, 2], vec![2, 3]],
        ..NewTopic::default()
    })?;
    // The simulated broker 3 holds no data, so that it never catches up.
    reassign(&mut admin, "orders", 0, &[1, 3])?;

    let mut work = WorkDir::new("chromium")?;
    for role in ["leader", "follower"] {
        wait_for(&format!("the console of a {role} shows everything"), DEADLINE, || {
            // On a machine that is busy with the browser, leadership may move.
            let (leader, _) = quorum.await_leader()?;
            let is_wanted = |id: &&i32| (**id == leader) == (role == "leader");
            let node = *quorum.controllers.keys().find(is_wanted).unwrap_or(&leader);
            let http = quorum.controllers[&node].http_address().unwrap_or_default();
            let page = Page::open(&format!("http://{http}/console#orders"), work.path())?;
            page.shows(&format!("node {node} of cluster {}, {role}", quorum.cluster_id))?;
            page.shows(&format!("{leader} leads"))?;
            page.shows("ready")?;
            // Brokers.
            page.shows("PLAINTEXT://127.0.0.1:9092")?;
            // The move, and why it waits.
            page.shows("orders-0")?;
            page.shows("broker 3 to catch up with the leader")?;
            // The topic that the address names, with its partitions.
            page.shows("1, 3, 2")?;
            page.shows("2, 3")?;
            // What happened.
            page.shows("orders was created, 2 partitions")?;
            page.shows("broker 2 registered")?;
            page.shows(&format!("{leader} leads epoch"))?;
            ensure!(page.updates >= 3, "it updated itself {} times", page.updates);
            Ok(())
        })?;
    }

    let (leader, _) = quorum.await_leader()?;
    quorum.controller(leader).kill();
    wait_for("the console shows the loss", DEADLINE, || {
        let (new, _) = quorum.await_leader_where("another leads", |id, _| id != leader)?;
        let http = quorum.controllers[&new].http_address().unwrap_or_default();
        let page = Page::open(&format!("http://{http}/console"), work.path())?;
        page.shows(&format!("{new} leads"))?;
        // Two of three are left.
        page.shows("This node must not be stopped: 2 of 3 voters are in step")
    })?;
    work.succeeded();
    quorum.finish()
}

fn reassign(admin: &mut Admin, topic: &str, partition: i32, replicas: &[i32]) -> Outcome<()> {
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: 30_000,
        topics: vec![ReassignableTopic {
            name: KStr::from(topic),
            partitions: vec![ReassignablePartition {
                partition_index: partition,
                replicas: Some(replicas.to_vec()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = admin.connection().send(&AnyRequest::AlterPartitionReassignments(request))?;
    let AnyResponse::AlterPartitionReassignments(answer) = answer else {
        return Err(Failure::new("another answer than asked for"));
    };
    let codes = answer.responses.iter().flat_map(|it| &it.partitions).map(|it| it.error_code);
    ensure!(codes.eq([0]) && answer.error_code == 0, "{answer:?}");
    Ok(())
}

/// What a viewer reads after some seconds.
struct Page {
    text: String,
    updates: usize,
}

impl Page {
    fn open(url: &str, work: &Path) -> Outcome<Page> {
        let output = Command::new("chromium")
            // The tests run as root, in a container as often as not.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--enable-logging=stderr", "--no-first-run", "--disable-extensions"])
            .arg(format!("--user-data-dir={}", work.join("profile").display()))
            // The browser's own clock, which waits for what is loaded: five updates or so.
            .args(["--virtual-time-budget=5000", "--dump-dom", url])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure(format!("chromium: {e}")))?;
        let (html, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "chromium ended with {}: {said}", output.status);
        ensure!(
            !said.contains("Uncaught") && !said.contains("Refused to"),
            "the page failed: {said}"
        );
        let updates = html
            .split_once("data-updates=\"")
            .and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
        ensure!(!html.contains("data-failed"), "an update failed: {html}");
        Ok(Page { text: text_of(&html), updates: updates.unwrap_or(0) })
    }

    fn shows(&self, what: &str) -> Outcome<()> {
        ensure!(self.text.contains(what), "no {what:?} in:\n{}", self.text);
        Ok(())
    }
}

/// Without the tags, the script and the style.
fn text_of(html: &str) -> String {
    let body = html.split("<body").nth(1).unwrap_or(html);
    let body = body.split("<script").next().unwrap_or(body);
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or("", |(_, after)| after));
        text.push(' ');
    }
    text
}
