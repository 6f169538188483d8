// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs, as far as uids that the viewer may see used them: numbers, names and everything else come from
//! those uids alone.
//!
//! Sums are those of what the query asks for: of its time and its filters (`used.rs`). Without either they are those
//! of all time, which are kept with each program.

use picosnitch_api::row::{Executable, MAX_LISTED};
use picosnitch_api::{self as api, Query};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, OptionalExtension as _, Result};

use std::sync::Arc;

use super::Page;
use super::filter::{self, Sql};
use super::maps::Maps;
use super::row::{self, Columns};
use super::text::part;
use super::used::Used;
use crate::model::{Gap, Viewer};
use crate::record::dimension::{self, fact};
use crate::record::outbox;
use crate::record::writer::unavailable;

/// What can be sorted by: the word, the column, and whether it is a number.
const SORTS: [(&str, &str, bool); 8] = [
    ("last-seen", "m.last_seen", true),
    ("first-seen", "m.first_seen", true),
    ("total", "m.sent + m.received", true),
    ("sent", "m.sent", true),
    ("received", "m.received", true),
    ("connections", "m.connections", true),
    ("path", "e.path", false),
    ("name", "name", false),
];

/// Uids that count: those that the viewer may see, and the one asked for.
fn mine(q: &Query, v: &Viewer, column: &str) -> String {
    let visible = filter::uids(column, &v.rows);
    match q.uid {
        Some(uid) => format!("({visible} AND {column} = {uid})"),
        None => visible,
    }
}

/// What is known of each program in all, for `WITH`.
fn in_all(q: &Query, v: &Viewer) -> String {
    format!(
        "m AS (SELECT executable, min(first_seen) AS first_seen, max(last_seen) AS last_seen, max(days) AS days,
             count(*) AS users, sum(sent) AS sent, sum(received) AS received, sum(connections) AS connections
           FROM sighting WHERE {} GROUP BY executable)",
        mine(q, v, "uid")
    )
}

/// The programs with their latest name and content, one row each.
fn select(q: &Query, v: &Viewer) -> String {
    let facts = mine(q, v, "f.uid");
    let days = if facts == "1" {
        "e.days".to_owned()
    } else {
        // Days of several users that were the same ones are counted once, as long as they are known. No user's own
        // days get fewer when they are forgotten.
        format!(
            "CASE WHEN m.users = 1 THEN m.days ELSE max(m.days,
               (SELECT count(DISTINCT day) FROM sighting_day s WHERE s.executable = e.id AND {})) END",
            mine(q, v, "s.uid")
        )
    };
    format!(
        "WITH {}
         SELECT e.id, e.path, e.foreign_root,
           (SELECT n.value FROM fact f JOIN word n ON n.id = f.value WHERE f.executable = e.id AND f.kind = {} AND {facts}
              ORDER BY f.last_seen DESC, f.value DESC LIMIT 1) AS name,
           (SELECT f.value FROM fact f WHERE f.executable = e.id AND f.kind = {} AND {facts}
              ORDER BY f.value = {}, f.last_seen DESC, f.value DESC LIMIT 1) AS content,
           m.first_seen, m.last_seen, {days},
           m.sent, m.received, m.connections
         FROM m JOIN executable e ON e.id = m.executable",
        in_all(q, v),
        fact::NAME,
        fact::CONTENT,
        // What is not read yet hides no content that is known.
        dimension::gap(Gap::Pending),
    )
}

fn read(row: &rusqlite::Row<'_>) -> Result<(Executable, i64)> {
    let mut columns = Columns::new(row);
    let c = &mut columns;
    let id = Some(c.next()?);
    let (path, path_raw) = c.path()?;
    let foreign_root = c.next::<bool>()?.then_some(true);
    let name = c.text()?;
    let content = c.next::<Option<i64>>()?.unwrap_or(0);
    let executable = Executable {
        id,
        path,
        path_raw,
        foreign_root,
        name,
        sha256_unknown: dimension::gap_word(content).map(str::to_owned),
        first_seen: Some(c.next()?),
        last_seen: Some(c.next()?),
        days_seen: c.small()?,
        sent: Some(c.count()?),
        received: Some(c.count()?),
        connections: Some(c.count()?),
        ..Executable::default()
    };
    Ok((executable, content))
}

