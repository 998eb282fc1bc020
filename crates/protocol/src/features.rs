//! Feature levels: what a cluster has switched on, and what each level lets records say.
//!
//! `metadata.version` (KIP-778, KIP-1022) governs which records may be written; the other features govern
//! single abilities. The tables are those of Kafka 4.4.0, checked against its own tables.

use crate::MetadataRecord;
use std::fmt;
use std::ops::RangeInclusive;

/// A finalized or asked-for level of the feature `metadata.version`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MetadataVersion(i16);

struct Level {
    level: i16,
    /// Without the trailing `-IVn`.
    release: &'static str,
    name: &'static str,
    /// Records changed at this level, so that a downgrade across it would lose metadata.
    did_metadata_change: bool,
}

const fn level(
    level: i16,
    release: &'static str,
    name: &'static str,
    did_metadata_change: bool,
) -> Level {
    Level { level, release, name, did_metadata_change }
}

/// Levels 1 to 6 exist in Kafka 3.9 and older only; they are here to be named in messages.
const LEVELS: [Level; 34] = [
    level(1, "3.0", "3.0-IV1", true),
    level(2, "3.1", "3.1-IV0", false),
    level(3, "3.2", "3.2-IV0", true),
    level(4, "3.3", "3.3-IV0", false),
    level(5, "3.3", "3.3-IV1", true),
    level(6, "3.3", "3.3-IV2", true),
    level(7, "3.3", "3.3-IV3", true),
    level(8, "3.4", "3.4-IV0", true),
    level(9, "3.5", "3.5-IV0", false),
    level(10, "3.5", "3.5-IV1", false),
    level(11, "3.5", "3.5-IV2", true),
    level(12, "3.6", "3.6-IV0", false),
    level(13, "3.6", "3.6-IV1", true),
    level(14, "3.6", "3.6-IV2", true),
    level(15, "3.7", "3.7-IV0", true),
    level(16, "3.7", "3.7-IV1", false),
    level(17, "3.7", "3.7-IV2", true),
    level(18, "3.7", "3.7-IV3", false),
    level(19, "3.7", "3.7-IV4", false),
    level(20, "3.8", "3.8-IV0", false),
    level(21, "3.9", "3.9-IV0", false),
    level(22, "4.0", "4.0-IV0", false),
    level(23, "4.0", "4.0-IV1", true),
    level(24, "4.0", "4.0-IV2", false),
    level(25, "4.0", "4.0-IV3", false),
    level(26, "4.1", "4.1-IV0", false),
    level(27, "4.1", "4.1-IV1", false),
    level(28, "4.2", "4.2-IV0", false),
    level(29, "4.2", "4.2-IV1", false),
    level(30, "4.3", "4.3-IV0", true),
    level(31, "4.4", "4.4-IV0", false),
    level(32, "4.4", "4.4-IV1", true),
    level(33, "4.4", "4.4-IV2", true),
    level(34, "4.5", "4.5-IV0", false),
];

/// The text names no level of `metadata.version` that a 4.4 controller can run at.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "unknown metadata.version {given:?}; supported are {}",
    MetadataVersion::supported().map(|it| it.name()).collect::<Vec<_>>().join(", ")
)]
pub struct UnknownMetadataVersion {
    /// What was asked for.
    pub given: String,
}

impl MetadataVersion {
    /// 3.3-IV3, the oldest level a 4.x controller runs at (KIP-1124's floor).
    pub const MINIMUM: MetadataVersion = MetadataVersion(7);
    /// 3.9-IV0, the newest level a 3.9 node understands.
    pub const IBP_3_9_IV0: MetadataVersion = MetadataVersion(21);
    /// 4.3-IV0, the newest level a 4.3 node understands.
    pub const IBP_4_3_IV0: MetadataVersion = MetadataVersion(30);
    /// 4.4-IV2, the newest level of Kafka 4.4.0 meant for production.
    pub const LATEST_PRODUCTION: MetadataVersion = MetadataVersion(33);

    /// A level that a 4.4 controller can run at: 7 to 33. Others, 4.4.0's unstable 34 among them,
    /// give `None`: their records are not known here.
    pub fn from_level(level: i16) -> Option<MetadataVersion> {
        Self::supported_levels().contains(&level).then_some(MetadataVersion(level))
    }

