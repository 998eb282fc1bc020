//! `quorate takeover plan`: what would be done, and what stands against it.

use super::findings::Findings;
use super::findings::Severity::{Note, Refusal, Warning};
use super::survey::{Program, Survey};
use super::{judge, place, refused, settings, steps};
use crate::args::Parsed;
use crate::failure::Failure;
use crate::quorum::leader::Quorum;
use quorate_base::NodeId;
use quorate_server::config::ServerConfig;
use quorate_server::config::properties::Properties;
use serde_json::json;
use std::path::{Path, PathBuf};

/// How the controllers are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// The other program on the same directory, under the same id.
    InPlace,
    /// New voters are added, the old ones removed.
    GrowAndShrink,
}

/// A file given by `--config`.
#[derive(Debug)]
pub struct GivenFile {
    /// As given.
    pub path: PathBuf,
    /// Its `node.id`.
    pub id: NodeId,
    /// Whether the directory it names is formatted; `None` if it is not on this machine.
    pub formatted: Option<bool>,
}

/// What is to be exchanged, and how.
#[derive(Debug)]
pub struct Task {
    /// How.
    pub road: Road,
    /// From Quorate to Kafka.
    pub back: bool,
    /// The voters that go, in the order in which they should.
    pub old: Vec<NodeId>,
    /// The files of the nodes that stay (in place) or come.
    pub files: Vec<GivenFile>,
    /// `host:port,...` for the commands.
    pub bootstrap: String,
}

/// Looks, judges, prints; ends with 3 if something must be put right first.
pub fn plan(args: &Parsed) -> Result<(), Failure> {
    let quorum = Quorum::from_args(args)?;
    let paths: Vec<PathBuf> = args.values("config").map(PathBuf::from).collect();
    // A file that cannot be read is wrong usage: say so before anybody is asked.
    let files = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, Failure>>()?;
    let survey = Survey::take(&quorum)?;
    let mut findings = Findings::default();
    let back = args.has("back");
    let task = task(&survey, &files, back, &mut findings);
    judge::judge(&survey, &task.old, task.road, back, args.has("accept-outage"), &mut findings);
    for (path, properties) in &files {
        judge_file(&survey, path, properties, &mut findings);
    }
    if files.is_empty() {
        judge_running(&survey, &task, &mut findings);
    }
    let steps = steps::steps(&survey, &task);
    let refuses = findings.refuses();
    if args.has("json") {
        let steps: Vec<_> = steps.iter().map(steps::Step::json).collect();
        let verdict = if refuses { "refused" } else { "ready" };
        println!("{}", json!({"verdict": verdict, "findings": findings.json(), "steps": steps}));
    } else {
        print!("{}", text(&survey, &task, &findings, &steps));
    }
    if refuses { Err(refused()) } else { Ok(()) }
}

fn read(path: &Path) -> Result<(PathBuf, Properties), Failure> {
    let properties = Properties::read(path).map_err(|why| Failure::usage(why.to_string()))?;
    if node_id(&properties).is_none() {
        return Err(Failure::usage(format!("{}: no node.id, a number from 0", path.display())));
    }
    Ok((path.to_path_buf(), properties))
}

fn node_id(properties: &Properties) -> Option<NodeId> {
    let property = properties.get("node.id").or_else(|| properties.get("broker.id"))?;
    property.value.parse().ok().filter(|id: &NodeId| *id >= 0)
}

fn task(
    survey: &Survey,
    files: &[(PathBuf, Properties)],
    back: bool,
    findings: &mut Findings,
) -> Task {
    let to_go = if back { Program::Quorate } else { Program::Kafka };
    let arrived = if back { Program::Kafka } else { Program::Quorate };
    let files: Vec<GivenFile> = files
        .iter()
        .filter_map(|(path, properties)| {
            let shown = path.display().to_string();
            let config = ServerConfig::from_properties(properties, &shown).ok();
            let here = config.filter(|config| config.metadata_dir.is_dir());
            let formatted = here.map(|config| place::is_formatted(&config));
            Some(GivenFile { path: path.clone(), id: node_id(properties)?, formatted })
        })
        .collect();
    let (of_voters, of_new): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| survey.voters.contains_key(&file.id));
    let road = if of_new.is_empty() { Road::InPlace } else { Road::GrowAndShrink };
    // Followers by id, the leader last: one election less.
    let mut all: Vec<NodeId> = survey.voters.keys().copied().collect();
    all.sort_by_key(|id| (*id == survey.leader_id, *id));
    let mut old: Vec<NodeId> =
        all.iter().copied().filter(|id| survey.program(*id) == to_go).collect();
    if road == Road::InPlace && !of_voters.is_empty() {
        let named = |id: &NodeId| of_voters.iter().any(|file| file.id == *id);
        let done = |id: &NodeId| survey.program(*id) == arrived;
        old = all.iter().copied().filter(|id| named(id) && !done(id)).collect();
    }
    for id in all.iter().filter(|id| survey.program(**id) == arrived) {
        findings.add(Note, &format!("node {id}"), format!("is run by {} already", arrived.name()));
    }
    if road == Road::GrowAndShrink {
        judge_growth(survey, &of_new, &old, &of_voters, findings);
    }
    let addresses = survey.controllers.values().map(|it| it.address.clone());
    let bootstrap = addresses.collect::<Vec<_>>().join(",");
    let files = if road == Road::InPlace { of_voters } else { of_new };
    Task { road, back, old, files, bootstrap }
}

