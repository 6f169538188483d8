// SPDX-License-Identifier: GPL-3.0-or-later
//! Ordinary people: alice and bob, real accounts with a login's uid.

use std::ffi::OsStr;
use std::process::Command;

use nix::unistd;

use super::tools::run;
use super::{Outcome, Trouble};

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    gid: u32,
    /// A further group of all that it starts.
    group: Option<u32>,
}

impl User {
    /// The account of that name, made if it is missing. It stays: making accounts again and again
    /// would use up uids.
    ///
    /// # Errors
    /// `useradd` is missing or refuses.
    pub fn get(name: &str) -> Outcome<User> {
        let find = || unistd::User::from_name(name).ok().flatten();
        let found = match find() {
            Some(found) => found,
            None => {
                run("useradd", &["--create-home", "--shell", "/bin/sh", name])?;
                find().ok_or_else(|| Trouble::Failed(format!("useradd made no {name}")))?
            }
        };
        Ok(User { name: name.to_owned(), uid: found.uid.as_raw(), gid: found.gid.as_raw(), group: None })
    }

    /// The same, logged in with one more group.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> User {
        User { group: Some(gid), ..self.clone() }
    }

    /// A command that runs as this user.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .arg(self.group.map_or_else(|| "--init-groups".to_owned(), |group| format!("--groups={group}")))
            .arg("--")
            .arg(program);
        command
    }
}
