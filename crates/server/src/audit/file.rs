//! The files of the audit: one that is written to, closed ones beside it, the oldest deleted.

use quorate_base::UtcDate;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that is written to. Closed ones have the time of their closing between `-` and `.log`.
pub const CURRENT: &str = "quorate-audit.log";
const CLOSED_PREFIX: &str = "quorate-audit-";
const SUFFIX: &str = ".log";

/// Where, and how much.
#[derive(Clone, Debug)]
pub struct FileLimits {
    /// The directory.
    pub dir: PathBuf,
    /// A file is closed before it grows beyond this.
    pub file_bytes: u64,
    /// A file is closed when its first line is this old.
    pub file_age: Duration,
    /// All files together; the oldest closed ones are deleted.
    pub total_bytes: u64,
    /// So much of the file system is left to others, above all to the metadata log.
    pub min_free_bytes: u64,
}

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system is nearly full.
    #[error("only {free} bytes are free, and quorate.audit.min.free.bytes is {wanted}")]
    Space {
        /// What is there.
        free: u64,
        /// What is to be left.
        wanted: u64,
    },
    /// The system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The files.
#[derive(Debug)]
pub struct AuditFiles {
    limits: FileLimits,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
    started_ms: i64,
    unsynced: bool,
}

impl AuditFiles {
    /// Opens no file yet.
    pub fn new(limits: FileLimits) -> AuditFiles {
        AuditFiles { limits, current: None }
    }

    /// Appends lines, each with its end, as one write. After an error the next call starts afresh.
    pub fn append(&mut self, lines: &[u8], now_ms: i64) -> Result<(), WriteError> {
        let written = self.try_append(lines, now_ms);
        if written.is_err() {
            self.current = None;
        }
        written
    }

    fn try_append(&mut self, lines: &[u8], now_ms: i64) -> Result<(), WriteError> {
        self.check_space()?;
        let age_ms = i64::try_from(self.limits.file_age.as_millis()).unwrap_or(i64::MAX);
        if self.current.is_none() {
            self.current = Some(open(&self.limits.dir.join(CURRENT), now_ms)?);
        }
        let full = self.current.as_ref().is_some_and(|it| {
            let grown = it.bytes + lines.len() as u64 > self.limits.file_bytes;
            it.bytes > 0 && (grown || now_ms.saturating_sub(it.started_ms) >= age_ms)
        });
        if full {
            self.close(now_ms)?;
            self.current = Some(open(&self.limits.dir.join(CURRENT), now_ms)?);
        }
        let current = self.current.as_mut().expect("opened above");
        current.file.write_all(lines)?;
        current.bytes += lines.len() as u64;
        current.unsynced = true;
        Ok(())
    }

    /// Brings what was written to the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        match &mut self.current {
            Some(current) if current.unsynced => {
                current.file.sync_data()?;
                current.unsynced = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_space(&self) -> Result<(), WriteError> {
        let wanted = self.limits.min_free_bytes;
        if wanted == 0 {
            return Ok(());
        }
        let space = nix::sys::statvfs::statvfs(&self.limits.dir).map_err(io::Error::from)?;
        let free = space.blocks_available().saturating_mul(space.fragment_size());
        if free < wanted { Err(WriteError::Space { free, wanted }) } else { Ok(()) }
    }

    fn close(&mut self, now_ms: i64) -> io::Result<()> {
        self.sync()?;
        self.current = None;
        let dir = &self.limits.dir;
        let time = file_time(now_ms);
        let free = (0..).map(|n| match n {
            0 => dir.join(format!("{CLOSED_PREFIX}{time}{SUFFIX}")),
            n => dir.join(format!("{CLOSED_PREFIX}{time}-{n}{SUFFIX}")),
        });
        let name = free.into_iter().find(|path| !path.exists()).expect("an endless list");
        fs::rename(dir.join(CURRENT), name)?;
        self.delete_oldest()
    }

    /// The room of one more whole file is made beforehand.
    fn delete_oldest(&self) -> io::Result<()> {
        let closed = closed_files(&self.limits.dir)?;
        let mut total: u64 = closed.iter().map(|(_, bytes)| bytes).sum();
        for (path, bytes) in closed {
            if total + self.limits.file_bytes <= self.limits.total_bytes {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

/// Opens a file at its end. A line that a crash left unfinished is ended there.
fn open(path: &Path, now_ms: i64) -> io::Result<Current> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(path)?;
    let mut bytes = file.metadata()?.len();
    if bytes > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            bytes += 1;
        }
    }
    let born = file.metadata()?.created().ok();
    let born = born.and_then(|it| it.duration_since(std::time::UNIX_EPOCH).ok());
    let born_ms = born.and_then(|it| i64::try_from(it.as_millis()).ok());
    let started_ms = born_ms.filter(|_| bytes > 0).unwrap_or(now_ms);
    Ok(Current { file, bytes, started_ms, unsynced: false })
}

/// Closed files with their sizes, the oldest first.
fn closed_files(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut all = Vec::new();
    for path in audit_files(dir)? {
        if path.file_name().is_some_and(|name| name != CURRENT) {
            let bytes = fs::metadata(&path)?.len();
            all.push((path, bytes));
        }
    }
    Ok(all)
}

/// The audit's files in a directory, the oldest first.
pub fn audit_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut closed = Vec::new();
    let mut current = None;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == CURRENT {
            current = Some(entry.path());
        } else if let Some(rest) = name.strip_prefix(CLOSED_PREFIX)
            && let Some(time) = rest.strip_suffix(SUFFIX)
        {
            // `...Z` before `...Z-1`, `...Z-2` before `...Z-10`.
            let (time, n) = time.split_once('-').unwrap_or((time, "0"));
            closed.push((time.to_owned(), n.parse::<u64>().unwrap_or(0), entry.path()));
        }
    }
    closed.sort();
    Ok(closed.into_iter().map(|(_, _, path)| path).chain(current).collect())
}

