use crate::AuthorizerConfig;
use quorate_base::{NodeId, Uuid};
use quorate_metadata::Str;
use quorate_protocol::MetadataRecord;
use std::collections::BTreeMap;
use std::time::Duration;

/// What `server.properties` says to the controller, checked by the edge. Durations of zero mean what
/// they mean to Kafka: the periodic task is off.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// As formatted.
    pub cluster_id: Str,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `min.insync.replicas` of the file: the default where no dynamic config says otherwise.
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable` of the file.
    pub unclean_leader_election: bool,
    /// `unclean.leader.election.interval.ms`: how often leaderless partitions are looked through.
    pub unclean_leader_election_interval: Duration,
    /// `broker.session.timeout.ms`.
    pub broker_session_timeout: Duration,
    /// `broker.heartbeat.interval.ms`; half of it is the deadline of a heartbeat.
    pub broker_heartbeat_interval: Duration,
    /// `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub leader_imbalance_check_interval: Duration,
    /// `leader.imbalance.per.broker.percentage`; as in KRaft Kafka, accepted and not looked at.
    pub leader_imbalance_per_broker_percentage: i32,
    /// `metadata.max.idle.interval.ms`: a NoOpRecord after so long without a record; zero turns it off.
    pub metadata_max_idle_interval: Duration,
    /// Delegation tokens.
    pub delegation_tokens: DelegationTokenConfig,
    /// Largest number of records in one append.
    pub max_records_per_batch: usize,
    /// Broker-wide defaults of topic configs set in the file, by *topic* config name (`log.retention.ms`
    /// of the file is `retention.ms` here).
    pub static_topic_defaults: BTreeMap<Str, Str>,
    /// All settings of the file under their own names, for DescribeConfigs of this node.
    pub static_settings: BTreeMap<Str, Str>,
    /// What this node registers itself with.
    pub own_registration: OwnRegistration,
    /// Features and ranges this node supports, as advertised: `metadata.version` and the others,
    /// without `kraft.version`, which raft adds.
    pub supported_features: BTreeMap<Str, (i16, i16)>,
    /// `quorate.fast.fencing`: believe the edge when it says that a broker's process is dead.
    pub fast_fencing: bool,
    /// True if levels of features that are not yet in production may be set
    /// (`unstable.feature.versions.enable`).
    pub unstable_features: bool,
    /// What the first activation on an empty log writes: feature levels, SCRAM credentials. The
    /// first record must be the metadata.version.
    pub bootstrap_records: Vec<MetadataRecord>,
    /// Where [`ControllerConfig::bootstrap_records`] come from, for messages.
    pub bootstrap_source: Str,
    /// The authorizer, if one is configured: only then are operations checked at all.
    pub authorizer: Option<AuthorizerConfig>,
}

/// `delegation.token.*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelegationTokenConfig {
    /// `delegation.token.secret.key`; `None` turns tokens off.
    pub secret_key: Option<Str>,
    /// `delegation.token.max.lifetime.ms`.
    pub max_lifetime: Duration,
    /// `delegation.token.expiry.time.ms`.
    pub expiry_time: Duration,
    /// `delegation.token.expiry.check.interval.ms`.
    pub expiry_check_interval: Duration,
}

/// A controller's RegisterController record, before it is one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnRegistration {
    /// New with each start of the process.
    pub incarnation_id: Uuid,
    /// All controller listeners: name, host, port, security protocol id.
    pub listeners: Vec<quorate_metadata::Listener>,
    /// Name to (lowest, highest) level, `kraft.version` included.
    pub features: BTreeMap<Str, (i16, i16)>,
}

const HOUR_MS: u64 = 3_600_000;

impl Default for DelegationTokenConfig {
    fn default() -> Self {
        DelegationTokenConfig {
            secret_key: None,
            max_lifetime: Duration::from_millis(7 * 24 * HOUR_MS),
            expiry_time: Duration::from_millis(24 * HOUR_MS),
            expiry_check_interval: Duration::from_millis(HOUR_MS),
        }
    }
}

impl Default for ControllerConfig {
    /// Kafka's defaults, for node 0 of a cluster without a name.
    fn default() -> Self {
        ControllerConfig {
            node_id: 0,
            cluster_id: Str::from(""),
            default_replication_factor: 1,
            num_partitions: 1,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            unclean_leader_election_interval: Duration::from_secs(300),
            broker_session_timeout: Duration::from_secs(9),
            broker_heartbeat_interval: Duration::from_secs(2),
            auto_leader_rebalance: true,
            leader_imbalance_check_interval: Duration::from_secs(300),
            leader_imbalance_per_broker_percentage: 10,
            metadata_max_idle_interval: Duration::from_millis(500),
            delegation_tokens: DelegationTokenConfig::default(),
            max_records_per_batch: crate::MAX_RECORDS_PER_BATCH,
            static_topic_defaults: BTreeMap::new(),
            static_settings: BTreeMap::new(),
            own_registration: OwnRegistration::default(),
            supported_features: BTreeMap::new(),
            fast_fencing: false,
            unstable_features: false,
            bootstrap_records: Vec::new(),
            bootstrap_source: Str::from("the default bootstrap"),
            authorizer: None,
        }
    }
}
