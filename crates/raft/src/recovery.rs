//! An empty disk: new, or lost? A voter whose log is empty and that remembers no vote may have
//! promised things that it has forgotten: votes, and records that were counted as on its disk. Until
//! it knows that no such promise binds it, it neither votes nor acknowledges
//! (docs/decisions/0003-empty-log.md; the rules are those of a recovering replica in Viewstamped
//! Replication Revisited, §4.3).

use crate::mutant::mutated;
use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use crate::{Action, LogLevel, PeerAddress, PeerResponse, RpcFailure};
use quorate_base::{Epoch, NodeId, OffsetAndEpoch, ReplicaKey, Time};
use quorate_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// The end of a log that never held anything.
const NOTHING: OffsetAndEpoch = OffsetAndEpoch { offset: 0, epoch: 0 };
/// How often the operator is told what is waited for.
const REPORT: Duration = Duration::from_secs(30);

/// What a replica with a lost or new disk has found out since its process started.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    /// Voters that answered or asked, and where their log ended, as far as they said so.
    heard: BTreeMap<NodeId, Option<OffsetAndEpoch>>,
    /// Voters at whose address stands a replica with another directory; true once it said that it is
    /// empty. What the voter promised it does not know: it counts for nothing else.
    replaced: BTreeMap<NodeId, bool>,
    /// Set when all are heard: no vote up to this epoch, in which a forgotten one may have been given.
    silent_through: Option<Epoch>,
    report_at: Time,
}

/// An answer to a probe, whichever request it was.
struct Said {
    epoch: Epoch,
    leader: NodeId,
    endpoints: Vec<crate::Endpoint>,
    /// `None`: it says nothing that counts, beyond the epoch.
    empty: Option<bool>,
    /// It is not the voter that was asked: it has another directory.
    is_another: bool,
}

impl Raft {
    /// Called once, at start. `flagged`: the disk says that an earlier process had not finished.
    pub(crate) fn start_recovery(&mut self, cx: &mut Cx, forgot: bool, flagged: bool) {
        let lost = forgot && self.log.end() == NOTHING && !mutated!(self, EmptyDiskVotes);
        if (lost || flagged) && self.is_voter() && self.voters().len() > 1 {
            let report_at = cx.now.time + self.config.fetch_timeout * 2;
            self.recovery = Some(Recovery {
                heard: BTreeMap::new(),
                replaced: BTreeMap::new(),
                silent_through: None,
                report_at,
            });
        }
    }

    /// Whether fetches may be sent under this replica's name: the leader counts them as
    /// acknowledgements. The voters heard must intersect every majority that this replica can have
    /// been part of: then no leader that it acknowledged something to is newer than the epoch it
    /// has learned from them.
    pub(crate) fn may_acknowledge(&self) -> bool {
        let voters = self.voters();
        self.recovery.as_ref().is_none_or(|r| r.heard.len() > voters.len() - voters.majority())
    }

    /// What a recovering replica, or one that knows no voters, answers to a candidate; `None` if the
    /// usual rules hold. A pre-vote between empty logs promises nothing, and it is how voters of a
    /// new quorum learn that all are new.
    pub(crate) fn forgetful_vote(&self, theirs: OffsetAndEpoch, pre: bool) -> Option<bool> {
        let empty = self.log.end() == NOTHING;
        if let Some(recovery) = &self.recovery {
            let silent = recovery.silent_through.is_none_or(|epoch| self.epoch <= epoch);
            if self.longest_other_log().is_some_and(|end| theirs >= end) && (pre || !silent) {
                return None;
            }
        } else if !empty || !self.voters().is_empty() {
            return None;
        }
        let hears_leader = matches!(&self.role, RoleState::Follower(state) if state.has_fetched);
        Some(pre && theirs == NOTHING && empty && !hears_leader)
    }

    /// The end of the longest log among the other voters, if all have said theirs and fewer disks are
    /// empty than a commit needs: then whatever was committed is on one of the others, and a log that
    /// is at least as long as all of them has it.
    fn longest_other_log(&self) -> Option<OffsetAndEpoch> {
        let recovery = self.recovery.as_ref()?;
        let end = |key: ReplicaKey| recovery.heard.get(&key.id).copied().flatten();
        let ends: Option<Vec<OffsetAndEpoch>> = self.other_voters().into_iter().map(end).collect();
        let ends = ends?;
        let empty = 1 + ends.iter().filter(|end| **end == NOTHING).count();
        if empty >= self.voters().majority() {
            return None;
        }
        ends.into_iter().max()
    }

