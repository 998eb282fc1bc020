//! One entry of a history: a part of the log with who asked for it, or a request that changed nothing.

use super::audit::Line;
use super::changes::Change;
use quorate_base::{Epoch, Offset};
use quorate_server::audit::line;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Changes told one by one in a text.
const CHANGES_TOLD: usize = 20;

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// By the clock of the leader, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// First and last offset, and epoch, of what is in the log.
    pub records: Option<(Offset, Offset, Epoch)>,
    /// The audit's line, if there is one.
    pub asked: Option<Line>,
    /// What changed.
    pub changes: Vec<Change>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// None before, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// None after.
    pub until_ms: Option<i64>,
    /// Of this topic only.
    pub topic: Option<String>,
    /// By whom; with or without the kind of principal.
    pub principal: Option<String>,
    /// In any case of letters.
    pub api: Option<String>,
    /// Kinds of things that changed.
    pub kinds: Vec<String>,
    /// Only what was refused or denied, also in part.
    pub refused: bool,
}

impl Filter {
    /// The entry without what is not wanted of it; nothing if nothing is left.
    pub fn apply(&self, mut entry: Entry) -> Option<Entry> {
        let too_early = self.since_ms.is_some_and(|since| entry.time_ms < since);
        let too_late = self.until_ms.is_some_and(|until| entry.time_ms > until);
        let asked = entry.asked.as_ref().map(|it| &it.value);
        let text = |name: &str| asked.and_then(|it| it[name].as_str());
        let other_principal = self.principal.as_ref().is_some_and(|wanted| {
            let is =
                |it: &str| it == wanted || it.split_once(':').is_some_and(|(_, it)| it == wanted);
            ![text("principal"), text("deniedPrincipal")].into_iter().flatten().any(is)
        });
        let other_api = self
            .api
            .as_ref()
            .is_some_and(|wanted| !text("api").is_some_and(|it| it.eq_ignore_ascii_case(wanted)));
        let was_accepted = self.refused && matches!(text("outcome"), None | Some("accepted"));
        if too_early || too_late || other_principal || other_api || was_accepted {
            return None;
        }
        if let Some(topic) = &self.topic {
            entry.changes.retain(|it| it.topic.as_ref() == Some(topic));
            let spoken_of = entry.records.is_none() && asked.is_some_and(|it| mentions(it, topic));
            if entry.changes.is_empty() && !spoken_of {
                return None;
            }
        }
        if !self.kinds.is_empty() {
            entry.changes.retain(|it| self.kinds.iter().any(|kind| kind == it.kind));
            if entry.changes.is_empty() {
                return None;
            }
        }
        Some(entry)
    }
}

/// Whether a request was about a topic: by its name, as `TOPIC:name` or as `name-7`.
fn mentions(value: &Value, topic: &str) -> bool {
    let is_it = |text: &str| {
        let rest = text.strip_prefix("TOPIC:").unwrap_or(text).strip_prefix(topic);
        rest.is_some_and(|rest| {
            let index = rest.strip_prefix('-').unwrap_or(rest);
            rest.is_empty()
                || (!index.is_empty()
                    && index.len() < rest.len()
                    && index.bytes().all(|it| it.is_ascii_digit()))
        })
    };
    match value {
        Value::String(text) => is_it(text),
        Value::Array(items) => items.iter().any(|it| mentions(it, topic)),
        Value::Object(fields) => fields.iter().any(|(name, it)| is_it(name) || mentions(it, topic)),
        _ => false,
    }
}

impl Entry {
    /// One JSON object.
    pub fn to_json(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("time".to_owned(), json!(line::time(self.time_ms)));
        if let Some((first, last, epoch)) = self.records {
            shown.insert("offset".to_owned(), json!(first));
            shown.insert("lastOffset".to_owned(), json!(last));
            shown.insert("epoch".to_owned(), json!(epoch));
        }
        let asked = self.asked.as_ref().map_or(Value::Null, |it| it.value.clone());
        shown.insert("request".to_owned(), asked);
        let changes = self.changes.iter().map(
            |it| json!({ "kind": it.kind, "key": it.key, "before": it.before, "after": it.after }),
        );
        shown.insert("changes".to_owned(), changes.collect());
        Value::Object(shown)
    }

    /// Lines for people.
    pub fn to_text(&self) -> String {
        let mut out = line::time(self.time_ms);
        if let Some((first, last, epoch)) = self.records {
            let _ = match first == last {
                true => write!(out, "  offset {first} epoch {epoch}"),
                false => write!(out, "  offsets {first}-{last} epoch {epoch}"),
            };
        }
        if let Some(asked) = &self.asked {
            let _ = write!(out, "  {}", request_text(&asked.value));
        }
        out.push('\n');
        for change in self.changes.iter().take(CHANGES_TOLD) {
            let _ = writeln!(out, "    {}", change_text(change));
        }
        if let Some(more) = self.changes.len().checked_sub(CHANGES_TOLD).filter(|it| *it > 0) {
            let _ = writeln!(out, "    ... and {more} more; --json shows all");
        }
        out
    }
}

