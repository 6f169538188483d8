// SPDX-License-Identifier: GPL-3.0-or-later
//! A *segment* is a stretch of a chunk's entries as bytes: numbers of variable length, each entry the step from
//! the first number before, the second number or (if the first is the same) the step from the second before, and
//! the three sums. In front of all stands how much further the last first number is than the one that the segment
//! begins with.
//!
//! A segment is cut so that it fits into a page of the database: a reader that wants a few numbers reads a few pages,
//! and a writer that adds a few writes a few.

use rusqlite::Result;

use super::chunk::{Entry, Sums};

/// Bytes of a segment that is cut no further: two and what SQLite keeps of them fit into a page of 8 KiB, one into
/// one of 4 KiB.
const LONG: usize = 4_000;
/// Bytes of a segment that was just cut, at about the most: more will be added.
const FULL: usize = 3_200;
/// First numbers that a segment can begin with.
pub(super) const NUMBERS: i64 = 1 << 33;

/// What a segment begins with that has this first number as its first.
pub(super) fn begin(number: i64) -> i64 {
    number.clamp(0, NUMBERS - 1)
}

pub(super) fn put(data: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        data.push((number as u8) | 0x80);
        number >>= 7;
    }
    data.push(number as u8);
}

/// The bit of each byte that says that a number goes on.
const MORE: u64 = 0x8080_8080_8080_8080;

/// The next number.
pub(super) fn take(data: &mut &[u8]) -> Option<u64> {
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

/// Eight bytes from there on.
#[inline]
fn word(bytes: &[u8; 32], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk::<8>).map_or(0, |word| u64::from_le_bytes(*word))
}

/// A bit for each byte with which a number ends.
#[inline]
fn ends(word: u64) -> u32 {
    // The product brings the lowest bits of all bytes together in the highest byte.
    (((!word & MORE) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// The number that these bytes are, eight at the most.
#[inline]
fn number(bytes: &[u8; 32], (from, to): (u32, u32)) -> u64 {
    let unused = 64_u32.saturating_sub((to - from) * 8);
    let x = (word(bytes, from as usize) << unused >> unused) & !MORE;
    let x = (x & 0x007f_007f_007f_007f) | ((x & 0x7f00_7f00_7f00_7f00) >> 1);
    let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x3fff_0000_3fff_0000) >> 2);
    (x & 0x0000_0000_0fff_ffff) | ((x & 0x0fff_ffff_0000_0000) >> 4)
}

/// The five numbers of an entry.
enum Numbers<'a> {
    /// The bytes, and a bit for each with which a number ends. All are looked up at once, because a step that
    /// depends on how long the number before was costs more than all else.
    Short(&'a [u8; 32], u32),
    /// One of them is longer than eight bytes, all are longer than sixteen, or the segment ends before.
    Long([u64; 5]),
}

impl<'a> Numbers<'a> {
    /// The next five.
    #[inline]
    fn take(data: &mut &'a [u8]) -> Option<Self> {
        if let Some((bytes, all)) = data.first_chunk::<32>().and_then(|bytes| Some((bytes, short(bytes)?))) {
            let fifth = (0..4).fold(all, |left, _| left & left.wrapping_sub(1));
            if fifth != 0 {
                *data = data.get(fifth.trailing_zeros() as usize + 1..).unwrap_or_default();
                return Some(Numbers::Short(bytes, all));
            }
        }
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = take(data)?;
        }
        Some(Numbers::Long(numbers))
    }

    /// How far the first number is from the one before.
    #[inline]
    fn step(&self) -> u64 {
        match self {
            Numbers::Short(bytes, all) if all & 1 != 0 => bytes[0].into(),
            Numbers::Short(bytes, all) => number(bytes, (0, all.trailing_zeros() + 1)),
            Numbers::Long(numbers) => numbers[0],
        }
    }

    /// The second number, or how far it is from the one before.
    #[inline]
    fn second(&self) -> u64 {
        match self {
            Numbers::Short(bytes, all) => {
                let from = all.trailing_zeros() + 1;
                let all = all & (all - 1);
                number(bytes, (from, all.trailing_zeros() + 1))
            }
            Numbers::Long(numbers) => numbers[1],
        }
    }

    /// The sums.
    #[inline]
    fn sums(&self) -> Sums {
        let [sent, received, connections] = match self {
            Numbers::Short(bytes, all) => {
                let mut all = all & (all - 1);
                let mut from = all.trailing_zeros() + 1;
                [0; 3].map(|_| {
                    all &= all - 1;
                    let to = all.trailing_zeros() + 1;
                    number(bytes, (std::mem::replace(&mut from, to), to))
                })
            }
            Numbers::Long([_, _, sums @ ..]) => *sums,
        };
        Sums { sent, received, connections }
    }
}

