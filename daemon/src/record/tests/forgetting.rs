// SPDX-License-Identifier: GPL-3.0-or-later
//! Retention and deletion.

use std::time::{Duration, Instant};

use picosnitch_api::{Dimension, Query};
use rusqlite::Connection as Database;

use super::*;
use crate::model::Viewer;
use crate::record::writer::now;

const DAY: i64 = 86_400 * SECOND;

fn all() -> Viewer {
    Viewer::everything()
}

fn sum(lab: &Lab, by: Dimension, q: &Query) -> u64 {
    let q = Query { limit: Some(1000), ..q.clone() };
    lab.recorder.reader().summary(by, &q, &all()).unwrap().0.iter().map(|total| total.sent).sum()
}

/// Ten rows a day for a year, each day to a place of its own.
fn year() -> Lab {
    let lab = Lab::new();
    let today = now() / DAY * DAY;
    let mut rows = Vec::new();
    for day in 0..365_i64 {
        for n in 0..10 {
            let mut row = row(
                today - day * DAY + n * 3600 * SECOND,
                who(["/usr/bin/curl", "/usr/bin/ssh"][n as usize % 2], 1000),
            );
            row.domain = Some((bytes(&format!("d{day}.example.org")), NameSource::Dns));
            row.who.program = Arc::new(Program {
                cmdline: Some(bytes(&format!("prog {day} {n}"))),
                ..Program::clone(&row.who.program)
            });
            row.sent = 1;
            rows.push(row);
        }
    }
    lab.write(rows);
    lab
}

