//! The core thread's measuring: what it did and when, into atomics and one watch channel. Nothing here
//! waits, and nothing the node decides depends on it.

use super::slow_events::SlowEvents;
use crate::telemetry::{EventKind, Telemetry, since_start};
use quorate_base::{Epoch, NodeId, Now, Offset, Time};
use quorate_node::{Event, LogAppend, Node, QuorumView};
use quorate_protocol::ApiKey;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the view is renewed while nothing changes; also the core's longest sleep.
pub const VIEW_INTERVAL: Duration = Duration::from_millis(500);
/// Appends in flight that are timed; of more, the newest go untimed.
const TIMED_MAX: usize = 4096;

/// The node as the core thread last saw it.
#[derive(Clone, Debug)]
pub struct CoreView {
    /// When.
    pub at: Now,
    /// The node and its quorum.
    pub node: QuorumView,
    /// When the image last held everything known to be committed; nothing before it first did.
    pub caught_up: Option<Time>,
    /// Since when the oldest append that is not synced waits.
    pub unsynced_since: Option<Time>,
}

/// One event's way through the core thread.
pub struct Taken {
    kind: EventKind,
    api: Option<ApiKey>,
    waited: Duration,
    at: Time,
}

/// See the module.
pub struct Meter {
    telemetry: Arc<Telemetry>,
    views: watch::Sender<Option<Arc<CoreView>>>,
    finished: Time,
    viewed: Option<Time>,
    shown: Shown,
    progress: Progress,
    unsynced: VecDeque<(Offset, Time)>,
    uncommitted: VecDeque<(Offset, Time)>,
    election_since: Option<Time>,
    leaderless_since: Option<Time>,
    leader: Option<(NodeId, Epoch)>,
    slow_events: SlowEvents,
}

/// What makes a new view at once when it changes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Shown {
    role: &'static str,
    epoch: Epoch,
    leader: Option<NodeId>,
    active: bool,
}

impl Meter {
    /// Measures into `telemetry` and shows the node in `views`.
    pub fn new(telemetry: Arc<Telemetry>, views: watch::Sender<Option<Arc<CoreView>>>) -> Meter {
        let finished = telemetry.clock.time();
        Meter {
            telemetry,
            views,
            finished,
            viewed: None,
            shown: Shown::default(),
            progress: Progress::default(),
            unsynced: VecDeque::new(),
            uncommitted: VecDeque::new(),
            election_since: None,
            leaderless_since: None,
            leader: None,
            slow_events: SlowEvents::default(),
        }
    }

    /// The core thread goes round, whether there is something to do or not.
    pub fn woke(&mut self, now: Time, node: &Node) {
        let idle = now.since(self.finished);
        let nanos = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        self.telemetry.core.idle_nanos.record(since_start(now), nanos);
        self.telemetry.core.beat(now);
        self.finished = now;
        self.show(node, now);
    }

    /// An event is about to go to the node.
    pub fn took(&mut self, event: &Event, waited: Duration, now: Time) -> Taken {
        let core = &self.telemetry.core;
        match event {
            Event::Persisted { end } => {
                for at in reached(&mut self.unsynced, end.offset) {
                    core.append.record(since_start(now), now.since(at));
                }
            }
            Event::SnapshotWritten { size_bytes, .. } => core.snapshot_written(now, *size_bytes),
            Event::SnapshotInstalled { .. } => core.snapshots_loaded.increment(),
            _ => {}
        }
        let api = match event {
            Event::Request { request, .. } => Some(request.api_key()),
            _ => None,
        };
        Taken { kind: EventKind::of(event), api, waited, at: now }
    }

    /// The node decided to append.
    pub fn appended(&mut self, batch: &LogAppend, leads: bool) {
        let now = self.telemetry.clock.time();
        let records = u64::try_from(batch.end_offset - batch.base_offset).unwrap_or(0);
        let core = &self.telemetry.core;
        let rate = if leads { &core.appended_records } else { &core.fetched_records };
        rate.record(since_start(now), records);
        push(&mut self.unsynced, batch.end_offset, now);
        if leads {
            push(&mut self.uncommitted, batch.end_offset, now);
        }
    }

    /// The log was cut.
    pub fn truncated(&mut self, to: Offset) {
        self.unsynced.retain(|(end, _)| *end <= to);
        self.uncommitted.retain(|(end, _)| *end <= to);
    }

    /// The node must stop.
    pub fn failed(&self) {
        self.telemetry.core.metadata_errors.increment();
    }

    /// The event and all that the node made of it is done.
    pub fn done(&mut self, taken: &Taken, node: &Node) {
        let now = self.telemetry.clock.time();
        let (uptime, took) = (since_start(now), now.since(taken.at));
        let core = &self.telemetry.core;
        core.events.increment();
        core.queue.record(uptime, taken.waited);
        core.step.record(uptime, took);
        core.queue_of(taken.kind).record(uptime, taken.waited);
        core.step_of(taken.kind).record(uptime, took);
        let name = taken.api.map_or(taken.kind.name(), ApiKey::name);
        if let Some(line) = self.slow_events.done(name, took) {
            tracing::warn!("slow: {line}");
        }
        if let Some(line) = self.slow_events.period(now) {
            tracing::debug!("{line}");
        }
        if let Some(api) = taken.api {
            let api = self.telemetry.requests.api(api);
            api.queue.record(uptime, taken.waited);
            api.local.record(uptime, took);
        }
        if !self.uncommitted.is_empty()
            && let Some(high_watermark) = node.raft().high_watermark()
        {
            for at in reached(&mut self.uncommitted, high_watermark) {
                let took = now.since(at);
                core.commit.record(uptime, took);
                core.commit_micros.record(uptime, micros(took));
            }
        }
        self.finished = now;
        self.show(node, now);
    }

