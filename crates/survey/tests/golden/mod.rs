//! Directories that real Kafka wrote, put together in a temporary folder. The logs and snapshots are
//! those of the metadata crate's tests, the small files are here.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// All of them: release and node.
#[allow(dead_code, reason = "each test file uses a part of this module")]
pub const DIRECTORIES: [&str; 9] = [
    "3.9.1/controller-1",
    "3.9.1/controller-2",
    "3.9.1/broker-11",
    "4.3.0/controller-1",
    "4.3.0/controller-2",
    "4.3.0/broker-11",
    "4.3.0-3controllers-killed9/c1",
    "4.3.0-3controllers-killed9/c2",
    "4.3.0-3controllers-killed9/c3",
];

/// A copy of one directory, removed when dropped.
pub struct Golden {
    _temp: TempDir,
    /// The log directory.
    pub root: PathBuf,
    /// Its `__cluster_metadata-0`.
    pub dir: PathBuf,
}

impl Golden {
    /// Puts one together.
    pub fn new(name: &str) -> Golden {
        let temp = TempDir::new().expect("a temporary folder");
        let root = temp.path().join("node");
        let dir = root.join("__cluster_metadata-0");
        fs::create_dir_all(&dir).expect("can be made");
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for source in [here.join("tests/fixtures"), here.join("../metadata/tests/fixtures")] {
            for entry in fs::read_dir(source.join(name)).expect("fixtures are there") {
                let from = entry.expect("readable").path();
                let file = from.file_name().expect("has a name");
                let is_root = file == "meta.properties" || file == "bootstrap.checkpoint";
                let to = if is_root { root.join(file) } else { dir.join(file) };
                fs::write(to, fs::read(&from).expect("readable")).expect("can be written");
            }
        }
        Golden { _temp: temp, root, dir }
    }
}