fn settle(lab: &Lab, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{:?}", lab.recorder.counters());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn s05_old_detail_lives_on_in_totals_and_the_rest_goes() {
    let lab = year();
    let reader = lab.recorder.reader();
    let number = |sql: &str| -> i64 {
        Database::open(lab.database()).unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!(number("SELECT count(*) FROM connection"), 3650);
    for (id, days) in [(1, 101), (2, 99)] {
        let notice = new_executable(id, now() - days * DAY, who("/usr/bin/curl", 1000));
        lab.recorder.notice(notice);
    }
    let before = number("SELECT count(*) FROM who");
    let pages = number("SELECT page_count FROM pragma_page_count");
    lab.recorder.reconfigure(Settings { detail_days: 7, retention_days: 100, ..settings() });
    settle(&lab, || number("SELECT count(*) FROM volume") <= 101 && !lab.recorder.counters().retaining);
    assert_eq!(number("SELECT count(*) FROM connection"), 80);
    assert_eq!(number("SELECT count(DISTINCT day) FROM volume"), 101);
    let events = reader.events(&Query::default(), &all()).unwrap().rows;
    assert_eq!(
        events.iter().map(|row| row.id.unwrap()).collect::<Vec<_>>(),
        [2],
        "what was told goes as well"
    );
    let kept = number("SELECT value FROM meta WHERE key = 'kept-from'");
    let first =
        |level, end| crate::record::chunk::next(&Database::open(lab.database()).unwrap(), level, 0, end);
    for level in 1..=2 {
        let days = crate::record::chunk::WIDTHS[level] / DAY;
        let oldest = first(level, 1 << 23).unwrap().unwrap();
        assert!(oldest * days >= kept && oldest * days < kept + 2 * days, "level {level}: {oldest}, {kept}");
    }
    assert!(first(0, 1 << 23).unwrap().unwrap() >= (kept + 100 - 7 - 60) * 24);
    // Those of the days, and that of the event.
    assert!(number("SELECT count(*) FROM domain") <= 102, "{}", number("SELECT count(*) FROM domain"));
    assert!(number("SELECT count(*) FROM cmdline") <= 85);
    assert!(number("SELECT count(*) FROM who") < before / 2);
    assert_eq!(number("SELECT count(*) FROM executable"), 4, "programs stay known");
    for (by, word) in Dimension::ALL {
        assert_eq!(sum(&lab, by, &Query::default()), 1010, "{word}");
    }
    let fifty = Query { since: Some(now() / DAY * DAY - 50 * DAY), ..Query::default() };
    assert_eq!(sum(&lab, Dimension::Domain, &fifty), 510);
    assert_eq!(sum(&lab, Dimension::Path, &Query { cmdline: Some("prog".to_owned()), ..fifty.clone() }), 510);
    assert_eq!(
        sum(&lab, Dimension::Path, &Query { domain: Some("d42.example.org".to_owned()), ..fifty }),
        10
    );
    let row = reader.executable(1, &all()).unwrap();
    assert_eq!(row.days_seen, Some(365));
    assert!(row.domains.unwrap().len() <= 101);
    // The file is smaller: of what is free in it a tenth of what it was is kept for what comes, and the rest is back.
    let left = number("SELECT page_count FROM pragma_page_count");
    let free = number("SELECT freelist_count FROM pragma_freelist_count");
    assert!(
        left < pages * 2 / 3 && free <= pages / 10 + 10,
        "{free} of {left} pages are free, {pages} before"
    );
    // New rows find their numbers, although old ones were swept.
    lab.write(vec![row_to("d300.example.org")]);
    let q = Query { domain: Some("d300.example.org".to_owned()), ..Query::default() };
    assert_eq!(reader.connections(&q, &all()).unwrap().rows.len(), 1);
    let check: String = Database::open(lab.database())
        .unwrap()
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

/// A history that was set aside goes once nothing in it can be younger than what is kept.
#[test]
fn s05_a_damaged_history_goes_with_its_age() {
    use crate::record::retain::Retention;
    let lab = Lab::new();
    lab.write(vec![row_to("a.example")]);
    let mut db = Database::open(lab.database()).unwrap();
    let mut retention = Retention::default();
    let files = ["picosnitch.db.bad", "picosnitch.db.bad-wal", "picosnitch.db.bad-shm"]
        .map(|name| lab.database().with_file_name(name));
    // Days since each of them was written.
    for (ages, stays) in
        [([0, 0, 0], true), ([365, 366, 366], true), ([366, 365, 366], true), ([366, 366, 0], false)]
    {
        for (file, days) in files.iter().zip(ages) {
            let written = std::time::SystemTime::now() - Duration::from_secs(days * 86_400);
            std::fs::File::create(file).unwrap().set_modified(written).unwrap();
        }
        for _ in 0..23 {
            round(&mut db, &mut retention, now());
        }
        assert!(files.iter().all(|file| file.exists()), "{ages:?}");
        // A clock that was ahead for all of that time; it is right for a moment.
        if !stays {
            round(&mut db, &mut retention, now() - 2 * DAY);
            for _ in 0..23 {
                round(&mut db, &mut retention, now());
            }
            assert!(files.iter().all(|file| file.exists()), "{ages:?}");
        }
        round(&mut db, &mut retention, now());
        assert!(files.iter().all(|file| file.exists() == stays), "{ages:?}");
    }
    assert_eq!(sum(&lab, Dimension::Path, &Query::default()), 100, "the one in use");
}

fn row_to(domain: &str) -> Connection {
    let mut row = row(now(), who("/usr/bin/curl", 1000));
    row.domain = Some((bytes(domain), NameSource::Dns));
    row
}

#[test]
fn s05_settings_out_of_range_are_refused() {
    let bad = [
        Settings { retention_days: 0, ..settings() },
        Settings { retention_days: 40_000, ..settings() },
        Settings { detail_days: 0, ..settings() },
        Settings { detail_days: 400, retention_days: 365, ..settings() },
        Settings { write_interval: Duration::from_secs(4000), ..settings() },
    ];
    for settings in bad {
        assert!(settings.check().unwrap_err().contains("wants"), "{settings:?}");
        assert!(settings.clamped().check().is_ok());
    }
    assert!(Settings::default().check().is_ok());
}

#[test]
fn s06_a_wrong_clock_costs_two_days_at_most() {
    use crate::record::retain::Retention;
    let lab = year();
    lab.recorder.flush();
    let mut db = Database::open(lab.database()).unwrap();
    let mut retention = Retention::default();
    loop {
        retention.step(&mut db, &Settings::default(), now() + 4000 * DAY).unwrap();
        if !retention.busy() {
            break;
        }
    }
    let days: i64 = db.query_row("SELECT count(DISTINCT day) FROM volume", (), |row| row.get(0)).unwrap();
    let rows: i64 = db.query_row("SELECT count(*) FROM connection", (), |row| row.get(0)).unwrap();
    assert_eq!((days, rows), (363, 3630));
    assert_eq!(connections_by_kind(&db), [3630; 7]);
}

/// One round at this time, with a sweep.
fn round(db: &mut Database, retention: &mut crate::record::retain::Retention, now: i64) {
    retention.sweep_soon();
    loop {
        retention.step(db, &Settings::default(), now).unwrap();
        if !retention.busy() {
            return;
        }
    }
}

/// Of very many programs those that were not seen for longest go, with their contents, and no other; each of them is a
/// new one when it comes back.
#[test]
fn s05_programs_are_known_up_to_a_bound() {
    use crate::record::retain::Retention;
    let lab = Lab::new();
    lab.write(vec![row_to("a.example"), row(now() - 600 * DAY, who("/usr/bin/old", 1000))]);
    let mut db = Database::open(lab.database()).unwrap();
    // Seen once, 9001 of them long ago and in no order, the others lately, each with a content of its own.
    db.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 103999)
           INSERT INTO executable (id, path, foreign_root) SELECT i, CAST('/opt/' || i AS BLOB), 0 FROM n;
         INSERT INTO content (id, sha256) SELECT id, CAST(path AS BLOB) FROM executable WHERE id >= 1000;
         INSERT INTO sighting SELECT id, 1000, t, t, 1, 0, 0, 0 FROM (SELECT id, {} + id * 7919 % 9000 * 1000000 +
           CASE WHEN id < 10000 OR id = 103999 THEN 0 ELSE {} END - (id = 103999) * {DAY} AS t FROM executable WHERE id >= 1000);
         INSERT INTO fact SELECT executable, 2, executable, uid, first_seen, last_seen FROM sighting
           WHERE executable >= 1000;",
        now() - 500 * DAY,
        490 * DAY,
    ))
    .unwrap();
    let number = |db: &Database, sql: &str| -> i64 { db.query_row(sql, (), |row| row.get(0)).unwrap() };
    let mut retention = Retention::default();
    let mut forgotten = Vec::new();
    for _ in 0..2 {
        retention.obey();
        round(&mut db, &mut retention, now());
        forgotten.append(&mut retention.forgotten());
        // There are as many as may be, and those of which something else is left.
        assert_eq!(number(&db, "SELECT count(*) FROM executable"), 100_000);
    }
    let all = "SELECT count(*) FROM executable WHERE id >= 10000";
    assert_eq!(number(&db, all), 94_000, "one that was seen lately is gone, or the newest one is");
    let left = 100_000 - 94_000 - 3;
    let first = now() - 500 * DAY + (9000 - left - 60) * SECOND;
    let early = format!("SELECT count(*) FROM sighting WHERE executable < 103999 AND last_seen < {first}");
    assert_eq!(number(&db, &early), 0, "one that was seen later is gone");
    for table in ["sighting WHERE executable", "fact WHERE kind = 2 AND executable", "content WHERE id"] {
        let count = number(&db, &format!("SELECT count(*) FROM {table} >= 1000"));
        assert_eq!(count, 94_000 + left, "{table}");
    }
    // Who has just been seen, and who started it.
    let there = |path: &str| {
        let path = format!("SELECT count(*) FROM executable WHERE path = CAST('{path}' AS BLOB)");
        number(&db, &path)
    };
    assert_eq!((there("/usr/bin/curl"), there("/bin/bash"), there("/usr/bin/old")), (1, 1, 0));
    assert_eq!(forgotten.len() as i64, 103_000 + 4 - 100_000);
    assert!(forgotten.iter().all(|key| there(std::str::from_utf8(&key.path).unwrap()) == 0));
    drop(db);
    let lab = lab.reopen();
    assert_eq!(lab.known.programs.len() as i64, 94_000 + left + 1);
}

