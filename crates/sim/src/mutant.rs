//! Known bugs, put back in on purpose: a simulator that does not find them proves nothing.

/// A bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// The vote is written and not synced before it is answered (Raft §5.2: persistent state).
    VoteNotSynced,
    /// A sync is reported before it is done: followers acknowledge, and leaders count, what a crash
    /// may take.
    AcknowledgeBeforeSync,
    /// The vote has one home only, which a start script deletes.
    VoteForgotten,
    /// A snapshot is written from the state of the step before.
    StaleSnapshot,
    /// A bug within raft or the node.
    #[cfg(feature = "mutants")]
    Raft(quorate_raft::Mutant),
}

impl Mutant {
    /// All, with their names on the command line and a number of seeds within which each must be
    /// found.
    pub const ALL: &[(&str, Mutant, u64)] = &[
        ("vote-not-synced", Mutant::VoteNotSynced, 100),
        ("acknowledge-before-sync", Mutant::AcknowledgeBeforeSync, 100),
        ("vote-forgotten", Mutant::VoteForgotten, 100),
        ("stale-snapshot", Mutant::StaleSnapshot, 100),
        #[cfg(feature = "mutants")]
        ("own-epoch-rule-dropped", Mutant::Raft(quorate_raft::Mutant::OwnEpochRuleDropped), 3000),
        #[cfg(feature = "mutants")]
        ("leader-resumes-epoch", Mutant::Raft(quorate_raft::Mutant::LeaderResumesEpoch), 100),
        #[cfg(feature = "mutants")]
        (
            "truncates-below-high-watermark",
            Mutant::Raft(quorate_raft::Mutant::TruncatesBelowHighWatermark),
            300,
        ),
        #[cfg(feature = "mutants")]
        (
            "overlapping-voter-changes",
            Mutant::Raft(quorate_raft::Mutant::OverlappingVoterChanges),
            300,
        ),
        #[cfg(feature = "mutants")]
        ("votes-for-stale-logs", Mutant::Raft(quorate_raft::Mutant::VotesForStaleLogs), 300),
        #[cfg(feature = "mutants")]
        ("minority-commits", Mutant::Raft(quorate_raft::Mutant::MinorityCommits), 100),
        #[cfg(feature = "mutants")]
        ("empty-disk-votes", Mutant::Raft(quorate_raft::Mutant::EmptyDiskVotes), 3000),
        #[cfg(feature = "mutants")]
        (
            "stale-image-after-resigning",
            Mutant::Raft(quorate_raft::Mutant::StaleImageAfterResigning),
            100,
        ),
    ];
}
