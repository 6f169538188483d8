// SPDX-License-Identifier: GPL-3.0-or-later
//! What is deleted is what the same query shows, and what is told afterwards is what is left.

use picosnitch_api::{Dimension, Query};

use super::*;
use crate::model::Viewer;
use crate::record::writer::now;

fn all() -> Viewer {
    Viewer::everything()
}

/// Rows out, in, and of programs that were only started, with ports on either side, on two days.
fn varied() -> Lab {
    let lab = Lab::new();
    let start = now() - 30 * 3_600 * SECOND;
    let mut rows = Vec::new();
    for n in 0..60_i64 {
        let uid = if n % 7 == 0 { 1001 } else { 1000 };
        let path = ["/usr/bin/curl", "/opt/Other/app", "/usr/bin/ssh"][n as usize % 3];
        let mut row = row(start + n * 1_800 * SECOND, who(path, uid));
        (row.sent, row.received) = (1 << (n % 40), 3);
        match n % 4 {
            0 => (row.local_port, row.remote_port) = (Some(50_000), Some(443)),
            1 => {
                row.direction = Direction::In;
                // Somebody called from the port that others are called at.
                (row.local_port, row.remote_port) = (Some(443), Some([443, 22, 50_000][n as usize / 4 % 3]));
                row.domain = Some((bytes("in.example.net"), NameSource::DnsNetns));
                row.remote = Some("2001:db8::7".parse().unwrap());
            }
            2 => {
                (row.local_port, row.remote_port) = (Some([443, 53][n as usize / 4 % 2]), Some(53));
                row.protocol = Protocol::Ip(17);
                row.netns = 7;
                row.who.container = Some(bytes("box"));
            }
            _ => {
                (row.domain, row.local, row.remote) = (None, None, None);
                (row.local_port, row.remote_port, row.protocol) = (None, None, Protocol::Exec);
                row.who.parent = Some(program("/usr/bin/cron", "cron -f"));
                row.who.grandparent = Some(program("/sbin/init", "init"));
                row.who.unit = Some(bytes("cron.service"));
            }
        }
        rows.push(row);
    }
    lab.write(rows);
    lab
}

/// One query for each key.
fn queries() -> Vec<Query> {
    let text = |text: &str| Some(text.to_owned());
    let none = Query::default;
    vec![
        Query { executable: Some(1), ..none() },
        Query { path: text("/opt/Other/app"), ..none() },
        Query { name: text("ssh"), ..none() },
        Query { sha256: text(&"0d".repeat(32)), ..none() },
        Query { cmdline: text("ssh --of 1001"), ..none() },
        Query { parent: text("/usr/bin/cron"), ..none() },
        Query { grandparent: text("/sbin/init"), ..none() },
        Query { uid: Some(1001), ..none() },
        Query { domain: text("example.net"), ..none() },
        Query { address: Some("2001:db8::/32".parse().unwrap()), ..none() },
        Query { remote_port: Some(443), ..none() },
        Query { remote_port: Some(22), ..none() },
        Query { local_port: Some(443), ..none() },
        Query { local_port: Some(50_000), remote_port: Some(443), ..none() },
        Query { remote_port: Some(443), direction: text("in"), ..none() },
        Query { remote_port: Some(9), ..none() },
        Query { protocol: text("udp"), ..none() },
        Query { protocol: text("exec"), ..none() },
        Query { direction: text("in"), ..none() },
        Query { netns: Some(7), ..none() },
        Query { unit: text("cron.service"), ..none() },
        Query { container: text("box"), ..none() },
        Query { search: text("net"), ..none() },
        Query { search: text("443"), ..none() },
        Query { since: Some(now() - 20 * 3_600 * SECOND), until: Some(now() - 4_000 * SECOND), ..none() },
    ]
}

/// Of each row what makes it that one.
fn list(lab: &Lab, q: &Query) -> Vec<(i64, u64)> {
    let q = Query { limit: Some(1000), ..q.clone() };
    let page = lab.recorder.reader().connections(&q, &all()).unwrap();
    assert_eq!(page.cursor, "");
    page.rows.iter().map(|row| (row.time.unwrap(), row.sent.unwrap())).collect()
}

