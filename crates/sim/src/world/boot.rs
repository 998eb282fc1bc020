//! Formatting, starting and ending controllers.

use super::host::{Host, Process};
use super::network::host_name;
use super::{CLUSTER, Down, Happening, PORT, World};
use crate::Voters;
use crate::disk::SimDisk;
use quorate_base::{NodeId, Prng, ReplicaKey, Time, Uuid};
use quorate_controller::{ControllerConfig, OwnRegistration};
use quorate_host::{SnapshotDesk, Votes, recover};
use quorate_metadata::{Listener, Str};
use quorate_node::{Node, NodeConfig, SnapshotPolicy};
use quorate_protocol::control::{Voter, VoterEndpoint};
use quorate_protocol::features::{self, MetadataVersion};
use quorate_protocol::records::FeatureLevelRecord;
use quorate_protocol::{KStr, MetadataRecord};
use quorate_raft::Endpoint;
use quorate_storage::{
    Disk, FormatSpec, InitialVoters, LogConfig, METADATA_DIR, MemDisk, NodeDir, NodeDirConfig,
    QUORUM_STATE, StorageError, VOTE, format, open_node_dir,
};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ROOT: &str = "/data";
const KRAFT_VERSION: (&str, (i16, i16)) = ("kraft.version", (0, 1));

/// The first directory of a node; later ones are drawn.
fn first_directory(id: NodeId) -> Uuid {
    Uuid::from_u128(0xd000_0000_0000_0000_0000 + u128::from(id.unsigned_abs()))
}

impl World {
    /// A new machine with a formatted disk.
    pub(super) fn format_host(&mut self, id: NodeId) {
        let disk = MemDisk::new();
        let is_voter = id <= self.options.voter_count;
        let initial_voters = match self.options.voters {
            Voters::Dynamic if is_voter => {
                InitialVoters::Explicit(self.options.voter_ids().map(voter).collect())
            }
            _ => InitialVoters::None,
        };
        let directory_id = self.format_disk(&disk, id, initial_voters);
        let drift = self.options.drift_ppm;
        let rate_ppm = 1_000_000 - drift + self.prng.below(2 * drift + 1);
        let host = Host {
            id,
            directory_id,
            disk,
            process: None,
            life: 0,
            down: Down::Process,
            frozen_until: None,
            wall_offset_ms: 0,
            rate_ppm,
            last_line: None,
            disk_ails: false,
        };
        self.hosts.insert(id, host);
    }

    /// The disk is lost, and a new one formatted, under a new directory id where there are such.
    pub fn replace_disk(&mut self, id: NodeId) {
        let disk = MemDisk::new();
        let directory_id = self.format_disk(&disk, id, InitialVoters::None);
        let host = self.hosts.get_mut(&id).expect("it exists");
        assert!(host.process.is_none(), "the disk of a running process is not replaced");
        host.disk = disk;
        host.disk_ails = false;
        host.directory_id = directory_id;
        self.invariants.disk_lost(id);
        self.note(&format!("c{id}"), "gets a new, empty disk");
    }

    fn format_disk(&mut self, disk: &MemDisk, id: NodeId, initial_voters: InitialVoters) -> Uuid {
        let spec = FormatSpec {
            cluster_id: CLUSTER.to_owned(),
            node_id: id,
            directories: vec![ROOT.into()],
            metadata_directory: ROOT.into(),
            initial_voters,
            bootstrap_records: self
                .bootstrap_records()
                .iter()
                .map(|record| record.encode_framed(0).expect("version 0 holds it"))
                .collect(),
            ignore_formatted: false,
        };
        let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let now_ms = self.wall_ms();
        let done = format(&dyn_disk, &spec, now_ms, &mut self.prng).expect("an empty disk");
        // Formatting was long ago: nothing of it is unsynced any more.
        disk.sync_dir(Path::new("/")).expect("a healthy disk");
        done[0].meta.directory_id.expect("just given")
    }

    fn bootstrap_records(&self) -> Vec<MetadataRecord> {
        let newest = MetadataVersion::LATEST_PRODUCTION.level();
        let level = |name: &str, feature_level| {
            let name = KStr::from(name);
            let record = FeatureLevelRecord { name, feature_level, ..Default::default() };
            MetadataRecord::FeatureLevel(record)
        };
        let mut records =
            vec![level("metadata.version", self.options.metadata_level.unwrap_or(newest))];
        if self.options.elr_with_min_insync.is_some() {
            records.push(level("eligible.leader.replicas.version", 1));
        }
        records
    }

