//! The controller's port against clients of every kind, with a core that answers by rote.

mod support;

use bytes::Bytes;
use quorate_base::Prng;
use quorate_protocol::header::encode_request;
use quorate_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, EnvelopeRequest, FetchRequest,
    FetchSnapshotRequest, ProduceRequest,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, Principal};
use std::net::TcpStream;
use std::time::Duration;
use support::{Client, TestEdge, limits};

fn api_versions() -> AnyRequest {
    AnyRequest::ApiVersions(ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    })
}

fn create_topics() -> AnyRequest {
    AnyRequest::CreateTopics(CreateTopicsRequest::default())
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let edge = TestEdge::start(limits());
    let mut client = edge.client();
    for correlation_id in [7, -3, i32::MAX] {
        client.send(&api_versions(), 3, correlation_id);
        client.send(&create_topics(), 7, correlation_id);
    }
    for correlation_id in [7, -3, i32::MAX] {
        assert_eq!(client.receive(ApiKey::ApiVersions, 3).0, correlation_id);
        assert_eq!(client.receive(ApiKey::CreateTopics, 7).0, correlation_id);
    }
}

#[test]
fn api_versions_from_the_future_is_answered_in_version_0() {
    let edge = TestEdge::start(limits());
    let mut client = edge.client();
    for version in [6, 99, i16::MAX] {
        // A header as every version since 3 has it, and a body that nobody here can read.
        let mut frame = Vec::new();
        frame.extend(18i16.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(5i32.to_be_bytes());
        frame.extend([0, 1, b'x', 0]);
        frame.extend([0xff; 32]);
        client.send_frame(&frame);
        let (correlation_id, response) = client.receive(ApiKey::ApiVersions, 0);
        let AnyResponse::ApiVersions(response) = response else { panic!("{response:?}") };
        assert_eq!((correlation_id, response.error_code), (5, 35));
        let ranges: Vec<(i16, i16, i16)> = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        assert_eq!(ranges, [(18, 0, 5)]);
    }
    client.send(&api_versions(), 4, 6);
    assert_eq!(client.receive(ApiKey::ApiVersions, 4).0, 6);
}

/// A frame of a request with its version replaced and its end cut or extended.
fn frame(request: &AnyRequest, version: i16, sent_as: i16, cut: usize, extra: &[u8]) -> Vec<u8> {
    let mut bytes = encode_request(request, version, 1, None).unwrap().to_vec();
    bytes[2..4].copy_from_slice(&sent_as.to_be_bytes());
    bytes.truncate(bytes.len() - cut);
    bytes.extend(extra);
    bytes
}

#[test]
fn what_cannot_be_answered_closes_its_connection_and_no_other() {
    let edge = TestEdge::start(limits());
    let mut honest = edge.client();
    let whole = frame(&create_topics(), 7, 7, 0, &[]);
    for (what, bytes) in [
        ("unknown API", [&[0x7f, 0x00][..], &whole[2..]].concat()),
        ("negative API", [&[0xff, 0xff][..], &whole[2..]].concat()),
        ("API of brokers", frame(&AnyRequest::Produce(ProduceRequest::default()), 9, 9, 0, &[])),
        ("version too new", frame(&create_topics(), 7, 8, 0, &[])),
        ("version too old", frame(&create_topics(), 7, 1, 0, &[])),
        ("negative version", frame(&create_topics(), 7, -1, 0, &[])),
        ("cut body", frame(&create_topics(), 7, 7, 1, &[])),
        ("long body", frame(&create_topics(), 7, 7, 0, &[0])),
        ("no header", vec![0, 19, 0, 7]),
        ("nothing", vec![]),
    ] {
        let mut client = edge.client();
        client.send_frame(&bytes);
        assert!(client.is_closed_by_server(), "{what}");
        honest.send(&api_versions(), 4, 9);
        assert_eq!(honest.receive(ApiKey::ApiVersions, 4).0, 9, "after {what}");
    }
    for size in [-1i32, i32::MIN, i32::MAX, (100 << 20) + 1] {
        let mut client = edge.client();
        client.send_raw(&size.to_be_bytes());
        assert!(client.is_closed_by_server(), "a frame of {size} bytes");
    }
    honest.send(&create_topics(), 7, 10);
    assert_eq!(honest.receive(ApiKey::CreateTopics, 7).0, 10);
}

#[test]
fn random_bytes_and_random_mutations_harm_nobody_else() {
    let edge = TestEdge::start(limits());
    let mut prng = Prng::new(20_261_122);
    let whole = frame(&create_topics(), 7, 7, 0, &[]);
    for round in 0..300 {
        let mut bytes = if round % 2 == 0 {
            (0..prng.below(200)).map(|_| prng.next_u64() as u8).collect()
        } else {
            let mut bytes = (whole.len() as i32).to_be_bytes().to_vec();
            bytes.extend(&whole);
            bytes
        };
        for _ in 0..prng.below(4) {
            if !bytes.is_empty() {
                let at = prng.below(bytes.len() as u64) as usize;
                bytes[at] = prng.next_u64() as u8;
            }
        }
        let mut client = edge.client();
        client.send_raw(&bytes);
    }
    let mut honest = edge.client();
    honest.send(&api_versions(), 4, 1);
    assert_eq!(honest.receive(ApiKey::ApiVersions, 4).0, 1);
    edge.wait_until("all hostile connections are gone", || edge.open_connections() == 1);
}

#[test]
fn a_parked_request_is_cancelled_when_its_client_goes_away() {
    let edge = TestEdge::start(limits());
    let mut client = edge.client();
    client.send(&AnyRequest::Fetch(FetchRequest::default()), 17, 1);
    edge.wait_until("the fetch is parked", || edge.parked() == 1);
    // More requests behind the parked one do not hide that the client is gone.
    client.send(&api_versions(), 4, 2);
    drop(client);
    edge.wait_until("the fetch is cancelled", || edge.cancelled() == 1);
    edge.wait_until("the connection is gone", || edge.open_connections() == 0);
}

#[test]
fn an_idle_connection_is_closed_and_a_parked_one_is_not() {
    let mut short = limits();
    short.max_idle = Some(Duration::from_millis(300));
    let edge = TestEdge::start(short);
    let mut parked = edge.client();
    parked.send(&AnyRequest::Fetch(FetchRequest::default()), 17, 1);
    edge.wait_until("the fetch is parked", || edge.parked() == 1);
    let mut idle = edge.client();
    idle.send_raw(&[0, 0]);
    assert!(idle.is_closed_by_server());
    assert_eq!(edge.cancelled(), 0);
    edge.answer_parked();
    assert_eq!(parked.receive(ApiKey::Fetch, 17).0, 1);
}

#[test]
fn connections_beyond_the_limits_are_closed_at_once() {
    for per_address in [false, true] {
        let mut few = limits();
        if per_address {
            few.max_connections_per_ip = 2;
        } else {
            few.max_connections = 2;
        }
        let edge = TestEdge::start(few);
        let mut held: Vec<Client> = (0..2).map(|_| edge.client()).collect();
        edge.wait_until("two are open", || edge.open_connections() == 2);
        assert!(edge.client().is_closed_by_server());
        held.pop();
        edge.wait_until("one is free", || edge.open_connections() == 1);
        let mut client = edge.client();
        client.send(&api_versions(), 4, 1);
        client.receive(ApiKey::ApiVersions, 4);
    }
}

fn envelope(inner: &AnyRequest, version: i16) -> AnyRequest {
    AnyRequest::Envelope(EnvelopeRequest {
        request_data: encode_request(inner, version, 5, Some("inner".into())).unwrap(),
        request_principal: Some(Principal::anonymous().encode().unwrap()),
        client_host_address: Bytes::from_static(&[192, 0, 2, 1]),
        ..Default::default()
    })
}

#[test]
fn envelopes_are_unwrapped_and_their_answers_wrapped() {
    let edge = TestEdge::start(limits());
    let mut client = edge.client();
    // The rote core answers forwarded DeleteTopics with NOT_CONTROLLER.
    let delete = AnyRequest::DeleteTopics(DeleteTopicsRequest::default());
    for (inner, version, error, has_data) in [
        (create_topics(), 7, ErrorCode::None, true),
        (delete, 6, ErrorCode::NotController, false),
        (AnyRequest::Fetch(FetchRequest::default()), 17, ErrorCode::InvalidRequest, false),
    ] {
        client.send(&envelope(&inner, version), 0, 8);
        let (correlation_id, response) = client.receive(ApiKey::Envelope, 0);
        let AnyResponse::Envelope(response) = response else { panic!("{response:?}") };
        assert_eq!((correlation_id, response.error_code), (8, error.code()), "{inner:?}");
        assert_eq!(response.response_data.is_some(), has_data, "{inner:?}");
    }
}

#[test]
fn records_and_snapshot_bytes_are_read_beside_the_core() {
    let edge = TestEdge::start(limits());
    let mut client = edge.client();
    edge.fill_fetches();
    client.send(&AnyRequest::Fetch(FetchRequest::default()), 17, 1);
    let (_, response) = client.receive(ApiKey::Fetch, 17);
    let AnyResponse::Fetch(fetch) = response else { panic!("{response:?}") };
    assert_eq!(fetch.responses[0].partitions[0].records.as_deref(), Some(&b"batches"[..]));

    // The log is cut between the decision and the read: no records of another history go out.
    edge.cut_log_before_reads();
    client.send(&AnyRequest::Fetch(FetchRequest::default()), 17, 2);
    let (_, response) = client.receive(ApiKey::Fetch, 17);
    let AnyResponse::Fetch(fetch) = response else { panic!("{response:?}") };
    assert_eq!(fetch.responses[0].partitions[0].records.as_deref(), Some(&b""[..]));

    for (position, error, bytes) in [
        (0, ErrorCode::None, &b"snap"[..]),
        (3, ErrorCode::None, b"p"),
        (4, ErrorCode::PositionOutOfRange, b""),
    ] {
        edge.set_snapshot_position(position);
        client.send(&AnyRequest::FetchSnapshot(FetchSnapshotRequest::default()), 1, 3);
        let (_, response) = client.receive(ApiKey::FetchSnapshot, 1);
        let AnyResponse::FetchSnapshot(chunk) = response else { panic!("{response:?}") };
        let partition = &chunk.topics[0].partitions[0];
        assert_eq!(partition.error_code, error.code(), "position {position}");
        assert_eq!(&partition.unaligned_records[..], bytes, "position {position}");
    }
}

#[test]
fn a_slow_frame_does_not_hold_up_others() {
    let edge = TestEdge::start(limits());
    let mut slow = edge.client();
    slow.send_raw(&50_000_000i32.to_be_bytes());
    slow.send_raw(&[0; 1000]);
    let mut quick = edge.client();
    quick.send(&api_versions(), 4, 1);
    quick.receive(ApiKey::ApiVersions, 4);
    assert!(TcpStream::connect(edge.address).is_ok());
}
