//! A running quorum as an anonymous observer reads it: find the leader, fetch its log and its snapshots.
//!
//! Nothing sent here can make this process a voter: only AddRaftVoter could, and it is never sent. An
//! anonymous fetch (replica id -1) leaves no trace at the leader; with an id of its own the leader lists
//! the process among its observers.

use crate::ShadowError;
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch, ReplicaKey};
use quorate_client::{Admin, ClientError, Connection, Options};
use quorate_protocol::messages::fetch_request::{
    FetchPartition, FetchRequest, FetchTopic, ReplicaState,
};
use quorate_protocol::messages::fetch_response::PartitionData;
use quorate_protocol::messages::{
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, fetch_snapshot_request,
    fetch_snapshot_response,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, KStr};
use std::time::Duration;

const METADATA_TOPIC: KStr = KStr::from_static("__cluster_metadata");
/// Largest answer asked for.
const FETCH_BYTES: i32 = 8 * 1024 * 1024;
/// How long the leader may hold a fetch that has nothing to answer.
const MAX_WAIT_MS: i32 = 500;
/// `controllers` rather than `brokers` in DescribeCluster.
const CONTROLLERS: i8 = 2;
/// Fetch with a high watermark in the request (KIP-1166), with topic ids, and with endpoints.
const FETCH_WITH_DIRECTORY: i16 = 17;
const FETCH_WITH_REPLICA_STATE: i16 = 15;

/// What a fetch brought.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// Batches that continue the position asked for (maybe none), unchecked.
    Records {
        /// As sent; may end inside of a batch.
        records: Bytes,
        /// The leader's high watermark, if it knows one yet.
        high_watermark: Option<Offset>,
    },
    /// The leader's log starts later: begin with this snapshot.
    Snapshot(OffsetAndEpoch),
    /// The leader's log parts from the asker's at (or before) this position.
    Diverging(OffsetAndEpoch),
}

/// Who leads, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Its node id, if it told.
    pub id: Option<NodeId>,
    /// Its epoch.
    pub epoch: Epoch,
}

/// A connection to whoever leads.
#[derive(Debug)]
pub struct Source {
    bootstrap: Vec<String>,
    replica: Option<ReplicaKey>,
    cluster_id: Option<String>,
    connection: Option<Connection>,
    leader: Option<Leader>,
    /// The highest epoch heard of; requests must name the leader's own.
    epoch: Epoch,
    /// Where the last answer said the leader is.
    hint: Option<String>,
    next: usize,
}

impl Source {
    /// Over these controllers (`host:port`; one that answers is enough). With `replica` the leader
    /// lists this process among its observers; without, it fetches anonymously. A `cluster_id` is
    /// sent along, so that another cluster refuses.
    pub fn new(
        bootstrap: Vec<String>,
        replica: Option<ReplicaKey>,
        cluster_id: Option<String>,
    ) -> Source {
        assert!(!bootstrap.is_empty(), "somebody must be asked");
        let (connection, leader, hint) = (None, None, None);
        Source { bootstrap, replica, cluster_id, connection, leader, epoch: 0, hint, next: 0 }
    }

    /// The leader of the last good answer.
    pub fn leader(&self) -> Option<Leader> {
        self.leader
    }

    /// Where the leader of the last good answer is.
    pub fn leader_address(&self) -> Option<&str> {
        self.connection.as_ref().map(Connection::address)
    }

    /// The cluster's id: as given, or as the first controller that answers says (KIP-919, from Kafka
    /// 3.7 on).
    pub fn cluster_id(&mut self) -> Result<String, ShadowError> {
        if let Some(known) = &self.cluster_id {
            return Ok(known.clone());
        }
        let mut said = Vec::new();
        for address in &self.bootstrap {
            let asked = Connection::connect(address, options())
                .and_then(|it| Admin::over(it).describe_cluster(CONTROLLERS));
            match asked {
                Ok(answer) => {
                    let id = answer.cluster_id.to_string();
                    self.cluster_id = Some(id.clone());
                    return Ok(id);
                }
                Err(ClientError::Unsupported { .. }) => said.push(format!(
                    "{address} is older than Kafka 3.7 and does not tell the cluster's id; give it \
                     with --cluster-id"
                )),
                Err(error) => said.push(error.to_string()),
            }
        }
        Err(ShadowError::Unreachable(said.join("; ")))
    }

    /// Records from `position` on. An error means: pause and call again; the next address is tried.
    pub fn fetch(
        &mut self,
        position: OffsetAndEpoch,
        high_watermark: Option<Offset>,
    ) -> Result<Fetched, ShadowError> {
        let answer = self.on_leader(|source, connection| {
            let version = connection.version_for(ApiKey::Fetch).unwrap_or_default();
            let wait_ms = MAX_WAIT_MS;
            let request = source.fetch_request(version, position, high_watermark, wait_ms);
            fetched_partition(connection, &AnyRequest::Fetch(request))
        })?;
        self.read_fetch(answer)
    }

