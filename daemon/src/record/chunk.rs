// SPDX-License-Identifier: GPL-3.0-or-later
//! Totals of a stretch of time, packed: a *chunk* holds the sums of all its rows by two numbers, sorted, in
//! segments of bytes (`segment.rs`). A chunk is a tenth of the size of the same sums as rows of a table, and reading
//! one is decoding bytes in order: rankings of five years are a matter of milliseconds.
//!
//! Each stretch has the same sums in seven ways ([`Kind`]). `Pair` answers everything; the others are smaller or in
//! another order, and answer the common questions. Stretches are hours, days, and 8, 64 and 512 days ([`WIDTHS`]). Hours grow
//! with every transaction of rows; the wider ones are made from the next narrower ones when they are over
//! (`build.rs`), and rows that come later still are added to all that there are.
//!
//! Readers cover a range with the widest stretches that fit, then the next narrower ones ([`cover`]).

use std::collections::BTreeMap;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::rollup::{DAY, HOUR};
use super::segment::{self, NUMBERS, begin, decode, decode_some};

/// Widths of the levels, µs.
pub(super) const WIDTHS: [i64; 5] = [HOUR, DAY, 8 * DAY, 64 * DAY, 512 * DAY];
/// Levels that are made from narrower ones.
pub(super) const BUILT: std::ops::RangeInclusive<usize> = 1..=4;
/// First numbers that are made at once, where a bucket is made from narrower ones.
const AT_ONCE: i64 = 16_384;
/// Entries that are turned round at once.
const TURNED_AT_ONCE: usize = 1 << 17;
/// So few spans are looked up one by one.
const FEW_SPANS: usize = 48;
/// First numbers with no more than so many others between them are in one span: they are most often in one segment.
const NEAR: i64 = 16;

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
    /// Folded program and service.
    Use = 5,
    /// Folded program and peer, as [`turned`]: what one program has to do with others. Not of hours.
    Turned = 6,
}

impl Kind {
    pub(super) const ALL: [Kind; 7] =
        [Kind::Pair, Kind::Who, Kind::Domain, Kind::Address, Kind::Service, Kind::Use, Kind::Turned];

    /// Whether this level has it.
    pub(super) fn is_of(self, level: usize) -> bool {
        self != Kind::Turned || BUILT.contains(&level)
    }
}

/// Peers of one first number, as a power of two: a program with very many peers is cut into segments as well.
const PEER_BITS: u32 = 15;
/// Stretches of peers that can be told apart, as a power of two; the last one has all others.
const STRETCH_BITS: u32 = 9;

/// A peer and a folded program in the order of programs.
pub(super) fn turned(peer: i64, who: i64) -> (i64, i64) {
    let stretch = (peer >> PEER_BITS).min((1 << STRETCH_BITS) - 1);
    ((who << STRETCH_BITS) | stretch, peer - (stretch << PEER_BITS))
}

/// The folded program of a first number of [`Kind::Turned`].
pub(super) fn who_of(first: i64) -> i64 {
    first >> STRETCH_BITS
}

/// The peer of an entry of [`Kind::Turned`].
pub(super) fn peer_of(first: i64, second: i64) -> i64 {
    ((first & ((1 << STRETCH_BITS) - 1)) << PEER_BITS) + second
}

/// First and last of first numbers that are wanted; sorted, none within another.
pub(super) type Span = (i64, i64);

/// Spans of sorted numbers; those that are near each other are in one.
pub(super) fn spans(numbers: impl Iterator<Item = i64>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some((_, last)) if number - *last <= NEAR => *last = number,
            _ => spans.push((number, number)),
        }
    }
    spans
}

/// The spans of these programs in [`Kind::Turned`].
pub(super) fn spans_of_whos(whos: &[Span]) -> Vec<Span> {
    whos.iter().map(|(first, last)| (first << STRETCH_BITS, ((last + 1) << STRETCH_BITS) - 1)).collect()
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

    /// Takes away what was added.
    pub(super) fn take(&mut self, other: Sums) {
        self.sent = self.sent.saturating_sub(other.sent);
        self.received = self.received.saturating_sub(other.received);
        self.connections = self.connections.saturating_sub(other.connections);
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
            Kind::Use => (self.who, self.service),
            Kind::Turned => turned(self.peer, self.who),
        }
    }
}

