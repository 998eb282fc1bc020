//! The log on a disk that can crash: append, sync, roll, truncate, recover.

use bytes::Bytes;
use quorate_base::{OffsetAndEpoch, Prng};
use quorate_protocol::batch::{Batch, batches, encode_data_batch};
use quorate_storage::{
    Disk, LogConfig, LogReader, LogWriter, MemDisk, MetaProperties, NodeDir, NodeDirConfig,
    StorageError, check_fetched, open_node_dir,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROOT: &str = "/data";

fn metadata_dir() -> PathBuf {
    Path::new(ROOT).join("__cluster_metadata-0")
}

fn formatted_disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let meta = MetaProperties {
        cluster_id: "c".to_owned(),
        node_id: 1,
        directory_id: Some(quorate_base::Uuid::from_u128(1000)),
    };
    meta.save(&disk, Path::new(ROOT), 0).unwrap();
    disk
}

fn open_with(disk: &MemDisk, segment_bytes: u64) -> Result<NodeDir, StorageError> {
    let config = NodeDirConfig {
        root: ROOT.into(),
        other_roots: Vec::new(),
        node_id: 1,
        cluster_id: None,
        log: LogConfig { segment_bytes, ..LogConfig::default() },
    };
    open_node_dir(Arc::new(disk.clone()), &config, &mut Prng::new(1), 0)
}

fn open(disk: &MemDisk) -> Result<NodeDir, StorageError> {
    open_with(disk, 1 << 30)
}

/// A batch whose content depends on its offset and `salt`.
fn batch(offset: i64, epoch: i32, records: usize, salt: u64) -> Bytes {
    let mut prng = Prng::new(salt ^ offset as u64);
    let values: Vec<_> = (0..records)
        .map(|_| Bytes::from(vec![prng.next_u64() as u8; prng.below(60) as usize]))
        .collect();
    encode_data_batch(offset, epoch, 1000 + offset, &values)
}

fn append(log: &mut LogWriter, epoch: i32, records: usize) -> i64 {
    let bytes = batch(log.log_end(), epoch, records, 0);
    log.append(&bytes, 0).unwrap().end_offset
}

fn read_all(reader: &LogReader) -> Vec<Batch> {
    let (mut offset, mut all) = (reader.log_start(), Vec::new());
    while offset < reader.log_end() {
        let bytes = reader.read(offset, 300).unwrap();
        assert!(!bytes.is_empty(), "a read below the end answers at least one batch");
        for batch in batches(bytes) {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            offset = batch.header.end_offset();
            all.push(batch);
        }
    }
    all
}

fn overwrite(disk: &MemDisk, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let file = disk.open_write(&metadata_dir().join(name)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    edit(&mut bytes);
    file.set_len(0).unwrap();
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();
}

const FIRST_SEGMENT: &str = "00000000000000000000.log";

#[test]
fn what_is_appended_is_read_back_across_segments_and_restarts() {
    let disk = formatted_disk();
    let mut written = Vec::new();
    {
        let mut dir = open_with(&disk, 500).unwrap();
        for i in 0..200u64 {
            let bytes = batch(dir.log.log_end(), 1 + (i / 50) as i32, 1 + (i % 4) as usize, i);
            dir.log.append(&bytes, 0).unwrap();
            written.push(bytes);
        }
        dir.log.sync().unwrap();
        let read: Vec<_> = read_all(&dir.reader).into_iter().map(|b| b.bytes).collect();
        assert_eq!(read, written);
        dir.log.close().unwrap();
    }
    let logs = disk.list(&metadata_dir()).unwrap();
    assert!(logs.iter().filter(|name| name.ends_with(".log")).count() > 10, "{logs:?}");
    let dir = open_with(&disk, 500).unwrap();
    let read: Vec<_> = read_all(&dir.reader).into_iter().map(|b| b.bytes).collect();
    assert_eq!(read, written);
    let epochs: Vec<_> = dir.reader.epochs().starts().iter().map(|start| start.epoch).collect();
    assert_eq!(epochs, [1, 2, 3, 4]);
    assert_eq!((dir.log_end.epoch, dir.election.epoch), (4, 4));
}

#[test]
fn a_read_answers_whole_batches_within_its_limits() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    for _ in 0..1000 {
        append(&mut dir.log, 1, 3);
    }
    let end = dir.log.log_end();
    for from in (0..end).step_by(7) {
        let bytes = dir.reader.read(from, 400).unwrap();
        let read: Vec<_> = batches(bytes.clone()).map(Result::unwrap).collect();
        assert!(read[0].base_offset() <= from && from <= read[0].last_offset());
        assert!(bytes.len() <= 400 || read.len() == 1);
        let committed = dir.reader.read_until(from, from + 5, 10_000).unwrap();
        assert!(batches(committed).all(|b| b.unwrap().header.end_offset() <= from + 5));
    }
    assert_eq!(dir.reader.read(end, 100).unwrap(), Bytes::new());
    assert_eq!(batches(dir.reader.read(0, 1).unwrap()).count(), 1);
    for outside in [-1, end + 1] {
        let error = dir.reader.read(outside, 100).unwrap_err();
        assert!(matches!(error, StorageError::OffsetOutOfRange { .. }), "{error}");
    }
    let boundary =
        |offset, epoch| dir.reader.is_batch_boundary(OffsetAndEpoch { offset, epoch }).unwrap();
    assert!(boundary(3, 1) && boundary(end, 1));
    assert!(!boundary(4, 1) && !boundary(3, 2) && !boundary(end + 3, 1));
}

