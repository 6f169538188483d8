// SPDX-License-Identifier: GPL-3.0-or-later
//! The rows of the last hours once more, packed, for charts of them: those are made from rows, and of an hour with
//! some hundred thousand rows the table gives one after the other, at 0.35 µs each; decoded here, it is a tenth.
//!
//! Lists as in `place.rs`, by hour and number, of program, peer, time and sums. An hour from [`from`] on has all its
//! rows here. That hour becomes a later one as time passes, or because something was deleted; an earlier one only
//! when the clock was ahead.

use std::collections::BTreeSet;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::chunk::{self, Sums};
use super::place;
use super::rollup::HOUR;
use super::segment;

/// Hours before the one that runs which are kept.
const KEPT: i64 = 3;
/// Bytes of a list to which nothing is added any more.
const LONG: usize = 64 * 1024;
/// Bits of a list's number within its hour.
const LISTS: u32 = 20;
/// Lists that are forgotten at once.
const AT_ONCE: i64 = 64;
/// Name in `meta` of the first hour that is here.
const FROM: &str = "recent-from";

/// One row: its program, its peer, its time in µs and its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) who: i64,
    pub(super) peer: i64,
    pub(super) time: i64,
    pub(super) sums: Sums,
}

fn key(hour: i64, list: i64) -> i64 {
    (hour << LISTS) | list
}

/// The first hour whose rows are all here.
pub(super) fn from(db: &Database) -> Result<i64> {
    chunk::meta(db, FROM)
}

/// From this hour on at the earliest.
pub(super) fn leave(db: &Database, before: i64) -> Result<()> {
    chunk::raise(db, FROM, before)
}

/// Behind what is there. Numbers of programs and peers are never as large as to need more than four bytes.
fn encode(rows: &[Recent], data: &mut Vec<u8>) {
    for row in rows {
        data.extend_from_slice(&row.who.to_le_bytes()[..4]);
        data.extend_from_slice(&row.peer.to_le_bytes()[..4]);
        // An hour has fewer microseconds than four bytes have numbers.
        data.extend_from_slice(&row.time.rem_euclid(HOUR).to_le_bytes()[..4]);
        for sum in [row.sums.sent, row.sums.received, row.sums.connections] {
            segment::put(data, sum);
        }
    }
}

/// Looks at program, peer and time of each row in a list of this hour; gives what `wanted` made of them, the time and
/// the sums.
fn decode<T>(
    hour: i64,
    mut data: &[u8],
    mut wanted: impl FnMut(i64, i64, i64) -> Option<T>,
    mut give: impl FnMut(T, i64, Sums),
) -> Result<()> {
    let broken = || {
        let why = "a list of recent rows ends in the middle".into();
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why)
    };
    while !data.is_empty() {
        let (head, rest) = data.split_first_chunk::<12>().ok_or_else(broken)?;
        data = rest;
        let number =
            |at: usize| i64::from(u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        let time = hour * HOUR + number(8);
        let Some(made) = wanted(number(0), number(4), time) else {
            // Each number ends with a byte below 128.
            let mut ends = data.iter().enumerate().filter(|(_, byte)| **byte < 0x80);
            let (third, _) = ends.nth(2).ok_or_else(broken)?;
            data = data.get(third + 1..).unwrap_or_default();
            continue;
        };
        let mut sum = || segment::take(&mut data).ok_or_else(broken);
        give(made, time, Sums { sent: sum()?, received: sum()?, connections: sum()? });
    }
    Ok(())
}

/// Adds rows, in the order of their times; `now` in µs. Those of hours that are not here are left out.
pub(super) fn add(db: &Database, rows: &[Recent], now: i64) -> Result<()> {
    let (from, _) = pass(db, now)?;
    for rows in rows.chunk_by(|a, b| a.time.div_euclid(HOUR) == b.time.div_euclid(HOUR)) {
        let Some(hour) = rows.first().map(|row| row.time.div_euclid(HOUR)).filter(|hour| *hour >= from)
        else {
            continue;
        };
        add_to_hour(db, hour, rows)?;
    }
    Ok(())
}

