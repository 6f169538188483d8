// SPDX-License-Identifier: GPL-3.0-or-later
//! Which notice was the newest when this person's session ended, so that the next login tells only what
//! came since. A small file; without it everything that is unread is told once more.

use std::path::PathBuf;

fn file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("picosnitch/told"))
}

/// The number, if one was saved.
pub fn load() -> Option<i64> {
    std::fs::read_to_string(file()?).ok()?.trim().parse().ok()
}

/// Saves it. A failure only means that something is told twice.
pub fn save(event: i64) {
    let Some(file) = file() else { return };
    if let Some(folder) = file.parent()
        && let Err(error) =
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, format!("{event}\n")))
    {
        eprintln!("picosnitch-tray: cannot write {}: {error}", file.display());
    }
}
