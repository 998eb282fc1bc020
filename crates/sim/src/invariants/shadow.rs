//! What a node's log should hold, kept beside it.

use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch, ReplicaKey};
use quorate_node::LogAppend;
use quorate_protocol::batch::{Batch, batches};
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_storage::LogReader;
use std::collections::BTreeSet;

/// A batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub base: Offset,
    pub end: Offset,
    pub epoch: Epoch,
    pub bytes: Bytes,
}

impl Entry {
    pub fn of(append: &LogAppend) -> Entry {
        Entry {
            base: append.base_offset,
            end: append.end_offset,
            epoch: append.epoch,
            bytes: append.bytes.clone(),
        }
    }

    fn of_batch(batch: &Batch) -> Entry {
        Entry {
            base: batch.base_offset(),
            end: batch.header.end_offset(),
            epoch: batch.header.partition_leader_epoch,
            bytes: batch.bytes.clone(),
        }
    }
}

/// A log as its node sees it, and how much of it is synced.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// What is before the first entry: a snapshot's id, or zero.
    base: OffsetAndEpoch,
    entries: Vec<Entry>,
    synced_end: Offset,
    /// The node has cut its log and the disk has not followed yet: what is synced until then may be
    /// what is being cut off.
    cuts_pending: usize,
    /// Voter sets in the log, with their offsets.
    pub voters: Vec<(Offset, BTreeSet<ReplicaKey>)>,
}

impl Shadow {
    /// As a disk has it.
    pub fn read(reader: &LogReader, newest_snapshot: Option<OffsetAndEpoch>) -> Shadow {
        let mut shadow = Shadow::default();
        let start = reader.log_start();
        let epoch = newest_snapshot.filter(|id| id.offset == start).map_or(0, |id| id.epoch);
        shadow.base = OffsetAndEpoch { offset: start, epoch };
        let mut from = start;
        loop {
            let bytes = reader.read(from, usize::MAX).expect("an open log is readable");
            if bytes.is_empty() {
                break;
            }
            for batch in batches(bytes) {
                let batch = batch.expect("an open log holds whole batches");
                let entry = Entry::of_batch(&batch);
                from = entry.end;
                if shadow.entries.is_empty() {
                    // A segment may begin below the log's start.
                    shadow.base.offset = entry.base;
                }
                shadow.append(entry, &batch.bytes);
            }
        }
        // Opening a log syncs it.
        shadow.synced_end = shadow.end().offset;
        shadow
    }

    pub fn start(&self) -> Offset {
        self.base.offset
    }

    pub fn end(&self) -> OffsetAndEpoch {
        match self.entries.last() {
            Some(entry) => OffsetAndEpoch { offset: entry.end, epoch: entry.epoch },
            None => self.base,
        }
    }

    pub fn synced_end(&self) -> Offset {
        self.synced_end
    }

    pub fn append(&mut self, entry: Entry, bytes: &Bytes) {
        assert_eq!(entry.base, self.end().offset, "logs have no holes");
        if let Some(voters) = voters_in(bytes) {
            self.voters.push(voters);
        }
        self.entries.push(entry);
    }

    /// Cuts the log; gives what was cut off.
    pub fn truncate(&mut self, to: OffsetAndEpoch) -> Vec<Entry> {
        let mut cut = Vec::new();
        while let Some(entry) = self.entries.pop_if(|entry| entry.end > to.offset) {
            cut.push(entry);
        }
        assert_eq!(self.end(), to, "a log is cut where the node says");
        self.voters.retain(|(offset, _)| *offset < to.offset);
        self.synced_end = self.synced_end.min(to.offset);
        self.cuts_pending += 1;
        cut
    }

    pub fn cut(&mut self, end: Offset) {
        self.cuts_pending -= 1;
        self.synced(end);
    }

    pub fn synced(&mut self, end: Offset) {
        if self.cuts_pending == 0 {
            assert!(end <= self.end().offset, "nothing is synced that is not in the log");
            self.synced_end = end;
        }
    }

    pub fn reset(&mut self, snapshot: OffsetAndEpoch) {
        self.base = snapshot;
        self.entries.clear();
        self.voters.clear();
        self.synced_end = snapshot.offset;
    }

    pub fn move_start(&mut self, start: Offset) {
        let keep = self.entries.partition_point(|entry| entry.end <= start);
        if let Some(last) = keep.checked_sub(1) {
            let last = &self.entries[last];
            self.base = OffsetAndEpoch { offset: last.end, epoch: last.epoch };
        }
        self.entries.drain(..keep);
    }

    /// The entries from the one that holds `offset` on.
    pub fn from(&self, offset: Offset) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.end <= offset);
        &self.entries[first..]
    }

    /// The epoch of the record before `end`, if the log still knows.
    pub fn epoch_before(&self, end: Offset) -> Option<Epoch> {
        if end == self.base.offset {
            return Some(self.base.epoch);
        }
        let at = self.entries.partition_point(|entry| entry.end < end);
        self.entries.get(at).filter(|entry| entry.base < end).map(|entry| entry.epoch)
    }

    /// Durability: what was synced before a crash is there after it.
    pub fn survived_in(&self, id: NodeId, after: &Shadow) {
        if after.entries.is_empty() && after.base > self.end() {
            // It died while a better log's snapshot took the place of its own.
            return;
        }
        assert!(
            after.end().offset >= self.synced_end,
            "DURABILITY: c{id} had synced up to {} and finds {} after a restart",
            self.synced_end,
            after.end().offset,
        );
        for entry in self.entries.iter().filter(|entry| entry.end <= self.synced_end) {
            if let Some(found) = after.from(entry.base).first()
                && found.base <= entry.base
            {
                assert_eq!(found, entry, "DURABILITY: c{id} finds something else than it synced");
            }
        }
    }
}

/// The voter set in a control batch.
pub fn voters_in(bytes: &Bytes) -> Option<(Offset, BTreeSet<ReplicaKey>)> {
    let batch = Batch::parse(bytes, 0).expect("appended batches are whole");
    if !batch.is_control() {
        return None;
    }
    let records = control_records(&batch).expect("appended control batches are readable");
    records.into_iter().rev().find_map(|(offset, record)| match record {
        ControlRecord::Voters(voters) => {
            Some((offset, voters.iter().map(|voter| voter.key).collect()))
        }
        _ => None,
    })
}
