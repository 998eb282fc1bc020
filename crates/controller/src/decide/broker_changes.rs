//! What becomes of partitions when a broker is fenced, returns, leaves, restarts or loses a directory.
//!
//! The functions write the partition changes *and* the record about the broker's registration, in
//! Kafka's order: fencing and unregistering speak of the broker last, unfencing and controlled
//! shutdown first. Two leave the registration to their callers: a restart
//! ([`on_unclean_shutdown`], [`on_clean_restart`]), after which the RegisterBroker record of the new
//! incarnation follows, and [`on_directories_offline`], after which the directories that remain follow.

use crate::cluster_view::{ClusterView, RulesCache, push_all};
use crate::decide::elections;
use crate::partition_change::{Election, PartitionChange};
use crate::{ControllerConfig, Draft, Env};
use quorate_base::{NodeId, Uuid};
use quorate_metadata::{Broker, Image};
use quorate_protocol::records::{
    BrokerRegistrationChangeRecord, PartitionChangeRecord, UnregisterBrokerRecord,
};

/// Kafka's bound of preferred elections in one go (`MAX_ELECTIONS_PER_IMBALANCE`).
pub const MAX_ELECTIONS_PER_IMBALANCE: usize = 1_000;

const FENCE: i8 = 1;
const UNFENCE: i8 = -1;
const IN_CONTROLLED_SHUTDOWN: i8 = 1;

/// Fences a broker: it leaves every ISR, its partitions get other leaders, then the registration says
/// "fenced". The broker must be registered.
pub fn on_broker_fenced(env: &mut Env<'_>, draft: &mut Draft, broker: NodeId) {
    let changes = {
        let image = draft.image();
        leave(image, env.config, Leaving::gone(broker), in_isr_of(image, broker))
    };
    let epoch = registered(draft.image(), broker).epoch;
    push_all(draft, changes);
    draft.push(BrokerRegistrationChangeRecord {
        broker_id: broker,
        broker_epoch: epoch,
        fenced: FENCE,
        ..Default::default()
    });
}

/// Unfences a broker, then elects leaders for partitions without one. The broker must be registered.
pub fn on_broker_unfenced(env: &mut Env<'_>, draft: &mut Draft, broker: NodeId) {
    let changes = {
        let image = draft.image();
        leave(image, env.config, Leaving::returned(broker), image.topics.without_leader().collect())
    };
    let epoch = registered(draft.image(), broker).epoch;
    draft.push(BrokerRegistrationChangeRecord {
        broker_id: broker,
        broker_epoch: epoch,
        fenced: UNFENCE,
        ..Default::default()
    });
    push_all(draft, changes);
}

/// Starts (or goes on with) a controlled shutdown: the registration says so once, and the broker hands
/// over its leaderships and leaves its ISRs as far as others can take over. The broker must be
/// registered.
pub fn on_controlled_shutdown(env: &mut Env<'_>, draft: &mut Draft, broker: NodeId) {
    let changes = {
        let image = draft.image();
        leave(image, env.config, Leaving::gone(broker), in_isr_of(image, broker))
    };
    let registration = registered(draft.image(), broker);
    let (epoch, already) = (registration.epoch, registration.in_controlled_shutdown);
    if !already {
        draft.push(BrokerRegistrationChangeRecord {
            broker_id: broker,
            broker_epoch: epoch,
            in_controlled_shutdown: IN_CONTROLLED_SHUTDOWN,
            ..Default::default()
        });
    }
    push_all(draft, changes);
}

/// Removes a broker: it leaves its ISRs, then its registration goes. Partitions that have it in the ELR
/// are looked at again too, but it stays there, as in Kafka: it may yet come back with all its records.
/// The broker must be registered.
pub fn on_broker_unregistered(env: &mut Env<'_>, draft: &mut Draft, broker: NodeId) {
    let changes = {
        let image = draft.image();
        let mut changes = leave(image, env.config, Leaving::gone(broker), in_isr_of(image, broker));
        changes.extend(leave(image, env.config, Leaving::gone(broker), in_elr_of(image, broker)));
        changes
    };
    let epoch = registered(draft.image(), broker).epoch;
    push_all(draft, changes);
    draft.push(UnregisterBrokerRecord {
        broker_id: broker,
        broker_epoch: epoch,
        ..Default::default()
    });
}

