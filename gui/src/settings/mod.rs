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

/// Opens the window of settings.
pub fn open(
    parent: &impl IsA<gtk4::Window>,
    client: Option<Client>,
    sender: &Sender,
    units: &Rc<Cell<Units>>,
) {
    let window = adw::PreferencesWindow::builder()
        .transient_for(parent)
        .modal(true)
        .title(tr("Settings"))
        .search_enabled(true)
        .default_width(640)
        .default_height(680)
        .build();
    window.add(&personal(sender, units));
    let page =
        adw::PreferencesPage::builder().title(tr("Monitor")).icon_name("preferences-system-symbolic").build();
    window.add(&page);
    window.present();
    let Some(client) = client else {
        return page
            .add(&problem(tr("The monitor cannot be reached"), tr("Its settings are shown when it runs.")));
    };
    let window = window.downgrade();
    glib::spawn_future_local(async move {
        let asked = client.clone();
        // The bus is read on other threads; only the answer comes here.
        let answer = relm4::spawn(async move { asked.settings().await }).await;
        let Some(window) = window.upgrade() else { return };
        match answer {
            Ok(Ok(settings)) => fill(&window, &page, &client, settings),
            Ok(Err(error)) => {
                let failure = Failure::from(error);
                page.add(&problem(&failure.why, failure.hint.unwrap_or_default()));
            }
            Err(_) => page.add(&problem(tr("The monitor did not answer."), "")),
        }
    });
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
    window: glib::WeakRef<adw::PreferencesWindow>,
}

fn fill(
    window: &adw::PreferencesWindow,
    page: &adw::PreferencesPage,
    client: &Client,
    settings: HashMap<String, OwnedValue>,
) {
    let save = gtk4::Button::builder()
        .label(tr("Save Changes"))
        .halign(gtk4::Align::Center)
        .css_classes(["pill", "suggested-action"])
        .sensitive(false)
        .build();
    let note = gtk4::Label::builder().wrap(true).css_classes(["dim-label"]).build();
    note.set_text(tr("Saving asks for a password once."));
    let refusal = gtk4::Label::builder()
        .wrap(true)
        .visible(false)
        .css_classes(["error"])
        .accessible_role(gtk4::AccessibleRole::Alert)
        .build();
    let parts =
        Page { edits: Rc::default(), save, note, refusal, asking: Rc::default(), window: window.downgrade() };
    for (title, text, keys) in GROUPS {
        let group = adw::PreferencesGroup::builder().title(tr(title)).description(tr(text)).build();
        for key in keys {
            // A monitor that does not know a key is of another version: the key is not offered.
            let value = settings.get(key.key);
            if value.is_none() && !matches!(key.kind, Kind::Secret) {
                continue;
            }
            // Of a secret nothing is known, so nothing typed is nothing to save.
            let known = value.map_or_else(|| Ok(Value::from("")), |value| value.try_clone().map(Value::from));
            if let Ok(known) = known {
                parts.edits.borrow_mut().know(key.key, known);
            }
            let changed = parts.clone();
            let change: Change = Rc::new(move |edit| {
                changed.edits.borrow_mut().set(key.key, edit);
                changed.ready();
            });
            group.add(&row::row(key, value, &change));
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
    let client = client.clone();
    parts.save.clone().connect_clicked(move |save| {
        // What is being typed into a number counts when it is left.
        save.grab_focus();
        parts.send(&client);
    });
}

impl Page {
    /// It can be saved if there is something to save.
    fn ready(&self) {
        self.save.set_sensitive(!self.asking.get() && !self.edits.borrow().is_empty());
    }

    /// Sends all changes at once, so that polkit asks one time.
    fn send(&self, client: &Client) {
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
        let (client, page) = (client.asking(), self.clone());
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
        if let Some(window) = self.window.upgrade() {
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
