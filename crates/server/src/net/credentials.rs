//! SCRAM credentials and delegation tokens, from the committed image; and, until the quorum is up, from
//! what this node has on its disk, so that controllers can authenticate to each other by SCRAM
//! (Kafka's cannot: KAFKA-15513).

use crate::driver::core::Published;
use quorate_base::Offset;
use quorate_controller::decide::tokens::token_hmac;
use quorate_metadata::{Image, ScramMechanism};
use quorate_protocol::MetadataRecord;
use quorate_protocol::batch::batches;
use quorate_security::sasl::{Credentials, Hash, ScramSecret, TokenSecret};
use quorate_storage::{LogReader, StorageError};
use tokio::sync::watch;

/// How much of the log is read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Looks into images.
pub struct ImageCredentials {
    published: watch::Receiver<Published>,
    on_disk: OnDisk,
    token_key: Option<String>,
}

/// The credentials among all records on disk, committed or not, and where those end.
pub struct OnDisk {
    image: Image,
    end: Offset,
}

impl OnDisk {
    /// Nothing.
    pub fn nothing() -> OnDisk {
        OnDisk { image: Image::empty(), end: 0 }
    }

    /// Reads on from an image that ends at `from`: the records of the log, or, where there is no log
    /// yet, those that `storage format` left for the first leader.
    pub fn read(
        image: &Image,
        from: Offset,
        log: &LogReader,
        bootstrap: &[MetadataRecord],
    ) -> Result<OnDisk, StorageError> {
        // Credentials only: the rest of a large image need not be kept.
        let mut kept = Image::empty();
        kept.scram = image.scram.clone();
        kept.delegation_tokens = image.delegation_tokens.clone();
        let mut end = from;
        loop {
            let bytes = log.read(end.max(log.log_start()), READ_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            for batch in batches(bytes) {
                let wrong = |why: String| {
                    StorageError::Invalid(format!("the log is not readable at offset {end}: {why}"))
                };
                let batch = batch.map_err(|error| wrong(error.to_string()))?;
                let records = if batch.is_control() { None } else { Some(batch.records()) };
                for record in records.into_iter().flatten() {
                    let record = record.map_err(|error| wrong(error.to_string()))?;
                    // What cannot be read is reported by the node when it comes to apply it.
                    if let Some(value) = record.value
                        && let Ok((record, _)) = MetadataRecord::decode_framed(value)
                    {
                        keep(&mut kept, &record);
                    }
                }
                end = batch.last_offset() + 1;
            }
        }
        if end == 0 {
            bootstrap.iter().for_each(|record| keep(&mut kept, record));
        }
        Ok(OnDisk { image: kept, end: end.max(1) })
    }
}

fn keep(image: &mut Image, record: &MetadataRecord) {
    use MetadataRecord::{
        DelegationToken, RemoveDelegationToken, RemoveUserScramCredential, UserScramCredential,
    };
    if matches!(
        record,
        UserScramCredential(_)
            | RemoveUserScramCredential(_)
            | DelegationToken(_)
            | RemoveDelegationToken(_)
    ) {
        // A record that contradicts is the node's to report; for a credential it changes nothing.
        let _ = image.apply(record);
    }
}

impl ImageCredentials {
    /// What is on disk counts until the published image has come that far. `token_key` is
    /// `delegation.token.secret.key`.
    pub fn new(
        published: watch::Receiver<Published>,
        on_disk: OnDisk,
        token_key: Option<String>,
    ) -> ImageCredentials {
        ImageCredentials { published, on_disk, token_key }
    }

    fn image(&self) -> Image {
        let published = self.published.borrow();
        if published.offset < self.on_disk.end {
            self.on_disk.image.clone()
        } else {
            published.image.clone()
        }
    }
}

impl Credentials for ImageCredentials {
    fn scram(&self, hash: Hash, user: &str) -> Option<ScramSecret> {
        let mechanism = match hash {
            Hash::Sha256 => ScramMechanism::Sha256,
            Hash::Sha512 => ScramMechanism::Sha512,
        };
        let image = self.image();
        let found = image.scram.get(mechanism, user)?;
        Some(ScramSecret {
            salt: found.salt.clone(),
            stored_key: found.stored_key.clone(),
            server_key: found.server_key.clone(),
            iterations: u32::try_from(found.iterations).ok()?,
        })
    }

    /// A token's password is the base64 of its HMAC, which every node derives (KIP-48).
    fn token(&self, id: &str) -> Option<TokenSecret> {
        let image = self.image();
        let token = image.delegation_tokens.get(id)?;
        let (kind, name) = token.owner.split_once(':')?;
        Some(TokenSecret::new(
            &token_hmac(self.token_key.as_deref()?, id),
            (kind.to_owned(), name.to_owned()),
            token.expiration_timestamp_ms,
        ))
    }
}
