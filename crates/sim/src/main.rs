//! `quorate-sim`: runs seeds; `cargo xtask sim` is the way to call it.
#![forbid(unsafe_code)]

use quorate_sim::{Mutant, Options, run};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str = "\
usage: quorate-sim [--seeds N] [--start-seed S] [--threads N] [--verbose] [--keep-going]
                   [--mutant NAME]

Runs N seeds (default 100) from S (default 0) on that many threads (default 2). Stops at the first
failing seed, unless told to keep going, and prints what reproduces it.
  --verbose      all transitions to standard error
  --mutant NAME  with this bug put in";

struct Args {
    seeds: u64,
    start_seed: u64,
    threads: u64,
    verbose: bool,
    keep_going: bool,
    mutant: Option<Mutant>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args {
        seeds: 100,
        start_seed: 0,
        threads: 2,
        verbose: false,
        keep_going: false,
        mutant: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number =
            |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        match word.as_str() {
            "--seeds" => args.seeds = number(value()?)?,
            "--start-seed" => args.start_seed = number(value()?)?,
            "--threads" => args.threads = number(value()?)?.max(1),
            "--verbose" => args.verbose = true,
            "--keep-going" => args.keep_going = true,
            "--mutant" => {
                let name = value()?;
                let found = Mutant::ALL.iter().find(|(known, ..)| *known == name);
                let names: Vec<&str> = Mutant::ALL.iter().map(|(known, ..)| *known).collect();
                let unknown = || format!("no mutant {name:?}; there are {}", names.join(", "));
                args.mutant = Some(found.ok_or_else(unknown)?.1);
            }
            _ => return Err(format!("unknown argument {word:?}\n{USAGE}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let next = AtomicU64::new(args.start_seed);
    let end = args.start_seed + args.seeds;
    let totals = Mutex::new((0u64, 0u64, 0u64, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let options = Options { mutant: args.mutant, ..Options::draw(seed) };
                    let outcome = run(&options, args.verbose);
                    let mut totals = totals.lock().expect("no run panics outside of itself");
                    totals.0 += 1;
                    totals.1 += outcome.events;
                    totals.2 += outcome.acknowledged;
                    if let Some(failure) = outcome.failure {
                        if args.keep_going {
                            println!("seed {seed}: {} ({})", failure.message, failure.location);
                        } else {
                            println!("{}", failure.report);
                            next.store(end, Ordering::Relaxed);
                        }
                        totals.3.push(seed);
                    }
                }
            });
        }
    });
    let (runs, events, acknowledged, failed) = totals.into_inner().expect("no run panics");
    println!(
        "{runs} runs, {events} events, {acknowledged} requests acknowledged, {} failed, {:.1} s",
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
