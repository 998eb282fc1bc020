use crate::Contradiction;
use quorate_base::{NodeId, Uuid};
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::{PartitionChangeRecord, PartitionRecord};
use std::fmt;
use std::sync::Arc;

/// Whether the leader knows that it has all that was acknowledged (KIP-704).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum RecoveryState {
    /// The usual state, 0.
    #[default]
    Recovered,
    /// After an unclean election, until the leader has recovered, 1.
    Recovering,
}

impl RecoveryState {
    /// Kafka's number.
    pub const fn number(self) -> i8 {
        match self {
            RecoveryState::Recovered => 0,
            RecoveryState::Recovering => 1,
        }
    }

    /// By Kafka's number.
    pub fn from_i8(number: i8) -> Option<RecoveryState> {
        match number {
            0 => Some(RecoveryState::Recovered),
            1 => Some(RecoveryState::Recovering),
            _ => None,
        }
    }
}

/// A partition's state spelled out, to be built or taken apart. [`Partition`] is the compact form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionState {
    /// Assigned brokers, the preferred leader first. Never empty.
    pub replicas: Vec<NodeId>,
    /// The log directory of each replica, by position.
    pub directories: Vec<Uuid>,
    /// In-sync replicas.
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment will remove.
    pub removing: Vec<NodeId>,
    /// Replicas that a reassignment has added.
    pub adding: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<NodeId>,
    /// Last known eligible leader replicas (KIP-966).
    pub last_known_elr: Vec<NodeId>,
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Whether the leader has recovered.
    pub recovery: RecoveryState,
    /// Goes up with each recorded leader.
    pub leader_epoch: i32,
    /// Goes up with each change.
    pub partition_epoch: i32,
}

/// A partition's state in the image: 88 bytes and a counted pointer for up to three replicas without
/// a reassignment or eligible leader replicas, which is what nearly all partitions of a large cluster
/// are; others are kept spelled out.
#[derive(Clone, PartialEq, Eq)]
pub struct Partition(Arc<Stored>);

/// How many replicas fit the compact form.
const INLINE: usize = 3;

#[derive(Clone, PartialEq, Eq)]
enum Stored {
    Compact(Compact),
    Full(Box<PartitionState>),
}

/// Entries beyond the counts are zero, so that the derived equality holds.
#[derive(Clone, PartialEq, Eq)]
struct Compact {
    leader: NodeId,
    leader_epoch: i32,
    partition_epoch: i32,
    replicas: [NodeId; INLINE],
    isr: [NodeId; INLINE],
    directories: [Uuid; INLINE],
    replica_count: u8,
    isr_count: u8,
    recovery: RecoveryState,
}

const NO_LEADER: NodeId = -1;
const _: () = assert!(size_of::<Stored>() == 88, "two million of these must fit the memory goal");

impl Partition {
    /// Checks that there is a replica, and a directory for each.
    pub fn new(state: PartitionState) -> Result<Partition, Contradiction> {
        let (replicas, directories) = (state.replicas.len(), state.directories.len());
        if replicas == 0 {
            return Err(Contradiction::NoReplicas);
        }
        if replicas != directories {
            return Err(Contradiction::DirectoryCount { replicas, directories });
        }
        let stored = match Compact::of(&state) {
            Some(compact) => Stored::Compact(compact),
            None => Stored::Full(Box::new(state)),
        };
        Ok(Partition(Arc::new(stored)))
    }

    /// Assigned brokers, the preferred leader first. Never empty.
    pub fn replicas(&self) -> &[NodeId] {
        match &*self.0 {
            Stored::Compact(it) => &it.replicas[..usize::from(it.replica_count)],
            Stored::Full(it) => &it.replicas,
        }
    }

    /// The log directory of each replica, by position.
    pub fn directories(&self) -> &[Uuid] {
        match &*self.0 {
            Stored::Compact(it) => &it.directories[..usize::from(it.replica_count)],
            Stored::Full(it) => &it.directories,
        }
    }

    /// The log directory of the replica on a broker; `None` if there is no replica.
    pub fn directory_on(&self, broker: NodeId) -> Option<Uuid> {
        let at = self.replicas().iter().position(|it| *it == broker)?;
        self.directories().get(at).copied()
    }

