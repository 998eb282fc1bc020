//! From a request to the function that decides it.

use crate::decide::{
    acls, api_versions, brokers, configs, controllers, describe_configs, directories, elections,
    features, isr, partitions, producers, quotas, reassign, scram, tokens, topics,
};
use crate::env::allowed;
use crate::mutation_quota::MutationLimit;
use crate::{
    ControllerConfig, Draft, Env, EnvelopeSender, Operation, RaftView, RequestContext, Resource,
};
use quorate_base::Offset;
use quorate_metadata::Image;
use quorate_protocol::{AnyRequest, AnyResponse};
use std::time::Duration;

/// A decision that may write records, and what raft has to do for it.
pub(crate) struct Decided {
    pub(crate) response: AnyResponse,
    /// A kraft.version to write, or (true) to check only.
    pub(crate) kraft_version: Option<(u16, bool)>,
}

/// What of the cluster a principal must be allowed for the request to be looked at. APIs that are
/// checked by topic, group or other resource are checked where they are decided.
pub fn cluster_operation(request: &AnyRequest) -> Option<Operation> {
    match request {
        AnyRequest::BrokerRegistration(_)
        | AnyRequest::BrokerHeartbeat(_)
        | AnyRequest::AlterPartition(_)
        | AnyRequest::AllocateProducerIds(_)
        | AnyRequest::ControllerRegistration(_)
        | AnyRequest::AssignReplicasToDirs(_)
        | AnyRequest::Fetch(_)
        | AnyRequest::FetchSnapshot(_)
        | AnyRequest::Vote(_)
        | AnyRequest::BeginQuorumEpoch(_)
        | AnyRequest::EndQuorumEpoch(_)
        | AnyRequest::UpdateRaftVoter(_) => Some(Operation::ClusterAction),
        AnyRequest::UnregisterBroker(_)
        | AnyRequest::UnregisterController(_)
        | AnyRequest::UpdateFeatures(_)
        | AnyRequest::ElectLeaders(_)
        | AnyRequest::AlterPartitionReassignments(_)
        | AnyRequest::AlterUserScramCredentials(_)
        | AnyRequest::CreateAcls(_)
        | AnyRequest::DeleteAcls(_)
        | AnyRequest::DescribeCluster(_)
        | AnyRequest::AddRaftVoter(_)
        | AnyRequest::RemoveRaftVoter(_)
        | AnyRequest::TransferLeadership(_) => Some(Operation::Alter),
        AnyRequest::AlterClientQuotas(_) => Some(Operation::AlterConfigs),
        AnyRequest::DescribeAcls(_)
        | AnyRequest::DescribeUserScramCredentials(_)
        | AnyRequest::ListPartitionReassignments(_)
        | AnyRequest::DescribeQuorum(_) => Some(Operation::Describe),
        _ => None,
    }
}

/// True if the principal may ask that of the cluster.
pub(crate) fn may_ask(
    config: &ControllerConfig,
    image: &Image,
    context: &RequestContext,
    request: &AnyRequest,
) -> bool {
    cluster_operation(request)
        .is_none_or(|it| allowed(config, image, context, it, &Resource::Cluster))
}

/// True if whoever sent an Envelope may speak for others, as brokers may.
pub(crate) fn may_forward(
    config: &ControllerConfig,
    image: &Image,
    context: &RequestContext,
    sender: &EnvelopeSender,
) -> bool {
    let outer = RequestContext {
        principal: sender.principal.clone(),
        client_address: sender.address,
        ..context.clone()
    };
    allowed(config, image, &outer, Operation::ClusterAction, &Resource::Cluster)
}

/// Requests that any controller answers at once from what is committed; `None` if it is another one.
/// `offset` is one past the last record in `image`.
pub(crate) fn read(
    env: &mut Env<'_>,
    image: &Image,
    offset: Offset,
    context: &RequestContext,
    request: &AnyRequest,
) -> Option<AnyResponse> {
    let (config, raft): (_, &RaftView) = (env.config, &env.raft);
    Some(match request {
        AnyRequest::ApiVersions(it) => AnyResponse::ApiVersions(api_versions::api_versions(
            image, offset, config, raft, context, it,
        )),
        AnyRequest::DescribeCluster(it) => AnyResponse::DescribeCluster(
            controllers::describe_cluster(image, config, raft, context, it),
        ),
        AnyRequest::DescribeConfigs(it) => AnyResponse::DescribeConfigs(
            describe_configs::describe_configs(env, image, context, it),
        ),
        AnyRequest::DescribeAcls(it) => {
            AnyResponse::DescribeAcls(acls::describe_acls(env, image, it))
        }
        AnyRequest::DescribeUserScramCredentials(it) => AnyResponse::DescribeUserScramCredentials(
            scram::describe_user_scram_credentials(image, it),
        ),
        AnyRequest::DescribeDelegationToken(_) => {
            AnyResponse::DescribeDelegationToken(tokens::describe_delegation_token())
        }
        _ => return None,
    })
}

