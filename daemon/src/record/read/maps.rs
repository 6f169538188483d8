// SPDX-License-Identifier: GPL-3.0-or-later
//! What the numbers in chunks stand for, kept in memory between queries: the folded programs and the peers.
//! Their numbers are never used twice, so that only new ones are read; about 40 bytes for each program and
//! 12 for each peer. When many have been swept, all is read again without them.

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

/// Peers in one block. It is there if one of them is: their numbers grow for ever, and those of old ones are swept.
const BLOCK: usize = 1024;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Maps {
    /// Which database it is of.
    generation: u64,
    /// How many programs and peers the writer had swept when this was begun.
    swept: u64,
    /// In the order of their numbers.
    pub(super) programs: Vec<Program>,
    /// By number.
    peers: Vec<Option<Arc<[Peer; BLOCK]>>>,
    /// The newest peer, and how many there are.
    newest: u32,
    count: u64,
}

/// Those that all queries share.
pub(super) type Shared = Mutex<Arc<Maps>>;

/// What is known up to now; within the query's transaction.
pub(super) fn current(shared: &Shared, db: &Database, (generation, swept): (u64, u64)) -> Result<Arc<Maps>> {
    let mut maps = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if maps.generation != generation || maps.has_many_swept(swept) {
        *maps = Arc::new(Maps { generation, swept, ..Maps::default() });
    }
    let newest = |sql: &str| -> Result<u32> { db.prepare_cached(sql)?.query_row((), |row| row.get(0)) };
    let program = newest("SELECT coalesce(max(id), 0) FROM who WHERE folded = 0")?;
    let peer = newest("SELECT coalesce(max(id), 0) FROM peer")?;
    if maps.programs.last().is_none_or(|last| last.id < program) || maps.newest < peer {
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
        let of = |id: usize| Some(self.peers.get(id / BLOCK)?.as_ref()?[id % BLOCK]);
        usize::try_from(id).ok().and_then(of).unwrap_or_default()
    }

    /// All peers by their numbers, in that order.
    pub(super) fn peers(&self) -> impl Iterator<Item = (i64, &Peer)> {
        let blocks = (0..).step_by(BLOCK).zip(&self.peers);
        let all = blocks.filter_map(|(first, block)| Some((first..).zip(block.as_ref()?.iter())));
        all.flatten().filter(|(_, peer)| peer.service != 0)
    }

    /// An eighth of what is held, and more than is worth another look, is not there any more.
    fn has_many_swept(&self, swept: u64) -> bool {
        swept.saturating_sub(self.swept) * 8 > (self.programs.len() as u64 + self.count).max(BLOCK as u64)
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
            db.prepare_cached("SELECT id, domain, remote, service FROM peer WHERE id > ?1 ORDER BY id")?;
        let mut rows = statement.query([self.newest])?;
        while let Some(row) = rows.next()? {
            self.newest = row.get(0)?;
            let id = self.newest as usize;
            self.peers.resize(self.peers.len().max(id / BLOCK + 1), None);
            let block = self.peers[id / BLOCK].get_or_insert_with(|| Arc::new([Peer::default(); BLOCK]));
            Arc::make_mut(block)[id % BLOCK] =
                Peer { domain: row.get(1)?, remote: row.get(2)?, service: row.get(3)? };
            self.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Numbers that were given long ago and swept take no memory, and what is swept is not held for ever.
    #[test]
    fn what_is_swept_is_not_held() {
        let mut db = Database::open_in_memory().unwrap();
        crate::record::database::migrate(&mut db, 0).unwrap();
        let shared = Shared::default();
        let add = |from: u32| {
            db.execute(
                "WITH RECURSIVE n (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1 + 4999)
                 INSERT INTO peer SELECT n, n, 0, n + 1, 443, 6, 1, 0, 0, 0, 1 FROM n",
                [from],
            )
            .unwrap();
        };
        let current = |swept| current(&shared, &db, (0, swept)).unwrap();
        let held = |maps: &Maps| maps.peers.iter().flatten().count() * BLOCK;
        add(1);
        assert_eq!(current(0).peers().count(), 5000);
        add(40_000_000);
        let maps = current(0);
        assert!(held(&maps) <= 12 * BLOCK, "{}", held(&maps));
        let all: Vec<i64> = (1..=5000).chain(40_000_000..=40_004_999).collect();
        assert_eq!(maps.peers().map(|(id, _)| id).collect::<Vec<_>>(), all);
        for id in all {
            let peer = maps.peer(id);
            assert_eq!((i64::from(peer.domain), i64::from(peer.remote), peer.service), (id, id + 1, 1));
        }
        for id in [-1, 0, 5001, 39_999_999, 40_005_000, i64::MAX] {
            assert_eq!(maps.peer(id).service, 0, "{id}");
        }
        let swept = db.execute("DELETE FROM peer WHERE id < 5000", ()).unwrap();
        assert_eq!(current(1000).peers().count(), 10_000, "few are kept until there are more");
        assert_eq!(current(swept as u64).peers().count(), 5001);
        assert_eq!(current(swept as u64 + 1).peers().count(), 5001);
    }
}
