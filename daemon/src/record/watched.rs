// SPDX-License-Identifier: GPL-3.0-or-later
//! Until when the record is whole, and why it ends there: what the next daemon knows of the time without one.

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::open_flows;
use crate::model::{End, Last};

/// Writes that it is whole until `now`, µs since the epoch, in the caller's transaction.
pub(super) fn write(db: &Database, now: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES ('through', ?1), ('through-boot', ?2)
           ON CONFLICT DO UPDATE SET value = excluded.value",
    )?
    .execute(params![now, boot().unwrap_or(0)])
    .map(drop)
}

/// The same at the end.
pub(super) fn end(db: &mut Database, now: i64, end: End) -> Result<()> {
    let transaction = db.transaction()?;
    write(&transaction, now)?;
    // An end that is not at `through` is an older one.
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('ended', ?1), ('ended-by', ?2)
           ON CONFLICT DO UPDATE SET value = excluded.value",
        params![now, number(end)],
    )?;
    transaction.commit()
}

/// What the daemon before this one has written.
pub(super) fn read(db: &Database) -> Result<Option<Last>> {
    let get = |key: &str| -> Result<Option<i64>> {
        db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
    };
    let Some(through) = get("through")? else { return Ok(None) };
    let same_boot = get("through-boot")?.filter(|then| *then != 0).zip(boot()).map(|(then, now)| then == now);
    let by = get("ended-by")?;
    let end = [End::Alone, End::WithMachine, End::Unknown].into_iter().find(|end| Some(number(*end)) == by);
    let end = if get("ended")? == Some(through) { end } else { None };
    Ok(Some(Last { through, same_boot, end }))
}

fn number(end: End) -> i64 {
    match end {
        End::Alone => 1,
        End::WithMachine => 2,
        End::Unknown => 3,
    }
}

/// A number for this start of the machine.
fn boot() -> Option<i64> {
    let id = open_flows::boot().ok()?;
    let digits: String =
        id.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_hexdigit).take(15).collect();
    i64::from_str_radix(&digits, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_end_is_of_the_last_write_alone() {
        let mut db = Database::open_in_memory().unwrap();
        crate::record::database::migrate(&mut db, 0).unwrap();
        assert_eq!(read(&db).unwrap(), None);
        let last = |through, end| Some(Last { through, same_boot: Some(true), end });
        write(&db, 5).unwrap();
        assert_eq!(read(&db).unwrap(), last(5, None));
        for (at, why) in [(7, End::Alone), (8, End::WithMachine), (9, End::Unknown)] {
            end(&mut db, at, why).unwrap();
            assert_eq!(read(&db).unwrap(), last(at, Some(why)));
        }
        // It goes on, and is killed.
        write(&db, 10).unwrap();
        assert_eq!(read(&db).unwrap(), last(10, None));
        db.execute("UPDATE meta SET value = value + 1 WHERE key = 'through-boot'", ()).unwrap();
        assert_eq!(read(&db).unwrap().unwrap().same_boot, Some(false));
        db.execute("DELETE FROM meta WHERE key = 'through-boot'", ()).unwrap();
        assert_eq!(read(&db).unwrap().unwrap().same_boot, None);
    }
}
