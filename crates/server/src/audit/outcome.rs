//! How a request ended: item by item, and what of it was denied by the authoriser.

use super::asked::{config_resource, quota_entity};
use super::names;
use quorate_controller::{Operation, Resource, cluster_operation};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};
use serde_json::{Value, json};

/// Longer messages are cut.
const MESSAGE_CHARS_MAX: usize = 300;

/// One part of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// What it is about; `None` for an answer as a whole.
    pub name: Option<String>,
    /// Kafka's error code.
    pub code: i16,
    /// In words.
    pub message: Option<String>,
}

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Of the answer as a whole first, if it has a code; then of its items.
    pub items: Vec<Item>,
}

impl Outcome {
    /// Of an answer.
    pub fn of(response: &AnyResponse) -> Outcome {
        Outcome { items: items(response) }
    }

    /// Whether the answer only says that another node decides.
    pub fn is_misdirected(&self) -> bool {
        let elsewhere = [
            ErrorCode::NotController.code(),
            ErrorCode::NotLeaderOrFollower.code(),
            ErrorCode::FencedLeaderEpoch.code(),
        ];
        self.items.iter().any(|it| elsewhere.contains(&it.code))
    }

    /// Whether the authoriser refused something.
    pub fn is_denied(&self) -> bool {
        self.items.iter().any(|it| is_denial(it.code))
    }

    /// `accepted`, `partly`, `refused` or `denied`.
    pub fn word(&self) -> &'static str {
        // A code for the whole beside items only counts if it is an error.
        let has_items = self.items.iter().any(|it| it.name.is_some());
        let mut counted =
            self.items.iter().filter(|it| !(has_items && it.name.is_none() && it.code == 0));
        let good = counted.clone().filter(|it| it.code == 0).count();
        match (counted.clone().count() - good, good) {
            (0, _) => "accepted",
            (_, 0) if counted.any(|it| is_denial(it.code)) => "denied",
            (_, 0) => "refused",
            _ => "partly",
        }
    }

    /// For the line; `hide_messages` where they may repeat a secret.
    pub fn to_json(&self, hide_messages: bool) -> Value {
        let shown = self.items.iter().map(|it| {
            let mut shown = json!({ "error": names::error(it.code) });
            if let Some(name) = &it.name {
                shown["item"] = json!(name);
            }
            if let Some(message) = it.message.as_ref().filter(|_| !hide_messages) {
                shown["message"] =
                    json!(message.chars().take(MESSAGE_CHARS_MAX).collect::<String>());
            }
            shown
        });
        Value::Array(shown.collect())
    }
}

/// Codes by which the authoriser speaks.
fn is_denial(code: i16) -> bool {
    matches!(
        ErrorCode::from_code(code),
        Some(
            ErrorCode::TopicAuthorizationFailed
                | ErrorCode::GroupAuthorizationFailed
                | ErrorCode::ClusterAuthorizationFailed
                | ErrorCode::DelegationTokenAuthorizationFailed
        )
    )
}

/// What the authoriser denied, as operation and resource.
pub fn denials(request: &DeniedRequest, outcome: &Outcome) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for item in outcome.items.iter().filter(|it| is_denial(it.code)) {
        let is_cluster = item.code == ErrorCode::ClusterAuthorizationFailed.code();
        let operation = match request.cluster_operation.filter(|_| is_cluster) {
            Some(operation) => operation,
            None => request.operation,
        };
        let resource = match &item.name {
            _ if is_cluster => names::resource(&Resource::Cluster),
            Some(name) => name.clone(),
            None => request.resource.clone().unwrap_or_default(),
        };
        let denial = (names::operation(operation), resource);
        if !all.contains(&denial) {
            all.push(denial);
        }
    }
    all
}

/// What must be known of a request to name what was denied, kept while it is decided.
#[derive(Clone, Debug)]
pub struct DeniedRequest {
    cluster_operation: Option<Operation>,
    operation: Operation,
    resource: Option<String>,
}

impl DeniedRequest {
    /// Of a request.
    pub fn of(request: &AnyRequest) -> DeniedRequest {
        use AnyRequest as R;
        let operation = match request {
            R::CreateTopics(_) => Operation::Create,
            R::DeleteTopics(_) => Operation::Delete,
            R::CreatePartitions(_) => Operation::Alter,
            R::AlterConfigs(_) | R::IncrementalAlterConfigs(_) => Operation::AlterConfigs,
            R::DescribeConfigs(_) => Operation::DescribeConfigs,
            R::CreateDelegationToken(_) => Operation::CreateTokens,
            _ => Operation::Describe,
        };
        let resource = match request {
            R::CreateDelegationToken(it) => {
                let owner = it.owner_principal_name.as_deref().unwrap_or_default();
                let kind = it.owner_principal_type.as_deref().unwrap_or("User");
                Some(names::resource(&Resource::User(&format!("{kind}:{owner}"))))
            }
            _ => None,
        };
        DeniedRequest { cluster_operation: cluster_operation(request), operation, resource }
    }

