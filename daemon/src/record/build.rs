// SPDX-License-Identifier: GPL-3.0-or-later
//! Wider totals are made from narrower ones once their time is over, one bucket in each step.

use rusqlite::{Connection as Database, Result};

use super::chunk::{self, BUILT, Reach, WIDTHS};

/// Makes the next bucket whose time is over; false if there is none. `now` in µs. A clock that was wrong for an
/// hour does no harm: rows that come for a bucket that is made already are added to it.
pub(super) fn step(db: &Database, now: i64) -> Result<bool> {
    let reach = Reach::read(db)?;
    for level in BUILT {
        let ratio = WIDTHS[level] / WIDTHS[level - 1];
        // Narrower buckets that are there in full.
        let ready = if level == 1 { now.div_euclid(WIDTHS[0]) } else { reach.built[level - 1] };
        let (next, end) = (reach.built[level], ready.div_euclid(ratio));
        if next >= end {
            continue;
        }
        match chunk::next(db, level - 1, next * ratio, end * ratio)? {
            Some(child) => {
                let bucket = child.div_euclid(ratio);
                chunk::build(db, level, bucket)?;
                chunk::built(db, level, bucket + 1)?;
            }
            None => chunk::built(db, level, end)?,
        }
        return Ok(true);
    }
    Ok(false)
}
