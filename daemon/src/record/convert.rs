// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes the totals of older versions over. Those of version 1 into chunks: days from `daily`, hours from the rows
//! where all rows of the day are there. Hours of which only totals by one dimension were kept are given up; their
//! days are not. Those of versions 2 to 6 into segments, those of versions 7 and 8 into others of the same kind that
//! are told apart by whole numbers.

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::chunk::{self, Entry, Kind, Sums, Total};
use super::rollup::{DAY, HOUR};
use super::segment;
use super::writer::TIE_BITS;

/// In the transaction of the migration.
pub(super) fn totals(db: &Database) -> Result<()> {
    let first_day: Option<i64> = db.query_row("SELECT min(day) FROM daily", (), |row| row.get(0))?;
    let first_row: Option<i64> = db.query_row("SELECT min(id) FROM connection", (), |row| row.get(0))?;
    // The first day with rows may have lost some of them already, unless nothing was ever forgotten.
    let detail = match (first_day, first_row.map(|id| (id >> TIE_BITS).div_euclid(DAY))) {
        (Some(first), Some(detailed)) if first < detailed => detailed + 1,
        (_, Some(_)) => 0,
        (Some(_), None) => {
            let last: Option<i64> = db.query_row("SELECT max(day) FROM daily", (), |row| row.get(0))?;
            last.unwrap_or(0) + 1
        }
        (None, None) => 0,
    };
    if detail > 0 {
        chunk::raise(db, "detail-from", detail)?;
        chunk::raise(db, "hours-from", detail * (DAY / HOUR))?;
        chunk::built(db, 1, detail)?;
    }
    let mut day = first_day;
    while let Some(today) = day {
        if today < detail {
            let totals = read(db, DAILY, today, today + 1)?;
            chunk::add_totals(db, 1, today, &totals)?;
        } else {
            for hour in today * (DAY / HOUR)..(today + 1) * (DAY / HOUR) {
                let totals = of_rows(db, hour)?;
                chunk::add_totals(db, 0, hour, &totals)?;
            }
        }
        day = db
            .prepare_cached("SELECT day FROM daily WHERE day > ?1 ORDER BY day LIMIT 1")?
            .query_row([today], |row| row.get(0))
            .optional()?;
    }
    chunk::raise(db, SEGMENTED, 1)?;
    chunk::raise(db, WHOLE, 1)?;
    db.execute_batch("DROP TABLE daily; DROP TABLE rollup;")
}

/// Name in `meta`: the chunks were made by this version, on the way from version 1.
const SEGMENTED: &str = "segmented";

/// In the transaction of the migration: `chunk_old` has at most 16 384 first numbers in each row, and no totals by
/// program and service.
pub(super) fn segments(db: &Database) -> Result<()> {
    let made = db.execute("DELETE FROM meta WHERE key = ?1", [SEGMENTED])?;
    if made > 0 {
        return db.execute_batch("DROP TABLE chunk; ALTER TABLE chunk_old RENAME TO chunk;");
    }
    let mut services: Vec<i64> = Vec::new();
    let mut statement = db.prepare("SELECT id, service FROM peer ORDER BY id")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        services.resize(row.get::<_, u32>(0)? as usize + 1, 0);
        if let Some(last) = services.last_mut() {
            *last = row.get(1)?;
        }
    }
    let mut select = db.prepare("SELECT id >> 20, id & 1048575, data FROM chunk_old ORDER BY id")?;
    let mut rows = select.query(())?;
    let (mut place, mut entries) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let next = row.get(0)?;
        if next != place {
            segmented(db, place, &mut entries, &services)?;
            place = next;
        }
        read_old(row.get_ref(2)?.as_blob()?, row.get(1)?, &mut entries);
    }
    segmented(db, place, &mut entries, &services)?;
    chunk::raise(db, WHOLE, 1)?;
    db.execute_batch("DROP TABLE chunk_old")
}

