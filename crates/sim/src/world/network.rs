//! Messages between machines: latency, loss, cuts, resets. A call stands for a request on a TCP
//! connection of its own, as the server has them, so calls overtake each other and none arrives twice.

use super::host::Reply;
use super::{CLUSTER, Down, Happening, OPERATOR, World};
use crate::Options;
use crate::trace::who;
use bytes::Bytes;
use quorate_base::{NodeId, Prng};
use quorate_controller::RequestContext;
use quorate_node::{Event, RpcFailure};
use quorate_protocol::messages::VoteRequest;
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Names a request and its answer.
pub type CallId = u64;

/// A request that somebody waits for.
#[derive(Debug)]
pub struct Call {
    pub caller: NodeId,
    pub caller_life: u64,
    /// The caller's name for it.
    pub rpc: u64,
    pub callee: NodeId,
    pub api: ApiKey,
    pub version: i16,
    /// The callee's life and token, once it has the request.
    pub taken: Option<(u64, u64)>,
}

/// The state of the network.
#[derive(Debug)]
pub struct Network {
    pub calls: BTreeMap<CallId, Call>,
    next_call: CallId,
    /// Pairs (from, to) whose messages are lost.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub latency_max: Duration,
    pub loss_per_mille: u64,
    pub straggler_per_mille: u64,
    peer_down_per_mille: u64,
}

impl Network {
    pub fn new(options: &Options) -> Network {
        Network {
            calls: BTreeMap::new(),
            next_call: 1,
            cut: BTreeSet::new(),
            latency_max: options.latency_max,
            loss_per_mille: options.loss_per_mille,
            straggler_per_mille: options.straggler_per_mille,
            peer_down_per_mille: options.peer_down_per_mille,
        }
    }

    /// How long a message takes; `None` if it is lost.
    fn travel(&self, prng: &mut Prng, from: NodeId, to: NodeId) -> Option<Duration> {
        let lost = prng.chance(self.loss_per_mille, 1000);
        if lost || self.cut.contains(&(from, to)) {
            return None;
        }
        let straggles = prng.chance(self.straggler_per_mille, 1000);
        let most = if straggles { Duration::from_secs(4) } else { self.latency_max };
        let nanos = u64::try_from(most.as_nanos()).expect("short");
        Some(Duration::from_nanos(50_000 + prng.below(nanos)))
    }
}

/// The name of a controller's machine.
pub fn host_name(id: NodeId) -> String {
    format!("c{id}")
}

/// Which machine has that name.
pub fn host_id(name: &str) -> Option<NodeId> {
    name.strip_prefix('c')?.parse().ok()
}

impl World {
    /// Sends a request. The caller hears of it in any case.
    pub fn call(
        &mut self,
        caller: NodeId,
        rpc: u64,
        callee: NodeId,
        request: &AnyRequest,
        timeout: Duration,
    ) {
        let caller_life = self.hosts.get(&caller).map_or(0, |host| host.life);
        let api = request.api_key();
        let old = self.is_old(caller) || self.is_old(callee);
        let newest = *api.versions().end();
        let version = match api {
            ApiKey::Vote if old => newest.min(1),
            ApiKey::Fetch if old => newest.min(17),
            _ => newest,
        };
        let call = self.network.next_call;
        self.network.next_call += 1;
        let entry = Call { caller, caller_life, rpc, callee, api, version, taken: None };
        self.network.calls.insert(call, entry);
        self.schedule_in(timeout, Happening::Overdue { call });
        if old && matches!(request, AnyRequest::Vote(request) if is_pre_vote(request)) {
            // The connection's handshake has told that the callee does not know it. A caller that
            // knows none itself does not ask: for ours this comes to the same.
            return self.fail_call(call, RpcFailure::UnsupportedVersion);
        }
        let Ok(bytes) = request.encode(version) else {
            panic!("a {api} request cannot be encoded in version {version}: {request:?}");
        };
        if let Some(pause) = self.network.travel(&mut self.prng, caller, callee) {
            let life = self.hosts.get(&callee).map_or(0, |host| host.life);
            let to = callee;
            self.schedule_in(pause, Happening::Arrive { call, to, life, api, version, bytes });
        }
    }

    /// A controller that knows no pre-vote.
    fn is_old(&self, id: NodeId) -> bool {
        self.options.without_pre_vote.contains(&id)
    }

    /// A request is at its callee's machine.
    pub(super) fn arrive(
        &mut self,
        call: CallId,
        to: NodeId,
        life: u64,
        api: ApiKey,
        version: i16,
        bytes: Bytes,
    ) {
        let host = &self.hosts[&to];
        let Some(process) = &host.process else {
            if host.down == Down::Process {
                self.fail_call(call, RpcFailure::Refused);
            }
            return;
        };
        if self.healed && self.is_of_operator(call, api) {
            // A change that begins late is no flapping: the operator has gone home.
            return;
        }
        let local = process.local_time(self.now);
        // A connection to an earlier life may have been reset, or be a new one.
        if host.life != life && self.prng.chance(1, 2) {
            return self.fail_call(call, RpcFailure::Disconnected);
        }
        let life = host.life;
        let caller_waits = self.network.calls.contains_key(&call);
        let request = match AnyRequest::decode(api, version, bytes) {
            Ok(request) => request,
            Err(error) => panic!("a {api} request of version {version} cannot be decoded: {error}"),
        };
        let process = self.process(to).expect("checked");
        let token = process.next_token;
        process.next_token += 1;
        process.replies.insert(token, Reply { call, api, version });
        if let Some(entry) = self.network.calls.get_mut(&call) {
            entry.taken = Some((life, token));
        }
        let context = RequestContext { received_at: local, ..RequestContext::internal(version) };
        self.step(to, Event::Request { token, context, request });
        if !caller_waits {
            // The caller gave up, but its bytes were in the socket.
            let pause = self.up_to(Duration::from_millis(1));
            self.schedule_in(pause, Happening::Closed { to, life, token });
        }
    }

