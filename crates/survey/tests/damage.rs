//! Damaged copies of directories that real Kafka wrote: each kind of damage has its own message.

mod golden;

use bytes::Bytes;
use golden::Golden;
use quorate_base::{Epoch, Offset, ReplicaKey, Uuid};
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::{
    Batch, batches, encode_control_batch, encode_data_batch, with_position,
};
use quorate_protocol::control::{ControlRecord, Voter, VoterEndpoint};
use quorate_protocol::records::{RemoveTopicRecord, TopicRecord};
use quorate_storage::{ElectionState, QuorumStateVersion, VoteStore};
use quorate_survey::{Severity, SurveyOptions, survey};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

const LOG: &str = "00000000000000000000.log";
/// Snapshots of the directory at hand: the first, and the newest.
const FIRST: &str = "00000000000000000060-0000000001.checkpoint";
const NEWEST: &str = "00000000000000000474-0000000002.checkpoint";
const END: Offset = 534;
const EPOCH: Epoch = 2;

/// A copy to be damaged.
struct Case {
    golden: Golden,
}

impl Case {
    fn path(&self, name: &str) -> PathBuf {
        self.golden.dir.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("readable")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("can be written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("can be removed");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("can be renamed");
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        edit(&mut bytes);
        self.write(name, bytes);
    }

    fn batches(&self, name: &str) -> Vec<Batch> {
        let all = batches(Bytes::from(self.read(name)));
        all.map(|batch| batch.expect("was whole")).collect()
    }

    fn replace_batches(&self, name: &str, batches: &[Batch]) {
        let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
        self.write(name, bytes);
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        self.edit(name, |all| all.extend_from_slice(bytes));
    }

    fn append_records(&self, records: &[ControlRecord]) {
        self.append(LOG, &encode_control_batch(END, EPOCH, 1, records));
    }

    fn append_values(&self, values: &[Bytes]) {
        self.append(LOG, &encode_data_batch(END, EPOCH, 1, values));
    }

    /// Cuts the log into segments of so many batches; their names.
    fn split(&self, count: usize) -> Vec<String> {
        let all = self.batches(LOG);
        self.remove(LOG);
        self.remove("00000000000000000000.index");
        self.remove("00000000000000000000.timeindex");
        let mut names = Vec::new();
        for part in all.chunks(count) {
            let name = format!("{:020}.log", part[0].base_offset());
            self.replace_batches(&name, part);
            names.push(name);
        }
        assert!(names.len() >= 4, "{names:?}");
        names
    }

    /// Byte at which a batch starts.
    fn position(&self, name: &str, index: usize) -> usize {
        usize::try_from(self.batches(name)[index].position).expect("small")
    }

    fn text(&self, name: &str, text: &str) {
        self.write(name, text);
    }

    fn meta(&self, edit: impl FnOnce(String) -> String) {
        let path = self.golden.root.join("meta.properties");
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(&path, edit(text)).expect("can be written");
    }

    fn votes(&self, state: &ElectionState) {
        let disk = Arc::new(quorate_storage::FileDisk);
        VoteStore::new(disk, &self.golden.root, &self.golden.dir)
            .save(state, QuorumStateVersion::V1)
            .expect("can be saved");
    }

    fn own_vote(&self, state: &ElectionState) {
        let kafka = self.read("quorum-state");
        self.votes(state);
        self.write("quorum-state", kafka);
    }
}

fn voter(id: i32, directory: u128) -> Voter {
    Voter {
        key: ReplicaKey { id, directory_id: Some(Uuid::from_u128(directory)) },
        endpoints: vec![VoterEndpoint { name: "CONTROLLER".into(), host: "h".into(), port: 1 }],
        min_kraft_version: 0,
        max_kraft_version: 1,
    }
}

/// A byte in the middle of the bytes that the checksum of a batch covers.
fn flip(bytes: &mut [u8], batch_at: usize) {
    bytes[batch_at + 70] ^= 0x10;
}

type Damage = (&'static str, Severity, fn(&Case));

const PROBLEM: Severity = Severity::Problem;
const WARNING: Severity = Severity::Warning;
const NOTE: Severity = Severity::Note;

#[rustfmt::skip]
const LOG_DAMAGES: &[Damage] = &[
    ("bad-checksum", PROBLEM, |c| { let at = c.position(LOG, 20); c.edit(LOG, |b| flip(b, at)); }),
    ("unreachable", PROBLEM, |c| { let names = c.split(30); c.edit(&names[1], |b| flip(b, 0)); }),
    ("bad-batch-format", PROBLEM, |c| { let at = c.position(LOG, 20); c.edit(LOG, |b| b[at + 16] = 1); }),
    ("bad-batch-length", PROBLEM, |c| { let at = c.position(LOG, 20); c.edit(LOG, |b| b[at + 8] = 0x80); }),
    ("cut-batch", PROBLEM, |c| { let at = c.position(LOG, 20); c.edit(LOG, |b| b[at + 8] = 0x01); }),
    ("bad-batch-header", PROBLEM, |c| { let at = c.position(LOG, 20); c.edit(LOG, |b| b[at] = 0x80); }),
    ("bad-record-frame", PROBLEM, |c| {
        let mut value = encode_data_batch(END, EPOCH, 1, &[Bytes::from_static(b"abc")]).to_vec();
        // One more record than there is, under a right checksum.
        (value[26], value[60]) = (1, 2);
        let crc = crc32c::crc32c(&value[21..]).to_be_bytes();
        value[17..21].copy_from_slice(&crc);
        c.append(LOG, &value);
    }),
    ("compressed-batch", PROBLEM, |c| {
        let mut value = encode_data_batch(END, EPOCH, 1, &[Bytes::from_static(b"abc")]).to_vec();
        value[22] |= 4;
        let crc = crc32c::crc32c(&value[21..]).to_be_bytes();
        value[17..21].copy_from_slice(&crc);
        c.append(LOG, &value);
    }),
    ("torn-tail", WARNING, |c| c.edit(LOG, |b| b.truncate(b.len() - 7))),
    ("torn-tail", WARNING, |c| c.append(LOG, &[0; 500])),
    ("wrong-offset", PROBLEM, |c| {
        let mut all = c.batches(LOG);
        all.remove(30);
        c.replace_batches(LOG, &all);
    }),
    ("wrong-first-offset", PROBLEM, |c| {
        let names = c.split(30);
        let other = c.read(&names[1]);
        c.write(&names[2], other);
    }),
    ("epoch-goes-down", PROBLEM, |c| {
        let value = encode_data_batch(0, 0, 1, &[Bytes::from_static(b"x")]);
        c.append(LOG, &with_position(&value, END, 1));
    }),
    ("negative-epoch", PROBLEM, |c| { let at = c.position(LOG, 20); c.edit(LOG, |b| b[at + 12] = 0x80); }),
    ("segment-gap", PROBLEM, |c| { let names = c.split(30); c.remove(&names[1]); }),
    ("segment-overlap", PROBLEM, |c| {
        let names = c.split(30);
        let copy = c.read(&names[1]);
        let inside: Offset = c.batches(&names[1])[0].base_offset() + 1;
        c.write(&format!("{inside:020}.log"), copy);
    }),
    ("empty-segment", PROBLEM, |c| { let names = c.split(30); c.write(&names[1], ""); }),
    ("no-segments-behind-snapshot", WARNING, |c| c.remove(LOG)),
    ("start-above-snapshot", PROBLEM, |c| {
        let names = c.split(30);
        let last = names.last().expect("some").clone();
        names.iter().filter(|name| **name != last).for_each(|name| c.remove(name));
        c.remove(NEWEST);
    }),
    ("start-without-snapshot", PROBLEM, |c| {
        let names = c.split(30);
        c.remove(&names[0]);
        for entry in fs::read_dir(&c.golden.dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|it| it == "checkpoint") {
                fs::remove_file(path).expect("can be removed");
            }
        }
    }),
    ("epoch-without-leader", WARNING, |c| {
        let value = MetadataRecord::NoOp(Default::default()).encode_framed(0).expect("can be");
        c.append(LOG, &encode_data_batch(END, 3, 1, &[value]));
        c.edit("quorum-state", |text| *text = String::from_utf8_lossy(text).replace("Epoch\":2", "Epoch\":3").into_bytes());
    }),
    ("bad-control-record", PROBLEM, |c| {
        let mut batch = encode_control_batch(END, EPOCH, 1, &[ControlRecord::KRaftVersion(1)]).to_vec();
        // The message's own version: a later one, under a right checksum.
        let at = batch.len() - 6;
        batch[at] = 9;
        let crc = crc32c::crc32c(&batch[21..]).to_be_bytes();
        batch[17..21].copy_from_slice(&crc);
        c.append(LOG, &batch);
    }),
    ("unknown-control-record", WARNING, |c| c.append_records(&[ControlRecord::Unknown { kind: 42, value: Bytes::from_static(b"..") }])),
    ("misplaced-control-record", PROBLEM, |c| c.append_records(&[ControlRecord::SnapshotFooter])),
    ("no-voters", PROBLEM, |c| c.append_records(&[ControlRecord::Voters(Vec::new())])),
    ("duplicate-voter", PROBLEM, |c| c.append_records(&[ControlRecord::Voters(vec![voter(7, 700), voter(7, 701)])])),
    ("voter-without-endpoint", WARNING, |c| {
        c.append_records(&[ControlRecord::Voters(vec![Voter { endpoints: Vec::new(), ..voter(7, 700) }])]);
    }),
    ("voters-replaced", NOTE, |c| c.append_records(&[ControlRecord::Voters(vec![voter(7, 700), voter(8, 800)])])),
    ("unknown-kraft-version", PROBLEM, |c| c.append_records(&[ControlRecord::KRaftVersion(9)])),
    ("unknown-record", PROBLEM, |c| c.append_values(&[Bytes::from_static(&[1, 99, 0, 0])])),
    ("unreadable-record", PROBLEM, |c| c.append_values(&[Bytes::from_static(&[1, 2, 0])])),
    ("inapplicable-record", PROBLEM, |c| {
        let topic_id = Uuid::from_u128(0x1234_5678);
        let record = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id, ..Default::default() });
        c.append_values(&[record.encode_framed(0).expect("can be")]);
    }),
    ("open-transaction", NOTE, |c| {
        let begin = MetadataRecord::BeginTransaction(Default::default());
        c.append_values(&[begin.encode_framed(0).expect("can be")]);
    }),
];

