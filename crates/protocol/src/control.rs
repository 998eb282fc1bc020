//! Control records: what the raft layer writes into the log and into snapshots for itself.
//!
//! The key is `int16 version, int16 type`; the value is a flexible-version message at schema
//! version 0, whose first field repeats that version. Readers of Kafka 3.9 to 4.3 know no other
//! version of any of them, so none is ever written.

use crate::batch::{Batch, BatchError, BatchErrorKind, Record};
use crate::messages::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord,
    VotersRecord, leader_change_message, voters_record,
};
use crate::{Reader, WireError, decode_exact, encode_to_bytes};
use bytes::Bytes;
use quorate_base::{NodeId, Offset, ReplicaKey, Uuid};

/// The schema version of every value.
const VERSION: i16 = 0;
const TYPE_LEADER_CHANGE: i16 = 2;
const TYPE_SNAPSHOT_HEADER: i16 = 3;
const TYPE_SNAPSHOT_FOOTER: i16 = 4;
const TYPE_KRAFT_VERSION: i16 = 5;
const TYPE_KRAFT_VOTERS: i16 = 6;

/// A record of a control batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlRecord {
    /// The first record of each epoch, by its leader.
    LeaderChange {
        /// The leader.
        leader_id: NodeId,
        /// The voters as the leader knows them.
        voters: Vec<NodeId>,
        /// Those who voted for the leader.
        granting_voters: Vec<NodeId>,
    },
    /// The first record of every snapshot.
    SnapshotHeader {
        /// Timestamp of the last record contained, milliseconds since the Unix epoch.
        last_contained_log_timestamp_ms: i64,
    },
    /// The last record of every snapshot.
    SnapshotFooter,
    /// The finalised `kraft.version` from here on; effective when appended (KIP-853).
    KRaftVersion(i16),
    /// The voter set from here on; effective when appended (KIP-853).
    Voters(Vec<Voter>),
    /// A type that this build does not know. Kafka ignores such records as well.
    Unknown {
        /// The type in the key.
        kind: i16,
        /// The value as it was read.
        value: Bytes,
    },
}

/// A member of a voter set (KIP-853).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    /// Id and metadata directory.
    pub key: ReplicaKey,
    /// Where its controller listeners are.
    pub endpoints: Vec<VoterEndpoint>,
    /// Smallest `kraft.version` it supports.
    pub min_kraft_version: i16,
    /// Largest `kraft.version` it supports.
    pub max_kraft_version: i16,
}

/// One controller listener of a voter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoterEndpoint {
    /// Listener name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a control record is not readable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// The batch around it is malformed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Keys are two int16s.
    #[error("control record at offset {offset} has no key of type and version")]
    BadKey {
        /// Offset of the record.
        offset: Offset,
    },
    /// The value is not that message.
    #[error("{name} control record at offset {offset} is not readable: {why}")]
    BadValue {
        /// Offset of the record.
        offset: Offset,
        /// Which message was expected.
        name: &'static str,
        /// What is malformed.
        why: WireError,
    },
    /// A later layout that cannot be skipped.
    #[error(
        "{name} control record at offset {offset} has version {version}, this build reads version 0: \
         it was written by a later Kafka"
    )]
    UnsupportedVersion {
        /// Offset of the record.
        offset: Offset,
        /// Which message.
        name: &'static str,
        /// The version it says it has.
        version: i16,
    },
}

impl ControlRecord {
    /// The record key.
    pub fn key(&self) -> Bytes {
        let kind = match self {
            ControlRecord::LeaderChange { .. } => TYPE_LEADER_CHANGE,
            ControlRecord::SnapshotHeader { .. } => TYPE_SNAPSHOT_HEADER,
            ControlRecord::SnapshotFooter => TYPE_SNAPSHOT_FOOTER,
            ControlRecord::KRaftVersion(_) => TYPE_KRAFT_VERSION,
            ControlRecord::Voters(_) => TYPE_KRAFT_VOTERS,
            ControlRecord::Unknown { kind, .. } => *kind,
        };
        let [high, low] = kind.to_be_bytes();
        Bytes::copy_from_slice(&[0, 0, high, low])
    }

