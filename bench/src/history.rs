// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon with a long history (`--database DIR`, a copy of it is used): what it takes, how long each page of
//! a client waits for its answers over the bus, and how long it takes to be back after kill -9.

use std::time::{Duration, Instant};

use picosnitch_api::{Client, Dimension, Error, Query};
use picosnitch_tests::lab::program::report;
use picosnitch_tests::lab::{Lab, Outcome, Stage};
use picosnitch_tests::traffic::sys::now_us;

use crate::Arguments;
use crate::cost::pss;
use crate::table::{Line, spread};

const HOUR: i64 = 3_600_000_000;
/// The ranges of the window, in hours; 0: everything.
const RANGES: [(&str, i64); 6] =
    [("an hour", 1), ("24 hours", 24), ("7 days", 168), ("30 days", 720), ("a year", 8760), ("all", 0)];
/// Times that each page is asked for.
const RUNS: usize = 20;
/// Times that the daemon is killed.
const KILLS: usize = 5;

fn stage(lab: &mut Lab, from: &std::path::Path) -> Outcome<Stage> {
    let config = "[database]\nwrite_interval_seconds = 1\nretention_days = 2190\n";
    let mut stage = lab.stage("bench-history", config)?;
    stage.daemon.stop()?;
    std::fs::copy(from.join("picosnitch.db"), stage.daemon.database())?;
    // Once for the schema of today.
    stage.daemon.launch_again()?;
    stage.daemon.restart()?;
    Ok(stage)
}

/// The questions of one page of the window, one after the other.
async fn page(client: Client, page: usize, q: Query) -> Result<(), Error> {
    let many = Query { limit: Some(1000), ..q.clone() };
    let few = Query { limit: Some(200), ..q.clone() };
    let top = Query { limit: Some(8), ..q.clone() };
    match page {
        0 => {
            client.summary(Dimension::Path, &many).await?;
            client.summary(Dimension::Protocol, &q).await?;
        }
        1 => {
            client.series(Dimension::Path, &top).await?;
        }
        2 => {
            client.executables(&Query { sort: Some("last-seen".to_owned()), ..many }).await?;
        }
        3 => {
            client.summary(Dimension::Domain, &many).await?;
        }
        4 => {
            client.events(&few).await?;
        }
        5 => {
            client.connections(&few).await?;
        }
        6 => {
            client.connections(&Query { domain: Some("place7.example".to_owned()), ..few }).await?;
        }
        7 => {
            client.connections(&Query { search: Some("place49".to_owned()), ..few }).await?;
        }
        _ => {
            let path = Some("/usr/bin/program-007".to_owned());
            client.series(Dimension::Domain, &Query { path, ..top }).await?;
        }
    }
    Ok(())
}

const PAGES: [&str; 9] = [
    "overview: ranking and sums",
    "overview: chart",
    "programs",
    "destinations",
    "timeline",
    "live",
    "live, of a domain",
    "live, search",
    "program page: chart",
];

/// See the module.
pub fn history(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let Some(from) = &arguments.database else {
        return Ok(vec![Line::plain("history", "left out: it wants --database")]);
    };
    let mut stage = stage(lab, from)?;
    std::thread::sleep(Duration::from_secs(3));
    let idle = pss(stage.daemon.pid())?;
    let mut lines = vec![Line::promised(
        "daemon memory idle with the long history (PSS)",
        format!("{idle:.1} MiB"),
        "≤ 12 MiB",
        idle <= 12.0,
    )];
    let mut late = 0;
    for (number, name) in PAGES.iter().enumerate() {
        let mut all = Vec::new();
        for (_, hours) in RANGES {
            for _ in 0..RUNS {
                let since = (hours > 0).then(|| now_us() - hours * HOUR);
                let began = Instant::now();
                stage.client.call(|client| page(client, number, Query { since, ..Query::default() }))?;
                all.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        all.sort_by(f64::total_cmp);
        let at = |part: usize| all.get((all.len() - 1) * part / 100).copied().unwrap_or(f64::NAN);
        late += usize::from(at(95) > 50.0);
        lines.push(Line::promised(
            format!("{name}: over the bus, {} ranges, {} runs", RANGES.len(), all.len()),
            format!("p50 {:.1} ms, p95 {:.1} ms, most {:.1} ms", at(50), at(95), at(100)),
            "p95 ≤ 50 ms",
            at(95) <= 50.0,
        ));
    }
    let after = pss(stage.daemon.pid())?;
    std::thread::sleep(Duration::from_secs(15));
    let rested = pss(stage.daemon.pid())?;
    lines.push(Line::plain(
        "daemon memory after all of these pages (PSS)",
        format!("{after:.1} MiB, {rested:.1} MiB 15 s later; {late} pages above 50 ms"),
    ));
    let program = lab.programs.make("bench-history")?;
    let (mut back, mut checked) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        report(&program, &["connections", &lab.net.to(), "count=5000", "peers=100"])?;
        stage.daemon.kill();
        let killed = Instant::now();
        stage.daemon.launch_again()?;
        back.push(stage.daemon.ready_after.as_secs_f64() * 1e3);
        stage.client.call(|client| async move { client.connections(&Query::default()).await })?;
        checked.push(killed.elapsed().as_secs_f64() * 1e3);
    }
    let (back, checked) = (spread(back), spread(checked));
    lines.push(Line::plain(
        "back after kill -9 with the long history",
        format!(
            "ready after {:.0} ms (median of {KILLS}, {:.0} to {:.0}), first page answered after {:.0} ms",
            back.median, back.least, back.most, checked.median
        ),
    ));
    Ok(lines)
}
