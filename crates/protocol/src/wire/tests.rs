use super::prelude::*;
use super::*;
use crate::messages::*;
use crate::records::*;

fn reader(bytes: &'static [u8]) -> Reader {
    Reader::new(Bytes::from_static(bytes))
}

#[test]
fn varints_take_their_type_s_bits_and_no_more() {
    assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
    assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(), Err(WireError::BadVarint));
    assert_eq!(reader(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).uvarint(), Err(WireError::BadVarint));
    assert_eq!(reader(&[0xff; 11]).varlong(), Err(WireError::BadVarint));
    assert_eq!(reader(&[0x80]).uvarint(), Err(WireError::Truncated { needed: 1, remaining: 0 }));
    for value in [0, 1, -1, 63, 64, -65, i32::MAX, i32::MIN] {
        let mut w = Writer::new();
        w.varint(value);
        w.varlong(i64::from(value) << 31);
        let mut r = Reader::new(w.into_bytes());
        assert_eq!(r.varint(), Ok(value));
        assert_eq!(r.varlong(), Ok(i64::from(value) << 31));
        assert_eq!(r.finish(), Ok(()));
    }
}

#[test]
fn lengths_beyond_the_frame_are_refused_before_allocation() {
    // Two billion elements in four bytes, in both encodings.
    let mut r = reader(&[0x7f, 0xff, 0xff, 0xff, 0]);
    assert_eq!(r.array(false, 4, Reader::i32), Err(WireError::BadLength(0x7fff_ffff)));
    let mut r = reader(&[0x80, 0x80, 0x80, 0x80, 0x08, 0]);
    assert_eq!(r.array(true, 4, Reader::i32), Err(WireError::BadLength(0x7fff_ffff)));
    // The largest varint is no length in Kafka either.
    let mut r = reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(r.bytes(true), Err(WireError::BadLength(0xffff_fffe)));
    let mut r = reader(&[0xff, 0xfe]);
    assert_eq!(r.string(false), Err(WireError::BadLength(-2)));
}

#[test]
fn null_is_accepted_only_where_the_version_allows_it() {
    assert_eq!(reader(&[0xff, 0xff]).opt_string(false, true), Ok(None));
    assert_eq!(reader(&[0xff, 0xff]).opt_string(false, false), Err(WireError::NullNotAllowed));
    assert_eq!(reader(&[0]).opt_bytes(true, true), Ok(None));
    assert_eq!(reader(&[0]).bytes(true), Err(WireError::NullNotAllowed));
    let mut w = Writer::new();
    assert_eq!(w.opt_string(&None, true, false), Err(WireError::NullNotAllowed));
    // Partitions of an ElectLeaders request and topics of Metadata 0 differ in what null means, not in this.
    let request = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(encode_to_bytes(&request, 0), Err(WireError::NullNotAllowed));
    assert!(encode_to_bytes(&request, 1).is_ok());
}

#[test]
fn text_is_utf_8_and_at_most_32767_bytes() {
    assert_eq!(reader(&[0, 1, 0xff]).string(false), Err(WireError::BadUtf8));
    let mut w = Writer::new();
    assert_eq!(w.string(&KStr::from("x".repeat(32_767)), true), Ok(()));
    assert!(w.string(&KStr::from("x".repeat(32_768)), true).is_err());
    let mut long = Writer::new();
    long.uvarint(32_769);
    long.raw(&[b'x'; 32_768]);
    let bytes = long.into_bytes();
    assert_eq!(Reader::new(bytes).string(true), Err(WireError::BadLength(32_768)));
}

#[test]
fn strings_and_bytes_are_slices_of_the_frame() {
    let frame = Bytes::from_static(b"\x00\x05hello\x00\x00\x00\x03abc");
    let mut r = Reader::new(frame.clone());
    let text = r.string(false).unwrap();
    let bytes = r.bytes(false).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(text.as_bytes().as_ptr(), frame.as_ptr().wrapping_add(2));
    assert_eq!(bytes.as_ptr(), frame.as_ptr().wrapping_add(11));
    assert_ne!(text.detached().as_bytes().as_ptr(), text.as_bytes().as_ptr());
}

#[test]
fn large_byte_fields_are_passed_on_without_a_copy() {
    let payload = Bytes::from(vec![7; 10_000]);
    let mut w = Writer::new();
    w.i32(1);
    w.bytes(&payload, false).unwrap();
    w.i32(2);
    assert_eq!(w.len(), 4 + 4 + 10_000 + 4);
    let chunks = w.into_chunks();
    assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [8, 10_000, 4]);
    assert_eq!(chunks[1].as_ptr(), payload.as_ptr());
}

