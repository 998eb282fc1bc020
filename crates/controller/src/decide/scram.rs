//! AlterUserScramCredentials and DescribeUserScramCredentials (KIP-554).

use crate::decide::refusal::{Refusal, code_and_text};
use crate::{Draft, Env, MAX_RECORDS_PER_USER_OP};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use quorate_metadata::{Image, ScramMechanism};
use quorate_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use quorate_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use quorate_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use quorate_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use quorate_protocol::records::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};
use quorate_protocol::{ErrorCode, KStr};
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;

const MIN_ITERATIONS: i32 = 4096;
const MAX_ITERATIONS: i32 = 16384;

/// Sets and removes credentials. Users are judged one by one; a user named twice fails as a whole. The
/// answer lists what was removed, then what was set, then what was refused.
///
/// Errors: POLICY_VIOLATION for all if there are more than 10,000; for a user UNSUPPORTED_VERSION,
/// DUPLICATE_RESOURCE, UNACCEPTABLE_CREDENTIAL, UNSUPPORTED_SASL_MECHANISM, RESOURCE_NOT_FOUND.
pub fn alter_user_scram_credentials(
    _env: &mut Env<'_>,
    draft: &mut Draft,
    request: &AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let mut deletions: BTreeMap<&KStr, &ScramCredentialDeletion> = BTreeMap::new();
    let mut upsertions: BTreeMap<&KStr, &ScramCredentialUpsertion> = BTreeMap::new();
    let mut refused: BTreeMap<&KStr, Refusal> = BTreeMap::new();
    for deletion in &request.deletions {
        let user = &deletion.name;
        if refused.contains_key(user) {
            continue;
        }
        if deletions.remove(user).is_some() {
            refused.insert(user, named_twice());
            continue;
        }
        match check_deletion(draft.image(), deletion) {
            Ok(()) => drop(deletions.insert(user, deletion)),
            Err(refusal) => drop(refused.insert(user, refusal)),
        }
    }
    for upsertion in &request.upsertions {
        let user = &upsertion.name;
        if refused.contains_key(user) {
            continue;
        }
        if deletions.remove(user).is_some() || upsertions.remove(user).is_some() {
            refused.insert(user, named_twice());
            continue;
        }
        match check_upsertion(draft.image(), upsertion) {
            Ok(()) => drop(upsertions.insert(user, upsertion)),
            Err(refusal) => drop(refused.insert(user, refusal)),
        }
    }
    let mut results = Vec::new();
    let too_many = deletions.len() + upsertions.len() > MAX_RECORDS_PER_USER_OP;
    let outcome = if too_many { Err(Refusal::too_many_records()) } else { Ok(()) };
    for (user, deletion) in deletions {
        if !too_many {
            draft.push(RemoveUserScramCredentialRecord {
                name: user.detached(),
                mechanism: deletion.mechanism,
                ..Default::default()
            });
        }
        results.push(answer(user, &outcome));
    }
    for (user, upsertion) in upsertions {
        if !too_many {
            draft.push(credential(upsertion));
        }
        results.push(answer(user, &outcome));
    }
    results.extend(refused.into_iter().map(|(user, refusal)| answer(user, &Err(refusal))));
    AlterUserScramCredentialsResponse { results, ..Default::default() }
}

fn named_twice() -> Refusal {
    Refusal::new(
        ErrorCode::DuplicateResource,
        "A user credential cannot be altered twice in the same request",
    )
}

fn answer(user: &KStr, outcome: &Result<(), Refusal>) -> AlterUserScramCredentialsResult {
    let (error_code, error_message) = code_and_text(outcome);
    AlterUserScramCredentialsResult {
        user: user.clone(),
        error_code,
        error_message,
        ..Default::default()
    }
}

fn check_user(image: &Image, user: &str) -> Result<(), Refusal> {
    let version = image.features.metadata_version();
    if !version.supports_scram() {
        let why = format!("metadata.version {version} does not support SCRAM; 3.5-IV2 does");
        return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
    }
    if user.is_empty() {
        let why = "Username must not be empty";
        return Err(Refusal::new(ErrorCode::UnacceptableCredential, why));
    }
    Ok(())
}

