//! What a quorum looks like from outside: who leads which epoch, and what is in each node's log.

use crate::{Failure, Outcome, Quorum, ensure};
use bytes::Bytes;
use quorate_base::ReplicaKey;
use quorate_client::{Admin, Connection, Options};
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::{Batch, batches};
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_protocol::messages::describe_quorum_response;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every leader that ever called itself one, by epoch. Two in one epoch, or a node whose epoch
/// goes back, is reported as a failure by [`EpochWatch::verdict`].
#[derive(Clone, Debug, Default)]
pub struct EpochWatch {
    leaders: BTreeMap<i32, i32>,
    latest_of: BTreeMap<i32, i32>,
    broken: Vec<String>,
}

impl EpochWatch {
    /// DescribeQuorum at one controller; only a leader answers.
    pub fn ask(
        &mut self,
        node: i32,
        address: &str,
    ) -> Outcome<describe_quorum_response::PartitionData> {
        let options = Options {
            client_id: "interop".to_owned(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(2),
        };
        let quorum = Admin::over(Connection::connect(address, options)?).describe_quorum()?;
        self.note(node, quorum.leader_id, quorum.leader_epoch);
        Ok(quorum)
    }

    fn note(&mut self, node: i32, leader: i32, epoch: i32) {
        let known = *self.leaders.entry(epoch).or_insert(leader);
        if known != leader {
            self.broken.push(format!("{known} and {leader} both lead epoch {epoch}"));
        }
        let latest = self.latest_of.entry(node).or_insert(epoch);
        if *latest > epoch {
            self.broken.push(format!("{node} went back from epoch {latest} to {epoch}"));
        }
        *latest = (*latest).max(epoch);
    }

    /// How many epochs a leader was seen in.
    pub fn epochs_seen(&self) -> usize {
        self.leaders.len()
    }

    /// Fails if anything seen breaks a promise of raft.
    pub fn verdict(&self) -> Outcome<()> {
        ensure!(self.broken.is_empty(), "{}", self.broken.join("; "));
        Ok(())
    }
}

/// The committed log of a quorum, agreed on by all nodes.
#[derive(Clone, Debug, Default)]
pub struct CommonLog {
    /// Base offset, batch as on disk.
    batches: BTreeMap<i64, Bytes>,
}

impl CommonLog {
    /// How often each topic was created, by name.
    pub fn topics(&self) -> Outcome<BTreeMap<String, usize>> {
        let mut topics = BTreeMap::new();
        for bytes in self.batches.values() {
            for batch in batches(bytes.clone()) {
                let batch = batch.map_err(|e| Failure(e.to_string()))?;
                if batch.is_control() {
                    continue;
                }
                for record in batch.records() {
                    let record = record.map_err(|e| Failure(e.to_string()))?;
                    let value = record.value.ok_or_else(|| Failure::new("an empty record"))?;
                    let (decoded, _) = MetadataRecord::decode_framed(value)
                        .map_err(|e| Failure(format!("offset {}: {e}", record.offset)))?;
                    if let MetadataRecord::Topic(topic) = decoded {
                        *topics.entry(topic.name.to_string()).or_default() += 1;
                    }
                }
            }
        }
        Ok(topics)
    }

    /// Fails unless epochs only grow and each begins with the announcement of its one leader: a second
    /// leader of an epoch that got anything committed would show here. How many epochs there are.
    pub fn one_leader_an_epoch(&self) -> Outcome<usize> {
        let mut leaders: BTreeMap<i32, i32> = BTreeMap::new();
        let mut newest = None;
        for (offset, bytes) in &self.batches {
            let batch = batches(bytes.clone()).next().and_then(Result::ok);
            let batch = batch.ok_or_else(|| Failure(format!("no batch at offset {offset}")))?;
            let epoch = batch.header.partition_leader_epoch;
            ensure!(
                newest.is_none_or(|newest| newest <= epoch),
                "epoch {epoch} at offset {offset} follows epoch {newest:?}"
            );
            if let Some(leader) = announced_leader(&batch)? {
                let known = leaders.insert(epoch, leader);
                ensure!(known.is_none(), "{known:?} and {leader} both lead epoch {epoch}");
            } else {
                // The log may begin in the middle of an epoch, after a snapshot.
                ensure!(
                    newest.is_none_or(|newest| newest == epoch),
                    "epoch {epoch} begins at offset {offset} without a leader"
                );
            }
            newest = Some(epoch);
        }
        Ok(leaders.len())
    }

