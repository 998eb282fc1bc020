//! The server's side of authentication on one connection: which requests are allowed when, and who is
//! there in the end (KIP-152, KIP-368).

use super::security::{Gate, SaslGate};
use crate::driver::clock::wall_ms;
use crate::random;
use quorate_base::Time;
use quorate_controller::Principal;
use quorate_metadata::Str;
use quorate_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use quorate_protocol::{ApiKey, ErrorCode, KStr};
use quorate_security::sasl::{
    Denied, Hash, Identity, Mechanism, OauthServer, PlainServer, ScramServer, Verdict,
};
use quorate_security::{JwtRules, dn};
use std::sync::Arc;
use std::time::Duration;

/// How far a connection has come.
pub struct Authentication {
    gate: Arc<Gate>,
    state: State,
}

enum State {
    /// Nobody is known yet, and this is the mechanism agreed on, if one is.
    Unknown { exchange: Option<Exchange> },
    /// Somebody is, and may be authenticating again.
    Known { session: Session, again: Option<Exchange> },
}

struct Session {
    principal: Principal,
    /// Of a SASL session.
    mechanism: Option<Mechanism>,
    ends: Option<Time>,
}

struct Exchange {
    mechanism: Mechanism,
    /// A handshake of version 0: tokens come without a header around them.
    bare: bool,
    side: Side,
}

enum Side {
    Plain(PlainServer),
    Scram(Box<ScramServer>),
    Oauth { server: OauthServer, rules: JwtRules },
}

/// How a token was taken.
pub struct Taken {
    /// For the client.
    pub response: SaslAuthenticateResponse,
    /// Why the connection must end, for the log.
    pub refused: Option<String>,
}

impl Authentication {
    /// A connection whose TLS handshake, if there is one, is over. `Err` says why it is not let in.
    pub fn begin(gate: Arc<Gate>, certificate: Option<&[u8]>) -> Result<Authentication, String> {
        let state = if gate.sasl.is_some() {
            State::Unknown { exchange: None }
        } else {
            let principal = match (certificate, &gate.tls) {
                (Some(certificate), Some(tls)) => {
                    let subject = dn::subject_of(certificate)
                        .ok_or("the subject of its certificate cannot be read")?;
                    let name = tls.settings().mapping.name(&subject).ok_or_else(|| {
                        format!("no rule of ssl.principal.mapping.rules matches {subject}")
                    })?;
                    Principal::user(&name)
                }
                _ => Principal::anonymous(),
            };
            State::Known {
                session: Session { principal, mechanism: None, ends: None },
                again: None,
            }
        };
        Ok(Authentication { gate, state })
    }

    /// Who is there; `None` before authentication.
    pub fn principal(&self) -> Option<&Principal> {
        match &self.state {
            State::Unknown { .. } => None,
            State::Known { session, .. } => Some(&session.principal),
        }
    }

    /// The largest frame to be taken now, where that is not the listener's own limit.
    pub fn frame_limit(&self) -> Option<usize> {
        match (&self.state, &self.gate.sasl) {
            (State::Unknown { .. }, Some(sasl)) => Some(sasl.settings.max_receive_bytes),
            _ => None,
        }
    }

    /// Whether the next frame is a token and nothing else.
    pub fn expects_bare_token(&self) -> bool {
        matches!(&self.state, State::Unknown { exchange: Some(exchange) } if exchange.bare)
    }

