//! The controller from activation to resignation: what it writes, when it answers, what it forgets.

mod world;

use quorate_base::{Offset, OffsetAndEpoch, Uuid};
use quorate_controller::{
    Action, AuthorizerConfig, Controller, ControllerConfig, EnvelopeSender, Event, Principal,
    RequestContext,
};
use quorate_metadata::{ConfigResource, Image};
use quorate_protocol::features::Feature;
use quorate_protocol::header::encode_response;
use quorate_protocol::messages::*;
use quorate_protocol::records::*;
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, KStr, MetadataRecord};
use std::time::Duration;
use world::{SESSION, Wants, World, broker, config, feature_record};

fn begin(name: &str) -> MetadataRecord {
    BeginTransactionRecord { name: Some(KStr::from(name)), ..Default::default() }.into()
}

fn replay(world: &mut World, records: Vec<MetadataRecord>) {
    let base_offset = world.end;
    world.end += records.len() as Offset;
    let end_offset = world.end;
    world.step(Event::Replay { base_offset, end_offset, epoch: 1, append_time_ms: 0, records });
}

#[test]
fn activation_message_for_empty_log_at_mv_4_3_with_transaction_and_elr() {
    let mut config = config(30);
    config.min_insync_replicas = 2;
    config.bootstrap_records = vec![
        feature_record(Feature::EligibleLeaderReplicas, 1),
        feature_record(Feature::GroupVersion, 1),
        feature_record(Feature::MetadataVersion, 30),
    ];
    let mut world = World::new(config);
    world.step(Event::Committed { end_offset: 1 });
    world.step(Event::Activated { epoch: 1 });
    assert_eq!(
        world.written(),
        [
            "BeginTransactionRecord",
            "FeatureLevelRecord",
            "FeatureLevelRecord",
            "FeatureLevelRecord",
            "ConfigRecord",
            "EndTransactionRecord",
            "RegisterControllerRecord",
        ]
    );
    assert_eq!(world.appends.len(), 2, "the registration is an append of its own");
    let (base_offset, records) = &world.appends[0];
    assert_eq!(*base_offset, 1);
    assert_eq!(records[1].0, feature_record(Feature::MetadataVersion, 30), "it comes first");
    assert!(!world.controller.committed().features.has_metadata_version());

    world.commit();
    let image = world.controller.committed();
    assert_eq!(image.features.metadata_version().level(), 30);
    let min_isr = image.configs.value(&ConfigResource::default_broker(), "min.insync.replicas");
    assert_eq!(min_isr.map(|it| it.as_str()), Some("2"));
    assert!(image.cluster.controller(1).is_some());
    assert_eq!(world.controller.committed_offset(), world.end);
}

#[test]
fn activation_records_at_a_version_without_transactions_and_registration() {
    let mut world = World::new(config(8));
    world.step(Event::Activated { epoch: 1 });
    assert_eq!(world.written(), ["FeatureLevelRecord"]);
}

#[test]
fn without_bootstrap_records_the_newest_production_version_is_taken() {
    let mut config = config(30);
    config.bootstrap_records.clear();
    let mut world = World::new(config);
    world.step(Event::Activated { epoch: 1 });
    world.commit();
    assert_eq!(world.controller.committed().features.metadata_version().level(), 33);
}

#[test]
fn bootstrap_of_an_unknown_level_is_refused_with_its_source() {
    let mut world = World::new(config(99));
    world.step(Event::Activated { epoch: 1 });
    let message = world.fatal.expect("cannot go on");
    assert!(message.contains("the test") && message.contains("99"), "{message}");
}

#[test]
fn activation_records_partial_bootstrap() {
    let mut world = World::new(config(30));
    let version = feature_record(Feature::MetadataVersion, 30);
    replay(&mut world, vec![begin("Bootstrap records"), version]);
    assert!(world.controller.in_transaction());
    assert_eq!(world.controller.committed_offset(), 0, "nothing of it is visible");
    world.step(Event::Activated { epoch: 2 });
    assert_eq!(
        world.written(),
        [
            "AbortTransactionRecord",
            "BeginTransactionRecord",
            "FeatureLevelRecord",
            "EndTransactionRecord",
            "RegisterControllerRecord",
        ]
    );
    world.commit();
    assert!(!world.controller.in_transaction());
    assert_eq!(world.controller.committed_offset(), world.end);
}

