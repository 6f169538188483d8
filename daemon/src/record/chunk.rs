// SPDX-License-Identifier: GPL-3.0-or-later
//! Totals of a stretch of time, packed: a *chunk* holds the sums of all its rows by two numbers, sorted, as
//! variable-length integers. A chunk is a tenth of the size of the same sums as rows of a table, and reading
//! one is decoding bytes in order: rankings of five years are a matter of milliseconds.
//!
//! Each stretch has the same sums in five ways ([`Kind`]). `Pair` answers everything; the others are small
//! and answer the common questions. Stretches are hours, days, and 8, 64 and 512 days ([`WIDTHS`]). Hours grow
//! with every transaction of rows; the wider ones are made from the next narrower ones when they are over
//! (`build.rs`), and rows that come later still are added to all that there are.
//!
//! Readers cover a range with the widest stretches that fit, then the next narrower ones ([`cover`]).

use std::collections::BTreeMap;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::rollup::{DAY, HOUR};

/// Widths of the levels, µs.
pub(super) const WIDTHS: [i64; 5] = [HOUR, DAY, 8 * DAY, 64 * DAY, 512 * DAY];
/// Levels that are made from narrower ones.
pub(super) const BUILT: std::ops::RangeInclusive<usize> = 1..=4;
/// Numbers of one part: a chunk is split by its first number, so that it stays small and a part of it can be read.
const PART_BITS: u32 = 14;

/// What the sums of a chunk are by. The numbers stand in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Peer and folded program.
    Pair = 0,
    /// Folded program.
    Who = 1,
    /// Domain and uid.
    Domain = 2,
    /// Remote address and uid.
    Address = 3,
    /// Service and uid.
    Service = 4,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] = [Kind::Pair, Kind::Who, Kind::Domain, Kind::Address, Kind::Service];
}

/// No sum of a row overflows the database's integers: 2^53 bytes, 9 PB.
pub(super) const MOST: u64 = 1 << 53;

/// As it is stored in a column.
pub(super) fn stored(value: u64) -> i64 {
    value.min(MOST).cast_signed()
}

/// Bytes and connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) connections: u64,
}

impl Sums {
    pub(super) fn add(&mut self, other: Sums) {
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.connections = self.connections.saturating_add(other.connections);
    }
}

/// Sorts, and makes one of those with the same key.
pub(super) fn add_up<K: Ord + Copy>(totals: &mut Vec<(K, Sums)>) {
    // Most often this is one sorted list behind another.
    totals.sort_by_key(|(key, _)| *key);
    totals.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1.add(next.1);
        }
        same
    });
}

/// Two numbers, as the kind says, and their sums.
pub(super) type Entry = ((i64, i64), Sums);

/// The sums of one program with one peer, with all numbers that the kinds need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total {
    /// The folded one.
    pub(super) who: i64,
    pub(super) uid: u32,
    pub(super) peer: i64,
    pub(super) domain: i64,
    pub(super) remote: i64,
    pub(super) service: i64,
    pub(super) sums: Sums,
}

impl Total {
    fn key(&self, kind: Kind) -> (i64, i64) {
        let uid = i64::from(self.uid);
        match kind {
            Kind::Pair => (self.peer, self.who),
            Kind::Who => (self.who, 0),
            Kind::Domain => (self.domain, uid),
            Kind::Address => (self.remote, uid),
            Kind::Service => (self.service, uid),
        }
    }
}

/// Where a chunk stands in its table: in the order of kind, level, bucket and part.
pub(super) fn id(kind: Kind, level: usize, bucket: i64, part: i64) -> i64 {
    let place = (kind as i64) * 8 + i64::try_from(level).unwrap_or(7);
    (place << 44) | (bucket.clamp(0, (1 << 24) - 1) << 20) | part
}

fn bucket_of(id: i64) -> i64 {
    (id >> 20) & ((1 << 24) - 1)
}

fn part_of(id: i64) -> i64 {
    id & ((1 << 20) - 1)
}

/// The part that has this number.
pub(super) fn part(number: i64) -> i64 {
    (number >> PART_BITS).clamp(0, (1 << 20) - 1)
}

fn put(data: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        data.push((number as u8) | 0x80);
        number >>= 7;
    }
    data.push(number as u8);
}

/// The bit of each byte that says that a number goes on.
const MORE: u64 = 0x8080_8080_8080_8080;

