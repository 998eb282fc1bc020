//! Stores that `keytool` and `openssl` wrote, and handshakes between them.
//! (fixtures: RSA in JKS, EC in PKCS#12, RSA in encrypted PEM; all for CN=localhost, the first two
//! without alternative names.)

use quorate_security::principal_mapping::PrincipalMapping;
use quorate_security::settings::{ClientAuth, TlsSettings};
use quorate_security::stores::{StoreKind, StoreSource, load_keys, load_trust};
use quorate_security::{Secret, dn, tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use std::io::{Read, Write};
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn store(name: &str, kind: StoreKind, password: Option<&str>) -> StoreSource {
    StoreSource::File { path: fixture(name), kind, password: password.map(Secret::new) }
}

/// `(keys, password of the key, trust)`.
fn stores() -> Vec<(StoreSource, Option<Secret>, StoreSource)> {
    use StoreKind::{Jks, Pem, Pkcs12};
    let key = Some(Secret::new("key-pw"));
    vec![
        (
            store("keys.jks", Jks, Some("store-pw")),
            key.clone(),
            store("trust.jks", Jks, Some("trust-pw")),
        ),
        (
            store("keys.p12", Pkcs12, Some("store-pw")),
            None,
            store("trust.p12", Pkcs12, Some("trust-pw")),
        ),
        // Java takes PKCS#12 under the name JKS, too.
        (store("openssl.p12", Jks, Some("store-pw")), None, store("openssl.crt", Pem, None)),
        // Written with the ciphers that openssl calls legacy.
        (store("legacy.p12", Pkcs12, Some("store-pw")), None, store("openssl.crt", Pem, None)),
        (store("encrypted.pem", Pem, None), key, store("encrypted.pem", Pem, None)),
    ]
}

fn settings(keys: Option<usize>, trust: Option<usize>) -> TlsSettings {
    TlsSettings {
        keys: keys.map(|it| stores()[it].0.clone()),
        key_password: keys.and_then(|it| stores()[it].1.clone()),
        trust: trust.map(|it| stores()[it].2.clone()),
        client_auth: ClientAuth::Required,
        tls12: true,
        tls13: true,
        cipher_suites: vec![],
        verifies_names: true,
        mapping: PrincipalMapping::default(),
    }
}

#[test]
fn every_kind_of_store_gives_its_key_and_its_trust() {
    for (keys, password, trust) in stores() {
        let found = load_keys(&keys, password.as_ref()).unwrap();
        assert!(dn::subject_of(&found.chain[0]).unwrap().starts_with("CN=localhost"));
        assert_eq!(load_trust(&trust).unwrap(), found.chain[..1]);
    }
}

#[test]
fn wrong_passwords_and_files_are_named() {
    let wrong = Secret::new("wrong");
    for (name, kind, store_pw, key_pw) in [
        ("keys.jks", StoreKind::Jks, "wrong", None),
        ("keys.jks", StoreKind::Jks, "store-pw", Some(&wrong)),
        ("keys.jks", StoreKind::Jks, "store-pw", None),
        ("keys.p12", StoreKind::Pkcs12, "wrong", None),
        ("trust.jks", StoreKind::Jks, "trust-pw", None),
        ("encrypted.pem", StoreKind::Pem, "", None),
        ("encrypted.pem", StoreKind::Pem, "", Some(&wrong)),
        ("absent", StoreKind::Jks, "x", None),
        ("openssl.crt", StoreKind::Pem, "", None),
        ("openssl.crt", StoreKind::Pkcs12, "", None),
    ] {
        let error = load_keys(&store(name, kind, Some(store_pw)), key_pw).err().expect(name);
        let message = error.to_string();
        assert!(message.contains(name) && !message.contains("wrong\""), "{message}");
    }
}

/// A damaged store is an error, never a panic.
#[test]
fn no_flipped_byte_is_fatal() {
    let dir = std::env::temp_dir().join(format!("quorate-stores-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, kind) in [("keys.jks", StoreKind::Jks), ("trust.jks", StoreKind::Jks)] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for at in (0..whole.len()).step_by(41) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            let path = dir.join(name);
            std::fs::write(&path, &bytes).unwrap();
            let source = |password: Option<&str>| StoreSource::File {
                path: path.clone(),
                kind,
                password: password.map(Secret::new),
            };
            assert!(load_trust(&source(Some("store-pw"))).is_err() || name != "keys.jks");
            let _ = load_keys(&source(None), Some(&Secret::new("key-pw")));
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(load_keys(&source(None), Some(&Secret::new("key-pw"))).is_err());
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The name of the client, as the server sees it.
fn handshake(server: &TlsSettings, client: &TlsSettings, host: &str) -> Result<String, String> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let server = tls::server(server).map_err(|e| e.to_string())?;
    let client = tls::client(client).map_err(|e| e.to_string())?;
    let mut server = ServerConnection::new(server.config).unwrap();
    let mut client = ClientConnection::new(client.config, name).unwrap();
    let mut wire = Vec::new();
    client.writer().write_all(b"hello").unwrap();
    for _ in 0..10 {
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().map_err(|e| format!("server: {e}"))?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets().map_err(|e| format!("client: {e}"))?;
    }
    let mut heard = [0; 5];
    server.reader().read_exact(&mut heard).map_err(|e| e.to_string())?;
    assert_eq!(&heard, b"hello");
    let subject = server.peer_certificates().and_then(|all| dn::subject_of(&all[0]));
    Ok(subject.unwrap_or_default())
}

#[test]
fn each_kind_of_store_serves_and_is_trusted() {
    for index in 0..stores().len() {
        let node = settings(Some(index), Some(index));
        let subject = handshake(&node, &node, "localhost").unwrap();
        assert!(subject.starts_with("CN=localhost"), "{subject}");
    }
}

#[test]
fn strangers_and_wrong_names_are_refused() {
    let node = settings(Some(1), Some(1));
    let stranger = settings(Some(0), Some(1));
    assert!(handshake(&node, &stranger, "localhost").unwrap_err().starts_with("server:"));
    let nameless = settings(None, Some(1));
    assert!(handshake(&node, &nameless, "localhost").unwrap_err().starts_with("server:"));
    let distrustful = settings(Some(1), Some(0));
    assert!(handshake(&node, &distrustful, "localhost").unwrap_err().starts_with("client:"));
    for index in 0..stores().len() {
        let node = settings(Some(index), Some(index));
        assert!(handshake(&node, &node, "elsewhere").unwrap_err().starts_with("client:"));
        let careless = TlsSettings { verifies_names: false, ..node.clone() };
        assert!(handshake(&node, &careless, "elsewhere").is_ok(), "{index}");
    }
}

#[test]
fn certificates_may_be_requested_or_not_asked_for() {
    let nameless = settings(None, Some(1));
    let requested =
        TlsSettings { client_auth: ClientAuth::Requested, ..settings(Some(1), Some(1)) };
    assert_eq!(handshake(&requested, &nameless, "localhost").unwrap(), "");
    let known = settings(Some(1), Some(1));
    assert!(handshake(&requested, &known, "localhost").unwrap().starts_with("CN="));
    let none = TlsSettings { client_auth: ClientAuth::None, ..settings(Some(1), None) };
    assert_eq!(handshake(&none, &known, "localhost").unwrap(), "");
}

#[test]
fn versions_and_cipher_suites_are_as_configured() {
    let node = settings(Some(1), Some(1));
    let old = TlsSettings { tls13: false, ..node.clone() };
    let new = TlsSettings { tls12: false, ..node.clone() };
    assert!(handshake(&old, &node, "localhost").is_ok());
    assert!(handshake(&old, &new, "localhost").is_err());
    let suites = |names: &[&str]| TlsSettings {
        cipher_suites: names.iter().map(|it| it.to_string()).collect(),
        ..node.clone()
    };
    let one = suites(&["TLS_AES_256_GCM_SHA384", "TLS_FUTURE"]);
    assert!(handshake(&one, &node, "localhost").is_ok());
    assert!(handshake(&one, &suites(&["TLS_CHACHA20_POLY1305_SHA256"]), "localhost").is_err());
    assert!(
        handshake(&suites(&["TLS_FUTURE"]), &node, "localhost")
            .unwrap_err()
            .contains("TLS_AES_256_GCM_SHA384")
    );
    let mut bare = settings(None, None);
    assert!(tls::server(&bare).err().unwrap().to_string().contains("ssl.keystore.location"));
    bare = settings(Some(1), None);
    assert!(tls::server(&bare).err().unwrap().to_string().contains("ssl.truststore.location"));
}
