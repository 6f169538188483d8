// SPDX-License-Identifier: GPL-3.0-or-later
//! A file that is there when it is whole, and that nobody but its owner reads: exports of the clients.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// See the module. One that is dropped before [`Part::keep`] leaves what was there before.
#[derive(Debug)]
pub struct Part {
    /// What is written to.
    pub file: File,
    /// The file and the name it gets; `None` where the wanted one is written as it is (a device, a FIFO).
    rename: Option<(PathBuf, PathBuf)>,
    /// Nothing may have that name.
    fresh: bool,
}

impl Part {
    /// Begins the file of this name: beside it, so that what was there before is lost for nothing less than all of
    /// the new one. With `fresh` nothing may be there.
    ///
    /// # Errors
    /// As opening it gives.
    pub fn create(path: &Path, fresh: bool) -> io::Result<Self> {
        if fresh && path.symlink_metadata().is_ok() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            return Ok(Self { file: OpenOptions::new().write(true).open(path)?, rename: None, fresh });
        }
        let part = Self::beside(path)?;
        // Only a file of ours: nothing that somebody has put in the way.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Self { file, rename: Some((part, path.to_owned())), fresh })
    }

    /// Where the file of this name is until it is whole. One of a process that was killed stays there.
    ///
    /// # Errors
    /// It is not the name of a file.
    pub(crate) fn beside(path: &Path) -> io::Result<PathBuf> {
        let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        Ok(path.with_file_name(name))
    }

    /// It is whole: from now on it has its name.
    ///
    /// # Errors
    /// As renaming it gives, with `fresh` also that the name is taken meanwhile; then nothing is left of it.
    pub fn keep(mut self) -> io::Result<()> {
        if let Some((part, path)) = &self.rename {
            if self.fresh {
                // It refuses what is there; the second name goes with `self`.
                match std::fs::hard_link(part, path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                    // A file has one name on this file system.
                    Err(_) if path.symlink_metadata().is_err() => std::fs::rename(part, path)?,
                    done => done?,
                }
                return Ok(());
            }
            std::fs::rename(part, path)?;
        }
        self.rename = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.rename {
            let _ = std::fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn count(dir: &tempfile::TempDir) -> usize {
        dir.path().read_dir().unwrap().count()
    }

    #[test]
    fn a_file_appears_when_it_is_whole_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("week.csv");
        let mut part = Part::create(&path, false).unwrap();
        part.file.write_all(b"time\n").unwrap();
        assert!(!path.exists());
        part.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"time\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(count(&dir), 1);
    }

    #[test]
    fn one_that_is_not_whole_leaves_nothing_and_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("week.csv");
        std::fs::write(&path, b"old").unwrap();
        drop(Part::create(&path, false).unwrap());
        assert!(Part::create(&path, true).is_err(), "something is there");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let fresh = dir.path().join("fresh.csv");
        drop(Part::create(&fresh, true).unwrap());
        assert_eq!(count(&dir), 1);
        let part = Part::create(&fresh, true).unwrap();
        assert!(!fresh.exists());
        part.keep().unwrap();
        assert_eq!((fresh.exists(), count(&dir)), (true, 2));
        // Somebody takes the name meanwhile.
        let taken = dir.path().join("taken.csv");
        let part = Part::create(&taken, true).unwrap();
        std::fs::write(&taken, b"theirs").unwrap();
        assert_eq!(part.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((std::fs::read(&taken).unwrap().as_slice(), count(&dir)), (b"theirs".as_slice(), 3));
        assert!(Part::create(Path::new("/dev/null"), false).unwrap().rename.is_none());
        assert!(Part::create(&dir.path().join("no/such/dir.csv"), false).is_err());
    }
}
