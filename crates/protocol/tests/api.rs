//! The API table, headers, records and principals as Kafka 4.4.0 has them.

use bytes::Bytes;
use quorate_base::Uuid;
use quorate_protocol::header::{self, RequestError, RequestFrame};
use quorate_protocol::messages::*;
use quorate_protocol::records::*;
use quorate_protocol::*;
use std::hash::BuildHasher as _;

/// What a 4.4.0 controller answers to ApiVersions: key, oldest, newest, forwardable.
const CONTROLLER_APIS: &[(i16, i16, i16, bool)] = &[
    (1, 4, 18, false),
    (17, 0, 1, false),
    (18, 0, 5, false),
    (19, 2, 7, true),
    (20, 1, 6, true),
    (29, 1, 3, false),
    (30, 1, 3, true),
    (31, 1, 3, true),
    (32, 1, 4, false),
    (33, 0, 2, true),
    (36, 0, 2, false),
    (37, 0, 3, true),
    (38, 1, 3, true),
    (39, 1, 2, true),
    (40, 1, 2, true),
    (41, 1, 3, false),
    (43, 0, 2, true),
    (44, 0, 1, true),
    (45, 0, 1, true),
    (46, 0, 0, true),
    (49, 0, 1, true),
    (50, 0, 0, false),
    (51, 0, 0, true),
    (52, 0, 2, false),
    (53, 0, 1, false),
    (54, 0, 1, false),
    (55, 0, 2, true),
    (56, 2, 3, false),
    (57, 0, 2, true),
    (58, 0, 0, false),
    (59, 0, 1, false),
    (60, 0, 2, false),
    (62, 0, 4, false),
    (63, 0, 2, false),
    (64, 0, 0, true),
    (67, 0, 0, true),
    (70, 0, 0, false),
    (73, 0, 0, false),
    (80, 0, 1, true),
    (81, 0, 0, true),
    (82, 0, 0, false),
    (94, 0, 0, true),
];

#[test]
fn the_controller_listener_advertises_what_kafka_4_4_does() {
    let ours: Vec<_> = controller_listener_apis()
        .iter()
        .map(|(api, min, max)| (api.id(), *min, *max, api.is_forwardable()))
        .collect();
    assert_eq!(ours, CONTROLLER_APIS);
    assert_eq!(ApiKey::all().filter(|api| api.is_forwardable()).count(), 22);
}

#[test]
fn keys_map_both_ways() {
    for api in ApiKey::all() {
        assert_eq!(ApiKey::from_i16(api.id()), Some(api));
        assert!(!api.versions().is_empty());
    }
    for key in [-1, 4, 7, 95, i16::MAX, i16::MIN] {
        assert_eq!(ApiKey::from_i16(key), None);
    }
    // Version 6 exists in the schema but is marked unstable, so it is not offered.
    assert_eq!(ApiKey::InitProducerId.versions(), 0..=5);
    assert_eq!(InitProducerIdRequest::VERSIONS, 0..=6);
}

#[test]
fn header_versions_follow_the_flexible_versions() {
    for (api, version, request, response) in [
        (ApiKey::SaslHandshake, 1, 1, 0),
        (ApiKey::ApiVersions, 2, 1, 0),
        (ApiKey::ApiVersions, 5, 2, 0),
        (ApiKey::Fetch, 11, 1, 0),
        (ApiKey::Fetch, 12, 2, 1),
        (ApiKey::AlterPartition, 2, 2, 1),
        (ApiKey::BeginQuorumEpoch, 0, 1, 0),
    ] {
        assert_eq!(api.request_header_version(version), request, "{api} v{version}");
        assert_eq!(api.response_header_version(version), response, "{api} v{version}");
    }
}

#[test]
fn a_request_frame_splits_into_header_and_body() {
    // The client id keeps its old encoding in the flexible header.
    let request = AnyRequest::from(DescribeQuorumRequest::default());
    let frame = header::encode_request(&request, 2, 7, Some("me".into())).unwrap();
    assert_eq!(&frame[..], b"\x00\x37\x00\x02\x00\x00\x00\x07\x00\x02me\x00\x01\x00");
    let split = RequestFrame::decode(frame).unwrap();
    assert_eq!((split.api, split.version), (ApiKey::DescribeQuorum, 2));
    assert_eq!((split.correlation_id, split.client_id.as_deref()), (7, Some("me")));
    assert_eq!(split.decode_body(), Ok(request));
}

#[test]
fn odd_request_frames_are_told_apart() {
    for length in 0..8 {
        let frame = Bytes::from(vec![0; length]);
        assert!(matches!(RequestFrame::decode(frame), Err(RequestError::Header(_))), "{length}");
    }
    let unknown = Bytes::from_static(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    assert_eq!(RequestFrame::decode(unknown), Err(RequestError::UnknownApi(0x7fff)));
    // A client from the future asks for ApiVersions: the header can be read, the body cannot.
    let future = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 2, 3]);
    let frame = RequestFrame::decode(future).unwrap();
    assert_eq!((frame.api, frame.version, frame.correlation_id), (ApiKey::ApiVersions, 99, 1));
    assert_eq!(
        frame.decode_body(),
        Err(WireError::UnsupportedVersion { message: "ApiVersionsRequest", version: 99 })
    );
}

