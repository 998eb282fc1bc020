use crate::node::Program;
use crate::view::{alive_brokers, is_active_controller};
use crate::{
    DEADLINE, Failure, KafkaVersion, Node, Outcome, Tool, WorkDir, free_port, quorate_binary,
    wait_for,
};
use quorate_base::{Prng, Uuid};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who controls the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Controller {
    /// The binary under test.
    Quorate,
    /// Kafka's own: the oracle.
    Java(KafkaVersion),
}

impl Controller {
    /// Ours; or, when `QUORATE_ORACLE=java` asks what Kafka itself does in a test, Kafka's: 4.3.0,
    /// or 4.4.0 for brokers that new.
    pub fn under_test(brokers: KafkaVersion) -> Controller {
        match std::env::var("QUORATE_ORACLE").as_deref() {
            Ok("java") => Controller::Java(brokers.max(KafkaVersion::V4_3_0)),
            _ => Controller::Quorate,
        }
    }

    pub(crate) fn program(self) -> Program {
        match self {
            Controller::Quorate => Program::Quorate,
            Controller::Java(version) => Program::Kafka(version),
        }
    }
}

/// What a cluster is to be. Made by [`Cluster::builder`].
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    name: String,
    controller: Option<Controller>,
    kafka: KafkaVersion,
    brokers: i32,
    release_version: Option<String>,
    static_quorum: bool,
    controller_properties: BTreeMap<String, String>,
    broker_properties: BTreeMap<String, String>,
}

impl ClusterBuilder {
    /// Who controls it; by default [`Controller::under_test`].
    pub fn controller(mut self, controller: Controller) -> ClusterBuilder {
        self.controller = Some(controller);
        self
    }

    /// How many brokers of which version; their ids are 1, 2, ...
    pub fn brokers(mut self, count: i32, version: KafkaVersion) -> ClusterBuilder {
        self.brokers = count;
        self.kafka = version;
        self
    }

    /// `--release-version` of the format; by default what the brokers' version asks for.
    pub fn release_version(mut self, release: &str) -> ClusterBuilder {
        self.release_version = Some(release.to_owned());
        self
    }

    /// `controller.quorum.voters` (kraft.version 0) instead of a `--standalone` dynamic quorum.
    pub fn static_quorum(mut self) -> ClusterBuilder {
        self.static_quorum = true;
        self
    }

    /// A further line in the controller's configuration.
    pub fn controller_property(mut self, key: &str, value: &str) -> ClusterBuilder {
        self.controller_properties.insert(key.to_owned(), value.to_owned());
        self
    }

