// SPDX-License-Identifier: GPL-3.0-or-later
//! Locales that a case needs and the machine may not have. `C.UTF-8` does not do: newer C libraries take it
//! as `C`, where `LANGUAGE` counts for nothing.

use std::path::Path;

use super::tools::run;
use super::{Outcome, Trouble};

/// Makes this locale, as in `de_DE`, for UTF-8 in this folder. It is used by `LOCPATH` with the folder, and
/// `LC_ALL` with its name and `.UTF-8`.
///
/// # Errors
/// What locales are made of is not installed (skipped), or is not understood.
pub fn make(name: &str, folder: &Path) -> Outcome {
    let source = Path::new("/usr/share/i18n/locales").join(name);
    if !source.exists() {
        let text = format!("{} is not installed (package locales)", source.display());
        return Err(Trouble::Skipped(text));
    }
    std::fs::create_dir_all(folder)?;
    let place = folder.join(format!("{name}.UTF-8"));
    run("localedef", &["--no-archive", "-i", name, "-f", "UTF-8", &place.display().to_string()]).map(|_| ())
}
