// SPDX-License-Identifier: GPL-3.0-or-later
//! Packed data that cannot be read (a bit of the disk has turned) must not cost the rest of the history, nor hold up
//! what is forgotten. What is packed is there more than once: lists of rows and totals of hours are made anew from the
//! rows, wider totals from narrower ones, totals by program and peer from the same in the other order, totals by one
//! thing from those. Of what is nowhere else only the segment goes. A file that SQLite itself finds damaged is set aside (`database.rs`).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Type;
use rusqlite::{Connection as Database, Result, TransactionBehavior};

use super::chunk::{self, BUILT, Kind, Reach, Sums, WIDTHS};
use super::rollup::{DAY, HOUR};
use super::{convert, database, place, recent, segment};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing is wrong.
    Nothing,
    /// So many lists and totals were made anew, and so many are lost.
    Mended(u64, u64),
    /// SQLite says what is wrong with the file.
    Corrupt(String),
}

/// Whether this error means that packed data cannot be read, or that the file is damaged.
pub(super) fn tells_damage(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::FromSqlConversionFailure(_, Type::Blob, _)) || database::damaged(error)
}

/// Looks through everything that is packed and mends it, in one transaction. This takes seconds for years of history.
pub(super) fn mend(db: &mut Database) -> Result<Found> {
    let check: String = db.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if check != "ok" {
        return Ok(Found::Corrupt(check));
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut mended = 0;
    for hour in recent::broken(&transaction)? {
        recent::drop_hour(&transaction, hour)?;
        mended += 1;
    }
    for hour in place::broken(&transaction)? {
        place::rebuild(&transaction, hour)?;
        mended += 1;
    }
    let mut lost = 0;
    for ((level, bucket), ids) in broken_totals(&transaction)? {
        if again(&transaction, level, bucket, &ids)? {
            mended += 1;
        } else {
            lost += 1;
        }
    }
    transaction.commit()?;
    Ok(if mended + lost == 0 { Found::Nothing } else { Found::Mended(mended, lost) })
}

/// Segments that cannot be right, by level and bucket, narrow ones first.
fn broken_totals(db: &Database) -> Result<BTreeMap<(usize, i64), BTreeSet<i64>>> {
    let mut broken: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    let mut select = db.prepare("SELECT id, data FROM chunk")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if !is_sound(id, row.get_ref(1)?.as_blob().unwrap_or_default()) {
            let (_, level, bucket, _) = chunk::parts(id);
            broken.entry((level, bucket)).or_default().insert(id);
        }
    }
    Ok(broken)
}

/// It can be read to its end, its entries are in order, and the last one is where its head says.
fn is_sound(id: i64, data: &[u8]) -> bool {
    let (.., begin) = chunk::parts(id);
    let (mut last, mut in_order) = (None, true);
    let read = segment::decode(data, begin, |a, b, _| {
        in_order &= last < Some((a, b)) && a >= 0 && b >= 0;
        last = Some((a, b));
    });
    let end = segment::last(data, begin).ok();
    read.is_ok() && in_order && last.is_none_or(|(a, _)| end == Some(a))
}

/// Makes anew what cannot be read of a bucket, as far as it is anywhere else; true if that is all of it. What can be read
/// stays: totals by program and peer may lack what was lost before.
fn again(db: &Database, level: usize, bucket: i64, broken: &BTreeSet<i64>) -> Result<bool> {
    let reach = Reach::read(db)?;
    let from = bucket * WIDTHS[level];
    if level == 0 && from >= reach.detail * DAY {
        chunk::clear(db, level, bucket)?;
        chunk::add_totals(db, level, bucket, &convert::of_rows(db, bucket)?)?;
        return Ok(true);
    }
    let mut delete = db.prepare_cached("DELETE FROM chunk WHERE id = ?1")?;
    for id in broken {
        delete.execute([id])?;
    }
    let is_broken = |kind: Kind| broken.iter().any(|id| chunk::parts(*id).0 == kind as i64);
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_of(level));
    let (broken, sound): (Vec<Kind>, Vec<Kind>) = kinds.partition(|kind| is_broken(*kind));
    let ordered = |kind: &Kind| matches!(kind, Kind::Pair | Kind::Turned);
    let narrower = (level == 1 && from >= reach.hours * HOUR) || (level > 1 && from >= reach.kept * DAY);
    if narrower {
        for kind in broken.iter().filter(|kind| **kind != Kind::Turned) {
            chunk::build_kind(db, *kind, level, bucket)?;
        }
    }
    if BUILT.contains(&level) && broken.iter().any(ordered) {
        chunk::pairs_of_both(db, level, bucket)?;
    }
    if !narrower {
        let totals = chunk::totals(db, level, bucket)?;
        for kind in broken.iter().filter(|kind| !ordered(kind)) {
            chunk::fill(db, *kind, level, bucket, &totals)?;
        }
    }
    // All kinds have the same in all.
    let sum = |kind: Kind| -> Result<Sums> {
        let mut all = Sums::default();
        chunk::read(db, kind, (level, bucket, bucket + 1), |_, _, _, sums| all.add(sums))?;
        Ok(all)
    };
    let mut most = narrower.then(Sums::default);
    for kind in sound {
        let (sum, before) = (sum(kind)?, most.unwrap_or_default());
        most = Some(Sums {
            sent: sum.sent.max(before.sent),
            received: sum.received.max(before.received),
            connections: sum.connections.max(before.connections),
        });
    }
    // Where nothing could be read, nobody knows what there was.
    let Some(most) = most else { return Ok(false) };
    for kind in broken {
        let sum = sum(kind)?;
        if sum.sent < most.sent || sum.received < most.received || sum.connections < most.connections {
            return Ok(false);
        }
    }
    Ok(true)
}
