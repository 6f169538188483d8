// SPDX-License-Identifier: GPL-3.0-or-later
//! What /proc says about processes. Everything here may be gone the next moment.

use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::errno::Errno;

use super::errands::Errands;
use crate::fingerprint::{Identify, lookup};
use crate::model::FileId;

/// Longest command line that is kept, bytes.
pub(super) const CMDLINE: usize = 4096;

/// Arguments as rows have them: separated by spaces instead of NULs, cut at [`CMDLINE`].
pub(super) fn join_arguments(raw: &[u8]) -> Vec<u8> {
    let raw = &raw[..raw.len().min(CMDLINE)];
    let end = raw.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    raw[..end].iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect()
}

/// The command line of a process that started at `start` (CLOCK_BOOTTIME ns); `None` if it is gone, or
/// about to be: a zombie has no arguments any more.
pub(super) fn cmdline(pid: u32, start: u64) -> Option<Vec<u8>> {
    let mut raw = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(CMDLINE as u64).read_to_end(&mut raw).ok()?;
    // Asked afterwards: the pid was its own all the time.
    (!raw.is_empty() && started(pid)? == ticks(start)).then(|| join_arguments(&raw))
}

/// `starttime` of proc_pid_stat(5), in clock ticks since boot.
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    start_time(&stat)
}

/// The name in parentheses may hold anything, so the fields are counted from the last `)`.
fn start_time(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let text = std::str::from_utf8(stat.get(after..)?).ok()?;
    text.split(' ').nth(19)?.parse().ok()
}

/// Nanoseconds as the clock ticks of /proc: 100 in a second on every architecture Linux has for us.
fn ticks(ns: u64) -> u64 {
    ns / 10_000_000
}

/// The machine, as opposed to a container: how process 1 sees it, or how we do if it may not be looked at.
pub(super) struct Machine {
    identify: Identify,
    /// Mount namespace.
    pub(super) mntns: Option<u32>,
    root: Option<Arc<OwnedFd>>,
}

impl Machine {
    pub(super) fn find(identify: Identify) -> Self {
        let (pid, root) = match lookup::root(1) {
            Ok(root) => (1, Some(root)),
            Err(_) => (std::process::id(), lookup::root(std::process::id()).ok()),
        };
        Machine { identify, mntns: mntns(pid), root: root.map(Arc::new) }
    }

    /// What lies at a path on this machine. `None` if nothing does, or nobody says what.
    pub(super) fn at(&self, path: &[u8], errands: &mut Errands) -> Option<FileId> {
        let root = self.root.as_ref()?;
        let identify = Arc::clone(&self.identify);
        match lookup::cached(root.as_fd(), path) {
            Ok(file) => identify(file.as_fd()).ok(),
            Err(Errno::EAGAIN) => {
                let (root, path) = (Arc::clone(root), path.to_vec());
                errands.ask(move || identify(lookup::find(root.as_fd(), &path).ok()?.as_fd()).ok()).flatten()
            }
            Err(Errno::EMFILE | Errno::ENFILE) => {
                errands.missed();
                None
            }
            Err(_) => None,
        }
    }

    /// Whether a process has the machine's root directory; `None` if it is gone.
    pub(super) fn has_root(&self, pid: u32) -> Option<bool> {
        let ours = (self.identify)(self.root.as_ref()?.as_fd()).ok()?;
        Some((self.identify)(lookup::root(pid).ok()?.as_fd()).ok()? == ours)
    }
}

fn mntns(pid: u32) -> Option<u32> {
    u32::try_from(std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments_are_joined_and_cut() {
        assert_eq!(join_arguments(b"a\0b c\0\0d\0"), b"a b c  d");
        assert_eq!(join_arguments(b""), b"");
        assert_eq!(join_arguments(b"\0\0"), b"");
        assert_eq!(join_arguments(b"\xff\x1b[31m\0x"), b"\xff\x1b[31m x", "bytes are kept as they are");
        assert_eq!(join_arguments(&[b'x'; 2 << 20]).len(), CMDLINE);
    }

    #[test]
    fn i16_a_hostile_name_does_not_shift_the_fields() {
        let stat = b"42 (a) R 1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20\n";
        assert_eq!(start_time(stat), Some(777));
        assert_eq!(start_time(b"garbage"), None);
        assert_eq!(start_time(b"1 (x)"), None);
    }

    #[test]
    fn i06_a_pid_of_another_start_has_no_command_line() {
        let pid = std::process::id();
        let start = started(pid).unwrap() * 10_000_000;
        assert!(cmdline(pid, start + 3).is_some());
        assert_eq!(cmdline(pid, start + 20_000_000), None);
    }
}
