//! The other files of a directory, against those that Apache Kafka 3.9.1 and 4.3.0 wrote.

use bytes::Bytes;
use quorate_base::{OffsetAndEpoch, Prng, ReplicaKey, Uuid};
use quorate_protocol::batch::batches;
use quorate_protocol::control::{ControlRecord, Voter, VoterEndpoint, control_records};
use quorate_storage::{
    BOOTSTRAP_SNAPSHOT_ID, DirRole, Disk, ElectionState, FileDisk, FormatSpec, InitialVoters,
    LogConfig, MemDisk, MetaProperties, NodeDir, NodeDirConfig, QuorumStateVersion, READ_GRACE_MS,
    Retention, SnapshotReads, SnapshotVoters, StorageError, VoteStore, clean, clean_unless_read,
    format, load_bootstrap, open_node_dir, parse_quorum_state, parse_snapshot_file_name,
    quorum_state_text, snapshot_file_name,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NODES: [(&str, i32); 5] = [
    ("4.3.0/controller-1", 1),
    ("4.3.0/controller-2", 2),
    ("3.9.1/controller-1", 1),
    ("3.9.1/controller-2", 2),
    ("4.3.0-3voters/c1", 1),
];
const CLUSTER: &str = "AAAAAAAAQACAAAAAAAAAAA";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The fixture's files on a disk in memory, under the same paths relative to `/`.
fn load_fixture(name: &str) -> MemDisk {
    let disk = MemDisk::new();
    let mut dirs = vec![fixture(name)];
    while let Some(dir) = dirs.pop() {
        let target = Path::new("/").join(dir.strip_prefix(fixture(name)).unwrap());
        disk.create_dir_all(&target).unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let file = disk.create(&target.join(path.file_name().unwrap())).unwrap();
            file.write_at(&fs::read(&path).unwrap(), 0).unwrap();
            file.sync().unwrap();
        }
        disk.sync_dir(&target).unwrap();
    }
    disk
}

fn config(root: &Path, node_id: i32) -> NodeDirConfig {
    NodeDirConfig {
        root: root.to_owned(),
        other_roots: Vec::new(),
        node_id,
        cluster_id: Some(CLUSTER.to_owned()),
        log: LogConfig::default(),
    }
}

fn open(disk: &MemDisk, node_id: i32) -> Result<NodeDir, StorageError> {
    open_node_dir(Arc::new(disk.clone()), &config(Path::new("/"), node_id), &mut Prng::new(1), 0)
}

