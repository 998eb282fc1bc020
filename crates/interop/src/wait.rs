use crate::{Failure, Outcome};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: two busy cores run several JVMs.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Asks again and again until the answer is `Ok`; the last `Err` tells why it never was.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Outcome<T>,
) -> Outcome<T> {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() > deadline => {
                return Err(Failure(format!(
                    "{what}: not within {} s; last: {last}",
                    deadline.as_secs()
                )));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
