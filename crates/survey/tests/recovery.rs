//! `recover` on directories that real Kafka left behind: what is chosen, what is written, what is
//! refused. That nodes start on the result is shown in `interop/tests/recover.rs`.

mod golden;

use golden::Golden;
use quorate_base::{OffsetAndEpoch, Uuid};
use quorate_metadata::Image;
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::encode_data_batch;
use quorate_protocol::records::{BeginTransactionRecord, TopicRecord};
use quorate_storage::{Disk, FileDisk};
use quorate_survey::recover::{
    EPOCH_MARGIN, EndpointChange, ExecuteError, LEADER_EPOCH_MARGIN, NewVoters, PRODUCER_ID_MARGIN,
    Plan, PlanError, Refusal, Request, execute, plan,
};
use quorate_survey::{Survey, SurveyOptions, survey, voter_ids};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const KILLED: [&str; 3] = [
    "4.3.0-3controllers-killed9/c1",
    "4.3.0-3controllers-killed9/c2",
    "4.3.0-3controllers-killed9/c3",
];
const LOG: &str = "00000000000000000000.log";

fn request(directories: &[&Golden]) -> Request {
    let directories = directories.iter().map(|it| it.root.clone()).collect();
    Request { directories, ..Request::default() }
}

fn look(golden: &Golden) -> Survey {
    survey(&SurveyOptions::of(&golden.root))
}

fn run(plan: &Plan) -> Vec<PathBuf> {
    execute(plan, None, "T", 1000).expect("can be written").backups
}

/// How many records raise what brokers compare: each partition's, and one for producer ids.
fn raising(plan: &Plan) -> i64 {
    plan.raise().map_or(0, |it| it.partitions as i64 + 1)
}

/// Cuts the log behind so many batches.
fn shorten(golden: &Golden, batches: usize) {
    let path = golden.dir.join(LOG);
    let bytes = bytes::Bytes::from(fs::read(&path).expect("readable"));
    let kept = quorate_protocol::batch::batches(bytes.clone()).take(batches);
    let end: usize = kept.map(|batch| batch.expect("whole").header.size()).sum();
    fs::write(path, &bytes[..end]).expect("can be written");
}

#[test]
fn a_lone_survivor_becomes_the_only_voter_in_a_far_later_epoch() {
    let survivor = Golden::new(KILLED[1]);
    let before = look(&survivor);
    let found = plan(&request(&[&survivor])).expect("a plan");
    assert_eq!(found.end, OffsetAndEpoch { offset: 42, epoch: 1 });
    assert_eq!(found.epoch, 1 + EPOCH_MARGIN);
    assert_eq!(found.new_voters.ids(), [2]);
    assert_eq!(found.old_voters.len(), 3);
    assert_eq!(found.refusals, [Refusal::MayLose { here: 1, needed: 2 }]);
    assert_eq!(found.old_addresses.len(), 3);
    assert!(found.may_lose[0].contains("behind offset 41"), "{:?}", found.may_lose);

    let backups = run(&found);
    let after = look(&survivor);
    let codes: Vec<_> = after.findings.iter().map(|it| it.kind.text().code).collect();
    assert_eq!(codes, ["voters-replaced", "no-epoch-checkpoint"], "{}", after.to_text());
    let raise = found.raise().expect("something may be lost");
    let offset = 45 + raising(&found);
    assert_eq!(after.log_end(), OffsetAndEpoch { offset, epoch: found.epoch });
    let voters = after.log.voters.as_ref().expect("dynamic");
    assert_eq!(voter_ids(&voters.voters), [2]);
    let old = before.log.voters.expect("dynamic").voters;
    assert!(old.contains(&voters.voters[0]), "its key and address are those of before");
    let vote = after.vote.kafka.as_ref().map(|(state, _)| (state.epoch, state.voted));
    assert_eq!(vote, Some((found.epoch, None)));
    assert_eq!(after.vote.own.as_ref().map(|state| state.epoch), Some(found.epoch));
    let images = [before.log.image, after.log.image].map(|it| it.expect("replays").image);
    assert!(raise.partitions > 0 && raise.next_producer_id >= PRODUCER_ID_MARGIN);
    assert_raised(&images[0], &images[1]);
    assert_eq!(images[1].producer_ids.next_producer_id(), Some(raise.next_producer_id));

    // What was there is in the copy, file by file.
    let fresh = Golden::new(KILLED[1]);
    for name in ["quorum-state", LOG, "00000000000000000000-0000000000.checkpoint"] {
        let copied = backups[0].join("__cluster_metadata-0").join(name);
        assert_eq!(fs::read(copied).ok(), fs::read(fresh.dir.join(name)).ok(), "{name}");
    }
    let manifest = fs::read_to_string(backups[0].join("manifest.json")).expect("is there");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["newEpoch"], found.epoch);
    assert!(manifest["files"].as_array().is_some_and(|files| files.len() >= 6));

    // Once more: above what the first left.
    let again = plan(&request(&[&survivor])).expect("a plan");
    assert_eq!(again.epoch, found.epoch + EPOCH_MARGIN);
    assert_eq!(again.refusals.len(), 1, "{:?}", again.refusals);
}

