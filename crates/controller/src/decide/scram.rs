//! AlterUserScramCredentials (KIP-554).

use crate::{Draft, Env};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use quorate_metadata::ScramMechanism;
use quorate_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use quorate_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use quorate_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};
use quorate_protocol::records::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};
use quorate_protocol::{ErrorCode, KStr, MetadataRecord};
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;

const MIN_ITERATIONS: i32 = 4096;
const MAX_ITERATIONS: i32 = 16384;

/// Sets and removes credentials. Users are judged one by one; a user named twice fails as a whole.
pub fn alter_user_scram_credentials(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    request: &AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let supported = draft.image().features.metadata_version().supports_scram();
    let mut times_named: BTreeMap<&str, u32> = BTreeMap::new();
    let users = request.deletions.iter().map(|it| it.name.as_str());
    for user in users.chain(request.upsertions.iter().map(|it| it.name.as_str())) {
        *times_named.entry(user).or_default() += 1;
    }
    let check_user = |user: &str| {
        if !supported {
            return Err((
                ErrorCode::UnsupportedVersion,
                "The current metadata.version does not support SCRAM; it needs 3.5-IV2 or higher."
                    .to_owned(),
            ));
        }
        if times_named.get(user).is_some_and(|times| *times > 1) {
            return Err((
                ErrorCode::DuplicateResource,
                "A user credential cannot be altered twice in the same request".to_owned(),
            ));
        }
        if user.is_empty() {
            return Err((
                ErrorCode::UnacceptableCredential,
                "Username must not be empty".to_owned(),
            ));
        }
        Ok(())
    };
    let mut results: Vec<AlterUserScramCredentialsResult> = Vec::new();
    let mut answer = |user: &KStr, outcome: Result<(), Refusal>| {
        // A user named twice has one result.
        if results.iter().all(|result| result.user != *user) {
            let (code, message) = match outcome {
                Ok(()) => (ErrorCode::None, None),
                Err((code, message)) => (code, Some(KStr::from(message))),
            };
            results.push(AlterUserScramCredentialsResult {
                user: user.clone(),
                error_code: code.code(),
                error_message: message,
                ..Default::default()
            });
        }
    };
    for deletion in &request.deletions {
        let outcome = check_user(&deletion.name).and_then(|()| delete(draft, deletion));
        answer(&deletion.name, outcome);
    }
    for upsertion in &request.upsertions {
        let outcome = check_user(&upsertion.name).and_then(|()| upsert(draft, upsertion));
        answer(&upsertion.name, outcome);
    }
    AlterUserScramCredentialsResponse { results, ..Default::default() }
}

type Refusal = (ErrorCode, String);

fn delete(draft: &mut Draft, deletion: &ScramCredentialDeletion) -> Result<(), Refusal> {
    let mechanism = mechanism(deletion.mechanism)?;
    if draft.image().scram.get(mechanism, &deletion.name).is_none() {
        return Err((
            ErrorCode::ResourceNotFound,
            "Attempt to delete a user credential that does not exist".to_owned(),
        ));
    }
    draft.push(MetadataRecord::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
        name: deletion.name.clone(),
        mechanism: mechanism.number(),
        ..Default::default()
    }));
    Ok(())
}

fn upsert(draft: &mut Draft, upsertion: &ScramCredentialUpsertion) -> Result<(), Refusal> {
    let mechanism = mechanism(upsertion.mechanism)?;
    let unacceptable = |why: &str| Err((ErrorCode::UnacceptableCredential, why.to_owned()));
    if upsertion.iterations < MIN_ITERATIONS {
        return unacceptable("Too few iterations");
    }
    if upsertion.iterations > MAX_ITERATIONS {
        return unacceptable("Too many iterations");
    }
    if upsertion.salted_password.is_empty() {
        return unacceptable("The salted password must not be empty");
    }
    let (stored_key, server_key) = keys(mechanism, &upsertion.salted_password);
    draft.push(MetadataRecord::UserScramCredential(UserScramCredentialRecord {
        name: upsertion.name.clone(),
        mechanism: mechanism.number(),
        salt: upsertion.salt.clone(),
        stored_key,
        server_key,
        iterations: upsertion.iterations,
        ..Default::default()
    }));
    Ok(())
}

fn mechanism(number: i8) -> Result<ScramMechanism, Refusal> {
    ScramMechanism::from_i8(number).ok_or_else(|| {
        (ErrorCode::UnsupportedSaslMechanism, format!("Unknown SCRAM mechanism {number}"))
    })
}

/// StoredKey and ServerKey of RFC 5802 §3, from the salted password.
pub fn keys(mechanism: ScramMechanism, salted_password: &[u8]) -> (Bytes, Bytes) {
    match mechanism {
        ScramMechanism::Sha256 => {
            let mac = |text: &[u8]| hmac::<Hmac<Sha256>>(salted_password, text);
            let client_key = mac(b"Client Key");
            (Bytes::from(Sha256::digest(&client_key).to_vec()), mac(b"Server Key"))
        }
        ScramMechanism::Sha512 => {
            let mac = |text: &[u8]| hmac::<Hmac<Sha512>>(salted_password, text);
            let client_key = mac(b"Client Key");
            (Bytes::from(Sha512::digest(&client_key).to_vec()), mac(b"Server Key"))
        }
    }
}

/// A keyed hash; keys of any length are allowed.
pub(crate) fn hmac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Bytes {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    Bytes::from(mac.finalize().into_bytes().to_vec())
}
