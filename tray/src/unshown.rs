// SPDX-License-Identifier: GPL-3.0-or-later
//! What could not be shown, and when that is tried again. Pure, with the times of [`crate::policy`].

use std::collections::{BTreeMap, BTreeSet};

const SECOND: i64 = 1_000_000;
/// Wait before the second try; twice as long before the next, and so on up to [`LONGEST`].
const WAIT: i64 = 20 * SECOND;
const LONGEST: i64 = 3600 * SECOND;
/// Numbers of notices that are kept, the newest.
const MOST: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct Unshown {
    /// Numbers of notices, and whether they waited for somebody before.
    events: BTreeMap<i64, bool>,
    /// When it is tried again, and how long to wait after that.
    again: Option<(i64, i64)>,
}

impl Unshown {
    /// A toast about these, that `waited` for somebody before, failed. True if the one before did not.
    pub fn failed(&mut self, events: &[i64], waited: bool, now: i64) -> bool {
        if events.is_empty() {
            return false;
        }
        self.events.extend(events.iter().map(|event| (*event, waited)));
        while self.events.len() > MOST {
            self.events.pop_first();
        }
        let news = self.again.is_none();
        let (at, wait) = self.again.unwrap_or((now, WAIT));
        // Of the toasts of one try, and of those until the next, the first says that the server fails.
        if at <= now {
            self.again = Some((now + wait, (wait * 2).min(LONGEST)));
        }
        news
    }

    /// A toast about these is on the screen, and so may be the others.
    pub fn shown(&mut self, events: &[i64], now: i64) {
        self.events.retain(|event, _| !events.contains(event));
        let left = self.again.filter(|_| !self.events.is_empty());
        self.again = left.map(|(at, wait)| (at.min(now), wait));
    }

    /// Another server shows toasts.
    pub fn at_once(&mut self, now: i64) {
        self.again = self.again.map(|_| (now, WAIT));
    }

    /// These were marked as seen.
    pub fn seen(&mut self, events: &BTreeSet<i64>) {
        let before = self.events.len();
        self.events.retain(|event, _| !events.contains(event));
        // What is under way is none of them, and says itself how it ends.
        if before > 0 && self.events.is_empty() {
            self.again = None;
        }
    }

    /// When to try again.
    pub fn due(&self) -> Option<i64> {
        self.again.map(|(at, _)| at).filter(|_| !self.events.is_empty())
    }

    /// All of them, to be tried again: those that waited for somebody before, and the others.
    pub fn take(&mut self) -> (Vec<i64>, Vec<i64>) {
        let (waited, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.events).into_iter().partition(|(_, waited)| *waited);
        let numbers = |events: Vec<(i64, bool)>| events.into_iter().map(|(event, _)| event).collect();
        (numbers(waited), numbers(others))
    }

    /// Nothing of what was taken is tried.
    pub fn rest(&mut self) {
        self.again = None;
    }

    /// Their numbers.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        self.events.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1000 * SECOND;

    #[test]
    fn d02_the_wait_grows_with_each_try_and_not_with_each_toast() {
        let mut unshown = Unshown::default();
        assert!(unshown.failed(&[1], false, NOW));
        assert!(!unshown.failed(&[2], true, NOW + 5 * SECOND));
        assert!(!unshown.failed(&[3], false, NOW + 10 * SECOND));
        assert_eq!(unshown.due(), Some(NOW + 20 * SECOND));
        // The second try: two toasts.
        let second = NOW + 20 * SECOND;
        assert_eq!(unshown.take(), (vec![2], vec![1, 3]));
        assert_eq!(unshown.due(), None, "it is under way");
        unshown.failed(&[1], false, second + 5 * SECOND);
        unshown.failed(&[2, 3], false, second + 10 * SECOND);
        assert_eq!(unshown.due(), Some(second + 45 * SECOND));
        for _ in 0..20 {
            let due = unshown.due().unwrap_or_default();
            let (_, events) = unshown.take();
            unshown.failed(&events, false, due);
            assert!(unshown.due().is_some_and(|next| next <= due + LONGEST));
        }
        // Somebody shows toasts again.
        unshown.failed(&[4], false, second + 60 * SECOND);
        unshown.shown(&[4], second + 61 * SECOND);
        assert_eq!(unshown.due(), Some(second + 61 * SECOND), "the others are tried as well");
        unshown.shown(&[1, 2, 3], second + 62 * SECOND);
        assert_eq!((unshown.due(), unshown.failed(&[5], false, NOW)), (None, true));
    }

    #[test]
    fn d02_another_server_is_tried_at_once() {
        let mut unshown = Unshown::default();
        unshown.at_once(NOW);
        assert_eq!(unshown.due(), None, "nothing to show");
        unshown.failed(&[1, 2], false, NOW);
        unshown.at_once(NOW + SECOND);
        assert_eq!(unshown.due(), Some(NOW + SECOND));
        unshown.seen(&[1, 2].into());
        assert_eq!(unshown.due(), None, "seen in the window");
        let later = NOW + 600 * SECOND;
        assert!(unshown.failed(&[3], false, later), "it is another trouble");
        assert_eq!(unshown.due(), Some(later + WAIT));
        // Something else is seen while a try is under way.
        let _ = unshown.take();
        unshown.seen(&[3].into());
        unshown.failed(&[4], false, later + WAIT);
        assert_eq!(unshown.due(), Some(later + 3 * WAIT));
    }

    #[test]
    fn d02_what_tells_of_no_notice_is_not_waited_for() {
        let mut unshown = Unshown::default();
        assert!(!unshown.failed(&[], false, NOW));
        assert!(unshown.failed(&[1], false, NOW + 500 * SECOND));
        assert_eq!(unshown.due(), Some(NOW + 500 * SECOND + WAIT));
    }
}
