// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes traffic of one kind and says in one line of JSON how much it made; see `picosnitch_tests::traffic`.

use std::process::ExitCode;

use picosnitch_tests::traffic;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let Some(mode) = arguments.next() else {
        eprintln!("usage: picosnitch-traffic MODE [key=value]…");
        return ExitCode::from(2);
    };
    match traffic::run(&mode, &traffic::Options::parse(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{mode}: {error}");
            ExitCode::FAILURE
        }
    }
}
