//! Which feature levels a cluster is formatted with, and the look-up commands about them.

use crate::failure::Failure;
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::{Feature, MetadataVersion, default_level, level_name};
use quorate_protocol::records::FeatureLevelRecord;
use std::collections::BTreeMap;

/// Levels by feature, as decided for a format.
#[derive(Debug, PartialEq, Eq)]
pub struct Levels {
    /// `metadata.version`.
    pub metadata_version: MetadataVersion,
    /// `kraft.version`; never a metadata record.
    pub kraft_version: i16,
    /// The others that are above 0, by name.
    pub others: BTreeMap<&'static str, i16>,
}

/// Parses `NAME=LEVEL`.
pub fn parse_feature(text: &str) -> Result<(&str, i16), Failure> {
    let (name, level) = text.split_once('=').ok_or_else(|| {
        Failure::usage(format!("Can't parse feature=level string {text}: equals sign not found."))
    })?;
    let level = level.trim().parse().map_err(|_| {
        let why = format!("unable to parse {} as a short.", level.trim());
        Failure::usage(format!("Can't parse feature=level string {text}: {why}"))
    })?;
    Ok((name.trim(), level))
}

/// Decides the levels. `dynamic` says that voters are formatted into the directory (or are to be
/// found elsewhere), which means `kraft.version` 1.
pub fn decide<'a>(
    release: Option<&str>,
    features: impl Iterator<Item = &'a str>,
    dynamic: bool,
) -> Result<Levels, Failure> {
    let mut asked: BTreeMap<Feature, i16> = BTreeMap::new();
    for text in features {
        let (name, level) = parse_feature(text)?;
        asked.insert(find(name)?, level);
    }
    let metadata_version = match (release, asked.remove(&Feature::MetadataVersion)) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "Use --release-version instead of --feature metadata.version=X to avoid ambiguity.",
            ));
        }
        (Some(release), None) => {
            MetadataVersion::from_name(release).map_err(|error| Failure::usage(error.to_string()))?
        }
        (None, Some(level)) => MetadataVersion::from_level(level).ok_or_else(|| {
            let levels = MetadataVersion::supported_levels();
            Failure::usage(format!(
                "No MetadataVersion with feature level {level}. Valid feature levels are from {} to {}.",
                levels.start(),
                levels.end()
            ))
        })?,
        (None, None) => MetadataVersion::LATEST_PRODUCTION,
    };
    let kraft_version = kraft_version(asked.remove(&Feature::KRaftVersion), dynamic)?;
    let mut others = BTreeMap::new();
    for feature in ordinary() {
        let level = match asked.get(&feature) {
            Some(&level) => check(feature, level)?,
            None => default_level(feature, metadata_version),
        };
        if level > 0 {
            others.insert(feature.name(), level);
        }
    }
    let levels = Levels { metadata_version, kraft_version, others };
    levels.check_dependencies()?;
    Ok(levels)
}

/// All features but the two with rules of their own.
fn ordinary() -> impl Iterator<Item = Feature> {
    let special =
        |feature: &Feature| matches!(feature, Feature::MetadataVersion | Feature::KRaftVersion);
    Feature::ALL.into_iter().filter(move |feature| !special(feature))
}

fn find(name: &str) -> Result<Feature, Failure> {
    Feature::from_name(name).ok_or_else(|| {
        let mut names: Vec<&str> = Feature::ALL.iter().map(|feature| feature.name()).collect();
        names.sort_unstable();
        let names = names.join(", ");
        Failure::usage(format!("Unsupported feature: {name}. Supported features are: {names}"))
    })
}

fn check(feature: Feature, level: i16) -> Result<i16, Failure> {
    if feature.supported_levels().contains(&level) {
        return Ok(level);
    }
    let (name, levels) = (feature.name(), feature.supported_levels());
    Err(Failure::usage(format!(
        "No feature:{name} with feature level {level}; levels are {} to {}",
        levels.start(),
        levels.end()
    )))
}

fn kraft_version(asked: Option<i16>, dynamic: bool) -> Result<i16, Failure> {
    let implied = i16::from(dynamic);
    let Some(asked) = asked else { return Ok(implied) };
    match (check(Feature::KRaftVersion, asked)?, dynamic) {
        (1, false) => Err(Failure::usage(
            "Cannot set kraft.version to 1 unless controller.quorum.voters is empty and one of the flags \
             --standalone, --initial-controllers, or --no-initial-controllers is used.",
        )),
        (0, true) => Err(Failure::usage(
            "Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags \
             --standalone, --initial-controllers, or --no-initial-controllers is used. \
             Remove the --feature flag for kraft.version.",
        )),
        (level, _) => Ok(level),
    }
}

impl Levels {
    fn level(&self, feature: Feature) -> i16 {
        match feature {
            Feature::MetadataVersion => self.metadata_version.level(),
            Feature::KRaftVersion => self.kraft_version,
            other => self.others.get(other.name()).copied().unwrap_or(0),
        }
    }

    fn check_dependencies(&self) -> Result<(), Failure> {
        for feature in ordinary() {
            let level = self.level(feature);
            for needed in feature.dependencies(level) {
                if self.level(needed.feature) < needed.level {
                    return Err(Failure::usage(format!(
                        "{}={level} needs {} at least {}, but it is {}",
                        feature.name(),
                        needed.feature.name(),
                        needed.level,
                        self.level(needed.feature)
                    )));
                }
            }
        }
        Ok(())
    }