fn with_content(db: &Database, (mut executable, content): (Executable, i64)) -> Result<Executable> {
    if content > 0 {
        executable.sha256 = db
            .prepare_cached("SELECT sha256 FROM content WHERE id = ?1")?
            .query_row([content], |row| row.get::<_, Vec<u8>>(0))
            .optional()?
            .map(|sha256| row::hex(&sha256));
    }
    Ok(executable)
}

fn conditions(q: &Query, v: &Viewer, used: Option<&Used>) -> Sql {
    let mut all = Sql::default();
    let facts = mine(q, v, "f.uid");
    let has = |kind: i64, values: &str, uids: &str| {
        format!(
            "e.id IN (SELECT f.executable FROM fact f WHERE f.kind = {kind} AND {uids} AND f.value IN ({values}))"
        )
    };
    let blob = |text: &str| Value::Blob(text.as_bytes().to_vec());
    if let Some(used) = used {
        used.only(q, &mut all);
    }
    if let Some(id) = q.executable {
        all.and("e.id = ?", [Value::Integer(id)]);
    }
    if let Some(path) = &q.path {
        all.and("e.path = ?", [blob(path)]);
    }
    if let Some(name) = &q.name {
        all.and(&has(fact::NAME, "SELECT id FROM word WHERE kind = 1 AND value = ?", &facts), [blob(name)]);
    }
    if let Some(sha256) = &q.sha256 {
        let sha256 = Value::Blob(filter::unhex(sha256).unwrap_or_default());
        all.and(&has(fact::CONTENT, "SELECT id FROM content WHERE sha256 = ?", &facts), [sha256]);
    }
    // Live command lines in full; older ones as they are folded.
    let by_cmdline = |text: &str| {
        let (full, mut values) = filter::cmdline(text, v);
        let shown = format!("({facts} AND {})", filter::uids("f.uid", &v.cmdlines));
        let patterns = "SELECT id FROM word WHERE kind = 6 AND contains(value, ?)";
        let condition = format!(
            "(e.id IN (SELECT g.executable FROM who w JOIN program g ON g.id = w.program WHERE {} AND {full}) OR {})",
            mine(q, v, "w.uid"),
            has(fact::PATTERN, patterns, &shown)
        );
        values.push(part(text));
        (condition, values)
    };
    if let Some(cmdline) = &q.cmdline {
        let (condition, values) = by_cmdline(cmdline);
        all.and(&condition, values);
    }
    if let Some(text) = &q.search {
        let names = has(fact::NAME, "SELECT id FROM word WHERE kind = 1 AND contains(value, ?)", &facts);
        let domains = has(fact::DOMAIN, "SELECT id FROM domain WHERE contains(value, ?)", &facts);
        let (cmdlines, values) = by_cmdline(text);
        // What totals find besides: by addresses, and by domains that are not kept with the program.
        let used = used.map_or_else(|| "0".to_owned(), Used::has);
        let either = format!("({used} OR contains(e.path, ?) OR {names} OR {domains} OR {cmdlines})");
        all.and(&either, std::iter::repeat_n(part(text), 3).chain(values));
    }
    all
}

/// `sort value`-`id` in hexadecimal; the value is 0 where it is a text, which is looked up by id.
fn read_cursor(q: &Query) -> std::result::Result<Option<(i64, i64)>, api::Error> {
    let wrong = || api::Error::InvalidQuery("cursor wants what the page before gave".to_owned());
    let Some(text) = q.cursor.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let part = |text: &str| {
        (text.len() == 16)
            .then(|| u64::from_str_radix(text, 16).ok().map(u64::cast_signed))
            .flatten()
            .ok_or_else(wrong)
    };
    let (value, id) = text.split_once('-').ok_or_else(wrong)?;
    Ok(Some((part(value)?, part(id)?)))
}

/// Numbers of the programs that the conditions let through.
fn ids(db: &Database, q: &Query, v: &Viewer, all: &Sql) -> Result<Vec<i64>> {
    let sql = format!(
        "WITH {} SELECT e.id FROM m JOIN executable e ON e.id = m.executable WHERE 1{}",
        in_all(q, v),
        all.text
    );
    let mut statement = db.prepare(&sql)?;
    statement.query_map(rusqlite::params_from_iter(&all.values), |row| row.get(0))?.collect()
}

