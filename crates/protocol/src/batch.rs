//! Record batches, format v2: the unit in which the metadata log is written, fetched and checked.
//!
//! A batch is a 61-byte big-endian header and its records. The CRC-32C covers everything after
//! itself, so that a leader may assign base offset and epoch without summing again. Reading is
//! total: every length is checked against the bytes at hand before it is used, keys and values are
//! slices of the input, and an error names the byte where the trouble starts.

mod encode;

pub use encode::{encode_control_batch, encode_data_batch, encoded_record_len, with_position};

use bytes::Bytes;
use quorate_base::{Epoch, Offset};

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;
/// Bytes of `base_offset` and `length`, which `length` itself does not count.
pub const LENGTH_PREFIX_LEN: usize = 12;
/// Largest batch Kafka's controller writes to the metadata log (observed in 4.3.0).
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Most records Kafka's controller puts into one batch (observed in 4.3.0).
pub const MAX_BATCH_RECORDS: usize = 10_000;

const MAGIC: i8 = 2;
const CODEC_MASK: i16 = 0b111;
const CONTROL_BIT: i16 = 1 << 5;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
/// Bytes of the header that `length` counts.
const MIN_LENGTH: i32 = (HEADER_LEN - LENGTH_PREFIX_LEN) as i32;

/// Why bytes are not a readable batch, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at byte {position}: {kind}")]
pub struct BatchError {
    /// Byte in the input (file, response) at which the batch or the record starts.
    pub position: u64,
    /// What is wrong there.
    pub kind: BatchErrorKind,
}

/// What is wrong with a batch.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchErrorKind {
    /// The input ends inside the batch: a torn write, or a fetch that was cut.
    #[error("the batch needs {needed} bytes and only {available} are there")]
    Truncated {
        /// Bytes the batch claims, or the header's size where not even that is there.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The length field cannot be that of a batch.
    #[error("batch length {length} is below the smallest possible, {MIN_LENGTH}")]
    BadLength {
        /// The length field.
        length: i32,
    },
    /// Another message format.
    #[error("message format {magic} is not supported, only format 2")]
    BadMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The header contradicts itself.
    #[error("batch header is not valid: {why}")]
    BadHeader {
        /// What contradicts.
        why: &'static str,
    },
    /// The bytes are not those that were written.
    #[error("checksum does not match: stored {stored:#010x}, computed {computed:#010x}")]
    BadCrc {
        /// CRC-32C in the header.
        stored: u32,
        /// CRC-32C of the bytes.
        computed: u32,
    },
    /// Kafka never compresses the metadata log, and this reader does not decompress.
    #[error(
        "the batch is compressed with {codec}; Kafka never compresses the metadata log, \
         so these bytes belong to another topic or were rewritten by another tool"
    )]
    Compressed {
        /// Name of the codec.
        codec: &'static str,
    },
    /// A record inside the batch is malformed.
    #[error("record {index} of the batch is not valid: {why}")]
    BadRecord {
        /// Which record of the batch, from 0.
        index: i32,
        /// What is malformed.
        why: &'static str,
    },
}

