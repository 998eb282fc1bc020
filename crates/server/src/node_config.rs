//! From what the operator wrote to what the core wants to know.

use crate::config::ServerConfig;
use crate::config::address::Listener;
use quorate_base::{Prng, Uuid};
use quorate_controller::{ControllerConfig, DelegationTokenConfig, OwnRegistration};
use quorate_metadata::Str;
use quorate_node::{NodeConfig, SnapshotPolicy};
use quorate_protocol::features::{self, MetadataVersion};
use quorate_protocol::records::FeatureLevelRecord;
use quorate_protocol::{MetadataRecord, WireError};
use quorate_raft::Endpoint;
use quorate_storage::{BootstrapRecords, NodeDir};
use std::collections::BTreeMap;
use std::time::Duration;

/// About how much of the log's end is kept in memory for those who follow it.
const TAIL_MAX_BYTES: usize = 16 * 1024 * 1024;
/// The feature that raft keeps in its own records.
const KRAFT_VERSION: (&str, (i16, i16)) = ("kraft.version", (0, 1));

/// The node's configuration. `advertised` are the listeners as others dial them, with real hosts and
/// ports.
pub fn node_config(
    config: &ServerConfig,
    advertised: &[Listener],
    dir: &NodeDir,
    seed: u64,
) -> Result<NodeConfig, WireError> {
    Ok(NodeConfig {
        raft: raft_config(config, advertised, dir, seed),
        controller: controller_config(config, advertised, dir, seed)?,
        snapshots: SnapshotPolicy {
            max_bytes_between: config.log.snapshot_bytes,
            max_interval: config.log.snapshot_interval.unwrap_or(Duration::ZERO),
        },
        tail_max_bytes: TAIL_MAX_BYTES,
    })
}

fn raft_config(
    config: &ServerConfig,
    advertised: &[Listener],
    dir: &NodeDir,
    seed: u64,
) -> quorate_raft::Config {
    let endpoint =
        |it: &Listener| Endpoint { name: it.name.clone(), host: it.host.clone(), port: it.port };
    let voters = &config.static_voters;
    let static_voters = voters.iter().map(|it| (it.id, it.host.clone(), it.port)).collect();
    quorate_raft::Config {
        listeners: advertised.iter().map(endpoint).collect(),
        static_voters: (!voters.is_empty()).then_some(static_voters),
        bootstrap_servers: config.bootstrap_servers.clone(),
        default_listener: config.controller_listener_names.first().cloned().unwrap_or_default(),
        election_timeout: config.quorum.election_timeout,
        election_backoff_max: config.quorum.election_backoff_max,
        fetch_timeout: config.quorum.fetch_timeout,
        request_timeout: config.quorum.request_timeout,
        retry_backoff: config.quorum.retry_backoff,
        fetch_max_bytes: config.quorum.fetch_max_bytes,
        fetch_snapshot_max_bytes: config.quorum.fetch_snapshot_max_bytes,
        fast_failover: config.quorum.fast_failover,
        auto_join: config.quorum.auto_join,
        seed,
        ..quorate_raft::Config::new(config.node_id, dir.directory_id, &dir.meta.cluster_id)
    }
}

fn controller_config(
    config: &ServerConfig,
    advertised: &[Listener],
    dir: &NodeDir,
    seed: u64,
) -> Result<ControllerConfig, WireError> {
    let settings = &config.controller;
    let strings = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(name, value)| (Str::from(name.as_str()), Str::from(value.as_str())))
            .collect()
    };
    let (bootstrap_records, bootstrap_source) = bootstrap(dir.bootstrap.as_ref())?;
    let supported: BTreeMap<Str, (i16, i16)> = features::advertised()
        .filter(|(name, ..)| *name != KRAFT_VERSION.0)
        .map(|(name, min, max)| (Str::from(name), (min, max)))
        .collect();
    let mut registered = supported.clone();
    registered.insert(Str::from(KRAFT_VERSION.0), KRAFT_VERSION.1);
    let own_registration = OwnRegistration {
        incarnation_id: Uuid::random(&mut Prng::new(!seed)),
        listeners: advertised
            .iter()
            .map(|it| quorate_metadata::Listener {
                name: Str::from(it.name.as_str()),
                host: Str::from(it.host.as_str()),
                port: it.port,
                security_protocol: config.security.protocol_of(&it.name).number(),
            })
            .collect(),
        features: registered,
    };
    Ok(ControllerConfig {
        node_id: config.node_id,
        cluster_id: Str::from(dir.meta.cluster_id.as_str()),
        default_replication_factor: settings.default_replication_factor,
        num_partitions: settings.num_partitions,
        min_insync_replicas: settings.min_insync_replicas,
        unclean_leader_election: settings.unclean_leader_election,
        unclean_leader_election_interval: settings.unclean_leader_election_interval,
        broker_session_timeout: settings.broker_session_timeout,
        broker_heartbeat_interval: settings.broker_heartbeat_interval,
        auto_leader_rebalance: settings.auto_leader_rebalance,
        leader_imbalance_check_interval: settings.leader_imbalance_check_interval,
        metadata_max_idle_interval: config.log.idle_interval.unwrap_or(Duration::ZERO),
        delegation_tokens: DelegationTokenConfig {
            secret_key: settings.delegation_token_secret.as_deref().map(Str::from),
            max_lifetime: settings.delegation_token_max_lifetime,
            expiry_time: settings.delegation_token_expiry_time,
            expiry_check_interval: settings.delegation_token_expiry_check_interval,
        },
        static_topic_defaults: strings(&settings.topic_defaults),
        static_settings: strings(&settings.explicit),
        own_registration,
        supported_features: supported,
        authorizer: config.authorizer.clone(),
        fast_fencing: settings.fast_fencing,
        unstable_features: settings.unstable_features,
        bootstrap_records,
        bootstrap_source,
        ..ControllerConfig::default()
    })
}

/// What `storage format` left for the first leader; without it, as Kafka does, the newest production
/// metadata.version and nothing else.
fn bootstrap(found: Option<&BootstrapRecords>) -> Result<(Vec<MetadataRecord>, Str), WireError> {
    let Some(found) = found else {
        let newest = FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: MetadataVersion::LATEST_PRODUCTION.level(),
            ..Default::default()
        };
        return Ok((
            vec![MetadataRecord::FeatureLevel(newest)],
            Str::from("the default bootstrap"),
        ));
    };
    let decode = |value: &bytes::Bytes| {
        MetadataRecord::decode_framed(value.clone()).map(|(record, _)| record)
    };
    let records = found.values.iter().map(decode).collect::<Result<_, _>>()?;
    Ok((records, Str::from(found.source.as_str())))
}
