// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands of the system, children that end with us, waiting with a deadline, and what killed runs
//! left behind.
#![allow(unsafe_code)] // pre_exec, to tie children to this process

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Outcome, Trouble};

/// Folders of runs: this and the process id.
pub const DIR_PREFIX: &str = "/tmp/picosnitch-lab-";
/// Namespaces and interfaces of runs: this and the process id.
pub const NET_PREFIX: &str = "pslab";

/// Runs a command and gives its standard output.
///
/// # Errors
/// It is missing or fails; the text has its standard error.
pub fn run(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Trouble::Failed(format!("{program}: {error}")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Trouble::Failed(format!(
            "{program} {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// Runs a command with a script on its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with(program: &str, arguments: &[&str], input: &str) -> Outcome {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Trouble::Failed(format!("{program}: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    }
}

/// Starts a child that is killed when this process ends, however it ends. Its parent is the thread that
/// starts it: only the main thread may.
///
/// # Errors
/// It cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // SAFETY: between fork and exec only prctl is called, which is a plain system call.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
    command.spawn()
}

/// Sends a signal to a child.
///
/// # Errors
/// It has gone already.
pub fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
}

/// Asks a child to end, and kills it if it does not within the time; `true` if it ended by itself.
pub fn stop(child: &mut Child, within: Duration) -> bool {
    if let Ok(Some(_)) = child.try_wait() {
        return true;
    }
    let _ = signal(child, Signal::SIGTERM);
    let gone = until(within, || matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
    if !gone {
        let _ = child.kill();
        let _ = child.wait();
    }
    gone
}

/// Waits until the condition holds; `false` when the time is over.
pub fn until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets every user enter and read a folder.
///
/// # Errors
/// It does not exist.
pub fn open_to_all(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// The last lines of a file, for an error message.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Takes away folders, mounts, namespaces and interfaces of runs that are no longer alive.
pub fn clean_leftovers() {
    for name in run("ip", &["netns", "list"]).unwrap_or_default().lines() {
        let name = name.split_whitespace().next().unwrap_or("");
        if name.strip_prefix(NET_PREFIX).is_some_and(|pid| !alive(pid)) {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    points.sort_unstable_by_key(|point| std::cmp::Reverse(point.len()));
    let dead = |path: &str| {
        path.strip_prefix(DIR_PREFIX).is_some_and(|rest| !alive(rest.split('/').next().unwrap_or("")))
    };
    for point in points.into_iter().filter(|point| dead(point)) {
        let _ = run("umount", &["-l", point]);
    }
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let path = entry.path();
        if path.to_str().is_some_and(dead) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}
