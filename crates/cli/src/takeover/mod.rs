//! `quorate takeover`: what replacing the controllers of a running quorum would do and whether it is
//! safe, before and between the steps. It only looks; every change is the operator's.

mod findings;
mod judge;
mod may_stop;
mod place;
mod plan;
mod settings;
mod status;
mod steps;
mod survey;

use crate::args::{Opt, flag, option, parse_or_help};
use crate::failure::Failure;

const USAGE: &str = "\
usage: quorate takeover COMMAND --bootstrap HOST:PORT[,HOST:PORT]... ...

  plan [--config FILE]... [--back]    what would be done, step by step, and what could go wrong;
                                      ends with 3 if something must be put right first
  may-stop ID [--wait]                may this controller be stopped now? 0: yes, 3: no, and why
  status [--await ID=PROGRAM]         each controller: Kafka or Quorate, release, lag

HOST:PORT are controllers; one that answers is enough. Nothing is changed by any of these.

  -b, --bootstrap LIST   controllers to ask
  -c, --config FILE      server.properties of a node to replace; may be repeated. Its directory is
                         checked too if it is on this machine. A file whose node.id is no voter's
                         is a node to add. Without files, what the running nodes tell is taken
      --back             the way back, from Quorate to Kafka's controllers
      --wait             wait for a yes, as long as --timeout-ms
      --await ID=PROGRAM wait until node ID is run by PROGRAM, quorate or kafka, and has caught up
      --accept-outage    a quorum of one or two voters: accept that it has no leader meanwhile
      --json             for programs
      --timeout-ms MS    how long the quorum may take (default 30000)

Exit codes: 0 done or yes, 1 failed, 2 wrong usage, 3 refused or no.
";

const OPTIONS: &[Opt] = &[
    option("bootstrap", Some('b')),
    option("bootstrap-controller", None),
    option("config", Some('c')),
    option("await", None),
    option("timeout-ms", None),
    flag("accept-outage", None),
    flag("back", None),
    flag("json", None),
    flag("wait", None),
];

/// Refused to protect data.
const REFUSED: i32 = 3;

/// Runs `quorate takeover ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let Some(parsed) = parse_or_help(args, OPTIONS, USAGE)? else { return Ok(()) };
    let words: Vec<&str> = parsed.positional.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Err(wrong("no command was given")),
        ["plan"] => plan::plan(&parsed),
        ["status"] => status::status(&parsed),
        ["may-stop", id] => may_stop::may_stop(&parsed, id),
        ["may-stop"] => Err(wrong("may-stop needs the id of a controller")),
        ["plan" | "status" | "may-stop", .., extra] => {
            Err(wrong(format!("unexpected argument {extra}")))
        }
        [other, ..] => Err(wrong(format!("unknown command {other}"))),
    }
}

fn wrong(why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{USAGE}\n{why}"))
}

/// The text was printed; only the exit code is left to say.
fn refused() -> Failure {
    Failure { message: String::new(), exit_code: REFUSED }
}
