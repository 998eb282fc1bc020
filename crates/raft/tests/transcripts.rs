//! Scenarios as text: commands, and what the quorum then does. `UPDATE=1 cargo test -p quorate-raft
//! --test transcripts` writes the files anew; commit a change only if you know why it came.

mod support;

use quorate_base::{NodeId, Time};
use quorate_protocol::AnyResponse;
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::{
    DescribeQuorumRequest, TransferLeadershipRequest, describe_quorum_request,
};
use quorate_raft::{Event, PeerRequest, Token};
use std::fmt::Write;
use std::time::Duration;
use support::{Kind, World, directory};

struct Script {
    world: World,
    shown: usize,
    open: Vec<(String, u64)>,
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}

fn parse_duration(text: &str) -> Duration {
    let ms = text.strip_suffix("ms").map(|t| t.parse::<u64>());
    let s = text.strip_suffix('s').map(|t| t.parse::<u64>());
    match (ms, s) {
        (Some(Ok(ms)), _) => Duration::from_millis(ms),
        (_, Some(Ok(s))) => Duration::from_secs(s),
        _ => panic!("not a duration: {text}"),
    }
}

impl Script {
    fn new() -> Script {
        Script { world: World::new(Kind::Static, &[], 1), shown: 0, open: Vec::new() }
    }

    fn node(&self, name: &str) -> NodeId {
        match name {
            "leader" => self.world.leader().expect("a leader"),
            "follower" => {
                let leader = self.world.leader();
                let mut ids = self.world.nodes.keys().copied();
                ids.rfind(|id| Some(*id) != leader && self.world.running(*id)).expect("a follower")
            }
            id => id.parse().unwrap_or_else(|_| panic!("not a node: {id}")),
        }
    }

    fn nodes(&self, words: &[&str]) -> Vec<NodeId> {
        words.iter().map(|w| self.node(w)).collect()
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (command, rest) = words.split_first().expect("a command");
        match *command {
            "static" | "dynamic" => {
                let kind = if *command == "static" { Kind::Static } else { Kind::Dynamic };
                let ids = self.nodes(rest);
                self.world = World::new(kind, &ids, 1);
                self.shown = 0;
            }
            "seed" => self.world.prng = quorate_base::Prng::new(rest[0].parse().expect("a seed")),
            "observer" => {
                for id in self.nodes(rest) {
                    self.world.add_node(id, directory(id));
                }
            }
            "auto-join" => {
                for id in self.nodes(rest) {
                    self.world.nodes.get_mut(&id).expect("a node").config.auto_join = true;
                }
            }
            "no-fast-failover" => {
                for node in self.world.nodes.values_mut() {
                    node.config.fast_failover = false;
                }
            }
            "no-pre-vote" => {
                for id in self.nodes(rest) {
                    self.world.nodes.get_mut(&id).expect("a node").old_voter = true;
                }
            }
            "new-disk" => {
                let id = self.node(rest[0]);
                let fresh = quorate_base::Uuid::from_u128(0xf000 + id as u128);
                self.world.add_node(id, fresh);
                self.world.nodes.get_mut(&id).expect("a node").disk.bootstrap = None;
            }
            "move" => {
                let id = self.node(rest[0]);
                let node = self.world.nodes.get_mut(&id).expect("a node");
                node.config.listeners[0].host = format!("{}.new", node.config.listeners[0].host);
            }
            "start" if rest.is_empty() => self.world.start_all(),
            "start" => self.nodes(rest).into_iter().for_each(|id| self.world.start(id)),
            "crash" => self.nodes(rest).into_iter().for_each(|id| self.world.crash(id)),
            "stop" => {
                let id = self.node(rest[0]);
                self.world.step(id, Event::Shutdown);
                let done = self.world.run_until(Duration::from_secs(5), |w| w.nodes[&id].shut_down);
                assert!(done, "node {id} does not shut down");
                self.world.crash(id);
            }
            "freeze" | "thaw" => {
                for id in self.nodes(rest) {
                    let frozen = *command == "freeze";
                    self.world.nodes.get_mut(&id).expect("a node").frozen = frozen;
                    self.world.note(format!("{id} {command}s"));
                }
            }
            "partition" => {
                let groups: Vec<Vec<NodeId>> =
                    rest.split(|w| *w == "|").map(|g| self.nodes(g)).collect();
                self.world.partition(&groups);
            }
            "cut" => {
                let (from, to) = (self.node(rest[0]), self.node(rest[2]));
                self.world.cut.insert((from, to));
            }
            "heal" => self.world.heal(),
            "run" => self.world.run(parse_duration(rest[0])),
            "settle" => {
                let settled = self.world.run_until(Duration::from_secs(60), World::is_settled);
                assert!(settled, "the quorum does not settle: {:#?}", self.world.trace);
            }
            "elect" => {
                // Whoever wins at first hands over to the one that the scenario wants.
                let id = self.node(rest[0]);
                self.run("settle", out);
                if self.world.leader() != Some(id) {
                    self.run(&format!("transfer {id}"), out);
                    self.run("settle", out);
                }
                assert_eq!(self.world.leader(), Some(id));
                self.shown = self.world.trace.len();
            }
            "until-leader" => {
                let old = self.world.last_leader;
                let found = self.world.run_until(Duration::from_secs(60), |w| w.last_leader != old);
                assert!(found, "nobody is elected: {:#?}", self.world.trace);
            }
            "append" => {
                let id = self.node(rest[0]);
                let records = rest[1].parse().expect("a number");
                let done = self.world.append(id, records);
                assert!(done, "{id} does not lead");
            }
            "snapshot" => self.nodes(rest).into_iter().for_each(|id| self.world.snapshot(id)),
            "transfer" => {
                let to = rest.first().map(|id| self.node(id));
                let leader = self.node("leader");
                self.world.step(leader, Event::TransferLeader { to });
            }
            "ask-transfer" => {
                let (at, to) = (self.node(rest[0]), self.node(rest[1]));
                let timeout_ms = rest[2].parse().expect("milliseconds");
                let request = TransferLeadershipRequest {
                    timeout_ms,
                    successor_id: to,
                    ..Default::default()
                };
                let number = self.world.request(at, 0, PeerRequest::TransferLeadership(request));
                self.open.push((line.to_owned(), number));
            }
            "down" => {
                let (at, node) = (self.node(rest[0]), self.node(rest[1]));
                self.world.step(at, Event::PeerDown { node });
            }
            "upgrade-kraft-version" => {
                let leader = self.node("leader");
                let level = rest[0].parse().expect("a level");
                let event =
                    Event::UpgradeKraftVersion { token: Token(0), level, validate_only: false };
                self.world.step(leader, event);
            }
            "add-voter" | "remove-voter" => {
                let (at, id) = (self.node(rest[0]), self.node(rest[1]));
                let number = if *command == "add-voter" {
                    self.world.add_voter(at, id)
                } else {
                    self.world.remove_voter(at, id)
                };
                self.open.push((line.to_owned(), number));
            }
            "status" => self.status(out),
            "describe" => self.describe(out),
            other => panic!("unknown command {other}"),
        }
    }

