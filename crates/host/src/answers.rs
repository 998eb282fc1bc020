//! Answers that lack bytes from the disk: reading the log and snapshots beside whoever writes them.

use bytes::Bytes;
use quorate_base::{Offset, OffsetAndEpoch};
use quorate_protocol::{AnyResponse, ErrorCode};
use quorate_storage::{LogReader, Snapshots, StorageError};
use std::io;

/// What an answer still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Nothing.
    Nothing,
    /// Records of the one partition of a Fetch answer.
    Log {
        /// First offset.
        from: Offset,
        /// Nothing at or beyond this offset.
        end: Offset,
        /// About so many bytes, but at least one batch.
        max_bytes: u32,
        /// The log's generation when the answer was decided: if the log was cut since, the answer
        /// goes out without records.
        generation: u64,
    },
    /// Bytes and size of the one partition of a FetchSnapshot answer.
    Snapshot {
        /// Which.
        id: OffsetAndEpoch,
        /// First byte.
        position: u64,
        /// At most so many.
        max_bytes: u32,
    },
}

/// The log and the snapshots as readers see them. Safe to use from any thread.
pub trait LogSource: Send + Sync {
    /// Whole batches from the one that holds `from`, about `max_bytes` but at least one, none at or
    /// beyond `end`. Empty if there are none any more.
    fn read_log(&self, from: Offset, end: Offset, max_bytes: u32) -> io::Result<Bytes>;

    /// A slice of a snapshot and the size of the whole; `None` if there is no such snapshot.
    fn read_snapshot(
        &self,
        id: OffsetAndEpoch,
        position: u64,
        max_bytes: u32,
    ) -> io::Result<Option<(Bytes, u64)>>;

    /// Changes each time records that were there are taken back.
    fn generation(&self) -> u64;
}

/// As [`LogSource::read_log`], from an open log.
pub fn read_log(log: &LogReader, from: Offset, end: Offset, max_bytes: u32) -> io::Result<Bytes> {
    match log.read_until(from, end, max_bytes as usize) {
        Ok(bytes) => Ok(bytes),
        // Deleted by retention since the answer was decided: the next answer says so.
        Err(StorageError::OffsetOutOfRange { .. }) => Ok(Bytes::new()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// As [`LogSource::read_snapshot`], from an open directory.
pub fn read_snapshot(
    snapshots: &Snapshots,
    id: OffsetAndEpoch,
    position: u64,
    max_bytes: u32,
) -> io::Result<Option<(Bytes, u64)>> {
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    match snapshots.read_slice(id, position, max_bytes as usize) {
        Ok(slice) => Ok(Some(slice)),
        Err(StorageError::SnapshotNotFound(_)) => Ok(None),
        Err(StorageError::PositionOutOfRange { size, .. }) => Ok(Some((Bytes::new(), size))),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The answer with what it lacked.
///
/// # Panics
/// If the answer is not of the kind that lacks such bytes.
pub fn fill(
    source: &dyn LogSource,
    mut response: AnyResponse,
    fill: Fill,
) -> io::Result<AnyResponse> {
    match (&mut response, fill) {
        (_, Fill::Nothing) => {}
        (AnyResponse::Fetch(fetch), Fill::Log { from, end, max_bytes, generation }) => {
            let partition =
                fetch.responses.first_mut().and_then(|topic| topic.partitions.first_mut());
            let partition = partition.expect("a fetch answer to be filled has its one partition");
            let records = source.read_log(from, end, max_bytes)?;
            // The log was cut while this answer waited: its offsets may hold other records now.
            let unchanged = source.generation() == generation;
            partition.records = Some(if unchanged { records } else { Bytes::new() });
        }
        (AnyResponse::FetchSnapshot(chunk), Fill::Snapshot { id, position, max_bytes }) => {
            let partition = chunk.topics.first_mut().and_then(|topic| topic.partitions.first_mut());
            let partition =
                partition.expect("a snapshot answer to be filled has its one partition");
            match source.read_snapshot(id, position, max_bytes)? {
                None => partition.error_code = ErrorCode::SnapshotNotFound.code(),
                Some((_, size)) if position >= size => {
                    partition.error_code = ErrorCode::PositionOutOfRange.code();
                }
                Some((bytes, size)) => {
                    partition.size = i64::try_from(size).expect("files are below 2^63 bytes");
                    partition.position = i64::try_from(position).expect("checked against the size");
                    partition.unaligned_records = bytes;
                }
            }
        }
        (response, fill) => panic!("{fill:?} cannot fill {}", response.api_key()),
    }
    Ok(response)
}
