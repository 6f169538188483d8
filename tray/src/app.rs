// SPDX-License-Identifier: GPL-3.0-or-later
//! The loop: what the monitor says, what is clicked and what is due, one after the other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ksni::TrayMethods as _;
use picosnitch_api::listen::{Event, Listener};
use picosnitch_api::row::Event as Notice;
use picosnitch_api::state::{Effect, Input, State};
use picosnitch_api::{Client, People, Quiet, inert};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zbus::export::ordered_stream::OrderedStreamExt as _;

use crate::Message;
use crate::fetch::{self, Details, Fetched};
use crate::policy::{Action, Policy, Target, Toast};
use crate::status::{Click, Status};
use crate::toast::{Answer, Toaster};
use crate::{told, tomorrow, window};

const SECOND: i64 = 1_000_000;
/// Rates older than this say nothing about now.
const RATES_HOLD: i64 = 30 * SECOND;
/// How often another client's marks are looked for, while there are unread notices.
const RECOUNT: i64 = 30 * SECOND;
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
    tray: Option<ksni::Handle<Status>>,
    shown: Status,
    messages: mpsc::Sender<Message>,
    details: Details,
    quiet_file: Option<PathBuf>,
    quiet_read: Option<SystemTime>,
    rated: i64,
    rates: Option<(u64, u64)>,
    recounted: i64,
    refused: Option<String>,
    unshown: bool,
    /// When the monitor was found, µs since the epoch: what came since then nobody missed.
    here_since: i64,
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
    let shown = Status::new(messages.clone());
    // Without a panel that shows it, the icon waits for one; everything else works.
    let tray = match shown.clone().assume_sni_available(true).spawn().await {
        Ok(tray) => Some(tray),
        Err(error) => {
            eprintln!("picosnitch-tray: no status icon: {error}");
            None
        }
    };
    let mut app = App {
        state: State::default(),
        policy: Policy::new(Quiet::default(), announce_at_once),
        people: People::load(),
        toaster: Toaster::new(&session, messages.clone()).await?,
        client: None,
        tray,
        shown,
        details: Details::new(messages.clone()),
        messages,
        quiet_file: Quiet::file(),
        quiet_read: None,
        rated: now(),
        rates: None,
        recounted: 0,
        refused: None,
        unshown: false,
        here_since: i64::MAX,
    };
    app.toaster.learn().await;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut listener = app.connect().await;
    loop {
        let due = app.due();
        tokio::select! {
            event = next(&mut listener) => match event {
                Some(event) => app.event(event).await,
                None => {
                    listener = None;
                    app.client = None;
                    app.event(Event::Gone).await;
                }
            },
            () = tokio::time::sleep(RETRY), if listener.is_none() => listener = app.connect().await,
            Some(message) = inbox.recv() => if app.message(message).await { break },
            () = until(due), if due.is_some() => app.tick().await,
            server = servers.next() => match server {
                Some(Ok(message)) => app.server(&message).await,
                Some(Err(_)) => {}
                None => break,
            },
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
        }
        app.draw().await;
    }
    if app.state.caught_up() {
        told::save(app.newest());
    }
    if let Some(tray) = &app.tray {
        tray.shutdown().await;
    }
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
        [self.policy.due(), fade, self.policy.paused_until(now())].into_iter().flatten().min()
    }

    async fn tick(&mut self) {
        let now = now();
        if self.rated + RATES_HOLD <= now {
            self.rates = None;
        }
        let toasts = self.policy.tick(now, &|uid| self.people.name(uid));
        self.show(toasts).await;
    }

    async fn event(&mut self, event: Event) {
        if let (Event::Recorded(through), Some(client)) = (&event, &self.client) {
            if *through - self.rated >= SECOND {
                let since = self.rated.max(through - RATES_HOLD);
                self.rated = *through;
                fetch::rates(client.clone(), since, *through, self.messages.clone());
            }
            if self.state.unread().len() > 0 && now() - self.recounted >= RECOUNT {
                self.recount();
            }
        }
        match &event {
            Event::Appeared => {
                self.refused = None;
                self.here_since = now();
            }
            Event::Refused(why) => self.refused = Some(why.clone()),
            Event::Gone => self.rates = None,
            _ => {}
        }
        self.apply(Input::Event(event)).await;
    }

    fn recount(&mut self) {
        if let Some(client) = &self.client {
            self.recounted = now();
            fetch::notices(client.clone(), self.messages.clone());
        }
    }

    async fn apply(&mut self, input: Input) {
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
                    if let Some(notice) = self.details.ask(client.clone(), notice) {
                        self.tell(*notice).await;
                    }
                }
                (Effect::Notify(notice), None) => self.tell(*notice).await,
                // A page that was asked for later may be faster than the signal.
                (Effect::Waiting(fresh), _) if caught_up => {
                    for row in self.rows(&fresh).into_iter().rev() {
                        self.tell(row).await;
                    }
                }
                (Effect::Waiting(fresh), _) => self.found(&fresh).await,
                (Effect::Refresh | Effect::RefreshStatus, None) => {}
            }
        }
    }

    async fn tell(&mut self, notice: picosnitch_api::row::Event) {
        self.read_quiet();
        let toasts = self.policy.notice(notice, now(), &|uid| self.people.name(uid));
        self.show(toasts).await;
    }

    /// The unread notices of these numbers, newest first.
    fn rows(&self, numbers: &[i64]) -> Vec<Notice> {
        let of = |row: &&Notice| row.id.is_some_and(|id| numbers.contains(&id));
        self.state.unread().filter(of).cloned().collect()
    }

    /// The first page is there.
    async fn found(&mut self, fresh: &[i64]) {
        // A history that was deleted begins to count anew.
        let told = told::load().filter(|told| *told <= self.newest()).unwrap_or(0);
        let rows = self.rows(fresh).into_iter().filter(|row| row.id > Some(told)).collect();
        self.read_quiet();
        let more = usize::try_from(self.state.more_unread()).unwrap_or(usize::MAX);
        let toasts = self.policy.found(rows, more, self.here_since, now(), &|uid| self.people.name(uid));
        self.show(toasts).await;
        told::save(self.newest());
    }

    /// One digest of these, newest first.
    async fn waited(&mut self, rows: Vec<Notice>) {
        self.read_quiet();
        let more = usize::try_from(self.state.more_unread()).unwrap_or(usize::MAX);
        let toasts = self.policy.waited(rows, more, now());
        self.show(toasts).await;
    }

    /// The number of the newest notice that is known.
    fn newest(&self) -> i64 {
        self.state.unread().chain(self.state.programs()).filter_map(|row| row.id).max().unwrap_or(0)
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

    async fn show(&mut self, toasts: Vec<Toast>) {
        for toast in toasts {
            if let Err(error) = self.toaster.show(toast).await {
                if !self.unshown {
                    eprintln!("picosnitch-tray: no notification could be shown: {error}");
                }
                // It waits in the timeline, and a server that comes is told that there is something.
                self.unshown = true;
            }
        }
    }

    /// Another notification server took over, or the only one went.
    async fn server(&mut self, message: &zbus::Message) {
        let body = message.body();
        let owner = body.deserialize::<(&str, &str, &str)>().ok().map(|(_, _, new)| new);
        let owner = owner.filter(|new| !new.is_empty());
        self.toaster.forget(owner);
        if owner.is_some() {
            self.toaster.learn().await;
            if std::mem::take(&mut self.unshown) && self.state.unread().len() > 0 {
                self.waited(self.state.unread().cloned().collect()).await;
            }
        }
    }

    /// Returns true when it is the end.
    async fn message(&mut self, message: Message) -> bool {
        match message {
            Message::Click(Click::Quit, _) => return true,
            Message::Click(click, token) => self.click(click, token.as_deref()).await,
            Message::Toast(by, said) => {
                if let Some(answer) = self.toaster.heard(&by, said).await {
                    self.answer(answer);
                }
            }
            Message::Fetched(fetched) => self.fetched(fetched).await,
        }
        false
    }

    async fn fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Status(status) => self.apply(Input::Status(status)).await,
            Fetched::Notices(rows) => self.apply(Input::Notices(rows)).await,
            Fetched::Notice(row) => {
                self.apply(Input::Details(row.clone())).await;
                self.tell(*row).await;
            }
            Fetched::Begins(first) => self.policy.record_begins(first),
            Fetched::Wanted(wanted) => self.policy.set_wanted(wanted),
            Fetched::Acknowledged(ids) => self.apply(Input::Acknowledged(ids)).await,
            Fetched::Rates(received, sent) => self.rates = Some((received, sent)),
        }
    }

    async fn click(&mut self, click: Click, token: Option<&str>) {
        let opened = match click {
            Click::Open => window::open(None, token),
            Click::Program(id) => window::open(Some(&Target::Program(id)), token),
            Click::Timeline => window::open(Some(&Target::Timeline), token),
            Click::Settings => window::open_page("settings", token),
            Click::About => window::open_page("about", token),
            Click::Seen => {
                let unread = self.state.unread().filter_map(|row| row.id).collect();
                self.acknowledge(unread);
                Ok(())
            }
            Click::PauseHour => {
                self.policy.pause(Some(now() + 3600 * SECOND));
                Ok(())
            }
            Click::PauseDay => {
                self.policy.pause(Some(tomorrow::morning(now())));
                Ok(())
            }
            Click::Resume => {
                self.policy.pause(None);
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
    async fn draw(&mut self) {
        let mut fresh = self.shown.clone();
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
        if !fresh.differs(&self.shown) {
            return;
        }
        self.shown = fresh.clone();
        if let Some(tray) = &self.tray {
            tray.update(move |status| *status = fresh).await;
        }
    }
}
