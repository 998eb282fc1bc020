//! What must never happen, checked at every action.

use super::Node;
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset, ReplicaKey};
use quorate_raft::{Action, Role};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Invariants {
    leaders: BTreeMap<Epoch, NodeId>,
    votes: BTreeMap<(NodeId, u128, Epoch), ReplicaKey>,
    committed: BTreeMap<Offset, (Offset, Epoch, Bytes)>,
    committed_end: Offset,
    high_watermarks: BTreeMap<NodeId, (u64, Offset)>,
}

impl Invariants {
    pub fn before(&mut self, id: NodeId, action: &Action, nodes: &BTreeMap<NodeId, Node>) {
        let node = &nodes[&id];
        match action {
            Action::PersistElectionState(state) => {
                if let Some(old) = &node.disk.election {
                    assert!(state.epoch >= old.epoch, "node {id} goes back to {}", state.epoch);
                }
                if let Some(voted) = state.voted {
                    let key = (id, node.config.directory_id.as_u128(), state.epoch);
                    let first = *self.votes.entry(key).or_insert(voted);
                    assert_eq!(first, voted, "node {id} votes twice in epoch {}", state.epoch);
                }
            }
            Action::TruncateLog { to } => {
                let (life, hw) = self.high_watermarks.get(&id).copied().unwrap_or((0, 0));
                assert!(life != node.life || to.offset >= hw, "node {id} truncates below {hw}");
            }
            _ => {}
        }
    }

    /// Election safety (Raft §5.2) and leader completeness (§5.4).
    pub fn elected(&mut self, id: NodeId, epoch: Epoch, nodes: &BTreeMap<NodeId, Node>) {
        let first = *self.leaders.entry(epoch).or_insert(id);
        assert_eq!(first, id, "epoch {epoch} has two leaders");
        let disk = &nodes[&id].disk;
        assert!(
            disk.end().offset >= self.committed_end,
            "leader {id} of epoch {epoch} ends at {}, committed is {}",
            disk.end().offset,
            self.committed_end
        );
        for batch in &disk.batches {
            if let Some((_, committed, bytes)) = self.committed.get(&batch.base_offset) {
                assert_eq!(batch.epoch, *committed, "leader {id} lacks what is committed");
                assert_eq!(batch.bytes, *bytes, "leader {id} lacks what is committed");
            }
        }
    }

    /// State machine safety (§5.4.3), and that what is committed is synced on a majority.
    pub fn committed(&mut self, id: NodeId, offset: Offset, nodes: &BTreeMap<NodeId, Node>) {
        let node = &nodes[&id];
        let (life, last) = self.high_watermarks.get(&id).copied().unwrap_or((0, 0));
        assert!(life != node.life || offset > last, "node {id}'s high watermark goes back");
        self.high_watermarks.insert(id, (node.life, offset));
        for batch in node.disk.batches.iter().filter(|b| b.end_offset <= offset) {
            let entry = (batch.end_offset, batch.epoch, batch.bytes.clone());
            match self.committed.get(&batch.base_offset) {
                Some(known) => {
                    assert_eq!(
                        *known, entry,
                        "node {id} commits something else at {}",
                        batch.base_offset
                    );
                }
                None => {
                    self.committed.insert(batch.base_offset, entry);
                }
            }
        }
        let Some(raft) = &node.raft else { return };
        if offset > self.committed_end {
            // One that has removed itself commits that, and resigns in the same step.
            let led = matches!(raft.role(), Role::Leader | Role::Resigned);
            assert!(led, "only a leader commits first");
            let synced = |key: ReplicaKey| {
                nodes.get(&key.id).is_some_and(|n| {
                    key.directory_id.is_none_or(|d| d == n.config.directory_id)
                        && (n.disk.synced_end() >= offset || n.disk.may_have_forgotten())
                })
            };
            let holders = raft.voters().iter().filter(|v| synced(v.key)).count();
            assert!(
                holders >= raft.voters().majority(),
                "offset {offset} is committed with {holders} of {} voters having it",
                raft.voters().len()
            );
            self.committed_end = offset;
        }
    }

    pub fn committed_end(&self) -> Offset {
        self.committed_end
    }
}
