//! Which log to go on from, with which voters, in which epoch; and what speaks against it.

use super::raise::Raise;
use crate::finding::{Kind, Severity};
use crate::survey::{Survey, SurveyOptions, survey};
use crate::vote::same_replica;
use quorate_base::{Epoch, NodeId, OffsetAndEpoch, ReplicaKey};
use quorate_protocol::control::{Voter, VoterEndpoint};
use quorate_storage::{BOOTSTRAP_SNAPSHOT_ID, LOCK, lock_holder};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How far the new epoch lies above the highest one seen. The voters that are gone may have held
/// elections that nobody here knows of; each raises the epoch by one, and even a quorum that fails
/// to elect anybody for an hour makes fewer than this.
pub const EPOCH_MARGIN: Epoch = 10_000;

/// Another address of a voter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointChange {
    /// Whose.
    pub id: NodeId,
    /// Listener name; `None`: as the voters have it now.
    pub name: Option<String>,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Log directories that survived, one for each node.
    pub directories: Vec<PathBuf>,
    /// The directory of the node that is to lead first; `None`: the best one of a voter.
    pub target: Option<PathBuf>,
    /// Ids of the voters to be; `None`: the target alone, or all of them if only addresses change.
    pub voters: Option<Vec<NodeId>>,
    /// Other addresses.
    pub endpoints: Vec<EndpointChange>,
}

/// One surviving directory.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The directory.
    pub directory: PathBuf,
    /// What it holds.
    pub survey: Survey,
    /// Node id and directory id.
    pub key: ReplicaKey,
    /// Whether it is a voter, as far as the best log tells.
    pub is_voter: bool,
}

/// The voters to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewVoters {
    /// `kraft.version` 0: they stand in everybody's configuration; only the vote is written.
    Static(Vec<NodeId>),
    /// `kraft.version` 1: a voter set is appended to the log.
    Dynamic {
        /// The finalised `kraft.version`.
        kraft_version: i16,
        /// The voters.
        voters: Vec<Voter>,
    },
}

impl NewVoters {
    /// Their ids, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        match self {
            NewVoters::Static(ids) => ids.clone(),
            NewVoters::Dynamic { voters, .. } => crate::voter_ids(voters),
        }
    }
}

/// What speaks against going on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A process uses the directory.
    InUse { directory: PathBuf, holder: String },
    /// The best log cannot be replayed to its end.
    NotReplayable { directory: PathBuf, why: String },
    /// A majority of the voters is here: they need only be started.
    MajorityIsHere { here: Vec<NodeId>, of: usize },
    /// Records may be lost, and nobody said that this is accepted.
    MayLose { here: usize, needed: usize },
}

/// What is going to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All directories, best log first.
    pub candidates: Vec<Candidate>,
    /// Whose log is kept: an index into `candidates`.
    pub source: usize,
    /// Which directory is written: an index into `candidates`.
    pub target: usize,
    /// The voters so far, as the best log has them.
    pub old_voters: Vec<ReplicaKey>,
    /// The voters to be.
    pub new_voters: NewVoters,
    /// Addresses where the old voters were, with their ids.
    pub old_addresses: Vec<(NodeId, String)>,
    /// The new epoch.
    pub epoch: Epoch,
    /// Where the kept log ends.
    pub end: OffsetAndEpoch,
    /// The kept log must be cut, or put together anew: what is left out and why.
    pub left_out: Vec<String>,
    /// What may be lost, in words; empty if nothing can be.
    pub may_lose: Vec<String>,
    /// What speaks against it.
    pub refusals: Vec<Refusal>,
}

/// Why there is no plan at all.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// Nothing to go on from.
    #[error("none of the directories holds a log that can be gone on from:\n{0}")]
    NothingThere(String),
}

impl Plan {
    /// The directory that is written.
    pub fn target(&self) -> &Candidate {
        &self.candidates[self.target]
    }

    /// The directory whose log is kept.
    pub fn source(&self) -> &Candidate {
        &self.candidates[self.source]
    }

    /// What is raised above the kept log, because brokers may know more than it tells; `None` if nothing
    /// can be lost.
    pub fn raise(&self) -> Option<Raise> {
        let image = self.source().survey.log.image.as_ref().filter(|_| !self.may_lose.is_empty());
        image.map(|it| Raise::of(&it.image))
    }

