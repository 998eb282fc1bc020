//! What stands between a socket and its first request: TLS, and who may authenticate how.
//!
//! Stores are read again when their files change; a store that became unusable leaves the one before
//! in force, with a warning.

use crate::config::security::{ListenerSecurity, OutgoingSecurity, SaslSettings, SecurityConfig};
use crate::net::oauth::{KeySource, TokenSource};
use quorate_security::sasl::{Credentials, Mechanism};
use quorate_security::settings::{MechanismSettings, Protocol, TlsSettings};
use quorate_security::tls::{self, Loaded, TlsError};
use rustls::{ClientConfig, ServerConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio_rustls::rustls;

/// How often the files of stores are looked at, at most.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why the settings give no security; found at start.
#[derive(Debug, Error)]
#[error("listener {listener}: {why}")]
pub struct SecurityError {
    listener: String,
    why: String,
}

/// All gates of a node.
pub struct Security {
    gates: BTreeMap<String, Arc<Gate>>,
    open: Arc<Gate>,
    /// To other controllers.
    pub outgoing: Arc<Outgoing>,
}

/// Looked up on each authentication.
pub type SharedCredentials = Arc<dyn Credentials + Send + Sync>;

/// A listener's.
pub struct Gate {
    /// How bytes look on the wire.
    pub protocol: Protocol,
    /// For SSL and SASL_SSL.
    pub tls: Option<Reloaded<ServerConfig>>,
    /// For SASL_PLAINTEXT and SASL_SSL.
    pub sasl: Option<SaslGate>,
}

/// A listener's mechanisms.
pub struct SaslGate {
    /// The settings.
    pub settings: SaslSettings,
    /// Keys for OAUTHBEARER.
    pub keys: Option<KeySource>,
    /// SCRAM credentials and tokens.
    pub credentials: SharedCredentials,
}

impl SaslGate {
    /// The settings of a mechanism, if it is enabled.
    pub fn mechanism(&self, mechanism: Mechanism) -> Option<&MechanismSettings> {
        self.settings.mechanisms.iter().find(|it| it.mechanism == mechanism)
    }
}

/// How connections to other controllers are secured.
pub struct Outgoing {
    /// For SSL and SASL_SSL.
    pub tls: Option<Reloaded<ClientConfig>>,
    /// For SASL_PLAINTEXT and SASL_SSL.
    pub sasl: Option<MechanismSettings>,
    /// For OAUTHBEARER.
    pub token: Option<TokenSource>,
}

impl Security {
    /// Reads all stores and keys.
    pub fn load(
        config: &SecurityConfig,
        credentials: &SharedCredentials,
    ) -> Result<Security, SecurityError> {
        let mut gates = BTreeMap::new();
        for (name, listener) in &config.listeners {
            let gate = Gate::load(listener, credentials)
                .map_err(|why| SecurityError { listener: name.clone(), why })?;
            gates.insert(name.clone(), Arc::new(gate));
        }
        let outgoing = Outgoing::load(&config.outgoing).map_err(|why| SecurityError {
            listener: "for connections to other controllers".to_owned(),
            why,
        })?;
        Ok(Security { gates, outgoing: Arc::new(outgoing), ..Security::none() })
    }

    /// Neither encryption nor authentication anywhere.
    pub fn none() -> Security {
        let open = Arc::new(Gate { protocol: Protocol::Plaintext, tls: None, sasl: None });
        Security { gates: BTreeMap::new(), open, outgoing: Outgoing::plaintext() }
    }

    /// The gate of a listener; an open one if it has none.
    pub fn gate(&self, listener: &str) -> Arc<Gate> {
        self.gates.get(listener).unwrap_or(&self.open).clone()
    }

    /// Looks at the files of all stores, unless that was done a moment ago, so that what changed is
    /// in use before the next connection.
    pub fn look_again(&self) {
        for tls in self.gates.values().filter_map(|gate| gate.tls.as_ref()) {
            tls.current();
        }
        if let Some(tls) = &self.outgoing.tls {
            tls.current();
        }
    }

    /// How many stores were changed to something that cannot be used, so that the ones before are
    /// still in force.
    pub fn unusable_stores(&self) -> usize {
        let listeners = self.gates.values().filter_map(|gate| gate.tls.as_ref());
        let listeners = listeners.filter(|tls| tls.is_refused()).count();
        listeners + usize::from(self.outgoing.tls.as_ref().is_some_and(Reloaded::is_refused))
    }

    /// When the first certificate in use ends, in seconds since the Unix epoch; `None` without TLS.
    pub fn first_certificate_ends(&self) -> Option<i64> {
        let listeners = self.gates.values().filter_map(|gate| gate.tls.as_ref()?.ends());
        listeners.chain(self.outgoing.tls.as_ref().and_then(Reloaded::ends)).min()
    }
}

impl Gate {
    fn load(settings: &ListenerSecurity, credentials: &SharedCredentials) -> Result<Gate, String> {
        let tls = settings.tls.clone().map(|tls| Reloaded::load(tls, tls::server)).transpose();
        let tls = tls.map_err(|error| error.to_string())?;
        let sasl = match settings.sasl.clone() {
            None => None,
            Some(settings) => {
                let oauth = settings.mechanisms.iter().find_map(|it| {
                    it.oauth.jwks_url.clone().map(|url| (url, it.oauth.jwks_refresh))
                });
                let keys =
                    oauth.map(|(url, refresh)| KeySource::open(&url, refresh)).transpose()?;
                Some(SaslGate { settings, keys, credentials: credentials.clone() })
            }
        };
        Ok(Gate { protocol: settings.protocol, tls, sasl })
    }
}

impl Outgoing {
    fn load(settings: &OutgoingSecurity) -> Result<Outgoing, String> {
        let tls = settings.tls.clone().map(|tls| Reloaded::load(tls, tls::client)).transpose();
        let tls = tls.map_err(|error| error.to_string())?;
        let token = settings
            .sasl
            .as_ref()
            .filter(|sasl| sasl.mechanism == Mechanism::OauthBearer)
            .and_then(|sasl| {
                Some(TokenSource::new(sasl.oauth.token_url.as_ref()?, sasl.jaas.as_ref()))
            });
        Ok(Outgoing { tls, sasl: settings.sasl.clone(), token })
    }

    /// Neither encryption nor authentication.
    pub fn plaintext() -> Arc<Outgoing> {
        Arc::new(Outgoing { tls: None, sasl: None, token: None })
    }
}

/// A TLS configuration that follows its files.
pub struct Reloaded<C> {
    settings: TlsSettings,
    read: fn(&TlsSettings) -> Result<Loaded<C>, TlsError>,
    state: Mutex<State<C>>,
}

struct State<C> {
    loaded: Loaded<C>,
    stamps: Stamps,
    /// Files that were looked at and cannot be used.
    refused: Option<Stamps>,
    looked: Instant,
}

/// What tells that a file was written anew.
type Stamps = Vec<Option<(SystemTime, u64)>>;

impl<C> Reloaded<C> {
    fn load(
        settings: TlsSettings,
        read: fn(&TlsSettings) -> Result<Loaded<C>, TlsError>,
    ) -> Result<Reloaded<C>, TlsError> {
        let stamps = stamps(&settings);
        let loaded = read(&settings)?;
        let state = Mutex::new(State { loaded, stamps, refused: None, looked: Instant::now() });
        Ok(Reloaded { settings, read, state })
    }

    /// The configuration for the next connection.
    pub fn current(&self) -> Arc<C> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_AGAIN {
            state.looked = Instant::now();
            let stamps = stamps(&self.settings);
            if stamps == state.stamps {
                state.refused = None;
            } else if state.refused.as_ref() != Some(&stamps) {
                match (self.read)(&self.settings) {
                    Ok(loaded) => {
                        tracing::info!(
                            "the key and trust stores were written anew and are used now"
                        );
                        (state.loaded, state.stamps, state.refused) = (loaded, stamps, None);
                    }
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            "the changed key or trust store cannot be used; the one before stays in force"
                        );
                        state.refused = Some(stamps);
                    }
                }
            }
        }
        state.loaded.config.clone()
    }

    /// The rules for principals, and whatever else does not change.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    fn is_refused(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused.is_some()
    }

    fn ends(&self) -> Option<i64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).loaded.not_after_seconds
    }
}

fn stamps(settings: &TlsSettings) -> Stamps {
    let files = [&settings.keys, &settings.trust];
    let files = files.into_iter().filter_map(|store| store.as_ref()?.path().map(PathBuf::from));
    files
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
}
