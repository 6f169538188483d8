// SPDX-License-Identifier: GPL-3.0-or-later
//! The rows at the ends of a range, where no chunk fits, and those of short charts. Of the last hours they are there
//! packed (`recent.rs`). Others are read in the order of their time, or, where few of an hour count, through the lists
//! of that hour. What they stand for is worked out once for each program and peer.

use rusqlite::{Connection as Database, OptionalExtension as _, Result, Row};

use super::maps::Maps;
use super::plan::Plan;
use crate::record::Map;
use crate::record::chunk::Sums;
use crate::record::place::{self, HOUR_IDS};
use crate::record::recent;
use crate::record::writer::TIE_BITS;

/// Rows are read one by one if no more than this part of them counts.
const FEW: usize = 4;

const BY_TIME: &str =
    "SELECT id, who, peer, sent, received, connections FROM connection WHERE id >= ?1 AND id < ?2";
const BY_ID: &str = "SELECT id, who, peer, sent, received, connections FROM connection WHERE id = ?1";

/// Rows of an hour that are read in no other way than one by one.
const MANY: usize = 10_000;

/// Whether an hour has many rows, and few of them in these parts of it (µs).
pub(super) fn few(db: &Database, hour: i64, parts: &[(i64, i64)]) -> Result<bool> {
    let all = place::count(db, hour)?;
    if all < MANY {
        return Ok(false);
    }
    let mut left = i64::try_from(all / FEW).unwrap_or(i64::MAX);
    let mut count = db.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM connection WHERE id >= ?1 AND id < ?2 LIMIT ?3)",
    )?;
    for (from, to) in parts {
        left -= count.query_row([from << TIE_BITS, to << TIE_BITS, left], |row| row.get::<_, i64>(0))?;
    }
    Ok(left > 0)
}

/// What is known of programs and pairs already.
#[derive(Default)]
struct Memory {
    folded: Map<i64, i64>,
    /// By program and peer, each in four bytes.
    pairs: Map<u64, Option<i64>>,
}

/// The number that a row of this program with this peer is grouped by.
fn number(
    db: &Database,
    maps: &Maps,
    plan: &Plan,
    memory: &mut Memory,
    (who, peer): (i64, i64),
) -> Result<Option<i64>> {
    let pair = (who.cast_unsigned() << 32) | peer.cast_unsigned();
    if let Some(known) = memory.pairs.get(&pair) {
        return Ok(*known);
    }
    let folded = match memory.folded.get(&who) {
        Some(folded) => *folded,
        None => {
            let found: Option<i64> = db
                .prepare_cached("SELECT folded FROM who WHERE id = ?1")?
                .query_row([who], |row| row.get(0))
                .optional()?;
            let folded = found.filter(|folded| *folded != 0).unwrap_or(who);
            memory.folded.insert(who, folded);
            folded
        }
    };
    let number = plan.row(maps, (who, folded), peer);
    memory.pairs.insert(pair, number);
    Ok(number)
}

/// Gives the number that is grouped by, the time in µs and the sums of each row of a range in µs that counts.
pub(super) fn read(
    db: &Database,
    maps: &Maps,
    plan: &Plan,
    (from, to): (i64, i64),
    mut give: impl FnMut(i64, i64, Sums),
) -> Result<()> {
    let (begin, end) = (from, to);
    let (from, to) = (from << TIE_BITS, to << TIE_BITS);
    let recent = recent::from(db)?;
    let mut memory = Memory::default();
    let mut next = place::hour_of(from);
    while let Some(hour) = place::next(db, next, place::hour_of(to - 1) + 1)? {
        next = hour + 1;
        if hour >= recent {
            let mut trouble = Ok(());
            let wanted = |who, peer, time| {
                if time < begin || time >= end || plan.is_never(maps, peer) {
                    return None;
                }
                number(db, maps, plan, &mut memory, (who, peer)).unwrap_or_else(|error| {
                    trouble = Err(error);
                    None
                })
            };
            recent::read(db, hour, wanted, &mut give)?;
            trouble?;
            continue;
        }
        let (from, to) = (from.max(hour * HOUR_IDS), to.min(next * HOUR_IDS));
        let (mut ids, mut trouble) = (Vec::new(), Ok(()));
        let all = place::read(db, hour, |row| {
            if row.id >= from && row.id < to {
                match number(db, maps, plan, &mut memory, (row.who, row.peer)) {
                    Ok(Some(_)) => ids.push(row.id),
                    Ok(None) => {}
                    Err(error) => trouble = Err(error),
                }
            }
        })?;
        trouble?;
        let mut number = |pair| number(db, maps, plan, &mut memory, pair);
        if ids.len() * FEW < all {
            let mut select = db.prepare_cached(BY_ID)?;
            for id in ids {
                select.query_row([id], |row| take(row, &mut number, &mut give)).optional()?;
            }
        } else {
            walk(db, (from, to), number, &mut give)?;
        }
    }
    Ok(())
}

/// The same where few rows are in the range, of an hour with many: none but those are looked at.
pub(super) fn read_few(
    db: &Database,
    maps: &Maps,
    plan: &Plan,
    (from, to): (i64, i64),
    mut give: impl FnMut(i64, i64, Sums),
) -> Result<()> {
    let mut memory = Memory::default();
    let number = |pair| number(db, maps, plan, &mut memory, pair);
    walk(db, (from << TIE_BITS, to << TIE_BITS), number, &mut give)
}

/// Reads the rows of a range of ids, one after the other.
fn walk(
    db: &Database,
    (from, to): (i64, i64),
    mut number: impl FnMut((i64, i64)) -> Result<Option<i64>>,
    give: &mut impl FnMut(i64, i64, Sums),
) -> Result<()> {
    let mut select = db.prepare_cached(BY_TIME)?;
    let mut rows = select.query([from, to])?;
    while let Some(row) = rows.next()? {
        take(row, &mut number, give)?;
    }
    Ok(())
}

fn take(
    row: &Row<'_>,
    number: &mut impl FnMut((i64, i64)) -> Result<Option<i64>>,
    give: &mut impl FnMut(i64, i64, Sums),
) -> Result<()> {
    let Some(number) = number((row.get(1)?, row.get(2)?))? else { return Ok(()) };
    let count = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
    let sums = Sums { sent: count(3)?, received: count(4)?, connections: count(5)? };
    give(number, row.get::<_, i64>(0)? >> TIE_BITS, sums);
    Ok(())
}
