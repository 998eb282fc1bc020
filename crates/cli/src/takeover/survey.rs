//! Looks at a running quorum: what its leader says of everybody, and what each controller says of
//! itself. Works with Kafka's controllers from 3.9 on and with Quorate's.

use crate::failure::Failure;
use crate::quorum::leader::{Described, Quorum};
use quorate_base::{NodeId, Uuid};
use quorate_client::{Admin, ClientError};
use quorate_protocol::features::Feature;
use quorate_protocol::messages::DescribeConfigsRequest;
use quorate_protocol::messages::describe_configs_request::DescribeConfigsResource;
use quorate_protocol::messages::describe_quorum_response::ReplicaState;
use quorate_protocol::{AnyRequest, AnyResponse, KStr};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// `controllers` rather than `brokers` in DescribeCluster.
const CONTROLLERS: i8 = 2;
/// The resource type of a node's own settings in DescribeConfigs.
const NODE: i8 = 4;
/// The source of a value that stands in the node's file.
const STATIC_FILE: i8 = 4;

/// A quorum as it was seen at one moment.
#[derive(Debug)]
pub struct Survey {
    /// The cluster's id.
    pub cluster_id: String,
    /// Who leads.
    pub leader_id: NodeId,
    /// Since which election.
    pub leader_epoch: i32,
    /// End of what is committed.
    pub high_watermark: i64,
    /// By how much the leader's clock is ahead of ours; the time of the question is in it.
    pub clock_ahead_ms: Option<i64>,
    /// By id.
    pub voters: BTreeMap<NodeId, Replica>,
    /// Whoever else fetches, by id: brokers, and controllers that are no voters.
    pub observers: BTreeMap<NodeId, Replica>,
    /// What each controller that we know an address of said of itself.
    pub controllers: BTreeMap<NodeId, Controller>,
}

/// A replica as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Of its metadata directory; a static quorum does not know it.
    pub directory_id: Option<Uuid>,
    /// End of its log.
    pub log_end: i64,
    /// How long ago it last had all that the leader had, by the leader's clock. `None`: never.
    pub caught_up_ms_ago: Option<i64>,
}

/// One controller.
#[derive(Debug)]
pub struct Controller {
    /// `host:port`.
    pub address: String,
    /// What it said, or why it said nothing.
    pub said: Result<Said, String>,
}

/// What a controller says of itself.
#[derive(Debug)]
pub struct Said {
    /// Whose program it runs.
    pub program: Program,
    /// Name, lowest and highest level.
    pub supported: BTreeMap<String, (i16, i16)>,
    /// Name and level.
    pub finalized: BTreeMap<String, i16>,
    /// By name; empty if they were not shown.
    pub settings: BTreeMap<String, Setting>,
}

/// Whose program a controller runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Apache Kafka's.
    Kafka,
    /// Ours.
    Quorate,
    /// It did not show its settings: not permitted, or too old.
    Unknown,
}

impl Program {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Program::Kafka => "Kafka",
            Program::Quorate => "Quorate",
            Program::Unknown => "unknown",
        }
    }
}

/// A setting as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Absent if secret or unset.
    pub value: Option<String>,
    /// Whether it stands in the node's file.
    pub in_file: bool,
}

impl Survey {
    /// Asks the leader, and then each controller.
    pub fn take(quorum: &Quorum) -> Result<Survey, Failure> {
        let mut described = quorum.describe()?;
        let answered_ms = now_ms();
        let addresses = addresses(&mut described);
        let controllers = addresses.into_iter().map(|(id, address)| {
            let said = quorum.connect(&address).and_then(|mut admin| ask(&mut admin, id));
            (id, Controller { address, said: said.map_err(|why| why.to_string()) })
        });
        Ok(survey(&described, answered_ms, controllers.collect()))
    }

    /// `controller.quorum.fetch.timeout.ms` of the leader, if it shows it.
    pub fn fetch_timeout_ms(&self) -> Option<i64> {
        let setting = self.said(self.leader_id)?.settings.get("controller.quorum.fetch.timeout.ms");
        setting?.value.as_ref()?.parse().ok()
    }

    /// Where a controller was looked for, and why it gave no answer. `None` if it answered, or if
    /// nobody tells its address.
    pub fn silence(&self, id: NodeId) -> Option<(&str, &str)> {
        let controller = self.controllers.get(&id)?;
        controller.said.as_ref().err().map(|why| (controller.address.as_str(), why.as_str()))
    }

    /// Whether the voters stand in the nodes' files (kraft.version 0) and not in the log.
    pub fn is_static(&self) -> bool {
        let finalized = self.finalized();
        if finalized.is_empty() {
            return self.voters.values().all(|voter| voter.directory_id.is_none());
        }
        // Level 0 of a feature is not told.
        finalized.get(Feature::KRaftVersion.name()).is_none_or(|level| *level == 0)
    }

