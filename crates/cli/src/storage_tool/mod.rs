//! `quorate storage`: what `kafka-storage` does, with its flags.

mod format;
mod levels;
mod scram;

pub use format::initial_voters;

use crate::args::{Opt, Parsed, flag, option, with_usage};
use crate::failure::Failure;
use quorate_base::{Prng, Uuid};
use quorate_server::config::StorageConfig;
use quorate_server::random;
use quorate_storage::{FileDisk, MetaProperties};
use std::path::Path;

const USAGE: &str = "\
usage: quorate storage {format,info,version-mapping,feature-dependencies,random-uuid} ...

  format                format the log directories of a node
  info                  tell about the log directories of a node
  version-mapping       feature levels that come with a release
  feature-dependencies  what a feature level needs of other features
  random-uuid           print a random UUID, for a cluster or directory id
";

const FORMAT_USAGE: &str = "\
usage: quorate storage format -t CLUSTER_ID -c FILE [options]
                              [-s | -N | -I ID@HOST:PORT:DIRECTORY,...]

  -c, --config FILE             the node's properties file
  -t, --cluster-id ID           the cluster's id (quorate storage random-uuid makes one)
  -s, --standalone              this controller alone is the first voter of a dynamic quorum
  -I, --initial-controllers LIST
                                the first voters of a dynamic quorum; the same list for all of them
  -N, --no-initial-controllers  the voters are elsewhere; this node joins or follows them
  -r, --release-version RELEASE feature levels of this Kafka release (4.3, 3.9-IV0, ...)
  -f, --feature NAME=LEVEL      level of one feature; may be repeated
  -S, --add-scram MECHANISM=[name=NAME,password=PASSWORD]
                                a first SCRAM user; may be repeated
  -g, --ignore-formatted        leave formatted directories as they are instead of failing
";

const FORMAT: &[Opt] = &[
    option("config", Some('c')),
    option("cluster-id", Some('t')),
    option("add-scram", Some('S')),
    flag("ignore-formatted", Some('g')),
    option("release-version", Some('r')),
    option("feature", Some('f')),
    flag("standalone", Some('s')),
    flag("no-initial-controllers", Some('N')),
    option("initial-controllers", Some('I')),
];

/// Runs `quorate storage ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = args.split_first() else {
        return Err(Failure::usage(format!("{USAGE}\ntoo few arguments")));
    };
    match command.as_str() {
        "format" => with_usage(rest, FORMAT, FORMAT_USAGE, format::run),
        "info" => with_usage(
            rest,
            &[option("config", Some('c'))],
            "usage: quorate storage info -c FILE\n",
            info,
        ),
        "version-mapping" => with_usage(
            rest,
            &[option("release-version", Some('r'))],
            "usage: quorate storage version-mapping [-r RELEASE]\n",
            |args| {
                print!("{}", levels::mapping(args.value("release-version"))?);
                Ok(())
            },
        ),
        "feature-dependencies" => with_usage(
            rest,
            &[option("feature", Some('f'))],
            "usage: quorate storage feature-dependencies -f NAME=LEVEL ...\n",
            feature_dependencies,
        ),
        "random-uuid" => {
            println!("{}", Uuid::random(&mut Prng::new(random::seed()?)));
            Ok(())
        }
        "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::usage(format!("{USAGE}\nunknown command {other}"))),
    }
}

fn feature_dependencies(args: &Parsed) -> Result<(), Failure> {
    if !args.has("feature") {
        return Err(Failure::usage("argument --feature/-f is required"));
    }
    for text in args.values("feature") {
        print!("{}", levels::dependencies(text)?);
    }
    Ok(())
}

/// What is in the directories, and what is wrong with them.
fn info(args: &Parsed) -> Result<(), Failure> {
    let file = args.value("config");
    let file = file.ok_or_else(|| Failure::usage("argument --config/-c is required"))?;
    let config = StorageConfig::load(Path::new(file))?;
    let (mut found, mut problems, mut metas) = (Vec::new(), Vec::new(), Vec::new());
    for dir in &config.log_dirs {
        let shown = dir.display();
        if !dir.exists() {
            problems.push(format!("{shown} does not exist"));
        } else if !dir.is_dir() {
            problems.push(format!("{shown} is not a directory"));
        } else {
            found.push(format!("{shown}"));
            match MetaProperties::load(&FileDisk, dir) {
                Ok(Some(meta)) => metas.push(meta),
                Ok(None) => problems.push(format!("{shown} is not formatted.")),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    for meta in &metas {
        if meta.node_id != config.node_id {
            let (found, expected) = (meta.node_id, config.node_id);
            problems
                .push(format!("a directory belongs to node {found}, but node.id is {expected}"));
        }
        if meta.cluster_id != metas[0].cluster_id {
            let (one, other) = (&metas[0].cluster_id, &meta.cluster_id);
            problems.push(format!("directories belong to different clusters, {one} and {other}"));
        }
    }
    print_list("Found log director", &found);
    if let Some(meta) = metas.first() {
        let directory =
            meta.directory_id.map(|id| format!(", directory.id={id}")).unwrap_or_default();
        let (cluster, node) = (&meta.cluster_id, meta.node_id);
        println!(
            "Found metadata: {{cluster.id={cluster}{directory}, node.id={node}, version=1}}\n"
        );
    }
    match problems.len() {
        0 => return Ok(()),
        1 => println!("Found problem:"),
        _ => println!("Found problems:"),
    }
    problems.iter().for_each(|problem| println!("  {problem}"));
    println!();
    Err(Failure::failed(""))
}

fn print_list(title: &str, entries: &[String]) {
    if entries.is_empty() {
        return;
    }
    println!("{title}{}:", if entries.len() == 1 { "y" } else { "ies" });
    entries.iter().for_each(|entry| println!("  {entry}"));
    println!();
}
