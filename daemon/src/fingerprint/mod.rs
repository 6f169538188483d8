// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes: files that processes execute, from fanotify and by [`Fingerprint::request`].
//! Gives: the SHA-256 of their content, at once or later by callback, and the path they had.
//! Thread: one that watches, three that hash (one of them for files that others serve).
//! Drops when: 4096 hashes are pending, or fanotify's queue overflows; both counted in [`Counts`].

mod fanotify;
pub(crate) mod lookup;
pub(crate) mod mounts;
mod place;
mod script;
mod state;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::model::{FileId, Gap, Hash, ProcessId};
use fanotify::{Event, Group};
pub use place::Place;
use state::{Answer, Held, State};
use work::{Callback, Job};

/// Descriptors for all others: the database, the bus, readers of exports, look-ups.
const OTHERS: u64 = 96;
/// Descriptors for executables at the most.
const MOST: u64 = 24 * 1024;

/// Tells the kernel's identity of one of our descriptors (also of an O_PATH one).
pub type Identify = Arc<dyn Fn(BorrowedFd<'_>) -> io::Result<FileId> + Send + Sync>;

/// A hash that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Of which file.
    pub file: FileId,
    /// Known, or the final reason why not; never `Pending`.
    pub hash: Hash,
}

/// Why fingerprints cannot be started at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A thread.
    #[error("cannot start a thread for hashing: {0}")]
    Thread(#[source] io::Error),
    /// An event descriptor.
    #[error("cannot make an event descriptor: {0}")]
    Event(#[source] io::Error),
}

/// What works less well than it should; each a sentence for the administrator.
#[derive(Debug, thiserror::Error)]
pub enum Shortfall {
    /// fanotify cannot be used.
    #[error(
        "fanotify is not available ({0}): programs that exit at once may have no hash, and each hash is \
         checked again every 10 seconds; give the service CAP_SYS_ADMIN"
    )]
    NoFanotify(#[source] io::Error),
    /// No filesystem could be marked.
    #[error(
        "no filesystem could be watched for executions ({0}): programs that exit at once may have no hash"
    )]
    NoMarks(#[source] io::Error),
}

/// What was lost or refused. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Executions that fanotify could not deliver (its queue was full, or no descriptor was left).
    pub execs_lost: u64,
    /// Changes that fanotify could not deliver; every hash was checked again.
    pub changes_lost: u64,
    /// Requests refused because too many were pending; answered with `Resources`.
    pub refused: u64,
    /// Processes or contents forgotten for lack of room.
    pub evicted: u64,
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    work: [Condvar; 2],
    identify: Identify,
    done: Callback,
    wake: EventFd,
    execs: Option<Group>,
    changes: Option<Group>,
}

/// Hashes of executables. Dropping it ends its threads.
pub struct Fingerprint {
    shared: Arc<Shared>,
    shortfalls: Vec<Shortfall>,
    threads: Vec<JoinHandle<()>>,
}

impl Fingerprint {
    /// Marks every local filesystem, looks at what runs already and starts the threads.
    /// `done` is called on a hashing thread, once for each request that was answered with `Pending`
    /// (requests for one file while it is pending count as one). `open_files` is the limit set by
    /// [`raise_open_files`].
    ///
    /// # Errors
    /// Only if nothing at all can be started; what works less well is in [`Fingerprint::shortfalls`].
    pub fn start(
        identify: Identify,
        open_files: u64,
        done: impl Fn(Done) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (mut shortfalls, mut groups) = (Vec::new(), (None, None));
        match Group::new().and_then(|execs| Ok((execs, Group::new()?))) {
            Ok((execs, changes)) => groups = (Some(execs), Some(changes)),
            Err(error) => shortfalls.push(Shortfall::NoFanotify(error)),
        }
        Self::with_groups(identify, open_files, Arc::new(done), groups, shortfalls.pop())
    }

