//! Logs: one line an event on standard error, with fields.

use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `level`, or as the environment variable RUST_LOG says (`level` or
/// `target=level`, separated by commas). Later calls change nothing.
pub fn start(level: &str) {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let fallback = level.parse().unwrap_or(LevelFilter::INFO);
    let targets = match from_environment.as_deref().map(str::parse::<Targets>) {
        Some(Ok(targets)) => targets,
        _ => Targets::new().with_default(fallback),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only if a test has set up logging before.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
}
