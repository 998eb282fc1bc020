//! ElectLeaders: preferred and unclean elections asked for by an operator (KIP-183, KIP-460).

use crate::cluster_view::{ClusterView, TopicRules};
use crate::decide::refusal::{Refusal, code_and_text};
use crate::partition_change::{Election, PartitionChange};
use crate::{ControllerConfig, Draft, Env, MAX_RECORDS_PER_USER_OP, RequestContext};
use quorate_base::Uuid;
use quorate_metadata::{Image, Partition, Topic};
use quorate_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use quorate_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use quorate_protocol::records::PartitionChangeRecord;
use quorate_protocol::{ErrorCode, KStr};

/// `ElectionType` 0: the preferred replica, if it is in sync.
const PREFERRED: i8 = 0;
/// `ElectionType` 1: any live replica, even out of sync, where there is no leader.
const UNCLEAN: i8 = 1;

/// Elects leaders for the partitions named, or for all that need it if the request names none; then
/// those that need none are left out of the answer.
///
/// Errors: INVALID_REQUEST for an unknown election type, POLICY_VIOLATION for more elections than one
/// request may lead to; for a partition UNKNOWN_TOPIC_OR_PARTITION, ELECTION_NOT_NEEDED,
/// PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE.
pub fn elect_leaders(
    env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &ElectLeadersRequest,
) -> ElectLeadersResponse {
    let election = match request.election_type {
        PREFERRED => Election::Preferred,
        UNCLEAN => Election::Unclean,
        unknown => {
            let why = format!("Unknown election type {unknown}: 0 is preferred, 1 is unclean.");
            return refuse_all(request, &Refusal::new(ErrorCode::InvalidRequest, why));
        }
    };
    let before = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let results = match &request.topic_partitions {
        Some(_) => elect_named(env.config, draft, request, election, limit),
        None => elect_needed(env.config, draft, election, limit),
    };
    match results {
        Ok(replica_election_results) => {
            ElectLeadersResponse { replica_election_results, ..Default::default() }
        }
        Err(refusal) => {
            draft.rollback(before);
            refuse_all(request, &refusal)
        }
    }
}

fn elect_named(
    config: &ControllerConfig,
    draft: &mut Draft,
    request: &ElectLeadersRequest,
    election: Election,
    limit: usize,
) -> Result<Vec<ReplicaElectionResult>, Refusal> {
    let mut results = Vec::new();
    for asked in request.topic_partitions.iter().flatten() {
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for index in asked.partitions.iter().copied() {
            let outcome =
                find(draft.image(), &asked.topic, index).and_then(|(topic, partition)| {
                    decide(config, draft.image(), topic, partition, index, election)
                });
            if let Ok(record) = &outcome {
                push_within(draft, limit, record)?;
            }
            partitions.push(result(index, &outcome));
        }
        results.push(ReplicaElectionResult {
            topic: asked.topic.clone(),
            partition_result: partitions,
            ..Default::default()
        });
    }
    Ok(results)
}

fn elect_needed(
    config: &ControllerConfig,
    draft: &mut Draft,
    election: Election,
    limit: usize,
) -> Result<Vec<ReplicaElectionResult>, Refusal> {
    let image = draft.image().clone();
    let mut results = Vec::new();
    for topic in image.topics.iter_by_name() {
        let mut partitions = Vec::new();
        for (index, partition) in image.topics.partitions(topic.id) {
            let outcome = decide(config, &image, topic, partition, index, election);
            match &outcome {
                Err(refusal) if refusal.error == ErrorCode::ElectionNotNeeded => continue,
                Err(_) => {}
                Ok(record) => push_within(draft, limit, record)?,
            }
            partitions.push(result(index, &outcome));
        }
        // Kafka names topics of which nothing needs an election too.
        results.push(ReplicaElectionResult {
            topic: KStr::from(topic.name.as_str()),
            partition_result: partitions,
            ..Default::default()
        });
    }
    Ok(results)
}

fn push_within(
    draft: &mut Draft,
    limit: usize,
    record: &PartitionChangeRecord,
) -> Result<(), Refusal> {
    if draft.len() >= limit {
        return Err(Refusal::too_many_records());
    }
    draft.push(record.clone());
    Ok(())
}

fn find<'a>(
    image: &'a Image,
    name: &str,
    index: i32,
) -> Result<(&'a Topic, &'a Partition), Refusal> {
    let unknown = |what| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic =
        image.topics.by_name(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
    let partition = image.topics.partition(topic.id, index);
    let partition =
        partition.ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    Ok((topic, partition))
}

fn decide(
    config: &ControllerConfig,
    image: &Image,
    topic: &Topic,
    partition: &Partition,
    index: i32,
    election: Election,
) -> Result<PartitionChangeRecord, Refusal> {
    let not_needed = match election {
        Election::Preferred => partition.has_preferred_leader(),
        Election::Unclean | Election::Online => partition.leader().is_some(),
    };
    if not_needed {
        return Err(Refusal::plain(ErrorCode::ElectionNotNeeded));
    }
    let view = ClusterView::new(image, config);
    let rules = view.topic_rules(topic);
    elect(&view, partition, topic.id, index, rules, election).ok_or_else(|| {
        Refusal::plain(match election {
            Election::Preferred => ErrorCode::PreferredLeaderNotAvailable,
            Election::Unclean | Election::Online => ErrorCode::EligibleLeadersNotAvailable,
        })
    })
}

/// The election of one partition, as a record; `None` if it changes nothing.
pub(crate) fn elect(
    view: &ClusterView<'_>,
    partition: &Partition,
    topic: Uuid,
    index: i32,
    rules: TopicRules,
    election: Election,
) -> Option<PartitionChangeRecord> {
    view.with_surroundings(partition, rules, |around| {
        PartitionChange::new(partition, topic, index, around).election(election).build()
    })
}

fn result<T>(index: i32, outcome: &Result<T, Refusal>) -> PartitionResult {
    let (error_code, error_message) = code_and_text(outcome);
    PartitionResult { partition_id: index, error_code, error_message, ..Default::default() }
}

fn refuse_all(request: &ElectLeadersRequest, refusal: &Refusal) -> ElectLeadersResponse {
    let results = request.topic_partitions.iter().flatten().map(|asked| ReplicaElectionResult {
        topic: asked.topic.clone(),
        partition_result: asked
            .partitions
            .iter()
            .map(|index| result(*index, &Err::<(), _>(refusal.clone())))
            .collect(),
        ..Default::default()
    });
    ElectLeadersResponse {
        error_code: refusal.code(),
        replica_election_results: results.collect(),
        ..Default::default()
    }
}
