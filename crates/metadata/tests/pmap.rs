//! The persistent map against `BTreeMap`, with versions kept while newer ones change.

use proptest::prelude::*;
use quorate_base::Prng;
use quorate_metadata::Change;
use quorate_metadata::pmap::{PMap, PSet};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    Mutate(u16, u32),
    Keep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few keys make removals and overwriting hit; many make the tree deep.
    let key = prop_oneof![0..64_u16, any::<u16>()];
    let step = prop_oneof![
        6 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Step::Insert(k, v)),
        3 => key.clone().prop_map(Step::Remove),
        2 => (key, any::<u32>()).prop_map(|(k, v)| Step::Mutate(k, v)),
        1 => Just(Step::Keep),
    ];
    prop::collection::vec(step, 0..600)
}

type Model = BTreeMap<u16, u32>;

fn assert_same(map: &PMap<u16, u32>, model: &Model) {
    map.check();
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    assert!(map.iter().eq(model.iter()));
    assert!(map.keys().eq(model.keys()));
    assert!(map.values().eq(model.values()));
}

fn assert_diff(from: &PMap<u16, u32>, a: &Model, to: &PMap<u16, u32>, b: &Model) {
    let keys: BTreeSet<&u16> = a.keys().chain(b.keys()).collect();
    let expected: Vec<Change<&u16, &u32>> = keys
        .into_iter()
        .map(|key| Change { key, old: a.get(key), new: b.get(key) })
        .filter(|it| it.old != it.new)
        .collect();
    assert_eq!(from.diff(to).collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn behaves_like_a_btreemap_and_versions_stay(steps in steps(), low: u16, high: u16) {
        let (mut map, mut model) = (PMap::<u16, u32>::new(), Model::new());
        let mut kept = vec![(map.clone(), model.clone())];
        for step in steps {
            match step {
                Step::Insert(k, v) => prop_assert_eq!(map.insert(k, v), model.insert(k, v)),
                Step::Remove(k) => prop_assert_eq!(map.remove(&k), model.remove(&k)),
                Step::Mutate(k, v) => {
                    *map.get_or_insert_with(k, || 7) ^= v;
                    *model.entry(k).or_insert(7) ^= v;
                    prop_assert_eq!(map.get_mut(&k), model.get_mut(&k));
                }
                Step::Keep => kept.push((map.clone(), model.clone())),
            }
        }
        kept.push((map, model));
        for (map, model) in &kept {
            assert_same(map, model);
            for key in [0, 1, 63, low, high] {
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
            }
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(map.range(low..high).eq(model.range(low..high)));
            prop_assert!(map.range(low..=high).eq(model.range(low..=high)));
            prop_assert!(map.range(low..).eq(model.range(low..)));
            prop_assert!(map.range(..high).eq(model.range(..high)));
        }
        let (last, last_model) = &kept[kept.len() - 1];
        for (map, model) in &kept {
            assert_diff(map, model, last, last_model);
            assert_diff(last, last_model, map, model);
        }
    }
}

/// Ascending, descending and random fills, then removal of everything in another order.
#[test]
fn deep_trees_grow_and_shrink() {
    const COUNT: u16 = 20_000;
    let mut shuffled: Vec<u16> = (0..COUNT).collect();
    let mut prng = Prng::new(3);
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, prng.below(at as u64 + 1) as usize);
    }
    let ascending: Vec<u16> = (0..COUNT).collect();
    let descending: Vec<u16> = (0..COUNT).rev().collect();
    for fill in [&ascending, &descending, &shuffled] {
        for empty in [&ascending, &descending, &shuffled] {
            let (mut map, mut model) = (PMap::new(), Model::new());
            for key in fill {
                map.insert(*key, u32::from(*key));
                model.insert(*key, u32::from(*key));
            }
            assert_same(&map, &model);
            let (full, full_model) = (map.clone(), model.clone());
            for (at, key) in empty.iter().enumerate() {
                assert_eq!(map.remove(key), model.remove(key));
                if at % 4_999 == 0 {
                    assert_same(&map, &model);
                    assert_diff(&full, &full_model, &map, &model);
                }
            }
            assert!(map.is_empty());
            assert_same(&full, &full_model);
        }
    }
}

#[test]
fn maps_of_other_descent_are_compared_by_content() {
    let of = |keys: &mut dyn Iterator<Item = u16>| {
        let mut map = PMap::new();
        keys.for_each(|key| {
            map.insert(key, u32::from(key));
        });
        map
    };
    let (a, b) = (of(&mut (0..5000)), of(&mut (0..5000).rev()));
    assert!(!a.is_same(&b));
    assert_eq!(a.diff(&b).count(), 0);
    assert!(a.is_same(&a.clone()));
}

#[test]
fn sets_follow_what_is_said_of_each_member() {
    let mut set = PSet::new();
    for key in 0..100 {
        set.set(key, key % 3 == 0);
    }
    let before = set.clone();
    set.set(3, false);
    set.set(3, false);
    set.set(4, true);
    assert_eq!((before.len(), set.len()), (34, 34));
    assert!(before.contains(&3) && !set.contains(&3) && set.contains(&4));
    assert!(set.iter().take(3).eq([0, 4, 6].iter()));
}
