// SPDX-License-Identifier: GPL-3.0-or-later
//! Events: notices as they went out, completed since. Errors are everybody's.

use picosnitch_api::{self as api, Query, row::Event};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, OptionalExtension as _, Result, TransactionBehavior};

use super::Page;
use super::connections::{cursor, hidden, read_cursor};
use super::filter::{self, Filter, Sql};
use super::row::Columns;
use super::text::part;
use crate::model::Viewer;
use crate::record::dimension::{self, event};
use crate::record::writer::unavailable;

/// What is read of an event.
const COLUMNS: &str = "v.id, v.time, v.kind, e.path, n.value, ct.sha256, v.content, oct.sha256, v.uid, e.id,
      pe.path, cl.value, ra.value, d.value, v.remote_port, v.protocol, u.value, k.value, v.error, v.message, v.acknowledged, v.direction, v.local_port, v.source,
      e.foreign_root, v.file_deleted";

/// What the columns come from; the event has the columns of a peer that it knows, so that the filters are the same.
const FROM: &str = " FROM (SELECT *, remote_port AS port FROM event) v LEFT JOIN who w ON w.id = v.who
      LEFT JOIN program g ON g.id = w.program LEFT JOIN executable e ON e.id = g.executable
      LEFT JOIN word n ON n.id = g.name LEFT JOIN content ct ON ct.id = v.content
      LEFT JOIN content oct ON oct.id = v.old_content LEFT JOIN cmdline cl ON cl.id = g.cmdline
      LEFT JOIN program pg ON pg.id = w.parent LEFT JOIN executable pe ON pe.id = pg.executable
      LEFT JOIN domain d ON d.id = v.domain LEFT JOIN address ra ON ra.id = v.remote
      LEFT JOIN word u ON u.id = w.unit LEFT JOIN word k ON k.id = w.container";

fn visible(v: &Viewer) -> String {
    format!("(v.uid IS NULL OR {})", filter::uids("v.uid", &v.rows))
}

/// Leaves out what the viewer can read already in an earlier event about the same content of the same program.
fn news(v: &Viewer) -> String {
    format!(
        "(v.kind NOT IN ({}, {}) OR NOT EXISTS (SELECT 1 FROM event x JOIN who xw ON xw.id = x.who
           JOIN program xg ON xg.id = xw.program WHERE x.id < v.id AND x.content = v.content AND {}
             AND xg.executable = (SELECT yg.executable FROM who yw JOIN program yg ON yg.id = yw.program WHERE yw.id = v.who)))",
        event::NEW_AGAIN,
        event::CHANGED_AGAIN,
        filter::uids("x.uid", &v.rows)
    )
}

/// For the writer: a query that gives the ids of the events that match.
pub(in crate::record) fn conditions(
    db: &Database,
    q: &Query,
    v: &Viewer,
) -> std::result::Result<Sql, api::Error> {
    let matching = matching(db, q, v)?;
    Ok(Sql { text: format!("SELECT v.id {FROM} WHERE 1{}", matching.text), values: matching.values })
}

/// Conditions of the filters, on the event and its program.
fn matching(db: &Database, q: &Query, v: &Viewer) -> std::result::Result<Sql, api::Error> {
    let mut all = Sql::default();
    all.and(&visible(v), []);
    let plain = Query {
        cursor: None,
        limit: None,
        since: None,
        until: None,
        sha256: None,
        local_port: None,
        remote_port: None,
        ..q.clone()
    };
    let Filter { who, peer, search, .. } = filter::filter(db, &plain, v)?;
    let filtered = plain
        != Query {
            sort: plain.sort.clone(),
            descending: plain.descending,
            scope: plain.scope,
            ..Query::default()
        };
    if filtered {
        if plain.search.is_none() || !who.values.is_empty() {
            all.and_all(&who);
        }
        all.and(&format!("(1{})", peer.text.replace("p.", "v.")), peer.values);
        if let Some((who, peer)) = search {
            let text = q.search.as_deref().unwrap_or_default();
            let values = who.values.into_iter().chain(peer.values).chain([part(text), part(text)]);
            let words = "contains(v.message, ?) OR contains(v.error, ?)";
            all.and(
                &format!(
                    "((1{}) OR (v.uid IS NOT NULL{}) OR {words})",
                    who.text,
                    peer.text.replace("p.", "v.")
                ),
                values,
            );
        }
    }
    if let Some(sha256) = &q.sha256 {
        let sha256 = Value::Blob(filter::unhex(sha256).unwrap_or_default());
        let old = if v.sees_everybody() { String::new() } else { format!(" AND v.kind <> {}", event::NEW) };
        all.and(&format!("(ct.sha256 = ? OR (oct.sha256 = ?{old}))"), [sha256.clone(), sha256]);
    }
    if let Some(port) = q.remote_port {
        all.and("v.remote_port = ?", [Value::Integer(port.into())]);
    }
    if let Some(port) = q.local_port {
        all.and("v.local_port = ?", [Value::Integer(port.into())]);
    }
    if q.netns.is_some() {
        return Err(api::Error::InvalidQuery("events have no netns".to_owned()));
    }
    if let Some(since) = q.since {
        all.and("v.time >= ?", [Value::Integer(since)]);
    }
    if let Some(until) = q.until {
        all.and("v.time < ?", [Value::Integer(until)]);
    }
    Ok(all)
}

