//! An image against a checkpoint that another controller wrote, record by record.
//!
//! Order does not count: Kafka writes topics in the order of a hash map, and lists within a registration
//! too. Everything else does: which records there are, their versions, and every field.

use crate::RecordKey;
use bytes::Bytes;
use quorate_base::OffsetAndEpoch;
use quorate_metadata::{ConfigResource, ConfigResourceKind, Image, may_hold_secret};
use quorate_protocol::MetadataRecord;
use quorate_protocol::control::Voter;
use quorate_storage::{SnapshotReader, StorageError};
use std::collections::BTreeMap;

/// Differences beyond this are counted, not kept.
const KEPT: usize = 20;

/// One record that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What it is about, in words.
    pub key: String,
    /// The key itself; `None` for the voter set.
    pub record_key: Option<RecordKey>,
    /// The record that replaying the log leads to; `None` if it leads to none.
    pub ours: Option<String>,
    /// The record in the checkpoint; `None` if there is none.
    pub theirs: Option<String>,
}

/// What a comparison came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// Records in the checkpoint.
    pub records: u64,
    /// How many differ.
    pub differing: u64,
    /// The first of them, in the checkpoint's order, then those that the checkpoint lacks.
    pub differences: Vec<Difference>,
    /// Settings in the checkpoint of topics that do not exist, not counted above. A topic that was created
    /// and deleted within one round of a Kafka node's image loader leaves them in that node's image
    /// for ever (observed with 4.3.0; its peers' checkpoints do not have them).
    pub orphaned_settings: Vec<String>,
}

impl Comparison {
    fn add(&mut self, difference: Difference) {
        self.differing += 1;
        if self.differences.len() < KEPT {
            self.differences.push(difference);
        }
    }
}

/// What the log says of the voters, to hold against a checkpoint's header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumFacts {
    /// The finalised `kraft.version`; `None` where never recorded.
    pub kraft_version: Option<i16>,
    /// The voter set; `None` where never recorded.
    pub voters: Option<Vec<Voter>>,
}

/// Compares the image that replaying led to with the checkpoint of the same offset. An error is damage
/// of the file, with the place.
///
/// `quorum` is `None` where the log before the checkpoint was not seen.
pub fn compare(
    ours: &Image,
    quorum: Option<&QuorumFacts>,
    id: OffsetAndEpoch,
    checkpoint: &mut SnapshotReader,
) -> Result<Comparison, StorageError> {
    let mut expected: BTreeMap<RecordKey, (i16, Bytes)> = BTreeMap::new();
    for (record, version) in ours.to_records() {
        let key = RecordKey::of(&record);
        expected.insert(key, (version, canonical(record, version)));
    }
    let mut result = Comparison::default();
    while let Some(values) = checkpoint.next_values()? {
        for value in values {
            result.records += 1;
            let (record, version) = match MetadataRecord::decode_framed(value) {
                Ok(decoded) => decoded,
                Err(error) => {
                    result.add(Difference {
                        key: format!("record {} of checkpoint {id}", result.records),
                        record_key: None,
                        ours: None,
                        theirs: Some(format!("cannot be decoded: {error}")),
                    });
                    continue;
                }
            };
            let key = RecordKey::of(&record);
            if keeps_nothing(&record) {
                continue;
            }
            if is_orphaned(&record, ours) {
                result.orphaned_settings.push(key.to_string());
                continue;
            }
            let theirs = (version, canonical(record, version));
            let here = expected.remove(&key);
            if here.as_ref() != Some(&theirs) {
                result.add(Difference {
                    key: key.describe(ours),
                    record_key: Some(key),
                    ours: here.as_ref().map(shown),
                    theirs: Some(shown(&theirs)),
                });
            }
        }
    }
    for (key, here) in &expected {
        result.add(Difference {
            key: key.describe(ours),
            record_key: Some(key.clone()),
            ours: Some(shown(here)),
            theirs: None,
        });
    }
    if let Some(quorum) = quorum {
        let theirs = QuorumFacts {
            kraft_version: checkpoint.kraft_version(),
            voters: checkpoint.voters().map(<[Voter]>::to_vec),
        };
        if sorted(quorum) != sorted(&theirs) {
            result.add(Difference {
                key: "the voter set".to_owned(),
                record_key: None,
                ours: Some(format!("{quorum:?}")),
                theirs: Some(format!("{theirs:?}")),
            });
        }
    }
    Ok(result)
}

