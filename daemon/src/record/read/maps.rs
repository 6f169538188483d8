// SPDX-License-Identifier: GPL-3.0-or-later
//! What the numbers in chunks stand for, kept in memory between queries: the folded programs and the peers.
//! Their numbers are never used twice, so that only new ones are read; about 40 bytes for each program and
//! 12 for each peer.

use std::sync::{Arc, Mutex, PoisonError};

use picosnitch_api::Dimension;
use rusqlite::{Connection as Database, Result, Row};

/// The numbers of a folded program by dimension, and its uid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) id: u32,
    executable: u32,
    name: u32,
    /// 0 where it is unknown.
    content: u32,
    pattern: u32,
    parent: u32,
    grandparent: u32,
    pub(super) uid: u32,
    unit: u32,
    container: u32,
}

impl Program {
    pub(super) fn number(&self, by: Dimension) -> u32 {
        match by {
            Dimension::Path => self.executable,
            Dimension::Name => self.name,
            Dimension::Sha256 => self.content,
            Dimension::Cmdline => self.pattern,
            Dimension::Parent => self.parent,
            Dimension::Grandparent => self.grandparent,
            Dimension::Uid => self.uid,
            Dimension::Unit => self.unit,
            Dimension::Container => self.container,
            _ => 0,
        }
    }
}

/// The numbers of a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer {
    pub(super) domain: u32,
    pub(super) remote: u32,
    /// Never 0 in a peer that is there.
    pub(super) service: u32,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Maps {
    /// Which database it is of.
    generation: u64,
    /// In the order of their numbers.
    pub(super) programs: Vec<Program>,
    /// By number.
    pub(super) peers: Vec<Peer>,
}

/// Those that all queries share.
pub(super) type Shared = Mutex<Arc<Maps>>;

/// What is known up to now; within the query's transaction.
pub(super) fn current(shared: &Shared, db: &Database, generation: u64) -> Result<Arc<Maps>> {
    let mut maps = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if maps.generation != generation {
        *maps = Arc::new(Maps { generation, ..Maps::default() });
    }
    let newest = |sql: &str| -> Result<u32> { db.prepare_cached(sql)?.query_row((), |row| row.get(0)) };
    let program = newest("SELECT coalesce(max(id), 0) FROM who WHERE folded = 0")?;
    let peer = newest("SELECT coalesce(max(id), 0) FROM peer")?;
    if maps.programs.last().is_none_or(|last| last.id < program) || maps.peers.len() <= peer as usize {
        Arc::make_mut(&mut maps).read(db)?;
    }
    Ok(maps.clone())
}

impl Maps {
    /// A folded program by its number.
    pub(super) fn program(&self, id: i64) -> Option<&Program> {
        let place = self.programs.binary_search_by_key(&id, |program| program.id.into()).ok()?;
        self.programs.get(place)
    }

    /// A peer by its number.
    pub(super) fn peer(&self, id: i64) -> Peer {
        usize::try_from(id).ok().and_then(|id| self.peers.get(id)).copied().unwrap_or_default()
    }

    fn read(&mut self, db: &Database) -> Result<()> {
        let mut statement = db.prepare_cached(
            "SELECT w.id, g.executable, g.name, max(g.content, 0), g.pattern, coalesce(p.executable, 0),
               coalesce(q.executable, 0), w.uid, w.unit, w.container
             FROM who w JOIN program g ON g.id = w.program LEFT JOIN program p ON p.id = w.parent
               LEFT JOIN program q ON q.id = w.grandparent
             WHERE w.folded = 0 AND w.id > ?1 ORDER BY w.id",
        )?;
        let program = |row: &Row<'_>| {
            Ok(Program {
                id: row.get(0)?,
                executable: row.get(1)?,
                name: row.get(2)?,
                content: row.get(3)?,
                pattern: row.get(4)?,
                parent: row.get(5)?,
                grandparent: row.get(6)?,
                uid: row.get(7)?,
                unit: row.get(8)?,
                container: row.get(9)?,
            })
        };
        let known = self.programs.last().map_or(0, |last| last.id);
        for row in statement.query_map([known], program)? {
            self.programs.push(row?);
        }
        let mut statement =
            db.prepare_cached("SELECT id, domain, remote, service FROM peer WHERE id >= ?1 ORDER BY id")?;
        let mut rows = statement.query([i64::try_from(self.peers.len()).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let id = row.get::<_, u32>(0)? as usize;
            self.peers.resize(id + 1, Peer::default());
            self.peers[id] = Peer { domain: row.get(1)?, remote: row.get(2)?, service: row.get(3)? };
        }
        Ok(())
    }
}
