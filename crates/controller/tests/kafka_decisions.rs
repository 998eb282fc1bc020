//! Our decisions against Kafka's: random stories that Kafka 4.3.0's replication control manager went
//! through, step by step, at several levels of metadata.version, with ELR and without.
//!
//! `I` and then `R hex`: a record that something else wrote. `Q api version hex`: a request; `A hex`: Kafka's
//! answer; then `R hex` for each record it decided on. `F what`: an event inside the controller, and
//! its records. After each step Kafka's records are applied, so that a difference does not breed others.
//! Not compared: texts, topic ids, which brokers the placer picks, and the order of partitions that
//! one event changes.

use quorate_base::{Now, Prng, Uuid};
use quorate_controller::decide::{
    broker_changes, directories, elections, isr, partitions, reassign, topics,
};
use quorate_controller::{ControllerConfig, Draft, Env, Heartbeats, RaftView, RequestContext};
use quorate_metadata::Image;
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, MetadataRecord};
use std::collections::BTreeMap;

struct Story {
    image: Image,
    config: ControllerConfig,
    prng: Prng,
    heartbeats: Heartbeats,
    compared: BTreeMap<String, usize>,
}

fn bytes(hex: &str) -> bytes::Bytes {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digit).collect::<Vec<u8>>().into()
}

fn record(line: &str) -> MetadataRecord {
    let hex = line.strip_prefix("R ").expect("a record's line");
    MetadataRecord::decode_framed(bytes(hex)).expect("a record of Kafka's").0
}

impl Story {
    fn new() -> Story {
        let config = ControllerConfig {
            default_replication_factor: 2,
            num_partitions: 3,
            ..ControllerConfig::default()
        };
        Story {
            image: Image::empty(),
            heartbeats: Heartbeats::new(config.broker_session_timeout),
            config,
            prng: Prng::new(7),
            compared: BTreeMap::new(),
        }
    }

