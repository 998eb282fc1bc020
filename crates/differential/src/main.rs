//! `quorate-differential`: see `cargo xtask differential`.
#![forbid(unsafe_code)]

use quorate_differential::{Options, run};
use quorate_interop::KafkaVersion;
use std::process::ExitCode;

const USAGE: &str = "usage: quorate-differential [--kafka 4.3.0|4.4.0|3.9.1] [--release-version V] [--seed N] [--seeds K] \
                     [--ops M] [--only I,J,...] [--keep-going] [--words] [--coverage] [--trace]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&args) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(outcome) if outcome.differences == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        kafka: KafkaVersion::V4_3_0,
        seed: 1,
        seeds: 1,
        ops: 100,
        only: None,
        keep_going: false,
        words: false,
        coverage: false,
        trace: false,
        release_version: None,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--keep-going" => options.keep_going = true,
            "--words" => options.words = true,
            "--trace" => options.trace = true,
            "--coverage" => options.coverage = true,
            name => {
                let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
                let number = || value.parse().map_err(|_| format!("{name} {value}: no number"));
                match name {
                    "--kafka" => options.kafka = kafka(value)?,
                    "--release-version" => options.release_version = Some(value.clone()),
                    "--seed" => options.seed = number()?,
                    "--seeds" => options.seeds = number()?,
                    "--ops" => options.ops = number()?,
                    "--only" => options.only = Some(list(value)?),
                    _ => return Err(format!("unknown: {name}")),
                }
            }
        }
    }
    Ok(options)
}

fn kafka(text: &str) -> Result<KafkaVersion, String> {
    use KafkaVersion as V;
    [V::V3_9_1, V::V4_1_1, V::V4_3_0, V::V4_3_1, V::V4_4_0]
        .into_iter()
        .find(|it| it.as_str() == text)
        .ok_or_else(|| format!("--kafka {text}: not one that can be started"))
}

fn list(text: &str) -> Result<Vec<u64>, String> {
    let number = |it: &str| it.parse().map_err(|_| format!("--only {text}: {it:?} is no number"));
    text.split(',').filter(|it| !it.is_empty()).map(number).collect()
}
