// SPDX-License-Identifier: GPL-3.0-or-later
//! When to interrupt, and with what: notices in, toasts out. Pure: the time is an argument (µs of a clock that
//! nobody sets, [`crate::clock::now`]) and nothing is read or shown here. Everything that makes no toast still
//! waits in the window's timeline; the daemon records it whatever is decided here.
//!
//! A verdict of the package database, once the daemon gives one, belongs into [`Policy::weigh`]: a change
//! that matches is silent, one that does not match is [`Weight::Critical`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use picosnitch_api::{Incident, Quiet, row};

use crate::memory::Memory;
use crate::text::{self, Names, Text};

#[cfg(test)]
mod tests;

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
/// Rows that a burst remembers; further ones are counted.
const BURST_ROWS: usize = 200;
/// Numbers of notices that a burst remembers.
const BURST_EVENTS: usize = 1000;
/// Of what waited, so many that are [`Weight::Critical`] are shown by themselves.
const CRITICAL: usize = 3;
/// Key of the digest of what waited.
pub const WAITED: &str = "waited";
/// Critical notices that are kept until a pause is over.
const HELD: usize = 50;
/// Of what waited and found no room, so many are known one by one.
const LATE: usize = 500;
/// The same incident is not told again within this time.
const INCIDENT: i64 = 600 * SECOND;
/// How long after the first record new programs are only listed.
const FIRST_DAY: i64 = 24 * 3600 * SECOND;
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
    pub path: Option<String>,
}

#[derive(Default)]
struct Burst {
    rows: Vec<row::Event>,
    more: usize,
    /// How many of `rows` are on the screen.
    shown: usize,
    /// How many of `more` are counted on the screen, and the first number of those that are not.
    shown_more: usize,
    more_from: Option<i64>,
    /// Every notice of the burst, also those that a later one about the same took the place of: key, number.
    events: Vec<(String, i64)>,
    keys: Vec<String>,
    last: i64,
    waiting_since: i64,
    /// When the digest was shown last.
    digest: Option<i64>,
}

impl Burst {
    /// All of it is on the screen.
    fn told(&self) -> bool {
        self.shown == self.rows.len() && self.shown_more == self.more
    }

    fn seen(&mut self, events: &BTreeSet<i64>) {
        let more_from = self.more_from.unwrap_or(i64::MAX);
        let all: BTreeSet<String> = self.rows.iter().map(key).collect();
        self.shown = self.rows[..self.shown].iter().filter(|row| !is_of(row, events)).count();
        self.rows.retain(|row| !is_of(row, events));
        let left: BTreeSet<String> = self.rows.iter().map(key).collect();
        self.events.retain(|(key, id)| {
            let (seen, counted) = (events.contains(id), !all.contains(key));
            if seen && counted {
                self.more = self.more.saturating_sub(1);
                self.shown_more = self.shown_more.saturating_sub(usize::from(*id < more_from));
            }
            !seen && (counted || left.contains(key))
        });
        self.more_from = self.more_from.filter(|_| self.more > self.shown_more);
    }
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
    announce_at_once: bool,
    first_day_ends: Option<i64>,
    first_day_programs: BTreeSet<String>,
    first_day_due: Option<i64>,
    /// When the record begins, µs since the epoch.
    begins: i64,
    memory: Memory,
    recent: VecDeque<i64>,
    burst: Option<Burst>,
    bursts: u64,
    flush_at: Option<i64>,
    incidents: BTreeMap<Incident, i64>,
}

impl Policy {
    /// `announce_at_once`: tell of new programs on the first day, too.
    pub fn new(quiet: Quiet, announce_at_once: bool) -> Self {
        Self { quiet, announce_at_once, ..Self::default() }
    }

