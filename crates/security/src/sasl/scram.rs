//! SCRAM (RFC 5802, 7677) as Kafka uses it: without channel binding, with an extension that says
//! "this is a delegation token".

use super::{Credentials, Denied, Identity, Mechanism, Verdict, from_saslname, saslname};
use crate::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Fewer iterations are refused, on both sides, as Kafka does.
const MIN_ITERATIONS: u32 = 4096;
/// A server that asks for more wants to keep the client busy.
const MAX_ITERATIONS: u32 = 1 << 22;
/// The channel-binding header: neither supported nor used.
const GS2: &str = "n,";

/// The hash of a mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Its mechanism.
    pub fn mechanism(self) -> Mechanism {
        match self {
            Hash::Sha256 => Mechanism::ScramSha256,
            Hash::Sha512 => Mechanism::ScramSha512,
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(data).to_vec(),
            Hash::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        const ANY: &str = "HMAC takes keys of any length";
        match self {
            Hash::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY);
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }
            Hash::Sha512 => {
                let mut mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY);
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Hash::Sha256 => {
                let mut out = vec![0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut out);
                out
            }
            Hash::Sha512 => {
                let mut out = vec![0; 64];
                pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), salt, iterations, &mut out);
                out
            }
        }
    }
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramSecret {
    /// Random bytes.
    pub salt: Vec<u8>,
    /// Derived from the password.
    pub stored_key: Vec<u8>,
    /// Derived from the password.
    pub server_key: Vec<u8>,
    /// How often the hash is applied.
    pub iterations: u32,
}

impl ScramSecret {
    /// From a password, with the fewest iterations allowed.
    pub fn of(hash: Hash, password: &Secret, salt: Vec<u8>) -> ScramSecret {
        let salted = hash.salted(password.reveal(), &salt, MIN_ITERATIONS);
        let stored_key = hash.hash(&hash.hmac(&salted, b"Client Key"));
        let server_key = hash.hmac(&salted, b"Server Key");
        ScramSecret { salt, stored_key, server_key, iterations: MIN_ITERATIONS }
    }
}

/// The server's side of one authentication.
pub struct ScramServer {
    hash: Hash,
    nonce: String,
    state: ServerState,
}

enum ServerState {
    Start,
    Challenged(Box<Challenge>),
    Over,
}

/// What is remembered between the client's two messages.
struct Challenge {
    secret: ScramSecret,
    identity: Identity,
    first_bare: String,
    first: String,
    gs2: String,
}

impl ScramServer {
    /// `random` must be fresh: at least 16 bytes from a good source.
    pub fn new(hash: Hash, random: &[u8]) -> ScramServer {
        assert!(random.len() >= 16, "a nonce that can be guessed");
        let nonce = BASE64_STANDARD.encode(random);
        ScramServer { hash, nonce, state: ServerState::Start }
    }

    /// Takes the client's next message.
    pub fn step(&mut self, token: &[u8], known: &dyn Credentials) -> Result<Verdict, Denied> {
        let state = std::mem::replace(&mut self.state, ServerState::Over);
        let text = std::str::from_utf8(token).map_err(|_| self.malformed("it is not UTF-8"))?;
        match state {
            ServerState::Start => self.first(text, known),
            ServerState::Challenged(challenge) => self.last(text, *challenge),
            ServerState::Over => Err(self.malformed("it is over")),
        }
    }

    fn malformed(&self, what: &str) -> Denied {
        Denied::malformed(self.hash.mechanism(), what)
    }