/// A file that is made anew again and again: the contents that it had long ago are known up to a bound.
#[test]
fn s05_contents_of_one_program_are_known_up_to_a_bound() {
    use crate::record::retain::Retention;
    let lab = Lab::new();
    lab.write(vec![row_to("a.example"), row(now() - 600 * DAY, who("/usr/bin/old", 1000))]);
    let mut db = Database::open(lab.database()).unwrap();
    let sql = "SELECT id FROM executable WHERE path = CAST('/usr/bin/curl' AS BLOB)";
    let id: i64 = db.query_row(sql, (), |row| row.get(0)).unwrap();
    db.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 2499)
           INSERT INTO content (id, sha256) SELECT i, CAST('content ' || i AS BLOB) FROM n;
         INSERT INTO fact SELECT {id}, 2, id, 1000, t, t FROM (SELECT id, {} + id +
           CASE WHEN id < 2300 THEN 0 ELSE {} END AS t FROM content WHERE id >= 1000);",
        now() - 500 * DAY,
        490 * DAY,
    ))
    .unwrap();
    let mut retention = Retention::default();
    for _ in 0..2 {
        retention.obey();
        round(&mut db, &mut retention, now());
        let sql = "SELECT count(*), (SELECT count(*) FROM content WHERE id >= 1000) FROM fact
             WHERE kind = 2 AND executable = ?1";
        let (facts, contents): (i64, i64) =
            db.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        // The one that it has now is among them.
        assert_eq!((facts, contents), (1000, 999));
    }
    let oldest: i64 =
        db.query_row("SELECT min(id) FROM content WHERE id >= 1000", (), |row| row.get(0)).unwrap();
    assert_eq!(oldest, 2500 - 999, "those that were seen lately stay");
}

