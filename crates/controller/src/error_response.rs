//! The answer to a request that was refused as a whole, in the form each API has for it: one code at
//! the top, or the same code for every item asked for.

use quorate_protocol::messages::*;
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};
use std::collections::BTreeSet;

/// Builds that answer. `None` for requests of brokers' listeners.
pub fn error_response(
    request: &AnyRequest,
    error: ErrorCode,
    message: &str,
) -> Option<AnyResponse> {
    let error_code = error.code();
    let text = || text(message);
    let response = match request {
        AnyRequest::BrokerRegistration(_) => {
            AnyResponse::BrokerRegistration(BrokerRegistrationResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::BrokerHeartbeat(_) => AnyResponse::BrokerHeartbeat(BrokerHeartbeatResponse {
            error_code,
            ..Default::default()
        }),
        AnyRequest::AlterPartition(_) => {
            AnyResponse::AlterPartition(AlterPartitionResponse { error_code, ..Default::default() })
        }
        AnyRequest::AllocateProducerIds(_) => {
            AnyResponse::AllocateProducerIds(AllocateProducerIdsResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::AssignReplicasToDirs(_) => {
            AnyResponse::AssignReplicasToDirs(AssignReplicasToDirsResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::ControllerRegistration(_) => {
            AnyResponse::ControllerRegistration(ControllerRegistrationResponse {
                error_code,
                error_message: text(),
                ..Default::default()
            })
        }
        AnyRequest::UnregisterBroker(_) => {
            AnyResponse::UnregisterBroker(UnregisterBrokerResponse {
                error_code,
                error_message: text(),
                ..Default::default()
            })
        }
        AnyRequest::UnregisterController(_) => {
            AnyResponse::UnregisterController(UnregisterControllerResponse {
                error_code,
                error_message: text(),
                ..Default::default()
            })
        }
        AnyRequest::UpdateFeatures(_) => AnyResponse::UpdateFeatures(UpdateFeaturesResponse {
            error_code,
            error_message: text(),
            ..Default::default()
        }),
        AnyRequest::DescribeCluster(_) => AnyResponse::DescribeCluster(DescribeClusterResponse {
            error_code,
            error_message: text(),
            ..Default::default()
        }),
        AnyRequest::ApiVersions(_) => {
            AnyResponse::ApiVersions(ApiVersionsResponse { error_code, ..Default::default() })
        }
        AnyRequest::CreateDelegationToken(_) => {
            AnyResponse::CreateDelegationToken(CreateDelegationTokenResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::RenewDelegationToken(_) => {
            AnyResponse::RenewDelegationToken(RenewDelegationTokenResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::ExpireDelegationToken(_) => {
            AnyResponse::ExpireDelegationToken(ExpireDelegationTokenResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::DescribeDelegationToken(_) => {
            AnyResponse::DescribeDelegationToken(DescribeDelegationTokenResponse {
                error_code,
                ..Default::default()
            })
        }
        AnyRequest::DescribeUserScramCredentials(_) => {
            AnyResponse::DescribeUserScramCredentials(DescribeUserScramCredentialsResponse {
                error_code,
                error_message: text(),
                ..Default::default()
            })
        }
        AnyRequest::DescribeAcls(_) => AnyResponse::DescribeAcls(DescribeAclsResponse {
            error_code,
            error_message: text(),
            ..Default::default()
        }),
        _ => {
            return per_item(request, error_code, message).or_else(|| of_raft(request, error_code));
        }
    };
    Some(response)
}

/// As it stands in an answer; an empty one is none.
fn text(message: &str) -> Option<KStr> {
    (!message.is_empty()).then(|| KStr::from(message))
}

/// Takes out what the answer's version cannot carry: the first version of ElectLeaders has no code at the top.
pub(crate) fn fit_version(response: &mut AnyResponse, api_version: i16) {
    if let AnyResponse::ElectLeaders(it) = response
        && api_version == 0
    {
        it.error_code = ErrorCode::None.code();
    }
}

/// Raft decides these, but whether somebody may ask at all is decided before.
fn of_raft(request: &AnyRequest, error_code: i16) -> Option<AnyResponse> {
    macro_rules! top_level {
        ($($api:ident => $response:ident),+ $(,)?) => {
            match request {
                $(AnyRequest::$api(_) => {
                    AnyResponse::$api($response { error_code, ..Default::default() })
                })+
                _ => return None,
            }
        };
    }
    Some(top_level! {
        Fetch => FetchResponse,
        FetchSnapshot => FetchSnapshotResponse,
        Vote => VoteResponse,
        BeginQuorumEpoch => BeginQuorumEpochResponse,
        EndQuorumEpoch => EndQuorumEpochResponse,
        DescribeQuorum => DescribeQuorumResponse,
        AddRaftVoter => AddRaftVoterResponse,
        RemoveRaftVoter => RemoveRaftVoterResponse,
        UpdateRaftVoter => UpdateRaftVoterResponse,
        TransferLeadership => TransferLeadershipResponse,
    })
}

fn per_item(request: &AnyRequest, error_code: i16, message: &str) -> Option<AnyResponse> {
    let text = || text(message);
    let response = match request {
        AnyRequest::CreateTopics(request) => AnyResponse::CreateTopics(CreateTopicsResponse {
            topics: request
                .topics
                .iter()
                .map(|topic| create_topics_response::CreatableTopicResult {
                    name: topic.name.clone(),
                    error_code,
                    error_message: text(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        AnyRequest::DeleteTopics(request) => {
            let named =
                request.topic_names.iter().map(|name| (Some(name.clone()), Default::default()));
            let listed = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
            AnyResponse::DeleteTopics(DeleteTopicsResponse {
                responses: named
                    .chain(listed)
                    .map(|(name, topic_id)| delete_topics_response::DeletableTopicResult {
                        name,
                        topic_id,
                        error_code,
                        error_message: text(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
        }
        AnyRequest::CreatePartitions(request) => {
            AnyResponse::CreatePartitions(CreatePartitionsResponse {
                results: request
                    .topics
                    .iter()
                    .map(|topic| create_partitions_response::CreatePartitionsTopicResult {
                        name: topic.name.clone(),
                        error_code,
                        error_message: text(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
        }
        AnyRequest::AlterConfigs(request) => AnyResponse::AlterConfigs(AlterConfigsResponse {
            responses: request
                .resources
                .iter()
                .map(|it| alter_configs_response::AlterConfigsResourceResponse {
                    error_code,
                    error_message: text(),
                    resource_type: it.resource_type,
                    resource_name: it.resource_name.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        AnyRequest::IncrementalAlterConfigs(request) => {
            AnyResponse::IncrementalAlterConfigs(IncrementalAlterConfigsResponse {
                responses: request
                    .resources
                    .iter()
                    .map(|it| incremental_alter_configs_response::AlterConfigsResourceResponse {
                        error_code,
                        error_message: text(),
                        resource_type: it.resource_type,
                        resource_name: it.resource_name.clone(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
        }
        AnyRequest::DescribeConfigs(request) => {
            AnyResponse::DescribeConfigs(DescribeConfigsResponse {
                results: request
                    .resources
                    .iter()
                    .map(|it| describe_configs_response::DescribeConfigsResult {
                        error_code,
                        error_message: text(),
                        resource_type: it.resource_type,
                        resource_name: it.resource_name.clone(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
        }
        AnyRequest::CreateAcls(request) => AnyResponse::CreateAcls(CreateAclsResponse {
            results: request
                .creations
                .iter()
                .map(|_| create_acls_response::AclCreationResult {
                    error_code,
                    error_message: text(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        AnyRequest::DeleteAcls(request) => AnyResponse::DeleteAcls(DeleteAclsResponse {
            filter_results: request
                .filters
                .iter()
                .map(|_| delete_acls_response::DeleteAclsFilterResult {
                    error_code,
                    error_message: text(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        AnyRequest::AlterClientQuotas(request) => {
            AnyResponse::AlterClientQuotas(client_quotas(request, error_code, message))
        }
        AnyRequest::AlterUserScramCredentials(request) => {
            let deleted = request.deletions.iter().map(|it| &it.name);
            let upserted = request.upsertions.iter().map(|it| &it.name);
            let users: BTreeSet<&KStr> = deleted.chain(upserted).collect();
            AnyResponse::AlterUserScramCredentials(AlterUserScramCredentialsResponse {
                results: users
                    .into_iter()
                    .map(|user| {
                        alter_user_scram_credentials_response::AlterUserScramCredentialsResult {
                            user: user.clone(),
                            error_code,
                            error_message: text(),
                            ..Default::default()
                        }
                    })
                    .collect(),
                ..Default::default()
            })
        }
        AnyRequest::ElectLeaders(request) => {
            AnyResponse::ElectLeaders(elect_leaders(request, error_code, message))
        }
        AnyRequest::AlterPartitionReassignments(request) => {
            AnyResponse::AlterPartitionReassignments(reassignments(request, error_code, message))
        }
        AnyRequest::ListPartitionReassignments(request) => {
            AnyResponse::ListPartitionReassignments(ListPartitionReassignmentsResponse {
                error_code,
                error_message: text(),
                topics: asked_for(request),
                ..Default::default()
            })
        }
        _ => return None,
    };
    Some(response)
}

/// Kafka names in its refusal what was asked for, as if it was being reassigned.
fn asked_for(
    request: &ListPartitionReassignmentsRequest,
) -> Vec<list_partition_reassignments_response::OngoingTopicReassignment> {
    use list_partition_reassignments_response::{
        OngoingPartitionReassignment, OngoingTopicReassignment,
    };
    let partition = |index: &i32| OngoingPartitionReassignment {
        partition_index: *index,
        ..Default::default()
    };
    let topics = request.topics.iter().flatten();
    topics
        .map(|topic| OngoingTopicReassignment {
            name: topic.name.clone(),
            partitions: topic.partition_indexes.iter().map(partition).collect(),
            ..Default::default()
        })
        .collect()
}

fn client_quotas(
    request: &AlterClientQuotasRequest,
    error_code: i16,
    message: &str,
) -> AlterClientQuotasResponse {
    use alter_client_quotas_response::{EntityData, EntryData};
    let entry = |it: &alter_client_quotas_request::EntryData| EntryData {
        error_code,
        error_message: text(message),
        entity: it
            .entity
            .iter()
            .map(|part| EntityData {
                entity_type: part.entity_type.clone(),
                entity_name: part.entity_name.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    AlterClientQuotasResponse {
        entries: request.entries.iter().map(entry).collect(),
        ..Default::default()
    }
}

fn elect_leaders(
    request: &ElectLeadersRequest,
    error_code: i16,
    message: &str,
) -> ElectLeadersResponse {
    use elect_leaders_response::{PartitionResult, ReplicaElectionResult};
    let topics = request.topic_partitions.iter().flatten();
    ElectLeadersResponse {
        error_code,
        replica_election_results: topics
            .map(|topic| ReplicaElectionResult {
                topic: topic.topic.clone(),
                partition_result: topic
                    .partitions
                    .iter()
                    .map(|partition_id| PartitionResult {
                        partition_id: *partition_id,
                        error_code,
                        error_message: text(message),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn reassignments(
    request: &AlterPartitionReassignmentsRequest,
    error_code: i16,
    message: &str,
) -> AlterPartitionReassignmentsResponse {
    use alter_partition_reassignments_response::{
        ReassignablePartitionResponse, ReassignableTopicResponse,
    };
    AlterPartitionReassignmentsResponse {
        error_code,
        error_message: text(message),
        responses: request
            .topics
            .iter()
            .map(|topic| ReassignableTopicResponse {
                name: topic.name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|it| ReassignablePartitionResponse {
                        partition_index: it.partition_index,
                        error_code,
                        error_message: text(message),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}
