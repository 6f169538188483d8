// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows to the remote database: one batch at a time, the next when the last has arrived.

use std::time::{Duration, Instant};

use picosnitch_api::Incident;
use picosnitch_relay_wire::{Answer, Ask, MAX_ASK};

use super::Backoff;
use crate::record::{Batch, Recorder};

/// Bytes of rows in one batch; the largest chunk of the outbox, and what stands before it, fit too.
const BATCH: usize = MAX_ASK - 64 * 1024;
/// A helper that has not answered by then hangs: it gives up by itself before.
const DEADLINE: Duration = Duration::from_secs(60);

struct InFlight {
    number: u64,
    batch: Batch,
    deadline: Instant,
}

/// See the module.
pub(super) struct Rows {
    in_flight: Option<InFlight>,
    /// Of which database of this history the next two speak.
    generation: u64,
    /// The latest chunk that arrived.
    after: i64,
    /// Of the chunk after it, so many rows have arrived.
    partial: Option<(i64, u64)>,
    backoff: Backoff,
    pub(super) error: Option<String>,
    pub(super) sent: u64,
    /// Rows that the server does not take for what they are.
    pub(super) refused: u64,
    pub(super) last: i64,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            in_flight: None,
            generation: 0,
            after: 0,
            partial: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            error: None,
            sent: 0,
            refused: 0,
            last: 0,
        }
    }

    /// Another server, or the same with other settings: tried at once.
    pub(super) fn reset(&mut self) {
        self.in_flight = None;
        self.partial = None;
        self.backoff.succeeded();
    }

    /// The helper went. What it had is sent again.
    pub(super) fn interrupted(&mut self) {
        self.in_flight = None;
    }

    /// What to ask next, if anything. The caller says with [`Rows::asked`] that it did.
    pub(super) fn next(&mut self, recorder: &Recorder, now: Instant) -> Option<Batch> {
        if self.in_flight.is_some() || self.backoff.wait(now).is_some() {
            return None;
        }
        let generation = recorder.generation();
        if generation != self.generation {
            (self.generation, self.after, self.partial) = (generation, 0, None);
        }
        // A record that cannot be read says so itself, and the next commit wakes us.
        let mut batch = recorder.reader().outbox(self.after, BATCH).ok().flatten()?;
        if let Some((chunk, rows)) = self.partial
            && batch.chunks.first().is_some_and(|(first, _)| *first == chunk)
        {
            batch.skip(rows);
        }
        Some(batch)
    }

    pub(super) fn asked(&mut self, number: u64, batch: Batch, now: Instant) {
        self.in_flight = Some(InFlight { number, batch, deadline: now + DEADLINE });
    }

    pub(super) fn question(number: u64, batch: &Batch) -> Ask {
        Ask::Rows { number, origin: batch.origin }
    }

    /// When there is something to do without an event.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        match &self.in_flight {
            Some(in_flight) => Some(in_flight.deadline),
            None => self.backoff.wait(now),
        }
    }

    /// The helper should have answered.
    pub(super) fn overdue(&self, now: Instant) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.deadline <= now)
    }

    /// Takes an answer. What to tell people, if anything, and as which kind; `Err`: no answer to what was asked.
    pub(super) fn answer(
        &mut self,
        answer: &Answer,
        recorder: &Recorder,
        wall: i64,
        now: Instant,
    ) -> Result<Option<(Incident, String)>, ()> {
        let in_flight = self.in_flight.take_if(|in_flight| in_flight.number == answer.number()).ok_or(())?;
        match answer {
            Answer::Stored { rows, refused, why, .. } if *rows > 0 => {
                let rows = u64::from(*rows).min(in_flight.batch.rows);
                let refused = u64::from(*refused).min(rows);
                if recorder.generation() == self.generation {
                    recorder.sent(&self.arrived(&in_flight.batch, rows));
                }
                self.refused += refused;
                self.backoff.succeeded();
                if self.error.take().is_some() {
                    tracing::info!("the remote database takes rows again");
                }
                self.sent += rows - refused;
                self.last = wall;
                Ok((refused > 0).then(|| {
                    let why = why.as_deref().map(super::run::stranger).unwrap_or_default();
                    // A kind of its own: one that was told a moment ago does not hold it back.
                    (
                        Incident::RemoteRefused,
                        format!("the remote database does not take {refused} rows: {why}"),
                    )
                }))
            }
            Answer::Failed { why, wait, .. } => {
                self.backoff.failed(now, wait.map(Duration::from_secs));
                let why = super::run::stranger(why);
                let first = self.error.replace(why.clone()).is_none();
                let message = || format!("rows do not reach the remote database, they wait here: {why}");
                Ok(first.then(|| (Incident::Remote, message())))
            }
            _ => Err(()),
        }
    }

    /// The first so many rows of this batch are there: the chunks of which nothing is left to send.
    fn arrived(&mut self, batch: &Batch, mut rows: u64) -> Vec<i64> {
        let mut whole = Vec::new();
        for (chunk, count) in &batch.chunks {
            if rows < *count {
                let before = self.partial.filter(|(partial, _)| partial == chunk).map_or(0, |(_, rows)| rows);
                self.partial = Some((*chunk, before + rows));
                break;
            }
            rows -= count;
            whole.push(*chunk);
            (self.after, self.partial) = (*chunk, None);
        }
        whole
    }
}
