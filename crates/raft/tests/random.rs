//! Random trouble: crashes, cuts, lost messages, snapshots, changes of the voter set. The safety
//! rules hold at every action; and when the trouble ends, everybody agrees.

mod support;

use quorate_base::{NodeId, Prng};
use std::time::Duration;
use support::{Kind, World};

fn trouble(seed: u64) {
    let mut choice = Prng::new(seed ^ 0x5eed);
    let voters: Vec<NodeId> = (1..=[1, 2, 3, 3, 5][choice.below(5) as usize]).collect();
    let kind = if choice.chance(1, 2) { Kind::Static } else { Kind::Dynamic };
    let mut world = World::new(kind, &voters, seed);
    world.max_delay_us = [500, 5_000, 50_000][choice.below(3) as usize];
    world.max_sync_us = [500, 5_000, 50_000][choice.below(3) as usize];
    for n in 1..=choice.below(3) as NodeId {
        let observer = voters.len() as NodeId + n;
        world.add_node(observer, support::directory(observer));
        let auto_join = choice.chance(1, 4);
        world.nodes.get_mut(&observer).expect("a node").config.auto_join = auto_join;
    }
    let fast_failover = choice.chance(3, 4);
    for node in world.nodes.values_mut() {
        node.config.fast_failover = fast_failover;
        node.old_voter = choice.chance(1, 12);
    }
    world.start_all();
    let ids: Vec<NodeId> = world.nodes.keys().copied().collect();
    for _ in 0..60 {
        let victim = ids[choice.below(ids.len() as u64) as usize];
        match choice.below(18) {
            12 | 13 => {
                if let Some(leader) = world.leader() {
                    world.add_voter(leader, victim);
                }
            }
            14 => {
                if let Some(leader) = world.leader() {
                    world.remove_voter(leader, victim);
                }
            }
            15 => {
                let frozen = world.running(victim) && choice.chance(1, 2);
                world.nodes.get_mut(&victim).expect("a node").frozen = frozen;
            }
            16 => {
                let other = ids[choice.below(ids.len() as u64) as usize];
                world.step(other, quorate_raft::Event::PeerDown { node: victim });
            }
            17 => {
                if let Some(leader) = world.leader() {
                    let upgrade = quorate_raft::Event::UpgradeKraftVersion {
                        token: quorate_raft::Token(0),
                        level: 1,
                        validate_only: false,
                    };
                    world.step(leader, upgrade);
                }
            }
            0 | 1 => world.crash(victim),
            2..=4 => {
                if !world.running(victim) {
                    world.start(victim);
                }
            }
            5 => {
                let mut groups = vec![Vec::new(), Vec::new()];
                for id in &ids {
                    groups[choice.below(2) as usize].push(*id);
                }
                world.partition(&groups);
            }
            6 => world.heal(),
            7 => world.loss = choice.below(300),
            8 => {
                if world.running(victim) {
                    world.snapshot(victim);
                }
            }
            9 => {
                if let Some(leader) = world.leader() {
                    let to = choice.chance(1, 2).then_some(victim);
                    world.step(leader, quorate_raft::Event::TransferLeader { to });
                }
            }
            _ => {
                for _ in 0..choice.below(5) {
                    let records = 1 + choice.below(4) as usize;
                    for id in &ids {
                        world.append(*id, records);
                    }
                    world.run(Duration::from_millis(choice.below(20)));
                }
            }
        }
        world.run(Duration::from_millis(choice.below(1500)));
    }
    world.heal();
    for id in &ids {
        world.nodes.get_mut(id).expect("a node").frozen = false;
        if !world.running(*id) {
            world.start(*id);
        }
    }
    let settled = world.run_until(Duration::from_secs(60), World::is_settled);
    assert!(settled, "the quorum does not settle: {:#?}", last_lines(&world));
    let leader = world.leader().expect("a leader");
    assert!(world.append(leader, 3));
    let settled = world.run_until(Duration::from_secs(5), World::is_settled);
    assert!(settled, "an append does not commit: {:#?}", last_lines(&world));
    for id in &ids {
        world.check_voters(*id);
    }
}

fn last_lines(world: &World) -> Vec<String> {
    let skip = world.trace.len().saturating_sub(60);
    let line = |(at, text): &(quorate_base::Time, String)| {
        format!("{:.3} {text}", at.as_nanos() as f64 / 1e9)
    };
    world.trace[skip..].iter().map(line).collect()
}

#[test]
fn safe_in_any_trouble_and_live_after_it() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(150);
    let first: u64 = std::env::var("FIRST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        let outcome = std::panic::catch_unwind(|| trouble(seed));
        assert!(outcome.is_ok(), "seed {seed} fails; run it alone with FIRST_SEED={seed} SEEDS=1");
    }
}
