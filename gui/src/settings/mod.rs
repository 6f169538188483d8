// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings: those of the monitor, over its bus interface, and the few that are this person's own. What
//! is changed is collected and saved at once, so that polkit asks one time.

mod edits;
mod keys;
mod personal;
mod row;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::glib;
use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::Client;
use picosnitch_api::tongue::tr;
use zbus::zvariant::{OwnedValue, Value};

use crate::ask::Failure;
use crate::format::Units;
use crate::msg::Sender;
use edits::{Edits, Values};
use keys::{GROUPS, Kind};
use personal::personal;
use row::{Change, Said, Show};

/// The window of settings. Those of the monitor are shown as soon as it answers.
#[derive(Clone)]
pub struct Settings {
    window: glib::WeakRef<adw::PreferencesWindow>,
    page: glib::WeakRef<adw::PreferencesPage>,
    /// What stands in for the rows of the monitor.
    instead: Rc<RefCell<Option<adw::PreferencesGroup>>>,
    /// What is made of its answer.
    shown: Rc<RefCell<Option<Page>>>,
    /// How often it was asked: only the last answer counts.
    asked: Rc<Cell<u64>>,
    /// The bus may be another one by the time that something is saved.
    client: Rc<RefCell<Option<Client>>>,
}

/// The library leaves the entry of its search without a name.
fn name_searches(within: &gtk4::Widget) {
    if within.is::<gtk4::SearchEntry>() {
        crate::speak::label(within, tr("Search"));
    }
    for child in std::iter::successors(within.first_child(), WidgetExt::next_sibling) {
        name_searches(&child);
    }
}

impl Settings {
    /// Opens it.
    pub fn open(
        parent: &impl IsA<gtk4::Window>,
        client: Option<&Client>,
        sender: &Sender,
        units: &Rc<Cell<Units>>,
    ) -> Self {
        let window = adw::PreferencesWindow::builder()
            .transient_for(parent)
            .modal(true)
            .title(tr("Settings"))
            .search_enabled(true)
            .default_width(640)
            .default_height(680)
            .build();
        window.add(&personal(sender, units));
        let page = adw::PreferencesPage::builder()
            .title(tr("Monitor"))
            .icon_name("preferences-system-symbolic")
            .build();
        window.add(&page);
        name_searches(window.upcast_ref());
        window.present();
        let settings = Self {
            window: window.downgrade(),
            page: page.downgrade(),
            instead: Rc::default(),
            shown: Rc::default(),
            asked: Rc::default(),
            client: Rc::default(),
        };
        let closing = settings.clone();
        window.connect_close_request(move |_| closing.close());
        match client {
            Some(client) => settings.ask(client),
            None => settings.failed(Failure::absent()),
        }
        settings
    }

    /// It is open; brings it to the front.
    pub fn present(&self) -> bool {
        self.window.upgrade().inspect(|window| window.present()).is_some()
    }

    /// Asks on this bus from now on: for the settings as well, while they are open.
    pub fn ask(&self, client: &Client) {
        self.client.replace(Some(client.clone()));
        if self.page.upgrade().is_none() {
            return;
        }
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let (settings, client) = (self.clone(), client.clone());
        glib::spawn_future_local(async move {
            // The bus is read on other threads; only the answer comes here.
            let answer = relm4::spawn(async move { client.settings().await }).await;
            if settings.asked.get() != number {
                return;
            }
            match answer {
                Ok(Ok(values)) => settings.got(&values),
                Ok(Err(error)) => settings.failed(error.into()),
                Err(_) => settings.failed(Failure::silent()),
            }
        });
    }

    /// The page, if nothing is shown there yet; what stands in for it goes.
    fn empty(&self) -> Option<adw::PreferencesPage> {
        let page = self.page.upgrade().filter(|_| self.shown.borrow().is_none())?;
        if let Some(instead) = self.instead.take() {
            page.remove(&instead);
        }
        Some(page)
    }

