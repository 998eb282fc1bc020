//! Names the events that the core thread took long over, and sums up what it did each minute. How long
//! all of them took is in histograms; these lines say which it was.

use quorate_base::Time;
use std::time::Duration;

/// As `controller.performance.sample.period.ms` of Kafka by default.
const PERIOD: Duration = Duration::from_secs(60);
/// As `controller.performance.always.log.threshold.ms` of Kafka by default.
const SLOW: Duration = Duration::from_secs(2);

/// The events of one period.
#[derive(Debug, Default)]
pub struct SlowEvents {
    since: Time,
    count: u32,
    total: Duration,
    slowest: Option<(&'static str, Duration)>,
}

impl SlowEvents {
    /// An event was carried out; a line if it was slow.
    pub fn done(&mut self, name: &'static str, took: Duration) -> Option<String> {
        self.count += 1;
        self.total += took;
        if self.slowest.is_none_or(|(_, longest)| took > longest) {
            self.slowest = Some((name, took));
        }
        (took >= SLOW).then(|| format!("the event {name} took {} ms", shown(took)))
    }

    /// A line at the end of each period, with which the next one begins.
    pub fn period(&mut self, now: Time) -> Option<String> {
        let lasted = now.since(self.since);
        if lasted < PERIOD {
            return None;
        }
        let SlowEvents { count, total, slowest, .. } =
            std::mem::replace(self, SlowEvents { since: now, ..SlowEvents::default() });
        let Some((name, longest)) = slowest else {
            return Some(format!("no events in {} s", lasted.as_secs()));
        };
        Some(format!(
            "{count} events in {} s, {} ms on average; the slowest was {name} with {} ms",
            lasted.as_secs(),
            shown(total / count),
            shown(longest)
        ))
    }
}

/// Milliseconds with their hundredths.
fn shown(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Time = Time::from_nanos(PERIOD.as_nanos() as u64);

    #[test]
    fn only_a_slow_event_is_named_at_once() {
        let mut events = SlowEvents::default();
        assert_eq!(events.done("request", Duration::from_millis(1_999)), None);
        let line = events.done("CREATE_TOPICS", Duration::from_micros(2_000_250));
        assert_eq!(line.as_deref(), Some("the event CREATE_TOPICS took 2000.25 ms"));
    }

    #[test]
    fn each_minute_names_its_slowest_event_and_begins_anew() {
        let mut events = SlowEvents::default();
        for (name, millis) in [("persisted", 1), ("timeout", 7), ("peer", 4)] {
            events.done(name, Duration::from_millis(millis));
        }
        assert_eq!(events.period(Time::ZERO + Duration::from_secs(59)), None);
        let line = events.period(MINUTE).expect("a minute is over");
        let expected = "3 events in 60 s, 4.00 ms on average; the slowest was timeout with 7.00 ms";
        assert_eq!(line, expected);
        assert_eq!(events.period(MINUTE), None);
        assert_eq!(events.period(MINUTE + PERIOD).as_deref(), Some("no events in 60 s"));
    }

    #[test]
    fn times_are_shown_in_milliseconds_with_hundredths() {
        for (nanos, expected) in [(0, "0.00"), (100, "0.00"), (123_456_789, "123.46")] {
            assert_eq!(shown(Duration::from_nanos(nanos)), expected);
        }
    }
}
