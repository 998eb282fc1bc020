//! What the process counts and times about itself. Each number belongs to the thread that measures it;
//! the core thread touches atomics only.

mod histogram;
mod requests;

pub use histogram::{Distribution, Histogram, Recent};
pub use requests::{ApiStats, RequestStats};

use crate::driver::clock::Clock;
use quorate_base::{NodeId, Time};
use quorate_node::Event;
use quorate_protocol::ApiKey;
use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters by a label whose values come from this program's text, never from outside.
#[derive(Debug, Default)]
pub struct LabelledCounter(Mutex<BTreeMap<&'static str, u64>>);

impl LabelledCounter {
    /// One more of this label.
    pub fn increment(&self, label: &'static str) {
        self.add(label, 1);
    }

    /// So many more of this label.
    pub fn add(&self, label: &'static str, more: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(label).or_default() += more;
    }

    /// All labels with their counts.
    pub fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything counted in one process.
#[derive(Debug)]
pub struct Telemetry {
    /// The clock that all times here are by.
    pub clock: Clock,
    /// By the core thread.
    pub core: CoreStats,
    /// From handing a batch to the system until it is on disk, by the disk thread.
    pub fsync: Histogram,
    /// Requests from outside, by API.
    pub requests: RequestStats,
    /// Connections from outside.
    pub connections: ConnectionStats,
    /// Requests to other controllers.
    pub peers: PeerStats,
    /// Lines of the audit.
    pub audit: Arc<AuditStats>,
    /// When the first certificate in use ends.
    pub certificates: CertificateStats,
    /// Partitions that got a leader from outside their ISR, as committed.
    pub unclean_elections: Counter,
    /// Partitions that got a leader from their eligible leader replicas, as committed.
    pub elr_elections: Counter,
    stopping: AtomicBool,
}

impl Telemetry {
    /// Nothing counted yet.
    pub fn new(clock: Clock) -> Arc<Telemetry> {
        Arc::new(Telemetry {
            clock,
            core: CoreStats::default(),
            fsync: Histogram::default(),
            requests: RequestStats::default(),
            connections: ConnectionStats::default(),
            peers: PeerStats::default(),
            audit: Arc::default(),
            certificates: CertificateStats::default(),
            unclean_elections: Counter::default(),
            elr_elections: Counter::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// The process was told to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether the process was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Time since the process's clock started.
    pub fn uptime(&self) -> Duration {
        since_start(self.clock.time())
    }
}

/// A moment as the time since the process's clock started.
pub fn since_start(at: Time) -> Duration {
    at.since(Time::ZERO)
}

/// Kinds of events as the core's times are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A request from outside.
    Request,
    /// A request whose connection is gone.
    Cancelled,
    /// A peer's answer or silence.
    Peer,
    /// The log is on disk.
    Persisted,
    /// Snapshots and retention.
    Snapshot,
    /// Committed records read back from disk.
    LogRead,
    /// The core's own timers.
    Timeout,
    /// Orders from the operator.
    Order,
}

impl EventKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [EventKind; 8] = [
        EventKind::Request,
        EventKind::Cancelled,
        EventKind::Peer,
        EventKind::Persisted,
        EventKind::Snapshot,
        EventKind::LogRead,
        EventKind::Timeout,
        EventKind::Order,
    ];

    /// The kind of an event.
    pub fn of(event: &Event) -> EventKind {
        match event {
            Event::Request { .. } => EventKind::Request,
            Event::Cancelled { .. } => EventKind::Cancelled,
            Event::PeerAnswered { .. } | Event::PeerDown { .. } => EventKind::Peer,
            Event::Persisted { .. } => EventKind::Persisted,
            Event::LogRead { .. } => EventKind::LogRead,
            Event::Timeout => EventKind::Timeout,
            Event::TransferLeader { .. } | Event::Shutdown => EventKind::Order,
            _ => EventKind::Snapshot,
        }
    }

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Request => "request",
            EventKind::Cancelled => "cancelled",
            EventKind::Peer => "peer",
            EventKind::Persisted => "persisted",
            EventKind::Snapshot => "snapshot",
            EventKind::LogRead => "log_read",
            EventKind::Timeout => "timeout",
            EventKind::Order => "order",
        }
    }
}

/// What the core thread measures about itself.
#[derive(Debug)]
pub struct CoreStats {
    /// When the core thread last went round, in nanoseconds of the clock; 0 before it started.
    heartbeat_nanos: AtomicU64,
    /// From entering the queue to being taken, over all events.
    pub queue: Histogram,
    /// Deciding and carrying out, over all events.
    pub step: Histogram,
    /// The same two by kind of event.
    by_kind: [(Histogram, Histogram); EventKind::ALL.len()],
    /// Nanoseconds of waiting for work.
    pub idle_nanos: Recent,
    /// From the decision to append until the batch is on this node's disk.
    pub append: Histogram,
    /// From the decision to append until a majority has it; on the leader.
    pub commit: Histogram,
    /// The same in microseconds, for Kafka's average and maximum.
    pub commit_micros: Recent,
    /// From standing for election until there is a leader, in microseconds.
    pub election_micros: Recent,
    /// From knowing of no leader until there is one.
    pub leaderless: Histogram,
    /// Records appended as the leader.
    pub appended_records: Recent,
    /// Records fetched from a leader.
    pub fetched_records: Recent,
    /// Events taken.
    pub events: Counter,
    /// Leaders seen to take over, this node among them.
    pub new_leaders: Counter,
    /// Snapshots loaded, the one at the start included.
    pub snapshots_loaded: Counter,
    /// Records that could not be applied.
    pub metadata_errors: Counter,
    /// Size of the newest snapshot written by this process.
    snapshot_bytes: AtomicU64,
    snapshot_nanos: AtomicU64,
}

impl Default for CoreStats {
    fn default() -> CoreStats {
        CoreStats {
            heartbeat_nanos: AtomicU64::new(0),
            queue: Histogram::default(),
            step: Histogram::default(),
            by_kind: array::from_fn(|_| Default::default()),
            idle_nanos: Recent::default(),
            append: Histogram::default(),
            commit: Histogram::default(),
            commit_micros: Recent::default(),
            election_micros: Recent::default(),
            leaderless: Histogram::default(),
            appended_records: Recent::default(),
            fetched_records: Recent::default(),
            events: Counter::default(),
            new_leaders: Counter::default(),
            snapshots_loaded: Counter::default(),
            metadata_errors: Counter::default(),
            snapshot_bytes: AtomicU64::new(0),
            snapshot_nanos: AtomicU64::new(0),
        }
    }
}

impl CoreStats {
    /// The core thread is alive now.
    pub fn beat(&self, now: Time) {
        self.heartbeat_nanos.store(now.as_nanos().max(1), Relaxed);
    }

    /// When the core thread was last seen alive; nothing before it started.
    pub fn heartbeat(&self) -> Option<Time> {
        let nanos = self.heartbeat_nanos.load(Relaxed);
        (nanos > 0).then(|| Time::from_nanos(nanos))
    }

    /// Queue time of one kind of event.
    pub fn queue_of(&self, kind: EventKind) -> &Histogram {
        &self.by_kind[kind as usize].0
    }

    /// Processing time of one kind of event.
    pub fn step_of(&self, kind: EventKind) -> &Histogram {
        &self.by_kind[kind as usize].1
    }

    /// A snapshot was written.
    pub fn snapshot_written(&self, now: Time, size_bytes: u64) {
        self.snapshot_bytes.store(size_bytes, Relaxed);
        self.snapshot_nanos.store(now.as_nanos(), Relaxed);
    }

    /// Size of the newest snapshot that this process wrote, and when; both 0 before the first, like
    /// Kafka's.
    pub fn last_snapshot(&self) -> (u64, Time) {
        let at = Time::from_nanos(self.snapshot_nanos.load(Relaxed));
        (self.snapshot_bytes.load(Relaxed), at)
    }
}

/// Connections from outside, by listener, and why they ended.
#[derive(Debug, Default)]
pub struct ConnectionStats {
    listeners: Mutex<BTreeMap<String, Opened>>,
    /// Refused by a limit, by its setting.
    pub refused: LabelledCounter,
    /// Ended, by reason.
    pub ended: LabelledCounter,
    /// Closed because what came made no sense, by what was wrong.
    pub parser_errors: LabelledCounter,
}

/// Connections of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Ever accepted.
    pub opened: u64,
    /// Of these closed.
    pub closed: u64,
}

