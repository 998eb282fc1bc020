//! Delegation tokens: what is refused, what a token is, how long it lives.

mod desk;

use bytes::Bytes;
use desk::{Desk, NOW_MS, name};
use quorate_controller::decide::tokens::{
    create_delegation_token, describe_delegation_token, expire_delegation_token,
    renew_delegation_token, sweep_expired_tokens, token_hmac,
};
use quorate_metadata::Str;
use quorate_protocol::messages::create_delegation_token_request::CreatableRenewers;
use quorate_protocol::messages::*;
use quorate_protocol::records::{DelegationTokenRecord, RemoveDelegationTokenRecord};
use quorate_protocol::{KStr, MetadataRecord};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn desk() -> Desk {
    let mut desk = Desk::at(30);
    desk.config.delegation_tokens.secret_key = Some(Str::from("s3cret"));
    desk.ask_as("alice");
    desk
}

fn create(
    desk: &mut Desk,
    request: CreateDelegationTokenRequest,
) -> (CreateDelegationTokenResponse, Vec<MetadataRecord>) {
    desk.decide(|env, draft, context| create_delegation_token(env, draft, context, &request))
}

fn renew(desk: &mut Desk, hmac: &[u8], renew_period_ms: i64) -> (&'static str, i64) {
    let hmac = Bytes::copy_from_slice(hmac);
    let request = RenewDelegationTokenRequest { hmac, renew_period_ms, ..Default::default() };
    let (answer, _) =
        desk.decide(|env, draft, context| renew_delegation_token(env, draft, context, &request));
    (name(answer.error_code), answer.expiry_timestamp_ms)
}

fn expire(desk: &mut Desk, hmac: &[u8], expiry_time_period_ms: i64) -> (&'static str, i64) {
    let hmac = Bytes::copy_from_slice(hmac);
    let request =
        ExpireDelegationTokenRequest { hmac, expiry_time_period_ms, ..Default::default() };
    let (answer, _) =
        desk.decide(|env, draft, context| expire_delegation_token(env, draft, context, &request));
    (name(answer.error_code), answer.expiry_timestamp_ms)
}

fn renewer(kind: &str, name: &str) -> CreatableRenewers {
    CreatableRenewers {
        principal_type: KStr::from(kind),
        principal_name: KStr::from(name),
        ..Default::default()
    }
}