    /// By exact name (`4.3-IV0`) or by release (`4.3`, `4.3.1`: the newest level of 4.3), as Kafka's
    /// `--release-version`.
    pub fn from_name(name: &str) -> Result<MetadataVersion, UnknownMetadataVersion> {
        let mut parts = name.splitn(3, '.');
        // Kafka cuts a release at its second number: 4.3.1.2 is 4.3.
        let release = match (parts.next(), parts.next()) {
            (Some(major), Some(minor)) => format!("{major}.{minor}"),
            _ => name.to_owned(),
        };
        LEVELS
            .iter()
            .rev()
            .filter(|it| Self::supported_levels().contains(&it.level))
            .find(|it| it.name == name || it.release == release)
            .map(|it| MetadataVersion(it.level))
            .ok_or_else(|| UnknownMetadataVersion { given: name.chars().take(64).collect() })
    }

    /// The levels a 4.4 controller can run at and advertises.
    pub fn supported_levels() -> RangeInclusive<i16> {
        Self::MINIMUM.0..=Self::LATEST_PRODUCTION.0
    }

    /// All supported versions, ascending.
    pub fn supported() -> impl DoubleEndedIterator<Item = MetadataVersion> {
        Self::supported_levels().map(MetadataVersion)
    }

    /// The number that stands in a `FeatureLevelRecord`.
    pub const fn level(self) -> i16 {
        self.0
    }

    /// For example `4.3-IV0`.
    pub fn name(self) -> &'static str {
        level_name(self.0).unwrap_or("unknown")
    }

    /// The release that brought the level, for example `4.3`.
    pub fn release(self) -> &'static str {
        LEVELS.iter().find(|it| it.level == self.0).map_or("unknown", |it| it.release)
    }

    /// True if records changed at this very level.
    pub fn did_metadata_change(self) -> bool {
        LEVELS.iter().any(|it| it.level == self.0 && it.did_metadata_change)
    }

    /// True if going from `self` to `other`, in either direction, crosses a level at which records
    /// changed: such a downgrade would lose metadata.
    pub fn metadata_changes_between(self, other: MetadataVersion) -> bool {
        let (low, high) = (self.min(other), self.max(other));
        LEVELS.iter().any(|it| low.0 < it.level && it.level <= high.0 && it.did_metadata_change)
    }

    /// SCRAM credentials as records (KIP-900).
    pub fn supports_scram(self) -> bool {
        self.0 >= 11
    }

    /// Below 3.6-IV0 the leader epoch goes up when the ISR shrinks (KAFKA-15021).
    pub fn bumps_leader_epoch_on_isr_shrink(self) -> bool {
        self.0 < 12
    }

    /// Begin, end and abort of metadata transactions (KIP-868).
    pub fn supports_transactions(self) -> bool {
        self.0 >= 13
    }

    /// Delegation tokens as records (KIP-900's follow-up, KAFKA-15219).
    pub fn supports_delegation_tokens(self) -> bool {
        self.0 >= 14
    }

    /// Controllers register themselves (KIP-919).
    pub fn supports_controller_registration(self) -> bool {
        self.0 >= 15
    }

    /// Replicas are assigned to log directories (KIP-858).
    pub fn supports_directories(self) -> bool {
        self.0 >= 17
    }

    /// Eligible leader replicas (KIP-966) can be recorded; the feature
    /// `eligible.leader.replicas.version` switches them on.
    pub fn supports_elr(self) -> bool {
        self.0 >= 23
    }

    /// Cordoned log directories (KIP-1066).
    pub fn supports_cordoned_dirs(self) -> bool {
        self.0 >= 30
    }

    /// ACL hosts may be address ranges (4.4).
    pub fn supports_cidr_acls(self) -> bool {
        self.0 >= 32
    }

    /// Controllers can be unregistered (4.4, record 29).
    pub fn supports_controller_unregistration(self) -> bool {
        self.0 >= 33
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of any level Kafka ever gave out up to 4.4.0, supported here or not; for messages.
pub fn level_name(level: i16) -> Option<&'static str> {
    LEVELS.iter().find(|it| it.level == level).map(|it| it.name)
}

/// The features a 4.4.0 node knows, in the order in which it writes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Feature {
    /// `metadata.version`: which records may be written.
    MetadataVersion,
    /// `kraft.version`: 1 means voters are in the log (KIP-853). Lives in control records, never in a
    /// `FeatureLevelRecord`.
    KRaftVersion,
    /// `transaction.version` (KIP-890).
    TransactionVersion,
    /// `group.version`: the consumer group protocol of KIP-848.
    GroupVersion,
    /// `eligible.leader.replicas.version` (KIP-966).
    EligibleLeaderReplicas,
    /// `share.version` (KIP-932).
    ShareVersion,
    /// `streams.version` (KIP-1071).
    StreamsVersion,
}

