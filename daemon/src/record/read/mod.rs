// SPDX-License-Identifier: GPL-3.0-or-later
//! Queries. Every one obeys a [`Viewer`]: rows of other uids are left out before anything is filtered, sorted
//! or added up, and command lines that the viewer may not see take no part in filters, searches or groups.
//!
//! `hidden` numbers say how many rows of other uids there are on the days of the query (all programs of
//! others, for executables), whatever else the query asks for: a number that followed the filters would tell
//! what others do.

mod connections;
mod events;
mod executables;
mod export;
mod filter;
mod maps;
mod plan;
mod rest;
mod row;
mod sought;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod tests;
pub(super) mod text;
mod totals;
mod used;

use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use picosnitch_api::{self as api, Dimension, Format, Page, Query, What};
use rusqlite::Connection as Database;

use super::database;
use super::queue::Request;
use super::recorder::Shared;
use super::writer::{DAMAGED, unavailable};
use crate::model::{Known, ProgramKey, Viewer};

pub(super) use events::{acknowledge, conditions as event_conditions};
pub(super) use filter::Sql;

/// Connections for queries, at the most.
const POOL: usize = 4;
/// How long a call waits for one of them, or for the writer.
const WAIT: Duration = Duration::from_secs(10);
/// How long an event that was just handed in is waited for.
const EVENT_WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Idle {
    open: usize,
    idle: Vec<Database>,
    generation: u64,
}

/// The reading side of the record. Calls block, on disk and for a free connection.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    maps: Arc<maps::Shared>,
    pool: Arc<(Mutex<Idle>, Condvar)>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared, maps: Arc::default(), pool: Arc::default() }
    }

    pub(super) fn with<T>(
        &self,
        ask: impl FnOnce(&Database) -> Result<T, api::Error>,
    ) -> Result<T, api::Error> {
        let mut lease = self.lease()?;
        let answer = match &lease.database {
            Some(database) => ask(database),
            None => return Err(busy()),
        };
        if let Some(database) = lease.database.take() {
            lease.give_back(database);
        }
        // The writer can do something about it.
        if matches!(&answer, Err(api::Error::Unavailable(text)) if text == DAMAGED) {
            self.shared.queue().damage = true;
            self.shared.work.notify_one();
        }
        answer
    }

    /// The same, within one view of the database, with what its numbers stand for.
    fn with_maps<T>(
        &self,
        ask: impl FnOnce(&Database, &Arc<maps::Maps>) -> Result<T, api::Error>,
    ) -> Result<T, api::Error> {
        let numbers = &self.shared.numbers;
        let state = (numbers.generation.load(Ordering::SeqCst), numbers.swept.load(Ordering::SeqCst));
        self.with(|db| {
            let view = db.unchecked_transaction().map_err(unavailable)?;
            let maps = maps::current(&self.maps, &view, state).map_err(unavailable)?;
            ask(&view, &maps)
        })
    }

    fn lease(&self) -> Result<Lease<'_>, api::Error> {
        let (pool, freed) = &*self.pool;
        let generation = self.shared.numbers.generation.load(Ordering::SeqCst);
        let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if idle.generation != generation {
                idle.open -= idle.idle.len();
                idle.idle.clear();
                idle.generation = generation;
            }
            if let Some(database) = idle.idle.pop() {
                return Ok(Lease { pool: &self.pool, database: Some(database), generation });
            }
            if idle.open < POOL {
                idle.open += 1;
                drop(idle);
                let mut lease = Lease { pool: &self.pool, database: None, generation };
                lease.database = Some(database::open_reader(&self.shared.path).map_err(unavailable)?);
                return Ok(lease);
            }
            let (guard, timeout) = freed.wait_timeout(idle, WAIT).unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return Err(busy());
            }
            idle = guard;
        }
    }

    /// Connections, newest first unless `descending` is false. Sorts by `time` alone.
    ///
    /// # Errors
    /// [`api::Error`]: the query, or the storage.
    pub fn connections(&self, q: &Query, v: &Viewer) -> Result<Page<api::row::Connection>, api::Error> {
        self.with_maps(|db, maps| connections::page(db, maps, q, v))
    }

    /// Programs, with the sums of the time and the filters of the query. Sorts by `last-seen` (as it is),
    /// `first-seen`, `name`, `path`, `sent`, `received`, `connections`.
    ///
    /// # Errors
    /// [`api::Error`]: the query, or the storage.
    pub fn executables(&self, q: &Query, v: &Viewer) -> Result<Page<api::row::Executable>, api::Error> {
        self.with_maps(|db, maps| executables::page(db, maps, q, v))
    }

    /// One program with everything known of it that the viewer may see.
    ///
    /// # Errors
    /// [`api::Error::NotFound`] also for one that only others used.
    pub fn executable(&self, id: i64, v: &Viewer) -> Result<api::row::Executable, api::Error> {
        self.with(|db| executables::one(db, id, v))
    }

    /// Whether a program of this content was ever seen that the viewer may see.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn knows_content(&self, sha256: &[u8; 32], v: &Viewer) -> Result<bool, api::Error> {
        self.with(|db| executables::knows_content(db, sha256, v).map_err(unavailable))
    }

    /// Events, newest first unless `descending` is false.
    ///
    /// # Errors
    /// [`api::Error`]: the query, or the storage.
    pub fn events(&self, q: &Query, v: &Viewer) -> Result<Page<api::row::Event>, api::Error> {
        self.with(|db| events::page(db, q, v))
    }

    /// One event. One that was just handed in is waited for, no longer than a second.
    ///
    /// # Errors
    /// [`api::Error::NotFound`] also for one about somebody else's program.
    pub fn event(&self, id: i64, v: &Viewer) -> Result<api::row::Event, api::Error> {
        self.shared.await_notice(id, EVENT_WAIT);
        self.with(|db| events::one(db, id, v))
    }

    /// Marks events as seen, those that the viewer may see; gives how many were not yet.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn acknowledge(&self, ids: &[i64], v: &Viewer) -> Result<u64, api::Error> {
        if ids.len() > 10_000 {
            return Err(api::Error::LimitExceeded("at most 10000 events at once".to_owned()));
        }
        self.by_writer(|answer| Request::Acknowledge(ids.to_vec(), v.clone(), answer))
    }

    /// Deletes what the query selects and the viewer may see; gives how many rows of connections that were.
    ///
    /// # Errors
    /// [`api::Error`]: the query, or the storage.
    pub fn delete_history(&self, q: &Query, v: &Viewer) -> Result<u64, api::Error> {
        self.by_writer(|answer| Request::Delete(Box::new(q.clone()), v.clone(), answer))
    }

    fn by_writer(
        &self,
        request: impl FnOnce(std::sync::mpsc::SyncSender<Result<u64, api::Error>>) -> Request,
    ) -> Result<u64, api::Error> {
        let (answer, wait) = sync_channel(1);
        if !self.shared.queue().push_request(request(answer)) {
            return Err(busy());
        }
        self.shared.work.notify_one();
        wait.recv().unwrap_or_else(|_| Err(busy()))
    }

    /// Totals by a dimension, largest first; `limit` of them (default 100) after as many as `cursor` says. An empty key
    /// stands for unknown.
    ///
    /// # Errors
    /// [`api::Error`]: the query, or the storage.
    pub fn summary(
        &self,
        by: Dimension,
        q: &Query,
        v: &Viewer,
    ) -> Result<(Vec<api::row::Total>, u64), api::Error> {
        self.with_maps(|db, maps| totals::summary(db, maps, by, q, v))
    }

    /// Bytes over time of the largest values of a dimension: `limit` of them (default 12), each with the same
    /// evenly spaced points, at most 300.
    ///
    /// # Errors
    /// [`api::Error`]: the query, or the storage.
    pub fn series(
        &self,
        by: Dimension,
        q: &Query,
        v: &Viewer,
    ) -> Result<(Vec<api::row::Series>, u64), api::Error> {
        self.with_maps(|db, maps| totals::series(db, maps, by, q, v))
    }

    /// Writes all rows that match, page by page, so that a long export holds nothing up; gives their number.
    ///
    /// # Errors
    /// [`api::Error`]: the query, the storage, or writing failed.
    pub fn export(
        &self,
        what: What,
        format: Format,
        q: &Query,
        v: &Viewer,
        out: &mut dyn std::io::Write,
    ) -> Result<u64, api::Error> {
        export::export(self, what, format, q, v, out)
    }
}

