//! Everything that goes wrong from outside, and what operators do meanwhile.

use crate::options::Voters;
use crate::trace::who;
use crate::world::{Happening, OPERATOR, PORT, World, cluster_id, host_name};
use quorate_base::{NodeId, Prng};
use quorate_node::Event;
use quorate_protocol::AnyRequest;
use quorate_protocol::messages::add_raft_voter_request::Listener;
use quorate_protocol::messages::update_features_request::FeatureUpdateKey;
use quorate_protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateFeaturesRequest,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One process is killed, or its machine loses power.
    Crash,
    /// The leader's.
    CrashLeader,
    /// All of them at once.
    CrashAll,
    /// Everybody is in one of two groups that do not hear each other.
    Split,
    /// The leader hears and reaches nobody, or only brokers and clients.
    IsolateLeader,
    /// Messages one way between two are lost.
    CutOneWay,
    /// All cuts end.
    Mend,
    /// SIGSTOP, and SIGCONT a while later.
    Freeze,
    /// The leader is frozen.
    FreezeLeader,
    /// A wall clock jumps.
    ClockJump,
    /// An operator hands leadership over.
    Transfer,
    /// SIGTERM.
    Terminate,
    /// An operator adds a voter.
    AddVoter,
    /// An operator removes a voter.
    RemoveVoter,
    /// An operator raises kraft.version.
    RaiseKraftVersion,
    /// A broker restarts or falls silent.
    Broker,
    /// A voter's disk is lost, once in a run, and a new one formatted.
    LoseDisk,
    /// A disk is full for a while.
    FillDisk,
    /// The syncs of a disk fail for a while.
    FailSyncs,
}

/// All of them.
pub const FAULTS: &[Fault] = &[
    Fault::Crash,
    Fault::CrashLeader,
    Fault::CrashAll,
    Fault::Split,
    Fault::IsolateLeader,
    Fault::CutOneWay,
    Fault::Mend,
    Fault::Freeze,
    Fault::FreezeLeader,
    Fault::ClockJump,
    Fault::Transfer,
    Fault::Terminate,
    Fault::AddVoter,
    Fault::RemoveVoter,
    Fault::RaiseKraftVersion,
    Fault::Broker,
    Fault::LoseDisk,
    Fault::FillDisk,
    Fault::FailSyncs,
];

/// Draws faults.
#[derive(Debug)]
pub struct Nemesis {
    prng: Prng,
    next_rpc: u64,
    disk_is_lost: bool,
}

impl Nemesis {
    /// One that has not struck yet.
    pub fn new(prng: Prng) -> Nemesis {
        Nemesis { prng, next_rpc: 1, disk_is_lost: false }
    }
}

impl World {
    /// Time for a fault, and for planning the next one.
    pub fn next_fault(&mut self) {
        if self.healed {
            return;
        }
        let mean = self.options.fault_pause;
        let pause = self.up_to(mean * 2);
        self.schedule_in(pause, Happening::Fault);
        let total: u64 = self.options.fault_weights.iter().sum();
        if total == 0 {
            return;
        }
        let mut at = self.nemesis.prng.below(total);
        for (fault, weight) in FAULTS.iter().zip(self.options.fault_weights.clone()) {
            if at < weight {
                return self.strike(*fault);
            }
            at -= weight;
        }
    }

    fn anyone(&mut self) -> NodeId {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        ids[self.nemesis.prng.below(ids.len() as u64) as usize]
    }

    /// Who leads, as far as a node that leads says.
    pub fn leader(&self) -> Option<NodeId> {
        let status = self.hosts.values().filter_map(|host| Some((host, host.process.as_ref()?)));
        let leads = status.filter(|(_, process)| process.node.raft().is_leader());
        leads.max_by_key(|(_, process)| process.node.raft().epoch()).map(|(host, _)| host.id)
    }

