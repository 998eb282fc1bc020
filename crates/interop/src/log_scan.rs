use crate::{Failure, Outcome};
use std::path::Path;

/// Error lines that a healthy Kafka writes too, each with the reason why it may be there.
/// Everything else at ERROR or FATAL fails the run.
const ALLOWED: &[(&str, &str)] = &[
    // A broker whose peer was killed on purpose: the fetcher's connection broke.
    ("Connection to node", "a peer was stopped by the test"),
    // Written on a clean shutdown of a controller that brokers still talk to.
    ("Graceful shutdown of RaftManager timed out", "the controller was stopped first"),
    // The same when all controllers are stopped at once: nobody is left to be elected.
    ("Graceful shutdown of RaftClient failed", "the other voters were stopped as well"),
    // It measures itself against a constant; two busy cores run several JVMs.
    ("Exceptionally slow controller event", "the machine is busy"),
    // A broker that follows a leader which has just moved.
    ("NotLeaderOrFollowerException", "a leader moved"),
    ("FencedLeaderEpochException", "a leader moved"),
    ("UnknownTopicOrPartitionException", "a topic was deleted while it was fetched"),
    ("UnknownTopicIdException", "a topic was deleted while it was fetched"),
    ("UnknownLeaderEpochException", "a leader moved and the follower was first to know"),
    ("org.apache.kafka.common.errors.DisconnectException", "a peer was stopped by the test"),
    // Every broker writes this for each partition that is added to an existing topic.
    ("to exist, but it was missing. Creating...", "partitions were added to a topic"),
    // Shutdown of a broker whose network threads close first.
    ("Processor got uncaught exception", "sockets close during shutdown"),
];

/// Never allowed, whatever else the line says.
const FATAL: &[&str] =
    &["fatal fault", "Encountered fatal", "Fatal error", "FATAL", "Unexpected error handling"];

/// Fails when a log holds a fatal fault or an error that is not on the list above.
/// `extra_allowed` are further patterns that this test provokes on purpose.
pub fn scan_log(name: &str, log: &Path, extra_allowed: &[&str]) -> Outcome<()> {
    let text = std::fs::read(log)
        .map_err(|e| Failure(format!("cannot read the log of {name}, {}: {e}", log.display())))?;
    let text = String::from_utf8_lossy(&text);
    let next_lines = text.lines().skip(1).chain([""]);
    let bad: Vec<&str> = text
        .lines()
        .zip(next_lines)
        .filter(|(line, next)| is_bad(line, extra_allowed) && !is_harmless_race(line, next))
        .map(|(line, _)| line)
        .take(5)
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("the log of {name} ({}) holds errors:\n{}", log.display(), bad.join("\n"))))
}

/// Kafka's controller that has won its election but is not active yet writes a whole request at
/// ERROR, and on the next line why: its own race with brokers that already know of it. While it
/// stops, its answer to ApiVersions looks for parts of it that are gone.
fn is_harmless_race(line: &str, next: &str) -> bool {
    line.contains("Unexpected error handling request")
        && (next.contains("org.apache.kafka.common.errors.NotControllerException")
            || (line.contains("apiKey=API_VERSIONS,")
                && next.contains("the return value of \"kafka.server.ControllerServer.")
                && next.ends_with("is null")))
}

fn is_bad(line: &str, extra_allowed: &[&str]) -> bool {
    if FATAL.iter().any(|pattern| line.contains(pattern)) {
        return true;
    }
    // Kafka's layout and ours both put the level as a word of its own near the start.
    let is_error = line.split_whitespace().take(4).any(|word| word == "ERROR");
    is_error
        && !ALLOWED.iter().any(|(pattern, _)| line.contains(pattern))
        && !extra_allowed.iter().any(|pattern| line.contains(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_before_activation_is_told_from_other_failed_requests() {
        let line = "[2026-01-01 00:00:00,000] ERROR [ControllerApis nodeId=1] Unexpected error \
                    handling request RequestHeader(apiKey=BROKER_HEARTBEAT) (kafka.x)";
        let not_controller = "org.apache.kafka.common.errors.NotControllerException: node 1";
        assert!(is_harmless_race(line, not_controller));
        // As 3.9 says it.
        let wrapped = format!("java.util.concurrent.CompletionException: {not_controller}");
        assert!(is_harmless_race(line, &wrapped));
        assert!(!is_harmless_race(line, "java.lang.NullPointerException"));
        let gone = "java.lang.NullPointerException: Cannot invoke \"x\" because the return value of \
                    \"kafka.server.ControllerServer.raftManager()\" is null";
        assert!(!is_harmless_race(line, gone));
        assert!(is_harmless_race(&line.replace("BROKER_HEARTBEAT", "API_VERSIONS, x"), gone));
        assert!(is_bad(line, &[]));
    }

    #[test]
    fn errors_and_fatal_faults_are_found_and_allowed_ones_are_not() {
        let error = "[2026-01-01 00:00:00,000] ERROR [BrokerLifecycleManager id=1] bad (kafka.x)";
        assert!(is_bad(error, &[]));
        assert!(!is_bad(error, &["BrokerLifecycleManager id=1] bad"]));
        assert!(!is_bad("[2026-01-01 00:00:00,000] WARN ERROR-like words (x)", &[]));
        let fatal = "[2026-01-01 00:00:00,000] INFO Encountered fatal fault: x (x)";
        assert!(is_bad(fatal, &["Encountered fatal fault"]));
    }
}
