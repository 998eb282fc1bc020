//! The audit of three controllers and `quorate history` over it, across a failover: who changed what is
//! found once, what was denied is found, what is secret is not.

mod support;

use bytes::Bytes;
use quorate_base::{Prng, Uuid};
use quorate_client::{Admin, Connection, NewTopic, Options, SimulatedBroker};
use quorate_protocol::header::{decode_response, encode_request};
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use quorate_protocol::messages::delete_topics_request::DeleteTopicState;
use quorate_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use quorate_protocol::messages::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, DeleteTopicsRequest,
    EnvelopeRequest, IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest,
};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, Principal};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Node, Server, quorate};

/// Long enough for a loaded machine; reached only by a failing test.
const DEADLINE: Duration = Duration::from_secs(60);

struct Controller {
    node: Node,
    address: String,
    server: Option<Server>,
}

fn start_three() -> Vec<Controller> {
    let sockets: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let ports: Vec<u16> = sockets.iter().map(|it| it.local_addr().unwrap().port()).collect();
    drop(sockets);
    let voters: Vec<String> =
        (1..).zip(&ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let voters = voters.join(",");
    let start = |(id, port): (i32, &u16)| {
        let node = Node::voter(id, &voters);
        let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &node.file()]);
        assert_eq!(format.exit_code, 0, "{format:?}");
        let settings: Vec<String> = [
            &format!("listeners=CONTROLLER://127.0.0.1:{port}"),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS;User:admin",
            "quorate.audit.min.free.bytes=0",
        ]
        .map(ToString::to_string)
        .to_vec();
        let server = Some(node.spawn(&settings));
        Controller { node, address: format!("127.0.0.1:{port}"), server }
    };
    (1..).zip(&ports).map(start).collect()
}

/// The position of the leader, once there is one that decides.
fn leader(controllers: &[Controller]) -> usize {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut running = controllers.iter().zip(0..).filter(|(it, _)| it.server.is_some());
        if let Some((_, at)) = running.find(|(it, _)| decides(&it.address)) {
            return at;
        }
        assert!(Instant::now() < deadline, "nobody leads");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether it is the active controller, with its metadata there.
fn decides(address: &str) -> bool {
    let Ok(mut admin) = Admin::connect(address) else { return false };
    // Only the active controller tells of reassignments.
    let request = ListPartitionReassignmentsRequest { timeout_ms: 30_000, ..Default::default() };
    let answer = admin.connection().send(&AnyRequest::ListPartitionReassignments(request));
    let is_active = answer.is_ok_and(|it| it.error_codes().iter().all(|code| *code == 0));
    is_active && admin.describe_cluster(2).is_ok_and(|it| it.error_code == 0)
}

/// A command that goes on until its end.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks as a broker that passes on what a client asked.
fn ask(controller: &Controller, user: &str, request: &AnyRequest) -> Result<AnyResponse, String> {
    let options = Options { client_id: "a-broker".to_owned(), ..Options::default() };
    let mut connection =
        Connection::connect(&controller.address, options).map_err(|error| error.to_string())?;
    let version = *request.api_key().versions().end();
    let principal =
        Principal { kind: "User".into(), name: user.into(), token_authenticated: false };
    let envelope = EnvelopeRequest {
        request_data: encode_request(request, version, 4711, Some("the-tool".into())).unwrap(),
        request_principal: Some(principal.encode().unwrap()),
        client_host_address: Bytes::from_static(&[10, 9, 8, 7]),
        ..Default::default()
    };
    let answer = connection.send(&AnyRequest::Envelope(envelope)).map_err(|it| it.to_string())?;
    let AnyResponse::Envelope(answer) = answer else { panic!("{answer:?}") };
    match answer.response_data {
        Some(data) => Ok(decode_response(request.api_key(), version, data).unwrap().1),
        None => Err(format!("error {}", answer.error_code)),
    }
}

fn quota(user: &str, rate: f64) -> AnyRequest {
    let entity = EntityData {
        entity_type: "user".into(),
        entity_name: Some(user.into()),
        ..Default::default()
    };
    let op = OpData { key: "producer_byte_rate".into(), value: rate, ..Default::default() };
    let entry = EntryData { entity: vec![entity], ops: vec![op], ..Default::default() };
    let entries = vec![entry];
    AnyRequest::AlterClientQuotas(AlterClientQuotasRequest { entries, ..Default::default() })
}

fn broker_config(name: &str, value: &str) -> AnyRequest {
    let value = Some(value.into());
    let config = AlterableConfig { name: name.into(), value, ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: 4,
        resource_name: "".into(),
        configs: vec![config],
        ..Default::default()
    };
    let resources = vec![resource];
    AnyRequest::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
        resources,
        ..Default::default()
    })
}

