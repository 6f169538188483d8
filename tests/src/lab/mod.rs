// SPDX-License-Identifier: GPL-3.0-or-later
//! The lab: everything real that a case needs around the daemon. All of it is made under a name that
//! holds this process's id, and taken away when it is dropped; what a killed run left behind is taken
//! away at the next start.

pub mod access;
pub mod agent;
pub mod bus;
pub mod certificates;
pub mod client;
pub mod daemon;
pub mod database;
pub mod desktop;
pub mod file_server;
pub mod locale;
pub mod net;
pub mod program;
pub mod scanner;
pub mod slow;
pub mod stage;
pub mod tools;
pub mod users;

use std::path::{Path, PathBuf};

pub use access::{Access, Tree};
pub use agent::Agent;
pub use bus::{Bus, Calls};
pub use client::{Client, Signal};
pub use daemon::Daemon;
pub use file_server::FileServer;
pub use net::Net;
pub use program::{Programs, Running};
pub use stage::Stage;
pub use users::User;

/// Why a case did not pass.
#[derive(Debug)]
pub enum Trouble {
    /// What was expected and what came.
    Failed(String),
    /// Why it cannot be tried here.
    Skipped(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Failed(text) | Trouble::Skipped(text) => f.write_str(text),
        }
    }
}

macro_rules! failed_from {
    ($($type:ty),*) => {
        $(impl From<$type> for Trouble {
            fn from(error: $type) -> Self {
                Trouble::Failed(error.to_string())
            }
        })*
    };
}

failed_from!(
    std::io::Error,
    picosnitch_api::Error,
    zbus::Error,
    serde_json::Error,
    nix::Error,
    rusqlite::Error,
    String
);

impl From<&str> for Trouble {
    fn from(text: &str) -> Self {
        Trouble::Failed(text.to_owned())
    }
}

/// What a case answers.
pub type Outcome<T = ()> = Result<T, Trouble>;

/// Fails with a text unless the condition holds.
///
/// # Errors
/// The condition does not hold.
pub fn ensure(condition: bool, message: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Trouble::Failed(message())) }
}

/// Folder of the project.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A program that this workspace builds: beside the running one, or in `PICOSNITCH_BIN`.
///
/// # Errors
/// It is not built.
pub fn built(name: &str) -> Outcome<PathBuf> {
    let folder = match std::env::var_os("PICOSNITCH_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::env::current_exe()?;
            let folder = own.parent().map(Path::to_path_buf).unwrap_or_default();
            if folder.ends_with("deps") {
                folder.parent().map(Path::to_path_buf).unwrap_or_default()
            } else {
                folder
            }
        }
    };
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Trouble::Failed(format!("{} is not built: run `cargo build --workspace`", path.display())))
    }
}

/// The lab of one run.
#[derive(Debug)]
pub struct Lab {
    /// Host and peer.
    pub net: Net,
    /// Uniquely named generators.
    pub programs: Programs,
    /// A daemon that most cases share.
    pub shared: Option<Stage>,
    /// What was found right on record of the shared daemon.
    pub checked: Vec<crate::cases::expect::Expected>,
    /// Folder of this run; readable by everybody.
    pub dir: PathBuf,
    stages: u32,
}

impl Lab {
    /// Cleans up after killed runs and sets up network and programs.
    ///
    /// # Errors
    /// Not root, or something that the lab needs is missing; the text says what.
    pub fn new() -> Outcome<Lab> {
        if !nix::unistd::geteuid().is_root() {
            return Err("the cases need root: namespaces, a system bus, eBPF".into());
        }
        tools::clean_leftovers();
        let dir = PathBuf::from(format!("{}{}", tools::DIR_PREFIX, std::process::id()));
        std::fs::create_dir_all(&dir)?;
        tools::open_to_all(&dir)?;
        let made = Programs::new(&dir).and_then(|programs| Ok((Net::new(&programs)?, programs)));
        match made {
            Ok((net, programs)) => {
                Ok(Lab { net, programs, shared: None, checked: Vec::new(), dir, stages: 0 })
            }
            Err(trouble) => {
                let _ = std::fs::remove_dir_all(&dir);
                Err(trouble)
            }
        }
    }

    /// A folder of its own for each stage.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_dir(&mut self, name: &str) -> Outcome<PathBuf> {
        self.stages += 1;
        let dir = self.dir.join(format!("{name}-{}", self.stages));
        std::fs::create_dir_all(&dir)?;
        tools::open_to_all(&dir)?;
        Ok(dir)
    }

    /// A daemon of its own on a bus of its own, with these lines in its configuration.
    ///
    /// # Errors
    /// Something does not start; the text has its last words.
    pub fn stage(&mut self, name: &str, config: &str) -> Outcome<Stage> {
        let dir = self.new_dir(name)?;
        Stage::start(&dir, config)
    }

    /// The shared daemon, started at first use.
    ///
    /// # Errors
    /// As [`Lab::stage`].
    pub fn shared(&mut self) -> Outcome<&mut Stage> {
        if self.shared.is_none() {
            self.shared = Some(self.stage("shared", "")?);
        }
        self.shared.as_mut().ok_or_else(|| "no shared daemon".into())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared = None;
        if std::env::var_os("PICOSNITCH_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