/// A broker registers with a new incarnation and did not prove that it shut down cleanly: what it had
/// acknowledged may be gone. With ELR enabled it leaves ISRs and ELRs for good (KIP-966); without, it
/// leaves the ISRs as if fenced. The caller pushes the RegisterBroker record afterwards.
pub fn on_unclean_shutdown(env: &mut Env<'_>, draft: &mut Draft, broker: NodeId) {
    if !draft.image().features.elr_enabled() {
        return on_clean_restart(env, draft, broker);
    }
    let (in_isr, in_elr) = {
        let image = draft.image();
        let in_isr = leave(image, env.config, Leaving::unclean(broker), in_isr_of(image, broker));
        let in_elr = leave(image, env.config, Leaving::unclean(broker), in_elr_of(image, broker));
        (in_isr, in_elr)
    };
    push_all(draft, in_isr);
    push_all(draft, in_elr);
}

/// A broker registers with a new incarnation after a clean shutdown (it named its previous epoch): it
/// leaves the ISRs as if fenced and stays in the ELRs. The caller pushes the RegisterBroker record
/// afterwards.
pub fn on_clean_restart(env: &mut Env<'_>, draft: &mut Draft, broker: NodeId) {
    let changes = {
        let image = draft.image();
        leave(image, env.config, Leaving::gone(broker), in_isr_of(image, broker))
    };
    push_all(draft, changes);
}

/// Directories of a broker failed: its replicas in them leave their ISRs. Directories that the broker
/// does not list are passed over. The broker must be registered; the caller pushes the registration
/// change with the directories that remain afterwards.
pub fn on_directories_offline(
    env: &mut Env<'_>,
    draft: &mut Draft,
    broker: NodeId,
    offline: &[Uuid],
) {
    let changes = {
        let image = draft.image();
        let listed = registered(image, broker).directories.iter();
        let mut changes = Vec::new();
        for directory in listed.filter(|it| offline.contains(it)) {
            let there = partitions_in(image, broker, *directory);
            changes.extend(leave(image, env.config, Leaving::gone(broker), there));
        }
        changes
    };
    push_all(draft, changes);
}

/// Gives partitions back to their preferred leaders, at most `max_changes` of them. True if there may
/// be more: come back soon.
pub fn balance_preferred_leaders(env: &mut Env<'_>, draft: &mut Draft, max_changes: usize) -> bool {
    let changes = {
        let view = ClusterView::new(draft.image(), env.config);
        let mut rules = RulesCache::new(&view);
        let mut changes = Vec::new();
        for (topic, index) in draft.image().topics.not_preferred() {
            if changes.len() >= max_changes {
                break;
            }
            let partition = draft.image().topics.partition(topic, index);
            let partition = partition.expect("an indexed partition exists");
            let change = view.with_surroundings(partition, rules.rules(topic), |around| {
                PartitionChange::new(partition, topic, index, around)
                    .election(Election::Preferred)
                    .build()
            });
            changes.extend(change);
        }
        changes
    };
    let more = changes.len() >= max_changes;
    push_all(draft, changes);
    more
}

/// Elects leaders out of sync for partitions that have none, where the topic allows it, at most `max`.
/// True if there may be more.
pub fn elect_unclean(env: &mut Env<'_>, draft: &mut Draft, max: usize) -> bool {
    let changes = {
        let view = ClusterView::new(draft.image(), env.config);
        let mut rules = RulesCache::new(&view);
        let mut changes = Vec::new();
        for (topic, index) in draft.image().topics.without_leader() {
            if changes.len() >= max {
                break;
            }
            let rules = rules.rules(topic);
            if rules.unclean_election {
                let partition = draft.image().topics.partition(topic, index);
                let partition = partition.expect("an indexed partition exists");
                changes.extend(elections::elect(
                    &view,
                    partition,
                    topic,
                    index,
                    rules,
                    Election::Unclean,
                ));
            }
        }
        changes
    };
    let more = changes.len() >= max;
    push_all(draft, changes);
    more
}

