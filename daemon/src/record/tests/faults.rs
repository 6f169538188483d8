// SPDX-License-Identifier: GPL-3.0-or-later
//! The disk and the clock misbehave, processes are killed.

use std::process::{Command, Stdio};

use picosnitch_api::{Dimension, Query};
use rusqlite::Connection as Database;

use super::*;
use crate::model::{End, Last, Viewer};
use crate::record::queue;

fn count(lab: &Lab) -> u64 {
    let (totals, _) =
        lab.recorder.reader().summary(Dimension::Protocol, &Query::default(), &Viewer::everything()).unwrap();
    totals.iter().map(|total| total.connections).sum()
}

fn rows(lab: &Lab) -> u64 {
    let mut out = Vec::new();
    let reader = lab.recorder.reader();
    let (what, format) = (picosnitch_api::What::Connections, picosnitch_api::Format::JsonLines);
    reader.export(what, format, &Query::default(), &Viewer::everything(), &mut out).unwrap()
}

/// Set in the child that [`s01_kill_9_loses_nothing_that_was_committed`] kills.
const CHILD: &str = "PICOSNITCH_TEST_STORE_DIR";

/// Writes until it is killed; prints how many rows are committed.
#[test]
fn s01_child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = PathBuf::from(dir);
    let (recorder, _) = Recorder::open(&dir.join("state"), &dir.join("log"), settings(), |_| {}).unwrap();
    for round in 0.. {
        recorder.submit((0..200).map(|n| row(DAY0 + round * 1000 + n, who("/usr/bin/curl", 1000))).collect());
        recorder.flush();
        println!("\ncommitted {}", recorder.counters().rows_written);
    }
}

#[test]
fn s01_kill_9_loses_nothing_that_was_committed() {
    use std::io::BufRead as _;
    let dir = tempfile::tempdir().unwrap();
    let mut total: i64 = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "record::tests::faults::s01_child", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut committed: i64 = 0;
        let wanted = 2 + round % 4;
        for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(rows) = line.unwrap().strip_prefix("committed ") {
                committed = rows.parse().unwrap();
                if committed >= wanted * 200 {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        total += committed;
        let db = Database::open(dir.path().join("state/picosnitch.db")).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let found: i64 = db.query_row("SELECT count(*) FROM connection", (), |row| row.get(0)).unwrap();
        assert!(found >= total, "{found} rows, {total} were committed");
        assert_eq!(
            connections_by_kind(&db),
            [found.cast_unsigned(); 7],
            "totals are of the same transaction as the rows"
        );
        total = found;
    }
    let lab = Lab::with(dir, settings());
    assert_eq!(rows(&lab), total.cast_unsigned());
    assert!(lab.troubles.try_recv().is_err());
}

#[test]
fn s02_a_database_locked_by_another_process_is_written_later() {
    let lab = Lab::new();
    let other = Database::open(lab.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    lab.recorder.submit(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    lab.recorder.notice(new_executable(1, DAY0, who("/usr/bin/curl", 1000)));
    lab.recorder.flush();
    assert!(matches!(lab.trouble(), Trouble::Writing(_)));
    assert_eq!(lab.recorder.counters().rows_waiting, 1);
    assert_eq!(rows(&lab), 0, "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(lab.trouble(), Trouble::Recovered);
    assert_eq!(count(&lab), 1);
    assert!(lab.recorder.reader().event(1, &Viewer::everything()).is_ok());
    assert!(!lab.dir.path().join("state/picosnitch.db.bad").exists());
    assert!(lab.troubles.try_recv().is_err(), "each is said once");
}

#[test]
fn d05_written_is_said_when_it_can_be_read_and_not_before() {
    let lab = Lab::new();
    let (said, says) = std::sync::mpsc::channel();
    let reader = lab.recorder.reader();
    lab.recorder.on_written(move |through| {
        let rows = reader.connections(&Query::default(), &Viewer::everything()).unwrap().rows.len();
        let _ = said.send((through, rows));
    });
    let other = Database::open(lab.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    lab.recorder.submit_through(vec![row(DAY0, who("/usr/bin/curl", 1000))], DAY0 + 5, None);
    lab.recorder.flush();
    assert!(says.try_recv().is_err(), "it waits for the lock");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(says.recv_timeout(std::time::Duration::from_secs(20)).unwrap(), (DAY0 + 5, 1));
    assert!(says.try_recv().is_err(), "each is said once");
}

#[test]
fn d05_every_row_that_is_written_is_said() {
    // The writer wakes for each row, and is kept awake besides.
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with(dir, Settings { write_interval: std::time::Duration::ZERO, ..settings() });
    let (said, says) = std::sync::mpsc::channel();
    lab.recorder.on_written(move |through| {
        let _ = said.send(through);
    });
    let over = std::sync::atomic::AtomicBool::new(false);
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                lab.recorder.flush();
            }
        });
        let mut heard = (0..2000).map(|n| {
            lab.recorder.submit_through(vec![row(DAY0 + n, who("/usr/bin/curl", 1000))], DAY0 + n, None);
            // Nothing more comes that it could be said with.
            (DAY0 + n, says.recv_timeout(std::time::Duration::from_secs(10)))
        });
        let silent = heard.find(|(time, heard)| *heard != Ok(*time));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        silent
    });
    assert_eq!(heard, None, "it was written and nobody was told");
}

