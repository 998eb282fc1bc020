//! Drives a quorum from Kafka's controllers to ours and back while clients work, by the commands of
//! the runbook (`docs/guide/migrate.md`).

use crate::takeover_load::{Counts, Pauses, TakeoverLoad};
use crate::{
    Controller, DEADLINE, Failure, KafkaVersion, Node, Outcome, Quorum, STOP_DEADLINE, ToolOutput,
    ensure, quorate_binary, wait_for,
};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The commands of the runbook, as they stand there.
pub mod runbook {
    pub const PLAN: &str = "quorate takeover plan --bootstrap $CONTROLLERS --config $FILE";
    pub const PLAN_BACK: &str =
        "quorate takeover plan --back --bootstrap $CONTROLLERS --config $FILE";
    pub const STATUS: &str = "quorate takeover status --bootstrap $CONTROLLERS";
    pub const MAY_STOP: &str = "quorate takeover may-stop $ID --wait --bootstrap $CONTROLLERS";
    pub const START: &str = "quorate server $FILE";
    pub const AWAIT_QUORATE: &str =
        "quorate takeover status --await $ID=quorate --bootstrap $CONTROLLERS";
    pub const AWAIT_KAFKA: &str =
        "quorate takeover status --await $ID=kafka --bootstrap $CONTROLLERS";
    pub const FORMAT: &str =
        "quorate storage format --cluster-id $CLUSTER --config $FILE --no-initial-controllers";
    pub const ADD: &str = "quorate quorum --bootstrap $CONTROLLERS add-controller --config $FILE";
    pub const REMOVE: &str = "quorate quorum --bootstrap $CONTROLLERS remove-controller --id $ID \
                              --directory-id $DIRECTORY";

    /// All of them.
    pub const ALL: [&str; 10] =
        [PLAN, PLAN_BACK, STATUS, MAY_STOP, START, AWAIT_QUORATE, AWAIT_KAFKA, FORMAT, ADD, REMOVE];

    /// The runbook itself.
    pub const TEXT: &str = include_str!("../../../docs/guide/migrate.md");

    /// Our commands in its code blocks, continued lines joined.
    pub fn commands() -> Vec<String> {
        let mut inside = false;
        let mut commands = Vec::new();
        let joined = TEXT.replace("\\\n", " ");
        for line in joined.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if inside && line.trim_start().starts_with("quorate ") {
                commands.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        commands
    }
}

/// How controllers are exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Road {
    /// On the same directories, voters in the files.
    StaticInPlace,
    /// On the same directories, voters in the log.
    DynamicInPlace,
    /// New voters are added, old ones removed.
    GrowAndShrink,
}

/// What went through, and how long clients had to wait.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was acknowledged in total, all of it found again.
    pub counts: Counts,
    /// The longest pauses of the whole run.
    pub longest: Pauses,
    /// How many processes were killed by SIGKILL.
    pub kills: usize,
    /// How many of Kafka's controllers died of the fault that is known, and were started again.
    pub own_faults: usize,
    /// How many epochs had a leader.
    pub epochs: usize,
    /// How many batches all logs have in common, byte for byte.
    pub batches: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts([plain, idempotent, transactions, consumed, admin]) = self.counts;
        write!(
            f,
            "{} records and {transactions} transactions acknowledged, {consumed} read by the group, \
             {admin} admin changes, all there; {} kills, {} of Kafka's own faults, {} epochs, {} batches \
             equal on all; longest pauses: {}",
            plain + idempotent,
            self.kills,
            self.own_faults,
            self.epochs,
            self.batches,
            self.longest
        )
    }
}

/// A takeover under way.
#[derive(Debug)]
pub struct Takeover {
    /// All controllers and brokers.
    pub quorum: Quorum,
    name: String,
    load: TakeoverLoad,
    version: KafkaVersion,
    /// Whether each step is disturbed by SIGKILL.
    interrupted: bool,
    kills: usize,
    own_faults: usize,
    longest: Pauses,
    broker_pids: Vec<u32>,
}

