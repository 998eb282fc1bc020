//! A survey in words and as JSON.

use crate::finding::{Finding, Severity};
use crate::survey::Survey;
use quorate_protocol::control::Voter;
use quorate_storage::ElectionState;
use serde_json::{Value, json};
use std::fmt::Write;

impl Survey {
    /// Everything found, for people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        for root in &self.roots {
            let owner = root.meta.as_ref().map_or_else(
                || "no readable meta.properties".to_owned(),
                |meta| {
                    let directory = meta.directory_id.map(|id| format!(", directory {id}"));
                    let directory = directory.unwrap_or_default();
                    format!("node {} of cluster {}{directory}", meta.node_id, meta.cluster_id)
                },
            );
            line(format!("{}: {owner}", root.path.display()));
        }
        if self.metadata_dir.is_some() {
            let log = &self.log;
            let segments = log.segments.len();
            let bytes: u64 = log.segments.iter().map(|it| it.bytes).sum();
            line(format!(
                "  log        offsets {} to {}, last epoch {}, {segments} segment(s), {bytes} bytes",
                log.start, log.end.offset, log.end.epoch
            ));
            let whole = log.snapshots.iter().filter(|it| it.is_whole).count();
            let newest = log.snapshots.iter().rfind(|it| it.is_whole);
            let newest = newest.map(|it| format!(", the newest with {}", it.id));
            let all = log.snapshots.len();
            line(format!("  snapshots  {whole} of {all} whole{}", newest.unwrap_or_default()));
            line(format!("  quorum     {}", self.quorum_text()));
            line(format!("  vote       {}", self.vote_text()));
            line(format!("  metadata   {}", self.image_text()));
        }
        if !self.findings.is_empty() {
            line(String::new());
        }
        for finding in &self.findings {
            line(finding.to_text());
        }
        let count = |severity| self.findings.iter().filter(|it| it.severity() == severity).count();
        let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
        let notes = count(Severity::Note);
        line(match problems {
            0 => format!("clean: no problem, {warnings} warning(s), {notes} note(s)"),
            _ => format!("{problems} problem(s), {warnings} warning(s), {notes} note(s)"),
        });
        out
    }

    fn quorum_text(&self) -> String {
        let log = &self.log;
        let leader = log
            .leader
            .as_ref()
            .map(|it| format!("; last leader in the log {} (epoch {})", it.leader_id, it.epoch));
        let voters = match (&log.voters, self.vote.static_voters(), &log.leader) {
            (Some(it), ..) => it.voters.iter().map(voter_text).collect::<Vec<_>>().join(", "),
            (None, Some(ids), _) => format!("{ids:?}"),
            (None, None, Some(leader)) => format!("{:?}", leader.voters),
            _ => "unknown".to_owned(),
        };
        let version = log.kraft_version;
        format!("kraft.version {version}, voters {voters}{}", leader.unwrap_or_default())
    }

    fn vote_text(&self) -> String {
        let text = |name: &str, state: &ElectionState| {
            let mut out = format!("{name} epoch {}", state.epoch);
            if let Some(leader) = state.leader_id {
                let _ = write!(out, ", leader {leader}");
            }
            if let Some(voted) = state.voted {
                let _ = write!(out, ", voted for {voted}");
            }
            out
        };
        let kafka = self.vote.kafka.as_ref().map(|(state, _)| text("quorum-state:", state));
        let own = self.vote.own.as_ref().map(|state| text("quorate.vote:", state));
        let all: Vec<String> = kafka.into_iter().chain(own).collect();
        if all.is_empty() { "none".to_owned() } else { all.join("; ") }
    }

    fn image_text(&self) -> String {
        let Some(it) = &self.log.image else { return "cannot be put together".to_owned() };
        let features = &it.image.features;
        let version = match features.has_metadata_version() {
            true => format!("metadata.version {}", it.image.metadata_version()),
            false => "no metadata.version".to_owned(),
        };
        format!(
            "as of offset {} (from {}): {version}, {} brokers, {} topics, {} partitions, hash {:016x}",
            it.at.offset,
            it.base.offset,
            it.image.cluster.broker_count(),
            it.image.topics.topic_count(),
            it.image.topics.partition_count(),
            it.image.content_hash()
        )
    }

    /// Everything found, for programs.
    pub fn to_json(&self) -> Value {
        let log = &self.log;
        let election = |state: &ElectionState| {
            json!({
                "epoch": state.epoch,
                "leaderId": state.leader_id,
                "voted": state.voted.map(|voted| voted.to_string()),
                "voters": state.voters,
            })
        };
        json!({
            "clean": self.is_clean(),
            "directories": self.roots.iter().map(|root| json!({
                "path": root.path.display().to_string(),
                "clusterId": root.meta.as_ref().map(|it| it.cluster_id.clone()),
                "nodeId": root.meta.as_ref().map(|it| it.node_id),
                "directoryId":
                    root.meta.as_ref().and_then(|it| it.directory_id).map(|id| id.to_string()),
            })).collect::<Vec<_>>(),
            "metadataDirectory": self.metadata_dir.as_ref().map(|it| it.display().to_string()),
            "log": {
                "start": log.start,
                "end": log.end.offset,
                "lastEpoch": log.end.epoch,
                "lastTimestampMs": log.last_timestamp_ms,
                "epochs": log.epochs.iter().map(|it| json!({
                    "epoch": it.epoch, "startOffset": it.start_offset,
                })).collect::<Vec<_>>(),
                "segments": log.segments.iter().map(|it| json!({
                    "path": it.path.display().to_string(),
                    "baseOffset": it.base_offset,
                    "endOffset": it.end_offset,
                    "bytes": it.bytes,
                    "wholeBytes": it.whole_bytes,
                    "batches": it.batches,
                })).collect::<Vec<_>>(),
            },
            "snapshots": log.snapshots.iter().map(|it| json!({
                "path": it.path.display().to_string(),
                "offset": it.id.offset,
                "epoch": it.id.epoch,
                "bytes": it.bytes,
                "records": it.records,
                "whole": it.is_whole,
            })).collect::<Vec<_>>(),
            "kraftVersion": log.kraft_version,
            "voters": log.voters.as_ref().map(|it| {
                it.voters.iter().map(voter_json).collect::<Vec<_>>()
            }),
            "quorumState": self.vote.kafka.as_ref().map(|(state, _)| election(state)),
            "ownVote": self.vote.own.as_ref().map(election),
            "image": log.image.as_ref().map(|it| json!({
                "offset": it.at.offset,
                "epoch": it.at.epoch,
                "baseOffset": it.base.offset,
                "brokers": it.image.cluster.broker_count(),
                "topics": it.image.topics.topic_count(),
                "partitions": it.image.topics.partition_count(),
                "hash": format!("{:016x}", it.image.content_hash()),
            })),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Finding {
    /// Some lines: what and where, what it means, what to do.
    pub fn to_text(&self) -> String {
        let text = self.kind.text();
        format!(
            "{} [{}] {}\n  {}\n  it means: {}\n  to do:    {}",
            text.severity.name(),
            text.code,
            text.what,
            self.place,
            text.meaning,
            text.advice
        )
    }

    /// The same as an object.
    pub fn to_json(&self) -> Value {
        let text = self.kind.text();
        json!({
            "severity": text.severity.name(),
            "code": text.code,
            "path": self.place.path.display().to_string(),
            "position": self.place.position,
            "offset": self.place.offset,
            "what": text.what,
            "meaning": text.meaning,
            "advice": text.advice,
        })
    }
}

/// `ID-DIRECTORY at HOST:PORT`.
pub(crate) fn voter_text(voter: &Voter) -> String {
    let at: Vec<String> =
        voter.endpoints.iter().map(|it| format!("{}://{}:{}", it.name, it.host, it.port)).collect();
    format!("{} at {}", voter.key, if at.is_empty() { "?".to_owned() } else { at.join(" ") })
}

fn voter_json(voter: &Voter) -> Value {
    json!({
        "id": voter.key.id,
        "directoryId": voter.key.directory_id.map(|id| id.to_string()),
        "endpoints": voter.endpoints.iter().map(|it| json!({
            "name": it.name, "host": it.host, "port": it.port,
        })).collect::<Vec<_>>(),
    })
}
