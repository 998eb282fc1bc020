//! CreateAcls, DeleteAcls, DescribeAcls (KIP-11, 290, 801).

use crate::authorize::{
    CLUSTER_NAME, WILDCARD, parse_cidr, pattern_type, permission_type, resource_type,
};
use crate::decide::refusal::Refusal;
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP};
use quorate_base::Uuid;
use quorate_metadata::{Image, StandardAcl, Str};
use quorate_protocol::messages::create_acls_request::AclCreation;
use quorate_protocol::messages::create_acls_response::AclCreationResult;
use quorate_protocol::messages::delete_acls_request::DeleteAclsFilter;
use quorate_protocol::messages::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl,
};
use quorate_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use quorate_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse,
};
use quorate_protocol::records::RemoveAccessControlEntryRecord;
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use std::collections::{BTreeMap, BTreeSet};

const NO_AUTHORIZER: &str = "No Authorizer is configured.";
const ANY: i8 = 1;
/// `AclOperation` has numbers 2 (ALL) to 15 (TWO_PHASE_COMMIT) for what an entry may name.
const OPERATIONS: std::ops::RangeInclusive<i8> = 2..=15;
/// `ResourceType` has numbers 2 (TOPIC) to 7 (USER).
const RESOURCE_TYPES: std::ops::RangeInclusive<i8> = 2..=7;

/// Adds the entries that are not there yet. Each is judged by itself; one that exists already is a
/// success without a record.
///
/// Errors: SECURITY_DISABLED without an authorizer, INVALID_REQUEST, POLICY_VIOLATION for all if there are
/// more than 10,000.
pub fn create_acls(
    env: &mut Env<'_>,
    draft: &mut Draft,
    request: &CreateAclsRequest,
) -> CreateAclsResponse {
    if env.config.authorizer.is_none() {
        let results = request.creations.iter();
        return CreateAclsResponse {
            results: results
                .map(|_| creation_failed(ErrorCode::SecurityDisabled, NO_AUTHORIZER.to_owned()))
                .collect(),
            ..Default::default()
        };
    }
    // An image holds entries by id; this tells which contents exist, those of this request included.
    let mut existing: BTreeSet<StandardAcl> = draft
        .image()
        .acls
        .iter()
        .map(|acl| StandardAcl { id: Uuid::ZERO, ..acl.clone() })
        .collect();
    let cidr = draft.image().features.metadata_version().supports_cidr_acls();
    let start = draft.checkpoint();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let mut results = Vec::with_capacity(request.creations.len());
    for creation in &request.creations {
        if let Err(why) = check_creation(creation, cidr) {
            results.push(creation_failed(ErrorCode::InvalidRequest, why));
            continue;
        }
        let acl = StandardAcl {
            id: Uuid::ZERO,
            resource_type: creation.resource_type,
            resource_name: Str::from(&creation.resource_name),
            pattern_type: creation.resource_pattern_type,
            principal: Str::from(&creation.principal),
            host: Str::from(&creation.host),
            operation: creation.operation,
            permission_type: creation.permission_type,
        };
        if existing.insert(acl.clone()) {
            let id = new_id(env, draft.image());
            draft.push(StandardAcl { id, ..acl }.to_record());
        }
        results.push(AclCreationResult { error_code: 0, ..Default::default() });
    }
    if draft.len() > limit {
        draft.rollback(start);
        let refusal = Refusal::too_many_records();
        let failed = |_: &AclCreation| {
            creation_failed(refusal.error, refusal.message.clone().unwrap_or_default())
        };
        results = request.creations.iter().map(failed).collect();
    }
    CreateAclsResponse { results, ..Default::default() }
}

fn new_id(env: &mut Env<'_>, image: &Image) -> Uuid {
    loop {
        let id = Uuid::random(env.prng);
        if image.acls.get(id).is_none() {
            return id;
        }
    }
}

fn creation_failed(error: ErrorCode, why: String) -> AclCreationResult {
    AclCreationResult {
        error_code: error.code(),
        error_message: Some(KStr::from(why)),
        ..Default::default()
    }
}

