//! Prometheus' text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What a family is, as its `# TYPE` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows.
    Counter,
    /// Buckets by upper bound.
    Histogram,
    /// Quantiles.
    Summary,
    /// Two dialects mean different things by one name.
    Untyped,
}

impl Kind {
    /// The word in the text.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped => "untyped",
        }
    }
}

/// Label names and values in the order of the text.
pub type Labels = Vec<(String, String)>;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What follows the family's name: `_count`, `_sum`, `_bucket` or nothing.
    pub suffix: &'static str,
    /// Labels.
    pub labels: Labels,
    /// Value.
    pub value: f64,
}

/// All lines of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// What it means.
    pub help: &'static str,
    /// Lines.
    pub points: Vec<Point>,
}

/// Families by name; those of several dialects are merged.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<String, Family>,
}

impl Page {
    /// Adds a family. Where one of its name is there already, lines that differ in labels are added
    /// to it; if the kinds differ, the name becomes untyped.
    pub fn add(&mut self, mut family: Family) {
        if family.points.is_empty() {
            return;
        }
        let clashes = self.families.get(&family.name).is_some_and(|it| it.kind != family.kind);
        if clashes && let Some(mut found) = self.families.remove(&family.name) {
            for side in [&mut found, &mut family] {
                if side.kind == Kind::Summary {
                    self.split_off_counts(side);
                }
                side.kind = Kind::Untyped;
            }
            self.families.insert(found.name.clone(), found);
        }
        // A summary brings its `_count`, which another dialect may have as a family of its own.
        if family.kind == Kind::Summary && self.families.contains_key(&count_of(&family.name)) {
            self.split_off_counts(&mut family);
            family.kind = Kind::Untyped;
            return self.add(family);
        }
        match self.families.get_mut(&family.name) {
            Some(found) => {
                for point in family.points {
                    let same = |it: &Point| it.suffix == point.suffix && it.labels == point.labels;
                    if !found.points.iter().any(same) {
                        found.points.push(point);
                    }
                }
            }
            None => {
                self.families.insert(family.name.clone(), family);
            }
        }
    }

    fn split_off_counts(&mut self, family: &mut Family) {
        let (counts, rest) =
            std::mem::take(&mut family.points).into_iter().partition(|it| it.suffix == "_count");
        family.points = rest;
        let counts: Vec<Point> = counts;
        let points = counts.into_iter().map(|it| Point { suffix: "", ..it }).collect();
        let name = count_of(&family.name);
        self.add(Family { name, kind: Kind::Counter, help: family.help, points });
    }

    /// The names in it.
    pub fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// The whole text.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        for family in self.families.values() {
            let (name, kind) = (&family.name, family.kind.name());
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for point in &family.points {
                out.push_str(name);
                out.push_str(point.suffix);
                write_labels(&mut out, &point.labels);
                let _ = writeln!(out, " {}", number(point.value));
            }
        }
        out
    }
}

fn count_of(name: &str) -> String {
    format!("{name}_count")
}

fn write_labels(out: &mut String, labels: &Labels) {
    for (at, (name, value)) in labels.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if !labels.is_empty() {
        out.push('}');
    }
}

/// A number as Prometheus reads it.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, kind: Kind, points: &[(&'static str, &str, f64)]) -> Family {
        let point = |(suffix, label, value): &(&'static str, &str, f64)| Point {
            suffix,
            labels: match label.split_once('=') {
                Some((name, value)) => vec![(name.to_owned(), value.to_owned())],
                None => Vec::new(),
            },
            value: *value,
        };
        let points = points.iter().map(point).collect();
        Family { name: name.to_owned(), kind, help: "a \\ b\nc", points }
    }

    #[test]
    fn text_is_escaped_and_numbers_are_plain() {
        let mut page = Page::default();
        page.add(family("x", Kind::Gauge, &[("", "a=q\"\\\n", 1.0), ("", "", 0.5)]));
        page.add(family("empty", Kind::Gauge, &[]));
        let text = "# HELP x a \\\\ b\\nc\n# TYPE x gauge\nx{a=\"q\\\"\\\\\\n\"} 1\nx 0.5\n";
        assert_eq!(page.render(), text);
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(1e15), "1000000000000000");
    }

    #[test]
    fn a_summary_beside_a_count_of_another_dialect_becomes_untyped() {
        let summary = family("x", Kind::Summary, &[("", "quantile=0.5", 2.0), ("_count", "", 7.0)]);
        let count = family("x", Kind::Gauge, &[("", "", 7.0)]);
        let own_count = family("x_count", Kind::Counter, &[("", "", 7.0)]);
        let orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1], [0, 2, 1], [1, 2, 0]];
        for order in orders {
            let mut page = Page::default();
            for at in order {
                page.add([summary.clone(), count.clone(), own_count.clone()][at].clone());
            }
            let text = page.render();
            assert_eq!(text.matches("x_count 7").count(), 1, "{order:?} {text}");
            assert_eq!(text.matches("# TYPE x ").count(), 1, "{text}");
            assert!(text.contains("# TYPE x untyped"), "{order:?} {text}");
            assert!(text.contains("# TYPE x_count counter"), "{order:?} {text}");
            assert!(text.contains("\nx 7\n") && text.contains("x{quantile=\"0.5\"} 2"), "{text}");
        }
    }
}
