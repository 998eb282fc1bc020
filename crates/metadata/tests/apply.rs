//! What each record does to an image, and what it refuses.

use bytes::Bytes;
use quorate_base::Uuid;
use quorate_metadata::{
    ConfigResource, Contradiction, Image, LoadError, Partition, QuotaEntity, RecoveryState,
    Replayed, Replayer, ScramMechanism, Str, load_values,
};
use quorate_protocol::MetadataRecord as R;
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::client_quota_record::EntityData;
use quorate_protocol::records::register_broker_record::{BrokerEndpoint, BrokerFeature};
use quorate_protocol::records::*;

const TOPIC: Uuid = Uuid::from_u128(0x1000);
const OTHER: Uuid = Uuid::from_u128(0x2000);

fn image(records: impl IntoIterator<Item = R>) -> Image {
    let mut image = Image::empty();
    for record in records {
        image.apply(&record).unwrap_or_else(|error| panic!("{error}"));
    }
    image
}

/// The error that the record causes; the image must stay as it was.
fn refusal(image: &Image, record: R) -> Contradiction {
    let mut changed = image.clone();
    let error = changed.apply(&record).expect_err("must be refused");
    assert_eq!(error.record, record.name());
    assert!(changed == *image, "a refused record changed the image");
    assert!(error.to_string().starts_with(record.name()));
    error.contradiction
}

fn topic(name: &str, topic_id: Uuid) -> R {
    R::Topic(TopicRecord { name: name.into(), topic_id, ..Default::default() })
}

fn partition(topic_id: Uuid, partition_id: i32, replicas: &[i32]) -> PartitionRecord {
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        leader: replicas.first().copied().unwrap_or(-1),
        leader_epoch: 0,
        partition_epoch: 0,
        directories: (0..replicas.len() as u128).map(|it| Uuid::from_u128(1000 + it)).collect(),
        ..Default::default()
    }
}

fn change(partition_id: i32) -> PartitionChangeRecord {
    PartitionChangeRecord { topic_id: TOPIC, partition_id, ..Default::default() }
}

fn level(name: &str, feature_level: i16) -> R {
    R::FeatureLevel(FeatureLevelRecord { name: name.into(), feature_level, ..Default::default() })
}

fn broker(broker_id: i32, broker_epoch: i64) -> RegisterBrokerRecord {
    RegisterBrokerRecord { broker_id, broker_epoch, rack: None, ..Default::default() }
}

fn config(name: &str, key: &str, value: Option<&str>) -> R {
    R::Config(ConfigRecord {
        resource_type: 2,
        resource_name: name.into(),
        name: key.into(),
        value: value.map(Into::into),
        ..Default::default()
    })
}

fn one_partition() -> Image {
    image([topic("t", TOPIC), R::Partition(partition(TOPIC, 0, &[1, 2, 3]))])
}

fn changed(image: &Image, record: PartitionChangeRecord) -> Partition {
    let mut image = image.clone();
    image.apply(&R::PartitionChange(record)).unwrap_or_else(|error| panic!("{error}"));
    image.topics.partition(TOPIC, 0).expect("is there").clone()
}

