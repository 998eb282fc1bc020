//! A voter that was cut off follows again soon after it can be reached.

mod support;

use std::time::Duration;
use support::{Kind, World};

/// How long after the end of the cut a fetch of that voter reached the leader.
fn back_after(cut_ms: u64, seed: u64) -> Duration {
    let mut world = World::new(Kind::Static, &[1, 2, 3], seed);
    world.start_all();
    assert!(world.run_until(Duration::from_secs(20), World::is_settled));
    let leader = world.leader().expect("a leader");
    let lost = if leader == 3 { 2 } else { 3 };
    let rest = (1..=3).filter(|id| *id != lost).collect();
    world.partition(&[vec![lost], rest]);
    world.run(Duration::from_millis(cut_ms));
    assert_eq!(world.leader(), Some(leader), "the others go on");
    world.heal();
    let healed = world.now;
    let heard = |w: &World| {
        let view = w.raft(leader).view();
        view.voters.iter().any(|m| m.key.id == lost && m.last_fetch.is_some_and(|at| at > healed))
    };
    assert!(world.run_until(Duration::from_secs(20), heard), "cut for {cut_ms} ms: lost for good");
    assert_eq!(world.leader(), Some(leader), "cut for {cut_ms} ms: it did not disturb");
    world.now - healed
}

/// The leader tells a silent voter every half fetch timeout who leads, which is 1 s, and the one that
/// hears it fetches. What takes longer found its own fetch lost, after a pre-vote that was refused.
#[test]
fn a_voter_that_was_cut_off_is_back_within_a_beat_of_its_leader() {
    let mut all: Vec<Duration> = (0..300).map(|n| back_after(3_000 + n * 37, n + 1)).collect();
    all.sort_unstable();
    let most = all[all.len() * 9 / 10];
    assert!(most <= Duration::from_secs(1), "nine of ten are back after {most:?}");
    let longest = all[all.len() - 1];
    assert!(longest <= Duration::from_secs(2), "{longest:?}");
}
