// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings: those of the monitor, over its bus interface, and the few that are this person's own. What
//! is changed is collected and saved at once, so that polkit asks one time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use gtk4::glib;
use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::tongue::{mark, say, tr};
use picosnitch_api::{Client, Quiet, inert};
use zbus::zvariant::{OwnedValue, Value};

use crate::ask::Failure;
use crate::format::Units;
use crate::msg::{Msg, Sender};
use crate::prefs::Prefs;

/// A key of the monitor with its row.
struct Key {
    key: &'static str,
    title: &'static str,
    text: &'static str,
    kind: Kind,
}

enum Kind {
    Switch,
    Number(f64, f64),
    List,
    Text,
    Secret,
}

const fn key(key: &'static str, title: &'static str, text: &'static str, kind: Kind) -> Key {
    Key { key, title, text, kind }
}

/// Groups of keys, in the order of `config.toml`.
const GROUPS: [(&str, &str, &[Key]); 6] = [
    (
        mark("Recording"),
        "",
        &[
            key(
                "monitor.bandwidth",
                mark("Count bytes"),
                mark("Not only that a connection was made"),
                Kind::Switch,
            ),
            key(
                "monitor.every_executable",
                mark("Every program that starts"),
                mark("Also those that do not use the network"),
                Kind::Switch,
            ),
        ],
    ),
    (
        mark("History"),
        "",
        &[
            key("database.enabled", mark("Keep a history"), "", Kind::Switch),
            key("database.retention_days", mark("Days that it is kept"), "", Kind::Number(1.0, 36500.0)),
            key(
                "database.detail_days",
                mark("Days of single connections"),
                mark("Older ones are added up"),
                Kind::Number(1.0, 36500.0),
            ),
            key(
                "database.write_interval_seconds",
                mark("Seconds between writes"),
                "",
                Kind::Number(1.0, 3600.0),
            ),
        ],
    ),
    (
        mark("What is written down"),
        "",
        &[
            key("log.addresses", mark("Remote addresses and names"), "", Kind::Switch),
            key("log.ports", mark("Ports"), "", Kind::Switch),
            key("log.commands", mark("Command lines"), "", Kind::Switch),
            key("log.connections", mark("Also as a text file"), "/var/log/picosnitch/conn.log", Kind::Switch),
        ],
    ),
    (
        mark("Left out"),
        mark(
            "Connections that match are not recorded. Their programs are still seen, hashed and announced. Separate values with commas.",
        ),
        &[
            key("log.ignore.domains", mark("Domains"), "", Kind::List),
            key("log.ignore.networks", mark("Networks"), "", Kind::List),
            key("log.ignore.ports", mark("Ports"), "", Kind::List),
            key("log.ignore.names", mark("Process names"), "", Kind::List),
            key("log.ignore.sha256", mark("Contents (sha256)"), "", Kind::List),
        ],
    ),
    (
        mark("Notifications"),
        "",
        &[key(
            "notify.desktop",
            mark("Show notifications"),
            mark("For everybody on this machine"),
            Kind::Switch,
        )],
    ),
    (
        mark("Sent elsewhere"),
        mark("Nothing leaves this machine unless it is set here."),
        &[
            key(
                "remote.url",
                mark("Database server"),
                "postgresql://USER:PASSWORD@HOST/DATABASE",
                Kind::Secret,
            ),
            key("remote.host_name", mark("Name of this machine there"), "", Kind::Text),
            key("virustotal.api_key", mark("VirusTotal key"), "", Kind::Secret),
            key("virustotal.upload", mark("Send files, not only hashes"), "", Kind::Switch),
        ],
    ),
];

type Changes = Rc<RefCell<HashMap<&'static str, Value<'static>>>>;

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

