// SPDX-License-Identifier: GPL-3.0-or-later
//! The window: one state, one message at a time.

mod actions;
mod banner;
mod history;
mod pace;
mod show;
mod window;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::listen::Event;
use picosnitch_api::name::action;
use picosnitch_api::state::{Daemon, Effect, Input, State};
use picosnitch_api::tongue::{say, tr};
use picosnitch_api::{Client, People, Permission, Query, Quiet, Scope, What, quiet};
use relm4::{Component, ComponentParts, ComponentSender};

use crate::ask::{self, Asker};
use crate::format::{self, Units};
use crate::icon;
use crate::msg::{Got, Msg, Place, Sender, Totals};
use crate::page::groups::Groups;
use crate::page::health::Health;
use crate::page::live::Live;
use crate::page::overview::Overview;
use crate::page::program::ProgramPage;
use crate::page::programs::Programs;
use crate::page::timeline::Timeline;
use crate::page::{Context, Record, now};
use crate::prefs::{Prefs, PutAway};
use crate::range::Range;
use crate::settings::Settings;
use crate::table::Spot;
use crate::view::View;
use crate::words;
use history::{Held, History, Step};
use pace::{Next, Pace};
use window::Frame;

/// The latest notices that are counted.
const NOTICES: u32 = 500;
/// How long notices are collected before the timeline is asked anew.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(700);

struct Pages {
    overview: Overview,
    programs: Programs,
    groups: Groups,
    timeline: Timeline,
    live: Live,
    health: Health,
    program: ProgramPage,
}

/// See the module.
pub struct App {
    context: Context,
    client: Option<Client>,
    state: State,
    place: Place,
    been: History,
    held: Held,
    /// Where the page that comes is to be scrolled to.
    spot: Option<Spot>,
    /// How many programs and destinations there are in the range, as the sidebar says it.
    counts: [String; 2],
    pages: Pages,
    frame: Frame,
    units: Rc<Cell<Units>>,
    permissions: Vec<(&'static str, Permission)>,
    hidden: u64,
    pace: Pace,
    /// The settings are opened as soon as there is a bus to ask on.
    settings_wanted: bool,
    /// Those that were opened last.
    settings: Option<Settings>,
    /// The timeline will be looked at in a moment.
    looking: bool,
    /// All is being marked as seen, page by page.
    marking: bool,
    /// A person is asked whether everybody's rows may be shown.
    asking_all: bool,
    quiet: RefCell<quiet::Latest>,
    /// The settings say that traffic is recorded.
    kept: bool,
    /// What does not work as it should, and is not to be told again as long as it stays so.
    put_away: PutAway,
    root: adw::ApplicationWindow,
    sender: Sender,
}

/// A window that is narrower has its sidebar and its content one at a time, in pixels.
const NARROW: i32 = 640;

/// Every place with a page that is asked for.
const PLACES: [Place; 6] =
    [Place::Overview, Place::Programs, Place::Destinations, Place::Timeline, Place::Live, Place::Program(0)];

/// Name of a place's page in the stack.
fn name(place: Place) -> &'static str {
    match place {
        Place::Overview => "overview",
        Place::Programs => "programs",
        Place::Destinations => "destinations",
        Place::Timeline => "timeline",
        Place::Live => "live",
        Place::Health => "health",
        Place::Program(_) => "program",
    }
}

/// A page without rows has nothing to export.
fn can_export(can: bool) {
    let action = relm4::main_application().lookup_action("export");
    if let Some(action) = action.and_downcast::<gtk4::gio::SimpleAction>() {
        action.set_enabled(can);
    }
}

impl Component for App {
    type CommandOutput = ();
    type Input = Msg;
    type Output = ();
    type Init = Vec<String>;
    type Root = adw::ApplicationWindow;
    type Widgets = ();

    fn init_root() -> Self::Root {
        let prefs = Prefs::load();
        adw::ApplicationWindow::builder()
            .title("picosnitch")
            .default_width(prefs.size.0)
            .default_height(prefs.size.1)
            .width_request(360)
            .height_request(300)
            .icon_name(crate::APP_ID)
            .build()
    }

