//! Health that tells the truth: whether this node is alive, whether it is of use, and which voters may
//! stop. Pure: from what the core thread last showed to a verdict.

use crate::config::address::Listener;
use crate::driver::meter::CoreView;
use quorate_base::{Now, Offset, ReplicaKey, Time};
use quorate_raft::{Endpoint, Member, Role};
use std::time::Duration;

/// The core thread goes round each half second; after this long without, it is stuck.
pub const CORE_STUCK: Duration = Duration::from_secs(10);
/// A sync that takes longer than this leaves the node of no use.
const DISK_STUCK: Duration = Duration::from_secs(10);

/// What verdicts are made of.
#[derive(Clone, Copy)]
pub struct Signs<'a> {
    /// The node, once its core thread runs.
    pub view: Option<&'a CoreView>,
    /// When the core thread last went round; nothing before it started.
    pub heartbeat: Option<Time>,
    /// Whether the process was told to stop.
    pub stopping: bool,
    /// Now.
    pub now: Now,
}

/// Whether the core thread moves; else, why not.
pub fn alive(signs: &Signs<'_>) -> Result<(), String> {
    // Before the core thread starts, the process loads its snapshot, which takes as long as it takes.
    let Some(heartbeat) = signs.heartbeat else { return Ok(()) };
    let age = signs.now.time.since(heartbeat);
    if age > CORE_STUCK {
        return Err(format!("the core thread has not moved for {} s", age.as_secs()));
    }
    Ok(())
}

/// Whether this node does its part now; else, why not.
pub fn ready(signs: &Signs<'_>) -> Result<(), String> {
    if signs.stopping {
        return Err("the process was told to stop".to_owned());
    }
    alive(signs)?;
    let (Some(view), Some(heartbeat)) = (signs.view, signs.heartbeat) else {
        return Err("starting: the newest snapshot and the log are being read".to_owned());
    };
    let lately = view.node.quorum.fetch_timeout;
    let still = signs.now.time.since(heartbeat);
    if still > lately.max(Duration::from_secs(1)) {
        return Err(format!("the core thread has not moved for {} ms", still.as_millis()));
    }
    if let Some(since) = view.unsynced_since
        && signs.now.time.since(since) > DISK_STUCK
    {
        let waited = signs.now.time.since(since).as_secs();
        return Err(format!("the disk has not synced an append for {waited} s"));
    }
    let status = &view.node.status;
    match view.node.quorum.role {
        Role::Leader if status.active => Ok(()),
        Role::Leader => Err(format!(
            "leads epoch {} but does not decide yet: applied up to {}, log end {}, high watermark {}",
            status.epoch,
            status.applied,
            status.log_end,
            shown(status.high_watermark),
        )),
        Role::Follower => following(view, signs.now, lately),
        Role::Resigned => Err(format!("has resigned in epoch {}", status.epoch)),
        Role::Unattached => Err("no leader is known".to_owned()),
        Role::Prospective | Role::Candidate => {
            Err(format!("no leader is known; asks for votes in epoch {}", status.epoch))
        }
    }
}

fn following(view: &CoreView, now: Now, lately: Duration) -> Result<(), String> {
    let status = &view.node.status;
    let Some(following) = view.node.quorum.following else {
        return Err("no leader is known".to_owned());
    };
    let leader = following.leader;
    let Some(last) = following.last_fetch else {
        return Err(format!("has not fetched from leader {leader} yet"));
    };
    let silent = now.time.since(last);
    if silent > lately {
        return Err(format!(
            "the last successful fetch from leader {leader} was {} ms ago",
            silent.as_millis()
        ));
    }
    if let Some((id, bytes)) = following.download {
        return Err(format!("fetches snapshot {id} from leader {leader}: {bytes} bytes so far"));
    }
    let target = status.high_watermark.max(following.leader_high_watermark);
    if view.caught_up.is_some_and(|at| now.time.since(at) <= lately) {
        return Ok(());
    }
    Err(format!(
        "is behind: applied up to {}, log end {}, the leader's high watermark {}",
        status.applied,
        status.log_end,
        shown(target),
    ))
}

fn shown(offset: Option<Offset>) -> String {
    offset.map_or_else(|| "unknown".to_owned(), |it| it.to_string())
}

/// One voter as the leader knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standby {
    /// Node id and directory id.
    pub key: ReplicaKey,
    /// Where it listens.
    pub listeners: Vec<Endpoint>,
    /// The leader itself.
    pub is_self: bool,
    /// End of its synced log.
    pub log_end: Option<Offset>,
    /// Records that it lacks of the leader's log.
    pub lag: Option<Offset>,
    /// Time since it last fetched.
    pub since_fetch: Option<Duration>,
    /// By the wall clock, in milliseconds.
    pub last_fetch_ms: Option<i64>,
    /// By the wall clock, in milliseconds.
    pub last_caught_up_ms: Option<i64>,
    /// Fetched lately, and has had all that is committed lately.
    pub in_step: bool,
    /// Whether the others in step are still a majority without it.
    pub may_stop: bool,
}

