// SPDX-License-Identifier: GPL-3.0-or-later
//! The thread that listens to fanotify and to mounts. It sleeps until something happens.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::mounts::{self, Sort};
use super::place::Place;
use super::state::Held;
use super::{Shared, work};

/// Largest mountinfo that is read: some 100 000 mounts.
const MOUNTINFO: u64 = 16 * 1024 * 1024;

pub(super) struct Watch {
    shared: Arc<Shared>,
    /// The machine's mounts: those of process 1, or ours if that is not allowed.
    mountinfo: Option<File>,
    root: String,
}

impl Watch {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        for pid in ["1", "self"] {
            let root = format!("/proc/{pid}/root");
            if let Ok(file) = File::open(format!("/proc/{pid}/mountinfo"))
                && std::fs::metadata(&root).is_ok()
            {
                return Watch { shared, mountinfo: Some(file), root };
            }
        }
        Watch { shared, mountinfo: None, root: "/proc/self/root".into() }
    }

    /// Marks all filesystems that the machine sees, and learns which are local.
    ///
    /// # Errors
    /// If none could be marked: why the last one could not.
    pub(super) fn mark_machine(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.mountinfo else { return Err(io::ErrorKind::NotFound.into()) };
        let mut text = Vec::new();
        file.rewind()?;
        (&*file).take(MOUNTINFO).read_to_end(&mut text)?;
        let mounts = mounts::parse(&text);
        let local: HashSet<u32> =
            mounts.iter().filter(|mount| mount.sort() == Sort::Local).map(|mount| mount.dev).collect();
        self.shared.lock().mounted(local);
        self.mark(&self.root, &mounts)
    }

    fn mark(&self, root: &str, mounts: &[mounts::Mount]) -> io::Result<()> {
        let Some(execs) = &self.shared.execs else { return Ok(()) };
        let (mut marked, mut trouble) = (0, None);
        for mount in mounts::local(mounts) {
            let mut path = root.as_bytes().to_vec();
            path.extend_from_slice(&mount.point);
            match execs.mark_filesystem(&path) {
                Ok(()) => marked += 1,
                // Unmounted meanwhile, or hidden: /proc/PID/exe still serves.
                Err(error) => {
                    tracing::debug!(point = %String::from_utf8_lossy(&mount.point), %error, "no exec mark");
                    trouble = Some(error);
                }
            }
        }
        match trouble {
            Some(error) if marked == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Marks what another mount namespace holds.
    fn mark_namespace(&self, pid: u32) {
        let mut text = Vec::new();
        let read = File::open(format!("/proc/{pid}/mountinfo"))
            .and_then(|file| file.take(MOUNTINFO).read_to_end(&mut text));
        // Gone already, or it sees nothing that can be marked: /proc/PID/exe still serves.
        if read.is_ok()
            && let Err(error) = self.mark(&format!("/proc/{pid}/root"), &mounts::parse(&text))
        {
            tracing::debug!(pid, %error, "mount namespace without exec marks");
        }
    }

    /// Remembers what runs already, so that it has a path and a content even if it exits at once.
    fn adopt(&self) {
        let Ok(list) = std::fs::read_dir("/proc") else { return };
        for pid in list.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if let Ok(handle) = work::open_path(pid)
                && let Ok(file) = (self.shared.identify)(handle.as_fd())
                && let Some(place) = Place::of(&self.shared.identify, handle.as_fd(), pid)
            {
                let held = || Some(Held { fd: handle.into(), path_only: true });
                self.shared.lock().executed(pid, file, place, held);
            }
        }
    }

    /// Until the shared state is closed.
    pub(super) fn run(mut self) {
        self.adopt();
        loop {
            let (due, namespaces) = {
                let mut state = self.shared.lock();
                if state.closed {
                    return;
                }
                (state.tidy(Instant::now()), std::mem::take(&mut state.namespaces))
            };
            for pid in namespaces {
                self.mark_namespace(pid);
            }
            if self.wait(due) {
                self.mounts_changed();
            }
            self.shared.drain_changes();
            self.shared.drain_execs();
        }
    }

    /// Sleeps until something happens; true if mounts changed.
    fn wait(&self, due: Option<Instant>) -> bool {
        let shared = &self.shared;
        let mut fds = vec![PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.mountinfo.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)));
        for group in [&shared.execs, &shared.changes].into_iter().flatten() {
            fds.push(PollFd::new(group.as_fd(), PollFlags::POLLIN));
        }
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(Instant::now());
            // Rounded up: a millisecond late rather than awake too early, again and again.
            PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        if let Err(error) = poll(&mut fds, timeout)
            && error != Errno::EINTR
        {
            // Cannot happen with descriptors that are open; sleep rather than spin.
            tracing::error!(%error, "poll");
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        // Nothing to read if somebody else woke us.
        let _ = shared.wake.read();
        let mounts = PollFlags::POLLPRI | PollFlags::POLLERR;
        self.mountinfo.is_some()
            && fds.get(1).and_then(PollFd::revents).is_some_and(|events| events.intersects(mounts))
    }

    fn mounts_changed(&mut self) {
        if let Err(error) = self.mark_machine() {
            tracing::debug!(%error, "mounts changed, none could be marked");
        }
        let Some(changes) = &self.shared.changes else { return };
        match changes.marked_files() {
            Ok(marked) => self.shared.lock().keep_marked(&marked),
            Err(error) => {
                tracing::debug!(%error, "marks could not be listed");
                self.shared.lock().doubt_all(Instant::now());
            }
        }
    }
}