#[test]
fn s02_what_waits_is_bounded_and_what_is_dropped_is_counted() {
    let lab = Lab::new();
    let other = Database::open(lab.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let one = who("/usr/bin/curl", 1000);
    let submitted = queue::MAX_ROWS as u64 + 777;
    for n in 0..submitted {
        lab.recorder.submit(vec![row(DAY0 + n as i64, one.clone())]);
    }
    assert!(matches!(lab.trouble(), Trouble::Writing(_)));
    other.execute_batch("COMMIT").unwrap();
    let (mut lost, mut lost_bytes) = (0, 0);
    loop {
        match lab.trouble() {
            Trouble::Lost { rows, bytes } => (lost, lost_bytes) = (lost + rows, lost_bytes + bytes),
            Trouble::Recovered => break,
            other => panic!("{other}"),
        }
    }
    lab.recorder.flush();
    while let Ok(Trouble::Lost { rows, bytes }) = lab.troubles.try_recv() {
        (lost, lost_bytes) = (lost + rows, lost_bytes + bytes);
    }
    assert!(lost > 0);
    assert_eq!(count(&lab) + lost, submitted);
    assert_eq!(lost_bytes, lost * 2100);
    let counters = lab.recorder.counters();
    assert_eq!((counters.rows_lost, counters.bytes_lost, counters.rows_waiting), (lost, lost_bytes, 0));
}

/// A row on each of many days.
fn many_days(lab: &Lab) {
    let path = |day: i64| if day % 2 == 0 { "/usr/bin/curl" } else { "/usr/bin/ssh" };
    let rows = (0..300).map(|day| row(DAY0 - day * 86_400 * SECOND, who(path(day), 1000)));
    lab.write(rows.collect());
}

/// A step of a deletion fails: whoever asked is told, and nothing shows what is deleted already.
#[test]
fn s02_a_deletion_that_fails_leaves_no_total_of_what_is_gone() {
    let lab = Lab::new();
    many_days(&lab);
    let q = Query { path: Some("/usr/bin/curl".to_owned()), ..Query::default() };
    let other = Database::open(lab.database()).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    let number = |sql: &str| -> u64 {
        let number: i64 = other.query_row(sql, (), |row| row.get(0)).unwrap();
        number.cast_unsigned()
    };
    let answer = std::thread::scope(|scope| {
        let deletion = scope.spawn(|| lab.recorder.reader().delete_history(&q, &Viewer::everything()));
        while number("SELECT count(*) FROM connection") > 290 {
            std::thread::yield_now();
        }
        // Between two steps, which follow each other within microseconds: who waits for the lock sleeps too long.
        other.busy_timeout(std::time::Duration::ZERO).unwrap();
        while other.execute_batch("BEGIN IMMEDIATE").is_err() {}
        other.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        deletion.join().unwrap()
    });
    assert!(matches!(answer, Err(picosnitch_api::Error::Unavailable(_))), "{answer:?}");
    let left = number("SELECT count(*) FROM connection");
    assert!((151..=290).contains(&left), "{left}");
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(lab.trouble(), Trouble::Writing(_)));
    // Nothing waits to be written, and it is found out all the same.
    assert_eq!(lab.trouble(), Trouble::Recovered);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while number("SELECT count(*) FROM meta WHERE key LIKE 'deleting%'") > 0 {
        assert!(std::time::Instant::now() < until, "it is not cleared up");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(number("SELECT count(*) FROM connection"), left);
    assert_eq!((count(&lab), rows(&lab)), (left, left));
    assert_eq!(connections_by_kind(&other), [left; 7]);
}

/// A limit on the size of files is what a test without root can have of a full disk: SQLite's writes fail with
/// the same kind of error. The limit is the process's, so it is set in a child.
#[test]
fn s02_child() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some(dir) = std::env::var_os("PICOSNITCH_TEST_FULL_DIR") else { return };
    // Without this the kernel kills who writes too much.
    let ignored = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGXFSZ);
    ignored.thread_block().unwrap();
    let lab = Lab::with(tempfile::tempdir_in(dir).unwrap(), settings());
    lab.write((0..50).map(|n| row(DAY0 + n, who("/usr/bin/curl", 1000))).collect());
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let full = lab.database().metadata().unwrap().len().max(200_000);
    setrlimit(Resource::RLIMIT_FSIZE, full, hard).unwrap();
    for n in 0..100 {
        lab.write(
            (0..100).map(|k| row(DAY0 + 100 + n * 100 + k, who(&format!("/opt/{n}/{k}"), 1000))).collect(),
        );
        if lab.recorder.counters().rows_waiting > 0 {
            break;
        }
    }
    assert!(matches!(lab.trouble(), Trouble::Writing(_)));
    let waiting = lab.recorder.counters().rows_waiting;
    assert!(waiting > 0);
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    assert_eq!(lab.trouble(), Trouble::Recovered);
    let counters = lab.recorder.counters();
    assert_eq!((counters.rows_waiting, counters.rows_lost), (0, 0));
    assert_eq!(rows(&lab), counters.rows_written);
    println!("\nall is well");
}

