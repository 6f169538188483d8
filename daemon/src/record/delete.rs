// SPDX-License-Identifier: GPL-3.0-or-later
//! History that a person wants gone, day by day and in small steps: the rows that match, then the day's totals
//! are made anew from what is left. Where only totals are left, whole days go, a folded command line goes as a
//! whole, and what remains of such a day loses its hours. Events that match go too. Programs stay known with
//! their names and contents: otherwise they would be announced as new.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;

use picosnitch_api::{self as api, Query};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, OptionalExtension as _, Result, TransactionBehavior, params};

use super::dimension as numbers;
use super::read::{self, Sql, key_sql};
use super::rollup::{DAY, HOUR};
use super::writer::{TIE_BITS, unavailable};
use crate::model::Viewer;

/// Rows per transaction.
const STEP: i64 = 4_000;

/// A deletion under way.
pub(super) struct Deletion {
    query: Query,
    rows: Sql,
    totals: Sql,
    /// Days still to do, the next one last.
    days: Vec<i64>,
    /// First day with rows.
    detail_from: i64,
    periods: BTreeSet<i64>,
    deleted: u64,
    events_done: bool,
    pub(super) answer: SyncSender<std::result::Result<u64, api::Error>>,
}

impl Deletion {
    /// Looks what there is to do.
    pub(super) fn new(
        db: &Database,
        query: &Query,
        viewer: &Viewer,
        answer: SyncSender<std::result::Result<u64, api::Error>>,
    ) -> std::result::Result<Self, api::Error> {
        let (rows, totals) = read::conditions(db, query, viewer)?;
        let days = days(db, query).map_err(unavailable)?;
        let oldest: Option<i64> =
            db.query_row("SELECT min(id) FROM connection", (), |row| row.get(0)).map_err(unavailable)?;
        Ok(Deletion {
            query: query.clone(),
            rows,
            totals,
            days,
            detail_from: oldest.map_or(i64::MAX, |id| (id >> TIE_BITS).div_euclid(DAY)),
            periods: BTreeSet::new(),
            deleted: 0,
            events_done: false,
            answer,
        })
    }

