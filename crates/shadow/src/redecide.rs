//! Recorded changes decided again: given the image before and what set the change off, would our rules have
//! written the same?
//!
//! The log holds outcomes, not requests. Where the cause is a record itself (a broker fenced, unfenced, in
//! controlled shutdown, registered anew, unregistered, short of a directory), all partition changes that
//! belong to it are decided again and compared as a set: Kafka walks partitions in the order of hash maps.
//! Any other partition change is decided again from what it says was asked for (this ISR, these replicas,
//! that election); it is explained if one such request leads to exactly this record.

use quorate_base::{NodeId, Now, Offset, Prng, Uuid};
use quorate_controller::cluster_view::ClusterView;
use quorate_controller::decide::broker_changes;
use quorate_controller::partition_change::{Election, NO_LEADER_CHANGE, PartitionChange};
use quorate_controller::reassignment::{Reassignment, Revert, without};
use quorate_controller::{ControllerConfig, Draft, Env, Heartbeats, RaftView};
use quorate_metadata::{Image, Partition, RecoveryState, Replayer};
use quorate_protocol::MetadataRecord;
use quorate_protocol::records::{BrokerRegistrationChangeRecord, PartitionChangeRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Differences beyond this are counted, not kept.
const KEPT: usize = 20;
/// Changes that wait for the record that explains them; beyond this they are looked at alone.
const WAITING_MAX: usize = 200_000;
/// How many starts of an event's changes are tried.
const STARTS_TRIED: usize = 64;

/// A reassignment that takes the place of another: Kafka carries over what the first was adding or removing,
/// also where the second one's target says otherwise.
const AMENDED_AS_KAFKA: &str = "reassignment that amends another";

/// Kafka's index of ELRs may hold a partition twice (observed with 4.3.0): it then writes the same change
/// twice when a broker comes back uncleanly.
const WRITTEN_TWICE: &str = "the same change written twice";

type Key = (Uuid, i32);
type Changes = BTreeMap<Key, PartitionChangeRecord>;
type Decision = fn(&mut Env<'_>, &mut Draft, NodeId);

/// A change that our rules would have made otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Otherwise {
    /// Offset of the record (or of the event's own record).
    pub offset: Offset,
    /// What was decided.
    pub what: String,
    /// Records that we would have written and that are not there so.
    pub ours: Vec<String>,
    /// Records that are there and that we would not have written so.
    pub theirs: Vec<String>,
}

/// What deciding again came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Redecided {
    /// Partition changes decided again with the same outcome, by cause.
    pub agreed: BTreeMap<&'static str, u64>,
    /// Changes that we make otherwise on purpose, by the reason (`docs/differences.md`).
    pub on_purpose: BTreeMap<&'static str, u64>,
    /// How many decisions differ and should not.
    pub otherwise_count: u64,
    /// The first of them.
    pub otherwise: Vec<Otherwise>,
}

/// Decides again as the log goes by.
pub struct Redecider {
    config: ControllerConfig,
    /// Partition changes without a cause yet.
    waiting: Vec<Waiting>,
    /// What is still to follow a record that announces changes.
    following: Option<Following>,
    result: Redecided,
}

/// A partition change and what was before it.
struct Waiting {
    offset: Offset,
    change: PartitionChangeRecord,
    before: Image,
    /// It is the first record of its batch.
    begins_batch: bool,
}

struct Following {
    offset: Offset,
    cause: &'static str,
    what: String,
    expected: Changes,
    wrong: (Vec<String>, Vec<String>),
}

impl Redecider {
    /// With the settings that stand behind the dynamic ones: of them `min.insync.replicas` and
    /// `unclean.leader.election.enable` decide.
    pub fn new(config: ControllerConfig) -> Redecider {
        Redecider { config, waiting: Vec::new(), following: None, result: Redecided::default() }
    }

    /// The next batch of the log, with the image before it.
    pub fn batch(&mut self, before: &Image, records: &[(Offset, MetadataRecord)]) {
        let mut replayer = Replayer::new(before.clone());
        for (offset, record) in records {
            let begins_batch = records.first().is_some_and(|(first, _)| first == offset);
            self.record(replayer.latest(), *offset, begins_batch, record);
            // A record that does not apply is reported by whoever replays for good.
            if replayer.apply(record).is_err() {
                // Markers of a transaction that began in an earlier batch end here too.
                continue;
            }
        }
        if self.waiting.len() > WAITING_MAX {
            self.settle();
        }
    }

