//! One controller alone: what it acknowledges is on disk, and what is on disk it knows again.

mod harness;

use harness::{Driver, config, create_topic, heartbeat, registration};
use quorate_base::{Offset, Uuid};
use quorate_node::Event;
use quorate_protocol::AnyResponse;
use quorate_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use quorate_protocol::messages::fetch_response::PartitionData;
use quorate_protocol::messages::{CreateTopicsResponse, FetchRequest};
use std::time::Duration;

fn created(response: AnyResponse) -> CreateTopicsResponse {
    let AnyResponse::CreateTopics(response) = response else { panic!("{response:?}") };
    response
}

fn fetch(from: Offset, epoch: i32, last_fetched_epoch: i32, high_watermark: i64) -> FetchRequest {
    FetchRequest {
        cluster_id: Some(harness::CLUSTER.into()),
        replica_state: ReplicaState { replica_id: 11, replica_epoch: -1, ..Default::default() },
        max_wait_ms: 500,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![FetchPartition {
                current_leader_epoch: epoch,
                fetch_offset: from,
                last_fetched_epoch,
                high_watermark,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetched(response: AnyResponse) -> PartitionData {
    let AnyResponse::Fetch(response) = response else { panic!("{response:?}") };
    assert_eq!(response.error_code, 0);
    response.responses[0].partitions[0].clone()
}

#[test]
fn a_lone_voter_leads_at_once_and_writes_the_bootstrap_records() {
    let driver = Driver::start(config());
    assert!(driver.node.is_active());
    let image = driver.node.committed();
    assert_eq!(
        image.features.metadata_version(),
        quorate_protocol::features::MetadataVersion::LATEST_PRODUCTION
    );
    assert!(image.cluster.controller(1).is_some(), "it registers itself");
    let status = driver.node.status();
    assert_eq!((status.role, status.epoch, status.leader), ("leader", 1, Some(1)));
    assert_eq!(status.high_watermark, Some(status.log_end));
    assert_eq!(driver.published, Some((status.log_end, image.content_hash())));
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let mut driver = Driver::start(config());
    driver.broker(11);
    driver.sync_at_once = false;
    let token = driver.send(7, create_topic("orders", 3, 1));
    assert!(!driver.responses.contains_key(&token), "appended, not synced");
    assert!(driver.node.committed().topics.by_name("orders").is_none());
    driver.sync();
    let response = created(driver.responses.remove(&token).expect("synced, so answered"));
    assert_eq!(response.topics[0].error_code, 0);
    assert!(driver.node.committed().topics.by_name("orders").is_some());
}

#[test]
fn a_crash_loses_what_was_never_acknowledged_and_nothing_else() {
    let mut driver = Driver::start(config());
    driver.broker(11);
    assert_eq!(created(driver.ask(7, create_topic("kept", 3, 1))).topics[0].error_code, 0);
    driver.sync_at_once = false;
    let token = driver.send(7, create_topic("lost", 1, 1));
    assert!(!driver.responses.contains_key(&token));
    let epoch = driver.node.status().epoch;

    let driver = driver.crash_and_restart();
    assert!(driver.node.is_active());
    assert_eq!(driver.node.status().epoch, epoch + 1, "a restarted leader never resumes its epoch");
    let topics = &driver.node.committed().topics;
    assert!(topics.by_name("kept").is_some() && topics.by_name("lost").is_none());
}

#[test]
fn replay_gives_the_state_that_was_decided() {
    let mut driver = Driver::start(config());
    for broker in [11, 12, 13] {
        driver.broker(broker);
    }
    for n in 0..20 {
        let response = created(driver.ask(7, create_topic(&format!("topic-{n}"), 5, 3)));
        assert_eq!(response.topics[0].error_code, 0);
    }
    let decided = driver.node.committed().clone();
    let end = driver.node.status().log_end;
    let restarted = driver.crash_and_restart();
    let replayed = restarted.node.committed();
    // Only the controller's own registration and the new epoch's records came on top.
    assert!(restarted.node.status().log_end > end);
    assert_eq!(decided.topics.partition_count(), replayed.topics.partition_count());
    for topic in decided.topics.iter_by_name() {
        let again = replayed.topics.by_name(&topic.name).expect("the topic is there again");
        assert_eq!(again.id, topic.id);
        for (index, partition) in decided.topics.partitions(topic.id) {
            assert_eq!(replayed.topics.partition(topic.id, index), Some(partition));
        }
    }
}

#[test]
fn an_observer_learns_the_leader_fetches_and_is_woken_by_the_high_watermark() {
    let mut driver = Driver::start(config());
    let refused = fetched(driver.ask(17, fetch(0, 0, 0, -1)));
    assert_eq!(refused.error_code, 74, "FENCED_LEADER_EPOCH tells the epoch");
    assert_eq!((refused.current_leader.leader_id, refused.current_leader.leader_epoch), (1, 1));

    let first = fetched(driver.ask(17, fetch(0, 1, 0, -1)));
    let end = driver.node.status().log_end;
    assert_eq!((first.error_code, first.high_watermark), (0, end));
    assert!(!first.records.expect("records").is_empty());

    let parked = driver.send(18, fetch(end, 1, 1, end));
    assert!(!driver.responses.contains_key(&parked), "nothing new: the fetch waits");
    driver.sync_at_once = false;
    driver.send(4, registration(11, 0x2011));
    assert!(!driver.responses.contains_key(&parked), "an observer waits for the commit");
    driver.sync();
    let woken = fetched(driver.responses.remove(&parked).expect("the commit wakes the fetch"));
    assert_eq!(woken.high_watermark, driver.node.status().log_end);
    assert!(!woken.records.expect("records").is_empty());
}

#[test]
fn a_parked_fetch_is_answered_empty_when_its_time_is_over() {
    let mut driver = Driver::start(config());
    let end = driver.node.status().log_end;
    driver.pass(Duration::from_millis(1));
    let end = driver.node.status().log_end.max(end);
    let parked = driver.send(18, fetch(end, 1, 1, end));
    assert!(!driver.responses.contains_key(&parked));
    driver.pass(Duration::from_millis(501));
    let answer = fetched(driver.responses.remove(&parked).expect("answered in time"));
    assert_eq!(answer.error_code, 0);
}

#[test]
fn a_silent_broker_is_fenced_after_its_session() {
    let mut driver = Driver::start(config());
    let epochs = [driver.broker(11), driver.broker(12)];
    created(driver.ask(7, create_topic("orders", 4, 2)));
    for _ in 0..6 {
        driver.pass(Duration::from_secs(2));
        driver.ask(2, heartbeat(11, epochs[0]));
    }
    let image = driver.node.committed();
    assert!(!image.cluster.broker(11).expect("registered").fenced);
    assert!(image.cluster.broker(12).expect("registered").fenced);
    let topic = image.topics.by_name("orders").expect("created").id;
    for (index, partition) in image.topics.partitions(topic) {
        assert_eq!(partition.leader(), Some(11), "partition {index}");
        assert_eq!(partition.isr(), [11], "partition {index}");
    }
}

#[test]
fn a_snapshot_is_taken_when_enough_was_written() {
    let mut config = config();
    config.snapshots.max_bytes_between = 1500;
    let mut driver = Driver::start(config);
    driver.broker(11);
    for n in 0..40 {
        created(driver.ask(7, create_topic(&format!("topic-{n}"), 1, 1)));
    }
    assert!(driver.snapshots.len() >= 2, "{} snapshots", driver.snapshots.len());
    assert!(driver.snapshots.is_sorted_by_key(|(id, _)| id.offset));
    for (id, image) in &driver.snapshots {
        let batch_ends_there = driver.disk.iter().any(|batch| batch.end_offset == id.offset);
        assert!(batch_ends_there, "{id} lies on a batch boundary");
        assert!(image.topics.topic_count() > 0);
    }
}

#[test]
fn a_record_nobody_knows_stops_the_node_and_names_the_offset() {
    let mut driver = Driver::start(config());
    driver.broker(11);
    let last = driver.disk.last().expect("something is written").clone();
    let value = bytes::Bytes::from_static(&[1, 0x90, 0x4e, 0]);
    let bytes =
        quorate_protocol::batch::encode_data_batch(last.end_offset, last.epoch, 0, &[value]);
    driver.disk.push(quorate_node::LogAppend {
        base_offset: last.end_offset,
        end_offset: last.end_offset + 1,
        bytes,
        ..last.clone()
    });
    let driver = driver.crash_and_restart();
    let message = driver.fatal.expect("the node stops");
    assert!(message.contains(&last.end_offset.to_string()), "{message}");
    assert!(!driver.node.is_active());
}

#[test]
fn a_cancelled_fetch_is_forgotten() {
    let mut driver = Driver::start(config());
    let end = driver.node.status().log_end;
    let parked = driver.send(18, fetch(end, 1, 1, end));
    driver.step(Event::Cancelled { token: parked });
    driver.pass(Duration::from_secs(2));
    assert!(!driver.responses.contains_key(&parked));
}
