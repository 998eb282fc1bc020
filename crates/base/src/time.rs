use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock: nanoseconds since an arbitrary start. Only drivers read clocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The arbitrary start.
    pub const ZERO: Time = Time(0);

    /// Nanoseconds since the arbitrary start.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Milliseconds since the arbitrary start.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis * 1_000_000)
    }

    /// Nanoseconds since the arbitrary start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

/// The two clocks a decision may need: monotonic for timeouts, wall for timestamps in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Monotonic; all timeouts are reckoned with it.
    pub time: Time,
    /// Milliseconds since the Unix epoch; only ever written into records and answers.
    pub wall_ms: i64,
}
