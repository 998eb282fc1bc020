//! The `quorate` binary: takes the command line apart and hands over.
#![forbid(unsafe_code)]

mod args;
mod backup;
mod diff;
mod dump;
mod failure;
mod fsck;
mod history;
mod quorum;
mod recover;
mod restore;
mod shadow;
mod storage_tool;
mod takeover;
mod what_if;

use args::{Parsed, option};
use failure::Failure;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: quorate COMMAND ...

  server FILE.properties [--override KEY=VALUE]...   run a controller in the foreground
  storage COMMAND ...                                format and inspect directories
  quorum COMMAND ...                                 look at and change a live quorum
  takeover COMMAND ...                               from Kafka's controllers to Quorate, and back
  dump FILE...                                       print .log and .checkpoint files
  fsck DIR...                                        check a node's directories, of any Kafka
  diff A B                                           compare two metadata states
  history SOURCE...                                  who changed what, and what was there before
  recover DIR...                                     go on after the majority is lost
  shadow ...                                         follow a running quorum and verify it
  what-if ...                                        what a change would do, before it is done
  backup ...                                         keep a copy of a quorum's metadata
  restore ...                                        a new quorum out of a backup

quorate COMMAND --help tells more; quorate --version tells the version.
";

const SERVER_USAGE: &str = "\
usage: quorate server FILE.properties [--override KEY=VALUE]...

Runs a controller in the foreground. FILE is Kafka's server.properties with process.roles=controller.
SIGTERM and SIGINT hand leadership over and end it with exit code 0.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused to protect data.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let exit_code = run(&args);
    ExitCode::from(u8::try_from(exit_code).unwrap_or(1))
}

fn run(args: &[String]) -> i32 {
    let Some((command, rest)) = args.split_first() else {
        eprint!("{USAGE}");
        return 2;
    };
    match command.as_str() {
        "server" => server(rest),
        "storage" => finish(storage_tool::run(rest)),
        "quorum" => finish(quorum::run(rest)),
        "takeover" => finish(takeover::run(rest)),
        "dump" => dump::run(rest),
        "shadow" => finish(shadow::run(rest)),
        "fsck" => finish(fsck::run(rest)),
        "diff" => finish(diff::run(rest)),
        "history" => finish(history::run(rest)),
        "recover" => finish(recover::run(rest)),
        "what-if" => finish(what_if::run(rest)),
        "backup" => finish(backup::run(rest)),
        "restore" => finish(restore::run(rest)),
        "-h" | "--help" | "help" => {
            print!("{USAGE}");
            0
        }
        "--version" | "-V" | "version" => {
            println!("quorate {}", env!("CARGO_PKG_VERSION"));
            0
        }
        other => {
            eprint!("{USAGE}");
            eprintln!("\nunknown command {other}");
            2
        }
    }
}

fn server(args: &[String]) -> i32 {
    let parsed = match Parsed::parse(args, &[option("override", None)]) {
        Ok(parsed) => parsed,
        Err(why) => return finish(Err(Failure::usage(format!("{SERVER_USAGE}\n{why}")))),
    };
    if parsed.help {
        print!("{SERVER_USAGE}");
        return 0;
    }
    let [file] = parsed.positional.as_slice() else {
        let why = format!("{SERVER_USAGE}\nexpected one properties file");
        return finish(Err(Failure::usage(why)));
    };
    let overrides: Vec<String> = parsed.values("override").map(str::to_owned).collect();
    quorate_server::run::run(Path::new(file), &overrides)
}

fn finish(result: Result<(), Failure>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{failure}");
            }
            failure.exit_code
        }
    }
}
