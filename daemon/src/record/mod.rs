// SPDX-License-Identifier: GPL-3.0-or-later
//! Stage 6: the history on disk.
//!
//! Takes: rows of connections, notices, sightings of programs; queries of `serve`.
//! Gives: what is known at the start (`Known`), pages, totals, exports; troubles with the storage.
//! Thread: one writer (`picosnitch-store`); queries run on the caller's thread over read-only connections.
//! Drops when: more rows wait than `queue::MAX_ROWS` (storage broken or far too slow); counted as `Trouble::Lost`.

mod build;
mod chunk;
mod convert;
mod database;
mod delete;
mod dimension;
mod finish;
mod fold;
mod insert;
mod intern;
mod mend;
mod named;
mod open_flows;
mod outbox;
mod place;
mod queue;
mod read;
mod recent;
mod recorder;
mod retain;
mod rollup;
mod said;
mod segment;
mod settings;
mod textlog;
mod unknown;
mod watched;
mod writer;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{test_notice, test_row};

use std::collections::HashMap;
use std::path::PathBuf;

use picosnitch_api::Incident;

/// By numbers that we gave, places in memory and addresses of peers: hashed more quickly than by the standard
/// way, with a seed of this process.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

pub use finish::Unwritten;
pub use outbox::{Batch, Due};
pub use read::Reader;
pub use recorder::{Counters, Recorder};
pub use settings::Settings;

/// Why the record cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made or is not a directory.
    #[error(
        "cannot use the directory {path} ({source}): make it one that root can write, or name another one"
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be opened or brought up to date.
    #[error("cannot open the database {path}: {source}")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another daemon writes to it.
    #[error(
        "cannot use the database {0}: another picosnitchd uses it; stop that one or give this one another --state-dir"
    )]
    InUse(PathBuf),
    /// It was written by a newer version.
    #[error("cannot use the database {path}: {reason}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the writer: {0}")]
    Thread(std::io::Error),
}

/// What people should know about the storage. Each is said once per incident; `Display` is one sentence
/// that fits the message of an Error event (kind `storage`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Rows could not be kept until they could be written.
    #[error(
        "{rows} connection rows with {bytes} bytes in total were not recorded: the database took them too slowly or not at all"
    )]
    Lost {
        /// How many rows.
        rows: u64,
        /// Bytes sent and received in them.
        bytes: u64,
    },
    /// The database refuses writes; rows wait in memory and are tried again.
    #[error("the database cannot be written ({0}); connections wait in memory until it can")]
    Writing(String),
    /// Writing works again; everything that waited is written.
    #[error("the database can be written again; what waited is recorded")]
    Recovered,
    /// The database was damaged and was set aside; a new one was started.
    #[error(
        "the database was damaged ({reason}); it was kept as {aside} and a new one was started{}",
        unsent_words(*unsent)
    )]
    SetAside {
        /// File that keeps the damaged one.
        aside: PathBuf,
        /// What SQLite said.
        reason: String,
        /// Rows that waited in it for the remote database; 0 also where nobody knows.
        unsent: u64,
    },
    /// Parts of the database could not be read; the rest is as it was.
    #[error(
        "parts of the history could not be read: {mended} were made anew from others, {lost} are lost and missing in totals; check the disk"
    )]
    Mended {
        /// Lists and totals that are whole again.
        mended: u64,
        /// Totals that were in no other.
        lost: u64,
    },
    /// A text log cannot be written; the database is not concerned.
    #[error("the text log {path} cannot be written: {reason}")]
    TextLog {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A text log can be written again, and more came meanwhile than could wait.
    #[error(
        "the text log {path} can be written again; {lines} lines of it were lost, which the database has"
    )]
    TextLogLost {
        /// Which.
        path: PathBuf,
        /// Whole lines.
        lines: u64,
    },
}

impl Trouble {
    /// The kind of the Error event; `None` for what the pipeline tells by the counters. Each has its own, so
    /// that one does not hold another back.
    #[must_use]
    pub fn kind(&self) -> Option<Incident> {
        match self {
            Trouble::Lost { .. } => None,
            Trouble::Writing(_) => Some(Incident::Storage),
            Trouble::Recovered => Some(Incident::StorageRecovered),
            Trouble::SetAside { .. } => Some(Incident::StorageDamaged),
            Trouble::Mended { .. } => Some(Incident::StorageMended),
            Trouble::TextLog { .. } => Some(Incident::TextLog),
            Trouble::TextLogLost { .. } => Some(Incident::TextLogLost),
        }
    }
}

fn unsent_words(rows: u64) -> String {
    if rows == 0 {
        return String::new();
    }
    format!("; {rows} rows in it will not reach the remote database")
}

/// `2026-11-22` of a time in µs since the epoch, UTC.
#[must_use]
pub fn date_text(time: i64) -> String {
    textlog::time_text(time).chars().take(10).collect()
}
