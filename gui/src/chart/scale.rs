// SPDX-License-Identifier: GPL-3.0-or-later
//! The numbers of the chart: what is stacked on what, where the ticks are, what is under the pointer. Pure.

use picosnitch_api::row::{Point, Series};

/// Lines that have a colour of their own; the rest is one more.
pub const LINES: usize = 8;

/// One colour of the chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Value of the dimension; `None` is all others together.
    pub key: Option<String>,
    /// Sent and received in each step.
    pub steps: Vec<(u64, u64)>,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Data {
    /// Start of each step, µs since the epoch, evenly spaced.
    pub times: Vec<i64>,
    /// Length of a step.
    pub width: i64,
    /// Largest first.
    pub lines: Vec<Line>,
    /// When programs were new or changed, and which.
    pub markers: Vec<(i64, bool, String)>,
}

impl Data {
    /// From the series of the largest values and the series of everything, of which the rest is made.
    pub fn new(top: Vec<Series>, everything: &[Series], markers: Vec<(i64, bool, String)>) -> Self {
        let times: Vec<i64> = top
            .first()
            .or(everything.first())
            .map(|series| series.points.iter().map(|point| point.time).collect())
            .unwrap_or_default();
        let width = match times[..] {
            [first, second, ..] => second - first,
            _ => 1_000_000,
        };
        let sum = |series: &[Series], at: usize, bytes: fn(&Point) -> u64| {
            series.iter().filter_map(|line| line.points.get(at)).map(bytes).fold(0, u64::saturating_add)
        };
        let shown = &top[..top.len().min(LINES)];
        let rest: Vec<(u64, u64)> = (0..times.len())
            .map(|at| {
                let left = |bytes: fn(&Point) -> u64| {
                    sum(everything, at, bytes).saturating_sub(sum(shown, at, bytes))
                };
                (left(|point| point.sent), left(|point| point.received))
            })
            .collect();
        let mut lines: Vec<Line> = shown
            .iter()
            .map(|series| Line {
                key: Some(series.key.clone()),
                steps: series.points.iter().map(|point| (point.sent, point.received)).collect(),
            })
            .collect();
        if rest.iter().any(|(sent, received)| sent + received > 0) {
            lines.push(Line { key: None, steps: rest });
        }
        Self { times, width, lines, markers }
    }

    /// Sent and received of all lines together in a step.
    pub fn total(&self, step: usize) -> (u64, u64) {
        self.lines
            .iter()
            .filter_map(|line| line.steps.get(step))
            .fold((0, 0), |sum, add| (u64::saturating_add(sum.0, add.0), u64::saturating_add(sum.1, add.1)))
    }

    /// The largest step: sent, received.
    pub fn peak(&self) -> (u64, u64) {
        (0..self.times.len())
            .map(|step| self.total(step))
            .fold((0, 0), |peak, step| (peak.0.max(step.0), peak.1.max(step.1)))
    }

    /// The step that a share of the width (0 to 1) is in.
    pub fn step_at(&self, share: f64) -> Option<usize> {
        let last = self.times.len().checked_sub(1)?;
        Some(((share.clamp(0.0, 1.0) * self.times.len() as f64) as usize).min(last))
    }

    /// First and last moment of the chart.
    pub fn span(&self) -> (i64, i64) {
        match (self.times.first(), self.times.last()) {
            (Some(first), Some(last)) => (*first, last + self.width),
            _ => (0, 0),
        }
    }

    /// The moment at a share of the width.
    pub fn time_at(&self, share: f64) -> i64 {
        let (first, last) = self.span();
        first + ((last - first) as f64 * share.clamp(0.0, 1.0)) as i64
    }

    /// The share of the width that a moment is at.
    pub fn share_of(&self, time: i64) -> f64 {
        let (first, last) = self.span();
        if last == first { 0.0 } else { (time - first) as f64 / (last - first) as f64 }
    }
}

