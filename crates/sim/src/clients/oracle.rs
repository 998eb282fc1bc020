//! What a client may rely on. A request that failed or was not answered is *unknown*: it may have been
//! carried out, or may still be; it is never taken to be absent.

use quorate_base::Uuid;
use quorate_metadata::{Image, QuotaEntity, Str};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one topic, whose name only one client ever uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// Somebody asked for it; nobody knows.
    Unknown,
    /// Acknowledged.
    Present,
    /// It was acknowledged, and its deletion was asked for.
    Leaving,
    /// Its deletion was acknowledged, and no request to create it can still be under way.
    Gone,
}

/// What one client knows.
#[derive(Debug, Default)]
pub struct Oracle {
    pub topics: BTreeMap<String, Topic>,
    ids: BTreeMap<String, Uuid>,
    /// Topics of which a request to create them may still be under way.
    unclean: BTreeSet<String>,
    /// Its register: the last acknowledged value.
    register: Option<u64>,
    /// Values that may have been, or may yet be, written.
    maybe: BTreeSet<u64>,
}

impl Oracle {
    /// The topic was created, with that id if the answer said so.
    pub fn created(&mut self, name: &str, id: Option<Uuid>) {
        self.topics.insert(name.to_owned(), Topic::Present);
        if let Some(id) = id {
            self.ids.insert(name.to_owned(), id);
        }
    }

    /// A request to create the topic got no answer: it may arrive yet.
    pub fn attempt_lost(&mut self, name: &str) {
        self.unclean.insert(name.to_owned());
    }

    /// The topic's deletion was acknowledged.
    pub fn deleted(&mut self, name: &str) {
        let known = if self.unclean.contains(name) { Topic::Unknown } else { Topic::Gone };
        self.topics.insert(name.to_owned(), known);
    }

    /// A write of the register begins.
    pub fn writing(&mut self, value: u64) {
        self.maybe.insert(value);
    }

    /// It was acknowledged.
    pub fn wrote(&mut self, value: u64) {
        self.maybe.remove(&value);
        self.register = Some(value);
    }

    /// Compares with the committed state.
    pub fn check(&self, client: i32, image: &Image) {
        for (name, known) in &self.topics {
            let found = image.topics.by_name(name);
            match known {
                Topic::Present => {
                    let same = found
                        .is_some_and(|found| self.ids.get(name).is_none_or(|id| *id == found.id));
                    assert!(
                        same,
                        "ORACLE: a{client} was told that topic {name} is created, found: {found:?}"
                    );
                }
                Topic::Gone => assert!(
                    found.is_none(),
                    "ORACLE: a{client} was told that topic {name} is deleted, and it is there"
                ),
                Topic::Unknown | Topic::Leaving => {}
            }
        }
        let entity =
            QuotaEntity::new([(Str::from("user"), Some(Str::from(user(client).as_str())))]);
        let value = image
            .client_quotas
            .get(&entity)
            .and_then(|quotas| quotas.get("producer_byte_rate"))
            .map(|value| *value as u64);
        let ok = value == self.register || value.is_some_and(|value| self.maybe.contains(&value));
        assert!(
            ok,
            "ORACLE: a{client}'s register holds {value:?}; acknowledged {:?}, unknown {:?}",
            self.register, self.maybe
        );
    }
}

/// The user whose quota is a client's register.
pub fn user(client: i32) -> String {
    format!("user-{client}")
}
