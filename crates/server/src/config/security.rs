//! Encryption and authentication: of each listener, and of connections to other controllers.
//!
//! As in Kafka, `listener.name.<name>.<setting>` wins over `<setting>`, and connections to other
//! controllers are made with the settings of the first controller listener.

use super::node::protocol_of;
use super::properties::Properties;
use super::values::Values;
use quorate_security::sasl::Mechanism;
use quorate_security::settings::{MechanismSettings, Protocol, TlsSettings, Unusable};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a listener demands of those who connect.
#[derive(Clone, Debug)]
pub struct ListenerSecurity {
    /// How bytes look on the wire.
    pub protocol: Protocol,
    /// For SSL and SASL_SSL.
    pub tls: Option<TlsSettings>,
    /// For SASL_PLAINTEXT and SASL_SSL.
    pub sasl: Option<SaslSettings>,
}

/// The mechanisms of a listener.
#[derive(Clone, Debug)]
pub struct SaslSettings {
    /// `sasl.enabled.mechanisms`.
    pub mechanisms: Vec<MechanismSettings>,
    /// `sasl.server.max.receive.size`: the largest frame before authentication.
    pub max_receive_bytes: usize,
    /// `connection.failed.authentication.delay.ms`.
    pub failure_delay: Duration,
}

/// How this node connects to other controllers.
#[derive(Clone, Debug)]
pub struct OutgoingSecurity {
    /// That of the first controller listener.
    pub protocol: Protocol,
    /// For SSL and SASL_SSL.
    pub tls: Option<TlsSettings>,
    /// `sasl.mechanism.controller.protocol` with its login module.
    pub sasl: Option<MechanismSettings>,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct SecurityConfig {
    /// By the listener's name, upper case.
    pub listeners: BTreeMap<String, ListenerSecurity>,
    /// To other controllers.
    pub outgoing: OutgoingSecurity,
}

impl SecurityConfig {
    /// Neither encryption nor authentication anywhere.
    pub fn plaintext() -> SecurityConfig {
        let outgoing = OutgoingSecurity { protocol: Protocol::Plaintext, tls: None, sasl: None };
        SecurityConfig { listeners: BTreeMap::new(), outgoing }
    }

    /// Whether SCRAM credentials are ever looked up.
    pub fn uses_scram(&self) -> bool {
        let is_scram = |it: &MechanismSettings| {
            matches!(it.mechanism, Mechanism::ScramSha256 | Mechanism::ScramSha512)
        };
        let sasl = self.listeners.values().filter_map(|listener| listener.sasl.as_ref());
        sasl.flat_map(|sasl| &sasl.mechanisms).any(is_scram)
    }

    /// What holds for a listener.
    pub fn protocol_of(&self, listener: &str) -> Protocol {
        self.listeners.get(listener).map_or(Protocol::Plaintext, |it| it.protocol)
    }
}

/// Reads the settings of all these listeners. The first of `controller_names` is for outgoing
/// connections, whether this node listens there or not.
pub(super) fn read_security(
    v: &mut Values<'_>,
    properties: &Properties,
    listeners: &[super::Listener],
    controller_names: &[String],
) -> SecurityConfig {
    let mut all = BTreeMap::new();
    for listener in listeners {
        if let Some(security) = read_listener(v, properties, &listener.name) {
            all.insert(listener.name.clone(), security);
        }
    }
    let outgoing = controller_names
        .first()
        .and_then(|name| read_outgoing(v, properties, name))
        .unwrap_or_else(|| SecurityConfig::plaintext().outgoing);
    SecurityConfig { listeners: all, outgoing }
}

fn read_listener(
    v: &mut Values<'_>,
    properties: &Properties,
    name: &str,
) -> Option<ListenerSecurity> {
    let protocol = protocol_of(v, name)?;
    let get = lookup(properties, name);
    let mut problems = Vec::new();
    let tls = protocol.is_tls().then(|| TlsSettings::read(&get, &mut problems));
    if tls.as_ref().is_some_and(|tls| tls.keys.is_none()) {
        problems.push(unusable(
            "ssl.keystore.location",
            "missing: a TLS listener needs a certificate (or ssl.keystore.certificate.chain)",
        ));
    }
    let sasl = protocol.is_sasl().then(|| read_sasl(&get, &mut problems));
    report(v, properties, name, problems);
    Some(ListenerSecurity { protocol, tls, sasl })
}

fn read_sasl(get: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Unusable>) -> SaslSettings {
    let enabled = get("sasl.enabled.mechanisms").unwrap_or("GSSAPI".into());
    let mut mechanisms = Vec::new();
    for name in enabled.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Some(mechanism) = Mechanism::parse(name) else {
            problems.push(no_such_mechanism("sasl.enabled.mechanisms", name));
            continue;
        };
        let settings = MechanismSettings::read(mechanism, get, problems);
        match mechanism {
            Mechanism::Plain if settings.jaas.is_none() => problems.push(unusable(
                "sasl.jaas.config",
                "missing for PLAIN: it names the users, as user_NAME=\"PASSWORD\"",
            )),
            // Kafka would take any unsigned token here.
            Mechanism::OauthBearer if settings.oauth.jwks_url.is_none() => problems.push(unusable(
                "sasl.oauthbearer.jwks.endpoint.url",
                "missing for OAUTHBEARER: without keys no token can be verified",
            )),
            _ => {}
        }
        mechanisms.push(settings);
    }
    let mut number = |key: &str, default: u64| match get(key).map(|text| text.parse()) {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(_)) => {
            problems.push(unusable(key, "expected a whole number from 0 up"));
            default
        }
    };
    let max_receive_bytes = number("sasl.server.max.receive.size", 524_288);
    let delay_ms = number("connection.failed.authentication.delay.ms", 100);
    SaslSettings {
        mechanisms,
        max_receive_bytes: usize::try_from(max_receive_bytes).unwrap_or(usize::MAX),
        failure_delay: Duration::from_millis(delay_ms),
    }
}

