// SPDX-License-Identifier: GPL-3.0-or-later
//! The time range that all pages share. Pure: now is an argument, µs since the epoch.

use picosnitch_api::tongue::{mark, tr};

/// An hour in µs.
pub const HOUR: i64 = 3_600_000_000;
/// A day in µs.
pub const DAY: i64 = 24 * HOUR;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The last hour.
    Hour,
    /// The last 24 hours.
    Day,
    /// The last 7 days.
    Week,
    /// The last 30 days.
    Month,
    /// The last 365 days.
    Year,
    /// Everything that is recorded.
    All,
    /// From here to there.
    Custom(i64, i64),
}

impl Range {
    /// Those that the menu offers, with what they are called.
    pub const PRESETS: [(Range, &'static str); 6] = [
        (Range::Hour, mark("Last hour")),
        (Range::Day, mark("Last 24 hours")),
        (Range::Week, mark("Last 7 days")),
        (Range::Month, mark("Last 30 days")),
        (Range::Year, mark("Last year")),
        (Range::All, mark("All time")),
    ];

    /// How long it is, where it ends now.
    fn length(self) -> Option<i64> {
        match self {
            Range::Hour => Some(HOUR),
            Range::Day => Some(DAY),
            Range::Week => Some(7 * DAY),
            Range::Month => Some(30 * DAY),
            Range::Year => Some(365 * DAY),
            Range::All | Range::Custom(..) => None,
        }
    }

    /// First and last moment; absent is without a bound.
    pub fn bounds(self, now: i64) -> (Option<i64>, Option<i64>) {
        match self {
            Range::Custom(since, until) => (Some(since), Some(until)),
            Range::All => (None, None),
            other => (other.length().map(|length| now - length), None),
        }
    }

    /// The period before it, as long as it.
    pub fn before(self, now: i64) -> Option<(i64, i64)> {
        match self {
            Range::Custom(since, until) => Some((since - (until - since), since)),
            other => other.length().map(|length| (now - 2 * length, now - length)),
        }
    }

    /// The part of it that a drag selected: in order, and never shorter than a second.
    pub fn zoom(from: i64, to: i64) -> Range {
        let (since, until) = (from.min(to), from.max(to));
        Range::Custom(since, until.max(since + 1_000_000))
    }

    /// This one, if it moves with the clock and reaches back to that moment; else the shortest one of a day or more that
    /// does.
    pub fn reaching(self, moment: i64, now: i64) -> Range {
        let reaches =
            |range: &Range| range.is_live() && range.bounds(now).0.is_none_or(|since| since <= moment);
        let presets = Self::PRESETS.iter().map(|(range, _)| *range).filter(|range| *range != Range::Hour);
        std::iter::once(self).chain(presets).find(reaches).unwrap_or(Range::All)
    }

    /// It moves with the clock, so that what is recorded now belongs to it.
    pub fn is_live(self) -> bool {
        !matches!(self, Range::Custom(..))
    }

    /// What it is called; `span` writes two moments.
    pub fn label(self, span: impl Fn(i64, i64) -> String) -> String {
        match self {
            Range::Custom(since, until) => span(since, until),
            preset => Self::PRESETS
                .iter()
                .find(|(known, _)| *known == preset)
                .map_or_else(String::new, |(_, label)| tr(label).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_before_touches_and_is_as_long() {
        let now = 1_700_000_000_000_000;
        for (range, _) in Range::PRESETS {
            let (since, until) = range.bounds(now);
            assert_eq!(until, None);
            match (since, range.before(now)) {
                (Some(since), Some((from, to))) => {
                    assert_eq!(to, since);
                    assert_eq!(to - from, now - since);
                }
                (None, None) => assert_eq!(range, Range::All),
                other => panic!("{range:?} {other:?}"),
            }
        }
        assert_eq!(Range::Custom(100, 130).before(now), Some((70, 100)));
    }

    #[test]
    fn a_drag_in_either_direction_is_the_same_range() {
        assert_eq!(Range::zoom(9_000_000, 5_000_000), Range::Custom(5_000_000, 9_000_000));
        assert_eq!(Range::zoom(5, 5), Range::Custom(5, 1_000_005));
    }

    #[test]
    fn d05_a_range_is_widened_until_a_moment_is_in_it() {
        let now = 1_700_000_000_000_000;
        assert_eq!(Range::Day.reaching(now - HOUR, now), Range::Day);
        assert_eq!(Range::Hour.reaching(now - 2 * HOUR, now), Range::Day);
        assert_eq!(Range::Custom(0, 1).reaching(now - 8 * DAY, now), Range::Month);
        assert_eq!(Range::Week.reaching(0, now), Range::All);
    }

    #[test]
    fn each_preset_has_a_name() {
        assert_eq!(Range::Day.label(|_, _| String::new()), "Last 24 hours");
        assert_eq!(Range::Custom(1, 2).label(|since, until| format!("{since} – {until}")), "1 – 2");
    }
}
