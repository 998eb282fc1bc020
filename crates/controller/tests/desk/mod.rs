//! Decisions one by one: an image made of records, a request, what comes out of it.
#![allow(dead_code, reason = "each test file uses its part of the desk")]

use quorate_base::{Now, Prng, Time, Uuid};
use quorate_controller::{
    AuthorizerConfig, ControllerConfig, Draft, Env, Heartbeats, Principal, RaftView, RequestContext,
};
use quorate_metadata::{Image, Str};
use quorate_protocol::features::Feature;
use quorate_protocol::records::*;
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use std::time::Duration;

pub const NOW_MS: i64 = 1_700_000_000_000;

pub struct Desk {
    pub image: Image,
    pub config: ControllerConfig,
    pub context: RequestContext,
    pub now: Now,
    prng: Prng,
    heartbeats: Heartbeats,
}

impl Desk {
    /// An image at this level of metadata.version, with topic `foo`, broker 7 and controller 1.
    pub fn at(level: i16) -> Desk {
        let mut desk = Desk {
            image: Image::empty(),
            config: ControllerConfig { node_id: 1, ..ControllerConfig::default() },
            context: RequestContext::internal(0),
            now: Now { time: Time::from_millis(1_000), wall_ms: NOW_MS },
            prng: Prng::new(7),
            heartbeats: Heartbeats::new(Duration::from_secs(9)),
        };
        desk.apply(feature(Feature::MetadataVersion.name(), level));
        desk.apply(TopicRecord {
            name: KStr::from("foo"),
            topic_id: Uuid::from_u128(0xf00),
            ..Default::default()
        });
        desk.apply(RegisterBrokerRecord { broker_id: 7, broker_epoch: 5, ..Default::default() });
        desk
    }

    /// The newest level, with eligible leader replicas and the cluster-wide minimum they ask for.
    pub fn with_elr() -> Desk {
        let mut desk = Desk::at(30);
        desk.apply(feature(Feature::EligibleLeaderReplicas.name(), 1));
        desk.apply(config(4, "", "min.insync.replicas", Some("1")));
        desk
    }

    /// With the authorizer; nobody is a super user.
    pub fn guarded(level: i16, allow_everyone_if_no_acl_found: bool) -> Desk {
        let mut desk = Desk::at(level);
        desk.config.authorizer =
            Some(AuthorizerConfig { super_users: Vec::new(), allow_everyone_if_no_acl_found });
        desk
    }

    pub fn apply(&mut self, record: impl Into<MetadataRecord>) {
        self.image.apply(&record.into()).expect("the test's records are sane");
    }

    pub fn set_file(&mut self, name: &str, value: &str) {
        self.config.static_settings.insert(Str::from(name), Str::from(value));
    }

    pub fn ask_as(&mut self, name: &str) {
        self.context.principal = Principal::user(name);
    }

    /// Decides, and makes what was decided the desk's image. Hands out answer and records.
    pub fn decide<R>(
        &mut self,
        decision: impl FnOnce(&mut Env<'_>, &mut Draft, &RequestContext) -> R,
    ) -> (R, Vec<MetadataRecord>) {
        let mut env = Env {
            now: self.now,
            config: &self.config,
            prng: &mut self.prng,
            heartbeats: &mut self.heartbeats,
            raft: RaftView { leader: Some(1), epoch: 1, kraft_version: 1, voters: vec![1] },
        };
        let mut draft = Draft::new(self.image.clone(), 100);
        let answer = decision(&mut env, &mut draft, &self.context);
        self.image = draft.image().clone();
        let records = draft.records().iter().map(|(record, _)| record.clone()).collect();
        (answer, records)
    }
}

pub fn feature(name: &'static str, level: i16) -> FeatureLevelRecord {
    let name = KStr::from_static(name);
    FeatureLevelRecord { name, feature_level: level, ..Default::default() }
}

pub fn config(kind: i8, resource: &str, name: &str, value: Option<&str>) -> MetadataRecord {
    ConfigRecord {
        resource_type: kind,
        resource_name: KStr::from(resource),
        name: KStr::from(name),
        value: value.map(KStr::from),
        ..Default::default()
    }
    .into()
}

/// Kafka's name of an error in an answer.
pub fn name(code: i16) -> &'static str {
    ErrorCode::from_code(code).expect("a code of Kafka's").name()
}
