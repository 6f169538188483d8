// SPDX-License-Identifier: GPL-3.0-or-later
//! The handle that the other stages hold: hands over and never waits, except where it says so.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::finish::Unwritten;
use super::open_flows::OpenFlows;
use super::queue::{Queue, Request, Urgent};
use super::read::Reader;
use super::writer::Writer;
use super::{Error, Settings, Trouble, database};
use crate::model::{Connection, End, Hash, Known, Notice, ProgramKey, Scanned, Who};

/// Takes the wall time up to which everything is written.
type OnWritten = Box<dyn Fn(i64) + Send>;

/// What the writer and the handles share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    queue: Mutex<Queue>,
    /// The writer waits here.
    pub(super) work: Condvar,
    settings: Mutex<Settings>,
    /// Highest notice that is committed.
    committed_notice: Mutex<i64>,
    /// Readers that wait for a notice wait here.
    noticed: Condvar,
    pub(super) numbers: Numbers,
    /// Called when there is something new to send or to ask for.
    pub(super) on_outbox: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// Called when everything up to a wall time is written.
    pub(super) on_written: Mutex<Option<OnWritten>>,
    /// What programs were known by that are not known any more, until the judge asks.
    pub(super) forgotten: Mutex<Vec<ProgramKey>>,
    writer: Mutex<Option<JoinHandle<Unwritten>>>,
}

/// Counters for `Status`.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) written: AtomicU64,
    pub(super) lost_rows: AtomicU64,
    pub(super) lost_bytes: AtomicU64,
    pub(super) last_commit: AtomicI64,
    pub(super) last_commit_us: AtomicU64,
    pub(super) retaining: AtomicBool,
    pub(super) outbox_rows: AtomicU64,
    pub(super) outbox_lost: AtomicU64,
    pub(super) verdicts_lost: AtomicU64,
    /// What a scanner said and is not written yet.
    pub(super) scans_waiting: AtomicU64,
    /// Grows when the database file is another one; readers open theirs anew.
    pub(super) generation: AtomicU64,
    /// Programs and peers that were swept; readers forget them.
    pub(super) swept: AtomicU64,
}

