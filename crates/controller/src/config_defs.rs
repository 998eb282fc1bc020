//! Names, types, defaults and limits of the configurations that a controller checks: those of topics,
//! groups and client metrics. Facts as of Kafka 4.4.0, which `LogConfig`, `GroupConfig` and
//! `ClientMetricsConfigs` report of themselves.

use crate::broker_defs::{BROKER, BrokerDef};

/// The type of a value, with the numbers that DescribeConfigs uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Comma-separated.
    List = 7,
    /// Name of a Java class.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

/// What a value must be beside its type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Limit {
    /// Nothing more.
    None,
    /// A whole number of at least this.
    AtLeast(i64),
    /// A whole number in this range, both ends included.
    Between(i64, i64),
    /// A whole number in this range, or this one.
    BetweenOr(i64, i64, i64),
    /// A number in this range, both ends included.
    Fraction(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words.
    AllOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` with an ISO 8601 duration.
    OffsetReset,
}

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDef {
    /// Its name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Its value where nobody set one.
    pub default: &'static str,
    /// What values are allowed.
    pub limit: Limit,
    /// Names of the broker-wide settings that stand in where the topic has none, first one first, each
    /// with the factor from its unit to this one's.
    pub synonyms: &'static [(&'static str, i64)],
}

const fn def(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    limit: Limit,
    synonyms: &'static [(&'static str, i64)],
) -> ConfigDef {
    ConfigDef { name, kind, default, limit, synonyms }
}

use ConfigType::{Boolean, Double, Int, List, Long, String as Text};
use Limit::{AllOf, AtLeast, Between, BetweenOr, Fraction, OffsetReset, OneOf, ThrottledReplicas};

const HOURS: i64 = 3_600_000;
const MINUTES: i64 = 60_000;
const MAX_LONG: &str = "9223372036854775807";

/// Finds a definition by name in one of the tables below.
pub fn find(table: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    table.binary_search_by_key(&name, |def| def.name).ok().and_then(|at| table.get(at))
}

/// Topic configurations, by name.
#[rustfmt::skip]
pub const TOPIC: &[ConfigDef] = &[
    def("cleanup.policy", List, "delete", AllOf(&["compact", "delete"]), &[("log.cleanup.policy", 1)]),
    def("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), &[("compression.gzip.level", 1)]),
    def("compression.lz4.level", Int, "9", Between(1, 17), &[("compression.lz4.level", 1)]),
    def("compression.type", Text, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &[("compression.type", 1)]),
    def("compression.zstd.level", Int, "3", Between(-131_072, 22), &[("compression.zstd.level", 1)]),
    def("delete.retention.ms", Long, "86400000", AtLeast(0), &[("log.cleaner.delete.retention.ms", 1)]),
    def("errors.deadletterqueue.group.enable", Boolean, "false", Limit::None, &[]),
    def("file.delete.delay.ms", Long, "60000", AtLeast(0), &[("log.segment.delete.delay.ms", 1)]),
    def("flush.messages", Long, MAX_LONG, AtLeast(1), &[("log.flush.interval.messages", 1)]),
    def("flush.ms", Long, MAX_LONG, AtLeast(0), &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
    def("follower.replication.throttled.replicas", List, "", ThrottledReplicas, &[]),
    def("index.interval.bytes", Int, "4096", AtLeast(0), &[("log.index.interval.bytes", 1)]),
    def("leader.replication.throttled.replicas", List, "", ThrottledReplicas, &[]),
    def("local.retention.bytes", Long, "-2", AtLeast(-2), &[("log.local.retention.bytes", 1)]),
    def("local.retention.ms", Long, "-2", AtLeast(-2), &[("log.local.retention.ms", 1)]),
    def("max.compaction.lag.ms", Long, MAX_LONG, AtLeast(1), &[("log.cleaner.max.compaction.lag.ms", 1)]),
    def("max.decompressed.message.bytes", Int, "2147483639", Between(1, 2_147_483_639), &[("max.decompressed.message.bytes", 1)]),
    def("max.message.bytes", Int, "1048588", AtLeast(0), &[("message.max.bytes", 1)]),
    def("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[("log.message.timestamp.after.max.ms", 1)]),
    def("message.timestamp.before.max.ms", Long, MAX_LONG, AtLeast(0), &[("log.message.timestamp.before.max.ms", 1)]),
    def("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &[("log.message.timestamp.type", 1)]),
    def("min.cleanable.dirty.ratio", Double, "0.5", Fraction(0.0, 1.0), &[("log.cleaner.min.cleanable.ratio", 1)]),
    def("min.compaction.lag.ms", Long, "0", AtLeast(0), &[("log.cleaner.min.compaction.lag.ms", 1)]),
    def("min.insync.replicas", Int, "1", AtLeast(1), &[("min.insync.replicas", 1)]),
    def("preallocate", Boolean, "false", Limit::None, &[("log.preallocate", 1)]),
    def("remote.copy.lag.bytes", Long, "-1", AtLeast(-1), &[("log.remote.copy.lag.bytes", 1)]),
    def("remote.copy.lag.ms", Long, "0", AtLeast(-1), &[("log.remote.copy.lag.ms", 1)]),
    def("remote.log.copy.disable", Boolean, "false", Limit::None, &[]),
    def("remote.log.delete.on.disable", Boolean, "false", Limit::None, &[]),
    def("remote.storage.enable", Boolean, "false", Limit::None, &[]),
    def("retention.bytes", Long, "-1", Limit::None, &[("log.retention.bytes", 1)]),
    def("retention.ms", Long, "604800000", AtLeast(-1), &[("log.retention.ms", 1), ("log.retention.minutes", MINUTES), ("log.retention.hours", HOURS)]),
    def("segment.bytes", Int, "1073741824", AtLeast(1_048_576), &[("log.segment.bytes", 1)]),
    def("segment.index.bytes", Int, "10485760", AtLeast(4), &[("log.index.size.max.bytes", 1)]),
    def("segment.jitter.ms", Long, "0", AtLeast(0), &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOURS)]),
    def("segment.ms", Long, "604800000", AtLeast(1), &[("log.roll.ms", 1), ("log.roll.hours", HOURS)]),
    def("unclean.leader.election.enable", Boolean, "false", Limit::None, &[("unclean.leader.election.enable", 1)]),
];

/// Group configurations (KIP-848, 932, 1071), by name.
#[rustfmt::skip]
pub const GROUP: &[ConfigDef] = &[
    def("consumer.assignment.interval.ms", Int, "1000", AtLeast(0), &[]),
    def("consumer.assignor.offload.enable", Boolean, "true", Limit::None, &[]),
    def("consumer.heartbeat.interval.ms", Int, "5000", AtLeast(1), &[]),
    def("consumer.session.timeout.ms", Int, "45000", AtLeast(1), &[]),
    def("errors.deadletterqueue.copy.record.enable", Boolean, "false", Limit::None, &[]),
    def("errors.deadletterqueue.topic.name", Text, "", Limit::None, &[]),
    def("share.assignment.interval.ms", Int, "1000", AtLeast(0), &[]),
    def("share.assignor.offload.enable", Boolean, "true", Limit::None, &[]),
    def("share.auto.offset.reset", Text, "latest", OffsetReset, &[]),
    def("share.delivery.count.limit", Int, "5", AtLeast(2), &[]),
    def("share.heartbeat.interval.ms", Int, "5000", AtLeast(1), &[]),
    def("share.isolation.level", Text, "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), &[]),
    def("share.partition.max.record.locks", Int, "2000", AtLeast(100), &[]),
    def("share.record.lock.duration.ms", Int, "30000", AtLeast(1000), &[]),
    def("share.renew.acknowledge.enable", Boolean, "true", Limit::None, &[]),
    def("share.session.timeout.ms", Int, "45000", AtLeast(1), &[]),
    def("streams.acceptable.recovery.lag", Long, "10000", AtLeast(0), &[]),
    def("streams.assignment.interval.ms", Int, "1000", AtLeast(0), &[]),
    def("streams.assignor.name", Text, "", Limit::None, &[]),
    def("streams.assignor.offload.enable", Boolean, "true", Limit::None, &[]),
    def("streams.heartbeat.interval.ms", Int, "5000", AtLeast(1), &[]),
    def("streams.initial.rebalance.delay.ms", Int, "3000", AtLeast(0), &[]),
    def("streams.num.standby.replicas", Int, "0", AtLeast(0), &[]),
    def("streams.num.warmup.replicas", Int, "2", AtLeast(0), &[]),
    def("streams.rack.aware.assignment.tags", List, "", Limit::None, &[]),
    def("streams.session.timeout.ms", Int, "45000", AtLeast(1), &[]),
    def("streams.task.offset.interval.ms", Int, "60000", AtLeast(1), &[]),
];

/// Client metrics subscriptions (KIP-714), by name.
pub const CLIENT_METRICS: &[ConfigDef] = &[
    def("interval.ms", Int, "300000", Between(100, 3_600_000), &[]),
    def("match", List, "", Limit::None, &[]),
    def("metrics", List, "", Limit::None, &[]),
];

/// The setting of a node that stands in where a group has none of its own.
pub fn group_synonym(name: &str) -> Option<&'static str> {
    if name == "streams.assignor.name" {
        return Some("group.streams.assignors");
    }
    let of_group = |def: &BrokerDef| def.name.strip_prefix("group.") == Some(name);
    BROKER.iter().find(|def| of_group(def)).map(|def| def.name)
}

/// Configs that can be set but are not shown.
pub fn is_internal(name: &str) -> bool {
    const INTERNAL: &[&str] = &[
        "consumer.assignor.offload.enable",
        "share.assignor.offload.enable",
        "streams.acceptable.recovery.lag",
        "streams.assignor.offload.enable",
        "streams.num.warmup.replicas",
        "streams.task.offset.interval.ms",
    ];
    INTERNAL.contains(&name)
}

impl ConfigDef {
    /// Why this value is not allowed, if it is not.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let value = value.trim();
        let bad = |why: &str| {
            Err(format!("Invalid value {value} for configuration {}: {why}", self.name))
        };
        let number = match self.kind {
            Boolean => {
                let is_boolean =
                    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
                return if is_boolean {
                    Ok(())
                } else {
                    bad("Expected value to be either true or false")
                };
            }
            Int | ConfigType::Short => match value.parse::<i32>() {
                Ok(number) => i64::from(number),
                Err(_) => return bad("Not a number of type INT"),
            },
            Long => match value.parse::<i64>() {
                Ok(number) => number,
                Err(_) => return bad("Not a number of type LONG"),
            },
            Double => {
                let Ok(number) = value.parse::<f64>() else {
                    return bad("Not a number of type DOUBLE");
                };
                return match self.limit {
                    Fraction(low, _) if number < low => {
                        bad(&format!("Value must be at least {low}"))
                    }
                    Fraction(_, high) if number > high => {
                        bad(&format!("Value must be no more than {high}"))
                    }
                    Fraction(..) if number.is_nan() => bad("Value must be a number"),
                    _ => Ok(()),
                };
            }
            Text | List | ConfigType::Class | ConfigType::Password => {
                return self.check_text(value);
            }
        };
        match self.limit {
            AtLeast(low) | Between(low, _) if number < low => {
                bad(&format!("Value must be at least {low}"))
            }
            Between(_, high) if number > high => bad(&format!("Value must be no more than {high}")),
            BetweenOr(low, high, other) if number != other && !(low..=high).contains(&number) => {
                bad(&format!("Value must be between {low} and {high} or equal to {other}"))
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, value: &str) -> Result<(), String> {
        let bad = |why: String| {
            Err(format!("Invalid value {value} for configuration {}: {why}", self.name))
        };
        match self.limit {
            OneOf(words) if !words.contains(&value) => {
                bad(format!("String must be one of: {}", words.join(", ")))
            }
            AllOf(_) if !value.is_empty() && value.split(',').any(|it| it.trim().is_empty()) => {
                Err(format!("Configuration '{}' values must not be empty.", self.name))
            }
            AllOf(words) => match parts(value).find(|part| !words.contains(part)) {
                Some(_) => bad(format!("String must be one of: {}", words.join(", "))),
                None => Ok(()),
            },
            ThrottledReplicas => {
                let is_pair = |part: &str| {
                    part.split_once(':').is_some_and(|(partition, broker)| {
                        [partition, broker].iter().all(|it| it.parse::<u32>().is_ok())
                    })
                };
                if value == "*" || parts(value).all(is_pair) {
                    Ok(())
                } else {
                    bad("must be the literal '*' or a list of replicas as PARTITION:BROKER,..."
                        .to_owned())
                }
            }
            OffsetReset => {
                let duration = value.strip_prefix("by_duration:");
                if matches!(value, "latest" | "earliest") || duration.is_some_and(is_duration) {
                    Ok(())
                } else {
                    bad("must be latest, earliest or by_duration:PnDTnHnMn.nS".to_owned())
                }
            }
            _ => Ok(()),
        }
    }

    /// True if APPEND and SUBTRACT may be used.
    pub fn is_list(&self) -> bool {
        self.kind == List
    }
}

/// The entries of a list value.
pub fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A positive ISO 8601 duration of days, hours, minutes and seconds.
fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    let amounts = |text: &str, units: &str| -> Option<usize> {
        let mut count = 0;
        let mut digits = 0;
        let mut last_unit = None;
        for c in text.chars() {
            if c.is_ascii_digit() || (c == '.' && digits > 0) {
                digits += 1;
            } else {
                let unit = units.find(c)?;
                if digits == 0 || last_unit.is_some_and(|last| unit <= last) {
                    return None;
                }
                (digits, last_unit, count) = (0, Some(unit), count + 1);
            }
        }
        (digits == 0).then_some(count)
    };
    match (amounts(days, "D"), time.map(|time| amounts(time, "HMS"))) {
        (Some(days), None) => days > 0,
        (Some(_), Some(Some(times))) => times > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_defaults_are_valid() {
        for table in [TOPIC, GROUP, CLIENT_METRICS] {
            assert!(table.is_sorted_by_key(|def| def.name));
            for def in table.iter().filter(|def| !def.default.is_empty()) {
                assert_eq!(def.check(def.default), Ok(()), "{}", def.name);
            }
        }
    }

    #[test]
    fn values_outside_the_limits_are_refused() {
        for (name, value) in [
            ("cleanup.policy", "delete,shred"),
            ("cleanup.policy", "delete,"),
            ("compression.gzip.level", "0"),
            ("compression.type", "brotli"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("min.insync.replicas", "0"),
            ("preallocate", "yes"),
            ("retention.ms", "-2"),
            ("retention.ms", "1h"),
            ("segment.bytes", "1048575"),
            ("leader.replication.throttled.replicas", "0:1,x"),
            ("max.message.bytes", "3000000000"),
        ] {
            let def = find(TOPIC, name).expect("a topic config");
            let why = def.check(value).expect_err(name);
            assert!(why.contains(name), "{why}");
        }
    }

    #[test]
    fn values_within_the_limits_pass() {
        for (name, value) in [
            ("cleanup.policy", "compact,delete"),
            ("cleanup.policy", ""),
            ("compression.gzip.level", "-1"),
            ("leader.replication.throttled.replicas", "*"),
            ("follower.replication.throttled.replicas", "0:1,1:2"),
            ("preallocate", "TRUE"),
            ("retention.ms", " -1 "),
        ] {
            let def = find(TOPIC, name).expect("a topic config");
            assert_eq!(def.check(value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn durations() {
        for good in ["P1D", "PT1H", "P2DT3H4M5.5S"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["", "P", "PT", "1D", "PT1D", "P1H", "PTS", "PT1S2H"] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
