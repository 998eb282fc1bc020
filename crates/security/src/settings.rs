//! Kafka's `ssl.*` and `sasl.*` settings, as one side of a connection needs them. Where they come
//! from (a listener's prefix, a client's file) is the caller's business: it hands in a lookup.

use crate::principal_mapping::PrincipalMapping;
use crate::sasl::Mechanism;
use crate::stores::{StoreKind, StoreSource};
use crate::{Jaas, Secret};
use std::time::Duration;

/// `listener.security.protocol.map`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Neither encryption nor authentication.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

impl Protocol {
    /// By Kafka's name, in any case.
    pub fn parse(name: &str) -> Option<Protocol> {
        match name.trim().to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Some(Protocol::Plaintext),
            "SSL" => Some(Protocol::Ssl),
            "SASL_PLAINTEXT" => Some(Protocol::SaslPlaintext),
            "SASL_SSL" => Some(Protocol::SaslSsl),
            _ => None,
        }
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Kafka's number, as records have it.
    pub fn number(self) -> i16 {
        match self {
            Protocol::Plaintext => 0,
            Protocol::Ssl => 1,
            Protocol::SaslPlaintext => 2,
            Protocol::SaslSsl => 3,
        }
    }

    /// Whether bytes are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    /// Whether SASL says who is there.
    pub fn is_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

/// A setting that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// The setting, without a listener's prefix.
    pub key: String,
    /// What is wrong, and what would be right. Holds no secrets.
    pub why: String,
}

/// Finds the value of a setting, without blanks around it; `None` if absent.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `ssl.client.auth`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// Certificates are not asked for.
    None,
    /// Asked for, and nobody who has none is sent away.
    Requested,
    /// Nobody gets in without.
    Required,
}

/// All of `ssl.*` that means something here.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Own key and certificate.
    pub keys: Option<StoreSource>,
    /// `ssl.key.password`.
    pub key_password: Option<Secret>,
    /// Whom to trust; without it, nobody.
    pub trust: Option<StoreSource>,
    /// `ssl.client.auth`.
    pub client_auth: ClientAuth,
    /// `ssl.enabled.protocols` has TLSv1.2.
    pub tls12: bool,
    /// `ssl.enabled.protocols` has TLSv1.3.
    pub tls13: bool,
    /// `ssl.cipher.suites`; empty for all.
    pub cipher_suites: Vec<String>,
    /// `ssl.endpoint.identification.algorithm` is `https`.
    pub verifies_names: bool,
    /// `ssl.principal.mapping.rules`.
    pub mapping: PrincipalMapping,
}

impl TlsSettings {
    /// Reads them, and says what is wrong with them.
    pub fn read(get: Lookup<'_>, problems: &mut Vec<Unusable>) -> TlsSettings {
        let mut wrong =
            |key: &str, why: &str| problems.push(Unusable { key: key.into(), why: why.into() });
        let keys = store(get, "keystore", "certificate.chain", &mut wrong);
        let trust = store(get, "truststore", "certificates", &mut wrong);
        let client_auth = match get("ssl.client.auth").unwrap_or_default().to_lowercase().as_str() {
            "" | "none" => ClientAuth::None,
            "requested" => ClientAuth::Requested,
            "required" => ClientAuth::Required,
            _ => {
                wrong("ssl.client.auth", "expected none, requested or required");
                ClientAuth::Required
            }
        };
        let versions = words(&get("ssl.enabled.protocols").unwrap_or("TLSv1.2,TLSv1.3".into()));
        let has = |version: &str| versions.iter().any(|it| it.eq_ignore_ascii_case(version));
        let (tls12, tls13) = (has("TLSv1.2"), has("TLSv1.3"));
        if !tls12 && !tls13 {
            wrong("ssl.enabled.protocols", "expected TLSv1.2, TLSv1.3 or both; nothing older");
        }
        let algorithm = get("ssl.endpoint.identification.algorithm").unwrap_or("https".into());
        let verifies_names = match algorithm.to_lowercase().as_str() {
            "https" => true,
            "" => false,
            _ => {
                wrong("ssl.endpoint.identification.algorithm", "expected https or nothing");
                true
            }
        };
        if get("ssl.engine.factory.class").is_some_and(|class| !class.is_empty()) {
            wrong("ssl.engine.factory.class", "expected nothing: Quorate cannot run Java classes");
        }
        let rules = get("ssl.principal.mapping.rules").unwrap_or_default();
        let mapping = PrincipalMapping::parse(&rules).unwrap_or_else(|error| {
            wrong("ssl.principal.mapping.rules", &error.to_string());
            PrincipalMapping::default()
        });
        TlsSettings {
            keys,
            key_password: secret(get, "ssl.key.password"),
            trust,
            client_auth,
            tls12,
            tls13,
            cipher_suites: words(&get("ssl.cipher.suites").unwrap_or_default()),
            verifies_names,
            mapping,
        }
    }
}

