//! Writing batches, byte for byte as Kafka's controller does.

use super::{BatchHeader, CONTROL_BIT, CRC_AT, CRC_FROM, HEADER_LEN, LENGTH_PREFIX_LEN, MAGIC};
use crate::control::ControlRecord;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::{Epoch, Offset};

/// One batch of state-machine records: each value a framed metadata record, all with the same
/// timestamp (milliseconds since the Unix epoch), the same bytes as Kafka's controller writes.
///
/// `values` must hold at least one record; offsets run from `base_offset` without gaps.
pub fn encode_data_batch(
    base_offset: Offset,
    epoch: Epoch,
    timestamp_ms: i64,
    values: &[Bytes],
) -> Bytes {
    let records: Vec<_> = values.iter().map(|value| (None, value.as_ref())).collect();
    encode(base_offset, epoch, timestamp_ms, 0, &records)
}

/// One batch of raft-layer records, at least one. `LeaderChange` is always written at version 0:
/// Kafka 3.9 to 4.3 read no other.
pub fn encode_control_batch(
    base_offset: Offset,
    epoch: Epoch,
    timestamp_ms: i64,
    records: &[ControlRecord],
) -> Bytes {
    let encoded: Vec<_> = records.iter().map(|record| (record.key(), record.value())).collect();
    let records: Vec<_> =
        encoded.iter().map(|(key, value)| (Some(key.as_ref()), value.as_ref())).collect();
    encode(base_offset, epoch, timestamp_ms, CONTROL_BIT, &records)
}

/// The same batch at another place in the log. The CRC does not cover these two fields.
///
/// `batch` must be exactly one batch.
pub fn with_position(batch: &Bytes, base_offset: Offset, epoch: Epoch) -> Bytes {
    assert!(
        BatchHeader::parse(batch).is_ok_and(|header| header.size() == batch.len()),
        "only one whole batch can be moved"
    );
    let mut out = BytesMut::from(batch.as_ref());
    out[..8].copy_from_slice(&base_offset.to_be_bytes());
    out[12..16].copy_from_slice(&epoch.to_be_bytes());
    out.freeze()
}

/// Bytes that a record with a null key takes in a batch, at `index` within it. Batches are
/// [`HEADER_LEN`] bytes and the sum of these.
pub fn encoded_record_len(index: usize, value_len: usize) -> usize {
    let body = body_len(index, None, value_len);
    varint_len(body) + body
}

fn body_len(index: usize, key_len: Option<usize>, value_len: usize) -> usize {
    let key = key_len.map_or(1, |len| varint_len(len) + len);
    // Attributes, timestamp delta 0, offset delta, key, value, no headers.
    1 + 1 + varint_len(index) + key + varint_len(value_len) + value_len + 1
}

fn varint_len(value: usize) -> usize {
    let zigzag = (value as u64) << 1;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw > 0x7f {
        out.put_u8((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

fn encode(
    base_offset: Offset,
    epoch: Epoch,
    timestamp_ms: i64,
    attributes: i16,
    records: &[(Option<&[u8]>, &[u8])],
) -> Bytes {
    assert!(!records.is_empty(), "a batch has at least one record");
    let size = |(i, (key, value)): (usize, &(Option<&[u8]>, &[u8]))| {
        let body = body_len(i, key.map(<[u8]>::len), value.len());
        varint_len(body) + body
    };
    let total = HEADER_LEN + records.iter().enumerate().map(size).sum::<usize>();
    let length = i32::try_from(total - LENGTH_PREFIX_LEN).expect("a batch is below 2 GiB");
    let count = i32::try_from(records.len()).expect("a record takes bytes, so the count fits");

    let mut out = BytesMut::with_capacity(total);
    out.put_i64(base_offset);
    out.put_i32(length);
    out.put_i32(epoch);
    out.put_i8(MAGIC);
    out.put_u32(0);
    out.put_i16(attributes);
    out.put_i32(count - 1);
    out.put_i64(timestamp_ms);
    out.put_i64(timestamp_ms);
    out.put_i64(-1);
    out.put_i16(-1);
    out.put_i32(-1);
    out.put_i32(count);
    for (i, (key, value)) in records.iter().enumerate() {
        put_varint(&mut out, body_len(i, key.map(<[u8]>::len), value.len()) as i64);
        out.put_i8(0);
        put_varint(&mut out, 0);
        put_varint(&mut out, i as i64);
        put_varint(&mut out, key.map_or(-1, |key| key.len() as i64));
        out.put_slice(key.unwrap_or_default());
        put_varint(&mut out, value.len() as i64);
        out.put_slice(value);
        put_varint(&mut out, 0);
    }
    assert_eq!(out.len(), total, "the reckoned size is the written one");
    let crc = crc32c::crc32c(&out[CRC_FROM..]);
    out[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_length_is_that_of_the_written_varint() {
        for value in [0, 1, 63, 64, 8191, 8192, 1 << 20, (1 << 27) - 1, 1 << 27] {
            let mut out = BytesMut::new();
            put_varint(&mut out, value as i64);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}
