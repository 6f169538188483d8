// SPDX-License-Identifier: GPL-3.0-or-later
//! Contents that wait for a verdict: one question at a time, never sooner than the interval, and only an
//! answer that says so is a verdict, or that there is none.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use picosnitch_relay_wire::{Answer, Ask};

use super::{Backoff, ScanAnswer, copy};
use crate::model::{Hash, Scan, Verdict};
use crate::record::Due;

/// Helpers that have not answered by then hang: they give up by themselves before.
const LOOKUP: Duration = Duration::from_secs(45);
const UPLOAD: Duration = Duration::from_secs(330);
/// A file of 32 MiB takes a moment.
const COPY: Duration = Duration::from_secs(60);
/// A scanner takes some minutes for a file.
const AGAIN: i64 = 300_000_000;
/// How often it is asked for a verdict on a file that it was sent, or says it has.
const TRIES: u32 = 48;
/// Calls of `Scan` that wait at the most.
const CALLS: usize = 16;
/// Engines that there can be.
const MOST: u32 = 10_000;

enum Step {
    Lookup,
    Copy,
    /// Waits for its turn.
    Ready(OwnedFd),
    Upload,
}

struct Work {
    due: Due,
    step: Step,
    number: u64,
    /// When the helper, or the copy, must be done.
    deadline: Option<Instant>,
}

/// What is to be done about an answer.
#[derive(Default)]
pub(super) struct Outcome {
    /// For the record.
    pub(super) scan: Option<([u8; 32], Scan)>,
    /// For people.
    pub(super) tell: Option<String>,
    /// A file with this content is to be copied.
    pub(super) copy: Option<[u8; 32]>,
}

/// See the module.
pub(super) struct Scans {
    work: Option<Work>,
    calls: VecDeque<([u8; 32], ScanAnswer)>,
    interval: Duration,
    /// No question before this.
    free: Instant,
    backoff: Backoff,
    pub(super) error: Option<String>,
    pub(super) last: i64,
}

