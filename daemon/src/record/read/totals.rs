// SPDX-License-Identifier: GPL-3.0-or-later
//! Rankings and charts: the widest chunks that fit inside the range (`plan.rs` says of which kind), and the rows
//! themselves for what is left at its ends.
//!
//! Beyond what is kept in detail the ends of a range are rounded outwards, to the hour or the day, and command
//! lines are matched as folded. Ports count where they name a service (`rollup.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use picosnitch_api::{self as api, Dimension, Query, row};
use rusqlite::{Connection as Database, OptionalExtension as _, Result};

use super::connections::hidden;
use super::filter::{self, Sql};
use super::maps::Maps;
use super::plan::{Plan, Table};
use super::row as columns;
use crate::model::Viewer;
use crate::record::chunk::{self, EDGE, Piece, Reach, Sums, WIDTHS, down, up};
use crate::record::dimension::{self, IN, NO_PORT, OUT};
use crate::record::rollup::{DAY, HOUR};
use crate::record::writer::{TIE_BITS, now, unavailable};

/// Points of a series at the most.
const POINTS: i64 = 300;
/// Series given if `limit` is not.
const SERIES: u32 = 12;
/// Series given at the most.
const MOST_SERIES: u32 = 50;
/// The longest range whose chart is made from rows.
const FINE: i64 = 3 * HOUR;

type Answer<T> = std::result::Result<T, api::Error>;

/// A query that is ready to be read.
struct Ask {
    plan: Plan,
    /// Conditions on rows, and the rows' key.
    rows: Sql,
    key: String,
}

impl Ask {
    fn new(db: &Database, maps: &Maps, by: Dimension, q: &Query, v: &Viewer) -> Answer<Self> {
        let filter = filter::filter(db, q, v)?;
        let key = match by {
            Dimension::Cmdline => {
                format!("CASE WHEN {} THEN g.pattern ELSE 0 END", filter::cmdline_uids("w.uid", v))
            }
            by => key_sql(by),
        };
        Ok(Ask { plan: Plan::new(db, maps, &filter, by, q, v)?, rows: filter.totals(), key })
    }

    /// The range is short: rows are found by their time and nothing else, whatever the planner thinks of the filters.
    fn sql(&self, (from, to): (i64, i64), width: i64) -> String {
        format!(
            "SELECT {} AS key, (c.id >> {TIE_BITS}) / {width} AS bucket, sum(c.sent), sum(c.received), sum(c.connections)
               FROM connection c CROSS JOIN who w ON w.id = c.who CROSS JOIN peer p ON p.id = c.peer
                 CROSS JOIN program g ON g.id = w.program
               WHERE c.id >= {} AND c.id < {}{} GROUP BY key, bucket",
            self.key,
            from << TIE_BITS,
            to << TIE_BITS,
            self.rows.text
        )
    }

    /// `key, time, sums` of the rows of a range in µs; times are rounded down to a width.
    fn rows(
        &self,
        db: &Database,
        range: (i64, i64),
        width: i64,
        mut give: impl FnMut(i64, i64, Sums),
    ) -> Result<()> {
        let sql = self.sql(range, width);
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(&self.rows.values))?;
        while let Some(row) = rows.next()? {
            let count = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
            let sums = Sums { sent: count(2)?, received: count(3)?, connections: count(4)? };
            give(row.get(0)?, row.get::<_, i64>(1)? * width, sums);
        }
        Ok(())
    }

    /// The sums of every key in a range.
    fn totals(&self, db: &Database, range: &Range) -> Result<HashMap<i64, Sums>> {
        let mut numbers: Table<Sums> = Table::new();
        self.plan.read(db, &range.pieces, |_, _, number, sums| numbers.at(number).add(sums))?;
        let mut totals: HashMap<i64, Sums> = HashMap::new();
        for (number, sums) in numbers.entries() {
            if sums != Sums::default() {
                totals.entry(self.plan.key(number)).or_default().add(sums);
            }
        }
        for rest in &range.rest {
            self.rows(db, *rest, rest.1 - rest.0, |key, _, sums| totals.entry(key).or_default().add(sums))?;
        }
        Ok(totals)
    }
}

