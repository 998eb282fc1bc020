//! Cables are pulled and packets lost between controllers that all live on: a leader that lost its
//! majority stops acknowledging, the majority goes on, and all is well again by itself when the
//! network is. Every node has a network namespace; clients are on a host of their own.
use quorate_client::{Admin, ClientError, Connection, NewTopic, Options};
use quorate_interop::{
    Controller, Creates, DEADLINE, EpochWatch, Failure, FollowingBrokers, KafkaVersion, Net, Node,
    Outcome, Place, Quorum, each_exactly_once, ensure, wait_for,
};
use quorate_protocol::ErrorCode;
use std::time::{Duration, Instant};

/// `controller.quorum.fetch.timeout.ms` in all these tests; Kafka's default.
const FETCH_TIMEOUT: Duration = Duration::from_millis(2_000);
/// When a leader that nobody fetches from has to be silent: at 1.5 fetch timeouts. A busy machine
/// may need a moment more to tell it.
const SILENT_WITHIN: Duration = Duration::from_millis(3_000 + 1_000);
/// The host of the test itself.
const CLIENT: &str = "client";
const BROKER: &str = "broker";

#[test]
fn a_leader_that_is_alone_stops_and_the_others_go_on() -> Outcome<()> {
    cluster_of("cut-alone", 3, |bed| {
        for _ in 0..rounds() {
            let leader = bed.leader()?;
            let others = bed.all_but(&[leader]);
            bed.lose_the_leader(leader, &others, |net, one, other| net.cut(one, other))?;
        }
        Ok(())
    })
}

#[test]
fn a_leader_with_a_minority_stops_and_the_majority_goes_on() -> Outcome<()> {
    cluster_of("cut-minority", 5, |bed| {
        for _ in 0..rounds() {
            let leader = bed.leader()?;
            let friend = bed.all_but(&[leader])[0];
            let majority = bed.all_but(&[leader, friend]);
            for id in &majority {
                bed.net.cut(&host(friend), &host(*id))?;
            }
            bed.lose_the_leader(leader, &majority, |net, one, other| net.cut(one, other))?;
        }
        Ok(())
    })
}

#[test]
fn a_leader_that_hears_but_is_not_heard_stops_and_the_others_go_on() -> Outcome<()> {
    cluster_of("cut-mute", 3, |bed| {
        for _ in 0..rounds() {
            let leader = bed.leader()?;
            let others = bed.all_but(&[leader]);
            bed.lose_the_leader(leader, &others, Net::cut_one_way)?;
        }
        Ok(())
    })
}

#[test]
fn a_leader_that_is_heard_but_hears_nobody_stops_and_the_others_go_on() -> Outcome<()> {
    cluster_of("cut-deaf", 3, |bed| {
        for _ in 0..rounds() {
            let leader = bed.leader()?;
            let others = bed.all_but(&[leader]);
            bed.lose_the_leader(leader, &others, |net, l, other| net.cut_one_way(other, l))?;
        }
        Ok(())
    })
}

/// The others still hear the leader, and say so when they are asked to vote (KIP-996).
#[test]
fn a_follower_that_lost_the_leader_alone_disturbs_nobody() -> Outcome<()> {
    cluster_of("cut-follower", 3, |bed| {
        for round in 0..rounds() {
            let (leader, before) = bed.quorum.await_leader()?;
            let lonely = bed.all_but(&[leader])[round % 2];
            // Each way in turn.
            let way = [leader, lonely];
            let (from, to) = (way[round % 2], way[(round + 1) % 2]);
            bed.net.cut_one_way(&host(from), &host(to))?;
            let since = Instant::now();
            // Long enough for it to doubt the leader, and to ask for votes more than once.
            wait_for("four fetch timeouts pass under load", DEADLINE, || {
                bed.creates.await_more(1)?;
                ensure!(since.elapsed() > 4 * FETCH_TIMEOUT, "{:?}", since.elapsed());
                Ok(())
            })?;
            bed.net.heal_all()?;
            let all = bed.all_but(&[]);
            bed.quorum.await_caught_up(&all)?;
            let (after, now) = bed.quorum.await_leader()?;
            ensure!(
                (leader, before.leader_epoch) == (after, now.leader_epoch),
                "{leader} led epoch {}, now {after} leads {}",
                before.leader_epoch,
                now.leader_epoch
            );
        }
        Ok(())
    })
}

#[test]
fn a_flapping_link_of_the_leader_costs_nothing_that_was_acknowledged() -> Outcome<()> {
    cluster_of("cut-flapping", 3, |bed| {
        for _ in 0..rounds() {
            let leader = bed.leader()?;
            // From too short to be noticed to longer than a leader may be silent.
            for down_ms in [50, 400, 100, 1_500, 30, 800, 200, 3_500, 60] {
                bed.net.unplug(&host(leader))?;
                std::thread::sleep(Duration::from_millis(down_ms));
                bed.net.plug(&host(leader))?;
                std::thread::sleep(Duration::from_millis(150));
            }
            bed.creates.await_more(20)?;
            let all = bed.all_but(&[]);
            bed.quorum.await_caught_up(&all)?;
        }
        Ok(())
    })
}

