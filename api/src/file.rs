// SPDX-License-Identifier: GPL-3.0-or-later
//! Small files of one person: where they are, and how they are written.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::Part;

/// A folder of the XDG base directories: what the variable says, else this one of the home; `None` for an account
/// that has no home.
#[must_use]
pub fn folder(variable: &str, of_home: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable).or_else(|| Some(set("HOME")?.join(of_home)))
}

/// Writes the file anew, whole or not at all. Its folder is made if it is not there.
///
/// # Errors
/// Whatever creating the folder and the file gives.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(file.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let mut part = match Part::create(file, false) {
        // What a process with our number left when it was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(Part::beside(file)?)?;
            Part::create(file, false)?
        }
        part => part?,
    };
    part.file.write_all(text.as_bytes())?;
    part.file.sync_all()?;
    part.keep()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper/small");
        replace(&file, "one\n").unwrap();
        replace(&file, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n");
        std::fs::write(Part::beside(&file).unwrap(), "o").unwrap();
        replace(&file, "three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "three\n");
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        replace(&taken, "three\n").unwrap_err();
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "only what was there");
        assert_eq!(file.parent().unwrap().read_dir().unwrap().count(), 1);
    }
}
