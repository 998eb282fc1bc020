//! What holds where nothing, or something, was configured: a value and where it comes from.

use crate::broker_defs;
use crate::config_defs::{ConfigDef, ConfigType, TOPIC, parts};
use crate::{ControllerConfig, Env};
use quorate_metadata::{ConfigResource, Image, Str};
use quorate_protocol::KStr;
use quorate_protocol::messages::create_topics_response::CreatableTopicConfigs;
use std::collections::BTreeMap;

/// Where a value comes from, with the numbers of DescribeConfigs and CreateTopics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set on one broker.
    DynamicBroker = 2,
    /// Set for all brokers.
    DynamicDefaultBroker = 3,
    /// In the file of this node.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the client metrics subscription.
    ClientMetrics = 7,
    /// Set on the group.
    Group = 8,
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effective {
    /// As it is shown; `None` where there is neither a value nor a default.
    pub value: Option<Str>,
    /// Whose it is.
    pub source: ConfigSource,
}

/// The values set on this node and on all, and those of its file: the levels that a topic's config
/// falls back on, first one first.
pub fn levels<'a>(
    config: &'a ControllerConfig,
    image: &'a Image,
) -> [(Option<&'a BTreeMap<Str, Str>>, ConfigSource); 3] {
    [
        (image.configs.get(&ConfigResource::broker(config.node_id)), ConfigSource::DynamicBroker),
        (image.configs.get(&ConfigResource::default_broker()), ConfigSource::DynamicDefaultBroker),
        (Some(&config.static_settings), ConfigSource::StaticBroker),
    ]
}

/// All configs of a topic that sets these itself, by name: what the answer to CreateTopics shows from
/// version 5 on.
pub fn effective_new_topic_configs(
    env: &Env<'_>,
    image: &Image,
    own: &BTreeMap<&str, &str>,
) -> Vec<CreatableTopicConfigs> {
    let levels = levels(env.config, image);
    let shown = |def: &ConfigDef| {
        let (value, source) = match own.get(def.name) {
            Some(value) => (Str::from(*value), ConfigSource::Topic),
            None => fallback(env.config, &levels, def),
        };
        CreatableTopicConfigs {
            name: KStr::from_static(def.name),
            value: Some(KStr::from(&value)),
            config_source: source as i8,
            ..Default::default()
        }
    };
    TOPIC.iter().map(shown).collect()
}

/// What holds for a topic that does not set this config itself.
pub fn topic_fallback(config: &ControllerConfig, image: &Image, def: &ConfigDef) -> Str {
    fallback(config, &levels(config, image), def).0
}

fn fallback(
    config: &ControllerConfig,
    levels: &[(Option<&BTreeMap<Str, Str>>, ConfigSource)],
    def: &ConfigDef,
) -> (Str, ConfigSource) {
    for (values, source) in levels {
        for (name, factor) in def.synonyms {
            if let Some(value) = values.and_then(|it| it.get(*name)) {
                return (in_unit(value, *factor), *source);
            }
        }
    }
    match config.static_topic_defaults.get(def.name) {
        Some(value) => (value.clone(), ConfigSource::StaticBroker),
        None => (Str::from(def.default), ConfigSource::Default),
    }
}

/// A value of a coarser unit (hours) in the topic's own (milliseconds). A negative one means "no
/// limit" in any unit.
fn in_unit(value: &Str, factor: i64) -> Str {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number > 0 => {
            Str::from(number.saturating_mul(factor).to_string())
        }
        _ => value.clone(),
    }
}

/// A value as a node shows it after having read it: without blanks around it.
pub fn normalised(kind: Option<ConfigType>, value: &str) -> Str {
    let value = value.trim();
    match kind {
        Some(ConfigType::List) => Str::from(parts(value).collect::<Vec<_>>().join(",")),
        Some(ConfigType::Boolean) => Str::from(value.to_ascii_lowercase()),
        _ => Str::from(value),
    }
}

/// A setting of this node: set on it, on all, in its file, or nowhere.
pub fn node_setting(config: &ControllerConfig, image: &Image, name: &str) -> Effective {
    for (values, source) in levels(config, image) {
        if let Some(value) = values.and_then(|it| it.get(name)) {
            return Effective { value: Some(value.clone()), source };
        }
    }
    let default = broker_defs::find_prefixed(name).and_then(|def| def.default);
    Effective { value: default.map(Str::from), source: ConfigSource::Default }
}
