//! Moments on the command line and in lines: UTC, to the millisecond.

use crate::shadow::given::duration;

/// `2026-11-22`, `2026-11-22T22:38`, `2026-11-22T22:38:25.123Z` (a blank for the `T` will do), all in
/// UTC, or so long ago: `90s`, `30m`, `12h`, `7d`. In milliseconds since the Unix epoch.
pub fn parse(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(ms) = parse_utc(text) {
        return Some(ms);
    }
    let ago = duration(text).ok()?;
    now_ms.checked_sub(i64::try_from(ago.as_millis()).ok()?)
}

/// The same without the durations.
pub fn parse_utc(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let mut date = date.splitn(3, '-').map(|part| number(part, 4));
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (hour_and_minute, seconds) = match time.match_indices(':').nth(1) {
        Some((at, _)) => (&time[..at], &time[at + 1..]),
        None => (time, "0"),
    };
    let (hour, minute) = hour_and_minute.split_once(':')?;
    let (hour, minute) = (number(hour, 2)?, number(minute, 2)?);
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = number(second, 2)?;
    let fraction_ms = number(&format!("{fraction:0<3}"), 3)?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1000 + fraction_ms)
}

/// Up to so many digits and nothing else.
fn number(text: &str, digits_max: usize) -> Option<i64> {
    let well_formed = (1..=digits_max).contains(&text.len());
    let well_formed = well_formed && text.bytes().all(|it| it.is_ascii_digit());
    well_formed.then(|| text.parse().ok()).flatten()
}

/// Of the Gregorian calendar, whose years are counted from March on, so that the leap day is last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_server::audit::line;

    #[test]
    fn what_is_written_is_read_back() {
        for ms in [0, 1, 951_782_400_000, 1_795_387_105_123, 1_709_164_799_999, 4_102_444_800_000] {
            assert_eq!(parse_utc(&line::time(ms)), Some(ms), "{}", line::time(ms));
        }
        assert_eq!(parse_utc("2026-11-22"), parse_utc("2026-11-22 00:00:00.000"));
        assert_eq!(parse_utc("2026-11-22T22:38"), Some(1_795_387_080_000));
    }

    #[test]
    fn ago_and_nonsense() {
        assert_eq!(parse("90s", 100_000), Some(10_000));
        for nonsense in ["", "soon", "2026-13-01", "2026-1", "2026-11-22T24:00", "1d2h", "-5m"] {
            assert_eq!(parse(nonsense, 0), None, "{nonsense}");
        }
    }
}
