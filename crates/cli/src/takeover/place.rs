//! Looks at a node's directories, if they are on this machine. Nothing is written.

use super::findings::Findings;
use super::findings::Severity::{Note, Refusal, Warning};
use super::survey::Survey;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use quorate_base::NodeId;
use quorate_server::config::ServerConfig;
use quorate_storage::{FileDisk, MetaProperties};
use std::path::Path;

/// The directory of the metadata log.
const LOG: &str = "__cluster_metadata-0";
/// Less room than this is refused: the next snapshot may not fit.
const BYTES_NEEDED: u64 = 64 << 20;

/// Whether the directory of the metadata is formatted.
pub fn is_formatted(config: &ServerConfig) -> bool {
    matches!(MetaProperties::load(&FileDisk, &config.metadata_dir), Ok(Some(_)))
}

/// Adds what is to be said of a node's directories. `id` is whose they should be.
pub fn judge(
    config: &ServerConfig,
    id: NodeId,
    survey: &Survey,
    subject: &str,
    findings: &mut Findings,
) {
    let is_voter = survey.voters.contains_key(&id);
    let here = |dir: &Path| dir.is_dir();
    if !config.log_dirs.iter().any(|dir| here(dir)) {
        let dir = config.metadata_dir.display();
        let text = if is_voter {
            format!("{dir} is not on this machine: run this there too, to have it checked")
        } else {
            format!("{dir} does not exist yet: it is to be formatted on the node's machine")
        };
        findings.add(Note, subject, text);
        return;
    }
    for dir in &config.log_dirs {
        let shown = dir.display();
        if !here(dir) {
            findings.add(Refusal, subject, format!("{shown} is missing, other log.dirs are here"));
            continue;
        }
        let all = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
        if let Some(denied) = denied(dir, all).or_else(|| denied(&dir.join(LOG), all)) {
            findings.add(
                Refusal,
                subject,
                format!(
                    "{denied}: run this, and Quorate, as the user who owns the files, or give them \
                     to the user who will"
                ),
            );
            continue;
        }
        judge_identity(config, dir, id, survey, subject, findings);
        judge_room(dir, subject, findings);
    }
    if is_voter && !config.metadata_dir.join(LOG).is_dir() {
        findings.add(
            Refusal,
            subject,
            format!(
                "{} has no {LOG}, but node {id} is a voter: log.dirs or metadata.log.dir names \
                 another directory than the running node's",
                config.metadata_dir.display()
            ),
        );
    }
}

/// The first thing that this user may not read or write.
fn denied(path: &Path, wanted: AccessFlags) -> Option<String> {
    if path.exists()
        && let Err(why) = access(path, wanted)
    {
        return Some(format!("{}: {}", path.display(), why.desc()));
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries.flatten().filter(|entry| entry.path().is_file()).find_map(|entry| {
        let why = access(&entry.path(), AccessFlags::R_OK | AccessFlags::W_OK).err()?;
        Some(format!("{}: {}", entry.path().display(), why.desc()))
    })
}

fn judge_identity(
    config: &ServerConfig,
    dir: &Path,
    id: NodeId,
    survey: &Survey,
    subject: &str,
    findings: &mut Findings,
) {
    let shown = dir.display();
    let meta = match MetaProperties::load(&FileDisk, dir) {
        Ok(Some(meta)) => meta,
        Ok(None) if survey.voters.contains_key(&id) => {
            let text = format!("{shown} is not formatted, but node {id} is a voter");
            findings.add(Refusal, subject, text);
            return;
        }
        Ok(None) => return,
        Err(error) => {
            findings.add(Refusal, subject, error.to_string());
            return;
        }
    };
    if meta.cluster_id != survey.cluster_id {
        let (found, expected) = (&meta.cluster_id, &survey.cluster_id);
        let text = format!("{shown} belongs to cluster {found}, the quorum is of {expected}");
        findings.add(Refusal, subject, text);
    }
    if meta.node_id != id {
        let text = format!("{shown} belongs to node {}, not to node {id}", meta.node_id);
        findings.add(Refusal, subject, text);
    }
    let known = survey.voters.get(&id).and_then(|voter| voter.directory_id);
    if *dir == config.metadata_dir
        && let Some(known) = known
        && meta.directory_id != Some(known)
    {
        let found = meta.directory_id.map_or("none".to_owned(), |it| it.to_string());
        let text = format!(
            "{shown} has directory.id {found}, the quorum knows node {id} by {known}: that is \
             another directory than the running node's"
        );
        findings.add(Refusal, subject, text);
    }
}

fn judge_room(dir: &Path, subject: &str, findings: &mut Findings) {
    let Ok(stat) = statvfs(dir) else { return };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let used = bytes_in(&dir.join(LOG));
    let (free_mib, used_mib) = (free >> 20, used >> 20);
    let shown = dir.display();
    if free < BYTES_NEEDED {
        let text = format!("{shown}: {free_mib} MiB are free; the next snapshot may not fit");
        findings.add(Refusal, subject, text);
    } else if free < used.saturating_mul(2) {
        let text = format!("{shown}: {free_mib} MiB are free beside {used_mib} MiB of metadata");
        findings.add(Warning, subject, text);
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
