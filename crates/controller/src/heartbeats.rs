//! Soft state about brokers: when they were last heard of, how far they have read, and at which
//! offset they began to shut down. It lives only while this node is the active controller and is
//! rebuilt at activation; nothing here is ever written to the log.

use quorate_base::{NodeId, Offset, Time};
use quorate_metadata::Cluster;
use std::collections::BTreeMap;
use std::time::Duration;

/// Contact times and sessions of brokers.
///
/// Two things are kept apart on purpose, as in Kafka: a *contact* belongs to a broker id and epoch
/// and exists only once such a broker was heard of; a *standing* belongs to a registered id.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    session_timeout: Duration,
    contacts: BTreeMap<(NodeId, i64), Time>,
    standings: BTreeMap<NodeId, Standing>,
}

/// What the controller remembers of one registered broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Standing {
    fenced: bool,
    /// Highest offset the broker said it has replayed; `None` before its first heartbeat.
    metadata_offset: Option<Offset>,
    /// Last offset of the records that took its leaderships away: it may go once every active
    /// broker has read as far. `None` while it is not shutting down.
    controlled_shutdown_offset: Option<Offset>,
    /// Offset of its RegisterBroker record; it may be unfenced once it has read as far.
    registered_at: Offset,
}

impl Heartbeats {
    /// Nobody heard of yet.
    pub fn new(session_timeout: Duration) -> Heartbeats {
        Heartbeats { session_timeout, contacts: BTreeMap::new(), standings: BTreeMap::new() }
    }

    /// Starts over for a new term as the active controller: every unfenced broker gets a full
    /// session from `now`, because nobody knows how long it was silent towards the last one.
    /// Offsets of RegisterBroker records, known from replay, are kept.
    pub fn activate(&mut self, now: Time, cluster: &Cluster) {
        self.contacts.clear();
        let registered_at: BTreeMap<NodeId, Offset> =
            self.standings.iter().map(|(id, standing)| (*id, standing.registered_at)).collect();
        self.standings.clear();
        for broker in cluster.brokers() {
            let standing = Standing {
                fenced: broker.fenced,
                metadata_offset: None,
                controlled_shutdown_offset: None,
                registered_at: registered_at.get(&broker.id).copied().unwrap_or(broker.epoch),
            };
            self.standings.insert(broker.id, standing);
            if !broker.fenced {
                self.contacts.insert((broker.id, broker.epoch), now);
            }
        }
    }

    /// The term as the active controller is over: what was registered but never committed is
    /// forgotten.
    pub fn deactivate(&mut self, cluster: &Cluster) {
        self.contacts.clear();
        self.standings.retain(|id, _| cluster.broker(*id).is_some());
    }

    /// A RegisterBroker record was decided on or replayed.
    pub fn register(&mut self, broker: NodeId, fenced: bool, registered_at: Offset) {
        let metadata_offset = self.standings.get(&broker).and_then(|it| it.metadata_offset);
        let standing =
            Standing { fenced, metadata_offset, controlled_shutdown_offset: None, registered_at };
        self.standings.insert(broker, standing);
    }

    /// The broker was unregistered.
    pub fn remove(&mut self, broker: NodeId) {
        self.standings.remove(&broker);
        self.contacts.retain(|(id, _), _| *id != broker);
    }

    /// A heartbeat of this broker arrived, whatever becomes of it: even one that is answered too late
    /// shows that the process lives (KAFKA-15019).
    pub fn contact(&mut self, broker: NodeId, epoch: i64, at: Time) {
        let last = self.contacts.entry((broker, epoch)).or_insert(at);
        *last = at.max(*last);
    }

    /// The broker's process is known to be dead: what contact there was counts no more.
    pub fn end_session(&mut self, broker: NodeId, epoch: i64) {
        self.contacts.remove(&(broker, epoch));
    }

    /// The state that a heartbeat led to.
    pub fn touch(&mut self, broker: NodeId, fenced: bool, metadata_offset: Offset) {
        let Some(standing) = self.standings.get_mut(&broker) else { return };
        standing.fenced = fenced;
        standing.metadata_offset = Some(metadata_offset);
        if fenced {
            standing.controlled_shutdown_offset = None;
        }
    }

    /// The broker is fenced for another reason than its own heartbeat.
    pub fn fence(&mut self, broker: NodeId) {
        if let Some(standing) = self.standings.get_mut(&broker) {
            standing.fenced = true;
            standing.controlled_shutdown_offset = None;
        }
    }

    /// True if a broker of this id and epoch was heard of within the session timeout.
    pub fn has_valid_session(&self, now: Time, broker: NodeId, epoch: i64) -> bool {
        self.contacts
            .get(&(broker, epoch))
            .is_some_and(|contact| now.since(*contact) < self.session_timeout)
    }

    /// When the broker was last heard of.
    pub fn last_contact(&self, broker: NodeId, epoch: i64) -> Option<Time> {
        self.contacts.get(&(broker, epoch)).copied()
    }