    /// The outcome so far; changes that still wait for a cause are looked at alone.
    pub fn result(&mut self) -> &Redecided {
        self.settle();
        &self.result
    }

    fn record(
        &mut self,
        image: &Image,
        offset: Offset,
        begins_batch: bool,
        record: &MetadataRecord,
    ) {
        if let MetadataRecord::PartitionChange(change) = record {
            if !self.followed(change) {
                let (change, before) = (change.clone(), image.clone());
                self.waiting.push(Waiting { offset, change, before, begins_batch });
            }
            return;
        }
        self.end_following();
        match record {
            MetadataRecord::BrokerRegistrationChange(it) => self.broker_changed(image, offset, it),
            MetadataRecord::UnregisterBroker(it) => {
                let decide: &[Decision] = &[broker_changes::on_broker_unregistered];
                let what = format!("broker {} unregistered", it.broker_id);
                self.closed(image, offset, "broker unregistered", what, it.broker_id, decide);
            }
            MetadataRecord::RegisterBroker(it) => {
                let known = image.cluster.broker(it.broker_id);
                if known.is_some_and(|known| known.incarnation_id != it.incarnation_id) {
                    // Whether it proved a clean shutdown is not recorded.
                    let decide: &[Decision] =
                        &[broker_changes::on_clean_restart, broker_changes::on_unclean_shutdown];
                    let what = format!("broker {} registered anew", it.broker_id);
                    self.closed(image, offset, "broker registered", what, it.broker_id, decide);
                }
            }
            _ => {}
        }
        self.settle_alone();
    }

    fn broker_changed(
        &mut self,
        image: &Image,
        offset: Offset,
        it: &BrokerRegistrationChangeRecord,
    ) {
        let id = it.broker_id;
        let Some(broker) = image.cluster.broker(id) else { return };
        match (it.fenced, it.in_controlled_shutdown) {
            (1, _) => {
                let decide: &[Decision] = &[broker_changes::on_broker_fenced];
                let what = format!("broker {id} fenced");
                self.closed(image, offset, "broker fenced", what, id, decide);
            }
            (-1, _) => {
                let expected = self.decide(image, id, broker_changes::on_broker_unfenced);
                self.announce(offset, "broker unfenced", format!("broker {id} unfenced"), expected);
            }
            (_, 1) => {
                let expected = self.decide(image, id, broker_changes::on_controlled_shutdown);
                let what = format!("controlled shutdown of broker {id}");
                self.announce(offset, "controlled shutdown", what, expected);
            }
            _ if !it.log_dirs.is_empty() => {
                let lost: Vec<Uuid> = broker
                    .directories
                    .iter()
                    .copied()
                    .filter(|known| !it.log_dirs.contains(known))
                    .collect();
                let what = format!("broker {id} without directories {lost:?}");
                self.closed_by(image, offset, "directory offline", what, id, &|this, image| {
                    vec![this.decide_with(image, id, |env, draft, id| {
                        broker_changes::on_directories_offline(env, draft, id, &lost);
                    })]
                });
            }
            _ => {}
        }
    }

    fn decide(&self, image: &Image, broker: NodeId, decision: Decision) -> Changes {
        self.decide_with(image, broker, decision)
    }