/// Words and services that nothing refers to go; one that something begins to refer to while it is swept stays.
#[test]
fn s05_names_that_come_into_use_during_a_sweep_stay() {
    use crate::record::retain::Retention;
    let lab = Lab::new();
    lab.write(vec![row_to("a.example")]);
    let mut db = Database::open(lab.database()).unwrap();
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
           INSERT INTO word (kind, value) SELECT k, CAST('n' || i AS BLOB) FROM n, (SELECT 1 AS k UNION SELECT 2);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
           INSERT INTO service (port, protocol, direction, netns) SELECT i, 6, 1, 4026531840 FROM n;",
    )
    .unwrap();
    let number = |sql: &str| -> i64 {
        Database::open(lab.database()).unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
    };
    let mut retention = Retention::default();
    retention.sweep_soon();
    let mut steps = 0;
    loop {
        retention.step(&mut db, &Settings::default(), now()).unwrap();
        if !retention.busy() {
            break;
        }
        steps += 1;
        // The writer does its other work between some of them.
        if steps % 3 > 0 {
            continue;
        }
        let mut row = row_to("a.example");
        let name = format!("n{steps}");
        row.who.program = program(&format!("/opt/{name}"), "x");
        row.who.unit = Some(bytes(&name));
        row.remote_port = Some(steps);
        lab.write(vec![row]);
    }
    assert!((30..300).contains(&steps), "{steps}");
    let used =
        "SELECT name AS w FROM program UNION SELECT script FROM program UNION SELECT pattern FROM program
        UNION SELECT unit FROM who UNION SELECT container FROM who UNION SELECT interface FROM peer
        UNION SELECT value FROM fact WHERE kind IN (1, 5)";
    let lost = format!("SELECT count(*) FROM ({used}) WHERE w > 0 AND w NOT IN (SELECT id FROM word)");
    assert_eq!(number(&lost), 0);
    assert_eq!(number("SELECT count(*) FROM peer WHERE service NOT IN (SELECT id FROM service)"), 0);
    // All others are gone.
    assert_eq!(number(&format!("SELECT count(*) FROM word WHERE id NOT IN ({used})")), 0);
    assert_eq!(number("SELECT count(*) FROM service WHERE id NOT IN (SELECT service FROM peer)"), 0);
}