#[test]
fn a_broker_registers_changes_and_leaves() {
    let mut image = image([R::RegisterBroker(RegisterBrokerRecord {
        end_points: vec![
            BrokerEndpoint { name: "Z".into(), host: "z".into(), port: 2, ..Default::default() },
            BrokerEndpoint {
                name: "A".into(),
                host: "a".into(),
                port: 65535,
                ..Default::default()
            },
        ],
        features: vec![BrokerFeature {
            name: "metadata.version".into(),
            min_supported_version: 7,
            max_supported_version: 33,
            ..Default::default()
        }],
        rack: Some("r1".into()),
        log_dirs: vec![Uuid::from_u128(u128::MAX), Uuid::from_u128(500)],
        ..broker(1, 24)
    })]);
    let registered = image.cluster.broker(1).expect("registered").clone();
    assert!(registered.fenced && !registered.in_controlled_shutdown && !registered.is_active());
    assert_eq!(registered.listener("A").map(|it| it.port), Some(65535));
    assert_eq!(registered.listeners[0].name, "A");
    assert_eq!(registered.features["metadata.version"], (7, 33));
    assert_eq!(registered.rack.as_deref(), Some("r1"));
    // Java's order of UUIDs is signed: the one with the highest bit set comes first.
    assert_eq!(registered.directories, [Uuid::from_u128(u128::MAX), Uuid::from_u128(500)]);
    assert_eq!(registered.cordoned_directories, None);

    let base =
        BrokerRegistrationChangeRecord { broker_id: 1, broker_epoch: 24, ..Default::default() };
    let mut apply = |record: BrokerRegistrationChangeRecord| {
        image.apply(&R::BrokerRegistrationChange(record)).expect("applies");
        image.cluster.broker(1).expect("still there").clone()
    };
    assert_eq!(apply(base.clone()), registered);
    assert!(apply(BrokerRegistrationChangeRecord { fenced: -1, ..base.clone() }).is_active());
    let leaving =
        apply(BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..base.clone() });
    assert!(!leaving.fenced && leaving.in_controlled_shutdown && !leaving.is_active());
    let dirs = apply(BrokerRegistrationChangeRecord {
        log_dirs: vec![Uuid::from_u128(500)],
        cordoned_log_dirs: Some(vec![Uuid::from_u128(500)]),
        ..base.clone()
    });
    assert_eq!(dirs.directories, [Uuid::from_u128(500)]);
    assert_eq!(dirs.cordoned_directories, Some(vec![Uuid::from_u128(500)]));
    let none =
        apply(BrokerRegistrationChangeRecord { cordoned_log_dirs: Some(vec![]), ..base.clone() });
    assert_eq!(none.cordoned_directories, Some(vec![]));
    assert!(apply(BrokerRegistrationChangeRecord { fenced: 1, ..base.clone() }).fenced);

    assert_eq!(
        refusal(
            &image,
            R::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                fenced: 2,
                ..base.clone()
            })
        ),
        Contradiction::MeaninglessValue { field: "fenced", value: 2 }
    );
    assert_eq!(
        refusal(
            &image,
            R::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker_epoch: 25,
                ..base
            })
        ),
        Contradiction::OtherBrokerEpoch { id: 1, registered: 24, given: 25 }
    );
    let leave = |broker_id, broker_epoch| {
        R::UnregisterBroker(UnregisterBrokerRecord {
            broker_id,
            broker_epoch,
            ..Default::default()
        })
    };
    assert_eq!(refusal(&image, leave(2, 24)), Contradiction::UnknownBroker(2));
    assert!(matches!(refusal(&image, leave(1, 23)), Contradiction::OtherBrokerEpoch { .. }));
    image.apply(&leave(1, 24)).expect("leaves");
    assert_eq!(image.cluster.broker_count(), 0);
}

/// Records of before 3.3-IV3.
#[test]
fn old_fence_records_apply() {
    let mut image = image([R::RegisterBroker(broker(1, 5))]);
    let unfence = R::UnfenceBroker(UnfenceBrokerRecord { id: 1, epoch: 5, ..Default::default() });
    image.apply(&unfence).expect("applies");
    assert!(image.cluster.broker(1).expect("registered").is_active());
    image
        .apply(&R::FenceBroker(FenceBrokerRecord { id: 1, epoch: 5, ..Default::default() }))
        .expect("applies");
    assert!(image.cluster.broker(1).expect("registered").fenced);
    let stale = R::FenceBroker(FenceBrokerRecord { id: 1, epoch: 4, ..Default::default() });
    assert!(matches!(refusal(&image, stale), Contradiction::OtherBrokerEpoch { .. }));
}