    fn init(arguments: Vec<String>, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let sender = sender.input_sender().clone();
        relm4::set_global_css(include_str!("../style.css"));
        let prefs = Prefs::load();
        let units = Rc::new(Cell::new(prefs.units));
        let context = Context {
            view: View::default(),
            number: 1,
            people: Rc::new(People::load()),
            asker: Asker::new(&sender),
            units: prefs.units,
            record: Record::default(),
        };
        let frame = Frame::new(&sender, prefs.size.0 < NARROW);
        let pages = Pages {
            overview: Overview::new(&sender, &context, &units),
            programs: Programs::new(&sender, &context, &units),
            groups: Groups::new(&sender, &context, &units),
            timeline: Timeline::new(&sender, &context),
            live: Live::new(&sender, &context, &units),
            health: Health::new(),
            program: ProgramPage::new(&sender, &context, &units),
        };
        for (name, page) in [
            ("overview", pages.overview.frame.root.upcast_ref::<gtk4::Widget>()),
            ("programs", pages.programs.frame.root.upcast_ref()),
            ("destinations", pages.groups.frame.root.upcast_ref()),
            ("timeline", pages.timeline.frame.root.upcast_ref()),
            ("live", pages.live.frame.root.upcast_ref()),
            ("health", pages.health.root.upcast_ref()),
            ("program", pages.program.frame.root.upcast_ref()),
        ] {
            frame.pages.add_named(page, Some(name));
        }
        AdwApplicationWindowExt::set_content(&root, Some(&frame.toasts));
        root.set_help_overlay(Some(&actions::shortcuts()));
        root.connect_close_request(|root| {
            let units = Prefs::load().units;
            Prefs { units, size: root.default_size() }.save();
            gtk4::glib::Propagation::Proceed
        });
        if let Ok(app) = relm4::main_application().downcast::<adw::Application>() {
            actions::set(&app, &sender, (&frame.search_bar, &frame.search), &frame.range);
        }
        actions::escape(&root, &sender);
        actions::contrast(&root);
        let emit = sender.clone();
        root.connect_is_active_notify(move |root| {
            if root.is_active() {
                emit.emit(Msg::Focus);
            }
        });
        let emit = sender.clone();
        relm4::spawn_blocking(move || emit.emit(Msg::Icons(icon::read())));
        ask::listen(sender.clone());
        let mut app = App {
            context,
            client: None,
            state: State::default(),
            place: Place::Overview,
            been: History::default(),
            held: Held::default(),
            spot: None,
            counts: Default::default(),
            pages,
            frame,
            units,
            permissions: Vec::new(),
            hidden: 0,
            pace: Pace::default(),
            settings_wanted: false,
            settings: None,
            looking: false,
            marking: false,
            asking_all: false,
            quiet: RefCell::new(quiet::Latest::new()),
            kept: true,
            put_away: PutAway::load(),
            root,
            sender: sender.clone(),
        };
        app.show();
        app.open(&arguments);
        crate::FIRST.with(|first| first.replace(Some(sender)));
        ComponentParts { model: app, widgets: () }
    }

    fn update(&mut self, message: Msg, _: ComponentSender<Self>, _: &Self::Root) {
        self.take(message);
    }
}

