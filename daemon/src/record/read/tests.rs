// SPDX-License-Identifier: GPL-3.0-or-later
//! How much work a page is, counted in steps of the database's machine, so that it is the same on every machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::model::NameSource;
use crate::record::rollup::HOUR;
use crate::record::tests::{DAY0, Lab, SECOND, bytes, row, who};

/// A connection like those of the pool, that counts its steps.
fn counting(lab: &Lab) -> (Database, Arc<AtomicUsize>) {
    let mut db = database::open_reader(&lab.database()).unwrap();
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = steps.clone();
    let count = move || {
        counted.fetch_add(100, Ordering::Relaxed);
        false
    };
    db.progress_handler(100, Some(count)).unwrap();
    (db, steps)
}

/// Steps and rows of one page of connections.
fn page(lab: &Lab, q: &Query, v: &Viewer) -> (usize, usize) {
    let (db, steps) = counting(lab);
    let maps = maps::current(&maps::Shared::default(), &db, 0).unwrap();
    let rows = connections::page(&db, &maps, q, v).unwrap().rows.len();
    (steps.load(Ordering::Relaxed), rows)
}

/// What is rare is found without a look at the rows between: the work for a page does not grow with the rows.
#[test]
fn s10_a_page_of_what_is_rare_does_not_look_at_every_row() {
    const HOURS: i64 = 30;
    const ROWS: usize = 3_000;
    let lab = Lab::new();
    let (curl, ssh) = (who("/usr/bin/curl", 1000), who("/usr/bin/ssh", 1001));
    for hour in 0..HOURS {
        let rows = (0..ROWS as i64).map(|n| {
            let mut row = row(DAY0 + hour * HOUR + n * SECOND, curl.clone());
            row.domain = Some((bytes(&format!("h{}.example.org", n % 50)), NameSource::Dns));
            if n == 7 && hour % 10 == 0 {
                row.who = ssh.clone();
                row.domain = Some((bytes("rare.example.net"), NameSource::Dns));
            }
            row
        });
        lab.write(rows.collect());
    }
    let text = |text: &str| Some(text.to_owned());
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    let everybody = Viewer::everything();
    // A page tries the newest rows first, whatever is asked for; that is a quarter of what there is here.
    let none = Query { uid: Some(1000), domain: text("rare.example.net"), ..Query::default() };
    let (tried, rows) = page(&lab, &none, &everybody);
    assert_eq!(rows, 0);
    // What is nowhere is not even tried.
    let nowhere = Query { search: text("nowhere"), ..Query::default() };
    assert!(page(&lab, &nowhere, &everybody).0 < tried / 10);
    let queries = [
        Query { domain: text("rare.example.net"), ..Query::default() },
        Query { path: text("/usr/bin/ssh"), ..Query::default() },
        Query { cmdline: text("ssh --of 1001"), ..Query::default() },
        Query { search: text("rare.exam"), ..Query::default() },
        Query { path: text("/usr/bin/ssh"), remote_port: Some(443), ..Query::default() },
        Query { uid: Some(1001), descending: Some(false), ..Query::default() },
    ];
    for q in &queries {
        for v in [&everybody, &bob] {
            let (steps, rows) = page(&lab, q, v);
            assert_eq!(rows, 3, "{q:?}");
            let more = steps.saturating_sub(tried);
            assert!(more < ROWS * HOURS as usize / 10, "{q:?}: {more} steps more than for nothing");
        }
    }
    // A chart or ranking of part of an hour reads the rows of that hour alone, those that count.
    let since = Some(DAY0 + 10 * HOUR + SECOND);
    let q = Query { since, until: since.map(|since| since + HOUR / 2), ..Query::default() };
    let rare = Query { domain: text("rare.example.net"), ..q.clone() };
    for (q, most) in [(q, ROWS * 15), (rare, ROWS)] {
        let (db, steps) = counting(&lab);
        let maps = maps::current(&maps::Shared::default(), &db, 0).unwrap();
        let before = steps.load(Ordering::Relaxed);
        let (totals, _) = totals::summary(&db, &maps, Dimension::Path, &q, &everybody).unwrap();
        assert!(!totals.is_empty());
        let steps = steps.load(Ordering::Relaxed) - before;
        assert!(steps < most, "{q:?}: {steps} steps for an hour of {ROWS} rows");
    }
}
