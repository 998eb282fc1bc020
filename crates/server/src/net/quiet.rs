use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Writes warnings that outsiders can cause, at most [`QuietLog::BURST`] in [`QuietLog::WINDOW`]; the
/// rest are counted and the count is written once the window is over.
#[derive(Default)]
pub struct QuietLog(Mutex<Window>);

#[derive(Default)]
struct Window {
    started: Option<Instant>,
    written: u32,
    dropped: u64,
}

impl QuietLog {
    /// Lines in a window.
    pub const BURST: u32 = 20;
    /// Length of a window.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// Writes the line, or counts it.
    pub fn warn(&self, line: fmt::Arguments<'_>) {
        let (allowed, dropped) = self.admit(Instant::now());
        if dropped > 0 {
            tracing::warn!(dropped, "more connections were closed for the like");
        }
        if allowed {
            tracing::warn!("{line}");
        }
    }

    /// Whether a line may be written now, and how many were not written in the window before.
    fn admit(&self, now: Instant) -> (bool, u64) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = window.started.is_none_or(|started| now.duration_since(started) >= Self::WINDOW);
        let mut dropped = 0;
        if over {
            dropped = window.dropped;
            *window = Window { started: Some(now), written: 0, dropped: 0 };
        }
        let allowed = window.written < Self::BURST;
        if allowed {
            window.written += 1;
        } else {
            window.dropped += 1;
        }
        (allowed, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_once() {
        let quiet = QuietLog::default();
        let start = Instant::now();
        let allowed = (0..1000).filter(|_| quiet.admit(start).0).count();
        assert_eq!(allowed, 20);
        assert_eq!(quiet.admit(start + QuietLog::WINDOW), (true, 980));
        assert_eq!(quiet.admit(start + QuietLog::WINDOW), (true, 0));
    }
}
