//! Every kind of Kafka client at once beside a change of controllers, in one JVM; see
//! `java/TakeoverLoad.java`.

use crate::{DEADLINE, Failure, KafkaVersion, Outcome, Process, STOP_DEADLINE, ensure, wait_for};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

const SOURCE: &str = include_str!("../java/TakeoverLoad.java");
/// What the streams of acknowledgements are called, in the order in which they are counted.
const STREAMS: [&str; 5] = ["plain", "idempotent", "transactions", "consumed", "admin"];

/// The longest times without an acknowledgement, by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(pub [Duration; STREAMS.len()]);

impl Pauses {
    /// The longer one of each.
    pub fn max(&self, other: &Pauses) -> Pauses {
        let mut longest = self.clone();
        for (one, other) in longest.0.iter_mut().zip(other.0) {
            *one = (*one).max(other);
        }
        longest
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = STREAMS.iter().zip(self.0);
        let all: Vec<String> =
            named.map(|(name, pause)| format!("{name} {} ms", pause.as_millis())).collect();
        f.write_str(&all.join(", "))
    }
}

/// How much was acknowledged, by stream: records of the three producers' topics (transactions for
/// the third), records that the group read, changes by the administrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; STREAMS.len()]);

/// The running clients.
#[derive(Debug)]
pub struct TakeoverLoad {
    process: Process,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    marks: usize,
}

impl TakeoverLoad {
    /// Starts all clients of a version and returns when each has had something acknowledged.
    pub fn start(
        dir: &Path,
        version: KafkaVersion,
        bootstrap: &str,
        replicas: usize,
    ) -> Outcome<TakeoverLoad> {
        let source = dir.join("TakeoverLoad.java");
        fs::write(&source, SOURCE)
            .map_err(|e| Failure(format!("cannot write {}: {e}", source.display())))?;
        let mut command = version.java(192, "ERROR")?;
        command.arg(&source).arg(bootstrap).arg(replicas.to_string()).stdin(Stdio::piped());
        let out = dir.join("load.out");
        let mut process = Process::spawn("the load", &mut command, &out)?;
        let stdin = process.take_stdin();
        let mut load = TakeoverLoad { process, stdin, out, marks: 0 };
        load.await_progress()?;
        load.mark("start")?;
        Ok(load)
    }

    /// Waits until every stream goes on, so that no state of the quorum is passed through unused.
    pub fn await_progress(&mut self) -> Outcome<()> {
        let before = self.ask("counts")?.1;
        wait_for("all clients go on", DEADLINE, || {
            let now = self.ask("counts")?.1;
            let still = STREAMS.iter().zip(before.0.iter().zip(now.0));
            let still: Vec<&&str> =
                still.filter(|(_, (before, now))| *before >= now).map(|(name, _)| name).collect();
            ensure!(still.is_empty(), "{still:?} stand still");
            Ok(())
        })
    }

    /// The longest pauses since the last mark.
    pub fn mark(&mut self, name: &str) -> Outcome<Pauses> {
        Ok(self.ask(&format!("mark {name}"))?.0)
    }

    /// Ends the load and reads everything back: fails if anything that was acknowledged is missing,
    /// or if what may be there once is there twice.
    pub fn finish(&mut self) -> Outcome<Counts> {
        self.say("finish")?;
        let status = self.process.wait_exit(DEADLINE + STOP_DEADLINE)?;
        let lines = self.lines();
        let said: Vec<&String> = lines.iter().filter(|line| line.starts_with("PROBLEM")).collect();
        ensure!(
            status.success() && lines.iter().any(|line| line == "VERDICT ok"),
            "the load ended with {status}: {said:?}; {}",
            self.process.log_tail()
        );
        let total = lines.iter().find(|line| line.starts_with("total "));
        total.and_then(|line| counts(line)).ok_or_else(|| Failure::new("no totals"))
    }

    fn say(&mut self, line: &str) -> Outcome<()> {
        let fault = |e: std::io::Error| Failure(format!("the load cannot be told {line}: {e}"));
        let stdin = self.stdin.as_mut().ok_or_else(|| Failure::new("the load has no input"))?;
        stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush()).map_err(fault)
    }

    /// Each line that is not `finish` is answered by itself and the figures.
    fn ask(&mut self, line: &str) -> Outcome<(Pauses, Counts)> {
        self.marks += 1;
        let line = format!("{} {line}", self.marks);
        self.say(&line)?;
        wait_for(&format!("the load answers {line:?}"), DEADLINE, || {
            ensure!(self.process.is_running(), "it has ended: {}", self.process.log_tail());
            let lines = self.lines();
            let found = lines.iter().find_map(|it| it.strip_prefix(&format!("{line} ")));
            let found = found.ok_or_else(|| Failure::new("not yet"))?;
            // The line may be half written.
            let figures = pauses(found).zip(counts(found));
            figures.ok_or_else(|| Failure(format!("it says {found:?}")))
        })
    }

    fn lines(&self) -> Vec<String> {
        let bytes = fs::read(&self.out).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(str::to_owned).collect()
    }
}

fn pauses(line: &str) -> Option<Pauses> {
    let mut pauses = Pauses::default();
    for (name, pause) in STREAMS.iter().zip(&mut pauses.0) {
        let word = line.split(' ').find_map(|word| word.strip_prefix(&format!("{name}=")))?;
        *pause = Duration::from_millis(word.parse().ok()?);
    }
    Some(pauses)
}

fn counts(line: &str) -> Option<Counts> {
    let word = line.split(' ').find_map(|word| word.strip_prefix("counts="))?;
    let all: Vec<u64> = word.split(',').map(|it| it.parse().ok()).collect::<Option<_>>()?;
    Some(Counts(all.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_mark_is_read() {
        let line = "plain=3 idempotent=4 transactions=5 consumed=6 admin=70 counts=1,2,3,4,5";
        let read = pauses(line).unwrap();
        assert_eq!(read.0.map(|it| it.as_millis()), [3, 4, 5, 6, 70]);
        assert_eq!(counts(line), Some(Counts([1, 2, 3, 4, 5])));
        assert_eq!(counts("counts=1,2"), None);
        assert_eq!(read.max(&Pauses::default()), read);
    }
}
