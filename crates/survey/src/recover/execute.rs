//! Writes what was planned: a copy of everything first, then the change.

use super::plan::{Candidate, NewVoters, Plan, kept_snapshots};
use super::raise::raising_records;
use crate::finding::Kind;
use crate::survey::{SurveyOptions, survey};
use bytes::Bytes;
use quorate_base::Offset;
use quorate_protocol::batch::{encode_control_batch, encode_data_batch};
use quorate_protocol::control::ControlRecord;
use quorate_storage::{
    Disk, ElectionState, FileDisk, LOCK, METADATA_DIR, QUORUM_STATE, QuorumStateVersion,
    StorageError, VOTE, VoteStore, snapshot_file_name,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of a directory's root is copied beside its metadata log.
const ROOT_FILES: [&str; 3] = ["meta.properties", VOTE, "bootstrap.checkpoint"];

/// Far below what Kafka takes as one batch, 8 MiB, whatever the records are.
const RECORDS_A_BATCH: usize = 1_000;

/// Why it was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Somebody uses a directory, or its vote cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}{}", path.display(), backup.as_ref().map(|it| format!(
        ". What was there before is in {}", it.display())).unwrap_or_default())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Where the copy is, if there is one already.
        backup: Option<PathBuf>,
        /// Why.
        source: io::Error,
    },
    /// A directory is not what it was when the plan was made.
    #[error("{} has changed since the plan was made: its log ended with {planned}, now with {now}", directory.display())]
    Changed {
        /// The directory.
        directory: PathBuf,
        /// Its log's end in the plan.
        planned: quorate_base::OffsetAndEpoch,
        /// Its log's end now.
        now: quorate_base::OffsetAndEpoch,
    },
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    /// The copies, one for each directory that was changed.
    pub backups: Vec<PathBuf>,
    /// Files written or cut.
    pub written: Vec<PathBuf>,
    /// Files taken out of the directory (they are in the copy).
    pub removed: Vec<PathBuf>,
}

/// Does it. `stamp` names the copies (a time, as text); `now_ms` is wall time.
pub fn execute(
    plan: &Plan,
    backup_dir: Option<&Path>,
    stamp: &str,
    now_ms: i64,
) -> Result<Executed, ExecuteError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    // Nobody may start on any of them meanwhile.
    let mut locks = Vec::new();
    for it in &plan.candidates {
        locks.push(disk.lock(&it.directory.join(LOCK))?);
        let now = survey(&SurveyOptions::of(&it.directory)).log_end();
        let planned = it.survey.log_end();
        if now != planned {
            let directory = it.directory.clone();
            return Err(ExecuteError::Changed { directory, planned, now });
        }
    }
    let mut done = Executed { backups: Vec::new(), written: Vec::new(), removed: Vec::new() };
    let changed: Vec<&Candidate> = std::iter::once(plan.target()).chain(plan.others()).collect();
    for it in &changed {
        done.backups.push(back_up(it, plan, backup_dir, stamp)?);
    }
    // The promises first: from here on none of them votes in an epoch below the new one.
    for it in &changed {
        raise_epoch(&disk, it, plan)?;
        done.written.push(it.directory.join(METADATA_DIR).join(QUORUM_STATE));
        done.written.push(it.directory.join(VOTE));
    }
    let mut target = Target {
        dir: plan.target().directory.join(METADATA_DIR),
        backup: done.backups[0].clone(),
        done: &mut done,
    };
    target.put_log(plan)?;
    let batches = new_batches(plan, now_ms);
    if !batches.is_empty() {
        target.begin_segment(plan.end.offset, &batches)?;
    }
    target.sync()?;
    Ok(done)
}

/// What is written behind the kept log: the new voter set, and what is raised.
fn new_batches(plan: &Plan, now_ms: i64) -> Vec<Bytes> {
    let leader_id = plan.target().key.id;
    let mut control = vec![ControlRecord::LeaderChange {
        leader_id,
        voters: plan.new_voters.ids(),
        granting_voters: vec![leader_id],
    }];
    if let NewVoters::Dynamic { kraft_version, voters } = &plan.new_voters {
        control.push(ControlRecord::KRaftVersion(*kraft_version));
        control.push(ControlRecord::Voters(voters.clone()));
    }
    let kept = &plan.source().survey;
    let in_transaction =
        kept.findings.iter().any(|it| matches!(it.kind, Kind::OpenTransaction { .. }));
    let raised = match (plan.raise(), &kept.log.image) {
        (Some(_), Some(it)) => raising_records(&it.image, in_transaction),
        _ => Vec::new(),
    };
    if raised.is_empty() && control.len() == 1 {
        return Vec::new();
    }
    let mut offset = plan.end.offset;
    let mut batches = vec![encode_control_batch(offset, plan.epoch, now_ms, &control)];
    offset += control.len() as Offset;
    for records in raised.chunks(RECORDS_A_BATCH) {
        batches.push(encode_data_batch(offset, plan.epoch, now_ms, records));
        offset += records.len() as Offset;
    }
    batches
}

