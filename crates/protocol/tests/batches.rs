//! Record batches against files that Apache Kafka 3.9.1 and 4.3.0 wrote.

use bytes::{Bytes, BytesMut};
use quorate_base::{Prng, ReplicaKey, Uuid};
use quorate_protocol::batch::{
    BatchErrorKind, HEADER_LEN, batches, encode_control_batch, encode_data_batch,
    encoded_record_len, whole_batches, with_position,
};
use quorate_protocol::control::{ControlRecord, Voter, VoterEndpoint, control_records};

const FILES: [(&str, &[u8]); 6] = [
    ("4.3.0.log", include_bytes!("fixtures/batches/4.3.0.log")),
    ("3.9.1.log", include_bytes!("fixtures/batches/3.9.1.log")),
    ("4.3.0-3voters.log", include_bytes!("fixtures/batches/4.3.0-3voters.log")),
    ("4.3.0.checkpoint", include_bytes!("fixtures/batches/4.3.0.checkpoint")),
    ("4.3.0-bootstrap.checkpoint", include_bytes!("fixtures/batches/4.3.0-bootstrap.checkpoint")),
    ("4.3.0-voters.checkpoint", include_bytes!("fixtures/batches/4.3.0-voters.checkpoint")),
];

#[test]
fn every_batch_of_kafka_is_encoded_to_the_same_bytes() {
    for (name, file) in FILES {
        let (mut data, mut control) = (0, 0);
        for batch in batches(Bytes::from_static(file)) {
            let batch = batch.unwrap_or_else(|error| panic!("{name}: {error}"));
            batch.verify().unwrap_or_else(|error| panic!("{name}: {error}"));
            let header = batch.header;
            let (base, epoch) = (header.base_offset, header.partition_leader_epoch);
            let again = if batch.is_control() {
                control += 1;
                let records = control_records(&batch).unwrap();
                assert!(!records.iter().any(|r| matches!(r.1, ControlRecord::Unknown { .. })));
                let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
                encode_control_batch(base, epoch, header.base_timestamp, &records)
            } else {
                data += 1;
                let values: Vec<_> =
                    batch.records().map(|record| record.unwrap().value.unwrap()).collect();
                let sizes = values.iter().enumerate().map(|(i, v)| encoded_record_len(i, v.len()));
                assert_eq!(HEADER_LEN + sizes.sum::<usize>(), header.size());
                encode_data_batch(base, epoch, header.base_timestamp, &values)
            };
            assert_eq!(again, batch.bytes, "{name}, batch at byte {}", batch.position);
            assert_eq!(with_position(&again, base, epoch), batch.bytes);
        }
        assert!(control > 0, "{name} has control batches");
        assert_eq!(data > 0, !name.contains("voters.checkpoint"), "{name}");
    }
}

#[test]
fn no_bytes_are_no_batches() {
    assert!(batches(Bytes::new()).next().is_none());
}

#[test]
fn a_voter_may_have_any_number_of_endpoints() {
    for names in [&[][..], &["CONTROLLER"], &["CONTROLLER", "SECOND"]] {
        let endpoint = |name: &&str| VoterEndpoint {
            name: (*name).into(),
            host: "localhost".into(),
            port: 9092,
        };
        let voters = ControlRecord::Voters(vec![Voter {
            key: ReplicaKey { id: 3, directory_id: Some(Uuid::from_u128(77)) },
            endpoints: names.iter().map(endpoint).collect(),
            min_kraft_version: 0,
            max_kraft_version: 1,
        }]);
        let bytes = encode_control_batch(40, 2, 1000, std::slice::from_ref(&voters));
        let batch = batches(bytes).next().unwrap().unwrap();
        assert_eq!(control_records(&batch).unwrap(), [(40, voters)]);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_, file) = FILES[5];
    let first = batches(Bytes::from_static(file)).next().unwrap().unwrap();
    for byte in 0..first.bytes.len() {
        for bit in 0..8 {
            let mut bytes = BytesMut::from(first.bytes.as_ref());
            bytes[byte] ^= 1 << bit;
            let noticed = match batches(bytes.freeze()).next() {
                Some(Ok(batch)) => batch.verify().is_err(),
                _ => true,
            };
            // Base offset and leader epoch are outside the sum, so that a leader may assign them.
            let outside = byte < 8 || (12..16).contains(&byte);
            assert!(noticed || outside, "bit {bit} of byte {byte}");
        }
    }
}

#[test]
fn compressed_batches_are_refused_by_the_name_of_the_codec() {
    let batch = encode_data_batch(0, 1, 5, &[Bytes::from_static(b"abc")]);
    for (codec, name) in [(1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")] {
        let mut bytes = BytesMut::from(batch.as_ref());
        bytes[22] |= codec;
        let batch = batches(bytes.freeze()).next().unwrap().unwrap();
        let error = batch.records().next().unwrap().unwrap_err();
        assert_eq!(error.kind, BatchErrorKind::Compressed { codec: name });
        assert!(error.to_string().contains(name));
    }
}

#[test]
fn an_error_names_the_byte_where_the_batch_starts() {
    let one = encode_data_batch(0, 1, 5, &[Bytes::from_static(b"abc")]);
    let mut bytes = BytesMut::from(one.as_ref());
    bytes.extend_from_slice(&with_position(&one, 1, 1));
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let read: Vec<_> = batches(bytes.freeze()).collect::<Result<_, _>>().unwrap();
    let error = read[1].verify().unwrap_err();
    assert_eq!(error.position, one.len() as u64);
    assert!(matches!(error.kind, BatchErrorKind::BadCrc { .. }));
    assert!(error.to_string().contains(&format!("byte {}", one.len())));
}

#[test]
fn hostile_bytes_neither_panic_nor_loop() {
    let mut prng = Prng::new(3);
    for (_, file) in FILES {
        let file = &file[..file.len().min(2000)];
        for _ in 0..2_000 {
            let mut bytes = file.to_vec();
            for _ in 0..=prng.below(6) {
                let at = prng.below(bytes.len() as u64) as usize;
                bytes[at] = prng.next_u64() as u8;
            }
            bytes.truncate(prng.below(bytes.len() as u64 + 1) as usize);
            let total = bytes.len();
            assert!(whole_batches(&bytes).0 <= total);
            for batch in batches(Bytes::from(bytes)).flatten() {
                let records = batch.records().count();
                assert!(records <= batch.bytes.len());
                if batch.is_control() {
                    let _ = control_records(&batch);
                }
            }
        }
    }
}
