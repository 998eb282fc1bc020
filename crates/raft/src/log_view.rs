use crate::Recovered;
use quorate_base::{Epoch, Offset, OffsetAndEpoch};
use std::collections::BTreeSet;

/// The log as this crate sees it: where it starts and ends, where each epoch starts, what is synced,
/// which snapshots there are.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    start: Offset,
    end: Offset,
    /// Epoch of the record before `start`, as far as known: the last epoch of an empty log.
    base_epoch: Epoch,
    /// (epoch, first offset), both ascending.
    epochs: Vec<(Epoch, Offset)>,
    persisted: Offset,
    /// Without the bootstrap checkpoint (0, 0), which is never served.
    snapshots: BTreeSet<OffsetAndEpoch>,
}

/// What a fetch position means to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Position {
    /// It is in the log.
    Valid,
    /// The fetcher's log differs; this is where the leader's log ends for the fetcher's epoch (or
    /// the next smaller one).
    Diverging(OffsetAndEpoch),
    /// The records wanted are gone: take this snapshot.
    Snapshot(OffsetAndEpoch),
}

impl LogView {
    pub fn new(recovered: &Recovered) -> LogView {
        let log = &recovered.log;
        assert!(log.start <= log.end.offset, "the log ends before it starts");
        assert!(
            recovered.snapshots.iter().all(|id| id.offset <= log.end.offset),
            "a snapshot ends after the log: its installation was not finished, and the log must be \
             reset to it first"
        );
        for pair in log.epoch_starts.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1, "epochs do not ascend");
        }
        let base = recovered.snapshots.iter().find(|id| id.offset == log.start);
        let empty = log.start == log.end.offset;
        LogView {
            start: log.start,
            end: log.end.offset,
            base_epoch: if empty { log.end.epoch } else { base.map_or(0, |id| id.epoch) },
            epochs: log.epoch_starts.clone(),
            persisted: log.end.offset,
            snapshots: recovered.snapshots.iter().copied().filter(|id| id.offset > 0).collect(),
        }
    }

    pub fn start(&self) -> Offset {
        self.start
    }

    /// One past the last record, and its epoch.
    pub fn end(&self) -> OffsetAndEpoch {
        OffsetAndEpoch { offset: self.end, epoch: self.last_epoch() }
    }

    pub fn last_epoch(&self) -> Epoch {
        self.epochs.last().map_or(self.base_epoch, |(epoch, _)| *epoch)
    }

    /// All below is synced.
    pub fn persisted(&self) -> Offset {
        self.persisted
    }

    pub fn latest_snapshot(&self) -> Option<OffsetAndEpoch> {
        self.snapshots.last().copied()
    }

    pub fn has_snapshot(&self, id: OffsetAndEpoch) -> bool {
        self.snapshots.contains(&id)
    }

    pub fn add_snapshot(&mut self, id: OffsetAndEpoch) {
        if id.offset > 0 {
            self.snapshots.insert(id);
        }
    }

    pub fn remove_snapshot(&mut self, id: OffsetAndEpoch) {
        self.snapshots.remove(&id);
    }

    /// Epoch of the record before `end`; `None` if it is not known.
    pub fn epoch_before(&self, end: Offset) -> Option<Epoch> {
        if end > self.end || end < self.start {
            return None;
        }
        if end == self.start {
            return if self.start == 0 {
                Some(0)
            } else {
                self.snapshots.iter().find(|id| id.offset == end).map(|id| id.epoch)
            };
        }
        self.epochs.iter().rev().find(|(_, start)| *start < end).map(|(epoch, _)| *epoch)
    }

    pub fn append(&mut self, base: Offset, end: Offset, epoch: Epoch) {
        assert_eq!(base, self.end, "a batch must follow the log's end");
        assert!(end > base, "a batch has records");
        assert!(epoch >= self.last_epoch(), "epochs in the log never go back");
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, base));
        }
        self.end = end;
    }

    /// Takes note of a sync. A report that does not fit the log (any more) changes nothing.
    pub fn set_persisted(&mut self, to: OffsetAndEpoch) {
        if to.offset > self.persisted
            && to.offset <= self.end
            && self.epoch_before(to.offset) == Some(to.epoch)
        {
            self.persisted = to.offset;
        }
    }

    pub fn truncate(&mut self, to: Offset) {
        assert!(self.start <= to && to <= self.end, "truncation outside of the log");
        self.epochs.retain(|(_, start)| *start < to);
        self.end = to;
        self.persisted = self.persisted.min(to);
    }

    pub fn move_start(&mut self, start: Offset) {
        if start <= self.start {
            return;
        }
        assert!(start <= self.end, "records that do not exist cannot be deleted");
        self.base_epoch = self.epoch_before(start).unwrap_or(self.base_epoch);
        if start == self.end {
            self.epochs.clear();
        } else {
            let keep = self.epochs.iter().rposition(|(_, first)| *first <= start).unwrap_or(0);
            self.epochs.drain(..keep);
            if let Some(first) = self.epochs.first_mut() {
                first.1 = first.1.max(start);
            }
        }
        self.start = start;
    }

    /// A snapshot took the place of the whole log.
    pub fn reset_to(&mut self, id: OffsetAndEpoch) {
        self.start = id.offset;
        self.end = id.offset;
        self.persisted = id.offset;
        self.base_epoch = id.epoch;
        self.epochs.clear();
        self.add_snapshot(id);
    }

    /// Where `epoch`, or the largest epoch below it, ends.
    pub fn end_offset_for_epoch(&self, epoch: Epoch) -> OffsetAndEpoch {
        if epoch >= self.last_epoch() {
            return self.end();
        }
        let after = self.epochs.partition_point(|(e, _)| *e <= epoch);
        let offset = self.epochs.get(after).map_or(self.end, |(_, start)| *start);
        match after.checked_sub(1).and_then(|i| self.epochs.get(i)) {
            Some((floor, _)) => OffsetAndEpoch { offset, epoch: *floor },
            // Older than everything in the log, so it ends where the log starts, or before.
            None => OffsetAndEpoch { offset, epoch: self.base_epoch.min(epoch) },
        }
    }

    /// Judges the position a replica wants to fetch from, as Kafka's leader does.
    pub fn judge(&self, fetch_offset: Offset, last_fetched_epoch: Epoch) -> Position {
        if fetch_offset == 0
            && let Some(latest) = self.latest_snapshot()
        {
            // An empty replica gets to the present faster with a snapshot than with the log.
            return Position::Snapshot(latest);
        }
        if self.start == 0 && fetch_offset == 0 && last_fetched_epoch == 0 {
            return Position::Valid;
        }
        // What was before the log's start is known by the first snapshot after it only.
        let earliest = self.snapshots.iter().find(|id| id.offset >= self.start);
        if let (Some(earliest), Some(latest)) = (earliest, self.snapshots.last())
            && (fetch_offset < self.start
                || (fetch_offset == self.start
                    && self.epoch_before(self.start) != Some(last_fetched_epoch))
                || last_fetched_epoch < earliest.epoch)
        {
            return Position::Snapshot(*latest);
        }
        let known = self.end_offset_for_epoch(last_fetched_epoch);
        if known.epoch != last_fetched_epoch || known.offset < fetch_offset {
            Position::Diverging(known)
        } else {
            Position::Valid
        }
    }

    /// Where to cut the log so that it agrees with a leader whose log has `theirs` as the end of
    /// that epoch.
    pub fn truncation_point(&self, theirs: OffsetAndEpoch) -> Offset {
        let ours = self.end_offset_for_epoch(theirs.epoch);
        let point =
            if ours.epoch == theirs.epoch { ours.offset.min(theirs.offset) } else { ours.offset };
        point.clamp(self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogSummary;

    fn log(
        start: Offset,
        epochs: &[(Epoch, Offset)],
        end: Offset,
        snaps: &[(i64, i32)],
    ) -> LogView {
        let epoch = epochs.last().map_or(0, |(e, _)| *e);
        LogView::new(&Recovered {
            log: LogSummary {
                start,
                end: OffsetAndEpoch { offset: end, epoch },
                epoch_starts: epochs.to_vec(),
            },
            snapshots: snaps
                .iter()
                .map(|(o, e)| OffsetAndEpoch { offset: *o, epoch: *e })
                .collect(),
            ..Recovered::default()
        })
    }

    fn at(offset: Offset, epoch: Epoch) -> OffsetAndEpoch {
        OffsetAndEpoch { offset, epoch }
    }

    #[test]
    fn end_offsets_of_epochs() {
        let log = log(0, &[(1, 0), (3, 10), (7, 20)], 30, &[]);
        assert_eq!(log.end_offset_for_epoch(0), at(0, 0));
        assert_eq!(log.end_offset_for_epoch(1), at(10, 1));
        assert_eq!(log.end_offset_for_epoch(2), at(10, 1));
        assert_eq!(log.end_offset_for_epoch(3), at(20, 3));
        assert_eq!(log.end_offset_for_epoch(6), at(20, 3));
        assert_eq!(log.end_offset_for_epoch(7), at(30, 7));
        assert_eq!(log.end_offset_for_epoch(9), at(30, 7));
    }

    #[test]
    fn fetch_positions_without_snapshot() {
        let log = log(0, &[(1, 0), (3, 10)], 20, &[]);
        assert_eq!(log.judge(0, 0), Position::Valid);
        assert_eq!(log.judge(10, 1), Position::Valid);
        assert_eq!(log.judge(20, 3), Position::Valid);
        assert_eq!(log.judge(21, 3), Position::Diverging(at(20, 3)));
        assert_eq!(log.judge(12, 1), Position::Diverging(at(10, 1)));
        assert_eq!(log.judge(12, 2), Position::Diverging(at(10, 1)));
        assert_eq!(log.judge(15, 9), Position::Diverging(at(20, 3)));
        assert_eq!(log.judge(5, 0), Position::Diverging(at(0, 0)));
    }

    #[test]
    fn fetch_positions_with_snapshots() {
        let mut log = log(0, &[(1, 0), (3, 10)], 20, &[(0, 0), (5, 1), (12, 3)]);
        assert_eq!(log.judge(0, 0), Position::Snapshot(at(12, 3)));
        assert_eq!(log.judge(1, 1), Position::Valid);
        assert_eq!(log.judge(15, 0), Position::Snapshot(at(12, 3)));
        log.move_start(12);
        assert_eq!(log.judge(11, 3), Position::Snapshot(at(12, 3)));
        assert_eq!(log.judge(12, 3), Position::Valid);
        assert_eq!(log.judge(12, 1), Position::Snapshot(at(12, 3)));
        assert_eq!(log.judge(20, 3), Position::Valid);
    }

    #[test]
    fn the_bootstrap_checkpoint_is_never_offered() {
        let log = log(0, &[(1, 0)], 3, &[(0, 0)]);
        assert_eq!(log.judge(0, 0), Position::Valid);
        assert_eq!(log.latest_snapshot(), None);
    }

    #[test]
    fn truncation_agrees_with_the_leader() {
        let log = log(0, &[(1, 0), (3, 10), (7, 20)], 30, &[]);
        assert_eq!(log.truncation_point(at(15, 3)), 15);
        assert_eq!(log.truncation_point(at(99, 3)), 20);
        assert_eq!(log.truncation_point(at(5, 2)), 10);
        assert_eq!(log.truncation_point(at(0, 0)), 0);
    }

    #[test]
    fn a_stale_sync_report_is_ignored_after_truncation() {
        let mut log = log(0, &[(1, 0)], 10, &[]);
        log.append(10, 20, 2);
        log.truncate(12);
        log.append(12, 25, 4);
        log.set_persisted(at(20, 2));
        assert_eq!(log.persisted(), 10);
        log.set_persisted(at(25, 4));
        assert_eq!(log.persisted(), 25);
    }

    #[test]
    fn an_installed_snapshot_is_the_whole_log() {
        let mut log = log(0, &[(1, 0)], 10, &[]);
        log.reset_to(at(100, 7));
        assert_eq!(log.end(), at(100, 7));
        assert_eq!(log.judge(100, 7), Position::Valid);
        log.append(100, 101, 8);
        assert_eq!(log.judge(100, 7), Position::Valid);
        assert_eq!(log.epoch_before(101), Some(8));
    }
}