    /// The name of the message, as Kafka's dump tool prints it.
    pub fn name(&self) -> &'static str {
        match self {
            ControlRecord::LeaderChange { .. } => "LeaderChange",
            ControlRecord::SnapshotHeader { .. } => "SnapshotHeader",
            ControlRecord::SnapshotFooter => "SnapshotFooter",
            ControlRecord::KRaftVersion(_) => "KRaftVersion",
            ControlRecord::Voters(_) => "KRaftVoters",
            ControlRecord::Unknown { .. } => "Unknown",
        }
    }

    /// The record value.
    pub fn value(&self) -> Bytes {
        let value = match self {
            ControlRecord::LeaderChange { leader_id, voters, granting_voters } => {
                let voters_of = |ids: &[NodeId]| {
                    let voter = |id: &NodeId| leader_change_message::Voter {
                        voter_id: *id,
                        ..Default::default()
                    };
                    ids.iter().map(voter).collect()
                };
                let message = LeaderChangeMessage {
                    leader_id: *leader_id,
                    voters: voters_of(voters),
                    granting_voters: voters_of(granting_voters),
                    ..Default::default()
                };
                encode_to_bytes(&message, VERSION)
            }
            ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms } => {
                let last_contained_log_timestamp = *last_contained_log_timestamp_ms;
                let message =
                    SnapshotHeaderRecord { last_contained_log_timestamp, ..Default::default() };
                encode_to_bytes(&message, VERSION)
            }
            ControlRecord::SnapshotFooter => {
                encode_to_bytes(&SnapshotFooterRecord::default(), VERSION)
            }
            ControlRecord::KRaftVersion(kraft_version) => {
                let kraft_version = *kraft_version;
                let message = KRaftVersionRecord { kraft_version, ..Default::default() };
                encode_to_bytes(&message, VERSION)
            }
            ControlRecord::Voters(voters) => {
                let voters = voters.iter().map(voter_message).collect();
                encode_to_bytes(&VotersRecord { voters, ..Default::default() }, VERSION)
            }
            ControlRecord::Unknown { value, .. } => Ok(value.clone()),
        };
        // Only a text too long for the wire could fail, and none longer is ever read or configured.
        value.expect("control records have no field that cannot be written")
    }

    /// Reads one record of a control batch.
    pub fn decode(record: &Record) -> Result<ControlRecord, ControlError> {
        let offset = record.offset;
        let key = record.key.as_deref().and_then(|key| key.first_chunk::<4>());
        let Some([_, _, kind_high, kind_low]) = key else {
            return Err(ControlError::BadKey { offset });
        };
        let kind = i16::from_be_bytes([*kind_high, *kind_low]);
        let value = record.value.clone().unwrap_or_default();
        let name = match kind {
            TYPE_LEADER_CHANGE => "LeaderChange",
            TYPE_SNAPSHOT_HEADER => "SnapshotHeader",
            TYPE_SNAPSHOT_FOOTER => "SnapshotFooter",
            TYPE_KRAFT_VERSION => "KRaftVersion",
            TYPE_KRAFT_VOTERS => "KRaftVoters",
            _ => return Ok(ControlRecord::Unknown { kind, value }),
        };
        let bad = |why| ControlError::BadValue { offset, name, why };
        let version = Reader::new(value.clone()).i16().map_err(bad)?;
        // LeaderChange is read at version 0 whatever it says, as Kafka does.
        if version != VERSION && kind != TYPE_LEADER_CHANGE {
            return Err(ControlError::UnsupportedVersion { offset, name, version });
        }
        Self::decode_value(kind, value).map_err(bad)
    }

    fn decode_value(kind: i16, value: Bytes) -> Result<ControlRecord, WireError> {
        Ok(match kind {
            TYPE_LEADER_CHANGE => {
                let message: LeaderChangeMessage = decode_exact(value, VERSION)?;
                let ids = |voters: Vec<leader_change_message::Voter>| {
                    voters.into_iter().map(|voter| voter.voter_id).collect()
                };
                ControlRecord::LeaderChange {
                    leader_id: message.leader_id,
                    voters: ids(message.voters),
                    granting_voters: ids(message.granting_voters),
                }
            }
            TYPE_SNAPSHOT_HEADER => {
                let message: SnapshotHeaderRecord = decode_exact(value, VERSION)?;
                let last_contained_log_timestamp_ms = message.last_contained_log_timestamp;
                ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms }
            }
            TYPE_SNAPSHOT_FOOTER => {
                decode_exact::<SnapshotFooterRecord>(value, VERSION)?;
                ControlRecord::SnapshotFooter
            }
            TYPE_KRAFT_VERSION => {
                let message: KRaftVersionRecord = decode_exact(value, VERSION)?;
                ControlRecord::KRaftVersion(message.kraft_version)
            }
            TYPE_KRAFT_VOTERS => {
                let message: VotersRecord = decode_exact(value, VERSION)?;
                ControlRecord::Voters(message.voters.into_iter().map(voter).collect())
            }
            _ => ControlRecord::Unknown { kind, value },
        })
    }
}

