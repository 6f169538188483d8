// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows that wait for hashes: not for ever. A file server that does not answer must not keep out of the record
//! who runs its programs; and what waits here is lost when the daemon is killed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::enrich::Subject;
use crate::model::{Connection, FileId, Gap, Hash};

/// Rows that wait at the most; further ones go out without.
const MAX: usize = 16 * 1024;
/// How long a hash is waited for, from the first row on that waits for it: enough for some GiB of a local disk.
/// After that rows go out as `pending`, until it is there.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Rows that would have to wait no longer than this go out with those that have waited long enough: one commit for
/// many files, whoever starts thousands of programs from a file server that is silent.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Row {
    subject: Subject,
    row: Connection,
    until: Instant,
}

impl Row {
    fn out(self) -> Connection {
        Connection { who: self.subject.who, ..self.row }
    }

    fn give_up(mut self, gap: Gap) -> Connection {
        let files: Vec<FileId> = self.subject.waits_for().collect();
        for file in files {
            self.subject.settle(file, Hash::Unknown(gap));
        }
        self.out()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Waiting {
    rows: Vec<Row>,
    /// Until when rows wait for a hash; it is known what became of it as soon as it is not here.
    until: HashMap<FileId, Instant>,
    /// The first moment at which a row has waited long enough.
    first: Option<Instant>,
    /// Rows whose hash was given up for lack of room. Only grows.
    pub given_up: u64,
}

impl Waiting {
    /// Takes a row; gives it back if there is nothing that it has to wait for any more.
    pub fn push(&mut self, subject: Subject, row: Connection, now: Instant) -> Option<Connection> {
        let until = subject
            .waits_for()
            .map(|file| *self.until.entry(file).or_insert(now + PATIENCE))
            .max()
            .filter(|until| *until > now);
        let row = Row { subject, row, until: until.unwrap_or(now) };
        let Some(until) = until else { return Some(row.give_up(Gap::Pending)) };
        if self.rows.len() >= MAX {
            self.given_up += 1;
            return Some(row.give_up(Gap::Resources));
        }
        self.first = Some(self.first.map_or(until, |first| first.min(until)));
        self.rows.push(row);
        None
    }

    /// A hash became known, or never will: rows that wait for nothing else come `out`.
    pub fn settle(&mut self, file: FileId, hash: Hash, out: &mut Vec<Connection>) {
        if self.until.remove(&file).is_some() {
            self.take(out, Row::out, |row| row.subject.settle(file, hash));
        }
    }

    /// Rows that have waited long enough come `out`.
    pub fn overdue(&mut self, now: Instant, out: &mut Vec<Connection>) {
        if self.first.is_some_and(|first| first <= now) {
            self.take(out, |row| row.give_up(Gap::Pending), |row| row.until <= now + TOGETHER);
        }
    }

    /// All rows come `out`: nobody waits any more.
    pub fn finish(&mut self, out: &mut Vec<Connection>) {
        self.take(out, |row| row.give_up(Gap::Pending), |_| true);
    }

    fn take(
        &mut self,
        out: &mut Vec<Connection>,
        made: impl Fn(Row) -> Connection,
        which: impl Fn(&mut Row) -> bool,
    ) {
        let mut index = 0;
        while let Some(row) = self.rows.get_mut(index) {
            if which(row) {
                out.push(made(self.rows.swap_remove(index)));
            } else {
                index += 1;
            }
        }
        self.first = self.rows.iter().map(|row| row.until).min();
    }

    /// When [`Waiting::overdue`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.first
    }

    /// Numbers of flows whose first row waits here.
    pub fn begun(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().filter(|waiting| waiting.row.connections > 0).map(|waiting| waiting.row.flow)
    }

    /// Gives back what a burst has filled.
    pub fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.until.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::model::{Direction, Program, ProgramKey, Protocol, Who};

    const PENDING: Hash = Hash::Unknown(Gap::Pending);
    const SECOND: Duration = Duration::from_secs(1);

    fn file(inode: u64) -> FileId {
        FileId { inode, ..FileId::default() }
    }

    /// A program of file 1, whose parent is of file 2.
    fn subject() -> Subject {
        let program = |path: &[u8]| {
            let key = ProgramKey { path: path.into(), foreign: false };
            Arc::new(Program { key, name: path.into(), hash: PENDING, cmdline: None, script: None })
        };
        let who = Who {
            program: program(b"/srv/program"),
            parent: Some(program(b"/srv/parent")),
            grandparent: None,
            pid: 7,
            uid: 0,
            euid: 0,
            unit: None,
            container: None,
        };
        Subject::new(who, [Some([Some(file(1)), None]), Some([Some(file(2)), None]), None])
    }

    fn row(subject: &Subject, flow: u64, connections: u32) -> Connection {
        Connection {
            time: 0,
            flow,
            who: subject.who.clone(),
            domain: None,
            local: None,
            local_port: None,
            remote: None,
            remote_port: None,
            interface: None,
            protocol: Protocol::Ip(6),
            direction: Direction::Out,
            netns: 0,
            sent: 1,
            received: 0,
            connections,
        }
    }

    fn push(waiting: &mut Waiting, flow: u64, now: Instant) -> Option<Connection> {
        let subject = subject();
        let row = row(&subject, flow, 1);
        waiting.push(subject, row, now)
    }

    fn hashes(row: &Connection) -> (Hash, Hash) {
        (row.who.program.hash, row.who.parent.as_ref().unwrap().hash)
    }

    #[test]
    fn a_hash_that_comes_in_time_is_in_the_row() {
        let (now, mut waiting, mut out) = (Instant::now(), Waiting::default(), Vec::new());
        assert!(push(&mut waiting, 1, now).is_none());
        waiting.overdue(now + PATIENCE - SECOND, &mut out);
        waiting.settle(file(1), Hash::Known([1; 32]), &mut out);
        assert!(out.is_empty());
        waiting.settle(file(2), Hash::Unknown(Gap::Unreadable), &mut out);
        assert_eq!(hashes(&out[0]), (Hash::Known([1; 32]), Hash::Unknown(Gap::Unreadable)));
        assert_eq!((waiting.deadline(), waiting.until.len(), waiting.given_up), (None, 0, 0));
    }

    #[test]
    fn s01_a_hash_that_never_comes_holds_no_row_back() {
        let (now, mut waiting, mut out) = (Instant::now(), Waiting::default(), Vec::new());
        assert!(push(&mut waiting, 1, now).is_none());
        assert_eq!(
            (waiting.deadline(), waiting.begun().collect::<Vec<_>>()),
            (Some(now + PATIENCE), vec![1])
        );
        waiting.settle(file(1), Hash::Known([1; 32]), &mut out);
        // Counted from the first row that waits for it, not anew with each.
        assert!(push(&mut waiting, 2, now + 20 * SECOND).is_none());
        waiting.overdue(now + PATIENCE - SECOND, &mut out);
        assert!(out.is_empty());
        waiting.overdue(now + PATIENCE, &mut out);
        // What is known is said; the other one asks for file 1 again, and waits for that.
        assert_eq!(out.iter().map(hashes).collect::<Vec<_>>(), [(Hash::Known([1; 32]), PENDING)]);
        assert_eq!(waiting.deadline(), Some(now + 20 * SECOND + PATIENCE));
        waiting.overdue(now + 20 * SECOND + PATIENCE, &mut out);
        assert_eq!((out.len(), hashes(&out[1])), (2, (PENDING, PENDING)));
        assert_eq!((waiting.deadline(), waiting.begun().count()), (None, 0));
        // Rows that come after that do not wait at all, until the hashes are there.
        let late = push(&mut waiting, 1, now + 60 * SECOND).unwrap();
        assert_eq!((hashes(&late), late.flow), ((PENDING, PENDING), 1));
        waiting.settle(file(1), Hash::Known([1; 32]), &mut out);
        waiting.settle(file(2), Hash::Known([2; 32]), &mut out);
        assert_eq!((out.len(), waiting.until.len(), waiting.given_up), (2, 0, 0));
    }

    #[test]
    fn what_finds_no_room_or_is_left_at_the_end_says_why() {
        let (now, mut waiting, mut out) = (Instant::now(), Waiting::default(), Vec::new());
        for flow in 0..MAX as u64 {
            assert!(push(&mut waiting, flow, now).is_none());
        }
        let resources = Hash::Unknown(Gap::Resources);
        assert_eq!(hashes(&push(&mut waiting, u64::MAX, now).unwrap()), (resources, resources));
        waiting.finish(&mut out);
        assert_eq!((out.len(), hashes(&out[0]), waiting.given_up), (MAX, (PENDING, PENDING), 1));
    }
}