#[rustfmt::skip]
const SNAPSHOT_DAMAGES: &[Damage] = &[
    ("empty-snapshot", PROBLEM, |c| c.write(NEWEST, "")),
    ("no-snapshot-footer", PROBLEM, |c| { let mut all = c.batches(NEWEST); all.pop(); c.replace_batches(NEWEST, &all); }),
    ("no-snapshot-header", PROBLEM, |c| { let mut all = c.batches(NEWEST); all.remove(0); c.replace_batches(NEWEST, &all); }),
    ("behind-footer", PROBLEM, |c| { let copy = c.read(NEWEST); c.append(NEWEST, &copy); }),
    ("bad-checksum", PROBLEM, |c| { let at = c.position(NEWEST, 1); c.edit(NEWEST, |b| flip(b, at)); }),
    ("wrong-offset", PROBLEM, |c| { let mut all = c.batches(NEWEST); all.remove(1); c.replace_batches(NEWEST, &all); }),
    ("cut-batch", PROBLEM, |c| c.edit(NEWEST, |b| b.truncate(b.len() / 2))),
    ("snapshot-batch-epoch", WARNING, |c| { let at = c.position(NEWEST, 1); c.edit(NEWEST, |b| b[at + 15] = 1); }),
    ("snapshot-of-another-history", PROBLEM, |c| c.rename(NEWEST, "00000000000000000474-0000000001.checkpoint")),
    ("snapshot-twice", PROBLEM, |c| { let copy = c.read(NEWEST); c.write("00000000000000000474-0000000001.checkpoint", copy); }),
    ("snapshot-ahead-of-log", WARNING, |c| {
        let mut all = c.batches(LOG);
        all.retain(|batch| batch.header.end_offset() <= 470);
        c.replace_batches(LOG, &all);
    }),
    ("snapshot-inside-batch", WARNING, |c| {
        let all = c.batches(LOG);
        let inside = all.iter().find(|it| it.header.record_count > 2 && it.header.partition_leader_epoch == 1 && it.base_offset() > 0);
        let offset = inside.expect("a batch of several").base_offset() + 1;
        c.rename(FIRST, &format!("{offset:020}-0000000001.checkpoint"));
    }),
    ("snapshot-disagrees", PROBLEM, |c| {
        let mut all = c.batches(NEWEST);
        let at = all.len() - 1;
        let footer = all[at].clone();
        let name = "planted".into();
        let topic = TopicRecord { name, topic_id: Uuid::from_u128(0x777_777), ..Default::default() };
        let value = MetadataRecord::Topic(topic).encode_framed(0).expect("can be");
        let planted = encode_data_batch(footer.base_offset(), footer.header.partition_leader_epoch, 1, &[value]);
        all[at] = Batch::parse(&planted, 0).expect("whole");
        let moved = with_position(&footer.bytes, footer.base_offset() + 1, footer.header.partition_leader_epoch);
        all.push(Batch::parse(&moved, 0).expect("whole"));
        c.replace_batches(NEWEST, &all);
    }),
    ("snapshot-of-other-voters", PROBLEM, |c| replace_head(c, vec![ControlRecord::KRaftVersion(1), ControlRecord::Voters(vec![voter(9, 900)])])),
    ("snapshot-without-voters", PROBLEM, |c| replace_head(c, vec![ControlRecord::KRaftVersion(1), ControlRecord::Unknown { kind: 42, value: Bytes::from_static(b"..") }])),
    ("misplaced-control-record", PROBLEM, |c| {
        let leader = ControlRecord::LeaderChange { leader_id: 1, voters: vec![1], granting_voters: vec![1] };
        replace_head(c, vec![ControlRecord::KRaftVersion(1), leader]);
    }),
    ("bad-snapshot-name", PROBLEM, |c| c.rename(NEWEST, "474-2.checkpoint")),
];

