//! `quorate history`: who changed what and when, with what was there before and after.

mod audit;
mod changes;
mod entry;
mod moment;

use crate::args::{Opt, Parsed, flag, option, parse_or_help};
use crate::failure::Failure;
use crate::shadow::given::wall_ms;
use audit::Audits;
use entry::{Entry, Filter};
use quorate_server::audit::line;
use quorate_server::config::address::parse_host_port;
use quorate_survey::history::{Happened, Moment, log_end, tell_directory};
use quorate_survey::{LiveImage, LiveOptions, Progress};
use std::collections::VecDeque;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: quorate history [OPTION]... SOURCE...

Shows what was changed in a cluster's metadata, in order, each change with what was there before and
after, and who asked for it; and what was asked for and refused. SOURCE is a controller's log directory
(Kafka's or ours, running or not), or HOST:PORT of a running controller, several for one that answers.
What was changed comes from the metadata log: of the directories, the one whose log reaches furthest.
Who asked comes from the audits of Quorate's controllers in all directories given: name all of them, as
each holds what its node decided. A log begins with its oldest snapshot; before that nothing is known.

      --audit PATH      more audits: a directory, or a file; may be repeated
      --since TIME      2026-11-22, 2026-11-22T22:38:25.123Z (UTC), or so long ago: 30m, 12h, 7d
      --until TIME      the same
      --topic NAME      this topic, its partitions, its configuration, and rights on its very name
      --principal NAME  what User:NAME (or another kind, given as KIND:NAME) asked for
      --api NAME        requests of that name, such as DeleteTopics
      --kind KIND       acl, broker, client quota, config, controller, delegation token, feature,
                        kraft.version, leader, partition, producer ids, scram, topic, voters;
                        may be repeated
      --refused         only what was refused or denied, also in part
      --last N          only the last N
      --follow          go on with what happens from now on; needs HOST:PORT
      --timeout-ms MS   how long a running quorum may take to be read (default 30000)
      --json            one JSON object a line

A log directory may hold records that were never committed; a running quorum shows only those that were.
Secrets are not shown.

Exit codes: 0 done, 1 failed, or the log is damaged behind what was shown, 2 wrong usage.
";

const OPTIONS: &[Opt] = &[
    option("audit", None),
    option("since", None),
    option("until", None),
    option("topic", None),
    option("principal", None),
    option("api", None),
    option("kind", None),
    flag("refused", None),
    option("last", None),
    flag("follow", Some('f')),
    option("timeout-ms", None),
    flag("json", None),
];

const KINDS: [&str; 14] = [
    "acl",
    "broker",
    "client quota",
    "config",
    "controller",
    "delegation token",
    "feature",
    "kraft.version",
    "leader",
    "partition",
    "producer ids",
    "scram",
    "topic",
    "voters",
];

/// While following: how long a change that is in the log waits for its line in the audit, which comes
/// when it is answered.
const AUDIT_LAG: Duration = Duration::from_secs(2);
/// While following: pause between two rounds over all addresses.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Runs `quorate history ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::usage(format!("{USAGE}\n{why}"));
    let Some(parsed) = parse_or_help(args, OPTIONS, USAGE)? else { return Ok(()) };
    let request = Request::of(&parsed).map_err(|why| wrong(&why))?;
    match request.run() {
        // Whoever reads the output has seen enough.
        Err(Stop::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Output(error)) => Err(error.into()),
        Err(Stop::Failure(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
}

enum Stop {
    Output(io::Error),
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

struct Request {
    directories: Vec<PathBuf>,
    addresses: Vec<String>,
    audits: Vec<PathBuf>,
    filter: Filter,
    last: Option<usize>,
    follow: bool,
    timeout: Duration,
    json: bool,
}

impl Request {
    fn of(parsed: &Parsed) -> Result<Request, String> {
        let (mut directories, mut addresses) = (Vec::new(), Vec::new());
        for source in &parsed.positional {
            let path = PathBuf::from(source);
            if path.is_dir() {
                directories.push(path);
            } else if parse_host_port(source).is_some() {
                addresses.push(source.clone());
            } else {
                return Err(format!("{source} is neither a directory nor HOST:PORT"));
            }
        }
        if parsed.positional.is_empty() {
            return Err("a log directory or HOST:PORT of a controller is expected".to_owned());
        }
        let follow = parsed.has("follow");
        if follow && addresses.is_empty() {
            return Err("--follow needs HOST:PORT of a controller".to_owned());
        }
        let extra: Vec<PathBuf> = parsed.values("audit").map(PathBuf::from).collect();
        if let Some(missing) = extra.iter().find(|it| !it.exists()) {
            return Err(format!("--audit: {} is not there", missing.display()));
        }
        let time = |name: &str| match parsed.value(name) {
            None => Ok(None),
            Some(text) => moment::parse(text, wall_ms()).map(Some).ok_or_else(|| {
                format!("--{name}: {text} is no time, such as 2026-11-22T22:38:25Z, or 12h")
            }),
        };
        let number = |name: &str| match parsed.value(name) {
            None => Ok(None),
            Some(text) => {
                text.parse::<u64>().map(Some).map_err(|_| format!("--{name}: {text} is no number"))
            }
        };
        let kinds: Vec<String> = parsed.values("kind").map(str::to_owned).collect();
        if let Some(kind) = kinds.iter().find(|it| !KINDS.contains(&it.as_str())) {
            return Err(format!("--kind: {kind} is none of {}", KINDS.join(", ")));
        }
        let text = |name: &str| parsed.value(name).map(str::to_owned);
        Ok(Request {
            audits: directories.iter().cloned().chain(extra).collect(),
            directories,
            addresses,
            filter: Filter {
                since_ms: time("since")?,
                until_ms: time("until")?,
                topic: text("topic"),
                principal: text("principal"),
                api: text("api"),
                kinds,
                refused: parsed.has("refused"),
            },
            last: number("last")?.map(|it| usize::try_from(it).unwrap_or(usize::MAX)),
            follow,
            timeout: Duration::from_millis(number("timeout-ms")?.unwrap_or(30_000)),
            json: parsed.has("json"),
        })
    }

    fn run(&self) -> Result<(), Stop> {
        let mut audits = Audits::new(self.audits.clone());
        audits.read_on().map_err(|error| Failure::failed(format!("the audit: {error}")))?;
        let mut history = History::new(audits, self);
        let mut damage = None;
        if self.addresses.is_empty() {
            damage = tell_directory(self.best_directory()?, &mut |it| history.take(&it))
                .map_err(Failure::from)?;
        } else {
            let mut live = LiveImage::new(LiveOptions::anonymous(self.addresses.clone())).telling();
            live.catch_up(self.timeout).map_err(|error| Failure::failed(error.to_string()))?;
            live.take_moments().iter().for_each(|it| history.take(it));
            if self.follow {
                history.print_all()?;
                return follow(&mut live, &mut history);
            }
        }
        history.print_all()?;
        let unreadable = history.audits.unreadable;
        if unreadable > 0 {
            eprintln!("{unreadable} line(s) of the audit could not be read");
        }
        match damage {
            Some(why) => Err(Failure::failed(format!("the history ends here: {why}")).into()),
            None => Ok(()),
        }
    }

    fn best_directory(&self) -> Result<&PathBuf, Failure> {
        let ends = self.directories.iter().filter_map(|it| {
            let end = log_end(it)?;
            Some((end.epoch, end.offset, it))
        });
        let best = ends.max_by_key(|(epoch, offset, _)| (*epoch, *offset)).map(|(_, _, it)| it);
        best.or(self.directories.first()).ok_or_else(|| Failure::usage("no directory was given"))
    }
}

/// Entries in order, of the log and of the audits.
struct History<'a> {
    audits: Audits,
    request: &'a Request,
    entries: VecDeque<(Entry, Instant)>,
    began: Option<i64>,
}

impl<'a> History<'a> {
    fn new(audits: Audits, request: &'a Request) -> History<'a> {
        History { audits, request, entries: VecDeque::new(), began: None }
    }

    /// Takes what is in the log, unless nothing changed.
    fn take(&mut self, moment: &Moment) {
        if let Happened::Beginning = moment.what {
            self.began = Some(moment.time_ms);
            return;
        }
        let changes = changes::changes(moment);
        if changes.is_empty() {
            return;
        }
        let entry = Entry {
            time_ms: moment.time_ms,
            records: Some((moment.first, moment.last, moment.epoch)),
            asked: self.audits.of(moment.first, moment.last, moment.epoch).cloned(),
            changes,
        };
        self.keep(entry);
    }

    fn keep(&mut self, entry: Entry) {
        // Until it is known who asked, nothing can be said against it.
        let kept =
            if self.is_waiting(&entry) { Some(entry) } else { self.request.filter.apply(entry) };
        self.entries.extend(kept.map(|it| (it, Instant::now())));
    }

    /// Prints everything taken so far, the requests that changed nothing among it, by time.
    fn print_all(&mut self) -> Result<(), Stop> {
        if let Some(began_ms) =
            self.began.filter(|it| self.request.filter.since_ms.is_none_or(|since| since < *it))
        {
            eprintln!("what was before {} is not known any more", line::time(began_ms));
        }
        self.read_audits()?;
        let filter = &self.request.filter;
        // While following, the newest may still wait for their lines.
        let recent_ms = wall_ms() - i64::try_from(AUDIT_LAG.as_millis()).unwrap_or(0);
        let waits = |it: &Entry| self.is_waiting(it) && it.time_ms >= recent_ms;
        let first = self.entries.iter().position(|(it, _)| waits(it));
        let rest = self.entries.split_off(first.unwrap_or(self.entries.len()));
        let printed = std::mem::replace(&mut self.entries, rest);
        let mut entries: Vec<Entry> =
            printed.into_iter().filter_map(|(it, _)| filter.apply(it)).collect();
        // Stable: the log's order stays among equal times.
        entries.sort_by_key(|it| it.time_ms);
        let from = self.request.last.map_or(0, |last| entries.len().saturating_sub(last));
        print(&entries[from..], self.request.json)
    }

    /// Prints what need not wait any longer for its line in the audit.
    fn print_due(&mut self) -> Result<(), Stop> {
        self.read_audits()?;
        let mut due = Vec::new();
        while let Some((front, since)) = self.entries.front() {
            if self.is_waiting(front) && since.elapsed() < AUDIT_LAG {
                break;
            }
            due.extend(self.entries.pop_front().and_then(|(it, _)| self.request.filter.apply(it)));
        }
        print(&due, self.request.json)
    }

    /// Whether it is not known yet who asked.
    fn is_waiting(&self, entry: &Entry) -> bool {
        self.request.follow && entry.asked.is_none() && !self.audits.is_empty()
    }

    fn read_audits(&mut self) -> Result<(), Stop> {
        self.audits.read_on().map_err(|error| Failure::failed(format!("the audit: {error}")))?;
        for (entry, _) in &mut self.entries {
            if let (None, Some((first, last, epoch))) = (&entry.asked, entry.records) {
                entry.asked = self.audits.of(first, last, epoch).cloned();
            }
        }
        for line in self.audits.take_others() {
            let time_ms = line.time_ms;
            self.keep(Entry { time_ms, records: None, asked: Some(line), changes: Vec::new() });
        }
        Ok(())
    }
}

fn follow(live: &mut LiveImage, history: &mut History<'_>) -> Result<(), Stop> {
    loop {
        match live.step().map_err(|error| Failure::failed(error.to_string()))? {
            Progress::NoLeader(_) => std::thread::sleep(RETRY_PAUSE),
            Progress::SnapshotLoaded(_) | Progress::Followed => {}
        }
        for moment in live.take_moments() {
            history.take(&moment);
        }
        history.print_due()?;
    }
}

fn print(entries: &[Entry], json: bool) -> Result<(), Stop> {
    let mut out = BufWriter::new(io::stdout().lock());
    for entry in entries {
        let written = match json {
            true => writeln!(out, "{}", entry.to_json()),
            false => write!(out, "{}", entry.to_text()),
        };
        written.map_err(Stop::Output)?;
    }
    out.flush().map_err(Stop::Output)
}
