// SPDX-License-Identifier: GPL-3.0-or-later
//! Opening the history window. It is a program of its own and a single instance: started again, it
//! hands what it is asked to show to the one that is open.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::policy::Target;

/// Starts the window there. `token` lets it come to the front on Wayland.
///
/// # Errors
/// When the program is not installed.
pub fn open(target: Option<&Target>, token: Option<&str>) -> std::io::Result<()> {
    let mut command = Command::new(program());
    match target {
        Some(Target::Program(id)) => command.args(["--program", &id.to_string()]),
        Some(Target::Timeline) => command.args(["--page", "timeline"]),
        Some(Target::Programs) => command.args(["--page", "programs"]),
        Some(Target::Health) => command.args(["--page", "health"]),
        Some(Target::Settings) => command.args(["--page", "settings"]),
        None => &mut command,
    };
    start(command, token)
}

/// Starts the window with its settings, or what it says about itself, on top.
///
/// # Errors
/// When the program is not installed.
pub fn open_page(page: &str, token: Option<&str>) -> std::io::Result<()> {
    let mut command = Command::new(program());
    command.args(["--page", page]);
    start(command, token)
}

fn start(mut command: Command, token: Option<&str>) -> std::io::Result<()> {
    if let Some(token) = token {
        command.env("XDG_ACTIVATION_TOKEN", token).env("DESKTOP_STARTUP_ID", token);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    // Somebody has to take its exit status; a thread that sleeps until then costs next to nothing.
    std::thread::Builder::new().name("window".into()).stack_size(64 << 10).spawn(move || child.wait())?;
    Ok(())
}

/// The one beside us, if there is one; otherwise what the search path has.
fn program() -> PathBuf {
    let name = "picosnitch-gui";
    std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(name)))
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| name.into())
}
