use crate::Status;
use crate::node::Node;
use quorate_base::{OffsetAndEpoch, Time};

/// Everything about a node that health checks and metrics show and that is not in the committed image.
#[derive(Clone, PartialEq, Debug)]
pub struct QuorumView {
    /// Its place in the quorum.
    pub status: Status,
    /// The quorum as its raft knows it.
    pub quorum: quorate_raft::QuorumView,
    /// Wall clock in the newest applied batch, in milliseconds; 0 before the first.
    pub applied_timestamp_ms: i64,
    /// Id of the newest snapshot, written or loaded; zero if there is none.
    pub snapshot: OffsetAndEpoch,
    /// Whether a snapshot is being written.
    pub writing_snapshot: bool,
    /// What this node will do next if nothing else happens, and when.
    pub next_timeout: Option<(Time, &'static str)>,
}

impl Node {
    /// This node for those who only look. Cheap, but not free: for every half second, not for every
    /// event.
    pub fn quorum_view(&self) -> QuorumView {
        QuorumView {
            status: self.status(),
            quorum: self.raft.view(),
            applied_timestamp_ms: self.applied.timestamp_ms,
            snapshot: self.snapshots.last,
            writing_snapshot: self.snapshots.writing,
            next_timeout: self.next_timeout(),
        }
    }
}
