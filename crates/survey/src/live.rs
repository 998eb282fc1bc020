//! The metadata log of a running quorum, read from outside: as an observer that never votes.
//!
//! A [`LiveLog`] asks as a follower does (Fetch, FetchSnapshot; KIP-595, KIP-630), of Kafka's
//! controllers or ours, and hands out what it is told, checked. It keeps nothing but its place.
//! Nothing here sleeps or repeats by itself: [`LiveLog::poll`] is one question and its answer.

use bytes::Bytes;
use quorate_base::{Epoch, Offset, OffsetAndEpoch, ReplicaKey, Uuid};
use quorate_client::{ClientError, Connection, Options};
use quorate_protocol::batch::{BatchError, BatchHeader};
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use quorate_protocol::messages::fetch_response;
use quorate_protocol::messages::fetch_snapshot_request::{
    PartitionSnapshot, SnapshotId, TopicSnapshot,
};
use quorate_protocol::messages::{FetchRequest, FetchSnapshotRequest, fetch_snapshot_response};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode};
use quorate_storage::check_fetched;
use std::collections::BTreeSet;
use std::time::Duration;

const TOPIC: &str = "__cluster_metadata";
/// Topics have ids from here on; Kafka's raft layer refuses older requests.
const FETCH_VERSION_MIN: i16 = 13;
/// Kafka's largest batch: asked for less, a server still answers a whole one.
const FETCH_BYTES: i32 = 8 * 1024 * 1024;

/// Whom to ask, and as whom.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// `host:port` of controllers; one that answers is enough.
    pub bootstrap: Vec<String>,
    /// The cluster that is expected; another one refuses.
    pub cluster_id: Option<String>,
    /// An id to be listed under as an observer; `None`: anonymous. It must not be a voter's.
    pub replica: Option<ReplicaKey>,
    /// How long the leader may hold an answer back when there is nothing new.
    pub max_wait: Duration,
    /// How to connect.
    pub client: Options,
}

impl LiveOptions {
    /// An anonymous observer that asks these addresses.
    pub fn anonymous(bootstrap: Vec<String>) -> LiveOptions {
        let client = Options { client_id: "quorate-observer".to_owned(), ..Options::default() };
        let max_wait = Duration::from_millis(500);
        LiveOptions { bootstrap, cluster_id: None, replica: None, max_wait, client }
    }
}

/// Why the log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The quorum belongs to another cluster.
    #[error("{address} belongs to another cluster than {expected}")]
    OtherCluster {
        /// Who said so.
        address: String,
        /// The cluster that was asked for.
        expected: String,
    },
    /// The leader refuses an observer.
    #[error("{address} refuses to be read from: {error}")]
    Refused {
        /// Who refuses.
        address: String,
        /// Kafka's name of the error.
        error: String,
    },
    /// The leader sent batches that do not continue the log, or are damaged.
    #[error("what {address} sent behind offset {offset} cannot be used: {source}")]
    BadBatches {
        /// Who sent them.
        address: String,
        /// Where the log ends so far.
        offset: Offset,
        /// What is wrong.
        source: BatchError,
    },
    /// A snapshot that cannot be read.
    #[error("the snapshot with {id} that the leader sent cannot be used: {why}")]
    BadSnapshot {
        /// The snapshot.
        id: OffsetAndEpoch,
        /// What is wrong.
        why: String,
    },
    /// A record that cannot be applied.
    #[error(transparent)]
    Load(#[from] quorate_metadata::LoadError),
    /// Where the snapshot was to be put, it could not be put.
    #[error("cannot keep the snapshot: {0}")]
    Sink(std::io::Error),
    /// Nobody led for the whole time.
    #[error("no leader was found: {}", answers.iter().map(|(a, w)| format!("{a}: {w}")).collect::<Vec<_>>().join("; "))]
    NoLeader {
        /// Address and what came of it.
        answers: Vec<(String, String)>,
    },
    /// The log does not reach back (or forward) to the offset that was asked for.
    #[error("{0}")]
    OutOfReach(String),
}

/// The answer to one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// What is wanted next is only in this snapshot: [`LiveLog::fetch_snapshot`], then
    /// [`LiveLog::installed`]. Everything before is void.
    Snapshot(OffsetAndEpoch),
    /// Whole, checked batches that continue the log; those that end above
    /// [`LiveLog::high_watermark`] may yet become void.
    Records(Bytes),
    /// What was handed out from this offset on is void. At offset 0 everything is, snapshots too.
    Diverged(OffsetAndEpoch),
    /// Nothing new; the high watermark may have moved.
    Idle,
    /// Nobody leads, or none can be reached: each address asked and what came of it.
    NoLeader(Vec<(String, String)>),
}

