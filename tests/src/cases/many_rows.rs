// SPDX-License-Identifier: GPL-3.0-or-later
//! D: lists that are longer than anybody reads, in the window.

use std::collections::HashSet;
use std::time::Duration;

use picosnitch_api::Query;

use super::Case;
use super::expect::PATIENCE;
use crate::lab::client::settle;
use crate::lab::desktop::Desktop;
use crate::lab::program::report;
use crate::lab::{Access, Calls, Lab, Outcome, Stage, Tree, ensure};

/// The cases.
pub const CASES: &[Case] = &[Case {
    id: "D06",
    title: "a long list: few rows held, memory flat, each page asked for once",
    run: d06,
}];

/// Rows on record.
const ROWS: u64 = 14_000;
/// The list of them.
const LIST: &str = "Connections, newest first";
/// Rows that fit into the window. Newer versions of GTK tell screen readers of no others.
const SHOWN: usize = 10;
/// Rows with widgets that GTK keeps at most, with some above and below.
const WIDGETS: usize = 210;
/// What the window may take more after thousands of rows than after hundreds, KiB. Held, they would take
/// three times that.
const MORE: u64 = 6 * 1024;

/// How long the window is left alone.
const REST: Duration = Duration::from_secs(3);
/// How often it may wake in that time, for what is recorded meanwhile; frames all the time are thousands.
const WAITS: u64 = 200;

fn made(lab: &mut Lab, stage: &Stage) -> Outcome {
    let program = lab.programs.make("d06-many")?;
    report(&program, &["flows", &lab.net.to(), "peers=100", &format!("count={ROWS}")])?;
    settle(PATIENCE, || {
        let query = Query { limit: Some(1), ..Query::default() };
        let totals = stage.client.call(|client| async move {
            client.summary(picosnitch_api::Dimension::Protocol, &query).await
        })?;
        let rows: u64 = totals.0.iter().map(|total| total.connections).sum();
        ensure(rows >= ROWS, || format!("{rows} of {ROWS} are on record"))
    })
}

/// Presses End until so many pages have been asked for: each time there is a new end.
fn down(desktop: &Desktop, calls: &Calls, pages: usize) -> Outcome {
    settle(PATIENCE * 4, || {
        desktop.input(&["key", "End"])?;
        let asked = calls.heard().len();
        ensure(asked >= pages, || {
            format!("{asked} of {pages} pages were asked for; {}", desktop.window_log())
        })
    })
}

/// Rows of the list that have widgets.
fn widgets(tree: &Tree) -> usize {
    let list = tree.0.iter().position(|it| it.role == "tree table" && it.name == LIST);
    tree.0
        .iter()
        .filter(|it| it.role == "table row" && list.is_some_and(|at| it.within.contains(&at)))
        .count()
}

fn first(access: &Access) -> Outcome<Vec<String>> {
    Ok(access.tree()?.texts_in("tree table", LIST).into_iter().take(20).map(str::to_owned).collect())
}

fn d06(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("d06", "")?;
    made(lab, &stage)?;
    let mut desktop = Desktop::start(&lab.new_dir("d06")?, &stage.bus.address, false)?;
    let calls = stage.bus.listen("Connections")?;
    desktop.window(&["--page", "live"], &[])?;
    let access = desktop.access()?;
    desktop.seen(&access, "the connections", |tree| widgets(tree) >= SHOWN)?;
    // A row that is selected keeps the list as it is, and takes the keyboard.
    desktop.input(&["mousemove", "700", "300", "click", "1", "key", "Home"])?;
    let newest = first(&access)?;
    // All widgets are there after a few pages; from then on nothing grows.
    down(&desktop, &calls, 20)?;
    let before = desktop.window_memory()?;
    down(&desktop, &calls, 160)?;
    let after = desktop.window_memory()?;
    let tree = access.tree()?;
    let rows = widgets(&tree);
    ensure((SHOWN..=WIDGETS).contains(&rows), || format!("{rows} rows have widgets"))?;
    ensure(after <= before + MORE, || {
        format!("the window took {before} KiB, and {after} KiB 140 pages later")
    })?;
    let asked = calls.heard();
    let cursors: Vec<&str> = asked.iter().filter_map(|call| call["cursor"]["data"].as_str()).collect();
    let different: HashSet<&&str> = cursors.iter().collect();
    ensure(different.len() == cursors.len() && asked.len() <= cursors.len() + 2, || {
        format!("{} questions, {} with a cursor, {} different", asked.len(), cursors.len(), different.len())
    })?;
    // Back at the top what was let go is there again, and little else is asked for.
    let asked = asked.len();
    desktop.input(&["key", "Home"])?;
    settle(PATIENCE, || {
        let now = first(&access)?;
        ensure(now == newest, || format!("the list began with {newest:?} and begins with {now:?}"))
    })?;
    let again = calls.heard().len() - asked;
    ensure((1..=4).contains(&again), || format!("{again} pages were asked for on the way back"))?;
    // Where nothing moves, nothing is drawn.
    std::thread::sleep(REST);
    let before = desktop.window_waits()?;
    std::thread::sleep(REST);
    let waits = desktop.window_waits()? - before;
    ensure(waits <= WAITS, || format!("the window woke {waits} times in {REST:?} without a reason"))
}
