//! Authentication on a connection: what gets in, what does not, and what is told to it. The client is
//! the one by which controllers talk to each other.

mod support;

use quorate_node::RpcFailure;
use quorate_protocol::messages::{
    ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest, VoteRequest,
};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode};
use quorate_security::Secret;
use quorate_security::sasl::{Credentials, Hash, ScramSecret, TokenSecret};
use quorate_server::config::ServerConfig;
use quorate_server::config::properties::Properties;
use quorate_server::net::security::Security;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Client, TestEdge, limits, vote};

struct Users;

impl Credentials for Users {
    fn scram(&self, hash: Hash, user: &str) -> Option<ScramSecret> {
        (user == "node").then(|| ScramSecret::of(hash, &Secret::new("pw"), vec![3; 16]))
    }

    fn token(&self, id: &str) -> Option<TokenSecret> {
        let owner = ("User".to_owned(), "alice".to_owned());
        (id == "token-1").then(|| TokenSecret::new(b"hmac", owner, i64::MAX))
    }
}

fn store(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.join("../security/tests/fixtures").join(name).display().to_string()
}

/// A configuration whose listener CONTROLLER has this protocol and these settings.
fn security(protocol: &str, lines: &str) -> Result<Security, String> {
    let text = format!(
        "process.roles=controller\nnode.id=1\nlisteners=CONTROLLER://127.0.0.1:9093\n\
         controller.listener.names=CONTROLLER\nlog.dirs=/data/c1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:9093\n\
         listener.security.protocol.map=CONTROLLER:{protocol}\n{lines}"
    );
    let properties = Properties::parse(text.as_bytes(), "server.properties").expect("syntax");
    let config = ServerConfig::from_properties(&properties, "server.properties");
    let config = config.map_err(|error| error.to_string())?;
    let users: Arc<dyn Credentials + Send + Sync> = Arc::new(Users);
    Security::load(&config.security, &users).map_err(|error| error.to_string())
}

fn ssl(keys: &str, trust: &str) -> String {
    format!(
        "ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password=store-pw\n\
         ssl.truststore.type={}\nssl.truststore.location={}\nssl.client.auth=required\n{}",
        store(keys),
        if trust.ends_with(".crt") { "PEM" } else { "PKCS12" },
        store(trust),
        if trust.ends_with(".crt") { "" } else { "ssl.truststore.password=trust-pw\n" },
    )
}

fn plain(password: &str) -> String {
    format!(
        "sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.controller.protocol=PLAIN\n\
         listener.name.controller.plain.sasl.jaas.config=M required username=\"node\" \
         password=\"{password}\" user_node=\"pw\" user_other=\"x\";\n"
    )
}

fn scram(hash: u32, password: &str) -> String {
    format!(
        "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512\n\
         sasl.mechanism.controller.protocol=SCRAM-SHA-{hash}\n\
         sasl.jaas.config=M required username=\"node\" password=\"{password}\";\n"
    )
}

#[test]
fn a_certificate_names_its_principal() {
    let rules = "ssl.principal.mapping.rules=RULE:^CN=([a-z]*).*$/$1/U\n";
    let lines = format!("{}{rules}", ssl("keys.p12", "trust.p12"));
    let edge = TestEdge::start_guarded(limits(), security("SSL", &lines).unwrap());
    vote(&edge, "localhost", &security("SSL", &lines).unwrap()).unwrap();
    assert_eq!(edge.principals(), ["User:LOCALHOST"]);
    // By another name than the certificate has.
    let failure = vote(&edge, "127.0.0.1", &security("SSL", &lines).unwrap()).unwrap_err();
    assert_eq!(failure, RpcFailure::Authentication);
}

#[test]
fn a_stranger_s_certificate_and_none_are_refused() {
    let lines = ssl("keys.p12", "trust.p12");
    let edge = TestEdge::start_guarded(limits(), security("SSL", &lines).unwrap());
    let stranger = format!("{}{}", ssl("openssl.p12", "trust.p12"), "");
    assert!(vote(&edge, "localhost", &security("SSL", &stranger).unwrap()).is_err());
    assert!(vote(&edge, "localhost", &Security::none()).is_err());
    let unmapped = format!("{lines}ssl.principal.mapping.rules=RULE:^CN=nobody$/x/\n");
    let edge = TestEdge::start_guarded(limits(), security("SSL", &unmapped).unwrap());
    assert!(vote(&edge, "localhost", &security("SSL", &lines).unwrap()).is_err());
    assert_eq!(edge.principals(), [""; 0]);
}