/// Nothing but epochs of partitions and producer ids differs, and those by their margins.
fn assert_raised(before: &Image, after: &Image) {
    for topic in before.topics.iter_by_name() {
        for (index, old) in before.topics.partitions(topic.id) {
            let new = after.topics.partition(topic.id, index).expect("is kept");
            let mut expected = old.to_state();
            expected.leader_epoch += LEADER_EPOCH_MARGIN;
            expected.partition_epoch += LEADER_EPOCH_MARGIN;
            assert_eq!(new.to_state(), expected, "{}-{index}", topic.name);
        }
    }
    let records = |image: &Image| {
        let all = image.to_records().map(|(record, _)| record);
        let other = |it: &MetadataRecord| {
            !matches!(it, MetadataRecord::Partition(_) | MetadataRecord::ProducerIds(_))
        };
        all.filter(other).collect::<Vec<_>>()
    };
    assert!(records(before) == records(after));
}

#[test]
fn a_log_that_ends_within_a_transaction_gives_it_up_before_anything_is_raised() {
    let golden = Golden::new(KILLED[0]);
    let before = look(&golden);
    let end = before.log_end();
    let values: Vec<bytes::Bytes> = [
        MetadataRecord::from(BeginTransactionRecord::default()),
        TopicRecord { name: "never".into(), topic_id: Uuid::from_u128(7), ..Default::default() }
            .into(),
    ]
    .map(|record| record.encode_framed(0).expect("can be encoded"))
    .into();
    let batch = encode_data_batch(end.offset, end.epoch, 1, &values);
    let mut file = fs::File::options().append(true).open(golden.dir.join(LOG)).expect("is there");
    file.write_all(&batch).expect("can be written");
    run(&plan(&request(&[&golden])).expect("a plan"));
    let after = look(&golden);
    let codes: Vec<_> = after.findings.iter().map(|it| it.kind.text().code).collect();
    assert_eq!(codes, ["voters-replaced", "no-epoch-checkpoint"], "{}", after.to_text());
    let images = [before.log.image, after.log.image].map(|it| it.expect("replays").image);
    assert_raised(&images[0], &images[1]);
}

#[test]
fn the_best_log_wins_and_the_others_promise_not_to_vote() {
    let golden = KILLED.map(Golden::new);
    shorten(&golden[0], 20);
    let all: Vec<&Golden> = golden[..2].iter().collect();
    let mut wanted = request(&all);
    let found = plan(&wanted).expect("a plan");
    assert_eq!(found.target().key.id, 2);
    assert_eq!(found.refusals, [Refusal::MajorityIsHere { here: vec![1, 2], of: 3 }]);
    run(&found);
    let other = look(&golden[0]);
    assert_eq!(other.vote.epoch(), found.epoch);
    assert_eq!(other.log.end, plan(&request(&[&golden[0]])).expect("a plan").end);

    // The other way round: node 1 is to lead, with the log of node 2.
    let golden = KILLED.map(Golden::new);
    shorten(&golden[0], 20);
    let all: Vec<&Golden> = golden[..2].iter().collect();
    wanted.directories = request(&all).directories;
    wanted.target = Some(golden[0].root.clone());
    let found = plan(&wanted).expect("a plan");
    assert_eq!((found.target().key.id, found.source().key.id), (1, 2));
    run(&found);
    let after = look(&golden[0]);
    assert!(after.is_clean(), "{}", after.to_text());
    assert_eq!((after.log_end().offset, after.meta().expect("formatted").node_id), (45, 1));
}

