// SPDX-License-Identifier: GPL-3.0-or-later
//! Bus, daemon and client together.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Bus, Client, Daemon, Outcome, Running, Trouble, User, built};

/// Configuration that every stage begins with: rows are written every second.
pub const CONFIG: &str = "[database]\nwrite_interval_seconds = 1\n";

/// A daemon on a bus of its own, and a client of it. Fields are dropped in this order.
#[derive(Debug)]
pub struct Stage {
    /// Listens as root.
    pub client: Client,
    /// The daemon.
    pub daemon: Daemon,
    /// The bus.
    pub bus: Bus,
    /// Everything of it.
    pub dir: PathBuf,
}

impl Stage {
    /// Starts all in `dir`; `config` is added to [`CONFIG`], or takes its place if it has a
    /// `[database]` table of its own.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(dir: &Path, config: &str) -> Outcome<Stage> {
        let text =
            if config.contains("[database]") { config.to_owned() } else { format!("{CONFIG}{config}") };
        std::fs::write(dir.join("config.toml"), text)?;
        std::fs::set_permissions(
            dir.join("config.toml"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )?;
        std::fs::create_dir_all(dir.join("state"))?;
        std::fs::create_dir_all(dir.join("log"))?;
        let bus = Bus::start(dir)?;
        // Before the daemon: no signal is missed.
        let client = Client::connect(&bus.address)?;
        let daemon = Daemon::start(dir, &bus.address)?;
        Ok(Stage { client, daemon, bus, dir: dir.to_path_buf() })
    }

    /// The command line client on this bus, as root or as somebody else.
    ///
    /// # Errors
    /// It is not built.
    pub fn cli(&self, user: Option<&User>) -> Outcome<Command> {
        let program = self.readable("picosnitch")?;
        let mut command = match user {
            Some(user) => user.command(program),
            None => Command::new(program),
        };
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus.address);
        Ok(command)
    }

    /// Starts `picosnitch-person` as somebody: answers commands, or listens.
    ///
    /// # Errors
    /// It is not built or does not start.
    pub fn person(&self, user: &User, listen: bool) -> Outcome<Person> {
        let mut command = user.command(self.readable("picosnitch-person")?);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus.address);
        if listen {
            command.arg("watch");
        }
        Ok(Person { running: Running::start_command(&mut command)? })
    }

    /// A built program where every user can run it: the build folder may be private.
    fn readable(&self, name: &str) -> Outcome<PathBuf> {
        let copy = self.dir.join(name);
        if !copy.exists() {
            std::fs::copy(built(name)?, &copy)?;
            super::tools::open_to_all(&copy)?;
        }
        Ok(copy)
    }
}

/// Somebody at the bus; see [`crate::person`].
#[derive(Debug)]
pub struct Person {
    running: Running,
}

impl Person {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Gives one command and takes its answer: `{"ok": …}` or `{"error": kind, "message": …}`.
    ///
    /// # Errors
    /// The process has gone.
    pub fn ask(&mut self, command: &str) -> Outcome<Value> {
        self.running.say(command)?;
        self.heard()
    }

    /// The next line: an answer or a signal.
    ///
    /// # Errors
    /// The process has gone.
    pub fn heard(&mut self) -> Outcome<Value> {
        serde_json::from_str(&self.running.line()?).map_err(Trouble::from)
    }

    /// Every signal that comes until one that satisfies `last`, which is in the answer too.
    ///
    /// # Errors
    /// The process has gone.
    pub fn heard_until(&mut self, last: impl Fn(&Value) -> bool) -> Outcome<Vec<Value>> {
        let mut all = Vec::new();
        loop {
            let value = self.heard()?;
            let done = last(&value);
            all.push(value);
            if done {
                return Ok(all);
            }
        }
    }
}
