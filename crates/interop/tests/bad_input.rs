//! What a careless or hostile world sends to a controller: each is answered with a clear error or
//! costs its own connection, the process stays up, and nothing is lost.
use quorate_base::{Prng, Uuid};
use quorate_client::{Admin, ClientError, NewTopic, SimulatedBroker};
use quorate_interop::{
    Cluster, Controller, DEADLINE, Failure, KafkaVersion, Outcome, Process, SimulatedBrokers,
    ensure,
};
use quorate_protocol::header::encode_request;
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use quorate_protocol::messages::{ApiVersionsRequest, VoteRequest};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, KStr};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

/// A running controller with three simulated brokers and the topic `kept`.
fn controller(name: &str) -> Outcome<(Cluster, SimulatedBrokers)> {
    let mut cluster = Cluster::builder(name).format()?;
    cluster.controller.start()?;
    cluster.await_controller()?;
    let address = cluster.controller.address();
    let brokers = SimulatedBrokers::start(&address, cluster.cluster_id, 3)?;
    Admin::connect(&address)?.create_topic(topic("kept", 1, 3))?;
    Ok((cluster, brokers))
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: Some(replication_factor),
        ..Default::default()
    }
}

/// The controller answers, and what was created before is there.
fn all_is_well(cluster: &mut Cluster) -> Outcome<()> {
    ensure!(cluster.controller.is_running(), "the controller has died");
    let mut admin = Admin::connect(&cluster.controller.address())?;
    admin.describe_quorum()?;
    expect_error(ErrorCode::TopicAlreadyExists, admin.create_topic(topic("kept", 1, 3)))
}

fn expect_error<T: std::fmt::Debug>(
    expected: ErrorCode,
    result: Result<T, ClientError>,
) -> Outcome<()> {
    match result {
        Err(ClientError::Refused { error_code, .. }) if error_code == expected.code() => Ok(()),
        other => Err(Failure(format!("expected {expected:?}, got {other:?}"))),
    }
}

#[test]
fn random_and_truncated_frames_cost_only_their_connection() -> Outcome<()> {
    let (mut cluster, _brokers) = controller("bad-frames")?;
    let address = cluster.controller.address();
    // How Kafka's own controller speaks of such frames.
    cluster.allowed_errors.push("(kafka.network.Processor)");
    let seed = 0x5eed;
    println!("seed {seed}");
    let mut prng = Prng::new(seed);

    // Whole frames of random bytes, half of them with a header that looks right.
    for round in 0..300 {
        let length = prng.below(200) as usize;
        let mut frame: Vec<u8> = (0..length).map(|_| prng.next_u64() as u8).collect();
        if round % 2 == 0 && length >= 8 {
            frame[..2].copy_from_slice(&(prng.below(100) as u16).to_be_bytes());
            frame[2..4].copy_from_slice(&(prng.below(20) as u16).to_be_bytes());
        }
        send_frame(&address, frame.len() as u32, &frame)?;
    }
    all_is_well(&mut cluster)?;

    // Good requests cut short at every byte, the length telling the truth.
    let requests = [
        (AnyRequest::ApiVersions(ApiVersionsRequest::default()), 3),
        (AnyRequest::Fetch(fetch_request("a-cluster")), 17),
        (AnyRequest::Vote(VoteRequest::default()), 2),
    ];
    for (request, version) in &requests {
        let good = encode_request(request, *version, 1, Some(KStr::from("bad"))).unwrap();
        for cut in 0..good.len() {
            send_frame(&address, cut as u32, &good[..cut])?;
        }
    }
    all_is_well(&mut cluster)?;

    // Lengths that lie: nothing may be allocated for them, nobody else may wait for them.
    let mut held = Vec::new();
    for length in [u32::MAX, 0x7fff_ffff, 0x8000_0000, 500_000_000, 0, 1, 7] {
        let mut stream = connect(&address)?;
        write(&mut stream, &length.to_be_bytes())?;
        write(&mut stream, &[0, 18, 0])?;
        held.push(stream);
    }
    all_is_well(&mut cluster)?;
    drop(held);
    all_is_well(&mut cluster)?;
    cluster.finish()
}

#[test]
fn requests_of_another_cluster_are_refused() -> Outcome<()> {
    let (mut cluster, _brokers) = controller("foreign-cluster")?;
    let address = cluster.controller.address();
    let other = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
    expect_error(
        ErrorCode::InconsistentClusterId,
        SimulatedBroker::register(&address, &other.to_string(), 7, other, other),
    )?;
    let mut admin = Admin::connect(&address)?;
    let request = AnyRequest::Fetch(fetch_request(&other.to_string()));
    let AnyResponse::Fetch(answer) = admin.connection().send(&request)? else {
        return Err(Failure::new("Fetch was answered by another message"));
    };
    ensure!(
        answer.error_code == ErrorCode::InconsistentClusterId.code(),
        "a fetch with another cluster id was answered {answer:?}"
    );
    all_is_well(&mut cluster)?;
    cluster.finish()
}

