//! CreateAcls, DeleteAcls and DescribeAcls, row by row as Kafka 4.4.0 answered, unless said otherwise.

mod desk;

use desk::{Desk, name};
use quorate_controller::decide::acls::{create_acls, delete_acls, describe_acls};
use quorate_protocol::messages::create_acls_request::AclCreation;
use quorate_protocol::messages::delete_acls_request::DeleteAclsFilter;
use quorate_protocol::messages::*;
use quorate_protocol::{KStr, MetadataRecord};

const TOPIC: i8 = 2;
const CLUSTER: i8 = 4;
const ANY: i8 = 1;
const MATCH: i8 = 2;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const READ: i8 = 3;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

#[derive(Clone, Copy)]
struct Acl<'a> {
    kind: i8,
    name: &'a str,
    pattern: i8,
    principal: &'a str,
    host: &'a str,
    operation: i8,
    permission: i8,
}

const READ_T: Acl<'static> = Acl {
    kind: TOPIC,
    name: "t",
    pattern: LITERAL,
    principal: "User:a",
    host: "*",
    operation: READ,
    permission: ALLOW,
};

fn create(desk: &mut Desk, acls: &[Acl<'_>]) -> (Vec<(&'static str, String)>, Vec<MetadataRecord>) {
    let creation = |acl: &Acl<'_>| AclCreation {
        resource_type: acl.kind,
        resource_name: KStr::from(acl.name),
        resource_pattern_type: acl.pattern,
        principal: KStr::from(acl.principal),
        host: KStr::from(acl.host),
        operation: acl.operation,
        permission_type: acl.permission,
        ..Default::default()
    };
    let creations = acls.iter().map(creation).collect();
    let request = CreateAclsRequest { creations, ..Default::default() };
    let (answer, records) = desk.decide(|env, draft, _| create_acls(env, draft, &request));
    let results = answer.results.into_iter();
    let shown =
        results.map(|it| (name(it.error_code), it.error_message.unwrap_or_default().into()));
    (shown.collect(), records)
}

#[test]
fn create_acls_writes_each_content_once() {
    let mut desk = Desk::guarded(30, true);
    let prefixed = Acl { pattern: PREFIXED, host: "10.0.0.1", permission: DENY, ..READ_T };
    let (results, records) = create(&mut desk, &[READ_T, READ_T, prefixed]);
    assert!(results.iter().all(|it| it.0 == "NONE"), "{results:?}");
    let [MetadataRecord::AccessControlEntry(first), MetadataRecord::AccessControlEntry(second)] =
        records.as_slice()
    else {
        panic!("{records:?}")
    };
    assert_ne!(first.id, second.id);
    assert_eq!((first.resource_name.as_str(), first.pattern_type), ("t", LITERAL));
    assert_eq!((second.host.as_str(), second.permission_type), ("10.0.0.1", DENY));
    let (results, records) = create(&mut desk, &[READ_T]);
    assert_eq!((results[0].0, records.len()), ("NONE", 0), "it exists already");
}

