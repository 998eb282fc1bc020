use crate::Uuid;
use std::fmt;

/// A node (controller or broker) id, `node.id` in the configuration. Never negative inside the core.
pub type NodeId = i32;
/// A leader epoch of the metadata log. Never negative inside the core.
pub type Epoch = i32;
/// A record offset in the metadata log. An *end* offset is one past the last record.
pub type Offset = i64;

/// A position in the metadata log with the epoch of the record before it; also the id of a snapshot
/// (`offset` is then one past the last contained record, `epoch` the epoch of that record).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OffsetAndEpoch {
    /// One past the last record meant.
    pub offset: Offset,
    /// Epoch of the last record meant.
    pub epoch: Epoch,
}

/// Kafka compares by epoch first, then offset: the order of "who has the better log".
impl Ord for OffsetAndEpoch {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.epoch, self.offset).cmp(&(other.epoch, other.offset))
    }
}

impl PartialOrd for OffsetAndEpoch {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for OffsetAndEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {} epoch {}", self.offset, self.epoch)
    }
}

/// A raft replica: node id plus the id of its metadata log directory (KIP-853).
/// `directory_id` is `None` where the peer did not say (Kafka's zero UUID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplicaKey {
    /// The node's id.
    pub id: NodeId,
    /// The directory's id, when known.
    pub directory_id: Option<Uuid>,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.directory_id {
            Some(dir) => write!(f, "{}-{}", self.id, dir),
            None => write!(f, "{}", self.id),
        }
    }
}
