// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps one trouble that repeats from flooding people: one notice per kind and minute.

use std::collections::HashMap;

use picosnitch_api::Incident;

/// Shortest time between two notices of one kind, µs.
const INTERVAL: i64 = 60_000_000;

#[derive(Default)]
pub(super) struct Errors {
    /// Bounded by the kinds there are.
    told: HashMap<Incident, Told>,
}

struct Told {
    at: i64,
    kept_back: u64,
}

impl Errors {
    /// Whether nothing of this kind was told for a while.
    pub(super) fn may_tell(&self, kind: Incident, now: i64) -> bool {
        self.told.get(&kind).is_none_or(|told| now.saturating_sub(told.at) >= INTERVAL)
    }

    /// Something of this kind is told now.
    pub(super) fn told(&mut self, kind: Incident, now: i64) {
        self.told.entry(kind).or_insert(Told { at: now, kept_back: 0 }).at = now;
    }

    /// The message to tell, or `None` if one of its kind was told less than a minute ago.
    pub(super) fn admit(&mut self, kind: Incident, message: String, now: i64) -> Option<String> {
        // Nobody but root brings these about, one by one, and waits for the answer.
        if kind == Incident::Settings {
            return Some(message);
        }
        let Some(told) = self.told.get_mut(&kind) else {
            self.told.insert(kind, Told { at: now, kept_back: 0 });
            return Some(message);
        };
        if now.saturating_sub(told.at) < INTERVAL {
            told.kept_back += 1;
            return None;
        }
        let kept_back = std::mem::take(&mut told.kept_back);
        told.at = now;
        Some(match kept_back {
            0 => message,
            1 => format!("{message} (and one more like it since the last report)"),
            more => format!("{message} (and {more} more like it since the last report)"),
        })
    }
}
