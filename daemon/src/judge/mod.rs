// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes: contacts (who talked to whom), hashes that became known later, shortfalls of other stages.
//! Gives: numbered notices, and completions of notices that went out before their hash was known.
//! Thread: the pipeline's; pure, no clock and no I/O of its own.
//! Drops when: too many contents are pending or too many programs are known; both are counted.

mod errors;
mod programs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use picosnitch_api::Incident;

use crate::accounts::Accounts;
use crate::model::{
    self, Before, Contact, FileId, Gap, Hash, Known, Notice, NoticeKind, Owner, Program, ProgramKey, Suspect,
};
use errors::Errors;
use programs::{Digest, Programs, Verdict};

/// How long a NewExecutable waits for its hash, µs.
pub const PATIENCE: i64 = 500_000;

/// Contacts that wait for a hash at once; more are passed over and counted.
const WAITING: usize = 4096;

/// One moment on both clocks: the wall clock may be set back, the other only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// µs since the epoch: what notices carry.
    pub wall: i64,
    /// µs since any fixed moment, monotonic: what deadlines are measured by.
    pub monotonic: i64,
}

/// What the judge has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell people, and record it.
    Notice(Notice),
    /// The hash of a NewExecutable that went out as pending; update its record, tell nobody.
    Completed {
        /// Number of the notice.
        notice: i64,
        /// Known, or the final reason why not; never `Pending`.
        hash: Hash,
        /// What somebody else ran at this path: to those who see everybody the program has changed.
        old: Option<[u8; 32]>,
    },
}

/// What was not done because a bound was reached. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Contacts of known programs whose content was not compared: too many were pending.
    pub comparisons: u64,
    /// Programs forgotten because too many are known; seen again, they are announced again.
    pub programs: u64,
}

/// A contact whose content is not known yet.
struct Waiting {
    digest: Digest,
    owner: Owner,
    contact: Contact,
    /// Monotonic µs; `None`: the program is announced already, only its content is compared.
    deadline: Option<i64>,
    /// The NewExecutable that went out without a hash.
    notice: Option<i64>,
}

/// What people were told of a contact before its content was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing, and perhaps there is nothing to tell.
    Fresh,
    /// Nothing, but its program is new.
    NotYet,
    /// The NewExecutable of this number.
    Already(i64),
}

/// Decides what is news. NewExecutable: a path never seen. HashChanged: content never seen for a known
/// path. Never both for one content of a program, never the same twice. "Seen" is: from the same owner, or
/// from the system, so that nobody learns what somebody else runs, neither from what is said nor from silence;
/// what is no news to those who see everybody is marked as such ([`Before`]).
pub struct Judge {
    accounts: Accounts,
    programs: Programs,
    waiting: VecDeque<Waiting>,
    errors: Errors,
    next: i64,
    dropped: Dropped,
}

impl Judge {
    /// Starts from what the record knows.
    #[must_use]
    pub fn new(known: Known, accounts: Accounts) -> Self {
        let mut programs = Programs::default();
        for (key, uid, contents) in known.programs {
            programs.load(&key, accounts.owner(uid), contents);
        }
        Judge {
            accounts,
            programs,
            waiting: VecDeque::new(),
            errors: Errors::default(),
            next: known.next_notice,
            dropped: Dropped::default(),
        }
    }

    /// Whose uids are whose has changed.
    pub fn accounts(&mut self, accounts: Accounts) {
        self.accounts = accounts;
    }

    /// The record does not know this program any more: when it is seen again it is a new one, whoever runs it.
    pub fn forget(&mut self, key: &ProgramKey) {
        self.programs.forget(Digest::of(key));
    }

    /// Whose the rows of this uid are.
    #[must_use]
    pub fn owner(&self, uid: u32) -> Owner {
        self.accounts.owner(uid)
    }

    /// A program was seen. If its hash is pending, [`Judge::hash`] is expected for its file later. Parents are
    /// never judged.
    pub fn observe(&mut self, contact: Contact, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        let digest = Digest::of(&contact.who.program.key);
        let owner = self.accounts.owner(contact.who.uid);
        match contact.who.program.hash {
            Hash::Known(content) => self.content(digest, owner, contact, content, Told::Fresh, now, &mut out),
            Hash::Unknown(Gap::Pending) => self.wait(digest, owner, contact, now, &mut out),
            Hash::Unknown(_) => {
                if !self.programs.contains(digest, owner) || self.take_unannounced(digest, owner) {
                    self.announce(digest, owner, contact, Before::Nobody, now, &mut out);
                }
            }
        }
        out
    }

    /// The content of a file became known, or never will.
    pub fn hash(&mut self, file: FileId, hash: Hash, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        if hash == Hash::Unknown(Gap::Pending) {
            return out;
        }
        let (ready, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.contact.file == file);
        self.waiting = rest;
        let ready: VecDeque<Waiting> = ready;
        for mut waiting in ready {
            with_hash(&mut waiting.contact, hash);
            let told = match (waiting.notice, waiting.deadline) {
                (Some(notice), _) => Told::Already(notice),
                (None, Some(_)) => Told::NotYet,
                (None, None) => Told::Fresh,
            };
            match hash {
                Hash::Known(content) => {
                    let Waiting { digest, owner, contact, .. } = waiting;
                    self.content(digest, owner, contact, content, told, now, &mut out);
                }
                Hash::Unknown(_) => match waiting.notice {
                    Some(notice) => out.push(Output::Completed { notice, hash, old: None }),
                    None if waiting.deadline.is_some() => {
                        let Waiting { digest, owner, contact, .. } = waiting;
                        self.announce(digest, owner, contact, Before::Nobody, now, &mut out);
                    }
                    None => {}
                },
            }
        }
        out
    }

