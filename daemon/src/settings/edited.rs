// SPDX-License-Identifier: GPL-3.0-or-later
//! Notices that somebody edited the settings file, whichever way their editor writes it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// How long a file is left alone before it is read: a shell that writes it in two steps leaves half of it
/// behind, for a moment, and what is left out has its default.
const QUIET: Duration = Duration::from_secs(1);

/// See the module. Watches folders: an editor puts a new file in place of the old one. To be made anew after each edit:
/// it knows the folders that were there when it was made, and of links that lead to links the first and the last.
pub struct Edited {
    inotify: AsyncFd<Watcher>,
    /// Folder and name of the file, and of what it leads to if it is a link.
    places: Vec<(WatchDescriptor, OsString)>,
    /// When to read the file.
    due: Option<Instant>,
}

struct Watcher(Inotify);

impl AsRawFd for Watcher {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Edited {
    /// Watches this file, which need not be there. To be called within a runtime.
    ///
    /// # Errors
    /// Its folder is not there, or the user has too many watches.
    pub fn watch(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut files: Vec<PathBuf> = vec![path.to_owned()];
        files.extend(path.canonicalize().ok().filter(|target| target != path));
        let mut places = Vec::new();
        for file in files {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let wanted = AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF;
            let watch = inotify.add_watch(folder.unwrap_or(Path::new(".")), wanted)?;
            places.push((watch, file.file_name().unwrap_or_default().to_owned()));
        }
        #[expect(deprecated, reason = "the safe one: a watcher keeps its one descriptor until it is dropped")]
        let inotify = AsyncFd::new(Watcher(inotify))?;
        Ok(Edited { inotify, places, due: None })
    }

    /// Waits until the file was edited and has been left alone since. May be dropped at any moment and called
    /// again.
    ///
    /// # Errors
    /// The watch does not work any more.
    pub async fn wait(&mut self) -> io::Result<()> {
        loop {
            let mut readable = match self.due {
                None => self.inotify.readable().await?,
                Some(due) => match tokio::time::timeout_at(due, self.inotify.readable()).await {
                    Ok(readable) => readable?,
                    Err(_) => {
                        self.due = None;
                        return Ok(());
                    }
                },
            };
            // All there is gets taken below; what comes after this moment makes it readable again.
            readable.clear_ready();
            drop(readable);
            if self.touched()? {
                self.due = Some(Instant::now() + QUIET);
            }
        }
    }

    /// The file is read now anyway: what was edited until here is no news.
    ///
    /// # Errors
    /// The watch does not work any more.
    pub fn read(&mut self) -> io::Result<()> {
        self.due = None;
        self.touched().map(drop)
    }

    /// Takes what the kernel has noticed; whether the file is among it.
    fn touched(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            match self.inotify.get_ref().0.read_events() {
                Ok(events) => {
                    any |= events.iter().any(|event| {
                        // More happened than the kernel keeps, or the folder is another one.
                        event.mask.intersects(
                            AddWatchFlags::IN_Q_OVERFLOW
                                | AddWatchFlags::IN_DELETE_SELF
                                | AddWatchFlags::IN_MOVE_SELF,
                        ) || self.places.iter().any(|(watch, name)| {
                            event.wd == *watch && event.name.as_deref() == Some(name.as_os_str())
                        })
                    });
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(any)
    }
}
