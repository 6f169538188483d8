// SPDX-License-Identifier: GPL-3.0-or-later
//! `man` and `completions`, from the definition of the command line alone.

use std::io::{self, Write};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::args::{self, Cli};

/// Writes the script that completes this command in a shell.
pub fn completions(shell: clap_complete::Shell, out: &mut impl Write) {
    clap_complete::generate(shell, &mut Cli::command(), "picosnitch", out);
}

/// Writes the manual page.
///
/// # Errors
/// What writing gives.
pub fn page(out: &mut impl Write) -> io::Result<()> {
    let mut command = Cli::command().after_help("").after_long_help("");
    command.build();
    let man = Man::new(command.clone()).title("picosnitch").section("1").date("").manual("User Commands");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    section(out, "Commands", "")?;
    for sub in command.get_subcommands() {
        describe(out, sub, "picosnitch")?;
    }
    filters(out, &command)?;
    man.render_options_section(out)?;
    section(out, "Exit status", args::EXIT_STATUS)?;
    section(
        out,
        "Environment",
        "  DBUS_SYSTEM_BUS_ADDRESS  The bus to use instead of the system's.\n  \
         NO_COLOR                 Set and not empty: no colour.\n  \
         VISUAL, EDITOR           The editor of picosnitch config edit.\n  \
         TZ                       The time zone of times that are read and shown.",
    )?;
    section(
        out,
        "Files",
        "  /etc/picosnitch/config.toml  The settings of the service.\n  \
         /var/lib/picosnitch          The history; read it with this command.",
    )?;
    section(out, "Examples", args::EXAMPLES)
}

const FILTERS: &str = "Filters";

/// One subcommand, and those below it.
fn describe(out: &mut impl Write, command: &Command, above: &str) -> io::Result<()> {
    let name = format!("{above} {}", command.get_name());
    if command.has_subcommands() {
        for sub in command.get_subcommands() {
            describe(out, sub, &name)?;
        }
        return Ok(());
    }
    let own = command.clone().mut_args(|arg| {
        let elsewhere = is_filter(&arg) || ["json", "color", "help"].contains(&arg.get_id().as_str());
        arg.hide(elsewhere)
    });
    let takes_filters = command.get_arguments().any(is_filter);
    let usage: Vec<String> = own
        .get_positionals()
        .filter(|arg| !arg.is_hide_set())
        .map(|arg| {
            let value = arg.get_value_names().map_or("VALUE".to_owned(), |names| names.concat());
            if arg.is_required_set() { value } else { format!("[{value}]") }
        })
        .collect();
    let flags = own.get_opts().any(|arg| !arg.is_hide_set()) || takes_filters;
    let mut roff = Roff::new();
    let mut title = name;
    if flags {
        title.push_str(" [options]");
    }
    for value in usage {
        title.push_str(&format!(" {value}"));
    }
    roff.control("SS", [title.as_str()]);
    let about = command.get_long_about().or_else(|| command.get_about());
    for paragraph in about.map(ToString::to_string).unwrap_or_default().split("\n\n") {
        let text = paragraph.trim_end_matches('.');
        roff.text([roman(format!("{text}."))]);
        roff.control("PP", []);
    }
    if takes_filters {
        roff.text([roman("Takes the options of FILTERS too.")]);
        roff.control("PP", []);
    }
    roff.to_writer(out)?;
    let mut options = Vec::new();
    Man::new(own).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options);
    // The heading of a section of its own, and the generator's preamble, are not wanted here.
    let body = options.split_once(".SH OPTIONS\n").map_or("", |(_, body)| body);
    out.write_all(body.as_bytes())
}

fn is_filter(arg: &clap::Arg) -> bool {
    arg.get_help_heading().is_some_and(|heading| heading.starts_with(FILTERS))
}

fn filters(out: &mut impl Write, command: &Command) -> io::Result<()> {
    let Some(list) = command.find_subcommand("connections") else { return Ok(()) };
    let only = list.clone().mut_args(|arg| {
        let other = !is_filter(&arg);
        arg.hide(other)
    });
    let mut options = Vec::new();
    Man::new(only).render_options_section(&mut options)?;
    let text = String::from_utf8_lossy(&options);
    // The generator makes a section of each heading; ours has a shorter title.
    let body =
        text.split_once(".SH ").and_then(|(_, rest)| rest.split_once('\n')).map_or("", |(_, body)| body);
    section(out, "Filters", "")?;
    let mut roff = Roff::new();
    roff.text([roman("A row is shown if all of them hold.")]);
    roff.to_writer(out)?;
    out.write_all(body.as_bytes())
}

fn section(out: &mut impl Write, title: &str, literal: &str) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title.to_uppercase().as_str()]);
    if !literal.is_empty() {
        roff.control("nf", []);
        for line in literal.lines() {
            roff.text([roman(line.to_owned())]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text() -> String {
        let mut out = Vec::new();
        page(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The page in `data/man` is what the command prints: `make man` writes it anew.
    #[test]
    fn the_shipped_page_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/man/picosnitch.1");
        let shipped = std::fs::read_to_string(path).unwrap_or_default();
        assert!(shipped == text(), "data/man/picosnitch.1 is stale: run `make man` and commit it");
    }

    #[test]
    fn every_command_and_flag_is_in_the_page() {
        let text = text().replace("\\-", "-");
        let mut command = Cli::command();
        command.build();
        let mut commands: Vec<&Command> = vec![&command];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(flag) = arg.get_long() {
                    assert!(text.contains(&format!("--{flag}")), "{} --{flag}", command.get_name());
                }
            }
            assert!(text.contains(command.get_name()), "{}", command.get_name());
        }
        for part in ["EXIT STATUS", "cannot be reached", "NO_COLOR", "config.toml"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut out = Vec::new();
            completions(shell, &mut out);
            let script = String::from_utf8(out).unwrap();
            for word in ["connections", "summary", "remote-port"] {
                assert!(script.contains(word), "{shell} {word}");
            }
        }
    }
}
