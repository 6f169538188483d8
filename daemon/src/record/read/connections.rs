// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of connections. Two ways to find the next rows: walk along the time and look at each, or, where few match,
//! hour by hour: the totals say which hours have any, and the lists of these hours which rows (`place.rs`). The
//! first is tried for a bounded number of rows, so that neither frequent nor rare matches need a look at every row.
//!
//! What a viewer may not see is never looked up: only how much there is in the hours that are read has a part in
//! how long it takes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use picosnitch_api::{self as api, Dimension, Query, row::Connection};
use rusqlite::{Connection as Database, OptionalExtension as _, Result};

use super::Page;
use super::filter::{self, Sql};
use super::maps::Maps;
use super::plan::{Plan, Set, Table, holds};
use super::row::Columns;
use crate::model::Viewer;
use crate::record::chunk::Reach;
use crate::record::dimension;
use crate::record::place::{self, HOUR_IDS};
use crate::record::rollup::{DAY, HOUR};
use crate::record::writer::{TIE_BITS, unavailable};

/// Rows looked at along the time before the lists are read.
const FIRST_WALK: usize = 20_000;
/// Rows looked at in all before a page is given as far as it is.
const LONGEST_WALK: usize = 400_000;
/// Rows in lists looked at before a page is given as far as it is.
const LONGEST_READ: usize = 10_000_000;

/// The query with its sets worked out.
struct Match {
    who: Set,
    peer: Set,
    /// What says which hours and days have any.
    plan: Plan,
    local_port: Option<i64>,
    remote_port: Option<i64>,
}

const WHOS: &str = "SELECT w.id FROM who w";
const PEERS: &str = "SELECT p.id FROM peer p";

/// Numbers of a table that match.
fn numbers(db: &Database, sql: &str, condition: &Sql) -> Result<Table<bool>> {
    let mut numbers = Table::new();
    let mut statement = db.prepare(&format!("{sql} WHERE 1{}", condition.text))?;
    let mut rows = statement.query(rusqlite::params_from_iter(&condition.values))?;
    while let Some(row) = rows.next()? {
        *numbers.at(row.get(0)?) = true;
    }
    Ok(numbers)
}

impl Match {
    fn new(db: &Database, maps: &Maps, q: &Query, v: &Viewer) -> std::result::Result<Self, api::Error> {
        let filter = filter::plain(q, v)?;
        let unfiltered = |sql: &Sql| {
            sql.values.is_empty() && sql.text.split(" AND ").all(|part| part.is_empty() || part == "1")
        };
        let set = |sql: &str, condition: &Sql| -> Result<Set> {
            if unfiltered(condition) { Ok(None) } else { numbers(db, sql, condition).map(Some) }
        };
        // In totals a port counts only where it names a service.
        let wider = Query { local_port: None, remote_port: None, ..q.clone() };
        let by = match (&q.domain, &q.address) {
            (Some(_), None) => Dimension::Domain,
            (None, Some(_)) => Dimension::Address,
            _ => Dimension::Uid,
        };
        Ok(Match {
            who: set(WHOS, &filter.who).map_err(unavailable)?,
            peer: set(PEERS, &filter.peer).map_err(unavailable)?,
            plan: Plan::new(db, maps, by, &wider, v)?,
            local_port: q.local_port.map(i64::from),
            remote_port: q.remote_port.map(i64::from),
        })
    }

    /// Not everything matches, whatever its ports are.
    fn is_filtered(&self) -> bool {
        self.who.is_some() || self.peer.is_some() || self.plan.is_search()
    }

    /// Nothing can match.
    fn is_empty(&self) -> bool {
        let none = |table: &Table<bool>| !table.entries().any(|(_, counts)| counts);
        self.who.as_ref().is_some_and(none) || self.peer.as_ref().is_some_and(none) || self.plan.finds_none()
    }

    /// This program with this peer.
    fn pair(&self, who: i64, peer: i64) -> bool {
        holds(&self.who, who) && holds(&self.peer, peer) && self.plan.finds(who, peer)
    }

    /// The row's own ports decide as well.
    fn by_port(&self) -> bool {
        self.local_port.is_some() || self.remote_port.is_some()
    }

    fn ports(&self, row: &Brief) -> bool {
        self.local_port.is_none_or(|port| port == row.local_port)
            && self.remote_port.is_none_or(|port| port == row.remote_port)
    }

    fn takes(&self, row: &Brief) -> bool {
        self.pair(row.who, row.peer) && self.ports(row)
    }
}

/// A row as it stands in the table.
struct Brief {
    id: i64,
    who: i64,
    peer: i64,
    local_port: i64,
    remote_port: i64,
}

