//! `quorum-state`, `quorate.vote`, and whether they fit the log.

use crate::files;
use crate::finding::{Finding, Kind, Place};
use crate::log::LogState;
use crate::voters::voter_ids;
use quorate_base::{NodeId, ReplicaKey};
use quorate_storage::{ElectionState, QUORUM_STATE, VOTE, parse_quorum_state, parse_vote};
use std::io;
use std::path::{Path, PathBuf};

/// What the two homes of a node's vote say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VoteState {
    /// `quorum-state`, and its layout.
    pub kafka: Option<(ElectionState, i32)>,
    /// `quorate.vote`.
    pub own: Option<ElectionState>,
}

impl VoteState {
    /// The highest epoch in either.
    pub fn epoch(&self) -> i32 {
        let kafka = self.kafka.as_ref().map(|(state, _)| state.epoch);
        kafka.max(self.own.as_ref().map(|state| state.epoch)).unwrap_or(0)
    }

    /// The static voters, of a file of layout 0.
    pub fn static_voters(&self) -> Option<&[NodeId]> {
        let (state, _) = self.kafka.as_ref()?;
        (!state.voters.is_empty()).then_some(&state.voters)
    }
}

/// Reads both files.
pub(crate) fn read(root: &Path, dir: Option<&Path>, findings: &mut Vec<Finding>) -> VoteState {
    let mut state = VoteState::default();
    if let Some(path) = dir.map(|dir| dir.join(QUORUM_STATE))
        && let Some(text) = text(&path, findings)
    {
        match parse_quorum_state(&text) {
            Ok(election) => {
                // A file of layout 0 lists the voters, even if there are none.
                let layout = if text.contains("currentVoters") { 0 } else { 1 };
                state.kafka = Some((election, layout));
            }
            Err(_) if text.trim().is_empty() => {
                findings.push(Finding { place: Place::of(path), kind: Kind::EmptyQuorumState });
            }
            Err(why) => {
                let kind = Kind::BadQuorumState { why };
                findings.push(Finding { place: Place::of(path), kind });
            }
        }
    }
    let path = root.join(VOTE);
    if let Some(text) = text(&path, findings) {
        match parse_vote(&text) {
            Ok(election) => state.own = Some(election),
            Err(why) => {
                findings.push(Finding { place: Place::of(path), kind: Kind::BadVote { why } });
            }
        }
    }
    state
}

fn text(path: &PathBuf, findings: &mut Vec<Finding>) -> Option<String> {
    match files::read_text(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let kind = Kind::Unreadable { why: error.to_string() };
            findings.push(Finding { place: Place::of(path), kind });
            None
        }
    }
}

/// Holds both against each other and against the log.
pub(crate) fn check(
    root: &Path,
    dir: &Path,
    vote: &VoteState,
    log: &LogState,
    findings: &mut Vec<Finding>,
) {
    let (kafka_path, own_path) = (dir.join(QUORUM_STATE), root.join(VOTE));
    let has_records = log.segments.iter().any(|segment| segment.batches > 0);
    let mut note = |path: &Path, kind| findings.push(Finding { place: Place::of(path), kind });
    match &vote.kafka {
        None if has_records && !kafka_path.exists() => note(&kafka_path, Kind::NoQuorumState),
        None => {}
        Some((kafka, layout)) => {
            if kafka.epoch < log.end.epoch && vote.epoch() < log.end.epoch {
                let (epoch, log) = (kafka.epoch, log.end.epoch);
                note(&kafka_path, Kind::EpochBelowLog { epoch, log });
            }
            let version = log.kraft_version;
            if has_records && (*layout == 0) == (version >= 1) {
                let layout = *layout;
                note(&kafka_path, Kind::QuorumStateLayout { layout, kraft_version: version });
            }
        }
    }
    let latest = match (&vote.kafka, &vote.own) {
        (Some((kafka, _)), Some(own)) if own.epoch > kafka.epoch => Some((own, &own_path)),
        (Some((kafka, _)), _) => Some((kafka, &kafka_path)),
        (None, own) => own.as_ref().map(|own| (own, &own_path)),
    };
    if let (Some((state, path)), Some((voters, keys))) = (latest, known_voters(vote, log)) {
        if let Some(voted) = state.voted.filter(|voted| !is_voter(*voted, &voters, &keys)) {
            note(path, Kind::VoteForStranger { voted, voters: voters.clone() });
        }
        if let Some(leader) = state.leader_id.filter(|leader| !voters.contains(leader)) {
            note(path, Kind::StrangeLeader { leader, voters });
        }
    }
    if let (Some((kafka, _)), Some(own)) = (&vote.kafka, &vote.own) {
        let (of_own, of_kafka) = (own.epoch, kafka.epoch);
        if of_own > of_kafka {
            note(&own_path, Kind::OwnVoteIsLater { own: of_own, kafka: of_kafka });
        } else if of_own < of_kafka {
            note(&own_path, Kind::OwnVoteIsOlder { own: of_own, kafka: of_kafka });
        } else if let (Some(kafka), Some(own)) = (kafka.voted, own.voted)
            && !same_replica(kafka, own)
        {
            note(&own_path, Kind::TwoVotes { epoch: of_own, kafka, own });
        }
    }
    if vote.own.as_ref().is_some_and(|own| own.recovering) {
        note(&own_path, Kind::Recovering);
    }
}

/// Ids of the voters, and their keys where directories are known.
fn known_voters(vote: &VoteState, log: &LogState) -> Option<(Vec<NodeId>, Vec<ReplicaKey>)> {
    if let Some(dynamic) = &log.voters {
        let keys = dynamic.voters.iter().map(|voter| voter.key).collect();
        return Some((voter_ids(&dynamic.voters), keys));
    }
    let ids = vote.static_voters().map(<[NodeId]>::to_vec);
    let ids = ids.or_else(|| log.leader.as_ref().map(|leader| leader.voters.clone()))?;
    Some((ids, Vec::new()))
}

fn is_voter(key: ReplicaKey, ids: &[NodeId], keys: &[ReplicaKey]) -> bool {
    if keys.is_empty() {
        return ids.contains(&key.id);
    }
    keys.iter().any(|voter| same_replica(*voter, key))
}

/// A directory that one side does not know matches.
pub(crate) fn same_replica(a: ReplicaKey, b: ReplicaKey) -> bool {
    let directories = a.directory_id.zip(b.directory_id);
    a.id == b.id && directories.is_none_or(|(a, b)| a == b)
}