    /// The partition changes that a decision leads to; none if the broker is not registered.
    fn decide_with(
        &self,
        image: &Image,
        broker: NodeId,
        decision: impl FnOnce(&mut Env<'_>, &mut Draft, NodeId),
    ) -> Changes {
        if image.cluster.broker(broker).is_none() {
            return Changes::new();
        }
        let mut draft = Draft::new(image.clone(), 0);
        let mut env = Env {
            now: Now::default(),
            config: &self.config,
            prng: &mut Prng::new(1),
            heartbeats: &mut Heartbeats::new(self.config.broker_session_timeout),
            raft: RaftView::default(),
        };
        decision(&mut env, &mut draft, broker);
        let changes = draft.records().iter().filter_map(|(record, _)| match record {
            MetadataRecord::PartitionChange(it) => Some((key(it), it.clone())),
            _ => None,
        });
        changes.collect()
    }

    /// An event whose changes stand before its own record.
    fn closed(
        &mut self,
        image: &Image,
        offset: Offset,
        cause: &'static str,
        what: String,
        broker: NodeId,
        decisions: &[Decision],
    ) {
        self.closed_by(image, offset, cause, what, broker, &|this, image| {
            decisions.iter().map(|it| this.decide(image, broker, *it)).collect()
        });
    }

    fn closed_by(
        &mut self,
        image: &Image,
        offset: Offset,
        cause: &'static str,
        what: String,
        broker: NodeId,
        decide: &dyn Fn(&Redecider, &Image) -> Vec<Changes>,
    ) {
        let mut nearest: Option<(usize, Changes)> = None;
        for from in self.starts(broker) {
            let before = self.waiting.get(from).map_or(image, |it| &it.before);
            for expected in decide(self, before) {
                let here: Changes = self.waiting[from..]
                    .iter()
                    .map(|it| (key(&it.change), it.change.clone()))
                    .collect();
                if expected == here {
                    self.agree(cause, here.len());
                    let repeated = self.waiting.len() - from - here.len();
                    if repeated > 0 {
                        *self.result.on_purpose.entry(WRITTEN_TWICE).or_default() +=
                            repeated as u64;
                    }
                    self.waiting.truncate(from);
                    return;
                }
                let closer = |best: &(usize, Changes)| {
                    differing(&best.1, &self.waiting[best.0..])
                        > differing(&expected, &self.waiting[from..])
                };
                if nearest.as_ref().is_none_or(closer) {
                    nearest = Some((from, expected));
                }
            }
        }
        let Some((from, mut expected)) = nearest else { return };
        let taken = self.waiting.split_off(from);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for Waiting { change, before, .. } in taken {
            let here = expected.remove(&key(&change));
            if here.as_ref() == Some(&change) {
                self.agree(cause, 1);
                continue;
            }
            ours.extend(here.map(|it| shown(&before, &it)));
            theirs.push(shown(&before, &change));
        }
        ours.extend(expected.values().map(|it| shown(image, it)));
        self.differ(Otherwise { offset, what, ours, theirs });
    }

    /// Where the changes of an event of `broker` may begin, likely places first. It is not recorded: it
    /// is the first image from which our decision is exactly what follows, and what stands before belongs
    /// to others. Changes stay within one batch unless there are very many, but a batch may hold several
    /// requests' changes.
    fn starts(&self, broker: NodeId) -> Vec<usize> {
        let end = self.waiting.len();
        let mut start = end;
        let mut seen: BTreeMap<Key, &PartitionChangeRecord> = BTreeMap::new();
        for it in self.waiting.iter().rev() {
            let (topic, index) = key(&it.change);
            let partition = it.before.topics.partition(topic, index);
            let has = |it: &Partition| {
                [it.replicas(), it.isr(), it.elr()].iter().any(|list| list.contains(&broker))
            };
            let same = seen.entry((topic, index)).or_insert(&it.change);
            if **same != it.change || !partition.is_some_and(has) {
                break;
            }
            start -= 1;
        }
        let begins = (start..end).rev().filter(|at| self.waiting[*at].begins_batch);
        let mut starts: Vec<usize> = begins.chain(start..end).collect();
        let mut tried = BTreeSet::new();
        starts.retain(|at| tried.insert(*at));
        starts.truncate(STARTS_TRIED);
        // Last: an event without changes is the explanation if there is no other.
        starts.push(end);
        starts
    }

    /// An event whose changes follow its own record.
    fn announce(&mut self, offset: Offset, cause: &'static str, what: String, expected: Changes) {
        self.settle_alone();
        let wrong = (Vec::new(), Vec::new());
        self.following = Some(Following { offset, cause, what, expected, wrong });
    }

    /// Whether the change belongs to the event before.
    fn followed(&mut self, change: &PartitionChangeRecord) -> bool {
        let Some(following) = &mut self.following else { return false };
        let Some(expected) = following.expected.remove(&key(change)) else {
            self.end_following();
            return false;
        };
        if expected == *change {
            let cause = following.cause;
            self.agree(cause, 1);
        } else {
            following.wrong.0.push(format!("{expected:?}"));
            following.wrong.1.push(format!("{change:?}"));
        }
        true
    }

    fn end_following(&mut self) {
        let Some(Following { offset, what, expected, wrong, .. }) = self.following.take() else {
            return;
        };
        let (mut ours, theirs) = wrong;
        ours.extend(expected.values().map(|it| format!("{it:?}")));
        if !ours.is_empty() || !theirs.is_empty() {
            self.differ(Otherwise { offset, what, ours, theirs });
        }
    }

    fn settle(&mut self) {
        self.end_following();
        self.settle_alone();
    }

    /// Changes without a recorded cause, each for itself.
    fn settle_alone(&mut self) {
        for Waiting { offset, change, before: image, .. } in std::mem::take(&mut self.waiting) {
            match alone(&self.config, &image, &change) {
                Ok(cause) if cause == AMENDED_AS_KAFKA => {
                    *self.result.on_purpose.entry(cause).or_default() += 1;
                }
                Ok(cause) => self.agree(cause, 1),
                Err(ours) => self.differ(Otherwise {
                    offset,
                    what: "a partition change without a recorded cause".to_owned(),
                    ours: ours.iter().map(|it| shown(&image, it)).collect(),
                    theirs: vec![shown(&image, &change)],
                }),
            }
        }
    }

    fn agree(&mut self, cause: &'static str, count: usize) {
        if count > 0 {
            *self.result.agreed.entry(cause).or_default() += count as u64;
        }
    }

    fn differ(&mut self, otherwise: Otherwise) {
        self.result.otherwise_count += 1;
        if self.result.otherwise.len() < KEPT {
            self.result.otherwise.push(otherwise);
        }
    }
}

fn differing(expected: &Changes, waiting: &[Waiting]) -> usize {
    let agrees = |it: &&Waiting| expected.get(&key(&it.change)) == Some(&it.change);
    let same = waiting.iter().filter(agrees).count();
    expected.len() + waiting.len() - 2 * same
}

/// The request that leads to exactly this record; else what the nearest requests lead to.
fn alone(
    config: &ControllerConfig,
    image: &Image,
    change: &PartitionChangeRecord,
) -> Result<&'static str, Vec<PartitionChangeRecord>> {
    let (topic_id, index) = key(change);
    let found = image.topics.by_id(topic_id).zip(image.topics.partition(topic_id, index));
    let Some((topic, partition)) = found else { return Err(Vec::new()) };
    let view = ClusterView::new(image, config);
    let rules = view.topic_rules(topic);
    let usual = if rules.unclean_election { Election::Unclean } else { Election::Online };
    let mut tried = Vec::new();
    for asked in requests(partition, change, usual) {
        let ours = view.with_surroundings(partition, rules, |around| {
            let mut it = PartitionChange::new(partition, topic_id, index, around)
                .isr(asked.isr)
                .recovery(asked.recovery)
                .election(asked.election);
            if let Some((replicas, removing, adding)) = asked.assignment {
                it = it.replicas(replicas).removing(removing).adding(adding);
            }
            if let Some((broker, directory)) = asked.directory {
                it = it.directory(broker, directory);
            }
            it.build()
        });
        if ours.as_ref() == Some(change) {
            return Ok(asked.cause);
        }
        tried.extend(ours);
    }
    tried.dedup();
    tried.truncate(3);
    Err(tried)
}