#[test]
fn responses_carry_the_correlation_id_and_report_their_errors() {
    let partition = vote_response::PartitionData {
        error_code: ErrorCode::FencedLeaderEpoch.code(),
        ..Default::default()
    };
    let topic = vote_response::TopicData { partitions: vec![partition], ..Default::default() };
    let response = AnyResponse::from(VoteResponse { topics: vec![topic], ..Default::default() });
    assert_eq!(response.error_codes(), [0, 74]);
    let frame = header::encode_response(&response, 1, 99).unwrap();
    assert_eq!(header::decode_response(ApiKey::Vote, 1, frame), Ok((99, response)));
    let versions = AnyResponse::from(ApiVersionsResponse::default());
    let frame = header::encode_response(&versions, 3, 1).unwrap();
    assert_eq!(frame.len(), 4 + 2 + 1 + 4 + 1, "no tags in the header");
}

/// A directory id is left out where there is no place for it; that a voter is acknowledged before
/// the commit must not be.
#[test]
fn what_an_older_version_cannot_say_is_left_out_or_refused() {
    let fetch = FetchRequest {
        topics: vec![fetch_request::FetchTopic {
            partitions: vec![fetch_request::FetchPartition {
                fetch_offset: 333,
                replica_directory_id: Uuid::ONE,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in 4..=18 {
        let bytes = encode_to_bytes(&fetch, version).unwrap();
        let read: FetchRequest = decode_exact(bytes, version).unwrap();
        let partition = &read.topics[0].partitions[0];
        let directory = if version < 17 { Uuid::ZERO } else { Uuid::ONE };
        assert_eq!((partition.fetch_offset, partition.replica_directory_id), (333, directory));
    }
    let chunk = FetchSnapshotRequest {
        topics: vec![fetch_snapshot_request::TopicSnapshot {
            partitions: vec![fetch_snapshot_request::PartitionSnapshot {
                position: 10,
                replica_directory_id: Uuid::ONE,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for (version, directory) in [(0, Uuid::ZERO), (1, Uuid::ONE)] {
        let bytes = encode_to_bytes(&chunk, version).unwrap();
        let read: FetchSnapshotRequest = decode_exact(bytes, version).unwrap();
        let partition = &read.topics[0].partitions[0];
        assert_eq!((partition.position, partition.replica_directory_id), (10, directory));
    }
    let add = AddRaftVoterRequest { ack_when_committed: false, ..Default::default() };
    let unsupported = WireError::UnsupportedField {
        of: "AddRaftVoterRequest",
        field: "AckWhenCommitted",
        version: 0,
    };
    assert_eq!(encode_to_bytes(&add, 0), Err(unsupported));
    assert!(encode_to_bytes(&add, 1).is_ok());
}

#[test]
fn a_metadata_record_has_kafka_s_frame() {
    let record = MetadataRecord::from(FeatureLevelRecord {
        name: "metadata.version".into(),
        feature_level: 30,
        ..Default::default()
    });
    let value = record.encode_framed(0).unwrap();
    assert_eq!(&value[..], b"\x01\x0c\x00\x11metadata.version\x00\x1e\x00");
    assert_eq!(MetadataRecord::decode_framed(value), Ok((record, 0)));
}

#[test]
fn bad_metadata_record_frames_are_told_apart() {
    let decode = |bytes: &'static [u8]| MetadataRecord::decode_framed(Bytes::from_static(bytes));
    assert_eq!(decode(b"\x00\x14\x00\x00"), Err(WireError::UnknownFrame(0)));
    assert_eq!(decode(b"\x02\x14\x00\x00"), Err(WireError::UnknownFrame(2)));
    for key in [6, 13, 16, 30] {
        let value = Bytes::from(vec![1, key, 0, 0]);
        assert_eq!(MetadataRecord::decode_framed(value), Err(WireError::UnknownRecord(key.into())));
    }
    assert_eq!(
        decode(b"\x01\x14\x01\x00"),
        Err(WireError::UnsupportedVersion { message: "NoOpRecord", version: 1 })
    );
    assert_eq!(decode(b"\x01\x14\x00\x00\x00"), Err(WireError::Trailing(1)));
    assert!(decode(b"\x01\x14\xff\xff\xff\xff\x0f").is_err());
    assert!(decode(b"").is_err());
}

#[test]
fn unregister_controller_is_record_29() {
    let record =
        MetadataRecord::from(UnregisterControllerRecord { controller_id: 3, ..Default::default() });
    assert_eq!((record.key(), record.name()), (29, "UnregisterControllerRecord"));
    let value = record.encode_framed(0).unwrap();
    assert_eq!(&value[..], [1, 29, 0, 0, 0, 0, 3, 0]);
}

#[test]
fn a_principal_travels_with_its_version() {
    let alice = Principal { kind: "User".into(), name: "alice".into(), token_authenticated: true };
    let bytes = alice.encode().unwrap();
    assert_eq!(&bytes[..], b"\x00\x00\x05User\x06alice\x01\x00");
    assert_eq!(Principal::decode(bytes), Ok(alice.clone()));
    assert_eq!(alice.to_string(), "User:alice");
    assert!(Principal::decode(Bytes::from_static(&[0, 1, 0])).is_err());
}

#[test]
fn text_of_frames_serves_as_map_key_asked_by_str() {
    let map: std::collections::BTreeMap<KStr, i32> = [("a".into(), 1), ("ä".into(), 2)].into();
    assert_eq!((map.get("ä"), map.get("b")), (Some(&2), None));
    let hasher = std::hash::RandomState::new();
    assert_eq!(hasher.hash_one(KStr::from("ä")), hasher.hash_one("ä"));
}