#[test]
fn controllers_register_and_are_unregistered() {
    let register =
        R::RegisterController(RegisterControllerRecord { controller_id: 3, ..Default::default() });
    let mut image = image([register]);
    assert_eq!(image.cluster.controllers().count(), 1);
    let leave = |controller_id| {
        R::UnregisterController(UnregisterControllerRecord { controller_id, ..Default::default() })
    };
    assert_eq!(refusal(&image, leave(4)), Contradiction::UnknownController(4));
    image.apply(&leave(3)).expect("leaves");
    assert_eq!(image.cluster.controllers().count(), 0);
}

#[test]
fn a_partition_change_changes_what_it_says_and_counts() {
    let image = one_partition();
    let before = image.topics.partition(TOPIC, 0).expect("is there").to_state();

    let nothing = changed(&image, change(0));
    assert_eq!((nothing.leader_epoch(), nothing.partition_epoch()), (0, 1));

    let isr = changed(&image, PartitionChangeRecord { isr: Some(vec![1]), ..change(0) });
    assert_eq!((isr.leader_epoch(), isr.partition_epoch(), isr.isr()), (0, 1, &[1][..]));
    assert_eq!(isr.replicas(), before.replicas);

    let same = changed(&image, PartitionChangeRecord { leader: 1, ..change(0) });
    assert_eq!((same.leader(), same.leader_epoch()), (Some(1), 1));

    let none =
        changed(&image, PartitionChangeRecord { leader: -1, isr: Some(vec![]), ..change(0) });
    assert_eq!((none.leader(), none.leader_epoch(), none.isr().len()), (None, 1, 0));

    let unclean = changed(
        &image,
        PartitionChangeRecord {
            leader: 2,
            isr: Some(vec![2]),
            leader_recovery_state: 1,
            ..change(0)
        },
    );
    assert_eq!(unclean.leader_recovery_state(), RecoveryState::Recovering);
    assert!(!unclean.has_preferred_leader());

    let moved = changed(
        &image,
        PartitionChangeRecord {
            replicas: Some(vec![4, 1, 2, 3]),
            adding_replicas: Some(vec![4]),
            removing_replicas: Some(vec![1]),
            directories: Some((0..4).map(|it| Uuid::from_u128(2000 + it)).collect()),
            ..change(0)
        },
    );
    assert!(moved.is_reassigning());
    assert_eq!((moved.preferred(), moved.adding(), moved.removing()), (4, &[4][..], &[1][..]));
    assert_eq!(moved.directory_on(1), Some(Uuid::from_u128(2001)));
    assert_eq!(moved.directory_on(9), None);

    let elr = changed(
        &image,
        PartitionChangeRecord {
            eligible_leader_replicas: Some(vec![2]),
            last_known_elr: Some(vec![3]),
            ..change(0)
        },
    );
    assert_eq!((elr.elr(), elr.last_known_elr()), (&[2][..], &[3][..]));
}

#[test]
fn partition_changes_that_cannot_be_are_refused() {
    let image = one_partition();
    let of = |record| refusal(&image, R::PartitionChange(record));
    let unknown = PartitionChangeRecord { topic_id: OTHER, ..change(0) };
    assert_eq!(of(unknown), Contradiction::UnknownTopic(OTHER));
    assert_eq!(
        of(change(1)),
        Contradiction::UnknownPartition { topic_id: TOPIC, topic: "t".into(), partition: 1 }
    );
    assert_eq!(
        of(PartitionChangeRecord { replicas: Some(vec![1]), ..change(0) }),
        Contradiction::DirectoryCount { replicas: 1, directories: 3 }
    );
    assert_eq!(
        of(PartitionChangeRecord {
            replicas: Some(vec![]),
            directories: Some(vec![]),
            ..change(0)
        }),
        Contradiction::NoReplicas
    );
    assert_eq!(
        of(PartitionChangeRecord { leader: -3, ..change(0) }),
        Contradiction::MeaninglessValue { field: "leader", value: -3 }
    );
    assert_eq!(
        of(PartitionChangeRecord { leader_recovery_state: 2, ..change(0) }),
        Contradiction::MeaninglessValue { field: "leaderRecoveryState", value: 2 }
    );
    let worn_out = PartitionRecord { partition_epoch: i32::MAX, ..partition(TOPIC, 0, &[1]) };
    let image = self::image([topic("t", TOPIC), R::Partition(worn_out)]);
    assert_eq!(
        refusal(&image, R::PartitionChange(change(0))),
        Contradiction::CounterExhausted("partitionEpoch")
    );
}

