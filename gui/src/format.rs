// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers and times as people read them. Pure, but for the time zone.

use gtk4::glib;
use picosnitch_api::tongue::{decimal, fill, say_n, tr};

use crate::range::{DAY, HOUR};

/// Units of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Units {
    /// Powers of 1024: KiB, MiB.
    #[default]
    Iec,
    /// Powers of 1000: kB, MB.
    Si,
}

impl Units {
    /// How far apart two units are.
    pub fn step(self) -> f64 {
        match self {
            Units::Iec => 1024.0,
            Units::Si => 1000.0,
        }
    }

    fn names(self) -> [&'static str; 6] {
        match self {
            Units::Iec => ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
            Units::Si => ["kB", "MB", "GB", "TB", "PB", "EB"],
        }
    }

    /// A number of bytes.
    pub fn bytes(self, count: u64) -> String {
        let mut value = count as f64;
        let mut unit = None;
        for name in self.names() {
            // What would round to the next unit is written in it.
            if value < self.step() - 0.05 {
                break;
            }
            value /= self.step();
            unit = Some(name);
        }
        match unit {
            None => format!("{count} B"),
            Some(unit) if value >= 99.95 => format!("{value:.0} {unit}"),
            Some(unit) => format!("{value:.1} {unit}").replace('.', decimal()),
        }
    }
}

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
    fill(picosnitch_api::tongue::tr_n("{n} connection", "{n} connections", number), &[("n", &count(number))])
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
    if midnight(time) == midnight(glib::real_time()) { clock(time) } else { moment(time) }
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
    } else if since < 6 * DAY {
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
    fn bytes_in_both_units() {
        for (bytes, iec, si) in [
            (0, "0 B", "0 B"),
            (999, "999 B", "999 B"),
            (1000, "1000 B", "1.0 kB"),
            (1024, "1.0 KiB", "1.0 kB"),
            (1536, "1.5 KiB", "1.5 kB"),
            (1_048_575, "1.0 MiB", "1.0 MB"),
            (150_000_000, "143 MiB", "150 MB"),
            (u64::MAX, "16.0 EiB", "18.4 EB"),
        ] {
            assert_eq!(Units::Iec.bytes(bytes), iec);
            assert_eq!(Units::Si.bytes(bytes), si);
        }
    }

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
    fn recent_is_said_as_recent() {
        let now = 1_700_000_000_000_000;
        assert_eq!(ago(now, now), "now");
        assert_eq!(ago(now + 5_000_000, now), "now", "a clock that is a little off");
        assert_eq!(ago(now - 120_000_000, now), "2 min ago");
        assert_eq!(ago(now - 9 * DAY, now).len(), 10);
    }
}
