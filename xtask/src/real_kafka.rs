//! Tasks that start real Kafka: the demo, the bench, and the jars they need.
use crate::maven;
use crate::steps::{cargo, run, target_directory};
use std::path::PathBuf;
use std::process::Command;

/// Fetches the jars of these versions, and of the tools that drive them.
pub fn fetch_kafka(versions: &[&str]) -> Result<(), String> {
    for version in versions {
        maven::kafka_classpath(version)?;
        maven::kafka_classpath(maven::tools_version(version))?;
    }
    Ok(())
}

/// Builds the release binaries; the path of `quorate`.
pub fn build_release() -> Result<PathBuf, String> {
    run(cargo(&["build", "--release", "--package", "quorate-cli", "--bin", "quorate"]))?;
    Ok(target_directory()?.join("release").join("quorate"))
}

/// `cargo xtask demo [--once]`.
pub fn demo(args: &[&str]) -> Result<(), String> {
    if !matches!(args, [] | ["--once"]) {
        return Err(format!("usage: cargo xtask demo [--once], not {args:?}"));
    }
    maven::check_tools()?;
    fetch_kafka(&["4.4.0"])?;
    run_program("quorate-demo", args)
}

/// `cargo xtask bench [failover]`.
pub fn bench(args: &[&str]) -> Result<(), String> {
    maven::check_tools()?;
    fetch_kafka(&["4.3.0"])?;
    run_program("quorate-bench", args)
}

/// Builds everything in release and runs one of the harness's programs.
fn run_program(name: &str, args: &[&str]) -> Result<(), String> {
    println!("building in release");
    let quorate = build_release()?;
    run(cargo(&["build", "--release", "--package", "quorate-interop", "--bin", name]))?;
    let mut program = Command::new(target_directory()?.join("release").join(name));
    program
        .args(args)
        .env("QUORATE_BIN", quorate)
        .env("QUORATE_CACHE", maven::cache_dir())
        .env_remove("QUORATE_ORACLE");
    run(program)
}
