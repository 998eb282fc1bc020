//! `quorate fsck DIR...`: checks a node's directories, of any Kafka from 3.3 on, and says what each
//! problem means.

use crate::args::{Opt, flag, option, parse_or_help};
use crate::failure::Failure;
use quorate_survey::{SurveyOptions, survey};
use std::path::PathBuf;

const USAGE: &str = "\
usage: quorate fsck DIR... [--json] [--cluster-id ID] [--node-id N]

Reads the log directories of one node (log.dirs and metadata.log.dir) and says what they hold and
what is wrong with it: log, snapshots, vote, and whether they fit together. Nothing is changed and
no lock is taken; a running node need not be stopped, but what it is just writing may seem torn.

      --json           one JSON object
      --cluster-id ID  the cluster that is expected
      --node-id N      the node that is expected

Exit codes: 0 no problem (there may be warnings), 1 problems, 2 wrong usage.
";

const OPTIONS: &[Opt] =
    &[flag("json", None), option("cluster-id", Some('t')), option("node-id", None)];

/// Runs `quorate fsck ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let wrong = |why: String| Failure::usage(format!("{USAGE}\n{why}"));
    let Some(parsed) = parse_or_help(args, OPTIONS, USAGE)? else { return Ok(()) };
    if parsed.positional.is_empty() {
        return Err(wrong("no directory was given".to_owned()));
    }
    let node_id = parsed.value("node-id").map(str::parse).transpose();
    let found = survey(&SurveyOptions {
        directories: parsed.positional.iter().map(PathBuf::from).collect(),
        cluster_id: parsed.value("cluster-id").map(str::to_owned),
        node_id: node_id.map_err(|_| wrong("--node-id takes a number".to_owned()))?,
        stop_at: None,
    });
    if parsed.has("json") {
        println!("{}", found.to_json());
    } else {
        print!("{}", found.to_text());
    }
    if found.is_clean() { Ok(()) } else { Err(Failure::failed("")) }
}
