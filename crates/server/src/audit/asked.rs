//! What a request asks for, as it may be written down: names, ids and values, but no secrets.

use super::names;
use quorate_protocol::messages::*;
use quorate_protocol::{AnyRequest, KStr};
use serde_json::{Value, json};

/// What kind of request one is, for the audit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Changes something because somebody wants it: always written down.
    Change,
    /// Brokers report and ask by themselves: written down if wanted, or if it was denied.
    Routine,
    /// Each broker sends it all the time: written down if it changed something, or was denied.
    Heartbeat,
    /// Changes nothing, or is the quorum's own: written down if it was denied.
    Look,
}

/// The class of a request.
pub fn class(request: &AnyRequest) -> Class {
    use AnyRequest as R;
    match request {
        R::CreateTopics(_)
        | R::DeleteTopics(_)
        | R::CreatePartitions(_)
        | R::AlterConfigs(_)
        | R::IncrementalAlterConfigs(_)
        | R::CreateAcls(_)
        | R::DeleteAcls(_)
        | R::CreateDelegationToken(_)
        | R::RenewDelegationToken(_)
        | R::ExpireDelegationToken(_)
        | R::ElectLeaders(_)
        | R::AlterPartitionReassignments(_)
        | R::AlterClientQuotas(_)
        | R::AlterUserScramCredentials(_)
        | R::UpdateFeatures(_)
        | R::BrokerRegistration(_)
        | R::UnregisterBroker(_)
        | R::ControllerRegistration(_)
        | R::UnregisterController(_)
        | R::AddRaftVoter(_)
        | R::RemoveRaftVoter(_)
        | R::UpdateRaftVoter(_)
        | R::TransferLeadership(_) => Class::Change,
        R::AlterPartition(_) | R::AllocateProducerIds(_) | R::AssignReplicasToDirs(_) => {
            Class::Routine
        }
        R::BrokerHeartbeat(_) => Class::Heartbeat,
        _ => Class::Look,
    }
}

/// What was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// With Kafka's names of fields.
    pub what: Value,
    /// A value was left out because it is secret. Messages about it may repeat it.
    pub has_secret: bool,
}

/// What a request of any class but [`Class::Look`] asks for.
pub fn asked(request: &AnyRequest) -> Asked {
    use AnyRequest as R;
    let mut has_secret = false;
    let what = match request {
        R::CreateTopics(it) => create_topics(it, &mut has_secret),
        R::DeleteTopics(it) => delete_topics(it),
        R::CreatePartitions(it) => create_partitions(it),
        R::AlterConfigs(it) => alter_configs(it, &mut has_secret),
        R::IncrementalAlterConfigs(it) => incremental_alter_configs(it, &mut has_secret),
        R::CreateAcls(it) => create_acls(it),
        R::DeleteAcls(it) => delete_acls(it),
        R::CreateDelegationToken(it) => create_token(it),
        // A token is named by its HMAC, which is what its owner authenticates with.
        R::RenewDelegationToken(it) => json!({ "renewPeriodMs": it.renew_period_ms }),
        R::ExpireDelegationToken(it) => json!({ "expiryTimePeriodMs": it.expiry_time_period_ms }),
        R::ElectLeaders(it) => elect_leaders(it),
        R::AlterPartitionReassignments(it) => reassignments(it),
        R::AlterClientQuotas(it) => client_quotas(it),
        R::AlterUserScramCredentials(it) => scram_credentials(it),
        R::UpdateFeatures(it) => update_features(it),
        R::BrokerRegistration(it) => json!({
            "brokerId": it.broker_id,
            "incarnationId": it.incarnation_id.to_string(),
            "previousBrokerEpoch": it.previous_broker_epoch,
            "rack": text(it.rack.as_ref()),
            "listeners": it.listeners.iter()
                .map(|it| endpoint(&it.name, &it.host, it.port)).collect::<Vec<_>>(),
        }),
        R::UnregisterBroker(it) => json!({ "brokerId": it.broker_id }),
        R::ControllerRegistration(it) => json!({
            "controllerId": it.controller_id,
            "incarnationId": it.incarnation_id.to_string(),
            "listeners": it.listeners.iter()
                .map(|it| endpoint(&it.name, &it.host, it.port)).collect::<Vec<_>>(),
        }),
        R::UnregisterController(it) => json!({ "controllerId": it.controller_id }),
        R::AddRaftVoter(it) => json!({
            "voterId": it.voter_id,
            "voterDirectoryId": it.voter_directory_id.to_string(),
            "listeners": it.listeners.iter()
                .map(|it| endpoint(&it.name, &it.host, it.port)).collect::<Vec<_>>(),
        }),
        R::RemoveRaftVoter(it) => json!({
            "voterId": it.voter_id,
            "voterDirectoryId": it.voter_directory_id.to_string(),
        }),
        R::UpdateRaftVoter(it) => json!({
            "voterId": it.voter_id,
            "voterDirectoryId": it.voter_directory_id.to_string(),
            "listeners": it.listeners.iter()
                .map(|it| endpoint(&it.name, &it.host, it.port)).collect::<Vec<_>>(),
        }),
        R::TransferLeadership(it) => json!({ "successorId": it.successor_id }),
        R::AlterPartition(it) => alter_partition(it),
        R::AllocateProducerIds(it) => json!({ "brokerId": it.broker_id }),
        R::AssignReplicasToDirs(it) => json!({
            "brokerId": it.broker_id,
            "directories": it.directories.iter().map(|it| it.id.to_string()).collect::<Vec<_>>(),
        }),
        R::BrokerHeartbeat(it) => json!({
            "brokerId": it.broker_id,
            "wantFence": it.want_fence,
            "wantShutDown": it.want_shut_down,
            "currentMetadataOffset": it.current_metadata_offset,
        }),
        _ => Value::Null,
    };
    Asked { what, has_secret }
}

