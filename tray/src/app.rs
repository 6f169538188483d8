// SPDX-License-Identifier: GPL-3.0-or-later
//! The loop: what the monitor says, what is clicked and what is due, one after the other.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use picosnitch_api::listen::{Event, Listener};
use picosnitch_api::row::Event as Notice;
use picosnitch_api::state::{Effect, Input, State};
use picosnitch_api::{Client, People, Quiet, inert};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zbus::export::ordered_stream::OrderedStreamExt as _;

use crate::Message;
use crate::fetch::{self, Details, Fetched};
use crate::panel::Panel;
use crate::policy::{Action, Policy, Target, Toast};
use crate::status::{Click, Status};
use crate::toast::{Answer, Toaster};
use crate::told::{self, Told};
use crate::{tomorrow, window};

const SECOND: i64 = 1_000_000;
/// Rates older than this say nothing about now.
const RATES_HOLD: i64 = 30 * SECOND;
/// How often another client's marks are looked for, while there are unread notices.
const RECOUNT: i64 = 30 * SECOND;
/// The same while it is not certain that nothing was missed.
const SETTLE: i64 = 2 * SECOND;
/// Wait before what could not be shown is tried again; then twice as long, and so on.
const AGAIN: (i64, i64) = (20 * SECOND, 3600 * SECOND);
/// Numbers of notices that could not be shown.
const MAX_UNSHOWN: usize = 1000;
/// Programs in the menu.
const PROGRAMS: usize = 6;
/// Wait before the system bus is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// µs since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

struct App {
    state: State,
    policy: Policy,
    people: People,
    toaster: Toaster,
    client: Option<Client>,
    panel: Panel,
    messages: mpsc::Sender<Message>,
    details: Details,
    quiet_file: Option<PathBuf>,
    quiet_read: Option<SystemTime>,
    rated: i64,
    rates: Option<(u64, u64)>,
    recounted: i64,
    refused: Option<String>,
    /// Of these more is asked for before they are told.
    asking: BTreeSet<i64>,
    /// These were handed over to be shown.
    showing: BTreeSet<i64>,
    /// These could not be shown.
    unshown: BTreeSet<i64>,
    /// When that is tried again, µs since the epoch, and how long to wait then.
    again: Option<(i64, i64)>,
    /// What was saved last.
    told: Option<Told>,
    /// When the monitor was found, µs since the epoch: what came since then nobody missed.
    here_since: i64,
    /// Since when signals come for certain; what came before it may be in no signal and in no page.
    heard_since: Option<Instant>,
    /// A page that was asked for since then has come.
    settled: bool,
}

/// Runs until the person quits, a signal ends it or the session's bus goes.
///
/// # Errors
/// When there is no session bus.
pub async fn run(announce_at_once: bool) -> anyhow::Result<()> {
    let session = zbus::Connection::session().await.context(
        "there is no session bus; a tray lives in a desktop session (dbus-run-session starts one)",
    )?;
    let only = zbus::fdo::RequestNameFlags::DoNotQueue.into();
    if session.request_name_with_flags("org.picosnitch.Tray", only).await.is_err() {
        anyhow::bail!("it runs already in this session");
    }
    let rule = zbus::MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.DBus")?
        .member("NameOwnerChanged")?
        .add_arg("org.freedesktop.Notifications")?
        .build();
    let mut servers = zbus::MessageStream::for_match_rule(rule, &session, Some(8)).await?;
    let (messages, mut inbox) = mpsc::channel(64);
    let mut app = App {
        state: State::default(),
        policy: Policy::new(Quiet::default(), announce_at_once),
        people: People::load(),
        toaster: Toaster::start(&session, messages.clone()).await?,
        client: None,
        panel: Panel::start(Status::new(messages.clone())),
        details: Details::new(messages.clone()),
        messages,
        quiet_file: Quiet::file(),
        quiet_read: None,
        rated: now(),
        rates: None,
        recounted: 0,
        refused: None,
        asking: BTreeSet::new(),
        showing: BTreeSet::new(),
        unshown: BTreeSet::new(),
        again: None,
        told: None,
        here_since: i64::MAX,
        heard_since: None,
        settled: false,
    };
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut listener = app.connect().await;
    loop {
        let due = app.due();
        tokio::select! {
            event = next(&mut listener) => match event {
                Some(event) => app.event(event),
                None => {
                    listener = None;
                    app.client = None;
                    app.event(Event::Gone);
                }
            },
            () = tokio::time::sleep(RETRY), if listener.is_none() => listener = app.connect().await,
            Some(message) = inbox.recv() => if app.message(message) { break },
            () = until(due), if due.is_some() => app.tick(),
            server = servers.next() => match server {
                Some(Ok(message)) => app.server(&message),
                Some(Err(_)) => {}
                None => break,
            },
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            _ = hung_up.recv() => break,
        }
        app.draw();
    }
    app.save_told();
    app.panel.end().await;
    Ok(())
}