/// Puts these two records in the place of those behind the header of the newest snapshot.
fn replace_head(c: &Case, records: Vec<ControlRecord>) {
    let mut all = c.batches(NEWEST);
    let header = ControlRecord::SnapshotHeader { last_contained_log_timestamp_ms: 1 };
    let records: Vec<_> = std::iter::once(header).chain(records).collect();
    let head = encode_control_batch(0, EPOCH, 1, &records);
    assert_eq!(all[0].header.record_count, 3);
    all[0] = Batch::parse(&head, 0).expect("whole");
    c.replace_batches(NEWEST, &all);
}

#[rustfmt::skip]
const OTHER_DAMAGES: &[Damage] = &[
    ("not-formatted", PROBLEM, |c| fs::remove_file(c.golden.root.join("meta.properties")).expect("can be")),
    ("bad-meta-properties", PROBLEM, |c| c.meta(|text| text.replace("node.id", "node.ident"))),
    ("zookeeper-era", PROBLEM, |c| c.meta(|_| "version=0\nbroker.id=1\ncluster.id=x\n".to_owned())),
    ("reserved-directory-id", PROBLEM, |c| c.meta(|text| replace_line(&text, "directory.id", "AAAAAAAAAAAAAAAAAAAAAg"))),
    ("not-the-voters-directory", PROBLEM, |c| c.meta(|text| replace_line(&text, "directory.id", "wAAAAAAAQACAAAAAAAAAAg"))),
    ("foreign-cluster", PROBLEM, |c| c.meta(|text| replace_line(&text, "cluster.id", "AnotherClusterEntirely"))),
    ("foreign-node", PROBLEM, |c| c.meta(|text| replace_line(&text, "node.id", "77"))),
    ("unreadable", PROBLEM, |c| {
        let path = c.golden.root.join("meta.properties");
        fs::remove_file(&path).expect("can be");
        fs::create_dir(&path).expect("can be");
    }),
    ("no-metadata-log", WARNING, |c| fs::rename(&c.golden.dir, c.golden.root.join("elsewhere")).expect("can be")),
    ("clean-shutdown", NOTE, |c| fs::write(c.golden.root.join(".kafka_cleanshutdown"), "{}").expect("can be")),
    ("bad-segment-name", PROBLEM, |c| { let copy = c.read(LOG); c.write("0.log", copy); }),
    ("left-over", NOTE, |c| c.write("00000000000000000100-0000000001-123.checkpoint.part", "")),
    ("left-over", NOTE, |c| c.write("00000000000000000000.log.deleted", "")),
    ("strange-file", WARNING, |c| c.write("notes.txt", "")),
    ("strange-directory", WARNING, |c| fs::create_dir(c.path("lost+found")).expect("can be")),
    ("not-a-file", PROBLEM, |c| fs::create_dir(c.path("00000000000000000900.log")).expect("can be")),
    ("no-partition-metadata", NOTE, |c| c.remove("partition.metadata")),
    ("bad-partition-metadata", PROBLEM, |c| c.text("partition.metadata", "version: 7\n")),
    ("other-topic", PROBLEM, |c| c.text("partition.metadata", "version: 0\ntopic_id: wAAAAAAAQACAAAAAAAAAAg\n")),
    ("no-epoch-checkpoint", NOTE, |c| c.remove("leader-epoch-checkpoint")),
    ("bad-epoch-checkpoint", WARNING, |c| c.text("leader-epoch-checkpoint", "0\n5\n1 0\n")),
    ("epoch-checkpoint-disagrees", WARNING, |c| c.text("leader-epoch-checkpoint", "0\n1\n1 3\n")),
    ("epoch-checkpoint-beyond-log", WARNING, |c| c.text("leader-epoch-checkpoint", "0\n2\n1 0\n7 9000\n")),
    ("bad-index-size", WARNING, |c| c.append("00000000000000000000.index", &[0; 5])),
    ("bad-index-entry", WARNING, |c| c.append("00000000000000000000.index", &[0, 0, 0, 9, 0x7f, 0, 0, 0])),
    ("orphan-index", WARNING, |c| c.write("00000000000000000900.index", "")),
    ("no-quorum-state", WARNING, |c| c.remove("quorum-state")),
    ("empty-quorum-state", PROBLEM, |c| c.write("quorum-state", "")),
    ("bad-quorum-state", PROBLEM, |c| c.text("quorum-state", "{\"leaderId\":1,")),
    ("bad-quorum-state", PROBLEM, |c| c.text("quorum-state", "{\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":-1,\"data_version\":9}")),
    ("epoch-below-log", PROBLEM, |c| c.text("quorum-state", "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1,\"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}")),
    ("vote-for-a-stranger", WARNING, |c| c.text("quorum-state", "{\"leaderId\":-1,\"leaderEpoch\":3,\"votedId\":8,\"votedDirectoryId\":\"wAAAAAAAQACAAAAAAAAAAg\",\"data_version\":1}")),
    ("strange-leader", WARNING, |c| c.text("quorum-state", "{\"leaderId\":8,\"leaderEpoch\":3,\"votedId\":-1,\"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}")),
    ("quorum-state-layout", NOTE, |c| c.text("quorum-state", "{\"clusterId\":\"\",\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":-1,\"appliedOffset\":0,\"currentVoters\":[],\"data_version\":0}")),
    ("bad-vote", PROBLEM, |c| { c.own_vote(&ElectionState { epoch: 2, ..Default::default() });
        let path = c.golden.root.join("quorate.vote");
        let text = fs::read_to_string(&path).expect("readable").replace("\"leaderEpoch\":2", "\"leaderEpoch\":3");
        fs::write(path, text).expect("can be"); }),
    ("own-vote-is-later", WARNING, |c| c.own_vote(&ElectionState { epoch: 9, ..Default::default() })),
    ("own-vote-is-older", NOTE, |c| c.own_vote(&ElectionState { epoch: 1, ..Default::default() })),
    ("two-votes", PROBLEM, |c| {
        let vote = |id| ElectionState { epoch: 5, voted: Some(ReplicaKey { id, directory_id: None }), ..Default::default() };
        c.votes(&vote(1));
        c.own_vote(&vote(2));
    }),
    ("recovering", WARNING, |c| c.own_vote(&ElectionState { epoch: 2, recovering: true, ..Default::default() })),
];