    /// When [`Judge::tick`] has something to do, monotonic µs.
    #[must_use]
    pub fn deadline(&self) -> Option<i64> {
        self.waiting.iter().filter_map(|waiting| waiting.deadline).min()
    }

    /// Sends out what has waited long enough for its hash.
    pub fn tick(&mut self, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        for index in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.get_mut(index) else { break };
            if waiting.deadline.is_none_or(|deadline| deadline > now.monotonic) {
                continue;
            }
            waiting.deadline = None;
            let id = self.next;
            waiting.notice = Some(id);
            let kind = NoticeKind::NewExecutable(Box::new(waiting.contact.clone()));
            self.next += 1;
            out.push(Output::Notice(Notice { id, time: now.wall, kind, before: Before::Nobody }));
        }
        out
    }

    /// Numbers a trouble. `None` if the same kind was told within the last minute; how many were kept
    /// back is said with the next one.
    pub fn error(&mut self, kind: Incident, message: String, now: Moment) -> Option<Notice> {
        let message = self.errors.admit(kind, message, now.monotonic)?;
        Some(self.number(NoticeKind::Error { kind, message }, Before::Nobody, now))
    }

    /// Whether a trouble of this kind would be told now.
    #[must_use]
    pub fn may_tell(&self, kind: Incident, now: Moment) -> bool {
        self.errors.may_tell(kind, now.monotonic)
    }

    /// Numbers a loss, whether or not its kind was told a moment ago.
    pub fn loss(&mut self, kind: Incident, message: String, now: Moment) -> Notice {
        self.errors.told(kind, now.monotonic);
        self.number(NoticeKind::Error { kind, message }, Before::Nobody, now)
    }

    /// Numbers a verdict.
    pub fn verdict(&mut self, suspect: Suspect, verdict: model::Verdict, now: Moment) -> Notice {
        self.number(NoticeKind::Verdict { suspect: Box::new(suspect), verdict }, Before::Nobody, now)
    }

    /// What was not done for lack of room.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped { programs: self.programs.forgotten(), ..self.dropped }
    }

    /// Number the next notice will have.
    #[must_use]
    pub fn next_notice(&self) -> i64 {
        self.next
    }

    fn number(&mut self, kind: NoticeKind, before: Before, now: Moment) -> Notice {
        let id = self.next;
        self.next += 1;
        Notice { id, time: now.wall, kind, before }
    }

    fn announce(
        &mut self,
        digest: Digest,
        owner: Owner,
        contact: Contact,
        before: Before,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.programs.enter(digest, owner);
        let notice = self.number(NoticeKind::NewExecutable(Box::new(contact)), before, now);
        out.push(Output::Notice(notice));
    }

    /// A contact whose content is known: from the start, or after waiting.
    #[allow(clippy::too_many_arguments)]
    fn content(
        &mut self,
        digest: Digest,
        owner: Owner,
        contact: Contact,
        content: [u8; 32],
        told: Told,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        // A program that still waits for its first notice gets it now, with the content that came first.
        let unannounced = self.take_unannounced(digest, owner) || told == Told::NotYet;
        let (verdict, before) = self.programs.content(digest, owner, content);
        if let Told::Already(notice) = told {
            let old = match (&verdict, &before) {
                (Verdict::New | Verdict::First, Before::Other(old)) => Some(*old),
                _ => None,
            };
            out.push(Output::Completed { notice, hash: Hash::Known(content), old });
        }
        match verdict {
            Verdict::New if !matches!(told, Told::Already(_)) => {
                self.announce(digest, owner, contact, before, now, out);
            }
            Verdict::First | Verdict::Seen if unannounced => {
                self.announce(digest, owner, contact, before, now, out);
            }
            Verdict::New | Verdict::First | Verdict::Seen => {}
            Verdict::Changed { old } => {
                let kind = NoticeKind::HashChanged { contact: Box::new(contact), old };
                // Both know it as changed; who sees everybody has no better old content than the owner.
                let before = if matches!(before, Before::Same(_)) { before } else { Before::Nobody };
                let notice = self.number(kind, before, now);
                out.push(Output::Notice(notice));
            }
        }
    }

    /// Whether the program is known only by contacts that wait for their first notice; they then wait
    /// only to have their content compared.
    fn take_unannounced(&mut self, digest: Digest, owner: Owner) -> bool {
        let mut any = false;
        let same = |waiting: &&mut Waiting| waiting.digest == digest && waiting.owner == owner;
        for waiting in self.waiting.iter_mut().filter(same) {
            any |= waiting.deadline.take().is_some();
        }
        any
    }

    fn wait(&mut self, digest: Digest, owner: Owner, contact: Contact, now: Moment, out: &mut Vec<Output>) {
        let known = self.programs.contains(digest, owner);
        let waits = |waiting: &Waiting| {
            (waiting.digest, waiting.owner, waiting.contact.file) == (digest, owner, contact.file)
        };
        if known && self.waiting.iter().any(waits) {
            return;
        }
        if self.waiting.len() >= WAITING {
            if known {
                self.dropped.comparisons += 1;
            } else {
                self.announce(digest, owner, contact, Before::Nobody, now, out);
            }
            return;
        }
        let deadline = (!known).then(|| {
            self.programs.enter(digest, owner);
            now.monotonic.saturating_add(PATIENCE)
        });
        self.waiting.push_back(Waiting { digest, owner, contact, deadline, notice: None });
    }
}

/// Puts the hash into the contact's program.
fn with_hash(contact: &mut Contact, hash: Hash) {
    if contact.who.program.hash != hash {
        let program = Program { hash, ..(*contact.who.program).clone() };
        contact.who.program = std::sync::Arc::new(program);
    }
}
