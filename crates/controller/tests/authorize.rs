//! Who may do what: our answers against those of Kafka's StandardAuthorizer (4.4.0) on random ACLs, a
//! table of the rules, and what each API asks for.
//!
//! The fixture: `S allow-everyone` begins a set (`User:root` is a super user), `A type name pattern principal
//! host operation permission` is one ACL in it, `Q type name principal address operation allowed` one
//! question and Kafka's answer.

mod desk;

use desk::Desk;
use quorate_base::Uuid;
use quorate_controller::{
    AuthorizerConfig, Controller, ControllerConfig, Operation, Principal, RequestContext, Resource,
};
use quorate_metadata::{StandardAcl, Str};
use quorate_protocol::messages::*;
use quorate_protocol::{AnyRequest, ErrorCode, KStr};
use std::net::IpAddr;

const OPERATIONS: [Operation; 11] = [
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::CreateTokens,
    Operation::DescribeTokens,
];

fn operation(number: i8) -> Option<Operation> {
    OPERATIONS.into_iter().find(|it| *it as i8 == number)
}

fn resource(kind: i8, name: &str) -> Resource<'_> {
    match kind {
        2 => Resource::Topic(name),
        3 => Resource::Group(name),
        4 => Resource::Cluster,
        6 => Resource::DelegationToken(name),
        7 => Resource::User(name),
        other => panic!("no resource type {other}"),
    }
}

fn principal(text: &str) -> Principal {
    let (kind, name) = text.split_once(':').expect("kind and name");
    Principal { kind: Str::from(kind), name: Str::from(name), token_authenticated: false }
}

struct Guard {
    desk: Desk,
    count: u128,
}

impl Guard {
    fn new(allow_everyone_if_no_acl_found: bool) -> Guard {
        let mut desk = Desk::at(33);
        desk.config.authorizer = Some(AuthorizerConfig {
            super_users: vec![Principal::user("root")],
            allow_everyone_if_no_acl_found,
        });
        Guard { desk, count: 0 }
    }

    /// As a line of the fixture after the letter.
    fn add(&mut self, line: &str) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, name, pattern, principal, host, operation, permission] = fields[..] else {
            panic!("{line}")
        };
        self.count += 1;
        let number = |text: &str| text.parse::<i8>().expect("a number");
        let acl = StandardAcl {
            id: Uuid::from_u128(self.count),
            resource_type: number(kind),
            resource_name: Str::from(name),
            pattern_type: number(pattern),
            principal: Str::from(principal),
            host: Str::from(host),
            operation: number(operation),
            permission_type: number(permission),
        };
        self.desk.apply(acl.to_record());
    }

    fn allows(&mut self, line: &str) -> bool {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, name, who, address, number] = fields[..] else { panic!("{line}") };
        self.desk.context.principal = principal(who);
        self.desk.context.client_address = address.parse::<IpAddr>().expect("an address");
        let kind = kind.parse().expect("a number");
        let operation = operation(number.parse().expect("a number")).expect("an operation");
        let (allowed, _) = self.desk.decide(|env, draft, context| {
            env.authorize(draft.image(), context, operation, resource(kind, name))
        });
        allowed
    }
}