/// Name in `meta`: the segments were made by this version, on the way from an older one than 7.
const WHOLE: &str = "segments-of-numbers";

/// In the transaction of the migration: segments of `chunk_old` begin with first numbers / 16, and there are no pairs
/// in the order of programs.
pub(super) fn turned(db: &Database) -> Result<()> {
    let made = db.execute("DELETE FROM meta WHERE key = ?1", [WHOLE])?;
    if made > 0 {
        db.execute_batch("DROP TABLE chunk; ALTER TABLE chunk_old RENAME TO chunk;")?;
    } else {
        let mut select = db.prepare("SELECT id >> 20, id & 1048575, data FROM chunk_old ORDER BY id")?;
        let mut rows = select.query(())?;
        let (mut place, mut entries) = (0, Vec::new());
        while let Some(row) = rows.next()? {
            let next = row.get(0)?;
            if next != place {
                whole(db, place, &mut entries)?;
                place = next;
            }
            let begin = row.get::<_, i64>(1)? << 4;
            // What is damaged at its end is left out.
            let read =
                segment::decode(row.get_ref(2)?.as_blob()?, begin, |a, b, sums| entries.push(((a, b), sums)));
            if let Err(error) = read {
                tracing::warn!("a part of the totals is left out: {error}");
            }
        }
        whole(db, place, &mut entries)?;
        db.execute_batch("DROP TABLE chunk_old")?;
    }
    for level in chunk::BUILT {
        let mut bucket = 0;
        while let Some(next) = chunk::next(db, level, bucket, i64::from(u32::MAX))? {
            // Totals that were made for an older version a moment ago have them already.
            chunk::clear_kind(db, Kind::Turned, level, next)?;
            chunk::turn(db, level, next)?;
            bucket = next + 1;
        }
    }
    Ok(())
}

/// Writes a bucket; `place` is its kind, level (3 bits) and number (24 bits).
fn whole(db: &Database, place: i64, entries: &mut Vec<Entry>) -> Result<()> {
    let (level, bucket) = (usize::try_from((place >> 24) & 7).unwrap_or(7), place & ((1 << 24) - 1));
    let kind = Kind::ALL.into_iter().find(|kind| *kind as i64 == place >> 27);
    if let Some(kind) = kind.filter(|_| !entries.is_empty()) {
        chunk::write(db, kind, level, bucket, entries, 0)?;
    }
    entries.clear();
    Ok(())
}

/// Writes a bucket; `place` is its kind (3 bits), level (3 bits) and number (24 bits).
fn segmented(db: &Database, place: i64, entries: &mut Vec<Entry>, services: &[i64]) -> Result<()> {
    let (level, bucket) = (usize::try_from((place >> 24) & 7).unwrap_or(7), place & ((1 << 24) - 1));
    let Some(kind) = Kind::ALL.into_iter().find(|kind| *kind as i64 == place >> 27) else { return Ok(()) };
    if entries.is_empty() {
        return Ok(());
    }
    chunk::write(db, kind, level, bucket, entries, 0)?;
    if kind == Kind::Pair {
        let service = |peer: i64| usize::try_from(peer).ok().and_then(|peer| services.get(peer)).copied();
        for ((peer, who), _) in &mut *entries {
            (*peer, *who) = (*who, service(*peer).unwrap_or(0));
        }
        chunk::add_up(entries);
        chunk::write(db, Kind::Use, level, bucket, entries, 0)?;
    }
    entries.clear();
    Ok(())
}

/// Reads a row of `chunk_old`; what is damaged at its end is left out.
fn read_old(mut data: &[u8], part: i64, entries: &mut Vec<Entry>) {
    let (mut a, mut b) = ((part << 14).cast_unsigned(), 0_u64);
    let mut next = || segment::take(&mut data);
    while let (Some(step), Some(second), Some(sent), Some(received), Some(connections)) =
        (next(), next(), next(), next(), next())
    {
        if step != 0 {
            b = 0;
        }
        (a, b) = (a.wrapping_add(step), b.wrapping_add(second));
        entries.push(((a.cast_signed(), b.cast_signed()), Sums { sent, received, connections }));
    }
}

