//! One node's directories as a whole.

use crate::companions::{self, LogFiles};
use crate::files;
use crate::finding::{Finding, Kind, Place, Severity};
use crate::log::{self, LogState};
use crate::snapshots::{self, SnapshotState};
use crate::vote::{self, VoteState};
use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use quorate_storage::{
    BOOTSTRAP_CHECKPOINT, FileDisk, LOCK, META_PROPERTIES, METADATA_DIR, MetaProperties,
    StorageError, lock_holder,
};
use std::io;
use std::path::{Path, PathBuf};

/// What to look at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SurveyOptions {
    /// The log directories of one node, as in `log.dirs`; or a `__cluster_metadata-0`.
    pub directories: Vec<PathBuf>,
    /// The cluster that is expected.
    pub cluster_id: Option<String>,
    /// The node that is expected.
    pub node_id: Option<NodeId>,
    /// The image is to be as of this offset, not of the end.
    pub stop_at: Option<Offset>,
}

impl SurveyOptions {
    /// One directory, nothing expected.
    pub fn of(directory: impl Into<PathBuf>) -> SurveyOptions {
        SurveyOptions { directories: vec![directory.into()], ..SurveyOptions::default() }
    }
}

/// A log directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootState {
    /// Its path.
    pub path: PathBuf,
    /// Its `meta.properties`, if readable.
    pub meta: Option<MetaProperties>,
}

/// What a node's directories hold.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The log directories.
    pub roots: Vec<RootState>,
    /// The `__cluster_metadata-0`, if there is one.
    pub metadata_dir: Option<PathBuf>,
    /// Epoch and vote.
    pub vote: VoteState,
    /// Segments, snapshots, image.
    pub log: LogState,
    /// `bootstrap.checkpoint`.
    pub bootstrap: Option<SnapshotState>,
    /// Everything noticed, in the order it was read.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// How bad the worst finding is.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(Finding::severity).max()
    }

    /// True if nothing is a problem.
    pub fn is_clean(&self) -> bool {
        self.worst().is_none_or(|worst| worst < Severity::Problem)
    }

    /// The log directory that holds the metadata log, or the first.
    pub fn root(&self) -> Option<&RootState> {
        let holder = self.metadata_dir.as_deref().and_then(Path::parent);
        let found = self.roots.iter().find(|root| Some(root.path.as_path()) == holder);
        found.or(self.roots.first())
    }

    /// The `meta.properties` of [`Survey::root`].
    pub fn meta(&self) -> Option<&MetaProperties> {
        self.root().and_then(|root| root.meta.as_ref())
    }

    /// The end of what can be read, and its epoch: the order of who has the better log.
    pub fn log_end(&self) -> OffsetAndEpoch {
        self.log.end
    }

    /// The highest epoch seen anywhere in the directories.
    pub fn epoch(&self) -> i32 {
        self.log.end.epoch.max(self.vote.epoch())
    }
}

/// Looks at a node's directories. Nothing in them is changed, and no lock is taken.
pub fn survey(options: &SurveyOptions) -> Survey {
    let mut survey = Survey::default();
    let mut findings = Vec::new();
    for directory in &options.directories {
        if let Some(root) = read_root(directory, options, &survey.roots, &mut findings) {
            survey.roots.push(root);
        }
    }
    let holders: Vec<PathBuf> =
        survey.roots.iter().map(|it| it.path.join(METADATA_DIR)).filter(|it| it.is_dir()).collect();
    if let [first, others @ ..] = holders.as_slice() {
        for other in others {
            let kind = Kind::SecondMetadataLog { first: first.clone() };
            findings.push(Finding { place: Place::of(other), kind });
        }
        survey.metadata_dir = Some(first.clone());
    } else if let Some(root) = survey.roots.first() {
        findings.push(Finding { place: Place::of(&root.path), kind: Kind::NoMetadataLog });
    }
    let Some(root) = survey.root().map(|root| root.path.clone()) else {
        survey.findings = findings;
        return survey;
    };
    survey.vote = vote::read(&root, survey.metadata_dir.as_deref(), &mut findings);
    let bootstrap = root.join(BOOTSTRAP_CHECKPOINT);
    if bootstrap.is_file() {
        let id = OffsetAndEpoch::default();
        survey.bootstrap = Some(snapshots::scan(&bootstrap, id, &mut findings).0);
    }
    if let Some(dir) = survey.metadata_dir.clone() {
        read_log(&mut survey, &root, &dir, options.stop_at, &mut findings);
    }
    survey.findings = findings;
    survey
}