/// A setting of a topic that does not exist. Ours never has one: they go with their topic.
fn is_orphaned(record: &MetadataRecord, ours: &Image) -> bool {
    let MetadataRecord::Config(it) = record else { return false };
    it.resource_type == ConfigResourceKind::Topic as i8
        && ours.topics.by_name(&it.resource_name).is_none()
        && ours.configs.get(&ConfigResource::topic(it.resource_name.as_str())).is_none()
}

/// Records that older releases put into snapshots and that mean nothing for the state.
fn keeps_nothing(record: &MetadataRecord) -> bool {
    matches!(record, MetadataRecord::ZkMigrationState(_) | MetadataRecord::NoOp(_))
}

/// Voter sets are sets; version 0 and "never recorded" are the same.
fn sorted(facts: &QuorumFacts) -> (i16, Vec<Voter>) {
    let mut voters = facts.voters.clone().unwrap_or_default();
    voters.sort_by_key(|it| it.key);
    (facts.kraft_version.unwrap_or(0), voters)
}

/// The bytes of a record with its unordered lists in order.
fn canonical(mut record: MetadataRecord, version: i16) -> Bytes {
    match &mut record {
        MetadataRecord::RegisterBroker(it) => {
            it.features.sort_by(|a, b| a.name.cmp(&b.name));
            it.end_points.sort_by(|a, b| a.name.cmp(&b.name));
            it.log_dirs.sort();
        }
        MetadataRecord::RegisterController(it) => {
            it.features.sort_by(|a, b| a.name.cmp(&b.name));
            it.end_points.sort_by(|a, b| a.name.cmp(&b.name));
        }
        MetadataRecord::ClientQuota(it) => {
            it.entity.sort_by(|a, b| a.entity_type.cmp(&b.entity_type));
        }
        _ => {}
    }
    record.encode_framed(version).expect("a record of that version can be written in it")
}

fn shown((version, bytes): &(i16, Bytes)) -> String {
    match MetadataRecord::decode_framed(bytes.clone()) {
        Ok((record, _)) => format!("version {version}: {:?}", without_secrets(record)),
        Err(error) => format!("version {version}: {error}"),
    }
}

/// For a report that one can show to others: that passwords differ is told, not what they are.
pub(crate) fn without_secrets(mut record: MetadataRecord) -> MetadataRecord {
    match &mut record {
        MetadataRecord::Config(it) if may_hold_secret(&it.name) => {
            it.value = it.value.as_ref().map(|_| "(secret)".into());
        }
        MetadataRecord::UserScramCredential(it) => {
            for secret in [&mut it.salt, &mut it.stored_key, &mut it.server_key] {
                *secret = Default::default();
            }
        }
        _ => {}
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_protocol::records::{ConfigRecord, UserScramCredentialRecord};

    #[test]
    fn a_report_holds_no_secrets() {
        let config = |name: &str| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: 4,
                resource_name: "1".into(),
                name: name.into(),
                value: Some("xyzzy".into()),
                ..Default::default()
            })
        };
        let scram = MetadataRecord::UserScramCredential(UserScramCredentialRecord {
            salt: "xyzzy".into(),
            stored_key: "xyzzy".into(),
            server_key: "xyzzy".into(),
            ..Default::default()
        });
        let tells = |record: MetadataRecord| format!("{:?}", without_secrets(record));
        assert!(tells(config("log.retention.ms")).contains("xyzzy"));
        for secret in [config("ssl.keystore.password"), scram] {
            assert!(!tells(secret).contains("xyzzy"));
        }
    }
}