impl ConnectionStats {
    /// A connection was accepted.
    pub fn opened(&self, listener: &str) {
        self.with(listener, |it| it.opened += 1);
    }

    /// A connection ended, however.
    pub fn closed(&self, listener: &str) {
        self.with(listener, |it| it.closed += 1);
    }

    fn with(&self, listener: &str, change: impl FnOnce(&mut Opened)) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        match listeners.get_mut(listener) {
            Some(found) => change(found),
            None => change(listeners.entry(listener.to_owned()).or_default()),
        }
    }

    /// All listeners that ever had a connection.
    pub fn by_listener(&self) -> BTreeMap<String, Opened> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Certificates in use.
#[derive(Debug, Default)]
pub struct CertificateStats {
    /// When the first ends, in seconds since the Unix epoch; 0: there is none.
    first_ends_seconds: AtomicI64,
    unusable_stores: AtomicU64,
}

impl CertificateStats {
    /// As looked up.
    pub fn set(&self, ends_seconds: Option<i64>, unusable_stores: usize) {
        self.first_ends_seconds.store(ends_seconds.unwrap_or(0), Relaxed);
        self.unusable_stores.store(unusable_stores as u64, Relaxed);
    }

    /// Stores that were changed to something that cannot be used.
    pub fn unusable_stores(&self) -> u64 {
        self.unusable_stores.load(Relaxed)
    }

    /// As last set; nothing without TLS.
    pub fn first_ends_seconds(&self) -> Option<i64> {
        Some(self.first_ends_seconds.load(Relaxed)).filter(|it| *it != 0)
    }
}

/// Lines of the audit.
#[derive(Debug, Default)]
pub struct AuditStats {
    /// Written.
    pub lines: Counter,
    /// Never written, by reason.
    pub lost: LabelledCounter,
    /// Denials counted in place of being written one by one.
    pub suppressed: Counter,
}

/// Requests to other controllers.
#[derive(Debug, Default)]
pub struct PeerStats {
    /// Connections dialled.
    pub connections_opened: Counter,
    /// Of these closed.
    pub connections_closed: Counter,
    /// Requests sent.
    pub requests: Recent,
    /// Answers received.
    pub responses: Recent,
    /// Bytes sent.
    pub bytes_out: Recent,
    /// Bytes received.
    pub bytes_in: Recent,
    /// Requests without an answer, by reason.
    pub failures: LabelledCounter,
    round_trips: Mutex<BTreeMap<(NodeId, ApiKey), Arc<Histogram>>>,
}

impl PeerStats {
    /// A peer answered. Peers are those that raft talks to: voters and what they name as leader.
    pub fn answered(&self, uptime: Duration, node: NodeId, api: ApiKey, took: Duration) {
        let mut all = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = all.entry((node, api)).or_default().clone();
        drop(all);
        histogram.record(uptime, took);
    }

    /// Times of answers, by peer and API.
    pub fn round_trips(&self) -> BTreeMap<(NodeId, ApiKey), Arc<Histogram>> {
        self.round_trips.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
