//! Real brokers that knew more than the log from which a quorum was recovered: what `quorate recover`
//! writes so that they go on soundly, and what docs/guide/recover.md says that one will see.

use quorate_client::{Admin, NewTopic};
use quorate_interop::{
    Controller, DEADLINE, Failure, KafkaVersion, Outcome, Quorum, Tool, ToolOutput, ensure,
    wait_for,
};
use quorate_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use quorate_protocol::messages::elect_leaders_request::TopicPartitions;
use quorate_protocol::messages::{AlterPartitionReassignmentsRequest, ElectLeadersRequest};
use quorate_protocol::{AnyRequest, KStr};
use std::fs;
use std::path::{Path, PathBuf};

const FIRST: i32 = 3001;
/// So that fencing does not take long.
const SESSION_TIMEOUT: (&str, &str) = ("broker.session.timeout.ms", "4000");

#[test]
fn brokers_that_knew_more_go_on_with_equal_replicas() -> Outcome<()> {
    brokers_that_knew_more("recover-brokers-43", KafkaVersion::V4_3_0)
}

#[test]
fn brokers_of_3_9_that_knew_more_go_on_with_equal_replicas() -> Outcome<()> {
    brokers_that_knew_more("recover-brokers-39", KafkaVersion::V3_9_1)
}

/// The kept log ends where broker 1 leads alone. Then, only in the lost part: broker 2 comes into the ISR,
/// leaders change a few times, broker 1 is lost, and broker 2 takes records in an epoch that the kept log
/// never reached. Broker 1 leads again after the recovery, takes other records, and broker 2 follows it.
fn brokers_that_knew_more(name: &str, kafka: KafkaVersion) -> Outcome<()> {
    let builder = Quorum::builder(name).release_version(kafka.release_version()).dynamic();
    let quorum = (0..3)
        .fold(builder, |builder, _| builder.voter(Controller::Quorate))
        .property(SESSION_TIMEOUT.0, SESSION_TIMEOUT.1)
        .broker(kafka)
        .broker(kafka)
        .start()?;
    let mut it = Test { quorum, kafka };
    it.create("t", 1)?;
    it.produce(1, "t", 50)?;
    it.kill_broker(2);
    it.await_state(1, "t", 1, &[1])?;
    it.quorum.await_caught_up(&[FIRST, FIRST + 1, FIRST + 2])?;
    let (leader, _) = it.quorum.await_leader()?;
    let kept = if leader == FIRST { FIRST + 1 } else { FIRST };
    it.quorum.controller(kept).kill();

    let lost_epoch = it.what_only_the_lost_voters_know()?;
    it.recover(kept)?;

    // Broker 2 ran all the time, and cannot give up what it took for committed: it ends.
    wait_for("broker 2 ends by itself", DEADLINE, || {
        ensure!(!it.broker(2).is_running(), "it runs");
        Ok(())
    })?;
    let said = fs::read_to_string(it.broker(2).log()).map_err(|e| Failure(e.to_string()))?;
    ensure!(said.contains("truncat"), "broker 2 ended without a word about truncation");

    // Broker 1 leads, in an epoch above any that broker 2 has seen, and takes other records.
    it.broker(1).start()?;
    let epoch = it.await_state(1, "t", 1, &[1])?;
    ensure!(epoch > lost_epoch, "leader epoch {epoch} was used before: {lost_epoch}");
    it.produce(1, "t", 30)?;
    it.broker(2).start()?;
    it.await_state(1, "t", 1, &[1, 2])?;
    it.produce(1, "t", 5)?;
    it.await_equal_replicas("t")?;
    ensure!(it.count(1, "t")? == 85, "records of t are missing, or too many");
    // What was created since lies aside, with its data.
    let names = it.names_in(2)?;
    ensure!(
        names.iter().any(|it| it.starts_with("lost-") && it.ends_with("-stray")),
        "no stray directory of the lost topic: {names:?}"
    );
    it.producer_ids_are_new(kept)?;
    // And it goes on.
    it.create("afterwards", 2)?;
    it.produce(2, "afterwards", 5)?;
    it.quorum.allowed_errors.extend(["truncat", "Shutdown", "raft IO thread"]);
    for id in [1, 2] {
        ensure!(it.broker(id).is_running(), "broker {id} has ended");
    }
    // The log of broker 2 tells of its fatal fault, as it should.
    it.quorum.discard();
    Ok(())
}

struct Test {
    quorum: Quorum,
    kafka: KafkaVersion,
}

