//! A standby registers itself with the active controller (KIP-919): without it, tools cannot list
//! this node and the active controller refuses to raise metadata.version.

use crate::action::{Action, PeerAddress};
use crate::event::RpcId;
use crate::node::Node;
use quorate_base::{Now, Time};
use std::time::Duration;

/// Raft counts its requests upwards from zero; ours have the highest bit set.
const OWN_RPCS: RpcId = 1 << 63;
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// The state of that errand.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    outstanding: Option<RpcId>,
    next_rpc: RpcId,
    /// Not before this. What a successful answer wrote comes back through the log a moment later.
    not_before: Time,
}

impl Node {
    /// Sends the registration if it is wanted and a leader is known.
    pub(crate) fn register_if_wanted(&mut self, now: Now, out: &mut Vec<Action>) {
        let wait = self.registration.outstanding.is_some()
            || now.time < self.registration.not_before
            || self.raft.is_leader()
            || self.fatal.is_some();
        if wait {
            return;
        }
        let Some(request) = self.controller.registration_wanted() else { return };
        let listener = &self.config.raft.default_listener;
        let Some((node, host, port)) = self.raft.leader_endpoint(listener) else { return };
        let to = PeerAddress { node: Some(node), host: host.to_owned(), port };
        let rpc = OWN_RPCS | self.registration.next_rpc;
        self.registration.next_rpc += 1;
        self.registration.outstanding = Some(rpc);
        out.push(Action::Send { rpc, to, request, timeout: TIMEOUT });
    }

    /// True if that answer was to a registration. What it says does not matter: if the record does
    /// not come by in the log, the errand is run again.
    pub(crate) fn is_registration_answer(&mut self, now: Now, rpc: RpcId) -> bool {
        if rpc & OWN_RPCS == 0 {
            return false;
        }
        if self.registration.outstanding == Some(rpc) {
            self.registration.outstanding = None;
            self.registration.not_before = now.time + RETRY;
        }
        true
    }

    /// When to try again.
    pub(crate) fn registration_timeout(&self) -> Option<(Time, &'static str)> {
        let waiting = self.registration.outstanding.is_none()
            && !self.raft.is_leader()
            && self.raft.leader().is_some()
            && self.controller.registration_wanted().is_some();
        waiting.then_some((self.registration.not_before, "controller registration"))
    }
}
