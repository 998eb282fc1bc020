//! A quorum of several controllers, ours and Kafka's in any mix, with real brokers or none.

use crate::node::{Place, Program};
use crate::quorum_view::EpochWatch;
use crate::{
    Controller, DEADLINE, Failure, KafkaVersion, Node, Outcome, Tool, ToolOutput, WorkDir, ensure,
    free_port, quorate_binary, wait_for,
};
use quorate_base::{Prng, Uuid};
use quorate_protocol::messages::describe_quorum_response;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Ids of the first voters: 3001, 3002, ...
const FIRST_CONTROLLER_ID: i32 = 3001;

/// What a quorum is to be. Made by [`Quorum::builder`].
#[derive(Clone, Debug)]
pub struct QuorumBuilder {
    name: String,
    voters: Vec<Controller>,
    dynamic: bool,
    release: String,
    brokers: Option<KafkaVersion>,
    joins_later: usize,
    places: Vec<Place>,
    broker_place: Place,
    properties: BTreeMap<String, String>,
}

impl QuorumBuilder {
    /// One more voter; ids are given in order, from 3001.
    pub fn voter(mut self, program: Controller) -> QuorumBuilder {
        self.voters.push(program);
        self
    }

    /// kraft.version 1, formatted by `--initial-controllers`; else `controller.quorum.voters`.
    pub fn dynamic(mut self) -> QuorumBuilder {
        self.dynamic = true;
        self
    }

    /// `--release-version` of the format.
    pub fn release_version(mut self, release: &str) -> QuorumBuilder {
        release.clone_into(&mut self.release);
        self
    }

    /// One more controller will come by [`Quorum::add_observer`]; its address is among everybody's
    /// bootstrap servers from the start, so that those who leave the voter set still find it.
    pub fn joins_later(mut self) -> QuorumBuilder {
        self.joins_later += 1;
        self
    }

    /// One real broker, with id 1.
    pub fn broker(mut self, version: KafkaVersion) -> QuorumBuilder {
        self.brokers = Some(version);
        self
    }

    /// Where the voters run, in order; those without a place run here.
    pub fn places(mut self, places: Vec<Place>) -> QuorumBuilder {
        self.places = places;
        self
    }

    /// Where the broker runs.
    pub fn broker_place(mut self, place: Place) -> QuorumBuilder {
        self.broker_place = place;
        self
    }

    /// A further line in every controller's configuration.
    pub fn property(mut self, key: &str, value: &str) -> QuorumBuilder {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Formats and starts everything; returns when there is a leader and the broker is unfenced.
    pub fn start(self) -> Outcome<Quorum> {
        let work = WorkDir::new(&self.name)?;
        let mut prng = Prng::new(seed());
        let cluster_id = Uuid::random(&mut prng);
        let members: Vec<Member> = (FIRST_CONTROLLER_ID..)
            .zip(&self.voters)
            .enumerate()
            .map(|(index, (id, program))| Member {
                id,
                place: self.places.get(index).cloned().unwrap_or_default(),
                port: free_port(),
                program: *program,
                directory_id: Uuid::random(&mut prng),
            })
            .collect();
        let mut quorum = Quorum {
            cluster_id,
            controllers: BTreeMap::new(),
            broker: None,
            epochs: EpochWatch::default(),
            allowed_errors: Vec::new(),
            members,
            later_ports: (0..self.joins_later).map(|_| free_port()).collect(),
            options: self,
            prng,
            work,
        };
        for member in quorum.members.clone() {
            quorum.create_member(&member, true)?;
        }
        for node in quorum.controllers.values_mut() {
            node.start()?;
        }
        quorum.await_leader()?;
        quorum.start_broker()?;
        Ok(quorum)
    }
}

#[derive(Clone, Debug)]
struct Member {
    id: i32,
    place: Place,
    port: u16,
    program: Controller,
    directory_id: Uuid,
}

/// Controllers and perhaps one broker. Everything stops when it is dropped.
#[derive(Debug)]
pub struct Quorum {
    /// Chosen at random.
    pub cluster_id: Uuid,
    /// The controllers by id, running or not.
    pub controllers: BTreeMap<i32, Node>,
    /// The real broker, if there is one.
    pub broker: Option<Node>,
    /// Every leader seen, by epoch.
    pub epochs: EpochWatch,
    /// Error lines that this test provokes on purpose.
    pub allowed_errors: Vec<&'static str>,
    members: Vec<Member>,
    /// Ports of controllers to come.
    later_ports: Vec<u16>,
    options: QuorumBuilder,
    prng: Prng,
    // Dropped last: its folder is removed after the processes are gone.
    work: WorkDir,
}

impl Quorum {
    /// A static quorum without voters or brokers, to be formatted at Kafka 4.3's levels.
    pub fn builder(name: &str) -> QuorumBuilder {
        QuorumBuilder {
            name: name.to_owned(),
            voters: Vec::new(),
            dynamic: false,
            release: KafkaVersion::V4_3_0.release_version().to_owned(),
            brokers: None,
            joins_later: 0,
            places: Vec::new(),
            broker_place: Place::default(),
            properties: BTreeMap::new(),
        }
    }