/// A clock that is years ahead, for some rounds of retention and some rows, hides nothing for good.
#[test]
fn s06_a_clock_that_was_years_ahead_hides_nothing() {
    use crate::record::retain::Retention;
    let ahead = now() + 14 * 365 * DAY;
    for (old, future) in [(0, false), (0, true), (1, false), (1, true), (6, false), (6, true)] {
        let lab = Lab::new();
        // The days of the rows that were there before, and one row of the time that is not yet.
        let before: Vec<i64> = (0..old).map(|day| now() - day * DAY).collect();
        lab.write(before.iter().map(|time| row(*time, who("/usr/bin/curl", 1000))).collect());
        if future {
            lab.write(vec![row(ahead, who("/usr/bin/curl", 1000))]);
        }
        let (mut db, mut retention) = (Database::open(lab.database()).unwrap(), Retention::default());
        round(&mut db, &mut retention, ahead);
        round(&mut db, &mut retention, ahead + 3600 * SECOND);
        // The writer that has been there remembers numbers that were swept.
        let lab = lab.reopen();
        let count = |q: &Query| lab.recorder.reader().connections(q, &all()).unwrap().rows.len() as u64;
        let left = count(&Query::default());
        let kept = u64::try_from(old).unwrap().saturating_sub(4) + u64::from(future);
        assert_eq!(left, kept, "two days that have data in each round");
        // It is right again, and rows come.
        let mut rows: Vec<Connection> = (0..5).map(|_| row_to("new.example.org")).collect();
        rows.iter_mut().for_each(|row| row.sent = 1);
        lab.write(rows);
        assert!(retention.is_ahead(now()));
        for _ in 0..2 {
            round(&mut db, &mut retention, now());
            assert_eq!(count(&Query::default()), left + 5, "{old}, {future}");
            let q = Query { domain: Some("new.example.org".to_owned()), ..Query::default() };
            assert_eq!(count(&q), 5, "{old}, {future}: the peer is gone");
            for (by, word) in Dimension::ALL {
                assert_eq!(sum(&lab, by, &q), 5, "{word}, {old}, {future}");
            }
            assert_eq!(connections_by_kind(&db), [left + 5; 7], "{old}, {future}");
        }
        let meta = |key: &str| -> i64 {
            let value = db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
            value.unwrap_or(0)
        };
        let today = now() / DAY;
        assert!(meta("kept-from") <= today - 365, "{}", meta("kept-from") - today);
        // Where a day of before is left it is known that this is the right time.
        if old == 6 {
            assert!(meta("built-1") <= today + 1, "{}", meta("built-1") - today);
        }
    }
}

