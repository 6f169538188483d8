// SPDX-License-Identifier: GPL-3.0-or-later
//! When a page is asked for again because more was recorded. Pure: times are arguments, µs since the epoch.

/// Pages are asked anew when something is recorded, but no more often than this, in µs.
const PAUSE: i64 = 8_000_000;
/// The same while there is nothing on the page, in µs. Held pages are looked at again as often.
const PAUSE_EMPTY: i64 = 1_000_000;
/// The same on the live page, which only asks for what is newer, in µs.
const PAUSE_LIVE: i64 = 500_000;

/// How the page is that is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Page {
    /// There is nothing on it.
    pub empty: bool,
    /// Somebody points at it, or chose something of it: it holds still.
    pub held: bool,
    /// The live page; it says itself whether it holds still.
    pub live: bool,
    /// Answers for it are on their way. Asking again now would let nobody wait for them any more: with a
    /// monitor that takes longer to answer than the pause is, none would ever be shown.
    pub open: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: there is nothing new, or what is under way leads here again.
    Rest,
    /// Ask for it.
    Ask,
    /// Look again after so many µs.
    Wait(i64),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pace {
    /// More is recorded than the page was asked for.
    behind: bool,
    asked: i64,
    /// When somebody looks again.
    waits: Option<i64>,
}

impl Pace {
    /// Something was recorded.
    pub fn recorded(&mut self) {
        self.behind = true;
    }

    /// The page is asked for, with all that is recorded until now.
    pub fn asked(&mut self, now: i64) {
        (self.behind, self.asked) = (false, now);
    }

    /// What was waited for since [`Next::Wait`] is over.
    pub fn waited(&mut self) {
        self.waits = None;
    }

    /// What to do for this page: after something was recorded, an answer came, or a wait is over.
    pub fn next(&mut self, page: Page, now: i64) -> Next {
        // The last answer leads here again.
        if !self.behind || (page.open && !page.live) {
            return Next::Rest;
        }
        let pause = match page {
            Page { live: true, .. } => PAUSE_LIVE,
            Page { empty: true, .. } => PAUSE_EMPTY,
            _ => PAUSE,
        };
        let rest = self.asked + pause - now;
        if rest <= 0 && (page.live || page.empty || !page.held) {
            return Next::Ask;
        }
        let rest = rest.max(if page.live { PAUSE_LIVE } else { PAUSE_EMPTY });
        // One who looks sooner is enough; a page that was left may have been in less of a hurry.
        if self.waits.is_some_and(|at| at <= now + rest) {
            return Next::Rest;
        }
        self.waits = Some(now + rest);
        Next::Wait(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Times at which an answer was shown in a minute, in seconds, while something is recorded all the time
    /// and an answer takes so many ms. The page is empty until then.
    fn shown(answer: i64) -> Vec<i64> {
        let (mut pace, mut open, mut wake) = (Pace::default(), Some(0), None);
        let mut shown = Vec::new();
        for now in (0..60 * SECOND).step_by(100_000) {
            if open.is_some_and(|asked| now - asked >= answer * 1000) {
                open = None;
                shown.push(now / SECOND);
            }
            if wake.is_some_and(|at| now >= at) {
                wake = None;
                pace.waited();
            }
            pace.recorded();
            // The first answer had nothing in it.
            let page = Page { empty: shown.len() < 2, open: open.is_some(), ..Page::default() };
            match pace.next(page, now) {
                Next::Ask => {
                    pace.asked(now);
                    open = Some(now);
                }
                Next::Wait(rest) => wake = Some(now + rest),
                Next::Rest => {}
            }
        }
        shown
    }

    #[test]
    fn d05_answers_are_shown_however_long_they_take() {
        assert_eq!(shown(100)[..4], [0, 1, 9, 17]);
        assert_eq!(shown(3000)[..4], [3, 6, 14, 22]);
        assert_eq!(shown(9000)[..4], [9, 18, 27, 36]);
    }

    #[test]
    fn d05_a_page_without_anything_does_not_wait_for_the_pause_of_a_full_one() {
        let mut pace = Pace::default();
        pace.asked(0);
        pace.recorded();
        let page = Page::default();
        assert_eq!(pace.next(Page { open: true, ..page }, SECOND), Next::Rest, "the answer comes first");
        assert_eq!(pace.next(Page { held: true, ..page }, 2 * SECOND), Next::Wait(6 * SECOND));
        assert_eq!(pace.next(page, 2 * SECOND), Next::Rest, "somebody looks again already");
        // Another page, or the same without its rows.
        let empty = Page { empty: true, ..page };
        assert_eq!(pace.next(empty, 2 * SECOND), Next::Ask);
        pace.asked(2 * SECOND);
        assert_eq!(pace.next(empty, 4 * SECOND), Next::Rest, "nothing was recorded since");
        pace.recorded();
        assert_eq!(pace.next(empty, 2_500_000), Next::Wait(SECOND));
    }

    #[test]
    fn d05_a_held_page_is_looked_at_again_and_the_live_page_asks_at_once() {
        let mut pace = Pace::default();
        pace.recorded();
        let held = Page { held: true, ..Page::default() };
        assert_eq!(pace.next(held, 9 * SECOND), Next::Wait(SECOND));
        pace.waited();
        assert_eq!(pace.next(held, 10 * SECOND), Next::Wait(SECOND));
        pace.waited();
        assert_eq!(pace.next(Page { held: false, ..held }, 11 * SECOND), Next::Ask);
        let live = Page { live: true, held: true, open: true, ..Page::default() };
        assert_eq!(pace.next(live, 11 * SECOND), Next::Ask);
        pace.asked(11 * SECOND);
        pace.recorded();
        assert_eq!(pace.next(live, 11 * SECOND + 200_000), Next::Wait(500_000));
    }
}
