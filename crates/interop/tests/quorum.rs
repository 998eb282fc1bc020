//! Three of our controllers under a stream of creates: the leader is killed, told to stop, and
//! suspended, again and again. Brokers are simulated; no JVM is needed.
use quorate_client::{Admin, Connection, NewTopic, Options};
use quorate_interop::{
    Controller, Creates, DEADLINE, Failure, FollowingBrokers, Outcome, Quorum, STOP_DEADLINE,
    Signal, each_exactly_once, ensure, wait_for,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[test]
fn a_static_quorum_survives_the_loss_of_its_leader_again_and_again() -> Outcome<()> {
    drill("quorum-static", three(Quorum::builder("quorum-static")), rounds(1))
}

#[test]
fn a_dynamic_quorum_survives_the_loss_of_its_leader_again_and_again() -> Outcome<()> {
    drill("quorum-dynamic", three(Quorum::builder("quorum-dynamic").dynamic()), rounds(3))
}

fn three(builder: quorate_interop::QuorumBuilder) -> quorate_interop::QuorumBuilder {
    (0..3).fold(builder, |builder, _| builder.voter(Controller::Quorate))
}

/// How often the leader is lost in each way; another number by `QUORATE_DRILL_ROUNDS`.
fn rounds(by_default: usize) -> usize {
    let given = std::env::var("QUORATE_DRILL_ROUNDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(by_default)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Loss {
    Killed,
    Terminated,
    Suspended,
}

fn drill(name: &str, builder: quorate_interop::QuorumBuilder, rounds: usize) -> Outcome<()> {
    let mut quorum = builder.start()?;
    let (leader, _) = quorum.await_leader()?;
    let addresses = quorum.addresses();
    let controllers: Vec<String> = addresses.values().cloned().collect();
    let brokers = FollowingBrokers::start(&addresses[&leader], &controllers, quorum.cluster_id, 3)?;
    let creates = Creates::start("drill", controllers, Duration::from_secs(2));
    let mut gaps: BTreeMap<Loss, Vec<Duration>> = BTreeMap::new();
    let mut acked_by_the_old = Vec::new();
    for round in 0..rounds {
        for loss in [Loss::Killed, Loss::Terminated, Loss::Suspended] {
            creates.await_more(20)?;
            let (leader, _) = quorum.await_leader()?;
            let since = Instant::now();
            match loss {
                Loss::Killed => quorum.controller(leader).kill(),
                Loss::Terminated => {
                    let status = quorum.controller(leader).stop(STOP_DEADLINE)?;
                    ensure!(status.success(), "{leader} ended with {status} on SIGTERM");
                }
                Loss::Suspended => {
                    let topic = format!("suspended-{round}");
                    let acked = suspend(&mut quorum, leader, &creates, &topic, since, &mut gaps)?;
                    acked_by_the_old.extend(acked.then_some(topic));
                }
            }
            if loss != Loss::Suspended {
                let others_lead = format!("another than {leader} leads");
                quorum.await_leader_where(&others_lead, |id, _| id != leader)?;
                creates.await_more(5)?;
                gaps.entry(loss).or_default().push(creates.longest_gap_since(since));
                quorum.controller(leader).start()?;
            }
            let all: Vec<i32> = addresses.keys().copied().collect();
            quorum.await_caught_up(&all)?;
        }
    }
    let mut acked = creates.stop();
    acked.append(&mut acked_by_the_old);
    drop(brokers);
    let log = quorum.compare_logs()?;
    each_exactly_once(&acked, &log)?;
    for (loss, mut gaps) in gaps {
        gaps.sort();
        let ms: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
        println!("{name}: {loss:?}: no create acknowledged for {ms:?} ms");
        ensure!(gaps.iter().all(|gap| *gap < DEADLINE), "{loss:?}: {ms:?} ms without a create");
    }
    println!(
        "{name}: {} topics acknowledged over {} epochs, {} batches equal on all nodes",
        acked.len(),
        quorum.epochs.epochs_seen(),
        log.len()
    );
    quorum.finish()
}

/// The leader is suspended and wakes up when another leads. A create that was sent to it meanwhile
/// is answered afterwards; whether with an acknowledgement.
fn suspend(
    quorum: &mut Quorum,
    leader: i32,
    creates: &Creates,
    topic: &str,
    since: Instant,
    gaps: &mut BTreeMap<Loss, Vec<Duration>>,
) -> Outcome<bool> {
    let address = quorum.addresses()[&leader].clone();
    let mut to_old = Admin::over(Connection::connect(&address, Options::default())?);
    creates.avoid(Some(address));
    quorum.controller(leader).signal(Signal::STOP)?;
    let topic = topic.to_owned();
    let late = std::thread::spawn(move || {
        to_old.create_topic(NewTopic {
            name: topic,
            partitions: Some(1),
            replication_factor: Some(1),
            ..NewTopic::default()
        })
    });
    let others: Vec<i32> = quorum.controllers.keys().copied().filter(|id| *id != leader).collect();
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
    gaps.entry(Loss::Suspended).or_default().push(creates.longest_gap_since(since));
    quorum.controller(leader).signal(Signal::CONT)?;
    let answer = late.join().map_err(|_| Failure::new("the late create panicked"))?;
    creates.avoid(None);
    Ok(answer.is_ok())
}
