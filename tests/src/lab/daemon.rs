// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon under test, as a child process.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::tools::{self, spawn, stop, tail};
use super::{Outcome, Trouble, built};

/// A running picosnitchd.
#[derive(Debug)]
pub struct Daemon {
    dir: PathBuf,
    address: String,
    child: Option<Child>,
    /// From start to `READY=1`.
    pub ready_after: Duration,
}

impl Daemon {
    /// Starts the daemon and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends or does not become ready in 20 s; the text has its last words.
    pub fn start(dir: &Path, address: &str) -> Outcome<Daemon> {
        let mut daemon = Daemon {
            dir: dir.to_path_buf(),
            address: address.to_owned(),
            child: None,
            ready_after: Duration::ZERO,
        };
        daemon.launch()?;
        Ok(daemon)
    }

    /// The command line of a daemon whose files are all in `dir`.
    ///
    /// # Errors
    /// The daemon is not built.
    pub fn command(dir: &Path, address: &str) -> Outcome<Command> {
        let mut command = Command::new(built("picosnitchd")?);
        command
            .arg("--config")
            .arg(dir.join("config.toml"))
            .arg("--state-dir")
            .arg(dir.join("state"))
            .arg("--log-dir")
            .arg(dir.join("log"));
        // Where something like systemd listens in place of the helper.
        let socket = dir.join("relay.sock");
        if socket.exists() {
            command.arg("--relay-socket").arg(socket);
        }
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        Ok(command)
    }

    fn launch(&mut self) -> Outcome {
        let path = self.dir.join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Self::command(&self.dir, &self.address)?;
        if let Some(clock) = Clock::of(&self.dir) {
            command.env("LD_PRELOAD", clock.library).env("PICOSNITCH_TEST_CLOCK", clock.offset);
        }
        let start = Instant::now();
        let child = spawn(command.env("NOTIFY_SOCKET", &path).stdout(log.try_clone()?).stderr(log))?;
        let child = self.child.insert(child);
        let mut buffer = [0_u8; 4096];
        loop {
            if let Ok(length) = socket.recv(&mut buffer)
                && buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
            {
                self.ready_after = start.elapsed();
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return Err(Trouble::Failed(format!(
                    "picosnitchd ended with {status}:\n{}",
                    tail(&self.log(), 15)
                )));
            }
            let patience = if crate::cases::slow() { 120 } else { 20 };
            if start.elapsed() > Duration::from_secs(patience) {
                let words = tail(&self.log(), 15);
                return Err(format!("picosnitchd is not ready after {patience} s:\n{words}").into());
            }
        }
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.join("state/picosnitch.db")
    }

    /// Folder of its text logs.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its process id; 0 while it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Outcome {
        let child = self.child.as_ref().ok_or("the daemon does not run")?;
        tools::signal(child, signal).map_err(Trouble::from)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It does not end in 10 s, or ends with a failure.
    pub fn stop(&mut self) -> Outcome {
        self.ends_with(0, Duration::from_secs(10))
    }

    /// Stops it, and it must end with this status within this time.
    ///
    /// # Errors
    /// It does not.
    pub fn ends_with(&mut self, code: i32, within: Duration) -> Outcome {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if !stop(&mut child, within) {
            return Err(format!("the daemon did not end on SIGTERM:\n{}", tail(&self.log(), 10)).into());
        }
        let status: Option<ExitStatus> = child.try_wait()?;
        match status {
            Some(status) if status.code() != Some(code) => {
                Err(format!("the daemon ended with {status}:\n{}", tail(&self.log(), 10)).into())
            }
            _ => Ok(()),
        }
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again with the same files.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn restart(&mut self) -> Outcome {
        self.stop()?;
        self.launch()
    }

    /// Starts it after [`Daemon::stop`] or [`Daemon::kill`].
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn launch_again(&mut self) -> Outcome {
        self.launch()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            stop(&mut child, Duration::from_secs(10));
        }
    }
}

/// A wall clock of the daemon's own. Made in a stage's folder before the daemon starts, it is used from
/// then on; nothing else on the machine sees it.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    fn of(dir: &Path) -> Option<Clock> {
        let clock = Clock { library: dir.join("clock.so"), offset: dir.join("clock.offset") };
        clock.library.exists().then_some(clock)
    }

    /// Compiles the clock.
    ///
    /// # Errors
    /// [`Trouble::Skipped`] without a C compiler.
    pub fn new(dir: &Path) -> Outcome<Clock> {
        let source = dir.join("clock.c");
        std::fs::write(&source, include_str!("clock.c"))?;
        let (library, offset) = (dir.join("clock.so"), dir.join("clock.offset"));
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).args([&library, &source]).output();
        match compiled {
            Err(error) => return Err(Trouble::Skipped(format!("cc: {error}"))),
            Ok(output) if !output.status.success() => {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            Ok(_) => {}
        }
        std::fs::write(&offset, 0_i64.to_ne_bytes())?;
        Ok(Clock { library, offset })
    }

    /// Sets it so many seconds away from the machine's clock.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, seconds: i64) -> Outcome {
        use std::os::unix::fs::FileExt as _;
        // In place: the daemon has it mapped.
        let file = std::fs::OpenOptions::new().write(true).open(&self.offset)?;
        file.write_all_at(&seconds.to_ne_bytes(), 0).map_err(Trouble::from)
    }
}
