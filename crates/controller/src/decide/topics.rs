//! CreateTopics and DeleteTopics.

use crate::cluster_view::ClusterView;
use crate::decide::configs;
use crate::decide::effective_configs::effective_new_topic_configs;
use crate::decide::names::without_duplicates;
use crate::decide::refusal::{Refusal, code_and_text};
use crate::mutation_quota::MutationLimit;
use crate::new_partitions::{self, MAX_PARTITIONS_PER_REQUEST};
use crate::placement;
use crate::topic_names::{self, METADATA_TOPIC};
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP, Operation, RequestContext, Resource};
use quorate_base::{NodeId, Uuid};
use quorate_metadata::{Image, Str};
use quorate_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use quorate_protocol::messages::create_topics_response::CreatableTopicResult;
use quorate_protocol::messages::delete_topics_response::DeletableTopicResult;
use quorate_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use quorate_protocol::records::{ClearElrRecord, RemoveTopicRecord, TopicRecord};
use quorate_protocol::{ErrorCode, KStr};
use std::collections::{BTreeMap, BTreeSet};

/// First version of DeleteTopics that knows the error TOPIC_DELETION_DISABLED.
const FIRST_VERSION_WITH_DELETION_DISABLED: i16 = 3;

/// Creates topics, each whole or not at all.
///
/// Errors: POLICY_VIOLATION for more than 10,000 partitions or records in one request; for a topic, in
/// this order, INVALID_REQUEST (named twice, or the metadata log's name), TOPIC_AUTHORIZATION_FAILED,
/// TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION, INVALID_CONFIG, and for its partitions
/// INVALID_REQUEST, INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR, INVALID_PARTITIONS.
pub fn create_topics(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &CreateTopicsRequest,
) -> CreateTopicsResponse {
    create_topics_within(env, draft, context, request, &mut MutationLimit::none())
}

/// As [`create_topics`], for a client whose rate of changes is limited: THROTTLING_QUOTA_EXCEEDED is the last
/// error looked for.
pub fn create_topics_within(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &CreateTopicsRequest,
    mutations: &mut MutationLimit<'_>,
) -> CreateTopicsResponse {
    let (unique, duplicates) = without_duplicates(request.topics.iter().map(|it| &it.name));
    let may = |it| env.authorize(draft.image(), context, Operation::Create, it);
    let everywhere = may(Resource::Cluster);
    let mut allowed: BTreeSet<&str> = unique.clone();
    allowed.retain(|it| *it != METADATA_TOPIC && (everywhere || may(Resource::Topic(it))));
    let wanted: Vec<&CreatableTopic> =
        request.topics.iter().filter(|it| allowed.contains(it.name.as_str())).collect();
    if partitions_wanted(env, &wanted) > MAX_PARTITIONS_PER_REQUEST {
        return refuse_all(request, &new_partitions::too_many_partitions());
    }

    let before = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let existing = draft.image().clone();
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &wanted {
        let before_topic = draft.checkpoint();
        let created = check_name(&existing, &topic.name)
            .and_then(|()| create(env, draft, context, topic, mutations));
        if draft.len() > limit {
            draft.rollback(before);
            return refuse_all(request, &Refusal::too_many_records());
        }
        results.push(created.unwrap_or_else(|refusal| {
            draft.rollback(before_topic);
            refused(&topic.name, &refusal)
        }));
    }
    if request.validate_only {
        draft.rollback(before);
    }
    let duplicate = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
    results.extend(duplicates.iter().map(|name| refused(name, &duplicate)));
    results.extend(unique.iter().filter(|it| !allowed.contains(*it)).map(|name| {
        let why = match *name {
            METADATA_TOPIC => Refusal::new(
                ErrorCode::InvalidRequest,
                format!("{METADATA_TOPIC} is the cluster's own log; it cannot be created."),
            ),
            _ => Refusal::new(ErrorCode::TopicAuthorizationFailed, "Authorization failed."),
        };
        refused(&KStr::from(*name), &why)
    }));
    let throttle_time_ms = mutations.throttle_time_ms();
    CreateTopicsResponse { topics: results, throttle_time_ms, ..Default::default() }
}

fn partitions_wanted(env: &Env<'_>, topics: &[&CreatableTopic]) -> i64 {
    let of_topic = |it: &&CreatableTopic| match (it.assignments.len(), it.num_partitions) {
        (0, -1) => i64::from(env.config.num_partitions),
        (0, count) => i64::from(count.max(0)),
        (assigned, _) => assigned as i64,
    };
    topics.iter().map(of_topic).sum()
}