/// A bit for each of sixteen bytes with which a number ends, if no number is longer than eight.
#[inline]
fn short(bytes: &[u8; 32]) -> Option<u32> {
    let all = ends(word(bytes, 0)) | (ends(word(bytes, 8)) << 8);
    let more = !all & 0xffff;
    let two = more & (more >> 1);
    let four = two & (two >> 2);
    (four & (four >> 4) == 0).then_some(all)
}

/// Entries as bytes; the segment begins with this number.
fn encode(entries: &[Entry], begin: i64) -> Vec<u8> {
    let mut data = Vec::with_capacity(entries.len() * 10 + 4);
    let span = entries.last().map_or(0, |((a, _), _)| self::begin(*a) - begin);
    put(&mut data, span.cast_unsigned());
    let mut last = (begin, 0);
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

/// Sorted entries as segments, each with the number that it begins with; the first begins with this one.
pub(super) fn cut(entries: &[Entry], begin: i64) -> Vec<(i64, Vec<u8>)> {
    let whole = encode(entries, begin);
    if whole.len() <= LONG {
        return vec![(begin, whole)];
    }
    let each = (entries.len() / whole.len().div_ceil(FULL)).max(1);
    let mut segments = Vec::new();
    let (mut number, mut from, mut end) = (begin, 0, 0);
    for these in entries.chunk_by(|((a, _), _), ((b, _), _)| self::begin(*a) == self::begin(*b)) {
        if end > from && end - from + these.len() > each {
            segments.push((number, encode(&entries[from..end], number)));
            (number, from) = (these.first().map_or(number, |((a, _), _)| self::begin(*a)), end);
        }
        end += these.len();
    }
    segments.push((number, encode(&entries[from..], number)));
    segments
}

fn broken() -> rusqlite::Error {
    let why = "a chunk of totals ends in the middle".into();
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why)
}

/// The last first number of a segment that begins with this one.
pub(super) fn last(mut data: &[u8], begin: i64) -> Result<i64> {
    let span = take(&mut data).ok_or_else(broken)?;
    Ok(begin.saturating_add_unsigned(span))
}

/// Reads entries in their order.
pub(super) fn decode(data: &[u8], begin: i64, give: impl FnMut(i64, i64, Sums)) -> Result<()> {
    decode_some(data, begin, |_| true, |_, _| true, give)
}

/// Reads those entries whose first number is wanted, asked once for each, and both.
pub(super) fn decode_some(
    mut data: &[u8],
    begin: i64,
    mut first: impl FnMut(i64) -> bool,
    mut both: impl FnMut(i64, i64) -> bool,
    mut give: impl FnMut(i64, i64, Sums),
) -> Result<()> {
    take(&mut data).ok_or_else(broken)?;
    let (mut a, mut b) = (begin.cast_unsigned(), 0_u64);
    let mut wanted = None;
    while !data.is_empty() {
        let numbers = Numbers::take(&mut data).ok_or_else(broken)?;
        let step = numbers.step();
        let here = match wanted {
            Some(known) if step == 0 => known,
            _ => {
                (a, b) = (a.wrapping_add(step), 0);
                first(a.cast_signed())
            }
        };
        wanted = Some(here);
        // The second number counts from the one before of the same first number, wanted or not as well.
        if here {
            b = b.wrapping_add(numbers.second());
            // Most are not wanted, and the sums are most of the bytes.
            if both(a.cast_signed(), b.cast_signed()) {
                give(a.cast_signed(), b.cast_signed(), numbers.sums());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
