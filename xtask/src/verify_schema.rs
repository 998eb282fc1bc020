//! `cargo xtask verify-schema`: our schema against the definitions inside Kafka's published jars.
//!
//! With the newest release everything must be equal: keys, listeners, versions, and at each version the layout with
//! all defaults. With older releases the layout must be equal at each version that both have.

use crate::codegen::read_schema;
use crate::schema::{Field, Kind, MessageDef, PRIVATE, StructDef, Type, Versions};
use crate::schema_json::read_jars;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The release that our schema equals.
pub const NEWEST: &str = "4.4.0";
/// Releases whose nodes we must understand.
const OLDER: &[&str] = &["3.9.1", "4.1.1", "4.2.0", "4.3.0"];
/// The artifacts whose jars carry definitions.
const ARTIFACTS: &[&str] = &["kafka-clients", "kafka-metadata", "kafka-raft"];

/// Messages of older releases that we deliberately leave out: ZooKeeper-era requests that no KRaft node sends.
const NOT_CARRIED: &[&str] = &[
    "ControlledShutdownRequest",
    "ControlledShutdownResponse",
    "LeaderAndIsrRequest",
    "LeaderAndIsrResponse",
    "StopReplicaRequest",
    "StopReplicaResponse",
    "UpdateMetadataRequest",
    "UpdateMetadataResponse",
];

