// SPDX-License-Identifier: GPL-3.0-or-later
//! The one thread that writes. It sleeps until its interval is over or something is urgent; when nothing
//! waits it wakes once an hour for retention.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use picosnitch_api as api;
use rusqlite::{Connection as Database, ErrorCode, TransactionBehavior};

use super::delete::Deletion;
use super::finish::Unwritten;
use super::insert;
use super::intern::Interner;
use super::open_flows::OpenFlows;
use super::outbox::{self, Outbox};
use super::queue::{Request, SeenKey, Urgent};
use super::recorder::Shared;
use super::rollup::Rollup;
use super::textlog::TextLogs;
use super::{Settings, Trouble, database, mend, retain, watched};
use crate::memory;
use crate::model::{Connection, Hash, NoticeKind, Viewer, Who};

/// Bits of `connection.id` that tell apart rows of the same microsecond.
pub(super) const TIE_BITS: u32 = 10;
/// The latest time that is stored: the year 2223.
const LATEST: i64 = 8_000_000_000_000_000;
/// How often retention looks for something to do.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);
/// When it does so first after the start.
const RETENTION_FIRST: Duration = Duration::from_secs(60);
/// Pause between two of its steps.
const RETENTION_PAUSE: Duration = Duration::from_millis(5);
/// What cannot be read is not looked for more often.
const MEND_PAUSE: Duration = Duration::from_secs(60);
/// So many rows in one transaction fill the caches.
const BURST: usize = 4096;
/// Write intervals without as many after which the caches are given up.
const CALM: u32 = 3;
/// Wait before writing is tried again, at the least and at the most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What one round of work took from the queue.
#[derive(Default)]
struct Work {
    rows: Vec<Connection>,
    urgent: Vec<Urgent>,
    seen: Vec<(SeenKey, (Who, i64, i64))>,
    sent: Vec<i64>,
    through: Option<i64>,
    open_flows: Option<Vec<u64>>,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    database: Database,
    settings: Settings,
    interner: Interner,
    outbox: Outbox,
    logs: TextLogs,
    open_flows: OpenFlows,
    on_trouble: Box<dyn Fn(Trouble) + Send>,
    /// Writing failed and was not yet successful again: wait this long.
    broken: Option<Duration>,
    /// After a burst: when its caches are given up.
    swollen: Option<Instant>,
    /// Loss was reported in this incident.
    loss_told: bool,
    retention: retain::Retention,
    deletion: Option<(Deletion, Viewer)>,
    /// When what cannot be read was last looked for.
    mended: Option<Instant>,
    /// A step of it failed: when it goes on.
    deletion_pauses: Option<Instant>,
    _hold: File,
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(LATEST)
}

