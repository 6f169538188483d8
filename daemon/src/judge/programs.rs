// SPDX-License-Identifier: GPL-3.0-or-later
//! The index of known programs, by who ran them, and their contents. A program costs the same however long
//! its path is: it is kept by a digest of its key.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::model::{Before, Owner, ProgramKey};

/// Programs remembered at once, counted once for each owner: about 40 MiB at the very most, a few hundred
/// KiB on a real machine.
const PROGRAMS: usize = 1 << 18;

/// Owners remembered for one program; of the people, the first one goes first.
const OWNERS: usize = 64;

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

/// What a content means for a program, judged by what its owner and the system ran.
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
        /// The content that was seen last before: the owner's own if there is one, else the system's.
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

    fn has(&self, content: [u8; 32]) -> bool {
        match self {
            Contents::None => false,
            Contents::One(one) => *one == content,
            Contents::Many(many) => many.contains(&content),
        }
    }

    /// The one that was seen last.
    fn last(&self) -> Option<[u8; 32]> {
        match self {
            Contents::None => None,
            Contents::One(one) => Some(*one),
            Contents::Many(many) => many.last().copied(),
        }
    }

    fn see(&mut self, content: [u8; 32]) {
        match self {
            Contents::None => *self = Contents::One(content),
            Contents::One(one) if *one == content => {}
            Contents::One(one) => *self = Contents::Many(vec![*one, content]),
            Contents::Many(many) => {
                if let Some(place) = many.iter().position(|known| *known == content) {
                    many.remove(place);
                } else if many.len() >= CONTENTS {
                    many.remove(0);
                }
                many.push(content);
            }
        }
    }
}

/// What is known of one program: each who ran it. Nearly all have one.
type Owners = Vec<(Owner, Contents)>;

#[derive(Default)]
pub(super) struct Programs {
    known: HashMap<Digest, Owners>,
    /// Owners of all programs together.
    entries: usize,
    forgotten: u64,
}

impl Programs {
    /// Takes over what the record knows; contents oldest first.
    pub(super) fn load(&mut self, key: &ProgramKey, owner: Owner, contents: Vec<[u8; 32]>) {
        let known = self.entry(Digest::of(key), owner);
        if matches!(known, Contents::None) {
            *known = Contents::from(contents);
        } else {
            // Another account of the same owner.
            contents.into_iter().for_each(|content| known.see(content));
        }
    }

    /// It is not known any more, from nobody.
    pub(super) fn forget(&mut self, digest: Digest) {
        self.entries -= self.known.remove(&digest).map_or(0, |owners| owners.len());
    }

    /// Whether the owner or the system ran it.
    pub(super) fn contains(&self, digest: Digest, owner: Owner) -> bool {
        self.known
            .get(&digest)
            .is_some_and(|owners| owners.iter().any(|(who, _)| *who == owner || *who == Owner::System))
    }

    /// Remembers the program; a known one keeps its contents.
    pub(super) fn enter(&mut self, digest: Digest, owner: Owner) {
        if !self.contains(digest, owner) {
            self.entry(digest, owner);
        }
    }

    /// Remembers a content and says what it means, and to whom it means less.
    pub(super) fn content(&mut self, digest: Digest, owner: Owner, content: [u8; 32]) -> (Verdict, Before) {
        let owners = self.known.get(&digest).map_or(&[][..], Vec::as_slice);
        let of = |wanted: Owner| owners.iter().find(|(who, _)| *who == wanted).map(|(_, contents)| contents);
        let (own, system) = (of(owner), of(Owner::System));
        let either = || own.iter().chain(system.iter());
        let verdict = if either().any(|contents| contents.has(content)) {
            Verdict::Seen
        } else if own.is_none() && system.is_none() {
            Verdict::New
        } else {
            match either().find_map(|contents| contents.last()) {
                Some(old) => Verdict::Changed { old },
                None => Verdict::First,
            }
        };
        let others = || {
            owners.iter().filter_map(|(who, contents)| match who {
                Owner::Person(person) if *who != owner => Some((*person, contents)),
                _ => None,
            })
        };
        let same: Vec<u32> =
            others().filter(|(_, contents)| contents.has(content)).map(|(person, _)| person).collect();
        let before = match others().filter_map(|(_, contents)| contents.last()).next_back() {
            _ if !same.is_empty() => Before::Same(same),
            Some(old) => Before::Other(old),
            None => Before::Nobody,
        };
        // What the system ran is known to all: no need to keep it for each.
        if own.is_some() || verdict != Verdict::Seen {
            self.entry(digest, owner).see(content);
        }
        (verdict, before)
    }

    /// How many programs were forgotten for lack of room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The contents from this owner, perhaps none yet. Makes room for them: any program is forgotten, as good
    /// as at random.
    fn entry(&mut self, digest: Digest, owner: Owner) -> &mut Contents {
        let new = !self.known.get(&digest).is_some_and(|owners| owners.iter().any(|(who, _)| *who == owner));
        if new
            && self.entries >= PROGRAMS
            && let Some(victim) = self.known.keys().find(|known| **known != digest).copied()
        {
            self.forget(victim);
            self.forgotten += 1;
        }
        let owners = self.known.entry(digest).or_default();
        let place = match owners.iter().position(|(who, _)| *who == owner) {
            Some(place) => place,
            None => {
                if owners.len() >= OWNERS
                    && let Some(first) = owners.iter().position(|(who, _)| *who != Owner::System)
                {
                    owners.remove(first);
                    self.entries -= 1;
                    self.forgotten += 1;
                }
                self.entries += 1;
                owners.push((owner, Contents::None));
                owners.len() - 1
            }
        };
        &mut owners[place].1
    }
}
