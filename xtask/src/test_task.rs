//! `cargo xtask test`: everything CI runs, in the order in which failures are cheapest to find.
use crate::steps::{cargo, run};
use crate::{codegen, maven, real_kafka, sim, tidy, verify_schema};
use std::time::Instant;

struct Step {
    name: &'static str,
    what: &'static str,
    needs_kafka: bool,
    run: fn() -> Result<(), String>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", what: "the code is formatted", needs_kafka: false, run: fmt },
    Step {
        name: "codegen",
        what: "generated code is what the schema says",
        needs_kafka: false,
        run: || codegen::codegen(true),
    },
    Step {
        name: "tidy",
        what: "dependency direction, purity, house rules",
        needs_kafka: false,
        run: tidy::tidy,
    },
    Step { name: "clippy", what: "no warnings", needs_kafka: false, run: clippy },
    Step { name: "unit", what: "all tests without Kafka", needs_kafka: false, run: unit },
    Step {
        name: "sim",
        what: "simulated quorums under faults, and known bugs are found",
        needs_kafka: false,
        run: sim::ci,
    },
    Step {
        name: "jars",
        what: "the Kafka jars are in the cache",
        needs_kafka: true,
        run: || real_kafka::fetch_kafka(&maven::INTEROP_VERSIONS),
    },
    Step {
        name: "verify-schema",
        what: "our schema is Kafka's",
        needs_kafka: true,
        run: verify_schema::verify_schema,
    },
    Step { name: "interop", what: "all tests with real Kafka", needs_kafka: true, run: interop },
];

/// Runs all steps, or the named ones, and stops at the first that fails.
pub fn test(names: &[&str]) -> Result<(), String> {
    if names == ["--list"] {
        for step in STEPS {
            println!("{:15} {}", step.name, step.what);
        }
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|s| s.name != **name)) {
        return Err(format!("no step {unknown:?}; `cargo xtask test --list` names them"));
    }
    let chosen: Vec<&Step> =
        STEPS.iter().filter(|s| names.is_empty() || names.contains(&s.name)).collect();
    // Said at once, not after twenty minutes.
    if chosen.iter().any(|step| step.needs_kafka) {
        maven::check_tools()?;
    }
    let start = Instant::now();
    for (index, step) in chosen.iter().enumerate() {
        let (number, count) = (index + 1, chosen.len());
        println!("[{number}/{count}] {}: {}", step.name, step.what);
        let step_start = Instant::now();
        (step.run)().map_err(|error| {
            format!("{error}\nstep {} failed; alone: cargo xtask test {}", step.name, step.name)
        })?;
        println!("[{number}/{count}] {} ok, {} s", step.name, step_start.elapsed().as_secs());
    }
    println!("all ok, {} s", start.elapsed().as_secs());
    Ok(())
}

fn fmt() -> Result<(), String> {
    run(cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), String> {
    run(cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn unit() -> Result<(), String> {
    // The harness's own unit tests are cheap; its tests with Kafka are the last step.
    run(cargo(&["test", "--quiet", "--workspace", "--exclude", "quorate-interop"]))?;
    run(cargo(&["test", "--quiet", "--package", "quorate-interop", "--lib"]))
}

/// Quorums that CI has no time for: of each kind of drill it runs one, for a round or three.
const DRILLS_ONLY: [&str; 11] = [
    "one_of_ours_among_two_of_kafka",
    "two_of_ours_beside_one_of_kafka_3_9_1",
    "two_of_ours_beside_one_of_kafka_4_1_1",
    "two_of_ours_beside_one_of_kafka_4_4_0",
    "a_static_quorum_survives",
    "three_with_brokers_of_4_3_0",
    "five_with_brokers_of",
    "one_of_ours_takes_the_snapshot_of_kafka",
    "one_of_kafka_takes_the_snapshot_of_ours",
    "a_dynamic_quorum_that_forgets",
    "takeover_drill",
];

fn interop() -> Result<(), String> {
    let quorate = real_kafka::build_release()?;
    println!("binary under test: {}", quorate.display());
    // One cluster at a time: each is a controller and up to three JVMs.
    let mut tests = cargo(&["test", "--package", "quorate-interop", "--tests", "--"]);
    println!("left to `cargo xtask drills`: tests named like {DRILLS_ONLY:?}");
    tests
        .arg("--test-threads=1")
        .args(DRILLS_ONLY.iter().flat_map(|name| ["--skip", name]))
        .env("QUORATE_BIN", quorate)
        .env("QUORATE_CACHE", maven::cache_dir());
    run(tests)
}

/// The test files whose tests go round as often as they are told.
const DRILLS: [&str; 9] = [
    "quorum",
    "leader_loss",
    "lost_quorum_state",
    "membership",
    "snapshot_install",
    "mixed_quorum",
    "quorum_commands",
    "network_cuts",
    "takeover",
];

/// All tests of quorums, for twenty rounds where CI runs a few.
pub fn drills(filters: &[&str]) -> Result<(), String> {
    maven::check_tools()?;
    real_kafka::fetch_kafka(&maven::INTEROP_VERSIONS)?;
    let quorate = real_kafka::build_release()?;
    let tests = DRILLS.map(|name| ["--test", name]);
    let mut command = cargo(&["test", "--package", "quorate-interop", "--no-fail-fast"]);
    command
        .args(tests.as_flattened())
        .arg("--")
        .args(["--nocapture", "--test-threads=1"])
        .args(filters)
        .env("QUORATE_DRILL_ROUNDS", "20")
        .env("QUORATE_BIN", quorate)
        .env("QUORATE_CACHE", maven::cache_dir());
    run(command)
}