#[test]
fn a_set_field_that_the_version_lacks_is_an_error_unless_ignorable() {
    let dirs = BrokerHeartbeatRequest { cordoned_log_dirs: Some(Vec::new()), ..Default::default() };
    let unsupported = WireError::UnsupportedField {
        of: "BrokerHeartbeatRequest",
        field: "CordonedLogDirs",
        version: 1,
    };
    assert_eq!(encode_to_bytes(&dirs, 1), Err(unsupported));
    assert!(encode_to_bytes(&dirs, 2).is_ok());
    // VoterId is ignorable: dropped at version 0, read back as its default.
    let vote = VoteRequest { voter_id: 3, ..Default::default() };
    let bytes = encode_to_bytes(&vote, 0).unwrap();
    assert_eq!(decode_exact::<VoteRequest>(bytes, 0).unwrap().voter_id, -1);
    assert_eq!(
        encode_to_bytes(&vote, 9),
        Err(WireError::UnsupportedVersion { message: "VoteRequest", version: 9 })
    );
}

#[test]
fn tagged_fields_at_their_default_take_no_bytes() {
    let record = PartitionChangeRecord { partition_id: 0, ..Default::default() };
    assert_eq!((record.leader, record.isr.is_none()), (-2, true));
    let bytes = encode_to_bytes(&record, 0).unwrap();
    assert_eq!(bytes.len(), 4 + 16 + 1);
    let fetch = FetchResponse::default();
    let partition = fetch_response::PartitionData::default();
    assert_eq!(partition.snapshot_id, fetch_response::SnapshotId::default());
    assert!(fetch.node_endpoints.is_empty());
}

#[test]
fn unknown_tags_are_kept_and_merged_in_order() {
    let mut record = PartitionChangeRecord { isr: Some(vec![1]), leader: 5, ..Default::default() };
    record.leader_recovery_state = 1;
    record.unknown_tags.insert(300, Bytes::from(vec![9; 200]));
    record.unknown_tags.insert(100, Bytes::from_static(b"x"));
    let bytes = encode_to_bytes(&record, 0).unwrap();
    let mut tags = Vec::new();
    let mut r = Reader::new(bytes.slice(20..));
    r.tags(&mut UnknownTags::default(), |r, tag| {
        tags.push(tag);
        r.rest();
        Ok(true)
    })
    .unwrap();
    assert_eq!(tags, [0, 1, 5, 100, 300]);
    assert_eq!(decode_exact::<PartitionChangeRecord>(bytes, 0), Ok(record.clone()));
    // Written into one older than the tag: a conflict, not two fields of one number.
    record.unknown_tags.insert(1, Bytes::new());
    assert_eq!(encode_to_bytes(&record, 0), Err(WireError::TagConflict { tag: 1 }));
}

#[test]
fn unknown_tags_between_known_ones_are_written_between_them() {
    // Tag 0 and 2 known to FetchResponse's partition at 12; 1 too. A tag 7 sits above, none below.
    let mut partition = fetch_response::PartitionData::default();
    partition.snapshot_id.epoch = 1;
    partition.unknown_tags.insert(7, Bytes::from_static(b"seven"));
    let mut w = Writer::new();
    partition.write(&mut w, 12).unwrap();
    let mut r = Reader::new(w.into_bytes());
    assert_eq!(fetch_response::PartitionData::read(&mut r, 12), Ok(partition));
}

#[test]
fn a_tagged_field_must_fill_its_size() {
    let head = [0; 20];
    let with = |tail: &[u8]| {
        let bytes: Bytes = head.iter().chain(tail).copied().collect();
        decode_exact::<PartitionChangeRecord>(bytes, 0)
    };
    assert_eq!(with(&[1, 1, 4, 0, 0, 0, 9]).unwrap().leader, 9);
    assert_eq!(with(&[1, 1, 5, 0, 0, 0, 9, 0]), Err(WireError::TagNotDrained(1)));
    assert_eq!(with(&[1, 1, 3, 0, 0, 9, 0]), Err(WireError::Truncated { needed: 4, remaining: 3 }));
    assert_eq!(with(&[1, 1, 9, 0]), Err(WireError::Truncated { needed: 9, remaining: 1 }));
    // Tag 8 exists from version 1 on: at 0 Kafka refuses it rather than keep it as unknown.
    assert_eq!(with(&[1, 8, 1, 0]), Err(WireError::TagNotValid { tag: 8, version: 0 }));
    // Repeated tags: the last one counts.
    assert_eq!(with(&[2, 1, 4, 0, 0, 0, 9, 1, 4, 0, 0, 0, 8]).unwrap().leader, 8);
    assert_eq!(with(&[0, 0]), Err(WireError::Trailing(1)));
}

#[test]
fn tags_at_a_version_without_them_are_an_error() {
    let mut request = BeginQuorumEpochRequest::default();
    request.unknown_tags.insert(4, Bytes::new());
    assert_eq!(encode_to_bytes(&request, 0), Err(WireError::TagConflict { tag: 4 }));
    assert!(encode_to_bytes(&request, 1).is_ok());
}
