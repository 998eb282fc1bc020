//! SASL mechanisms as state machines: a token comes in, a token goes out. Server and client side of
//! each; the framing (SaslHandshake, SaslAuthenticate) is the caller's.

mod oauth;
mod plain;
mod scram;

pub use oauth::{OauthClient, OauthServer};
pub use plain::{PlainClient, PlainServer};
pub use scram::{Hash, ScramClient, ScramSecret, ScramServer};

use thiserror::Error;

/// A mechanism that is known here. GSSAPI is not among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
    /// RFC 7628.
    OauthBearer,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 4] =
        [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512, Mechanism::OauthBearer];

    /// As it is called on the wire and in settings.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }

    /// By its name, which is case-sensitive.
    pub fn parse(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// Who was authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The principal's name; for a delegation token its owner's.
    pub name: String,
    /// Kind of the principal, `User` but for owners of delegation tokens of another kind.
    pub kind: String,
    /// Authenticated by a delegation token.
    pub by_token: bool,
    /// When what was shown ends, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<i64>,
}

impl Identity {
    fn user(name: impl Into<String>) -> Identity {
        let (name, kind) = (name.into(), "User".to_owned());
        Identity { name, kind, by_token: false, expires_at_ms: None }
    }
}

/// What a server answers to a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on with this.
    Challenge(Vec<u8>),
    /// Authenticated; the last token for the client.
    Done(Vec<u8>, Identity),
}

/// Authentication failed. The text goes to the peer: it must not tell whether the user exists.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct Denied(pub String);

impl Denied {
    /// The one answer to everything that has to do with a name or its password.
    fn credentials(mechanism: Mechanism) -> Denied {
        Denied(format!(
            "Authentication failed during authentication due to invalid credentials with SASL \
             mechanism {}",
            mechanism.name()
        ))
    }

    fn malformed(mechanism: Mechanism, what: &str) -> Denied {
        Denied(format!("malformed {} message: {what}", mechanism.name()))
    }
}

/// A delegation token, as authentication needs it.
pub struct TokenSecret {
    /// Base64 of the token's HMAC: its password.
    pub password: crate::Secret,
    /// Kind and name of its owner.
    pub owner: (String, String),
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
}

impl TokenSecret {
    /// From the token's HMAC.
    pub fn new(hmac: &[u8], owner: (String, String), expires_at_ms: i64) -> TokenSecret {
        use base64::Engine;
        let password = crate::Secret::new(base64::prelude::BASE64_STANDARD.encode(hmac));
        TokenSecret { password, owner, expires_at_ms }
    }
}

/// Where a server looks up SCRAM credentials and delegation tokens.
pub trait Credentials {
    /// The credential of a user for a mechanism.
    fn scram(&self, hash: Hash, user: &str) -> Option<ScramSecret>;
    /// A delegation token by its id.
    fn token(&self, id: &str) -> Option<TokenSecret>;
}

/// Text as `saslname` (RFC 5802): `,` and `=` are escaped.
fn saslname(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The other way round; `None` if a `=` does not begin one of the two escapes.
fn from_saslname(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        out.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3)?;
        out.push(match escape {
            "=2C" => ',',
            "=3D" => '=',
            _ => return None,
        });
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Some(out)
}