    /// A further line in every broker's configuration.
    pub fn broker_property(mut self, key: &str, value: &str) -> ClusterBuilder {
        self.broker_properties.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Writes the configuration and formats every directory; starts nothing.
    pub fn format(self) -> Outcome<Cluster> {
        let work = WorkDir::new(&self.name)?;
        let mut prng = Prng::new(seed());
        let cluster_id = Uuid::random(&mut prng);
        let controller_port = free_port();
        let chosen = self.controller.unwrap_or(Controller::under_test(self.kafka));
        let controller = Node::new(
            work.path(),
            "controller",
            CONTROLLER_ID,
            controller_port,
            chosen.program(),
            &self.controller_config(work.path(), controller_port),
        )?;
        let mut cluster = Cluster {
            cluster_id,
            kafka: self.kafka,
            controller,
            brokers: BTreeMap::new(),
            allowed_errors: Vec::new(),
            work,
        };
        let release = self.release_version.as_deref().unwrap_or(self.kafka.release_version());
        cluster.format_controller(chosen, release, !self.static_quorum)?;
        for id in 1..=self.brokers {
            let port = free_port();
            let config = self.broker_config(cluster.work.path(), id, port, controller_port);
            let name = format!("broker-{id}");
            let program = Program::Kafka(self.kafka);
            let node = Node::new(cluster.work.path(), &name, id, port, program, &config)?;
            format_broker(&node, cluster_id, Uuid::random(&mut prng))?;
            cluster.brokers.insert(id, node);
        }
        Ok(cluster)
    }

    /// Formats and starts everything, and waits until all brokers are unfenced.
    pub fn start(self) -> Outcome<Cluster> {
        let mut cluster = self.format()?;
        cluster.start_all()?;
        Ok(cluster)
    }

    fn controller_config(&self, root: &Path, port: u16) -> String {
        let mut all = BTreeMap::from(
            [
                ("process.roles", "controller".to_owned()),
                ("node.id", CONTROLLER_ID.to_string()),
                ("listeners", format!("CONTROLLER://127.0.0.1:{port}")),
                ("advertised.listeners", format!("CONTROLLER://127.0.0.1:{port}")),
                ("log.dirs", root.join("controller").display().to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        self.quorum_config(&mut all, port);
        all.extend(self.controller_properties.clone());
        properties(&all)
    }

    fn broker_config(&self, root: &Path, id: i32, port: u16, controller_port: u16) -> String {
        let replicas = self.brokers.min(3).to_string();
        let fixed = [
            ("process.roles", "broker".to_owned()),
            ("node.id", id.to_string()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("log.dirs", root.join(format!("broker-{id}")).display().to_string()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("offsets.topic.num.partitions", "3".to_owned()),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("transaction.state.log.num.partitions", "3".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            // Two cores, many brokers: as few threads and as little memory as Kafka takes.
            ("num.network.threads", "2".to_owned()),
            ("num.io.threads", "2".to_owned()),
            ("background.threads", "2".to_owned()),
            ("log.cleaner.dedupe.buffer.size", "2097152".to_owned()),
        ];
        let mut all: BTreeMap<String, String> =
            fixed.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.quorum_config(&mut all, controller_port);
        all.extend(self.broker_properties.clone());
        properties(&all)
    }

    fn quorum_config(&self, all: &mut BTreeMap<String, String>, controller_port: u16) {
        let mut put = |key: &str, value: String| all.insert(key.to_owned(), value);
        put("controller.listener.names", "CONTROLLER".to_owned());
        put(
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
        );
        let address = format!("127.0.0.1:{controller_port}");
        if self.static_quorum {
            put("controller.quorum.voters", format!("{CONTROLLER_ID}@{address}"));
        } else {
            put("controller.quorum.bootstrap.servers", address);
        }
    }
}

/// Far from the brokers' ids.
const CONTROLLER_ID: i32 = 3000;

/// One controller and its brokers. Everything stops when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// Chosen at random.
    pub cluster_id: Uuid,
    /// The brokers' version, which also picks the tools'.
    pub kafka: KafkaVersion,
    /// The controller.
    pub controller: Node,
    /// The brokers by id.
    pub brokers: BTreeMap<i32, Node>,
    /// Error lines that this test provokes on purpose.
    pub allowed_errors: Vec<&'static str>,
    // Dropped last: its folder is removed after the processes are gone.
    pub(crate) work: WorkDir,
}

impl Cluster {
    /// A cluster of one controller under test and no broker; `name` goes into its folder's name.
    pub fn builder(name: &str) -> ClusterBuilder {
        ClusterBuilder {
            name: name.to_owned(),
            controller: None,
            kafka: KafkaVersion::V4_3_0,
            brokers: 0,
            release_version: None,
            static_quorum: false,
            controller_properties: BTreeMap::new(),
            broker_properties: BTreeMap::new(),
        }
    }

    /// The folder with all nodes' files.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// Starts what does not run and waits until it serves.
    pub fn start_all(&mut self) -> Outcome<()> {
        if !self.controller.is_running() {
            self.controller.start()?;
        }
        self.await_controller()?;
        for broker in self.brokers.values_mut() {
            if !broker.is_running() {
                broker.start()?;
            }
        }
        self.await_brokers()
    }

    /// Waits until the controller leads its quorum.
    pub fn await_controller(&mut self) -> Outcome<()> {
        let controller = &mut self.controller;
        wait_for("the controller leads", DEADLINE, || {
            controller.listening()?;
            is_active_controller(&controller.address())
        })
    }

    /// Waits until every running broker sees every running broker unfenced.
    pub fn await_brokers(&mut self) -> Outcome<()> {
        let running: Vec<i32> = self
            .brokers
            .values_mut()
            .filter_map(|broker| broker.is_running().then_some(broker.id))
            .collect();
        for broker in self.brokers.values_mut().filter(|broker| running.contains(&broker.id)) {
            wait_for(&format!("{} sees all brokers", broker.name), DEADLINE, || {
                broker.listening()?;
                let alive = alive_brokers(&broker.address())?;
                if alive == running {
                    return Ok(());
                }
                Err(Failure(format!("it sees {alive:?} of {running:?}")))
            })?;
        }
        Ok(())
    }

    /// A broker by id.
    pub fn broker(&mut self, id: i32) -> &mut Node {
        self.brokers.get_mut(&id).unwrap_or_else(|| panic!("this cluster has no broker {id}"))
    }

    /// `host:port` of every broker, for `--bootstrap-server`.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.values().map(Node::address).collect();
        all.join(",")
    }

    /// Lets another program run the (stopped) controller's directory from now on.
    pub fn hand_controller_to(&mut self, controller: Controller) {
        assert!(!self.controller.is_running(), "stop the controller before handing it over");
        self.controller.program = controller.program();
    }

    /// Ends a test that went well: looks for errors in all logs, stops everything, removes files.
    pub fn finish(mut self) -> Outcome<()> {
        for node in self.brokers.values().chain([&self.controller]) {
            node.scan_log(&self.allowed_errors)?;
        }
        for broker in self.brokers.values_mut() {
            broker.kill();
        }
        self.controller.kill();
        self.work.succeeded();
        Ok(())
    }

    /// Stops everything and removes its files, without a look at the logs.
    pub fn discard(mut self) {
        self.work.succeeded();
    }

    fn format_controller(
        &mut self,
        controller: Controller,
        release: &str,
        standalone: bool,
    ) -> Outcome<()> {
        let mut command = match controller {
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
        command.arg(&self.controller.properties);
        command.args(["--release-version", release]);
        if standalone {
            command.arg("--standalone");
        }
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure(format!("cannot start {command:?}: {e}")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure(format!(
            "formatting the controller ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Before the folder goes: its fields are dropped in an order that does the same, but a
        // broker that loses its controller first writes a page of warnings.
        for broker in self.brokers.values_mut() {
            broker.kill();
        }
        self.controller.kill();
    }
}

/// Time a clean shutdown may take.
pub const STOP_DEADLINE: Duration = Duration::from_secs(90);

/// What Kafka's format tool writes into a broker's directory, without a JVM for each.
fn format_broker(node: &Node, cluster_id: Uuid, directory_id: Uuid) -> Outcome<()> {
    let text = format!(
        "version=1\ncluster.id={cluster_id}\nnode.id={}\ndirectory.id={directory_id}\n",
        node.id
    );
    let file = node.dir.join("meta.properties");
    std::fs::create_dir_all(&node.dir)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|e| Failure(format!("cannot write {}: {e}", file.display())))
}

fn properties(all: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (key, value) in all {
        writeln!(text, "{key}={value}").expect("writing to a string cannot fail");
    }
    text
}

/// Cluster and directory ids differ from run to run: tests must not lean on them.
fn seed() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    nanos ^ (u64::from(std::process::id()) << 32)
}
