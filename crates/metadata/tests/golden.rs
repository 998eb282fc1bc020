//! Logs and snapshots that real Kafka wrote, of a run with topics, reassignments, configurations, ACLs, SCRAM,
//! quotas, features, tokens and voters.

use bytes::Bytes;
use quorate_base::Offset;
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::batches;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).expect("fixtures are there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            out.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            out.push(path);
        }
    }
    out.sort();
    out
}

type Values = Vec<(Offset, Bytes)>;

/// Offset and value of every data record.
fn values(path: &Path) -> Values {
    let bytes = Bytes::from(fs::read(path).expect("readable"));
    batches(bytes)
        .map(|it| it.expect("a batch that Kafka wrote"))
        .filter(|it| !it.is_control())
        .flat_map(|batch| batch.records().collect::<Vec<_>>())
        .map(|it| it.expect("a record that Kafka wrote"))
        .map(|it| (it.offset, it.value.expect("a data record has a value")))
        .collect()
}

fn load(from: Image, path: &Path, values: Values) -> Image {
    let mut replayer = Replayer::new(from);
    if let Err(error) = load_values(&mut replayer, values) {
        panic!("{}: {error}", path.display());
    }
    assert_eq!(replayer.open_transaction(), None, "{}", path.display());
    replayer.stable().clone()
}

/// End offset of a snapshot out of its file name; `None` for `bootstrap.checkpoint`.
fn end_offset(path: &Path) -> Option<Offset> {
    path.file_name()?.to_str()?.split(['-', '.']).next()?.parse().ok()
}

#[test]
fn every_log_from_its_start_and_every_snapshot_loads() {
    let mut loaded = 0;
    for path in files_below(&fixtures(), "checkpoint") {
        load(Image::empty(), &path, values(&path));
        loaded += 1;
    }
    for path in files_below(&fixtures(), "log") {
        let start = end_offset(&path).expect("a segment's name is its base offset");
        let before = match start {
            0 => Image::empty(),
            _ => {
                let snapshot = files_below(path.parent().expect("has a parent"), "checkpoint")
                    .into_iter()
                    .find(|it| end_offset(it) == Some(start))
                    .expect("a log that starts later has the snapshot it starts with");
                load(Image::empty(), &snapshot, values(&snapshot))
            }
        };
        let image = load(before, &path, values(&path));
        assert!(image.features.has_metadata_version());
        loaded += 1;
    }
    assert!(loaded >= 30, "only {loaded} files");
}

/// Each pair of a log from offset 0 and a snapshot beside it, with the values of both: of the log those
/// below the snapshot's end.
fn logs_with_snapshots() -> Vec<(PathBuf, Image, Values)> {
    let mut out = Vec::new();
    for log in files_below(&fixtures(), "log") {
        if end_offset(&log) != Some(0) {
            continue;
        }
        let of_log = values(&log);
        for snapshot in files_below(log.parent().expect("has a parent"), "checkpoint") {
            let Some(end) = end_offset(&snapshot).filter(|it| *it > 0) else {
                continue;
            };
            let prefix = of_log.iter().filter(|(offset, _)| *offset < end).cloned().collect();
            out.push((snapshot.clone(), load(Image::empty(), &log, prefix), values(&snapshot)));
        }
    }
    assert!(out.len() >= 13, "only {} snapshots", out.len());
    out
}

#[test]
fn a_log_up_to_a_snapshot_is_what_java_put_into_the_snapshot() {
    for (path, of_log, snapshot) in logs_with_snapshots() {
        let of_snapshot = load(Image::empty(), &path, snapshot);
        let differences: Vec<_> = of_log.diff(&of_snapshot).to_records().collect();
        assert!(differences.is_empty(), "{}: {differences:#?}", path.display());
        assert_eq!(of_log.content_hash(), of_snapshot.content_hash(), "{}", path.display());
        assert!(of_log.topics.topic_count() > 0 || of_log.cluster.broker_count() > 0);
    }
}

