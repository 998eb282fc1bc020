//! What must hold whatever happens: one file each, with its source. All of it is judged from outside,
//! from what nodes say, answer and have on disk, never by asking a node whether it is right.
//!
//! A breach panics with a message; the run catches that and prints how to see it again.

mod acknowledged;
mod committed;
mod epochs;
mod high_watermark;
mod images;
mod leader_completeness;
mod log_matching;
mod one_leader;
mod partitions;
mod shadow;
mod voter_changes;
mod votes;

use crate::world::Host;
use quorate_base::{NodeId, Offset, OffsetAndEpoch, Uuid};
use quorate_metadata::Image;
use quorate_node::{Action, LogAppend, Recovered};
use quorate_protocol::AnyResponse;
use quorate_raft::ElectionState;
use quorate_storage::LogReader;
use shadow::{Entry, Shadow};
use std::collections::BTreeMap;

/// All of them, and what they share: the shadow of each node's log, and the one committed log.
#[derive(Default)]
pub struct Invariants {
    shadows: BTreeMap<NodeId, Shadow>,
    /// What was on the disk that was lost.
    lost: Option<(NodeId, Shadow)>,
    /// What is committed, as far as anybody knows.
    pub committed: committed::Committed,
    images: images::Images,
    one_leader: one_leader::OneLeader,
    votes: votes::Votes,
    epochs: epochs::Epochs,
    log_matching: log_matching::LogMatching,
    high_watermark: high_watermark::HighWatermark,
    leader_completeness: leader_completeness::LeaderCompleteness,
    voter_changes: voter_changes::VoterChanges,
    acknowledged: acknowledged::Acknowledged,
}

impl Invariants {
    /// A node has moved and wants these actions; none of them is carried out yet.
    pub fn stepped(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>, actions: &[Action]) {
        let host = &hosts[&id];
        let node = &host.process.as_ref().expect("it has just moved").node;
        let status = node.status();
        let shadow = self.shadows.entry(id).or_default();
        for action in actions {
            match action {
                Action::AppendLog(append) => {
                    shadow.append(Entry::of(append), &append.bytes);
                }
                Action::TruncateLog { to } => {
                    self.high_watermark.truncates(id, to.offset);
                    for entry in shadow.truncate(*to) {
                        self.committed.cut_off(id, &entry);
                    }
                }
                _ => {}
            }
        }
        if let Some(watermark) = status.high_watermark
            && self.high_watermark.moved(id, host.life, watermark)
        {
            let from = self.high_watermark.checked_from(id);
            let news =
                self.committed.advance(id, &self.shadows[&id], from, watermark, status.epoch);
            if let Some(first_new) = news {
                high_watermark::is_synced_by_majority(
                    id,
                    watermark,
                    node.raft().voters(),
                    hosts,
                    &self.shadows,
                    self.lost.as_ref(),
                );
                for batch in self.committed.since(first_new) {
                    let (older, newer) = self.images.commit(batch);
                    partitions::lawful(&older, &newer, batch.end);
                }
            }
            self.high_watermark.checked(id, watermark);
        }
    }

    /// A node hands a batch to its disk.
    pub fn appends(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>, append: &LogAppend) {
        let entry = Entry::of(append);
        let shadow = &self.shadows[&id];
        let before = shadow.epoch_before(entry.base);
        self.log_matching.appended(id, before.expect("the log holds what it follows"), &entry);
        let process = hosts[&id].process.as_ref().expect("it acts");
        let status = process.node.status();
        if status.role == "leader" && entry.epoch == status.epoch {
            self.voter_changes.leader_appends(id, shadow, &append.bytes, self.committed.end());
        }
    }

    /// A node has carried out all that its step asked for, and lives: what it believes now it may tell.
    pub fn acted(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>) {
        let host = &hosts[&id];
        let Some(process) = &host.process else { return };
        let status = process.node.status();
        self.epochs.seen(id, host.life, status.epoch);
        self.one_leader.view(id, status.epoch, status.leader);
        if self.leader_completeness.has_become_leader(id, &status) {
            let shadow = &self.shadows[&id];
            leader_completeness::has_all_committed(id, status.epoch, shadow, &self.committed);
        }
    }

    /// A node has put this promise on its disk, and may now tell others.
    pub fn promised(&mut self, id: NodeId, directory: Uuid, state: &ElectionState) {
        if let Some(voted) = state.voted {
            self.votes.given((id, directory), state.epoch, voted.id);
        }
        self.epochs.promised(id, state.epoch);
        self.one_leader.view(id, state.epoch, state.leader);
    }

    /// A node answers a request, and its answer is about to leave.
    pub fn answered(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>, response: &AnyResponse) {
        let process = hosts[&id].process.as_ref().expect("it answers");
        self.acknowledged.answered(id, process.node.status().epoch, response, self.images.newest());
    }

    /// The committed image of a node advanced.
    pub fn published(&mut self, id: NodeId, image: &Image, offset: Offset) {
        self.images.published(id, image, offset);
    }

    /// A broker has loaded a snapshot.
    pub fn broker_loaded(&mut self, id: NodeId, image: &Image, snapshot: OffsetAndEpoch) {
        self.images.published(id, image, snapshot.offset);
    }

    /// A broker believes these bytes to be committed.
    pub fn broker_applied(&self, id: NodeId, batch: &bytes::Bytes) {
        self.committed.broker_applied(id, batch);
    }

    /// A broker was told of a leader.
    pub fn broker_view(&mut self, id: NodeId, epoch: i32, leader: NodeId) {
        self.one_leader.view(id, epoch, Some(leader));
    }

    /// All records below are synced on that node's disk.
    pub fn synced(&mut self, id: NodeId, end: Offset) {
        if let Some(shadow) = self.shadows.get_mut(&id) {
            shadow.synced(end);
        }
    }

    /// A cut of the log is carried out.
    pub fn cut(&mut self, id: NodeId, end: Offset) {
        if let Some(shadow) = self.shadows.get_mut(&id) {
            shadow.cut(end);
        }
    }

    /// The log was replaced by a snapshot.
    pub fn reset(&mut self, id: NodeId, snapshot: OffsetAndEpoch) {
        self.shadows.entry(id).or_default().reset(snapshot);
    }

    /// Retention has moved the log's start.
    pub fn start_moved(&mut self, id: NodeId, start: Offset) {
        if let Some(shadow) = self.shadows.get_mut(&id) {
            shadow.move_start(start);
        }
    }

    /// A process starts: what was synced must be there.
    pub fn recovered(
        &mut self,
        id: NodeId,
        reader: &LogReader,
        newest_snapshot: Option<OffsetAndEpoch>,
        recovered: &Recovered,
    ) {
        let after = Shadow::read(reader, newest_snapshot);
        let before = self.shadows.entry(id).or_default();
        before.survived_in(id, &after);
        *before = after;
        let epoch = recovered.raft.quorum_state.as_ref().map_or(0, |state| state.epoch);
        self.epochs.recovered(id, epoch);
    }

    /// A disk was replaced by an empty one. What it acknowledged before counts all the same.
    pub fn disk_lost(&mut self, id: NodeId) {
        let shadow = self.shadows.insert(id, Shadow::default()).unwrap_or_default();
        self.lost = Some((id, shadow));
        self.epochs.disk_lost(id);
    }

    /// Whether a node has anything on its disk.
    pub fn holds_data(&self, id: NodeId) -> bool {
        self.shadows.get(&id).is_some_and(|shadow| shadow.synced_end() > 0)
    }

    /// The committed state, as the committed log says.
    pub fn newest_image(&self) -> &Image {
        self.images.newest()
    }
}