async fn next(listener: &mut Option<Listener>) -> Option<Event> {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<i64>) {
    let wait = due.map_or(0, |due| (due - now()).max(0));
    tokio::time::sleep(Duration::from_micros(wait.unsigned_abs())).await;
}

impl App {
    /// The system bus, if it is there.
    async fn connect(&mut self) -> Option<Listener> {
        let listener = Listener::connect().await.ok()?;
        self.client = Some(Client::connect().await.ok()?);
        Some(listener)
    }

    /// When something is to be done by itself.
    fn due(&self) -> Option<i64> {
        let fade = self.rates.map(|_| self.rated + RATES_HOLD);
        let again = self.again.map(|(at, _)| at).filter(|_| !self.unshown.is_empty());
        [self.policy.due(), fade, again, self.policy.paused_until(now())].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = now();
        self.clock(now);
        if self.rated + RATES_HOLD <= now {
            self.rates = None;
        }
        if self.again.is_some_and(|(at, _)| at <= now) {
            self.show_again();
        }
        let toasts = self.policy.tick(now, &|uid| self.people.name(uid));
        self.show(toasts);
    }

    /// A clock that was set back must not put anything off for as long as it was wrong.
    fn clock(&mut self, now: i64) {
        self.rated = self.rated.min(now);
        self.recounted = self.recounted.min(now);
        self.again = self.again.map(|(at, wait)| (at.min(now + wait), wait));
    }

    fn event(&mut self, event: Event) {
        self.clock(now());
        match &event {
            Event::Appeared => {
                self.refused = None;
                self.here_since = now();
                self.heard_since = None;
                self.settled = false;
            }
            Event::Recorded(through) => self.recorded(*through),
            Event::Refused(why) => self.refused = Some(why.clone()),
            Event::Gone => self.rates = None,
            _ => {}
        }
        self.apply(Input::Event(event));
    }

    fn recorded(&mut self, through: i64) {
        let Some(client) = self.client.clone() else { return };
        if through - self.rated >= SECOND {
            let since = self.rated.max(through - RATES_HOLD);
            self.rated = through;
            fetch::rates(client, since, through, self.messages.clone());
        }
        // Only who may watch is told this, so that signals have come for certain since now at the latest. They are
        // asked for later than the first page, and permission may take its time.
        let first = self.heard_since.is_none();
        self.heard_since = self.heard_since.or_else(|| Some(Instant::now()));
        let waited = now() - self.recounted;
        let unread = self.state.unread().len() > 0 && waited >= RECOUNT;
        if first || unread || (!self.settled && waited >= SETTLE) {
            self.recount();
        }
    }

    fn recount(&mut self) {
        if let Some(client) = &self.client {
            self.recounted = now();
            fetch::notices(client.clone(), self.messages.clone());
        }
    }

    fn apply(&mut self, input: Input) {
        let caught_up = self.state.caught_up();
        for effect in self.state.apply(input) {
            match (effect, &self.client) {
                (Effect::Refresh, Some(client)) => {
                    fetch::everything(client.clone(), self.messages.clone());
                }
                (Effect::RefreshStatus, Some(client)) => {
                    fetch::status(client.clone(), self.messages.clone());
                }
                (Effect::Notify(notice), Some(client)) => {
                    self.asking.extend(notice.id);
                    if let Some(notice) = self.details.ask(client.clone(), notice) {
                        self.tell(*notice);
                    }
                }
                (Effect::Notify(notice), None) => self.tell(*notice),
                // A page that was asked for later may be faster than the signal.
                (Effect::Waiting(fresh), _) if caught_up => {
                    for row in self.rows(&fresh).into_iter().rev() {
                        self.tell(row);
                    }
                }
                (Effect::Waiting(fresh), _) => self.found(&fresh),
                (Effect::Refresh | Effect::RefreshStatus, None) => {}
            }
        }
    }

    fn tell(&mut self, notice: picosnitch_api::row::Event) {
        self.read_quiet();
        if let Some(id) = notice.id {
            self.asking.remove(&id);
        }
        let toasts = self.policy.notice(notice, now(), &|uid| self.people.name(uid));
        self.show(toasts);
    }

