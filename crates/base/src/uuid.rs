use crate::Prng;
use std::fmt;
use std::str::FromStr;

/// 128 bits, shown as Kafka shows them: URL-safe base64 without padding, 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// All zero: Kafka's "none", and `MIGRATING` as a directory id.
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata`, and the directory id `UNASSIGNED`.
    pub const ONE: Uuid = Uuid::from_u128(1);
    /// Topic id of the metadata log.
    pub const METADATA_TOPIC: Uuid = Uuid::ONE;
    /// Directory id: the replica's directory is not decided yet.
    pub const DIR_UNASSIGNED: Uuid = Uuid::ONE;
    /// Directory id: the replica was in a directory that failed.
    pub const DIR_LOST: Uuid = Uuid::from_u128(2);
    /// Directory id: the broker predates directory ids.
    pub const DIR_MIGRATING: Uuid = Uuid::ZERO;

    /// Big-endian, as Java's two longs.
    pub const fn from_u128(value: u128) -> Uuid {
        Uuid(value.to_be_bytes())
    }

    /// Big-endian, as Java's two longs.
    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// True for Kafka's "none".
    pub fn is_zero(self) -> bool {
        self == Uuid::ZERO
    }

    /// True for the ids that Kafka never gives to a topic or directory: the first hundred.
    pub const fn is_reserved(self) -> bool {
        self.as_u128() < 100
    }

    /// A random (version 4) id that is not reserved and whose text does not start with `-`, which
    /// Kafka's tools would take for an option.
    pub fn random(prng: &mut Prng) -> Uuid {
        loop {
            let mut bytes = prng.bytes_16();
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let id = Uuid(bytes);
            if !id.is_reserved() && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.as_u128();
        let mut text = [0u8; 22];
        for (i, out) in text.iter_mut().enumerate() {
            // 22 × 6 = 132 bits: the last character carries two bits and four of padding.
            let sextet = if i < 21 { (bits >> (122 - 6 * i)) & 0x3f } else { (bits << 4) & 0x3f };
            *out = ALPHABET[sextet as usize];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of URL-safe base64.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a Kafka UUID (22 characters of URL-safe base64)")]
pub struct ParseUuidError(pub String);

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Uuid, ParseUuidError> {
        let bad = || ParseUuidError(text.chars().take(64).collect());
        let trimmed = text.strip_suffix("==").unwrap_or(text);
        if trimmed.len() != 22 {
            return Err(bad());
        }
        let mut bits: u128 = 0;
        for (i, c) in trimmed.bytes().enumerate() {
            let sextet = ALPHABET.iter().position(|a| *a == c).ok_or_else(bad)? as u128;
            if i < 21 {
                bits = (bits << 6) | sextet;
            } else {
                bits = (bits << 2) | (sextet >> 4);
            }
        }
        Ok(Uuid::from_u128(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_matches_kafka() {
        assert_eq!(Uuid::ONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(Uuid::ONE));
        assert_eq!(Uuid::from_u128(u128::MAX).to_string(), "_____________________w");
    }

    #[test]
    fn random_ids_round_trip_and_never_look_like_options() {
        let mut prng = Prng::new(1);
        for _ in 0..10_000 {
            let id = Uuid::random(&mut prng);
            let text = id.to_string();
            assert!(!text.starts_with('-'));
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn bad_text_is_refused() {
        for text in ["", "short", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAQA"] {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }
}
