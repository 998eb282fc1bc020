//! Which epoch starts where: the key to finding where two logs part.

use quorate_base::{Epoch, Offset, OffsetAndEpoch};

/// Epochs of the log in order, each with the offset of its first record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EpochCache {
    /// Ascending in both fields.
    starts: Vec<EpochStart>,
}

/// The first offset of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Offset of its first record.
    pub start_offset: Offset,
}

impl EpochCache {
    /// All epochs, ascending.
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Epoch of the last record; `None` for an empty log.
    pub fn last_epoch(&self) -> Option<Epoch> {
        self.starts.last().map(|start| start.epoch)
    }

    /// Epoch of the record at `offset`; `None` below the first. The caller checks the end.
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        let after = self.starts.partition_point(|start| start.start_offset <= offset);
        after.checked_sub(1).map(|i| self.starts[i].epoch)
    }

    /// The largest epoch not above `epoch` and where it ends, `log_end` being the end of the last;
    /// `None` if all are above. What a leader answers to a follower whose log parts from its own.
    pub fn end_offset_for(&self, epoch: Epoch, log_end: Offset) -> Option<OffsetAndEpoch> {
        let after = self.starts.partition_point(|start| start.epoch <= epoch);
        let found = self.starts[after.checked_sub(1)?].epoch;
        let offset = self.starts.get(after).map_or(log_end, |next| next.start_offset);
        Some(OffsetAndEpoch { offset, epoch: found })
    }

    /// A batch of `epoch` starts at `offset`. True if the epoch is new.
    pub(crate) fn note(&mut self, epoch: Epoch, offset: Offset) -> bool {
        if self.last_epoch() == Some(epoch) {
            return false;
        }
        assert!(self.last_epoch().is_none_or(|last| last < epoch), "epochs never fall in a log");
        self.starts.push(EpochStart { epoch, start_offset: offset });
        true
    }

    /// Forgets everything at and after `end`.
    pub(crate) fn truncate(&mut self, end: Offset) {
        self.starts.retain(|start| start.start_offset < end);
    }

    /// Forgets epochs that end at or before `start`, and lets the first begin there.
    pub(crate) fn advance_start(&mut self, start: Offset) {
        let first = self.starts.partition_point(|entry| entry.start_offset <= start);
        self.starts.drain(..first.saturating_sub(1));
        if let Some(entry) = self.starts.first_mut() {
            entry.start_offset = entry.start_offset.max(start);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.starts.clear();
    }

    /// The text of Kafka's `leader-epoch-checkpoint`.
    pub(crate) fn checkpoint_text(&self) -> String {
        let mut text = format!("0\n{}\n", self.starts.len());
        for start in &self.starts {
            text.push_str(&format!("{} {}\n", start.epoch, start.start_offset));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_where_epochs_end() {
        let mut cache = EpochCache::default();
        for (epoch, offset) in [(1, 0), (1, 5), (3, 10), (4, 25)] {
            cache.note(epoch, offset);
        }
        let end = |epoch| cache.end_offset_for(epoch, 30).map(|end| (end.epoch, end.offset));
        assert_eq!(
            [end(0), end(1), end(2), end(3), end(4), end(9)],
            [None, Some((1, 10)), Some((1, 10)), Some((3, 25)), Some((4, 30)), Some((4, 30))]
        );
        assert_eq!(
            [cache.epoch_at(-1), cache.epoch_at(9), cache.epoch_at(10)],
            [None, Some(1), Some(3)]
        );
        cache.advance_start(12);
        assert_eq!(cache.checkpoint_text(), "0\n2\n3 12\n4 25\n");
        cache.truncate(25);
        assert_eq!(cache.last_epoch(), Some(3));
    }
}