    /// In-sync replicas.
    pub fn isr(&self) -> &[NodeId] {
        match &*self.0 {
            Stored::Compact(it) => &it.isr[..usize::from(it.isr_count)],
            Stored::Full(it) => &it.isr,
        }
    }

    /// Replicas that a reassignment has added.
    pub fn adding(&self) -> &[NodeId] {
        self.full().map_or(&[], |it| &it.adding)
    }

    /// Replicas that a reassignment will remove.
    pub fn removing(&self) -> &[NodeId] {
        self.full().map_or(&[], |it| &it.removing)
    }

    /// Eligible leader replicas.
    pub fn elr(&self) -> &[NodeId] {
        self.full().map_or(&[], |it| &it.elr)
    }

    /// Last known eligible leader replicas.
    pub fn last_known_elr(&self) -> &[NodeId] {
        self.full().map_or(&[], |it| &it.last_known_elr)
    }

    fn full(&self) -> Option<&PartitionState> {
        match &*self.0 {
            Stored::Compact(_) => None,
            Stored::Full(it) => Some(it),
        }
    }

    /// The leader, if there is one.
    pub fn leader(&self) -> Option<NodeId> {
        match &*self.0 {
            Stored::Compact(it) => (it.leader != NO_LEADER).then_some(it.leader),
            Stored::Full(it) => it.leader,
        }
    }

    /// Goes up with each recorded leader.
    pub fn leader_epoch(&self) -> i32 {
        match &*self.0 {
            Stored::Compact(it) => it.leader_epoch,
            Stored::Full(it) => it.leader_epoch,
        }
    }

    /// Goes up with each change.
    pub fn partition_epoch(&self) -> i32 {
        match &*self.0 {
            Stored::Compact(it) => it.partition_epoch,
            Stored::Full(it) => it.partition_epoch,
        }
    }

    /// Whether the leader has recovered after an unclean election.
    pub fn leader_recovery_state(&self) -> RecoveryState {
        match &*self.0 {
            Stored::Compact(it) => it.recovery,
            Stored::Full(it) => it.recovery,
        }
    }

    /// The preferred leader: the first replica.
    pub fn preferred(&self) -> NodeId {
        self.replicas()[0]
    }

    /// True if the leader is the preferred one.
    pub fn has_preferred_leader(&self) -> bool {
        self.leader() == Some(self.preferred())
    }

    /// True while replicas are being added or removed.
    pub fn is_reassigning(&self) -> bool {
        !self.adding().is_empty() || !self.removing().is_empty()
    }

    /// True if there are eligible leader replicas, or last known ones.
    pub fn has_elr(&self) -> bool {
        !self.elr().is_empty() || !self.last_known_elr().is_empty()
    }

    /// True if the broker has a replica.
    pub fn is_on(&self, broker: NodeId) -> bool {
        self.replicas().contains(&broker)
    }

    /// Everything spelled out.
    pub fn to_state(&self) -> PartitionState {
        match &*self.0 {
            Stored::Full(it) => (**it).clone(),
            Stored::Compact(it) => PartitionState {
                replicas: self.replicas().to_vec(),
                directories: self.directories().to_vec(),
                isr: self.isr().to_vec(),
                leader: self.leader(),
                recovery: it.recovery,
                leader_epoch: it.leader_epoch,
                partition_epoch: it.partition_epoch,
                ..PartitionState::default()
            },
        }
    }