#[test]
fn s02_a_full_disk_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "record::tests::faults::s02_child", "--nocapture", "--test-threads=1"])
        .env("PICOSNITCH_TEST_FULL_DIR", dir.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("all is well"), "{text}");
}

#[test]
fn s03_a_damaged_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("state/picosnitch.db"), vec![b'x'; 10_000]).unwrap();
    let lab = Lab::with(dir, settings());
    assert!(matches!(lab.trouble(), Trouble::SetAside { .. }));
    let aside = lab.dir.path().join("state/picosnitch.db.bad");
    assert_eq!(std::fs::read(&aside).unwrap(), vec![b'x'; 10_000]);
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    assert_eq!(count(&lab), 1);
}

#[test]
fn s03_damage_found_while_running_is_set_aside_too() {
    let sending = || Settings { outbox: 1 << 24, ..settings() };
    let lab = Lab::with(tempfile::tempdir().unwrap(), sending());
    lab.write((0..2000).map(|n| row(DAY0 + n, who(&format!("/usr/bin/{n}"), 1000))).collect());
    lab.recorder.clone().stop().unwrap();
    let Lab { dir, .. } = lab;
    let lab = Lab::with(dir, sending());
    let mut waited = lab.recorder.counters().outbox_rows;
    assert_eq!(waited, 2000);
    // Everything behind the schema and the first pages of it.
    let file = std::fs::OpenOptions::new().write(true).open(lab.database()).unwrap();
    let length = file.metadata().unwrap().len();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; (length - 8192 * 20) as usize], 8192 * 20)
        .unwrap();
    let reader = lab.recorder.reader();
    let mut set_aside = false;
    for n in 0..20 {
        lab.write(
            (0..200)
                .map(|k| row(DAY0 + n * 200 + k, who(&format!("/usr/bin/{}", n * 200 + k), 1000)))
                .collect(),
        );
        if let Ok(trouble) = lab.troubles.try_recv() {
            let Trouble::SetAside { unsent, .. } = trouble else { panic!("{trouble}") };
            assert_eq!(unsent, waited);
            assert!(
                trouble.to_string().contains(&format!("{waited} rows in it will not reach")),
                "{trouble}"
            );
            assert_eq!(lab.recorder.counters().outbox_lost, waited);
            assert_eq!(lab.recorder.generation(), 1);
            set_aside = true;
            break;
        }
        waited = lab.recorder.counters().outbox_rows;
    }
    assert!(set_aside);
    lab.recorder.flush();
    assert!(lab.dir.path().join("state/picosnitch.db.bad").exists());
    let page = reader.connections(&Query::default(), &Viewer::everything()).unwrap();
    assert!(!page.rows.is_empty(), "what was to be written is in the fresh one, and readers see it");
}

