//! Formatting directories: the files that `kafka-storage format` of Kafka 4.3 writes.

use crate::bootstrap::{write_bootstrap, write_voters};
use crate::disk::{Disk, sync_parent};
use crate::error::{At, StorageError};
use crate::meta_properties::{MetaProperties, new_directory_id};
use crate::node_dir::METADATA_DIR;
use crate::snapshot::SnapshotVoters;
use bytes::Bytes;
use quorate_base::{NodeId, Prng, ReplicaKey};
use quorate_protocol::control::{Voter, VoterEndpoint};
use std::path::PathBuf;
use std::sync::Arc;

/// What to format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatSpec {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node's id.
    pub node_id: NodeId,
    /// All log directories (`log.dirs` and `metadata.log.dir`), each once.
    pub directories: Vec<PathBuf>,
    /// The one of them that holds the metadata log.
    pub metadata_directory: PathBuf,
    /// The first voters.
    pub initial_voters: InitialVoters,
    /// Framed metadata records for `bootstrap.checkpoint`, metadata version first; none: the file is
    /// not written. As Kafka 4.3 does, every directory gets the file (observed), though only the
    /// metadata directory's is ever read.
    pub bootstrap_records: Vec<Bytes>,
    /// Leave formatted directories alone instead of refusing (`--ignore-formatted`).
    pub ignore_formatted: bool,
}

/// Who votes first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InitialVoters {
    /// Static voters, or `--no-initial-controllers`: no checkpoint is written.
    None,
    /// `--standalone`: this node alone. Its directory id is drawn while formatting.
    Standalone {
        /// The node's controller listeners.
        endpoints: Vec<VoterEndpoint>,
    },
    /// `--initial-controllers`: all first voters. If this node is one of them, its metadata
    /// directory gets the directory id given here.
    Explicit(Vec<Voter>),
}

/// Smallest and largest `kraft.version` written for first voters.
const KRAFT_VERSIONS: (i16, i16) = (0, 1);

/// What was done with one directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormattedDir {
    /// The directory.
    pub path: PathBuf,
    /// What it is.
    pub role: DirRole,
    /// Its content now.
    pub meta: MetaProperties,
    /// False: it was formatted already and left alone.
    pub formatted_now: bool,
}

/// What a formatted directory is to its node. Displays as in Kafka's message: "Formatting dynamic
/// metadata voter directory ...".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirRole {
    /// Holds the metadata log and the first voter set.
    DynamicVoter,
    /// Holds the metadata log.
    Metadata,
    /// Holds partitions only.
    Data,
}

impl std::fmt::Display for DirRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DirRole::DynamicVoter => "dynamic metadata voter directory",
            DirRole::Metadata => "metadata directory",
            DirRole::Data => "data directory",
        })
    }
}

/// Formats the directories. Checks everything before it writes anything; `meta.properties` is the
/// last file written into each directory, so that an interrupted format is not taken for a
/// finished one. `now_ms` is wall time.
pub fn format(
    disk: &Arc<dyn Disk>,
    spec: &FormatSpec,
    now_ms: i64,
    prng: &mut Prng,
) -> Result<Vec<FormattedDir>, StorageError> {
    let formatted = check(disk.as_ref(), spec)?;
    let mut known = formatted.clone();
    let mut done = Vec::new();
    for path in &spec.directories {
        let is_metadata = *path == spec.metadata_directory;
        let role = match (&spec.initial_voters, is_metadata) {
            (_, false) => DirRole::Data,
            (InitialVoters::None, true) => DirRole::Metadata,
            (_, true) => DirRole::DynamicVoter,
        };
        if let Some((_, meta)) = formatted.iter().find(|(dir, _)| dir == path) {
            let (path, meta) = (path.clone(), meta.clone());
            done.push(FormattedDir { path, role, meta, formatted_now: false });
            continue;
        }
        let given = match &spec.initial_voters {
            InitialVoters::Explicit(voters) if is_metadata => {
                voters.iter().find(|v| v.key.id == spec.node_id).and_then(|v| v.key.directory_id)
            }
            _ => None,
        };
        let meta = MetaProperties {
            cluster_id: spec.cluster_id.clone(),
            node_id: spec.node_id,
            directory_id: Some(given.unwrap_or_else(|| new_directory_id(prng, &known))),
        };
        disk.create_dir_all(path).at("create", path)?;
        if !spec.bootstrap_records.is_empty() {
            write_bootstrap(disk, path, &spec.bootstrap_records, now_ms)?;
        }
        if is_metadata {
            write_first_voters(disk, spec, &meta, now_ms)?;
        }
        meta.save(disk.as_ref(), path, now_ms)?;
        sync_parent(disk.as_ref(), path)?;
        known.push((path.clone(), meta.clone()));
        done.push(FormattedDir { path: path.clone(), role, meta, formatted_now: true });
    }
    Ok(done)
}

