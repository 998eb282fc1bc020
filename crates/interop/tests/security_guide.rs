//! A new user secures a quorum by the guide: every command of its page is run as it stands there.

use quorate_interop::{KafkaVersion, Outcome, ensure, run_guide};

#[test]
fn from_nothing_to_a_secured_quorum() -> Outcome<()> {
    let printed = run_guide("guide-secure", &["secure.md"], KafkaVersion::V4_3_0)?;
    for expected in [
        "Created topic orders.",
        "Created topic hers.",
        "Completed updating config for user alice.",
        // The refusals, by the tool and by the history.
        "TopicAuthorizationException",
        "CreateTopics by User:alice at 127.0.0.1",
        "denied, CREATE on TOPIC:hers",
        // Who gave the right, and what came of it.
        "CreateAcls by User:admin",
        "topic hers: {\"partitions\":1",
        // Who shows no certificate, and who guesses.
        "SslAuthenticationException",
        "SaslAuthenticationException",
        "the TLS handshake failed",
    ] {
        ensure!(printed.contains(expected), "{expected:?} was not printed:\n{printed}");
    }
    for secret in ["admin-secret", "alice-secret", "broker-secret"] {
        ensure!(!printed.contains(secret), "{secret} was printed:\n{printed}");
    }
    Ok(())
}

#[test]
fn brokers_and_tools_log_in_with_tokens() -> Outcome<()> {
    let printed = run_guide("guide-oauth", &["secure-oauth.md"], KafkaVersion::V4_3_0)?;
    for expected in [
        // Without the key set it does not start.
        "keys.json: No such file or directory",
        "config BROKER:(default): {\"message.max.bytes\":\"2000000\"}",
        "it has expired",
        "its signature cannot be verified with the key set",
        "BrokerRegistration by User:broker-11 at 127.0.0.1",
    ] {
        ensure!(printed.contains(expected), "{expected:?} was not printed:\n{printed}");
    }
    Ok(())
}
