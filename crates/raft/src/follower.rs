//! Looking for a leader, following it, and doubting it.

use crate::answers::TOPIC;
use crate::mutant::mutated;
use crate::peers::{Outstanding, Purpose};
use crate::raft::{Cx, Raft};
use crate::role::{Follower, RoleState};
use crate::{Action, LogBatch, PeerAddress, PeerRequest, PeerResponse, RpcFailure};
use bytes::Bytes;
use quorate_base::{NodeId, Offset, OffsetAndEpoch, Time, Uuid};
use quorate_protocol::batch::batches;
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use quorate_protocol::messages::fetch_response::PartitionData;
use quorate_protocol::messages::{FetchRequest, FetchResponse};
use std::time::Duration;

/// How long a leader may hold a fetch back: Kafka's raft client asks for the same.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// A fetch unanswered for this long makes a voter ask the others about the leader.
const OVERDUE: Duration = Duration::from_millis(800);
/// A fetch unanswered for this long makes a voter support another that asks: their fetches were not
/// sent at the very same moment.
const LATE: Duration = Duration::from_millis(650);

impl Raft {
    pub(crate) fn poll_unattached(&mut self, cx: &mut Cx) {
        let RoleState::Unattached(state) = &self.role else {
            return;
        };
        let due = cx.now.time >= state.election_deadline;
        let may_stand = self.may_stand();
        if may_stand && (due || self.is_only_voter()) {
            self.become_prospective(cx, None);
            return self.poll(cx);
        }
        if self.installing.is_some() || self.peers.outstanding(Purpose::Fetch).is_some() {
            return;
        }
        let places = self.places_to_ask();
        for turn in 0..places.len() {
            let at = (self.discovery_turn + turn) % places.len();
            if let Some(to) = places.get(at)
                && self.peers.is_ready(to, cx.now.time)
            {
                self.discovery_turn = at + 1;
                let request = self.fetch_request(Duration::ZERO, self.may_acknowledge());
                self.send(cx, to.clone(), Purpose::Fetch, request);
                return;
            }
        }
    }

    /// A voter that is not about to replace its log, and not about to end.
    pub(crate) fn may_stand(&self) -> bool {
        self.can_be_elected() && self.installing.is_none() && self.shutdown_deadline.is_none()
    }

    /// Everybody who could know the leader: the voters, then the bootstrap servers.
    fn places_to_ask(&self) -> Vec<PeerAddress> {
        let voters = self.other_voters();
        let mut places: Vec<PeerAddress> =
            voters.iter().filter_map(|key| self.voter_address(key.id)).collect();
        for (host, port) in &self.config.bootstrap_servers {
            let known = places.iter().any(|p| p.host == *host && p.port == *port);
            let own = self.config.listeners.iter().any(|e| e.host == *host && e.port == *port);
            if !known && !own {
                places.push(PeerAddress { node: None, host: host.clone(), port: *port });
            }
        }
        places
    }