impl Test {
    fn broker(&mut self, id: i32) -> &mut quorate_interop::Node {
        self.quorum.brokers.get_mut(&id).expect("there are two")
    }

    fn kill_broker(&mut self, id: i32) {
        self.broker(id).kill();
    }

    fn address(&self, broker: i32) -> String {
        self.quorum.brokers[&broker].address()
    }

    /// The leader epoch in which broker 2 took records.
    fn what_only_the_lost_voters_know(&mut self) -> Outcome<i32> {
        self.broker(2).start()?;
        self.await_state(1, "t", 1, &[1, 2])?;
        for replicas in [[2, 1], [1, 2], [2, 1], [1, 2]] {
            self.lead_by_first("t", &replicas)?;
            self.await_state(1, "t", replicas[0], &[1, 2])?;
        }
        self.kill_broker(1);
        let epoch = self.await_state(2, "t", 2, &[2])?;
        self.produce(2, "t", 20)?;
        self.create("lost", 2)?;
        self.produce(2, "lost", 10)?;
        Ok(epoch)
    }

    fn recover(&mut self, kept: i32) -> Outcome<()> {
        self.quorum.controllers.values_mut().for_each(|node| node.kill());
        let others: Vec<i32> =
            self.quorum.controllers.keys().copied().filter(|id| *id != kept).collect();
        for id in others {
            let dir = self.quorum.controller(id).dir().to_owned();
            // Kept for the comparison of producer ids.
            fs::rename(&dir, dir.with_extension("lost")).map_err(|e| Failure(e.to_string()))?;
        }
        let dir = self.quorum.controller(kept).dir().display().to_string();
        let done = self.quorum.quorate(&["recover", &dir, "--execute", "--accept-loss"])?.ok()?;
        ensure!(done.out.contains("raised by"), "{}", done.out);
        self.quorum.quorate(&["fsck", &dir])?.ok()?;
        self.quorum.controller(kept).start()?;
        self.quorum.await_leader_where("it leads alone", |id, _| id == kept)?;
        Ok(())
    }

    fn create(&self, topic: &str, first: i32) -> Outcome<()> {
        let address = self.address(first);
        wait_for("the topic is created", DEADLINE, || {
            let assignment = vec![vec![first, 3 - first]];
            let new = NewTopic { name: topic.to_owned(), assignment, ..NewTopic::default() };
            match Admin::connect(&address)?.create_topic(new) {
                Err(e) if !e.to_string().contains("ALREADY_EXISTS") => Err(Failure::from(e)),
                _ => Ok(()),
            }
        })?;
        wait_for("it has a leader", DEADLINE, || {
            let (leader, ..) = self.describe(first, topic)?;
            ensure!(leader == Some(first), "{leader:?}");
            Ok(())
        })
    }

