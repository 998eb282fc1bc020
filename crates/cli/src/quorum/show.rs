//! `quorate quorum status` and `replication`, printed as Kafka's tool prints them.

use super::leader::{Described, Quorum};
use crate::args::Parsed;
use crate::failure::Failure;
use quorate_protocol::messages::describe_quorum_response::ReplicaState;
use std::fmt::Write;

/// Prints the quorum as a whole.
pub fn status(args: &Parsed) -> Result<(), Failure> {
    let described = Quorum::from_args(args)?.describe()?;
    print!("{}", status_text(&described));
    Ok(())
}

/// Prints a line for each replica.
pub fn replication(args: &Parsed) -> Result<(), Failure> {
    let described = Quorum::from_args(args)?.describe()?;
    print!("{}", replication_text(&described));
    Ok(())
}

fn status_text(described: &Described) -> String {
    let quorum = &described.quorum;
    let leader = quorum.current_voters.iter().find(|voter| voter.replica_id == quorum.leader_id);
    let behind = quorum.current_voters.iter().min_by_key(|voter| voter.log_end_offset);
    let (lag, lag_ms) = match (leader, behind) {
        (Some(leader), Some(behind)) => {
            (leader.log_end_offset - behind.log_end_offset, lag_ms(leader, behind))
        }
        _ => (0, -1),
    };
    let list = |replicas: &[ReplicaState]| {
        let all: Vec<String> = replicas.iter().map(|replica| json(described, replica)).collect();
        format!("[{}]", all.join(", "))
    };
    let mut text = String::new();
    for (name, value) in [
        ("ClusterId:", described.cluster_id.clone()),
        ("LeaderId:", quorum.leader_id.to_string()),
        ("LeaderEpoch:", quorum.leader_epoch.to_string()),
        ("HighWatermark:", quorum.high_watermark.to_string()),
        ("MaxFollowerLag:", lag.to_string()),
        ("MaxFollowerLagTimeMs:", lag_ms.to_string()),
        ("CurrentVoters:", list(&quorum.current_voters)),
        ("CurrentObservers:", list(&quorum.observers)),
    ] {
        writeln!(text, "{name:<24}{value}").expect("writing to a string cannot fail");
    }
    text
}

/// How long the replica has been behind; -1 where that is not known.
fn lag_ms(leader: &ReplicaState, replica: &ReplicaState) -> i64 {
    if leader.replica_id == replica.replica_id {
        return 0;
    }
    match (leader.last_caught_up_timestamp, replica.last_caught_up_timestamp) {
        (of_leader, of_replica) if of_leader >= 0 && of_replica >= 0 => of_leader - of_replica,
        _ => -1,
    }
}

fn json(described: &Described, replica: &ReplicaState) -> String {
    let mut fields = vec![format!("\"id\": {}", replica.replica_id)];
    if !replica.replica_directory_id.is_zero() {
        fields.push(format!("\"directoryId\": \"{}\"", replica.replica_directory_id));
    }
    let node = described.nodes.iter().find(|node| node.node_id == replica.replica_id);
    if let Some(node) = node
        && !node.listeners.is_empty()
    {
        let all: Vec<String> = node
            .listeners
            .iter()
            .map(|listener| {
                let host = listener.host.as_str();
                let bracketed = host.contains(':') && !host.starts_with('[');
                let host = if bracketed { format!("[{host}]") } else { host.to_owned() };
                format!("\"{}://{host}:{}\"", listener.name, listener.port)
            })
            .collect();
        fields.push(format!("\"endpoints\": [{}]", all.join(", ")));
    }
    format!("{{{}}}", fields.join(", "))
}

const HEADINGS: [&str; 7] = [
    "NodeId",
    "DirectoryId",
    "LogEndOffset",
    "Lag",
    "LastFetchTimestamp",
    "LastCaughtUpTimestamp",
    "Status",
];

fn replication_text(described: &Described) -> String {
    let quorum = &described.quorum;
    let leader = quorum.current_voters.iter().find(|voter| voter.replica_id == quorum.leader_id);
    let end = leader.map_or(quorum.high_watermark, |leader| leader.log_end_offset);
    let row = |replica: &ReplicaState, status: &str| {
        [
            replica.replica_id.to_string(),
            replica.replica_directory_id.to_string(),
            replica.log_end_offset.to_string(),
            (end - replica.log_end_offset).to_string(),
            replica.last_fetch_timestamp.to_string(),
            replica.last_caught_up_timestamp.to_string(),
            status.to_owned(),
        ]
    };
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(leader.map(|replica| row(replica, "Leader")));
    let followers =
        quorum.current_voters.iter().filter(|voter| voter.replica_id != quorum.leader_id);
    rows.extend(followers.map(|replica| row(replica, "Follower")));
    rows.extend(quorum.observers.iter().map(|replica| row(replica, "Observer")));
    table(&rows)
}

fn table(rows: &[[String; 7]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            write!(text, "{cell:<0$}\t", width(column)).expect("writing to a string cannot fail");
        }
        text.push('\n');
    }
    text
}