/// Bits of `chunk.id` that say what a segment begins with, and that say the bucket.
const BEGIN_BITS: u32 = 33;
const BUCKET_BITS: u32 = 24;

/// Where a segment stands in its table: in the order of kind, level, bucket and the number that it begins with.
pub(super) fn id(kind: Kind, level: usize, bucket: i64, begin: i64) -> i64 {
    let place = (kind as i64) * 8 + i64::try_from(level).unwrap_or(7);
    let bucket = bucket.clamp(0, (1 << BUCKET_BITS) - 1);
    (((place << BUCKET_BITS) | bucket) << BEGIN_BITS) | begin
}

fn bucket_of(id: i64) -> i64 {
    (id >> BEGIN_BITS) & ((1 << BUCKET_BITS) - 1)
}

fn begin_of(id: i64) -> i64 {
    id & (NUMBERS - 1)
}

/// Kind, level, bucket and first number of a segment.
pub(super) fn parts(id: i64) -> (i64, usize, i64, i64) {
    let place = id >> (BUCKET_BITS + BEGIN_BITS);
    (place / 8, usize::try_from(place % 8).unwrap_or(0), bucket_of(id), begin_of(id))
}

/// The segment that may have a number: the last one of a bucket (its first id) that begins no later.
const FIND: &str = "SELECT id, data FROM chunk WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1";

fn blob<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<&'a [u8]> {
    Ok(row.get_ref(column)?.as_blob().unwrap_or_default())
}

/// Writes sorted entries as segments; the first begins with this number.
pub(super) fn write(
    db: &Database,
    kind: Kind,
    level: usize,
    bucket: i64,
    entries: &[Entry],
    begin: i64,
) -> Result<()> {
    let mut upsert = db.prepare_cached(
        "INSERT INTO chunk (id, data) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET data = excluded.data",
    )?;
    for (begin, data) in segment::cut(entries, begin) {
        upsert.execute(params![id(kind, level, bucket, begin), data])?;
    }
    Ok(())
}

/// Adds sorted entries to a bucket.
fn add(db: &Database, kind: Kind, level: usize, bucket: i64, mut entries: &[Entry]) -> Result<()> {
    let mut find = db.prepare_cached(FIND)?;
    let mut follow = db.prepare_cached("SELECT min(id) FROM chunk WHERE id > ?1 AND id < ?2")?;
    let (start, end) = (id(kind, level, bucket, 0), id(kind, level, bucket + 1, 0));
    let mut all: Vec<Entry> = Vec::new();
    while let Some(((first, _), _)) = entries.first() {
        all.clear();
        let found = find
            .query_row([start, id(kind, level, bucket, begin(*first))], |row| {
                let id = row.get(0)?;
                decode(blob(row, 1)?, begin_of(id), |a, b, sums| all.push(((a, b), sums)))?;
                Ok(id)
            })
            .optional()?;
        let here = found.unwrap_or(start);
        let next: Option<i64> = follow.query_row([here, end], |row| row.get(0))?;
        let count = next
            .map_or(entries.len(), |next| entries.partition_point(|((a, _), _)| begin(*a) < begin_of(next)));
        let (these, rest) = entries.split_at(count);
        if found.is_some() {
            all.extend_from_slice(these);
            add_up(&mut all);
            write(db, kind, level, bucket, &all, begin_of(here))?;
        } else {
            write(db, kind, level, bucket, these, begin_of(here))?;
        }
        entries = rest;
    }
    Ok(())
}

/// Adds totals to a bucket, in every way.
pub(super) fn add_totals(db: &Database, level: usize, bucket: i64, totals: &[Total]) -> Result<()> {
    let mut entries: Vec<Entry> = Vec::with_capacity(totals.len());
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of(level)) {
        entries.clear();
        entries.extend(totals.iter().map(|total| (total.key(kind), total.sums)));
        add_up(&mut entries);
        add(db, kind, level, bucket, &entries)?;
    }
    Ok(())
}

