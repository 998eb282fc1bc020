//! A broker as far as controllers see one: it registers, sends heartbeats, follows the metadata log,
//! and asks for replicas that are alive to join the ISRs it leads.

use super::replica::Replica;
use crate::trace::who;
use crate::world::{CLUSTER, World};
use quorate_base::{NodeId, Prng, Time, Uuid};
use quorate_node::RpcFailure;
use quorate_protocol::features;
use quorate_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use quorate_protocol::messages::broker_registration_request::{Feature, Listener};
use quorate_protocol::messages::{
    AlterPartitionRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};
use std::time::Duration;

const TURN: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_millis(2000);

/// A broker's process.
#[derive(Debug)]
pub struct Broker {
    pub prng: Prng,
    incarnation: u64,
    /// Its epoch, once it is registered.
    pub epoch: Option<i64>,
    pub fenced: bool,
    pub replica: Replica,
    /// Whom it takes for the leader.
    leader: Option<NodeId>,
    fetching: Option<u64>,
    calling: Option<u64>,
    altering: Option<u64>,
    next_rpc: u64,
    next_heartbeat: Time,
    not_before: Time,
    /// Silent until then, as if its process was stopped.
    pub silent_until: Time,
    refusal: String,
}

impl Broker {
    /// A broker that has never run.
    pub fn new(id: NodeId, seed: u64) -> Broker {
        let directory = Uuid::from_u128(0xb000_0000_0000_0000_0000 + u128::from(id.unsigned_abs()));
        Broker {
            prng: Prng::new(seed),
            incarnation: 1,
            epoch: None,
            fenced: true,
            replica: Replica::new(id, directory),
            leader: None,
            fetching: None,
            calling: None,
            altering: None,
            next_rpc: 1,
            next_heartbeat: Time::ZERO,
            not_before: Time::ZERO,
            silent_until: Time::ZERO,
            refusal: String::new(),
        }
    }

    /// Its process dies and starts again.
    fn restart(&mut self, id: NodeId) {
        self.incarnation += 1;
        self.epoch = None;
        self.fenced = true;
        self.leader = None;
        (self.fetching, self.calling, self.altering) = (None, None, None);
        // Half of the brokers lose their metadata log with it.
        if self.prng.chance(1, 2) {
            self.replica = Replica::new(id, self.replica.directory_id);
        }
    }

    /// Where it stands, in a line.
    pub fn summary(&self) -> String {
        format!(
            "epoch {:?}, fenced {}, leader {:?}, applied {}, last refusal: {}",
            self.epoch, self.fenced, self.leader, self.replica.applied, self.refusal
        )
    }

    fn rpc(&mut self) -> u64 {
        self.next_rpc += 1;
        self.next_rpc
    }

    fn registration(&self, id: NodeId) -> BrokerRegistrationRequest {
        let incarnation = (u128::from(id.unsigned_abs()) << 64) | u128::from(self.incarnation);
        BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: KStr::from(CLUSTER),
            incarnation_id: Uuid::from_u128(incarnation),
            listeners: vec![Listener {
                name: KStr::from("PLAINTEXT"),
                host: KStr::from(format!("b{id}")),
                port: 9092,
                ..Default::default()
            }],
            features: features::advertised()
                .map(|(name, min_supported_version, max_supported_version)| Feature {
                    name: KStr::from(name),
                    min_supported_version,
                    max_supported_version,
                    ..Default::default()
                })
                .collect(),
            log_dirs: vec![self.replica.directory_id],
            ..Default::default()
        }
    }
}

impl World {
    /// A broker looks what to do.
    pub fn broker_turn(&mut self, id: NodeId) {
        self.schedule_in(TURN, crate::world::Happening::Broker(id));
        let controllers: Vec<NodeId> = self.hosts.keys().copied().collect();
        let now = self.now;
        let broker = self.brokers.get_mut(&id).expect("a broker");
        if now < broker.silent_until.max(broker.not_before) {
            return;
        }
        let anyone = controllers[broker.prng.below(controllers.len() as u64) as usize];
        let to = broker.leader.unwrap_or(anyone);
        let mut calls = Vec::new();
        if broker.fetching.is_none() {
            let rpc = broker.rpc();
            broker.fetching = Some(rpc);
            calls.push((rpc, broker.replica.request()));
        }
        if broker.calling.is_none() && now >= broker.next_heartbeat && broker.leader.is_some() {
            let rpc = broker.rpc();
            broker.calling = Some(rpc);
            let request = match broker.epoch {
                None => AnyRequest::BrokerRegistration(broker.registration(id)),
                Some(epoch) => AnyRequest::BrokerHeartbeat(BrokerHeartbeatRequest {
                    broker_id: id,
                    broker_epoch: epoch,
                    current_metadata_offset: broker.replica.applied - 1,
                    ..Default::default()
                }),
            };
            calls.push((rpc, request));
        }
        let leads = broker.altering.is_none() && broker.leader.is_some() && !broker.fenced;
        if leads && let Some(request) = self.wanted_isr(id) {
            let broker = self.brokers.get_mut(&id).expect("a broker");
            let rpc = broker.rpc();
            broker.altering = Some(rpc);
            calls.push((rpc, request));
        }
        for (rpc, request) in calls {
            self.call(id, rpc, to, &request, Duration::from_millis(2500));
        }
    }

