//! The partition change builder against Kafka's: each line of the fixture is a random partition and a
//! random wish, put to Kafka 4.4.0's (and 4.3.0's, which agrees) own class, and the record it built.
//! Directory ids are written by their low 64 bits; `-` is "not set", `.` an empty list.

use quorate_base::{NodeId, Uuid};
use quorate_controller::partition_change::{Election, PartitionChange, Surroundings};
use quorate_metadata::{Partition, PartitionState, RecoveryState};
use quorate_protocol::features::{MetadataVersion, record_version};
use quorate_protocol::records::PartitionChangeRecord;
use std::collections::BTreeMap;

struct Line<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Line<'a> {
        Line(text.split(' ').filter_map(|it| it.split_once('=')).collect())
    }

    fn number(&self, key: &str) -> i64 {
        self.0[key].parse().unwrap_or_else(|_| panic!("{key} is a number"))
    }

    fn ids(&self, key: &str) -> Option<Vec<NodeId>> {
        match self.0[key] {
            "-" => None,
            "." => Some(Vec::new()),
            list => Some(list.split(',').map(|it| it.parse().expect("an id")).collect()),
        }
    }

    fn directories(&self, key: &str) -> Option<Vec<Uuid>> {
        match self.0[key] {
            "-" => None,
            list => Some(list.split(',').map(directory).collect()),
        }
    }
}

fn directory(text: &str) -> Uuid {
    Uuid::from_u128(text.parse().expect("a directory id"))
}

fn partition(line: &Line<'_>) -> Partition {
    let list = |key| line.ids(key).expect("always given");
    Partition::new(PartitionState {
        replicas: list("replicas"),
        directories: line.directories("dirs").expect("always given"),
        isr: list("isr"),
        removing: list("removing"),
        adding: list("adding"),
        elr: list("elr"),
        last_known_elr: list("last"),
        leader: Some(line.number("leader") as NodeId).filter(|it| *it >= 0),
        recovery: RecoveryState::from_i8(line.number("recovery") as i8).expect("0 or 1"),
        leader_epoch: 3,
        partition_epoch: 5,
    })
    .expect("Kafka took it")
}

fn build(line: &Line<'_>) -> Option<PartitionChangeRecord> {
    let partition = partition(line);
    let live = line.ids("live").expect("always given");
    let around = Surroundings {
        metadata_version: version(line),
        elr_enabled: line.number("elrOn") == 1,
        min_isr: line.number("min") as usize,
        may_lead: &|broker| live.contains(&broker),
        default_directory: &|broker| Uuid::from_u128(300 + broker as u128),
    };
    let mut change = PartitionChange::new(&partition, Uuid::from_u128(1000), 0, &around).election(
        match line.0["election"] {
            "P" => Election::Preferred,
            "O" => Election::Online,
            "U" => Election::Unclean,
            other => panic!("election {other}"),
        },
    );
    if let Some(isr) = line.ids("toIsr") {
        change = change.isr(isr);
    }
    if let Some(replicas) = line.ids("toReplicas") {
        change = change.replicas(replicas);
    }
    if let Some(removing) = line.ids("toRemoving") {
        change = change.removing(removing);
    }
    if let Some(adding) = line.ids("toAdding") {
        change = change.adding(adding);
    }
    if line.number("unclean") >= 0 {
        change = change.unclean_shutdown(line.number("unclean") as NodeId);
    }
    if let Some(recovery) = RecoveryState::from_i8(line.number("toRecovery") as i8) {
        change = change.recovery(recovery);
    }
    if let Some((broker, to)) = line.0["dir"].split_once('=') {
        change = change.directory(broker.parse().expect("a broker"), directory(to));
    }
    change.build()
}

fn version(line: &Line<'_>) -> MetadataVersion {
    MetadataVersion::from_level(line.number("mv") as i16).expect("a known level")
}

fn show(record: Option<PartitionChangeRecord>, version: MetadataVersion) -> String {
    fn list<T: ToString>(list: &Option<Vec<T>>) -> String {
        match list {
            None => "-".to_owned(),
            Some(list) if list.is_empty() => ".".to_owned(),
            Some(list) => list.iter().map(T::to_string).collect::<Vec<_>>().join(","),
        }
    }
    let Some(record) = record else { return "none".to_owned() };
    let directories = record.directories.as_ref();
    let directories = directories.map(|it| it.iter().map(|id| id.as_u128()).collect());
    format!(
        "v{} isr={} leader={} replicas={} removing={} adding={} recovery={} elr={} last={} dirs={}",
        record_version(&record.clone().into(), version),
        list(&record.isr),
        record.leader,
        list(&record.replicas),
        list(&record.removing_replicas),
        list(&record.adding_replicas),
        record.leader_recovery_state,
        list(&record.eligible_leader_replicas),
        list(&record.last_known_elr),
        list(&directories),
    )
}

#[test]
fn every_change_is_the_one_kafka_builds() {
    let path = std::env::var("PARTITION_CHANGES");
    let given = path.map(|it| std::fs::read_to_string(it).expect("the file named"));
    let lines = given.unwrap_or_else(|_| include_str!("fixtures/partition_changes.txt").to_owned());
    let mut wrong = Vec::new();
    let mut count = 0;
    for text in lines.lines() {
        let (question, expected) = text.split_once(" => ").expect("a question and an answer");
        let line = Line::parse(question);
        let got = show(build(&line), version(&line));
        count += 1;
        if got != expected {
            wrong.push(format!("{question}\n  kafka: {expected}\n  here:  {got}"));
        }
    }
    assert!(count >= 1000, "only {count} lines");
    let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{shown}", wrong.len());
}
