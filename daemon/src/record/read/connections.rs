// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of connections. Two ways to find the next rows: walk along the time and look at each, or, where few
//! programs or peers match, walk along the index of each of them at once and merge by time. The first is tried
//! for a bounded number of rows, so that neither frequent nor rare matches need a look at every row.
//!
//! A viewer who may not see every row never walks along peers: how long that takes, and where it is
//! interrupted, would tell about rows of others.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use picosnitch_api::{self as api, Query, row::Connection};
use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::Page;
use super::filter::{self, Filter, Sql};
use super::row::Columns;
use crate::model::Viewer;
use crate::record::chunk::{self, EDGE, Kind, Reach, WIDTHS};
use crate::record::dimension;
use crate::record::rollup::DAY;
use crate::record::writer::{TIE_BITS, unavailable};

/// Rows looked at along the time before the indexes are tried.
const FIRST_WALK: usize = 20_000;
/// Rows looked at in all before a page is given as far as it is.
const LONGEST_WALK: usize = 400_000;
/// Programs or peers whose indexes are walked at once, at the most.
const STREAMS: usize = 20_000;

/// Peers by which programs are narrowed down, at the most.
const NARROWED: usize = 2_000;

/// Numbers that match, sorted; `None`: all do.
type Set = Option<Vec<i64>>;

/// The query with its sets worked out.
struct Match {
    who: Set,
    peer: Set,
    search: Option<(Vec<i64>, Vec<i64>)>,
    local_port: Option<i64>,
    remote_port: Option<i64>,
    /// Days that may have matches; `None`: any.
    days: Option<BTreeSet<i64>>,
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
            days: None,
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

    /// Where both programs and peers are asked for: the totals say which of the programs had to do with one of the
    /// peers, and on which days.
    fn narrow(&mut self, db: &Database) -> Result<()> {
        let (Some(who), Some(peer)) = (&mut self.who, &self.peer) else { return Ok(()) };
        if peer.len() > NARROWED || who.len() > STREAMS {
            return Ok(());
        }
        let mut statement = db.prepare_cached("SELECT folded FROM who WHERE id = ?1")?;
        let mut folded = Vec::with_capacity(who.len());
        for id in who.iter() {
            let other: i64 = statement.query_row([id], |row| row.get(0))?;
            folded.push(if other == 0 { *id } else { other });
        }
        let asked: HashSet<i64> = folded.iter().copied().collect();
        let (mut met, mut days) = (HashSet::new(), BTreeSet::new());
        let mut parts: Vec<i64> = peer.iter().map(|id| chunk::part(*id)).collect();
        parts.dedup();
        // From the day of the first row on.
        let first: Option<i64> = db.query_row("SELECT min(id) FROM connection", (), |row| row.get(0))?;
        let first = chunk::down(first.unwrap_or(0) >> TIE_BITS, DAY);
        let mut pieces = Vec::new();
        chunk::cover(&Reach::read(db)?, (first, EDGE), 1, &mut pieces, &mut Vec::new());
        for piece in pieces {
            chunk::read(db, Kind::Pair, piece, Some(&parts), |bucket, id, who, _| {
                if peer.binary_search(&id).is_ok() && asked.contains(&who) {
                    met.insert(who);
                    days.insert(bucket * WIDTHS[piece.0] / DAY);
                }
            })?;
        }
        *who = who.iter().zip(folded).filter(|(_, folded)| met.contains(folded)).map(|(id, _)| *id).collect();
        self.days = Some(days);
        Ok(())
    }

    /// The range of ids to look in next, for a stream that stands before this id: `None` if this id's day may
    /// have matches, otherwise the nearest day that may, or an empty range.
    fn jump(&self, id: i64, descending: bool) -> Option<(i64, i64)> {
        let days = self.days.as_ref()?;
        let day = (id >> TIE_BITS).div_euclid(DAY);
        if days.contains(&day) {
            return None;
        }
        let start = |day: i64| (day * DAY) << TIE_BITS;
        Some(if descending {
            days.range(..day).next_back().map_or((0, 0), |day| (i64::MIN, start(*day + 1)))
        } else {
            days.range(day..).next().map_or((0, 0), |day| (start(*day), i64::MAX))
        })
    }

