// SPDX-License-Identifier: GPL-3.0-or-later
//! The loop: keeps the helper alive while there is something for it to do, asks, and takes answers.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use picosnitch_api::Incident;
use picosnitch_relay_wire::{Answer, Ask, MAX_WHY, Tls};

use super::helper::Helper;
use super::rows::Rows;
use super::scans::{Outcome, Scans};
use super::{Backoff, Command, Config, Control, Facts, Tell, copy, locked};
use crate::model::{Scan, Verdict};
use crate::record::Due;
use crate::settings::{Remote, Settings, VirusTotal};

/// Deaths of the helper, one after another with nothing done between, that people are told of.
const DEATHS: u32 = 3;
/// Where distributions keep the certificates that the system trusts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Words of the helper, or of whoever it spoke to: short, on one line, nothing that a terminal obeys.
pub(super) fn stranger(text: &str) -> String {
    picosnitch_api::inert(text).chars().take(MAX_WHY).collect()
}

/// Everything that the thread owns.
pub(super) struct Relay {
    config: Config,
    inbox: Receiver<Command>,
    control: Control,
    facts: Arc<Mutex<Facts>>,
    helper: Option<Helper>,
    restart: Backoff,
    restarts: u64,
    /// Deaths since the last answer.
    deaths: u32,
    /// Whom the helper has been told of.
    told: (bool, bool),
    number: u64,
    rows: Rows,
    scans: Scans,
    copying: Arc<AtomicBool>,
    /// To be told once the verdict is written: whoever asks the history then finds it.
    alarm: Option<([u8; 32], Verdict)>,
}