/// Why this is no name for a topic, if it is none.
pub fn validate_name(name: &str) -> Result<(), String> {
    topic_names::validate(name)
}

fn check_name(existing: &Image, name: &str) -> Result<(), Refusal> {
    if existing.topics.by_name(name).is_some() {
        let why = format!("Topic '{name}' already exists.");
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, why));
    }
    topic_names::validate(name)
        .map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
    match topic_names::colliding(&existing.topics, name) {
        None => Ok(()),
        Some(other) => {
            let why = format!("Topic '{name}' collides with existing topic: {}", other.name);
            Err(Refusal::new(ErrorCode::InvalidTopicException, why))
        }
    }
}

/// Pushes a topic, its settings and its partitions; the caller undoes that if it is refused.
fn create(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    topic: &CreatableTopic,
    mutations: &mut MutationLimit<'_>,
) -> Result<CreatableTopicResult, Refusal> {
    let topic_id = new_topic_id(env, draft.image());
    let name = topic.name.detached();
    draft.push(TopicRecord { name: name.clone(), topic_id, ..Default::default() });
    set_configs(env, draft, topic)?;
    let placed = match topic.assignments.is_empty() {
        true => place(env, draft, topic)?,
        false => place_by_hand(env, draft, topic)?,
    };
    mutations.record(placed.len())?;
    let mut result =
        CreatableTopicResult { name, topic_id, error_message: None, ..Default::default() };
    let resource = Resource::Topic(&topic.name);
    if env.authorize(draft.image(), context, Operation::DescribeConfigs, resource) {
        result.num_partitions = placed.len() as i32;
        result.replication_factor = placed[0].0.len() as i16;
        let configs = topic.configs.iter();
        let settings =
            configs.filter_map(|it| Some((it.name.as_str(), it.value.as_deref()?))).collect();
        result.configs = Some(effective_new_topic_configs(env, draft.image(), &settings));
    } else {
        result.topic_config_error_code = ErrorCode::TopicAuthorizationFailed.code();
    }
    for (index, (replicas, isr)) in (0..).zip(placed) {
        let view = ClusterView::new(draft.image(), env.config);
        let record = new_partitions::record(&view, topic_id, index, replicas, isr);
        draft.push(record);
    }
    Ok(result)
}

fn set_configs(env: &Env<'_>, draft: &mut Draft, topic: &CreatableTopic) -> Result<(), Refusal> {
    let is_null = |it: &&CreatableTopicConfig| it.value.is_none();
    let nulls: Vec<&str> =
        topic.configs.iter().filter(is_null).map(|it| it.name.as_str()).collect();
    if !nulls.is_empty() {
        let why = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(Refusal::new(ErrorCode::InvalidConfig, why));
    }
    if topic.configs.is_empty() {
        return Ok(());
    }
    let settings: Vec<(Str, Option<Str>)> = topic
        .configs
        .iter()
        .map(|it| (Str::from(&it.name), it.value.as_ref().map(Str::from)))
        .collect();
    configs::set_new_topic_configs(env, draft, &topic.name, &settings)?;
    // A new topic has no ELR to clear; Kafka's controller says so all the same.
    let sets_min_isr = settings.iter().any(|(name, _)| &**name == configs::MIN_INSYNC_REPLICAS);
    if sets_min_isr && draft.image().features.elr_enabled() {
        draft.push(ClearElrRecord { topic_name: topic.name.detached(), ..Default::default() });
    }
    Ok(())
}

/// Replicas and ISR of each partition.
type Placed = Vec<(Vec<NodeId>, Vec<NodeId>)>;

fn place(env: &mut Env<'_>, draft: &Draft, topic: &CreatableTopic) -> Result<Placed, Refusal> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions must be larger than 0, or -1 to use the default value.",
        ));
    }
    let or_default = |given, default| if given == -1 { default } else { given };
    let partitions = or_default(topic.num_partitions, env.config.num_partitions);
    let factor = match topic.replication_factor {
        -1 => env.config.default_replication_factor,
        given => given,
    };
    let view = ClusterView::new(draft.image(), env.config);
    let brokers = placement::usable_brokers(&view);
    let placed = placement::place(&brokers, partitions.max(0) as usize, factor, env.prng)?;
    placed
        .into_iter()
        .map(|replicas| match new_partitions::initial_isr(&view, &replicas) {
            isr if isr.is_empty() => Err(new_partitions::nobody_live(factor)),
            isr => Ok((replicas, isr)),
        })
        .collect()
}