/// The number of a dimension in a row of `program g`, `who w` and `peer p`.
pub(in crate::record) fn key_sql(by: Dimension) -> String {
    match by {
        Dimension::Path => "g.executable".to_owned(),
        Dimension::Name => "g.name".to_owned(),
        Dimension::Sha256 => "max(g.content, 0)".to_owned(),
        Dimension::Cmdline => "g.pattern".to_owned(),
        Dimension::Parent => "coalesce((SELECT executable FROM program WHERE id = w.parent), 0)".to_owned(),
        Dimension::Grandparent => {
            "coalesce((SELECT executable FROM program WHERE id = w.grandparent), 0)".to_owned()
        }
        Dimension::Uid => "w.uid".to_owned(),
        Dimension::Domain => "p.domain".to_owned(),
        Dimension::Address => "p.remote".to_owned(),
        Dimension::LocalPort => format!("CASE WHEN p.direction = {IN} THEN p.port ELSE {NO_PORT} END"),
        Dimension::RemotePort => format!("CASE WHEN p.direction = {OUT} THEN p.port ELSE {NO_PORT} END"),
        Dimension::Protocol => "p.protocol".to_owned(),
        Dimension::Direction => "p.direction".to_owned(),
        Dimension::Netns => "p.netns".to_owned(),
        Dimension::Unit => "w.unit".to_owned(),
        Dimension::Container => "w.container".to_owned(),
    }
}

/// A range as it is read: chunks, and what is left at its ends, µs.
struct Range {
    pieces: Vec<Piece>,
    rest: Vec<(i64, i64)>,
}

impl Range {
    /// The whole range of a query, with chunks up to this level.
    fn new(db: &Database, reach: &Reach, q: &Query, level: usize) -> Result<Self> {
        let mut to = q.until.unwrap_or(EDGE).clamp(0, EDGE);
        let mut from = q.since.unwrap_or(0).clamp(reach.kept.saturating_mul(DAY).clamp(0, EDGE), EDGE);
        // A range that ends after the newest row has no end that must be cut out.
        let newest: Option<i64> =
            db.prepare_cached("SELECT max(id) FROM connection")?.query_row((), |row| row.get(0))?;
        if newest.is_none_or(|id| (id >> TIE_BITS) < to) {
            to = EDGE;
        }
        // What is not there any more in detail is rounded outwards.
        let finest = |time: i64| {
            if time < reach.hours.saturating_mul(HOUR) {
                DAY
            } else if time < reach.detail.saturating_mul(DAY) {
                HOUR
            } else {
                1
            }
        };
        (from, to) = (down(from, finest(from)), up(to, finest(to)));
        let mut range = Range { pieces: Vec::new(), rest: Vec::new() };
        chunk::cover(reach, (from, to), level, &mut range.pieces, &mut range.rest);
        Ok(range)
    }
}