    /// Of a broker that may not forward anything.
    pub fn envelope() -> DeniedRequest {
        let operation = Operation::ClusterAction;
        DeniedRequest { cluster_operation: Some(operation), operation, resource: None }
    }
}

fn item(name: String, code: i16, message: Option<&KStr>) -> Item {
    let message = message.filter(|it| !it.is_empty()).map(|it| it.to_string());
    Item { name: Some(name), code, message }
}

fn whole(code: i16, message: Option<&KStr>) -> Vec<Item> {
    vec![Item { name: None, ..item(String::new(), code, message) }]
}

fn topic(name: &str) -> String {
    names::resource(&Resource::Topic(name))
}

/// An item for each entry of a list, by a name made of the entry: their types have no common trait.
macro_rules! of_each {
    ($list:expr, $it:ident => $name:expr) => {
        $list.iter().map(|$it| item($name, $it.error_code, $it.error_message.as_ref())).collect()
    };
}

fn items(response: &AnyResponse) -> Vec<Item> {
    use AnyResponse as R;
    match response {
        R::CreateTopics(it) => of_each!(it.topics, it => topic(&it.name)),
        R::DeleteTopics(it) => it
            .responses
            .iter()
            .map(|it| {
                let name =
                    it.name.as_ref().map_or_else(|| it.topic_id.to_string(), |it| it.to_string());
                item(topic(&name), it.error_code, it.error_message.as_ref())
            })
            .collect(),
        R::CreatePartitions(it) => of_each!(it.results, it => topic(&it.name)),
        R::AlterConfigs(it) => {
            of_each!(it.responses, it => config_resource(it.resource_type, &it.resource_name))
        }
        R::IncrementalAlterConfigs(it) => {
            of_each!(it.responses, it => config_resource(it.resource_type, &it.resource_name))
        }
        R::DescribeConfigs(it) => {
            of_each!(it.results, it => config_resource(it.resource_type, &it.resource_name))
        }
        // In the order of what was asked for.
        R::CreateAcls(it) => (0..)
            .zip(&it.results)
            .map(|(at, it): (usize, _)| {
                item(format!("creation {at}"), it.error_code, it.error_message.as_ref())
            })
            .collect(),
        R::DeleteAcls(it) => (0..)
            .zip(&it.filter_results)
            .map(|(at, it): (usize, _)| {
                let name = format!("filter {at}, {} matching", it.matching_acls.len());
                item(name, it.error_code, it.error_message.as_ref())
            })
            .collect(),
        R::ElectLeaders(it) => {
            let mut all = whole(it.error_code, None);
            for topic in &it.replica_election_results {
                all.extend(topic.partition_result.iter().map(|it| {
                    let name = format!("{}-{}", topic.topic, it.partition_id);
                    item(name, it.error_code, it.error_message.as_ref())
                }));
            }
            all
        }
        R::AlterPartitionReassignments(it) => {
            let mut all = whole(it.error_code, it.error_message.as_ref());
            for topic in &it.responses {
                all.extend(topic.partitions.iter().map(|it| {
                    let name = format!("{}-{}", topic.name, it.partition_index);
                    item(name, it.error_code, it.error_message.as_ref())
                }));
            }
            all
        }
        R::AlterClientQuotas(it) => it
            .entries
            .iter()
            .map(|it| {
                let parts = it.entity.iter();
                let parts = parts.map(|it| (&*it.entity_type, it.entity_name.as_deref()));
                item(quota_entity(parts), it.error_code, it.error_message.as_ref())
            })
            .collect(),
        R::AlterUserScramCredentials(it) => of_each!(it.results, it => format!("USER:{}", it.user)),
        R::UpdateFeatures(it) => {
            let mut all = whole(it.error_code, it.error_message.as_ref());
            all.extend(
                it.results.iter().map(|it| {
                    item(it.feature.to_string(), it.error_code, it.error_message.as_ref())
                }),
            );
            all
        }
        R::CreateDelegationToken(it) => {
            let mut all = whole(it.error_code, None);
            if it.error_code == 0 {
                all.push(item(format!("DELEGATION_TOKEN:{}", it.token_id), 0, None));
            }
            all
        }
        R::UnregisterBroker(it) => whole(it.error_code, it.error_message.as_ref()),
        R::UnregisterController(it) => whole(it.error_code, it.error_message.as_ref()),
        R::ControllerRegistration(it) => whole(it.error_code, it.error_message.as_ref()),
        R::AddRaftVoter(it) => whole(it.error_code, it.error_message.as_ref()),
        R::RemoveRaftVoter(it) => whole(it.error_code, it.error_message.as_ref()),
        R::TransferLeadership(it) => whole(it.error_code, it.error_message.as_ref()),
        // Without names of items, or not worth them: every code once.
        other => {
            let mut codes: Vec<i16> = other.error_codes().into_iter().collect();
            codes.sort_unstable();
            codes.dedup();
            codes.into_iter().flat_map(|code| whole(code, None)).collect()
        }
    }
}
