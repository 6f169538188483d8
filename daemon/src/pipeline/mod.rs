// SPDX-License-Identifier: GPL-3.0-or-later
//! The thread that an event travels on: from the ring buffer through `decode`, `enrich` and `judge` to the
//! queue of `record` and the channel of `serve`. It owns all of them but the last two.
//!
//! It sleeps until the kernel side, a hash, a command or the next collection wakes it, and waits for
//! nothing else: not for disk, hashing, the bus or names.

pub mod before;
pub mod clock;
pub mod flows;
mod gap;
pub mod ignore;
mod losses;
mod pause;
mod run;
mod waiting;

pub use run::record_settings;

use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use picosnitch_api::Incident;

use crate::capture::{self, Degradation, Lost};
use crate::fingerprint;
use crate::model::{Known, Notice, Suspect, Verdict};
use crate::record::Recorder;
use crate::settings::Settings;

/// What the rest of the daemon is told, in order. The receiver must not block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// Something for people.
    Notice(Notice),
    /// What does not work, in words and sentences.
    Degraded(Vec<Degradation>),
}

/// What the rest of the daemon asks.
#[derive(Debug)]
pub enum Command {
    /// Record nothing for so long; the person with this uid wants it.
    Pause(Duration, u32),
    /// Go on; the person with this uid wants it.
    Resume(u32),
    /// Settings have changed.
    Settings(Arc<Settings>),
    /// Something failed elsewhere: tell people, kind and sentence.
    Error(Incident, String),
    /// A scanner finds a program suspicious: tell its people.
    Verdict(Suspect, Verdict),
    /// So many notices were not signalled, beyond those that were not taken.
    Unsignalled(u64),
    /// Collect everything, hand it to the record, and end.
    Stop,
}

/// How it goes; written at each collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// How the kernel is watched, in a word.
    pub engine: &'static str,
    /// When capture became live, µs since the epoch.
    pub since: i64,
    /// Flows in slots.
    pub live_flows: u64,
    /// Flows taken up since the start.
    pub flows: u64,
    /// What the kernel side lost.
    pub lost: Lost,
    /// Executions that fanotify could not deliver.
    pub execs_lost: u64,
    /// Paused until, µs since the epoch; 0: not paused.
    pub paused_until: i64,
    /// What does not work.
    pub degradations: Vec<Degradation>,
    /// Whether the start-up test counted right; `None`: it could not be made.
    pub self_test: Option<bool>,
}

/// Why the pipeline cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be captured.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// Nothing can be hashed.
    #[error(transparent)]
    Fingerprint(#[from] fingerprint::Error),
    /// A thread or a descriptor of ours.
    #[error("cannot set up the pipeline: {0}")]
    Setup(#[from] std::io::Error),
}

/// What starts the pipeline.
pub struct Config {
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// What the record knows.
    pub known: Known,
    /// Where rows go.
    pub recorder: Recorder,
    /// Where notices go; false if one was not taken.
    pub tell: Box<dyn Fn(Tell) -> bool + Send>,
}

/// A running pipeline. Dropping it without [`Handle::stop`] leaves the thread running.
pub struct Handle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    facts: Arc<Mutex<Facts>>,
    thread: JoinHandle<()>,
}

/// Sends commands; cheap to clone.
#[derive(Clone)]
pub struct Control {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
}

impl Control {
    /// Hands a command over. False if the pipeline has ended.
    #[must_use]
    pub fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        let _ = self.wake.write(1);
        sent
    }
}

/// A pipeline that loads the kernel side, on its own thread. Dropping it ends that.
pub struct Loading {
    go: SyncSender<Config>,
    ready: Receiver<Result<(), Error>>,
    handle: Handle,
}

impl Loading {
    /// Begins to load; returns at once. The verifier takes most of the time to start, and meanwhile the
    /// history can be opened.
    ///
    /// # Errors
    /// When there is no thread or descriptor for it.
    pub fn begin(ring_kib: u32) -> Result<Loading, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(std::io::Error::from)?);
        let facts = Arc::new(Mutex::new(Facts::default()));
        let (commands, inbox) = channel();
        let (is_ready, ready) = sync_channel(1);
        let (go, config) = sync_channel(1);
        let thread = {
            let (wake, facts) = (Arc::clone(&wake), Arc::clone(&facts));
            std::thread::Builder::new()
                .name("pipeline".into())
                .spawn(move || body(ring_kib, &config, &inbox, &wake, facts, &is_ready))?
        };
        Ok(Loading { go, ready, handle: Handle { commands, wake, facts, thread } })
    }

    /// Attaches the kernel side, proves that it counts, and returns when capture is live.
    ///
    /// # Errors
    /// When nothing can be captured; each says what to do.
    pub fn start(self, config: Config) -> Result<Handle, Error> {
        // If it has ended already, why is waiting in `ready`.
        let _ = self.go.send(config);
        match self.ready.recv() {
            Ok(Ok(())) => Ok(self.handle),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Setup(std::io::Error::other("the pipeline ended while it was starting"))),
        }
    }
}

