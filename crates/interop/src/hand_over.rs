//! Directories that change hands: what our controllers wrote is run by Kafka's, and the other way
//! round.

use crate::node::Program;
use crate::{DEADLINE, Failure, KafkaVersion, Outcome, Quorum, STOP_DEADLINE, ensure, wait_for};
use quorate_client::{Admin, NewTopic};
use quorate_protocol::ErrorCode;
use rustix::process::Signal;

/// How many topics are asked for in one request.
const NAMES_AT_ONCE: usize = 500;

impl Quorum {
    /// Stops all controllers and starts each directory with the other side's program: ours with
    /// Kafka's of this version, Kafka's with ours. Returns when a leader knows all these topics, and
    /// all voters follow it.
    pub fn hand_over(&mut self, version: KafkaVersion, topics: &[String]) -> Outcome<()> {
        // All at once: one after another would be two more elections each.
        for node in self.controllers.values_mut() {
            if node.is_running() {
                node.signal(Signal::TERM)?;
            }
        }
        for node in self.controllers.values_mut() {
            if let Some(process) = node.process() {
                process.wait_exit(STOP_DEADLINE)?;
            }
            node.kill();
            node.program = match node.program {
                Program::Quorate => Program::Kafka(version),
                Program::Kafka(_) => Program::Quorate,
            };
            node.start()?;
        }
        // A controller of Kafka's that is told to stop has nobody left to tell.
        self.allowed_errors.push("RegistrationResponseHandler: channel manager timed out");
        self.await_topics(topics)?;
        let (_, quorum) = self.await_leader()?;
        let voters: Vec<i32> = quorum.current_voters.iter().map(|it| it.replica_id).collect();
        self.await_caught_up(&voters)?;
        Ok(())
    }

    /// Waits for a leader and asks it whether it knows all these topics.
    pub fn await_topics(&mut self, topics: &[String]) -> Outcome<()> {
        wait_for("the leader knows all topics", DEADLINE, || {
            let (leader, _) = self.await_leader()?;
            let mut admin = Admin::connect(&self.controllers[&leader].address())?;
            for names in topics.chunks(NAMES_AT_ONCE) {
                let new: Vec<NewTopic> = names.iter().map(|name| again(name)).collect();
                let answer = admin.create_topics(&new, 30_000, true)?;
                let exists = ErrorCode::TopicAlreadyExists.code();
                let unknown: Vec<String> = answer
                    .topics
                    .iter()
                    .filter(|topic| topic.error_code != exists)
                    .map(|topic| format!("{}: error {}", topic.name, topic.error_code))
                    .take(5)
                    .collect();
                ensure!(unknown.is_empty(), "controller {leader} does not know {unknown:?}");
            }
            Ok(())
        })
        .map_err(|e| Failure(format!("{e} ({} topics)", topics.len())))
    }
}

fn again(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        ..NewTopic::default()
    }
}
