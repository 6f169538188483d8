// SPDX-License-Identifier: GPL-3.0-or-later
//! When to interrupt, and with what: notices in, toasts out. Pure: the time is an argument (µs since the
//! epoch) and nothing is read or shown here. Everything that makes no toast still waits in the window's
//! timeline; the daemon records it whatever is decided here.
//!
//! A verdict of the package database, once the daemon gives one, belongs into [`Policy::weigh`]: a change
//! that matches is silent, one that does not match is [`Weight::Critical`].

use std::collections::{BTreeMap, VecDeque};

use picosnitch_api::{Quiet, row};

use crate::text::{self, Names, Text};

#[cfg(test)]
mod tests;

const SECOND: i64 = 1_000_000;
/// Toasts in [`MINUTE`] at the most; replacing one that is shown counts too, growing a digest does not.
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
/// Rows that a burst remembers; further ones are counted.
const BURST_ROWS: usize = 200;
/// The same incident is not told again within this time.
const INCIDENT: i64 = 600 * SECOND;
/// How long after the first record new programs are only listed.
const FIRST_DAY: i64 = 24 * 3600 * SECOND;
/// From so many changes on, a program is one that updates itself.
const UPDATES_ITSELF: u32 = 3;
/// Programs whose changes are counted.
const CHANGES: usize = 1000;

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
    keys: Vec<String>,
    last: i64,
    waiting_since: i64,
    digest: bool,
}

/// See the module.
#[derive(Default)]
pub struct Policy {
    quiet: Quiet,
    off: bool,
    paused_until: Option<i64>,
    announce_at_once: bool,
    first_day_ends: Option<i64>,
    first_day_programs: BTreeMap<String, ()>,
    first_day_due: Option<i64>,
    first_day_told: bool,
    recent: VecDeque<i64>,
    burst: Option<Burst>,
    bursts: u64,
    flush_at: Option<i64>,
    incidents: BTreeMap<String, i64>,
    changes: BTreeMap<String, u32>,
}

impl Policy {
    /// `announce_at_once`: tell of new programs on the first day, too.
    pub fn new(quiet: Quiet, announce_at_once: bool) -> Self {
        Self { quiet, announce_at_once, ..Self::default() }
    }

    /// What the person muted and expects, as it is now.
    pub fn set_quiet(&mut self, quiet: Quiet) {
        self.quiet = quiet;
    }

    /// Notifications are wanted at all (`notify.desktop`).
    pub fn set_wanted(&mut self, wanted: bool) {
        self.off = !wanted;
    }

    /// No toasts until then; `None` ends it. What comes meanwhile is not shown later one by one.
    pub fn pause(&mut self, until: Option<i64>) {
        self.paused_until = until;
        self.burst = None;
        self.flush_at = None;
    }

    /// When the pause ends, if there is one.
    pub fn paused_until(&self, now: i64) -> Option<i64> {
        self.paused_until.filter(|until| *until > now)
    }

    /// The record begins at this time; programs that are new within a day of it are only listed.
    pub fn record_begins(&mut self, first_seen: i64) {
        self.first_day_ends = Some(first_seen.saturating_add(FIRST_DAY));
    }

    /// How loud a notice is.
    fn weigh(&self, row: &row::Event) -> Weight {
        let muted = |path: &String| self.quiet.muted.contains(path);
        let expected = |path: &String| self.quiet.expected.contains(path);
        match row.kind.as_deref() {
            _ if row.path.as_ref().is_some_and(muted) => Weight::Silent,
            Some("hash-changed") if row.path.as_ref().is_some_and(expected) => Weight::Silent,
            Some("new-executable") if text::risky(row) => Weight::High,
            Some("new-executable" | "hash-changed") => Weight::Normal,
            Some("verdict") => Weight::Critical,
            Some("error") if actionable(row) => Weight::High,
            _ => Weight::Silent,
        }
    }

    fn silent(&self, now: i64) -> bool {
        self.off || self.paused_until(now).is_some()
    }