/// Packed data that ends in the middle: what is there more than once is whole again, and the rest goes on.
#[test]
fn s03_what_cannot_be_read_is_made_anew() {
    use crate::record::chunk::{self, Kind};
    use crate::record::{mend, place, retain::Retention, writer::now};
    const DAY: i64 = 86_400 * SECOND;
    let short = Settings { detail_days: 7, ..settings() };
    let lab = Lab::new();
    let (today, path) = (now() / DAY, |n: i64| if n % 2 == 0 { "/usr/bin/curl" } else { "/usr/bin/ssh" });
    lab.write((0..400).map(|n| row(now() - n / 2 * DAY, who(path(n), 1000))).collect());
    let dir = lab.dir;
    lab.recorder.stop().unwrap();
    let mut db = Database::open(dir.path().join("state/picosnitch.db")).unwrap();
    let mut retention = Retention::default();
    retention.obey();
    retention.step(&mut db, &short, now()).unwrap();
    while retention.busy() {
        retention.step(&mut db, &short, now()).unwrap();
    }
    // The lists of the hour that runs, an hour and a day that are there in full, and days of which nothing else is.
    let hour = now() / (3600 * SECOND);
    for table in ["recent", "place"] {
        let sql = format!("UPDATE {table} SET data = substr(data, 1, length(data) - 1) WHERE id >> 20 = ?1");
        assert_eq!(db.execute(&sql, [hour]).unwrap(), 1);
    }
    let cut = |kind, level, bucket| {
        let (from, to) = (chunk::id(kind, level, bucket, 0), chunk::id(kind, level, bucket + 1, 0));
        let sql = "UPDATE chunk SET data = substr(data, 1, length(data) - 1) WHERE id >= ?1 AND id < ?2";
        assert_eq!(db.execute(sql, [from, to]).unwrap(), 1, "{kind:?} {level} {bucket}");
    };
    cut(Kind::Pair, 0, hour);
    cut(Kind::Pair, 1, today - 20);
    cut(Kind::Who, 1, today - 180);
    cut(Kind::Use, 3, (today - 100) / 64);
    // In the other order of the same.
    cut(Kind::Pair, 1, today - 185);
    cut(Kind::Service, 1, today - 185);
    cut(Kind::Turned, 1, today - 187);
    // In no other.
    cut(Kind::Pair, 1, today - 190);
    cut(Kind::Turned, 1, today - 190);
    let lab = Lab::with(dir, short);
    let reader = lab.recorder.reader();
    let since = |day: i64| Query {
        since: Some((today - day) * DAY),
        until: Some((today - day + 1) * DAY),
        ..Query::default()
    };
    let asked = reader.summary(Dimension::Name, &since(180), &Viewer::everything());
    assert!(matches!(asked, Err(picosnitch_api::Error::Unavailable(_))), "{asked:?}");
    assert_eq!(lab.trouble(), Trouble::Mended { mended: 8, lost: 1 });
    let number = |by: Dimension, q: &Query| -> u64 {
        reader.summary(by, q, &Viewer::everything()).unwrap().0.iter().map(|total| total.connections).sum()
    };
    for (by, word) in Dimension::ALL {
        assert_eq!(number(by, &Query::default()), 400, "{word}");
        for day in [0, 20, 100, 180, 185, 187] {
            assert_eq!(number(by, &since(day)), 2, "{word} {day}");
        }
    }
    let by_pair = |kind, day| {
        let (mut connections, day) = (0, today - day);
        chunk::read(&db, kind, (1, day, day + 1), |_, _, _, sums| connections += sums.connections).unwrap();
        connections
    };
    assert_eq!(Kind::ALL.map(|kind| (by_pair(kind, 185), by_pair(kind, 187))), [(2, 2); 7]);
    assert_eq!(number(Dimension::Domain, &since(190)), 2, "what could be read of it is there");
    assert_eq!(place::read(&db, hour, |_| {}).unwrap(), 2);
    // What was lost then is not lost once more with what can be read, and is not said to be there.
    cut(Kind::Service, 1, today - 190);
    assert_eq!(mend::mend(&mut db).unwrap(), mend::Found::Mended(0, 1));
    assert_eq!(number(Dimension::Domain, &since(190)), 2);
    assert_eq!(number(Dimension::Path, &since(190)), 2);
    // What is written and what is forgotten go on.
    lab.write(vec![row(now(), who("/usr/bin/curl", 1000))]);
    assert_eq!(number(Dimension::Path, &Query::default()), 401);
    retention.step(&mut db, &settings(), now()).unwrap();
    while retention.busy() {
        retention.step(&mut db, &settings(), now()).unwrap();
    }
    assert!(!lab.dir.path().join("state/picosnitch.db.bad").exists());
}

#[test]
fn s03_an_unreadable_or_newer_database_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (state, log) = (dir.path().join("state"), dir.path().join("log"));
    std::fs::create_dir_all(state.join("picosnitch.db")).unwrap();
    assert!(Recorder::open(&state, &log, settings(), |_| {}).is_err());
    std::fs::remove_dir(state.join("picosnitch.db")).unwrap();
    Database::open(state.join("picosnitch.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (a); PRAGMA user_version = 99")
        .unwrap();
    let error = Recorder::open(&state, &log, settings(), |_| {}).err().unwrap();
    assert!(error.to_string().contains("newer version"), "{error}");
    assert!(!state.join("picosnitch.db.bad").exists());
}

