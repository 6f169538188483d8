// SPDX-License-Identifier: GPL-3.0-or-later
//! What is said of programs: ports, domains and command lines go with their age, and of very many contents of one program
//! the oldest do. All facts are looked at in the order of their key, some in each transaction.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use rusqlite::{Connection as Database, Result, params};

use super::dimension::fact;

/// Facts per transaction.
const STEP: usize = 4_000;
/// So many contents of one executable are known however long ago they were seen.
const CONTENTS: usize = 1_000;

/// Key of a fact: executable, kind, value, user.
pub(super) type Key = (i64, i64, i64, u32);
/// Before all others.
pub(super) const FIRST: Key = (0, 0, 0, 0);
/// The same within the contents of an executable; they may be below zero.
pub(super) const FIRST_CONTENT: (i64, u32) = (i64::MIN, 0);

/// Where the look stands.
#[derive(Default)]
pub(super) struct Said {
    /// The last one looked at.
    until: Key,
    /// An executable, and when its latest contents were last seen, µs.
    executable: i64,
    latest: BinaryHeap<Reverse<i64>>,
    /// It has more than these.
    more: bool,
    /// Executables with very many contents, and since when those were seen that stay.
    many: Vec<(i64, i64)>,
}

impl Said {
    /// Looks at the facts after this one, takes away what was not seen since that time, µs, and notes the words of the
    /// others. Gives the last one looked at, `None` if that was all; and whether something went.
    pub(super) fn look(
        &mut self,
        db: &Database,
        after: Key,
        since: i64,
        words: &mut HashSet<i64>,
    ) -> Result<(Option<Key>, bool)> {
        if after == FIRST {
            *self = Said::default();
            words.clear();
        } else if after != self.until {
            // What was looked at then was not committed: all of it again, so that no content counts twice.
            return Ok((Some(FIRST), false));
        }
        let mut select = db.prepare_cached(
            "SELECT executable, kind, value, uid, last_seen FROM fact
               WHERE (executable, kind, value, uid) > (?1, ?2, ?3, ?4) ORDER BY executable, kind, value, uid LIMIT ?5",
        )?;
        let rows = select
            .query_map(params![after.0, after.1, after.2, after.3, STEP as i64], |row| {
                Ok(((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?), row.get(4)?))
            })?
            .collect::<Result<Vec<(Key, i64)>>>()?;
        let mut gone = false;
        for (key, seen) in &rows {
            let (executable, kind, value, _) = *key;
            match kind {
                fact::PORT | fact::DOMAIN | fact::PATTERN if *seen < since => gone |= delete(db, *key)?,
                fact::NAME | fact::PATTERN => {
                    words.insert(value);
                }
                fact::CONTENT => self.content(executable, *seen),
                _ => {}
            }
        }
        let last = rows.last().map(|(key, _)| *key).filter(|_| rows.len() == STEP);
        if last.is_none() {
            self.settle();
        }
        self.until = last.unwrap_or(after);
        Ok((last, gone))
    }

    fn content(&mut self, executable: i64, seen: i64) {
        if executable != self.executable {
            self.settle();
            self.executable = executable;
        }
        self.latest.push(Reverse(seen));
        if self.latest.len() > CONTENTS {
            self.latest.pop();
            self.more = true;
        }
    }

    /// The executable has no more contents than those.
    fn settle(&mut self) {
        if std::mem::take(&mut self.more)
            && let Some(Reverse(oldest)) = self.latest.peek()
        {
            self.many.push((self.executable, *oldest));
        }
        self.latest.clear();
    }

    /// Looks at contents of the next executable with very many, after this one: the latest stay, and what was seen since
    /// that time, µs. Gives where it goes on, `None` if no executable is left; and whether something went.
    pub(super) fn trim(
        &mut self,
        db: &Database,
        after: (i64, u32),
        since: i64,
    ) -> Result<(Option<(i64, u32)>, bool)> {
        let Some((executable, latest)) = self.many.last().copied() else { return Ok((None, false)) };
        let mut select = db.prepare_cached(
            "SELECT value, uid, last_seen FROM fact WHERE executable = ?1 AND kind = ?2 AND (value, uid) > (?3, ?4)
               ORDER BY value, uid LIMIT ?5",
        )?;
        let rows = select
            .query_map(params![executable, fact::CONTENT, after.0, after.1, STEP as i64], |row| {
                Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
            })?
            .collect::<Result<Vec<((i64, u32), i64)>>>()?;
        let mut gone = false;
        for ((value, uid), seen) in &rows {
            if *seen < latest.min(since) {
                gone |= delete(db, (executable, fact::CONTENT, *value, *uid))?;
            }
        }
        if let Some((last, _)) = rows.last().filter(|_| rows.len() == STEP) {
            return Ok((Some(*last), gone));
        }
        self.many.pop();
        Ok((Some(FIRST_CONTENT), gone))
    }
}

fn delete(db: &Database, (executable, kind, value, uid): Key) -> Result<bool> {
    let deleted = db
        .prepare_cached("DELETE FROM fact WHERE executable = ?1 AND kind = ?2 AND value = ?3 AND uid = ?4")?
        .execute(params![executable, kind, value, uid])?;
    Ok(deleted > 0)
}
