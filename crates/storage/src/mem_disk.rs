//! A disk in memory that forgets what was not synced when it crashes: for tests and simulation.

use crate::disk::{Disk, DiskFile, DiskLock};
use crate::error::StorageError;
use quorate_base::Prng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files in memory. Clones share the same disk; [`MemDisk::fork`] copies it.
///
/// What a crash may do, chosen by the seed: of each directory's unsynced creations, renames and
/// removals a leading part survives; of each file's unsynced writes a leading part survives, the
/// last of these possibly torn, or with its length but zeros instead of its end. Directories are
/// durable when made.
#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    generation: u64,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    files: BTreeMap<u64, FileState>,
    locks: BTreeSet<PathBuf>,
    full: bool,
    failing_syncs: bool,
    sync_count: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    /// An independent copy, unsynced state included.
    pub fn fork(&self) -> MemDisk {
        MemDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The power fails: unsynced changes are lost as the type's documentation says, open files
    /// stop working, locks are free.
    pub fn crash(&self, prng: &mut Prng) {
        let mut state = self.state();
        state.generation += 1;
        state.locks.clear();
        let mut by_dir: BTreeMap<PathBuf, Vec<NameChange>> = BTreeMap::new();
        for change in std::mem::take(&mut state.unsynced_names) {
            by_dir.entry(change.dir()).or_default().push(change);
        }
        for changes in by_dir.into_values() {
            let kept = prng.below(changes.len() as u64 + 1) as usize;
            for change in changes.into_iter().take(kept) {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        for file in state.files.values_mut() {
            file.crash(prng);
        }
    }

    /// From now on writes fail as on a full disk (half of the bytes arrive), or succeed again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// From now on syncs fail, or succeed again.
    pub fn set_failing_syncs(&self, failing: bool) {
        self.state().failing_syncs = failing;
    }

    /// Whether writes or syncs fail now.
    pub fn is_ailing(&self) -> bool {
        let state = self.state();
        state.full || state.failing_syncs
    }

    /// How many times a file was synced.
    pub fn sync_count(&self) -> u64 {
        self.state().sync_count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { disk: self.clone(), generation: state.generation, id }))
    }
}

impl NameChange {
    fn dir(&self) -> PathBuf {
        let path = match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(_, path) => {
                path
            }
        };
        path.parent().unwrap_or(Path::new("")).to_owned()
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, id) => {
                names.insert(path, id);
            }
            NameChange::Unlink(path) => {
                names.remove(&path);
            }
            NameChange::Rename(from, to) => {
                if let Some(id) = names.remove(&from) {
                    names.insert(to, id);
                }
            }
        }
    }
}

impl FileState {
    fn crash(&mut self, prng: &mut Prng) {
        let changes = std::mem::take(&mut self.unsynced);
        let kept = prng.below(changes.len() as u64 + 1) as usize;
        let mut bytes = std::mem::take(&mut self.durable);
        let mut changes = changes.into_iter();
        for change in changes.by_ref().take(kept) {
            change.apply(&mut bytes);
        }
        if let Some(Change::Write(at, data)) = changes.next() {
            let torn = prng.below(data.len() as u64 + 1) as usize;
            let len = data.len();
            Change::Write(at, data[..torn].to_vec()).apply(&mut bytes);
            if prng.chance(1, 3) {
                Change::Write(at + torn as u64, vec![0; len - torn]).apply(&mut bytes);
            }
        }
        self.durable = bytes.clone();
        self.bytes = bytes;
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => {
                let at = at as usize;
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[at..at + data.len()].copy_from_slice(&data);
            }
            Change::SetLen(len) => bytes.resize(len as usize, 0),
        }
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        let state = self.state();
        let file = state.names.get(path).and_then(|id| state.files.get(id));
        Ok(file.map(|file| file.bytes.len() as u64))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut state = self.state();
            if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if !state.names.contains_key(path) {
                let id = state.files.len() as u64;
                state.files.insert(id, FileState::default());
                state.names.insert(path.to_owned(), id);
                state.unsynced_names.push(NameChange::Link(path.to_owned(), id));
            }
        }
        let file = self.open(path)?;
        file.set_len(0)?;
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        state.unsynced_names.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.unsynced_names.push(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.failing_syncs {
            return Err(io::Error::other("this disk was told to fail syncs"));
        }
        let (synced, rest) = std::mem::take(&mut state.unsynced_names)
            .into_iter()
            .partition(|change: &NameChange| change.dir() == dir);
        state.unsynced_names = rest;
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        self.open(path).map(|_| ())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            let holder = "another user of this disk".to_owned();
            return Err(StorageError::Locked { lock: path.to_owned(), holder });
        }
        let (disk, generation) = (self.clone(), state.generation);
        Ok(Box::new(MemLock { disk, generation, path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct MemLock {
    disk: MemDisk,
    generation: u64,
    path: PathBuf,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    generation: u64,
    id: u64,
}

impl MemFile {
    fn with<T>(&self, action: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.generation != self.generation {
            return Err(io::Error::other("this file was open when the disk crashed"));
        }
        action(&mut state, self.id)
    }

    fn change(state: &mut State, id: u64, change: Change) -> io::Result<()> {
        let file = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        change.clone().apply(&mut file.bytes);
        file.unsynced.push(change);
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.files.get(&id).map_or(0, |file| file.bytes.len() as u64)))
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state, id| {
            let bytes = state.files.get(&id).map_or(&[][..], |file| &file.bytes);
            let rest = bytes.get(position as usize..).unwrap_or_default();
            let count = rest.len().min(buf.len());
            buf[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.with(|state, id| {
            let arriving = if state.full { bytes.len() / 2 } else { bytes.len() };
            Self::change(state, id, Change::Write(position, bytes[..arriving].to_vec()))?;
            if state.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| Self::change(state, id, Change::SetLen(len)))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            state.sync_count += 1;
            if state.failing_syncs {
                return Err(io::Error::other("this disk was told to fail syncs"));
            }
            let file = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
            for change in std::mem::take(&mut file.unsynced) {
                change.apply(&mut file.durable);
            }
            Ok(())
        })
    }
}