    /// Renews the view if it is old or wrong.
    fn show(&mut self, node: &Node, now: Time) {
        let status = node.status();
        let shown = Shown {
            role: status.role,
            epoch: status.epoch,
            leader: status.leader,
            active: status.active,
        };
        let changed = shown != self.shown;
        if changed {
            self.shown = shown;
            self.note_election(now);
        }
        if !changed && self.viewed.is_some_and(|at| now.since(at) < VIEW_INTERVAL) {
            return;
        }
        self.viewed = Some(now);
        let view = node.quorum_view();
        self.note_progress(&view, now);
        self.views.send_replace(Some(Arc::new(CoreView {
            at: Now { time: now, ..self.telemetry.clock.now() },
            node: view,
            caught_up: self.progress.caught_up,
            unsynced_since: self.unsynced.front().map(|(_, since)| *since),
        })));
    }

    fn note_election(&mut self, now: Time) {
        let core = &self.telemetry.core;
        if matches!(self.shown.role, "prospective" | "candidate") {
            self.election_since.get_or_insert(now);
        } else if self.shown.leader.is_some()
            && let Some(since) = self.election_since.take()
        {
            core.election_micros.record(since_start(now), micros(now.since(since)));
        }
        // A voter that asks for votes still shows the leader that it lost.
        if self.shown.leader.is_none() || matches!(self.shown.role, "prospective" | "candidate") {
            self.leaderless_since.get_or_insert(now);
        } else if let Some(since) = self.leaderless_since.take() {
            core.leaderless.record(since_start(now), now.since(since));
        }
        if self.shown.role != "leader" {
            self.uncommitted.clear();
        }
        let leader = self.shown.leader.map(|id| (id, self.shown.epoch));
        if leader.is_some() && leader != self.leader {
            self.leader = leader;
            core.new_leaders.increment();
        }
    }

    /// Notes how far the image is behind what this node knows to be committed.
    fn note_progress(&mut self, view: &QuorumView, now: Time) {
        let following = view.quorum.following;
        let theirs = following.and_then(|it| it.leader_high_watermark);
        let downloading = following.is_some_and(|it| it.download.is_some());
        // A follower's own high watermark ends where its log ends; the leader's is what counts.
        let unknown = downloading || (following.is_some() && theirs.is_none());
        let target = view.status.high_watermark.max(theirs).filter(|_| !unknown);
        self.progress.note(view.status.applied, target, now);
    }
}

/// When the image last held all that was committed.
#[derive(Debug, Default)]
struct Progress {
    caught_up: Option<Time>,
    target: Option<(Offset, Time)>,
}

impl Progress {
    /// The image ends at `applied` now, and `target` is known to be committed. Under load there is
    /// always something newer: then what counts is when the image has all of the time before.
    fn note(&mut self, applied: Offset, target: Option<Offset>, now: Time) {
        if target.is_some_and(|target| applied >= target) {
            self.caught_up = Some(now);
        } else if let Some((before, at)) = self.target
            && applied >= before
        {
            self.caught_up = self.caught_up.max(Some(at));
        }
        self.target = target.map(|offset| (offset, now));
    }
}

fn push(queue: &mut VecDeque<(Offset, Time)>, end: Offset, now: Time) {
    if queue.len() < TIMED_MAX {
        queue.push_back((end, now));
    }
}

/// Takes out what ends at or before `offset`.
fn reached(queue: &mut VecDeque<(Offset, Time)>, offset: Offset) -> impl Iterator<Item = Time> {
    std::iter::from_fn(move || queue.pop_front_if(|(end, _)| *end <= offset).map(|(_, at)| at))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_judged_by_what_was_known_before() {
        let at = Time::from_millis;
        let mut progress = Progress::default();
        progress.note(0, None, at(0));
        assert_eq!(progress.caught_up, None);
        // A long log: nothing is caught up until the first target is reached.
        progress.note(10, Some(1000), at(500));
        progress.note(900, Some(1500), at(1000));
        assert_eq!(progress.caught_up, None);
        progress.note(1500, Some(2000), at(1500));
        assert_eq!(progress.caught_up, Some(at(1000)));
        progress.note(2000, Some(2000), at(2000));
        assert_eq!(progress.caught_up, Some(at(2000)));
        // Stuck: the last time it was caught up stays.
        progress.note(2000, Some(2500), at(2500));
        progress.note(2000, Some(2600), at(3000));
        assert_eq!(progress.caught_up, Some(at(2000)));
    }

    #[test]
    fn appends_are_timed_once_and_in_order() {
        let mut queue = VecDeque::new();
        for (end, millis) in [(5, 1), (7, 2), (9, 3)] {
            push(&mut queue, end, Time::from_millis(millis));
        }
        assert_eq!(reached(&mut queue, 4).count(), 0);
        let times: Vec<Time> = reached(&mut queue, 8).collect();
        assert_eq!(times, [Time::from_millis(1), Time::from_millis(2)]);
        assert_eq!(reached(&mut queue, 9).count(), 1);
        for end in 0..2 * TIMED_MAX {
            push(&mut queue, end as Offset, Time::ZERO);
        }
        assert_eq!(queue.len(), TIMED_MAX);
    }
}
