//! `quorate backup`: keeps a verified copy of a quorum's metadata in another directory.

use crate::args::{Opt, Parsed, flag, option, with_usage};
use crate::failure::Failure;
use crate::shadow::given::{self, Bootstrap, pause, seed, wall_ms};
use quorate_base::Offset;
use quorate_shadow::{Keep, Mirror, Shadow, ShadowError, Source};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: quorate backup --bootstrap HOST:PORT[,HOST:PORT]... --to DIR [options]

Copies a quorum's committed metadata log and its snapshots into DIR as they come, in Kafka's files, synced
to disk. Every snapshot is held against what replaying the log leads to. Reconnects for ever; started again
on the same DIR it goes on where it was. Works with Kafka's controllers and ours, which do not notice.
DIR is for `quorate restore`, `quorate what-if --dir`, `quorate fsck` and `quorate dump`.

  -b, --bootstrap LIST   controllers; one that answers is enough
      --to DIR           where to; empty at first
      --once             stop when everything is copied that was committed at the start
      --for DURATION     stop after so long (90s, 30m, 12h, 7d)
      --keep DURATION    how far back a restore may want to go (default 7d); older snapshots and log
                         segments are removed, never the last snapshot
      --cluster-id ID    needed only with controllers older than Kafka 3.7

Exit codes: 0 done, 1 failed, or a snapshot that differs from the log, 2 wrong usage, 3 DIR is something
else's, or the quorum has lost records that DIR still holds.
";

const OPTIONS: &[Opt] = &[
    option("bootstrap", Some('b')),
    option("bootstrap-controller", None),
    option("to", None),
    flag("once", None),
    option("for", None),
    option("keep", None),
    option("cluster-id", None),
];

const LOOK_INTERVAL: Duration = Duration::from_secs(10);
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// With `--once`: how long nobody may answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `quorate backup ARGS`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    with_usage(args, OPTIONS, USAGE, back_up)
}

fn back_up(parsed: &Parsed) -> Result<(), Failure> {
    let bootstrap = Bootstrap::from_args(parsed)?;
    let dir = parsed.value("to").ok_or_else(|| Failure::usage("argument --to is required"))?;
    let keep = parsed.value("keep").map(given::duration).transpose()?.unwrap_or(KEEP);
    let run_for = parsed.value("for").map(given::duration).transpose()?;
    let until = run_for.map(|it| Instant::now() + it);
    let stop = given::stop_on_signals()?;
    let cluster_id = parsed.value("cluster-id").map(str::to_owned);
    let mut source = Source::new(bootstrap.addresses.clone(), None, cluster_id);
    let cluster_id = given::await_cluster_id(&mut source, until, &stop)?;
    let mirror = Mirror::open(Path::new(dir), &cluster_id, "backup", seed()?, wall_ms())?;
    let mut backup = Backup {
        shadow: Shadow::open(mirror, None, Keep::Duration(keep))?,
        source: Source::new(bootstrap.addresses, None, Some(cluster_id)),
        told: 0,
    };
    let (mut looked, mut answered) = (None::<Instant>, Instant::now());
    let mut goal: Option<Offset> = None;
    loop {
        if stop.load(Ordering::Relaxed) || until.is_some_and(|it| Instant::now() >= it) {
            break;
        }
        match backup.shadow.step(&mut backup.source, wall_ms()) {
            Ok(_) => answered = Instant::now(),
            Err(ShadowError::Again) => continue,
            Err(error) if error.is_transient() => {
                if parsed.has("once") && answered.elapsed() >= PATIENCE {
                    return Err(error.into());
                }
                pause(&stop);
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        if goal.is_none() {
            goal = backup.shadow.mirror().high_watermark();
        }
        let caught_up = goal.is_some_and(|goal| backup.shadow.tip().end().offset >= goal);
        if looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL)
            || (parsed.has("once") && caught_up)
        {
            backup.look()?;
            looked = Some(Instant::now());
        }
        if parsed.has("once") && caught_up {
            break;
        }
    }
    backup.finish()
}

struct Backup {
    shadow: Shadow,
    source: Source,
    told: usize,
}

impl Backup {
    fn look(&mut self) -> Result<(), Failure> {
        match self.shadow.look_at_the_leader(&mut self.source) {
            Err(error) if !error.is_transient() => return Err(error.into()),
            _ => {}
        }
        for it in &self.shadow.compared[self.told..] {
            let (id, records) = (it.id, it.comparison.records);
            match it.comparison.differences.first() {
                None => eprintln!("snapshot {id} copied and verified: {records} records"),
                Some(first) => eprintln!(
                    "SNAPSHOT {id} DIFFERS from the log, first in {}: `quorate shadow` tells more",
                    first.key
                ),
            }
        }
        self.told = self.shadow.compared.len();
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        let (mirror, end) = (self.shadow.mirror(), self.shadow.tip().end());
        let snapshots = mirror.snapshots().list()?.len();
        println!(
            "{}: everything committed up to {end}, {} bytes of log from offset {} on, {snapshots} snapshot(s)",
            mirror.dir().display(),
            mirror.reader().size_bytes(),
            mirror.reader().log_start()
        );
        let differing =
            self.shadow.compared.iter().filter(|it| it.comparison.differing > 0).count();
        let damaged = self.shadow.damaged.len();
        if differing + damaged > 0 {
            return Err(Failure::failed(format!(
                "{differing} snapshot(s) differ from the log and {damaged} are damaged; see above"
            )));
        }
        Ok(())
    }
}