/// The fixed fields of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after this field; the batch is [`BatchHeader::size`] bytes in all.
    pub length: i32,
    /// Epoch of the leader that wrote the batch; in a snapshot, the snapshot's epoch.
    pub partition_leader_epoch: Epoch,
    /// CRC-32C of everything after this field.
    pub crc: u32,
    /// Codec (bits 0-2), timestamp type (3), transactional (4), control (5), delete horizon (6).
    pub attributes: i16,
    /// Offset of the last record less `base_offset`.
    pub last_offset_delta: i32,
    /// Milliseconds since the Unix epoch of the first record.
    pub base_timestamp: i64,
    /// Latest timestamp of any record, milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// -1 in the metadata log.
    pub producer_id: i64,
    /// -1 in the metadata log.
    pub producer_epoch: i16,
    /// -1 in the metadata log.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes` and checks that it can be one. Neither the CRC nor
    /// whether the whole batch is there is checked. The error's position is 0.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        Self::parse_at(bytes, 0)
    }

    fn parse_at(bytes: &[u8], position: u64) -> Result<BatchHeader, BatchError> {
        let fail = |kind| BatchError { position, kind };
        let Some(raw) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(fail(BatchErrorKind::Truncated {
                needed: HEADER_LEN as u64,
                available: bytes.len() as u64,
            }));
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(raw, 0)),
            length: i32::from_be_bytes(field(raw, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(raw, 12)),
            crc: u32::from_be_bytes(field(raw, CRC_AT)),
            attributes: i16::from_be_bytes(field(raw, 21)),
            last_offset_delta: i32::from_be_bytes(field(raw, 23)),
            base_timestamp: i64::from_be_bytes(field(raw, 27)),
            max_timestamp: i64::from_be_bytes(field(raw, 35)),
            producer_id: i64::from_be_bytes(field(raw, 43)),
            producer_epoch: i16::from_be_bytes(field(raw, 51)),
            base_sequence: i32::from_be_bytes(field(raw, 53)),
            record_count: i32::from_be_bytes(field(raw, 57)),
        };
        let magic = i8::from_be_bytes(field(raw, 16));
        if header.length < MIN_LENGTH {
            return Err(fail(BatchErrorKind::BadLength { length: header.length }));
        }
        if magic != MAGIC {
            return Err(fail(BatchErrorKind::BadMagic { magic }));
        }
        let contradiction = if header.base_offset < 0 {
            Some("the base offset is negative")
        } else if header.last_offset_delta < 0 || header.record_count < 1 {
            Some("it claims no records")
        } else if header.record_count - 1 > header.last_offset_delta {
            Some("it claims more records than offsets")
        } else if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none()
        {
            Some("the offsets pass the largest possible")
        } else {
            None
        };
        match contradiction {
            Some(why) => Err(fail(BatchErrorKind::BadHeader { why })),
            None => Ok(header),
        }
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        // Not negative: `parse` refuses lengths below MIN_LENGTH.
        self.length.max(0) as usize + LENGTH_PREFIX_LEN
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// One past the last record.
    pub fn end_offset(&self) -> Offset {
        self.last_offset() + 1
    }

    /// True for batches of the raft layer, which the state machine does not see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Name of the compression codec, if the records are compressed.
    pub fn codec(&self) -> Option<&'static str> {
        match self.attributes & CODEC_MASK {
            0 => None,
            1 => Some("gzip"),
            2 => Some("snappy"),
            3 => Some("lz4"),
            4 => Some("zstd"),
            _ => Some("an unknown codec"),
        }
    }
}

fn field<const N: usize>(raw: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[at..at + N]);
    out
}

/// One whole batch: its header and all its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The fixed fields.
    pub header: BatchHeader,
    /// The batch as it was read, header included.
    pub bytes: Bytes,
    /// Where in the input the batch starts.
    pub position: u64,
}

/// A record of a batch. Headers are skipped: the metadata log has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Offset in the log.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Set in control records only.
    pub key: Option<Bytes>,
    /// A framed metadata record, or the body of a control record.
    pub value: Option<Bytes>,
}

impl Batch {
    /// Reads the batch at the start of `bytes`; what follows it is left alone.
    pub fn parse(bytes: &Bytes, position: u64) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse_at(bytes, position)?;
        if header.size() > bytes.len() {
            return Err(BatchError {
                position,
                kind: BatchErrorKind::Truncated {
                    needed: header.size() as u64,
                    available: bytes.len() as u64,
                },
            });
        }
        Ok(Batch { header, bytes: bytes.slice(..header.size()), position })
    }

    /// See [`BatchHeader::is_control`].
    pub fn is_control(&self) -> bool {
        self.header.is_control()
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        self.header.base_offset
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.header.last_offset()
    }

    /// True if the bytes are those that were written.
    pub fn is_valid_crc(&self) -> bool {
        self.check_crc().is_ok()
    }

    /// Compares the stored CRC-32C with that of the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(self.bytes.get(CRC_FROM..).unwrap_or_default());
        if computed == self.header.crc {
            return Ok(());
        }
        let stored = self.header.crc;
        Err(self.error(BatchErrorKind::BadCrc { stored, computed }))
    }

    /// Checks everything that can be checked without knowing the records' meaning: the CRC, no
    /// compression, and the frame of every record.
    pub fn verify(&self) -> Result<(), BatchError> {
        self.check_crc()?;
        self.records().try_for_each(|record| record.map(|_| ()))
    }

    /// The records in order. Stops after the first error.
    pub fn records(&self) -> Records {
        Records {
            rest: self.bytes.slice(HEADER_LEN.min(self.bytes.len())..),
            header: self.header,
            position: self.position,
            index: 0,
            last_delta: -1,
            done: false,
        }
    }

    fn error(&self, kind: BatchErrorKind) -> BatchError {
        BatchError { position: self.position, kind }
    }
}

/// Iterator over the batches in `bytes`, in order; after an error it ends. The CRC is not checked:
/// call [`Batch::check_crc`] or [`Batch::verify`]. A batch that is cut at the end of the input is
/// [`BatchErrorKind::Truncated`], which a fetching follower ignores.
pub fn batches(bytes: Bytes) -> Batches {
    batches_at(bytes, 0)
}