/// Requests that only the active controller answers, from what is committed.
pub(crate) fn read_active(image: &Image, request: &AnyRequest) -> Option<AnyResponse> {
    Some(match request {
        AnyRequest::ListPartitionReassignments(it) => AnyResponse::ListPartitionReassignments(
            reassign::list_partition_reassignments(image, it),
        ),
        _ => return None,
    })
}

/// Decides a request that may write; `None` if it is not one that the controller decides.
pub(crate) fn write(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &AnyRequest,
    mutations: &mut MutationLimit<'_>,
) -> Option<Decided> {
    macro_rules! decide {
        ($($api:ident => $decide:path),+ ; $($plain_api:ident => $decide_plain:path),+ $(,)?) => {
            match request {
                $(AnyRequest::$api(it) => AnyResponse::$api($decide(env, draft, context, it)),)+
                $(AnyRequest::$plain_api(it) => {
                    AnyResponse::$plain_api($decide_plain(env, draft, it))
                })+
                AnyRequest::CreateTopics(it) => AnyResponse::CreateTopics(
                    topics::create_topics_within(env, draft, context, it, mutations),
                ),
                AnyRequest::DeleteTopics(it) => AnyResponse::DeleteTopics(
                    topics::delete_topics_within(env, draft, context, it, mutations),
                ),
                AnyRequest::CreatePartitions(it) => AnyResponse::CreatePartitions(
                    partitions::create_partitions_within(env, draft, context, it, mutations),
                ),
                AnyRequest::UpdateFeatures(it) => {
                    let update = features::update_features(env, draft, context, it);
                    let response = AnyResponse::UpdateFeatures(update.response);
                    return Some(Decided { response, kraft_version: update.kraft_version });
                }
                _ => return None,
            }
        };
    }
    let response = decide! {
        BrokerRegistration => brokers::register_broker,
        BrokerHeartbeat => brokers::heartbeat,
        UnregisterBroker => brokers::unregister_broker,
        ControllerRegistration => controllers::register_controller,
        UnregisterController => controllers::unregister_controller,
        AllocateProducerIds => producers::allocate_producer_ids,
        AlterPartition => isr::alter_partition,
        ElectLeaders => elections::elect_leaders,
        AlterPartitionReassignments => reassign::alter_partition_reassignments,
        AssignReplicasToDirs => directories::assign_replicas_to_dirs,
        IncrementalAlterConfigs => configs::incremental_alter_configs,
        AlterConfigs => configs::alter_configs,
        CreateDelegationToken => tokens::create_delegation_token,
        RenewDelegationToken => tokens::renew_delegation_token,
        ExpireDelegationToken => tokens::expire_delegation_token;
        CreateAcls => acls::create_acls,
        DeleteAcls => acls::delete_acls,
        AlterUserScramCredentials => scram::alter_user_scram_credentials,
        AlterClientQuotas => quotas::alter_client_quotas,
    };
    Some(Decided { response, kraft_version: None })
}

/// The first version of a request that knows THROTTLING_QUOTA_EXCEEDED, if its changes count against
/// `controller_mutation_rate` (KIP-599).
pub(crate) fn strict_quota_since(request: &AnyRequest) -> Option<i16> {
    match request {
        AnyRequest::CreateTopics(_) => Some(6),
        AnyRequest::DeleteTopics(_) => Some(5),
        AnyRequest::CreatePartitions(_) => Some(3),
        _ => None,
    }
}

/// How long the client waits for an answer, where it says so; what waited longer is not worth deciding.
pub(crate) fn patience(request: &AnyRequest) -> Option<Duration> {
    let timeout_ms = match request {
        AnyRequest::CreateTopics(it) => it.timeout_ms,
        AnyRequest::DeleteTopics(it) => it.timeout_ms,
        AnyRequest::CreatePartitions(it) => it.timeout_ms,
        AnyRequest::ElectLeaders(it) => it.timeout_ms,
        AnyRequest::AlterPartitionReassignments(it) => it.timeout_ms,
        _ => return None,
    };
    Some(Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)))
}

/// APIs of users and operators, whose decisions are limited in size; those of brokers and controllers
/// write what they must.
pub(crate) fn is_user_operation(request: &AnyRequest) -> bool {
    !matches!(
        request,
        AnyRequest::BrokerRegistration(_)
            | AnyRequest::BrokerHeartbeat(_)
            | AnyRequest::AlterPartition(_)
            | AnyRequest::AssignReplicasToDirs(_)
            | AnyRequest::UnregisterBroker(_)
    )
}