/// The jars of one release that carry definitions, fetched through Maven if need be.
pub fn schema_jars(release: &str) -> Result<Vec<PathBuf>, String> {
    let coordinates: Vec<String> =
        ARTIFACTS.iter().map(|artifact| format!("org.apache.kafka:{artifact}:{release}")).collect();
    crate::maven::jars(&coordinates.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Names that upstream changed without changing the layout: message (of ours), old name, new name.
const RENAMED: &[(&str, &str, &str)] = &[
    ("ListConfigResourcesResponse", "ClientMetricsResources", "ConfigResources"),
    ("ListConfigResourcesResponse", "ClientMetricsResource", "ConfigResource"),
    ("ListConfigResourcesResponse", "Name", "ResourceName"),
    ("StreamsGroupHeartbeatResponse", "AcceptableRecoveryLag", "AcceptableRecoveryLagLegacy"),
    ("TxnOffsetCommitRequest", "GenerationId", "GenerationIdOrMemberEpoch"),
    ("VoteRequest", "CandidateEpoch", "ReplicaEpoch"),
    ("VoteRequest", "CandidateId", "ReplicaId"),
    ("VoteRequest", "CandidateDirectoryId", "ReplicaDirectoryId"),
];

/// Compares with every release and says what it compared.
pub fn verify_schema() -> Result<(), String> {
    let ours = read_schema()?;
    let mut differences = Vec::new();
    for release in [NEWEST].iter().chain(OLDER) {
        let theirs = read_jars(&schema_jars(release)?)?;
        let found = compare(release, &ours, &theirs, *release == NEWEST);
        println!(
            "schema against Kafka {release}: {} messages, {} difference(s)",
            theirs.len(),
            found.len()
        );
        differences.extend(found);
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

fn compare(release: &str, ours: &[MessageDef], theirs: &[MessageDef], exact: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut matched = BTreeSet::new();
    for their in theirs {
        let Some(our) = ours.iter().find(|our| is_same(our, their)) else {
            if exact || !NOT_CARRIED.contains(&their.name.as_str()) {
                out.push(format!("Kafka {release}: {} is not in our schema", their.name));
            }
            continue;
        };
        matched.insert(&our.name);
        if exact {
            out.extend(
                compare_heads(our, their).map(|d| format!("Kafka {release}: {}: {d}", our.name)),
            );
        }
        let renamed = with_new_names(&our.name, their);
        let their = if exact { their } else { &renamed };
        // A version that a release marks unstable is not a promise: upstream changed some later.
        let unstable = !exact && is_unstable(theirs, their);
        let stable = Versions { lo: 0, hi: their.versions.hi - i16::from(unstable) };
        for version in our.versions.and(their.versions).and(stable).iter() {
            if our.flexible.contains(version) != their.flexible.contains(version) {
                out.push(format!("Kafka {release}: {} v{version}: flexible differs", our.name));
            }
            let (a, b) = (layout(our, version, exact), layout(their, version, exact));
            if let Some(difference) = first_difference(&a, &b) {
                out.push(format!("Kafka {release}: {} v{version}: {difference}", our.name));
            }
        }
    }
    if exact {
        let is_private = |our: &&MessageDef| {
            let of_api = |m: &&MessageDef| m.kind == Kind::Request && m.key == our.key;
            let is_api = matches!(our.kind, Kind::Request | Kind::Response);
            let request = ours.iter().find(of_api).filter(|_| is_api);
            request.is_some_and(|request| request.listeners.iter().any(|l| l == PRIVATE))
        };
        let missing = ours.iter().filter(|our| !matched.contains(&our.name));
        for our in missing.filter(|our| !is_private(our)) {
            out.push(format!("Kafka {release} has no {}", our.name));
        }
    }
    out
}

/// Whether the newest version is unstable; only the request of an API says so.
fn is_unstable(all: &[MessageDef], message: &MessageDef) -> bool {
    let is_api = matches!(message.kind, Kind::Request | Kind::Response);
    is_api
        && all.iter().any(|m| m.kind == Kind::Request && m.key == message.key && m.latest_unstable)
}

fn with_new_names(our_name: &str, their: &MessageDef) -> MessageDef {
    let mut renamed = their.clone();
    for (_, old, new) in RENAMED.iter().filter(|(message, _, _)| *message == our_name) {
        for s in &mut renamed.structs {
            if s.name == *old {
                s.name = new.to_string();
            }
            for f in &mut s.fields {
                if f.name == *old {
                    f.name = new.to_string();
                }
                if let Type::Array(inner) = &mut f.ty
                    && **inner == Type::Struct(old.to_string())
                {
                    **inner = Type::Struct(new.to_string());
                }
            }
        }
    }
    renamed
}

/// Requests and responses are the same by API key, as an API may be renamed; all else by name.
fn is_same(a: &MessageDef, b: &MessageDef) -> bool {
    let by_key = matches!(a.kind, Kind::Request | Kind::Response);
    a.kind == b.kind && if by_key { a.key == b.key } else { a.name == b.name }
}

fn compare_heads(our: &MessageDef, their: &MessageDef) -> Option<String> {
    let head = |m: &MessageDef| {
        format!(
            "{} key {:?} versions {} unstable {} listeners {:?}",
            m.name, m.key, m.versions, m.latest_unstable, m.listeners
        )
    };
    let (ours, theirs) = (head(our), head(their));
    (ours != theirs).then(|| format!("ours is {ours:?}, Kafka's {theirs:?}"))
}

/// One line a field, structs expanded. With `exact` also what matters on encoding only: defaults, and the
/// fields that this version lacks.
fn layout(m: &MessageDef, version: i16, exact: bool) -> String {
    fn visit(
        m: &MessageDef,
        s: &StructDef,
        version: i16,
        exact: bool,
        path: &str,
        out: &mut String,
    ) {
        for f in &s.fields {
            let present = f.versions.contains(version);
            if !present && !exact {
                continue;
            }
            let path = format!("{path}.{}", f.name);
            let _ = writeln!(out, "{path}: {}", describe(f, version, present, exact));
            if let Some(inner) = f.ty.struct_name().and_then(|name| m.find(name)) {
                visit(m, inner, version, exact, &path, out);
            }
        }
    }
    let mut out = String::new();
    visit(m, m.top(), version, exact, "", &mut out);
    out
}

fn describe(f: &Field, version: i16, present: bool, exact: bool) -> String {
    let mut text = if present { f.ty.to_string() } else { format!("absent {}", f.ty) };
    if present && f.nullable.contains(version) {
        text.push_str(" nullable");
    }
    if let Some(tag) = f.tag.filter(|_| present) {
        let _ = write!(text, " tag {tag}");
    }
    if !f.flexible {
        text.push_str(" noflex");
    }
    if exact || f.tag.is_some() {
        let _ = write!(text, " default {:?}", f.default);
    }
    if exact {
        let _ = write!(text, " ignorable {}", f.ignorable);
    }
    text
}

fn first_difference(ours: &str, theirs: &str) -> Option<String> {
    let (mut a, mut b) = (ours.lines(), theirs.lines());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (x, y) if x == y => {}
            (x, y) => {
                let none = "nothing more";
                return Some(format!(
                    "ours has {:?}, Kafka's {:?}",
                    x.unwrap_or(none),
                    y.unwrap_or(none)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::parse;

    fn one(text: &str) -> Vec<MessageDef> {
        parse("test", text).expect("readable schema")
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let base = "data A 0-2 flex 1+\n  X i32\n  S [T]? 1+ = null\n    Y string tag 3 1+\n";
        assert_eq!(compare("t", &one(base), &one(base), true), Vec::<String>::new());
        for (old, new, want) in [
            ("X i32", "X i64", ".X: i32"),
            ("X i32", "X i32 = 5", ".X: i32"),
            ("X i32", "X i32 ignorable", ".X: i32"),
            ("X i32", "Z i32", ".X: i32"),
            ("]? 1+", "]?2+ 1+", ".S: [T] nullable"),
            ("tag 3", "tag 4", ".S.Y: string tag 3"),
            ("flex 1+", "flex 0+", "flexible differs"),
            ("0-2", "0-3", "versions 0-2"),
            ("data A", "data B", "A"),
        ] {
            assert!(base.contains(old));
            let found = compare("t", &one(base), &one(&base.replace(old, new)), true);
            assert!(found.iter().any(|d| d.contains(want)), "{old} to {new}: {found:?}");
        }
    }

    #[test]
    fn older_releases_may_lack_versions_and_fields_but_not_differ() {
        let newer = one("data A 1-3 flex 1+\n  X i32\n  Y i32 3+\n");
        let older = one("data A 0-2 flex 1+\n  W i8 0\n  X i32\n");
        assert_eq!(compare("t", &newer, &older, false), Vec::<String>::new());
        let other = one("data A 0-2 flex 1+\n  X i16\n");
        assert_eq!(compare("t", &newer, &other, false).len(), 2);
    }
}
