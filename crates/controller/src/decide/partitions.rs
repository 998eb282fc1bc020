//! CreatePartitions: more partitions for topics that exist (KIP-195).

use crate::cluster_view::ClusterView;
use crate::decide::names::without_duplicates;
use crate::decide::refusal::{Refusal, code_and_text};
use crate::mutation_quota::MutationLimit;
use crate::new_partitions::{self, MAX_PARTITIONS_PER_REQUEST};
use crate::placement;
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP, Operation, RequestContext, Resource};
use quorate_base::NodeId;
use quorate_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use quorate_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use quorate_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};

/// Adds partitions to each topic named, all or nothing for a topic.
///
/// Errors: POLICY_VIOLATION for more than 10,000 new partitions; for a topic INVALID_REQUEST (named
/// twice), TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS,
/// INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR.
pub fn create_partitions(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    create_partitions_within(env, draft, context, request, &mut MutationLimit::none())
}

/// As [`create_partitions`], for a client whose rate of changes is limited: then also
/// THROTTLING_QUOTA_EXCEEDED, before the assignment is looked at.
pub fn create_partitions_within(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &CreatePartitionsRequest,
    mutations: &mut MutationLimit<'_>,
) -> CreatePartitionsResponse {
    let before = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let (unique, duplicates) = without_duplicates(request.topics.iter().map(|it| &it.name));
    let mut results: Vec<CreatePartitionsTopicResult> = duplicates
        .iter()
        .map(|name| {
            let why = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            result(name, &Err::<(), _>(why))
        })
        .collect();
    let mut allowed = Vec::new();
    for topic in request.topics.iter().filter(|it| unique.contains(it.name.as_str())) {
        let resource = Resource::Topic(&topic.name);
        if env.authorize(draft.image(), context, Operation::Alter, resource) {
            allowed.push(topic);
        } else {
            results.push(CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: ErrorCode::TopicAuthorizationFailed.code(),
                ..Default::default()
            });
        }
    }
    if exceeds_limit(draft, &allowed) {
        return refuse_all(request, &new_partitions::too_many_partitions());
    }
    for topic in allowed {
        let outcome = create(env, draft, topic, mutations);
        results.push(result(&topic.name, &outcome));
        for record in outcome.into_iter().flatten() {
            draft.push(record);
        }
    }
    if draft.len() > limit {
        draft.rollback(before);
        return refuse_all(request, &Refusal::too_many_records());
    }
    if request.validate_only {
        draft.rollback(before);
    }
    let throttle_time_ms = mutations.throttle_time_ms();
    CreatePartitionsResponse { results, throttle_time_ms, ..Default::default() }
}

fn exceeds_limit(draft: &Draft, topics: &[&CreatePartitionsTopic]) -> bool {
    let additional = |it: &&CreatePartitionsTopic| {
        let topic = draft.image().topics.by_name(&it.name)?;
        Some((i64::from(it.count) - i64::from(topic.partition_count)).max(0))
    };
    topics.iter().filter_map(additional).sum::<i64>() > MAX_PARTITIONS_PER_REQUEST
}

fn create(
    env: &mut Env<'_>,
    draft: &Draft,
    asked: &CreatePartitionsTopic,
    mutations: &mut MutationLimit<'_>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let view = ClusterView::new(draft.image(), env.config);
    let topic = draft.image().topics.by_name(&asked.name);
    let topic = topic.ok_or_else(|| Refusal::silent(ErrorCode::UnknownTopicOrPartition))?;
    let have = topic.partition_count;
    if asked.count <= have {
        let why = match asked.count == have {
            true => format!("Topic already has {have} partition(s)."),
            false => format!(
                "The topic {} currently has {have} partition(s); {} would not be an increase.",
                asked.name, asked.count
            ),
        };
        return Err(Refusal::new(ErrorCode::InvalidPartitions, why));
    }
    let additional = asked.count - have;
    mutations.record(additional as usize)?;
    let first = draft.image().topics.partition(topic.id, 0);
    let replication_factor = first.map_or(0, |it| it.replicas().len());
    let placed: Vec<Vec<NodeId>> = match &asked.assignments {
        Some(assignments) => {
            if assignments.len() != additional as usize {
                let why = format!(
                    "{additional} partition(s) are to be added, but {} assignment(s) were given.",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
            }
            for (i, assignment) in (have..).zip(assignments) {
                let replicas = &assignment.broker_ids;
                placement::validate_manual(&view, replicas, Some(replication_factor))?;
                if new_partitions::initial_isr(&view, replicas).is_empty() {
                    return Err(new_partitions::nobody_live_of_manual(i));
                }
            }
            assignments.iter().map(|it| it.broker_ids.clone()).collect()
        }
        None => placement::place(
            &placement::usable_brokers(&view),
            additional as usize,
            replication_factor as i16,
            env.prng,
        )?,
    };
    let mut records = Vec::with_capacity(placed.len());
    for (index, replicas) in (have..).zip(placed) {
        let isr = new_partitions::initial_isr(&view, &replicas);
        if isr.is_empty() {
            return Err(new_partitions::nobody_live(replication_factor as i16));
        }
        records.push(new_partitions::record(&view, topic.id, index, replicas, isr));
    }
    Ok(records)
}

fn result<T>(name: &KStr, outcome: &Result<T, Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = code_and_text(outcome);
    let name = name.clone();
    CreatePartitionsTopicResult { name, error_code, error_message, ..Default::default() }
}

fn refuse_all(request: &CreatePartitionsRequest, refusal: &Refusal) -> CreatePartitionsResponse {
    let refused = |it: &CreatePartitionsTopic| result(&it.name, &Err::<(), _>(refusal.clone()));
    CreatePartitionsResponse {
        results: request.topics.iter().map(refused).collect(),
        ..Default::default()
    }
}
