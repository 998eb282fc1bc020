use crate::{Cluster, DEADLINE, Failure, KafkaVersion, Outcome, Process, Tool, wait_for};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a tool printed and how it ended.
#[derive(Clone, Debug)]
pub struct ToolOutput {
    /// The tool with its arguments, for messages.
    pub line: String,
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl ToolOutput {
    /// Fails unless the tool ended with 0.
    pub fn ok(self) -> Outcome<ToolOutput> {
        if self.code == 0 { Ok(self) } else { Err(self.fault("ended badly")) }
    }

    /// Fails unless the tool ended with another code than 0, or said so on its output (some of
    /// Kafka's tools report errors and end with 0).
    pub fn refused_with(self, text: &str) -> Outcome<ToolOutput> {
        if self.out.contains(text) || self.err.contains(text) {
            Ok(self)
        } else {
            Err(self.fault(&format!("did not say {text:?}")))
        }
    }

    /// Fails unless standard output contains the text.
    pub fn says(self, text: &str) -> Outcome<ToolOutput> {
        if self.out.contains(text) {
            Ok(self)
        } else {
            Err(self.fault(&format!("did not print {text:?}")))
        }
    }

    /// A failure that shows everything about this run.
    pub fn fault(&self, why: &str) -> Failure {
        Failure(format!(
            "{} {why} (exit code {})\nstdout: {}\nstderr: {}",
            self.line,
            self.code,
            self.out.trim_end(),
            self.err.trim_end()
        ))
    }
}

/// A tool that runs beside the test: a producer or consumer.
#[derive(Debug)]
pub struct RunningTool {
    process: Process,
    out: PathBuf,
    line: String,
}

impl RunningTool {
    /// The lines printed so far, standard error among them.
    pub fn lines(&self) -> Vec<String> {
        let bytes = fs::read(&self.out).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    /// Waits until enough lines satisfy the check.
    pub fn await_lines(
        &mut self,
        count: usize,
        what: &str,
        check: impl Fn(&str) -> bool,
    ) -> Outcome<Vec<String>> {
        let line = self.line.clone();
        wait_for(&format!("{line}: {count} × {what}"), DEADLINE, || {
            let found: Vec<String> = self.lines().into_iter().filter(|l| check(l)).collect();
            if found.len() >= count { Ok(found) } else { Err(Failure(format!("{}", found.len()))) }
        })
    }

    /// Writes a line to its standard input.
    pub fn write_line(&mut self, line: &str) -> Outcome<()> {
        let name = self.line.clone();
        let fault = |e: std::io::Error| Failure(format!("{name}: cannot write to it: {e}"));
        let mut stdin = self
            .process
            .take_stdin()
            .ok_or_else(|| Failure(format!("{name}: its input is closed")))?;
        stdin.write_all(format!("{line}\n").as_bytes()).map_err(fault)?;
        stdin.flush().map_err(fault)?;
        self.process.give_stdin(stdin);
        Ok(())
    }

    /// Closes its input and waits for its exit.
    pub fn close(mut self, deadline: Duration) -> Outcome<ToolOutput> {
        drop(self.process.take_stdin());
        self.wait(deadline)
    }

    /// SIGTERM, then waits for its exit.
    pub fn stop(mut self, deadline: Duration) -> Outcome<ToolOutput> {
        if self.process.is_running() {
            self.process.terminate()?;
        }
        self.wait(deadline)
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self, deadline: Duration) -> Outcome<ToolOutput> {
        let status = self.process.wait_exit(deadline)?;
        let out = self.lines().join("\n");
        Ok(ToolOutput {
            line: self.line.clone(),
            code: status.code().unwrap_or(-1),
            out,
            err: String::new(),
        })
    }
}

impl Cluster {
    /// Runs one of Kafka's tools against all brokers (`--bootstrap-server` is added).
    pub fn tool(&self, tool: Tool, args: &[&str]) -> Outcome<ToolOutput> {
        let bootstrap = self.bootstrap();
        let mut all = vec!["--bootstrap-server", bootstrap.as_str()];
        all.extend(args);
        self.tool_raw(tool, &all, "")
    }

    /// Runs one of Kafka's tools against the controller (`--bootstrap-controller` is added).
    pub fn tool_via_controller(&self, tool: Tool, args: &[&str]) -> Outcome<ToolOutput> {
        let address = self.controller.address();
        let mut all = vec!["--bootstrap-controller", address.as_str()];
        all.extend(args);
        self.tool_raw(tool, &all, "")
    }

    /// Runs one of Kafka's tools with exactly these arguments and this standard input.
    pub fn tool_raw(&self, tool: Tool, args: &[&str], input: &str) -> Outcome<ToolOutput> {
        self.toolbox().run(tool, args, input)
    }

    /// Starts one of Kafka's tools beside the test, with a pipe as its standard input.
    pub fn start_tool(&self, tool: Tool, args: &[&str]) -> Outcome<RunningTool> {
        self.toolbox().start(tool, args)
    }

    /// Writes a file that a tool is to read.
    pub fn write_file(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let file = self.path().join(name);
        fs::write(&file, text).map_err(|e| Failure(format!("{}: {e}", file.display())))?;
        Ok(file)
    }

    fn toolbox(&self) -> Toolbox<'_> {
        Toolbox { version: self.kafka, dir: self.path() }
    }
}

/// The tools that drive clusters of one version, with their files in a folder.
pub(crate) struct Toolbox<'a> {
    pub(crate) version: KafkaVersion,
    pub(crate) dir: &'a Path,
}

impl Toolbox<'_> {
    pub(crate) fn run(&self, tool: Tool, args: &[&str], input: &str) -> Outcome<ToolOutput> {
        let (mut command, line) = self.command(tool, args)?;
        let input_file = self.fresh_file("in");
        fs::write(&input_file, input).map_err(|e| Failure(format!("{line}: {e}")))?;
        let input = fs::File::open(&input_file).map_err(|e| Failure(format!("{line}: {e}")))?;
        output(&line, command.stdin(input))
    }

    pub(crate) fn start(&self, tool: Tool, args: &[&str]) -> Outcome<RunningTool> {
        let (mut command, line) = self.command(tool, args)?;
        command.stdin(Stdio::piped());
        let out = self.fresh_file("out");
        let process = Process::spawn(&line, &mut command, &out)?;
        Ok(RunningTool { process, out, line })
    }

    fn command(&self, tool: Tool, args: &[&str]) -> Outcome<(Command, String)> {
        let version = self.version.tools();
        let mut command = version.java(128, "ERROR")?;
        command.arg(tool.class(version)).args(args);
        Ok((command, format!("{tool:?} {}", args.join(" "))))
    }

    fn fresh_file(&self, extension: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("tool-{number}.{extension}"))
    }
}

/// Runs a command to its end; `line` is what messages call it. Nothing is typed into it unless the
/// command says so.
pub(crate) fn output(line: &str, command: &mut Command) -> Outcome<ToolOutput> {
    let output = command.output().map_err(|e| Failure(format!("cannot start {line}: {e}")))?;
    Ok(ToolOutput {
        line: line.to_owned(),
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