fn place_by_hand(
    env: &mut Env<'_>,
    draft: &Draft,
    topic: &CreatableTopic,
) -> Result<Placed, Refusal> {
    let given_too = |what: &str| {
        let why =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(Refusal::new(ErrorCode::InvalidRequest, why))
    };
    if topic.replication_factor != -1 {
        return given_too("replication factor");
    }
    if topic.num_partitions != -1 {
        return given_too("numPartitions");
    }
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    let view = ClusterView::new(draft.image(), env.config);
    let mut placed = BTreeMap::new();
    let mut factor = None;
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if placed.contains_key(&index) {
            return refuse(format!(
                "Found multiple manual partition assignments for partition {index}"
            ));
        }
        let replicas = &assignment.broker_ids;
        placement::validate_manual(&view, replicas, factor)?;
        factor = Some(replicas.len());
        let isr = new_partitions::initial_isr(&view, replicas);
        if isr.is_empty() {
            return Err(new_partitions::nobody_live_of_manual(index));
        }
        placed.insert(index, (replicas.clone(), isr));
    }
    if placed.keys().copied().ne(0..placed.len() as i32) {
        return refuse("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    Ok(placed.into_values().collect())
}

fn new_topic_id(env: &mut Env<'_>, image: &Image) -> Uuid {
    loop {
        let id = Uuid::random(env.prng);
        if image.topics.by_id(id).is_none() {
            return id;
        }
    }
}

fn refused(name: &KStr, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: refusal.code(),
        error_message: refusal.text(),
        ..Default::default()
    }
}

fn refuse_all(request: &CreateTopicsRequest, refusal: &Refusal) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|it| refused(&it.name, refusal)).collect();
    CreateTopicsResponse { topics, ..Default::default() }
}

/// Deletes topics by name or id.
///
/// Errors: TOPIC_DELETION_DISABLED (INVALID_REQUEST below version 3) for all where the node's
/// `delete.topic.enable` is false; for a topic INVALID_REQUEST (named twice, or by name and id at
/// once), UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, TOPIC_AUTHORIZATION_FAILED. Topics that may
/// not be described look as if they did not exist.
pub fn delete_topics(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    delete_topics_within(env, draft, context, request, &mut MutationLimit::none())
}

/// As [`delete_topics`], for a client whose rate of changes is limited: then also
/// THROTTLING_QUOTA_EXCEEDED.
pub fn delete_topics_within(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &DeleteTopicsRequest,
    mutations: &mut MutationLimit<'_>,
) -> DeleteTopicsResponse {
    if env
        .config
        .static_settings
        .get("delete.topic.enable")
        .is_some_and(|it| it.trim().eq_ignore_ascii_case("false"))
    {
        return deletion_disabled(context, request);
    }
    let before = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let mut answers = Vec::new();
    let asked = what_to_delete(request, &mut answers);
    let mut chosen: BTreeMap<Uuid, KStr> = BTreeMap::new();
    for id in &asked.ids {
        match find_deletable_by_id(env, draft.image(), context, *id) {
            Ok(name) => {
                chosen.insert(*id, name);
            }
            Err((name, refusal)) => answers.push(answer(name.as_ref(), *id, &Err(refusal))),
        }
    }
    let mut twice = asked.ids_given_twice;
    for name in &asked.names {
        match find_deletable_by_name(env, draft.image(), context, name) {
            Err(refusal) => answers.push(answer(Some(name), Uuid::ZERO, &Err(refusal))),
            Ok(id) if twice.contains(&id) || chosen.contains_key(&id) => {
                chosen.remove(&id);
                twice.insert(id);
                let why = "The provided topic name maps to an ID that was already supplied.";
                let refusal = Refusal::new(ErrorCode::InvalidRequest, why);
                answers.push(answer(Some(name), id, &Err(refusal)));
            }
            Ok(id) => {
                chosen.insert(id, name.clone());
            }
        }
    }
    for (topic_id, name) in &chosen {
        if draft.len() >= limit {
            draft.rollback(before);
            return refuse_deletion(request, &Refusal::too_many_records());
        }
        let topic = draft.image().topics.by_id(*topic_id);
        let partitions = topic.map_or(0, |it| it.partition_count.max(0) as usize);
        let outcome = mutations.record(partitions);
        if outcome.is_ok() {
            draft.push(RemoveTopicRecord { topic_id: *topic_id, ..Default::default() });
        }
        answers.push(answer(Some(name), *topic_id, &outcome));
    }
    let throttle_time_ms = mutations.throttle_time_ms();
    DeleteTopicsResponse { responses: answers, throttle_time_ms, ..Default::default() }
}

