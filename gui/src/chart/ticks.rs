// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the ticks of the time axis stand: on hours, days and months of the clock on the wall, which are not all of
//! one length. Pure.

use gtk4::glib::{DateTime, TimeZone};

use crate::range::{DAY, HOUR};

/// Ticks further apart than this count months.
const MONTH: i64 = 28 * DAY;

/// Moments from the first to the last, in µs since the epoch, as far apart as that in µs. In the zone of the machine
/// if none is given.
pub fn ticks(first: i64, last: i64, apart: i64, zone: Option<&TimeZone>) -> Vec<i64> {
    let here = TimeZone::local();
    let zone = zone.unwrap_or(&here);
    let mut ticks: Vec<i64> = match apart {
        ..=0 => Vec::new(),
        apart if apart < HOUR => (first - first.rem_euclid(apart)..=last).step_by(apart as usize).collect(),
        apart if apart < DAY => hours(first, last, apart, zone),
        apart if apart < MONTH => days(first, last, apart / DAY, zone),
        // Months of thirty days.
        apart => months(first, last, (apart / (30 * DAY)).max(1), zone),
    };
    ticks.retain(|tick| (first..=last).contains(tick));
    // An hour that there is not is told as another one.
    ticks.dedup();
    ticks
}

fn local(time: i64, zone: &TimeZone) -> Option<DateTime> {
    DateTime::from_unix_utc(time.div_euclid(1_000_000)).and_then(|time| time.to_timezone(zone)).ok()
}

fn moment(time: &DateTime) -> i64 {
    time.to_unix() * 1_000_000
}

/// Midnight of the day of a moment.
fn midnight(time: i64, zone: &TimeZone) -> Option<DateTime> {
    let time = local(time, zone)?;
    DateTime::new(zone, time.year(), time.month(), time.day_of_month(), 0, 0, 0.0).ok()
}

/// Hours of each day, counted from its midnight.
fn hours(first: i64, last: i64, apart: i64, zone: &TimeZone) -> Vec<i64> {
    let mut ticks = Vec::new();
    let mut day = midnight(first, zone);
    while let Some(at) = day.filter(|day| moment(day) <= last) {
        let hour = |hour: i64| {
            let hour = i32::try_from(hour).ok()?;
            DateTime::new(zone, at.year(), at.month(), at.day_of_month(), hour, 0, 0.0).ok()
        };
        let step = (apart / HOUR).max(1) as usize;
        ticks.extend((0..24).step_by(step).filter_map(hour).map(|time| moment(&time)));
        day = at.add_days(1).ok();
    }
    ticks
}

fn days(first: i64, last: i64, apart: i64, zone: &TimeZone) -> Vec<i64> {
    let Some(start) = midnight(first, zone) else { return Vec::new() };
    let day = |count: i64| start.add_days(i32::try_from(count * apart).ok()?).ok();
    (0..).map_while(day).map(|day| moment(&day)).take_while(|day| *day <= last).collect()
}

fn months(first: i64, last: i64, apart: i64, zone: &TimeZone) -> Vec<i64> {
    let first =
        local(first, zone).and_then(|at| DateTime::new(zone, at.year(), at.month(), 1, 0, 0, 0.0).ok());
    let Some(start) = first else { return Vec::new() };
    let month = |count: i64| start.add_months(i32::try_from(count * apart).ok()?).ok();
    (0..).map_while(month).map(|month| moment(&month)).take_while(|month| *month <= last).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Central Europe, by the rule itself: summer time ends on 2026-10-25 and begins on 2026-03-29.
    fn zone() -> TimeZone {
        TimeZone::from_identifier(Some("CET-1CEST,M3.5.0,M10.5.0/3")).unwrap()
    }

    fn at(year: i32, month: i32, day: i32, hour: i32) -> i64 {
        moment(&DateTime::new(&zone(), year, month, day, hour, 0, 0.0).unwrap())
    }

    fn said(ticks: &[i64], format: &str) -> Vec<String> {
        let zone = zone();
        ticks.iter().map(|tick| local(*tick, &zone).unwrap().format(format).unwrap().to_string()).collect()
    }

    #[test]
    fn d05_days_are_days_when_the_clock_is_changed() {
        let ticks = ticks(at(2026, 10, 23, 12), at(2026, 10, 28, 12), DAY, Some(&zone()));
        let days = ["24 00:00", "25 00:00", "26 00:00", "27 00:00", "28 00:00"];
        assert_eq!(said(&ticks, "%d %H:%M"), days);
        let ticks = super::ticks(at(2026, 3, 27, 12), at(2026, 4, 2, 12), 2 * DAY, Some(&zone()));
        assert_eq!(said(&ticks, "%d %H:%M"), ["29 00:00", "31 00:00", "02 00:00"]);
    }

    #[test]
    fn d05_hours_are_those_of_the_clock() {
        let ticks = ticks(at(2026, 10, 24, 23), at(2026, 10, 25, 23), 4 * HOUR, Some(&zone()));
        assert_eq!(said(&ticks, "%H:%M"), ["00:00", "04:00", "08:00", "12:00", "16:00", "20:00"]);
        // Where there is no two o'clock, none is told twice.
        let ticks = super::ticks(at(2026, 3, 29, 0), at(2026, 3, 29, 5), HOUR, Some(&zone()));
        assert_eq!(said(&ticks, "%H:%M"), ["00:00", "01:00", "03:00", "04:00", "05:00"]);
        let ticks =
            super::ticks(at(2026, 3, 1, 0) + 90_000_000, at(2026, 3, 1, 0) + 400_000_000, 120_000_000, None);
        assert_eq!(said(&ticks, "%M"), ["02", "04", "06"]);
    }

    #[test]
    fn d05_months_are_told_once_each() {
        let ticks = ticks(at(2026, 1, 5, 0), at(2026, 12, 31, 0), 30 * DAY, Some(&zone()));
        let months = ["02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"];
        assert_eq!(said(&ticks, "%m"), months);
        assert!(said(&ticks, "%d %H").iter().all(|day| day == "01 00"));
        let ticks = super::ticks(at(2025, 1, 5, 0), at(2026, 12, 31, 0), 90 * DAY, Some(&zone()));
        assert_eq!(said(&ticks, "%m"), ["04", "07", "10", "01", "04", "07", "10"]);
    }
}
