//! The leader: its own appends, the high watermark, check-quorum, and giving up.

use crate::config::Config;
use crate::mutant::mutated;
use crate::peers::Purpose;
use crate::quorum::majority_offset;
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use crate::transfer::Handover;
use crate::voter_change::VoterChange;
use crate::voter_set::BOOTSTRAP_OFFSET;
use crate::{Action, LogBatch, Voter, VoterSet};
use quorate_base::{Epoch, NodeId, Offset, ReplicaKey, Time};
use quorate_protocol::batch::encode_control_batch;
use quorate_protocol::control::ControlRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An observer that has not fetched for this long is forgotten (as in Kafka).
const OBSERVER_SESSION: Duration = Duration::from_secs(300);

/// No more observers than this are kept in mind: ids in requests are free to choose.
const MAX_OBSERVERS: usize = 10_000;

/// What a leader knows.
#[derive(Clone, Debug)]
pub(crate) struct LeaderState {
    pub epoch: Epoch,
    /// Offset of this epoch's LeaderChange record.
    pub start_offset: Offset,
    /// A record of this epoch is committed. Before that the leader names no high watermark: it
    /// could be behind what a follower knows, which stops a Java follower.
    pub committed_own_epoch: bool,
    /// The other voters by id, and everybody else who fetches.
    pub voters: BTreeMap<NodeId, Progress>,
    pub observers: BTreeMap<ReplicaKey, Progress>,
    /// Voters that fetched since the last time a majority had.
    pub fetched: BTreeSet<NodeId>,
    /// When to resign unless a majority has fetched.
    pub check_quorum_at: Time,
    /// The change of the voter set under way.
    pub change: Option<VoterChange>,
    /// The voter that is to lead, once it has caught up.
    pub handover: Option<Handover>,
}

/// How far another replica is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub key: ReplicaKey,
    /// End of its synced log; `None` before its first fetch.
    pub end: Option<Offset>,
    /// Wall clock, milliseconds; -1 for never.
    pub last_fetch_ms: i64,
    pub last_caught_up_ms: i64,
    /// The leader's end at its last fetch.
    leader_end_at_fetch: Offset,
    pub last_fetch: Option<Time>,
    /// When to tell a voter (again) who leads.
    pub begin_epoch_at: Time,
}

impl Progress {
    pub fn new(key: ReplicaKey, now: Time) -> Progress {
        Progress {
            key,
            end: None,
            last_fetch_ms: -1,
            last_caught_up_ms: -1,
            leader_end_at_fetch: -1,
            last_fetch: None,
            begin_epoch_at: now,
        }
    }

    fn fetched(&mut self, cx: &Cx, key: ReplicaKey, end: Offset, leader_end: Offset) {
        let wall = cx.now.wall_ms;
        if end >= leader_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(wall);
        } else if self.leader_end_at_fetch > 0 && end >= self.leader_end_at_fetch {
            // It has all that the leader had when it asked the last time.
            self.last_caught_up_ms = self.last_caught_up_ms.max(self.last_fetch_ms);
        }
        if key.directory_id.is_some() {
            self.key = key;
        }
        self.last_fetch_ms = self.last_fetch_ms.max(wall);
        self.leader_end_at_fetch = leader_end;
        self.last_fetch = Some(cx.now.time);
        self.end = Some(end);
    }
}

fn check_quorum_period(config: &Config) -> Duration {
    config.fetch_timeout * 3 / 2
}

impl Raft {
    pub(crate) fn become_leader(&mut self, cx: &mut Cx, granting: Vec<NodeId>) {
        let start_offset = self.log.end().offset;
        let now = cx.now.time;
        let voters = self.other_voters();
        let state = LeaderState {
            epoch: self.epoch,
            start_offset,
            committed_own_epoch: false,
            voters: voters.iter().map(|key| (key.id, Progress::new(*key, now))).collect(),
            observers: BTreeMap::new(),
            fetched: BTreeSet::new(),
            check_quorum_at: now + check_quorum_period(&self.config),
            change: None,
            handover: None,
        };
        self.enter_leader(cx, state);
        cx.push(Action::BecameLeader { epoch: self.epoch, start_offset });
        let mut records = vec![ControlRecord::LeaderChange {
            leader_id: self.config.node_id,
            voters: self.voters().ids(),
            granting_voters: granting,
        }];
        records.extend(self.voters_to_write_at_epoch_start());
        self.append_control(cx, &records);
        self.poll_leader(cx);
    }

