//! What becomes of one partition: from where it is and where it should go to the one record that
//! takes it there, with the leader elected on the way (KIP-497, 704, 841, 858, 966).
//!
//! Every change of a partition is built here, whoever asks for it: a leader that alters its ISR, a
//! broker that is fenced, a reassignment, an election. The steps and their order are Kafka's, because
//! they decide which fields the record carries and therefore whether the leader epoch moves:
//!
//! 1. finish the reassignment if the target ISR holds what it needs,
//! 2. recompute the eligible leader replicas (ELR),
//! 3. elect a leader,
//! 4. bump the leader epoch where replicas left (and, below 3.6-IV0, where the ISR shrank).

use crate::reassignment::Reassignment;
use quorate_base::{NodeId, Uuid};
use quorate_metadata::{Partition, RecoveryState};
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::PartitionChangeRecord;

/// `Leader` of a PartitionChangeRecord that leaves the leader alone.
pub const NO_LEADER_CHANGE: NodeId = -2;
/// `Leader` of a record that leaves the partition without one.
pub const NO_LEADER: NodeId = -1;
/// `LeaderRecoveryState` of a PartitionChangeRecord that leaves it alone.
const NO_RECOVERY_CHANGE: i8 = -1;

/// Who may become leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Election {
    /// The first replica if it is eligible, else as `Online`.
    Preferred,
    /// The current leader if it still is eligible, else the first eligible replica.
    Online,
    /// As `Online`, and if nobody is eligible, the first live replica: records may be lost.
    Unclean,
}

/// What the cluster says about a partition's replicas and rules.
pub struct Surroundings<'a> {
    /// The finalised metadata.version.
    pub metadata_version: MetadataVersion,
    /// `eligible.leader.replicas.version` is 1 or above.
    pub elr_enabled: bool,
    /// Effective `min.insync.replicas` of the topic.
    pub min_isr: usize,
    /// True for a broker that is live and has the replica's directory online.
    pub may_lead: &'a dyn Fn(NodeId) -> bool,
    /// The directory of a replica newly placed on a broker.
    pub default_directory: &'a dyn Fn(NodeId) -> Uuid,
}

/// One partition's change in the making. Set the targets, then [`PartitionChange::build`].
pub struct PartitionChange<'a> {
    partition: &'a Partition,
    topic_id: Uuid,
    index: i32,
    around: &'a Surroundings<'a>,
    election: Election,
    isr: Vec<NodeId>,
    replicas: Vec<NodeId>,
    removing: Vec<NodeId>,
    adding: Vec<NodeId>,
    elr: Vec<NodeId>,
    recovery: RecoveryState,
    directory: Option<(NodeId, Uuid)>,
    unclean_shutdown: Option<NodeId>,
}

struct Elected {
    leader: NodeId,
    unclean: bool,
}

