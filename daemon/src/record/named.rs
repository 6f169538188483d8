// SPDX-License-Identifier: GPL-3.0-or-later
//! Which words and services are in use, looked at once for a sweep: most that refer to them have no index by them, as
//! that would cost the writer.

use std::collections::HashSet;

use rusqlite::{Connection as Database, Result};

/// Rows per transaction.
const STEP: i64 = 4_000;
/// Who refers to them: the words, then the service.
const NAMES: [&str; 3] = [
    "SELECT id, name, script, pattern, 0 FROM program WHERE id > ?1 ORDER BY id LIMIT ?2",
    "SELECT id, unit, container, 0, 0 FROM who WHERE id > ?1 ORDER BY id LIMIT ?2",
    "SELECT id, interface, 0, 0, service FROM peer WHERE id > ?1 ORDER BY id LIMIT ?2",
];

/// Those in use, as far as they were looked at.
#[derive(Default)]
pub(super) struct Named {
    /// Those of facts as well, which the caller adds. What is written later has them in its program, too.
    pub(super) words: HashSet<i64>,
    services: HashSet<i64>,
    /// The last row of each table that was looked at.
    until: [i64; NAMES.len()],
}

impl Named {
    /// Looks at some more of them; false if that was all.
    pub(super) fn look(&mut self, db: &Database) -> Result<bool> {
        for (sql, until) in NAMES.iter().zip(&mut self.until) {
            if some(db, sql, STEP, until, &mut self.words, &mut self.services)? == STEP {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Words or services after the first number up to the second that nothing refers to, with what was written until now.
    pub(super) fn unused(&mut self, db: &Database, services: bool, range: [i64; 2]) -> Result<Vec<i64>> {
        for (sql, until) in NAMES.iter().zip(&mut self.until) {
            some(db, sql, -1, until, &mut self.words, &mut self.services)?;
        }
        let (table, used) = if services { ("service", &self.services) } else { ("word", &self.words) };
        let mut select = db.prepare_cached(&format!("SELECT id FROM {table} WHERE id > ?1 AND id <= ?2"))?;
        let mut unused = select.query_map(range, |row| row.get(0))?.collect::<Result<Vec<i64>>>()?;
        unused.retain(|id| !used.contains(id));
        Ok(unused)
    }
}

/// Looks at no more than so many rows of one table, below zero: at all. Gives how many there were.
fn some(
    db: &Database,
    sql: &str,
    most: i64,
    until: &mut i64,
    words: &mut HashSet<i64>,
    services: &mut HashSet<i64>,
) -> Result<i64> {
    let mut select = db.prepare_cached(sql)?;
    let mut rows = select.query([*until, most])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        *until = row.get(0)?;
        for column in 1..=3 {
            words.insert(row.get(column)?);
        }
        services.insert(row.get(4)?);
    }
    Ok(count)
}
