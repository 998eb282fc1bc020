//! Quorums of ours with real brokers: the leader is killed, told to stop and suspended, again and
//! again, under a stream of creates, a producer and a consumer. Afterwards Kafka's controllers take
//! over all directories, and give them back.
use quorate_interop::{
    Controller, Creates, KafkaVersion, Ledger, Loss, Losses, Node, Outcome, Quorum, QuorumBuilder,
    drill_rounds, each_exactly_once,
};
use std::time::Duration;

#[test]
fn three_with_brokers_of_4_4_0_lose_no_create_and_no_record() -> Outcome<()> {
    let builder = Quorum::builder("loss-3-4.4.0").dynamic();
    drill("loss-3-4.4.0", builder, 3, KafkaVersion::V4_4_0)
}

#[test]
fn three_with_brokers_of_4_3_0_lose_no_create_and_no_record() -> Outcome<()> {
    drill("loss-3-4.3.0", Quorum::builder("loss-3-4.3.0"), 3, KafkaVersion::V4_3_0)
}

#[test]
fn five_with_brokers_of_4_4_0_lose_no_create_and_no_record() -> Outcome<()> {
    drill("loss-5-4.4.0", Quorum::builder("loss-5-4.4.0"), 5, KafkaVersion::V4_4_0)
}

#[test]
fn five_with_brokers_of_4_3_0_lose_no_create_and_no_record() -> Outcome<()> {
    let builder = Quorum::builder("loss-5-4.3.0").dynamic();
    drill("loss-5-4.3.0", builder, 5, KafkaVersion::V4_3_0)
}

/// Between creates: a broker opens files for each topic.
const PAUSE: Duration = Duration::from_millis(100);

fn drill(name: &str, builder: QuorumBuilder, voters: usize, version: KafkaVersion) -> Outcome<()> {
    let builder = builder
        .release_version(version.release_version())
        .property("metadata.log.max.record.bytes.between.snapshots", "40000")
        .broker(version)
        .broker(version);
    let mut quorum = (0..voters).fold(builder, |it, _| it.voter(Controller::Quorate)).start()?;
    let mut ledger = Ledger::start(&quorum, version)?;
    let controllers = quorum.addresses().into_values().collect();
    let creates = Creates::paced("direct", controllers, Duration::from_secs(2), PAUSE);
    let brokers = quorum.brokers.values().map(Node::address).collect();
    let by_brokers = Creates::paced("forwarded", brokers, Duration::from_secs(40), PAUSE);
    let mut losses = Losses::default();
    for _ in 0..drill_rounds(1) {
        for loss in Loss::ALL {
            creates.await_more(5)?;
            losses.lose(&mut quorum, &creates, loss)?;
            ledger.await_more(20)?;
        }
    }
    by_brokers.await_more(3)?;
    let mut acked = creates.stop();
    acked.append(&mut by_brokers.stop());
    let records = ledger.finish()?;
    acked.append(&mut losses.report(name));
    let log = quorum.compare_logs()?;
    each_exactly_once(&acked, &log)?;
    let epochs = log.one_leader_an_epoch()?;
    let hash = quorum.compare_images()?;
    println!(
        "{name}: {} creates and {records} records acknowledged over {epochs} epochs, {} batches \
         and image {hash} equal on all",
        acked.len(),
        log.len()
    );
    for owner in ["Kafka's controllers", "ours again"] {
        quorum.hand_over(version, &acked)?;
        println!("{name}: the directories are run by {owner}");
    }
    let log = quorum.compare_logs()?;
    log.one_leader_an_epoch()?;
    quorum.compare_images()?;
    quorum.finish()
}
