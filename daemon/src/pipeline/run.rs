// SPDX-License-Identifier: GPL-3.0-or-later
//! The loop of the pipeline.

// Borrowing the descriptor of libbpf's ring for epoll is all that is unsafe here.
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::RingBuffer;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::eventfd::EventFd;
use picosnitch_api::Incident;

use super::clock::Now;
use super::flows::{Flows, Opening};
use super::gap;
use super::ignore::Ignored;
use super::losses::{Losses, Totals};
use super::{Command, Config, Facts, Tell};
use crate::accounts::{Accounts, Renewal};
use crate::capture::{Degradation, Lost, Slots};
use crate::decode::{self, Event, Exec, Flow, SlotRef};
use crate::enrich::{self, Enrich};
use crate::fingerprint::{Done, Fingerprint};
use crate::judge::{Judge, Moment, Output};
use crate::memory;
use crate::model::{Bytes, Connection, Contact, Direction, Hash, NoticeKind, Process, ProcessId, Protocol};
use crate::record::{self, Recorder};
use crate::settings::Settings;

/// Events taken from the ring at once; between two helpings commands and hashes get their turn.
const HELPING: usize = 512;
/// Rows that wait for the next collection at the most; then they are handed over early.
const MANY_ROWS: usize = 2048;
/// Processes whose flows are known to be alike within one helping.
const ALIKE: usize = 4;
/// Processes whose program was judged already.
const JUDGED: usize = 16 * 1024;
/// How long the end waits for hashes of programs that are not announced yet.
const LAST_MOMENT: Duration = Duration::from_millis(400);
/// Clock jumps below this are corrections, µs.
const JUMP: i64 = 2_000_000;

/// Events between the callback of the ring and the loop.
#[derive(Debug, Default)]
pub struct Queue {
    events: VecDeque<Event>,
    /// Messages that could not be decoded: a bug of ours.
    strange: u64,
}

impl Queue {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match decode::event(bytes) {
            Some(event) => self.events.push_back(event),
            None => self.strange += 1,
        }
    }
}

/// The descriptor that becomes readable when the ring has events.
pub(super) fn ring_descriptor<'a>(ring: &'a RingBuffer<'_>) -> BorrowedFd<'a> {
    // SAFETY: libbpf keeps this descriptor open as long as the ring lives, and the borrow says so.
    unsafe { BorrowedFd::borrow_raw(ring.epoll_fd()) }
}

/// Who opened a flow of this helping, and what that was found to be.
struct Seen {
    process: Process,
    parent: Option<Process>,
    grandparent: Option<Process>,
    cgroup: u64,
    subject: enrich::Subject,
}

/// Everything that the thread owns.
pub(super) struct Pipeline {
    pub(super) flows: Flows,
    enrich: Enrich,
    fingerprint: Arc<Fingerprint>,
    pub(super) judge: Judge,
    recorder: Recorder,
    tell: Box<dyn Fn(Tell) -> bool + Send>,
    settings: Arc<Settings>,
    ignored: Ignored,
    done: Arc<Mutex<Vec<Done>>>,
    facts: Arc<Mutex<Facts>>,
    degradations: Vec<Degradation>,
    self_test: Option<bool>,
    judged: HashMap<ProcessId, Hash>,
    /// Our process id: to ask for it is a system call.
    own: u32,
    seen: VecDeque<Seen>,
    lost: Lost,
    execs_lost: u64,
    strange: u64,
    unsignalled: u64,
    losses: Losses,
    opened: u64,
    renewal: Renewal,
    live_since: Now,
    pub(super) last: Now,
    next: Instant,
    /// Nothing is recorded until then.
    pub(super) paused: Option<Instant>,
    /// Rows since the last collection, and whether there were so many that memory is to be given back.
    rows: usize,
    burst: bool,
}