#[test]
fn directories_of_before_directory_ids_follow_the_replicas() {
    let old = PartitionRecord { directories: vec![], ..partition(TOPIC, 0, &[1, 2]) };
    let image = image([topic("t", TOPIC), R::Partition(old)]);
    let of = |it: &Partition| it.directories().to_vec();
    let partition = image.topics.partition(TOPIC, 0).expect("is there");
    assert_eq!(of(partition), [Uuid::DIR_MIGRATING; 2]);
    let grown =
        changed(&image, PartitionChangeRecord { replicas: Some(vec![1, 2, 3, 4]), ..change(0) });
    assert_eq!(of(&grown), [Uuid::DIR_MIGRATING; 4]);
}

#[test]
fn a_removed_topic_takes_partitions_indices_and_configuration_along() {
    let mut image = image([
        topic("t", TOPIC),
        R::Partition(partition(TOPIC, 0, &[1, 2, 3])),
        R::Partition(partition(TOPIC, 1, &[2, 3, 1])),
        config("t", "retention.ms", Some("1")),
        config("u", "retention.ms", Some("2")),
    ]);
    assert_eq!(image.topics.by_name("t").expect("is there").partition_count, 2);
    let remove = R::RemoveTopic(RemoveTopicRecord { topic_id: TOPIC, ..Default::default() });
    image.apply(&remove).expect("applies");
    assert_eq!((image.topics.topic_count(), image.topics.partition_count()), (0, 0));
    assert_eq!(image.topics.on_broker(1).count(), 0);
    assert_eq!(image.topics.count_on_broker(2), 0);
    assert_eq!(image.configs.get(&ConfigResource::topic("t")), None);
    assert!(image.configs.get(&ConfigResource::topic("u")).is_some());
    assert_eq!(refusal(&image, remove), Contradiction::UnknownTopic(TOPIC));
    image.apply(&topic("t", OTHER)).expect("the name is free again");
    assert_eq!(image.topics.partitions(OTHER).count(), 0);
}

#[test]
fn topics_and_partitions_that_cannot_be_are_refused() {
    let image = one_partition();
    assert!(matches!(refusal(&image, topic("t", OTHER)), Contradiction::TopicExists { .. }));
    assert!(matches!(refusal(&image, topic("u", TOPIC)), Contradiction::TopicExists { .. }));
    let of = |record| refusal(&image, R::Partition(record));
    assert_eq!(of(partition(OTHER, 0, &[1])), Contradiction::UnknownTopic(OTHER));
    assert_eq!(of(partition(TOPIC, 1, &[])), Contradiction::NoReplicas);
    assert_eq!(
        of(partition(TOPIC, -1, &[1])),
        Contradiction::MeaninglessValue { field: "partitionId", value: -1 }
    );
    let two =
        PartitionRecord { directories: vec![Uuid::from_u128(500)], ..partition(TOPIC, 1, &[1, 2]) };
    assert_eq!(of(two), Contradiction::DirectoryCount { replicas: 2, directories: 1 });
}

