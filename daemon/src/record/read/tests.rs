// SPDX-License-Identifier: GPL-3.0-or-later
//! How much work a page is, counted in steps of the database's machine, so that it is the same on every machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::model::{Connection, NameSource};
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
    let maps = maps::current(&maps::Shared::default(), &db, (0, 0)).unwrap();
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
        let maps = maps::current(&maps::Shared::default(), &db, (0, 0)).unwrap();
        let before = steps.load(Ordering::Relaxed);
        let (totals, _) = totals::summary(&db, &maps, Dimension::Path, &q, &everybody).unwrap();
        assert!(!totals.is_empty());
        let steps = steps.load(Ordering::Relaxed) - before;
        assert!(steps < most, "{q:?}: {steps} steps for an hour of {ROWS} rows");
    }
}

/// Most of a busy hour is that hour without the rest: exact for whoever asks whatever, and the rows are not read.
#[test]
fn s10_most_of_a_busy_hour_is_not_read_row_by_row() {
    const ROWS: i64 = 12_000;
    let lab = Lab::new();
    let mut whos = [who("/usr/bin/curl", 1000), who("/usr/bin/ssh", 1001), who("/usr/bin/curl", 1001)];
    // Folded to the same.
    Arc::make_mut(&mut whos[2].program).cmdline = Some(bytes("curl --of 7777"));
    let mut other = whos[2].clone();
    Arc::make_mut(&mut other.program).cmdline = Some(bytes("curl --of 8888"));
    let whos = [&whos[..], &[other]].concat();
    let rows: Vec<_> = (0..2 * ROWS)
        .map(|n| {
            let mut row = row(DAY0 + n * (HOUR / ROWS), whos[n as usize % 4].clone());
            row.domain = Some((bytes(&format!("h{}.example.org", n % 50)), NameSource::Dns));
            (row.flow, row.sent, row.received) = (n.cast_unsigned(), n.cast_unsigned(), 1);
            row
        })
        .collect();
    lab.write(rows.clone());
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    let (db, steps) = counting(&lab);
    let maps = maps::current(&maps::Shared::default(), &db, (0, 0)).unwrap();
    let minute = 60 * SECOND;
    let ranges = [(2, 60), (0, 57), (2, 57), (30, 60), (4, 116), (58, 63), (1, 1_000)];
    for (from, to) in ranges.map(|(from, to)| (DAY0 + from * minute, DAY0 + to * minute)) {
        for v in [&Viewer::everything(), &bob] {
            for (path, cmdline) in [(None, None), (Some("/usr/bin/curl"), None), (None, Some("--of 7777"))] {
                // Of whole hours the folded command line counts.
                if cmdline.is_some() && to - from > 2 * HOUR {
                    continue;
                }
                let q = Query {
                    since: Some(from),
                    until: Some(to),
                    path: path.map(str::to_owned),
                    cmdline: cmdline.map(str::to_owned),
                    ..Query::default()
                };
                let counts = |row: &&Connection| {
                    let program = &row.who.program;
                    (from..to).contains(&row.time)
                        && v.sees(row.who.uid)
                        && (path.is_none() || &*program.name == b"curl")
                        && (cmdline.is_none() || program.cmdline.as_deref() == Some(&b"curl --of 7777"[..]))
                };
                let expected = rows.iter().filter(counts).fold((0, 0), |(sent, connections), row| {
                    (sent + row.sent, connections + u64::from(row.connections))
                });
                let before = steps.load(Ordering::Relaxed);
                for by in [Dimension::Uid, Dimension::Domain, Dimension::Path] {
                    let (totals, _) = totals::summary(&db, &maps, by, &q, v).unwrap();
                    let got = totals.iter().fold((0, 0), |(sent, connections), total| {
                        (sent + total.sent, connections + total.connections)
                    });
                    assert_eq!(got, expected, "{by:?}: {q:?}");
                }
                let steps = steps.load(Ordering::Relaxed) - before;
                let most = to - from > HOUR / 2 && cmdline.is_none();
                assert!(!most || steps < 9 * ROWS as usize, "{q:?}: {steps} steps");
            }
        }
    }
}
