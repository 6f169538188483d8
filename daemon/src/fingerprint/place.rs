// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a file lies, asked through a descriptor.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use super::{Identify, lookup};
use crate::model::Bytes;

const DELETED: &[u8] = b" (deleted)";

/// Where an executable lay when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path as the process that used it has it; without `" (deleted)"` unless that is part of the name.
    pub path: Bytes,
    /// The name is gone: unlinked, or another file was renamed over it.
    pub deleted: bool,
}

impl Place {
    /// Asks the kernel, and nobody that it would have to wait for. `pid` is a process in whose root the path
    /// would be found. `None` if /proc fails.
    pub(crate) fn of(identify: &Identify, fd: BorrowedFd<'_>, pid: u32) -> Option<Place> {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let target = std::fs::read_link(&link).ok()?.into_os_string().into_vec();
        let Some(path) = target.strip_suffix(DELETED) else {
            return Some(Place { path: target.into(), deleted: false });
        };
        // A file that is in use and has this very name is in memory.
        let named = || {
            let there = lookup::cached(lookup::root(pid).ok()?.as_fd(), &target).ok()?;
            Some(identify(there.as_fd()).ok()? == identify(fd).ok()?)
        };
        Some(match named() {
            Some(true) => Place { path: target.into(), deleted: false },
            _ => Place { path: path.into(), deleted: true },
        })
    }
}
