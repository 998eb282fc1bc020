//! What a node is given before it starts: its configuration and a formatted directory. One place for
//! clusters and quorums, controllers and brokers, Kafka's and ours.

use crate::node::{Place, Program};
use crate::tools::output;
use crate::{Controller, DEADLINE, Failure, Node, Outcome, Tool, quorate_binary, wait_for};
use quorate_base::Uuid;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines of a configuration file.
pub(crate) type Properties = BTreeMap<String, String>;

/// What all nodes of a cluster have in common: where the controllers are, under the setting of a
/// static quorum (`controller.quorum.voters`) or of a dynamic one.
pub(crate) fn quorum_properties(key: &str, controllers: String) -> Properties {
    owned([
        (key, controllers),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned()),
    ])
}

/// A controller's own lines.
pub(crate) fn controller_properties(id: i32, place: &Place, port: u16, dir: &Path) -> Properties {
    let listener = |host: &str| format!("CONTROLLER://{host}:{port}");
    owned([
        ("process.roles", "controller".to_owned()),
        ("node.id", id.to_string()),
        ("listeners", listener(place.bind_host())),
        ("advertised.listeners", listener(place.advertised_host())),
        ("log.dirs", dir.display().to_string()),
    ])
}

/// The own lines of one of so many brokers.
pub(crate) fn broker_properties(
    id: i32,
    place: &Place,
    port: u16,
    dir: &Path,
    brokers: usize,
) -> Properties {
    let replicas = brokers.min(3).to_string();
    let listener = |host: &str| format!("PLAINTEXT://{host}:{port}");
    owned([
        ("process.roles", "broker".to_owned()),
        ("node.id", id.to_string()),
        ("listeners", listener(place.bind_host())),
        ("advertised.listeners", listener(place.advertised_host())),
        ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
        ("log.dirs", dir.display().to_string()),
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
    ])
}

fn owned<const N: usize>(pairs: [(&str, String); N]) -> Properties {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// As a file.
pub(crate) fn lines(all: &Properties) -> String {
    all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// Formats a controller's directory with its own program's tool; `flags` say what quorum it is of.
pub(crate) fn format_controller(
    node: &Node,
    cluster_id: Uuid,
    release: &str,
    flags: &[&str],
) -> Outcome<()> {
    let mut command = match node.program {
        Program::Quorate => {
            let mut command = Command::new(quorate_binary()?);
            command.arg("storage");
            command
        }
        Program::Kafka(version) => {
            let mut command = version.java(128, "ERROR")?;
            command.arg(Tool::Storage.class(version));
            command
        }
    };
    command.args(["format", "--cluster-id", &cluster_id.to_string(), "--config"]);
    command.arg(&node.properties).args(["--release-version", release]).args(flags);
    output(&format!("format of {}", node.name), &mut command)?.ok().map(drop)
}

/// What Kafka's format tool writes into a broker's directory, without a JVM for each.
pub(crate) fn format_broker(node: &Node, cluster_id: Uuid, directory_id: Uuid) -> Outcome<()> {
    let text = format!(
        "version=1\ncluster.id={cluster_id}\nnode.id={}\ndirectory.id={directory_id}\n",
        node.id
    );
    let file = node.dir.join("meta.properties");
    std::fs::create_dir_all(&node.dir)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|e| Failure(format!("cannot write {}: {e}", file.display())))
}

/// Waits until every running broker sees every running broker unfenced.
pub(crate) fn await_brokers(brokers: &mut BTreeMap<i32, Node>) -> Outcome<()> {
    let running: Vec<i32> = brokers
        .values_mut()
        .filter_map(|broker| broker.is_running().then_some(broker.id))
        .collect();
    for broker in brokers.values_mut().filter(|broker| running.contains(&broker.id)) {
        wait_for(&format!("{} sees all brokers", broker.name), DEADLINE, || {
            broker.listening()?;
            let alive = crate::view::alive_brokers(&broker.address())?;
            if alive == running {
                return Ok(());
            }
            Err(Failure(format!("it sees {alive:?} of {running:?}")))
        })?;
    }
    Ok(())
}

impl Controller {
    pub(crate) fn program(self) -> Program {
        match self {
            Controller::Quorate => Program::Quorate,
            Controller::Java(version) => Program::Kafka(version),
        }
    }
}

/// Ids of clusters and directories differ from run to run: tests must not lean on them.
pub(crate) fn seed() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    nanos ^ (u64::from(std::process::id()) << 32)
}