    fn decide<R>(
        &mut self,
        decide: impl FnOnce(&mut Env<'_>, &mut Draft) -> R,
    ) -> (R, Vec<MetadataRecord>) {
        let mut draft = Draft::new(self.image.clone(), 0);
        let mut env = Env {
            now: Now::default(),
            config: &self.config,
            prng: &mut self.prng,
            heartbeats: &mut self.heartbeats,
            raft: RaftView::default(),
        };
        let result = decide(&mut env, &mut draft);
        (result, draft.records().iter().map(|(record, _)| record.clone()).collect())
    }

    fn answer(&mut self, version: i16, request: &AnyRequest) -> (AnyResponse, Vec<MetadataRecord>) {
        let context = RequestContext::internal(version);
        self.decide(|env, draft| match request {
            AnyRequest::CreateTopics(it) => {
                AnyResponse::CreateTopics(topics::create_topics(env, draft, &context, it))
            }
            AnyRequest::DeleteTopics(it) => {
                AnyResponse::DeleteTopics(topics::delete_topics(env, draft, &context, it))
            }
            AnyRequest::CreatePartitions(it) => AnyResponse::CreatePartitions(
                partitions::create_partitions(env, draft, &context, it),
            ),
            AnyRequest::AlterPartition(it) => {
                AnyResponse::AlterPartition(isr::alter_partition(env, draft, &context, it))
            }
            AnyRequest::ElectLeaders(it) => {
                AnyResponse::ElectLeaders(elections::elect_leaders(env, draft, &context, it))
            }
            AnyRequest::AlterPartitionReassignments(it) => {
                AnyResponse::AlterPartitionReassignments(reassign::alter_partition_reassignments(
                    env, draft, &context, it,
                ))
            }
            AnyRequest::ListPartitionReassignments(it) => AnyResponse::ListPartitionReassignments(
                reassign::list_partition_reassignments(draft.image(), it),
            ),
            AnyRequest::AssignReplicasToDirs(it) => AnyResponse::AssignReplicasToDirs(
                directories::assign_replicas_to_dirs(env, draft, &context, it),
            ),
            other => panic!("no such request in these stories: {other:?}"),
        })
    }

    fn event(&mut self, what: &str) -> Vec<MetadataRecord> {
        let mut words = what.split(' ');
        let name = words.next().expect("an event has a name");
        let broker = words.next().map_or(-1, |it| it.parse().expect("a broker id"));
        let directory: Option<Uuid> = words.next().map(|it| it.parse().expect("a directory id"));
        self.decide(|env, draft| match name {
            "fenced" => broker_changes::on_broker_fenced(env, draft, broker),
            "unfenced" => broker_changes::on_broker_unfenced(env, draft, broker),
            "shutdown" => broker_changes::on_controlled_shutdown(env, draft, broker),
            "unregistered" => broker_changes::on_broker_unregistered(env, draft, broker),
            "clean" => broker_changes::on_clean_restart(env, draft, broker),
            "unclean" => broker_changes::on_unclean_shutdown(env, draft, broker),
            "offline" => {
                broker_changes::on_directories_offline(env, draft, broker, directory.as_slice())
            }
            "balance" => {
                assert!(!broker_changes::balance_preferred_leaders(env, draft, 100_000));
            }
            "uncleanElections" => assert!(!broker_changes::elect_unclean(env, draft, 100_000)),
            other => panic!("event {other}"),
        })
        .1
    }

    fn run(&mut self, text: &str) -> Vec<String> {
        let lines: Vec<&str> = text.lines().collect();
        let mut wrong = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let start = at;
            let line = lines[at];
            at += 1;
            let answer = lines.get(at).and_then(|it| it.strip_prefix("A ")).inspect(|_| at += 1);
            let records_end = lines[at..].iter().position(|it| !it.starts_with("R "));
            let end = records_end.map_or(lines.len(), |it| at + it);
            let kafka: Vec<MetadataRecord> = lines[at..end].iter().map(|it| record(it)).collect();
            at = end;
            if let Some(what) = line.strip_prefix("F ") {
                let mut ours = self.event(what);
                if what.starts_with("offline ") && !kafka.is_empty() {
                    // The registration's change is pushed by the caller.
                    ours.push(kafka.last().expect("not empty").clone());
                }
                self.count(what.split(' ').next().unwrap_or(""));
                compare(start, what, &normal(&ours), &normal(&kafka), &mut wrong);
            } else if let Some(what) = line.strip_prefix("Q ") {
                let words: Vec<&str> = what.split(' ').collect();
                let api =
                    ApiKey::from_i16(words[0].parse().expect("an API key")).expect("a known API");
                let version = words[1].parse().expect("a version");
                let request =
                    AnyRequest::decode(api, version, bytes(words[2])).expect("Kafka's bytes");
                let expected = AnyResponse::decode(api, version, bytes(answer.expect("an answer")));
                let (response, ours) = self.answer(version, &request);
                let expected = outcome(expected.expect("Kafka's bytes"));
                let about = format!("{api:?} {request:?}");
                self.count(api.name());
                compare(start, &about, &outcome(response), &expected, &mut wrong);
                let (ours, kafka) = match &request {
                    AnyRequest::CreateTopics(_) | AnyRequest::CreatePartitions(_) => {
                        (created(&ours, &request), created(&kafka, &request))
                    }
                    AnyRequest::ElectLeaders(_) | AnyRequest::AssignReplicasToDirs(_) => {
                        (normal(&ours), normal(&kafka))
                    }
                    _ => (in_order(&ours), in_order(&kafka)),
                };
                compare(start, &about, &ours, &kafka, &mut wrong);
            }
            for record in &kafka {
                self.image.apply(record).expect("Kafka's record");
            }
        }
        wrong
    }

    fn count(&mut self, what: &str) {
        *self.compared.entry(what.to_owned()).or_default() += 1;
    }
}

fn compare(line: usize, about: &str, ours: &[String], kafka: &[String], wrong: &mut Vec<String>) {
    if ours != kafka {
        let only = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().filter(|it| !b.contains(it)).cloned().collect()
        };
        let (kafka_only, ours_only) = (only(kafka, ours), only(ours, kafka));
        let line = line + 1;
        wrong.push(format!(
            "line {line}: {about}\n  kafka: {kafka_only:#?}\n  here: {ours_only:#?}"
        ));
    }
}

fn in_order(records: &[MetadataRecord]) -> Vec<String> {
    records.iter().map(|it| format!("{it:?}")).collect()
}