    /// The unread notices of these numbers, newest first.
    fn rows(&self, numbers: &[i64]) -> Vec<Notice> {
        let of = |row: &&Notice| row.id.is_some_and(|id| numbers.contains(&id));
        self.state.unread().filter(of).cloned().collect()
    }

    /// The first page is there.
    fn found(&mut self, fresh: &[i64]) {
        let told = self.told.map_or(0, |told| told.number);
        let rows = self.rows(fresh).into_iter().filter(|row| row.id > Some(told)).collect();
        self.read_quiet();
        let more = usize::try_from(self.state.more_unread()).unwrap_or(usize::MAX);
        let toasts = self.policy.found(rows, more, self.here_since, now(), &|uid| self.people.name(uid));
        self.show(toasts);
        self.save_told();
    }

    /// Everything up to the newest that is known was told, but for what is on its way.
    fn save_told(&mut self) {
        if !self.state.caught_up() {
            return;
        }
        let rows = || self.state.unread().chain(self.state.programs());
        let on_the_way = [&self.asking, &self.showing, &self.unshown].into_iter().flatten().copied();
        let first = on_the_way.chain(self.policy.waiting_from()).min().unwrap_or(i64::MAX);
        let Some(number) = rows().filter_map(|row| row.id).max().map(|newest| newest.min(first - 1)) else {
            return;
        };
        let time = rows().find(|row| row.id == Some(number)).and_then(|row| row.time);
        let time = time.or_else(|| self.told.filter(|told| told.number == number)?.time);
        let told = Some(Told { number, time });
        if self.told != told {
            self.told = told;
            told.into_iter().for_each(told::save);
        }
    }

    /// The window may have changed the file.
    fn read_quiet(&mut self) {
        let Some(file) = &self.quiet_file else { return };
        let changed = std::fs::metadata(file).and_then(|about| about.modified()).ok();
        if changed == self.quiet_read {
            return;
        }
        match Quiet::load(file) {
            Ok(quiet) => {
                self.quiet_read = changed;
                self.policy.set_quiet(quiet);
            }
            Err(error) => eprintln!("picosnitch-tray: cannot read {}: {error}", file.display()),
        }
    }

    fn change_quiet(&mut self, change: impl FnOnce(&mut Quiet)) {
        let Some(file) = &self.quiet_file else { return };
        let saved = Quiet::load(file).and_then(|mut quiet| {
            change(&mut quiet);
            quiet.save(file)
        });
        if let Err(error) = saved {
            eprintln!("picosnitch-tray: cannot write {}: {error}", file.display());
        }
        self.read_quiet();
    }

    fn show(&mut self, toasts: Vec<Toast>) {
        for toast in toasts {
            self.showing.extend(&toast.events);
            self.toaster.show(toast);
        }
    }

    /// What became of a toast about these.
    fn shown(&mut self, events: &[i64], outcome: Result<(), String>) {
        for event in events {
            self.showing.remove(event);
            self.unshown.remove(event);
        }
        match outcome {
            Ok(()) => self.again = self.again.filter(|_| !self.unshown.is_empty()),
            Err(why) => {
                if self.again.is_none() {
                    eprintln!("picosnitch-tray: no notification could be shown: {why}");
                }
                // They wait in the timeline, and are told when there is somebody who shows them.
                self.unshown.extend(events);
                while self.unshown.len() > MAX_UNSHOWN {
                    self.unshown.pop_first();
                }
                let wait = self.again.map_or(AGAIN.0, |(_, wait)| wait);
                self.again = Some((now() + wait, (wait * 2).min(AGAIN.1)));
            }
        }
    }

    /// Tries once more to show what could not be shown: one digest, and what is critical.
    fn show_again(&mut self) {
        self.again = self.again.map(|(_, wait)| (now() + wait, wait));
        let numbers: Vec<i64> = std::mem::take(&mut self.unshown).into_iter().collect();
        let rows = self.rows(&numbers);
        if rows.is_empty() {
            return;
        }
        self.read_quiet();
        let toasts = self.policy.waited(rows, 0, now(), &|uid| self.people.name(uid));
        if toasts.is_empty() {
            // A pause, or no room.
            self.unshown.extend(numbers);
        }
        self.show(toasts);
    }

    /// Another notification server took over, or the only one went.
    fn server(&mut self, message: &zbus::Message) {
        let body = message.body();
        let owner = body.deserialize::<(&str, &str, &str)>().ok().map(|(_, _, new)| new.to_owned());
        let owner = owner.filter(|new| !new.is_empty());
        let there = owner.is_some();
        self.toaster.server(owner);
        if there && !self.unshown.is_empty() {
            self.show_again();
        }
    }