impl Scans {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            work: None,
            calls: VecDeque::new(),
            interval: Duration::from_secs(15),
            free: now,
            backoff: Backoff::new(Duration::from_secs(15), Duration::from_secs(3600)),
            error: None,
            last: 0,
        }
    }

    /// Another key, scanner or interval: tried at once, but for the interval.
    pub(super) fn reset(&mut self, interval: Duration) {
        self.work = None;
        self.interval = interval;
        self.backoff = Backoff::new(interval, Duration::from_secs(3600));
    }

    /// There is no scanner any more.
    pub(super) fn off(&mut self) {
        self.work = None;
        for (_, answer) in self.calls.drain(..) {
            let _ = answer.send(Err("there is no scanner: virustotal.api_key is not set".to_owned()));
        }
    }

    pub(super) fn interrupted(&mut self) {
        self.work = None;
    }

    /// Somebody wants to know now.
    pub(super) fn call(&mut self, sha256: [u8; 32], answer: ScanAnswer, now: Instant) {
        if let (Some(until), Some(error)) = (self.backoff.wait(now), &self.error) {
            let seconds = until.saturating_duration_since(now).as_secs() + 1;
            let _ = answer.send(Err(format!("{error}; it is asked again in {seconds} s")));
        } else if self.calls.len() >= CALLS {
            let _ = answer.send(Err("the scanner was asked too much at once; try again".to_owned()));
        } else {
            self.calls.push_back((sha256, answer));
        }
    }

    /// The question to ask now, if any; `due` is what the record has. Then [`Scans::asked`].
    pub(super) fn next(&mut self, due: Option<Due>, number: u64, wall: i64, now: Instant) -> Option<Ask> {
        if self.free > now || self.backoff.wait(now).is_some() {
            return None;
        }
        if self.work.is_none() {
            // Those who have hung up are not asked for.
            self.calls.retain(|(_, answer)| !answer.is_closed());
            let called = self.calls.front().map(|(sha256, _)| {
                let known = due.filter(|due| due.sha256 == *sha256);
                known.unwrap_or(Due { sha256: *sha256, due: 0, sent: false, tries: 0 })
            });
            let due = called.or(due.filter(|due| due.due <= wall))?;
            self.work = Some(Work { due, step: Step::Lookup, number: 0, deadline: None });
        }
        let work = self.work.as_ref()?;
        let sha256 = Hash::Known(work.due.sha256).hex()?;
        match work.step {
            Step::Lookup if work.deadline.is_none() => Some(Ask::Lookup { number, sha256 }),
            Step::Ready(_) => Some(Ask::Upload { number, sha256 }),
            _ => None,
        }
    }

    /// What goes along with the question.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.work.as_ref()?.step {
            Step::Ready(file) => Some(file.as_fd()),
            _ => None,
        }
    }

    pub(super) fn asked(&mut self, number: u64, now: Instant) {
        self.free = now + self.interval;
        let Some(work) = &mut self.work else { return };
        work.number = number;
        let ready = matches!(work.step, Step::Ready(_));
        work.deadline = Some(now + if ready { UPLOAD } else { LOOKUP });
        if ready {
            work.step = Step::Upload;
        }
    }

    pub(super) fn wake_at(&self, due: Option<Due>, wall: i64, now: Instant) -> Option<Instant> {
        let free = self.backoff.wait(now).unwrap_or(now).max(self.free);
        match &self.work {
            Some(Work { deadline: Some(deadline), .. }) => Some(*deadline),
            Some(Work { step: Step::Ready(_) | Step::Lookup, .. }) => Some(free),
            Some(_) => None,
            None if !self.calls.is_empty() => Some(free),
            None => due.map(|due| {
                let left = u64::try_from(due.due.saturating_sub(wall)).unwrap_or(0);
                // The wall clock may be set: looked at once an hour.
                free.max(now + Duration::from_micros(left).min(Duration::from_secs(3600)))
            }),
        }
    }

    pub(super) fn overdue(&self, now: Instant) -> bool {
        let copies = |work: &Work| matches!(work.step, Step::Copy);
        let work = self.work.as_ref().filter(|work| !copies(work));
        work.and_then(|work| work.deadline).is_some_and(|deadline| deadline <= now)
    }

    /// A copy that takes too long is not waited for.
    pub(super) fn give_up_copy(&mut self, now: Instant) -> Option<Outcome> {
        let work = self.work.as_ref().filter(|work| matches!(work.step, Step::Copy))?;
        work.deadline.filter(|deadline| *deadline <= now)?;
        Some(self.copied(work.due.sha256, Err(copy::Refusal::Failed)))
    }

    /// A copy was made, or cannot be.
    pub(super) fn copied(&mut self, sha256: [u8; 32], copy: Result<OwnedFd, copy::Refusal>) -> Outcome {
        let waits = |work: &Work| matches!(work.step, Step::Copy) && work.due.sha256 == sha256;
        let Some(work) = self.work.as_mut().filter(|work| waits(work)) else { return Outcome::default() };
        match copy {
            Ok(file) => {
                work.deadline = None;
                work.step = Step::Ready(file);
                Outcome::default()
            }
            Err(why) => {
                tracing::info!("a program that the scanner does not know is not sent: {why}");
                self.finish(Scan::Unknown)
            }
        }
    }

    /// Takes an answer; `Err`: no answer to what was asked.
    pub(super) fn answer(
        &mut self,
        answer: &Answer,
        upload: bool,
        wall: i64,
        now: Instant,
    ) -> Result<Outcome, ()> {
        let asked = |work: &Work| matches!(work.step, Step::Lookup | Step::Upload) && work.deadline.is_some();
        let work =
            self.work.as_mut().filter(|work| work.number == answer.number() && asked(work)).ok_or(())?;
        work.deadline = None;
        // Counted from here, so that two requests are that far apart also where they arrive.
        self.free = self.free.max(now + self.interval);
        let (due, lookup) = (work.due, matches!(work.step, Step::Lookup));
        if let Answer::Failed { why, wait, .. } = answer {
            let wait = self.backoff.failed(now, wait.map(Duration::from_secs));
            let why = super::run::stranger(why);
            let first = self.error.replace(why.clone()).is_none();
            // Others go first then: perhaps it is this one's fault.
            let later = wall.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
            let scan = Scan::Later { sent: due.sent, due: later, tries: due.tries };
            self.reply(due.sha256, &Err(why.clone()));
            self.work = None;
            return Ok(Outcome {
                scan: Some((due.sha256, scan)),
                tell: first.then(|| format!("programs wait for their verdicts: {why}")),
                copy: None,
            });
        }
        let again = |sent: bool, tries: u32| {
            if tries >= TRIES {
                Scan::Unknown
            } else {
                Scan::Later { sent, due: wall.saturating_add(AGAIN), tries: tries + 1 }
            }
        };
        let outcome = match answer {
            Answer::Verdict { malicious, suspicious, total, analysed, .. } if lookup => {
                let sum = u64::from(*malicious) + u64::from(*suspicious);
                if *total == 0 || *total > MOST || sum > u64::from(*total) {
                    return Err(());
                }
                let analysed = analysed.saturating_mul(1_000_000).clamp(0, wall);
                let (malicious, suspicious, total) = (*malicious, *suspicious, *total);
                self.finish(Scan::Verdict(Verdict { malicious, suspicious, total, analysed }))
            }
            // It was sent, and is not shown yet.
            Answer::Unknown { .. } if lookup && due.sent => self.finish(again(true, due.tries)),
            Answer::Unknown { .. } if lookup && upload => {
                work.step = Step::Copy;
                work.deadline = Some(now + COPY);
                Outcome { copy: Some(due.sha256), ..Outcome::default() }
            }
            Answer::Unknown { .. } if lookup => self.finish(Scan::Unknown),
            Answer::Pending { .. } => self.finish(again(true, if lookup { due.tries } else { 0 })),
            _ => return Err(()),
        };
        self.backoff.succeeded();
        self.last = wall;
        if self.error.take().is_some() {
            tracing::info!("the scanner answers again");
        }
        Ok(outcome)
    }

    fn finish(&mut self, scan: Scan) -> Outcome {
        let Some(work) = self.work.take() else { return Outcome::default() };
        let words = match scan {
            Scan::Verdict(verdict) => verdict.to_string(),
            Scan::Unknown => "unknown".to_owned(),
            Scan::Later { .. } => "sent, no verdict yet".to_owned(),
        };
        self.reply(work.due.sha256, &Ok(words));
        Outcome { scan: Some((work.due.sha256, scan)), ..Outcome::default() }
    }

    fn reply(&mut self, sha256: [u8; 32], words: &Result<String, String>) {
        let (answered, rest) = std::mem::take(&mut self.calls).into_iter().partition(|(of, _)| *of == sha256);
        self.calls = rest;
        let answered: VecDeque<_> = answered;
        for (_, answer) in answered {
            let _ = answer.send(words.clone());
        }
    }
}
