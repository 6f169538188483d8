// SPDX-License-Identifier: GPL-3.0-or-later
//! What the window remembers for one person: units and its size. A small key file of their own.

use std::path::PathBuf;

use gtk4::glib;

use crate::format::Units;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefs {
    /// Units of sizes.
    pub units: Units,
    /// Width and height in pixels.
    pub size: (i32, i32),
}

impl Default for Prefs {
    fn default() -> Self {
        Self { units: Units::Iec, size: (1120, 720) }
    }
}

const GROUP: &str = "window";

fn file() -> PathBuf {
    glib::user_config_dir().join("picosnitch/window.ini")
}

impl Prefs {
    /// What was saved; defaults for what was not.
    pub fn load() -> Self {
        let keys = glib::KeyFile::new();
        let mut prefs = Self::default();
        if keys.load_from_file(file(), glib::KeyFileFlags::NONE).is_err() {
            return prefs;
        }
        if keys.string(GROUP, "units").is_ok_and(|units| units == "si") {
            prefs.units = Units::Si;
        }
        if let (Ok(width), Ok(height)) = (keys.integer(GROUP, "width"), keys.integer(GROUP, "height")) {
            prefs.size = (width.clamp(360, 10_000), height.clamp(300, 10_000));
        }
        prefs
    }

    /// Saves it; a failure is only said.
    pub fn save(self) {
        let keys = glib::KeyFile::new();
        keys.set_string(GROUP, "units", if self.units == Units::Si { "si" } else { "iec" });
        keys.set_integer(GROUP, "width", self.size.0);
        keys.set_integer(GROUP, "height", self.size.1);
        let file = file();
        let folder = file.parent().map(std::fs::create_dir_all).transpose();
        if let Err(error) = folder.and_then(|_| std::fs::write(&file, keys.to_data().as_bytes())) {
            eprintln!("picosnitch-gui: cannot write {}: {error}", file.display());
        }
    }
}
