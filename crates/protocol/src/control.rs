//! Control records: what the raft layer writes into the log and into snapshots for itself.
//!
//! The key is `int16 version, int16 type`; the value is a flexible-version message at schema
//! version 0, whose first field repeats that version. Readers of Kafka 3.9 to 4.3 know no other
//! version of any of them, so none is ever written.

use crate::batch::{Batch, BatchError, BatchErrorKind, Record};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::{NodeId, Offset, ReplicaKey, Uuid};

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
        why: &'static str,
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
        let mut out = BytesMut::with_capacity(4);
        out.put_i16(0);
        out.put_i16(kind);
        out.freeze()
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
        let mut out = Out(BytesMut::new());
        if let ControlRecord::Unknown { value, .. } = self {
            return value.clone();
        }
        out.0.put_i16(0);
        match self {
            ControlRecord::LeaderChange { leader_id, voters, granting_voters } => {
                out.0.put_i32(*leader_id);
                for list in [voters, granting_voters] {
                    out.array(list, |out, id| {
                        out.0.put_i32(*id);
                        out.no_tags();
                    });
                }
            }
            ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms } => {
                out.0.put_i64(*last_contained_log_timestamp_ms);
            }
            ControlRecord::KRaftVersion(version) => out.0.put_i16(*version),
            ControlRecord::Voters(voters) => out.array(voters, Out::voter),
            ControlRecord::SnapshotFooter | ControlRecord::Unknown { .. } => {}
        }
        out.no_tags();
        out.0.freeze()
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
        let mut input = In(&value);
        let version = input.i16().map_err(bad)?;
        // LeaderChange is read at version 0 whatever it says, as Kafka does.
        if version != 0 && kind != TYPE_LEADER_CHANGE {
            return Err(ControlError::UnsupportedVersion { offset, name, version });
        }
        input.body(kind).map_err(bad)
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

struct Out(BytesMut);

impl Out {
    fn uvarint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.0.put_u8((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    fn no_tags(&mut self) {
        self.0.put_u8(0);
    }

    fn string(&mut self, text: &str) {
        self.uvarint(text.len() + 1);
        self.0.put_slice(text.as_bytes());
    }

    fn array<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Out, &T)) {
        self.uvarint(items.len() + 1);
        items.iter().for_each(|item| put(self, item));
    }

    fn voter(&mut self, voter: &Voter) {
        self.0.put_i32(voter.key.id);
        self.0.put_slice(&voter.key.directory_id.unwrap_or(Uuid::ZERO).0);
        self.array(&voter.endpoints, |out, endpoint| {
            out.string(&endpoint.name);
            out.string(&endpoint.host);
            out.0.put_u16(endpoint.port);
            out.no_tags();
        });
        self.0.put_i16(voter.min_kraft_version);
        self.0.put_i16(voter.max_kraft_version);
        self.no_tags();
        self.no_tags();
    }
}

struct In<'a>(&'a [u8]);

type Read<T> = Result<T, &'static str>;

impl<'a> In<'a> {
    fn body(&mut self, kind: i16) -> Read<ControlRecord> {
        let record = match kind {
            TYPE_LEADER_CHANGE => ControlRecord::LeaderChange {
                leader_id: self.i32()?,
                voters: self.array(In::leader_change_voter)?,
                granting_voters: self.array(In::leader_change_voter)?,
            },
            TYPE_SNAPSHOT_HEADER => {
                ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms: self.i64()? }
            }
            TYPE_SNAPSHOT_FOOTER => ControlRecord::SnapshotFooter,
            TYPE_KRAFT_VERSION => ControlRecord::KRaftVersion(self.i16()?),
            _ => ControlRecord::Voters(self.array(In::voter)?),
        };
        self.tags()?;
        if self.0.is_empty() { Ok(record) } else { Err("there are bytes after its last field") }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it is cut")?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("it is cut")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn i16(&mut self) -> Read<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Read<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Read<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Read<usize> {
        let mut value = 0u64;
        for i in 0..5 {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| "a length is not readable");
            }
        }
        Err("a length is not readable")
    }

    fn tags(&mut self) -> Read<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()?;
            self.take(size)?;
        }
        Ok(())
    }

    fn string(&mut self) -> Read<String> {
        let length = self.uvarint()?.checked_sub(1).ok_or("a text is null")?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")?;
        Ok(text.to_owned())
    }

    /// Allocates as elements are read, so never more than the bytes at hand justify.
    fn array<T>(&mut self, mut read: impl FnMut(&mut In<'a>) -> Read<T>) -> Read<Vec<T>> {
        let count = self.uvarint()?.checked_sub(1).ok_or("an array is null")?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn leader_change_voter(&mut self) -> Read<NodeId> {
        let id = self.i32()?;
        self.tags()?;
        Ok(id)
    }

    fn voter(&mut self) -> Read<Voter> {
        let id = self.i32()?;
        let directory = Uuid(self.fixed()?);
        let endpoints = self.array(|input| {
            let (name, host) = (input.string()?, input.string()?);
            let port = input.fixed().map(u16::from_be_bytes)?;
            input.tags()?;
            Ok(VoterEndpoint { name, host, port })
        })?;
        let (min_kraft_version, max_kraft_version) = (self.i16()?, self.i16()?);
        self.tags()?;
        self.tags()?;
        let directory_id = (!directory.is_zero()).then_some(directory);
        let key = ReplicaKey { id, directory_id };
        Ok(Voter { key, endpoints, min_kraft_version, max_kraft_version })
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