/// Controllers of the quorum at any time.
const VOTERS: usize = 3;
/// Moments after a start at which a process is killed: before it has read its configuration, in the
/// middle of recovery, when it is about to listen. A JVM needs seconds for the same way.
const KILLED_AFTER: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(40), Duration::from_millis(900)];

/// A Java leader (seen with 4.1.1) ends when a voter that it has just removed answers it late. Another is
/// elected; an operator starts it again, and so do the drills, for exactly this message.
const OWN_FAULT: &str = "Unexpected acknowledgement from non-voter";

/// What a broker writes at ERROR when a transaction's second batch overtakes the first, which waits for
/// the coordinator. The producer sends both again; that none is lost or twice is what the load checks.
const OVERTAKEN_BATCH: &str = "Error processing append operation on partition";

/// What Kafka's controllers write at ERROR when the leader that they talk to is killed. Each is tried
/// again, and what follows shows that it worked.
const WHEN_LEADERS_ARE_KILLED: [&str; 1] =
    ["RegistrationResponseHandler: channel manager timed out before sending the request"];

/// What Kafka 3.9 writes at ERROR when it is stopped while one of its timers is due, and when the machine is
/// so busy that a heartbeat waits in its queue for longer than a broker's session.
const STOPPED_OR_BUSY: [&str; 2] =
    ["because the event queue is now closed", "controller event queue overloaded"];

impl Takeover {
    /// Three controllers and two brokers of Kafka, with every kind of client at work.
    pub fn start(version: KafkaVersion, road: Road, interrupted: bool) -> Outcome<Takeover> {
        let how = if interrupted { "-interrupted" } else { "" };
        let name = format!("takeover-{version}-{road:?}{how}").to_lowercase();
        // Snapshots every few hundred records, so that both programs write and load some.
        let mut builder = Quorum::builder(&name)
            .property("metadata.log.max.record.bytes.between.snapshots", "20000")
            .release_version(version.release_version())
            .broker(version)
            .broker(version);
        if road != Road::StaticInPlace {
            builder = builder.dynamic();
        }
        for _ in 0..VOTERS {
            builder = builder.voter(Controller::Java(version));
            if road == Road::GrowAndShrink {
                // Three for the way there, three for the way back.
                builder = builder.joins_later().joins_later();
            }
        }
        let mut quorum = builder.start()?;
        let servers: Vec<String> = quorum.brokers.values().map(Node::address).collect();
        let load = TakeoverLoad::start(quorum.path(), version, &servers.join(","), servers.len())?;
        let broker_pids = pids(&mut quorum.brokers);
        Ok(Takeover {
            quorum,
            name,
            load,
            version,
            interrupted,
            kills: 0,
            own_faults: 0,
            longest: Pauses::default(),
            broker_pids,
        })
    }

    /// From the present program to the other, on the same directories, one after another.
    pub fn in_place(&mut self, to: Controller) -> Outcome<()> {
        let ids = self.voters()?;
        self.plan(to, &ids)?.says("in place")?;
        let mut left = ids.clone();
        while !left.is_empty() {
            let id = self.take_next(&mut left)?;
            self.run(runbook::MAY_STOP, id)?;
            self.stop(id)?;
            self.no_other_may_stop(id, &ids)?;
            self.quorum.controller(id).program = to.program();
            self.start_node(id)?;
            self.await_node(id, to)?;
            if self.interrupted {
                self.kill_and_return(id)?;
                // And one of those that still run the other program, or the leader.
                let leader = self.leader()?;
                let other = if leader == id { left.first().copied() } else { Some(leader) };
                if let Some(other) = other {
                    self.kill_and_return(other)?;
                }
            }
            self.mark(&format!("{id} is run by {}", shown(to)))?;
        }
        Ok(())
    }

