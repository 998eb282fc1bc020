//! `server.properties`: Kafka's file, read into typed values.
//!
//! Every problem is reported at once, each with key, value, place and what is allowed.

pub mod address;
pub mod properties;
pub mod reference;
pub mod table;
mod values;

use address::{HOST_PORT_FORM, LISTENER_FORM, Listener, StaticVoter, VOTER_FORM};
use properties::{Properties, PropertiesError};
use quorate_base::NodeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use values::Values;

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
    /// Sockets.
    pub network: NetworkConfig,
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
        let network = read_network(v);
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
            network,
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

fn check_roles(v: &mut Values<'_>) {
    let roles = v.list("process.roles");
    let has = |role: &str| roles.iter().any(|r| r == role);
    let why = match (has("controller"), has("broker"), roles.len()) {
        (true, false, 1) | (_, _, 0) => return,
        (true, true, 2) => {
            "expected controller. Combined mode is not possible: run the broker as a node of its own"
        }
        (false, true, 1) => {
            "expected controller. Quorate is the controller; run brokers with Apache Kafka"
        }
        _ => "expected controller",
    };
    v.wrong_named("process.roles", why);
}

/// A setting that would weaken the cluster if it were ignored stops the start.
fn refuse_what_is_not_served(v: &mut Values<'_>) {
    const JAVA: &str = "expected nothing: Quorate cannot run Java classes. Remove the setting";
    for name in [
        "create.topic.policy.class.name",
        "alter.config.policy.class.name",
        "client.quota.callback.class",
    ] {
        if v.present(name).is_some() {
            v.wrong_named(name, JAVA);
        }
    }
    if v.present("principal.builder.class")
        .is_some_and(|p| !p.value.ends_with(".DefaultKafkaPrincipalBuilder"))
    {
        v.wrong_named("principal.builder.class", JAVA);
    }
    if v.present("authorizer.class.name").is_some() {
        v.wrong_named(
            "authorizer.class.name",
            "expected nothing: this release does not authorise requests, and will not pretend to. \
             Remove the setting only if every client of this port may do everything",
        );
    }
    if v.present("config.providers").is_some() {
        v.wrong_named("config.providers", "expected nothing: values are not resolved by providers");
    }
    for entry in v.list("listener.security.protocol.map") {
        if !entry.contains(':') {
            v.wrong_named(
                "listener.security.protocol.map",
                "expected NAME:PROTOCOL, separated by commas",
            );
        }
    }
}

fn read_node_id(v: &mut Values<'_>, properties: &Properties) -> Option<NodeId> {
    if properties.get("node.id").is_none()
        && let Some(old) = properties.get("broker.id")
    {
        return match old.value.parse() {
            Ok(id) if id >= 0 => Some(id),
            _ => {
                v.wrong(old, "expected a whole number from 0 up");
                None
            }
        };
    }
    let id = v.integer("node.id")?;
    Some(NodeId::try_from(id).expect("bounded by the table"))
}

fn controller_listener_names(v: &mut Values<'_>) -> Vec<String> {
    v.list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect()
}

fn parse_listeners(v: &mut Values<'_>, setting: &str) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for entry in v.list(setting) {
        match address::parse_listener(&entry) {
            Some(listener) if listeners.iter().any(|l| l.name == listener.name) => {
                v.wrong_named(setting, &format!("the listener {} is there twice", listener.name));
            }
            Some(listener) => listeners.push(listener),
            None => {
                v.wrong_named(setting, &format!("\"{entry}\" is not of the form {LISTENER_FORM}"))
            }
        }
    }
    listeners
}

fn read_listeners(v: &mut Values<'_>, controller_names: &[String]) -> Vec<Listener> {
    let listeners = parse_listeners(v, "listeners");
    for (index, listener) in listeners.iter().enumerate() {
        if !controller_names.is_empty() && !controller_names.contains(&listener.name) {
            v.wrong_named(
                "listeners",
                &format!(
                    "{} is not in controller.listener.names, but a controller has no other listeners",
                    listener.name
                ),
            );
        }
        let protocol = protocol_of(v, &listener.name);
        if protocol != "PLAINTEXT" {
            v.wrong_named(
                "listener.security.protocol.map",
                &format!(
                    "listener {} uses {protocol}, but this release serves PLAINTEXT only",
                    listener.name
                ),
            );
        }
        if listener.port != 0
            && listeners[..index].iter().any(|l| l.port == listener.port && l.host == listener.host)
        {
            v.wrong_named(
                "listeners",
                &format!("two listeners share {}:{}", listener.host, listener.port),
            );
        }
    }
    if !listeners.is_empty()
        && !controller_names.is_empty()
        && !controller_names.iter().any(|name| listeners.iter().any(|l| &l.name == name))
    {
        v.wrong_named("controller.listener.names", "at least one of them must be in listeners");
    }
    listeners
}

