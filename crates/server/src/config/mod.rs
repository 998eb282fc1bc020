//! `server.properties`: Kafka's file, read into typed values.
//!
//! Every problem is reported at once, each with key, value, place and what is allowed.

pub mod address;
mod audit;
mod node;
pub mod properties;
pub mod reference;
pub mod security;
pub mod table;
mod topics;
mod values;

use crate::metrics::dialect::Dialect;
use address::{Listener, StaticVoter};
use audit::read_audit;
use node::{
    advertised, check_roles, controller_listener_names, parse_listeners, read_authorizer,
    read_dirs, read_listeners, read_node_id, read_quorum, read_voters, refuse_what_is_not_served,
};
use properties::{Properties, PropertiesError};
use quorate_base::NodeId;
use security::{SecurityConfig, read_security};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use topics::topic_defaults;
use values::Values;

pub use audit::AuditConfig;
pub use values::Problem;

/// Why there is no usable configuration. Exit code 2.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read or parsed.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
    /// Settings are wrong or missing; each problem is one line.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

/// All that a Quorate controller takes from its configuration.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// What others are told to dial, one for each listener in the same order. An empty host or port 0
    /// is replaced once the socket is bound.
    pub advertised_listeners: Vec<Listener>,
    /// `controller.listener.names`, upper case; the first is the one for talk among controllers.
    pub controller_listener_names: Vec<String>,
    /// Directory of the metadata log.
    pub metadata_dir: PathBuf,
    /// All log directories, the metadata directory among them.
    pub log_dirs: Vec<PathBuf>,
    /// `controller.quorum.voters`; empty for a dynamic quorum.
    pub static_voters: Vec<StaticVoter>,
    /// `controller.quorum.bootstrap.servers`.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// Timeouts and sizes of the quorum.
    pub quorum: QuorumConfig,
    /// Segments, snapshots, retention.
    pub log: LogConfig,
    /// Brokers, topics and tokens as the controller decides about them.
    pub controller: ControllerSettings,
    /// Who may do what; `None` if everybody may do everything.
    pub authorizer: Option<quorate_controller::AuthorizerConfig>,
    /// Encryption and authentication.
    pub security: SecurityConfig,
    /// Sockets.
    pub network: NetworkConfig,
    /// `quorate.http.listener`.
    pub http: Option<Listener>,
    /// `quorate.metrics.dialects`.
    pub metrics_dialects: Vec<Dialect>,
    /// What is written down of changes.
    pub audit: AuditConfig,
    /// `quorate.log.level`.
    pub log_level: String,
    /// Names that neither Kafka nor Quorate knows, with their place.
    pub unknown: Vec<String>,
}

/// Timeouts and sizes of the quorum.
#[derive(Clone, Debug)]
pub struct QuorumConfig {
    /// `controller.quorum.election.timeout.ms`.
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`.
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `controller.quorum.fetch.max.bytes`.
    pub fetch_max_bytes: u32,
    /// `controller.quorum.fetch.snapshot.max.bytes`.
    pub fetch_snapshot_max_bytes: u32,
    /// `controller.quorum.auto.join.enable`.
    pub auto_join: bool,
    /// `quorate.fast.failover`.
    pub fast_failover: bool,
}

/// Segments, snapshots, retention.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// `metadata.log.segment.bytes` (or its internal twin).
    pub segment_bytes: u64,
    /// `metadata.log.segment.ms`.
    pub segment_age: Duration,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` if 0.
    pub snapshot_interval: Option<Duration>,
    /// `metadata.max.retention.bytes`; `None` if negative.
    pub retention_bytes: Option<u64>,
    /// `metadata.max.retention.ms`; `None` if negative.
    pub retention_age: Option<Duration>,
    /// `metadata.max.idle.interval.ms`; `None` if 0.
    pub idle_interval: Option<Duration>,
}

/// Brokers, topics and tokens as the controller decides about them.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// `broker.session.timeout.ms`.
    pub broker_session_timeout: Duration,
    /// `broker.heartbeat.interval.ms`.
    pub broker_heartbeat_interval: Duration,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_leader_election_interval: Duration,
    /// `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub leader_imbalance_check_interval: Duration,
    /// `unstable.feature.versions.enable`.
    pub unstable_features: bool,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// Topic settings whose default the file sets, by the topic setting's name.
    pub topic_defaults: BTreeMap<String, String>,
    /// Settings of the table that the file sets, as written; secrets left out.
    pub explicit: BTreeMap<String, String>,
    /// `delegation.token.secret.key`.
    pub delegation_token_secret: Option<String>,
    /// `delegation.token.max.lifetime.ms`.
    pub delegation_token_max_lifetime: Duration,
    /// `delegation.token.expiry.time.ms`.
    pub delegation_token_expiry_time: Duration,
    /// `delegation.token.expiry.check.interval.ms`.
    pub delegation_token_expiry_check_interval: Duration,
    /// `quorate.fast.fencing`.
    pub fast_fencing: bool,
}