    fn is_of_operator(&self, call: CallId, api: ApiKey) -> bool {
        let apis = [ApiKey::AddRaftVoter, ApiKey::RemoveRaftVoter, ApiKey::UpdateFeatures];
        let caller = self.network.calls.get(&call).map(|call| call.caller);
        apis.contains(&api) && caller.is_none_or(|caller| caller == OPERATOR)
    }

    /// A callee answers.
    pub(super) fn reply(&mut self, from: NodeId, reply: Reply, response: &AnyResponse) {
        let Ok(bytes) = response.encode(reply.version) else {
            let (api, version) = (reply.api, reply.version);
            panic!("a {api} answer cannot be encoded in version {version}: {response:?}");
        };
        let Some(call) = self.network.calls.get(&reply.call) else { return };
        let caller = call.caller;
        if let Some(pause) = self.network.travel(&mut self.prng, from, caller) {
            let call = reply.call;
            self.schedule_in(
                pause,
                Happening::Answered { call, result: Ok(bytes), peer_down: false },
            );
        }
    }

    /// The callee's machine says that there will be no answer.
    pub(super) fn fail_call(&mut self, id: CallId, failure: RpcFailure) {
        let Some(call) = self.network.calls.get(&id) else { return };
        let (caller, callee) = (call.caller, call.callee);
        // A connection that is refused or lost is also news of the process behind it.
        let gone = matches!(failure, RpcFailure::Refused | RpcFailure::Disconnected);
        let peer_down = gone && self.prng.chance(self.network.peer_down_per_mille, 1000);
        if let Some(pause) = self.network.travel(&mut self.prng, callee, caller) {
            let result = Err(failure);
            self.schedule_in(pause, Happening::Answered { call: id, result, peer_down });
        }
    }

    /// A caller gets the outcome of its call, the first time.
    pub(super) fn answered(
        &mut self,
        id: CallId,
        result: Result<Bytes, RpcFailure>,
        peer_down: bool,
    ) {
        let Some(call) = self.network.calls.remove(&id) else { return };
        if result.is_err()
            && let Some((life, token)) = call.taken
            && let Some(pause) = self.network.travel(&mut self.prng, call.caller, call.callee)
        {
            self.schedule_in(pause, Happening::Closed { to: call.callee, life, token });
        }
        let result = result.map(|bytes| match AnyResponse::decode(call.api, call.version, bytes) {
            Ok(response) => response,
            Err(error) => panic!("a {} answer cannot be decoded: {error}", call.api),
        });
        if self.brokers.contains_key(&call.caller) {
            return self.broker_answered(call.caller, call.rpc, call.callee, result);
        }
        if self.admins.contains_key(&call.caller) {
            return self.admin_answered(call.caller, call.rpc, call.callee, result);
        }
        if call.caller == OPERATOR {
            let text = match result {
                Ok(response) => format!("{:?}", response.error_codes()),
                Err(failure) => format!("{failure:?}"),
            };
            return self.note("op", &format!("#{}: {text}", call.rpc));
        }
        if self.hosts[&call.caller].life != call.caller_life {
            return;
        }
        self.step(call.caller, Event::PeerAnswered { rpc: call.rpc, result });
        // The node may have died of the answer.
        if peer_down && self.hosts[&call.caller].life == call.caller_life {
            self.step(call.caller, Event::PeerDown { node: call.callee });
        }
    }

    /// A process is gone: its calls, and those of others to it.
    pub(super) fn drop_calls(&mut self, node: NodeId, how: Down) {
        let mine = self.network.calls.iter().filter(|(_, call)| call.caller == node);
        for id in mine.map(|(id, _)| *id).collect::<Vec<_>>() {
            let call = self.network.calls.remove(&id).expect("listed");
            if how == Down::Process
                && let Some((life, token)) = call.taken
                && let Some(pause) = self.network.travel(&mut self.prng, node, call.callee)
            {
                self.schedule_in(pause, Happening::Closed { to: call.callee, life, token });
            }
        }
        if how == Down::Machine {
            return;
        }
        let others = self.network.calls.iter().filter(|(_, call)| call.callee == node);
        let others: Vec<CallId> =
            others.filter(|(_, call)| call.taken.is_some()).map(|(id, _)| *id).collect();
        for id in others {
            self.fail_call(id, RpcFailure::Disconnected);
        }
    }

    /// Cuts messages one way.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        if from != to {
            self.network.cut.insert((from, to));
        }
    }

    /// Ends all cuts.
    pub fn mend_network(&mut self) {
        if !self.network.cut.is_empty() {
            self.note("--", "all cuts are mended");
        }
        self.network.cut.clear();
    }

    /// Everybody who has a place in the network.
    pub fn everybody(&self) -> Vec<NodeId> {
        let clients = self.brokers.keys().chain(self.admins.keys());
        self.hosts.keys().chain(clients).copied().collect()
    }

    /// Who is cut off from whom, for the trace.
    pub fn note_cut(&self, what: &str) {
        let pairs: Vec<String> =
            self.network.cut.iter().map(|(a, b)| format!("{}>{}", who(*a), who(*b))).collect();
        self.note("--", &format!("{what}; cut now: {}", pairs.join(" ")));
    }
}

fn is_pre_vote(request: &VoteRequest) -> bool {
    request.topics.iter().flat_map(|topic| &topic.partitions).any(|it| it.pre_vote)
}

/// The cluster's id, as requests carry it.
pub fn cluster_id() -> Option<quorate_protocol::KStr> {
    Some(CLUSTER.into())
}
