//! ACLs, SCRAM credentials, delegation tokens.

use super::Gen;
use bytes::Bytes;
use quorate_interop::KafkaVersion;
use quorate_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use quorate_protocol::messages::create_acls_request::AclCreation;
use quorate_protocol::messages::create_delegation_token_request::CreatableRenewers;
use quorate_protocol::messages::delete_acls_request::DeleteAclsFilter;
use quorate_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateDelegationTokenRequest,
    DeleteAclsRequest, DescribeAclsRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest,
};
use quorate_protocol::{AnyRequest, KStr};

const HOUR_MS: i64 = 3_600_000;

impl Gen<'_> {
    fn acl_resource(&mut self) -> (i8, KStr) {
        match self.prng.below(16) {
            0..8 => (2, self.pick(&["t0", "t1", "t", "*", "t2"]).into()),
            8..10 => (3, self.pick(&["g1", "g"]).into()),
            10..13 => (4, "kafka-cluster".into()),
            13 => (5, "tx".into()),
            14 => (6, "token".into()),
            _ => (7, "User:alice".into()),
        }
    }

    fn host(&mut self) -> KStr {
        let host =
            self.pick(&["*", "*", "*", "127.0.0.1", "10.0.0.9", "10.0.0.0/8", "10.0.0.0/99", ""]);
        // Before 4.4 any text is a host.
        let is_odd = host.is_empty() || host.contains('/');
        KStr::from(if is_odd && self.scope.kafka < KafkaVersion::V4_4_0 {
            "10.0.0.8"
        } else {
            host
        })
    }

    pub(super) fn create_acls(&mut self) -> AnyRequest {
        let creations = self.several(1, 3, |it| {
            let (resource_type, resource_name) = it.acl_resource();
            let mut creation = AclCreation {
                resource_type,
                resource_name,
                resource_pattern_type: it.pick(&[3, 3, 3, 4]),
                principal: KStr::from(it.principal()),
                host: it.host(),
                operation: it.pick(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
                permission_type: it.pick(&[2, 3, 3, 3]),
                ..Default::default()
            };
            // Types and operations that no ACL can have fail all of the request in Kafka, by an
            // UNKNOWN_SERVER_ERROR (docs/differences.md).
            if it.one_in(25) {
                creation.resource_name = KStr::from(it.pick(&["", "not-the-cluster"]));
            }
            creation
        });
        AnyRequest::CreateAcls(CreateAclsRequest { creations, ..Default::default() })
    }

    /// All that a user needs to create and delete topics.
    pub(super) fn rights_of(&mut self, user: &str) -> AnyRequest {
        let creations = [(4, "kafka-cluster"), (2, "*")].map(|(resource_type, name)| AclCreation {
            resource_type,
            resource_name: KStr::from(name),
            resource_pattern_type: 3,
            principal: KStr::from(format!("User:{user}")),
            host: KStr::from("*"),
            operation: 2,
            permission_type: 3,
            ..Default::default()
        });
        let creations = creations.into();
        AnyRequest::CreateAcls(CreateAclsRequest { creations, ..Default::default() })
    }

    fn acl_filter(&mut self) -> DeleteAclsFilter {
        let (resource_type, resource_name) = self.acl_resource();
        DeleteAclsFilter {
            resource_type_filter: if self.one_in(3) { 1 } else { resource_type },
            resource_name_filter: self.maybe(3, |_| resource_name),
            pattern_type_filter: self.pick(&[1, 2, 3, 3, 4]),
            principal_filter: self.maybe(2, |it| KStr::from(it.principal())),
            host_filter: self.maybe(2, |it| it.host()),
            operation: self.pick(&[1, 1, 2, 3, 7, 8]),
            permission_type: self.pick(&[1, 1, 2, 3]),
            ..Default::default()
        }
    }

    pub(super) fn delete_acls(&mut self) -> AnyRequest {
        let filters = self.several(1, 2, |it| it.acl_filter());
        AnyRequest::DeleteAcls(DeleteAclsRequest { filters, ..Default::default() })
    }

    pub(super) fn describe_acls(&mut self) -> AnyRequest {
        let it = self.acl_filter();
        AnyRequest::DescribeAcls(DescribeAclsRequest {
            resource_type_filter: it.resource_type_filter,
            resource_name_filter: it.resource_name_filter,
            pattern_type_filter: it.pattern_type_filter,
            principal_filter: it.principal_filter,
            host_filter: it.host_filter,
            operation: it.operation,
            permission_type: it.permission_type,
            ..Default::default()
        })
    }

    pub(super) fn alter_user_scram_credentials(&mut self) -> AnyRequest {
        let deletions = self.several(0, 2, |it| ScramCredentialDeletion {
            name: KStr::from(it.user()),
            mechanism: it.pick(&[1, 1, 2, 2, 0, 3]),
            ..Default::default()
        });
        let upsertions =
            self.several(u64::from(deletions.is_empty()), 2, |it| ScramCredentialUpsertion {
                name: KStr::from(it.user()),
                mechanism: it.pick(&[1, 1, 1, 2, 2, 2, 0, 3]),
                iterations: it.pick(&[4096, 4096, 8192, 16384, 4095, 16385, 0]),
                salt: Bytes::from_static(if it.one_in(20) { b"" } else { b"salted" }),
                salted_password: Bytes::from_static(b"a password that was salted before"),
                ..Default::default()
            });
        AnyRequest::AlterUserScramCredentials(AlterUserScramCredentialsRequest {
            deletions,
            upsertions,
            ..Default::default()
        })
    }

    pub(super) fn create_delegation_token(&mut self) -> AnyRequest {
        let owner = self.one_in(5).then(|| KStr::from(self.user()));
        AnyRequest::CreateDelegationToken(CreateDelegationTokenRequest {
            owner_principal_type: owner.as_ref().map(|_| KStr::from("User")),
            owner_principal_name: owner,
            renewers: self.several(0, 2, |it| CreatableRenewers {
                principal_type: KStr::from(if it.one_in(15) { "Group" } else { "User" }),
                principal_name: KStr::from(it.user()),
                ..Default::default()
            }),
            max_lifetime_ms: self.pick(&[-1, HOUR_MS, 10_000 * HOUR_MS]),
            ..Default::default()
        })
    }

    pub(super) fn renew_delegation_token(&mut self) -> AnyRequest {
        AnyRequest::RenewDelegationToken(RenewDelegationTokenRequest {
            hmac: self.hmac(),
            renew_period_ms: self.pick(&[-1, HOUR_MS, 10_000 * HOUR_MS]),
            ..Default::default()
        })
    }

    pub(super) fn expire_delegation_token(&mut self) -> AnyRequest {
        AnyRequest::ExpireDelegationToken(ExpireDelegationTokenRequest {
            hmac: self.hmac(),
            expiry_time_period_ms: self.pick(&[-1, HOUR_MS, 10_000 * HOUR_MS]),
            ..Default::default()
        })
    }
}
