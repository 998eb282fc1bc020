use super::{Denied, Identity, Mechanism, Verdict};
use crate::jwt;
use crate::{JwtRules, KeySet, Secret};

/// The server's side of OAUTHBEARER (RFC 7628): one token in, checked against a key set.
#[derive(Default)]
pub struct OauthServer {
    /// Set when the token was refused: the client must still send its empty answer.
    refused: Option<Denied>,
}

/// What is told to a client whose token is refused, before it says that it has read that.
const INVALID_TOKEN: &[u8] = br#"{"status":"invalid_token"}"#;
const SEPARATOR: char = '\u{1}';

impl OauthServer {
    /// Takes the client's next message. `now_ms`: since the Unix epoch.
    pub fn step(
        &mut self,
        message: &[u8],
        keys: &KeySet,
        rules: &JwtRules,
        now_ms: i64,
    ) -> Result<Verdict, Denied> {
        if let Some(denied) = self.refused.take() {
            return Err(denied);
        }
        let malformed = |what| Denied::malformed(Mechanism::OauthBearer, what);
        let text = std::str::from_utf8(message).map_err(|_| malformed("it is not UTF-8"))?;
        let (header, rest) = text.split_once(SEPARATOR).ok_or_else(|| malformed("no separator"))?;
        let authorization = header
            .strip_prefix("n,")
            .and_then(|it| it.strip_suffix(','))
            .map(|it| it.strip_prefix("a="));
        let authorization = authorization.ok_or_else(|| malformed("the header"))?;
        let fields = rest.strip_suffix("\u{1}\u{1}").ok_or_else(|| malformed("no proper end"))?;
        let token = fields.split(SEPARATOR).find_map(|field| {
            let (kind, token) = field.strip_prefix("auth=")?.split_once(' ')?;
            kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or_else(|| malformed("no bearer token"))?;
        match jwt::verify(token, keys, rules, now_ms) {
            Ok(verified)
                if authorization.is_none_or(|it| it.is_empty() || it == verified.subject) =>
            {
                let mut identity = Identity::user(verified.subject);
                identity.expires_at_ms = Some(verified.expires_at_ms);
                Ok(Verdict::Done(Vec::new(), identity))
            }
            Ok(_) => Err(Denied::credentials(Mechanism::OauthBearer)),
            Err(error) => {
                self.refused = Some(Denied(format!("{{\"status\":\"invalid_token\"}}: {error}")));
                Ok(Verdict::Challenge(INVALID_TOKEN.to_vec()))
            }
        }
    }
}

/// The client's side.
#[derive(Clone, Debug)]
pub struct OauthClient {
    token: Secret,
}

impl OauthClient {
    /// Shows this token.
    pub fn new(token: Secret) -> OauthClient {
        OauthClient { token }
    }

    /// What is sent first.
    pub fn first(&self) -> Vec<u8> {
        format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", self.token.reveal()).into_bytes()
    }

    /// The answer to any challenge: it says why the token was refused.
    pub fn acknowledge_refusal() -> Vec<u8> {
        vec![1]
    }
}
