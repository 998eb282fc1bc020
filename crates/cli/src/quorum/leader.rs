//! Finds the leader of a quorum and asks it (KIP-919: controllers answer DescribeCluster).

use super::either;
use crate::args::Parsed;
use crate::failure::Failure;
use quorate_base::NodeId;
use quorate_client::{Admin, ClientError, Connection, Options};
use quorate_protocol::messages::describe_quorum_request::{
    DescribeQuorumRequest, PartitionData, TopicData,
};
use quorate_protocol::messages::{DescribeQuorumResponse, describe_quorum_response};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode};
use quorate_server::config::address::parse_host_port;
use std::time::{Duration, Instant};

/// Pause between two rounds over all addresses.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// `controllers` rather than `brokers` in DescribeCluster.
const CONTROLLERS: i8 = 2;
/// 3.7-IV0, the first metadata.version at which controllers are asked directly (KIP-919).
const FIRST_DIRECT: i16 = 15;

/// Where to ask and how long.
pub struct Quorum {
    bootstrap: Vec<String>,
    deadline: Instant,
    /// As `--timeout-ms` says.
    pub timeout_ms: i32,
}

/// What the leader says of its quorum.
pub struct Described {
    /// A connection to the leader.
    pub leader: Admin,
    /// The cluster's id.
    pub cluster_id: String,
    /// Epoch, high watermark, voters and observers.
    pub quorum: describe_quorum_response::PartitionData,
    /// Endpoints by node id; empty where the leader does not tell them.
    pub nodes: Vec<describe_quorum_response::Node>,
}

impl Quorum {
    /// From `--bootstrap` and `--timeout-ms`.
    pub fn from_args(args: &Parsed) -> Result<Quorum, Failure> {
        let list = either(args, "bootstrap", "bootstrap-controller");
        let list = list.ok_or_else(|| Failure::usage("argument --bootstrap/-b is required"))?;
        let bootstrap: Vec<String> =
            list.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect();
        if let Some(bad) = bootstrap.iter().find(|address| parse_host_port(address).is_none()) {
            return Err(Failure::usage(format!("--bootstrap: {bad} is not HOST:PORT")));
        }
        if bootstrap.is_empty() {
            return Err(Failure::usage("--bootstrap names no controller"));
        }
        let timeout_ms: i32 = match args.value("timeout-ms") {
            None => 30_000,
            Some(text) => text.parse().ok().filter(|ms| *ms > 0).ok_or_else(|| {
                Failure::usage(format!("--timeout-ms: {text} is no number of milliseconds"))
            })?,
        };
        let timeout = Duration::from_millis(u64::from(timeout_ms.unsigned_abs()));
        Ok(Quorum { bootstrap, deadline: Instant::now() + timeout, timeout_ms })
    }

    /// Whether the time is up.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Milliseconds until the time is up, at least one.
    pub fn left_ms(&self) -> i32 {
        let left = self.deadline.saturating_duration_since(Instant::now()).as_millis();
        i32::try_from(left).unwrap_or(i32::MAX).max(1)
    }

    /// Pauses between two attempts.
    pub fn pause(&self) {
        std::thread::sleep(RETRY_PAUSE);
    }

    /// Asks until somebody leads; after the timeout, says what each address answered.
    pub fn describe(&self) -> Result<Described, Failure> {
        loop {
            let mut answers = Vec::new();
            for address in &self.bootstrap {
                match self.describe_by(address) {
                    Ok(described) => return Ok(described),
                    Err(why) => answers.push(format!("  {address}: {why}")),
                }
            }
            if self.is_over() {
                let ms = self.timeout_ms;
                return Err(Failure::failed(format!(
                    "no leader was found within {ms} ms:\n{}",
                    answers.join("\n")
                )));
            }
            self.pause();
        }
    }

    /// A connection for one question, no longer than the time left.
    pub fn connect(&self, address: &str) -> Result<Admin, ClientError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let options = Options {
            client_id: "quorate-quorum".to_owned(),
            connect_timeout: left.clamp(Duration::from_millis(100), Duration::from_secs(5)),
            // The server keeps the same timeout and should be the first to say so.
            request_timeout: left.max(Duration::from_secs(1)) + Duration::from_secs(2),
        };
        Ok(Admin::over(Connection::connect(address, options)?))
    }

    fn describe_by(&self, address: &str) -> Result<Described, String> {
        let text = |error: ClientError| error.to_string();
        let mut admin = self.connect(address).map_err(text)?;
        // Kafka's writes an ERROR to its log when it is asked before it has read its metadata. Until
        // then it tells no metadata.version, or (3.9) the oldest.
        let features = &admin.connection().api_versions().finalized_features;
        let level = features.iter().find(|feature| feature.name.as_str() == "metadata.version");
        if level.is_none_or(|it| it.max_version_level < FIRST_DIRECT) {
            let why = "it has not read its metadata yet, or metadata.version is below 3.7";
            return Err(why.to_owned());
        }
        let cluster = admin.describe_cluster(CONTROLLERS).map_err(text)?;
        let leader_id: NodeId = cluster.controller_id;
        let node = cluster.brokers.iter().find(|node| node.broker_id == leader_id);
        // One that knows no leader may be wrong about itself: ask it all the same.
        let mut leader = match node {
            Some(node) if leader_id >= 0 => {
                let (host, port) = (node.host.as_str(), node.port);
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                self.connect(&format!("{host}:{port}")).map_err(text)?
            }
            _ => admin,
        };
        let (quorum, nodes) = describe_quorum(&mut leader)?;
        Ok(Described { leader, cluster_id: cluster.cluster_id.to_string(), quorum, nodes })
    }
}

fn describe_quorum(
    admin: &mut Admin,
) -> Result<(describe_quorum_response::PartitionData, Vec<describe_quorum_response::Node>), String>
{
    let request = DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![PartitionData { partition_index: 0, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = admin.connection().send(&AnyRequest::DescribeQuorum(request));
    let answer = match answer.map_err(|error| error.to_string())? {
        AnyResponse::DescribeQuorum(answer) => answer,
        other => return Err(format!("another answer: {:?}", other.api_key())),
    };
    let DescribeQuorumResponse { error_code, error_message, topics, nodes, .. } = answer;
    refused(error_code, error_message.as_deref())?;
    let partition = topics.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or("an answer without the metadata log")?;
    refused(partition.error_code, partition.error_message.as_deref())?;
    Ok((partition, nodes))
}

/// An error code as text, with what the server says of it.
pub fn refused(error_code: i16, message: Option<&str>) -> Result<(), String> {
    if error_code == ErrorCode::None.code() {
        return Ok(());
    }
    let name = ErrorCode::from_code(error_code)
        .map_or_else(|| format!("error {error_code}"), |code| code.name().to_owned());
    Err(match message {
        Some(message) if !message.is_empty() => format!("{name}: {message}"),
        _ => name,
    })
}
