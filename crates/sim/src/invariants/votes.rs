//! No vote is given twice in an epoch, however often the voter crashes in between.
//!
//! Source: Raft §5.2 ("each server will vote for at most one candidate in a given term"); KIP-595
//! "Vote"; KIP-853 for the directory id, which makes a replaced disk another voter.

use quorate_base::{Epoch, NodeId, Uuid};
use std::collections::BTreeMap;

/// Who voted for whom.
#[derive(Default)]
pub struct Votes {
    given: BTreeMap<(NodeId, u128, Epoch), NodeId>,
}

impl Votes {
    /// A vote is written down, which comes before it is said.
    pub fn given(&mut self, (id, directory): (NodeId, Uuid), epoch: Epoch, candidate: NodeId) {
        let key = (id, directory.as_u128(), epoch);
        let first = *self.given.entry(key).or_insert(candidate);
        assert_eq!(
            first, candidate,
            "VOTES: c{id} votes for c{first} and for c{candidate} in epoch {epoch}"
        );
    }
}