    /// Whether this request is allowed now; `Err` says why not, and the connection must end.
    pub fn allows(&self, api: ApiKey, now: Time) -> Result<(), String> {
        if matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate) {
            return Ok(());
        }
        match &self.state {
            State::Unknown { exchange: None } if api == ApiKey::ApiVersions => Ok(()),
            State::Unknown { .. } => Err(format!("{api} before authentication")),
            State::Known { session, .. } if session.ends.is_some_and(|ends| ends <= now) => {
                Err(format!("{api} after its session ended, without authenticating again"))
            }
            State::Known { .. } => Ok(()),
        }
    }

    /// Agrees on a mechanism, or says which there are.
    pub fn handshake(
        &mut self,
        request: &SaslHandshakeRequest,
        version: i16,
    ) -> Result<SaslHandshakeResponse, std::io::Error> {
        let refuse = |error: ErrorCode, mechanisms: Vec<KStr>| SaslHandshakeResponse {
            error_code: error.code(),
            mechanisms,
            ..Default::default()
        };
        let gate = self.gate.clone();
        let Some(sasl) = &gate.sasl else {
            return Ok(refuse(ErrorCode::IllegalSaslState, vec![]));
        };
        let enabled: Vec<KStr> =
            sasl.settings.mechanisms.iter().map(|it| it.mechanism.name().into()).collect();
        let mechanism = Mechanism::parse(&request.mechanism);
        let Some(side) = mechanism.and_then(|it| Side::open(sasl, it).transpose()).transpose()?
        else {
            return Ok(refuse(ErrorCode::UnsupportedSaslMechanism, enabled));
        };
        let mechanism = mechanism.expect("it was opened");
        let bare = version == 0;
        let fresh = Some(Exchange { mechanism, bare, side });
        match &mut self.state {
            State::Unknown { exchange } => *exchange = fresh,
            // KIP-368: who authenticates again must do it in the same way, and in the new framing.
            State::Known { session, again } if session.mechanism == Some(mechanism) && !bare => {
                *again = fresh;
            }
            State::Known { .. } => return Ok(refuse(ErrorCode::IllegalSaslState, enabled)),
        }
        Ok(refuse(ErrorCode::None, enabled))
    }

    /// Takes a token. Blocks where keys must be fetched.
    pub fn authenticate(&mut self, request: &SaslAuthenticateRequest, now: Time) -> Taken {
        let gate = self.gate.clone();
        let exchange = match &mut self.state {
            State::Unknown { exchange } => exchange,
            State::Known { again, .. } => again,
        };
        let (Some(sasl), Some(running)) = (&gate.sasl, exchange.as_mut()) else {
            let why = "SaslAuthenticate without a handshake before";
            return Taken {
                response: SaslAuthenticateResponse {
                    error_code: ErrorCode::IllegalSaslState.code(),
                    error_message: Some(why.into()),
                    ..Default::default()
                },
                refused: Some(why.to_owned()),
            };
        };
        let mechanism = running.mechanism;
        let verdict = running.side.step(&request.auth_bytes, sasl);
        let (auth_bytes, identity) = match verdict {
            Ok(Verdict::Challenge(token)) => {
                let response =
                    SaslAuthenticateResponse { auth_bytes: token.into(), ..Default::default() };
                return Taken { response, refused: None };
            }
            Ok(Verdict::Done(token, identity)) => (token, identity),
            Err(denied) => return Taken::denied(denied),
        };
        *exchange = None;
        let lifetime = lifetime(&identity, sasl, mechanism);
        let principal = Principal {
            kind: Str::from(identity.kind.as_str()),
            name: Str::from(identity.name.as_str()),
            token_authenticated: identity.by_token,
        };
        if let State::Known { session, .. } = &self.state
            && session.principal != principal
        {
            return Taken::denied(Denied(format!(
                "Cannot change principals during re-authentication from {} to {principal}",
                session.principal
            )));
        }
        let ends = lifetime.map(|lifetime| now + lifetime);
        let session = Session { principal, mechanism: Some(mechanism), ends };
        self.state = State::Known { session, again: None };
        let lifetime_ms =
            lifetime.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        let response = SaslAuthenticateResponse {
            auth_bytes: auth_bytes.into(),
            session_lifetime_ms: lifetime_ms,
            ..Default::default()
        };
        Taken { response, refused: None }
    }

    /// How long a connection that failed is kept waiting for its end.
    pub fn failure_delay(&self) -> Duration {
        self.gate.sasl.as_ref().map_or(Duration::ZERO, |sasl| sasl.settings.failure_delay)
    }
}

impl Taken {
    fn denied(denied: Denied) -> Taken {
        let response = SaslAuthenticateResponse {
            error_code: ErrorCode::SaslAuthenticationFailed.code(),
            error_message: Some(denied.0.as_str().into()),
            ..Default::default()
        };
        Taken { response, refused: Some(denied.0) }
    }
}

/// The shorter of what was shown and what is configured; `None`: for as long as the connection.
fn lifetime(identity: &Identity, sasl: &SaslGate, mechanism: Mechanism) -> Option<Duration> {
    let shown = identity
        .expires_at_ms
        .map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(wall_ms())).unwrap_or(0)));
    let allowed = sasl.mechanism(mechanism).and_then(|settings| settings.max_reauth);
    [shown, allowed].into_iter().flatten().min()
}

impl Side {
    /// `None` if the mechanism is not enabled.
    fn open(sasl: &SaslGate, mechanism: Mechanism) -> Result<Option<Side>, std::io::Error> {
        let Some(settings) = sasl.mechanism(mechanism) else { return Ok(None) };
        Ok(Some(match mechanism {
            Mechanism::Plain => {
                let jaas = settings.jaas.as_ref().expect("checked by the configuration");
                Side::Plain(PlainServer::new(jaas))
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                let hash = match mechanism {
                    Mechanism::ScramSha256 => Hash::Sha256,
                    _ => Hash::Sha512,
                };
                Side::Scram(Box::new(ScramServer::new(hash, &random::bytes::<24>()?)))
            }
            Mechanism::OauthBearer => {
                let oauth = &settings.oauth;
                let rules = JwtRules {
                    subject_claim: oauth.subject_claim.clone(),
                    audiences: oauth.audiences.clone(),
                    issuer: oauth.issuer.clone(),
                    clock_skew_seconds: oauth.clock_skew_seconds,
                };
                Side::Oauth { server: OauthServer::default(), rules }
            }
        }))
    }

    fn step(&mut self, token: &[u8], sasl: &SaslGate) -> Result<Verdict, Denied> {
        match self {
            Side::Plain(server) => server.step(token),
            Side::Scram(server) => server.step(token, &*sasl.credentials),
            Side::Oauth { server, rules } => {
                let keys = sasl.keys.as_ref().expect("checked by the configuration").current();
                server.step(token, &keys, rules, wall_ms())
            }
        }
    }
}
