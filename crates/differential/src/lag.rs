//! Kafka's controller looks ACLs and delegation tokens up in caches that follow its log, and describes
//! configuration as its log publishes it. What follows at once may still be decided as before: so it is
//! waited until it knows.

use crate::generate::{Step, Versions};
use crate::log::Located;
use crate::side::Side;
use bytes::Bytes;
use quorate_interop::{Failure, Outcome};
use quorate_protocol::messages::{DescribeAclsRequest, ExpireDelegationTokenRequest};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode, KStr, MetadataRecord};
use std::time::{Duration, Instant};

/// How long caches may lag behind the log.
pub const LAG: Duration = Duration::from_secs(5);
/// Neither owner nor renewer of any token.
const STRANGER: &str = "a stranger";

/// True for questions that change nothing and are answered from what the log published: they can be
/// asked again.
pub fn is_published(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::ApiVersions
            | ApiKey::DescribeAcls
            | ApiKey::DescribeCluster
            | ApiKey::DescribeConfigs
            | ApiKey::DescribeUserScramCredentials
    )
}

impl Side {
    /// Waits until this side decides by these records of its log.
    pub fn catch_up(&mut self, records: &[Located], versions: &Versions) -> Outcome<()> {
        use MetadataRecord as M;
        let mut acls = false;
        for (_, record, _) in records {
            match record {
                M::AccessControlEntry(_) | M::RemoveAccessControlEntry(_) => acls = true,
                M::DelegationToken(it) => self.await_token(&it.token_id, true, versions)?,
                M::RemoveDelegationToken(it) => self.await_token(&it.token_id, false, versions)?,
                _ => {}
            }
        }
        if acls { self.await_acls() } else { Ok(()) }
    }

    fn await_acls(&mut self) -> Outcome<()> {
        let every = AnyRequest::DescribeAcls(DescribeAclsRequest {
            resource_type_filter: 1,
            resource_name_filter: None,
            pattern_type_filter: 1,
            principal_filter: None,
            host_filter: None,
            operation: 1,
            permission_type: 1,
            ..Default::default()
        });
        let wanted = self.image().acls.len();
        self.wait("its ACLs are those of its log", |side| {
            let AnyResponse::DescribeAcls(answer) = side.send(&every)? else { return Ok(false) };
            Ok(answer.resources.iter().map(|it| it.acls.len()).sum::<usize>() == wanted)
        })
    }

    /// Who may not end a token learns all the same whether there is one.
    fn await_token(&mut self, id: &KStr, exists: bool, versions: &Versions) -> Outcome<()> {
        let Some(hmac) = self.hmacs.get(id.as_str()).cloned() else { return Ok(()) };
        self.wait("it knows its tokens", |side| {
            let code = side.expire_token(&hmac, STRANGER, versions)?;
            Ok((code == Some(ErrorCode::DelegationTokenNotFound.code())) != exists)
        })
    }

    /// Ends a token as this user; the error code of the answer.
    pub fn expire_token(
        &mut self,
        hmac: &Bytes,
        user: &str,
        versions: &Versions,
    ) -> Outcome<Option<i16>> {
        let request = ExpireDelegationTokenRequest {
            hmac: hmac.clone(),
            expiry_time_period_ms: -1,
            ..Default::default()
        };
        let mut step = Step::plain(AnyRequest::ExpireDelegationToken(request), versions);
        step.user = Some(KStr::from(user));
        Ok(match self.ask(&mut step, versions)?.response() {
            Some(AnyResponse::ExpireDelegationToken(it)) => Some(it.error_code),
            _ => None,
        })
    }

    fn wait(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Side) -> Outcome<bool>,
    ) -> Outcome<()> {
        let start = Instant::now();
        while !is_so(self)? {
            if start.elapsed() > LAG {
                return Err(Failure(format!("{}: not after {LAG:?}: {what}", self.name)));
            }
        }
        Ok(())
    }
}
