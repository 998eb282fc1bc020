//! A quorum of several controllers, ours and Kafka's in any mix, with real brokers or none.

use crate::node::Place;
use crate::quorum_view::EpochWatch;
use crate::setup::{
    Properties, await_brokers, broker_properties, controller_properties, format_broker,
    format_controller, lines, quorum_properties, seed,
};
use crate::tools::{Toolbox, output};
use crate::view::is_active_controller;
use crate::{
    Controller, DEADLINE, Failure, KafkaVersion, Node, Outcome, RunningTool, Tool, ToolOutput,
    WorkDir, free_port, quorate_binary, wait_for,
};
use quorate_base::{Prng, Uuid};
use quorate_protocol::messages::describe_quorum_response;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Ids of the first voters: 3001, 3002, ...
const FIRST_CONTROLLER_ID: i32 = 3001;

/// What a quorum is to be. Made by [`Quorum::builder`].
#[derive(Clone, Debug)]
pub struct QuorumBuilder {
    name: String,
    voters: Vec<Controller>,
    dynamic: bool,
    release: String,
    brokers: Vec<KafkaVersion>,
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

    /// One more real broker; ids are given in order, from 1.
    pub fn broker(mut self, version: KafkaVersion) -> QuorumBuilder {
        self.brokers.push(version);
        self
    }

    /// Where the voters run, in order; those without a place run here.
    pub fn places(mut self, places: Vec<Place>) -> QuorumBuilder {
        self.places = places;
        self
    }

    /// Where the brokers run.
    pub fn broker_place(mut self, place: Place) -> QuorumBuilder {
        self.broker_place = place;
        self
    }

    /// A further line in every controller's configuration.
    pub fn property(mut self, key: &str, value: &str) -> QuorumBuilder {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Formats and starts everything; returns when there is a leader and the brokers are unfenced.
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
            brokers: BTreeMap::new(),
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
        // It has won before the first records are there, and brokers cannot register without those.
        wait_for("a leader is active", DEADLINE, || {
            let (leader, _) = quorum.await_leader()?;
            is_active_controller(&quorum.controllers[&leader].address())
        })?;
        quorum.start_brokers()?;
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

/// Controllers and perhaps brokers. Everything stops when it is dropped.
#[derive(Debug)]
pub struct Quorum {
    /// Chosen at random.
    pub cluster_id: Uuid,
    /// The controllers by id, running or not.
    pub controllers: BTreeMap<i32, Node>,
    /// The real brokers by id.
    pub brokers: BTreeMap<i32, Node>,
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
            brokers: Vec::new(),
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
        self.read_directory_id(id)?;
        Ok(id)
    }

    /// Kills a controller, and starts it again on an empty disk, formatted as one that is yet to join.
    pub fn lose_disk(&mut self, id: i32) -> Outcome<()> {
        self.controller(id).kill();
        let dir = self.controllers[&id].dir.clone();
        fs::remove_dir_all(&dir).map_err(|e| Failure(format!("{}: {e}", dir.display())))?;
        self.format(&self.controllers[&id], false)?;
        self.read_directory_id(id)?;
        self.controller(id).start()?;
        wait_for("it listens again", DEADLINE, || self.controller(id).listening())
    }

    /// The format tool gives a directory an id of its own, unless it is told one.
    fn read_directory_id(&mut self, id: i32) -> Outcome<()> {
        let file = self.controllers[&id].dir.join("meta.properties");
        let text = fs::read_to_string(&file)
            .map_err(|e| Failure(format!("cannot read {}: {e}", file.display())))?;
        let given = text.lines().find_map(|line| line.strip_prefix("directory.id="));
        let given = given.and_then(|id| id.replace('\\', "").parse().ok());
        let given: Uuid =
            given.ok_or_else(|| Failure(format!("no directory.id in {}", file.display())))?;
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            member.directory_id = given;
        }
        Ok(())
    }

    /// Runs one of Kafka's tools with exactly these arguments.
    pub fn tool(&self, version: KafkaVersion, tool: Tool, args: &[&str]) -> Outcome<ToolOutput> {
        Toolbox { version, dir: self.path() }.run(tool, args, "")
    }

    /// Runs one of Kafka's tools with exactly these arguments, and this as its input.
    pub fn tool_with_input(
        &self,
        version: KafkaVersion,
        tool: Tool,
        args: &[&str],
        input: &str,
    ) -> Outcome<ToolOutput> {
        Toolbox { version, dir: self.path() }.run(tool, args, input)
    }