    /// The shortest list of indexes that together hold every match.
    fn streams(&self, restricted: bool) -> Option<Vec<(Column, i64)>> {
        let list = |column, set: &[i64]| set.iter().map(move |id| (column, *id)).collect::<Vec<_>>();
        let mut choices: Vec<Vec<(Column, i64)>> = Vec::new();
        if let Some(who) = self.who.as_ref().filter(|set| set.len() <= STREAMS) {
            choices.push(list(Column::Who, who));
        }
        if let Some((who, peer)) = &self.search
            && who.len() + peer.len() <= STREAMS
            && (!restricted || peer.is_empty())
        {
            choices.push([list(Column::Who, who), list(Column::Peer, peer)].concat());
        }
        if let Some(peer) = self.peer.as_ref().filter(|set| set.len() <= STREAMS && !restricted) {
            choices.push(list(Column::Peer, peer));
        }
        choices.into_iter().min_by_key(Vec::len)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Who,
    Peer,
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
    let mut matches = Match::new(db, filter, q, v)?;
    let restricted = filter::uids("uid", &v.rows) != "1";
    let mut found = Vec::with_capacity(wanted.min(1000));
    if walk(db, &matches, range, wanted, FIRST_WALK, &mut found)? {
        return Ok((found, false));
    }
    if found.len() >= wanted {
        return Ok((found, true));
    }
    matches.narrow(db)?;
    let ended = match matches.streams(restricted) {
        Some(streams) => merge(db, &matches, &streams, range, wanted, &mut found)?,
        None => walk(db, &matches, range, wanted, LONGEST_WALK, &mut found)?,
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

/// Walks along many indexes at once, always on with the one that has the next row; true at the end.
fn merge(
    db: &Database,
    matches: &Match,
    streams: &[(Column, i64)],
    range: &mut Range,
    wanted: usize,
    found: &mut Vec<i64>,
) -> Result<bool> {
    let (pick, sign) = if range.descending { ("max", 1) } else { ("min", -1) };
    let next = |column: &str| {
        format!("SELECT {pick}(id) FROM connection WHERE {column} = ?1 AND id >= ?2 AND id < ?3")
    };
    let (mut who, mut peer) = (db.prepare_cached(&next("who"))?, db.prepare_cached(&next("peer"))?);
    let mut fetch =
        db.prepare_cached("SELECT id, who, peer, local_port, remote_port FROM connection WHERE id = ?1")?;
    let mut seek = |(column, id): (Column, i64), from: i64, to: i64| -> Result<Option<i64>> {
        let statement = if column == Column::Who { &mut who } else { &mut peer };
        statement.query_row(params![id, from, to], |row| row.get(0))
    };
    let mut heap = BinaryHeap::new();
    for stream in streams {
        if let Some(id) = seek(*stream, range.from, range.to)? {
            heap.push((id.saturating_mul(sign), *stream));
        }
    }
    let mut seen = HashSet::new();
    let mut steps = 0;
    while let Some((signed, stream)) = heap.pop() {
        if found.len() >= wanted || steps >= LONGEST_WALK / 8 {
            return Ok(false);
        }
        steps += 1;
        let id = signed.saturating_mul(sign);
        range.after(id);
        if let Some((from, to)) = matches.jump(id, range.descending) {
            if let Some(id) = seek(stream, from.max(range.from), to.min(range.to))? {
                heap.push((id.saturating_mul(sign), stream));
            }
            continue;
        }
        if seen.insert(id)
            && let Some(row) = fetch.query_row([id], brief).optional()?
            && matches.takes(&row)
        {
            found.push(id);
        }
        // Another index may hold the same row: the next of this one comes after it all the same.
        if let Some(id) = seek(stream, range.from, range.to)? {
            heap.push((id.saturating_mul(sign), stream));
        }
    }
    Ok(true)
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
        netns: c.small()?,
        ..Connection::default()
    })
}
