//! DescribeConfigs, as a controller answers it of what it knows: topics, groups, client metrics, and its
//! own settings.

use crate::broker_defs::{self, BROKER};
use crate::config_defs::{self, CLIENT_METRICS, ConfigDef, ConfigType, GROUP, TOPIC};
use crate::decide::effective_configs::{
    ConfigSource, levels, node_setting, normalised, topic_fallback,
};
use crate::decide::refusal::Refusal;
use crate::{ControllerConfig, Env, Operation, RequestContext, Resource, topic_names};
use quorate_metadata::{ConfigResource, ConfigResourceKind, Image, Str};
use quorate_protocol::messages::describe_configs_request::DescribeConfigsResource;
use quorate_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use quorate_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use quorate_protocol::{ErrorCode, KStr};
use std::collections::{BTreeMap, BTreeSet};

/// Describes what may be described, in the order asked for; then follows what may not.
///
/// Errors: INVALID_REQUEST for all where a type is unknown; for a resource INVALID_TOPIC_EXCEPTION,
/// UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST (a name that is not one, another node), TOPIC_-, GROUP_-
/// and CLUSTER_AUTHORIZATION_FAILED.
pub fn describe_configs(
    env: &mut Env<'_>,
    image: &Image,
    context: &RequestContext,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let kind_of = |it: &DescribeConfigsResource| ConfigResourceKind::from_i8(it.resource_type);
    if let Some(unknown) = request.resources.iter().find(|it| kind_of(it).is_none()) {
        let why = format!("Unexpected resource type {}.", unknown.resource_type);
        let refusal = Refusal::new(ErrorCode::InvalidRequest, why);
        let results = request.resources.iter().map(|it| refused(it, &refusal)).collect();
        return DescribeConfigsResponse { results, ..Default::default() };
    }
    let (mut results, mut denied) = (Vec::new(), Vec::new());
    for asked in &request.resources {
        let Some(kind) = kind_of(asked) else { continue };
        let (target, error) = target(kind, &asked.resource_name);
        if !env.authorize(image, context, Operation::DescribeConfigs, target) {
            denied.push(refused(asked, &Refusal::plain(error)));
            continue;
        }
        let view = View { config: env.config, image, synonyms: request.include_synonyms };
        results.push(match view.describe(kind, &asked.resource_name) {
            Ok(configs) => DescribeConfigsResult {
                resource_type: asked.resource_type,
                resource_name: asked.resource_name.clone(),
                configs: chosen(configs, asked),
                ..Default::default()
            },
            Err(refusal) => refused(asked, &refusal),
        });
    }
    results.append(&mut denied);
    DescribeConfigsResponse { results, ..Default::default() }
}

/// Whose permission it takes to look at or change a resource's configs, and the error for those who
/// have it not.
pub(crate) fn target(kind: ConfigResourceKind, name: &str) -> (Resource<'_>, ErrorCode) {
    match kind {
        ConfigResourceKind::Topic => (Resource::Topic(name), ErrorCode::TopicAuthorizationFailed),
        ConfigResourceKind::Group => (Resource::Group(name), ErrorCode::GroupAuthorizationFailed),
        _ => (Resource::Cluster, ErrorCode::ClusterAuthorizationFailed),
    }
}

fn refused(asked: &DescribeConfigsResource, refusal: &Refusal) -> DescribeConfigsResult {
    DescribeConfigsResult {
        error_code: refusal.code(),
        error_message: refusal.text(),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
        ..Default::default()
    }
}

/// All of them unless some are asked for by name.
fn chosen(
    configs: Vec<DescribeConfigsResourceResult>,
    asked: &DescribeConfigsResource,
) -> Vec<DescribeConfigsResourceResult> {
    match &asked.configuration_keys {
        Some(keys) if !keys.is_empty() => {
            let keys: BTreeSet<&KStr> = keys.iter().collect();
            configs.into_iter().filter(|it| keys.contains(&it.name)).collect()
        }
        _ => configs,
    }
}

struct View<'a> {
    config: &'a ControllerConfig,
    image: &'a Image,
    synonyms: bool,
}

type Described = Result<Vec<DescribeConfigsResourceResult>, Refusal>;

fn invalid(why: String) -> Described {
    Err(Refusal::new(ErrorCode::InvalidRequest, why))
}

