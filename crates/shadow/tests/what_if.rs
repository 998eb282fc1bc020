//! What a change would do, on images made by hand.

use quorate_base::{NodeId, Uuid};
use quorate_controller::ControllerConfig;
use quorate_metadata::Image;
use quorate_protocol::features::MetadataVersion;
use quorate_protocol::records::register_broker_record::BrokerFeature;
use quorate_protocol::records::{
    ConfigRecord, FeatureLevelRecord, PartitionRecord, RegisterBrokerRecord,
    RegisterControllerRecord, TopicRecord, register_controller_record,
};
use quorate_protocol::{KStr, MetadataRecord};
use quorate_shadow::what_if::{
    VoterLag, brokers_named, decommission, fence, stop_controller, upgrade,
};

struct World(Image);

impl World {
    /// Brokers 1 and 2 in rack a, 3 and 4 in b, 5 in c.
    fn new() -> World {
        let mut world = World(Image::empty());
        world.apply(FeatureLevelRecord {
            name: KStr::from("metadata.version"),
            feature_level: MetadataVersion::IBP_3_9_IV0.level(),
            ..Default::default()
        });
        for (id, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")] {
            world.broker(id, rack, MetadataVersion::LATEST_PRODUCTION.level());
        }
        world
    }

    fn apply(&mut self, record: impl Into<MetadataRecord>) {
        self.0.apply(&record.into()).expect("applies");
    }

    fn broker(&mut self, id: NodeId, rack: &str, max_metadata_version: i16) {
        self.apply(RegisterBrokerRecord {
            broker_id: id,
            broker_epoch: 100 + i64::from(id),
            incarnation_id: Uuid::from_u128(1000 + id as u128),
            rack: Some(KStr::from(rack)),
            fenced: false,
            log_dirs: vec![Uuid::from_u128(2000 + id as u128)],
            features: vec![BrokerFeature {
                name: KStr::from("metadata.version"),
                min_supported_version: 7,
                max_supported_version: max_metadata_version,
                ..Default::default()
            }],
            ..Default::default()
        });
    }

    fn topic(&mut self, name: &str, min_isr: &str, partitions: &[&[NodeId]]) {
        let topic_id = Uuid::from_u128(5000 + self.0.topics.topic_count() as u128);
        self.apply(TopicRecord { name: KStr::from(name), topic_id, ..Default::default() });
        self.apply(ConfigRecord {
            resource_type: 2,
            resource_name: KStr::from(name),
            name: KStr::from("min.insync.replicas"),
            value: Some(KStr::from(min_isr)),
            ..Default::default()
        });
        for (index, replicas) in (0..).zip(partitions) {
            self.apply(PartitionRecord {
                partition_id: index,
                topic_id,
                replicas: replicas.to_vec(),
                isr: replicas.to_vec(),
                leader: replicas[0],
                directories: replicas
                    .iter()
                    .map(|id| Uuid::from_u128(2000 + *id as u128))
                    .collect(),
                ..Default::default()
            });
        }
    }
}

fn config() -> ControllerConfig {
    ControllerConfig::default()
}

fn shown<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn fencing_tells_leaders_moved_partitions_lost_and_isrs_too_small() {
    let mut world = World::new();
    world.topic("safe", "2", &[&[1, 3, 5], &[3, 5, 1]]);
    world.topic("lonely", "1", &[&[1]]);
    world.topic("tight", "2", &[&[3, 1]]);
    let found = fence(&world.0, &config(), &[1]).expect("asked well");
    assert_eq!(shown(&found.offline), ["lonely-0"]);
    assert_eq!(shown(&found.leaders_moved), ["safe-0"]);
    // The one replica of "lonely" stays in the ISR by name and is gone all the same.
    assert_eq!(shown(&found.under_min_isr), ["lonely-0", "tight-0"]);
    assert_eq!(shown(&found.at_min_isr), ["safe-0", "safe-1"]);
    assert_eq!(found.isr_shrinks, 4);
    assert_eq!(found.leaders[&1], (2, 0));
    assert_eq!(found.leaders[&3], (2, 3));
    assert!(found.hurts() && found.records > 4);
    assert_eq!(world.0.topics.count_without_leader(), 0, "the image asked is as it was");
}

#[test]
fn fencing_goes_on_from_the_state_after_the_one_before() {
    let mut world = World::new();
    world.topic("t", "1", &[&[1, 3]]);
    let found = fence(&world.0, &config(), &[1, 3]).expect("asked well");
    assert_eq!(shown(&found.offline), ["t-0"]);
    let again = fence(&world.0, &config(), &[3, 3]).expect("asked well");
    assert_eq!((again.fenced, again.already_fenced), (vec![3], vec![3]));
    let wrong = fence(&world.0, &config(), &[9]).expect_err("nobody has that id");
    assert!(wrong.to_string().contains("[9]") && wrong.to_string().contains("[1, 2, 3, 4, 5]"));
}

