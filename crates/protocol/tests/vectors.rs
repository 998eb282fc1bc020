//! What Kafka wrote, we read; what we write of it is the same to the byte.

mod common;

use std::collections::BTreeSet;

#[test]
fn every_vector_of_kafka_round_trips() {
    let vectors = common::vectors();
    assert_eq!(vectors.len(), 3300);
    let mut failures = Vec::new();
    for v in &vectors {
        match (v.info.transcode)(v.bytes.clone(), v.version) {
            Ok(bytes) if bytes == v.bytes => {}
            Ok(bytes) => failures.push(format!(
                "{} v{}: other bytes\n  kafka {}\n  ours  {}",
                v.info.name,
                v.version,
                hex(&v.bytes),
                hex(&bytes)
            )),
            Err(e) => failures.push(format!("{} v{}: {e}", v.info.name, v.version)),
        }
    }
    assert!(failures.is_empty(), "{} failures, first {}", failures.len(), failures[0]);
}

#[test]
fn vectors_cover_every_message_but_those_newer_than_them() {
    let covered: BTreeSet<&str> = common::vectors().iter().map(|v| v.info.name).collect();
    let missing: Vec<&str> = quorate_protocol::catalogue::MESSAGES
        .iter()
        .map(|info| info.name)
        .filter(|name| !covered.contains(name))
        .collect();
    assert_eq!(
        missing,
        [
            "AbortedTxn",
            "RequestHeader",
            "ResponseHeader",
            "StreamsGroupTopologyDescriptionUpdateRequest",
            "StreamsGroupTopologyDescriptionUpdateResponse",
            // Quorate's own.
            "TransferLeadershipRequest",
            "TransferLeadershipResponse",
            "UnregisterControllerRecord",
            "UnregisterControllerRequest",
            "UnregisterControllerResponse",
        ]
    );
}

#[test]
fn defaults_round_trip_at_every_version_that_can_carry_them() {
    for info in quorate_protocol::catalogue::MESSAGES {
        for version in info.versions.clone() {
            let bytes = (info.encode_default)(version)
                .unwrap_or_else(|e| panic!("{} v{version}: {e}", info.name));
            assert!(bytes.len() >= (info.min_size)(version), "{} v{version}", info.name);
            let again = (info.transcode)(bytes.clone(), version)
                .unwrap_or_else(|e| panic!("{} v{version}: {e}", info.name));
            assert_eq!(again, bytes, "{} v{version}", info.name);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
