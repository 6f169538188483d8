// SPDX-License-Identifier: GPL-3.0-or-later
//! The file of settings: accepted, or refused with one line that names the file.
#![no_main]

use std::path::Path;

use picosnitchd::settings::Settings;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = Settings::parse(text, Path::new("config.toml")) {
        let message = error.to_string();
        assert!(message.starts_with("config.toml:") && !message.contains('\n'), "{message:?}");
    }
});
