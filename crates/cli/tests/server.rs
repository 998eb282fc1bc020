//! `quorate server` as its operator sees it: the line, the exit codes, what it refuses.

mod support;

use quorate_protocol::header::{decode_response, encode_request};
use quorate_protocol::messages::create_topics_request::CreatableTopic;
use quorate_protocol::messages::{ApiVersionsRequest, CreateTopicsRequest, DescribeClusterRequest};
use quorate_protocol::{AnyRequest, AnyResponse};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{Node, Server, quorate, quorate_limited};

fn formatted() -> Node {
    let node = Node::dynamic(1);
    let file = node.file();
    let answer = quorate(&["storage", "format", "-t", "cluster-A", "-c", &file, "-s"]);
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    node
}

/// Asks a running server one thing.
fn ask(server: &Server, request: &AnyRequest, version: i16) -> AnyResponse {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the port accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let frame = encode_request(request, version, 1, Some("test".into())).unwrap();
    stream.write_all(&i32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&frame).unwrap();
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("an answer");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(prefix)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    decode_response(request.api_key(), version, answer.into()).expect("a readable answer").1
}

fn cluster_id(server: &Server) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let request = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
        match ask(server, &AnyRequest::DescribeCluster(request), 1) {
            AnyResponse::DescribeCluster(it) if it.error_code == 0 => {
                return it.cluster_id.to_string();
            }
            // A leader is elected a moment before its first records are committed, and knows its level
            // only then.
            AnyResponse::DescribeCluster(it) => assert!(Instant::now() < deadline, "{it:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_says_one_line_answers_and_ends_cleanly() {
    let node = formatted();
    for (signal, epoch) in [("TERM", 1), ("INT", 2)] {
        let server = node.start();
        let line = format!("role leader, epoch {epoch}\n");
        assert!(server.ready.ends_with(&line), "{}", server.ready);
        assert_eq!(cluster_id(&server), "cluster-A");
        server.signal(signal);
        let (exit_code, log) = server.end();
        assert_eq!(exit_code, Some(0), "{log}");
    }
}

#[test]
fn a_server_killed_at_any_point_starts_again() {
    let node = formatted();
    for epoch in 1..4 {
        let server = node.start();
        assert!(server.ready.ends_with(&format!("epoch {epoch}\n")), "{}", server.ready);
        server.signal("KILL");
        assert_eq!(server.end().0, None);
    }
}

#[test]
fn a_second_process_on_the_directory_is_refused_and_the_first_goes_on() {
    let node = formatted();
    let mut first = node.start();
    let args = node.server_args();
    let second = quorate(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(second.exit_code, 3, "{second:?}");
    let pid = first.pid().to_string();
    assert!(second.err.contains("locked") && second.err.contains(&pid), "{second:?}");
    assert!(first.is_running());
    assert_eq!(cluster_id(&first), "cluster-A");
}

#[test]
fn wrong_directories_and_settings_stop_the_start() {
    let node = formatted();
    let file = node.file();
    let unformatted = node.dir().with_file_name("empty");
    std::fs::create_dir(&unformatted).unwrap();
    let elsewhere = format!("log.dirs={}", unformatted.display());
    for (settings, hint) in [
        ("node.id=2", "belongs to node 1"),
        (elsewhere.as_str(), "is not formatted"),
        ("process.roles=broker", "process.roles"),
        ("listeners=CONTROLLER", "NAME://host:port"),
        ("controller.quorum.fetch.timeout.ms=soon", "whole number"),
    ] {
        let answer = quorate(&["server", &file, "--override", settings]);
        assert_eq!(answer.exit_code, 2, "{settings}: {answer:?}");
        assert!(answer.err.contains(hint), "{settings}: {answer:?}");
    }
    for usage in [&["server"][..], &["server", &file, "--nonsense"], &["nonsense"], &[]] {
        assert_eq!(quorate(usage).exit_code, 2, "{usage:?}");
    }
}

#[test]
fn two_directories_of_different_clusters_are_refused() {
    let (one, two) = (formatted(), Node::dynamic(1));
    let file = two.file();
    assert_eq!(quorate(&["storage", "format", "-t", "cluster-B", "-c", &file, "-s"]).exit_code, 0);
    let both = format!("log.dirs={},{}", one.dir().display(), two.dir().display());
    let answer = quorate(&["server", &one.file(), "--override", &both]);
    assert_eq!(answer.exit_code, 2, "{answer:?}");
    assert!(answer.err.contains("cluster-A") && answer.err.contains("cluster-B"), "{answer:?}");
}

#[test]
fn a_taken_port_is_named() {
    let node = formatted();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listeners=CONTROLLER://{}", taken.local_addr().unwrap());
    let answer = quorate(&["server", &node.file(), "--override", &listen]);
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("cannot listen on CONTROLLER://127.0.0.1:"), "{answer:?}");
}

#[test]
fn a_corrupt_log_is_refused_and_not_touched() {
    let node = formatted();
    let server = node.start();
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
    let log = node.dir().join("__cluster_metadata-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[100] ^= 0x40;
    std::fs::write(&log, &bytes).unwrap();
    let args = node.server_args();
    let answer = quorate(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(answer.exit_code, 3, "{answer:?}");
    assert!(answer.err.contains("is corrupt at byte"), "{answer:?}");
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let node = formatted();
    let server = node.start();
    // Without brokers a topic cannot be created; that answer, too, comes from the whole path.
    let mut create = CreateTopicsRequest { timeout_ms: 10_000, ..Default::default() };
    create.topics.push(CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    });
    let AnyResponse::CreateTopics(answer) = ask(&server, &AnyRequest::CreateTopics(create), 7)
    else {
        panic!("another kind of answer")
    };
    assert_eq!(answer.topics[0].error_code, 38, "{answer:?}");
    let AnyResponse::ApiVersions(before) = ask(&server, &api_versions(), 4) else { panic!() };
    server.signal("KILL");
    drop(server);
    let server = node.start();
    let AnyResponse::ApiVersions(after) = ask(&server, &api_versions(), 4) else { panic!() };
    assert_eq!(before.finalized_features, after.finalized_features);
    assert!(!after.finalized_features.is_empty());
}

fn api_versions() -> AnyRequest {
    AnyRequest::ApiVersions(ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    })
}

/// A file size limit stands in for a full disk: either way the write fails.
#[test]
fn a_log_that_cannot_grow_stops_the_server_and_loses_nothing() {
    let node = formatted();
    let server = node.start();
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
    // No-op records every ten milliseconds fill what is left under the limit.
    let mut args = node.server_args();
    args.extend(["--override".to_owned(), "metadata.max.idle.interval.ms=10".to_owned()]);
    let answer = quorate_limited(4, &args);
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.err.contains("the metadata log cannot be written"), "{answer:?}");
    let server = node.start();
    assert_eq!(cluster_id(&server), "cluster-A");
}
