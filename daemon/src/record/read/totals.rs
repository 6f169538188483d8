// SPDX-License-Identifier: GPL-3.0-or-later
//! Rankings and charts: the widest chunks that fit inside the range (`plan.rs` says of which kind), and the rows
//! themselves for what is left at its ends.
//!
//! Beyond what is kept in detail the ends of a range are rounded outwards, to the hour or the day, and command
//! lines are matched as folded. Ports count where they name a service (`rollup.rs`).

use std::sync::Arc;

use picosnitch_api::{self as api, Dimension, Query, row};
use rusqlite::{Connection as Database, OptionalExtension as _, Result};

use super::connections::hidden;
use super::filter;
use super::maps::Maps;
use super::plan::{Plan, Table};
use super::rest;
use super::row as columns;
use crate::model::Viewer;
use crate::record::Map;
use crate::record::chunk::{self, EDGE, Piece, Reach, Sums, WIDTHS, down, up};
use crate::record::dimension::{self, NO_PORT};
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
struct Ask<'a> {
    db: &'a Database,
    maps: &'a Maps,
    plan: Plan,
}

impl<'a> Ask<'a> {
    fn new(db: &'a Database, maps: &'a Maps, by: Dimension, q: &Query, v: &Viewer) -> Answer<Self> {
        Ok(Ask { db, maps, plan: Plan::new(db, maps, by, q, v)? })
    }

    /// Number, time and sums of the rows of a range in µs; times are rounded down to a width.
    fn rows(&self, range: (i64, i64), width: i64, mut give: impl FnMut(i64, i64, Sums)) -> Result<()> {
        rest::read(self.db, self.maps, &self.plan, range, |number, time, sums| {
            give(number, down(time, width), sums);
        })
    }

    /// The sums of every key in a range.
    fn totals(&self, range: &Range) -> Result<Map<i64, Sums>> {
        Ok(self.by_key(&self.numbers(range)?))
    }

    /// The sums of every number that is grouped by.
    fn numbers(&self, range: &Range) -> Result<Table<Sums>> {
        let mut numbers: Table<Sums> = Table::new();
        self.plan.read(self.db, &range.pieces, None, |_, _, number, sums| numbers.at(number).add(sums))?;
        for (from, to) in &range.rest {
            for hour in from.div_euclid(HOUR)..up(*to, HOUR) / HOUR {
                let part = ((*from).max(hour * HOUR), (*to).min((hour + 1) * HOUR));
                self.part_of_hour(hour, part, &mut numbers)?;
            }
        }
        Ok(numbers)
    }

    /// Adds what a part of an hour has: its rows, or all of the hour without the rows of the rest of it, if those are
    /// few among many.
    fn part_of_hour(&self, hour: i64, (from, to): (i64, i64), numbers: &mut Table<Sums>) -> Result<()> {
        let outside = [(hour * HOUR, from), (to, (hour + 1) * HOUR)];
        if !self.plan.is_of_folded() || !rest::few(self.db, hour, &outside)? {
            return self.rows((from, to), 1, |number, _, sums| numbers.at(number).add(sums));
        }
        let whole = [(0, hour, hour + 1)];
        self.plan.read(self.db, &whole, None, |_, _, number, sums| numbers.at(number).add(sums))?;
        for range in outside {
            rest::read_few(self.db, self.maps, &self.plan, range, |number, _, sums| {
                numbers.at(number).take(sums);
            })?;
        }
        Ok(())
    }

    fn by_key(&self, numbers: &Table<Sums>) -> Map<i64, Sums> {
        let mut totals: Map<i64, Sums> = Map::default();
        for (number, sums) in numbers.entries() {
            if sums != Sums::default() {
                totals.entry(self.plan.key(number)).or_default().add(sums);
            }
        }
        totals
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
fn ranked(totals: Map<i64, Sums>, q: &Query, limit: u32) -> Vec<(i64, Sums)> {
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

/// How many of the totals were read already: the cursor is their number.
fn skipped(q: &Query) -> Answer<u32> {
    match q.cursor.as_deref() {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_| {
            api::Error::InvalidQuery("cursor of totals is how many of them come before".to_owned())
        }),
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
    let skip = skipped(q)?;
    let ask = Ask::new(db, maps, by, q, v)?;
    let answer = || -> Result<(Vec<row::Total>, u64)> {
        let range = Range::new(db, &Reach::read(db)?, q, WIDTHS.len() - 1)?;
        let ranking = ranked(ask.totals(&range)?, q, skip.saturating_add(q.page()));
        let totals = ranking
            .into_iter()
            .skip(skip as usize)
            .map(|entry| total(db, by, entry))
            .collect::<Result<_>>()?;
        Ok((totals, hidden(db, q, v, "connections")?))
    };
    answer().map_err(unavailable)
}

/// The sums of every program that has to do with what the query asks for.
pub(super) fn by_program(db: &Database, maps: &Arc<Maps>, q: &Query, v: &Viewer) -> Answer<Map<i64, Sums>> {
    let ask = Ask::new(db, maps, Dimension::Path, q, v)?;
    let answer = || ask.totals(&Range::new(db, &Reach::read(db)?, q, WIDTHS.len() - 1)?);
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
        let numbers = ask.numbers(&whole)?;
        let ranking = ranked(ask.by_key(&numbers), q, limit);
        let (width, level) = resolution(from, to, &reach);
        let (first, last) = (down(from, width), up(to, width));
        let count = usize::try_from((last - first) / width).unwrap_or(0);
        // Of the thousands of peers without a name, say, those that this program has to do with. Rows are read a
        // little over the ends of the range, where there may be others.
        let counts = |number| level.is_none() || numbers.get(number) != Sums::default();
        let lines = ask.plan.lines(ranking.iter().map(|(key, _)| *key), counts);
        let mut points = vec![(0u64, 0u64); ranking.len() * count];
        let mut put = |number: i64, time: i64, sums: Sums| {
            let Some(line) = (lines.get(number) as usize).checked_sub(1) else { return };
            let index = usize::try_from((time - first).div_euclid(width)).unwrap_or(0).min(count - 1);
            let (sent, received) = &mut points[line * count + index];
            *sent = sent.saturating_add(sums.sent);
            *received = received.saturating_add(sums.received);
        };
        match level {
            Some(level) => {
                let range = Range::new(db, &reach, &bounded, level)?;
                ask.plan.read(db, &range.pieces, Some(&lines), |level, bucket, number, sums| {
                    put(number, bucket * WIDTHS[level], sums);
                })?;
                for rest in &range.rest {
                    ask.rows(*rest, width, &mut put)?;
                }
            }
            None => ask.rows((first, last), width, &mut put)?,
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
        Dimension::Netns if number == 0 => String::new(),
        Dimension::Uid | Dimension::Netns => number.to_string(),
    })
}
