//! A quorum in a box: replicas of the real `Raft`, with simulated clock, network and disks. Safety is
//! checked at every action.

#![allow(dead_code)]

mod disk;
mod invariants;
mod requests;

use bytes::Bytes;
use disk::Disk;
use invariants::Invariants;
use quorate_base::{NodeId, Now, OffsetAndEpoch, Prng, ReplicaKey, Time, Uuid};
use quorate_protocol::AnyResponse;
use quorate_protocol::batch::encode_data_batch;
use quorate_raft::{
    Action, Config, Event, LogBatch, PeerAddress, PeerRequest, PeerResponse, Raft, Role,
    RpcFailure, RpcId, Token, Voter, VoterSet,
};
use requests::{api_versions, endpoint, host, newest_version};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const CLUSTER: &str = "Kb3vZ0aYTnWq1g7cQ2m5xA";
const PORT: u16 = 9093;

/// How the quorum is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `controller.quorum.voters`, kraft.version 0.
    Static,
    /// Voter set in a bootstrap checkpoint, kraft.version 1.
    Dynamic,
}

pub struct Node {
    pub config: Config,
    pub disk: Disk,
    pub raft: Option<Raft>,
    /// Counts the lives of the process: what belongs to an earlier one is dropped.
    life: u64,
    pub frozen: bool,
    /// kraft.version 0 speakers of Kafka 3.9: no pre-vote.
    pub old_voter: bool,
    pub shut_down: bool,
    last_seen: String,
    sync_pending: bool,
}

enum Happening {
    Request { to: NodeId, from: NodeId, from_life: u64, rpc: RpcId, request: PeerRequest },
    Response { to: NodeId, life: u64, rpc: RpcId, result: Result<PeerResponse, RpcFailure> },
    Synced { node: NodeId, life: u64 },
    Installed { node: NodeId, life: u64, id: OffsetAndEpoch },
}

/// Who waits for the answer to a request delivered to a node.
enum Waiter {
    Peer { node: NodeId, life: u64, rpc: RpcId },
    Client(u64),
}

pub struct World {
    pub nodes: BTreeMap<NodeId, Node>,
    pub prng: Prng,
    pub now: Time,
    happenings: BTreeMap<(Time, u64), Happening>,
    next: u64,
    waiters: BTreeMap<(NodeId, Token), Waiter>,
    rpc_timeouts: BTreeMap<(NodeId, u64, RpcId), Time>,
    /// Pairs (from, to) that lose every message.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Chance in 1000 that a message is lost.
    pub loss: u64,
    pub max_delay_us: u64,
    pub max_sync_us: u64,
    /// Comes back in place of the answer to the next UpdateRaftVoter.
    pub instead_of_update: Option<PeerResponse>,
    pub kind: Kind,
    pub initial_voters: Vec<NodeId>,
    invariants: Invariants,
    /// What happened, for transcripts: (time, line).
    pub trace: Vec<(Time, String)>,
    pub client_answers: BTreeMap<u64, AnyResponse>,
    snapshots: BTreeMap<OffsetAndEpoch, (VoterSet, u16, Bytes)>,
    /// Epoch and node of the last leader elected.
    pub last_leader: Option<(i32, NodeId)>,
}

pub fn directory(id: NodeId) -> Uuid {
    Uuid::from_u128(0xd000 + u128::from(id.unsigned_abs()))
}

impl World {
    pub fn new(kind: Kind, voters: &[NodeId], seed: u64) -> World {
        let mut world = World {
            nodes: BTreeMap::new(),
            prng: Prng::new(seed),
            now: Time::from_millis(1000),
            happenings: BTreeMap::new(),
            next: 0,
            waiters: BTreeMap::new(),
            rpc_timeouts: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0,
            max_delay_us: 1000,
            max_sync_us: 2000,
            instead_of_update: None,
            kind,
            initial_voters: voters.to_vec(),
            invariants: Invariants::default(),
            trace: Vec::new(),
            client_answers: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            last_leader: None,
        };
        for id in voters {
            world.add_node(*id, directory(*id));
        }
        world
    }

    fn voter(&self, id: NodeId) -> Voter {
        Voter {
            key: ReplicaKey { id, directory_id: Some(directory(id)) },
            listeners: vec![endpoint(id)],
            kraft_version_range: (0, 1),
        }
    }

