// SPDX-License-Identifier: GPL-3.0-or-later
//! What is forgotten, in small steps: each transaction touches a bounded number of rows, and the writer does
//! its other work between two steps.
//!
//! Rows older than `detail_days` go: `daily` and `rollup` have had them since they were written. Everything
//! else but the programs themselves, with their names and contents, goes after `retention_days`. Hours are kept
//! two months longer than rows. Numbers that nothing refers to any more are swept once a day.
//!
//! A clock that is wrong for an hour must not cost the history: one round forgets at most two days that have
//! data, unless somebody has just changed the settings.

use picosnitch_api as api;
use rusqlite::{Connection as Database, Result, TransactionBehavior, params};

use super::Settings;
use super::dimension as numbers;
use super::rollup::{DAY, HOUR};
use super::writer::TIE_BITS;

/// Rows per transaction.
const STEP: i64 = 4_000;
/// Numbers of a table looked at per transaction.
const SWEEP: i64 = 4_000;
/// Pages given back to the file system per transaction.
const PAGES: i64 = 512;
/// Hours are kept this many days longer than the detail.
const HOURS_BEYOND_DETAIL: i64 = 60;

/// Days with data that one round may forget.
const DAYS_A_ROUND: i64 = 2;

/// When a `who` is referred to by nothing.
const WHO: &str = "NOT EXISTS (SELECT 1 FROM connection c WHERE c.who = t.id) AND NOT EXISTS (SELECT 1 FROM daily d WHERE d.who = t.id)
         AND NOT EXISTS (SELECT 1 FROM event e WHERE e.who = t.id) AND NOT EXISTS (SELECT 1 FROM who w WHERE w.folded = t.id)";

/// Tables of numbers, and when a row `t` of them is referred to by nothing. Who refers comes before what is
/// referred to. Contents and executables are what programs are known by: they stay.
const SWEPT: [(&str, &str); 8] = [
    ("who", WHO),
    // Again: those without command lines come before those that refer to them.
    ("who", WHO),
    (
        "peer",
        "NOT EXISTS (SELECT 1 FROM connection c WHERE c.peer = t.id) AND NOT EXISTS (SELECT 1 FROM daily d WHERE d.peer = t.id)",
    ),
    (
        "program",
        "NOT EXISTS (SELECT 1 FROM who w WHERE w.program = t.id) AND NOT EXISTS (SELECT 1 FROM who w WHERE w.parent = t.id)
         AND NOT EXISTS (SELECT 1 FROM who w WHERE w.grandparent = t.id)",
    ),
    ("cmdline", "NOT EXISTS (SELECT 1 FROM program p WHERE p.cmdline = t.id)"),
    ("domain", "NOT EXISTS (SELECT 1 FROM peer p WHERE p.domain = t.id) AND t.id NOT IN (SELECT domain FROM event)"),
    (
        "address",
        "NOT EXISTS (SELECT 1 FROM peer p WHERE p.remote = t.id) AND NOT EXISTS (SELECT 1 FROM peer p WHERE p.local = t.id)
         AND t.id NOT IN (SELECT remote FROM event)",
    ),
    (
        "word",
        "t.id NOT IN (SELECT name FROM program UNION SELECT script FROM program UNION SELECT pattern FROM program
           UNION SELECT unit FROM who UNION SELECT container FROM who UNION SELECT interface FROM peer
           UNION SELECT value FROM fact WHERE kind IN (1, 5))",
    ),
];

/// One step of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Detail,
    Daily,
    Hours,
    Days,
    Periods,
    Events,
    Volume,
    Sightings,
    Facts,
    /// Which table, and up to which number it is swept.
    Sweep(usize, i64),
    Vacuum,
}

/// Where the forgetting stands.
#[derive(Default)]
pub(super) struct Retention {
    /// Next step of the round; `None` between rounds.
    phase: Option<Phase>,
    /// First day of detail and first day at all that this round keeps.
    from: (i64, i64),
    /// The next round may forget as much as the settings say.
    unlimited: bool,
    /// Day of the last sweep.
    swept: i64,
    freed: bool,
}

impl Retention {
    /// A round is under way.
    pub(super) fn busy(&self) -> bool {
        self.phase.is_some()
    }

    /// Numbers may have been freed since the last call.
    pub(super) fn freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// Sweeps in the next round, whatever the day.
    pub(super) fn sweep_soon(&mut self) {
        self.swept = 0;
        self.phase = Some(Phase::Detail);
    }

    /// Somebody changed the settings.
    pub(super) fn obey(&mut self) {
        self.unlimited = true;
        self.phase = None;
    }

