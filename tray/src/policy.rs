// SPDX-License-Identifier: GPL-3.0-or-later
//! When to interrupt, and with what: notices in, toasts out. Pure: the time is an argument (µs of a clock that
//! nobody sets, [`crate::clock::now`]) and nothing is read or shown here. Everything that makes no toast still
//! waits in the window's timeline; the daemon records it whatever is decided here.
//!
//! A verdict of the package database, once the daemon gives one, belongs into [`Policy::weigh`]: a change
//! that matches is silent, one that does not match is [`Weight::Critical`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use picosnitch_api::quiet::Program;
use picosnitch_api::{Incident, Quiet, row};

use crate::memory::Memory;
use crate::text::{self, Names, Text};

mod burst;
mod later;
#[cfg(test)]
mod tests;

use burst::Burst;

const SECOND: i64 = 1_000_000;
/// Toasts in [`MINUTE`] at the most; replacing one that is shown counts too, growing a digest does not: that has
/// [`GROW`].
const PER_MINUTE: usize = 5;
const MINUTE: i64 = 60 * SECOND;
/// Notices that follow each other closer than this are one burst.
const BURST_GAP: i64 = 8 * SECOND;
/// A burst is shown when it is quiet for so long …
const SETTLE: i64 = 3 * SECOND / 2;
/// … but never later than this after its first notice that was not shown.
const LATEST: i64 = 5 * SECOND;
/// From so many on, a burst is one digest.
const DIGEST: usize = 3;
/// A digest is shown again, with more in it, no sooner than this: a server may have let the one before expire.
const GROW: i64 = 15 * SECOND;
/// Of what is told later, so many that are [`Weight::Critical`] are shown by themselves.
const CRITICAL: usize = 3;
/// Key of the digest of what waited for somebody.
pub const WAITED: &str = "waited";
/// Key of the digest of what could not be shown when it came.
pub const AGAIN: &str = "again";
/// Key of the summary of the first day.
pub const FIRST_DAY_KEY: &str = "first day";
/// Critical notices that are kept until a pause is over.
const HELD: usize = 50;
/// Of what found no room, so many are known one by one.
const LATE: usize = 500;
/// The same incident is not told again within this time.
const INCIDENT: i64 = 600 * SECOND;
/// How long after the first record new programs are only listed.
const FIRST_DAY: i64 = 24 * 3600 * SECOND;
/// Wait before the summary of the first day that could not be shown is tried again; twice as long before the next
/// try, up to an hour.
const SUMMARY: i64 = MINUTE / 2;
/// From so many changes on, a program is one that updates itself.
const UPDATES_ITSELF: u32 = 3;
/// Programs of the first day that are counted.
const PROGRAMS: usize = 1000;

/// What a person can do with a toast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open the window where it belongs; also what a click on the toast does.
    Details,
    /// It is fine: mark as seen.
    Expected,
    /// It is fine, and so will be the next changes of this program.
    ExpectUpdates,
    /// No more toasts about this program.
    Mute,
    /// Open the window's timeline.
    Review,
}

/// Where the window opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The page of this program, as `Executable` numbers it.
    Program(i64),
    /// The inbox.
    Timeline,
    /// The list of programs.
    Programs,
    /// What is recorded and what is lost.
    Health,
    /// The lists of what is muted and expected, and the rest of the settings.
    Settings,
}

/// How loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Waits in the timeline.
    Silent,
    /// May be put off and batched.
    Normal,
    /// Is shown at once.
    High,
    /// Is shown at once and stays, however many were shown: a scanner finds the content harmful. A change that
    /// contradicts the package database belongs here, too.
    Critical,
}

/// One notification to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// What it is about; a toast of the same key is replaced by it.
    pub key: String,
    /// Keys of other toasts that it stands for now.
    pub replaces: Vec<String>,
    /// What it says, inert but not escaped for markup.
    pub text: Text,
    /// How loud.
    pub weight: Weight,
    /// Where Details leads.
    pub target: Target,
    /// Buttons, in order.
    pub actions: Vec<Action>,
    /// The notices it tells.
    pub events: Vec<i64>,
    /// The program, if it is about one.
    pub program: Option<Program>,
}

/// See the module.
#[derive(Default)]
pub struct Policy {
    quiet: Quiet,
    off: bool,
    paused: Option<i64>,
    /// Critical ones that came in the pause, oldest first.
    held: VecDeque<row::Event>,
    /// What waited and found no room in the minute, and how many more of it are not known.
    late: Vec<row::Event>,
    late_more: usize,
    /// What came while somebody was there, and found no room.
    put_off: Vec<row::Event>,
    /// When a toast was shown last although there was no room for it.
    squeezed: Option<i64>,
    announce_at_once: bool,
    first_day_ends: Option<i64>,
    first_day_programs: BTreeSet<String>,
    summary: Summary,
    /// When the record begins, µs since the epoch.
    begins: i64,
    memory: Memory,
    recent: VecDeque<i64>,
    burst: Option<Burst>,
    bursts: u64,
    flush_at: Option<i64>,
    incidents: BTreeMap<Incident, i64>,
}