/// Takes a bucket away, in every way.
pub(super) fn clear(db: &Database, level: usize, bucket: i64) -> Result<()> {
    Kind::ALL.into_iter().try_for_each(|kind| clear_kind(db, kind, level, bucket))
}

/// Takes the sums of a bucket by this away.
pub(super) fn clear_kind(db: &Database, kind: Kind, level: usize, bucket: i64) -> Result<()> {
    db.prepare_cached("DELETE FROM chunk WHERE id >= ?1 AND id < ?2")?
        .execute([id(kind, level, bucket, 0), id(kind, level, bucket + 1, 0)])?;
    Ok(())
}

/// Makes a bucket from those of the next narrower level.
pub(super) fn build(db: &Database, level: usize, bucket: i64) -> Result<()> {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Turned) {
        build_kind(db, kind, level, bucket)?;
    }
    clear_kind(db, Kind::Turned, level, bucket)?;
    turn(db, level, bucket)
}

/// The same for the sums by this, which is not [`Kind::Turned`]; some first numbers at once.
pub(super) fn build_kind(db: &Database, kind: Kind, level: usize, bucket: i64) -> Result<()> {
    clear_kind(db, kind, level, bucket)?;
    let ratio = WIDTHS[level] / WIDTHS[level - 1];
    let children = bucket * ratio..(bucket + 1) * ratio;
    let mut newest =
        db.prepare_cached("SELECT id, data FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1")?;
    let mut end = 0;
    for child in children.clone() {
        let range = [id(kind, level - 1, child, 0), id(kind, level - 1, child + 1, 0)];
        let last =
            newest.query_row(range, |row| segment::last(blob(row, 1)?, begin_of(row.get(0)?))).optional()?;
        end = end.max(last.map_or(0, |last| last + 1));
    }
    let mut all: Vec<Entry> = Vec::new();
    for begin in (0..end).step_by(AT_ONCE as usize) {
        let numbers = begin..begin + AT_ONCE;
        all.clear();
        for child in children.clone() {
            read_between(db, kind, (level - 1, child), &numbers, |a, b, sums| all.push(((a, b), sums)))?;
        }
        add_up(&mut all);
        if !all.is_empty() {
            write(db, kind, level, bucket, &all, begin)?;
        }
    }
    Ok(())
}

/// Puts the sums by this into a bucket where it has none of them.
pub(super) fn fill(db: &Database, kind: Kind, level: usize, bucket: i64, totals: &[Total]) -> Result<()> {
    let mut entries: Vec<Entry> = totals.iter().map(|total| (total.key(kind), total.sums)).collect();
    add_up(&mut entries);
    let mut all: BTreeMap<(i64, i64), Sums> = entries.into_iter().collect();
    read(db, kind, (level, bucket, bucket + 1), |_, a, b, sums| {
        all.insert((a, b), sums);
    })?;
    clear_kind(db, kind, level, bucket)?;
    let all: Vec<Entry> = all.into_iter().collect();
    if all.is_empty() { Ok(()) } else { write(db, kind, level, bucket, &all, 0) }
}

/// Makes the sums in the order of programs, of which there are none yet, from those in the order of peers, some entries
/// at once.
pub(super) fn turn(db: &Database, level: usize, bucket: i64) -> Result<()> {
    let piece = (level, bucket, bucket + 1);
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    read(db, Kind::Pair, piece, |_, peer, who, _| *counts.entry(turned(peer, who).0).or_default() += 1)?;
    let mut all: Vec<Entry> = Vec::new();
    let mut begin = 0;
    while let Some((last, end)) = at_once(&counts, begin) {
        all.clear();
        read(db, Kind::Pair, piece, |_, peer, who, sums| {
            let key = turned(peer, who);
            if key.0 >= begin && key.0 <= last {
                all.push((key, sums));
            }
        })?;
        add_up(&mut all);
        write(db, Kind::Turned, level, bucket, &all, begin)?;
        begin = end;
    }
    Ok(())
}

