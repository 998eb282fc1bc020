//! What requests are made of: names and numbers, most of them sensible.

use super::Gen;
use bytes::Bytes;
use quorate_base::Uuid;
use quorate_metadata::{Broker, Topic};
use quorate_protocol::KStr;

const ODD_TOPICS: [&str; 8] =
    ["", ".", "..", "a b", "__cluster_metadata", "__consumer_offsets", "nobody", "t.1"];
const TOPICS: [&str; 8] = ["t0", "t1", "t2", "t3", "t_1", "t5", "t6", "t7"];

impl<'a> Gen<'a> {
    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.prng.below(from.len() as u64) as usize]
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.prng.chance(1, times)
    }

    /// From 0 up, below the bound.
    pub fn below(&mut self, bound: u64) -> i32 {
        self.prng.below(bound) as i32
    }

    /// So many things, from `least` to `most`.
    pub fn several<T>(
        &mut self,
        least: u64,
        most: u64,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = least + self.prng.below(most - least + 1);
        (0..count).map(|_| make(self)).collect()
    }

    /// A topic's name, not always one that may be.
    pub fn topic_name(&mut self) -> KStr {
        if self.one_in(20) {
            return KStr::from(self.pick(&ODD_TOPICS));
        }
        if self.one_in(300) {
            return KStr::from("x".repeat(250));
        }
        KStr::from(self.pick(&TOPICS))
    }

    /// Mostly the name of a topic that exists.
    pub fn known_topic_name(&mut self) -> KStr {
        match self.topic() {
            Some(topic) if !self.one_in(12) => KStr::from(topic.name.as_str()),
            _ => self.topic_name(),
        }
    }

    /// A topic that exists, if any does.
    pub fn topic(&mut self) -> Option<&'a Topic> {
        let count = self.image.topics.topic_count() as u64;
        if count == 0 {
            return None;
        }
        let at = self.prng.below(count) as usize;
        self.image.topics.iter_by_name().nth(at)
    }

    /// The id of a topic that exists, or seldom of none.
    pub fn topic_id(&mut self) -> Uuid {
        match self.topic() {
            Some(topic) if !self.one_in(15) => topic.id,
            _ if self.one_in(4) => Uuid::ZERO,
            _ => Uuid::from_u128(0x7777_7777 + u128::from(self.prng.below(3))),
        }
    }

    /// Partition index, mostly within the first three.
    pub fn partition_index(&mut self) -> i32 {
        if self.one_in(15) { self.pick(&[-1, 3, 7, i32::MAX]) } else { self.below(3) }
    }

    /// A broker id, mostly one of those that register.
    pub fn broker_id(&mut self) -> i32 {
        if self.one_in(25) { self.pick(&[-1, 0, 9, 3000]) } else { 1 + self.below(5) }
    }

    /// A broker that is registered, if any is.
    pub fn broker(&mut self) -> Option<&'a Broker> {
        let count = self.image.cluster.broker_count() as u64;
        if count == 0 {
            return None;
        }
        let at = self.prng.below(count) as usize;
        self.image.cluster.brokers().nth(at)
    }

    /// Id and epoch of a broker, mostly of one that is there and now.
    pub fn broker_and_epoch(&mut self) -> (i32, i64) {
        match self.broker() {
            Some(broker) if self.one_in(15) => (broker.id, broker.epoch - 1),
            Some(broker) if self.one_in(30) => (broker.id, -1),
            Some(broker) => (broker.id, broker.epoch),
            None => (self.broker_id(), self.end_offset),
        }
    }

    /// Brokers for a partition, mostly distinct and known.
    pub fn replicas(&mut self) -> Vec<i32> {
        if self.one_in(40) {
            return Vec::new();
        }
        let mut chosen = self.several(1, 3, |it| it.broker_id());
        if !self.one_in(30) {
            let mut seen = Vec::new();
            chosen.retain(|it| {
                !seen.contains(it) && {
                    seen.push(*it);
                    true
                }
            });
        }
        chosen
    }

    /// A directory of a broker; they are the same in each life of it.
    pub fn directory(broker: i32, index: u64) -> Uuid {
        Uuid::from_u128(
            0xd1d1_0000_0000 + (u128::from(broker.unsigned_abs()) << 8) + u128::from(index),
        )
    }

    /// A directory, seldom a reserved id.
    pub fn some_directory(&mut self, broker: i32) -> Uuid {
        match self.prng.below(30) {
            0 => Uuid::ZERO,
            1 => Uuid::DIR_UNASSIGNED,
            2 => Uuid::DIR_LOST,
            3 => Uuid::from_u128(0xabcd_ef01),
            n => Self::directory(broker, n % 3),
        }
    }

    /// A directory that no broker has, seldom a reserved id.
    pub fn no_directory(&mut self) -> Uuid {
        match self.prng.below(8) {
            0 => Uuid::ZERO,
            1 => Uuid::DIR_UNASSIGNED,
            2 => Uuid::DIR_LOST,
            n => Uuid::from_u128(0xabcd_ef00 + u128::from(n)),
        }
    }

    /// A user's name.
    pub fn user(&mut self) -> &'static str {
        if self.one_in(40) { "" } else { self.pick(&["alice", "bob", "carol"]) }
    }

    /// A principal as ACLs and tokens have it.
    pub fn principal(&mut self) -> String {
        match self.prng.below(25) {
            0 => "User:*".to_owned(),
            1 => "nobody".to_owned(),
            2 => "Group:ops".to_owned(),
            3 => "User:".to_owned(),
            _ => format!("User:{}", self.user()),
        }
    }

    /// The HMAC of a token that was made, or of none.
    pub fn hmac(&mut self) -> Bytes {
        if self.tokens.is_empty() || self.one_in(8) {
            return Bytes::from_static(b"nothing");
        }
        let at = self.prng.below(self.tokens.len() as u64) as usize;
        self.tokens[at].clone()
    }

    /// For an optional field.
    pub fn maybe<T>(&mut self, null_in: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(null_in) { None } else { Some(make(self)) }
    }
}