const DAILY: &str =
    "SELECT c.who, w.uid, c.peer, p.domain, p.remote, p.service, c.sent, c.received, c.connections
    FROM daily c JOIN who w ON w.id = c.who JOIN peer p ON p.id = c.peer WHERE c.day >= ?1 AND c.day < ?2";

const ROWS: &str = "SELECT CASE w.folded WHEN 0 THEN w.id ELSE w.folded END AS f, w.uid, c.peer, p.domain, p.remote, p.service,
      sum(c.sent), sum(c.received), sum(c.connections)
    FROM connection c CROSS JOIN who w ON w.id = c.who CROSS JOIN peer p ON p.id = c.peer
    WHERE c.id >= ?1 AND c.id < ?2 GROUP BY f, c.peer";

/// The totals of an hour's rows.
pub(super) fn of_rows(db: &Database, hour: i64) -> Result<Vec<Total>> {
    read(db, ROWS, (hour * HOUR) << TIE_BITS, ((hour + 1) * HOUR) << TIE_BITS)
}

fn read(db: &Database, sql: &str, from: i64, to: i64) -> Result<Vec<Total>> {
    let mut statement = db.prepare_cached(sql)?;
    let totals = statement.query_map(params![from, to], |row| {
        let count = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
        Ok(Total {
            who: row.get(0)?,
            uid: row.get(1)?,
            peer: row.get(2)?,
            domain: row.get(3)?,
            remote: row.get(4)?,
            service: row.get(5)?,
            sums: Sums { sent: count(6)?, received: count(7)?, connections: count(8)? },
        })
    })?;
    totals.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn put(data: &mut Vec<u8>, mut number: i64) {
        while number >= 0x80 {
            data.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        data.push(number as u8);
    }

    /// Three parts of one day, as version 5 wrote them.
    #[test]
    fn parts_become_segments() {
        let db = Database::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE peer (id INTEGER PRIMARY KEY, service INTEGER);
             CREATE TABLE chunk_old (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
             CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
             WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 40000)
               INSERT INTO peer SELECT value, value % 5 + 1 FROM n;",
        )
        .unwrap();
        let place = ((Kind::Pair as i64) * 8 + 1) << 44 | 20_000 << 20;
        let mut expected = Vec::new();
        for part in 0..3_i64 {
            let (mut data, mut last) = (Vec::new(), part << 14);
            for peer in (part << 14..(part + 1) << 14).filter(|peer| (1..=40_000).contains(peer)).step_by(3) {
                for (who, step) in [(7, 7), (12, 5)] {
                    for number in [peer - last, step, peer, 2 * peer, 1] {
                        put(&mut data, number);
                    }
                    last = peer;
                    let sent = peer.cast_unsigned();
                    expected.push(((peer, who), Sums { sent, received: 2 * sent, connections: 1 }));
                }
            }
            db.execute("INSERT INTO chunk_old VALUES (?1, ?2)", params![place | part, data]).unwrap();
        }
        segments(&db).unwrap();
        let read = |kind| {
            let mut back = Vec::new();
            chunk::read(&db, kind, (1, 20_000, 20_001), |_, a, b, sums| back.push(((a, b), sums))).unwrap();
            back
        };
        assert!(read(Kind::Pair) == expected);
        for entry in &mut expected {
            (entry.0.0, entry.0.1) = (entry.0.1, entry.0.0 % 5 + 1);
        }
        chunk::add_up(&mut expected);
        assert_eq!(read(Kind::Use), expected);
        let longest: i64 = db.query_row("SELECT max(length(data)) FROM chunk", (), |row| row.get(0)).unwrap();
        assert!(longest <= 4000, "{longest}");
    }
}
