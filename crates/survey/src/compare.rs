//! Two metadata states side by side: directories, snapshot files or running quorums, as of the
//! highest offset that both have.

use crate::live::{LiveError, LiveOptions};
use crate::live_image::LiveImage;
use crate::log::ImageAt;
use crate::snapshots;
use crate::survey::{SurveyOptions, survey};
use quorate_base::{Offset, OffsetAndEpoch, Uuid};
use quorate_metadata::{Change, Image, Str, may_hold_secret};
use quorate_storage::{BOOTSTRAP_SNAPSHOT_ID, parse_snapshot_file_name};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

/// In place of a secret.
const HIDDEN: &str = "(secret)";

/// Where a metadata state comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A node's log directory.
    Directory(PathBuf),
    /// A `.checkpoint` file.
    Snapshot(PathBuf),
    /// A running quorum, by `host:port` of one of its controllers. What is read is its leader's.
    Quorum(String),
}

/// Why two states cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Neither a file, nor a directory, nor an address.
    #[error("{0} is neither a directory nor a file, nor HOST:PORT")]
    NoSource(String),
    /// No metadata can be made of it.
    #[error("{name} holds no metadata that can be read: {why}")]
    Unusable {
        /// As given.
        name: String,
        /// What stands against it.
        why: String,
    },
    /// There is no image at the offset.
    #[error("{name} has no metadata as of offset {wanted}: {why}")]
    OutOfReach {
        /// As given.
        name: String,
        /// The offset at which both are to be compared.
        wanted: Offset,
        /// What it has instead.
        why: String,
    },
    /// The running quorum cannot be read.
    #[error("{name}: {source}")]
    Live {
        /// As given.
        name: String,
        /// What went wrong.
        source: LiveError,
    },
}

impl Source {
    /// What a word on a command line means.
    pub fn parse(text: &str) -> Result<Source, CompareError> {
        let path = PathBuf::from(text);
        match std::fs::metadata(&path) {
            Ok(it) if it.is_dir() => Ok(Source::Directory(path)),
            Ok(_) => Ok(Source::Snapshot(path)),
            Err(_) => {
                let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                let is_address = port.is_some() && !text.contains('/');
                let address = is_address.then(|| Source::Quorum(text.to_owned()));
                address.ok_or_else(|| CompareError::NoSource(text.to_owned()))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Source::Directory(path) | Source::Snapshot(path) => path.display().to_string(),
            Source::Quorum(address) => address.clone(),
        }
    }

    /// Up to where it goes; of a snapshot, its only offset.
    fn end(&self, timeout: Duration) -> Result<Offset, CompareError> {
        match self {
            Source::Directory(_) => self.load(None, timeout).map(|it| it.at.offset),
            Source::Snapshot(path) => Ok(snapshot_id(path).offset),
            Source::Quorum(address) => {
                let mut live = LiveImage::new(LiveOptions::anonymous(vec![address.clone()]));
                live.catch_up(timeout).map_err(|source| self.live(source))?;
                Ok(live.applied().offset)
            }
        }
    }

    fn live(&self, source: LiveError) -> CompareError {
        CompareError::Live { name: self.name(), source }
    }

    /// The image as of `offset`, or of the end.
    pub fn load(&self, offset: Option<Offset>, timeout: Duration) -> Result<ImageAt, CompareError> {
        let unusable = |why: String| CompareError::Unusable { name: self.name(), why };
        let loaded = match self {
            Source::Directory(path) => {
                let options = SurveyOptions { stop_at: offset, ..SurveyOptions::of(path) };
                let found = survey(&options);
                let problems = found.findings.iter().filter(|it| it.severity().is_problem());
                let problems: Vec<String> =
                    problems.map(|it| format!("{} ({})", it.kind.text().what, it.place)).collect();
                let start = found.log.start;
                found.log.image.ok_or_else(|| match offset.filter(|it| *it < start) {
                    Some(wanted) => CompareError::OutOfReach {
                        name: self.name(),
                        wanted,
                        why: format!("its log starts at offset {start}"),
                    },
                    None if problems.is_empty() => unusable("it has no records".to_owned()),
                    None => unusable(problems.join("; ")),
                })?
            }
            Source::Snapshot(path) => {
                let mut findings = Vec::new();
                let id = snapshot_id(path);
                let (state, image) = snapshots::scan(path, id, &mut findings);
                let why =
                    findings.first().map(|it| format!("{} ({})", it.kind.text().what, it.place));
                let image = image.ok_or_else(|| unusable(why.unwrap_or_default()))?;
                ImageAt { image, at: id, base: id, records: state.records }
            }
            Source::Quorum(address) => {
                let mut live = LiveImage::new(LiveOptions::anonymous(vec![address.clone()]));
                if let Some(offset) = offset {
                    live = live.stopping_at(offset);
                }
                live.catch_up(timeout).map_err(|source| self.live(source))?;
                let (at, base, records) = (live.applied(), live.base(), live.records());
                ImageAt { image: live.image().clone(), at, base, records }
            }
        };
        match offset {
            Some(wanted) if loaded.at.offset != wanted || loaded.base.offset > wanted => {
                let (at, base) = (loaded.at.offset, loaded.base.offset);
                let why = if base == at {
                    format!("it is a snapshot at offset {at}")
                } else {
                    format!("what can be read goes from offset {base} to {at}")
                };
                Err(CompareError::OutOfReach { name: self.name(), wanted, why })
            }
            _ => Ok(loaded),
        }
    }
}

fn snapshot_id(path: &std::path::Path) -> OffsetAndEpoch {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    parse_snapshot_file_name(name).unwrap_or(BOOTSTRAP_SNAPSHOT_ID)
}

/// Both images, as of the highest offset that both have, or of the one given.
pub fn load_pair(
    a: &Source,
    b: &Source,
    at: Option<Offset>,
    timeout: Duration,
) -> Result<(ImageAt, ImageAt), CompareError> {
    let offset = match (at, a, b) {
        (Some(at), ..) => at,
        // A snapshot has one offset only.
        (None, Source::Snapshot(path), _) | (None, _, Source::Snapshot(path)) => {
            snapshot_id(path).offset
        }
        (None, ..) => a.end(timeout)?.min(b.end(timeout)?),
    };
    Ok((a.load(Some(offset), timeout)?, b.load(Some(offset), timeout)?))
}

/// One thing that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Kind of thing: `topic`, `partition`, `config`, ...
    pub kind: &'static str,
    /// Which one.
    pub key: String,
    /// What the first has; `None`: it lacks it.
    pub a: Option<String>,
    /// What the second has.
    pub b: Option<String>,
}

