// SPDX-License-Identifier: GPL-3.0-or-later
//! One notice as a mark: how far something came, and in which history.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::row::Event;

/// See the module. As a text: the number, and the time after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the notice.
    pub number: i64,
    /// Its time, µs since the epoch, by which another history is recognised.
    pub time: Option<i64>,
}

impl Mark {
    /// The history that these newest notices are of is the one of the mark, as far as they show it.
    #[must_use]
    pub fn is_of(self, newest: &[Event]) -> bool {
        // A history that was deleted begins to count anew.
        let reached = newest.iter().filter_map(|row| row.id).max() >= Some(self.number);
        let same = |row: &Event| row.time.is_none() || self.time.is_none() || row.time == self.time;
        reached && newest.iter().filter(|row| row.id == Some(self.number)).all(same)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.time.map_or(Ok(()), |time| write!(f, " {time}"))
    }
}

impl FromStr for Mark {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let number = words.next().unwrap_or_default().parse()?;
        Ok(Self { number, time: words.next().map(str::parse).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(rows: &[(i64, i64)]) -> Vec<Event> {
        let row = |(id, time): &(i64, i64)| Event { id: Some(*id), time: Some(*time), ..Event::default() };
        rows.iter().map(row).collect()
    }

    #[test]
    fn n07_another_history_is_recognised() {
        let mark: Mark = "1000 77".parse().unwrap();
        assert!(mark.is_of(&page(&[(1001, 80), (1000, 77)])));
        assert!(mark.is_of(&page(&[(1002, 80), (1001, 79)])), "the page does not go so far");
        assert!(!mark.is_of(&page(&[(1001, 80), (1000, 78)])), "the same number, another time");
        assert!(!mark.is_of(&page(&[(3, 80)])), "it counts anew");
        assert!("1000".parse::<Mark>().unwrap().is_of(&page(&[(1000, 78)])), "of an older version");
        assert_eq!(mark.to_string().parse(), Ok(mark));
    }
}