    /// Other voters' directories at hand: their votes are raised to the new epoch too.
    pub fn others(&self) -> impl Iterator<Item = &Candidate> {
        let target = self.target;
        let others = self.candidates.iter().enumerate().filter(move |(i, _)| *i != target);
        others.map(|(_, it)| it).filter(|it| it.is_voter)
    }
}

/// Looks at the directories and decides; changes nothing.
pub fn plan(request: &Request) -> Result<Plan, PlanError> {
    let mut candidates = read_all(request)?;
    candidates.sort_by_key(|it| std::cmp::Reverse(it.survey.log_end()));
    let best = &candidates[0].survey;
    let old_voters = old_voters(best);
    for it in &mut candidates {
        it.is_voter = old_voters.iter().any(|voter| same_replica(*voter, it.key));
    }
    let target = pick_target(request, &candidates)?;
    // Of equal logs the target's own: then nothing has to be copied.
    let source = match candidates[target].survey.log_end() == candidates[0].survey.log_end() {
        true => target,
        false => 0,
    };
    let kept = &candidates[source].survey;
    let new_voters = pick_voters(request, &candidates[target], kept, &old_voters)?;
    let mut plan = Plan {
        source,
        target,
        old_addresses: addresses(kept),
        epoch: new_epoch(&candidates)?,
        end: kept.log_end(),
        left_out: left_out(kept),
        may_lose: Vec::new(),
        refusals: Vec::new(),
        old_voters,
        new_voters,
        candidates,
    };
    judge(request, &mut plan);
    Ok(plan)
}

fn read_all(request: &Request) -> Result<Vec<Candidate>, PlanError> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut useless = Vec::new();
    let mut directories: Vec<&PathBuf> = request.directories.iter().collect();
    directories.extend(request.target.iter().filter(|it| !request.directories.contains(it)));
    for directory in directories {
        let found = survey(&SurveyOptions::of(directory));
        let Some(meta) = found.meta() else {
            let why = found.findings.iter().map(|it| it.kind.text().what).collect::<Vec<_>>();
            useless.push(format!("  {}: {}", directory.display(), why.join("; ")));
            continue;
        };
        if let Some(first) = candidates.first().and_then(|it| it.survey.meta())
            && first.cluster_id != meta.cluster_id
        {
            return Err(PlanError::Wrong(format!(
                "{} belongs to cluster {}, {} to {}: recover one cluster at a time",
                candidates[0].directory.display(),
                first.cluster_id,
                directory.display(),
                meta.cluster_id
            )));
        }
        let key = ReplicaKey { id: meta.node_id, directory_id: meta.directory_id };
        let directory = found.root().map_or_else(|| directory.clone(), |root| root.path.clone());
        candidates.push(Candidate { directory, survey: found, key, is_voter: false });
    }
    let has_log = candidates.iter().any(|it| it.survey.log_end().offset > 0);
    if has_log { Ok(candidates) } else { Err(PlanError::NothingThere(useless.join("\n"))) }
}

/// The voters as the log has them; without directories in a static quorum.
fn old_voters(best: &Survey) -> Vec<ReplicaKey> {
    if let Some(dynamic) = &best.log.voters {
        return dynamic.voters.iter().map(|voter| voter.key).collect();
    }
    let ids = best.vote.static_voters().map(<[NodeId]>::to_vec);
    let ids = ids.or_else(|| best.log.leader.as_ref().map(|it| it.voters.clone()));
    let key = |id| ReplicaKey { id, directory_id: None };
    ids.unwrap_or_default().into_iter().map(key).collect()
}

fn pick_target(request: &Request, candidates: &[Candidate]) -> Result<usize, PlanError> {
    let found = match &request.target {
        Some(target) => candidates.iter().position(|it| same_path(&it.directory, target)),
        None => candidates.iter().position(|it| it.is_voter),
    };
    found.ok_or_else(|| {
        PlanError::Wrong(
            "none of the directories is a voter's: name with --target the formatted directory of \
             the controller that is to go on (its log is replaced by the best one)"
                .to_owned(),
        )
    })
}

fn same_path(a: &Path, b: &Path) -> bool {
    a == b
        || std::fs::canonicalize(a).ok().is_some_and(|a| std::fs::canonicalize(b).ok() == Some(a))
}