/// A distance between value ticks that reads well: 1, 2 or 5 times a power of ten (or of two for
/// 1024-based units), so that about `wanted` fit below `peak`.
pub fn value_step(peak: u64, wanted: u64, base: f64) -> u64 {
    let rough = (peak as f64 / wanted.max(1) as f64).max(1.0);
    let mut unit = 1.0;
    while rough / unit >= base {
        unit *= base;
    }
    let steps: &[f64] = if base > 1000.0 {
        &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]
    } else {
        &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
    };
    let step = steps.iter().copied().find(|step| step * unit >= rough).unwrap_or(base);
    // A float as large as u64::MAX saturates.
    (step * unit) as u64
}

/// A distance between time ticks that reads well, in µs, so that no more than `most` fit.
pub fn time_step(span: i64, most: i64) -> i64 {
    const SECOND: i64 = 1_000_000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const STEPS: [i64; 22] = [
        SECOND,
        5 * SECOND,
        10 * SECOND,
        15 * SECOND,
        30 * SECOND,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        4 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        2 * DAY,
        7 * DAY,
        14 * DAY,
        30 * DAY,
        90 * DAY,
    ];
    let most = most.max(1);
    STEPS.into_iter().find(|step| span / step <= most).unwrap_or((span / most).max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn series(key: &str, steps: &[(u64, u64)]) -> Series {
        let point = |(at, (sent, received)): (usize, &(u64, u64))| Point {
            time: at as i64 * 10,
            sent: *sent,
            received: *received,
        };
        Series { key: key.into(), points: steps.iter().enumerate().map(point).collect() }
    }

    #[test]
    fn the_rest_is_everything_less_what_is_shown() {
        let top: Vec<_> = (0..10).map(|n| series(&n.to_string(), &[(n, 1), (0, 2)])).collect();
        let all = [series("tcp", &[(50, 10), (0, 20)]), series("udp", &[(1, 1), (0, 0)])];
        let data = Data::new(top, &all, vec![]);
        assert_eq!(data.lines.len(), LINES + 1);
        assert_eq!(data.lines[LINES].key, None);
        assert_eq!(data.lines[LINES].steps, [(51 - 28, 11 - 8), (0, 20 - 16)]);
        assert_eq!(data.total(0), (51, 11));
        assert_eq!(data.peak(), (51, 20));
        assert_eq!(data.width, 10);
        assert_eq!(data.span(), (0, 20));
    }

    #[test]
    fn what_is_under_the_pointer() {
        let data = Data::new(vec![series("a", &[(1, 1), (2, 2), (3, 3), (4, 4)])], &[], vec![]);
        assert_eq!(data.step_at(0.0), Some(0));
        assert_eq!(data.step_at(0.26), Some(1));
        assert_eq!(data.step_at(1.0), Some(3));
        assert_eq!(data.step_at(7.0), Some(3));
        assert_eq!(data.time_at(0.5), 20);
        assert!((data.share_of(20) - 0.5).abs() < 1e-9);
        assert_eq!(Data::default().step_at(0.5), None);
    }

    #[test]
    fn ticks_are_few_and_round() {
        for peak in [0, 1, 7, 999, 1000, 1024, 5_000_000, 123_456_789_012, u64::MAX] {
            for base in [1000.0, 1024.0] {
                let step = value_step(peak, 4, base);
                assert!(step >= 1 && peak / step <= 4, "{peak} {base}: {step}");
            }
        }
        assert_eq!(value_step(4096, 4, 1024.0), 1024);
        assert_eq!(value_step(4000, 4, 1000.0), 1000);
        assert_eq!(time_step(3_600_000_000, 6), 600_000_000);
        assert_eq!(time_step(86_400_000_000, 6), 14_400_000_000);
        for span in [1, 1_000_000, 1 << 50] {
            assert!(span / time_step(span, 6) <= 7);
        }
    }
}
