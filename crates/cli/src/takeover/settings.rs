//! Judges the settings of a node that is to be run by the other program. What Quorate knows and
//! refuses comes from the parser that the server starts with.

use super::findings::Findings;
use super::findings::Severity::{Note, Refusal, Warning};
use super::survey::Said;
use quorate_server::config::properties::Properties;
use quorate_server::config::{ConfigError, ServerConfig, table};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Settings that name Java classes whose absence weakens nothing, but is noticed.
const REPORTERS: [&str; 2] = ["metric.reporters", "kafka.metrics.reporters"];
/// How many names a line shows before it says "and so on".
const NAMES_SHOWN: usize = 12;

/// Adds what is to be said of a file or of what a node shows; its configuration if it is usable.
pub fn judge(
    properties: &Properties,
    file: &str,
    subject: &str,
    findings: &mut Findings,
) -> Option<ServerConfig> {
    let get = |name: &str| properties.get(name).map(|it| it.value.trim()).unwrap_or_default();
    if get("zookeeper.metadata.migration.enable").eq_ignore_ascii_case("true") {
        findings.add(
            Refusal,
            subject,
            "zookeeper.metadata.migration.enable=true: the cluster is still migrating from \
             ZooKeeper. Finish the migration with Kafka 3.9, remove the setting, then take over",
        );
    }
    for name in REPORTERS {
        if !get(name).is_empty() {
            findings.add(
                Warning,
                subject,
                format!(
                    "{name}={}: Java classes are not loaded; set quorate.http.listener and scrape \
                     /metrics instead, under the same names",
                    get(name)
                ),
            );
        }
    }
    let ignored = properties
        .iter()
        .filter(|it| table::is_known_elsewhere(&it.key) && !REPORTERS.contains(&it.key.as_str()));
    let ignored: Vec<&str> = ignored.map(|it| it.key.as_str()).collect();
    if !ignored.is_empty() {
        findings.add(
            Note,
            subject,
            format!("no effect on a Quorate controller, accepted: {}", listed(&ignored)),
        );
    }
    match ServerConfig::from_properties(properties, file) {
        Ok(config) => {
            if !config.unknown.is_empty() {
                let names: Vec<&str> = config.unknown.iter().map(String::as_str).collect();
                let text =
                    format!("known to neither Kafka nor Quorate, ignored: {}", listed(&names));
                findings.add(Note, subject, text);
            }
            Some(config)
        }
        Err(ConfigError::Problems(problems)) => {
            for problem in problems {
                findings.add(Refusal, subject, format!("Quorate would not start: {problem}"));
            }
            None
        }
        Err(error) => {
            findings.add(Refusal, subject, error.to_string());
            None
        }
    }
}

/// Says where a file no longer is what the node was started with.
pub fn compare_with_running(
    properties: &Properties,
    said: &Said,
    subject: &str,
    findings: &mut Findings,
) {
    let mut differing: Vec<String> = Vec::new();
    for property in properties.iter().filter(|it| !it.key.starts_with("quorate.")) {
        let running = said.settings.get(&property.key);
        match running {
            Some(setting) if setting.in_file => {
                if let Some(value) = &setting.value
                    && !same(value, &property.value)
                {
                    let (key, new) = (&property.key, &property.value);
                    differing.push(format!("{key} (runs with {value}, the file has {new})"));
                }
            }
            // A default that the file repeats is no difference.
            Some(setting) if setting.value.as_ref().is_some_and(|it| same(it, &property.value)) => {
            }
            _ if table::find(&property.key).is_some() => {
                differing.push(format!("{} (only in the file)", property.key));
            }
            _ => {}
        }
    }
    for (name, _) in said.settings.iter().filter(|(_, setting)| setting.in_file) {
        if properties.get(name).is_none() && table::find(name).is_some() {
            differing.push(format!("{name} (only in the running node)"));
        }
    }
    if !differing.is_empty() {
        let text = "the running node was started with other settings than the file has: ";
        findings.add(Warning, subject, format!("{text}{}", differing.join(", ")));
    }
}

/// Lists are compared without the blanks around their commas.
fn same(one: &str, other: &str) -> bool {
    let words = |text: &str| text.split(',').map(|it| it.trim().to_owned()).collect::<Vec<_>>();
    words(one) == words(other) || one.eq_ignore_ascii_case(other)
}

