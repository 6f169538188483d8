// SPDX-License-Identifier: GPL-3.0-or-later
//! S05: the file stops growing, and no step of the forgetting holds the database for long.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection as Database;

use super::*;
use crate::record::retain::Retention;

const DAY: i64 = 86_400 * SECOND;
/// The database's own steps are counted in tens.
const STEP: u64 = 10;

/// Rows of one day, each to a place of its own, by a command line of its own.
fn a_day(day: i64, rows: i64) -> Vec<Connection> {
    let one = |n: i64| {
        let path = ["/usr/bin/curl", "/usr/bin/ssh"][n as usize % 2];
        let mut row = row(DAY0 + day * DAY + n * (DAY / rows), who(path, 1000));
        row.domain = Some((bytes(&format!("n{n}.d{day}.example.org")), NameSource::Dns));
        row.remote = Some(std::net::Ipv4Addr::from(0x0a00_0000 + (day * rows + n) as u32).into());
        row.who.program = Arc::new(Program {
            cmdline: Some(bytes(&format!("prog {day} {n}"))),
            ..Program::clone(&row.who.program)
        });
        row
    };
    (0..rows).map(one).collect()
}

/// A service that runs for 200 days: what is written and what is forgotten come to a balance.
#[test]
fn s05_the_file_stops_growing() {
    let settings = Settings { detail_days: 7, retention_days: 30, ..settings() };
    let mut lab = Lab::new();
    let mut retention = Retention::default();
    let mut pages = Vec::new();
    for day in 0..200 {
        lab.write(a_day(day, 40));
        lab.recorder.notice(new_executable(day + 1, DAY0 + day * DAY, who("/usr/bin/curl", 1000)));
        let mut db = Database::open(lab.database()).unwrap();
        loop {
            retention.step(&mut db, &settings, DAY0 + (day + 1) * DAY - SECOND).unwrap();
            if !retention.busy() {
                break;
            }
        }
        pages.push(db.query_row("PRAGMA page_count", (), |row| row.get::<_, i64>(0)).unwrap());
        drop(db);
        // The writer remembers numbers that another has swept.
        lab = lab.reopen();
    }
    let (half, whole): (i64, i64) = (pages[99], pages[199]);
    assert!((whole - half).abs() * 10 <= half, "{half} pages after 100 days, {whole} after 200");
}

/// Steps of the database that the longest of all steps of one round takes, and how many of these there are.
fn longest(rows: i64) -> (u64, usize) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let lab = Lab::new();
    for day in 0..10 {
        lab.write(a_day(day, rows));
    }
    let mut db = Database::open(lab.database()).unwrap();
    let count = || {
        COUNT.fetch_add(1, Ordering::Relaxed);
        false
    };
    db.progress_handler(STEP as i32, Some(count)).unwrap();
    let settings = Settings { detail_days: 1, retention_days: 1, ..settings() };
    let mut retention = Retention::default();
    retention.obey();
    let mut steps = Vec::new();
    loop {
        let before = COUNT.load(Ordering::Relaxed);
        retention.step(&mut db, &settings, DAY0 + 20 * DAY).unwrap();
        steps.push((COUNT.load(Ordering::Relaxed) - before) * STEP);
        if !retention.busy() {
            break;
        }
    }
    let left: i64 = db.query_row("SELECT count(*) FROM connection", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    (steps.iter().copied().max().unwrap(), steps.len())
}

/// More to forget makes more steps, and no longer ones.
#[test]
fn s05_no_step_holds_the_database_for_long() {
    let (few, many) = (longest(1_000), longest(4_000));
    assert!(many.1 > few.1, "{few:?}, {many:?}");
    assert!(many.0 <= few.0 * 3 / 2, "{few:?}, {many:?}");
}