fn write_first_voters(
    disk: &Arc<dyn Disk>,
    spec: &FormatSpec,
    meta: &MetaProperties,
    now_ms: i64,
) -> Result<(), StorageError> {
    let root = &spec.metadata_directory;
    let voters = match &spec.initial_voters {
        InitialVoters::None => return Ok(()),
        InitialVoters::Explicit(voters) => voters.clone(),
        InitialVoters::Standalone { endpoints } => vec![Voter {
            key: ReplicaKey { id: spec.node_id, directory_id: meta.directory_id },
            endpoints: endpoints.clone(),
            min_kraft_version: KRAFT_VERSIONS.0,
            max_kraft_version: KRAFT_VERSIONS.1,
        }],
    };
    let metadata_dir = root.join(METADATA_DIR);
    disk.create_dir_all(&metadata_dir).at("create", &metadata_dir)?;
    let voters = SnapshotVoters::Dynamic { kraft_version: KRAFT_VERSIONS.1, voters };
    write_voters(disk, &metadata_dir, &voters, now_ms)?;
    // Makes the name of the metadata directory itself durable.
    disk.sync_dir(root).at("sync", root)
}

/// What is formatted already.
fn check(
    disk: &dyn Disk,
    spec: &FormatSpec,
) -> Result<Vec<(PathBuf, MetaProperties)>, StorageError> {
    if spec.cluster_id.is_empty() {
        return Err(StorageError::Invalid("You must specify the cluster id.".to_owned()));
    }
    if spec.node_id < 0 {
        return Err(StorageError::Invalid("You must specify a valid non-negative node ID.".into()));
    }
    if !spec.directories.contains(&spec.metadata_directory) {
        return Err(StorageError::Invalid(format!(
            "the metadata log directory {} is not one of the log directories",
            spec.metadata_directory.display()
        )));
    }
    let mut formatted = Vec::new();
    for dir in &spec.directories {
        let Some(meta) = MetaProperties::load(disk, dir)? else { continue };
        if !spec.ignore_formatted {
            return Err(StorageError::AlreadyFormatted { dir: dir.clone() });
        }
        check_owner(dir, &meta, Some(&spec.cluster_id), spec.node_id)?;
        formatted.push((dir.clone(), meta));
    }
    Ok(formatted)
}

/// Does the directory belong to this cluster and node?
pub(crate) fn check_owner(
    dir: &std::path::Path,
    meta: &MetaProperties,
    cluster_id: Option<&str>,
    node_id: NodeId,
) -> Result<(), StorageError> {
    if let Some(expected) = cluster_id
        && expected != meta.cluster_id
    {
        return Err(StorageError::WrongCluster {
            dir: dir.to_owned(),
            expected: expected.to_owned(),
            found: meta.cluster_id.clone(),
        });
    }
    if node_id != meta.node_id {
        let (expected, found) = (node_id, meta.node_id);
        return Err(StorageError::WrongNode { dir: dir.to_owned(), expected, found });
    }
    Ok(())
}