#[test]
fn a_second_broker_with_the_same_id_is_refused_while_the_first_lives() -> Outcome<()> {
    let (mut cluster, _brokers) = controller("duplicate-broker")?;
    let another_life = Uuid::from_u128(0x4321_5678_9abc_4def_8123_4567_89ab_cdef);
    expect_error(
        ErrorCode::DuplicateBrokerRegistration,
        SimulatedBroker::register(
            &cluster.controller.address(),
            &cluster.cluster_id.to_string(),
            1,
            another_life,
            another_life,
        ),
    )?;
    all_is_well(&mut cluster)?;
    cluster.finish()
}

#[test]
fn impossible_topics_are_refused_and_nothing_of_them_is_kept() -> Outcome<()> {
    let (mut cluster, _brokers) = controller("impossible-topics")?;
    let mut admin = Admin::connect(&cluster.controller.address())?;
    let long = "x".repeat(250);
    let cases = [
        (topic("wide", 1, 4), ErrorCode::InvalidReplicationFactor),
        (topic("none", 1, 0), ErrorCode::InvalidReplicationFactor),
        (topic("negative", 1, -2), ErrorCode::InvalidReplicationFactor),
        (topic("no-partitions", 0, 1), ErrorCode::InvalidPartitions),
        (topic("", 1, 1), ErrorCode::InvalidTopicException),
        (topic("..", 1, 1), ErrorCode::InvalidTopicException),
        (topic("no spaces", 1, 1), ErrorCode::InvalidTopicException),
        (topic(&long, 1, 1), ErrorCode::InvalidTopicException),
        (
            NewTopic { assignment: vec![vec![1, 1]], ..topic("twice", 1, 1) },
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            NewTopic { assignment: vec![vec![99]], ..topic("nobody", 1, 1) },
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            NewTopic {
                configs: vec![("retention.ms".to_owned(), "soon".to_owned())],
                ..topic("bad-config", 1, 1)
            },
            ErrorCode::InvalidConfig,
        ),
    ];
    for (refused, error) in cases {
        let shown = format!("{refused:?}");
        let result = admin.create_topic(refused);
        expect_error(error, result).map_err(|failure| Failure(format!("{shown}: {failure}")))?;
    }
    // The names are free: nothing was kept.
    admin.create_topic(topic("wide", 1, 3))?;
    admin.create_topic(topic("bad-config", 1, 1))?;
    all_is_well(&mut cluster)?;
    cluster.finish()
}

#[test]
fn a_second_process_on_the_directory_is_refused_and_the_first_goes_on() -> Outcome<()> {
    let (mut cluster, _brokers) = controller("second-process")?;
    let refusal = start_and_expect_refusal(&mut cluster)?;
    ensure!(
        refusal.to_lowercase().contains("lock"),
        "the refusal does not name the lock:\n{refusal}"
    );
    all_is_well(&mut cluster)?;
    // Its words went into the first one's log.
    cluster.discard();
    Ok(())
}

#[test]
fn an_unformatted_directory_is_refused() -> Outcome<()> {
    let mut cluster = Cluster::builder("unformatted").format()?;
    let dir = cluster.controller.dir().to_path_buf();
    std::fs::remove_dir_all(&dir)
        .and_then(|()| std::fs::create_dir(&dir))
        .map_err(|e| Failure(format!("{}: {e}", dir.display())))?;
    let refusal = start_and_expect_refusal(&mut cluster)?;
    ensure!(
        refusal.contains("meta.properties") || refusal.contains("format"),
        "the refusal does not say what is missing:\n{refusal}"
    );
    cluster.discard();
    Ok(())
}

#[test]
fn a_directory_of_another_node_is_refused() -> Outcome<()> {
    let mut cluster = Cluster::builder("wrong-node").format()?;
    edit_meta_properties(&cluster, "node.id=3000", "node.id=3001")?;
    let refusal = start_and_expect_refusal(&mut cluster)?;
    ensure!(
        refusal.contains("3000") && refusal.contains("3001"),
        "the refusal does not name both node ids:\n{refusal}"
    );
    cluster.discard();
    Ok(())
}

