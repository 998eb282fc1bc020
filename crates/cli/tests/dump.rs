//! `quorate dump` on files that Apache Kafka wrote, whole and damaged.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/tests/fixtures").join(name)
}

fn dump(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).arg("dump").args(args).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

const LOG: &str = "4.3.0/controller-1/__cluster_metadata-0/00000000000000000000.log";
const SNAPSHOT: &str =
    "4.3.0/controller-1/__cluster_metadata-0/00000000000000000474-0000000002.checkpoint";

#[test]
fn every_record_of_a_log_and_a_snapshot_is_printed_with_its_fields() {
    for (file, records) in [(LOG, 534), (SNAPSHOT, 57)] {
        let path = fixture(file);
        let output = dump(&["--json", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = lines(&output);
        let printed: Vec<_> = lines.iter().filter_map(|line| line.get("record")).collect();
        assert_eq!(printed.len(), records, "{file}");
        for (offset, record) in printed.iter().enumerate() {
            assert_eq!(record["offset"], offset);
            assert!(record["type"].is_string() && record["data"].is_object(), "{record}");
        }
        let batches: Vec<_> = lines.iter().filter_map(|line| line.get("batch")).collect();
        let bytes: u64 = batches.iter().map(|batch| batch["bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, fs::metadata(path).unwrap().len());
        let feature = printed.iter().find(|record| record["type"] == "FEATURE_LEVEL_RECORD");
        assert_eq!(feature.unwrap()["data"]["name"], "metadata.version");
        assert_eq!(feature.unwrap()["data"]["featureLevel"], 30);
        let topics = printed.iter().filter(|record| record["type"] == "TOPIC_RECORD");
        assert!(topics.clone().count() > 3);
        assert!(
            topics.into_iter().all(|topic| topic["data"]["topicId"].as_str().unwrap().len() == 22)
        );
    }
}

#[test]
fn the_text_has_a_line_for_each_batch_and_record() {
    let path = fixture(LOG);
    let output = dump(&[path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), path.to_str());
    assert_eq!(
        lines.next().unwrap(),
        "control batch offsets 0-2 epoch 1 records 3 position 0 bytes 174 time 1795356991787 \
         crc 860a8c20"
    );
    assert_eq!(
        lines.next().unwrap(),
        "  0 LeaderChange v0 {\"version\":0,\"leaderId\":1,\"voters\":[{\"voterId\":1}],\
         \"grantingVoters\":[{\"voterId\":1}]}"
    );
    assert!(text.contains("  4 FEATURE_LEVEL_RECORD v0 {\"name\":\"metadata.version\","));
}

#[test]
fn the_first_damaged_batch_is_named_by_its_position_and_other_files_are_still_printed() {
    let temporary = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture(LOG)).unwrap();
    let mut flipped = whole.clone();
    flipped[400] ^= 1;
    for (name, bytes, says) in [
        ("flipped.log", &flipped[..], "damaged at byte 174: checksum does not match"),
        ("cut.log", &whole[..300], "damaged at byte 174: the batch needs 450 bytes and only 126"),
        (
            "text.log",
            b"no log at all, but long enough to be read as the header of a batch",
            "at byte 0",
        ),
    ] {
        let damaged = temporary.path().join(name);
        fs::write(&damaged, bytes).unwrap();
        let snapshot = fixture(SNAPSHOT);
        let output = dump(&["--json", damaged.to_str().unwrap(), snapshot.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(says) && stderr.contains(name), "{stderr}");
        assert_eq!(lines(&output).iter().filter(|line| line.get("file").is_some()).count(), 2);
    }
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for args in [&[][..], &["--nonsense", "x.log"], &["--json"]] {
        let output = dump(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: quorate dump"));
    }
    let output = dump(&["/nothing/here.log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nothing/here.log"));
}