/// Everything that differs, by kind and key.
pub fn differences(a: &Image, b: &Image) -> Vec<Difference> {
    let diff = a.diff(b);
    let mut all: Vec<Difference> = Vec::new();
    let topic_name = |id: Uuid| {
        let topic = a.topics.by_id(id).or_else(|| b.topics.by_id(id));
        topic.map_or_else(|| id.to_string(), |topic| topic.name.to_string())
    };
    all.extend(diff.features().map(|it| of("feature", it.key.to_string(), it)));
    all.extend(diff.brokers().map(|it| of("broker", it.key.to_string(), it)));
    all.extend(diff.controllers().map(|it| of("controller", it.key.to_string(), it)));
    all.extend(diff.topics().map(|it| {
        let key = format!("{} ({})", topic_name(it.key), it.key);
        of("topic", key, it)
    }));
    all.extend(diff.partitions().map(|it| {
        let (id, index) = it.key;
        of("partition", format!("{}-{index} ({id})", topic_name(id)), it)
    }));
    all.extend(diff.configs().map(|it| Difference {
        kind: "config",
        key: format!("{:?}", it.key),
        a: it.old.map(settings),
        b: it.new.map(settings),
    }));
    all.extend(diff.client_quotas().map(|it| of("client quota", format!("{:?}", it.key), it)));
    all.extend(diff.producer_ids().map(|it| of("producer ids", "next".to_owned(), it)));
    all.extend(diff.acls().map(|it| of("acl", it.key.to_string(), it)));
    // Credentials are secret: that they differ is told, not what they are.
    all.extend(diff.scram().map(|it| secret("scram credential", format!("{:?}", it.key), it)));
    all.extend(
        diff.delegation_tokens().map(|it| secret("delegation token", it.key.to_string(), it)),
    );
    all
}

fn of<K, V: Debug>(kind: &'static str, key: String, it: Change<K, V>) -> Difference {
    let text = |value: V| format!("{value:?}");
    Difference { kind, key, a: it.old.map(text), b: it.new.map(text) }
}

/// The settings of one resource, those that may be passwords without their values.
fn settings(all: &BTreeMap<Str, Str>) -> String {
    let shown = |(name, value): (&Str, &Str)| match may_hold_secret(name) {
        true => format!("{name}={HIDDEN}"),
        false => format!("{name}={value}"),
    };
    format!("{{{}}}", all.iter().map(shown).collect::<Vec<_>>().join(", "))
}

fn secret<K, V>(kind: &'static str, key: String, it: Change<K, V>) -> Difference {
    let hidden = |_| HIDDEN.to_owned();
    Difference { kind, key, a: it.old.map(hidden), b: it.new.map(hidden) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_passwords() {
        let all = BTreeMap::from(
            [("listener.name.x.ssl.key.password", "p1"), ("log.retention.ms", "5")]
                .map(|(name, value)| (Str::from(name), Str::from(value))),
        );
        let shown = "{listener.name.x.ssl.key.password=(secret), log.retention.ms=5}";
        assert_eq!(settings(&all), shown);
    }
}