struct ToDelete {
    names: BTreeSet<KStr>,
    ids: BTreeSet<Uuid>,
    ids_given_twice: BTreeSet<Uuid>,
}

/// Sorts out what the request names properly; the rest is answered.
fn what_to_delete(
    request: &DeleteTopicsRequest,
    answers: &mut Vec<DeletableTopicResult>,
) -> ToDelete {
    let refuse = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let mut names: Vec<&KStr> = request.topic_names.iter().collect();
    let (mut ids, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for topic in &request.topics {
        match (&topic.name, topic.topic_id) {
            (None, Uuid::ZERO) => {
                let outcome = refuse("Neither topic name nor id were specified.");
                answers.push(answer(None, Uuid::ZERO, &outcome));
            }
            (None, id) => {
                if twice.contains(&id) || !ids.insert(id) {
                    ids.remove(&id);
                    twice.insert(id);
                }
            }
            (Some(name), Uuid::ZERO) => names.push(name),
            (Some(name), id) => {
                let outcome = refuse("You may not specify both topic name and topic id.");
                answers.push(answer(Some(name), id, &outcome));
            }
        }
    }
    let (unique, duplicates) = without_duplicates(names.into_iter());
    for name in duplicates {
        answers.push(answer(Some(name), Uuid::ZERO, &refuse("Duplicate topic name.")));
    }
    for id in &twice {
        answers.push(answer(None, *id, &refuse("Duplicate topic id.")));
    }
    let names = unique.into_iter().map(KStr::from).collect();
    ToDelete { names, ids, ids_given_twice: twice }
}

/// A refusal has the topic's name if whoever asks may know it.
fn find_deletable_by_id(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    id: Uuid,
) -> Result<KStr, (Option<KStr>, Refusal)> {
    let Some(topic) = image.topics.by_id(id) else {
        return Err((None, Refusal::plain(ErrorCode::UnknownTopicId)));
    };
    let name = KStr::from(topic.name.as_str());
    let may = |operation| env.authorize(image, context, operation, Resource::Topic(&topic.name));
    if !may(Operation::Delete) {
        let shown = may(Operation::Describe).then_some(name);
        return Err((shown, Refusal::plain(ErrorCode::TopicAuthorizationFailed)));
    }
    Ok(name)
}

fn find_deletable_by_name(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    name: &str,
) -> Result<Uuid, Refusal> {
    let may = |operation| env.authorize(image, context, operation, Resource::Topic(name));
    if !may(Operation::Describe) {
        return Err(Refusal::plain(ErrorCode::TopicAuthorizationFailed));
    }
    let topic = image.topics.by_name(name);
    let topic = topic.ok_or_else(|| Refusal::plain(ErrorCode::UnknownTopicOrPartition))?;
    if !may(Operation::Delete) {
        return Err(Refusal::plain(ErrorCode::TopicAuthorizationFailed));
    }
    Ok(topic.id)
}

fn deletion_disabled(
    context: &RequestContext,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let error = match context.api_version < FIRST_VERSION_WITH_DELETION_DISABLED {
        true => ErrorCode::InvalidRequest,
        false => ErrorCode::TopicDeletionDisabled,
    };
    refuse_deletion(request, &Refusal::plain(error))
}

fn refuse_deletion(request: &DeleteTopicsRequest, refusal: &Refusal) -> DeleteTopicsResponse {
    let refused = Err(refusal.clone());
    let by_name = request.topic_names.iter().map(|it| answer(Some(it), Uuid::ZERO, &refused));
    let by_state = request.topics.iter().map(|it| answer(it.name.as_ref(), it.topic_id, &refused));
    DeleteTopicsResponse { responses: by_name.chain(by_state).collect(), ..Default::default() }
}

fn answer(
    name: Option<&KStr>,
    topic_id: Uuid,
    outcome: &Result<(), Refusal>,
) -> DeletableTopicResult {
    let (error_code, error_message) = code_and_text(outcome);
    let name = name.cloned();
    DeletableTopicResult { name, topic_id, error_code, error_message, ..Default::default() }
}
