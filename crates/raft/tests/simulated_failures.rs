//! The scenarios of Kafka's own simulation of its quorum: one failure at a time, with up to five
//! voters and some observers, and what must be possible after it. The safety rules of
//! `support/invariants.rs` hold at every action.

mod support;

use quorate_base::{NodeId, Offset, Prng, Time};
use quorate_raft::Event;
use std::time::Duration;
use support::{Kind, World, directory};

const SEEDS: u64 = 12;
const LIMIT: Duration = Duration::from_secs(60);

/// Voters 1 to `voters`, and after them up to two observers; none of them runs yet.
fn quorum(voters: NodeId, seed: u64) -> World {
    let kind = if seed.is_multiple_of(2) { Kind::Static } else { Kind::Dynamic };
    let mut world = World::new(kind, &(1..=voters).collect::<Vec<_>>(), seed);
    for id in voters + 1..=voters + Prng::new(seed).below(3) as NodeId {
        world.add_node(id, directory(id));
    }
    world
}

fn running(voters: NodeId, seed: u64) -> World {
    let mut world = quorum(voters, seed);
    world.start_all();
    let all = ids(&world);
    write_until_committed(&mut world, &all, 10);
    world
}

fn ids(world: &World) -> Vec<NodeId> {
    world.nodes.keys().copied().collect()
}

fn without(world: &World, absent: &[NodeId]) -> Vec<NodeId> {
    ids(world).into_iter().filter(|id| !absent.contains(id)).collect()
}

fn high_watermark(world: &World, ids: &[NodeId]) -> Offset {
    let known = ids.iter().filter(|id| world.running(**id));
    known.filter_map(|id| world.raft(*id).high_watermark()).max().unwrap_or(0)
}

fn last_lines(world: &World) -> Vec<String> {
    let skip = world.trace.len().saturating_sub(60);
    let line = |(at, text): &(Time, String)| format!("{:.3} {text}", at.as_nanos() as f64 / 1e9);
    world.trace[skip..].iter().map(line).collect()
}

/// The leader goes on appending until all of these know that `offset` is reached.
fn write_until_committed(world: &mut World, ids: &[NodeId], offset: Offset) {
    let end = world.now + LIMIT;
    let reached = |w: &World| ids.iter().all(|id| w.raft(*id).high_watermark() >= Some(offset));
    while !reached(world) {
        assert!(world.now < end, "{ids:?} do not reach {offset}: {:#?}", last_lines(world));
        if let Some(leader) = world.leader() {
            world.append(leader, 1);
        }
        world.run(Duration::from_millis(20));
    }
}

fn for_each(voters: impl IntoIterator<Item = NodeId>, scenario: impl Fn(NodeId, u64)) {
    for voters in voters {
        for seed in 0..SEEDS {
            scenario(voters, seed);
        }
    }
}

#[test]
fn a_quorum_of_any_size_elects_and_commits() {
    for_each(1..=5, |voters, seed| {
        running(voters, seed);
    });
}

#[test]
fn another_leads_when_the_leader_stops_or_dies_and_it_catches_up_on_return() {
    for_each(3..=5, |voters, seed| {
        let mut world = running(voters, seed);
        let leader = world.leader().expect("a leader");
        if seed.is_multiple_of(3) {
            world.step(leader, Event::Shutdown);
            assert!(world.run_until(LIMIT, |w| w.nodes[&leader].shut_down));
        }
        world.crash(leader);
        let rest = without(&world, &[leader]);
        write_until_committed(&mut world, &rest, 20);
        let reached = high_watermark(&world, &rest);
        world.start(leader);
        let all = ids(&world);
        write_until_committed(&mut world, &all, reached + 10);
    });
}

#[test]
fn a_majority_goes_on_after_all_were_killed() {
    for_each(1..=5, |voters, seed| {
        let mut world = running(voters, seed);
        let all = ids(&world);
        let reached = high_watermark(&world, &all);
        for id in &all {
            world.crash(*id);
        }
        let first = 1 + (seed as NodeId) % voters;
        let majority: Vec<NodeId> =
            (0..voters / 2 + 1).map(|n| 1 + (first - 1 + n) % voters).collect();
        for id in &majority {
            world.start(*id);
        }
        write_until_committed(&mut world, &majority, reached + 10);
    });
}

