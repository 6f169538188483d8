// SPDX-License-Identifier: GPL-3.0-or-later
//! Icons of programs, from the desktop entries that are installed. Only a file in a folder that root or the
//! package manager fills gets one: a file called `firefox` in a home must not look like Firefox.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gtk4::gio::prelude::*;
use gtk4::{gio, glib};

/// Where a name is as good as a path.
const TRUSTED: [&str; 6] = ["/usr/", "/opt/", "/snap/", "/app/", "/var/lib/flatpak/", "/nix/store/"];
/// Programs that run other programs: their entries are about those.
const RUNNERS: [&str; 12] =
    ["bash", "dash", "env", "flatpak", "java", "node", "perl", "pkexec", "python3", "sh", "snap", "sudo"];

thread_local! {
    static KNOWN: RefCell<HashMap<String, gio::Icon>> = RefCell::default();
    static PLAIN: gio::Icon = gio::ThemedIcon::new("application-x-executable-symbolic").upcast();
}

/// Icons by the name of a program's file, as texts that GIO reads.
pub type Names = HashMap<String, String>;

/// Reads all desktop entries, and follows the links to their programs: not on the thread that draws.
pub fn read() -> Names {
    let mut known = HashMap::new();
    for app in gio::AppInfo::all() {
        // `executable()` of the binding ends the program at an entry without a command.
        let line = app.commandline().unwrap_or_default();
        let word = line.to_string_lossy().split_whitespace().next().unwrap_or_default().replace('"', "");
        let file = PathBuf::from(word);
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let icon = app.icon().and_then(|icon| IconExt::to_string(&icon));
        if let Some(icon) = icon.filter(|_| !name.is_empty() && !RUNNERS.contains(&name.as_str())) {
            let icon = icon.to_string();
            // `/usr/bin/name` may be a link to what is executed in the end.
            let real = glib::find_program_in_path(&file).and_then(|path| path.canonicalize().ok());
            let real = real.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
            if let Some(real) = real.filter(|real| !RUNNERS.contains(real)) {
                known.entry(real.to_owned()).or_insert_with(|| icon.clone());
            }
            known.entry(name).or_insert(icon);
        }
    }
    known
}

/// These are the icons from now on.
pub fn set(names: &Names) {
    let icon = |(name, icon): (&String, &String)| Some((name.clone(), gio::Icon::for_string(icon).ok()?));
    KNOWN.set(names.iter().filter_map(icon).collect());
}

/// The icon of the program at this path; a plain one where there is none of its own, or it is not known yet. One that is
/// `foreign` has nothing to do with the file that this machine has at its path.
pub fn of(path: &str, foreign: Option<bool>) -> gio::Icon {
    let trusted = foreign != Some(true) && TRUSTED.iter().any(|place| path.starts_with(place));
    let own = trusted.then(|| {
        let name = PathBuf::from(path).file_name().and_then(|name| name.to_str()).map(str::to_owned)?;
        KNOWN.with_borrow(|known| known.get(&name).cloned())
    });
    own.flatten().unwrap_or_else(|| PLAIN.with(Clone::clone))
}

/// It is the one that all share which have none of their own.
pub fn is_plain(icon: &gio::Icon) -> bool {
    icon.downcast_ref::<gio::ThemedIcon>()
        .is_some_and(|icon| icon.names().first().is_some_and(|name| name.ends_with("-symbolic")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_what_only_has_the_path_of_a_program_does_not_look_like_it() {
        set(&[("firefox".to_owned(), "firefox".to_owned())].into());
        assert!(!is_plain(&of("/usr/lib/firefox/firefox", None)));
        assert!(is_plain(&of("/usr/lib/firefox/firefox", Some(true))), "a container's");
        assert!(is_plain(&of("/home/u/firefox", None)));
    }
}
