use crate::activation::activate;
use crate::decide::brokers::fence_dead_broker;
use crate::decide::controllers::{needs_registration, own_registration, register_controller};
use crate::error_response::fit_version;
use crate::event::{Action, Event, LogLevel};
use crate::mutation_quota::{MutationLimit, MutationQuotas};
use crate::periodic::{Periodic, Task};
use crate::size::fitting;
use crate::timeline::{Reply, Timeline};
use crate::{ControllerConfig, Draft, Env, Heartbeats, RaftView, RequestContext, Token};
use crate::{MAX_RECORDS_PER_USER_OP, dispatch, error_response, story};
use quorate_base::{Epoch, NodeId, Now, Offset, Prng, Time};
use quorate_metadata::{Image, Replayer};
use quorate_protocol::batch::MAX_BATCH_BYTES;
use quorate_protocol::messages::{EnvelopeResponse, UpdateFeaturesResponse};
use quorate_protocol::records::NoOpRecord;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr, MetadataRecord};
use std::collections::BTreeMap;

/// Below what a batch may have, by more than its header.
const BYTES_PER_APPEND_MAX: usize = MAX_BATCH_BYTES - 1024;

/// The controller as a state machine: one event in, actions out, no clock and no disk.
pub struct Controller {
    config: ControllerConfig,
    prng: Prng,
    timeline: Timeline,
    heartbeats: Heartbeats,
    periodic: Periodic,
    /// The epoch this node is the active controller of.
    active: Option<Epoch>,
    /// Answers that wait for raft's word on a kraft.version.
    awaiting_raft: BTreeMap<Token, Reply>,
    /// Of this term as the active controller.
    mutation_quotas: MutationQuotas,
}

/// What lasts for one step only.
struct Step<'a> {
    now: Now,
    /// The offset that the next record appended will get.
    next_offset: Offset,
    raft: RaftView,
    actions: &'a mut Vec<Action>,
}

impl Controller {
    /// Of an empty log, not active. The seed decides topic ids and where placement starts.
    pub fn new(config: ControllerConfig, seed: u64) -> Controller {
        let heartbeats = Heartbeats::new(config.broker_session_timeout);
        Controller {
            config,
            prng: Prng::new(seed),
            timeline: Timeline::new(),
            heartbeats,
            periodic: Periodic::default(),
            active: None,
            awaiting_raft: BTreeMap::new(),
            mutation_quotas: MutationQuotas::default(),
        }
    }

    /// What readers may see: everything committed, but no half of a metadata transaction.
    pub fn committed(&self) -> &Image {
        self.timeline.stable()
    }

    /// One past the last record in [`Controller::committed`].
    pub fn committed_offset(&self) -> Offset {
        self.timeline.stable_offset()
    }

    /// True if the committed log ends inside of a metadata transaction.
    pub fn in_transaction(&self) -> bool {
        self.timeline.in_transaction()
    }

