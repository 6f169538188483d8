// SPDX-License-Identifier: GPL-3.0-or-later
//! The record as a whole, with real files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deleting;
mod executable;
mod faults;
mod forgetting;
mod logs;
mod outbox;
mod queries;
mod scale;
mod steady;
mod versions;
mod visibility;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Recorder, Settings, Trouble};
use crate::model::{
    Before, Bytes, Connection, Contact, Direction, FileId, Hash, Known, NameSource, Notice, NoticeKind,
    Program, ProgramKey, Protocol, Who,
};

/// 2026-11-22 00:00:00 UTC.
pub(super) const DAY0: i64 = 1_795_305_600_000_000;
pub(super) const SECOND: i64 = 1_000_000;

/// A record in a directory of its own.
pub(super) struct Lab {
    pub(super) dir: tempfile::TempDir,
    pub(super) recorder: Recorder,
    pub(super) known: Known,
    pub(super) troubles: Receiver<Trouble>,
}

pub(super) fn settings() -> Settings {
    // Tests say when to write.
    Settings { write_interval: Duration::from_secs(3600), ..Settings::default() }
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), settings())
    }

    pub(super) fn with(dir: tempfile::TempDir, settings: Settings) -> Self {
        let (tell, troubles) = channel();
        let tell = Mutex::new(tell);
        let (recorder, known) =
            Recorder::open(&dir.path().join("state"), &dir.path().join("log"), settings, move |trouble| {
                let _ = tell.lock().unwrap().send(trouble);
            })
            .unwrap();
        Lab { dir, recorder, known, troubles }
    }

    /// Stops the writer and opens the same record again.
    pub(super) fn reopen(self) -> Self {
        self.recorder.stop().unwrap();
        Self::with(self.dir, settings())
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.path().join("state/picosnitch.db")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join("log").join(name)
    }

    pub(super) fn write(&self, rows: Vec<Connection>) {
        self.recorder.submit(rows);
        self.recorder.flush();
    }

    pub(super) fn trouble(&self) -> Trouble {
        self.troubles.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

pub(super) fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

pub(super) fn program(path: &str, cmdline: &str) -> Arc<Program> {
    Arc::new(Program {
        key: ProgramKey { path: bytes(path), foreign: false },
        name: bytes(path.rsplit('/').next().unwrap()),
        hash: Hash::Known([path.len() as u8; 32]),
        cmdline: Some(bytes(cmdline)),
        script: None,
    })
}

pub(super) fn who(path: &str, uid: u32) -> Who {
    Who {
        program: program(path, &format!("{path} --of {uid}")),
        parent: Some(program("/bin/bash", "bash -l")),
        grandparent: Some(program("/usr/bin/sshd", "sshd: someone")),
        pid: 4242,
        uid,
        euid: uid,
        unit: Some(bytes("session.scope")),
        container: None,
    }
}

pub(super) fn row(time: i64, who: Who) -> Connection {
    static FLOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    Connection {
        time,
        flow: FLOW.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        who,
        domain: Some((bytes("www.example.org"), NameSource::Dns)),
        local: Some("192.0.2.1".parse().unwrap()),
        local_port: Some(40_000),
        remote: Some("203.0.113.7".parse().unwrap()),
        remote_port: Some(443),
        interface: None,
        protocol: Protocol::Ip(6),
        direction: Direction::Out,
        netns: 4_026_531_840,
        sent: 100,
        received: 2000,
        connections: 1,
    }
}

pub(super) fn new_executable(id: i64, time: i64, who: Who) -> Notice {
    let contact = Contact {
        who,
        file: FileId::default(),
        deleted: false,
        remote: Some("203.0.113.7".parse().unwrap()),
        remote_port: Some(443),
        local_port: Some(40_000),
        protocol: Protocol::Ip(6),
        direction: Some(Direction::Out),
        domain: Some((bytes("www.example.org"), NameSource::Dns)),
    };
    Notice { id, time, kind: NoticeKind::NewExecutable(Box::new(contact)), before: Before::Nobody }
}

/// Connections in the totals of each kind, in all.
pub(super) fn connections_by_kind(db: &rusqlite::Connection) -> [u64; 7] {
    use super::chunk::{self, Kind, Reach};
    let reach = Reach::read(db).unwrap();
    Kind::ALL.map(|kind| {
        let mut connections = 0;
        for piece in chunk::everything(&reach) {
            // Hours have no sums in the order of programs.
            let kind = if piece.0 == 0 && kind == Kind::Turned { Kind::Pair } else { kind };
            chunk::read(db, kind, piece, |_, _, _, sums| connections += sums.connections).unwrap();
        }
        connections
    })
}

/// A row, for tests of other stages.
pub(crate) fn test_row() -> Connection {
    row(DAY0, who("/bin/a", 1000))
}

/// News about the program of that row.
pub(crate) fn test_notice(id: i64) -> Notice {
    new_executable(id, DAY0, who("/bin/a", 1000))
}