fn replace_line(text: &str, key: &str, value: &str) -> String {
    let line = |line: &str| {
        if line.starts_with(key) { format!("{key}={value}\n") } else { format!("{line}\n") }
    };
    text.lines().map(line).collect()
}

fn run(damages: &[Damage]) -> BTreeSet<&'static str> {
    let mut texts = BTreeSet::new();
    for (number, (code, severity, damage)) in damages.iter().enumerate() {
        let case = Case { golden: Golden::new("4.3.0/controller-1") };
        let before = survey(&SurveyOptions::of(&case.golden.root));
        assert!(before.findings.is_empty(), "{}", before.to_text());
        damage(&case);
        let meta = before.meta().expect("formatted");
        let found = survey(&SurveyOptions {
            cluster_id: Some(meta.cluster_id.clone()),
            node_id: Some(meta.node_id),
            ..SurveyOptions::of(&case.golden.root)
        });
        let name = format!("{number}, {code}");
        let finding = found.findings.iter().find(|it| it.kind.text().code == *code);
        let finding =
            finding.unwrap_or_else(|| panic!("{name} is not found:\n{}", found.to_text()));
        assert_eq!(finding.severity(), *severity, "{name}");
        assert!(!finding.place.path.as_os_str().is_empty(), "{name} has no place");
        let text = finding.kind.text();
        assert!(text.what.len() > 8 && text.meaning.len() > 8 && text.advice.len() > 4, "{name}");
        if *severity == Severity::Problem {
            assert!(!found.is_clean(), "{name}");
        } else {
            assert!(found.is_clean(), "{name} is no problem:\n{}", found.to_text());
        }
        texts.insert(text.code);
    }
    texts
}

