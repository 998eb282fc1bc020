//! `--add-scram`: first SCRAM users, so that a cluster can start with nothing but SCRAM (KIP-900).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use quorate_protocol::records::UserScramCredentialRecord;
use sha2::{Digest, Sha256, Sha512};

/// Kafka's bounds for both mechanisms.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=16384;
/// Random bytes of a salt that is not given.
const SALT_BYTES: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    fn parse(name: &str) -> Result<Mechanism, String> {
        match name {
            "SCRAM-SHA-256" => Ok(Mechanism::Sha256),
            "SCRAM-SHA-512" => Ok(Mechanism::Sha512),
            _ => Err(format!(
                "The add-scram mechanism {name} is not supported; SCRAM-SHA-256 and SCRAM-SHA-512 are."
            )),
        }
    }

    /// Kafka's number.
    fn id(self) -> i8 {
        match self {
            Mechanism::Sha256 => 1,
            Mechanism::Sha512 => 2,
        }
    }

    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        fn run<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
            let mut mac =
                <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Mechanism::Sha256 => run::<Hmac<Sha256>>(key, parts),
            Mechanism::Sha512 => run::<Hmac<Sha512>>(key, parts),
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha256 => Sha256::digest(bytes).to_vec(),
            Mechanism::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// RFC 5802's `Hi`: PBKDF2 with one block.
    fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut last = self.hmac(password.as_bytes(), &[salt, &1u32.to_be_bytes()]);
        let mut out = last.clone();
        for _ in 1..iterations {
            last = self.hmac(password.as_bytes(), &[&last]);
            out.iter_mut().zip(&last).for_each(|(out, byte)| *out ^= byte);
        }
        out
    }
}

/// The fields inside the brackets.
#[derive(Debug, Default)]
struct Fields {
    name: Option<String>,
    password: Option<String>,
    salt: Option<Vec<u8>>,
    iterations: Option<u32>,
    salted_password: Option<Vec<u8>>,
}

/// The record of `SCRAM-SHA-256=[name=alice,password=secret]`. A missing salt is drawn from
/// `random`.
pub fn credential(
    argument: &str,
    random: impl FnOnce(&mut [u8]) -> std::io::Result<()>,
) -> Result<UserScramCredentialRecord, String> {
    let (mechanism, fields) = argument
        .split_once('=')
        .ok_or_else(|| format!("Failed to find equals sign in SCRAM argument '{argument}'"))?;
    let mechanism = Mechanism::parse(mechanism.trim())?;
    let fields =
        fields.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(
            "Expected the add-scram settings in brackets: SCRAM-SHA-256=[name=…,password=…]",
        )?;
    let fields = parse_fields(fields)?;
    let name = fields.name.ok_or("You must supply 'name' to add-scram")?;
    let iterations = fields.iterations.unwrap_or(*ITERATIONS.start());
    let shown = match mechanism {
        Mechanism::Sha256 => "SCRAM_SHA_256",
        Mechanism::Sha512 => "SCRAM_SHA_512",
    };
    if iterations < *ITERATIONS.start() {
        let min = ITERATIONS.start();
        return Err(format!("The 'iterations' value must be >= {min} for add-scram using {shown}"));
    }
    if iterations > *ITERATIONS.end() {
        let max = ITERATIONS.end();
        return Err(format!("The 'iterations' value must be <= {max} for add-scram using {shown}"));
    }
    let (salt, salted) = match (fields.password, fields.salted_password, fields.salt) {
        (None, None, _) => {
            return Err("You must supply one of 'password' or 'saltedpassword' to add-scram".into());
        }
        (Some(_), Some(_), _) => {
            return Err(
                "You cannot supply both 'password' and 'saltedpassword' to add-scram".into()
            );
        }
        (None, Some(_), None) => {
            return Err("You must supply 'salt' with 'saltedpassword' to add-scram".into());
        }
        (None, Some(salted), Some(salt)) => (salt, salted),
        (Some(password), None, salt) => {
            let salt = match salt {
                Some(salt) => salt,
                None => {
                    let mut salt = vec![0; SALT_BYTES];
                    random(&mut salt).map_err(|error| format!("no random salt: {error}"))?;
                    salt
                }
            };
            let salted = mechanism.salted_password(&password, &salt, iterations);
            (salt, salted)
        }
    };
    let client_key = mechanism.hmac(&salted, &[b"Client Key"]);
    Ok(UserScramCredentialRecord {
        name: name.into(),
        mechanism: mechanism.id(),
        salt: Bytes::from(salt),
        stored_key: Bytes::from(mechanism.hash(&client_key)),
        server_key: Bytes::from(mechanism.hmac(&salted, &[b"Server Key"])),
        iterations: i32::try_from(iterations).expect("bounded above"),
        ..Default::default()
    })
}