impl View<'_> {
    fn describe(&self, kind: ConfigResourceKind, name: &str) -> Described {
        let own_id = self.config.node_id;
        match kind {
            ConfigResourceKind::Topic => {
                topic_names::validate(name)
                    .map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
                if self.image.topics.by_name(name).is_none() {
                    return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, ""));
                }
                Ok(self.topic(name))
            }
            ConfigResourceKind::Broker if name.is_empty() => Ok(self.all_brokers()),
            ConfigResourceKind::Broker if node_id(name)? == own_id => Ok(self.own_settings()),
            ConfigResourceKind::Broker => invalid(format!(
                "Unexpected broker id, expected {own_id} or empty string, but received {name}"
            )),
            ConfigResourceKind::BrokerLogger if name.is_empty() => {
                invalid("Broker id must not be empty".to_owned())
            }
            // There are no Java loggers here whose levels could be listed.
            ConfigResourceKind::BrokerLogger if node_id(name)? == own_id => Ok(Vec::new()),
            ConfigResourceKind::BrokerLogger => {
                invalid(format!("Unexpected broker id, expected {own_id} but received {name}"))
            }
            ConfigResourceKind::ClientMetrics if name.is_empty() => {
                invalid("Client metrics subscription name must not be empty".to_owned())
            }
            ConfigResourceKind::ClientMetrics => Ok(self.client_metrics(name)),
            ConfigResourceKind::Group if name.is_empty() => {
                invalid("Group name must not be empty".to_owned())
            }
            ConfigResourceKind::Group => Ok(self.group(name)),
        }
    }

    fn topic(&self, name: &str) -> Vec<DescribeConfigsResourceResult> {
        let set = self.image.configs.get(&ConfigResource::topic(name));
        let describe = |def: &ConfigDef| {
            let own = set.and_then(|it| it.get(def.name));
            let fallback = topic_fallback(self.config, self.image, def);
            let value = Some(own.cloned().unwrap_or(fallback));
            let main = def.synonyms.first().map(|(name, _)| *name);
            let stands_for = main.map(|it| self.origins(it)).unwrap_or_default();
            self.entry(def.name, def.kind, value, own, ConfigSource::Topic, stands_for)
        };
        TOPIC.iter().map(describe).collect()
    }

    fn group(&self, name: &str) -> Vec<DescribeConfigsResourceResult> {
        let set = self.image.configs.get(&ConfigResource::new(ConfigResourceKind::Group, name));
        let describe = |def: &ConfigDef| {
            let own = set.and_then(|it| it.get(def.name));
            let stands_for = match config_defs::group_synonym(def.name) {
                Some(synonym) => self.origins(synonym),
                None => vec![origin(def.name, Some(Str::from(def.default)), ConfigSource::Default)],
            };
            let fallback = match config_defs::group_synonym(def.name) {
                Some(synonym) => node_setting(self.config, self.image, synonym).value,
                None => Some(Str::from(def.default)),
            };
            let value = own.cloned().or(fallback);
            self.entry(def.name, def.kind, value, own, ConfigSource::Group, stands_for)
        };
        GROUP.iter().filter(|def| !config_defs::is_internal(def.name)).map(describe).collect()
    }

    fn client_metrics(&self, name: &str) -> Vec<DescribeConfigsResourceResult> {
        let resource = ConfigResource::new(ConfigResourceKind::ClientMetrics, name);
        let set = self.image.configs.get(&resource);
        let describe = |def: &ConfigDef| {
            let own = set.and_then(|it| it.get(def.name));
            let value = own.cloned().or_else(|| Some(Str::from(def.default)));
            self.entry(def.name, def.kind, value, own, ConfigSource::ClientMetrics, Vec::new())
        };
        CLIENT_METRICS.iter().map(describe).collect()
    }

    fn entry(
        &self,
        name: &'static str,
        kind: ConfigType,
        value: Option<Str>,
        own: Option<&Str>,
        own_source: ConfigSource,
        stands_for: Vec<DescribeConfigsSynonym>,
    ) -> DescribeConfigsResourceResult {
        let own = own.map(|it| normalised(Some(kind), it));
        let mut synonyms: Vec<DescribeConfigsSynonym> =
            own.map(|it| origin(name, Some(it), own_source)).into_iter().collect();
        synonyms.extend(stands_for);
        DescribeConfigsResourceResult {
            name: KStr::from_static(name),
            value: value.map(|it| KStr::from(&normalised(Some(kind), &it))),
            read_only: false,
            config_source: first_source(&synonyms),
            is_sensitive: false,
            synonyms: if self.synonyms { synonyms } else { Vec::new() },
            config_type: kind as i8,
            documentation: None,
            ..Default::default()
        }
    }

    /// What was set for all brokers, and nothing else.
    fn all_brokers(&self) -> Vec<DescribeConfigsResourceResult> {
        let set = self.image.configs.get(&ConfigResource::default_broker());
        set.into_iter()
            .flatten()
            .filter(|(name, value)| has_effect(name, value))
            .map(|(name, value)| {
                let synonyms = self.origins(name).into_iter();
                let of_all = ConfigSource::DynamicDefaultBroker as i8;
                let synonyms = synonyms.filter(|it| it.source == of_all).collect();
                self.setting(name, Some(value.clone()), synonyms)
            })
            .collect()
    }

    /// Everything that this node can be told, by name.
    fn own_settings(&self) -> Vec<DescribeConfigsResourceResult> {
        let mut names: BTreeSet<&str> = BROKER.iter().map(|def| def.name).collect();
        let set = levels(self.config, self.image);
        names.extend(
            set.into_iter().flat_map(|(it, _)| it).flat_map(BTreeMap::keys).map(|it| &**it),
        );
        names
            .into_iter()
            .map(|name| {
                let value = node_setting(self.config, self.image, name).value;
                self.setting(name, value, self.origins(name))
            })
            .collect()
    }

    fn setting(
        &self,
        name: &str,
        value: Option<Str>,
        synonyms: Vec<DescribeConfigsSynonym>,
    ) -> DescribeConfigsResourceResult {
        let def = broker_defs::find_prefixed(name);
        let kind = def.map(|it| it.kind);
        let is_sensitive = is_secret(name);
        let shown = value.filter(|_| !is_sensitive);
        DescribeConfigsResourceResult {
            name: KStr::from(name),
            value: shown.map(|it| KStr::from(&normalised(kind, &it))),
            // Kafka says so of every setting with a listener's prefix.
            read_only: !broker_defs::find(name).is_some_and(|it| it.dynamic) && !is_rate(name),
            config_source: first_source(&synonyms),
            is_sensitive,
            synonyms: if self.synonyms { synonyms } else { Vec::new() },
            config_type: kind.map_or(0, |it| it as i8),
            documentation: None,
            ..Default::default()
        }
    }

    /// Every level at which a setting of this node, or one that stands in for it, has a value. Kafka
    /// leaves out what comes before the first one of the very name.
    fn origins(&self, name: &str) -> Vec<DescribeConfigsSynonym> {
        let names = settings_family(name);
        let mut found = Vec::new();
        for (values, source) in levels(self.config, self.image) {
            for name in &names {
                if let Some(value) = values.and_then(|it| it.get(*name)) {
                    let shown = Some(value.clone()).filter(|_| !is_secret(name));
                    found.push(origin(name, shown, source));
                }
            }
        }
        for name in &names {
            if let Some(default) = broker_defs::find(name).and_then(|def| def.default) {
                found.push(origin(name, Some(Str::from(default)), ConfigSource::Default));
            }
        }
        let start = found.iter().position(|it| it.name == name).unwrap_or(found.len());
        found.split_off(start)
    }
}

