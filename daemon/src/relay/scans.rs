// SPDX-License-Identifier: GPL-3.0-or-later
//! Contents that wait for a verdict: one question at a time, never sooner than the interval, and only an
//! answer that says so is a verdict, or that there is none.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use picosnitch_relay_wire::{Answer, Ask, MAX_ENGINES};

use super::{Backoff, ScanAnswer, copy};
use crate::model::{Hash, Scan, Scanned, Verdict};
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
/// How often a file is sent that the scanner refuses for what it is, and how long one that does not arrive waits
/// between, for whatever reason, µs: doubled each time.
const UPLOADS: u32 = 10;
const UPLOAD_WAIT: (i64, i64) = (300_000_000, 86_400_000_000);
/// For a question that is not answered, or by nothing that one understands, or a file that cannot be copied, it
/// begins with the interval and ends here, µs.
const LOOKUP_WAIT: i64 = 3_600_000_000;
/// Contents whose failures are counted at the most.
const FAILURES: usize = 1024;
/// Calls of `Scan` that wait at the most.
const CALLS: usize = 16;

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

impl Work {
    /// The helper has a question about it.
    fn asked(&self) -> bool {
        matches!(self.step, Step::Lookup | Step::Upload) && self.deadline.is_some()
    }
}

/// What is to be done about an answer.
#[derive(Default)]
pub(super) struct Outcome {
    /// For the record.
    pub(super) scan: Option<Scanned>,
    /// For people.
    pub(super) tell: Option<String>,
    /// A file with this content is to be copied.
    pub(super) copy: Option<[u8; 32]>,
}

/// See the module.
pub(super) struct Scans {
    work: Option<Work>,
    calls: VecDeque<([u8; 32], ScanAnswer)>,
    /// Contents that failed, and how often: each waits longer, as it may be its own fault.
    failures: HashMap<[u8; 32], u32>,
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
            failures: HashMap::new(),
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

