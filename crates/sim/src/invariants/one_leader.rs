//! One leader per epoch, over views: two nodes (followers, observers and brokers too) that are in one
//! epoch never hold different leaders.
//!
//! Source: Election Safety (Raft §5.2); `ElectionSafety` (kip_996) and `NeverTwoLeadersInSameEpoch`
//! (kip_853) TLA+; `SingleLeader` of RaftEventSimulationTest.

use quorate_base::{Epoch, NodeId};
use std::collections::BTreeMap;

/// Who leads which epoch.
#[derive(Default)]
pub struct OneLeader {
    leaders: BTreeMap<Epoch, (NodeId, NodeId)>,
}

impl OneLeader {
    /// A node believes that.
    pub fn view(&mut self, id: NodeId, epoch: Epoch, leader: Option<NodeId>) {
        let Some(leader) = leader else { return };
        let (known, first) = *self.leaders.entry(epoch).or_insert((leader, id));
        assert_eq!(
            known, leader,
            "ONE LEADER: epoch {epoch} is led by {known} (said by {first} first) and by {leader} \
             (says {id})"
        );
    }
}
