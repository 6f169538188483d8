// SPDX-License-Identifier: GPL-3.0-or-later
//! Rankings and charts.
//!
//! Where the filters allow it they come from `rollup`: whole periods, days and hours inside the range, and
//! the rows themselves for what is left at its ends. Filters that allow it: program, uid, and one further
//! dimension if the grouping is by that one, by program or by uid. All other filters are answered by `daily`
//! for whole days and by the rows for the ends; there a command line is matched as folded.
//!
//! Beyond what is kept in detail the ends of a range are rounded outwards, to the hour or the day. Ports count
//! where they name a service (`rollup.rs`).

use std::collections::HashMap;

use picosnitch_api::{self as api, Dimension, Query, row};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, OptionalExtension as _, Result};

use super::connections::hidden;
use super::filter::{self, Sql};
use super::row as columns;
use crate::model::Viewer;
use crate::record::dimension::{self, IN, NO_PORT, OUT};
use crate::record::rollup::{DAY, HOUR, LEVELS};
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

/// Where a total comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Rows of `rollup`, by level.
    Rollup(usize),
    Daily,
    Detail,
}

/// A source with the range of it, in its own units: buckets, days, ids.
type Piece = (Source, i64, i64);

/// A query that is ready to be turned into SQL.
struct Plan {
    by: Dimension,
    /// Filters of `rollup`, if it can answer: dimension to read, column to group by, conditions.
    rollup: Option<(Dimension, &'static str, Sql)>,
    rows: Sql,
    cmdline_uids: (String, String),
}

impl Plan {
    fn new(db: &Database, by: Dimension, q: &Query, v: &Viewer) -> Answer<Self> {
        let filter = filter::filter(db, q, v)?;
        Ok(Plan {
            by,
            rollup: from_rollup(by, q, v),
            rows: filter.totals(),
            cmdline_uids: (filter::cmdline_uids("w.uid", v), filter::cmdline_uids("r.uid", v)),
        })
    }

    /// `key, bucket, sent, received, connections` of one piece; `bucket` of the given width in µs.
    fn sql(&self, (source, from, to): Piece, width: Option<i64>) -> Sql {
        let mut sql = Sql::default();
        match (source, &self.rollup) {
            (Source::Rollup(level), Some((dimension, column, conditions))) => {
                let key = if self.by == Dimension::Cmdline {
                    format!("CASE WHEN {} THEN r.{column} ELSE 0 END", self.cmdline_uids.1)
                } else {
                    format!("r.{column}")
                };
                let bucket =
                    width.map_or("0".to_owned(), |width| format!("(r.bucket * {}) / {width}", LEVELS[level]));
                sql.text = format!(
                    "SELECT {key} AS key, {bucket} AS bucket, r.sent AS sent, r.received AS received, r.connections AS connections
                       FROM rollup r WHERE r.level = {level} AND r.dimension = {} AND r.bucket >= {from} AND r.bucket < {to}",
                    dimension::dimension(*dimension)
                );
                sql.and_all(conditions);
            }
            (Source::Detail, _) => {
                let bucket = width.map_or("0".to_owned(), |width| format!("(c.id >> {TIE_BITS}) / {width}"));
                sql = self.rows(&bucket, "connection", "c.id", from, to);
            }
            (Source::Daily | Source::Rollup(_), _) => {
                let bucket = width.map_or("0".to_owned(), |width| format!("(c.day * {DAY}) / {width}"));
                sql = self.rows(&bucket, "daily", "c.day", from, to);
            }
        }
        sql
    }

    fn rows(&self, bucket: &str, table: &str, column: &str, from: i64, to: i64) -> Sql {
        let key = match self.by {
            Dimension::Cmdline => format!("CASE WHEN {} THEN g.pattern ELSE 0 END", self.cmdline_uids.0),
            by => key_sql(by),
        };
        let mut sql = Sql {
            text: format!(
                "SELECT {key} AS key, {bucket} AS bucket, c.sent AS sent, c.received AS received, c.connections AS connections
                   FROM {table} c JOIN who w ON w.id = c.who JOIN peer p ON p.id = c.peer JOIN program g ON g.id = w.program
                   WHERE {column} >= {from} AND {column} < {to}"
            ),
            values: Vec::new(),
        };
        sql.and_all(&self.rows);
        sql
    }

