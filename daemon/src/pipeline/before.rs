// SPDX-License-Identifier: GPL-3.0-or-later
//! Flows that have rows but no slot: they lost it while they were idle, or were open when the daemon before this
//! one ended. One that speaks again is no new connection, and who began it is known.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::model::{Direction, ProcessId};

/// Flows in each of the two generations, at the most: 128 Ki in all, about 5 MiB.
const MOST: usize = 64 * 1024;
/// Of a word that is kept over a restart: the other end began.
const CALLED: u64 = 1 << 63;

/// A word for this flow, the same in each run of the daemon while the machine runs: cookies of sockets are not
/// used twice. If a release of the compiler hashes in another way, the connections that are open while that is
/// installed are counted once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(u64);

impl Word {
    /// `remote` and `remote_port` as the kernel keeps them.
    #[must_use]
    pub fn new(id: ProcessId, cookie: u64, remote: &[u8; 16], remote_port: u16) -> Word {
        let mut hasher = DefaultHasher::new();
        (id, cookie, remote, remote_port).hash(&mut hasher);
        Word(hasher.finish() & !CALLED)
    }

    /// To be kept.
    #[must_use]
    pub fn with(self, direction: Direction) -> u64 {
        self.0 | if direction == Direction::In { CALLED } else { 0 }
    }
}

/// The latest of them. Many never come back, and nobody says so of those whose socket was closed without a slot:
/// the oldest go, half of all at a time.
#[derive(Debug, Default)]
pub struct Before {
    young: HashMap<Word, Direction>,
    old: HashMap<Word, Direction>,
}

impl Before {
    /// From what was kept.
    #[must_use]
    pub fn of(kept: &[u64]) -> Before {
        let mut before = Before::default();
        for word in kept {
            let direction = if word & CALLED == 0 { Direction::Out } else { Direction::In };
            before.insert(Word(word & !CALLED), direction);
        }
        before
    }

    /// This one has no slot from now on, or soon.
    pub fn insert(&mut self, word: Word, direction: Direction) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(word, direction);
    }

    /// It has one again, or is over. Who began it, if it is known.
    pub fn remove(&mut self, word: Word) -> Option<Direction> {
        let (young, old) = (self.young.remove(&word), self.old.remove(&word));
        young.or(old)
    }

    /// Whether it has not come back.
    #[must_use]
    pub fn contains(&self, word: Word) -> bool {
        self.young.contains_key(&word) || self.old.contains_key(&word)
    }

    /// To be kept.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        self.young.iter().chain(&self.old).map(|(word, direction)| word.with(*direction))
    }

    /// Gives back what a burst has filled.
    pub fn shrink(&mut self) {
        self.young.shrink_to_fit();
        self.old.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(cookie: u64) -> Word {
        Word::new(ProcessId { tgid: 7, exec_id: 1, start: 9 }, cookie, &[1; 16], 53)
    }

    #[test]
    fn t30_one_that_comes_back_is_known_once() {
        let mut before = Before::default();
        before.insert(word(1), Direction::In);
        before.insert(word(2), Direction::Out);
        let kept: Vec<u64> = before.words().collect();
        let mut later = Before::of(&kept);
        assert_eq!(later.remove(word(3)), None);
        assert_eq!(later.remove(word(1)), Some(Direction::In));
        assert_eq!(later.remove(word(1)), None);
        // The other one is handed on, over as many restarts as it takes.
        let kept: Vec<u64> = later.words().collect();
        assert_eq!(Before::of(&kept).remove(word(2)), Some(Direction::Out));
    }

    #[test]
    fn t29_the_oldest_go() {
        let mut before = Before::default();
        for cookie in 0..3 * MOST as u64 {
            before.insert(word(cookie), Direction::Out);
        }
        assert!(before.words().count() <= 2 * MOST);
        assert_eq!(before.remove(word(0)), None);
        assert!(before.remove(word(3 * MOST as u64 - 1)).is_some());
    }
}
