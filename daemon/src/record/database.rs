// SPDX-License-Identifier: GPL-3.0-or-later
//! The database file: its place, its rights, its schema, and what happens when it is damaged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::read::text;
use super::{Error, Trouble};

/// Name of the database in the state directory.
pub(super) const FILE: &str = "picosnitch.db";

/// A change of the schema, and what takes the data over where SQL cannot.
type Migration = (&'static str, Option<fn(&Connection) -> rusqlite::Result<()>>);

/// Dated, never edited; `user_version` says how many were applied.
pub(super) const MIGRATIONS: &[Migration] = &[
    (include_str!("migrations/2026-11-22-first.sql"), None),
    (include_str!("migrations/2026-11-22-packed-totals.sql"), Some(super::convert::totals)),
    (include_str!("migrations/2026-11-22-relay.sql"), None),
    (include_str!("migrations/2026-11-22-rows-by-hour.sql"), None),
    (include_str!("migrations/2026-11-22-lists-of-rows.sql"), Some(super::place::build)),
    (include_str!("migrations/2026-11-22-direction-of-events.sql"), None),
    (include_str!("migrations/2026-11-22-segments.sql"), Some(super::convert::segments)),
    (include_str!("migrations/2026-11-22-recent-rows.sql"), Some(super::recent::begin)),
    (include_str!("migrations/2026-11-23-turned-totals.sql"), Some(super::convert::turned)),
    (include_str!("migrations/2026-11-24-deleting.sql"), Some(super::open_flows::forget_files)),
    (include_str!("migrations/2026-11-25-deleted-files.sql"), None),
];

/// How long the writer waits for a lock that another process holds, before it gives up until later.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(1000);

/// Makes the directory with this mode if it is not there. One that cannot be written (a read-only file system)
/// is told now, not with the first row.
pub(super) fn directory(path: &Path, mode: u32) -> Result<(), Error> {
    let failed = |source| Error::Directory { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    if !path.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).map_err(|error| failed(error.into()))
}

/// Holds the state directory: two daemons must not number events in one database.
pub(super) fn hold(state_dir: &Path) -> Result<File, Error> {
    let path = state_dir.join("lock");
    let failed = |source| Error::Directory { path: path.clone(), source };
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(state_dir.join(FILE))),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens the writer's connection, with the schema of today. A damaged file is set aside for a fresh one; a
/// file that is merely locked or cannot be read is an error and stays where it is.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<Trouble>), Error> {
    let reason = match attempt(path) {
        Ok(database) => return Ok((database, None)),
        Err(Error::Database { source, .. }) if damaged(&source) => source.to_string(),
        Err(error) => return Err(error),
    };
    let aside = set_aside(path).map_err(|source| Error::Directory { path: path.to_owned(), source })?;
    Ok((attempt(path)?, Some(Trouble::SetAside { aside, reason, unsent: 0 })))
}

/// Whether this error means that the file's content is damaged.
pub(super) fn damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames the database and its companions to `.bad`; an older `.bad` is replaced, so that a disk that
/// damages one database after the other is not filled by them.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = suffixed(path, ".bad");
    for companion in ["-wal", "-shm"] {
        let (from, to) = (suffixed(path, companion), suffixed(&aside, companion));
        let _ = std::fs::remove_file(&to);
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// Whether something was set aside of this database and nothing of it was written since then, in µs.
pub(super) fn aside_is_due(path: &Path, before: i64) -> io::Result<bool> {
    let (aside, mut due) = (suffixed(path, ".bad"), false);
    // No row is in the `-shm`, and who only looks into the file touches it.
    for file in [suffixed(&aside, "-wal"), aside] {
        match std::fs::symlink_metadata(&file) {
            Ok(data) if data.mtime().saturating_mul(1_000_000) < before => due = true,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(due)
}

/// Removes what was set aside of this database.
pub(super) fn remove_aside(path: &Path) -> io::Result<()> {
    let aside = suffixed(path, ".bad");
    // The one that tells of the others goes last.
    for suffix in ["-shm", "-wal", ""] {
        match std::fs::remove_file(suffixed(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn attempt(path: &Path) -> Result<Connection, Error> {
    prepare(path).map_err(|source| Error::Directory { path: path.to_owned(), source })?;
    let failed = |source| Error::Database { path: path.to_owned(), source };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut database = Connection::open_with_flags(path, flags).map_err(failed)?;
    configure(&database).map_err(failed)?;
    let version: i64 = database.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(failed)?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(Error::Unusable {
            path: path.to_owned(),
            reason: "a newer version of picosnitch wrote it; install that version or move the file away"
                .to_owned(),
        });
    }
    migrate(&mut database, version).map_err(failed)?;
    Ok(database)
}

/// The file is made by us, so that it is never readable by others, not even for a moment.
fn prepare(path: &Path) -> io::Result<()> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn configure(database: &Connection) -> rusqlite::Result<()> {
    database.busy_timeout(LOCK_WAIT)?;
    // Before the first table: pages that retention frees go back to the file system. Pages of 8 KiB: with 4 KiB a search
    // takes a third longer and the file is a twentieth larger, with 16 KiB each small transaction writes twice as much.
    // A history that is there already keeps what it has.
    database.execute_batch(
        "PRAGMA page_size = 8192;
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 2000;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA cache_size = -8192;
         PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = FAST;
         PRAGMA trusted_schema = OFF;",
    )?;
    database.set_prepared_statement_cache_capacity(64);
    text::define(database)
}

/// Applies what is missing, each migration in one transaction with its version number.
pub(super) fn migrate(database: &mut Connection, version: usize) -> rusqlite::Result<()> {
    for (index, (sql, convert)) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        if let Some(convert) = convert {
            convert(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

/// A connection that cannot write, for queries.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(LOCK_WAIT)?;
    database.execute_batch(
        "PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
    )?;
    database.set_prepared_statement_cache_capacity(16);
    text::define(&database)?;
    Ok(database)
}
