//! Topics and partitions. Partitions live under a flat key, so that a record touches one key however
//! many partitions its topic has.
//!
//! The key holds not the topic's id but a number that this image gave the topic: 8 bytes instead of
//! 20, in the partitions and five indices, are what keeps millions of partitions small. Numbers are
//! never used twice in the history of an image; they never leave this file, and nothing observable
//! but the order of the index iterators depends on them.

use crate::partition::Partition;
use crate::pmap::{Change, PMap, PSet};
use crate::{Contradiction, Str};
use quorate_base::{NodeId, Uuid};
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::{
    ClearElrRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use quorate_protocol::{KStr, MetadataRecord};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A topic; its partitions are asked for with its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// The topic's id, for life.
    pub id: Uuid,
    /// The topic's name.
    pub name: Str,
    /// Number of partitions; their indices are `0..partition_count` in every sane log.
    pub partition_count: i32,
    number: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    topic: u32,
    partition: i32,
}

/// All topics and partitions, with the indices that controllers ask for.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    by_id: PMap<Uuid, Arc<Topic>>,
    by_name: PMap<Str, Uuid>,
    by_number: PMap<u32, Uuid>,
    next_number: u32,
    partitions: PMap<Key, Partition>,
    on_broker: PMap<NodeId, PSet<Key>>,
    leaderless: PSet<Key>,
    not_preferred: PSet<Key>,
    reassigning: PSet<Key>,
    with_elr: PSet<Key>,
}