#[test]
fn another_leads_when_the_leader_is_cut_off() {
    for_each(3..=5, |voters, seed| {
        let mut world = running(voters, seed);
        let leader = world.leader().expect("a leader");
        world.partition(&[vec![leader]]);
        let rest = without(&world, &[leader]);
        write_until_committed(&mut world, &rest, 20);
    });
}

#[test]
fn only_the_larger_part_goes_on_and_all_catch_up_when_the_cut_is_healed() {
    for_each([5], |voters, seed| {
        let mut world = running(voters, seed);
        let minority = [1, 2];
        let majority = without(&world, &minority);
        world.partition(&[minority.to_vec()]);
        let before = high_watermark(&world, &majority);
        write_until_committed(&mut world, &majority, 2 * before);
        assert!(high_watermark(&world, &minority) < high_watermark(&world, &majority));
        world.heal();
        let (all, reached) = (ids(&world), high_watermark(&world, &majority));
        write_until_committed(&mut world, &all, 2 * reached);
    });
}

#[test]
fn the_next_leader_may_be_lost_as_soon_as_it_is_elected() {
    for_each(3..=5, |voters, seed| {
        let mut world = running(voters, seed);
        let old = world.leader().expect("a leader");
        let elected = world.last_leader;
        world.partition(&[vec![old]]);
        assert!(world.run_until(LIMIT, |w| w.last_leader != elected));
        let (_, new) = world.last_leader.expect("a leader");
        assert_ne!(new, old);
        world.partition(&[vec![new]]);
        let rest = without(&world, &[new]);
        let reached = high_watermark(&world, &rest);
        write_until_committed(&mut world, &rest, reached + 10);
    });
}

/// KIP-996: of five voters only these pairs hear each other: a-c, c-d, d-b, c-e, d-e. Without asking
/// in advance c and d would take the leadership from each other for ever.
fn cut_to_a_house(world: &mut World, [a, b, c, d, e]: [NodeId; 5]) {
    let open = [(a, c), (c, d), (d, b), (c, e), (d, e)];
    for from in 1..=5 {
        for to in 1..=5 {
            if from != to && !open.contains(&(from, to)) && !open.contains(&(to, from)) {
                world.cut.insert((from, to));
            }
        }
    }
}

#[test]
fn who_leads_a_majority_keeps_leading_it_though_one_voter_cannot_reach_it() {
    for_each([5], |voters, seed| {
        let mut world = running(voters, seed);
        let elected = world.last_leader;
        let c = world.leader().expect("a leader");
        let [a, b, d, e] = [1, 2, 3, 4].map(|n| 1 + (c - 1 + n) % voters);
        cut_to_a_house(&mut world, [a, b, c, d, e]);
        write_until_committed(&mut world, &[a, c, d, e], 20);
        world.run(Duration::from_secs(20));
        assert_eq!(world.last_leader, elected);
        let reached = high_watermark(&world, &[c]);
        write_until_committed(&mut world, &[a, c, d, e], reached + 10);
        assert_eq!(world.last_leader, elected);
    });
}

#[test]
fn cut_voters_elect_one_leader_once_if_a_majority_hears_it() {
    for_each([5], |voters, seed| {
        // New voters elect nobody until all have been heard (docs/decisions/0003), so the quorum
        // has run before.
        let mut world = running(voters, seed);
        for id in ids(&world) {
            world.crash(id);
        }
        cut_to_a_house(&mut world, [1, 2, 3, 4, 5]);
        world.start_all();
        let before = world.last_leader;
        let done = world.run_until(LIMIT, |w| w.last_leader != before);
        assert!(done, "seed {seed}, nobody is elected: {:#?}", last_lines(&world));
        let elected = world.last_leader;
        let leader = world.leader().expect("a leader");
        let reached: &[NodeId] = match leader {
            3 => &[1, 3, 4, 5],
            4 => &[2, 3, 4, 5],
            5 => &[3, 4, 5],
            other => panic!("{other} does not hear a majority"),
        };
        let committed = high_watermark(&world, reached);
        write_until_committed(&mut world, reached, committed + 20);
        world.run(Duration::from_secs(20));
        assert_eq!(world.last_leader, elected);
    });
}
