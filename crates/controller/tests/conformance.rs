//! `docs/conformance/controller.md` names a test of ours for each of Kafka's: every name must exist.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_test_named_in_the_conformance_table_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's crates");
    let table = crates.parent().expect("the workspace").join("docs/conformance/controller.md");
    let text = std::fs::read_to_string(table).expect("the table");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: BTreeSet<&str> =
        quoted.filter(|q| q.contains("::") || q.ends_with(".txt")).collect();
    assert!(named.len() > 60, "{} tests are named", named.len());
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
    assert!(dead.is_empty(), "these do not exist (any more): {dead:#?}");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Kafka"));
    let count = rows.clone().count();
    let empty: Vec<&str> = rows.filter(|row| row.split('|').any(|c| c.trim() == "-")).collect();
    assert!(empty.is_empty(), "rows without a word: {empty:?}");
    let said = text.lines().find_map(|line| line.split_once(" names: ")?.0.parse::<usize>().ok());
    assert_eq!(said, Some(count), "the count at the top and the rows");
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
