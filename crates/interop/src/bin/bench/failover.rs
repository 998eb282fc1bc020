//! How long nothing can be created when the active controller of three is lost: killed, told to stop,
//! or silent. The client is the same for both sides; it asks the controllers in turn.

use crate::{KAFKA, percentile};
use quorate_interop::{
    Controller, Creates, DEADLINE, FollowingBrokers, Loss, Losses, Outcome, Quorum, wait_for,
};
use std::collections::BTreeMap;
use std::time::Duration;

const ROUNDS: usize = 10;
const MOST_ROUNDS: usize = 200;
/// Creates before the first loss: Java compiles its code meanwhile.
const WARM_UP_CREATES: usize = 100;
const CREATES_BETWEEN: usize = 20;
/// One request of the client; a server that answers later counts as silent.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// What is to be measured.
pub struct Plan {
    sides: Vec<(&'static str, Controller)>,
    rounds: usize,
}

type Gaps = BTreeMap<Loss, Vec<Duration>>;

impl Plan {
    /// `[--only SIDE] [--rounds N]`; `None` if it says something else.
    pub fn parse(mut words: &[&str]) -> Option<Plan> {
        let java = ("Apache Kafka 4.3.0", Controller::Java(KAFKA));
        let quorate = ("Quorate", Controller::Quorate);
        let mut plan = Plan { sides: vec![java, quorate], rounds: ROUNDS };
        while let [option, value, rest @ ..] = words {
            match (*option, *value) {
                ("--only", "java") => plan.sides = vec![java],
                ("--only", "quorate") => plan.sides = vec![quorate],
                ("--rounds", number) => {
                    let rounds = number.parse().ok();
                    plan.rounds = rounds.filter(|n| (1..=MOST_ROUNDS).contains(n))?;
                }
                _ => return None,
            }
            words = rest;
        }
        words.is_empty().then_some(plan)
    }

    /// Measures one side after the other, and prints a table.
    pub fn run(&self) -> Outcome<()> {
        println!(
            "three voters, creates one after another; the leader is lost {} times in each way; \
             milliseconds without an acknowledged create",
            self.rounds
        );
        let mut measured = Vec::new();
        for (name, controller) in &self.sides {
            measured.push((*name, measure(name, *controller, self.rounds)?));
        }
        print!("\n{:28}", "");
        for (name, _) in &measured {
            print!("{name:>30}");
        }
        print!("\n{:28}", "");
        for _ in &measured {
            print!("{:>12}{:>9}{:>9}", "median", "p90", "worst");
        }
        println!();
        for loss in Loss::ALL {
            print!("{:28}", what(loss));
            for (_, gaps) in &measured {
                let all = gaps.get(&loss).map(Vec::as_slice).unwrap_or_default();
                for (percent, width) in [(50, 12), (90, 9), (100, 9)] {
                    print!("{:>width$}", percentile(all, percent).as_millis());
                }
            }
            println!();
        }
        Ok(())
    }
}

fn what(loss: Loss) -> &'static str {
    match loss {
        Loss::Killed => "killed (SIGKILL)",
        Loss::Terminated => "told to stop (SIGTERM)",
        Loss::Suspended => "silent (SIGSTOP)",
    }
}

fn measure(name: &str, controller: Controller, rounds: usize) -> Outcome<Gaps> {
    let builder = (0..3).fold(Quorum::builder("bench-failover"), |it, _| it.voter(controller));
    let mut quorum = builder.start()?;
    let (leader, _) = quorum.await_leader()?;
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    // Kafka's leads before it has read its metadata.version, and registers no broker until then.
    let brokers = wait_for("a broker registers", DEADLINE, || {
        FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 1)
    })?;
    let creates = Creates::start("bench", controllers, REQUEST_TIMEOUT);
    creates.await_more(WARM_UP_CREATES)?;
    let mut losses = Losses::default();
    for round in 1..=rounds {
        for loss in Loss::ALL {
            creates.await_more(CREATES_BETWEEN)?;
            losses.lose(&mut quorum, &creates, loss)?;
        }
        println!("{name}: round {round} of {rounds}");
    }
    let mut gaps = losses.gaps().clone();
    for list in gaps.values_mut() {
        list.sort_unstable();
    }
    drop((creates, brokers));
    // What simulated brokers and killed controllers leave in logs is not what is measured.
    quorum.discard();
    Ok(gaps)
}