/// Partition changes sorted, wherever they come in a row.
fn normal(records: &[MetadataRecord]) -> Vec<String> {
    let is_change = |it: &MetadataRecord| matches!(it, MetadataRecord::PartitionChange(_));
    let runs = records.chunk_by(|a, b| is_change(a) && is_change(b));
    let mut shown: Vec<String> = Vec::new();
    for run in runs {
        let mut run = in_order(run);
        run.sort();
        shown.extend(run);
    }
    shown
}

/// Records of new topics and partitions, without ids, and without replicas where the placer chose them.
fn created(records: &[MetadataRecord], request: &AnyRequest) -> Vec<String> {
    let mut manual = match request {
        AnyRequest::CreatePartitions(it) => it.topics[0].assignments.is_some(),
        _ => false,
    };
    let mut shown: Vec<String> = records
        .iter()
        .map(|record| match record.clone() {
            MetadataRecord::Topic(mut it) => {
                it.topic_id = Uuid::ZERO;
                if let AnyRequest::CreateTopics(asked) = request {
                    let asked = asked.topics.iter().find(|asked| asked.name == it.name);
                    manual = asked.is_some_and(|it| !it.assignments.is_empty());
                }
                format!("{it:?}")
            }
            MetadataRecord::Partition(mut it) => {
                it.topic_id = Uuid::ZERO;
                match manual {
                    true => format!("{it:?}"),
                    false => format!("partition {} on {}", it.partition_id, it.replicas.len()),
                }
            }
            other => format!("{other:?}"),
        })
        .collect();
    shown.sort();
    shown
}

/// The answer without texts and what is random.
fn outcome(response: AnyResponse) -> Vec<String> {
    let shown = match response {
        AnyResponse::CreateTopics(it) => {
            return it.topics.iter().map(|it| format!("{} {}", it.name, it.error_code)).collect();
        }
        AnyResponse::DeleteTopics(it) => {
            let show =
                |it: &quorate_protocol::messages::delete_topics_response::DeletableTopicResult| {
                    format!("{:?} {} {}", it.name, it.topic_id, it.error_code)
                };
            return it.responses.iter().map(show).collect();
        }
        AnyResponse::CreatePartitions(it) => {
            return it.results.iter().map(|it| format!("{} {}", it.name, it.error_code)).collect();
        }
        AnyResponse::ElectLeaders(mut it) => {
            it.replica_election_results.sort_by(|a, b| a.topic.as_str().cmp(b.topic.as_str()));
            for topic in &mut it.replica_election_results {
                topic.partition_result.sort_by_key(|it| it.partition_id);
                topic.partition_result.iter_mut().for_each(|it| it.error_message = None);
            }
            format!("{it:?}")
        }
        AnyResponse::AlterPartitionReassignments(mut it) => {
            for topic in &mut it.responses {
                topic.partitions.iter_mut().for_each(|it| it.error_message = None);
            }
            format!("{it:?}")
        }
        AnyResponse::ListPartitionReassignments(mut it) => {
            it.topics.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            it.topics.iter_mut().for_each(|it| it.partitions.sort_by_key(|it| it.partition_index));
            format!("{it:?}")
        }
        other => format!("{other:?}"),
    };
    vec![shown]
}

#[test]
fn every_decision_is_the_one_kafka_takes() {
    let mut files = Vec::new();
    if let Ok(folder) = std::env::var("KAFKA_STORIES") {
        for entry in std::fs::read_dir(folder).expect("the folder named") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|it| it == "txt") {
                let text = std::fs::read_to_string(&path).expect("a text");
                files.push((path.display().to_string(), text));
            }
        }
    }
    if files.is_empty() {
        let own = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        files.push(own("elr", include_str!("fixtures/story_level_30_elr.txt")));
        files.push(own("plain", include_str!("fixtures/story_level_17.txt")));
        files.push(own("old", include_str!("fixtures/story_level_7.txt")));
    }
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, text) in files {
        let mut story = Story::new();
        wrong.extend(story.run(&text).into_iter().map(|it| format!("{name} {it}")));
        for (what, count) in story.compared {
            *compared.entry(what).or_default() += count;
        }
    }
    let shown = wrong.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differ of {compared:?}:\n{shown}", wrong.len());
    for what in ["AlterPartition", "CreateTopics", "ElectLeaders", "fenced", "unfenced", "shutdown"]
    {
        assert!(compared.get(what).is_some_and(|it| *it > 10), "{what} in {compared:?}");
    }
}
