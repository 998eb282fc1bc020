use crate::{Failure, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A child process with its output in a file. Killed when dropped, and killed by the
/// [`Watchdog`] should this process die first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command in a process group of its own (so that Ctrl-C at a terminal reaches only
    /// us), its output appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Outcome<Process> {
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(log)
                .map_err(|e| Failure(format!("cannot open {}: {e}", log.display())))
        };
        let (out, err) = (open()?, open()?);
        let child = command
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|e| Failure(format!("cannot start {name} ({command:?}): {e}")))?;
        watchdog().tell(&format!("+{}", child.id()));
        Ok(Process { name: name.to_owned(), child, log: log.to_path_buf() })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The write end of its standard input, if the command asked for a pipe.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Gives back what [`Process::take_stdin`] took.
    pub fn give_stdin(&mut self, stdin: ChildStdin) {
        self.child.stdin = Some(stdin);
    }

    /// Whether it has not exited yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&mut self) -> Outcome<()> {
        self.signal(Signal::TERM)
    }

    /// Sends a signal and returns at once; a process that has already exited is a failure.
    pub fn signal(&mut self, signal: Signal) -> Outcome<()> {
        let fault =
            |why: String| Failure(format!("cannot send {signal:?} to {}: {why}", self.name));
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(fault(format!("it has exited with {status}")));
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| fault("no pid".to_owned()))?;
        kill_process(pid, signal).map_err(|e| fault(e.to_string()))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only if it has exited already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for it to exit by itself.
    pub fn wait_exit(&mut self, deadline: Duration) -> Outcome<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if start.elapsed() > deadline => {
                    return Err(Failure(format!(
                        "{} (pid {}) still runs after {} s; its log: {}",
                        self.name,
                        self.pid(),
                        deadline.as_secs(),
                        self.log.display()
                    )));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(e) => return Err(Failure(format!("cannot wait for {}: {e}", self.name))),
            }
        }
    }

    /// The last lines of its output, for messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        watchdog().tell(&format!("-{}", self.child.id()));
    }
}

/// A shell that is told the pids of our children through a pipe and kills what is left of them
/// when the pipe closes: when this process ends, however it ends.
struct Watchdog {
    pipe: Mutex<ChildStdin>,
}

const WATCHDOG_SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=" "
while read -r line; do
  pid=${line#?}
  case $line in
    +*) pids="$pids$pid " ;;
    -*) pids="${pids%% "$pid" *} ${pids#* "$pid" }" ;;
    d*) folder=$pid ;;
    n*) nets="$nets $pid" ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
for net in $nets; do ip netns del "$net" 2>/dev/null; rm -rf "/etc/netns/$net"; done
if [ -n "$folder" ]; then sleep 1; rm -rf "$folder"; fi
"#;

#[expect(clippy::zombie_processes, reason = "it outlives this process, that is its purpose")]
fn watchdog() -> &'static Watchdog {
    static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        let mut child = Command::new("sh")
            .args(["-c", WATCHDOG_SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a POSIX shell is needed to run tests with real Kafka");
        let pipe = child.stdin.take().expect("stdin was asked for as a pipe");
        Watchdog { pipe: Mutex::new(pipe) }
    })
}

/// Should this process be killed, the folder is removed with its children (for the demo, which
/// ends by Ctrl-C; tests keep theirs).
pub fn remove_when_killed(folder: &Path) {
    watchdog().tell(&format!("d{}", folder.display()));
}

/// Should this process be killed, the network namespace is removed with its children.
pub(crate) fn remove_netns_when_killed(netns: &str) {
    watchdog().tell(&format!("n{netns}"));
}

impl Watchdog {
    fn tell(&self, line: &str) {
        let mut pipe = self.pipe.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // If the watchdog itself was killed there is nothing left to do: Drop still works.
        let _ = writeln!(pipe, "{line}");
    }
}