/// Makes the sums by program and peer anew, in both orders, from what either order has of them.
pub(super) fn pairs_of_both(db: &Database, level: usize, bucket: i64) -> Result<()> {
    let piece = (level, bucket, bucket + 1);
    let mut pairs: BTreeMap<(i64, i64), Sums> = BTreeMap::new();
    read(db, Kind::Pair, piece, |_, peer, who, sums| {
        pairs.insert((peer, who), sums);
    })?;
    read(db, Kind::Turned, piece, |_, first, second, sums| {
        pairs.insert((peer_of(first, second), who_of(first)), sums);
    })?;
    let entries: Vec<Entry> = pairs.into_iter().collect();
    clear_kind(db, Kind::Pair, level, bucket)?;
    clear_kind(db, Kind::Turned, level, bucket)?;
    if !entries.is_empty() {
        write(db, Kind::Pair, level, bucket, &entries, 0)?;
    }
    turn(db, level, bucket)
}

/// The last of the first numbers from this one on that are turned at once, and where those begin that follow.
fn at_once(counts: &BTreeMap<i64, usize>, begin: i64) -> Option<(i64, i64)> {
    let (mut last, mut entries) = (None, 0);
    for (number, count) in counts.range(begin..) {
        if last.is_some() && entries + count > TURNED_AT_ONCE {
            break;
        }
        (last, entries) = (Some(*number), entries + count);
    }
    last.map(|last| (last, last + 1))
}