/// The first ones after the cursor, values with their programs; one more than is wanted, if there is one.
fn rank(
    all: impl Iterator<Item = (i64, i64)>,
    descending: bool,
    cursor: Option<(i64, i64)>,
    wanted: i64,
) -> Vec<(i64, i64)> {
    let after = |place: &(i64, i64)| {
        cursor.is_none_or(|cursor| if descending { *place < cursor } else { *place > cursor })
    };
    let mut ranked: Vec<_> = all.filter(after).collect();
    ranked.sort_unstable();
    if descending {
        ranked.reverse();
    }
    ranked.truncate(usize::try_from(wanted + 1).unwrap_or(usize::MAX));
    ranked
}

pub(super) fn page(
    db: &Database,
    maps: &Arc<Maps>,
    q: &Query,
    v: &Viewer,
) -> std::result::Result<Page<Executable>, api::Error> {
    let sort = q.sort.as_deref().unwrap_or("last-seen");
    let Some((_, column, number)) = SORTS.iter().find(|(word, ..)| *word == sort) else {
        let known: Vec<_> = SORTS.iter().map(|(word, ..)| *word).collect();
        return Err(api::Error::InvalidQuery(format!("executables sort by {}", known.join(", "))));
    };
    let descending = q.descending.unwrap_or(true);
    let (order, than) = if descending { ("DESC", "<") } else { ("ASC", ">") };
    let used = Used::of(db, maps, q, v)?;
    let mut all = conditions(q, v, used.as_ref());
    let cursor = read_cursor(q)?;
    let wanted = i64::from(q.page());
    let by_use = used.as_ref().and_then(|used| used.by(sort));
    if let Some(value) = by_use {
        let ids = ids(db, q, v, &all).map_err(unavailable)?;
        let ranked = rank(ids.into_iter().map(|id| (value(id), id)), descending, cursor, wanted);
        let listed: Vec<String> = ranked.iter().map(|(_, id)| id.to_string()).collect();
        all = Sql::default();
        all.and(&format!("e.id IN ({})", listed.join(",")), []);
    } else if let Some((value, id)) = cursor {
        if *number {
            all.and(&format!("({column}, e.id) {than} (?, ?)"), [Value::Integer(value), Value::Integer(id)]);
        } else {
            let before: Option<Vec<u8>> = db
                .prepare(&format!(
                    "SELECT {} FROM ({} WHERE e.id = ?1) e",
                    column.replace("e.path", "path"),
                    select(q, v)
                ))
                .and_then(|mut statement| statement.query_row([id], |row| row.get(0)).optional())
                .map_err(unavailable)?;
            let before =
                before.ok_or_else(|| api::Error::InvalidQuery("cursor is of another list".to_owned()))?;
            all.and(&format!("({column}, e.id) {than} (?, ?)"), [Value::Blob(before), Value::Integer(id)]);
        }
    }
    all.values.push(Value::Integer(wanted + 1));
    let sql = format!("{} WHERE 1{} ORDER BY {column} {order}, e.id {order} LIMIT ?", select(q, v), all.text);
    let ask = || -> Result<Vec<Executable>> {
        let mut statement = db.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(&all.values), read)?;
        rows.map(|row| with_content(db, row?)).collect()
    };
    let mut rows = ask().map_err(unavailable)?;
    if let Some(used) = &used {
        rows.iter_mut().for_each(|row| used.put(row));
    }
    if let Some(value) = by_use {
        let place = |row: &Executable| row.id.map(|id| (value(id), id));
        rows.sort_by_key(place);
        if descending {
            rows.reverse();
        }
    }
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let cursor = match rows.last() {
        Some(last) if more => {
            let count = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok());
            let value = match sort {
                "last-seen" => last.last_seen,
                "first-seen" => last.first_seen,
                "total" => {
                    count(last.sent.zip(last.received).map(|(sent, received)| sent.saturating_add(received)))
                }
                "sent" => count(last.sent),
                "received" => count(last.received),
                "connections" => count(last.connections),
                _ => None,
            };
            let hex = |value: Option<i64>| format!("{:016x}", value.unwrap_or(0).cast_unsigned());
            format!("{}-{}", hex(value), hex(last.id))
        }
        _ => String::new(),
    };
    Ok(Page { rows, cursor, hidden: hidden(db, v).map_err(unavailable)? })
}

