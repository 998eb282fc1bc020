//! Voters of real processes are added, removed and replaced, the leader among them, disks are lost;
//! and at each step a process is killed in the middle of the change.
use quorate_interop::{
    Controller, Creates, DEADLINE, Failure, FollowingBrokers, KafkaVersion, Outcome, Quorum,
    drill_rounds, ensure, none_twice, quorate_binary, wait_for,
};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const OURS: Controller = Controller::Quorate;

#[test]
fn voters_come_and_go_while_processes_are_killed() -> Outcome<()> {
    let builder = (0..3).fold(Quorum::builder("membership"), |it, _| it.voter(OURS));
    let mut quorum = builder
        .dynamic()
        .joins_later()
        .property("metadata.log.max.record.bytes.between.snapshots", "20000")
        .start()?;
    let (leader, _) = quorum.await_leader()?;
    let spare = quorum.add_observer(OURS)?;
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 1)?;
    let creates = Creates::start("membership", controllers, Duration::from_secs(2));
    let mut changes = Changes { quorum: &mut quorum, done: 0, kills: 0 };
    let mut spare = spare;
    for round in 0..drill_rounds(1) {
        // Later rounds kill later in the change.
        let after = Duration::from_millis([0, 2, 5, 10, 20, 50, 100][round % 7]);
        creates.await_more(5)?;
        spare = changes.go_round(spare, after)?;
    }
    let (done, kills) = (changes.done, changes.kills);
    creates.await_more(5)?;
    let acked = creates.stop();
    drop(brokers);
    let (_, state) = quorum.await_leader()?;
    let voters: Vec<i32> = state.current_voters.iter().map(|it| it.replica_id).collect();
    let log = quorum.compare_logs_of(&voters)?;
    // After a few rounds every disk is new, and what came before is in snapshots only.
    quorum.await_topics(&acked)?;
    none_twice(&log)?;
    let epochs = log.one_leader_an_epoch()?;
    let sets = log.one_voter_at_a_time()?;
    quorum.compare_images()?;
    println!(
        "membership: {done} changes with {kills} kills, {sets} voter sets written, {} creates \
         acknowledged over {epochs} epochs",
        acked.len()
    );
    if drill_rounds(1) > 1 {
        quorum.hand_over(KafkaVersion::V4_3_0, &acked)?;
    }
    quorum.finish()
}

#[test]
fn a_controller_joins_by_itself_and_stays_away_once_it_was_removed() -> Outcome<()> {
    let mut quorum = Quorum::builder("auto-join")
        .dynamic()
        .property("controller.quorum.auto.join.enable", "true")
        .voter(OURS)
        .joins_later()
        .start()?;
    let (leader, _) = quorum.await_leader()?;
    let id = quorum.add_observer(OURS)?;
    await_voters(&mut quorum, &[leader, id])?;
    let mut changes = Changes { quorum: &mut quorum, done: 0, kills: 0 };
    changes.remove(id, None, Duration::ZERO)?;
    // No-op records come twice a second; joining took less than one fetch timeout, two seconds.
    let (_, before) = quorum.await_leader()?;
    let later = before.high_watermark + 12;
    let (_, after) =
        quorum.await_leader_where("six seconds later", |_, it| it.high_watermark > later)?;
    let voters: Vec<i32> = after.current_voters.iter().map(|it| it.replica_id).collect();
    ensure!(voters == [leader], "{id} was removed, and the voters are {voters:?}");
    quorum.finish()
}

/// Changes of the voter set, through our own command.
struct Changes<'a> {
    quorum: &'a mut Quorum,
    done: usize,
    kills: usize,
}

