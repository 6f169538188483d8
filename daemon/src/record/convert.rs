// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes the totals of version 1 over into chunks: days from `daily`, hours from the rows where all rows of the
//! day are there. Hours of which only totals by one dimension were kept are given up; their days are not.

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::chunk::{self, Sums, Total};
use super::rollup::{DAY, HOUR};
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
    db.execute_batch("DROP TABLE daily; DROP TABLE rollup;")
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