impl Pipeline {
    pub(super) fn new(
        config: Config,
        slots: Slots,
        fingerprint: Fingerprint,
        done: Arc<Mutex<Vec<Done>>>,
        facts: Arc<Mutex<Facts>>,
        degradations: Vec<Degradation>,
        self_test: Option<bool>,
    ) -> Pipeline {
        let Config { settings, known, recorder, tell } = config;
        let now = Now::read();
        let last = known.last;
        let accounts = Accounts::load();
        let renewal = Renewal::of(&accounts);
        let fingerprint = Arc::new(fingerprint);
        let mut this = Pipeline {
            flows: Flows::new(slots, &known.open_flows),
            enrich: Enrich::new(Arc::clone(&fingerprint)),
            fingerprint,
            judge: Judge::new(known, accounts),
            recorder,
            tell,
            ignored: Ignored::new(&settings.log.ignore),
            next: Instant::now() + interval(&settings),
            settings,
            done,
            facts,
            degradations,
            self_test,
            judged: HashMap::new(),
            own: std::process::id(),
            seen: VecDeque::new(),
            lost: Lost::default(),
            execs_lost: 0,
            strange: 0,
            unsignalled: 0,
            losses: Losses::default(),
            opened: 0,
            renewal,
            live_since: now,
            last: now,
            paused: None,
            rows: 0,
            burst: false,
        };
        this.write_facts();
        (this.tell)(Tell::Degraded(this.degradations.clone()));
        for degradation in &this.degradations {
            tracing::warn!("{degradation}");
        }
        let booted = this.live_since.wall_of(0);
        if let Some(sentence) = last.and_then(|last| gap::sentence(&last, booted, this.live_since.wall)) {
            this.error(Incident::Gap, sentence);
        }
        this
    }

    /// Runs until [`Command::Stop`].
    pub(super) fn run(
        &mut self,
        ring: &RingBuffer<'_>,
        epoll: &Epoll,
        queue: &Mutex<Queue>,
        inbox: &Receiver<Command>,
        wake: &EventFd,
    ) {
        loop {
            let mut ready = [EpollEvent::empty(); 2];
            let timeout = EpollTimeout::try_from(self.patience()).unwrap_or(EpollTimeout::ZERO);
            if let Err(error) = epoll.wait(&mut ready, timeout)
                && error != nix::errno::Errno::EINTR
            {
                // Our own descriptors; going on without them would be half alive.
                panic!("epoll: {error}");
            }
            let _ = wake.read();
            loop {
                let taken = ring.consume_raw_n(HELPING);
                self.events(queue);
                self.hashes();
                self.flows.slots().hand_back();
                if usize::try_from(taken).unwrap_or(0) < HELPING {
                    break;
                }
            }
            let now = Now::read();
            let outputs = self.judge.tick(now.moment());
            self.say(outputs);
            while let Ok(command) = inbox.try_recv() {
                match command {
                    Command::Stop => {
                        self.stop(ring, queue);
                        return;
                    }
                    command => self.command(command),
                }
            }
            if self.paused.is_some_and(|until| Instant::now() >= until) {
                self.resume(None);
            } else if Instant::now() >= self.next {
                self.collect();
            } else if self.flows.ready() >= MANY_ROWS {
                self.hand_over(now.wall, None);
            } else if self.flows.deadline().is_some_and(|at| at <= Instant::now()) {
                self.flows.overdue();
                let open = self.flows.open_now();
                // What open flows moved since the last collection is not in it.
                self.hand_over(self.last.wall, open);
                self.recorder.commit();
            }
        }
    }

    /// How long to sleep: until the next collection, until a row has waited for its hash for long enough, or until
    /// the judge's next deadline.
    fn patience(&self) -> Duration {
        let next = self.flows.deadline().map_or(self.next, |at| at.min(self.next));
        let next = self.paused.map_or(next, |until| until.min(next));
        let mut patience = next.saturating_duration_since(Instant::now());
        if let Some(deadline) = self.judge.deadline() {
            let left = deadline.saturating_sub(Now::read().moment().monotonic);
            patience = patience.min(Duration::from_micros(u64::try_from(left).unwrap_or(0)));
        }
        // Rounded up: waking a moment early would only mean to wake again.
        patience + Duration::from_millis(1)
    }

