//! A short slice of seeds, and that a seed is a run.

use quorate_sim::{Options, run};

#[test]
fn same_seed_same_run() {
    for seed in [3, 17] {
        let options = Options::draw(seed);
        let (one, two) = (run(&options, false), run(&options, false));
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed} has two runs");
        assert_ne!(one.hash, run(&Options::draw(seed + 1), false).hash);
    }
}

#[test]
fn the_first_seeds_are_clean() {
    for seed in 0..25 {
        let outcome = run(&Options::draw(seed), false);
        assert!(outcome.failure.is_none(), "{}", outcome.failure.expect("some").report);
        assert!(outcome.acknowledged > 0, "seed {seed}: nothing was acknowledged");
    }
}
