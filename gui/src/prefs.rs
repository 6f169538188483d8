// SPDX-License-Identifier: GPL-3.0-or-later
//! What the window remembers for one person: units, its size, and what it is not to tell again. A small key file of
//! their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gtk4::glib;

use crate::format::Units;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefs {
    /// Units of sizes.
    pub units: Units,
    /// Width and height in pixels.
    pub size: (i32, i32),
}

impl Default for Prefs {
    fn default() -> Self {
        Self { units: Units::Iec, size: (1120, 720) }
    }
}

const GROUP: &str = "window";

fn file() -> PathBuf {
    glib::user_config_dir().join("picosnitch/window.ini")
}

impl Prefs {
    /// What was saved; defaults for what was not.
    pub fn load() -> Self {
        let keys = glib::KeyFile::new();
        let mut prefs = Self::default();
        if keys.load_from_file(file(), glib::KeyFileFlags::NONE).is_err() {
            return prefs;
        }
        if keys.string(GROUP, "units").is_ok_and(|units| units == "si") {
            prefs.units = Units::Si;
        }
        if let (Ok(width), Ok(height)) = (keys.integer(GROUP, "width"), keys.integer(GROUP, "height")) {
            prefs.size = (width.clamp(360, 10_000), height.clamp(300, 10_000));
        }
        prefs
    }

    /// Saves it; a failure is only said.
    pub fn save(self) {
        let file = file();
        let keys = saved(&file);
        keys.set_string(GROUP, "units", if self.units == Units::Si { "si" } else { "iec" });
        keys.set_integer(GROUP, "width", self.size.0);
        keys.set_integer(GROUP, "height", self.size.1);
        write(&file, &keys);
    }
}

/// All that is in the file.
fn saved(file: &Path) -> glib::KeyFile {
    let keys = glib::KeyFile::new();
    // One that is not there is empty.
    let _ = keys.load_from_file(file, glib::KeyFileFlags::NONE);
    keys
}

fn write(file: &Path, keys: &glib::KeyFile) {
    if let Err(error) = picosnitch_api::file::replace(file, &keys.to_data()) {
        eprintln!("picosnitch-gui: cannot write {}: {error}", file.display());
    }
}

const PUT_AWAY: &str = "put-away";

/// Sentences of the banner that are not to be told again, until what they say is mended. What changes is saved.
pub struct PutAway {
    file: PathBuf,
    sentences: BTreeSet<String>,
}

impl PutAway {
    /// Those of the person's own file.
    pub fn load() -> Self {
        Self::of(file())
    }

    fn of(file: PathBuf) -> Self {
        let lines = saved(&file).string(GROUP, PUT_AWAY).unwrap_or_default();
        Self { sentences: lines.lines().map(str::to_owned).collect(), file }
    }

    /// Which they are.
    pub fn sentences(&self) -> &BTreeSet<String> {
        &self.sentences
    }

    /// These from now on, and only these.
    pub fn set(&mut self, sentences: BTreeSet<String>) {
        self.sentences = sentences;
        self.save();
    }

    /// Forgets those that are not true any more.
    pub fn keep(&mut self, still: impl Fn(&str) -> bool) {
        let before = self.sentences.len();
        self.sentences.retain(|known| still(known));
        // The next window reads the file: to it, what comes again is news too.
        if self.sentences.len() != before {
            self.save();
        }
    }

    fn save(&self) {
        let keys = saved(&self.file);
        let sentences: Vec<&str> = self.sentences.iter().map(String::as_str).collect();
        keys.set_string(GROUP, PUT_AWAY, &sentences.join("\n"));
        write(&self.file, &keys);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn d05_what_was_mended_is_told_again_by_the_next_window_too() {
        let file = std::env::temp_dir().join(format!("picosnitch-put-away-{}", std::process::id()));
        let mut first = PutAway::of(file.clone());
        first.set(["one", "two"].map(str::to_owned).into());
        assert_eq!(PutAway::of(file.clone()).sentences(), first.sentences(), "it stays away");
        first.keep(|known| known == "two");
        let next = PutAway::of(file.clone());
        std::fs::remove_file(file).unwrap();
        assert_eq!(*next.sentences(), ["two".to_owned()].into());
    }
}
