//! Leader completeness: what was committed in an epoch is in the log of every leader of a later epoch.
//!
//! Source: Leader Completeness (Raft §5.4); `LeaderHasAllAckedValues` (kip_853) and
//! `LeaderCompleteness` (kip_996) TLA+.

use super::committed::Committed;
use super::shadow::Shadow;
use quorate_base::{Epoch, NodeId};
use quorate_node::Status;
use std::collections::BTreeMap;

/// Which node was last seen leading which epoch.
#[derive(Default)]
pub struct LeaderCompleteness {
    led: BTreeMap<NodeId, Epoch>,
}

impl LeaderCompleteness {
    /// True if this is the first sight of the node leading that epoch. A leader never resumes its
    /// epoch after a restart.
    pub fn has_become_leader(&mut self, id: NodeId, status: &Status) -> bool {
        if status.role != "leader" || self.led.get(&id) == Some(&status.epoch) {
            return false;
        }
        self.led.insert(id, status.epoch);
        true
    }
}

/// A new leader must have it all.
pub fn has_all_committed(id: NodeId, epoch: Epoch, shadow: &Shadow, committed: &Committed) {
    let mut entries = shadow.from(0).iter();
    let mut entry = entries.next();
    let start = shadow.start();
    for batch in committed.since(start).iter().filter(|batch| batch.committed_in < epoch) {
        while entry.is_some_and(|entry| entry.end <= batch.base) {
            entry = entries.next();
        }
        assert!(
            entry.is_some_and(|entry| entry.base == batch.base && entry.epoch == batch.epoch),
            "LEADER COMPLETENESS: c{id} leads epoch {epoch} without the batch at {} that was \
             committed in epoch {}",
            batch.base,
            batch.committed_in
        );
    }
}