#[test]
fn each_error_of_a_creation() {
    #[rustfmt::skip]
    let rows = [
        (Acl { kind: CLUSTER, name: "x", ..READ_T }, "The only valid name for the CLUSTER resource is kafka-cluster"),
        (Acl { name: "", ..READ_T }, "Invalid empty resource name"),
        // Kafka answers UNKNOWN_SERVER_ERROR to ANY and MATCH, and closes the connection on 0.
        (Acl { pattern: ANY, ..READ_T }, "Invalid patternType ANY"),
        (Acl { pattern: MATCH, ..READ_T }, "Invalid patternType MATCH"),
        (Acl { pattern: 0, ..READ_T }, "Invalid patternType UNKNOWN"),
        (Acl { pattern: 9, ..READ_T }, "Invalid patternType UNKNOWN"),
        (Acl { kind: 1, ..READ_T }, "Invalid resourceType ANY"),
        (Acl { kind: 0, ..READ_T }, "Invalid resourceType UNKNOWN"),
        (Acl { kind: 9, ..READ_T }, "Invalid resourceType UNKNOWN"),
        (Acl { operation: 1, ..READ_T }, "Invalid operation ANY"),
        (Acl { operation: 16, ..READ_T }, "Invalid operation UNKNOWN"),
        (Acl { permission: 1, ..READ_T }, "Invalid permissionType ANY"),
        (Acl { permission: 9, ..READ_T }, "Invalid permissionType UNKNOWN"),
        (Acl { principal: "a", ..READ_T }, "Could not parse principal from `a`"),
        (Acl { principal: "", ..READ_T }, "Could not parse principal from ``"),
        (Acl { host: "", ..READ_T }, "Host pattern cannot be null or empty"),
        (Acl { host: "10.0.0.0/64", ..READ_T }, "Invalid CIDR notation '10.0.0.0/64'"),
        (Acl { host: "x/8", ..READ_T }, "Invalid CIDR notation 'x/8'"),
    ];
    for (acl, text) in rows {
        let (results, records) = create(&mut Desk::guarded(33, true), &[acl]);
        let (error, message) = &results[0];
        assert_eq!((*error, records.len()), ("INVALID_REQUEST", 0), "{text}");
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn what_kafka_takes() {
    let rows = [
        Acl { kind: 5, ..READ_T },
        Acl { operation: 15, ..READ_T },
        Acl { operation: 9, ..READ_T },
        Acl { principal: ":", ..READ_T },
        Acl { principal: "Role:a", ..READ_T },
        Acl { host: "foo.bar", ..READ_T },
        Acl { host: "10.1.2.3/8", ..READ_T },
        Acl { host: "fe80::/10", ..READ_T },
        Acl { name: "*", pattern: PREFIXED, ..READ_T },
        Acl { kind: CLUSTER, name: "kafka-cluster", ..READ_T },
    ];
    for acl in rows {
        let (results, records) = create(&mut Desk::guarded(33, true), &[acl]);
        assert_eq!((results[0].0, records.len()), ("NONE", 1), "{}", results[0].1);
    }
}

#[test]
fn ranges_of_addresses_need_their_level() {
    let acl = Acl { host: "10.0.0.0/8", ..READ_T };
    assert_eq!(create(&mut Desk::guarded(31, true), &[acl]).0[0].0, "INVALID_REQUEST");
    assert_eq!(create(&mut Desk::guarded(32, true), &[acl]).0[0].0, "NONE");
}

#[test]
fn one_bad_creation_does_not_hinder_the_others() {
    let asked = [Acl { name: "", ..READ_T }, READ_T, Acl { principal: "b", ..READ_T }];
    let (results, records) = create(&mut Desk::guarded(30, true), &asked);
    let errors: Vec<_> = results.iter().map(|it| it.0).collect();
    assert_eq!(errors, ["INVALID_REQUEST", "NONE", "INVALID_REQUEST"]);
    assert_eq!(records.len(), 1);
}

#[test]
fn ten_thousand_at_once_and_not_more() {
    let names: Vec<String> = (0..10_001).map(|it| format!("t{it}")).collect();
    let acls: Vec<Acl<'_>> = names.iter().map(|name| Acl { name, ..READ_T }).collect();
    let mut desk = Desk::guarded(30, true);
    let (results, records) = create(&mut desk, &acls);
    assert!(results.iter().all(|it| it.0 == "POLICY_VIOLATION"));
    assert!(records.is_empty() && desk.image.acls.is_empty());
    let (results, records) = create(&mut desk, &acls[1..]);
    assert!(results.iter().all(|it| it.0 == "NONE"));
    assert_eq!(records.len(), 10_000);
    create(&mut desk, &acls[..1]);
    let (answer, records) = delete(&mut desk, &[EVERYTHING]);
    assert_eq!(name(answer[0].error_code), "POLICY_VIOLATION");
    assert!(records.is_empty());
}

#[derive(Clone, Copy)]
struct Filter<'a> {
    kind: i8,
    name: Option<&'a str>,
    pattern: i8,
    principal: Option<&'a str>,
    host: Option<&'a str>,
    operation: i8,
    permission: i8,
}

const EVERYTHING: Filter<'static> = Filter {
    kind: ANY,
    name: None,
    pattern: ANY,
    principal: None,
    host: None,
    operation: ANY,
    permission: ANY,
};

fn delete(
    desk: &mut Desk,
    filters: &[Filter<'_>],
) -> (Vec<delete_acls_response::DeleteAclsFilterResult>, Vec<MetadataRecord>) {
    let filter = |it: &Filter<'_>| DeleteAclsFilter {
        resource_type_filter: it.kind,
        resource_name_filter: it.name.map(KStr::from),
        pattern_type_filter: it.pattern,
        principal_filter: it.principal.map(KStr::from),
        host_filter: it.host.map(KStr::from),
        operation: it.operation,
        permission_type: it.permission,
        ..Default::default()
    };
    let request =
        DeleteAclsRequest { filters: filters.iter().map(filter).collect(), ..Default::default() };
    let (answer, records) = desk.decide(|env, draft, _| delete_acls(env, draft, &request));
    (answer.filter_results, records)
}

fn some_acls() -> Desk {
    let mut desk = Desk::guarded(30, true);
    let acls = [
        READ_T,
        Acl { pattern: PREFIXED, host: "10.0.0.1", operation: 8, permission: DENY, ..READ_T },
        Acl { name: "*", ..READ_T },
        Acl { name: "m", principal: "User:b", ..READ_T },
        Acl { kind: CLUSTER, name: "kafka-cluster", ..READ_T },
    ];
    create(&mut desk, &acls);
    desk
}

