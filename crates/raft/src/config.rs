use crate::{Endpoint, VoterSet};
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch, ReplicaKey, Uuid};
use std::time::Duration;

/// The static side of a replica. Durations and sizes are Kafka's settings of the same names.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.id`.
    pub node_id: NodeId,
    /// Id of this node's metadata log directory.
    pub directory_id: Uuid,
    /// The cluster's id.
    pub cluster_id: String,
    /// Own advertised controller listeners; empty on a replica that only observes.
    pub listeners: Vec<Endpoint>,
    /// `controller.quorum.voters`.
    pub static_voters: Option<Vec<(NodeId, String, u16)>>,
    /// `controller.quorum.bootstrap.servers`.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// The first of `controller.listener.names`: where this node calls its peers.
    pub default_listener: String,
    /// `controller.quorum.election.timeout.ms` (1 s).
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms` (1 s).
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms` (2 s).
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms` (2 s).
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms` (20 ms).
    pub retry_backoff: Duration,
    /// `controller.quorum.fetch.max.bytes` (1 MiB): what this replica asks for.
    pub fetch_max_bytes: u32,
    /// `controller.quorum.fetch.snapshot.max.bytes` (1 MiB).
    pub fetch_snapshot_max_bytes: u32,
    /// `quorate.fast.failover`: take a reset or refused connection, or an overdue fetch, as a reason
    /// for a pre-vote.
    pub fast_failover: bool,
    /// `controller.quorum.auto.join.enable`.
    pub auto_join: bool,
    /// True if this process has the controller role: only such a replica can be a voter.
    pub is_controller: bool,
    /// The kraft.version range this node supports: (0, 1).
    pub kraft_version_range: (u16, u16),
    /// Seeds jitter and election timeouts.
    pub seed: u64,
    /// A bug put in on purpose.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::Mutant>,
}

impl Config {
    /// Kafka's default timeouts for a controller with one listener named CONTROLLER.
    pub fn new(node_id: NodeId, directory_id: Uuid, cluster_id: &str) -> Config {
        Config {
            node_id,
            directory_id,
            cluster_id: cluster_id.to_owned(),
            listeners: Vec::new(),
            static_voters: None,
            bootstrap_servers: Vec::new(),
            default_listener: "CONTROLLER".to_owned(),
            election_timeout: Duration::from_millis(1000),
            election_backoff_max: Duration::from_millis(1000),
            fetch_timeout: Duration::from_millis(2000),
            request_timeout: Duration::from_millis(2000),
            retry_backoff: Duration::from_millis(20),
            fetch_max_bytes: 1024 * 1024,
            fetch_snapshot_max_bytes: 1024 * 1024,
            fast_failover: true,
            auto_join: false,
            is_controller: true,
            kraft_version_range: (0, 1),
            seed: 0,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// This replica's own id and directory.
    pub fn local_key(&self) -> ReplicaKey {
        ReplicaKey { id: self.node_id, directory_id: Some(self.directory_id) }
    }
}

/// What the disk said at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last persisted election state (the larger of its two homes).
    pub quorum_state: Option<ElectionState>,
    /// Shape of the log.
    pub log: LogSummary,
    /// Ids of the snapshots on disk, ascending. The bootstrap checkpoint (0, 0) may be among them
    /// and is ignored. None ends after the log (asserted): a log that ends before a snapshot is to
    /// be reset to it first.
    pub snapshots: Vec<OffsetAndEpoch>,
    /// Voter sets by offset of their control record, or of the last record in the snapshot whose
    /// header held it; -1 for the bootstrap checkpoint (0, 0).
    pub voters: Vec<(Offset, VoterSet)>,
    /// kraft.version levels by offset, likewise.
    pub kraft_versions: Vec<(Offset, u16)>,
}

/// Shape of the log at start. All of it is synced.
#[derive(Clone, Debug, Default)]
pub struct LogSummary {
    /// First offset there is.
    pub start: Offset,
    /// One past the last record; the epoch of that record, or, in an empty log, of the snapshot
    /// that ends at `start` (0 without one).
    pub end: OffsetAndEpoch,
    /// Each epoch that occurs in the log with the offset of its first record, ascending.
    pub epoch_starts: Vec<(Epoch, Offset)>,
}

/// The `quorum-state` file: promises that must survive a crash.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ElectionState {
    /// The current epoch.
    pub epoch: Epoch,
    /// The leader of that epoch, if known.
    pub leader: Option<NodeId>,
    /// Whom this replica voted for in that epoch.
    pub voted: Option<ReplicaKey>,
    /// Ids of the voters; written in version 0 of the file only.
    pub voters: Vec<NodeId>,
    /// Version of the file to be written: 0 at kraft.version 0, else 1.
    pub data_version: u16,
    /// True from the start on an empty disk until this voter knows that it has forgotten nothing
    /// that binds it (`recovery.rs`). Kept in the second home only: Kafka's file has no place.
    pub recovering: bool,
}
