// SPDX-License-Identifier: GPL-3.0-or-later
//! What one person does not want to be told about, in a small file of their own that tray and window
//! share: muted programs, and programs that are expected to change. Everything is recorded all the same.
//!
//! One line each, `mute PATH` or `expect PATH`; in a path a backslash is `\\` and a line feed `\n`. Lines
//! of other kinds are kept out of the way of an older version, not kept in the file.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::row::Event;
use crate::tongue::{fill, tr};

/// Most programs that either list holds; further ones are refused.
pub const MAX_PROGRAMS: usize = 2000;
/// A file that is longer is not read.
const MAX_FILE: u64 = 16 << 20;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Paths that no notification is shown for.
    pub muted: BTreeSet<String>,
    /// Paths whose changes no notification is shown for.
    pub expected: BTreeSet<String>,
}

impl Quiet {
    /// Where the file is: `picosnitch/quiet` in `XDG_CONFIG_HOME` or `~/.config`; `None` for an account
    /// that has no home.
    #[must_use]
    pub fn file() -> Option<PathBuf> {
        Some(crate::file::folder("XDG_CONFIG_HOME", ".config")?.join("picosnitch/quiet"))
    }

    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// Whatever opening and reading it gives; [`io::ErrorKind::InvalidData`] if it is absurdly long.
    pub fn load(file: &Path) -> io::Result<Self> {
        match std::fs::metadata(file) {
            Ok(about) if about.len() > MAX_FILE => Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => Ok(Self::parse(&String::from_utf8_lossy(&std::fs::read(file)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file anew, whole or not at all.
    ///
    /// # Errors
    /// Whatever creating the directory and the file gives.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        crate::file::replace(file, &self.text())
    }

    /// Changes what the file says, as it is now.
    ///
    /// # Errors
    /// Those of [`Quiet::load`] and [`Quiet::save`]; [`Full`] inside [`io::ErrorKind::StorageFull`] where a list would
    /// have more than [`MAX_PROGRAMS`].
    pub fn change(file: &Path, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        let mut quiet = Self::load(file)?;
        change(&mut quiet);
        if quiet.muted.len().max(quiet.expected.len()) > MAX_PROGRAMS {
            return Err(io::Error::new(io::ErrorKind::StorageFull, Full));
        }
        quiet.save(file)
    }

    /// Nobody is to be told of this notice.
    #[must_use]
    pub fn hides(&self, row: &Event) -> bool {
        let changed = row.kind.as_deref() == Some("hash-changed");
        row.path.as_ref().is_some_and(|path| self.holds(path, changed))
    }

    /// Nobody is to be told of the program of this path, or of its change.
    #[must_use]
    pub fn holds(&self, path: &str, changed: bool) -> bool {
        self.muted.contains(path) || (changed && self.expected.contains(path))
    }

    fn parse(text: &str) -> Self {
        let mut quiet = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("mute", path)) => insert(&mut quiet.muted, unescape(path)),
                Some(("expect", path)) => insert(&mut quiet.expected, unescape(path)),
                _ => {}
            }
        }
        quiet
    }

    fn text(&self) -> String {
        let lines = |word: &'static str, paths: &BTreeSet<String>| -> String {
            paths.iter().map(|path| format!("{word} {}\n", escape(path))).collect()
        };
        format!("{}{}", lines("mute", &self.muted), lines("expect", &self.expected))
    }
}

/// A list has no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = tr("The list is full: it holds {n} programs. Remove some in the settings.");
        f.write_str(&fill(text, &[("n", &MAX_PROGRAMS)]))
    }
}

impl std::error::Error for Full {}

/// What the file says, read anew when another program has changed it.
#[derive(Debug, Default)]
pub struct Latest {
    file: Option<PathBuf>,
    /// When what was read last was written.
    written: Option<SystemTime>,
    quiet: Quiet,
}

impl Latest {
    /// Of [`Quiet::file`].
    #[must_use]
    pub fn new() -> Self {
        Self { file: Quiet::file(), ..Self::default() }
    }

    /// As the file is now.
    ///
    /// # Errors
    /// Those of [`Quiet::load`]; what was read before stands.
    pub fn read(&mut self) -> io::Result<&Quiet> {
        if let Some(file) = &self.file {
            let written = std::fs::metadata(file).and_then(|about| about.modified()).ok();
            if written != self.written {
                self.quiet = Quiet::load(file)?;
                self.written = written;
            }
        }
        Ok(&self.quiet)
    }

    /// As it was read last.
    #[must_use]
    pub fn quiet(&self) -> &Quiet {
        &self.quiet
    }
}

fn insert(into: &mut BTreeSet<String>, path: String) {
    if into.len() < MAX_PROGRAMS {
        into.insert(path);
    }
}

/// A path as it stands in a line of the file.
#[must_use]
pub fn escape(path: &str) -> String {
    path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// What [`escape`] was given.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn n05_a_hostile_path_cannot_add_a_line() {
        let mut quiet = Quiet::default();
        quiet.muted.insert("/tmp/a\nexpect /usr/bin/sudo\r\\n".into());
        quiet.expected.insert("/opt/it/updates itself".into());
        assert_eq!(quiet.text().lines().count(), 2);
        assert_eq!(Quiet::parse(&quiet.text()), quiet);
    }

    #[test]
    fn n04_what_is_saved_is_there_after_a_restart() {
        let folder = std::env::temp_dir().join(format!("picosnitch-quiet-{}", std::process::id()));
        let file = folder.join("picosnitch/quiet");
        assert_eq!(Quiet::load(&file).unwrap(), Quiet::default());
        let quiet = Quiet { muted: ["/usr/bin/curl".to_owned()].into(), ..Quiet::default() };
        quiet.save(&file).unwrap();
        assert_eq!(Quiet::load(&file).unwrap(), quiet);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn n04_what_another_program_changed_is_read_again() {
        let file = std::env::temp_dir().join(format!("picosnitch-latest-{}", std::process::id()));
        let mut latest = Latest { file: Some(file.clone()), ..Latest::default() };
        assert_eq!(*latest.read().unwrap(), Quiet::default());
        Quiet::change(&file, |quiet| quiet.muted.extend(["/a".to_owned()])).unwrap();
        assert!(latest.read().unwrap().muted.contains("/a"));
        std::fs::remove_file(file).unwrap();
        assert_eq!(*latest.read().unwrap(), Quiet::default());
    }

    #[test]
    fn n04_what_has_no_room_is_refused_and_not_lost_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quiet");
        Quiet::change(&file, |quiet| quiet.muted.extend((0..MAX_PROGRAMS).map(|n| n.to_string()))).unwrap();
        let full = Quiet::change(&file, |quiet| quiet.muted.extend(["/a".to_owned()])).unwrap_err();
        assert!(full.to_string().contains("2000 programs"), "{full}");
        assert_eq!(Quiet::load(&file).unwrap().muted.len(), MAX_PROGRAMS);
        // One that is there already, one for the other list, and one that goes.
        Quiet::change(&file, |quiet| quiet.muted.extend(["7".to_owned()])).unwrap();
        Quiet::change(&file, |quiet| quiet.expected.extend(["/a".to_owned()])).unwrap();
        Quiet::change(&file, |quiet| quiet.muted.retain(|path| path != "7")).unwrap();
        assert_eq!(Quiet::load(&file).unwrap().muted.len(), MAX_PROGRAMS - 1);
    }
}
