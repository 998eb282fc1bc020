//! `quorate takeover status`: who runs what, and how far each is.

use super::may_stop::is_caught_up;
use super::survey::{Program, Survey};
use super::wrong;
use crate::args::Parsed;
use crate::failure::Failure;
use crate::quorum::leader::Quorum;
use quorate_base::NodeId;
use quorate_protocol::features::MetadataVersion;
use serde_json::{Value, json};

/// A voter that caught up so long ago at most counts as being there.
const RECENT_MS: i64 = 2000;

/// Prints a line for each controller.
pub fn status(args: &Parsed) -> Result<(), Failure> {
    let wanted = args.value("await").map(parse_wanted).transpose()?;
    let quorum = Quorum::from_args(args)?;
    loop {
        let survey = Survey::take(&quorum)?;
        let missing = wanted.and_then(|(id, program)| what_is_missing(&survey, id, program));
        if missing.is_some() && !quorum.is_over() {
            quorum.pause();
            continue;
        }
        if args.has("json") {
            println!("{}", as_json(&survey));
        } else {
            print!("{}", text(&survey));
        }
        return match missing {
            None => Ok(()),
            Some(why) => {
                Err(Failure::failed(format!("not within {} ms: {why}", quorum.timeout_ms)))
            }
        };
    }
}

fn parse_wanted(text: &str) -> Result<(NodeId, Program), Failure> {
    let parsed = text.split_once('=').and_then(|(id, program)| {
        let program = match program.to_ascii_lowercase().as_str() {
            "quorate" => Program::Quorate,
            "kafka" => Program::Kafka,
            _ => return None,
        };
        Some((id.parse().ok().filter(|id: &NodeId| *id >= 0)?, program))
    });
    parsed.ok_or_else(|| wrong(format!("--await: {text} is not ID=quorate or ID=kafka")))
}

/// Why a node is not yet what is waited for.
fn what_is_missing(survey: &Survey, id: NodeId, program: Program) -> Option<String> {
    let replica = survey.voters.get(&id).or_else(|| survey.observers.get(&id));
    let Some(replica) = replica else {
        return Some(format!("node {id} is unknown to the quorum"));
    };
    // One that is no voter need not have an address that others know.
    let is_voter = survey.voters.contains_key(&id);
    if is_voter && survey.program(id) != program {
        let said = survey.controllers.get(&id).map(|it| it.said.as_ref());
        let found = match said {
            Some(Err(why)) => why.clone(),
            _ => format!("it is run by {}", survey.program(id).name()),
        };
        return Some(format!("node {id} is not run by {}: {found}", program.name()));
    }
    (!is_caught_up(replica, RECENT_MS)).then(|| format!("node {id} has not caught up"))
}

/// The newest metadata.version that a node can run at tells its release.
fn release(survey: &Survey, id: NodeId) -> String {
    let said = survey.said(id);
    let newest = said.and_then(|it| it.supported.get("metadata.version")).map(|(_, max)| *max);
    match newest {
        None => "?".to_owned(),
        Some(level) => match MetadataVersion::from_level(level) {
            Some(version) => version.release().to_owned(),
            None => format!("level {level}"),
        },
    }
}

fn role(survey: &Survey, id: NodeId) -> &'static str {
    if id == survey.leader_id {
        "leader"
    } else if survey.voters.contains_key(&id) {
        "voter"
    } else if survey.observers.contains_key(&id) {
        "observer"
    } else {
        "gone"
    }
}

fn text(survey: &Survey) -> String {
    let kind = if survey.is_static() { "static" } else { "dynamic" };
    let mut rows = vec![
        ["NODE", "PROGRAM", "RELEASE", "ROLE", "LAG", "CAUGHT UP", "ADDRESS"].map(str::to_owned),
    ];
    let controllers = survey.controllers.keys();
    let observers = controllers.filter(|id| !survey.voters.contains_key(id));
    for id in survey.voters.keys().chain(observers) {
        let replica = survey.voters.get(id).or_else(|| survey.observers.get(id));
        let controller = survey.controllers.get(id);
        let reachable = controller.is_some_and(|it| it.said.is_ok());
        rows.push([
            id.to_string(),
            if reachable { survey.program(*id).name() } else { "no answer" }.to_owned(),
            release(survey, *id),
            role(survey, *id).to_owned(),
            replica.map_or("?".to_owned(), |it| {
                (survey.high_watermark - it.log_end).max(0).to_string()
            }),
            match replica.and_then(|it| it.caught_up_ms_ago) {
                Some(ms) => format!("{ms} ms ago"),
                None => "never".to_owned(),
            },
            controller.map_or("?".to_owned(), |it| it.address.clone()),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let line = |row: &[String; 7]| {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let heading = format!(
        "cluster {}, {kind} quorum, epoch {}, high watermark {}\n",
        survey.cluster_id, survey.leader_epoch, survey.high_watermark
    );
    heading + &rows.iter().map(line).collect::<String>()
}

fn as_json(survey: &Survey) -> Value {
    let node = |id: &NodeId| {
        let replica = survey.voters.get(id).or_else(|| survey.observers.get(id));
        let controller = survey.controllers.get(id);
        json!({
            "id": id,
            "program": survey.program(*id).name().to_lowercase(),
            "release": release(survey, *id),
            "role": role(survey, *id),
            "logEndOffset": replica.map(|it| it.log_end),
            "caughtUpMsAgo": replica.and_then(|it| it.caught_up_ms_ago),
            "address": controller.map(|it| it.address.clone()),
            "problem": controller.and_then(|it| it.said.as_ref().err().cloned()),
        })
    };
    let observers = survey.controllers.keys().filter(|id| !survey.voters.contains_key(id));
    json!({
        "clusterId": survey.cluster_id,
        "static": survey.is_static(),
        "leaderId": survey.leader_id,
        "leaderEpoch": survey.leader_epoch,
        "highWatermark": survey.high_watermark,
        "controllers": survey.voters.keys().chain(observers).map(node).collect::<Vec<_>>(),
    })
}
