//! What Kafka's controllers died of, and every request as Kafka writes it with bytes changed, against a
//! running controller: it answers or closes that connection, goes on, and stays small.

#[path = "../../protocol/tests/common/mod.rs"]
mod common;
mod support;

use quorate_base::Prng;
use quorate_client::{Admin, Connection, Options};
use quorate_protocol::header::encode_request;
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use quorate_protocol::messages::fetch_snapshot_request::{PartitionSnapshot, TopicSnapshot};
use quorate_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, FetchSnapshotRequest,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{Node, Server, quorate};

/// Long enough for a loaded machine; reached only by a failing test.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a hostile client may make the process grow by, all in all.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

fn start(settings: &[&str]) -> (Node, Server) {
    let node = Node::dynamic(1);
    let format = quorate(&["storage", "format", "-t", "cluster-A", "-c", &node.file(), "-s"]);
    assert_eq!(format.exit_code, 0, "{format:?}");
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let server = node.start_with(&settings);
    (node, server)
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// It leads, decides and answers.
fn assert_well(server: &mut Server, after: &str) {
    assert!(server.is_running(), "it died of {after}");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let asked = Admin::connect(&address(server)).and_then(|mut it| it.describe_quorum());
        match asked {
            Ok(_) => return,
            // A mutated request may have moved leadership; there is nobody else to have it.
            Err(error) => assert!(Instant::now() < deadline, "after {after}: {error}"),
        }
    }
}

/// Sends a frame and waits for an answer or the end; what only waits is left alone after a moment.
fn send(address: &str, frame: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let mut bytes = i32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes).ok()?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).ok()?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(prefix)).ok()?];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

/// CVE-2026-83525: an exception in the handler of FetchSnapshot ended Kafka's process.
#[test]
fn a_snapshot_of_no_topic_or_of_two_is_refused() {
    let (_node, mut server) = start(&[]);
    let topic = |name: &str, partitions: usize| TopicSnapshot {
        name: name.into(),
        partitions: vec![PartitionSnapshot::default(); partitions],
        ..Default::default()
    };
    let metadata = "__cluster_metadata";
    let shapes: Vec<Vec<TopicSnapshot>> = vec![
        vec![],
        vec![topic(metadata, 0)],
        vec![topic(metadata, 2)],
        vec![topic(metadata, 1), topic(metadata, 1)],
        vec![topic("other", 1)],
    ];
    for topics in shapes {
        let request = FetchSnapshotRequest { topics: topics.clone(), ..Default::default() };
        let mut connection = Connection::connect(&address(&server), Options::default()).unwrap();
        let answer = connection.send(&AnyRequest::FetchSnapshot(request));
        let Ok(AnyResponse::FetchSnapshot(answer)) = answer else { panic!("{answer:?}") };
        let codes = AnyResponse::FetchSnapshot(answer).error_codes();
        assert!(codes.iter().any(|code| *code != 0), "{topics:?}: {codes:?}");
        assert_well(&mut server, "an odd FetchSnapshot");
    }
}

/// CVE-2026-111108 and CVE-2026-111115: lengths of arrays and numbers of tagged fields were believed,
/// and memory set aside for them.
#[test]
fn promised_elements_cost_nothing() {
    let (_node, mut server) = start(&[]);
    let before = resident_bytes(&server);
    let header = |api: ApiKey, version: i16| {
        let mut bytes = api.id().to_be_bytes().to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
        bytes
    };
    // As unsigned varint: more than two thousand million.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x07];
    let mut tagged_header = header(ApiKey::CreateTopics, 7);
    tagged_header.extend(huge);
    let mut compact_array = header(ApiKey::CreateTopics, 7);
    compact_array.push(0);
    compact_array.extend(huge);
    let mut plain_array = header(ApiKey::CreateTopics, 4);
    plain_array.extend(i32::MAX.to_be_bytes());
    let empty = AnyRequest::CreateTopics(CreateTopicsRequest::default());
    let mut tagged_body = encode_request(&empty, 7, 1, None).unwrap().to_vec();
    assert_eq!(tagged_body.pop(), Some(0), "the number of tagged fields");
    tagged_body.extend(huge);
    for frame in [tagged_header, compact_array, plain_array, tagged_body] {
        // Many at once, each with a megabyte behind it.
        let long = [frame.as_slice(), &vec![0; 1 << 20]].concat();
        for frame in [&frame, &long] {
            for _ in 0..20 {
                assert_eq!(send(&address(&server), frame), None, "it was believed");
            }
        }
    }
    assert_well(&mut server, "promised elements");
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
}

