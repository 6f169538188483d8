// SPDX-License-Identifier: GPL-3.0-or-later
//! The clocks, read together.

use nix::time::{ClockId, clock_gettime};

use crate::judge::Moment;

/// One moment on the clocks that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, µs since the epoch. May step.
    pub wall: i64,
    /// CLOCK_BOOTTIME, ns: what the kernel side stamps events with.
    pub boot: i64,
    /// CLOCK_MONOTONIC, ns: stands still while the machine sleeps.
    pub monotonic: i64,
}

fn read(clock: ClockId) -> i64 {
    // These clocks exist on every Linux; a failure would be a time of 0.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

impl Now {
    /// Reads the clocks.
    #[must_use]
    pub fn read() -> Now {
        Now {
            wall: read(ClockId::CLOCK_REALTIME) / 1000,
            boot: read(ClockId::CLOCK_BOOTTIME),
            monotonic: read(ClockId::CLOCK_MONOTONIC),
        }
    }

    /// Wall clock of an event, as the clock is set now. µs since the epoch.
    #[must_use]
    pub fn wall_of(&self, boot_ns: u64) -> i64 {
        let ago = self.boot.saturating_sub(i64::try_from(boot_ns).unwrap_or(self.boot)) / 1000;
        self.wall.saturating_sub(ago)
    }

    /// For the judge.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { wall: self.wall, monotonic: self.monotonic / 1000 }
    }

    /// How long the machine slept since `earlier`, µs.
    #[must_use]
    pub fn slept_since(&self, earlier: &Now) -> i64 {
        ((self.boot - self.monotonic) - (earlier.boot - earlier.monotonic)) / 1000
    }

    /// How far the wall clock was set, forwards or (negative) backwards, since `earlier`, µs.
    #[must_use]
    pub fn stepped_since(&self, earlier: &Now) -> i64 {
        (self.wall - self.boot / 1000) - (earlier.wall - earlier.boot / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Now = Now { wall: 1_000_000, boot: 5_000_000_000, monotonic: 4_000_000_000 };

    #[test]
    fn s06_a_step_of_the_clock_is_told_from_time_passing() {
        let later = Now { wall: 3_000_000, boot: 7_000_000_000, monotonic: 6_000_000_000 };
        assert_eq!((later.stepped_since(&BEFORE), later.slept_since(&BEFORE)), (0, 0));
        let stepped = Now { wall: 500_000, ..later };
        assert_eq!(stepped.stepped_since(&BEFORE), -2_500_000);
    }

    #[test]
    fn t31_sleep_shows_between_the_clocks() {
        let later = Now { wall: 11_000_000, boot: 15_000_000_000, monotonic: 5_000_000_000 };
        assert_eq!((later.stepped_since(&BEFORE), later.slept_since(&BEFORE)), (0, 9_000_000));
    }

    #[test]
    fn an_event_has_the_wall_time_of_its_moment() {
        assert_eq!(BEFORE.wall_of(4_999_000_000), 999_000);
        assert_eq!(BEFORE.wall_of(u64::MAX), BEFORE.wall);
    }
}
