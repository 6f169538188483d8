// SPDX-License-Identifier: GPL-3.0-or-later
//! What programs used in the time of a query and of what its filters let through, for the list of programs.

use std::sync::Arc;

use picosnitch_api::{self as api, Query, row::Executable};
use rusqlite::Connection as Database;
use rusqlite::types::Value;

use super::filter::Sql;
use super::maps::Maps;
use super::totals;
use crate::model::Viewer;
use crate::record::Map;
use crate::record::chunk::Sums;

/// See the module.
pub(super) struct Used(Map<i64, Sums>);

impl Used {
    /// `None` where the sums of all time are meant.
    pub(super) fn of(
        db: &Database,
        maps: &Arc<Maps>,
        q: &Query,
        v: &Viewer,
    ) -> std::result::Result<Option<Used>, api::Error> {
        let in_all = Query {
            scope: q.scope,
            executable: q.executable,
            path: q.path.clone(),
            uid: q.uid,
            sort: q.sort.clone(),
            descending: q.descending,
            limit: q.limit,
            cursor: q.cursor.clone(),
            ..Query::default()
        };
        if *q == in_all {
            return Ok(None);
        }
        // How the list is ordered is no order of totals.
        let q = Query { sort: None, descending: None, limit: None, cursor: None, ..q.clone() };
        Ok(Some(Used(totals::by_program(db, maps, &q, v)?)))
    }

    /// Leaves out programs that have nothing to do with what the query asks for. A filter that is about connections
    /// wants one in that time; without such a filter it is enough to have been seen in it, as those are that use no
    /// network.
    pub(super) fn only(&self, q: &Query, all: &mut Sql) {
        let connected = self.has();
        if is_of_connections(q) {
            return all.and(&connected, []);
        }
        let (since, until) = (q.since.unwrap_or(i64::MIN), q.until.unwrap_or(i64::MAX));
        if q.since.is_none() && q.until.is_none() {
            return;
        }
        let within = |column: &str| format!("({column} >= ? AND {column} < ?)");
        let seen = format!("({connected} OR {} OR {})", within("m.last_seen"), within("m.first_seen"));
        all.and(&seen, [since, until, since, until].map(Value::Integer));
    }

    /// The condition that a program used something.
    pub(super) fn has(&self) -> String {
        let listed: Vec<String> = self.0.keys().map(i64::to_string).collect();
        format!("e.id IN ({})", listed.join(","))
    }

    /// What to sort by, if it is one of the sums.
    pub(super) fn by(&self, sort: &str) -> Option<impl Fn(i64) -> i64 + Copy + use<'_>> {
        let sum: fn(&Sums) -> u64 = match sort {
            "total" => |sums| sums.sent.saturating_add(sums.received),
            "sent" => |sums| sums.sent,
            "received" => |sums| sums.received,
            "connections" => |sums| sums.connections,
            _ => return None,
        };
        Some(move |id: i64| self.0.get(&id).map_or(0, |sums| i64::try_from(sum(sums)).unwrap_or(i64::MAX)))
    }

    /// Writes the sums into a row.
    pub(super) fn put(&self, row: &mut Executable) {
        let sums = row.id.and_then(|id| self.0.get(&id)).copied().unwrap_or_default();
        row.sent = Some(sums.sent);
        row.received = Some(sums.received);
        row.connections = Some(sums.connections);
    }
}

/// The query has a filter that is about connections and not about the program itself.
fn is_of_connections(q: &Query) -> bool {
    let of_programs = Query {
        since: q.since,
        until: q.until,
        scope: q.scope,
        executable: q.executable,
        path: q.path.clone(),
        name: q.name.clone(),
        sha256: q.sha256.clone(),
        cmdline: q.cmdline.clone(),
        uid: q.uid,
        search: q.search.clone(),
        sort: q.sort.clone(),
        descending: q.descending,
        limit: q.limit,
        cursor: q.cursor.clone(),
        ..Query::default()
    };
    *q != of_programs
}
