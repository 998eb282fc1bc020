//! The newest part of the log, kept in memory: most fetches are answered from here, and a standby
//! applies committed records from here without reading the disk.

use crate::action::LogAppend;
use bytes::{Bytes, BytesMut};
use quorate_base::Offset;
use std::collections::VecDeque;

/// A contiguous run of batches that ends where the log ends.
#[derive(Debug)]
pub struct LogTail {
    batches: VecDeque<LogAppend>,
    end: Offset,
    bytes: usize,
    max_bytes: usize,
}

impl LogTail {
    /// An empty tail of a log that ends at `end`. At most about `max_bytes` are kept.
    pub fn new(end: Offset, max_bytes: usize) -> LogTail {
        LogTail { batches: VecDeque::new(), end, bytes: 0, max_bytes }
    }

    /// First offset that can be read from here; the log's end if nothing can.
    pub fn start(&self) -> Offset {
        self.batches.front().map_or(self.end, |batch| batch.base_offset)
    }

    /// The log's end.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Adds the log's new last batch, and forgets old ones beyond the budget. Batches at or after
    /// `keep_from` stay whatever the budget says: somebody still has to apply them.
    pub fn push(&mut self, batch: LogAppend, keep_from: Offset) {
        assert_eq!(batch.base_offset, self.end, "the log's batches are contiguous");
        assert!(batch.end_offset > batch.base_offset, "a batch holds at least one record");
        self.end = batch.end_offset;
        self.bytes += batch.bytes.len();
        self.batches.push_back(batch);
        while self.bytes > self.max_bytes && self.batches.len() > 1 {
            let Some(oldest) = self.batches.front() else { break };
            if oldest.end_offset > keep_from {
                break;
            }
            self.bytes -= oldest.bytes.len();
            self.batches.pop_front();
        }
    }

    /// The log was cut so that it ends at `to`.
    pub fn truncate(&mut self, to: Offset) {
        while let Some(last) = self.batches.back() {
            if last.end_offset <= to {
                break;
            }
            assert!(last.base_offset >= to, "the log is cut at batch boundaries");
            self.bytes -= last.bytes.len();
            self.batches.pop_back();
        }
        self.end = to;
    }

    /// The log was replaced by a snapshot and now starts and ends at `end`.
    pub fn reset(&mut self, end: Offset) {
        self.batches.clear();
        self.bytes = 0;
        self.end = end;
    }

    /// Whole batches from the one that contains `from`, before `end`, of about `max_bytes` but at
    /// least one. `None` if the tail does not reach back that far.
    pub fn read(&self, from: Offset, end: Offset, max_bytes: usize) -> Option<Bytes> {
        let mut chosen = self.from(from)?.take_while(|batch| batch.end_offset <= end).peekable();
        let first = chosen.next()?;
        if chosen.peek().is_none() || first.bytes.len() >= max_bytes {
            return Some(first.bytes.clone());
        }
        let mut out = BytesMut::from(&first.bytes[..]);
        for batch in chosen {
            if out.len() + batch.bytes.len() > max_bytes {
                break;
            }
            out.extend_from_slice(&batch.bytes);
        }
        Some(out.freeze())
    }

    /// The batches from the one that contains `from` on; `None` if the tail does not reach back so far.
    pub fn from(&self, from: Offset) -> Option<impl Iterator<Item = &LogAppend>> {
        if from < self.start() {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.end_offset <= from);
        Some(self.batches.range(first..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: Offset, end_offset: Offset, bytes: &'static [u8]) -> LogAppend {
        LogAppend {
            base_offset,
            end_offset,
            epoch: 1,
            append_time_ms: 0,
            bytes: Bytes::from_static(bytes),
        }
    }

    fn tail() -> LogTail {
        let mut tail = LogTail::new(10, 1000);
        tail.push(batch(10, 12, b"aa"), 0);
        tail.push(batch(12, 15, b"bbb"), 0);
        tail.push(batch(15, 16, b"c"), 0);
        tail
    }

    #[test]
    fn reads_whole_batches_and_at_least_one() {
        let tail = tail();
        assert_eq!(tail.read(10, 16, 100).as_deref(), Some(&b"aabbbc"[..]));
        assert_eq!(tail.read(11, 16, 5).as_deref(), Some(&b"aabbb"[..]));
        assert_eq!(tail.read(13, 16, 1).as_deref(), Some(&b"bbb"[..]));
        assert_eq!(tail.read(10, 15, 100).as_deref(), Some(&b"aabbb"[..]));
        assert_eq!(tail.read(9, 16, 100), None);
        assert_eq!(tail.read(16, 16, 100), None);
    }

    #[test]
    fn truncation_cuts_whole_batches() {
        let mut tail = tail();
        tail.truncate(12);
        assert_eq!((tail.start(), tail.end()), (10, 12));
        tail.truncate(10);
        assert_eq!((tail.start(), tail.end()), (10, 10));
    }

    #[test]
    fn budget_spares_what_is_not_applied_yet() {
        let mut tail = LogTail::new(0, 4);
        tail.push(batch(0, 1, b"aaaa"), 0);
        tail.push(batch(1, 2, b"bbbb"), 0);
        assert_eq!(tail.start(), 0, "nothing is applied, all is kept");
        tail.push(batch(2, 3, b"cccc"), 2);
        assert_eq!(tail.start(), 2);
    }
}
