//! A randomised administration of a cluster whose brokers hold no data: topics, partitions, settings,
//! quotas, credentials, elections, reassignments, ISR changes; brokers fenced, unfenced, shut down, started
//! anew. Refusals are part of it; only what was lost on the way is an error.

use quorate_base::{Prng, Uuid};
use quorate_client::{Admin, ClientError, Connection, NewTopic, Options, SimulatedBroker};
use quorate_interop::{Failure, Outcome};
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use quorate_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use quorate_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use quorate_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use quorate_protocol::messages::elect_leaders_request::TopicPartitions;
use quorate_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use quorate_protocol::messages::*;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};
use std::collections::BTreeMap;
use std::time::Duration;

const BROKERS: i32 = 5;
const TOPICS_MAX: usize = 60;
const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

/// What is done, and what was.
pub struct Churn {
    prng: Prng,
    cluster_id: String,
    leader: String,
    admin: Connection,
    brokers: BTreeMap<i32, SimulatedBroker>,
    /// Brokers that send no heartbeats, so that they are fenced.
    resting: Vec<i32>,
    topics: Vec<String>,
    made: u64,
    /// How often each kind of change was sent.
    pub sent: BTreeMap<&'static str, u64>,
}

impl Churn {
    /// Registers the brokers at the leader `host:port` and waits until they are unfenced.
    pub fn start(leader: &str, cluster_id: Uuid, seed: u64) -> Outcome<Churn> {
        let mut churn = Churn {
            prng: Prng::new(seed),
            cluster_id: cluster_id.to_string(),
            leader: leader.to_owned(),
            admin: Connection::connect(leader, options())?,
            brokers: BTreeMap::new(),
            resting: Vec::new(),
            topics: Vec::new(),
            made: 0,
            sent: BTreeMap::new(),
        };
        for id in 1..=BROKERS {
            churn.register(id)?;
        }
        Ok(churn)
    }

    /// Goes on with another leader.
    pub fn follow(&mut self, leader: &str) -> Outcome<()> {
        leader.clone_into(&mut self.leader);
        self.admin = Connection::connect(leader, options())?;
        for broker in self.brokers.values_mut() {
            broker.reconnect(leader, options())?;
        }
        Ok(())
    }

    /// One change, and a heartbeat of every broker that lives. An error means that the leader is gone.
    pub fn step(&mut self) -> Outcome<()> {
        for (id, broker) in &mut self.brokers {
            if self.resting.contains(id) {
                continue;
            }
            match broker.heartbeat() {
                Ok(_) => {}
                Err(moved) if leads_no_more(&moved) => return Err(moved.into()),
                // Refused, as after a fencing by session: it is started anew below.
                Err(_) => self.resting.push(*id),
            }
        }
        let (kind, request): (&'static str, Option<AnyRequest>) = match self.prng.below(16) {
            0..=2 => ("create topic", Some(self.create_topic())),
            3 if self.topics.len() > TOPICS_MAX / 2 => ("delete topic", self.delete_topic()),
            4 => ("create partitions", self.create_partitions()),
            5 | 6 => ("alter configs", self.alter_configs()),
            7 => ("alter quotas", Some(self.alter_quotas())),
            8 => ("alter credentials", Some(self.alter_credentials())),
            9 => ("elect leaders", Some(self.elect_leaders())),
            10 => ("reassign", self.reassign()),
            11 => ("allocate producer ids", self.allocate_producer_ids()),
            12 | 13 => return self.alter_isr(),
            14 => return self.rest_or_wake(),
            _ => return self.restart_broker(),
        };
        *self.sent.entry(kind).or_default() += 1;
        if let Some(request) = request {
            self.admin.send(&request)?;
        }
        Ok(())
    }

