//! `quorate takeover may-stop ID`: whether the quorum can do without a controller at this moment.

use super::survey::{Replica, Survey};
use super::{refused, wrong};
use crate::args::Parsed;
use crate::failure::Failure;
use crate::quorum::leader::Quorum;
use quorate_base::NodeId;
use serde_json::json;

/// Kafka's default of `controller.quorum.fetch.timeout.ms`.
const FETCH_TIMEOUT_MS: i64 = 2000;

/// Asks and tells; ends with 3 for a no.
pub fn may_stop(args: &Parsed, id: &str) -> Result<(), Failure> {
    let id = id.parse().ok().filter(|id: &NodeId| *id >= 0);
    let id = id.ok_or_else(|| wrong("may-stop: expected the id of a controller"))?;
    let quorum = Quorum::from_args(args)?;
    loop {
        let survey = Survey::take(&quorum)?;
        let fetch_timeout_ms = survey.fetch_timeout_ms().unwrap_or(FETCH_TIMEOUT_MS);
        let verdict = decide(&survey, id, fetch_timeout_ms, args.has("accept-outage"));
        if verdict.is_err() && args.has("wait") && !quorum.is_over() {
            quorum.pause();
            continue;
        }
        let (may, text) = match &verdict {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        if args.has("json") {
            let is_leader = survey.leader_id == id;
            println!("{}", json!({"id": id, "mayStop": may, "isLeader": is_leader, "why": text}));
        } else {
            println!("{}: {text}", if may { "yes" } else { "no" });
        }
        return if may { Ok(()) } else { Err(refused()) };
    }
}

/// Yes or no, with the reason. A leader that answers is known to the caller by now.
pub fn decide(
    survey: &Survey,
    id: NodeId,
    fetch_timeout_ms: i64,
    accept_outage: bool,
) -> Result<String, String> {
    if !survey.voters.contains_key(&id) {
        return if survey.observers.contains_key(&id) {
            Ok(format!("node {id} is no voter; the quorum does not count on it"))
        } else {
            Err(format!(
                "node {id} is unknown to the quorum; its voters are {}",
                ids(survey.voters.keys())
            ))
        };
    }
    let needed = survey.voters.len() / 2 + 1;
    let others = survey.voters.iter().filter(|(other, _)| **other != id);
    let (ready, late): (Vec<_>, Vec<_>) = others.partition(|(other, replica)| {
        // One that was stopped a moment ago still looks caught up to the leader.
        survey.silence(**other).is_none()
            && (**other == survey.leader_id || is_caught_up(replica, fetch_timeout_ms))
    });
    let leads = survey.leader_id == id;
    let count = survey.voters.len();
    if ready.len() < needed {
        if count <= 2 && late.is_empty() {
            let why = format!(
                "node {id} is one of {count} voter(s): without it there is no leader, and nothing \
                 about metadata can change until it is back"
            );
            return if accept_outage {
                Ok(format!("{why} (accepted by --accept-outage)"))
            } else {
                Err(format!(
                    "{why}. Brokers go on serving what they lead. Either say --accept-outage, or \
                     grow a dynamic quorum first"
                ))
            };
        }
        let late: Vec<String> =
            late.iter().map(|(other, replica)| lateness(survey, **other, replica)).collect();
        return Err(format!(
            "without node {id}, {} of {count} voters have all that is committed, and {needed} are \
             needed: {}. Wait for them, or start them",
            ready.len(),
            late.join("; ")
        ));
    }
    let spare = ready.len() - needed;
    let successors = if leads {
        "; it leads: on SIGTERM it hands over, and an election takes its time. Stop it last, or \
         transfer leadership first"
    } else {
        ""
    };
    Ok(format!(
        "{} other voters have caught up ({}), {needed} are needed, so {spare} more may fail while \
         node {id} is down{successors}",
        ready.len(),
        ids(ready.iter().map(|(other, _)| *other)),
    ))
}

/// Whether the leader heard of it, with nothing missing, within the fetch timeout.
pub fn is_caught_up(replica: &Replica, fetch_timeout_ms: i64) -> bool {
    replica.caught_up_ms_ago.is_some_and(|ms| ms <= fetch_timeout_ms)
}

fn lateness(survey: &Survey, id: NodeId, replica: &Replica) -> String {
    if let Some((address, why)) = survey.silence(id) {
        return format!("node {id} does not answer at {address} ({why})");
    }
    let behind = (survey.high_watermark - replica.log_end).max(0);
    match replica.caught_up_ms_ago {
        None => format!("node {id} has never caught up with this leader, {behind} records behind"),
        Some(ms) => format!("node {id} last caught up {ms} ms ago, {behind} records behind"),
    }
}

/// Ids as a list for people.
pub fn ids<'a>(ids: impl Iterator<Item = &'a NodeId>) -> String {
    ids.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::survey::Controller;
    use super::*;
    use std::collections::BTreeMap;

    /// Voters with the time since they caught up; -1 for never.
    fn survey(leader_id: NodeId, voters: &[(NodeId, i64)], observers: &[NodeId]) -> Survey {
        let replica = |ms: i64| Replica {
            directory_id: None,
            log_end: if ms < 0 { 40 } else { 100 },
            caught_up_ms_ago: Some(ms).filter(|ms| *ms >= 0),
        };
        Survey {
            cluster_id: "c".to_owned(),
            leader_id,
            leader_epoch: 3,
            high_watermark: 100,
            clock_ahead_ms: Some(0),
            voters: voters.iter().map(|(id, ms)| (*id, replica(*ms))).collect(),
            observers: observers.iter().map(|id| (*id, replica(0))).collect(),
            controllers: BTreeMap::new(),
        }
    }

    fn ask(survey: &Survey, id: NodeId) -> Result<String, String> {
        decide(survey, id, 2000, false)
    }

    #[test]
    fn a_follower_may_go_when_a_majority_of_all_stays() {
        let healthy = survey(1, &[(1, 0), (2, 300), (3, 400)], &[]);
        let yes = ask(&healthy, 2).unwrap();
        assert!(yes.contains("2 other voters have caught up (1, 3), 2 are needed, so 0 more"));
        let five = survey(1, &[(1, 0), (2, 1), (3, 1), (4, 1), (5, 5000)], &[]);
        assert!(ask(&five, 2).unwrap().contains("3 other voters"));
        assert!(ask(&five, 5).unwrap().contains("so 1 more may fail"));
    }

    #[test]
    fn the_leader_may_go_too_and_the_answer_says_that_it_leads() {
        let healthy = survey(1, &[(1, 0), (2, 300), (3, 400)], &[]);
        assert!(ask(&healthy, 1).unwrap().contains("it leads"));
        assert!(!ask(&healthy, 3).unwrap().contains("it leads"));
    }

    #[test]
    fn while_another_voter_is_down_or_behind_nobody_else_may_go() {
        let one_down = survey(1, &[(1, 0), (2, 300), (3, 9000)], &[]);
        let no = ask(&one_down, 2).unwrap_err();
        assert!(no.contains("1 of 3 voters have all") && no.contains("node 3 last caught up 9000"));
        let one_new = survey(1, &[(1, 0), (2, 300), (3, -1)], &[]);
        let no = ask(&one_new, 2).unwrap_err();
        assert!(no.contains("node 3 has never caught up with this leader, 60 records behind"));
        // The one that is down anyway may be stopped.
        assert!(ask(&one_down, 3).is_ok());
        // Not even to accept an outage helps: that is for quorums that are too small by design.
        assert!(decide(&one_down, 2, 2000, true).is_err());
    }

    #[test]
    fn one_stopped_a_moment_ago_does_not_count_although_the_leader_has_not_noticed() {
        let mut seen = survey(1, &[(1, 0), (2, 300), (3, 400)], &[]);
        let said = Err("connection refused".to_owned());
        seen.controllers.insert(3, Controller { address: "h:1".to_owned(), said });
        let no = ask(&seen, 2).unwrap_err();
        assert!(no.contains("node 3 does not answer at h:1 (connection refused)"), "{no}");
        assert!(ask(&seen, 3).is_ok());
    }

    #[test]
    fn too_small_a_quorum_needs_consent() {
        let alone = survey(1, &[(1, 0)], &[]);
        assert!(ask(&alone, 1).unwrap_err().contains("--accept-outage"));
        assert!(decide(&alone, 1, 2000, true).is_ok());
        let two = survey(1, &[(1, 0), (2, 100)], &[]);
        assert!(ask(&two, 2).is_err() && decide(&two, 2, 2000, true).is_ok());
    }

    #[test]
    fn observers_may_go_and_strangers_are_not_confused_with_them() {
        let healthy = survey(1, &[(1, 0), (2, 300), (3, 400)], &[7]);
        assert!(ask(&healthy, 7).is_ok());
        assert!(ask(&healthy, 8).unwrap_err().contains("its voters are 1, 2, 3"));
    }
}
