//! A partition on its way from one set of replicas to another (KIP-455).

use quorate_base::NodeId;
use quorate_metadata::Partition;

/// Replicas of a partition with those on their way in and out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reassignment {
    /// All replicas: the target first, then those being removed.
    pub replicas: Vec<NodeId>,
    /// On their way out.
    pub removing: Vec<NodeId>,
    /// On their way in.
    pub adding: Vec<NodeId>,
}

/// What a finished reassignment leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completed {
    /// The target replicas.
    pub replicas: Vec<NodeId>,
    /// Those of them in sync.
    pub isr: Vec<NodeId>,
}

impl Reassignment {
    /// Takes a partition to these replicas; additions and removals are in order of id.
    ///
    /// Where nothing is to be added, what an earlier reassignment was adding goes on being added as far
    /// as the target has it. (Kafka keeps all of that, and keeps what was being removed where nothing is to
    /// be removed now, so that such a reassignment never ends or removes replicas of its target.)
    pub fn of(partition: &Partition, target: &[NodeId]) -> Reassignment {
        let current = partition.replicas();
        let removing = difference(current, target);
        let mut adding = difference(target, current);
        if adding.is_empty() {
            adding = without(partition.adding(), &removing);
        }
        let mut replicas = target.to_vec();
        replicas.extend_from_slice(&removing);
        Reassignment { replicas, removing, adding }
    }

    /// The replicas and ISR to end with, once the ISR holds everyone who was to be added and, where
    /// the partition ends with fewer replicas than before, all that stay (observed with Kafka 4.4).
    /// `None` if that is not so yet, or nothing is being reassigned.
    pub fn complete(&self, isr: &[NodeId]) -> Option<Completed> {
        if self.removing.is_empty() && self.adding.is_empty() {
            return None;
        }
        let replicas = without(&self.replicas, &self.removing);
        let isr = without(isr, &self.removing);
        let before = self.replicas.iter().filter(|it| !self.adding.contains(it)).count();
        let complete = !isr.is_empty()
            && self.adding.iter().all(|it| isr.contains(it))
            && (replicas.len() >= before || isr.len() == replicas.len());
        complete.then_some(Completed { replicas, isr })
    }
}

/// What cancelling a reassignment returns to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revert {
    /// The replicas before.
    pub replicas: Vec<NodeId>,
    /// Those of them in sync; if none is, the first replica, and `unclean` is set.
    pub isr: Vec<NodeId>,
    /// True if going back needs an unclean election.
    pub unclean: bool,
}

impl Revert {
    /// Drops what was being added.
    pub fn of(partition: &Partition) -> Revert {
        let replicas = without(partition.replicas(), partition.adding());
        let isr = without(partition.isr(), partition.adding());
        let unclean = isr.is_empty();
        let isr = if unclean { replicas.iter().copied().take(1).collect() } else { isr };
        Revert { replicas, isr, unclean }
    }
}

/// Those of `ids` that are not in `dropped`, in order.
pub fn without(ids: &[NodeId], dropped: &[NodeId]) -> Vec<NodeId> {
    ids.iter().copied().filter(|it| !dropped.contains(it)).collect()
}

fn difference(from: &[NodeId], taken: &[NodeId]) -> Vec<NodeId> {
    let mut left = without(from, taken);
    left.sort_unstable();
    left.dedup();
    left
}