#[test]
fn our_answers_are_those_of_the_standard_authorizer() {
    let mut guard = Guard::new(false);
    let (mut asked, mut wrong) = (0, Vec::new());
    let mut set = Vec::new();
    for line in include_str!("fixtures/authorizer.txt").lines() {
        let (letter, rest) = line.split_at(2);
        match letter {
            "S " => {
                guard = Guard::new(rest == "1");
                set.clear();
            }
            "A " => {
                guard.add(rest);
                set.push(rest);
            }
            "Q " => {
                let (question, expected) = rest.rsplit_once(' ').expect("an answer");
                asked += 1;
                if guard.allows(question) != (expected == "1") {
                    wrong.push(format!("{question}: Kafka says {expected}; ACLs {set:?}"));
                }
            }
            other => panic!("{other}"),
        }
    }
    assert!(asked > 2000, "{asked}");
    assert!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn rules_one_by_one() {
    // Operations: 2 all, 3 read, 4 write, 6 delete, 7 alter, 8 describe, 9 cluster action, 10 describe
    // configs, 11 alter configs. Permissions: 2 deny, 3 allow.
    #[rustfmt::skip]
    let rows: &[(&str, &[&str], &str, bool)] = &[
        ("nobody is allowed without an ACL", &[], "2 foo User:alice 10.0.0.1 3", false),
        ("super users are allowed everything", &["2 foo 3 User:root * 2 2"], "2 foo User:root 10.0.0.1 3", true),
        ("an allow of one's own", &["2 foo 3 User:alice * 3 3"], "2 foo User:alice 10.0.0.1 3", true),
        ("not of somebody else's", &["2 foo 3 User:bob * 3 3"], "2 foo User:alice 10.0.0.1 3", false),
        ("an allow of everybody's", &["2 foo 3 User:* * 3 3"], "2 foo User:alice 10.0.0.1 3", true),
        ("deny before allow, in any order", &["2 foo 3 User:alice * 3 3", "2 foo 3 User:* * 3 2"], "2 foo User:alice 10.0.0.1 3", false),
        ("the wildcard denies what a literal allows", &["2 foo 3 User:alice * 3 3", "2 * 3 User:alice * 3 2"], "2 foo User:alice 10.0.0.1 3", false),
        ("a prefix", &["2 fo 4 User:alice * 3 3"], "2 foo User:alice 10.0.0.1 3", true),
        ("a prefix that is none", &["2 oo 4 User:alice * 3 3"], "2 foo User:alice 10.0.0.1 3", false),
        ("all operations", &["2 foo 3 User:alice * 2 3"], "2 foo User:alice 10.0.0.1 7", true),
        ("read implies describe", &["2 foo 3 User:alice * 3 3"], "2 foo User:alice 10.0.0.1 8", true),
        ("write implies describe", &["2 foo 3 User:alice * 4 3"], "2 foo User:alice 10.0.0.1 8", true),
        ("delete implies describe", &["2 foo 3 User:alice * 6 3"], "2 foo User:alice 10.0.0.1 8", true),
        ("alter implies describe", &["2 foo 3 User:alice * 7 3"], "2 foo User:alice 10.0.0.1 8", true),
        ("create does not", &["2 foo 3 User:alice * 5 3"], "2 foo User:alice 10.0.0.1 8", false),
        ("alter configs implies describe configs", &["2 foo 3 User:alice * 11 3"], "2 foo User:alice 10.0.0.1 10", true),
        ("but not describe", &["2 foo 3 User:alice * 11 3"], "2 foo User:alice 10.0.0.1 8", false),
        ("a deny of read does not deny describe", &["2 foo 3 User:alice * 3 2", "2 foo 3 User:alice * 8 3"], "2 foo User:alice 10.0.0.1 8", true),
        ("another type of resource", &["3 foo 3 User:alice * 3 3"], "2 foo User:alice 10.0.0.1 3", false),
        ("the host itself", &["2 foo 3 User:alice 10.0.0.1 3 3"], "2 foo User:alice 10.0.0.1 3", true),
        ("another host", &["2 foo 3 User:alice 10.0.0.2 3 3"], "2 foo User:alice 10.0.0.1 3", false),
        ("a range of hosts", &["2 foo 3 User:alice 10.0.0.0/30 3 3"], "2 foo User:alice 10.0.0.3 3", true),
        ("outside of the range", &["2 foo 3 User:alice 10.0.0.0/30 3 3"], "2 foo User:alice 10.0.0.4 3", false),
        ("Java's way of writing an address", &["2 foo 3 User:alice 0:0:0:0:0:0:0:1 3 3"], "2 foo User:alice ::1 3", true),
        ("an IPv4 address inside of an IPv6 one", &["2 foo 3 User:alice 10.0.0.1 3 3"], "2 foo User:alice ::ffff:10.0.0.1 3", true),
        ("a token by its id", &["6 id 3 User:alice * 8 3"], "6 id User:alice 10.0.0.1 8", true),
        ("a user", &["7 User:bob 3 User:alice * 13 3"], "7 User:bob User:alice 10.0.0.1 13", true),
    ];
    for (rule, acls, question, expected) in rows {
        let mut guard = Guard::new(false);
        acls.iter().for_each(|acl| guard.add(acl));
        assert_eq!(guard.allows(question), *expected, "{rule}");
    }
}

#[test]
fn a_resource_without_acls_is_open_where_so_configured() {
    let mut guard = Guard::new(true);
    assert!(guard.allows("2 foo User:alice 10.0.0.1 3"));
    guard.add("2 foo 3 User:bob * 3 3");
    assert!(!guard.allows("2 foo User:alice 10.0.0.1 3"), "now an ACL speaks of it");
    assert!(guard.allows("2 bar User:alice 10.0.0.1 3"));
    guard.add("2 * 3 User:bob * 3 3");
    assert!(!guard.allows("2 bar User:alice 10.0.0.1 3"), "so does the wildcard");
}

#[test]
fn without_an_authorizer_everything_is_allowed() {
    let mut guard = Guard::new(false);
    guard.desk.config.authorizer = None;
    guard.add("2 foo 3 User:* * 2 2");
    assert!(guard.allows("2 foo User:alice 10.0.0.1 3"));
}

/// Each API that asks for something of the cluster, with one item where there are items.
fn requests() -> Vec<AnyRequest> {
    vec![
        AnyRequest::Fetch(FetchRequest::default()),
        AnyRequest::FetchSnapshot(FetchSnapshotRequest::default()),
        AnyRequest::Vote(VoteRequest::default()),
        AnyRequest::BeginQuorumEpoch(BeginQuorumEpochRequest::default()),
        AnyRequest::EndQuorumEpoch(EndQuorumEpochRequest::default()),
        AnyRequest::DescribeQuorum(DescribeQuorumRequest::default()),
        AnyRequest::AddRaftVoter(AddRaftVoterRequest::default()),
        AnyRequest::RemoveRaftVoter(RemoveRaftVoterRequest::default()),
        AnyRequest::UpdateRaftVoter(UpdateRaftVoterRequest::default()),
        AnyRequest::TransferLeadership(TransferLeadershipRequest::default()),
        AnyRequest::BrokerRegistration(BrokerRegistrationRequest::default()),
        AnyRequest::BrokerHeartbeat(BrokerHeartbeatRequest::default()),
        AnyRequest::AlterPartition(AlterPartitionRequest::default()),
        AnyRequest::AllocateProducerIds(AllocateProducerIdsRequest::default()),
        AnyRequest::ControllerRegistration(ControllerRegistrationRequest::default()),
        AnyRequest::AssignReplicasToDirs(AssignReplicasToDirsRequest::default()),
        AnyRequest::UnregisterBroker(UnregisterBrokerRequest::default()),
        AnyRequest::UnregisterController(UnregisterControllerRequest::default()),
        AnyRequest::UpdateFeatures(UpdateFeaturesRequest::default()),
        AnyRequest::ElectLeaders(ElectLeadersRequest::default()),
        AnyRequest::AlterPartitionReassignments(AlterPartitionReassignmentsRequest::default()),
        AnyRequest::ListPartitionReassignments(ListPartitionReassignmentsRequest::default()),
        AnyRequest::DescribeCluster(DescribeClusterRequest::default()),
        AnyRequest::DescribeAcls(DescribeAclsRequest::default()),
        AnyRequest::DescribeUserScramCredentials(Default::default()),
        AnyRequest::CreateAcls(CreateAclsRequest {
            creations: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::DeleteAcls(DeleteAclsRequest {
            filters: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::AlterClientQuotas(AlterClientQuotasRequest {
            entries: vec![Default::default()],
            ..Default::default()
        }),
        AnyRequest::AlterUserScramCredentials(AlterUserScramCredentialsRequest {
            deletions: vec![alter_user_scram_credentials_request::ScramCredentialDeletion {
                name: KStr::from("u"),
                ..Default::default()
            }],
            ..Default::default()
        }),
    ]
}

#[test]
fn each_api_of_the_cluster_has_an_answer_for_whoever_may_not() {
    let config =
        ControllerConfig { authorizer: Some(Default::default()), ..ControllerConfig::default() };
    let guarded = Controller::new(config, 1);
    let open = Controller::new(ControllerConfig::default(), 1);
    for request in requests() {
        let api = request.api_key();
        let context = RequestContext::internal(*api.versions().end());
        let answer = guarded.deny(&context, &request).expect("refused");
        assert_eq!(answer.api_key(), api);
        let denied = ErrorCode::ClusterAuthorizationFailed.code();
        assert!(answer.error_codes().contains(&denied), "{api}: {answer:?}");
        assert!(open.deny(&context, &request).is_none(), "{api}");
    }
    for request in [
        AnyRequest::ApiVersions(ApiVersionsRequest::default()),
        AnyRequest::CreateTopics(CreateTopicsRequest::default()),
        AnyRequest::DescribeConfigs(DescribeConfigsRequest::default()),
        AnyRequest::CreateDelegationToken(CreateDelegationTokenRequest::default()),
    ] {
        let context = RequestContext::internal(0);
        assert!(guarded.deny(&context, &request).is_none(), "checked where it is decided");
    }
}
