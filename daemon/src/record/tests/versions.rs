// SPDX-License-Identifier: GPL-3.0-or-later
//! S04: a database of every version so far is brought up to date with its data.

use picosnitch_api::{Dimension, Query, row};
use rusqlite::Connection as Database;

use super::*;
use crate::model::Viewer;
use crate::record::database::{MIGRATIONS, migrate};
use crate::record::{chunk, place, recent};

/// Version 1: thirty rows on three days, days of totals before them, two events; as `.dump` writes it.
const VERSION_1: &str = include_str!("version-1.sql");
/// Version 2, totals packed: the same data.
const VERSION_2: &str = include_str!("version-2.sql");
/// Version 3, with an outbox.
const VERSION_3: &str = include_str!("version-3.sql");
/// Version 4, with indexes by hour.
const VERSION_4: &str = include_str!("version-4.sql");
/// Version 5, with lists of rows instead.
const VERSION_5: &str = include_str!("version-5.sql");
/// Version 6, with the direction of an event.
const VERSION_6: &str = include_str!("version-6.sql");
/// Version 7, totals cut into segments.
const VERSION_7: &str = include_str!("version-7.sql");
/// Version 8, with the rows of the last hours.
const VERSION_8: &str = include_str!("version-8.sql");
/// Version 9, with totals in the order of programs.
const VERSION_9: &str = include_str!("version-9.sql");
/// Version 10, with what is to be taken away.
const VERSION_10: &str = include_str!("version-10.sql");
/// The first version that has verdicts of a scanner.
const FIRST_WITH_VERDICTS: i64 = 3;
const DAY: i64 = 86_400 * SECOND;

#[test]
fn s04_every_version_has_a_migration_that_says_why() {
    assert!(MIGRATIONS.iter().all(|(sql, _)| sql.contains("Why: ")));
    assert_eq!(
        MIGRATIONS.len(),
        11,
        "a new version: freeze a database of the one before, with a test like below"
    );
}

#[test]
fn s04_version_1_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_1, 1);
}

#[test]
fn s04_version_3_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_3, 3);
}

#[test]
fn s04_version_4_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_4, 4);
}

#[test]
fn s04_version_5_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_5, 5);
}

#[test]
fn s04_version_6_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_6, 6);
}

#[test]
fn s04_version_7_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_7, 7);
}

#[test]
fn s04_version_8_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_8, 8);
}

#[test]
fn s04_version_9_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_9, 9);
}

#[test]
fn s04_version_10_is_brought_up_to_date_with_its_data() {
    brought_up_to_date(VERSION_10, 10);
}