    fn create_topic(&mut self) -> AnyRequest {
        self.made += 1;
        let name = format!("churn-{}", self.made);
        self.topics.push(name.clone());
        AnyRequest::CreateTopics(CreateTopicsRequest {
            topics: vec![create_topics_request::CreatableTopic {
                name: KStr::from(name),
                num_partitions: 1 + self.prng.below(12) as i32,
                replication_factor: 1 + self.prng.below(3) as i16,
                configs: vec![create_topics_request::CreatableTopicConfig {
                    name: KStr::from("min.insync.replicas"),
                    value: Some(KStr::from((1 + self.prng.below(2)).to_string())),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            timeout_ms: 30_000,
            ..Default::default()
        })
    }

    /// One of the oldest. A topic created and deleted within one round of Kafka's image loader leaves its
    /// settings in that node's image for ever (observed with 4.3.0), and then its checkpoints differ from
    /// those of its peers, and from ours.
    fn delete_topic(&mut self) -> Option<AnyRequest> {
        let at = self.prng.below(5) as usize;
        let name = Some(KStr::from(self.topics.remove(at)));
        Some(AnyRequest::DeleteTopics(DeleteTopicsRequest {
            topics: vec![delete_topics_request::DeleteTopicState { name, ..Default::default() }],
            timeout_ms: 30_000,
            ..Default::default()
        }))
    }

    fn create_partitions(&mut self) -> Option<AnyRequest> {
        let name = KStr::from(self.some_topic()?);
        Some(AnyRequest::CreatePartitions(CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name,
                count: 2 + self.prng.below(20) as i32,
                assignments: None,
                ..Default::default()
            }],
            timeout_ms: 30_000,
            ..Default::default()
        }))
    }

    fn alter_configs(&mut self) -> Option<AnyRequest> {
        let value = Some(KStr::from(self.prng.below(1_000_000).to_string()));
        let delete = self.prng.chance(1, 4);
        let (resource_type, resource_name, name) = match self.prng.below(4) {
            0 => (BROKER_RESOURCE, self.some_broker().to_string(), "log.cleaner.threads"),
            1 => (TOPIC_RESOURCE, self.some_topic()?, "min.insync.replicas"),
            _ => (TOPIC_RESOURCE, self.some_topic()?, "retention.ms"),
        };
        let value = match name {
            "retention.ms" => value,
            _ => Some(KStr::from((1 + self.prng.below(2)).to_string())),
        };
        Some(AnyRequest::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name: KStr::from(resource_name),
                configs: vec![AlterableConfig {
                    name: KStr::from(name),
                    config_operation: i8::from(delete),
                    value: if delete { None } else { value },
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }))
    }

    fn alter_quotas(&mut self) -> AnyRequest {
        let user = KStr::from(format!("user-{}", self.prng.below(8)));
        let entity_name = if self.prng.chance(1, 8) { None } else { Some(user) };
        AnyRequest::AlterClientQuotas(AlterClientQuotasRequest {
            entries: vec![EntryData {
                entity: vec![EntityData {
                    entity_type: KStr::from("user"),
                    entity_name,
                    ..Default::default()
                }],
                ops: vec![OpData {
                    key: KStr::from("producer_byte_rate"),
                    value: self.prng.below(1 << 20) as f64 + 0.5,
                    remove: self.prng.chance(1, 3),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    fn alter_credentials(&mut self) -> AnyRequest {
        let name = KStr::from(format!("scram-{}", self.prng.below(6)));
        let mechanism = 1 + self.prng.below(2) as i8;
        let mut request = AlterUserScramCredentialsRequest::default();
        if self.prng.chance(1, 3) {
            request.deletions =
                vec![ScramCredentialDeletion { name, mechanism, ..Default::default() }];
        } else {
            let salt = self.prng.bytes_16().to_vec().into();
            let salted_password = self.prng.bytes_16().to_vec().into();
            request.upsertions = vec![ScramCredentialUpsertion {
                name,
                mechanism,
                iterations: 4096 + self.prng.below(1000) as i32,
                salt,
                salted_password,
                ..Default::default()
            }];
        }
        AnyRequest::AlterUserScramCredentials(request)
    }

    fn elect_leaders(&mut self) -> AnyRequest {
        let topic_partitions = self.some_topic().filter(|_| self.prng.chance(1, 2)).map(|topic| {
            vec![TopicPartitions {
                topic: KStr::from(topic),
                partitions: vec![0, 1],
                ..Default::default()
            }]
        });
        AnyRequest::ElectLeaders(ElectLeadersRequest {
            election_type: self.prng.below(2) as i8,
            topic_partitions,
            timeout_ms: 30_000,
            ..Default::default()
        })
    }

    fn reassign(&mut self) -> Option<AnyRequest> {
        let name = KStr::from(self.some_topic()?);
        let mut replicas: Vec<i32> = (1..=BROKERS).collect();
        for end in (1..replicas.len()).rev() {
            replicas.swap(end, self.prng.below(end as u64 + 1) as usize);
        }
        replicas.truncate(1 + self.prng.below(3) as usize);
        let replicas = if self.prng.chance(1, 4) { None } else { Some(replicas) };
        Some(AnyRequest::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
            timeout_ms: 30_000,
            topics: vec![ReassignableTopic {
                name,
                partitions: vec![ReassignablePartition {
                    partition_index: 0,
                    replicas,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }))
    }

    fn allocate_producer_ids(&mut self) -> Option<AnyRequest> {
        let id = self.some_broker();
        let broker = self.brokers.get(&id)?;
        Some(AnyRequest::AllocateProducerIds(AllocateProducerIdsRequest {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            ..Default::default()
        }))
    }

    /// A new topic with a known assignment, whose leader lets its followers go and takes them back.
    fn alter_isr(&mut self) -> Outcome<()> {
        let awake: Vec<i32> =
            self.brokers.keys().copied().filter(|id| !self.resting.contains(id)).collect();
        if awake.len() < 3 {
            return self.rest_or_wake();
        }
        *self.sent.entry("alter ISR").or_default() += 1;
        let first = self.prng.below(awake.len() as u64) as usize;
        let replicas: Vec<i32> = (0..3).map(|i| awake[(first + i) % awake.len()]).collect();
        self.made += 1;
        let name = format!("churn-{}", self.made);
        let topic = NewTopic {
            name: name.clone(),
            assignment: vec![replicas.clone()],
            ..NewTopic::default()
        };
        let admin = Connection::connect(&self.leader, options())?;
        let answer = Admin::over(admin).create_topics(&[topic], 30_000, false)?;
        let Some(created) = answer.topics.first().filter(|it| it.error_code == 0) else {
            return Ok(());
        };
        self.topics.push(name);
        let topic_id = created.topic_id;
        let (mut leader_epoch, mut partition_epoch) = (0, 0);
        let full = replicas.clone();
        for isr in [&replicas[..2], &replicas[..1], &full[..]] {
            let Some(epochs) =
                self.ask_for_isr(topic_id, replicas[0], leader_epoch, partition_epoch, isr)?
            else {
                return Ok(());
            };
            (leader_epoch, partition_epoch) = epochs;
            if self.prng.chance(1, 4) {
                break;
            }
        }
        Ok(())
    }

    fn ask_for_isr(
        &mut self,
        topic_id: Uuid,
        leader: i32,
        leader_epoch: i32,
        partition_epoch: i32,
        isr: &[i32],
    ) -> Outcome<Option<(i32, i32)>> {
        let epoch_of = |id: &i32| self.brokers.get(id).map_or(-1, |it| it.epoch);
        let new_isr_with_epochs = isr
            .iter()
            .map(|id| BrokerState {
                broker_id: *id,
                broker_epoch: epoch_of(id),
                ..Default::default()
            })
            .collect();
        let request = AlterPartitionRequest {
            broker_id: leader,
            broker_epoch: epoch_of(&leader),
            topics: vec![TopicData {
                topic_id,
                partitions: vec![PartitionData {
                    partition_index: 0,
                    leader_epoch,
                    partition_epoch,
                    new_isr_with_epochs,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let AnyResponse::AlterPartition(answer) =
            self.admin.send(&AnyRequest::AlterPartition(request))?
        else {
            return Err(Failure::new("AlterPartition was answered with something else"));
        };
        let partition = answer.topics.first().and_then(|it| it.partitions.first());
        let good = partition.filter(|it| it.error_code == 0 && answer.error_code == 0);
        Ok(good.map(|it| (it.leader_epoch, it.partition_epoch)))
    }

    /// Fences a broker by its own wish, or lets one come back; at most two rest at a time.
    fn rest_or_wake(&mut self) -> Outcome<()> {
        *self.sent.entry("fence or unfence").or_default() += 1;
        if self.resting.len() >= 2 || (!self.resting.is_empty() && self.prng.chance(1, 2)) {
            let id = self.resting.remove(0);
            let unfenced = self.brokers.get_mut(&id).map(SimulatedBroker::heartbeat);
            return match unfenced {
                Some(Ok(_)) => Ok(()),
                _ => self.register(id),
            };
        }
        let id = self.some_broker();
        let Some(broker) = self.brokers.get_mut(&id) else { return Ok(()) };
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: broker.epoch,
            current_metadata_offset: broker.epoch,
            want_fence: true,
            ..Default::default()
        };
        broker.connection().send(&AnyRequest::BrokerHeartbeat(request))?;
        if !self.resting.contains(&id) {
            self.resting.push(id);
        }
        Ok(())
    }

    /// A controlled shutdown as far as it goes in a moment, or none; then a new process.
    fn restart_broker(&mut self) -> Outcome<()> {
        *self.sent.entry("restart broker").or_default() += 1;
        let id = self.some_broker();
        if self.prng.chance(2, 3)
            && let Some(broker) = self.brokers.get_mut(&id)
        {
            for _ in 0..5 {
                if broker.want_shutdown().is_ok_and(|it| it.should_shut_down) {
                    break;
                }
            }
        }
        self.register(id)
    }

    /// A new incarnation, as soon as the session of the one before is over.
    fn register(&mut self, id: i32) -> Outcome<()> {
        let directory = Uuid::from_u128(0xd1 << 64 | 1 << 32 | id as u128);
        let incarnation = Uuid::random(&mut self.prng);
        let (leader, cluster_id) = (self.leader.clone(), self.cluster_id.clone());
        let others: Vec<i32> = self.brokers.keys().copied().filter(|it| *it != id).collect();
        let broker =
            quorate_interop::wait_for("the broker registers", quorate_interop::DEADLINE, || {
                // The others must not be taken for dead meanwhile.
                for other in &others {
                    if !self.resting.contains(other)
                        && let Some(broker) = self.brokers.get_mut(other)
                    {
                        let _ = broker.heartbeat();
                    }
                }
                let it =
                    SimulatedBroker::register(&leader, &cluster_id, id, incarnation, directory);
                match it {
                    Ok(mut broker) => {
                        broker.heartbeat()?;
                        Ok(Ok(broker))
                    }
                    Err(refused @ ClientError::Refused { .. }) if !leads_no_more(&refused) => {
                        Err(Failure::new("its session lives"))
                    }
                    // The leader is gone: the caller finds another.
                    Err(gone) => Ok(Err(Failure::from(gone))),
                }
            })?;
        self.brokers.insert(id, broker?);
        self.resting.retain(|it| *it != id);
        Ok(())
    }

    fn some_topic(&mut self) -> Option<String> {
        let count = self.topics.len() as u64;
        (count > 0).then(|| self.topics[self.prng.below(count) as usize].clone())
    }

    fn some_broker(&mut self) -> i32 {
        1 + self.prng.below(BROKERS as u64) as i32
    }
}

/// Kafka's controller may give up leading by itself, on a fault of its own.
fn leads_no_more(error: &ClientError) -> bool {
    let code = ErrorCode::NotController.code();
    matches!(error, ClientError::Refused { error_code, .. } if *error_code == code)
}

fn options() -> Options {
    Options {
        client_id: "churn".to_owned(),
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(10),
    }
}
