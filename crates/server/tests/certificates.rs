//! Certificates over time: renewed while the server runs, broken while it runs, ended, wrong.

mod support;

use quorate_node::RpcFailure;
use quorate_security::sasl::{Credentials, Hash, ScramSecret, TokenSecret};
use quorate_server::config::ServerConfig;
use quorate_server::config::properties::Properties;
use quorate_server::net::security::Security;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{DEADLINE, TestEdge, limits};
use tempfile::TempDir;

struct NoUsers;

impl Credentials for NoUsers {
    fn scram(&self, _: Hash, _: &str) -> Option<ScramSecret> {
        None
    }

    fn token(&self, _: &str) -> Option<TokenSecret> {
        None
    }
}

/// An authority and the files that it wrote.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ca.crt"), issuer.pem()).expect("a file");
        Authority { issuer, dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a key and its certificate, which ends with that year's first day.
    fn write(&self, name: &str, ends: i32) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(ends, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        replace(&self.file(name), &format!("{}{}", key.serialize_pem(), certificate.pem()));
    }

    fn security(&self, name: &str) -> Result<Security, String> {
        let (keys, trust) = (self.file(name), self.file("ca.crt"));
        let text = format!(
            "process.roles=controller\nnode.id=1\nlisteners=CONTROLLER://127.0.0.1:9093\n\
             controller.listener.names=CONTROLLER\nlog.dirs=/data/c1\n\
             controller.quorum.bootstrap.servers=127.0.0.1:9093\n\
             listener.security.protocol.map=CONTROLLER:SSL\nssl.client.auth=required\n\
             ssl.keystore.type=PEM\nssl.keystore.location={}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            keys.display(),
            trust.display()
        );
        let properties = Properties::parse(text.as_bytes(), "server.properties").expect("syntax");
        let config = ServerConfig::from_properties(&properties, "server.properties");
        let config = config.map_err(|error| error.to_string())?;
        let users: Arc<dyn Credentials + Send + Sync> = Arc::new(NoUsers);
        Security::load(&config.security, &users).map_err(|error| error.to_string())
    }
}

/// As a careful administrator does: whole, or not at all.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, path).expect("a file");
}

fn vote(edge: &TestEdge, client: &Security) -> Result<(), RpcFailure> {
    support::vote(edge, "localhost", client).map(drop)
}

/// Seconds since 1970 of a year's first day.
fn seconds_of(year: i32) -> i64 {
    date_time_ymd(year, 1, 1).unix_timestamp()
}

/// Looks again until the first certificate in use ends in that year.
fn await_end(security: &Security, year: i32) {
    let deadline = Instant::now() + DEADLINE;
    while security.first_certificate_ends() != Some(seconds_of(year)) {
        assert!(Instant::now() < deadline, "{:?}", security.first_certificate_ends());
        std::thread::sleep(Duration::from_millis(50));
        security.look_again();
    }
}

#[test]
fn a_renewed_certificate_is_in_use_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    authority.write("server.pem", 2090);
    authority.write("client.pem", 2095);
    let client = authority.security("client.pem").unwrap();
    let edge = TestEdge::start_guarded(limits(), authority.security("server.pem").unwrap());
    vote(&edge, &client).unwrap();
    assert_eq!(edge.security().first_certificate_ends(), Some(seconds_of(2090)));
    authority.write("server.pem", 2091);
    await_end(edge.security(), 2091);
    vote(&edge, &client).unwrap();

    // A file that makes no sense leaves the one before in force; mended, it is taken.
    replace(&authority.file("server.pem"), "-----BEGIN CERTIFICATE-----\nrubbish\n");
    // Of the listener and of the way out, which have the same file.
    edge.wait_until("the broken store is seen", || {
        edge.security().look_again();
        edge.security().unusable_stores() == 2
    });
    assert_eq!(edge.security().first_certificate_ends(), Some(seconds_of(2091)));
    vote(&edge, &client).unwrap();
    authority.write("server.pem", 2092);
    await_end(edge.security(), 2092);
    assert_eq!(edge.security().unusable_stores(), 0);
    vote(&edge, &client).unwrap();
}

#[test]
fn a_certificate_that_has_ended_is_refused_on_either_side() {
    let authority = Authority::new();
    authority.write("good.pem", 2090);
    authority.write("ended.pem", 2020);
    let (good, ended) =
        (authority.security("good.pem").unwrap(), authority.security("ended.pem").unwrap());
    assert_eq!(ended.first_certificate_ends(), Some(seconds_of(2020)));
    let edge = TestEdge::start_guarded(limits(), authority.security("good.pem").unwrap());
    vote(&edge, &good).unwrap();
    assert!(vote(&edge, &ended).is_err());
    edge.wait_until("the refusal is counted", || edge.ended("tls") == 1);
    let edge = TestEdge::start_guarded(limits(), ended);
    assert_eq!(vote(&edge, &good), Err(RpcFailure::Authentication));
    assert_eq!(edge.principals(), [""; 0]);
}

#[test]
fn a_certificate_of_another_authority_is_refused_and_counted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    ours.write("server.pem", 2090);
    theirs.write("client.pem", 2090);
    // It trusts us, and we do not know it.
    std::fs::copy(ours.file("ca.crt"), theirs.file("ca.crt")).unwrap();
    let edge = TestEdge::start_guarded(limits(), ours.security("server.pem").unwrap());
    assert!(vote(&edge, &theirs.security("client.pem").unwrap()).is_err());
    edge.wait_until("the refusal is counted", || edge.ended("tls") == 1);
    assert_eq!(edge.principals(), [""; 0]);
}
