//! Key stores and trust stores as Kafka configures them: PEM (files or inline), PKCS#12 and JKS.

use crate::Secret;
use crate::jks::{self, Entry, tlv};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The form of a store, `ssl.keystore.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// Certificates and key as text.
    Pem,
    /// What `keytool` writes since Java 9.
    Pkcs12,
    /// What `keytool` wrote before. A PKCS#12 store passes under this name too, as with Java.
    Jks,
}

impl StoreKind {
    /// By Kafka's name, in any case.
    pub fn parse(name: &str) -> Option<StoreKind> {
        match name.to_ascii_uppercase().as_str() {
            "PEM" => Some(StoreKind::Pem),
            "PKCS12" => Some(StoreKind::Pkcs12),
            "JKS" => Some(StoreKind::Jks),
            _ => None,
        }
    }
}

/// Where certificates come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreSource {
    /// A file, read again when it changes.
    File {
        /// Where it is.
        path: PathBuf,
        /// What is in it.
        kind: StoreKind,
        /// Opens it.
        password: Option<Secret>,
    },
    /// PEM in the settings themselves.
    Inline {
        /// `ssl.keystore.certificate.chain` or `ssl.truststore.certificates`.
        certificates: String,
        /// `ssl.keystore.key`.
        key: Option<Secret>,
    },
}

impl StoreSource {
    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            StoreSource::File { path, .. } => Some(path),
            StoreSource::Inline { .. } => None,
        }
    }

    fn place(&self) -> String {
        match self {
            StoreSource::File { path, .. } => path.display().to_string(),
            StoreSource::Inline { .. } => "the certificates in the settings".to_owned(),
        }
    }
}

/// A private key with its certificate chain, the leaf first.
pub struct KeyMaterial {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// A store that gives nothing usable.
#[derive(Debug, Error)]
#[error("{place}: {why}")]
pub struct StoreError {
    place: String,
    why: String,
}

/// The private key and its chain. `key_password` is that of the key, where it differs from the store's.
pub fn load_keys(
    source: &StoreSource,
    key_password: Option<&Secret>,
) -> Result<KeyMaterial, StoreError> {
    let mut found = read_keys(source, key_password)?;
    if let (PrivateKeyDer::Pkcs8(key), Some(leaf)) = (&found.key, found.chain.first())
        && let Some(completed) = with_public_key(key.secret_pkcs8_der(), leaf)
    {
        found.key = PrivateKeyDer::Sec1(completed.into());
    }
    Ok(found)
}

/// Java writes EC keys without their public half, which `ring` insists on: it is taken from the
/// certificate. `None` if the key is of another kind, or whole.
fn with_public_key(pkcs8: &[u8], leaf: &CertificateDer<'_>) -> Option<Vec<u8>> {
    const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const PUBLIC_KEY: u8 = 0xa1;
    let (0x30, info, _) = tlv(pkcs8)? else { return None };
    let (_version, _, rest) = tlv(info)?;
    let (0x30, algorithm, rest) = tlv(rest)? else { return None };
    let (0x06, EC_PUBLIC_KEY, _) = tlv(algorithm)? else { return None };
    let (0x04, key, _) = tlv(rest)? else { return None };
    let (0x30, mut fields, _) = tlv(key)? else { return None };
    let mut private = None;
    while !fields.is_empty() {
        let (tag, content, rest) = tlv(fields)?;
        match tag {
            PUBLIC_KEY => return None,
            0x04 => private = Some(content),
            _ => {}
        }
        fields = rest;
    }
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let point = certificate.public_key().subject_public_key.data.as_ref();
    let bits = der(0x03, &[&[0], point].concat());
    let fields = [der(0x02, &[1]), der(0x04, private?), der(PUBLIC_KEY, &bits)];
    Some(der(0x30, &fields.concat()))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("an EC key is short").to_be_bytes();
    let mut out = vec![tag];
    match length {
        [0, short] if short < 0x80 => out.push(short),
        [0, medium] => out.extend([0x81, medium]),
        [high, low] => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}

fn read_keys(
    source: &StoreSource,
    key_password: Option<&Secret>,
) -> Result<KeyMaterial, StoreError> {
    let fail = |why: String| StoreError { place: source.place(), why };
    match source {
        StoreSource::Inline { certificates, key } => {
            let key = key.as_ref().ok_or_else(|| fail("ssl.keystore.key is missing".into()))?;
            pem_keys(certificates, key.reveal(), key_password).map_err(fail)
        }
        StoreSource::File { path, kind, password } => {
            let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
            let store_password = password.as_ref();
            match kind {
                StoreKind::Pem => {
                    let text = String::from_utf8(bytes)
                        .map_err(|_| fail("it is no PEM file: not text".into()))?;
                    // One file has both, and Kafka forbids a password of the store itself.
                    pem_keys(&text, &text, key_password)
                }
                StoreKind::Jks if jks::is_jks(&bytes) => {
                    jks_keys(&bytes, store_password, key_password.or(store_password))
                }
                StoreKind::Jks | StoreKind::Pkcs12 => pkcs12_keys(&bytes, store_password),
            }
            .map_err(fail)
        }
    }
}

/// All certificates that are trusted.
pub fn load_trust(source: &StoreSource) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let fail = |why: String| StoreError { place: source.place(), why };
    let found = match source {
        StoreSource::Inline { certificates, .. } => pem_certificates(certificates),
        StoreSource::File { path, kind, password } => {
            let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
            let password = password.as_ref();
            match kind {
                StoreKind::Pem => match std::str::from_utf8(&bytes) {
                    Ok(text) => pem_certificates(text),
                    Err(_) => Err("it is no PEM file: not text".to_owned()),
                },
                StoreKind::Jks if jks::is_jks(&bytes) => jks_trust(&bytes, password),
                StoreKind::Jks | StoreKind::Pkcs12 => pkcs12_trust(&bytes, password),
            }
        }
    };
    match found {
        Ok(certificates) if certificates.is_empty() => Err(fail("it has no certificate".into())),
        Ok(certificates) => Ok(certificates),
        Err(why) => Err(fail(why)),
    }
}

fn pem_keys(
    certificates: &str,
    key: &str,
    password: Option<&Secret>,
) -> Result<KeyMaterial, String> {
    let chain = pem_certificates(certificates)?;
    if chain.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    for (label, der) in pem_blocks(key)? {
        let key = match label {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(der).into(),
            "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der.into()),
            "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der.into()),
            "ENCRYPTED PRIVATE KEY" => {
                let password = password.ok_or("its key is encrypted: set ssl.key.password")?;
                decrypt(&der, password)?
            }
            _ => continue,
        };
        return Ok(KeyMaterial { chain, key });
    }
    Err("it has no private key".to_owned())
}

fn decrypt(der: &[u8], password: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|error| format!("its encrypted key cannot be read: {error}"))?;
    let key = info
        .decrypt(password.reveal())
        .map_err(|error| format!("its key does not open with ssl.key.password: {error}"))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn pem_certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = pem_blocks(text)?.into_iter();
    Ok(blocks
        .filter(|(label, _)| matches!(*label, "CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|(_, der)| CertificateDer::from(der))
        .collect())
}

/// All blocks with their labels. Settings often have them in one line, so blanks count as line ends.
fn pem_blocks(text: &str) -> Result<Vec<(&str, Vec<u8>)>, String> {
    const BEGIN: &str = "-----BEGIN ";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        rest = &rest[start + BEGIN.len()..];
        let (label, body) = rest.split_once("-----").ok_or("a PEM block has no proper begin")?;
        let end = format!("-----END {label}-----");
        let (body, after) =
            body.split_once(&end).ok_or_else(|| format!("the PEM block {label} has no end"))?;
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD
            .decode(body)
            .map_err(|error| format!("the PEM block {label} is no base64: {error}"))?;
        blocks.push((label, der));
        rest = after;
    }
    Ok(blocks)
}

fn open_pkcs12(bytes: &[u8], password: Option<&Secret>) -> Result<KeyStore, String> {
    let password = password.map_or("", Secret::reveal);
    KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed)
        .map_err(|error| format!("it does not open as PKCS#12 with its password: {error}"))
}

fn pkcs12_keys(bytes: &[u8], password: Option<&Secret>) -> Result<KeyMaterial, String> {
    let store = open_pkcs12(bytes, password)?;
    let (_, found) = store.private_key_chain().ok_or("it has no private key")?;
    let chain: Vec<_> =
        found.certs().iter().map(|c| CertificateDer::from(c.as_der().to_vec())).collect();
    if chain.is_empty() {
        return Err("its private key has no certificate".to_owned());
    }
    let key = PrivatePkcs8KeyDer::from(found.key().as_der().to_vec()).into();
    Ok(KeyMaterial { chain, key })
}

fn pkcs12_trust(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let store = open_pkcs12(bytes, password)?;
    let mut all = Vec::new();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::Certificate(certificate) => all.push(certificate.as_der()),
            // Java trusts the own certificate of a key entry too.
            KeyStoreEntry::PrivateKeyChain(chain) => {
                all.extend(chain.certs().first().map(|certificate| certificate.as_der()));
            }
            _ => {}
        }
    }
    Ok(all.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect())
}

fn jks_keys(
    bytes: &[u8],
    password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<KeyMaterial, String> {
    let entries = jks::read(bytes, password.map(Secret::reveal)).map_err(|e| e.to_string())?;
    for entry in entries {
        if let Entry::Key { wrapped, chain } = entry {
            let password = key_password.ok_or("its key is encrypted: set ssl.key.password")?;
            let key = jks::unwrap_key(&wrapped, password.reveal()).map_err(|e| e.to_string())?;
            let chain = chain.into_iter().map(CertificateDer::from).collect();
            let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
            return Ok(KeyMaterial { chain, key });
        }
    }
    Err("it has no private key".to_owned())
}

fn jks_trust(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let entries = jks::read(bytes, password.map(Secret::reveal)).map_err(|e| e.to_string())?;
    let certificate = |entry: Entry| match entry {
        Entry::Trusted(der) => Some(der),
        Entry::Key { chain, .. } => chain.into_iter().next(),
    };
    Ok(entries.into_iter().filter_map(certificate).map(CertificateDer::from).collect())
}