    /// One partition led by this broker that lacks a living replica, with that added. (It peeks at the
    /// committed state: how brokers come to know it is not what is tested here.)
    fn wanted_isr(&self, id: NodeId) -> Option<AnyRequest> {
        let epoch = self.brokers[&id].epoch?;
        let image = self.invariants.newest_image();
        let live = |id: &NodeId| image.cluster.broker(*id).is_some_and(|it| !it.fenced);
        for (topic_id, index) in image.topics.led_by(id) {
            let partition = image.topics.partition(topic_id, index)?;
            let missing = partition.replicas().iter().find(|it| {
                !partition.isr().contains(it)
                    && live(it)
                    && image.cluster.broker(**it).is_some_and(|it| !it.in_controlled_shutdown)
            });
            let Some(missing) = missing else { continue };
            let new_isr_with_epochs = partition
                .isr()
                .iter()
                .chain([missing])
                .map(|it| BrokerState {
                    broker_id: *it,
                    broker_epoch: image.cluster.broker(*it).map_or(-1, |it| it.epoch),
                    ..Default::default()
                })
                .collect();
            return Some(AnyRequest::AlterPartition(AlterPartitionRequest {
                broker_id: id,
                broker_epoch: epoch,
                topics: vec![TopicData {
                    topic_id,
                    partitions: vec![PartitionData {
                        partition_index: index,
                        leader_epoch: partition.leader_epoch(),
                        new_isr_with_epochs,
                        partition_epoch: partition.partition_epoch(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }));
        }
        None
    }

    /// A broker gets the outcome of a call.
    pub fn broker_answered(
        &mut self,
        id: NodeId,
        rpc: u64,
        from: NodeId,
        result: Result<AnyResponse, RpcFailure>,
    ) {
        let now = self.now;
        let broker = self.brokers.get_mut(&id).expect("a broker");
        if broker.fetching == Some(rpc) {
            broker.fetching = None;
            match result {
                Ok(AnyResponse::Fetch(response)) => {
                    let partition = &response.responses[0].partitions[0];
                    let leader = &partition.current_leader;
                    if partition.error_code == 0 && leader.leader_epoch == broker.replica.epoch {
                        broker.replica.fetched(partition, &mut self.invariants);
                    }
                    let (epoch, leader) = (leader.leader_epoch, leader.leader_id);
                    self.broker_hears_of(id, epoch, leader);
                }
                Ok(AnyResponse::FetchSnapshot(response)) => {
                    let partition = &response.topics[0].partitions[0];
                    if partition.error_code == 0 {
                        let bytes = &partition.unaligned_records;
                        let (position, size) = (partition.position, partition.size);
                        let invariants = &mut self.invariants;
                        broker.replica.received(position, size, bytes, invariants);
                    } else {
                        broker.replica.drop_download();
                    }
                    let leader = &partition.current_leader;
                    let (epoch, leader) = (leader.leader_epoch, leader.leader_id);
                    if partition.error_code != 0 {
                        self.broker_hears_of(id, epoch, leader);
                    }
                }
                _ => {
                    broker.leader = None;
                    broker.not_before = now + Duration::from_millis(50);
                }
            }
        } else if broker.altering == Some(rpc) {
            broker.altering = None;
        } else if broker.calling == Some(rpc) {
            broker.calling = None;
            broker.refusal = match &result {
                Ok(response) => format!("{} {:?}", response.api_key(), response.error_codes()),
                Err(failure) => format!("{failure:?}"),
            };
            let known = match result {
                Ok(AnyResponse::BrokerRegistration(response)) if response.error_code == 0 => {
                    broker.epoch = Some(response.broker_epoch);
                    broker.fenced = true;
                    true
                }
                Ok(AnyResponse::BrokerHeartbeat(response)) if response.error_code == 0 => {
                    broker.fenced = response.is_fenced;
                    broker.next_heartbeat = now + HEARTBEAT;
                    true
                }
                Ok(AnyResponse::BrokerHeartbeat(response))
                    if response.error_code == ErrorCode::StaleBrokerEpoch.code()
                        || response.error_code == ErrorCode::BrokerIdNotRegistered.code() =>
                {
                    broker.epoch = None;
                    broker.fenced = true;
                    true
                }
                _ => false,
            };
            if known {
                if broker.fenced {
                    broker.next_heartbeat = now + Duration::from_millis(100);
                }
            } else {
                broker.next_heartbeat = now + Duration::from_millis(100);
                if broker.leader == Some(from) {
                    broker.leader = None;
                }
            }
        }
    }

    fn broker_hears_of(&mut self, id: NodeId, epoch: i32, leader: NodeId) {
        let now = self.now;
        let broker = self.brokers.get_mut(&id).expect("a broker");
        if epoch < broker.replica.epoch {
            return;
        }
        if epoch > broker.replica.epoch {
            broker.replica.drop_download();
        }
        broker.replica.epoch = epoch;
        broker.leader = (leader >= 0).then_some(leader);
        if leader >= 0 {
            self.invariants.broker_view(id, epoch, leader);
        } else {
            broker.not_before = now + Duration::from_millis(50);
        }
    }

    /// A broker's process dies and starts again, or falls silent for a while.
    pub fn trouble_broker(&mut self, id: NodeId) {
        let now = self.now;
        let broker = self.brokers.get_mut(&id).expect("a broker");
        let pause = Duration::from_millis(broker.prng.below(15_000));
        let silent = broker.prng.chance(1, 2);
        broker.silent_until = now + pause;
        if !silent {
            broker.restart(id);
            self.network.calls.retain(|_, call| call.caller != id);
        }
        let what = if silent { "falls silent" } else { "restarts" };
        self.note(&who(id), &format!("{what}, for {} ms", pause.as_millis()));
    }
}
