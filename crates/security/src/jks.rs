//! Java's own key store format, JKS, for reading. Format observed from stores written by `keytool`.
//!
//! A magic, a version, entries, and a SHA-1 over password and content. A private key is wrapped by a
//! stream of SHA-1 sums over the password; the key within is PKCS#8.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

const MAGIC: u32 = 0xfeed_feed;
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;
/// What `keytool` mixes into the sum over the content.
const PHRASE: &[u8] = b"Mighty Aphrodite";
const SHA1_LENGTH: usize = 20;

/// Why a JKS file gives nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum JksError {
    #[error("it is no JKS store")]
    Magic,
    #[error("it ends too early, or a length in it makes no sense")]
    Truncated,
    #[error("it has an entry of a kind that is not known")]
    Entry,
    #[error("the password is wrong, or the content was changed")]
    Password,
    #[error("the password of the key is wrong")]
    KeyPassword,
}

/// An entry of a store.
pub(crate) enum Entry {
    /// A key, still wrapped, and its chain, the leaf first.
    Key { wrapped: Vec<u8>, chain: Vec<Vec<u8>> },
    /// A certificate that is trusted.
    Trusted(Vec<u8>),
}

/// Whether these bytes claim to be a JKS store.
pub(crate) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_be_bytes())
}

/// Reads all entries. Without a password the content is not checked, as with Java.
pub(crate) fn read(bytes: &[u8], password: Option<&str>) -> Result<Vec<Entry>, JksError> {
    if !is_jks(bytes) {
        return Err(JksError::Magic);
    }
    let split = bytes.len().checked_sub(SHA1_LENGTH).filter(|&split| split >= 4);
    let (content, sum) = bytes.split_at(split.ok_or(JksError::Truncated)?);
    if let Some(password) = password {
        let mut hash = Sha1::new();
        hash.update(&*utf16(password));
        hash.update(PHRASE);
        hash.update(content);
        if !bool::from(hash.finalize().as_slice().ct_eq(sum)) {
            return Err(JksError::Password);
        }
    }
    let mut input = Input(&content[4..]);
    let version = input.u32()?;
    let count = input.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let kind = input.u32()?;
        let _alias = input.short_text()?;
        let _created_ms = input.take(8)?;
        entries.push(match kind {
            PRIVATE_KEY => {
                let wrapped = input.long_bytes()?.to_vec();
                let length = input.u32()?;
                let mut chain = Vec::new();
                for _ in 0..length {
                    chain.push(input.certificate(version)?);
                }
                Entry::Key { wrapped, chain }
            }
            TRUSTED_CERTIFICATE => Entry::Trusted(input.certificate(version)?),
            _ => return Err(JksError::Entry),
        });
    }
    Ok(entries)
}

/// Opens a key: DER of PKCS#8. The wrapping is an `EncryptedPrivateKeyInfo` around salt, ciphertext
/// and a sum.
pub(crate) fn unwrap_key(wrapped: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, JksError> {
    let body = encrypted_data(wrapped).ok_or(JksError::Truncated)?;
    let length = body.len().checked_sub(2 * SHA1_LENGTH).ok_or(JksError::Truncated)?;
    let (salt, rest) = body.split_at(SHA1_LENGTH);
    let (ciphertext, sum) = rest.split_at(length);
    let password = utf16(password);
    let mut key = Zeroizing::new(Vec::with_capacity(length));
    let mut round = salt.to_vec();
    for block in ciphertext.chunks(SHA1_LENGTH) {
        let mut hash = Sha1::new();
        hash.update(&*password);
        hash.update(&round);
        round = hash.finalize().to_vec();
        key.extend(block.iter().zip(&round).map(|(byte, mask)| byte ^ mask));
    }
    let mut hash = Sha1::new();
    hash.update(&*password);
    hash.update(&*key);
    if !bool::from(hash.finalize().as_slice().ct_eq(sum)) {
        return Err(JksError::KeyPassword);
    }
    Ok(key)
}

/// The octets of `SEQUENCE { AlgorithmIdentifier, OCTET STRING }`.
fn encrypted_data(der: &[u8]) -> Option<&[u8]> {
    let (0x30, sequence, _) = tlv(der)? else { return None };
    let (0x30, _algorithm, rest) = tlv(sequence)? else { return None };
    let (0x04, octets, _) = tlv(rest)? else { return None };
    Some(octets)
}

/// `(tag, content, what follows)`.
pub(crate) fn tlv(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let digits = usize::from(first & 0x7f);
        if digits > 4 || digits > rest.len() {
            return None;
        }
        let (number, rest) = rest.split_at(digits);
        (number.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
    };
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

/// Java's characters, two bytes each.
fn utf16(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.encode_utf16().flat_map(u16::to_be_bytes).collect())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], JksError> {
        if length > self.0.len() {
            return Err(JksError::Truncated);
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, JksError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
    }

    fn short_text(&mut self) -> Result<&'a [u8], JksError> {
        let bytes = self.take(2)?;
        self.take(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }

    fn long_bytes(&mut self) -> Result<&'a [u8], JksError> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| JksError::Truncated)?)
    }

    fn certificate(&mut self, version: u32) -> Result<Vec<u8>, JksError> {
        if version >= 2 {
            let _kind = self.short_text()?;
        }
        Ok(self.long_bytes()?.to_vec())
    }
}
