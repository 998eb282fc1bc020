//! Delegation tokens: create, renew, expire, and the sweep of expired ones (KIP-48, 900).

use crate::decide::scram::hmac;
use crate::{Draft, Env, Operation, Principal, RequestContext, Resource};
use bytes::Bytes;
use hmac::Hmac;
use quorate_base::Uuid;
use quorate_metadata::{DelegationToken, Image, Str};
use quorate_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, ExpireDelegationTokenRequest,
    ExpireDelegationTokenResponse, RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};
use quorate_protocol::records::{DelegationTokenRecord, RemoveDelegationTokenRecord};
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use sha2::Sha512;
use std::time::Duration;

/// Issues a token for its owner (by default whoever asks).
pub fn create_delegation_token(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let requester = &context.principal;
    let named = request.owner_principal_name.as_deref().filter(|name| !name.is_empty());
    let owner = match named {
        Some(name) => Principal {
            kind: Str::from(request.owner_principal_type.as_deref().unwrap_or("User")),
            name: Str::from(name),
            token_authenticated: false,
        },
        None => requester.clone(),
    };
    let mut response = CreateDelegationTokenResponse {
        principal_type: KStr::from(&owner.kind),
        principal_name: KStr::from(&owner.name),
        token_requester_principal_type: KStr::from(&requester.kind),
        token_requester_principal_name: KStr::from(&requester.name),
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..Default::default()
    };
    let refused = check_create(env, draft, context, request, &owner);
    let secret = match (refused, &env.config.delegation_tokens.secret_key) {
        (Err(error), _) => {
            response.error_code = error.code();
            return response;
        }
        (Ok(()), Some(secret)) => secret.clone(),
        (Ok(()), None) => {
            response.error_code = ErrorCode::DelegationTokenAuthDisabled.code();
            return response;
        }
    };
    let now_ms = env.now.wall_ms;
    let settings = &env.config.delegation_tokens;
    let longest = millis(settings.max_lifetime);
    let lifetime = if request.max_lifetime_ms > 0 {
        request.max_lifetime_ms.min(longest)
    } else {
        longest
    };
    let max_timestamp = now_ms.saturating_add(lifetime);
    let expiration = now_ms.saturating_add(millis(settings.expiry_time)).min(max_timestamp);
    let token_id = Uuid::random(env.prng).to_string();
    draft.push(MetadataRecord::DelegationToken(DelegationTokenRecord {
        owner: KStr::from(owner.to_string()),
        requester: KStr::from(requester.to_string()),
        renewers: request
            .renewers
            .iter()
            .map(|it| KStr::from(format!("{}:{}", it.principal_type, it.principal_name)))
            .collect(),
        issue_timestamp: now_ms,
        max_timestamp,
        expiration_timestamp: expiration,
        token_id: KStr::from(token_id.as_str()),
        ..Default::default()
    }));
    response.issue_timestamp_ms = now_ms;
    response.expiry_timestamp_ms = expiration;
    response.max_timestamp_ms = max_timestamp;
    response.hmac = token_hmac(&secret, &token_id);
    response.token_id = KStr::from(token_id);
    response
}

