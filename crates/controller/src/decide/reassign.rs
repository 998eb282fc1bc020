//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455).

use crate::cluster_view::ClusterView;
use crate::decide::refusal::{Refusal, code_and_text};
use crate::partition_change::{Election, PartitionChange};
use crate::placement;
use crate::reassignment::{Reassignment, Revert};
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP, RequestContext};
use quorate_base::NodeId;
use quorate_metadata::{Image, Partition, Topic};
use quorate_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use quorate_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use quorate_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use quorate_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use quorate_protocol::records::PartitionChangeRecord;
use quorate_protocol::{ErrorCode, KStr};

/// Starts, replaces or (with no replicas named) cancels reassignments, each partition for itself.
///
/// Errors: POLICY_VIOLATION for more changes than one request may make; for a partition
/// UNKNOWN_TOPIC_OR_PARTITION, NO_REASSIGNMENT_IN_PROGRESS, INVALID_REPLICA_ASSIGNMENT,
/// INVALID_REPLICATION_FACTOR (version 1, unless a change of it is allowed).
pub fn alter_partition_reassignments(
    env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let before = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let view = ClusterView::new(draft.image(), env.config);
            let allow = request.allow_replication_factor_change;
            let outcome = alter(&view, &topic.name, asked, allow);
            partitions.push(result(asked.partition_index, &outcome));
            if let Ok(Some(record)) = outcome {
                if draft.len() >= limit {
                    draft.rollback(before);
                    return refuse_all(request, &Refusal::too_many_records());
                }
                draft.push(record);
            }
        }
        let name = topic.name.clone();
        responses.push(ReassignableTopicResponse { name, partitions, ..Default::default() });
    }
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses,
        ..Default::default()
    }
}

fn alter(
    view: &ClusterView<'_>,
    name: &str,
    asked: &ReassignablePartition,
    allow_replication_factor_change: bool,
) -> Result<Option<PartitionChangeRecord>, Refusal> {
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let index = asked.partition_index;
    let topics = &view.image().topics;
    let topic = topics.by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let partition = topics.partition(topic.id, index);
    let partition =
        partition.ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    match &asked.replicas {
        None => cancel(view, topic, index, partition),
        Some(target) => {
            placement::validate_manual(view, target, None)?;
            if !allow_replication_factor_change {
                validate_same_factor(partition, target)?;
            }
            Ok(change(view, topic, index, partition, target))
        }
    }
}

fn cancel(
    view: &ClusterView<'_>,
    topic: &Topic,
    index: i32,
    partition: &Partition,
) -> Result<Option<PartitionChangeRecord>, Refusal> {
    if !partition.is_reassigning() {
        return Err(Refusal::silent(ErrorCode::NoReassignmentInProgress));
    }
    let rules = view.topic_rules(topic);
    let revert = Revert::of(partition);
    if revert.replicas.is_empty() {
        let why = format!(
            "Unable to revert the reassignment of {}:{index}: all its replicas are being added.",
            topic.name
        );
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    }
    if revert.unclean && !rules.unclean_election {
        let why = format!(
            "Unable to revert the reassignment of {}:{index}: none of its former replicas is in sync, \
             and the topic does not allow an unclean leader election.",
            topic.name
        );
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    }
    Ok(view.with_surroundings(partition, rules, |around| {
        let change = PartitionChange::new(partition, topic.id, index, around);
        let change = match revert.unclean {
            true => change.election(Election::Unclean),
            false => change,
        };
        change.isr(revert.isr).replicas(revert.replicas).removing(vec![]).adding(vec![]).build()
    }))
}

fn change(
    view: &ClusterView<'_>,
    topic: &Topic,
    index: i32,
    partition: &Partition,
    target: &[NodeId],
) -> Option<PartitionChangeRecord> {
    let reassignment = Reassignment::of(partition, target);
    view.with_surroundings(partition, view.topic_rules(topic), |around| {
        PartitionChange::new(partition, topic.id, index, around)
            .replicas(reassignment.replicas)
            .removing(reassignment.removing)
            .adding(reassignment.adding)
            .build()
    })
}

/// The replication factor is that of the replicas which stay.
fn validate_same_factor(partition: &Partition, target: &[NodeId]) -> Result<(), Refusal> {
    let is_leaving = |it: &&NodeId| partition.removing().contains(it);
    let current = partition.replicas().iter().filter(|it| !is_leaving(it)).count();
    if current == target.len() {
        return Ok(());
    }
    let why = format!(
        "The replication factor would change from {current} to {}, which the request does not allow.",
        target.len()
    );
    Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why))
}

fn result<T>(index: i32, outcome: &Result<T, Refusal>) -> ReassignablePartitionResponse {
    let (error_code, error_message) = code_and_text(outcome);
    ReassignablePartitionResponse {
        partition_index: index,
        error_code,
        error_message,
        ..Default::default()
    }
}

fn refuse_all(
    request: &AlterPartitionReassignmentsRequest,
    refusal: &Refusal,
) -> AlterPartitionReassignmentsResponse {
    let refused = Err::<(), _>(refusal.clone());
    let responses = request.topics.iter().map(|topic| ReassignableTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|it| result(it.partition_index, &refused))
            .collect(),
        ..Default::default()
    });
    AlterPartitionReassignmentsResponse {
        error_code: refusal.code(),
        error_message: refusal.text(),
        responses: responses.collect(),
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..Default::default()
    }
}

/// The reassignments in progress: of the partitions named, or all.
pub fn list_partition_reassignments(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let mut topics = Vec::new();
    match &request.topics {
        Some(asked) => {
            for it in asked {
                let Some(topic) = image.topics.by_name(&it.name) else { continue };
                list_topic(image, topic, it.partition_indexes.iter().copied(), &mut topics);
            }
        }
        None => {
            let mut current: Vec<(quorate_base::Uuid, i32)> = image.topics.reassigning().collect();
            current.sort_unstable();
            for of_topic in current.chunk_by(|a, b| a.0 == b.0) {
                let topic = image.topics.by_id(of_topic[0].0);
                let topic = topic.expect("an indexed partition has a topic");
                list_topic(image, topic, of_topic.iter().map(|it| it.1), &mut topics);
            }
        }
    }
    ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() }
}

fn list_topic(
    image: &Image,
    topic: &Topic,
    indices: impl Iterator<Item = i32>,
    topics: &mut Vec<OngoingTopicReassignment>,
) {
    let partitions: Vec<OngoingPartitionReassignment> = indices
        .filter_map(|index| {
            let partition = image.topics.partition(topic.id, index)?;
            partition.is_reassigning().then(|| OngoingPartitionReassignment {
                partition_index: index,
                replicas: partition.replicas().to_vec(),
                adding_replicas: partition.adding().to_vec(),
                removing_replicas: partition.removing().to_vec(),
                ..Default::default()
            })
        })
        .collect();
    if !partitions.is_empty() {
        let name = KStr::from(topic.name.as_str());
        topics.push(OngoingTopicReassignment { name, partitions, ..Default::default() });
    }
}