    /// What the person muted and expects, as it is now.
    pub fn set_quiet(&mut self, quiet: &Quiet) {
        if self.quiet != *quiet {
            self.quiet.clone_from(quiet);
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
        if let Some(burst) = &mut self.burst {
            burst.seen(events);
        }
    }

    /// Numbers of those that wait to be shown.
    pub fn waiting(&self) -> impl Iterator<Item = i64> {
        let burst = self.burst.iter().flat_map(|burst| {
            let rows = burst.rows[burst.shown..].iter().filter_map(|row| row.id);
            rows.chain(burst.more_from)
        });
        burst.chain(self.held.iter().chain(&self.late).filter_map(|row| row.id))
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
                Incident::StorageRecovered if !self.incidents.contains_key(&about(kind)) => Weight::Silent,
                _ => Weight::High,
            }),
            _ => Weight::Silent,
        }
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
            return self.incident(&row, now);
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
        if let Some(path) = &row.path
            && self.first_day_programs.len() < PROGRAMS
        {
            self.first_day_programs.insert(path.clone());
        }
        if !self.memory.summed_up(self.begins) && self.first_day_due.is_none() {
            self.first_day_due = Some(now + MINUTE / 2);
        }
        true
    }

    fn incident(&mut self, row: &row::Event, now: i64) -> Vec<Toast> {
        let Some((kind, text)) = incident(row) else { return Vec::new() };
        let (recovered, kind) = (kind == Incident::StorageRecovered, about(kind));
        let again = self.incidents.get(&kind).is_some_and(|last| now - last < INCIDENT);
        if recovered {
            self.incidents.remove(&kind);
        } else if again {
            self.incidents.insert(kind, now);
            return Vec::new();
        }
        if !self.room(now) {
            return Vec::new();
        }
        if !recovered {
            self.incidents.insert(kind, now);
        }
        self.recent.push_back(now);
        vec![Toast {
            key: format!("incident {kind}"),
            replaces: Vec::new(),
            text,
            weight: Weight::High,
            target: Target::Health,
            actions: vec![Action::Details],
            events: row.id.into_iter().collect(),
            path: None,
        }]
    }

    fn single(&self, row: &row::Event, weight: Weight, names: Names<'_>) -> Toast {
        let path = row.path.clone();
        let updates = self.memory.changes(&key(row));
        let expected = if updates >= UPDATES_ITSELF { Action::ExpectUpdates } else { Action::Expected };
        let mut actions = vec![Action::Details];
        // Nobody expects a program to be harmful.
        actions.extend((row.kind.as_deref() != Some("verdict")).then_some(expected));
        actions.extend(path.is_some().then_some(Action::Mute));
        Toast {
            key: key(row),
            replaces: Vec::new(),
            text: text::single(row, names),
            weight,
            target: row.executable.map_or(Target::Timeline, Target::Program),
            actions,
            events: row.id.into_iter().collect(),
            path,
        }
    }

    fn join(&mut self, row: row::Event, now: i64, names: Names<'_>) -> Vec<Toast> {
        if self.burst.as_ref().is_none_or(|burst| now - burst.last >= BURST_GAP && self.flush_at.is_none()) {
            self.burst = Some(Burst::default());
            self.bursts += 1;
        }
        let alone = {
            let burst = self.burst.get_or_insert_default();
            // The same program again: one line, and a toast that takes the place of its own.
            if let Some(at) =
                burst.rows.iter().position(|known| known.path.is_some() && key(known) == key(&row))
            {
                burst.rows.remove(at);
                burst.shown -= usize::from(at < burst.shown);
            }
            if burst.told() {
                burst.waiting_since = now;
            }
            burst.last = now;
            if let Some(id) = row.id.filter(|_| burst.events.len() < BURST_EVENTS) {
                burst.events.push((key(&row), id));
            }
            if burst.rows.len() < BURST_ROWS {
                burst.rows.push(row);
            } else {
                burst.more_from = burst.more_from.or(row.id);
                burst.more += 1;
            }
            burst.rows.len() == 1
        };
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
        let late = (!self.late.is_empty()).then(|| self.free().max(pause));
        [self.flush_at, self.first_day_due, held, late].into_iter().flatten().min()
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
        }
        if self.first_day_due.is_some_and(|due| due <= now) {
            self.first_day_due = None;
            if !self.silent(now) {
                self.memory.sum_up(self.begins);
                toasts.push(Toast {
                    key: "first day".into(),
                    replaces: Vec::new(),
                    text: text::first_day(self.first_day_programs.len()),
                    weight: Weight::Normal,
                    target: Target::Programs,
                    actions: vec![Action::Review],
                    events: Vec::new(),
                    path: None,
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
        if burst.rows.len() + burst.more >= DIGEST {
            if grown.map_or_else(|| self.room(now), |at| at <= now) {
                if grown.is_none() {
                    self.recent.push_back(now);
                }
                toasts.push(self.digest(&mut burst, now));
            }
        } else {
            while burst.shown < burst.rows.len() && self.room(now) {
                let row = &burst.rows[burst.shown];
                let mut toast = self.single(row, Weight::Normal, names);
                let of = |(key, id): &(String, i64)| (*key == toast.key).then_some(*id);
                toast.events = burst.events.iter().filter_map(of).collect();
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
        burst.digest = Some(now);
        burst.shown = burst.rows.len();
        burst.shown_more = burst.more;
        burst.more_from = None;
        Toast {
            key: format!("burst {}", self.bursts),
            replaces: std::mem::take(&mut burst.keys),
            text: text::digest(&burst.rows, burst.more),
            weight: Weight::Normal,
            target: Target::Timeline,
            actions: vec![Action::Review, Action::Expected],
            events: burst.events.iter().map(|(_, id)| *id).collect(),
            path: None,
        }
    }

    /// The first page of notices, newest first. It may be later than what happens meanwhile: what came since
    /// the monitor was found (`here_since`) came just now and is told as such, the others waited.
    pub fn found(
        &mut self,
        rows: Vec<row::Event>,
        more: usize,
        here_since: i64,
        now: i64,
        names: Names<'_>,
    ) -> Vec<Toast> {
        let (just_now, waited): (Vec<_>, _) = rows.into_iter().partition(|row| row.time >= Some(here_since));
        waited.iter().for_each(|row| self.count(row));
        let mut toasts = self.waited(waited, more, now, names);
        for row in just_now.into_iter().rev() {
            toasts.extend(self.notice(row, now, names));
        }
        toasts
    }

    /// What came while nobody listened, newest first: one digest at the most, and the first of what is critical by
    /// themselves. `more` are too old to be known one by one.
    pub fn waited(&mut self, rows: Vec<row::Event>, more: usize, now: i64, names: Names<'_>) -> Vec<Toast> {
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|row| self.weigh(row) > Weight::Silent && !self.first_day(row, now))
            .collect();
        let (critical, mut rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| self.weigh(row) == Weight::Critical);
        if self.silent(now) {
            if !self.off {
                self.held.extend(critical.into_iter().rev());
                self.held.drain(..self.held.len().saturating_sub(HELD));
            }
            return Vec::new();
        }
        let mut toasts: Vec<_> =
            critical.iter().take(CRITICAL).map(|row| self.single(row, Weight::Critical, names)).collect();
        self.recent.extend(toasts.iter().map(|_| now));
        let left = critical.len().saturating_sub(CRITICAL);
        rows.extend(critical.into_iter().skip(CRITICAL));
        if rows.is_empty() {
            return toasts;
        }
        if left == 0 && !self.room(now) {
            self.late.append(&mut rows);
            self.late_more += more + self.late.len().saturating_sub(LATE);
            self.late.truncate(LATE);
            return toasts;
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        self.recent.push_back(now);
        let mut actions = vec![Action::Review];
        actions.extend((left == 0).then_some(Action::Expected));
        toasts.push(Toast {
            key: WAITED.into(),
            replaces: Vec::new(),
            text: text::waited(&rows, more),
            weight: if left == 0 { Weight::Normal } else { Weight::Critical },
            target: Target::Timeline,
            actions,
            events: rows.iter().filter_map(|row| row.id).collect(),
            path: None,
        });
        toasts
    }
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
    format!("{about} {place} {program}")
}

/// What the monitor says of itself there, if it is for a person. What a newer monitor says waits in the timeline.
fn incident(row: &row::Event) -> Option<(Incident, Text)> {
    let kind = row.error.as_deref()?.parse().ok()?;
    Some((kind, text::incident(kind, row)?))
}

/// The trouble that it is told for; its end takes the place of its beginning.
fn about(kind: Incident) -> Incident {
    if kind == Incident::StorageRecovered { Incident::Storage } else { kind }
}
