// SPDX-License-Identifier: GPL-3.0-or-later
//! Before the first byte is read: not root, no capability, no new privilege, little of everything.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, ensure};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Refuses to run with any privilege, however it was started.
pub fn check() -> anyhow::Result<()> {
    ensure!(
        !rustix::process::geteuid().is_root() && !rustix::process::getuid().is_root(),
        "it does not run as root: picosnitchd starts it as picosnitch-relay, or as nobody"
    );
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(':'));
        let empty = line.is_some_and(|value| value.trim().bytes().all(|digit| digit == b'0'));
        ensure!(empty, "it has capabilities ({set}) and wants none");
    }
    // The TLS of the database driver would trust the system's certificates beside those that it is given.
    ensure!(
        std::env::var_os("SSL_CERT_FILE").is_some_and(|file| file == "/dev/null"),
        "SSL_CERT_FILE must be /dev/null: the certificates to trust come from picosnitchd"
    );
    Ok(())
}

/// The socket to the daemon: standard input.
pub fn connection() -> anyhow::Result<OwnedFd> {
    let stdin = std::io::stdin();
    let kind = rustix::net::sockopt::socket_type(stdin.as_fd());
    ensure!(
        kind.is_ok_and(|kind| kind == rustix::net::SocketType::SEQPACKET),
        "picosnitchd starts it, with a socket as standard input"
    );
    stdin.as_fd().try_clone_to_owned().context("cannot copy a descriptor")
}

/// Takes away what is left to take.
pub fn harden() -> anyhow::Result<()> {
    rustix::thread::set_no_new_privs(true).context("no_new_privs")?;
    // Passwords are in memory: nobody of the same account may look, and no dump is written.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("dumpable")?;
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Nofile, 64), (Resource::Memlock, 0), (Resource::As, 1 << 30)]
    {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit).context("resource limits")?;
    }
    Ok(())
}