/// Without a map Kafka takes a protocol's own name for itself and, on a controller, every other name
/// for PLAINTEXT.
fn protocol_of(v: &mut Values<'_>, listener: &str) -> String {
    let mapped = v.list("listener.security.protocol.map").into_iter().find_map(|entry| {
        let (name, protocol) = entry.split_once(':')?;
        name.trim().eq_ignore_ascii_case(listener).then(|| protocol.trim().to_ascii_uppercase())
    });
    match mapped {
        Some(protocol) => protocol,
        None if matches!(listener, "SSL" | "SASL_PLAINTEXT" | "SASL_SSL") => listener.to_owned(),
        None => {
            if v.present("listener.security.protocol.map").is_some() && listener != "PLAINTEXT" {
                "no protocol (it is missing in the map)".to_owned()
            } else {
                "PLAINTEXT".to_owned()
            }
        }
    }
}

/// What each listener is dialled by: as said, or as bound.
fn advertised(v: &mut Values<'_>, listeners: &[Listener]) -> Vec<Listener> {
    let said = parse_listeners(v, "advertised.listeners");
    for listener in &said {
        if listener.host == "0.0.0.0" || listener.host == "::" {
            v.wrong_named(
                "advertised.listeners",
                &format!(
                    "nobody can dial {}; write a name or address of this machine",
                    listener.host
                ),
            );
        }
        if !listeners.is_empty() && !listeners.iter().any(|l| l.name == listener.name) {
            v.wrong_named(
                "advertised.listeners",
                &format!("{} is not in listeners", listener.name),
            );
        }
    }
    let choose = |bound: &Listener| {
        let mut listener = said.iter().find(|l| l.name == bound.name).unwrap_or(bound).clone();
        if listener.host == "0.0.0.0" || listener.host == "::" {
            listener.host.clear();
        }
        listener
    };
    listeners.iter().map(choose).collect()
}

/// All directories without duplicates, and the one of the metadata log.
fn read_dirs(v: &mut Values<'_>) -> (Vec<PathBuf>, PathBuf) {
    let setting = if v.present("log.dirs").is_some() { "log.dirs" } else { "log.dir" };
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in v.list(setting).into_iter().map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    if dirs.is_empty() {
        v.wrong_named(setting, "expected at least one directory");
        return (Vec::new(), PathBuf::new());
    }
    let metadata = v.present("metadata.log.dir").map(|p| PathBuf::from(&p.value));
    let metadata = metadata.unwrap_or_else(|| dirs[0].clone());
    if !dirs.contains(&metadata) {
        dirs.push(metadata.clone());
    }
    (dirs, metadata)
}

fn read_voters(v: &mut Values<'_>) -> Vec<StaticVoter> {
    const SETTING: &str = "controller.quorum.voters";
    let mut voters: Vec<StaticVoter> = Vec::new();
    for entry in v.list(SETTING) {
        match address::parse_voter(&entry) {
            Some(voter) if voters.iter().any(|other| other.id == voter.id) => {
                v.wrong_named(SETTING, &format!("the id {} is there twice", voter.id));
            }
            Some(voter) => voters.push(voter),
            None => v.wrong_named(SETTING, &format!("\"{entry}\" is not of the form {VOTER_FORM}")),
        }
    }
    voters
}