    /// Does one step; true when everything is done.
    pub(super) fn step(&mut self, db: &mut Database, viewer: &Viewer) -> Result<bool> {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !self.events_done {
            if let Ok(events) = read::event_conditions(&transaction, &self.query, viewer) {
                let sql = format!("DELETE FROM event WHERE id IN ({})", events.text);
                transaction.prepare(&sql)?.execute(rusqlite::params_from_iter(&events.values))?;
            }
            transaction.commit()?;
            self.events_done = true;
            return Ok(false);
        }
        let Some(day) = self.days.last().copied() else {
            if let Some(period) = self.periods.pop_first() {
                rebuild_period(&transaction, period)?;
                transaction.commit()?;
                return Ok(false);
            }
            tidy(&transaction)?;
            transaction.commit()?;
            return Ok(true);
        };
        let (from, to) = self.part(day);
        let sql = format!(
            "DELETE FROM connection WHERE id IN (SELECT c.id FROM connection c JOIN who w ON w.id = c.who
               JOIN peer p ON p.id = c.peer WHERE c.id >= ? AND c.id < ?{} LIMIT {STEP})",
            self.rows.text
        );
        let mut values = vec![Value::Integer(from << TIE_BITS), Value::Integer(to << TIE_BITS)];
        values.extend(self.rows.values.iter().cloned());
        let deleted = transaction.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(&values))?;
        self.deleted += deleted as u64;
        if deleted == 0 {
            self.totals_of(&transaction, day)?;
            self.periods.insert(day.div_euclid(28));
            self.days.pop();
        }
        transaction.commit()?;
        Ok(false)
    }

    pub(super) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// The part of this day that is in the range; the whole day where there are no rows any more.
    fn part(&self, day: i64) -> (i64, i64) {
        let (from, to) = (day * DAY, (day + 1) * DAY);
        if day < self.detail_from {
            return (from, to);
        }
        (from.max(self.query.since.unwrap_or(i64::MIN)), to.min(self.query.until.unwrap_or(i64::MAX)))
    }

    fn totals_of(&self, db: &Database, day: i64) -> Result<()> {
        // The oldest day with rows may have lost some of them to retention.
        let detailed = day > self.detail_from;
        if detailed {
            db.prepare_cached("DELETE FROM daily WHERE day = ?1")?.execute([day])?;
            db.prepare_cached(
                "INSERT INTO daily (day, who, peer, sent, received, connections)
                   SELECT ?1, CASE w.folded WHEN 0 THEN w.id ELSE w.folded END AS f, c.peer, sum(c.sent), sum(c.received), sum(c.connections)
                   FROM connection c JOIN who w ON w.id = c.who WHERE c.id >= ?2 AND c.id < ?3 GROUP BY f, c.peer",
            )?
            .execute(params![day, (day * DAY) << TIE_BITS, ((day + 1) * DAY) << TIE_BITS])?;
        } else {
            let sql = format!(
                "DELETE FROM daily WHERE (day, who, peer) IN (SELECT c.day, c.who, c.peer FROM daily c JOIN who w ON w.id = c.who
                   JOIN peer p ON p.id = c.peer WHERE c.day = ?{})",
                self.totals.text
            );
            let values: Vec<Value> =
                std::iter::once(Value::Integer(day)).chain(self.totals.values.iter().cloned()).collect();
            db.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(&values))?;
        }
        for (dimension, _) in api::Dimension::ALL {
            let number = numbers::dimension(dimension);
            for (level, first, last) in [(1, day, day + 1), (0, day * (DAY / HOUR), (day + 1) * (DAY / HOUR))]
            {
                db.prepare_cached(
                    "DELETE FROM rollup WHERE level = ?1 AND dimension = ?2 AND bucket >= ?3 AND bucket < ?4",
                )?
                .execute(params![level, number, first, last])?;
            }
            let insert = |level: i64, bucket: &str, table: &str, column: &str, from: i64, to: i64| {
                db.prepare_cached(&format!(
                    "INSERT INTO rollup (level, dimension, bucket, key, executable, uid, sent, received, connections)
                       SELECT ?1, ?2, {bucket} AS b, {} AS k, g.executable, w.uid, sum(c.sent), sum(c.received), sum(c.connections)
                       FROM {table} c JOIN who w ON w.id = c.who JOIN peer p ON p.id = c.peer JOIN program g ON g.id = w.program
                       WHERE {column} >= ?3 AND {column} < ?4 GROUP BY b, k, g.executable, w.uid",
                    key_sql(dimension)
                ))?
                .execute(params![level, number, from, to])
            };
            insert(1, "c.day", "daily", "c.day", day, day + 1)?;
            if detailed {
                let hour = format!("(c.id >> {TIE_BITS}) / {HOUR}");
                insert(
                    0,
                    &hour,
                    "connection",
                    "c.id",
                    (day * DAY) << TIE_BITS,
                    ((day + 1) * DAY) << TIE_BITS,
                )?;
            } else if day >= hours_from(db)? {
                let noon = format!("c.day * {} + 12", DAY / HOUR);
                insert(0, &noon, "daily", "c.day", day, day + 1)?;
            }
        }
        self.volume_of(db, day, detailed)
    }

    fn volume_of(&self, db: &Database, day: i64, detailed: bool) -> Result<()> {
        if detailed {
            db.prepare_cached(
                "UPDATE volume SET connections = (SELECT count(*) FROM connection c JOIN who w ON w.id = c.who
                   WHERE c.id >= ?2 AND c.id < ?3 AND w.uid = volume.uid) WHERE day = ?1",
            )?
            .execute(params![day, (day * DAY) << TIE_BITS, ((day + 1) * DAY) << TIE_BITS])?;
        } else {
            db.prepare_cached(
                "UPDATE volume SET connections = 0 WHERE day = ?1 AND uid NOT IN
                   (SELECT w.uid FROM daily c JOIN who w ON w.id = c.who WHERE c.day = ?1)",
            )?
            .execute([day])?;
        }
        db.prepare_cached(
            "UPDATE volume SET events = (SELECT count(*) FROM event e WHERE e.uid = volume.uid AND e.time >= ?2 AND e.time < ?3)
               WHERE day = ?1",
        )?
        .execute(params![day, day * DAY, (day + 1) * DAY])?;
        Ok(())
    }
}

