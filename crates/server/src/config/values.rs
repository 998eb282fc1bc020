//! Typed reading of single settings against the table, collecting every problem instead of the first.

use super::properties::{Properties, Property};
use super::table::{self, Fallback, Kind, SETTINGS, Setting};
use std::fmt;
use std::time::Duration;

/// One thing wrong with the configuration; says what, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads settings and remembers what was wrong with them.
pub struct Values<'a> {
    properties: &'a Properties,
    file: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Values<'a> {
    /// Checks every present setting that the table knows.
    pub fn new(properties: &'a Properties, file: &'a str) -> Values<'a> {
        let mut values = Values { properties, file, problems: Vec::new() };
        for setting in SETTINGS {
            if let Some(property) = properties.get(setting.name)
                && !is_allowed(setting.kind, &property.value)
            {
                values.wrong(property, &format!("expected {}", setting.kind));
            }
        }
        values
    }

    /// What was wrong so far.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Records a problem with a present setting.
    pub fn wrong(&mut self, property: &Property, why: &str) {
        let shown = match table::find(&property.key).map(|setting| setting.kind) {
            Some(Kind::Secret) => "(hidden)",
            _ => &property.value,
        };
        self.problems
            .push(Problem(format!("{}: {}={shown}: {why}", property.source, property.key)));
    }

    /// Records a problem that no single line has.
    pub fn wrong_overall(&mut self, why: &str) {
        self.problems.push(Problem(format!("{}: {why}", self.file)));
    }

    /// Records a problem with a setting, present or not.
    pub fn wrong_named(&mut self, name: &str, why: &str) {
        match self.properties.get(name) {
            Some(property) => self.wrong(property, why),
            None => self.wrong_overall(&format!("{name}: {why}")),
        }
    }

    /// The setting as written, if it is there and not empty.
    pub fn present(&self, name: &str) -> Option<&'a Property> {
        let properties = self.properties;
        properties.get(row(name).name).filter(|property| !property.value.is_empty())
    }

    /// The value in force, as text; a missing required one is a problem.
    fn in_force(&mut self, name: &str) -> Option<&'a str> {
        let setting = row(name);
        let properties = self.properties;
        if let Some(property) = properties.get(name) {
            // A value that the table refuses was reported by `new`.
            let usable = is_allowed(setting.kind, &property.value);
            if usable && !(property.value.is_empty() && setting.default == Fallback::Required) {
                return Some(&property.value);
            }
        }
        match setting.default {
            Fallback::Value(value) => Some(value),
            Fallback::Unset => None,
            Fallback::Required => {
                if properties.get(name).is_none_or(|property| property.value.is_empty()) {
                    self.wrong_overall(&format!("{name} is missing. {}", setting.doc));
                }
                None
            }
        }
    }

    /// A text, if there is one.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.in_force(name).map(str::to_owned)
    }

    /// The entries of a list; none if unset.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.in_force(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A yes or no; the table has a default for each.
    pub fn boolean(&mut self, name: &str) -> bool {
        self.in_force(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// A whole number. `None` only if it is unset, or missing where required.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.in_force(name)?;
        Some(value.trim().parse().expect("the table's values and checked ones are numbers"))
    }

    /// A whole number with a default in the table that fits the caller's type.
    pub fn number<T: TryFrom<i64>>(&mut self, name: &str) -> T {
        let value = self.integer(name).unwrap_or_else(|| panic!("{name} has a default"));
        T::try_from(value).unwrap_or_else(|_| panic!("{name} is bounded by the table"))
    }

    /// A time in milliseconds with a default in the table.
    pub fn millis(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.number::<u64>(name))
    }
}

fn row(name: &str) -> &'static Setting {
    table::find(name).unwrap_or_else(|| panic!("{name} is not in the table of settings"))
}

/// Whether the text is a value of this kind.
pub fn is_allowed(kind: Kind, text: &str) -> bool {
    let text = text.trim();
    match kind {
        Kind::Boolean => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
        Kind::Integer { min, max } => {
            text.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number))
        }
        Kind::Decimal { min, max } => {
            text.parse::<f64>().is_ok_and(|number| (min..=max).contains(&number))
        }
        Kind::OneOf(words) => words.contains(&text),
        Kind::Text | Kind::List | Kind::Secret => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for setting in SETTINGS {
            if let Fallback::Value(value) = setting.default {
                assert!(is_allowed(setting.kind, value), "{}={value}", setting.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_not_also_known_elsewhere() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[..index].iter().all(|other| other.name != setting.name));
            assert!(!table::is_known_elsewhere(setting.name), "{}", setting.name);
        }
    }
}
