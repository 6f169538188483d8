// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking for a password where no desktop does it: on a text console or over ssh polkit's own terminal
//! agent is started for as long as the command runs, as systemctl does it too.

use std::io::{IsTerminal as _, Read as _};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};

/// Where distributions have polkit's agent.
const AGENT: &str = "/usr/bin/pkttyagent";

/// A running agent; it ends with this.
#[derive(Debug)]
pub struct Agent(Child);

impl Agent {
    /// Starts it, where somebody at a terminal could answer. `--fallback`: a desktop's agent goes first.
    /// Without the program the call is simply refused, with a message that says so.
    pub fn start() -> Option<Self> {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !terminal || nix::unistd::geteuid().is_root() {
            return None;
        }
        // Inherited by the child, unlike the pipes of the standard library.
        let (ready, tell) = nix::unistd::pipe().ok()?;
        let child = Command::new(AGENT)
            .args(["--process", &std::process::id().to_string(), "--fallback", "--notify-fd"])
            .arg(tell.as_raw_fd().to_string())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        drop(tell);
        // It closes its end once it is registered, and when it ends.
        let _ = std::fs::File::from(ready).read(&mut [0]);
        Some(Self(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Ours, and not waited for yet: the number cannot be another process's.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