#[test]
fn two_daemons_do_not_share_a_record() {
    let lab = Lab::new();
    let error =
        Recorder::open(&lab.dir.path().join("state"), &lab.dir.path().join("log"), settings(), |_| {})
            .err()
            .unwrap();
    assert!(error.to_string().contains("another picosnitchd"), "{error}");
}

#[test]
fn s06_clock_steps_lose_nothing() {
    let lab = Lab::new();
    let times =
        [DAY0, DAY0 - 400 * 86_400 * SECOND, DAY0 + 400 * 86_400 * SECOND, DAY0 + 1, 0, -5, i64::MAX, DAY0];
    for time in times {
        lab.write(vec![row(time, who("/usr/bin/curl", 1000))]);
        lab.recorder.seen(&who("/usr/bin/seen", 1000), time);
    }
    assert_eq!((count(&lab), rows(&lab)), (8, 8));
    let reader = lab.recorder.reader();
    let page = reader.connections(&Query::default(), &Viewer::everything()).unwrap();
    assert!(page.rows.is_sorted_by(|a, b| a.time >= b.time));
    let q = Query { since: Some(DAY0), until: Some(DAY0 + 1), ..Query::default() };
    assert_eq!(reader.connections(&q, &Viewer::everything()).unwrap().rows.len(), 2);
    assert!(reader.series(Dimension::Path, &Query::default(), &Viewer::everything()).is_ok());
}

#[test]
fn files_are_for_root_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let lab = Lab::new();
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    for (name, mode) in [("state", 0o700), ("state/picosnitch.db", 0o600), ("state/picosnitch.db-wal", 0o600)]
    {
        assert_eq!(lab.dir.path().join(name).metadata().unwrap().mode() & 0o777, mode, "{name}");
    }
}

/// What was open comes back with the rows that count it, and not where these could not be written.
#[test]
fn open_flows_are_those_of_the_rows() {
    let lab = Lab::new();
    lab.recorder.submit_through(vec![row(DAY0, who("/usr/bin/curl", 1000))], DAY0, Some(vec![3, u64::MAX]));
    lab.recorder.flush();
    let lab = lab.reopen();
    assert_eq!(lab.known.open_flows, [3, u64::MAX]);
    let other = Database::open(lab.database()).unwrap();
    other
        .execute_batch("CREATE TRIGGER no BEFORE INSERT ON volume BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    lab.recorder.submit_through(vec![row(DAY0, who("/usr/bin/curl", 1000))], DAY0, Some(vec![4]));
    lab.recorder.flush();
    other.execute_batch("DROP TRIGGER no").unwrap();
    let rows = count(&lab);
    lab.recorder.submit(vec![row(DAY0 + 1, who("/usr/bin/curl", 1000))]);
    for _ in 0..100 {
        lab.recorder.flush();
        if count(&lab) > rows {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(count(&lab), rows + 1);
    let flows: Vec<u8> = other.query_row("SELECT flows FROM open_flows", (), |row| row.get(0)).unwrap();
    assert_eq!(flows, [[3, 0, 0, 0, 0, 0, 0, 0], [0xff; 8]].concat());
}

#[test]
fn that_somebody_watches_is_written_where_there_is_nothing_else() {
    let lab = Lab::new();
    let through = |lab: &Lab| -> Option<i64> {
        let db = Database::open(lab.database()).unwrap();
        db.query_row("SELECT max(value) FROM meta WHERE key = 'through'", (), |row| row.get(0)).unwrap()
    };
    let last = |through, end| Some(Last { through, same_boot: Some(true), end });
    lab.recorder.flush();
    assert_eq!((through(&lab), lab.known.last), (None, None));
    lab.recorder.commit();
    lab.recorder.flush();
    let first = through(&lab).unwrap();
    // But not with every interval.
    lab.recorder.commit();
    lab.recorder.flush();
    assert_eq!(through(&lab), Some(first));
    // One that opens the record and cannot start says nothing of the kind.
    let lab = lab.reopen();
    assert_eq!(lab.known.last, last(first, None));
    lab.recorder.ends(End::Alone);
    let lab = lab.reopen();
    let end = lab.known.last.unwrap().through;
    assert!(end > first);
    assert_eq!(lab.known.last, last(end, Some(End::Alone)));
    let lab = lab.reopen();
    assert_eq!(lab.known.last, last(end, Some(End::Alone)));
}
