// SPDX-License-Identifier: GPL-3.0-or-later
//! The flows that were open at the last write, for a daemon that starts again while they still are: it counts
//! no connection twice, and knows who began. Beside the database and not in it: it is of no use after the
//! machine has gone down, and nobody waits for it to be on the disk.
//!
//! It belongs to one transaction: it is written before that one is committed, takes its name after, and bears a number
//! that the transaction puts into the database. Whichever of the two files has the number that is there is the right
//! one, at whatever instant the daemon is killed.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection as Database;

use super::chunk;

const FILE: &str = "open-flows";
/// Bytes of `/proc/sys/kernel/random/boot_id`, which the file begins with; then 8 bytes of the transaction's number and
/// 8 bytes a flow, little-endian.
const BOOT: usize = 36;
/// Name in `meta` of the number of the transaction that had the last list.
const NUMBER: &str = "open-flows";
/// Largest file that is read, bytes.
const LARGEST: u64 = 4 << 20;

/// Where it is, and since when the machine runs.
#[derive(Debug)]
pub(super) struct OpenFlows {
    path: PathBuf,
    boot: Option<[u8; BOOT]>,
}

impl OpenFlows {
    pub(super) fn new(state_dir: &Path) -> OpenFlows {
        OpenFlows { path: state_dir.join(FILE), boot: boot().ok() }
    }

    /// What the daemon before this one wrote since the machine started. What cannot be read is not known.
    pub(super) fn read(&self, db: &Database) -> Vec<u64> {
        let Ok(number) = chunk::meta(db, NUMBER) else { return Vec::new() };
        let lists = [self.path.clone(), self.new_path()];
        lists.iter().find_map(|path| self.list(path, number)).unwrap_or_default()
    }

    fn new_path(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    /// What is in this file, if it is of this time of the machine and of this transaction.
    fn list(&self, path: &Path, number: i64) -> Option<Vec<u64>> {
        let bytes = bytes(path).ok()?;
        let (boot, rest) = bytes.split_first_chunk::<BOOT>()?;
        let (of, flows) = rest.split_first_chunk::<8>()?;
        if self.boot.as_ref() != Some(boot) || i64::from_le_bytes(*of) != number {
            return None;
        }
        Some(flows.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// Writes the list of a transaction that is not committed yet. Where that fails, the list before stays the right
    /// one.
    ///
    /// # Errors
    /// What the database gives; what writing gives.
    pub(super) fn prepare(&self, db: &Database, flows: &[u64]) -> rusqlite::Result<io::Result<()>> {
        let number = chunk::meta(db, NUMBER)? + 1;
        let written = self.write(flows, number);
        if written.is_ok() {
            chunk::raise(db, NUMBER, number)?;
        }
        Ok(written)
    }

    fn write(&self, flows: &[u64], number: i64) -> io::Result<()> {
        let Some(boot) = self.boot else { return Ok(()) };
        let new = self.new_path();
        // The list before has not got its name yet.
        if self.list(&new, number - 1).is_some() {
            std::fs::rename(&new, &self.path)?;
        }
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let mut bytes = boot.to_vec();
        bytes.extend(number.to_le_bytes());
        bytes.extend(flows.iter().flat_map(|flow| flow.to_le_bytes()));
        file.write_all(&bytes)
    }

    /// The transaction is committed.
    ///
    /// # Errors
    /// What renaming gives.
    pub(super) fn keep(&self) -> io::Result<()> {
        if self.boot.is_none() {
            return Ok(());
        }
        std::fs::rename(self.new_path(), &self.path)
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn boot() -> io::Result<[u8; BOOT]> {
    let mut boot = [0; BOOT];
    std::fs::File::open("/proc/sys/kernel/random/boot_id")?.read_exact(&mut boot)?;
    Ok(boot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn database() -> Database {
        let db = Database::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
        )
        .unwrap();
        db
    }

    #[test]
    fn what_was_written_comes_back_while_the_machine_runs() {
        let (dir, mut db) = (tempfile::tempdir().unwrap(), database());
        let open = OpenFlows::new(dir.path());
        assert!(open.read(&db).is_empty());
        let read = |db: &Database| OpenFlows::new(dir.path()).read(db);
        // Killed before it is committed; before the list has its name; after.
        for (flows, before) in [([1, u64::MAX], vec![]), ([7, u64::MAX], vec![1, u64::MAX])] {
            let transaction = db.transaction().unwrap();
            open.prepare(&transaction, &flows).unwrap().unwrap();
            drop(transaction);
            assert_eq!(read(&db), before);
            let transaction = db.transaction().unwrap();
            open.prepare(&transaction, &flows).unwrap().unwrap();
            transaction.commit().unwrap();
            assert_eq!(read(&db), flows);
            open.keep().unwrap();
            assert_eq!(read(&db), flows);
        }
        // One that cannot be written; and one whose name could not be given before the next.
        let new = dir.path().join("open-flows.new");
        std::fs::create_dir(&new).unwrap();
        assert!(open.prepare(&db, &[9]).unwrap().is_err());
        assert_eq!(read(&db), [7, u64::MAX]);
        std::fs::remove_dir(&new).unwrap();
        open.prepare(&db, &[10]).unwrap().unwrap();
        let transaction = db.transaction().unwrap();
        open.prepare(&transaction, &[11]).unwrap().unwrap();
        drop(transaction);
        assert_eq!(read(&db), [10]);
        let later = OpenFlows { boot: Some([b'0'; BOOT]), ..open };
        assert!(later.read(&db).is_empty());
    }

    #[test]
    fn what_is_damaged_or_no_file_is_not_known() {
        let (dir, db) = (tempfile::tempdir().unwrap(), database());
        let open = OpenFlows::new(dir.path());
        open.prepare(&db, &[7, 8]).unwrap().unwrap();
        open.keep().unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(open.read(&db), [7]);
        std::fs::write(&path, &whole[..BOOT + 7]).unwrap();
        assert!(open.read(&db).is_empty());
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(open.read(&db).is_empty());
    }
}
