// SPDX-License-Identifier: GPL-3.0-or-later
//! Who uses the network, with hashes that may come later.

use std::sync::Arc;

use crate::model::{FileId, Gap, Hash, Program, Who};

const PENDING: Hash = Hash::Unknown(Gap::Pending);

/// The executable of a program, and the script that it interprets.
pub(crate) type Files = [Option<FileId>; 2];

/// Nothing is awaited.
const SETTLED: [Files; 3] = [[None; 2]; 3];

/// [`Who`], and the files whose hashes are still pending in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who, as far as it is known.
    pub who: Who,
    /// What the program runs, for the judge.
    pub file: FileId,
    /// Program, parent, grandparent: the files whose hashes are awaited; `None`: no hash is. Apart, as a
    /// subject lives long and waits briefly.
    waiting: Option<Box<[Files; 3]>>,
}

impl Subject {
    /// `files`: of the program, its parent and its grandparent.
    pub(crate) fn new(mut who: Who, files: [Option<Files>; 3]) -> Self {
        let mut waiting = files.map(Option::unwrap_or_default);
        let file = waiting[0][0].unwrap_or_default();
        for (generation, files) in waiting.iter_mut().enumerate() {
            let program = of(&mut who, generation);
            let hash = program.as_ref().map(|program| program.hash);
            let script = program.and_then(|program| program.script.as_ref()).map(|(_, hash)| *hash);
            if hash != Some(PENDING) {
                files[0] = None;
            }
            if script != Some(PENDING) {
                files[1] = None;
            }
        }
        let waiting = (waiting != SETTLED).then(|| Box::new(waiting));
        Subject { who, file, waiting }
    }

    /// Puts a hash where it belongs. True if no hash is pending any more.
    pub fn settle(&mut self, file: FileId, hash: Hash) -> bool {
        let Some(waiting) = &mut self.waiting else { return true };
        for (generation, files) in waiting.iter_mut().enumerate() {
            if !files.contains(&Some(file)) {
                continue;
            }
            if let Some(program) = of(&mut self.who, generation) {
                let program = Arc::make_mut(program);
                if files[0] == Some(file) {
                    program.hash = hash;
                }
                if files[1] == Some(file)
                    && let Some((_, script)) = &mut program.script
                {
                    *script = hash;
                }
            }
            *files = files.map(|awaited| awaited.filter(|awaited| *awaited != file));
        }
        if **waiting == SETTLED {
            self.waiting = None;
        }
        self.settled()
    }

    /// Whether no hash is pending.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.waiting.is_none()
    }

    /// The files whose hashes are pending.
    pub fn waits_for(&self) -> impl Iterator<Item = FileId> {
        self.waiting.iter().flat_map(|waiting| waiting.iter()).flatten().copied().flatten()
    }
}

fn of(who: &mut Who, generation: usize) -> Option<&mut Arc<Program>> {
    match generation {
        0 => Some(&mut who.program),
        1 => who.parent.as_mut(),
        _ => who.grandparent.as_mut(),
    }
}
