//! A page to look at, and the JSON behind it. It only reads: committed metadata and the core's view.
//! Answers are bounded, however large the cluster is.

use super::board::Board;
use quorate_metadata::{Broker, Image, Partition};
use serde_json::{Value, json};

/// The page: one file, nothing is loaded from elsewhere.
pub const PAGE: &str = include_str!("page.html");

/// Most rows of one kind in an answer.
pub const ROWS_MAX: usize = 200;
/// Topics looked at for one answer: with a filter, few of them may be shown.
const LOOKED_AT_MAX: usize = 50_000;

/// Brokers, totals, what is wrong, what is being moved and why it waits, what happened lately.
pub fn cluster(board: &Board) -> Value {
    let image = board.image();
    let topics = &image.topics;
    let brokers: Vec<Value> =
        image.cluster.brokers().take(ROWS_MAX).map(|it| broker(&image, it)).collect();
    let offline: Vec<Value> = topics
        .without_leader()
        .take(ROWS_MAX)
        .filter_map(|(topic, index)| {
            Some(named(&image, topic, index, topics.partition(topic, index)?))
        })
        .collect();
    let moves: Vec<Value> = topics
        .reassigning()
        .take(ROWS_MAX)
        .filter_map(|(topic, index)| {
            let partition = topics.partition(topic, index)?;
            let mut row = named(&image, topic, index, partition);
            row["waits_for"] = json!(waits_for(&image, partition));
            Some(row)
        })
        .collect();
    let events: Vec<Value> = board
        .history
        .newest()
        .into_iter()
        .map(|it| json!({ "at_ms": it.at_ms, "kind": it.kind, "what": it.what }))
        .collect();
    json!({
        "metadata_version": image.metadata_version().to_string(),
        "brokers": brokers,
        "broker_count": image.cluster.broker_count(),
        "topic_count": topics.topic_count(),
        "partition_count": topics.partition_count(),
        "offline": offline,
        "offline_count": topics.count_without_leader(),
        "not_preferred_count": topics.count_not_preferred(),
        "moves": moves,
        "move_count": topics.reassigning().count(),
        "events": events,
    })
}

/// Topics by name, from `from` on, whose names contain `contains`.
pub fn topics(board: &Board, from: &str, contains: &str) -> Value {
    let image = board.image();
    let mut rows = Vec::new();
    let mut next = None;
    for (looked_at, topic) in image.topics.iter_by_name_from(from).enumerate() {
        if rows.len() == ROWS_MAX || looked_at == LOOKED_AT_MAX {
            next = Some(topic.name.to_string());
            break;
        }
        if topic.name.contains(contains) {
            rows.push(json!({
                "name": topic.name.to_string(),
                "id": topic.id.to_string(),
                "partitions": topic.partition_count,
            }));
        }
    }
    json!({ "topics": rows, "next": next })
}

/// Partitions of a topic from the index `from` on; nothing if there is no such topic.
pub fn partitions(board: &Board, name: &str, from: i32) -> Option<Value> {
    let image = board.image();
    let topic = image.topics.by_name(name)?;
    let mut rows = Vec::new();
    let mut next = None;
    for (index, partition) in image.topics.partitions(topic.id).skip_while(|(it, _)| *it < from) {
        if rows.len() == ROWS_MAX {
            next = Some(index);
            break;
        }
        rows.push(of_partition(&image, index, partition));
    }
    Some(json!({ "name": name, "partitions": rows, "next": next }))
}

fn broker(image: &Image, it: &Broker) -> Value {
    let state = match it {
        Broker { fenced: true, .. } => "fenced",
        Broker { in_controlled_shutdown: true, .. } => "shutting down",
        _ => "active",
    };
    let listeners = it.listeners.iter().map(|it| format!("{}://{}:{}", it.name, it.host, it.port));
    json!({
        "id": it.id,
        "state": state,
        "rack": it.rack.as_ref().map(ToString::to_string),
        "listeners": listeners.collect::<Vec<_>>(),
        "replicas": image.topics.count_on_broker(it.id),
        "directories": it.directories.len(),
    })
}

fn named(image: &Image, topic: quorate_base::Uuid, index: i32, partition: &Partition) -> Value {
    let mut row = of_partition(image, index, partition);
    let name = image.topics.by_id(topic).map(|it| it.name.to_string());
    row["topic"] = json!(name.unwrap_or_else(|| topic.to_string()));
    row
}

fn of_partition(_: &Image, index: i32, it: &Partition) -> Value {
    json!({
        "partition": index,
        "leader": it.leader(),
        "leader_epoch": it.leader_epoch(),
        "replicas": it.replicas(),
        "isr": it.isr(),
        "elr": it.elr(),
        "adding": it.adding(),
        "removing": it.removing(),
    })
}

/// Why a reassignment is not done yet: its target replicas have to be in the ISR, all of them.
fn waits_for(image: &Image, it: &Partition) -> String {
    if it.leader().is_none() {
        return "a leader: without one nothing can be copied".to_owned();
    }
    let target = it.replicas().iter().filter(|id| !it.removing().contains(id));
    let missing: Vec<String> = target
        .filter(|id| !it.isr().contains(id))
        .map(|id| match image.cluster.broker(*id) {
            None => format!("broker {id}, which is not registered"),
            Some(broker) if broker.fenced => format!("broker {id}, which is fenced"),
            Some(_) => format!("broker {id} to catch up with the leader"),
        })
        .collect();
    if missing.is_empty() {
        return "the leader to report its replicas in sync".to_owned();
    }
    missing.join(", ")
}