fn content(disk: &dyn Disk, path: &str) -> Bytes {
    let file = disk.open_read(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes.into()
}

fn text(disk: &dyn Disk, path: &str) -> String {
    String::from_utf8(content(disk, path).to_vec()).unwrap()
}

fn write(disk: &MemDisk, path: &str, text: &str) {
    disk.create(Path::new(path)).unwrap().write_at(text.as_bytes(), 0).unwrap();
}

fn voter(id: i32, directory: u128) -> Voter {
    Voter {
        key: ReplicaKey { id, directory_id: Some(Uuid::from_u128(directory)) },
        endpoints: vec![VoterEndpoint {
            name: "CONTROLLER".into(),
            host: "127.0.0.1".into(),
            port: 9093,
        }],
        min_kraft_version: 0,
        max_kraft_version: 1,
    }
}

#[test]
fn directories_of_java_open_and_stay_as_java_wrote_them() {
    for (name, node_id) in NODES {
        let disk = load_fixture(name);
        let dir = open(&disk, node_id).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(dir.recovery, Default::default(), "{name}");
        assert_eq!(dir.meta.cluster_id, CLUSTER);
        assert_eq!(dir.election.leader_id, Some(1), "{name}");
        assert_eq!(dir.election.epoch, dir.log_end.epoch, "{name}");
        assert!(dir.log_end.offset > 0);
        assert_eq!(dir.reader.log_start() > 0, name.ends_with("controller-2"));
        let bootstrap = dir.bootstrap.as_ref().expect("format wrote bootstrap records");
        assert_eq!(bootstrap.source, "bootstrap.checkpoint");
        assert!(bootstrap.values[0].windows(16).any(|w| w == b"metadata.version"));
        dir.log.close().unwrap();
        for file in ["leader-epoch-checkpoint", "quorum-state", "partition.metadata"] {
            let path = format!("/__cluster_metadata-0/{file}");
            let java = fs::read_to_string(fixture(name).join(&path[1..])).unwrap();
            assert_eq!(text(&disk, &path), java, "{name}");
        }
    }
}

#[test]
fn every_snapshot_of_java_is_written_again_to_the_same_records() {
    let mut seen = 0;
    for (name, node_id) in NODES {
        let disk = load_fixture(name);
        let dir = open(&disk, node_id).unwrap();
        for id in dir.snapshots.list().unwrap() {
            let mut reader = dir.snapshots.open(id).unwrap();
            let mut values = Vec::new();
            while let Some(batch) = reader.next_values().unwrap() {
                values.extend(batch);
            }
            let voters = match (reader.kraft_version(), reader.voters()) {
                (Some(kraft_version), Some(voters)) => {
                    SnapshotVoters::Dynamic { kraft_version, voters: voters.to_vec() }
                }
                _ => SnapshotVoters::Static,
            };
            let path = format!("/__cluster_metadata-0/{}", snapshot_file_name(id));
            let java = content(&disk, &path);
            let now_ms = batches(java.clone()).next().unwrap().unwrap().header.base_timestamp;
            let last_ms = reader.last_contained_log_timestamp_ms();
            let mut writer =
                dir.snapshots.create(id, last_ms, now_ms, &voters, &mut Prng::new(4)).unwrap();
            values.iter().for_each(|value| writer.append(value.clone()).unwrap());
            let size = writer.finish().unwrap();
            let ours = content(&disk, &path);
            assert_eq!(size, ours.len() as u64);
            assert_eq!(shape(&ours), shape(&java), "{name} {id}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

type Shape = (i64, i32, bool, Option<Bytes>, Option<Bytes>);

/// All that two files share that were written at different moments: records with their offsets,
/// epochs and kinds.
fn shape(file: &Bytes) -> Vec<Shape> {
    let mut shape = Vec::new();
    for batch in batches(file.clone()) {
        let batch = batch.unwrap();
        batch.verify().unwrap();
        let epoch = batch.header.partition_leader_epoch;
        for record in batch.records().map(Result::unwrap) {
            shape.push((record.offset, epoch, batch.is_control(), record.key, record.value));
        }
    }
    shape
}

#[test]
fn quorum_state_is_written_as_java_writes_it() {
    for (name, _) in NODES {
        let java =
            fs::read_to_string(fixture(name).join("__cluster_metadata-0/quorum-state")).unwrap();
        let state = parse_quorum_state(&java).unwrap();
        let version = match java.contains("\"data_version\":0") {
            true => QuorumStateVersion::V0,
            false => QuorumStateVersion::V1,
        };
        assert_eq!(quorum_state_text(&state, version), java);
    }
    let state = ElectionState {
        epoch: 9,
        leader_id: None,
        voted: Some(ReplicaKey { id: 2, directory_id: Some(Uuid::from_u128(500)) }),
        voters: vec![1, 2],
        recovering: false,
    };
    assert_eq!(
        quorum_state_text(&state, QuorumStateVersion::V0),
        "{\"clusterId\":\"\",\"leaderId\":-1,\"leaderEpoch\":9,\"votedId\":2,\"appliedOffset\":0,\
         \"currentVoters\":[{\"voterId\":1},{\"voterId\":2}],\"data_version\":0}"
    );
    for (bad, says) in [
        ("", "not JSON"),
        ("{}", "data_version"),
        ("{\"leaderId\":1,\"leaderEpoch\":-3,\"votedId\":1,\"data_version\":1}", "negative"),
        ("{\"leaderId\":1,\"leaderEpoch\":99999999999,\"votedId\":1,\"data_version\":1}", "int32"),
        ("{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":1,\"data_version\":8}", "later Kafka"),
    ] {
        let error = parse_quorum_state(bad).unwrap_err();
        assert!(error.contains(says), "{bad}: {error}");
    }
}

#[test]
fn the_vote_survives_the_loss_of_either_home_and_the_larger_one_wins() {
    let disk = MemDisk::new();
    let metadata_dir = Path::new("/__cluster_metadata-0");
    disk.create_dir_all(metadata_dir).unwrap();
    let votes = VoteStore::new(Arc::new(disk.clone()), Path::new("/"), metadata_dir);
    let state = |epoch, leader_id, voted: Option<i32>| ElectionState {
        epoch,
        leader_id,
        voted: voted.map(|id| ReplicaKey { id, directory_id: Some(Uuid::from_u128(700)) }),
        voters: Vec::new(),
        recovering: false,
    };
    let quorum_state = Path::new("/__cluster_metadata-0/quorum-state");
    assert_eq!(votes.load().unwrap(), None);
    // Kafka's file has no place for it, ours has.
    let recovering = ElectionState { recovering: true, ..state(4, Some(1), None) };
    votes.save(&recovering, QuorumStateVersion::V1).unwrap();
    assert_eq!(votes.load().unwrap(), Some(recovering.clone()));
    disk.remove(quorum_state).unwrap();
    assert_eq!(votes.load().unwrap(), Some(recovering));

    for version in [QuorumStateVersion::V0, QuorumStateVersion::V1] {
        votes.save(&state(5, None, Some(2)), version).unwrap();
        disk.crash(&mut Prng::new(3));
        assert_eq!(votes.load().unwrap(), Some(state(5, None, Some(2))), "{version:?}");
        // A start script deletes Kafka's file.
        disk.remove(quorum_state).unwrap();
        assert_eq!(votes.load().unwrap(), Some(state(5, None, Some(2))));
    }

    // Java ran on the directory in between.
    let java = quorum_state_text(&state(7, Some(3), None), QuorumStateVersion::V1);
    write(&disk, "/__cluster_metadata-0/quorum-state", &java);
    assert_eq!(votes.load().unwrap(), Some(state(7, Some(3), None)));
    // It restored an old one.
    let old = quorum_state_text(&state(4, Some(3), None), QuorumStateVersion::V1);
    write(&disk, "/__cluster_metadata-0/quorum-state", &old);
    assert_eq!(votes.load().unwrap(), Some(state(5, None, Some(2))));
    // Of one epoch, what either knows.
    let same = quorum_state_text(&state(5, Some(2), None), QuorumStateVersion::V1);
    write(&disk, "/__cluster_metadata-0/quorum-state", &same);
    assert_eq!(votes.load().unwrap(), Some(state(5, Some(2), Some(2))));

    for path in ["/quorate.vote", "/__cluster_metadata-0/quorum-state"] {
        let whole = text(&disk, path);
        write(&disk, path, &whole.replace(":5,", ":6,").replace("data_version\":1", "x\":1"));
        let error = votes.load().unwrap_err();
        assert_eq!(error.exit_code(), 3, "{path}");
        assert!(error.to_string().contains(path), "{error}");
        write(&disk, path, &whole);
    }
}

#[test]
fn a_vote_is_durable_once_saved_whatever_the_crash() {
    for seed in 0..100 {
        let mut prng = Prng::new(seed);
        let disk = MemDisk::new();
        let metadata_dir = Path::new("/__cluster_metadata-0");
        disk.create_dir_all(metadata_dir).unwrap();
        let votes = VoteStore::new(Arc::new(disk.clone()), Path::new("/"), metadata_dir);
        for epoch in 1..6 {
            let state = ElectionState { epoch, ..ElectionState::default() };
            votes.save(&state, QuorumStateVersion::V1).unwrap();
            disk.crash(&mut prng);
            assert_eq!(votes.load().unwrap(), Some(state), "seed {seed}");
        }
    }
}

#[test]
fn a_received_snapshot_replaces_a_log_that_is_behind() {
    let source = load_fixture("4.3.0/controller-1");
    let leader = open(&source, 1).unwrap();
    let id = leader.newest_snapshot.unwrap();
    assert!(matches!(
        leader.snapshots.read_slice(BOOTSTRAP_SNAPSHOT_ID, 0, 100).unwrap_err(),
        StorageError::SnapshotNotFound(_)
    ));
    let size = leader.snapshots.size_bytes(id).unwrap();
    for position in [-1, size as i64] {
        let error = leader.snapshots.read_slice(id, position, 10).unwrap_err();
        assert!(matches!(error, StorageError::PositionOutOfRange { .. }), "{error}");
    }
    // Crash after each step of the installation, and then start again.
    for crash_after in 0..4 {
        for seed in 0..20 {
            let disk = load_fixture("4.3.0-3voters/c1");
            let mut prng = Prng::new(seed);
            let mut dir = open(&disk, 1).unwrap();
            let before = dir.log_end;
            let mut receiver = dir.snapshots.receive(id, &mut prng).unwrap();
            while receiver.position() < size {
                let position = receiver.position() as i64;
                let (chunk, total) = leader.snapshots.read_slice(id, position, 1000).unwrap();
                assert_eq!(total, size);
                receiver.append(&chunk).unwrap();
                if crash_after == 0 {
                    break;
                }
            }
            if crash_after >= 2 {
                receiver.finish().unwrap();
            }
            if crash_after == 3 {
                dir.log.reset_to_snapshot(id).unwrap();
                assert_eq!((dir.reader.log_start(), dir.reader.log_end()), (id.offset, id.offset));
            }
            drop((dir.lock, dir.log, dir.snapshots));
            disk.crash(&mut prng);
            let dir = open(&disk, 1).unwrap();
            if crash_after >= 2 {
                assert_eq!(dir.log_end, id, "crash after {crash_after}, seed {seed}");
                assert_eq!(dir.newest_snapshot, Some(id));
                assert_eq!(dir.snapshots.list().unwrap(), [id]);
                let installed = dir.snapshots.read_slice(id, 0, usize::MAX).unwrap();
                assert_eq!(installed, leader.snapshots.read_slice(id, 0, usize::MAX).unwrap());
            } else {
                assert_eq!((dir.log_end, dir.newest_snapshot.unwrap().offset), (before, 0));
            }
            let names = disk.list(Path::new("/__cluster_metadata-0")).unwrap();
            assert!(!names.iter().any(|name| name.ends_with(".part")), "{names:?}");
        }
    }
}

#[test]
fn a_damaged_or_cut_snapshot_is_never_installed() {
    let source = load_fixture("4.3.0/controller-1");
    let leader = open(&source, 1).unwrap();
    let id = leader.newest_snapshot.unwrap();
    let (whole, size) = leader.snapshots.read_slice(id, 0, usize::MAX).unwrap();
    let target = load_fixture("4.3.0-3voters/c1");
    let dir = open(&target, 1).unwrap();
    let try_install = |bytes: &[u8]| {
        let mut receiver = dir.snapshots.receive(id, &mut Prng::new(1)).unwrap();
        receiver.append(bytes).unwrap();
        receiver.finish()
    };
    for len in (0..size as usize).step_by(37) {
        let error = try_install(&whole[..len]).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    }
    for byte in (21..size as usize).step_by(113) {
        let mut damaged = whole.to_vec();
        damaged[byte] ^= 4;
        // Base offset and epoch of a batch are outside of its sum.
        if let Err(error) = try_install(&damaged) {
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
    }
    let mut twice = whole.to_vec();
    twice.extend_from_slice(&whole);
    assert!(try_install(&twice).is_err());
}

#[test]
fn an_unfinished_snapshot_leaves_nothing() {
    let disk = load_fixture("4.3.0/controller-2");
    let dir = open(&disk, 2).unwrap();
    let before = disk.list(Path::new("/__cluster_metadata-0")).unwrap();
    let id = OffsetAndEpoch { offset: 380, epoch: 1 };
    let voters = SnapshotVoters::Static;
    let mut writer = dir.snapshots.create(id, 1, 2, &voters, &mut Prng::new(1)).unwrap();
    writer.append(Bytes::from_static(b"x")).unwrap();
    drop(writer);
    assert_eq!(disk.list(Path::new("/__cluster_metadata-0")).unwrap(), before);
}

#[test]
fn the_file_names_of_snapshots_are_read_and_no_others() {
    let id = OffsetAndEpoch { offset: 100, epoch: 17 };
    let name = snapshot_file_name(id);
    assert_eq!(name, "00000000000000000100-0000000017.checkpoint");
    assert_eq!(parse_snapshot_file_name(&name), Some(id));
    for suffix in [".part", ".deleted", "12345.part"] {
        assert_eq!(parse_snapshot_file_name(&format!("{name}{suffix}")), None, "{suffix}");
    }
    for other in [
        "00000000000000000000.log",
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
        "00000000000000000000.snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata",
        "bootstrap.checkpoint",
        "100-17.checkpoint",
        "0000000000000000010x-0000000017.checkpoint",
        "-0000000000000000100-0000000017.checkpoint",
    ] {
        assert_eq!(parse_snapshot_file_name(other), None, "{other}");
    }
}

/// KIP-630: a snapshot that a follower is fetching outlives its place in the retention for a minute.
#[test]
fn retention_waits_for_those_who_read() {
    let disk = load_fixture("4.3.0/controller-1");
    let mut dir = open(&disk, 1).unwrap();
    let ids = dir.snapshots.list().unwrap();
    assert!(ids.len() >= 3);
    let end = dir.log_end.offset;
    let by_size = Retention { max_bytes: Some(1), max_ms: None };
    let mut reads = SnapshotReads::default();
    reads.note(ids[1], 5_000);
    let mut clean_at = |now_ms: i64| {
        let in_use = reads.in_use(now_ms);
        let cleaned =
            clean_unless_read(&mut dir.log, &dir.snapshots, by_size, end, now_ms, &in_use);
        (cleaned.unwrap().snapshots, dir.reader.log_start())
    };
    assert_eq!(clean_at(6_000), (ids[..1].to_vec(), ids[1].offset));
    assert_eq!(clean_at(5_000 + READ_GRACE_MS - 1), (vec![], ids[1].offset));
    let rest = ids[1..ids.len() - 1].to_vec();
    assert_eq!(clean_at(5_000 + READ_GRACE_MS), (rest, ids[ids.len() - 1].offset));
}

/// Even one without records: what it is of comes first, that it is whole last.
#[test]
fn an_empty_snapshot_has_a_header_and_a_footer() {
    let disk = load_fixture("4.3.0/controller-2");
    let dir = open(&disk, 2).unwrap();
    let header = ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms: 0xdead_beef };
    let set = vec![voter(1, 901), voter(2, 902), voter(3, 903)];
    let cases = [
        (SnapshotVoters::Static, vec![header.clone()]),
        (
            SnapshotVoters::Dynamic { kraft_version: 1, voters: set.clone() },
            vec![header, ControlRecord::KRaftVersion(1), ControlRecord::Voters(set)],
        ),
    ];
    for (offset, (voters, first)) in (380..).zip(cases) {
        let id = OffsetAndEpoch { offset, epoch: 1 };
        let writer = dir.snapshots.create(id, 0xdead_beef, 2, &voters, &mut Prng::new(1)).unwrap();
        let size = writer.finish().unwrap();
        let (bytes, total) = dir.snapshots.read_slice(id, 0, usize::MAX).unwrap();
        assert_eq!((size, total), (bytes.len() as u64, bytes.len() as u64));
        let read: Vec<Vec<_>> = batches(bytes)
            .map(|batch| {
                let batch = batch.unwrap();
                assert!(batch.is_control() && batch.is_valid_crc());
                control_records(&batch).unwrap().into_iter().map(|(_, record)| record).collect()
            })
            .collect();
        assert_eq!(read, [first, vec![ControlRecord::SnapshotFooter]]);
        let mut reader = dir.snapshots.open(id).unwrap();
        assert_eq!(reader.last_contained_log_timestamp_ms(), 0xdead_beef);
        assert_eq!(reader.next_values().unwrap(), None);
    }
}

#[test]
fn a_log_that_has_what_the_newest_snapshot_holds_is_kept() {
    let disk = load_fixture("4.3.0/controller-1");
    let dir = open(&disk, 1).unwrap();
    let (start, end) = (dir.reader.log_start(), dir.log_end);
    assert!(dir.newest_snapshot.unwrap().offset < end.offset, "the newest is inside of the log");
    // One at the log's very end, of an earlier epoch and of the same.
    for epoch in [end.epoch - 1, end.epoch] {
        let id = OffsetAndEpoch { offset: end.offset, epoch };
        let voters = SnapshotVoters::Static;
        let writer = dir.snapshots.create(id, 1, 2, &voters, &mut Prng::new(1)).unwrap();
        writer.finish().unwrap();
    }
    drop((dir.lock, dir.log, dir.snapshots));
    let again = open(&disk, 1).unwrap();
    assert_eq!(again.recovery, Default::default());
    assert_eq!((again.reader.log_start(), again.log_end), (start, end));
    assert_eq!(again.newest_snapshot, Some(end));
}

#[test]
fn large_snapshots_are_cut_into_batches_that_kafka_takes() {
    let disk = load_fixture("4.3.0/controller-2");
    let dir = open(&disk, 2).unwrap();
    let id = OffsetAndEpoch { offset: 380, epoch: 1 };
    let voters = SnapshotVoters::Static;
    let mut writer = dir.snapshots.create(id, 1, 2, &voters, &mut Prng::new(1)).unwrap();
    let values: Vec<_> = (0..25_000u32)
        .map(|i| Bytes::from(vec![i as u8; if i < 12_000 { 10 } else { 2000 }]))
        .collect();
    values.iter().for_each(|value| writer.append(value.clone()).unwrap());
    writer.finish().unwrap();
    let (bytes, _) = dir.snapshots.read_slice(id, 0, usize::MAX).unwrap();
    let (mut next, mut largest) = (0, 0);
    for batch in batches(bytes) {
        let batch = batch.unwrap();
        assert_eq!(batch.base_offset(), next);
        next = batch.header.end_offset();
        assert!(batch.header.record_count <= 10_000);
        largest = largest.max(batch.header.size());
    }
    assert!(largest <= 8 * 1024 * 1024 && largest > 8 * 1000 * 1000, "{largest}");
    let mut reader = dir.snapshots.open(id).unwrap();
    let mut read = Vec::new();
    while let Some(batch) = reader.next_values().unwrap() {
        read.extend(batch);
    }
    assert_eq!(read, values);
}

#[test]
fn retention_removes_old_snapshots_and_only_the_segments_below() {
    let disk = load_fixture("4.3.0/controller-1");
    let mut dir = open(&disk, 1).unwrap();
    let ids = dir.snapshots.list().unwrap();
    let newest = *ids.last().unwrap();
    let end = dir.log_end.offset;
    let all = Retention { max_bytes: None, max_ms: None };
    let now = i64::MAX;
    let cleaned = clean(&mut dir.log, &dir.snapshots, all, end, now).unwrap();
    assert_eq!(cleaned, Default::default());
    let by_size = Retention { max_bytes: Some(1), max_ms: None };
    let low = clean(&mut dir.log, &dir.snapshots, by_size, ids[2].offset, now).unwrap();
    assert_eq!(low.snapshots, ids[..2], "nothing above the high watermark is needed less");
    assert_eq!(dir.reader.log_start(), ids[2].offset);
    let by_age = Retention { max_bytes: None, max_ms: Some(1) };
    clean(&mut dir.log, &dir.snapshots, by_age, end, now).unwrap();
    assert_eq!(dir.snapshots.list().unwrap(), [newest]);
    assert_eq!((dir.reader.log_start(), dir.reader.log_end()), (newest.offset, end));
    drop((dir.lock, dir.log));
    assert_eq!(open(&disk, 1).unwrap().log_end.offset, end);
}

fn spec(roots: &[&Path], initial_voters: InitialVoters) -> FormatSpec {
    let golden = load_fixture("4.3.0/controller-1");
    let bootstrap = load_bootstrap(&golden, Path::new("/"), Path::new("/__cluster_metadata-0"));
    FormatSpec {
        cluster_id: CLUSTER.to_owned(),
        node_id: 1,
        directories: roots.iter().map(|root| root.to_path_buf()).collect(),
        metadata_directory: roots[0].to_path_buf(),
        initial_voters,
        bootstrap_records: bootstrap.unwrap().unwrap().values,
        ignore_formatted: false,
    }
}

#[test]
fn format_writes_the_files_of_java() {
    let java = load_fixture("4.3.0/controller-1");
    let disk = MemDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let endpoints =
        vec![VoterEndpoint { name: "CONTROLLER".into(), host: "127.0.0.1".into(), port: 29291 }];
    let roots = [Path::new("/a"), Path::new("/b")];
    let spec = spec(&roots, InitialVoters::Standalone { endpoints });
    let done = format(&shared, &spec, 1_795_356_982_302, &mut Prng::new(5)).unwrap();
    assert_eq!([done[0].role, done[1].role], [DirRole::DynamicVoter, DirRole::Data]);
    assert_eq!(done[0].role.to_string(), "dynamic metadata voter directory");
    assert_ne!(done[0].meta.directory_id, done[1].meta.directory_id);
    disk.crash(&mut Prng::new(1));

    let properties = text(&disk, "/a/meta.properties");
    let directory = done[0].meta.directory_id.unwrap().to_string();
    assert_eq!(
        properties.replace(&directory, "aTrJUT2_SuGriZXZAQB5rw"),
        text(&java, "/meta.properties")
    );
    assert_eq!(
        shape(&content(&disk, "/a/bootstrap.checkpoint")),
        shape(&content(&java, "/bootstrap.checkpoint"))
    );
    let name = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    let (ours, theirs) =
        (content(&disk, &format!("/a/{name}")), content(&java, &format!("/{name}")));
    assert_eq!(ours.len(), theirs.len());
    let records = |file: Bytes| {
        let first = batches(file).next().unwrap().unwrap();
        control_records(&first).unwrap()
    };
    let (ours, theirs) = (records(ours), records(theirs));
    assert_eq!(ours[1], theirs[1]);
    let text = |record| format!("{record:?}").replace(&directory, "aTrJUT2_SuGriZXZAQB5rw");
    assert_eq!(text(&ours[2]), text(&theirs[2]));

    let others: Vec<_> = ["/b", "/b/__cluster_metadata-0"].map(Path::new).into();
    assert_eq!(disk.list(others[0]).unwrap(), ["bootstrap.checkpoint", "meta.properties"]);
    assert!(disk.list(others[1]).is_err());
    let config = config(Path::new("/a"), 1);
    let dir = open_node_dir(shared, &config, &mut Prng::new(1), 0).unwrap();
    assert_eq!(Some(dir.directory_id), done[0].meta.directory_id);
    assert_eq!(dir.newest_snapshot, Some(BOOTSTRAP_SNAPSHOT_ID));
    assert_eq!((dir.log_end, dir.election), Default::default());
}

#[test]
fn format_refuses_formatted_directories_and_gives_voters_their_directory_id() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let voters = vec![voter(1, 901), voter(2, 902)];
    let mut spec = spec(&[Path::new("/a")], InitialVoters::Explicit(voters.clone()));
    let done = format(&disk, &spec, 0, &mut Prng::new(5)).unwrap();
    assert_eq!(done[0].meta.directory_id, Some(Uuid::from_u128(901)));
    let metadata_dir = Path::new("/a/__cluster_metadata-0");
    let snapshots = quorate_storage::Snapshots::new(disk.clone(), metadata_dir);
    assert_eq!(snapshots.open(BOOTSTRAP_SNAPSHOT_ID).unwrap().voters(), Some(&voters[..]));

    let error = format(&disk, &spec, 0, &mut Prng::new(6)).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.to_string(),
        "Log directory /a is already formatted. Use --ignore-formatted to ignore this directory \
         and format the others."
    );
    spec.ignore_formatted = true;
    spec.directories.push("/b".into());
    let done = format(&disk, &spec, 0, &mut Prng::new(7)).unwrap();
    assert_eq!(done.iter().map(|dir| dir.formatted_now).collect::<Vec<_>>(), [false, true]);
    spec.cluster_id = "other".to_owned();
    assert!(matches!(
        format(&disk, &spec, 0, &mut Prng::new(8)).unwrap_err(),
        StorageError::WrongCluster { .. }
    ));
}

#[test]
fn bootstrap_records_in_the_first_checkpoint_are_found_as_kafka_4_4_writes_them() {
    let disk = load_fixture("4.3.0/controller-1");
    let dir = open(&disk, 1).unwrap();
    let values = dir.bootstrap.unwrap().values;
    let voters = SnapshotVoters::Dynamic { kraft_version: 1, voters: vec![voter(1, 901)] };
    let mut writer =
        dir.snapshots.create(BOOTSTRAP_SNAPSHOT_ID, 0, 0, &voters, &mut Prng::new(1)).unwrap();
    values[1..].iter().for_each(|value| writer.append(value.clone()).unwrap());
    writer.finish().unwrap();
    let found = load_bootstrap(&disk, Path::new("/"), Path::new("/__cluster_metadata-0")).unwrap();
    let found = found.unwrap();
    assert_eq!(found.values, values[1..]);
    assert_eq!(found.source, "00000000000000000000-0000000000.checkpoint");
}

#[test]
fn a_directory_of_others_is_refused_with_the_right_exit_code() {
    let disk = load_fixture("4.3.0/controller-1");
    let refused = |disk: &MemDisk, change: &dyn Fn(&mut NodeDirConfig)| {
        let mut config = config(Path::new("/"), 1);
        change(&mut config);
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let error = open_node_dir(disk, &config, &mut Prng::new(1), 0).unwrap_err();
        (error.exit_code(), error.to_string())
    };
    let (code, message) = refused(&disk, &|config| config.node_id = 7);
    assert_eq!(code, 2);
    assert!(message.contains("belongs to node 1, but node.id is 7"), "{message}");
    let (code, message) = refused(&disk, &|config| config.cluster_id = Some("other".into()));
    assert_eq!(code, 2);
    assert!(message.contains(&format!("belongs to cluster {CLUSTER}, not to other")), "{message}");
    let (code, message) = refused(&disk, &|config| config.root = "/nothing".into());
    assert_eq!(code, 2);
    assert!(message.contains("not formatted"), "{message}");
    let (code, message) = refused(&disk, &|config| config.other_roots = vec!["/nothing".into()]);
    assert_eq!(code, 2);
    assert!(message.contains("/nothing"), "{message}");

    let _open = open(&disk, 1).unwrap();
    let (code, message) = refused(&disk, &|_| {});
    assert_eq!(code, 3);
    assert!(message.contains("is locked by"), "{message}");
    let foreign = load_fixture("4.3.0/controller-1");
    write(&foreign, "/__cluster_metadata-0/partition.metadata", "version: 0\ntopic_id: xyz");
    let (code, message) = refused(&foreign, &|_| {});
    assert_eq!(code, 3);
    assert!(message.contains("topic id xyz"), "{message}");
}

#[test]
fn a_missing_directory_id_is_drawn_once() {
    let disk = load_fixture("4.3.0/controller-1");
    let old = text(&disk, "/meta.properties");
    let without: Vec<_> = old.lines().filter(|line| !line.starts_with("directory.id")).collect();
    write(&disk, "/meta.properties", &without.join("\n"));
    let drawn = open(&disk, 1).unwrap().directory_id;
    disk.crash(&mut Prng::new(1));
    let loaded = MetaProperties::load(&disk, Path::new("/")).unwrap().unwrap();
    assert_eq!(loaded.directory_id, Some(drawn));
    let config = config(Path::new("/"), 1);
    let again = open_node_dir(Arc::new(disk), &config, &mut Prng::new(99), 0).unwrap();
    assert_eq!(again.directory_id, drawn);
}

#[test]
fn real_files_behave_as_the_disk_in_memory() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("data");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    let endpoints = Vec::new();
    let spec = spec(&[&root], InitialVoters::Standalone { endpoints });
    format(&disk, &spec, 0, &mut Prng::new(1)).unwrap();
    for round in 0..3i64 {
        let mut dir = open_node_dir(disk.clone(), &config(&root, 1), &mut Prng::new(1), 0).unwrap();
        assert_eq!(dir.log_end.offset, round * 10);
        for i in 0..10 {
            let batch = quorate_protocol::batch::encode_data_batch(
                round * 10 + i,
                1 + round as i32,
                5,
                &[Bytes::from_static(b"value")],
            );
            dir.log.append(&batch, 5).unwrap();
        }
        assert_eq!(dir.log.sync().unwrap(), round * 10 + 10);
        let id = OffsetAndEpoch { offset: round * 10 + 10, epoch: 1 + round as i32 };
        let voters = SnapshotVoters::Static;
        let writer = dir.snapshots.create(id, 5, 6, &voters, &mut Prng::new(1)).unwrap();
        writer.finish().unwrap();
        let path = dir.snapshots.path(id);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o400);
        let state = ElectionState { epoch: 1 + round as i32, ..dir.election.clone() };
        dir.votes.save(&state, QuorumStateVersion::V1).unwrap();
        dir.log.close().unwrap();
    }
    let names = FileDisk.list(&root.join("__cluster_metadata-0")).unwrap();
    assert!(names.contains(&"leader-epoch-checkpoint".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".tmp") || name.ends_with(".part")));
}