/// One feature's level needs another feature at least so high.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// The needed feature.
    pub feature: Feature,
    /// Its lowest sufficient level.
    pub level: i16,
}

impl Feature {
    /// Every feature of a 4.4.0 node.
    pub const ALL: [Feature; 7] = [
        Feature::MetadataVersion,
        Feature::KRaftVersion,
        Feature::TransactionVersion,
        Feature::GroupVersion,
        Feature::EligibleLeaderReplicas,
        Feature::ShareVersion,
        Feature::StreamsVersion,
    ];

    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::MetadataVersion => "metadata.version",
            Feature::KRaftVersion => "kraft.version",
            Feature::TransactionVersion => "transaction.version",
            Feature::GroupVersion => "group.version",
            Feature::EligibleLeaderReplicas => "eligible.leader.replicas.version",
            Feature::ShareVersion => "share.version",
            Feature::StreamsVersion => "streams.version",
        }
    }

    /// By Kafka's name.
    pub fn from_name(name: &str) -> Option<Feature> {
        Feature::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The levels that a 4.4.0 controller advertises and accepts; 0 (where contained) is "off".
    pub fn supported_levels(self) -> RangeInclusive<i16> {
        match self {
            Feature::MetadataVersion => MetadataVersion::supported_levels(),
            Feature::TransactionVersion | Feature::ShareVersion => 0..=2,
            Feature::KRaftVersion
            | Feature::GroupVersion
            | Feature::EligibleLeaderReplicas
            | Feature::StreamsVersion => 0..=1,
        }
    }

    /// The lowest `metadata.version` at which `level` is the default; `None` if there is no such level.
    pub fn bootstrap_metadata_version(self, level: i16) -> Option<MetadataVersion> {
        if !self.supported_levels().contains(&level) {
            return None;
        }
        if self == Feature::MetadataVersion {
            return MetadataVersion::from_level(level);
        }
        Some(match (self, level) {
            (_, 0) => MetadataVersion::MINIMUM,
            (Feature::KRaftVersion, _) => MetadataVersion(21),
            (Feature::TransactionVersion, _) => MetadataVersion(24),
            (Feature::GroupVersion, _) => MetadataVersion(22),
            (Feature::EligibleLeaderReplicas, _) => MetadataVersion(26),
            (Feature::ShareVersion, 1) => MetadataVersion(28),
            (Feature::ShareVersion, _) => MetadataVersion(31),
            (Feature::StreamsVersion, _) => MetadataVersion(29),
            (Feature::MetadataVersion, _) => return None,
        })
    }

    /// What `level` of this feature needs of the others.
    pub fn dependencies(self, level: i16) -> &'static [Dependency] {
        match (self, level) {
            (Feature::EligibleLeaderReplicas, 1) => {
                &[Dependency { feature: Feature::MetadataVersion, level: 23 }]
            }
            _ => &[],
        }
    }
}

/// The level that a cluster formatted at `version` gets if nothing else is asked for. For
/// `kraft.version` this holds only where initial controllers are given; else it is 0.
pub fn default_level(feature: Feature, version: MetadataVersion) -> i16 {
    if feature == Feature::MetadataVersion {
        return version.level();
    }
    feature
        .supported_levels()
        .rev()
        .find(|level| {
            feature.bootstrap_metadata_version(*level).is_some_and(|needed| needed <= version)
        })
        .unwrap_or(0)
}

/// Name, lowest and highest level of every feature, as a 4.4.0 controller advertises them in
/// ApiVersions and in its registration.
pub fn advertised() -> impl Iterator<Item = (&'static str, i16, i16)> {
    Feature::ALL.into_iter().map(|it| {
        let levels = it.supported_levels();
        (it.name(), *levels.start(), *levels.end())
    })
}

