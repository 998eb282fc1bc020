//! The small files around a log: names that belong here, `partition.metadata`,
//! `leader-epoch-checkpoint`, indexes. All of them can be made again.

use crate::files::{self, Entry, EntryKind};
use crate::finding::{Finding, Kind, Place};
use crate::log::LogState;
use quorate_base::{Epoch, Offset, OffsetAndEpoch, Uuid};
use quorate_storage::{QUORUM_STATE, parse_snapshot_file_name};
use std::io;
use std::path::{Path, PathBuf};

const PARTITION_METADATA: &str = "partition.metadata";
const EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// What an interrupted change leaves.
const LEFT_OVERS: [&str; 6] = [".deleted", ".part", ".tmp", ".cleaned", ".swap", ".swap.part"];
/// Companions of a segment: suffix and bytes of an entry.
const INDEXES: [(&str, u64); 4] =
    [("index", 8), ("timeindex", 12), ("txnindex", 34), ("snapshot", 0)];
/// An index is preallocated to this size while it is written to.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The files that hold the log.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    pub segments: Vec<(Offset, PathBuf)>,
    pub snapshots: Vec<(OffsetAndEpoch, PathBuf)>,
    indexes: Vec<(String, Offset, PathBuf, u64)>,
}

/// Sorts the names in the metadata directory.
pub(crate) fn sort(dir: &Path, entries: &[Entry], findings: &mut Vec<Finding>) -> LogFiles {
    let mut sorted = LogFiles::default();
    for entry in entries {
        let (name, path) = (entry.name.as_str(), dir.join(&entry.name));
        let mut note = |kind| findings.push(Finding { place: Place::of(&path), kind });
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let index = INDEXES.iter().find(|(suffix, _)| extension == Some(*suffix));
        let is_ours = matches!(extension, Some("log" | "checkpoint")) || index.is_some();
        let small = [QUORUM_STATE, PARTITION_METADATA, EPOCH_CHECKPOINT].contains(&name);
        if entry.kind != EntryKind::File {
            note(match entry.kind {
                EntryKind::Directory if !is_ours && !small => Kind::StrangeDirectory,
                _ => Kind::NotAFile,
            });
        } else if LEFT_OVERS.iter().any(|suffix| name.ends_with(suffix)) {
            note(Kind::LeftOver);
        } else if extension == Some("log") {
            match offset_of(name, ".log") {
                Some(base) => sorted.segments.push((base, path)),
                None => note(Kind::BadSegmentName),
            }
        } else if extension == Some("checkpoint") {
            match parse_snapshot_file_name(name) {
                Some(id) => sorted.snapshots.push((id, path)),
                None => note(Kind::BadSnapshotName),
            }
        } else if let Some((suffix, _)) = index {
            match offset_of(name, &format!(".{suffix}")) {
                Some(base) => {
                    sorted.indexes.push(((*suffix).to_owned(), base, path, entry.bytes));
                }
                None => note(Kind::StrangeFile),
            }
        } else if !small {
            note(Kind::StrangeFile);
        }
    }
    sorted.segments.sort();
    sorted.snapshots.sort_by_key(|(id, _)| (id.offset, id.epoch));
    sorted
}

/// Twenty digits before the suffix.
fn offset_of(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().ok()).flatten()
}

/// `partition.metadata` names the metadata topic, or is not there.
pub(crate) fn check_partition_metadata(dir: &Path, findings: &mut Vec<Finding>) {
    let path = dir.join(PARTITION_METADATA);
    let kind = match files::read_text(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kind::NoPartitionMetadata,
        Err(error) => Kind::BadPartitionMetadata { why: error.to_string() },
        Ok(text) => {
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
                line.map(|value| value.trim().to_owned())
            };
            match (value("version").as_deref(), value("topic_id")) {
                (Some("0"), Some(found)) if found == Uuid::METADATA_TOPIC.to_string() => return,
                (Some("0"), Some(found)) => Kind::OtherTopic { found },
                (Some("0"), None) => Kind::BadPartitionMetadata { why: "no topic_id".to_owned() },
                (version, _) => {
                    let version = version.map_or_else(|| "none".to_owned(), str::to_owned);
                    Kind::BadPartitionMetadata { why: format!("its version is {version}") }
                }
            }
        }
    };
    findings.push(Finding { place: Place::of(path), kind });
}