fn brief(row: &rusqlite::Row<'_>) -> Result<Brief> {
    Ok(Brief {
        id: row.get(0)?,
        who: row.get(1)?,
        peer: row.get(2)?,
        local_port: row.get(3)?,
        remote_port: row.get(4)?,
    })
}

/// What is still to be looked at: from `from` on, up to but not including `to`.
struct Range {
    from: i64,
    to: i64,
    descending: bool,
}

impl Range {
    /// What comes after this row.
    fn after(&mut self, id: i64) {
        if self.descending { self.to = id } else { self.from = id.saturating_add(1) }
    }

    fn cursor(&self) -> String {
        cursor(if self.descending { self.to } else { self.from })
    }
}

pub(super) fn cursor(position: i64) -> String {
    format!("{:016x}", position.cast_unsigned())
}

pub(super) fn read_cursor(q: &Query) -> std::result::Result<Option<i64>, api::Error> {
    match &q.cursor {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => (text.len() == 16)
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(|position| Some(position.cast_signed()))
            .ok_or_else(|| api::Error::InvalidQuery("cursor wants what the page before gave".to_owned())),
    }
}

pub(super) fn page(
    db: &Database,
    maps: &Maps,
    q: &Query,
    v: &Viewer,
) -> std::result::Result<Page<Connection>, api::Error> {
    if q.sort.as_deref().is_some_and(|sort| sort != "time") {
        return Err(api::Error::InvalidQuery("connections sort by time alone".to_owned()));
    }
    let matches = Match::new(db, maps, q, v)?;
    let shift = |time: i64| time.clamp(0, i64::MAX >> TIE_BITS) << TIE_BITS;
    let mut range = Range {
        from: q.since.map_or(i64::MIN, shift),
        to: q.until.map_or(i64::MAX, shift),
        descending: q.descending.unwrap_or(true),
    };
    if let Some(position) = read_cursor(q)? {
        if range.descending {
            range.to = range.to.min(position)
        } else {
            range.from = range.from.max(position)
        }
    }
    let wanted = usize::try_from(q.page()).unwrap_or(usize::MAX);
    let (ids, more) = find(db, &matches, &mut range, wanted).map_err(unavailable)?;
    let rows = fetch(db, &ids, v).map_err(unavailable)?;
    let hidden = hidden(db, q, v, "connections").map_err(unavailable)?;
    Ok(Page { rows, cursor: if more { range.cursor() } else { String::new() }, hidden })
}

/// Rows of uids that the viewer may not see, on the days of the query.
pub(super) fn hidden(db: &Database, q: &Query, v: &Viewer, column: &str) -> Result<u64> {
    let visible = filter::uids("uid", &v.rows);
    if visible == "1" {
        return Ok(0);
    }
    let from = q.since.map_or(i64::MIN, |since| since.div_euclid(DAY));
    let to = q.until.map_or(i64::MAX, |until| until.saturating_sub(1).div_euclid(DAY));
    let sql = format!(
        "SELECT coalesce(sum({column}), 0) FROM volume WHERE day BETWEEN ?1 AND ?2 AND NOT {visible}"
    );
    let hidden: i64 = db.prepare_cached(&sql)?.query_row([from, to], |row| row.get(0))?;
    Ok(u64::try_from(hidden).unwrap_or(0))
}

/// The next matching ids, and whether there may be more after the range's new beginning.
fn find(db: &Database, matches: &Match, range: &mut Range, wanted: usize) -> Result<(Vec<i64>, bool)> {
    if matches.is_empty() {
        return Ok((Vec::new(), false));
    }
    let mut found = Vec::with_capacity(wanted.min(1000));
    if walk(db, matches, range, wanted, FIRST_WALK, &mut found)? {
        return Ok((found, false));
    }
    if found.len() >= wanted {
        return Ok((found, true));
    }
    let ended = if matches.is_filtered() {
        by_hours(db, matches, range, wanted, &mut found)?
    } else {
        walk(db, matches, range, wanted, LONGEST_WALK, &mut found)?
    };
    Ok((found, !ended))
}

/// Looks at rows in the order of time; true when the range came to its end.
fn walk(
    db: &Database,
    matches: &Match,
    range: &mut Range,
    wanted: usize,
    most: usize,
    found: &mut Vec<i64>,
) -> Result<bool> {
    let order = if range.descending { "DESC" } else { "ASC" };
    let mut statement = db.prepare_cached(&format!(
        "SELECT id, who, peer, local_port, remote_port FROM connection WHERE id >= ?1 AND id < ?2 ORDER BY id {order}"
    ))?;
    let mut rows = statement.query([range.from, range.to])?;
    let mut looked = 0;
    while let Some(row) = rows.next()? {
        if found.len() >= wanted || looked >= most {
            return Ok(false);
        }
        looked += 1;
        let row = brief(row)?;
        range.after(row.id);
        if matches.takes(&row) {
            found.push(row.id);
        }
    }
    Ok(true)
}