fn take(data: &mut &[u8]) -> Option<u64> {
    // Eight bytes at once: no step depends on how long the number is, which no processor can guess.
    if let Some(bytes) = data.first_chunk::<8>() {
        let word = u64::from_le_bytes(*bytes);
        let ends = !word & MORE;
        if ends != 0 {
            let x = word & (ends ^ (ends - 1)) & !MORE;
            let x = (x & 0x007f_007f_007f_007f) | ((x & 0x7f00_7f00_7f00_7f00) >> 1);
            let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x3fff_0000_3fff_0000) >> 2);
            let x = (x & 0x0000_0000_0fff_ffff) | ((x & 0x0fff_ffff_0000_0000) >> 4);
            *data = data.get(ends.trailing_zeros() as usize / 8 + 1..)?;
            return Some(x);
        }
    }
    let mut number = 0_u64;
    let mut shift = 0;
    loop {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if *byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

/// Leaves three numbers out.
fn skip_three(data: &mut &[u8]) -> Option<()> {
    if let Some(bytes) = data.first_chunk::<8>() {
        let ends = !u64::from_le_bytes(*bytes) & MORE;
        let ends = ends & ends.wrapping_sub(1);
        let third = ends & ends.wrapping_sub(1);
        if third != 0 {
            *data = data.get(third.trailing_zeros() as usize / 8 + 1..)?;
            return Some(());
        }
    }
    for _ in 0..3 {
        take(data)?;
    }
    Some(())
}

/// Entries as bytes: the step from the first number before, the second number or (if the first is the same)
/// the step from the second before, and the three sums.
fn encode(entries: &[Entry], part: i64) -> Vec<u8> {
    let mut data = Vec::with_capacity(entries.len() * 10);
    let mut last = (part << PART_BITS, 0);
    for ((a, b), sums) in entries {
        if *a != last.0 {
            last.1 = 0;
        }
        put(&mut data, (a - last.0).cast_unsigned());
        put(&mut data, (b - last.1).cast_unsigned());
        put(&mut data, sums.sent);
        put(&mut data, sums.received);
        put(&mut data, sums.connections);
        last = (*a, *b);
    }
    data
}

/// Reads entries in their order.
fn decode(data: &[u8], part: i64, give: impl FnMut(i64, i64, Sums)) -> Result<()> {
    decode_some(data, part, |_, _| true, give)
}

/// Reads those entries whose two numbers are wanted.
fn decode_some(
    mut data: &[u8],
    part: i64,
    mut wanted: impl FnMut(i64, i64) -> bool,
    mut give: impl FnMut(i64, i64, Sums),
) -> Result<()> {
    let broken = || {
        let why = "a chunk of totals ends in the middle".into();
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why)
    };
    let (mut a, mut b) = ((part << PART_BITS).cast_unsigned(), 0);
    while !data.is_empty() {
        let step = take(&mut data).ok_or_else(broken)?;
        if step != 0 {
            b = 0;
        }
        a = a.wrapping_add(step);
        b = u64::wrapping_add(b, take(&mut data).ok_or_else(broken)?);
        if !wanted(a.cast_signed(), b.cast_signed()) {
            skip_three(&mut data).ok_or_else(broken)?;
            continue;
        }
        let sums = Sums {
            sent: take(&mut data).ok_or_else(broken)?,
            received: take(&mut data).ok_or_else(broken)?,
            connections: take(&mut data).ok_or_else(broken)?,
        };
        give(a.cast_signed(), b.cast_signed(), sums);
    }
    Ok(())
}

/// Adds entries, sorted by part, to a bucket.
fn add(db: &Database, kind: Kind, level: usize, bucket: i64, mut entries: &[Entry]) -> Result<()> {
    let mut select = db.prepare_cached("SELECT data FROM chunk WHERE id = ?1")?;
    let mut upsert = db.prepare_cached(
        "INSERT INTO chunk (id, data) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET data = excluded.data",
    )?;
    while let Some(((first, _), _)) = entries.first() {
        let part = part(*first);
        let count = entries.partition_point(|((a, _), _)| self::part(*a) <= part);
        let (these, rest) = entries.split_at(count);
        let id = id(kind, level, bucket, part);
        let mut all: Vec<Entry> = Vec::with_capacity(these.len());
        let there: Option<()> = select
            .query_row([id], |row| {
                let data = row.get_ref(0)?.as_blob().unwrap_or_default();
                decode(data, part, |a, b, sums| all.push(((a, b), sums)))
            })
            .optional()?;
        if there.is_some() {
            all.extend_from_slice(these);
            add_up(&mut all);
            upsert.execute(params![id, encode(&all, part)])?;
        } else {
            upsert.execute(params![id, encode(these, part)])?;
        }
        entries = rest;
    }
    Ok(())
}