/// What a running node shows of its file, as a file. Secrets are not shown.
pub fn as_properties(said: &Said, name: &str) -> Option<Properties> {
    let set: BTreeMap<&String, &String> = said
        .settings
        .iter()
        // Kafka shows the id under its old name too, set or not.
        .filter(|(key, setting)| setting.in_file && *key != "broker.id")
        .filter_map(|(key, setting)| Some((key, setting.value.as_ref()?)))
        .collect();
    if set.is_empty() {
        return None;
    }
    let mut text = String::new();
    for (key, value) in set {
        let _ = writeln!(text, "{}={}", escaped(key), escaped(value));
    }
    Properties::parse(text.as_bytes(), name).ok()
}

/// All but letters and digits as `\u`, which every reader of properties undoes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for unit in text.encode_utf16() {
        match u8::try_from(unit).ok().filter(u8::is_ascii_alphanumeric) {
            Some(plain) => out.push(char::from(plain)),
            None => {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
    match names.len().checked_sub(NAMES_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::survey::{Program, Setting};
    use super::*;

    const GOOD: &str = "process.roles=controller\nnode.id=1\nlisteners=CONTROLLER://h:9093\n\
                        controller.listener.names=CONTROLLER\nlog.dirs=/d\n\
                        controller.quorum.bootstrap.servers=h:9093\n";

    fn judged(more: &str) -> (Findings, bool) {
        let properties = Properties::parse(format!("{GOOD}{more}").as_bytes(), "f").unwrap();
        let mut findings = Findings::default();
        let config = judge(&properties, "f", "node 1", &mut findings);
        (findings, config.is_some())
    }

    #[test]
    fn a_plain_file_says_nothing() {
        let (findings, usable) = judged("");
        assert!(usable && findings.0.is_empty(), "{findings:?}");
    }

    #[test]
    fn what_the_server_refuses_is_refused_here_with_the_same_words() {
        for (line, hint) in [
            ("create.topic.policy.class.name=a.B", "f:7: create.topic.policy.class.name=a.B"),
            ("alter.config.policy.class.name=a.B", "Java classes"),
            ("authorizer.class.name=a.B", "StandardAuthorizer"),
            ("principal.builder.class=a.B", "Java classes"),
            ("process.roles=broker,controller", "Combined mode"),
            ("config.providers=file", "not resolved"),
            ("zookeeper.metadata.migration.enable=true", "Finish the migration"),
        ] {
            let (findings, _) = judged(line);
            assert!(findings.refuses(), "{line}");
            assert!(findings.text().contains(hint), "{line}: {}", findings.text());
        }
    }

    #[test]
    fn what_does_nothing_here_is_said_and_does_no_harm() {
        let (findings, usable) =
            judged("metric.reporters=a.B\nnum.io.threads=8\nmy.own=x\nzookeeper.connect=z:1\n");
        assert!(usable && !findings.refuses(), "{findings:?}");
        let text = findings.text();
        assert!(text.contains("WARNING node 1: metric.reporters=a.B"), "{text}");
        assert!(text.contains("neither Kafka nor Quorate, ignored: my.own"), "{text}");
        assert!(text.contains("zookeeper.connect"), "{text}");
    }

    #[test]
    fn a_file_changed_since_the_start_is_noticed() {
        let properties = Properties::parse(GOOD.as_bytes(), "f").unwrap();
        let running = |key: &str, value: &str| {
            (key.to_owned(), Setting { value: Some(value.to_owned()), in_file: true })
        };
        let mut settings: BTreeMap<String, Setting> =
            properties.iter().map(|it| running(&it.key, &it.value)).collect();
        let (supported, finalized) = (BTreeMap::new(), BTreeMap::new());
        let mut said =
            Said { program: Program::Kafka, supported, finalized, settings: settings.clone() };
        let mut findings = Findings::default();
        compare_with_running(&properties, &said, "node 1", &mut findings);
        assert_eq!(findings.0, []);
        settings.extend([
            running("log.dirs", "/old"),
            running("broker.session.timeout.ms", "1"),
            running("num.io.threads", "3"),
        ]);
        said.settings = settings;
        compare_with_running(&properties, &said, "node 1", &mut findings);
        let text = findings.text();
        assert!(text.contains("log.dirs (runs with /old, the file has /d)"), "{text}");
        assert!(text.contains("broker.session.timeout.ms (only in the running node)"), "{text}");
        assert!(!text.contains("num.io.threads"), "{text}");
        let shown = as_properties(&said, "node 1").unwrap();
        assert_eq!(shown.get("listeners").unwrap().value, "CONTROLLER://h:9093");
    }
}