    /// What a controller said of itself, if it did.
    pub fn said(&self, id: NodeId) -> Option<&Said> {
        self.controllers.get(&id).and_then(|controller| controller.said.as_ref().ok())
    }

    /// Whose program a controller runs.
    pub fn program(&self, id: NodeId) -> Program {
        self.said(id).map_or(Program::Unknown, |said| said.program)
    }

    /// The level of a feature that the cluster has settled on, as the leader or anybody else says.
    pub fn finalized(&self) -> BTreeMap<String, i16> {
        let leader = self.said(self.leader_id);
        let anybody = self.controllers.keys().find_map(|id| self.said(*id));
        leader.or(anybody).map(|said| said.finalized.clone()).unwrap_or_default()
    }
}

fn survey(
    described: &Described,
    answered_ms: i64,
    controllers: BTreeMap<NodeId, Controller>,
) -> Survey {
    let quorum = &described.quorum;
    // The leader gives itself the time of its answer.
    let leader = quorum.current_voters.iter().find(|it| it.replica_id == quorum.leader_id);
    let leader_now_ms = leader.map(|it| it.last_fetch_timestamp).filter(|ms| *ms >= 0);
    let replicas = |all: &[ReplicaState]| {
        let replica = |it: &ReplicaState| {
            let caught_up = leader_now_ms.filter(|_| it.last_caught_up_timestamp >= 0);
            let replica = Replica {
                directory_id: Some(it.replica_directory_id).filter(|id| !id.is_zero()),
                log_end: it.log_end_offset,
                caught_up_ms_ago: caught_up.map(|now| now - it.last_caught_up_timestamp),
            };
            (it.replica_id, replica)
        };
        all.iter().map(replica).collect()
    };
    Survey {
        cluster_id: described.cluster_id.clone(),
        leader_id: quorum.leader_id,
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark,
        clock_ahead_ms: leader_now_ms.map(|ms| ms - answered_ms),
        voters: replicas(&quorum.current_voters),
        observers: replicas(&quorum.observers),
        controllers,
    }
}

/// From the voter set, and of those that registered.
fn addresses(described: &mut Described) -> BTreeMap<NodeId, String> {
    let mut found = BTreeMap::new();
    if let Ok(cluster) = described.leader.describe_cluster(CONTROLLERS) {
        for node in &cluster.brokers {
            found.insert(node.broker_id, host_port(node.host.as_str(), i64::from(node.port)));
        }
    }
    for node in &described.nodes {
        if let Some(listener) = node.listeners.first() {
            let address = host_port(listener.host.as_str(), i64::from(listener.port));
            found.insert(node.node_id, address);
        }
    }
    found
}

fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn ask(admin: &mut Admin, id: NodeId) -> Result<Said, ClientError> {
    let versions = admin.connection().api_versions();
    let supported = versions.supported_features.iter();
    let supported =
        supported.map(|it| (it.name.to_string(), (it.min_version, it.max_version))).collect();
    let finalized = versions.finalized_features.iter();
    let finalized = finalized.map(|it| (it.name.to_string(), it.max_version_level)).collect();
    let shown = settings(admin, id).unwrap_or_default();
    Ok(Said { program: shown.program(), supported, finalized, settings: shown.values })
}

#[derive(Default)]
struct Shown {
    values: BTreeMap<String, Setting>,
    documented: bool,
}

impl Shown {
    /// Kafka describes each of its settings in words; those texts are not ours to give.
    fn program(&self) -> Program {
        match (self.values.is_empty(), self.documented) {
            (true, _) => Program::Unknown,
            (false, true) => Program::Kafka,
            (false, false) => Program::Quorate,
        }
    }
}

/// A node's own settings.
fn settings(admin: &mut Admin, id: NodeId) -> Result<Shown, ClientError> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: NODE,
            resource_name: KStr::from(id.to_string().as_str()),
            configuration_keys: None,
            ..Default::default()
        }],
        include_synonyms: false,
        include_documentation: true,
        ..Default::default()
    };
    let answer = admin.connection().send(&AnyRequest::DescribeConfigs(request))?;
    let AnyResponse::DescribeConfigs(answer) = answer else {
        let why = format!("another answer to DescribeConfigs: {:?}", answer.api_key());
        return Err(ClientError::Unexpected(why));
    };
    let mut shown = Shown::default();
    for config in answer.results.into_iter().flat_map(|result| result.configs) {
        shown.documented |= config.documentation.is_some_and(|text| !text.is_empty());
        let value = config.value.map(|value| value.to_string());
        let setting = Setting { value, in_file: config.config_source == STATIC_FILE };
        shown.values.insert(config.name.to_string(), setting);
    }
    Ok(shown)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
