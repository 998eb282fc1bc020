//! Durations, counted without a lock: whoever measures adds to a few atomics, whoever reads sees
//! counts that may be one event apart from each other.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets per doubling: a quantile is right to an eighth or so.
const PER_OCTAVE_BITS: u32 = 2;
const PER_OCTAVE: usize = 1 << PER_OCTAVE_BITS;
/// Up to 2^31 microseconds, more than half an hour; what is longer counts as that long.
const OCTAVES: usize = 31;
const BUCKETS: usize = (OCTAVES - PER_OCTAVE_BITS as usize + 1) * PER_OCTAVE;
/// Quantiles forget what is older than two to three of these windows, as Kafka's samples do.
const WINDOW: Duration = Duration::from_secs(60);

/// How long something took, all of it since the start and, for quantiles, lately.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
    max_micros: AtomicU64,
    windows: [Window; 2],
}

#[derive(Debug)]
struct Window {
    /// Number of the window since the clock's start, plus one; 0 for never used.
    number: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
    max_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            sum_micros: AtomicU64::new(0),
            max_micros: AtomicU64::new(0),
            windows: array::from_fn(|_| Window {
                number: AtomicU64::new(0),
                buckets: array::from_fn(|_| AtomicU32::new(0)),
                max_micros: AtomicU64::new(0),
            }),
        }
    }
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Upper bounds in seconds and how many were not above, since the start; the bounds are powers of
    /// two of microseconds, from 64 µs to 16.8 s.
    pub cumulative: Vec<(f64, u64)>,
    /// How many since the start.
    pub count: u64,
    /// Seconds in total since the start.
    pub sum_seconds: f64,
    /// Longest since the start, in seconds.
    pub max_seconds: f64,
    /// Quantiles of lately, as asked for, in seconds; 0 if nothing was measured lately.
    pub quantiles: Vec<(f64, f64)>,
}

impl Histogram {
    /// Adds one duration. `uptime` is the time since the process's clock started.
    pub fn record(&self, uptime: Duration, took: Duration) {
        let micros = micros_rounded_up(took);
        let at = index(micros);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
        self.max_micros.fetch_max(micros, Relaxed);
        let number = window_number(uptime);
        let window = &self.windows[(number % 2) as usize];
        // Of several threads that find an old window one empties it; what the others add meanwhile
        // may be lost, and no reader could tell.
        let old = window.number.swap(number, Relaxed);
        if old != number {
            window.max_micros.store(0, Relaxed);
            window.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        }
        window.buckets[at].fetch_add(1, Relaxed);
        window.max_micros.fetch_max(micros, Relaxed);
    }

    /// What there is now.
    pub fn read(&self, uptime: Duration, quantiles: &[f64]) -> Distribution {
        let counts: Vec<u64> = self.buckets.iter().map(|it| it.load(Relaxed)).collect();
        let cumulative = (6..=24)
            .map(|octave: u32| {
                let bound = 1u64 << octave;
                let below = counts[..=index(bound)].iter().sum();
                (seconds(bound), below)
            })
            .collect();
        let now = window_number(uptime);
        let mut recent = vec![0u64; BUCKETS];
        for window in &self.windows {
            if window.number.load(Relaxed) + 1 >= now {
                for (sum, bucket) in recent.iter_mut().zip(&window.buckets) {
                    *sum += u64::from(bucket.load(Relaxed));
                }
            }
        }
        Distribution {
            cumulative,
            count: counts.iter().sum(),
            sum_seconds: seconds(self.sum_micros.load(Relaxed)),
            max_seconds: seconds(self.max_micros.load(Relaxed)),
            quantiles: quantiles.iter().map(|q| (*q, seconds(quantile(&recent, *q)))).collect(),
        }
    }

    /// The longest of lately.
    pub fn recent_max(&self, uptime: Duration) -> Duration {
        let now = window_number(uptime);
        let fresh = self.windows.iter().filter(|it| it.number.load(Relaxed) + 1 >= now);
        let max = fresh.map(|it| it.max_micros.load(Relaxed)).max().unwrap_or(0);
        Duration::from_micros(max)
    }
}

fn window_number(uptime: Duration) -> u64 {
    uptime.as_secs() / WINDOW.as_secs() + 1
}

fn micros_rounded_up(took: Duration) -> u64 {
    u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX).min(1 << 31)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// The bucket of a duration: a power of two is the last value of its bucket.
