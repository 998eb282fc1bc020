//! `quorate quorum`: looks at and changes a live quorum, as `kafka-metadata-quorum` does.

mod change;
pub(crate) mod leader;
mod show;
mod transfer;

use crate::args::{Opt, Parsed, flag, option, parse_or_help};
use crate::failure::Failure;
use quorate_base::NodeId;
use quorate_client::ClientError;

const USAGE: &str = "\
usage: quorate quorum --bootstrap HOST:PORT[,HOST:PORT]... COMMAND ...

  status                              leader, epoch, high watermark, lag, voters and observers
  replication                         one line for each replica
  add-controller -c FILE              makes the formatted and running node of FILE a voter
  add-controller --id N --directory-id D --endpoint NAME://HOST:PORT ...
                                      the same from elsewhere than its host
  remove-controller --id N --directory-id D
  transfer-leader ID                  voter ID leads, as soon as it has caught up; the leader
                                      until then must be Quorate, ID may be Kafka's

HOST:PORT are controllers; one that answers is enough. The commands that change something take
--dry-run. All but transfer-leader work with Kafka's controllers too.

  -b, --bootstrap LIST   controllers to ask
  -c, --config FILE      properties file of the node to add
      --id N             node.id of the controller (--controller-id is understood)
      --directory-id D   id of its metadata directory (--controller-directory-id is understood)
      --endpoint E       where others reach it: NAME://HOST:PORT; may be repeated
      --timeout-ms MS    how long the quorum may take (default 30000)

Exit codes: 0 done, 1 failed or refused, 2 wrong usage or configuration.
";

const OPTIONS: &[Opt] = &[
    option("bootstrap", Some('b')),
    // As Kafka's tool calls them.
    option("bootstrap-controller", None),
    option("config", Some('c')),
    option("command-config", None),
    option("id", Some('i')),
    option("controller-id", None),
    option("directory-id", Some('d')),
    option("controller-directory-id", None),
    option("endpoint", None),
    option("timeout-ms", None),
    flag("dry-run", None),
];

/// Runs `quorate quorum ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let Some(parsed) = parse_or_help(args, OPTIONS, USAGE)? else { return Ok(()) };
    let Some((command, rest)) = parsed.positional.split_first() else {
        return Err(wrong("no command was given"));
    };
    match (command.as_str(), rest) {
        ("status", []) => show::status(&parsed),
        ("replication", []) => show::replication(&parsed),
        ("add-controller", []) => change::add(&parsed),
        ("remove-controller", []) => change::remove(&parsed),
        ("transfer-leader", [id]) => transfer::transfer(&parsed, id),
        ("transfer-leader", []) => Err(wrong("transfer-leader needs the id of a voter")),
        ("transfer-leader", [_, extra, ..]) => Err(wrong(format!("unexpected argument {extra}"))),
        ("status" | "replication" | "add-controller" | "remove-controller", [.., extra]) => {
            Err(wrong(format!("unexpected argument {extra}")))
        }
        (other, _) => Err(wrong(format!("unknown command {other}"))),
    }
}

fn wrong(why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{USAGE}\n{why}"))
}

fn node_id(text: &str) -> Result<NodeId, Failure> {
    let id = text.parse().ok().filter(|id: &NodeId| *id >= 0);
    id.ok_or_else(|| Failure::usage(format!("{text} is no node id: a number from 0")))
}

/// The value of an option under either of its names.
fn either<'a>(args: &'a Parsed, ours: &str, kafkas: &str) -> Option<&'a str> {
    args.value(ours).or_else(|| args.value(kafkas))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::failed(error.to_string())
    }
}
