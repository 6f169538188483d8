// SPDX-License-Identifier: GPL-3.0-or-later
//! What one transaction inserts: rows of connections and notices.

use std::collections::HashSet;

use rusqlite::{Connection as Database, params};

use super::Settings;
use super::chunk::{MOST, Sums, stored};
use super::dimension::{self as numbers, event, fact};
use super::intern::{self, Interner, WhoIds};
use super::place::{self, Place};
use super::recent::{self, Recent};
use super::rollup::Rollup;
use super::writer::{TIE_BITS, clamp, now};
use crate::model::{Before, Connection, Contact, Hash, Notice, NoticeKind};

/// Inserts rows; gives the programs that they are of.
pub(super) fn rows(
    db: &Database,
    interner: &mut Interner,
    settings: &Settings,
    rows: &[Connection],
    rollup: &mut Rollup,
) -> rusqlite::Result<HashSet<i64>> {
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO connection (id, who, peer, local_port, remote_port, pid, sent, received, connections)
           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    // In the order of the table, and the same microsecond tried only once.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|index| rows[*index].time);
    let mut next = i64::MIN;
    let mut whos = HashSet::new();
    let mut places = Vec::with_capacity(rows.len());
    let mut recents = Vec::with_capacity(rows.len());
    for row in order.into_iter().map(|index| &rows[index]) {
        let time = clamp(row.time);
        let who = interner.who(db, &row.who, settings)?;
        let peer = interner.peer(db, row, settings)?;
        whos.insert(who.id);
        let mut id = (time << TIE_BITS).max(next);
        while insert.execute(params![
            id,
            who.id,
            peer.id,
            intern::port(row.local_port, settings),
            intern::port(row.remote_port, settings),
            row.who.pid,
            stored(row.sent),
            stored(row.received),
            row.connections
        ])? == 0
        {
            id += 1;
        }
        next = id + 1;
        places.push(Place { who: who.id, peer: peer.id, id });
        let sums = Sums {
            sent: row.sent.min(MOST),
            received: row.received.min(MOST),
            connections: row.connections.into(),
        };
        recents.push(Recent { who: who.id, peer: peer.id, time: id >> TIE_BITS, sums });
        rollup.row(time, &who, &peer, row.sent, row.received, row.connections);
    }
    place::add(db, &places)?;
    recent::add(db, &recents, now())?;
    Ok(whos)
}

/// Inserts a notice.
pub(super) fn notice(
    db: &Database,
    interner: &mut Interner,
    settings: &Settings,
    notice: &Notice,
    rollup: &mut Rollup,
) -> rusqlite::Result<()> {
    let time = clamp(notice.time);
    let again = matches!(notice.before, Before::Same(_));
    let (kind, about, old): (i64, Option<&Contact>, Option<[u8; 32]>) = match &notice.kind {
        NoticeKind::NewExecutable(contact) => {
            let old = if let Before::Other(old) = notice.before { Some(old) } else { None };
            (if again { event::NEW_AGAIN } else { event::NEW }, Some(contact), old)
        }
        NoticeKind::HashChanged { contact, old } => {
            (if again { event::CHANGED_AGAIN } else { event::CHANGED }, Some(contact), Some(*old))
        }
        NoticeKind::Verdict { .. } => (event::VERDICT, None, None),
        NoticeKind::Error { .. } => (event::ERROR, None, None),
    };
    let old = old.map_or(Ok(0), |old| interner.content(db, &Hash::Known(old)))?;
    let verdict = match &notice.kind {
        NoticeKind::Verdict { suspect, verdict } => Some((suspect, verdict.to_string())),
        _ => None,
    };
    let (error, message) = match &notice.kind {
        NoticeKind::Error { kind, message } => (Some(kind.as_str()), Some(message.as_str())),
        _ => (None, verdict.as_ref().map(|(_, text)| text.as_str())),
    };
    let mut who: Option<WhoIds> = None;
    let (mut domain, mut remote, mut remote_port, mut protocol) = (0, 0, numbers::NO_PORT, 0);
    let (mut direction, mut local_port, mut source) = (None, numbers::NO_PORT, 0);
    if let Some(contact) = about {
        let ids = interner.who(db, &contact.who, settings)?;
        rollup.program(time, &ids);
        rollup.event(time, ids.uid);
        who = Some(ids);
        if settings.addresses {
            if let Some((name, from)) = &contact.domain {
                domain = interner.domain(db, name)?;
                source = numbers::source(*from);
            }
            remote = interner.address(db, contact.remote)?;
        }
        remote_port = intern::port(contact.remote_port, settings);
        local_port = intern::port(contact.local_port, settings);
        direction = contact.direction.map(numbers::direction);
        protocol = numbers::protocol(contact.protocol);
    }
    let (mut uid, mut who_id, mut content) = (
        who.as_ref().map(|who| who.uid),
        who.as_ref().map_or(0, |who| who.id),
        who.as_ref().map_or(0, |who| who.program.content),
    );
    if let Some((suspect, _)) = &verdict {
        (uid, who_id) = (Some(suspect.uid), suspect.who);
        content = interner.content(db, &Hash::Known(suspect.sha256))?;
        rollup.event(time, suspect.uid);
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO event (id, time, kind, uid, who, content, old_content, domain, remote, remote_port, protocol,
           error, message, direction, local_port, source, file_deleted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        notice.id,
        time,
        kind,
        uid,
        who_id,
        content,
        old,
        domain,
        remote,
        remote_port,
        protocol,
        error,
        message,
        direction,
        local_port,
        source,
        about.is_some_and(|contact| contact.deleted)
    ])?;
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES ('next-notice', ?1 + 1) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
    )?
    .execute([notice.id])?;
    Ok(())
}

/// The content that a notice is about is known now.
pub(super) fn complete_notice(
    db: &Database,
    interner: &mut Interner,
    id: i64,
    hash: &Hash,
    old: Option<[u8; 32]>,
) -> rusqlite::Result<()> {
    let content = interner.content(db, hash)?;
    let old = old.map_or(Ok(0), |old| interner.content(db, &Hash::Known(old)))?;
    db.prepare_cached("UPDATE event SET content = ?2, old_content = ?3 WHERE id = ?1")?
        .execute([id, content, old])?;
    if content > 0 {
        db.prepare_cached(
            "INSERT INTO fact (executable, kind, value, uid, first_seen, last_seen)
               SELECT p.executable, ?2, ?3, e.uid, e.time, e.time
               FROM event e JOIN who w ON w.id = e.who JOIN program p ON p.id = w.program WHERE e.id = ?1
               ON CONFLICT DO UPDATE SET last_seen = max(last_seen, excluded.last_seen)",
        )?
        .execute(params![id, fact::CONTENT, content])?;
    }
    Ok(())
}
