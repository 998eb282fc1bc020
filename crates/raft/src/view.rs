//! What a replica knows of its quorum, copied out for those who only look: health checks, metrics,
//! the operator.

use crate::leader::Progress;
use crate::raft::Raft;
use crate::role::RoleState;
use crate::{Endpoint, Role};
use quorate_base::{Epoch, NodeId, Offset, OffsetAndEpoch, ReplicaKey, Time};
use std::time::Duration;

/// A replica's view of the quorum at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct QuorumView {
    /// The part this replica plays.
    pub role: Role,
    /// Whether this very replica is in the voter set.
    pub is_voter: bool,
    /// The current epoch.
    pub epoch: Epoch,
    /// Whom this replica voted for in the epoch.
    pub voted: Option<ReplicaKey>,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The voter set in force, by id.
    pub voters: Vec<Member>,
    /// Who else fetches; known to the leader only.
    pub observers: Vec<Member>,
    /// The finalised kraft.version.
    pub kraft_version: u16,
    /// Whether a change of the voter set is under way; known to the leader only.
    pub voter_change: Option<bool>,
    /// First offset of the log.
    pub log_start: Offset,
    /// One past the last record appended, and its epoch.
    pub log_end: OffsetAndEpoch,
    /// All below is synced here.
    pub persisted: Offset,
    /// All below is committed, where known.
    pub high_watermark: Option<Offset>,
    /// The newest snapshot, the bootstrap checkpoint aside.
    pub latest_snapshot: Option<OffsetAndEpoch>,
    /// How this replica follows, if it does.
    pub following: Option<Following>,
    /// `controller.quorum.fetch.timeout.ms`: what "lately" means in a quorum.
    pub fetch_timeout: Duration,
}

/// One replica as another knows it. The leader knows how far it is; others know its place alone.
#[derive(Clone, PartialEq, Debug)]
pub struct Member {
    /// Node id and directory id.
    pub key: ReplicaKey,
    /// Where it listens; empty for observers.
    pub listeners: Vec<Endpoint>,
    /// End of its synced log as of its last fetch.
    pub log_end: Option<Offset>,
    /// When it last fetched.
    pub last_fetch: Option<Time>,
    /// The same by the wall clock, in milliseconds.
    pub last_fetch_ms: Option<i64>,
    /// When it last had all that the leader had, by the wall clock, in milliseconds.
    pub last_caught_up_ms: Option<i64>,
}

/// A follower's or observer's tie to its leader.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Following {
    /// The leader.
    pub leader: NodeId,
    /// When a fetch last succeeded in this epoch.
    pub last_fetch: Option<Time>,
    /// The high watermark that the leader named last; it may lie beyond the local log.
    pub leader_high_watermark: Option<Offset>,
    /// The snapshot that is being fetched or installed, and how many bytes of it are here.
    pub download: Option<(OffsetAndEpoch, u64)>,
}

impl Raft {
    /// Copies out what this replica knows of its quorum. Costs a few allocations for each voter and
    /// observer.
    pub fn view(&self) -> QuorumView {
        let leader_state = match &self.role {
            RoleState::Leader(state) => Some(state),
            _ => None,
        };
        let me = self.config.local_key();
        let voter = |voter: &crate::Voter| {
            let mut member = match leader_state.and_then(|it| it.voters.get(&voter.key.id)) {
                Some(progress) => Member::of(progress),
                None => Member::unknown(voter.key),
            };
            member.listeners.clone_from(&voter.listeners);
            if voter.key.id == me.id && self.is_voter() {
                member.key = me;
                member.listeners.clone_from(&self.config.listeners);
                member.log_end = Some(self.log.persisted());
            }
            member
        };
        let following = match &self.role {
            RoleState::Follower(state) => Some(Following {
                leader: state.leader,
                last_fetch: state.last_fetch,
                leader_high_watermark: state.leader_high_watermark,
                download: state.download.map(|it| (it.id, it.position)),
            }),
            _ => None,
        };
        QuorumView {
            role: self.role(),
            is_voter: self.is_voter(),
            epoch: self.epoch,
            voted: self.voted,
            leader: self.leader().map(|(leader, _)| leader),
            voters: self.voters().iter().map(voter).collect(),
            observers: leader_state
                .map(|it| it.observers.values().map(Member::of).collect())
                .unwrap_or_default(),
            kraft_version: self.kraft_version(),
            voter_change: leader_state.map(|it| it.change.is_some()),
            log_start: self.log.start(),
            log_end: self.log.end(),
            persisted: self.log.persisted(),
            high_watermark: self.high_watermark,
            latest_snapshot: self.log.latest_snapshot(),
            following,
            fetch_timeout: self.config.fetch_timeout,
        }
    }
}

impl Member {
    fn unknown(key: ReplicaKey) -> Member {
        Member {
            key,
            listeners: Vec::new(),
            log_end: None,
            last_fetch: None,
            last_fetch_ms: None,
            last_caught_up_ms: None,
        }
    }

    fn of(progress: &Progress) -> Member {
        let ever = |ms: i64| (ms >= 0).then_some(ms);
        Member {
            key: progress.key,
            listeners: Vec::new(),
            log_end: progress.end,
            last_fetch: progress.last_fetch,
            last_fetch_ms: ever(progress.last_fetch_ms),
            last_caught_up_ms: ever(progress.last_caught_up_ms),
        }
    }
}
