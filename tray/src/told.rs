// SPDX-License-Identifier: GPL-3.0-or-later
//! Up to which notice this person was told, so that the next login tells only what came since. A small file; without
//! it everything that is unread is told once more.

use std::path::{Path, PathBuf};

use picosnitch_api::row::Event as Notice;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Number of the notice.
    pub number: i64,
    /// Its time, µs since the epoch, by which another history is recognised.
    pub time: Option<i64>,
}

impl Told {
    /// The history that these newest notices are of, newest first, is the one that it was saved of.
    pub fn is_of(self, newest: &[Notice]) -> bool {
        // A history that was deleted begins to count anew.
        let reached = newest.iter().filter_map(|row| row.id).max() >= Some(self.number);
        let same = |row: &Notice| row.time.is_none() || self.time.is_none() || row.time == self.time;
        reached && newest.iter().filter(|row| row.id == Some(self.number)).all(same)
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number)?;
        self.time.map_or(Ok(()), |time| write!(f, " {time}"))
    }
}

impl std::str::FromStr for Told {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let number = words.next().unwrap_or_default().parse()?;
        Ok(Self { number, time: words.next().map(str::parse).transpose()? })
    }
}

fn file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("picosnitch/told"))
}

/// What was saved.
pub fn load() -> Option<Told> {
    std::fs::read_to_string(file()?).ok()?.parse().ok()
}

/// Saves it, whole or not at all. A failure only means that something is told twice.
pub fn save(told: Told) {
    let Some(file) = file() else { return };
    if let Err(error) = write(&file, &told.to_string()) {
        eprintln!("picosnitch-tray: cannot write {}: {error}", file.display());
    }
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
    let fresh = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, format!("{text}\n"))?;
    std::fs::rename(&fresh, file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(rows: &[(i64, i64)]) -> Vec<Notice> {
        let row = |(id, time): &(i64, i64)| Notice { id: Some(*id), time: Some(*time), ..Notice::default() };
        rows.iter().map(row).collect()
    }

    #[test]
    fn n07_another_history_is_recognised() {
        let told: Told = "1000 77".parse().unwrap();
        assert!(told.is_of(&page(&[(1001, 80), (1000, 77)])));
        assert!(told.is_of(&page(&[(1002, 80), (1001, 79)])), "the page does not go so far");
        assert!(!told.is_of(&page(&[(1001, 80), (1000, 78)])), "the same number, another time");
        assert!(!told.is_of(&page(&[(3, 80)])), "it counts anew");
        assert!("1000".parse::<Told>().unwrap().is_of(&page(&[(1000, 78)])), "of an older version");
        assert_eq!(told.to_string().parse(), Ok(told));
    }
}