fn check_create(
    env: &Env<'_>,
    draft: &Draft,
    context: &RequestContext,
    request: &CreateDelegationTokenRequest,
    owner: &Principal,
) -> Result<(), ErrorCode> {
    if context.principal.token_authenticated {
        // Whoever came with a token must not make more of them.
        return Err(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    let for_itself = owner.to_string() == context.principal.to_string();
    let user = owner.to_string();
    if !for_itself
        && !env.authorize(draft.image(), context, Operation::CreateTokens, Resource::User(&user))
    {
        return Err(ErrorCode::DelegationTokenAuthorizationFailed);
    }
    if request.renewers.iter().any(|it| it.principal_type != "User") {
        return Err(ErrorCode::InvalidPrincipalType);
    }
    check_enabled(env, draft.image())
}

fn check_enabled(env: &Env<'_>, image: &Image) -> Result<(), ErrorCode> {
    if env.config.delegation_tokens.secret_key.is_none() {
        return Err(ErrorCode::DelegationTokenAuthDisabled);
    }
    if !image.features.metadata_version().supports_delegation_tokens() {
        return Err(ErrorCode::UnsupportedVersion);
    }
    Ok(())
}

/// Puts a token's expiry off, at most to its maximum.
pub fn renew_delegation_token(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &RenewDelegationTokenRequest,
) -> RenewDelegationTokenResponse {
    let outcome = held_token(env, draft.image(), context, &request.hmac).and_then(|token| {
        check_not_expired(env, &token)?;
        let default = millis(env.config.delegation_tokens.expiry_time);
        let period =
            if request.renew_period_ms < 0 { default } else { request.renew_period_ms.min(default) };
        Ok(prolong(env, draft, &token, period))
    });
    match outcome {
        Ok(expiry_timestamp_ms) => {
            RenewDelegationTokenResponse { expiry_timestamp_ms, ..Default::default() }
        }
        Err(error) => RenewDelegationTokenResponse {
            error_code: error.code(),
            expiry_timestamp_ms: -1,
            ..Default::default()
        },
    }
}

/// Changes a token's expiry; a negative period ends it at once.
pub fn expire_delegation_token(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &ExpireDelegationTokenRequest,
) -> ExpireDelegationTokenResponse {
    let outcome = held_token(env, draft.image(), context, &request.hmac).and_then(|token| {
        if request.expiry_time_period_ms < 0 {
            remove(draft, &token.token_id);
            return Ok(env.now.wall_ms);
        }
        check_not_expired(env, &token)?;
        Ok(prolong(env, draft, &token, request.expiry_time_period_ms))
    });
    match outcome {
        Ok(expiry_timestamp_ms) => {
            ExpireDelegationTokenResponse { expiry_timestamp_ms, ..Default::default() }
        }
        Err(error) => ExpireDelegationTokenResponse {
            error_code: error.code(),
            expiry_timestamp_ms: -1,
            ..Default::default()
        },
    }
}

/// Removes the tokens whose time is over.
pub fn sweep_expired_tokens(env: &mut Env<'_>, draft: &mut Draft) {
    let now_ms = env.now.wall_ms;
    let expired: Vec<Str> = draft
        .image()
        .delegation_tokens
        .iter()
        .filter(|token| is_expired(token, now_ms))
        .map(|token| token.token_id.clone())
        .collect();
    for token_id in expired {
        remove(draft, &token_id);
    }
}

/// The token with this secret, if the principal may renew or expire it.
fn held_token(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    secret_of_token: &[u8],
) -> Result<DelegationToken, ErrorCode> {
    if context.principal.token_authenticated {
        return Err(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    check_enabled(env, image)?;
    let secret = env.config.delegation_tokens.secret_key.as_deref().unwrap_or_default();
    let token = image
        .delegation_tokens
        .iter()
        .find(|token| token_hmac(secret, &token.token_id) == secret_of_token)
        .ok_or(ErrorCode::DelegationTokenNotFound)?;
    let who = context.principal.to_string();
    let may = token.owner == who.as_str()
        || token.requester == who.as_str()
        || token.renewers.iter().any(|it| *it == who.as_str());
    if may { Ok(token.clone()) } else { Err(ErrorCode::DelegationTokenOwnerMismatch) }
}

fn check_not_expired(env: &Env<'_>, token: &DelegationToken) -> Result<(), ErrorCode> {
    if is_expired(token, env.now.wall_ms) {
        return Err(ErrorCode::DelegationTokenExpired);
    }
    Ok(())
}

fn is_expired(token: &DelegationToken, now_ms: i64) -> bool {
    token.max_timestamp_ms < now_ms || token.expiration_timestamp_ms < now_ms
}

fn prolong(env: &Env<'_>, draft: &mut Draft, token: &DelegationToken, period_ms: i64) -> i64 {
    let expiration = env.now.wall_ms.saturating_add(period_ms).min(token.max_timestamp_ms);
    draft.push(MetadataRecord::DelegationToken(DelegationTokenRecord {
        owner: KStr::from(&token.owner),
        requester: KStr::from(&token.requester),
        renewers: token.renewers.iter().map(KStr::from).collect(),
        issue_timestamp: token.issue_timestamp_ms,
        max_timestamp: token.max_timestamp_ms,
        expiration_timestamp: expiration,
        token_id: KStr::from(&token.token_id),
        ..Default::default()
    }));
    expiration
}

fn remove(draft: &mut Draft, token_id: &Str) {
    draft.push(MetadataRecord::RemoveDelegationToken(RemoveDelegationTokenRecord {
        token_id: KStr::from(token_id),
        ..Default::default()
    }));
}

/// A token's secret, which every node with the shared key can derive.
fn token_hmac(secret_key: &str, token_id: &str) -> Bytes {
    hmac::<Hmac<Sha512>>(secret_key.as_bytes(), token_id.as_bytes())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