    /// The folder with all nodes' files.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// `host:port` of every controller, running or not.
    pub fn addresses(&self) -> BTreeMap<i32, String> {
        self.controllers.iter().map(|(id, node)| (*id, node.address())).collect()
    }

    /// `host:port,...` of the controllers that run, for `--bootstrap-controller`.
    pub fn bootstrap(&mut self) -> String {
        let running = self.controllers.values_mut().filter_map(|node| {
            let address = node.address();
            node.is_running().then_some(address)
        });
        running.collect::<Vec<_>>().join(",")
    }

    /// A controller by id.
    pub fn controller(&mut self, id: i32) -> &mut Node {
        self.controllers.get_mut(&id).unwrap_or_else(|| panic!("there is no controller {id}"))
    }

    /// Id of the metadata directory of a controller.
    pub fn directory_id(&self, id: i32) -> Uuid {
        let member = self.members.iter().find(|member| member.id == id);
        member.unwrap_or_else(|| panic!("there is no controller {id}")).directory_id
    }

    /// Waits for a leader whose first records are committed; its id and the quorum as it sees it.
    pub fn await_leader(&mut self) -> Outcome<(i32, describe_quorum_response::PartitionData)> {
        self.await_leader_where("a controller leads", |_, _| true)
    }

    /// Waits for a leader that satisfies the check.
    pub fn await_leader_where(
        &mut self,
        what: &str,
        check: impl Fn(i32, &describe_quorum_response::PartitionData) -> bool,
    ) -> Outcome<(i32, describe_quorum_response::PartitionData)> {
        let Quorum { controllers, epochs, .. } = self;
        wait_for(what, DEADLINE, || {
            let mut seen = Vec::new();
            for node in controllers.values_mut() {
                // One that was killed is no failure here; one that ended by itself is.
                if node.process().is_none() {
                    continue;
                }
                node.listening()?;
                match epochs.ask(node.id, &node.address()) {
                    Ok(quorum) if quorum.leader_id == node.id && quorum.high_watermark >= 0 => {
                        if check(node.id, &quorum) {
                            return Ok((node.id, quorum));
                        }
                        seen.push(format!("{}: {quorum:?}", node.id));
                    }
                    Ok(quorum) => seen.push(format!("{}: {quorum:?}", node.id)),
                    Err(error) => seen.push(format!("{}: {error}", node.id)),
                }
            }
            Err(Failure(seen.join("; ")))
        })
    }

    /// Brings a voter of a three-voter quorum to power, by what raft promises: of the two others,
    /// the one that does not lead misses a committed record when the leader is killed, so that
    /// nobody else can be elected. Returns with all three running. `commit` makes that record.
    pub fn force_leader(
        &mut self,
        wanted: i32,
        mut commit: impl FnMut() -> Outcome<()>,
    ) -> Outcome<()> {
        let (leader, _) = self.await_leader()?;
        if leader == wanted {
            return Ok(());
        }
        let others: Vec<i32> =
            self.controllers.keys().copied().filter(|id| *id != wanted && *id != leader).collect();
        for id in &others {
            self.controller(*id).kill();
        }
        commit()?;
        self.await_caught_up(&[wanted])?;
        let (leader, _) = self.await_leader()?;
        if leader != wanted {
            self.controller(leader).kill();
        }
        for id in &others {
            self.controller(*id).start()?;
        }
        self.await_leader_where(&format!("{wanted} leads"), |id, _| id == wanted)?;
        if leader != wanted {
            self.controller(leader).start()?;
        }
        Ok(())
    }

