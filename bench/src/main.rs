// SPDX-License-Identifier: GPL-3.0-or-later
//! What the monitor costs: one line of a table for each promise of the budget. Every ratio is measured
//! against the same load without the monitor, in pairs, in one run. Needs root, and a release build of
//! the daemon and the generators beside it.

mod cost;
mod desktop;
mod history;
mod kernel;
mod load;
mod size;
mod table;

use std::process::ExitCode;

use clap::Parser;
use picosnitch_tests::lab::{Lab, Outcome};
use table::Line;

/// Measures what picosnitch costs and prints a table.
#[derive(Parser, Clone)]
struct Arguments {
    /// Pairs (with and without) for each ratio.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Fresh programs for the notice latency.
    #[arg(long, default_value_t = 1_000)]
    programs: usize,
    /// Flows for the memory after many of them.
    #[arg(long, default_value_t = 1_000_000)]
    flows: u32,
    /// Seconds of idleness.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Folder of a `picosnitch.db` that the figures of the desktop and of the history are taken with (it is
    /// copied).
    #[arg(long)]
    database: Option<std::path::PathBuf>,
    /// Figures to take; all if none is given. One of: kernel ping-pong connections lost latency memory
    /// idle start sha256 sizes window tray history.
    figures: Vec<String>,
}

type Figure = fn(&mut Lab, &Arguments) -> Outcome<Vec<Line>>;

const FIGURES: [(&str, Figure); 13] = [
    ("start", cost::start),
    ("kernel", kernel::per_call),
    ("ping-pong", load::ping_pong),
    ("connections", load::connection_rate),
    ("lost", load::lost),
    ("latency", load::latency),
    ("sha256", cost::sha256),
    ("memory", cost::memory),
    ("idle", cost::idle),
    ("sizes", size::sizes),
    ("window", desktop::window),
    ("tray", desktop::tray),
    ("history", history::history),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted: Vec<_> = FIGURES
        .iter()
        .filter(|(name, _)| arguments.figures.is_empty() || arguments.figures.iter().any(|word| word == name))
        .collect();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing about the product");
    }
    match kernel::others() {
        0 => {}
        others => eprintln!("{others} programs of another picosnitchd are attached: figures are too high"),
    }
    let mut lab = match Lab::new() {
        Ok(lab) => lab,
        Err(trouble) => {
            eprintln!("the lab cannot be set up: {trouble}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    println!("{}", table::HEAD);
    for (name, figure) in wanted {
        match figure(&mut lab, &arguments) {
            Ok(lines) => lines.iter().for_each(|line| println!("{line}")),
            Err(trouble) => {
                failed = true;
                eprintln!("{name}: {trouble}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