impl<'a> PartitionChange<'a> {
    /// Nothing changes yet; the election is [`Election::Online`].
    pub fn new(
        partition: &'a Partition,
        topic_id: Uuid,
        index: i32,
        around: &'a Surroundings<'a>,
    ) -> PartitionChange<'a> {
        PartitionChange {
            partition,
            topic_id,
            index,
            around,
            election: Election::Online,
            isr: partition.isr().to_vec(),
            replicas: partition.replicas().to_vec(),
            removing: partition.removing().to_vec(),
            adding: partition.adding().to_vec(),
            elr: partition.elr().to_vec(),
            recovery: partition.leader_recovery_state(),
            directory: None,
            unclean_shutdown: None,
        }
    }

    /// The ISR to have.
    pub fn isr(mut self, isr: Vec<NodeId>) -> Self {
        self.isr = isr;
        self
    }

    /// The replicas to have, those being removed included.
    pub fn replicas(mut self, replicas: Vec<NodeId>) -> Self {
        self.replicas = replicas;
        self
    }

    /// The replicas on their way out.
    pub fn removing(mut self, removing: Vec<NodeId>) -> Self {
        self.removing = removing;
        self
    }

    /// The replicas on their way in.
    pub fn adding(mut self, adding: Vec<NodeId>) -> Self {
        self.adding = adding;
        self
    }

    /// Who may be elected.
    pub fn election(mut self, election: Election) -> Self {
        self.election = election;
        self
    }

    /// The leader recovery state to have (KIP-704).
    pub fn recovery(mut self, recovery: RecoveryState) -> Self {
        self.recovery = recovery;
        self
    }

    /// A broker that came back without having shut down cleanly: it may have lost records it once
    /// acknowledged, so it is no eligible leader (KIP-966).
    pub fn unclean_shutdown(mut self, broker: NodeId) -> Self {
        self.unclean_shutdown = Some(broker);
        self
    }

    /// The directory that a replica lies in (KIP-858).
    pub fn directory(mut self, broker: NodeId, directory: Uuid) -> Self {
        self.directory = Some((broker, directory));
        self
    }

    /// The record that carries this out; `None` if nothing changes.
    pub fn build(mut self) -> Option<PartitionChangeRecord> {
        let mut record = PartitionChangeRecord {
            topic_id: self.topic_id,
            partition_id: self.index,
            ..Default::default()
        };
        self.complete_reassignment();
        self.update_elr();
        self.elect(&mut record);
        self.bump_epoch_if_replicas_left(&mut record);
        self.write_elr(&mut record);
        // Without ELR an ISR is never written empty: its last members stay in it, as the only ones
        // that are known to hold everything.
        if record.isr.is_none()
            && (!self.isr.is_empty() || self.around.elr_enabled)
            && self.isr != self.partition.isr()
        {
            record.isr = Some(self.isr.clone());
        }
        self.bump_epoch_if_isr_shrank(&mut record);
        self.write_last_known_leader(&mut record);
        self.write_assignment(&mut record);
        if self.recovery != self.partition.leader_recovery_state() {
            record.leader_recovery_state = self.recovery.number();
        }
        changes_something(&record).then_some(record)
    }

    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let reassignment = Reassignment {
            replicas: self.replicas.clone(),
            removing: self.removing.clone(),
            adding: self.adding.clone(),
        };
        if let Some(completed) = reassignment.complete(&self.isr) {
            self.isr = completed.isr;
            self.replicas = completed.replicas;
            self.removing = Vec::new();
            self.adding = Vec::new();
        }
    }

    /// The ELR is everyone who left the ISR since it fell below `min.insync.replicas`: from there on
    /// the high watermark stands still, so they hold every committed record.
    fn update_elr(&mut self) {
        if !self.around.elr_enabled {
            return;
        }
        if self.isr.len() >= self.around.min_isr {
            self.elr = Vec::new();
            return;
        }
        let candidates = union_in_kafkas_order(&self.elr, self.partition.isr());
        self.elr = candidates
            .into_iter()
            .filter(|it| !self.isr.contains(it) && self.unclean_shutdown != Some(*it))
            .collect();
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord) {
        let elected = match self.election {
            Election::Preferred => self.elect_preferred(),
            Election::Online | Election::Unclean => self.elect_any(),
        };
        if elected.leader == leader_id(self.partition) {
            return;
        }
        if self.elr.contains(&elected.leader) {
            self.isr = vec![elected.leader];
            self.elr.retain(|it| *it != elected.leader);
        }
        record.leader = elected.leader;
        if elected.unclean {
            // Whoever else was in the ISR may now hold records that this leader never saw.
            record.isr = Some(vec![elected.leader]);
            if self.partition.leader_recovery_state() != RecoveryState::Recovering {
                record.leader_recovery_state = RecoveryState::Recovering.number();
            }
        }
    }

    fn elect_preferred(&self) -> Elected {
        let current = leader_id(self.partition);
        let clean = |leader| Elected { leader, unclean: false };
        if let Some(preferred) = self.replicas.first().copied().filter(|it| self.is_eligible(*it)) {
            return clean(preferred);
        }
        if self.is_eligible(current) {
            return clean(current);
        }
        if let Some(replica) =
            self.replicas.iter().skip(1).copied().find(|it| self.is_eligible(*it))
        {
            return clean(replica);
        }
        if let Some(leader) = self.last_known_leader() {
            return Elected { leader, unclean: true };
        }
        clean(NO_LEADER)
    }

    fn elect_any(&self) -> Elected {
        let current = leader_id(self.partition);
        let clean = |leader| Elected { leader, unclean: false };
        if self.is_eligible(current) {
            return clean(current);
        }
        if let Some(replica) = self.replicas.iter().copied().find(|it| self.is_eligible(*it)) {
            return clean(replica);
        }
        if let Some(leader) = self.last_known_leader() {
            return Elected { leader, unclean: true };
        }
        if self.election == Election::Unclean
            && let Some(leader) =
                self.replicas.iter().copied().find(|it| (self.around.may_lead)(*it))
        {
            return Elected { leader, unclean: true };
        }
        clean(NO_LEADER)
    }

    /// A member of the ISR, or of the ELR once the ISR is empty.
    fn is_eligible(&self, replica: NodeId) -> bool {
        let in_elr = self.isr.is_empty() && self.elr.contains(&replica);
        (self.isr.contains(&replica) || in_elr) && (self.around.may_lead)(replica)
    }

    /// With nobody left in ISR and ELR, the last leader is the best guess there is (KIP-966).
    fn last_known_leader(&self) -> Option<NodeId> {
        if !self.around.elr_enabled || !self.elr.is_empty() || !self.isr.is_empty() {
            return None;
        }
        match self.partition.last_known_elr() {
            [last] if (self.around.may_lead)(*last) => Some(*last),
            _ => None,
        }
    }

    fn bump_epoch_if_replicas_left(&self, record: &mut PartitionChangeRecord) {
        if record.leader == NO_LEADER_CHANGE
            && !contains_all(&self.replicas, self.partition.replicas())
        {
            record.leader = leader_id(self.partition);
        }
    }

    fn bump_epoch_if_isr_shrank(&self, record: &mut PartitionChangeRecord) {
        if !self.around.metadata_version.bumps_leader_epoch_on_isr_shrink()
            || record.leader != NO_LEADER_CHANGE
        {
            return;
        }
        if let Some(isr) = &record.isr
            && !contains_all(isr, self.partition.isr())
        {
            record.leader = leader_id(self.partition);
        }
    }

    fn write_elr(&mut self, record: &mut PartitionChangeRecord) {
        // An unclean leader makes every promise about who holds what void.
        if record.isr.is_some() || !self.around.elr_enabled {
            self.elr = Vec::new();
        }
        if self.elr != self.partition.elr() {
            record.eligible_leader_replicas = Some(self.elr.clone());
        }
    }

    fn write_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.around.elr_enabled {
            return;
        }
        let (leader, known) = (leader_id(self.partition), self.partition.last_known_elr());
        if record.leader == NO_LEADER && known.is_empty() {
            record.last_known_elr = Some(vec![leader]);
        } else if record.leader >= 0 && !known.is_empty() {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn directory_of(&self, replica: NodeId) -> Uuid {
        match self.directory {
            Some((broker, directory)) if broker == replica => directory,
            _ => (self.partition.directory_on(replica))
                .unwrap_or_else(|| (self.around.default_directory)(replica)),
        }
    }

    fn write_assignment(&self, record: &mut PartitionChangeRecord) {
        if !self.replicas.is_empty() && self.replicas != self.partition.replicas() {
            record.replicas = Some(self.replicas.clone());
        }
        // Without a reason to differ, the directories are as they were: skip building the list.
        let may_differ = record.replicas.is_some() || self.directory.is_some();
        if may_differ && self.around.metadata_version.supports_directories() {
            let directories: Vec<Uuid> =
                self.replicas.iter().map(|it| self.directory_of(*it)).collect();
            if directories != self.partition.directories() {
                record.directories = Some(directories);
            }
        }
        if self.removing != self.partition.removing() {
            record.removing_replicas = Some(self.removing.clone());
        }
        if self.adding != self.partition.adding() {
            record.adding_replicas = Some(self.adding.clone());
        }
    }
}

