//! IncrementalAlterConfigs and AlterConfigs (KIP-133, 339, 714, 848).

use crate::config_defs::{self, ConfigType, GROUP, TOPIC};
use crate::decide::config_checks::{self, check};
use crate::decide::describe_configs::target;
use crate::decide::refusal::{Refusal, code_and_text};
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP, Operation, RequestContext, broker_defs};
use quorate_metadata::{ConfigResource, ConfigResourceKind, Image, Str};
use quorate_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use quorate_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs_response, incremental_alter_configs_response,
};
use quorate_protocol::records::{ClearElrRecord, ConfigRecord};
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use std::collections::{BTreeMap, BTreeSet};

/// The one topic config that ELR depends on.
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
/// Kafka counts in characters of UTF-16.
const MAX_VALUE_LENGTH: usize = 32_767;
/// As far as a string goes in a record.
const MAX_NAME_BYTES: usize = 32_767;

/// What is to be set (`Some`) or removed (`None`).
type Changes = BTreeMap<Str, Option<Str>>;
type Values = BTreeMap<Str, Str>;

/// Sets, removes, and adds to or takes from lists. Resources are judged one by one; in the answer,
/// those that were not looked at come first, log levels last.
///
/// Errors: POLICY_VIOLATION for all if more than 10,000 records come out; for a resource, in this order,
/// INVALID_REQUEST (named twice), CLUSTER_-, TOPIC_-, GROUP_AUTHORIZATION_FAILED, UNSUPPORTED_VERSION (a
/// type that does not exist), INVALID_CONFIG (not a list, ELR, too long), INVALID_REQUEST,
/// INVALID_TOPIC_EXCEPTION, INVALID_CONFIG (values), UNKNOWN_TOPIC_OR_PARTITION, BROKER_ID_NOT_REGISTERED.
pub fn incremental_alter_configs(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let is_logger = |number: i8| number == ConfigResourceKind::BrokerLogger.number();
    let (loggers, others): (Vec<_>, Vec<_>) =
        request.resources.iter().partition(|it| is_logger(it.resource_type));
    let asked = others.iter().map(|it| {
        let named = Named { number: it.resource_type, name: &it.resource_name };
        (named, Asked::Incremental(&it.configs))
    });
    let mut answers = alter(env, draft, context, asked.collect(), request.validate_only);
    for it in loggers {
        let named = Named { number: it.resource_type, name: &it.resource_name };
        let outcome = set_log_levels(env, draft.image(), context, named.name, &it.configs);
        answers.push((named, outcome));
    }
    let responses = answers.into_iter().map(|(resource, outcome)| {
        let (error_code, error_message) = code_and_text(&outcome);
        incremental_alter_configs_response::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.number,
            resource_name: resource.name.clone(),
            ..Default::default()
        }
    });
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

/// The old API: what is named is set, everything else of the resource is removed. Errors as in
/// [`incremental_alter_configs`].
pub fn alter_configs(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &AlterConfigsRequest,
) -> AlterConfigsResponse {
    let asked = request.resources.iter().map(|it| {
        let named = Named { number: it.resource_type, name: &it.resource_name };
        let configs = it.configs.iter();
        let values = configs.map(|it| (Str::from(&it.name), it.value.as_ref().map(Str::from)));
        (named, Asked::Whole(values.collect()))
    });
    let answers = alter(env, draft, context, asked.collect(), request.validate_only);
    let responses = answers.into_iter().map(|(resource, outcome)| {
        let (error_code, error_message) = code_and_text(&outcome);
        alter_configs_response::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.number,
            resource_name: resource.name.clone(),
            ..Default::default()
        }
    });
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

/// Sets the configs of a topic that this same draft creates.
///
/// Errors: INVALID_CONFIG.
pub fn set_new_topic_configs(
    env: &Env<'_>,
    draft: &mut Draft,
    topic: &str,
    configs: &[(Str, Option<Str>)],
) -> Result<(), Refusal> {
    let changes = configs.iter().cloned().collect();
    write(env, draft, &ConfigResource::topic(topic), changes, true)?;
    Ok(())
}

/// A resource as a request names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Named<'a> {
    number: i8,
    name: &'a KStr,
}

