// SPDX-License-Identifier: GPL-3.0-or-later
//! What a text finds, as sets of numbers: each table is looked through once, and from what was found there the
//! indexes lead to programs and peers. The same as the conditions of `filter.rs`, which ask of each row anew.

use rusqlite::types::Value;
use rusqlite::{Connection as Database, Result, params_from_iter};

use super::filter::{self, cmdline_uids};
use super::maps::Maps;
use super::plan::{Table, numbers};
use super::text::part;
use crate::model::Viewer;

/// Programs by their command line: themselves, and what they are folded to.
pub(super) fn cmdline(db: &Database, text: &str, v: &Viewer) -> Result<Table<bool>> {
    let mut whos = Table::new();
    add_cmdline(db, text, v, &mut whos)?;
    Ok(whos)
}

fn add_cmdline(db: &Database, text: &str, v: &Viewer, whos: &mut Table<bool>) -> Result<()> {
    let visible = cmdline_uids("w.uid", v);
    let full = format!(
        "SELECT w.id, w.folded FROM who w WHERE w.program IN (SELECT id FROM program WHERE cmdline IN
           (SELECT id FROM cmdline WHERE contains(value, ?))) AND {visible}"
    );
    let folded = format!(
        "SELECT w.id, 0 FROM who w WHERE w.program IN (SELECT id FROM program WHERE cmdline = 0 AND pattern IN
           (SELECT id FROM word WHERE kind = 6 AND contains(value, ?))) AND {visible}"
    );
    for sql in [full, folded] {
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([part(text)])?;
        while let Some(row) = rows.next()? {
            for number in [row.get(0)?, row.get::<_, i64>(1)?] {
                if number != 0 {
                    *whos.at(number) = true;
                }
            }
        }
    }
    Ok(())
}

/// Peers and programs that a free text finds.
pub(super) fn sought(
    db: &Database,
    maps: &Maps,
    text: &str,
    v: &Viewer,
) -> Result<(Table<bool>, Table<bool>)> {
    let pattern = part(text);
    let domains =
        numbers(db, "SELECT id FROM domain WHERE contains(value, ?)", std::slice::from_ref(&pattern))?;
    let mut remotes = Table::new();
    for address in filter::addresses(db, text)? {
        *remotes.at(address) = true;
    }
    let mut peers = Table::new();
    for (id, peer) in maps.peers() {
        if domains.get(peer.domain.into()) || remotes.get(peer.remote.into()) {
            *peers.at(id) = true;
        }
    }
    let mut whos = Table::new();
    let programs = "SELECT w.id FROM who w WHERE w.program IN
        (SELECT id FROM program WHERE executable IN
           (SELECT id FROM executable WHERE contains(path, ?))
         UNION ALL SELECT id FROM program WHERE name IN
           (SELECT id FROM word WHERE kind = 1 AND contains(value, ?)))";
    let mut statement = db.prepare(&format!("{programs} AND {}", filter::uids("w.uid", &v.rows)))?;
    let mut rows = statement.query(params_from_iter([&pattern, &pattern] as [&Value; 2]))?;
    while let Some(row) = rows.next()? {
        *whos.at(row.get(0)?) = true;
    }
    add_cmdline(db, text, v, &mut whos)?;
    Ok((peers, whos))
}
