//! Everything that exists in a run, and the loop that moves it.

mod actions;
mod boot;
mod disk_jobs;
mod host;
mod network;

pub use host::{Down, Host, Process};
pub use network::{CallId, Network, cluster_id, host_name};

use crate::clients::{Admin, Broker};
use crate::invariants::Invariants;
use crate::nemesis::Nemesis;
use crate::trace::{Trace, who};
use crate::{Mutant, Options};
use bytes::Bytes;
use quorate_base::{NodeId, Now, Prng, Time};
use quorate_node::{Event, RpcFailure, Token};
use quorate_protocol::{AnyResponse, ApiKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// The cluster's id.
pub const CLUSTER: &str = "Kb3vZ0aYTnWq1g7cQ2m5xA";
/// The id of the operator in the network.
pub const OPERATOR: NodeId = 301;
/// Where every controller listens.
pub const PORT: u16 = 9093;
/// The wall clock when a run begins.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// Something that happens at a point in simulated time.
#[derive(Debug)]
pub enum Happening {
    /// A request reaches the machine of its callee.
    Arrive { call: CallId, to: NodeId, life: u64, api: ApiKey, version: i16, bytes: Bytes },
    /// An answer, or news that there will be none, reaches the caller.
    Answered { call: CallId, result: Result<Bytes, RpcFailure>, peer_down: bool },
    /// The caller has waited long enough.
    Overdue { call: CallId },
    /// The connection of a request is seen to be closed by its callee.
    Closed { to: NodeId, life: u64, token: Token },
    /// Something within a process.
    Local { node: NodeId, life: u64, local: Local },
    /// A stopped machine starts its process.
    Boot { node: NodeId },
    /// A disk has room again, and syncs.
    DiskWell { node: NodeId },
    /// Time for the next fault.
    Fault,
    /// A client looks what to do next.
    Broker(NodeId),
    /// A client looks what to do next.
    Admin(NodeId),
}

/// What happens within one process.
#[derive(Debug)]
pub enum Local {
    /// The node's timer.
    Timer { generation: u64 },
    /// An event for the node, from one of its other threads.
    Event(Box<Event>),
    /// The disk thread writes what is queued.
    DiskWrite,
    /// The disk thread's sync is done.
    DiskSynced,
    /// The snapshot thread's next job is done.
    Snapshot,
    /// Old log or snapshot bytes are read for an answer.
    Fill(Box<host::Unfilled>),
    /// Committed batches are read from the log.
    ReadLog { from: i64, end: i64, max_bytes: u32 },
    /// A process that must stop has had its time to hand over.
    Farewell,
}

/// A run in progress.
pub struct World {
    pub options: Options,
    pub prng: Prng,
    pub now: Time,
    heap: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    pub hosts: BTreeMap<NodeId, Host>,
    pub network: Network,
    pub brokers: BTreeMap<NodeId, Broker>,
    pub admins: BTreeMap<NodeId, Admin>,
    pub nemesis: Nemesis,
    pub invariants: Invariants,
    pub trace: Trace,
    /// The second phase: no more faults.
    pub healed: bool,
}

impl World {
    /// The machines, formatted, and all processes about to start.
    pub fn new(options: Options, trace: Trace) -> World {
        let mut prng = Prng::new(options.seed);
        let network = Network::new(&options);
        let mut world = World {
            now: Time::from_millis(1000),
            heap: BTreeMap::new(),
            sequence: 0,
            hosts: BTreeMap::new(),
            network,
            brokers: BTreeMap::new(),
            admins: BTreeMap::new(),
            nemesis: Nemesis::new(Prng::new(prng.next_u64())),
            invariants: Invariants::default(),
            prng,
            trace,
            healed: false,
            options,
        };
        for id in world.options.node_ids() {
            world.format_host(id);
            let at = world.now + world.up_to(Duration::from_millis(50));
            world.schedule(at, Happening::Boot { node: id });
        }
        for n in 0..world.options.broker_count {
            let id = 101 + n;
            let seed = world.prng.next_u64();
            world.brokers.insert(id, Broker::new(id, seed));
            world.schedule_in(Duration::from_millis(100), Happening::Broker(id));
        }
        for n in 0..world.options.admin_count {
            let id = 201 + n;
            let seed = world.prng.next_u64();
            world.admins.insert(id, Admin::new(id, seed));
            world.schedule_in(Duration::from_millis(500), Happening::Admin(id));
        }
        world.schedule_in(Duration::from_secs(3), Happening::Fault);
        world
    }

    /// Whether that bug is in.
    pub fn has(&self, mutant: Mutant) -> bool {
        self.options.mutant == Some(mutant)
    }

    /// Uniform up to that.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).expect("short");
        Duration::from_nanos(self.prng.below(nanos.max(1)))
    }

    /// Makes something happen.
    pub fn schedule(&mut self, at: Time, happening: Happening) {
        assert!(at >= self.now, "nothing happens in the past");
        self.sequence += 1;
        self.heap.insert((at, self.sequence), happening);
    }

    /// Makes something happen.
    pub fn schedule_in(&mut self, pause: Duration, happening: Happening) {
        self.schedule(self.now + pause, happening);
    }

    /// Lets the next thing happen. False if it lies behind `end`: then it is `end` now.
    pub fn advance(&mut self, end: Time) -> bool {
        let Some(entry) = self.heap.first_entry() else { panic!("nothing happens any more") };
        let (at, sequence) = *entry.key();
        if at > end {
            self.now = end;
            return false;
        }
        let happening = entry.remove();
        self.now = at;
        self.trace.mix(at.as_nanos() ^ (sequence << 40));
        self.trace.event();
        // A stopped process finds all that happened when it goes on.
        if let Some(until) = self.frozen_until(&happening) {
            self.schedule(until, happening);
            return true;
        }
        self.happen(happening);
        true
    }

    fn frozen_until(&self, happening: &Happening) -> Option<Time> {
        let node = match happening {
            Happening::Arrive { to, .. } | Happening::Closed { to, .. } => *to,
            Happening::Local { node, .. } => *node,
            Happening::Answered { call, .. } => self.network.calls.get(call)?.caller,
            _ => return None,
        };
        let until = self.hosts.get(&node)?.frozen_until?;
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { call, to, life, api, version, bytes } => {
                self.arrive(call, to, life, api, version, bytes);
            }
            Happening::Answered { call, result, peer_down } => {
                self.answered(call, result, peer_down);
            }
            Happening::Overdue { call } => self.answered(call, Err(RpcFailure::Timeout), false),
            Happening::Closed { to, life, token } => {
                if let Some(process) = self.process_of_life(to, life)
                    && process.replies.remove(&token).is_some()
                {
                    self.step(to, Event::Cancelled { token });
                }
            }
            Happening::Local { node, life, local } => {
                if self.process_of_life(node, life).is_some() {
                    self.local(node, local);
                }
            }
            Happening::Boot { node } => self.boot(node),
            Happening::DiskWell { node } => self.disk_well(node),
            Happening::Fault => self.next_fault(),
            Happening::Broker(id) => self.broker_turn(id),
            Happening::Admin(id) => self.admin_turn(id),
        }
    }

    fn process_of_life(&mut self, node: NodeId, life: u64) -> Option<&mut Process> {
        let host = self.hosts.get_mut(&node)?;
        if host.life == life { host.process.as_mut() } else { None }
    }

    fn local(&mut self, node: NodeId, local: Local) {
        match local {
            Local::Timer { generation } => {
                let now = self.now;
                let Some(process) = self.process(node) else { return };
                if process.timer_generation != generation {
                    return;
                }
                process.timer = None;
                let due = process.next_timeout();
                if due.is_some_and(|at| at <= now) {
                    self.step(node, Event::Timeout);
                } else {
                    self.set_timer(node);
                }
            }
            Local::Event(event) => self.step(node, *event),
            Local::DiskWrite => self.disk_write(node),
            Local::DiskSynced => self.disk_synced(node),
            Local::Snapshot => self.snapshot_job(node),
            Local::Fill(fill) => self.fill(node, *fill),
            Local::ReadLog { from, end, max_bytes } => self.read_log(node, from, end, max_bytes),
            Local::Farewell => self.stop(node, "stops, as its disk has failed"),
        }
    }

    /// The process of a node, if it runs.
    pub fn process(&mut self, node: NodeId) -> Option<&mut Process> {
        self.hosts.get_mut(&node)?.process.as_mut()
    }

    /// One event into a node, all its actions out, and the invariants.
    pub fn step(&mut self, id: NodeId, event: Event) {
        let now = self.now;
        let mut actions = Vec::new();
        let what = describe(&event);
        {
            let Some(host) = self.hosts.get_mut(&id) else { return };
            let local = host.local_now(now);
            let Some(process) = &mut host.process else { return };
            process.node.step(local, event, &mut actions);
        }
        self.carry_out(id, actions, &what);
    }

    /// Checks what a step did, then does what it asks for.
    pub fn carry_out(&mut self, id: NodeId, actions: Vec<quorate_node::Action>, what: &str) {
        let host = &self.hosts[&id];
        let status = host.process.as_ref().expect("it has just moved").node.status();
        self.invariants.stepped(id, &self.hosts, &actions);
        let line = host.line(status);
        if host.last_line.as_deref() != Some(&line) {
            self.trace.line(self.now, &who(id), &format!("{line} {what}"));
            self.hosts.get_mut(&id).expect("it exists").last_line = Some(line);
        }
        self.execute(id, actions);
        self.invariants.acted(id, &self.hosts);
        self.set_timer(id);
    }

    /// Makes the node's timer ring when the node wants it.
    fn set_timer(&mut self, id: NodeId) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let life = host.life;
        let Some(process) = &mut host.process else { return };
        let Some(at) = process.next_timeout() else {
            process.timer = None;
            process.timer_generation += 1;
            return;
        };
        // Even a timeout that is due already takes its turn behind what waits.
        let at = at.max(now + Duration::from_micros(1));
        if process.timer == Some(at) {
            return;
        }
        process.timer = Some(at);
        process.timer_generation += 1;
        let local = Local::Timer { generation: process.timer_generation };
        self.schedule(at, Happening::Local { node: id, life, local });
    }

    /// A line about somebody else than a node's state.
    pub fn note(&self, who: &str, what: &str) {
        self.trace.line(self.now, who, what);
    }

    /// The wall clock of a machine without a clock of its own.
    pub fn wall_ms(&self) -> i64 {
        wall_ms(self.now)
    }

    /// The active controller of the highest epoch.
    pub fn active(&self) -> Option<NodeId> {
        self.hosts
            .values()
            .filter_map(|host| Some((host.process.as_ref()?.node.status(), host.id)))
            .filter(|(status, _)| status.active)
            .max_by_key(|(status, _)| status.epoch)
            .map(|(_, id)| id)
    }
}