/// A place in the log of a running quorum.
#[derive(Debug)]
pub struct LiveLog {
    options: LiveOptions,
    connection: Option<Connection>,
    /// Where the leader says it is; asked before the bootstrap list.
    hint: Option<String>,
    epoch: Epoch,
    high_watermark: Option<Offset>,
    end: OffsetAndEpoch,
    /// Start of what was handed out: 0, or the end of the last snapshot.
    start: OffsetAndEpoch,
    /// Epochs that began in what was handed out, ascending, each with its first offset.
    epochs: Vec<(Epoch, Offset)>,
}

impl LiveLog {
    /// Starts at the beginning of the log.
    pub fn new(options: LiveOptions) -> LiveLog {
        LiveLog {
            options,
            connection: None,
            hint: None,
            epoch: 0,
            high_watermark: None,
            end: OffsetAndEpoch::default(),
            start: OffsetAndEpoch::default(),
            epochs: Vec::new(),
        }
    }

    /// Goes on where an earlier one ended: the caller has everything from `start` (0, or the end of
    /// a snapshot) to `end`, with these epochs beginning in between.
    pub fn resume(
        options: LiveOptions,
        start: OffsetAndEpoch,
        end: OffsetAndEpoch,
        epochs: Vec<(Epoch, Offset)>,
    ) -> LiveLog {
        LiveLog { start, end, epochs, epoch: end.epoch, ..LiveLog::new(options) }
    }

    /// Where the log ends that was handed out so far.
    pub fn end(&self) -> OffsetAndEpoch {
        self.end
    }

    /// The leader's high watermark, as of its last answer.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// The leader's epoch, as far as known.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// `host:port` of the leader that answered last.
    pub fn leader_address(&self) -> Option<&str> {
        self.connection.as_ref().map(Connection::address)
    }

