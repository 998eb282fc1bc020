//! Registration, heartbeats and unregistration of brokers. Rows of errors stand in the order in which
//! Kafka looks for them: each request also carries every mistake of the rows after it, where it can.

mod world;

use quorate_base::Uuid;
use quorate_protocol::messages::*;
use quorate_protocol::records::BrokerRegistrationChangeRecord;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr, MetadataRecord};
use std::time::Duration;
use world::{SESSION, Wants, World, broker, directory, error, supports};

type Change = fn(&mut BrokerRegistrationRequest);

#[test]
fn registrations_are_refused_in_kafkas_order() {
    let rows: [(&str, Change, ErrorCode); 11] = [
        (
            "another cluster",
            |it| {
                it.cluster_id = KStr::from("other");
                it.broker_id = 1;
                it.is_migrating_zk_broker = true;
            },
            ErrorCode::InconsistentClusterId,
        ),
        (
            "an id in use",
            |it| {
                it.broker_id = 1;
                it.is_migrating_zk_broker = true;
            },
            ErrorCode::DuplicateBrokerRegistration,
        ),
        (
            "a broker of the ZooKeeper kind",
            |it| {
                it.is_migrating_zk_broker = true;
                it.log_dirs.clear();
            },
            ErrorCode::BrokerIdNotRegistered,
        ),
        (
            "no directory",
            |it| {
                it.log_dirs.clear();
                it.features.clear();
            },
            ErrorCode::InvalidRegistration,
        ),
        (
            "a reserved directory",
            |it| it.log_dirs = vec![Uuid::from_u128(5)],
            ErrorCode::InvalidRegistration,
        ),
        (
            "a directory twice",
            |it| it.log_dirs = vec![directory(5); 2],
            ErrorCode::InvalidRegistration,
        ),
        (
            "somebody else's directory",
            |it| it.log_dirs = vec![directory(5), directory(1)],
            ErrorCode::InvalidRegistration,
        ),
        ("no metadata.version", |it| it.features.clear(), ErrorCode::InvalidRegistration),
        (
            "a metadata.version too old",
            |it| it.features = vec![supports("metadata.version", 7, 29)],
            ErrorCode::UnsupportedVersion,
        ),
        (
            "a finalised feature missing",
            |it| it.features = vec![supports("metadata.version", 7, 30)],
            ErrorCode::UnsupportedVersion,
        ),
        (
            "a feature it cannot do without",
            |it| it.features.push(supports("newer.version", 1, 3)),
            ErrorCode::UnsupportedVersion,
        ),
    ];
    let mut world = World::active(30);
    world.bring_up(1);
    for (what, change, expected) in rows {
        let mut request = broker(5);
        change(&mut request);
        let answer = world.try_register(request);
        assert_eq!(error(answer.error_code), expected, "{what}");
        assert_eq!(answer.broker_epoch, -1, "{what}");
    }
    assert_eq!(error(world.try_register(broker(5)).error_code), ErrorCode::None);
}

