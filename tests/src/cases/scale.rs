// SPDX-License-Identifier: GPL-3.0-or-later
//! S10: a history of ten million rows. It is made on the spot, in the way that the daemon takes, and asked by every
//! kind of query that a page of a client makes (`daemon/examples/store.rs`, a release build). That what a page costs
//! does not grow with the rows is shown by counting steps, in `daemon/src/record/read/steps.rs`.

use std::path::PathBuf;

use super::Case;
use crate::lab::tools::run;
use crate::lab::{Lab, Outcome, Trouble, ensure};

/// The cases; they take minutes and a gigabyte.
pub const LONG: &[Case] = &[Case { id: "S10", title: "ten million rows: every page in 50 ms", run: s10 }];

/// Kinds of queries that there are; fewer mean that not everything was asked.
const KINDS: usize = 240;

fn store() -> Outcome<PathBuf> {
    let folder = std::env::current_exe()?;
    let folder = folder.ancestors().nth(2).unwrap_or(&folder);
    let path = folder.join("release/examples/store");
    if path.is_file() {
        return Ok(path);
    }
    Err(Trouble::Skipped(format!(
        "{} is missing: cargo build --release -p picosnitchd --example store",
        path.display()
    )))
}

fn s10(lab: &mut Lab) -> Outcome {
    let store = store()?;
    let store = store.to_string_lossy();
    let dir = lab.new_dir("s10")?;
    let dir = dir.to_string_lossy();
    run(&store, &[&dir, "10000000", "make"])?;
    let answers = run(&store, &[&dir, "10000000", "ask"])?;
    // A line of a table each; the last one sums up.
    let kinds: Vec<&str> = answers.lines().filter(|line| line.contains("p95 ≤ 50 ms")).collect();
    let (sum, kinds) = kinds.split_last().unwrap_or((&"nothing", &[]));
    let late: Vec<&str> = kinds.iter().copied().filter(|line| line.contains("**no**")).collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("    {} kinds, {} late; load {}; {sum}", kinds.len(), late.len(), load.trim());
    ensure(kinds.len() == KINDS, || format!("{} kinds were asked, not {KINDS}:\n{answers}", kinds.len()))?;
    ensure(late.is_empty(), || format!("{} of {} are late:\n{}", late.len(), kinds.len(), late.join("\n")))
}
