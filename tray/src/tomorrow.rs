// SPDX-License-Identifier: GPL-3.0-or-later
//! When tomorrow begins for the person: by the C library, which knows the time zone's rules.
#![allow(unsafe_code)] // localtime_r and mktime are the C library's.

/// Six in the morning of the next day, µs since the epoch; a day from now if the zone is not known.
pub fn morning(now: i64) -> i64 {
    let seconds: libc::time_t = now / 1_000_000;
    let fallback = now.saturating_add(24 * 3600 * 1_000_000);
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