/// What a request wants of a resource.
enum Asked<'a> {
    Incremental(&'a [AlterableConfig]),
    Whole(Changes),
}

type Answers<'a> = Vec<(Named<'a>, Result<(), Refusal>)>;

fn alter<'a>(
    env: &Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    asked: Vec<(Named<'a>, Asked<'a>)>,
    validate_only: bool,
) -> Answers<'a> {
    let start = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let (twice, accepted) = without_twice_named(asked);
    let duplicate = || Refusal::new(ErrorCode::InvalidRequest, "Duplicate resource.");
    let mut answers: Answers<'a> =
        twice.into_iter().map(|named| (named, Err(duplicate()))).collect();
    let mut allowed = Vec::with_capacity(accepted.len());
    for (named, asked) in accepted {
        match resource(env, draft.image(), context, named) {
            Ok(resource) => allowed.push((named, resource, asked)),
            Err(refusal) => answers.push((named, Err(refusal))),
        }
    }
    let refused = answers.len();
    let mut touched = Vec::new();
    for (named, resource, asked) in allowed {
        let outcome = match asked {
            Asked::Incremental(configs) => incremental_changes(draft.image(), &resource, configs),
            Asked::Whole(changes) => Ok(whole_changes(draft.image(), &resource, changes)),
        };
        let outcome = outcome.and_then(|changes| write(env, draft, &resource, changes, false));
        let outcome = outcome.map(|touches_min_isr| {
            if touches_min_isr {
                touched.push(resource);
            }
        });
        answers.push((named, outcome));
    }
    push_clear_elr(draft, &touched);
    if draft.len() > limit {
        draft.rollback(start);
        for (_, outcome) in answers.iter_mut().skip(refused) {
            *outcome = Err(Refusal::too_many_records());
        }
    } else if validate_only {
        draft.rollback(start);
    }
    answers
}

type Sorted<'a> = (BTreeSet<Named<'a>>, Vec<(Named<'a>, Asked<'a>)>);

fn without_twice_named<'a>(asked: Vec<(Named<'a>, Asked<'a>)>) -> Sorted<'a> {
    let mut seen = BTreeSet::new();
    let names = asked.iter().map(|(named, _)| *named);
    let twice: BTreeSet<Named<'a>> = names.filter(|named| !seen.insert(*named)).collect();
    let once = asked.into_iter().filter(|(named, _)| !twice.contains(named)).collect();
    (twice, once)
}

/// The resource that is meant, if it is one that whoever asks may alter.
fn resource(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    named: Named<'_>,
) -> Result<ConfigResource, Refusal> {
    let Some(kind) = ConfigResourceKind::from_i8(named.number) else {
        let why = format!("Unknown resource type {}.", named.number);
        return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
    };
    if kind == ConfigResourceKind::BrokerLogger {
        let why = format!("Unexpected resource type {kind}.");
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    let (target, denied) = target(kind, named.name);
    if !env.authorize(image, context, Operation::AlterConfigs, target) {
        return Err(Refusal::plain(denied));
    }
    Ok(ConfigResource::new(kind, named.name))
}

fn check_exists(env: &Env<'_>, image: &Image, resource: &ConfigResource) -> Result<(), Refusal> {
    let name = resource.name.as_str();
    match resource.kind {
        ConfigResourceKind::Topic if image.topics.by_name(name).is_none() => Err(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{name}' does not exist."),
        )),
        ConfigResourceKind::Broker if !name.is_empty() => {
            let is_known = |id: i32| {
                image.cluster.broker(id).is_some()
                    || image.cluster.controller(id).is_some()
                    || env.raft.voters.contains(&id)
                    || id == env.config.node_id
            };
            match name.parse() {
                Ok(id) if is_known(id) => Ok(()),
                _ => Err(Refusal::new(
                    ErrorCode::BrokerIdNotRegistered,
                    format!("No node with id {name} found."),
                )),
            }
        }
        _ => Ok(()),
    }
}

