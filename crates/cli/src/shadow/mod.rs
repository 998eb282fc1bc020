//! `quorate shadow`: follows a running quorum as an observer, replays it, and compares with its checkpoints.

pub mod given;
mod report;
mod second_node;

use crate::args::{Opt, Parsed, flag, option, with_usage};
use crate::failure::Failure;
use given::{Bootstrap, pause, rules, seed, wall_ms};
use quorate_base::ReplicaKey;
use quorate_shadow::{Keep, Mirror, Shadow, ShadowError, Source};
use report::Report;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: quorate shadow --bootstrap HOST:PORT[,HOST:PORT]... --dir DIR [options]

Follows a running quorum, Kafka's or ours, as an observer that can never become a voter: copies its log
into DIR, replays it, and compares the result with every checkpoint of the leader, record by record.
Reconnects for ever; started again on the same DIR it goes on. SIGTERM and SIGINT end it with a report.

  -b, --bootstrap LIST      controllers to follow; one that answers is enough
      --dir DIR             where log and snapshots are kept; empty at first
      --for DURATION        stop after so long (90s, 30m, 12h, 7d); else it runs until it is stopped
      --report FILE         the report, renewed each minute and at the end: Markdown, or JSON if FILE
                            ends in .json; without it the report is printed at the end
      --checkpoint-dir DIR  also compare the checkpoints in this directory: a controller's
                            __cluster_metadata-0 on this machine, or copies
      --compare-with HOST:PORT
                            also compare the hash of the metadata with that of a Quorate node
                            (its quorate.http.listener)
      --decide              also decide recorded changes again, and list what Java decided otherwise
  -c, --config FILE         controllers' properties; with --decide, for min.insync.replicas and
                            unclean.leader.election.enable
      --replica-id N        be listed among the observers under this id; it must be nobody else's.
                            Without it the shadow is anonymous
      --cluster-id ID       needed only with controllers older than Kafka 3.7

Exit codes: 0 no divergence, 1 divergence (or nothing could be followed), 2 wrong usage, 3 the quorum has
lost records that were committed.
";

const OPTIONS: &[Opt] = &[
    option("bootstrap", Some('b')),
    option("bootstrap-controller", None),
    option("dir", None),
    option("for", None),
    option("report", None),
    option("checkpoint-dir", None),
    option("compare-with", None),
    flag("decide", None),
    option("config", Some('c')),
    option("replica-id", None),
    option("cluster-id", None),
];

/// How often the leader is asked for a new snapshot, and directories are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often the report is renewed.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Runs `quorate shadow ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    with_usage(args, OPTIONS, USAGE, follow)
}

fn follow(parsed: &Parsed) -> Result<(), Failure> {
    let mut session = Session::open(parsed)?;
    session.follow()
}

struct Session {
    shadow: Shadow,
    source: Source,
    until: Option<Instant>,
    stop: Arc<AtomicBool>,
    report_file: Option<PathBuf>,
    checkpoint_dir: Option<PathBuf>,
    second: Option<second_node::SecondNode>,
    report: Report,
}

impl Session {
    fn open(args: &Parsed) -> Result<Session, Failure> {
        let bootstrap = Bootstrap::from_args(args)?;
        let dir = args.value("dir").ok_or_else(|| Failure::usage("argument --dir is required"))?;
        let run_for = args.value("for").map(given::duration).transpose()?;
        let replica = args.value("replica-id").map(given::replica_id).transpose()?;
        let stop = given::stop_on_signals()?;
        let decide = args.has("decide").then(|| rules(args.value("config"))).transpose()?;
        let start = Instant::now();
        let until = run_for.map(|it| start + it);
        let replica = replica.map(|id| ReplicaKey { id, directory_id: Some(given::fresh_uuid()) });
        let given_id = args.value("cluster-id").map(str::to_owned);
        let mut source = Source::new(bootstrap.addresses.clone(), replica, given_id.clone());
        let cluster_id = given::await_cluster_id(&mut source, until, &stop)?;
        let source = Source::new(bootstrap.addresses.clone(), replica, Some(cluster_id.clone()));
        let mirror =
            Mirror::open(Path::new(dir), &cluster_id, "shadow", seed()?, wall_ms())?.may_skip();
        let shadow = Shadow::open(mirror, decide, Keep::Snapshots(2))?;
        let report = Report::begin(cluster_id, bootstrap.addresses, Path::new(dir));
        eprintln!(
            "following cluster {} from offset {} on",
            report.cluster_id,
            shadow.tip().end().offset
        );
        Ok(Session {
            shadow,
            source,
            until,
            stop,
            report_file: args.value("report").map(PathBuf::from),
            checkpoint_dir: args.value("checkpoint-dir").map(PathBuf::from),
            second: args.value("compare-with").map(second_node::SecondNode::new),
            report,
        })
    }

    fn follow(&mut self) -> Result<(), Failure> {
        let (mut looked, mut reported) = (None::<Instant>, Instant::now());
        let mut outcome = Ok(());
        while !self.is_over() {
            match self.shadow.step(&mut self.source, wall_ms()) {
                Ok(_) => self.report.connected(self.source.leader(), self.source.leader_address()),
                Err(ShadowError::Again) => continue,
                Err(error) if error.is_transient() => {
                    self.report.disconnected(&error.to_string());
                    pause(&self.stop);
                    continue;
                }
                Err(error) => {
                    self.report.fatal = Some(error.to_string());
                    outcome = Err(Failure::from(error));
                    break;
                }
            }
            if looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
                self.look()?;
                looked = Some(Instant::now());
            }
            if let Some(second) = &mut self.second {
                second.step(self.shadow.tip());
            }
            if reported.elapsed() >= REPORT_INTERVAL {
                self.write_report()?;
                reported = Instant::now();
            }
        }
        if outcome.is_ok() {
            self.look()?;
        }
        self.write_report()?;
        if self.report_file.is_none() {
            print!("{}", self.report.markdown());
        }
        outcome?;
        self.report.verdict()
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.until.is_some_and(|it| Instant::now() >= it)
    }

    fn look(&mut self) -> Result<(), Failure> {
        let known = self.shadow.compared.len() + self.shadow.damaged.len();
        match self.shadow.look_at_the_leader(&mut self.source) {
            Err(error) if !error.is_transient() => return Err(error.into()),
            // The next look finds it.
            _ => {}
        }
        if let Some(dir) = &self.checkpoint_dir {
            self.shadow.compare_directory(dir)?;
        }
        let now_known = self.shadow.compared.len() + self.shadow.damaged.len();
        if now_known > known {
            for line in report::news(&self.shadow, now_known - known) {
                eprintln!("{line}");
            }
        }
        Ok(())
    }

    fn write_report(&mut self) -> Result<(), Failure> {
        self.report.renew(&mut self.shadow, self.second.as_ref())?;
        let Some(file) = &self.report_file else { return Ok(()) };
        let text = match file.extension().is_some_and(|it| it == "json") {
            true => format!("{:#}\n", self.report.json()),
            false => self.report.markdown(),
        };
        // Whole or not at all: somebody may be reading it.
        let next = file.with_extension("next");
        std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, file)).map_err(|error| {
            Failure::failed(format!("cannot write the report {}: {error}", file.display()))
        })
    }
}
