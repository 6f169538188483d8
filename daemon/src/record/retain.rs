// SPDX-License-Identifier: GPL-3.0-or-later
//! What is forgotten, in small steps: each transaction touches a bounded number of rows, and the writer does
//! its other work between two steps.

use picosnitch_api as api;
use rusqlite::{Connection as Database, Result, TransactionBehavior, params};

use super::Settings;
use super::dimension as numbers;
use super::rollup::{DAY, HOUR};
use super::writer::TIE_BITS;
use crate::model::Viewer;

/// Rows per transaction.
const STEP: i64 = 5_000;
/// Pages given back to the file system per transaction.
const PAGES: i64 = 256;
/// Hours are kept this many days longer than the detail.
const HOURS_BEYOND_DETAIL: i64 = 60;

/// Where the forgetting stands.
#[derive(Default)]
pub(super) struct Retention {
    /// Step of the current round; `None` between rounds.
    phase: Option<usize>,
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

    /// Does one step of at most a few thousand rows.
    pub(super) fn step(&mut self, db: &mut Database, settings: &Settings, now: i64) -> Result<()> {
        let phase = self.phase.unwrap_or(0);
        let today = now.div_euclid(DAY);
        let detail_from = (today - i64::from(settings.detail_days)) * DAY;
        let kept_from = today - i64::from(settings.retention_days);
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let delete = |sql: &str, bound: i64| -> Result<bool> {
            Ok(transaction.prepare_cached(sql)?.execute(params![bound, STEP])?
                == usize::try_from(STEP).unwrap_or(usize::MAX))
        };
        let again = match phase {
            0 => delete(
                "DELETE FROM connection WHERE id IN (SELECT id FROM connection WHERE id < ?1 ORDER BY id LIMIT ?2)",
                detail_from << TIE_BITS,
            )?,
            1 => delete(
                "DELETE FROM daily WHERE (day, who, peer) IN (SELECT day, who, peer FROM daily WHERE day < ?1 LIMIT ?2)",
                kept_from,
            )?,
            2 => rollups(
                &transaction,
                0,
                ((detail_from / DAY - HOURS_BEYOND_DETAIL) * (DAY / HOUR)).max(kept_from * (DAY / HOUR)),
            )?,
            3 => rollups(&transaction, 1, kept_from)?,
            4 => rollups(&transaction, 2, kept_from.div_euclid(28))?,
            5 => delete(
                "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE time < ?1 LIMIT ?2)",
                kept_from * DAY,
            )?,
            6 => delete(
                "DELETE FROM volume WHERE (day, uid) IN (SELECT day, uid FROM volume WHERE day < ?1 LIMIT ?2)",
                kept_from,
            )?,
            7 => {
                transaction.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                let free: i64 = transaction.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
                free > PAGES
            }
            _ => false,
        };
        transaction.commit()?;
        self.freed = true;
        self.phase = match (again, phase) {
            (true, phase) => Some(phase),
            (false, 7..) => None,
            (false, phase) => Some(phase + 1),
        };
        Ok(())
    }
}

/// Deletes buckets before this one; true if there may be more.
fn rollups(db: &Database, level: i64, before: i64) -> Result<bool> {
    for (dimension, _) in api::Dimension::ALL {
        let deleted = db
            .prepare_cached(
                "DELETE FROM rollup WHERE (level, dimension, bucket, key, executable, uid) IN
                   (SELECT level, dimension, bucket, key, executable, uid FROM rollup
                      WHERE level = ?1 AND dimension = ?2 AND bucket < ?3 LIMIT ?4)",
            )?
            .execute(params![level, numbers::dimension(dimension), before, STEP])?;
        if deleted > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes what the query selects.
pub(super) fn delete(
    _db: &mut Database,
    _query: &api::Query,
    _viewer: &Viewer,
) -> std::result::Result<u64, api::Error> {
    Err(api::Error::Unavailable("not built yet".to_owned()))
}