    /// Adds new controllers of the other program and removes the present ones, one for one. The new
    /// ones have new directories: one of Kafka's that was a candidate when it was stopped dies on its
    /// old one, once it is no voter there ("Local replica must be in the set of voters").
    pub fn grow_and_shrink(&mut self, to: Controller) -> Outcome<()> {
        let mut left = self.voters()?;
        for round in 0..VOTERS {
            let new = self.quorum.add_observer(to)?;
            if round == 0 {
                self.plan(to, &[new])?.says("by adding new voters")?;
            }
            let old = self.take_next(&mut left)?;
            self.exchange(old, new, to)?;
        }
        Ok(())
    }

    /// Ends the load, verifies all that it had acknowledged, compares all voters' logs, and looks
    /// for faults in every log.
    pub fn finish(mut self) -> Outcome<Summary> {
        let alive = pids(&mut self.quorum.brokers);
        ensure!(alive == self.broker_pids, "brokers were {:?}, are {alive:?}", self.broker_pids);
        let status = self.run(runbook::STATUS, 0)?;
        println!("{}:\n{}", self.name, status.out.trim_end());
        let counts = self.load.finish()?;
        let voters = self.voters()?;
        ensure!(voters.len() == VOTERS, "the voters are {voters:?}");
        let log = self.quorum.compare_logs_of(&voters)?;
        let summary = Summary {
            counts,
            longest: self.longest,
            kills: self.kills,
            own_faults: self.own_faults,
            epochs: self.quorum.epochs.epochs_seen(),
            batches: log.len(),
        };
        println!("{}: {summary}", self.name);
        self.quorum.allowed_errors.push(OVERTAKEN_BATCH);
        self.quorum.allowed_errors.extend(STOPPED_OR_BUSY);
        if self.interrupted {
            self.quorum.allowed_errors.extend(WHEN_LEADERS_ARE_KILLED);
        }
        self.quorum.finish()?;
        Ok(summary)
    }

    /// One comes, one goes.
    fn exchange(&mut self, old: i32, new: i32, to: Controller) -> Outcome<()> {
        wait_for("the new controller listens", DEADLINE, || {
            self.quorum.controller(new).listening()
        })?;
        if self.interrupted {
            // Not before it has caught up: one of Kafka's 4.4.0 that has heard of a leader which its
            // log does not know as a voter dies at its next start ("Expected to be Follower").
            self.await_node(new, to)?;
            self.kill(new);
            self.start_node(new)?;
            wait_for("it listens again", DEADLINE, || self.quorum.controller(new).listening())?;
        }
        let leader = self.leader()?;
        self.change(runbook::ADD, new, leader, "DUPLICATE_VOTER")?;
        self.await_node(new, to)?;
        if self.interrupted {
            self.kill_and_return(new)?;
        }
        self.run(runbook::MAY_STOP, old)?;
        self.change(runbook::REMOVE, old, old, "VOTER_NOT_FOUND")?;
        if self.quorum.controller(old).is_running() {
            self.stop(old)?;
        }
        self.mark(&format!("{new} for {old}"))
    }

