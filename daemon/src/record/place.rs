// SPDX-License-Identifier: GPL-3.0-or-later
//! Where rows are: for each hour lists of its rows with their program and peer, 14 bytes each. A filtered page reads
//! the lists of those hours in which the totals have something, and no row that does not match. An index of the
//! database over the rows would cost the writer twice of what the row itself costs; adding to a list is a few bytes.
//!
//! A list belongs to an hour and has a number. What a transaction adds goes behind the last list of its hour until
//! that is long enough ([`LONG`]), then a new one begins: so no write touches more than that, however much happens
//! in the hour. Lists may name rows that are deleted; readers skip those.

use std::collections::BTreeSet;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::rollup::HOUR;
use super::writer::TIE_BITS;

/// An hour in the unit of `connection.id`.
pub(super) const HOUR_IDS: i64 = HOUR << TIE_BITS;
/// Bytes of a list to which nothing is added any more.
const LONG: usize = 64 * 1024;
/// Bytes of a row: four for the program, four for the peer, six for the id within its hour.
pub(super) const ROW: usize = 14;
/// Bits of a list's number within its hour.
const LISTS: u32 = 20;
/// Rows of one list, where all of an hour are made anew.
const AT_ONCE: usize = 4_096;

/// One row: its program, its peer and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) who: i64,
    pub(super) peer: i64,
    pub(super) id: i64,
}

/// The hour of a row, from its id.
pub(super) fn hour_of(id: i64) -> i64 {
    id.div_euclid(HOUR_IDS)
}

fn key(hour: i64, list: i64) -> i64 {
    (hour << LISTS) | list
}

/// Behind what is there. Numbers of programs and peers are never as large as to need more than four bytes.
fn encode(places: &[Place], data: &mut Vec<u8>) {
    for place in places {
        data.extend_from_slice(&place.who.to_le_bytes()[..4]);
        data.extend_from_slice(&place.peer.to_le_bytes()[..4]);
        data.extend_from_slice(&place.id.rem_euclid(HOUR_IDS).to_le_bytes()[..6]);
    }
}

/// Gives what stands in a list of this hour, in its order.
fn decode(hour: i64, data: &[u8], mut give: impl FnMut(Place)) -> Result<()> {
    let (rows, rest) = data.as_chunks::<ROW>();
    if !rest.is_empty() {
        let why = "a list of rows ends in the middle".into();
        return Err(rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why));
    }
    for row in rows {
        let number = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        let id = i64::from_le_bytes([row[8], row[9], row[10], row[11], row[12], row[13], 0, 0]);
        give(Place { who: number(0).into(), peer: number(4).into(), id: hour * HOUR_IDS + id });
    }
    Ok(())
}

/// Adds rows, in the order of their ids.
pub(super) fn add(db: &Database, rows: &[Place]) -> Result<()> {
    for rows in rows.chunk_by(|a, b| hour_of(a.id) == hour_of(b.id)) {
        let Some(hour) = rows.first().map(|row| hour_of(row.id)) else { continue };
        add_to_hour(db, hour, rows)?;
    }
    Ok(())
}

fn add_to_hour(db: &Database, hour: i64, rows: &[Place]) -> Result<()> {
    let last: Option<(i64, u32)> = db
        .prepare_cached(
            "SELECT id, length(data) FROM place WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row([key(hour, 0), key(hour + 1, 0)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut data = Vec::with_capacity(rows.len() * ROW);
    match last {
        Some((id, long)) if long as usize + rows.len() * ROW <= LONG || id + 1 == key(hour + 1, 0) => {
            let mut select = db.prepare_cached("SELECT data FROM place WHERE id = ?1")?;
            select.query_row([id], |row| {
                data.extend_from_slice(row.get_ref(0)?.as_blob().unwrap_or_default());
                Ok(())
            })?;
            encode(rows, &mut data);
            db.prepare_cached("UPDATE place SET data = ?2 WHERE id = ?1")?.execute(params![id, data])?;
        }
        _ => {
            encode(rows, &mut data);
            let id = last.map_or(key(hour, 0), |(id, _)| id + 1);
            db.prepare_cached("INSERT INTO place (id, data) VALUES (?1, ?2)")?.execute(params![id, data])?;
        }
    }
    Ok(())
}

/// Gives the rows of an hour, in no order; says how many.
pub(super) fn read(db: &Database, hour: i64, mut give: impl FnMut(Place)) -> Result<usize> {
    let mut count = 0;
    let mut select = db.prepare_cached("SELECT data FROM place WHERE id >= ?1 AND id < ?2")?;
    let mut rows = select.query([key(hour, 0), key(hour + 1, 0)])?;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(0)?.as_blob().unwrap_or_default();
        count += data.len() / ROW;
        decode(hour, data, &mut give)?;
    }
    Ok(count)
}

/// How many rows an hour has, with those that were deleted.
pub(super) fn count(db: &Database, hour: i64) -> Result<usize> {
    let bytes: i64 = db
        .prepare_cached("SELECT coalesce(sum(length(data)), 0) FROM place WHERE id >= ?1 AND id < ?2")?
        .query_row([key(hour, 0), key(hour + 1, 0)], |row| row.get(0))?;
    Ok(usize::try_from(bytes).unwrap_or(0) / ROW)
}

/// The last hour before `end` that has rows, not before `hour`.
pub(super) fn previous(db: &Database, hour: i64, end: i64) -> Result<Option<i64>> {
    edge(db, "SELECT max(id) FROM place WHERE id >= ?1 AND id < ?2", hour, end)
}

