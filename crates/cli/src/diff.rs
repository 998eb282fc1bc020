//! `quorate diff A B`: compares two metadata states as of one offset.

use crate::args::{Opt, flag, option, parse_or_help};
use crate::failure::Failure;
use quorate_survey::{CompareError, Difference, ImageAt, Source, differences, load_pair};
use serde_json::json;
use std::time::Duration;

const USAGE: &str = "\
usage: quorate diff A B [--at OFFSET] [--json]

Compares the metadata of A and B as of the highest offset that both have. Each is a node's log
directory, a .checkpoint file, or HOST:PORT of a controller: its quorum's leader is then read as an
observer reads it, which changes nothing and needs no vote. Kafka's or ours.

      --at OFFSET      compare as of this offset
      --timeout-ms MS  how long a running quorum may take (default 30000)
      --json           one JSON object

A log directory may hold records that were never committed; a running quorum shows only those that
were. Secrets are compared and not printed.

Exit codes: 0 the same, 1 different, 2 wrong usage, or there is nothing to compare.
";

const OPTIONS: &[Opt] = &[option("at", None), option("timeout-ms", None), flag("json", None)];

/// Runs `quorate diff ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::usage(format!("{USAGE}\n{why}"));
    let Some(parsed) = parse_or_help(args, OPTIONS, USAGE)? else { return Ok(()) };
    let [a, b] = parsed.positional.as_slice() else {
        return Err(wrong("two things to compare are expected"));
    };
    let at = parsed.value("at").map(str::parse::<i64>).transpose();
    let at = at.ok().filter(|at| at.is_none_or(|at| at >= 0));
    let at = at.ok_or_else(|| wrong("--at takes an offset, a number from 0"))?;
    let timeout_ms = parsed.value("timeout-ms").unwrap_or("30000").parse();
    let timeout_ms = timeout_ms.map_err(|_| wrong("--timeout-ms takes a number"))?;
    let timeout = Duration::from_millis(timeout_ms);
    let (of_a, of_b) = load_pair(&Source::parse(a)?, &Source::parse(b)?, at, timeout)?;
    let found = differences(&of_a.image, &of_b.image);
    let other_history = of_a.at.epoch != of_b.at.epoch;
    if parsed.has("json") {
        println!("{}", to_json([a, b], [&of_a, &of_b], &found));
    } else {
        print(["A", "B"], [a, b], [&of_a, &of_b], &found);
    }
    if found.is_empty() && !other_history { Ok(()) } else { Err(Failure::failed("")) }
}

fn print(labels: [&str; 2], names: [&str; 2], images: [&ImageAt; 2], found: &[Difference]) {
    for ((label, name), it) in labels.iter().zip(names).zip(images) {
        let hash = it.image.content_hash();
        println!("{label}: {name} as of {}, hash {hash:016x}", it.at);
    }
    if images[0].at.epoch != images[1].at.epoch {
        println!(
            "the epochs at that offset differ: these are two histories, not two copies of one log"
        );
    }
    for it in found {
        println!("{} {}", it.kind, it.key);
        let lacks = "(not there)".to_owned();
        println!("  A {}", it.a.as_ref().unwrap_or(&lacks));
        println!("  B {}", it.b.as_ref().unwrap_or(&lacks));
    }
    match found.len() {
        0 => println!("the same metadata"),
        count => println!("{count} difference(s)"),
    }
}

fn to_json(names: [&str; 2], images: [&ImageAt; 2], found: &[Difference]) -> serde_json::Value {
    let side = |at: usize| {
        json!({
            "source": names[at],
            "offset": images[at].at.offset,
            "epoch": images[at].at.epoch,
            "baseOffset": images[at].base.offset,
            "hash": format!("{:016x}", images[at].image.content_hash()),
        })
    };
    json!({
        "a": side(0),
        "b": side(1),
        "same": found.is_empty() && images[0].at.epoch == images[1].at.epoch,
        "differences": found.iter().map(|it| json!({
            "kind": it.kind, "key": it.key, "a": it.a, "b": it.b,
        })).collect::<Vec<_>>(),
    })
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Failure {
        Failure::usage(error.to_string())
    }
}