    /// The voter set goes into the log if it stands in the bootstrap checkpoint only, which nobody
    /// can fetch, or if this leader's own entry is out of date.
    fn voters_to_write_at_epoch_start(&self) -> Vec<ControlRecord> {
        let level = self.history.kraft_version();
        let (set, offset) = self.history.last();
        if level == 0 {
            return Vec::new();
        }
        let own = self.own_voter();
        let stale = set.get(own.key.id).is_some_and(|v| *v != own);
        if offset != Some(BOOTSTRAP_OFFSET) && !stale {
            return Vec::new();
        }
        let set = if stale { set.with(own) } else { set.clone() };
        vec![
            ControlRecord::KRaftVersion(i16::try_from(level).unwrap_or(i16::MAX)),
            voters_record(&set),
        ]
    }

    /// This replica as the voter set should have it.
    pub(crate) fn own_voter(&self) -> Voter {
        Voter {
            key: self.config.local_key(),
            listeners: self.config.listeners.clone(),
            kraft_version_range: self.config.kraft_version_range,
        }
    }

    /// Appends control records in one batch; they count from now on.
    pub(crate) fn append_control(&mut self, cx: &mut Cx, records: &[ControlRecord]) {
        let base_offset = self.log.end().offset;
        let bytes = encode_control_batch(base_offset, self.epoch, cx.now.wall_ms, records);
        let end_offset = base_offset + records.len() as Offset;
        for (offset, record) in (base_offset..).zip(records) {
            self.apply_control(offset, record);
        }
        self.append(
            cx,
            LogBatch {
                base_offset,
                end_offset,
                epoch: self.epoch,
                append_time_ms: cx.now.wall_ms,
                is_control: true,
                bytes,
            },
        );
        self.follow_voter_set(cx);
    }

    /// Takes in what a control record says, when it is appended.
    pub(crate) fn apply_control(&mut self, offset: Offset, record: &ControlRecord) {
        match record {
            ControlRecord::KRaftVersion(level) => {
                self.history.put_kraft_version(offset, u16::try_from(*level).unwrap_or(0));
            }
            ControlRecord::Voters(voters) => {
                let set = VoterSet::new(voters.iter().map(Voter::from));
                self.history.put_voters(offset, set);
            }
            _ => {}
        }
    }

    pub(crate) fn append(&mut self, cx: &mut Cx, batch: LogBatch) {
        self.log.append(batch.base_offset, batch.end_offset, batch.epoch);
        cx.push(Action::AppendLog { batch });
    }

    pub(crate) fn append_as_leader(&mut self, cx: &mut Cx, batch: LogBatch) {
        assert!(self.is_leader(), "only the leader appends");
        assert_eq!(batch.epoch, self.epoch, "a batch of another epoch");
        assert!(!batch.is_control, "control batches are written by raft");
        self.append(cx, batch);
        self.wake_voters(cx);
    }

    /// Keeps the leader's bookkeeping in step with the voter set.
    fn follow_voter_set(&mut self, cx: &mut Cx) {
        let others = self.other_voters();
        let set = self.voters().clone();
        let period = check_quorum_period(&self.config);
        if let RoleState::Leader(state) = &mut self.role {
            if state.voters.is_empty() {
                // Alone until now, nobody had to be in touch: the first other voter gets its time.
                state.check_quorum_at = cx.now.time + period;
            }
            let gone: Vec<NodeId> = state
                .voters
                .iter()
                .filter(|(_, p)| !set.contains(p.key))
                .map(|(id, _)| *id)
                .collect();
            for id in gone {
                if let Some(progress) = state.voters.remove(&id) {
                    state.observers.insert(progress.key, progress);
                }
                state.fetched.remove(&id);
            }
            for key in others {
                if state.voters.contains_key(&key.id) {
                    continue;
                }
                let progress = state.observers.remove(&key);
                let progress = progress.unwrap_or_else(|| Progress::new(key, cx.now.time));
                state.voters.insert(key.id, progress);
            }
        }
        self.wake_voters(cx);
        self.advance_leader_high_watermark(cx);
    }