impl Relay {
    pub(super) fn new(
        config: Config,
        inbox: Receiver<Command>,
        control: Control,
        facts: Arc<Mutex<Facts>>,
    ) -> Self {
        let mut this = Self {
            config,
            inbox,
            control,
            facts,
            helper: None,
            restart: Backoff::new(Duration::from_millis(200), Duration::from_secs(60)),
            restarts: 0,
            deaths: 0,
            told: (false, false),
            number: 0,
            rows: Rows::new(),
            scans: Scans::new(Instant::now()),
            copying: Arc::default(),
            alarm: None,
        };
        this.scans.reset(this.interval());
        // A daemon that is started again and again asks no more often than one that runs.
        let (asked, not_before) = this.config.recorder.reader().scan_pace().unwrap_or_default();
        this.scans.resume(asked, not_before, wall(), Instant::now());
        this
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.settings.virustotal.request_interval_seconds))
    }

    fn wanted(&self) -> (bool, bool) {
        let Settings { remote, virustotal, .. } = &*self.config.settings;
        (!remote.url.is_empty(), !virustotal.api_key.is_empty())
    }

    pub(super) fn run(mut self) {
        loop {
            loop {
                match self.inbox.try_recv() {
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return,
                    Ok(command) => self.command(command),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let wake_at = self.work();
            self.write_facts();
            self.sleep(wake_at);
            self.answers();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Settings(settings) => {
                let before = std::mem::replace(&mut self.config.settings, settings);
                if before.remote != self.config.settings.remote {
                    self.told.0 = false;
                    self.rows.reset();
                }
                if before.virustotal != self.config.settings.virustotal {
                    self.told.1 = false;
                    self.scans.reset(self.interval());
                }
                let (remote, scanner) = self.wanted();
                if !remote {
                    self.rows.error = None;
                }
                if !scanner {
                    self.scans.error = None;
                    self.scans.off();
                }
                // It must not keep secrets that are not in force any more, nor answer for another server.
                if before.remote != self.config.settings.remote
                    || before.virustotal != self.config.settings.virustotal
                {
                    self.dismiss();
                }
            }
            Command::Scan(sha256, answer) => {
                if self.wanted().1 {
                    self.scans.call(sha256, answer, Instant::now());
                } else {
                    let _ = answer.send(Err("there is no scanner: virustotal.api_key is not set".to_owned()));
                }
            }
            Command::Copied(sha256, copy) => {
                let outcome = self.scans.copied(sha256, copy, wall(), Instant::now());
                self.follow(outcome);
            }
            Command::Stop => {}
        }
    }

    /// Ends the helper; what it was asked is asked again.
    fn dismiss(&mut self) {
        self.helper = None;
        self.told = (false, false);
        self.rows.interrupted();
        self.scans.interrupted();
    }

    /// The helper died, hangs or talks nonsense.
    fn lost(&mut self, why: &str) {
        let outcome = self.scans.lost(wall(), Instant::now());
        self.follow(outcome);
        self.dismiss();
        let wait = self.restart.failed(Instant::now(), None);
        self.restarts += 1;
        self.deaths += 1;
        tracing::warn!("picosnitch-relay {why}; it is started again in {} ms", wait.as_millis());
        if self.deaths == DEATHS {
            let message =
                format!("what leaves this machine waits: the helper picosnitch-relay {why}, again and again");
            (self.config.tell)(Tell::Error(Incident::Relay, message));
        }
    }

    /// Starts, asks; when to come again without an event.
    fn work(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.tell_alarm();
        let wanted = self.wanted();
        if wanted == (false, false) {
            if self.helper.is_some() {
                self.dismiss();
            }
            return None;
        }
        if self.rows.overdue(now) || self.scans.overdue(now) {
            self.lost("does not answer");
        }
        let wall = wall();
        if let Some(outcome) = self.scans.give_up_copy(wall, now) {
            self.follow(outcome);
        }
        let due = if wanted.1 { self.due(wall) } else { None };
        let rows = if wanted.0 { self.rows.next(&self.config.recorder, now) } else { None };
        // Each question has a number of its own.
        self.number += 2;
        let number = self.number;
        let scan = if wanted.1 { self.scans.next(due, number + 1, wall, now) } else { None };
        let mut wake_at = None;
        let mut at = |time: Option<Instant>| wake_at = [wake_at, time].into_iter().flatten().min();
        if rows.is_some() || scan.is_some() {
            if let Some(until) = self.restart.wait(now).filter(|_| self.helper.is_none()) {
                at(Some(until));
                return wake_at;
            }
            if let Err(why) = self.ask(rows, scan, number, now) {
                self.lost(&why);
                at(self.restart.wait(now));
                return wake_at;
            }
        }
        if wanted.0 {
            at(self.rows.wake_at(now));
        }
        if wanted.1 {
            at(self.scans.wake_at(due, wall, now));
        }
        wake_at
    }

    /// The content whose turn it is. None while an answer is not written: it would be asked about once more. The
    /// record wakes us when that is done.
    fn due(&mut self, wall: i64) -> Option<Due> {
        let reader = self.config.recorder.reader();
        let (due, count) = reader.scan_due(wall).unwrap_or_default();
        locked(&self.facts).scans = count;
        if !self.config.recorder.scans_written() {
            return None;
        }
        match self.scans.called() {
            Some(sha256) => reader.scan_called(sha256).ok(),
            None => due,
        }
    }

    fn ask(
        &mut self,
        rows: Option<crate::record::Batch>,
        scan: Option<Ask>,
        number: u64,
        now: Instant,
    ) -> Result<(), String> {
        if self.helper.is_none() {
            let helper =
                Helper::start(&self.config.way).map_err(|error| format!("cannot be started ({error})"))?;
            self.helper = Some(helper);
        }
        let Some(helper) = &self.helper else { return Ok(()) };
        let gone = |error: std::io::Error| format!("does not listen ({error})");
        let settings = Arc::clone(&self.config.settings);
        if let Some(batch) = rows {
            if !self.told.0 {
                match database(&settings.remote) {
                    Ok((ask, trusted)) => {
                        helper.ask(&ask, b"", trusted.as_ref().map(|file| file.as_fd())).map_err(gone)?;
                        self.told.0 = true;
                    }
                    Err(why) => {
                        self.rows.asked(number, batch, now);
                        self.take(Answer::Failed { number, why, wait: None, unwanted: false });
                        return Ok(());
                    }
                }
            }
            helper.ask(&Rows::question(number, &batch), &batch.payload, None).map_err(gone)?;
            self.rows.asked(number, batch, now);
        }
        let Some(ask) = scan else { return Ok(()) };
        let Some(helper) = &self.helper else { return Ok(()) };
        if !self.told.1 {
            match scanner(&settings.virustotal) {
                Ok((ask, trusted)) => {
                    helper.ask(&ask, b"", trusted.as_ref().map(|file| file.as_fd())).map_err(gone)?;
                    self.told.1 = true;
                }
                Err(why) => {
                    self.scans.asked(number + 1, now);
                    self.take(Answer::Failed { number: number + 1, why, wait: None, unwanted: false });
                    return Ok(());
                }
            }
        }
        helper.ask(&ask, b"", self.scans.descriptor()).map_err(gone)?;
        self.scans.asked(number + 1, now);
        Ok(())
    }

    fn sleep(&self, until: Option<Instant>) {
        let left =
            until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let mut waiting = vec![PollFd::new(self.control.wake.as_fd(), PollFlags::POLLIN)];
        waiting.extend(self.helper.as_ref().map(|helper| PollFd::new(helper.as_fd(), PollFlags::POLLIN)));
        // Interrupted or not, the loop looks at everything.
        let _ = poll(&mut waiting, timeout);
        let _ = self.control.wake.read();
    }

    fn answers(&mut self) {
        while let Some(helper) = &self.helper {
            match helper.answer() {
                Ok(Some(answer)) => self.take(answer),
                Ok(None) => self.lost("has ended"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::InvalidData => self.lost("talks nonsense"),
                Err(error) => self.lost(&format!("cannot be heard ({error})")),
            }
        }
    }

    fn take(&mut self, answer: Answer) {
        let (now, wall) = (Instant::now(), wall());
        if let Ok(tell) = self.rows.answer(&answer, &self.config.recorder, wall, now) {
            self.alive();
            if let Some((kind, message)) = tell {
                (self.config.tell)(Tell::Error(kind, message));
            }
            return;
        }
        let upload = self.config.settings.virustotal.upload;
        match self.scans.answer(&answer, upload, wall, now) {
            Ok(outcome) => {
                self.alive();
                self.follow(outcome);
            }
            Err(()) => self.lost("talks nonsense"),
        }
    }

    fn alive(&mut self) {
        self.restart.succeeded();
        self.deaths = 0;
    }

    fn follow(&mut self, outcome: Outcome) {
        let Outcome { scan, tell, copy } = outcome;
        let recorder = &self.config.recorder;
        if let Some(scanned) = scan {
            recorder.scanned(scanned);
            if let Scan::Verdict(verdict) = scanned.scan
                && verdict.alarms()
            {
                self.alarm = Some((scanned.sha256, verdict));
            }
            // The answer is in the record before the record is asked again, if it can be written.
            recorder.flush();
        }
        if let Some(message) = tell {
            (self.config.tell)(Tell::Error(Incident::Scanner, message));
        }
        if let Some(sha256) = copy {
            let Ok(places) = recorder.reader().places(&sha256) else { return self.no_copy(sha256) };
            let (control, copying) = (self.control.clone(), Arc::clone(&self.copying));
            // A path may lead to a file server that never answers: nobody but this thread waits for that, and
            // there is no second one.
            let busy = copying.swap(true, Ordering::SeqCst);
            let thread = std::thread::Builder::new().name("relay-copy".to_owned()).spawn(move || {
                if !busy {
                    let copy = copy::sealed(&sha256, &places);
                    copying.store(false, Ordering::SeqCst);
                    control.send(Command::Copied(sha256, copy));
                }
            });
            if thread.is_err() && !busy {
                self.copying.store(false, Ordering::SeqCst);
            }
            if busy || thread.is_err() {
                return self.no_copy(sha256);
            }
        }
        self.tell_alarm();
    }

    fn no_copy(&mut self, sha256: [u8; 32]) {
        let outcome = self.scans.copied(sha256, Err(copy::Refusal::Failed), wall(), Instant::now());
        self.follow(outcome);
    }

    fn tell_alarm(&mut self) {
        let recorder = &self.config.recorder;
        if self.alarm.is_none() || !recorder.scans_written() {
            return;
        }
        let Some((sha256, verdict)) = self.alarm.take() else { return };
        for suspect in recorder.reader().suspects(&sha256).unwrap_or_default() {
            (self.config.tell)(Tell::Alarm(suspect, verdict));
        }
    }

    fn write_facts(&self) {
        let mut facts = locked(&self.facts);
        (facts.remote, facts.scanner) = self.wanted();
        facts.sent = self.rows.sent;
        facts.refused = self.rows.refused;
        facts.sent_last = self.rows.last;
        facts.remote_error.clone_from(&self.rows.error);
        facts.scan_last = self.scans.last;
        facts.scan_error.clone_from(&self.scans.error);
        facts.restarts = self.restarts;
    }
}

/// µs since the epoch.
fn wall() -> i64 {
    crate::pipeline::clock::Now::read().wall
}

/// What the helper is told of a database, with the certificates to trust.
fn database(remote: &Remote) -> Result<(Ask, Option<OwnedFd>), String> {
    let trusted =
        if remote.tls == Tls::Off { None } else { certificates("remote.ca_file", &remote.ca_file)? };
    let host = if remote.host_name.is_empty() {
        nix::unistd::gethostname().map(|name| stranger(&name.to_string_lossy())).unwrap_or_default()
    } else {
        remote.host_name.clone()
    };
    let Remote { url, table, tls, .. } = remote.clone();
    Ok((Ask::Database { url, table, tls, host }, trusted))
}

/// What the helper is told of a scanner, with the certificates to trust.
fn scanner(virustotal: &VirusTotal) -> Result<(Ask, Option<OwnedFd>), String> {
    let VirusTotal { api_key, url, ca_file, .. } = virustotal;
    let trusted = certificates("virustotal.ca_file", ca_file)?;
    Ok((Ask::Scanner { url: url.trim_end_matches('/').to_owned(), key: api_key.clone() }, trusted))
}

/// The file that the settings name, or that of the system; without one nobody is trusted.
fn certificates(key: &str, path: &str) -> Result<Option<OwnedFd>, String> {
    if path.is_empty() {
        return Ok(SYSTEM.iter().find_map(|path| File::open(path).ok()).map(OwnedFd::from));
    }
    // A FIFO in its place would never open.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    match file.and_then(|file| Ok((file.metadata()?.is_file(), file))) {
        Ok((true, file)) => Ok(Some(file.into())),
        Ok((false, _)) => Err(format!("{key}: {path} is not a regular file")),
        Err(error) => Err(format!("{key}: {path} cannot be read: {error}")),
    }
}
