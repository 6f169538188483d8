// SPDX-License-Identifier: GPL-3.0-or-later
//! What fanotify(7) tells: files as they are executed, each with an open descriptor, and changes of
//! files whose content is known. Two groups, so that asking for changes never waits for execs.

// Owning the descriptor that comes with an event is all that is unsafe here.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

/// Events taken in one go; a flood is then interrupted so that others get the lock.
const BATCH: usize = 4096;

/// Bytes of one event, `struct fanotify_event_metadata`.
const LENGTH: usize = 24;

/// A file that was executed or changed, and by whom.
pub(super) struct Event {
    pub(super) file: OwnedFd,
    pub(super) pid: u32,
}

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

    /// Takes what is queued, at most a batch. Of what was lost `event` is given the reason.
    pub(super) fn drain(&self, mut event: impl FnMut(Result<Event, Errno>)) {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..BATCH {
            match self.next() {
                Ok(one) => event(Ok(one)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The event is gone: its file could not be opened, or no descriptor was left.
                Err(error) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    event(Err(error));
                }
            }
        }
    }

    /// Takes one event. When several are taken at once and no descriptor is left for one of them, the kernel
    /// drops it without a word.
    fn next(&self) -> Result<Event, Errno> {
        let mut bytes = [0; LENGTH];
        let length = nix::unistd::read(self.as_fd(), &mut bytes)?;
        let number = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        match (number(16), number(20)) {
            (Some(fd), Some(pid)) if length == LENGTH && fd >= 0 => {
                // SAFETY: the kernel has just opened it for us; nobody else knows its number.
                let file = unsafe { OwnedFd::from_raw_fd(fd) };
                Ok(Event { file, pid: pid.cast_unsigned() })
            }
            // The queue was full.
            _ => Err(Errno::ENOBUFS),
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
