//! Where new replicas go (KIP-36, KIP-841).
//!
//! Leaders go round all live brokers, so that each leads its share even where racks differ in size.
//! Followers go round the racks from the leader's on, a rack twice only when each has one, and within
//! a rack to the broker with the least replicas of this placement. Fenced brokers come last in their
//! rack and never lead.

use crate::cluster_view::ClusterView;
use quorate_base::{NodeId, Prng};
use quorate_metadata::{Broker, Str};
use quorate_protocol::ErrorCode;

use crate::decide::refusal::Refusal;

/// A broker that may be given replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsableBroker {
    /// Its id.
    pub id: NodeId,
    /// Where it stands; all brokers without a rack stand in one.
    pub rack: Option<Str>,
    /// Not live at present: takes replicas only where live brokers do not suffice.
    pub fenced: bool,
}

/// The brokers that may be given replicas: not those on their way out, and not those that have all
/// their directories cordoned (KIP-1066).
pub fn usable_brokers(view: &ClusterView<'_>) -> Vec<UsableBroker> {
    let is_leaving = |it: &Broker| it.in_controlled_shutdown && !it.fenced;
    view.image()
        .cluster
        .brokers()
        .filter(|it| !is_leaving(it) && !is_cordoned(it))
        .map(|it| UsableBroker { id: it.id, rack: it.rack.clone(), fenced: it.fenced })
        .collect()
}

fn is_cordoned(broker: &Broker) -> bool {
    let cordoned = broker.cordoned_directories.as_deref().unwrap_or_default();
    !broker.directories.is_empty() && broker.directories.iter().all(|it| cordoned.contains(it))
}

/// Replicas for `partitions` partitions, the first of each list the preferred leader.
///
/// Errors: INVALID_REPLICATION_FACTOR if it is not positive, above the number of brokers, or no broker
/// is live.
pub fn place(
    brokers: &[UsableBroker],
    partitions: usize,
    replication_factor: i16,
    prng: &mut Prng,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let replicas = usize::try_from(replication_factor).unwrap_or(0);
    let refuse = |why: String| {
        let message =
            format!("Unable to replicate the partition {replication_factor} time(s): {why}");
        Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
    };
    if replicas == 0 {
        return refuse("The replication factor must be above zero.".to_owned());
    }
    if replicas > brokers.len() {
        let have = brokers.len();
        return refuse(format!(
            "A replication factor of {replicas} needs as many brokers, and only {have} broker(s) \
             are registered and have a log directory that is not cordoned."
        ));
    }
    if brokers.iter().all(|it| it.fenced) {
        return refuse(
            "All brokers are currently fenced, or have all their log directories cordoned."
                .to_owned(),
        );
    }
    let mut placer = Placer::new(brokers, prng);
    Ok((0..partitions).map(|_| placer.next(replicas, prng)).collect())
}

struct Slot {
    id: NodeId,
    rack: usize,
    fenced: bool,
    /// Replicas given so far.
    load: usize,
}

struct Placer {
    slots: Vec<Slot>,
    /// For each rack, its brokers' positions in `slots`.
    racks: Vec<Vec<usize>>,
    /// Live brokers in the order in which they lead; racks alternate.
    leaders: Vec<usize>,
    turn: usize,
}

impl Placer {
    fn new(brokers: &[UsableBroker], prng: &mut Prng) -> Placer {
        let mut names: Vec<&Option<Str>> = brokers.iter().map(|it| &it.rack).collect();
        names.sort_unstable();
        names.dedup();
        let mut slots: Vec<Slot> = brokers
            .iter()
            .map(|it| Slot {
                id: it.id,
                rack: names.binary_search(&&it.rack).expect("every rack was listed"),
                fenced: it.fenced,
                load: 0,
            })
            .collect();
        shuffle(&mut slots, prng);
        let mut racks = vec![Vec::new(); names.len()];
        for (position, slot) in slots.iter().enumerate() {
            racks[slot.rack].push(position);
        }
        let mut placer = Placer { slots, racks, leaders: Vec::new(), turn: 0 };
        placer.leaders = placer.alternate(prng);
        placer
    }

    /// Live brokers, one of each rack in turn as long as each has one.
    fn alternate(&self, prng: &mut Prng) -> Vec<usize> {
        let mut queues: Vec<Vec<usize>> = self
            .racks
            .iter()
            .map(|rack| rack.iter().copied().filter(|it| !self.slots[*it].fenced).collect())
            .collect();
        shuffle(&mut queues, prng);
        for queue in &mut queues {
            shuffle(queue, prng);
        }
        let mut order = Vec::with_capacity(self.slots.len());
        while queues.iter().any(|it| !it.is_empty()) {
            order.extend(queues.iter_mut().filter_map(Vec::pop));
        }
        order
    }

    fn next(&mut self, replicas: usize, prng: &mut Prng) -> Vec<NodeId> {
        if self.turn == self.leaders.len() {
            // Everybody has led once: another order, so that other brokers follow next.
            self.leaders = self.alternate(prng);
            self.turn = 0;
        }
        let leader = self.leaders[self.turn];
        self.turn += 1;
        let mut chosen = Vec::with_capacity(replicas);
        chosen.push(leader);
        self.slots[leader].load += 1;
        let mut rack = self.slots[leader].rack;
        while chosen.len() < replicas {
            rack = (rack + 1) % self.racks.len();
            if let Some(follower) = self.least_loaded(rack, &chosen) {
                chosen.push(follower);
                self.slots[follower].load += 1;
            }
        }
        chosen.into_iter().map(|it| self.slots[it].id).collect()
    }

    fn least_loaded(&self, rack: usize, taken: &[usize]) -> Option<usize> {
        let free = self.racks[rack].iter().copied().filter(|it| !taken.contains(it));
        free.min_by_key(|it| (self.slots[*it].fenced, self.slots[*it].load))
    }
}

fn shuffle<T>(items: &mut [T], prng: &mut Prng) {
    for end in (1..items.len()).rev() {
        let other = prng.below(end as u64 + 1) as usize;
        items.swap(end, other);
    }
}

/// Checks a list of replicas that somebody wrote by hand.
///
/// Errors: INVALID_REPLICA_ASSIGNMENT if it is empty, names a broker twice, or one that is not
/// registered or has all its directories cordoned (KIP-1066), or differs in length from
/// `replication_factor` where that is given.
pub fn validate_manual(
    view: &ClusterView<'_>,
    replicas: &[NodeId],
    replication_factor: Option<usize>,
) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    if replicas.is_empty() {
        return refuse(
            "The manual partition assignment has a partition without replicas.".to_owned(),
        );
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut previous = None;
    for broker in sorted {
        let Some(registered) = view.image().cluster.broker(broker) else {
            return refuse(format!(
                "The manual partition assignment names broker {broker}, which is not registered."
            ));
        };
        if is_cordoned(registered) {
            return refuse(format!(
                "The manual partition assignment names broker {broker}, all of whose log \
                 directories are cordoned."
            ));
        }
        if previous == Some(broker) {
            return refuse(format!(
                "The manual partition assignment names broker {broker} more than once."
            ));
        }
        previous = Some(broker);
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => refuse(format!(
            "The manual partition assignment has a partition with {} replica(s), where the partitions \
             before have {expected}.",
            replicas.len()
        )),
        _ => Ok(()),
    }
}