/// Looks at one hour after the other, those alone in which something matches; true at the end.
fn by_hours(
    db: &Database,
    matches: &Match,
    range: &mut Range,
    wanted: usize,
    found: &mut Vec<i64>,
) -> Result<bool> {
    let reach = Reach::read(db)?;
    let (mut first, mut last) =
        (place::hour_of(range.from.max(0)), place::hour_of(range.to.max(0).saturating_sub(1)) + 1);
    let mut looked = 0;
    let mut checked_day = None;
    loop {
        let hour =
            if range.descending { place::previous(db, first, last)? } else { place::next(db, first, last)? };
        let Some(hour) = hour else { return Ok(true) };
        // A whole day without any is left out at once.
        let day = hour * HOUR / DAY;
        let hours = day * (DAY / HOUR)..(day + 1) * (DAY / HOUR);
        if day < reach.built[1] && checked_day != Some(day) && !matches.plan.any(db, 1, day)? {
            if range.descending { last = hours.start } else { first = hours.end }
        } else {
            checked_day = Some(day);
            // Hours that are not kept have nothing that says what they have, and pairs take longer than the lists.
            if hour < reach.hours || matches.plan.is_by_pair() || matches.plan.any(db, 0, hour)? {
                let (ids, rows) = rows(db, matches, range, hour)?;
                looked += rows;
                for id in ids {
                    if found.len() >= wanted {
                        return Ok(false);
                    }
                    range.after(id);
                    found.push(id);
                }
            }
            if range.descending { last = hour } else { first = hour + 1 }
        }
        // All before this hour's edge is done.
        let edge = if range.descending { last } else { first } * HOUR_IDS;
        if range.descending {
            range.to = range.to.min(edge)
        } else {
            range.from = range.from.max(edge)
        }
        if found.len() >= wanted || looked >= LONGEST_READ {
            return Ok(false);
        }
    }
}

/// The rows of an hour that match, in the range and in its order; how many were looked at.
fn rows(db: &Database, m: &Match, range: &Range, hour: i64) -> Result<(Vec<i64>, usize)> {
    let mut ids = Vec::new();
    let looked = place::read(db, hour, |row| {
        if m.pair(row.who, row.peer) && row.id >= range.from && row.id < range.to {
            ids.push(row.id);
        }
    })?;
    if m.by_port() {
        let mut select =
            db.prepare_cached("SELECT id, who, peer, local_port, remote_port FROM connection WHERE id = ?1")?;
        let mut kept = Vec::with_capacity(ids.len());
        for id in ids {
            if select.query_row([id], brief).optional()?.is_some_and(|row| m.ports(&row)) {
                kept.push(id);
            }
        }
        ids = kept;
    }
    ids.sort_unstable();
    if range.descending {
        ids.reverse();
    }
    Ok((ids, looked))
}

const ROW: &str =
    "SELECT c.id, c.who, c.peer, c.pid, c.remote_port, c.local_port, c.sent, c.received, c.connections
    FROM connection c WHERE c.id = ?1";

const WHO: &str = "SELECT e.id, e.path, n.value, ct.sha256, g.content, cl.value, sc.value, sct.sha256,
      pe.path, pn.value, pct.sha256, pcl.value, ge.path, gn.value, gct.sha256, gcl.value,
      w.uid, w.euid, u.value, k.value, e.foreign_root
    FROM who w JOIN program g ON g.id = w.program JOIN executable e ON e.id = g.executable
      LEFT JOIN word n ON n.id = g.name LEFT JOIN content ct ON ct.id = g.content
      LEFT JOIN cmdline cl ON cl.id = g.cmdline LEFT JOIN word sc ON sc.id = g.script
      LEFT JOIN content sct ON sct.id = g.script_content
      LEFT JOIN program pg ON pg.id = w.parent LEFT JOIN executable pe ON pe.id = pg.executable
      LEFT JOIN word pn ON pn.id = pg.name LEFT JOIN content pct ON pct.id = pg.content
      LEFT JOIN cmdline pcl ON pcl.id = pg.cmdline
      LEFT JOIN program gg ON gg.id = w.grandparent LEFT JOIN executable ge ON ge.id = gg.executable
      LEFT JOIN word gn ON gn.id = gg.name LEFT JOIN content gct ON gct.id = gg.content
      LEFT JOIN cmdline gcl ON gcl.id = gg.cmdline
      LEFT JOIN word u ON u.id = w.unit LEFT JOIN word k ON k.id = w.container
    WHERE w.id = ?1";