fn store(
    get: Lookup<'_>,
    name: &str,
    certificates: &str,
    wrong: &mut dyn FnMut(&str, &str),
) -> Option<StoreSource> {
    let kind_key = format!("ssl.{name}.type");
    let kind = get(&kind_key).unwrap_or("JKS".into());
    let Some(kind) = StoreKind::parse(&kind) else {
        wrong(&kind_key, "expected JKS, PKCS12 or PEM");
        return None;
    };
    let inline_key = format!("ssl.{name}.{certificates}");
    let inline = get(&inline_key).filter(|text| !text.is_empty());
    let location_key = format!("ssl.{name}.location");
    let location = get(&location_key).filter(|text| !text.is_empty());
    match (inline, location) {
        (Some(_), Some(_)) => {
            wrong(&inline_key, &format!("expected this or {location_key}, not both"));
            None
        }
        (Some(_), None) if kind != StoreKind::Pem => {
            wrong(&inline_key, &format!("needs {kind_key}=PEM"));
            None
        }
        (Some(certificates), None) => {
            let key = secret(get, "ssl.keystore.key").filter(|_| name == "keystore");
            Some(StoreSource::Inline { certificates, key })
        }
        (None, Some(path)) => {
            let password = secret(get, &format!("ssl.{name}.password"));
            Some(StoreSource::File { path: path.into(), kind, password })
        }
        (None, None) => None,
    }
}

fn secret(get: Lookup<'_>, key: &str) -> Option<Secret> {
    get(key).map(Secret::new)
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// One mechanism of a listener, with what it needs.
#[derive(Clone, Debug)]
pub struct MechanismSettings {
    /// Which.
    pub mechanism: Mechanism,
    /// `sasl.jaas.config` of this mechanism; absent if there is none.
    pub jaas: Option<Jaas>,
    /// `connections.max.reauth.ms`; `None` if 0: a session lasts as long as its connection.
    pub max_reauth: Option<Duration>,
    /// `sasl.oauthbearer.*`.
    pub oauth: OauthSettings,
}

/// `sasl.oauthbearer.*` as far as it is known here.
#[derive(Clone, Debug, Default)]
pub struct OauthSettings {
    /// `sasl.oauthbearer.jwks.endpoint.url`: where the keys are, `file:` or `http(s):`.
    pub jwks_url: Option<String>,
    /// `sasl.oauthbearer.jwks.endpoint.refresh.ms`.
    pub jwks_refresh: Duration,
    /// `sasl.oauthbearer.expected.audience`; empty for any.
    pub audiences: Vec<String>,
    /// `sasl.oauthbearer.expected.issuer`.
    pub issuer: Option<String>,
    /// `sasl.oauthbearer.clock.skew.seconds`.
    pub clock_skew_seconds: i64,
    /// `sasl.oauthbearer.sub.claim.name`.
    pub subject_claim: String,
    /// `sasl.oauthbearer.token.endpoint.url`: where this node gets its own token.
    pub token_url: Option<String>,
}

impl MechanismSettings {
    /// Reads them. What stands under `<mechanism>.` wins over what stands without it.
    pub fn read(
        mechanism: Mechanism,
        get: Lookup<'_>,
        problems: &mut Vec<Unusable>,
    ) -> MechanismSettings {
        let prefix = format!("{}.", mechanism.name().to_lowercase());
        let own = |key: &str| get(&format!("{prefix}{key}")).or_else(|| get(key));
        let mut wrong =
            |key: &str, why: String| problems.push(Unusable { key: key.to_owned(), why });
        let jaas = own("sasl.jaas.config").and_then(|text| match Jaas::parse(&text) {
            Ok(jaas) => Some(jaas),
            Err(error) => {
                wrong("sasl.jaas.config", error.to_string());
                None
            }
        });
        for class in ["sasl.server.callback.handler.class", "sasl.login.class"] {
            if own(class).is_some_and(|name| !name.is_empty() && !name.starts_with(KAFKAS_OWN)) {
                wrong(class, "expected nothing: Quorate cannot run Java classes".to_owned());
            }
        }
        let mut number = |key: &str, default: i64| match own(key).map(|text| text.parse()) {
            None => default,
            Some(Ok(number)) if number >= 0 => number,
            Some(_) => {
                wrong(key, "expected a whole number from 0 up".to_owned());
                default
            }
        };
        let max_reauth = number("connections.max.reauth.ms", 0);
        let refresh = number("sasl.oauthbearer.jwks.endpoint.refresh.ms", 3_600_000);
        let clock_skew_seconds = number("sasl.oauthbearer.clock.skew.seconds", 30);
        let text = |key: &str| own(key).filter(|text| !text.is_empty());
        let oauth = OauthSettings {
            jwks_url: text("sasl.oauthbearer.jwks.endpoint.url"),
            jwks_refresh: millis(refresh).unwrap_or_default(),
            audiences: words(&text("sasl.oauthbearer.expected.audience").unwrap_or_default()),
            issuer: text("sasl.oauthbearer.expected.issuer"),
            clock_skew_seconds,
            subject_claim: text("sasl.oauthbearer.sub.claim.name").unwrap_or("sub".into()),
            token_url: text("sasl.oauthbearer.token.endpoint.url"),
        };
        MechanismSettings { mechanism, jaas, max_reauth: millis(max_reauth), oauth }
    }
}

/// Callback handlers of Kafka itself are what is done here anyway.
const KAFKAS_OWN: &str = "org.apache.kafka.";

fn millis(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().filter(|&ms| ms > 0).map(Duration::from_millis)
}
