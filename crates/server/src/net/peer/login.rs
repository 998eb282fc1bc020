//! Authentication to another controller by SASL.

use super::{Failed, Peer};
use crate::net::oauth::TokenSource;
use crate::random;
use bytes::Bytes;
use quorate_node::RpcFailure;
use quorate_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};
use quorate_security::Secret;
use quorate_security::sasl::{Hash, Mechanism, OauthClient, PlainClient, ScramClient};
use quorate_security::settings::MechanismSettings;
use std::time::{Duration, Instant};

/// Versions that Kafka 3.9 to 4.4 know.
const HANDSHAKE_VERSION: i16 = 1;
const AUTHENTICATE_VERSION: i16 = 2;

/// Authenticates as the user of the login module.
pub(super) async fn log_in(
    peer: &mut Peer,
    settings: &MechanismSettings,
    tokens: Option<&TokenSource>,
    client_id: &KStr,
) -> Result<(), Failed> {
    let mechanism = settings.mechanism;
    let request = AnyRequest::SaslHandshake(SaslHandshakeRequest {
        mechanism: mechanism.name().into(),
        ..Default::default()
    });
    let answer = peer.request(&request, HANDSHAKE_VERSION, client_id).await?;
    let AnyResponse::SaslHandshake(answer) = answer else {
        return Err(Failed::new(RpcFailure::Garbage, "no answer to SaslHandshake"));
    };
    if answer.error_code != 0 {
        let there: Vec<&str> = answer.mechanisms.iter().map(|it| it.as_str()).collect();
        return Err(refused(format!(
            "{} is refused with {}; the other side has {}",
            mechanism.name(),
            ErrorCode::from_code(answer.error_code).map_or("an unknown error", ErrorCode::name),
            there.join(", ")
        )));
    }
    let option = |name: &str| settings.jaas.as_ref().and_then(|jaas| jaas.option(name)).cloned();
    let user = || option("username").unwrap_or(Secret::new(""));
    let password = || option("password").unwrap_or(Secret::new(""));
    match mechanism {
        Mechanism::Plain => {
            let client = PlainClient::new(user().reveal(), password());
            send(peer, client.first(), client_id).await?;
        }
        Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
            let hash = match mechanism {
                Mechanism::ScramSha256 => Hash::Sha256,
                _ => Hash::Sha512,
            };
            let nonce = random::bytes::<24>().map_err(refused)?;
            let by_token = option("tokenauth").is_some_and(|it| it.is(b"true"));
            let mut client = ScramClient::new(hash, user().reveal(), password(), &nonce, by_token);
            let challenge = send(peer, client.first(), client_id).await?;
            let proof = client.prove(&challenge).map_err(refused)?;
            let last = send(peer, proof, client_id).await?;
            client.verify(&last).map_err(refused)?;
        }
        Mechanism::OauthBearer => {
            let tokens = tokens.ok_or_else(|| refused("there is no source of tokens"))?;
            let token = tokio::task::block_in_place(|| tokens.token()).map_err(refused)?;
            let answer = send(peer, OauthClient::new(token).first(), client_id).await?;
            if !answer.is_empty() {
                // The refusal proper comes after its acknowledgement.
                send(peer, OauthClient::acknowledge_refusal(), client_id).await?;
                return Err(refused("the token is refused"));
            }
        }
    }
    Ok(())
}

async fn send(peer: &mut Peer, token: Vec<u8>, client_id: &KStr) -> Result<Bytes, Failed> {
    let request = AnyRequest::SaslAuthenticate(SaslAuthenticateRequest {
        auth_bytes: token.into(),
        ..Default::default()
    });
    let answer = peer.request(&request, AUTHENTICATE_VERSION, client_id).await?;
    let AnyResponse::SaslAuthenticate(answer) = answer else {
        return Err(Failed::new(RpcFailure::Garbage, "no answer to SaslAuthenticate"));
    };
    if answer.error_code != 0 {
        let why = answer.error_message.as_deref().unwrap_or("no reason given").to_owned();
        return Err(refused(why));
    }
    // Some time before the end: a connection that the other side closes looks like a dead process.
    if let Ok(lifetime_ms @ 1..) = u64::try_from(answer.session_lifetime_ms) {
        peer.session_ends = Some(Instant::now() + Duration::from_millis(lifetime_ms) / 10 * 8);
    }
    Ok(answer.auth_bytes)
}

fn refused(why: impl ToString) -> Failed {
    let why = why.to_string();
    tracing::debug!(why, "another controller refuses this node's credentials");
    Failed::new(RpcFailure::Authentication, why)
}