/// The summary of the first day.
#[derive(Default)]
struct Summary {
    due: Option<i64>,
    /// It was handed over to be shown.
    showing: bool,
    /// How long it waited since it failed.
    wait: Option<i64>,
}

impl Policy {
    /// `announce_at_once`: tell of new programs on the first day, too.
    pub fn new(quiet: Quiet, announce_at_once: bool) -> Self {
        Self { quiet, announce_at_once, ..Self::default() }
    }

    /// What the person muted and expects, as it is now. Nothing of it is shown later.
    pub fn set_quiet(&mut self, quiet: &Quiet) {
        if self.quiet != *quiet {
            self.quiet.clone_from(quiet);
            if let Some(burst) = &mut self.burst {
                burst.drop(&burst.hidden(quiet));
            }
        }
    }

    /// Notifications are wanted at all (`notify.desktop`).
    pub fn set_wanted(&mut self, wanted: bool) {
        self.off = !wanted;
    }

    /// Notifications are not wanted.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// No toasts until then; `None` ends it. What comes meanwhile is not shown later one by one, but for what is
    /// critical: [`Policy::due`] says when.
    pub fn pause(&mut self, until: Option<i64>) {
        self.paused = until;
        self.burst = None;
        self.flush_at = None;
    }

    /// When the pause ends, if there is one.
    pub fn paused_until(&self, now: i64) -> Option<i64> {
        self.paused.filter(|until| *until > now)
    }

    /// These were marked as seen; nothing of them is shown later.
    pub fn seen(&mut self, events: &BTreeSet<i64>) {
        self.held.retain(|row| !is_of(row, events));
        self.late.retain(|row| !is_of(row, events));
        self.put_off.retain(|row| !is_of(row, events));
        if let Some(burst) = &mut self.burst {
            burst.drop(events);
        }
    }

    /// The history is another one since then, µs since the epoch: what waits from before is not in it.
    pub fn forget(&mut self, since: i64) {
        let is_of = |row: &row::Event| row.time >= Some(since);
        self.burst.take_if(|burst| !burst.rows.iter().all(is_of));
        self.held.retain(is_of);
        self.late.retain(is_of);
        self.late_more = 0;
        self.put_off.retain(is_of);
    }

    /// Numbers of those that wait to be shown.
    pub fn waiting(&self) -> impl Iterator<Item = i64> {
        let late = self.held.iter().chain(&self.late).chain(&self.put_off);
        self.burst.iter().flat_map(Burst::waiting).chain(late.filter_map(|row| row.id))
    }

    /// Goes on with what was remembered at the last login.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What is to be remembered until the next login.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The record begins then, by the wall clock that says `wall` now.
    pub fn record_begins(&mut self, begins: i64, wall: i64, now: i64) {
        self.begins = begins;
        self.record_is_old(wall.saturating_sub(begins), now);
    }

    /// The record is so old by the wall clock; programs that are new within its first day are only listed. A clock
    /// that was days ahead when it began silences nobody.
    fn record_is_old(&mut self, age: i64, now: i64) {
        self.first_day_ends = (age > -FIRST_DAY).then(|| now + (FIRST_DAY - age).min(FIRST_DAY));
    }

    /// How loud a notice is.
    fn weigh(&self, row: &row::Event) -> Weight {
        match row.kind.as_deref() {
            _ if row.acknowledged == Some(true) => Weight::Silent,
            _ if self.quiet.hides(row) => Weight::Silent,
            Some("new-executable" | "hash-changed") if text::risky(row) => Weight::High,
            Some("new-executable" | "hash-changed") => Weight::Normal,
            Some("verdict") => Weight::Critical,
            Some("error") => incident(row).map_or(Weight::Silent, |(kind, _)| match kind {
                // Good news for those who heard the bad.
                Incident::StorageRecovered if !self.is_known(about(kind)) => Weight::Silent,
                _ => Weight::High,
            }),
            _ => Weight::Silent,
        }
    }

    /// It was told, or will be.
    fn is_known(&self, trouble: Incident) -> bool {
        let is_of = |row| incident(row).is_some_and(|(kind, _)| about(kind) == trouble);
        self.incidents.contains_key(&trouble) || self.put_off.iter().any(is_of)
    }

    fn silent(&self, now: i64) -> bool {
        self.off || self.paused_until(now).is_some()
    }

