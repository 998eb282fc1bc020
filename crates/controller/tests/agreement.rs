//! Whatever happens to an active controller, a standby that replays the committed log has the same
//! image, and nobody is told of anything that is not in it.

mod world;

use quorate_base::{NodeId, Offset, Prng};
use quorate_controller::{Controller, Event};
use quorate_protocol::messages::*;
use quorate_protocol::{AnyRequest, AnyResponse, KStr};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::{World, broker, config, supports};

const BROKERS: NodeId = 4;
const STEPS: usize = 250;

/// A run of random administration and failures from one seed.
struct Run {
    world: World,
    prng: Prng,
    committed: Offset,
    epochs: BTreeMap<NodeId, i64>,
    /// Names of topics asked for, by token.
    wanted: BTreeMap<u64, KStr>,
    acknowledged: BTreeSet<KStr>,
    term: i32,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut config = config(33);
        config.max_records_per_batch = 3;
        config.auto_leader_rebalance = true;
        config.leader_imbalance_check_interval = Duration::from_secs(3);
        config.bootstrap_records.push(world::feature_record(
            quorate_protocol::features::Feature::EligibleLeaderReplicas,
            1,
        ));
        let mut world = World::new(config);
        world.step(Event::Activated { epoch: 1 });
        let (wanted, acknowledged) = (BTreeMap::new(), BTreeSet::new());
        let prng = Prng::new(seed);
        Run { world, prng, committed: 0, epochs: BTreeMap::new(), wanted, acknowledged, term: 1 }
    }

    fn step(&mut self) {
        let id = self.prng.below(BROKERS as u64) as NodeId;
        match self.prng.below(12) {
            0 => self.register(id),
            1..=4 => self.beat(id),
            5 | 6 => self.create_topic(),
            7 => self.shrink_isr(id),
            8 => {
                self.world.wait(Duration::from_millis(self.prng.below(4_000)));
                self.world.step(Event::Timeout);
            }
            9 | 10 => self.commit_some(),
            _ if self.prng.chance(1, 4) => self.fail_over(),
            _ => self.unregister(id),
        }
        self.collect();
    }

    fn register(&mut self, id: NodeId) {
        let mut request = broker(id);
        if self.prng.chance(1, 3) {
            let suffix = u128::from(self.prng.next_u64()) << 8;
            request.incarnation_id = quorate_base::Uuid::from_u128(suffix | 0xff);
            request.previous_broker_epoch = self.epochs.get(&id).copied().unwrap_or(-1);
        }
        if self.prng.chance(1, 8) {
            request.features = vec![supports("metadata.version", 7, 8)];
        }
        self.world.send(AnyRequest::BrokerRegistration(request));
    }

    fn beat(&mut self, id: NodeId) {
        let epoch = self.world.controller.committed().cluster.broker(id).map_or(-1, |it| it.epoch);
        self.epochs.insert(id, epoch);
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: epoch,
            current_metadata_offset: self.world.controller.committed_offset() - 1,
            want_fence: self.prng.chance(1, 10),
            want_shut_down: self.prng.chance(1, 10),
            ..Default::default()
        };
        self.world.send(AnyRequest::BrokerHeartbeat(request));
    }

    fn create_topic(&mut self) {
        let name = KStr::from(format!("t{}", self.prng.below(40)));
        let request = CreateTopicsRequest {
            topics: vec![create_topics_request::CreatableTopic {
                name: name.clone(),
                num_partitions: 1 + self.prng.below(4) as i32,
                replication_factor: 1 + self.prng.below(3) as i16,
                ..Default::default()
            }],
            ..Default::default()
        };
        let token = self.world.send(AnyRequest::CreateTopics(request));
        self.wanted.insert(token, name);
    }

    /// The leader reports itself as the only one in sync.
    fn shrink_isr(&mut self, id: NodeId) {
        let image = self.world.controller.committed().clone();
        let Some((topic_id, index)) = image.topics.led_by(id).next() else { return };
        let partition = image.topics.partition(topic_id, index).expect("led");
        let broker_epoch = image.cluster.broker(id).map_or(-1, |it| it.epoch);
        let alone = alter_partition_request::BrokerState {
            broker_id: id,
            broker_epoch,
            ..Default::default()
        };
        let change = alter_partition_request::PartitionData {
            partition_index: index,
            leader_epoch: partition.leader_epoch(),
            new_isr_with_epochs: vec![alone],
            partition_epoch: partition.partition_epoch(),
            ..Default::default()
        };
        let topic = alter_partition_request::TopicData {
            topic_id,
            partitions: vec![change],
            ..Default::default()
        };
        self.world.send(AnyRequest::AlterPartition(AlterPartitionRequest {
            broker_id: id,
            broker_epoch,
            topics: vec![topic],
            ..Default::default()
        }));
    }

    fn unregister(&mut self, id: NodeId) {
        let request = UnregisterBrokerRequest { broker_id: id, ..Default::default() };
        self.world.send(AnyRequest::UnregisterBroker(request));
    }

    /// The high watermark moves over none, some or all of the appends in flight.
    fn commit_some(&mut self) {
        let ends = self.world.appends.iter().map(|(base, records)| base + records.len() as Offset);
        let ahead: Vec<Offset> = ends.filter(|end| *end > self.committed).collect();
        if ahead.is_empty() {
            return;
        }
        self.committed = ahead[self.prng.below(ahead.len() as u64) as usize];
        self.world.step(Event::Committed { end_offset: self.committed });
    }

    /// Leadership is lost with what is in flight, and won again.
    fn fail_over(&mut self) {
        self.world.step(Event::Deactivated);
        let committed = self.committed;
        self.world.appends.retain(|(base, _)| *base < committed);
        self.world.end = self.world.end.min(committed.max(1));
        self.term += 1;
        self.world.step(Event::Activated { epoch: self.term });
    }

    /// Only what is committed was acknowledged.
    fn collect(&mut self) {
        for (token, answer) in std::mem::take(&mut self.world.answers) {
            let AnyResponse::CreateTopics(answer) = answer else { continue };
            let name = self.wanted.remove(&token).expect("asked for");
            if answer.topics[0].error_code == 0 {
                self.acknowledged.insert(name);
            }
        }
        let topics = &self.world.controller.committed().topics;
        for name in &self.acknowledged {
            assert!(topics.by_name(name).is_some(), "{name} was acknowledged and is not there");
        }
    }
}

#[test]
fn a_standby_that_replays_the_log_has_the_image_of_the_active_controller() {
    for seed in 0..40 {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.committed = run.world.end;
        run.world.commit();
        run.collect();

        let world = &run.world;
        let mut standby = Controller::new(config(33), seed + 1);
        let mut actions = Vec::new();
        for (base_offset, records) in &world.appends {
            let event = Event::Replay {
                base_offset: *base_offset,
                end_offset: base_offset + records.len() as Offset,
                epoch: 1,
                append_time_ms: 0,
                records: records.iter().map(|(record, _)| record.clone()).collect(),
            };
            standby.step(world.now, world.end, world.raft.clone(), event, &mut actions);
        }
        assert!(actions.is_empty(), "seed {seed}: {actions:?}");
        assert_eq!(standby.committed_offset(), world.controller.committed_offset());
        let (theirs, ours) = (standby.committed(), world.controller.committed());
        assert_eq!(theirs.content_hash(), ours.content_hash(), "seed {seed}");
        assert!(ours.topics.topic_count() > 0, "seed {seed}: nothing happened");
    }
}