#[test]
fn each_damage_of_the_log_has_its_message() {
    assert!(run(LOG_DAMAGES).len() >= 32);
}

#[test]
fn each_damage_of_a_snapshot_has_its_message() {
    assert!(run(SNAPSHOT_DAMAGES).len() >= 17);
}

#[test]
fn each_damage_of_the_files_around_has_its_message() {
    assert!(run(OTHER_DAMAGES).len() >= 36);
}

/// A directory of a Kafka before 3.7 gets its id at the next start; a voter must not.
#[test]
fn a_missing_directory_id_matters_to_a_voter_only() {
    for (name, clean) in [("4.3.0/controller-1", false), ("4.3.0/broker-11", true)] {
        let case = Case { golden: Golden::new(name) };
        let is_id = |line: &&str| line.starts_with("directory.id");
        case.meta(|text| text.lines().filter(|l| !is_id(l)).map(|l| format!("{l}\n")).collect());
        let found = survey(&SurveyOptions::of(&case.golden.root));
        let codes: Vec<_> = found.findings.iter().map(|it| it.kind.text().code).collect();
        let expected = ["no-directory-id", "not-the-voters-directory"];
        assert_eq!(
            (codes.as_slice(), found.is_clean()),
            (&expected[..2 - usize::from(clean)], clean)
        );
    }
}

