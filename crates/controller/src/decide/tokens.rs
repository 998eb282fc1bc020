//! Delegation tokens: create, renew, expire, and the sweep of expired ones (KIP-48, 900).

use crate::decide::scram::hmac;
use crate::{Draft, Env, Operation, Principal, RequestContext, Resource};
use bytes::Bytes;
use hmac::Hmac;
use quorate_base::Uuid;
use quorate_metadata::{DelegationToken, Image, Str};
use quorate_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenResponse,
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse, RenewDelegationTokenRequest,
    RenewDelegationTokenResponse,
};
use quorate_protocol::records::RemoveDelegationTokenRecord;
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use sha2::Sha512;
use std::time::Duration;

/// Issues a token for its owner (by default whoever asks).
///
/// Errors: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, DELEGATION_TOKEN_AUTHORIZATION_FAILED,
/// DELEGATION_TOKEN_AUTH_DISABLED, UNSUPPORTED_VERSION, INVALID_PRINCIPAL_TYPE.
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
        ..Default::default()
    };
    let refused = check_asker(env, draft.image(), context, &owner).inspect_err(|_| {
        response.issue_timestamp_ms = -1;
        response.expiry_timestamp_ms = -1;
        response.max_timestamp_ms = -1;
    });
    let secret =
        refused.and_then(|()| secret(env, draft.image())).and_then(|secret| {
            match request.renewers.iter().all(|it| it.principal_type == "User") {
                true => Ok(secret),
                false => Err(ErrorCode::InvalidPrincipalType),
            }
        });
    let secret = match secret {
        Ok(secret) => secret,
        Err(error) => {
            response.error_code = error.code();
            return response;
        }
    };
    let now_ms = env.now.wall_ms;
    let settings = &env.config.delegation_tokens;
    let longest = millis(settings.max_lifetime);
    let asked = Some(request.max_lifetime_ms).filter(|it| *it > 0);
    let max_timestamp_ms = now_ms.saturating_add(asked.map_or(longest, |it| it.min(longest)));
    let token = DelegationToken {
        token_id: Str::from(Uuid::random(env.prng).to_string()),
        owner: Str::from(owner.to_string()),
        requester: Str::from(requester.to_string()),
        renewers: request
            .renewers
            .iter()
            .map(|it| Str::from(format!("{}:{}", it.principal_type, it.principal_name)))
            .collect(),
        issue_timestamp_ms: now_ms,
        max_timestamp_ms,
        expiration_timestamp_ms: now_ms
            .saturating_add(millis(settings.expiry_time))
            .min(max_timestamp_ms),
    };
    draft.push(token.to_record());
    response.issue_timestamp_ms = token.issue_timestamp_ms;
    response.expiry_timestamp_ms = token.expiration_timestamp_ms;
    response.max_timestamp_ms = token.max_timestamp_ms;
    response.hmac = token_hmac(&secret, &token.token_id);
    response.token_id = KStr::from(&token.token_id);
    response
}

fn check_asker(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    owner: &Principal,
) -> Result<(), ErrorCode> {
    check_channel(context)?;
    let requester = &context.principal;
    let for_itself = owner.kind == requester.kind && owner.name == requester.name;
    let user = owner.to_string();
    let may = |operation| env.authorize(image, context, operation, Resource::User(&user));
    if !for_itself && !may(Operation::CreateTokens) {
        return Err(ErrorCode::DelegationTokenAuthorizationFailed);
    }
    Ok(())
}

