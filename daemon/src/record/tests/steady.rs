// SPDX-License-Identifier: GPL-3.0-or-later
//! S05: the file stops growing, and no step of the forgetting holds the database for long.

use std::sync::atomic::{AtomicU64, Ordering};

use picosnitch_api::Query;
use rusqlite::Connection as Database;

use super::*;
use crate::model::Viewer;
use crate::record::delete::Deletion;
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

/// Much that is old: facts and days of one program, contents of another, events, and a program of very many that was
/// not seen for longest.
fn add_old(db: &Database, rows: i64) {
    db.execute_batch(&format!(
        "CREATE TEMP TABLE n (i INTEGER PRIMARY KEY);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 101000) INSERT INTO temp.n SELECT i FROM n;
         INSERT INTO executable (id, path, foreign_root) SELECT 1000 + i, CAST('/opt/' || i AS BLOB), 0 FROM temp.n;
         INSERT INTO sighting SELECT 1000 + i, 1000, i, i, 1, 0, 0, 0 FROM temp.n;
         DELETE FROM temp.n WHERE i > {rows};
         INSERT INTO fact SELECT 1001, 1, i, 1000, 1, 1 FROM temp.n;
         INSERT INTO fact SELECT 1, 4, 1000000 + i, 1000, 1, 1 FROM temp.n;
         INSERT INTO fact SELECT 2, 2, 1000000 + i, 1000, 1, 1 FROM temp.n;
         INSERT INTO sighting_day SELECT 1, 1, i FROM temp.n;
         INSERT INTO event (id, time, kind, uid, who, content, old_content, domain, remote, remote_port, protocol)
           SELECT 1000 + i, i, 1, 1000, 0, 0, 0, 0, 0, 0, 6 FROM temp.n;"
    ))
    .unwrap();
}

/// Steps of the database that the longest of all these steps takes, and how many of these there are.
fn longest(db: &mut Database, mut step: impl FnMut(&mut Database) -> bool) -> (u64, usize) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let handler = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    db.progress_handler(STEP as i32, Some(handler)).unwrap();
    let (mut most, mut steps) = (0, 0);
    loop {
        let (before, again) = (count.load(Ordering::Relaxed), step(db));
        most = most.max((count.load(Ordering::Relaxed) - before) * STEP);
        steps += 1;
        if !again {
            return (most, steps);
        }
    }
}

/// The same of a round that forgets everything.
fn longest_of_a_round(rows: i64) -> (u64, usize) {
    let lab = Lab::new();
    for day in 0..10 {
        lab.write(a_day(day, rows));
    }
    let mut db = Database::open(lab.database()).unwrap();
    add_old(&db, rows * 8);
    let settings = Settings { detail_days: 1, retention_days: 1, ..settings() };
    let mut retention = Retention::default();
    retention.obey();
    let longest = longest(&mut db, |db| {
        retention.step(db, &settings, DAY0 + 20 * DAY).unwrap();
        retention.busy()
    });
    for table in
        ["connection", "event", "sighting_day", "fact WHERE kind = 4", "fact WHERE executable = 1001"]
    {
        let left: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
    longest
}

/// The same of a deletion of events.
fn longest_of_a_deletion(rows: i64) -> (u64, usize) {
    let lab = Lab::new();
    let mut db = Database::open(lab.database()).unwrap();
    add_old(&db, rows * 8);
    let (all, (answer, _wait)) = (Viewer::everything(), std::sync::mpsc::sync_channel(1));
    let mut deletion = Deletion::new(&db, &Query::default(), &all, answer).unwrap();
    let longest = longest(&mut db, |db| !deletion.step(db, &all).unwrap());
    let left: i64 = db.query_row("SELECT count(*) FROM event", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    longest
}

/// More makes more steps, and no longer ones.
fn no_longer(of: impl Fn(i64) -> (u64, usize)) {
    let (few, many) = (of(1_000), of(4_000));
    assert!(many.1 > few.1, "{few:?}, {many:?}");
    assert!(many.0 <= few.0 * 3 / 2, "{few:?}, {many:?}");
}

#[test]
fn s05_no_step_holds_the_database_for_long() {
    no_longer(longest_of_a_round);
}

#[test]
fn s05_no_step_of_a_deletion_holds_the_database_for_long() {
    no_longer(longest_of_a_deletion);
}