    fn with_groups(
        identify: Identify,
        open_files: u64,
        done: Callback,
        (execs, changes): (Option<Group>, Option<Group>),
        shortfall: Option<Shortfall>,
    ) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags).map_err(|e| Error::Event(e.into()))?;
        // Two thirds for what is held, the rest for what is being read: half as many in both lanes.
        let left = open_files.min(MOST).saturating_sub(open_now() + OTHERS);
        let held = usize::try_from(left * 2 / 3).unwrap_or(usize::MAX).max(16);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(held)),
            work: [Condvar::new(), Condvar::new()],
            identify,
            done,
            wake,
            execs,
            changes,
        });
        let mut shortfalls = Vec::from_iter(shortfall);
        let mut watch = watch::Watch::new(Arc::clone(&shared));
        if let Err(error) = watch.mark_machine()
            && shared.execs.is_some()
        {
            shortfalls.push(Shortfall::NoMarks(error));
        }
        let mut this = Fingerprint { shared, shortfalls, threads: Vec::new() };
        this.spawn("exec-watch", move |_| watch.run(), true)?;
        this.spawn("hash-0", |shared| work::run(shared, 0), true)?;
        this.spawn("hash-1", |shared| work::run(shared, 0), true)?;
        // May wait for a file server that never answers: nobody waits for it in turn.
        this.spawn("hash-other", |shared| work::run(shared, 1), false)?;
        Ok(this)
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce(&Shared) + Send + 'static,
        join: bool,
    ) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || body(&shared))
            .map_err(Error::Thread)?;
        if join {
            self.threads.push(thread);
        }
        Ok(())
    }

    /// What works less well than it should.
    #[must_use]
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shortfalls
    }

    /// Content of a file that a process runs. Never waits: what is not known is `Pending`, and follows
    /// by callback. Called by the pipeline for each new flow: the content may have changed since.
    #[must_use]
    pub fn request(&self, file: FileId, process: ProcessId) -> Hash {
        if file.inode == 0 {
            return Hash::Unknown(Gap::Kernel);
        }
        self.shared.drain_changes();
        let answer = self.shared.lock().request(file, process.tgid, Instant::now());
        match answer {
            Answer::Now(hash) => hash,
            Answer::Queued(lane) => {
                self.shared.work[lane].notify_one();
                Hash::Unknown(Gap::Pending)
            }
        }
    }

    /// As [`Fingerprint::place`], as far as it was seen up to now. Waits for nobody.
    #[must_use]
    pub fn place_seen(&self, file: FileId, pid: u32) -> Option<Place> {
        self.shared.lock().place(file, pid)
    }

    /// Where the file lay when process `pid` executed it, also if that has exited since. `None` if
    /// nobody saw it. Some µs; taking events from fanotify opens files, which a file server can hold up.
    #[must_use]
    pub fn place(&self, file: FileId, pid: u32) -> Option<Place> {
        if file.inode == 0 {
            return None;
        }
        if let Some(place) = self.place_seen(file, pid) {
            return Some(place);
        }
        if let Some(place) = self.place_now(file, pid) {
            return Some(place);
        }
        // The event of the exec may still be in the queue.
        self.shared.drain_execs();
        let state = self.shared.lock();
        state.place(file, pid).or_else(|| state.any_place(file))
    }

    /// Where the file that process `pid` executes lies now. `None` if it does not execute it any more.
    #[must_use]
    pub fn place_now(&self, file: FileId, pid: u32) -> Option<Place> {
        let handle = work::executable_of(&self.shared, pid, file).ok()??;
        Place::of(&self.shared.identify, handle.as_fd(), pid)
    }

    /// Whether the file that process `pid` executes, or executed a moment ago, has lost its name by now. What is in
    /// memory alone never had one. `None` if the file is kept nowhere any more. May wait for ever: for a thread
    /// that may.
    #[must_use]
    pub fn deleted(&self, file: FileId, pid: u32) -> Option<bool> {
        let place = self.place_now(file, pid).or_else(|| {
            let held = self.shared.lock().start(file).held?;
            Place::of(&self.shared.identify, held.fd.as_fd(), pid)
        })?;
        Some(place.deleted && !place.path.starts_with(b"/memfd:"))
    }

    /// The script that process `pid` executed by an interpreter, as fanotify told it: a file of this
    /// name that is not the interpreter. Waits as [`Fingerprint::place`].
    #[must_use]
    pub fn script(&self, pid: u32, name: &[u8], interpreter: FileId) -> Option<(FileId, Place)> {
        if let Some(found) = self.shared.lock().named(pid, name, interpreter) {
            return Some(found);
        }
        self.shared.drain_execs();
        self.shared.lock().named(pid, name, interpreter)
    }

    /// The script `argument` that process `pid` was told to interpret by `interpreter`, which it runs. It is
    /// remembered as long as what the process executes. May wait for ever: for a thread that may.
    #[must_use]
    pub fn interpreted(&self, pid: u32, argument: &[u8], interpreter: FileId) -> Option<(FileId, Place)> {
        script::find(&self.shared, pid, argument, interpreter)
    }

    /// The kernel's identity of descriptors.
    #[must_use]
    pub fn identify(&self) -> Identify {
        Arc::clone(&self.shared.identify)
    }

    /// A process has exited: its descriptors are kept some seconds more.
    pub fn exited(&self, pid: u32) {
        if self.shared.lock().exited(pid, Instant::now()) {
            self.shared.wake();
        }
    }

    /// Process `pid` runs a file of filesystem `dev` ([`FileId::dev`]). If that is none of the machine's
    /// own, the filesystems of its mount namespace are marked, now and from time to time.
    pub fn met(&self, dev: u32, pid: u32) {
        if self.shared.lock().met(dev, pid, Instant::now()) {
            self.shared.wake();
        }
    }

    /// What was lost or refused so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let lost = |group: &Option<Group>| group.as_ref().map_or(0, |g| g.lost.load(Ordering::Relaxed));
        let state = self.shared.lock();
        Counts {
            execs_lost: lost(&self.shared.execs),
            changes_lost: lost(&self.shared.changes),
            refused: state.refused,
            evicted: state.evicted,
        }
    }

    /// Descriptors held, and files remembered.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        self.shared.lock().sizes()
    }
}

