// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls or hears the daemon as whoever runs it; see `picosnitch_tests::person`.

use std::process::ExitCode;

use picosnitch_tests::person;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["rooted"] => person::rooted(),
        ["stay"] => {
            std::thread::sleep(person::STAY);
            Ok(())
        }
        ["hands", how, program] => person::change_hands(how, program).await,
        words => person::run(words == ["watch"]).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