/// `leader-epoch-checkpoint` against the epochs of the log.
pub(crate) fn check_epochs(dir: &Path, log: &LogState, findings: &mut Vec<Finding>) {
    let path = dir.join(EPOCH_CHECKPOINT);
    let has_records = log.segments.iter().any(|segment| segment.batches > 0);
    let mut note = |kind| findings.push(Finding { place: Place::of(&path), kind });
    let text = match files::read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_records {
                note(Kind::NoEpochCheckpoint);
            }
            return;
        }
        Err(error) => return note(Kind::BadEpochCheckpoint { why: error.to_string() }),
    };
    let starts = match parse_epochs(&text) {
        Ok(starts) => starts,
        Err(why) => return note(Kind::BadEpochCheckpoint { why }),
    };
    let log_end =
        log.segments.iter().rfind(|it| it.batches > 0).map_or(log.start, |it| it.end_offset);
    // The file is written now and then: it may lack the last epochs.
    for (epoch, start) in &starts {
        let of_log = log.epochs.iter().find(|it| it.epoch == *epoch).map(|it| it.start_offset);
        let cut_at_start = *start <= log.start && of_log.is_none_or(|it| it == log.start);
        if *start > log_end || (*start == log_end && of_log.is_none() && has_records) {
            return note(Kind::EpochCheckpointBeyondLog { epoch: *epoch, start: *start, log_end });
        }
        if of_log != Some(*start) && !cut_at_start && has_records {
            // An epoch that wrote nothing may stand in the file where the next one starts.
            let next = log.epochs.iter().any(|it| it.epoch > *epoch && it.start_offset == *start);
            if of_log.is_none() && next {
                continue;
            }
            let (epoch, file) = (*epoch, Some(*start));
            return note(Kind::EpochCheckpointDisagrees { epoch, file, log: of_log });
        }
    }
    let newest = starts.last().map(|(epoch, _)| *epoch);
    let missing = log.epochs.iter().find(|it| {
        newest.is_some_and(|newest| it.epoch < newest)
            && starts.iter().all(|(epoch, _)| *epoch != it.epoch)
    });
    if let Some(missing) = missing.filter(|it| it.start_offset > log.start) {
        let (epoch, of_log) = (missing.epoch, Some(missing.start_offset));
        note(Kind::EpochCheckpointDisagrees { epoch, file: None, log: of_log });
    }
}

fn parse_epochs(text: &str) -> Result<Vec<(Epoch, Offset)>, String> {
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("0") {
        return Err("its first line is not version 0".to_owned());
    }
    let count = lines.next().and_then(|line| line.trim().parse::<usize>().ok());
    let count = count.ok_or("its second line is no number")?;
    let mut starts = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let parsed = line.split_once(' ').and_then(|(epoch, start)| {
            Some((epoch.trim().parse().ok()?, start.trim().parse().ok()?))
        });
        starts.push(parsed.ok_or_else(|| format!("{line:?} is not an epoch and an offset"))?);
    }
    if starts.len() == count {
        Ok(starts)
    } else {
        Err(format!("it announces {count} epochs and has {}", starts.len()))
    }
}

/// Sizes and entries of the indexes. They are made again from the log, so nothing here is serious.
pub(crate) fn check_indexes(sorted: &LogFiles, log: &LogState, findings: &mut Vec<Finding>) {
    for (suffix, base, path, bytes) in &sorted.indexes {
        let mut note = |kind| findings.push(Finding { place: Place::of(path), kind });
        // Producer state is named by where it was taken, not by a segment.
        if suffix == "snapshot" {
            continue;
        }
        let Some(segment) = log.segments.iter().find(|it| it.base_offset == *base) else {
            note(Kind::OrphanIndex);
            continue;
        };
        let entry = INDEXES.iter().find(|(it, _)| it == suffix).map_or(1, |(_, bytes)| *bytes);
        if bytes % entry != 0 {
            note(Kind::BadIndexSize { bytes: *bytes, entry });
        } else if suffix == "index" && *bytes <= INDEX_BYTES_MAX {
            let entries = files::read_bytes(path, INDEX_BYTES_MAX).unwrap_or_default();
            let positions = entries.as_chunks::<8>().0.iter().map(|entry| {
                let [.., a, b, c, d] = *entry;
                u64::from(u32::from_be_bytes([a, b, c, d]))
            });
            if let Some(position) = positions.into_iter().find(|it| *it >= segment.bytes.max(1)) {
                note(Kind::BadIndexEntry { position, segment_bytes: segment.bytes });
            }
        }
    }
}
