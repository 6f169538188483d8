// SPDX-License-Identifier: GPL-3.0-or-later
//! Who uses the network, with hashes that may come later.

use std::sync::Arc;

use crate::model::{FileId, Gap, Hash, Program, Who};

/// [`Who`], and the files whose hashes are still pending in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who, as far as it is known.
    pub who: Who,
    /// What the program runs, for the judge.
    pub file: FileId,
    /// Program, parent, grandparent: the file whose hash is awaited.
    waiting: [Option<FileId>; 3],
}

impl Subject {
    pub(super) fn new(who: Who, files: [Option<FileId>; 3]) -> Self {
        let mut subject = Subject { file: files[0].unwrap_or_default(), who, waiting: files };
        for generation in 0..3 {
            let pending = subject
                .generation(generation)
                .is_some_and(|program| program.hash == Hash::Unknown(Gap::Pending));
            if !pending {
                subject.waiting[generation] = None;
            }
        }
        subject
    }

    /// Puts a hash where it belongs. True if no hash is pending any more.
    pub fn settle(&mut self, file: FileId, hash: Hash) -> bool {
        for generation in 0..3 {
            if self.waiting[generation] == Some(file)
                && let Some(program) = self.generation(generation)
            {
                *program = Arc::new(Program { hash, ..(**program).clone() });
                self.waiting[generation] = None;
            }
        }
        self.settled()
    }

    /// Whether no hash is pending.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.waiting == [None; 3]
    }

    /// The files whose hashes are pending.
    pub fn waits_for(&self) -> impl Iterator<Item = FileId> {
        self.waiting.iter().copied().flatten()
    }

    fn generation(&mut self, generation: usize) -> Option<&mut Arc<Program>> {
        match generation {
            0 => Some(&mut self.who.program),
            1 => self.who.parent.as_mut(),
            _ => self.who.grandparent.as_mut(),
        }
    }
}