fn scram(user: &str) -> AnyRequest {
    let upsertion = ScramCredentialUpsertion {
        name: user.into(),
        mechanism: 1,
        iterations: 4096,
        salt: Bytes::from_static(b"SECRET-salt"),
        salted_password: Bytes::from_static(b"SECRET-salted-password-of-32-byte"),
        ..Default::default()
    };
    let upsertions = vec![upsertion];
    AnyRequest::AlterUserScramCredentials(AlterUserScramCredentialsRequest {
        upsertions,
        ..Default::default()
    })
}

fn delete_topic(name: &str) -> AnyRequest {
    let topics = vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }];
    AnyRequest::DeleteTopics(DeleteTopicsRequest {
        topics,
        timeout_ms: 30_000,
        ..Default::default()
    })
}

fn codes(answer: Result<AnyResponse, String>) -> Vec<i16> {
    answer.expect("an answer").error_codes()
}

/// Entries of `quorate history --json ARGS`, and all that it printed.
fn history(args: &[&str]) -> (Vec<Value>, String) {
    let answer = quorate(&[&["history", "--json"], args].concat());
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    let entries = answer.out.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    (entries, answer.out)
}

fn of_key<'a>(entries: &'a [Value], kind: &str, key: &str) -> Vec<&'a Value> {
    let has = |it: &&Value| {
        let changes = it["changes"].as_array().unwrap();
        changes.iter().any(|it| it["kind"] == kind && it["key"] == key)
    };
    entries.iter().filter(has).collect()
}

fn register(address: &str) -> SimulatedBroker {
    let mut prng = Prng::new(1);
    let (incarnation, directory) = (Uuid::random(&mut prng), Uuid::random(&mut prng));
    let mut broker = SimulatedBroker::register(address, "cluster-A", 11, incarnation, directory)
        .expect("a broker");
    broker.heartbeat().expect("unfenced");
    broker
}

