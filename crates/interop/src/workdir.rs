use crate::{Failure, Outcome};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of one cluster: removed when dropped after success, kept and named after failure.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    keep: bool,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl WorkDir {
    /// A fresh folder under the system's temporary one. It is kept until [`WorkDir::succeeded`].
    pub fn new(name: &str) -> Outcome<WorkDir> {
        let path = std::env::temp_dir().join(format!(
            "quorate-{name}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&path)
            .map_err(|e| Failure(format!("cannot create {}: {e}", path.display())))?;
        Ok(WorkDir { path, keep: true })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing in it is of interest any more: remove it at the end (unless `QUORATE_KEEP` is set).
    pub fn succeeded(&mut self) {
        self.keep = std::env::var_os("QUORATE_KEEP").is_some();
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.keep || std::thread::panicking() {
            eprintln!("logs and data are kept in {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("could not remove {}: {error}", self.path.display());
        }
    }
}
