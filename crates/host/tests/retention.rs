//! Retention on a disk that fails half way.

use bytes::Bytes;
use quorate_base::{OffsetAndEpoch, Prng};
use quorate_host::{append, recover, retain, sync};
use quorate_node::{Event, LogAppend};
use quorate_protocol::batch::encode_data_batch;
use quorate_storage::{
    Disk, FormatSpec, InitialVoters, LogConfig, MemDisk, NodeDir, NodeDirConfig, Retention,
    SnapshotVoters, format, open_node_dir,
};
use std::sync::Arc;

const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const NOW_MS: i64 = 1_800_000_000_000;
const SMALL: Retention = Retention { max_bytes: Some(1), max_ms: None };

/// A directory with one batch a segment up to offset 6, and snapshots at 2 and 4.
fn directory(disk: &MemDisk) -> NodeDir {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut prng = Prng::new(1);
    let spec = FormatSpec {
        cluster_id: CLUSTER.to_owned(),
        node_id: 1,
        directories: vec!["/data".into()],
        metadata_directory: "/data".into(),
        initial_voters: InitialVoters::None,
        bootstrap_records: Vec::new(),
        ignore_formatted: false,
    };
    format(&disk, &spec, NOW_MS, &mut prng).expect("an empty disk");
    let config = NodeDirConfig {
        root: "/data".into(),
        other_roots: Vec::new(),
        node_id: 1,
        cluster_id: Some(CLUSTER.to_owned()),
        log: LogConfig { segment_bytes: 1, segment_ms: i64::MAX },
    };
    let mut dir = open_node_dir(disk, &config, &mut prng, NOW_MS).expect("just formatted");
    let value = Bytes::from_static(b"\x01\x0c\x00");
    for base_offset in 0..6 {
        // A new epoch each, so that the checkpoint of epochs changes with the log's start.
        let epoch = 1 + base_offset as i32;
        let bytes = encode_data_batch(base_offset, epoch, NOW_MS, std::slice::from_ref(&value));
        let end_offset = base_offset + 1;
        let batch = LogAppend { base_offset, end_offset, epoch, append_time_ms: NOW_MS, bytes };
        let written = append(&mut dir.log, &batch).expect("there is room");
        let news = sync(&mut dir.log, written).expect("a healthy disk");
        assert!(matches!(news, Event::Persisted { end } if end == written));
    }
    for offset in [2, 4] {
        let id = OffsetAndEpoch { offset, epoch: offset as i32 };
        let voters = SnapshotVoters::Static;
        let writer = dir.snapshots.create(id, NOW_MS, NOW_MS, &voters, &mut prng);
        writer.and_then(|writer| writer.finish()).expect("there is room");
    }
    dir
}

#[test]
fn what_a_failed_cleaning_has_removed_is_told() {
    let disk = MemDisk::new();
    let mut dir = directory(&disk);
    disk.set_full(true);
    let retained = retain(&mut dir.log, &dir.snapshots, SMALL, NOW_MS, &[]);
    assert!(retained.failure.is_some(), "the checkpoint of epochs cannot be written");
    assert_eq!(dir.reader.log_start(), 4);
    let events = retained.into_events();
    assert!(matches!(events[..], [Event::LogStartMoved { start: 4 }]), "{events:?}");

    disk.set_full(false);
    let retained = retain(&mut dir.log, &dir.snapshots, SMALL, NOW_MS, &[]);
    assert!(retained.failure.is_none());
    let events = retained.into_events();
    let [Event::SnapshotsDeleted { ids }] = &events[..] else { panic!("{events:?}") };
    assert!(ids.iter().any(|id| id.offset == 2), "{ids:?}");
    assert_eq!(recover(&dir).expect("all is well").raft.log.start, 4);
}

#[test]
fn a_snapshot_that_others_read_keeps_its_log() {
    let disk = MemDisk::new();
    let mut dir = directory(&disk);
    let read = OffsetAndEpoch { offset: 2, epoch: 2 };
    let retained = retain(&mut dir.log, &dir.snapshots, SMALL, NOW_MS, &[read]);
    assert!(retained.failure.is_none());
    assert!(dir.reader.log_start() <= 2);
    assert!(dir.snapshots.list().expect("a healthy disk").contains(&read));
}