#[test]
fn activation_records_partial_transaction() {
    let mut world = World::new(config(30));
    let topic = TopicRecord {
        name: KStr::from("half"),
        topic_id: Uuid::from_u128(0xabc),
        ..Default::default()
    };
    let version = feature_record(Feature::MetadataVersion, 30);
    replay(&mut world, vec![version, begin("many topics"), topic.into()]);
    assert!(world.controller.committed().topics.by_name("half").is_none());
    world.step(Event::Activated { epoch: 2 });
    assert_eq!(world.written(), ["AbortTransactionRecord", "RegisterControllerRecord"]);
    world.commit();
    assert!(world.controller.committed().topics.by_name("half").is_none());
}

#[test]
fn activation_records_non_empty_log() {
    let mut world = World::active(30);
    world.step(Event::Deactivated);
    world.step(Event::Activated { epoch: 2 });
    assert_eq!(world.written(), [] as [&str; 0], "it is registered already");
}

#[test]
fn readers_see_a_transaction_when_it_ends_and_not_before() {
    let mut world = World::new(config(30));
    let id = Uuid::from_u128(0xabc);
    let topic = TopicRecord { name: KStr::from("t"), topic_id: id, ..Default::default() };
    replay(&mut world, vec![feature_record(Feature::MetadataVersion, 30)]);
    let before = world.controller.committed_offset();
    replay(&mut world, vec![begin("x"), topic.into()]);
    assert_eq!(world.controller.committed_offset(), before);
    replay(&mut world, vec![EndTransactionRecord::default().into()]);
    assert!(world.controller.committed().topics.by_name("t").is_some());
    assert_eq!(world.controller.committed_offset(), world.end);
}

#[test]
fn an_answer_waits_until_its_records_are_committed() {
    let mut world = World::active(30);
    let token = world.send(AnyRequest::BrokerRegistration(broker(5)));
    assert_eq!(world.answers.get(&token), None);
    assert!(world.controller.committed().cluster.broker(5).is_none());
    world.commit();
    assert!(matches!(world.answers[&token], AnyResponse::BrokerRegistration(_)));
    assert!(world.controller.committed().cluster.broker(5).is_some());
}

#[test]
fn an_answer_without_records_waits_for_what_it_may_rest_on() {
    let mut world = World::active(30);
    let first = world.send(AnyRequest::BrokerRegistration(broker(5)));
    let end = world.end;
    let epoch = end - 1;
    let heartbeat = BrokerHeartbeatRequest {
        broker_id: 5,
        broker_epoch: epoch,
        want_fence: true,
        ..Default::default()
    };
    let second = world.send(AnyRequest::BrokerHeartbeat(heartbeat.clone()));
    assert_eq!(world.end, end, "the heartbeat wrote nothing");
    assert!(world.answers.is_empty());
    world.commit();
    assert!(world.answers.contains_key(&first) && world.answers.contains_key(&second));
    let third = world.send(AnyRequest::BrokerHeartbeat(heartbeat));
    assert!(world.answers.contains_key(&third), "nothing in flight: answered at once");
}

#[test]
fn appends_are_committed_one_by_one() {
    let mut world = World::active(30);
    let first = world.send(AnyRequest::BrokerRegistration(broker(5)));
    let boundary = world.end;
    let second = world.send(AnyRequest::BrokerRegistration(broker(6)));
    world.step(Event::Committed { end_offset: boundary });
    assert!(world.answers.contains_key(&first) && !world.answers.contains_key(&second));
    let cluster = &world.controller.committed().cluster;
    assert!(cluster.broker(5).is_some() && cluster.broker(6).is_none());
    assert_eq!(world.controller.committed_offset(), boundary);
}