    /// Starts the process of a machine. It may die while it starts.
    pub(super) fn boot(&mut self, id: NodeId) {
        if self.hosts[&id].process.is_some() {
            return;
        }
        let host = self.hosts.get_mut(&id).expect("it exists");
        host.life += 1;
        host.frozen_until = None;
        host.last_line = None;
        host.disk_ails = host.disk.is_ailing();
        if self.prng.chance(self.options.start_script_per_mille, 1000) {
            self.run_start_script(id);
        }
        let crash_per_op = if self.healed { 0 } else { self.options.crash_per_disk_op };
        let mut prng = Prng::new(self.prng.next_u64());
        let inner = self.hosts[&id].disk.clone();
        let disk = SimDisk::new(inner, Prng::new(prng.next_u64()), crash_per_op);
        let now_ms = self.wall_ms();
        let config = NodeDirConfig {
            root: ROOT.into(),
            other_roots: Vec::new(),
            node_id: id,
            cluster_id: Some(CLUSTER.to_owned()),
            log: LogConfig { segment_bytes: self.options.segment_bytes, segment_ms: i64::MAX },
        };
        let opened = open_node_dir(Arc::new(disk.clone()), &config, &mut prng, now_ms)
            .and_then(|dir| recover(&dir).map(|recovered| (dir, recovered)));
        let (dir, mut recovered) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.storage_failed(id, &disk, "while it starts", &error),
        };
        if dir.directory_id != self.hosts[&id].directory_id {
            panic!("c{id} has another directory id than it was formatted with");
        }
        if self.options.without_pre_vote.contains(&id) {
            // Such a controller does not ask whether its empty disk was lost: it votes at once.
            recovered.raft.quorum_state.get_or_insert_default();
        }
        self.invariants.recovered(id, &dir.reader, dir.newest_snapshot, &recovered);
        let node_config = self.node_config(id, &dir, prng.next_u64());
        let NodeDir { log, reader, snapshots, votes, lock, .. } = dir;
        let mut actions = Vec::new();
        let now = quorate_base::Now { time: Time::ZERO, wall_ms: now_ms };
        let node = Node::new(node_config, recovered, now, &mut actions);
        let started = self.now;
        let host = self.hosts.get_mut(&id).expect("it exists");
        host.process = Some(Process {
            node,
            disk,
            log,
            reader,
            desk: SnapshotDesk::new(snapshots, prng, now_ms),
            votes: Votes(votes),
            _lock: lock,
            started,
            rate_ppm: host.rate_ppm,
            timer: None,
            timer_generation: 0,
            replies: BTreeMap::new(),
            next_token: 1,
            queued: VecDeque::new(),
            disk_busy: false,
            written: None,
            generation: 0,
            snapshot_jobs: VecDeque::new(),
            disk_gone: false,
            ending: false,
            snapshot_busy: false,
            queue_time: started,
            published: [None, None],
        });
        self.carry_out(id, actions, "starts");
    }

    /// What some start scripts do on every start.
    fn run_start_script(&mut self, id: NodeId) {
        let forget = self.has(crate::Mutant::VoteForgotten);
        let disk = &self.hosts[&id].disk;
        let quorum_state = Path::new(ROOT).join(METADATA_DIR).join(QUORUM_STATE);
        if disk.remove(&quorum_state).is_ok() {
            if forget {
                disk.remove(&Path::new(ROOT).join(VOTE)).expect("both homes are there");
            }
            self.note(&format!("c{id}"), "a start script deletes quorum-state");
        }
    }

    /// Storage failed in a way that ends the process: because it died within it, because the disk ails,
    /// or that is a violation.
    pub(super) fn storage_failed(
        &mut self,
        id: NodeId,
        disk: &SimDisk,
        when: &str,
        error: &StorageError,
    ) {
        if disk.is_dead() {
            return self.crash(id, &format!("dies within a disk operation {when}"));
        }
        self.assert_disk_ails(id, when, &error.to_string());
        self.stop(id, &format!("stops, as its disk fails {when}: {error}"));
    }

    pub(super) fn assert_disk_ails(&self, id: NodeId, when: &str, why: &str) {
        assert!(self.hosts[&id].disk_ails, "c{id}'s storage fails {when} on a healthy disk: {why}");
    }

    /// The process ends by itself, and something starts it again.
    pub(super) fn stop(&mut self, id: NodeId, why: &str) {
        self.end_process(id, false, why);
        let pause = Duration::from_millis(1 + self.prng.below(3000));
        self.schedule_in(pause, Happening::Boot { node: id });
    }

    /// The process dies: power failure or kill, as the options' chances have it.
    pub fn crash(&mut self, id: NodeId, why: &str) {
        let power = self.prng.chance(self.options.power_failure_per_mille, 1000);
        self.end_process(id, power, why);
        let restart = Duration::from_millis(1 + self.prng.below(3000));
        self.schedule_in(restart, Happening::Boot { node: id });
    }

    /// Ends a process, if one runs.
    pub fn end_process(&mut self, id: NodeId, power_failure: bool, why: &str) {
        let host = self.hosts.get_mut(&id).expect("it exists");
        host.life += 1;
        host.frozen_until = None;
        host.last_line = None;
        if let Some(process) = host.process.take() {
            process.disk.kill();
        }
        host.down = if power_failure { Down::Machine } else { Down::Process };
        if power_failure {
            host.disk.crash(&mut self.prng);
        }
        let down = self.hosts[&id].down;
        let how = if power_failure { "power failure" } else { "killed" };
        self.note(&format!("c{id}"), &format!("DOWN ({how}): {why}"));
        self.drop_calls(id, down);
    }

    fn node_config(&self, id: NodeId, dir: &NodeDir, seed: u64) -> NodeConfig {
        NodeConfig {
            raft: self.raft_config(id, dir.directory_id, seed),
            controller: self.controller_config(id, seed),
            snapshots: SnapshotPolicy {
                max_bytes_between: self.options.snapshot_bytes,
                max_interval: self.options.snapshot_interval,
            },
            tail_max_bytes: self.options.tail_bytes,
        }
    }

    fn raft_config(&self, id: NodeId, directory_id: Uuid, seed: u64) -> quorate_raft::Config {
        let options = &self.options;
        let mut config = quorate_raft::Config::new(id, directory_id, CLUSTER);
        let name = "CONTROLLER".to_owned();
        config.listeners = vec![Endpoint { name, host: host_name(id), port: PORT }];
        let servers = options.voter_ids().map(|id| (host_name(id), PORT));
        match options.voters {
            Voters::Static => {
                let voters = options.voter_ids().map(|id| (id, host_name(id), PORT));
                config.static_voters = Some(voters.collect());
            }
            Voters::Dynamic => config.bootstrap_servers = servers.collect(),
        }
        for timeout in [
            &mut config.election_timeout,
            &mut config.election_backoff_max,
            &mut config.fetch_timeout,
            &mut config.request_timeout,
        ] {
            *timeout = *timeout * options.timeout_percent / 100;
        }
        // Kafka's leaders hold fetches for 500 ms, which the fetch timeout must exceed clearly.
        config.fetch_timeout = config.fetch_timeout.max(Duration::from_millis(1200));
        config.fetch_max_bytes = options.fetch_max_bytes;
        config.fetch_snapshot_max_bytes = options.snapshot_chunk_bytes;
        config.fast_failover = options.fast_failover;
        config.auto_join = options.auto_join && options.voters == Voters::Dynamic;
        config.seed = seed;
        #[cfg(feature = "mutants")]
        if let Some(crate::Mutant::Raft(mutant)) = options.mutant {
            config.mutant = Some(mutant);
        }
        config
    }

    fn controller_config(&self, id: NodeId, seed: u64) -> ControllerConfig {
        let supported: BTreeMap<Str, (i16, i16)> = features::advertised()
            .filter(|(name, ..)| *name != KRAFT_VERSION.0)
            .map(|(name, min, max)| (Str::from(name), (min, max)))
            .collect();
        let mut registered = supported.clone();
        registered.insert(Str::from(KRAFT_VERSION.0), KRAFT_VERSION.1);
        ControllerConfig {
            node_id: id,
            cluster_id: Str::from(CLUSTER),
            own_registration: OwnRegistration {
                incarnation_id: Uuid::random(&mut Prng::new(!seed)),
                listeners: vec![Listener {
                    name: Str::from("CONTROLLER"),
                    host: Str::from(host_name(id).as_str()),
                    port: PORT,
                    security_protocol: 0,
                }],
                features: registered,
            },
            supported_features: supported,
            bootstrap_records: self.bootstrap_records(),
            min_insync_replicas: self.options.elr_with_min_insync.unwrap_or(1),
            ..ControllerConfig::default()
        }
    }
}

fn voter(id: NodeId) -> Voter {
    Voter {
        key: ReplicaKey { id, directory_id: Some(first_directory(id)) },
        endpoints: vec![VoterEndpoint {
            name: "CONTROLLER".into(),
            host: host_name(id),
            port: PORT,
        }],
        min_kraft_version: 0,
        max_kraft_version: 1,
    }
}
