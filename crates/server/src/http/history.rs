//! What happened lately, for people who look: the newest changes as this process saw them committed.

use quorate_metadata::{Broker, Image, Str};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many are kept.
const EVENTS_MAX: usize = 200;
/// Of more changes of one kind at once, only the number is told.
const TOLD_ONE_BY_ONE_MAX: usize = 10;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// By the wall clock of this node, in milliseconds since 1970.
    pub at_ms: i64,
    /// `controller`, `broker`, `topic` or `election`.
    pub kind: &'static str,
    /// In words.
    pub what: String,
}

/// The newest changes. Cheap to add to; nothing here grows without bound.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Event>>);

impl History {
    /// Newest first.
    pub fn newest(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// Adds one.
    pub fn add(&self, at_ms: i64, kind: &'static str, what: String) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { at_ms, kind, what });
    }

    /// Adds what is different in the newer image.
    pub fn compare(&self, older: &Image, newer: &Image, at_ms: i64) {
        let diff = older.diff(newer);
        self.told(
            at_ms,
            "broker",
            "brokers changed",
            diff.brokers().filter_map(|change| {
                of_broker(change.old, change.new).map(|what| format!("broker {}{what}", change.key))
            }),
        );
        self.told(
            at_ms,
            "topic",
            "topics were created or deleted",
            diff.topics().filter_map(|change| match (change.old, change.new) {
                (None, Some(new)) => {
                    Some(format!("{} was created, {} partitions", new.name, new.partition_count))
                }
                (Some(old), None) => Some(format!("{} was deleted", old.name)),
                _ => None,
            }),
        );
        let elections = diff.partitions().filter_map(|change| {
            let (old, new) = (change.old?, change.new?);
            if old.leader() == new.leader() {
                return None;
            }
            let name = topic_name(newer, change.key.0);
            let who = |leader: Option<i32>| leader.map_or("nobody".to_owned(), |id| id.to_string());
            let (from, to) = (who(old.leader()), who(new.leader()));
            Some(format!("{name}-{}: led by {to}, before by {from}", change.key.1))
        });
        self.told(at_ms, "election", "partitions got another leader, or lost theirs", elections);
    }

    fn told(
        &self,
        at_ms: i64,
        kind: &'static str,
        many: &str,
        changes: impl Iterator<Item = String>,
    ) {
        let mut first = Vec::new();
        let mut count = 0;
        for what in changes {
            count += 1;
            if first.len() < TOLD_ONE_BY_ONE_MAX {
                first.push(what);
            }
        }
        if count > TOLD_ONE_BY_ONE_MAX {
            return self.add(at_ms, kind, format!("{count} {many}"));
        }
        for what in first {
            self.add(at_ms, kind, what);
        }
    }
}

fn of_broker(old: Option<&Broker>, new: Option<&Broker>) -> Option<&'static str> {
    Some(match (old, new) {
        (None, Some(_)) => " registered",
        (Some(_), None) => "'s registration was removed",
        (Some(old), Some(new)) if old.fenced && !new.fenced => " was unfenced",
        (Some(old), Some(new)) if !old.fenced && new.fenced => " was fenced",
        (Some(old), Some(new)) if !old.in_controlled_shutdown && new.in_controlled_shutdown => {
            " shuts down"
        }
        (Some(old), Some(new)) if old.incarnation_id != new.incarnation_id => " registered again",
        _ => return None,
    })
}

fn topic_name(image: &Image, id: quorate_base::Uuid) -> Str {
    image.topics.by_id(id).map_or_else(|| id.to_string().as_str().into(), |it| it.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Uuid;
    use quorate_protocol::MetadataRecord;
    use quorate_protocol::records::{PartitionChangeRecord, PartitionRecord, TopicRecord};

    fn partition(topic_id: Uuid, partition_id: i32) -> MetadataRecord {
        MetadataRecord::Partition(PartitionRecord {
            topic_id,
            partition_id,
            replicas: vec![1, 2],
            isr: vec![1, 2],
            leader: 1,
            ..Default::default()
        })
    }

    #[test]
    fn elections_are_told_one_by_one_or_as_a_number() {
        let topic_id = Uuid::from_u128(7);
        let mut before = Image::empty();
        let topic = TopicRecord { name: "orders".into(), topic_id, ..Default::default() };
        before.apply(&MetadataRecord::Topic(topic)).unwrap();
        for index in 0..30 {
            before.apply(&partition(topic_id, index)).unwrap();
        }
        let elected = |count: i32| {
            let mut after = before.clone();
            for partition_id in 0..count {
                let change = PartitionChangeRecord {
                    topic_id,
                    partition_id,
                    leader: 2,
                    ..Default::default()
                };
                after.apply(&MetadataRecord::PartitionChange(change)).unwrap();
            }
            let history = History::default();
            history.compare(&before, &after, 5);
            history.newest().into_iter().map(|it| it.what).collect::<Vec<_>>()
        };
        assert_eq!(elected(0), Vec::<String>::new());
        assert_eq!(elected(1), ["orders-0: led by 2, before by 1"]);
        assert_eq!(elected(30), ["30 partitions got another leader, or lost theirs"]);
        let history = History::default();
        history.compare(&Image::empty(), &before, 5);
        assert_eq!(history.newest()[0].what, "orders was created, 30 partitions");
        for number in 0..2 * EVENTS_MAX {
            history.add(6, "controller", number.to_string());
        }
        assert_eq!(history.newest().len(), EVENTS_MAX);
        assert_eq!(history.newest()[0].what, (2 * EVENTS_MAX - 1).to_string());
    }
}
