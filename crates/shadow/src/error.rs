use quorate_base::OffsetAndEpoch;
use quorate_client::ClientError;
use quorate_metadata::LoadError;
use quorate_storage::StorageError;
use std::path::{Path, PathBuf};

/// Why following a quorum, or using a copy of it, did not work.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// Nobody answers who could. Passes by itself.
    #[error("{0}")]
    Unreachable(String),
    /// The connection did not do. Passes by itself.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A newer epoch was heard of; ask again at once.
    #[error("a newer epoch was heard of")]
    Again,
    /// The controllers are of another cluster than the copy.
    #[error(
        "{address} belongs to another cluster than this copy; check --bootstrap, or give another directory"
    )]
    OtherCluster {
        /// Who said so.
        address: String,
    },
    /// The directory is something else.
    #[error("{} cannot hold this copy: {why}", dir.display())]
    NotAMirror {
        /// The directory.
        dir: PathBuf,
        /// What speaks against it, and what to do.
        why: String,
    },
    /// The quorum does not hold what it had committed before.
    #[error(
        "the quorum has lost committed records: this copy holds everything up to {ours}, the leader's log \
         leads to {theirs} there. It was restored, or recovered from a replica that was behind. Keep this \
         copy: it may be the only one with those records. To follow the quorum as it is now, give another \
         directory"
    )]
    LostHistory {
        /// The copy's end.
        ours: OffsetAndEpoch,
        /// Where the leader's log goes instead.
        theirs: OffsetAndEpoch,
    },
    /// The leader's log begins behind the copy's end.
    #[error(
        "the quorum's log begins at {theirs}, and this copy ends at {ours}: what lies between cannot be had \
         any more, because the copy was not renewed for too long or the quorum was restored. Keep this copy \
         for what it holds; to follow the quorum as it is now, give another directory"
    )]
    Gap {
        /// The copy's end.
        ours: OffsetAndEpoch,
        /// The leader's snapshot.
        theirs: OffsetAndEpoch,
    },
    /// Files of the copy.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Records that cannot be replayed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Anything else about files.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// What was asked for is not in the copy.
    #[error("{0}")]
    NotThere(String),
}

impl ShadowError {
    /// True if nothing is wrong but the moment: pause and try again.
    pub fn is_transient(&self) -> bool {
        matches!(self, ShadowError::Unreachable(_) | ShadowError::Client(_) | ShadowError::Again)
    }
}

pub(crate) fn storage_at(path: &Path, source: std::io::Error) -> ShadowError {
    ShadowError::Io { path: path.to_owned(), source }
}