    /// The records that the first leader writes: `metadata.version` first, then the others by name.
    pub fn records(&self) -> Vec<MetadataRecord> {
        let metadata_version = (Feature::MetadataVersion.name(), self.metadata_version.level());
        let others = self.others.iter().map(|(name, level)| (*name, *level));
        let record = |(name, feature_level): (&'static str, i16)| {
            let name = name.into();
            MetadataRecord::FeatureLevel(FeatureLevelRecord {
                name,
                feature_level,
                ..Default::default()
            })
        };
        std::iter::once(metadata_version).chain(others).map(record).collect()
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = self.metadata_version;
        write!(f, "metadata.version={} ({version})", version.level())?;
        self.others.iter().try_for_each(|(name, level)| write!(f, ", {name}={level}"))
    }
}

/// `version-mapping`: the levels that come with a release.
pub fn mapping(release: Option<&str>) -> Result<String, Failure> {
    let version = match release {
        Some(release) => MetadataVersion::from_name(release)
            .map_err(|error| Failure::usage(error.to_string()))?,
        None => MetadataVersion::LATEST_PRODUCTION,
    };
    let shown = release.unwrap_or(version.name());
    let mut out = format!("metadata.version={} ({shown})\n", version.level());
    for feature in Feature::ALL.into_iter().skip(1) {
        out += &format!("{}={}\n", feature.name(), default_level(feature, version));
    }
    Ok(out)
}

/// `feature-dependencies`: what a level needs of other features.
pub fn dependencies(text: &str) -> Result<String, Failure> {
    let (name, level) = parse_feature(text)?;
    let feature = Feature::from_name(name)
        .ok_or_else(|| Failure::usage(format!("Unknown feature: {name}")))?;
    if !feature.supported_levels().contains(&level) {
        let why = format!("Feature level {level} is not supported for feature {name}");
        return Err(Failure::usage(why));
    }
    let shown = match (feature, level_name(level)) {
        (Feature::MetadataVersion, Some(known)) => format!("{name}={level} ({known})"),
        _ => format!("{name}={level}"),
    };
    let needed = feature.dependencies(level);
    if needed.is_empty() {
        return Ok(format!("{shown} has no dependencies.\n"));
    }
    let mut out = format!("{shown} requires:\n");
    for it in needed {
        let known = match it.feature {
            Feature::MetadataVersion => level_name(it.level).map(|known| format!(" ({known})")),
            _ => None,
        };
        out += &format!("    {}={}{}\n", it.feature.name(), it.level, known.unwrap_or_default());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(release: Option<&str>, features: &[&str], dynamic: bool) -> Result<String, String> {
        decide(release, features.iter().copied(), dynamic)
            .map(|levels| levels.to_string())
            .map_err(|failure| failure.message)
    }

    #[test]
    fn levels_are_those_of_kafkas_tool() {
        let newest_43 = "metadata.version=30 (4.3-IV0), eligible.leader.replicas.version=1, \
                         group.version=1, share.version=1, streams.version=1, transaction.version=2";
        assert_eq!(decided(Some("4.3"), &[], true).unwrap(), newest_43);
        assert_eq!(decided(None, &["metadata.version=30"], false).unwrap(), newest_43);
        assert_eq!(
            decided(Some("3.9"), &["group.version=1"], true).unwrap(),
            "metadata.version=21 (3.9-IV0), group.version=1"
        );
        assert_eq!(decided(Some("3.8-IV0"), &[], false).unwrap(), "metadata.version=20 (3.8-IV0)");
        assert_eq!(
            decided(None, &["metadata.version=25", "metadata.version=26"], false).unwrap(),
            "metadata.version=26 (4.1-IV0), eligible.leader.replicas.version=1, group.version=1, \
             transaction.version=2"
        );
        assert!(decided(Some("4.4-IV0"), &[], false).is_ok());
    }

    #[test]
    fn each_refusal_says_why() {
        for (release, features, dynamic, hint) in [
            (Some("3.9"), &["metadata.version=20"][..], true, "--release-version instead"),
            (Some("3.2"), &[], true, "unknown metadata.version"),
            (None, &["metadata.version=99"], true, "No MetadataVersion with feature level 99"),
            (None, &["foo=1"], true, "Unsupported feature: foo"),
            (None, &["group.version=7"], true, "No feature:group.version with feature level 7"),
            (None, &["group.version"], true, "equals sign not found"),
            (None, &["group.version=x"], true, "unable to parse x"),
            (None, &["kraft.version=1"], false, "Cannot set kraft.version to 1"),
            (None, &["kraft.version=0"], true, "Cannot set kraft.version to 0"),
            (Some("3.9"), &["eligible.leader.replicas.version=1"], true, "needs metadata.version"),
        ] {
            let error = decided(release, features, dynamic).unwrap_err();
            assert!(error.contains(hint), "{features:?}: {error}");
        }
    }

    #[test]
    fn look_ups_print_what_kafkas_tool_prints() {
        assert_eq!(
            mapping(Some("3.9")).map_err(|e| e.message).unwrap(),
            "metadata.version=21 (3.9)\nkraft.version=1\ntransaction.version=0\ngroup.version=0\n\
             eligible.leader.replicas.version=0\nshare.version=0\nstreams.version=0\n"
        );
        let dependencies = |text| dependencies(text).map_err(|failure| failure.message);
        assert_eq!(
            dependencies("group.version=1").unwrap(),
            "group.version=1 has no dependencies.\n"
        );
        assert_eq!(
            dependencies("eligible.leader.replicas.version=1").unwrap(),
            "eligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)\n"
        );
        assert_eq!(dependencies("foo=1").unwrap_err(), "Unknown feature: foo");
        assert!(dependencies("group.version=9").unwrap_err().contains("not supported"));
    }
}
