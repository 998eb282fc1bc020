//! What one seed stands for: every option is drawn from it, the probabilities of faults included, so
//! that some seeds are all crashes and others all partitions (swarm testing).

use crate::mutant::Mutant;
use quorate_base::{NodeId, Prng};
use std::time::Duration;

/// How the quorum knows its voters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voters {
    /// `controller.quorum.voters`, kraft.version 0.
    Static,
    /// Formatted with `--initial-controllers`, kraft.version 1.
    Dynamic,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything below, and all that happens, comes from this.
    pub seed: u64,
    /// A bug put in on purpose.
    pub mutant: Option<Mutant>,
    /// How the quorum knows its voters.
    pub voters: Voters,
    /// How many voters there are at first: 1 to 7.
    pub voter_count: i32,
    /// Controllers that are no voters at first.
    pub observer_count: i32,
    /// Model brokers.
    pub broker_count: i32,
    /// Model admin clients.
    pub admin_count: i32,
    /// How long faults are injected.
    pub trouble: Duration,
    /// Mean of the pause between two faults.
    pub fault_pause: Duration,
    /// Relative weights of the faults, in the order of `nemesis::FAULTS`.
    pub fault_weights: Vec<u64>,
    /// Largest usual latency of a message.
    pub latency_max: Duration,
    /// Chance in 1000 that a message takes up to seconds.
    pub straggler_per_mille: u64,
    /// Chance in 1000 that a message is lost (its connection hangs until the timeout).
    pub loss_per_mille: u64,
    /// Chance in 1000 that a reset or a refusal is also reported as `PeerDown`.
    pub peer_down_per_mille: u64,
    /// Largest usual time of a sync.
    pub sync_max: Duration,
    /// Chance in 1000 that a sync takes up to a second.
    pub slow_sync_per_mille: u64,
    /// Chance in 100000 per executed action that the process dies before it.
    pub crash_per_action: u64,
    /// Chance in 100000 per disk operation that the process dies in it.
    pub crash_per_disk_op: u64,
    /// Share of 1000 of the crashes that are power failures; in the others the page cache lives.
    pub power_failure_per_mille: u64,
    /// Chance in 1000 that a start script deletes `quorum-state` before a start.
    pub start_script_per_mille: u64,
    /// Largest deviation of a node's monotonic clock, in ppm.
    pub drift_ppm: u64,
    /// `quorate.fast.failover`.
    pub fast_failover: bool,
    /// `controller.quorum.auto.join.enable` on nodes that are no voters at first.
    pub auto_join: bool,
    /// Bytes of log between snapshots.
    pub snapshot_bytes: u64,
    /// Time between snapshots; zero: by size only.
    pub snapshot_interval: Duration,
    /// `metadata.max.retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: u64,
    /// A snapshot that somebody reads stays, also while faults last.
    pub keeps_snapshots_in_use: bool,
    /// Controllers that know no pre-vote, as those of Kafka 3.9.
    pub without_pre_vote: Vec<NodeId>,
    /// How much of the log a node keeps in memory.
    pub tail_bytes: usize,
    /// Largest answer to a fetch.
    pub fetch_max_bytes: u32,
    /// Largest part of a snapshot.
    pub snapshot_chunk_bytes: u32,
    /// All timeouts of raft are Kafka's defaults times this / 100.
    pub timeout_percent: u32,
    /// Level of metadata.version in the bootstrap records; `None`: the newest production level.
    pub metadata_level: Option<i16>,
    /// Eligible leader replicas are switched on, with this `min.insync.replicas`.
    pub elr_with_min_insync: Option<i32>,
}

impl Options {
    /// Draws everything from the seed.
    pub fn draw(seed: u64) -> Options {
        let mut prng = Prng::new(seed ^ 0x0507_1045);
        let p = &mut prng;
        let voters = if p.chance(1, 2) { Voters::Static } else { Voters::Dynamic };
        let voter_count = *pick(p, &[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7]);
        let observer_count = *pick(p, &[0, 0, 1, 1, 2]);
        let weights = (0..crate::nemesis::FAULTS.len())
            .map(|_| if p.chance(1, 3) { 0 } else { 1 + p.below(10) })
            .collect();
        let node_count = voter_count + observer_count;
        let old = *pick(p, &[0, 0, 0, 1, 2, node_count]);
        let without_pre_vote = (1..=node_count).filter(|id| *id <= old).collect();
        let metadata_level = *pick(p, &[None, None, None, Some(7), Some(17)]);
        let elr = *pick(p, &[None, None, Some(1), Some(2)]);
        Options {
            seed,
            mutant: None,
            voters,
            voter_count,
            observer_count,
            broker_count: *pick(p, &[1, 2, 3, 3]),
            admin_count: *pick(p, &[1, 1, 2, 3]),
            trouble: Duration::from_secs(*pick(p, &[10, 20, 30, 45])),
            fault_pause: Duration::from_millis(*pick(p, &[50, 200, 500, 1000, 3000])),
            fault_weights: weights,
            latency_max: Duration::from_micros(*pick(p, &[300, 1_000, 5_000, 30_000])),
            straggler_per_mille: *pick(p, &[0, 0, 5, 30]),
            loss_per_mille: *pick(p, &[0, 0, 0, 5, 30, 100]),
            peer_down_per_mille: *pick(p, &[0, 500, 1000, 1000]),
            sync_max: Duration::from_micros(*pick(p, &[200, 2_000, 10_000, 50_000])),
            slow_sync_per_mille: *pick(p, &[0, 0, 10, 50]),
            crash_per_action: *pick(p, &[0, 0, 20, 100, 400]),
            crash_per_disk_op: *pick(p, &[0, 0, 20, 100, 400]),
            power_failure_per_mille: *pick(p, &[0, 300, 500, 1000]),
            start_script_per_mille: *pick(p, &[0, 0, 500, 1000]),
            drift_ppm: *pick(p, &[0, 0, 500, 50_000]),
            fast_failover: p.chance(3, 4),
            auto_join: p.chance(1, 3),
            snapshot_bytes: *pick(p, &[1_000, 4_000, 20_000, 1 << 20]),
            snapshot_interval: Duration::from_millis(*pick(p, &[0, 0, 2_000, 10_000])),
            retention_bytes: *pick(p, &[Some(1), Some(8_000), Some(30_000), None]),
            segment_bytes: *pick(p, &[1_000, 4_000, 50_000, 1 << 20]),
            keeps_snapshots_in_use: p.chance(1, 2),
            without_pre_vote,
            tail_bytes: *pick(p, &[1, 2_000, 1 << 20]),
            fetch_max_bytes: *pick(p, &[1, 1_000, 1 << 20]),
            snapshot_chunk_bytes: *pick(p, &[100, 1_000, 1 << 20]),
            timeout_percent: *pick(p, &[25, 100, 100]),
            metadata_level,
            elr_with_min_insync: elr.filter(|_| metadata_level.is_none()),
        }
    }

    /// The ids of the first voters.
    pub fn voter_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        1..=self.voter_count
    }

    /// The ids of all controllers.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        1..=self.voter_count + self.observer_count
    }
}

/// One of `from`.
pub fn pick<'a, T>(prng: &mut Prng, from: &'a [T]) -> &'a T {
    &from[prng.below(from.len() as u64) as usize]
}
