//! What the commands beside a running quorum have in common: addresses, durations, waiting.

use crate::args::Parsed;
use crate::failure::Failure;
use quorate_base::{NodeId, Prng, Uuid};
use quorate_controller::ControllerConfig;
use quorate_server::config::ServerConfig;
use quorate_server::config::address::parse_host_port;
use quorate_server::random;
use quorate_shadow::{ShadowError, Source};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use quorate_server::driver::clock::wall_ms;

const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a quorum that is to answer at once may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Controllers to ask.
pub struct Bootstrap {
    /// `host:port` each.
    pub addresses: Vec<String>,
}

impl Bootstrap {
    /// From `--bootstrap`.
    pub fn from_args(args: &Parsed) -> Result<Bootstrap, Failure> {
        Bootstrap::given(args)?.ok_or_else(|| Failure::usage("argument --bootstrap/-b is required"))
    }

    /// The same where it may be left out.
    pub fn given(args: &Parsed) -> Result<Option<Bootstrap>, Failure> {
        let list = args.value("bootstrap").or_else(|| args.value("bootstrap-controller"));
        let Some(list) = list else { return Ok(None) };
        let addresses: Vec<String> =
            list.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        if let Some(bad) = addresses.iter().find(|it| parse_host_port(it).is_none()) {
            return Err(Failure::usage(format!("--bootstrap: {bad} is not HOST:PORT")));
        }
        if addresses.is_empty() {
            return Err(Failure::usage("--bootstrap names no controller"));
        }
        Ok(Some(Bootstrap { addresses }))
    }
}

/// `90s`, `30m`, `12h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::usage(format!("{text} is no duration: a number and s, m, h or d"));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// A node id for an observer.
pub fn replica_id(text: &str) -> Result<NodeId, Failure> {
    let id = text.parse().ok().filter(|id: &NodeId| *id >= 0);
    id.ok_or_else(|| Failure::usage(format!("--replica-id: {text} is no node id")))
}

/// Settings that decide where no dynamic configuration does: of a controller's file, or Kafka's defaults.
pub fn rules(file: Option<&str>) -> Result<ControllerConfig, Failure> {
    match file {
        None => Ok(ControllerConfig::default()),
        Some(file) => {
            let settings = ServerConfig::load(Path::new(file), &[])?.controller;
            Ok(ControllerConfig {
                min_insync_replicas: settings.min_insync_replicas,
                unclean_leader_election: settings.unclean_leader_election,
                ..ControllerConfig::default()
            })
        }
    }
}

/// A seed from the operating system.
pub fn seed() -> Result<u64, Failure> {
    Ok(random::seed()?)
}

/// An id that nobody has.
pub fn fresh_uuid() -> Uuid {
    Uuid::random(&mut Prng::new(random::seed().unwrap_or_else(|_| wall_ms().unsigned_abs())))
}

/// Set by SIGTERM and SIGINT.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Pauses before another attempt.
pub fn pause(stop: &AtomicBool) {
    if !stop.load(Ordering::Relaxed) {
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Asks for the cluster's id until somebody tells, or the time is up.
pub fn await_cluster_id(
    source: &mut Source,
    until: Option<Instant>,
    stop: &AtomicBool,
) -> Result<String, Failure> {
    let patience = until.unwrap_or_else(|| Instant::now() + ANSWER_TIMEOUT);
    loop {
        match source.cluster_id() {
            Ok(id) => return Ok(id),
            Err(error) if error.is_transient() && !stop.load(Ordering::Relaxed) => {
                if Instant::now() >= patience {
                    return Err(Failure::failed(format!("no controller answers: {error}")));
                }
                pause(stop);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl From<ShadowError> for Failure {
    fn from(error: ShadowError) -> Failure {
        let exit_code = match &error {
            ShadowError::Storage(error) => error.exit_code(),
            ShadowError::NotAMirror { .. }
            | ShadowError::LostHistory { .. }
            | ShadowError::Gap { .. }
            | ShadowError::OtherCluster { .. } => 3,
            _ => 1,
        };
        Failure { message: error.to_string(), exit_code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_refused() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("7d").unwrap(), Duration::from_secs(7 * 86_400));
        for bad in ["", "7", "d", "-1s", "1.5h", "99999999999999999999d", "1w"] {
            assert_eq!(duration(bad).unwrap_err().exit_code, 2, "{bad}");
        }
    }
}