/// First the broker is with the old leader on the wrong side; then it still sees nobody but the old
/// leader, which follows another by then.
#[test]
fn a_broker_that_sees_only_the_old_leader_finds_the_new_one_when_it_can() -> Outcome<()> {
    let Some(mut net) = Net::new()? else { return Ok(()) };
    net.add_host(CLIENT)?;
    let broker_place = net.add_host(BROKER)?;
    let places = places(&mut net, 3)?;
    net.inside(CLIENT, || {
        let mut quorum = voters("cut-broker", places)
            .broker(KafkaVersion::V4_3_0)
            .broker_place(broker_place)
            .start()?;
        let servers: Vec<String> = quorum.brokers.values().map(Node::address).collect();
        let creates = Creates::start("broker", servers.clone(), Duration::from_secs(2));
        for _ in 0..rounds() {
            creates.await_more(5)?;
            let (leader, _) = quorum.await_leader()?;
            let all: Vec<i32> = quorum.controllers.keys().copied().collect();
            let others: Vec<i32> = all.iter().copied().filter(|id| *id != leader).collect();
            for id in &others {
                net.cut(BROKER, &host(*id))?;
                net.cut(&host(leader), &host(*id))?;
            }
            let before = creates.count();
            quorum.await_leader_where("another leads", |id, _| id != leader)?;
            for id in &others {
                net.heal(&host(leader), &host(*id))?;
            }
            quorum.await_caught_up(&all)?;
            // One that was on its way may have been acknowledged.
            let meanwhile = creates.count() - before;
            ensure!(meanwhile <= 1, "{meanwhile} creates through a broker without a leader");
            net.heal_all()?;
            let healed = Instant::now();
            creates.await_more(5)?;
            println!("the broker creates again {} ms after", healed.elapsed().as_millis());
        }
        let acked = creates.stop();
        each_exactly_once(&acked, &quorum.compare_logs()?)?;
        quorum.finish()
    })
}

/// Peers' names are resolved again on each attempt: here all three change their addresses, one
/// after the other, and nobody is restarted.
#[test]
fn a_controller_whose_name_gets_another_address_is_found_again() -> Outcome<()> {
    let Some(mut net) = Net::new()? else { return Ok(()) };
    net.add_host(CLIENT)?;
    let mut places = places(&mut net, 3)?;
    for (place, id) in places.iter_mut().zip(FIRST_ID..) {
        place.name = Some(host(id));
    }
    net.write_names()?;
    // Entered again and again: the network is changed from outside, between.
    let mut quorum = net.inside(CLIENT, || voters("cut-moved", places).start())?;
    for _ in 0..rounds() {
        for id in FIRST_ID..FIRST_ID + 3 {
            let address = net.change_address(&host(id))?;
            net.write_names()?;
            quorum.controller(id).has_moved(&address);
            net.inside(CLIENT, || {
                // Records that nobody has yet, and more than fit into a fetch timeout: whoever is
                // not found is behind by then.
                let target = quorum.await_leader()?.1.high_watermark + 6;
                quorum.await_leader_where("all three have what is new", |_, seen| {
                    let voters = &seen.current_voters;
                    voters.iter().filter(|voter| voter.log_end_offset >= target).count() == 3
                })?;
                Ok(())
            })?;
        }
    }
    net.inside(CLIENT, || quorum.compare_logs().and_then(|_| quorum.finish()))
}

const FIRST_ID: i32 = 3001;

fn host(id: i32) -> String {
    format!("c{id}")
}

/// How often each test does what it does; another number by `QUORATE_DRILL_ROUNDS`.
fn rounds() -> usize {
    std::env::var("QUORATE_DRILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn places(net: &mut Net, voters: i32) -> Outcome<Vec<Place>> {
    (FIRST_ID..FIRST_ID + voters).map(|id| net.add_host(&host(id))).collect()
}

fn voters(name: &str, places: Vec<Place>) -> quorate_interop::QuorumBuilder {
    let fetch_timeout_ms = FETCH_TIMEOUT.as_millis().to_string();
    let builder = Quorum::builder(name)
        .dynamic()
        .property("controller.quorum.fetch.timeout.ms", &fetch_timeout_ms);
    places.iter().fold(builder, |all, _| all.voter(Controller::Quorate)).places(places)
}

/// A quorum under load in a network that can be cut.
struct Bed<'a> {
    net: &'a Net,
    quorum: Quorum,
    creates: Creates,
    /// Acknowledged by others than [`Bed::creates`]' servers.
    acked: Vec<String>,
    rounds_done: usize,
}