/// Programs that only uids used which the viewer may not see.
fn hidden(db: &Database, v: &Viewer) -> Result<u64> {
    let visible = filter::uids("uid", &v.rows);
    if visible == "1" {
        return Ok(0);
    }
    let sql = format!(
        "SELECT count(DISTINCT executable) - (SELECT count(DISTINCT executable) FROM sighting WHERE {visible}) FROM sighting"
    );
    let hidden: i64 = db.prepare_cached(&sql)?.query_row((), |row| row.get(0))?;
    Ok(u64::try_from(hidden).unwrap_or(0))
}

pub(super) fn one(db: &Database, id: i64, v: &Viewer) -> std::result::Result<Executable, api::Error> {
    let q = Query::default();
    let ask = || -> Result<Option<Executable>> {
        let row =
            db.prepare(&format!("{} WHERE e.id = ?1", select(&q, v)))?.query_row([id], read).optional()?;
        let Some(row) = row else { return Ok(None) };
        let mut executable = with_content(db, row)?;
        facts(db, id, v, &mut executable)?;
        Ok(Some(executable))
    };
    ask().map_err(unavailable)?.ok_or_else(|| api::Error::NotFound(format!("there is no executable {id}")))
}

pub(super) fn knows_content(db: &Database, sha256: &[u8; 32], v: &Viewer) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM content c WHERE c.sha256 = ?1 AND (
           EXISTS (SELECT 1 FROM fact f WHERE f.kind + 0 = {} AND f.value = c.id AND {})
           OR EXISTS (SELECT 1 FROM program p JOIN who w ON w.program = p.id OR w.parent = p.id OR w.grandparent = p.id
             WHERE (p.content = c.id OR (p.script_content = c.id AND p.script_content > 0)) AND {})))",
        fact::CONTENT,
        filter::uids("f.uid", &v.rows),
        filter::uids("w.uid", &v.rows),
    );
    db.prepare(&sql)?.query_row([sha256], |row| row.get(0))
}

/// The lists of one program, latest first.
fn facts(db: &Database, id: i64, v: &Viewer, executable: &mut Executable) -> Result<()> {
    let rows = filter::uids("f.uid", &v.rows);
    let list = |kind: i64, join: &str, column: &str, uids: &str| -> Result<Vec<(Value, i64, i64)>> {
        let sql = format!(
            "SELECT {column}, min(f.first_seen), max(f.last_seen) AS last FROM fact f {join}
               WHERE f.executable = ?1 AND f.kind = {kind} AND {uids} GROUP BY f.value ORDER BY last DESC, f.value DESC LIMIT {MAX_LISTED}"
        );
        let mut statement = db.prepare(&sql)?;
        statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    };
    let texts = |values: Vec<(Value, i64, i64)>| -> Vec<String> {
        values
            .into_iter()
            .filter_map(|(value, ..)| match value {
                Value::Blob(bytes) => Some(row::text(&bytes)),
                _ => None,
            })
            .collect()
    };
    let word = "JOIN word x ON x.id = f.value";
    executable.names = Some(texts(list(fact::NAME, word, "x.value", &rows)?));
    executable.domains =
        Some(texts(list(fact::DOMAIN, "JOIN domain x ON x.id = f.value", "x.value", &rows)?));
    let shown = format!("({rows} AND {})", filter::uids("f.uid", &v.cmdlines));
    if filter::uids("f.uid", &v.cmdlines) != "0" {
        executable.cmdlines = Some(texts(list(fact::PATTERN, word, "x.value", &shown)?));
    }
    let ports = list(fact::PORT, "", "f.value", &rows)?;
    let port = |value| match value {
        Value::Integer(port) => u16::try_from(port).ok(),
        _ => None,
    };
    executable.ports = Some(ports.into_iter().filter_map(|(value, ..)| port(value)).collect());
    let contents = list(fact::CONTENT, "JOIN content x ON x.id = f.value", "x.sha256", &rows)?;
    let hashes = contents.iter().filter_map(|(value, ..)| match value {
        Value::Blob(sha256) => Some(row::hex(sha256)),
        _ => None,
    });
    executable.hashes = Some(hashes.collect());
    let verdicts = contents.iter().map(|(value, ..)| match value {
        Value::Blob(sha256) => outbox::verdict_text(db, sha256),
        _ => Ok(String::new()),
    });
    executable.verdicts = Some(verdicts.collect::<Result<_>>()?);
    executable.hashes_first_seen = Some(contents.iter().map(|(_, first, _)| *first).collect());
    executable.hashes_last_seen = Some(contents.iter().map(|(.., last)| *last).collect());
    Ok(())
}
