//! A driver for one node without threads or disks: the test decides when the disk syncs.

use quorate_base::{Now, Offset, OffsetAndEpoch, Time, Uuid};
use quorate_controller::{ControllerConfig, OwnRegistration, RequestContext};
use quorate_metadata::{Listener, Str};
use quorate_node::{Action, Event, LogAppend, Node, NodeConfig, Recovered, SnapshotPolicy, Token};
use quorate_protocol::features::{self, MetadataVersion};
use quorate_protocol::messages::broker_registration_request::{
    Feature, Listener as BrokerListener,
};
use quorate_protocol::messages::create_topics_request::CreatableTopic;
use quorate_protocol::messages::{
    BrokerHeartbeatRequest, BrokerRegistrationRequest, CreateTopicsRequest,
};
use quorate_protocol::records::FeatureLevelRecord;
use quorate_protocol::{AnyRequest, AnyResponse, KStr, MetadataRecord};
use quorate_raft::{ElectionState, Endpoint, LogSummary};
use std::collections::BTreeMap;
use std::time::Duration;

pub const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
pub const DIRECTORY: Uuid = Uuid::from_u128(0xD1);

pub struct Driver {
    pub node: Node,
    pub now: Now,
    /// What is synced, in order.
    pub disk: Vec<LogAppend>,
    /// What is appended and not synced.
    pub unsynced: Vec<LogAppend>,
    pub election_state: Option<ElectionState>,
    pub responses: BTreeMap<Token, AnyResponse>,
    pub snapshots: Vec<(OffsetAndEpoch, quorate_metadata::Image)>,
    pub published: Option<(Offset, u64)>,
    pub fatal: Option<String>,
    config: NodeConfig,
    next_token: Token,
    /// With false, `Persisted` waits for [`Driver::sync`].
    pub sync_at_once: bool,
}

pub fn config() -> NodeConfig {
    let mut raft = quorate_raft::Config::new(1, DIRECTORY, CLUSTER);
    raft.listeners =
        vec![Endpoint { name: "CONTROLLER".into(), host: "127.0.0.1".into(), port: 9093 }];
    raft.static_voters = Some(vec![(1, "127.0.0.1".into(), 9093)]);
    raft.seed = 7;
    let level = MetadataVersion::LATEST_PRODUCTION.level();
    let features: BTreeMap<Str, (i16, i16)> =
        features::advertised().map(|(name, low, high)| (Str::from(name), (low, high))).collect();
    let controller = ControllerConfig {
        node_id: 1,
        cluster_id: Str::from(CLUSTER),
        own_registration: OwnRegistration {
            incarnation_id: Uuid::from_u128(0x1001),
            listeners: vec![Listener {
                name: Str::from("CONTROLLER"),
                host: Str::from("127.0.0.1"),
                port: 9093,
                security_protocol: 0,
            }],
            features: features.clone(),
        },
        supported_features: features,
        bootstrap_records: vec![MetadataRecord::FeatureLevel(FeatureLevelRecord {
            name: KStr::from("metadata.version"),
            feature_level: level,
            ..Default::default()
        })],
        ..Default::default()
    };
    NodeConfig {
        raft,
        controller,
        snapshots: SnapshotPolicy { max_bytes_between: 1 << 20, max_interval: Duration::ZERO },
        tail_max_bytes: 1 << 20,
    }
}

impl Driver {
    pub fn start(config: NodeConfig) -> Driver {
        Driver::boot(config, Vec::new(), None, Now { time: Time::ZERO, wall_ms: 1_800_000_000_000 })
    }

    fn boot(
        config: NodeConfig,
        disk: Vec<LogAppend>,
        election_state: Option<ElectionState>,
        now: Now,
    ) -> Driver {
        let mut recovered = Recovered::nothing();
        recovered.raft.quorum_state = election_state.clone();
        recovered.raft.log = summary(&disk);
        let mut actions = Vec::new();
        let node = Node::new(config.clone(), recovered, now, &mut actions);
        let mut driver = Driver {
            node,
            now,
            disk,
            unsynced: Vec::new(),
            election_state,
            responses: BTreeMap::new(),
            snapshots: Vec::new(),
            published: None,
            fatal: None,
            config,
            next_token: 1,
            sync_at_once: true,
        };
        driver.execute(actions);
        driver
    }

    /// The process dies, losing what is not synced, and starts again.
    pub fn crash_and_restart(self) -> Driver {
        let now =
            Now { time: self.now.time + Duration::from_millis(5), wall_ms: self.now.wall_ms + 5 };
        Driver::boot(self.config, self.disk, self.election_state, now)
    }

