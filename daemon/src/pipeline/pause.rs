// SPDX-License-Identifier: GPL-3.0-or-later
//! A pause of the record: the kernel side goes on counting, and what it counts is not kept. That there was a
//! pause is.

use std::time::{Duration, Instant};

use picosnitch_api::Incident;

use super::clock::Now;
use super::run::Pipeline;
use crate::judge::Output;

impl Pipeline {
    /// Pauses for `time`, counted from now, as the person `uid` wants.
    pub(super) fn pause(&mut self, time: Duration, uid: u32) {
        self.collect();
        self.flows.pause();
        self.paused = Some(Instant::now() + time);
        // First, so that who hears of it and asks is answered by what is so now.
        self.write_facts();
        self.note(Incident::Pause, format!("the record was paused for {} s by uid {uid}", time.as_secs()));
    }

    /// Ends a pause; `uid` does so, or its time is over.
    pub(super) fn resume(&mut self, uid: Option<u32>) {
        if self.paused.is_none() {
            return;
        }
        self.collect();
        self.flows.resume(self.last.wall);
        self.paused = None;
        let why = uid.map_or_else(|| "its time is over".to_owned(), |uid| format!("ended by uid {uid}"));
        self.write_facts();
        self.note(Incident::Resume, format!("the record goes on after a pause: {why}"));
        // Who began to talk meanwhile goes on unseen otherwise.
        let now = Now::read();
        for (id, subject, contact) in self.flows.talking() {
            self.judge_once(id, &subject, || contact, &now);
        }
    }

    /// Says it, however often the same was said a moment ago.
    fn note(&mut self, kind: Incident, message: String) {
        tracing::info!("{message}");
        let notice = self.judge.loss(kind, message, Now::read().moment());
        self.say(vec![Output::Notice(notice)]);
    }
}
