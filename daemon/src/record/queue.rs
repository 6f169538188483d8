// SPDX-License-Identifier: GPL-3.0-or-later
//! What waits for the writer: bounded, and rows of one flow become one while they wait.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use picosnitch_api as api;

use super::Map;
use crate::model::{Bytes, Connection, End, Hash, Notice, ProgramKey, Scanned, Viewer, Who};

/// Rows that wait at the most (about 20 MiB); further ones are counted and dropped.
pub(super) const MAX_ROWS: usize = 65_536;
/// With this many rows the writer starts before its interval is over.
pub(super) const MANY_ROWS: usize = 16_384;
/// Notices and hashes that wait at the most.
const MAX_NOTICES: usize = 8192;
/// Programs seen without a row that wait at the most.
const MAX_SEEN: usize = 8192;
/// Calls that wait for the writer at the most.
const MAX_REQUESTS: usize = 64;
/// So often it is written that somebody watches, where there is nothing else to write.
const STILL: Duration = Duration::from_secs(60);

/// Something a caller waits for.
pub(super) enum Request {
    /// Write everything, then answer.
    Flush(SyncSender<()>),
    /// Mark events as seen.
    Acknowledge(Vec<i64>, Viewer, SyncSender<Result<u64, api::Error>>),
    /// Delete what matches.
    Delete(Box<api::Query>, Viewer, SyncSender<Result<u64, api::Error>>),
}

/// What must not wait for the interval.
#[derive(Debug, Clone)]
pub(super) enum Urgent {
    Notice(Notice),
    /// Number of the notice, its hash, and what those who see everybody knew there before.
    Hash(i64, Hash, Option<[u8; 32]>),
    /// What a scanner said.
    Scan(Scanned),
}

/// Which sighting it is; those of one program become one while they wait.
pub(super) type SeenKey = (ProgramKey, Bytes, Hash, u32);

#[derive(Default)]
pub(super) struct Queue {
    pub(super) rows: Vec<Connection>,
    by_flow: Map<u64, usize>,
    pub(super) urgent: VecDeque<Urgent>,
    /// First and last time of each.
    pub(super) seen: HashMap<SeenKey, (Who, i64, i64)>,
    pub(super) requests: Vec<Request>,
    /// Chunks of the outbox that have arrived.
    pub(super) sent: Vec<i64>,
    pub(super) lost_rows: u64,
    pub(super) lost_bytes: u64,
    pub(super) stop: bool,
    pub(super) reconfigured: bool,
    /// A reader has met something that cannot be read.
    pub(super) damage: bool,
    /// The interval is over: write what waits.
    pub(super) due: bool,
    /// Everything up to this wall time, µs since the epoch, was handed in and not yet said to be written.
    pub(super) through: Option<i64>,
    /// The flows that are open, if that has changed.
    pub(super) open_flows: Option<Vec<u64>>,
    /// Highest notice handed in.
    pub(super) last_notice: i64,
    /// When something was last written.
    pub(super) written: Option<Instant>,
    /// Somebody watches, which was not written for some time.
    pub(super) still: bool,
    /// Why the daemon is about to end.
    pub(super) end: Option<End>,
}

impl Queue {
    pub(super) fn new(last_notice: i64) -> Self {
        Queue { last_notice, ..Queue::default() }
    }

    /// Adds a row, or adds it to the waiting row of its flow.
    pub(super) fn push(&mut self, row: Connection) {
        if let Some(waiting) = self.by_flow.get(&row.flow).and_then(|index| self.rows.get_mut(*index))
            && same(waiting, &row)
        {
            merge(waiting, row);
            return;
        }
        if self.rows.len() >= MAX_ROWS {
            self.lost_rows += 1;
            self.lost_bytes = self.lost_bytes.saturating_add(row.sent).saturating_add(row.received);
            return;
        }
        self.by_flow.insert(row.flow, self.rows.len());
        self.rows.push(row);
    }