fn index(micros: u64) -> usize {
    let value = micros.saturating_sub(1);
    if value < PER_OCTAVE as u64 {
        return value as usize;
    }
    let octave = u64::BITS - 1 - value.leading_zeros();
    let shift = octave - PER_OCTAVE_BITS;
    let within = (value >> shift) as usize - PER_OCTAVE;
    ((shift as usize + 1) * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// The largest duration that belongs into a bucket, in microseconds.
fn upper_bound(at: usize) -> u64 {
    if at < PER_OCTAVE {
        return at as u64 + 1;
    }
    let shift = at / PER_OCTAVE - 1;
    let within = at % PER_OCTAVE;
    ((PER_OCTAVE + within + 1) as u64) << shift
}

fn quantile(counts: &[u64], q: f64) -> u64 {
    let total: u64 = counts.iter().sum();
    let wanted = (q * total as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    for (at, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= wanted {
            return upper_bound(at);
        }
    }
    0
}

/// A sum and a count over the last half to whole minute, for averages, maxima and rates as Kafka's
/// metrics library computes them (two samples of 30 seconds).
#[derive(Debug, Default)]
pub struct Recent {
    slots: [Slot; 2],
    /// Of all time.
    total: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    number: AtomicU64,
    sum: AtomicU64,
    count: AtomicU64,
    max: AtomicU64,
}

/// Seconds of one sample.
const SAMPLE_SECS: u64 = 30;

impl Recent {
    /// Adds a value; its unit is the caller's.
    pub fn record(&self, uptime: Duration, value: u64) {
        let number = uptime.as_secs() / SAMPLE_SECS + 1;
        let slot = &self.slots[(number % 2) as usize];
        if slot.number.swap(number, Relaxed) != number {
            slot.sum.store(0, Relaxed);
            slot.count.store(0, Relaxed);
            slot.max.store(0, Relaxed);
        }
        slot.sum.fetch_add(value, Relaxed);
        slot.count.fetch_add(1, Relaxed);
        slot.max.fetch_max(value, Relaxed);
        self.total.fetch_add(value, Relaxed);
    }

    fn fresh(&self, uptime: Duration) -> impl Iterator<Item = &Slot> {
        let number = uptime.as_secs() / SAMPLE_SECS + 1;
        self.slots.iter().filter(move |it| {
            let slot = it.number.load(Relaxed);
            slot > 0 && slot + 1 >= number
        })
    }

    /// The mean of lately; nothing if nothing was recorded.
    pub fn average(&self, uptime: Duration) -> Option<f64> {
        let (sum, count) = self
            .fresh(uptime)
            .map(|it| (it.sum.load(Relaxed), it.count.load(Relaxed)))
            .fold((0, 0), |(sum, count), (s, c)| (sum + s, count + c));
        (count > 0).then(|| sum as f64 / count as f64)
    }

    /// The largest of lately; nothing if nothing was recorded.
    pub fn max(&self, uptime: Duration) -> Option<u64> {
        self.fresh(uptime).map(|it| it.max.load(Relaxed)).max()
    }

    /// Value per second, lately.
    pub fn per_second(&self, uptime: Duration) -> f64 {
        let sum: u64 = self.fresh(uptime).map(|it| it.sum.load(Relaxed)).sum();
        let uptime = uptime.as_secs_f64();
        let sample = SAMPLE_SECS as f64;
        sum as f64 / (sample + uptime % sample).min(uptime.max(1.0))
    }

    /// The sum of all time.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_powers_of_two_end_one() {
        for micros in 1..=100_000u64 {
            let at = index(micros);
            assert!(micros <= upper_bound(at), "{micros}");
            assert!(at == 0 || micros > upper_bound(at - 1), "{micros}");
        }
        for octave in 2..31 {
            assert_eq!(upper_bound(index(1 << octave)), 1 << octave);
        }
        assert_eq!(index(1 << 31), BUCKETS - 1);
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn distributions_count_sum_and_rank() {
        let histogram = Histogram::default();
        let up = Duration::from_secs(7);
        for millis in 1..=100 {
            histogram.record(up, Duration::from_millis(millis));
        }
        let read = histogram.read(up, &[0.5, 0.99]);
        assert_eq!(read.count, 100);
        assert!((read.sum_seconds - 5.05).abs() < 1e-9);
        assert_eq!(read.max_seconds, 0.1);
        let at = |bound: f64| read.cumulative.iter().find(|it| it.0 == bound).unwrap().1;
        assert_eq!((at(0.001_024), at(0.065_536), at(0.131_072)), (1, 65, 100));
        assert!((0.05..0.06).contains(&read.quantiles[0].1), "{:?}", read.quantiles);
        assert!((0.099..0.12).contains(&read.quantiles[1].1), "{:?}", read.quantiles);
        assert_eq!(histogram.recent_max(up), Duration::from_millis(100));
    }

    #[test]
    fn quantiles_and_recent_values_forget() {
        let (histogram, recent) = (Histogram::default(), Recent::default());
        histogram.record(Duration::from_secs(1), Duration::from_secs(1));
        recent.record(Duration::from_secs(1), 300);
        let later = Duration::from_secs(300);
        assert_eq!(histogram.read(later, &[0.5]).quantiles, [(0.5, 0.0)]);
        assert_eq!(histogram.read(later, &[]).count, 1);
        assert_eq!((recent.average(later), recent.max(later)), (None, None));
        assert_eq!((recent.per_second(later), recent.total()), (0.0, 300));
        recent.record(later, 60);
        assert_eq!(recent.average(later), Some(60.0));
        assert_eq!(recent.per_second(later), 2.0);
        // A window of its own number, but of a turn long past, is emptied first.
        histogram.record(later, Duration::from_millis(1));
        assert!(histogram.read(later, &[0.99]).quantiles[0].1 < 0.002);
    }

    #[test]
    fn an_empty_histogram_reads_as_nothing() {
        let read = Histogram::default().read(Duration::ZERO, &[0.5]);
        assert_eq!((read.count, read.max_seconds), (0, 0.0));
        assert_eq!(read.quantiles, [(0.5, 0.0)]);
    }
}
