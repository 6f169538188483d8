// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows of the settings. What is typed counts as it is typed; nothing has to be confirmed before it is saved.

use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::inert;
use picosnitch_api::tongue::tr;
use zbus::zvariant::{OwnedValue, Value};

use super::edits;
use super::keys::{Key, Kind};

/// What is done with an edit: a value, or a sentence that says why it is none.
pub type Change = Rc<dyn Fn(Result<Value<'static>, String>)>;

/// The row of a key that has this value.
pub fn row(key: &'static Key, value: Option<&OwnedValue>, change: &Change) -> gtk4::Widget {
    match key.kind {
        Kind::Switch => switch(key, value, change.clone()),
        Kind::Number(least, most) => spin(key, value, (least, most), change.clone()),
        Kind::Choice(words) => choice(key, value, words, change.clone()),
        Kind::List => {
            let text = value.map(listed).unwrap_or_default();
            entry(&adw::EntryRow::new(), key, &text, change, |text| Ok(Value::from(edits::list(text))))
        }
        Kind::Ports => {
            let text = value.map(listed).unwrap_or_default();
            entry(&adw::EntryRow::new(), key, &text, change, |text| Ok(Value::from(edits::ports(text)?)))
        }
        Kind::Text => {
            let text = value.and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default();
            entry(&adw::EntryRow::new(), key, text, change, |text| Ok(Value::from(text.to_owned())))
        }
        Kind::Secret => {
            let row = adw::PasswordEntryRow::new();
            row.set_tooltip_text(Some(tr("Not shown again once it is set")));
            entry(&row, key, "", change, |text| Ok(Value::from(text.to_owned())))
        }
    }
}

fn titled(key: &Key, suffix: &impl IsA<gtk4::Widget>) -> gtk4::Widget {
    let row = adw::ActionRow::builder().title(tr(key.title)).subtitle(tr(key.text)).build();
    row.add_suffix(suffix);
    // This also makes the row's title its name for a screen reader.
    row.set_activatable_widget(Some(suffix));
    row.upcast()
}

fn switch(key: &Key, value: Option<&OwnedValue>, change: Change) -> gtk4::Widget {
    let switch = gtk4::Switch::builder().valign(gtk4::Align::Center).build();
    switch.set_active(value.and_then(|value| bool::try_from(value).ok()).unwrap_or(false));
    switch.connect_active_notify(move |switch| change(Ok(Value::from(switch.is_active()))));
    titled(key, &switch)
}

fn spin(key: &Key, value: Option<&OwnedValue>, (least, most): (f64, f64), change: Change) -> gtk4::Widget {
    let spin = gtk4::SpinButton::with_range(least, most, 1.0);
    spin.set_valign(gtk4::Align::Center);
    spin.set_value(value.and_then(number).unwrap_or(least));
    // As it came, so that the monitor need not convert.
    let signature = value.map(|value| value.value_signature().to_string()).unwrap_or_default();
    spin.connect_value_changed(move |spin| {
        let now = spin.value();
        change(Ok(match signature.as_str() {
            "u" => Value::from(now as u32),
            "t" => Value::from(now as u64),
            _ => Value::from(now as i64),
        }));
    });
    titled(key, &spin)
}

fn choice(
    key: &Key,
    value: Option<&OwnedValue>,
    words: &'static [(&'static str, &'static str)],
    change: Change,
) -> gtk4::Widget {
    let names: Vec<&str> = words.iter().map(|(_, name)| tr(name)).collect();
    let now = value.and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default();
    let now = words.iter().position(|(word, _)| *word == now).unwrap_or(0);
    let row = adw::ComboRow::builder().title(tr(key.title)).model(&gtk4::StringList::new(&names)).build();
    row.set_selected(now as u32);
    row.connect_selected_notify(move |row| {
        if let Some((word, _)) = words.get(row.selected() as usize) {
            change(Ok(Value::from(*word)));
        }
    });
    row.upcast()
}

/// One that is marked while it holds a mistake.
fn entry(
    row: &impl IsA<adw::EntryRow>,
    key: &Key,
    text: &str,
    change: &Change,
    read: impl Fn(&str) -> Result<Value<'static>, String> + 'static,
) -> gtk4::Widget {
    let row: &adw::EntryRow = row.upcast_ref();
    row.set_title(tr(key.title));
    row.set_text(text);
    let change = change.clone();
    row.connect_changed(move |row| {
        let edit = read(&row.text());
        if edit.is_err() {
            row.add_css_class("error");
        } else {
            row.remove_css_class("error");
        }
        change(edit);
    });
    row.clone().upcast()
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