impl Drop for Fingerprint {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.iter().for_each(Condvar::notify_all);
        self.shared.wake();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only if the counter is full, and then the thread is awake.
        let _ = self.wake.write(1);
    }

    /// The next job of a lane; waits for it. `None`: closed.
    fn next_job(&self, lane: usize) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.lanes[lane].pop() {
                return Some(job);
            }
            state = self.work[lane].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For later; given back where so many files are open already that this one is to be read to its end.
    fn put_back(&self, lane: usize, job: Job) -> Option<Job> {
        let mut state = self.lock();
        let open = state.lanes[lane].iter().filter(|job| job.is_open()).count();
        if open >= state.open_limit() && !state.closed {
            return Some(job);
        }
        state.lanes[lane].push(job);
        drop(state);
        // Another thread may be idle, and this one takes a smaller job first.
        self.work[lane].notify_one();
        None
    }

    fn finish(
        &self,
        file: FileId,
        outcome: Result<([u8; 32], state::Stamp, state::Guard), Gap>,
        version: u32,
    ) {
        let mut state = self.lock();
        if state.finish(file, outcome, version, Instant::now())
            && let Some(changes) = &self.changes
        {
            // Under the lock: see `watch`.
            let _ = changes.flush_files();
        }
    }

    /// Asks to be told of changes of a file. Whether that works, and the version that is watched: any
    /// change after it makes another version. Marks are taken back only under the lock and with a new
    /// version, so a mark that was set between two equal versions stands.
    fn watch(&self, id: FileId, file: BorrowedFd<'_>) -> (bool, u32) {
        let mut version = self.lock().version(id);
        let Some(changes) = &self.changes else { return (false, version) };
        for _ in 0..3 {
            if !self.lock().local.contains(&id.dev) || changes.mark_file(file).is_err() {
                return (false, version);
            }
            let after = self.lock().version(id);
            if after == version {
                return (true, version);
            }
            version = after;
        }
        (false, version)
    }

    /// Handles all changes that happened before the call.
    fn drain_changes(&self) {
        let Some(changes) = &self.changes else { return };
        changes.drain(|event| {
            let known = event.map(|event| ((self.identify)(event.file.as_fd()), event));
            let mut state = self.lock();
            match known {
                Ok((Ok(file), event)) => {
                    if state.modified(file) {
                        let _ = changes.unmark_file(event.file.as_fd());
                    }
                }
                Ok((Err(_), _)) => state.doubt_all(Instant::now()),
                Err(error) => {
                    if work::no_descriptor(error) {
                        state.release_some();
                    }
                    state.doubt_all(Instant::now());
                }
            }
        });
    }

    /// Handles all executions that happened before the call.
    fn drain_execs(&self) {
        let Some(execs) = &self.execs else { return };
        execs.drain(|event| {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    if work::no_descriptor(error) {
                        self.lock().release_some();
                    }
                    return;
                }
            };
            let file = event.file.as_fd();
            let (Ok(id), Some(place)) = ((self.identify)(file), Place::of(&self.identify, file, event.pid))
            else {
                execs.lost.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let Event { file, pid } = event;
            self.lock().executed(pid, id, place, || Some(Held { fd: file, path_only: false }));
        });
    }
}

/// How many descriptors we have open.
fn open_now() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| list.count() as u64)
}

/// Raises the limit of open files to `wanted`, or as far as it goes (`None`). What it is afterwards.
///
/// # Errors
/// If the limit cannot be read.
pub fn raise_open_files(wanted: Option<u64>) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let goal = wanted.unwrap_or(hard).min(hard);
    Ok(match setrlimit(Resource::RLIMIT_NOFILE, goal, hard) {
        Ok(()) => goal,
        Err(_) => soft,
    })
}
