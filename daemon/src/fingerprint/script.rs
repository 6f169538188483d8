// SPDX-License-Identifier: GPL-3.0-or-later
//! The script that an interpreter was told to run. Its path is an argument, and arguments are as hostile as
//! their process: the file is looked up in the root and the working directory of the process, opened with the
//! rights of the process and no others, and only if it is a regular file of a usual size.

// Groups of one thread alone need the system call: libc changes those of all threads.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::statfs::{SYSFS_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::place::Place;
use super::state::Held;
use super::{Shared, lookup, work};
use crate::model::FileId;

/// Larger files are no scripts, bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// File-system ids of a process, proc_pid_status(5).
#[derive(Debug, PartialEq, Eq)]
struct Rights {
    uid: u32,
    gid: u32,
    groups: Vec<libc::gid_t>,
}

impl Rights {
    fn of(pid: u32) -> Option<Rights> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Rights> {
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let last = |key: &str| line(key)?.split_whitespace().nth(3)?.parse().ok();
        let groups =
            line("Groups:")?.split_whitespace().map(|group| group.parse().ok()).collect::<Option<_>>()?;
        Some(Rights { uid: last("Uid:")?, gid: last("Gid:")?, groups })
    }

    /// Does something with these rights, in this thread alone. `None` if the kernel does not let us.
    fn with<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let taken = set_groups(&self.groups).is_ok() && self.take();
        let outcome = taken.then(work);
        // Root's own again; without them the next file could not be opened, no worse.
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        let _ = set_groups(&[]);
        outcome
    }

    /// The calls give what was set before, whether or not they could set anything.
    fn take(&self) -> bool {
        setfsgid(Gid::from_raw(self.gid));
        setfsuid(Uid::from_raw(self.uid));
        setfsgid(Gid::from_raw(u32::MAX)).as_raw() == self.gid
            && setfsuid(Uid::from_raw(u32::MAX)).as_raw() == self.uid
    }
}

fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: the kernel reads `len` ids from the slice, which lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Looks up, opens and remembers the script `argument` of process `pid`, which runs `interpreter`. May wait
/// for ever. `None` if there is no such file, or not for that process.
pub(super) fn find(
    shared: &Shared,
    pid: u32,
    argument: &[u8],
    interpreter: FileId,
) -> Option<(FileId, Place)> {
    let root = lookup::root(pid).ok()?;
    let mut path = Vec::new();
    if !argument.starts_with(b"/") {
        let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).ok();
        let (directory, top) = (link("cwd")?, link("root")?);
        // As the process has it: below its own root.
        let inside = directory.strip_prefix(&top).ok()?;
        path.extend_from_slice(inside.as_os_str().as_bytes());
        path.push(b'/');
    }
    path.extend_from_slice(argument);
    let rights = Rights::of(pid)?;
    // Asked afterwards: all of this was about that program.
    work::executable_of(shared, pid, interpreter).ok()??;
    let file = rights.with(|| read_only(&root, &path))?.ok()?;
    let identity = (shared.identify)(file.as_fd()).ok().filter(|identity| *identity != interpreter)?;
    let place = Place::of(&shared.identify, file.as_fd(), pid)?;
    shared.lock().executed(pid, identity, place.clone(), || Some(Held { fd: file.into(), path_only: false }));
    Some((identity, place))
}

fn read_only(root: &std::os::fd::OwnedFd, path: &[u8]) -> io::Result<File> {
    let handle = File::from(lookup::find(root.as_fd(), path)?);
    let meta = handle.metadata()?;
    // Files of /proc have no size.
    if !meta.is_file() || meta.len() == 0 || meta.len() > LARGEST {
        return Err(Errno::EINVAL.into());
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(link)?;
    if fstatfs(&file)?.filesystem_type() == SYSFS_MAGIC {
        return Err(Errno::EINVAL.into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rights_are_read_from_status() {
        let status =
            "Name:\tUid: 1 1 1 1\nUid:\t1000\t1000\t0\t1001\nGid:\t5\t6\t7\t8\nGroups:\t4 24 1000 \n";
        let rights = Rights::parse(status).unwrap();
        assert_eq!(rights, Rights { uid: 1001, gid: 8, groups: vec![4, 24, 1000] });
        assert_eq!(Rights::parse("Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t\n").unwrap().groups.len(), 0);
        assert!(Rights::parse("Uid:\t1\n").is_none());
    }

    #[test]
    #[ignore = "needs root"]
    fn root_i14_a_file_is_opened_with_the_rights_of_the_process_alone() {
        let directory = tempfile::tempdir().unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(directory.path(), private).unwrap();
        let secret = directory.path().join("secret.py");
        std::fs::write(&secret, "print()\n").unwrap();
        let root = lookup::root(std::process::id()).unwrap();
        let open = |uid, gid| {
            let rights = Rights { uid, gid, groups: Vec::new() };
            rights.with(|| read_only(&root, secret.as_os_str().as_bytes())).unwrap()
        };
        assert!(open(0, 0).is_ok());
        // The directory is its owner's alone.
        assert_eq!(open(65_534, 65_534).unwrap_err().raw_os_error(), Some(libc::EACCES));
        assert!(open(0, 0).is_ok(), "root's rights are back");
        for odd in ["/dev/zero", "/proc/version", "/tmp", "/nowhere"] {
            let rights = Rights { uid: 0, gid: 0, groups: Vec::new() };
            assert!(rights.with(|| read_only(&root, odd.as_bytes())).unwrap().is_err(), "{odd}");
        }
    }
}
