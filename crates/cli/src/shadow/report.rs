//! What the shadow tells others: verdict, evidence, cost.

use super::second_node::SecondNode;
use crate::failure::Failure;
use quorate_base::OffsetAndEpoch;
use quorate_server::driver::clock::wall_ms;
use quorate_shadow::redecide::Redecided;
use quorate_shadow::{ColdStart, Compared, Damaged, Leader, Shadow, cold_start};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The state of a run, renewed from the shadow.
pub struct Report {
    /// Whose metadata.
    pub cluster_id: String,
    /// What ended the run, if that was no intention.
    pub fatal: Option<String>,
    bootstrap: Vec<String>,
    dir: PathBuf,
    started_ms: i64,
    started: Instant,
    leaders: Vec<(Option<i32>, i32, String)>,
    reconnects: u64,
    is_connected: bool,
    last_trouble: Option<String>,
    end: OffsetAndEpoch,
    log_start: i64,
    high_watermark: Option<i64>,
    content: Content,
    compared: Vec<Compared>,
    damaged: Vec<Damaged>,
    restarts: Vec<OffsetAndEpoch>,
    redecided: Option<Redecided>,
    second: Option<Second>,
    cost: Option<Cost>,
}

#[derive(Clone, Copy, Default)]
struct Content {
    topics: usize,
    partitions: usize,
    brokers: usize,
    records: u64,
    hash: u64,
}

struct Second {
    address: String,
    agreed: u64,
    last_agreed: Option<i64>,
    differing: Vec<(i64, String, String)>,
    trouble: Option<String>,
}

struct Cost {
    resident_bytes: Option<u64>,
    peak_bytes: Option<u64>,
    applied_records: u64,
    applying: Duration,
    fetched_bytes: u64,
    log_bytes: u64,
    start: ColdStart,
}

impl Report {
    /// At the start of a run.
    pub fn begin(cluster_id: String, bootstrap: Vec<String>, dir: &Path) -> Report {
        Report {
            cluster_id,
            fatal: None,
            bootstrap,
            dir: dir.to_owned(),
            started_ms: wall_ms(),
            started: Instant::now(),
            leaders: Vec::new(),
            reconnects: 0,
            is_connected: false,
            last_trouble: None,
            end: OffsetAndEpoch::default(),
            log_start: 0,
            high_watermark: None,
            content: Content::default(),
            compared: Vec::new(),
            damaged: Vec::new(),
            restarts: Vec::new(),
            redecided: None,
            second: None,
            cost: None,
        }
    }

    /// A leader answered.
    pub fn connected(&mut self, leader: Option<Leader>, address: Option<&str>) {
        self.is_connected = true;
        let Some(leader) = leader else { return };
        if self.leaders.last().is_none_or(|(_, epoch, _)| *epoch != leader.epoch) {
            self.leaders.push((leader.id, leader.epoch, address.unwrap_or_default().to_owned()));
        }
    }

    /// Nobody answers.
    pub fn disconnected(&mut self, why: &str) {
        if self.is_connected {
            self.reconnects += 1;
            eprintln!("lost the leader: {why}");
        }
        self.is_connected = false;
        self.last_trouble = Some(why.to_owned());
    }

    /// Takes everything over from the shadow, and measures what a start would cost.
    pub fn renew(
        &mut self,
        shadow: &mut Shadow,
        second: Option<&SecondNode>,
    ) -> Result<(), Failure> {
        self.redecided = shadow.redecided().cloned();
        let tip = shadow.tip();
        let image = tip.image();
        self.end = tip.end();
        self.log_start = shadow.mirror().reader().log_start();
        self.high_watermark = shadow.mirror().high_watermark();
        self.content = Content {
            topics: image.topics.topic_count(),
            partitions: image.topics.partition_count(),
            brokers: image.cluster.broker_count(),
            records: image.to_records().count() as u64,
            hash: image.content_hash(),
        };
        self.compared = shadow.compared.clone();
        self.damaged = shadow.damaged.clone();
        self.restarts = shadow.restarts.clone();
        self.second = second.map(|it| Second {
            address: it.address().to_owned(),
            agreed: it.agreed,
            last_agreed: it.last_agreed,
            differing: it.differing.clone(),
            trouble: it.trouble.clone(),
        });
        self.cost = Some(Cost {
            resident_bytes: memory("VmRSS:"),
            peak_bytes: memory("VmHWM:"),
            applied_records: shadow.applied.records,
            applying: shadow.applying,
            fetched_bytes: shadow.mirror().fetched_bytes,
            log_bytes: shadow.mirror().reader().size_bytes(),
            start: cold_start(shadow.mirror())?,
        });
        Ok(())
    }

