//! What the log directory's files and file system say. Looked at now and then, away from the sockets'
//! threads: a disk may take its time.

use quorate_storage::{QUORUM_STATE, VOTE, parse_quorum_state, parse_vote};
use std::fs;
use std::path::Path;

/// One look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Bytes that this process may still write to the file system.
    pub disk_free_bytes: Option<u64>,
    /// Size of the file system.
    pub disk_size_bytes: Option<u64>,
    /// How many of the two files that hold the vote are there, whole, and of the newest epoch;
    /// nothing before there was a vote to keep.
    pub vote_homes: Option<u64>,
}

impl FileFacts {
    /// Looks at the log directory `root`, in which `metadata_dir` holds the metadata log.
    pub fn look(root: &Path, metadata_dir: &Path) -> FileFacts {
        let space = nix::sys::statvfs::statvfs(root).ok();
        // Their types differ from one system to another.
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        FileFacts {
            disk_free_bytes: space.map(|it| bytes(it.blocks_available(), it.fragment_size())),
            disk_size_bytes: space.map(|it| bytes(it.blocks(), it.fragment_size())),
            vote_homes: vote_homes(root, metadata_dir),
        }
    }
}

fn vote_homes(root: &Path, metadata_dir: &Path) -> Option<u64> {
    let first = count_homes(root, metadata_dir);
    // The two are written one after the other: one that is behind may just be about to follow.
    if first == Some(2) { first } else { count_homes(root, metadata_dir) }
}

fn count_homes(root: &Path, metadata_dir: &Path) -> Option<u64> {
    let kafka = fs::read_to_string(metadata_dir.join(QUORUM_STATE));
    let own = fs::read_to_string(root.join(VOTE));
    if kafka.is_err() && own.is_err() {
        return None;
    }
    let kafka = kafka.ok().and_then(|text| parse_quorum_state(&text).ok()).map(|it| it.epoch);
    let own = own.ok().and_then(|text| parse_vote(&text).ok()).map(|it| it.epoch);
    let newest = kafka.max(own);
    Some([kafka, own].iter().filter(|it| it.is_some() && **it == newest).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_storage::{ElectionState, FileDisk, QuorumStateVersion, VoteStore};
    use std::sync::Arc;

    #[test]
    fn a_lost_damaged_or_stale_home_of_the_vote_is_seen() {
        let root = std::env::temp_dir().join(format!("quorate-files-{}", std::process::id()));
        let metadata_dir = root.join("__cluster_metadata-0");
        fs::create_dir_all(&metadata_dir).unwrap();
        let homes = || FileFacts::look(&root, &metadata_dir).vote_homes;
        assert_eq!(homes(), None);
        let store = VoteStore::new(Arc::new(FileDisk), &root, &metadata_dir);
        let state = |epoch| ElectionState { epoch, ..ElectionState::default() };
        store.save(&state(7), QuorumStateVersion::V1).unwrap();
        assert_eq!(homes(), Some(2));
        let stale = fs::read(root.join(VOTE)).unwrap();
        store.save(&state(8), QuorumStateVersion::V1).unwrap();
        fs::write(root.join(VOTE), stale).unwrap();
        assert_eq!(homes(), Some(1));
        fs::write(root.join(VOTE), "damaged").unwrap();
        assert_eq!(homes(), Some(1));
        fs::remove_file(metadata_dir.join(QUORUM_STATE)).unwrap();
        assert_eq!(homes(), Some(0));
        let facts = FileFacts::look(&root, &metadata_dir);
        assert!(facts.disk_free_bytes.unwrap() <= facts.disk_size_bytes.unwrap());
        fs::remove_dir_all(&root).unwrap();
    }
}
