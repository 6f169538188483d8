// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn sums(n: u64) -> Sums {
    Sums { sent: n, received: n << 40, connections: n % 3 }
}

fn all(data: &[u8], begin: i64) -> Vec<Entry> {
    let mut back = Vec::new();
    decode(data, begin, |a, b, sums| back.push(((a, b), sums))).unwrap();
    back
}

#[test]
fn entries_come_back_as_they_were() {
    for begin in [0, 3] {
        let entries: Vec<Entry> = (0..2000_i64)
            .map(|n| ((begin + n / 3, n % 3 * 5 + 1000), sums(n.cast_unsigned())))
            .chain([((begin + (1 << 40), u32::MAX.into()), sums(u64::MAX >> 24))])
            .collect();
        let data = encode(&entries, begin);
        assert_eq!(all(&data, begin), entries);
        assert_eq!(last(&data, begin).unwrap(), NUMBERS - 1);
        for cut in 1..12 {
            assert!(decode(&data[..data.len() - cut], begin, |_, _, _| {}).is_err(), "{cut}");
        }
    }
    assert!(decode(&[0xff; 60], 0, |_, _, _| {}).is_err());
    assert!(decode(&[], 0, |_, _, _| {}).is_err() && last(&[], 0).is_err());
}

/// The quick way and the slow one agree, whatever length each number has.
#[test]
fn numbers_of_every_length_come_back() {
    let number = |n: u64| [1_u64 << (n % 64), (1 << (n % 64)) - 1, !0 >> (n % 64)][n as usize / 64 % 3];
    let mut entries: Vec<Entry> = (0..5000_u64)
        .map(|n| {
            let sums =
                Sums { sent: number(n * 7), received: number(n * 11 + 5), connections: number(n * n % 192) };
            ((i64::try_from(number(n) >> 20).unwrap(), i64::try_from(n).unwrap() + (1 << (n % 40))), sums)
        })
        .collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.dedup_by_key(|(key, _)| *key);
    assert!(entries.len() > 1000);
    assert_eq!(all(&encode(&entries, 0), 0), entries);
}

#[test]
fn what_is_not_wanted_is_left_out() {
    let entries: Vec<Entry> =
        (0..500_i64).map(|n| ((n / 7, n % 7), sums(n.cast_unsigned() * 77_777))).collect();
    let data = encode(&entries, 0);
    let (mut some, mut asked) = (Vec::new(), Vec::new());
    let first = |a: i64| {
        asked.push(a);
        a % 4 != 1
    };
    decode_some(&data, 0, first, |a, b| (a + b) % 3 == 1, |a, b, sums| some.push(((a, b), sums))).unwrap();
    let expected: Vec<Entry> =
        entries.into_iter().filter(|((a, b), _)| a % 4 != 1 && (a + b) % 3 == 1).collect();
    assert_eq!(some, expected);
    assert_eq!(asked, (0..72).collect::<Vec<i64>>(), "each first number once");
}

#[test]
fn segments_fit_into_a_page_and_follow_each_other() {
    let entries: Vec<Entry> =
        (0..40_000_i64).map(|n| ((1000 + n / 3, n % 3), sums(n.cast_unsigned()))).collect();
    let segments = cut(&entries, 2);
    assert!(segments.len() > 50 && segments[0].0 == 2);
    assert!(segments.iter().all(|(_, data)| data.len() <= LONG));
    assert!(segments.iter().all(|(begin, data)| last(data, *begin).unwrap() < NUMBERS));
    assert!(segments.windows(2).all(|pair| last(&pair[0].1, pair[0].0).unwrap() < pair[1].0));
    let back: Vec<Entry> = segments.iter().flat_map(|(begin, data)| all(data, *begin)).collect();
    assert_eq!(back, entries);
    assert_eq!(cut(&entries[..100], 0).len(), 1);
}