impl App {
    fn take(&mut self, message: Msg) {
        match message {
            Msg::Bus(client) => {
                self.context.asker.set(Some(client.clone()));
                self.client = Some(client);
                self.open_settings();
            }
            Msg::NoBus(failure) => {
                self.failed(&failure);
                self.open_settings();
            }
            Msg::Said(event) => self.said(event),
            Msg::Status(status) => {
                self.apply(Input::Status(status));
                self.mended();
                self.recording();
            }
            Msg::Kept(kept) => {
                self.kept = kept;
                self.recording();
            }
            Msg::Permissions(permissions) => self.permissions = permissions,
            Msg::Unread(rows) => self.apply(Input::Notices(rows)),
            Msg::Got(number, got) => {
                self.got(number, got);
                // What was recorded meanwhile is asked for after the last of them.
                self.context.asker.answered(number);
                return self.renew();
            }
            Msg::Go(place) => self.go(place),
            Msg::Back => self.back(),
            Msg::Unzoom if self.been.zoomed(self.place, &self.context.view) => self.back(),
            Msg::Unzoom => return,
            Msg::OpenPath(path) => self.open_path(path),
            Msg::Range(range) => {
                self.been.range(range);
                self.change(|view| view.range = range);
            }
            Msg::Zoom(range) => {
                self.step();
                self.change(|view| view.range = range);
            }
            Msg::By(by) => {
                if self.context.view.by != by {
                    self.change(|view| view.by = by);
                }
            }
            Msg::Filter(chip) => {
                self.step();
                self.change(|view| view.add(chip));
            }
            Msg::FilterIn(chip, place) => {
                self.step();
                self.place = place;
                self.change(|view| view.add(chip));
            }
            Msg::Sorted(place) => {
                if self.place == place {
                    self.load();
                }
                return;
            }
            Msg::Mute(program, mute) => self.mute(program, mute),
            Msg::Unfilter(at) => self.change(|view| {
                if at < view.chips.len() {
                    view.chips.remove(at);
                }
            }),
            Msg::Clear => {
                self.frame.search.set_text("");
                self.frame.search_bar.set_search_mode(false);
                self.change(|view| {
                    view.chips.clear();
                    view.search.clear();
                });
            }
            Msg::Search(text) => {
                self.frame.searched.replace(text.clone());
                if self.context.view.search != text {
                    let people = self.context.people.clone();
                    self.change(|view| view.search(text, &people));
                }
            }
            Msg::More(Place::Program(_)) => {
                if let Some(chip) = self.pages.program.chip() {
                    self.take(Msg::FilterIn(chip, Place::Live));
                }
                return;
            }
            Msg::More(place) => return self.more(place),
            Msg::Look => {
                self.looking = false;
                if self.place == Place::Timeline && self.is_clear() {
                    self.pages.timeline.renew(&self.context);
                }
                return;
            }
            Msg::Focus => return self.ask_unread(),
            Msg::Icons(names) => {
                icon::set(&names);
                let pages = &self.pages;
                pages.overview.refill();
                pages.programs.refill();
                pages.timeline.refill();
                pages.live.refill();
                return;
            }
            Msg::Review => self.review(),
            Msg::Resume => self.resume(),
            Msg::PutAway => {
                self.put_away.set(banner::degraded(&self.state).cloned().collect());
            }
            Msg::Renew => {
                self.pace.waited();
                return self.renew();
            }
            Msg::Hold(held) => {
                match self.place {
                    _ if !self.is_clear() => {}
                    Place::Live if !held => self.pages.live.recorded(&self.context),
                    Place::Timeline if !held => self.pages.timeline.renew(&self.context),
                    _ => {}
                }
                return;
            }
            Msg::ShowAll => self.show_all(),
            Msg::AllShown(answer) => self.all_shown(answer),
            Msg::Seen(ids) => self.seen(ids),
            Msg::Acknowledged(ids) => {
                self.apply(Input::Acknowledged(ids));
                // There may be more of them than are known here.
                self.ask_unread();
                self.pages.timeline.fall_behind();
                if self.place == Place::Timeline && self.is_clear() {
                    self.pages.timeline.load(&self.context);
                }
            }
            Msg::AllAcknowledged(ids, failure) => {
                self.marking = false;
                if let Some(failure) = failure {
                    self.take(Msg::Note(failure.why));
                }
                return self.take(Msg::Acknowledged(ids));
            }
            Msg::Export => self.export(),
            Msg::Refresh => {
                self.ask_unread();
                self.change(|_| ());
            }
            Msg::Settings => {
                self.settings_wanted = true;
                // The command line asks before the bus is there.
                if self.client.is_some() {
                    self.open_settings();
                }
            }
            Msg::About => actions::about(&self.root),
            Msg::Preferences => {
                self.context.units = self.units.get();
                self.change(|_| ());
            }
            Msg::Note(text) => {
                let text = gtk4::glib::markup_escape_text(&text);
                self.frame.toasts.add_toast(adw::Toast::new(&text));
            }
            Msg::Open(arguments) => {
                self.open(&arguments);
                self.root.present();
            }
        }
        self.show();
    }