/// Adds totals to a bucket, in every way.
pub(super) fn add_totals(db: &Database, level: usize, bucket: i64, totals: &[Total]) -> Result<()> {
    let mut entries: Vec<Entry> = Vec::with_capacity(totals.len());
    for kind in Kind::ALL {
        entries.clear();
        entries.extend(totals.iter().map(|total| (total.key(kind), total.sums)));
        add_up(&mut entries);
        add(db, kind, level, bucket, &entries)?;
    }
    Ok(())
}

/// Takes a bucket away, in every way.
pub(super) fn clear(db: &Database, level: usize, bucket: i64) -> Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM chunk WHERE id >= ?1 AND id < ?2")?;
    for kind in Kind::ALL {
        delete.execute([id(kind, level, bucket, 0), id(kind, level, bucket + 1, 0)])?;
    }
    Ok(())
}

/// Makes a bucket from those of the next narrower level, part by part.
pub(super) fn build(db: &Database, level: usize, bucket: i64) -> Result<()> {
    clear(db, level, bucket)?;
    let ratio = WIDTHS[level] / WIDTHS[level - 1];
    let children = bucket * ratio..(bucket + 1) * ratio;
    let mut select = db.prepare_cached("SELECT data FROM chunk WHERE id = ?1")?;
    let mut insert = db.prepare_cached("INSERT INTO chunk (id, data) VALUES (?1, ?2)")?;
    for kind in Kind::ALL {
        let (first, last) = (id(kind, level - 1, children.start, 0), id(kind, level - 1, children.end, 0));
        let mut parts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let mut ids = db.prepare_cached("SELECT id FROM chunk WHERE id >= ?1 AND id < ?2")?;
        for child in ids.query_map([first, last], |row| row.get::<_, i64>(0))? {
            let child = child?;
            parts.entry(part_of(child)).or_default().push(child);
        }
        for (part, children) in parts {
            let mut all: Vec<Entry> = Vec::new();
            for child in children {
                select.query_row([child], |row| {
                    let data = row.get_ref(0)?.as_blob().unwrap_or_default();
                    decode(data, part, |a, b, sums| all.push(((a, b), sums)))
                })?;
            }
            add_up(&mut all);
            insert.execute(params![id(kind, level, bucket, part), encode(&all, part)])?;
        }
    }
    Ok(())
}

/// First bucket at or after this one that has something, before `end`.
pub(super) fn next(db: &Database, level: usize, bucket: i64, end: i64) -> Result<Option<i64>> {
    let range = [id(Kind::Who, level, bucket, 0), id(Kind::Who, level, end, 0)];
    let first: Option<i64> = db
        .prepare_cached("SELECT min(id) FROM chunk WHERE id >= ?1 AND id < ?2")?
        .query_row(range, |row| row.get(0))?;
    Ok(first.map(bucket_of))
}

/// How far each level goes: kept in `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// First bucket of each level that is not made yet.
    pub(super) built: [i64; 5],
    /// First hour that is kept.
    pub(super) hours: i64,
    /// First day whose rows are all kept.
    pub(super) detail: i64,
    /// First day that is kept at all.
    pub(super) kept: i64,
}

/// Names in `meta` of the levels' ends.
const BUILT_NAMES: [&str; 5] = ["", "built-1", "built-2", "built-3", "built-4"];

