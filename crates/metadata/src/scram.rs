use crate::pmap::PMap;
use crate::{Contradiction, Str};
use bytes::Bytes;
use quorate_protocol::records::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};
use quorate_protocol::{KStr, MetadataRecord};
use std::fmt;
use std::sync::Arc;

/// A SCRAM mechanism, with Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum ScramMechanism {
    /// `SCRAM-SHA-256`, 1.
    Sha256 = 1,
    /// `SCRAM-SHA-512`, 2.
    Sha512 = 2,
}

impl ScramMechanism {
    /// By Kafka's number.
    pub fn from_i8(number: i8) -> Option<ScramMechanism> {
        match number {
            1 => Some(ScramMechanism::Sha256),
            2 => Some(ScramMechanism::Sha512),
            _ => None,
        }
    }

    /// Kafka's number.
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// Kafka's name, for example `SCRAM-SHA-256`.
    pub const fn name(self) -> &'static str {
        match self {
            ScramMechanism::Sha256 => "SCRAM-SHA-256",
            ScramMechanism::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// What a broker needs to check a user's password. Its debug form hides the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// Random bytes.
    pub salt: Vec<u8>,
    /// Derived from the password.
    pub stored_key: Vec<u8>,
    /// Derived from the password.
    pub server_key: Vec<u8>,
    /// How often the hash is applied.
    pub iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// All SCRAM credentials.
#[derive(Clone, Debug, Default)]
pub struct Scram {
    pub(crate) credentials: PMap<(ScramMechanism, Str), Arc<ScramCredential>>,
}

impl Scram {
    /// A user's credential of one mechanism.
    pub fn get(&self, mechanism: ScramMechanism, user: &str) -> Option<&ScramCredential> {
        self.credentials.get(&(mechanism, Str::from(user))).map(Arc::as_ref)
    }

    /// All credentials by mechanism, then user.
    pub fn iter(&self) -> impl Iterator<Item = (ScramMechanism, &Str, &ScramCredential)> {
        self.credentials.iter().map(|((mechanism, user), it)| (*mechanism, user, it.as_ref()))
    }

    pub(crate) fn apply(
        &mut self,
        record: &UserScramCredentialRecord,
    ) -> Result<(), Contradiction> {
        let mechanism = mechanism(record.mechanism)?;
        let credential = ScramCredential {
            salt: record.salt.to_vec(),
            stored_key: record.stored_key.to_vec(),
            server_key: record.server_key.to_vec(),
            iterations: record.iterations,
        };
        self.credentials.insert((mechanism, Str::from(&record.name)), Arc::new(credential));
        Ok(())
    }

    pub(crate) fn remove(
        &mut self,
        record: &RemoveUserScramCredentialRecord,
    ) -> Result<(), Contradiction> {
        let key = (mechanism(record.mechanism)?, Str::from(&record.name));
        match self.credentials.remove(&key) {
            Some(_) => Ok(()),
            None => Err(Contradiction::UnknownScramCredential {
                user: key.1,
                mechanism: record.mechanism,
            }),
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter()
            .map(|(mechanism, user, credential)| credential_record(mechanism, user, credential))
    }
}

fn mechanism(number: i8) -> Result<ScramMechanism, Contradiction> {
    ScramMechanism::from_i8(number)
        .ok_or(Contradiction::MeaninglessValue { field: "mechanism", value: i64::from(number) })
}

pub(crate) fn credential_record(
    mechanism: ScramMechanism,
    user: &Str,
    credential: &ScramCredential,
) -> MetadataRecord {
    MetadataRecord::UserScramCredential(UserScramCredentialRecord {
        name: KStr::from(user),
        mechanism: mechanism.number(),
        salt: Bytes::copy_from_slice(&credential.salt),
        stored_key: Bytes::copy_from_slice(&credential.stored_key),
        server_key: Bytes::copy_from_slice(&credential.server_key),
        iterations: credential.iterations,
        ..Default::default()
    })
}

pub(crate) fn remove_credential_record(mechanism: ScramMechanism, user: &Str) -> MetadataRecord {
    MetadataRecord::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
        name: KStr::from(user),
        mechanism: mechanism.number(),
        ..Default::default()
    })
}
