//! The voter set changes by one voter at a time, so that majorities overlap, and not before the change
//! before it is committed.
//!
//! Source: Raft dissertation §4.1 and Ongaro's correction of 2015; KIP-853 "Reconfiguration";
//! reconfiguration preconditions of the kip_853 TLA+ module.

use super::shadow::{Shadow, voters_in};
use bytes::Bytes;
use quorate_base::{NodeId, Offset};

/// Nothing to remember beside the logs.
#[derive(Default)]
pub struct VoterChanges;

impl VoterChanges {
    /// A leader appends a batch to its log, which `log` already has.
    pub fn leader_appends(
        &mut self,
        id: NodeId,
        log: &Shadow,
        bytes: &Bytes,
        committed_end: Offset,
    ) {
        let Some((offset, after)) = voters_in(bytes) else { return };
        let earlier = log.voters.iter().rev().find(|(at, _)| *at < offset);
        let Some((before_offset, before)) = earlier else { return };
        let changed = before.symmetric_difference(&after).count();
        assert!(
            changed <= 1,
            "VOTER CHANGES: c{id} goes from {before:?} to {after:?} at offset {offset}"
        );
        assert!(
            changed == 0 || *before_offset < committed_end,
            "VOTER CHANGES: c{id} changes the voters at {offset}, and the change at \
             {before_offset} is not committed"
        );
    }
}