/// CVE-2018-1288: a client that says that it is a replica. Whoever may not act for the cluster gets nothing of the log.
#[test]
fn the_log_is_not_for_everybody() {
    let (_node, server) = start(&[
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:somebody-else",
    ]);
    for replica_id in [-1, 1, 7] {
        let mut request = FetchRequest { max_wait_ms: 0, max_bytes: 1 << 20, ..Default::default() };
        request.replica_state.replica_id = replica_id;
        let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
        let topic_id = quorate_base::Uuid::METADATA_TOPIC;
        let partitions = vec![partition];
        request.topics.push(FetchTopic { topic_id, partitions, ..Default::default() });
        let mut connection = Connection::connect(&address(&server), Options::default()).unwrap();
        let answer = connection.send(&AnyRequest::Fetch(request));
        let Ok(AnyResponse::Fetch(answer)) = answer else { panic!("{answer:?}") };
        assert_eq!(answer.error_code, ErrorCode::ClusterAuthorizationFailed.code());
        assert!(answer.responses.is_empty(), "{answer:?}");
    }
}

/// Each request that controllers serve, in each version, as Kafka's own code wrote it, whole and changed.
#[test]
fn every_request_in_every_version_with_bytes_changed_harms_nobody() {
    let (_node, mut server) = start(&[]);
    let before = resident_bytes(&server);
    let mut prng = Prng::new(20_261_123);
    let (mut sent, mut answered) = (0, 0);
    for vector in common::vectors() {
        let Some(name) = vector.info.name.strip_suffix("Request") else { continue };
        let Some(api) = ApiKey::all().find(|it| it.name() == name) else { continue };
        if !api.is_on_controller_listener() || !api.versions().contains(&vector.version) {
            continue;
        }
        let mut whole = api.id().to_be_bytes().to_vec();
        whole.extend(vector.version.to_be_bytes());
        whole.extend([0, 0, 0, 7, 0xff, 0xff]);
        if api.is_flexible(vector.version) {
            whole.push(0);
        }
        let body = whole.len();
        whole.extend_from_slice(&vector.bytes);
        for round in 0..6 {
            let mut frame = whole.clone();
            if round > 0 && frame.len() > body {
                for _ in 0..=prng.below(3) {
                    let at = body + prng.below((frame.len() - body) as u64) as usize;
                    frame[at] = match prng.below(4) {
                        0 => 0,
                        1 => 0xff,
                        2 => 0x7f,
                        _ => prng.below(256) as u8,
                    };
                }
                if prng.below(4) == 0 {
                    frame.truncate(body + prng.below((frame.len() - body) as u64) as usize);
                }
            }
            answered += usize::from(send(&address(&server), &frame).is_some());
            sent += 1;
            assert!(server.is_running(), "it died of {api} version {}: {frame:?}", vector.version);
        }
    }
    println!("{answered} of {sent} were answered");
    assert!(sent > 300 && answered > sent / 4, "{answered} of {sent} were answered");
    assert_well(&mut server, "changed requests");
    let versions = AnyRequest::ApiVersions(ApiVersionsRequest::default());
    let frame = encode_request(&versions, 3, 7, None).unwrap();
    assert!(send(&address(&server), &frame).is_some());
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
    server.signal("TERM");
    let (exit_code, log) = server.end();
    assert_eq!(exit_code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
