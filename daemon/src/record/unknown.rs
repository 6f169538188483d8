// SPDX-License-Identifier: GPL-3.0-or-later
//! Executables are what programs are known by, so they outlive everything else that is said of them. That somebody who
//! makes new ones without end does not fill the disk, no more than [`KNOWN`] are known for good: of more, those go that
//! nothing else refers to, that were not seen in the time that is kept, and among these first those that were not seen
//! for longest. One that comes back after that is a new one.
//!
//! First all are looked at, some in each transaction, and the numbers of the oldest are kept in memory; then these go,
//! some in each transaction, unless they were seen meanwhile.

use std::collections::BinaryHeap;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use crate::model::ProgramKey;

/// So many executables are known however long ago they were seen.
pub(super) const KNOWN: i64 = 100_000;
/// Executables looked at per transaction.
const LOOK: i64 = 1_000;
/// Executables forgotten per transaction, and rows of what they had, at the most.
const FORGET: usize = 100;
const ROWS: usize = 4_000;
/// Executables forgotten in one round at the most: 16 bytes each.
const MOST: usize = 1 << 16;

/// Those that are to go.
#[derive(Default)]
pub(super) struct Unknown {
    /// The last one looked at.
    until: i64,
    /// How many executables there are, of those looked at.
    count: i64,
    /// When they were last seen, µs, and their numbers; the one seen latest on top.
    oldest: BinaryHeap<(i64, i64)>,
    /// The same numbers in the order in which they go, the next one last; once all are looked at.
    going: Vec<i64>,
}

impl Unknown {
    /// Looks at the executables after this number that were not seen since that time, µs. Gives the last one looked
    /// at; `None` if there is none left, or there are so few that none is to go.
    pub(super) fn look(&mut self, db: &Database, after: i64, since: i64) -> Result<Option<i64>> {
        if after == 0 {
            *self = Unknown::default();
            // There are no more than that.
            if newest(db)? <= KNOWN {
                return Ok(None);
            }
        }
        if after != self.until {
            // What was looked at then was not committed, and is looked at again: all of it, so that none counts twice.
            return Ok(Some(0));
        }
        let mut select = db.prepare_cached(
            "SELECT e.id, coalesce((SELECT max(s.last_seen) FROM sighting s WHERE s.executable = e.id), 0),
               EXISTS (SELECT 1 FROM program p WHERE p.executable = e.id)
             FROM executable e WHERE e.id > ?1 ORDER BY e.id LIMIT ?2",
        )?;
        let rows = select.query_map([after, LOOK], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let rows = rows.collect::<Result<Vec<(i64, i64, bool)>>>()?;
        let last = rows.last().map(|(id, ..)| *id);
        (self.until, self.count) = (last.unwrap_or(after), self.count + rows.len() as i64);
        for (id, seen, _) in rows.into_iter().filter(|(_, seen, used)| *seen < since && !used) {
            self.oldest.push((seen, id));
            if self.oldest.len() > MOST {
                self.oldest.pop();
            }
        }
        if last.is_none() {
            let oldest = std::mem::take(&mut self.oldest).into_sorted_vec();
            let over = usize::try_from(self.count - KNOWN).unwrap_or(0);
            // The newest stays, so that its number is not given to another one: people ask by it.
            let oldest = oldest.into_iter().map(|(_, id)| id).filter(|id| *id < after);
            self.going = oldest.take(over).collect();
            self.going.reverse();
        }
        Ok(last)
    }

    /// Some of them go. Gives what they were known by, and whether there are more.
    pub(super) fn forget(&mut self, db: &Database, since: i64) -> Result<(Vec<ProgramKey>, bool)> {
        let mut still = db.prepare_cached(
            "SELECT path, foreign_root FROM executable e WHERE id = ?1
               AND NOT EXISTS (SELECT 1 FROM program p WHERE p.executable = ?1)
               AND NOT EXISTS (SELECT 1 FROM sighting s WHERE s.executable = ?1 AND s.last_seen >= ?2)",
        )?;
        let mut rows = [
            db.prepare_cached(
                "DELETE FROM fact WHERE (executable, kind, value, uid) IN
                   (SELECT executable, kind, value, uid FROM fact WHERE executable = ?1 LIMIT ?2)",
            )?,
            db.prepare_cached(
                "DELETE FROM sighting_day WHERE (executable, day, uid) IN
                   (SELECT executable, day, uid FROM sighting_day WHERE executable = ?1 LIMIT ?2)",
            )?,
        ];
        let mut deletes = [
            db.prepare_cached("DELETE FROM sighting WHERE executable = ?1")?,
            db.prepare_cached("DELETE FROM executable WHERE id = ?1")?,
        ];
        let (mut gone, mut left) = (Vec::new(), ROWS);
        for _ in 0..FORGET {
            let Some(id) = self.going.last().copied() else { break };
            let key = |row: &rusqlite::Row<'_>| {
                Ok(ProgramKey { path: row.get::<_, Vec<u8>>(0)?.into(), foreign: row.get(1)? })
            };
            if let Some(key) = still.query_row(params![id, since], key).optional()? {
                for delete in &mut rows {
                    left -= delete.execute(params![id, left as i64])?;
                }
                if left == 0 {
                    // The rest of it goes in the next one.
                    break;
                }
                for delete in &mut deletes {
                    delete.execute([id])?;
                }
                gone.push(key);
            }
            self.going.pop();
        }
        Ok((gone, !self.going.is_empty()))
    }
}

/// The highest number of an executable.
fn newest(db: &Database) -> Result<i64> {
    db.query_row("SELECT coalesce(max(id), 0) FROM executable", (), |row| row.get(0))
}