fn request_text(value: &Value) -> String {
    let text = |name: &str| value[name].as_str();
    if let Some(event) = text("event") {
        let count = &value["count"];
        let node = &value["node"];
        return match event {
            "lost" => format!("{count} line(s) of the audit of node {node} were lost"),
            "denialsSuppressed" => {
                let who = text("principal").unwrap_or("several principals");
                let api = text("api").unwrap_or("several APIs");
                format!("{count} more denials of {who} in {api} were counted by node {node}")
            }
            other => format!("{other} (node {node})"),
        };
    }
    let mut out = String::new();
    let api = text("api").unwrap_or("a request");
    let who = text("principal").unwrap_or("somebody");
    let from = text("clientAddress").unwrap_or("somewhere");
    let _ = write!(out, "{api} by {who} at {from}");
    if let Some(id) = text("clientId").filter(|it| !it.is_empty()) {
        let _ = write!(out, " ({id})");
    }
    let _ = write!(out, ": {}", text("outcome").unwrap_or("unknown"));
    if let Some(denied) = value["denied"].as_array() {
        for it in denied {
            let (what, on) = (it["operation"].as_str(), it["resource"].as_str());
            let _ = write!(out, ", {} on {}", what.unwrap_or("?"), on.unwrap_or("?"));
        }
    } else if let Some(results) = value["results"].as_array() {
        for it in results.iter().filter(|it| it["error"] != "NONE") {
            let _ = write!(out, ", {}", it["error"].as_str().unwrap_or("?"));
            if let Some(item) = it["item"].as_str() {
                let _ = write!(out, " for {item}");
            }
        }
    }
    if !value["records"].is_object() && !value["asked"].is_null() {
        let _ = write!(out, " {}", value["asked"]);
    }
    out
}

fn change_text(change: &Change) -> String {
    let Change { kind, key, before, after, .. } = change;
    let what = if key.is_empty() { (*kind).to_owned() } else { format!("{kind} {key}") };
    match (before, after) {
        (Value::Null, new) => format!("{what}: {new}"),
        (old, Value::Null) => format!("{what}: gone, was {old}"),
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            let of = |all: &Map<String, Value>, name: &String| {
                all.get(name).map_or_else(|| "(not set)".to_owned(), Value::to_string)
            };
            let different = names.filter(|name| old.get(*name) != new.get(*name));
            let told =
                different.map(|name| format!("{name} {} -> {}", of(old, name), of(new, name)));
            format!("{what}: {}", told.collect::<Vec<_>>().join(", "))
        }
        (old, new) => format!("{what}: {old} -> {new}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(asked: Value, topics: &[&str]) -> Entry {
        let change = |topic: &&str| Change {
            kind: "partition",
            key: format!("{topic}-0"),
            topic: Some((*topic).to_owned()),
            before: json!({ "leader": 1, "isr": [1, 2] }),
            after: json!({ "leader": 2, "isr": [1, 2] }),
        };
        let changes: Vec<Change> = topics.iter().map(change).collect();
        let asked = (!asked.is_null()).then_some(Line { time_ms: 5000, value: asked });
        let records = (!changes.is_empty()).then_some((10, 11, 3));
        Entry { time_ms: 5000, records, asked, changes }
    }

    fn asked() -> Value {
        json!({
            "principal": "User:alice", "clientAddress": "10.0.0.9", "clientId": "admin",
            "api": "DeleteTopics", "outcome": "denied",
            "asked": { "topics": [{ "name": "orders" }] },
            "denied": [{ "operation": "DELETE", "resource": "TOPIC:orders" }],
            "results": [{ "item": "TOPIC:orders", "error": "TOPIC_AUTHORIZATION_FAILED" }],
        })
    }

    #[test]
    fn filters_keep_what_is_asked_for() {
        let is = |filter: Filter, entry: Entry| filter.apply(entry).map(|it| it.changes.len());
        let none = Filter::default;
        let topic = |name: &str| Filter { topic: Some(name.to_owned()), ..none() };
        assert_eq!(is(topic("a"), entry(Value::Null, &["a", "b"])), Some(1));
        assert_eq!(is(topic("c"), entry(Value::Null, &["a", "b"])), None);
        assert_eq!(is(topic("orders"), entry(asked(), &[])), Some(0));
        assert_eq!(is(topic("order"), entry(asked(), &[])), None);
        for name in ["alice", "User:alice"] {
            let filter = Filter { principal: Some(name.to_owned()), ..none() };
            assert_eq!(is(filter, entry(asked(), &[])), Some(0), "{name}");
        }
        let bob = Filter { principal: Some("bob".to_owned()), ..none() };
        assert_eq!(is(bob, entry(asked(), &[])), None);
        let api = Filter { api: Some("deletetopics".to_owned()), ..none() };
        assert_eq!(is(api, entry(asked(), &[])), Some(0));
        assert_eq!(is(Filter { refused: true, ..none() }, entry(asked(), &[])), Some(0));
        assert_eq!(is(Filter { refused: true, ..none() }, entry(Value::Null, &["a"])), None);
        let kinds = vec!["partition".to_owned()];
        assert_eq!(is(Filter { kinds, ..none() }, entry(asked(), &[])), None);
        assert_eq!(is(Filter { since_ms: Some(5001), ..none() }, entry(asked(), &[])), None);
        assert_eq!(is(Filter { until_ms: Some(4999), ..none() }, entry(asked(), &[])), None);
    }

    #[test]
    fn texts_say_who_what_and_what_was_before() {
        let denied = entry(asked(), &[]).to_text();
        assert_eq!(
            denied,
            "1970-01-01T00:00:05.000Z  DeleteTopics by User:alice at 10.0.0.9 (admin): denied, \
             DELETE on TOPIC:orders {\"topics\":[{\"name\":\"orders\"}]}\n"
        );
        let changed = entry(Value::Null, &["a"]).to_text();
        assert_eq!(
            changed,
            "1970-01-01T00:00:05.000Z  offsets 10-11 epoch 3\n    partition a-0: leader 1 -> 2\n"
        );
    }

    #[test]
    fn partitions_are_mentioned_by_number_only() {
        for (text, expected) in [
            ("t", true),
            ("TOPIC:t", true),
            ("t-3", true),
            ("t-x", false),
            ("t3", false),
            ("t-", false),
        ] {
            assert_eq!(mentions(&json!([text]), "t"), expected, "{text}");
        }
    }
}