/// A token is a secret: it goes to authenticated clients only, and not to one that came with a token. What
/// a broker forwards, the broker has looked at. Nobody who came without authentication has another name
/// than this one.
fn check_channel(context: &RequestContext) -> Result<(), ErrorCode> {
    let anonymous = Principal::anonymous();
    let is_anonymous =
        context.principal.kind == anonymous.kind && context.principal.name == anonymous.name;
    if context.principal.token_authenticated || (is_anonymous && !context.forwarded) {
        return Err(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    Ok(())
}

/// The key that tokens are made with, if there are any tokens.
fn secret(env: &Env<'_>, image: &Image) -> Result<Str, ErrorCode> {
    let secret = env.config.delegation_tokens.secret_key.clone();
    let secret = secret.ok_or(ErrorCode::DelegationTokenAuthDisabled)?;
    if !image.features.metadata_version().supports_delegation_tokens() {
        return Err(ErrorCode::UnsupportedVersion);
    }
    Ok(secret)
}

/// Puts a token's expiry off, at most to its maximum.
///
/// Errors: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, DELEGATION_TOKEN_AUTH_DISABLED, UNSUPPORTED_VERSION,
/// DELEGATION_TOKEN_NOT_FOUND, DELEGATION_TOKEN_EXPIRED, DELEGATION_TOKEN_OWNER_MISMATCH.
pub fn renew_delegation_token(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &RenewDelegationTokenRequest,
) -> RenewDelegationTokenResponse {
    let outcome = find_token(env, draft.image(), context, &request.hmac).and_then(|token| {
        check_not_expired(env, &token)?;
        check_owner_or_renewer(&token, &context.principal)?;
        let longest = millis(env.config.delegation_tokens.expiry_time);
        let asked = Some(request.renew_period_ms).filter(|it| *it > 0);
        Ok(prolong(env, draft, &token, asked.map_or(longest, |it| it.min(longest))))
    });
    match outcome {
        Ok(expiry_timestamp_ms) => {
            RenewDelegationTokenResponse { expiry_timestamp_ms, ..Default::default() }
        }
        Err(error) => RenewDelegationTokenResponse {
            error_code: error.code(),
            expiry_timestamp_ms: expiry_of_failure(error),
            ..Default::default()
        },
    }
}

/// Changes a token's expiry; a negative period ends it at once.
///
/// Errors: as [`renew_delegation_token`], but the owner is looked at before the expiry.
pub fn expire_delegation_token(
    env: &mut Env<'_>,
    draft: &mut Draft,
    context: &RequestContext,
    request: &ExpireDelegationTokenRequest,
) -> ExpireDelegationTokenResponse {
    let outcome = find_token(env, draft.image(), context, &request.hmac).and_then(|token| {
        check_owner_or_renewer(&token, &context.principal)?;
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
            expiry_timestamp_ms: expiry_of_failure(error),
            ..Default::default()
        },
    }
}

/// Kafka's answers differ in this.
fn expiry_of_failure(error: ErrorCode) -> i64 {
    if error == ErrorCode::DelegationTokenRequestNotAllowed { -1 } else { 0 }
}

/// Kafka's controllers advertise this API and then have no answer. Its answer has the secrets of tokens,
/// which brokers give to authenticated clients; a controller gives them to nobody.
pub fn describe_delegation_token() -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        ..Default::default()
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

/// The token with this secret.
fn find_token(
    env: &Env<'_>,
    image: &Image,
    context: &RequestContext,
    secret_of_token: &[u8],
) -> Result<DelegationToken, ErrorCode> {
    check_channel(context)?;
    let secret = secret(env, image)?;
    let mut tokens = image.delegation_tokens.iter();
    let found = tokens.find(|token| token_hmac(&secret, &token.token_id) == secret_of_token);
    found.cloned().ok_or(ErrorCode::DelegationTokenNotFound)
}

/// Who asked for the token in another's name has given it away with that.
fn check_owner_or_renewer(token: &DelegationToken, who: &Principal) -> Result<(), ErrorCode> {
    let who = who.to_string();
    let may = token.owner == who.as_str() || token.renewers.iter().any(|it| *it == who.as_str());
    if may { Ok(()) } else { Err(ErrorCode::DelegationTokenOwnerMismatch) }
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
    let asked = env.now.wall_ms.saturating_add(period_ms);
    let expiration_timestamp_ms = asked.min(token.max_timestamp_ms);
    let prolonged = DelegationToken { expiration_timestamp_ms, ..token.clone() };
    draft.push(prolonged.to_record());
    expiration_timestamp_ms
}

fn remove(draft: &mut Draft, token_id: &Str) {
    draft.push(MetadataRecord::RemoveDelegationToken(RemoveDelegationTokenRecord {
        token_id: KStr::from(token_id),
        ..Default::default()
    }));
}

/// A token's secret, which every node with the shared key can derive.
pub fn token_hmac(secret_key: &str, token_id: &str) -> Bytes {
    hmac::<Hmac<Sha512>>(secret_key.as_bytes(), token_id.as_bytes())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
