//! What may differ: each rule stands for a line of `docs/differences.md`, or for what nobody can know
//! in advance (times, ports, secrets, the order of a hash map).

use crate::compare::Names;
use crate::generate::CLIENT_METRICS;
use bytes::Bytes;
use quorate_base::Uuid;
use quorate_interop::KafkaVersion;
use quorate_protocol::{AnyResponse, KStr};
use std::fmt::Debug;

const DEFAULT_CONFIG: i8 = 5;

/// The rules against one release.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whose controller is compared with.
    pub kafka: KafkaVersion,
}

impl Rules {
    /// Takes out of an answer what may differ.
    pub fn soften(&self, response: &mut AnyResponse, names: &Names) {
        match response {
            AnyResponse::BrokerRegistration(it) => it.broker_epoch = names.epoch(it.broker_epoch),
            AnyResponse::ApiVersions(it) => {
                // Kafka: the offset of the last change of a level. Ours: of the last record.
                it.finalized_features_epoch = it.finalized_features_epoch.signum();
                // "What a controller advertises" is that of 4.4.0.
                if self.kafka != KafkaVersion::V4_4_0 {
                    it.api_keys.clear();
                    it.supported_features.clear();
                }
                by_text(&mut it.supported_features);
                by_text(&mut it.finalized_features);
            }
            AnyResponse::DescribeCluster(it) => {
                it.cluster_id = KStr::default();
                for broker in &mut it.brokers {
                    if broker.port == i32::from(names.port) {
                        broker.port = 0;
                    }
                }
            }
            AnyResponse::CreateDelegationToken(it) => {
                it.expiry_timestamp_ms -= it.issue_timestamp_ms;
                it.max_timestamp_ms -= it.issue_timestamp_ms;
                it.issue_timestamp_ms = it.issue_timestamp_ms.signum();
                it.hmac = Bytes::from(vec![0; it.hmac.len()]);
            }
            AnyResponse::RenewDelegationToken(it) => {
                it.expiry_timestamp_ms = it.expiry_timestamp_ms.signum();
            }
            AnyResponse::ExpireDelegationToken(it) => {
                it.expiry_timestamp_ms = it.expiry_timestamp_ms.signum();
            }
            // Shuffled, so that nobody learns from the order which topics there are.
            AnyResponse::DeleteTopics(it) => {
                it.throttle_time_ms = it.throttle_time_ms.signum();
                by_text(&mut it.responses);
            }
            AnyResponse::CreateTopics(it) => {
                it.throttle_time_ms = it.throttle_time_ms.signum();
                // What is only tried out has an id that nobody sees again.
                let tried = |id: Uuid| id != Uuid::ZERO && !names.is_topic(id);
                for topic in it.topics.iter_mut().filter(|it| tried(it.topic_id)) {
                    topic.topic_id = Uuid::from_u128(1);
                }
                by_text(&mut it.topics);
            }
            AnyResponse::DescribeAcls(it) => {
                for resource in &mut it.resources {
                    by_text(&mut resource.acls);
                }
                by_text(&mut it.resources);
            }
            AnyResponse::DeleteAcls(it) => {
                for result in &mut it.filter_results {
                    by_text(&mut result.matching_acls);
                }
            }
            AnyResponse::CreatePartitions(it) => {
                it.throttle_time_ms = it.throttle_time_ms.signum();
                by_text(&mut it.results);
            }
            // Before 4.0 the error of a feature stands in its result, without one at the top.
            AnyResponse::UpdateFeatures(it) if self.kafka == KafkaVersion::V3_9_1 => {
                let first = it.results.iter().map(|it| it.error_code).find(|it| *it != 0);
                it.error_code = first.unwrap_or(it.error_code);
                it.error_message = None;
                it.results.clear();
            }
            AnyResponse::AlterConfigs(it) => by_text(&mut it.responses),
            AnyResponse::IncrementalAlterConfigs(it) => by_text(&mut it.responses),
            AnyResponse::AlterClientQuotas(it) => {
                for entry in &mut it.entries {
                    by_text(&mut entry.entity);
                }
                it.entries.sort_by_cached_key(|it| format!("{:?}", it.entity));
            }
            AnyResponse::ElectLeaders(it) => by_text(&mut it.replica_election_results),
            AnyResponse::ListPartitionReassignments(it) => {
                for topic in &mut it.topics {
                    by_text(&mut topic.partitions);
                }
                by_text(&mut it.topics);
            }
            AnyResponse::AlterUserScramCredentials(it) => by_text(&mut it.results),
            AnyResponse::DescribeConfigs(it) => {
                for result in &mut it.results {
                    // 3.9 does not tell what is nowhere set.
                    if self.kafka == KafkaVersion::V3_9_1 && result.resource_type == CLIENT_METRICS
                    {
                        result.configs.retain(|it| it.config_source != DEFAULT_CONFIG);
                    }
                    by_text(&mut result.configs);
                    for config in &mut result.configs {
                        config.documentation = None;
                    }
                }
            }
            _ => {}
        }
    }
}

/// Sorted: Kafka takes these from a hash map. Which of two faults a message names is chance, too.
fn by_text<T: Debug>(entries: &mut [T]) {
    entries.sort_by_cached_key(|it| without_words(&format!("{it:?}")).0);
}

/// The answer without its messages' words, and the words. That there is a message is compared.
pub fn without_words(shown: &str) -> (String, Vec<String>) {
    const MARK: &str = "error_message: Some(\"";
    let (mut bare, mut words, mut rest) = (String::with_capacity(shown.len()), Vec::new(), shown);
    while let Some(at) = rest.find(MARK) {
        let (before, after) = rest.split_at(at + MARK.len());
        bare.push_str(before);
        let mut escaped = false;
        let end = after.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let end = end.map_or(after.len(), |(at, _)| at);
        words.push(after[..end].to_owned());
        rest = &after[end..];
    }
    bare.push_str(rest);
    (bare, words)
}