/// A request that may have led to a change.
#[derive(Clone)]
struct Asked {
    cause: &'static str,
    isr: Vec<NodeId>,
    recovery: RecoveryState,
    election: Election,
    /// Replicas, removing, adding.
    assignment: Option<(Vec<NodeId>, Vec<NodeId>, Vec<NodeId>)>,
    directory: Option<(NodeId, Uuid)>,
}

fn requests(partition: &Partition, change: &PartitionChangeRecord, usual: Election) -> Vec<Asked> {
    let recovery = RecoveryState::from_i8(change.leader_recovery_state);
    let isr = change.isr.clone().unwrap_or_else(|| partition.isr().to_vec());
    let asked = Asked {
        cause: "ISR change",
        isr: isr.clone(),
        recovery: recovery.unwrap_or(partition.leader_recovery_state()),
        election: usual,
        assignment: None,
        directory: None,
    };
    let mut out = vec![asked.clone()];
    let ends_reassignment = partition.is_reassigning()
        && (change.replicas.is_some()
            || change.removing_replicas.is_some()
            || change.adding_replicas.is_some());
    if ends_reassignment {
        // What the leader reported before those that leave were taken out of it.
        let mut with_leaving = isr.clone();
        with_leaving.extend(partition.isr().iter().filter(|it| !isr.contains(it)));
        let mut with_all = partition.isr().to_vec();
        with_all.extend(partition.adding().iter().filter(|it| !partition.isr().contains(it)));
        for isr in [with_leaving, with_all, in_replica_order(partition, change)] {
            out.push(Asked { cause: "reassignment completed", isr, ..asked.clone() });
        }
        let revert = Revert::of(partition);
        let election = if revert.unclean { Election::Unclean } else { Election::Online };
        out.push(Asked {
            cause: "reassignment cancelled",
            isr: revert.isr,
            election,
            assignment: Some((revert.replicas, Vec::new(), Vec::new())),
            ..asked.clone()
        });
    }
    let replicas = change.replicas.as_deref().unwrap_or(partition.replicas());
    let target =
        without(replicas, change.removing_replicas.as_deref().unwrap_or(partition.removing()));
    if change.replicas.is_some() || change.removing_replicas.is_some() {
        let to = Reassignment::of(partition, &target);
        out.push(Asked {
            cause: "reassignment",
            isr: partition.isr().to_vec(),
            election: Election::Online,
            assignment: Some((to.replicas, to.removing, to.adding)),
            ..asked.clone()
        });
    }
    if partition.is_reassigning() {
        let asked = Asked { cause: AMENDED_AS_KAFKA, election: Election::Online, ..asked.clone() };
        out.extend(amended_as_kafka(partition, replicas).map(|assignment| Asked {
            isr: partition.isr().to_vec(),
            assignment: Some(assignment),
            ..asked.clone()
        }));
    }
    if let Some(directories) = &change.directories {
        let pairs = partition.replicas().iter().zip(partition.directories()).zip(directories);
        for ((broker, old), new) in pairs {
            if old != new {
                let directory = Some((*broker, *new));
                let isr = partition.isr().to_vec();
                let election = Election::Online;
                let cause = "directory assigned";
                out.push(Asked { cause, isr, election, directory, ..asked.clone() });
            }
        }
    }
    if change.leader != NO_LEADER_CHANGE {
        for (cause, election) in [
            ("preferred election", Election::Preferred),
            ("election", Election::Online),
            ("unclean election", Election::Unclean),
        ] {
            let isr = partition.isr().to_vec();
            let recovery = partition.leader_recovery_state();
            out.push(Asked { cause, election, isr, recovery, ..asked.clone() });
        }
    }
    out
}

