//! What Kafka's dump tool and ours print of the nodes' segments: the same records, on every node.
//! The tools differ in one thing: Kafka's leaves out optional fields that have their default.

use crate::{Failure, KafkaVersion, Outcome, Quorum, Tool, ToolOutput, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// A record as a tool shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shown {
    name: String,
    /// Empty for control records: Kafka's tool shows it in their JSON only.
    version: String,
    json: String,
}

impl Shown {
    fn new(name: &str, version: &str, json: &str) -> Shown {
        Shown { name: name.to_owned(), version: version.to_owned(), json: json.to_owned() }
    }
}

impl Quorum {
    /// Waits until these voters hold what is committed, dumps their segments by both tools and
    /// compares, record by record. How many records all agree on.
    pub fn compare_dumps(&mut self, version: KafkaVersion, voters: &[i32]) -> Outcome<usize> {
        let end = self.await_caught_up(voters)?;
        let mut known: BTreeMap<(&str, i64), Shown> = BTreeMap::new();
        for id in voters {
            let dir = self.controllers[id].dir().join("__cluster_metadata-0");
            // Copies: retention may take a segment while a JVM starts.
            let files = copied_segments(&dir, &self.path().join(format!("dumped-{id}")))?;
            let args = ["--cluster-metadata-decoder", "--files", &files.join(",")];
            let javas = self.tool(version, Tool::DumpLog, &args)?.ok()?;
            let args: Vec<&str> =
                std::iter::once("dump").chain(files.iter().map(String::as_str)).collect();
            let ours = self.quorate(&args)?;
            let (mut javas, mut ours) = (kafkas(&javas)?, our(&ours));
            for shown in [&mut javas, &mut ours] {
                shown.retain(|offset, _| *offset < end);
                let reaches = shown.keys().next_back().is_some_and(|last| last + 1 == end);
                ensure!(reaches, "a dump of controller {id} does not reach offset {end}");
            }
            let names = |shown: &BTreeMap<i64, Shown>| -> Vec<(i64, String, String)> {
                let all = shown.iter();
                all.map(|(offset, it)| (*offset, it.name.clone(), it.version.clone())).collect()
            };
            ensure!(
                names(&javas) == names(&ours),
                "the tools do not show the same records of controller {id}"
            );
            for (tool, shown) in [("Kafka's", javas), ("our", ours)] {
                for (offset, record) in shown {
                    let first = known.entry((tool, offset)).or_insert_with(|| record.clone());
                    ensure!(
                        *first == record,
                        "offset {offset}: {tool} dump of controller {id} shows {record:?}, of \
                         another {first:?}"
                    );
                }
            }
        }
        Ok(known.len() / 2)
    }
}

fn copied_segments(dir: &Path, to: &Path) -> Outcome<Vec<String>> {
    let fault = |at: &Path, e: std::io::Error| Failure(format!("{}: {e}", at.display()));
    std::fs::create_dir_all(to).map_err(|e| fault(to, e))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| fault(dir, e))?.flatten() {
        let (segment, copy) = (entry.path(), to.join(entry.file_name()));
        if segment.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        match std::fs::copy(&segment, &copy) {
            Ok(_) => files.push(copy.display().to_string()),
            // Taken since it was listed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(fault(&segment, e)),
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "{} holds no segment", dir.display());
    Ok(files)
}

/// `| offset: 4 CreateTime: ... headerKeys: [] payload: {"type":"NAME","version":0,"data":{...}}`,
/// and for control records `... headerKeys: [] LeaderChange: {"version":0,...}`, or without the
/// second colon, or by 3.9 `... headerKeys: [] controlType: LEADER_CHANGE(2)`.
fn kafkas(dump: &ToolOutput) -> Outcome<BTreeMap<i64, Shown>> {
    for bad in ["Could not decode", "isvalid: false"] {
        let found = dump.out.lines().chain(dump.err.lines()).find(|line| line.contains(bad));
        if let Some(line) = found {
            return Err(dump.fault(&format!("found something wrong: {line}")));
        }
    }
    Ok(dump.out.lines().filter_map(kafkas_line).collect())
}

fn kafkas_line(line: &str) -> Option<(i64, Shown)> {
    let rest = line.strip_prefix("| offset: ")?;
    let (offset, rest) = rest.split_once(' ')?;
    let (_, value) = rest.split_once("headerKeys: [] ")?;
    let (name, json) = value.split_once(' ')?;
    let shown = if name == "controlType:" {
        // Kafka 3.9 names the type, `LEADER_CHANGE(2)`, and shows no content.
        let name: String = json.split_once('(')?.0.split('_').map(capitalised).collect();
        Shown::new(&name, "", "")
    } else if name == "payload:" {
        let (name, json) = json.strip_prefix("{\"type\":\"")?.split_once('"')?;
        let (version, json) = json.strip_prefix(",\"version\":")?.split_once(',')?;
        let json = json.strip_prefix("\"data\":")?.strip_suffix('}')?;
        Shown::new(name, version, json)
    } else {
        Shown::new(name.trim_end_matches(':'), "", json)
    };
    Some((offset.parse().ok()?, shown))
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    format!("{}{}", first.to_uppercase(), rest.to_lowercase())
}

/// `  4 NAME v0 {...}`; the line of a batch begins in the first column.
fn our(dump: &ToolOutput) -> BTreeMap<i64, Shown> {
    let mut shown = BTreeMap::new();
    let mut is_control = false;
    for line in dump.out.lines() {
        let Some(record) = line.strip_prefix("  ") else {
            is_control = line.starts_with("control batch");
            continue;
        };
        let mut words = record.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (offset, name, version, json) = (next(), next(), next(), next());
        let version = if is_control { "" } else { version.trim_start_matches('v') };
        if let Ok(offset) = offset.parse() {
            shown.insert(offset, Shown::new(name, version, json));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tools_lines_become_the_same() {
        let out = "control batch offsets 0-0 epoch 1 records 1\n  0 LeaderChange v0 {\"a\":1}\n\
                   batch offsets 1-1 epoch 1 records 1\n  1 TOPIC_RECORD v0 {\"name\":\"a b\"}\n";
        let dump =
            ToolOutput { line: String::new(), code: 0, out: out.to_owned(), err: String::new() };
        let head = "CreateTime: 1 keySize: 4 valueSize: 5 sequence: -1 headerKeys: []";
        let lines = [
            format!("| offset: 0 {head} LeaderChange: {{\"a\":1}}"),
            format!(
                "| offset: 1 {head} payload: {{\"type\":\"TOPIC_RECORD\",\"version\":0,\"data\":\
                 {{\"name\":\"a b\"}}}}"
            ),
        ];
        let javas: BTreeMap<i64, Shown> =
            lines.iter().filter_map(|line| kafkas_line(line)).collect();
        assert_eq!(javas.len(), 2);
        assert_eq!(our(&dump), javas);
        let old = kafkas_line(&format!("| offset: 0 {head} controlType: LEADER_CHANGE(2)"));
        assert_eq!(old, Some((0, Shown::new("LeaderChange", "", ""))));
    }
}