#[test]
fn an_unclean_election_is_told_where_the_topic_allows_it() {
    let mut world = World::new();
    world.topic("t", "1", &[&[1, 3]]);
    world.apply(ConfigRecord {
        resource_type: 2,
        resource_name: KStr::from("t"),
        name: KStr::from("unclean.leader.election.enable"),
        value: Some(KStr::from("true")),
        ..Default::default()
    });
    let topic = world.0.topics.by_name("t").expect("there").id;
    world.apply(quorate_protocol::records::PartitionChangeRecord {
        topic_id: topic,
        partition_id: 0,
        isr: Some(vec![1]),
        ..Default::default()
    });
    let found = fence(&world.0, &config(), &[1]).expect("asked well");
    assert_eq!(shown(&found.unclean), ["t-0"]);
    assert!(found.offline.is_empty() && found.hurts());
}

#[test]
fn a_node_that_is_too_old_blocks_an_upgrade_and_is_named() {
    let mut world = World::new();
    let fine = upgrade(&world.0, &config(), &[], "4.0").expect("a release");
    assert!(fine.blockers.iter().all(|it| it.feature != "metadata.version"), "{fine:?}");
    assert!(fine.changes.contains_key("metadata.version"));
    world.broker(7, "c", MetadataVersion::IBP_3_9_IV0.level());
    let blocked = upgrade(&world.0, &config(), &[], "4.3").expect("a release");
    let by_old = blocked.blockers.iter().find(|it| it.feature == "metadata.version");
    let by_old = by_old.expect("broker 7 is too old");
    assert_eq!((by_old.node.as_str(), by_old.supports.1), ("broker 7", 21));
    assert!(!blocked.is_possible() && blocked.refusal.is_some());
    assert!(upgrade(&world.0, &config(), &[], "9.9").is_err());
}

#[test]
fn a_voter_that_never_registered_blocks_an_upgrade() {
    let mut world = World::new();
    world.apply(RegisterControllerRecord {
        controller_id: 100,
        features: vec![register_controller_record::ControllerFeature {
            name: KStr::from("metadata.version"),
            min_supported_version: 7,
            max_supported_version: MetadataVersion::LATEST_PRODUCTION.level(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let found = upgrade(&world.0, &config(), &[100, 101], "4.0").expect("a release");
    assert_eq!(found.unregistered_voters, [101]);
    assert!(!found.is_possible());
}

#[test]
fn replicas_of_a_rack_go_where_the_partition_has_none() {
    let mut world = World::new();
    world.topic("t", "1", &[&[3, 1, 5], &[1, 2], &[4]]);
    assert_eq!(brokers_named(&world.0, "rack=b").expect("a rack"), [3, 4]);
    let plan = decommission(&world.0, &config(), "3").expect("asked well");
    let moved = plan.moves.iter().map(|it| (it.partition.to_string(), it.to.clone()));
    assert_eq!(moved.collect::<Vec<_>>(), [("t-0".to_owned(), vec![4, 1, 5])]);
    assert!(plan.is_possible() && !plan.moves[0].loses_a_rack);

    let plan = decommission(&world.0, &config(), "rack=b").expect("asked well");
    assert!(plan.is_possible());
    assert_eq!(shown(&plan.only_in_sync_there), ["t-2"]);
    assert!(plan.moves.iter().any(|it| it.partition.partition == 0 && it.loses_a_rack), "{plan:?}");
    assert!(decommission(&world.0, &config(), "rack=z").is_err());
}

#[test]
fn too_few_brokers_stand_against_a_decommissioning() {
    let mut world = World::new();
    world.topic("wide", "1", &[&[1, 2, 3, 4]]);
    let plan = decommission(&world.0, &config(), "4,5").expect("asked well");
    assert!(!plan.is_possible());
    assert_eq!((plan.unplaceable[0].replication_factor, plan.unplaceable[0].brokers_left), (4, 3));
    assert!(plan.moves.is_empty());
}

#[test]
fn a_quorum_goes_on_with_a_majority_that_keeps_up() {
    let voter = |id, log_end, behind_ms| VoterLag { id, log_end: Some(log_end), behind_ms };
    let voters = [voter(1, 100, Some(0)), voter(2, 100, Some(10)), voter(3, 20, Some(60_000))];
    let follower = stop_controller(&voters, 1, 100, 2).expect("known");
    assert!(!follower.goes_on() && follower.behind == [3]);
    let laggard = stop_controller(&voters, 1, 100, 3).expect("known");
    assert!(laggard.goes_on() && laggard.spare() == 0);
    let observer = stop_controller(&voters, 1, 100, 9).expect("known");
    assert!(observer.goes_on() && observer.is_observer);
    assert!(stop_controller(&[], -1, 0, 1).is_err());
}
