//! Who the node is, where it listens, who votes: the settings that are more than one value.

use super::address::{self, HOST_PORT_FORM, LISTENER_FORM, Listener, StaticVoter, VOTER_FORM};
use super::properties::Properties;
use super::values::Values;
use quorate_base::NodeId;
use quorate_controller::{AuthorizerConfig, Principal};
use quorate_metadata::Str;
use quorate_security::settings::Protocol;
use std::path::PathBuf;

pub(super) fn check_roles(v: &mut Values<'_>) {
    let roles = v.list("process.roles");
    let has = |role: &str| roles.iter().any(|r| r == role);
    let why = match (has("controller"), has("broker"), roles.len()) {
        (true, false, 1) | (_, _, 0) => return,
        (true, true, 2) => {
            "expected controller. Combined mode is not possible: run the broker as a node of its own"
        }
        (false, true, 1) => {
            "expected controller. Quorate is the controller; run brokers with Apache Kafka"
        }
        _ => "expected controller",
    };
    v.wrong_named("process.roles", why);
}

/// A setting that would weaken the cluster if it were ignored stops the start.
pub(super) fn refuse_what_is_not_served(v: &mut Values<'_>) {
    const JAVA: &str = "expected nothing: Quorate cannot run Java classes. Remove the setting";
    for name in [
        "create.topic.policy.class.name",
        "alter.config.policy.class.name",
        "client.quota.callback.class",
    ] {
        if v.present(name).is_some() {
            v.wrong_named(name, JAVA);
        }
    }
    if v.present("principal.builder.class")
        .is_some_and(|p| !p.value.ends_with(".DefaultKafkaPrincipalBuilder"))
    {
        v.wrong_named("principal.builder.class", JAVA);
    }
    if v.present("config.providers").is_some() {
        v.wrong_named("config.providers", "expected nothing: values are not resolved by providers");
    }
    for entry in v.list("listener.security.protocol.map") {
        if !entry.contains(':') {
            v.wrong_named(
                "listener.security.protocol.map",
                "expected NAME:PROTOCOL, separated by commas",
            );
        }
    }
}

/// The one authorizer whose rules Quorate knows.
const STANDARD_AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

/// The authorizer and its settings; `None` if everybody may do everything.
pub(super) fn read_authorizer(v: &mut Values<'_>) -> Option<AuthorizerConfig> {
    let class = v.text("authorizer.class.name").filter(|class| !class.is_empty())?;
    if class != STANDARD_AUTHORIZER {
        v.wrong_named(
            "authorizer.class.name",
            &format!("expected {STANDARD_AUTHORIZER} or nothing: Quorate cannot run Java classes"),
        );
        return None;
    }
    let mut super_users = Vec::new();
    for user in v.text("super.users").unwrap_or_default().split(';').map(str::trim) {
        match user.split_once(':') {
            _ if user.is_empty() => {}
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                super_users.push(Principal {
                    kind: Str::from(kind),
                    name: Str::from(name),
                    token_authenticated: false,
                });
            }
            _ => v.wrong_named(
                "super.users",
                &format!(
                    "\"{user}\" is not of the form User:name; several are separated by semicolons"
                ),
            ),
        }
    }
    let allow_everyone_if_no_acl_found = v.boolean("allow.everyone.if.no.acl.found");
    Some(AuthorizerConfig { super_users, allow_everyone_if_no_acl_found })
}

pub(super) fn read_node_id(v: &mut Values<'_>, properties: &Properties) -> Option<NodeId> {
    if properties.get("node.id").is_none()
        && let Some(old) = properties.get("broker.id")
    {
        return match old.value.parse() {
            Ok(id) if id >= 0 => Some(id),
            _ => {
                v.wrong(old, "expected a whole number from 0 up");
                None
            }
        };
    }
    let id = v.integer("node.id")?;
    Some(NodeId::try_from(id).expect("bounded by the table"))
}

pub(super) fn controller_listener_names(v: &mut Values<'_>) -> Vec<String> {
    v.list("controller.listener.names").iter().map(|name| name.to_ascii_uppercase()).collect()
}

pub(super) fn parse_listeners(v: &mut Values<'_>, setting: &str) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for entry in v.list(setting) {
        match address::parse_listener(&entry) {
            Some(listener) if listeners.iter().any(|l| l.name == listener.name) => {
                v.wrong_named(setting, &format!("the listener {} is there twice", listener.name));
            }
            Some(listener) => listeners.push(listener),
            None => {
                v.wrong_named(setting, &format!("\"{entry}\" is not of the form {LISTENER_FORM}"))
            }
        }
    }
    listeners
}

pub(super) fn read_listeners(v: &mut Values<'_>, controller_names: &[String]) -> Vec<Listener> {
    let listeners = parse_listeners(v, "listeners");
    for (index, listener) in listeners.iter().enumerate() {
        if !controller_names.is_empty() && !controller_names.contains(&listener.name) {
            v.wrong_named(
                "listeners",
                &format!(
                    "{} is not in controller.listener.names, but a controller has no other listeners",
                    listener.name
                ),
            );
        }
        if listener.port != 0
            && listeners[..index].iter().any(|l| l.port == listener.port && l.host == listener.host)
        {
            v.wrong_named(
                "listeners",
                &format!("two listeners share {}:{}", listener.host, listener.port),
            );
        }
    }
    if !listeners.is_empty()
        && !controller_names.is_empty()
        && !controller_names.iter().any(|name| listeners.iter().any(|l| &l.name == name))
    {
        v.wrong_named("controller.listener.names", "at least one of them must be in listeners");
    }
    listeners
}