    /// Does one step of at most a few thousand rows; begins a round if none is under way. `now` in µs.
    pub(super) fn step(&mut self, db: &mut Database, settings: &Settings, now: i64) -> Result<()> {
        let today = now.div_euclid(DAY);
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self.phase.is_none() {
            self.from = bounds(&transaction, settings, today, std::mem::take(&mut self.unlimited))?;
        }
        let (detail_from, kept_from) = self.from;
        let delete = |sql: &str, bound: i64| -> Result<bool> {
            Ok(transaction.prepare_cached(sql)?.execute(params![bound, STEP])? > 0)
        };
        let phase = self.phase.unwrap_or(Phase::Detail);
        let next = match phase {
            Phase::Detail => {
                keep_from(&transaction, kept_from)?;
                let again = delete(
                    "DELETE FROM connection WHERE id IN (SELECT id FROM connection WHERE id < ?1 ORDER BY id LIMIT ?2)",
                    (detail_from * DAY) << TIE_BITS,
                )?;
                if again { phase } else { Phase::Daily }
            }
            Phase::Daily => {
                let again = delete(
                    "DELETE FROM daily WHERE (day, who, peer) IN (SELECT day, who, peer FROM daily WHERE day < ?1 LIMIT ?2)",
                    kept_from,
                )?;
                if again { phase } else { Phase::Hours }
            }
            Phase::Hours => {
                let from = (detail_from - HOURS_BEYOND_DETAIL).max(kept_from) * (DAY / HOUR);
                if rollups(&transaction, 0, from)? { phase } else { Phase::Days }
            }
            Phase::Days => {
                if rollups(&transaction, 1, kept_from)? {
                    phase
                } else {
                    Phase::Periods
                }
            }
            // A period goes with its first day: readers take the days of it that are left.
            Phase::Periods => {
                if rollups(&transaction, 2, -(-kept_from).div_euclid(28))? {
                    phase
                } else {
                    Phase::Events
                }
            }
            Phase::Events => {
                let again = delete(
                    "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE time < ?1 LIMIT ?2)",
                    kept_from * DAY,
                )?;
                if again { phase } else { Phase::Volume }
            }
            Phase::Volume => {
                let again = delete(
                    "DELETE FROM volume WHERE (day, uid) IN (SELECT day, uid FROM volume WHERE day < ?1 LIMIT ?2)",
                    kept_from,
                )?;
                if again { phase } else { Phase::Sightings }
            }
            Phase::Sightings => {
                let again = delete(
                    "DELETE FROM sighting_day WHERE (executable, day, uid) IN
                       (SELECT executable, day, uid FROM sighting_day WHERE day < ?1 LIMIT ?2)",
                    kept_from,
                )?;
                if again { phase } else { Phase::Facts }
            }
            Phase::Facts => {
                let again = delete(
                    "DELETE FROM fact WHERE (executable, kind, value, uid) IN
                       (SELECT executable, kind, value, uid FROM fact WHERE kind IN (3, 4, 5) AND last_seen < ?1 LIMIT ?2)",
                    kept_from * DAY,
                )?;
                if again {
                    phase
                } else if self.swept == today {
                    Phase::Vacuum
                } else {
                    Phase::Sweep(0, 0)
                }
            }
            Phase::Sweep(table, position) => sweep(&transaction, table, position)?,
            Phase::Vacuum => phase,
        };
        let again = phase == Phase::Vacuum && vacuum(&transaction)?;
        transaction.commit()?;
        if matches!(phase, Phase::Sweep(..)) {
            self.freed = true;
        }
        if next == Phase::Vacuum {
            self.swept = today;
        }
        self.phase = (next != Phase::Vacuum || phase != Phase::Vacuum || again).then_some(next);
        Ok(())
    }
}

/// First day of detail and first day at all that are kept.
fn bounds(db: &Database, settings: &Settings, today: i64, unlimited: bool) -> Result<(i64, i64)> {
    let (mut detail, mut all) =
        (today - i64::from(settings.detail_days), today - i64::from(settings.retention_days));
    if !unlimited {
        let oldest: Option<i64> = db.query_row("SELECT min(id) FROM connection", (), |row| row.get(0))?;
        if let Some(id) = oldest {
            detail = detail.min((id >> TIE_BITS).div_euclid(DAY) + DAYS_A_ROUND);
        }
        let oldest: Option<i64> = db.query_row("SELECT min(day) FROM volume", (), |row| row.get(0))?;
        if let Some(day) = oldest {
            all = all.min(day + DAYS_A_ROUND);
        }
    }
    Ok((detail, all))
}

/// Readers do not look before this day: a period may have lost some of its days.
fn keep_from(db: &Database, day: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES ('kept-from', ?1)
           ON CONFLICT DO UPDATE SET value = max(value, excluded.value) WHERE value < excluded.value",
    )?
    .execute([day])?;
    Ok(())
}

/// Deletes buckets before this one; true if there may be more.
fn rollups(db: &Database, level: i64, before: i64) -> Result<bool> {
    let mut delete = db.prepare_cached(
        "DELETE FROM rollup WHERE (level, dimension, bucket, key, executable, uid) IN
           (SELECT level, dimension, bucket, key, executable, uid FROM rollup
              WHERE level = ?1 AND dimension = ?2 AND bucket < ?3 LIMIT ?4)",
    )?;
    for (dimension, _) in api::Dimension::ALL {
        if delete.execute(params![level, numbers::dimension(dimension), before, STEP])? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks at the next numbers of a table and removes those that nothing refers to.
fn sweep(db: &Database, table: usize, position: i64) -> Result<Phase> {
    let Some((name, unused)) = SWEPT.get(table) else { return Ok(Phase::Vacuum) };
    let last: Option<i64> = db
        .prepare_cached(&format!(
            "SELECT max(id) FROM (SELECT id FROM {name} WHERE id > ?1 ORDER BY id LIMIT ?2)"
        ))?
        .query_row([position, SWEEP], |row| row.get(0))?;
    let Some(last) = last else { return Ok(Phase::Sweep(table + 1, 0)) };
    db.prepare_cached(&format!("DELETE FROM {name} AS t WHERE t.id > ?1 AND t.id <= ?2 AND {unused}"))?
        .execute([position, last])?;
    Ok(Phase::Sweep(table, last))
}

/// Gives pages back to the file system, but for a tenth that will be used again; true if there are more.
fn vacuum(db: &Database) -> Result<bool> {
    let free: i64 = db.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
    let all: i64 = db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
    let spare = (free - all / 10).clamp(0, PAGES);
    if spare > 0 {
        db.execute_batch(&format!("PRAGMA incremental_vacuum({spare})"))?;
    }
    Ok(spare == PAGES)
}