    fn events(&mut self, queue: &Mutex<Queue>) {
        let (events, strange) = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut queue.events), queue.strange)
        };
        if strange > self.strange {
            tracing::error!("{} messages of the kernel side could not be decoded", strange - self.strange);
            self.strange = strange;
        }
        if events.is_empty() {
            return;
        }
        let now = Now::read();
        let instant = Instant::now();
        self.seen.clear();
        for event in events {
            match event {
                Event::Flow(at) => self.open(at, &now, instant),
                Event::FlowEnd(at) => {
                    // Its opening may not have been told.
                    self.open(at, &now, instant);
                    self.flows.close(at, self.last.wall);
                }
                Event::Fork { child, parent } => self.enrich.fork(parent, child),
                Event::Exec(exec) => self.exec(&exec, &now, instant),
                Event::Exit { tgid, start } => {
                    if self.flows.has_packet_sockets() {
                        self.flows.exited(tgid, start);
                    }
                    self.enrich.exit(tgid, start, instant);
                }
                Event::Dns { asker, payload, .. } => {
                    let asker = self.asker(asker);
                    self.enrich.names.dns(asker, &payload, instant);
                }
                Event::Name { asker, node, addresses, .. } => {
                    let asker = self.asker(asker);
                    self.enrich.names.resolved(asker, &node, &addresses, instant);
                }
            }
        }
    }

    fn open(&mut self, at: SlotRef, now: &Now, instant: Instant) {
        if self.flows.knows(at) {
            return;
        }
        let Some(mut flow) = self.flows.read(at) else { return };
        let before = self.flows.before(&flow);
        flow.direction = before.unwrap_or(flow.direction);
        let hidden = flow.process.id.tgid == self.own
            && flow.opened < u64::try_from(self.live_since.boot).unwrap_or(0);
        let subject = self.who(&flow);
        let domain = flow.remote.and_then(|address| {
            let (id, network, uid) = (flow.process.id, flow.network, flow.process.uid);
            let asker = self.asker(decode::Asker { network, tgid: id.tgid, start: id.start, uid });
            self.enrich.names.lookup(asker, address, instant)
        });
        if !hidden {
            self.opened += 1;
            let contact = || Contact {
                who: subject.who.clone(),
                file: subject.file,
                deleted: false,
                remote: flow.remote,
                remote_port: flow.remote_port,
                local_port: flow.local_port.filter(|_| flow.direction == Direction::In),
                protocol: flow.protocol,
                direction: Some(flow.direction),
                domain: domain.clone(),
            };
            self.judge_once(flow.process.id, &subject, contact, now);
        }
        let interface = flow.ifindex.and_then(interface_name);
        let opened = now.wall_of(flow.opened);
        self.flows.open(
            at,
            flow,
            Opening { subject, domain, interface, opened, hidden, counted: before.is_some() },
        );
    }

    fn asker(&self, asker: decode::Asker) -> enrich::Asker {
        let decode::Asker { network, tgid, start, uid } = asker;
        enrich::Asker { process: (tgid, start), network, owner: self.judge.owner(uid) }
    }

    /// Who opened a flow. A process that opens thousands of them is looked up once in a helping: all of it
    /// happened before the look, so that a change of its program would have been seen by it.
    fn who(&mut self, flow: &Flow) -> enrich::Subject {
        let alike = self.seen.iter().find(|seen| {
            seen.process == flow.process
                && seen.parent == flow.parent
                && seen.grandparent == flow.grandparent
                && seen.cgroup == flow.cgroup
        });
        if let Some(seen) = alike {
            return seen.subject.clone();
        }
        let subject =
            self.enrich.who(&flow.process, flow.parent.as_ref(), flow.grandparent.as_ref(), flow.cgroup);
        if subject.settled() {
            self.seen.truncate(ALIKE - 1);
            self.seen.push_front(Seen {
                process: flow.process.clone(),
                parent: flow.parent.clone(),
                grandparent: flow.grandparent.clone(),
                cgroup: flow.cgroup,
                subject: subject.clone(),
            });
        }
        subject
    }

    /// Each process is judged once, and again when its content turns out to be another.
    pub(super) fn judge_once(
        &mut self,
        id: ProcessId,
        subject: &enrich::Subject,
        contact: impl FnOnce() -> Contact,
        now: &Now,
    ) {
        if self.paused.is_some() {
            return;
        }
        let hash = subject.who.program.hash;
        if self.judged.get(&id) == Some(&hash) {
            return;
        }
        if self.judged.len() >= JUDGED {
            self.judged.clear();
        }
        self.judged.insert(id, hash);
        let outputs = self.judge.observe(contact(), now.moment());
        self.say(outputs);
    }

    fn exec(&mut self, exec: &Exec, now: &Now, instant: Instant) {
        let told = enrich::Exec {
            process: &exec.process,
            cgroup: exec.cgroup,
            file: &exec.file,
            called: &exec.called,
            argv: &exec.argv,
        };
        self.enrich.exec(told, instant);
        if !self.settings.monitor.every_executable {
            return;
        }
        let subject =
            self.enrich.who(&exec.process, exec.parent.as_ref(), exec.grandparent.as_ref(), exec.cgroup);
        let contact = || Contact {
            who: subject.who.clone(),
            file: subject.file,
            deleted: false,
            remote: None,
            remote_port: None,
            local_port: None,
            protocol: Protocol::Exec,
            direction: None,
            domain: None,
        };
        self.judge_once(exec.process.id, &subject, contact, now);
        self.flows.executed(subject, now.wall_of(exec.time));
    }

    fn hashes(&mut self) {
        let done = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        if done.is_empty() {
            return;
        }
        let now = Now::read();
        for Done { file, hash } in done {
            self.flows.settle(file, hash);
            let outputs = self.judge.hash(file, hash, now.moment());
            self.say(outputs);
        }
    }

    pub(super) fn say(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Notice(mut notice) => {
                    if let NoticeKind::NewExecutable(contact) | NoticeKind::HashChanged { contact, .. } =
                        &mut notice.kind
                    {
                        // Not before: a program that removes itself is there when it starts.
                        contact.deleted = self.enrich.deleted(contact.file, contact.who.pid);
                    }
                    // The record first: who hears the signal may ask for the event at once.
                    self.recorder.notice(notice.clone());
                    if !(self.tell)(Tell::Notice(notice)) {
                        self.unsignalled += 1;
                    }
                }
                Output::Completed { notice, hash, old } => self.recorder.hash_known(notice, hash, old),
            }
        }
    }

    fn error(&mut self, kind: Incident, message: String) {
        tracing::warn!("{kind}: {message}");
        let notice = self.judge.error(kind, message, Now::read().moment());
        self.say(notice.map(Output::Notice).into_iter().collect());
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Pause(time, uid) => self.pause(time, uid),
            Command::Resume(uid) => self.resume(Some(uid)),
            Command::Settings(settings) => {
                self.ignored = Ignored::new(&settings.log.ignore);
                self.recorder.reconfigure(record_settings(&settings));
                self.next = self.next.min(Instant::now() + interval(&settings));
                self.settings = settings;
            }
            Command::Error(kind, message) => {
                self.storage(kind, &message);
                self.error(kind, message);
            }
            Command::Verdict(suspect, verdict) => {
                let notice = self.judge.verdict(suspect, verdict, Now::read().moment());
                self.say(vec![Output::Notice(notice)]);
            }
            Command::Unsignalled(number) => self.unsignalled += number,
            Command::Stop => {}
        }
    }

    /// Trouble with the history is a degradation for as long as it lasts.
    fn storage(&mut self, kind: Incident, message: &str) {
        if !matches!(kind, Incident::Storage | Incident::StorageRecovered | Incident::StorageDamaged) {
            return;
        }
        self.degradations.retain(|known| !matches!(known, Degradation::Storage(_)));
        if kind == Incident::Storage {
            self.degradations.push(Degradation::Storage(message.to_owned()));
        }
        self.write_facts();
        (self.tell)(Tell::Degraded(self.degradations.clone()));
    }

    /// Reads all counters, hands rows over, and looks for losses.
    pub(super) fn collect(&mut self) {
        let now = Now::read();
        if let Some(accounts) = self.renewal.renewed() {
            self.judge.accounts(accounts);
        }
        for key in self.recorder.forgotten() {
            self.judge.forget(&key);
        }
        let lost = self.flows.slots().lost().unwrap_or(self.lost);
        if lost.hints > self.lost.hints {
            let instant = Instant::now();
            self.seen.clear();
            for at in self.flows.untold() {
                self.open(at, &now, instant);
            }
        }
        self.flows.collect(self.last.wall);
        self.flows.slots().hand_back();
        let open = if self.paused.is_some() { None } else { self.flows.open_now() };
        self.hand_over(now.wall, open);
        self.recorder.commit();
        self.report_lost(lost, false);
        self.report_clock(&now);
        self.last = now;
        let rows = std::mem::take(&mut self.rows);
        if rows >= MANY_ROWS {
            self.burst = true;
        } else if std::mem::take(&mut self.burst) {
            self.flows.shrink();
            memory::give_back();
        }
        self.next = Instant::now() + interval(&self.settings);
        self.write_facts();
    }

    /// `open`: see [`Flows::open_now`]; with the rows that it counts on.
    fn hand_over(&mut self, through: i64, open: Option<Vec<u64>>) {
        let rows = self.flows.take_rows();
        self.rows += rows.len();
        self.submit(rows, through, open);
    }

    fn submit(&mut self, mut rows: Vec<Connection>, through: i64, open: Option<Vec<u64>>) {
        if rows.is_empty() && open.is_none() {
            return;
        }
        if !self.settings.monitor.bandwidth {
            for row in &mut rows {
                (row.sent, row.received) = (0, 0);
            }
            rows.retain(|row| row.connections > 0);
        }
        let (ignored, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| self.ignored.matches(row));
        for row in ignored {
            self.recorder.seen(&row.who, row.time);
        }
        self.recorder.submit_through(rows, through, open);
    }

    /// Tells what was lost since it was told last; `all` of it, or what may be told now.
    fn report_lost(&mut self, lost: Lost, all: bool) {
        self.lost = lost;
        let (rows, row_bytes) = self.recorder.lost();
        let (remote, verdicts) = self.recorder.not_sent();
        let totals = Totals {
            kernel: lost,
            files: self.fingerprint.counts(),
            judge: self.judge.dropped(),
            forgotten: self.enrich.evicted(),
            unhashed: self.flows.hashes_given_up(),
            unanswered: self.enrich.unanswered(),
            strange: self.strange,
            unsignalled: self.unsignalled,
            rows,
            row_bytes,
            remote,
            verdicts,
        };
        self.execs_lost = totals.files.execs_lost;
        // Before it is told: who hears of it asks for the state.
        self.write_facts();
        let now = Now::read().moment();
        let judge = &self.judge;
        for (kind, message) in self.losses.due(&totals, |kind| all || judge.may_tell(kind, now)) {
            tracing::warn!("{kind}: {message}");
            let notice = self.judge.loss(kind, message, now);
            self.say(vec![Output::Notice(notice)]);
        }
    }

    fn report_clock(&mut self, now: &Now) {
        let slept = now.slept_since(&self.last);
        if slept > JUMP {
            tracing::info!("the machine slept for {} s", slept / 1_000_000);
        }
        let stepped = now.stepped_since(&self.last);
        if stepped.abs() > JUMP {
            let seconds = stepped.abs() / 1_000_000;
            let way = if stepped > 0 { "forwards" } else { "backwards" };
            self.error(
                Incident::Clock,
                format!("the clock of this machine was set {way} by {seconds} s: times in the history jump"),
            );
        }
    }

    pub(super) fn write_facts(&self) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        *facts = Facts {
            engine: facts.engine,
            since: self.live_since.wall,
            live_flows: self.flows.count() as u64,
            flows: self.opened,
            lost: self.lost,
            execs_lost: self.execs_lost,
            paused_until: match self.paused {
                None => 0,
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now()).as_micros();
                    Now::read().wall.saturating_add(i64::try_from(left).unwrap_or(i64::MAX))
                }
            },
            degradations: self.degradations.clone(),
            self_test: self.self_test,
        };
    }

    fn stop(&mut self, ring: &RingBuffer<'_>, queue: &Mutex<Queue>) {
        ring.consume_raw();
        self.events(queue);
        // News that waits for its hash gets a last moment, and goes out without one then: the next run would
        // know the program and say nothing.
        let until = Instant::now() + LAST_MOMENT;
        self.hashes();
        while self.judge.deadline().is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            self.hashes();
        }
        let outputs = self.judge.tick(Moment { wall: Now::read().wall, monotonic: i64::MAX });
        self.say(outputs);
        self.collect();
        let rows = self.flows.take_everything();
        let open = self.flows.open_now();
        self.submit(rows, self.last.wall, open);
        self.report_lost(self.lost, true);
    }
}

fn interval(settings: &Settings) -> Duration {
    Duration::from_secs(u64::from(settings.database.write_interval_seconds.max(1)))
}

/// What `record` needs of the settings.
#[must_use]
pub fn record_settings(settings: &Settings) -> record::Settings {
    record::Settings {
        enabled: settings.database.enabled,
        write_interval: interval(settings),
        detail_days: settings.database.detail_days,
        retention_days: settings.database.retention_days,
        log_connections: settings.log.connections,
        addresses: settings.log.addresses,
        commands: settings.log.commands,
        ports: settings.log.ports,
        outbox: if settings.remote.url.is_empty() { 0 } else { u64::from(settings.remote.outbox_mib) << 20 },
        verdicts: !settings.virustotal.api_key.is_empty(),
    }
}

fn interface_name(index: u32) -> Option<Bytes> {
    let name = nix::net::if_::if_indextoname(index).ok()?;
    Some(Bytes::from(name.to_bytes()))
}
