//! Names that a request gives more than once.

use quorate_protocol::KStr;
use std::collections::BTreeSet;

/// The names given once, and those given more than once.
pub fn without_duplicates<'a>(
    names: impl Iterator<Item = &'a KStr>,
) -> (BTreeSet<&'a str>, BTreeSet<&'a KStr>) {
    let mut unique = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for name in names {
        if duplicates.contains(name) || !unique.insert(name.as_str()) {
            unique.remove(name.as_str());
            duplicates.insert(name);
        }
    }
    (unique, duplicates)
}