/// How the record does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rows of connections written since the start.
    pub rows_written: u64,
    /// Rows that wait to be written.
    pub rows_waiting: u64,
    /// Rows that could not be kept, since the start.
    pub rows_lost: u64,
    /// Bytes sent and received in those.
    pub bytes_lost: u64,
    /// When something was last written, µs since the epoch; 0 if never.
    pub last_commit: i64,
    /// How long that took, µs.
    pub last_commit_us: u64,
    /// Rows that wait for the remote database.
    pub outbox_rows: u64,
    /// Rows for which there was no room to wait, since the start.
    pub outbox_lost: u64,
    /// Contents that will not be asked for, since the start.
    pub verdicts_lost: u64,
    /// Retention has work to do.
    pub retaining: bool,
    /// Size of the database with its log, bytes.
    pub database_bytes: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is valid after every single statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    pub(super) fn settings(&self) -> Settings {
        locked(&self.settings).clone()
    }

    pub(super) fn notice_committed(&self, id: i64) {
        let mut committed = locked(&self.committed_notice);
        *committed = (*committed).max(id);
        drop(committed);
        self.noticed.notify_all();
    }

    /// Waits until this notice is committed, if it was handed in; no longer than `limit`.
    pub(super) fn await_notice(&self, id: i64, limit: Duration) {
        let deadline = Instant::now() + limit;
        if id > self.queue().last_notice {
            return;
        }
        let mut committed = locked(&self.committed_notice);
        while *committed < id {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            committed = self.noticed.wait_timeout(committed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The writing side of the record. Clones share one writer; when the last one goes without
/// [`Recorder::stop`], what waits is written all the same.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    reader: Reader,
    _last: Arc<StopWhenLast>,
}

struct StopWhenLast(Arc<Shared>);

impl Drop for StopWhenLast {
    fn drop(&mut self) {
        self.0.queue().stop = true;
        self.0.work.notify_all();
        if let Some(writer) = locked(&self.0.writer).take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

impl Recorder {
    /// Opens the record, or makes it, and says what it knows. `on_trouble` is called from the writer's thread
    /// and may hand in notices.
    ///
    /// # Errors
    /// [`Error`]: the directory or the database cannot be used, or another daemon uses it.
    pub fn open(
        state_dir: &Path,
        log_dir: &Path,
        settings: Settings,
        on_trouble: impl Fn(Trouble) + Send + 'static,
    ) -> Result<(Recorder, Known), Error> {
        database::directory(state_dir, 0o700)?;
        database::directory(log_dir, 0o700)?;
        let hold = database::hold(state_dir)?;
        let path = state_dir.join(database::FILE);
        let (database, trouble) = database::open(&path)?;
        let mut known =
            super::read::known(&database).map_err(|source| Error::Database { path: path.clone(), source })?;
        // The pages that this was read from are not wanted again.
        let _ = database.release_memory();
        let open_flows = OpenFlows::new();
        // A list that cannot be read costs a connection counted twice, and must not keep the service from its work:
        // the next write meets the damage, if there is any.
        known.open_flows = open_flows.read(&database).unwrap_or_else(|error| {
            tracing::warn!("the flows that were open cannot be read: {error}");
            Vec::new()
        });
        let shared = Arc::new(Shared {
            path,
            queue: Mutex::new(Queue::new(known.next_notice - 1)),
            work: Condvar::new(),
            settings: Mutex::new(settings.clamped()),
            committed_notice: Mutex::new(known.next_notice - 1),
            noticed: Condvar::new(),
            numbers: Numbers::default(),
            on_outbox: Mutex::new(None),
            on_written: Mutex::new(None),
            forgotten: Mutex::new(Vec::new()),
            writer: Mutex::new(None),
        });
        let writer = Writer::new(shared.clone(), database, log_dir, open_flows, Box::new(on_trouble), hold);
        let thread = std::thread::Builder::new()
            .name("picosnitch-store".to_owned())
            .spawn(move || writer.run(trouble))
            .map_err(Error::Thread)?;
        *locked(&shared.writer) = Some(thread);
        let last = Arc::new(StopWhenLast(shared.clone()));
        Ok((Recorder { reader: Reader::new(shared.clone()), shared, _last: last }, known))
    }

    /// Hands over rows. Rows of one flow that wait together become one; what cannot be kept is counted.
    pub fn submit(&self, batch: Vec<Connection>) {
        self.hand_in(batch, None, None);
    }

    /// The same with all that there is up to this wall time, µs since the epoch; it is said again when it is
    /// written. In one go with the rows: a writer that took them first would write them and say nothing. `open`:
    /// the flows that are open then and have a row, if that has changed, in words that mean the same in the next
    /// run, which has them as [`Known::open_flows`].
    pub fn submit_through(&self, batch: Vec<Connection>, time: i64, open: Option<Vec<u64>>) {
        self.hand_in(batch, Some(time), open);
    }

    fn hand_in(&self, batch: Vec<Connection>, through: Option<i64>, open: Option<Vec<u64>>) {
        let mut queue = self.shared.queue();
        for row in batch {
            queue.push(row);
        }
        queue.through = through.or(queue.through);
        queue.open_flows = open.or(queue.open_flows.take());
        self.shared.work.notify_one();
    }

    /// Calls this, on the writer's thread, whenever rows are written and can be read; it must not block. The
    /// time is the one of [`Recorder::submit_through`].
    pub fn on_written(&self, call: impl Fn(i64) + Send + 'static) {
        *locked(&self.shared.on_written) = Some(Box::new(call));
    }

    /// The interval is over: what was handed in is written now, and from time to time that there was nothing. Called
    /// by the pipeline after each collection, so that a row waits for one interval and not for two. Never blocks.
    pub fn commit(&self) {
        let mut queue = self.shared.queue();
        queue.still |= queue.stands_still();
        if queue.waits() || queue.still {
            queue.due = true;
            self.shared.work.notify_one();
        }
    }

    /// Hands over a notice; it is committed at once, with the program it is about.
    pub fn notice(&self, notice: Notice) {
        self.urgent(Urgent::Notice(notice));
    }

    /// The hash of the program in a NewExecutable became known after it went out. `old`: what somebody else ran
    /// at this path; those who see everybody find the program as changed.
    pub fn hash_known(&self, notice_id: i64, hash: Hash, old: Option<[u8; 32]>) {
        self.urgent(Urgent::Hash(notice_id, hash, old));
    }

    fn urgent(&self, urgent: Urgent) {
        let mut queue = self.shared.queue();
        if !queue.push_urgent(urgent) {
            queue.lost_rows += 1;
        }
        self.shared.work.notify_one();
    }

    /// A program was seen without a row: its traffic is ignored, or it only ran.
    pub fn seen(&self, program: &Who, time: i64) {
        self.shared.queue().push_seen(program, time, time);
        self.shared.work.notify_one();
    }

    /// Calls this whenever there is something new to send or to ask for; it must not block.
    pub fn on_outbox(&self, call: impl Fn() + Send + 'static) {
        *locked(&self.shared.on_outbox) = Some(Box::new(call));
    }

    /// Rows and contents for which there was no room to wait for the remote database and for a verdict, since
    /// the start.
    #[must_use]
    pub fn not_sent(&self) -> (u64, u64) {
        let numbers = &self.shared.numbers;
        (numbers.outbox_lost.load(Ordering::Relaxed), numbers.verdicts_lost.load(Ordering::Relaxed))
    }

    /// These chunks of the outbox have arrived.
    pub fn sent(&self, chunks: &[i64]) {
        self.shared.queue().sent.extend_from_slice(chunks);
        self.shared.work.notify_one();
    }

    /// What a scanner said of a content; it is committed at once, or once that is possible again.
    pub fn scanned(&self, scanned: Scanned) {
        let mut queue = self.shared.queue();
        // Always taken: the next question waits for it (`scans_written`), so there is one.
        queue.urgent.push_back(Urgent::Scan(scanned));
        self.shared.numbers.scans_waiting.fetch_add(1, Ordering::SeqCst);
        self.shared.work.notify_one();
    }

    /// What programs were known by that are not known any more, since the last call: there were very many of them, and
    /// these were not seen for longest.
    #[must_use]
    pub fn forgotten(&self) -> Vec<ProgramKey> {
        std::mem::take(&mut *locked(&self.shared.forgotten))
    }

    /// Changes when the database is another one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.numbers.generation.load(Ordering::SeqCst)
    }

    /// All that a scanner said is written; `on_outbox` is called when it is.
    #[must_use]
    pub fn scans_written(&self) -> bool {
        self.shared.numbers.scans_waiting.load(Ordering::SeqCst) == 0
    }

    /// New settings, from the next write on.
    pub fn reconfigure(&self, settings: Settings) {
        *locked(&self.shared.settings) = settings.clamped();
        self.shared.queue().reconfigured = true;
        self.shared.work.notify_one();
    }

    /// Writes everything that waits, then returns. If the database cannot be written it returns after one try.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.shared.queue().push_request(Request::Flush(done)) {
            self.shared.work.notify_one();
            let _ = wait.recv();
        }
    }

    /// Somebody has watched until now, and is about to stop for this reason.
    pub fn ends(&self, end: End) {
        self.shared.queue().end = Some(end);
    }

    /// Writes everything that waits and ends the writer. Other clones may still query; what they submit is lost.
    ///
    /// # Errors
    /// What could not be written, though it was tried for some seconds.
    pub fn stop(self) -> Result<(), Unwritten> {
        self.shared.queue().stop = true;
        self.shared.work.notify_all();
        let writer = locked(&self.shared.writer).take();
        let unwritten = writer.and_then(|writer| writer.join().ok()).unwrap_or_default();
        if unwritten == Unwritten::default() { Ok(()) } else { Err(unwritten) }
    }

    /// The reading side.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Rows that could not be kept, since the start, and bytes in them. No I/O.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        let numbers = &self.shared.numbers;
        let queue = self.shared.queue();
        (
            numbers.lost_rows.load(Ordering::Relaxed) + queue.lost_rows,
            numbers.lost_bytes.load(Ordering::Relaxed) + queue.lost_bytes,
        )
    }

    /// How the record does.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let numbers = &self.shared.numbers;
        let size = |suffix: &str| {
            let mut path = self.shared.path.as_os_str().to_owned();
            path.push(suffix);
            std::fs::metadata(PathBuf::from(path)).map_or(0, |metadata| metadata.len())
        };
        let queue = self.shared.queue();
        Counters {
            rows_written: numbers.written.load(Ordering::Relaxed),
            rows_waiting: queue.rows.len() as u64,
            rows_lost: numbers.lost_rows.load(Ordering::Relaxed) + queue.lost_rows,
            bytes_lost: numbers.lost_bytes.load(Ordering::Relaxed) + queue.lost_bytes,
            last_commit: numbers.last_commit.load(Ordering::Relaxed),
            last_commit_us: numbers.last_commit_us.load(Ordering::Relaxed),
            outbox_rows: numbers.outbox_rows.load(Ordering::Relaxed),
            outbox_lost: numbers.outbox_lost.load(Ordering::Relaxed),
            verdicts_lost: numbers.verdicts_lost.load(Ordering::Relaxed),
            retaining: numbers.retaining.load(Ordering::Relaxed),
            database_bytes: size("") + size("-wal"),
        }
    }
}