/// The first hour at or after this one that has rows, before `end`.
pub(super) fn next(db: &Database, hour: i64, end: i64) -> Result<Option<i64>> {
    edge(db, "SELECT min(id) FROM place WHERE id >= ?1 AND id < ?2", hour, end)
}

fn edge(db: &Database, sql: &str, hour: i64, end: i64) -> Result<Option<i64>> {
    let id: Option<i64> = db.prepare_cached(sql)?.query_row([key(hour, 0), key(end, 0)], |row| row.get(0))?;
    Ok(id.map(|id| id >> LISTS))
}

/// Takes lists of hours before this one away, some of them; true if there may be more.
pub(super) fn forget(db: &Database, before: i64, most: i64) -> Result<bool> {
    let deleted = db
        .prepare_cached(
            "DELETE FROM place WHERE id IN (SELECT id FROM place WHERE id < ?1 ORDER BY id LIMIT ?2)",
        )?
        .execute([key(before, 0), most])?;
    Ok(deleted > 0)
}

/// Hours of which a list cannot be read.
pub(super) fn broken(db: &Database) -> Result<BTreeSet<i64>> {
    let mut select = db.prepare("SELECT id >> ?1 FROM place WHERE length(data) % ?2 <> 0")?;
    select.query_map(params![LISTS, ROW as i64], |row| row.get(0))?.collect()
}

/// Makes the lists of an hour anew from its rows.
pub(super) fn rebuild(db: &Database, hour: i64) -> Result<()> {
    db.prepare_cached("DELETE FROM place WHERE id >= ?1 AND id < ?2")?
        .execute([key(hour, 0), key(hour + 1, 0)])?;
    let mut select =
        db.prepare_cached("SELECT id, who, peer FROM connection WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
    let mut rows = select.query([hour * HOUR_IDS, (hour + 1) * HOUR_IDS])?;
    let mut some = Vec::with_capacity(AT_ONCE);
    while let Some(row) = rows.next()? {
        some.push(Place { id: row.get(0)?, who: row.get(1)?, peer: row.get(2)? });
        if some.len() == AT_ONCE {
            add(db, &some)?;
            some.clear();
        }
    }
    add(db, &some)
}

/// For the migration: makes all lists.
pub(super) fn build(db: &Database) -> Result<()> {
    let mut from = i64::MIN;
    loop {
        let next: Option<i64> = db
            .prepare_cached("SELECT min(id) FROM connection WHERE id >= ?1")?
            .query_row([from], |row| row.get(0))?;
        let Some(next) = next else { return Ok(()) };
        let hour = hour_of(next);
        rebuild(db, hour)?;
        from = (hour + 1) * HOUR_IDS;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn database() -> Database {
        let db = Database::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE place (id INTEGER PRIMARY KEY, data BLOB NOT NULL)").unwrap();
        db
    }

    fn all(db: &Database, hour: i64) -> Vec<Place> {
        let mut found = Vec::new();
        let count = read(db, hour, |place| found.push(place)).unwrap();
        assert_eq!(count, found.len());
        found
    }

    #[test]
    fn every_row_is_in_the_lists_of_its_hour() {
        let db = database();
        let row = |n: i64| Place {
            who: n % 7 + 1,
            peer: n % 30 * 100_000_000,
            id: 495_000 * HOUR_IDS + n * 977_000_003,
        };
        // Eleven hours, in pieces of many sizes.
        let rows: Vec<Place> = (0..40_000).map(row).collect();
        let mut rest = rows.as_slice();
        for size in [1, 3, 500, 9000, 20_000, 10_000, 40_000] {
            let (some, others) = rest.split_at(rest.len().min(size));
            add(&db, some).unwrap();
            rest = others;
        }
        let (first, last) = (hour_of(rows[0].id), hour_of(rows[39_999].id));
        assert!(last - first >= 10);
        let found: Vec<Place> = (first..=last).flat_map(|hour| all(&db, hour)).collect();
        assert_eq!(found, rows);
        assert!((first..=last).all(|hour| all(&db, hour).iter().all(|row| hour_of(row.id) == hour)));
        assert_eq!(previous(&db, 0, 1 << 40).unwrap(), Some(last));
        assert_eq!(next(&db, 0, 1 << 40).unwrap(), Some(first));
        while forget(&db, first + 1, 1).unwrap() {}
        assert_eq!(next(&db, 0, 1 << 40).unwrap(), Some(first + 1));
    }

    /// However many rows an hour has, a write of few touches no more than one list.
    #[test]
    fn lists_stay_short() {
        let db = database();
        for n in 0..3000_i64 {
            let some: Vec<Place> =
                (0..20).map(|m| Place { who: m, peer: m * n, id: 5 * HOUR_IDS + n * 100 + m }).collect();
            add(&db, &some).unwrap();
        }
        let (lists, longest): (i64, u32) = db
            .query_row("SELECT count(*), max(length(data)) FROM place", (), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert!(lists > 10 && longest as usize <= LONG, "{lists} lists, {longest} bytes");
        assert_eq!(all(&db, 5).len(), 60_000);
    }

    #[test]
    fn a_damaged_list_is_an_error() {
        let mut good = Vec::new();
        encode(&[Place { who: 300, peer: 7, id: 12 }, Place { who: 300, peer: 7, id: 13 }], &mut good);
        assert!(decode(0, &good, |_| {}).is_ok());
        assert!((1..ROW).all(|end| decode(0, &good[..end], |_| {}).is_err()));
    }
}