    /// All pieces, one after the other.
    fn union(&self, pieces: &[Piece], width: Option<i64>) -> Sql {
        let mut all = Sql::default();
        for piece in pieces {
            let sql = self.sql(*piece, width);
            if !all.text.is_empty() {
                all.text.push_str(" UNION ALL ");
            }
            all.text.push_str(&sql.text);
            all.values.extend(sql.values);
        }
        all
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

/// The conditions on `rollup r` that stand for the query's filters, if there are such.
fn from_rollup(by: Dimension, q: &Query, v: &Viewer) -> Option<(Dimension, &'static str, Sql)> {
    let mut sql = Sql::default();
    sql.and(&filter::uids("r.uid", &v.rows), []);
    let blob = |text: &str| Value::Blob(text.as_bytes().to_vec());
    let executables = "(SELECT id FROM executable WHERE path = ?)";
    if let Some(path) = &q.path {
        sql.and(&format!("r.executable IN {executables}"), [blob(path)]);
    }
    if let Some(uid) = q.uid {
        sql.and("r.uid = ?", [Value::Integer(uid.into())]);
    }
    if q.cmdline.is_some() || q.search.is_some() {
        return None;
    }
    let mut others: Vec<(Dimension, String, Vec<Value>)> = Vec::new();
    let word = "r.key IN (SELECT id FROM word WHERE kind = ? AND value = ?)";
    for (dimension, kind, value) in [
        (Dimension::Name, dimension::word::NAME, &q.name),
        (Dimension::Unit, dimension::word::UNIT, &q.unit),
        (Dimension::Container, dimension::word::CONTAINER, &q.container),
    ] {
        if let Some(value) = value {
            others.push((dimension, word.to_owned(), vec![Value::Integer(kind), blob(value)]));
        }
    }
    for (dimension, path) in [(Dimension::Parent, &q.parent), (Dimension::Grandparent, &q.grandparent)] {
        if let Some(path) = path {
            others.push((dimension, format!("r.key IN {executables}"), vec![blob(path)]));
        }
    }
    if let Some(sha256) = &q.sha256 {
        let sha256 = Value::Blob(filter::unhex(sha256).unwrap_or_default());
        others.push((
            Dimension::Sha256,
            "r.key IN (SELECT id FROM content WHERE sha256 = ?)".to_owned(),
            vec![sha256],
        ));
    }
    if let Some((condition, values)) = filter::domain_key(q) {
        others.push((Dimension::Domain, condition.replace("p.domain", "r.key"), values));
    }
    if let Some((condition, values)) = filter::address_key(q) {
        others.push((Dimension::Address, condition.replace("p.remote", "r.key"), values));
    }
    let protocol = q.protocol.as_deref().and_then(dimension::protocol_number);
    let direction = q.direction.as_deref().map(|word| if word == "in" { IN } else { OUT });
    for (dimension, number) in [
        (Dimension::LocalPort, q.local_port.map(i64::from)),
        (Dimension::RemotePort, q.remote_port.map(i64::from)),
        (Dimension::Protocol, protocol),
        (Dimension::Direction, direction),
        (Dimension::Netns, q.netns.map(i64::from)),
    ] {
        if let Some(number) = number {
            others.push((dimension, "r.key = ?".to_owned(), vec![Value::Integer(number)]));
        }
    }
    let column = match by {
        Dimension::Path => "executable",
        Dimension::Uid => "uid",
        _ => "key",
    };
    match others.pop() {
        None => Some((by, "key", sql)),
        Some((dimension, condition, values)) if others.is_empty() && (dimension == by || column != "key") => {
            sql.and(&condition, values);
            Some((dimension, column, sql))
        }
        Some(_) => None,
    }
}

/// How far back hours and rows go: the first of each, µs.
fn oldest(db: &Database) -> Result<(i64, i64)> {
    let hours: Option<i64> = db
        .prepare_cached("SELECT min(bucket) FROM rollup WHERE level = 0 AND dimension = 1")?
        .query_row((), |row| row.get(0))?;
    let detail: Option<i64> =
        db.prepare_cached("SELECT min(id) FROM connection")?.query_row((), |row| row.get(0))?;
    let hours = hours.map_or(i64::MAX, |bucket| bucket.saturating_mul(HOUR));
    Ok((hours, detail.map_or(i64::MAX, |id| id >> TIE_BITS)))
}

/// The same, for a record that is still young: nothing of it was folded yet, so that there is known to be
/// nothing before its first row, and hours and rows answer for any time.
fn reach(db: &Database, (hours, detail): (i64, i64)) -> Result<(i64, i64)> {
    let day: Option<i64> = db
        .prepare_cached("SELECT min(bucket) FROM rollup WHERE level = 1 AND dimension = 1")?
        .query_row((), |row| row.get(0))?;
    match day {
        Some(day) if hours < i64::MAX && day.saturating_mul(LEVELS[1]) >= down(hours, LEVELS[1]) => {
            Ok((0, if detail < hours + HOUR { 0 } else { detail }))
        }
        _ => Ok((hours, detail)),
    }
}

/// Far enough in both directions, and a whole number of everything.
const EDGE: i64 = 28 * DAY * 3500;

fn down(time: i64, width: i64) -> i64 {
    time.div_euclid(width) * width
}

fn up(time: i64, width: i64) -> i64 {
    -(-time).div_euclid(width) * width
}

/// The range in pieces, coarse ones where they fit.
fn pieces(db: &Database, q: &Query, rollup: bool) -> Result<Vec<Piece>> {
    let (hours, detail) = reach(db, oldest(db)?)?;
    // A period may have lost its first days to retention, and with them itself.
    let kept: Option<i64> = db
        .prepare_cached("SELECT value FROM meta WHERE key = 'kept-from'")?
        .query_row((), |row| row.get(0))
        .optional()?;
    let kept = kept.map_or(-EDGE, |day| day.saturating_mul(DAY)).clamp(-EDGE, EDGE);
    let mut from = q.since.unwrap_or(-EDGE).clamp(kept, EDGE);
    let mut to = q.until.unwrap_or(EDGE).clamp(-EDGE, EDGE);
    // A range that ends after the newest row has no end that must be cut out.
    let newest: Option<i64> =
        db.prepare_cached("SELECT max(id) FROM connection")?.query_row((), |row| row.get(0))?;
    if newest.is_none_or(|id| (id >> TIE_BITS) < to) {
        to = EDGE;
    }
    // What is not there any more in detail is rounded outwards.
    let finest = |time: i64| {
        if rollup && time < hours || !rollup && time < detail {
            DAY
        } else if rollup && time < detail {
            HOUR
        } else {
            1
        }
    };
    (from, to) = (down(from, finest(from)), up(to, finest(to)));
    let mut pieces = Vec::new();
    split(&mut pieces, from, to, if rollup { 3 } else { 0 });
    if !rollup {
        pieces.clear();
        let (first, last) = (up(from, DAY), down(to, DAY));
        if first < last {
            pieces.push((Source::Daily, first / DAY, last / DAY));
            rows(&mut pieces, from, first);
            rows(&mut pieces, last, to);
        } else {
            rows(&mut pieces, from, to);
        }
    }
    Ok(pieces)
}

fn rows(pieces: &mut Vec<Piece>, from: i64, to: i64) {
    if from < to {
        pieces.push((Source::Detail, from << TIE_BITS, to << TIE_BITS));
    }
}

/// Whole buckets of the coarsest level in the middle, the rest with the next finer one.
fn split(pieces: &mut Vec<Piece>, from: i64, to: i64, levels: usize) {
    if from >= to {
        return;
    }
    let Some(level) = levels.checked_sub(1) else { return rows(pieces, from, to) };
    let width = LEVELS[level];
    let (first, last) = (up(from, width), down(to, width));
    if first >= last {
        return split(pieces, from, to, level);
    }
    pieces.push((Source::Rollup(level), first / width, last / width));
    split(pieces, from, first, level);
    split(pieces, last, to, level);
}

fn ranked(
    db: &Database,
    plan: &Plan,
    pieces: &[Piece],
    q: &Query,
    limit: u32,
) -> Result<Vec<(i64, row::Total)>> {
    let union = plan.union(pieces, None);
    if union.text.is_empty() {
        return Ok(Vec::new());
    }
    let order = match q.sort.as_deref() {
        Some("sent") => "s",
        Some("received") => "r",
        Some("connections") => "n",
        _ => "s + r",
    };
    let descending = if q.descending.unwrap_or(true) { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT key, sum(sent) AS s, sum(received) AS r, sum(connections) AS n FROM ({}) GROUP BY key
           HAVING s <> 0 OR r <> 0 OR n <> 0 ORDER BY {order} {descending}, n {descending}, key LIMIT {limit}",
        union.text
    );
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(&union.values))?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        let count = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
        let total = row::Total {
            key: text(db, plan.by, number)?,
            sent: count(1)?,
            received: count(2)?,
            connections: count(3)?,
        };
        totals.push((number, total));
    }
    Ok(totals)
}

fn check_sort(q: &Query) -> Answer<()> {
    match q.sort.as_deref() {
        None | Some("total" | "sent" | "received" | "connections") => Ok(()),
        Some(_) => {
            Err(api::Error::InvalidQuery("totals sort by total, sent, received or connections".to_owned()))
        }
    }
}

pub(super) fn summary(db: &Database, by: Dimension, q: &Query, v: &Viewer) -> Answer<(Vec<row::Total>, u64)> {
    check_sort(q)?;
    let plan = Plan::new(db, by, q, v)?;
    let ask = || -> Result<(Vec<row::Total>, u64)> {
        let pieces = pieces(db, q, plan.rollup.is_some())?;
        let totals = ranked(db, &plan, &pieces, q, q.page())?;
        Ok((totals.into_iter().map(|(_, total)| total).collect(), hidden(db, q, v, "connections")?))
    };
    ask().map_err(unavailable)
}

pub(super) fn series(db: &Database, by: Dimension, q: &Query, v: &Viewer) -> Answer<(Vec<row::Series>, u64)> {
    check_sort(q)?;
    let plan = Plan::new(db, by, q, v)?;
    let ask = || -> Result<(Vec<row::Series>, u64)> {
        let hidden = hidden(db, q, v, "connections")?;
        let Some((from, to)) = span(db, q, v)? else { return Ok((Vec::new(), hidden)) };
        let rollup = plan.rollup.is_some();
        let bounded = Query { since: Some(from), until: Some(to), ..q.clone() };
        let limit = q.limit.unwrap_or(SERIES).min(MOST_SERIES);
        let ranking = ranked(db, &plan, &pieces(db, &bounded, rollup)?, q, limit)?;
        let (hours, detail) = reach(db, oldest(db)?)?;
        let (width, source) = resolution(from, to, rollup, hours, detail);
        let (first, last) = (down(from, width), up(to, width));
        let piece = match source {
            Source::Detail => (source, first << TIE_BITS, last << TIE_BITS),
            Source::Daily => (source, first / DAY, last / DAY),
            Source::Rollup(level) => (source, first / LEVELS[level], last / LEVELS[level]),
        };
        let points = points(db, &plan, piece, width, &ranking)?;
        let count = (last - first) / width;
        let lines = ranking.into_iter().map(|(number, total)| row::Series {
            key: total.key,
            points: (0..count)
                .map(|index| {
                    let bucket = first / width + index;
                    let (sent, received) = points.get(&(number, bucket)).copied().unwrap_or_default();
                    row::Point { time: bucket * width, sent, received }
                })
                .collect(),
        });
        Ok((lines.collect(), hidden))
    };
    ask().map_err(unavailable)
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

/// Width of the points and where they come from.
fn resolution(from: i64, to: i64, rollup: bool, hours: i64, detail: i64) -> (i64, Source) {
    let fits = |width: i64| (up(to, width) - down(from, width)) / width <= POINTS;
    let multiple = |base: i64| (1..).map(|count| count * base).find(|width| fits(*width)).unwrap_or(base);
    if to - from <= FINE && (from >= detail || !rollup) {
        let widths = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300].map(|seconds| seconds * 1_000_000);
        return (widths.into_iter().find(|width| fits(*width)).unwrap_or(300_000_000), Source::Detail);
    }
    if !rollup {
        // Rows answer for two days; beyond them a point is a day.
        if to - from <= 2 * DAY && from >= detail {
            return (multiple(HOUR), Source::Detail);
        }
        return (multiple(DAY), Source::Daily);
    }
    if fits(HOUR) && from >= down(hours, DAY) {
        (HOUR, Source::Rollup(0))
    } else {
        (multiple(DAY), Source::Rollup(1))
    }
}

/// Sent and received by key and bucket, of the keys of the ranking.
fn points(
    db: &Database,
    plan: &Plan,
    piece: Piece,
    width: i64,
    ranking: &[(i64, row::Total)],
) -> Result<HashMap<(i64, i64), (u64, u64)>> {
    let keys: Vec<String> = ranking.iter().map(|(number, _)| number.to_string()).collect();
    let sql = plan.sql(piece, Some(width));
    let text = format!(
        "SELECT key, bucket, sum(sent), sum(received) FROM ({}) WHERE key IN ({}) GROUP BY key, bucket",
        sql.text,
        keys.join(",")
    );
    let mut statement = db.prepare(&text)?;
    let mut rows = statement.query(rusqlite::params_from_iter(&sql.values))?;
    let mut points = HashMap::new();
    while let Some(row) = rows.next()? {
        let count = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
        points.insert((row.get(0)?, row.get(1)?), (count(2)?, count(3)?));
    }
    Ok(points)
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
