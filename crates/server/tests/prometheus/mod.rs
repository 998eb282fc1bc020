//! A strict reader of Prometheus' text format: what it accepts, Prometheus does.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

/// A page that follows all rules.
#[derive(Debug)]
pub struct Page {
    /// Type of each family.
    pub types: BTreeMap<String, String>,
    /// Value of each line by its name and labels as written.
    pub lines: BTreeMap<String, f64>,
}

impl Page {
    /// The value of a line.
    pub fn get(&self, line: &str) -> f64 {
        *self.lines.get(line).unwrap_or_else(|| panic!("no line {line}"))
    }

    /// Reads a page; panics at what breaks the format.
    pub fn read(text: &str) -> Page {
        let mut page = Page { types: BTreeMap::new(), lines: BTreeMap::new() };
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        assert!(text.ends_with('\n'), "the last line is whole");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.trim().is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "two HELP lines of {name}");
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, family, "TYPE follows HELP");
                assert!(
                    ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind),
                    "{line}"
                );
                let old = page.types.insert(name.to_owned(), kind.to_owned());
                assert!(old.is_none(), "two TYPE lines of {name}");
            } else {
                page.read_line(line, &family);
            }
        }
        page.check_histograms();
        page
    }

    fn read_line(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
            None => (series, ""),
        };
        let name_ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        assert!(
            name.chars().all(name_ok) && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{line}"
        );
        let kind = self.types.get(family).unwrap_or_else(|| panic!("{line} has no TYPE")).as_str();
        let suffix =
            name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        let suffixes: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{line} in the {kind} {family}");
        check_labels(labels, line);
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number in {line}"));
        assert!(kind != "counter" || value >= 0.0 || value.is_nan(), "{line}");
        assert!(self.lines.insert(series.to_owned(), value).is_none(), "{series} twice");
    }

    fn check_histograms(&self) {
        for (family, kind) in &self.types {
            if kind != "histogram" {
                continue;
            }
            let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            let mut buckets: Vec<(String, f64, f64)> = Vec::new();
            for (series, value) in &self.lines {
                if let Some(labels) = series.strip_prefix(&format!("{family}_bucket{{")) {
                    let (rest, bound) = labels.trim_end_matches('}').rsplit_once("le=").unwrap();
                    let bound = bound.trim_matches('"').parse().unwrap();
                    buckets.push((rest.to_owned(), bound, *value));
                }
            }
            buckets.sort_by(|a, b| (&a.0, a.1).partial_cmp(&(&b.0, b.1)).unwrap());
            for (labels, bound, value) in buckets {
                if let Some((before, count)) = last.insert(labels.clone(), (bound, value)) {
                    assert!(bound > before && value >= count, "{family} {labels}");
                }
            }
            assert!(last.values().all(|(bound, _)| bound.is_infinite()), "{family} lacks +Inf");
        }
    }
}

fn check_labels(labels: &str, line: &str) {
    let mut rest = labels;
    let mut names = BTreeSet::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        let name_ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(!name.is_empty() && name.chars().all(name_ok), "{line}");
        assert!(names.insert(name.to_owned()), "{name} twice in {line}");
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap_or_else(|| panic!("{line}"));
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}