    /// Runs a command that changes the voters until it is done. Interrupted: `victim` is killed while
    /// it is under way.
    fn change(&mut self, template: &str, id: i32, victim: i32, done: &str) -> Outcome<()> {
        if self.interrupted {
            let words = self.words(template, id);
            let mut command = Command::new(quorate_binary()?);
            command.args(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let fault = |e: std::io::Error| Failure(format!("cannot run {words:?}: {e}"));
            let mut child = command.spawn().map_err(fault)?;
            // Somewhere between its questions, the append, and the commit.
            sleep(Duration::from_millis(30));
            self.kill(victim);
            child.wait().map_err(fault)?;
            self.start_node(victim)?;
        }
        wait_for(template, DEADLINE, || {
            self.mend()?;
            let ran = self.try_run(template, id)?;
            ensure!(ran.code == 0 || ran.err.contains(done), "{}{}", ran.out, ran.err);
            Ok(())
        })
    }

    /// While one of three is down, none of the others can be spared, whatever the leader knows yet.
    fn no_other_may_stop(&self, stopped: i32, voters: &[i32]) -> Outcome<()> {
        for other in voters.iter().filter(|id| **id != stopped) {
            let words = self.words(runbook::MAY_STOP, *other);
            let words: Vec<&str> =
                words.iter().map(String::as_str).filter(|it| *it != "--wait").collect();
            let ran = self.quorum.quorate(&words)?;
            // The stopped one may have led; then there is nobody to say no for a while.
            ensure!(ran.code == 3, "{}", ran.fault("should have said no"));
        }
        Ok(())
    }

    /// Kills one that the quorum can spare, and waits until it is back.
    fn kill_and_return(&mut self, id: i32) -> Outcome<()> {
        self.run(runbook::MAY_STOP, id)?;
        self.kill(id);
        let program = match self.quorum.controllers[&id].is_quorate() {
            true => Controller::Quorate,
            false => Controller::Java(self.version),
        };
        self.start_node(id)?;
        self.await_node(id, program)
    }

    /// SIGTERM; or SIGKILL, to interrupt.
    fn stop(&mut self, id: i32) -> Outcome<()> {
        if self.interrupted {
            self.kill(id);
            return Ok(());
        }
        let is_quorate = self.quorum.controllers[&id].is_quorate();
        let status = self.quorum.controller(id).stop(STOP_DEADLINE)?;
        // A JVM ends by SIGTERM with 128 + 15.
        let expected = if is_quorate { 0 } else { 143 };
        ensure!(status.code() == Some(expected), "{id}: SIGTERM ended it with {status}");
        Ok(())
    }

    fn kill(&mut self, id: i32) {
        self.quorum.controller(id).kill();
        self.kills += 1;
    }

    /// Starts a controller; interrupted, that is killed on its way and started again.
    fn start_node(&mut self, id: i32) -> Outcome<()> {
        self.quorum.controller(id).start()?;
        if self.interrupted {
            sleep(KILLED_AFTER[self.kills % KILLED_AFTER.len()]);
            self.kill(id);
            self.quorum.controller(id).start()?;
        }
        Ok(())
    }

    fn await_node(&mut self, id: i32, program: Controller) -> Outcome<()> {
        let template = match program {
            Controller::Quorate => runbook::AWAIT_QUORATE,
            Controller::Java(_) => runbook::AWAIT_KAFKA,
        };
        self.run(template, id).map(drop)
    }

    fn voters(&mut self) -> Outcome<Vec<i32>> {
        self.leader()?;
        let (_, seen) = self.quorum.await_leader()?;
        let mut ids: Vec<i32> = seen.current_voters.iter().map(|it| it.replica_id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Followers first, the leader last.
    fn take_next(&mut self, left: &mut Vec<i32>) -> Outcome<i32> {
        let leader = self.leader()?;
        let at = left.iter().position(|id| *id != leader).unwrap_or(0);
        Ok(left.remove(at))
    }

    fn plan(&self, to: Controller, ids: &[i32]) -> Outcome<ToolOutput> {
        let (template, first) = match to {
            Controller::Quorate => (runbook::PLAN, ids[0]),
            Controller::Java(_) => (runbook::PLAN_BACK, ids[0]),
        };
        let mut words = self.words(template, first);
        for id in &ids[1..] {
            words.push("--config".to_owned());
            words.push(self.quorum.controllers[id].properties().display().to_string());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // A follower may not have caught up at the moment of the question.
        wait_for("the plan refuses nothing", DEADLINE, || self.quorum.quorate(&words)?.ok())
    }

    fn run(&mut self, template: &str, id: i32) -> Outcome<ToolOutput> {
        let ran = self.try_run(template, id)?;
        if ran.code != 0 && self.mend()? {
            return self.try_run(template, id)?.ok();
        }
        ran.ok()
    }

    fn leader(&mut self) -> Outcome<i32> {
        self.mend()?;
        match self.quorum.await_leader() {
            Ok((leader, _)) => Ok(leader),
            // It may have died while it was asked.
            Err(_) if self.mend()? => Ok(self.quorum.await_leader()?.0),
            Err(error) => Err(error),
        }
    }

    /// Starts those of Kafka's controllers again that died of [`OWN_FAULT`]; whether there was one.
    fn mend(&mut self) -> Outcome<bool> {
        let mut mended = false;
        for node in self.quorum.controllers.values_mut() {
            if node.is_quorate() || node.process().is_none() || node.is_running() {
                continue;
            }
            let fault = |e: std::io::Error| Failure(format!("the log of {}: {e}", node.id));
            let text = fs::read_to_string(node.log()).map_err(fault)?;
            let (before, last) = text.rsplit_once("Encountered fatal fault").unwrap_or((&text, ""));
            if !last.contains(OWN_FAULT) {
                continue;
            }
            self.own_faults += 1;
            let before = before.rsplit_once('\n').map_or("", |(whole_lines, _)| whole_lines);
            // What it wrote before has to be as clean as ever, and is kept with the rest beside.
            let aside = node.log().with_extension(format!("own-fault-{}.log", self.own_faults));
            fs::rename(node.log(), &aside).map_err(fault)?;
            fs::write(node.log(), before).map_err(fault)?;
            println!("{}: {} died of its own: {OWN_FAULT}", self.name, node.id);
            node.start()?;
            mended = true;
        }
        Ok(mended)
    }

    fn try_run(&self, template: &str, id: i32) -> Outcome<ToolOutput> {
        let words = self.words(template, id);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.quorum.quorate(&words)
    }

    /// A command of the runbook with its blanks filled in, without the name of the program.
    fn words(&self, template: &str, id: i32) -> Vec<String> {
        assert!(runbook::ALL.contains(&template), "not in the runbook: {template}");
        let node = self.quorum.controllers.get(&id);
        let controllers: Vec<String> = self.quorum.addresses().into_values().collect();
        let file = node.map(|node| node.properties().display().to_string()).unwrap_or_default();
        let directory = node.map(|_| self.quorum.directory_id(id).to_string()).unwrap_or_default();
        let words = template.split_whitespace().skip(1).map(|word| {
            word.replace("$CONTROLLERS", &controllers.join(","))
                .replace("$CLUSTER", &self.quorum.cluster_id.to_string())
                .replace("$DIRECTORY", &directory)
                .replace("$FILE", &file)
                .replace("$ID", &id.to_string())
        });
        // Two busy cores start several JVMs.
        words.chain(["--timeout-ms", "120000"].map(str::to_owned)).collect()
    }

    fn mark(&mut self, step: &str) -> Outcome<()> {
        self.load.await_progress()?;
        let pauses = self.load.mark(&step.replace(' ', "-"))?;
        println!("{}: {step}: {pauses}", self.name);
        self.longest = self.longest.max(&pauses);
        Ok(())
    }
}

fn shown(program: Controller) -> String {
    match program {
        Controller::Quorate => "Quorate".to_owned(),
        Controller::Java(version) => format!("Kafka {version}"),
    }
}

/// The process of each broker.
fn pids(brokers: &mut BTreeMap<i32, Node>) -> Vec<u32> {
    let running = brokers.values_mut().filter_map(|node| {
        let is_running = node.is_running();
        node.process().filter(|_| is_running).map(|process| process.pid())
    });
    running.collect()
}

#[cfg(test)]
mod tests {
    use super::runbook;

    #[test]
    fn the_drills_run_every_command_of_the_runbook_and_no_other() {
        let written = runbook::commands();
        for command in &written {
            assert!(runbook::ALL.contains(&command.as_str()), "no drill runs: {command}");
        }
        for command in runbook::ALL {
            assert!(written.iter().any(|it| it == command), "not in the runbook: {command}");
        }
    }
}