#[test]
fn delete_acls_answers_each_filter_as_if_alone() {
    let mut desk = some_acls();
    let t = Filter { kind: TOPIC, name: Some("t"), ..EVERYTHING };
    let filters = [Filter { pattern: LITERAL, ..t }, t, Filter { name: Some("none"), ..t }];
    let (results, records) = delete(&mut desk, &filters);
    let counts: Vec<_> = results.iter().map(|it| it.matching_acls.len()).collect();
    assert_eq!(counts, [1, 2, 0]);
    assert_eq!(records.len(), 2, "the one that two filters name goes once");
    assert_eq!(desk.image.acls.len(), 3);
    let found = &results[0].matching_acls[0];
    assert_eq!(
        (found.resource_name.as_str(), found.pattern_type, found.host.as_str()),
        ("t", 3, "*")
    );
    assert_eq!((results[0].error_code, results[0].error_message.clone()), (0, None));
}

#[test]
fn each_error_of_a_filter() {
    for (filter, text) in [
        (Filter { kind: 9, ..EVERYTHING }, "Unknown patternFilter."),
        (Filter { pattern: 9, ..EVERYTHING }, "Unknown patternFilter."),
        (Filter { kind: 0, ..EVERYTHING }, "Unknown patternFilter."),
        (Filter { operation: 0, ..EVERYTHING }, "Unknown entryFilter."),
        (Filter { permission: 0, ..EVERYTHING }, "Unknown entryFilter."),
    ] {
        let mut desk = some_acls();
        let m = Filter { name: Some("m"), ..EVERYTHING };
        let (results, records) = delete(&mut desk, &[filter, m]);
        assert_eq!(name(results[0].error_code), "INVALID_REQUEST");
        assert_eq!(results[0].error_message.as_deref(), Some(text));
        assert_eq!((results[1].error_code, records.len()), (0, 1), "the other one works");
    }
}

fn describe(desk: &mut Desk, filter: Filter<'_>) -> DescribeAclsResponse {
    let request = DescribeAclsRequest {
        resource_type_filter: filter.kind,
        resource_name_filter: filter.name.map(KStr::from),
        pattern_type_filter: filter.pattern,
        principal_filter: filter.principal.map(KStr::from),
        host_filter: filter.host.map(KStr::from),
        operation: filter.operation,
        permission_type: filter.permission,
        ..Default::default()
    };
    let (answer, records) =
        desk.decide(|env, draft, _| describe_acls(env, &draft.image().clone(), &request));
    assert!(records.is_empty());
    answer
}

#[test]
fn describe_acls_matches_as_kafka_does() {
    let t1 = Filter { kind: TOPIC, name: Some("t1"), pattern: MATCH, ..EVERYTHING };
    #[rustfmt::skip]
    let rows: &[(Filter<'_>, &[(&str, i8)])] = &[
        (EVERYTHING, &[("*", 3), ("m", 3), ("t", 3), ("t", 4), ("kafka-cluster", 3)]),
        (t1, &[("*", 3), ("t", 4)]),
        (Filter { name: Some("t"), ..t1 }, &[("*", 3), ("t", 3), ("t", 4)]),
        (Filter { name: Some("t"), pattern: LITERAL, ..t1 }, &[("t", 3)]),
        (Filter { name: Some("t"), pattern: ANY, ..t1 }, &[("t", 3), ("t", 4)]),
        (Filter { name: None, pattern: PREFIXED, ..t1 }, &[("t", 4)]),
        (Filter { principal: Some("User:b"), ..EVERYTHING }, &[("m", 3)]),
        (Filter { host: Some("10.0.0.1"), ..EVERYTHING }, &[("t", 4)]),
        (Filter { operation: 8, ..EVERYTHING }, &[("t", 4)]),
        (Filter { permission: DENY, ..EVERYTHING }, &[("t", 4)]),
        // Numbers that nobody knows match nothing.
        (Filter { kind: 9, ..EVERYTHING }, &[]),
        (Filter { operation: 99, ..EVERYTHING }, &[]),
        (Filter { permission: -91, ..EVERYTHING }, &[]),
    ];
    for (filter, expected) in rows {
        let answer = describe(&mut some_acls(), *filter);
        assert_eq!(answer.error_code, 0);
        let found: Vec<_> = answer
            .resources
            .iter()
            .map(|it| (it.resource_name.as_str(), it.pattern_type))
            .collect();
        assert_eq!(found, *expected);
        assert!(answer.resources.iter().all(|it| !it.acls.is_empty()));
    }
    let answer = describe(&mut some_acls(), Filter { pattern: 0, ..EVERYTHING });
    assert_eq!(name(answer.error_code), "INVALID_REQUEST");
}

#[test]
fn without_an_authorizer_there_is_nothing_to_do() {
    let mut desk = Desk::at(30);
    let (results, records) = create(&mut desk, &[READ_T, READ_T]);
    assert_eq!((results.len(), results[0].0, records.len()), (2, "SECURITY_DISABLED", 0));
    let (results, _) = delete(&mut desk, &[EVERYTHING]);
    assert_eq!(name(results[0].error_code), "SECURITY_DISABLED");
    assert_eq!(name(describe(&mut desk, EVERYTHING).error_code), "SECURITY_DISABLED");
}
