//! The address notations of Kafka's settings: `NAME://host:port`, `id@host:port`, `host:port`.

use quorate_base::NodeId;
use std::fmt;

/// A listener: where a socket is bound, or what others are told to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, upper case.
    pub name: String,
    /// Name or address; empty means all interfaces.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, HostPort { host: &self.host, port: self.port })
    }
}

/// Shows `host:port`, with brackets around an IPv6 address.
pub struct HostPort<'a> {
    /// Name or address.
    pub host: &'a str,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A voter of a static quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticVoter {
    /// Its node id.
    pub id: NodeId,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What each notation should look like; the text ends up in messages.
pub const LISTENER_FORM: &str = "NAME://host:port";
/// See [`LISTENER_FORM`].
pub const VOTER_FORM: &str = "id@host:port";
/// See [`LISTENER_FORM`].
pub const HOST_PORT_FORM: &str = "host:port";

/// Parses `NAME://host:port`. Hosts may be empty (all interfaces) or an IPv6 address in brackets.
pub fn parse_listener(text: &str) -> Option<Listener> {
    let (name, address) = text.split_once("://")?;
    let name_ok = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !name_ok {
        return None;
    }
    let (host, port) = split_host_port(address)?;
    Some(Listener { name: name.to_ascii_uppercase(), host, port })
}

/// Parses `id@host:port`.
pub fn parse_voter(text: &str) -> Option<StaticVoter> {
    let (id, address) = text.split_once('@')?;
    let id = id.parse().ok().filter(|&id| id >= 0)?;
    let (host, port) = parse_host_port(address)?;
    Some(StaticVoter { id, host, port })
}

/// Parses `host:port`; neither may be missing.
pub fn parse_host_port(text: &str) -> Option<(String, u16)> {
    split_host_port(text).filter(|(host, port)| !host.is_empty() && *port > 0)
}

fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            address
        }
        None => host,
    };
    let host_ok =
        host.chars().all(|c| !c.is_whitespace() && !matches!(c, '/' | '@' | ',' | '[' | ']'))
            && (!host.contains(':') || host.parse::<std::net::Ipv6Addr>().is_ok());
    host_ok.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_as_kafka_writes_them() {
        let parsed = parse_listener("controller://127.0.0.1:9093").unwrap();
        assert_eq!((parsed.name.as_str(), parsed.port), ("CONTROLLER", 9093));
        assert_eq!(parse_listener("A://:0").unwrap().host, "");
        assert_eq!(parse_listener("A://[::1]:1").unwrap().to_string(), "A://[::1]:1");
        assert_eq!(parse_listener("A://::1:1").unwrap().host, "::1");
        for bad in
            ["A", "A://", "A://h", "A://h:x", "A://h:70000", "://h:1", "A B://h:1", "A://[x]:1"]
        {
            assert_eq!(parse_listener(bad), None, "{bad}");
        }
    }

    #[test]
    fn voters_and_servers_need_a_host_and_a_port() {
        let voter = parse_voter("3@broker-1.example.com:9093").unwrap();
        assert_eq!((voter.id, voter.host.as_str(), voter.port), (3, "broker-1.example.com", 9093));
        for bad in ["", "3", "3@h", "-1@h:1", "x@h:1", "3@:1", "3@h:0"] {
            assert_eq!(parse_voter(bad), None, "{bad}");
        }
        assert_eq!(parse_host_port("h:1"), Some(("h".to_owned(), 1)));
        assert_eq!(parse_host_port(":1"), None);
    }
}