impl Handle {
    /// For those who send commands.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { commands: self.commands.clone(), wake: Arc::clone(&self.wake) }
    }

    /// How it goes.
    #[must_use]
    pub fn facts(&self) -> Arc<Mutex<Facts>> {
        Arc::clone(&self.facts)
    }

    /// Collects everything, hands it to the record, and ends. False if the pipeline had died of a bug.
    #[must_use]
    pub fn stop(self) -> bool {
        let _ = self.control().send(Command::Stop);
        self.thread.join().is_ok()
    }
}

fn body(
    ring_kib: u32,
    config: &Receiver<Config>,
    inbox: &Receiver<Command>,
    wake: &Arc<EventFd>,
    facts: Arc<Mutex<Facts>>,
    ready: &SyncSender<Result<(), Error>>,
) {
    let engine = match capture::Engine::load(ring_kib) {
        Ok(engine) => engine,
        Err(error) => {
            let _ = ready.send(Err(error.into()));
            return;
        }
    };
    // Nobody waits for it any more if the history could not be opened.
    let Ok(config) = config.recv() else { return };
    match start(engine, config, wake, facts) {
        Ok(Started { engine, mut pipeline, epoll, queue }) => {
            let ring = {
                let queue = Arc::clone(&queue);
                engine.ring(move |bytes| {
                    queue.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
                })
            };
            let ring = match ring {
                Ok(ring) => ring,
                Err(error) => {
                    let _ = ready.send(Err(error.into()));
                    return;
                }
            };
            let descriptor = run::ring_descriptor(&ring);
            let added = epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 0));
            let added = added.and_then(|()| epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 1)));
            if let Err(error) = added {
                let _ = ready.send(Err(Error::Setup(error.into())));
                return;
            }
            let _ = ready.send(Ok(()));
            pipeline.run(&ring, &epoll, &queue, inbox, wake);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

struct Started {
    engine: capture::Engine,
    pipeline: run::Pipeline,
    epoll: Epoll,
    queue: Arc<Mutex<run::Queue>>,
}

fn start(
    mut engine: capture::Engine,
    config: Config,
    wake: &Arc<EventFd>,
    facts: Arc<Mutex<Facts>>,
) -> Result<Started, Error> {
    engine.attach()?;
    facts.lock().unwrap_or_else(PoisonError::into_inner).engine = engine.way.word();
    let slots = engine.slots()?;
    let identify = engine.identify()?;
    let wanted = config.settings.monitor.open_files;
    let open_files = fingerprint::raise_open_files((wanted != 0).then_some(u64::from(wanted)))?;
    let done = Arc::new(Mutex::new(Vec::new()));
    let fingerprint = {
        let (done, wake) = (Arc::clone(&done), Arc::clone(wake));
        let identify: fingerprint::Identify = Arc::new(move |fd| identify.file(fd));
        fingerprint::Fingerprint::start(identify, open_files, move |hash| {
            done.lock().unwrap_or_else(PoisonError::into_inner).push(hash);
            let _ = wake.write(1);
        })?
    };
    let mut degradations = engine.degradations.clone();
    for shortfall in fingerprint.shortfalls() {
        degradations.push(Degradation::NoFanotify(shortfall.to_string()));
    }
    let self_test = match capture::selftest::run(&slots) {
        Ok(()) => Some(true),
        Err(shortfall) => {
            let made = matches!(shortfall, Degradation::SelfTest(_));
            degradations.push(shortfall);
            made.then_some(false)
        }
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(std::io::Error::from)?;
    let pipeline = run::Pipeline::new(config, slots, fingerprint, done, facts, degradations, self_test);
    Ok(Started { engine, pipeline, epoll, queue: Arc::default() })
}