    /// Starts one of Kafka's tools beside the test.
    pub fn start_tool(
        &self,
        version: KafkaVersion,
        tool: Tool,
        args: &[&str],
    ) -> Outcome<RunningTool> {
        Toolbox { version, dir: self.path() }.start(tool, args)
    }

    /// Runs our binary with exactly these arguments.
    pub fn quorate(&self, args: &[&str]) -> Outcome<ToolOutput> {
        let mut command = Command::new(quorate_binary()?);
        command.args(args);
        output(&format!("quorate {}", args.join(" ")), &mut command)
    }

    /// Ends a test that went well: looks for errors in all logs, stops everything, removes files.
    pub fn finish(mut self) -> Outcome<()> {
        for node in self.controllers.values().chain(self.brokers.values()) {
            node.scan_log(&self.allowed_errors)?;
        }
        self.kill_all();
        self.work.succeeded();
        Ok(())
    }

    /// Stops everything and removes its files, whatever the logs say.
    pub fn discard(mut self) {
        self.kill_all();
        self.work.succeeded();
    }

    fn kill_all(&mut self) {
        for node in self.brokers.values_mut().chain(self.controllers.values_mut()) {
            node.kill();
        }
    }

    fn start_brokers(&mut self) -> Outcome<()> {
        let versions = self.options.brokers.clone();
        for (id, version) in (1..).zip(&versions) {
            let (port, name) = (free_port(), format!("broker-{id}"));
            let dir = self.path().join(&name);
            let place = self.options.broker_place.clone();
            let mut all = self.quorum_properties();
            all.extend(broker_properties(id, &place, port, &dir, versions.len()));
            let program = Controller::Java(*version).program();
            let mut node = Node::new(self.path(), &name, id, port, program, &lines(&all))?;
            node.place = place;
            format_broker(&node, self.cluster_id, Uuid::random(&mut self.prng))?;
            node.start()?;
            self.brokers.insert(id, node);
        }
        await_brokers(&mut self.brokers)
    }

    fn create_member(&mut self, member: &Member, first: bool) -> Outcome<()> {
        let name = format!("controller-{}", member.id);
        let dir = self.path().join(&name);
        let mut all = self.quorum_properties();
        all.extend(controller_properties(member.id, &member.place, member.port, &dir));
        // Kafka's controllers do not know this one; a directory may change hands.
        let http = (member.place.bind_host(), free_port());
        all.insert("quorate.http.listener".to_owned(), format!("{}:{}", http.0, http.1));
        all.extend(self.options.properties.clone());
        let program = member.program.program();
        let mut node =
            Node::new(self.path(), &name, member.id, member.port, program, &lines(&all))?;
        node.place = member.place.clone();
        node.http_port = Some(http.1);
        self.format(&node, first)?;
        self.controllers.insert(member.id, node);
        Ok(())
    }

    fn format(&self, node: &Node, first: bool) -> Outcome<()> {
        let voters = self.members.iter().map(|member| {
            let (host, port) = (member.place.advertised_host(), member.port);
            format!("{}@{host}:{port}:{}", member.id, member.directory_id)
        });
        let voters = voters.collect::<Vec<_>>().join(",");
        let flags: &[&str] = match (first, self.options.dynamic) {
            (false, _) => &["--no-initial-controllers"],
            (true, true) => &["--initial-controllers", &voters],
            (true, false) => &[],
        };
        format_controller(node, self.cluster_id, &self.options.release, flags)
    }

    fn quorum_properties(&self) -> Properties {
        let address =
            |member: &Member| format!("{}:{}", member.place.advertised_host(), member.port);
        if self.options.dynamic {
            let later = self.later_ports.iter().map(|port| format!("127.0.0.1:{port}"));
            let all: Vec<String> = self.members.iter().map(address).chain(later).collect();
            quorum_properties("controller.quorum.bootstrap.servers", all.join(","))
        } else {
            let voter = |member: &Member| format!("{}@{}", member.id, address(member));
            let all: Vec<String> = self.members.iter().map(voter).collect();
            quorum_properties("controller.quorum.voters", all.join(","))
        }
    }
}

impl Drop for Quorum {
    fn drop(&mut self) {
        self.kill_all();
    }
}