    /// Puts the replicas into this order and asks for the preferred leader.
    fn lead_by_first(&self, topic: &str, replicas: &[i32]) -> Outcome<()> {
        let mut admin = Admin::connect(&self.address(2))?;
        let reassign = AlterPartitionReassignmentsRequest {
            timeout_ms: 30_000,
            topics: vec![ReassignableTopic {
                name: KStr::from(topic),
                partitions: vec![ReassignablePartition {
                    partition_index: 0,
                    replicas: Some(replicas.to_vec()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let partitions = vec![0];
        let elect = ElectLeadersRequest {
            election_type: 0,
            topic_partitions: Some(vec![TopicPartitions {
                topic: KStr::from(topic),
                partitions,
                ..Default::default()
            }]),
            timeout_ms: 30_000,
            ..Default::default()
        };
        admin.connection().send(&AnyRequest::AlterPartitionReassignments(reassign))?;
        admin.connection().send(&AnyRequest::ElectLeaders(elect))?;
        Ok(())
    }

    fn produce(&self, broker: i32, topic: &str, count: usize) -> Outcome<()> {
        let records: String = (0..count).map(|i| format!("{topic}-{i}\n")).collect();
        let args = ["--bootstrap-server", &self.address(broker), "--topic", topic];
        let output = self.tool(Tool::ConsoleProducer, &args, &records)?;
        // It ends with 0 whatever became of the records.
        ensure!(!output.err.contains("ERROR"), "{}", output.fault("lost records"));
        Ok(())
    }

    fn count(&self, broker: i32, topic: &str) -> Outcome<usize> {
        let bootstrap = self.address(broker);
        let args = ["--bootstrap-server", &bootstrap, "--topic", topic, "--from-beginning"];
        let args = [&args[..], &["--timeout-ms", "8000"]].concat();
        let output = self.tool(Tool::ConsoleConsumer, &args, "")?;
        Ok(output.out.lines().filter(|it| it.starts_with(topic)).count())
    }

    fn tool(&self, tool: Tool, args: &[&str], input: &str) -> Outcome<ToolOutput> {
        self.quorum.tool_with_input(self.kafka.tools(), tool, args, input)
    }

    /// Leader, its epoch, and the ISR, as this broker sees them.
    fn describe(&self, broker: i32, topic: &str) -> Outcome<(Option<i32>, i32, Vec<i32>)> {
        let answer = Admin::connect(&self.address(broker))?.metadata(Some(&[topic]))?;
        let partition = answer.topics.first().and_then(|it| it.partitions.first());
        let it = partition.ok_or_else(|| Failure(format!("no topic {topic}")))?;
        let mut isr = it.isr_nodes.clone();
        isr.sort_unstable();
        Ok((Some(it.leader_id).filter(|it| *it >= 0), it.leader_epoch, isr))
    }

    /// Waits for this leader and ISR; the leader epoch.
    fn await_state(&self, broker: i32, topic: &str, leader: i32, isr: &[i32]) -> Outcome<i32> {
        wait_for(&format!("{topic} is led by {leader}, in sync {isr:?}"), DEADLINE, || {
            let (now, epoch, members) = self.describe(broker, topic)?;
            ensure!(now == Some(leader) && members == isr, "{now:?} in {epoch}, {members:?}");
            Ok(epoch)
        })
    }

    /// Both replicas are the same, byte by byte.
    fn await_equal_replicas(&self, topic: &str) -> Outcome<()> {
        let segment = |broker: i32| -> Outcome<(PathBuf, Vec<u8>)> {
            let dir = self.quorum.brokers[&broker].dir().join(format!("{topic}-0"));
            let path = dir.join("00000000000000000000.log");
            let bytes = fs::read(&path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
            Ok((path, bytes))
        };
        wait_for("both replicas are equal", DEADLINE, || {
            let (a, b) = (segment(1)?, segment(2)?);
            ensure!(a.1 == b.1, "{}\n{}", self.dump(&a.0)?, self.dump(&b.0)?);
            Ok(())
        })
    }

    fn dump(&self, log: &Path) -> Outcome<String> {
        Ok(self.quorum.quorate(&["dump", &log.display().to_string()])?.out)
    }

    fn names_in(&self, broker: i32) -> Outcome<Vec<String>> {
        let dir = self.quorum.brokers[&broker].dir();
        let entries = fs::read_dir(dir).map_err(|e| Failure(e.to_string()))?;
        Ok(entries
            .filter_map(|it| it.ok().map(|it| it.file_name().to_string_lossy().into_owned()))
            .collect())
    }

    /// No block of producer ids was given out twice.
    fn producer_ids_are_new(&self, kept: i32) -> Outcome<()> {
        let mut lost = 0;
        for (id, node) in self.quorum.controllers.iter().filter(|(id, _)| **id != kept) {
            let dir = node.dir().with_extension("lost").join("__cluster_metadata-0");
            let given = self.next_producer_ids(&dir)?;
            ensure!(!given.is_empty(), "controller {id} gave out no producer ids");
            lost = lost.max(given.into_iter().max().unwrap_or(0));
        }
        let dir = self.quorum.controllers[&kept].dir().join("__cluster_metadata-0");
        let newest = self.next_producer_ids(&dir)?.into_iter().max().unwrap_or(0);
        // Each of the two brokers was given a block since.
        let first = newest - 2 * 1000;
        ensure!(first >= lost, "producer ids from {first} on were given out before, up to {lost}");
        Ok(())
    }

    fn next_producer_ids(&self, dir: &Path) -> Outcome<Vec<i64>> {
        let entries = fs::read_dir(dir).map_err(|e| Failure(e.to_string()))?;
        let paths = entries.filter_map(|it| it.ok().map(|it| it.path()));
        let logs = paths.filter(|it| it.extension().is_some_and(|it| it == "log"));
        let mut out = Vec::new();
        for log in logs {
            for rest in self.dump(&log)?.split("\"nextProducerId\":").skip(1) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                out.extend(digits.parse::<i64>().ok());
            }
        }
        Ok(out)
    }
}