    /// Id of the leader's newest snapshot, if it has one to serve. Asked by a fetch from a position
    /// that no log with snapshots still has: record 0 in epoch 0.
    pub fn newest_snapshot(&mut self) -> Result<Option<OffsetAndEpoch>, ShadowError> {
        let position = OffsetAndEpoch { offset: 1, epoch: 0 };
        let answer = self.on_leader(|source, connection| {
            let version = connection.version_for(ApiKey::Fetch).unwrap_or_default();
            let mut request = source.fetch_request(version, position, None, 0);
            // Never under a name: the leader would take the position for this replica's progress.
            request.replica_id = -1;
            request.replica_state = ReplicaState { replica_id: -1, ..Default::default() };
            fetched_partition(connection, &AnyRequest::Fetch(request))
        })?;
        match self.read_fetch(answer)? {
            Fetched::Snapshot(id) => Ok(Some(id)),
            Fetched::Records { .. } | Fetched::Diverging(_) => Ok(None),
        }
    }

    /// Bytes of a snapshot from `position` on, and the size of the whole. `None`: the leader no longer
    /// has it.
    pub fn fetch_snapshot(
        &mut self,
        id: OffsetAndEpoch,
        position: u64,
    ) -> Result<Option<(Bytes, u64)>, ShadowError> {
        let answer = self.on_leader(|source, connection| {
            let request = source.snapshot_request(id, position);
            let AnyResponse::FetchSnapshot(answer) =
                connection.send(&AnyRequest::FetchSnapshot(request))?
            else {
                return Err(unexpected(connection, "FetchSnapshot"));
            };
            let whole = answer.error_code;
            let hint = |node: NodeId| {
                let at = answer.node_endpoints.iter().find(|it| it.node_id == node)?;
                Some(host_port(&at.host, i32::from(at.port)))
            };
            refuse(connection, whole)?;
            let partition = only_snapshot(&answer)
                .ok_or_else(|| unexpected(connection, "FetchSnapshot without a partition"))?;
            let leader = partition.current_leader.clone();
            Ok((partition.clone(), hint(leader.leader_id), leader.leader_id, leader.leader_epoch))
        });
        let (partition, hint, leader_id, epoch) = answer?;
        match ErrorCode::from_code(partition.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::SnapshotNotFound) => return Ok(None),
            _ => return Err(self.redirected(partition.error_code, leader_id, epoch, hint)),
        }
        let here = u64::try_from(partition.position).ok();
        let size = u64::try_from(partition.size).unwrap_or(0);
        if here != Some(position) {
            let why = format!("asked for position {position}, got {}", partition.position);
            return Err(self.lose(ShadowError::Unreachable(why)));
        }
        Ok(Some((partition.unaligned_records, size)))
    }

    /// Runs one exchange with the presumed leader; a failure drops the connection.
    fn on_leader<T>(
        &mut self,
        ask: impl FnOnce(&Source, &mut Connection) -> Result<T, ShadowError>,
    ) -> Result<T, ShadowError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let address = self.hint.take().unwrap_or_else(|| {
                    self.next += 1;
                    self.bootstrap[(self.next - 1) % self.bootstrap.len()].clone()
                });
                Connection::connect(&address, options())?
            }
        };
        let result = ask(self, &mut connection);
        if result.is_ok() {
            self.connection = Some(connection);
        } else {
            self.leader = None;
        }
        result
    }

    fn fetch_request(
        &self,
        version: i16,
        position: OffsetAndEpoch,
        high_watermark: Option<Offset>,
        max_wait_ms: i32,
    ) -> FetchRequest {
        let id = self.replica.map_or(-1, |it| it.id);
        let directory = self.replica.and_then(|it| it.directory_id).unwrap_or_default();
        let mut partition = FetchPartition {
            partition: 0,
            current_leader_epoch: self.epoch,
            fetch_offset: position.offset,
            last_fetched_epoch: position.epoch,
            partition_max_bytes: FETCH_BYTES,
            ..Default::default()
        };
        if version >= FETCH_WITH_DIRECTORY {
            partition.replica_directory_id = directory;
        }
        if version > FETCH_WITH_DIRECTORY
            && let Some(known) = high_watermark
        {
            // The leader answers at once when its own has moved on from this one.
            partition.high_watermark = known;
        }
        let (replica_id, state_id) =
            if version < FETCH_WITH_REPLICA_STATE { (id, -1) } else { (-1, id) };
        FetchRequest {
            cluster_id: self.cluster_id.as_deref().map(KStr::from),
            replica_id,
            replica_state: ReplicaState { replica_id: state_id, ..Default::default() },
            max_wait_ms,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics: vec![FetchTopic {
                topic: METADATA_TOPIC,
                topic_id: quorate_base::Uuid::METADATA_TOPIC,
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn snapshot_request(&self, id: OffsetAndEpoch, position: u64) -> FetchSnapshotRequest {
        FetchSnapshotRequest {
            cluster_id: self.cluster_id.as_deref().map(KStr::from),
            replica_id: -1,
            max_bytes: FETCH_BYTES,
            topics: vec![fetch_snapshot_request::TopicSnapshot {
                name: METADATA_TOPIC,
                partitions: vec![fetch_snapshot_request::PartitionSnapshot {
                    partition: 0,
                    current_leader_epoch: self.epoch,
                    snapshot_id: fetch_snapshot_request::SnapshotId {
                        end_offset: id.offset,
                        epoch: id.epoch,
                        ..Default::default()
                    },
                    position: i64::try_from(position).unwrap_or(i64::MAX),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn read_fetch(
        &mut self,
        (partition, hint): (PartitionData, Option<String>),
    ) -> Result<Fetched, ShadowError> {
        let leader = &partition.current_leader;
        let (leader_id, epoch) = (leader.leader_id, leader.leader_epoch);
        if partition.error_code != ErrorCode::None.code() {
            return Err(self.redirected(partition.error_code, leader_id, epoch, hint));
        }
        if epoch >= 0 {
            self.epoch = epoch;
            self.leader = Some(Leader { id: (leader_id >= 0).then_some(leader_id), epoch });
        }
        let snapshot = &partition.snapshot_id;
        if snapshot.end_offset >= 0 && snapshot.epoch >= 0 {
            let (offset, epoch) = (snapshot.end_offset, snapshot.epoch);
            return Ok(Fetched::Snapshot(OffsetAndEpoch { offset, epoch }));
        }
        let diverging = &partition.diverging_epoch;
        if diverging.epoch >= 0 && diverging.end_offset >= 0 {
            let (offset, epoch) = (diverging.end_offset, diverging.epoch);
            return Ok(Fetched::Diverging(OffsetAndEpoch { offset, epoch }));
        }
        let high_watermark = Some(partition.high_watermark).filter(|it| *it >= 0);
        let records = partition.records.unwrap_or_default();
        Ok(Fetched::Records { records, high_watermark })
    }

    /// The one asked does not lead: the next question goes to the one it names, or around.
    fn redirected(
        &mut self,
        error_code: i16,
        leader_id: NodeId,
        epoch: Epoch,
        hint: Option<String>,
    ) -> ShadowError {
        let asked = self.leader_address().unwrap_or("nobody").to_owned();
        let stale = error_code == ErrorCode::FencedLeaderEpoch.code() && epoch > self.epoch;
        self.epoch = self.epoch.max(epoch);
        let elsewhere = hint.filter(|it| *it != asked);
        if stale && elsewhere.is_none() {
            // It may well lead: ask it again, in its own epoch.
            return ShadowError::Again;
        }
        self.hint = elsewhere;
        let name = ErrorCode::from_code(error_code)
            .map_or_else(|| format!("error {error_code}"), |it| it.name().to_owned());
        let why = format!("{asked} answered {name} (leader {leader_id}, epoch {epoch})");
        self.lose(ShadowError::Unreachable(why))
    }

    fn lose(&mut self, why: ShadowError) -> ShadowError {
        self.connection = None;
        self.leader = None;
        why
    }
}

fn fetched_partition(
    connection: &mut Connection,
    request: &AnyRequest,
) -> Result<(PartitionData, Option<String>), ShadowError> {
    let AnyResponse::Fetch(answer) = connection.send(request)? else {
        return Err(unexpected(connection, "Fetch"));
    };
    refuse(connection, answer.error_code)?;
    let FetchResponse { responses, node_endpoints, .. } = answer;
    let partition = responses.into_iter().flat_map(|it| it.partitions).next();
    let partition =
        partition.ok_or_else(|| unexpected(connection, "a Fetch without a partition"))?;
    let leader = partition.current_leader.leader_id;
    let hint = node_endpoints.iter().find(|it| it.node_id == leader && leader >= 0);
    Ok((partition, hint.map(|it| host_port(&it.host, it.port))))
}

fn only_snapshot(
    answer: &FetchSnapshotResponse,
) -> Option<&fetch_snapshot_response::PartitionSnapshot> {
    answer.topics.iter().flat_map(|it| &it.partitions).next()
}

fn refuse(connection: &Connection, error_code: i16) -> Result<(), ShadowError> {
    let address = connection.address();
    match ErrorCode::from_code(error_code) {
        Some(ErrorCode::None) => Ok(()),
        Some(ErrorCode::InconsistentClusterId) => {
            Err(ShadowError::OtherCluster { address: address.to_owned() })
        }
        other => {
            let name = other.map_or_else(|| error_code.to_string(), |it| it.name().to_owned());
            Err(ShadowError::Unreachable(format!("{address} answered {name}")))
        }
    }
}

fn unexpected(connection: &Connection, what: &str) -> ShadowError {
    ShadowError::Unreachable(format!("{} answered {what} wrongly", connection.address()))
}

fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn options() -> Options {
    Options {
        client_id: "quorate-shadow".to_owned(),
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(10),
    }
}