fn check_deletion(image: &Image, deletion: &ScramCredentialDeletion) -> Result<(), Refusal> {
    check_user(image, &deletion.name)?;
    let mechanism = mechanism(deletion.mechanism)?;
    if image.scram.get(mechanism, &deletion.name).is_none() {
        return Err(Refusal::new(
            ErrorCode::ResourceNotFound,
            "Attempt to delete a user credential that does not exist",
        ));
    }
    Ok(())
}

fn check_upsertion(image: &Image, upsertion: &ScramCredentialUpsertion) -> Result<(), Refusal> {
    check_user(image, &upsertion.name)?;
    mechanism(upsertion.mechanism)?;
    let unacceptable = |why: &str| Err(Refusal::new(ErrorCode::UnacceptableCredential, why));
    if upsertion.iterations < MIN_ITERATIONS {
        return unacceptable("Too few iterations");
    }
    if upsertion.iterations > MAX_ITERATIONS {
        return unacceptable("Too many iterations");
    }
    if upsertion.salted_password.is_empty() {
        return unacceptable("The salted password must not be empty");
    }
    Ok(())
}

fn credential(upsertion: &ScramCredentialUpsertion) -> UserScramCredentialRecord {
    let mechanism = ScramMechanism::from_i8(upsertion.mechanism).expect("was checked");
    let (stored_key, server_key) = keys(mechanism, &upsertion.salted_password);
    UserScramCredentialRecord {
        name: upsertion.name.detached(),
        mechanism: mechanism.number(),
        salt: Bytes::copy_from_slice(&upsertion.salt),
        stored_key,
        server_key,
        iterations: upsertion.iterations,
        ..Default::default()
    }
}

fn mechanism(number: i8) -> Result<ScramMechanism, Refusal> {
    ScramMechanism::from_i8(number)
        .ok_or_else(|| Refusal::new(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"))
}

/// Lists who has credentials of which mechanism, without the keys. Kafka's controllers advertise this API
/// and then have no answer; the operator who asks gets one here.
///
/// Errors: for a user DUPLICATE_RESOURCE, RESOURCE_NOT_FOUND.
pub fn describe_user_scram_credentials(
    image: &Image,
    request: &DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let mut known: BTreeMap<KStr, Vec<CredentialInfo>> = BTreeMap::new();
    for (mechanism, user, credential) in image.scram.iter() {
        known.entry(KStr::from(user)).or_default().push(CredentialInfo {
            mechanism: mechanism.number(),
            iterations: credential.iterations,
            ..Default::default()
        });
    }
    let result = |user: &KStr, refusal: Option<Refusal>, infos: Vec<CredentialInfo>| {
        let (error_code, error_message) = code_and_text(&refusal.map_or(Ok(()), Err));
        DescribeUserScramCredentialsResult {
            user: user.clone(),
            error_code,
            error_message,
            credential_infos: infos,
            ..Default::default()
        }
    };
    let asked = request.users.iter().flatten().map(|it| &it.name);
    let mut times: BTreeMap<&KStr, u32> = BTreeMap::new();
    asked.for_each(|user| *times.entry(user).or_default() += 1);
    let results = if times.is_empty() {
        known.into_iter().map(|(user, infos)| result(&user, None, infos)).collect()
    } else {
        let of_user = |(user, times): (&&KStr, &u32)| match known.get(*user) {
            _ if *times > 1 => {
                let why =
                    format!("Cannot describe SCRAM credentials for the same user twice: {user}");
                result(user, Some(Refusal::new(ErrorCode::DuplicateResource, why)), Vec::new())
            }
            None => {
                let why =
                    format!("Attempt to describe a user credential that does not exist: {user}");
                result(user, Some(Refusal::new(ErrorCode::ResourceNotFound, why)), Vec::new())
            }
            Some(infos) => result(user, None, infos.clone()),
        };
        times.iter().map(of_user).collect()
    };
    DescribeUserScramCredentialsResponse { error_message: None, results, ..Default::default() }
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
