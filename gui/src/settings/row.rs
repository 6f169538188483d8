// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows of the settings. What is typed counts as it is typed; nothing has to be confirmed before it is saved.

use std::collections::HashMap;
use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::tongue::{say, tr};
use zbus::zvariant::{OwnedValue, Value};

use super::edits::{self, Edit};
use super::keys::{Key, Kind};

/// What is done with an edit.
pub type Change = Rc<dyn Fn(Edit)>;

/// In the monitor's answer, the names of the secrets that have a value.
const SECRETS_SET: &str = "secrets-set";

/// What the monitor says, by its keys.
pub type Said = HashMap<String, OwnedValue>;

/// Shows in a row what the monitor says of it by now.
pub type Show = Box<dyn Fn(&Said)>;

/// The row of a key, with what the monitor says of it, and what shows it anew.
pub fn row(key: &'static Key, values: &Said, change: &Change) -> (gtk4::Widget, Show) {
    let (row, show) = match key.kind {
        Kind::Switch => switch(key, change.clone()),
        Kind::Number(least, most) => spin(key, values.get(key.key), (least, most), change.clone()),
        Kind::Choice(words) => choice(key, words, change.clone()),
        Kind::List => {
            entry(&adw::EntryRow::new(), key, listed, change, |text| Some(edits::list(text).map(Value::from)))
        }
        Kind::Ports => entry(&adw::EntryRow::new(), key, listed, change, |text| {
            Some(edits::ports(text).map(Value::from))
        }),
        Kind::Text => {
            let text = |value: &OwnedValue| <&str>::try_from(value).unwrap_or_default().to_owned();
            entry(&adw::EntryRow::new(), key, text, change, |text| Some(Ok(Value::from(text.to_owned()))))
        }
        Kind::Secret => secret(key, change),
    };
    show(values);
    (row, show)
}

/// Shows the value of a key in a widget that is still there.
fn shows<W: IsA<gtk4::Widget>>(
    key: &'static Key,
    widget: &W,
    set: impl Fn(&W, Option<&OwnedValue>) + 'static,
) -> Show {
    let widget = widget.downgrade();
    Box::new(move |values| {
        if let Some(widget) = widget.upgrade() {
            set(&widget, values.get(key.key));
        }
    })
}

/// What is set is not shown, and stays unless something is typed, or it is to be forgotten.
fn secret(key: &'static Key, change: &Change) -> (gtk4::Widget, Show) {
    let row = adw::PasswordEntryRow::new();
    row.set_tooltip_text(Some(tr("Not shown again once it is set")));
    let forget = gtk4::ToggleButton::builder()
        .label(tr("Forget"))
        .valign(gtk4::Align::Center)
        .css_classes(["flat"])
        .build();
    let says = say("Forget what is set: {key}", &[("key", &tr(key.title))]);
    forget.set_tooltip_text(Some(&says));
    crate::speak::label(&forget, &says);
    row.add_suffix(&forget);
    let (of, changed) = (row.downgrade(), change.clone());
    forget.connect_toggled(move |forget| {
        if forget.is_active() {
            of.upgrade().inspect(|row| row.set_text(""));
            changed(Some(Ok(Value::from(""))));
        } else if of.upgrade().is_some_and(|row| row.text().is_empty()) {
            changed(None);
        }
    });
    let button = forget.downgrade();
    let (row, show) = entry(
        &row,
        key,
        |_| String::new(),
        change,
        move |text| {
            let typed = (!text.is_empty()).then(|| Ok(Value::from(text.to_owned())));
            if typed.is_some() {
                // What is saved now can be forgotten, too.
                forget.set_visible(true);
                forget.set_active(false);
            }
            typed
        },
    );
    let show: Show = Box::new(move |values| {
        show(values);
        let set = values.get(SECRETS_SET).and_then(|set| set.try_clone().ok());
        let set: Vec<String> = set.and_then(|set| set.try_into().ok()).unwrap_or_default();
        if let Some(forget) = button.upgrade() {
            forget.set_active(false);
            forget.set_visible(set.iter().any(|set| set == key.key));
        }
    });
    (row, show)
}

