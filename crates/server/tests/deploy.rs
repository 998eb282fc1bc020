//! What is shipped for Prometheus and Grafana fits to what the program exports, and to its runbooks.
//! That the queries of the dashboards find something is tested with a real quorum, in `interop`.
use quorate_server::metrics::{self, dialect::Dialect, table::Shape, text::Kind};
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn alerts_do_what_their_tests_say() {
    let dir = deploy("prometheus");
    for args in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let output = match Command::new("promtool").args(args).current_dir(&dir).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => return left_out("promtool"),
            other => other.expect("promtool runs"),
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn alerts_and_dashboards_ask_for_metrics_that_exist() {
    let known = exported();
    let mut files = vec![deploy("prometheus/alerts.yml")];
    for entry in fs::read_dir(deploy("grafana")).expect("deploy/grafana exists") {
        files.push(entry.expect("an entry").path());
    }
    for file in files {
        let text = read(&file);
        let asked = words(&text);
        assert!(asked.len() > 5, "{}: {asked:?}", file.display());
        let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{} asks for {unknown:?}", file.display());
    }
}

#[test]
fn each_alert_is_tested_and_has_a_runbook() {
    let alerts = read(&deploy("prometheus/alerts.yml"));
    let tests = read(&deploy("prometheus/alerts_test.yml"));
    let guide = read(&deploy("../docs/guide/monitor.md"));
    let names: Vec<&str> =
        alerts.lines().filter_map(|it| it.split_once("- alert: ")).map(|it| it.1).collect();
    assert!(names.len() > 20);
    for name in &names {
        assert!(guide.contains(&format!("\n### {name}\n")), "no runbook of {name}");
        let anchor = format!("runbook: docs/guide/monitor.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&anchor), "{name} does not name its runbook");
        // Once where it must not fire and once where it must; the one about no metrics at all cannot
        // be silent without a target.
        let cases = tests.matches(&format!("alertname: {name}\n")).count();
        assert!(cases >= 2, "{name} has {cases} tests");
    }
    for heading in guide.lines().filter_map(|line| line.strip_prefix("### Quorate")) {
        assert!(names.contains(&format!("Quorate{heading}").as_str()), "no alert {heading}");
    }
}

/// Names of series on a page of metrics; of Kafka's only those that all dialects share are looked for.
fn exported() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["up".to_owned()]);
    for metric in metrics::all() {
        let Some((name, _)) = Dialect::Strimzi.name_of(metric) else { continue };
        if matches!(metric.shape, Shape::Own(Kind::Histogram)) {
            names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
        names.insert(name);
    }
    names
}

/// Everything in a file that is named as a metric is.
fn words(text: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c| !is_word(c))
        .filter(|word| word.starts_with("quorate_") || word.starts_with("process_"))
        .collect()
}

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Said past the capture of tests that succeed.
fn left_out(tool: &str) {
    let _ = writeln!(std::io::stderr(), "\nLEFT OUT: a test, because {tool} is not installed");
}