fn fill(
    window: &adw::PreferencesWindow,
    page: &adw::PreferencesPage,
    client: &Client,
    settings: HashMap<String, OwnedValue>,
) {
    let changes: Changes = Rc::default();
    let save = gtk4::Button::builder()
        .label(tr("Save Changes"))
        .halign(gtk4::Align::Center)
        .css_classes(["pill", "suggested-action"])
        .sensitive(false)
        .build();
    let note = gtk4::Label::builder().wrap(true).css_classes(["dim-label"]).build();
    note.set_text(tr("Saving asks for a password once."));
    for (title, text, keys) in GROUPS {
        let group = adw::PreferencesGroup::builder().title(tr(title)).description(tr(text)).build();
        for key in keys {
            // A monitor that does not know a key is of another version: the key is not offered.
            let value = settings.get(key.key);
            if value.is_none() && !matches!(key.kind, Kind::Secret) {
                continue;
            }
            group.add(&row(key, value, &changes, &save));
        }
        page.add(&group);
    }
    let end = adw::PreferencesGroup::new();
    // It comes up with what went wrong, so that a screen reader says it wherever the keyboard is.
    let refusal = gtk4::Label::builder()
        .wrap(true)
        .visible(false)
        .css_classes(["error"])
        .accessible_role(gtk4::AccessibleRole::Alert)
        .build();
    let both = gtk4::Box::new(gtk4::Orientation::Vertical, 8);
    both.append(&save);
    both.append(&note);
    both.append(&refusal);
    end.add(&both);
    page.add(&end);
    let (client, window) = (client.clone(), window.downgrade());
    save.connect_clicked(move |save| {
        let (client, changes, window) = (client.asking(), changes.clone(), window.clone());
        let (save, note, refusal) = (save.clone(), note.clone(), refusal.clone());
        let wanted: HashMap<&'static str, Value<'static>> = changes.borrow().clone();
        save.set_sensitive(false);
        refusal.set_visible(false);
        note.set_text(tr("Waiting for permission …"));
        note.set_visible(true);
        glib::spawn_future_local(async move {
            let answer = relm4::spawn(async move { client.set_settings(&wanted).await }).await;
            match answer {
                Ok(Ok(())) => {
                    changes.borrow_mut().clear();
                    note.set_text(tr("Saved."));
                    if let Some(window) = window.upgrade() {
                        window.add_toast(adw::Toast::new(tr("Saved. It holds from now on.")));
                    }
                }
                Ok(Err(error)) => {
                    let failure = Failure::from(error);
                    let hint = failure.hint.unwrap_or(tr("Nothing was changed."));
                    refuse(&note, &refusal, &format!("{} {hint}", failure.why));
                    save.set_sensitive(true);
                }
                Err(_) => refuse(&note, &refusal, tr("The monitor did not answer. Try again.")),
            }
        });
    });
}

/// Says what went wrong in place of the note.
fn refuse(note: &gtk4::Label, refusal: &gtk4::Label, why: &str) {
    note.set_visible(false);
    refusal.set_text(why);
    refusal.set_visible(true);
}

fn row(
    key: &'static Key,
    value: Option<&OwnedValue>,
    changes: &Changes,
    save: &gtk4::Button,
) -> gtk4::Widget {
    let (changes, save) = (changes.clone(), save.clone());
    let change = move |value: Value<'static>| {
        changes.borrow_mut().insert(key.key, value);
        save.set_sensitive(true);
    };
    match key.kind {
        Kind::Switch => {
            let switch = gtk4::Switch::builder().valign(gtk4::Align::Center).build();
            switch.set_active(value.and_then(|value| bool::try_from(value).ok()).unwrap_or(false));
            switch.connect_active_notify(move |switch| change(Value::from(switch.is_active())));
            let row = adw::ActionRow::builder().title(tr(key.title)).subtitle(tr(key.text)).build();
            row.add_suffix(&switch);
            // This also makes the row's title its name for a screen reader.
            row.set_activatable_widget(Some(&switch));
            row.upcast()
        }
        Kind::Number(least, most) => {
            let spin = gtk4::SpinButton::with_range(least, most, 1.0);
            spin.set_valign(gtk4::Align::Center);
            let number = value.and_then(number);
            spin.set_value(number.unwrap_or(least));
            // As it came, so that the monitor need not convert.
            let signature = value.map(|value| value.value_signature().to_string()).unwrap_or_default();
            spin.connect_value_changed(move |spin| {
                let value = spin.value();
                change(match signature.as_str() {
                    "u" => Value::from(value as u32),
                    "t" => Value::from(value as u64),
                    _ => Value::from(value as i64),
                });
            });
            let row = adw::ActionRow::builder().title(tr(key.title)).subtitle(tr(key.text)).build();
            row.add_suffix(&spin);
            row.set_activatable_widget(Some(&spin));
            row.upcast()
        }
        Kind::List => {
            let row = adw::EntryRow::builder().title(tr(key.title)).show_apply_button(true).build();
            row.set_text(&value.map(listed).unwrap_or_default());
            let numbers = key.key.ends_with("ports");
            let signature = value.map(|value| value.value_signature().to_string()).unwrap_or_default();
            row.connect_apply(move |row| {
                let text = row.text();
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                change(if numbers && signature != "as" {
                    let ports: Vec<u16> = parts.filter_map(|part| part.parse().ok()).collect();
                    if signature == "ax" {
                        Value::from(ports.into_iter().map(i64::from).collect::<Vec<_>>())
                    } else {
                        Value::from(ports)
                    }
                } else {
                    Value::from(parts.map(str::to_owned).collect::<Vec<_>>())
                });
            });
            row.upcast()
        }
        Kind::Text => {
            let row = adw::EntryRow::builder().title(tr(key.title)).show_apply_button(true).build();
            let text = value.and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default();
            row.set_text(text);
            row.connect_apply(move |row| change(Value::from(row.text().to_string())));
            row.upcast()
        }
        Kind::Secret => {
            let row = adw::PasswordEntryRow::builder().title(tr(key.title)).show_apply_button(true).build();
            row.set_tooltip_text(Some(tr("Not shown again once it is set")));
            row.connect_apply(move |row| change(Value::from(row.text().to_string())));
            row.upcast()
        }
    }
}

