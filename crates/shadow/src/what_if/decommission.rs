//! Brokers that go for good: where their replicas could go, and which have nowhere to go.

use super::{Misasked, Named, check_registered, named};
use quorate_base::{NodeId, Uuid};
use quorate_controller::ControllerConfig;
use quorate_controller::cluster_view::ClusterView;
use quorate_controller::placement::{UsableBroker, usable_brokers};
use quorate_metadata::{Image, Partition, Str};
use std::collections::{BTreeMap, BTreeSet};

/// A partition that gets other replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The partition.
    pub partition: Named,
    /// Its replicas now.
    pub from: Vec<NodeId>,
    /// Its replicas afterwards.
    pub to: Vec<NodeId>,
    /// True if it then stands in fewer racks.
    pub loses_a_rack: bool,
}

/// A partition with too few brokers left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unplaceable {
    /// The partition.
    pub partition: Named,
    /// Replicas it has.
    pub replication_factor: usize,
    /// Brokers that could hold one.
    pub brokers_left: usize,
}

/// What taking brokers out would take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decommission {
    /// The brokers that go.
    pub brokers: Vec<NodeId>,
    /// Reassignments that empty them.
    pub moves: Vec<Move>,
    /// Partitions that stand against it.
    pub unplaceable: Vec<Unplaceable>,
    /// Partitions whose whole ISR goes: they must be moved while it lives.
    pub only_in_sync_there: Vec<Named>,
    /// Partitions that are being reassigned already; a new reassignment would replace that one.
    pub being_reassigned: Vec<Named>,
    /// Leaders that go, by broker.
    pub leaders: BTreeMap<NodeId, usize>,
    /// Replicas that come to each broker that stays.
    pub incoming: BTreeMap<NodeId, usize>,
}

impl Decommission {
    /// True if every replica has somewhere to go.
    pub fn is_possible(&self) -> bool {
        self.unplaceable.is_empty()
    }
}

/// The brokers that `what` names: `5`, `5,6` or `rack=b`.
pub fn brokers_named(image: &Image, what: &str) -> Result<Vec<NodeId>, Misasked> {
    if let Some(rack) = what.strip_prefix("rack=") {
        let of_rack: Vec<NodeId> = image
            .cluster
            .brokers()
            .filter(|it| it.rack.as_ref().is_some_and(|it| it.as_str() == rack))
            .map(|it| it.id)
            .collect();
        if of_rack.is_empty() {
            let racks: BTreeSet<&str> =
                image.cluster.brokers().filter_map(|it| it.rack.as_deref()).collect();
            return Err(Misasked(format!(
                "no broker stands in rack {rack:?}; there are {racks:?}"
            )));
        }
        return Ok(of_rack);
    }
    what.split(',')
        .map(|id| id.trim().parse().map_err(|_| Misasked(format!("{id} is no broker id"))))
        .collect()
}

/// Plans to empty the brokers: replicas that stay keep their order, each that goes is replaced by the
/// broker with the fewest replicas, in a rack where the partition has none if there is one.
pub fn decommission(
    image: &Image,
    config: &ControllerConfig,
    what: &str,
) -> Result<Decommission, Misasked> {
    let brokers = brokers_named(image, what)?;
    check_registered(image, &brokers)?;
    let view = ClusterView::new(image, config);
    let staying: Vec<UsableBroker> = usable_brokers(&view)
        .into_iter()
        .filter(|it| !brokers.contains(&it.id) && !it.fenced)
        .collect();
    let mut plan = Plan {
        image,
        load: staying.iter().map(|it| (it.id, image.topics.count_on_broker(it.id))).collect(),
        staying,
        result: Decommission { brokers: brokers.clone(), ..Decommission::default() },
    };
    let mut keys: BTreeSet<(Named, Uuid)> = BTreeSet::new();
    for broker in &brokers {
        plan.result.leaders.insert(*broker, image.topics.led_by(*broker).count());
        keys.extend(image.topics.on_broker(*broker).map(|key| (named(image, key), key.0)));
    }
    for (name, topic) in keys {
        let partition = image.topics.partition(topic, name.partition);
        plan.partition(name, partition.expect("an indexed partition exists"));
    }
    Ok(plan.result)
}

struct Plan<'a> {
    image: &'a Image,
    staying: Vec<UsableBroker>,
    load: BTreeMap<NodeId, usize>,
    result: Decommission,
}

impl Plan<'_> {
    fn partition(&mut self, name: Named, partition: &Partition) {
        let goes = |id: &NodeId| self.result.brokers.contains(id);
        if partition.isr().iter().all(goes) {
            self.result.only_in_sync_there.push(name.clone());
        }
        if partition.is_reassigning() {
            self.result.being_reassigned.push(name.clone());
        }
        // What a reassignment under way is taking out anyway needs no place.
        let wanted: Vec<NodeId> = partition
            .replicas()
            .iter()
            .copied()
            .filter(|it| !partition.removing().contains(it))
            .collect();
        let mut to = wanted.clone();
        for position in 0..to.len() {
            if !self.result.brokers.contains(&to[position]) {
                continue;
            }
            let Some(chosen) = self.choose(&to) else {
                let brokers_left = self.staying.len();
                let replication_factor = wanted.len();
                let partition = name;
                self.result.unplaceable.push(Unplaceable {
                    partition,
                    replication_factor,
                    brokers_left,
                });
                return;
            };
            to[position] = chosen;
        }
        for id in to.iter().filter(|it| !partition.is_on(**it)) {
            *self.load.entry(*id).or_default() += 1;
            *self.result.incoming.entry(*id).or_default() += 1;
        }
        let loses_a_rack = self.racks(&to).len() < self.racks(&wanted).len();
        let from = partition.replicas().to_vec();
        self.result.moves.push(Move { partition: name, from, to, loses_a_rack });
    }

    fn choose(&self, replicas: &[NodeId]) -> Option<NodeId> {
        let staying: Vec<NodeId> =
            replicas.iter().copied().filter(|it| !self.result.brokers.contains(it)).collect();
        let taken = self.racks(&staying);
        let free = self.staying.iter().filter(|it| !replicas.contains(&it.id));
        let cost = |it: &&UsableBroker| {
            let same_rack = it.rack.as_ref().is_some_and(|rack| taken.contains(rack));
            (same_rack, self.load.get(&it.id).copied().unwrap_or(0), it.id)
        };
        free.min_by_key(cost).map(|it| it.id)
    }

    fn racks(&self, replicas: &[NodeId]) -> BTreeSet<Str> {
        let rack = |id: &NodeId| self.image.cluster.broker(*id).and_then(|it| it.rack.clone());
        replicas.iter().filter_map(rack).collect()
    }
}
