use crate::pmap::PMap;
use crate::{Contradiction, Str};
use quorate_protocol::features::{Feature, MetadataVersion, level_name};
use quorate_protocol::records::FeatureLevelRecord;
use quorate_protocol::{KStr, MetadataRecord};

/// The finalized feature levels. `kraft.version` is not among them: it lives in control records.
#[derive(Clone, Debug, Default)]
pub struct Features {
    pub(crate) levels: PMap<Str, i16>,
}

impl Features {
    /// The finalized `metadata.version`; the lowest possible one before it is first recorded.
    pub fn metadata_version(&self) -> MetadataVersion {
        MetadataVersion::from_level(self.level(Feature::MetadataVersion.name()))
            .unwrap_or(MetadataVersion::MINIMUM)
    }

    /// False until the bootstrap records are in the log.
    pub fn has_metadata_version(&self) -> bool {
        self.levels.contains_key(Feature::MetadataVersion.name())
    }

    /// The finalized level of a feature, 0 if there is none.
    pub fn level(&self, name: &str) -> i16 {
        self.levels.get(name).copied().unwrap_or(0)
    }

    /// All finalized features by name, `metadata.version` among them.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, i16)> {
        self.levels.iter().map(|(name, level)| (name, *level))
    }

    /// True if eligible leader replicas are switched on (KIP-966).
    pub fn elr_enabled(&self) -> bool {
        self.level(Feature::EligibleLeaderReplicas.name()) >= 1
    }

    pub(crate) fn apply(&mut self, record: &FeatureLevelRecord) -> Result<(), Contradiction> {
        let (name, level) = (record.name.as_str(), record.feature_level);
        if name == Feature::KRaftVersion.name() {
            // 3.9 and 4.0 wrote such records by mistake (KAFKA-18979); the level is in control records.
            return Ok(());
        }
        if level == 0 {
            self.levels.remove(name);
            return Ok(());
        }
        let supported = Feature::from_name(name).map_or(0..=0, Feature::supported_levels);
        if !supported.contains(&level) {
            return Err(Contradiction::UnsupportedFeatureLevel {
                feature: Str::from(name),
                level,
                name: level_name(level).filter(|_| name == Feature::MetadataVersion.name()),
                min: *supported.start(),
                max: *supported.end(),
            });
        }
        self.levels.insert(Str::from(name), level);
        Ok(())
    }

    /// `metadata.version` first, since it says how to read the rest.
    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        let is_version = |name: &Str| *name == Feature::MetadataVersion.name();
        let first = self.iter().filter(move |(name, _)| is_version(name));
        let rest = self.iter().filter(move |(name, _)| !is_version(name));
        first.chain(rest).map(|(name, level)| feature_record(name, level))
    }
}

pub(crate) fn feature_record(name: &Str, feature_level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: KStr::from(name),
        feature_level,
        ..Default::default()
    })
}