    /// Returns true when it is the end.
    fn message(&mut self, message: Message) -> bool {
        match message {
            Message::Click(Click::Quit, _) => return true,
            Message::Click(click, token) => self.click(click, token.as_deref()),
            Message::Answer(answer) => self.answer(*answer),
            Message::Shown(events, outcome) => {
                self.shown(&events, outcome);
                self.save_told();
            }
            Message::Fetched(fetched) => self.fetched(fetched),
        }
        false
    }

    fn fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Status(status) => self.apply(Input::Status(status)),
            Fetched::Notices(asked, rows) => {
                self.settled |= self.heard_since.is_some_and(|since| asked >= since);
                if !self.state.caught_up() {
                    self.told = told::load().filter(|told| told.is_of(&rows));
                }
                self.apply(Input::Notices(rows));
            }
            Fetched::Notice(row) => {
                self.apply(Input::Details(row.clone()));
                self.tell(*row);
            }
            Fetched::Begins(first) => self.policy.record_begins(first),
            Fetched::Wanted(wanted) => self.policy.set_wanted(wanted),
            Fetched::Acknowledged(ids) => {
                self.policy.seen(&ids);
                for id in &ids {
                    self.unshown.remove(id);
                }
                self.apply(Input::Acknowledged(ids));
            }
            Fetched::Rates(received, sent) => self.rates = Some((received, sent)),
        }
    }

    fn click(&mut self, click: Click, token: Option<&str>) {
        let opened = match click {
            Click::Open => window::open(None, token),
            Click::Program(id) => window::open(Some(&Target::Program(id)), token),
            Click::Timeline => window::open(Some(&Target::Timeline), token),
            Click::Settings => window::open_page("settings", token),
            Click::About => window::open_page("about", token),
            Click::Seen => {
                let unread = self.state.unread().filter_map(|row| row.id).collect();
                if let Some(client) = self.client.clone().filter(|_| self.state.more_unread() > 0) {
                    fetch::acknowledge_all(client, unread, self.messages.clone());
                } else {
                    self.acknowledge(unread);
                }
                Ok(())
            }
            Click::PauseHour => {
                self.policy.pause(Some(now() + 3600 * SECOND), now());
                Ok(())
            }
            Click::PauseDay => {
                self.policy.pause(Some(tomorrow::morning(now())), now());
                Ok(())
            }
            Click::Resume => {
                self.policy.pause(None, now());
                Ok(())
            }
            Click::Shown => {
                if now() - self.recounted >= 2 * SECOND {
                    self.recount();
                }
                Ok(())
            }
            Click::Quit => Ok(()),
        };
        if let Err(error) = opened {
            eprintln!("picosnitch-tray: cannot open the window (picosnitch-gui): {error}");
        }
    }

    fn answer(&mut self, Answer { action, toast, token }: Answer) {
        match (action, &toast.path) {
            (Action::Details | Action::Review, _) => {
                if let Err(error) = window::open(Some(&toast.target), token.as_deref()) {
                    eprintln!("picosnitch-tray: cannot open the window (picosnitch-gui): {error}");
                }
            }
            (Action::Mute, Some(path)) => self.change_quiet(|quiet| {
                quiet.muted.insert(path.clone());
            }),
            (Action::ExpectUpdates, Some(path)) => self.change_quiet(|quiet| {
                quiet.expected.insert(path.clone());
            }),
            _ => {}
        }
        // Whoever is sent to the timeline has not seen it yet.
        if action != Action::Review {
            self.acknowledge(toast.events);
        }
    }

    fn acknowledge(&self, events: Vec<i64>) {
        if let Some(client) = &self.client {
            fetch::acknowledge(client.clone(), events, self.messages.clone());
        }
    }

    /// Draws the icon anew if anything that it shows is different.
    fn draw(&self) {
        let mut fresh = self.panel.shown();
        fresh.daemon = self.state.daemon();
        let degraded = self.state.status().and_then(|status| status.degraded.as_deref()).unwrap_or_default();
        fresh.reasons = degraded.iter().chain(&self.refused).map(|why| inert(why).into_owned()).collect();
        fresh.unread = self
            .state
            .unread()
            .len()
            .saturating_add(usize::try_from(self.state.more_unread()).unwrap_or(usize::MAX));
        fresh.rates = self.rates;
        fresh.programs = self
            .state
            .programs()
            .take(PROGRAMS)
            .map(|row| (crate::text::program(row), row.executable))
            .collect();
        fresh.hushed = self.policy.paused_until(now()).is_some();
        self.panel.draw(fresh);
    }
}
