//! Everything Quorate keeps on disk, in Kafka's formats, so that a directory can go from a Java
//! controller to Quorate and back.
//!
//! A process calls [`format()`] once and [`open_node_dir`] at each start. What it gets is split for
//! threads: the disk thread owns the [`LogWriter`] (append, then one sync for all that waited) and
//! the [`VoteStore`]; everybody may clone the [`LogReader`] and the [`Snapshots`]. Nothing here has
//! a thread or reads a clock. All access goes through a [`Disk`]: [`FileDisk`] is the real one,
//! [`MemDisk`] can crash.
//!
//! Rules that hold everywhere here:
//! * what was synced survives a crash, and nothing that was synced is ever cut off silently;
//! * a small file is replaced by writing another, syncing, renaming, syncing the directory;
//! * no file of ours ends in a suffix that Kafka parses or deletes.
#![forbid(unsafe_code)]

mod bootstrap;
mod disk;
mod epochs;
mod error;
mod file_disk;
mod format;
mod log;
mod mem_disk;
mod meta_properties;
mod node_dir;
mod recovery;
mod retention;
mod segment;
mod snapshot;
mod snapshot_reader;
mod snapshot_writer;
mod vote;

pub use bootstrap::{BOOTSTRAP_CHECKPOINT, BootstrapRecords, load_bootstrap};
pub use disk::{Disk, DiskFile, DiskLock};
pub use epochs::{EpochCache, EpochStart};
pub use error::StorageError;
pub use file_disk::{FileDisk, lock_holder};
pub use format::{DirRole, FormatSpec, FormattedDir, InitialVoters, format};
pub use log::{Appended, LogConfig, LogReader, LogWriter, check_fetched};
pub use mem_disk::MemDisk;
pub use meta_properties::{META_PROPERTIES, MetaProperties};
pub use node_dir::{LOCK, METADATA_DIR, NodeDir, NodeDirConfig, open_node_dir};
pub use recovery::{LogRecovery, TornTail, open_log, remove_leftovers};
pub use retention::{Cleaned, READ_GRACE_MS, Retention, SnapshotReads, clean, clean_unless_read};
pub use snapshot::{
    BOOTSTRAP_SNAPSHOT_ID, SnapshotLimits, SnapshotReceiver, SnapshotVoters, Snapshots,
    parse_snapshot_file_name, snapshot_file_name,
};
pub use snapshot_reader::SnapshotReader;
pub use snapshot_writer::{SnapshotBatches, SnapshotWriter};
pub use vote::{
    ElectionState, QUORUM_STATE, QuorumStateVersion, VOTE, VoteStore, parse_quorum_state,
    parse_vote, quorum_state_text,
};
