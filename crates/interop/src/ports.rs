use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// Below Linux's range for outgoing connections (32768 and up), so that no client socket takes a
/// port between our look and the server's bind.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback port that nobody listens on and that this process has not given out before.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Test processes that run side by side start their search apart.
    let span = RANGE.end - RANGE.start;
    let start = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
    for step in 0..span {
        let port = RANGE.start + (start + step) % span;
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port in {RANGE:?} on 127.0.0.1");
}
