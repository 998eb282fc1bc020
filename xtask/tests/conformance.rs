//! The pages below `docs/conformance` name a test of ours for each of Kafka's: every name must exist.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_test_named_for_the_controller_exists() {
    let text = check("controller.md", 60);
    let count = rows(&text).count();
    let said = text.lines().find_map(|line| line.split_once(" names: ")?.0.parse::<usize>().ok());
    assert_eq!(said, Some(count), "the count at the top and the rows");
}

#[test]
fn every_test_named_for_raft_exists() {
    check("raft.md", 100);
}

/// The text of a page that names more than `at_least` tests, all of which exist, and has no empty cell.
fn check(page: &str, at_least: usize) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let crates = root.join("crates");
    let text = std::fs::read_to_string(root.join("docs/conformance").join(page)).expect("the page");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: BTreeSet<&str> =
        quoted.filter(|q| q.contains("::") || q.ends_with(".txt")).collect();
    assert!(named.len() > at_least, "{page}: {} tests are named", named.len());
    let mut dead = Vec::new();
    for name in named {
        let exists = match name.split_once("::") {
            None => crates.join(name).is_file(),
            Some((file, test)) => std::fs::read_to_string(crates.join(file))
                .is_ok_and(|source| is_test(&source, test)),
        };
        if !exists {
            dead.push(name);
        }
    }
    assert!(dead.is_empty(), "{page}: these do not exist (any more): {dead:#?}");
    let empty: Vec<&str> =
        rows(&text).filter(|row| row.split('|').any(|c| c.trim() == "-")).collect();
    assert!(empty.is_empty(), "{page}: rows without a word: {empty:?}");
    text
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Kafka"))
}

/// Whether a function of that name stands right below a `#[test]`.
fn is_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev().take_while(|l| l.starts_with("#["));
        line.starts_with(&head) && above.into_iter().any(|l| *l == "#[test]")
    })
}