#[test]
fn elr_is_cleared_of_one_topic_or_of_all() {
    let with_elr = |topic_id| PartitionRecord {
        eligible_leader_replicas: Some(vec![2]),
        ..partition(topic_id, 0, &[1, 2, 3])
    };
    let image = image([
        topic("t", TOPIC),
        R::Partition(with_elr(TOPIC)),
        R::Partition(partition(TOPIC, 1, &[1])),
        topic("u", OTHER),
        R::Partition(with_elr(OTHER)),
    ]);
    assert_eq!(image.topics.with_elr().count(), 2);
    let clear =
        |name: &str| R::ClearElr(ClearElrRecord { topic_name: name.into(), ..Default::default() });
    let mut one = image.clone();
    one.apply(&clear("t")).expect("applies");
    assert_eq!(one.topics.with_elr().collect::<Vec<_>>(), [(OTHER, 0)]);
    let cleared = one.topics.partition(TOPIC, 0).expect("is there");
    assert_eq!((cleared.elr().len(), cleared.partition_epoch(), cleared.leader_epoch()), (0, 1, 0));
    assert_eq!(one.topics.partition(TOPIC, 1).expect("is there").partition_epoch(), 0);
    let mut all = image.clone();
    all.apply(&clear("")).expect("applies");
    assert_eq!(all.topics.with_elr().count(), 0);
    assert_eq!(refusal(&image, clear("x")), Contradiction::UnknownTopicName("x".into()));
}

#[test]
fn features_rise_fall_and_unknown_levels_stop_the_node() {
    let mut image = Image::empty();
    assert_eq!(image.metadata_version(), MetadataVersion::MINIMUM);
    assert!(!image.features.has_metadata_version());
    for record in [
        level("metadata.version", 30),
        level("kraft.version", 1),
        level("eligible.leader.replicas.version", 1),
        level("group.version", 1),
        level("group.version", 0),
        level("no.such.feature", 0),
    ] {
        image.apply(&record).expect("applies");
    }
    let names: Vec<&str> = image.features.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["eligible.leader.replicas.version", "metadata.version"]);
    assert_eq!(image.metadata_version().name(), "4.3-IV0");
    assert!(image.features.elr_enabled());
    let first = image.to_records().next().expect("has records").0;
    assert_eq!(first, level("metadata.version", 30));

    for (name, number, named) in [
        ("metadata.version", 34, Some("4.5-IV0")),
        ("metadata.version", 6, Some("3.3-IV2")),
        ("metadata.version", 99, None),
        ("share.version", 3, None),
        ("no.such.feature", 1, None),
    ] {
        let mut changed = image.clone();
        let error = changed.apply(&level(name, number)).expect_err("not supported");
        let Contradiction::UnsupportedFeatureLevel { name: seen, .. } = error.contradiction else {
            panic!("{error}");
        };
        assert_eq!(seen, named);
        assert!(changed == image);
    }
}

#[test]
fn configurations_are_set_overwritten_and_removed() {
    let mut image = image([
        config("t", "a", Some("1")),
        config("t", "a", Some("2")),
        config("t", "b", Some("")),
        config("t", "gone", None),
        config("v", "gone", None),
    ]);
    let resource = ConfigResource::topic("t");
    assert_eq!(image.configs.value(&resource, "a").map(Str::as_str), Some("2"));
    assert_eq!(image.configs.value(&resource, "b").map(Str::as_str), Some(""));
    image.apply(&config("t", "a", None)).expect("applies");
    image.apply(&config("t", "b", None)).expect("applies");
    assert_eq!(image.configs.iter().count(), 0);
    let record = R::Config(ConfigRecord { resource_type: 3, ..Default::default() });
    let expected = Contradiction::MeaninglessValue { field: "resourceType", value: 3 };
    assert_eq!(refusal(&image, record), expected);
}

#[test]
fn quotas_do_not_depend_on_the_order_of_an_entitys_parts() {
    let part = |kind: &str, name: Option<&str>| EntityData {
        entity_type: kind.into(),
        entity_name: name.map(Into::into),
        ..Default::default()
    };
    let quota = |entity, value, remove| {
        R::ClientQuota(ClientQuotaRecord {
            entity,
            key: "producer_byte_rate".into(),
            value,
            remove,
            ..Default::default()
        })
    };
    let (user, client) = (part("user", Some("alice")), part("client-id", None));
    let mut image = image([quota(vec![user.clone(), client.clone()], 5.5, false)]);
    let entity = QuotaEntity::new([
        (Str::from("client-id"), None),
        (Str::from("user"), Some(Str::from("alice"))),
    ]);
    assert_eq!(image.client_quotas.get(&entity).expect("set")["producer_byte_rate"], 5.5);
    image.apply(&quota(vec![client, user.clone()], 0.0, true)).expect("applies");
    image.apply(&quota(vec![user], 0.0, true)).expect("removing what is not there is allowed");
    assert_eq!(image.client_quotas.iter().count(), 0);
}

