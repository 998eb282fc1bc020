//! Some start scripts delete `quorum-state` at each start (Strimzi's do). Our vote has a second home,
//! so that no epoch gets two leaders; here everything is killed again and again, at any moment.
use quorate_interop::{
    Controller, Creates, Failure, FollowingBrokers, KafkaVersion, Outcome, Quorum, QuorumBuilder,
    drill_rounds, each_exactly_once, ensure,
};
use std::time::Duration;

#[test]
fn a_static_quorum_that_forgets_quorum_state_has_one_leader_an_epoch() -> Outcome<()> {
    drill("forgets-static", Quorum::builder("forgets-static"))
}

#[test]
fn a_dynamic_quorum_that_forgets_quorum_state_has_one_leader_an_epoch() -> Outcome<()> {
    drill("forgets-dynamic", Quorum::builder("forgets-dynamic").dynamic())
}

/// Pauses of different lengths put the next kill into different moments of start and election.
const PAUSES_MS: [u64; 6] = [0, 40, 5, 150, 15, 400];

fn drill(name: &str, builder: QuorumBuilder) -> Outcome<()> {
    let mut quorum = (0..3).fold(builder, |it, _| it.voter(Controller::Quorate)).start()?;
    let (leader, _) = quorum.await_leader()?;
    let addresses = quorum.addresses();
    let ids: Vec<i32> = addresses.keys().copied().collect();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 1)?;
    let creates = Creates::start(name, controllers, Duration::from_secs(2));
    let mut pauses = PAUSES_MS.iter().cycle();
    let mut kills = 0;
    for round in 0..drill_rounds(2) {
        creates.await_more(5)?;
        let (leader, _) = quorum.await_leader()?;
        let follower = ids[(round + usize::from(ids[round % 3] == leader)) % 3];
        // One and another, all, and again those who are just being elected.
        for victims in [vec![leader], vec![follower], vec![leader, follower], ids.clone()] {
            for id in &victims {
                quorum.controller(*id).kill();
                kills += 1;
            }
            for id in victims {
                forget(&quorum, id)?;
                quorum.controller(id).start()?;
                let pause_ms = *pauses.next().unwrap_or(&0);
                std::thread::sleep(Duration::from_millis(pause_ms));
                look(&mut quorum, &ids);
            }
        }
        quorum.await_leader()?;
        quorum.await_caught_up(&ids)?;
    }
    creates.await_more(5)?;
    let acked = creates.stop();
    drop(brokers);
    let log = quorum.compare_logs()?;
    each_exactly_once(&acked, &log)?;
    let epochs = log.one_leader_an_epoch()?;
    quorum.compare_images()?;
    println!("{name}: {kills} kills, {} creates acknowledged over {epochs} epochs", acked.len());
    if drill_rounds(1) > 1 {
        quorum.hand_over(KafkaVersion::V4_3_0, &acked)?;
    }
    quorum.finish()
}

/// What the start script does.
fn forget(quorum: &Quorum, id: i32) -> Outcome<()> {
    let file = quorum.controllers[&id].dir().join("__cluster_metadata-0/quorum-state");
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure(format!("{}: {e}", file.display())))
        }
        _ => {
            ensure!(!file.exists(), "{} is still there", file.display());
            Ok(())
        }
    }
}

/// Notes whoever says at this moment that it leads; most are not up yet.
fn look(quorum: &mut Quorum, ids: &[i32]) {
    for id in ids {
        let address = quorum.controllers[id].address();
        let _ = quorum.epochs.ask(*id, &address);
    }
}