/// `20261122T223825.123Z`.
fn file_time(ms: i64) -> String {
    let UtcDate { year, month, day, hour, minute, second, .. } = UtcDate::from_ms(ms);
    let ms = ms.rem_euclid(1000);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn limits(dir: &Path) -> FileLimits {
        FileLimits {
            dir: dir.to_owned(),
            file_bytes: 100,
            file_age: Duration::from_secs(3600),
            total_bytes: 350,
            min_free_bytes: 0,
        }
    }

    fn texts(dir: &Path) -> Vec<String> {
        let files = audit_files(dir).unwrap();
        files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn files_are_closed_by_size_and_the_oldest_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = AuditFiles::new(limits(dir.path()));
        for n in 0..100 {
            let line = format!("{{\"line\":{n:030}}}\n");
            files.append(line.as_bytes(), 1_000_000).unwrap();
        }
        let texts = texts(dir.path());
        assert!(texts.iter().all(|it| it.len() <= 100), "{texts:?}");
        let total: usize = texts.iter().map(String::len).sum();
        assert!((200..=350).contains(&total), "{total}");
        assert!(texts.last().unwrap().contains("99}"), "the newest stay: {texts:?}");
        // In the order in which they were written, although all have the same time.
        let all = texts.concat();
        let numbers: Vec<u32> =
            all.lines().map(|it| it[8..it.len() - 1].parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        let mode = fs::metadata(dir.path().join(CURRENT)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_are_closed_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = AuditFiles::new(limits(dir.path()));
        let day_ms = 1_795_000_000_000;
        files.append(b"a\n", day_ms).unwrap();
        files.append(b"b\n", day_ms + 3_599_999).unwrap();
        files.append(b"c\n", day_ms + 3_600_000).unwrap();
        assert_eq!(texts(dir.path()), ["a\nb\n", "c\n"]);
        let names = audit_files(dir.path()).unwrap();
        let closed = names[0].file_name().unwrap().to_str().unwrap();
        assert!(closed.starts_with("quorate-audit-2026"), "{closed}");
    }

    #[test]
    fn a_line_that_a_crash_left_unfinished_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CURRENT), b"whole\n{\"hal").unwrap();
        AuditFiles::new(limits(dir.path())).append(b"next\n", 0).unwrap();
        assert_eq!(texts(dir.path()), ["whole\n{\"hal\nnext\n"]);
    }

    #[test]
    fn space_is_left_to_the_metadata_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = limits(dir.path());
        limits.min_free_bytes = u64::MAX;
        let error = AuditFiles::new(limits).append(b"x\n", 0).unwrap_err();
        assert!(error.to_string().contains("quorate.audit.min.free.bytes"), "{error}");
        assert_eq!(texts(dir.path()), [""; 0]);
    }

    #[test]
    fn a_directory_that_comes_back_is_written_to_again() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("audit");
        let mut files = AuditFiles::new(limits(&dir));
        assert!(files.append(b"lost\n", 0).is_err());
        fs::create_dir(&dir).unwrap();
        files.append(b"kept\n", 0).unwrap();
        files.sync().unwrap();
        assert_eq!(texts(&dir), ["kept\n"]);
    }
}