    fn failed(&self, failure: Failure) {
        let Some(page) = self.empty() else { return };
        let then = tr("Its settings are shown when it runs.");
        let hint = failure.hint.map_or_else(|| then.to_owned(), |hint| format!("{hint} {then}"));
        let instead = problem(&failure.why, &hint);
        page.add(&instead);
        self.instead.replace(Some(instead));
    }

    fn got(&self, values: &Said) {
        if let Some(page) = self.empty() {
            self.shown.replace(Some(fill(&page, self, values)));
        } else if let Some(shown) = &*self.shown.borrow() {
            shown.learn(values);
        }
    }

    /// It closes, unless there is something to save: a person is asked first.
    fn close(&self) -> glib::Propagation {
        let unsaved = self.shown.borrow().clone().filter(|shown| !shown.edits.borrow().is_empty());
        match (unsaved, self.window.upgrade()) {
            (Some(shown), Some(window)) => {
                shown.before_closing(&window);
                glib::Propagation::Stop
            }
            _ => {
                self.shown.take();
                glib::Propagation::Proceed
            }
        }
    }
}

fn problem(why: &str, hint: &str) -> adw::PreferencesGroup {
    adw::PreferencesGroup::builder()
        .title(glib::markup_escape_text(why))
        .description(glib::markup_escape_text(hint))
        .build()
}

/// What the page of the monitor is made of.
#[derive(Clone)]
struct Page {
    edits: Rc<RefCell<Edits>>,
    save: gtk4::Button,
    note: gtk4::Label,
    /// It comes up with what went wrong, so that a screen reader says it wherever the keyboard is.
    refusal: gtk4::Label,
    /// The monitor has not answered yet.
    asking: Rc<Cell<bool>>,
    /// The rows are shown something, nobody writes.
    showing: Rc<Cell<bool>>,
    /// The window closes when all is saved.
    closes: Rc<Cell<bool>>,
    rows: Rc<RefCell<Vec<(&'static str, Show)>>>,
    settings: Settings,
}

fn fill(page: &adw::PreferencesPage, settings: &Settings, values: &Said) -> Page {
    let save = gtk4::Button::builder()
        .label(tr("Save Changes"))
        .halign(gtk4::Align::Center)
        .css_classes(["pill", "suggested-action"])
        .sensitive(false)
        .build();
    let note = gtk4::Label::builder().wrap(true).css_classes(["dim-label"]).build();
    note.set_text(tr("Saving may ask for a password."));
    let refusal = gtk4::Label::builder()
        .wrap(true)
        .visible(false)
        .css_classes(["error"])
        .accessible_role(gtk4::AccessibleRole::Alert)
        .build();
    let parts = Page {
        edits: Rc::default(),
        save,
        note,
        refusal,
        asking: Rc::default(),
        showing: Rc::default(),
        closes: Rc::default(),
        rows: Rc::default(),
        settings: settings.clone(),
    };
    for (title, text, keys) in GROUPS {
        let group = adw::PreferencesGroup::builder().title(tr(title)).description(tr(text)).build();
        for key in keys {
            let value = values.get(key.key);
            // A monitor that does not know a key is of another version: the key is not offered.
            if value.is_none() && !matches!(key.kind, Kind::Secret) {
                continue;
            }
            let changed = parts.clone();
            let change: Change = Rc::new(move |edit| {
                if !changed.showing.get() {
                    changed.edits.borrow_mut().set(key.key, edit);
                    changed.ready();
                }
            });
            parts.edits.borrow_mut().learn(key.key, known(value));
            parts.showing.set(true);
            let (row, show) = row::row(key, values, &change);
            parts.showing.set(false);
            group.add(&row);
            parts.rows.borrow_mut().push((key.key, show));
        }
        page.add(&group);
    }
    let end = adw::PreferencesGroup::new();
    let both = gtk4::Box::new(gtk4::Orientation::Vertical, 8);
    both.append(&parts.save);
    both.append(&parts.note);
    both.append(&parts.refusal);
    end.add(&both);
    page.add(&end);
    let sends = parts.clone();
    parts.save.connect_clicked(move |save| {
        // What is being typed into a number counts when it is left.
        save.grab_focus();
        sends.send();
    });
    parts
}

fn known(value: Option<&OwnedValue>) -> Option<Value<'static>> {
    value.and_then(|value| value.try_clone().ok()).map(Value::from)
}