fn read_root(
    directory: &Path,
    options: &SurveyOptions,
    others: &[RootState],
    findings: &mut Vec<Finding>,
) -> Option<RootState> {
    let path = match directory.file_name() {
        Some(name) if name == METADATA_DIR => directory.parent()?.to_owned(),
        _ => directory.to_owned(),
    };
    let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
    let mut note = |place: Place, kind| findings.push(Finding { place, kind });
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            note(Place::of(&path), Kind::NoSuchDirectory);
            return None;
        }
        Err(error) => {
            note(Place::of(&path), Kind::Unreadable { why: error.to_string() });
            return None;
        }
        Ok(it) if !it.is_dir() => {
            note(Place::of(&path), Kind::NotADirectory);
            return None;
        }
        Ok(_) => {}
    }
    let entries = match files::list(&path) {
        Ok(entries) => entries,
        Err(error) => {
            note(Place::of(&path), Kind::Unreadable { why: error.to_string() });
            return None;
        }
    };
    if let Ok(Some(holder)) = lock_holder(&path.join(LOCK)) {
        note(Place::of(path.join(LOCK)), Kind::InUse { holder });
    }
    for entry in entries.iter().filter(|entry| entry.name.ends_with(".tmp")) {
        note(Place::of(path.join(&entry.name)), Kind::LeftOver);
    }
    if entries.iter().any(|entry| entry.name == ".kafka_cleanshutdown") {
        note(Place::of(path.join(".kafka_cleanshutdown")), Kind::CleanShutdown);
    }
    let file = path.join(META_PROPERTIES);
    let meta = match MetaProperties::load(&FileDisk, &path) {
        Ok(Some(meta)) => Some(meta),
        Ok(None) => {
            note(Place::of(&path), Kind::NotFormatted);
            None
        }
        Err(StorageError::BadFile { why, .. }) if why.contains("version 0") => {
            note(Place::of(&file), Kind::ZooKeeperEra);
            None
        }
        Err(StorageError::BadFile { why, .. }) => {
            note(Place::of(&file), Kind::BadMetaProperties { why });
            None
        }
        Err(StorageError::Io { source, .. }) => {
            note(Place::of(&file), Kind::Unreadable { why: source.to_string() });
            None
        }
        Err(other) => {
            note(Place::of(&file), Kind::BadMetaProperties { why: other.to_string() });
            None
        }
    };
    if let Some(meta) = &meta {
        check_meta(meta, &file, options, others, findings);
    }
    Some(RootState { path, meta })
}

fn check_meta(
    meta: &MetaProperties,
    file: &Path,
    options: &SurveyOptions,
    others: &[RootState],
    findings: &mut Vec<Finding>,
) {
    let mut note = |kind| findings.push(Finding { place: Place::of(file), kind });
    let first = others.iter().find_map(|other| other.meta.as_ref());
    let cluster = options.cluster_id.as_ref().or(first.map(|it| &it.cluster_id));
    if let Some(expected) = cluster.filter(|it| **it != meta.cluster_id) {
        let (expected, found) = (expected.clone(), meta.cluster_id.clone());
        note(Kind::ForeignCluster { expected, found });
    }
    let node = options.node_id.or(first.map(|it| it.node_id));
    if let Some(expected) = node.filter(|it| *it != meta.node_id) {
        note(Kind::ForeignNode { expected, found: meta.node_id });
    }
    let Some(id) = meta.directory_id else { return note(Kind::NoDirectoryId) };
    if id.is_reserved() {
        note(Kind::ReservedDirectoryId { id: id.to_string() });
    }
    let same = |other: &&RootState| other.meta.as_ref().and_then(|it| it.directory_id) == Some(id);
    if let Some(other) = others.iter().find(same) {
        note(Kind::SharedDirectoryId { id: id.to_string(), other: other.path.clone() });
    }
}

fn read_log(
    survey: &mut Survey,
    root: &Path,
    dir: &Path,
    stop_at: Option<Offset>,
    findings: &mut Vec<Finding>,
) {
    let entries = match files::list(dir) {
        Ok(entries) => entries,
        Err(error) => {
            let kind = Kind::Unreadable { why: error.to_string() };
            findings.push(Finding { place: Place::of(dir), kind });
            return;
        }
    };
    companions::check_partition_metadata(dir, findings);
    let sorted: LogFiles = companions::sort(dir, &entries, findings);
    if sorted.segments.is_empty() {
        let newest = sorted.snapshots.last().map(|(id, _)| *id).filter(|id| id.offset > 0);
        let kind = Kind::NoSegments { snapshot: newest };
        findings.push(Finding { place: Place::of(dir), kind });
    }
    survey.log = log::scan(&sorted.segments, &sorted.snapshots, stop_at, findings);
    companions::check_epochs(dir, &survey.log, findings);
    companions::check_indexes(&sorted, &survey.log, findings);
    vote::check(root, dir, &survey.vote, &survey.log, findings);
    if let (Some(meta), Some(voters)) = (survey.meta(), &survey.log.voters) {
        let own = voters.voters.iter().find(|voter| voter.key.id == meta.node_id);
        if let Some(voter) = own.map(|voter| voter.key)
            && voter.directory_id.is_some()
            && voter.directory_id != meta.directory_id
        {
            let found = meta.directory_id.map_or_else(|| "missing".to_owned(), |id| id.to_string());
            let kind = Kind::NotTheVotersDirectory { found, voter };
            findings.push(Finding { place: Place::of(root.join(META_PROPERTIES)), kind });
        }
    }
}