#[test]
fn each_acknowledged_change_is_found_once_across_a_failover() {
    let mut controllers = start_three();
    let first = leader(&controllers);
    let ok = |answer| assert!(codes(answer).iter().all(|code| *code == 0));
    let _broker = register(&controllers[first].address);
    let mut admin = Admin::connect(&controllers[first].address).expect("a connection");
    let (name, partitions, replication_factor) = ("orders".to_owned(), Some(3), Some(1));
    let topic = NewTopic { name, partitions, replication_factor, ..NewTopic::default() };
    admin.create_topic(topic).expect("a topic");
    ok(ask(&controllers[first], "admin", &scram("bob")));
    ok(ask(&controllers[first], "admin", &broker_config("ssl.keystore.password", "SECRET-pw")));
    // Denied, in changing and in looking at what is secret to some.
    let denied = codes(ask(&controllers[first], "mallory", &delete_topic("orders")));
    assert!(denied.contains(&ErrorCode::TopicAuthorizationFailed.code()), "{denied:?}");
    let denied = codes(ask(&controllers[first], "mallory", &quota("mallory", 1e9)));
    assert!(denied.contains(&ErrorCode::ClusterAuthorizationFailed.code()), "{denied:?}");
    // A flood of denials must not hide what else happens.
    for _ in 0..100 {
        codes(ask(&controllers[first], "mallory", &scram("mallory")));
    }
    for n in 0..30 {
        ok(ask(&controllers[first], "admin", &quota(&format!("before-{n}"), f64::from(n) + 1.0)));
    }
    // Killed at once after the last acknowledgement.
    controllers[first].server.take().expect("runs").signal("KILL");
    let second = leader(&controllers);
    assert_ne!(first, second);
    for n in 0..10 {
        ok(ask(&controllers[second], "admin", &quota(&format!("after-{n}"), f64::from(n) + 1.0)));
    }
    ok(ask(&controllers[second], "admin", &quota("before-3", 333.0)));
    ok(ask(&controllers[second], "admin", &delete_topic("orders")));

    let dirs: Vec<String> =
        controllers.iter().map(|it| it.node.dir().display().to_string()).collect();
    let live = controllers[second].address.as_str();
    let sources =
        [&[live], dirs.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat();
    let (entries, text) = history(&sources);
    for n in 0..30 {
        let found = of_key(&entries, "client quota", &format!("user=before-{n}"));
        let expected = if n == 3 { 2 } else { 1 };
        assert_eq!(found.len(), expected, "before-{n}: {found:?}");
        assert!(found.iter().all(|it| it["request"]["principal"] == "User:admin"), "{found:?}");
    }
    for n in 0..10 {
        let found = of_key(&entries, "client quota", &format!("user=after-{n}"));
        let [one] = found.as_slice() else { panic!("after-{n}: {found:?}") };
        let asked = &one["request"];
        assert_eq!(
            (&asked["principal"], &asked["clientAddress"]),
            (&"User:admin".into(), &"10.9.8.7".into())
        );
        assert_eq!(
            (&asked["clientId"], &asked["correlationId"]),
            (&"the-tool".into(), &4711.into())
        );
        assert_eq!(asked["forwardedBy"]["principal"], "User:ANONYMOUS");
    }
    // What was there before, and after.
    let twice = of_key(&entries, "client quota", "user=before-3");
    assert_eq!(twice[1]["changes"][0]["before"]["producer_byte_rate"], 4.0);
    assert_eq!(twice[1]["changes"][0]["after"]["producer_byte_rate"], 333.0);
    assert_eq!(twice[0]["request"]["node"], (first + 1) as i64);
    assert_eq!(twice[1]["request"]["node"], (second + 1) as i64);
    let topic = of_key(&entries, "topic", "orders");
    assert_eq!(topic.len(), 2, "{topic:?}");
    assert_eq!(topic[1]["request"]["api"], "DeleteTopics");
    assert_eq!(topic[1]["changes"][0]["before"]["partitions"], 3);
    assert_eq!(topic[1]["changes"][0]["after"], Value::Null);
    let elections = entries.iter().flat_map(|it| it["changes"].as_array().unwrap());
    assert!(elections.filter(|it| it["kind"] == "leader").count() >= 2);

    // Denied: each kind once, the flood as a number; suppressed ones are told when their time is over.
    let outcome = |it: &&Value| it["request"]["outcome"] == "denied";
    let denied: Vec<&Value> = entries.iter().filter(outcome).collect();
    let of_api = |api: &str| denied.iter().filter(|it| it["request"]["api"] == api).count();
    assert_eq!((of_api("DeleteTopics"), of_api("AlterClientQuotas")), (1, 1));
    assert_eq!(of_api("AlterUserScramCredentials"), 20);
    let deleting = denied.iter().find(|it| it["request"]["api"] == "DeleteTopics").unwrap();
    assert_eq!(deleting["request"]["principal"], "User:mallory");
    assert_eq!(deleting["request"]["asked"]["topics"][0]["name"], "orders");

    // Secrets are nowhere.
    let mut files = text;
    for dir in &dirs {
        let path = format!("{dir}/quorate-audit.log");
        files.push_str(&std::fs::read_to_string(path).unwrap_or_default());
    }
    assert!(!files.contains("SECRET"), "a secret is told");
    assert!(files.contains("ssl.keystore.password") && files.contains("(hidden)"));
    assert!(files.contains("\"user\":\"bob\""));

    // The same from the directories alone, in words, and only what is asked for.
    let args = [dirs[0].as_str(), &dirs[1], &dirs[2], "--topic", "orders", "--kind", "topic"];
    let told = quorate(&[&["history"], &args[..]].concat());
    assert_eq!(told.exit_code, 0, "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines.len(), 4, "{told:?}");
    assert!(lines[2].contains("DeleteTopics by User:admin at 10.9.8.7 (the-tool): accepted"));
    assert!(lines[3].starts_with("    topic orders: gone, was {"), "{told:?}");
    let (by_mallory, _) =
        history(&[&dirs[0], &dirs[1], &dirs[2], "--principal", "mallory", "--api", "deletetopics"]);
    assert_eq!(by_mallory.len(), 1);
    // Without the audit of whoever led, what was changed is known all the same.
    let (entries, _) = history(&[live, "--kind", "client quota"]);
    assert_eq!(entries.len(), 41);
    assert!(entries.iter().all(|it| it["request"].is_null()));
}

#[test]
fn what_happens_is_told_as_it_happens() {
    let node = Node::dynamic(1);
    let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &node.file(), "-s"]);
    assert_eq!(format.exit_code, 0, "{format:?}");
    let server = node.start_with(&["quorate.audit.min.free.bytes=0".to_owned()]);
    let address = format!("127.0.0.1:{}", server.port());
    let dir = node.dir().display().to_string();
    let arguments = ["history", "--follow", "--json", "--kind", "broker", &address, &dir];
    let deadline = Instant::now() + DEADLINE;
    while !decides(&address) {
        assert!(Instant::now() < deadline, "it does not decide");
        std::thread::sleep(Duration::from_millis(20));
    }
    let following = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut following = Following(following);
    let _broker = register(&address);
    let mut lines = BufReader::new(following.0.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON")
    };
    let registered = next();
    assert_eq!(registered["request"]["api"], "BrokerRegistration");
    assert_eq!(registered["changes"][0]["before"], Value::Null);
    let unfenced = next();
    assert_eq!(unfenced["request"]["api"], "BrokerHeartbeat", "{unfenced}");
    assert_eq!(unfenced["changes"][0]["before"]["fenced"], true);
    assert_eq!(unfenced["changes"][0]["after"]["fenced"], false);
}

