//! Known bugs that a test may put back in (feature `mutants`, off in every build that ships): the
//! simulator must find each.

/// A bug.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A leader commits records of earlier epochs by counting replicas (against Raft §5.4.2).
    OwnEpochRuleDropped,
    /// A restarted leader goes on leading its epoch.
    LeaderResumesEpoch,
    /// A follower that diverges empties its log, whatever is committed in it.
    TruncatesBelowHighWatermark,
    /// A change of the voter set does not wait for the one before it.
    OverlappingVoterChanges,
    /// Votes go to candidates whose logs are behind (against Raft §5.4.1).
    VotesForStaleLogs,
    /// One voter less than a majority is enough to commit.
    MinorityCommits,
    /// A voter with an empty disk votes and acknowledges at once (docs/decisions/0003-empty-log.md).
    EmptyDiskVotes,
    /// The node's, not raft's: a leader that resigns takes what it had decided for committed.
    StaleImageAfterResigning,
}

/// Whether that bug is put in: `false`, at compile time, without the feature.
macro_rules! mutated {
    ($raft:expr, $bug:ident) => {{
        #[cfg(feature = "mutants")]
        let mutated = $raft.config.mutant == Some(crate::Mutant::$bug);
        #[cfg(not(feature = "mutants"))]
        let mutated = false;
        mutated
    }};
}
pub(crate) use mutated;