    /// True if this node decides requests.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// What brokers said and when; of meaning only while active.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.heartbeats
    }

    /// When [`Event::Timeout`] is wanted, and why.
    pub fn next_timeout(&self) -> Option<(Time, &'static str)> {
        self.active.and_then(|_| self.periodic.next(&self.heartbeats))
    }

    /// The request with which this node must register with the active controller, if it is not
    /// registered as it is now. The active one registers itself.
    pub fn registration_wanted(&self) -> Option<AnyRequest> {
        needs_registration(self.committed(), &self.config)
            .then(|| AnyRequest::ControllerRegistration(own_registration(&self.config)))
    }

    /// The answer to a request that its principal may not ask; `None` if it may. For raft's APIs,
    /// which do not come by here otherwise.
    pub fn deny(&self, context: &RequestContext, request: &AnyRequest) -> Option<AnyResponse> {
        if let Some(sender) = &context.envelope_sender
            && !dispatch::may_forward(&self.config, self.committed(), context, sender)
        {
            // Of the envelope, not of what is in it.
            return Some(AnyResponse::Envelope(EnvelopeResponse {
                error_code: ErrorCode::ClusterAuthorizationFailed.code(),
                ..Default::default()
            }));
        }
        if dispatch::may_ask(&self.config, self.committed(), context, request) {
            return None;
        }
        let mut response = error_response(
            request,
            ErrorCode::ClusterAuthorizationFailed,
            "Cluster authorization failed.",
        )?;
        fit_version(&mut response, context.api_version);
        Some(response)
    }

    /// One event in, what to do out, in order. `next_offset` is raft's log end, `raft` its summary.
    pub fn step(
        &mut self,
        now: Now,
        next_offset: Offset,
        raft: RaftView,
        event: Event,
        actions: &mut Vec<Action>,
    ) {
        let step = &mut Step { now, next_offset, raft, actions };
        match event {
            Event::Request { token, context, request } => {
                self.on_request(step, token, &context, request)
            }
            Event::Activated { epoch } => self.on_activated(step, epoch),
            Event::Deactivated => self.on_deactivated(step),
            Event::Committed { end_offset } => self.on_committed(step, end_offset),
            Event::Replay { base_offset, end_offset, records, .. } => {
                self.on_replay(step, base_offset, end_offset, &records)
            }
            Event::SnapshotLoaded { image, id, .. } => {
                assert!(self.active.is_none(), "a snapshot was loaded while active");
                self.timeline.load(image, id.offset);
            }
            Event::KraftVersionUpgraded { token, error, message } => {
                self.on_kraft_version_upgraded(step, token, error, message)
            }
            Event::BrokerProcessDead { broker } => self.on_broker_process_dead(step, broker),
            Event::Timeout => self.on_timeout(step),
        }
    }

    fn on_request(
        &mut self,
        step: &mut Step<'_>,
        token: Token,
        context: &RequestContext,
        request: AnyRequest,
    ) {
        let version = context.api_version;
        if let Some(response) = self.deny(context, &request) {
            return step.respond(token, response);
        }
        let image = self.timeline.stable().clone();
        let offset = self.timeline.stable_offset();
        let env = &mut self.env(step);
        if let Some(response) = dispatch::read(env, &image, offset, context, &request) {
            return step.respond(token, response);
        }
        if self.active.is_none() {
            return self.refuse(step, token, version, &request, ErrorCode::NotController);
        }
        if let Some(response) = dispatch::read_active(&image, &request) {
            return step.respond(token, response);
        }
        self.decide(step, token, context, request)
    }

    fn decide(
        &mut self,
        step: &mut Step<'_>,
        token: Token,
        context: &RequestContext,
        request: AnyRequest,
    ) {
        let version = context.api_version;
        let waited = step.now.time.since(context.received_at);
        if dispatch::patience(&request).is_some_and(|patience| waited >= patience) {
            return self.refuse(step, token, version, &request, ErrorCode::RequestTimedOut);
        }
        let mut draft = self.draft(step);
        // Apart from the rest for the time of this decision, which borrows the rest.
        let mut quotas = std::mem::take(&mut self.mutation_quotas);
        let mut limit = match dispatch::strict_quota_since(&request) {
            Some(since) => {
                let limits = &self.timeline.stable().client_quotas;
                quotas.limit(limits, context, context.api_version >= since, step.now.time)
            }
            None => MutationLimit::none(),
        };
        let decided =
            dispatch::write(&mut self.env(step), &mut draft, context, &request, &mut limit);
        self.mutation_quotas = quotas;
        let Some(decided) = decided else {
            return self.refuse(step, token, version, &request, ErrorCode::UnknownServerError);
        };
        // What a user asks for is done whole or not at all: it goes into one append.
        let is_whole = draft.is_empty()
            || fitting(draft.records(), MAX_RECORDS_PER_USER_OP, BYTES_PER_APPEND_MAX)
                == draft.len();
        if !is_whole && dispatch::is_user_operation(&request) {
            return self.refuse(step, token, version, &request, ErrorCode::PolicyViolation);
        }
        self.append(step, draft);
        let may_need_registration = matches!(request, AnyRequest::UpdateFeatures(_));
        let reply = Reply { token, api_version: version, request, response: decided.response };
        if let Some((level, validate_only)) = decided.kraft_version {
            self.awaiting_raft.insert(token, reply);
            step.actions.push(Action::UpgradeKraftVersion { token, level, validate_only });
            return;
        }
        self.reply(step, reply);
        if may_need_registration {
            self.register_self(step);
        }
    }

    /// Answers once everything the answer may rest on is committed.
    fn reply(&mut self, step: &mut Step<'_>, reply: Reply) {
        if let Some(reply) = self.timeline.reply(reply) {
            step.respond(reply.token, reply.response);
        }
    }

    fn refuse(
        &self,
        step: &mut Step<'_>,
        token: Token,
        api_version: i16,
        request: &AnyRequest,
        error: ErrorCode,
    ) {
        let message = match error {
            ErrorCode::NotController => match step.raft.leader {
                Some(leader) if leader != self.config.node_id => {
                    format!("The active controller appears to be node {leader}.")
                }
                _ => "No controller appears to be active.".to_owned(),
            },
            ErrorCode::PolicyViolation => {
                "Unable to perform excessively large batch operation.".to_owned()
            }
            // Kafka has no words for it.
            ErrorCode::RequestTimedOut => String::new(),
            other => other.message().to_owned(),
        };
        match error_response(request, error, &message) {
            Some(mut response) => {
                fit_version(&mut response, api_version);
                step.respond(token, response);
            }
            None => step.log(
                LogLevel::Error,
                format!(
                    "a {} request reached the controller, which does not decide such",
                    request.api_key()
                ),
            ),
        }
    }

    fn on_activated(&mut self, step: &mut Step<'_>, epoch: Epoch) {
        assert!(self.active.is_none(), "active twice");
        self.active = Some(epoch);
        let now = step.now.time;
        self.heartbeats.activate(now, &self.timeline.latest().latest().cluster);
        self.periodic.activate(now, &self.config);
        let mut draft = self.draft(step);
        match activate(&self.config, &mut draft) {
            Ok(what) => step.log(LogLevel::Info, format!("controller of epoch {epoch} is {what}")),
            Err(message) => return step.actions.push(Action::Fatal { message }),
        }
        self.append(step, draft);
        self.register_self(step);
    }

    /// The active controller writes its own registration where others send a request.
    fn register_self(&mut self, step: &mut Step<'_>) {
        let mut draft = self.draft(step);
        if !needs_registration(draft.image(), &self.config) {
            return;
        }
        let request = own_registration(&self.config);
        let context = RequestContext::internal(0);
        register_controller(&mut self.env(step), &mut draft, &context, &request);
        self.append(step, draft);
    }

    fn on_deactivated(&mut self, step: &mut Step<'_>) {
        assert!(self.active.take().is_some(), "deactivated without being active");
        let mut waiting = self.timeline.resign();
        waiting.extend(std::mem::take(&mut self.awaiting_raft).into_values());
        self.mutation_quotas.clear();
        self.heartbeats.deactivate(&self.timeline.latest().latest().cluster);
        for reply in waiting {
            // What was decided may yet be committed by the next leader; the client has to look.
            self.refuse(
                step,
                reply.token,
                reply.api_version,
                &reply.request,
                ErrorCode::NotController,
            );
        }
    }

    fn on_committed(&mut self, step: &mut Step<'_>, end_offset: Offset) {
        for reply in self.timeline.commit(end_offset) {
            step.respond(reply.token, reply.response);
        }
    }

    fn on_replay(
        &mut self,
        step: &mut Step<'_>,
        base_offset: Offset,
        end_offset: Offset,
        records: &[MetadataRecord],
    ) {
        assert!(self.active.is_none(), "replay while active");
        if let Err((offset, error)) = self.timeline.replay(base_offset, end_offset, records) {
            return step.actions.push(Action::Fatal {
                message: format!(
                    "the record at offset {offset} contradicts what is before it: {error}. The log \
                     and the image of this node do not agree; it stops before it writes a snapshot \
                     of that. Compare with another controller (quorate diff), then let this node \
                     fetch the log anew."
                ),
            });
        }
        for (offset, record) in (base_offset..).zip(records) {
            match record {
                MetadataRecord::RegisterBroker(it) => {
                    self.heartbeats.register(it.broker_id, it.fenced, offset)
                }
                MetadataRecord::UnregisterBroker(it) => self.heartbeats.remove(it.broker_id),
                _ => {}
            }
        }
    }

    fn on_kraft_version_upgraded(
        &mut self,
        step: &mut Step<'_>,
        token: Token,
        error: ErrorCode,
        message: Option<String>,
    ) {
        // Gone if leadership was lost meanwhile.
        let Some(mut reply) = self.awaiting_raft.remove(&token) else { return };
        if !error.is_none() {
            let text = message.unwrap_or_else(|| error.message().to_owned());
            reply.response = AnyResponse::UpdateFeatures(UpdateFeaturesResponse {
                error_code: error.code(),
                error_message: Some(KStr::from(text)),
                ..Default::default()
            });
        } else if self.timeline.end_offset() < step.next_offset {
            // Raft's control records are appended, not committed. This record comes after them, and
            // the answer waits for it.
            let mut draft = self.draft(step);
            draft.push(NoOpRecord::default());
            self.append(step, draft);
        }
        self.reply(step, reply);
    }

    fn on_broker_process_dead(&mut self, step: &mut Step<'_>, broker: NodeId) {
        if self.active.is_none() || !self.config.fast_fencing {
            return;
        }
        let mut draft = self.draft(step);
        fence_dead_broker(&mut self.env(step), &mut draft, broker);
        self.append(step, draft);
    }

    fn on_timeout(&mut self, step: &mut Step<'_>) {
        if self.active.is_none() {
            return;
        }
        for task in Task::ALL {
            // One task's records may make another unneeded: the log is not idle any more.
            if !self.periodic.is_due(task, step.now.time, &self.heartbeats) {
                continue;
            }
            let mut draft = self.draft(step);
            let mut periodic = self.periodic;
            periodic.run(task, &mut self.env(step), &mut draft);
            self.periodic = periodic;
            self.append(step, draft);
        }
    }

    fn env<'a>(&'a mut self, step: &Step<'_>) -> Env<'a> {
        Env {
            now: step.now,
            config: &self.config,
            prng: &mut self.prng,
            heartbeats: &mut self.heartbeats,
            raft: step.raft.clone(),
        }
    }

    fn draft(&self, step: &Step<'_>) -> Draft {
        let limit = self.config.max_records_per_batch;
        Draft::resume(self.timeline.latest().clone(), step.next_offset, limit)
    }

    /// Appends what was decided, in as many batches as it takes, each with the state at its end.
    fn append(&mut self, step: &mut Step<'_>, draft: Draft) {
        if draft.is_empty() {
            return;
        }
        let mut finished = draft.finish();
        let mut records = std::mem::take(&mut finished.records);
        story::tell(&records, |level, message| step.log(level, message));
        self.periodic.appended(step.now.time, &self.config);
        let mut done = 0;
        loop {
            let fits = fitting(&records, self.config.max_records_per_batch, BYTES_PER_APPEND_MAX);
            if fits == records.len() {
                break;
            }
            let rest = records.split_off(fits);
            done += fits;
            let state = finished.kept_at(done).cloned().unwrap_or_else(|| {
                // Bytes, not records, ended this append: rare enough to apply them once more.
                let mut state = self.timeline.latest().clone();
                for (record, _) in &records {
                    state.apply(record).expect("the draft applied the same record");
                }
                state
            });
            step.append(&mut self.timeline, records, state);
            records = rest;
        }
        step.append(&mut self.timeline, records, finished.state);
    }
}

impl Step<'_> {
    fn append(
        &mut self,
        timeline: &mut Timeline,
        records: Vec<(MetadataRecord, i16)>,
        state: Replayer,
    ) {
        timeline.append(self.next_offset, records.len(), state);
        self.next_offset += records.len() as Offset;
        self.actions.push(Action::Append { records });
    }

    fn respond(&mut self, token: Token, response: AnyResponse) {
        self.actions.push(Action::Respond { token, response });
    }

    fn log(&mut self, level: LogLevel, message: String) {
        self.actions.push(Action::Log { level, message });
    }
}
