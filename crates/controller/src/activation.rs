//! What a controller writes when it becomes active: the bootstrap records of a new cluster, the end of
//! a transaction that its predecessor left open (KIP-868, 778, 966).

use crate::decide::features::min_insync_replicas;
use crate::{ControllerConfig, Draft};
use quorate_protocol::features::{Feature, MetadataVersion};
use quorate_protocol::records::*;
use quorate_protocol::{KStr, MetadataRecord};

const BOOTSTRAP_TRANSACTION: &str = "Bootstrap records";
const FAILOVER: &str = "Controller failover";

/// Pushes those records. The line says what was done; an error, why this node cannot go on.
pub(crate) fn activate(config: &ControllerConfig, draft: &mut Draft) -> Result<String, String> {
    let left_open = draft.in_transaction();
    if left_open {
        draft.push(AbortTransactionRecord {
            reason: Some(KStr::from_static(FAILOVER)),
            ..Default::default()
        });
    }
    if draft.image().features.has_metadata_version() {
        return Ok(match left_open {
            true => "active; aborted the metadata transaction the last controller left open",
            false => "active",
        }
        .to_owned());
    }
    let count = push_bootstrap_records(config, draft)?;
    let version = draft.image().features.metadata_version();
    Ok(format!(
        "active; the log is empty: wrote {count} bootstrap record(s) at metadata.version {version} \
         from {}",
        config.bootstrap_source
    ))
}

/// In one transaction where the new metadata.version knows them, so that a controller that dies in
/// between leaves nothing half done.
fn push_bootstrap_records(config: &ControllerConfig, draft: &mut Draft) -> Result<usize, String> {
    let records = bootstrap_records(config);
    let level_of = |feature: Feature| {
        records.iter().find_map(|record| match record {
            MetadataRecord::FeatureLevel(it) if it.name == feature.name() => Some(it.feature_level),
            _ => None,
        })
    };
    let level = level_of(Feature::MetadataVersion).unwrap_or_default();
    let Some(version) = MetadataVersion::from_level(level) else {
        return Err(format!(
            "{} asks for metadata.version level {level}, which this release does not know",
            config.bootstrap_source
        ));
    };
    let has_elr = level_of(Feature::EligibleLeaderReplicas).unwrap_or(0) > 0;
    if version.supports_transactions() {
        draft.push(BeginTransactionRecord {
            name: Some(KStr::from_static(BOOTSTRAP_TRANSACTION)),
            ..Default::default()
        });
    }
    let count = records.len();
    for record in records {
        let name = record.name();
        draft.try_push(record).map_err(|error| {
            format!("{}: its {name} cannot be applied: {error}", config.bootstrap_source)
        })?;
    }
    if has_elr {
        draft.push(min_insync_replicas("", Some(config.min_insync_replicas)));
    }
    if version.supports_transactions() {
        draft.push(EndTransactionRecord::default());
    }
    Ok(count)
}

/// The metadata.version first, since it decides how the others are written. Without any record, the
/// newest level in production, as Kafka does for a directory without bootstrap file.
fn bootstrap_records(config: &ControllerConfig) -> Vec<MetadataRecord> {
    let is_version = |record: &MetadataRecord| {
        matches!(record, MetadataRecord::FeatureLevel(it)
            if it.name == Feature::MetadataVersion.name())
    };
    let mut records = config.bootstrap_records.clone();
    if !records.iter().any(is_version) {
        records.push(MetadataRecord::FeatureLevel(FeatureLevelRecord {
            name: KStr::from_static(Feature::MetadataVersion.name()),
            feature_level: MetadataVersion::LATEST_PRODUCTION.level(),
            ..Default::default()
        }));
    }
    records.sort_by_key(|record| !is_version(record));
    records
}
