use crate::action::{Action, LogAppend, LogLevel, PeerAddress};
use crate::commit::{Applied, SnapshotClock};
use crate::config::{NodeConfig, Recovered};
use crate::event::{Event, Token};
use crate::registration::Registration;
use crate::tail::LogTail;
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Now, Offset, OffsetAndEpoch, Time};
use quorate_controller::{
    Action as ControllerAction, Controller, Event as ControllerEvent, RaftView, RequestContext,
};
use quorate_metadata::Image;
use quorate_protocol::batch::encode_data_batch;
use quorate_protocol::control::ControlRecord;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, MetadataRecord};
use quorate_raft::{
    Action as RaftAction, Event as RaftEvent, LogBatch, PeerRequest, PeerResponse, Raft, Role,
    RpcFailure,
};
use std::collections::VecDeque;

/// A controller process without the process.
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) raft: Raft,
    pub(crate) controller: Controller,
    pub(crate) tail: LogTail,
    pub(crate) applied: Applied,
    pub(crate) snapshots: SnapshotClock,
    pub(crate) high_watermark: Option<Offset>,
    /// Set from the moment raft leads; `active` once the controller decides requests.
    leading: Option<Leading>,
    /// Why this node must stop. Once set, nothing is decided any more.
    pub(crate) fatal: Option<String>,
    pub(crate) registration: Registration,
    from_raft: VecDeque<RaftAction>,
    from_controller: VecDeque<ControllerAction>,
    published: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Leading {
    epoch: Epoch,
    start_offset: Offset,
    active: bool,
}

/// A node's place, for logs, metrics and health.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// As Kafka's `current-state` names it.
    pub role: &'static str,
    /// The current epoch.
    pub epoch: Epoch,
    /// The leader, where known.
    pub leader: Option<NodeId>,
    /// True if this node decides requests.
    pub active: bool,
    /// All records below are committed, where known.
    pub high_watermark: Option<Offset>,
    /// All records below are in the committed image.
    pub applied: Offset,
    /// One past the last record of the local log.
    pub log_end: Offset,
}

impl Node {
    /// A node as its disk left it. A node that is the only voter leads once its first batch is
    /// persisted.
    pub fn new(config: NodeConfig, recovered: Recovered, now: Now, out: &mut Vec<Action>) -> Node {
        let mut raft_actions = Vec::new();
        let log_end = recovered.raft.log.end.offset;
        let raft = Raft::new(config.raft.clone(), recovered.raft, now, &mut raft_actions);
        let controller = Controller::new(config.controller.clone(), config.raft.seed);
        let mut node = Node {
            tail: LogTail::new(log_end, config.tail_max_bytes),
            applied: Applied {
                end: 0,
                epoch: 0,
                timestamp_ms: 0,
                read: None,
                reading: false,
                more: false,
            },
            snapshots: SnapshotClock {
                last: recovered.image_id,
                at: now.time,
                bytes: recovered.log_bytes_since_image,
                writing: false,
            },
            high_watermark: None,
            leading: None,
            fatal: None,
            registration: Registration::default(),
            from_raft: raft_actions.into(),
            from_controller: VecDeque::new(),
            published: 0,
            config,
            raft,
            controller,
        };
        node.load(now, recovered.image, recovered.image_id, recovered.image_timestamp_ms);
        node.snapshots.bytes = recovered.log_bytes_since_image;
        node.settle(now, out);
        node
    }

