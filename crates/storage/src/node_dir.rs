//! Opening a node's metadata directory: everything a start does on disk, in one call.

use crate::bootstrap::{BootstrapRecords, load_bootstrap};
use crate::disk::{Disk, DiskLock};
use crate::error::{At, StorageError};
use crate::format::check_owner;
use crate::log::{LogConfig, LogReader, LogWriter};
use crate::meta_properties::{MetaProperties, new_directory_id};
use crate::recovery::{LogRecovery, ensure_partition_metadata, open_log, remove_leftovers};
use crate::snapshot::Snapshots;
use crate::vote::{ElectionState, VoteStore};
use quorate_base::{NodeId, OffsetAndEpoch, Prng, Uuid};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory of the metadata log, in the root of a log directory.
pub const METADATA_DIR: &str = "__cluster_metadata-0";
/// The file that a process locks while it uses a log directory, in the directory's root.
pub const LOCK: &str = ".lock";

/// What to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeDirConfig {
    /// The log directory that holds the metadata log.
    pub root: PathBuf,
    /// The node's other log directories: only checked for cluster and node.
    pub other_roots: Vec<PathBuf>,
    /// `node.id`.
    pub node_id: NodeId,
    /// The cluster's id, if it is known otherwise.
    pub cluster_id: Option<String>,
    /// When to roll segments.
    pub log: LogConfig,
}

/// An open metadata directory, locked until it is dropped.
#[derive(Debug)]
pub struct NodeDir {
    /// Cluster, node and directory id.
    pub meta: MetaProperties,
    /// The directory id in [`NodeDir::meta`], which is always there by now.
    pub directory_id: Uuid,
    /// The durable part of the last election, with an epoch of at least that of the log's end;
    /// default for a new directory.
    pub election: ElectionState,
    /// The log's end and the epoch of the record before it: of the log's last record, or of the
    /// newest snapshot where the log is empty behind it.
    pub log_end: OffsetAndEpoch,
    /// Where elections are saved.
    pub votes: VoteStore,
    /// For the disk thread.
    pub log: LogWriter,
    /// For everybody else.
    pub reader: LogReader,
    /// The snapshots.
    pub snapshots: Snapshots,
    /// The newest snapshot; may be `0-0`.
    pub newest_snapshot: Option<OffsetAndEpoch>,
    /// Records for the first leader of an empty log.
    pub bootstrap: Option<BootstrapRecords>,
    /// What had to be mended, for the start-up report.
    pub recovery: LogRecovery,
    /// Keep it for as long as the directory is used.
    pub lock: Box<dyn DiskLock>,
}

/// Opens a formatted directory: checks that it belongs to this cluster and node, locks it, loads
/// the election, and opens the log with recovery. `prng` draws what has to be new; `now_ms` is
/// wall time.
///
/// Nothing is changed before the lock is held and everything small was read; errors say what to do
/// and carry the exit code of a process that stops for them.
pub fn open_node_dir(
    disk: Arc<dyn Disk>,
    config: &NodeDirConfig,
    prng: &mut Prng,
    now_ms: i64,
) -> Result<NodeDir, StorageError> {
    let root = &config.root;
    let mut metas = load_metas(disk.as_ref(), config)?;
    let lock = disk.lock(&root.join(LOCK))?;

    let directory_id = match metas[0].1.directory_id {
        Some(id) => id,
        None => {
            let id = new_directory_id(prng, &metas);
            metas[0].1.directory_id = Some(id);
            metas[0].1.save(disk.as_ref(), root, now_ms)?;
            id
        }
    };
    let meta = metas.swap_remove(0).1;

    let dir = root.join(METADATA_DIR);
    disk.create_dir_all(&dir).at("create", &dir)?;
    disk.sync_dir(root).at("sync", root)?;
    let votes = VoteStore::new(disk.clone(), root, &dir);
    let mut election = votes.load()?.unwrap_or_default();
    ensure_partition_metadata(disk.as_ref(), &dir)?;
    remove_leftovers(disk.as_ref(), &dir)?;

    let snapshots = Snapshots::new(disk.clone(), &dir);
    let newest_snapshot = snapshots.newest()?;
    let (log, recovery) = open_log(&disk, &dir, config.log, newest_snapshot)?;
    let reader = log.reader();
    snapshots.remove_below(reader.log_start())?;
    let bootstrap = load_bootstrap(disk.as_ref(), root, &dir)?;
    let log_end = {
        let epoch = reader.epochs().last_epoch().or(newest_snapshot.map(|id| id.epoch));
        OffsetAndEpoch { offset: reader.log_end(), epoch: epoch.unwrap_or(0) }
    };
    if election.epoch < log_end.epoch {
        // Both homes are gone or old. The log shows an epoch in which this node may have voted
        // for nobody it remembers; as with Java, it starts there without a vote.
        let ElectionState { voters, recovering, .. } = election;
        let epoch = log_end.epoch;
        election = ElectionState { epoch, voters, recovering, ..ElectionState::default() };
    }
    Ok(NodeDir {
        meta,
        directory_id,
        election,
        log_end,
        votes,
        log,
        reader,
        snapshots,
        newest_snapshot,
        bootstrap,
        recovery,
        lock,
    })
}

/// The `meta.properties` of all directories, that of the metadata log first, each checked.
fn load_metas(
    disk: &dyn Disk,
    config: &NodeDirConfig,
) -> Result<Vec<(PathBuf, MetaProperties)>, StorageError> {
    let load = |dir: &Path| {
        let meta = MetaProperties::load(disk, dir)?;
        meta.ok_or_else(|| StorageError::NotFormatted { dir: dir.to_owned() })
    };
    let first = load(&config.root)?;
    check_owner(&config.root, &first, config.cluster_id.as_deref(), config.node_id)?;
    let mut metas = vec![(config.root.clone(), first)];
    for dir in config.other_roots.iter().filter(|dir| **dir != config.root) {
        let meta = load(dir)?;
        check_owner(dir, &meta, Some(&metas[0].1.cluster_id), config.node_id)?;
        metas.push((dir.clone(), meta));
    }
    Ok(metas)
}
