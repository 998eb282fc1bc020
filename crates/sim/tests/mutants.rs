//! Each known bug, put back in, is found within its number of seeds:
//! `cargo test --release -p quorate-sim --features mutants`.
#![cfg(feature = "mutants")]

use quorate_sim::{Mutant, Options, run};

#[test]
fn each_is_found() {
    let mut missed = Vec::new();
    for (name, mutant, seeds) in Mutant::ALL {
        let found = (0..*seeds).find_map(|seed| {
            let options = Options { mutant: Some(*mutant), ..Options::draw(seed) };
            Some((seed, run(&options, false).failure?.message))
        });
        match found {
            Some((seed, message)) => println!("{name}: seed {seed}: {message}"),
            None => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