#[test]
fn a_large_batch_is_read_whole_from_anywhere() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    append(&mut dir.log, 1, 2);
    let values = vec![Bytes::from(vec![7; 5_000_000])];
    dir.log.append(&encode_data_batch(2, 1, 0, &values), 0).unwrap();
    append(&mut dir.log, 1, 1);
    for max_bytes in [1, 100_000, 10_000_000] {
        let read: Vec<_> = batches(dir.reader.read(2, max_bytes).unwrap()).collect();
        assert_eq!(
            read[0].as_ref().unwrap().records().next().unwrap().unwrap().value,
            Some(values[0].clone())
        );
        assert_eq!(read.len(), if max_bytes > 6_000_000 { 2 } else { 1 });
    }
    dir.log.sync().unwrap();
    drop(dir);
    assert_eq!(open(&disk).unwrap().log_end.offset, 4, "larger than a chunk of the scan");
}

#[test]
fn a_torn_last_batch_is_cut_at_every_byte_of_it() {
    let disk = formatted_disk();
    let (kept, end) = {
        let mut dir = open(&disk).unwrap();
        append(&mut dir.log, 1, 3);
        append(&mut dir.log, 1, 2);
        let kept = dir.reader.size_bytes();
        append(&mut dir.log, 2, 4);
        dir.log.sync().unwrap();
        (kept, dir.reader.size_bytes())
    };
    for zeros in [false, true] {
        for len in kept..=end {
            let torn = disk.fork();
            torn.crash(&mut Prng::new(0));
            let mut whole = false;
            overwrite(&torn, FIRST_SEGMENT, |bytes| {
                let original = bytes.clone();
                bytes.truncate(len as usize);
                if zeros {
                    bytes.resize(end as usize + 100, 0);
                }
                // A batch ends in a zero, so zeros may stand for what was cut.
                whole = bytes.starts_with(&original);
            });
            let dir = open(&torn).unwrap();
            assert_eq!(dir.log_end.offset, if whole { 9 } else { 5 }, "cut at byte {len}");
            assert_eq!(dir.log_end.epoch, if whole { 2 } else { 1 });
            let mended = !whole && len > kept || zeros;
            assert_eq!(dir.recovery.torn_tail.is_some(), mended, "cut at byte {len}");
            drop(dir);
            let again = open(&torn).unwrap();
            assert_eq!(again.recovery.torn_tail, None, "mended for good");
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused_at_every_byte_and_changes_nothing() {
    let disk = formatted_disk();
    let first = {
        let mut dir = open(&disk).unwrap();
        append(&mut dir.log, 1, 3);
        let first = dir.reader.size_bytes() as usize;
        append(&mut dir.log, 1, 2);
        dir.log.sync().unwrap();
        first
    };
    for byte in 0..first {
        let damaged = disk.fork();
        damaged.crash(&mut Prng::new(0));
        overwrite(&damaged, FIRST_SEGMENT, |bytes| bytes[byte] ^= 0x40);
        let before = damaged.len(&metadata_dir().join(FIRST_SEGMENT)).unwrap();
        match open(&damaged) {
            Err(error @ StorageError::Corrupt { .. }) => {
                assert_eq!(error.exit_code(), 3);
                let in_epoch = (12..16).contains(&byte);
                assert!(in_epoch || error.to_string().contains("corrupt at byte 0"), "{error}");
            }
            // The epoch is not covered by the sum; a lower one than the next batch's is possible.
            other => assert!((12..16).contains(&byte), "byte {byte}: {other:?}"),
        }
        assert_eq!(damaged.len(&metadata_dir().join(FIRST_SEGMENT)).unwrap(), before);
    }
}

#[test]
fn damage_in_an_earlier_segment_and_missing_segments_are_refused() {
    let disk = formatted_disk();
    let names = {
        let mut dir = open_with(&disk, 300).unwrap();
        for _ in 0..20 {
            append(&mut dir.log, 1, 2);
        }
        dir.log.sync().unwrap();
        let names = disk.list(&metadata_dir()).unwrap();
        names.into_iter().filter(|name| name.ends_with(".log")).collect::<Vec<_>>()
    };
    assert!(names.len() >= 3);

    let damaged = disk.fork();
    damaged.crash(&mut Prng::new(0));
    overwrite(&damaged, &names[1], |bytes| bytes.truncate(bytes.len() - 1));
    let error = open(&damaged).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains(&names[1]), "{error}");

    for (missing, says) in [(1, "are missing before"), (0, "no snapshot reaches there")] {
        let damaged = disk.fork();
        damaged.crash(&mut Prng::new(0));
        damaged.remove(&metadata_dir().join(&names[missing])).unwrap();
        let error = open(&damaged).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn truncation_removes_whole_batches_and_later_segments() {
    for to in 0..40 {
        let disk = formatted_disk();
        let mut dir = open_with(&disk, 300).unwrap();
        for epoch in 1..=20 {
            append(&mut dir.log, epoch, 2);
        }
        dir.log.sync().unwrap();
        let kept = to / 2 * 2;
        assert_eq!(dir.log.truncate_to(to).unwrap(), kept);
        assert_eq!(dir.reader.log_end(), kept);
        assert_eq!(dir.reader.epochs().last_epoch(), (kept > 0).then_some(kept as i32 / 2));
        append(&mut dir.log, 30, 1);
        dir.log.sync().unwrap();
        let read = read_all(&dir.reader);
        drop(dir);
        disk.crash(&mut Prng::new(to as u64));
        let dir = open_with(&disk, 300).unwrap();
        assert_eq!(read_all(&dir.reader), read);
        assert_eq!(dir.log_end, OffsetAndEpoch { offset: kept + 1, epoch: 30 });
    }
}

#[test]
fn what_was_synced_survives_every_crash_and_what_was_not_comes_back_as_a_prefix() {
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let disk = formatted_disk();
        let mut written: Vec<Bytes> = Vec::new();
        let (mut synced_end, mut epoch) = (0, 1);
        for _ in 0..4 {
            let mut dir = open_with(&disk, 200 + prng.below(2000)).unwrap();
            let found: Vec<_> = read_all(&dir.reader).into_iter().map(|b| b.bytes).collect();
            assert!(dir.log_end.offset >= synced_end, "seed {seed}: a synced record is gone");
            assert_eq!(found[..], written[..found.len()], "seed {seed}: not what was written");
            written = found;
            for _ in 0..prng.below(30) {
                match prng.below(10) {
                    0 => {
                        synced_end = dir.log.sync().unwrap();
                    }
                    1 => epoch += 1,
                    2 => {
                        let to = synced_end
                            + prng.below((dir.log.log_end() - synced_end + 1) as u64) as i64;
                        let end = dir.log.truncate_to(to).unwrap();
                        written
                            .retain(|b| batches(b.clone()).all(|b| b.unwrap().last_offset() < end));
                        synced_end = synced_end.min(end);
                    }
                    _ => {
                        let count = 1 + prng.below(3) as usize;
                        let bytes = batch(dir.log.log_end(), epoch, count, prng.next_u64());
                        dir.log.append(&bytes, 0).unwrap();
                        written.push(bytes);
                    }
                }
            }
            synced_end = synced_end.max(dir.log.synced_end());
            drop(dir);
            disk.crash(&mut prng);
        }
    }
}

#[test]
fn one_sync_covers_all_that_waited() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    let before = disk.sync_count();
    for _ in 0..50 {
        append(&mut dir.log, 1, 1);
    }
    assert_eq!((dir.log.synced_end(), dir.log.log_end()), (0, 50));
    assert_eq!(dir.log.sync().unwrap(), 50);
    assert_eq!(dir.log.sync().unwrap(), 50);
    assert_eq!(disk.sync_count() - before, 1);
}

#[test]
fn a_full_disk_refuses_the_append_and_goes_on_when_there_is_room() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    append(&mut dir.log, 1, 2);
    let kept = dir.reader.size_bytes();
    disk.set_full(true);
    // Half of this arrives: whole batches that were never appended.
    let refused: Vec<_> = (2..12).map(|offset| batch(offset, 1, 1, 9)).collect();
    let error = dir.log.append(&refused.concat().into(), 0).unwrap_err();
    assert!(matches!(error, StorageError::Io { .. }), "{error}");
    assert_eq!((dir.log.log_end(), dir.reader.size_bytes()), (2, kept));
    assert_eq!(disk.len(&metadata_dir().join(FIRST_SEGMENT)).unwrap(), Some(kept));
    disk.set_full(false);
    append(&mut dir.log, 2, 1);
    assert_eq!(dir.log.sync().unwrap(), 3);
    drop(dir);
    disk.crash(&mut Prng::new(1));
    let dir = open(&disk).unwrap();
    assert_eq!((dir.log_end.offset, dir.recovery.torn_tail), (3, None));
}

#[test]
fn after_a_failed_sync_nothing_goes_on_without_a_restart() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    append(&mut dir.log, 1, 2);
    disk.set_failing_syncs(true);
    assert!(matches!(dir.log.sync().unwrap_err(), StorageError::Io { .. }));
    disk.set_failing_syncs(false);
    assert!(matches!(dir.log.sync().unwrap_err(), StorageError::Poisoned));
    let bytes = batch(2, 1, 1, 0);
    assert!(matches!(dir.log.append(&bytes, 0).unwrap_err(), StorageError::Poisoned));
}

