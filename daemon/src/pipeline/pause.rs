// SPDX-License-Identifier: GPL-3.0-or-later
//! A pause of the record: the kernel side goes on counting, and what it counts is not kept. That there was a
//! pause is.

use std::time::{Duration, Instant};

use super::clock::Now;
use super::run::Pipeline;
use crate::judge::Output;

/// A pause that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    /// Its begin, µs since the epoch: rows of times before it belong to the record.
    pub(super) since: i64,
    /// Its end.
    pub(super) until: Instant,
}

impl Pipeline {
    /// Pauses for `time`, counted from now, as the person `uid` wants.
    pub(super) fn pause(&mut self, time: Duration, uid: u32) {
        self.collect();
        let since = self.paused.map_or(self.last.wall, |pause| pause.since);
        self.paused = Some(Pause { since, until: Instant::now() + time });
        self.note("pause", format!("the record was paused for {} s by uid {uid}", time.as_secs()));
        self.write_facts();
    }

    /// Ends a pause; `uid` does so, or its time is over.
    pub(super) fn resume(&mut self, uid: Option<u32>) {
        let Some(pause) = self.paused else { return };
        self.collect();
        self.flows.forget(pause.since);
        self.paused = None;
        let why = uid.map_or_else(|| "its time is over".to_owned(), |uid| format!("ended by uid {uid}"));
        self.note("resume", format!("the record goes on after a pause: {why}"));
        // Who began to talk meanwhile goes on unseen otherwise.
        let now = Now::read();
        for (id, subject, contact) in self.flows.talking() {
            self.judge_once(id, &subject, || contact, &now);
        }
        self.write_facts();
    }

    /// Says it, however often the same was said a moment ago.
    fn note(&mut self, kind: &'static str, message: String) {
        tracing::info!("{message}");
        let notice = self.judge.loss(kind, message, Now::read().moment());
        self.say(vec![Output::Notice(notice)]);
    }
}
