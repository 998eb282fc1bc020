//! Logs and checkpoints that Kafka's own controllers wrote: replaying leads to every checkpoint, record by
//! record, our rules decide as was decided, and what is planted is found and named.

use quorate_base::OffsetAndEpoch;
use quorate_controller::ControllerConfig;
use quorate_metadata::Image;
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::{batches, encode_data_batch};
use quorate_shadow::compare::{Comparison, compare};
use quorate_shadow::redecide::Redecider;
use quorate_shadow::{RecordKey, Replica, load_snapshot};
use quorate_storage::{
    BOOTSTRAP_SNAPSHOT_ID, FileDisk, LogConfig, LogWriter, Snapshots, StorageError, open_log,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const RELEASES: [&str; 2] = ["3.9.1", "4.3.0"];

fn fixture(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../metadata/tests/fixtures")
        .join(release)
        .join("controller-1")
}

/// A copy to open and to damage.
struct Copy {
    dir: TempDir,
    log: LogWriter,
    snapshots: Snapshots,
}

impl Copy {
    fn of(release: &str) -> Copy {
        let dir = TempDir::new().expect("a temporary directory");
        for entry in fs::read_dir(fixture(release)).expect("the fixture is there") {
            let path = entry.expect("readable").path();
            fs::copy(&path, dir.path().join(path.file_name().expect("a file"))).expect("copied");
        }
        let disk: Arc<dyn quorate_storage::Disk> = Arc::new(FileDisk);
        let snapshots = Snapshots::new(disk.clone(), dir.path());
        let newest = snapshots.newest().expect("listed");
        let (log, recovery) =
            open_log(&disk, dir.path(), LogConfig::default(), newest).expect("opened");
        assert_eq!(recovery.restarted_at, None, "the log reaches its snapshots");
        Copy { dir, log, snapshots }
    }

    fn checkpoints(&self) -> Vec<OffsetAndEpoch> {
        let all = self.snapshots.list().expect("listed");
        all.into_iter().filter(|id| *id != BOOTSTRAP_SNAPSHOT_ID).collect()
    }

    fn compare(&self, id: OffsetAndEpoch, ours: &Replica) -> Result<Comparison, StorageError> {
        compare(ours.image(), Some(ours.quorum()), id, &mut self.snapshots.open(id)?)
    }

    /// Replaces the values of the checkpoint's data records, with correct checksums.
    fn rewrite(&self, id: OffsetAndEpoch, change: impl Fn(&mut Vec<MetadataRecord>)) {
        let path = self.snapshots.path(id);
        let bytes = bytes::Bytes::from(fs::read(&path).expect("read"));
        let mut out = Vec::new();
        for batch in batches(bytes) {
            let batch = batch.expect("a batch that Kafka wrote");
            if batch.is_control() {
                out.extend_from_slice(&batch.bytes);
                continue;
            }
            let decode = |value| MetadataRecord::decode_framed(value).expect("a record");
            let decoded: Vec<(MetadataRecord, i16)> = batch
                .records()
                .map(|record| decode(record.expect("a record").value.expect("a value")))
                .collect();
            let versions: Vec<(&'static str, i16)> =
                decoded.iter().map(|(record, version)| (record.name(), *version)).collect();
            let mut records = decoded.into_iter().map(|(record, _)| record).collect();
            change(&mut records);
            let version = |record: &MetadataRecord| {
                versions.iter().find(|(name, _)| *name == record.name()).expect("known").1
            };
            let values: Vec<bytes::Bytes> =
                records.iter().map(|it| it.encode_framed(version(it)).expect("encodes")).collect();
            let header = batch.header;
            out.extend_from_slice(&encode_data_batch(
                header.base_offset,
                header.partition_leader_epoch,
                header.base_timestamp,
                &values,
            ));
        }
        fs::remove_file(&path).expect("removed");
        fs::write(&path, out).expect("written");
    }
}

#[test]
fn replaying_leads_to_every_checkpoint_of_kafka_record_by_record() {
    for release in RELEASES {
        let copy = Copy::of(release);
        let mut replica = Replica::empty();
        for id in copy.checkpoints() {
            replica.replay(&copy.log.reader(), id.offset, |_, _| ()).expect("replayed");
            let compared = copy.compare(id, &replica).expect("readable");
            assert_eq!(compared.differing, 0, "{release} {id}: {:#?}", compared.differences);
            assert!(compared.records > 10, "{release} {id}");
            let loaded = load_snapshot(&copy.snapshots, id).expect("loaded");
            assert_eq!(loaded.image().content_hash(), replica.image().content_hash());
        }
    }
}

#[test]
fn our_rules_decide_as_kafka_did() {
    for release in RELEASES {
        let copy = Copy::of(release);
        let mut redecider = Redecider::new(ControllerConfig::default());
        let mut replica = Replica::empty();
        let reader = copy.log.reader();
        let end = reader.log_end();
        replica
            .replay(&reader, end, |before, records| redecider.batch(before.latest(), records))
            .expect("replayed");
        let result = redecider.result();
        println!("{release}: {:?}", result.agreed);
        assert_eq!(result.otherwise_count, 0, "{release}: {:#?}", result.otherwise);
        assert!(!result.agreed.is_empty());
    }
}

#[test]
fn a_flipped_byte_is_named_as_damage_of_the_file_with_its_place() {
    let copy = Copy::of("4.3.0");
    let id = *copy.checkpoints().last().expect("there is one");
    let path = copy.snapshots.path(id);
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::remove_file(&path).expect("removed");
    fs::write(&path, bytes).expect("written");
    let mut replica = Replica::empty();
    replica.replay(&copy.log.reader(), id.offset, |_, _| ()).expect("replayed");
    let error = copy.compare(id, &replica).expect_err("it is damaged");
    assert!(matches!(&error, StorageError::Corrupt { file, .. } if *file == path), "{error}");
    assert!(copy.dir.path().exists());
}

#[test]
fn a_changed_value_with_a_right_checksum_is_named_by_key_and_both_values() {
    let copy = Copy::of("4.3.0");
    let id = *copy.checkpoints().last().expect("there is one");
    copy.rewrite(id, |records| {
        for record in records {
            if let MetadataRecord::Partition(it) = record
                && it.partition_id == 0
            {
                it.leader_epoch += 1;
                break;
            }
        }
    });
    let mut replica = Replica::empty();
    replica.replay(&copy.log.reader(), id.offset, |_, _| ()).expect("replayed");
    let compared = copy.compare(id, &replica).expect("readable");
    // Once a batch; a checkpoint of this size has one.
    assert_eq!(compared.differing, 1, "{:#?}", compared.differences);
    let difference = &compared.differences[0];
    assert!(matches!(difference.record_key, Some(RecordKey::Partition(_, 0))), "{difference:?}");
    let (ours, theirs) = (difference.ours.as_ref(), difference.theirs.as_ref());
    assert!(ours.is_some_and(|it| it.contains("leader_epoch")) && ours != theirs);
}

#[test]
fn a_record_too_few_and_one_too_many_are_both_found() {
    let copy = Copy::of("4.3.0");
    let id = *copy.checkpoints().last().expect("there is one");
    copy.rewrite(id, |records| {
        let config = records.iter().position(|it| matches!(it, MetadataRecord::Config(_)));
        let config = config.expect("the fixture has a setting");
        let MetadataRecord::Config(mut other) = records.remove(config) else { unreachable!() };
        other.name = "nobody.set.this".into();
        records.push(MetadataRecord::Config(other));
    });
    let mut replica = Replica::empty();
    replica.replay(&copy.log.reader(), id.offset, |_, _| ()).expect("replayed");
    let compared = copy.compare(id, &replica).expect("readable");
    assert_eq!(compared.differing, 2);
    let [extra, missing] = compared.differences.as_slice() else { panic!("two are kept") };
    assert!(extra.ours.is_none() && extra.key.contains("nobody.set.this"), "{extra:?}");
    assert!(missing.theirs.is_none(), "{missing:?}");
}

#[test]
fn settings_of_a_topic_that_does_not_exist_are_kafkas_fault_and_told_apart() {
    let copy = Copy::of("4.3.0");
    let id = *copy.checkpoints().last().expect("there is one");
    copy.rewrite(id, |records| {
        let topic =
            |it: &&MetadataRecord| matches!(it, MetadataRecord::Config(c) if c.resource_type == 2);
        let config = records.iter().find(topic).expect("the fixture has a topic's setting");
        let MetadataRecord::Config(mut orphan) = config.clone() else { unreachable!() };
        orphan.resource_name = "long-gone".into();
        records.push(MetadataRecord::Config(orphan));
    });
    let mut replica = Replica::empty();
    replica.replay(&copy.log.reader(), id.offset, |_, _| ()).expect("replayed");
    let compared = copy.compare(id, &replica).expect("readable");
    assert_eq!(compared.differing, 0, "{:#?}", compared.differences);
    assert!(compared.orphaned_settings[0].contains("long-gone"), "{compared:?}");
}

#[cfg(feature = "planted-fault")]
#[test]
fn a_wrong_rule_of_ours_is_found_at_the_next_checkpoint() {
    let copy = Copy::of("4.3.0");
    let forgets = |record: &MetadataRecord| {
        matches!(
            record,
            MetadataRecord::ProducerIds(_) | MetadataRecord::BrokerRegistrationChange(_)
        )
    };
    let mut wrong = Replica::empty().with_fault(forgets);
    let mut found = None;
    for id in copy.checkpoints() {
        wrong.replay(&copy.log.reader(), id.offset, |_, _| ()).expect("replayed");
        let compared = copy.compare(id, &wrong).expect("readable");
        if compared.differing > 0 {
            found = compared.differences.first().cloned();
            break;
        }
    }
    let key = found.and_then(|it| it.record_key).expect("the wrong rule shows");
    assert!(matches!(key, RecordKey::Broker(_) | RecordKey::ProducerIds), "{key:?}");
}

#[test]
fn an_empty_image_differs_from_a_checkpoint_in_all_its_records() {
    let copy = Copy::of("3.9.1");
    let id = *copy.checkpoints().last().expect("there is one");
    let mut reader = copy.snapshots.open(id).expect("opened");
    let compared = compare(&Image::empty(), None, id, &mut reader).expect("readable");
    let orphaned = compared.orphaned_settings.len() as u64;
    assert!(compared.differing + orphaned + 1 >= compared.records, "{compared:?}");
}
