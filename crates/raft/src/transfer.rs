//! Leadership moved to a voter of the administrator's choice (Raft thesis §3.10). Kafka has no request
//! for it; ours is not advertised.

use crate::Token;
use crate::answers::respond;
use crate::raft::{Cx, Raft};
use crate::role::RoleState;
use quorate_base::{Epoch, NodeId, Offset, Time};
use quorate_protocol::messages::{TransferLeadershipRequest, TransferLeadershipResponse};
use quorate_protocol::{AnyResponse, ErrorCode};
use std::time::Duration;

/// No transfer waits longer than this for its successor, whatever the request says.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A transfer that waits for its successor to catch up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    to: NodeId,
    /// The log's end when it was asked for: the least that the successor must have.
    end: Offset,
    pub deadline: Time,
}

/// A request that is answered when the outcome of its transfer is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferRequest {
    token: Token,
    to: NodeId,
    /// The epoch in which it was asked for.
    epoch: Epoch,
    /// Set when this replica leads no more: when to give up waiting for the next leader.
    answer_by: Option<Time>,
}

impl Raft {
    pub(crate) fn handle_transfer(
        &mut self,
        cx: &mut Cx,
        token: Token,
        request: &TransferLeadershipRequest,
    ) {
        let to = request.successor_id;
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            let why = format!("this is cluster {}", self.config.cluster_id);
            return self.answer_transfer(cx, token, ErrorCode::InconsistentClusterId, why);
        }
        let RoleState::Leader(state) = &self.role else {
            let why = "this controller does not lead".to_owned();
            return self.answer_transfer(cx, token, ErrorCode::NotLeaderOrFollower, why);
        };
        if to == self.config.node_id {
            return self.answer_transfer(cx, token, ErrorCode::None, String::new());
        }
        if !state.voters.contains_key(&to) {
            let why = format!("{to} is not one of the voters {:?}", self.voters().ids());
            return self.answer_transfer(cx, token, ErrorCode::VoterNotFound, why);
        }
        self.transfer_interrupted(cx, "another transfer was asked for");
        let epoch = self.epoch;
        self.transfer = Some(TransferRequest { token, to, epoch, answer_by: None });
        let ms = u64::try_from(request.timeout_ms).unwrap_or(0);
        self.begin_handover(cx, to, Duration::from_millis(ms).min(LONGEST_WAIT));
    }

    /// An order without anybody who waits for its outcome.
    pub(crate) fn transfer_leader(&mut self, cx: &mut Cx, to: Option<NodeId>) {
        let Some(to) = to else {
            return self.hand_over(cx, None);
        };
        let RoleState::Leader(state) = &self.role else {
            return;
        };
        if state.voters.contains_key(&to) {
            self.transfer_interrupted(cx, "another transfer was asked for");
            self.begin_handover(cx, to, self.config.request_timeout);
        } else if to != self.config.node_id {
            let voters = self.voters().ids();
            let text = format!("leadership stays here: {to} is not one of the voters {voters:?}");
            self.warn(cx, text);
        }
    }

    fn begin_handover(&mut self, cx: &mut Cx, to: NodeId, wait: Duration) {
        let (end, deadline) = (self.log.end().offset, cx.now.time + wait);
        if let RoleState::Leader(state) = &mut self.role {
            state.handover = Some(Handover { to, end, deadline });
        }
        self.poll_handover(cx);
    }

    /// Hands over at once if the successor has the whole log. Under a steady stream of appends it is
    /// always a little behind: when the wait is over, what there was at the beginning is enough.
    pub(crate) fn poll_handover(&mut self, cx: &mut Cx) {
        let RoleState::Leader(state) = &mut self.role else {
            return;
        };
        let Some(handover) = state.handover else { return };
        let end = state.voters.get(&handover.to).and_then(|p| p.end).unwrap_or(0);
        let over = cx.now.time >= handover.deadline;
        if end >= self.log.end().offset || (over && end >= handover.end) {
            self.hand_over(cx, Some(handover.to));
        } else if over {
            state.handover = None;
            let (to, want) = (handover.to, handover.end);
            let text = format!(
                "voter {to} has not caught up in time; its log ends at {end}, and {want} is needed"
            );
            self.warn(cx, format!("leadership stays here: {text}"));
            if let Some(asked) = self.transfer.take() {
                self.answer_transfer(cx, asked.token, ErrorCode::RequestTimedOut, text);
            }
        }
    }

    /// Answers once it is known who leads after this replica.
    pub(crate) fn poll_transfer(&mut self, cx: &mut Cx) {
        let Some(asked) = &mut self.transfer else { return };
        let (token, to, epoch) = (asked.token, asked.to, asked.epoch);
        if self.epoch == epoch && matches!(self.role, RoleState::Leader(_)) {
            return;
        }
        let wait = self.config.election_timeout;
        let answer_by = *asked.answer_by.get_or_insert(cx.now.time + wait);
        let (error, text) = match self.known_leader() {
            Some(leader) if leader == to => (ErrorCode::None, String::new()),
            Some(leader) if self.epoch > epoch => {
                let text = format!("{leader} was elected in epoch {} instead of {to}", self.epoch);
                (ErrorCode::EligibleLeadersNotAvailable, text)
            }
            _ if cx.now.time >= answer_by => {
                let text = format!("epoch {epoch} was handed over, but no leader is known yet");
                (ErrorCode::RequestTimedOut, text)
            }
            _ => return,
        };
        self.transfer = None;
        self.answer_transfer(cx, token, error, text);
    }

    pub(crate) fn transfer_timeout(&self) -> Option<(Time, &'static str)> {
        let at = self.transfer.as_ref()?.answer_by?;
        Some((at, "answer that nobody is known to lead after a transfer"))
    }

    /// Ends the wait of whoever asked; what was begun goes on.
    pub(crate) fn transfer_interrupted(&mut self, cx: &mut Cx, why: &str) {
        if let Some(asked) = self.transfer.take() {
            self.answer_transfer(cx, asked.token, ErrorCode::OperationNotAttempted, why.to_owned());
        }
    }

    pub(crate) fn cancel_transfer_request(&mut self, token: Token) {
        self.transfer = self.transfer.filter(|asked| asked.token != token);
    }

    fn answer_transfer(&self, cx: &mut Cx, token: Token, error: ErrorCode, why: String) {
        let response = TransferLeadershipResponse {
            error_code: error.code(),
            error_message: (!why.is_empty()).then(|| why.as_str().into()),
            leader_id: self.known_leader().unwrap_or(-1),
            leader_epoch: self.epoch,
            ..Default::default()
        };
        respond(cx, token, AnyResponse::TransferLeadership(response));
    }
}
