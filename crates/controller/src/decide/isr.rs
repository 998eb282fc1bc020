//! AlterPartition: the leader of a partition changes its ISR or recovery state (KIP-497, 704, 841,
//! 903).

use crate::cluster_view::ClusterView;
use crate::partition_change::{Election, NO_LEADER_CHANGE, PartitionChange, leader_id};
use crate::{Draft, Env, RequestContext};
use quorate_base::NodeId;
use quorate_metadata::{Partition, RecoveryState, Topic};
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::alter_partition_request::{BrokerState, PartitionData as Asked};
use quorate_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use quorate_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};

/// First version in which each member of the new ISR comes with its broker epoch.
const FIRST_VERSION_WITH_EPOCHS: i16 = 3;

/// Applies what leaders ask for, each partition for itself.
///
/// Errors: STALE_BROKER_EPOCH for the request; for a partition, in this order, UNKNOWN_TOPIC_ID,
/// UNKNOWN_TOPIC_OR_PARTITION, NOT_CONTROLLER (the leader knows more than this controller),
/// FENCED_LEADER_EPOCH, INVALID_REQUEST, INVALID_UPDATE_VERSION, INELIGIBLE_REPLICA, and
/// NEW_LEADER_ELECTED where the change is made and ends the asker's leadership.
pub fn alter_partition(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &AlterPartitionRequest,
) -> AlterPartitionResponse {
    if request.topics.is_empty() {
        return AlterPartitionResponse::default();
    }
    let registration = draft.image().cluster.broker(request.broker_id);
    if registration.is_none_or(|it| it.epoch != request.broker_epoch) {
        return AlterPartitionResponse {
            error_code: ErrorCode::StaleBrokerEpoch.code(),
            ..Default::default()
        };
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = draft.image().topics.by_id(asked.topic_id).cloned();
        let partitions = asked
            .partitions
            .iter()
            .map(|partition| {
                let outcome = match &topic {
                    None => Err(ErrorCode::UnknownTopicId),
                    Some(topic) => alter(env, draft, context, request.broker_id, topic, partition),
                };
                outcome.unwrap_or_else(|error| PartitionData {
                    partition_index: partition.partition_index,
                    error_code: error.code(),
                    ..Default::default()
                })
            })
            .collect();
        topics.push(TopicData { topic_id: asked.topic_id, partitions, ..Default::default() });
    }
    AlterPartitionResponse { topics, ..Default::default() }
}

fn alter(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    broker: NodeId,
    topic: &Topic,
    asked: &Asked,
) -> Result<PartitionData, ErrorCode> {
    let index = asked.partition_index;
    let isr = new_isr(context, asked);
    let view = ClusterView::new(draft.image(), env.config);
    let partition = draft.image().topics.partition(topic.id, index);
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let recovery = validate(&view, broker, partition, asked, &isr)?;
    let rules = view.topic_rules(topic);
    let record = view.with_surroundings(partition, rules, |around| {
        let mut change = PartitionChange::new(partition, topic.id, index, around)
            .isr(isr.iter().map(|it| it.broker_id).collect())
            .recovery(recovery);
        if rules.unclean_election {
            change = change.election(Election::Unclean);
        }
        change.build()
    });
    if let Some(record) = record {
        let leader = record.leader;
        draft.push(record);
        // A leader does not depose itself; but its ISR change may finish a reassignment that does.
        if leader != NO_LEADER_CHANGE && leader != broker {
            return Err(ErrorCode::NewLeaderElected);
        }
    }
    let partition = draft.image().topics.partition(topic.id, index).expect("it was there before");
    Ok(PartitionData {
        partition_index: index,
        error_code: ErrorCode::None.code(),
        leader_id: leader_id(partition),
        leader_epoch: partition.leader_epoch(),
        isr: partition.isr().to_vec(),
        leader_recovery_state: partition.leader_recovery_state().number(),
        partition_epoch: partition.partition_epoch(),
        ..Default::default()
    })
}

fn new_isr(context: &RequestContext, asked: &Asked) -> Vec<BrokerState> {
    if context.api_version >= FIRST_VERSION_WITH_EPOCHS {
        return asked.new_isr_with_epochs.clone();
    }
    let without_epoch = |id: &NodeId| BrokerState { broker_id: *id, ..Default::default() };
    asked.new_isr.iter().map(without_epoch).collect()
}

fn validate(
    view: &ClusterView<'_>,
    broker: NodeId,
    partition: &Partition,
    asked: &Asked,
    isr: &[BrokerState],
) -> Result<RecoveryState, ErrorCode> {
    // A leader that knows of later epochs than this controller has heard from a newer controller.
    if asked.leader_epoch > partition.leader_epoch()
        || asked.partition_epoch > partition.partition_epoch()
    {
        return Err(ErrorCode::NotController);
    }
    if asked.leader_epoch < partition.leader_epoch() {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader() != Some(broker) {
        return Err(ErrorCode::InvalidRequest);
    }
    if asked.partition_epoch < partition.partition_epoch() {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let ids: Vec<NodeId> = isr.iter().map(|it| it.broker_id).collect();
    if !is_valid_isr(partition.replicas(), &ids) || !ids.contains(&broker) {
        return Err(ErrorCode::InvalidRequest);
    }
    let recovery = RecoveryState::from_i8(asked.leader_recovery_state);
    let recovery = recovery.ok_or(ErrorCode::InvalidRequest)?;
    if recovery == RecoveryState::Recovering
        && (ids.len() > 1 || partition.leader_recovery_state() == RecoveryState::Recovered)
    {
        return Err(ErrorCode::InvalidRequest);
    }
    if isr.iter().any(|member| !may_join(view, member)) {
        return Err(ErrorCode::IneligibleReplica);
    }
    Ok(recovery)
}

/// No member twice, each a replica.
fn is_valid_isr(replicas: &[NodeId], isr: &[NodeId]) -> bool {
    isr.iter().enumerate().all(|(i, id)| replicas.contains(id) && !isr[..i].contains(id))
}

/// Only live brokers may be in an ISR (KIP-841), and only in the incarnation the leader spoke with
/// (KIP-903); an epoch of -1 says nothing.
fn may_join(view: &ClusterView<'_>, member: &BrokerState) -> bool {
    let registration = view.image().cluster.broker(member.broker_id);
    registration.is_some_and(|it| {
        it.is_active() && (member.broker_epoch == -1 || it.epoch == member.broker_epoch)
    })
}