/// Sockets and their limits.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `socket.listen.backlog.size`.
    pub listen_backlog: i32,
    /// `connections.max.idle.ms`; `None` if negative.
    pub max_idle: Option<Duration>,
    /// `max.connections`.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `socket.connection.setup.timeout.ms`.
    pub connect_timeout: Duration,
}

/// What `storage format` and `storage info` need of a configuration; brokers' files do as well.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// Whether `process.roles` has `controller`.
    pub is_controller: bool,
    /// `log.dirs` and `metadata.log.dir`, without duplicates, in that order.
    pub log_dirs: Vec<PathBuf>,
    /// Directory of the metadata log.
    pub metadata_dir: PathBuf,
    /// `controller.quorum.voters`; empty for a dynamic quorum.
    pub static_voters: Vec<StaticVoter>,
    /// The listener for talk among controllers as others dial it; absent on a node without one.
    pub controller_listener: Option<Listener>,
}

impl ServerConfig {
    /// Reads `file` and then `overrides` (`key=value`), which win.
    pub fn load(file: &Path, overrides: &[String]) -> Result<ServerConfig, ConfigError> {
        let mut properties = Properties::read(file)?;
        for text in overrides {
            properties.override_with(text)?;
        }
        ServerConfig::from_properties(&properties, &file.display().to_string())
    }