fn number(value: &OwnedValue) -> Option<f64> {
    let value: &Value<'_> = value;
    match value {
        Value::U32(number) => Some(f64::from(*number)),
        Value::I32(number) => Some(f64::from(*number)),
        Value::U16(number) => Some(f64::from(*number)),
        Value::I64(number) => Some(*number as f64),
        Value::U64(number) => Some(*number as f64),
        _ => None,
    }
}

fn listed(value: &OwnedValue) -> String {
    let value: &Value<'_> = value;
    let Value::Array(values) = value else { return String::new() };
    let text = |value: &Value<'_>| match value {
        Value::Str(text) => inert(text).into_owned(),
        Value::U16(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        _ => String::new(),
    };
    values.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What is this person's own: units, and the programs that they muted.
fn personal(sender: &Sender, units: &Rc<Cell<Units>>) -> adw::PreferencesPage {
    let page = adw::PreferencesPage::builder().title(tr("You")).icon_name("avatar-default-symbolic").build();
    let look = adw::PreferencesGroup::builder().title(tr("Display")).build();
    let choice = adw::ComboRow::builder()
        .title(tr("Units of sizes"))
        .model(&gtk4::StringList::new(&["KiB, MiB (1024)", "kB, MB (1000)"]))
        .build();
    choice.set_selected(if units.get() == Units::Si { 1 } else { 0 });
    let (set, emit) = (units.clone(), sender.clone());
    choice.connect_selected_notify(move |choice| {
        set.set(if choice.selected() == 1 { Units::Si } else { Units::Iec });
        Prefs { units: set.get(), ..Prefs::load() }.save();
        emit.emit(Msg::Preferences);
    });
    look.add(&choice);
    page.add(&look);
    let file = Quiet::file();
    let quiet = file.as_deref().map(Quiet::load).and_then(Result::ok).unwrap_or_default();
    for (title, text, paths, muted) in [
        (tr("Muted programs"), tr("They are recorded, but no notification is shown."), quiet.muted, true),
        (
            tr("Programs that update themselves"),
            tr("Their changes show no notification."),
            quiet.expected,
            false,
        ),
    ] {
        let group = adw::PreferencesGroup::builder().title(title).description(text).build();
        if paths.is_empty() {
            group.add(&adw::ActionRow::builder().title(tr("None")).sensitive(false).build());
        }
        for path in paths {
            let row = adw::ActionRow::builder().use_markup(false).build();
            row.set_title(&inert(&path));
            let remove = gtk4::Button::builder()
                .icon_name("user-trash-symbolic")
                .tooltip_text(tr("Tell me about it again"))
                .valign(gtk4::Align::Center)
                .css_classes(["flat"])
                .build();
            crate::speak::label(&remove, tr("Tell me about it again"));
            let (group_of, row_of, file, sender) =
                (group.downgrade(), row.downgrade(), file.clone(), sender.clone());
            remove.connect_clicked(move |_| {
                let Some(file) = &file else { return };
                let changed = Quiet::load(file).and_then(|mut quiet| {
                    if muted {
                        quiet.muted.remove(&path)
                    } else {
                        quiet.expected.remove(&path)
                    };
                    quiet.save(file)
                });
                match (changed, group_of.upgrade(), row_of.upgrade()) {
                    (Ok(()), Some(group), Some(row)) => group.remove(&row),
                    (Err(error), ..) => {
                        sender.emit(Msg::Note(say("Cannot save it: {error}", &[("error", &error)])))
                    }
                    _ => {}
                }
            });
            row.add_suffix(&remove);
            group.add(&row);
        }
        page.add(&group);
    }
    page
}
