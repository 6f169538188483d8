// SPDX-License-Identifier: GPL-3.0-or-later
//! The flows that were open at the last write, for a daemon that starts again while they still are: it counts
//! no connection twice, and knows who began. Written in the transaction of the rows that count them, so that it is
//! never ahead of the rows nor behind them. It is of no use after the machine has gone down.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

/// Bytes of `/proc/sys/kernel/random/boot_id`.
const BOOT: usize = 36;

/// Since when the machine runs.
#[derive(Debug)]
pub(super) struct OpenFlows {
    boot: Option<[u8; BOOT]>,
}

impl OpenFlows {
    pub(super) fn new() -> OpenFlows {
        OpenFlows { boot: boot().ok() }
    }

    /// What the daemon before this one wrote since the machine started.
    pub(super) fn read(&self, db: &Database) -> Result<Vec<u64>> {
        let flows: Option<Vec<u8>> = db
            .query_row("SELECT flows FROM open_flows WHERE boot = ?1", params![self.boot], |row| row.get(0))
            .optional()?;
        let flows = flows.unwrap_or_default();
        Ok(flows.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// Writes the list, in the caller's transaction.
    pub(super) fn write(&self, db: &Database, flows: &[u64]) -> Result<()> {
        let Some(boot) = self.boot else { return Ok(()) };
        let flows: Vec<u8> = flows.iter().flat_map(|flow| flow.to_le_bytes()).collect();
        db.prepare_cached("INSERT OR REPLACE INTO open_flows (id, boot, flows) VALUES (1, ?1, ?2)")?
            .execute(params![boot, flows])?;
        Ok(())
    }
}

/// Before version 10 the list was in files beside the database.
#[allow(clippy::unnecessary_wraps)] // it is a migration's
pub(super) fn forget_files(db: &Database) -> Result<()> {
    for file in db
        .path()
        .into_iter()
        .flat_map(|path| ["open-flows", "open-flows.new"].map(|name| Path::new(path).with_file_name(name)))
    {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{} is of no use any more and cannot be removed: {error}", file.display());
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn boot() -> io::Result<[u8; BOOT]> {
    let mut boot = [0; BOOT];
    File::open("/proc/sys/kernel/random/boot_id")?.read_exact(&mut boot)?;
    Ok(boot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_comes_back_while_the_machine_runs() {
        let mut db = Database::open_in_memory().unwrap();
        crate::record::database::migrate(&mut db, 0).unwrap();
        let open = OpenFlows::new();
        let read = |db: &Database| OpenFlows::new().read(db).unwrap();
        assert!(read(&db).is_empty());
        // Killed before it is committed, and after.
        for (flows, before) in [([1, u64::MAX], vec![]), ([7, u64::MAX], vec![1, u64::MAX])] {
            let transaction = db.transaction().unwrap();
            open.write(&transaction, &flows).unwrap();
            drop(transaction);
            assert_eq!(read(&db), before);
            let transaction = db.transaction().unwrap();
            open.write(&transaction, &flows).unwrap();
            transaction.commit().unwrap();
            assert_eq!(read(&db), flows);
        }
        let later = OpenFlows { boot: Some([b'0'; BOOT]) };
        assert!(later.read(&db).unwrap().is_empty());
        later.write(&db, &[9]).unwrap();
        assert!(read(&db).is_empty());
        assert_eq!(later.read(&db).unwrap(), [9]);
    }
}
