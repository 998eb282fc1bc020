//! What was found, and how much it matters.

use serde_json::{Value, json};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// May be wanted, may be not: to be looked at by a person.
    Warning,
    /// Unsafe: nothing should be done before this is put right.
    Refusal,
}

impl Severity {
    /// The word before a finding.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "WARNING",
            Severity::Refusal => "REFUSED",
        }
    }
}

/// One thing worth saying before a takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Whom it is about: `the quorum`, `node 3`.
    pub subject: String,
    /// What, why, and what to do.
    pub text: String,
}

/// All findings, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, severity: Severity, subject: &str, text: impl Into<String>) {
        self.0.push(Finding { severity, subject: subject.to_owned(), text: text.into() });
    }

    /// Those of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(move |finding| finding.severity == severity)
    }

    /// Whether something must be put right first.
    pub fn refuses(&self) -> bool {
        self.of(Severity::Refusal).next().is_some()
    }

    /// The gravest first, a line each.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for severity in [Severity::Refusal, Severity::Warning, Severity::Note] {
            for finding in self.of(severity) {
                let line = format!("{} {}: {}\n", severity.word(), finding.subject, finding.text);
                text.push_str(&line);
            }
        }
        text
    }

    /// As an array.
    pub fn json(&self) -> Value {
        let all = self.0.iter().map(|finding| {
            json!({
                "severity": finding.severity.word().to_lowercase(),
                "subject": finding.subject,
                "text": finding.text,
            })
        });
        all.collect()
    }
}
