use crate::{ApplyError, Replayer};
use bytes::Bytes;
use quorate_base::Offset;
use quorate_protocol::{MetadataRecord, WireError};

/// A log or snapshot that cannot be loaded, with the place.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The record's type is not known here.
    #[error("the record at offset {offset} is of the unknown type {key}: {}", unknown_hint(*key))]
    UnknownRecord {
        /// The record's offset.
        offset: Offset,
        /// Its type.
        key: u32,
    },
    /// The bytes are no metadata record.
    #[error("the record at offset {offset} cannot be read: {source}")]
    Undecodable {
        /// The record's offset.
        offset: Offset,
        /// What is wrong with the bytes.
        source: WireError,
    },
    /// The record does not fit what came before it.
    #[error("at offset {offset}: {source}")]
    Inapplicable {
        /// The record's offset.
        offset: Offset,
        /// What it contradicts.
        source: ApplyError,
    },
}

fn unknown_hint(key: u32) -> &'static str {
    match key {
        6 | 13 | 16 => "only test releases before Kafka 3.0 wrote it, such a log cannot be used",
        _ => "it was written by a release after Kafka 4.4, run this node with a newer release",
    }
}

/// Applies the values of data records (of one log in order, or of a snapshot) to `replayer`, and gives
/// how many there were. On an error the replayer holds everything before the record that failed.
pub fn load_values(
    replayer: &mut Replayer,
    values: impl IntoIterator<Item = (Offset, Bytes)>,
) -> Result<u64, LoadError> {
    let mut count = 0;
    for (offset, value) in values {
        let (record, _) = MetadataRecord::decode_framed(value).map_err(|source| match source {
            WireError::UnknownRecord(key) => LoadError::UnknownRecord { offset, key },
            source => LoadError::Undecodable { offset, source },
        })?;
        replayer.apply(&record).map_err(|source| LoadError::Inapplicable { offset, source })?;
        count += 1;
    }
    Ok(count)
}