/// Without a map Kafka takes a protocol's own name for itself and, on a controller, every other name
/// for PLAINTEXT. `None` after a problem was reported.
pub(super) fn protocol_of(v: &mut Values<'_>, listener: &str) -> Option<Protocol> {
    const MAP: &str = "listener.security.protocol.map";
    let mapped = v.list(MAP).into_iter().find_map(|entry| {
        let (name, protocol) = entry.split_once(':')?;
        name.trim().eq_ignore_ascii_case(listener).then(|| protocol.trim().to_owned())
    });
    let known = match &mapped {
        Some(protocol) => Protocol::parse(protocol),
        None if v.present(MAP).is_none() => {
            Some(Protocol::parse(listener).unwrap_or(Protocol::Plaintext))
        }
        None => Protocol::parse(listener),
    };
    if known.is_none() {
        let why = match mapped {
            Some(protocol) => format!("listener {listener} has the unknown protocol {protocol}"),
            None => format!("listener {listener} is missing in the map"),
        };
        v.wrong_named(MAP, &format!("{why}: expected {PROTOCOLS}"));
    }
    known
}

const PROTOCOLS: &str = "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";

/// What each listener is dialled by: as said, or as bound.
pub(super) fn advertised(v: &mut Values<'_>, listeners: &[Listener]) -> Vec<Listener> {
    let said = parse_listeners(v, "advertised.listeners");
    for listener in &said {
        if listener.host == "0.0.0.0" || listener.host == "::" {
            v.wrong_named(
                "advertised.listeners",
                &format!(
                    "nobody can dial {}; write a name or address of this machine",
                    listener.host
                ),
            );
        }
        if !listeners.is_empty() && !listeners.iter().any(|l| l.name == listener.name) {
            v.wrong_named(
                "advertised.listeners",
                &format!("{} is not in listeners", listener.name),
            );
        }
    }
    let choose = |bound: &Listener| {
        let mut listener = said.iter().find(|l| l.name == bound.name).unwrap_or(bound).clone();
        if listener.host == "0.0.0.0" || listener.host == "::" {
            listener.host.clear();
        }
        listener
    };
    listeners.iter().map(choose).collect()
}

/// All directories without duplicates, and the one of the metadata log.
pub(super) fn read_dirs(v: &mut Values<'_>) -> (Vec<PathBuf>, PathBuf) {
    let setting = if v.present("log.dirs").is_some() { "log.dirs" } else { "log.dir" };
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in v.list(setting).into_iter().map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    if dirs.is_empty() {
        v.wrong_named(setting, "expected at least one directory");
        return (Vec::new(), PathBuf::new());
    }
    let metadata = v.present("metadata.log.dir").map(|p| PathBuf::from(&p.value));
    let metadata = metadata.unwrap_or_else(|| dirs[0].clone());
    if !dirs.contains(&metadata) {
        dirs.push(metadata.clone());
    }
    (dirs, metadata)
}

pub(super) fn read_voters(v: &mut Values<'_>) -> Vec<StaticVoter> {
    const SETTING: &str = "controller.quorum.voters";
    let mut voters: Vec<StaticVoter> = Vec::new();
    for entry in v.list(SETTING) {
        match address::parse_voter(&entry) {
            Some(voter) if voters.iter().any(|other| other.id == voter.id) => {
                v.wrong_named(SETTING, &format!("the id {} is there twice", voter.id));
            }
            Some(voter) => voters.push(voter),
            None => v.wrong_named(SETTING, &format!("\"{entry}\" is not of the form {VOTER_FORM}")),
        }
    }
    voters
}

pub(super) fn read_quorum(
    v: &mut Values<'_>,
    node_id: Option<NodeId>,
) -> (Vec<StaticVoter>, Vec<(String, u16)>) {
    let voters = read_voters(v);
    let mut servers = Vec::new();
    for entry in v.list("controller.quorum.bootstrap.servers") {
        match address::parse_host_port(&entry) {
            Some(server) => servers.push(server),
            None => v.wrong_named(
                "controller.quorum.bootstrap.servers",
                &format!("\"{entry}\" is not of the form {HOST_PORT_FORM}"),
            ),
        }
    }
    if let Some(id) = node_id
        && !voters.is_empty()
        && voters.iter().all(|voter| voter.id != id)
    {
        v.wrong_named(
            "controller.quorum.voters",
            &format!("this node, node.id={id}, must be among the voters"),
        );
    }
    let none_given = v.list("controller.quorum.voters").is_empty()
        && v.list("controller.quorum.bootstrap.servers").is_empty();
    if none_given {
        v.wrong_overall(
            "one of controller.quorum.bootstrap.servers (a dynamic quorum) and \
             controller.quorum.voters (a static one) is needed",
        );
    }
    (voters, servers)
}