impl Changes<'_> {
    /// Three voters and a spare observer become three voters again, one of them the former spare and
    /// two with new disks; the id of the new spare.
    fn go_round(&mut self, spare: i32, after: Duration) -> Outcome<i32> {
        let leader = self.leader()?;
        self.add(spare, Some(leader), after)?;
        // The leader removes itself, and another process dies meanwhile.
        let leader = self.leader()?;
        let victim = self.another_than(&[leader])?;
        self.remove(leader, Some(victim), after)?;
        // It comes back on an empty disk, and dies while it is added.
        self.quorum.lose_disk(leader)?;
        self.add(leader, Some(leader), after)?;
        // A voter loses its disk: its old self is removed, its new one added.
        let now_leads = self.leader()?;
        let lost = self.another_than(&[spare, leader, now_leads])?;
        let old = self.quorum.directory_id(lost);
        self.quorum.lose_disk(lost)?;
        let victim = self.leader()?;
        self.remove_directory(lost, &old.to_string(), Some(victim), after)?;
        let victim = self.leader()?;
        self.add(lost, Some(victim), after)?;
        // Replaced: the spare that came is a voter, whoever leads now goes.
        let out = self.leader()?;
        self.remove(out, Some(out), after)?;
        Ok(out)
    }

    fn leader(&mut self) -> Outcome<i32> {
        Ok(self.quorum.await_leader()?.0)
    }

    /// A voter that is none of these.
    fn another_than(&mut self, not: &[i32]) -> Outcome<i32> {
        let (_, state) = self.quorum.await_leader()?;
        let found = state.current_voters.iter().find(|it| !not.contains(&it.replica_id));
        found.map(|it| it.replica_id).ok_or_else(|| Failure(format!("nobody but {not:?} votes")))
    }

    fn add(&mut self, id: i32, victim: Option<i32>, after: Duration) -> Outcome<()> {
        let file = self.quorum.controllers[&id].properties().display().to_string();
        let directory = self.quorum.directory_id(id).to_string();
        self.change(&["add-controller", "-c", &file], victim, after, (id, &directory, true))
    }

    fn remove(&mut self, id: i32, victim: Option<i32>, after: Duration) -> Outcome<()> {
        let directory = self.quorum.directory_id(id).to_string();
        self.remove_directory(id, &directory, victim, after)
    }

    fn remove_directory(
        &mut self,
        id: i32,
        directory: &str,
        victim: Option<i32>,
        after: Duration,
    ) -> Outcome<()> {
        let id_text = id.to_string();
        let args = ["remove-controller", "--id", &id_text, "--directory-id", directory];
        self.change(&args, victim, after, (id, directory, false))
    }

    /// Asks for the change, kills the victim so long after, starts it again, and asks again until the
    /// voter set is as wanted: what became of the first attempt nobody can know.
    fn change(
        &mut self,
        args: &[&str],
        victim: Option<i32>,
        after: Duration,
        wanted: (i32, &str, bool),
    ) -> Outcome<()> {
        let bootstrap: Vec<String> = self.quorum.addresses().into_values().collect();
        let bootstrap = bootstrap.join(",");
        let all =
            [&["quorum", "--bootstrap", &bootstrap, "--timeout-ms", "5000"][..], args].concat();
        if let Some(victim) = victim {
            let mut first = Command::new(quorate_binary()?)
                .args(&all)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|e| Failure(format!("quorate {all:?}: {e}")))?;
            std::thread::sleep(after);
            self.quorum.controller(victim).kill();
            self.kills += 1;
            self.quorum.controller(victim).start()?;
            first.wait().map_err(|e| Failure(format!("quorate {all:?}: {e}")))?;
        }
        let (id, directory, is_voter) = wanted;
        let since = Instant::now();
        loop {
            let (_, state) = self.quorum.await_leader()?;
            let found = state
                .current_voters
                .iter()
                .any(|it| it.replica_id == id && it.replica_directory_id.to_string() == directory);
            if found == is_voter {
                break;
            }
            let answer = self.quorum.quorate(&all)?;
            let refused = answer.code != 0;
            ensure!(!refused || since.elapsed() < DEADLINE, "{}", answer.fault("is refused"));
        }
        self.done += 1;
        self.all_fetch()
    }

    /// Everybody that runs is a voter or observer that has caught up.
    fn all_fetch(&mut self) -> Outcome<()> {
        let ids: Vec<i32> = self.quorum.controllers.keys().copied().collect();
        let mut target = None;
        wait_for("all controllers have caught up", DEADLINE, || {
            let (_, state) = self.quorum.await_leader()?;
            let target = *target.get_or_insert(state.high_watermark);
            for id in &ids {
                let mut all = state.current_voters.iter().chain(&state.observers);
                let fetches = all.any(|it| it.replica_id == *id && it.log_end_offset >= target);
                ensure!(fetches, "{id} has not got {target}: {state:?}");
            }
            Ok(())
        })
    }
}

fn await_voters(quorum: &mut Quorum, wanted: &[i32]) -> Outcome<()> {
    quorum.await_leader_where(&format!("voters are {wanted:?}"), |_, quorum| {
        let mut ids: Vec<i32> = quorum.current_voters.iter().map(|v| v.replica_id).collect();
        ids.sort_unstable();
        ids == wanted
    })?;
    Ok(())
}
