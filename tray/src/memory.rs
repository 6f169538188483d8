// SPDX-License-Identifier: GPL-3.0-or-later
//! What the policy remembers from one login to the next, in a small file beside `told`: of which record the first day
//! was summed up, and how often programs changed. Without it the one is said again and the other counted anew.
//!
//! One line each, `first-day TIME` (µs since the epoch, the record's beginning) and `changed COUNT KEY`, those that
//! changed last at the end.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use picosnitch_api::file;
use picosnitch_api::quiet::{escape, unescape};

/// Programs whose changes are counted.
const PROGRAMS: usize = 1000;
/// Longest key, bytes: a path may be so long, and a container's name stands before it.
const KEY: usize = 5000;
/// Of a longer file only so much is read, bytes.
const MAX_FILE: u64 = 16 << 20;
/// Records whose beginnings are not further apart are the same: the first rows may go, or come late.
const SAME: i64 = 24 * 3600 * 1_000_000;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    first_day: Option<i64>,
    /// Key and count, the one that changed last at the end.
    changes: Vec<(String, u32)>,
}

impl Memory {
    /// Where it is; `None` for an account that has no home.
    pub fn file() -> Option<PathBuf> {
        Some(file::folder("XDG_STATE_HOME", ".local/state")?.join("picosnitch/remembered"))
    }

    /// What was saved there; nothing if it cannot be read.
    pub fn load(file: &Path) -> Self {
        let mut text = Vec::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
        if read.is_err() {
            return Self::default();
        }
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// Saves it. A failure only means that it is forgotten at the end.
    pub fn save(&self, file: &Path) {
        if let Err(error) = file::replace(file, &self.to_string()) {
            eprintln!("picosnitch-tray: cannot write {}: {error}", file.display());
        }
    }

    fn parse(text: &str) -> Self {
        let mut memory = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("first-day", begins)) => memory.first_day = begins.parse().ok(),
                Some(("changed", rest)) => {
                    let Some((count, key)) = rest.split_once(' ') else { continue };
                    if let Ok(count) = count.parse() {
                        memory.put(unescape(key), count);
                    }
                }
                _ => {}
            }
        }
        memory
    }

    /// The first day of the record that begins then was summed up.
    pub fn summed_up(&self, begins: i64) -> bool {
        self.first_day.is_some_and(|known| known.abs_diff(begins) < SAME.unsigned_abs())
    }

    /// It is now.
    pub fn sum_up(&mut self, begins: i64) {
        self.first_day = Some(begins);
    }

    /// How often it changed.
    pub fn changes(&self, key: &str) -> u32 {
        self.changes.iter().find(|(known, _)| known == key).map_or(0, |(_, count)| *count)
    }

    /// It changed once more.
    pub fn changed(&mut self, key: String) {
        let count = self.changes(&key).saturating_add(1);
        self.put(key, count);
    }

    fn put(&mut self, key: String, count: u32) {
        if key.len() > KEY {
            return;
        }
        self.changes.retain(|(known, _)| *known != key);
        // Who changes rarely goes first, and of those who changed longest ago.
        if self.changes.len() >= PROGRAMS
            && let Some((at, _)) = self.changes.iter().enumerate().min_by_key(|(_, (_, count))| *count)
        {
            self.changes.remove(at);
        }
        self.changes.push((key, count));
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(begins) = self.first_day {
            writeln!(f, "first-day {begins}")?;
        }
        self.changes.iter().try_for_each(|(key, count)| writeln!(f, "changed {count} {}", escape(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_there_at_the_next_login() {
        let folder = std::env::temp_dir().join(format!("picosnitch-remembered-{}", std::process::id()));
        let file = folder.join("deeper/remembered");
        assert_eq!(Memory::load(&file), Memory::default());
        let mut memory = Memory::default();
        memory.sum_up(7 * SAME);
        for key in ["program  /opt/a b", "program web /tmp/x\nfirst-day 1", "program  /opt/a b"] {
            memory.changed(key.into());
        }
        memory.save(&file);
        let loaded = Memory::load(&file);
        let _ = std::fs::remove_dir_all(&folder);
        assert_eq!(loaded, memory);
        assert_eq!(loaded.changes("program  /opt/a b"), 2);
        assert!(loaded.summed_up(7 * SAME + 1) && !loaded.summed_up(8 * SAME));
    }

    #[test]
    fn it_is_bounded_and_keeps_who_changes_often() {
        let mut memory = Memory::default();
        for _ in 0..3 {
            memory.changed("often".into());
        }
        for number in 0..PROGRAMS * 3 {
            memory.changed(format!("once {number}"));
        }
        memory.changed("x".repeat(KEY + 1));
        assert_eq!(memory.changes.len(), PROGRAMS);
        assert_eq!((memory.changes("often"), memory.changes("once 0")), (3, 0));
        assert_eq!(memory.changes(&format!("once {}", PROGRAMS * 3 - 1)), 1);
        let twice = format!("{memory}{memory}\nchanged x y\nchanged\nfirst-day\n");
        assert_eq!(Memory::parse(&twice), memory);
    }
}