    /// Reads settings already parsed; `file` names their home in messages.
    pub fn from_properties(
        properties: &Properties,
        file: &str,
    ) -> Result<ServerConfig, ConfigError> {
        let mut values = Values::new(properties, file);
        let v = &mut values;
        check_roles(v);
        refuse_what_is_not_served(v);
        let node_id = read_node_id(v, properties);
        let controller_listener_names = controller_listener_names(v);
        let listeners = read_listeners(v, &controller_listener_names);
        let advertised_listeners = advertised(v, &listeners);
        let security = read_security(v, properties, &listeners, &controller_listener_names);
        let (log_dirs, metadata_dir) = read_dirs(v);
        let (static_voters, bootstrap_servers) = read_quorum(v, node_id);
        let quorum = QuorumConfig {
            election_timeout: v.millis("controller.quorum.election.timeout.ms"),
            election_backoff_max: v.millis("controller.quorum.election.backoff.max.ms"),
            fetch_timeout: v.millis("controller.quorum.fetch.timeout.ms"),
            request_timeout: v.millis("controller.quorum.request.timeout.ms"),
            retry_backoff: v.millis("controller.quorum.retry.backoff.ms"),
            fetch_max_bytes: v.number("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_max_bytes: v.number("controller.quorum.fetch.snapshot.max.bytes"),
            auto_join: v.boolean("controller.quorum.auto.join.enable"),
            fast_failover: v.boolean("quorate.fast.failover"),
        };
        let log = read_log(v);
        let controller = read_controller(v, properties);
        let authorizer = read_authorizer(v);
        let network = read_network(v);
        let http = read_http(v);
        let metrics_dialects = read_dialects(v);
        let audit = read_audit(v);
        let log_level = v.text("quorate.log.level").unwrap_or_default();
        let problems = values.into_problems();
        if !problems.is_empty() {
            return Err(ConfigError::Problems(problems));
        }
        Ok(ServerConfig {
            node_id: node_id.expect("its absence is a problem"),
            listeners,
            advertised_listeners,
            controller_listener_names,
            metadata_dir,
            log_dirs,
            static_voters,
            bootstrap_servers,
            quorum,
            log,
            controller,
            authorizer,
            security,
            network,
            http,
            metrics_dialects,
            audit,
            log_level,
            unknown: unknown_names(properties),
        })
    }
}

impl StorageConfig {
    /// Reads a controller's or a broker's file.
    pub fn load(file: &Path) -> Result<StorageConfig, ConfigError> {
        let properties = Properties::read(file)?;
        let file = file.display().to_string();
        let mut values = Values::new(&properties, &file);
        let v = &mut values;
        let roles = v.list("process.roles");
        for role in &roles {
            if role != "controller" && role != "broker" {
                v.wrong_named("process.roles", "roles are broker and controller");
            }
        }
        let is_controller = roles.iter().any(|role| role == "controller");
        let node_id = read_node_id(v, &properties);
        let (log_dirs, metadata_dir) = read_dirs(v);
        let static_voters = read_voters(v);
        let controller_listener = if is_controller {
            let names = controller_listener_names(v);
            let listeners = parse_listeners(v, "listeners");
            let advertised = parse_listeners(v, "advertised.listeners");
            let named =
                |all: &[Listener]| all.iter().find(|l| Some(&l.name) == names.first()).cloned();
            named(&advertised).or_else(|| named(&listeners))
        } else {
            None
        };
        let problems = values.into_problems();
        if !problems.is_empty() {
            return Err(ConfigError::Problems(problems));
        }
        let node_id = node_id.expect("its absence is a problem");
        Ok(StorageConfig {
            node_id,
            is_controller,
            log_dirs,
            metadata_dir,
            static_voters,
            controller_listener,
        })
    }
}

fn read_log(v: &mut Values<'_>) -> LogConfig {
    let segment_bytes = match v.integer("internal.metadata.log.segment.bytes") {
        Some(bytes) => u64::try_from(bytes).expect("bounded by the table"),
        None => v.number("metadata.log.segment.bytes"),
    };
    let not_negative = |number: i64| u64::try_from(number).ok();
    let above_zero = |duration: Duration| (!duration.is_zero()).then_some(duration);
    LogConfig {
        segment_bytes,
        segment_age: v.millis("metadata.log.segment.ms"),
        snapshot_bytes: v.number("metadata.log.max.record.bytes.between.snapshots"),
        snapshot_interval: above_zero(v.millis("metadata.log.max.snapshot.interval.ms")),
        retention_bytes: not_negative(v.number("metadata.max.retention.bytes")),
        retention_age: not_negative(v.number("metadata.max.retention.ms"))
            .map(Duration::from_millis),
        idle_interval: above_zero(v.millis("metadata.max.idle.interval.ms")),
    }
}

fn read_controller(v: &mut Values<'_>, properties: &Properties) -> ControllerSettings {
    ControllerSettings {
        broker_session_timeout: v.millis("broker.session.timeout.ms"),
        broker_heartbeat_interval: v.millis("broker.heartbeat.interval.ms"),
        unclean_leader_election: v.boolean("unclean.leader.election.enable"),
        unclean_leader_election_interval: v.millis("unclean.leader.election.interval.ms"),
        auto_leader_rebalance: v.boolean("auto.leader.rebalance.enable"),
        leader_imbalance_check_interval: Duration::from_secs(
            v.number("leader.imbalance.check.interval.seconds"),
        ),
        unstable_features: v.boolean("unstable.feature.versions.enable"),
        num_partitions: v.number("num.partitions"),
        default_replication_factor: v.number("default.replication.factor"),
        min_insync_replicas: v.number("min.insync.replicas"),
        topic_defaults: topic_defaults(v),
        explicit: explicit_settings(properties),
        delegation_token_secret: v.present("delegation.token.secret.key").map(|p| p.value.clone()),
        delegation_token_max_lifetime: v.millis("delegation.token.max.lifetime.ms"),
        delegation_token_expiry_time: v.millis("delegation.token.expiry.time.ms"),
        delegation_token_expiry_check_interval: v
            .millis("delegation.token.expiry.check.interval.ms"),
        fast_fencing: v.boolean("quorate.fast.fencing"),
    }
}

fn explicit_settings(properties: &Properties) -> BTreeMap<String, String> {
    let shown = properties.iter().filter(|property| {
        table::find(&property.key).is_some_and(|setting| setting.kind != table::Kind::Secret)
    });
    shown.map(|property| (property.key.clone(), property.value.clone())).collect()
}

fn read_network(v: &mut Values<'_>) -> NetworkConfig {
    let idle: i64 = v.number("connections.max.idle.ms");
    NetworkConfig {
        request_max_bytes: v.number("socket.request.max.bytes"),
        listen_backlog: v.number("socket.listen.backlog.size"),
        max_idle: u64::try_from(idle).ok().map(Duration::from_millis),
        max_connections: v.number("max.connections"),
        max_connections_per_ip: v.number("max.connections.per.ip"),
        connect_timeout: v.millis("socket.connection.setup.timeout.ms"),
    }
}

fn read_http(v: &mut Values<'_>) -> Option<Listener> {
    let property = v.present("quorate.http.listener")?;
    let listener = address::parse_listener(&format!("HTTP://{}", property.value));
    if listener.is_none() {
        v.wrong(property, "expected host:port, for example 127.0.0.1:9644");
    }
    listener
}

fn read_dialects(v: &mut Values<'_>) -> Vec<Dialect> {
    let mut dialects = Vec::new();
    for word in v.list("quorate.metrics.dialects") {
        match Dialect::parse(&word) {
            Some(dialect) if !dialects.contains(&dialect) => dialects.push(dialect),
            Some(_) => {}
            None => {
                let known = Dialect::ALL.map(Dialect::name).join(", ");
                v.wrong_named("quorate.metrics.dialects", &format!("{word} is none of {known}"));
            }
        }
    }
    dialects
}

fn unknown_names(properties: &Properties) -> Vec<String> {
    let unknown = properties
        .iter()
        .filter(|p| table::find(&p.key).is_none() && !table::is_known_elsewhere(&p.key));
    unknown.map(|p| format!("{} ({})", p.key, p.source)).collect()
}