#[test]
fn a_brokers_log_may_be_the_best() {
    let controller = Golden::new("4.3.0/controller-1");
    let broker = Golden::new("4.3.0/broker-11");
    shorten(&controller, 100);
    for entry in fs::read_dir(&controller.dir).expect("readable") {
        let path = entry.expect("readable").path();
        let newer = path
            .file_name()
            .and_then(|it| it.to_str())
            .is_some_and(|name| name.ends_with(".checkpoint") && name > "00000000000000000200");
        if newer {
            fs::remove_file(path).expect("can be removed");
        }
    }
    let whole = look(&broker);
    let found = plan(&request(&[&controller, &broker])).expect("a plan");
    assert_eq!((found.source().key.id, found.target().key.id), (11, 1));
    run(&found);
    let after = look(&controller);
    assert!(after.is_clean(), "{}", after.to_text());
    assert_eq!(after.log_end().offset, whole.log_end().offset + 3);
    assert_eq!(after.meta().expect("formatted").node_id, 1);
    let images = [whole, after].map(|it| it.log.image.expect("replays").image);
    assert!(images[0] == images[1]);
    // A broker votes for nobody.
    assert_eq!(
        look(&broker).vote,
        plan(&request(&[&broker, &controller]))
            .expect("a plan")
            .candidates
            .iter()
            .find(|it| it.key.id == 11)
            .expect("given")
            .survey
            .vote
    );
}

#[test]
fn damage_at_the_end_is_cut_and_told() {
    let golden = Golden::new(KILLED[0]);
    let path = golden.dir.join(LOG);
    let mut bytes = fs::read(&path).expect("readable");
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).expect("can be written");
    let found = plan(&request(&[&golden])).expect("a plan");
    assert_eq!(found.end.offset, 41);
    assert!(found.left_out[0].contains(LOG), "{:?}", found.left_out);
    run(&found);
    let after = look(&golden);
    assert!(after.is_clean(), "{}", after.to_text());
    assert_eq!(after.log_end().offset, 44 + raising(&found));
    // Damage further up: everything behind it is gone, and a snapshot may know more.
    let golden = Golden::new("4.3.0/controller-1");
    let path = golden.dir.join(LOG);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[20_000] ^= 1;
    fs::write(&path, &bytes).expect("can be written");
    let found = plan(&request(&[&golden])).expect("a plan");
    assert_eq!(found.end, OffsetAndEpoch { offset: 474, epoch: 2 });
    run(&found);
    let after = look(&golden);
    assert!(after.is_clean(), "{}", after.to_text());
    assert_eq!((after.log.start, after.log_end().offset), (474, 477 + raising(&found)));
}

#[test]
fn changed_addresses_keep_all_voters() {
    let golden = KILLED.map(Golden::new);
    let all: Vec<&Golden> = golden.iter().collect();
    let change =
        |id: i32| EndpointChange { id, name: None, host: format!("c{id}.new"), port: 9093 };
    let wanted = Request { endpoints: vec![change(1), change(3)], ..request(&all) };
    let found = plan(&wanted).expect("a plan");
    assert!(found.refusals.is_empty() && found.may_lose.is_empty(), "{:?}", found.refusals);
    let NewVoters::Dynamic { voters, .. } = &found.new_voters else { panic!("it is dynamic") };
    let hosts: Vec<_> = voters.iter().map(|it| it.endpoints[0].host.as_str()).collect();
    assert_eq!(
        hosts,
        ["c1.new", "localhost", "c3.new"].map(|it| if it == "localhost" {
            voters[1].endpoints[0].host.as_str()
        } else {
            it
        })
    );
    assert!(voters.iter().all(|it| it.endpoints[0].name == "CONTROLLER"));
    assert_eq!(run(&found).len(), 3);
    for it in &golden {
        assert_eq!(look(it).vote.epoch(), found.epoch);
    }
}

