//! Opening the log: every batch is read, and only a torn tail is cut.
//!
//! | what is found | what it can come from | what is done |
//! |---|---|---|
//! | last segment ends in a broken batch, no whole batch behind it | crash while appending | cut there |
//! | broken batch with whole batches behind it | damage: synced records are gone | refuse |
//! | broken batch in an earlier segment | damage: a segment is synced before the next begins | refuse |
//! | whole batch with the wrong offset or a falling epoch | damage, files mixed up | refuse |
//! | segments with a gap between them | a file is missing | refuse |
//! | log starts above 0, no snapshot reaches its start | a file is missing | refuse |
//! | newest snapshot is ahead of the log | crash while installing it | log restarts at its end |
//! | no segment | new directory, or the crash just above | log starts at the newest snapshot |
//!
//! Java cuts at the first broken batch wherever it is, and deletes all segments behind.

use crate::disk::{Disk, remove_if_there, replace_file};
use crate::epochs::EpochCache;
use crate::error::{At, StorageError};
use crate::log::{LogConfig, LogWriter, Shared};
use crate::segment::{Segment, Tail, file_name, parse_file_name};
use quorate_base::{Offset, OffsetAndEpoch, Uuid};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Leftovers of an interrupted change, Kafka's or ours, that mean nothing.
const LEFTOVER_SUFFIXES: [&str; 4] = [".part", ".deleted", ".tmp", ".cleaned"];

/// What opening the log had to mend.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogRecovery {
    /// A batch that a crash left unfinished was cut off.
    pub torn_tail: Option<TornTail>,
    /// The log was behind the newest snapshot and restarted at its end.
    pub restarted_at: Option<OffsetAndEpoch>,
}

/// The end of a segment that a crash left unfinished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// Bytes that were cut off.
    pub bytes: u64,
    /// What was wrong with them.
    pub why: String,
}

/// Opens or creates the log in `dir`; `newest_snapshot` is the newest in the same directory.
pub fn open_log(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    config: LogConfig,
    newest_snapshot: Option<OffsetAndEpoch>,
) -> Result<(LogWriter, LogRecovery), StorageError> {
    let base_offsets = segments_in(disk.as_ref(), dir)?;
    let mut recovery = LogRecovery::default();
    let (mut segments, mut epochs) = (Vec::new(), EpochCache::default());
    let mut due = None;
    for (i, base_offset) in base_offsets.iter().enumerate() {
        let is_last = i + 1 == base_offsets.len();
        if due.is_some_and(|due| due != *base_offset) {
            let (before, here) = (due.unwrap_or_default(), file_name(*base_offset));
            let why = format!("offsets {before} to {base_offset} are missing before {here}");
            return Err(StorageError::Inconsistent { dir: dir.to_owned(), why });
        }
        let path = dir.join(file_name(*base_offset));
        let last_epoch = epochs.last_epoch();
        let (mut segment, scan) =
            Segment::open(disk.as_ref(), path.clone(), *base_offset, last_epoch)?;
        match scan.tail {
            Tail::Clean => {}
            Tail::Torn { why } if is_last => {
                let (position, bytes) = (segment.size, scan.file_len - segment.size);
                segment.cut(position)?;
                recovery.torn_tail = Some(TornTail { file: path, position, bytes, why });
            }
            Tail::Torn { why } | Tail::Corrupt { why } => {
                return Err(StorageError::Corrupt { file: path, position: segment.size, why });
            }
        }
        for (epoch, offset) in scan.epochs {
            epochs.note(epoch, offset);
        }
        due = Some(scan.end_offset);
        segments.push(segment);
    }
    if let Some(last) = segments.last() {
        // What was read may be only in memory yet, if the process that wrote it was killed.
        last.file.sync().at("sync", &last.path)?;
    }

    if segments.is_empty() {
        let start = newest_snapshot.map_or(0, |id| id.offset);
        segments.push(Segment::create(disk.as_ref(), dir, start)?);
        disk.sync_dir(dir).at("sync", dir)?;
    }
    let log_start = segments[0].base_offset;
    let log_end = due.unwrap_or(log_start);
    let end = OffsetAndEpoch { offset: log_end, epoch: epochs.last_epoch().unwrap_or(0) };
    if newest_snapshot.map_or(0, |id| id.offset) < log_start {
        let why = format!("the log starts at offset {log_start}, and no snapshot reaches there");
        return Err(StorageError::Inconsistent { dir: dir.to_owned(), why });
    }
    let shared =
        Shared { dir: dir.to_owned(), segments, log_start, log_end, epochs, generation: 0 };
    let mut writer = LogWriter::new(disk.clone(), config, shared)?;
    if let Some(id) = newest_snapshot
        && id > end
        && (log_start, log_end) != (id.offset, id.offset)
    {
        writer.reset_to_snapshot(id)?;
        recovery.restarted_at = Some(id);
    }
    Ok((writer, recovery))
}

/// Base offsets of the segments in `dir`, ascending.
pub(crate) fn segments_in(disk: &dyn Disk, dir: &Path) -> Result<Vec<Offset>, StorageError> {
    let names = disk.list(dir).at("list", dir)?;
    // Twenty digits: the order of the names is that of the offsets.
    Ok(names.iter().filter_map(|name| parse_file_name(name)).collect())
}

/// Removes what an interrupted change left behind.
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    for name in disk.list(dir).at("list", dir)? {
        if LEFTOVER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            remove_if_there(disk, &dir.join(name))?;
        }
    }
    Ok(())
}

/// Writes Kafka's `partition.metadata` where it is missing; refuses another topic's.
pub(crate) fn ensure_partition_metadata(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    let path = dir.join("partition.metadata");
    let topic_id = Uuid::METADATA_TOPIC;
    let Some(text) = crate::disk::read_text(disk, &path)? else {
        let text = format!("version: 0\ntopic_id: {topic_id}");
        return replace_file(disk, &path, text.as_bytes());
    };
    let found = text.lines().find_map(|line| line.strip_prefix("topic_id:")).map(str::trim);
    if found == Some(topic_id.to_string().as_str()) {
        return Ok(());
    }
    let why = format!(
        "it names topic id {}, not {topic_id} of the metadata log; this is another topic's \
         directory, or the file was damaged and may be removed",
        found.unwrap_or("none")
    );
    Err(StorageError::BadFile { file: path, why })
}