/// Runs the test on so many voters with three brokers that hold no data, and a client that creates
/// topics all the time; compares all logs at the end.
fn cluster_of(
    name: &str,
    count: i32,
    test: impl FnOnce(&mut Bed) -> Outcome<()> + Send,
) -> Outcome<()> {
    let Some(mut net) = Net::new()? else { return Ok(()) };
    net.add_host(CLIENT)?;
    let places = places(&mut net, count)?;
    net.inside(CLIENT, || {
        let mut quorum = voters(name, places).start()?;
        let (leader, _) = quorum.await_leader()?;
        let at = quorum.addresses();
        let servers: Vec<String> = at.values().cloned().collect();
        let brokers = FollowingBrokers::start(&at[&leader], &servers, quorum.cluster_id, 3)?;
        let creates = Creates::start(name, servers, Duration::from_secs(2));
        creates.await_more(5)?;
        let mut bed = Bed { net: &net, quorum, creates, acked: Vec::new(), rounds_done: 0 };
        test(&mut bed)?;
        let Bed { mut quorum, creates, mut acked, .. } = bed;
        acked.append(&mut creates.stop());
        drop(brokers);
        each_exactly_once(&acked, &quorum.compare_logs()?)?;
        println!("{name}: {} topics, {} epochs", acked.len(), quorum.epochs.epochs_seen());
        quorum.finish()
    })
}

impl Bed<'_> {
    fn leader(&mut self) -> Outcome<i32> {
        Ok(self.quorum.await_leader()?.0)
    }

    fn all_but(&self, some: &[i32]) -> Vec<i32> {
        self.quorum.controllers.keys().copied().filter(|id| !some.contains(id)).collect()
    }

    /// Cuts the leader (`cut` is given the leader first) from these voters, who are a majority, and
    /// sees what has to happen: it acknowledges nothing, says that it is no controller any more, and
    /// another takes over; after the healing all have everything.
    fn lose_the_leader(
        &mut self,
        leader: i32,
        majority: &[i32],
        cut: impl Fn(&Net, &str, &str) -> Outcome<()>,
    ) -> Outcome<()> {
        let address = self.quorum.addresses()[&leader].clone();
        let topic = format!("late-{}", self.rounds_done);
        self.rounds_done += 1;
        let mut to_old = Admin::over(Connection::connect(&address, patient())?);
        self.creates.await_more(20)?;
        // The stream goes to the others; what the old leader does is asked by requests of their own.
        self.creates.avoid(Some(address.clone()));
        let since = Instant::now();
        for id in majority {
            cut(self.net, &host(leader), &host(*id))?;
        }
        let since_cut = Instant::now();
        let late = std::thread::spawn(move || {
            let topic = NewTopic {
                name: topic,
                partitions: Some(1),
                replication_factor: Some(1),
                ..NewTopic::default()
            };
            (to_old.create_topic(topic), Instant::now())
        });
        let silent = await_silence(leader, &address, &mut self.quorum.epochs)?;
        self.quorum.await_leader_where("another leads", |id, _| id != leader)?;
        self.creates.await_more(5)?;
        let gap = self.creates.longest_gap_since(since);
        let (answer, answered) =
            late.join().map_err(|_| Failure::new("the late create panicked"))?;
        match answer {
            Err(ClientError::Refused { error_code, .. })
                if error_code == ErrorCode::NotController.code() => {}
            other => return Err(Failure(format!("{leader} without a majority said {other:?}"))),
        }
        for (what, when) in [("led", silent), ("kept a client waiting", answered)] {
            let took = when - since_cut;
            ensure!(took <= SILENT_WITHIN, "{leader} {what} for {took:?} without a majority");
        }
        self.net.heal_all()?;
        self.creates.avoid(None);
        let healed = Instant::now();
        let all = self.all_but(&[]);
        self.quorum.await_caught_up(&all)?;
        self.creates.await_more(5)?;
        println!(
            "{leader} led for {} ms and answered a create after {} ms; the others took over within \
             {} ms; all had everything {} ms after the healing",
            (silent - since_cut).as_millis(),
            (answered - since_cut).as_millis(),
            gap.as_millis(),
            healed.elapsed().as_millis()
        );
        Ok(())
    }
}

/// Waits until this controller does not call itself the leader any more.
fn await_silence(id: i32, address: &str, epochs: &mut EpochWatch) -> Outcome<Instant> {
    wait_for(&format!("{id} steps down"), DEADLINE, || match epochs.ask(id, address) {
        Ok(quorum) => Err(Failure(format!("it leads epoch {}", quorum.leader_epoch))),
        Err(_) => Ok(Instant::now()),
    })
}

/// Longer than any answer may take here.
fn patient() -> Options {
    Options {
        client_id: "interop".to_owned(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: 10 * FETCH_TIMEOUT,
    }
}