fn text(value: Option<&KStr>) -> Option<&str> {
    value.map(|it| &**it)
}

fn endpoint(name: &str, host: &str, port: u16) -> String {
    format!("{name}://{host}:{port}")
}

fn config_value(resource: i8, name: &str, value: Option<&KStr>, has_secret: &mut bool) -> Value {
    match value {
        Some(_) if names::is_secret_config(resource, name) => {
            *has_secret = true;
            json!(names::HIDDEN)
        }
        value => json!(text(value)),
    }
}

fn create_topics(request: &CreateTopicsRequest, has_secret: &mut bool) -> Value {
    const TOPIC: i8 = 2;
    let mut topics = Vec::new();
    for topic in &request.topics {
        let configs = topic.configs.iter().map(|it| {
            (it.name.to_string(), config_value(TOPIC, &it.name, it.value.as_ref(), has_secret))
        });
        let mut shown = json!({
            "name": &*topic.name,
            "numPartitions": topic.num_partitions,
            "replicationFactor": topic.replication_factor,
            "configs": configs.collect::<serde_json::Map<_, _>>(),
        });
        if !topic.assignments.is_empty() {
            let assignments = topic.assignments.iter();
            let assignments =
                assignments.map(|it| (it.partition_index.to_string(), json!(it.broker_ids)));
            shown["assignments"] = assignments.collect::<serde_json::Map<_, _>>().into();
        }
        topics.push(shown);
    }
    json!({ "topics": topics, "validateOnly": request.validate_only })
}

fn delete_topics(request: &DeleteTopicsRequest) -> Value {
    let by_state = request.topics.iter().map(|it| match &it.name {
        Some(name) => json!({ "name": &**name }),
        None => json!({ "topicId": it.topic_id.to_string() }),
    });
    let by_name = request.topic_names.iter().map(|name| json!({ "name": &**name }));
    json!({ "topics": by_state.chain(by_name).collect::<Vec<_>>() })
}

fn create_partitions(request: &CreatePartitionsRequest) -> Value {
    let topics = request.topics.iter().map(|it| {
        let assignments = it.assignments.as_ref();
        let assignments =
            assignments.map(|all| all.iter().map(|it| json!(it.broker_ids)).collect::<Vec<_>>());
        json!({ "name": &*it.name, "count": it.count, "assignments": assignments })
    });
    json!({ "topics": topics.collect::<Vec<_>>(), "validateOnly": request.validate_only })
}

fn alter_configs(request: &AlterConfigsRequest, has_secret: &mut bool) -> Value {
    let mut resources = Vec::new();
    for resource in &request.resources {
        let kind = resource.resource_type;
        let configs = resource.configs.iter().map(|it| {
            (it.name.to_string(), config_value(kind, &it.name, it.value.as_ref(), has_secret))
        });
        resources.push(json!({
            "resource": config_resource(kind, &resource.resource_name),
            "configs": configs.collect::<serde_json::Map<_, _>>(),
        }));
    }
    json!({ "resources": resources, "validateOnly": request.validate_only })
}

fn incremental_alter_configs(
    request: &IncrementalAlterConfigsRequest,
    has_secret: &mut bool,
) -> Value {
    let mut resources = Vec::new();
    for resource in &request.resources {
        let kind = resource.resource_type;
        let configs = resource.configs.iter().map(|it| {
            json!({
                "name": &*it.name,
                "operation": names::config_operation(it.config_operation),
                "value": config_value(kind, &it.name, it.value.as_ref(), has_secret),
            })
        });
        resources.push(json!({
            "resource": config_resource(kind, &resource.resource_name),
            "configs": configs.collect::<Vec<_>>(),
        }));
    }
    json!({ "resources": resources, "validateOnly": request.validate_only })
}

/// As in [`super::outcome`].
pub(super) fn config_resource(kind: i8, name: &str) -> String {
    format!("{}:{name}", names::config_resource(kind))
}