/// Token and secret as Kafka 4.3.0 issued them with the key `s3cret`.
#[test]
fn the_secret_of_a_token_is_kafkas() {
    let expected =
        "koy8eOXWiCOjhjbEGGyuJNdfhKuNaRFNzZ0J8UA3M0rNmyXOemrTJTH7VzhLZ6HPDQhIFXkl51IijmoYjNjjNg==";
    assert_eq!(base64(&token_hmac("s3cret", "bT3aR0phQw2tkvFSqjqAwQ")), expected);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[test]
fn a_token_is_written_and_answered() {
    let mut desk = desk();
    let renewers = vec![renewer("User", "bob")];
    let (answer, records) = create(
        &mut desk,
        CreateDelegationTokenRequest { max_lifetime_ms: -1, renewers, ..Default::default() },
    );
    assert_eq!(name(answer.error_code), "NONE");
    assert_eq!((answer.principal_type.as_str(), answer.principal_name.as_str()), ("User", "alice"));
    assert_eq!(answer.issue_timestamp_ms, NOW_MS);
    assert_eq!(answer.max_timestamp_ms, NOW_MS + 7 * DAY_MS);
    assert_eq!(answer.expiry_timestamp_ms, NOW_MS + DAY_MS);
    assert_eq!(answer.hmac, token_hmac("s3cret", &answer.token_id));
    let expected = DelegationTokenRecord {
        owner: KStr::from("User:alice"),
        requester: KStr::from("User:alice"),
        renewers: vec![KStr::from("User:bob")],
        issue_timestamp: NOW_MS,
        max_timestamp: NOW_MS + 7 * DAY_MS,
        expiration_timestamp: NOW_MS + DAY_MS,
        token_id: answer.token_id,
        ..Default::default()
    };
    assert_eq!(records, [MetadataRecord::DelegationToken(expected)]);
}

#[test]
fn a_lifetime_is_at_most_the_configured_one() {
    for (asked, lifetime, first_period) in [
        (-1, 7 * DAY_MS, DAY_MS),
        (0, 7 * DAY_MS, DAY_MS),
        (HOUR_MS, HOUR_MS, HOUR_MS),
        (i64::MAX, 7 * DAY_MS, DAY_MS),
    ] {
        let request = CreateDelegationTokenRequest { max_lifetime_ms: asked, ..Default::default() };
        let (answer, _) = create(&mut desk(), request);
        assert_eq!(answer.max_timestamp_ms, NOW_MS + lifetime, "{asked}");
        assert_eq!(answer.expiry_timestamp_ms, NOW_MS + first_period, "{asked}");
    }
}

#[test]
fn each_error_of_a_creation() {
    type Change = fn(&mut Desk, &mut CreateDelegationTokenRequest);
    let for_bob: Change = |_, request| request.owner_principal_name = Some(KStr::from("bob"));
    let rows: &[(&str, &[Change], i64)] = &[
        (
            "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
            &[|desk, _| desk.context.principal.token_authenticated = true],
            -1,
        ),
        ("DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", &[|desk, _| desk.ask_as("ANONYMOUS")], -1),
        (
            "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
            &[for_bob, |desk, _| desk.config.authorizer = Some(Default::default())],
            -1,
        ),
        (
            "DELEGATION_TOKEN_AUTH_DISABLED",
            &[|desk, request| {
                desk.config.delegation_tokens.secret_key = None;
                request.renewers = vec![renewer("Role", "x")];
            }],
            0,
        ),
        (
            "UNSUPPORTED_VERSION",
            &[|desk, request| {
                desk.apply(desk::feature("metadata.version", 13));
                request.renewers = vec![renewer("Role", "x")];
            }],
            0,
        ),
        (
            "INVALID_PRINCIPAL_TYPE",
            &[|_, request| request.renewers = vec![renewer("Role", "x")]],
            0,
        ),
    ];
    for (error, changes, timestamp) in rows {
        let (mut desk, mut request) = (desk(), CreateDelegationTokenRequest::default());
        request.owner_principal_type = Some(KStr::from("User"));
        changes.iter().for_each(|change| change(&mut desk, &mut request));
        let (answer, records) = create(&mut desk, request);
        assert_eq!((name(answer.error_code), records.len()), (*error, 0));
        assert_eq!(answer.issue_timestamp_ms, *timestamp, "{error}");
    }
}

#[test]
fn a_token_for_somebody_else_is_theirs_and_not_the_askers() {
    let mut desk = desk();
    let request = CreateDelegationTokenRequest {
        owner_principal_type: Some(KStr::from("User")),
        owner_principal_name: Some(KStr::from("bob")),
        ..Default::default()
    };
    let (answer, _) = create(&mut desk, request);
    assert_eq!(answer.principal_name, "bob");
    assert_eq!(answer.token_requester_principal_name, "alice");
    for who in ["alice", "carol"] {
        desk.ask_as(who);
        for outcome in [renew(&mut desk, &answer.hmac, -1), expire(&mut desk, &answer.hmac, -1)] {
            assert_eq!(outcome.0, "DELEGATION_TOKEN_OWNER_MISMATCH", "{who}");
        }
    }
    desk.ask_as("bob");
    assert_eq!(renew(&mut desk, &answer.hmac, -1).0, "NONE");
    assert_eq!(expire(&mut desk, &answer.hmac, -1).0, "NONE");
}

#[test]
fn what_a_broker_forwards_may_be_anonymous() {
    let mut desk = desk();
    desk.ask_as("ANONYMOUS");
    desk.context.forwarded = true;
    let (answer, _) = create(&mut desk, CreateDelegationTokenRequest::default());
    assert_eq!(name(answer.error_code), "NONE");
}

fn with_token() -> (Desk, Bytes) {
    let mut desk = desk();
    let request = CreateDelegationTokenRequest {
        renewers: vec![renewer("User", "bob")],
        ..Default::default()
    };
    let (answer, _) = create(&mut desk, request);
    (desk, answer.hmac)
}

#[test]
fn renewing_goes_up_to_the_period_and_the_end_of_life() {
    for (after, asked, expiry) in [
        (HOUR_MS, -1, NOW_MS + HOUR_MS + DAY_MS),
        (HOUR_MS, 0, NOW_MS + HOUR_MS + DAY_MS),
        (HOUR_MS, 5, NOW_MS + HOUR_MS + 5),
        (HOUR_MS, 9 * DAY_MS, NOW_MS + HOUR_MS + DAY_MS),
    ] {
        let (mut desk, hmac) = with_token();
        desk.now.wall_ms += after;
        assert_eq!(renew(&mut desk, &hmac, asked), ("NONE", expiry));
        let token = desk.image.delegation_tokens.iter().next().expect("the token");
        assert_eq!(token.expiration_timestamp_ms, expiry);
    }
    let (mut desk, hmac) = with_token();
    for day in 1..7 {
        desk.now.wall_ms = NOW_MS + day * DAY_MS;
        renew(&mut desk, &hmac, -1);
    }
    desk.now.wall_ms = NOW_MS + 6 * DAY_MS + HOUR_MS;
    assert_eq!(renew(&mut desk, &hmac, -1), ("NONE", NOW_MS + 7 * DAY_MS));
}

#[test]
fn each_error_of_renewing_and_expiring() {
    type Change = fn(&mut Desk);
    let late: Change = |desk| desk.now.wall_ms += DAY_MS + 1;
    let stranger: Change = |desk| desk.ask_as("carol");
    // What is different, the secret if it is not the token's, the errors of renewing and expiring.
    type Row<'a> = (&'a [Change], Option<&'a [u8]>, &'a str, &'a str);
    #[rustfmt::skip]
    let rows: &[Row<'_>] = &[
        (&[|desk| desk.context.principal.token_authenticated = true], None, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED"),
        (&[|desk| desk.ask_as("ANONYMOUS")], None, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED"),
        (&[|desk| desk.config.delegation_tokens.secret_key = None], None, "DELEGATION_TOKEN_AUTH_DISABLED", "DELEGATION_TOKEN_AUTH_DISABLED"),
        (&[|desk| desk.apply(desk::feature("metadata.version", 13))], None, "UNSUPPORTED_VERSION", "UNSUPPORTED_VERSION"),
        (&[], Some(b"x"), "DELEGATION_TOKEN_NOT_FOUND", "DELEGATION_TOKEN_NOT_FOUND"),
        (&[late], None, "DELEGATION_TOKEN_EXPIRED", "DELEGATION_TOKEN_EXPIRED"),
        (&[stranger], None, "DELEGATION_TOKEN_OWNER_MISMATCH", "DELEGATION_TOKEN_OWNER_MISMATCH"),
        (&[late, stranger], None, "DELEGATION_TOKEN_EXPIRED", "DELEGATION_TOKEN_OWNER_MISMATCH"),
    ];
    for (changes, hmac, on_renewing, on_expiring) in rows {
        let (mut desk, own) = with_token();
        changes.iter().for_each(|change| change(&mut desk));
        let hmac = hmac.unwrap_or(&own);
        assert_eq!(renew(&mut desk, hmac, -1).0, *on_renewing);
        assert_eq!(expire(&mut desk, hmac, 5).0, *on_expiring);
        assert!(desk.image.delegation_tokens.iter().next().is_some());
    }
}

#[test]
fn expiring_sets_a_time_or_ends_it_at_once() {
    let (mut desk, hmac) = with_token();
    desk.ask_as("bob");
    assert_eq!(expire(&mut desk, &hmac, 5), ("NONE", NOW_MS + 5));
    assert_eq!(expire(&mut desk, &hmac, 99 * DAY_MS), ("NONE", NOW_MS + 7 * DAY_MS));
    assert_eq!(expire(&mut desk, &hmac, -1), ("NONE", NOW_MS));
    assert!(desk.image.delegation_tokens.iter().next().is_none());
    assert_eq!(expire(&mut desk, &hmac, -1).0, "DELEGATION_TOKEN_NOT_FOUND");
}

#[test]
fn the_sweep_takes_what_is_over() {
    let (mut desk, _) = with_token();
    let first = desk.image.delegation_tokens.iter().next().expect("the token").token_id.clone();
    desk.now.wall_ms += DAY_MS;
    create(&mut desk, CreateDelegationTokenRequest::default());
    let ((), records) = desk.decide(|env, draft, _| sweep_expired_tokens(env, draft));
    assert!(records.is_empty(), "it lives to the end of that millisecond");
    desk.now.wall_ms += 1;
    let ((), records) = desk.decide(|env, draft, _| sweep_expired_tokens(env, draft));
    let token_id = KStr::from(&first);
    let expected = RemoveDelegationTokenRecord { token_id, ..Default::default() };
    assert_eq!(records, [MetadataRecord::RemoveDelegationToken(expected)]);
}

#[test]
fn a_controller_shows_tokens_to_nobody() {
    let answer = describe_delegation_token();
    assert_eq!(name(answer.error_code), "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED");
    assert!(answer.tokens.is_empty());
}