    /// Takes the broker whose session ran out first, if any has. One at a time: each is fenced by a
    /// batch of its own.
    pub fn take_expired(&mut self, now: Time) -> Option<(NodeId, i64)> {
        let (contact, key) = self.earliest()?;
        if now.since(contact) < self.session_timeout {
            return None;
        }
        self.contacts.remove(&key);
        Some(key)
    }

    /// When the next session runs out.
    pub fn next_expiry(&self) -> Option<Time> {
        self.earliest().map(|(contact, _)| contact + self.session_timeout)
    }

    fn earliest(&self) -> Option<(Time, (NodeId, i64))> {
        self.contacts.iter().map(|(key, contact)| (*contact, *key)).min()
    }

    /// The offset of the broker's RegisterBroker record.
    pub fn registered_at(&self, broker: NodeId) -> Option<Offset> {
        self.standings.get(&broker).map(|it| it.registered_at)
    }

    /// The offset the broker said it has replayed.
    pub fn metadata_offset(&self, broker: NodeId) -> Option<Offset> {
        self.standings.get(&broker).and_then(|it| it.metadata_offset)
    }

    /// True between the grant of a controlled shutdown and the broker being told to go.
    pub fn is_shutting_down(&self, broker: NodeId) -> bool {
        self.controlled_shutdown_offset(broker).is_some()
    }

    /// See [`Heartbeats::begin_controlled_shutdown`].
    pub fn controlled_shutdown_offset(&self, broker: NodeId) -> Option<Offset> {
        self.standings.get(&broker).and_then(|it| it.controlled_shutdown_offset)
    }

    /// The records that took the broker's leaderships away end at `offset`. Only the first one of a
    /// shutdown counts.
    pub fn begin_controlled_shutdown(&mut self, broker: NodeId, offset: Offset) {
        if let Some(standing) = self.standings.get_mut(&broker)
            && !standing.fenced
        {
            standing.controlled_shutdown_offset.get_or_insert(offset);
        }
    }

    /// The offset that every active broker (neither fenced nor shutting down) has replayed;
    /// `Offset::MAX` if there is none.
    pub fn lowest_active_offset(&self) -> Offset {
        self.standings
            .values()
            .filter(|it| !it.fenced && it.controlled_shutdown_offset.is_none())
            .map(|it| it.metadata_offset.unwrap_or(-1))
            .min()
            .unwrap_or(Offset::MAX)
    }

    /// Whether the heartbeat state of this broker is fenced; a broker never heard of is.
    pub fn is_fenced(&self, broker: NodeId) -> bool {
        self.standings.get(&broker).is_none_or(|it| it.fenced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn three() -> Heartbeats {
        let mut beats = Heartbeats::new(10 * SECOND);
        beats.register(1, true, 5);
        beats.register(2, false, 6);
        beats.register(3, false, 7);
        beats
    }

    #[test]
    fn registration_alone_is_no_session() {
        let mut beats = three();
        assert!(!beats.has_valid_session(at(0), 1, 5));
        beats.contact(1, 5, at(0));
        assert!(beats.has_valid_session(at(9), 1, 5));
        assert!(!beats.has_valid_session(at(9), 1, 6), "another epoch is another broker");
        assert!(!beats.has_valid_session(at(10), 1, 5));
    }

    #[test]
    fn sessions_run_out_in_the_order_of_contact_one_at_a_time() {
        let mut beats = three();
        beats.contact(3, 7, at(0));
        beats.contact(2, 6, at(1));
        assert_eq!(beats.next_expiry(), Some(at(10)));
        assert_eq!(beats.take_expired(at(9)), None);
        assert_eq!(beats.take_expired(at(20)), Some((3, 7)));
        assert_eq!(beats.take_expired(at(20)), Some((2, 6)));
        assert_eq!(beats.take_expired(at(20)), None);
        assert_eq!(beats.next_expiry(), None);
    }

    #[test]
    fn late_news_of_an_earlier_heartbeat_does_not_shorten_a_session() {
        let mut beats = three();
        beats.contact(2, 6, at(5));
        beats.contact(2, 6, at(3));
        assert_eq!(beats.last_contact(2, 6), Some(at(5)));
    }

    #[test]
    fn the_lowest_active_offset_leaves_out_fenced_and_leaving_brokers() {
        let mut beats = three();
        assert_eq!(beats.lowest_active_offset(), -1);
        beats.touch(2, false, 20);
        beats.touch(3, false, 15);
        assert_eq!(beats.lowest_active_offset(), 15);
        beats.begin_controlled_shutdown(3, 30);
        beats.begin_controlled_shutdown(3, 40);
        assert_eq!(beats.controlled_shutdown_offset(3), Some(30), "the first one counts");
        assert_eq!(beats.lowest_active_offset(), 20);
        beats.touch(3, true, 50);
        assert_eq!(beats.controlled_shutdown_offset(3), None);
        beats.fence(2);
        assert_eq!(beats.lowest_active_offset(), Offset::MAX);
        beats.begin_controlled_shutdown(1, 9);
        assert!(!beats.is_shutting_down(1), "a fenced broker has nothing to hand over");
    }
}