/// What Kafka makes of each target that the replicas written can stand for: those being removed stand last.
fn amended_as_kafka(
    partition: &Partition,
    replicas: &[NodeId],
) -> impl Iterator<Item = (Vec<NodeId>, Vec<NodeId>, Vec<NodeId>)> {
    (1..=replicas.len()).map(|len| {
        let target = &replicas[..len];
        let missing = |from: &[NodeId], of: &[NodeId]| {
            let mut left = without(from, of);
            left.sort_unstable();
            left
        };
        let (mut removing, mut adding) =
            (missing(partition.replicas(), target), missing(target, partition.replicas()));
        let written = target.iter().chain(&removing).copied().collect();
        if removing.is_empty() {
            removing = partition.removing().to_vec();
        }
        if adding.is_empty() {
            adding = partition.adding().to_vec();
        }
        (written, removing, adding)
    })
}

/// The ISR of a completed reassignment as a leader reports it: in any order, here by assignment.
fn in_replica_order(partition: &Partition, change: &PartitionChangeRecord) -> Vec<NodeId> {
    let isr = change.isr.as_deref().unwrap_or(partition.isr());
    let stays = |it: &&NodeId| isr.contains(it) || partition.isr().contains(it);
    partition.replicas().iter().filter(stays).copied().collect()
}

fn key(change: &PartitionChangeRecord) -> Key {
    (change.topic_id, change.partition_id)
}

fn shown(image: &Image, change: &PartitionChangeRecord) -> String {
    let name = image.topics.by_id(change.topic_id).map(|it| it.name.to_string());
    format!("{}-{}: {change:?}", name.unwrap_or_default(), change.partition_id)
}
