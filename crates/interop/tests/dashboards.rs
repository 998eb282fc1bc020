//! A real Prometheus scrapes a quorum as the shipped example says: every query of the dashboards finds
//! something, every alert can be evaluated, and a lost node is noticed.
use quorate_interop::{
    Controller, Creates, DEADLINE, Failure, FollowingBrokers, Node, Outcome, Process, Quorum,
    WorkDir, ensure, free_port, http_get, wait_for,
};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn dashboards_and_alerts_find_what_they_ask_for() -> Outcome<()> {
    if Command::new("prometheus").arg("--version").output().is_err() {
        return left_out("prometheus");
    }
    let mut builder = Quorum::builder("dashboards").dynamic();
    for _ in 0..3 {
        builder = builder.voter(Controller::Quorate);
    }
    let mut quorum = builder.start()?;
    let (leader, _) = quorum.await_leader()?;
    let at = quorum.addresses();
    let servers: Vec<String> = at.values().cloned().collect();
    let _brokers = FollowingBrokers::start(&at[&leader], &servers, quorum.cluster_id, 3)?;
    let creates = Creates::start("shown", servers, Duration::from_secs(2));
    let targets: Vec<String> = quorum.controllers.values().filter_map(Node::http_address).collect();
    let mut prometheus = Prometheus::start(&targets)?;

    let queries = queries_of_dashboards()?;
    ensure!(queries.len() > 30, "only {} queries", queries.len());
    for query in &queries {
        wait_for(&format!("{query} finds something"), DEADLINE, || {
            prometheus.alive()?;
            let found = prometheus.ask(&format!("/api/v1/query?query={}", encoded(query)))?;
            let rows = found["data"]["result"].as_array().map_or(0, Vec::len);
            ensure!(rows > 0, "{found}");
            Ok(())
        })?;
    }

    let lost = quorum.controllers.keys().copied().find(|id| *id != leader);
    quorum.controller(lost.unwrap_or(leader)).kill();
    wait_for("a lost node is noticed", DEADLINE, || {
        let rules = prometheus.rules()?;
        for rule in &rules {
            ensure!(rule["health"] != "err", "{rule}");
        }
        let noticed: Vec<&str> = rules
            .iter()
            .filter(|rule| rule["state"] != "inactive")
            .filter_map(|rule| rule["name"].as_str())
            .collect();
        for expected in ["QuorateNodeDown", "QuorateVoterBehind", "QuorateOneFailureFromLoss"] {
            ensure!(noticed.contains(&expected), "only {noticed:?} of {} rules", rules.len());
        }
        // What is not true of this quorum is not said.
        ensure!(!noticed.contains(&"QuorateNoActiveController"), "{noticed:?}");
        Ok(())
    })?;
    println!("{} queries found something, with {} creates", queries.len(), creates.count());
    creates.stop();
    quorum.finish()
}

struct Prometheus {
    process: Process,
    address: String,
    // Dropped after the process.
    work: WorkDir,
}

impl Prometheus {
    /// With the shipped configuration; only targets and intervals are others.
    fn start(targets: &[String]) -> Outcome<Prometheus> {
        let work = WorkDir::new("prometheus")?;
        let shipped = read(&deploy("prometheus/prometheus.yml"))?;
        let list = targets.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(", ");
        let config: String = shipped
            .lines()
            .map(|line| match line.split_once("- targets: ") {
                Some((indent, _)) => format!("{indent}- targets: [{list}]\n"),
                None => format!("{line}\n"),
            })
            .collect::<String>()
            .replace(": 15s", ": 1s");
        let file = work.path().join("prometheus.yml");
        let write = |path: &Path, text: &str| {
            fs::write(path, text).map_err(|e| Failure(format!("{}: {e}", path.display())))
        };
        write(&file, &config)?;
        write(&work.path().join("alerts.yml"), &read(&deploy("prometheus/alerts.yml"))?)?;
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", work.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null());
        let log = work.path().join("prometheus.log");
        let process = Process::spawn("prometheus", &mut command, &log)?;
        let mut started = Prometheus { process, address, work };
        wait_for("Prometheus has scraped all targets", DEADLINE, || {
            started.alive()?;
            let up = started.ask("/api/v1/query?query=sum(up)")?;
            let count = up["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
            ensure!(count == targets.len().to_string(), "{up}");
            Ok(())
        })?;
        Ok(started)
    }

    fn alive(&mut self) -> Outcome<()> {
        ensure!(self.process.is_running(), "Prometheus ended:\n{}", self.process.log_tail());
        Ok(())
    }

    fn ask(&self, path: &str) -> Outcome<Value> {
        let body = http_get(&self.address, path)?;
        // Long answers come in chunks: the document is what is between its first and last bracket.
        let joined: String = unchunked(&body);
        serde_json::from_str(&joined).map_err(|e| Failure(format!("{path}: {e}: {joined}")))
    }

    fn rules(&self) -> Outcome<Vec<Value>> {
        let answer = self.ask("/api/v1/rules")?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<Value> = groups
            .iter()
            .flat_map(|it| it["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        ensure!(rules.len() > 20, "only {} rules", rules.len());
        Ok(rules)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill();
        if !std::thread::panicking() {
            self.work.succeeded();
        }
    }
}

/// The body of an answer in chunks, or the body as it is.
fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut joined = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return body.to_owned() };
        joined.push_str(after.get(..size).unwrap_or(after));
        rest = after.get(size + 2..).unwrap_or_default();
    }
    if joined.is_empty() { body.to_owned() } else { joined }
}

/// All queries, with what a viewer would choose in the place of variables.
fn queries_of_dashboards() -> Outcome<Vec<String>> {
    let mut queries = Vec::new();
    for name in ["quorum.json", "cluster.json"] {
        let board: Value = serde_json::from_str(&read(&deploy("grafana").join(name))?)
            .map_err(|e| Failure(format!("{name}: {e}")))?;
        for panel in board["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap_or_default();
                queries.push(query.replace("$cluster", "main").replace("$__rate_interval", "1m"));
            }
        }
    }
    Ok(queries)
}

fn encoded(query: &str) -> String {
    let mut out = String::new();
    for byte in query.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|e| Failure(format!("{}: {e}", path.display())))
}

/// Said past the capture of tests that succeed.
fn left_out(tool: &str) -> Outcome<()> {
    let _ = writeln!(std::io::stderr(), "\nLEFT OUT: a test, because {tool} is not installed");
    Ok(())
}