    pub(crate) fn of_record(record: &PartitionRecord) -> Result<Partition, Contradiction> {
        Partition::new(PartitionState {
            directories: all_or_migrating(record.directories.clone(), record.replicas.len()),
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing: record.removing_replicas.clone(),
            adding: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: leader(record.leader)?,
            recovery: recovery(record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        })
    }

    /// The partition after a change: a recorded leader, even the same one, raises the leader epoch, and
    /// any change raises the partition epoch.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Result<Partition, Contradiction> {
        let mut state = self.to_state();
        let set = |target: &mut Vec<NodeId>, source: &Option<Vec<NodeId>>| {
            if let Some(source) = source {
                target.clone_from(source);
            }
        };
        set(&mut state.replicas, &change.replicas);
        set(&mut state.isr, &change.isr);
        set(&mut state.removing, &change.removing_replicas);
        set(&mut state.adding, &change.adding_replicas);
        set(&mut state.elr, &change.eligible_leader_replicas);
        set(&mut state.last_known_elr, &change.last_known_elr);
        let directories = change.directories.clone().unwrap_or(state.directories);
        state.directories = all_or_migrating(directories, state.replicas.len());
        if change.leader != LEADER_UNCHANGED {
            state.leader = leader(change.leader)?;
            state.leader_epoch = next(state.leader_epoch, "leaderEpoch")?;
        }
        if change.leader_recovery_state != RECOVERY_UNCHANGED {
            state.recovery = recovery(change.leader_recovery_state)?;
        }
        state.partition_epoch = next(state.partition_epoch, "partitionEpoch")?;
        Partition::new(state)
    }

    /// The record that makes this partition, without what `version` cannot say.
    pub fn to_record(
        &self,
        topic_id: Uuid,
        partition_id: i32,
        version: MetadataVersion,
    ) -> MetadataRecord {
        let elr =
            |list: &[NodeId]| (version.supports_elr() && !list.is_empty()).then(|| list.to_vec());
        MetadataRecord::Partition(PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas().to_vec(),
            isr: self.isr().to_vec(),
            removing_replicas: self.removing().to_vec(),
            adding_replicas: self.adding().to_vec(),
            leader: self.leader().unwrap_or(NO_LEADER),
            leader_recovery_state: self.leader_recovery_state().number(),
            leader_epoch: self.leader_epoch(),
            partition_epoch: self.partition_epoch(),
            directories: match version.supports_directories() {
                true => self.directories().to_vec(),
                false => Vec::new(),
            },
            eligible_leader_replicas: elr(self.elr()),
            last_known_elr: elr(self.last_known_elr()),
            ..Default::default()
        })
    }
}

impl Compact {
    fn of(state: &PartitionState) -> Option<Compact> {
        let compact = [&state.removing, &state.adding, &state.elr, &state.last_known_elr]
            .iter()
            .all(|it| it.is_empty());
        if !compact || state.replicas.len() > INLINE || state.isr.len() > INLINE {
            return None;
        }
        let ids = |from: &[NodeId]| {
            let mut out = [0; INLINE];
            out[..from.len()].copy_from_slice(from);
            out
        };
        let mut directories = [Uuid::ZERO; INLINE];
        directories[..state.directories.len()].copy_from_slice(&state.directories);
        Some(Compact {
            leader: state.leader.unwrap_or(NO_LEADER),
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            replicas: ids(&state.replicas),
            isr: ids(&state.isr),
            directories,
            replica_count: u8::try_from(state.replicas.len()).ok()?,
            isr_count: u8::try_from(state.isr.len()).ok()?,
            recovery: state.recovery,
        })
    }
}

/// In a `PartitionChangeRecord`: leader and leader epoch stay.
const LEADER_UNCHANGED: i32 = -2;
/// In a `PartitionChangeRecord`: the recovery state stays.
const RECOVERY_UNCHANGED: i8 = -1;

/// Records of before directory ids carry none, which counts as "migrating" for every replica; such a
/// list follows the number of replicas.
fn all_or_migrating(directories: Vec<Uuid>, replicas: usize) -> Vec<Uuid> {
    match directories.iter().all(|it| *it == Uuid::DIR_MIGRATING) {
        true => vec![Uuid::DIR_MIGRATING; replicas],
        false => directories,
    }
}

fn leader(value: i32) -> Result<Option<NodeId>, Contradiction> {
    match value {
        NO_LEADER => Ok(None),
        0.. => Ok(Some(value)),
        _ => Err(Contradiction::MeaninglessValue { field: "leader", value: i64::from(value) }),
    }
}

fn recovery(value: i8) -> Result<RecoveryState, Contradiction> {
    RecoveryState::from_i8(value).ok_or(Contradiction::MeaninglessValue {
        field: "leaderRecoveryState",
        value: i64::from(value),
    })
}

fn next(epoch: i32, name: &'static str) -> Result<i32, Contradiction> {
    epoch.checked_add(1).ok_or(Contradiction::CounterExhausted(name))
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_state().fmt(f)
    }
}
