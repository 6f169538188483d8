// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls or hears the daemon as whoever runs it; see `picosnitch_tests::person`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match picosnitch_tests::person::run(std::env::args().nth(1).as_deref() == Some("watch")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
