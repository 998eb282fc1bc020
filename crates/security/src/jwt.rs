//! JSON Web Tokens (RFC 7519), checking only. What cannot be checked is refused: there is no way to
//! accept a token without its signature (CVE-2026-110985, CVE-2026-33557).

use crate::KeySet;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use thiserror::Error;

/// What a token must say.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// The claim that names the principal.
    pub subject_claim: String,
    /// One of these must be in `aud`; empty: any.
    pub audiences: Vec<String>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// How far clocks may differ.
    pub clock_skew_seconds: i64,
}

/// A token that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedJwt {
    /// The principal.
    pub subject: String,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
}

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum JwtError {
    /// Not three parts of base64 with JSON in the first two.
    #[error("it is no signed token")]
    Form,
    /// `none`, or something symmetric or unknown, or no key fits.
    #[error("its signature cannot be verified with the key set")]
    Signature,
    /// A claim is missing or has the wrong type.
    #[error("its claim {0} is missing or has the wrong type")]
    Claim(String),
    /// Past its time.
    #[error("it has expired")]
    Expired,
    /// Before its time.
    #[error("it is not valid yet")]
    Early,
    /// Somebody else's.
    #[error("its {0} is not the expected one")]
    Unexpected(&'static str),
}

/// Checks signature and claims. `now_ms`: since the Unix epoch.
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    rules: &JwtRules,
    now_ms: i64,
) -> Result<VerifiedJwt, JwtError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Form)?;
    let header = json(header)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::Form)?;
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(JwtError::Form)?;
    let key_id = header.get("kid").and_then(Value::as_str);
    if header.get("crit").is_some()
        || !keys.verify(key_id, algorithm, signed.as_bytes(), &signature)
    {
        return Err(JwtError::Signature);
    }
    let claims = json(claims)?;
    let claim = |name: &str| JwtError::Claim(name.to_owned());
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| claim(name)),
    };
    let now = now_ms as f64 / 1000.0;
    let skew = rules.clock_skew_seconds as f64;
    let expires = seconds("exp")?.ok_or_else(|| claim("exp"))?;
    if now >= expires + skew {
        return Err(JwtError::Expired);
    }
    for begins in [seconds("nbf")?, seconds("iat")?].into_iter().flatten() {
        if now < begins - skew {
            return Err(JwtError::Early);
        }
    }
    if let Some(issuer) = &rules.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(JwtError::Unexpected("issuer"));
    }
    if !rules.audiences.is_empty() {
        let named: Vec<&str> = match claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !named.iter().any(|it| rules.audiences.iter().any(|expected| expected == it)) {
            return Err(JwtError::Unexpected("audience"));
        }
    }
    let subject = claims.get(&rules.subject_claim).and_then(Value::as_str);
    let subject = subject.map(str::trim).filter(|it| !it.is_empty());
    let subject = subject.ok_or_else(|| claim(&rules.subject_claim))?.to_owned();
    Ok(VerifiedJwt { subject, expires_at_ms: (expires * 1000.0) as i64 })
}

fn json(part: &str) -> Result<Value, JwtError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    struct Issuer {
        pair: EcdsaKeyPair,
        random: SystemRandom,
    }

    impl Issuer {
        fn new() -> Issuer {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            Issuer { pair, random }
        }

        fn keys(&self) -> KeySet {
            let point = self.pair.public_key().as_ref();
            let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            let set = json!({"keys": [
                {"kty": "oct", "k": "AAAA", "kid": "k"},
                {"kty": "EC", "crv": "P-256", "kid": "k", "x": b64(&point[1..33]), "y": b64(&point[33..])},
            ]});
            KeySet::parse(set.to_string().as_bytes()).unwrap()
        }

        fn token(&self, header: Value, claims: Value) -> String {
            let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(header), part(claims));
            let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }
    }

    fn rules() -> JwtRules {
        JwtRules {
            subject_claim: "sub".into(),
            audiences: vec!["kafka".into()],
            issuer: Some("us".into()),
            clock_skew_seconds: 30,
        }
    }

    const NOW_MS: i64 = 1_000_000_000;

    fn claims() -> Value {
        json!({"sub": "alice", "exp": 1_000_100, "iat": 999_999, "aud": ["x", "kafka"], "iss": "us"})
    }

    #[test]
    fn a_token_of_the_issuer_names_its_subject() {
        let issuer = Issuer::new();
        let token = issuer.token(json!({"alg": "ES256", "kid": "k"}), claims());
        let verified = verify(&token, &issuer.keys(), &rules(), NOW_MS).unwrap();
        assert_eq!(verified, VerifiedJwt { subject: "alice".into(), expires_at_ms: 1_000_100_000 });
    }

    #[test]
    fn each_claim_is_checked() {
        let issuer = Issuer::new();
        let check = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            let token = issuer.token(json!({"alg": "ES256"}), claims);
            verify(&token, &issuer.keys(), &rules(), NOW_MS).unwrap_err()
        };
        assert_eq!(check("exp", json!(999_970)), JwtError::Expired);
        assert_eq!(check("exp", json!("soon")), JwtError::Claim("exp".into()));
        assert_eq!(check("nbf", json!(1_000_031)), JwtError::Early);
        assert_eq!(check("iss", json!("them")), JwtError::Unexpected("issuer"));
        assert_eq!(check("aud", json!("other")), JwtError::Unexpected("audience"));
        assert_eq!(check("sub", json!(" ")), JwtError::Claim("sub".into()));
    }

    #[test]
    fn what_is_not_signed_by_the_issuer_is_refused() {
        let issuer = Issuer::new();
        let keys = issuer.keys();
        let refuse = |token: &str| verify(token, &keys, &rules(), NOW_MS).unwrap_err();
        for header in [
            json!({"alg": "none"}),
            json!({"alg": "HS256", "kid": "k"}),
            json!({"alg": "RS256"}),
            json!({"alg": "ES256", "kid": "other"}),
            json!({"alg": "ES256", "crit": ["b64"]}),
        ] {
            assert_eq!(refuse(&issuer.token(header, claims())), JwtError::Signature);
        }
        let stranger = Issuer::new().token(json!({"alg": "ES256"}), claims());
        assert_eq!(refuse(&stranger), JwtError::Signature);
        let token = issuer.token(json!({"alg": "ES256"}), claims());
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(refuse(&unsigned), JwtError::Signature);
        for nonsense in ["", ".", "..", "a.b.c"] {
            assert_eq!(refuse(nonsense), JwtError::Form, "{nonsense}");
        }
    }

    #[test]
    fn a_key_set_without_a_usable_key_is_an_error() {
        for bad in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#] {
            assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
