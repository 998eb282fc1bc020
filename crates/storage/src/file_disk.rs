//! The operating system's files.

use crate::disk::{Disk, DiskFile, DiskLock};
use crate::error::{At, StorageError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Real files (Unix).
#[derive(Clone, Copy, Debug, Default)]
pub struct FileDisk;

impl Disk for FileDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(File::open(path)?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o400))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        FileLock::take(path).map(|lock| Box::new(lock) as Box<dyn DiskLock>)
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], position + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // Data and length; the times need not be durable.
        self.0.sync_data()
    }
}

/// Record locks belong to a process, so a second lock by the same process would succeed; and
/// closing *any* descriptor of the file drops them, so nobody else may open a file listed here.
static HELD_BY_THIS_PROCESS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A POSIX record lock, the kind that Java's `FileChannel.tryLock` takes.
#[derive(Debug)]
struct FileLock {
    path: PathBuf,
    _file: File,
}

impl DiskLock for FileLock {}

impl FileLock {
    fn take(path: &Path) -> Result<FileLock, StorageError> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path =
            fs::canonicalize(parent).at("open", parent)?.join(path.file_name().unwrap_or_default());
        let mut held = HELD_BY_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&path) {
            return Err(StorageError::Locked { lock: path, holder: "this process".to_owned() });
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).at("open", &path)?;
        match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
            Ok(_) => {}
            Err(Errno::EACCES | Errno::EAGAIN) => {
                return Err(StorageError::Locked { lock: path, holder: holder(&file) });
            }
            Err(errno) => return Err(io::Error::from(errno)).at("lock", &path),
        }
        held.insert(path.clone());
        Ok(FileLock { path, _file: file })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The file itself stays: removing it would let a third process lock a new one while a
        // second still waits with the old one open.
        HELD_BY_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

/// Who holds the lock on a file, as far as the operating system tells; `None` if nobody does or
/// there is no such file. The lock is not touched. Not for files that this process may have locked
/// itself: to look at one lets its lock go.
pub fn lock_holder(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lock = whole_file();
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
    let held = lock.l_type != libc::F_UNLCK as libc::c_short;
    Ok(held.then(|| holder(&file)))
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn holder(file: &File) -> String {
    let mut lock = whole_file();
    match fcntl(file, FcntlArg::F_GETLK(&mut lock)) {
        Ok(_) if lock.l_type == libc::F_UNLCK as libc::c_short => {
            "a process that has just let it go".to_owned()
        }
        Ok(_) if lock.l_pid > 0 => format!("process {}", lock.l_pid),
        _ => "another process (in another container or on another host)".to_owned(),
    }
}
