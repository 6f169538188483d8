// SPDX-License-Identifier: GPL-3.0-or-later
//! The time in which no monitor watched, as far as it can be known. A machine that goes down and comes up with its
//! monitor leaves none to speak of; when it went down, nothing here says.

use crate::model::{End, Last};

/// A monitor that starts so long after the machine does not start with it, µs.
const LATE: i64 = 300_000_000;

/// The sentence for it, if there is anything to say. `before`: what the last daemon has left; `booted` and `now`:
/// when the machine started and capture became live, µs since the epoch. A clock that was set back meanwhile leaves no
/// time to speak of.
pub(super) fn sentence(before: &Last, booted: i64, now: i64) -> Option<String> {
    let ago = |time: i64| now.saturating_sub(time).max(0) / 1_000_000;
    let since = ago(before.through);
    let what = match (before.same_boot.unwrap_or(before.through >= booted), before.end) {
        (true, Some(_)) => format!("for the last {since} s, up to now"),
        // It may have lived longer than it wrote.
        (true, None) => {
            format!("for the last {since} s or less, up to now, as the monitor did not end in order")
        }
        (false, Some(End::Alone)) => format!(
            "since the monitor was stopped {since} s ago; the machine, which went on, was started again {} s ago",
            ago(booted)
        ),
        (false, _) if now.saturating_sub(booted) >= LATE => {
            format!("for {} s, from the start of the machine up to now", ago(booted))
        }
        (false, _) => return None,
    };
    Some(format!("nobody watched {what}: connections of that time are not in the history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn said(through: i64, same_boot: Option<bool>, end: Option<End>, booted: i64) -> Option<String> {
        let last = Last { through: through * SECOND, same_boot, end };
        sentence(&last, booted * SECOND, 10_000 * SECOND)
    }

    #[test]
    fn a_monitor_that_comes_back_says_how_long_it_was_away() {
        for end in [End::Alone, End::WithMachine, End::Unknown] {
            let said = said(9_000, Some(true), Some(end), 100).unwrap_or_default();
            assert!(said.starts_with("nobody watched for the last 1000 s, up to now: "), "{said}");
        }
        let killed = said(9_000, Some(true), None, 100).unwrap_or_default();
        assert!(killed.starts_with("nobody watched for the last 1000 s or less, up to now, "), "{killed}");
        // Older databases do not say which start of the machine it was.
        assert!(said(9_000, None, None, 100).is_some());
        assert!(said(9_000, None, None, 9_990).is_none());
    }

    #[test]
    fn a_machine_that_starts_again_is_no_news() {
        for end in [None, Some(End::WithMachine), Some(End::Unknown)] {
            assert_eq!(said(5_000, Some(false), end, 9_980), None, "{end:?}");
        }
        // Nor by a clock that says nonsense until it is set.
        assert_eq!(said(90_000, Some(false), Some(End::WithMachine), 9_980), None);
    }

    #[test]
    fn a_machine_that_went_on_without_its_monitor_is() {
        let stopped = said(5_000, Some(false), Some(End::Alone), 9_980).unwrap_or_default();
        assert!(
            stopped.starts_with("nobody watched since the monitor was stopped 5000 s ago; ")
                && stopped.contains("again 20 s ago: "),
            "{stopped}"
        );
        let late = said(5_000, Some(false), Some(End::WithMachine), 9_000).unwrap_or_default();
        assert!(
            late.starts_with("nobody watched for 1000 s, from the start of the machine up to now"),
            "{late}"
        );
    }
}
