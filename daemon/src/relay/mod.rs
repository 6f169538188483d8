// SPDX-License-Identifier: GPL-3.0-or-later
//! Stage 6½: what leaves the machine, by a helper that is not root.
//!
//! Takes: rows that wait in the record's outbox, contents that wait for a verdict, calls of `Scan`.
//! Gives: what arrived and what the scanner says to the record; troubles and alarms to the pipeline.
//! Thread: one (`relay`), asleep while there is nothing to send; one more while a file is copied for an upload.
//! Drops when: more waits than `remote.outbox_mib` (the record counts it), or a server refuses a row for ever.
//!
//! Nothing here speaks to a network. The helper (crate `picosnitch-relay`) does, over a socket on which it
//! gets rows, hashes and descriptors, and on which its short answers are read as those of a stranger.

mod copy;
mod helper;
mod rows;
mod run;
mod scans;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use picosnitch_api::Incident;
use tokio::sync::oneshot;

use crate::model::{Suspect, Verdict};
use crate::record::Recorder;
use crate::settings::Settings;

/// How long a call of `Scan` waits for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How to reach the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// systemd starts it when this socket is called.
    Socket(PathBuf),
    /// The daemon starts this program itself, as another user.
    Program(PathBuf),
}

/// What people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// Kind and sentence of an Error event.
    Error(Incident, String),
    /// A scanner finds a program suspicious.
    Alarm(Suspect, Verdict),
}

/// What starts it.
pub struct Config {
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// What waits, and where answers go.
    pub recorder: Recorder,
    /// Where the helper is.
    pub way: Way,
    /// Must not block.
    pub tell: Box<dyn Fn(Tell) + Send>,
}

/// How it goes, for `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// There is a remote database.
    pub remote: bool,
    /// Rows that it took.
    pub sent: u64,
    /// Rows that it does not take for what they are.
    pub refused: u64,
    /// When it last took rows, µs since the epoch; 0: never.
    pub sent_last: i64,
    /// Why it does not take them now.
    pub remote_error: Option<String>,
    /// There is a scanner.
    pub scanner: bool,
    /// Contents that wait for a verdict.
    pub scans: u64,
    /// When it last answered, µs since the epoch; 0: never.
    pub scan_last: i64,
    /// Why it does not answer now.
    pub scan_error: Option<String>,
    /// How often the helper was started again.
    pub restarts: u64,
}

/// The answer to a call of `Scan`: words, or why not.
type ScanAnswer = oneshot::Sender<Result<String, String>>;

enum Command {
    Settings(Arc<Settings>),
    Scan([u8; 32], ScanAnswer),
    /// A file was copied for an upload, or cannot be.
    Copied([u8; 32], Result<std::os::fd::OwnedFd, copy::Refusal>),
    Stop,
}

/// Sends commands; cheap to clone.
#[derive(Clone)]
pub struct Control {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
}

impl Control {
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }

    /// Settings have changed.
    pub fn settings(&self, settings: Arc<Settings>) {
        self.send(Command::Settings(settings));
    }

    /// Asks the scanner about a content.
    ///
    /// # Errors
    /// One sentence: there is no scanner, it does not answer, or not in time.
    pub async fn scan(&self, sha256: [u8; 32]) -> Result<String, String> {
        let (answer, wait) = oneshot::channel();
        self.send(Command::Scan(sha256, answer));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the monitor is stopping".to_owned()),
            Err(_) => {
                Err("the scanner has not answered yet; its verdict will be with the program".to_owned())
            }
        }
    }
}

/// The running stage.
pub struct Handle {
    control: Control,
    facts: Arc<Mutex<Facts>>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Starts the thread. The helper starts when there is something for it to do.
    ///
    /// # Errors
    /// No thread or no descriptor is left.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (commands, inbox) = channel();
        let control = Control { commands, wake: Arc::clone(&wake) };
        let facts = Arc::new(Mutex::new(Facts::default()));
        {
            let wake = Arc::clone(&wake);
            config.recorder.on_outbox(move || {
                let _ = wake.write(1);
            });
        }
        let relay = run::Relay::new(config, inbox, control.clone(), Arc::clone(&facts));
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || relay.run())?;
        Ok(Self { control, facts, thread })
    }

    /// For those who send commands.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// How it goes.
    #[must_use]
    pub fn facts(&self) -> Arc<Mutex<Facts>> {
        Arc::clone(&self.facts)
    }

    /// Ends the helper and the thread; what waits is sent by the next daemon.
    pub fn stop(self) {
        self.control.send(Command::Stop);
        let _ = self.thread.join();
    }
}

/// Waits longer after each failure, up to a bound.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    until: Option<Instant>,
}

impl Backoff {
    fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first, until: None }
    }

    /// It failed; the other side may have said how long to wait. How long it is.
    fn failed(&mut self, now: Instant, wanted: Option<Duration>) -> Duration {
        let wait = wanted.map_or(self.next, |wanted| wanted.clamp(self.first, LONGEST_WANTED));
        self.next = (self.next * 2).min(self.longest);
        self.until = Some(now + wait);
        wait
    }

    /// It failed before this daemon was started, and is to wait so much longer.
    fn resume(&mut self, now: Instant, left: Duration) {
        self.until = Some(now + left.min(LONGEST_WANTED));
    }

    fn succeeded(&mut self) {
        self.next = self.first;
        self.until = None;
    }

    /// Until when to wait, if that is not over.
    fn wait(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

/// However long the other side wants us to wait, it is no longer than this.
const LONGEST_WANTED: Duration = Duration::from_secs(24 * 3600);

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
