use crate::Str;
use quorate_base::{NodeId, Uuid};

/// A record that cannot be applied to the image. In a log that a sane controller wrote this cannot
/// happen: it stops the node before it makes things worse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{record} cannot be applied: {contradiction}")]
pub struct ApplyError {
    /// Kafka's name of the record.
    pub record: &'static str,
    /// What in the image, or in the record itself, speaks against it.
    pub contradiction: Contradiction,
}

/// Why a record cannot be applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Contradiction {
    /// The broker is not registered.
    #[error("broker {0} is not registered")]
    UnknownBroker(NodeId),
    /// The broker is registered with another epoch.
    #[error("broker {id} is registered with epoch {registered}, the record says {given}")]
    OtherBrokerEpoch {
        /// The broker.
        id: NodeId,
        /// Its epoch in the image.
        registered: i64,
        /// Its epoch in the record.
        given: i64,
    },
    /// The controller is not registered.
    #[error("controller {0} is not registered")]
    UnknownController(NodeId),
    /// No topic has the id.
    #[error("there is no topic with the id {0}")]
    UnknownTopic(Uuid),
    /// No topic has the name.
    #[error("there is no topic named {0:?}")]
    UnknownTopicName(Str),
    /// A topic of that name or id is there already.
    #[error("there is a topic already with the name {name:?} or the id {id}")]
    TopicExists {
        /// The name in the record.
        name: Str,
        /// The id in the record.
        id: Uuid,
    },
    /// The topic has no such partition.
    #[error("topic {topic:?} ({topic_id}) has no partition {partition}")]
    UnknownPartition {
        /// The topic's id.
        topic_id: Uuid,
        /// The topic's name.
        topic: Str,
        /// The partition's index.
        partition: i32,
    },
    /// A partition must have one directory for each replica.
    #[error("{replicas} replicas but {directories} directories")]
    DirectoryCount {
        /// Number of replicas after the change.
        replicas: usize,
        /// Number of directories after the change.
        directories: usize,
    },
    /// A partition without replicas.
    #[error("the partition has no replicas")]
    NoReplicas,
    /// A counter would go over its largest value.
    #[error("{0} is at its largest value already")]
    CounterExhausted(&'static str),
    /// A field has a value without a meaning.
    #[error("field {field} has the value {value}, which means nothing")]
    MeaninglessValue {
        /// Kafka's name of the field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// No ACL has the id.
    #[error("there is no ACL with the id {0}")]
    UnknownAcl(Uuid),
    /// The user has no credential of that mechanism.
    #[error("user {user:?} has no SCRAM credential of mechanism {mechanism}")]
    UnknownScramCredential {
        /// The user.
        user: Str,
        /// The mechanism's number.
        mechanism: i8,
    },
    /// The log is at a feature level which this release does not know, so later records may mean
    /// something else than it thinks.
    #[error(
        "this release supports {feature} from {min} to {max}, not {level}{}; run the node with a \
         release that supports it",
        name.map(|it| format!(" ({it})")).unwrap_or_default()
    )]
    UnsupportedFeatureLevel {
        /// The feature.
        feature: Str,
        /// The level in the record.
        level: i16,
        /// The level's name, if it is one of `metadata.version` that is known by name.
        name: Option<&'static str>,
        /// Lowest supported level.
        min: i16,
        /// Highest supported level.
        max: i16,
    },
    /// Transactions are for the [`Replayer`](crate::Replayer), which keeps the image at their begin.
    #[error("a transaction marker reached a single image")]
    TransactionMarker,
    /// A transaction begins inside another.
    #[error("the transaction {0:?} is open already")]
    TransactionOpen(Str),
    /// A transaction ends that never began.
    #[error("no transaction is open")]
    NoTransaction,
}

impl Contradiction {
    pub(crate) fn in_record(self, record: &'static str) -> ApplyError {
        ApplyError { record, contradiction: self }
    }
}
