//! Which values the configs of a resource may have together.

use crate::ControllerConfig;
use crate::broker_defs;
use crate::config_defs::{self, CLIENT_METRICS, ConfigDef, GROUP, TOPIC, parts};
use crate::decide::effective_configs::{node_setting, topic_fallback};
use crate::decide::refusal::Refusal;
use crate::topic_names;
use quorate_metadata::{ConfigResource, ConfigResourceKind, Image, Str};
use quorate_protocol::ErrorCode;
use std::collections::BTreeMap;

type Values = BTreeMap<Str, Str>;

/// What the checks look at beside the values.
pub struct Context<'a> {
    /// The file's settings.
    pub config: &'a ControllerConfig,
    /// What is set on nodes.
    pub image: &'a Image,
}

fn invalid_config(why: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::new(ErrorCode::InvalidConfig, why))
}

fn invalid_request(why: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::new(ErrorCode::InvalidRequest, why))
}

/// Whether a resource may be called so and have these values, where it had `before`. Settings of
/// brokers are checked by the broker that gets the request first.
///
/// Errors: INVALID_TOPIC_EXCEPTION, INVALID_REQUEST (names; client metrics), INVALID_CONFIG.
pub fn check(
    context: &Context<'_>,
    resource: &ConfigResource,
    before: &Values,
    after: &Values,
) -> Result<(), Refusal> {
    let name = resource.name.as_str();
    match resource.kind {
        ConfigResourceKind::Topic if name.is_empty() => {
            invalid_request("Default topic resources are not allowed.")
        }
        ConfigResourceKind::Topic => {
            topic_names::validate(name)
                .map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
            check_values(TOPIC, "topic", after)?;
            check_topic(context, before, after)
        }
        ConfigResourceKind::Group if name.is_empty() => {
            invalid_request("Default group resources are not allowed.")
        }
        ConfigResourceKind::Group => {
            check_values(GROUP, "group", after)?;
            check_group(context, after)
        }
        ConfigResourceKind::ClientMetrics if name.is_empty() => {
            invalid_request("Subscription name can't be empty")
        }
        ConfigResourceKind::ClientMetrics => check_client_metrics(after),
        ConfigResourceKind::Broker => check_broker_name(name),
        ConfigResourceKind::BrokerLogger => {
            invalid_request(format!("Unexpected resource type {}.", resource.kind))
        }
    }
}

fn check_broker_name(name: &str) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        _ if name.is_empty() => Ok(()),
        Err(_) => invalid_request("Unable to parse broker name as a base 10 number."),
        Ok(id) if id < 0 => invalid_request("Invalid negative broker ID."),
        Ok(_) => Ok(()),
    }
}

fn check_values(table: &'static [ConfigDef], what: &str, values: &Values) -> Result<(), Refusal> {
    if let Some(name) = values.keys().find(|name| config_defs::find(table, name).is_none()) {
        return invalid_config(format!("Unknown {what} config name: {name}"));
    }
    for (name, value) in values {
        if let Some(Err(why)) = config_defs::find(table, name).map(|def| def.check(value)) {
            return invalid_config(why);
        }
    }
    Ok(())
}

/// A topic's values with what they fall back on.
struct TopicValues<'a> {
    context: &'a Context<'a>,
    own: &'a Values,
}

impl TopicValues<'_> {
    fn text(&self, name: &str) -> Str {
        match (self.own.get(name), config_defs::find(TOPIC, name)) {
            (Some(value), _) => value.clone(),
            (None, Some(def)) => topic_fallback(self.context.config, self.context.image, def),
            (None, None) => Str::default(),
        }
    }

    /// Numbers were checked to be such, unless they come from the file of this node.
    fn number(&self, name: &str) -> i64 {
        self.text(name).trim().parse().unwrap_or(0)
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name).trim().eq_ignore_ascii_case("true")
    }
}

fn check_topic(context: &Context<'_>, before: &Values, after: &Values) -> Result<(), Refusal> {
    let values = TopicValues { context, own: after };
    let (least, most) =
        (values.number("min.compaction.lag.ms"), values.number("max.compaction.lag.ms"));
    if least > most {
        return invalid_config(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > \
             max.compaction.lag.ms ({most})"
        ));
    }
    if values.is_true("remote.storage.enable") {
        return check_remote_storage(&values);
    }
    let was_remote = TopicValues { context, own: before }.is_true("remote.storage.enable");
    if was_remote && !values.is_true("remote.log.delete.on.disable") {
        return invalid_config(
            "It is invalid to disable remote storage without deleting remote data. To keep the \
             data and only read it, set remote.storage.enable=true and \
             remote.log.copy.disable=true. To delete it, set remote.storage.enable=false and \
             remote.log.delete.on.disable=true.",
        );
    }
    Ok(())
}

