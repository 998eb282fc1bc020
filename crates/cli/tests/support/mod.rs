//! Runs the built binary.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What a run of the binary said.
#[derive(Debug)]
pub struct Answer {
    pub exit_code: i32,
    pub out: String,
    pub err: String,
}

/// A GET; nothing while nobody listens.
pub fn http_get(port: u16, path: &str, timeout: Duration) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Runs `quorate ARGS` to its end.
pub fn quorate(args: &[&str]) -> Answer {
    answer_of(binary().args(args))
}

/// The same in a shell that lets no file grow beyond so many KiB.
pub fn quorate_limited(kib: u32, args: &[String]) -> Answer {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_quorate")]).args(args);
    answer_of(command.env_remove("RUST_LOG"))
}

fn answer_of(command: &mut Command) -> Answer {
    let output = command.output().expect("the binary runs");
    Answer {
        exit_code: output.status.code().expect("no signal"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.env_remove("RUST_LOG");
    command
}

/// A node's properties file and the place of its directory, gone at the end.
pub struct Node {
    home: TempDir,
    id: i32,
}

impl Node {
    /// A controller of a dynamic quorum on port 9093, which only a server with `PORT_0` binds.
    pub fn dynamic(id: i32) -> Node {
        Node::new(id, "controller.quorum.bootstrap.servers=127.0.0.1:9093")
    }

    /// The only controller of a static quorum.
    pub fn fixed(id: i32) -> Node {
        Node::new(id, &format!("controller.quorum.voters={id}@127.0.0.1:9093"))
    }

    /// One of several controllers of a static quorum.
    pub fn voter(id: i32, voters: &str) -> Node {
        Node::new(id, &format!("controller.quorum.voters={voters}"))
    }

    fn new(id: i32, quorum: &str) -> Node {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path().join("data");
        let text = format!(
            "process.roles=controller\nnode.id={id}\nlisteners=CONTROLLER://127.0.0.1:9093\n\
             controller.listener.names=CONTROLLER\n{quorum}\nlog.dirs={}\n",
            dir.display()
        );
        std::fs::write(home.path().join("server.properties"), text).expect("a file");
        Node { home, id }
    }

    pub fn file(&self) -> String {
        self.home.path().join("server.properties").display().to_string()
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Arguments of a server on a port of the system's choice.
    pub fn server_args(&self) -> Vec<String> {
        let listen = "listeners=CONTROLLER://127.0.0.1:0";
        ["server", &self.file(), "--override", listen].map(str::to_owned).to_vec()
    }

    /// Starts a server and waits for its line.
    pub fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// The same with settings of this start alone.
    pub fn start_with(&self, settings: &[String]) -> Server {
        self.spawn(settings).await_line(self.id)
    }

    /// Starts a server that need not get as far as its line.
    pub fn spawn(&self, settings: &[String]) -> Server {
        let overrides = settings.iter().flat_map(|it| ["--override".to_owned(), it.clone()]);
        let child = binary()
            .args(self.server_args())
            .args(overrides)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        Server { child, ready: String::new() }
    }
}

impl Server {
    fn await_line(self, id: i32) -> Server {
        let mut server = self;
        let child = &mut server.child;
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut ready = String::new();
        lines.read_line(&mut ready).expect("a line");
        server.ready = ready;
        if !server.ready.starts_with(&format!("quorate ready: node {id}")) {
            panic!("the server said {:?} and then {:?}", server.ready.clone(), server.end());
        }
        server
    }
}

/// A running server.
pub struct Server {
    child: Child,
    /// Its line.
    pub ready: String,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port in its line.
    pub fn port(&self) -> u16 {
        let after = self.ready.split("CONTROLLER://127.0.0.1:").nth(1).expect("a listener");
        after.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().expect("a port")
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for the end: exit code (none after a signal) and log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            use std::io::Read;
            let _ = err.read_to_string(&mut log);
        }
        let status = self.child.wait().expect("a child");
        (status.code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
