use crate::node::Place;
use crate::setup::{
    await_brokers, broker_properties, controller_properties, format_broker, format_controller,
    lines, quorum_properties, seed,
};
use crate::view::is_active_controller;
use crate::{DEADLINE, KafkaVersion, Node, Outcome, WorkDir, free_port, wait_for};
use quorate_base::{Prng, Uuid};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

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
    format_arguments: Vec<String>,
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

    /// A further argument for the format of the controller's directory.
    pub fn format_argument(mut self, argument: &str) -> ClusterBuilder {
        self.format_arguments.push(argument.to_owned());
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
        let dir = work.path().join("controller");
        let mut all = self.quorum_config(controller_port);
        all.extend(controller_properties(CONTROLLER_ID, &Place::default(), controller_port, &dir));
        all.extend(self.controller_properties.clone());
        let controller = Node::new(
            work.path(),
            "controller",
            CONTROLLER_ID,
            controller_port,
            chosen.program(),
            &lines(&all),
        )?;
        let release = self.release_version.as_deref().unwrap_or(self.kafka.release_version());
        let mut flags: Vec<&str> = if self.static_quorum { vec![] } else { vec!["--standalone"] };
        flags.extend(self.format_arguments.iter().map(String::as_str));
        format_controller(&controller, cluster_id, release, &flags)?;
        let mut brokers = BTreeMap::new();
        for id in 1..=self.brokers {
            let (port, name) = (free_port(), format!("broker-{id}"));
            let dir = work.path().join(&name);
            let count = usize::try_from(self.brokers).unwrap_or_default();
            let mut all = self.quorum_config(controller_port);
            all.extend(broker_properties(id, &Place::default(), port, &dir, count));
            all.extend(self.broker_properties.clone());
            let program = Controller::Java(self.kafka).program();
            let node = Node::new(work.path(), &name, id, port, program, &lines(&all))?;
            format_broker(&node, cluster_id, Uuid::random(&mut prng))?;
            brokers.insert(id, node);
        }
        Ok(Cluster {
            cluster_id,
            kafka: self.kafka,
            controller,
            brokers,
            allowed_errors: Vec::new(),
            work,
        })
    }

    /// Formats and starts everything, and waits until all brokers are unfenced.
    pub fn start(self) -> Outcome<Cluster> {
        let mut cluster = self.format()?;
        cluster.start_all()?;
        Ok(cluster)
    }

    fn quorum_config(&self, controller_port: u16) -> BTreeMap<String, String> {
        let address = format!("127.0.0.1:{controller_port}");
        if self.static_quorum {
            quorum_properties("controller.quorum.voters", format!("{CONTROLLER_ID}@{address}"))
        } else {
            quorum_properties("controller.quorum.bootstrap.servers", address)
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
            format_arguments: Vec::new(),
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

    /// Starts everything where the controller talks to nobody without a certificate or password, and
    /// waits until all brokers are unfenced.
    pub fn start_unwatched(&mut self) -> Outcome<()> {
        self.controller.start()?;
        for broker in self.brokers.values_mut() {
            broker.start()?;
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
        await_brokers(&mut self.brokers)
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
