//! Voter sets as they stand in control records, and what can be wrong with them.

use crate::finding::{Finding, Kind, Place};
use quorate_base::{NodeId, Offset, ReplicaKey};
use quorate_protocol::control::Voter;
use std::collections::BTreeSet;

/// Highest `kraft.version` that is known here.
pub(crate) const KRAFT_VERSION_MAX: i16 = 1;

/// A voter set and where it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VotersAt {
    /// Offset of the record; `None`: of a snapshot's head.
    pub offset: Option<Offset>,
    /// The voters.
    pub voters: Vec<Voter>,
}

/// Ids of these voters, ascending.
pub fn voter_ids(voters: &[Voter]) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = voters.iter().map(|voter| voter.key.id).collect();
    ids.sort_unstable();
    ids
}

/// What is wrong with a set by itself.
pub(crate) fn check(voters: &[Voter], place: &Place, findings: &mut Vec<Finding>) {
    let mut push = |kind| findings.push(Finding { place: place.clone(), kind });
    if voters.is_empty() {
        push(Kind::NoVoters);
    }
    for pair in voter_ids(voters).windows(2).filter(|pair| pair[0] == pair[1]) {
        push(Kind::DuplicateVoter { id: pair[0] });
    }
    for voter in voters.iter().filter(|voter| voter.endpoints.is_empty()) {
        push(Kind::VoterWithoutEndpoint { voter: voter.key });
    }
}

/// True if the sets differ by one voter at most, as a live quorum changes.
pub(crate) fn is_one_step(old: &[Voter], new: &[Voter]) -> bool {
    let keys = |set: &[Voter]| set.iter().map(|voter| voter.key).collect::<BTreeSet<ReplicaKey>>();
    keys(old).symmetric_difference(&keys(new)).count() <= 1
}
