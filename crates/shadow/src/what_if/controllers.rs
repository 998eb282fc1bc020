//! A controller that stops: does the quorum go on?

use super::Misasked;
use quorate_base::{NodeId, Offset};

/// A voter as the leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoterLag {
    /// Its id.
    pub id: NodeId,
    /// Where its log ends, as far as the leader knows; `None` if it never fetched.
    pub log_end: Option<Offset>,
    /// How long ago it had everything, in milliseconds; `None` where not known.
    pub behind_ms: Option<i64>,
}

/// What stopping one controller would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StopController {
    /// The one to stop.
    pub id: NodeId,
    /// Number of voters; half of them and one more are needed.
    pub voters: usize,
    /// Needed for a majority.
    pub majority: usize,
    /// True if it is the leader: another one takes over.
    pub is_leader: bool,
    /// True if it has no vote: the quorum does not notice.
    pub is_observer: bool,
    /// The others that keep up.
    pub in_step: Vec<NodeId>,
    /// The others that do not.
    pub behind: Vec<NodeId>,
}

impl StopController {
    /// True if the others are a majority that keeps up.
    pub fn goes_on(&self) -> bool {
        self.is_observer || self.in_step.len() >= self.majority
    }

    /// How many more may fail then.
    pub fn spare(&self) -> usize {
        self.in_step.len().saturating_sub(self.majority)
    }
}

/// A voter that had everything within this time keeps up.
const IN_STEP_MS: i64 = 5_000;

/// `leader`: who leads; `high_watermark`: what is committed.
pub fn stop_controller(
    voters: &[VoterLag],
    leader: NodeId,
    high_watermark: Offset,
    id: NodeId,
) -> Result<StopController, Misasked> {
    if voters.is_empty() {
        return Err(Misasked("the quorum's voters are not known; ask a live one".to_owned()));
    }
    let keeps_up = |it: &VoterLag| {
        it.id == leader
            || it.log_end.is_some_and(|end| end >= high_watermark)
            || it.behind_ms.is_some_and(|ms| ms <= IN_STEP_MS)
    };
    let others = voters.iter().filter(|it| it.id != id);
    let (in_step, behind): (Vec<_>, Vec<_>) = others.copied().partition(keeps_up);
    Ok(StopController {
        id,
        voters: voters.len(),
        majority: voters.len() / 2 + 1,
        is_leader: leader == id,
        is_observer: voters.iter().all(|it| it.id != id),
        in_step: in_step.iter().map(|it| it.id).collect(),
        behind: behind.iter().map(|it| it.id).collect(),
    })
}
