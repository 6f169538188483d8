// SPDX-License-Identifier: GPL-3.0-or-later
//! S10: what a page costs does not grow with the rows there are. The database's own steps are counted, so neither
//! the machine nor its load has a part in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use picosnitch_api::{Dimension, Query};
use rusqlite::Connection as Database;

use super::*;
use crate::model::{NameSource, Viewer};
use crate::record::build;
use crate::record::tests::{DAY0, Lab, SECOND, bytes, row, who};

const HOUR: i64 = 3600 * SECOND;
const DAYS: i64 = 10;
/// Rows of each hour in the smaller database.
const ROWS: u64 = 40;
/// How many times as many rows the larger one has, of the same programs and peers in the same hours.
const TIMES: u64 = 12;
/// Steps that a page may take more than in the smaller one: it looks at 20 000 rows before it reads lists.
const WALK: u64 = 20_000 * 10;
/// The counter counts in hundreds.
const STEP: u64 = 100;

fn history(rows_an_hour: u64) -> Lab {
    let lab = Lab::new();
    for day in 0..DAYS {
        let mut rows = Vec::new();
        for hour in 0..24 {
            for n in 0..rows_an_hour {
                let pick = n % ROWS;
                let time = DAY0 - (DAYS - day) * 24 * HOUR + hour * HOUR + n.cast_signed() * 1_000_000;
                let path = format!("/usr/bin/program-{}", pick % 7);
                let mut row = row(time, who(&path, 1000 + (pick % 3) as u32));
                row.flow = n;
                row.domain = Some((bytes(&format!("h{}.example.org", pick % 20)), NameSource::Dns));
                row.remote = Some([203, 0, 113, (pick % 20) as u8].into());
                row.remote_port = Some([443, 80][(pick % 2) as usize]);
                rows.push(row);
            }
        }
        lab.write(rows);
    }
    let mut db = Database::open(lab.database()).unwrap();
    let transaction = db.transaction().unwrap();
    while build::step(&transaction, DAY0).unwrap() {}
    transaction.commit().unwrap();
    lab
}

/// Steps of each page, with its name.
fn steps(reader: &Reader) -> Vec<(String, u64)> {
    let counter = Arc::new(AtomicU64::new(0));
    // One connection waits in the pool; it is the one that all these queries take.
    let counted = counter.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    let mut lease = reader.lease().unwrap();
    let mut db = lease.database.take().unwrap();
    db.progress_handler(STEP as i32, Some(count)).unwrap();
    lease.give_back(db);
    let mut all = Vec::new();
    let mut count = |name: String, ask: &dyn Fn()| {
        let before = counter.load(Ordering::Relaxed);
        ask();
        all.push((name, (counter.load(Ordering::Relaxed) - before) * STEP));
    };
    let text = |text: &str| Some(text.to_owned());
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    let filters = [
        ("all", Query::default()),
        ("a program", Query { path: text("/usr/bin/program-3"), ..Query::default() }),
        ("a domain", Query { domain: text("h7.example.org"), ..Query::default() }),
        ("a network", Query { address: "203.0.113.0/28".parse().ok(), ..Query::default() }),
        ("a port", Query { remote_port: Some(80), ..Query::default() }),
        ("a user", Query { uid: Some(1001), ..Query::default() }),
        ("a text", Query { search: text("h7."), ..Query::default() }),
        ("a text that is nowhere", Query { search: text("nowhere"), ..Query::default() }),
    ];
    for (filter, q) in &filters {
        for (viewer, v) in [("everybody", Viewer::everything()), ("bob", bob.clone())] {
            // Whole hours: what is left at the ends of a range is read row by row.
            for (range, since) in [("all", None), ("7 days", Some(DAY0 - 7 * 24 * HOUR))] {
                let name = |page: &str| format!("{page}, {filter}, {viewer}, {range}");
                let q = Query { since, until: Some(DAY0), limit: Some(100), ..q.clone() };
                count(name("connections"), &|| drop(reader.connections(&q, &v).unwrap()));
                count(name("programs"), &|| drop(reader.executables(&q, &v).unwrap()));
                for (by, word) in Dimension::ALL {
                    count(name(&format!("ranking by {word}")), &|| drop(reader.summary(by, &q, &v).unwrap()));
                    let q = Query { limit: Some(12), ..q.clone() };
                    count(name(&format!("chart by {word}")), &|| drop(reader.series(by, &q, &v).unwrap()));
                }
            }
        }
    }
    all
}

#[test]
fn s10_no_page_takes_longer_with_more_rows() {
    let (small, large) = (history(ROWS), history(ROWS * TIMES));
    let (few, many) = (steps(&small.recorder.reader()), steps(&large.recorder.reader()));
    assert!(few.len() > 1000 && few.iter().map(|(_, steps)| steps).sum::<u64>() > 0, "something was counted");
    // That it counts: a query that looks at every row.
    let rows = DAYS.unsigned_abs() * 24 * ROWS * TIMES;
    assert!(rows * 5 > 2 * WALK, "{rows} rows");
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        let walk = if name.starts_with("connections") { WALK } else { 2_000 };
        assert!(*many <= few * 3 / 2 + walk, "{name}: {few} steps, with {TIMES} times the rows {many}");
    }
}
