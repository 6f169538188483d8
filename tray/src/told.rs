// SPDX-License-Identifier: GPL-3.0-or-later
//! Up to which notice this person was told, so that the next login tells only what came since. A small file; without
//! it everything that is unread is told once more.

use std::path::PathBuf;

use picosnitch_api::{Mark, file};

fn path() -> Option<PathBuf> {
    Some(file::folder("XDG_STATE_HOME", ".local/state")?.join("picosnitch/told"))
}

/// What was saved.
pub fn load() -> Option<Mark> {
    std::fs::read_to_string(path()?).ok()?.parse().ok()
}

/// Saves it. A failure only means that something is told twice.
pub fn save(told: Mark) {
    let Some(path) = path() else { return };
    if let Err(error) = file::replace(&path, &format!("{told}\n")) {
        eprintln!("picosnitch-tray: cannot write {}: {error}", path.display());
    }
}