    /// A candidate says where its log ends.
    pub(crate) fn heard_candidate(
        &mut self,
        cx: &mut Cx,
        candidate: ReplicaKey,
        theirs: OffsetAndEpoch,
    ) {
        if self.voters().contains(candidate) {
            self.heard(candidate.id, Some(theirs));
            self.judge_recovery(cx);
        }
    }

    fn heard(&mut self, voter: NodeId, end: Option<OffsetAndEpoch>) {
        let others = self.other_voters();
        if let Some(recovery) = &mut self.recovery {
            let known = recovery.heard.entry(voter).or_default();
            *known = end.or(*known);
            if others.iter().all(|key| recovery.heard.contains_key(&key.id)) {
                recovery.silent_through.get_or_insert(self.epoch);
            }
        }
    }

    /// Asks the voters that have not been heard, and ends the recovery when that is safe.
    pub(crate) fn poll_recovery(&mut self, cx: &mut Cx) {
        self.judge_recovery(cx);
        let Some(recovery) = &self.recovery else { return };
        let now = cx.now.time;
        if recovery.report_at <= now {
            self.report_recovery(cx);
        }
        let Some(recovery) = &self.recovery else { return };
        if self.may_acknowledge() && recovery.heard.values().any(|end| *end != Some(NOTHING)) {
            // Somebody holds data; what is left to do is to fetch it.
            return;
        }
        let replaced = recovery.replaced.clone();
        let mut open = self.other_voters();
        open.retain(|key| {
            !recovery.heard.contains_key(&key.id) && replaced.get(&key.id) != Some(&true)
        });
        for mut voter in open {
            if let Some(to) = self.voter_address(voter.id)
                && self.peers.is_ready(&to, now)
            {
                if replaced.contains_key(&voter.id) {
                    voter.directory_id = None;
                }
                self.probe(cx, to, voter);
            }
        }
    }

    /// A pre-vote is granted by an empty log only to an empty log. Where there are no pre-votes, an
    /// anonymous fetch tells the epoch at least.
    fn probe(&mut self, cx: &mut Cx, to: PeerAddress, voter: ReplicaKey) {
        if self.no_pre_vote.contains(&voter.id) {
            let request = self.fetch_request(Duration::ZERO, false);
            self.send(cx, to, Purpose::ProbeFetch, request);
        } else {
            let request = self.vote_request(voter, true);
            self.send(cx, to, Purpose::ProbeVote, request);
        }
    }