fn wall_ms(time: Time) -> i64 {
    WALL_START_MS + i64::try_from(time.as_nanos() / 1_000_000).expect("runs are short")
}

/// The event's name and what identifies it.
fn describe(event: &Event) -> String {
    match event {
        Event::Request { token, request, .. } => format!("{} #{token}", request.api_key()),
        Event::Cancelled { token } => format!("#{token} is cancelled"),
        Event::PeerAnswered { rpc, result } => {
            let rpc = rpc & !(1 << 63);
            match result {
                Ok(response) => format!("answer {} to rpc {rpc}", AnyResponse::api_key(response)),
                Err(failure) => format!("rpc {rpc}: {failure:?}"),
            }
        }
        Event::PeerDown { node } => format!("c{node}'s process seems gone"),
        Event::Persisted { end } => format!("persisted to {end}"),
        Event::SnapshotWritten { id, .. } => format!("snapshot at {id} is written"),
        Event::SnapshotFailed { id, why } => format!("snapshot at {id} failed: {why}"),
        Event::SnapshotInstalled { id, .. } => format!("snapshot at {id} is installed"),
        Event::SnapshotRejected { id, why } => format!("snapshot at {id} rejected: {why}"),
        Event::LogRead { from, .. } => format!("log read from {from}"),
        Event::LogStartMoved { start } => format!("log starts at {start}"),
        Event::SnapshotsDeleted { ids } => format!("{} snapshots deleted", ids.len()),
        Event::Timeout => "timeout".to_owned(),
        Event::TransferLeader { to } => format!("told to hand leadership to {to:?}"),
        Event::Shutdown => "SIGTERM".to_owned(),
    }
}

impl Host {
    /// Both clocks of this machine, as its process sees them.
    pub fn local_now(&self, now: Time) -> Now {
        let time = self.process.as_ref().map_or(Time::ZERO, |process| process.local_time(now));
        Now { time, wall_ms: wall_ms(now) + self.wall_offset_ms }
    }
}
