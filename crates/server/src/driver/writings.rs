//! Which records a request had written, for those who tell of it.
//!
//! What is appended in the step that takes a request is that request's. A change of the voter set may
//! be appended in a later step, once the voter was seen to be alive; there is one such change at a time.

use crate::audit::Written;
use quorate_node::{LogAppend, Token};
use quorate_protocol::AnyRequest;
use quorate_protocol::batch::BatchHeader;
use std::collections::HashMap;

/// Requests that wrote records and are not answered yet.
#[derive(Debug, Default)]
pub struct Writings {
    by_token: HashMap<Token, Written>,
    asking: Option<Token>,
    voter_change: Option<Token>,
}

impl Writings {
    /// A request is taken in this step.
    pub fn asked(&mut self, token: Token, request: &AnyRequest) {
        self.asking = Some(token);
        if matches!(
            request,
            AnyRequest::AddRaftVoter(_)
                | AnyRequest::RemoveRaftVoter(_)
                | AnyRequest::UpdateRaftVoter(_)
        ) {
            self.voter_change.get_or_insert(token);
        }
    }

    /// The step is over.
    pub fn step_done(&mut self) {
        self.asking = None;
    }

    /// This node, as the leader, appended that.
    pub fn appended(&mut self, batch: &LogAppend) {
        let later = || {
            let is_control = BatchHeader::parse(&batch.bytes).is_ok_and(|it| it.is_control());
            self.voter_change.filter(|_| is_control)
        };
        let Some(token) = self.asking.or_else(later) else { return };
        let last = batch.end_offset - 1;
        let new = Written { first: batch.base_offset, last, epoch: batch.epoch };
        self.by_token.entry(token).and_modify(|it| it.last = last).or_insert(new);
    }

    /// The request is answered.
    pub fn take(&mut self, token: Token) -> Option<Written> {
        self.voter_change.take_if(|it| *it == token);
        self.by_token.remove(&token)
    }

    /// Nobody waits for the answer.
    pub fn forget(&mut self, token: Token) {
        self.take(token);
    }
}