/// Time passes: what is too old goes, some lists at once. Gives the first hour that is here, and whether there may be
/// more to forget.
pub(super) fn pass(db: &Database, now: i64) -> Result<(i64, bool)> {
    let oldest = now.div_euclid(HOUR) - KEPT;
    let mut from = from(db)?;
    if from < oldest {
        leave(db, oldest)?;
        from = oldest;
    }
    let forgotten = db
        .prepare_cached(
            "DELETE FROM recent WHERE id IN (SELECT id FROM recent WHERE id < ?1 ORDER BY id LIMIT ?2)",
        )?
        .execute([key(from, 0), AT_ONCE])?;
    let next = oldest + KEPT + 1;
    if from > next && forgotten == 0 {
        from = come_down(db, from, next)?;
    }
    Ok((from, forgotten > 0))
}

/// The clock was ahead: hours from `next` on can be here again, but for those that have rows already.
fn come_down(db: &Database, from: i64, next: i64) -> Result<i64> {
    let last: Option<i64> = db
        .prepare_cached("SELECT max(id) FROM connection WHERE id < ?1")?
        .query_row([from.saturating_mul(place::HOUR_IDS)], |row| row.get(0))?;
    let next = last.map_or(next, |last| next.max(place::hour_of(last) + 1));
    chunk::lower(db, FROM, next)?;
    Ok(next)
}

fn add_to_hour(db: &Database, hour: i64, rows: &[Recent]) -> Result<()> {
    let last: Option<(i64, u32)> = db
        .prepare_cached(
            "SELECT id, length(data) FROM recent WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row([key(hour, 0), key(hour + 1, 0)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut data = Vec::with_capacity(rows.len() * 20);
    let (mut id, mut long) =
        (last.map_or(key(hour, 0), |(id, _)| id), last.map_or(0, |(_, long)| long as usize));
    let mut put = db.prepare_cached("INSERT OR REPLACE INTO recent (id, data) VALUES (?1, ?2)")?;
    for rows in rows.chunks(LONG / 24) {
        data.clear();
        encode(rows, &mut data);
        if long > 0 && (long + data.len() <= LONG || id + 1 == key(hour + 1, 0)) {
            let mut select = db.prepare_cached("SELECT data FROM recent WHERE id = ?1")?;
            let mut all: Vec<u8> = select.query_row([id], |row| row.get(0))?;
            all.append(&mut data);
            std::mem::swap(&mut all, &mut data);
        } else if long > 0 {
            id += 1;
        }
        long = data.len();
        put.execute(params![id, data])?;
    }
    Ok(())
}

/// Looks at program, peer and time of each row of an hour, in no order; gives what `wanted` made of them, the time and
/// the sums.
pub(super) fn read<T>(
    db: &Database,
    hour: i64,
    mut wanted: impl FnMut(i64, i64, i64) -> Option<T>,
    mut give: impl FnMut(T, i64, Sums),
) -> Result<()> {
    let mut select = db.prepare_cached("SELECT data FROM recent WHERE id >= ?1 AND id < ?2")?;
    let mut rows = select.query([key(hour, 0), key(hour + 1, 0)])?;
    while let Some(row) = rows.next()? {
        decode(hour, row.get_ref(0)?.as_blob().unwrap_or_default(), &mut wanted, &mut give)?;
    }
    Ok(())
}

/// Hours of which a list cannot be read.
pub(super) fn broken(db: &Database) -> Result<BTreeSet<i64>> {
    let mut broken = BTreeSet::new();
    let mut select = db.prepare("SELECT id >> ?1, data FROM recent")?;
    let mut rows = select.query([LISTS])?;
    while let Some(row) = rows.next()? {
        let (hour, data) = (row.get(0)?, row.get_ref(1)?.as_blob().unwrap_or_default());
        if decode(hour, data, |_, _, _| Some(()), |(), _, _| {}).is_err() {
            broken.insert(hour);
        }
    }
    Ok(broken)
}

/// This hour is read from the table from now on, and all before it.
pub(super) fn drop_hour(db: &Database, hour: i64) -> Result<()> {
    leave(db, hour + 1)?;
    db.prepare_cached("DELETE FROM recent WHERE id >= ?1 AND id < ?2")?
        .execute([key(hour, 0), key(hour + 1, 0)])?;
    Ok(())
}

/// For the migration: what is there already is not here. Hours that begin later are.
pub(super) fn begin(db: &Database) -> Result<()> {
    let last: Option<i64> = db.query_row("SELECT max(id) FROM connection", (), |row| row.get(0))?;
    last.map_or(Ok(()), |last| leave(db, place::hour_of(last) + 1))
}

#[cfg(test)]
#[path = "recent/tests.rs"]
mod tests;
