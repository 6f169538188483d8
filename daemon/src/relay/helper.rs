// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper as a process: started as somebody who may do nothing, spoken to over a socket, killed when
//! it is not needed or does not answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use picosnitch_relay_wire::{Answer, Ask, pair, receive_answer, send};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Way;

/// Account of the helper (`data/picosnitch.sysusers`), and what is used where that was not made.
const ACCOUNTS: [&str; 2] = ["picosnitch-relay", "nobody"];
/// Number of `nobody` on every Linux that names it differently.
const NOBODY: u32 = 65_534;
/// Room for what is asked, bytes: a batch of rows and what the kernel adds.
const ROOM: usize = 512 * 1024;

/// A running helper. Dropping it closes the socket, on which it ends, and ends it if the daemon started it.
pub(super) struct Helper {
    socket: OwnedFd,
    child: Option<Child>,
}

impl Helper {
    /// Starts it, or has it started.
    ///
    /// # Errors
    /// The program or the socket is not there, or no process can be made.
    pub(super) fn start(way: &Way) -> io::Result<Self> {
        let helper = match way {
            Way::Socket(path) => {
                let flags = SocketFlags::CLOEXEC;
                let socket =
                    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
                rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
                Self { socket, child: None }
            }
            Way::Program(path) => {
                let (ours, theirs) = pair()?;
                let child = spawn(path, theirs)?;
                Self { socket: ours, child: Some(child) }
            }
        };
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&helper.socket, ROOM);
        Ok(helper)
    }

    /// Asks; never waits.
    ///
    /// # Errors
    /// It is gone, or does not read.
    pub(super) fn ask(&self, ask: &Ask, rest: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let head = serde_json::to_vec(ask)?;
        send(&self.socket, &[&head, b"\n", rest], descriptor, false)
    }

    /// An answer, if there is one. `Ok(None)`: it has ended.
    ///
    /// # Errors
    /// `WouldBlock` without one; anything else: it does not keep to what was agreed.
    pub(super) fn answer(&self) -> io::Result<Option<Answer>> {
        receive_answer(&self.socket)
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the program with its socket as standard input, no environment, and nothing else open. Without its
/// root it also loses every capability; the program itself refuses to run with any.
fn spawn(path: &Path, socket: OwnedFd) -> io::Result<Child> {
    let (uid, gid) = ACCOUNTS
        .iter()
        .find_map(|name| nix::unistd::User::from_name(name).ok().flatten())
        .map_or((NOBODY, NOBODY), |user| (user.uid.as_raw(), user.gid.as_raw()));
    // Opened by us: the program may lie where its account may not look, as in a developer's home.
    let program = File::open(path)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .arg0("picosnitch-relay")
        .env_clear()
        .env("SSL_CERT_FILE", "/dev/null")
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(uid).gid(gid);
    }
    command.spawn()
}