#[test]
fn a_static_quorum_gets_a_vote_and_what_is_raised() {
    let golden = Golden::new(KILLED[0]);
    // As if kraft.version were 0: a log without its control records for voters.
    let path = golden.dir.join(LOG);
    let bytes = bytes::Bytes::from(fs::read(&path).expect("readable"));
    let mut all: Vec<_> =
        quorate_protocol::batch::batches(bytes).map(|batch| batch.expect("whole")).collect();
    let leader = quorate_protocol::control::ControlRecord::LeaderChange {
        leader_id: 1,
        voters: vec![1, 2, 3],
        granting_voters: vec![1, 2],
    };
    let count = usize::try_from(all[0].header.record_count).expect("small");
    let filler =
        quorate_protocol::control::ControlRecord::Unknown { kind: 42, value: bytes::Bytes::new() };
    let mut records = vec![leader];
    records.resize(count, filler);
    let first = quorate_protocol::batch::encode_control_batch(0, 1, 1, &records);
    all[0] = quorate_protocol::batch::Batch::parse(&first, 0).expect("whole");
    let log: Vec<u8> = all.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
    fs::write(&path, &log).expect("can be written");
    fs::remove_file(golden.dir.join("00000000000000000000-0000000000.checkpoint")).expect("there");
    let found = plan(&request(&[&golden])).expect("a plan");
    assert_eq!(found.new_voters, NewVoters::Static(vec![1]));
    assert!(found.old_addresses.is_empty());
    run(&found);
    assert_eq!(fs::read(&path).expect("readable"), log);
    let after = look(&golden);
    assert!(after.log.voters.is_none(), "static voters stand in no record");
    let (old, new) = (found.source().survey.log.image.as_ref(), after.log.image.as_ref());
    assert_raised(&old.expect("replays").image, &new.expect("replays").image);
    let state = fs::read_to_string(golden.dir.join("quorum-state")).expect("readable");
    assert!(state.contains("\"currentVoters\":[{\"voterId\":1}]"), "{state}");
    assert_eq!(look(&golden).vote.epoch(), found.epoch);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let golden = KILLED.map(Golden::new);
    let wrong = |request: &Request| match plan(request) {
        Err(PlanError::Wrong(why)) => why,
        other => panic!("{other:?}"),
    };
    let one = request(&[&golden[0]]);
    assert!(wrong(&Request { voters: Some(vec![2]), ..one.clone() }).contains("the target"));
    assert!(wrong(&Request { voters: Some(vec![1, 9]), ..one.clone() }).contains("no voter"));
    let stray = EndpointChange { id: 9, name: None, host: "h".into(), port: 1 };
    let stray = Request { endpoints: vec![stray], ..one.clone() };
    assert!(wrong(&stray).contains("node 9"));
    let broker = Golden::new("4.3.0/broker-11");
    assert!(wrong(&request(&[&broker])).contains("--target"));
    let empty = Golden::new(KILLED[0]);
    fs::remove_dir_all(&empty.dir).expect("can be removed");
    assert!(matches!(plan(&request(&[&empty])), Err(PlanError::NothingThere(_))));

    // Another cluster's directory.
    let meta = golden[1].root.join("meta.properties");
    let text = fs::read_to_string(&meta).expect("readable");
    fs::write(&meta, text.replace("cluster.id=AAAA", "cluster.id=BAAA")).expect("can be written");
    assert!(wrong(&request(&[&golden[0], &golden[1]])).contains("one cluster at a time"));
}

#[test]
fn a_directory_that_changes_meanwhile_is_left_alone() {
    let golden = Golden::new(KILLED[0]);
    let found = plan(&request(&[&golden])).expect("a plan");
    shorten(&golden, 10);
    let error = execute(&found, None, "T", 1).expect_err("has changed");
    assert!(matches!(error, ExecuteError::Changed { .. }), "{error}");
    assert!(!sibling(&golden.root, "T").exists());

    let golden = Golden::new(KILLED[0]);
    let found = plan(&request(&[&golden])).expect("a plan");
    let lock = FileDisk.lock(&golden.root.join(".lock")).expect("free");
    assert!(matches!(execute(&found, None, "T", 1), Err(ExecuteError::Storage(_))));
    drop(lock);
    // The copy of an earlier recovery is not written over.
    fs::create_dir(sibling(&golden.root, "T")).expect("can be made");
    let error = execute(&found, None, "T", 1).expect_err("there is one");
    assert!(matches!(error, ExecuteError::Io { doing: "create", .. }), "{error}");
    assert_eq!(look(&golden).vote.epoch(), 1);
}

fn sibling(root: &Path, stamp: &str) -> PathBuf {
    root.with_file_name(format!("node.before-recover-{stamp}"))
}
