// SPDX-License-Identifier: GPL-3.0-or-later
//! Times as people write and read them: local, with the date where it is not today's.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use picosnitch_api::query::parse_time;

/// What a time on the command line may look like, for messages and help.
pub const FORMS: &str = "-24h, -7d, today, yesterday, 14:30, 2026-01-31, \"2026-01-31 14:30\", now, \
     RFC 3339 or µs since the epoch";

/// Now, µs since the epoch.
pub fn now() -> i64 {
    Utc::now().timestamp_micros()
}

/// Reads a time as a person writes it, in `zone`; the result in µs since the epoch. `now` in the same.
pub fn parse<Tz: TimeZone>(text: &str, now: i64, zone: &Tz) -> Option<i64> {
    let text = text.trim();
    if let Some(time) = parse_time(text, now) {
        return Some(time);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let today = at(now, zone)?.date_naive();
    let local = match text {
        "today" => today.and_time(NaiveTime::MIN),
        "yesterday" => today.pred_opt()?.and_time(NaiveTime::MIN),
        _ => clock(text)
            .map(|time| today.and_time(time))
            .or_else(|| {
                NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| day.and_time(NaiveTime::MIN))
            })
            .or_else(|| {
                let (day, time) = text.split_once([' ', 'T'])?;
                Some(NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?.and_time(clock(time)?))
            })?,
    };
    Some(from_local(local, zone)?.timestamp_micros())
}

fn clock(text: &str) -> Option<NaiveTime> {
    NaiveTime::parse_from_str(text, "%H:%M").or_else(|_| NaiveTime::parse_from_str(text, "%H:%M:%S")).ok()
}

/// A local time that the clocks went through twice is the earlier one; one that they jumped over is an
/// hour later.
fn from_local<Tz: TimeZone>(local: NaiveDateTime, zone: &Tz) -> Option<DateTime<Tz>> {
    zone.from_local_datetime(&local)
        .earliest()
        .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest())
}

fn at<Tz: TimeZone>(time: i64, zone: &Tz) -> Option<DateTime<Tz>> {
    Some(DateTime::<Utc>::from_timestamp_micros(time)?.with_timezone(zone))
}

/// `14:30:05` if that is today, else `2026-01-31 14:30:05`.
pub fn show<Tz: TimeZone>(time: i64, now: i64, zone: &Tz) -> String
where
    Tz::Offset: std::fmt::Display,
{
    let Some(then) = at(time, zone) else { return "?".to_owned() };
    let same_day = at(now, zone).is_some_and(|now| now.date_naive() == then.date_naive());
    then.format(if same_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// `14:30:05` if that is today, else `2026-01-31`.
pub fn show_short<Tz: TimeZone>(time: i64, now: i64, zone: &Tz) -> String
where
    Tz::Offset: std::fmt::Display,
{
    let full = show(time, now, zone);
    full.split_once(' ').map_or(full.clone(), |(day, _)| day.to_owned())
}

/// A length of time in its two largest units: `45 s`, `16 min`, `3 h 20 min`, `12 d 4 h`. Takes µs.
pub fn span(length: i64) -> String {
    let seconds = length.max(0) / 1_000_000;
    let two = |big: i64, unit: &str, small: i64, rest: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {rest}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::FixedOffset;

    use super::*;

    fn zone() -> FixedOffset {
        FixedOffset::east_opt(2 * 3600).unwrap()
    }

    fn micros(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn times_are_read() {
        let now = micros("2026-03-10T00:30:00+02:00");
        for (text, time) in [
            ("now", "2026-03-10T00:30:00+02:00"),
            ("-24h", "2026-03-09T00:30:00+02:00"),
            ("-90s", "2026-03-10T00:28:30+02:00"),
            ("today", "2026-03-10T00:00:00+02:00"),
            ("yesterday", "2026-03-09T00:00:00+02:00"),
            ("14:30", "2026-03-10T14:30:00+02:00"),
            ("14:30:05", "2026-03-10T14:30:05+02:00"),
            ("2026-01-31", "2026-01-31T00:00:00+02:00"),
            ("2026-01-31 14:30", "2026-01-31T14:30:00+02:00"),
            ("2026-01-31T14:30:05", "2026-01-31T14:30:05+02:00"),
            ("2026-01-31T14:30:05Z", "2026-01-31T14:30:05Z"),
            (" 2026-01-31 ", "2026-01-31T00:00:00+02:00"),
        ] {
            assert_eq!(parse(text, now, &zone()), Some(micros(time)), "{text}");
        }
        assert_eq!(parse("1700000000000000", now, &zone()), Some(1_700_000_000_000_000));
        for wrong in
            ["", "soon", "-", "-h", "-1x", "25:00", "2026-13-01", "2026-01-31 x", "-99999999999h", "-é"]
        {
            assert_eq!(parse(wrong, now, &zone()), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_shown_with_the_date_as_needed() {
        let now = micros("2026-03-10T12:00:00+02:00");
        assert_eq!(show(micros("2026-03-10T00:30:00+02:00"), now, &zone()), "00:30:00");
        assert_eq!(show(micros("2026-03-09T23:59:59+02:00"), now, &zone()), "2026-03-09 23:59:59");
        assert_eq!(show_short(micros("2026-03-10T00:30:00+02:00"), now, &zone()), "00:30:00");
        assert_eq!(show_short(micros("2026-03-09T23:59:59+02:00"), now, &zone()), "2026-03-09");
        assert_eq!(show(i64::MAX, now, &zone()), "?");
    }

    #[test]
    fn spans() {
        for (seconds, text) in [
            (-5, "0 s"),
            (45, "45 s"),
            (16 * 60 + 59, "16 min"),
            (3 * 3600, "3 h"),
            (3 * 3600 + 20 * 60, "3 h 20 min"),
            (12 * 86_400 + 4 * 3600, "12 d 4 h"),
        ] {
            assert_eq!(span(seconds * 1_000_000), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text: String, now: i64, time: i64) {
            let _ = parse(&text, now, &zone());
            let _ = show(time, now, &zone());
        }
    }
}
