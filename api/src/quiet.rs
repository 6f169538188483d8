// SPDX-License-Identifier: GPL-3.0-or-later
//! What one person does not want to be told about, in a small file of their own that tray and window
//! share: muted programs, and programs that are expected to change. Everything is recorded all the same.
//!
//! One line each, `mute PATH` or `expect PATH`, for a container's program `mute-foreign PATH` or `expect-foreign PATH`;
//! in a path a backslash is `\\` and a line feed `\n`. Lines of other kinds are kept out of the way of an older version,
//! not kept in the file.

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

/// Which program: a container's is another one than the host's of the same path.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Its path, as rows have it.
    pub path: String,
    /// The path is one of another root ([`Event::foreign_root`]).
    pub foreign: bool,
}

impl Program {
    /// What the row says; an absent `foreign_root` is the host's.
    #[must_use]
    pub fn new(path: impl Into<String>, foreign_root: Option<bool>) -> Self {
        Self { path: path.into(), foreign: foreign_root == Some(true) }
    }

    /// That of a notice; `None` if it is about none.
    #[must_use]
    pub fn of(row: &Event) -> Option<Self> {
        row.path.as_ref().map(|path| Self::new(path.as_str(), row.foreign_root))
    }
}

/// The host's.
impl From<&str> for Program {
    fn from(path: &str) -> Self {
        Self::new(path, None)
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Programs that no notification is shown for.
    pub muted: BTreeSet<Program>,
    /// Programs whose changes no notification is shown for.
    pub expected: BTreeSet<Program>,
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
        Program::of(row).is_some_and(|program| self.holds(&program, changed))
    }

    /// Nobody is to be told of this program, or of its change.
    #[must_use]
    pub fn holds(&self, program: &Program, changed: bool) -> bool {
        self.muted.contains(program) || (changed && self.expected.contains(program))
    }

    fn parse(text: &str) -> Self {
        let mut quiet = Self::default();
        for line in text.lines() {
            let Some((word, path)) = line.split_once(' ') else { continue };
            let (into, foreign) = match word {
                "mute" => (&mut quiet.muted, false),
                "mute-foreign" => (&mut quiet.muted, true),
                "expect" => (&mut quiet.expected, false),
                "expect-foreign" => (&mut quiet.expected, true),
                _ => continue,
            };
            if into.len() < MAX_PROGRAMS {
                into.insert(Program { path: unescape(path), foreign });
            }
        }
        quiet
    }

    fn text(&self) -> String {
        let lines = |word: &'static str, programs: &BTreeSet<Program>| -> String {
            let kind = |program: &Program| if program.foreign { "-foreign" } else { "" };
            let line = |program: &Program| format!("{word}{} {}\n", kind(program), escape(&program.path));
            programs.iter().map(line).collect()
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
    fn n04_a_container_s_program_is_not_the_host_s_of_the_same_path() {
        let notice = |kind: &str, foreign_root| Event {
            kind: Some(kind.into()),
            path: Some("/usr/bin/curl".into()),
            foreign_root,
            ..Event::default()
        };
        // What older versions wrote is about the host's.
        let host = Quiet::parse("mute /usr/bin/curl\nexpect /usr/bin/curl\n");
        let inside = Quiet::parse("mute-foreign /usr/bin/curl\nexpect-foreign /usr/bin/curl\n");
        for (quiet, foreign) in [(&host, None), (&inside, Some(true))] {
            let (muted, expected) = (quiet.muted.clone(), quiet.expected.clone());
            for root in [None, Some(false), Some(true)] {
                let same = root.unwrap_or(false) == foreign.unwrap_or(false);
                assert_eq!(quiet.hides(&notice("new-executable", root)), same, "{root:?} {foreign:?}");
                let mutes = Quiet { muted: muted.clone(), ..Quiet::default() };
                assert_eq!(mutes.hides(&notice("verdict", root)), same, "{root:?} {foreign:?}");
                let expects = Quiet { expected: expected.clone(), ..Quiet::default() };
                assert_eq!(expects.hides(&notice("hash-changed", root)), same, "{root:?} {foreign:?}");
                assert!(!expects.hides(&notice("new-executable", root)));
            }
        }
        let both = Quiet::parse(&format!("{}{}", host.text(), inside.text()));
        assert_eq!((both.muted.len(), both.expected.len()), (2, 2));
        assert_eq!(Quiet::parse(&both.text()), both);
    }

    #[test]
    fn n04_what_is_saved_is_there_after_a_restart() {
        let folder = std::env::temp_dir().join(format!("picosnitch-quiet-{}", std::process::id()));
        let file = folder.join("picosnitch/quiet");
        assert_eq!(Quiet::load(&file).unwrap(), Quiet::default());
        let quiet = Quiet { muted: ["/usr/bin/curl".into()].into(), ..Quiet::default() };
        quiet.save(&file).unwrap();
        assert_eq!(Quiet::load(&file).unwrap(), quiet);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn n04_what_another_program_changed_is_read_again() {
        let file = std::env::temp_dir().join(format!("picosnitch-latest-{}", std::process::id()));
        let mut latest = Latest { file: Some(file.clone()), ..Latest::default() };
        assert_eq!(*latest.read().unwrap(), Quiet::default());
        Quiet::change(&file, |quiet| quiet.muted.extend(["/a".into()])).unwrap();
        assert!(latest.read().unwrap().muted.contains(&"/a".into()));
        std::fs::remove_file(file).unwrap();
        assert_eq!(*latest.read().unwrap(), Quiet::default());
    }

    #[test]
    fn n04_what_has_no_room_is_refused_and_not_lost_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quiet");
        Quiet::change(&file, |quiet| {
            quiet.muted.extend((0..MAX_PROGRAMS).map(|n| Program::new(n.to_string(), None)))
        })
        .unwrap();
        let full = Quiet::change(&file, |quiet| quiet.muted.extend(["/a".into()])).unwrap_err();
        assert!(full.to_string().contains("2000 programs"), "{full}");
        assert_eq!(Quiet::load(&file).unwrap().muted.len(), MAX_PROGRAMS);
        // One that is there already, one for the other list, and one that goes.
        Quiet::change(&file, |quiet| quiet.muted.extend(["7".into()])).unwrap();
        Quiet::change(&file, |quiet| quiet.expected.extend(["/a".into()])).unwrap();
        Quiet::change(&file, |quiet| quiet.muted.retain(|program| program.path != "7")).unwrap();
        assert_eq!(Quiet::load(&file).unwrap().muted.len(), MAX_PROGRAMS - 1);
    }
}
