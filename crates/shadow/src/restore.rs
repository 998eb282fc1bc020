//! A new quorum out of a backup: the metadata as people left it at an earlier time, with what machines
//! reported taken from the newest record there is, and every number that brokers compare raised above
//! anything they can have seen.
//!
//! What people decide (topics, settings, ACLs, quotas, credentials, tokens) is as of the target. What follows
//! the brokers' own state is the backup's newest: feature levels never go down, a replica's ISR is the last
//! one known (an old ISR could elect a leader without acknowledged records), registrations are the last ones,
//! all fenced. Then:
//!
//! * the snapshot's id lies far behind the backup's end, in offset and epoch: brokers and old controllers are
//!   behind it, so they load it instead of cutting their logs below their high watermark;
//! * leader epochs are raised, so that no broker takes a partition's new leader for an old one;
//! * producer ids start behind any that was given out.

use crate::{Mirror, Replica, ShadowError, load_snapshot};
use quorate_base::{Epoch, Offset, OffsetAndEpoch};
use quorate_metadata::{Image, PartitionState, Str};
use quorate_protocol::MetadataRecord;
use quorate_protocol::features::record_version;
use quorate_protocol::records::ProducerIdsRecord;
use quorate_storage::BOOTSTRAP_SNAPSHOT_ID;
use std::collections::BTreeSet;

/// As of when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Everything there is.
    Newest,
    /// Records below this offset.
    Offset(Offset),
    /// Batches not younger than this, milliseconds since the Unix epoch.
    TimeMs(i64),
}

/// How far numbers are raised above the newest in the backup: more than can have been used since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Margins {
    /// Offsets, and with them broker epochs.
    pub offsets: Offset,
    /// Epochs of the quorum.
    pub epochs: Epoch,
    /// Leader and partition epochs.
    pub leader_epochs: i32,
    /// Producer ids.
    pub producer_ids: i64,
}

impl Default for Margins {
    fn default() -> Margins {
        Margins {
            offsets: 1_000_000_000,
            epochs: 1_000,
            leader_epochs: 1_000,
            producer_ids: 1_000_000_000,
        }
    }
}

/// What is restored, and what brokers will make of it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The new snapshot's id.
    pub id: OffsetAndEpoch,
    /// Where the target lies in the backup, and the backup's end.
    pub target: OffsetAndEpoch,
    /// The backup's end.
    pub backup_end: OffsetAndEpoch,
    /// Time of the last record at the target.
    pub timestamp_ms: i64,
    /// Records of the snapshot, each with its version.
    pub records: Vec<(MetadataRecord, i16)>,
    /// What brokers and clients will notice.
    pub consequences: Consequences,
}

/// What a restore means for brokers and clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Consequences {
    /// There at the target and deleted since: they come back, empty, as brokers have removed the data.
    pub topics_back_empty: Vec<String>,
    /// Created since: gone, their directories on brokers become strays.
    pub topics_gone: Vec<String>,
    /// There at both with fewer partitions then: the partitions behind are gone.
    pub partitions_gone: Vec<String>,
    /// Deleted and created anew under the same name: the older one comes back, empty.
    pub topics_replaced: Vec<String>,
    /// Resources whose settings go back.
    pub settings_changed: usize,
    /// ACLs, credentials, quotas and tokens that go back.
    pub other_changes: usize,
    /// Brokers that must be restarted to register again.
    pub brokers: Vec<i32>,
    /// Topics and partitions restored.
    pub topics: usize,
    /// Of all topics.
    pub partitions: usize,
}

/// The states at the target and at the backup's end.
pub struct Found {
    target: Replica,
    newest: Replica,
}

/// Finds the target in a backup.
pub fn find(backup: &Mirror, target: Target) -> Result<Found, ShadowError> {
    let (log, snapshots) = (backup.reader(), backup.snapshots());
    let end = log.log_end();
    let ids: Vec<OffsetAndEpoch> =
        snapshots.list()?.into_iter().filter(|id| *id != BOOTSTRAP_SNAPSHOT_ID).collect();
    if end == 0 {
        return Err(ShadowError::NotThere("the backup is empty".to_owned()));
    }
    let start = |id: Option<&OffsetAndEpoch>| match id {
        Some(id) => load_snapshot(snapshots, *id),
        None if log.log_start() == 0 => Ok(Replica::empty()),
        None => {
            let from = ids.first().map_or(end, |id| id.offset);
            Err(ShadowError::NotThere(format!(
                "the backup goes back to offset {from} only; an older target cannot be restored"
            )))
        }
    };
    let usable = |limit: Offset| {
        ids.iter().rev().find(move |id| id.offset <= limit && id.offset >= log.log_start())
    };
    let mut newest = start(usable(end))?;
    newest.replay(log, end, |_, _| ())?;
    let target = match target {
        Target::Newest => newest.clone(),
        Target::Offset(offset) => {
            if offset > end || offset <= 0 {
                return Err(ShadowError::NotThere(format!(
                    "offset {offset} is not in the backup, which ends at {end}"
                )));
            }
            let mut replica = start(usable(offset))?;
            replica.replay_until_offset(log, offset)?;
            replica
        }
        Target::TimeMs(ms) => {
            let mut best = None;
            for id in ids.iter().rev() {
                if load_snapshot(snapshots, *id)?.timestamp_ms() <= ms {
                    best = Some(id);
                    break;
                }
            }
            let mut replica = start(best)?;
            replica.replay_until_time(log, ms)?;
            if replica.end().offset == 0 {
                return Err(ShadowError::NotThere("nothing in the backup is that old".to_owned()));
            }
            replica
        }
    };
    Ok(Found { target, newest })
}