#[test]
fn acls_credentials_tokens_and_producer_ids_come_and_go() {
    let id = Uuid::from_u128(7);
    let mut image = image([
        R::AccessControlEntry(AccessControlEntryRecord {
            id,
            principal: "User:a".into(),
            ..Default::default()
        }),
        R::UserScramCredential(UserScramCredentialRecord {
            name: "alice".into(),
            mechanism: 2,
            salt: Bytes::from_static(b"salt"),
            iterations: 4096,
            ..Default::default()
        }),
        R::DelegationToken(DelegationTokenRecord { token_id: "tok".into(), ..Default::default() }),
        R::ProducerIds(ProducerIdsRecord { next_producer_id: 1000, ..Default::default() }),
        R::NoOp(NoOpRecord::default()),
        R::ZkMigrationState(ZkMigrationStateRecord::default()),
    ]);
    assert_eq!(image.acls.get(id).expect("is there").principal, "User:a");
    let credential = image.scram.get(ScramMechanism::Sha512, "alice").expect("is there");
    assert_eq!((credential.salt.as_slice(), credential.iterations), (&b"salt"[..], 4096));
    assert!(!format!("{credential:?}").contains("salt"));
    assert!(image.delegation_tokens.get("tok").is_some());
    assert_eq!(image.producer_ids.next_producer_id(), Some(1000));

    let no_acl = RemoveAccessControlEntryRecord { id: TOPIC, ..Default::default() };
    assert_eq!(
        refusal(&image, R::RemoveAccessControlEntry(no_acl)),
        Contradiction::UnknownAcl(TOPIC)
    );
    let credential = |mechanism| {
        R::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
            name: "alice".into(),
            mechanism,
            ..Default::default()
        })
    };
    assert_eq!(
        refusal(&image, credential(1)),
        Contradiction::UnknownScramCredential { user: "alice".into(), mechanism: 1 }
    );
    assert!(matches!(refusal(&image, credential(3)), Contradiction::MeaninglessValue { .. }));
    for record in [
        R::RemoveAccessControlEntry(RemoveAccessControlEntryRecord { id, ..Default::default() }),
        credential(2),
        R::RemoveDelegationToken(RemoveDelegationTokenRecord {
            token_id: "tok".into(),
            ..Default::default()
        }),
    ] {
        image.apply(&record).expect("applies");
    }
    assert!(image.acls.is_empty());
    assert_eq!(image.scram.iter().count() + image.delegation_tokens.iter().count(), 0);
}

#[test]
fn an_aborted_transaction_leaves_nothing_and_an_open_one_is_not_published() {
    let begin = || {
        R::BeginTransaction(BeginTransactionRecord { name: Some("x".into()), ..Default::default() })
    };
    let end = R::EndTransaction(EndTransactionRecord::default());
    let abort = R::AbortTransaction(AbortTransactionRecord::default());
    let mut replayer = Replayer::new(Image::empty());
    assert_eq!(replayer.apply(&topic("t", TOPIC)), Ok(Replayed::Stable));
    for (last, outcome, topics) in [(&abort, Replayed::Aborted, 1), (&end, Replayed::Stable, 2)] {
        assert_eq!(replayer.apply(&begin()), Ok(Replayed::InTransaction));
        assert_eq!(replayer.open_transaction().map(Str::as_str), Some("x"));
        assert_eq!(replayer.apply(&topic("u", OTHER)), Ok(Replayed::InTransaction));
        assert_eq!(replayer.latest().topics.topic_count(), 2);
        assert_eq!(replayer.stable().topics.topic_count(), 1);
        let nested = replayer.apply(&begin()).expect_err("no nesting");
        assert_eq!(nested.contradiction, Contradiction::TransactionOpen("x".into()));
        assert_eq!(replayer.apply(last), Ok(outcome));
        assert_eq!(replayer.open_transaction(), None);
        assert_eq!(replayer.stable().topics.topic_count(), topics);
        assert_eq!(replayer.latest().topics.topic_count(), topics);
    }
    for record in [&end, &abort] {
        let error = replayer.apply(record).expect_err("nothing is open");
        assert_eq!(error.contradiction, Contradiction::NoTransaction);
    }
    for record in [begin(), end, abort] {
        assert_eq!(refusal(&Image::empty(), record), Contradiction::TransactionMarker);
    }
}

