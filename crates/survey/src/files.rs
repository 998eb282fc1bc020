//! Reading files and directories that may be damaged, foreign or growing. Nothing is written.

use bytes::Bytes;
use quorate_base::Offset;
use quorate_protocol::batch::{Batch, BatchErrorKind, BatchHeader, HEADER_LEN};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Kafka writes no batch above 8 MiB; what claims more than this is not read.
const BATCH_BYTES_MAX: u64 = 100 * 1024 * 1024;
const CHUNK_BYTES: u64 = 1024 * 1024;
/// Small files are kilobytes; more is not read.
const SMALL_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What stands under a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Other,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub kind: EntryKind,
    pub bytes: u64,
}

/// What is in a directory, by name. Names that are not text have it replaced.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Through links, as a node would look.
        let metadata = fs::metadata(entry.path());
        let kind = match &metadata {
            Ok(it) if it.is_file() => EntryKind::File,
            Ok(it) if it.is_dir() => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(Entry { name, kind, bytes: metadata.map_or(0, |it| it.len()) });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The text of a small file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
}

/// The bytes of a file, at most `max_bytes`.
pub(crate) fn read_bytes(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A batch, or why there is none.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Batch),
    End,
    /// Nothing can be read from here on.
    Broken {
        cause: BatchErrorKind,
        /// The bytes look as if they were never written: the file ends, or the batch ends in zeros.
        unwritten: bool,
    },
    /// The batch claims this many bytes.
    Huge(u64),
    Io(io::Error),
}

/// The batches of one file, each checked, one in memory at a time.
#[derive(Debug)]
pub(crate) struct BatchReader {
    file: BufReader<File>,
    /// Bytes of the file when it was opened.
    pub size: u64,
    /// Where the next batch starts.
    pub position: u64,
}

impl BatchReader {
    pub fn open(path: &Path) -> io::Result<BatchReader> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let file = BufReader::with_capacity(CHUNK_BYTES as usize, file);
        Ok(BatchReader { file, size, position: 0 })
    }

    pub fn next(&mut self) -> Next {
        let left = self.size - self.position;
        if left == 0 {
            return Next::End;
        }
        let mut bytes = Vec::new();
        if let Err(error) = self.read(&mut bytes, left.min(HEADER_LEN as u64)) {
            return Next::Io(error);
        }
        let header = match BatchHeader::parse(&bytes) {
            Ok(header) => header,
            Err(error) => {
                let unwritten = matches!(error.kind, BatchErrorKind::Truncated { .. })
                    || bytes.iter().all(|byte| *byte == 0);
                return Next::Broken { cause: error.kind, unwritten };
            }
        };
        let size = header.size() as u64;
        if size > left {
            let cause = BatchErrorKind::Truncated { needed: size, available: left };
            return Next::Broken { cause, unwritten: true };
        }
        if size > BATCH_BYTES_MAX {
            return Next::Huge(size);
        }
        if let Err(error) = self.read(&mut bytes, size - HEADER_LEN as u64) {
            return Next::Io(error);
        }
        let unwritten = bytes.iter().rev().take(16).all(|byte| *byte == 0);
        let parsed = Batch::parse(&Bytes::from(bytes), self.position);
        match parsed.and_then(|batch| batch.verify().map(|()| batch)) {
            Ok(batch) => {
                self.position += size;
                Next::Batch(batch)
            }
            Err(error) => Next::Broken { cause: error.kind, unwritten },
        }
    }

    fn read(&mut self, bytes: &mut Vec<u8>, count: u64) -> io::Result<()> {
        let read = (&mut self.file).take(count).read_to_end(bytes)?;
        if (read as u64) < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Position of the first whole batch of at least `min_offset` behind the one at hand.
    pub fn find_batch_behind(&self, min_offset: Offset) -> io::Result<Option<u64>> {
        let file = self.file.get_ref();
        let mut position = self.position + 1;
        while position + HEADER_LEN as u64 <= self.size {
            let mut chunk = vec![0; CHUNK_BYTES.min(self.size - position) as usize];
            file.read_exact_at(&mut chunk, position)?;
            let starts = chunk.len().saturating_sub(HEADER_LEN - 1);
            if starts == 0 {
                break;
            }
            for at in 0..starts {
                // The magic byte first: it rules out nearly every position.
                if chunk[at + 16] != 2 {
                    continue;
                }
                let Ok(header) = BatchHeader::parse(&chunk[at..]) else { continue };
                let (here, size) = (position + at as u64, header.size() as u64);
                if header.base_offset < min_offset || size > (self.size - here).min(BATCH_BYTES_MAX)
                {
                    continue;
                }
                let mut bytes = vec![0; size as usize];
                file.read_exact_at(&mut bytes, here)?;
                if Batch::parse(&Bytes::from(bytes), here).is_ok_and(|batch| batch.is_valid_crc()) {
                    return Ok(Some(here));
                }
            }
            position += starts as u64;
        }
        Ok(None)
    }
}