/// The vote: nobody's, in the new epoch.
fn raise_epoch(disk: &Arc<dyn Disk>, it: &Candidate, plan: &Plan) -> Result<(), ExecuteError> {
    let dir = it.directory.join(METADATA_DIR);
    let (version, voters) = match &plan.new_voters {
        NewVoters::Static(ids) => (QuorumStateVersion::V0, ids.clone()),
        NewVoters::Dynamic { .. } => (QuorumStateVersion::V1, Vec::new()),
    };
    let state = ElectionState { epoch: plan.epoch, voters, ..ElectionState::default() };
    fs::create_dir_all(&dir).map_err(|source| ExecuteError::Io {
        doing: "create",
        path: dir.clone(),
        backup: None,
        source,
    })?;
    VoteStore::new(disk.clone(), &it.directory, &dir).save(&state, version)?;
    Ok(())
}

/// The metadata directory being written.
struct Target<'a> {
    dir: PathBuf,
    backup: PathBuf,
    done: &'a mut Executed,
}

impl Target<'_> {
    /// Leaves in the directory what is kept of the source's log, and nothing else of a log.
    fn put_log(&mut self, plan: &Plan) -> Result<(), ExecuteError> {
        let kept = &plan.source().survey;
        let snapshots = kept_snapshots(kept);
        // Where a snapshot reaches further than the log, the log begins anew behind it.
        let log_end = kept.log.segments.iter().rfind(|it| it.batches > 0).map(|it| it.end_offset);
        let restarts = log_end.unwrap_or(kept.log.start) < plan.end.offset;
        let segments = kept.log.segments.iter().filter(|it| it.whole_bytes > 0 && !restarts);
        let mut wanted: Vec<(PathBuf, u64)> =
            segments.map(|it| (it.path.clone(), it.whole_bytes)).collect();
        let copied = plan.source != plan.target;
        for (id, path) in snapshots {
            let size = fs::metadata(&path).map(|it| it.len());
            wanted.push((path.clone(), self.at("look at", &path, size)?));
            assert_eq!(path.file_name().and_then(|it| it.to_str()), Some(&*snapshot_file_name(id)));
        }
        let keep: Vec<_> = wanted.iter().filter_map(|(path, _)| path.file_name()).collect();
        for entry in self.at("list", &self.dir.clone(), fs::read_dir(&self.dir))? {
            let path = self.at("list", &self.dir.clone(), entry)?.path();
            let name = path.file_name().unwrap_or_default();
            let is_log = path.extension().and_then(|it| it.to_str()).is_some_and(|extension| {
                ["log", "checkpoint", "index", "timeindex", "txnindex", "snapshot"]
                    .contains(&extension)
            });
            // Indexes and the like are made again; what is replaced is written anew.
            let stays = !copied && keep.contains(&name);
            let is_epochs = name == "leader-epoch-checkpoint";
            if path.is_file() && ((is_log && !stays) || is_epochs) {
                self.at("remove", &path, fs::remove_file(&path))?;
                self.done.removed.push(path);
            }
        }
        for (from, bytes) in wanted {
            let to = self.dir.join(from.file_name().unwrap_or_default());
            if copied {
                let result = copy(&from, &to, bytes).map(drop);
                self.at("write", &to, result)?;
                self.done.written.push(to);
            } else if fs::metadata(&to).is_ok_and(|it| it.len() > bytes) {
                let cut = || {
                    let file = File::options().write(true).open(&to)?;
                    file.set_len(bytes)?;
                    file.sync_all()
                };
                self.at("cut", &to, cut())?;
                self.done.written.push(to);
            }
        }
        Ok(())
    }

    /// A segment of its own: those before it stay as they are.
    fn begin_segment(&mut self, base: Offset, batches: &[Bytes]) -> Result<(), ExecuteError> {
        let path = self.dir.join(format!("{base:020}.log"));
        let write = || {
            let mut file = File::create(&path)?;
            for batch in batches {
                file.write_all(batch)?;
            }
            file.sync_all()
        };
        self.at("write", &path, write())?;
        self.done.written.push(path);
        Ok(())
    }

    fn sync(&self) -> Result<(), ExecuteError> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        self.at("sync", &self.dir, synced)
    }

    fn at<T>(
        &self,
        doing: &'static str,
        path: &Path,
        result: io::Result<T>,
    ) -> Result<T, ExecuteError> {
        result.map_err(|source| ExecuteError::Io {
            doing,
            path: path.to_owned(),
            backup: Some(self.backup.clone()),
            source,
        })
    }
}

