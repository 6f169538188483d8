// SPDX-License-Identifier: GPL-3.0-or-later
//! What each fault costs, counted: what was made while it lasted, what of that is on record. `bench/RESULTS.md` has
//! these lines as a table.

use crate::lab::{Outcome, ensure};

/// Connections that were made under a fault, those on record afterwards, and those that the monitor says it lost.
/// Prints the line; nothing may be missing that nobody was told about.
///
/// # Errors
/// Something is missing, or there is more than was made.
pub fn count(fault: &str, made: u64, recorded: u64, told: u64) -> Outcome {
    line(fault, made, recorded, told, "");
    ensure(recorded + told == made, || {
        format!("{fault}: {made} connections made, {recorded} on record, {told} told as lost")
    })
}

/// The line alone, with a remark.
pub fn line(fault: &str, made: u64, recorded: u64, told: u64, remark: &str) {
    let silent = made.saturating_sub(recorded + told);
    println!("    fault | {fault} | {made} | {recorded} | {told} | {silent} | {remark} |");
}