fn read_quorum(
    v: &mut Values<'_>,
    node_id: Option<NodeId>,
) -> (Vec<StaticVoter>, Vec<(String, u16)>) {
    let voters = read_voters(v);
    let mut servers = Vec::new();
    for entry in v.list("controller.quorum.bootstrap.servers") {
        match address::parse_host_port(&entry) {
            Some(server) => servers.push(server),
            None => v.wrong_named(
                "controller.quorum.bootstrap.servers",
                &format!("\"{entry}\" is not of the form {HOST_PORT_FORM}"),
            ),
        }
    }
    if let Some(id) = node_id
        && !voters.is_empty()
        && voters.iter().all(|voter| voter.id != id)
    {
        v.wrong_named(
            "controller.quorum.voters",
            &format!("this node, node.id={id}, must be among the voters"),
        );
    }
    let none_given = v.list("controller.quorum.voters").is_empty()
        && v.list("controller.quorum.bootstrap.servers").is_empty();
    if none_given {
        v.wrong_overall(
            "one of controller.quorum.bootstrap.servers (a dynamic quorum) and \
             controller.quorum.voters (a static one) is needed",
        );
    }
    (voters, servers)
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

/// Broker settings that are defaults of topic settings, in the order in which Kafka asks them; the
/// factor turns hours and minutes into milliseconds.
const TOPIC_SYNONYMS: &[(&str, &[(&str, i64)])] = &[
    ("cleanup.policy", &[("log.cleanup.policy", 1)]),
    ("compression.gzip.level", &[("compression.gzip.level", 1)]),
    ("compression.lz4.level", &[("compression.lz4.level", 1)]),
    ("compression.type", &[("compression.type", 1)]),
    ("compression.zstd.level", &[("compression.zstd.level", 1)]),
    ("delete.retention.ms", &[("log.cleaner.delete.retention.ms", 1)]),
    ("file.delete.delay.ms", &[("log.segment.delete.delay.ms", 1)]),
    ("flush.messages", &[("log.flush.interval.messages", 1)]),
    ("flush.ms", &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
    ("index.interval.bytes", &[("log.index.interval.bytes", 1)]),
    ("local.retention.bytes", &[("log.local.retention.bytes", 1)]),
    ("local.retention.ms", &[("log.local.retention.ms", 1)]),
    ("max.compaction.lag.ms", &[("log.cleaner.max.compaction.lag.ms", 1)]),
    ("max.message.bytes", &[("message.max.bytes", 1)]),
    ("message.timestamp.after.max.ms", &[("log.message.timestamp.after.max.ms", 1)]),
    ("message.timestamp.before.max.ms", &[("log.message.timestamp.before.max.ms", 1)]),
    ("message.timestamp.type", &[("log.message.timestamp.type", 1)]),
    ("min.cleanable.dirty.ratio", &[("log.cleaner.min.cleanable.ratio", 1)]),
    ("min.compaction.lag.ms", &[("log.cleaner.min.compaction.lag.ms", 1)]),
    ("min.insync.replicas", &[("min.insync.replicas", 1)]),
    ("preallocate", &[("log.preallocate", 1)]),
    ("retention.bytes", &[("log.retention.bytes", 1)]),
    (
        "retention.ms",
        &[
            ("log.retention.ms", 1),
            ("log.retention.minutes", 60_000),
            ("log.retention.hours", 3_600_000),
        ],
    ),
    ("segment.bytes", &[("log.segment.bytes", 1)]),
    ("segment.index.bytes", &[("log.index.size.max.bytes", 1)]),
    ("segment.jitter.ms", &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)]),
    ("segment.ms", &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
    ("unclean.leader.election.enable", &[("unclean.leader.election.enable", 1)]),
];

fn topic_defaults(v: &mut Values<'_>) -> BTreeMap<String, String> {
    let mut defaults = BTreeMap::new();
    for (topic_setting, synonyms) in TOPIC_SYNONYMS {
        for &(name, factor) in *synonyms {
            let Some(property) = v.present(name) else {
                continue;
            };
            let value = match property.value.parse::<i64>() {
                Ok(number) if factor != 1 && number >= 0 => {
                    number.saturating_mul(factor).to_string()
                }
                _ => property.value.clone(),
            };
            defaults.insert((*topic_setting).to_owned(), value);
            break;
        }
    }
    defaults
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

fn unknown_names(properties: &Properties) -> Vec<String> {
    let unknown = properties
        .iter()
        .filter(|p| table::find(&p.key).is_none() && !table::is_known_elsewhere(&p.key));
    unknown.map(|p| format!("{} ({})", p.key, p.source)).collect()
}
