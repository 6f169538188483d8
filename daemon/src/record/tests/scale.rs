// SPDX-License-Identifier: GPL-3.0-or-later
//! Totals of every width, compared with the rows one by one.

use picosnitch_api::{Dimension, Query};
use rusqlite::Connection as Database;

use super::*;
use crate::model::Viewer;
use crate::record::{build, chunk, recent, writer};

const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// splitmix64: the same numbers every time.
fn random(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A row at some time in three years.
fn any_row(n: u64) -> Connection {
    let pick = |salt: u64, limit: u64| random(n * 16 + salt) % limit;
    let time = DAY0 - 3 * 365 * DAY + i64::try_from(pick(0, 3 * 365 * 24 * 60)).unwrap() * 60 * SECOND;
    let mut row = row(
        time,
        who(["/usr/bin/curl", "/usr/bin/ssh", "/bin/nc"][pick(1, 3) as usize], 1000 + pick(2, 4) as u32),
    );
    row.domain = (pick(3, 5) > 0).then(|| (bytes(&format!("h{}.example.org", pick(4, 40))), NameSource::Dns));
    row.remote = Some([203, 0, 113, pick(5, 200) as u8].into());
    row.remote_port = Some([443, 80, 53][pick(6, 3) as usize]);
    row.protocol = Protocol::Ip([6, 17][pick(7, 2) as usize]);
    row.sent = pick(8, 1 << 30);
    row.received = pick(9, 1 << 40);
    row.connections = pick(10, 3) as u32;
    row
}

fn sums<'a>(rows: impl Iterator<Item = &'a Connection>) -> (u64, u64, u64) {
    rows.fold((0, 0, 0), |sum, row| {
        (sum.0 + row.sent, sum.1 + row.received, sum.2 + u64::from(row.connections))
    })
}

#[test]
fn totals_of_every_width_equal_the_rows() {
    let lab = Lab::new();
    let mut rows: Vec<Connection> = (0..6_000).map(any_row).collect();
    lab.write(rows.clone());
    let mut db = Database::open(lab.database()).unwrap();
    let made = |db: &mut Database| {
        let transaction = db.transaction().unwrap();
        let mut steps = 0;
        while build::step(&transaction, DAY0).unwrap() {
            steps += 1;
        }
        transaction.commit().unwrap();
        steps
    };
    let steps = made(&mut db);
    assert!(steps > 1000, "{steps} buckets");
    assert!(chunk::next(&db, 4, 0, 1 << 20).unwrap().is_some(), "there is one of 512 days");
    compare(&lab, &rows);
    // Rows that come when everything is made already.
    let late: Vec<Connection> = (6_000..7_000).map(any_row).collect();
    lab.write(late.clone());
    rows.extend(late);
    compare(&lab, &rows);
    // The same in a database where nothing was made yet.
    let fresh = Lab::new();
    fresh.write(rows.clone());
    compare(&fresh, &rows);
}

/// Charts and rankings of the last hours, from the packed rows and from the table.
#[test]
fn s10_recent_rows_say_what_the_table_says() {
    const BACK: i64 = 7_000;
    let lab = Lab::new();
    let now = writer::now();
    let rows: Vec<Connection> = (0..5_000_u64)
        .map(|n| Connection { time: now - (n.cast_signed() * 7_919 % BACK) * SECOND, ..any_row(n) })
        .collect();
    // As they come: in several transactions.
    for rows in rows.chunks(700) {
        lab.write(rows.to_vec());
    }
    let db = Database::open(lab.database()).unwrap();
    assert!(recent::from(&db).unwrap() <= (now - BACK * SECOND) / HOUR);
    let reader = lab.recorder.reader();
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    let domain = Query { domain: Some("h7.example.org".to_owned()), ..Query::default() };
    let search = Query { search: Some("h1".to_owned()), ..Query::default() };
    let ask = || {
        let mut answers = Vec::new();
        for (from, to) in [(BACK, 0), (BACK, 1_000), (5_000, 4_000), (3_600, 60), (200, 0)] {
            for q in [&Query::default(), &domain, &search] {
                let (since, until) = (Some(now - from * SECOND), Some(now - to * SECOND + 1));
                let q = Query { since, until, limit: Some(50), ..q.clone() };
                for (v, (by, _)) in
                    [Viewer::everything(), bob.clone()].iter().zip(Dimension::ALL).cycle().take(16)
                {
                    let (totals, series) =
                        (reader.summary(by, &q, v).unwrap().0, reader.series(by, &q, v).unwrap().0);
                    answers.push(format!("{by:?} {q:?} {totals:?} {series:?}"));
                }
            }
        }
        answers
    };
    let sent = |q: &Query| -> u64 {
        let since = Some(now - (BACK + 1) * SECOND);
        let q = Query { since, until: Some(now + 1), limit: Some(50), ..q.clone() };
        let (series, _) = reader.series(Dimension::Protocol, &q, &Viewer::everything()).unwrap();
        series.iter().flat_map(|line| &line.points).map(|point| point.sent).sum()
    };
    let packed = ask();
    assert_eq!(sent(&Query::default()), sums(rows.iter()).0);
    // It was them that were read; the table says the same.
    let kept = "CREATE TABLE kept AS SELECT * FROM recent; DELETE FROM recent;";
    db.execute_batch(kept).unwrap();
    assert_eq!(sent(&Query::default()), 0);
    let from = recent::from(&db).unwrap();
    recent::leave(&db, now / HOUR + 2).unwrap();
    assert_eq!(ask(), packed);
    db.execute_batch("INSERT INTO recent SELECT * FROM kept; DROP TABLE kept;").unwrap();
    db.execute("UPDATE meta SET value = ?1 WHERE key = 'recent-from'", [from]).unwrap();
    // What somebody deletes is gone from the charts as well, and the next rows are in them.
    let deleted = sent(&domain);
    assert!(deleted > 0);
    reader.delete_history(&domain, &Viewer::everything()).unwrap();
    assert_eq!((sent(&domain), sent(&Query::default())), (0, sums(rows.iter()).0 - deleted));
    lab.write(vec![Connection { time: now, sent: 77, ..any_row(1) }]);
    assert_eq!(sent(&Query::default()), sums(rows.iter()).0 - deleted + 77);
}

