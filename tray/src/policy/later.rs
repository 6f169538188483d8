// SPDX-License-Identifier: GPL-3.0-or-later
//! What is not told when it comes: there was nobody, no room, or a server that did not show it. And incidents, which
//! are told late rather than not at all.

use std::collections::BTreeMap;

use picosnitch_api::{Incident, row};

use super::{
    AGAIN, Action, CRITICAL, DIGEST, HELD, INCIDENT, LATE, MINUTE, Policy, Target, Toast, WAITED, Weight,
    about, incident, loudest,
};
use crate::text::{self, Names};

impl Policy {
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

    /// What came while nobody was there, newest first: one digest at the most, and the first of what is critical by
    /// themselves. `more` are too old to be known one by one.
    pub fn waited(&mut self, rows: Vec<row::Event>, more: usize, now: i64, names: Names<'_>) -> Vec<Toast> {
        let rows = rows.into_iter().filter(|row| match self.weigh(row) {
            Weight::Silent => false,
            Weight::Normal => !self.first_day(row, now),
            Weight::High | Weight::Critical => true,
        });
        let rows: Vec<_> = rows.collect();
        let (critical, mut rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| self.weigh(row) == Weight::Critical);
        if self.silent(now) {
            self.hold(critical);
            return Vec::new();
        }
        let mut toasts = self.critical(&critical, now, names);
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
        toasts.push(all(WAITED, &rows, text::waited(&rows, more), left > 0));
        toasts
    }

    /// What somebody was there for, as far as it could not be shown: as it would have been told, many in one digest.
    pub fn again(&mut self, rows: Vec<row::Event>, now: i64, names: Names<'_>) -> Vec<Toast> {
        let rows = rows.into_iter().filter(|row| row.acknowledged != Some(true));
        let (incidents, rows): (Vec<_>, Vec<_>) = rows.partition(|row| incident(row).is_some());
        let rows = rows.into_iter().filter(|row| self.weigh(row) > Weight::Silent);
        let (critical, mut rows): (Vec<_>, Vec<_>) =
            rows.partition(|row| self.weigh(row) == Weight::Critical);
        if self.silent(now) {
            self.hold(critical);
            return Vec::new();
        }
        let mut toasts = self.critical(&critical, now, names);
        // Of each trouble, how it is by now.
        let mut troubles: BTreeMap<Incident, Vec<row::Event>> = BTreeMap::new();
        for row in incidents {
            if let Some((kind, _)) = incident(&row) {
                troubles.entry(about(kind)).or_default().push(row);
            }
        }
        for rows in troubles.into_values() {
            toasts.extend(self.trouble(rows, now));
        }
        let left = critical.len().saturating_sub(CRITICAL);
        rows.extend(critical.into_iter().skip(CRITICAL));
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        if left == 0 && rows.len() < DIGEST {
            for row in rows.into_iter().rev() {
                if self.room(now) {
                    self.recent.push_back(now);
                    toasts.push(self.single(&row, self.weigh(&row), names));
                } else {
                    self.put_off(vec![row]);
                }
            }
        } else if left == 0 && !self.room(now) {
            self.put_off(rows);
        } else {
            self.recent.push_back(now);
            toasts.push(all(AGAIN, &rows, text::again(&rows), left > 0));
        }
        toasts
    }

    /// Critical ones, newest first, for the end of a pause.
    fn hold(&mut self, critical: Vec<row::Event>) {
        if !self.off {
            self.held.extend(critical.into_iter().rev());
            self.held.drain(..self.held.len().saturating_sub(HELD));
        }
    }

    /// The first of them, each by itself.
    fn critical(&mut self, rows: &[row::Event], now: i64, names: Names<'_>) -> Vec<Toast> {
        let first = &rows[..rows.len().min(CRITICAL)];
        self.recent.extend(first.iter().map(|_| now));
        first.iter().map(|row| self.single(row, Weight::Critical, names)).collect()
    }

    /// To be told when there is room. Of too many the newest: the others wait in the timeline.
    fn put_off(&mut self, rows: Vec<row::Event>) {
        self.put_off.extend(rows);
        self.put_off.sort_by_key(|row| std::cmp::Reverse(row.id));
        self.put_off.truncate(LATE);
    }

    /// What the monitor says of itself just now.
    pub(super) fn incident(&mut self, row: row::Event, now: i64) -> Vec<Toast> {
        let Some((kind, _)) = incident(&row) else { return Vec::new() };
        let trouble = about(kind);
        let of = |row: &mut row::Event| incident(row).is_some_and(|(kind, _)| about(kind) == trouble);
        let mut rows: Vec<_> = self.put_off.extract_if(.., of).collect();
        let told = self.incidents.get_mut(&trouble).filter(|last| now - **last < INCIDENT);
        // After an end that is not told yet it is not the same.
        if let Some(last) = told.filter(|_| rows.is_empty() && kind != Incident::StorageRecovered) {
            *last = now;
            return Vec::new();
        }
        rows.push(row);
        self.trouble(rows, now)
    }

    /// One toast for what is about the same trouble: what came last of it.
    fn trouble(&mut self, mut rows: Vec<row::Event>, now: i64) -> Vec<Toast> {
        rows.sort_by_key(|row| row.id);
        let Some((kind, text)) = rows.last().and_then(incident) else { return Vec::new() };
        let trouble = about(kind);
        let room = self.room(now);
        // An outage is said once: it does not wait until others say less, but for one of its own.
        let squeezes =
            matches!(trouble, Incident::Storage | Incident::StorageDamaged | Incident::StorageMended)
                && self.squeezed.is_none_or(|at| now - at >= MINUTE);
        if !room && !squeezes {
            self.put_off(rows);
            return Vec::new();
        }
        if !room {
            self.squeezed = Some(now);
        }
        if kind == Incident::StorageRecovered {
            self.incidents.remove(&trouble);
        } else {
            self.incidents.insert(trouble, now);
        }
        self.recent.push_back(now);
        vec![Toast {
            key: format!("incident {trouble}"),
            replaces: Vec::new(),
            text,
            weight: Weight::High,
            target: Target::Health,
            actions: vec![Action::Details],
            events: rows.iter().filter_map(|row| row.id).collect(),
            program: None,
        }]
    }
}

/// A digest of these, of which some are `critical`.
fn all(key: &str, rows: &[row::Event], text: text::Text, critical: bool) -> Toast {
    let mut actions = vec![Action::Review];
    actions.extend((!critical).then_some(Action::Expected));
    Toast {
        key: key.into(),
        replaces: Vec::new(),
        text,
        weight: if critical { Weight::Critical } else { loudest(rows) },
        target: Target::Timeline,
        actions,
        events: rows.iter().filter_map(|row| row.id).collect(),
        program: None,
    }
}
