// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings: those of the monitor, over its bus interface, and the few that are this person's own. What
//! is changed is collected and saved at once, so that polkit asks one time.

mod edits;
mod keys;
mod personal;
mod row;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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
use row::Change;

/// The window of settings. Those of the monitor are shown as soon as it answers.
#[derive(Clone)]
pub struct Settings {
    window: glib::WeakRef<adw::PreferencesWindow>,
    page: glib::WeakRef<adw::PreferencesPage>,
    /// What stands in for the rows of the monitor.
    instead: Rc<RefCell<Option<adw::PreferencesGroup>>>,
    filled: Rc<Cell<bool>>,
    /// The bus may be another one by the time that something is saved.
    client: Rc<RefCell<Option<Client>>>,
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
        window.present();
        let settings = Self {
            window: window.downgrade(),
            page: page.downgrade(),
            instead: Rc::default(),
            filled: Rc::default(),
            client: Rc::default(),
        };
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

    /// Asks on this bus from now on: for the settings as well, if they are not shown where they could be.
    pub fn ask(&self, client: &Client) {
        self.client.replace(Some(client.clone()));
        if !waits(&self.page, self.filled.get()) {
            return;
        }
        let (settings, client) = (self.clone(), client.clone());
        glib::spawn_future_local(async move {
            // The bus is read on other threads; only the answer comes here.
            match relm4::spawn(async move { client.settings().await }).await {
                Ok(Ok(values)) => settings.fill(values),
                Ok(Err(error)) => settings.failed(error.into()),
                Err(_) => settings.failed(Failure::silent()),
            }
        });
    }

    /// The page, if nothing is shown there yet; what stands in for it goes.
    fn empty(&self) -> Option<adw::PreferencesPage> {
        let page = self.page.upgrade().filter(|_| waits(&self.page, self.filled.get()))?;
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

    fn fill(&self, values: HashMap<String, OwnedValue>) {
        if let Some(page) = self.empty() {
            self.filled.set(true);
            fill(&page, self, values);
        }
    }
}

/// A page that is still there, and without its rows.
fn waits(page: &glib::WeakRef<impl IsA<glib::Object>>, filled: bool) -> bool {
    !filled && page.upgrade().is_some()
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
    settings: Settings,
}

fn fill(page: &adw::PreferencesPage, settings: &Settings, values: HashMap<String, OwnedValue>) {
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
    let parts =
        Page { edits: Rc::default(), save, note, refusal, asking: Rc::default(), settings: settings.clone() };
    for (title, text, keys) in GROUPS {
        let group = adw::PreferencesGroup::builder().title(tr(title)).description(tr(text)).build();
        for key in keys {
            let value = values.get(key.key);
            // A monitor that does not know a key is of another version: the key is not offered.
            if value.is_none() && !matches!(key.kind, Kind::Secret) {
                continue;
            }
            if let Some(Ok(known)) = value.map(|value| value.try_clone().map(Value::from)) {
                parts.edits.borrow_mut().know(key.key, known);
            }
            let changed = parts.clone();
            let change: Change = Rc::new(move |edit| {
                changed.edits.borrow_mut().set(key.key, edit);
                changed.ready();
            });
            group.add(&row::row(key, &values, &change));
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
    parts.save.clone().connect_clicked(move |save| {
        // What is being typed into a number counts when it is left.
        save.grab_focus();
        parts.send();
    });
}

impl Page {
    /// It can be saved if there is something to save.
    fn ready(&self) {
        self.save.set_sensitive(!self.asking.get() && !self.edits.borrow().is_empty());
    }

    /// Sends all changes at once, so that polkit asks one time.
    fn send(&self) {
        let Some(client) = self.settings.client.borrow().as_ref().map(Client::asking) else { return };
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
        }
    }

    /// Says what went wrong in place of the note.
    fn refuse(&self, why: &str) {
        self.note.set_visible(false);
        // One that is said again comes up again.
        self.refusal.set_visible(false);
        self.refusal.set_text(why);
        self.refusal.set_visible(true);
    }
}

#[cfg(test)]
mod tests {
    use gtk4::gio::SimpleAction;

    use super::*;

    #[test]
    fn d05_settings_are_asked_for_only_where_they_are_waited_for() {
        let page = SimpleAction::new("page", None);
        let weak = page.downgrade();
        assert!(waits(&weak, false));
        assert!(!waits(&weak, true), "the rows are filled");
        drop(page);
        assert!(!waits(&weak, false), "the window is closed");
    }
}
