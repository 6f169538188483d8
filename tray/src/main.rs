// SPDX-License-Identifier: GPL-3.0-or-later
//! The tray applet and notifier of picosnitch: a shortcut to the window, and the one that tells.
//! One thread; it wakes when the bus says something, a person clicks, or a batched toast is due.

mod app;
mod clock;
mod fetch;
mod icon;
mod memory;
mod panel;
mod policy;
mod status;
mod text;
mod toast;
mod told;
mod unshown;
mod window;

use std::process::ExitCode;

/// Name of the desktop entry and of the icon: what desktops list and mute notifications by.
const APP_ID: &str = "org.picosnitch.Picosnitch";

const USAGE: &str = "\
Shows the state of picosnitch in the panel and announces new and changed programs.

Usage: picosnitch-tray [OPTIONS]

Options:
      --announce-at-once  Announce new programs on the first day of the record, too
  -h, --help              Print this help
  -V, --version           Print the version
";

/// What the loop is woken by, besides the monitor.
#[derive(Debug)]
enum Message {
    /// Clicked in the menu, with what lets a window come to the front.
    Click(status::Click, Option<String>),
    /// A person chose something on a toast.
    Answer(Box<toast::Answer>),
    /// What became of a toast.
    Shown(toast::Fate),
    /// The monitor answered a call.
    Fetched(fetch::Fetched),
}

fn main() -> ExitCode {
    picosnitch_api::tongue::start();
    let mut announce_at_once = false;
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--announce-at-once") => announce_at_once = true,
            Some("-h" | "--help") => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            Some("-V" | "--version") => {
                println!("picosnitch-tray {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("picosnitch-tray: no option {argument:?}; try --help");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|it| it.block_on(app::run(announce_at_once)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picosnitch-tray: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::USAGE;

    /// What `--help` lists, the manual page explains.
    #[test]
    fn the_manual_page_has_every_option() {
        let page = include_str!("../../data/man/picosnitch-tray.1").replace("\\-", "-");
        for option in USAGE.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(page.contains(&format!("\\fB{option}\\fR")), "{option}");
        }
    }
}
