//! `quorate.http.listener` of the real binary: readiness follows the quorum, numbers follow the cluster.

#[path = "../../server/tests/prometheus/mod.rs"]
mod prometheus;
mod support;

use prometheus::Page;
use quorate_base::{Prng, Uuid};
use quorate_client::{Admin, NewTopic, SimulatedBroker};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::{Node, Server, http_get, quorate};

/// Long enough for a loaded machine; reached only by a failing test.
const DEADLINE: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    http_get(port, path, DEADLINE)
}

fn metrics(port: u16) -> Page {
    let (code, text) = get(port, "/metrics").expect("the port answers");
    assert_eq!(code, 200);
    Page::read(&text)
}

fn status(port: u16, query: &str) -> Value {
    let (code, text) = get(port, &format!("/status{query}")).expect("the port answers");
    assert_eq!(code, 200);
    serde_json::from_str(&text).expect("JSON")
}

/// Asks until the answer is as wanted; panics with the last one when it never is.
fn wait_for<T: std::fmt::Debug>(what: &str, ask: impl Fn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}; at last: {answer:?}");
        // Not a wait for something: only not to keep the machine busy with asking.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn numbers_follow_the_cluster() {
    let node = Node::dynamic(1);
    let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &node.file(), "-s"]);
    assert_eq!(format.exit_code, 0, "{format:?}");
    let http = free_port();
    let server = node.start_with(&[
        format!("quorate.http.listener=127.0.0.1:{http}"),
        "quorate.metrics.dialects=strimzi,reporter".to_owned(),
    ]);
    assert_eq!(get(http, "/livez"), Some((200, "ok\n".to_owned())));
    // The line on standard output comes when it decides; the view follows at once.
    wait_for("the leader is ready", || get(http, "/readyz"), |it| matches!(it, Some((200, _))));
    let before = metrics(http);
    assert_eq!(before.get("kafka_controller_kafkacontroller_activecontrollercount"), 1.0);
    assert_eq!(before.get("kafka_controller_kafkacontroller_globaltopiccount"), 0.0);
    assert_eq!(before.get("quorate_quorum_spare_voters"), 0.0);
    assert_eq!(before.get("kafka_server_raftmetrics_current_leader"), 1.0);
    assert!(before.get("quorate_log_fsync_seconds_count") >= 1.0);
    assert!(before.get("quorate_commit_seconds_count") >= 1.0);

    let address = format!("127.0.0.1:{}", server.port());
    let mut prng = Prng::new(1);
    let (incarnation, directory) = (Uuid::random(&mut prng), Uuid::random(&mut prng));
    let mut broker = SimulatedBroker::register(&address, "cluster-A", 11, incarnation, directory)
        .expect("a broker");
    // An answer may be there a moment before the image that it tells of is published.
    let fenced = "kafka_controller_kafkacontroller_fencedbrokercount";
    wait_for("the broker is counted", || metrics(http).get(fenced), |it| *it == 1.0);
    broker.heartbeat().expect("unfenced");
    let mut admin = Admin::connect(&address).expect("a connection");
    let topic = NewTopic {
        name: "t".to_owned(),
        partitions: Some(3),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    admin.create_topic(topic).expect("a topic");
    let after = wait_for(
        "the topic is counted",
        || metrics(http),
        |page| page.get("kafka_controller_kafkacontroller_globaltopiccount") == 1.0,
    );
    for (line, value) in [
        ("kafka_controller_kafkacontroller_globalpartitioncount", 3.0),
        ("kafka_controller_kafkacontroller_offlinepartitionscount", 0.0),
        ("kafka_controller_kafkacontroller_activebrokercount", 1.0),
        ("kafka_controller_kafkacontroller_brokerregistrationstate{broker=\"11\"}", 30.0),
        ("kafka_network_requestmetrics_errors_total{request=\"CreateTopics\",error=\"NONE\"}", 1.0),
        ("quorate_image_topics", 1.0),
        ("quorate_connections{listener=\"CONTROLLER\"}", 2.0),
        ("kafka_server_raft_metrics_current_state_info{current_state=\"leader\"}", 1.0),
    ] {
        assert_eq!(after.get(line), value, "{line}");
    }
    for grows in [
        "kafka_controller_kafkacontroller_eventqueueoperationsstartedcount",
        "quorate_log_fsync_seconds_count",
        "quorate_step_seconds_count{event=\"request\"}",
        "kafka_controller_kafkacontroller_lastcommittedrecordoffset",
        "kafka_server_raftmetrics_high_watermark",
    ] {
        let old = before.get(grows);
        wait_for(grows, || metrics(http).get(grows), |value| *value > old);
    }
    assert!(after.get("process_resident_memory_bytes") > 1e6);

    // Rubbish on Kafka's listener is counted, and closes that connection only.
    let mut stream = TcpStream::connect(&address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    wait_for(
        "the rubbish is counted",
        || metrics(http).lines.get("quorate_parser_errors_total{kind=\"frame\"}").copied(),
        |count| *count == Some(1.0),
    );

    let shown = status(http, "?hash=1");
    assert_eq!(shown["node_id"], 1);
    assert_eq!(shown["role"], "leader");
    assert_eq!(shown["may_stop"]["answer"], false);
    assert_eq!(shown["voters"][0]["node_id"], 1);
    assert_eq!(shown["voters"][0]["endpoints"][0], format!("CONTROLLER://{address}").as_str());
    assert!(shown["high_watermark"].as_i64().unwrap() > 3, "{shown}");
    assert_eq!(shown["image_hash"]["hash"].as_str().map(str::len), Some(16));
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

struct Voter {
    node: Node,
    id: i32,
    http: u16,
    settings: Vec<String>,
}

fn three_voters() -> Vec<Voter> {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let voters: Vec<String> =
        (1..).zip(&ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let voters = voters.join(",");
    let make = |(id, port): (i32, &u16)| {
        let node = Node::voter(id, &voters);
        let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &node.file()]);
        assert_eq!(format.exit_code, 0, "{format:?}");
        let http = free_port();
        let settings = vec![
            format!("listeners=CONTROLLER://127.0.0.1:{port}"),
            format!("quorate.http.listener=127.0.0.1:{http}"),
        ];
        Voter { node, id, http, settings }
    };
    (1..).zip(&ports).map(make).collect()
}

impl Voter {
    fn await_ready(&self, code: u16) -> String {
        let what = format!("/readyz of {} says {code}", self.id);
        let answer = wait_for(
            &what,
            || get(self.http, "/readyz"),
            |it| matches!(it, Some((found, _)) if *found == code),
        );
        answer.expect("just matched").1
    }
}

#[test]
fn readiness_follows_the_quorum() {
    let voters = three_voters();
    // Alone, a voter lives but is of no use.
    let first = voters[0].node.spawn(&voters[0].settings);
    wait_for(
        "the reason is that nobody leads",
        || get(voters[0].http, "/readyz"),
        |it| matches!(it, Some((503, why)) if why.contains("no leader is known")),
    );
    assert_eq!(get(voters[0].http, "/livez").map(|it| it.0), Some(200));

    let mut servers: Vec<Option<Server>> = vec![Some(first)];
    servers.extend(voters[1..].iter().map(|it| Some(it.node.spawn(&it.settings))));
    for voter in &voters {
        voter.await_ready(200);
    }
    let leader = wait_for(
        "a leader is known",
        || status(voters[0].http, "")["leader"].as_i64(),
        Option::is_some,
    );
    let leader = usize::try_from(leader.expect("just checked")).unwrap() - 1;
    let spare =
        |at: usize| metrics(voters[at].http).lines.get("quorate_quorum_spare_voters").copied();
    wait_for("all voters are in step", || spare(leader), |it| *it == Some(1.0));
    let shown = status(voters[leader].http, "");
    assert_eq!(shown["may_stop"]["answer"], true, "{shown}");
    let follower = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    let shown = status(voters[follower].http, "");
    assert_eq!(shown["may_stop"]["ask"], voters[leader].id, "{shown}");
    assert_eq!(spare(follower), None);
    assert!(metrics(voters[follower].http).get("quorate_last_fetch_seconds") < 2.0);
    let hash = |at: usize| status(voters[at].http, "?hash=1")["image_hash"]["hash"].clone();
    wait_for(
        "all nodes hold the same",
        || [hash(0), hash(1), hash(2)],
        |it| it[0].is_string() && it.iter().all(|one| *one == it[0]),
    );

    // One less: the quorum goes on, and nobody else may stop.
    servers[other].as_ref().expect("runs").signal("KILL");
    servers[other] = None;
    wait_for("the loss is seen", || spare(leader), |it| *it == Some(0.0));
    assert_eq!(status(voters[leader].http, "")["may_stop"]["answer"], false);
    voters[leader].await_ready(200);

    // Two less: the last one says that it is of no use, and lives.
    servers[follower].as_ref().expect("runs").signal("KILL");
    servers[follower] = None;
    let why = voters[leader].await_ready(503);
    assert!(!why.is_empty());
    assert_eq!(get(voters[leader].http, "/livez").map(|it| it.0), Some(200));

    servers[other] = Some(voters[other].node.spawn(&voters[other].settings));
    voters[leader].await_ready(200);
    voters[other].await_ready(200);
}

#[test]
fn a_taken_http_port_and_wrong_settings_are_named() {
    let node = Node::dynamic(1);
    let file = node.file();
    let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &file, "-s"]);
    assert_eq!(format.exit_code, 0, "{format:?}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let setting = format!("quorate.http.listener={}", taken.local_addr().unwrap());
    let mut args = node.server_args();
    args.extend(["--override".to_owned(), setting]);
    let answer = quorate(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("cannot listen on HTTP://127.0.0.1:"), "{answer:?}");
    for (setting, hint) in [
        ("quorate.http.listener=localhost", "expected host:port"),
        ("quorate.metrics.dialects=strimzi,french", "french is none of strimzi"),
    ] {
        let answer = quorate(&["server", &file, "--override", setting]);
        assert_eq!(answer.exit_code, 2, "{answer:?}");
        assert!(answer.err.contains(hint), "{answer:?}");
    }
}