/// Reads the entries of some first numbers.
fn read_between(
    db: &Database,
    kind: Kind,
    (level, bucket): (usize, i64),
    numbers: &std::ops::Range<i64>,
    mut give: impl FnMut(i64, i64, Sums),
) -> Result<()> {
    let start = id(kind, level, bucket, 0);
    let (first, end) = (start + numbers.start, start + numbers.end.min(NUMBERS));
    let mut find = db.prepare_cached(FIND)?;
    let begin: Option<i64> = find.query_row([start, first], |row| row.get(0)).optional()?;
    let mut select =
        db.prepare_cached("SELECT id, data FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
    let mut rows = select.query([begin.unwrap_or(first), end])?;
    while let Some(row) = rows.next()? {
        let wanted = |a| numbers.contains(&segment::begin(a));
        decode_some(blob(row, 1)?, begin_of(row.get(0)?), wanted, |_, _| true, &mut give)?;
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

/// Name in `meta` of the first day that is kept at all.
pub(super) const KEPT: &str = "kept-from";
/// Names in `meta` of the levels' ends.
const BUILT_NAMES: [&str; 5] = ["", "built-1", "built-2", "built-3", "built-4"];

pub(super) fn meta(db: &Database, key: &str) -> Result<i64> {
    let value: Option<i64> = db
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

/// Raises a number of `meta`; only [`lower`] lets it fall.
pub(super) fn raise(db: &Database, key: &str, value: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
           ON CONFLICT DO UPDATE SET value = excluded.value WHERE value < excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

/// Lowers a number of `meta` that a wrong clock has raised. The caller sees to it that what it says is true.
pub(super) fn lower(db: &Database, key: &str, value: i64) -> Result<()> {
    db.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1 AND value > ?2")?
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
            kept: meta(db, KEPT)?,
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

/// The clock was ahead by days when wider totals were made: those from `today` on are to be made again when their
/// time is over, and until then nothing is added to them. A day needs its hours for that.
pub(super) fn unbuild(db: &Database, reach: &Reach, today: i64) -> Result<()> {
    for level in BUILT {
        let hours = if level == 1 { up(reach.hours * HOUR, DAY) / DAY } else { 0 };
        lower(db, BUILT_NAMES[level], (today * DAY / WIDTHS[level]).max(hours))?;
    }
    Ok(())
}

/// What is kept begins earlier than was said. A wide bucket that went because its first days did is made again from
/// the days of it that are there.
pub(super) fn keep_from(db: &Database, reach: &Reach, day: i64) -> Result<()> {
    lower(db, KEPT, day)?;
    for level in BUILT.skip(1) {
        let bucket = reach.kept * DAY / WIDTHS[level];
        if bucket < reach.built[level] {
            build(db, level, bucket)?;
        }
    }
    Ok(())
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

/// All that is there, if what is kept should begin too late.
pub(super) fn present(reach: &Reach) -> Vec<Piece> {
    let mut pieces = everything(reach);
    cover(reach, (0, reach.kept * DAY), 4, &mut pieces, &mut Vec::new());
    pieces
}

/// Reads the chunks of one piece. Gives bucket and entry.
pub(super) fn read(
    db: &Database,
    kind: Kind,
    piece: Piece,
    give: impl FnMut(i64, i64, i64, Sums),
) -> Result<()> {
    read_some(db, kind, piece, None, |_| true, |_, _| true, give)
}

/// The same of those entries whose first number, and both, are wanted; the wanted first numbers are all in `spans`.
/// What is in other segments is not read.
pub(super) fn read_some(
    db: &Database,
    kind: Kind,
    (level, first, last): Piece,
    spans: Option<&[Span]>,
    mut wanted: impl FnMut(i64) -> bool,
    mut both: impl FnMut(i64, i64) -> bool,
    mut give: impl FnMut(i64, i64, i64, Sums),
) -> Result<()> {
    let end = id(kind, level, last, 0);
    let mut visit = |id: i64, data: &[u8]| {
        let give = |a, b, sums| give(bucket_of(id), a, b, sums);
        decode_some(data, begin_of(id), &mut wanted, &mut both, give)
    };
    if let Some(spans) = spans
        && spans.len() <= FEW_SPANS
    {
        let mut ids =
            db.prepare_cached("SELECT id FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1")?;
        let mut bucket = first;
        // The next bucket that has anything.
        while let Some(found) =
            ids.query_row([id(kind, level, bucket, 0), end], |row| row.get::<_, i64>(0)).optional()?
        {
            bucket = bucket_of(found);
            visit_few(db, id(kind, level, bucket, 0), spans, &mut visit)?;
            bucket += 1;
        }
        return Ok(());
    }
    let mut select =
        db.prepare_cached("SELECT id, data FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
    let mut rows = select.query([id(kind, level, first, 0), end])?;
    while let Some(row) = rows.next()? {
        let (id, data) = (row.get(0)?, blob(row, 1)?);
        let begin = begin_of(id);
        let next = spans.map(|spans| spans.get(spans.partition_point(|(_, last)| *last < begin)));
        let has = match next {
            None => true,
            Some(None) => false,
            Some(Some((first, _))) => *first <= segment::last(data, begin)?,
        };
        if has {
            visit(id, data)?;
        }
    }
    Ok(())
}

/// Reads pairs of the programs in these spans of [`Kind::Turned`]. Asks and gives peer and program.
pub(super) fn read_turned(
    db: &Database,
    piece: Piece,
    spans: &[Span],
    mut who: impl FnMut(i64) -> bool,
    mut both: impl FnMut(i64, i64) -> bool,
    mut give: impl FnMut(i64, i64, i64, Sums),
) -> Result<()> {
    read_some(
        db,
        Kind::Turned,
        piece,
        Some(spans),
        |first| who(who_of(first)),
        |first, second| both(peer_of(first, second), who_of(first)),
        |bucket, first, second, sums| give(bucket, peer_of(first, second), who_of(first), sums),
    )
}

/// Visits the segments of a bucket (its first id) that have anything of these spans, each once.
fn visit_few(
    db: &Database,
    start: i64,
    spans: &[Span],
    visit: &mut impl FnMut(i64, &[u8]) -> Result<()>,
) -> Result<()> {
    // The segment that may have the first number of a span, and those that begin within it.
    let mut select = db.prepare_cached(
        "SELECT id, data FROM chunk
           WHERE id >= coalesce((SELECT max(id) FROM chunk WHERE id >= ?1 AND id <= ?2), ?2) AND id <= ?3 ORDER BY id",
    )?;
    // All up to this number was looked at.
    let mut done = -1;
    for (first, last) in spans {
        let from = (*first).max(done + 1);
        if from > *last {
            continue;
        }
        let mut rows = select.query([start, start + begin(from), start + begin(*last)])?;
        while let Some(row) = rows.next()? {
            let (id, data) = (row.get(0)?, blob(row, 1)?);
            let end = segment::last(data, begin_of(id))?;
            if from <= end {
                visit(id, data)?;
            }
            done = done.max(end);
        }
    }
    Ok(())
}

/// The totals of a bucket as they were added, from its pairs.
pub(super) fn totals(db: &Database, level: usize, bucket: i64) -> Result<Vec<Total>> {
    let mut pairs = Vec::new();
    read(db, Kind::Pair, (level, bucket, bucket + 1), |_, peer, who, sums| pairs.push((peer, who, sums)))?;
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

    #[test]
    fn pairs_are_turned_and_back() {
        for who in [1, 77, 1 << 23] {
            for peer in [1, 32_767, 32_768, 16_700_000, 1 << 32] {
                let (first, second) = turned(peer, who);
                assert_eq!((who_of(first), peer_of(first, second)), (who, peer));
                let [span] = spans_of_whos(&[(who, who)])[..] else { panic!("one span") };
                assert!(span.0 <= first && first <= span.1);
            }
        }
        assert_eq!(spans([1, 2, 18, 35, 36].into_iter()), [(1, 18), (35, 36)]);
    }

    fn total(who: i64, peer: i64) -> Total {
        let sums = Sums { sent: who.cast_unsigned(), received: 5, connections: 1 };
        Total { who, uid: 1000, peer, domain: 1, remote: 1, service: 1, sums }
    }

    /// More pairs than are turned at once, a program with most of them, and numbers that were once clamped.
    #[test]
    fn what_is_read_in_either_order_is_the_same() {
        let db = Database::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;").unwrap();
        let pairs = (0..150_000_i64).map(|n| (if n % 3 == 0 { n % 7000 } else { 7 }, n * 150));
        let mut totals: Vec<Total> = pairs.map(|(who, peer)| total(who + (1 << 23), peer)).collect();
        totals.sort_by_key(|total| total.peer);
        for (hour, totals) in totals.chunks(totals.len() / 24 + 1).enumerate() {
            add_totals(&db, 0, i64::try_from(hour).unwrap(), totals).unwrap();
        }
        build(&db, 1, 0).unwrap();
        let late = total(9 + (1 << 23), 1 << 31);
        add_totals(&db, 1, 0, &[late]).unwrap();
        totals.push(late);
        let segments = |kind| {
            let sql = "SELECT count(*), max(length(data)) FROM chunk WHERE id >= ?1 AND id < ?2";
            db.query_row(sql, [id(kind, 1, 0, 0), id(kind, 1, 1, 0)], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let (count, longest): (i64, i64) = segments(Kind::Pair).unwrap();
        assert!(count > 300 && longest < 4096, "{count} segments, the longest has {longest} bytes");
        for whos in [vec![7 + (1 << 23)], vec![9 + (1 << 23), 300 + (1 << 23)], vec![1]] {
            let mut found = Vec::new();
            let spans = spans_of_whos(&spans(whos.iter().copied()));
            let wanted = |who| whos.contains(&who);
            read_turned(
                &db,
                (1, 0, 1),
                &spans,
                wanted,
                |peer, _| peer % 4 != 1,
                |_, peer, who, sums| {
                    found.push((who, peer, sums.sent));
                },
            )
            .unwrap();
            found.sort_unstable();
            let mut expected: Vec<_> = totals
                .iter()
                .filter(|total| whos.contains(&total.who) && total.peer % 4 != 1)
                .map(|total| (total.who, total.peer, total.sums.sent))
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
            assert_eq!(found.is_empty(), whos == [1]);
        }
    }
}
