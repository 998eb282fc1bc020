//! `cargo xtask sim`: the deterministic simulator over many seeds, in release.
use crate::steps::{cargo, run};

/// Runs the simulator; the arguments are its own (`--seeds N`, `--start-seed S`, ...).
pub fn sim(args: &[&str]) -> Result<(), String> {
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "quorate-sim"]);
    // Bugs put in on purpose are compiled in only where they are asked for.
    if args.contains(&"--mutant") {
        command.args(["--features", "mutants"]);
    }
    command.arg("--").args(args);
    run(command)
}
