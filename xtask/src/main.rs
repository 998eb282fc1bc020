//! The developers' tasks: `cargo xtask <task>`.
#![forbid(unsafe_code)]

mod codegen;
mod differential;
mod import_schema;
mod maven;
mod real_kafka;
mod schema;
mod schema_json;
mod sim;
mod steps;
mod test_task;
mod tidy;
mod verify_schema;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  demo [--once]           a Quorate controller with three Apache Kafka brokers on this machine,
                          a broker killed and healed; stays up until Ctrl-C unless --once
  test [STEP...]          everything CI runs, or only these steps; `test --list` names them
  drills [FILTER]...      all quorum tests with real Kafka, 20 rounds each; FILTER picks some
  bench [--only SIDE]     create latency and rate, Quorate and Apache Kafka side by side;
                          SIDE is quorate or java
  bench failover [--only SIDE] [--rounds N]
                          for how long nothing can be created when the leader of three is killed,
                          told to stop, or silent
  fetch-kafka             the Kafka jars that demo, bench and tests need, through Maven
  sim [--seeds N] [--start-seed S]
                          the deterministic simulator, two seeds at a time; prints what reproduces
                          the first that fails
  differential corpus | [--kafka RELEASE] [--seed N] [--seeds K] [--ops M] [--only I,J] [--keep-going] [--words]
                          random administration of Kafka's controller and of ours, every answer and
                          record compared; prints the shortest series that shows a difference
  tidy                    dependency direction, purity of the core, house rules
  codegen [--check]       the protocol's Rust code from its schema text
  verify-schema           our schema against the definitions in Kafka's published jars
  import-schema RELEASE   drafts schema text from Kafka's definitions of that release

environment: QUORATE_CACHE  where jars are kept (default: target/cache)";

/// The folder of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo", rest @ ..] => real_kafka::demo(rest),
        ["test", rest @ ..] => test_task::test(rest),
        ["drills", rest @ ..] => test_task::drills(rest),
        ["bench", rest @ ..] => real_kafka::bench(rest),
        ["fetch-kafka"] => real_kafka::fetch_kafka(&maven::INTEROP_VERSIONS),
        ["sim", rest @ ..] => sim::sim(rest),
        ["differential", rest @ ..] => differential::differential(rest),
        ["tidy"] => tidy::tidy(),
        ["codegen"] => codegen::codegen(false),
        ["codegen", "--check"] => codegen::codegen(true),
        ["import-schema", release] => import_schema::import_schema(release),
        ["verify-schema"] => verify_schema::verify_schema(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