fn compare(lab: &Lab, rows: &[Connection]) {
    let reader = lab.recorder.reader();
    let (all, bob) =
        (Viewer::everything(), Viewer { rows: vec![1001..=1001, 0..=999], cmdlines: vec![1001..=1001] });
    let text = |text: &str| Some(text.to_owned());
    for n in 0..6_u64 {
        let moment =
            |salt| DAY0 - i64::try_from(random(n * 4 + salt) % (3 * 365 * 24 * 3600)).unwrap() * SECOND;
        let (a, b) = (moment(0), moment(1));
        let (since, until) = (Some(a.min(b)), (n % 3 != 0).then(|| a.max(b)));
        let range = Query { since, until, limit: Some(1000), ..Query::default() };
        for v in [&all, &bob] {
            let within = |row: &&Connection| {
                v.sees(row.who.uid)
                    && since.is_none_or(|since| row.time >= since)
                    && until.is_none_or(|until| row.time < until)
            };
            type Takes = fn(&Connection) -> bool;
            let filters: [(Query, Takes); 9] = [
                (range.clone(), |_| true),
                (Query { path: text("/bin/nc"), ..range.clone() }, |row| &*row.who.program.name == b"nc"),
                (Query { domain: text("h7.example.org"), ..range.clone() }, |row| {
                    row.domain.as_ref().is_some_and(|(name, _)| &**name == b"h7.example.org")
                }),
                (Query { remote_port: Some(53), protocol: text("udp"), ..range.clone() }, |row| {
                    row.remote_port == Some(53) && row.protocol == Protocol::Ip(17)
                }),
                (Query { address: "203.0.113.64/26".parse().ok(), ..range.clone() }, |row| {
                    row.remote.is_some_and(
                        |remote| matches!(remote, std::net::IpAddr::V4(v4) if v4.octets()[3] & 0xc0 == 64),
                    )
                }),
                (Query { uid: Some(1001), ..range.clone() }, |row| row.who.uid == 1001),
                (Query { uid: Some(1001), remote_port: Some(80), ..range.clone() }, |row| {
                    row.who.uid == 1001 && row.remote_port == Some(80)
                }),
                (
                    Query { path: text("/usr/bin/ssh"), domain: text("h3.example.org"), ..range.clone() },
                    |row| {
                        &*row.who.program.name == b"ssh"
                            && row.domain.as_ref().is_some_and(|(name, _)| &**name == b"h3.example.org")
                    },
                ),
                (Query { search: text("h11.exam"), ..range.clone() }, |row| {
                    row.domain.as_ref().is_some_and(|(name, _)| &**name == b"h11.example.org")
                }),
            ];
            for (index, (q, takes)) in filters.iter().enumerate() {
                let expected = sums(rows.iter().filter(within).filter(|row| takes(row)));
                // A few of them each time, all of them in the end.
                for (by, word) in Dimension::ALL.into_iter().skip((index + n as usize) % 4).step_by(4) {
                    let (totals, _) = reader.summary(by, q, v).unwrap();
                    let got = totals.iter().fold((0, 0, 0), |sum, total| {
                        (sum.0 + total.sent, sum.1 + total.received, sum.2 + total.connections)
                    });
                    assert_eq!(got, expected, "by {word}: {q:?}");
                }
                let (series, _) = reader.series(Dimension::Protocol, q, v).unwrap();
                let points = series.iter().flat_map(|line| &line.points);
                let got = points.fold((0, 0), |sum, point| (sum.0 + point.sent, sum.1 + point.received));
                assert_eq!(got, (expected.0, expected.1), "series: {q:?}");
            }
        }
    }
}