fn check_creation(creation: &AclCreation, cidr: bool) -> Result<(), String> {
    let name = creation.resource_name.as_str();
    if creation.resource_type == resource_type::CLUSTER && name != CLUSTER_NAME {
        return Err(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}"));
    }
    if name.is_empty() {
        return Err("Invalid empty resource name".to_owned());
    }
    let pattern = creation.resource_pattern_type;
    if !matches!(pattern, pattern_type::LITERAL | pattern_type::PREFIXED) {
        return Err(format!("Invalid patternType {}", pattern_name(pattern)));
    }
    if !RESOURCE_TYPES.contains(&creation.resource_type) {
        return Err(format!("Invalid resourceType {}", any_or_unknown(creation.resource_type)));
    }
    if !OPERATIONS.contains(&creation.operation) {
        return Err(format!("Invalid operation {}", any_or_unknown(creation.operation)));
    }
    let permission = creation.permission_type;
    if !matches!(permission, permission_type::ALLOW | permission_type::DENY) {
        return Err(format!("Invalid permissionType {}", any_or_unknown(permission)));
    }
    let principal = creation.principal.as_str();
    if !principal.contains(':') {
        return Err(format!(
            "Could not parse principal from `{principal}` (no colon is present separating the \
             principal type from the principal name)"
        ));
    }
    check_host(creation.host.as_str(), cidr)
}

fn pattern_name(number: i8) -> &'static str {
    match number {
        pattern_type::MATCH => "MATCH",
        other => any_or_unknown(other),
    }
}

/// All of Kafka's enumerations have ANY for 1.
fn any_or_unknown(number: i8) -> &'static str {
    if number == ANY { "ANY" } else { "UNKNOWN" }
}

fn check_host(host: &str, cidr: bool) -> Result<(), String> {
    if host.is_empty() {
        return Err("Host pattern cannot be null or empty".to_owned());
    }
    // Other names that are no address are kept, as Kafka does, and then match nobody.
    if !host.contains('/') {
        return Ok(());
    }
    if !cidr {
        return Err(format!(
            "Host '{host}' is a range of addresses, which needs metadata.version 4.4-IV1 or higher"
        ));
    }
    match parse_cidr(host) {
        Some(_) => Ok(()),
        None => Err(format!("Invalid CIDR notation '{host}': it must be ADDRESS/BITS")),
    }
}

/// Removes what each filter matches, and says what that was.
///
/// Errors: SECURITY_DISABLED without an authorizer, INVALID_REQUEST, POLICY_VIOLATION for a filter that would
/// make more than 10,000 records.
pub fn delete_acls(
    env: &mut Env<'_>,
    draft: &mut Draft,
    request: &DeleteAclsRequest,
) -> DeleteAclsResponse {
    // Each filter is answered as if it were alone: one entry may be named by several.
    let before = draft.image().clone();
    let limit = draft.len() + MAX_RECORDS_PER_USER_OP;
    let mut filter_results = Vec::with_capacity(request.filters.len());
    for filter in &request.filters {
        if env.config.authorizer.is_none() {
            filter_results.push(filter_failed(ErrorCode::SecurityDisabled, NO_AUTHORIZER));
            continue;
        }
        let filter = Filter::of_delete(filter);
        if let Err(why) = filter.check() {
            filter_results.push(filter_failed(ErrorCode::InvalidRequest, why));
            continue;
        }
        let matching: Vec<StandardAcl> =
            before.acls.iter().filter(|acl| filter.matches(acl)).cloned().collect();
        if draft.len() + matching.len() > limit {
            let refusal = Refusal::too_many_records();
            filter_results
                .push(filter_failed(refusal.error, refusal.message.as_deref().unwrap_or_default()));
            continue;
        }
        for acl in &matching {
            if draft.image().acls.get(acl.id).is_none() {
                continue;
            }
            draft.push(MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord {
                id: acl.id,
                ..Default::default()
            }));
        }
        filter_results.push(DeleteAclsFilterResult {
            error_message: None,
            matching_acls: matching.iter().map(deleted).collect(),
            ..Default::default()
        });
    }
    DeleteAclsResponse { filter_results, ..Default::default() }
}

fn filter_failed(error: ErrorCode, why: &str) -> DeleteAclsFilterResult {
    DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: Some(KStr::from(why)),
        ..Default::default()
    }
}

fn deleted(acl: &StandardAcl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        resource_type: acl.resource_type,
        resource_name: KStr::from(&acl.resource_name),
        pattern_type: acl.pattern_type,
        principal: KStr::from(&acl.principal),
        host: KStr::from(&acl.host),
        operation: acl.operation,
        permission_type: acl.permission_type,
        error_message: None,
        ..Default::default()
    }
}

