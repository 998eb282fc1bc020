//! `cargo xtask sim`: the deterministic simulator over many seeds, in release.
use crate::steps::{cargo, run};

/// What CI runs: about a minute on two cores. Always the same, so that a failure is the change's.
const CI_START_SEED: u64 = 1_000_000;
const CI_SEEDS: u64 = 2_000;

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

/// The step of CI: seeds, and each known bug is still found. One build serves both, with the bugs
/// compiled in and none of them on for the seeds.
pub fn ci() -> Result<(), String> {
    println!("{CI_SEEDS} seeds from {CI_START_SEED}");
    let (seeds, start) = (CI_SEEDS.to_string(), CI_START_SEED.to_string());
    let built = ["--quiet", "--release", "--package", "quorate-sim", "--features", "mutants"];
    let mut simulator = cargo(&["run"]);
    simulator.args(built).args(["--", "--seeds", &seeds, "--start-seed", &start]);
    run(simulator)?;
    let mut mutants = cargo(&["test"]);
    mutants.args(built).args(["--test", "mutants"]);
    run(mutants)
}
