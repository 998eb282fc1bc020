use crate::{Failure, KafkaVersion, Outcome, Process, quorate_binary, scan_log};
use rustix::process::Signal;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// What runs a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    Quorate,
    Kafka(KafkaVersion),
}

/// Where a node runs: the machine's own network, or a namespace of the test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Address that the test reaches the node by.
    pub host: String,
    /// What other nodes call it, if not by that address.
    pub name: Option<String>,
    /// Its network namespace, if it is not the test's own.
    pub netns: Option<String>,
}

impl Default for Place {
    fn default() -> Place {
        Place { host: "127.0.0.1".to_owned(), name: None, netns: None }
    }
}

impl Place {
    /// Name or address for the configuration of others.
    pub(crate) fn advertised_host(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.host)
    }

    /// Where the node itself listens. All of a namespace is its own, and its address may change.
    pub(crate) fn bind_host(&self) -> &str {
        if self.netns.is_some() { "0.0.0.0" } else { &self.host }
    }

    /// The command that runs another one there; the process id stays that of the command.
    fn run(&self, command: Command) -> Command {
        let Some(netns) = &self.netns else { return command };
        let mut there = Command::new("ip");
        there.args(["netns", "exec", netns]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => there.env(key, value),
                None => there.env_remove(key),
            };
        }
        there
    }
}

/// A controller or broker of a cluster, running or not. Its files outlive its process.
#[derive(Debug)]
pub struct Node {
    /// `node.id`.
    pub id: i32,
    /// The port of its one listener.
    pub port: u16,
    /// The port of `quorate.http.listener`, if that is set.
    pub(crate) http_port: Option<u16>,
    pub(crate) place: Place,
    pub(crate) program: Program,
    pub(crate) dir: PathBuf,
    pub(crate) properties: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) name: String,
    process: Option<Process>,
}

impl Node {
    pub(crate) fn new(
        root: &Path,
        name: &str,
        id: i32,
        port: u16,
        program: Program,
        properties: &str,
    ) -> Outcome<Node> {
        let node = Node {
            id,
            port,
            http_port: None,
            place: Place::default(),
            program,
            dir: root.join(name),
            properties: root.join(format!("{name}.properties")),
            log: root.join(format!("{name}.log")),
            name: name.to_owned(),
            process: None,
        };
        fs::write(&node.properties, properties)
            .map_err(|e| Failure(format!("cannot write {}: {e}", node.properties.display())))?;
        Ok(node)
    }

    /// `host:port`, with the host `127.0.0.1` unless the node has another place.
    pub fn address(&self) -> String {
        format!("{}:{}", self.place.host, self.port)
    }

    /// Its address was changed by the test.
    pub fn has_moved(&mut self, host: &str) {
        host.clone_into(&mut self.place.host);
    }

    /// `host:port` of its health and status over HTTP.
    pub fn http_address(&self) -> Option<String> {
        self.http_port.map(|port| format!("{}:{port}", self.place.host))
    }

    /// Whether our binary runs it.
    pub fn is_quorate(&self) -> bool {
        self.program == Program::Quorate
    }

    /// Its metadata or log directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its configuration file.
    pub fn properties(&self) -> &Path {
        &self.properties
    }

    /// Its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The command that runs it in the foreground.
    pub fn command(&self) -> Outcome<Command> {
        let command = match self.program {
            Program::Quorate => {
                let mut command = Command::new(quorate_binary()?);
                command.arg("server").arg(&self.properties);
                command
            }
            Program::Kafka(version) => {
                let mut command = version.java(256, "INFO")?;
                command.arg("kafka.Kafka").arg(&self.properties);
                command
            }
        };
        Ok(self.place.run(command))
    }

    /// Starts the process and returns at once.
    pub fn start(&mut self) -> Outcome<()> {
        if self.is_running() {
            return Err(Failure(format!("{} runs already", self.name)));
        }
        let mut command = self.command()?;
        command.stdin(Stdio::null());
        self.process = Some(Process::spawn(&self.name, &mut command, &self.log)?);
        Ok(())
    }

    /// Whether its process has not exited.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Its process, if started.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Sends a signal and returns at once.
    pub fn signal(&mut self, signal: Signal) -> Outcome<()> {
        let Some(process) = self.process.as_mut() else {
            return Err(Failure(format!("{} does not run", self.name)));
        };
        process.signal(signal)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, then waits for its exit.
    pub fn stop(&mut self, deadline: Duration) -> Outcome<ExitStatus> {
        let Some(process) = self.process.as_mut() else {
            return Err(Failure(format!("{} does not run", self.name)));
        };
        process.terminate()?;
        let status = process.wait_exit(deadline)?;
        self.process = None;
        Ok(status)
    }

    /// Whether its port takes connections; a process that has exited is told with its last words.
    pub(crate) fn listening(&mut self) -> Outcome<()> {
        if let Some(process) = self.process.as_mut()
            && !process.is_running()
        {
            return Err(Failure(format!("{} has exited:\n{}", self.name, process.log_tail())));
        }
        TcpStream::connect((self.place.host.as_str(), self.port))
            .map(drop)
            .map_err(|e| Failure(format!("{} does not listen on {}: {e}", self.name, self.port)))
    }

    /// See [`scan_log`].
    pub fn scan_log(&self, allowed: &[&str]) -> Outcome<()> {
        if self.log.exists() { scan_log(&self.name, &self.log, allowed) } else { Ok(()) }
    }
}