    /// One notice that came just now. Returns what to show at once; see [`Policy::due`] for the rest.
    pub fn notice(&mut self, row: row::Event, now: i64, names: Names<'_>) -> Vec<Toast> {
        self.count(&row);
        let weight = self.weigh(&row);
        if weight == Weight::Critical && !self.off && self.silent(now) {
            self.held.push_back(row);
            if self.held.len() > HELD {
                self.held.pop_front();
            }
            return Vec::new();
        }
        if weight == Weight::Silent || self.silent(now) {
            return Vec::new();
        }
        if row.kind.as_deref() == Some("error") {
            return self.incident(row, now);
        }
        if weight == Weight::Normal && self.first_day(&row, now) {
            return Vec::new();
        }
        if weight == Weight::Critical || (weight == Weight::High && self.room(now)) {
            self.recent.push_back(now);
            return vec![self.single(&row, weight, names)];
        }
        self.join(row, now, names)
    }

    fn count(&mut self, row: &row::Event) {
        if row.kind.as_deref() == Some("hash-changed") && row.path.is_some() {
            self.memory.changed(key(row));
        }
    }

    fn first_day(&mut self, row: &row::Event, now: i64) -> bool {
        let today = self.first_day_ends.is_some_and(|ends| now < ends);
        if self.announce_at_once || !today || row.kind.as_deref() != Some("new-executable") {
            return false;
        }
        if row.path.is_some() && self.first_day_programs.len() < PROGRAMS {
            self.first_day_programs.insert(key(row));
        }
        if !self.memory.summed_up(self.begins) && self.summary.due.is_none() && !self.summary.showing {
            self.summary.due = Some(now + SUMMARY);
        }
        true
    }

    /// The summary of the first day is on the screen: it is not told again.
    pub fn summary_shown(&mut self) {
        self.memory.sum_up(self.begins);
        self.summary = Summary::default();
    }

    /// It could not be shown, and is due again. True if the try before did not fail.
    pub fn summary_failed(&mut self, now: i64) -> bool {
        let before = self.summary.wait;
        let wait = before.map_or(SUMMARY, |wait| (wait * 2).min(60 * MINUTE));
        self.summary = Summary { due: Some(now + wait), showing: false, wait: Some(wait) };
        before.is_none()
    }

    /// Another server shows toasts.
    pub fn summary_at_once(&mut self, now: i64) {
        if self.summary.wait.is_some() {
            self.summary.due = self.summary.due.map(|_| now);
        }
    }

    fn single(&self, row: &row::Event, weight: Weight, names: Names<'_>) -> Toast {
        let program = Program::of(row);
        let updates = self.memory.changes(&key(row));
        let expected = if updates >= UPDATES_ITSELF { Action::ExpectUpdates } else { Action::Expected };
        let mut actions = vec![Action::Details];
        // Nobody expects a program to be harmful.
        actions.extend((row.kind.as_deref() != Some("verdict")).then_some(expected));
        actions.extend(program.is_some().then_some(Action::Mute));
        Toast {
            key: key(row),
            replaces: Vec::new(),
            text: text::single(row, names),
            weight,
            target: row.executable.map_or(Target::Timeline, Target::Program),
            actions,
            events: row.id.into_iter().collect(),
            program,
        }
    }

    fn join(&mut self, row: row::Event, now: i64, names: Names<'_>) -> Vec<Toast> {
        if self.burst.as_ref().is_none_or(|burst| now - burst.last >= BURST_GAP && self.flush_at.is_none()) {
            self.burst = Some(Burst::default());
            self.bursts += 1;
        }
        let burst = self.burst.get_or_insert_default();
        burst.join(row, now);
        let alone = burst.rows.len() == 1;
        if alone && self.room(now) {
            return self.flush(now, names);
        }
        let waiting_since = self.burst.as_ref().map_or(now, |burst| burst.waiting_since);
        self.flush_at = Some((now + SETTLE).min(waiting_since + LATEST).max(now));
        Vec::new()
    }

    /// There is room for one more toast in this minute.
    fn room(&mut self, now: i64) -> bool {
        self.recent.retain(|at| *at > now - MINUTE);
        self.recent.len() < PER_MINUTE
    }

    /// From when on there is room.
    fn free(&self) -> i64 {
        let first = self.recent.len().checked_sub(PER_MINUTE);
        first.and_then(|first| self.recent.get(first)).map_or(0, |at| at + MINUTE)
    }

    /// When [`Policy::tick`] is to be called next; `None` while nothing waits.
    pub fn due(&self) -> Option<i64> {
        let pause = self.paused.unwrap_or(0);
        let held = (!self.held.is_empty()).then_some(pause);
        let waits = !self.late.is_empty() || !self.put_off.is_empty();
        let late = waits.then(|| self.free().max(pause));
        [self.flush_at, self.summary.due, held, late].into_iter().flatten().min()
    }

