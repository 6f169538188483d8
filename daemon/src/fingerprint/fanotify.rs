// SPDX-License-Identifier: GPL-3.0-or-later
//! What fanotify(7) tells: files as they are executed, each with an open descriptor, and changes of
//! files whose content is known. Two groups, so that asking for changes never waits for execs.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, FanotifyEvent, InitFlags, MarkFlags, MaskFlags};

/// Events taken in one go; a flood is then interrupted so that others get the lock.
const BATCH: usize = 4096;

/// One fanotify group.
pub(super) struct Group {
    fanotify: Fanotify,
    /// Held while events are taken: whoever returns from [`Group::drain`] knows that all events which
    /// were queued when it was called have been handled.
    reading: Mutex<()>,
    /// Times the queue overflowed, or an event could not be opened.
    pub(super) lost: AtomicU64,
}

impl Group {
    pub(super) fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_MARKS;
        let files = EventFFlags::O_RDONLY
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_NOATIME
            | EventFFlags::O_NONBLOCK;
        let fanotify = Fanotify::init(flags, files)?;
        Ok(Group { fanotify, reading: Mutex::new(()), lost: AtomicU64::new(0) })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }

    /// Executions on a whole filesystem, named by a path on it.
    pub(super) fn mark_filesystem(&self, path: &[u8]) -> io::Result<()> {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        Ok(self.fanotify.mark(flags, MaskFlags::FAN_OPEN_EXEC, AT_FDCWD, Some(path))?)
    }

    /// Changes of one file. The mark keeps the inode in memory.
    pub(super) fn mark_file(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.fanotify.mark(MarkFlags::FAN_MARK_ADD, changes(), file, None::<&str>)?)
    }

    /// No longer.
    pub(super) fn unmark_file(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.fanotify.mark(MarkFlags::FAN_MARK_REMOVE, changes(), file, None::<&str>)?)
    }

    /// Takes back the marks of all files.
    pub(super) fn flush_files(&self) -> io::Result<()> {
        Ok(self.fanotify.mark(MarkFlags::FAN_MARK_FLUSH, MaskFlags::empty(), AT_FDCWD, Some("/"))?)
    }

    /// (ino, dev) of every file that is marked, as /proc/self/fdinfo lists them.
    pub(super) fn marked_files(&self) -> io::Result<HashSet<(u64, u32)>> {
        let path = format!("/proc/self/fdinfo/{}", self.as_fd().as_raw_fd());
        Ok(marks(&std::fs::read_to_string(path)?))
    }

    /// Takes what is queued, at most a batch. Gives false to `event` what was lost: `None`.
    pub(super) fn drain(&self, mut event: impl FnMut(Option<&FanotifyEvent>)) {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while taken < BATCH {
            match self.fanotify.read_events() {
                Ok(events) if events.is_empty() => return,
                Ok(events) => {
                    taken += events.len();
                    for one in &events {
                        if one.mask().contains(MaskFlags::FAN_Q_OVERFLOW) || one.fd().is_none() {
                            self.lost.fetch_add(1, Ordering::Relaxed);
                            event(None);
                        } else {
                            event(Some(one));
                        }
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The event is gone: its file could not be opened, or no descriptor was left.
                Err(_) => {
                    taken += 1;
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    event(None);
                }
            }
        }
    }
}

fn changes() -> MaskFlags {
    // Writes through a shared mapping are told when the last descriptor of the writer is closed.
    MaskFlags::FAN_MODIFY | MaskFlags::FAN_CLOSE_WRITE
}

/// The inode marks in a fanotify group's fdinfo, proc_pid_fdinfo(5).
fn marks(text: &str) -> HashSet<(u64, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("fanotify ino:")?.split(' ');
            let ino = u64::from_str_radix(words.next()?, 16).ok()?;
            let dev = u32::from_str_radix(words.next()?.strip_prefix("sdev:")?, 16).ok()?;
            Some((ino, dev))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fdinfo() {
        let text = "pos:\t0\nflags:\t04002\nfanotify flags:10 event-flags:8000\n\
            fanotify ino:4f969 sdev:800013 mflags:0 mask:3b ignored_mask:40000000 fhandle-bytes:8\n\
            fanotify sdev:fe00000 mflags:0 mask:1000 ignored_mask:0\n";
        assert_eq!(marks(text), HashSet::from([(0x4f969, 0x80_0013)]));
    }
}