/// What cannot be set for all brokers, or not to this, has no effect, and Kafka does not show it.
fn has_effect(name: &str, value: &str) -> bool {
    let value = value.trim();
    if is_rate(name) {
        return value.parse().is_ok_and(|it: i64| it >= 0);
    }
    broker_defs::find(name).is_none_or(|def| {
        def.dynamic
            && match def.kind {
                ConfigType::Boolean => {
                    ["true", "false"].iter().any(|it| value.eq_ignore_ascii_case(it))
                }
                ConfigType::Int => value.parse::<i32>().is_ok(),
                ConfigType::Long => value.parse::<i64>().is_ok(),
                ConfigType::Double => value.parse::<f64>().is_ok(),
                _ => true,
            }
    })
}

fn node_id(name: &str) -> Result<i32, Refusal> {
    name.parse().map_err(|_| {
        let why = format!("Broker id must be an integer, but it is: {name}");
        Refusal::new(ErrorCode::InvalidRequest, why)
    })
}

fn first_source(synonyms: &[DescribeConfigsSynonym]) -> i8 {
    synonyms.first().map_or(ConfigSource::Default as i8, |it| it.source)
}

fn origin(name: &str, value: Option<Str>, source: ConfigSource) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: KStr::from(name),
        value: value.as_ref().map(KStr::from),
        source: source as i8,
        ..Default::default()
    }
}

/// Passwords, and whatever this release does not know and so cannot tell.
pub fn is_secret(name: &str) -> bool {
    !is_rate(name)
        && broker_defs::find_prefixed(name).is_none_or(|def| def.kind == ConfigType::Password)
}

/// Rates of replication, which brokers take although they are no settings of a file.
fn is_rate(name: &str) -> bool {
    matches!(
        name,
        "leader.replication.throttled.rate"
            | "follower.replication.throttled.rate"
            | "replica.alter.log.dirs.io.max.bytes.per.second"
    )
}

/// The settings that say the same in other units, best one first, and for a listener's setting the one
/// of all listeners.
fn settings_family(name: &str) -> Vec<&str> {
    const FAMILIES: &[&[&str]] = &[
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    ];
    if let Some(family) = FAMILIES.iter().find(|it| it.contains(&name)) {
        return family.to_vec();
    }
    if name == "log.flush.interval.ms" {
        return vec![name, "log.flush.scheduler.interval.ms"];
    }
    let of_listener = name.strip_prefix("listener.name.").and_then(|it| it.split_once('.'));
    match of_listener {
        Some((_, base)) => vec![name, base],
        None => vec![name],
    }
}