    /// Takes note of a fetch at a valid position.
    pub(crate) fn note_fetch(&mut self, cx: &mut Cx, key: ReplicaKey, fetch_offset: Offset) {
        let leader_end = self.log.end().offset;
        let is_voter = self.voters().contains(key) && key.id != self.config.node_id;
        self.note_contact(cx, key);
        let RoleState::Leader(state) = &mut self.role else {
            return;
        };
        let now = cx.now.time;
        let progress = if is_voter {
            state.voters.entry(key.id).or_insert_with(|| Progress::new(key, now))
        } else if state.observers.len() >= MAX_OBSERVERS && !state.observers.contains_key(&key) {
            return;
        } else {
            state.observers.entry(key).or_insert_with(|| Progress::new(key, now))
        };
        progress.fetched(cx, key, fetch_offset, leader_end);
        if is_voter {
            self.advance_leader_high_watermark(cx);
            self.poll_handover(cx);
        } else {
            self.observer_fetched(cx, key);
        }
    }

    /// A voter is in touch: with a majority in touch, this leader still leads.
    pub(crate) fn note_contact(&mut self, cx: &mut Cx, key: ReplicaKey) {
        if key.id == self.config.node_id || !self.voters().contains(key) {
            return;
        }
        let needed = self.voters().majority() - usize::from(self.is_voter());
        let period = check_quorum_period(&self.config);
        let begin_epoch_at = cx.now.time + self.config.fetch_timeout / 2;
        let RoleState::Leader(state) = &mut self.role else {
            return;
        };
        if let Some(progress) = state.voters.get_mut(&key.id) {
            progress.begin_epoch_at = begin_epoch_at;
        }
        state.fetched.insert(key.id);
        if state.fetched.len() >= needed {
            state.fetched.clear();
            state.check_quorum_at = cx.now.time + period;
        }
    }

    /// Commits what a majority has synced, own-epoch records only (Raft §5.4.2).
    pub(crate) fn advance_leader_high_watermark(&mut self, cx: &mut Cx) {
        let me = self.config.node_id;
        let is_voter = self.is_voter();
        let RoleState::Leader(state) = &self.role else {
            return;
        };
        let ends = self.voters().iter().map(|voter| {
            if voter.key.id == me && is_voter {
                Some(self.log.persisted())
            } else {
                state.voters.get(&voter.key.id).and_then(|p| p.end)
            }
        });
        let mut ends: Vec<Option<Offset>> = ends.collect();
        if mutated!(self, MinorityCommits) {
            ends.push(Some(Offset::MAX));
            ends.push(Some(Offset::MAX));
        }
        let Some(reached) = majority_offset(ends) else {
            return;
        };
        // A fetch offset is checked against the log before it counts, but not beyond its end.
        let reached = reached.min(self.log.end().offset);
        let own_epoch = reached > state.start_offset || mutated!(self, OwnEpochRuleDropped);
        if !own_epoch || self.high_watermark.is_some_and(|hw| reached <= hw) {
            return;
        }
        self.high_watermark = Some(reached);
        if let RoleState::Leader(state) = &mut self.role {
            state.committed_own_epoch = true;
        }
        cx.push(Action::HighWatermark { offset: reached });
        self.wake_all(cx);
        self.voter_change_committed(cx);
    }

    /// The high watermark as answers name it.
    pub(crate) fn high_watermark_for_answers(&self) -> Option<Offset> {
        match &self.role {
            RoleState::Leader(state) if !state.committed_own_epoch => None,
            _ => self.high_watermark,
        }
    }

