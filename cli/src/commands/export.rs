// SPDX-License-Identifier: GPL-3.0-or-later
//! `export`: the daemon writes into a descriptor of ours; nothing is paged and nothing passes through
//! here, unless a person would see it on a terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use picosnitch_api::inert;

use crate::args::{ExportArgs, Format};
use crate::client;
use crate::failure::Failure;
use crate::out::Out;
use crate::time;

/// Runs `export`.
///
/// # Errors
/// As the daemon or the file says it. A file that could not be written whole is not left behind.
pub async fn run(args: &ExportArgs, out: &mut Out) -> Result<(), Failure> {
    let query = args.filters.query(time::now())?;
    let format = args.format.unwrap_or(if out.json { Format::Jsonl } else { Format::Csv });
    let asking = client::connect_asking(query.scope.is_some()).await?;
    let export = async |into: OwnedFd| {
        asking.client.export(args.what.into(), format.into(), &query, into).await.map_err(Failure::from)
    };
    match &args.output {
        Some(path) => {
            let target = Target::open(path)?;
            let into = target
                .file
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Failure::file(path, "write", &error))?;
            export(into).await?;
            target.keep()
        }
        // What a row holds was chosen by others: a person's terminal gets it inert, anything else as it is.
        None if io::stdout().is_terminal() => {
            let (read, write) = io::pipe()?;
            let show = std::thread::spawn(move || show(read));
            let result = export(write.into()).await;
            match show.join() {
                Ok(shown) => result.and(shown),
                Err(_) => Err(Failure::new("the output ended early")),
            }
        }
        None => {
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            match export(stdout).await {
                Err(failure) if reader_gone() => Err(Failure { quiet: true, ..failure }),
                result => result,
            }
        }
    }
}

/// Whether nobody reads our standard output any more (`export | head`): the service met it, not this process.
fn reader_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let broken = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|found| found.intersects(broken))
}

fn show(read: io::PipeReader) -> Result<(), Failure> {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut out = io::stdout().lock();
    while read.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        writeln!(out, "{}", inert(text.trim_end_matches('\n')))?;
        line.clear();
    }
    Ok(())
}

/// Where an export goes: a file beside the wanted one until it is whole.
#[derive(Debug)]
struct Target {
    file: File,
    /// The file and the name it gets; `None` where the wanted one is written as it is (a device, a FIFO).
    rename: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::file(path, "write", &error);
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
            return Ok(Self { file, rename: None });
        }
        let mut name = path.file_name().ok_or_else(|| fail(io::ErrorKind::IsADirectory.into()))?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(fail)?;
        Ok(Self { file, rename: Some((part, path.to_owned())) })
    }

    fn keep(mut self) -> Result<(), Failure> {
        if let Some((part, path)) = self.rename.take() {
            std::fs::rename(&part, &path).map_err(|error| {
                let _ = std::fs::remove_file(&part);
                Failure::file(&path, "write", &error)
            })?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.rename {
            // It may be gone already.
            let _ = std::fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("week.csv");
        let mut target = Target::open(&path).unwrap();
        target.file.write_all(b"time\n").unwrap();
        assert!(!path.exists());
        target.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"time\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_failed_export_leaves_nothing_and_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("week.csv");
        std::fs::write(&path, b"old").unwrap();
        drop(Target::open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
        assert!(Target::open(Path::new("/dev/null")).unwrap().rename.is_none());
        assert!(Target::open(&dir.path().join("no/such/dir.csv")).is_err());
    }
}
