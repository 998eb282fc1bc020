use quorate_base::Time;
use quorate_metadata::Str;
use std::net::{IpAddr, Ipv4Addr};

/// Names a request in flight; chosen by the edge, never reused while the process lives.
pub type Token = u64;

/// Who asks, as authentication (or the envelope of a forwarded request) tells.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Principal {
    /// `User` unless a token or a custom scheme says otherwise.
    pub kind: Str,
    /// The name within the kind.
    pub name: Str,
    /// True if the connection was authenticated with a delegation token.
    pub token_authenticated: bool,
}

impl Principal {
    /// What an unauthenticated connection is.
    pub fn anonymous() -> Principal {
        Principal::user("ANONYMOUS")
    }

    /// A principal of kind `User`.
    pub fn user(name: &str) -> Principal {
        Principal { kind: Str::from("User"), name: Str::from(name), token_authenticated: false }
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// The connection that an Envelope came over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvelopeSender {
    /// As authenticated.
    pub principal: Principal,
    /// Its address.
    pub address: IpAddr,
}

/// Everything about a request but its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestContext {
    /// Version of the request, which is also that of the answer.
    pub api_version: i16,
    /// Who asks; for a forwarded request the client's principal, not the broker's.
    pub principal: Principal,
    /// As in the request header.
    pub client_id: Option<Str>,
    /// Where from; for a forwarded request the client's address, not the broker's.
    pub client_address: IpAddr,
    /// Name of the listener it came in on.
    pub listener: Str,
    /// True if it came inside an Envelope.
    pub forwarded: bool,
    /// Who sent the Envelope, if it came in one: only brokers may speak for others.
    pub envelope_sender: Option<EnvelopeSender>,
    /// When the frame was complete.
    pub received_at: Time,
}

impl RequestContext {
    /// A context for requests that do not come from outside, and for tests.
    pub fn internal(api_version: i16) -> RequestContext {
        RequestContext {
            api_version,
            principal: Principal::anonymous(),
            client_id: None,
            client_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: Str::from("CONTROLLER"),
            forwarded: false,
            envelope_sender: None,
            received_at: Time::ZERO,
        }
    }
}

/// What somebody wants to do to a [`Resource`]; numbers are those of `AclOperation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Operation {
    /// Read.
    Read = 3,
    /// Write.
    Write = 4,
    /// Create.
    Create = 5,
    /// Delete.
    Delete = 6,
    /// Alter.
    Alter = 7,
    /// Describe.
    Describe = 8,
    /// What only brokers and controllers do.
    ClusterAction = 9,
    /// Describe configuration.
    DescribeConfigs = 10,
    /// Alter configuration.
    AlterConfigs = 11,
    /// Make delegation tokens for somebody else.
    CreateTokens = 13,
    /// See somebody else's delegation tokens.
    DescribeTokens = 14,
}

/// What an operation is done to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource<'a> {
    /// The cluster itself.
    Cluster,
    /// A topic by name.
    Topic(&'a str),
    /// A consumer group by name.
    Group(&'a str),
    /// A delegation token by id.
    DelegationToken(&'a str),
    /// A user by principal.
    User(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_shown_as_kafka_shows_them() {
        assert_eq!(Principal::anonymous().to_string(), "User:ANONYMOUS");
    }
}