/// Lists what the filter matches, grouped by resource.
pub fn describe_acls(
    env: &Env<'_>,
    image: &Image,
    request: &DescribeAclsRequest,
) -> DescribeAclsResponse {
    let failed = |error: ErrorCode, why: &str| DescribeAclsResponse {
        error_code: error.code(),
        error_message: Some(KStr::from(why)),
        ..Default::default()
    };
    if env.config.authorizer.is_none() {
        return failed(ErrorCode::SecurityDisabled, NO_AUTHORIZER);
    }
    let filter = Filter::of_describe(request);
    // Kafka lets numbers pass here that it does not know; they match nothing.
    if let Err(why) = filter.check_given() {
        return failed(ErrorCode::InvalidRequest, why);
    }
    let mut by_resource: BTreeMap<(i8, Str, i8), Vec<AclDescription>> = BTreeMap::new();
    for acl in image.acls.iter().filter(|acl| filter.matches(acl)) {
        let key = (acl.resource_type, acl.resource_name.clone(), acl.pattern_type);
        by_resource.entry(key).or_default().push(AclDescription {
            principal: KStr::from(&acl.principal),
            host: KStr::from(&acl.host),
            operation: acl.operation,
            permission_type: acl.permission_type,
            ..Default::default()
        });
    }
    let resources = by_resource
        .into_iter()
        .map(|((resource_type, name, pattern_type), acls)| DescribeAclsResource {
            resource_type,
            resource_name: KStr::from(&name),
            pattern_type,
            acls,
            ..Default::default()
        })
        .collect();
    DescribeAclsResponse { resources, ..Default::default() }
}

/// An `AclBindingFilter`: a missing name or the number 1 (ANY) matches everything.
struct Filter<'a> {
    resource_type: i8,
    resource_name: Option<&'a str>,
    pattern_type: i8,
    principal: Option<&'a str>,
    host: Option<&'a str>,
    operation: i8,
    permission_type: i8,
}

impl<'a> Filter<'a> {
    fn of_delete(filter: &'a DeleteAclsFilter) -> Filter<'a> {
        Filter {
            resource_type: filter.resource_type_filter,
            resource_name: filter.resource_name_filter.as_deref(),
            pattern_type: filter.pattern_type_filter,
            principal: filter.principal_filter.as_deref(),
            host: filter.host_filter.as_deref(),
            operation: filter.operation,
            permission_type: filter.permission_type,
        }
    }

    fn of_describe(filter: &'a DescribeAclsRequest) -> Filter<'a> {
        Filter {
            resource_type: filter.resource_type_filter,
            resource_name: filter.resource_name_filter.as_deref(),
            pattern_type: filter.pattern_type_filter,
            principal: filter.principal_filter.as_deref(),
            host: filter.host_filter.as_deref(),
            operation: filter.operation,
            permission_type: filter.permission_type,
        }
    }

    fn check_given(&self) -> Result<(), &'static str> {
        if self.resource_type == 0 || self.pattern_type == 0 {
            return Err("Unknown patternFilter.");
        }
        if self.operation == 0 || self.permission_type == 0 {
            return Err("Unknown entryFilter.");
        }
        Ok(())
    }

    fn check(&self) -> Result<(), &'static str> {
        let known = |number: i8, highest: i8| (1..=highest).contains(&number);
        if !known(self.resource_type, *RESOURCE_TYPES.end())
            || !known(self.pattern_type, pattern_type::PREFIXED)
        {
            return Err("Unknown patternFilter.");
        }
        if !known(self.operation, *OPERATIONS.end())
            || !known(self.permission_type, permission_type::ALLOW)
        {
            return Err("Unknown entryFilter.");
        }
        Ok(())
    }

    fn matches(&self, acl: &StandardAcl) -> bool {
        let any_or = |wanted: i8, any: i8, it: i8| wanted == any || wanted == it;
        any_or(self.resource_type, resource_type::ANY, acl.resource_type)
            && self.matches_pattern(acl)
            && self.principal.is_none_or(|wanted| acl.principal == wanted)
            && self.host.is_none_or(|wanted| acl.host == wanted)
            && any_or(self.operation, ANY, acl.operation)
            && any_or(self.permission_type, permission_type::ANY, acl.permission_type)
    }

    fn matches_pattern(&self, acl: &StandardAcl) -> bool {
        let is_named = |wanted: &str| acl.resource_name == wanted;
        match self.pattern_type {
            pattern_type::MATCH => self.resource_name.is_none_or(|wanted| match acl.pattern_type {
                pattern_type::PREFIXED => wanted.starts_with(acl.resource_name.as_str()),
                _ => is_named(wanted) || acl.resource_name == WILDCARD,
            }),
            pattern_type::ANY => self.resource_name.is_none_or(is_named),
            exact => exact == acl.pattern_type && self.resource_name.is_none_or(is_named),
        }
    }
}
