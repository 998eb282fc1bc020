//! TLS settings as `rustls` configurations, and what Java accepts that `rustls` alone would not:
//! certificates that are their own trust anchor, and names in the subject.

use crate::dn;
use crate::settings::{ClientAuth, TlsSettings};
use crate::stores::{StoreError, load_keys, load_trust};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use std::sync::Arc;
use thiserror::Error as ThisError;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why there is no TLS with these settings.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listener without a certificate.
    #[error(
        "ssl.keystore.location (or ssl.keystore.certificate.chain) is missing: a TLS listener needs a certificate"
    )]
    NoKeys,
    /// Nobody to trust.
    #[error(
        "ssl.truststore.location (or ssl.truststore.certificates) is missing: certificates of others cannot be checked"
    )]
    NoTrust,
    /// None of the names is known.
    #[error("none of ssl.cipher.suites is supported here; supported are {0}")]
    NoCipherSuite(String),
    /// What `rustls` says.
    #[error("{0}")]
    Rustls(#[from] Error),
    /// What `rustls` says of the trusted certificates.
    #[error("the trusted certificates cannot be used: {0}")]
    Trust(String),
}

/// One side's configuration, with what is told of it.
#[derive(Clone)]
pub struct Loaded<C> {
    /// For `rustls`.
    pub config: Arc<C>,
    /// When the own certificate ends, in seconds since the Unix epoch; `None` without one.
    pub not_after_seconds: Option<i64>,
}

/// For a listener. Reads the stores.
pub fn server(settings: &TlsSettings) -> Result<Loaded<ServerConfig>, TlsError> {
    let provider = provider(settings)?;
    let keys =
        load_keys(settings.keys.as_ref().ok_or(TlsError::NoKeys)?, settings.key_password.as_ref())?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(settings))?;
    let not_after_seconds = keys.chain.first().and_then(|leaf| dn::not_after_seconds(leaf));
    let builder = if settings.client_auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let trusted = load_trust(settings.trust.as_ref().ok_or(TlsError::NoTrust)?)?;
        let roots = roots(&trusted)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let verifier = if settings.client_auth == ClientAuth::Requested {
            verifier.allow_unauthenticated()
        } else {
            verifier
        };
        let inner = verifier.build().map_err(|error| TlsError::Trust(error.to_string()))?;
        builder.with_client_cert_verifier(Arc::new(Clients { inner, trusted }))
    };
    let config = builder.with_single_cert(keys.chain, keys.key)?;
    Ok(Loaded { config: Arc::new(config), not_after_seconds })
}

/// For outgoing connections. Reads the stores. An own certificate is shown if there is one.
pub fn client(settings: &TlsSettings) -> Result<Loaded<ClientConfig>, TlsError> {
    let provider = provider(settings)?;
    let trusted = load_trust(settings.trust.as_ref().ok_or(TlsError::NoTrust)?)?;
    let inner = WebPkiServerVerifier::builder_with_provider(roots(&trusted)?, provider.clone())
        .build()
        .map_err(|error| TlsError::Trust(error.to_string()))?;
    let verifier = Servers { inner, trusted, verifies_names: settings.verifies_names };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(settings))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let (config, not_after_seconds) = match &settings.keys {
        None => (builder.with_no_client_auth(), None),
        Some(source) => {
            let keys = load_keys(source, settings.key_password.as_ref())?;
            let ends = keys.chain.first().and_then(|leaf| dn::not_after_seconds(leaf));
            (builder.with_client_auth_cert(keys.chain, keys.key)?, ends)
        }
    };
    Ok(Loaded { config: Arc::new(config), not_after_seconds })
}

fn provider(settings: &TlsSettings) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        // Java calls TLS 1.3's TLS_AES_…, rustls TLS13_AES_….
        let plain = |name: &str| name.replacen("TLS13_", "TLS_", 1);
        let all = provider.cipher_suites.clone();
        provider.cipher_suites.retain(|suite| {
            let name = plain(&format!("{:?}", suite.suite()));
            settings.cipher_suites.iter().any(|wanted| plain(wanted) == name)
        });
        if provider.cipher_suites.is_empty() {
            let names: Vec<_> =
                all.iter().map(|suite| plain(&format!("{:?}", suite.suite()))).collect();
            return Err(TlsError::NoCipherSuite(names.join(", ")));
        }
    }
    Ok(Arc::new(provider))
}

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if settings.tls13 {
        versions.push(&rustls::version::TLS13);
    }
    if settings.tls12 {
        versions.push(&rustls::version::TLS12);
    }
    versions
}

fn roots(trusted: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone())?;
    }
    Ok(Arc::new(roots))
}

/// Java takes a certificate that stands in the trust store itself, whatever else it says about being
/// an authority. Its time must be right.
fn is_trusted_itself(
    error: &Error,
    trusted: &[CertificateDer<'static>],
    leaf: &CertificateDer<'_>,
    now: UnixTime,
) -> bool {
    // webpki's name for "an authority's certificate shown as that of an end".
    let as_end = matches!(error, Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"));
    as_end
        && trusted.iter().any(|it| it.as_ref() == leaf.as_ref())
        && X509Certificate::from_der(leaf).is_ok_and(|(_, certificate)| {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let validity = certificate.validity();
            (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
        })
}

/// A certificate without alternative names is compared by its common name, as Java does.
fn has_common_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    if !matches!(certificate.subject_alternative_name(), Ok(None)) {
        return false;
    }
    let wanted = name.to_str().to_ascii_lowercase();
    let matches = |common: &str| {
        let common = common.to_ascii_lowercase();
        match common.strip_prefix("*.") {
            Some(domain) => wanted.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => common == wanted,
        }
    };
    certificate.subject().iter_common_name().any(|name| name.as_str().is_ok_and(matches))
}

/// What a verifier of certificates leaves to the one within: signatures, which both traits ask for.
macro_rules! signatures_as_by_inner {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.inner.supported_verify_schemes()
        }
    };
}

/// Checks the certificates of servers.
#[derive(Debug)]
struct Servers {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    verifies_names: bool,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now);
        let wrong_name = |error: &Error| {
            matches!(
                error,
                Error::InvalidCertificate(
                    CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. }
                )
            )
        };
        match verdict {
            // The chain is looked at first: only the name was wrong.
            Err(error) if wrong_name(&error) => {
                if !self.verifies_names || has_common_name(leaf, name) {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(error)
                }
            }
            Err(error) if is_trusted_itself(&error, &self.trusted, leaf, now) => {
                let named = rustls::server::ParsedCertificate::try_from(leaf)
                    .and_then(|it| rustls::client::verify_server_name(&it, name));
                match named {
                    Err(error) if self.verifies_names && !has_common_name(leaf, name) => Err(error),
                    _ => Ok(ServerCertVerified::assertion()),
                }
            }
            verdict => verdict,
        }
    }

    signatures_as_by_inner!();
}

/// Checks the certificates of clients.
#[derive(Debug)]
struct Clients {
    inner: Arc<dyn ClientCertVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.inner.verify_client_cert(leaf, intermediates, now) {
            Err(error) if is_trusted_itself(&error, &self.trusted, leaf, now) => {
                Ok(ClientCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    signatures_as_by_inner!();
}
