//! Three of our controllers under a stream of creates: the leader is killed, told to stop, and
//! suspended, again and again. Brokers are simulated; no JVM is needed.
use quorate_interop::{
    Controller, Creates, FollowingBrokers, Loss, Losses, Outcome, Quorum, QuorumBuilder,
    drill_rounds, each_exactly_once,
};
use std::time::Duration;

#[test]
fn a_static_quorum_survives_the_loss_of_its_leader_again_and_again() -> Outcome<()> {
    drill("quorum-static", Quorum::builder("quorum-static"), drill_rounds(1))
}

#[test]
fn a_dynamic_quorum_survives_the_loss_of_its_leader_again_and_again() -> Outcome<()> {
    drill("quorum-dynamic", Quorum::builder("quorum-dynamic").dynamic(), drill_rounds(3))
}

fn drill(name: &str, builder: QuorumBuilder, rounds: usize) -> Outcome<()> {
    let mut quorum = (0..3).fold(builder, |it, _| it.voter(Controller::Quorate)).start()?;
    let (leader, _) = quorum.await_leader()?;
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 3)?;
    let creates = Creates::start("drill", controllers, Duration::from_secs(2));
    let mut losses = Losses::default();
    for _ in 0..rounds {
        for loss in Loss::ALL {
            creates.await_more(20)?;
            losses.lose(&mut quorum, &creates, loss)?;
        }
    }
    let mut acked = creates.stop();
    acked.append(&mut losses.report(name));
    drop(brokers);
    let log = quorum.compare_logs()?;
    each_exactly_once(&acked, &log)?;
    let hash = quorum.compare_images()?;
    println!(
        "{name}: {} topics acknowledged over {} epochs, {} batches and image {hash} equal on all",
        acked.len(),
        quorum.epochs.epochs_seen(),
        log.len()
    );
    quorum.finish()
}
