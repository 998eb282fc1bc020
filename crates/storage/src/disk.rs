//! The border between what storage decides and what an operating system does.

use crate::error::{At, StorageError};
use bytes::Bytes;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system, as little of it as storage needs. [`crate::FileDisk`] is the real one,
/// [`crate::MemDisk`] one that can crash.
///
/// Nothing is durable before it is synced: a file's bytes by [`DiskFile::sync`], the names of a
/// directory (creations, renames, removals) by [`Disk::sync_dir`].
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a directory and those above it; existing ones are fine.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The names of the files (not directories) in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Bytes of a file; `None` if there is no such file.
    fn len(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, or empties an existing one, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames within a directory, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Lets only the owner read and nobody write (mode 0400).
    fn set_read_only(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock on a file, creating it where needed, until the value is dropped.
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError>;
}

/// An open file. Writes go where they are told; there is no cursor.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes`; after an error any part of them may be there.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Held for as long as the value lives.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// Reads `count` bytes at `position`, fewer at the end of the file.
pub(crate) fn read_at(file: &dyn DiskFile, position: u64, count: usize) -> io::Result<Bytes> {
    let mut buf = vec![0; count];
    let read = file.read_at(&mut buf, position)?;
    buf.truncate(read);
    Ok(Bytes::from(buf))
}

/// The whole file; `None` if there is none.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Option<Bytes>, StorageError> {
    if disk.len(path).at("look at", path)?.is_none() {
        return Ok(None);
    }
    let file = disk.open_read(path).at("open", path)?;
    let len = file.len().at("look at", path)?;
    let count = usize::try_from(len)
        .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
        .at("read", path)?;
    read_at(file.as_ref(), 0, count).at("read", path).map(Some)
}

/// As [`read_file`], for text.
pub(crate) fn read_text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, StorageError> {
    let Some(bytes) = read_file(disk, path)? else { return Ok(None) };
    String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| StorageError::BadFile {
        file: path.to_owned(),
        why: "it is not UTF-8 text; restore it from a copy".to_owned(),
    })
}

/// Replaces a file's content durably: whoever reads it sees the old or the new, also after a crash.
pub(crate) fn replace_file(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
) -> Result<(), StorageError> {
    let temporary = with_suffix(path, ".tmp");
    let file = disk.create(&temporary).at("create", &temporary)?;
    file.write_at(content, 0).at("write", &temporary)?;
    file.sync().at("sync", &temporary)?;
    disk.rename(&temporary, path).at("rename", &temporary)?;
    sync_parent(disk, path)
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_dir(parent).at("sync", parent)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}