    /// What the command line asks for; it was checked before.
    fn open(&mut self, arguments: &[String]) {
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match (argument, arguments.next()) {
                ("--program", Some(id)) => {
                    if let Ok(id) = id.parse() {
                        self.go(Place::Program(id));
                    }
                }
                ("--filter", Some(text)) => {
                    let search = words::parse(text, &self.context.people);
                    let people = self.context.people.clone();
                    self.change(|view| match search.problem {
                        // It stands in the entry, where what is not understood is explained.
                        Some(_) => view.search(text.to_owned(), &people),
                        None => {
                            search.chips.into_iter().for_each(|chip| view.add(chip));
                            view.search = search.text;
                        }
                    });
                }
                ("--page", Some("settings")) => self.sender.emit(Msg::Settings),
                ("--page", Some("about")) => self.sender.emit(Msg::About),
                ("--page", Some(page)) => {
                    if let Some(place) = crate::page_of(page) {
                        self.go(place);
                    }
                }
                _ => {}
            }
        }
        self.show();
    }

    fn said(&mut self, event: Event) {
        if matches!(event, Event::Recorded(_)) {
            self.pace.recorded();
            self.renew();
        }
        // A burst of notices is one look.
        if matches!(event, Event::Notice(_)) {
            self.pages.timeline.fall_behind();
        }
        if matches!(event, Event::Notice(_)) && self.place == Place::Timeline && !self.looking {
            self.looking = true;
            let sender = self.sender.clone();
            gtk4::glib::timeout_add_local_once(SETTLE, move || sender.emit(Msg::Look));
        }
        if matches!(event, Event::Settings(_)) {
            self.ask_kept();
            self.ask_settings();
        }
        let gone = matches!(event, Event::Gone);
        self.apply(Input::Event(event));
        if gone {
            self.failed(&ask::Failure::absent());
        }
    }

    /// Asks for what was recorded since the page was asked for: now, or as soon as it may be asked again and
    /// nobody points at it. What is recorded last is shown too, when nothing follows it.
    fn renew(&mut self) {
        if !self.context.view.range.is_live() || !self.is_clear() {
            return;
        }
        let pages = &self.pages;
        let (empty, held) = match self.place {
            // It says itself whether it holds still.
            Place::Live => (pages.live.frame.is_empty(), false),
            Place::Health => (false, false),
            Place::Overview => (pages.overview.frame.is_empty(), pages.overview.is_held()),
            Place::Programs => (pages.programs.frame.is_empty(), pages.programs.is_held()),
            Place::Destinations => (pages.groups.frame.is_empty(), pages.groups.is_held()),
            Place::Program(_) => (pages.program.frame.is_empty(), pages.program.is_held()),
            // Asked anew by what is told of it, and by a key.
            Place::Timeline => return,
        };
        let live = self.place == Place::Live;
        let open = self.context.asker.is_open(self.context.number);
        match self.pace.next(pace::Page { empty, held, live, open }, now()) {
            Next::Rest => {}
            Next::Ask if live => {
                self.pace.asked(now());
                self.pages.live.recorded(&self.context);
            }
            Next::Ask => self.ask(),
            Next::Wait(rest) => {
                let sender = self.sender.clone();
                let rest = std::time::Duration::from_micros(rest.unsigned_abs());
                gtk4::glib::timeout_add_local_once(rest, move || sender.emit(Msg::Renew));
            }
        }
    }

    fn open_settings(&mut self) {
        if std::mem::take(&mut self.settings_wanted) {
            let open = self.settings.as_ref().is_some_and(Settings::present);
            if !open {
                let client = self.client.as_ref();
                self.settings = Some(Settings::open(&self.root, client, &self.sender, &self.units));
            }
        }
    }

    fn apply(&mut self, input: Input) {
        for effect in self.state.apply(input) {
            match effect {
                Effect::Refresh => {
                    self.ask_status();
                    self.ask_kept();
                    self.context.asker.tell(true, |client: Client| async move {
                        Ok(Msg::Permissions(client.permissions().await?))
                    });
                    self.ask_unread();
                    self.ask_settings();
                    self.load();
                }
                Effect::RefreshStatus => self.ask_status(),
                // Telling is the tray's part; here the count grows.
                Effect::Notify(_) | Effect::Waiting(_) | Effect::Another => {}
            }
        }
    }

    /// Those that are open are shown as they are by now.
    fn ask_settings(&self) {
        if let (Some(settings), Some(client)) = (&self.settings, &self.client) {
            settings.ask(client);
        }
    }

    fn ask_unread(&self) {
        self.context.asker.tell(true, |client: Client| async move {
            let query = Query { limit: Some(NOTICES), ..Query::default() };
            Ok(Msg::Unread(client.events(&query).await?.rows))
        });
    }

    /// What works again, and then does not, is told again. While the monitor starts it does not know.
    fn mended(&mut self) {
        if matches!(self.state.daemon(), Daemon::Watching | Daemon::Degraded) {
            let (put_away, state) = (&mut self.put_away, &self.state);
            put_away.keep(|known| banner::degraded(state).any(|why| why == known));
        }
    }

    /// An empty page says what will happen: something else, when that changes.
    fn recording(&mut self) {
        let record = match self.state.daemon() {
            Daemon::Paused => Record::Paused,
            _ if !self.kept => Record::Off,
            _ => Record::On,
        };
        if std::mem::replace(&mut self.context.record, record) != record
            && self.frame_of(self.place).is_some_and(crate::page::Frame::is_empty)
        {
            self.load();
        }
    }

    /// Ends a pause; whoever may only with a password is asked for it.
    fn resume(&self) {
        self.context.asker.tell(false, |client: Client| async move {
            client.asking().resume().await?;
            Ok(Msg::Status(Box::new(client.status().await?)))
        });
    }

    fn ask_status(&self) {
        self.context
            .asker
            .tell(true, |client: Client| async move { Ok(Msg::Status(Box::new(client.status().await?))) });
    }

    fn ask_kept(&self) {
        self.context.asker.tell(true, |client: Client| async move {
            let kept = client.settings().await?.remove("database.enabled");
            Ok(Msg::Kept(kept.and_then(|kept| bool::try_from(kept).ok()).unwrap_or(true)))
        });
    }

    /// Nobody answers. No page holds anything any more, so that the way back asks for it again.
    fn failed(&mut self, failure: &ask::Failure) {
        self.held.clear();
        self.lost();
        self.pages.overview.forget();
        for place in PLACES {
            if let Some(frame) = self.frame_of(place) {
                frame.failed(failure);
            }
        }
    }

    /// Content of a place, or what stands in for it.
    fn frame_of(&self, place: Place) -> Option<&crate::page::Frame> {
        let pages = &self.pages;
        Some(match place {
            Place::Overview => &pages.overview.frame,
            Place::Programs => &pages.programs.frame,
            Place::Destinations => &pages.groups.frame,
            Place::Timeline => &pages.timeline.frame,
            Place::Live => &pages.live.frame,
            Place::Program(_) => &pages.program.frame,
            Place::Health => return None,
        })
    }

    fn change(&mut self, change: impl FnOnce(&mut View)) {
        change(&mut self.context.view);
        self.load();
    }

    /// Something else is to be shown: asks for it.
    fn load(&mut self) {
        self.load_at(None);
    }

    /// The same; it is to be scrolled there.
    fn load_at(&mut self, spot: Option<Spot>) {
        self.spot = spot;
        if let Some(frame) = self.frame_of(self.place) {
            frame.loading();
        }
        self.ask();
    }

    /// Asks for what the page shows; answers for what was shown before are dropped from now on.
    fn ask(&mut self) {
        self.drop_open();
        self.pace.asked(now());
        if let Some(problem) = self.context.view.problem(&self.context.people)
            && self.frame_of(self.place).is_some()
        {
            // Back is to ask again.
            self.held.failed(name(self.place));
            if let Some(frame) = self.frame_of(self.place) {
                frame.unclear(&problem);
            }
            return;
        }
        self.held.ask(name(self.place), self.place, &self.context.view);
        self.come_back();
        let context = &self.context;
        match self.place {
            Place::Overview => self.pages.overview.load(context),
            Place::Programs => self.pages.programs.load(context),
            Place::Destinations => self.pages.groups.load(context),
            Place::Timeline => self.pages.timeline.load(context),
            Place::Live => self.pages.live.load(context),
            Place::Health => self.ask_status(),
            Place::Program(id) => self.pages.program.load(id, context),
        }
    }

    /// The filters are understood; else nothing is asked for.
    fn is_clear(&self) -> bool {
        self.context.view.problem(&self.context.people).is_none()
    }

    /// Lists are told where they were; other pages are scrolled when their answer is there.
    fn come_back(&mut self) {
        let Some(spot) = &self.spot else { return };
        let (spot, pages) = (spot.clone(), &self.pages);
        match self.place {
            Place::Programs => pages.programs.come_back(spot),
            Place::Destinations => pages.groups.come_back(spot),
            Place::Timeline => pages.timeline.come_back(spot),
            Place::Live => pages.live.come_back(spot),
            _ => return,
        }
        self.spot = None;
    }

    /// Answers that are on their way are for what is not shown any more.
    fn drop_open(&mut self) {
        if self.context.asker.is_open(self.context.number) {
            self.held.drop_open();
        }
        self.lost();
        self.context.number += 1;
    }

    fn more(&self, place: Place) {
        match place {
            Place::Programs => self.pages.programs.more(&self.context),
            Place::Timeline => self.pages.timeline.more(&self.context),
            Place::Live => self.pages.live.more(&self.context),
            _ => {}
        }
    }

    /// Answers that lists wait for will not come.
    fn lost(&self) {
        self.pages.live.lost();
        self.pages.programs.lost();
        self.pages.groups.lost();
        self.pages.timeline.lost();
    }

    fn got(&mut self, number: u64, got: Got) {
        // One for what is not shown any more.
        if number != self.context.number {
            return;
        }
        if let Some(hidden) = got.hidden() {
            if hidden > 0 && self.context.view.scope == Scope::Any {
                return self.all_ended();
            }
            self.hidden = hidden;
            self.show_whose();
        }
        if let Got::Totals(totals) = &got {
            self.count(totals);
            self.show();
        }
        let first = !matches!(
            got,
            Got::Late
                | Got::Failed(..)
                | Got::Chart(..)
                | Got::Sparks(..)
                | Got::Whom(..)
                | Got::ProgramChart(..)
        );
        if let Some(spot) = self.spot.take_if(|_| first) {
            match self.place {
                Place::Overview => self.pages.overview.scroll(spot.at),
                Place::Program(_) => self.pages.program.scroll(spot.at),
                _ => {}
            }
        }
        // Others may have seen some of them.
        if let Got::Notices(page, _) = &got {
            let seen = page.rows.iter().filter(|row| row.acknowledged == Some(true));
            self.apply(Input::Acknowledged(seen.filter_map(|row| row.id).collect()));
            self.show();
        }
        let (pages, context) = (&self.pages, &self.context);
        match got {
            Got::Totals(_) | Got::Chart(..) | Got::Sparks(..) | Got::Whom(..) => {
                pages.overview.got(got, context)
            }
            Got::Executables(page, part) => pages.programs.got(page, part, context),
            Got::Groups(totals, _) => pages.groups.got(totals, context),
            Got::Notices(page, part) => pages.timeline.got(page, part, context),
            Got::Connections(page, part) => pages.live.got(page, part, context),
            Got::Program(program) => pages.program.got(*program, context),
            Got::ProgramConnections(page) => pages.program.connections(page, context),
            Got::ProgramChart(data, by) => pages.program.chart(*data, by, context),
            Got::Late => {}
            Got::Failed(place, failure) => {
                self.lost();
                self.held.failed(name(place));
                if place == Place::Overview {
                    self.pages.overview.forget();
                }
                if let Some(frame) = self.frame_of(place) {
                    frame.failed(&failure);
                }
            }
        }
    }

    /// What is shown becomes something to go back to.
    fn step(&mut self) {
        let pages = &self.pages;
        let spot = match self.place {
            Place::Overview => Spot::pixels(pages.overview.spot()),
            Place::Programs => pages.programs.spot(),
            Place::Destinations => pages.groups.spot(),
            Place::Timeline => pages.timeline.spot(),
            Place::Live => pages.live.spot(),
            Place::Health => Spot::default(),
            Place::Program(_) => Spot::pixels(pages.program.spot()),
        };
        self.been.push(Step { place: self.place, view: self.context.view.clone(), spot });
    }

    fn go(&mut self, place: Place) {
        if place != self.place {
            self.step();
            self.place = place;
            self.load();
        }
        self.frame.show_content();
    }

    /// Back to what was shown before. A page that still holds it stays as it is, with what is selected and
    /// scrolled to; another one is asked for again.
    fn back(&mut self) {
        let Some(step) = self.been.pop() else { return };
        self.place = step.place;
        self.context.view = step.view;
        // Answers for the page that is left are not for this one.
        self.drop_open();
        let stale = self.place == Place::Timeline && self.pages.timeline.is_behind();
        if stale || !self.held.has(name(self.place), self.place, &self.context.view) {
            return self.load_at(Some(step.spot));
        }
        // It is as it was left: what was to come into sight, and what was recorded since, is asked for.
        self.more(self.place);
        self.pace.recorded();
        self.renew();
    }

    fn count(&mut self, totals: &Totals) {
        let (domains, more) = totals.domains;
        let programs = totals.programs.len();
        let write = |count: usize, more: bool| match count {
            0 => String::new(),
            count => format!("{}{}", format::count(count as u64), if more { "+" } else { "" }),
        };
        self.counts = [write(programs, totals.more), write(domains, more)];
    }

    fn mute(&self, program: quiet::Program, mute: bool) {
        let Some(file) = Quiet::file() else { return };
        let saved = Quiet::change(&file, |quiet| {
            if mute {
                quiet.muted.insert(program)
            } else {
                quiet.muted.remove(&program)
            };
        });
        self.sender.emit(Msg::Note(match (saved, mute) {
            (Ok(()), true) => tr("Recorded, but no notifications about it any more.").into(),
            (Ok(()), false) => tr("Notifications about it are shown again.").into(),
            (Err(error), _) => say("Cannot save it: {error}", &[("error", &error)]),
        }));
    }

    fn open_path(&mut self, path: String) {
        self.context.asker.tell(false, |client: Client| async move {
            let query =
                Query { path: Some(path), limit: Some(1), scope: Some(Scope::Any), ..Query::default() };
            let page = client.executables(&query).await?;
            Ok(match page.rows.first().and_then(|row| row.id) {
                Some(id) => Msg::Go(Place::Program(id)),
                None => Msg::Note(tr("There is nothing more known of it.").into()),
            })
        });
    }

    /// One of the things that may ask for a password; the others are saving settings and the end of a pause.
    fn show_all(&mut self) {
        if self.context.view.scope == Scope::Any {
            return self.scope(Scope::System);
        }
        self.asking_all = self.client.is_some();
        self.context.asker.tell(false, |client: Client| async move {
            let query = Query { scope: Some(Scope::Any), limit: Some(1), ..Query::default() };
            let page = client.asking().connections(&query).await;
            Ok(Msg::AllShown(page.map(|page| page.hidden).map_err(ask::Failure::from)))
        });
    }

    /// Whose rows are shown, on this page and on the way back.
    fn scope(&mut self, scope: Scope) {
        self.been.scope(scope);
        self.change(|view| view.scope = scope);
    }

    /// The monitor answers with what may be seen; a refusal is that something stays hidden.
    fn all_shown(&mut self, answer: Result<u64, ask::Failure>) {
        self.asking_all = false;
        match answer {
            Ok(0) => self.scope(Scope::Any),
            Ok(_) => self.take(Msg::Note(tr("Permission to see all users was not given.").into())),
            Err(failure) => self.take(Msg::Note(failure.why)),
        }
    }

    /// Rows of others are hidden again.
    fn all_ended(&mut self) {
        self.scope(Scope::System);
        self.take(Msg::Note(tr("The permission to see all users has ended.").into()));
    }

    /// The range in which everything is that is unread.
    fn range_of_unread(&self) -> Range {
        let oldest = self.state.unread().filter_map(|row| row.time).min().unwrap_or_else(now);
        let oldest = if self.state.more_unread() > 0 { i64::MIN } else { oldest };
        self.context.view.range.reaching(oldest, now())
    }

    /// Everything that is unread is on the timeline as it is.
    fn shows_unread(&self) -> bool {
        !self.context.view.is_filtered() && self.context.view.range == self.range_of_unread()
    }

    /// Shows what is unread, whatever was looked for before.
    fn review(&mut self) {
        self.step();
        self.place = Place::Timeline;
        let range = self.range_of_unread();
        // What others did is told to those who may see it without being asked.
        let any = self.may(action::READ_ANY) == Permission::Yes;
        self.change(|view| {
            view.range = range;
            view.chips.clear();
            view.search.clear();
            if any {
                view.scope = Scope::Any;
            }
        });
        self.frame.show_content();
    }

    /// These, or all that are unread and not newer than those that are known.
    fn seen(&mut self, ids: Vec<i64>) {
        if ids.is_empty() {
            // One goes through the history at a time.
            if self.client.is_none() || std::mem::replace(&mut self.marking, true) {
                return;
            }
            let newest = self.state.unread().filter_map(|row| row.id).max().unwrap_or(i64::MAX);
            return self.context.asker.tell(false, move |client: Client| async move {
                let (marked, outcome) = client.acknowledge_through(newest).await;
                Ok(Msg::AllAcknowledged(marked, outcome.err().map(ask::Failure::from)))
            });
        }
        self.context.asker.tell(false, move |client: Client| async move {
            for chunk in ids.chunks(picosnitch_api::query::MAX_PAGE as usize) {
                client.acknowledge(chunk).await?;
            }
            Ok(Msg::Acknowledged(ids))
        });
    }

    fn export(&self) {
        if let Some(problem) = self.context.view.problem(&self.context.people) {
            return self.sender.emit(Msg::Note(problem));
        }
        let query = self.context.query();
        let what = match self.place {
            Place::Health => return,
            Place::Overview => actions::Shown::Totals(self.context.view.by, Box::new(query)),
            Place::Destinations => {
                let (by, query) = self.pages.groups.shown(query);
                actions::Shown::Totals(by, Box::new(query))
            }
            Place::Programs => {
                let query = self.pages.programs.shown(query);
                actions::Shown::Rows(What::Executables, Box::new(query))
            }
            Place::Timeline => actions::Shown::Rows(What::Events, Box::new(query)),
            Place::Live => actions::Shown::Rows(What::Connections, Box::new(query)),
            Place::Program(_) => {
                let Some(query) = self.pages.program.shown(query) else {
                    return self.sender.emit(Msg::Note(tr("Nothing is known of this program.").into()));
                };
                actions::Shown::Rows(What::Connections, Box::new(query))
            }
        };
        if let Some(client) = &self.client {
            actions::export(&self.root, client.clone(), what, &self.sender);
        }
    }

    /// What the person may do.
    fn may(&self, what: &str) -> Permission {
        self.permissions
            .iter()
            .find(|(known, _)| *known == what)
            .map_or(Permission::No, |(_, permission)| *permission)
    }

    fn may_see_all(&self) -> bool {
        self.may(action::READ_ANY) != Permission::No
    }
}