/// A broker on its way out of ISRs, or back.
#[derive(Clone, Copy)]
struct Leaving {
    /// Leaves the ISR and must not lead, whatever its registration still says.
    gone: Option<NodeId>,
    /// May lead, though its registration still says "fenced".
    returned: Option<NodeId>,
    /// Leaves ISR and ELR and must not lead: it may have lost records.
    unclean: Option<NodeId>,
}

impl Leaving {
    const NOBODY: Leaving = Leaving { gone: None, returned: None, unclean: None };

    fn gone(broker: NodeId) -> Leaving {
        Leaving { gone: Some(broker), ..Leaving::NOBODY }
    }

    fn returned(broker: NodeId) -> Leaving {
        Leaving { returned: Some(broker), ..Leaving::NOBODY }
    }

    fn unclean(broker: NodeId) -> Leaving {
        Leaving { unclean: Some(broker), ..Leaving::NOBODY }
    }
}

/// Replicas of `broker` leave the ISRs of these partitions.
pub(crate) fn leave_isr(
    image: &Image,
    config: &ControllerConfig,
    broker: NodeId,
    partitions: Vec<(Uuid, i32)>,
) -> Vec<PartitionChangeRecord> {
    leave(image, config, Leaving::gone(broker), partitions)
}

fn leave(
    image: &Image,
    config: &ControllerConfig,
    who: Leaving,
    partitions: Vec<(Uuid, i32)>,
) -> Vec<PartitionChangeRecord> {
    let view = ClusterView::new(image, config);
    let mut rules = RulesCache::new(&view);
    let mut changes = Vec::with_capacity(partitions.len());
    for (topic, index) in partitions {
        let partition = image.topics.partition(topic, index).expect("an indexed partition exists");
        let rules = rules.rules(topic);
        let isr = partition.isr().iter().copied();
        let isr = isr.filter(|it| who.gone != Some(*it) && who.unclean != Some(*it)).collect();
        let may_lead = |broker: NodeId| {
            who.gone != Some(broker)
                && who.unclean != Some(broker)
                && (who.returned == Some(broker) || view.is_active(broker))
                && view.has_directory_online(partition, broker)
        };
        let change = view.with_acceptable(rules, &may_lead, |around| {
            let mut change = PartitionChange::new(partition, topic, index, around).isr(isr);
            if rules.unclean_election {
                change = change.election(Election::Unclean);
            }
            if let Some(broker) = who.unclean {
                change = change.unclean_shutdown(broker);
            }
            change.build()
        });
        changes.extend(change);
    }
    changes
}

fn registered(image: &Image, broker: NodeId) -> &Broker {
    image.cluster.broker(broker).expect("the broker was checked to be registered")
}

fn in_isr_of(image: &Image, broker: NodeId) -> Vec<(Uuid, i32)> {
    filter_on_broker(image, broker, |partition| partition.isr().contains(&broker))
}

fn in_elr_of(image: &Image, broker: NodeId) -> Vec<(Uuid, i32)> {
    // Not by replicas: an ELR may outlive a reassignment that took its member away.
    let has_it = |(topic, index): &(Uuid, i32)| {
        image.topics.partition(*topic, *index).is_some_and(|it| it.elr().contains(&broker))
    };
    image.topics.with_elr().filter(has_it).collect()
}

fn partitions_in(image: &Image, broker: NodeId, directory: Uuid) -> Vec<(Uuid, i32)> {
    filter_on_broker(image, broker, |it| it.directory_on(broker) == Some(directory))
}

fn filter_on_broker(
    image: &Image,
    broker: NodeId,
    wanted: impl Fn(&quorate_metadata::Partition) -> bool,
) -> Vec<(Uuid, i32)> {
    image
        .topics
        .on_broker(broker)
        .filter(|(topic, index)| image.topics.partition(*topic, *index).is_some_and(&wanted))
        .collect()
}