#[test]
fn each_mechanism_lets_in_who_knows_the_password() {
    for lines in [plain("pw"), scram(256, "pw"), scram(512, "pw")] {
        for (protocol, more) in
            [("SASL_PLAINTEXT", ""), ("SASL_SSL", &*ssl("keys.p12", "trust.p12"))]
        {
            let lines = format!("{lines}{more}");
            let edge = TestEdge::start_guarded(limits(), security(protocol, &lines).unwrap());
            vote(&edge, "localhost", &security(protocol, &lines).unwrap()).unwrap();
            assert_eq!(edge.principals(), ["User:node"], "{protocol} {lines}");
        }
    }
}

#[test]
fn nobody_else_gets_in() {
    for (right, wrong) in [
        (plain("pw"), plain("wrong")),
        (scram(256, "pw"), scram(256, "wrong")),
        (plain("pw"), scram(512, "pw")),
    ] {
        let edge = TestEdge::start_guarded(limits(), security("SASL_PLAINTEXT", &right).unwrap());
        let client = security("SASL_PLAINTEXT", &wrong).unwrap();
        assert_eq!(vote(&edge, "localhost", &client).unwrap_err(), RpcFailure::Authentication);
        // A client that does not authenticate at all.
        assert!(vote(&edge, "localhost", &Security::none()).is_err());
        assert_eq!(edge.principals(), [""; 0]);
    }
}

fn handshake(client: &mut Client, mechanism: &str, version: i16) -> (i16, Vec<String>) {
    let request = SaslHandshakeRequest { mechanism: mechanism.into(), ..Default::default() };
    client.send(&AnyRequest::SaslHandshake(request), version, 7);
    let (_, answer) = client.receive(ApiKey::SaslHandshake, version);
    let AnyResponse::SaslHandshake(answer) = answer else { panic!("{answer:?}") };
    (answer.error_code, answer.mechanisms.iter().map(|it| it.to_string()).collect())
}

fn token(client: &mut Client, bytes: &'static [u8]) -> (i16, Option<String>, i64) {
    let request = SaslAuthenticateRequest { auth_bytes: bytes.into(), ..Default::default() };
    client.send(&AnyRequest::SaslAuthenticate(request), 2, 8);
    let (_, answer) = client.receive(ApiKey::SaslAuthenticate, 2);
    let AnyResponse::SaslAuthenticate(answer) = answer else { panic!("{answer:?}") };
    (answer.error_code, answer.error_message.map(|it| it.to_string()), answer.session_lifetime_ms)
}

fn versions(client: &mut Client) {
    client.send(&AnyRequest::ApiVersions(ApiVersionsRequest::default()), 3, 9);
    client.receive(ApiKey::ApiVersions, 3);
}

fn ask_for_vote(client: &mut Client) {
    client.send(&AnyRequest::Vote(VoteRequest::default()), 1, 10);
}

#[test]
fn versions_are_told_before_authentication_and_nothing_else() {
    let edge = TestEdge::start_guarded(limits(), security("SASL_PLAINTEXT", &plain("pw")).unwrap());
    let mut client = edge.client();
    versions(&mut client);
    ask_for_vote(&mut client);
    assert!(client.is_closed_by_server());
    let mut client = edge.client();
    let illegal = ErrorCode::IllegalSaslState.code();
    assert_eq!(token(&mut client, b"\0node\0pw").0, illegal);
    assert!(client.is_closed_by_server());
    assert_eq!(edge.principals(), [""; 0]);
}

#[test]
fn a_refused_password_is_told_and_ends_the_connection() {
    let edge = TestEdge::start_guarded(limits(), security("SASL_PLAINTEXT", &plain("pw")).unwrap());
    let mut client = edge.client();
    let (error, mechanisms) = handshake(&mut client, "GSSAPI", 1);
    assert_eq!(error, ErrorCode::UnsupportedSaslMechanism.code());
    assert_eq!(mechanisms, ["PLAIN"]);
    assert_eq!(handshake(&mut client, "PLAIN", 1).0, 0);
    let (error, message, _) = token(&mut client, b"\0node\0no");
    assert_eq!(error, ErrorCode::SaslAuthenticationFailed.code());
    assert_eq!(message.unwrap(), "Authentication failed: Invalid username or password");
    assert!(client.is_closed_by_server());
}

