//! What `format` leaves for the first start: `bootstrap.checkpoint` and the `0-0` checkpoint.

use crate::disk::Disk;
use crate::error::{At, StorageError};
use crate::snapshot::{
    BOOTSTRAP_SNAPSHOT_ID, PartFile, SnapshotLimits, SnapshotVoters, snapshot_file_name,
};
use crate::snapshot_reader::SnapshotReader;
use crate::snapshot_writer::SnapshotBatches;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// The file, in the root of the metadata log's directory (Kafka up to 4.3).
pub const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";

/// Framed records that the first leader of an empty log appends, and where they were found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootstrapRecords {
    /// Framed metadata records; metadata.version first.
    pub values: Vec<Bytes>,
    /// The name of the file they come from.
    pub source: String,
}

/// The bootstrap records under `root`: in the `0-0` checkpoint, where Kafka 4.4 puts them
/// (KAFKA-19648), or else in `bootstrap.checkpoint`. `None` if neither has any.
pub fn load_bootstrap(
    disk: &dyn Disk,
    root: &Path,
    metadata_dir: &Path,
) -> Result<Option<BootstrapRecords>, StorageError> {
    let snapshot = metadata_dir.join(snapshot_file_name(BOOTSTRAP_SNAPSHOT_ID));
    for path in [snapshot, root.join(BOOTSTRAP_CHECKPOINT)] {
        if disk.len(&path).at("look at", &path)?.is_none() {
            continue;
        }
        let mut reader = SnapshotReader::open(disk, &path)?;
        let mut values = Vec::new();
        while let Some(batch) = reader.next_values()? {
            values.extend(batch);
        }
        if !values.is_empty() {
            let name = path.file_name().unwrap_or_default();
            return Ok(Some(BootstrapRecords { values, source: name.display().to_string() }));
        }
    }
    Ok(None)
}

/// Writes `bootstrap.checkpoint` into `root`, as Kafka 4.3's format does, durably.
pub(crate) fn write_bootstrap(
    disk: &Arc<dyn Disk>,
    root: &Path,
    values: &[Bytes],
    now_ms: i64,
) -> Result<(), StorageError> {
    let path = root.join(BOOTSTRAP_CHECKPOINT);
    write(disk, &path, 0, now_ms, &SnapshotVoters::Static, values, false)
}

/// Writes the `0-0` checkpoint with the first voter set into `metadata_dir`, durably.
pub(crate) fn write_voters(
    disk: &Arc<dyn Disk>,
    metadata_dir: &Path,
    voters: &SnapshotVoters,
    now_ms: i64,
) -> Result<(), StorageError> {
    let path = metadata_dir.join(snapshot_file_name(BOOTSTRAP_SNAPSHOT_ID));
    write(disk, &path, now_ms, now_ms, voters, &[], true)
}

fn write(
    disk: &Arc<dyn Disk>,
    path: &Path,
    last_contained_log_timestamp_ms: i64,
    now_ms: i64,
    voters: &SnapshotVoters,
    values: &[Bytes],
    freeze: bool,
) -> Result<(), StorageError> {
    let mut batches =
        SnapshotBatches::new(BOOTSTRAP_SNAPSHOT_ID, now_ms, SnapshotLimits::default());
    let mut content = batches.header(last_contained_log_timestamp_ms, voters).to_vec();
    for value in values {
        content.extend(batches.push(value.clone()).unwrap_or_default());
    }
    content.extend(batches.footer());
    if !freeze {
        return crate::disk::replace_file(disk.as_ref(), path, &content);
    }
    let temporary = crate::disk::with_suffix(path, ".part");
    let part = PartFile::new(disk.clone(), temporary, path.to_owned())?;
    part.write_at(&content, 0)?;
    part.finish()
}
