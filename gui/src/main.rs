// SPDX-License-Identifier: GPL-3.0-or-later
//! The history window of picosnitch: which program uses the network, how much, with whom, and whether
//! that is new.

mod app;
mod ask;
mod chart;
mod format;
mod icon;
mod msg;
mod page;
mod prefs;
mod range;
mod settings;
mod speak;
mod table;
mod view;
mod words;
mod wrap;

use std::cell::RefCell;

use gtk4::gio;
use gtk4::glib::{self, ExitCode};
use gtk4::prelude::*;
use libadwaita as adw;

use msg::{Msg, Place};

/// Name on the session bus, of the desktop entry and of the icon.
const APP_ID: &str = "org.picosnitch.Picosnitch";

const USAGE: &str = "\
Shows which program used the network, how much, with whom, and whether that is new.

Usage: picosnitch-gui [OPTIONS]

Options:
      --program ID    Open the page of a program (its number as `picosnitch executables` lists it)
      --filter WORDS  Show only what matches, as in the search: 'user:alice port:443'
      --page PAGE     Open a page: overview, programs, destinations, timeline, live, health, settings, about
  -h, --help          Print this help
  -V, --version       Print the version
";

thread_local! {
    /// Where a second start of the program sends what it was asked for.
    static FIRST: RefCell<Option<msg::Sender>> = const { RefCell::new(None) };
}

/// The page of a word on the command line.
fn page_of(word: &str) -> Option<Place> {
    Some(match word {
        "overview" => Place::Overview,
        "programs" => Place::Programs,
        "destinations" => Place::Destinations,
        "timeline" => Place::Timeline,
        "live" => Place::Live,
        "health" => Place::Health,
        _ => return None,
    })
}

/// Checks the command line: what to open, or what to print and how to exit.
fn arguments(given: impl Iterator<Item = String>) -> Result<Vec<String>, (String, u8)> {
    let mut open = Vec::new();
    let mut given = given;
    while let Some(argument) = given.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        match name.as_str() {
            "-h" | "--help" => return Err((USAGE.into(), 0)),
            "-V" | "--version" => return Err((format!("picosnitch-gui {}\n", env!("CARGO_PKG_VERSION")), 0)),
            "--program" | "--page" | "--filter" => {
                let value = value.or_else(|| given.next()).unwrap_or_default();
                let known = match name.as_str() {
                    "--program" => value.parse::<i64>().is_ok(),
                    "--filter" => !value.is_empty(),
                    _ => page_of(&value).is_some() || value == "settings" || value == "about",
                };
                if !known {
                    return Err((format!("picosnitch-gui: no {} {value:?}; try --help\n", &name[2..]), 2));
                }
                open.extend([name, value]);
            }
            "--gapplication-service" => {}
            _ => return Err((format!("picosnitch-gui: no option {name:?}; try --help\n"), 2)),
        }
    }
    Ok(open)
}

fn main() -> ExitCode {
    picosnitch_api::tongue::start();
    let open = match arguments(std::env::args().skip(1)) {
        Ok(open) => open,
        Err((text, 0)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err((text, code)) => {
            eprint!("{text}");
            return ExitCode::from(code);
        }
    };
    if let Err(error) = adw::init() {
        eprintln!("picosnitch-gui: there is no display to open a window on ({error})");
        return ExitCode::FAILURE;
    }
    glib::set_application_name("picosnitch");
    let app = adw::Application::builder()
        .application_id(APP_ID)
        .flags(gio::ApplicationFlags::HANDLES_COMMAND_LINE)
        .build();
    app.connect_command_line(|app, line| {
        let given =
            line.arguments().into_iter().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        app.activate();
        let sender = FIRST.with(|first| first.borrow().clone());
        if let (Ok(open), Some(sender)) = (arguments(given), sender) {
            sender.emit(Msg::Open(open));
        }
        ExitCode::SUCCESS
    });
    // By the bus: from a desktop, or by a click on a notification.
    app.connect_activate(|app| {
        if let Some(window) = app.active_window() {
            window.present();
        }
    });
    let mut given = vec!["picosnitch-gui".to_owned()];
    given.extend(open);
    // The arguments arrive by the command line of the first instance, ours or another one's.
    relm4::RelmApp::from_app(app).with_args(given).run::<app::App>(Vec::new());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Result<Vec<String>, (String, u8)> {
        arguments(given.iter().map(|text| (*text).to_owned()))
    }

    #[test]
    fn the_command_line_is_checked_before_a_window_opens() {
        assert_eq!(read(&["--program", "7"]), Ok(vec!["--program".into(), "7".into()]));
        assert_eq!(read(&["--page=timeline"]), Ok(vec!["--page".into(), "timeline".into()]));
        for bad in [&["--program", "x"][..], &["--page", "nowhere"], &["--program"], &["--what"]] {
            assert!(matches!(read(bad), Err((_, 2))), "{bad:?}");
        }
        assert!(matches!(read(&["--help"]), Err((text, 0)) if text.contains("Usage")));
    }

    /// What `--help` lists, the manual page explains.
    #[test]
    fn the_manual_page_has_every_option() {
        let page = include_str!("../../data/man/picosnitch-gui.1").replace("\\-", "-");
        for option in USAGE.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(page.contains(&format!("\\fB{option}\\fR")), "{option}");
        }
    }
}
