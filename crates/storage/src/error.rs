//! What can go wrong on disk, each with what to do next.

use quorate_base::{NodeId, Offset, OffsetAndEpoch};
use std::io;
use std::path::{Path, PathBuf};

/// Why storage could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The verb: read, write, sync, ...
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Bytes that cannot be the result of a crash: going on would lose records.
    #[error(
        "{} is corrupt at byte {position}: {why}. Nothing was changed. If other voters hold the \
         metadata, take this node out of the quorum, move the directory aside, format it and add \
         the node again; if this is the only copy, restore the file. `quorate dump` prints what \
         is readable before that byte", file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage starts.
        position: u64,
        /// What is wrong there.
        why: String,
    },
    /// Files that contradict each other.
    #[error(
        "the files in {} contradict each other: {why}. Nothing was changed. Restore the missing \
         file, or replace this node's directory if other voters hold the metadata", dir.display()
    )]
    Inconsistent {
        /// The directory.
        dir: PathBuf,
        /// The contradiction.
        why: String,
    },
    /// A small state file that is not what it should be.
    #[error("{} is not readable: {why}", file.display())]
    BadFile {
        /// The file.
        file: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// No `meta.properties`.
    #[error(
        "{} is not formatted: it has no meta.properties. Format it with `quorate storage format` \
         (or kafka-storage) and the cluster's id; if this directory should hold data, check that \
         its disk is mounted", dir.display()
    )]
    NotFormatted {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another cluster.
    #[error(
        "{} belongs to cluster {found}, not to {expected}; check log.dirs and the cluster id",
        dir.display()
    )]
    WrongCluster {
        /// The directory.
        dir: PathBuf,
        /// What was expected.
        expected: String,
        /// What `meta.properties` says.
        found: String,
    },
    /// The directory belongs to another node.
    #[error(
        "{} belongs to node {found}, but node.id is {expected}; check log.dirs and node.id",
        dir.display()
    )]
    WrongNode {
        /// The directory.
        dir: PathBuf,
        /// `node.id` of the configuration.
        expected: NodeId,
        /// What `meta.properties` says.
        found: NodeId,
    },
    /// Another process uses the directory.
    #[error(
        "{} is locked by {holder}: another controller, broker or tool (Kafka's or Quorate's) is \
         using this directory; stop it first", lock.display()
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// Who holds it, as far as the operating system tells.
        holder: String,
    },
    /// `format` was asked to format a formatted directory.
    #[error(
        "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory \
         and format the others.", dir.display()
    )]
    AlreadyFormatted {
        /// The directory.
        dir: PathBuf,
    },
    /// The request cannot be carried out as given.
    #[error("{0}")]
    Invalid(String),
    /// No such snapshot (any more).
    #[error("there is no snapshot with {0}")]
    SnapshotNotFound(OffsetAndEpoch),
    /// A read outside of what is there.
    #[error("position {position} is outside of the snapshot with {id}, which has {size} bytes")]
    PositionOutOfRange {
        /// The snapshot.
        id: OffsetAndEpoch,
        /// The position asked for, in bytes.
        position: i64,
        /// The snapshot's size in bytes.
        size: u64,
    },
    /// A read outside of the log.
    #[error("offset {offset} is outside of the log, which runs from {start} to {end}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// First offset of the log.
        start: Offset,
        /// One past the last offset of the log.
        end: Offset,
    },
    /// After a failed sync nobody knows what the disk holds: only a restart, which reads it, can
    /// go on.
    #[error(
        "an earlier write or sync of the metadata log failed, so its end is not known any more; \
         restart this process once the disk is well"
    )]
    Poisoned,
}

impl StorageError {
    /// The exit code for a process that stops for this: 1 the operation failed, 2 wrong usage or
    /// configuration, 3 refused to protect data.
    pub fn exit_code(&self) -> i32 {
        match self {
            StorageError::NotFormatted { .. }
            | StorageError::WrongCluster { .. }
            | StorageError::WrongNode { .. } => 2,
            StorageError::Corrupt { .. }
            | StorageError::Inconsistent { .. }
            | StorageError::BadFile { .. }
            | StorageError::Locked { .. } => 3,
            _ => 1,
        }
    }
}

/// Says what was being done to which file.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { doing, path: path.to_owned(), source })
    }
}