#[test]
fn what_a_filter_deletes_is_what_it_shows() {
    for q in queries() {
        let lab = varied();
        let before = list(&lab, &Query::default());
        assert_eq!(before.len(), 60);
        let shown = list(&lab, &q);
        assert_eq!(shown.is_empty(), q.remote_port == Some(9) || q.search.as_deref() == Some("443"), "{q:?}");
        let deleted = lab.recorder.reader().delete_history(&q, &all()).unwrap();
        assert_eq!(deleted, shown.len() as u64, "{q:?}");
        let left: Vec<_> = before.into_iter().filter(|row| !shown.contains(row)).collect();
        assert_eq!(list(&lab, &Query::default()), left, "{q:?}");
        let bytes: u64 = left.iter().map(|(_, sent)| sent).sum();
        for (by, word) in Dimension::ALL {
            let most = Query { limit: Some(1000), ..Query::default() };
            let (totals, _) = lab.recorder.reader().summary(by, &most, &all()).unwrap();
            assert_eq!(totals.iter().map(|total| total.sent).sum::<u64>(), bytes, "{q:?} by {word}");
            let connections = totals.iter().map(|total| total.connections).sum::<u64>();
            assert_eq!(connections, left.len() as u64, "{q:?} by {word}");
        }
        let db = rusqlite::Connection::open(lab.database()).unwrap();
        assert_eq!(connections_by_kind(&db), [left.len() as u64; 7], "{q:?}");
    }
}

#[test]
fn what_is_said_of_other_programs_stays() {
    let lab = Lab::new();
    let day = 86_400 * SECOND;
    let start = now() - 20 * day;
    let mut rows = Vec::new();
    for n in 0..10 {
        for path in ["/usr/bin/curl", "/usr/bin/ssh"] {
            let mut row = row(start + n * day, who(path, 1000));
            row.domain = Some((bytes(&format!("day{n}.example")), NameSource::Dns));
            rows.push(row);
        }
    }
    lab.write(rows);
    // It also ran without a connection, with another command line, and had more before what is kept.
    let mut ran = who("/usr/bin/ssh", 1000);
    ran.program = program("/usr/bin/ssh", "ssh -V");
    lab.recorder.seen(&ran, start);
    lab.recorder.flush();
    let db = rusqlite::Connection::open(lab.database()).unwrap();
    db.execute_batch("UPDATE sighting SET sent = sent + 5000").unwrap();
    let reader = lab.recorder.reader();
    let of = |path: &str| {
        let q = Query { path: Some(path.to_owned()), ..Query::default() };
        reader.executable(reader.executables(&q, &all()).unwrap().rows[0].id.unwrap(), &all()).unwrap()
    };
    let ssh = of("/usr/bin/ssh");
    assert_eq!(
        (ssh.sent, ssh.days_seen, ssh.cmdlines.as_ref().map(Vec::len)),
        (Some(6000), Some(10), Some(2))
    );
    let delete = |since: i64, until: i64| {
        let (since, until) = (Some(start + since * day - 1), Some(start + until * day - 1));
        let q = Query { path: Some("/usr/bin/curl".to_owned()), since, until, ..Query::default() };
        reader.delete_history(&q, &all()).unwrap()
    };
    // The last four days, the first one, and two in the middle.
    assert_eq!((delete(6, 10), delete(0, 1), delete(3, 5)), (4, 1, 2));
    let curl = of("/usr/bin/curl");
    assert_eq!((curl.sent, curl.connections, curl.days_seen), (Some(5300), Some(3), Some(3)));
    let days = |time: Option<i64>| time.unwrap() / day - start / day;
    assert_eq!((days(curl.first_seen), days(curl.last_seen)), (1, 5));
    let last = curl.hashes_last_seen.unwrap()[0];
    assert_eq!(days(Some(last)), 5);
    assert_eq!(curl.domains.unwrap(), ["day5.example", "day2.example", "day1.example"]);
    assert_eq!(of("/usr/bin/ssh"), ssh);
    // Nothing at all is left of it, and it stays known.
    assert_eq!(delete(0, 10), 3);
    let curl = of("/usr/bin/curl");
    assert_eq!((curl.sent, curl.connections, curl.days_seen), (Some(5000), Some(0), Some(0)));
    assert_eq!(curl.first_seen, curl.last_seen);
    assert_eq!((curl.domains.unwrap().len(), curl.hashes.unwrap().len()), (0, 1));
    assert_eq!(of("/usr/bin/ssh"), ssh);
}

/// Days, ports, domains and command lines of curl: what is said of it, and what its rows have.
fn said_and_there(db: &rusqlite::Connection) -> [Vec<(i64, i64)>; 2] {
    let rows = "SELECT (c.id >> 10) / 86400000000 AS day, p.port, p.domain, g.pattern, c.connections, e.id
         FROM connection c JOIN who w ON w.id = c.who JOIN program g ON g.id = w.program JOIN peer p ON p.id = c.peer
         JOIN executable e ON e.id = g.executable WHERE e.path = CAST('/usr/bin/curl' AS BLOB)";
    let said = "WITH x AS (SELECT id FROM executable WHERE path = CAST('/usr/bin/curl' AS BLOB))
         SELECT kind, value FROM fact WHERE kind IN (3, 4, 5) AND executable IN x
         UNION ALL SELECT 6, day FROM sighting_day WHERE executable IN x
         UNION ALL SELECT 7, connections FROM sighting WHERE executable IN x
         UNION ALL SELECT 8, days FROM sighting WHERE executable IN x
         UNION ALL SELECT 9, days FROM executable WHERE id IN x
         UNION ALL SELECT 10, last_seen / 86400000000 FROM sighting WHERE days > 0 AND executable IN x
         UNION ALL SELECT 11, first_seen / 86400000000 FROM sighting WHERE days > 0 AND executable IN x ORDER BY 1, 2";
    let there = format!(
        "WITH r AS ({rows}) SELECT DISTINCT 3, port FROM r UNION ALL SELECT DISTINCT 4, domain FROM r
         UNION ALL SELECT DISTINCT 5, pattern FROM r UNION ALL SELECT DISTINCT 6, day FROM r
         UNION ALL SELECT 7, coalesce(sum(connections), 0) FROM r UNION ALL SELECT 8, count(DISTINCT day) FROM r
         UNION ALL SELECT 9, count(DISTINCT day) FROM r
         UNION ALL SELECT 10, max(day) FROM r HAVING count(*) > 0
         UNION ALL SELECT 11, min(day) FROM r HAVING count(*) > 0 ORDER BY 1, 2"
    );
    [said, &there].map(|sql| {
        let mut select = db.prepare(sql).unwrap();
        let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    })
}