    /// The time is there.
    pub fn tick(&mut self, now: i64, names: Names<'_>) -> Vec<Toast> {
        let mut toasts = Vec::new();
        if self.paused_until(now).is_none() {
            let mut rows: Vec<_> = std::mem::take(&mut self.held).into_iter().rev().collect();
            let more = if self.room(now) {
                rows.append(&mut self.late);
                std::mem::take(&mut self.late_more)
            } else {
                0
            };
            toasts.extend(self.waited(rows, more, now, names));
            let put_off = std::mem::take(&mut self.put_off);
            toasts.extend(self.again(put_off, now, names));
        }
        if self.summary.due.is_some_and(|due| due <= now) {
            self.summary.due = None;
            if !self.silent(now) {
                self.summary.showing = true;
                toasts.push(Toast {
                    key: FIRST_DAY_KEY.into(),
                    replaces: Vec::new(),
                    text: text::first_day(self.first_day_programs.len()),
                    weight: Weight::Normal,
                    target: Target::Programs,
                    actions: vec![Action::Review],
                    events: Vec::new(),
                    program: None,
                });
            }
        }
        if self.flush_at.is_some_and(|due| due <= now) {
            toasts.extend(self.flush(now, names));
        }
        toasts
    }

    fn flush(&mut self, now: i64, names: Names<'_>) -> Vec<Toast> {
        self.flush_at = None;
        if self.silent(now) {
            self.burst = None;
            return Vec::new();
        }
        let Some(mut burst) = self.burst.take_if(|burst| !burst.told()) else { return Vec::new() };
        let mut toasts = Vec::new();
        let grown = burst.digest.map(|at| at + GROW);
        // Of those that are only counted, no more can be said.
        if burst.more > 0 || burst.rows.len() >= DIGEST {
            if grown.map_or_else(|| self.room(now), |at| at <= now) {
                if grown.is_none() {
                    self.recent.push_back(now);
                }
                toasts.push(self.digest(&mut burst, now));
            }
        } else {
            while burst.shown < burst.rows.len() && self.room(now) {
                let row = &burst.rows[burst.shown];
                let mut toast = self.single(row, self.weigh(row).max(Weight::Normal), names);
                toast.events = burst.events_of(&toast.key);
                burst.keys.push(toast.key.clone());
                burst.shown += 1;
                self.recent.push_back(now);
                toasts.push(toast);
            }
        }
        if !burst.told() {
            self.flush_at = Some(grown.unwrap_or(self.free()).max(now + SETTLE));
        }
        self.burst = Some(burst);
        toasts
    }

    fn digest(&self, burst: &mut Burst, now: i64) -> Toast {
        burst.tell(now);
        Toast {
            key: format!("burst {}", self.bursts),
            replaces: std::mem::take(&mut burst.keys),
            text: text::digest(&burst.rows, burst.more),
            weight: loudest(&burst.rows),
            target: Target::Timeline,
            actions: vec![Action::Review, Action::Expected],
            events: burst.events(),
            program: None,
        }
    }
}

/// Why what a person chose on a toast does not hold.
pub fn not_saved(error: &std::io::Error) -> Toast {
    Toast {
        key: "quiet".into(),
        replaces: Vec::new(),
        text: text::not_saved(error),
        weight: Weight::High,
        target: Target::Settings,
        actions: vec![Action::Details],
        events: Vec::new(),
        program: None,
    }
}

/// How loud a digest of these is.
fn loudest(rows: &[row::Event]) -> Weight {
    if rows.iter().any(text::risky) { Weight::High } else { Weight::Normal }
}

fn is_of(row: &row::Event, events: &BTreeSet<i64>) -> bool {
    row.id.is_some_and(|id| events.contains(&id))
}

fn key(row: &row::Event) -> String {
    let program = row.path.as_deref().or(row.name.as_deref()).unwrap_or_default();
    // What comes next from the program does not take the place of what a scanner says.
    let about = if row.kind.as_deref() == Some("verdict") { "verdict" } else { "program" };
    // A container's program is another one than the host's of the same path.
    let place = row.container.as_deref().unwrap_or_default();
    let root = if row.foreign_root == Some(true) { "/" } else { "" };
    format!("{about} {place}{root} {program}")
}

/// What the monitor says of itself there, if it is for a person. What a newer monitor says waits in the timeline.
fn incident(row: &row::Event) -> Option<(Incident, Text)> {
    let kind = row.error.as_deref()?.parse().ok()?;
    Some((kind, text::incident(kind, row)?))
}

/// The trouble that it is told for; its end takes the place of its beginning, and a hole in the record is one, whatever
/// it is made of.
fn about(kind: Incident) -> Incident {
    match kind {
        Incident::StorageRecovered => Incident::Storage,
        Incident::LostRows | Incident::LostCalls => Incident::LostFlows,
        kind => kind,
    }
}
