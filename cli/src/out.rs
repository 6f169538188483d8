// SPDX-License-Identifier: GPL-3.0-or-later
//! Standard output for data, standard error for everything else.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use clap::ValueEnum;
use picosnitch_api::inert;

use crate::failure::Failure;

/// When to use colour. The variants have no help of their own: the flag's says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// How one of the two outputs looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Escape sequences of ours may be used.
    pub colour: bool,
    /// Characters in a line of the terminal; `None` if it is none.
    pub width: Option<usize>,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// More important.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something new.
    pub fn green(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// Look at this.
    pub fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// Something is wrong.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }
}

/// Whether colour may be used, from what the environment says.
fn colour(when: Color, terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        // https://no-color.org: set and not empty.
        Color::Auto => terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb"),
    }
}

fn allowed(when: Color, terminal: bool) -> bool {
    let get = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    colour(when, terminal, get("NO_COLOR").as_deref(), get("TERM").as_deref())
}

/// Both outputs of a command.
#[derive(Debug)]
pub struct Out {
    /// Data, buffered: [`Out::flush`] where it must be seen.
    pub data: BufWriter<Stdout>,
    /// How data looks.
    pub style: Style,
    /// How everything else looks.
    pub notes: Style,
    /// Data are JSON objects, one a line.
    pub json: bool,
}

impl Out {
    /// The outputs of this process.
    pub fn new(json: bool, when: Color) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = if terminal {
            terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
        } else {
            None
        };
        Self {
            data: BufWriter::new(io::stdout()),
            style: Style { colour: allowed(when, terminal) && !json, width },
            notes: Style { colour: allowed(when, io::stderr().is_terminal()), width: None },
            json,
        }
    }

    /// One object, on one line.
    ///
    /// # Errors
    /// What writing gives.
    pub fn json(&mut self, object: &impl serde::Serialize) -> Result<(), Failure> {
        crate::json::write(&mut self.data, object)?;
        Ok(())
    }

    /// One line of text, which must be inert.
    ///
    /// # Errors
    /// What writing gives.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.data, "{text}")?;
        Ok(())
    }

    /// Lets data be seen now.
    ///
    /// # Errors
    /// What writing gives.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.data.flush()?;
        Ok(())
    }

    /// Something to know that is not data.
    pub fn note(&self, text: &str) {
        self.say(&self.notes.bold("note"), text);
    }

    /// Something to know that may be trouble.
    pub fn warning(&self, text: &str) {
        self.say(&self.notes.yellow("warning"), text);
    }

    fn say(&self, label: &str, text: &str) {
        // Nobody to tell that standard error is gone.
        // One write: what others print does not come in between.
        let _ = io::stderr().write_all(format!("{label}: {}\n", inert(text)).as_bytes());
    }
}

/// Says why a command failed.
pub fn complain(failure: &Failure, when: Color) {
    let style = Style { colour: allowed(when, io::stderr().is_terminal()), width: None };
    let mut text = format!("{}: {}\n", style.red("error"), failure.message);
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("{}: {hint}\n", style.bold("hint")));
    }
    // Nobody to tell that standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert!(colour(Color::Auto, true, None, Some("xterm")));
        assert!(colour(Color::Auto, true, Some(""), None));
        assert!(!colour(Color::Auto, true, Some("1"), Some("xterm")));
        assert!(!colour(Color::Auto, true, None, Some("dumb")));
        assert!(!colour(Color::Auto, false, None, Some("xterm")));
        assert!(colour(Color::Always, false, Some("1"), None));
        assert!(!colour(Color::Never, true, None, Some("xterm")));
        let plain = Style { colour: false, width: None };
        assert_eq!(plain.red("x"), "x");
        assert_eq!(Style { colour: true, ..plain }.red("x"), "\x1b[1;31mx\x1b[0m");
    }
}
