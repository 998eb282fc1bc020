//! Two processes on one directory: the second is refused.

use quorate_storage::{Disk, FileDisk, StorageError};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PATH_VARIABLE: &str = "QUORATE_TEST_LOCK_PATH";

/// Only does something as the second process: takes the lock and holds it until its input ends.
#[test]
fn helper_that_holds_the_lock() {
    let Some(path) = std::env::var_os(PATH_VARIABLE).map(PathBuf::from) else { return };
    let answer = match FileDisk.lock(&path) {
        Ok(lock) => {
            println!("\nheld");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            drop(lock);
            return;
        }
        Err(error) => error,
    };
    println!("\nrefused: {answer}");
}

fn second_process(path: &std::path::Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_holds_the_lock", "--nocapture"])
        .env(PATH_VARIABLE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the process says about the lock. Its output stays open for what else it prints.
fn answer(child: &mut std::process::Child) -> String {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let answer = loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the process ended without an answer");
        if line.starts_with("held") || line.starts_with("refused") {
            break line.trim_end().to_owned();
        }
    };
    child.stdout = Some(output.into_inner());
    answer
}

#[test]
fn a_second_process_is_refused_by_the_id_of_the_first() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join(".lock");
    let held = FileDisk.lock(&path).unwrap();

    let mut child = second_process(&path);
    let refused = answer(&mut child);
    child.wait().unwrap();
    let holder = format!("is locked by process {}", std::process::id());
    assert!(refused.contains(&holder), "{refused}");

    let error = FileDisk.lock(&path).unwrap_err();
    assert!(matches!(&error, StorageError::Locked { holder, .. } if holder == "this process"));
    drop(held);

    let mut child = second_process(&path);
    assert_eq!(answer(&mut child), "held");
    let error = FileDisk.lock(&path).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    FileDisk.lock(&path).unwrap();
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join(".lock");
    let mut child = second_process(&path);
    assert_eq!(answer(&mut child), "held");
    child.kill().unwrap();
    child.wait().unwrap();
    FileDisk.lock(&path).unwrap();
}