#[test]
fn our_snapshot_makes_the_same_image_again() {
    for (path, image, _) in logs_with_snapshots() {
        let written = encoded(&image).into_iter().zip(0..).map(|(value, at)| (at, value)).collect();
        let again = load(Image::empty(), &path, written);
        assert!(again == image, "{}", path.display());
        assert_eq!(again.content_hash(), image.content_hash());
    }
}

fn encoded(image: &Image) -> Vec<Bytes> {
    image
        .to_records()
        .map(|(record, version)| record.encode_framed(version).expect("can be written"))
        .collect()
}

/// Java walks hash maps, so the order inside a section is free; everything else must be equal byte by byte.
#[test]
fn our_snapshot_has_javas_bytes_section_by_section() {
    for (path, image, snapshot) in logs_with_snapshots() {
        let java: Vec<Bytes> = snapshot
            .into_iter()
            .map(|(_, value)| canonical(value))
            // 3.9 writes the state of the migration from ZooKeeper; 4.x and we do not keep it.
            .filter(|value| !matches!(decoded(value).0, MetadataRecord::ZkMigrationState(_)))
            .collect();
        let ours: Vec<Bytes> = encoded(&image).into_iter().map(canonical).collect();
        assert_eq!(sections(&java), sections(&ours), "order of sections in {}", path.display());
        let counted = |values: &[Bytes]| {
            let mut out = BTreeMap::new();
            for value in values {
                *out.entry(value.clone()).or_insert(0) += 1;
            }
            out
        };
        let (java, ours) = (counted(&java), counted(&ours));
        if let Some(value) = java.keys().find(|it| !ours.contains_key(*it)) {
            panic!("{}: only Java has {:?}", path.display(), decoded(value));
        }
        if let Some(value) = ours.keys().find(|it| !java.contains_key(*it)) {
            panic!("{}: only we have {:?}", path.display(), decoded(value));
        }
        assert_eq!(java, ours, "{}", path.display());
    }
}

fn decoded(value: &Bytes) -> (MetadataRecord, i16) {
    MetadataRecord::decode_framed(value.clone()).expect("a metadata record")
}

/// Lists that Java writes out of hash maps, put into order.
fn canonical(value: Bytes) -> Bytes {
    let (mut record, version) = decoded(&value);
    match &mut record {
        MetadataRecord::RegisterBroker(it) => {
            it.features.sort_by(|a, b| a.name.cmp(&b.name));
            it.end_points.sort_by(|a, b| a.name.cmp(&b.name));
        }
        MetadataRecord::RegisterController(it) => {
            it.features.sort_by(|a, b| a.name.cmp(&b.name));
            it.end_points.sort_by(|a, b| a.name.cmp(&b.name));
        }
        MetadataRecord::ClientQuota(it) => {
            it.entity.sort_by(|a, b| a.entity_type.cmp(&b.entity_type))
        }
        _ => {}
    }
    record.encode_framed(version).expect("can be written")
}

/// The record types in the order of their first appearance (a topic and its partitions are one).
fn sections(values: &[Bytes]) -> Vec<&'static str> {
    let mut out: Vec<&'static str> = Vec::new();
    for value in values {
        let (record, _) = decoded(value);
        let name = match &record {
            MetadataRecord::Partition(_) => "TopicRecord",
            other => other.name(),
        };
        if out.last() != Some(&name) {
            assert!(!out.contains(&name), "section {name} is in two pieces");
            out.push(name);
        }
    }
    out
}

#[test]
fn the_records_of_a_difference_lead_from_one_image_to_the_other() {
    let images: Vec<Image> = logs_with_snapshots().into_iter().map(|(_, it, _)| it).collect();
    for from in &images {
        for to in &images {
            let mut image = from.clone();
            for (record, version) in from.diff(to).to_records() {
                // Through bytes, so that nothing is said that the log could not carry.
                let bytes = record.encode_framed(version).expect("can be written");
                image.apply(&decoded(&bytes).0).expect("applies");
            }
            assert!(image == *to);
            assert_eq!(image.content_hash(), to.content_hash());
        }
    }
}