fn read_outgoing(
    v: &mut Values<'_>,
    properties: &Properties,
    name: &str,
) -> Option<OutgoingSecurity> {
    let protocol = protocol_of(v, name)?;
    let get = lookup(properties, name);
    let mut problems = Vec::new();
    // What is wrong with the TLS settings was said for the listener of that name.
    let tls = protocol.is_tls().then(|| TlsSettings::read(&get, &mut Vec::new()));
    if tls.as_ref().is_some_and(|tls| tls.trust.is_none()) {
        problems.push(unusable(
            "ssl.truststore.location",
            "missing: other controllers cannot be verified (or ssl.truststore.certificates)",
        ));
    }
    let sasl = protocol.is_sasl().then(|| {
        let key = "sasl.mechanism.controller.protocol";
        let wanted = get(key).unwrap_or("GSSAPI".into());
        let Some(mechanism) = Mechanism::parse(&wanted) else {
            problems.push(no_such_mechanism(key, &wanted));
            return None;
        };
        let settings = MechanismSettings::read(mechanism, &get, &mut Vec::new());
        let has = |option: &str| settings.jaas.as_ref().is_some_and(|j| j.option(option).is_some());
        let complete = match mechanism {
            Mechanism::OauthBearer => settings.oauth.token_url.is_some(),
            _ => has("username") && has("password"),
        };
        if !complete {
            problems.push(unusable(
                key,
                &format!(
                    "{wanted} needs {} to connect to other controllers",
                    if mechanism == Mechanism::OauthBearer {
                        "sasl.oauthbearer.token.endpoint.url"
                    } else {
                        "username and password in sasl.jaas.config"
                    }
                ),
            ));
        }
        Some(settings)
    });
    report(v, properties, name, problems);
    Some(OutgoingSecurity { protocol, tls, sasl: sasl.flatten() })
}

fn prefix(listener: &str) -> String {
    format!("listener.name.{}.", listener.to_lowercase())
}

fn lookup(properties: &Properties, listener: &str) -> impl Fn(&str) -> Option<String> {
    let prefix = prefix(listener);
    move |key| {
        // A mechanism's own settings exist with the listener's prefix only.
        let own = properties.get(&format!("{prefix}{key}"));
        own.or_else(|| properties.get(key)).map(|property| property.value.trim().to_owned())
    }
}

fn report(v: &mut Values<'_>, properties: &Properties, listener: &str, problems: Vec<Unusable>) {
    let prefix = prefix(listener);
    for Unusable { key, why } in problems {
        let place = [format!("{prefix}{key}"), key.clone()]
            .iter()
            .find_map(|key| properties.get(key))
            .map(|property| format!("{}: ", property.source));
        let place = place.unwrap_or_default();
        v.wrong_overall(&format!("{place}{key} of listener {listener}: {why}"));
    }
}

fn unusable(key: &str, why: &str) -> Unusable {
    Unusable { key: key.to_owned(), why: why.to_owned() }
}

fn no_such_mechanism(key: &str, name: &str) -> Unusable {
    let known = Mechanism::ALL.map(Mechanism::name).join(", ");
    unusable(key, &format!("{name} is not possible with Quorate; possible are {known}"))
}