/// The voters as the leader knows them; nothing elsewhere.
pub fn standbys(view: &CoreView, node_id: i32, now: Now) -> Option<Vec<Standby>> {
    if view.node.quorum.role != Role::Leader {
        return None;
    }
    let mut all: Vec<Standby> =
        view.node.quorum.voters.iter().map(|it| standby(view, it, node_id, now)).collect();
    let in_step = all.iter().filter(|it| it.in_step).count();
    let majority = all.len() / 2 + 1;
    for one in &mut all {
        one.may_stop = in_step - usize::from(one.in_step) >= majority;
    }
    Some(all)
}

fn standby(view: &CoreView, member: &Member, node_id: i32, now: Now) -> Standby {
    let quorum = &view.node.quorum;
    let is_self = member.key.id == node_id && quorum.is_voter;
    let lately = quorum.fetch_timeout;
    // Ages are as of the view: between two of them nothing is known.
    let since_fetch = member.last_fetch.map(|at| view.at.time.since(at));
    let reachable = since_fetch.is_some_and(|it| it <= lately);
    let has_all = match (member.log_end, quorum.high_watermark) {
        (Some(end), Some(high_watermark)) => end >= high_watermark,
        _ => false,
    };
    let lately_ms = i64::try_from(lately.as_millis()).unwrap_or(i64::MAX);
    let was_caught_up =
        member.last_caught_up_ms.is_some_and(|at| view.at.wall_ms.saturating_sub(at) <= lately_ms);
    Standby {
        key: member.key,
        listeners: member.listeners.clone(),
        is_self,
        log_end: member.log_end,
        lag: member.log_end.map(|end| (quorum.log_end.offset - end).max(0)),
        since_fetch: member.last_fetch.map(|at| now.time.since(at)),
        last_fetch_ms: member.last_fetch_ms,
        last_caught_up_ms: member.last_caught_up_ms,
        in_step: is_self || (reachable && (has_all || was_caught_up)),
        may_stop: false,
    }
}

/// Whether a node may be stopped without loss of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopVerdict {
    /// Nothing where only the leader can tell.
    pub answer: Option<bool>,
    /// The reason, in words.
    pub why: String,
}

/// Whether the quorum goes on if `node` stops now. A follower does not know the others: it says whom
/// to ask.
pub fn may_stop(view: &CoreView, node: i32, node_id: i32, now: Now) -> StopVerdict {
    let verdict = |answer, why| StopVerdict { answer, why };
    let quorum = &view.node.quorum;
    let voter = quorum.voters.iter().find(|it| it.key.id == node);
    if voter.is_none() && node != node_id {
        let ids: Vec<String> = quorum.voters.iter().map(|it| it.key.id.to_string()).collect();
        return verdict(None, format!("{node} is no voter; those are {}", ids.join(", ")));
    }
    let Some(standbys) = standbys(view, node_id, now) else {
        if voter.is_none() && quorum.leader.is_some() {
            return verdict(Some(true), "this node is no voter".to_owned());
        }
        let leader = quorum.leader.and_then(|id| quorum.voters.iter().find(|it| it.key.id == id));
        let why = match leader {
            Some(leader) => format!(
                "only the leader knows: ask node {} ({})",
                leader.key.id,
                endpoints(&leader.listeners).join(", ")
            ),
            None => "only a leader knows, and none is known here".to_owned(),
        };
        return verdict(None, why);
    };
    let in_step = standbys.iter().filter(|it| it.in_step).count();
    let majority = standbys.len() / 2 + 1;
    let Some(one) = standbys.iter().find(|it| it.key.id == node) else {
        let why = "this node leads but is no voter any more".to_owned();
        return verdict(Some(spare(&standbys) >= 0), why);
    };
    let without = in_step - usize::from(one.in_step);
    let why = format!(
        "{in_step} of {} voters are in step, {without} without node {node}; a majority is {majority}",
        standbys.len(),
    );
    verdict(Some(one.may_stop), why)
}

/// Listeners as Kafka writes them.
pub fn endpoints(listeners: &[Endpoint]) -> Vec<String> {
    let one = |it: &Endpoint| {
        let (name, host, port) = (it.name.clone(), it.host.clone(), it.port);
        Listener { name, host, port }.to_string()
    };
    listeners.iter().map(one).collect()
}

/// How many voters in step there are beyond a majority.
pub fn spare(standbys: &[Standby]) -> i64 {
    let in_step = standbys.iter().filter(|it| it.in_step).count() as i64;
    in_step - (standbys.len() as i64 / 2 + 1)
}