    /// One notice that came just now. Returns what to show at once; see [`Policy::due`] for the rest.
    pub fn notice(&mut self, row: row::Event, now: i64, names: Names<'_>) -> Vec<Toast> {
        if row.kind.as_deref() == Some("hash-changed")
            && let Some(path) = &row.path
            && (self.changes.len() < CHANGES || self.changes.contains_key(path))
        {
            *self.changes.entry(path.clone()).or_default() += 1;
        }
        let weight = self.weigh(&row);
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

    fn first_day(&mut self, row: &row::Event, now: i64) -> bool {
        let today = self.first_day_ends.is_some_and(|ends| now < ends);
        if self.announce_at_once || !today || row.kind.as_deref() != Some("new-executable") {
            return false;
        }
        if let Some(path) = &row.path
            && self.first_day_programs.len() < CHANGES
        {
            self.first_day_programs.insert(path.clone(), ());
        }
        if !self.first_day_told && self.first_day_due.is_none() {
            self.first_day_due = Some(now + MINUTE / 2);
        }
        true
    }

    fn incident(&mut self, row: &row::Event, now: i64) -> Vec<Toast> {
        let kind = row.error.clone().unwrap_or_default();
        let kind = if kind.starts_with("lost") { "lost".to_owned() } else { kind };
        let again = self.incidents.get(&kind).is_some_and(|last| now - last < INCIDENT);
        if self.incidents.len() < 64 || self.incidents.contains_key(&kind) {
            self.incidents.insert(kind.clone(), now);
        }
        if again || !self.room(now) {
            return Vec::new();
        }
        self.recent.push_back(now);
        vec![Toast {
            key: format!("incident {kind}"),
            replaces: Vec::new(),
            text: text::incident(row),
            weight: Weight::High,
            target: Target::Health,
            actions: vec![Action::Details],
            events: row.id.into_iter().collect(),
            path: None,
        }]
    }

    fn single(&self, row: &row::Event, weight: Weight, names: Names<'_>) -> Toast {
        let path = row.path.clone();
        let updates = path.as_ref().and_then(|path| self.changes.get(path)).copied().unwrap_or(0);
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
                burst.rows.iter().position(|known| known.path.is_some() && known.path == row.path)
            {
                burst.rows.remove(at);
                burst.shown -= usize::from(at < burst.shown);
            }
            if burst.shown == burst.rows.len() && burst.more == 0 {
                burst.waiting_since = now;
            }
            burst.last = now;
            if burst.rows.len() < BURST_ROWS {
                burst.rows.push(row);
            } else {
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
        // A clock that was set back must not silence us for as long as it was wrong.
        self.recent.retain(|at| *at > now - MINUTE && *at <= now);
        self.recent.len() < PER_MINUTE
    }

    /// When [`Policy::tick`] is to be called next; `None` while nothing waits.
    pub fn due(&self) -> Option<i64> {
        [self.flush_at, self.first_day_due].into_iter().flatten().min()
    }

    /// The time is there.
    pub fn tick(&mut self, now: i64, names: Names<'_>) -> Vec<Toast> {
        let mut toasts = Vec::new();
        if self.first_day_due.is_some_and(|due| due <= now) {
            self.first_day_due = None;
            self.first_day_told = true;
            if !self.silent(now) {
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
        let Some(mut burst) = self.burst.take() else { return Vec::new() };
        let mut toasts = Vec::new();
        if burst.rows.len() + burst.more >= DIGEST {
            // A digest that only grows interrupts nobody anew.
            if burst.digest || self.room(now) {
                if !burst.digest {
                    self.recent.push_back(now);
                }
                toasts.push(self.digest(&mut burst));
            }
        } else {
            while burst.shown < burst.rows.len() && self.room(now) {
                let row = &burst.rows[burst.shown];
                let toast = self.single(row, Weight::Normal, names);
                burst.keys.push(toast.key.clone());
                burst.shown += 1;
                self.recent.push_back(now);
                toasts.push(toast);
            }
        }
        if burst.shown < burst.rows.len() {
            let free = self.recent.front().map_or(now, |first| first + MINUTE);
            self.flush_at = Some(free.max(now + SETTLE));
        }
        self.burst = Some(burst);
        toasts
    }

    fn digest(&self, burst: &mut Burst) -> Toast {
        burst.digest = true;
        burst.shown = burst.rows.len();
        Toast {
            key: format!("burst {}", self.bursts),
            replaces: std::mem::take(&mut burst.keys),
            text: text::digest(&burst.rows, burst.more),
            weight: Weight::Normal,
            target: Target::Timeline,
            actions: vec![Action::Review, Action::Expected],
            events: burst.rows.iter().filter_map(|row| row.id).collect(),
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
        let mut toasts = self.waited(waited, more, now);
        for row in just_now.into_iter().rev() {
            toasts.extend(self.notice(row, now, names));
        }
        toasts
    }

    /// What came while nobody listened, newest first: one digest at the most. `more` are too old to be
    /// known one by one.
    pub fn waited(&mut self, rows: Vec<row::Event>, more: usize, now: i64) -> Vec<Toast> {
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|row| self.weigh(row) > Weight::Silent && !self.first_day(row, now))
            .collect();
        if rows.is_empty() || self.silent(now) || !self.room(now) {
            return Vec::new();
        }
        self.recent.push_back(now);
        vec![Toast {
            key: "waited".into(),
            replaces: Vec::new(),
            text: text::waited(&rows, more),
            weight: Weight::Normal,
            target: Target::Timeline,
            actions: vec![Action::Review, Action::Expected],
            events: rows.iter().filter_map(|row| row.id).collect(),
            path: None,
        }]
    }
}

fn key(row: &row::Event) -> String {
    let program = row.path.as_deref().or(row.name.as_deref()).unwrap_or_default();
    // What comes next from the program does not take the place of what a scanner says.
    let about = if row.kind.as_deref() == Some("verdict") { "verdict" } else { "program" };
    format!("{about} {program}")
}

/// The person can do something about it: the record has gaps or cannot be written.
fn actionable(row: &row::Event) -> bool {
    row.error.as_deref().is_some_and(|kind| {
        ["lost", "storage", "database", "engine", "remote"].iter().any(|known| kind.starts_with(known))
    })
}
