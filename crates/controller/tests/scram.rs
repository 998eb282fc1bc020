//! AlterUserScramCredentials, row by row as Kafka 4.4.0 answered, unless said otherwise.

mod desk;

use bytes::Bytes;
use desk::{Desk, name};
use quorate_controller::decide::scram::{
    alter_user_scram_credentials, describe_user_scram_credentials, keys,
};
use quorate_metadata::ScramMechanism;
use quorate_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use quorate_protocol::messages::*;
use quorate_protocol::{KStr, MetadataRecord};

const SHA_256: i8 = 1;
const SHA_512: i8 = 2;

fn delete(user: &str, mechanism: i8) -> ScramCredentialDeletion {
    ScramCredentialDeletion { name: KStr::from(user), mechanism, ..Default::default() }
}

fn set(user: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
    ScramCredentialUpsertion {
        name: KStr::from(user),
        mechanism,
        iterations,
        salt: Bytes::from_static(b"salt"),
        salted_password: Bytes::from_static(b"pw"),
        ..Default::default()
    }
}

type Outcome = (String, &'static str, Option<String>);

fn alter(
    desk: &mut Desk,
    deletions: Vec<ScramCredentialDeletion>,
    upsertions: Vec<ScramCredentialUpsertion>,
) -> (Vec<Outcome>, Vec<MetadataRecord>) {
    let request = AlterUserScramCredentialsRequest { deletions, upsertions, ..Default::default() };
    let (answer, records) =
        desk.decide(|env, draft, _| alter_user_scram_credentials(env, draft, &request));
    let outcomes = answer
        .results
        .into_iter()
        .map(|it| (it.user.into(), name(it.error_code), it.error_message.map(String::from)));
    (outcomes.collect(), records)
}

#[test]
fn credentials_are_set_and_removed() {
    let mut desk = Desk::at(30);
    let (outcomes, records) = alter(&mut desk, vec![], vec![set("u", SHA_256, 4096)]);
    assert_eq!(outcomes, [("u".to_owned(), "NONE", None)]);
    let [MetadataRecord::UserScramCredential(record)] = records.as_slice() else {
        panic!("{records:?}")
    };
    let (stored_key, server_key) = keys(ScramMechanism::Sha256, b"pw");
    assert_eq!((&record.stored_key, &record.server_key), (&stored_key, &server_key));
    assert_eq!((record.mechanism, record.iterations, &record.salt[..]), (1, 4096, &b"salt"[..]));
    let (outcomes, records) = alter(&mut desk, vec![delete("u", SHA_256)], vec![]);
    assert_eq!((outcomes[0].1, records.len()), ("NONE", 1));
    assert!(desk.image.scram.iter().next().is_none());
}

/// The example of RFC 7677 §3 (`pencil`, salt `W22ZaJ0SNY7soEsUEjb6gQ==`, 4096 rounds), and the same with
/// SHA-512; computed by another implementation, whose server signature is the RFC's.
#[test]
fn keys_are_those_of_the_rfc() {
    for (mechanism, salted_password, stored_key, server_key) in [
        (
            ScramMechanism::Sha256,
            "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d",
            "586e5df283e6dceb5c3e791d8b8528ec191e664045ce971792e2e6b5bb13e2a6",
            "c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5",
        ),
        (
            ScramMechanism::Sha512,
            "f16efe1be67f1d09502ebd5ed9262fddffba5a377ab4f0b687e5ed5ba0f50686\
         b8a4ae166476da8ab3b951d2fa9238b63998f45461bc33a464814949cec9631d",
            "e8002e6f7d3ae446119b216933644dc2a2be7869eb918b8459b5e7d7d2ec1260\
         6aceef106825cd735170a675fd3611f684affad1dce3f43a0ee43bd590e1dbbe",
            "8d91db6230b5687874fe129bc7206e1858c3ae08e02934f57ac03b6b05a229c4\
         59d28ff46f5c9611e6c179256490215ec1ff759cb0df285db89af0f99e613aac",
        ),
    ] {
        let (stored, server) = keys(mechanism, &hex(salted_password));
        assert_eq!((&stored[..], &server[..]), (&hex(stored_key)[..], &hex(server_key)[..]));
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn each_error_of_a_user() {
    let no_password =
        ScramCredentialUpsertion { salted_password: Bytes::new(), ..set("u", SHA_256, 4096) };
    #[rustfmt::skip]
    let rows = [
        (vec![], vec![set("u", SHA_256, 4096), set("u", SHA_512, 4096)], "DUPLICATE_RESOURCE", "A user credential cannot be altered twice in the same request"),
        (vec![delete("u", SHA_256)], vec![set("u", SHA_256, 4096)], "DUPLICATE_RESOURCE", "A user credential cannot be altered twice in the same request"),
        (vec![delete("u", SHA_256), delete("u", SHA_256)], vec![], "DUPLICATE_RESOURCE", "A user credential cannot be altered twice in the same request"),
        (vec![delete("", SHA_256)], vec![], "UNACCEPTABLE_CREDENTIAL", "Username must not be empty"),
        (vec![], vec![set("", 9, 1)], "UNACCEPTABLE_CREDENTIAL", "Username must not be empty"),
        (vec![delete("u", 9)], vec![], "UNSUPPORTED_SASL_MECHANISM", "Unknown SCRAM mechanism"),
        (vec![], vec![set("u", 0, 1)], "UNSUPPORTED_SASL_MECHANISM", "Unknown SCRAM mechanism"),
        (vec![delete("nobody", SHA_256)], vec![], "RESOURCE_NOT_FOUND", "Attempt to delete a user credential that does not exist"),
        (vec![delete("u", SHA_512)], vec![], "RESOURCE_NOT_FOUND", "Attempt to delete a user credential that does not exist"),
        (vec![], vec![set("u", SHA_256, 4095)], "UNACCEPTABLE_CREDENTIAL", "Too few iterations"),
        (vec![], vec![set("u", SHA_512, 16385)], "UNACCEPTABLE_CREDENTIAL", "Too many iterations"),
        // Kafka answers UNKNOWN_SERVER_ERROR.
        (vec![], vec![no_password], "UNACCEPTABLE_CREDENTIAL", "The salted password must not be empty"),
    ];
    for (deletions, upsertions, error, text) in rows {
        let mut desk = Desk::at(30);
        alter(&mut desk, vec![], vec![set("u", SHA_256, 4096)]);
        let (outcomes, records) = alter(&mut desk, deletions, upsertions);
        assert_eq!(outcomes.len(), 1, "a user has one result");
        assert_eq!((outcomes[0].1, outcomes[0].2.as_deref()), (error, Some(text)));
        assert!(records.is_empty());
    }
}

#[test]
fn what_was_removed_comes_first_then_what_was_set_then_what_was_refused() {
    let mut desk = Desk::at(30);
    alter(&mut desk, vec![], vec![set("v", SHA_512, 4096)]);
    let deletions = vec![delete("z", SHA_256), delete("v", SHA_512), delete("a", SHA_256)];
    let upsertions = vec![
        set("q", SHA_256, 1),
        set("b", SHA_256, 4096),
        set("z", SHA_256, 4096),
        set("c", 9, 1),
    ];
    let (outcomes, records) = alter(&mut desk, deletions, upsertions);
    let seen: Vec<_> = outcomes.iter().map(|(user, error, _)| (user.as_str(), *error)).collect();
    assert_eq!(
        seen,
        [
            ("v", "NONE"),
            ("b", "NONE"),
            ("a", "RESOURCE_NOT_FOUND"),
            ("c", "UNSUPPORTED_SASL_MECHANISM"),
            ("q", "UNACCEPTABLE_CREDENTIAL"),
            ("z", "RESOURCE_NOT_FOUND"),
        ]
    );
    let names: Vec<_> = records.iter().map(|it| it.name()).collect();
    assert_eq!(names, ["RemoveUserScramCredentialRecord", "UserScramCredentialRecord"]);
}

#[test]
fn scram_needs_its_level() {
    let (outcomes, records) = alter(&mut Desk::at(10), vec![], vec![set("u", SHA_256, 4096)]);
    assert_eq!((outcomes[0].1, records.len()), ("UNSUPPORTED_VERSION", 0));
    let (outcomes, _) = alter(&mut Desk::at(11), vec![], vec![set("u", SHA_256, 4096)]);
    assert_eq!(outcomes[0].1, "NONE");
}

#[test]
fn more_than_ten_thousand_are_refused_as_a_whole() {
    let users: Vec<_> = (0..10_001).map(|it| set(&it.to_string(), SHA_256, 4096)).collect();
    let (outcomes, records) = alter(&mut Desk::at(30), vec![], users);
    assert!(outcomes.len() == 10_001 && outcomes.iter().all(|it| it.1 == "POLICY_VIOLATION"));
    assert!(records.is_empty());
}

/// Kafka's controllers have no answer to this one.
#[test]
fn credentials_are_described_without_their_keys() {
    use describe_user_scram_credentials_request::UserName;
    let mut desk = Desk::at(30);
    alter(&mut desk, vec![], vec![set("u", SHA_256, 4096)]);
    alter(&mut desk, vec![], vec![set("u", SHA_512, 8192)]);
    alter(&mut desk, vec![], vec![set("v", SHA_512, 4096)]);
    let ask = |users: Option<&[&str]>| {
        let name = |it: &&str| UserName { name: KStr::from(*it), ..Default::default() };
        let users = users.map(|users| users.iter().map(name).collect());
        let request = DescribeUserScramCredentialsRequest { users, ..Default::default() };
        let answer = describe_user_scram_credentials(&desk.image, &request);
        let result =
            |it: &describe_user_scram_credentials_response::DescribeUserScramCredentialsResult| {
                let infos = it.credential_infos.iter().map(|it| (it.mechanism, it.iterations));
                (it.user.to_string(), desk::name(it.error_code), infos.collect::<Vec<_>>())
            };
        answer.results.iter().map(result).collect::<Vec<_>>()
    };
    let u = ("u".to_owned(), "NONE", vec![(1, 4096), (2, 8192)]);
    let v = ("v".to_owned(), "NONE", vec![(2, 4096)]);
    assert_eq!(ask(None), [u.clone(), v.clone()]);
    assert_eq!(ask(Some(&[])), [u, v.clone()]);
    let none = |user: &str, error| (user.to_owned(), error, vec![]);
    assert_eq!(
        ask(Some(&["w", "v", "u", "u"])),
        [none("u", "DUPLICATE_RESOURCE"), v, none("w", "RESOURCE_NOT_FOUND")]
    );
}