fn create_acls(request: &CreateAclsRequest) -> Value {
    let creations = request.creations.iter().map(|it| {
        json!({
            "resource": format!("{}:{}", names::acl_resource(it.resource_type), it.resource_name),
            "patternType": names::acl_pattern(it.resource_pattern_type),
            "principal": &*it.principal,
            "host": &*it.host,
            "operation": names::acl_operation(it.operation),
            "permission": names::acl_permission(it.permission_type),
        })
    });
    json!({ "creations": creations.collect::<Vec<_>>() })
}

fn delete_acls(request: &DeleteAclsRequest) -> Value {
    let filters = request.filters.iter().map(|it| {
        json!({
            "resourceType": names::acl_resource(it.resource_type_filter),
            "resourceName": text(it.resource_name_filter.as_ref()),
            "patternType": names::acl_pattern(it.pattern_type_filter),
            "principal": text(it.principal_filter.as_ref()),
            "host": text(it.host_filter.as_ref()),
            "operation": names::acl_operation(it.operation),
            "permission": names::acl_permission(it.permission_type),
        })
    });
    json!({ "filters": filters.collect::<Vec<_>>() })
}

fn create_token(request: &CreateDelegationTokenRequest) -> Value {
    let owner = request.owner_principal_name.as_ref().filter(|name| !name.is_empty());
    let kind = text(request.owner_principal_type.as_ref()).unwrap_or("User");
    let renewers = request.renewers.iter();
    let renewers = renewers.map(|it| format!("{}:{}", it.principal_type, it.principal_name));
    json!({
        "owner": owner.map(|name| format!("{kind}:{name}")),
        "renewers": renewers.collect::<Vec<_>>(),
        "maxLifetimeMs": request.max_lifetime_ms,
    })
}

fn elect_leaders(request: &ElectLeadersRequest) -> Value {
    let topics = request.topic_partitions.as_ref();
    let topics = topics.map(|all| {
        all.iter()
            .map(|it| (it.topic.to_string(), json!(it.partitions)))
            .collect::<serde_json::Map<_, _>>()
    });
    json!({ "electionType": names::election_type(request.election_type), "partitions": topics })
}

fn reassignments(request: &AlterPartitionReassignmentsRequest) -> Value {
    let partitions = request.topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(move |it| (format!("{}-{}", topic.name, it.partition_index), json!(it.replicas)))
    });
    json!({
        "replicas": partitions.collect::<serde_json::Map<_, _>>(),
        "allowReplicationFactorChange": request.allow_replication_factor_change,
    })
}

fn client_quotas(request: &AlterClientQuotasRequest) -> Value {
    let entries = request.entries.iter().map(|entry| {
        let parts = entry.entity.iter();
        let parts = parts.map(|it| (&*it.entity_type, text(it.entity_name.as_ref())));
        let ops = entry.ops.iter();
        let ops = ops.map(|it| (it.key.to_string(), json!((!it.remove).then_some(it.value))));
        json!({
            "entity": quota_entity(parts),
            "limits": ops.collect::<serde_json::Map<_, _>>(),
        })
    });
    json!({ "entries": entries.collect::<Vec<_>>(), "validateOnly": request.validate_only })
}

/// `user=alice,client-id=(default)`.
pub fn quota_entity<'a>(parts: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let parts = parts.map(|(kind, name)| format!("{kind}={}", name.unwrap_or("(default)")));
    parts.collect::<Vec<_>>().join(",")
}

fn scram_credentials(request: &AlterUserScramCredentialsRequest) -> Value {
    let mechanism = names::scram_mechanism;
    let deletions = request.deletions.iter();
    let upsertions = request.upsertions.iter();
    json!({
        "deletions": deletions
            .map(|it| json!({ "user": &*it.name, "mechanism": mechanism(it.mechanism) }))
            .collect::<Vec<_>>(),
        "upsertions": upsertions
            .map(|it| json!({
                "user": &*it.name,
                "mechanism": mechanism(it.mechanism),
                "iterations": it.iterations,
            }))
            .collect::<Vec<_>>(),
    })
}

fn update_features(request: &UpdateFeaturesRequest) -> Value {
    let updates = request.feature_updates.iter().map(|it| {
        json!({
            "feature": &*it.feature,
            "maxVersionLevel": it.max_version_level,
            "upgradeType": names::upgrade_type(it.upgrade_type),
        })
    });
    json!({ "featureUpdates": updates.collect::<Vec<_>>(), "validateOnly": request.validate_only })
}

fn alter_partition(request: &AlterPartitionRequest) -> Value {
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |it| {
            let with_epochs = it.new_isr_with_epochs.iter().map(|it| it.broker_id);
            json!({
                "topicId": topic.topic_id.to_string(),
                "partition": it.partition_index,
                "newIsr": it.new_isr.iter().copied().chain(with_epochs).collect::<Vec<_>>(),
            })
        })
    });
    json!({ "brokerId": request.broker_id, "partitions": partitions.collect::<Vec<_>>() })
}
