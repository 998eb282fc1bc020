use super::{Denied, Identity, Mechanism, Verdict};
use crate::{Jaas, Secret};
use std::collections::BTreeMap;

/// Checks passwords against `user_NAME` options of the login module.
#[derive(Clone, Debug)]
pub struct PlainServer {
    users: BTreeMap<String, Secret>,
}

impl PlainServer {
    /// The users of a login module.
    pub fn new(jaas: &Jaas) -> PlainServer {
        let users = jaas.with_prefix("user_").map(|(name, it)| (name.to_owned(), it.clone()));
        PlainServer { users: users.collect() }
    }

    /// `[authorization id] NUL user NUL password`, and nothing else.
    pub fn step(&self, token: &[u8]) -> Result<Verdict, Denied> {
        let malformed = |what| Denied::malformed(Mechanism::Plain, what);
        let text = std::str::from_utf8(token).map_err(|_| malformed("it is not UTF-8"))?;
        let parts: Vec<&str> = text.split('\0').collect();
        let [authorization, user, password] = parts[..] else {
            return Err(malformed("expected three parts"));
        };
        if user.is_empty() || password.is_empty() {
            return Err(malformed("user name or password is empty"));
        }
        let known = self.users.get(user).is_some_and(|it| it.is(password.as_bytes()));
        if !known {
            return Err(Denied("Authentication failed: Invalid username or password".to_owned()));
        }
        // CVE-2017-12610: nobody acts as somebody else.
        if !authorization.is_empty() && authorization != user {
            return Err(Denied(
                "Authentication failed: Client requested an authorization id that is different \
                 from username"
                    .to_owned(),
            ));
        }
        Ok(Verdict::Done(Vec::new(), Identity::user(user)))
    }
}

/// The one token of a client.
#[derive(Clone, Debug)]
pub struct PlainClient {
    user: String,
    password: Secret,
}

impl PlainClient {
    /// Authenticates as this user.
    pub fn new(user: &str, password: Secret) -> PlainClient {
        PlainClient { user: user.to_owned(), password }
    }

    /// What is sent first.
    pub fn first(&self) -> Vec<u8> {
        format!("\0{}\0{}", self.user, self.password.reveal()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> PlainServer {
        PlainServer::new(&Jaas::parse("M required user_alice=\"pw\" user_bob=\"\";").unwrap())
    }

    #[test]
    fn the_right_password_and_no_other() {
        let ok = server().step(&PlainClient::new("alice", Secret::new("pw")).first()).unwrap();
        assert_eq!(ok, Verdict::Done(vec![], Identity::user("alice")));
        assert!(server().step(b"alice\0alice\0pw").is_ok());
        let wrong = server().step(b"\0alice\0pW").unwrap_err();
        assert_eq!(wrong, server().step(b"\0nobody\0pw").unwrap_err());
        assert!(wrong.to_string().contains("Invalid username or password"));
    }

    #[test]
    fn nobody_acts_as_somebody_else_and_nothing_malformed_passes() {
        for bad in [
            &b"bob\0alice\0pw"[..],
            b"",
            b"\0alice",
            b"\0\0pw",
            b"\0bob\0",
            b"\0alice\0pw\0",
            b"\0\xff\0pw",
        ] {
            assert!(server().step(bad).is_err(), "{bad:?}");
        }
    }
}
