//! A process's view of its disk: it can die within any operation, and a mutant can make syncs lie.

use quorate_base::Prng;
use quorate_storage::{Disk, DiskFile, DiskLock, MemDisk, StorageError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The disk as one life of a process sees it. Once dead, nothing it does reaches the disk any more.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: MemDisk,
    fate: Arc<Mutex<Fate>>,
}

#[derive(Debug)]
struct Fate {
    prng: Prng,
    crash_per_op: u64,
    dead: bool,
    syncs_lie: bool,
}

impl SimDisk {
    /// A new life on that disk.
    pub fn new(inner: MemDisk, prng: Prng, crash_per_op: u64) -> SimDisk {
        let fate = Fate { prng, crash_per_op, dead: false, syncs_lie: false };
        SimDisk { inner, fate: Arc::new(Mutex::new(fate)) }
    }

    /// Whether this life ended within an operation, or was ended.
    pub fn is_dead(&self) -> bool {
        self.fate().dead
    }

    /// Ends this life: what still runs of it reaches nothing.
    pub fn kill(&self) {
        self.fate().dead = true;
    }

    /// No more crashes within operations.
    pub fn spare(&self) {
        self.fate().crash_per_op = 0;
    }

    /// For mutants: syncs succeed and do nothing.
    pub fn set_syncs_lie(&self, lie: bool) {
        self.fate().syncs_lie = lie;
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more operation that changes something, or the last.
    fn live(&self) -> io::Result<()> {
        let mut fate = self.fate();
        let crash = fate.crash_per_op;
        if !fate.dead && crash > 0 && fate.prng.chance(crash, 100_000) {
            fate.dead = true;
        }
        if fate.dead { Err(io::Error::other("the process died here")) } else { Ok(()) }
    }

    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { file, disk: self.clone() })
    }
}

#[derive(Debug)]
struct SimFile {
    file: Arc<dyn DiskFile>,
    disk: SimDisk,
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.live()?;
        self.inner.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        self.inner.len(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open_read(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open_write(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.live()?;
        Ok(self.wrap(self.inner.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.live()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.live()?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.live()?;
        if self.fate().syncs_lie { Ok(()) } else { self.inner.sync_dir(dir) }
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        self.live()?;
        self.inner.set_read_only(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        self.inner.lock(path)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let was_dead = self.disk.is_dead();
        if let Err(error) = self.disk.live() {
            // Dying within a write leaves a part of it.
            if !was_dead && !bytes.is_empty() {
                let part = self.disk.fate().prng.below(bytes.len() as u64) as usize;
                self.file.write_at(&bytes[..part], position)?;
            }
            return Err(error);
        }
        self.file.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.live()?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.live()?;
        if self.disk.fate().syncs_lie { Ok(()) } else { self.file.sync() }
    }
}
