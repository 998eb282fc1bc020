//! Seeds, one after the other, and the shortest series that shows a difference.

use crate::generate::Versions;
use crate::pair::Asked;
use crate::{Difference, Pair};
use quorate_interop::{KafkaVersion, Outcome as Result};
use quorate_protocol::{ApiKey, ErrorCode};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Against which release.
    pub kafka: KafkaVersion,
    /// Formatted as for another release (`4.3`, `3.9-IV0`).
    pub release_version: Option<String>,
    /// The first seed.
    pub seed: u64,
    /// How many.
    pub seeds: u64,
    /// Operations of each.
    pub ops: u64,
    /// Only these operations, to see a difference again.
    pub only: Option<Vec<u64>>,
    /// Go on after a difference, and tell each kind once.
    pub keep_going: bool,
    /// Print every request and its answers.
    pub trace: bool,
    /// Tell how often each version of each API was asked.
    pub coverage: bool,
    /// Other words in messages count, too.
    pub words: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests answered by both.
    pub asked: Asked,
    /// Differences, each of another kind.
    pub differences: usize,
}

/// Trials to find a shorter series.
const TRIALS_MAX: usize = 120;

/// Runs all seeds; what it finds it prints.
pub fn run(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    let start = Instant::now();
    let mut pair = Pair::start(options.kafka, options.release_version.as_deref())?;
    pair.trace = options.trace;
    println!("both run after {} ms", start.elapsed().as_millis());
    for seed in options.seed..options.seed + options.seeds {
        let indices: Vec<u64> = match &options.only {
            Some(only) => only.clone(),
            None => (0..options.ops).collect(),
        };
        let Some((difference, at)) = series(&mut pair, seed, &indices, true)? else { continue };
        let kind = kind_of(&difference);
        let seen = kinds.entry(kind.clone()).or_default();
        *seen += 1;
        if *seen > 1 {
            continue;
        }
        outcome.differences += 1;
        let mut shortest = indices[..at].to_vec();
        let mut shown = difference;
        if options.only.is_none() {
            shorten(&mut pair, seed, &kind, &mut shortest, &mut shown)?;
        }
        let list: Vec<String> = shortest.iter().map(u64::to_string).collect();
        let list = list.join(",");
        let kafka = options.kafka;
        println!("seed {seed}: {shown}");
        println!("  again: cargo xtask differential --kafka {kafka} --seed {seed} --only {list}\n");
        if !options.keep_going {
            outcome.asked = std::mem::take(&mut pair.asked);
            println!("data and logs: {}", pair.keep());
            return Ok(outcome);
        }
    }
    outcome.asked = std::mem::take(&mut pair.asked);
    for (kind, times) in kinds.iter().filter(|(_, times)| **times > 1) {
        println!("{times} times: {kind}");
    }
    let words = std::mem::take(&mut pair.words);
    if options.words {
        for ((java, ours), (api, times)) in &words {
            println!("{api}, {times} times\n  java:    {java}\n  quorate: {ours}");
        }
        outcome.differences += words.len();
    }
    for api in never_done(&outcome.asked) {
        println!("{}: nothing that was asked was ever done: it is not compared", api.name());
        outcome.differences += 1;
    }
    if options.coverage {
        show_coverage(&pair.versions, &outcome.asked);
    }
    println!(
        "{} requests to both in {} s, {} kinds of differences, {} messages in other words",
        outcome.asked.total(),
        start.elapsed().as_secs(),
        outcome.differences,
        words.len()
    );
    pair.stop();
    Ok(outcome)
}

/// What was asked often enough that it should have succeeded once.
fn never_done(asked: &Asked) -> BTreeSet<ApiKey> {
    const OFTEN: u64 = 200;
    let mut times: BTreeMap<ApiKey, u64> = BTreeMap::new();
    for ((api, _), count) in &asked.by_version {
        *times.entry(*api).or_default() += count;
    }
    times.retain(|api, count| {
        // The answers to what is in it are the other APIs'.
        *count > OFTEN && *api != ApiKey::Envelope && !asked.by_code.contains_key(&(*api, 0))
    });
    times.into_keys().collect()
}

/// Every version of every API that both serve, how often it was asked, and the error codes in answers.
fn show_coverage(versions: &Versions, asked: &Asked) {
    for (api, (oldest, newest)) in versions {
        let counts: Vec<String> = (*oldest..=*newest)
            .map(|it| {
                let count = asked.by_version.get(&(*api, it)).copied();
                format!("v{it} {}", count.unwrap_or(0))
            })
            .collect();
        let codes: Vec<String> = asked
            .by_code
            .range((*api, i16::MIN)..=(*api, i16::MAX))
            .map(|((_, code), times)| format!("{} {times}", name_of(*code)))
            .collect();
        println!("asked: {}: {}; {}", api.name(), counts.join(", "), codes.join(", "));
    }
}

fn name_of(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| code.to_string(), |it| it.name().to_owned())
}

/// From an empty cluster: the difference, if there is one, and how many operations it took.
fn series(
    pair: &mut Pair,
    seed: u64,
    indices: &[u64],
    is_first: bool,
) -> Result<Option<(Difference, usize)>> {
    if let Err(failure) = pair.reset() {
        if is_first {
            println!("starting anew, the cluster of before cannot be emptied: {failure}\n");
        }
        pair.restart()?;
    }
    if let Some(difference) = pair.prepare(seed)? {
        return Ok(Some((difference, 0)));
    }
    for (done, index) in indices.iter().enumerate() {
        let difference = pair.operation(seed, *index).unwrap_or_else(|failure| {
            let what = format!("fates ({failure})");
            Some(Difference { what, ..Difference::default() })
        });
        if let Some(difference) = difference {
            return Ok(Some((difference, done + 1)));
        }
        if pair.parted {
            return Ok(None);
        }
    }
    Ok(pair.compare_images("at the end").map(|it| (it, indices.len())))
}

/// Leaves out operations as long as the same kind of difference shows.
fn shorten(
    pair: &mut Pair,
    seed: u64,
    kind: &str,
    indices: &mut Vec<u64>,
    shown: &mut Difference,
) -> Result<()> {
    let mut trials = 0;
    let mut size = indices.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < indices.len() && trials < TRIALS_MAX {
            trials += 1;
            let mut fewer = indices.clone();
            fewer.drain(at..(at + size).min(indices.len()));
            match series(pair, seed, &fewer, false)? {
                Some((difference, length)) if kind_of(&difference) == kind => {
                    fewer.truncate(length);
                    *indices = fewer;
                    *shown = difference;
                }
                _ => at += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Ok(())
}

/// Differences of one kind have one cause, mostly: what was compared, the API, and where the texts part.
fn kind_of(difference: &Difference) -> String {
    let request = difference.request.split('(').next().unwrap_or_default();
    let request: String = request.chars().filter(|c| !c.is_ascii_digit()).collect();
    let (java, ours) = (&difference.java, &difference.ours);
    let parted = java.bytes().zip(ours.bytes()).take_while(|(a, b)| a == b).count();
    if difference.what.starts_with("fates") {
        return format!("fates {request}");
    }
    let word = |text: &str| {
        let from = text.get(..parted).and_then(|it| it.rfind(", ")).unwrap_or(0);
        let part: String = text.get(from..).unwrap_or(text).chars().take(60).collect();
        part.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    format!("{} {request}: {} / {}", difference.what, word(java), word(ours))
}