#[test]
fn deletion_takes_what_matches_and_nothing_else() {
    let lab = year();
    let reader = lab.recorder.reader();
    let today = now() / DAY * DAY;
    lab.recorder.notice(new_executable(1, today, who("/usr/bin/curl", 1000)));
    lab.recorder.notice(new_executable(2, today, who("/usr/bin/ssh", 1000)));
    // A part of two days, of one program: 3 of 10 hours on the first day, 4 on the second.
    let q = Query {
        path: Some("/usr/bin/curl".to_owned()),
        since: Some(today - 5 * DAY + 4 * 3600 * SECOND),
        until: Some(today - 4 * DAY + 7 * 3600 * SECOND),
        ..Query::default()
    };
    assert_eq!(reader.delete_history(&q, &all()).unwrap(), 3 + 4);
    for (by, word) in Dimension::ALL {
        assert_eq!(sum(&lab, by, &Query::default()), 3650 - 7, "{word}");
        let day = Query { since: Some(today - 5 * DAY), until: Some(today - 4 * DAY), ..Query::default() };
        assert_eq!(sum(&lab, by, &day), 7, "{word}");
        let day = Query {
            since: Some(today - 5 * DAY + 60 * SECOND),
            until: Some(today - 4 * DAY),
            ..Query::default()
        };
        assert_eq!(sum(&lab, by, &day), 6, "{word}");
    }
    assert!(reader.connections(&q, &all()).unwrap().rows.is_empty());
    assert_eq!(sum(&lab, Dimension::Path, &Query { path: q.path.clone(), ..Query::default() }), 1825 - 7);
    // Everything of one program.
    let q = Query { path: q.path, ..Query::default() };
    assert_eq!(reader.delete_history(&q, &all()).unwrap(), 1825 - 7);
    assert_eq!(sum(&lab, Dimension::Path, &Query::default()), 1825);
    assert_eq!(reader.summary(Dimension::Path, &Query::default(), &all()).unwrap().0.len(), 1);
    let events = reader.events(&Query::default(), &all()).unwrap();
    assert_eq!(events.rows.iter().map(|row| row.id.unwrap()).collect::<Vec<_>>(), [2]);
    let curl = reader.executables(&q, &all()).unwrap().rows.remove(0);
    let curl = reader.executable(curl.id.unwrap(), &all()).unwrap();
    assert_eq!((curl.sent, curl.connections), (Some(0), Some(0)));
    assert_eq!(
        (curl.domains.unwrap().len(), curl.ports.unwrap().len(), curl.cmdlines.unwrap().len()),
        (0, 0, 0)
    );
    assert_eq!(curl.hashes.unwrap().len(), 1);
    // Everything.
    assert_eq!(reader.delete_history(&Query::default(), &all()).unwrap(), 1825);
    assert_eq!(sum(&lab, Dimension::Domain, &Query::default()), 0);
    settle(&lab, || !lab.recorder.counters().retaining);
    // Numbers in the file, not what a reader makes of them.
    let number = |sql: &str| -> i64 {
        Database::open(lab.database()).unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
    };
    settle(&lab, || {
        number(
            "SELECT (SELECT count(*) FROM domain) + (SELECT count(*) FROM cmdline) + (SELECT count(*) FROM who)",
        ) == 0
    });
    assert_eq!(number("SELECT count(*) FROM executable"), 4);
    lab.write(vec![row(now(), who("/usr/bin/curl", 1000))]);
    assert_eq!(reader.connections(&Query::default(), &all()).unwrap().rows.len(), 1);
}

/// The service dies in the middle of a deletion, after any of its steps: what is told is what is left.
#[test]
fn s01_a_deletion_that_is_broken_off_leaves_no_trace_of_what_is_gone() {
    let q = Query { path: Some("/usr/bin/curl".to_owned()), ..Query::default() };
    for steps in [2, 3, 40, 400, 3000, 8000] {
        let lab = year();
        let dir = lab.dir;
        lab.recorder.stop().unwrap();
        let mut db = Database::open(dir.path().join("state/picosnitch.db")).unwrap();
        let (answer, _wait) = std::sync::mpsc::sync_channel(1);
        let mut deletion = crate::record::delete::Deletion::new(&db, &q, &all(), answer).unwrap();
        let ended = (0..steps).any(|_| deletion.step(&mut db, &all()).unwrap());
        assert!(!ended, "it takes more than {steps} steps");
        assert!(deletion.deleted() > 0 || steps == 2);
        drop(db);
        let lab = Lab::with(dir, settings());
        let left = |sql: &str| -> u64 {
            let number =
                Database::open(lab.database()).unwrap().query_row(sql, (), |row| row.get::<_, i64>(0));
            number.unwrap().cast_unsigned()
        };
        settle(&lab, || left("SELECT count(*) FROM meta WHERE key LIKE 'deleting%'") == 0);
        let rows = left("SELECT count(*) FROM connection");
        assert!((1825..3650).contains(&rows), "{rows}");
        for (by, word) in Dimension::ALL {
            assert_eq!(sum(&lab, by, &Query::default()), rows, "{word}, after {steps} steps");
        }
        assert_eq!(left("SELECT sum(connections) FROM volume"), rows);
        let db = Database::open(lab.database()).unwrap();
        assert_eq!(connections_by_kind(&db), [rows; 7]);
        let (mut hour, mut listed) = (0, 0);
        while let Some(next) = crate::record::place::next(&db, hour, i64::from(i32::MAX)).unwrap() {
            listed += crate::record::place::read(&db, next, |_| {}).unwrap();
            hour = next + 1;
        }
        assert_eq!(listed as u64, rows);
    }
}