    /// A node that is not running yet.
    pub fn add_node(&mut self, id: NodeId, directory: Uuid) {
        let mut config = Config::new(id, directory, CLUSTER);
        config.listeners = vec![endpoint(id)];
        let mut disk = Disk::default();
        match self.kind {
            Kind::Static => {
                let voter = |id: &NodeId| (*id, host(*id), PORT);
                config.static_voters = Some(self.initial_voters.iter().map(voter).collect());
            }
            Kind::Dynamic => {
                let server = |id: &NodeId| (host(*id), PORT);
                config.bootstrap_servers = self.initial_voters.iter().map(server).collect();
                if self.initial_voters.contains(&id) {
                    let set = VoterSet::new(self.initial_voters.iter().map(|id| self.voter(*id)));
                    disk.bootstrap = Some(set);
                }
            }
        }
        let node = Node {
            config,
            disk,
            raft: None,
            life: self.nodes.get(&id).map_or(0, |old| old.life),
            frozen: false,
            old_voter: false,
            shut_down: false,
            last_seen: String::new(),
            sync_pending: false,
        };
        self.nodes.insert(id, node);
    }

    pub fn start_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.start(id);
        }
    }

    pub fn start(&mut self, id: NodeId) {
        let now = self.wall(self.now);
        let seed = self.prng.next_u64();
        let node = self.nodes.get_mut(&id).expect("a node");
        assert!(node.raft.is_none(), "node {id} runs already");
        node.life += 1;
        node.config.seed = seed;
        node.shut_down = false;
        node.sync_pending = false;
        node.last_seen.clear();
        let mut actions = Vec::new();
        let mut recovered = node.disk.recover(&self.snapshots);
        if node.old_voter {
            // Kafka 3.9 stands and votes with an empty log too.
            recovered.quorum_state.get_or_insert_default().recovering = false;
        }
        node.raft = Some(Raft::new(node.config.clone(), recovered, now, &mut actions));
        self.note(format!("{id} starts"));
        self.execute(id, actions);
    }

    /// Power off: what was not synced is lost, all of it or from some point on.
    pub fn crash(&mut self, id: NodeId) {
        let keep = self.prng.next_u64();
        self.check_voters(id);
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.raft.take().is_none() {
            return;
        }
        node.life += 1;
        node.frozen = false;
        node.disk.lose_unsynced(keep);
        self.note(format!("{id} crashes"));
        self.drop_connections(id);
    }

    /// The voter set in force is the one that the log as it is now says.
    pub fn check_voters(&self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(raft) = &node.raft else { return };
        let recovered = node.disk.recover(&self.snapshots);
        let level = recovered.kraft_versions.last().map_or(0, |(_, level)| *level);
        assert_eq!(raft.kraft_version(), level, "node {id}'s kraft.version");
        if let Some((_, set)) = recovered.voters.last() {
            assert_eq!(raft.voters(), set, "node {id}'s voters");
        } else if self.kind == Kind::Static {
            assert_eq!(raft.voters().ids(), self.initial_voters, "node {id}'s voters");
        }
    }

    /// Every peer that waits for an answer of this process sees the connection break.
    fn drop_connections(&mut self, id: NodeId) {
        let gone: Vec<_> = self.waiters.keys().filter(|(node, _)| *node == id).copied().collect();
        for key in gone {
            if let Some(Waiter::Peer { node, life, rpc }) = self.waiters.remove(&key) {
                self.deliver(node, life, rpc, Err(RpcFailure::Disconnected));
            }
        }
    }

    pub fn running(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|n| n.raft.is_some())
    }

    pub fn raft(&self, id: NodeId) -> &Raft {
        self.nodes[&id].raft.as_ref().expect("a running node")
    }

    /// The leader of the highest epoch among the running nodes.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |n: &&Node| n.raft.as_ref().is_some_and(Raft::is_leader) && !n.frozen;
        let epoch = |n: &&Node| n.raft.as_ref().map_or(-1, Raft::epoch);
        self.nodes.values().filter(leads).max_by_key(epoch).map(|n| n.config.node_id)
    }

    fn wall(&self, time: Time) -> Now {
        let ms = time.as_nanos() / 1_000_000;
        Now { time, wall_ms: 1_700_000_000_000 + ms as i64 }
    }

    pub fn note(&mut self, line: String) {
        if std::env::var_os("TRACE").is_some() {
            eprintln!("{:.6} {line}", self.now.as_nanos() as f64 / 1e9);
        }
        self.trace.push((self.now, line));
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        self.next += 1;
        self.happenings.insert((at, self.next), happening);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(100 + self.prng.below(self.max_delay_us.max(1)))
    }

    pub fn step(&mut self, id: NodeId, event: Event) {
        let now = self.wall(self.now);
        let Some(raft) = self.nodes.get_mut(&id).and_then(|n| n.raft.as_mut()) else { return };
        let mut actions = Vec::new();
        raft.step(now, event, &mut actions);
        self.execute(id, actions);
    }

    fn execute(&mut self, id: NodeId, actions: Vec<Action>) {
        for action in actions {
            if std::env::var_os("TRACE_ALL").is_some() {
                eprintln!("{:.6}   {id} {action:?}", self.now.as_nanos() as f64 / 1e9);
            }
            self.invariants.before(id, &action, &self.nodes);
            self.execute_one(id, action);
        }
        self.note_state(id);
    }

    fn execute_one(&mut self, id: NodeId, action: Action) {
        let node = self.nodes.get_mut(&id).expect("a node");
        match action {
            Action::PersistElectionState(state) => node.disk.election = Some(state),
            Action::AppendLog { batch } => {
                node.disk.append(batch);
                if !node.sync_pending {
                    node.sync_pending = true;
                    self.schedule_sync(id);
                }
            }
            Action::TruncateLog { to } => {
                node.disk.truncate(to);
                self.note(format!("{id} truncates to {}", to.offset));
            }
            Action::Send { rpc, to, request, timeout } => self.send(id, rpc, to, request, timeout),
            Action::Respond { token, response } => self.answer(id, token, response),
            Action::RespondFetch { token, mut response, read } => {
                let records = node.disk.read(read.from, read.max_bytes as usize, read.end);
                response.responses[0].partitions[0].records = Some(records);
                self.answer(id, token, AnyResponse::Fetch(response));
            }
            Action::RespondSnapshotChunk { token, mut response, read } => {
                let (_, _, bytes) = &self.snapshots[&read.id];
                let partition = &mut response.topics[0].partitions[0];
                let from = (read.position as usize).min(bytes.len());
                let to = (from + read.max_bytes as usize).min(bytes.len());
                partition.size = bytes.len() as i64;
                partition.unaligned_records = bytes.slice(from..to);
                self.answer(id, token, AnyResponse::FetchSnapshot(response));
            }
            Action::HighWatermark { offset } => {
                self.invariants.committed(id, offset, &self.nodes);
            }
            Action::LeaderChanged { .. } | Action::LostLeadership { .. } => {}
            Action::BecameLeader { epoch, start_offset } => {
                self.last_leader = Some((epoch, id));
                self.invariants.elected(id, epoch, &self.nodes);
                self.note(format!("{id} leads epoch {epoch} from offset {start_offset}"));
            }
            Action::WriteSnapshotChunk { id: snapshot, position, bytes } => {
                node.disk.write_chunk(snapshot, position, &bytes);
            }
            Action::InstallSnapshot { id: snapshot } => {
                let at = self.now + self.delay();
                let life = self.nodes[&id].life;
                self.schedule(at, Happening::Installed { node: id, life, id: snapshot });
            }
            Action::DiscardSnapshot { .. } => node.disk.receiving.clear(),
            Action::KraftVersionUpgrade { error, message, .. } => {
                self.note(format!("{id} kraft.version upgrade: {error:?} {message:?}"));
            }
            Action::Log { message, .. } => self.note(format!("{id} says: {message}")),
            Action::ShutdownComplete => {
                node.shut_down = true;
                self.note(format!("{id} has shut down"));
            }
        }
    }

    fn schedule_sync(&mut self, id: NodeId) {
        let at = self.now + Duration::from_micros(50 + self.prng.below(self.max_sync_us.max(1)));
        let life = self.nodes[&id].life;
        self.schedule(at, Happening::Synced { node: id, life });
    }

    fn send(
        &mut self,
        from: NodeId,
        rpc: RpcId,
        to: PeerAddress,
        request: PeerRequest,
        timeout: Duration,
    ) {
        let life = self.nodes[&from].life;
        self.rpc_timeouts.insert((from, life, rpc), self.now + timeout);
        let target = to.host.strip_prefix('n').and_then(|n| n.parse::<NodeId>().ok());
        let target = target.filter(|id| to.port == PORT && self.running(*id));
        let Some(target) = target else {
            let reachable = to.host.starts_with('n');
            if reachable {
                self.deliver(from, life, rpc, Err(RpcFailure::Refused));
            }
            return;
        };
        if let PeerRequest::Vote(vote) = &request
            && vote.topics[0].partitions[0].pre_vote
            && self.nodes[&target].old_voter
        {
            return self.deliver(from, life, rpc, Err(RpcFailure::UnsupportedVersion));
        }
        if let PeerRequest::UpdateRaftVoter(_) = &request
            && let Some(answer) = self.instead_of_update.take()
        {
            return self.deliver(from, life, rpc, Ok(answer));
        }
        if self.cut.contains(&(from, target)) || self.prng.below(1000) < self.loss {
            return;
        }
        let at = self.now + self.delay();
        let request = Happening::Request { to: target, from, from_life: life, rpc, request };
        self.schedule(at, request);
    }

    fn deliver(
        &mut self,
        to: NodeId,
        life: u64,
        rpc: RpcId,
        result: Result<PeerResponse, RpcFailure>,
    ) {
        let at = self.now + self.delay();
        self.schedule(at, Happening::Response { to, life, rpc, result });
    }

    fn answer(&mut self, from: NodeId, token: Token, response: AnyResponse) {
        match self.waiters.remove(&(from, token)) {
            Some(Waiter::Peer { node, life, rpc }) => {
                if self.cut.contains(&(from, node)) || self.prng.below(1000) < self.loss {
                    return;
                }
                let response = PeerResponse::try_from(response).expect("a peer's response");
                self.deliver(node, life, rpc, Ok(response));
            }
            Some(Waiter::Client(id)) => {
                self.client_answers.insert(id, response);
            }
            None => panic!("node {from} answers {token:?} twice, or nobody"),
        }
    }

    /// Sends a request of an administrator; the answer is in `client_answers` under the number given back.
    pub fn request(&mut self, to: NodeId, api_version: i16, request: PeerRequest) -> u64 {
        self.next += 1;
        let id = self.next;
        self.waiters.insert((to, Token(id)), Waiter::Client(id));
        self.incoming(to, Token(id), api_version, request);
        id
    }

    fn incoming(&mut self, to: NodeId, token: Token, api_version: i16, request: PeerRequest) {
        if let PeerRequest::ApiVersions(_) = request {
            let range = self.nodes[&to].config.kraft_version_range;
            return self.answer(to, token, api_versions(range));
        }
        let event = Event::Request {
            token,
            listener: "CONTROLLER".into(),
            api_version,
            client_host: "test".into(),
            request,
        };
        self.step(to, event);
    }

    /// Appends a batch of `records` records at the leader; false if it does not lead.
    pub fn append(&mut self, id: NodeId, records: usize) -> bool {
        let now = self.wall(self.now);
        let Some(raft) = self.nodes.get(&id).and_then(|n| n.raft.as_ref()) else { return false };
        if !raft.is_leader() {
            return false;
        }
        let (end, epoch) = (raft.log_end(), raft.epoch());
        let value = Bytes::from(self.prng.bytes_16().to_vec());
        let values = vec![value; records];
        let batch = LogBatch {
            base_offset: end.offset,
            end_offset: end.offset + records as i64,
            epoch,
            append_time_ms: now.wall_ms,
            is_control: false,
            bytes: encode_data_batch(end.offset, epoch, now.wall_ms, &values),
        };
        self.step(id, Event::Append { batch });
        true
    }

    /// Writes a snapshot at the node's high watermark and deletes the log below it.
    pub fn snapshot(&mut self, id: NodeId) {
        let raft = self.raft(id);
        let Some(hw) = raft.high_watermark() else { return };
        let boundary = self.nodes[&id].disk.boundary_at_or_below(hw);
        let Some(end) = boundary.filter(|end| *end > raft.log_start()) else { return };
        let Some(epoch) = raft.epoch_before(end) else { return };
        let snapshot = OffsetAndEpoch { offset: end, epoch };
        let (set, level) = (raft.voters_at(end).clone(), raft.kraft_version_at(end));
        let bytes = Bytes::from(format!("snapshot {snapshot} ").repeat(200));
        self.snapshots.entry(snapshot).or_insert((set, level, bytes));
        self.nodes.get_mut(&id).expect("a node").disk.add_snapshot(snapshot);
        self.step(id, Event::SnapshotWritten { id: snapshot });
        if self.nodes[&id].disk.synced_end() >= end {
            self.nodes.get_mut(&id).expect("a node").disk.drop_before(end);
            self.step(id, Event::LogStartMoved { start: end });
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.one_happening(end) {}
        self.now = end;
    }

    /// Lets time pass until `done`, at most for `limit`; false if it never was.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&World) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if !self.one_happening(end) {
                self.now = end;
                return done(self);
            }
        }
        true
    }

    fn one_happening(&mut self, end: Time) -> bool {
        let timer = self
            .nodes
            .iter()
            .filter(|(_, n)| !n.frozen)
            .filter_map(|(id, n)| Some((n.raft.as_ref()?.next_timeout()?.0, *id)))
            .min();
        let happening = self.happenings.first_key_value().map(|(key, _)| *key);
        let rpc = self.rpc_timeouts.iter().map(|(key, at)| (*at, *key)).min();
        let times = [timer.map(|t| t.0), happening.map(|h| h.0), rpc.map(|r| r.0)];
        let Some(at) = times.into_iter().flatten().min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        if happening.is_some_and(|key| key.0 == at) {
            let (_, happening) = self.happenings.pop_first().expect("checked");
            self.happen(happening);
        } else if let Some((_, (node, life, rpc))) = rpc.filter(|r| r.0 == at) {
            self.happen(Happening::Response {
                to: node,
                life,
                rpc,
                result: Err(RpcFailure::Timeout),
            });
        } else if let Some((due, id)) = timer {
            self.step(id, Event::Timeout);
            let next = self.nodes[&id].raft.as_ref().and_then(Raft::next_timeout);
            assert!(
                next.is_none_or(|(at, _)| at > self.now),
                "node {id} asks for {next:?} again after {due:?}"
            );
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Request { to, from, from_life, rpc, request } => {
                if !self.running(to) {
                    return self.deliver(from, from_life, rpc, Err(RpcFailure::Disconnected));
                }
                if self.nodes[&to].frozen {
                    return;
                }
                self.next += 1;
                let token = Token(self.next);
                let waiter = Waiter::Peer { node: from, life: from_life, rpc };
                self.waiters.insert((to, token), waiter);
                let version = newest_version(&request);
                self.incoming(to, token, version, request);
            }
            Happening::Response { to, life, rpc, result } => {
                let waiting = self.rpc_timeouts.remove(&(to, life, rpc)).is_some();
                if waiting && self.nodes[&to].life == life && !self.nodes[&to].frozen {
                    self.step(to, Event::Response { rpc, result });
                }
            }
            Happening::Synced { node, life } => {
                let entry = self.nodes.get_mut(&node).expect("a node");
                if entry.life == life {
                    entry.sync_pending = false;
                    if let Some(end) = entry.disk.sync() {
                        self.step(node, Event::Persisted { end });
                    }
                }
            }
            Happening::Installed { node, life, id } => {
                let entry = self.nodes.get_mut(&node).expect("a node");
                if entry.life == life {
                    let (set, kraft_version, bytes) = self.snapshots[&id].clone();
                    assert_eq!(entry.disk.receiving, bytes, "the snapshot arrived whole");
                    entry.disk.install(id);
                    let voters = (kraft_version > 0).then_some(set);
                    self.note(format!("{node} installs the snapshot at {id}"));
                    self.step(node, Event::SnapshotInstalled { id, voters, kraft_version });
                }
            }
        }
    }

    fn note_state(&mut self, id: NodeId) {
        let Some(raft) = &self.nodes[&id].raft else { return };
        let role = match raft.role() {
            Role::Unattached => "unattached",
            Role::Prospective => "prospective",
            Role::Candidate => "candidate",
            Role::Follower => "follower",
            Role::Leader => "leader",
            Role::Resigned => "resigned",
        };
        let kind = if raft.is_voter() { "" } else { " (observer)" };
        let of = match raft.leader() {
            Some((leader, _)) if leader != id => format!(" of {leader}"),
            _ => String::new(),
        };
        let line = format!("{role}{of} epoch {}{kind}", raft.epoch());
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.last_seen != line {
            node.last_seen = line.clone();
            self.note(format!("{id} {line}"));
        }
    }

    /// Cuts the nodes into groups that do not hear each other.
    pub fn partition(&mut self, groups: &[Vec<NodeId>]) {
        self.cut.clear();
        let group = |id: &NodeId| groups.iter().position(|g| g.contains(id));
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for a in &ids {
            for b in &ids {
                if a != b && group(a) != group(b) {
                    self.cut.insert((*a, *b));
                }
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0;
    }

    /// One leader, everybody follows it, and has committed the same.
    pub fn is_settled(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let raft = self.raft(leader);
        let end = raft.log_end();
        self.nodes.values().filter_map(|n| n.raft.as_ref()).all(|r| {
            r.epoch() == raft.epoch()
                && r.leader().map(|l| l.0) == Some(leader)
                && r.log_end() == end
                && matches!(r.role(), Role::Leader | Role::Follower)
                && r.high_watermark() == Some(end.offset)
        })
    }
}