/// As [`batches`], for bytes that stand at `position` of a larger input.
pub fn batches_at(bytes: Bytes, position: u64) -> Batches {
    Batches { rest: bytes, position, failed: false }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    position: u64,
    failed: bool,
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match Batch::parse(&self.rest, self.position) {
            Ok(batch) => {
                self.rest = self.rest.slice(batch.header.size()..);
                self.position += batch.header.size() as u64;
                Some(Ok(batch))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// See [`Batch::records`].
#[derive(Clone, Debug)]
pub struct Records {
    rest: Bytes,
    header: BatchHeader,
    position: u64,
    index: i32,
    last_delta: i32,
    done: bool,
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let result = match self.header.codec() {
            Some(codec) => Err(BatchErrorKind::Compressed { codec }),
            None if self.index == self.header.record_count => {
                self.done = true;
                if self.rest.is_empty() {
                    return None;
                }
                Err(self.bad("there are bytes after the last record"))
            }
            None => self.read_record(),
        };
        self.done |= result.is_err();
        self.index += 1;
        Some(result.map_err(|kind| BatchError { position: self.position, kind }))
    }
}

impl Records {
    fn bad(&self, why: &'static str) -> BatchErrorKind {
        BatchErrorKind::BadRecord { index: self.index, why }
    }

    fn read_record(&mut self) -> Result<Record, BatchErrorKind> {
        let rest = self.rest.clone();
        let mut cursor = Cursor { bytes: &rest, at: 0 };
        let length = cursor.varint().ok_or_else(|| self.bad("its length is not readable"))?;
        let start = cursor.at;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= rest.len())
            .ok_or_else(|| self.bad("its length passes the end of the batch"))?;
        cursor.bytes = &rest[..end];
        let record = self.read_body(&rest, &mut cursor)?;
        if cursor.at != end {
            return Err(self.bad("its length does not match its fields"));
        }
        self.rest = rest.slice(end..);
        Ok(record)
    }

    fn read_body(
        &mut self,
        source: &Bytes,
        cursor: &mut Cursor<'_>,
    ) -> Result<Record, BatchErrorKind> {
        let fields = (|| {
            cursor.skip(1)?;
            let timestamp_delta = cursor.varlong()?;
            let offset_delta = cursor.varint()?;
            let key = cursor.nullable(source)?;
            let value = cursor.nullable(source)?;
            for _ in 0..cursor.varint().filter(|count| *count >= 0)? {
                let key_len = usize::try_from(cursor.varint()?).ok()?;
                cursor.skip(key_len)?;
                cursor.nullable(source)?;
            }
            Some((timestamp_delta, offset_delta, key, value))
        })();
        let Some((timestamp_delta, offset_delta, key, value)) = fields else {
            return Err(self.bad("a field passes its end"));
        };
        if offset_delta <= self.last_delta || offset_delta > self.header.last_offset_delta {
            return Err(self.bad("its offset is not above the one before and within the batch"));
        }
        self.last_delta = offset_delta;
        Ok(Record {
            offset: self.header.base_offset + i64::from(offset_delta),
            timestamp: self.header.base_timestamp.wrapping_add(timestamp_delta),
            key,
            value,
        })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(())
    }

    fn unsigned(&mut self, max_bytes: usize) -> Option<u64> {
        let mut value = 0u64;
        for i in 0..max_bytes {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn varint(&mut self) -> Option<i32> {
        let raw = self.unsigned(5)? as u32;
        Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    fn varlong(&mut self) -> Option<i64> {
        let raw = self.unsigned(10)?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A length and as many bytes; any negative length is null.
    fn nullable(&mut self, source: &Bytes) -> Option<Option<Bytes>> {
        let Ok(length) = usize::try_from(self.varint()?) else { return Some(None) };
        let start = self.at;
        self.skip(length)?;
        Some(Some(source.slice(start..self.at)))
    }
}

/// Length of the leading part of `bytes` that is whole batches, and the end offset of the last of
/// them. Checks lengths only; stops at the first batch that is cut or malformed.
pub fn whole_batches(bytes: &[u8]) -> (usize, Option<Offset>) {
    let (mut at, mut end_offset) = (0, None);
    while let Some(Ok(header)) = bytes.get(at..).map(BatchHeader::parse) {
        if header.size() > bytes.len() - at {
            break;
        }
        at += header.size();
        end_offset = Some(header.end_offset());
    }
    (at, end_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_input_is_truncated_at_every_length() {
        let batch = encode_data_batch(7, 1, 5, &[Bytes::from_static(b"abc")]);
        for len in 1..batch.len() {
            let error = batches(batch.slice(..len)).next().unwrap().unwrap_err();
            assert!(matches!(error.kind, BatchErrorKind::Truncated { .. }), "{len}: {error}");
            assert_eq!(whole_batches(&batch[..len]), (0, None));
        }
        assert_eq!(whole_batches(&batch), (batch.len(), Some(8)));
    }
}
