use quorate_base::{Now, Time};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The only clock of the process. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts it; to be called once.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Monotonic time now.
    pub fn time(&self) -> Time {
        let nanos = self.start.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).expect("a process lives less than 584 years"))
    }

    /// The monotonic time of a moment after the start.
    pub fn time_at(&self, instant: Instant) -> Time {
        let nanos = instant.saturating_duration_since(self.start).as_nanos();
        Time::from_nanos(u64::try_from(nanos).expect("a process lives less than 584 years"))
    }

    /// When a monotonic time will be, for waiting.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + std::time::Duration::from_nanos(time.as_nanos())
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        Now { time: self.time(), wall_ms: wall_ms() }
    }
}

/// Milliseconds since 1970 by the wall clock.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
