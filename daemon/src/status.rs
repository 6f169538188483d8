// SPDX-License-Identifier: GPL-3.0-or-later
//! What `Status` answers, put together from the pipeline's facts and the record's counters.

use std::sync::{Arc, Mutex, PoisonError};

use picosnitch_api::Status;

use crate::capture::Degradation;
use crate::pipeline::Facts;
use crate::record::Recorder;
use crate::relay;

/// The answer now. Locks for a moment, does no I/O worth the name.
#[must_use]
pub fn status(facts: &Arc<Mutex<Facts>>, recorder: &Recorder, relay: &Arc<Mutex<relay::Facts>>) -> Status {
    let relay = relay.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let facts = facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let counters = recorder.counters();
    let paused = facts.paused_until != 0;
    let Facts { engine, lost, degradations, .. } = facts;
    Status {
        engine: Some(engine.into()),
        state: Some(if paused { "paused" } else { "watching" }.into()),
        since: Some(facts.since),
        paused_until: (paused && facts.paused_until != i64::MAX).then_some(facts.paused_until),
        degraded: Some(degradations.iter().map(ToString::to_string).collect()),
        self_test: Some(match (facts.self_test, degradations) {
            (Some(true), _) => "passed".into(),
            (Some(false), degradations) => degradations
                .iter()
                .find(|degradation| matches!(degradation, Degradation::SelfTest(_)))
                .map_or_else(|| "failed".into(), ToString::to_string),
            (None, _) => "skipped".into(),
        }),
        live_flows: Some(facts.live_flows),
        rows_written: Some(counters.rows_written),
        recorded_through: (counters.last_commit != 0).then_some(counters.last_commit),
        lost_flows: Some(lost.flows),
        lost_bytes: Some(lost.sent + lost.received),
        lost_events: Some(lost.process_events + lost.name_events + facts.execs_lost),
        lost_rows: Some(counters.rows_lost),
        database_bytes: Some(counters.database_bytes),
        database_queued: Some(counters.rows_waiting),
        remote_queued: relay.remote.then_some(counters.outbox_rows),
        remote_sent: relay.remote.then_some(relay.sent),
        remote_lost: relay.remote.then_some(counters.outbox_lost + relay.refused),
        remote_last: (relay.remote && relay.sent_last != 0).then_some(relay.sent_last),
        remote_error: relay.remote_error,
        scan_queued: relay.scanner.then_some(relay.scans),
        scan_last: (relay.scanner && relay.scan_last != 0).then_some(relay.scan_last),
        scan_error: relay.scan_error,
        relay_restarts: (relay.remote || relay.scanner).then_some(relay.restarts),
        ..Status::default()
    }
}