#[test]
fn a_directory_of_another_cluster_beside_ours_is_refused() -> Outcome<()> {
    let mut cluster = Cluster::builder("wrong-cluster").format()?;
    // A second log directory, formatted for another cluster.
    let other = cluster.path().join("other");
    let other_id = "AAAAAAAAQACAAAAAAAAAAA";
    std::fs::create_dir(&other)
        .and_then(|()| {
            std::fs::write(
                other.join("meta.properties"),
                format!(
                    "version=1\ncluster.id={other_id}\nnode.id=3000\n\
                     directory.id=8ucBwe-YTqus_7UGdcgQHQ\n"
                ),
            )
        })
        .and_then(|()| {
            let properties = cluster.controller.properties();
            let text = std::fs::read_to_string(properties)?;
            let both = format!("{},{}", cluster.controller.dir().display(), other.display());
            let text: String = text
                .lines()
                .filter(|line| !line.starts_with("log.dirs="))
                .map(|line| format!("{line}\n"))
                .collect();
            std::fs::write(properties, format!("{text}log.dirs={both}\n"))
        })
        .map_err(|e| Failure(format!("{}: {e}", other.display())))?;
    let refusal = start_and_expect_refusal(&mut cluster)?;
    ensure!(
        refusal.contains(other_id),
        "the refusal does not name the other cluster's id:\n{refusal}"
    );
    cluster.discard();
    Ok(())
}

fn edit_meta_properties(cluster: &Cluster, from: &str, to: &str) -> Outcome<()> {
    let file = cluster.controller.dir().join("meta.properties");
    let fault = |e| Failure(format!("{}: {e}", file.display()));
    let text = std::fs::read_to_string(&file).map_err(fault)?;
    ensure!(text.contains(from), "{} does not contain {from}:\n{text}", file.display());
    std::fs::write(&file, text.replace(from, to)).map_err(fault)
}

/// Starts one more controller process on the cluster's configuration; what it says as it refuses.
fn start_and_expect_refusal(cluster: &mut Cluster) -> Outcome<String> {
    let log = cluster.path().join("refused.log");
    let mut command = cluster.controller.command()?;
    command.stdin(Stdio::null());
    let mut process = Process::spawn("a second controller", &mut command, &log)?;
    let status = process.wait_exit(DEADLINE)?;
    let said = process.log_tail();
    let ours = Controller::under_test(KafkaVersion::V4_3_0) == Controller::Quorate;
    // Kafka ends with 1; our contract tells wrong use (2) from data in danger (3).
    let refused = match status.code() {
        Some(2 | 3) => true,
        Some(code) => !ours && code != 0,
        None => false,
    };
    ensure!(refused, "a refusal ended with {status}:\n{said}");
    Ok(said)
}

fn fetch_request(cluster_id: &str) -> FetchRequest {
    FetchRequest {
        cluster_id: Some(KStr::from(cluster_id)),
        max_wait_ms: 0,
        max_bytes: 1024,
        topics: vec![FetchTopic {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![FetchPartition {
                partition: 0,
                partition_max_bytes: 1024,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn connect(address: &str) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address)
        .map_err(|e| Failure(format!("cannot connect to {address}: {e}")))?;
    let patience = Some(Duration::from_millis(200));
    stream.set_read_timeout(patience).map_err(|e| Failure(e.to_string()))?;
    Ok(stream)
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> Outcome<()> {
    stream.write_all(bytes).map_err(|e| Failure(format!("cannot send: {e}")))
}

/// Sends one frame on a connection of its own. The controller may answer it or close.
fn send_frame(address: &str, length: u32, body: &[u8]) -> Outcome<()> {
    let mut stream = connect(address)?;
    write(&mut stream, &[&length.to_be_bytes(), body].concat())?;
    stream
        .shutdown(std::net::Shutdown::Write)
        .map_err(|e| Failure(format!("cannot close: {e}")))?;
    // Until it closes, or says nothing for a while: both are fine.
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}

#[test]
fn a_vote_with_nonsense_does_not_unseat_the_leader() -> Outcome<()> {
    let (mut cluster, _brokers) = controller("nonsense-vote")?;
    let mut admin = Admin::connect(&cluster.controller.address())?;
    let before = admin.describe_quorum()?;
    let version = admin.connection().version_for(ApiKey::Vote);
    ensure!(version.is_some(), "Vote is not served");
    let request = VoteRequest { voter_id: 99, ..Default::default() };
    // An error in the answer, or a closed connection: both refuse.
    let _ = admin.connection().send(&AnyRequest::Vote(request));
    let after = Admin::connect(&cluster.controller.address())?.describe_quorum()?;
    ensure!(
        (before.leader_id, before.leader_epoch) == (after.leader_id, after.leader_epoch),
        "{before:?} became {after:?}"
    );
    all_is_well(&mut cluster)?;
    cluster.finish()
}