    /// Waits until these voters have acknowledged what was committed at the call; that offset.
    pub fn await_caught_up(&mut self, voters: &[i32]) -> Outcome<i64> {
        let (_, quorum) = self.await_leader()?;
        let target = quorum.high_watermark;
        let what = format!("{voters:?} have acknowledged offset {target}");
        self.await_leader_where(&what, |_, quorum| {
            quorum.high_watermark >= target
                && voters.iter().all(|id| {
                    let of = quorum.current_voters.iter().find(|voter| voter.replica_id == *id);
                    of.is_some_and(|voter| voter.log_end_offset >= target)
                })
        })?;
        Ok(target)
    }

    /// One more controller, formatted without initial controllers and started, but no voter yet.
    pub fn add_observer(&mut self, program: Controller) -> Outcome<i32> {
        let id = FIRST_CONTROLLER_ID + i32::try_from(self.members.len()).unwrap_or(i32::MAX);
        let directory_id = Uuid::random(&mut self.prng);
        let port = self.later_ports.pop().ok_or_else(|| {
            Failure::new("this quorum was not built for one more: QuorumBuilder::joins_later")
        })?;
        let member = Member { id, place: Place::default(), port, program, directory_id };
        self.members.push(member.clone());
        self.create_member(&member, false)?;
        self.controller(id).start()?;
        // Kafka's fetches before it listens, and one that cannot be reached is not made a voter.
        wait_for("the new controller listens", DEADLINE, || self.controller(id).listening())?;
        // The format tool gave the directory an id of its own.
        let file = self.controllers[&id].dir.join("meta.properties");
        let text = fs::read_to_string(&file)
            .map_err(|e| Failure(format!("cannot read {}: {e}", file.display())))?;
        let given = text.lines().find_map(|line| line.strip_prefix("directory.id="));
        let given = given.and_then(|id| id.replace('\\', "").parse().ok());
        let given: Uuid =
            given.ok_or_else(|| Failure(format!("no directory.id in {}", file.display())))?;
        if let Some(member) = self.members.last_mut() {
            member.directory_id = given;
        }
        Ok(id)
    }

    /// Runs one of Kafka's tools with exactly these arguments.
    pub fn tool(&self, version: KafkaVersion, tool: Tool, args: &[&str]) -> Outcome<ToolOutput> {
        let mut command = version.tools().java(128, "ERROR")?;
        command.arg(tool.class(version.tools())).args(args);
        output(&format!("{tool:?} {}", args.join(" ")), &mut command)
    }

    /// Runs our binary with exactly these arguments.
    pub fn quorate(&self, args: &[&str]) -> Outcome<ToolOutput> {
        let mut command = Command::new(quorate_binary()?);
        command.args(args);
        output(&format!("quorate {}", args.join(" ")), &mut command)
    }

    /// Ends a test that went well: looks for errors in all logs, stops everything, removes files.
    pub fn finish(mut self) -> Outcome<()> {
        for node in self.controllers.values().chain(&self.broker) {
            node.scan_log(&self.allowed_errors)?;
        }
        self.kill_all();
        self.work.succeeded();
        Ok(())
    }

    fn kill_all(&mut self) {
        for node in self.broker.iter_mut().chain(self.controllers.values_mut()) {
            node.kill();
        }
    }

