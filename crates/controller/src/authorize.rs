//! Who may do what: the semantics of Kafka's StandardAuthorizer over the ACLs in the image (KIP-801).

use crate::{Operation, Principal, Resource};
use quorate_metadata::Acls;
use std::net::IpAddr;

/// `authorizer.class.name=…StandardAuthorizer` with its settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthorizerConfig {
    /// `super.users`: allowed everything, before any ACL is looked at.
    pub super_users: Vec<Principal>,
    /// `allow.everyone.if.no.acl.found`: what happens on a resource that no ACL speaks of.
    pub allow_everyone_if_no_acl_found: bool,
}

/// Kafka's `ResourceType` numbers.
pub mod resource_type {
    /// Matches every type; only in filters.
    pub const ANY: i8 = 1;
    /// A topic.
    pub const TOPIC: i8 = 2;
    /// A consumer group.
    pub const GROUP: i8 = 3;
    /// The cluster.
    pub const CLUSTER: i8 = 4;
    /// A delegation token.
    pub const DELEGATION_TOKEN: i8 = 6;
    /// A user, for delegation tokens of others.
    pub const USER: i8 = 7;
}

/// Kafka's `PatternType` numbers.
pub mod pattern_type {
    /// Matches both kinds with the very name; only in filters.
    pub const ANY: i8 = 1;
    /// Matches whatever would apply to a resource of that name; only in filters.
    pub const MATCH: i8 = 2;
    /// The name itself, or `*` for all names.
    pub const LITERAL: i8 = 3;
    /// All names that start so.
    pub const PREFIXED: i8 = 4;
}

/// Kafka's `AclPermissionType` numbers.
pub mod permission_type {
    /// Matches both; only in filters.
    pub const ANY: i8 = 1;
    /// Forbids.
    pub const DENY: i8 = 2;
    /// Allows.
    pub const ALLOW: i8 = 3;
}

/// The literal name that stands for every resource of a type.
pub const WILDCARD: &str = "*";
/// The one name of the cluster resource.
pub const CLUSTER_NAME: &str = "kafka-cluster";
/// `AclOperation.ALL`.
const OPERATION_ALL: i8 = 2;
const WILDCARD_PRINCIPAL: &str = "User:*";

/// Whether this principal at this address may do that. A deny beats every allow; where no ACL
/// speaks of the resource at all, the configuration decides.
pub fn authorize(
    config: &AuthorizerConfig,
    acls: &Acls,
    principal: &Principal,
    address: IpAddr,
    operation: Operation,
    resource: &Resource<'_>,
) -> bool {
    let is_super = |it: &Principal| it.kind == principal.kind && it.name == principal.name;
    if config.super_users.iter().any(is_super) {
        return true;
    }
    let address = address.to_canonical();
    let (kind, name) = resource_key(resource);
    let who = principal.to_string();
    let (mut spoken_of, mut allowed) = (false, false);
    for acl in acls.concerning(kind, name) {
        spoken_of = true;
        let applies = (acl.principal == WILDCARD_PRINCIPAL || acl.principal == who.as_str())
            && host_matches(&acl.host, address);
        if !applies {
            continue;
        }
        let exact = acl.operation == OPERATION_ALL || acl.operation == operation as i8;
        if acl.permission_type == permission_type::DENY {
            if exact {
                return false;
            }
        } else if exact || implies(acl.operation, operation) {
            allowed = true;
        }
    }
    allowed || (!spoken_of && config.allow_everyone_if_no_acl_found)
}

fn resource_key<'a>(resource: &Resource<'a>) -> (i8, &'a str) {
    match resource {
        Resource::Cluster => (resource_type::CLUSTER, CLUSTER_NAME),
        Resource::Topic(name) => (resource_type::TOPIC, name),
        Resource::Group(name) => (resource_type::GROUP, name),
        Resource::DelegationToken(id) => (resource_type::DELEGATION_TOKEN, id),
        Resource::User(name) => (resource_type::USER, name),
    }
}

/// Being allowed to change or use something includes being allowed to look at it. A deny implies
/// nothing beyond itself.
fn implies(held: i8, wanted: Operation) -> bool {
    use Operation as O;
    match wanted {
        O::Describe => [O::Read, O::Write, O::Delete, O::Alter].iter().any(|it| *it as i8 == held),
        O::DescribeConfigs => held == O::AlterConfigs as i8,
        _ => false,
    }
}

/// `*`, the address itself, or (from metadata.version 4.4-IV1 on) a range in CIDR notation.
fn host_matches(host: &str, address: IpAddr) -> bool {
    if host == WILDCARD {
        return true;
    }
    if let Some((network, bits)) = parse_cidr(host) {
        return match (network, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same_prefix(&a.octets(), &b.octets(), bits),
            (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(&a.octets(), &b.octets(), bits),
            _ => false,
        };
    }
    host == java_text(address)
}

/// Kafka compares texts, and Java writes IPv6 addresses without `::`. An ACL for `::1` matches nobody there,
/// and so it must be here: controllers and brokers have to agree.
fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

/// Network address and prefix length; `None` for anything that is not a valid range.
pub(crate) fn parse_cidr(host: &str) -> Option<(IpAddr, u32)> {
    let (network, bits) = host.split_once('/')?;
    let network: IpAddr = network.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    (bits <= if network.is_ipv4() { 32 } else { 128 }).then_some((network, bits))
}

fn same_prefix(a: &[u8], b: &[u8], bits: u32) -> bool {
    a.iter().zip(b).enumerate().all(|(i, (a, b))| {
        let left = bits.saturating_sub(8 * i as u32).min(8);
        let mask = if left == 0 { 0 } else { 0xffu8 << (8 - left) };
        a & mask == b & mask
    })
}