    /// Takes all rows; the writer gives them back with [`Queue::restore`] if it cannot write them.
    pub(super) fn take_rows(&mut self) -> Vec<Connection> {
        self.by_flow = Map::default();
        std::mem::take(&mut self.rows)
    }

    /// Puts rows back in front of those that came since.
    pub(super) fn restore(&mut self, rows: Vec<Connection>) {
        let newer = self.take_rows();
        for row in rows.into_iter().chain(newer) {
            self.push(row);
        }
    }

    /// False if too many wait already.
    pub(super) fn push_urgent(&mut self, urgent: Urgent) -> bool {
        if self.urgent.len() >= MAX_NOTICES {
            return false;
        }
        if let Urgent::Notice(notice) = &urgent {
            self.last_notice = self.last_notice.max(notice.id);
        }
        self.urgent.push_back(urgent);
        true
    }

    pub(super) fn push_seen(&mut self, who: &Who, first: i64, last: i64) {
        let program = &who.program;
        let key = (program.key.clone(), program.name.clone(), program.hash, who.uid);
        if let Some((_, from, to)) = self.seen.get_mut(&key) {
            *from = (*from).min(first);
            *to = (*to).max(last);
        } else if self.seen.len() < MAX_SEEN {
            self.seen.insert(key, (who.clone(), first, last));
        } else {
            self.lost_rows += 1;
        }
    }

    /// False if too many wait already.
    pub(super) fn push_request(&mut self, request: Request) -> bool {
        let room = self.requests.len() < MAX_REQUESTS && !self.stop;
        if room {
            self.requests.push(request);
        }
        room
    }

    /// Something must be done before the interval is over.
    pub(super) fn hurry(&self) -> bool {
        self.due
            || !self.urgent.is_empty()
            || !self.requests.is_empty()
            || self.stop
            || self.reconfigured
            || self.rows.len() >= MANY_ROWS
    }

    /// Nothing was written for so long that it has to be that somebody watches.
    pub(super) fn stands_still(&self) -> bool {
        self.written.is_none_or(|at| at.elapsed() >= STILL)
    }

    /// Something waits for the interval.
    pub(super) fn waits(&self) -> bool {
        !self.rows.is_empty() || !self.seen.is_empty() || !self.sent.is_empty() || self.lost_rows > 0
    }
}

/// Whether the newer row only continues the waiting one: nothing that a reader could ask for is lost.
fn same(waiting: &Connection, row: &Connection) -> bool {
    waiting.flow == row.flow
        && waiting.remote == row.remote
        && waiting.remote_port == row.remote_port
        && waiting.local == row.local
        && waiting.local_port == row.local_port
        && waiting.protocol == row.protocol
        && waiting.direction == row.direction
        && waiting.interface == row.interface
        && waiting.netns == row.netns
        && (waiting.domain.is_none() || waiting.domain == row.domain)
        && same_who(&waiting.who, &row.who)
}

/// The hash may have become known meanwhile.
fn same_who(a: &Who, b: &Who) -> bool {
    let known_since = matches!(a.program.hash, Hash::Unknown(_))
        && a.program.key == b.program.key
        && a.program.name == b.program.name;
    a.pid == b.pid
        && a.uid == b.uid
        && a.euid == b.euid
        && (std::sync::Arc::ptr_eq(&a.program, &b.program) || a.program == b.program || known_since)
        && a.parent.as_ref().map(|p| &p.key) == b.parent.as_ref().map(|p| &p.key)
        && a.unit == b.unit
        && a.container == b.container
}

fn merge(waiting: &mut Connection, row: Connection) {
    waiting.time = waiting.time.min(row.time);
    waiting.sent = waiting.sent.saturating_add(row.sent);
    waiting.received = waiting.received.saturating_add(row.received);
    waiting.connections = waiting.connections.saturating_add(row.connections);
    waiting.who = row.who;
    waiting.domain = row.domain.or(waiting.domain.take());
}