/// Copies a directory's metadata log and small files next to it, with a list of what they were.
fn back_up(
    it: &Candidate,
    plan: &Plan,
    backup_dir: Option<&Path>,
    stamp: &str,
) -> Result<PathBuf, ExecuteError> {
    // A relative path has perhaps no parent, and `.` has no name.
    let root = &fs::canonicalize(&it.directory).unwrap_or_else(|_| it.directory.clone());
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = backup_dir.map_or_else(
        || root.parent().map_or_else(|| PathBuf::from("."), Path::to_owned),
        Path::to_owned,
    );
    let to = parent.join(format!("{name}.before-recover-{stamp}"));
    let fail = |doing: &'static str, path: &Path, source: io::Error| ExecuteError::Io {
        doing,
        path: path.to_owned(),
        backup: None,
        source,
    };
    // Never into one that is there: it would be the copy of an earlier recovery.
    fs::create_dir_all(&parent).map_err(|e| fail("create", &parent, e))?;
    fs::create_dir(&to).map_err(|e| fail("create", &to, e))?;
    fs::create_dir(to.join(METADATA_DIR)).map_err(|e| fail("create", &to, e))?;
    let mut files = Vec::new();
    let mut one = |from: PathBuf, name: String| -> Result<(), ExecuteError> {
        let (bytes, sha256) =
            copy(&from, &to.join(&name), u64::MAX).map_err(|e| fail("copy", &from, e))?;
        files.push(json!({ "file": name, "bytes": bytes, "sha256": sha256 }));
        Ok(())
    };
    for name in ROOT_FILES.iter().filter(|name| root.join(name).is_file()) {
        one(root.join(name), (*name).to_owned())?;
    }
    let dir = root.join(METADATA_DIR);
    for entry in fs::read_dir(&dir).into_iter().flatten() {
        let path = entry.map_err(|e| fail("list", &dir, e))?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            one(path, format!("{METADATA_DIR}/{name}"))?;
        }
    }
    let manifest = manifest(it, plan, stamp, &files);
    let path = to.join("manifest.json");
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(format!("{manifest:#}\n").as_bytes())?;
        file.sync_all()?;
        File::open(to.join(METADATA_DIR))?.sync_all()?;
        File::open(&to)?.sync_all()?;
        File::open(&parent)?.sync_all()
    };
    write().map_err(|e| fail("write", &path, e))?;
    Ok(to)
}

fn manifest(it: &Candidate, plan: &Plan, stamp: &str, files: &[Value]) -> Value {
    json!({
        "what": "the metadata log of a node as it was before `quorate recover --execute`; to go \
                 back, stop the node and copy these files over the directory's",
        "time": stamp,
        "directory": it.directory.display().to_string(),
        "node": it.key.to_string(),
        "logEnd": { "offset": it.survey.log_end().offset, "epoch": it.survey.log_end().epoch },
        "kept": {
            "directory": plan.source().directory.display().to_string(),
            "offset": plan.end.offset,
            "epoch": plan.end.epoch,
        },
        "newEpoch": plan.epoch,
        "oldVoters": plan.old_voters.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "newVoters": plan.new_voters.ids(),
        "files": files,
    })
}

/// Copies the first `max_bytes` of a file, durably; how many there were, and their SHA-256.
fn copy(from: &Path, to: &Path, max_bytes: u64) -> io::Result<(u64, String)> {
    let mut source = File::open(from)?.take(max_bytes);
    let target = File::create(to)?;
    let (mut buffer, mut at, mut hash) = (vec![0; 1024 * 1024], 0, Sha256::new());
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        target.write_all_at(&buffer[..read], at)?;
        hash.update(&buffer[..read]);
        at += read as u64;
    }
    target.sync_all()?;
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((at, hex))
}