    fn start_broker(&mut self) -> Outcome<()> {
        let Some(version) = self.options.brokers else { return Ok(()) };
        let port = free_port();
        let dir = self.work.path().join("broker");
        let place = self.options.broker_place.clone();
        let listener = format!("PLAINTEXT://{}:{port}", place.host);
        let mut all = self.quorum_properties();
        for (key, value) in [
            ("process.roles", "broker".to_owned()),
            ("node.id", "1".to_owned()),
            ("listeners", listener.clone()),
            ("advertised.listeners", listener),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("log.dirs", dir.display().to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("num.network.threads", "2".to_owned()),
            ("num.io.threads", "2".to_owned()),
            ("background.threads", "2".to_owned()),
            ("log.cleaner.dedupe.buffer.size", "2097152".to_owned()),
        ] {
            all.insert(key.to_owned(), value);
        }
        let program = Program::Kafka(version);
        let mut node = Node::new(self.path(), "broker", 1, port, program, &lines(&all))?;
        node.place = place;
        let meta = format!(
            "version=1\ncluster.id={}\nnode.id=1\ndirectory.id={}\n",
            self.cluster_id,
            Uuid::random(&mut self.prng)
        );
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("meta.properties"), meta))
            .map_err(|e| Failure(format!("cannot format {}: {e}", dir.display())))?;
        node.start()?;
        wait_for("the broker is unfenced", DEADLINE, || {
            node.listening()?;
            let alive = crate::view::alive_brokers(&node.address())?;
            ensure!(alive == [1], "it sees {alive:?}");
            Ok(())
        })?;
        self.broker = Some(node);
        Ok(())
    }

    fn create_member(&mut self, member: &Member, first: bool) -> Outcome<()> {
        let address = format!("CONTROLLER://{}:{}", member.place.host, member.port);
        let name = format!("controller-{}", member.id);
        let mut all = self.quorum_properties();
        for (key, value) in [
            ("process.roles", "controller".to_owned()),
            ("node.id", member.id.to_string()),
            ("listeners", address.clone()),
            ("advertised.listeners", address),
            ("log.dirs", self.path().join(&name).display().to_string()),
        ] {
            all.insert(key.to_owned(), value);
        }
        all.extend(self.options.properties.clone());
        let program = member.program.program();
        let mut node =
            Node::new(self.path(), &name, member.id, member.port, program, &lines(&all))?;
        node.place = member.place.clone();
        self.format(&node, member.program, first)?;
        self.controllers.insert(member.id, node);
        Ok(())
    }

    fn format(&self, node: &Node, program: Controller, first: bool) -> Outcome<()> {
        let mut command = match program {
            Controller::Quorate => {
                let mut command = Command::new(quorate_binary()?);
                command.arg("storage");
                command
            }
            Controller::Java(version) => {
                let mut command = version.java(128, "ERROR")?;
                command.arg(Tool::Storage.class(version));
                command
            }
        };
        command.args(["format", "--cluster-id", &self.cluster_id.to_string(), "--config"]);
        command.arg(&node.properties).args(["--release-version", &self.options.release]);
        if !first {
            command.arg("--no-initial-controllers");
        } else if self.options.dynamic {
            let all = self.members.iter().map(|member| {
                let (host, port) = (&member.place.host, member.port);
                format!("{}@{host}:{port}:{}", member.id, member.directory_id)
            });
            command.args(["--initial-controllers", &all.collect::<Vec<_>>().join(",")]);
        }
        output(&format!("format of {}", node.name), &mut command)?.ok().map(drop)
    }

    fn quorum_properties(&self) -> BTreeMap<String, String> {
        let address = |member: &Member| format!("{}:{}", member.place.host, member.port);
        let (key, all): (_, Vec<String>) = if self.options.dynamic {
            let key = "controller.quorum.bootstrap.servers";
            let later = self.later_ports.iter().map(|port| format!("127.0.0.1:{port}"));
            (key, self.members.iter().map(address).chain(later).collect())
        } else {
            let voter = |member: &Member| format!("{}@{}", member.id, address(member));
            ("controller.quorum.voters", self.members.iter().map(voter).collect())
        };
        let map = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT";
        [
            (key, all.join(",")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("listener.security.protocol.map", map.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

impl Drop for Quorum {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn lines(all: &BTreeMap<String, String>) -> String {
    all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

fn output(line: &str, command: &mut Command) -> Outcome<ToolOutput> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| Failure(format!("cannot start {line}: {e}")))?;
    Ok(ToolOutput {
        line: line.to_owned(),
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Ids differ from run to run: tests must not lean on them.
fn seed() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    nanos ^ (u64::from(std::process::id()) << 32)
}
