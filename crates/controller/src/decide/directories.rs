//! AssignReplicasToDirs: a broker says in which of its directories replicas lie (KIP-858).

use crate::cluster_view::{ClusterView, RulesCache, directory_is_online, push_all};
use crate::decide::broker_changes;
use crate::partition_change::PartitionChange;
use crate::{Draft, Env, RequestContext};
use quorate_base::Uuid;
use quorate_metadata::Image;
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::assign_replicas_to_dirs_response::{
    DirectoryData, PartitionData, TopicData,
};
use quorate_protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use std::collections::BTreeSet;

/// Records the directories; replicas assigned to a directory that is offline leave their ISRs.
///
/// Errors: UNSUPPORTED_VERSION below metadata.version 3.7-IV2 and STALE_BROKER_EPOCH for the request;
/// for a partition UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER.
pub fn assign_replicas_to_dirs(
    env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &AssignReplicasToDirsRequest,
) -> AssignReplicasToDirsResponse {
    let refuse = |error: ErrorCode| AssignReplicasToDirsResponse {
        error_code: error.code(),
        ..Default::default()
    };
    if !draft.image().features.metadata_version().supports_directories() {
        return refuse(ErrorCode::UnsupportedVersion);
    }
    let broker = request.broker_id;
    let online = match draft.image().cluster.broker(broker) {
        Some(it) if it.epoch == request.broker_epoch => it.directories.clone(),
        _ => return refuse(ErrorCode::StaleBrokerEpoch),
    };
    // All changes are decided over the image as it is now, as in Kafka.
    let image = draft.image().clone();
    let mut changes = Vec::new();
    let mut offline = BTreeSet::new();
    let mut directories = Vec::with_capacity(request.directories.len());
    {
        let view = ClusterView::new(&image, env.config);
        let mut rules = RulesCache::new(&view);
        for asked in &request.directories {
            let is_offline = !directory_is_online(asked.id, &online);
            let mut topics = Vec::with_capacity(asked.topics.len());
            for topic in &asked.topics {
                let mut partitions = Vec::with_capacity(topic.partitions.len());
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    let outcome = check(&image, broker, topic.topic_id, index);
                    if outcome == ErrorCode::None {
                        let known = image.topics.partition(topic.topic_id, index);
                        let known = known.expect("it was just found");
                        let rules = rules.rules(topic.topic_id);
                        changes.extend(view.with_surroundings(known, rules, |around| {
                            PartitionChange::new(known, topic.topic_id, index, around)
                                .directory(broker, asked.id)
                                .build()
                        }));
                        if is_offline {
                            offline.insert((topic.topic_id, index));
                        }
                    }
                    partitions.push(PartitionData {
                        partition_index: index,
                        error_code: outcome.code(),
                        ..Default::default()
                    });
                }
                let topic_id = topic.topic_id;
                topics.push(TopicData { topic_id, partitions, ..Default::default() });
            }
            directories.push(DirectoryData { id: asked.id, topics, ..Default::default() });
        }
    }
    push_all(draft, changes);
    let offline = offline.into_iter().collect();
    push_all(draft, broker_changes::leave_isr(&image, env.config, broker, offline));
    AssignReplicasToDirsResponse { directories, ..Default::default() }
}

fn check(image: &Image, broker: i32, topic: Uuid, index: i32) -> ErrorCode {
    if image.topics.by_id(topic).is_none() {
        return ErrorCode::UnknownTopicId;
    }
    match image.topics.partition(topic, index) {
        None => ErrorCode::UnknownTopicOrPartition,
        Some(partition) if !partition.is_on(broker) => ErrorCode::NotLeaderOrFollower,
        Some(_) => ErrorCode::None,
    }
}