fn busy() -> api::Error {
    api::Error::Unavailable("the record is busy or shutting down; try again later".to_owned())
}

/// A connection on loan; its place in the pool is free again when this goes.
struct Lease<'a> {
    pool: &'a (Mutex<Idle>, Condvar),
    database: Option<Database>,
    generation: u64,
}

impl Lease<'_> {
    fn give_back(self, database: Database) {
        let mut idle = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.generation == self.generation {
            // `open` goes down when this lease is dropped.
            idle.open += 1;
            // One stays warm; an idle daemon keeps no more pages in memory than that.
            if !idle.idle.is_empty() {
                let _ = database.release_memory();
            }
            idle.idle.push(database);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.open = idle.open.saturating_sub(1);
        drop(idle);
        self.pool.1.notify_one();
    }
}

/// The query as conditions on a row (`connection c`, with `w` and `p`) and on a row of totals, for the writer.
pub(super) fn conditions(db: &Database, q: &Query, v: &Viewer) -> Result<(Sql, Sql), api::Error> {
    let filter = filter::filter(db, q, v)?;
    Ok((filter.rows(q), filter.totals()))
}

/// What the record knows at the start. A program that was only ever a parent is not among it: it is still news.
pub(super) fn known(db: &Database) -> rusqlite::Result<Known> {
    let mut known = Known { next_notice: 1, ..Known::default() };
    let mut statement = db.prepare(
        "SELECT e.id, e.path, e.foreign_root, c.sha256, s.uid FROM sighting s
           JOIN executable e ON e.id = s.executable
           LEFT JOIN fact f ON f.executable = e.id AND f.kind = 2 AND f.value > 0 AND f.uid = s.uid
           LEFT JOIN content c ON c.id = f.value
           ORDER BY s.executable, s.uid, f.first_seen",
    )?;
    let mut rows = statement.query(())?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (id, uid): (i64, u32) = (row.get(0)?, row.get(4)?);
        if last != Some((id, uid)) {
            let path: Vec<u8> = row.get(1)?;
            known.programs.push((ProgramKey { path: path.into(), foreign: row.get(2)? }, uid, Vec::new()));
            last = Some((id, uid));
        }
        let sha256: Option<Vec<u8>> = row.get(3)?;
        if let (Some(Ok(sha256)), Some((.., contents))) =
            (sha256.map(<[u8; 32]>::try_from), known.programs.last_mut())
        {
            contents.push(sha256);
        }
    }
    let next: Option<i64> =
        db.query_row("SELECT max((SELECT max(value) FROM meta WHERE key = 'next-notice'), (SELECT coalesce(max(id), 0) + 1 FROM event))", (), |row| row.get(0))?;
    known.next_notice = next.unwrap_or(1).max(1);
    known.last = super::watched::read(db)?;
    Ok(known)
}
