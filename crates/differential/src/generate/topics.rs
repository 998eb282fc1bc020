//! Topics and partitions: created, deleted, elected, moved.

use super::Gen;
use quorate_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use quorate_protocol::messages::assign_replicas_to_dirs_request as assign;
use quorate_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use quorate_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use quorate_protocol::messages::delete_topics_request::DeleteTopicState;
use quorate_protocol::messages::elect_leaders_request::TopicPartitions;
use quorate_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use quorate_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionRequest, AssignReplicasToDirsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, alter_partition_request,
};
use quorate_protocol::{AnyRequest, ApiKey, KStr};
use std::collections::BTreeSet;

/// An ISR is told with its brokers' epochs from version 3 on, and without before.
pub(super) fn fit_isr(request: &mut AlterPartitionRequest, version: i16) {
    for partition in request.topics.iter_mut().flat_map(|it| &mut it.partitions) {
        if version < 3 {
            partition.new_isr_with_epochs.clear();
        } else {
            partition.new_isr.clear();
        }
    }
}

impl Gen<'_> {
    /// Mostly enough; what has none is over before it begins. Only where all of a request then has that
    /// error: Kafka refuses some topics before its queue (docs/differences.md).
    fn patience_ms(&mut self) -> i32 {
        if self.one_in(40) { self.pick(&[0, -1]) } else { 30_000 }
    }

    fn creatable(&mut self, name: KStr) -> CreatableTopic {
        let partitions = self.several(1, 3, |it| it.replicas());
        let odd = self.prng.below(40);
        let same_size = partitions.first().map_or(1, Vec::len);
        let assignments = partitions.into_iter().zip(0..).map(|(mut broker_ids, index)| {
            if odd > 4 {
                // Partitions of one topic have as many replicas each, or all is refused.
                broker_ids.truncate(same_size);
                let mut next = 1;
                while broker_ids.len() < same_size {
                    if !broker_ids.contains(&next) {
                        broker_ids.push(next);
                    }
                    next += 1;
                }
            }
            CreatableReplicaAssignment {
                partition_index: if odd == 0 { index + 1 } else { index },
                broker_ids,
                ..Default::default()
            }
        });
        let assignments = assignments.collect();
        let configs = if self.one_in(3) {
            self.several(1, 2, |it| {
                let (name, value) = it.topic_config();
                CreatableTopicConfig { name, value, ..Default::default() }
            })
        } else {
            Vec::new()
        };
        CreatableTopic {
            name,
            num_partitions: if odd == 1 { 2 } else { -1 },
            replication_factor: if odd == 2 { 2 } else { -1 },
            assignments,
            configs,
            ..Default::default()
        }
    }

    pub(super) fn create_topics(&mut self) -> AnyRequest {
        let names = self.several(1, 3, |it| it.topic_name());
        let topics = names.into_iter().map(|name| self.creatable(name)).collect();
        AnyRequest::CreateTopics(CreateTopicsRequest {
            topics,
            timeout_ms: 30_000,
            validate_only: self.one_in(6),
            ..Default::default()
        })
    }

    /// Topics whose replicas the controller chooses. Its choice is its own: the caller compares
    /// without it, and takes the topics away again.
    pub fn placed_topics(&mut self) -> AnyRequest {
        let topics = self.several(1, 2, |it| {
            let mut topic = CreatableTopic {
                name: KStr::from(format!("placed{}", it.below(2))),
                num_partitions: it.pick(&[-1, 1, 2, 5, 0, -2]),
                replication_factor: it.pick(&[-1, 1, 1, 2, 3, 0, 9]),
                ..Default::default()
            };
            if it.one_in(4) {
                let (name, value) = it.topic_config();
                topic.configs = vec![CreatableTopicConfig { name, value, ..Default::default() }];
            }
            topic
        });
        let request = CreateTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
        AnyRequest::CreateTopics(request)
    }

    /// What takes away the topics of [`Gen::placed_topics`].
    pub fn delete_placed_topics() -> AnyRequest {
        let topics = ["placed0", "placed1"]
            .map(|name| DeleteTopicState { name: Some(KStr::from(name)), ..Default::default() });
        let topics = topics.into();
        AnyRequest::DeleteTopics(DeleteTopicsRequest {
            topics,
            timeout_ms: 30_000,
            ..Default::default()
        })
    }

    pub(super) fn delete_topics(&mut self) -> AnyRequest {
        if self.one_in(3) {
            let topic_names = self.several(1, 2, |it| it.known_topic_name());
            return AnyRequest::DeleteTopics(DeleteTopicsRequest {
                topic_names,
                timeout_ms: 30_000,
                ..Default::default()
            });
        }
        let topics = self.several(1, 2, |it| {
            let mut state = DeleteTopicState::default();
            let kind = it.prng.below(10);
            if kind < 5 || kind == 9 {
                state.name = Some(it.known_topic_name());
            }
            if (5..9).contains(&kind) {
                state.topic_id = it.topic_id();
            }
            if kind == 9 && it.one_in(2) {
                state.topic_id = it.topic_id();
            }
            state
        });
        AnyRequest::DeleteTopics(DeleteTopicsRequest {
            topics,
            timeout_ms: 30_000,
            ..Default::default()
        })
    }

    pub(super) fn create_partitions(&mut self) -> AnyRequest {
        let topics = self.several(1, 2, |it| {
            let name = it.known_topic_name();
            let topic = it.image.topics.by_name(&name);
            let now = topic.map_or(1, |it| it.partition_count);
            let factor = topic
                .and_then(|topic| it.image.topics.partition(topic.id, 0))
                .map_or(1, |it| it.replicas().len());
            let more = it.pick(&[0, 1, 1, 1, 2, -1]);
            let odd = it.one_in(10);
            let assignments =
                it.several(more.max(0) as u64, more.max(0) as u64 + u64::from(odd), |it| {
                    let mut broker_ids = it.replicas();
                    if !odd {
                        broker_ids.truncate(factor);
                        let mut next = 1;
                        while broker_ids.len() < factor {
                            if !broker_ids.contains(&next) {
                                broker_ids.push(next);
                            }
                            next += 1;
                        }
                    }
                    CreatePartitionsAssignment { broker_ids, ..Default::default() }
                });
            // Without an assignment the controller would choose: only where it then refuses.
            let assignments = if more > 0 { Some(assignments) } else { None };
            CreatePartitionsTopic { name, count: now + more, assignments, ..Default::default() }
        });
        AnyRequest::CreatePartitions(CreatePartitionsRequest {
            topics,
            timeout_ms: 30_000,
            validate_only: self.one_in(6),
            ..Default::default()
        })
    }

    pub(super) fn alter_partition(&mut self) -> AnyRequest {
        use alter_partition_request::{BrokerState, PartitionData, TopicData};
        let Some(topic) = self.topic() else { return self.create_topics() };
        let topic_id = if self.one_in(30) { self.topic_id() } else { topic.id };
        let partition_index = if self.one_in(30) {
            self.partition_index()
        } else {
            self.below(topic.partition_count.unsigned_abs().max(1).into())
        };
        let partition = self.image.topics.partition(topic.id, partition_index);
        let leader = partition.and_then(|it| it.leader());
        let leader = leader.and_then(|id| self.image.cluster.broker(id));
        let (broker_id, broker_epoch) = match leader {
            Some(leader) if !self.one_in(10) => (leader.id, leader.epoch),
            _ => self.broker_and_epoch(),
        };
        let replicas = partition.map_or(vec![1, 2], |it| it.replicas().to_vec());
        let mut new_isr: Vec<i32> = replicas;
        new_isr.retain(|it| *it == broker_id || !self.prng.chance(1, 3));
        if self.one_in(20) {
            new_isr.push(self.broker_id());
        }
        if self.one_in(40) {
            new_isr.clear();
        }
        let with_epochs = new_isr.iter().map(|id| {
            let epoch = self.image.cluster.broker(*id).map_or(-1, |it| it.epoch);
            let broker_epoch = match self.prng.below(20) {
                0 => -1,
                1 => epoch - 1,
                _ => epoch,
            };
            BrokerState { broker_id: *id, broker_epoch, ..Default::default() }
        });
        let new_isr_with_epochs = with_epochs.collect();
        let off = |it: &mut Self| if it.one_in(20) { it.pick(&[-1, 1]) } else { 0 };
        let leader_epoch = partition.map_or(0, |it| it.leader_epoch()) + off(self);
        let partition_epoch = partition.map_or(0, |it| it.partition_epoch()) + off(self);
        let recovery = partition.map_or(0, |it| it.leader_recovery_state() as i8);
        let data = PartitionData {
            partition_index,
            leader_epoch,
            new_isr,
            new_isr_with_epochs,
            // A state that does not exist makes Kafka's controller resign (docs/differences.md).
            leader_recovery_state: if self.one_in(10) { self.pick(&[0, 1]) } else { recovery },
            partition_epoch,
            ..Default::default()
        };
        AnyRequest::AlterPartition(AlterPartitionRequest {
            broker_id,
            broker_epoch,
            topics: vec![TopicData { topic_id, partitions: vec![data], ..Default::default() }],
            ..Default::default()
        })
    }

    pub(super) fn elect_leaders(&mut self) -> AnyRequest {
        let topic_partitions = self.maybe(6, |it| {
            it.several(1, 2, |it| TopicPartitions {
                topic: it.known_topic_name(),
                partitions: it.several(1, 3, |it| it.partition_index()),
                ..Default::default()
            })
        });
        AnyRequest::ElectLeaders(ElectLeadersRequest {
            election_type: if self.one_in(20) { 2 } else { self.pick(&[0, 0, 1]) },
            topic_partitions,
            timeout_ms: self.patience_ms(),
            ..Default::default()
        })
    }

    pub(super) fn alter_partition_reassignments(&mut self) -> AnyRequest {
        let mut topics = self.several(1, 2, |it| ReassignableTopic {
            name: it.known_topic_name(),
            partitions: it.several(1, 2, |it| ReassignablePartition {
                partition_index: it.partition_index(),
                replicas: it.maybe(4, |it| it.replicas()),
                ..Default::default()
            }),
            ..Default::default()
        });
        // Named twice, Kafka judges both by what was before the request (docs/differences.md).
        let mut named = BTreeSet::new();
        for topic in &mut topics {
            let name = topic.name.clone();
            topic.partitions.retain(|it| named.insert((name.clone(), it.partition_index)));
        }
        AnyRequest::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
            topics,
            timeout_ms: self.patience_ms(),
            allow_replication_factor_change: !self.one_in(5)
                || self.newest(ApiKey::AlterPartitionReassignments) == 0,
            ..Default::default()
        })
    }

    pub(super) fn list_partition_reassignments(&mut self) -> AnyRequest {
        let topics = self.maybe(2, |it| {
            it.several(1, 2, |it| ListPartitionReassignmentsTopics {
                name: it.known_topic_name(),
                partition_indexes: it.several(1, 3, |it| it.partition_index()),
                ..Default::default()
            })
        });
        AnyRequest::ListPartitionReassignments(ListPartitionReassignmentsRequest {
            topics,
            ..Default::default()
        })
    }

    pub(super) fn assign_replicas_to_dirs(&mut self) -> AnyRequest {
        let (broker_id, broker_epoch) = self.broker_and_epoch();
        let directories = self.several(1, 2, |it| assign::DirectoryData {
            id: it.some_directory(broker_id),
            topics: it.several(1, 2, |it| assign::TopicData {
                topic_id: it.topic_id(),
                partitions: it.several(1, 2, |it| assign::PartitionData {
                    partition_index: it.partition_index(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        });
        AnyRequest::AssignReplicasToDirs(AssignReplicasToDirsRequest {
            broker_id,
            broker_epoch,
            directories,
            ..Default::default()
        })
    }
}
