//! `cargo xtask differential`: the same requests to Kafka's controller and to ours.
use crate::steps::{cargo, run, target_directory};
use crate::{maven, real_kafka};
use std::process::Command;

/// The corpus: seeds from 1 on, and operations of each, against each of these releases. Against older
/// ones there are known differences, neither mended nor accepted; not in CI before it was green often
/// enough (issue 6).
const CORPUS: [(&str, &str, &str); 1] = [("4.4.0", "20", "40")];

/// Runs the program with its own arguments; `--kafka` is 4.3.0 unless given. `corpus` alone: the corpus.
pub fn differential(args: &[&str]) -> Result<(), String> {
    if args == ["corpus"] {
        return corpus();
    }
    maven::check_tools()?;
    let release = args.iter().position(|it| *it == "--kafka").and_then(|at| args.get(at + 1));
    real_kafka::fetch_kafka(&[release.copied().unwrap_or("4.3.0")])?;
    let program = build()?;
    run(with_environment(program, args))
}

/// Stops at the first difference.
fn corpus() -> Result<(), String> {
    for (kafka, seeds, ops) in CORPUS {
        let args = ["--kafka", kafka, "--seed", "1", "--seeds", seeds, "--ops", ops];
        run(with_environment(build()?, &args))?;
    }
    Ok(())
}

fn build() -> Result<Command, String> {
    real_kafka::build_release()?;
    let name = "quorate-differential";
    run(cargo(&["build", "--quiet", "--release", "--package", name, "--bin", name]))?;
    Ok(Command::new(target_directory()?.join("release").join(name)))
}

fn with_environment(mut program: Command, args: &[&str]) -> Command {
    program.args(args).env("QUORATE_CACHE", maven::cache_dir());
    if let Ok(target) = target_directory() {
        program.env("QUORATE_BIN", target.join("release").join("quorate"));
    }
    program
}