    /// Everything that diverges, a sentence each; empty if nothing does.
    fn divergences(&self) -> Vec<String> {
        let mut out = Vec::new();
        for it in &self.damaged {
            out.push(format!("checkpoint {} from {}: {}", it.id, it.origin, it.why));
        }
        out.extend(self.compared.iter().filter_map(divergence));
        for (offset, ours, theirs) in self.second.iter().flat_map(|it| &it.differing) {
            out.push(format!(
                "the metadata at offset {offset} hashes to {ours} here and to {theirs} at the second node"
            ));
        }
        out.extend(self.fatal.clone());
        out
    }

    /// Exit code 1 with the first divergence, if there is any.
    pub fn verdict(&self) -> Result<(), Failure> {
        match self.divergences().first() {
            Some(first) => Err(Failure::failed(format!("divergence: {first}"))),
            None if self.end.offset == 0 => {
                let why = self.last_trouble.as_deref().unwrap_or("nothing is committed there");
                Err(Failure::failed(format!("nothing was followed: {why}")))
            }
            None => Ok(()),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let id = |id: &OffsetAndEpoch| json!({ "offset": id.offset, "epoch": id.epoch });
        json!({
            "cluster_id": self.cluster_id,
            "bootstrap": self.bootstrap,
            "dir": self.dir.display().to_string(),
            "started_ms": self.started_ms,
            "seconds": self.started.elapsed().as_secs(),
            "divergences": self.divergences(),
            "end": id(&self.end),
            "log_start": self.log_start,
            "high_watermark": self.high_watermark,
            "leaders": self.leaders.iter().map(|(leader, epoch, address)| json!({
                "node_id": leader, "epoch": epoch, "address": address,
            })).collect::<Vec<_>>(),
            "reconnects": self.reconnects,
            "began_at_snapshots": self.restarts.iter().map(id).collect::<Vec<_>>(),
            "topics": self.content.topics,
            "partitions": self.content.partitions,
            "brokers": self.content.brokers,
            "records": self.content.records,
            "image_hash": format!("{:016x}", self.content.hash),
            "checkpoints": self.compared.iter().map(|it| json!({
                "id": id(&it.id),
                "origin": it.origin,
                "bytes": it.bytes,
                "records": it.comparison.records,
                "differing": it.comparison.differing,
                "orphaned_settings": it.comparison.orphaned_settings,
                "differences": it.comparison.differences.iter().map(|difference| json!({
                    "key": difference.key,
                    "ours": difference.ours,
                    "theirs": difference.theirs,
                })).collect::<Vec<_>>(),
                "last_change": it.last_change.as_ref().map(|(offset, record)| json!({
                    "offset": offset, "record": record,
                })),
                "replay_ms": it.replay.as_secs_f64() * 1e3,
                "load_ms": it.load.as_secs_f64() * 1e3,
            })).collect::<Vec<_>>(),
            "damaged": self.damaged.iter().map(|it| json!({
                "id": id(&it.id), "origin": it.origin, "why": it.why,
            })).collect::<Vec<_>>(),
            "redecided": self.redecided.as_ref().map(|it| json!({
                "agreed": it.agreed,
                "on_purpose": it.on_purpose,
                "otherwise_count": it.otherwise_count,
                "otherwise": it.otherwise.iter().map(|it| json!({
                    "offset": it.offset, "what": it.what, "ours": it.ours, "theirs": it.theirs,
                })).collect::<Vec<_>>(),
            })),
            "second_node": self.second.as_ref().map(|it| json!({
                "address": it.address,
                "agreed": it.agreed,
                "last_agreed_offset": it.last_agreed,
                "differing": it.differing.len(),
                "trouble": it.trouble,
            })),
            "cost": self.cost.as_ref().map(|it| json!({
                "resident_bytes": it.resident_bytes,
                "peak_resident_bytes": it.peak_bytes,
                "applied_records": it.applied_records,
                "applying_ms": it.applying.as_secs_f64() * 1e3,
                "fetched_bytes": it.fetched_bytes,
                "log_bytes": it.log_bytes,
                "start_load_snapshot_ms": it.start.load.as_secs_f64() * 1e3,
                "start_replay_records": it.start.replayed.records,
                "start_replay_ms": it.start.replay.as_secs_f64() * 1e3,
            })),
        })
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write_markdown(&mut out).expect("writing to a string cannot fail");
        out
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let divergences = self.divergences();
        writeln!(out, "# Shadow of cluster {}\n", self.cluster_id)?;
        match divergences.as_slice() {
            [] => writeln!(out, "**No divergence.**\n")?,
            [only] => writeln!(out, "**One divergence:** {only}\n")?,
            [first, ..] => {
                writeln!(out, "**{} divergences.** The first: {first}\n", divergences.len())?;
            }
        }
        writeln!(out, "| | |\n|---|---|")?;
        let elapsed = self.started.elapsed().as_secs();
        writeln!(
            out,
            "| followed for | {}:{:02}:{:02} |",
            elapsed / 3600,
            elapsed / 60 % 60,
            elapsed % 60
        )?;
        writeln!(out, "| controllers asked | {} |", self.bootstrap.join(", "))?;
        writeln!(out, "| up to | {} |", self.end)?;
        writeln!(out, "| leaders seen | {} |", self.leaders.len())?;
        writeln!(out, "| connections lost | {} |", self.reconnects)?;
        let Content { topics, partitions, brokers, records, hash } = self.content;
        writeln!(out, "| topics, partitions, brokers | {topics}, {partitions}, {brokers} |")?;
        writeln!(out, "| records in a snapshot | {records} |")?;
        writeln!(out, "| hash of the metadata | {hash:016x} |")?;
        let (files, compared): (usize, u64) =
            (self.compared.len(), self.compared.iter().map(|it| it.comparison.records).sum());
        writeln!(out, "| checkpoints compared | {files}, with {compared} records |")?;
        if let Some(second) = &self.second {
            writeln!(
                out,
                "| hash compared with {} | {} times the same (last at offset {}), {} times not{} |",
                second.address,
                second.agreed,
                second.last_agreed.map_or("none".to_owned(), |it| it.to_string()),
                second.differing.len(),
                second.trouble.as_ref().map(|it| format!("; {it}")).unwrap_or_default()
            )?;
        }
        self.write_cost(out)?;
        for it in &self.restarts {
            writeln!(out, "\nThe log was followed from the leader's snapshot {it} on.")?;
        }
        self.write_compared(out)?;
        self.write_redecided(out)
    }

    fn write_cost(&self, out: &mut String) -> std::fmt::Result {
        let Some(cost) = &self.cost else { return Ok(()) };
        let mib = |bytes: Option<u64>| {
            bytes.map_or("unknown".to_owned(), |it| format!("{:.1} MiB", it as f64 / 1048576.0))
        };
        writeln!(
            out,
            "| memory of this process | {}, at most {} |",
            mib(cost.resident_bytes),
            mib(cost.peak_bytes)
        )?;
        writeln!(
            out,
            "| log kept, bytes fetched | {}, {} |",
            mib(Some(cost.log_bytes)),
            mib(Some(cost.fetched_bytes))
        )?;
        let rate = |records: u64, time: Duration| records as f64 / time.as_secs_f64().max(1e-9);
        writeln!(
            out,
            "| records applied | {} in {:.0} ms: {:.0}/s |",
            cost.applied_records,
            cost.applying.as_secs_f64() * 1e3,
            rate(cost.applied_records, cost.applying)
        )?;
        let start = &cost.start;
        writeln!(
            out,
            "| failover to a standby | its image is at hand: an election and one record; nothing to load |"
        )?;
        writeln!(
            out,
            "| cold start | {:.1} ms to load {}, {:.1} ms to replay {} records after it |",
            start.load.as_secs_f64() * 1e3,
            start.snapshot.map_or("no snapshot".to_owned(), |it| format!("the snapshot at {it}")),
            start.replay.as_secs_f64() * 1e3,
            start.replayed.records
        )
    }

    fn write_compared(&self, out: &mut String) -> std::fmt::Result {
        for it in &self.damaged {
            writeln!(
                out,
                "\n## Damaged checkpoint {}\n\nRead from {}. {}",
                it.id, it.origin, it.why
            )?;
        }
        for it in self.compared.iter().filter(|it| it.comparison.differing > 0) {
            writeln!(out, "\n## Divergence at checkpoint {}\n", it.id)?;
            writeln!(
                out,
                "Read from {}. {} of {} records differ.",
                it.origin, it.comparison.differing, it.comparison.records
            )?;
            for difference in &it.comparison.differences {
                let value = |it: &Option<String>| it.clone().unwrap_or("nothing".to_owned());
                writeln!(out, "\n* {}", difference.key)?;
                writeln!(out, "  * replayed: `{}`", value(&difference.ours))?;
                writeln!(out, "  * checkpoint: `{}`", value(&difference.theirs))?;
            }
            if let Some((offset, record)) = &it.last_change {
                writeln!(
                    out,
                    "\nThe log's last record about the first: offset {offset}, `{record}`"
                )?;
            }
        }
        if let Some(it) =
            self.compared.iter().rfind(|it| !it.comparison.orphaned_settings.is_empty())
        {
            writeln!(
                out,
                "\n## Settings of topics that do not exist\n\nA known fault of Kafka (docs/guide/shadow.md), no \
                 divergence of ours. In checkpoint {} from {}:\n",
                it.id, it.origin
            )?;
            it.comparison.orphaned_settings.iter().try_for_each(|it| writeln!(out, "* {it}"))?;
        }
        if !self.compared.is_empty() {
            writeln!(out, "\n## Checkpoints\n")?;
            writeln!(
                out,
                "| checkpoint | from | records | differing | replayed in ms | read in ms |"
            )?;
            writeln!(out, "|---|---|---|---|---|---|")?;
        }
        for it in &self.compared {
            writeln!(
                out,
                "| {} | {} | {} | {} | {:.1} | {:.1} |",
                it.id,
                it.origin,
                it.comparison.records,
                it.comparison.differing,
                it.replay.as_secs_f64() * 1e3,
                it.load.as_secs_f64() * 1e3
            )?;
        }
        Ok(())
    }

    fn write_redecided(&self, out: &mut String) -> std::fmt::Result {
        let Some(redecided) = &self.redecided else { return Ok(()) };
        writeln!(out, "\n## Decided again\n")?;
        let agreed: u64 = redecided.agreed.values().sum();
        writeln!(
            out,
            "{agreed} partition changes decided as recorded, {} decisions otherwise.\n",
            redecided.otherwise_count
        )?;
        writeln!(out, "| cause | partition changes alike |\n|---|---|")?;
        for (cause, count) in &redecided.agreed {
            writeln!(out, "| {cause} | {count} |")?;
        }
        for (reason, count) in &redecided.on_purpose {
            writeln!(out, "\n{count} times otherwise on purpose: {reason} (docs/differences.md).")?;
        }
        for it in &redecided.otherwise {
            writeln!(out, "\n### Offset {}: {}\n", it.offset, it.what)?;
            it.ours.iter().try_for_each(|record| writeln!(out, "* ours: `{record}`"))?;
            it.theirs.iter().try_for_each(|record| writeln!(out, "* recorded: `{record}`"))?;
        }
        Ok(())
    }
}

fn divergence(it: &Compared) -> Option<String> {
    let first = it.comparison.differences.first()?;
    let value = |it: &Option<String>| it.clone().unwrap_or("nothing".to_owned());
    let last = it.last_change.as_ref();
    Some(format!(
        "checkpoint {} from {}: {} of {} records differ, the first is {}: replaying leads to {}, the checkpoint \
         says {}{}",
        it.id,
        it.origin,
        it.comparison.differing,
        it.comparison.records,
        first.key,
        value(&first.ours),
        value(&first.theirs),
        last.map(|(offset, _)| format!("; last changed at offset {offset}")).unwrap_or_default()
    ))
}

/// A line for each of the last comparisons.
pub fn news(shadow: &Shadow, count: usize) -> Vec<String> {
    let compared = shadow.compared.iter().rev().take(count).rev().map(|it| match divergence(it) {
        Some(text) => format!("DIVERGENCE: {text}"),
        None => format!("checkpoint {}: {} records, all the same", it.id, it.comparison.records),
    });
    let damaged =
        shadow.damaged.iter().map(|it| format!("DAMAGED: checkpoint {}: {}", it.id, it.why));
    compared.chain(damaged).collect()
}

/// A line of `/proc/self/status` in bytes, where there is one.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
