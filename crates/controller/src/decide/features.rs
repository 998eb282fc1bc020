//! UpdateFeatures: raising and lowering finalised feature levels (KIP-584, 778, 853, 966, 1022).

use crate::{Draft, Env, RequestContext};
use quorate_base::NodeId;
use quorate_metadata::{ConfigResource, ConfigResourceKind, Image, Str};
use quorate_protocol::features::{Feature, MetadataVersion};
use quorate_protocol::messages::update_features_request::FeatureUpdateKey;
use quorate_protocol::messages::update_features_response::UpdatableFeatureResult;
use quorate_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use quorate_protocol::records::{ConfigRecord, FeatureLevelRecord};
use quorate_protocol::{ErrorCode, KStr};
use std::collections::BTreeMap;

/// From this version on the answer has no results by feature.
const FIRST_WITHOUT_RESULTS: i16 = 2;
/// From this version on the request names the type of update instead of "downgrade allowed".
const FIRST_WITH_UPGRADE_TYPE: i16 = 1;
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// What UpdateFeatures decided, beside records.
pub struct FeatureUpdate {
    /// The answer.
    pub response: UpdateFeaturesResponse,
    /// A kraft.version that raft is to write, or (true) only to check: it lives in control records,
    /// not in ours.
    pub kraft_version: Option<(u16, bool)>,
}

/// Decides on all updates of the request or on none.
pub fn update_features(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &UpdateFeaturesRequest,
) -> FeatureUpdate {
    // Of a feature named twice the last update counts.
    let mut updates: Vec<Update> = Vec::new();
    for given in &request.feature_updates {
        updates.retain(|it| it.feature != given.feature);
        updates.push(Update::new(given, context.api_version));
    }
    let before = draft.checkpoint();
    let kraft_version = match apply_all(env, draft, &updates) {
        Ok(kraft_version) => kraft_version,
        Err(reason) => {
            draft.rollback(before);
            return FeatureUpdate { response: refusal(&reason), kraft_version: None };
        }
    };
    if request.validate_only {
        draft.rollback(before);
    }
    let mut response = UpdateFeaturesResponse { error_message: None, ..Default::default() };
    if context.api_version < FIRST_WITHOUT_RESULTS {
        // Kafka gives the name of "no error" as the message of each.
        let done = |it: &FeatureUpdateKey| UpdatableFeatureResult {
            feature: it.feature.detached(),
            error_message: Some(KStr::from(ErrorCode::None.name())),
            ..Default::default()
        };
        response.results = request.feature_updates.iter().map(done).collect();
    }
    let kraft_version = kraft_version.map(|level| (level, request.validate_only));
    FeatureUpdate { response, kraft_version }
}

fn refusal(reason: &str) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code: ErrorCode::InvalidUpdateVersion.code(),
        error_message: Some(KStr::from(format!(
            "The update failed for all features since the following feature had an error: {reason}"
        ))),
        ..Default::default()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
    Unknown,
}

struct Update {
    feature: KStr,
    level: i16,
    upgrade_type: UpgradeType,
}

impl Update {
    fn new(given: &FeatureUpdateKey, api_version: i16) -> Update {
        let upgrade_type = match given.upgrade_type {
            // The flag that version 0 has instead, no controller of Kafka's looks at (observed).
            _ if api_version < FIRST_WITH_UPGRADE_TYPE => UpgradeType::Upgrade,
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => UpgradeType::Unknown,
        };
        let feature = given.feature.detached();
        Update { feature, level: given.max_version_level, upgrade_type }
    }

    fn invalid(&self, why: &str) -> String {
        format!("Invalid update version {} for feature {}. {why}", self.level, self.feature)
    }
}

/// The levels as they will be once all updates are done.
fn proposed(image: &Image, updates: &[Update]) -> BTreeMap<String, i16> {
    let mut levels: BTreeMap<String, i16> =
        image.features.iter().map(|(name, level)| (name.to_string(), level)).collect();
    levels.extend(updates.iter().map(|it| (it.feature.to_string(), it.level)));
    levels
}

fn apply_all(env: &Env<'_>, draft: &mut Draft, updates: &[Update]) -> Result<Option<u16>, String> {
    let proposed = proposed(draft.image(), updates);
    // Before ELR counts on it, every topic's effective min.insync.replicas must be known to the log.
    if updates.iter().any(|it| {
        Feature::from_name(&it.feature) == Some(Feature::EligibleLeaderReplicas) && it.level > 0
    }) {
        push_elr_safety_records(env, draft);
    }
    let mut kraft_version = None;
    for update in updates {
        check(env, draft.image(), update)?;
        match Feature::from_name(&update.feature) {
            Some(Feature::MetadataVersion) => check_metadata_version(draft.image(), update)?,
            Some(Feature::KRaftVersion) => {
                // To stay where it is is no downgrade: "to that release" names every feature.
                let stays = update.level == env.raft.kraft_version;
                if update.upgrade_type != UpgradeType::Upgrade && !stays {
                    return Err(update.invalid("Can't downgrade the version of this feature."));
                }
                if update.level > env.raft.kraft_version {
                    kraft_version = u16::try_from(update.level).ok();
                }
                continue;
            }
            Some(feature) => check_dependencies(feature, update, &proposed)?,
            None => {
                return Err(update.invalid(&format!("Feature {} not found.", update.feature)));
            }
        }
        draft.push(FeatureLevelRecord {
            name: update.feature.clone(),
            feature_level: update.level,
            ..Default::default()
        });
    }
    Ok(kraft_version)
}