    /// Fails unless each voter set that was written differs from the one before by one voter. How many
    /// were written.
    pub fn one_voter_at_a_time(&self) -> Outcome<usize> {
        let mut sets: Vec<BTreeSet<ReplicaKey>> = Vec::new();
        for bytes in self.batches.values() {
            for batch in batches(bytes.clone()).flatten().filter(Batch::is_control) {
                let records = control_records(&batch).map_err(|e| Failure(e.to_string()))?;
                for (_, record) in records {
                    if let ControlRecord::Voters(voters) = record {
                        sets.push(voters.into_iter().map(|voter| voter.key).collect());
                    }
                }
            }
        }
        for pair in sets.windows(2) {
            let changed = pair[0].symmetric_difference(&pair[1]).count();
            ensure!(changed <= 1, "{:?} was followed by {:?}", pair[0], pair[1]);
        }
        Ok(sets.len())
    }

    /// How many batches there are.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn add(&mut self, node: i32, found: BTreeMap<i64, Bytes>) -> Outcome<()> {
        for (offset, batch) in found {
            match self.batches.get(&offset) {
                None => {
                    self.batches.insert(offset, batch);
                }
                Some(known) => ensure!(
                    *known == batch,
                    "controller {node} has another batch at offset {offset} than the others"
                ),
            }
        }
        Ok(())
    }
}

impl Quorum {
    /// Waits until all voters have what is committed, and compares their logs up to there, byte for
    /// byte. Old segments that a snapshot has replaced are compared where they still exist.
    pub fn compare_logs(&mut self) -> Outcome<CommonLog> {
        let ids: Vec<i32> = self.controllers.keys().copied().collect();
        self.compare_logs_of(&ids)
    }

    /// The same for these voters only.
    pub fn compare_logs_of(&mut self, voters: &[i32]) -> Outcome<CommonLog> {
        let end = self.await_caught_up(voters)?;
        let mut common = CommonLog::default();
        for id in voters {
            let node = self.controller(*id);
            let found = read_log(&node.dir().join("__cluster_metadata-0"), end)
                .map_err(|e| Failure(format!("the log of controller {id}: {e}")))?;
            ensure!(!found.is_empty(), "controller {id} has an empty log");
            common.add(*id, found)?;
        }
        self.epochs.verdict()?;
        Ok(common)
    }
}

/// All batches that end before `end`, by base offset.
fn read_log(dir: &Path, end: i64) -> Outcome<BTreeMap<i64, Bytes>> {
    let fault = |e: std::io::Error| Failure(format!("{}: {e}", dir.display()));
    let mut segments: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    segments.sort();
    let mut found = BTreeMap::new();
    for segment in segments {
        let bytes = Bytes::from(std::fs::read(&segment).map_err(fault)?);
        for batch in batches(bytes.clone()) {
            // A running node may be writing its last batch at this moment; what is damaged below
            // `end` shows as a gap.
            let Ok(batch) = batch else { break };
            if batch.last_offset() >= end {
                break;
            }
            batch.verify().map_err(|e| Failure(format!("{}: {e}", segment.display())))?;
            let start = usize::try_from(batch.position).unwrap_or(usize::MAX);
            let size = batch.header.size();
            found.insert(batch.base_offset(), bytes.slice(start..start + size));
        }
    }
    no_gaps(&found, end)?;
    Ok(found)
}

fn no_gaps(found: &BTreeMap<i64, Bytes>, end: i64) -> Outcome<()> {
    let mut expected = None;
    for (offset, bytes) in found {
        let batch = batches(bytes.clone()).next();
        let batch = batch.and_then(Result::ok).ok_or_else(|| Failure::new("no batch"))?;
        ensure!(
            expected.is_none_or(|expected| expected == *offset),
            "offset {expected:?} is missing, {offset} follows"
        );
        expected = Some(batch.last_offset() + 1);
    }
    ensure!(expected == Some(end), "it ends at {expected:?}, not at {end}");
    Ok(())
}

/// Who says in this batch that it leads from here on.
fn announced_leader(batch: &Batch) -> Outcome<Option<i32>> {
    if !batch.is_control() {
        return Ok(None);
    }
    let records = control_records(batch).map_err(|e| Failure(e.to_string()))?;
    Ok(records.iter().find_map(|(_, record)| match record {
        ControlRecord::LeaderChange { leader_id, .. } => Some(*leader_id),
        _ => None,
    }))
}