fn meta(db: &Database, key: &str) -> Result<i64> {
    let value: Option<i64> = db
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

/// Raises a number of `meta`; it never falls.
pub(super) fn raise(db: &Database, key: &str, value: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
           ON CONFLICT DO UPDATE SET value = excluded.value WHERE value < excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

impl Reach {
    pub(super) fn read(db: &Database) -> Result<Self> {
        let mut built = [0; 5];
        for level in BUILT {
            built[level] = meta(db, BUILT_NAMES[level])?;
        }
        Ok(Reach {
            built,
            hours: meta(db, "hours-from")?,
            detail: meta(db, "detail-from")?,
            kept: meta(db, "kept-from")?,
        })
    }

    /// Rows of this hour are added to this level's bucket; the others will be made from that one.
    pub(super) fn bucket(&self, level: usize, hour: i64) -> Option<i64> {
        let bucket = hour * HOUR / WIDTHS[level];
        let takes = if level == 0 { hour >= self.hours } else { bucket < self.built[level] };
        takes.then_some(bucket)
    }
}

/// The next bucket of a level is made.
pub(super) fn built(db: &Database, level: usize, next: i64) -> Result<()> {
    raise(db, BUILT_NAMES[level], next)
}

/// Buckets of one level, from the first to before the second.
pub(super) type Piece = (usize, i64, i64);

pub(super) fn down(time: i64, width: i64) -> i64 {
    time.div_euclid(width) * width
}

pub(super) fn up(time: i64, width: i64) -> i64 {
    -(-time).div_euclid(width) * width
}

/// Covers a range (µs) with the widest buckets that fit, up to this level. Gives what is left at its ends,
/// narrower than an hour, to `rest`.
pub(super) fn cover(
    reach: &Reach,
    (from, to): (i64, i64),
    level: usize,
    pieces: &mut Vec<Piece>,
    rest: &mut Vec<(i64, i64)>,
) {
    if from >= to {
        return;
    }
    let width = WIDTHS[level];
    let first = up(from, width);
    let last = if level == 0 { down(to, width) } else { down(to, width).min(reach.built[level] * width) };
    let narrower = |range, pieces: &mut Vec<Piece>, rest: &mut Vec<(i64, i64)>| match level.checked_sub(1) {
        Some(level) => cover(reach, range, level, pieces, rest),
        None if range.0 < range.1 => rest.push(range),
        None => {}
    };
    if first >= last {
        return narrower((from, to), pieces, rest);
    }
    pieces.push((level, first / width, last / width));
    narrower((from, first), pieces, rest);
    narrower((last, to), pieces, rest);
}

/// Later than everything, and a whole number of every width.
pub(super) const EDGE: i64 = 512 * DAY * 200;

/// All that is kept.
pub(super) fn everything(reach: &Reach) -> Vec<Piece> {
    let mut pieces = Vec::new();
    cover(reach, (reach.kept * DAY, EDGE), 4, &mut pieces, &mut Vec::new());
    pieces
}

/// Reads the chunks of one piece; `parts` are those wanted, sorted, or all. Gives bucket and entry.
pub(super) fn read(
    db: &Database,
    kind: Kind,
    (level, first, last): Piece,
    parts: Option<&[i64]>,
    give: impl FnMut(i64, i64, i64, Sums),
) -> Result<()> {
    read_some(db, kind, (level, first, last), parts, |_, _| true, give)
}

/// The same of entries whose two numbers are wanted; what is not wanted costs a third.
pub(super) fn read_some(
    db: &Database,
    kind: Kind,
    (level, first, last): Piece,
    parts: Option<&[i64]>,
    mut wanted: impl FnMut(i64, i64) -> bool,
    mut give: impl FnMut(i64, i64, i64, Sums),
) -> Result<()> {
    let mut visit = |id: i64, data: &[u8]| {
        decode_some(data, part_of(id), &mut wanted, |a, b, sums| give(bucket_of(id), a, b, sums))
    };
    // Few parts of few buckets are looked up one by one.
    if let Some(parts) = parts
        && parts.len() <= 4
    {
        let mut ids =
            db.prepare_cached("SELECT id FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1")?;
        let mut select = db.prepare_cached("SELECT data FROM chunk WHERE id = ?1")?;
        let (mut bucket, end) = (first, id(kind, level, last, 0));
        // The next bucket that has anything.
        while let Some(found) =
            ids.query_row([id(kind, level, bucket, 0), end], |row| row.get::<_, i64>(0)).optional()?
        {
            bucket = bucket_of(found);
            for part in parts {
                let id = id(kind, level, bucket, *part);
                select
                    .query_row([id], |row| visit(id, row.get_ref(0)?.as_blob().unwrap_or_default()))
                    .optional()?;
            }
            bucket += 1;
        }
        return Ok(());
    }
    let mut select = db.prepare_cached("SELECT id, data FROM chunk WHERE id >= ?1 AND id < ?2")?;
    let mut rows = select.query([id(kind, level, first, 0), id(kind, level, last, 0)])?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if parts.is_none_or(|parts| parts.binary_search(&part_of(id)).is_ok()) {
            visit(id, row.get_ref(1)?.as_blob().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// The totals of a bucket as they were added, from its pairs.
pub(super) fn totals(db: &Database, level: usize, bucket: i64) -> Result<Vec<Total>> {
    let mut pairs = Vec::new();
    read(db, Kind::Pair, (level, bucket, bucket + 1), None, |_, peer, who, sums| {
        pairs.push((peer, who, sums))
    })?;
    let mut peer_of = db.prepare_cached("SELECT domain, remote, service FROM peer WHERE id = ?1")?;
    let mut uid_of = db.prepare_cached("SELECT uid FROM who WHERE id = ?1")?;
    let mut totals: Vec<Total> = Vec::with_capacity(pairs.len());
    for (peer, who, sums) in pairs {
        // Pairs are sorted by peer.
        let (domain, remote, service) = match totals.last() {
            Some(last) if last.peer == peer => (last.domain, last.remote, last.service),
            _ => peer_of
                .query_row([peer], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?
                .unwrap_or_default(),
        };
        let uid = uid_of.query_row([who], |row| row.get(0)).optional()?.unwrap_or_default();
        totals.push(Total { who, uid, peer, domain, remote, service, sums });
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn sums(n: u64) -> Sums {
        Sums { sent: n, received: n << 40, connections: n % 3 }
    }

    #[test]
    fn entries_come_back_as_they_were() {
        for part in [0, 3] {
            let start = part << PART_BITS;
            let entries: Vec<Entry> = (0..2000_i64)
                .map(|n| ((start + n / 3, n % 3 * 5 + 1000), sums(n.cast_unsigned())))
                .chain([((start + (1 << PART_BITS) - 1, u32::MAX.into()), sums(u64::MAX >> 24))])
                .collect();
            let data = encode(&entries, part);
            let mut back = Vec::new();
            decode(&data, part, |a, b, sums| back.push(((a, b), sums))).unwrap();
            assert_eq!(back, entries);
            assert!(decode(&data[..data.len() - 1], part, |_, _, _| {}).is_err());
        }
        assert!(decode(&[0xff; 40], 0, |_, _, _| {}).is_err());
    }

    #[test]
    fn numbers_of_every_length_come_back_and_are_left_out() {
        let numbers: Vec<u64> =
            (0..64).flat_map(|bits| [1_u64 << bits, (1 << bits) - 1, !0 >> bits]).collect();
        let mut data = Vec::new();
        numbers.iter().for_each(|number| put(&mut data, *number));
        let mut rest = data.as_slice();
        let back: Vec<u64> = numbers.iter().map(|_| take(&mut rest).unwrap()).collect();
        assert_eq!((back, rest.len()), (numbers.clone(), 0));
        assert_eq!(take(&mut rest), None);
        // Each three of them left out, the next one read.
        for start in 0..numbers.len() - 4 {
            let mut data = Vec::new();
            numbers[start..].iter().for_each(|number| put(&mut data, *number));
            let mut rest = data.as_slice();
            skip_three(&mut rest).unwrap();
            assert_eq!(take(&mut rest), Some(numbers[start + 3]), "{start}");
        }
        for length in 0..3 {
            assert_eq!(skip_three(&mut &[1_u8, 2, 3][..length]), None);
        }
    }

    #[test]
    fn entries_that_are_not_wanted_are_left_out() {
        let entries: Vec<Entry> =
            (0..500_i64).map(|n| ((n / 7, n % 7), sums(n.cast_unsigned() * 77_777))).collect();
        let data = encode(&entries, 0);
        let mut some = Vec::new();
        decode_some(&data, 0, |a, b| (a + b) % 3 == 1, |a, b, sums| some.push(((a, b), sums))).unwrap();
        let expected: Vec<Entry> = entries.into_iter().filter(|((a, b), _)| (a + b) % 3 == 1).collect();
        assert_eq!(some, expected);
    }

    #[test]
    fn a_range_is_covered_once() {
        let reach = Reach { built: [0, 1000, 124, 15, 1], hours: 0, detail: 0, kept: 0 };
        for (from, to) in [(0, 1000 * DAY), (3 * DAY + 5, 777 * DAY + HOUR), (5, 6), (999 * DAY, EDGE)] {
            let (mut pieces, mut rest) = (Vec::new(), Vec::new());
            cover(&reach, (from, to), 4, &mut pieces, &mut rest);
            let wide =
                pieces.iter().map(|(level, first, last)| (first * WIDTHS[*level], last * WIDTHS[*level]));
            let mut all: Vec<_> = wide.chain(rest.iter().copied()).collect();
            all.sort_unstable();
            assert_eq!((all[0].0, all[all.len() - 1].1), (from, to));
            assert!(all.windows(2).all(|pair| pair[0].1 == pair[1].0), "{all:?}");
            assert!(rest.iter().all(|(from, to)| to - from < HOUR), "{rest:?}");
            assert!(pieces.iter().all(|(level, _, last)| *level == 0 || *last <= reach.built[*level]));
        }
    }
}
