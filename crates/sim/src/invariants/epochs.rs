//! Epochs only grow, on each node and over its restarts.
//!
//! Source: Raft §5.1; `MonotonicEpoch` of RaftEventSimulationTest, here over crashes too.

use quorate_base::{Epoch, NodeId};
use std::collections::BTreeMap;

/// The highest epoch of each node.
#[derive(Default)]
pub struct Epochs {
    seen: BTreeMap<NodeId, (u64, Epoch)>,
    promised: BTreeMap<NodeId, Epoch>,
}

impl Epochs {
    /// A node is in that epoch, in this life of its process.
    pub fn seen(&mut self, id: NodeId, life: u64, epoch: Epoch) {
        let (before_life, before) = self.seen.get(&id).copied().unwrap_or((life, epoch));
        assert!(
            before_life != life || epoch >= before,
            "EPOCHS: c{id} goes back from epoch {before} to {epoch}"
        );
        self.seen.insert(id, (life, epoch));
    }

    /// A node has put that epoch on its disk.
    pub fn promised(&mut self, id: NodeId, epoch: Epoch) {
        self.promised.insert(id, epoch);
    }

    /// A process starts in that epoch.
    pub fn recovered(&mut self, id: NodeId, epoch: Epoch) {
        let promised = self.promised.get(&id).copied().unwrap_or(0);
        assert!(epoch >= promised, "EPOCHS: c{id} forgets epoch {promised} and starts in {epoch}");
    }

    /// A new disk knows nothing.
    pub fn disk_lost(&mut self, id: NodeId) {
        self.promised.remove(&id);
    }
}
