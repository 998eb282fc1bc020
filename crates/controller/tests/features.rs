//! UpdateFeatures, ApiVersions, registration of controllers and DescribeCluster. Messages are those of
//! Kafka 4.3, whose tools show them to people.

mod world;

use quorate_controller::Event;
use quorate_metadata::ConfigResource;
use quorate_protocol::features::Feature;
use quorate_protocol::messages::*;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr, MetadataRecord};
use std::collections::BTreeMap;
use world::{World, broker, config, error, feature_record, supports};

const UPGRADE: i8 = 1;
const SAFE: i8 = 2;
const UNSAFE: i8 = 3;
const PREFIX: &str =
    "The update failed for all features since the following feature had an error: ";

fn update(feature: &str, max_version_level: i16, upgrade_type: i8) -> UpdateFeaturesRequest {
    UpdateFeaturesRequest {
        feature_updates: vec![update_features_request::FeatureUpdateKey {
            feature: KStr::from(feature),
            max_version_level,
            upgrade_type,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn ask(world: &mut World, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    match world.ask(AnyRequest::UpdateFeatures(request)) {
        AnyResponse::UpdateFeatures(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn updates_that_are_refused() {
    let rows = [
        (
            "metadata.version",
            29,
            SAFE,
            "Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the requested downgrade because it might delete metadata information.",
        ),
        (
            "metadata.version",
            29,
            UNSAFE,
            "Unsupported metadata.version downgrade from 30 to 29. Unsafe metadata downgrade is not supported in this version.",
        ),
        (
            "metadata.version",
            29,
            UPGRADE,
            "Invalid update version 29 for feature metadata.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        ),
        (
            "metadata.version",
            34,
            UPGRADE,
            "Invalid update version 34 for feature metadata.version. Local controller 1 only supports versions 7-33",
        ),
        (
            "metadata.version",
            6,
            SAFE,
            "Invalid update version 6 for feature metadata.version. Local controller 1 only supports versions 7-33",
        ),
        (
            "nope",
            1,
            UPGRADE,
            "Invalid update version 1 for feature nope. Local controller 1 does not support this feature.",
        ),
        ("nope", 0, UPGRADE, "Invalid update version 0 for feature nope. Feature nope not found."),
        (
            "group.version",
            1,
            0,
            "Invalid update version 1 for feature group.version. The controller does not support the given upgrade type.",
        ),
        (
            "group.version",
            -1,
            SAFE,
            "Invalid update version -1 for feature group.version. A feature version cannot be less than 0.",
        ),
        (
            "group.version",
            1,
            SAFE,
            "Invalid update version 1 for feature group.version. Can't downgrade to a newer version.",
        ),
        (
            "group.version",
            2,
            UPGRADE,
            "Invalid update version 2 for feature group.version. Local controller 1 only supports versions 0-1",
        ),
        (
            "kraft.version",
            0,
            SAFE,
            "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature.",
        ),
        (
            "kraft.version",
            2,
            UPGRADE,
            "Invalid update version 2 for feature kraft.version. Local controller 1 only supports versions 0-1",
        ),
    ];
    let mut world = World::active(30);
    for (feature, level, upgrade_type, expected) in rows {
        let answer = ask(&mut world, update(feature, level, upgrade_type));
        assert_eq!(error(answer.error_code), ErrorCode::InvalidUpdateVersion, "{expected}");
        let text = answer.error_message.expect("said why");
        assert_eq!(text.strip_prefix(PREFIX), Some(expected));
        assert_eq!(world.written(), [] as [&str; 0]);
    }
}

#[test]
fn updates_that_are_done() {
    let rows = [
        ("metadata.version", 33, UPGRADE),
        ("metadata.version", 30, UPGRADE),
        ("metadata.version", 30, SAFE),
        ("group.version", 1, UPGRADE),
        ("group.version", 0, UPGRADE),
        ("group.version", 0, SAFE),
        ("transaction.version", 2, UPGRADE),
    ];
    for (feature, level, upgrade_type) in rows {
        let mut world = World::active(30);
        let answer = ask(&mut world, update(feature, level, upgrade_type));
        assert_eq!((answer.error_code, answer.error_message), (0, None), "{feature} {level}");
        assert_eq!(world.written(), ["FeatureLevelRecord"]);
        assert_eq!(world.controller.committed().features.level(feature), level);
    }
}

#[test]
fn test_metadata_version_downgrade_without_changes_between() {
    let mut world = World::active(22);
    assert_eq!(ask(&mut world, update("metadata.version", 21, SAFE)).error_code, 0);
    assert_eq!(world.controller.committed().features.metadata_version().level(), 21);
}

#[test]
fn one_refused_update_undoes_the_others() {
    let mut world = World::active(30);
    let mut request = update("group.version", 1, UPGRADE);
    request.feature_updates.extend(update("transaction.version", 9, UPGRADE).feature_updates);
    let answer = ask(&mut world, request);
    assert_eq!(error(answer.error_code), ErrorCode::InvalidUpdateVersion);
    assert_eq!(world.written(), [] as [&str; 0]);
}

#[test]
fn validation_writes_nothing_and_still_refuses() {
    let mut world = World::active(30);
    let mut request = update("group.version", 1, UPGRADE);
    request.validate_only = true;
    assert_eq!(ask(&mut world, request.clone()).error_code, 0);
    assert_eq!(world.written(), [] as [&str; 0]);
    request.feature_updates[0].max_version_level = 2;
    assert_ne!(ask(&mut world, request).error_code, 0);
}

#[test]
fn every_registered_node_must_know_the_level() {
    let mut world = World::active(22);
    let mut old = broker(7);
    old.features = vec![supports("metadata.version", 7, 25), supports("kraft.version", 0, 1)];
    assert_eq!(world.try_register(old).error_code, 0);
    let refused = |world: &mut World, feature, level| {
        ask(world, update(feature, level, UPGRADE)).error_message.expect("refused").to_string()
    };
    let text = refused(&mut world, "metadata.version", 30);
    assert!(text.ends_with("Broker 7 only supports versions 7-25"), "{text}");
    let text = refused(&mut world, "group.version", 1);
    assert!(text.ends_with("Broker 7 does not support this feature."), "{text}");
    assert_eq!(ask(&mut world, update("metadata.version", 25, UPGRADE)).error_code, 0);
}

#[test]
fn every_voter_must_have_registered() {
    let mut world = World::active(22);
    world.raft.voters = vec![1, 2];
    let text = ask(&mut world, update("group.version", 1, UPGRADE)).error_message.expect("refused");
    assert!(
        text.ends_with("controller 2 has not registered, and may not support this feature"),
        "{text}"
    );
    let registration = ControllerRegistrationRequest {
        controller_id: 2,
        features: vec![controller_registration_request::Feature {
            name: KStr::from("metadata.version"),
            min_supported_version: 7,
            max_supported_version: 25,
            ..Default::default()
        }],
        ..Default::default()
    };
    let done = world.ask(AnyRequest::ControllerRegistration(registration)).error_codes();
    assert_eq!(done, [0]);
    let text = ask(&mut world, update("metadata.version", 26, UPGRADE)).error_message;
    let text = text.expect("refused");
    assert!(text.ends_with("Controller 2 only supports versions 7-25"), "{text}");

    let mut unable = World::active(14);
    unable.raft.voters = vec![1, 2];
    let answer = ask(&mut unable, update("metadata.version", 15, UPGRADE));
    assert_eq!(answer.error_code, 0, "nobody can register yet");
    let registered = unable.written();
    assert_eq!(registered, ["FeatureLevelRecord", "RegisterControllerRecord"], "now they can");
}

#[test]
fn test_elr_upgrade() {
    let mut world = World::active(22);
    let elr = "eligible.leader.replicas.version";
    let text = ask(&mut world, update(elr, 1, UPGRADE)).error_message.expect("refused");
    assert!(
        text.ends_with(
            "eligible.leader.replicas.version could not be set to 1 because it depends on \
             metadata.version level 23"
        ),
        "{text}"
    );
    let mut both = update(elr, 1, UPGRADE);
    both.feature_updates.extend(update("metadata.version", 23, UPGRADE).feature_updates);
    assert_eq!(ask(&mut world, both).error_code, 0, "one request may do both");
}

#[test]
fn test_maybe_generate_elr_safety_records() {
    let mut config = config(30);
    config.min_insync_replicas = 2;
    let mut world = World::active_with(config);
    let of_broker = |id: i32| {
        MetadataRecord::Config(quorate_protocol::records::ConfigRecord {
            resource_type: 4,
            resource_name: KStr::from(id.to_string()),
            name: KStr::from("min.insync.replicas"),
            value: Some(KStr::from("3")),
            ..Default::default()
        })
    };
    world.step(Event::Deactivated);
    let (base_offset, end_offset) = (world.end, world.end + 2);
    let records = vec![of_broker(3), of_broker(1)];
    world.step(Event::Replay { base_offset, end_offset, epoch: 1, append_time_ms: 0, records });
    world.end = end_offset;
    world.step(Event::Activated { epoch: 2 });
    let elr = "eligible.leader.replicas.version";
    assert_eq!(ask(&mut world, update(elr, 1, UPGRADE)).error_code, 0);
    let written: Vec<(String, Option<String>)> = world
        .take_records()
        .into_iter()
        .filter_map(|(record, _)| match record {
            MetadataRecord::Config(it) => {
                Some((it.resource_name.to_string(), it.value.map(|it| it.to_string())))
            }
            _ => None,
        })
        .collect();
    let expected =
        [("".to_owned(), Some("2".to_owned())), ("1".to_owned(), None), ("3".to_owned(), None)];
    assert_eq!(written, expected);
    let image = world.controller.committed();
    let cluster_wide =
        image.configs.value(&ConfigResource::default_broker(), "min.insync.replicas");
    assert_eq!(cluster_wide.map(|it| it.as_str()), Some("2"));
    assert!(image.features.elr_enabled());
}

#[test]
fn results_by_feature_are_for_old_versions_only() {
    let mut world = World::active(30);
    for (version, expected) in [(0, 1), (1, 1), (2, 0)] {
        let mut request = update("group.version", 1, UPGRADE);
        request.feature_updates[0].allow_downgrade = false;
        let token = world.send_version(AnyRequest::UpdateFeatures(request), version);
        world.commit();
        let Some(AnyResponse::UpdateFeatures(answer)) = world.answers.remove(&token) else {
            panic!("answered otherwise")
        };
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.results.len(), expected, "version {version}");
    }
}

#[test]
fn version_0_knows_no_downgrade_whatever_its_flag_says() {
    for allow_downgrade in [false, true] {
        let mut world = World::active(30);
        assert_eq!(ask(&mut world, update("group.version", 1, UPGRADE)).error_code, 0);
        world.commit();
        let mut request = update("group.version", 0, UPGRADE);
        request.feature_updates[0].allow_downgrade = allow_downgrade;
        let token = world.send_version(AnyRequest::UpdateFeatures(request), 0);
        let Some(AnyResponse::UpdateFeatures(answer)) = world.answers.remove(&token) else {
            panic!("answered otherwise")
        };
        assert_eq!(answer.error_code, ErrorCode::InvalidUpdateVersion.code());
    }
}

#[test]
fn of_a_feature_named_twice_the_last_update_counts() {
    let mut world = World::active(30);
    let mut request = update("group.version", 1, UPGRADE);
    request.feature_updates.extend(update("group.version", 0, UPGRADE).feature_updates);
    assert_eq!(ask(&mut world, request).error_code, 0);
    assert_eq!(world.controller.committed().features.level("group.version"), 0);
}

#[test]
fn kraft_version_is_rafts_to_write() {
    let mut world = World::active(30);
    world.raft.kraft_version = 0;
    // "Downgrade to release X" names every feature, also those that are where they should be.
    assert_eq!(ask(&mut world, update("kraft.version", 0, SAFE)).error_code, 0);
    assert_eq!(world.written(), [] as [&str; 0]);
    let token = world.send(AnyRequest::UpdateFeatures(update("kraft.version", 1, UPGRADE)));
    assert_eq!(world.upgrades, [(token, 1, false)]);
    assert!(world.answers.is_empty(), "raft has the word");
    // Raft appends two control records, then says so.
    world.end += 2;
    let done = Event::KraftVersionUpgraded { token, error: ErrorCode::None, message: None };
    world.step(done);
    assert!(world.answers.is_empty(), "appended is not committed");
    world.commit();
    assert_eq!(world.answers[&token].error_codes(), [0]);

    let refused = world.send(AnyRequest::UpdateFeatures(update("kraft.version", 1, UPGRADE)));
    world.step(Event::KraftVersionUpgraded {
        token: refused,
        error: ErrorCode::InvalidUpdateVersion,
        message: Some("voter 2 does not support it".to_owned()),
    });
    world.commit();
    let AnyResponse::UpdateFeatures(answer) = &world.answers[&refused] else { panic!("other") };
    assert_eq!(error(answer.error_code), ErrorCode::InvalidUpdateVersion);
    assert!(answer.error_message.as_ref().expect("said").contains("voter 2"));

    world.raft.kraft_version = 1;
    assert_eq!(ask(&mut world, update("kraft.version", 1, UPGRADE)).error_code, 0, "it is so");
}

#[test]
fn test_unregister_controller() {
    let unregister = |id| {
        AnyRequest::UnregisterController(UnregisterControllerRequest {
            controller_id: id,
            ..Default::default()
        })
    };
    let mut old = World::active(32);
    assert_eq!(old.ask(unregister(1)).error_codes(), [ErrorCode::UnsupportedVersion.code()]);
    let mut world = World::active(33);
    let unknown = world.ask(unregister(4)).error_codes();
    assert_eq!(unknown, [ErrorCode::ControllerIdNotRegistered.code()]);
    assert_eq!(world.ask(unregister(1)).error_codes(), [0]);
    assert!(world.controller.committed().cluster.controller(1).is_none());
}

fn describe(world: &mut World, endpoint_type: i8) -> DescribeClusterResponse {
    let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
    match world.ask(AnyRequest::DescribeCluster(request)) {
        AnyResponse::DescribeCluster(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn describe_cluster_names_the_controllers() {
    let mut world = World::active(30);
    world.raft.leader = Some(2);
    let answer = describe(&mut world, 2);
    assert_eq!((answer.error_code, answer.endpoint_type, answer.controller_id), (0, 2, 2));
    assert_eq!(answer.cluster_id, world::CLUSTER_ID);
    assert_eq!(answer.brokers.len(), 1);
    assert_eq!((answer.brokers[0].broker_id, answer.brokers[0].port), (1, 9093));
    assert_eq!(answer.cluster_authorized_operations, i32::MIN);
    assert_eq!(error(describe(&mut world, 1).error_code), ErrorCode::MismatchedEndpointType);
    assert_eq!(error(describe(&mut world, 9).error_code), ErrorCode::UnsupportedEndpointType);
    let by_default = AnyRequest::DescribeCluster(DescribeClusterRequest::default());
    let token = world.send_version(by_default, 0);
    let answer = world.answers.remove(&token).expect("answered");
    assert_eq!(answer.error_codes(), [ErrorCode::InvalidRequest.code()], "version 0");
    // Before 3.7 controllers do not register: Kafka refuses rather than name nobody.
    let mut old = World::active(14);
    assert_eq!(error(describe(&mut old, 2).error_code), ErrorCode::UnsupportedVersion);
}

fn api_versions(world: &mut World, version: i16) -> ApiVersionsResponse {
    let request = ApiVersionsRequest {
        client_software_name: KStr::from("apache-kafka-java"),
        client_software_version: KStr::from("4.4.0"),
        ..Default::default()
    };
    let token = world.send_version(AnyRequest::ApiVersions(request), version);
    match world.answers.remove(&token) {
        Some(AnyResponse::ApiVersions(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn api_versions_tells_apis_and_features() {
    let mut world = World::active(30);
    ask(&mut world, update("group.version", 1, UPGRADE));
    let answer = api_versions(&mut world, 4);
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.api_keys.len(), 42);
    let levels: BTreeMap<&str, i16> = answer
        .finalized_features
        .iter()
        .map(|it| (it.name.as_str(), it.max_version_level))
        .collect();
    let expected = [("group.version", 1), ("kraft.version", 1), ("metadata.version", 30)];
    assert_eq!(levels, BTreeMap::from(expected));
    assert_eq!(answer.finalized_features_epoch, world.end - 1);
    assert!(answer.supported_features.iter().any(|it| it.name == "kraft.version"));

    // KAFKA-17492: older clients cannot read a lower bound of 0.
    let old = api_versions(&mut world, 3);
    let names: Vec<&str> = old.supported_features.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["metadata.version"]);
}

#[test]
fn api_versions_refuses_bad_names_and_misguided_clients() {
    let mut world = World::active(30);
    let good = ApiVersionsRequest {
        client_software_name: KStr::from("x"),
        client_software_version: KStr::from("1"),
        ..Default::default()
    };
    let bad_name =
        ApiVersionsRequest { client_software_name: KStr::from("no spaces"), ..good.clone() };
    let other_cluster =
        ApiVersionsRequest { cluster_id: Some(KStr::from("other")), ..good.clone() };
    let other_node = ApiVersionsRequest { node_id: 99, ..good.clone() };
    let at_home = ApiVersionsRequest {
        cluster_id: Some(KStr::from(world::CLUSTER_ID)),
        node_id: 1,
        ..good.clone()
    };
    let rows = [
        (bad_name.clone(), 2, ErrorCode::None),
        (bad_name, 3, ErrorCode::InvalidRequest),
        (other_cluster, 5, ErrorCode::RebootstrapRequired),
        (other_node, 5, ErrorCode::RebootstrapRequired),
        (at_home, 5, ErrorCode::None),
        (good, 5, ErrorCode::None),
    ];
    for (request, version, expected) in rows {
        let token = world.send_version(AnyRequest::ApiVersions(request), version);
        let Some(AnyResponse::ApiVersions(answer)) = world.answers.remove(&token) else {
            panic!("answered otherwise")
        };
        assert_eq!(error(answer.error_code), expected, "version {version}");
    }
}

#[test]
fn features_of_the_bootstrap_are_finalised_as_given() {
    let mut config = config(30);
    config.bootstrap_records.push(feature_record(Feature::ShareVersion, 1));
    let world = World::active_with(config);
    assert_eq!(world.controller.committed().features.level("share.version"), 1);
}