    /// Under this replica's name, or anonymously: then the leader counts nothing.
    pub(crate) fn fetch_request(&self, max_wait: Duration, named: bool) -> PeerRequest {
        let end = self.log.end();
        let (replica_id, directory) = self.fetch_name(named);
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: self.epoch,
            fetch_offset: end.offset,
            last_fetched_epoch: end.epoch,
            log_start_offset: self.log.start(),
            partition_max_bytes: 0,
            replica_directory_id: directory,
            high_watermark: self.high_watermark.unwrap_or(-1),
            ..Default::default()
        };
        PeerRequest::Fetch(FetchRequest {
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            replica_state: ReplicaState { replica_id, ..Default::default() },
            max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 0,
            max_bytes: i32::try_from(self.config.fetch_max_bytes).unwrap_or(i32::MAX),
            topics: vec![FetchTopic {
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    pub(crate) fn fetch_name(&self, named: bool) -> (NodeId, Uuid) {
        if named { (self.config.node_id, self.config.directory_id) } else { (-1, Uuid::ZERO) }
    }

    pub(crate) fn poll_follower(&mut self, cx: &mut Cx) {
        let now = cx.now.time;
        let overdue = self.fetch_overdue_at().is_some_and(|at| at <= now);
        let may_stand = self.may_stand();
        let is_voter = self.can_be_elected();
        let RoleState::Follower(state) = &mut self.role else {
            return;
        };
        let suspected = state.suspect_at.is_some_and(|at| at <= now);
        let lost = state.fetch_deadline <= now;
        let (leader, resigned) = (state.leader, state.leader_resigned);
        let fetch_deadline = state.fetch_deadline;
        if may_stand && suspected && resigned && state.stand_at_once {
            self.become_candidate(cx);
            return self.poll(cx);
        }
        if may_stand && (suspected || lost || overdue) {
            self.become_prospective(cx, (!resigned).then_some(leader));
            self.doubted = Some(leader);
            if let RoleState::Prospective(election) = &mut self.role {
                election.only_suspicion = !lost && !resigned;
                election.fetch_deadline = election.only_suspicion.then_some(fetch_deadline);
            }
            return self.poll(cx);
        }
        if !is_voter && lost && self.installing.is_none() {
            // An observer cannot force an election; it asks around.
            let epoch = self.epoch;
            self.become_unattached(cx, epoch, None);
            return self.poll(cx);
        }
        if resigned || self.installing.is_some() || self.log.persisted() < self.log.end().offset {
            return;
        }
        let (download, doubtful) = (state.download, state.suspect_at.is_some());
        let Some(to) = self.leader_address(leader) else {
            return;
        };
        if !self.peers.is_ready(&to, now) || self.poll_membership(cx, &to) {
            return;
        }
        match download {
            Some(download) => {
                let request = self.snapshot_request(download);
                self.send(cx, to, Purpose::FetchSnapshot, request);
            }
            None => {
                // A leader in doubt need not wait for news: any answer shows that it is alive.
                let wait = if doubtful { Duration::ZERO } else { MAX_WAIT };
                let request = self.fetch_request(wait, self.may_acknowledge());
                self.send(cx, to, Purpose::Fetch, request);
            }
        }
    }

    /// When the outstanding fetch becomes a reason to doubt the leader.
    fn fetch_overdue_at(&self) -> Option<Time> {
        if !self.may_doubt() {
            return None;
        }
        let (_, fetch) = self.peers.outstanding(Purpose::Fetch)?;
        // All followers' fetches were sent when the last one was answered: at the same moment.
        let turn = fetch.to.node.map_or(Duration::ZERO, |leader| self.own_turn(leader));
        Some((fetch.sent + OVERDUE + turn).max(self.calm_until))
    }

    /// Whether this follower has heard from the leader, and has no reason to think that it is gone.
    pub(crate) fn hears_leader(&self, state: &Follower, now: Time) -> bool {
        let fetch = self.peers.outstanding(Purpose::Fetch);
        let late = fetch.is_some_and(|(_, fetch)| fetch.sent + LATE <= now);
        state.has_fetched && !(self.config.fast_failover && (late || state.suspect_at.is_some()))
    }

    /// The voters left without a leader ask one after the other, in the order of their ids, so that
    /// their votes do not split.
    pub(crate) fn own_turn(&self, leader: NodeId) -> Duration {
        let me = self.config.node_id;
        let rank = self.voters().iter().filter(|v| v.key.id != leader && v.key.id < me).count();
        self.turn_length() * u32::try_from(rank).unwrap_or(u32::MAX)
    }

    pub(crate) fn turn_length(&self) -> Duration {
        self.config.retry_backoff.max(Duration::from_millis(10))
    }

    /// Fast suspicion needs pre-votes that all voters understand: a real vote would disturb.
    pub(crate) fn may_doubt(&self) -> bool {
        self.config.fast_failover && self.no_pre_vote.is_empty() && self.may_stand()
    }

    pub(crate) fn follower_timeout(&self, state: &Follower) -> Option<(Time, &'static str)> {
        if self.installing.is_some() {
            return None;
        }
        let lost = (state.fetch_deadline, "the leader is silent");
        let may_stand = self.may_stand();
        let suspect =
            state.suspect_at.filter(|_| may_stand).map(|at| (at, "ask whether the leader is gone"));
        let overdue = self.fetch_overdue_at().map(|at| (at, "the leader holds a fetch too long"));
        let lost = (may_stand || !self.can_be_elected()).then_some(lost);
        [lost, suspect, overdue].into_iter().flatten().min()
    }

    /// The leader's process is probably gone: ask the other voters soon.
    pub(crate) fn peer_down(&mut self, cx: &mut Cx, node: NodeId) {
        if !self.may_doubt() {
            return;
        }
        let pause = self.own_turn(node) + self.jitter(self.turn_length() / 2);
        let at = (cx.now.time + pause).max(self.calm_until);
        if let RoleState::Follower(state) = &mut self.role
            && state.leader == node
        {
            state.suspect_at = Some(state.suspect_at.map_or(at, |old| old.min(at)));
        }
    }

    /// A call to the leader failed without news.
    pub(crate) fn leader_call_failed(&mut self, cx: &mut Cx, call: &Outstanding) {
        self.peers.failed(&call.to, cx.now.time);
    }

    pub(crate) fn fetch_answered(
        &mut self,
        cx: &mut Cx,
        call: &Outstanding,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let response = match result {
            Ok(PeerResponse::Fetch(response)) if response.error_code == 0 => response,
            Err(RpcFailure::Disconnected | RpcFailure::Refused) => {
                self.leader_call_failed(cx, call);
                if let Some(node) = call.to.node {
                    self.peer_down(cx, node);
                }
                return;
            }
            other => return self.refuse_outcome(cx, call, &other),
        };
        let Some(partition) = only_partition(&response) else {
            return self.refuse_outcome(cx, call, &Ok(PeerResponse::Fetch(response)));
        };
        let leader = partition.current_leader.leader_id;
        let endpoints = self.endpoints_on_default_listener(
            response
                .node_endpoints
                .iter()
                .filter(|e| e.node_id == leader)
                .filter_map(|e| Some((e.host.as_str(), u16::try_from(e.port).ok()?))),
        );
        if self.learn(cx, partition.current_leader.leader_epoch, Some(leader), endpoints) {
            return;
        }
        if partition.error_code != 0 {
            return self.refuse_error(cx, call, partition.error_code);
        }
        let RoleState::Follower(state) = &mut self.role else {
            return self.peers.failed(&call.to, cx.now.time);
        };
        if call.to.node != Some(state.leader) {
            return;
        }
        // It is alive, whatever it says.
        state.suspect_at = None;
        match self.take_fetched(cx, partition) {
            Ok(()) => {
                self.note_successful_fetch(cx, partition.high_watermark);
                self.peers.succeeded(&call.to);
            }
            // The fetch timeout runs on: nobody can follow a leader that never makes sense, say one
            // that has lost data.
            Err(why) => self.refuse_answer(cx, call, &why),
        }
    }

    fn note_successful_fetch(&mut self, cx: &Cx, leader_high_watermark: Offset) {
        let RoleState::Follower(state) = &mut self.role else {
            return;
        };
        state.fetch_deadline = cx.now.time + self.config.fetch_timeout;
        state.has_fetched = true;
        state.last_fetch = Some(cx.now.time);
        if leader_high_watermark >= 0 {
            state.leader_high_watermark = Some(leader_high_watermark);
        }
    }

    /// Puts an answer without error to use; or says why it makes no sense.
    fn take_fetched(&mut self, cx: &mut Cx, partition: &PartitionData) -> Result<(), String> {
        let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
        if diverging.epoch >= 0 || diverging.end_offset >= 0 {
            let at = OffsetAndEpoch { offset: diverging.end_offset, epoch: diverging.epoch };
            return self.truncate_to_agree(cx, at);
        }
        if snapshot.epoch >= 0 || snapshot.end_offset >= 0 {
            let id = OffsetAndEpoch { offset: snapshot.end_offset, epoch: snapshot.epoch };
            let known = self.high_watermark.unwrap_or(0);
            if id.offset <= 0 || id.epoch < 0 || id.epoch > self.epoch || id.offset < known {
                return Err(format!(
                    "it offers a snapshot at {id}; {known} is committed here, in epoch {} or before",
                    self.epoch
                ));
            }
            self.begin_download(id);
            return Ok(());
        }
        let records = partition.records.clone().unwrap_or_default();
        let ok = self.append_fetched(cx, records);
        if let RoleState::Follower(state) = &mut self.role {
            state.agrees |= ok.is_ok();
        }
        let reached = partition.high_watermark.min(self.log.end().offset);
        // A leader that has not committed in its epoch says -1; a later one may know less than its
        // predecessor told us.
        if reached >= 0 && self.high_watermark.is_none_or(|hw| reached > hw) {
            self.high_watermark = Some(reached);
            cx.push(Action::HighWatermark { offset: reached });
        }
        ok
    }

    fn truncate_to_agree(&mut self, cx: &mut Cx, theirs: OffsetAndEpoch) -> Result<(), String> {
        if theirs.offset < 0 || theirs.epoch < 0 {
            return Err(format!("it names {theirs} as the point where the logs part"));
        }
        let mut point = self.log.truncation_point(theirs);
        if mutated!(self, TruncatesBelowHighWatermark) {
            point = self.log.start();
        } else if point >= self.log.end().offset || self.high_watermark.is_some_and(|hw| point < hw)
        {
            // What is committed is never given up: a leader that asks for it has lost data.
            let known = self.high_watermark.unwrap_or(0);
            return Err(format!(
                "its log parts from ours at {theirs}, ours ends at {} and is committed below {known}: \
                 if that is below it, the leader has lost data",
                self.log.end()
            ));
        }
        self.log.truncate(point);
        self.history.truncate(point);
        cx.push(Action::TruncateLog { to: self.log.end() });
        Ok(())
    }

    /// Appends what follows the log and stops at the first batch that does not.
    fn append_fetched(&mut self, cx: &mut Cx, records: Bytes) -> Result<(), String> {
        for (whole, batch) in batches(records).enumerate() {
            let batch = match batch {
                Ok(batch) => batch,
                // A batch may be cut at the end of an answer; the next fetch brings it whole. The
                // first one never is.
                Err(_) if whole > 0 => break,
                Err(error) => return Err(format!("its first batch cannot be read: {error}")),
            };
            let epoch = batch.header.partition_leader_epoch;
            let end = self.log.end();
            if batch.last_offset() < end.offset {
                continue;
            }
            let follows = batch.base_offset() == end.offset
                && epoch >= end.epoch
                && epoch <= self.epoch
                && batch.verify().is_ok();
            if !follows {
                return Err(format!(
                    "its batch at offset {} epoch {epoch} does not follow the log's end at {end} in \
                     epoch {}, or is damaged",
                    batch.base_offset(),
                    self.epoch
                ));
            }
            let mut controls: Vec<(Offset, ControlRecord)> = Vec::new();
            if batch.is_control() {
                match control_records(&batch) {
                    Ok(records) => controls = records,
                    Err(error) => {
                        return Err(format!("its control batch cannot be read: {error}"));
                    }
                }
            }
            for (offset, record) in &controls {
                self.apply_control(*offset, record);
            }
            let appended = LogBatch {
                base_offset: batch.base_offset(),
                end_offset: batch.last_offset() + 1,
                epoch,
                append_time_ms: batch.header.max_timestamp,
                is_control: batch.is_control(),
                bytes: batch.bytes.clone(),
            };
            self.append(cx, appended);
        }
        Ok(())
    }
}

fn only_partition(response: &FetchResponse) -> Option<&PartitionData> {
    match response.responses.as_slice() {
        [topic] if topic.topic_id == Uuid::METADATA_TOPIC || topic.topic == TOPIC => {
            match topic.partitions.as_slice() {
                [partition] if partition.partition_index == 0 => Some(partition),
                _ => None,
            }
        }
        _ => None,
    }
}
