// SPDX-License-Identifier: GPL-3.0-or-later
//! The index of known programs and their contents. A program costs the same however long its path is:
//! it is kept by a digest of its key.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::model::ProgramKey;

/// Programs remembered at once: about 30 MiB at the very most, a few hundred KiB on a real machine.
const PROGRAMS: usize = 1 << 18;

/// Contents remembered for one program; the one not seen for the longest time goes first.
const CONTENTS: usize = 64;

/// 128 bits of SHA-256 of the key: nobody finds two programs with the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 16]);

impl Digest {
    pub(super) fn of(key: &ProgramKey) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([u8::from(key.foreign)]);
        hasher.update(&key.path);
        let full: [u8; 32] = hasher.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        Digest(half)
    }
}

/// What a content means for a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The program was not known. It is now, with this content.
    New,
    /// The program was known, but none of its contents was. It has one now.
    First,
    /// Known content of a known program.
    Seen,
    /// Known program, new content. It is known from now on.
    Changed {
        /// The content that was seen last before.
        old: [u8; 32],
    },
}

/// Contents of one program, the one seen last at the end. Nearly all programs have one.
enum Contents {
    None,
    One([u8; 32]),
    Many(Vec<[u8; 32]>),
}

impl Contents {
    fn from(mut list: Vec<[u8; 32]>) -> Self {
        if list.len() > CONTENTS {
            list.drain(..list.len() - CONTENTS);
        }
        match list.as_slice() {
            [] => Contents::None,
            [one] => Contents::One(*one),
            _ => Contents::Many(list),
        }
    }

    fn see(&mut self, content: [u8; 32]) -> Verdict {
        match self {
            Contents::None => {
                *self = Contents::One(content);
                Verdict::First
            }
            Contents::One(one) if *one == content => Verdict::Seen,
            Contents::One(one) => {
                let old = *one;
                *self = Contents::Many(vec![old, content]);
                Verdict::Changed { old }
            }
            Contents::Many(many) => {
                let old = many.last().copied();
                let place = many.iter().position(|known| *known == content);
                if let Some(place) = place {
                    many.remove(place);
                } else if many.len() >= CONTENTS {
                    many.remove(0);
                }
                many.push(content);
                match (place, old) {
                    (None, Some(old)) => Verdict::Changed { old },
                    (None, None) => Verdict::First,
                    (Some(_), _) => Verdict::Seen,
                }
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Programs {
    known: HashMap<Digest, Contents>,
    forgotten: u64,
}

impl Programs {
    /// Takes over what the record knows; contents oldest first.
    pub(super) fn load(&mut self, key: &ProgramKey, contents: Vec<[u8; 32]>) {
        self.room();
        self.known.insert(Digest::of(key), Contents::from(contents));
    }

    pub(super) fn contains(&self, digest: Digest) -> bool {
        self.known.contains_key(&digest)
    }

    /// Remembers the program; a known one keeps its contents.
    pub(super) fn enter(&mut self, digest: Digest) {
        if !self.contains(digest) {
            self.room();
            self.known.insert(digest, Contents::None);
        }
    }

    /// Remembers a content and says what it means.
    pub(super) fn content(&mut self, digest: Digest, content: [u8; 32]) -> Verdict {
        if let Some(contents) = self.known.get_mut(&digest) {
            return contents.see(content);
        }
        self.room();
        self.known.insert(digest, Contents::One(content));
        Verdict::New
    }

    /// How many programs were forgotten for lack of room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Makes room for one: any program is forgotten, as good as at random.
    fn room(&mut self) {
        if self.known.len() >= PROGRAMS
            && let Some(victim) = self.known.keys().next().copied()
        {
            self.known.remove(&victim);
            self.forgotten += 1;
        }
    }
}