    fn first(&mut self, text: &str, known: &dyn Credentials) -> Result<Verdict, Denied> {
        // gs2-header: "n," [ "a=" saslname ] ","
        let after = text.strip_prefix(GS2).ok_or_else(|| self.malformed("channel binding"))?;
        let (authorization, bare) =
            after.split_once(',').ok_or_else(|| self.malformed("the header has no end"))?;
        let gs2 = format!("{GS2}{authorization},");
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|f| f.strip_prefix("n=")).and_then(from_saslname);
        let user = user.filter(|u| !u.is_empty()).ok_or_else(|| self.malformed("no user name"))?;
        let nonce = fields.next().and_then(|f| f.strip_prefix("r="));
        let printable = |n: &&str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic());
        let nonce = nonce.filter(printable).ok_or_else(|| self.malformed("no nonce"))?;
        let mut by_token = false;
        for extension in fields {
            let (name, value) =
                extension.split_once('=').ok_or_else(|| self.malformed("an extension"))?;
            by_token |= name == "tokenauth" && value.eq_ignore_ascii_case("true");
        }
        let authorization = match authorization {
            "" => None,
            named => Some(
                named
                    .strip_prefix("a=")
                    .and_then(from_saslname)
                    .ok_or_else(|| self.malformed("authorization id"))?,
            ),
        };
        let denied = || Denied::credentials(self.hash.mechanism());
        // CVE-2017-12610: nobody acts as somebody else.
        if authorization.is_some_and(|it| it != user) {
            return Err(denied());
        }
        let (secret, identity) = if by_token {
            let token = known.token(&user).ok_or_else(denied)?;
            let salt = self.hash.hash(self.nonce.as_bytes())[..16].to_vec();
            let (kind, name) = token.owner;
            let expires_at_ms = Some(token.expires_at_ms);
            let identity = Identity { name, kind, by_token: true, expires_at_ms };
            (ScramSecret::of(self.hash, &token.password, salt), identity)
        } else {
            let secret = known.scram(self.hash, &user).ok_or_else(denied)?;
            (secret, Identity::user(user))
        };
        if secret.iterations < MIN_ITERATIONS {
            return Err(denied());
        }
        let salt = BASE64_STANDARD.encode(&secret.salt);
        let first = format!("r={nonce}{},s={salt},i={}", self.nonce, secret.iterations);
        let reply = first.clone().into_bytes();
        let first_bare = bare.to_owned();
        let challenge = Challenge { secret, identity, first_bare, first, gs2 };
        self.state = ServerState::Challenged(Box::new(challenge));
        Ok(Verdict::Challenge(reply))
    }

    fn last(&self, text: &str, challenge: Challenge) -> Result<Verdict, Denied> {
        let Challenge { secret, identity, first_bare, first, gs2 } = challenge;
        let nonce = first.split(',').next().and_then(|field| field.strip_prefix("r="));
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or_else(|| self.malformed("no proof"))?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|f| f.strip_prefix("c="));
        if binding != Some(BASE64_STANDARD.encode(gs2).as_str()) {
            return Err(self.malformed("channel binding"));
        }
        // CVE-2024-56128: the nonce of the second message is that of the first.
        if fields.next().and_then(|f| f.strip_prefix("r=")) != nonce {
            return Err(self.malformed("the nonce is not the one agreed on"));
        }
        let denied = || Denied::credentials(self.hash.mechanism());
        let proof = BASE64_STANDARD.decode(proof).map_err(|_| denied())?;
        let auth = format!("{first_bare},{first},{without_proof}");
        let signature = self.hash.hmac(&secret.stored_key, auth.as_bytes());
        if proof.len() != signature.len() {
            return Err(denied());
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if !bool::from(self.hash.hash(&client_key).ct_eq(&secret.stored_key)) {
            return Err(denied());
        }
        let signature = self.hash.hmac(&secret.server_key, auth.as_bytes());
        let reply = format!("v={}", BASE64_STANDARD.encode(signature));
        Ok(Verdict::Done(reply.into_bytes(), identity))
    }
}

/// The client's side of one authentication.
pub struct ScramClient {
    hash: Hash,
    password: Secret,
    first_bare: String,
    nonce: String,
    server_signature: Option<Vec<u8>>,
}

impl ScramClient {
    /// `random` must be fresh: at least 16 bytes from a good source.
    pub fn new(
        hash: Hash,
        user: &str,
        password: Secret,
        random: &[u8],
        token: bool,
    ) -> ScramClient {
        assert!(random.len() >= 16, "a nonce that can be guessed");
        let nonce = BASE64_STANDARD.encode(random);
        let extension = if token { ",tokenauth=true" } else { "" };
        let first_bare = format!("n={},r={nonce}{extension}", saslname(user));
        ScramClient { hash, password, first_bare, nonce, server_signature: None }
    }

    /// What is sent first.
    pub fn first(&self) -> Vec<u8> {
        format!("{GS2},{}", self.first_bare).into_bytes()
    }