    pub(crate) fn poll_leader(&mut self, cx: &mut Cx) {
        let now = cx.now.time;
        self.poll_voter_change(cx);
        self.poll_handover(cx);
        let RoleState::Leader(state) = &mut self.role else {
            return;
        };
        state.observers.retain(|_, p| p.last_fetch.is_none_or(|at| now < at + OBSERVER_SESSION));
        if !state.voters.is_empty() && now >= state.check_quorum_at {
            let successors = self.successors(None);
            return self.enter_resigned(cx, successors);
        }
        let due: Vec<NodeId> = state
            .voters
            .iter()
            .filter(|(_, p)| p.begin_epoch_at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(to) = self.voter_address(id) else {
                continue;
            };
            if self.peers.is_ready(&to, now) {
                let request = self.begin_epoch_request(id);
                self.send(cx, to, Purpose::BeginQuorumEpoch, request);
                let again = now + self.config.fetch_timeout / 2;
                if let RoleState::Leader(state) = &mut self.role
                    && let Some(progress) = state.voters.get_mut(&id)
                {
                    progress.begin_epoch_at = again;
                }
            }
        }
    }

    pub(crate) fn leader_timeout(&self, state: &LeaderState) -> Option<(Time, &'static str)> {
        let check = (!state.voters.is_empty())
            .then_some((state.check_quorum_at, "resign unless a majority fetches"));
        let begin = state
            .voters
            .iter()
            .filter(|(id, _)| self.voter_address(**id).is_some_and(|to| !self.peers.is_busy(&to)))
            .map(|(_, p)| (p.begin_epoch_at, "tell a silent voter who leads"))
            .min();
        let change = state.change.as_ref().map(|c| (c.deadline, "give up the voter change"));
        let handover = state.handover.map(|h| (h.deadline, "end the wait for a successor"));
        [check, begin, change, handover].into_iter().flatten().min()
    }

    /// The other voters, most complete log first; `wanted` before all.
    fn successors(&self, wanted: Option<NodeId>) -> Vec<ReplicaKey> {
        let RoleState::Leader(state) = &self.role else {
            return Vec::new();
        };
        let mut voters: Vec<&Progress> = state.voters.values().collect();
        voters.sort_by_key(|p| (wanted != Some(p.key.id), std::cmp::Reverse(p.end), p.key.id));
        voters.iter().map(|p| p.key).collect()
    }

    /// Resigns and names successors.
    pub(crate) fn hand_over(&mut self, cx: &mut Cx, to: Option<NodeId>) {
        let successors = self.successors(to);
        if !successors.is_empty() {
            self.enter_resigned(cx, successors);
        }
    }

    pub(crate) fn begin_shutdown(&mut self, cx: &mut Cx) {
        if self.shutdown_deadline.is_none() {
            self.shutdown_deadline = Some(cx.now.time + self.config.request_timeout);
            self.hand_over(cx, None);
        }
    }

    /// A resigned leader stays until its successors know, or somebody else leads.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Cx) {
        let Some(deadline) = self.shutdown_deadline else {
            return;
        };
        let waiting = match &self.role {
            RoleState::Resigned(state) => !state.unacknowledged.is_empty(),
            _ => false,
        };
        if !waiting || cx.now.time >= deadline {
            self.answer_all_parked_not_leader(cx);
            self.transfer_interrupted(cx, "this controller ends");
            self.shut_down = true;
            cx.push(Action::ShutdownComplete);
        }
    }

    /// Observers of this leader: id and directory, log end, last fetch and last caught-up time (wall
    /// clock, milliseconds).
    pub fn observers(&self) -> Vec<(ReplicaKey, Offset, i64, i64)> {
        let RoleState::Leader(state) = &self.role else {
            return Vec::new();
        };
        let row = |p: &Progress| (p.key, p.end.unwrap_or(-1), p.last_fetch_ms, p.last_caught_up_ms);
        state.observers.values().map(row).collect()
    }
}

/// A voter set as a control record.
pub(crate) fn voters_record(set: &VoterSet) -> ControlRecord {
    ControlRecord::Voters(set.iter().map(Into::into).collect())
}