fn check_remote_storage(values: &TopicValues<'_>) -> Result<(), Refusal> {
    let context = values.context;
    let system = node_setting(context.config, context.image, "remote.log.storage.system.enable");
    if !system.value.is_some_and(|it| it.trim().eq_ignore_ascii_case("true")) {
        return invalid_config(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        );
    }
    if parts(&values.text("cleanup.policy")).any(|it| it == "compact") {
        return invalid_config(
            "Remote log storage only supports topics with cleanup.policy=delete or an empty \
             cleanup.policy.",
        );
    }
    check_local_retention(values, "local.retention.bytes", "retention.bytes")?;
    check_local_retention(values, "local.retention.ms", "retention.ms")
}

fn check_local_retention(
    values: &TopicValues<'_>,
    local: &str,
    total: &str,
) -> Result<(), Refusal> {
    /// Local retention follows the total one.
    const AS_TOTAL: i64 = -2;
    /// Without limit.
    const UNLIMITED: i64 = -1;
    let (local_value, total_value) = (values.number(local), values.number(total));
    if local_value == AS_TOTAL || total_value == UNLIMITED {
        return Ok(());
    }
    if local_value == UNLIMITED || local_value > total_value {
        return invalid_config(format!(
            "Invalid value {local_value} for configuration {local}: Value must not be more than \
             {total} property value: {total_value}"
        ));
    }
    Ok(())
}

/// Nodes keep each of a group's numbers between two settings of their own.
fn check_group(context: &Context<'_>, values: &Values) -> Result<(), Refusal> {
    let setting = |name: &str| -> Option<i64> {
        broker_defs::find(name)?;
        node_setting(context.config, context.image, name).value?.trim().parse().ok()
    };
    for (name, value) in values {
        let Some((kind, rest)) = name.split_once('.') else { continue };
        let Ok(number) = value.trim().parse::<i64>() else { continue };
        let rest = rest.strip_prefix("num.").unwrap_or(rest);
        let lowest = setting(&format!("group.{kind}.min.{rest}"));
        let highest = setting(&format!("group.{kind}.max.{rest}"));
        let too_low = lowest.is_some_and(|it| number < it);
        let too_high = highest.is_some_and(|it| number > it);
        match (lowest, highest) {
            (Some(low), Some(high)) if too_low || too_high => {
                return invalid_config(format!(
                    "{name} must be in the range {low} to {high} inclusive."
                ));
            }
            (None, Some(high)) if too_high => {
                return invalid_config(format!("{name} must be less than or equal to {high}"));
            }
            (Some(low), None) if too_low => {
                return invalid_config(format!("{name} must be greater than or equal to {low}"));
            }
            _ => {}
        }
    }
    let number = |name: &str| -> i64 {
        let own = values.get(name).and_then(|it| it.trim().parse().ok());
        let of_node = || config_defs::group_synonym(name).and_then(setting);
        own.or_else(of_node).unwrap_or(0)
    };
    for kind in ["consumer", "share", "streams"] {
        let session = format!("{kind}.session.timeout.ms");
        let heartbeat = format!("{kind}.heartbeat.interval.ms");
        if number(&session) <= number(&heartbeat) {
            return invalid_config(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

fn check_client_metrics(values: &Values) -> Result<(), Refusal> {
    const SELECTORS: &[&str] = &[
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    ];
    const INTERVAL: &str = "interval.ms";
    const MIN_INTERVAL_MS: i32 = 100;
    const MAX_INTERVAL_MS: i32 = 3_600_000;
    if let Some(name) = values.keys().find(|it| config_defs::find(CLIENT_METRICS, it).is_none()) {
        return invalid_request(format!("Unknown client metrics configuration: {name}"));
    }
    if let Some(value) = values.get(INTERVAL) {
        match value.trim().parse::<i32>() {
            Err(_) => {
                return invalid_config(format!(
                    "Invalid value {value} for configuration {INTERVAL}: Not a number of type INT"
                ));
            }
            Ok(it) if !(MIN_INTERVAL_MS..=MAX_INTERVAL_MS).contains(&it) => {
                return invalid_request(format!(
                    "Invalid value {it} for {INTERVAL}, interval must be between \
                     {MIN_INTERVAL_MS} and {MAX_INTERVAL_MS} (1 hour)"
                ));
            }
            Ok(_) => {}
        }
    }
    for pattern in values.get("match").into_iter().flat_map(|it| parts(it)) {
        let valid = pattern.split_once('=').is_some_and(|(selector, expression)| {
            SELECTORS.contains(&selector.trim()) && is_balanced(expression)
        });
        if !valid {
            return invalid_config(format!("Illegal client matching pattern: {pattern}"));
        }
    }
    Ok(())
}

/// Brokers read the right side as a regular expression of Java's. Whether it is one in every detail
/// only they can tell; brackets left open and a second `=` are seen here.
fn is_balanced(expression: &str) -> bool {
    let (mut groups, mut in_class, mut escaped) = (0_i32, false, false);
    for c in expression.chars() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match c {
            '=' => return false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => groups += 1,
            ')' if !in_class => groups -= 1,
            _ => {}
        }
        if groups < 0 {
            return false;
        }
    }
    !expression.is_empty() && groups == 0 && !in_class && !escaped
}