fn titled(key: &Key, suffix: &impl IsA<gtk4::Widget>) -> gtk4::Widget {
    let row = adw::ActionRow::builder().title(tr(key.title)).subtitle(tr(key.text)).build();
    row.add_suffix(suffix);
    // This also makes the row's title its name for a screen reader.
    row.set_activatable_widget(Some(suffix));
    row.upcast()
}

fn switch(key: &'static Key, change: Change) -> (gtk4::Widget, Show) {
    let switch = gtk4::Switch::builder().valign(gtk4::Align::Center).build();
    switch.connect_active_notify(move |switch| change(Some(Ok(Value::from(switch.is_active())))));
    let show = shows(key, &switch, |switch, value| {
        switch.set_active(value.and_then(|value| bool::try_from(value).ok()).unwrap_or(false));
    });
    (titled(key, &switch), show)
}

fn spin(
    key: &'static Key,
    value: Option<&OwnedValue>,
    (least, most): (f64, f64),
    change: Change,
) -> (gtk4::Widget, Show) {
    let spin = gtk4::SpinButton::with_range(least, most, 1.0);
    spin.set_valign(gtk4::Align::Center);
    // As it came, so that the monitor need not convert.
    let signature = value.map(|value| value.value_signature().to_string()).unwrap_or_default();
    let change = Rc::new(move |now: f64| {
        change(Some(Ok(match signature.as_str() {
            "u" => Value::from(now as u32),
            "t" => Value::from(now as u64),
            _ => Value::from(now as i64),
        })));
    });
    let typed = change.clone();
    spin.connect_value_changed(move |spin| change(spin.value()));
    // The value follows what is typed only when the field is left.
    spin.connect_changed(move |spin| {
        if let Some(now) = spin.text().trim().parse().ok().filter(|now| (least..=most).contains(now)) {
            typed(now);
        }
    });
    let show = shows(key, &spin, move |spin, value| spin.set_value(value.and_then(number).unwrap_or(least)));
    (titled(key, &spin), show)
}

fn choice(
    key: &'static Key,
    words: &'static [(&'static str, &'static str)],
    change: Change,
) -> (gtk4::Widget, Show) {
    let names: Vec<&str> = words.iter().map(|(_, name)| tr(name)).collect();
    let row = adw::ComboRow::builder().title(tr(key.title)).model(&gtk4::StringList::new(&names)).build();
    row.connect_selected_notify(move |row| {
        if let Some((word, _)) = words.get(row.selected() as usize) {
            change(Some(Ok(Value::from(*word))));
        }
    });
    let show = shows(key, &row, move |row, value| {
        let now = value.and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default();
        let now = words.iter().position(|(word, _)| *word == now).unwrap_or(0);
        row.set_selected(now as u32);
    });
    (row.upcast(), show)
}

/// One that is marked while it holds a mistake.
fn entry(
    row: &impl IsA<adw::EntryRow>,
    key: &'static Key,
    write: impl Fn(&OwnedValue) -> String + 'static,
    change: &Change,
    read: impl Fn(&str) -> Edit + 'static,
) -> (gtk4::Widget, Show) {
    let row: &adw::EntryRow = row.upcast_ref();
    row.set_title(tr(key.title));
    let change = change.clone();
    row.connect_changed(move |row| {
        let edit = read(&row.text());
        if matches!(edit, Some(Err(_))) {
            row.add_css_class("error");
        } else {
            row.remove_css_class("error");
        }
        change(edit);
    });
    let show = shows(key, row, move |row, value| {
        let text = value.map(&write).unwrap_or_default();
        // The cursor stays in what is the same.
        if row.text() != text {
            row.set_text(&text);
        }
    });
    (row.clone().upcast(), show)
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
        Value::Str(text) => text.to_string(),
        Value::U16(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        _ => String::new(),
    };
    let texts: Vec<_> = values.iter().map(text).collect();
    edits::text(texts.iter().map(String::as_str))
}