#[test]
fn the_old_framing_of_tokens_works_too() {
    let edge = TestEdge::start_guarded(limits(), security("SASL_PLAINTEXT", &plain("pw")).unwrap());
    let mut client = edge.client();
    assert_eq!(handshake(&mut client, "PLAIN", 0).0, 0);
    client.send_frame(b"\0node\0pw");
    assert_eq!(client.receive_frame(), b"");
    ask_for_vote(&mut client);
    client.receive(ApiKey::Vote, 1);
    assert_eq!(edge.principals(), ["User:node"]);
    let mut client = edge.client();
    handshake(&mut client, "PLAIN", 0);
    client.send_frame(b"\0node\0no");
    assert!(client.is_closed_by_server());
}

#[test]
fn a_session_ends_unless_the_same_principal_authenticates_again() {
    let lines = format!("{}connections.max.reauth.ms=3000\n", plain("pw"));
    let edge = TestEdge::start_guarded(limits(), security("SASL_PLAINTEXT", &lines).unwrap());
    let mut again = edge.client();
    let mut idle = edge.client();
    for client in [&mut again, &mut idle] {
        handshake(client, "PLAIN", 1);
        let (error, _, lifetime_ms) = token(client, b"\0node\0pw");
        assert_eq!((error, lifetime_ms), (0, 3000));
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(3100) {
        handshake(&mut again, "PLAIN", 1);
        assert_eq!(token(&mut again, b"\0node\0pw").0, 0);
        ask_for_vote(&mut again);
        again.receive(ApiKey::Vote, 1);
    }
    ask_for_vote(&mut idle);
    assert!(idle.is_closed_by_server());
    // Somebody else cannot take the connection over.
    handshake(&mut again, "PLAIN", 1);
    let (error, message, _) = token(&mut again, b"\0other\0x");
    assert_eq!(error, ErrorCode::SaslAuthenticationFailed.code());
    assert!(message.unwrap().contains("Cannot change principals"));
    assert!(again.is_closed_by_server());
}

#[test]
fn frames_are_small_before_authentication() {
    let lines = format!("{}sasl.server.max.receive.size=1000\n", plain("pw"));
    let edge = TestEdge::start_guarded(limits(), security("SASL_PLAINTEXT", &lines).unwrap());
    let mut client = edge.client();
    client.send_raw(&2000i32.to_be_bytes());
    assert!(client.is_closed_by_server());
    let mut client = edge.client();
    handshake(&mut client, "PLAIN", 1);
    token(&mut client, b"\0node\0pw");
    client.send_frame(&[0; 2000]);
    // Large enough to be read now; what is in it makes no sense.
    assert!(client.is_closed_by_server());
}

#[test]
fn an_open_listener_knows_no_sasl() {
    let edge = TestEdge::start(limits());
    let mut client = edge.client();
    assert_eq!(handshake(&mut client, "PLAIN", 1).0, ErrorCode::IllegalSaslState.code());
    ask_for_vote(&mut client);
    client.receive(ApiKey::Vote, 1);
    assert_eq!(edge.principals(), ["User:ANONYMOUS"]);
}

#[test]
fn what_could_let_anybody_in_stops_the_start() {
    for (protocol, lines, named) in [
        ("SSL", "", "ssl.keystore.location"),
        ("SASL_PLAINTEXT", "", "GSSAPI"),
        ("SASL_PLAINTEXT", "sasl.enabled.mechanisms=PLAIN\n", "sasl.jaas.config"),
        ("SASL_PLAINTEXT", "sasl.enabled.mechanisms=OAUTHBEARER\n", "jwks.endpoint.url"),
        ("NOISE", "", "NOISE"),
    ] {
        let error = security(protocol, lines).err().expect("refused");
        assert!(error.contains(named), "{error}");
    }
    let lines = "sasl.enabled.mechanisms=OAUTHBEARER\n\
                 sasl.mechanism.controller.protocol=OAUTHBEARER\n\
                 sasl.oauthbearer.token.endpoint.url=file:///absent\n\
                 sasl.oauthbearer.jwks.endpoint.url=file:///absent\n";
    let error = security("SASL_PLAINTEXT", lines).err().expect("refused");
    assert!(error.contains("/absent"), "{error}");
}