fn incremental_changes(
    image: &Image,
    resource: &ConfigResource,
    configs: &[AlterableConfig],
) -> Result<Changes, Refusal> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    // Of a name given twice the last one counts, and the others are not even looked at.
    let last: BTreeMap<&KStr, &AlterableConfig> = configs.iter().map(|it| (&it.name, it)).collect();
    let mut changes = Changes::new();
    for config in last.into_values() {
        let name = Str::from(&config.name);
        let value = match config.config_operation {
            // Kafka's controllers take a value of null for a removal; brokers refuse it before.
            SET => config.value.as_ref().map(Str::from),
            DELETE => None,
            operation @ (APPEND | SUBTRACT) => {
                let verb = if operation == APPEND { "APPEND" } else { "SUBTRACT" };
                if !is_list(resource.kind, &name) {
                    let why = format!("Can't {verb} to key {name} because its type is not LIST.");
                    return Err(Refusal::new(ErrorCode::InvalidConfig, why));
                }
                let Some(value) = &config.value else {
                    let why = format!("Null value not supported for {verb} to key {name}.");
                    return Err(Refusal::new(ErrorCode::InvalidRequest, why));
                };
                let current = image.configs.value(resource, &name).cloned();
                let current = current.unwrap_or_else(|| fallback(resource.kind, &name));
                Some(Str::from(edit_list(&current, value, operation == APPEND)))
            }
            other => {
                let why = format!("Unknown config operation {other} for key {name}.");
                return Err(Refusal::new(ErrorCode::InvalidRequest, why));
            }
        };
        changes.insert(name, value);
    }
    Ok(changes)
}

fn whole_changes(image: &Image, resource: &ConfigResource, named: Changes) -> Changes {
    let current = image.configs.get(resource).into_iter().flat_map(|values| values.keys());
    let mut changes: Changes = current.map(|name| (name.clone(), None)).collect();
    changes.extend(named);
    changes
}

/// Kafka's way, so that the same text comes out: spaces belong to entries, and nothing is taken out twice.
fn edit_list(current: &str, named: &str, append: bool) -> String {
    let mut list: Vec<&str> = current.split(',').filter(|it| !it.is_empty()).collect();
    for part in split(named) {
        match list.iter().position(|it| *it == part) {
            Some(at) if !append => _ = list.remove(at),
            None if append => list.push(part),
            _ => {}
        }
    }
    list.join(",")
}

/// As Java splits: without empty entries at the end, but nothing is one empty entry.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let kept = text.trim_end_matches(',');
    let count = if kept.is_empty() && !text.is_empty() { 0 } else { usize::MAX };
    kept.split(',').take(count)
}

fn is_list(kind: ConfigResourceKind, name: &str) -> bool {
    let kind = match kind {
        ConfigResourceKind::Topic => config_defs::find(TOPIC, name).map(|def| def.kind),
        ConfigResourceKind::Group => config_defs::find(GROUP, name).map(|def| def.kind),
        ConfigResourceKind::Broker => broker_defs::find(name).map(|def| def.kind),
        // Kafka's controller has lists of client metrics and knows them not to be such.
        ConfigResourceKind::ClientMetrics | ConfigResourceKind::BrokerLogger => None,
    };
    kind == Some(ConfigType::List)
}

/// What a list that is not set on the resource starts from: Kafka's own default, whatever the cluster or
/// the node is set to.
fn fallback(kind: ConfigResourceKind, name: &str) -> Str {
    let default = match kind {
        ConfigResourceKind::Topic => config_defs::find(TOPIC, name).map(|it| it.default),
        ConfigResourceKind::Broker => broker_defs::find(name).and_then(|it| it.default),
        _ => None,
    };
    default.map(Str::from).unwrap_or_default()
}

