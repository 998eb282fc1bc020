//! Where new replicas go.

use quorate_base::{NodeId, Prng};
use quorate_controller::placement::{UsableBroker, place};
use quorate_metadata::Str;
use std::collections::{BTreeMap, BTreeSet};

fn broker(id: NodeId, rack: Option<&str>, fenced: bool) -> UsableBroker {
    UsableBroker { id, rack: rack.map(Str::from), fenced }
}

fn racks(sizes: &[usize]) -> Vec<UsableBroker> {
    let mut brokers = Vec::new();
    for (rack, size) in sizes.iter().enumerate() {
        for _ in 0..*size {
            brokers.push(broker(brokers.len() as NodeId, Some(&format!("r{rack}")), false));
        }
    }
    brokers
}

fn counts(replicas: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    replicas.for_each(|it| *counts.entry(it).or_default() += 1);
    counts
}

fn spread(counts: &BTreeMap<NodeId, usize>) -> usize {
    let (least, most) = (counts.values().min(), counts.values().max());
    most.copied().unwrap_or(0) - least.copied().unwrap_or(0)
}

#[test]
fn replicas_of_a_partition_are_on_different_brokers_and_racks() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let sizes: Vec<usize> =
            (0..1 + prng.below(5)).map(|_| 1 + prng.below(5) as usize).collect();
        let brokers = racks(&sizes);
        let factor = 1 + prng.below(brokers.len() as u64) as i16;
        let placed = place(&brokers, 30, factor, &mut prng).expect("enough brokers");
        for replicas in &placed {
            let distinct: BTreeSet<&NodeId> = replicas.iter().collect();
            assert_eq!(distinct.len(), factor as usize, "{replicas:?}");
            let rack = |id: &NodeId| brokers[*id as usize].rack.clone();
            let used: BTreeSet<_> = replicas.iter().map(rack).collect();
            let expected = sizes.len().min(factor as usize);
            assert_eq!(used.len(), expected, "{replicas:?} in racks of {sizes:?}");
        }
    }
}

#[test]
fn test_even_distribution() {
    for (sizes, factor) in [(vec![6], 3), (vec![2, 2, 2], 3), (vec![3, 3], 2), (vec![4, 4, 4], 2)] {
        let brokers = racks(&sizes);
        let mut prng = Prng::new(3);
        let placed = place(&brokers, 600, factor, &mut prng).expect("enough brokers");
        let leaders = counts(placed.iter().map(|it| it[0]));
        assert_eq!(spread(&leaders), 0, "{sizes:?}: {leaders:?}");
        let all = counts(placed.iter().flatten().copied());
        assert!(spread(&all) <= 6, "{sizes:?}: {all:?}");
    }
}

#[test]
fn leaders_are_even_where_racks_are_not() {
    let mut prng = Prng::new(3);
    let placed = place(&racks(&[1, 2, 5]), 800, 2, &mut prng).expect("enough brokers");
    let leaders = counts(placed.iter().map(|it| it[0]));
    assert_eq!(spread(&leaders), 0, "{leaders:?}");
}

#[test]
fn small_topics_do_not_all_begin_at_the_same_broker() {
    let brokers = racks(&[3, 3]);
    let mut prng = Prng::new(9);
    let mut leaders = BTreeSet::new();
    for _ in 0..100 {
        leaders.insert(place(&brokers, 1, 2, &mut prng).expect("enough brokers")[0][0]);
    }
    assert_eq!(leaders.len(), 6);
}

#[test]
fn test_avoid_fenced_replica_if_possible_on_single_rack() {
    let brokers = [
        broker(0, None, true),
        broker(1, None, false),
        broker(2, None, false),
        broker(3, None, true),
        broker(4, None, false),
    ];
    let mut prng = Prng::new(1);
    for replicas in place(&brokers, 50, 3, &mut prng).expect("enough brokers") {
        assert!(replicas.iter().all(|it| [1, 2, 4].contains(it)), "{replicas:?}");
    }
    for replicas in place(&brokers, 50, 4, &mut prng).expect("enough brokers") {
        let fenced = replicas.iter().filter(|it| [0, 3].contains(*it)).count();
        assert_eq!(fenced, 1, "{replicas:?}");
        assert!([1, 2, 4].contains(&replicas[0]), "a fenced broker must not lead: {replicas:?}");
    }
}

#[test]
fn brokers_without_a_rack_are_a_rack_of_their_own() {
    let brokers =
        [broker(0, Some("a"), false), broker(1, Some("a"), false), broker(2, None, false)];
    let mut prng = Prng::new(1);
    for replicas in place(&brokers, 20, 2, &mut prng).expect("enough brokers") {
        assert!(replicas.contains(&2), "{replicas:?}");
    }
}

#[test]
fn what_cannot_be_placed_is_refused_with_a_reason() {
    let live = [broker(0, None, false), broker(1, None, false)];
    let fenced = [broker(0, None, true), broker(1, None, true)];
    let mut prng = Prng::new(1);
    for (brokers, factor, why) in [
        (&live, 0, "above zero"),
        (&live, -1, "above zero"),
        (&live, 3, "only 2 broker(s)"),
        (&fenced, 1, "fenced"),
    ] {
        let refusal = place(brokers, 1, factor, &mut prng).expect_err("cannot be placed");
        assert_eq!(refusal.error.name(), "INVALID_REPLICATION_FACTOR");
        let text = refusal.message.unwrap_or_default();
        assert!(text.contains(why), "{text}");
    }
}