pub(super) fn page(db: &Database, q: &Query, v: &Viewer) -> std::result::Result<Page<Event>, api::Error> {
    if q.sort.as_deref().is_some_and(|sort| sort != "time") {
        return Err(api::Error::InvalidQuery("events sort by time alone".to_owned()));
    }
    let descending = q.descending.unwrap_or(true);
    let mut all = matching(db, q, v)?;
    all.and(&news(v), []);
    if let Some(position) = read_cursor(q)? {
        all.and(if descending { "v.id < ?" } else { "v.id > ?" }, [Value::Integer(position)]);
    }
    let wanted = i64::from(q.page());
    all.values.push(Value::Integer(wanted + 1));
    let order = if descending { "DESC" } else { "ASC" };
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE 1{} ORDER BY v.id {order} LIMIT ?", all.text);
    let ask = || -> Result<Vec<Event>> {
        let mut statement = db.prepare(&sql)?;
        statement.query_map(rusqlite::params_from_iter(&all.values), |row| read(row, v))?.collect()
    };
    let mut rows = ask().map_err(unavailable)?;
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let cursor = match rows.last().and_then(|row| row.id) {
        Some(last) if more => cursor(last),
        _ => String::new(),
    };
    Ok(Page { rows, cursor, hidden: hidden(db, q, v, "events").map_err(unavailable)? })
}

pub(super) fn one(db: &Database, id: i64, v: &Viewer) -> std::result::Result<Event, api::Error> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE v.id = ?1 AND {} AND {}", visible(v), news(v));
    let row = db
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([id], |row| read(row, v)).optional());
    row.map_err(unavailable)?.ok_or_else(|| api::Error::NotFound(format!("there is no event {id}")))
}

fn read(row: &rusqlite::Row<'_>, v: &Viewer) -> Result<Event> {
    let mut columns = Columns::new(row);
    let c = &mut columns;
    let id = Some(c.next()?);
    let time = Some(c.next()?);
    let kind: i64 = c.next()?;
    let (path, path_raw) = c.path()?;
    let mut row = Event {
        id,
        time,
        kind: None,
        path,
        path_raw,
        name: c.text()?,
        sha256: c.sha256()?,
        sha256_unknown: c.gap()?,
        old_sha256: c.sha256()?,
        uid: c.small()?,
        executable: c.next()?,
        parent: c.text()?,
        cmdline: c.text()?,
        address: c.address()?,
        domain: c.text()?,
        remote_port: c.small()?,
        protocol: c.next::<Option<i64>>()?.map(dimension::protocol_word),
        unit: c.text()?,
        container: c.text()?,
        error: c.next()?,
        message: c.next()?,
        acknowledged: Some(c.next()?),
        direction: c.next::<Option<i64>>()?.and_then(dimension::direction_word).map(str::to_owned),
        local_port: c.small()?,
        domain_source: c.next::<Option<i64>>()?.and_then(dimension::source_word).map(str::to_owned),
        foreign_root: c.next::<Option<bool>>()?.filter(|foreign| *foreign),
        file_deleted: c.next::<bool>()?.then_some(true),
    };
    let kind = match kind {
        // What somebody else ran before is told to nobody but those who see everybody.
        event::NEW if row.old_sha256.is_some() && v.sees_everybody() => "hash-changed",
        event::NEW | event::NEW_AGAIN => {
            row.old_sha256 = None;
            "new-executable"
        }
        event::CHANGED | event::CHANGED_AGAIN => "hash-changed",
        event::VERDICT => {
            row.protocol = None;
            "verdict"
        }
        _ => {
            row.protocol = None;
            "error"
        }
    };
    row.kind = Some(kind.to_owned());
    if !row.uid.is_some_and(|uid| v.sees(uid) && v.cmdlines.iter().any(|range| range.contains(&uid))) {
        row.cmdline = None;
    }
    Ok(row)
}

/// Called by the writer.
pub(in crate::record) fn acknowledge(db: &mut Database, ids: &[i64], v: &Viewer) -> Result<u64> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut changed = 0;
    {
        let sql = format!(
            "UPDATE event AS v SET acknowledged = 1 WHERE id = ?1 AND acknowledged = 0 AND {}",
            visible(v)
        );
        let mut statement = transaction.prepare(&sql)?;
        for id in ids {
            changed += statement.execute([id])? as u64;
        }
    }
    transaction.commit()?;
    Ok(changed)
}
