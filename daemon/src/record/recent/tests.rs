// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn database() -> Database {
    let db = Database::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE recent (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
         CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE connection (id INTEGER PRIMARY KEY) STRICT;",
    )
    .unwrap();
    db
}

fn row(n: i64) -> Recent {
    let sent = u64::MAX >> (n % 64);
    let sums = Sums { sent, received: n.cast_unsigned() * 77_777, connections: n.cast_unsigned() % 2 };
    Recent { who: n % 7 + 1, peer: n % 30 * 100_000_000, time: 500_000 * HOUR + n * 977_003, sums }
}

fn all(db: &Database, hours: std::ops::Range<i64>) -> Vec<Recent> {
    let mut found = Vec::new();
    for hour in hours {
        let wanted = |who, peer, _| Some((who, peer));
        let give = |(who, peer), time, sums| found.push(Recent { who, peer, time, sums });
        read(db, hour, wanted, give).unwrap();
    }
    found
}

fn longest(db: &Database) -> usize {
    let long: u32 = db.query_row("SELECT max(length(data)) FROM recent", (), |row| row.get(0)).unwrap();
    long as usize
}

#[test]
fn every_row_of_the_last_hours_is_there_and_no_other() {
    let db = database();
    let rows: Vec<Recent> = (0..40_000).map(row).collect();
    let (first, last) = (rows[0].time / HOUR, rows[39_999].time / HOUR);
    assert!(last - first >= 10);
    let mut rest = rows.as_slice();
    for size in [1, 3, 500, 9000, 20_000, 10_000, 40_000] {
        let (some, others) = rest.split_at(rest.len().min(size));
        if let Some(now) = some.last() {
            add(&db, some, now.time).unwrap();
        }
        rest = others;
    }
    let from = from(&db).unwrap();
    assert_eq!(from, last - KEPT);
    let expected: Vec<Recent> = rows.iter().copied().filter(|row| row.time / HOUR >= from).collect();
    assert_eq!(all(&db, from..last + 1), expected);
    assert!(longest(&db) <= LONG);
    // Of what is not wanted nothing is given, and the others are right.
    let mut odd = Vec::new();
    let wanted = |who: i64, _, _| (who % 2 == 1).then_some(who);
    read(&db, last, wanted, |who, time, sums| odd.push((who, time, sums))).unwrap();
    let of_last = expected.iter().filter(|row| row.time / HOUR == last && row.who % 2 == 1);
    assert_eq!(odd, of_last.map(|row| (row.who, row.time, row.sums)).collect::<Vec<_>>());
    // What comes late is not half there, and what is too old goes.
    add(&db, &rows[..10], rows[39_999].time).unwrap();
    assert_eq!(all(&db, 0..1).len() + all(&db, first..from).len(), 0);
    // Deleted from: that hour is read from the table, later ones from here.
    leave(&db, last).unwrap();
    while pass(&db, rows[39_999].time).unwrap().1 {}
    assert_eq!(super::from(&db).unwrap(), last);
    assert_eq!(all(&db, from..last).len(), 0);
    assert!(!all(&db, last..last + 1).is_empty());
}

/// The clock was a year ahead: when it is right again, hours are here as soon as all of their rows can be.
#[test]
fn a_clock_that_was_ahead_is_forgotten() {
    let db = database();
    let (now, ahead) = (row(0).time, row(0).time + 8760 * HOUR);
    let put = |time: i64, now: i64| {
        db.execute("INSERT INTO connection (id) VALUES (?1)", [time << 10]).unwrap();
        add(&db, &[Recent { time, ..row(0) }], now).unwrap();
    };
    put(ahead, ahead);
    let hour = now.div_euclid(HOUR);
    // A row of two hours from now that is not here: its hour is not either.
    put(now + 2 * HOUR, ahead);
    assert_eq!(from(&db).unwrap(), hour + 8760 - KEPT);
    put(now, now);
    assert_eq!(from(&db).unwrap(), hour + 3);
    assert!(all(&db, 0..hour + 3).is_empty());
    put(now + 3 * HOUR, now + 3 * HOUR);
    assert_eq!(all(&db, hour + 3..hour + 4).len(), 1);
    assert_eq!(all(&db, hour + 8760..hour + 8761).len(), 1);
}

/// However many rows an hour has, a write of few touches no more than one list.
#[test]
fn lists_stay_short() {
    let db = database();
    for n in 0..2000_i64 {
        let some: Vec<Recent> = (0..20).map(|m| Recent { time: 5 * HOUR + n, ..row(n * 20 + m) }).collect();
        add(&db, &some, 5 * HOUR).unwrap();
    }
    let lists: i64 = db.query_row("SELECT count(*) FROM recent", (), |row| row.get(0)).unwrap();
    assert!(lists > 10 && longest(&db) <= LONG, "{lists} lists, {} bytes", longest(&db));
    assert_eq!(all(&db, 5..6).len(), 40_000);
}

#[test]
fn a_damaged_list_is_an_error() {
    let mut good = Vec::new();
    encode(&[row(3)], &mut good);
    for wanted in [None, Some(())] {
        let read = |end: usize| decode(0, &good[..end], |_, _, _| wanted, |_, _, _| {});
        assert!(read(good.len()).is_ok());
        assert!((1..good.len()).all(|end| read(end).is_err()), "{wanted:?}");
    }
}