/// Each of these was made by the migrations as they are: none was edited since.
#[test]
fn s04_no_migration_was_edited() {
    let dumps = [
        VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9,
        VERSION_10,
    ];
    let schema = |db: &Database| -> Vec<String> {
        let mut select =
            db.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let name = |row: &rusqlite::Row<'_>| Ok(row.get::<_, String>(0)?.replace('"', ""));
        select.query_map((), name).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let (mut made, mut steps) = (Database::open_in_memory().unwrap(), MIGRATIONS.iter());
    for (n, dump) in (1..).zip(dumps) {
        let transaction = made.transaction().unwrap();
        let (sql, convert) = steps.next().unwrap();
        transaction.execute_batch(sql).unwrap();
        if let Some(convert) = convert {
            convert(&transaction).unwrap();
        }
        transaction.commit().unwrap();
        let frozen = Database::open_in_memory().unwrap();
        frozen.execute_batch(dump).unwrap();
        assert_eq!(schema(&made), schema(&frozen), "version {n}");
    }
}

fn brought_up_to_date(dump: &str, version: i64) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    let old = Database::open(dir.path().join("state/picosnitch.db")).unwrap();
    old.execute_batch(dump).unwrap();
    old.pragma_update(None, "user_version", version).unwrap();
    if version >= FIRST_WITH_VERDICTS {
        let add = "INSERT INTO verdict (sha256, state, due, malicious, total, analysed) VALUES (?1, 1, 0, 3, 72, ?2)";
        old.execute(add, (vec![0x40_u8; 32], DAY0)).unwrap();
    }
    drop(old);
    let lab = Lab::with(dir, settings());
    let reader = lab.recorder.reader();
    let all = Viewer::everything();
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    assert_eq!(lab.known.next_notice, 3);
    assert_eq!(lab.known.programs.len(), 2);
    let page = reader.connections(&Query::default(), &all).unwrap();
    assert_eq!(page.rows.len(), 30);
    assert_eq!(page.rows[0], newest_row());
    assert_eq!(reader.executable(4, &all).unwrap(), ssh(version));
    // Found hour by hour, each once.
    let db = Database::open(lab.database()).unwrap();
    assert_eq!(listed(&db), 30);
    // Charts of the hours until then are made from the table, of those that follow from the packed rows.
    let last: i64 = db.query_row("SELECT max(id) FROM connection", (), |row| row.get(0)).unwrap();
    assert_eq!(recent::from(&db).unwrap(), place::hour_of(last) + 1);
    drop(db);
    // Twenty days of ten rows each; the rows of the last three are still there.
    let sums = |by, q: &Query, v: &Viewer| {
        let (totals, _) = reader.summary(by, q, v).unwrap();
        totals.iter().fold((0, 0), |sum, total| (sum.0 + total.sent, sum.1 + total.connections))
    };
    for (by, word) in Dimension::ALL {
        assert_eq!(sums(by, &Query::default(), &all), (200, 200), "{word}");
        assert_eq!(sums(by, &Query::default(), &bob), (100, 100), "{word}");
    }
    // Of one program, which is read in the order of programs.
    for v in [&all, &bob] {
        let (programs, _) = reader.summary(Dimension::Path, &Query::default(), v).unwrap();
        for total in programs {
            let q = Query { path: Some(total.key), ..Query::default() };
            assert_eq!(sums(Dimension::Domain, &q, v), (total.sent, total.connections));
        }
    }
    let day =
        |n: i64| Query { since: Some(DAY0 + n * DAY), until: Some(DAY0 + (n + 1) * DAY), ..Query::default() };
    for n in 0..20 {
        assert_eq!(sums(Dimension::Path, &day(n), &all), (10, 10), "day {n}");
        let q = Query { domain: Some(format!("d{n}.example.org")), ..Query::default() };
        assert_eq!(sums(Dimension::Path, &q, &all), (10, 10), "day {n}");
    }
    let q = Query {
        since: Some(DAY0 + 19 * DAY),
        until: Some(DAY0 + 19 * DAY + 5 * 3600 * SECOND),
        ..Query::default()
    };
    assert_eq!(sums(Dimension::Name, &q, &all), (5, 5), "hours where there are rows");
    let events = reader.events(&Query::default(), &all).unwrap().rows;
    assert_eq!(events.iter().map(|event| event.file_deleted).collect::<Vec<_>>(), [None; 2]);
    // And it goes on: numbers, totals, and the wider ones made from them.
    let mut more = row(DAY0 + 19 * DAY + 1, who("/usr/bin/curl", 1000));
    more.domain = Some((bytes("d19.example.org"), NameSource::Dns));
    more.sent = 1;
    lab.write(vec![more]);
    let mut db = Database::open(lab.database()).unwrap();
    let transaction = db.transaction().unwrap();
    while crate::record::build::step(&transaction, DAY0 + 100 * DAY).unwrap() {}
    transaction.commit().unwrap();
    assert!(chunk::next(&db, 2, 0, 1 << 22).unwrap().is_some());
    assert_eq!(connections_by_kind(&db), [201; 7]);
    assert_eq!(sums(Dimension::Domain, &Query::default(), &all), (201, 201));
    let check: String = db.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// The newest row of each of these histories, in full.
fn newest_row() -> row::Connection {
    let text = |text: &str| Some(text.to_owned());
    row::Connection {
        time: Some(DAY0 + 19 * DAY + 9 * 3600 * SECOND),
        executable: Some(4),
        path: text("/usr/bin/ssh"),
        name: text("ssh"),
        sha256: Some("40".repeat(32)),
        cmdline: text("ssh job-29333"),
        parent: text("/bin/bash"),
        parent_name: text("bash"),
        parent_sha256: Some("10".repeat(32)),
        parent_cmdline: text("bash -l"),
        grandparent: text("/usr/sbin/sshd"),
        grandparent_name: text("sshd"),
        grandparent_sha256: Some("20".repeat(32)),
        grandparent_cmdline: text("sshd: someone"),
        pid: Some(4242),
        uid: Some(1001),
        domain: text("d19.example.org"),
        domain_source: text("dns"),
        address: text("203.0.113.7"),
        remote_port: Some(443),
        local_address: text("192.0.2.1"),
        local_port: Some(40_000),
        protocol: text("tcp"),
        direction: text("out"),
        netns: Some(4_026_531_840),
        unit: text("session.scope"),
        sent: Some(1),
        received: Some(20),
        connections: Some(1),
        ..row::Connection::default()
    }
}

/// The program of that row, with the verdict where there was one.
fn ssh(version: i64) -> row::Executable {
    let (first, last) = (DAY0 + 3600 * SECOND, DAY0 + 19 * DAY + 9 * 3600 * SECOND);
    let verdict = if version >= FIRST_WITH_VERDICTS { "3 of 72 engines (2026-11-22)" } else { "" };
    row::Executable {
        id: Some(4),
        path: Some("/usr/bin/ssh".to_owned()),
        name: Some("ssh".to_owned()),
        sha256: Some("40".repeat(32)),
        first_seen: Some(first),
        last_seen: Some(last),
        days_seen: Some(20),
        sent: Some(100),
        received: Some(2000),
        connections: Some(100),
        names: Some(vec!["ssh".to_owned()]),
        cmdlines: Some(vec!["ssh job-*".to_owned()]),
        ports: Some(vec![443]),
        domains: Some((0..20).rev().map(|day| format!("d{day}.example.org")).collect()),
        hashes: Some(vec!["40".repeat(32)]),
        hashes_first_seen: Some(vec![first]),
        hashes_last_seen: Some(vec![last]),
        verdicts: Some(vec![verdict.to_owned()]),
        ..row::Executable::default()
    }
}

/// Rows in the lists of all hours, after a look that each is there with that program and peer.
fn listed(db: &Database) -> usize {
    let mut listed = 0;
    let mut next = 0;
    while let Some(hour) = place::next(db, next, i64::from(i32::MAX)).unwrap() {
        place::read(db, hour, |place| {
            listed += 1;
            let row = db.query_row("SELECT who, peer FROM connection WHERE id = ?1", [place.id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            });
            assert_eq!(row.unwrap(), (place.who, place.peer));
        })
        .unwrap();
        next = hour + 1;
    }
    listed
}

#[test]
fn s04_version_2_is_brought_up_to_date_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    let old = Database::open(dir.path().join("state/picosnitch.db")).unwrap();
    old.execute_batch(VERSION_2).unwrap();
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);
    let lab = Lab::with(dir, Settings { outbox: 1 << 20, ..settings() });
    let reader = lab.recorder.reader();
    let all = Viewer::everything();
    assert_eq!((lab.known.next_notice, lab.known.programs.len()), (3, 2));
    let rows = reader.connections(&Query::default(), &all).unwrap().rows;
    assert_eq!((rows.len(), &rows[0]), (30, &newest_row()));
    assert_eq!(reader.executable(4, &all).unwrap(), ssh(2));
    let (totals, _) = reader.summary(Dimension::Path, &Query::default(), &all).unwrap();
    assert_eq!(totals.iter().map(|total| total.connections).sum::<u64>(), 200);
    // And it goes on, with what is new: rows that wait to be sent, from a history with a number of its own.
    lab.write(vec![row(DAY0 + 19 * DAY + 1, who("/usr/bin/curl", 1000))]);
    let batch = reader.outbox(0, usize::MAX).unwrap().unwrap();
    assert_eq!(batch.rows, 1);
    assert!(batch.origin > 0);
    let db = Database::open(lab.database()).unwrap();
    assert_eq!(connections_by_kind(&db), [201; 7]);
}

