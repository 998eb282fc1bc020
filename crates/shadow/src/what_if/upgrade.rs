//! Another `metadata.version`, with the feature levels that go with it: who cannot live with them.

use super::Misasked;
use quorate_base::{NodeId, Now, Prng};
use quorate_controller::decide::features::update_features;
use quorate_controller::{
    ControllerConfig, Draft, Env, Heartbeats, OwnRegistration, RaftView, RequestContext,
};
use quorate_metadata::{Image, Str};
use quorate_protocol::features::{Feature, MetadataVersion, advertised, default_level};
use quorate_protocol::messages::UpdateFeaturesRequest;
use quorate_protocol::messages::update_features_request::FeatureUpdateKey;
use quorate_protocol::{ErrorCode, KStr};
use std::collections::BTreeMap;

/// A node that cannot live with a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// "broker 3" or "controller 1".
    pub node: String,
    /// The feature.
    pub feature: String,
    /// The level it would have.
    pub level: i16,
    /// What the node supports.
    pub supports: (i16, i16),
}

/// What an upgrade (or downgrade) would change and what stands against it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// `metadata.version` now and then, by name.
    pub metadata_version: (String, String),
    /// Features that change: level before, level after.
    pub changes: BTreeMap<String, (i16, i16)>,
    /// Nodes that stand against it.
    pub blockers: Vec<Blocker>,
    /// Voters that have not registered, so that nobody knows what they support.
    pub unregistered_voters: Vec<NodeId>,
    /// What the controller itself would answer, if it refused.
    pub refusal: Option<String>,
    /// True where going back afterwards is refused.
    pub one_way: bool,
}

impl Upgrade {
    /// True if nothing stands against it.
    pub fn is_possible(&self) -> bool {
        self.blockers.is_empty() && self.unregistered_voters.is_empty() && self.refusal.is_none()
    }
}

/// `release`: a Kafka release ("4.4") or a level's name ("4.4-IV0"). `voters`: of the quorum, empty if not
/// known.
pub fn upgrade(
    image: &Image,
    config: &ControllerConfig,
    voters: &[NodeId],
    release: &str,
) -> Result<Upgrade, Misasked> {
    let target =
        MetadataVersion::from_name(release).map_err(|error| Misasked(error.to_string()))?;
    let now = image.metadata_version();
    let mut wanted: BTreeMap<&'static str, i16> = BTreeMap::new();
    wanted.insert(Feature::MetadataVersion.name(), target.level());
    for feature in Feature::ALL {
        if matches!(feature, Feature::MetadataVersion | Feature::KRaftVersion) {
            continue;
        }
        // kafka-features sets each to what the release's format would; raising never lowers.
        let level = default_level(feature, target);
        let known = image.features.level(feature.name());
        wanted
            .insert(feature.name(), if target > now { level.max(known) } else { level.min(known) });
    }
    let current = |name: &str| match name == Feature::MetadataVersion.name() {
        true => now.level(),
        false => image.features.level(name),
    };
    wanted.retain(|name, level| current(name) != *level);
    let changes = wanted.iter().map(|(name, level)| ((*name).to_owned(), (current(name), *level)));
    Ok(Upgrade {
        metadata_version: (now.name().to_owned(), target.name().to_owned()),
        changes: changes.collect(),
        blockers: blockers(image, &wanted),
        unregistered_voters: match now.supports_controller_registration() {
            true => voters
                .iter()
                .copied()
                .filter(|id| image.cluster.controller(*id).is_none())
                .collect(),
            false => Vec::new(),
        },
        refusal: refusal(image, config, voters, &wanted),
        one_way: target > now && now.metadata_changes_between(target),
    })
}

fn blockers(image: &Image, wanted: &BTreeMap<&'static str, i16>) -> Vec<Blocker> {
    let mut out = Vec::new();
    let mut check = |node: String, features: &BTreeMap<Str, (i16, i16)>| {
        for (name, level) in wanted {
            let (min, max) = features.get(*name).copied().unwrap_or((0, 0));
            if *level != 0 && !(min..=max).contains(level) {
                let (feature, supports) = ((*name).to_owned(), (min, max));
                out.push(Blocker { node: node.clone(), feature, level: *level, supports });
            }
        }
    };
    for broker in image.cluster.brokers() {
        check(format!("broker {}", broker.id), &broker.features);
    }
    for controller in image.cluster.controllers() {
        check(format!("controller {}", controller.id), &controller.features);
    }
    out
}

/// What a controller that itself supports everything answers.
fn refusal(
    image: &Image,
    config: &ControllerConfig,
    voters: &[NodeId],
    wanted: &BTreeMap<&'static str, i16>,
) -> Option<String> {
    let features = advertised().map(|(name, min, max)| (Str::from(name), (min, max))).collect();
    let config = ControllerConfig {
        // Nobody's: the voters are looked at one by one.
        node_id: -1,
        own_registration: OwnRegistration { features, ..OwnRegistration::default() },
        ..config.clone()
    };
    let update = |(name, level): (&&'static str, &i16)| FeatureUpdateKey {
        feature: KStr::from(*name),
        max_version_level: *level,
        upgrade_type: match *level < image.features.level(name)
            || (*name == Feature::MetadataVersion.name()
                && *level < image.metadata_version().level())
        {
            true => 2,
            false => 1,
        },
        ..Default::default()
    };
    let request = UpdateFeaturesRequest {
        feature_updates: wanted.iter().map(update).collect(),
        validate_only: true,
        ..Default::default()
    };
    let mut env = Env {
        now: Now::default(),
        config: &config,
        prng: &mut Prng::new(1),
        heartbeats: &mut Heartbeats::new(config.broker_session_timeout),
        raft: RaftView { voters: voters.to_vec(), kraft_version: 1, ..RaftView::default() },
    };
    let mut draft = Draft::new(image.clone(), 0);
    let answer =
        update_features(&mut env, &mut draft, &RequestContext::internal(1), &request).response;
    (answer.error_code != ErrorCode::None.code())
        .then(|| answer.error_message.map(|it| it.to_string()).unwrap_or_default())
}
