//! House rules that no compiler checks: which crate may know which, what the pure crates must not
//! touch, and what no source file may hold. Also run as a plain test.
use crate::steps::metadata;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every crate of ours with the crates it stands on. A crate may name what it reaches this way,
/// and nothing else.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("protocol", &["base"]),
    ("metadata", &["protocol"]),
    ("raft", &["protocol"]),
    ("controller", &["metadata"]),
    ("node", &["raft", "controller"]),
    ("storage", &["protocol"]),
    ("host", &["node", "storage"]),
    ("sim", &["host"]),
    ("security", &[]),
    ("server", &["host", "security"]),
    ("client", &["protocol"]),
    ("survey", &["metadata", "storage", "client"]),
    ("shadow", &["controller", "storage", "client"]),
    ("cli", &["server", "storage", "client", "survey", "shadow"]),
    ("interop", &["client"]),
    ("differential", &["interop", "metadata"]),
    ("xtask", &[]),
];

/// Crates that decide: no clock, file, socket, thread, async or hash-ordered iteration.
const PURE: &[&str] = &["base", "protocol", "metadata", "raft", "controller", "node"];

/// What the pure crates may take from others: none of these does IO or reads a clock.
const PURE_MAY_USE: &[&str] = &["bytes", "crc32c", "hmac", "sha2", "thiserror"];

/// Words that a pure crate's code must not hold, each with what to use instead.
const IMPURE: &[(&str, &str)] = &[
    ("Instant", "time is handed in as quorate_base::Now"),
    ("SystemTime", "time is handed in as quorate_base::Now"),
    ("HashMap", "its order is not deterministic: BTreeMap or the image's PMap"),
    ("HashSet", "its order is not deterministic: BTreeSet"),
    ("TcpStream", "sockets belong to server and client"),
    ("TcpListener", "sockets belong to server and client"),
    ("UdpSocket", "sockets belong to server and client"),
    ("tokio", "async belongs to server"),
    ("async", "async belongs to server"),
    ("println", "output belongs to cli and server"),
    ("eprintln", "output belongs to cli and server"),
];

/// Modules of the standard library that a pure crate must not name, with whose they are.
const IMPURE_STD: &[(&str, &str)] = &[
    ("env", "configuration is handed in"),
    ("fs", "files belong to storage, behind its Disk trait"),
    ("process", "processes belong to server"),
    ("thread", "threads belong to server"),
];

/// A file longer than this has more than one subject.
const LINES_MAX: usize = 800;

/// Checks all rules; the error lists every breach.
pub fn tidy() -> Result<(), String> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let mut breaches = Vec::new();
    for package in packages {
        check_edges(package, &mut breaches);
    }
    let root = crate::workspace_root();
    for (name, _) in LAYERS {
        let dir = crate_dir(&root, name);
        if dir.is_dir() {
            check_sources(&root, name, &dir, &mut breaches)?;
        }
    }
    if breaches.is_empty() {
        return Ok(());
    }
    Err(format!("{} breaches of the house rules:\n{}", breaches.len(), breaches.join("\n")))
}

fn crate_dir(root: &Path, name: &str) -> PathBuf {
    if name == "xtask" { root.join(name) } else { root.join("crates").join(name) }
}

/// The name in the table above: without the common prefix.
fn short(package: &str) -> &str {
    package.strip_prefix("quorate-").unwrap_or(package)
}

/// All crates that `name` reaches in the table, without itself.
fn reach(name: &str) -> BTreeSet<&'static str> {
    let table: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<&'static str> = table.get(name).map_or(vec![], |next| next.to_vec());
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(table.get(next).copied().unwrap_or_default());
        }
    }
    found
}