impl Found {
    /// Makes the new state.
    pub fn restore(&self, margins: Margins) -> Restored {
        let (then, now) = (self.target.image(), self.newest.image());
        let (target, backup_end) = (self.target.end(), self.newest.end());
        Restored {
            id: OffsetAndEpoch {
                offset: backup_end.offset + margins.offsets,
                epoch: backup_end.epoch + margins.epochs,
            },
            target,
            backup_end,
            timestamp_ms: self.target.timestamp_ms(),
            records: records(then, now, margins),
            consequences: consequences(then, now),
        }
    }
}

fn records(then: &Image, now: &Image, margins: Margins) -> Vec<(MetadataRecord, i16)> {
    let version = now.metadata_version();
    let mut out = Vec::new();
    let mut push = |record: MetadataRecord| {
        let record_version = record_version(&record, version);
        out.push((record, record_version));
    };
    // Feature levels and registrations of the newest state come first, as in any snapshot.
    for (record, _) in now.to_records() {
        match record {
            MetadataRecord::FeatureLevel(_) => push(record),
            MetadataRecord::RegisterBroker(mut broker) => {
                broker.fenced = true;
                broker.in_controlled_shutdown = false;
                push(MetadataRecord::RegisterBroker(broker));
            }
            // Controllers register themselves when they start.
            _ => {}
        }
    }
    let supports_tokens = version.supports_delegation_tokens();
    for (record, _) in then.to_records() {
        match record {
            MetadataRecord::FeatureLevel(_)
            | MetadataRecord::RegisterBroker(_)
            | MetadataRecord::RegisterController(_)
            | MetadataRecord::ProducerIds(_) => {}
            MetadataRecord::DelegationToken(_) if !supports_tokens => {}
            MetadataRecord::Partition(partition) => {
                let key = (partition.topic_id, partition.partition_id);
                let old = then.topics.partition(key.0, key.1).expect("it is in this image");
                let state = now.topics.partition(key.0, key.1).unwrap_or(old).to_state();
                let state = raised(state, old.leader_epoch(), old.partition_epoch(), margins);
                let raised = quorate_metadata::Partition::new(state);
                let raised = raised.expect("replicas and directories are as they were");
                push(raised.to_record(key.0, key.1, version));
            }
            other => push(other),
        }
    }
    let next = now.producer_ids.next_producer_id().max(then.producer_ids.next_producer_id());
    if let Some(next) = next {
        push(MetadataRecord::ProducerIds(ProducerIdsRecord {
            broker_id: -1,
            broker_epoch: -1,
            next_producer_id: next.saturating_add(margins.producer_ids),
            ..Default::default()
        }));
    }
    out
}

/// No leader (all brokers are fenced) and epochs above any that a broker has seen.
fn raised(
    mut state: PartitionState,
    leader_epoch: i32,
    partition_epoch: i32,
    margins: Margins,
) -> PartitionState {
    state.leader = None;
    state.leader_epoch = state.leader_epoch.max(leader_epoch).saturating_add(margins.leader_epochs);
    state.partition_epoch =
        state.partition_epoch.max(partition_epoch).saturating_add(margins.leader_epochs);
    state
}

fn consequences(then: &Image, now: &Image) -> Consequences {
    let mut out = Consequences {
        topics: then.topics.topic_count(),
        partitions: then.topics.partition_count(),
        brokers: now.cluster.brokers().map(|it| it.id).collect(),
        ..Consequences::default()
    };
    let mut replaced: BTreeSet<Str> = BTreeSet::new();
    for topic in then.topics.iter_by_name() {
        match now.topics.by_name(&topic.name) {
            Some(other) if other.id == topic.id => {
                if other.partition_count > topic.partition_count {
                    let (from, to) = (topic.partition_count, other.partition_count - 1);
                    out.partitions_gone
                        .push(format!("{}-{from} to {}-{to}", topic.name, topic.name));
                }
            }
            Some(_) => {
                replaced.insert(topic.name.clone());
                out.topics_replaced.push(topic.name.to_string());
            }
            None => out.topics_back_empty.push(topic.name.to_string()),
        }
    }
    let gone = now.topics.iter_by_name().filter(|it| then.topics.by_id(it.id).is_none());
    out.topics_gone =
        gone.filter(|it| !replaced.contains(&it.name)).map(|it| it.name.to_string()).collect();
    let diff = then.diff(now);
    out.settings_changed = diff.configs().count();
    out.other_changes = diff.acls().count()
        + diff.scram().count()
        + diff.client_quotas().count()
        + diff.delegation_tokens().count();
    out
}