#[test]
fn old_segments_roll_by_age() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    let week_ms = 7 * 24 * 3600 * 1000;
    dir.log.append(&batch(0, 1, 1, 0), 1000).unwrap();
    dir.log.append(&batch(1, 1, 1, 0), 1000 + week_ms).unwrap();
    assert_eq!(disk.len(&metadata_dir().join("00000000000000000002.log")).unwrap(), None);
    dir.log.append(&batch(2, 1, 1, 0), 1001 + week_ms).unwrap();
    assert!(disk.len(&metadata_dir().join("00000000000000000002.log")).unwrap().is_some());
}

#[test]
fn only_what_continues_the_log_is_taken_from_a_leader() {
    let two = Bytes::from([batch(5, 2, 2, 0), batch(7, 3, 1, 0)].concat());
    let first_len = batch(5, 2, 2, 0).len();
    assert_eq!(check_fetched(&two, 5, 2, 3).unwrap(), two);
    for cut in first_len..two.len() {
        assert_eq!(check_fetched(&two.slice(..cut), 5, 2, 3).unwrap(), two.slice(..first_len));
    }
    assert_eq!(check_fetched(&two.slice(..10), 5, 2, 3).unwrap(), Bytes::new());
    for (log_end, last_epoch, leader_epoch, says) in [
        (4, 2, 3, "does not continue"),
        (6, 2, 3, "does not continue"),
        (5, 3, 3, "below the one before"),
        (5, 2, 2, "above the leader's"),
    ] {
        let error = check_fetched(&two, log_end, last_epoch, leader_epoch).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let mut damaged = two.to_vec();
    damaged[first_len - 3] ^= 1;
    assert!(check_fetched(&damaged.into(), 5, 2, 3).is_err());
}

#[test]
#[should_panic(expected = "a batch continues the log")]
fn a_batch_that_leaves_a_gap_is_our_own_mistake() {
    let disk = formatted_disk();
    let mut dir = open(&disk).unwrap();
    let _ = dir.log.append(&batch(3, 1, 1, 0), 0);
}

#[test]
fn readers_beside_a_truncating_writer_see_only_what_stood_in_the_log() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let disk = formatted_disk();
    let mut dir = open_with(&disk, 4000).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|id| {
                let (reader, done) = (dir.reader.clone(), &done);
                scope.spawn(move || {
                    let (mut prng, mut reads) = (Prng::new(id), 0u32);
                    while !done.load(Ordering::Acquire) || reads == 0 {
                        let from = prng.below(reader.log_end() as u64 + 1) as i64;
                        let bytes = match reader.read(from, 2000) {
                            Ok(bytes) => bytes,
                            // Truncated between the two calls.
                            Err(StorageError::OffsetOutOfRange { .. }) => continue,
                            Err(error) => panic!("{error}"),
                        };
                        let (mut due, mut epoch) = (None, 0);
                        for batch in batches(bytes) {
                            let batch = batch.unwrap();
                            batch.verify().unwrap();
                            assert!(due.is_none_or(|due| due == batch.base_offset()));
                            assert!(epoch <= batch.header.partition_leader_epoch);
                            due = Some(batch.header.end_offset());
                            epoch = batch.header.partition_leader_epoch;
                            reads += 1;
                        }
                    }
                    reads
                })
            })
            .collect();
        let mut prng = Prng::new(77);
        for epoch in 1..400 {
            for _ in 0..10 {
                let bytes = batch(dir.log.log_end(), epoch, 1 + prng.below(4) as usize, 0);
                dir.log.append(&bytes, 0).unwrap();
            }
            dir.log.sync().unwrap();
            let back = prng.below(20) as i64;
            dir.log.truncate_to((dir.log.log_end() - back).max(0)).unwrap();
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}
