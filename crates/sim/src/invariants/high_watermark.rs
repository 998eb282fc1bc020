//! The high watermark of a process only grows, is never above what a majority of the voters has synced,
//! and nothing below it is ever cut off.
//!
//! Source: Raft §5.3, §5.4.2; `MajorityReachedHighWatermark` and `MonotonicHighWatermark` of
//! RaftEventSimulationTest, here for what is *synced*, as the persistence rules of this project want.

use super::shadow::Shadow;
use crate::world::Host;
use quorate_base::{NodeId, Offset, ReplicaKey};
use quorate_raft::VoterSet;
use std::collections::BTreeMap;

/// The high watermark of each node.
#[derive(Default)]
pub struct HighWatermark {
    nodes: BTreeMap<NodeId, Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    life: u64,
    watermark: Offset,
    checked: Offset,
}

impl HighWatermark {
    /// A node has this high watermark now. True if it has moved.
    pub fn moved(&mut self, id: NodeId, life: u64, watermark: Offset) -> bool {
        let known = self.nodes.entry(id).or_default();
        if known.life != life {
            *known = Known { life, ..Known::default() };
        }
        assert!(
            watermark >= known.watermark,
            "HIGH WATERMARK: c{id} goes back from {} to {watermark}",
            known.watermark
        );
        let moved = watermark > known.watermark;
        known.watermark = watermark;
        moved
    }

    /// Below this, everything of this life was compared with what is committed.
    pub fn checked_from(&self, id: NodeId) -> Offset {
        self.nodes.get(&id).map_or(0, |known| known.checked)
    }

    /// Everything below was compared.
    pub fn checked(&mut self, id: NodeId, watermark: Offset) {
        self.nodes.entry(id).or_default().checked = watermark;
    }

    /// A node cuts its log.
    pub fn truncates(&self, id: NodeId, to: Offset) {
        let watermark = self.nodes.get(&id).map_or(0, |known| known.watermark);
        assert!(to >= watermark, "HIGH WATERMARK: c{id} cuts to {to}, below its {watermark}");
    }
}

/// Whoever commits first does so because a majority of the voters has it on disk.
pub fn is_synced_by_majority(
    id: NodeId,
    watermark: Offset,
    voters: &VoterSet,
    hosts: &BTreeMap<NodeId, Host>,
    shadows: &BTreeMap<NodeId, Shadow>,
    lost: Option<&(NodeId, Shadow)>,
) {
    let epoch = shadows[&id].epoch_before(watermark);
    let synced = |shadow: &Shadow| {
        shadow.synced_end() >= watermark
            && (shadow.start() >= watermark || shadow.epoch_before(watermark) == epoch)
    };
    let has = |key: ReplicaKey| {
        let same = hosts.get(&key.id).is_some_and(|host| {
            key.directory_id.is_none_or(|directory| directory == host.directory_id)
        });
        // The leader may count what a voter acknowledged before it lost its disk.
        let had = lost.is_some_and(|(id, shadow)| *id == key.id && synced(shadow));
        had || (same && shadows.get(&key.id).is_some_and(synced))
    };
    let holders = voters.iter().filter(|voter| has(voter.key)).count();
    assert!(
        holders >= voters.majority(),
        "HIGH WATERMARK: c{id} commits up to {watermark} with {holders} of {} voters having synced it",
        voters.len()
    );
}