    pub fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.node.step(self.now, event, &mut actions);
        self.execute(actions);
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::PersistElectionState(state) => self.election_state = Some(state),
                Action::AppendLog(batch) => self.unsynced.push(batch),
                Action::TruncateLog { .. } => panic!("a lone voter never truncates"),
                Action::Respond { token, response } => {
                    let before = self.responses.insert(token, response);
                    assert!(before.is_none(), "request {token} was answered twice");
                }
                Action::ReadLog { from, end, .. } => {
                    let batches: Vec<u8> = self
                        .disk
                        .iter()
                        .filter(|batch| batch.end_offset > from && batch.end_offset <= end)
                        .flat_map(|batch| batch.bytes.iter().copied())
                        .collect();
                    self.step(Event::LogRead { from, batches: Ok(batches.into()) });
                }
                Action::WriteSnapshot { id, image, .. } => {
                    self.snapshots.push((id, image));
                    self.step(Event::SnapshotWritten { id, size_bytes: 1 });
                }
                Action::Publish { image, offset } => {
                    self.published = Some((offset, image.content_hash()));
                }
                Action::Fatal { message } => self.fatal = Some(message),
                Action::RoleChanged { .. } | Action::Log { .. } => {}
                other => panic!("a lone voter does not ask for {other:?}"),
            }
        }
        if self.sync_at_once {
            self.sync();
        }
    }

    /// The disk syncs everything appended so far.
    pub fn sync(&mut self) {
        if let Some(last) = self.unsynced.last() {
            let end = OffsetAndEpoch { offset: last.end_offset, epoch: last.epoch };
            self.disk.append(&mut self.unsynced);
            self.step(Event::Persisted { end });
        }
    }

    /// Sends a request and returns its token.
    pub fn send(&mut self, api_version: i16, request: impl Into<AnyRequest>) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        let context = RequestContext::internal(api_version);
        self.step(Event::Request { token, context, request: request.into() });
        token
    }

    /// Sends a request that is answered at once or after the sync that follows.
    pub fn ask(&mut self, api_version: i16, request: impl Into<AnyRequest>) -> AnyResponse {
        let token = self.send(api_version, request);
        self.responses.remove(&token).expect("the request is answered")
    }

    /// Time passes; due timeouts are sent.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now.time + duration;
        loop {
            let next = self.node.next_timeout().map(|(time, _)| time.max(self.now.time));
            let Some(next) = next.filter(|next| *next <= end) else { break };
            let step = next.since(self.now.time).max(Duration::from_millis(1));
            self.advance(step);
            self.step(Event::Timeout);
        }
        self.advance(end.since(self.now.time));
    }

    fn advance(&mut self, by: Duration) {
        self.now.time = self.now.time + by;
        self.now.wall_ms += i64::try_from(by.as_millis()).expect("tests are short");
    }

    /// Registers a broker and unfences it; returns its epoch.
    pub fn broker(&mut self, id: i32) -> i64 {
        let registered =
            self.ask(4, registration(id, u128::try_from(id).expect("ids are small") + 0x2000));
        let AnyResponse::BrokerRegistration(registered) = registered else {
            panic!("{registered:?}")
        };
        assert_eq!(registered.error_code, 0);
        let beat = self.ask(2, heartbeat(id, registered.broker_epoch));
        let AnyResponse::BrokerHeartbeat(beat) = beat else { panic!("{beat:?}") };
        assert_eq!((beat.error_code, beat.is_fenced), (0, false));
        registered.broker_epoch
    }
}

fn summary(disk: &[LogAppend]) -> LogSummary {
    let mut epoch_starts: Vec<(i32, Offset)> = Vec::new();
    for batch in disk {
        if epoch_starts.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
            epoch_starts.push((batch.epoch, batch.base_offset));
        }
    }
    let end = disk.last().map_or(OffsetAndEpoch::default(), |last| OffsetAndEpoch {
        offset: last.end_offset,
        epoch: last.epoch,
    });
    LogSummary { start: 0, end, epoch_starts }
}

pub fn registration(id: i32, incarnation: u128) -> BrokerRegistrationRequest {
    BrokerRegistrationRequest {
        broker_id: id,
        cluster_id: KStr::from(CLUSTER),
        incarnation_id: Uuid::from_u128(incarnation),
        listeners: vec![BrokerListener {
            name: KStr::from("PLAINTEXT"),
            host: KStr::from("127.0.0.1"),
            port: 9000 + u16::try_from(id).expect("ids are small"),
            security_protocol: 0,
            ..Default::default()
        }],
        features: features::advertised()
            .filter(|(name, _, _)| *name != "kraft.version")
            .map(|(name, min_supported_version, max_supported_version)| Feature {
                name: KStr::from(name),
                min_supported_version,
                max_supported_version,
                ..Default::default()
            })
            .collect(),
        rack: None,
        log_dirs: vec![Uuid::from_u128(0x3000 + incarnation)],
        ..Default::default()
    }
}

pub fn heartbeat(id: i32, epoch: i64) -> BrokerHeartbeatRequest {
    BrokerHeartbeatRequest {
        broker_id: id,
        broker_epoch: epoch,
        current_metadata_offset: epoch,
        ..Default::default()
    }
}

pub fn create_topic(name: &str, partitions: i32, replication_factor: i16) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: KStr::from(name),
            num_partitions: partitions,
            replication_factor,
            ..Default::default()
        }],
        ..Default::default()
    }
}
