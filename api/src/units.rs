// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes as one person wants to read them: the setting is in the window's file, and holds for the tray, too.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::tongue::decimal;

/// Of a longer file only so much is read, bytes.
const MAX_FILE: u64 = 64 << 10;

/// Units of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Units {
    /// Powers of 1024: KiB, MiB.
    #[default]
    Iec,
    /// Powers of 1000: kB, MB.
    Si,
}

impl Units {
    /// How far apart two units are.
    #[must_use]
    pub fn step(self) -> f64 {
        match self {
            Units::Iec => 1024.0,
            Units::Si => 1000.0,
        }
    }

    fn names(self) -> [&'static str; 6] {
        match self {
            Units::Iec => ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
            Units::Si => ["kB", "MB", "GB", "TB", "PB", "EB"],
        }
    }

    /// A number of bytes.
    #[must_use]
    pub fn bytes(self, count: u64) -> String {
        let mut value = count as f64;
        let mut unit = None;
        for name in self.names() {
            // What would round to the next unit is written in it.
            if value < self.step() - 0.05 {
                break;
            }
            value /= self.step();
            unit = Some(name);
        }
        match unit {
            None => format!("{count} B"),
            Some(unit) if value >= 99.95 => format!("{value:.0} {unit}"),
            Some(unit) => format!("{value:.1} {unit}").replace('.', decimal()),
        }
    }

    /// Where the window keeps what a person chose; `None` for an account that has no home.
    #[must_use]
    pub fn file() -> Option<PathBuf> {
        Some(crate::file::folder("XDG_CONFIG_HOME", ".config")?.join("picosnitch/window.ini"))
    }

    /// What is chosen in this file, a key file of GLib with `units` in the group `window`; the default without it.
    #[must_use]
    pub fn chosen(file: &Path) -> Self {
        let mut text = Vec::new();
        let Ok(file) = std::fs::File::open(file) else { return Self::default() };
        if file.take(MAX_FILE).read_to_end(&mut text).is_err() {
            return Self::default();
        }
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Self {
        let (mut inside, mut units) = (false, Self::default());
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[window]";
            } else if let Some((key, value)) = line.split_once('=').filter(|_| inside)
                && key.trim() == "units"
            {
                units = if value.trim() == "si" { Self::Si } else { Self::Iec };
            }
        }
        units
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_in_both_units() {
        for (bytes, iec, si) in [
            (0, "0 B", "0 B"),
            (999, "999 B", "999 B"),
            (1000, "1000 B", "1.0 kB"),
            (1024, "1.0 KiB", "1.0 kB"),
            (1536, "1.5 KiB", "1.5 kB"),
            (1_048_575, "1.0 MiB", "1.0 MB"),
            (150_000_000, "143 MiB", "150 MB"),
            (u64::MAX, "16.0 EiB", "18.4 EB"),
        ] {
            assert_eq!(Units::Iec.bytes(bytes), iec);
            assert_eq!(Units::Si.bytes(bytes), si);
        }
    }

    #[test]
    fn what_the_window_saved_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("window.ini");
        assert_eq!(Units::chosen(&file), Units::Iec);
        std::fs::write(&file, "[window]\nunits=si\nwidth=360\nheight=640\n").unwrap();
        assert_eq!(Units::chosen(&file), Units::Si);
        for text in
            ["[window]\nunits=iec\n", "[other]\nunits=si\n", "[window]\n#units=si\n", "units=si", "\u{0}"]
        {
            assert_eq!(Units::parse(text), Units::Iec, "{text:?}");
        }
    }
}
