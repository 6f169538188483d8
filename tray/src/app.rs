// SPDX-License-Identifier: GPL-3.0-or-later
//! The loop: what the monitor says, what is clicked and what is due, one after the other.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use picosnitch_api::listen::{Event, Listener};
use picosnitch_api::row::Event as Notice;
use picosnitch_api::state::{Daemon, Effect, Input, State};
use picosnitch_api::{Client, Mark, People, Quiet, Units, inert, quiet};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zbus::export::ordered_stream::OrderedStreamExt as _;

use crate::Message;
use crate::clock::{morning, now, wall};
use crate::fetch::{self, Details, Fetched};
use crate::memory::Memory;
use crate::panel::Panel;
use crate::policy::{Action, FIRST_DAY_KEY, Policy, Target, Toast, WAITED, not_saved};
use crate::status::{Click, Status};
use crate::toast::{Answer, Fate, Toaster};
use crate::unshown::Unshown;
use crate::{told, window};

const SECOND: i64 = 1_000_000;
/// Rates older than this say nothing about now.
const RATES_HOLD: i64 = 30 * SECOND;
/// How often another client's marks are looked for, while there are unread notices.
const RECOUNT: i64 = 30 * SECOND;
/// The same while it is not certain that nothing was missed.
const SETTLE: i64 = 2 * SECOND;
/// Programs in the menu.
const PROGRAMS: usize = 6;
/// Wait before the system bus is tried again.
const RETRY: Duration = Duration::from_secs(10);