/// The checks that every feature has in common.
fn check(env: &Env<'_>, image: &Image, update: &Update) -> Result<(), String> {
    if update.upgrade_type == UpgradeType::Unknown {
        return Err(update.invalid("The controller does not support the given upgrade type."));
    }
    if update.level < 0 {
        return Err(update.invalid("A feature version cannot be less than 0."));
    }
    if let Some(why) = reason_not_supported(env, image, &update.feature, update.level) {
        return Err(update.invalid(&why));
    }
    let current = match Feature::from_name(&update.feature) {
        Some(Feature::MetadataVersion) => image.features.metadata_version().level(),
        Some(Feature::KRaftVersion) => env.raft.kraft_version,
        _ => image.features.level(&update.feature),
    };
    let is_upgrade = update.upgrade_type == UpgradeType::Upgrade;
    if update.level < current && is_upgrade {
        return Err(update.invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade.",
        ));
    }
    if update.level > current && !is_upgrade {
        return Err(update.invalid("Can't downgrade to a newer version."));
    }
    Ok(())
}

/// Every node that has registered must know the level: this controller, the brokers, the other
/// controllers, and no voter may be missing among those.
fn reason_not_supported(env: &Env<'_>, image: &Image, feature: &str, level: i16) -> Option<String> {
    let own = env.config.node_id;
    let local = &env.config.own_registration.features;
    let by_this = || unsupported_by(&format!("Local controller {own}"), local, feature, level);
    let by_brokers = || {
        image.cluster.brokers().find_map(|it| {
            unsupported_by(&format!("Broker {}", it.id), &it.features, feature, level)
        })
    };
    let by_controllers = || {
        let others = image.cluster.controllers().filter(|it| it.id != own);
        others.into_iter().find_map(|it| {
            unsupported_by(&format!("Controller {}", it.id), &it.features, feature, level)
        })
    };
    let by_strangers = || {
        let stranger = unregistered_voter(env, image)?;
        Some(format!("controller {stranger} has not registered, and may not support this feature"))
    };
    let registers = image.features.metadata_version().supports_controller_registration();
    let by_quorum = || if registers { by_controllers().or_else(by_strangers) } else { None };
    by_this().or_else(by_brokers).or_else(by_quorum)
}

fn unsupported_by(
    who: &str,
    features: &BTreeMap<Str, (i16, i16)>,
    feature: &str,
    level: i16,
) -> Option<String> {
    let (min, max) = features.get(feature).copied().unwrap_or((0, 0));
    if (min..=max).contains(&level) {
        None
    } else if max == 0 {
        Some(format!("{who} does not support this feature."))
    } else {
        Some(format!("{who} only supports versions {min}-{max}"))
    }
}

fn unregistered_voter(env: &Env<'_>, image: &Image) -> Option<NodeId> {
    let known = |id: &NodeId| *id == env.config.node_id || image.cluster.controller(*id).is_some();
    env.raft.voters.iter().copied().find(|id| !known(id))
}

/// Rules of metadata.version: upwards freely, downwards only where no level in between changed what
/// records look like.
fn check_metadata_version(image: &Image, update: &Update) -> Result<(), String> {
    let current = image.features.metadata_version();
    let Some(new) = MetadataVersion::from_level(update.level) else {
        return Err(format!(
            "Invalid metadata.version {}. Unknown metadata.version.",
            update.level
        ));
    };
    if new >= current || !current.metadata_changes_between(new) {
        return Ok(());
    }
    let why = match update.upgrade_type {
        UpgradeType::UnsafeDowngrade => {
            "Unsafe metadata downgrade is not supported in this version."
        }
        _ => {
            "Refusing to perform the requested downgrade because it might delete metadata \
             information."
        }
    };
    Err(format!(
        "Unsupported metadata.version downgrade from {} to {}. {why}",
        current.level(),
        new.level()
    ))
}

fn check_dependencies(
    feature: Feature,
    update: &Update,
    proposed: &BTreeMap<String, i16>,
) -> Result<(), String> {
    for needed in feature.dependencies(update.level) {
        let name = needed.feature.name();
        if proposed.get(name).copied().unwrap_or(0) < needed.level {
            return Err(update.invalid(&format!(
                "{} could not be set to {} because it depends on {name} level {}",
                update.feature, update.level, needed.level
            )));
        }
    }
    Ok(())
}

/// With ELR, min.insync.replicas must be the same to every broker and be known to the controller: the
/// cluster-wide value is written down, and values of single brokers are removed (KIP-966).
fn push_elr_safety_records(env: &Env<'_>, draft: &mut Draft) {
    let set_by = |image: &Image, resource: &ConfigResource| {
        image.configs.value(resource, MIN_INSYNC_REPLICAS).is_some()
    };
    if !set_by(draft.image(), &ConfigResource::default_broker()) {
        draft.push(min_insync_replicas("", Some(env.config.min_insync_replicas)));
    }
    let by_broker: Vec<Str> = draft
        .image()
        .configs
        .iter()
        .filter(|(it, _)| it.kind == ConfigResourceKind::Broker && !it.name.is_empty())
        .filter(|(_, values)| values.contains_key(MIN_INSYNC_REPLICAS))
        .map(|(it, _)| it.name.clone())
        .collect();
    for broker in by_broker {
        draft.push(min_insync_replicas(&broker, None));
    }
}

/// A cluster-wide (`broker` empty) or single broker's min.insync.replicas.
pub(crate) fn min_insync_replicas(broker: &str, value: Option<i32>) -> ConfigRecord {
    ConfigRecord {
        resource_type: ConfigResourceKind::Broker as i8,
        resource_name: KStr::from(broker),
        name: KStr::from_static(MIN_INSYNC_REPLICAS),
        value: value.map(|it| KStr::from(it.to_string())),
        ..Default::default()
    }
}
