//! Records produced and consumed by Kafka's own verifiable clients beside a drill.

use crate::{
    DEADLINE, Failure, KafkaVersion, Node, Outcome, Quorum, RunningTool, STOP_DEADLINE, Tool,
    ensure, wait_for,
};
use quorate_client::{Admin, NewTopic};
use std::collections::{BTreeMap, BTreeSet};

const TOPIC: &str = "ledger";
/// Records a second: enough to be under way whenever something happens.
const RATE: &str = "100";

/// Partition and offset.
type Place = (i32, i64);

/// An idempotent producer that waits for all replicas, and a consumer in a group.
#[derive(Debug)]
pub struct Ledger {
    producer: RunningTool,
    consumer: RunningTool,
}

impl Ledger {
    /// Creates the topic with a replica on every broker, and starts both clients.
    pub fn start(quorum: &Quorum, version: KafkaVersion) -> Outcome<Ledger> {
        let addresses: Vec<String> = quorum.brokers.values().map(Node::address).collect();
        let bootstrap = addresses.join(",");
        Admin::connect(&addresses[0])?.create_topic(NewTopic {
            name: TOPIC.to_owned(),
            partitions: Some(6),
            replication_factor: i16::try_from(addresses.len()).ok(),
            ..NewTopic::default()
        })?;
        // Without this file the tool never sends twice, and so is not idempotent.
        let config = quorum.path().join("producer.properties");
        let text = "enable.idempotence=true\nacks=all\nretries=2147483647\n";
        std::fs::write(&config, text)
            .map_err(|e| Failure(format!("cannot write {}: {e}", config.display())))?;
        let config = config.display().to_string();
        let common = ["--bootstrap-server", &bootstrap, "--topic", TOPIC];
        let produce = ["--throughput", RATE, "--acks", "-1", "--producer.config", &config];
        let consume = ["--group-id", "auditors", "--verbose", "--reset-policy", "earliest"];
        let start =
            |tool, args: &[&str]| quorum.start_tool(version, tool, &[&common[..], args].concat());
        let mut ledger = Ledger {
            producer: start(Tool::VerifiableProducer, &produce)?,
            consumer: start(Tool::VerifiableConsumer, &consume)?,
        };
        ledger.await_more(50)?;
        Ok(ledger)
    }

    /// Waits until so many more records are acknowledged, and some are consumed.
    pub fn await_more(&mut self, more: usize) -> Outcome<()> {
        let acked = self.producer.lines().iter().filter(|line| is_ack(line)).count();
        let consumed = self.consumer.lines().iter().filter(|line| is_record(line)).count();
        self.producer.await_lines(acked + more, "an acknowledgement", is_ack)?;
        self.consumer.await_lines(consumed + 1, "a record", is_record)?;
        Ok(())
    }

    /// Stops the producer, waits until the consumer has seen all that was acknowledged, and checks:
    /// each acknowledged record is where the acknowledgement said, and none is there twice. How many
    /// were acknowledged.
    pub fn finish(self) -> Outcome<usize> {
        let produced = self.producer.stop(STOP_DEADLINE)?;
        let acked: BTreeMap<Place, i64> = produced.out.lines().filter_map(acked_record).collect();
        ensure!(!acked.is_empty(), "nothing was acknowledged:\n{}", produced.out);
        let consumer = self.consumer;
        let seen = wait_for("all acknowledged records are consumed", DEADLINE, || {
            let seen = records(&consumer.lines())?;
            let missing: Vec<_> =
                acked.iter().filter(|(place, value)| seen.get(place) != Some(value)).collect();
            let some = &missing[..missing.len().min(5)];
            ensure!(missing.is_empty(), "{} missing, like {some:?}", missing.len());
            Ok(seen)
        })?;
        let values: BTreeSet<i64> = seen.values().copied().collect();
        ensure!(
            values.len() == seen.len(),
            "{} values stand at {} places: some were written twice",
            values.len(),
            seen.len()
        );
        consumer.stop(STOP_DEADLINE)?;
        Ok(acked.len())
    }
}

/// What was consumed, by place; a group may see one place several times, but not with two values.
fn records(lines: &[String]) -> Outcome<BTreeMap<Place, i64>> {
    let mut seen = BTreeMap::new();
    for line in lines.iter().filter(|line| is_record(line)) {
        // The last line may be half written.
        let Some((place, value)) = record(line) else { continue };
        let known = *seen.entry(place).or_insert(value);
        ensure!(known == value, "{place:?} held {known} and holds {value}");
    }
    Ok(seen)
}

fn is_ack(line: &str) -> bool {
    line.contains("\"producer_send_success\"")
}

fn is_record(line: &str) -> bool {
    line.contains("\"record_data\"")
}

fn acked_record(line: &str) -> Option<(Place, i64)> {
    if is_ack(line) { record(line) } else { None }
}

/// `..."value":"17"...,"partition":3,"offset":12...`, in any order, numbers quoted or not.
fn record(line: &str) -> Option<(Place, i64)> {
    let field = |name: &str| -> Option<i64> {
        let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
        let end = rest.find([',', '}'])?;
        rest[..end].trim_matches('"').parse().ok()
    };
    let place = (i32::try_from(field("partition")?).ok()?, field("offset")?);
    Some((place, field("value")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_from_what_either_client_prints() {
        let acked = r#"{"timestamp":1,"name":"producer_send_success","key":null,"value":"17","topic":"ledger","partition":3,"offset":12}"#;
        assert_eq!(acked_record(acked), Some(((3, 12), 17)));
        let consumed = r#"{"timestamp":1,"name":"record_data","key":null,"value":"17","topic":"ledger","partition":3,"offset":12}"#;
        assert!(is_record(consumed));
        assert_eq!(record(consumed), Some(((3, 12), 17)));
        assert_eq!(record(&consumed[..consumed.len() - 3]), None);
    }
}