fn pick_voters(
    request: &Request,
    target: &Candidate,
    kept: &Survey,
    old: &[ReplicaKey],
) -> Result<NewVoters, PlanError> {
    let wrong = |why: String| Err(PlanError::Wrong(why));
    let only_addresses = !request.endpoints.is_empty() && request.voters.is_none();
    let ids: BTreeSet<NodeId> = match &request.voters {
        Some(ids) => ids.iter().copied().collect(),
        None if only_addresses => old.iter().map(|key| key.id).collect(),
        None => [target.key.id].into(),
    };
    if !ids.contains(&target.key.id) {
        return wrong(format!("the voters to be must include node {}, the target", target.key.id));
    }
    let kraft_version = kept.log.kraft_version;
    if kraft_version < 1 {
        if !request.endpoints.is_empty() {
            return wrong(
                "this quorum is static (kraft.version 0): addresses stand in \
                 controller.quorum.voters of every node, change them there"
                    .to_owned(),
            );
        }
        return Ok(NewVoters::Static(ids.into_iter().collect()));
    }
    let known = kept.log.voters.as_ref().map(|it| it.voters.as_slice()).unwrap_or_default();
    let mut voters = Vec::new();
    for id in ids {
        let mut voter = match known.iter().find(|voter| voter.key.id == id) {
            Some(voter) => voter.clone(),
            None if id == target.key.id => Voter {
                key: target.key,
                endpoints: Vec::new(),
                min_kraft_version: 0,
                max_kraft_version: kraft_version,
            },
            None => return wrong(format!("node {id} was no voter; add it when there is a leader")),
        };
        if id == target.key.id {
            if target.key.directory_id.is_none() {
                return wrong(format!(
                    "{} has no directory.id, which a voter of a dynamic quorum needs",
                    target.directory.display()
                ));
            }
            voter.key = target.key;
        }
        if let Some(change) = request.endpoints.iter().find(|it| it.id == id) {
            let name = change.name.clone().or_else(|| listener_name(known, id));
            let (host, port) = (change.host.clone(), change.port);
            let name = name.unwrap_or_else(|| "CONTROLLER".to_owned());
            voter.endpoints = vec![VoterEndpoint { name, host, port }];
        }
        if voter.endpoints.is_empty() {
            return wrong(format!(
                "nobody knows where node {id} listens: say it with --set-endpoint {id}=HOST:PORT"
            ));
        }
        voters.push(voter);
    }
    if let Some(stray) =
        request.endpoints.iter().find(|it| voters.iter().all(|v| v.key.id != it.id))
    {
        return wrong(format!("--set-endpoint names node {}, which is to be no voter", stray.id));
    }
    Ok(NewVoters::Dynamic { kraft_version, voters })
}

/// The name of its first listener, or of anybody's.
fn listener_name(known: &[Voter], id: NodeId) -> Option<String> {
    let own = known.iter().find(|voter| voter.key.id == id).into_iter();
    let names = own.chain(known).flat_map(|voter| &voter.endpoints);
    names.map(|endpoint| endpoint.name.clone()).next()
}

fn addresses(kept: &Survey) -> Vec<(NodeId, String)> {
    let voters = kept.log.voters.as_ref().map(|it| it.voters.as_slice()).unwrap_or_default();
    let of = |voter: &Voter| {
        let id = voter.key.id;
        let at = |it: &VoterEndpoint| (id, crate::live::host_port(&it.host, i32::from(it.port)));
        voter.endpoints.iter().map(at).collect::<Vec<_>>()
    };
    voters.iter().flat_map(of).collect()
}

fn new_epoch(candidates: &[Candidate]) -> Result<Epoch, PlanError> {
    let highest = candidates.iter().map(|it| it.survey.epoch()).max().unwrap_or(0);
    highest.checked_add(EPOCH_MARGIN).ok_or_else(|| {
        PlanError::Wrong(format!("epoch {highest} is too close to the largest possible"))
    })
}