#[test]
fn what_is_no_directory_is_told() {
    let case = Case { golden: Golden::new("4.3.0/controller-1") };
    for (path, code) in [
        (case.golden.root.join("nowhere"), "no-such-directory"),
        (case.golden.root.join("meta.properties"), "not-a-directory"),
    ] {
        let found = survey(&SurveyOptions::of(path));
        let codes: Vec<_> = found.findings.iter().map(|it| it.kind.text().code).collect();
        assert_eq!(codes, [code]);
    }
}

#[test]
fn directories_that_do_not_belong_together_are_told() {
    let a = Golden::new("4.3.0/controller-1");
    let b = Golden::new("4.3.0/controller-1");
    let c = Golden::new("4.3.0-3controllers-killed9/c2");
    let codes = |directories: &[&Golden]| -> BTreeSet<&'static str> {
        let directories = directories.iter().map(|it| it.root.clone()).collect();
        let found = survey(&SurveyOptions { directories, ..SurveyOptions::default() });
        found.findings.iter().map(|it| it.kind.text().code).collect()
    };
    assert_eq!(codes(&[&a, &b]), ["second-metadata-log", "shared-directory-id"].into());
    assert!(codes(&[&a, &c]).contains("foreign-node"));
}

/// No byte of any file, changed to anything, makes it panic or read for ever.
#[test]
fn random_damage_is_survived() {
    let mut prng = quorate_base::Prng::new(7);
    let case = Case { golden: Golden::new("4.3.0-3controllers-killed9/c2") };
    let names: Vec<_> = fs::read_dir(&case.golden.dir)
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    for _ in 0..300 {
        let name = &names[prng.below(names.len() as u64) as usize];
        let before = case.read(name);
        if before.is_empty() {
            continue;
        }
        case.edit(name, |bytes| {
            for _ in 0..=prng.below(4) {
                let at = prng.below(bytes.len() as u64) as usize;
                bytes[at] = prng.next_u64() as u8;
            }
            if prng.below(4) == 0 {
                bytes.truncate(prng.below(bytes.len() as u64) as usize);
            }
        });
        let found = survey(&SurveyOptions::of(&case.golden.root));
        assert!(!found.to_text().is_empty() && found.to_json().is_object());
        case.write(name, before);
    }
}
