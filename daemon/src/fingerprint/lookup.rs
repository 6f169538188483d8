// SPDX-License-Identifier: GPL-3.0-or-later
//! Which file lies at a path, without waiting for a disk or a file server where the caller cannot wait.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// `RESOLVE_CACHED` of openat2(2), Linux 5.12: fails with EAGAIN where anything but memory has to be asked.
const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(0x20);

/// The root directory of a process, as an O_PATH descriptor: nothing on its file system is asked.
///
/// # Errors
/// The process is gone, or may not be looked at.
pub(crate) fn root(pid: u32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = OpenOptions::new().read(true).custom_flags(flags.bits()).open(format!("/proc/{pid}/root"))?;
    Ok(root.into())
}

/// What lies at a path below a root, as an O_PATH descriptor, by what the kernel has in memory.
///
/// # Errors
/// `EAGAIN`: a disk or a server would have to be asked; ask [`find`] where there is time.
pub(crate) fn cached(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(root, path, OFlag::O_PATH, CACHED)
}

/// What lies at a path below a root, as an O_PATH descriptor. May wait for ever.
///
/// # Errors
/// It is not there, or not for us.
pub(crate) fn find(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(root, path, OFlag::O_PATH, ResolveFlag::empty())
}

fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlag, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    let resolve = resolve | ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}
