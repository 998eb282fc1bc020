//! One run from its options: trouble, then healing, then everybody must be answered.

use crate::Options;
use crate::trace::{COLUMNS, Trace};
use crate::world::World;
use quorate_base::{Epoch, NodeId, Offset, Time};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

/// How long the quorum may take to settle once all faults have ended.
const SETTLE: Duration = Duration::from_secs(60);
/// How long it must then stay as it is.
const STAY: Duration = Duration::from_secs(5);
/// Transitions shown when a run fails.
const LINES: usize = 60;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Over all that happened; the same for the same options.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// Requests of administrators that were acknowledged.
    pub acknowledged: u64,
    /// The highest epoch reached.
    pub epochs: Epoch,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
}

/// A broken invariant, or a quorum that does not come back.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// Where it was noticed, in the source.
    pub location: String,
    /// Everything a reader needs, the way to see it again included.
    pub report: String,
}

thread_local! {
    /// Set while a run is under way: panics are then results, not noise.
    static CAUGHT: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    static RUNNING: RefCell<bool> = const { RefCell::new(false) };
}

fn catch_panics_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !RUNNING.with_borrow(|running| *running) {
                return before(info);
            }
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let message = text.unwrap_or_else(|| "a panic without words".to_owned());
            CAUGHT.with_borrow_mut(|caught| *caught = Some((message, location)));
        }));
    });
}

/// Runs a simulation to its end. With `echo` all transitions go to standard error.
pub fn run(options: &Options, echo: bool) -> Outcome {
    catch_panics_quietly();
    let trace = if echo { Trace::echoing() } else { Trace::default() };
    RUNNING.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| live(options.clone(), trace.clone())));
    RUNNING.set(false);
    let (acknowledged, epochs, failure) = match ended {
        Ok((acknowledged, epochs)) => (acknowledged, epochs, None),
        Err(_) => {
            let caught = CAUGHT.take().unwrap_or_default();
            (0, 0, Some(failure(options, &trace, caught)))
        }
    };
    Outcome { hash: trace.hash(), events: trace.events(), acknowledged, epochs, failure }
}

fn failure(options: &Options, trace: &Trace, (message, location): (String, String)) -> Failure {
    let seed = options.seed;
    let report = format!(
        "seed {seed}: {message}\nat {location}\n\noptions: {options:#?}\n\nthe last transitions, with \
         the columns\n{COLUMNS}\n\n{}\n\nseed {seed}: {message}\nto see it again: cargo xtask sim \
         --seeds 1 --start-seed {seed} --verbose",
        trace.lines(LINES).join("\n"),
    );
    Failure { message, location, report }
}

fn live(options: Options, trace: Trace) -> (u64, Epoch) {
    let trouble = options.trouble;
    let mut world = World::new(options, trace);
    let end = world.now + trouble;
    while world.advance(end) {}
    world.check_clients();
    world.heal();
    settle(&mut world);
    world.check_clients();
    let acknowledged = world.admins.values().map(|admin| admin.acknowledged).sum();
    let epochs = world.hosts.values().filter_map(|host| host.process.as_ref());
    let epochs = epochs.map(|process| process.node.raft().epoch()).max().unwrap_or(0);
    (acknowledged, epochs)
}

/// Liveness: `EventuallyLeaderElected`, `ValuesEventuallyAcked`, `ReconfigurationNotStuck` (kip_853 TLA+),
/// `EventuallyRuns`, `EventuallyMetadataConverges` (kip-966 TLA+), and `StableLeadership` of Kafka's
/// RaftEventSimulationTest.
fn settle(world: &mut World) {
    let deadline = world.now + SETTLE;
    let healed = world.now;
    let before: Vec<(NodeId, u64)> =
        world.admins.iter().map(|(id, admin)| (*id, admin.acknowledged)).collect();
    let mut goal = None;
    loop {
        let pause = world.now + Duration::from_millis(250);
        while world.advance(pause) {}
        match unsettled(world, &before, &mut goal, healed) {
            None => break,
            Some(why) => assert!(world.now < deadline, "LIVENESS: after {SETTLE:?}: {why}"),
        }
    }
    let (leader, epoch, _) = goal.expect("settled under a leader");
    world.note("--", &format!("SETTLED under c{leader} in epoch {epoch}"));
    let end = world.now + STAY;
    while world.advance(end) {}
    let mut now = Some((leader, epoch, 0));
    let why = unsettled(world, &[], &mut now, healed);
    assert!(now.is_some_and(|now| (now.0, now.1) == (leader, epoch)), "LIVENESS: flaps: {why:?}");
}

/// Why the quorum has not settled yet. `goal` is the leader, its epoch, and an offset that all have to
/// reach.
fn unsettled(
    world: &World,
    before: &[(NodeId, u64)],
    goal: &mut Option<(NodeId, Epoch, Offset)>,
    healed: Time,
) -> Option<String> {
    let Some(active) = world.active() else { return Some("nobody is active".to_owned()) };
    let status = |id: &NodeId| Some(world.hosts[id].process.as_ref()?.node.status());
    let leading = status(&active).expect("it runs");
    let reached = match goal {
        Some((leader, epoch, offset)) if (*leader, *epoch) == (active, leading.epoch) => *offset,
        _ => {
            *goal = Some((active, leading.epoch, leading.log_end));
            leading.log_end
        }
    };
    let voters = |id: &NodeId| {
        let raft = world.hosts[id].process.as_ref().map(|process| process.node.raft());
        raft.map(|raft| (raft.voters().ids(), raft.kraft_version()))
    };
    let changes = world.hosts[&active].process.as_ref().map(|it| it.node.raft().view());
    if changes.is_some_and(|view| view.voter_change == Some(true)) {
        return Some(format!("c{active} is still changing the voters"));
    }
    for id in world.hosts.keys() {
        let Some(status) = status(id) else { return Some(format!("c{id} does not run")) };
        if (status.leader, status.epoch) != (Some(active), leading.epoch) {
            return Some(format!("c{id} does not follow c{active}: {status:?}"));
        }
        if status.applied < reached {
            return Some(format!("c{id} has not reached {reached}: {status:?}"));
        }
        // What was begun is finished everywhere or nowhere.
        if voters(id) != voters(&active) {
            let (theirs, ours) = (voters(id), voters(&active));
            return Some(format!("c{id} has voters {theirs:?}, the leader has {ours:?}"));
        }
    }
    for (id, broker) in &world.brokers {
        if broker.epoch.is_none() || broker.fenced || broker.replica.applied < reached {
            return Some(format!("b{id} does not work at {reached}: {}", broker.summary()));
        }
    }
    for (id, acknowledged) in before {
        let admin = &world.admins[id];
        let waits = admin.waiting_since().is_some_and(|since| since < healed);
        if waits || admin.acknowledged < acknowledged + 2 {
            return Some(format!("a{id} is not answered: {}", admin.summary()));
        }
    }
    None
}

impl World {
    /// Clients find what they were promised.
    fn check_clients(&self) {
        for (id, admin) in &self.admins {
            admin.oracle.check(*id, self.invariants.newest_image());
        }
    }
}