/// The control records of `batch`, each with its offset; the batch must be a control batch.
pub fn control_records(batch: &Batch) -> Result<Vec<(Offset, ControlRecord)>, ControlError> {
    if !batch.is_control() {
        let kind = BatchErrorKind::BadHeader { why: "a control batch was expected" };
        return Err(BatchError { position: batch.position, kind }.into());
    }
    batch
        .records()
        .map(|record| {
            let record = record?;
            Ok((record.offset, ControlRecord::decode(&record)?))
        })
        .collect()
}

fn voter_message(voter: &Voter) -> voters_record::Voter {
    let endpoint = |endpoint: &VoterEndpoint| voters_record::Endpoint {
        name: endpoint.name.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        ..Default::default()
    };
    voters_record::Voter {
        voter_id: voter.key.id,
        voter_directory_id: voter.key.directory_id.unwrap_or(Uuid::ZERO),
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_feature: voters_record::KRaftVersionFeature {
            min_supported_version: voter.min_kraft_version,
            max_supported_version: voter.max_kraft_version,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn voter(message: voters_record::Voter) -> Voter {
    let directory = message.voter_directory_id;
    let endpoint = |endpoint: voters_record::Endpoint| VoterEndpoint {
        name: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
    };
    Voter {
        key: ReplicaKey {
            id: message.voter_id,
            directory_id: (!directory.is_zero()).then_some(directory),
        },
        endpoints: message.endpoints.into_iter().map(endpoint).collect(),
        min_kraft_version: message.kraft_version_feature.min_supported_version,
        max_kraft_version: message.kraft_version_feature.max_supported_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{batches, encode_control_batch};

    fn samples() -> Vec<ControlRecord> {
        let key = ReplicaKey { id: 3, directory_id: Some(Uuid::from_u128(77)) };
        let endpoint =
            VoterEndpoint { name: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
        vec![
            ControlRecord::LeaderChange {
                leader_id: 3,
                voters: vec![1, 2, 3],
                granting_voters: vec![3],
            },
            ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms: 12 },
            ControlRecord::SnapshotFooter,
            ControlRecord::KRaftVersion(1),
            ControlRecord::Voters(vec![Voter {
                key,
                endpoints: vec![endpoint],
                min_kraft_version: 0,
                max_kraft_version: 1,
            }]),
            ControlRecord::Unknown { kind: 99, value: Bytes::from_static(b"later") },
        ]
    }

    #[test]
    fn records_survive_a_round_trip() {
        let bytes = encode_control_batch(40, 2, 1000, &samples());
        let batch = batches(bytes).next().unwrap().unwrap();
        assert!(batch.is_control() && batch.is_valid_crc());
        let read = control_records(&batch).unwrap();
        let expected: Vec<_> = (40..).zip(samples()).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn cut_values_are_refused_at_every_byte() {
        for sample in samples() {
            let value = sample.value();
            if matches!(sample, ControlRecord::Unknown { .. }) {
                continue;
            }
            for len in 0..value.len() {
                let value = Some(value.slice(..len));
                let record = Record { offset: 0, timestamp: 0, key: Some(sample.key()), value };
                let error = ControlRecord::decode(&record).unwrap_err();
                assert!(matches!(error, ControlError::BadValue { .. }), "{error}");
            }
        }
    }
}