/// The version at which `record` is written while `version` is finalized, as Java 4.4.0 does.
///
/// Most records have one version. Where a record has more, the lower ones lack fields; a caller must
/// not set a field that the finalized level lacks (encoding fails if the field matters).
pub fn record_version(record: &MetadataRecord, version: MetadataVersion) -> i16 {
    let at_least = |level: i16| version.level() >= level;
    match record {
        MetadataRecord::RegisterBroker(_) => match () {
            () if at_least(30) => 4,
            () if at_least(17) => 3,
            () if at_least(8) => 2,
            () => 1,
        },
        MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => match () {
            () if at_least(23) => 2,
            () if at_least(17) => 1,
            () => 0,
        },
        // By what it carries, so that a change an old broker understands stays readable to it.
        MetadataRecord::BrokerRegistrationChange(change) => match () {
            () if change.cordoned_log_dirs.is_some() => 3,
            () if !change.log_dirs.is_empty() => 2,
            () if change.in_controlled_shutdown != 0 => 1,
            () => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_as_kafkas_release_version_does() {
        let rows = [
            ("4.3", Some("4.3-IV0")),
            ("4.3.0", Some("4.3-IV0")),
            ("4.3.1.2", Some("4.3-IV0")),
            ("4.4", Some("4.4-IV2")),
            ("4.4-IV0", Some("4.4-IV0")),
            ("4.0", Some("4.0-IV3")),
            ("3.9.1", Some("3.9-IV0")),
            ("3.7", Some("3.7-IV4")),
            ("3.3", Some("3.3-IV3")),
            ("3.3-IV2", None),
            ("3.0", None),
            ("4.5", None),
            ("4.5-IV0", None),
            ("4.3-IV9", None),
            ("4", None),
            ("", None),
        ];
        for (given, expected) in rows {
            assert_eq!(
                MetadataVersion::from_name(given).ok().map(|it| it.name()),
                expected,
                "{given}"
            );
        }
    }

    #[test]
    fn levels_are_numbered_without_gaps() {
        for (i, row) in LEVELS.iter().enumerate() {
            assert_eq!(usize::try_from(row.level).ok(), Some(i + 1));
            assert!(row.name.starts_with(row.release));
        }
        assert_eq!(MetadataVersion::LATEST_PRODUCTION.name(), "4.4-IV2");
        assert_eq!(MetadataVersion::MINIMUM.name(), "3.3-IV3");
    }

    /// One character a level from 7 to 33, as Kafka 4.4.0 answers.
    #[test]
    fn predicates_and_changes_equal_kafka_4_4_0() {
        type Predicate = fn(MetadataVersion) -> bool;
        let rows: [(&str, Predicate, &str); 12] = [
            ("change", |v| v.did_metadata_change(), "110010111010000010000001011"),
            ("scram", |v| v.supports_scram(), "000011111111111111111111111"),
            ("bump", |v| v.bumps_leader_epoch_on_isr_shrink(), "111110000000000000000000000"),
            ("transactions", |v| v.supports_transactions(), "000000111111111111111111111"),
            ("tokens", |v| v.supports_delegation_tokens(), "000000011111111111111111111"),
            (
                "registration",
                |v| v.supports_controller_registration(),
                "000000001111111111111111111",
            ),
            ("directories", |v| v.supports_directories(), "000000000011111111111111111"),
            ("elr", |v| v.supports_elr(), "000000000000000011111111111"),
            ("cordoned", |v| v.supports_cordoned_dirs(), "000000000000000000000001111"),
            ("cidr", |v| v.supports_cidr_acls(), "000000000000000000000000011"),
            (
                "unregister",
                |v| v.supports_controller_unregistration(),
                "000000000000000000000000001",
            ),
            (
                "supported",
                |v| MetadataVersion::from_level(v.level()).is_some(),
                "111111111111111111111111111",
            ),
        ];
        for (name, predicate, expected) in rows {
            let seen: String = MetadataVersion::supported()
                .map(|v| if predicate(v) { '1' } else { '0' })
                .collect();
            assert_eq!(seen, expected, "{name}");
        }
    }

    /// One character a level from 7 to 33, as Kafka 4.4.0 answers.
    #[test]
    fn default_levels_equal_kafka_4_4_0() {
        let rows = [
            (Feature::KRaftVersion, "000000000000001111111111111"),
            (Feature::TransactionVersion, "000000000000000002222222222"),
            (Feature::GroupVersion, "000000000000000111111111111"),
            (Feature::EligibleLeaderReplicas, "000000000000000000011111111"),
            (Feature::ShareVersion, "000000000000000000000111222"),
            (Feature::StreamsVersion, "000000000000000000000011111"),
        ];
        for (feature, expected) in rows {
            let seen: String = MetadataVersion::supported()
                .map(|v| char::from(b'0' + u8::try_from(default_level(feature, v)).unwrap_or(9)))
                .collect();
            assert_eq!(seen, expected, "{}", feature.name());
        }
    }

    #[test]
    fn downgrades_across_a_change_are_seen() {
        let v = |name| MetadataVersion::from_name(name).expect(name);
        assert!(v("4.3-IV0").metadata_changes_between(v("4.2-IV1")));
        assert!(v("4.2-IV1").metadata_changes_between(v("4.3-IV0")));
        assert!(!v("4.4-IV0").metadata_changes_between(v("4.3-IV0")));
        assert!(!v("4.4-IV0").metadata_changes_between(v("4.4-IV0")));
    }
}