/// What of the kept directory is not carried on.
fn left_out(kept: &Survey) -> Vec<String> {
    let mut out = Vec::new();
    for segment in kept.log.segments.iter().filter(|it| it.whole_bytes < it.bytes) {
        out.push(format!(
            "{}: {} of {} bytes, behind byte {}",
            segment.path.display(),
            segment.bytes - segment.whole_bytes,
            segment.bytes,
            segment.whole_bytes
        ));
    }
    for snapshot in kept.log.snapshots.iter().filter(|it| !it.is_whole) {
        out.push(format!("{}: it is not whole", snapshot.path.display()));
    }
    out
}

fn judge(request: &Request, plan: &mut Plan) {
    for it in &plan.candidates {
        if let Ok(Some(holder)) = lock_holder(&it.directory.join(LOCK)) {
            let directory = it.directory.clone();
            plan.refusals.push(Refusal::InUse { directory, holder });
        }
    }
    let source = plan.source();
    let replayed = source.survey.log.image.as_ref().map(|it| it.at.offset);
    if replayed != Some(plan.end.offset) {
        let broken = source.survey.findings.iter().filter(|it| it.severity() == Severity::Problem);
        let broken: Vec<String> =
            broken.map(|it| format!("{} ({})", it.kind.text().what, it.place)).collect();
        let directory = source.directory.clone();
        plan.refusals.push(Refusal::NotReplayable { directory, why: broken.join("; ") });
    }
    let here: BTreeSet<NodeId> = plan
        .candidates
        .iter()
        .filter(|it| it.is_voter && is_whole(it))
        .map(|it| it.key.id)
        .collect();
    let needed = plan.old_voters.len() / 2 + 1;
    let has_majority = here.len() >= needed;
    if has_majority && request.endpoints.is_empty() {
        let (here, of) = (here.iter().copied().collect(), plan.old_voters.len());
        plan.refusals.push(Refusal::MajorityIsHere { here, of });
    }
    if !has_majority {
        plan.may_lose = losses(plan, &here);
        plan.refusals.push(Refusal::MayLose { here: here.len(), needed });
    }
}

/// Nothing that the node once acknowledged is missing in it, as far as it shows.
fn is_whole(it: &Candidate) -> bool {
    let lost = |kind: &Kind| {
        !matches!(kind, Kind::TornTail { .. }) && kind.text().severity == Severity::Problem
    };
    it.survey.log.damaged.is_none() || !it.survey.findings.iter().any(|it| lost(&it.kind))
}

fn losses(plan: &Plan, here: &BTreeSet<NodeId>) -> Vec<String> {
    let mut out = Vec::new();
    let gone: Vec<String> = plan
        .old_voters
        .iter()
        .filter(|key| !here.contains(&key.id))
        .map(ToString::to_string)
        .collect();
    out.push(format!(
        "every change of metadata behind offset {} that only the missing voters have ({}): topics, \
         partitions, leaders and in-sync replicas, configurations, ACLs, credentials",
        plan.end.offset - 1,
        gone.join(", ")
    ));
    let by_end: BTreeMap<Epoch, &Candidate> =
        plan.candidates.iter().map(|it| (it.survey.epoch(), it)).collect();
    if let Some((epoch, it)) = by_end.last_key_value()
        && *epoch > plan.end.epoch
    {
        out.push(format!(
            "there were elections up to epoch {epoch} (seen by node {}), the kept log ends in \
             epoch {}: a leader of these epochs may have committed records that are not here",
            it.key.id, plan.end.epoch
        ));
    }
    if !plan.left_out.is_empty() {
        out.push("the damaged part of the kept log, see above".to_owned());
    }
    out.push(
        "records at the end of the kept log may never have been committed: they count from now on"
            .to_owned(),
    );
    out
}

/// Snapshots that belong to the kept log.
pub(crate) fn kept_snapshots(kept: &Survey) -> Vec<(OffsetAndEpoch, PathBuf)> {
    let log = &kept.log;
    let contradicts = |path: &Path| {
        kept.findings.iter().any(|it| {
            let other =
                matches!(it.kind, Kind::SnapshotOtherHistory { .. } | Kind::SnapshotTwice { .. });
            other && it.place.path == path
        })
    };
    let snapshots = log.snapshots.iter().filter(|it| {
        let fits = it.id.offset >= log.start || it.id == BOOTSTRAP_SNAPSHOT_ID;
        it.is_whole && fits && it.id.offset <= log.end.offset && !contradicts(&it.path)
    });
    snapshots.map(|it| (it.id, it.path.clone())).collect()
}
