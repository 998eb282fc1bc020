//! Kafka's numbers in requests, by the names that its tools take and print.

use quorate_controller::decide::describe_configs;
use quorate_controller::{Operation, Resource};
use quorate_metadata::{ConfigResourceKind, may_hold_secret};
use quorate_protocol::ErrorCode;

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// `TOPIC`, `BROKER`, ...
pub fn config_resource(number: i8) -> String {
    ConfigResourceKind::from_i8(number).map_or_else(|| unknown(number), |it| it.to_string())
}

/// Whether the value of a setting must not be shown, on whichever resource: people mistake one for another.
pub fn is_secret_config(resource: i8, name: &str) -> bool {
    let of_broker = resource == ConfigResourceKind::Broker.number();
    may_hold_secret(name) || (of_broker && describe_configs::is_secret(name))
}

/// `SET`, `DELETE`, ...
pub fn config_operation(number: i8) -> String {
    by_number(&["SET", "DELETE", "APPEND", "SUBTRACT"], number)
}

/// `AclOperation`.
pub fn acl_operation(number: i8) -> String {
    let names = [
        "UNKNOWN",
        "ANY",
        "ALL",
        "READ",
        "WRITE",
        "CREATE",
        "DELETE",
        "ALTER",
        "DESCRIBE",
        "CLUSTER_ACTION",
        "DESCRIBE_CONFIGS",
        "ALTER_CONFIGS",
        "IDEMPOTENT_WRITE",
        "CREATE_TOKENS",
        "DESCRIBE_TOKENS",
        "TWO_PHASE_COMMIT",
    ];
    by_number(&names, number)
}

/// `AclPermissionType`.
pub fn acl_permission(number: i8) -> String {
    by_number(&["UNKNOWN", "ANY", "DENY", "ALLOW"], number)
}

/// `ResourceType` of access control.
pub fn acl_resource(number: i8) -> String {
    let names = [
        "UNKNOWN",
        "ANY",
        "TOPIC",
        "GROUP",
        "CLUSTER",
        "TRANSACTIONAL_ID",
        "DELEGATION_TOKEN",
        "USER",
    ];
    by_number(&names, number)
}

/// `PatternType` of access control.
pub fn acl_pattern(number: i8) -> String {
    by_number(&["UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"], number)
}

/// Mechanisms of SCRAM.
pub fn scram_mechanism(number: i8) -> String {
    by_number(&["UNKNOWN", "SCRAM-SHA-256", "SCRAM-SHA-512"], number)
}

/// How a feature is to be changed.
pub fn upgrade_type(number: i8) -> String {
    by_number(&["UNKNOWN", "UPGRADE", "SAFE_DOWNGRADE", "UNSAFE_DOWNGRADE"], number)
}

/// Which leader is to be elected.
pub fn election_type(number: i8) -> String {
    by_number(&["PREFERRED", "UNCLEAN"], number)
}

/// An operation as the authoriser knows it.
pub fn operation(operation: Operation) -> String {
    acl_operation(operation as i8)
}

/// A resource as the authoriser knows it.
pub fn resource(resource: &Resource<'_>) -> String {
    match resource {
        Resource::Cluster => "CLUSTER:kafka-cluster".to_owned(),
        Resource::Topic(name) => format!("TOPIC:{name}"),
        Resource::Group(name) => format!("GROUP:{name}"),
        Resource::DelegationToken(id) => format!("DELEGATION_TOKEN:{id}"),
        Resource::User(name) => format!("USER:{name}"),
    }
}

/// Kafka's name of an error.
pub fn error(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| unknown(code), |it| it.name().to_owned())
}

fn by_number(names: &[&str], number: i8) -> String {
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    name.map_or_else(|| unknown(number), |name| (*name).to_owned())
}

fn unknown(number: impl std::fmt::Display) -> String {
    format!("UNKNOWN({number})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_kafka_s_names() {
        assert_eq!(acl_operation(Operation::DescribeTokens as i8), "DESCRIBE_TOKENS");
        assert_eq!(acl_operation(Operation::ClusterAction as i8), "CLUSTER_ACTION");
        assert_eq!(acl_operation(99), "UNKNOWN(99)");
        assert_eq!(acl_permission(-1), "UNKNOWN(-1)");
        assert_eq!(error(29), "TOPIC_AUTHORIZATION_FAILED");
    }

    #[test]
    fn secrets_are_known_by_setting_and_by_name() {
        let (topic, broker) = (2, 4);
        for name in [
            "ssl.keystore.password",
            "sasl.jaas.config",
            "listener.name.x.ssl.keystore.key",
            "delegation.token.secret.key",
            "a.plugin.s.own",
        ] {
            assert!(is_secret_config(broker, name), "{name}");
        }
        assert!(is_secret_config(topic, "ssl.keystore.PASSWORD"));
        assert!(!is_secret_config(broker, "log.cleaner.threads"));
        assert!(!is_secret_config(topic, "retention.ms"));
    }
}
