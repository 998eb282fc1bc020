//! A controller with a stand-in for raft: a log that takes appends at its end and commits when told.
#![allow(dead_code, reason = "each test file uses its part of the world")]

use quorate_base::{NodeId, Now, Offset, Time, Uuid};
use quorate_controller::{
    Action, Controller, ControllerConfig, Event, LogLevel, OwnRegistration, RaftView,
    RequestContext, Token,
};
use quorate_metadata::{Listener, Str};
use quorate_protocol::features::{Feature, advertised};
use quorate_protocol::messages::broker_registration_request as registration;
use quorate_protocol::messages::*;
use quorate_protocol::records::FeatureLevelRecord;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr, MetadataRecord};
use std::collections::BTreeMap;
use std::time::Duration;

pub const CLUSTER_ID: &str = "AAAAAAAAQACAAAAAAAAAAA";
pub const SESSION: Duration = Duration::from_secs(9);

pub struct World {
    pub controller: Controller,
    pub now: Now,
    pub raft: RaftView,
    /// Offset of the next record.
    pub end: Offset,
    /// Everything appended, by append: offset of the first record, and the records.
    pub appends: Vec<(Offset, Vec<(MetadataRecord, i16)>)>,
    pub answers: BTreeMap<Token, AnyResponse>,
    pub upgrades: Vec<(Token, u16, bool)>,
    pub fatal: Option<String>,
    pub told: Vec<(LogLevel, String)>,
    next_token: Token,
}

pub fn feature_record(feature: Feature, level: i16) -> MetadataRecord {
    let name = KStr::from_static(feature.name());
    FeatureLevelRecord { name, feature_level: level, ..Default::default() }.into()
}

pub fn config(metadata_version: i16) -> ControllerConfig {
    ControllerConfig {
        node_id: 1,
        cluster_id: Str::from(CLUSTER_ID),
        own_registration: OwnRegistration {
            incarnation_id: Uuid::from_u128(0xc0ffee00),
            listeners: vec![Listener {
                name: Str::from("CONTROLLER"),
                host: Str::from("127.0.0.1"),
                port: 9093,
                security_protocol: 0,
            }],
            features: advertised().map(|(name, min, max)| (Str::from(name), (min, max))).collect(),
        },
        bootstrap_records: vec![feature_record(Feature::MetadataVersion, metadata_version)],
        bootstrap_source: Str::from("the test"),
        ..Default::default()
    }
}

impl World {
    /// Not active, with raft's first control record at offset 0.
    pub fn new(config: ControllerConfig) -> World {
        World {
            controller: Controller::new(config, 7),
            now: Now { time: Time::from_millis(1_000), wall_ms: 1_700_000_000_000 },
            raft: RaftView { leader: Some(1), epoch: 1, kraft_version: 1, voters: vec![1] },
            end: 1,
            appends: Vec::new(),
            answers: BTreeMap::new(),
            upgrades: Vec::new(),
            fatal: None,
            told: Vec::new(),
            next_token: 0,
        }
    }

    /// Active with everything it wrote committed.
    pub fn active(metadata_version: i16) -> World {
        World::active_with(config(metadata_version))
    }

    pub fn active_with(config: ControllerConfig) -> World {
        let mut world = World::new(config);
        world.step(Event::Committed { end_offset: 1 });
        world.step(Event::Activated { epoch: 1 });
        world.commit();
        world.appends.clear();
        world
    }