/// The largest keys, in order.
fn ranked(totals: HashMap<i64, Sums>, q: &Query, limit: u32) -> Vec<(i64, Sums)> {
    let mut all: Vec<(i64, Sums)> = totals.into_iter().filter(|(_, sums)| *sums != Sums::default()).collect();
    let by = |sums: &Sums| match q.sort.as_deref() {
        Some("sent") => sums.sent,
        Some("received") => sums.received,
        Some("connections") => sums.connections,
        _ => sums.sent.saturating_add(sums.received),
    };
    let descending = q.descending.unwrap_or(true);
    let order = |(a, x): &(i64, Sums), (b, y): &(i64, Sums)| {
        let larger = (by(x), x.connections).cmp(&(by(y), y.connections));
        if descending { larger.reverse() } else { larger }.then(a.cmp(b))
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if all.len() > limit && limit > 0 {
        all.select_nth_unstable_by(limit - 1, order);
    }
    all.truncate(limit);
    all.sort_unstable_by(order);
    all
}

fn total(db: &Database, by: Dimension, (key, sums): (i64, Sums)) -> Result<row::Total> {
    let Sums { sent, received, connections } = sums;
    Ok(row::Total { key: text(db, by, key)?, sent, received, connections })
}

fn check_sort(q: &Query) -> Answer<()> {
    match q.sort.as_deref() {
        None | Some("total" | "sent" | "received" | "connections") => Ok(()),
        Some(_) => {
            Err(api::Error::InvalidQuery("totals sort by total, sent, received or connections".to_owned()))
        }
    }
}

pub(super) fn summary(
    db: &Database,
    maps: &Arc<Maps>,
    by: Dimension,
    q: &Query,
    v: &Viewer,
) -> Answer<(Vec<row::Total>, u64)> {
    check_sort(q)?;
    let ask = Ask::new(db, maps, by, q, v)?;
    let answer = || -> Result<(Vec<row::Total>, u64)> {
        let range = Range::new(db, &Reach::read(db)?, q, WIDTHS.len() - 1)?;
        let ranking = ranked(ask.totals(db, &range)?, q, q.page());
        let totals = ranking.into_iter().map(|entry| total(db, by, entry)).collect::<Result<_>>()?;
        Ok((totals, hidden(db, q, v, "connections")?))
    };
    answer().map_err(unavailable)
}

/// Executables that ever had to do with what the query asks for.
pub(super) fn executables(db: &Database, maps: &Arc<Maps>, q: &Query, v: &Viewer) -> Answer<Vec<i64>> {
    let ask = Ask::new(db, maps, Dimension::Path, q, v)?;
    let answer = || -> Result<Vec<i64>> {
        let range = Range::new(db, &Reach::read(db)?, q, WIDTHS.len() - 1)?;
        Ok(ask.totals(db, &range)?.into_keys().collect())
    };
    answer().map_err(unavailable)
}

pub(super) fn series(
    db: &Database,
    maps: &Arc<Maps>,
    by: Dimension,
    q: &Query,
    v: &Viewer,
) -> Answer<(Vec<row::Series>, u64)> {
    check_sort(q)?;
    let ask = Ask::new(db, maps, by, q, v)?;
    let answer = || -> Result<(Vec<row::Series>, u64)> {
        let hidden = hidden(db, q, v, "connections")?;
        let Some((from, to)) = span(db, q, v)? else { return Ok((Vec::new(), hidden)) };
        let reach = Reach::read(db)?;
        let bounded = Query { since: Some(from), until: Some(to), ..q.clone() };
        let limit = q.limit.unwrap_or(SERIES).min(MOST_SERIES);
        let whole = Range::new(db, &reach, &bounded, WIDTHS.len() - 1)?;
        let ranking = ranked(ask.totals(db, &whole)?, q, limit);
        let (width, level) = resolution(from, to, &reach);
        let (first, last) = (down(from, width), up(to, width));
        let count = usize::try_from((last - first) / width).unwrap_or(0);
        let lines: HashMap<i64, usize> =
            ranking.iter().enumerate().map(|(line, (key, _))| (*key, line)).collect();
        let mut points = vec![(0u64, 0u64); lines.len() * count];
        let mut add = |line: usize, time: i64, sums: Sums| {
            let index = usize::try_from((time - first).div_euclid(width)).unwrap_or(0).min(count - 1);
            let (sent, received) = &mut points[line * count + index];
            *sent = sent.saturating_add(sums.sent);
            *received = received.saturating_add(sums.received);
        };
        match level {
            Some(level) => {
                let range = Range::new(db, &reach, &bounded, level)?;
                // Which line a number belongs to, 0 for none; worked out once for each.
                let mut line_of: Table<u32> = Table::new();
                ask.plan.read(db, &range.pieces, |level, bucket, number, sums| {
                    let known = line_of.at(number);
                    if *known == 0 {
                        let line = lines.get(&ask.plan.key(number)).copied();
                        *known = line.map_or(1, |line| u32::try_from(line + 2).unwrap_or(1));
                    }
                    if *known >= 2 {
                        add(*known as usize - 2, bucket * WIDTHS[level], sums);
                    }
                })?;
                for rest in &range.rest {
                    ask.rows(db, *rest, width, |key, time, sums| {
                        if let Some(line) = lines.get(&key) {
                            add(*line, time, sums);
                        }
                    })?;
                }
            }
            None => ask.rows(db, (first, last), width, |key, time, sums| {
                if let Some(line) = lines.get(&key) {
                    add(*line, time, sums);
                }
            })?,
        }
        let lines = ranking.into_iter().zip(points.chunks(count.max(1))).map(|((key, _), points)| {
            let times = (0..).map(|index| first + index * width);
            let points = times.zip(points).map(|(time, (sent, received))| row::Point {
                time,
                sent: *sent,
                received: *received,
            });
            Ok(row::Series { key: text(db, by, key)?, points: points.collect() })
        });
        Ok((lines.collect::<Result<_>>()?, hidden))
    };
    answer().map_err(unavailable)
}

/// The range with both ends: without them, from the first day that the viewer may see, until now.
fn span(db: &Database, q: &Query, v: &Viewer) -> Result<Option<(i64, i64)>> {
    let sql =
        format!("SELECT min(day) FROM volume WHERE connections > 0 AND {}", filter::uids("uid", &v.rows));
    let first: Option<i64> = db.prepare_cached(&sql)?.query_row((), |row| row.get(0))?;
    let Some(first) = first else { return Ok(None) };
    let to = q.until.unwrap_or_else(now).clamp(0, EDGE);
    let from = q.since.unwrap_or(i64::MIN).max(if q.since.is_some() { 0 } else { first * DAY }).min(to);
    // Nothing is before the first day: a range that begins long before it must not flatten the chart.
    let from = if to - from > 2 * 365 * DAY { from.max(first * DAY).min(to) } else { from };
    Ok((from < to).then_some((from, to)))
}

/// Width of the points, and the level they come from; `None`: from rows.
fn resolution(from: i64, to: i64, reach: &Reach) -> (i64, Option<usize>) {
    let fits = |width: i64| (up(to, width) - down(from, width)) / width <= POINTS;
    let multiple = |base: i64| (1..).map(|count| count * base).find(|width| fits(*width)).unwrap_or(base);
    if to - from <= FINE && from >= reach.detail.saturating_mul(DAY) {
        let widths = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300].map(|seconds| seconds * 1_000_000);
        return (widths.into_iter().find(|width| fits(*width)).unwrap_or(300_000_000), None);
    }
    if fits(HOUR) && from >= down(reach.hours.saturating_mul(HOUR), DAY) {
        return (HOUR, Some(0));
    }
    let days = multiple(DAY);
    if days > 4 * DAY { (multiple(WIDTHS[2]), Some(2)) } else { (days, Some(1)) }
}