#[test]
fn an_audit_that_cannot_be_written_stops_nobody() {
    let node = Node::dynamic(1);
    let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &node.file(), "-s"]);
    assert_eq!(format.exit_code, 0, "{format:?}");
    let server = node.start_with(&["quorate.audit.dir=/nowhere".to_owned()]);
    let address = format!("127.0.0.1:{}", server.port());
    let deadline = Instant::now() + DEADLINE;
    while !decides(&address) {
        assert!(Instant::now() < deadline, "it does not decide");
        std::thread::sleep(Duration::from_millis(20));
    }
    let _broker = register(&address);
    // What was changed is known all the same, if not by whom.
    let (entries, _) = history(&[&address, "--kind", "broker"]);
    assert_eq!(entries.len(), 2, "{entries:?}");
    server.signal("TERM");
    let (exit_code, log) = server.end();
    assert_eq!(exit_code, Some(0), "{log}");
    assert_eq!(log.matches("the audit cannot be written").count(), 1, "{log}");
}

#[test]
fn wrong_usage_is_told() {
    let cases: [(&[&str], &str); 7] = [
        (&[], "a log directory or HOST:PORT of a controller is expected"),
        (&["/nowhere"], "/nowhere is neither a directory nor HOST:PORT"),
        (&["--follow", "/tmp"], "--follow needs HOST:PORT"),
        (&["x:1", "--since", "soon"], "--since: soon is no time"),
        (&["x:1", "--kind", "cheese"], "--kind: cheese is none of acl, broker"),
        (&["x:1", "--last", "few"], "--last: few is no number"),
        (&["x:1", "--audit", "/nowhere"], "--audit: /nowhere is not there"),
    ];
    for (args, hint) in cases {
        let answer = quorate(&[&["history"], args].concat());
        assert_eq!(answer.exit_code, 2, "{args:?}: {answer:?}");
        assert!(answer.err.contains(hint), "{args:?}: {answer:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let answer = quorate(&["history", &empty.path().display().to_string()]);
    assert_eq!(answer.exit_code, 2, "{answer:?}");
}