/// A deletion that version 8 was about to end when it was killed: what it has not taken away is not said any more.
#[test]
fn s04_a_deletion_that_version_8_left_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    let old = Database::open(dir.path().join("state/picosnitch.db")).unwrap();
    old.execute_batch(VERSION_8).unwrap();
    let day = DAY0 / DAY;
    old.execute_batch(&format!(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('deleting-from', {day}), ('deleting-to', {day});
         INSERT INTO domain (id, value) VALUES (900, CAST('gone.example' AS BLOB));
         INSERT INTO fact SELECT executable, 4, 900, uid, first_seen, last_seen FROM sighting;
         PRAGMA user_version = 8;"
    ))
    .unwrap();
    drop(old);
    let lab = Lab::with(dir, settings());
    let db = Database::open(lab.database()).unwrap();
    let said = || -> i64 {
        db.query_row("SELECT count(*) FROM fact WHERE kind = 4 AND value = 900", (), |row| row.get(0))
            .unwrap()
    };
    for _ in 0..300 {
        if said() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(said(), 0);
    let (totals, _) =
        lab.recorder.reader().summary(Dimension::Domain, &Query::default(), &Viewer::everything()).unwrap();
    assert_eq!(totals.iter().map(|total| total.connections).sum::<u64>(), 200);
}

/// What version 9 had beside the database goes. Histories whose version 9 had what now is in version 10 keep it.
#[test]
fn s04_what_version_9_left_is_taken_care_of() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    let mut old = Database::open(state.join("picosnitch.db")).unwrap();
    old.execute_batch(VERSION_9).unwrap();
    old.execute_batch("INSERT INTO meta (key, value) VALUES ('open-flows', 7)").unwrap();
    for file in ["open-flows", "open-flows.new"] {
        std::fs::write(state.join(file), [0; 52]).unwrap();
    }
    migrate(&mut old, 9).unwrap();
    assert_eq!(state.read_dir().unwrap().count(), 1);
    let left: i64 =
        old.query_row("SELECT count(*) FROM meta WHERE key = 'open-flows'", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    // As if it was version 9 with all that.
    old.execute_batch(
        "INSERT INTO meta (key, value) VALUES ('deleting-from', 1), ('deleting-to', 1);
         INSERT INTO deleting (day, executable, uid) VALUES (1, 4, 1001);
         INSERT INTO open_flows (id, boot, flows) VALUES (1, x'00', x'01');
         ALTER TABLE event DROP COLUMN file_deleted;",
    )
    .unwrap();
    migrate(&mut old, 9).unwrap();
    let counts = "SELECT (SELECT count(*) FROM deleting), (SELECT count(*) FROM open_flows)";
    let counts: (i64, i64) = old.query_row(counts, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(counts, (1, 1));
}
