//! The ways in which a quorum loses its leader, under a stream of creates.

use crate::{Creates, DEADLINE, Failure, Outcome, Quorum, STOP_DEADLINE, ensure, wait_for};
use quorate_client::{Admin, Connection, NewTopic, Options};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a drill loses or replaces something: `QUORATE_DRILL_ROUNDS`, or else this.
pub fn drill_rounds(by_default: usize) -> usize {
    let given = std::env::var("QUORATE_DRILL_ROUNDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(by_default)
}

/// How a leader is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Loss {
    /// SIGKILL; it is started again when another leads.
    Killed,
    /// SIGTERM; it hands over, ends with success, and is started again.
    Terminated,
    /// SIGSTOP, and SIGCONT when another leads.
    Suspended,
}

impl Loss {
    /// Every way.
    pub const ALL: [Loss; 3] = [Loss::Killed, Loss::Terminated, Loss::Suspended];
}

/// Leaders lost so far: for how long nothing could be created, and what old leaders acknowledged.
#[derive(Debug, Default)]
pub struct Losses {
    gaps: BTreeMap<Loss, Vec<Duration>>,
    acked_by_the_old: Vec<String>,
}

impl Losses {
    /// Loses the leader and returns when another acknowledges creates and all voters have caught up.
    pub fn lose(&mut self, quorum: &mut Quorum, creates: &Creates, loss: Loss) -> Outcome<()> {
        let (leader, _) = quorum.await_leader()?;
        let since = Instant::now();
        match loss {
            Loss::Killed => quorum.controller(leader).kill(),
            Loss::Terminated => {
                let status = quorum.controller(leader).stop(STOP_DEADLINE)?;
                // Java ends by the signal.
                let fine = status.success() || !quorum.controllers[&leader].is_quorate();
                ensure!(fine, "{leader} ended with {status} on SIGTERM");
            }
            Loss::Suspended => self.suspend(quorum, leader, creates, since)?,
        }
        if loss != Loss::Suspended {
            quorum.await_leader_where(&format!("another than {leader} leads"), |id, _| {
                id != leader
            })?;
            creates.await_more(5)?;
            self.gaps.entry(loss).or_default().push(creates.longest_gap_since(since));
            quorum.controller(leader).start()?;
        }
        let all: Vec<i32> = quorum.controllers.keys().copied().collect();
        quorum.await_caught_up(&all)?;
        Ok(())
    }

    /// The leader is suspended and wakes up when another leads. A create that was sent to it
    /// meanwhile is answered afterwards; perhaps with an acknowledgement.
    fn suspend(
        &mut self,
        quorum: &mut Quorum,
        leader: i32,
        creates: &Creates,
        since: Instant,
    ) -> Outcome<()> {
        let topic = format!("suspended-{}", self.gaps.get(&Loss::Suspended).map_or(0, Vec::len));
        let address = quorum.addresses()[&leader].clone();
        let mut to_old = Admin::over(Connection::connect(&address, Options::default())?);
        creates.avoid(Some(address));
        quorum.controller(leader).signal(Signal::STOP)?;
        let name = topic.clone();
        let late = std::thread::spawn(move || {
            to_old.create_topic(NewTopic {
                name,
                partitions: Some(1),
                replication_factor: Some(1),
                ..NewTopic::default()
            })
        });
        let others: Vec<i32> =
            quorum.controllers.keys().copied().filter(|id| *id != leader).collect();
        wait_for("another leads", DEADLINE, || {
            for id in &others {
                let address = quorum.controllers[id].address();
                if quorum.epochs.ask(*id, &address).is_ok_and(|q| q.high_watermark >= 0) {
                    return Ok(());
                }
            }
            Err(Failure::new("none of the others"))
        })?;
        creates.await_more(5)?;
        self.gaps.entry(Loss::Suspended).or_default().push(creates.longest_gap_since(since));
        quorum.controller(leader).signal(Signal::CONT)?;
        let answer = late.join().map_err(|_| Failure::new("the late create panicked"))?;
        creates.avoid(None);
        self.acked_by_the_old.extend(answer.is_ok().then_some(topic));
        Ok(())
    }

    /// For how long nothing was created after each loss.
    pub fn gaps(&self) -> &BTreeMap<Loss, Vec<Duration>> {
        &self.gaps
    }

    /// Prints the gaps; topics that a leader acknowledged after it had been suspended.
    pub fn report(self, name: &str) -> Vec<String> {
        for (loss, mut gaps) in self.gaps {
            gaps.sort();
            let ms: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
            println!("{name}: {loss:?}: no create acknowledged for {ms:?} ms");
        }
        self.acked_by_the_old
    }
}