    /// Answers the challenge with a proof.
    pub fn prove(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Denied> {
        let malformed = |what| Denied::malformed(self.hash.mechanism(), what);
        let text = std::str::from_utf8(challenge).map_err(|_| malformed("it is not UTF-8"))?;
        let field = |name: &str| text.split(',').find_map(|f| f.strip_prefix(name));
        let nonce = field("r=").ok_or_else(|| malformed("no nonce"))?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(malformed("the nonce does not begin with ours"));
        }
        let salt = field("s=").and_then(|salt| BASE64_STANDARD.decode(salt).ok());
        let salt = salt.ok_or_else(|| malformed("no salt"))?;
        let iterations: u32 = field("i=")
            .and_then(|number| number.parse().ok())
            .filter(|number| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(number))
            .ok_or_else(|| malformed("too few or too many iterations"))?;
        let salted = self.hash.salted(self.password.reveal(), &salt, iterations);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let stored_key = self.hash.hash(&client_key);
        let last = format!("c={},r={nonce}", BASE64_STANDARD.encode(format!("{GS2},")));
        let auth = format!("{},{text},{last}", self.first_bare);
        let signature = self.hash.hmac(&stored_key, auth.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        self.server_signature = Some(self.hash.hmac(&server_key, auth.as_bytes()));
        Ok(format!("{last},p={}", BASE64_STANDARD.encode(proof)).into_bytes())
    }

    /// Checks that the server knows the password too.
    pub fn verify(&self, last: &[u8]) -> Result<(), Denied> {
        let signature = std::str::from_utf8(last)
            .ok()
            .and_then(|text| text.strip_prefix("v="))
            .and_then(|text| BASE64_STANDARD.decode(text.split(',').next()?).ok());
        match (&self.server_signature, signature) {
            (Some(ours), Some(theirs)) if bool::from(ours.as_slice().ct_eq(&theirs)) => Ok(()),
            _ => Err(Denied("the server does not know the password: it is not who it says".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::TokenSecret;

    struct Known;

    impl Credentials for Known {
        fn scram(&self, hash: Hash, user: &str) -> Option<ScramSecret> {
            (user == "a,l=i").then(|| ScramSecret::of(hash, &Secret::new("pw"), vec![7; 16]))
        }

        fn token(&self, id: &str) -> Option<TokenSecret> {
            (id == "tid").then(|| TokenSecret {
                password: Secret::new("aGk="),
                owner: ("User".into(), "alice".into()),
                expires_at_ms: 5,
            })
        }
    }

    fn run(hash: Hash, user: &str, password: &str, token: bool) -> Result<Identity, Denied> {
        let mut client = ScramClient::new(hash, user, Secret::new(password), &[1; 16], token);
        let mut server = ScramServer::new(hash, &[2; 16]);
        let Verdict::Challenge(challenge) = server.step(&client.first(), &Known)? else { panic!() };
        let proof = client.prove(&challenge)?;
        let Verdict::Done(last, identity) = server.step(&proof, &Known)? else { panic!() };
        client.verify(&last)?;
        assert!(client.verify(b"v=AAAA").is_err());
        Ok(identity)
    }

    #[test]
    fn both_sides_agree_on_the_right_password_only() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            assert_eq!(run(hash, "a,l=i", "pw", false).unwrap(), Identity::user("a,l=i"));
            let wrong = run(hash, "a,l=i", "pW", false).unwrap_err();
            assert_eq!(wrong, run(hash, "nobody", "pw", false).unwrap_err());
        }
        let token = run(Hash::Sha512, "tid", "aGk=", true).unwrap();
        assert_eq!((token.name.as_str(), token.by_token), ("alice", true));
        assert_eq!(token.expires_at_ms, Some(5));
        assert!(run(Hash::Sha256, "tid", "aGk=", false).is_err());
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let mut client =
            ScramClient::new(Hash::Sha256, "user", Secret::new("pencil"), &[0; 16], false);
        client.nonce = "rOprNGfwEbeRWgbNEkqO".into();
        client.first_bare = format!("n=user,r={}", client.nonce);
        let challenge =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = client.prove(challenge).unwrap();
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    #[test]
    fn a_replayed_or_foreign_nonce_is_refused() {
        let hash = Hash::Sha256;
        let mut client = ScramClient::new(hash, "a,l=i", Secret::new("pw"), &[1; 16], false);
        let mut first = ScramServer::new(hash, &[2; 16]);
        let Verdict::Challenge(challenge) = first.step(&client.first(), &Known).unwrap() else {
            panic!()
        };
        let proof = client.prove(&challenge).unwrap();
        // The proof recorded from one exchange, sent into another one.
        let mut second = ScramServer::new(hash, &[3; 16]);
        second.step(&client.first(), &Known).unwrap();
        assert!(second.step(&proof, &Known).unwrap_err().to_string().contains("nonce"));
        // A server that is over stays so.
        first.step(&proof, &Known).unwrap();
        assert!(first.step(&proof, &Known).is_err());
        // A server that did not read our nonce.
        assert!(client.prove(b"r=other,s=AAAA,i=4096").is_err());
        assert!(client.prove(b"r=AQEBAQEBAQEBAQEBAQEBAQ==x,s=AAAA,i=1").is_err());
    }

    #[test]
    fn nothing_malformed_passes() {
        for bad in [
            &b""[..],
            b"n,,",
            b"y,,n=a,r=x",
            b"p=tls,,n=a,r=x",
            b"n,,n=,r=x",
            b"n,,n=a",
            b"n,,n=a,r=",
            b"n,a=other,n=a=2Cl=3Di,r=abc",
            b"n,,n=a=zz,r=x",
            b"n,,n=a,r=x,ext",
            b"\xff",
        ] {
            let mut server = ScramServer::new(Hash::Sha256, &[2; 16]);
            assert!(server.step(bad, &Known).is_err(), "{bad:?}");
        }
    }
}