fn judge_growth(
    survey: &Survey,
    new: &[GivenFile],
    old: &[NodeId],
    of_voters: &[GivenFile],
    findings: &mut Findings,
) {
    const QUORUM: &str = "the quorum";
    if survey.is_static() {
        let strangers: Vec<String> = new.iter().map(|file| file.id.to_string()).collect();
        findings.add(
            Refusal,
            QUORUM,
            format!(
                "it is static (kraft.version 0) and cannot grow; node(s) {} are not in \
                 controller.quorum.voters. Replace in place, or raise kraft.version first: \
                 kafka-features upgrade --feature kraft.version=1",
                strangers.join(", ")
            ),
        );
    }
    for file in of_voters {
        let text = format!(
            "{}: is a voter already; give the files of the new nodes only, or of the old only",
            file.path.display()
        );
        findings.add(Refusal, &format!("node {}", file.id), text);
    }
    if new.len() < old.len() {
        let (before, after) = (survey.voters.len(), survey.voters.len() + new.len() - old.len());
        let text =
            format!("{} come and {} go: {before} voters become {after}", new.len(), old.len());
        findings.add(Warning, QUORUM, text);
    }
    findings.add(
        Warning,
        QUORUM,
        "brokers that start again look at controller.quorum.bootstrap.servers only: put the new \
         controllers' addresses there, on brokers and controllers, before the last old one goes",
    );
    for id in old {
        let said = survey.said(*id);
        let joins = said.and_then(|it| it.settings.get("controller.quorum.auto.join.enable"));
        if joins.and_then(|it| it.value.as_deref()) == Some("true") {
            findings.add(
                Warning,
                &format!("node {id}"),
                "controller.quorum.auto.join.enable=true: once removed it would add itself again. \
                 Stop it before you remove it",
            );
        }
    }
}

fn judge_file(survey: &Survey, path: &Path, properties: &Properties, findings: &mut Findings) {
    let Some(id) = node_id(properties) else { return };
    let subject = format!("node {id}");
    let config = settings::judge(properties, &path.display().to_string(), &subject, findings);
    if let Some(said) = survey.said(id).filter(|said| !said.settings.is_empty()) {
        settings::compare_with_running(properties, said, &subject, findings);
    }
    let Some(config) = config else { return };
    judge_voters(survey, &config, &subject, findings);
    place::judge(&config, id, survey, &subject, findings);
}

/// A static quorum's voters stand in every file, and must be the same everywhere.
fn judge_voters(survey: &Survey, config: &ServerConfig, subject: &str, findings: &mut Findings) {
    if !survey.is_static() {
        return;
    }
    let mut named: Vec<NodeId> = config.static_voters.iter().map(|voter| voter.id).collect();
    named.sort_unstable();
    let known: Vec<NodeId> = survey.voters.keys().copied().collect();
    if named != known {
        findings.add(
            Refusal,
            subject,
            format!(
                "controller.quorum.voters names {named:?}, but the running quorum's voters are \
                 {known:?}: with two ideas of who votes, two leaders are possible"
            ),
        );
    }
}

/// Without files: by what the nodes show.
fn judge_running(survey: &Survey, task: &Task, findings: &mut Findings) {
    for id in &task.old {
        let subject = format!("node {id}");
        let said = survey.said(*id);
        let name = format!("{subject} as it runs");
        let Some(shown) = said.and_then(|said| settings::as_properties(said, &name)) else {
            continue;
        };
        settings::judge(&shown, &name, &subject, findings);
        findings.add(
            Note,
            &subject,
            "judged by what it shows of its settings; secrets are not among them. Give its file by \
             --config to have file and directory checked",
        );
    }
}

fn text(survey: &Survey, task: &Task, findings: &Findings, steps: &[steps::Step]) -> String {
    let kind = if survey.is_static() { "static" } else { "dynamic" };
    let (from, to) = if task.back { ("Quorate", "Kafka") } else { ("Kafka", "Quorate") };
    let road = match task.road {
        Road::InPlace => "in place, one at a time, on the same directories",
        Road::GrowAndShrink => "by adding new voters and removing the old ones",
    };
    let mut text = format!(
        "cluster {}, {kind} quorum of {}, led by {} in epoch {}\n{} of them go from {from} to {to}, \
         {road}\n\n",
        survey.cluster_id,
        survey.voters.len(),
        survey.leader_id,
        survey.leader_epoch,
        task.old.len(),
    );
    text.push_str(&findings.text());
    if findings.refuses() {
        text.push_str("\nNothing should be done before what is REFUSED above is put right.\n");
        return text;
    }
    if steps.is_empty() {
        text.push_str("\nNothing is left to do.\n");
        return text;
    }
    text.push_str("\nSteps:\n");
    for (number, step) in (1..).zip(steps) {
        text.push_str(&format!("{number:>3}. {}\n", step.text));
        if let Some(command) = &step.command {
            text.push_str(&format!("       {command}\n"));
        }
    }
    text
}