impl Page {
    /// It can be saved if there is something to save.
    fn ready(&self) {
        self.save.set_sensitive(!self.asking.get() && !self.edits.borrow().is_empty());
    }

    /// The monitor says this by now, as others change it, too. What is written stays.
    fn learn(&self, values: &Said) {
        for (key, show) in &*self.rows.borrow() {
            if self.edits.borrow_mut().learn(key, known(values.get(*key))) {
                self.showing.set(true);
                show(values);
                self.showing.set(false);
            }
        }
        self.ready();
    }

    /// Asks what becomes of what is not saved.
    fn before_closing(&self, window: &adw::PreferencesWindow) {
        let dialog = adw::MessageDialog::new(
            Some(window),
            Some(tr("Save changes?")),
            Some(tr("What was changed in the settings of the monitor is not saved yet.")),
        );
        dialog.add_responses(&[
            ("cancel", tr("_Cancel")),
            ("discard", tr("_Discard")),
            ("save", tr("_Save")),
        ]);
        dialog.set_response_appearance("discard", adw::ResponseAppearance::Destructive);
        dialog.set_response_appearance("save", adw::ResponseAppearance::Suggested);
        dialog.set_default_response(Some("save"));
        dialog.set_close_response("cancel");
        let (page, of) = (self.clone(), window.downgrade());
        dialog.connect_response(None, move |_, response| {
            let Some(window) = of.upgrade() else { return };
            match response {
                "discard" => {
                    page.edits.borrow_mut().discard();
                    window.close();
                }
                "save" => {
                    // Where it is said if it fails.
                    if let Some(monitor) = page.settings.page.upgrade() {
                        window.set_visible_page(&monitor);
                    }
                    page.save.grab_focus();
                    page.closes.set(true);
                    page.send();
                }
                _ => {}
            }
        });
        dialog.present();
    }

    /// Sends all changes at once, so that polkit asks one time.
    fn send(&self) {
        // What was sent last says how it ends.
        if self.asking.get() {
            return;
        }
        let Some(client) = self.settings.client.borrow().as_ref().map(Client::asking) else {
            return self.refuse(tr("The monitor did not answer. Try again."));
        };
        let wanted = match self.edits.borrow().wanted() {
            Ok(wanted) if wanted.is_empty() => return,
            Ok(wanted) => wanted,
            Err(why) => return self.refuse(&format!("{why} {}", tr("Nothing was changed."))),
        };
        self.asking.set(true);
        self.ready();
        self.refusal.set_visible(false);
        self.note.set_text(tr("Waiting for permission …"));
        self.note.set_visible(true);
        let page = self.clone();
        glib::spawn_future_local(async move {
            let sent = wanted.clone();
            let answer = relm4::spawn(async move { client.set_settings(&sent).await }).await;
            page.asking.set(false);
            match answer {
                Ok(Ok(())) => page.saved(wanted),
                Ok(Err(error)) => {
                    let failure = Failure::from(error);
                    let hint = failure.hint.unwrap_or(tr("Nothing was changed."));
                    page.refuse(&format!("{} {hint}", failure.why));
                }
                Err(_) => page.refuse(tr("The monitor did not answer. Try again.")),
            }
            page.ready();
        });
    }

    fn saved(&self, sent: Values) {
        self.edits.borrow_mut().saved(sent);
        self.note.set_text(tr("Saved."));
        if let Some(window) = self.settings.window.upgrade() {
            window.add_toast(adw::Toast::new(tr("Saved. It holds from now on.")));
            if self.closes.take() {
                window.close();
            }
        }
    }

    /// Says what went wrong in place of the note.
    fn refuse(&self, why: &str) {
        self.closes.set(false);
        self.note.set_visible(false);
        // One that is said again comes up again.
        self.refusal.set_visible(false);
        self.refusal.set_text(why);
        self.refusal.set_visible(true);
    }
}
