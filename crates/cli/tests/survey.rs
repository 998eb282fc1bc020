//! `quorate fsck`, `diff` and `recover` on a directory that `quorate storage format` made and on
//! logs of real Kafka: exit codes and what is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn quorate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(args).output().expect("it starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory with the log and the snapshots of real Kafka, formatted by hand.
fn directory(temp: &TempDir) -> PathBuf {
    let root = temp.path().join("node");
    let dir = root.join("__cluster_metadata-0");
    fs::create_dir_all(&dir).expect("can be made");
    let meta = "version=1\ncluster.id=AAAAAAAAQACAAAAAAAAAAA\nnode.id=1\n\
                directory.id=wAAAAAAAQACAAAAAAAAAAQ\n";
    fs::write(root.join("meta.properties"), meta).expect("can be written");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let logs = here.join("../metadata/tests/fixtures/4.3.0-3controllers-killed9/c1");
    for entry in fs::read_dir(logs).expect("fixtures are there") {
        let from = entry.expect("readable").path();
        let name = from.file_name().expect("has a name");
        let to = if name == "bootstrap.checkpoint" { &root } else { &dir };
        fs::write(to.join(name), fs::read(&from).expect("readable")).expect("can be written");
    }
    root
}

#[test]
fn fsck_ends_with_0_for_warnings_and_with_1_for_problems() {
    let temp = TempDir::new().expect("a temporary folder");
    let root = directory(&temp);
    let path = root.to_str().expect("text");
    let clean = quorate(&["fsck", path]);
    assert_eq!(clean.status.code(), Some(0), "{}", out(&clean));
    assert!(out(&clean).contains("warning [no-quorum-state]"), "{}", out(&clean));
    let json = quorate(&["fsck", path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["clean"], &json["log"]["end"]), (&true.into(), &42.into()));

    let foreign = quorate(&["fsck", path, "--cluster-id", "another"]);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(out(&foreign).contains("problem [foreign-cluster]"), "{}", out(&foreign));
    assert_eq!(quorate(&["fsck"]).status.code(), Some(2));
    assert_eq!(quorate(&["fsck", path, "--node-id", "x"]).status.code(), Some(2));
}

#[test]
fn diff_ends_with_1_where_something_differs() {
    let temp = TempDir::new().expect("a temporary folder");
    let root = directory(&temp);
    let path = root.to_str().expect("text");
    let same = quorate(&["diff", path, path]);
    assert_eq!(same.status.code(), Some(0), "{}", err(&same));
    assert!(out(&same).contains("as of offset 42 epoch 1"), "{}", out(&same));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let other = here.join("../metadata/tests/fixtures/4.3.0/broker-11");
    let copy = temp.path().join("other");
    fs::create_dir_all(copy.join("__cluster_metadata-0")).expect("can be made");
    let name = "00000000000000000000.log";
    fs::copy(other.join(name), copy.join("__cluster_metadata-0").join(name)).expect("can be");
    let different = quorate(&["diff", path, copy.to_str().expect("text"), "--json"]);
    assert_eq!(different.status.code(), Some(1), "{}", err(&different));
    let json: serde_json::Value = serde_json::from_slice(&different.stdout).expect("JSON");
    assert!(json["differences"].as_array().is_some_and(|it| !it.is_empty()));
    assert_eq!(json["b"]["offset"], 42);
    assert_eq!(quorate(&["diff", path, "/no/such/thing"]).status.code(), Some(2));
    assert_eq!(quorate(&["diff", path]).status.code(), Some(2));
}

#[test]
fn recover_previews_refuses_and_writes() {
    let temp = TempDir::new().expect("a temporary folder");
    let root = directory(&temp);
    let path = root.to_str().expect("text");
    let log = root.join("__cluster_metadata-0/00000000000000000042.log");
    let preview = quorate(&["recover", path, "--offline"]);
    assert_eq!(preview.status.code(), Some(0), "{}", err(&preview));
    assert!(out(&preview).contains("Could be lost"), "{}", out(&preview));
    let refused = quorate(&["recover", path, "--offline", "--execute"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(err(&refused).contains("--accept-loss") && !log.exists());
    let done = quorate(&["recover", path, "--offline", "--execute", "--accept-loss"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(log.exists() && out(&done).contains("manifest.json"), "{}", out(&done));
    // The same from within the directory.
    let again = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args([
            "recover",
            ".",
            "--offline",
            "--execute",
            "--even-with-majority",
            "--backup-dir",
            "../copies",
        ])
        .current_dir(&root)
        .output()
        .expect("it starts");
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    let copies = fs::read_dir(temp.path().join("copies")).expect("readable").flatten();
    let named = |name: &str| name.starts_with("node.before-recover-");
    assert!(copies.map(|it| it.file_name()).any(|name| named(&name.to_string_lossy())));
    for (args, why) in [
        (&["recover"][..], "no directory"),
        (&["recover", path, "--voters", "x"], "--voters"),
        (&["recover", path, "--set-endpoint", "1"], "--set-endpoint"),
        (&["recover", path, "--probe", "nowhere"], "--probe"),
    ] {
        let wrong = quorate(args);
        assert_eq!(wrong.status.code(), Some(2), "{args:?}");
        assert!(err(&wrong).contains(why), "{args:?}: {}", err(&wrong));
    }
}