    fn strike(&mut self, fault: Fault) {
        let victim = match fault {
            Fault::CrashLeader | Fault::FreezeLeader | Fault::IsolateLeader => self.leader(),
            Fault::Transfer | Fault::AddVoter | Fault::RemoveVoter => self.leader(),
            _ => Some(self.anyone()),
        };
        let Some(victim) = victim else { return };
        match fault {
            Fault::Crash | Fault::CrashLeader => {
                if self.hosts[&victim].process.is_some() {
                    self.crash(victim, "the nemesis");
                }
            }
            Fault::CrashAll => {
                for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                    if self.hosts[&id].process.is_some() {
                        self.crash(id, "the nemesis takes all");
                    }
                }
            }
            Fault::Split => self.split(),
            Fault::IsolateLeader => {
                let with_clients = self.nemesis.prng.chance(1, 2);
                let others: Vec<NodeId> = match with_clients {
                    true => self.hosts.keys().copied().collect(),
                    false => self.everybody(),
                };
                for other in others {
                    self.cut(victim, other);
                    self.cut(other, victim);
                }
                self.note_cut("the leader is isolated");
            }
            Fault::CutOneWay => {
                let everybody = self.everybody();
                let other = everybody[self.nemesis.prng.below(everybody.len() as u64) as usize];
                if self.nemesis.prng.chance(1, 2) {
                    self.cut(victim, other);
                } else {
                    self.cut(other, victim);
                }
                self.note_cut("one way");
            }
            Fault::Mend => self.mend_network(),
            Fault::Freeze | Fault::FreezeLeader => {
                let most = if self.nemesis.prng.chance(1, 3) { 10_000 } else { 3_000 };
                let pause = Duration::from_millis(self.nemesis.prng.below(most));
                let until = self.now + pause;
                let host = self.hosts.get_mut(&victim).expect("it exists");
                if host.process.is_some() {
                    host.frozen_until = Some(until);
                    let what = format!("is stopped for {} ms", pause.as_millis());
                    self.note(&who(victim), &what);
                }
            }
            Fault::ClockJump => {
                let jump = self.nemesis.prng.below(7_200_000).cast_signed() - 3_600_000;
                let host = self.hosts.get_mut(&victim).expect("it exists");
                host.wall_offset_ms = jump;
                self.note(&who(victim), &format!("wall clock is {jump} ms off"));
            }
            Fault::Transfer => {
                let to = self.nemesis.prng.chance(1, 2).then(|| self.anyone());
                self.step_unless_frozen(victim, Event::TransferLeader { to });
            }
            Fault::Terminate => self.step_unless_frozen(victim, Event::Shutdown),
            Fault::AddVoter | Fault::RemoveVoter => self.change_voters(fault, victim),
            Fault::RaiseKraftVersion => self.raise_kraft_version(victim),
            Fault::Broker => {
                let ids: Vec<NodeId> = self.brokers.keys().copied().collect();
                let id = ids[self.nemesis.prng.below(ids.len() as u64) as usize];
                self.trouble_broker(id);
            }
            Fault::LoseDisk => self.lose_disk(victim),
            Fault::FillDisk | Fault::FailSyncs => self.make_disk_ail(fault, victim),
        }
    }

    /// Only where the quorum must bear it: one disk, of a voter among at least three that all hold
    /// data, and while nobody changes the voter set.
    fn lose_disk(&mut self, victim: NodeId) {
        let is_quiet = FAULTS.iter().zip(&self.options.fault_weights).all(|(fault, weight)| {
            !matches!(fault, Fault::AddVoter | Fault::RemoveVoter | Fault::RaiseKraftVersion)
                || *weight == 0
        });
        let all_hold_data = self.options.voter_ids().all(|id| self.invariants.holds_data(id));
        if victim > self.options.voter_count
            || self.options.voter_count < 3
            || self.nemesis.disk_is_lost
            || self.options.auto_join
            || self.options.without_pre_vote.contains(&victim)
            || !is_quiet
            || !all_hold_data
        {
            return;
        }
        self.nemesis.disk_is_lost = true;
        if self.hosts[&victim].process.is_some() {
            self.crash(victim, "its disk is lost");
        }
        self.replace_disk(victim);
    }

    /// Full, or failing to sync. What was not synced may be synced later: a kernel that forgets a failed
    /// write after it told of it once is not simulated.
    fn make_disk_ail(&mut self, fault: Fault, victim: NodeId) {
        let pause = Duration::from_millis(self.nemesis.prng.below(5000));
        self.schedule_in(pause, Happening::DiskWell { node: victim });
        let host = self.hosts.get_mut(&victim).expect("it exists");
        host.disk_ails = true;
        let what = if fault == Fault::FillDisk {
            host.disk.set_full(true);
            "disk is full"
        } else {
            host.disk.set_failing_syncs(true);
            "disk fails to sync"
        };
        self.note(&who(victim), &format!("{what} for {} ms", pause.as_millis()));
    }

    /// The disk has room again, and syncs.
    pub fn disk_well(&mut self, id: NodeId) {
        let disk = &self.hosts[&id].disk;
        disk.set_full(false);
        disk.set_failing_syncs(false);
    }

    fn step_unless_frozen(&mut self, id: NodeId, event: Event) {
        let host = &self.hosts[&id];
        let frozen = host.frozen_until.is_some_and(|until| until > self.now);
        if host.process.is_some() && !frozen {
            self.step(id, event);
        }
    }

    fn split(&mut self) {
        let everybody = self.everybody();
        let side: BTreeSet<NodeId> =
            everybody.iter().copied().filter(|_| self.nemesis.prng.chance(1, 2)).collect();
        for a in &everybody {
            for b in everybody.iter().filter(|b| side.contains(a) != side.contains(b)) {
                self.cut(*a, *b);
            }
        }
        let side: Vec<String> = side.into_iter().map(who).collect();
        self.note("--", &format!("split: {} | the others", side.join(" ")));
    }

    fn change_voters(&mut self, fault: Fault, leader: NodeId) {
        let subject = self.anyone();
        let process = self.hosts[&leader].process.as_ref().expect("it leads");
        let voters = process.node.raft().voters();
        let known = voters.get(subject).and_then(|voter| voter.key.directory_id);
        let request = if fault == Fault::AddVoter {
            AnyRequest::AddRaftVoter(AddRaftVoterRequest {
                cluster_id: cluster_id(),
                timeout_ms: 5000,
                voter_id: subject,
                voter_directory_id: self.hosts[&subject].directory_id,
                listeners: vec![Listener {
                    name: "CONTROLLER".into(),
                    host: host_name(subject).into(),
                    port: PORT,
                    ..Default::default()
                }],
                ack_when_committed: true,
                ..Default::default()
            })
        } else {
            // One without pre-vote that does not learn of its removal stands for ever, in epochs that
            // the leader never hears of, with whoever it takes for a voter: so it is with Kafka's.
            if voters.len() < 2 || self.options.without_pre_vote.contains(&subject) {
                return;
            }
            AnyRequest::RemoveRaftVoter(RemoveRaftVoterRequest {
                cluster_id: cluster_id(),
                voter_id: subject,
                voter_directory_id: known.unwrap_or(self.hosts[&subject].directory_id),
                ..Default::default()
            })
        };
        self.operator_asks(leader, &request, &format!("{fault:?} c{subject}"));
    }

    fn raise_kraft_version(&mut self, to: NodeId) {
        if self.options.voters == Voters::Dynamic && self.nemesis.prng.chance(9, 10) {
            return;
        }
        let request = AnyRequest::UpdateFeatures(UpdateFeaturesRequest {
            timeout_ms: 5000,
            feature_updates: vec![FeatureUpdateKey {
                feature: "kraft.version".into(),
                max_version_level: 1,
                upgrade_type: 1,
                ..Default::default()
            }],
            ..Default::default()
        });
        let to = self.leader().unwrap_or(to);
        self.operator_asks(to, &request, "kraft.version 1");
    }

    fn operator_asks(&mut self, to: NodeId, request: &AnyRequest, what: &str) {
        let rpc = self.nemesis.next_rpc;
        self.nemesis.next_rpc += 1;
        self.note("op", &format!("asks c{to}: {what} (#{rpc})"));
        self.call(OPERATOR, rpc, to, request, Duration::from_secs(6));
    }

    /// All faults end.
    pub fn heal(&mut self) {
        self.note("--", "HEALED: no more faults");
        self.healed = true;
        self.mend_network();
        self.network.loss_per_mille = 0;
        self.network.straggler_per_mille = 0;
        self.options.slow_sync_per_mille = 0;
        self.options.sync_max = self.options.sync_max.min(Duration::from_millis(5));
        self.network.latency_max = self.network.latency_max.min(Duration::from_millis(5));
        let now = self.now;
        for broker in self.brokers.values_mut() {
            broker.silent_until = now;
        }
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.disk_well(id);
            let host = self.hosts.get_mut(&id).expect("it exists");
            host.frozen_until = None;
            match &host.process {
                Some(process) => process.disk.spare(),
                None => self.schedule_in(Duration::from_millis(1), Happening::Boot { node: id }),
            }
        }
    }
}