/// True if the record would change the partition at all; the partition epoch moves only then.
pub fn changes_something(record: &PartitionChangeRecord) -> bool {
    record.isr.is_some()
        || record.eligible_leader_replicas.is_some()
        || record.leader != NO_LEADER_CHANGE
        || record.replicas.is_some()
        || record.removing_replicas.is_some()
        || record.adding_replicas.is_some()
        || record.leader_recovery_state != NO_RECOVERY_CHANGE
        || record.directories.is_some()
        || record.last_known_elr.is_some()
}

/// The leader as records write it, -1 for none.
pub fn leader_id(partition: &Partition) -> NodeId {
    partition.leader().unwrap_or(NO_LEADER)
}

fn contains_all(all: &[NodeId], of: &[NodeId]) -> bool {
    of.iter().all(|it| all.contains(it))
}

/// The members of both lists, each once, in the order in which Kafka's hash set yields them, so that
/// both controllers write the same ELR: by the low bits of the id, and then as they were put in.
fn union_in_kafkas_order(first: &[NodeId], second: &[NodeId]) -> Vec<NodeId> {
    let mut union: Vec<NodeId> = Vec::with_capacity(first.len() + second.len());
    for id in first.iter().chain(second) {
        if !union.contains(id) {
            union.push(*id);
        }
    }
    // A hash set of integers has 16 buckets, or as many more as keep it at most three quarters full.
    let buckets = (union.len() * 4).div_ceil(3).next_power_of_two().max(16);
    union.sort_by_key(|id| (*id as usize ^ (*id as usize >> 16)) & (buckets - 1));
    union
}