    fn status(&self, out: &mut String) {
        for (id, node) in &self.world.nodes {
            let Some(raft) = &node.raft else {
                let _ = writeln!(out, "{id}: down");
                continue;
            };
            let hw = raft.high_watermark().map_or("-".to_owned(), |hw| hw.to_string());
            let _ = writeln!(
                out,
                "{id}: {:?} epoch {} log {}..{} hw {hw} voters {:?} kraft.version {}",
                raft.role(),
                raft.epoch(),
                raft.log_start(),
                raft.log_end().offset,
                raft.voters().ids(),
                raft.kraft_version(),
            );
        }
    }

    fn describe(&mut self, out: &mut String) {
        let leader = self.node("leader");
        let request = DescribeQuorumRequest {
            topics: vec![describe_quorum_request::TopicData {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let number = self.world.request(leader, 2, PeerRequest::DescribeQuorum(request));
        let Some(AnyResponse::DescribeQuorum(answer)) = self.world.client_answers.remove(&number)
        else {
            panic!("no answer");
        };
        let p = &answer.topics[0].partitions[0];
        let _ = writeln!(
            out,
            "leader {} epoch {} hw {}",
            p.leader_id, p.leader_epoch, p.high_watermark
        );
        for (kind, list) in [("voter", &p.current_voters), ("observer", &p.observers)] {
            for r in list {
                let _ = writeln!(out, "{kind} {} end {}", r.replica_id, r.log_end_offset);
            }
        }
    }

    /// What happened since the last call, and which answers came.
    fn news(&mut self, start: Time, out: &mut String) {
        for (at, line) in &self.world.trace[self.shown..] {
            let _ = writeln!(out, "+{} {line}", seconds(*at - start));
        }
        self.shown = self.world.trace.len();
        let world = &mut self.world;
        self.open.retain(|(line, number)| {
            let (code, message) = match world.client_answers.remove(number) {
                None => return true,
                Some(AnyResponse::AddRaftVoter(r)) => (r.error_code, r.error_message),
                Some(AnyResponse::RemoveRaftVoter(r)) => (r.error_code, r.error_message),
                Some(AnyResponse::TransferLeadership(r)) => {
                    let text = format!("leader {} epoch {}", r.leader_id, r.leader_epoch);
                    let why = r.error_message.map_or(String::new(), |why| format!("; {why}"));
                    (r.error_code, Some(format!("{text}{why}").as_str().into()))
                }
                Some(other) => panic!("{other:?}"),
            };
            let name = ErrorCode::from_code(code).map_or("?", |e| e.name());
            let text = message.map_or(String::new(), |m| format!(": {m}"));
            let _ = writeln!(out, "answer to `{line}`: {name}{text}");
            false
        });
    }
}

fn play(text: &str) -> String {
    let mut out = String::new();
    let mut script = Script::new();
    let mut commands: Vec<&str> = Vec::new();
    let mut in_output = false;
    for line in text.lines() {
        if in_output {
            // Old output, up to the empty line.
            in_output = !line.is_empty();
            if !in_output {
                out.push('\n');
            }
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line == "----" {
            let start = script.world.now;
            let mut said = String::new();
            for command in commands.drain(..) {
                script.run(command, &mut said);
            }
            script.news(start, &mut out);
            out.push_str(&said);
            in_output = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            commands.push(line);
        }
    }
    out
}

#[test]
fn transcripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let update = std::env::var_os("UPDATE").is_some();
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("transcripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text");
        let played = play(&text);
        if played.trim_end() == text.trim_end() {
            continue;
        }
        if update {
            std::fs::write(&path, format!("{}\n", played.trim_end())).expect("writable");
        } else {
            wrong.push(format!("{}:\n{played}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "the quorum behaves in another way now:\n{}", wrong.join("\n"));
}