    /// One event in, what to do out, in order.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        if self.fatal.is_some() {
            return;
        }
        match event {
            Event::Request { token, context, request } => {
                self.on_request(now, token, context, request)
            }
            Event::Cancelled { token } => self
                .step_raft(now, RaftEvent::RequestCancelled { token: quorate_raft::Token(token) }),
            Event::PeerAnswered { rpc, result } => {
                if !self.is_registration_answer(now, rpc) {
                    self.on_peer_answer(now, rpc, result);
                }
            }
            Event::PeerDown { node } => self.step_raft(now, RaftEvent::PeerDown { node }),
            Event::Persisted { end } => self.step_raft(now, RaftEvent::Persisted { end }),
            Event::SnapshotWritten { id, size_bytes } => {
                self.snapshots.writing = false;
                self.snapshots.last = self.snapshots.last.max(id);
                let message = format!("wrote snapshot at {id}, {size_bytes} bytes");
                out.push(Action::Log { level: LogLevel::Info, message });
                self.step_raft(now, RaftEvent::SnapshotWritten { id });
            }
            Event::SnapshotFailed { id, why } => {
                self.snapshots.writing = false;
                let message = format!(
                    "snapshot at {id} could not be written: {why}; the log is kept, the next try is when the next snapshot is due"
                );
                out.push(Action::Log { level: LogLevel::Error, message });
            }
            Event::SnapshotInstalled {
                id,
                image,
                voters,
                kraft_version,
                last_contained_log_timestamp_ms,
            } => {
                self.tail.reset(id.offset);
                self.load(now, *image, id, last_contained_log_timestamp_ms);
                self.step_raft(now, RaftEvent::SnapshotInstalled { id, voters, kraft_version });
            }
            Event::SnapshotRejected { id, why } => {
                let message = format!("the leader's snapshot at {id} was not installed: {why}");
                out.push(Action::Log { level: LogLevel::Error, message });
                self.step_raft(now, RaftEvent::SnapshotRejected { id });
            }
            Event::LogRead { from, batches } => self.on_log_read(from, batches, out),
            Event::LogStartMoved { start } => {
                self.step_raft(now, RaftEvent::LogStartMoved { start })
            }
            Event::SnapshotsDeleted { ids } => {
                for id in ids {
                    self.step_raft(now, RaftEvent::SnapshotDeleted { id });
                }
            }
            Event::Timeout => {
                self.step_raft(now, RaftEvent::Timeout);
                self.settle(now, out);
                self.step_controller(now, ControllerEvent::Timeout);
                self.snapshot_if_due(now, out);
            }
            Event::TransferLeader { to } => self.step_raft(now, RaftEvent::TransferLeader { to }),
            Event::Shutdown => self.step_raft(now, RaftEvent::Shutdown),
        }
        self.settle(now, out);
    }

    /// When to send [`Event::Timeout`], and why.
    pub fn next_timeout(&self) -> Option<(Time, &'static str)> {
        if self.fatal.is_some() {
            return None;
        }
        if self.applied.more {
            return Some((Time::ZERO, "committed records to apply"));
        }
        [
            self.raft.next_timeout(),
            self.controller.next_timeout(),
            self.snapshot_timeout(),
            self.registration_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The committed metadata.
    pub fn committed(&self) -> &Image {
        self.controller.committed()
    }

    /// The voter set and kraft.version as of an offset, for the header of a snapshot; nothing while
    /// the quorum is static.
    pub(crate) fn snapshot_control_records(&self, end: Offset) -> Vec<ControlRecord> {
        let level = self.raft.kraft_version_at(end);
        if level == 0 {
            return Vec::new();
        }
        vec![
            ControlRecord::KRaftVersion(i16::try_from(level).expect("kraft.version is small")),
            ControlRecord::Voters(self.raft.voters_at(end).iter().map(Into::into).collect()),
        ]
    }

    /// Raft, to look at.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// This node's place in the quorum.
    pub fn status(&self) -> Status {
        Status {
            role: role_name(&self.raft),
            epoch: self.raft.epoch(),
            leader: self.raft.leader().map(|(leader, _)| leader),
            active: self.is_active(),
            high_watermark: self.high_watermark,
            applied: self.applied.end,
            log_end: self.raft.log_end().offset,
        }
    }

    /// True if this node decides requests.
    pub fn is_active(&self) -> bool {
        self.leading.is_some_and(|leading| leading.active)
    }

    fn on_request(&mut self, now: Now, token: Token, context: RequestContext, request: AnyRequest) {
        // Peers ask ApiVersions of each other, but its answer is about the whole node.
        if !is_rafts(&request) {
            return self.step_controller(now, ControllerEvent::Request { token, context, request });
        }
        if let Some(response) = self.controller.deny(&context, &request) {
            return self.from_controller.push_back(ControllerAction::Respond { token, response });
        }
        let Ok(request) = PeerRequest::try_from(request) else {
            unreachable!("raft's APIs are those that it has requests for");
        };
        let event = RaftEvent::Request {
            token: quorate_raft::Token(token),
            listener: context.listener.to_string(),
            api_version: context.api_version,
            client_host: context.client_address.to_string(),
            request,
        };
        self.step_raft(now, event);
    }

    fn on_peer_answer(&mut self, now: Now, rpc: u64, result: Result<AnyResponse, RpcFailure>) {
        let result = result
            .and_then(|response| PeerResponse::try_from(response).map_err(|_| RpcFailure::Garbage));
        self.step_raft(now, RaftEvent::Response { rpc: quorate_raft::RpcId(rpc), result });
    }

    /// Makes this image the committed state, as of the snapshot with this id.
    fn load(&mut self, now: Now, image: Image, id: OffsetAndEpoch, timestamp_ms: i64) {
        self.applied = Applied {
            end: id.offset,
            epoch: id.epoch,
            timestamp_ms,
            read: None,
            reading: false,
            more: false,
        };
        self.snapshots.last = self.snapshots.last.max(id);
        self.snapshots.bytes = 0;
        self.snapshots.at = now.time;
        let event = ControllerEvent::SnapshotLoaded { image, id, last_timestamp_ms: timestamp_ms };
        self.step_controller(now, event);
    }

    pub(crate) fn step_raft(&mut self, now: Now, event: RaftEvent) {
        let mut actions = Vec::new();
        self.raft.step(now, event, &mut actions);
        self.from_raft.extend(actions);
    }

    pub(crate) fn step_controller(&mut self, now: Now, event: ControllerEvent) {
        let view = RaftView {
            leader: self.raft.leader().map(|(leader, _)| leader),
            epoch: self.raft.epoch(),
            kraft_version: i16::try_from(self.raft.kraft_version())
                .expect("kraft.version is small"),
            voters: self.raft.voters().ids(),
        };
        let mut actions = Vec::new();
        let next_offset = self.raft.log_end().offset;
        self.controller.step(now, next_offset, view, event, &mut actions);
        self.from_controller.extend(actions);
    }

    /// Carries out what raft and controller ask of each other until both are quiet.
    fn settle(&mut self, now: Now, out: &mut Vec<Action>) {
        loop {
            while let Some(action) = self.from_raft.pop_front() {
                self.on_raft_action(now, action, out);
            }
            if let Some(action) = self.from_controller.pop_front() {
                self.on_controller_action(now, action, out);
                continue;
            }
            if self.fatal.is_some() || !self.advance(now, out) {
                break;
            }
        }
        self.register_if_wanted(now, out);
        self.publish(out);
    }

    fn on_raft_action(&mut self, now: Now, action: RaftAction, out: &mut Vec<Action>) {
        match action {
            RaftAction::PersistElectionState(state) => {
                out.push(Action::PersistElectionState(state))
            }
            RaftAction::AppendLog { batch } => {
                let append = LogAppend {
                    base_offset: batch.base_offset,
                    end_offset: batch.end_offset,
                    epoch: batch.epoch,
                    append_time_ms: batch.append_time_ms,
                    bytes: batch.bytes,
                };
                self.tail.push(append.clone(), self.applied.end);
                out.push(Action::AppendLog(append));
            }
            RaftAction::TruncateLog { to } => {
                assert!(to.offset >= self.applied.end, "applied records are never cut off");
                self.tail.truncate(to.offset);
                out.push(Action::TruncateLog { to });
            }
            RaftAction::Send { rpc, to, request, timeout } => out.push(Action::Send {
                rpc: rpc.0,
                to: PeerAddress { node: to.node, host: to.host, port: to.port },
                request: request.into(),
                timeout,
            }),
            RaftAction::Respond { token, response } => {
                out.push(Action::Respond { token: token.0, response })
            }
            RaftAction::RespondFetch { token, mut response, read } => {
                match self.tail.read(read.from, read.end, read.max_bytes as usize) {
                    Some(bytes) => {
                        set_records(&mut response, bytes);
                        let response = AnyResponse::Fetch(response);
                        out.push(Action::Respond { token: token.0, response });
                    }
                    None => out.push(Action::RespondFetchFromLog {
                        token: token.0,
                        response,
                        from: read.from,
                        end: read.end,
                        max_bytes: read.max_bytes,
                    }),
                }
            }
            RaftAction::RespondSnapshotChunk { token, response, read } => {
                out.push(Action::RespondSnapshotChunk {
                    token: token.0,
                    response,
                    id: read.id,
                    position: read.position,
                    max_bytes: read.max_bytes,
                })
            }
            RaftAction::HighWatermark { offset } => {
                assert!(self.high_watermark.is_none_or(|before| before <= offset));
                self.high_watermark = Some(offset);
            }
            RaftAction::LeaderChanged { .. } => self.role_changed(out),
            RaftAction::BecameLeader { epoch, start_offset } => {
                assert!(self.leading.is_none(), "a leader resigns before it leads again");
                self.leading = Some(Leading { epoch, start_offset, active: false });
                self.role_changed(out);
            }
            RaftAction::LostLeadership { epoch } => self.lost_leadership(now, epoch, out),
            RaftAction::WriteSnapshotChunk { id, position, bytes } => {
                out.push(Action::SnapshotDownload { id, position, bytes })
            }
            RaftAction::InstallSnapshot { id } => out.push(Action::SnapshotInstall { id }),
            RaftAction::DiscardSnapshot { id } => out.push(Action::SnapshotDiscard { id }),
            RaftAction::KraftVersionUpgrade { token, error, message } => {
                self.on_kraft_version_upgrade(now, token.0, error, message)
            }
            RaftAction::Log { level, message } => {
                let level = match level {
                    quorate_raft::LogLevel::Info => LogLevel::Info,
                    quorate_raft::LogLevel::Warn => LogLevel::Warn,
                };
                out.push(Action::Log { level, message });
            }
            RaftAction::ShutdownComplete => out.push(Action::ShutdownComplete),
        }
    }

    fn on_controller_action(&mut self, now: Now, action: ControllerAction, out: &mut Vec<Action>) {
        match action {
            // Raft may have given leadership up since this was decided, in the very step that took the
            // decision before it: the controller has forgotten it and answered already.
            ControllerAction::Append { .. } if !self.is_active() => {}
            ControllerAction::Append { records } => self.append(now, &records),
            ControllerAction::Respond { token, response } => {
                out.push(Action::Respond { token, response })
            }
            ControllerAction::Resign { why } => {
                let message = format!("giving leadership up: {why}");
                out.push(Action::Log { level: LogLevel::Error, message });
                self.step_raft(now, RaftEvent::TransferLeader { to: None });
            }
            ControllerAction::Log { level, message } => out.push(Action::Log { level, message }),
            ControllerAction::Fatal { message } => self.fail(message, out),
            ControllerAction::UpgradeKraftVersion { token, level, validate_only } => {
                let token = quorate_raft::Token(token);
                self.step_raft(now, RaftEvent::UpgradeKraftVersion { token, level, validate_only });
            }
        }
    }

    /// The controller's records become one batch at the end of raft's log.
    fn append(&mut self, now: Now, records: &[(MetadataRecord, i16)]) {
        assert!(self.is_active(), "only the active controller appends");
        let values: Vec<Bytes> = records
            .iter()
            .map(|(record, version)| {
                record.encode_framed(*version).expect("a decided record is encodable")
            })
            .collect();
        let base_offset = self.raft.log_end().offset;
        assert_eq!(base_offset, self.tail.end(), "raft and the tail agree on the log's end");
        let epoch = self.raft.epoch();
        let bytes = encode_data_batch(base_offset, epoch, now.wall_ms, &values);
        let batch = LogBatch {
            base_offset,
            end_offset: base_offset + values.len() as Offset,
            epoch,
            append_time_ms: now.wall_ms,
            is_control: false,
            bytes,
        };
        self.step_raft(now, RaftEvent::Append { batch });
    }

    /// A leader serves once the first record of its own epoch is committed and everything before
    /// it is in its image: what earlier leaders may have acknowledged is then known.
    pub(crate) fn activate_if_ready(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let Some(leading) = self.leading else { return false };
        let ready = !leading.active
            && self.high_watermark.is_some_and(|offset| offset > leading.start_offset)
            && self.applied.end == self.raft.log_end().offset;
        if ready {
            self.leading = Some(Leading { active: true, ..leading });
            self.step_controller(now, ControllerEvent::Activated { epoch: leading.epoch });
            self.role_changed(out);
        }
        ready
    }

    fn lost_leadership(&mut self, now: Now, epoch: Epoch, out: &mut Vec<Action>) {
        let leading = self.leading.take().expect("only a leader loses leadership");
        assert_eq!(leading.epoch, epoch, "leadership is lost in the epoch it was won in");
        if leading.active {
            #[cfg(feature = "mutants")]
            let stale = self.stale_image(now);
            self.step_controller(now, ControllerEvent::Deactivated);
            #[cfg(feature = "mutants")]
            self.keep_stale_image(now, stale);
        }
        self.role_changed(out);
    }

    /// A bug put in on purpose: what was decided is taken for committed, and survives the resignation.
    #[cfg(feature = "mutants")]
    fn stale_image(&mut self, now: Now) -> Option<Image> {
        let mutant = quorate_raft::Mutant::StaleImageAfterResigning;
        if self.config.raft.mutant != Some(mutant) {
            return None;
        }
        let before = self.from_controller.len();
        let end_offset = self.raft.log_end().offset;
        self.step_controller(now, ControllerEvent::Committed { end_offset });
        // The answers that waited are lost: an acknowledgement would be another bug.
        self.from_controller.truncate(before);
        Some(self.controller.committed().clone())
    }

    #[cfg(feature = "mutants")]
    fn keep_stale_image(&mut self, now: Now, stale: Option<Image>) {
        let Some(image) = stale else { return };
        let id = OffsetAndEpoch { offset: self.applied.end, epoch: self.applied.epoch };
        let last_timestamp_ms = self.applied.timestamp_ms;
        self.step_controller(now, ControllerEvent::SnapshotLoaded { image, id, last_timestamp_ms });
    }

    fn on_kraft_version_upgrade(
        &mut self,
        now: Now,
        token: Token,
        error: ErrorCode,
        message: Option<String>,
    ) {
        self.step_controller(now, ControllerEvent::KraftVersionUpgraded { token, error, message });
    }

    fn role_changed(&mut self, out: &mut Vec<Action>) {
        let status = self.status();
        out.push(Action::RoleChanged {
            role: status.role,
            epoch: status.epoch,
            leader: status.leader,
            active: status.active,
        });
    }

    fn publish(&mut self, out: &mut Vec<Action>) {
        if self.applied.end > self.published {
            self.published = self.applied.end;
            let image = self.controller.committed().clone();
            out.push(Action::Publish { image, offset: self.applied.end });
        }
    }
}

/// As Kafka's `current-state` metric names it.
fn role_name(raft: &Raft) -> &'static str {
    match raft.role() {
        Role::Unattached if raft.is_voter() => "unattached",
        Role::Follower if raft.is_voter() => "follower",
        Role::Unattached | Role::Follower => "observer",
        Role::Prospective => "prospective",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Resigned => "resigned",
    }
}

/// The requests that raft answers.
fn is_rafts(request: &AnyRequest) -> bool {
    use AnyRequest as R;
    matches!(
        request,
        R::Vote(_)
            | R::BeginQuorumEpoch(_)
            | R::EndQuorumEpoch(_)
            | R::Fetch(_)
            | R::FetchSnapshot(_)
            | R::DescribeQuorum(_)
            | R::AddRaftVoter(_)
            | R::RemoveRaftVoter(_)
            | R::UpdateRaftVoter(_)
            | R::TransferLeadership(_)
    )
}

/// A fetch of the metadata log asks for one partition, and raft answers for one.
fn set_records(response: &mut quorate_protocol::messages::FetchResponse, bytes: Bytes) {
    let partition = response.responses.first_mut().and_then(|topic| topic.partitions.first_mut());
    partition.expect("raft answers for the one partition").records = Some(bytes);
}