    pub fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.controller.step(self.now, self.end, self.raft.clone(), event, &mut actions);
        for action in actions {
            match action {
                Action::Append { records } => {
                    let base_offset = self.end;
                    self.end += records.len() as Offset;
                    self.appends.push((base_offset, records));
                }
                Action::Respond { token, response } => {
                    assert!(self.answers.insert(token, response).is_none(), "answered twice");
                }
                Action::UpgradeKraftVersion { token, level, validate_only } => {
                    self.upgrades.push((token, level, validate_only));
                }
                Action::Fatal { message } => self.fatal = Some(message),
                Action::Resign { why } => panic!("resigned: {why}"),
                Action::Log { level, message } => self.told.push((level, message)),
            }
        }
    }

    /// Sends a request in the newest version.
    pub fn send(&mut self, request: AnyRequest) -> Token {
        let version = *request.api_key().versions().end();
        self.send_version(request, version)
    }

    pub fn send_version(&mut self, request: AnyRequest, version: i16) -> Token {
        self.next_token += 1;
        let received_at = self.now.time;
        let context = RequestContext { received_at, ..RequestContext::internal(version) };
        self.step(Event::Request { token: self.next_token, context, request });
        self.next_token
    }

    /// Sends a request, commits what it led to, and takes the answer.
    pub fn ask(&mut self, request: AnyRequest) -> AnyResponse {
        let token = self.send(request);
        self.commit();
        self.answers.remove(&token).expect("answered")
    }

    /// Everything appended so far is committed.
    pub fn commit(&mut self) {
        self.step(Event::Committed { end_offset: self.end });
    }

    pub fn wait(&mut self, time: Duration) {
        self.now.time = self.now.time + time;
        self.now.wall_ms += time.as_millis() as i64;
    }

    /// Goes to the next timeout and lets it happen; says why it was wanted.
    pub fn timeout(&mut self) -> &'static str {
        let (time, why) = self.controller.next_timeout().expect("a timeout is set");
        self.now.time = self.now.time.max(time);
        self.step(Event::Timeout);
        why
    }

    /// Names of all records appended so far, in order.
    pub fn written(&self) -> Vec<&'static str> {
        self.appends.iter().flat_map(|(_, it)| it).map(|(record, _)| record.name()).collect()
    }

    /// The records appended so far, which are forgotten with that.
    pub fn take_records(&mut self) -> Vec<(MetadataRecord, i16)> {
        std::mem::take(&mut self.appends).into_iter().flat_map(|(_, it)| it).collect()
    }

    /// Registers a broker and unfences it; gives its epoch.
    pub fn bring_up(&mut self, id: NodeId) -> i64 {
        let epoch = self.register(id);
        let answer = self.beat(id, epoch, Wants::Nothing);
        assert!(!answer.is_fenced, "broker {id} is unfenced");
        epoch
    }

    pub fn register(&mut self, id: NodeId) -> i64 {
        let answer = self.try_register(broker(id));
        assert_eq!(answer.error_code, 0, "broker {id} registers");
        answer.broker_epoch
    }

    pub fn try_register(
        &mut self,
        request: BrokerRegistrationRequest,
    ) -> BrokerRegistrationResponse {
        match self.ask(AnyRequest::BrokerRegistration(request)) {
            AnyResponse::BrokerRegistration(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat of a broker that has read everything committed.
    pub fn beat(&mut self, id: NodeId, epoch: i64, wants: Wants) -> BrokerHeartbeatResponse {
        let read = self.controller.committed_offset() - 1;
        self.beat_at(id, epoch, read, wants)
    }

    pub fn beat_at(
        &mut self,
        id: NodeId,
        epoch: i64,
        current_metadata_offset: Offset,
        wants: Wants,
    ) -> BrokerHeartbeatResponse {
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: epoch,
            current_metadata_offset,
            want_fence: matches!(wants, Wants::Fence | Wants::FenceAndShutDown),
            want_shut_down: matches!(wants, Wants::ShutDown | Wants::FenceAndShutDown),
            ..Default::default()
        };
        self.try_beat(request)
    }

    pub fn try_beat(&mut self, request: BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        match self.ask(AnyRequest::BrokerHeartbeat(request)) {
            AnyResponse::BrokerHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A topic with one partition on exactly these brokers.
    pub fn create_topic(&mut self, name: &str, brokers: &[NodeId]) {
        let request = CreateTopicsRequest {
            topics: vec![create_topics_request::CreatableTopic {
                name: KStr::from(name),
                num_partitions: -1,
                replication_factor: -1,
                assignments: vec![create_topics_request::CreatableReplicaAssignment {
                    partition_index: 0,
                    broker_ids: brokers.to_vec(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            timeout_ms: 1_000,
            ..Default::default()
        };
        match self.ask(AnyRequest::CreateTopics(request)) {
            AnyResponse::CreateTopics(answer) => assert_eq!(
                answer.topics[0].error_code, 0,
                "topic {name} is created: {:?}",
                answer.topics[0].error_message
            ),
            other => panic!("{other:?}"),
        }
    }

    pub fn partition(&self, topic: &str) -> &quorate_metadata::Partition {
        let topics = &self.controller.committed().topics;
        let topic = topics.by_name(topic).expect("the topic exists");
        topics.partition(topic.id, 0).expect("it has a partition")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    Nothing,
    Fence,
    ShutDown,
    FenceAndShutDown,
}

/// What a 4.4 broker registers with.
pub fn broker(id: NodeId) -> BrokerRegistrationRequest {
    BrokerRegistrationRequest {
        broker_id: id,
        cluster_id: KStr::from(CLUSTER_ID),
        incarnation_id: Uuid::from_u128(0x1000 + id as u128),
        listeners: vec![registration::Listener {
            name: KStr::from("PLAINTEXT"),
            host: KStr::from("127.0.0.1"),
            port: 9092,
            security_protocol: 0,
            ..Default::default()
        }],
        features: advertised().map(|(name, min, max)| supports(name, min, max)).collect(),
        log_dirs: vec![directory(id)],
        previous_broker_epoch: -1,
        ..Default::default()
    }
}

pub fn supports(name: &str, min: i16, max: i16) -> registration::Feature {
    registration::Feature {
        name: KStr::from(name),
        min_supported_version: min,
        max_supported_version: max,
        ..Default::default()
    }
}

pub fn directory(id: NodeId) -> Uuid {
    Uuid::from_u128(0xd000 + id as u128)
}

pub fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("a known code")
}
