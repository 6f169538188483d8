// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs the cases, one after another: `picosnitch-lab [--list] [--long] [ID or part of a title]…`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use picosnitch_tests::cases::{Case, all};
use picosnitch_tests::lab::{Lab, Trouble};

/// Shows on real traffic that picosnitch keeps its promises. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Name the cases and run none.
    #[arg(long)]
    list: bool,
    /// The long variants: 100 000 connections instead of 20 000, ten million rows of history.
    #[arg(long)]
    long: bool,
    /// The machine is emulated: a notice may go out without the hash, if its event has it later.
    #[arg(long)]
    slow: bool,
    /// Stop at the first failure.
    #[arg(long)]
    first: bool,
    /// Ids (T01) or parts of titles; all if none is given.
    wanted: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.long {
        picosnitch_tests::cases::set_long();
    }
    let wanted = |case: &Case| {
        let any = |word: &String| {
            case.id.starts_with(&word.to_uppercase())
                || (word.len() > 3 && case.title.to_lowercase().contains(&word.to_lowercase()))
        };
        arguments.wanted.is_empty() || arguments.wanted.iter().any(any)
    };
    let cases: Vec<Case> = all().into_iter().filter(wanted).collect();
    if arguments.list {
        cases.iter().for_each(|case| println!("{} {}", case.id, case.title));
        return ExitCode::SUCCESS;
    }
    if arguments.slow {
        picosnitch_tests::cases::set_slow();
    }
    let mut lab = match Lab::new() {
        Ok(lab) => lab,
        Err(trouble) => {
            eprintln!("the lab cannot be set up: {trouble}");
            return ExitCode::from(2);
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in &cases {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(&mut lab)))
            .unwrap_or_else(|_| Err(Trouble::Failed("the case panicked".to_owned())));
        let name = format!("{} {}", case.id, case.title);
        let time = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok {name} ({time:.1} s)");
            }
            Err(Trouble::Skipped(reason)) => {
                skipped += 1;
                println!("skipped {name}: {reason}");
            }
            Err(Trouble::Failed(text)) => {
                failed += 1;
                println!("FAILED {name} ({time:.1} s)\n    {}", text.trim_end());
                if arguments.first {
                    break;
                }
            }
        }
    }
    drop(lab);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
