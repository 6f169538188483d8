// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes of what is installed.

use picosnitch_tests::lab::{Lab, Outcome, built};

use crate::Arguments;
use crate::table::Line;

/// Each program that is built.
pub fn sizes(_: &mut Lab, _: &Arguments) -> Outcome<Vec<Line>> {
    let all: Vec<String> = ["picosnitchd", "picosnitch", "picosnitch-tray", "picosnitch-gui"]
        .iter()
        .filter_map(|name| {
            let size = std::fs::metadata(built(name).ok()?).ok()?.len();
            Some(format!("{name} {:.2} MB", size as f64 / 1e6))
        })
        .collect();
    Ok(vec![Line::plain("sizes of the programs", all.join(", "))])
}