/// Writes the changes down, if what comes out is allowed. True if ELRs may not hold any more.
fn write(
    env: &Env<'_>,
    draft: &mut Draft,
    resource: &ConfigResource,
    changes: Changes,
    is_new: bool,
) -> Result<bool, Refusal> {
    let before: Values = draft.image().configs.get(resource).cloned().unwrap_or_default();
    let mut after = before.clone();
    let mut records = Vec::new();
    let mut touches_min_isr = false;
    for (name, value) in changes {
        // A broker is told again even of what did not change: an operator does that to make it
        // read key stores anew (KAFKA-14136).
        let told_always = resource.kind == ConfigResourceKind::Broker;
        if told_always || before.get(&name) != value.as_ref() {
            check_min_isr(draft.image(), resource, &name, value.as_ref())?;
            check_length(&name, value.as_ref())?;
            touches_min_isr |= *name == *MIN_INSYNC_REPLICAS;
            records.push(record(resource, &name, value.as_ref()));
        }
        match value {
            Some(value) => after.insert(name, value),
            None => after.remove(&name),
        };
    }
    let context = config_checks::Context { config: env.config, image: draft.image() };
    check(&context, resource, &before, &after)?;
    if !is_new {
        check_exists(env, draft.image(), resource)?;
    }
    for record in records {
        draft.push(record);
    }
    Ok(touches_min_isr)
}

fn record(resource: &ConfigResource, name: &Str, value: Option<&Str>) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type: resource.kind.number(),
        resource_name: KStr::from(&resource.name),
        name: KStr::from(name),
        value: value.map(KStr::from),
        ..Default::default()
    })
}

fn check_length(name: &str, value: Option<&Str>) -> Result<(), Refusal> {
    let why = match value {
        Some(value) if value.encode_utf16().count() > MAX_VALUE_LENGTH => format!(
            "The configuration value cannot be added because it exceeds the maximum value size \
             of {MAX_VALUE_LENGTH} bytes."
        ),
        Some(value) if value.len() > MAX_NAME_BYTES => {
            format!("The value of {name} has more than {MAX_NAME_BYTES} bytes.")
        }
        _ if name.len() > MAX_NAME_BYTES => {
            format!("A configuration's name may have {MAX_NAME_BYTES} bytes.")
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(ErrorCode::InvalidConfig, why))
}

/// While ELR is on, the cluster-wide minimum must exist and no broker may have one of its own. Other
/// than Kafka we also look at its value: with one that is no number Kafka fails at the next change of
/// an ISR.
fn check_min_isr(
    image: &Image,
    resource: &ConfigResource,
    name: &str,
    value: Option<&Str>,
) -> Result<(), Refusal> {
    let concerned = name == MIN_INSYNC_REPLICAS
        && resource.kind == ConfigResourceKind::Broker
        && image.features.elr_enabled();
    if !concerned {
        return Ok(());
    }
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidConfig, why));
    if !resource.name.is_empty() {
        return refuse(
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.".to_owned(),
        );
    }
    let Some(value) = value else {
        return refuse(
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.".to_owned(),
        );
    };
    match config_defs::find(TOPIC, MIN_INSYNC_REPLICAS).map(|def| def.check(value)) {
        Some(Err(why)) => refuse(why),
        _ => Ok(()),
    }
}

/// What min.insync.replicas was when a replica became eligible does not hold any more (KIP-966).
fn push_clear_elr(draft: &mut Draft, touched: &[ConfigResource]) {
    if !draft.image().features.elr_enabled() {
        return;
    }
    for resource in touched {
        let topic_name = match resource.kind {
            ConfigResourceKind::Topic => KStr::from(&resource.name),
            // Of all topics.
            _ => KStr::default(),
        };
        draft.push(ClearElrRecord { topic_name, ..Default::default() });
    }
}

/// A controller has no loggers of Java's; the answers are Kafka's for loggers that do not exist.
fn set_log_levels(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    node: &str,
    configs: &[AlterableConfig],
) -> Result<(), Refusal> {
    let (target, denied) = target(ConfigResourceKind::BrokerLogger, node);
    if !env.authorize(image, context, Operation::ClusterAction, target) {
        return Err(Refusal::plain(denied));
    }
    let own = env.config.node_id;
    let refuse = |error, why| Err(Refusal::new(error, why));
    match node.parse::<i32>() {
        Err(_) => refuse(
            ErrorCode::InvalidRequest,
            format!("Node id must be an integer, but it is: {node}"),
        ),
        Ok(id) if id != own => refuse(
            ErrorCode::InvalidRequest,
            format!("Unexpected node id. Expected {own}, but received {node}"),
        ),
        Ok(_) => match configs.first() {
            Some(it) => {
                refuse(ErrorCode::InvalidConfig, format!("Logger {} does not exist!", it.name))
            }
            None => Ok(()),
        },
    }
}
