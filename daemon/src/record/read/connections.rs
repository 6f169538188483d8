// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of connections. Two ways to find the next rows: walk along the time and look at each, or, where few match,
//! hour by hour: the totals say which hours have any, and of which programs and peers; those are looked up by
//! index. The first is tried for a bounded number of rows, so that neither frequent nor rare matches need a look
//! at every row.
//!
//! A viewer who may not see every row never looks rows up by peer: how long that takes would tell about rows of
//! others. What is read of the totals depends on nothing but the range.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use picosnitch_api::{self as api, Query, row::Connection};
use rusqlite::{Connection as Database, OptionalExtension as _, Result};

use super::Page;
use super::filter::{self, Filter, Sql};
use super::row::Columns;
use crate::model::Viewer;
use crate::record::chunk::{self, Kind, Reach};
use crate::record::dimension;
use crate::record::rollup::{DAY, HOUR};
use crate::record::writer::{TIE_BITS, unavailable};

/// Rows looked at along the time before the indexes are tried.
const FIRST_WALK: usize = 20_000;
/// Rows looked at in all before a page is given as far as it is.
const LONGEST_WALK: usize = 400_000;
/// Look-ups in one hour, above which its rows are walked along instead.
const LOOKUPS: usize = 1_000;
/// Programs whose folded ones are looked up beforehand.
const FEW: usize = 5_000;

/// Numbers that match, sorted; `None`: all do.
type Set = Option<Vec<i64>>;

/// The query with its sets worked out.
struct Match {
    who: Set,
    peer: Set,
    search: Option<(Vec<i64>, Vec<i64>)>,
    local_port: Option<i64>,
    remote_port: Option<i64>,
}

fn holds(set: &Set, id: i64) -> bool {
    set.as_ref().is_none_or(|set| set.binary_search(&id).is_ok())
}

impl Match {
    fn new(db: &Database, filter: &Filter, q: &Query, v: &Viewer) -> Result<Self> {
        let set = |table: &str, sql: &Sql| -> Result<Vec<i64>> {
            let mut statement =
                db.prepare(&format!("SELECT id FROM {table} WHERE 1{} ORDER BY id", sql.text))?;
            statement.query_map(rusqlite::params_from_iter(&sql.values), |row| row.get(0))?.collect()
        };
        let unfiltered = |sql: &Sql| {
            sql.values.is_empty() && sql.text.split(" AND ").all(|part| part.is_empty() || part == "1")
        };
        Ok(Match {
            who: if unfiltered(&filter.who) { None } else { Some(set("who w", &filter.who)?) },
            peer: if unfiltered(&filter.peer) { None } else { Some(set("peer p", &filter.peer)?) },
            search: match &filter.search {
                Some((who, peer)) => {
                    let mut mine = who.clone();
                    mine.and(&filter::uids("w.uid", &v.rows), []);
                    Some((set("who w", &mine)?, set("peer p", peer)?))
                }
                None => None,
            },
            local_port: q.local_port.map(i64::from),
            remote_port: q.remote_port.map(i64::from),
        })
    }

    fn takes(&self, row: &Brief) -> bool {
        holds(&self.who, row.who)
            && holds(&self.peer, row.peer)
            && self.search.as_ref().is_none_or(|(who, peer)| {
                who.binary_search(&row.who).is_ok() || peer.binary_search(&row.peer).is_ok()
            })
            && self.local_port.is_none_or(|port| port == row.local_port)
            && self.remote_port.is_none_or(|port| port == row.remote_port)
    }
}

/// The numbers of programs that match, by the folded one that stands for them in totals.
#[derive(Default)]
struct Own {
    /// Everything that matches is in here.
    complete: bool,
    of: HashMap<i64, Vec<i64>>,
}

impl Own {
    fn new(db: &Database, who: &Set) -> Result<Self> {
        let Some(who) = who.as_ref().filter(|who| who.len() <= FEW) else { return Ok(Own::default()) };
        let mut own = Own { complete: true, of: HashMap::new() };
        let mut statement = db.prepare_cached("SELECT folded FROM who WHERE id = ?1")?;
        for id in who {
            let folded: i64 = statement.query_row([id], |row| row.get(0))?;
            own.of.entry(if folded == 0 { *id } else { folded }).or_default().push(*id);
        }
        Ok(own)
    }

