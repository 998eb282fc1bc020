//! The service that is shipped is one that systemd understands, and does what its comments say.

use quorate_server::driver::core::exit;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

fn unit() -> String {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd/quorate.service");
    fs::read_to_string(file).expect("the unit is there")
}

#[test]
fn systemd_understands_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("quorate.service");
    // Whether the program is installed here is not what is asked.
    let there = std::env::current_exe().expect("this program").display().to_string();
    let text = unit().replace("/usr/local/bin/quorate", &there);
    assert!(text.contains(&there), "ExecStart names another program than the guide installs");
    fs::write(&file, text).expect("written");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&file);
    let output = match verify.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not by a macro: those are held back when a test succeeds.
            let _ = writeln!(std::io::stderr(), "\nLEFT OUT: systemd-analyze is not installed");
            return;
        }
        other => other.expect("systemd-analyze runs"),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("quorate")).collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
}

#[test]
fn it_is_not_started_again_where_that_helps_nobody() {
    let wanted = format!("RestartPreventExitStatus={} {}", exit::USAGE, exit::REFUSED);
    assert!(unit().lines().any(|line| line == wanted), "no line {wanted:?}");
}
