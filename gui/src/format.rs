// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers and times as people read them. Pure, but for the time zone.

use gtk4::glib;
pub use picosnitch_api::Units;
use picosnitch_api::row::Loss;
use picosnitch_api::tongue::{fill, say_n, tr, tr_n};

use crate::range::{DAY, HOUR};

/// A count with its thousands apart by a narrow space.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A whole number of days.
pub fn days(count: u64) -> String {
    say_n("{n} day", "{n} days", count)
}

/// A number of connections.
pub fn connections(number: u64) -> String {
    fill(tr_n("{n} connection", "{n} connections", number), &[("n", &count(number))])
}

/// How much of the record is lost, in what it is counted.
pub fn lost(kind: Loss, number: u64, units: Units) -> String {
    let (text, much) = match kind {
        Loss::Connections => (tr_n("{n} connection lost", "{n} connections lost", number), count(number)),
        Loss::Rows => (tr_n("{n} row lost", "{n} rows lost", number), count(number)),
        Loss::Events => (tr_n("{n} event lost", "{n} events lost", number), count(number)),
        Loss::Bytes => (tr("{n} lost"), units.bytes(number)),
    };
    fill(text, &[("n", &much)])
}

/// How much more or less it is than before: `▲ 12 %`; nothing where there was nothing to compare with.
pub fn change(now: u64, before: u64) -> Option<String> {
    if before == 0 {
        return None;
    }
    let percent = (now as f64 - before as f64) / before as f64 * 100.0;
    Some(if percent.abs() < 0.5 {
        tr("same as before").into()
    } else if percent >= 1000.0 {
        "▲ > 10 ×".into()
    } else if percent > 0.0 {
        format!("▲ {percent:.0} %")
    } else {
        format!("▼ {:.0} %", -percent)
    })
}

fn local(time: i64) -> Option<glib::DateTime> {
    glib::DateTime::from_unix_local(time.div_euclid(1_000_000)).ok()
}

fn written(time: i64, format: &str) -> String {
    local(time).and_then(|time| time.format(format).ok()).map(|text| text.to_string()).unwrap_or_default()
}

/// Day and time, to the second.
pub fn moment(time: i64) -> String {
    // Translators: day and time as the language writes them, in the words of strftime.
    written(time, tr("%Y-%m-%d %H:%M:%S"))
}

/// Day and time, to the minute.
pub fn minute(time: i64) -> String {
    written(time, tr("%Y-%m-%d %H:%M"))
}

/// Time of day.
pub fn clock(time: i64) -> String {
    written(time, tr("%H:%M:%S"))
}

/// Time of day, with the day before it where that is not today.
pub fn lately(time: i64) -> String {
    let now = glib::real_time();
    if midnight(time) == midnight(now) {
        clock(time)
    } else if is_recent(time, now) {
        written(time, tr("%a %H:%M:%S"))
    } else {
        moment(time)
    }
}

/// The name of its day says which one it is, before or after.
pub fn is_recent(time: i64, now: i64) -> bool {
    now.abs_diff(time) < (6 * DAY).unsigned_abs()
}

/// From one moment to another; the day is said once where it is the same, and not where it is today.
pub fn span(since: i64, until: i64) -> String {
    let (first, last) = (midnight(since), midnight(until));
    let clock = |time| written(time, tr("%H:%M"));
    if first != last {
        format!("{} – {}", minute(since), minute(until))
    } else if first == midnight(glib::real_time()) {
        format!("{} – {}", clock(since), clock(until))
    } else {
        format!("{} – {}", minute(since), clock(until))
    }
}

/// How long ago, or when: `now`, `2 min ago`, `14:02`, `Fri 14:02`, `2026-11-02`.
pub fn ago(time: i64, now: i64) -> String {
    let since = now - time;
    let minute = HOUR / 60;
    if since < minute / 2 {
        tr("now").into()
    } else if since < HOUR {
        let minutes = (since + minute / 2) / minute;
        say_n("{n} min ago", "{n} min ago", minutes.unsigned_abs())
    } else if midnight(time) == midnight(now) {
        written(time, tr("%H:%M"))
    } else if is_recent(time, now) {
        written(time, tr("%a %H:%M"))
    } else {
        written(time, tr("%Y-%m-%d"))
    }
}

/// What stands below a tick of a time axis whose ticks are so far apart.
pub fn tick(time: i64, apart: i64) -> String {
    let format = match apart {
        apart if apart < HOUR / 60 => tr("%H:%M:%S"),
        apart if apart < DAY => tr("%H:%M"),
        apart if apart < 28 * DAY => tr("%e %b"),
        _ => tr("%b %Y"),
    };
    written(time, format).trim_start().to_owned()
}

/// Local midnight of the day that it is in, or the moment itself if the zone is not known.
pub fn midnight(time: i64) -> i64 {
    local(time)
        .and_then(|time| {
            glib::DateTime::from_local(time.year(), time.month(), time.day_of_month(), 0, 0, 0.0).ok()
        })
        .map_or(time, |midnight| midnight.to_unix() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn a_change_is_only_said_where_there_is_one() {
        assert_eq!(change(5, 0), None);
        assert_eq!(change(112, 100).as_deref(), Some("▲ 12 %"));
        assert_eq!(change(50, 100).as_deref(), Some("▼ 50 %"));
        assert_eq!(change(1000, 1001).as_deref(), Some("same as before"));
        assert_eq!(change(u64::MAX, 1).as_deref(), Some("▲ > 10 ×"));
    }

    #[test]
    fn d05_what_is_lost_is_said_in_what_it_is_counted() {
        let says = |flows, bytes, rows| {
            let status = picosnitch_api::Status {
                lost_flows: Some(flows),
                lost_bytes: Some(bytes),
                lost_rows: Some(rows),
                ..Default::default()
            };
            status.most_lost().map(|(kind, count)| lost(kind, count, Units::Iec))
        };
        assert_eq!(says(0, 0, 0), None);
        assert_eq!(says(0, 1 << 20, 0).as_deref(), Some("1.0 MiB lost"));
        assert_eq!(says(1, 1 << 20, 0).as_deref(), Some("1 connection lost"));
        assert_eq!(says(1, 1 << 20, 2000).as_deref(), Some("2\u{202f}000 rows lost"));
    }

    #[test]
    fn recent_is_said_as_recent() {
        let now = 1_700_000_000_000_000;
        assert_eq!(ago(now, now), "now");
        assert_eq!(ago(now + 5_000_000, now), "now", "a clock that is a little off");
        assert_eq!(ago(now - 120_000_000, now), "2 min ago");
        assert_eq!(ago(now - 9 * DAY, now).len(), 10);
        assert!(is_recent(now + 5 * DAY, now) && !is_recent(now + 7 * DAY, now), "the end of a pause");
        assert!(!is_recent(i64::MIN, now));
    }
}