/// The service dies after any step of a deletion: of a program no more is said than its rows have.
#[test]
fn s01_nothing_is_said_of_what_a_broken_off_deletion_took_away() {
    let colours = ["red", "green", "blue", "white", "black", "grey"];
    let day = 86_400 * SECOND;
    let start = now() - 7 * day;
    let q = Query {
        path: Some("/usr/bin/curl".to_owned()),
        since: Some(start + day / 2),
        until: Some(start + 9 * day / 2),
        ..Query::default()
    };
    let mut whole = Vec::new();
    for steps in (1_i32..).map(|n| n * n) {
        let lab = Lab::new();
        let rows = |path: &str| {
            colours
                .iter()
                .zip(0..)
                .map(move |(colour, n)| {
                    let mut row = row(start + n * day, who(path, 1000));
                    row.who.program = program(path, &format!("prog {colour}"));
                    row.domain = Some((bytes(&format!("{colour}.example")), NameSource::Dns));
                    row.remote_port = Some([443, 80, 22][n as usize % 3]);
                    row
                })
                .collect::<Vec<_>>()
        };
        lab.write(rows("/usr/bin/ssh"));
        lab.write(rows("/usr/bin/curl"));
        let mut db = rusqlite::Connection::open(lab.database()).unwrap();
        if whole.is_empty() {
            whole = said_and_there(&db)[0].clone();
            assert_eq!(whole.len(), 3 + 6 + 6 + 6 + 5);
        }
        let dir = lab.dir;
        lab.recorder.stop().unwrap();
        let (answer, _wait) = std::sync::mpsc::sync_channel(1);
        let mut deletion = crate::record::delete::Deletion::new(&db, &q, &all(), answer).unwrap();
        let ended = (0..steps).any(|_| deletion.step(&mut db, &all()).unwrap());
        let lab = Lab::with(dir, settings());
        let until = std::time::Instant::now() + Duration::from_secs(20);
        let waits =
            "SELECT (SELECT count(*) FROM deleting) + (SELECT count(*) FROM meta WHERE key LIKE 'deleting%')";
        while db.query_row(waits, (), |row| row.get::<_, i64>(0)).unwrap() > 0 {
            assert!(std::time::Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
        let [said, there] = said_and_there(&db);
        assert_eq!(said, there, "after {steps} steps");
        assert_eq!(said == whole, deletion.deleted() == 0, "after {steps} steps");
        drop(lab);
        if ended {
            assert_eq!(deletion.deleted(), 4);
            return;
        }
    }
}

/// A deletion that was broken off and could not be cleared up before its day went: nothing of it stays.
#[test]
fn what_a_broken_off_deletion_took_of_a_day_that_is_gone_is_cleared_up() {
    let lab = Lab::new();
    lab.write(vec![row(now(), who("/usr/bin/curl", 1000))]);
    let db = rusqlite::Connection::open(lab.database()).unwrap();
    db.execute_batch(
        "INSERT INTO meta (key, value) VALUES ('deleting-from', 1), ('deleting-to', 1);
         INSERT INTO deleting (day, executable, uid) SELECT 1, executable, uid FROM sighting;
         INSERT INTO domain (id, value) VALUES (900, CAST('gone.example' AS BLOB));
         INSERT INTO fact SELECT executable, 4, 900, uid, first_seen, last_seen FROM sighting;",
    )
    .unwrap();
    let lab = lab.reopen();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let waits = "SELECT count(*) FROM meta WHERE key LIKE 'deleting%'";
    while db.query_row(waits, (), |row| row.get::<_, i64>(0)).unwrap() > 0 {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    let left = "SELECT (SELECT count(*) FROM deleting) + (SELECT count(*) FROM fact WHERE value = 900)";
    assert_eq!(db.query_row(left, (), |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(lab);
}