    /// What the last daemon knew: when it asked, and how long it was to wait, µs since the epoch.
    pub(super) fn resume(&mut self, asked: i64, not_before: i64, wall: i64, now: Instant) {
        let left = |until: i64| Duration::from_micros(u64::try_from(until.saturating_sub(wall)).unwrap_or(0));
        if asked > 0 {
            let interval = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX);
            self.free = now + left(asked.saturating_add(interval)).min(self.interval);
        }
        self.backoff.resume(now, left(not_before));
    }

    /// There is no scanner any more.
    pub(super) fn off(&mut self) {
        self.work = None;
        for (_, answer) in self.calls.drain(..) {
            let _ = answer.send(Err("there is no scanner: virustotal.api_key is not set".to_owned()));
        }
    }

    /// The helper was dismissed; what it was asked is asked again. A copy does not need it.
    pub(super) fn interrupted(&mut self) {
        if !matches!(self.work, Some(Work { step: Step::Copy | Step::Ready(_), .. })) {
            self.work = None;
        }
    }

    /// The helper died, hangs or talks nonsense. If that was because of the content that it was asked about,
    /// others must not wait for it.
    pub(super) fn lost(&mut self, wall: i64, now: Instant) -> Outcome {
        if !self.work.as_ref().is_some_and(Work::asked) {
            self.interrupted();
            return Outcome::default();
        }
        let words = Err("the scanner was not asked: picosnitch-relay has ended".to_owned());
        self.put_off(&words, false, 0, wall, now)
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

    /// The content that somebody waits for first.
    pub(super) fn called(&mut self) -> Option<[u8; 32]> {
        // Those who have hung up are not asked for.
        self.calls.retain(|(_, answer)| !answer.is_closed());
        self.calls.front().map(|(sha256, _)| *sha256)
    }

    /// The question to ask now, if any; `due` is the content whose turn it is. Then [`Scans::asked`].
    pub(super) fn next(&mut self, due: Option<Due>, number: u64, wall: i64, now: Instant) -> Option<Ask> {
        if self.free > now || self.backoff.wait(now).is_some() {
            return None;
        }
        if self.work.is_none() {
            let due = due.filter(|due| due.due <= wall)?;
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
            None => due.map(|due| {
                let left = u64::try_from(due.due.saturating_sub(wall)).unwrap_or(0);
                // The wall clock may be set: looked at once an hour.
                free.max(now + Duration::from_micros(left).min(Duration::from_secs(3600)))
            }),
        }
    }

    pub(super) fn overdue(&self, now: Instant) -> bool {
        let work = self.work.as_ref().filter(|work| work.asked());
        work.and_then(|work| work.deadline).is_some_and(|deadline| deadline <= now)
    }

    /// A copy that takes too long is not waited for.
    pub(super) fn give_up_copy(&mut self, wall: i64, now: Instant) -> Option<Outcome> {
        let work = self.work.as_ref().filter(|work| matches!(work.step, Step::Copy))?;
        work.deadline.filter(|deadline| *deadline <= now)?;
        Some(self.copied(work.due.sha256, Err(copy::Refusal::Failed), wall, now))
    }

    /// A copy was made, or cannot be.
    pub(super) fn copied(
        &mut self,
        sha256: [u8; 32],
        copy: Result<OwnedFd, copy::Refusal>,
        wall: i64,
        now: Instant,
    ) -> Outcome {
        let waits = |work: &Work| matches!(work.step, Step::Copy) && work.due.sha256 == sha256;
        let Some(work) = self.work.as_mut().filter(|work| waits(work)) else { return Outcome::default() };
        let why = match copy {
            Ok(file) => {
                work.deadline = None;
                work.step = Step::Ready(file);
                return Outcome::default();
            }
            Err(why) => why,
        };
        tracing::info!("a program that the scanner does not know is not sent: {why}");
        // Nothing more is asked about this one: its question was answered.
        self.works();
        if why == copy::Refusal::Failed {
            // That is our own trouble, and says nothing about the content.
            self.put_off(&Err(format!("{why}; it is tried again later")), false, 0, wall, now)
        } else {
            self.finish(Scan::Unknown)
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
        let of = |work: &&mut Work| work.number == answer.number() && work.asked();
        let work = self.work.as_mut().filter(of).ok_or(())?;
        let (due, lookup) = (work.due, matches!(work.step, Step::Lookup));
        if let Answer::Failed { why, wait, unwanted, .. } = answer {
            self.free = self.free.max(now + self.interval);
            let wait = self.backoff.failed(now, wait.map(Duration::from_secs));
            let why = super::run::stranger(why);
            let first = self.error.replace(why.clone()).is_none();
            let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
            let outcome = self.put_off(&Err(why.clone()), *unwanted, wait, wall, now);
            let tell = first.then(|| format!("programs wait for their verdicts: {why}"));
            return Ok(Outcome { tell, ..outcome });
        }
        let again = |tries: u32| {
            if tries >= TRIES {
                Scan::Unknown
            } else {
                Scan::Later { sent: true, due: wall.saturating_add(AGAIN), tries: tries + 1 }
            }
        };
        // What waits there was counted in its tries, before it was sent what failed.
        let tries = if due.sent { due.tries } else { 0 };
        let scan = match answer {
            Answer::Verdict { malicious, suspicious, total, analysed, .. } if lookup => {
                let sum = u64::from(*malicious) + u64::from(*suspicious);
                if *total == 0 || *total > MAX_ENGINES || sum > u64::from(*total) {
                    return Err(());
                }
                let analysed = analysed.saturating_mul(1_000_000).clamp(0, wall);
                let (malicious, suspicious, total) = (*malicious, *suspicious, *total);
                Some(Scan::Verdict(Verdict { malicious, suspicious, total, analysed }))
            }
            // It was sent, and is not shown yet.
            Answer::Unknown { .. } if lookup && due.sent => Some(again(tries)),
            Answer::Unknown { .. } if lookup && upload => None,
            Answer::Unknown { .. } if lookup => Some(Scan::Unknown),
            Answer::Pending { .. } => Some(again(if lookup { tries } else { 0 })),
            _ => return Err(()),
        };
        // Counted from here, so that two requests are that far apart also where they arrive.
        self.free = self.free.max(now + self.interval);
        self.last = wall;
        let Some(scan) = scan else {
            // Whether all is well turns out with the upload.
            work.step = Step::Copy;
            work.deadline = Some(now + COPY);
            return Ok(Outcome { copy: Some(due.sha256), ..Outcome::default() });
        };
        self.works();
        self.failures.remove(&due.sha256);
        Ok(self.finish(scan))
    }

    /// The scanner does what it is asked for.
    fn works(&mut self) {
        self.backoff.succeeded();
        if self.error.take().is_some() {
            tracing::info!("the scanner answers again");
        }
    }

    /// The question in flight came to nothing. Others go first then, as it may be this one's fault: it waits longer
    /// each time, `wait` µs at the least. Only a file that is `unwanted` again and again is not sent any more.
    fn put_off(
        &mut self,
        words: &Result<String, String>,
        unwanted: bool,
        wait: i64,
        wall: i64,
        now: Instant,
    ) -> Outcome {
        let Some(Work { due: Due { sha256, sent, mut tries, .. }, step, .. }) = self.work.take() else {
            return Outcome::default();
        };
        let interval = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX);
        let upload = matches!(step, Step::Upload);
        let own = if upload && unwanted {
            tries += 1;
            doubled(UPLOAD_WAIT, tries - 1)
        } else {
            if self.failures.len() >= FAILURES {
                self.failures.clear();
            }
            let failures = self.failures.entry(sha256).or_default();
            *failures += 1;
            doubled(if upload { UPLOAD_WAIT } else { (interval, LOOKUP_WAIT) }, *failures - 1)
        };
        let scan = if upload && unwanted && tries >= UPLOADS {
            Scan::Unknown
        } else {
            Scan::Later { sent, due: wall.saturating_add(wait.max(own)), tries }
        };
        self.reply(sha256, words);
        let not_before = self.backoff.wait(now).map_or(0, |until| {
            let left = until.saturating_duration_since(now).as_micros();
            wall.saturating_add(i64::try_from(left).unwrap_or(i64::MAX))
        });
        Outcome { scan: Some(Scanned { sha256, scan, not_before }), ..Outcome::default() }
    }

    fn finish(&mut self, scan: Scan) -> Outcome {
        let Some(work) = self.work.take() else { return Outcome::default() };
        let words = match scan {
            Scan::Verdict(verdict) => verdict.to_string(),
            Scan::Unknown => "unknown".to_owned(),
            Scan::Later { .. } => "no verdict yet".to_owned(),
        };
        self.reply(work.due.sha256, &Ok(words));
        let scanned = Scanned { sha256: work.due.sha256, scan, not_before: 0 };
        Outcome { scan: Some(scanned), ..Outcome::default() }
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

/// The first wait, doubled so many times, at most the last.
fn doubled((first, longest): (i64, i64), times: u32) -> i64 {
    first.saturating_mul(1 << times.min(30)).min(longest)
}