fn check_edges(package: &Value, breaches: &mut Vec<String>) {
    let name = short(package["name"].as_str().unwrap_or_default()).to_owned();
    if LAYERS.iter().all(|(known, _)| *known != name) {
        breaches.push(format!("crate {name}: has no place in the table of xtask/src/tidy.rs"));
        return;
    }
    let allowed = reach(&name);
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let other = short(dependency["name"].as_str().unwrap_or_default());
        let ours = LAYERS.iter().any(|(known, _)| *known == other);
        // A dependency of tests alone may also be the crate's own, for its test features.
        let for_tests = dependency["kind"].as_str() == Some("dev");
        if ours && !allowed.contains(other) && !(for_tests && other == name) {
            breaches.push(format!(
                "crate {name}: must not depend on {other}; it stands on {allowed:?} alone"
            ));
        }
        let pure = PURE.contains(&name.as_str());
        if pure && !ours && !for_tests && !PURE_MAY_USE.contains(&other) {
            breaches.push(format!(
                "crate {name}: is pure and must not depend on {other}; it may use {PURE_MAY_USE:?}"
            ));
        }
    }
}

fn check_sources(
    root: &Path,
    name: &str,
    dir: &Path,
    breaches: &mut Vec<String>,
) -> Result<(), String> {
    let mut files = Vec::new();
    for part in ["src", "tests", "examples", "benches"] {
        rust_files(&dir.join(part), &mut files)?;
    }
    for file in files {
        let text = read(&file)?;
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let generated = shown.contains("/generated/");
        let is_root = file.ends_with("src/lib.rs") || file.ends_with("src/main.rs");
        if is_root && !text.contains("#![forbid(unsafe_code)]") {
            breaches.push(format!("{shown}: lacks #![forbid(unsafe_code)]"));
        }
        let lines = text.lines().count();
        if !generated && lines > LINES_MAX {
            breaches.push(format!("{shown}: {lines} lines, more than {LINES_MAX}: split it"));
        }
        let in_src = file.starts_with(dir.join("src"));
        if !generated && in_src && PURE.contains(&name) {
            check_purity(&shown, &text, breaches);
        }
        // Spelled in two halves, so that this line is not its own breach.
        for word in [concat!("#[ign", "ore"), concat!("FIX", "ME"), concat!("XX", "X:")] {
            if text.contains(word) {
                breaches.push(format!("{shown}: holds {word}"));
            }
        }
    }
    Ok(())
}

fn check_purity(shown: &str, text: &str, breaches: &mut Vec<String>) {
    // Unit tests stand last in a file and may read fixtures.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for (number, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        let line = without_strings(line);
        let number = number + 1;
        for (banned, instead) in IMPURE {
            if words(&line).any(|word| word == *banned) {
                breaches.push(format!("{shown}:{number}: {banned} in a pure crate; {instead}"));
            }
        }
        for (banned, instead) in IMPURE_STD {
            let path = format!("std::{banned}");
            let named = line.contains(&path) && words(&line).any(|word| word == *banned);
            let grouped = line
                .split_once("std::{")
                .is_some_and(|(_, group)| words(group).any(|word| word == *banned));
            if named || grouped {
                breaches.push(format!("{shown}:{number}: {path} in a pure crate; {instead}"));
            }
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The line with the text between double quotes left out (escaped quotes end it, which is enough
/// to keep messages out of the search).
fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !dir.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_workspace_is_tidy() {
        tidy().unwrap();
    }

    #[test]
    fn an_upward_edge_and_an_impure_dependency_are_found() {
        let package = json!({ "name": "quorate-raft", "dependencies": [
            { "name": "quorate-protocol", "kind": null },
            { "name": "quorate-storage", "kind": null },
            { "name": "tokio", "kind": null },
            { "name": "proptest", "kind": "dev" },
        ]});
        let mut breaches = Vec::new();
        check_edges(&package, &mut breaches);
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].contains("must not depend on storage"), "{breaches:?}");
        assert!(breaches[1].contains("must not depend on tokio"), "{breaches:?}");
    }

    #[test]
    fn clocks_in_code_are_found_and_in_comments_strings_and_tests_are_not() {
        let text = "use std::time::Instant;\nuse std::{fmt, fs};\nlet env = \"HashMap\"; // tokio\n\
                    #[cfg(test)]\nstd::fs";
        let mut breaches = Vec::new();
        check_purity("a.rs", text, &mut breaches);
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].starts_with("a.rs:1: Instant"), "{breaches:?}");
        assert!(breaches[1].starts_with("a.rs:2: std::fs"), "{breaches:?}");
    }
}