#[test]
fn loading_says_which_record_failed_and_why() {
    let value = |record: &R| record.encode_framed(0).expect("can be written");
    let mut replayer = Replayer::new(Image::empty());
    let good = (41, value(&topic("t", TOPIC)));
    let bad = (42, value(&topic("t", OTHER)));
    let error = load_values(&mut replayer, [good, bad]).expect_err("twice the same topic");
    assert!(matches!(error, LoadError::Inapplicable { offset: 42, .. }), "{error}");
    assert_eq!(replayer.stable().topics.topic_count(), 1);
    for (bytes, expected) in [
        (&[1, 30, 0, 0][..], "after Kafka 4.4"),
        (&[1, 6, 0, 0][..], "before Kafka 3.0"),
        (&[1, 20, 0][..], "cannot be read"),
        (&[1, 20, 9, 0][..], "cannot be read"),
        (&[0, 20, 0, 0][..], "cannot be read"),
        (&[][..], "cannot be read"),
    ] {
        let error = load_values(&mut replayer, [(7, Bytes::copy_from_slice(bytes))]);
        let text = error.expect_err("is no record").to_string();
        assert!(text.contains("offset 7") && text.contains(expected), "{text}");
    }
}

/// What a level cannot say is left out, so that the snapshot can always be written.
#[test]
fn snapshots_keep_to_the_finalized_level() {
    let records = |metadata_version| {
        let image = image([
            level("metadata.version", metadata_version),
            R::RegisterBroker(RegisterBrokerRecord {
                log_dirs: vec![Uuid::from_u128(500)],
                cordoned_log_dirs: Some(vec![]),
                ..broker(1, 5)
            }),
            R::RegisterController(RegisterControllerRecord::default()),
            topic("t", TOPIC),
            R::Partition(PartitionRecord {
                eligible_leader_replicas: Some(vec![2]),
                ..partition(TOPIC, 0, &[1, 2])
            }),
            R::UserScramCredential(UserScramCredentialRecord {
                mechanism: 1,
                ..Default::default()
            }),
            R::DelegationToken(DelegationTokenRecord::default()),
        ]);
        let records: Vec<(&'static str, i16)> = image
            .to_records()
            .map(|(record, version)| {
                record.encode_framed(version).expect("can be written");
                (record.name().trim_end_matches("Record"), version)
            })
            .collect();
        records
    };
    let all = |broker, partition| {
        vec![
            ("FeatureLevel", 0),
            ("RegisterBroker", broker),
            ("RegisterController", 0),
            ("Topic", 0),
            ("Partition", partition),
            ("UserScramCredential", 0),
            ("DelegationToken", 0),
        ]
    };
    assert_eq!(records(33), all(4, 2));
    assert_eq!(records(30), all(4, 2));
    assert_eq!(records(23), all(3, 2));
    assert_eq!(records(21), all(3, 1));
    assert_eq!(records(15), all(2, 0));
    assert_eq!(
        records(7),
        [("FeatureLevel", 0), ("RegisterBroker", 1), ("Topic", 0), ("Partition", 0)]
    );
}
