// SPDX-License-Identifier: GPL-3.0-or-later
//! Notices that follow each other closely.

use std::collections::BTreeSet;

use picosnitch_api::quiet::Program;
use picosnitch_api::{Quiet, row};

use super::{is_of, key};
use crate::text::risky;

/// Rows that a burst remembers, and as many more that are [`risky`]; further ones are counted.
pub const BURST_ROWS: usize = 200;
/// Numbers of notices that a burst remembers.
const BURST_EVENTS: usize = 1000;

/// A notice that a burst remembers by its number.
struct Told {
    /// What its toast is about.
    key: String,
    id: i64,
    /// What [`Quiet`] goes by.
    program: Option<Program>,
    changed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Burst {
    pub rows: Vec<row::Event>,
    pub more: usize,
    /// How many of `rows` are on the screen.
    pub shown: usize,
    /// How many of `more` are counted on the screen, and the first number of those that are not.
    shown_more: usize,
    more_from: Option<i64>,
    /// Every notice of the burst, also those that a later one about the same took the place of.
    events: Vec<Told>,
    /// Keys of its toasts that are no digest.
    pub keys: Vec<String>,
    pub last: i64,
    pub waiting_since: i64,
    /// When the digest was shown last.
    pub digest: Option<i64>,
}

impl Burst {
    /// All of it is on the screen.
    pub fn told(&self) -> bool {
        self.shown == self.rows.len() && self.shown_more == self.more
    }

    /// One more.
    pub fn join(&mut self, row: row::Event, now: i64) {
        // The same program again: one line, and a toast that takes the place of its own.
        let key = key(&row);
        if let Some(at) = self.rows.iter().position(|known| known.path.is_some() && super::key(known) == key)
        {
            self.rows.remove(at);
            self.shown -= usize::from(at < self.shown);
        }
        if self.told() {
            self.waiting_since = now;
        }
        self.last = now;
        if let Some(id) = row.id.filter(|_| self.events.len() < BURST_EVENTS) {
            let changed = row.kind.as_deref() == Some("hash-changed");
            self.events.push(Told { key, id, program: Program::of(&row), changed });
        }
        if self.rows.len() < BURST_ROWS * if risky(&row) { 2 } else { 1 } {
            self.rows.push(row);
        } else {
            self.more_from = self.more_from.or(row.id);
            self.more += 1;
        }
    }

    /// A digest tells all of it now.
    pub fn tell(&mut self, now: i64) {
        self.digest = Some(now);
        self.shown = self.rows.len();
        self.shown_more = self.more;
        self.more_from = None;
    }

    /// Its numbers.
    pub fn events(&self) -> Vec<i64> {
        self.events.iter().map(|event| event.id).collect()
    }

    /// Those that a toast of this key tells.
    pub fn events_of(&self, key: &str) -> Vec<i64> {
        self.events.iter().filter(|event| event.key == key).map(|event| event.id).collect()
    }

    /// Numbers of those that wait to be shown; of those that are only counted, the first.
    pub fn waiting(&self) -> impl Iterator<Item = i64> {
        self.rows[self.shown..].iter().filter_map(|row| row.id).chain(self.more_from)
    }

    /// Those that nobody is to be told of.
    pub fn hidden(&self, quiet: &Quiet) -> BTreeSet<i64> {
        let hides =
            |event: &&Told| event.program.as_ref().is_some_and(|program| quiet.holds(program, event.changed));
        let events = self.events.iter().filter(hides).map(|event| event.id);
        // Rows are known when there are too many numbers.
        events.chain(self.rows.iter().filter(|row| quiet.hides(row)).filter_map(|row| row.id)).collect()
    }

    /// These are told no more.
    pub fn drop(&mut self, events: &BTreeSet<i64>) {
        let more_from = self.more_from.unwrap_or(i64::MAX);
        let all: BTreeSet<String> = self.rows.iter().map(key).collect();
        self.shown = self.rows[..self.shown].iter().filter(|row| !is_of(row, events)).count();
        self.rows.retain(|row| !is_of(row, events));
        let left: BTreeSet<String> = self.rows.iter().map(key).collect();
        self.events.retain(|Told { key, id, .. }| {
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