/// Times are what callers give, within what can be stored.
pub(super) fn clamp(time: i64) -> i64 {
    time.clamp(0, LATEST)
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        database: Database,
        log_dir: &Path,
        open_flows: OpenFlows,
        on_trouble: Box<dyn Fn(Trouble) + Send>,
        hold: File,
    ) -> Self {
        let settings = shared.settings();
        if let Err(error) = outbox::settle_origin(&database, outbox::machine()) {
            tracing::warn!("which machine this is cannot be noted; the next start tries again: {error}");
        }
        // A database that cannot be read now says so at the first write.
        let outbox = Outbox::load(&database).unwrap_or_default();
        shared.numbers.outbox_rows.store(outbox.rows, Ordering::Relaxed);
        let broken_off = Deletion::broken_off(&database).unwrap_or_default();
        Writer {
            shared,
            database,
            settings,
            interner: Interner::default(),
            outbox,
            logs: TextLogs::new(log_dir),
            open_flows,
            on_trouble,
            broken: None,
            swollen: None,
            loss_told: false,
            retention: retain::Retention::default(),
            deletion: broken_off.map(|deletion| (deletion, Viewer::everything())),
            mended: None,
            deletion_pauses: None,
            _hold: hold,
        }
    }

    /// The thread. Ends when told to stop, after what waits is written (or cannot be).
    pub(super) fn run(mut self, trouble: Option<Trouble>) -> Unwritten {
        if let Some(trouble) = trouble {
            (self.on_trouble)(trouble);
        }
        let mut last_write = Instant::now();
        // The first round comes soon after the start: not every machine runs for an hour.
        let mut next_retention = Instant::now() + RETENTION_FIRST;
        loop {
            let next_step = match self.deletion {
                Some(_) => self.deletion_pauses.unwrap_or_else(Instant::now),
                None => next_retention,
            };
            let next_step = self.swollen.map_or(next_step, |at| at.min(next_step));
            let stop = self.wait(last_write, next_step);
            let settings = self.shared.settings();
            if (settings.detail_days, settings.retention_days)
                != (self.settings.detail_days, self.settings.retention_days)
            {
                self.retention.obey();
                next_retention = Instant::now();
            }
            self.settings = settings;
            let (requests, over, damage) = {
                let mut queue = self.shared.queue();
                queue.reconfigured = false;
                let damage = std::mem::take(&mut queue.damage);
                (std::mem::take(&mut queue.requests), std::mem::take(&mut queue.due), damage)
            };
            if damage {
                self.mend();
            }
            let due = stop
                || over
                || self.broken.is_some()
                || last_write.elapsed() >= self.settings.write_interval
                || !requests.is_empty()
                || self.shared.queue().rows.len() >= super::queue::MANY_ROWS;
            self.write(due);
            if due {
                last_write = Instant::now();
            }
            for request in requests {
                self.answer(request);
            }
            if self.swollen.is_some_and(|at| Instant::now() >= at) {
                self.shrink();
            }
            if stop {
                let unwritten = self.finish();
                // Where nobody has watched (the start failed) nobody says so. The next daemon can do without.
                let end = self.shared.queue().end;
                if let Some(end) = end {
                    let _ = watched::end(&mut self.database, now(), end);
                }
                let _ = self.database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
                self.logs.sync();
                return unwritten;
            }
            if self.forget() || self.retention.is_ahead(now()) {
                next_retention = Instant::now();
            }
            if self.broken.is_none() && self.deletion.is_none() && Instant::now() >= next_retention {
                next_retention = Instant::now() + self.retain();
            }
        }
    }

    /// The last write failed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Gives back what a burst has filled.
    fn shrink(&mut self) {
        self.swollen = None;
        self.interner.forget();
        if let Err(error) = self.database.execute_batch("PRAGMA shrink_memory") {
            tracing::debug!("the database keeps its cache: {error}");
        }
        memory::give_back();
    }

    /// One step of what somebody wants deleted; true when it is done.
    fn forget(&mut self) -> bool {
        if self.deletion_pauses.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let Some((deletion, viewer)) = &mut self.deletion else { return false };
        self.deletion_pauses = None;
        match deletion.step(&mut self.database, viewer) {
            Ok(false) => {
                if deletion.tidies() {
                    self.interner.forget();
                }
                return false;
            }
            Ok(true) => {
                let _ = deletion.answer.try_send(Ok(deletion.deleted()));
                self.deletion = None;
            }
            Err(error) => {
                let answer = deletion.answer.clone();
                self.failed(&error);
                let _ = answer.try_send(Err(unavailable(error)));
                // Nothing more is deleted, but no total may show what is.
                let broken_off = Deletion::broken_off(&self.database).unwrap_or_default();
                self.deletion = broken_off.map(|deletion| (deletion, Viewer::everything()));
                self.deletion_pauses = Some(Instant::now() + RETRY.1);
                return false;
            }
        }
        // What only the deleted rows referred to goes as well.
        self.retention.sweep_soon();
        self.shared.numbers.retaining.store(true, Ordering::Relaxed);
        self.interner.forget();
        true
    }

    /// One step of forgetting; says when the next one is.
    fn retain(&mut self) -> Duration {
        // What one that was broken off has left is cleared up first: it needs the days that would go.
        match Deletion::broken_off(&self.database) {
            Ok(None) => {}
            Ok(Some(deletion)) => {
                self.deletion = Some((deletion, Viewer::everything()));
                return RETENTION_FIRST;
            }
            Err(error) => {
                self.failed(&error);
                return RETENTION_FIRST;
            }
        }
        let done = self.retention.step(&mut self.database, &self.settings, now());
        if let Err(error) = &done {
            self.failed(error);
        }
        if self.retention.freed() {
            self.interner.forget();
        }
        self.shared.numbers.swept.fetch_add(self.retention.swept_away(), Ordering::SeqCst);
        let mut forgotten = self.shared.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.append(&mut self.retention.forgotten());
        drop(forgotten);
        let busy = self.retention.busy();
        self.shared.numbers.retaining.store(busy, Ordering::Relaxed);
        if !busy {
            // The pages of what is old are not wanted again.
            self.shrink();
        }
        match done {
            Err(_) => RETENTION_FIRST,
            Ok(()) if busy => RETENTION_PAUSE,
            Ok(()) => RETENTION_EVERY,
        }
    }

    /// Sleeps until there is something to do; true if it is the end.
    fn wait(&self, last_write: Instant, retention_at: Instant) -> bool {
        let mut queue = self.shared.queue();
        // While writing fails, urgent things wait for the next try like all others.
        let retry_at = self.broken.map(|pause| last_write.max(Instant::now()) + pause);
        loop {
            if queue.stop {
                return true;
            }
            if !queue.requests.is_empty()
                || queue.reconfigured
                || queue.damage
                || (retry_at.is_none() && queue.hurry())
            {
                return false;
            }
            let mut wake = retention_at;
            if let Some(retry_at) = retry_at {
                wake = retry_at;
            } else if queue.waits() {
                wake = wake.min(last_write + self.settings.write_interval);
            }
            let Some(left) = wake.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return queue.stop;
            };
            queue = self.shared.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes what is urgent and, if due, the rest. On failure everything goes back to the queue.
    pub(super) fn write(&mut self, due: bool) {
        let (mut work, mut still) = (Work::default(), false);
        {
            let mut queue = self.shared.queue();
            work.urgent = queue.urgent.drain(..).collect();
            if due {
                work.rows = queue.take_rows();
                work.seen = std::mem::take(&mut queue.seen).into_iter().collect();
                work.sent = std::mem::take(&mut queue.sent);
                work.through = queue.through.take();
                work.open_flows = queue.open_flows.take();
                still = std::mem::take(&mut queue.still);
            }
        }
        self.report_loss(false);
        let off = self.settings.outbox == 0 && self.outbox.rows > 0;
        if work.rows.is_empty()
            && work.urgent.is_empty()
            && work.seen.is_empty()
            && work.sent.is_empty()
            && !off
            && !still
            // Else it is tried whether writing works again.
            && self.broken.is_none()
        {
            // Not worth a write of its own.
            self.keep_open_flows(work.open_flows);
            return;
        }
        let began = Instant::now();
        match self.transaction(&work) {
            Ok((change, whos)) => {
                self.retention.uses(whos.into_iter());
                self.succeeded(&work, began, &change);
            }
            Err(error) => {
                self.interner.forget();
                let poisoned = matches!(
                    error.sqlite_error_code(),
                    Some(
                        ErrorCode::ConstraintViolation
                            | ErrorCode::TypeMismatch
                            | ErrorCode::TooBig
                            | ErrorCode::ParameterOutOfRange
                    )
                );
                self.give_back(work, poisoned);
                self.failed(&error);
            }
        }
    }

    fn succeeded(&mut self, work: &Work, began: Instant, change: &outbox::Change) {
        self.shared.queue().written = Some(Instant::now());
        let numbers = &self.shared.numbers;
        numbers.written.fetch_add(work.rows.len() as u64, Ordering::Relaxed);
        numbers.last_commit.store(now(), Ordering::Relaxed);
        numbers
            .last_commit_us
            .store(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.interner.rest();
        if work.rows.len() >= BURST {
            self.swollen = Some(Instant::now() + CALM * self.settings.write_interval);
        }
        if let Some(through) = work.through
            && let Some(call) = &*self.shared.on_written.lock().unwrap_or_else(PoisonError::into_inner)
        {
            call(through);
        }
        self.sent_out(work, change);
        for urgent in &work.urgent {
            if let Urgent::Notice(notice) = urgent {
                self.shared.notice_committed(notice.id);
            }
        }
        for trouble in self.logs.write(&work.rows, work.urgent.iter(), &self.settings) {
            (self.on_trouble)(trouble);
        }
        if self.broken.take().is_some() {
            self.report_loss(true);
            (self.on_trouble)(Trouble::Recovered);
        }
    }

    /// For the next time, unless there is a later list.
    fn keep_open_flows(&self, flows: Option<Vec<u64>>) {
        if flows.is_some() {
            let mut queue = self.shared.queue();
            queue.open_flows = queue.open_flows.take().or(flows);
        }
    }

    /// Keeps count of the outbox and says that there is something in it.
    fn sent_out(&mut self, work: &Work, change: &outbox::Change) {
        self.outbox = change.done();
        let numbers = &self.shared.numbers;
        numbers.outbox_rows.store(self.outbox.rows, Ordering::Relaxed);
        numbers.outbox_lost.fetch_add(change.lost, Ordering::Relaxed);
        let asks = (self.settings.verdicts && !work.urgent.is_empty()) | self.scans_done(work);
        if (change.added || asks)
            && let Some(call) = &*self.shared.on_outbox.lock().unwrap_or_else(PoisonError::into_inner)
        {
            call();
        }
    }

    /// What a scanner said waits no longer; true if it said anything.
    fn scans_done(&self, work: &Work) -> bool {
        let scans = work.urgent.iter().filter(|urgent| matches!(urgent, Urgent::Scan(_))).count() as u64;
        self.shared.numbers.scans_waiting.fetch_sub(scans, Ordering::SeqCst);
        scans > 0
    }

    /// What the database refuses for what it is would be refused for ever: it counts as lost, notices and
    /// programs that were seen as rows without bytes.
    fn give_back(&mut self, mut work: Work, poisoned: bool) {
        let mut queue = self.shared.queue();
        queue.sent.append(&mut work.sent);
        queue.through = queue.through.max(work.through);
        if poisoned {
            // The list of what was open is of these rows, and lost with them.
            self.scans_done(&work);
            let (notices, seen) = (work.urgent.len(), work.seen.len());
            tracing::error!(
                "the database refuses {} rows, {notices} notices, {seen} programs",
                work.rows.len()
            );
            queue.lost_rows += (work.rows.len() + notices + seen) as u64;
            for row in &work.rows {
                queue.lost_bytes = queue.lost_bytes.saturating_add(row.sent).saturating_add(row.received);
            }
        } else {
            queue.open_flows = queue.open_flows.take().or(work.open_flows.take());
            queue.restore(work.rows);
            for urgent in work.urgent.into_iter().rev() {
                queue.urgent.push_front(urgent);
            }
            for (_, (who, first, last)) in work.seen {
                queue.push_seen(&who, first, last);
            }
        }
    }

    /// Says it once, doubles the pause, mends what cannot be read, sets a damaged file aside.
    pub(super) fn failed(&mut self, error: &rusqlite::Error) {
        let helped = if database::damaged(error) {
            self.set_aside(&error.to_string())
        } else {
            mend::tells_damage(error) && self.mend()
        };
        if helped {
            return;
        }
        match self.broken {
            Some(pause) => self.broken = Some((pause * 2).min(RETRY.1)),
            None => {
                self.broken = Some(RETRY.0);
                (self.on_trouble)(Trouble::Writing(error.to_string()));
            }
        }
    }

    /// A damaged file makes room for a new one; false if it cannot.
    fn set_aside(&mut self, reason: &str) -> bool {
        match self.replace_database() {
            Ok((aside, unsent)) => {
                self.broken = None;
                (self.on_trouble)(Trouble::SetAside { aside, reason: reason.to_owned(), unsent });
                true
            }
            Err(reason) => {
                tracing::error!("the damaged database cannot be replaced: {reason}");
                false
            }
        }
    }

    /// Something could not be read. True if that has changed. It costs seconds, so not again and again.
    fn mend(&mut self) -> bool {
        if self.mended.is_some_and(|last| last.elapsed() < MEND_PAUSE) {
            return false;
        }
        self.mended = Some(Instant::now());
        match mend::mend(&mut self.database) {
            Ok(mend::Found::Nothing) => false,
            Ok(mend::Found::Mended(mended, lost)) => {
                (self.on_trouble)(Trouble::Mended { mended, lost });
                true
            }
            Ok(mend::Found::Corrupt(reason)) => self.set_aside(&reason),
            Err(error) if database::damaged(&error) => self.set_aside(&error.to_string()),
            Err(error) => {
                tracing::warn!("what cannot be read cannot be mended: {error}");
                false
            }
        }
    }

    /// The damaged one, and how many rows waited in it for the remote database.
    fn replace_database(&mut self) -> Result<(std::path::PathBuf, u64), String> {
        let memory = Database::open_in_memory().map_err(|error| error.to_string())?;
        drop(std::mem::replace(&mut self.database, memory));
        let aside = database::set_aside(&self.shared.path).map_err(|error| error.to_string())?;
        let (fresh, _) = database::open(&self.shared.path).map_err(|error| error.to_string())?;
        self.database = fresh;
        self.interner.forget();
        let _ = outbox::settle_origin(&self.database, outbox::machine());
        let unsent = self.outbox.rows;
        self.shared.numbers.outbox_lost.fetch_add(unsent, Ordering::Relaxed);
        self.outbox = Outbox::load(&self.database).unwrap_or_default();
        self.shared.numbers.outbox_rows.store(self.outbox.rows, Ordering::Relaxed);
        self.retention = retain::Retention::default();
        self.shared.numbers.generation.fetch_add(1, Ordering::SeqCst);
        Ok((aside, unsent))
    }

    /// Moves the loss of the queue to the counters; said once per incident, and in full when it is over.
    fn report_loss(&mut self, over: bool) {
        let (rows, bytes) = {
            let mut queue = self.shared.queue();
            if queue.lost_rows == 0 || (self.broken.is_some() && !over && self.loss_told) {
                if queue.lost_rows == 0 && self.broken.is_none() {
                    self.loss_told = false;
                }
                return;
            }
            (std::mem::take(&mut queue.lost_rows), std::mem::take(&mut queue.lost_bytes))
        };
        self.shared.numbers.lost_rows.fetch_add(rows, Ordering::Relaxed);
        self.shared.numbers.lost_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.loss_told = !over;
        (self.on_trouble)(Trouble::Lost { rows, bytes });
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Flush(done) => {
                let _ = done.try_send(());
            }
            Request::Acknowledge(ids, viewer, answer) => {
                let _ = answer.try_send(
                    super::read::acknowledge(&mut self.database, &ids, &viewer).map_err(unavailable),
                );
            }
            Request::Delete(_, _, answer) if self.deletion.is_some() => {
                let busy = "another deletion is under way; try again when it is done".to_owned();
                let _ = answer.try_send(Err(api::Error::Unavailable(busy)));
            }
            Request::Delete(query, viewer, answer) => {
                // One that failed has left totals that are to be made anew first.
                if let Ok(Some(broken_off)) = Deletion::broken_off(&self.database) {
                    self.deletion = Some((broken_off, viewer));
                    let busy = "a deletion that was broken off is cleared up; try again when it is done";
                    let _ = answer.try_send(Err(api::Error::Unavailable(busy.to_owned())));
                    return;
                }
                match Deletion::new(&self.database, &query, &viewer, answer.clone()) {
                    Ok(deletion) => self.deletion = Some((deletion, viewer)),
                    Err(error) => {
                        let _ = answer.try_send(Err(error));
                    }
                }
            }
        }
    }

    /// Gives the programs that rows were written of, too.
    fn transaction(&mut self, work: &Work) -> rusqlite::Result<(outbox::Change, HashSet<i64>)> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rollup = Rollup::default();
        let mut whos = HashSet::new();
        let (interner, settings) = (&mut self.interner, &self.settings);
        if settings.enabled {
            whos = insert::rows(&transaction, interner, settings, &work.rows, &mut rollup)?;
        } else {
            for row in &work.rows {
                let who = interner.who(&transaction, &row.who, settings)?;
                rollup.program(clamp(row.time), &who);
            }
        }
        for (_, (who, first, last)) in &work.seen {
            let who = interner.who(&transaction, who, settings)?;
            rollup.program(clamp(*first), &who);
            rollup.program(clamp(*last), &who);
        }
        for urgent in &work.urgent {
            match urgent {
                Urgent::Notice(notice) => {
                    insert::notice(&transaction, interner, settings, notice, &mut rollup)?
                }
                Urgent::Hash(id, hash, old) => {
                    insert::complete_notice(&transaction, interner, *id, hash, *old)?;
                }
                Urgent::Scan(scanned) => outbox::scanned(&transaction, scanned)?,
            }
            if settings.verdicts
                && let Some(sha256) = news(urgent)
                && !outbox::want_verdict(&transaction, &sha256)?
            {
                self.shared.numbers.verdicts_lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        rollup.write(&transaction, interner)?;
        let change = self.outbox.write(&transaction, settings, &work.rows, &work.sent)?;
        watched::write(&transaction, now())?;
        if let Some(flows) = work.open_flows.as_ref().filter(|_| settings.enabled) {
            self.open_flows.write(&transaction, flows)?;
        }
        transaction.commit()?;
        Ok((change, whos))
    }
}

/// The content that is news by this.
fn news(urgent: &Urgent) -> Option<[u8; 32]> {
    let hash = match urgent {
        Urgent::Hash(_, hash, _) => *hash,
        Urgent::Notice(notice) => match &notice.kind {
            NoticeKind::NewExecutable(contact) | NoticeKind::HashChanged { contact, .. } => {
                contact.who.program.hash
            }
            NoticeKind::Verdict { .. } | NoticeKind::Error { .. } => return None,
        },
        Urgent::Scan(..) => return None,
    };
    match hash {
        Hash::Known(sha256) => Some(sha256),
        Hash::Unknown(_) => None,
    }
}

/// What is said where something cannot be read.
pub(super) const DAMAGED: &str = "a part of the record cannot be read and is looked after; try again later";

pub(super) fn unavailable(error: rusqlite::Error) -> api::Error {
    tracing::warn!("the database cannot answer: {error}");
    if mend::tells_damage(&error) {
        return api::Error::Unavailable(DAMAGED.to_owned());
    }
    api::Error::Unavailable("the record cannot be used at the moment; try again later".to_owned())
}