    pub(crate) fn recovery_probe_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let Some(voter) = call.to.node else { return };
        if result == Err(RpcFailure::UnsupportedVersion) && call.purpose == Purpose::ProbeVote {
            self.no_pre_vote.insert(voter);
            return;
        }
        let Some(said) = self.read_probe(result) else {
            return self.peers.failed(&call.to, cx.now.time);
        };
        let news = self.learn(cx, said.epoch, Some(said.leader), said.endpoints);
        let Some(recovery) = &mut self.recovery else { return };
        match said.empty {
            // Asked again for whoever stands there.
            None if said.is_another && !recovery.replaced.contains_key(&voter) => {
                recovery.replaced.insert(voter, false);
            }
            Some(empty) if recovery.replaced.contains_key(&voter) => {
                if empty && said.epoch == self.epoch {
                    recovery.replaced.insert(voter, true);
                } else {
                    // It may be the voter itself by now.
                    recovery.replaced.remove(&voter);
                    self.peers.failed(&call.to, cx.now.time);
                }
            }
            Some(empty) if said.epoch == self.epoch => {
                self.heard(voter, empty.then_some(NOTHING));
                self.peers.succeeded(&call.to);
            }
            // A newer epoch: asked again at once. An older one: it has not heard of ours yet.
            _ if news => {}
            _ => self.peers.failed(&call.to, cx.now.time),
        }
    }

    fn read_probe(&self, result: Result<PeerResponse, RpcFailure>) -> Option<Said> {
        match result.ok()? {
            PeerResponse::Vote(answer) => {
                let p = answer.topics.first()?.partitions.first()?;
                let leader = p.leader_id;
                let named = answer.node_endpoints.iter().filter(|e| e.node_id == leader);
                let endpoints =
                    self.endpoints_on_default_listener(named.map(|e| (e.host.as_str(), e.port)));
                let empty = (p.error_code == 0).then_some(p.vote_granted);
                let is_another = p.error_code == ErrorCode::InvalidVoterKey.code();
                Some(Said { epoch: p.leader_epoch, leader, endpoints, empty, is_another })
            }
            PeerResponse::Fetch(answer) => {
                let p = answer.responses.first()?.partitions.first()?;
                let leader = p.current_leader.leader_id;
                let named = answer.node_endpoints.iter().filter(|e| e.node_id == leader);
                let endpoints = self.endpoints_on_default_listener(
                    named.filter_map(|e| Some((e.host.as_str(), u16::try_from(e.port).ok()?))),
                );
                let epoch = p.current_leader.leader_epoch;
                let empty = (epoch >= 0).then_some(false);
                Some(Said { epoch, leader, endpoints, empty, is_another: false })
            }
            _ => None,
        }
    }

    /// Ends the recovery if all voters are new, or if this replica holds all that it can ever have
    /// acknowledged.
    fn judge_recovery(&mut self, cx: &mut Cx) {
        let Some(recovery) = &self.recovery else { return };
        let empty = |key: &ReplicaKey| {
            recovery.heard.get(&key.id) == Some(&Some(NOTHING))
                || recovery.replaced.get(&key.id) == Some(&true)
        };
        let all_new = self.log.end() == NOTHING && self.other_voters().iter().all(empty);
        if !all_new && !self.holds_what_is_committed() {
            return;
        }
        self.recovery = None;
        if self.epoch > 0 && self.voted.is_none() && self.epoch_leader.is_none() {
            // It may have voted in this epoch. A vote for itself forbids another.
            self.voted = Some(self.config.local_key());
        }
        self.persist(cx);
        let message = if all_new {
            "all voters start with empty logs: the quorum is new, and this voter votes".to_owned()
        } else {
            format!("this voter has caught up with the leader at {} and votes", self.log.end())
        };
        cx.push(Action::Log { level: LogLevel::Info, message });
    }

    /// A leader names a high watermark only once a record of its own epoch is committed; everything
    /// that was committed with the help of this replica's forgotten disk is below it. A log that is
    /// long enough may still hold something else there, until the leader has taken a fetch at its end.
    fn holds_what_is_committed(&self) -> bool {
        match &self.role {
            RoleState::Follower(state)
                if state.agrees && self.may_acknowledge() && self.installing.is_none() =>
            {
                let committed = state.leader_high_watermark;
                committed.is_some_and(|hw| hw > 0 && self.log.persisted() >= hw)
            }
            _ => false,
        }
    }

    pub(crate) fn recovery_timeout(&self) -> Option<(Time, &'static str)> {
        let recovery = self.recovery.as_ref()?;
        Some((recovery.report_at, "say why this voter does not vote"))
    }

    fn report_recovery(&mut self, cx: &mut Cx) {
        let others = self.other_voters();
        let Some(recovery) = &mut self.recovery else { return };
        recovery.report_at = cx.now.time + REPORT;
        let state = |key: &ReplicaKey| match recovery.heard.get(&key.id) {
            None if recovery.replaced.get(&key.id) == Some(&true) => {
                format!("{} replaced by an empty disk", key.id)
            }
            None => format!("{} not heard", key.id),
            Some(None) => format!("{} heard", key.id),
            Some(Some(NOTHING)) => format!("{} empty too", key.id),
            Some(Some(end)) => format!("{} holds data up to {end}", key.id),
        };
        let others: Vec<String> = others.iter().map(state).collect();
        let message = format!(
            "this voter started with an empty log and no vote: it is new, or its disk was lost. It \
             does not vote until all voters are seen to be new, or enough of them to hold data, or it \
             has caught up with a leader that the others elected. Voters: {}. Start those not heard; \
             if as many disks are lost as a commit needs, recover from a remaining one",
            others.join(", ")
        );
        cx.push(Action::Log { level: LogLevel::Warn, message });
    }
}
