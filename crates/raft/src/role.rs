use crate::leader::LeaderState;
use quorate_base::{NodeId, OffsetAndEpoch, ReplicaKey, Time};
use std::collections::BTreeSet;

/// The part a replica plays. An observer is a replica that is not in the voter set; it is only ever
/// `Unattached` or `Follower`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Knows no leader it can fetch from.
    Unattached,
    /// Asks whether it would win an election (KIP-996), in the current epoch.
    Prospective,
    /// Stands for election in a new epoch.
    Candidate,
    /// Fetches from a leader.
    Follower,
    /// Leads.
    Leader,
    /// Led this epoch and gave up: does not vote in it any more.
    Resigned,
}

#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    Unattached(Unattached),
    Prospective(Election),
    Candidate(Election),
    Follower(Follower),
    Leader(Box<LeaderState>),
    Resigned(Resigned),
}

#[derive(Clone, Debug)]
pub(crate) struct Unattached {
    /// When a voter stands for election.
    pub election_deadline: Time,
}

#[derive(Clone, Debug)]
pub(crate) struct Election {
    pub granted: BTreeSet<NodeId>,
    pub rejected: BTreeSet<NodeId>,
    /// Voters that refused or lost the connection, until they answer.
    pub unreachable: BTreeSet<NodeId>,
    /// When this attempt ends: at the election timeout, or sooner if it is lost.
    pub deadline: Time,
    /// Prospective only: the leader this replica had given up and may return to.
    pub leader: Option<NodeId>,
    /// Prospective only: begun on suspicion, before the fetch timeout. It must not end in a real
    /// vote that nobody was asked about.
    pub only_suspicion: bool,
    /// Begun on suspicion only: when the leader counts as lost, whatever comes of it.
    pub fetch_deadline: Option<Time>,
}

impl Election {
    /// One that has this replica's own vote.
    pub fn new(me: NodeId, deadline: Time) -> Election {
        Election {
            granted: BTreeSet::from([me]),
            rejected: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            deadline,
            leader: None,
            only_suspicion: false,
            fetch_deadline: None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub leader: NodeId,
    /// When the leader counts as lost.
    pub fetch_deadline: Time,
    /// Set once the leader is suspected: when to ask the others.
    pub suspect_at: Option<Time>,
    /// The leader said that it resigned: stand for election at `suspect_at` without asking.
    pub leader_resigned: bool,
    /// This replica is the first of the successors it named.
    pub stand_at_once: bool,
    /// True once a fetch succeeded: from then on pre-votes are refused.
    pub has_fetched: bool,
    /// When a fetch last succeeded, and the high watermark that its answer named.
    pub last_fetch: Option<Time>,
    pub leader_high_watermark: Option<quorate_base::Offset>,
    /// The leader has answered a fetch with records, or with none: this log is the beginning of its
    /// log. An answer that names a point to cut at, or a snapshot, does not say so yet.
    pub agrees: bool,
    pub download: Option<Download>,
    /// When to compare this replica's entry in the voter set with its configuration.
    pub update_voter_at: Time,
    /// The leader of this epoch accepted this replica's endpoints.
    pub updated_leader: bool,
    /// Observer only: when to try to join the voter set.
    pub join_at: Time,
}

/// A snapshot on its way here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Download {
    pub id: OffsetAndEpoch,
    pub position: u64,
    /// All bytes are here; the driver checks and installs them.
    pub installing: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Resigned {
    /// When a voter that stays in the quorum stands again.
    pub deadline: Time,
    /// Voters that have not acknowledged EndQuorumEpoch.
    pub unacknowledged: BTreeSet<NodeId>,
    /// Best successor first.
    pub successors: Vec<ReplicaKey>,
}