#[test]
fn resigning_forgets_what_was_not_committed_and_says_so() {
    let mut world = World::active(30);
    let token = world.send(AnyRequest::BrokerRegistration(broker(5)));
    world.raft.leader = Some(2);
    world.step(Event::Deactivated);
    match &world.answers[&token] {
        AnyResponse::BrokerRegistration(answer) => {
            assert_eq!(answer.error_code, ErrorCode::NotController.code())
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.controller.next_timeout(), None);
    // Another leader's log goes on from the committed end.
    world.end -= 1;
    replay(&mut world, vec![feature_record(Feature::GroupVersion, 1)]);
    assert!(world.controller.committed().cluster.broker(5).is_none());
    assert_eq!(world.controller.committed().features.level("group.version"), 1);
}

#[test]
fn a_record_that_contradicts_the_image_stops_the_node_with_its_offset() {
    let mut world = World::new(config(30));
    let gone = UnregisterBrokerRecord { broker_id: 7, broker_epoch: 1, ..Default::default() };
    replay(&mut world, vec![feature_record(Feature::MetadataVersion, 30), gone.into()]);
    let message = world.fatal.expect("a fault");
    assert!(message.contains("offset 2"), "{message}");
}

#[test]
fn a_snapshot_replaces_everything() {
    let mut world = World::new(config(30));
    let mut image = Image::empty();
    image.apply(&feature_record(Feature::MetadataVersion, 30)).expect("applies");
    let id = OffsetAndEpoch { offset: 40, epoch: 3 };
    world.step(Event::SnapshotLoaded { image, id, last_timestamp_ms: 0 });
    assert_eq!(world.controller.committed_offset(), 40);
    assert_eq!(world.controller.committed().features.metadata_version().level(), 30);
}

#[test]
fn long_decisions_are_cut_into_several_appends_each_with_its_state() {
    let mut config = config(30);
    config.max_records_per_batch = 2;
    config.metadata_max_idle_interval = Duration::ZERO;
    let mut world = World::active_with(config);
    let epochs: Vec<i64> = (1..=2).map(|id| world.bring_up(id)).collect();
    for name in ["a", "b", "c"] {
        world.create_topic(name, &[1, 2]);
    }
    world.appends.clear();
    // Broker 1 leaves three ISRs, then is fenced: four records in two appends.
    world.wait(SESSION / 2);
    world.beat(2, epochs[1], Wants::Nothing);
    assert_eq!(world.timeout(), "broker session");
    let sizes: Vec<usize> = world.appends.iter().map(|(_, records)| records.len()).collect();
    assert_eq!(sizes, [2, 2]);
    let boundary = world.appends[1].0;
    world.step(Event::Committed { end_offset: boundary });
    let image = world.controller.committed();
    assert!(!image.cluster.broker(1).expect("registered").fenced, "not yet");
    assert_eq!(image.topics.led_by(2).count(), 2);
    world.commit();
    assert!(world.controller.committed().cluster.broker(1).expect("registered").fenced);
    assert_eq!(world.controller.committed().topics.led_by(2).count(), 3);
}

#[test]
fn sessions_run_out_in_order_of_contact_by_one_append_each() {
    let mut world = World::active(30);
    let first = world.bring_up(1);
    world.wait(Duration::from_millis(50));
    world.bring_up(2);
    world.wait(Duration::from_millis(50));
    world.beat(1, first, Wants::Nothing);
    world.take_records();
    let mut fenced = Vec::new();
    while fenced.len() < 2 {
        world.timeout();
        world.commit();
        for (record, _) in world.take_records() {
            if let MetadataRecord::BrokerRegistrationChange(it) = record {
                fenced.push(it.broker_id);
            }
        }
    }
    assert_eq!(fenced, [2, 1]);
}

#[test]
fn a_new_term_gives_every_unfenced_broker_a_full_session() {
    let mut world = World::active(30);
    world.bring_up(1);
    world.register(2);
    world.wait(SESSION - Duration::from_millis(1));
    world.step(Event::Deactivated);
    world.step(Event::Activated { epoch: 2 });
    let epoch = world.controller.committed().cluster.broker(1).expect("registered").epoch;
    world.wait(SESSION - Duration::from_millis(1));
    assert!(world.controller.heartbeats().has_valid_session(world.now.time, 1, epoch));
    world.step(Event::Timeout);
    world.commit();
    assert!(!world.controller.committed().cluster.broker(1).expect("registered").fenced);
    world.wait(Duration::from_millis(1));
    world.step(Event::Timeout);
    world.commit();
    assert!(world.controller.committed().cluster.broker(1).expect("registered").fenced);
}

#[test]
fn an_idle_log_gets_a_no_op_and_a_busy_one_does_not() {
    let mut world = World::active(30);
    let idle = Duration::from_millis(500);
    let start = world.now.time;
    assert_eq!(world.controller.next_timeout(), Some((start + idle, "idle log")));
    world.timeout();
    assert_eq!(world.written(), ["NoOpRecord"]);
    world.wait(idle / 2);
    world.register(1);
    let (time, why) = world.controller.next_timeout().expect("set");
    assert_eq!((time, why), (world.now.time + idle, "idle log"), "put off by the registration");
}

#[test]
fn who_is_not_active_says_who_may_be() {
    let mut world = World::new(config(30));
    world.raft.leader = Some(3);
    match world.ask(AnyRequest::UpdateFeatures(UpdateFeaturesRequest::default())) {
        AnyResponse::UpdateFeatures(answer) => {
            assert_eq!(answer.error_code, ErrorCode::NotController.code());
            let text = answer.error_message.expect("said");
            assert_eq!(text, "The active controller appears to be node 3.");
        }
        other => panic!("{other:?}"),
    }
    let topics = CreateTopicsRequest {
        topics: vec![create_topics_request::CreatableTopic {
            name: KStr::from("t"),
            ..Default::default()
        }],
        ..Default::default()
    };
    match world.ask(AnyRequest::CreateTopics(topics)) {
        AnyResponse::CreateTopics(answer) => {
            assert_eq!(answer.topics.len(), 1, "said topic by topic");
            assert_eq!(answer.topics[0].error_code, ErrorCode::NotController.code());
        }
        other => panic!("{other:?}"),
    }
}

/// Every API of the listener that the controller decides has an answer for "not the controller" that
/// a broker finds when it looks through all error codes.
#[test]
fn every_write_can_say_not_controller() {
    let mut world = World::new(config(30));
    let requests = [
        AnyRequest::BrokerRegistration(Default::default()),
        AnyRequest::BrokerHeartbeat(Default::default()),
        AnyRequest::UnregisterBroker(Default::default()),
        AnyRequest::ControllerRegistration(Default::default()),
        AnyRequest::UnregisterController(Default::default()),
        AnyRequest::AllocateProducerIds(Default::default()),
        AnyRequest::AlterPartition(Default::default()),
        AnyRequest::AssignReplicasToDirs(Default::default()),
        AnyRequest::UpdateFeatures(Default::default()),
        AnyRequest::ElectLeaders(Default::default()),
        AnyRequest::AlterPartitionReassignments(Default::default()),
        AnyRequest::ListPartitionReassignments(Default::default()),
        AnyRequest::CreateDelegationToken(Default::default()),
        AnyRequest::RenewDelegationToken(Default::default()),
        AnyRequest::ExpireDelegationToken(Default::default()),
        AnyRequest::CreateAcls(CreateAclsRequest {
            creations: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::DeleteAcls(DeleteAclsRequest {
            filters: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::DeleteTopics(DeleteTopicsRequest {
            topics: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::CreatePartitions(CreatePartitionsRequest {
            topics: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::AlterConfigs(AlterConfigsRequest {
            resources: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
            resources: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::AlterClientQuotas(AlterClientQuotasRequest {
            entries: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::AlterUserScramCredentials(AlterUserScramCredentialsRequest {
            deletions: vec![Default::default()],
            ..Default::default()
        }),
    ];
    for request in requests {
        let name = request.api_key().name();
        let answer = world.ask(request);
        let codes = answer.error_codes();
        assert!(codes.contains(&ErrorCode::NotController.code()), "{name}: {codes:?}");
    }
}

#[test]
fn a_request_that_no_controller_decides_is_told_to_the_operator() {
    let mut world = World::active(30);
    let token = world.send(AnyRequest::Produce(Default::default()));
    assert!(!world.answers.contains_key(&token), "the edge closes such connections");
    assert!(world.told.last().expect("told").1.contains("Produce"));
}

#[test]
fn what_waited_longer_than_its_client_is_not_decided() {
    let mut world = World::active(30);
    let patience = |timeout_ms| {
        AnyRequest::ElectLeaders(ElectLeadersRequest { timeout_ms, ..Default::default() })
    };
    for timeout_ms in [0, -1] {
        let answer = world.ask(patience(timeout_ms));
        assert_eq!(answer.error_codes()[0], ErrorCode::RequestTimedOut.code());
    }
    assert_eq!(world.ask(patience(i32::MAX)).error_codes()[0], ErrorCode::None.code());
}

/// Version 0 of ElectLeaders has no code at the top: what sets one cannot be encoded.
#[test]
fn every_version_of_elect_leaders_can_be_refused() {
    let mut world = World::new(config(30));
    for version in ApiKey::ElectLeaders.versions() {
        let token = world.send_version(AnyRequest::ElectLeaders(Default::default()), version);
        let answer = world.answers.get(&token).expect("answered at once");
        encode_response(answer, version, 1).expect("can be written");
    }
}

#[test]
fn the_same_events_lead_to_the_same_actions() {
    let run = || {
        let mut world = World::active(30);
        world.bring_up(1);
        world.bring_up(2);
        world.create_topic("t", &[1, 2]);
        world.timeout();
        format!("{:?}", world.appends)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_dead_process_is_fenced_at_once_where_that_is_switched_on() {
    for (on, fenced) in [(true, true), (false, false)] {
        let mut config = config(30);
        config.fast_fencing = on;
        let mut world = World::active_with(config);
        world.bring_up(1);
        world.step(Event::BrokerProcessDead { broker: 1 });
        world.commit();
        let known = world.controller.committed().cluster.broker(1).expect("registered");
        assert_eq!(known.fenced, fenced);
        world.step(Event::BrokerProcessDead { broker: 99 });
    }
}

#[test]
fn a_controller_that_leads_nothing_wants_no_timeout_and_offers_its_registration() {
    let controller = Controller::new(ControllerConfig::default(), 1);
    assert_eq!(controller.next_timeout(), None);
    assert!(!controller.is_active());
    assert!(controller.registration_wanted().is_none(), "metadata.version 7 knows none");

    let mut world = World::new(config(30));
    replay(&mut world, vec![feature_record(Feature::MetadataVersion, 30)]);
    let wanted = world.controller.registration_wanted().expect("not registered yet");
    assert!(matches!(wanted, AnyRequest::ControllerRegistration(it) if it.controller_id == 1));
}

#[test]
fn an_authorizer_without_acls_refuses_raft_and_controller_alike() {
    let mut config = config(30);
    config.authorizer = Some(Default::default());
    let mut world = World::new(config);
    let context = RequestContext::internal(0);
    let fetch = AnyRequest::DescribeQuorum(Default::default());
    let denied = world.controller.deny(&context, &fetch).expect("denied");
    assert_eq!(denied.error_codes(), [ErrorCode::ClusterAuthorizationFailed.code()]);
    let answer = world.ask(AnyRequest::BrokerRegistration(broker(1)));
    assert_eq!(answer.error_codes(), [ErrorCode::ClusterAuthorizationFailed.code()]);
    let mut actions = Vec::new();
    let raft = world.raft.clone();
    world.controller.step(world.now, 1, raft, Event::Timeout, &mut actions);
    assert!(!actions.iter().any(|it| matches!(it, Action::Append { .. })));
}

/// What is in an Envelope is believed to come from whom it names: only because brokers alone may send one.
#[test]
fn only_who_may_act_for_the_cluster_may_speak_for_others() {
    let mut config = config(30);
    config.authorizer = Some(AuthorizerConfig {
        super_users: vec![Principal::user("root"), Principal::user("broker")],
        allow_everyone_if_no_acl_found: false,
    });
    let world = World::new(config);
    let as_root_by = |sender: &str| RequestContext {
        principal: Principal::user("root"),
        forwarded: true,
        envelope_sender: Some(EnvelopeSender {
            principal: Principal::user(sender),
            address: "10.0.0.9".parse().expect("an address"),
        }),
        ..RequestContext::internal(0)
    };
    let request = AnyRequest::DeleteAcls(DeleteAclsRequest::default());
    assert_eq!(world.controller.deny(&as_root_by("broker"), &request), None);
    match world.controller.deny(&as_root_by("mallory"), &request) {
        Some(AnyResponse::Envelope(refused)) => {
            assert_eq!(refused.error_code, ErrorCode::ClusterAuthorizationFailed.code());
            assert_eq!(refused.response_data, None);
        }
        other => panic!("{other:?}"),
    }
}