struct App {
    state: State,
    policy: Policy,
    people: People,
    toaster: Toaster,
    client: Option<Client>,
    panel: Panel,
    messages: mpsc::Sender<Message>,
    details: Details,
    quiet: quiet::Latest,
    /// The settings say that there is a history.
    kept: bool,
    /// It was said that the list of muted programs cannot be read.
    unreadable: bool,
    /// Up to when rates were asked for, µs since the epoch.
    rated: i64,
    /// Bytes per second, received and sent, and when they say nothing any more.
    rates: Option<((u64, u64), i64)>,
    /// How the person wants to read them.
    units: Units,
    recounted: i64,
    /// All is being marked as seen, page by page.
    marking: bool,
    /// The monitor is asked what of that which waits was seen elsewhere.
    looking: bool,
    refused: Option<String>,
    /// Of these more is asked for before they are told.
    asking: BTreeSet<i64>,
    /// These were handed over to be shown.
    showing: BTreeSet<i64>,
    unshown: Unshown,
    /// What was saved last.
    told: Option<Mark>,
    memory_file: Option<PathBuf>,
    /// What was saved last.
    remembered: Memory,
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
    let memory_file = Memory::file();
    let mut app = App {
        state: State::default(),
        policy: Policy::new(Quiet::default(), announce_at_once),
        people: People::load(),
        toaster: Toaster::start(&session, messages.clone()).await?,
        client: None,
        panel: Panel::start(Status::new(messages.clone())),
        details: Details::new(messages.clone()),
        messages,
        quiet: quiet::Latest::new(),
        kept: true,
        unreadable: false,
        rated: wall(),
        rates: None,
        units: Units::default(),
        recounted: 0,
        marking: false,
        looking: false,
        refused: None,
        asking: BTreeSet::new(),
        showing: BTreeSet::new(),
        unshown: Unshown::default(),
        told: None,
        remembered: memory_file.as_deref().map(Memory::load).unwrap_or_default(),
        memory_file,
        here_since: i64::MAX,
        heard_since: None,
        settled: false,
    };
    app.policy.remember(app.remembered.clone());
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
        let fade = self.rates.map(|(_, until)| until);
        [self.waiting_due(), fade, self.policy.paused_until(now())].into_iter().flatten().min()
    }

    /// When something that waited is to be shown.
    fn waiting_due(&self) -> Option<i64> {
        let again = self.unshown.due().map(|at| self.policy.paused_until(now()).unwrap_or(at).max(at));
        [self.policy.due(), again].into_iter().flatten().min().filter(|_| !self.looking)
    }

    fn tick(&mut self) {
        let now = now();
        self.rates.take_if(|(_, until)| *until <= now);
        if self.waiting_due().is_some_and(|due| due <= now) {
            self.look();
        }
    }

    /// What waited may have been seen in the window meanwhile: asks, then what was not is shown.
    fn look(&mut self) {
        match &self.client {
            Some(client) if self.state.daemon() != Daemon::Absent => {
                self.looking = true;
                self.recounted = now();
                let waiting = self.policy.waiting().chain(self.unshown.iter()).collect();
                fetch::look(client.clone(), waiting, self.messages.clone());
            }
            // Without the monitor nobody marks anything.
            _ => self.show_waiting(),
        }
    }

    fn show_waiting(&mut self) {
        let now = now();
        self.looking = false;
        self.read_quiet();
        if self.policy.paused_until(now).is_none() && self.unshown.due().is_some_and(|at| at <= now) {
            self.show_again(now);
        }
        let toasts = self.policy.tick(now, &|uid| self.people.name(uid));
        self.show(toasts);
        self.save_told();
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::Appeared => {
                self.refused = None;
                self.here_since = wall();
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
        // The wall clock may be set back.
        self.rated = self.rated.min(through);
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
        let unread = self.state.unread_count() > 0 && waited >= RECOUNT;
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
                (Effect::Another, _) => self.forget(),
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

    /// The history is another one: numbers of before say nothing in it.
    fn forget(&mut self) {
        self.policy.forget(self.here_since);
        self.unshown = Unshown::default();
        self.asking.clear();
        self.showing.clear();
        self.toaster.forget();
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

    /// What the next login has to know.
    fn save_memory(&mut self) {
        if let Some(file) = &self.memory_file
            && *self.policy.memory() != self.remembered
        {
            self.remembered = self.policy.memory().clone();
            self.remembered.save(file);
        }
    }

    /// Everything up to the newest that is known was told, but for what is on its way.
    fn save_told(&mut self) {
        self.save_memory();
        if !self.state.caught_up() {
            return;
        }
        let rows = || self.state.unread().chain(self.state.programs());
        let on_the_way = [&self.asking, &self.showing].into_iter().flatten().copied();
        let waiting = self.policy.waiting().chain(self.unshown.iter());
        let first = on_the_way.chain(waiting).min().unwrap_or(i64::MAX);
        let Some(number) = rows().filter_map(|row| row.id).max().map(|newest| newest.min(first - 1)) else {
            return;
        };
        let time = rows().find(|row| row.id == Some(number)).and_then(|row| row.time);
        let time = time.or_else(|| self.told.filter(|told| told.number == number)?.time);
        let told = Some(Mark { number, time });
        if self.told != told {
            self.told = told;
            told.into_iter().for_each(told::save);
        }
    }

    /// The window may have changed the file.
    fn read_quiet(&mut self) {
        match self.quiet.read() {
            Ok(quiet) => {
                self.policy.set_quiet(quiet);
                self.unreadable = false;
            }
            // It is read for each notice.
            Err(error) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    eprintln!("picosnitch-tray: cannot read the list of muted programs: {error}");
                }
            }
        }
    }

    fn change_quiet(&mut self, change: impl FnOnce(&mut Quiet)) {
        let Some(file) = Quiet::file() else { return };
        if let Err(error) = Quiet::change(&file, change) {
            eprintln!("picosnitch-tray: cannot write {}: {error}", file.display());
            self.show(vec![not_saved(&error)]);
        }
        self.read_quiet();
    }

    fn show(&mut self, toasts: Vec<Toast>) {
        for toast in toasts {
            self.showing.extend(&toast.events);
            self.toaster.show(toast);
        }
    }

    fn shown(&mut self, Fate { key, events, outcome }: Fate) {
        self.showing.retain(|event| !events.contains(event));
        let (now, summary) = (now(), key == FIRST_DAY_KEY);
        match outcome {
            Ok(()) => {
                self.unshown.shown(&events, now);
                if summary {
                    self.policy.summary_shown();
                }
            }
            // They wait in the timeline, and are told when there is somebody who shows them.
            Err(why) => {
                let first = self.unshown.failed(&events, key == WAITED, now);
                if first || (summary && self.policy.summary_failed(now)) {
                    eprintln!("picosnitch-tray: no notification could be shown: {why}");
                }
            }
        }
    }

    /// Tries once more to show what could not be shown.
    fn show_again(&mut self, now: i64) {
        let (waited, others) = self.unshown.take();
        let (waited, others) = (self.rows(&waited), self.rows(&others));
        let names = |uid| self.people.name(uid);
        let mut toasts = self.policy.waited(waited, 0, now, &names);
        toasts.extend(self.policy.again(others, now, &names));
        if toasts.is_empty() {
            self.unshown.rest();
        }
        self.show(toasts);
    }

    /// Another notification server took over, or the only one went.
    fn server(&mut self, message: &zbus::Message) {
        let body = message.body();
        let owner = body.deserialize::<(&str, &str, &str)>().ok().map(|(_, _, new)| new.to_owned());
        let owner = owner.filter(|new| !new.is_empty());
        if owner.is_some() {
            self.unshown.at_once(now());
            self.policy.summary_at_once(now());
        }
        self.toaster.server(owner);
    }

    /// Returns true when it is the end.
    fn message(&mut self, message: Message) -> bool {
        match message {
            Message::Click(Click::Quit, _) => return true,
            Message::Click(click, token) => self.click(click, token.as_deref()),
            Message::Answer(answer) => self.answer(*answer),
            Message::Shown(fate) => {
                self.shown(fate);
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
                let seen = rows.iter().filter(|row| row.acknowledged == Some(true));
                self.seen(&seen.filter_map(|row| row.id).collect());
                if !self.state.caught_up() {
                    self.told = told::load().filter(|told| told.is_of(&rows));
                }
                self.apply(Input::Notices(rows));
            }
            Fetched::Notice(row) => {
                self.apply(Input::Details(row.clone()));
                self.tell(*row);
            }
            Fetched::Begins(first) => self.policy.record_begins(first, wall(), now()),
            Fetched::Looked => self.show_waiting(),
            Fetched::Settings { wanted, kept } => {
                self.policy.set_wanted(wanted);
                self.kept = kept;
            }
            Fetched::Acknowledged(ids) => self.acknowledged(ids),
            Fetched::AllAcknowledged(ids) => {
                self.marking = false;
                self.acknowledged(ids);
            }
            Fetched::Rates(received, sent) => {
                self.rates = Some(((received, sent), now() + RATES_HOLD));
                // The window may have changed it.
                self.units = Units::file().map(|file| Units::chosen(&file)).unwrap_or_default();
            }
        }
    }

    fn acknowledged(&mut self, ids: Vec<i64>) {
        self.seen(&ids.iter().copied().collect());
        self.apply(Input::Acknowledged(ids));
    }

    /// These were marked as seen, here or in another client.
    fn seen(&mut self, events: &BTreeSet<i64>) {
        self.policy.seen(events);
        self.unshown.seen(events);
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
                let all = self.state.more_unread() > 0 && !self.marking;
                if let Some(client) = self.client.clone().filter(|_| all) {
                    self.marking = true;
                    fetch::acknowledge_all(client, unread, self.messages.clone());
                } else {
                    self.acknowledge(unread);
                }
                Ok(())
            }
            Click::PauseHour => {
                self.policy.pause(Some(now() + 3600 * SECOND));
                Ok(())
            }
            Click::PauseDay => {
                let wall = wall();
                self.policy.pause(Some(now() + morning(wall) - wall));
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
        match (action, &toast.program) {
            (Action::Details | Action::Review, _) => {
                if let Err(error) = window::open(Some(&toast.target), token.as_deref()) {
                    eprintln!("picosnitch-tray: cannot open the window (picosnitch-gui): {error}");
                }
            }
            (Action::Mute, Some(program)) => self.change_quiet(|quiet| {
                quiet.muted.insert(program.clone());
            }),
            (Action::ExpectUpdates, Some(program)) => self.change_quiet(|quiet| {
                quiet.expected.insert(program.clone());
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
        fresh.unread = self.state.unread_count();
        fresh.rates = self.rates.map(|(rates, _)| rates);
        fresh.units = self.units;
        fresh.programs = self
            .state
            .programs()
            .take(PROGRAMS)
            .map(|row| (crate::text::program(row), row.executable))
            .collect();
        fresh.hushed = self.policy.paused_until(now()).is_some();
        fresh.off = self.policy.is_off();
        fresh.kept = self.kept;
        self.panel.draw(fresh);
    }
}
