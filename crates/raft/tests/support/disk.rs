use bytes::{Bytes, BytesMut};
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_protocol::batch::batches;
use quorate_protocol::control::{ControlRecord, control_records};
use quorate_raft::{ElectionState, LogBatch, LogSummary, Recovered, Voter, VoterSet};
use std::collections::{BTreeMap, BTreeSet};

/// A disk that forgets what was not synced.
#[derive(Default)]
pub struct Disk {
    pub election: Option<ElectionState>,
    pub bootstrap: Option<VoterSet>,
    pub batches: Vec<LogBatch>,
    synced: Offset,
    start: Offset,
    pub snapshots: BTreeSet<OffsetAndEpoch>,
    pub receiving: BytesMut,
    /// It took the place of a lost one.
    pub replaced: bool,
}

impl Disk {
    pub fn append(&mut self, batch: LogBatch) {
        assert_eq!(batch.base_offset, self.end().offset, "a hole in the log");
        self.batches.push(batch);
    }

    pub fn end(&self) -> OffsetAndEpoch {
        match self.batches.last() {
            Some(batch) => OffsetAndEpoch { offset: batch.end_offset, epoch: batch.epoch },
            None => OffsetAndEpoch {
                offset: self.start,
                epoch: self
                    .snapshots
                    .iter()
                    .find(|s| s.offset == self.start)
                    .map_or(0, |s| s.epoch),
            },
        }
    }

    /// A lost disk may have held what its voter acknowledged.
    pub fn may_have_forgotten(&self) -> bool {
        self.replaced && self.election.as_ref().is_none_or(|state| state.recovering)
    }

    pub fn synced_end(&self) -> Offset {
        self.synced
    }

    /// Syncs all; gives the new end if there was something to sync.
    pub fn sync(&mut self) -> Option<OffsetAndEpoch> {
        let end = self.end();
        let news = end.offset > self.synced;
        self.synced = end.offset;
        news.then_some(end)
    }

    pub fn truncate(&mut self, to: OffsetAndEpoch) {
        assert!(to.offset >= self.start);
        while self.batches.last().is_some_and(|b| b.end_offset > to.offset) {
            let batch = self.batches.pop().expect("checked");
            assert!(batch.base_offset >= to.offset, "a batch is cut at {}", to.offset);
        }
        assert_eq!(self.end(), to);
        self.synced = self.synced.min(to.offset);
    }

    pub fn lose_unsynced(&mut self, luck: u64) {
        let first_lost = self.batches.iter().position(|b| b.end_offset > self.synced);
        if let Some(first) = first_lost {
            let unsynced = self.batches.len() - first;
            self.batches.truncate(first + (luck as usize) % (unsynced + 1));
        }
        self.synced = self.end().offset;
        self.receiving.clear();
    }

    pub fn read(&self, from: Offset, max_bytes: usize, end: Offset) -> Bytes {
        let mut out = BytesMut::new();
        for batch in &self.batches {
            if batch.end_offset <= from || batch.base_offset >= end {
                continue;
            }
            if !out.is_empty() && out.len() + batch.bytes.len() > max_bytes {
                break;
            }
            out.extend_from_slice(&batch.bytes);
        }
        assert!(!out.is_empty(), "nothing to read from {from} to {end}");
        out.freeze()
    }

    pub fn write_chunk(&mut self, _id: OffsetAndEpoch, position: u64, bytes: &[u8]) {
        if position == 0 {
            self.receiving.clear();
        }
        assert_eq!(self.receiving.len() as u64, position);
        self.receiving.extend_from_slice(bytes);
    }

    pub fn install(&mut self, id: OffsetAndEpoch) {
        self.receiving.clear();
        self.snapshots.insert(id);
        self.batches.clear();
        self.start = id.offset;
        self.synced = id.offset;
    }

    pub fn add_snapshot(&mut self, id: OffsetAndEpoch) {
        self.snapshots.insert(id);
    }

    pub fn boundary_at_or_below(&self, offset: Offset) -> Option<Offset> {
        self.batches.iter().map(|b| b.end_offset).filter(|end| *end <= offset).max()
    }

    pub fn drop_before(&mut self, start: Offset) {
        self.batches.retain(|b| b.base_offset >= start);
        self.start = start;
    }

    pub fn recover(
        &self,
        snapshots: &BTreeMap<OffsetAndEpoch, (VoterSet, u16, Bytes)>,
    ) -> Recovered {
        let mut epoch_starts: Vec<(i32, Offset)> = Vec::new();
        let mut voters: BTreeMap<Offset, VoterSet> = BTreeMap::new();
        let mut levels: BTreeMap<Offset, u16> = BTreeMap::new();
        if let Some(set) = &self.bootstrap {
            voters.insert(-1, set.clone());
            levels.insert(-1, 1);
        }
        for id in &self.snapshots {
            let (set, level, _) = &snapshots[id];
            if *level > 0 {
                voters.insert(id.offset - 1, set.clone());
                levels.insert(id.offset - 1, *level);
            }
        }
        for batch in &self.batches {
            if epoch_starts.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
                epoch_starts.push((batch.epoch, batch.base_offset));
            }
            if !batch.is_control {
                continue;
            }
            let parsed = batches(batch.bytes.clone()).next().expect("one").expect("good");
            for (offset, record) in control_records(&parsed).expect("control records") {
                match record {
                    ControlRecord::Voters(set) => {
                        voters.insert(offset, VoterSet::new(set.iter().map(Voter::from)));
                    }
                    ControlRecord::KRaftVersion(level) => {
                        levels.insert(offset, level as u16);
                    }
                    _ => {}
                }
            }
        }
        Recovered {
            quorum_state: self.election.clone(),
            log: LogSummary { start: self.start, end: self.end(), epoch_starts },
            snapshots: self.snapshots.iter().copied().collect(),
            voters: voters.into_iter().collect(),
            kraft_versions: levels.into_iter().collect(),
        }
    }
}