/// What stands for this number; empty where it is unknown.
fn text(db: &Database, by: Dimension, number: i64) -> Result<String> {
    let bytes = |sql: &str| -> Result<Vec<u8>> {
        Ok(db.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()?.unwrap_or_default())
    };
    Ok(match by {
        Dimension::Path | Dimension::Parent | Dimension::Grandparent => {
            columns::text(&bytes("SELECT path FROM executable WHERE id = ?1")?)
        }
        Dimension::Name | Dimension::Cmdline | Dimension::Unit | Dimension::Container => {
            columns::text(&bytes("SELECT value FROM word WHERE id = ?1")?)
        }
        Dimension::Sha256 => columns::hex(&bytes("SELECT sha256 FROM content WHERE id = ?1")?),
        Dimension::Domain => columns::text(&bytes("SELECT value FROM domain WHERE id = ?1")?),
        Dimension::Address => columns::address(&bytes("SELECT value FROM address WHERE id = ?1")?)
            .map(|address| address.to_string())
            .unwrap_or_default(),
        Dimension::LocalPort | Dimension::RemotePort => {
            if number == NO_PORT {
                String::new()
            } else {
                number.to_string()
            }
        }
        Dimension::Protocol => dimension::protocol_word(number),
        Dimension::Direction => dimension::direction_word(number).unwrap_or_default().to_owned(),
        Dimension::Uid | Dimension::Netns => number.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// Every query that reads rows finds them by their time, however many there are.
    #[test]
    fn s10_no_ranking_or_chart_looks_at_every_row() {
        let mut db = Database::open_in_memory().unwrap();
        crate::record::database::migrate(&mut db, 0).unwrap();
        let maps = Arc::default();
        let text = |text: &str| Some(text.to_owned());
        let queries = [
            Query::default(),
            Query { path: text("/bin/x"), ..Query::default() },
            Query { domain: text("example.org"), ..Query::default() },
            Query { address: "192.0.2.0/24".parse().ok(), remote_port: Some(443), ..Query::default() },
            Query { uid: Some(1000), unit: text("x.service"), ..Query::default() },
            Query { search: text("x"), ..Query::default() },
            Query { cmdline: text("x"), protocol: text("tcp"), ..Query::default() },
        ];
        let bob = Viewer { rows: vec![1001..=1001, 0..=999], cmdlines: vec![1001..=1001] };
        for v in [Viewer::everything(), bob] {
            for q in &queries {
                for (by, word) in Dimension::ALL {
                    let ask = Ask::new(&db, &maps, by, q, &v).unwrap();
                    let sql = format!("EXPLAIN QUERY PLAN {}", ask.sql((HOUR, HOUR + 1000), 1000));
                    let mut statement = db.prepare(&sql).unwrap();
                    let steps = statement
                        .query_map(rusqlite::params_from_iter(&ask.rows.values), |row| {
                            row.get::<_, String>(3)
                        })
                        .unwrap();
                    let steps: Vec<String> = steps.map(Result::unwrap).collect();
                    let by_time = |step: &&String| step.starts_with("SEARCH c USING INTEGER PRIMARY KEY");
                    assert_eq!(steps.iter().filter(by_time).count(), 1, "{word}, {q:?}: {steps:?}");
                }
            }
        }
    }
}
