// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a file lies, asked through a descriptor.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::model::Bytes;

const DELETED: &[u8] = b" (deleted)";

/// Where an executable lay when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path as the process that used it has it; without `" (deleted)"` unless that is part of the name.
    pub path: Bytes,
    /// The name is gone: unlinked, or another file was renamed over it.
    pub deleted: bool,
    /// `st_dev` and `st_ino`, to compare with what `stat` says of a path.
    pub stat: (u64, u64),
}

impl Place {
    /// Asks the kernel. `pid` is a process in whose root the path would be found. `None` if /proc fails.
    pub(crate) fn of(fd: BorrowedFd<'_>, pid: u32) -> Option<Place> {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let target = std::fs::read_link(&link).ok()?.into_os_string().into_vec();
        let stat = nix::sys::stat::fstat(fd).ok()?;
        let stat = (stat.st_dev, stat.st_ino);
        let mut place = Place { path: target.as_slice().into(), deleted: false, stat };
        if let Some(path) = target.strip_suffix(DELETED)
            && stat_in_root(pid, &target) != Some(stat)
        {
            place.path = path.into();
            place.deleted = true;
        }
        Some(place)
    }
}

/// `st_dev` and `st_ino` of a path as a process sees it.
pub(crate) fn stat_in_root(pid: u32, path: &[u8]) -> Option<(u64, u64)> {
    let mut full = format!("/proc/{pid}/root").into_bytes();
    full.extend_from_slice(path);
    let full = PathBuf::from(OsString::from_vec(full));
    debug_assert!(full.as_os_str().as_bytes().starts_with(b"/proc/"));
    let stat = std::fs::metadata(full).ok()?;
    Some((stat.dev(), stat.ino()))
}