/// First day whose hours are kept.
fn hours_from(db: &Database) -> Result<i64> {
    let hour: Option<i64> = db
        .prepare_cached("SELECT min(bucket) FROM rollup WHERE level = 0 AND dimension = 1")?
        .query_row((), |row| row.get(0))
        .optional()?
        .flatten();
    Ok(hour.map_or(i64::MAX, |hour| hour.div_euclid(DAY / HOUR)))
}

/// Days with data in the range.
fn days(db: &Database, q: &Query) -> Result<Vec<i64>> {
    let from = q.since.map_or(i64::MIN, |since| since.div_euclid(DAY));
    let to = q.until.map_or(i64::MAX, |until| until.saturating_sub(1).div_euclid(DAY));
    let mut statement =
        db.prepare("SELECT DISTINCT day FROM volume WHERE day BETWEEN ?1 AND ?2 ORDER BY day")?;
    statement.query_map([from, to], |row| row.get(0))?.collect()
}

fn rebuild_period(db: &Database, period: i64) -> Result<()> {
    for (dimension, _) in api::Dimension::ALL {
        let number = numbers::dimension(dimension);
        db.prepare_cached("DELETE FROM rollup WHERE level = 2 AND dimension = ?1 AND bucket = ?2")?
            .execute([number, period])?;
        db.prepare_cached(
            "INSERT INTO rollup (level, dimension, bucket, key, executable, uid, sent, received, connections)
               SELECT 2, ?1, ?2, key, executable, uid, sum(sent), sum(received), sum(connections) FROM rollup
               WHERE level = 1 AND dimension = ?1 AND bucket >= ?2 * 28 AND bucket < ?2 * 28 + 28 GROUP BY key, executable, uid",
        )?
        .execute([number, period])?;
    }
    Ok(())
}

/// What is said of programs follows from what is left.
fn tidy(db: &Database) -> Result<()> {
    let left = |dimension| {
        format!("(SELECT executable, key, uid FROM rollup WHERE level = 1 AND dimension = {dimension})")
    };
    for (kind, dimensions) in [
        (numbers::fact::DOMAIN, vec![api::Dimension::Domain]),
        (numbers::fact::PATTERN, vec![api::Dimension::Cmdline]),
        (numbers::fact::PORT, vec![api::Dimension::LocalPort, api::Dimension::RemotePort]),
    ] {
        let gone: Vec<String> = dimensions
            .into_iter()
            .map(|dimension| {
                format!("(executable, value, uid) NOT IN {}", left(numbers::dimension(dimension)))
            })
            .collect();
        db.execute(&format!("DELETE FROM fact WHERE kind = {kind} AND {}", gone.join(" AND ")), ())?;
    }
    let path = numbers::dimension(api::Dimension::Path);
    db.execute(
        &format!(
            "UPDATE sighting AS s SET (sent, received, connections) = (SELECT coalesce(sum(t.sent), 0), coalesce(sum(t.received), 0),
               coalesce(sum(t.connections), 0) FROM (SELECT executable, uid, sum(sent) AS sent, sum(received) AS received,
               sum(connections) AS connections FROM rollup WHERE level = 1 AND dimension = {path} GROUP BY executable, uid) t
               WHERE t.executable = s.executable AND t.uid = s.uid)"
        ),
        (),
    )?;
    Ok(())
}
