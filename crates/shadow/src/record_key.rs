//! What a metadata record is about: the key by which records of two states are compared.

use quorate_base::{NodeId, Uuid};
use quorate_metadata::{Image, QuotaEntity, Str};
use quorate_protocol::MetadataRecord;
use std::fmt;

/// The thing that a record creates, changes or removes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RecordKey {
    /// A feature by name.
    Feature(Str),
    /// A broker's registration.
    Broker(NodeId),
    /// A controller's registration.
    Controller(NodeId),
    /// A topic by id.
    Topic(Uuid),
    /// A partition by topic id and index.
    Partition(Uuid, i32),
    /// One setting: resource type, resource name, name.
    Config(i8, Str, Str),
    /// One limit of one entity.
    Quota(QuotaEntity, Str),
    /// The next producer id.
    ProducerIds,
    /// An access control entry.
    Acl(Uuid),
    /// A user's credential: mechanism, name.
    Scram(i8, Str),
    /// A delegation token by id.
    Token(Str),
    /// A type of record that keeps nothing, or (only found in logs) an ELR cleared by topic name.
    Other(&'static str),
}

impl RecordKey {
    /// What the record is about.
    pub fn of(record: &MetadataRecord) -> RecordKey {
        match record {
            MetadataRecord::RegisterBroker(it) => RecordKey::Broker(it.broker_id),
            MetadataRecord::UnregisterBroker(it) => RecordKey::Broker(it.broker_id),
            MetadataRecord::FenceBroker(it) => RecordKey::Broker(it.id),
            MetadataRecord::UnfenceBroker(it) => RecordKey::Broker(it.id),
            MetadataRecord::BrokerRegistrationChange(it) => RecordKey::Broker(it.broker_id),
            MetadataRecord::RegisterController(it) => RecordKey::Controller(it.controller_id),
            MetadataRecord::UnregisterController(it) => RecordKey::Controller(it.controller_id),
            MetadataRecord::Topic(it) => RecordKey::Topic(it.topic_id),
            MetadataRecord::RemoveTopic(it) => RecordKey::Topic(it.topic_id),
            MetadataRecord::Partition(it) => RecordKey::Partition(it.topic_id, it.partition_id),
            MetadataRecord::PartitionChange(it) => {
                RecordKey::Partition(it.topic_id, it.partition_id)
            }
            MetadataRecord::Config(it) => RecordKey::Config(
                it.resource_type,
                Str::from(&it.resource_name),
                Str::from(&it.name),
            ),
            MetadataRecord::ClientQuota(it) => {
                let parts = it.entity.iter();
                let parts = parts
                    .map(|it| (Str::from(&it.entity_type), it.entity_name.as_ref().map(Str::from)));
                RecordKey::Quota(QuotaEntity::new(parts), Str::from(&it.key))
            }
            MetadataRecord::ProducerIds(_) => RecordKey::ProducerIds,
            MetadataRecord::FeatureLevel(it) => RecordKey::Feature(Str::from(&it.name)),
            MetadataRecord::AccessControlEntry(it) => RecordKey::Acl(it.id),
            MetadataRecord::RemoveAccessControlEntry(it) => RecordKey::Acl(it.id),
            MetadataRecord::UserScramCredential(it) => {
                RecordKey::Scram(it.mechanism, Str::from(&it.name))
            }
            MetadataRecord::RemoveUserScramCredential(it) => {
                RecordKey::Scram(it.mechanism, Str::from(&it.name))
            }
            MetadataRecord::DelegationToken(it) => RecordKey::Token(Str::from(&it.token_id)),
            MetadataRecord::RemoveDelegationToken(it) => RecordKey::Token(Str::from(&it.token_id)),
            other => RecordKey::Other(other.name()),
        }
    }

    /// True if a record of the log that is about `self` changes what `key` is about: a removed topic
    /// takes its partitions along.
    pub fn touches(&self, key: &RecordKey) -> bool {
        match (self, key) {
            (RecordKey::Topic(topic), RecordKey::Partition(of, _)) => topic == of,
            _ => self == key,
        }
    }

    /// With names in place of ids, as far as the image knows them.
    pub fn describe(&self, image: &Image) -> String {
        let name = |id: &Uuid| image.topics.by_id(*id).map(|it| it.name.to_string());
        match self {
            RecordKey::Topic(id) => match name(id) {
                Some(name) => format!("topic {name} ({id})"),
                None => self.to_string(),
            },
            RecordKey::Partition(id, index) => match name(id) {
                Some(name) => format!("partition {name}-{index} (topic {id})"),
                None => self.to_string(),
            },
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordKey::Feature(name) => write!(f, "feature {name}"),
            RecordKey::Broker(id) => write!(f, "broker {id}"),
            RecordKey::Controller(id) => write!(f, "controller {id}"),
            RecordKey::Topic(id) => write!(f, "topic {id}"),
            RecordKey::Partition(id, index) => write!(f, "partition {index} of topic {id}"),
            RecordKey::Config(kind, resource, name) => {
                write!(f, "setting {name} of resource {resource:?} (type {kind})")
            }
            RecordKey::Quota(entity, key) => write!(f, "quota {key} of {:?}", entity.parts()),
            RecordKey::ProducerIds => f.write_str("the next producer id"),
            RecordKey::Acl(id) => write!(f, "ACL {id}"),
            RecordKey::Scram(mechanism, user) => {
                write!(f, "SCRAM credential of {user} (mechanism {mechanism})")
            }
            RecordKey::Token(id) => write!(f, "delegation token {id}"),
            RecordKey::Other(name) => f.write_str(name),
        }
    }
}