#[test]
fn test_registration_below_directory_support() {
    let mut world = World::active(16);
    let mut request = broker(5);
    request.log_dirs.clear();
    assert_eq!(world.try_register(request).error_code, 0, "directories are not asked for");
    world.take_records();
    assert_eq!(world.try_register(broker(6)).error_code, 0);
    let (record, version) = world.take_records().remove(0);
    assert_eq!(version, 2);
    match record {
        MetadataRecord::RegisterBroker(it) => assert_eq!(it.log_dirs, [], "cannot be recorded"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_listeners_with_one_name_the_last_counts() {
    let mut world = World::active(30);
    let mut request = broker(5);
    let mut again = request.listeners[0].clone();
    again.port = 9094;
    request.listeners.push(again);
    assert_eq!(world.try_register(request).error_code, 0);
    let (record, _) = world.take_records().remove(0);
    let MetadataRecord::RegisterBroker(record) = record else { panic!("{record:?}") };
    let ports: Vec<u16> = record.end_points.iter().map(|it| it.port).collect();
    assert_eq!(ports, [9094]);
}

#[test]
fn test_register_broker_info() {
    let mut world = World::active(30);
    let expected_epoch = world.end;
    let answer = world.try_register(broker(5));
    assert_eq!(answer.broker_epoch, expected_epoch, "the epoch is the record's offset");
    let (record, version) = world.take_records().remove(0);
    assert_eq!(version, 4);
    let MetadataRecord::RegisterBroker(record) = record else { panic!("{record:?}") };
    assert!(record.fenced && !record.in_controlled_shutdown && !record.is_migrating_zk_broker);
    assert_eq!((record.broker_id, record.broker_epoch), (5, expected_epoch));
    assert_eq!(record.log_dirs, [directory(5)]);
    assert_eq!(record.cordoned_log_dirs, None);
    let names: Vec<&str> = record.features.iter().map(|it| it.name.as_str()).collect();
    let given: Vec<KStr> = broker(5).features.into_iter().map(|it| it.name).collect();
    assert_eq!(names, given, "in the order given");
    let text = world.told.last().expect("told").1.clone();
    assert!(text.contains("broker 5 registers"), "{text}");
}

#[test]
fn the_same_incarnation_keeps_epoch_and_standing() {
    let mut world = World::active(30);
    let epoch = world.bring_up(5);
    let mut request = broker(5);
    request.rack = Some(KStr::from("r2"));
    let answer = world.try_register(request);
    assert_eq!((answer.error_code, answer.broker_epoch), (0, epoch));
    let known = world.controller.committed().cluster.broker(5).expect("registered").clone();
    assert!(!known.fenced);
    assert_eq!(known.rack.as_deref(), Some("r2"));
}

#[test]
fn a_new_incarnation_waits_for_the_old_session_and_starts_fenced() {
    let mut world = World::active(30);
    let epoch = world.bring_up(5);
    let mut request = broker(5);
    request.incarnation_id = Uuid::from_u128(0x9999);
    let refused = world.try_register(request.clone());
    assert_eq!(error(refused.error_code), ErrorCode::DuplicateBrokerRegistration);
    world.wait(SESSION);
    let answer = world.try_register(request);
    assert_eq!(answer.error_code, 0);
    assert!(answer.broker_epoch > epoch);
    assert!(world.controller.committed().cluster.broker(5).expect("registered").fenced);
    assert_eq!(error(world.beat(5, epoch, Wants::Nothing).error_code), ErrorCode::StaleBrokerEpoch);
}

/// A broker told to go has said goodbye: its next process is let in at once. (Kafka lets it wait until
/// the session has run out.)
#[test]
fn after_a_clean_shutdown_a_restart_need_not_wait() {
    let mut world = World::active(30);
    let epoch = world.bring_up(5);
    assert!(world.beat(5, epoch, Wants::ShutDown).should_shut_down);
    let mut request = broker(5);
    request.incarnation_id = Uuid::from_u128(0x9999);
    request.previous_broker_epoch = epoch;
    assert_eq!(world.try_register(request).error_code, 0);
}

#[test]
fn a_restart_takes_the_broker_out_of_isrs_before_it_is_registered() {
    let mut world = World::active(30);
    world.bring_up(1);
    world.bring_up(2);
    world.create_topic("t", &[1, 2]);
    world.wait(SESSION);
    world.take_records();
    let mut request = broker(1);
    request.incarnation_id = Uuid::from_u128(0x9999);
    let base_offset = world.end;
    let answer = world.try_register(request);
    assert_eq!(answer.broker_epoch, base_offset, "the epoch is where the decision starts");
    assert_eq!(world.written(), ["PartitionChangeRecord", "RegisterBrokerRecord"]);
    assert_eq!(world.partition("t").isr(), [2]);
    assert_eq!(world.partition("t").leader(), Some(2));
    let registered_at = world.controller.heartbeats().registered_at(1);
    assert_eq!(registered_at, Some(base_offset + 1), "unfenced only beyond the record itself");
}

#[test]
fn heartbeats_of_strangers_are_stale() {
    let mut world = World::active(30);
    let epoch = world.register(5);
    let rows = [
        (5, epoch + 1, ErrorCode::StaleBrokerEpoch),
        (5, -1, ErrorCode::StaleBrokerEpoch),
        (6, epoch, ErrorCode::StaleBrokerEpoch),
    ];
    for (id, given, expected) in rows {
        let answer = world.beat(id, given, Wants::Nothing);
        assert_eq!(error(answer.error_code), expected, "{id} {given}");
    }
    assert!(!world.controller.heartbeats().has_valid_session(world.now.time, 6, epoch));
}

#[test]
fn a_broker_is_unfenced_once_it_has_read_its_own_registration() {
    let mut world = World::active(30);
    let epoch = world.register(5);
    let behind = world.beat_at(5, epoch, epoch - 1, Wants::Nothing);
    assert!(!behind.is_caught_up && behind.is_fenced && !behind.should_shut_down);
    let waiting = world.beat_at(5, epoch, epoch, Wants::Fence);
    assert!(waiting.is_caught_up && waiting.is_fenced);
    world.take_records();
    let answer = world.beat_at(5, epoch, epoch, Wants::Nothing);
    assert!(answer.is_caught_up && !answer.is_fenced);
    let (record, version) = world.take_records().remove(0);
    let expected = BrokerRegistrationChangeRecord {
        broker_id: 5,
        broker_epoch: epoch,
        fenced: -1,
        ..Default::default()
    };
    assert_eq!((record, version), (expected.into(), 0));
    world.beat(5, epoch, Wants::Nothing);
    assert_eq!(world.written(), [] as [&str; 0], "nothing new, nothing written");
}

#[test]
fn what_brokers_want_and_get() {
    // (starts unfenced, leads a partition, wants) -> (fenced, told to go, in controlled shutdown)
    let rows = [
        (false, false, Wants::Nothing, (false, false, false)),
        (false, false, Wants::Fence, (true, false, false)),
        (false, false, Wants::ShutDown, (true, true, false)),
        (false, false, Wants::FenceAndShutDown, (true, true, false)),
        (true, false, Wants::Nothing, (false, false, false)),
        (true, false, Wants::Fence, (true, false, false)),
        (true, false, Wants::ShutDown, (true, true, false)),
        (true, false, Wants::FenceAndShutDown, (true, true, false)),
        (true, true, Wants::Nothing, (false, false, false)),
        (true, true, Wants::Fence, (true, false, false)),
        (true, true, Wants::ShutDown, (false, false, true)),
        (true, true, Wants::FenceAndShutDown, (true, true, false)),
    ];
    for (unfenced, leads, wants, expected) in rows {
        let mut world = World::active(30);
        world.bring_up(2);
        let epoch = if unfenced { world.bring_up(1) } else { world.register(1) };
        if leads {
            world.create_topic("t", &[1, 2]);
        }
        let answer = world.beat(1, epoch, wants);
        let known = world.controller.committed().cluster.broker(1).expect("registered");
        let found = (answer.is_fenced, answer.should_shut_down, known.in_controlled_shutdown);
        assert_eq!(found, expected, "unfenced {unfenced}, leads {leads}, wants {wants:?}");
        assert_eq!(known.fenced, expected.0);
    }
}

#[test]
fn test_process_broker_heartbeat_in_controlled_shutdown() {
    let mut world = World::active(30);
    let leaving = world.bring_up(1);
    let other = world.bring_up(2);
    world.create_topic("t", &[1, 2]);
    world.take_records();

    let granted = world.beat(1, leaving, Wants::ShutDown);
    assert!(!granted.is_fenced && !granted.should_shut_down);
    assert_eq!(world.written(), ["BrokerRegistrationChangeRecord", "PartitionChangeRecord"]);
    assert_eq!(world.partition("t").leader(), Some(2));
    let handed_over = world.end - 1;
    let heartbeats = world.controller.heartbeats();
    assert_eq!(heartbeats.controlled_shutdown_offset(1), Some(handed_over));

    // The other broker does not know yet.
    world.beat_at(2, other, handed_over - 1, Wants::Nothing);
    let waiting = world.beat(1, leaving, Wants::ShutDown);
    assert!(!waiting.is_fenced && !waiting.should_shut_down);
    let heartbeats = world.controller.heartbeats();
    assert_eq!(heartbeats.controlled_shutdown_offset(1), Some(handed_over), "does not move");

    world.take_records();
    world.beat_at(2, other, handed_over, Wants::Nothing);
    let gone = world.beat(1, leaving, Wants::ShutDown);
    assert!(gone.is_fenced && gone.should_shut_down);
    assert_eq!(world.written(), ["BrokerRegistrationChangeRecord"]);
    assert!(world.controller.committed().cluster.broker(1).expect("registered").fenced);
}

#[test]
fn a_broker_that_leads_alone_leaves_the_partition_without_a_leader_and_goes() {
    let mut world = World::active(30);
    let epoch = world.bring_up(1);
    world.create_topic("t", &[1]);
    let granted = world.beat(1, epoch, Wants::ShutDown);
    assert!(!granted.should_shut_down && !granted.is_fenced);
    assert_eq!(world.partition("t").leader(), None);
    assert_eq!(world.partition("t").isr(), [1], "the last one stays in the ISR");
    assert!(world.beat(1, epoch, Wants::ShutDown).should_shut_down);
}

#[test]
fn test_process_expired_broker_heartbeat() {
    let mut world = World::active(30);
    let epoch = world.bring_up(1);
    world.wait(SESSION - Duration::from_millis(1));
    world.step(quorate_controller::Event::Timeout);
    world.commit();
    assert!(!world.controller.committed().cluster.broker(1).expect("registered").fenced);
    world.wait(Duration::from_millis(1));
    world.step(quorate_controller::Event::Timeout);
    world.commit();
    assert!(world.controller.committed().cluster.broker(1).expect("registered").fenced);
    let back = world.beat(1, epoch, Wants::Nothing);
    assert!(!back.is_fenced, "the same process may come back");
}

#[test]
fn a_fenced_broker_falling_silent_writes_nothing() {
    let mut world = World::active(30);
    let epoch = world.register(1);
    world.beat(1, epoch, Wants::Fence);
    world.take_records();
    world.wait(SESSION);
    world.step(quorate_controller::Event::Timeout);
    assert_eq!(world.written(), ["NoOpRecord"]);
}

#[test]
fn cordoned_directories_are_written_when_they_change() {
    let mut world = World::active(30);
    let epoch = world.bring_up(1);
    world.take_records();
    let beat = |cordoned: Option<Vec<Uuid>>| BrokerHeartbeatRequest {
        broker_id: 1,
        broker_epoch: epoch,
        current_metadata_offset: epoch,
        cordoned_log_dirs: cordoned,
        ..Default::default()
    };
    let rows = [
        (None, false),
        (Some(vec![]), true),
        (Some(vec![]), false),
        (Some(vec![directory(1)]), true),
        (None, false),
        (Some(vec![directory(1)]), false),
        (Some(vec![]), true),
    ];
    for (cordoned, written) in rows {
        world.try_beat(beat(cordoned.clone()));
        let records = world.take_records();
        assert_eq!(records.len(), usize::from(written), "{cordoned:?}");
        assert!(records.iter().all(|(_, version)| *version == 3));
    }
    let mut old = World::active(29);
    let epoch = old.bring_up(1);
    old.take_records();
    old.try_beat(BrokerHeartbeatRequest { broker_epoch: epoch, ..beat(Some(vec![directory(1)])) });
    assert_eq!(old.written(), [] as [&str; 0], "below 4.3-IV0 there is no record for it");
}

#[test]
fn offline_directories_move_leaders_and_leave_the_registration() {
    let mut world = World::active(30);
    let mut request = broker(1);
    request.log_dirs = vec![directory(1), directory(11)];
    let epoch = world.try_register(request).broker_epoch;
    world.beat(1, epoch, Wants::Nothing);
    world.bring_up(2);
    world.create_topic("t", &[1, 2]);
    let topic = world.controller.committed().topics.by_name("t").expect("created").id;
    let assign = AssignReplicasToDirsRequest {
        broker_id: 1,
        broker_epoch: epoch,
        directories: vec![assign_replicas_to_dirs_request::DirectoryData {
            id: directory(11),
            topics: vec![assign_replicas_to_dirs_request::TopicData {
                topic_id: topic,
                partitions: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert!(
        world.ask(AnyRequest::AssignReplicasToDirs(assign)).error_codes().iter().all(|it| *it == 0)
    );
    world.take_records();
    let beat = BrokerHeartbeatRequest {
        broker_id: 1,
        broker_epoch: epoch,
        current_metadata_offset: world.end - 1,
        offline_log_dirs: vec![directory(11), Uuid::from_u128(0xffff)],
        ..Default::default()
    };
    world.try_beat(beat.clone());
    assert_eq!(world.written(), ["PartitionChangeRecord", "BrokerRegistrationChangeRecord"]);
    assert_eq!(world.partition("t").leader(), Some(2));
    let known = world.controller.committed().cluster.broker(1).expect("registered");
    assert_eq!(known.directories, [directory(1)]);
    world.take_records();
    world.try_beat(beat);
    assert_eq!(world.written(), [] as [&str; 0], "known by now");
}

#[test]
fn unregistering_takes_the_broker_out_of_everything() {
    let mut world = World::active(30);
    let epoch = world.bring_up(1);
    world.bring_up(2);
    world.create_topic("t", &[1, 2]);
    world.take_records();
    let request = UnregisterBrokerRequest { broker_id: 1, ..Default::default() };
    let AnyResponse::UnregisterBroker(answer) =
        world.ask(AnyRequest::UnregisterBroker(request.clone()))
    else {
        panic!("another answer")
    };
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.error_message, Some(KStr::from("")));
    assert_eq!(world.written(), ["PartitionChangeRecord", "UnregisterBrokerRecord"]);
    assert!(world.controller.committed().cluster.broker(1).is_none());
    assert_eq!(world.partition("t").leader(), Some(2));
    let refused = world.beat(1, epoch, Wants::Nothing).error_code;
    assert_eq!(error(refused), ErrorCode::StaleBrokerEpoch);

    let AnyResponse::UnregisterBroker(again) = world.ask(AnyRequest::UnregisterBroker(request))
    else {
        panic!("another answer")
    };
    assert_eq!(error(again.error_code), ErrorCode::BrokerIdNotRegistered);
    assert!(again.error_message.expect("said").contains("Broker ID 1"));
}

#[test]
fn producer_ids_come_in_blocks_of_a_thousand() {
    let mut world = World::active(30);
    let epoch = world.register(1);
    let request = |broker_epoch| {
        AnyRequest::AllocateProducerIds(AllocateProducerIdsRequest {
            broker_id: 1,
            broker_epoch,
            ..Default::default()
        })
    };
    for expected in [0, 1_000, 2_000] {
        let AnyResponse::AllocateProducerIds(answer) = world.ask(request(epoch)) else {
            panic!("another answer")
        };
        assert_eq!((answer.error_code, answer.producer_id_start), (0, expected));
        assert_eq!(answer.producer_id_len, 1_000);
    }
    let stale = world.ask(request(epoch + 1)).error_codes();
    assert_eq!(stale, [ErrorCode::StaleBrokerEpoch.code()]);
    world.step(quorate_controller::Event::Deactivated);
    world.step(quorate_controller::Event::Activated { epoch: 2 });
    let AnyResponse::AllocateProducerIds(answer) = world.ask(request(epoch)) else {
        panic!("another answer")
    };
    assert_eq!(answer.producer_id_start, 3_000, "no id is given twice");
}