    /// Those of one folded program; none if it does not match.
    fn of(&mut self, db: &Database, who: &Set, folded: i64) -> Result<&[i64]> {
        if !self.complete && !self.of.contains_key(&folded) {
            let mut statement = db.prepare_cached("SELECT id FROM who WHERE folded = ?1")?;
            let mut own: Vec<i64> =
                statement.query_map([folded], |row| row.get(0))?.collect::<Result<_>>()?;
            own.push(folded);
            own.retain(|id| holds(who, *id));
            self.of.insert(folded, own);
        }
        Ok(self.of.get(&folded).map_or(&[], Vec::as_slice))
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
    q: &Query,
    v: &Viewer,
) -> std::result::Result<Page<Connection>, api::Error> {
    if q.sort.as_deref().is_some_and(|sort| sort != "time") {
        return Err(api::Error::InvalidQuery("connections sort by time alone".to_owned()));
    }
    let filter = filter::filter(db, q, v)?;
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
    let (ids, more) = find(db, &filter, &mut range, wanted, q, v).map_err(unavailable)?;
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
fn find(
    db: &Database,
    filter: &Filter,
    range: &mut Range,
    wanted: usize,
    q: &Query,
    v: &Viewer,
) -> Result<(Vec<i64>, bool)> {
    let matches = Match::new(db, filter, q, v)?;
    let restricted = filter::uids("uid", &v.rows) != "1";
    let mut found = Vec::with_capacity(wanted.min(1000));
    if walk(db, &matches, range, wanted, FIRST_WALK, &mut found)? {
        return Ok((found, false));
    }
    if found.len() >= wanted {
        return Ok((found, true));
    }
    let reach = Reach::read(db)?;
    let oldest: i64 = db.query_row("SELECT coalesce(min(id), 0) FROM connection", (), |row| row.get(0))?;
    // Rows older than the hours that are kept have nothing that says where they are.
    let known = oldest >= (reach.hours * HOUR) << TIE_BITS;
    let ended = if known && (matches.who.is_some() || matches.peer.is_some() || matches.search.is_some()) {
        by_hours(db, &reach, &matches, range, wanted, restricted, &mut found)?
    } else {
        walk(db, &matches, range, wanted, LONGEST_WALK, &mut found)?
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

/// An hour in the unit of `id`, as the indexes have it.
const HOUR_IDS: i64 = HOUR << TIE_BITS;

/// Looks at one hour after the other, those alone in which something matches; true at the end.
fn by_hours(
    db: &Database,
    reach: &Reach,
    matches: &Match,
    range: &mut Range,
    wanted: usize,
    restricted: bool,
    found: &mut Vec<i64>,
) -> Result<bool> {
    let mut search = Hours { db, matches, restricted, own: Own::new(db, &matches.who)? };
    let (first, last) = (range.from.max(0) / HOUR_IDS, range.to.max(0).saturating_sub(1) / HOUR_IDS);
    let (mut first, mut last) = (first, last + 1);
    let mut looked = 0;
    let mut checked_day = None;
    loop {
        let hour = if range.descending {
            chunk::previous(db, 0, first, last)?
        } else {
            chunk::next(db, 0, first, last)?
        };
        let Some(hour) = hour else { return Ok(true) };
        // A whole day without any is left out at once.
        let day = hour * HOUR / DAY;
        let hours = day * (DAY / HOUR)..(day + 1) * (DAY / HOUR);
        if day < reach.built[1] && checked_day != Some(day) && search.present(1, day)?.is_empty() {
            if range.descending { last = hours.start } else { first = hours.end }
        } else {
            checked_day = Some(day);
            let present = search.present(0, hour)?;
            if !present.is_empty() {
                let (from, to) = (range.from.max(hour * HOUR_IDS), range.to.min((hour + 1) * HOUR_IDS));
                let mut ids = search.rows(hour, from, to, &present)?;
                looked += ids.len() + present.len();
                ids.sort_unstable();
                if range.descending {
                    ids.reverse();
                }
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
        if found.len() >= wanted || looked >= LONGEST_WALK {
            return Ok(false);
        }
    }
}

/// What one hour has of what is looked for.
struct Hours<'a> {
    db: &'a Database,
    matches: &'a Match,
    restricted: bool,
    own: Own,
}

impl Hours<'_> {
    /// Peers (0 if none are asked for) and folded programs in a bucket that may match.
    fn present(&mut self, level: usize, bucket: i64) -> Result<Vec<(i64, i64)>> {
        let m = self.matches;
        let pairs = m.peer.is_some() || m.search.is_some();
        let mut met = Vec::new();
        let kind = if pairs { Kind::Pair } else { Kind::Who };
        // Of a search everything is looked at; the peers asked for say which parts have them.
        let parts = m.peer.as_ref().map(|peers| {
            let mut parts: Vec<i64> = peers.iter().map(|id| chunk::part(*id)).collect();
            parts.dedup();
            parts
        });
        chunk::read(self.db, kind, (level, bucket, bucket + 1), parts.as_deref(), |_, a, b, _| {
            if !pairs {
                met.push((0, a));
            } else if holds(&m.peer, a) {
                met.push((a, b));
            }
        })?;
        if let Some((who, peer)) = &m.search {
            let mut folded: HashMap<i64, bool> = HashMap::new();
            let mut statement = self.db.prepare_cached("SELECT id FROM who WHERE folded = ?1")?;
            let mut kept = Vec::new();
            for (a, b) in met {
                let found = peer.binary_search(&a).is_ok()
                    || match folded.get(&b) {
                        Some(known) => *known,
                        None => {
                            let ids = statement.query_map([b], |row| row.get::<_, i64>(0))?;
                            let ids = ids.collect::<Result<Vec<_>>>()?;
                            let any = std::iter::once(b).chain(ids).any(|id| who.binary_search(&id).is_ok());
                            folded.insert(b, any);
                            any
                        }
                    };
                if found {
                    kept.push((a, b));
                }
            }
            met = kept;
        }
        if m.who.is_some() {
            let mut kept = Vec::with_capacity(met.len());
            for (a, b) in met {
                if !self.own.of(self.db, &m.who, b)?.is_empty() {
                    kept.push((a, b));
                }
            }
            met = kept;
        }
        Ok(met)
    }

    /// The rows of an hour that match.
    fn rows(&mut self, hour: i64, from: i64, to: i64, present: &[(i64, i64)]) -> Result<Vec<i64>> {
        let by_peer = !self.restricted && (self.matches.peer.is_some() || self.matches.search.is_some());
        let mut numbers: Vec<i64> = Vec::new();
        for (peer, who) in present {
            if by_peer {
                numbers.push(*peer);
            } else {
                numbers.extend(self.own.of(self.db, &self.matches.who, *who)?);
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut ids = Vec::new();
        let mut take = |row: &rusqlite::Row<'_>| -> Result<()> {
            let row = brief(row)?;
            if self.matches.takes(&row) {
                ids.push(row.id);
            }
            Ok(())
        };
        if numbers.len() > LOOKUPS {
            let mut statement = self.db.prepare_cached(
                "SELECT id, who, peer, local_port, remote_port FROM connection WHERE id >= ?1 AND id < ?2",
            )?;
            let mut rows = statement.query([from, to])?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            return Ok(ids);
        }
        let mut statement = self.db.prepare_cached(if by_peer { BY_PEER } else { BY_WHO })?;
        for number in numbers {
            let mut rows = statement.query([hour, number, from, to])?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
        }
        Ok(ids)
    }
}

const BY_WHO: &str = "SELECT id, who, peer, local_port, remote_port FROM connection
    WHERE id / 3686400000000 = ?1 AND who = ?2 AND id >= ?3 AND id < ?4";

const BY_PEER: &str = "SELECT id, who, peer, local_port, remote_port FROM connection
    WHERE id / 3686400000000 = ?1 AND peer = ?2 AND id >= ?3 AND id < ?4";

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
        netns: c.small()?,
        ..Connection::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn s10_rows_are_looked_up_by_hour() {
        assert_eq!(HOUR_IDS, 3_686_400_000_000, "as the indexes have it");
        let mut db = Database::open_in_memory().unwrap();
        crate::record::database::migrate(&mut db, 0).unwrap();
        for (sql, index) in [(BY_WHO, "connection_hour_who"), (BY_PEER, "connection_hour_peer")] {
            let plan: String =
                db.query_row(&format!("EXPLAIN QUERY PLAN {sql}"), [1, 2, 3, 4], |row| row.get(3)).unwrap();
            assert!(plan.starts_with(&format!("SEARCH connection USING INDEX {index} ")), "{plan}");
        }
    }
}
