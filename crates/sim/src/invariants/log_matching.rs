//! Log matching: a batch is named by its first offset and its epoch. Two logs that hold a batch of one
//! name hold the same bytes there, and the same before it.
//!
//! Source: Log Matching (Raft §5.3); `LogMatching` (kip_996) TLA+. By induction over what each append
//! follows, equal names mean equal logs up to there.

use super::shadow::Entry;
use bytes::Bytes;
use quorate_base::{Epoch, NodeId, Offset};
use std::collections::BTreeMap;

/// All batches ever appended anywhere.
#[derive(Default)]
pub struct LogMatching {
    known: BTreeMap<(Offset, Epoch), (Epoch, Bytes)>,
}

impl LogMatching {
    /// A node appends a batch to a log whose last record is of the epoch `before`.
    pub fn appended(&mut self, id: NodeId, before: Epoch, entry: &Entry) {
        assert!(before <= entry.epoch, "LOG MATCHING: c{id} appends an older epoch");
        let known = self
            .known
            .entry((entry.base, entry.epoch))
            .or_insert_with(|| (before, entry.bytes.clone()));
        assert_eq!(
            known.1, entry.bytes,
            "LOG MATCHING: c{id} has other records at offset {} epoch {}",
            entry.base, entry.epoch
        );
        assert_eq!(
            known.0, before,
            "LOG MATCHING: c{id} has another epoch before offset {} epoch {}",
            entry.base, entry.epoch
        );
    }
}