    /// The connection to the leader, for other questions.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Asks the leader what follows; finds it first where needed.
    pub fn poll(&mut self) -> Result<Step, LiveError> {
        let mut answers = Vec::new();
        let mut asked = BTreeSet::new();
        if self.connection.is_some() {
            match self.ask(&mut answers)? {
                Some(step) => return Ok(step),
                None => self.connection = None,
            }
        }
        let mut next = self.options.bootstrap.clone().into_iter();
        while let Some(address) = self.hint.take().or_else(|| next.next()) {
            // Once per address and epoch: two that name each other would keep us busy.
            if !asked.insert((address.clone(), self.epoch)) {
                continue;
            }
            match Connection::connect(&address, self.options.client.clone()) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    answers.push((address, error.to_string()));
                    continue;
                }
            }
            if let Some(step) = self.ask(&mut answers)? {
                return Ok(step);
            }
            self.connection = None;
        }
        Ok(Step::NoLeader(answers))
    }

    /// Asks the node at hand; `None` if it does not lead.
    fn ask(&mut self, answers: &mut Vec<(String, String)>) -> Result<Option<Step>, LiveError> {
        // Twice: the first answer may only tell the epoch.
        for _ in 0..2 {
            let Some(connection) = self.connection.as_mut() else { return Ok(None) };
            let address = connection.address().to_owned();
            let version = connection.version_for(ApiKey::Fetch);
            if version.is_none_or(|version| version < FETCH_VERSION_MIN) {
                answers.push((address, "it does not serve the metadata log".to_owned()));
                return Ok(None);
            }
            let request = AnyRequest::Fetch(self.fetch_request());
            let Some(connection) = self.connection.as_mut() else { return Ok(None) };
            let answer = match connection.send(&request) {
                Ok(AnyResponse::Fetch(answer)) => answer,
                Ok(other) => {
                    answers.push((address, format!("answered by {:?}", other.api_key())));
                    return Ok(None);
                }
                Err(error) => {
                    answers.push((address, error.to_string()));
                    return Ok(None);
                }
            };
            let endpoints = answer.node_endpoints;
            let code = answer.error_code;
            let partition = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
            let partition = partition.unwrap_or_default();
            let code = if code == 0 { partition.error_code } else { code };
            if code == 0 {
                return self.accept(&address, partition).map(Some);
            }
            let leader_id = partition.current_leader.leader_id;
            let knew = self.epoch;
            self.epoch = self.epoch.max(partition.current_leader.leader_epoch);
            let endpoint = endpoints.iter().find(|it| it.node_id == leader_id && leader_id >= 0);
            let leader_at = endpoint.map(|it| host_port(&it.host, it.port));
            match self.refusal(&address, code)? {
                // It may lead all the same, in the epoch that it has just told.
                why if why == ErrorCode::FencedLeaderEpoch.name() && self.epoch > knew => {}
                why => {
                    self.hint = leader_at.filter(|at| *at != address);
                    answers.push((address, why));
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn fetch_request(&self) -> FetchRequest {
        let replica_state = ReplicaState {
            replica_id: self.options.replica.map_or(-1, |key| key.id),
            ..Default::default()
        };
        FetchRequest {
            cluster_id: self.options.cluster_id.as_deref().map(Into::into),
            // Versions below 15 say it here.
            replica_id: -1,
            replica_state,
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 0,
            max_bytes: FETCH_BYTES,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: TOPIC.into(),
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: self.epoch,
                    fetch_offset: self.end.offset,
                    last_fetched_epoch: self.end.epoch,
                    log_start_offset: -1,
                    partition_max_bytes: 0,
                    replica_directory_id: self
                        .options
                        .replica
                        .and_then(|key| key.directory_id)
                        .unwrap_or(Uuid::ZERO),
                    // Unknown is "the largest": the leader does not answer early for it.
                    high_watermark: self.high_watermark.unwrap_or(Offset::MAX),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn accept(
        &mut self,
        address: &str,
        partition: fetch_response::PartitionData,
    ) -> Result<Step, LiveError> {
        self.epoch = self.epoch.max(partition.current_leader.leader_epoch);
        if partition.high_watermark >= 0 {
            self.high_watermark = Some(partition.high_watermark);
        }
        let snapshot = partition.snapshot_id;
        if snapshot.end_offset >= 0 && snapshot.epoch >= 0 {
            let (offset, epoch) = (snapshot.end_offset, snapshot.epoch);
            return Ok(Step::Snapshot(OffsetAndEpoch { offset, epoch }));
        }
        let diverging = partition.diverging_epoch;
        if diverging.epoch >= 0 || diverging.end_offset >= 0 {
            return Ok(Step::Diverged(self.truncate(diverging.epoch, diverging.end_offset)));
        }
        let bad =
            |offset, source| LiveError::BadBatches { address: address.into(), offset, source };
        let records = partition.records.unwrap_or_default();
        let end = self.end;
        let whole = check_fetched(&records, end.offset, end.epoch, self.epoch)
            .map_err(|source| bad(end.offset, source))?;
        if whole.is_empty() {
            return Ok(Step::Idle);
        }
        self.note(&whole).map_err(|source| bad(end.offset, source))?;
        Ok(Step::Records(whole))
    }

    /// Moves the end behind these batches, which were checked.
    fn note(&mut self, batches: &Bytes) -> Result<(), BatchError> {
        let mut at = 0;
        while at < batches.len() {
            let header = BatchHeader::parse(&batches[at..])?;
            let epoch = header.partition_leader_epoch;
            if self.epochs.last().is_none_or(|(last, _)| *last != epoch) {
                self.epochs.push((epoch, header.base_offset));
            }
            self.end = OffsetAndEpoch { offset: header.end_offset(), epoch };
            at += header.size();
        }
        Ok(())
    }

    /// The leader's log has this epoch, or an earlier one, up to `offset`: finds where both logs
    /// are the same, and goes back there.
    fn truncate(&mut self, epoch: Epoch, offset: Offset) -> OffsetAndEpoch {
        let after = self.epochs.partition_point(|(it, _)| *it <= epoch);
        let ours = match after.checked_sub(1) {
            Some(i) => {
                let end = self.epochs.get(after).map_or(self.end.offset, |(_, start)| *start);
                OffsetAndEpoch { offset: end.min(offset), epoch: self.epochs[i].0 }
            }
            None if self.start.epoch <= epoch => self.start,
            None => OffsetAndEpoch::default(),
        };
        let to = if ours.offset < self.start.offset { OffsetAndEpoch::default() } else { ours };
        if to == OffsetAndEpoch::default() {
            self.start = to;
        }
        self.epochs.retain(|(_, start)| *start < to.offset);
        self.end = to;
        to
    }

    /// Hands the whole file of a snapshot to `sink`, in pieces. `false`: the leader changed or the
    /// snapshot is gone; forget the pieces and poll again.
    pub fn fetch_snapshot(
        &mut self,
        id: OffsetAndEpoch,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), LiveError>,
    ) -> Result<bool, LiveError> {
        let mut position = 0;
        loop {
            let request = AnyRequest::FetchSnapshot(self.snapshot_request(id, position));
            let Some(connection) = self.connection.as_mut() else { return Ok(false) };
            let address = connection.address().to_owned();
            let answer = match connection.send(&request) {
                Ok(AnyResponse::FetchSnapshot(answer)) => answer,
                Ok(_) | Err(ClientError::Unsupported { .. }) => {
                    let error = "it does not serve snapshots".to_owned();
                    return Err(LiveError::Refused { address, error });
                }
                Err(_) => {
                    self.connection = None;
                    return Ok(false);
                }
            };
            let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
            let partition: fetch_snapshot_response::PartitionSnapshot =
                partition.unwrap_or_default();
            let code =
                if answer.error_code == 0 { partition.error_code } else { answer.error_code };
            if code != 0 {
                self.refusal(&address, code)?;
                self.connection = None;
                return Ok(false);
            }
            let chunk = &partition.unaligned_records;
            let bad = |why: &str| LiveError::BadSnapshot { id, why: why.to_owned() };
            let told = &partition.snapshot_id;
            if (told.end_offset, told.epoch) != (id.offset, id.epoch) {
                return Err(bad("the answer is about another snapshot"));
            }
            if partition.position != position {
                return Err(bad("the answer is about another position"));
            }
            sink(chunk)?;
            position += chunk.len() as i64;
            if position >= partition.size {
                return Ok(true);
            }
            if chunk.is_empty() {
                return Err(bad("an empty piece came before its end"));
            }
        }
    }

    fn snapshot_request(&self, id: OffsetAndEpoch, position: i64) -> FetchSnapshotRequest {
        FetchSnapshotRequest {
            cluster_id: self.options.cluster_id.as_deref().map(Into::into),
            replica_id: self.options.replica.map_or(-1, |key| key.id),
            max_bytes: FETCH_BYTES,
            topics: vec![TopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![PartitionSnapshot {
                    partition: 0,
                    current_leader_epoch: self.epoch,
                    snapshot_id: SnapshotId {
                        end_offset: id.offset,
                        epoch: id.epoch,
                        ..Default::default()
                    },
                    position,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    /// The snapshot is in place: the log goes on behind it.
    pub fn installed(&mut self, id: OffsetAndEpoch) {
        (self.start, self.end) = (id, id);
        self.epochs.clear();
    }

    /// An error that others may not have is told by its name; one that all will have ends it.
    fn refusal(&self, address: &str, code: i16) -> Result<String, LiveError> {
        let Some(error) = ErrorCode::from_code(code) else { return Ok(format!("error {code}")) };
        match error {
            ErrorCode::InconsistentClusterId => Err(LiveError::OtherCluster {
                address: address.to_owned(),
                expected: self.options.cluster_id.clone().unwrap_or_default(),
            }),
            ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TopicAuthorizationFailed
            | ErrorCode::InvalidRequest => {
                let (address, error) = (address.to_owned(), error.name().to_owned());
                Err(LiveError::Refused { address, error })
            }
            other => Ok(other.name().to_owned()),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(start: OffsetAndEpoch, epochs: &[(Epoch, Offset)], end: OffsetAndEpoch) -> LiveLog {
        LiveLog::resume(LiveOptions::anonymous(Vec::new()), start, end, epochs.to_vec())
    }

    fn at(offset: Offset, epoch: Epoch) -> OffsetAndEpoch {
        OffsetAndEpoch { offset, epoch }
    }

    #[test]
    fn goes_back_to_where_both_logs_are_the_same() {
        let epochs = [(1, 0), (2, 10), (4, 20)];
        for (told, expected) in [
            ((2, 15), at(15, 2)),
            ((2, 25), at(20, 2)),
            ((3, 25), at(20, 2)),
            ((4, 22), at(22, 4)),
            ((0, 0), at(0, 0)),
        ] {
            let mut log = log(at(0, 0), &epochs, at(30, 4));
            assert_eq!(log.truncate(told.0, told.1), expected, "{told:?}");
            assert_eq!(log.end(), expected);
        }
    }

    #[test]
    fn what_lies_below_the_snapshot_starts_anew() {
        let mut log = log(at(100, 3), &[(4, 100)], at(130, 4));
        assert_eq!(log.truncate(3, 110), at(100, 3));
        assert_eq!(log.truncate(2, 50), at(0, 0));
        assert_eq!(log.start, at(0, 0));
    }
}