impl Topics {
    /// The topic with a name.
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.by_id(*self.by_name.get(name)?)
    }

    /// The topic with an id.
    pub fn by_id(&self, id: Uuid) -> Option<&Topic> {
        self.by_id.get(&id).map(Arc::as_ref)
    }

    /// All topics by name.
    pub fn iter_by_name(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values().filter_map(|id| self.by_id(*id))
    }

    /// The topics whose names are `first` or after it, by name: for answers in pages.
    pub fn iter_by_name_from(&self, first: &str) -> impl Iterator<Item = &Topic> {
        self.by_name.range(Str::from(first)..).filter_map(|(_, id)| self.by_id(*id))
    }

    /// All topics by id.
    pub fn iter_by_id(&self) -> impl Iterator<Item = &Topic> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// One partition.
    pub fn partition(&self, topic: Uuid, partition: i32) -> Option<&Partition> {
        let topic = self.by_id(topic)?.number;
        self.partitions.get(&Key { topic, partition })
    }

    /// A topic's partitions by index; none if there is no such topic.
    pub fn partitions(&self, topic: Uuid) -> impl Iterator<Item = (i32, &Partition)> {
        let topic = self.by_id(topic).map(|it| it.number);
        topic.into_iter().flat_map(|number| self.numbered(number))
    }

    fn numbered(&self, topic: u32) -> impl Iterator<Item = (i32, &Partition)> {
        let range = Key { topic, partition: 0 }..=Key { topic, partition: i32::MAX };
        self.partitions.range(range).map(|(key, it)| (key.partition, it))
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.by_id.len()
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Every partition with the broker among its replicas or in its ISR. Like all iterators here that
    /// give ids and indices: topics in the order of their creation, as this image has seen it.
    pub fn on_broker(&self, broker: NodeId) -> impl Iterator<Item = (Uuid, i32)> {
        self.on_broker_keys(broker).map(|key| self.named(key))
    }

    /// How many partitions [`Topics::on_broker`] gives, O(1) after finding the broker.
    pub fn count_on_broker(&self, broker: NodeId) -> usize {
        self.on_broker.get(&broker).map_or(0, PSet::len)
    }

    /// Every partition that the broker leads.
    pub fn led_by(&self, broker: NodeId) -> impl Iterator<Item = (Uuid, i32)> {
        self.on_broker_keys(broker)
            .filter(move |key| {
                self.partitions.get(*key).is_some_and(|it| it.leader() == Some(broker))
            })
            .map(|key| self.named(key))
    }

    fn on_broker_keys(&self, broker: NodeId) -> impl Iterator<Item = &Key> {
        self.on_broker.get(&broker).into_iter().flat_map(PSet::iter)
    }

    /// Every partition without a leader.
    pub fn without_leader(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.leaderless.iter().map(|key| self.named(key))
    }

    /// Number of partitions without a leader, O(1).
    pub fn count_without_leader(&self) -> usize {
        self.leaderless.len()
    }

    /// Every partition that is not led by its first replica, those without a leader included.
    pub fn not_preferred(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.not_preferred.iter().map(|key| self.named(key))
    }

    /// Number of partitions not led by their first replica, O(1).
    pub fn count_not_preferred(&self) -> usize {
        self.not_preferred.len()
    }

    /// Every partition to which replicas are being added or from which they are being removed.
    pub fn reassigning(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.reassigning.iter().map(|key| self.named(key))
    }

    /// Every partition with eligible leader replicas, or last known ones.
    pub fn with_elr(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.with_elr.iter().map(|key| self.named(key))
    }

    fn named(&self, key: &Key) -> (Uuid, i32) {
        let id = self.by_number.get(&key.topic).expect("an index names only topics that exist");
        (*id, key.partition)
    }

    pub(crate) fn create(&mut self, record: &TopicRecord) -> Result<(), Contradiction> {
        let (name, id) = (Str::from(&record.name), record.topic_id);
        if self.by_name.contains_key(&name) || self.by_id.contains_key(&id) {
            return Err(Contradiction::TopicExists { name, id });
        }
        let number = self.next_number;
        self.next_number =
            number.checked_add(1).ok_or(Contradiction::CounterExhausted("the number of topics"))?;
        self.by_name.insert(name.clone(), id);
        self.by_number.insert(number, id);
        self.by_id.insert(id, Arc::new(Topic { id, name, partition_count: 0, number }));
        Ok(())
    }

    /// Gives the removed topic.
    pub(crate) fn remove(
        &mut self,
        record: &RemoveTopicRecord,
    ) -> Result<Arc<Topic>, Contradiction> {
        let id = record.topic_id;
        let topic = self.by_id.remove(&id).ok_or(Contradiction::UnknownTopic(id))?;
        self.by_name.remove(&topic.name);
        self.by_number.remove(&topic.number);
        let partitions: Vec<i32> = self.numbered(topic.number).map(|(index, _)| index).collect();
        for partition in partitions {
            let key = Key { topic: topic.number, partition };
            let old = self.partitions.remove(&key);
            self.index(key, old.as_ref(), None);
        }
        Ok(topic)
    }

    pub(crate) fn set_partition(&mut self, record: &PartitionRecord) -> Result<(), Contradiction> {
        let partition = record.partition_id;
        if partition < 0 {
            let value = i64::from(partition);
            return Err(Contradiction::MeaninglessValue { field: "partitionId", value });
        }
        let id = record.topic_id;
        let new = Partition::of_record(record)?;
        let topic = self.by_id.get_mut(&id).ok_or(Contradiction::UnknownTopic(id))?;
        let key = Key { topic: topic.number, partition };
        if !self.partitions.contains_key(&key) {
            Arc::make_mut(topic).partition_count += 1;
        }
        self.put(key, new);
        Ok(())
    }

    pub(crate) fn change_partition(
        &mut self,
        record: &PartitionChangeRecord,
    ) -> Result<(), Contradiction> {
        let (id, partition) = (record.topic_id, record.partition_id);
        let topic = self.by_id(id).ok_or(Contradiction::UnknownTopic(id))?;
        let key = Key { topic: topic.number, partition };
        let old = self.partitions.get(&key).ok_or_else(|| Contradiction::UnknownPartition {
            topic_id: id,
            topic: topic.name.clone(),
            partition,
        })?;
        let new = old.merge(record)?;
        self.put(key, new);
        Ok(())
    }

    /// An empty topic name means every topic. As in Java, this counts as a change of each partition
    /// that had eligible leader replicas.
    pub(crate) fn clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), Contradiction> {
        let only = match record.topic_name.as_str() {
            "" => None,
            name => {
                let topic = self.by_name(name);
                let topic =
                    topic.ok_or_else(|| Contradiction::UnknownTopicName(Str::from(name)))?;
                Some(topic.number)
            }
        };
        let keys: Vec<Key> = self
            .with_elr
            .iter()
            .copied()
            .filter(|key| only.is_none_or(|number| key.topic == number))
            .collect();
        let change = PartitionChangeRecord {
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..Default::default()
        };
        let mut cleared = Vec::with_capacity(keys.len());
        for key in keys {
            let old = self.partitions.get(&key).expect("an index names only partitions that exist");
            cleared.push((key, old.merge(&change)?));
        }
        for (key, new) in cleared {
            self.put(key, new);
        }
        Ok(())
    }

    fn put(&mut self, key: Key, new: Partition) {
        let old = self.partitions.insert(key, new.clone());
        self.index(key, old.as_ref(), Some(&new));
    }

    /// Brings the indices from what `old` needs to what `new` needs.
    fn index(&mut self, key: Key, old: Option<&Partition>, new: Option<&Partition>) {
        for broker in brokers(old).filter(|id| !brokers(new).any(|it| it == *id)) {
            let Some(set) = self.on_broker.get_mut(&broker) else {
                continue;
            };
            set.set(key, false);
            if set.is_empty() {
                self.on_broker.remove(&broker);
            }
        }
        for broker in brokers(new).filter(|id| !brokers(old).any(|it| it == *id)) {
            self.on_broker.get_or_insert_with(broker, PSet::new).set(key, true);
        }
        let flag = |set: &mut PSet<Key>, belongs: fn(&Partition) -> bool| {
            let (before, after) = (old.is_some_and(belongs), new.is_some_and(belongs));
            if before != after {
                set.set(key, after);
            }
        };
        flag(&mut self.leaderless, |it| it.leader().is_none());
        flag(&mut self.not_preferred, |it| !it.has_preferred_leader());
        flag(&mut self.reassigning, Partition::is_reassigning);
        flag(&mut self.with_elr, Partition::has_elr);
    }

    /// Each topic, then its partitions.
    pub(crate) fn records(&self, version: MetadataVersion) -> impl Iterator<Item = MetadataRecord> {
        self.iter_by_id().flat_map(move |topic| self.topic_records(topic, version))
    }

    pub(crate) fn topic_records<'a>(
        &'a self,
        topic: &'a Topic,
        version: MetadataVersion,
    ) -> impl Iterator<Item = MetadataRecord> + use<'a> {
        let partitions = self.numbered(topic.number);
        std::iter::once(topic.to_record())
            .chain(partitions.map(move |(index, it)| it.to_record(topic.id, index, version)))
    }

    /// Topics that came or went, or whose partition count changed, by id.
    pub(crate) fn diff_topics<'a>(
        &'a self,
        newer: &'a Topics,
    ) -> impl Iterator<Item = Change<Uuid, &'a Topic>> + use<'a> {
        self.by_id.diff(&newer.by_id).filter_map(|it| {
            let (old, new) = (it.old.map(Arc::as_ref), it.new.map(Arc::as_ref));
            let same = old
                .zip(new)
                .is_some_and(|(a, b)| (&a.name, a.partition_count) == (&b.name, b.partition_count));
            (!same).then_some(Change { key: *it.key, old, new })
        })
    }

    /// Partitions that came, went or changed.
    ///
    /// Where both images gave a topic the same number, the flat maps are compared and shared parts
    /// skipped. The others (came, went, or numbered anew because the images do not descend from each
    /// other) are compared topic by topic.
    pub(crate) fn diff_partitions<'a>(
        &'a self,
        newer: &'a Topics,
    ) -> impl Iterator<Item = Change<(Uuid, i32), &'a Partition>> + use<'a> {
        let renumbered: BTreeSet<Uuid> = self
            .by_id
            .diff(&newer.by_id)
            .filter(|it| it.old.map(|topic| topic.number) != it.new.map(|topic| topic.number))
            .map(|it| *it.key)
            .collect();
        let (old_numbers, new_numbers) =
            (self.numbers_of(&renumbered), newer.numbers_of(&renumbered));
        let same_number = self.partitions.diff(&newer.partitions).filter_map(move |it| {
            let old = it.old.filter(|_| !old_numbers.contains(&it.key.topic));
            let new = it.new.filter(|_| !new_numbers.contains(&it.key.topic));
            let key = match (old, new) {
                (None, None) => return None,
                (Some(_), _) => self.named(it.key),
                (None, Some(_)) => newer.named(it.key),
            };
            Some(Change { key, old, new })
        });
        let by_topic = renumbered.into_iter().flat_map(move |id| self.diff_topic(newer, id));
        same_number.chain(by_topic)
    }

    fn numbers_of(&self, ids: &BTreeSet<Uuid>) -> BTreeSet<u32> {
        ids.iter().filter_map(|id| self.by_id(*id)).map(|it| it.number).collect()
    }

    fn diff_topic<'a>(
        &'a self,
        newer: &'a Topics,
        id: Uuid,
    ) -> impl Iterator<Item = Change<(Uuid, i32), &'a Partition>> + use<'a> {
        let of_old = self.partitions(id).filter_map(move |(index, old)| {
            let new = newer.partition(id, index);
            (new != Some(old)).then_some(Change { key: (id, index), old: Some(old), new })
        });
        let only_new = newer.partitions(id).filter_map(move |(index, new)| {
            let change = Change { key: (id, index), old: None, new: Some(new) };
            self.partition(id, index).is_none().then_some(change)
        });
        of_old.chain(only_new)
    }
}

fn brokers(partition: Option<&Partition>) -> impl Iterator<Item = NodeId> {
    partition.into_iter().flat_map(|it| {
        let strays = it.isr().iter().filter(|id| !it.is_on(**id));
        it.replicas().iter().chain(strays).copied()
    })
}

impl Topic {
    /// The record that makes this topic, without its partitions.
    pub fn to_record(&self) -> MetadataRecord {
        MetadataRecord::Topic(TopicRecord {
            name: KStr::from(&self.name),
            topic_id: self.id,
            ..Default::default()
        })
    }
}
