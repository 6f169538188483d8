// SPDX-License-Identifier: GPL-3.0-or-later
//! The clocks, by the C library, which also knows the time zone's rules.
#![allow(unsafe_code)] // clock_gettime, localtime_r and mktime are the C library's.

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value of ours.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

/// µs since the machine started, asleep or not. Nobody sets this clock.
pub fn now() -> i64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Wall clock, µs since the epoch: only for what is compared with times of the history or of the day.
pub fn wall() -> i64 {
    read(libc::CLOCK_REALTIME)
}

/// Six in the morning of the day after `wall`, µs since the epoch; a day from now if the zone is not known.
pub fn morning(wall: i64) -> i64 {
    let seconds: libc::time_t = wall / 1_000_000;
    let fallback = wall.saturating_add(24 * 3600 * 1_000_000);
    // SAFETY: a tm of zeros is a valid value of a plain C struct.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of ours.
    if unsafe { libc::localtime_r(&seconds, &mut parts) }.is_null() {
        return fallback;
    }
    parts.tm_mday += 1;
    parts.tm_hour = 6;
    parts.tm_min = 0;
    parts.tm_sec = 0;
    parts.tm_isdst = -1;
    // SAFETY: the pointer is to a live value of ours; mktime puts the day in order.
    match unsafe { libc::mktime(&mut parts) } {
        -1 => fallback,
        at => at.saturating_mul(1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tomorrow_is_ahead_and_near() {
        let now = 1_700_000_000_000_000;
        let ahead = morning(now) - now;
        assert!((6 * 3600 * 1_000_000..=31 * 3600 * 1_000_000).contains(&ahead), "{ahead}");
    }
}