const PEER: &str = "SELECT d.value, p.source, ra.value, la.value, i.value, p.protocol, p.direction, p.netns
    FROM peer p LEFT JOIN domain d ON d.id = p.domain LEFT JOIN address ra ON ra.id = p.remote
      LEFT JOIN address la ON la.id = p.local LEFT JOIN word i ON i.id = p.interface
    WHERE p.id = ?1";

/// Rows in full. What a page's rows share is read once; what the viewer may not see is left out.
fn fetch(db: &Database, ids: &[i64], v: &Viewer) -> Result<Vec<Connection>> {
    let (mut row, mut who, mut peer) =
        (db.prepare_cached(ROW)?, db.prepare_cached(WHO)?, db.prepare_cached(PEER)?);
    let mut whos: HashMap<i64, Option<Connection>> = HashMap::new();
    let mut peers: HashMap<i64, Option<Connection>> = HashMap::new();
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        let Some((who_id, peer_id, own)) = row.query_row([id], own_part).optional()? else { continue };
        if let Entry::Vacant(vacant) = whos.entry(who_id) {
            vacant.insert(
                who.query_row([who_id], who_part)
                    .optional()?
                    .filter(|row| row.uid.is_some_and(|uid| v.sees(uid))),
            );
        }
        if let Entry::Vacant(vacant) = peers.entry(peer_id) {
            vacant.insert(peer.query_row([peer_id], peer_part).optional()?);
        }
        let (Some(Some(who)), Some(Some(peer))) = (whos.get(&who_id), peers.get(&peer_id)) else { continue };
        let mut row = Connection {
            time: own.time,
            pid: own.pid,
            remote_port: own.remote_port,
            local_port: own.local_port,
            sent: own.sent,
            received: own.received,
            connections: own.connections,
            domain: peer.domain.clone(),
            domain_source: peer.domain_source.clone(),
            address: peer.address.clone(),
            local_address: peer.local_address.clone(),
            interface: peer.interface.clone(),
            protocol: peer.protocol.clone(),
            direction: peer.direction.clone(),
            netns: peer.netns,
            ..who.clone()
        };
        if !row.uid.is_some_and(|uid| v.cmdlines.iter().any(|range| range.contains(&uid))) {
            (row.cmdline, row.parent_cmdline, row.grandparent_cmdline) = (None, None, None);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What stands in the row itself, with the numbers of its program and its peer.
fn own_part(row: &rusqlite::Row<'_>) -> Result<(i64, i64, Connection)> {
    let mut columns = Columns::new(row);
    let c = &mut columns;
    let time = Some(c.next::<i64>()? >> TIE_BITS);
    let (who, peer) = (c.next()?, c.next()?);
    let own = Connection {
        time,
        pid: c.small()?,
        remote_port: c.small()?,
        local_port: c.small()?,
        sent: Some(c.count()?),
        received: Some(c.count()?),
        connections: Some(c.count()?),
        ..Connection::default()
    };
    Ok((who, peer, own))
}

fn who_part(row: &rusqlite::Row<'_>) -> Result<Connection> {
    let mut columns = Columns::new(row);
    let c = &mut columns;
    let executable = Some(c.next()?);
    let (path, path_raw) = c.path()?;
    let mut row = Connection {
        executable,
        path,
        path_raw,
        name: c.text()?,
        sha256: c.sha256()?,
        sha256_unknown: c.gap()?,
        cmdline: c.text()?,
        script: c.text()?,
        script_sha256: c.sha256()?,
        parent: c.text()?,
        parent_name: c.text()?,
        parent_sha256: c.sha256()?,
        parent_cmdline: c.text()?,
        grandparent: c.text()?,
        grandparent_name: c.text()?,
        grandparent_sha256: c.sha256()?,
        grandparent_cmdline: c.text()?,
        uid: c.small()?,
        effective_uid: c.small()?,
        unit: c.text()?,
        container: c.text()?,
        foreign_root: c.next::<bool>()?.then_some(true),
        ..Connection::default()
    };
    if row.effective_uid == row.uid {
        row.effective_uid = None;
    }
    Ok(row)
}

fn peer_part(row: &rusqlite::Row<'_>) -> Result<Connection> {
    let mut columns = Columns::new(row);
    let c = &mut columns;
    Ok(Connection {
        domain: c.text()?,
        domain_source: dimension::source_word(c.next()?).map(str::to_owned),
        address: c.address()?,
        local_address: c.address()?,
        interface: c.text()?,
        protocol: Some(dimension::protocol_word(c.next()?)),
        direction: dimension::direction_word(c.next()?).map(str::to_owned),
        netns: c.small()?.filter(|netns| *netns != 0),
        ..Connection::default()
    })
}