/// `key=value` separated by commas; a value may stand in double quotes and then hold commas.
fn parse_fields(text: &str) -> Result<Fields, String> {
    let mut fields = Fields::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| format!("Failed to find equals sign in add-scram setting '{rest}'"))?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.split_once('"');
                end.ok_or_else(|| format!("The quoted value of '{}' does not end", key.trim()))?
            }
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        set(&mut fields, key.trim(), value.trim())?;
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(format!("Expected a comma before '{after}' in add-scram")),
        };
    }
    Ok(fields)
}

fn set(fields: &mut Fields, key: &str, value: &str) -> Result<(), String> {
    let base64 = || {
        BASE64.decode(value).map_err(|_| format!("The '{key}' value of add-scram is not base64"))
    };
    let twice = match key {
        "name" => fields.name.replace(value.to_owned()).is_some(),
        "password" => fields.password.replace(value.to_owned()).is_some(),
        "salt" => fields.salt.replace(base64()?).is_some(),
        "saltedpassword" => fields.salted_password.replace(base64()?).is_some(),
        "iterations" => {
            let number = value.parse::<u32>();
            let number =
                number.map_err(|_| "The 'iterations' value of add-scram is not a number")?;
            fields.iterations.replace(number).is_some()
        }
        _ => return Err(format!("Unknown add-scram setting '{key}'")),
    };
    if twice { Err(format!("The add-scram setting '{key}' is there twice")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(argument: &str) -> Result<UserScramCredentialRecord, String> {
        credential(argument, |salt| {
            salt.fill(7);
            Ok(())
        })
    }

    /// Keys made by Kafka 4.3.1's storage tool from the same arguments.
    #[test]
    fn keys_are_those_of_kafkas_tool() {
        let record = parse(
            "SCRAM-SHA-512=[name=alice,iterations=8192,salt=\"N3E=\",saltedpassword=\"YCE=\"]",
        )
        .unwrap();
        assert_eq!((record.mechanism, record.iterations), (2, 8192));
        assert_eq!(&record.salt[..], [55, 113]);
        assert_eq!(record.stored_key[..8], [113, 118, 163, 73, 249, 30, 178, 225]);
        assert_eq!(record.server_key[..8], [76, 97, 124, 14, 221, 238, 90, 198]);

        let salt = BASE64.encode("1by57j6er33688donr92zd6ypp");
        let argument = format!("SCRAM-SHA-256=[name=alice,password=alice-secret,salt=\"{salt}\"]");
        let record = parse(&argument).unwrap();
        assert_eq!((record.mechanism, record.iterations), (1, 4096));
        assert_eq!(record.stored_key[..8], [143, 119, 79, 171, 200, 171, 232, 233]);
        assert_eq!(record.server_key[..8], [85, 123, 172, 57, 221, 62, 121, 58]);
    }

    #[test]
    fn a_missing_salt_is_random() {
        assert_eq!(parse("SCRAM-SHA-256=[name=a,password=b]").unwrap().salt.len(), SALT_BYTES);
    }

    #[test]
    fn each_mistake_is_named() {
        for (argument, hint) in [
            ("foo", "equals sign"),
            ("SCRAM-SHA-1=[name=a,password=b]", "not supported"),
            ("SCRAM-SHA-256=name=a", "brackets"),
            ("SCRAM-SHA-256=[password=x]", "'name'"),
            ("SCRAM-SHA-256=[name=a]", "'password' or 'saltedpassword'"),
            ("SCRAM-SHA-256=[name=a,password=b,saltedpassword=\"YCE=\"]", "both"),
            ("SCRAM-SHA-256=[name=a,saltedpassword=\"YCE=\"]", "'salt'"),
            ("SCRAM-SHA-256=[name=a,password=b,iterations=100]", ">= 4096"),
            ("SCRAM-SHA-256=[name=a,password=b,iterations=99999]", "<= 16384"),
            ("SCRAM-SHA-256=[name=a,password=b,iterations=x]", "not a number"),
            ("SCRAM-SHA-256=[name=a,name=b,password=c]", "twice"),
            ("SCRAM-SHA-256=[name=a,salt=\"!\",password=c]", "base64"),
            ("SCRAM-SHA-256=[name=a,colour=c]", "Unknown"),
            ("SCRAM-SHA-256=[name=\"a]", "does not end"),
        ] {
            let error = parse(argument).unwrap_err();
            assert!(error.contains(hint), "{argument}: {error}");
        }
    }
}
