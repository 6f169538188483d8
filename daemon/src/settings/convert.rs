// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys and values between the file, the bus and a person: `database.retention_days` everywhere.

use std::collections::BTreeMap;
use std::collections::HashMap;

use picosnitch_api::row::Dict;
use toml_edit::{Item, TableLike};
use zbus::zvariant::{OwnedValue, Value};

use super::{Problem, SECRETS, Settings, list, one_line};

/// Every key with its value, in order.
pub(super) fn flat(settings: &Settings) -> BTreeMap<String, toml::Value> {
    fn walk(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, toml::Value>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(table) => walk(&key, table, into),
                value => {
                    into.insert(key, value);
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    // Settings are tables of booleans, numbers, texts and lists: all of them have a TOML form.
    if let Ok(table) = toml::Table::try_from(settings) {
        walk("", table, &mut all);
    }
    all
}

impl Settings {
    /// Every key and its value, without secrets; those that are set are listed in `secrets-set`.
    #[must_use]
    pub fn to_dict(&self) -> HashMap<String, OwnedValue> {
        let mut dict = HashMap::new();
        let mut secrets = Vec::new();
        for (key, value) in flat(self) {
            if SECRETS.contains(&key.as_str()) {
                if value.as_str().is_some_and(|text| !text.is_empty()) {
                    secrets.push(key);
                }
            } else if let Some(value) = to_bus(&key, &value) {
                dict.insert(key, value);
            }
        }
        if let Ok(secrets) = OwnedValue::try_from(Value::from(secrets)) {
            dict.insert("secrets-set".to_owned(), secrets);
        }
        dict
    }

    /// The keys whose values differ.
    #[must_use]
    pub fn changed(&self, from: &Settings) -> Vec<String> {
        let before = flat(from);
        flat(self)
            .into_iter()
            .filter(|(key, value)| before.get(key) != Some(value))
            .map(|(key, _)| key)
            .collect()
    }
}

fn to_bus(key: &str, value: &toml::Value) -> Option<OwnedValue> {
    let value = match value {
        toml::Value::Boolean(yes) => Value::from(*yes),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::String(text) => Value::from(text.clone()),
        toml::Value::Array(list) if key == "log.ignore.ports" => Value::from(
            list.iter().filter_map(|port| port.as_integer()?.try_into().ok()).collect::<Vec<u16>>(),
        ),
        toml::Value::Array(list) => Value::from(
            list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<String>>(),
        ),
        _ => return None,
    };
    OwnedValue::try_from(value).ok()
}

/// A value from the bus as one of the file. Its type is checked when the file is read.
fn from_bus(key: &str, value: &Value<'_>) -> Result<toml_edit::Value, Problem> {
    let integer = |value: &Value<'_>| -> Option<i64> {
        Some(match value {
            Value::U8(n) => i64::from(*n),
            Value::I16(n) => i64::from(*n),
            Value::U16(n) => i64::from(*n),
            Value::I32(n) => i64::from(*n),
            Value::U32(n) => i64::from(*n),
            Value::I64(n) => *n,
            Value::U64(n) => i64::try_from(*n).ok()?,
            _ => return None,
        })
    };
    match value {
        Value::Bool(yes) => Ok((*yes).into()),
        Value::Str(text) => Ok(text.as_str().into()),
        Value::Value(inner) => from_bus(key, inner),
        Value::Array(list) => {
            let mut array = toml_edit::Array::new();
            for value in list.iter() {
                array.push(from_bus(key, value)?);
            }
            Ok(array.into())
        }
        other => integer(other).map(Into::into).ok_or_else(|| {
            Problem::of(
                key,
                "true or false, a whole number, a text, or a list of texts or numbers is accepted",
            )
        }),
    }
}

/// Puts changes into a document and leaves the rest as it is, comments included.
pub(super) fn edit(document: &mut toml_edit::DocumentMut, changes: &Dict) -> Result<(), Problem> {
    let known = flat(&Settings::default());
    // In order, so that the first thing that is wrong is always the same one.
    let changes: BTreeMap<_, _> = changes.iter().collect();
    for (key, value) in changes {
        if !known.contains_key(key) {
            let keys: Vec<_> = known.keys().map(String::as_str).collect();
            let hint = nearest(key, &keys).map(|near| format!("did you mean {near}?"));
            return Err(Problem {
                key: Some(key.clone()),
                message: "there is no such setting".to_owned(),
                hint,
            });
        }
        let mut value = from_bus(key, value)?;
        let mut words = key.split('.');
        // Every known key has a section before it.
        let last = words.next_back().unwrap_or_default();
        let mut table: &mut dyn TableLike = document.as_table_mut();
        for word in words {
            let item = table.entry(word).or_insert_with(|| {
                let mut table = toml_edit::Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            table = item
                .as_table_like_mut()
                .ok_or_else(|| Problem::of(key, format!("{word} is not a section in the file")))?;
        }
        match table.get_mut(last).and_then(Item::as_value_mut) {
            Some(old) if list::same(old, &value) => {}
            Some(toml_edit::Value::Array(old)) if value.is_array() => {
                list::update(old, value.as_array().unwrap_or(&toml_edit::Array::new()));
            }
            Some(old) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            None => {
                table.insert(last, Item::Value(value));
            }
        }
    }
    Ok(())
}

/// The key whose definition has this byte in it; the innermost one.
pub(super) fn key_at(table: &toml_edit::Table, offset: usize) -> Option<String> {
    fn walk(prefix: &str, table: &dyn TableLike, offset: usize) -> Option<String> {
        let holds = |span: Option<std::ops::Range<usize>>| span.is_some_and(|span| span.contains(&offset));
        for (word, item) in table.iter() {
            let key = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}.{word}") };
            if let Some(found) = item.as_table_like().and_then(|inner| walk(&key, inner, offset)) {
                return Some(found);
            }
            if holds(item.span()) || holds(table.key(word).and_then(toml_edit::Key::span)) {
                return Some(key);
            }
        }
        None
    }
    walk("", table, offset)
}

/// Where a key's value, or else its section, begins.
pub(super) fn place_of(table: &toml_edit::Table, key: &str) -> Option<usize> {
    let mut table: &dyn TableLike = table;
    let mut place = None;
    for word in key.split('.') {
        let item = table.get(word)?;
        place = item.span().map(|span| span.start).or(place);
        match item.as_table_like() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    place
}

/// Says what serde found in words for a person.
pub(super) fn explain(message: &str, key: Option<String>) -> Problem {
    let message = one_line(message);
    let Some(unknown) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
    else {
        let message = without_value(&message, key.as_deref())
            .replace("invalid type: ", "wrong type: ")
            .replace("invalid value: ", "")
            .replace("a boolean", "true or false")
            .replace("a sequence", "a list in [ ]");
        let numbers = [
            ("u16", "a whole number, 1 to 65535"),
            ("u32", "a whole number that is not negative, below 2³²"),
        ];
        let message =
            numbers.iter().fold(message, |message, (word, words)| match message.strip_suffix(word) {
                Some(start) => format!("{start}{words}"),
                None => message,
            });
        return Problem { key, message, hint: None };
    };
    let defaults = flat(&Settings::default());
    let full = key.as_deref().filter(|key| key.rsplit('.').next() == Some(unknown)).unwrap_or(unknown);
    let keys: Vec<_> = defaults.keys().map(String::as_str).collect();
    // Right word in the wrong section, else a word that looks like it.
    let elsewhere = keys.iter().find(|key| key.rsplit('.').next() == Some(unknown)).copied();
    let mut sections: Vec<_> =
        keys.iter().filter_map(|key| key.rsplit_once('.')).map(|(section, _)| section).collect();
    sections.dedup();
    let in_section = |near: &str| match near.rsplit_once('.') {
        Some((section, word)) => format!("did you mean {word} in [{section}]?"),
        None => format!("did you mean {near}?"),
    };
    // A section by its whole name: `log.ignore` has a dot and is one.
    let hint = elsewhere
        .map(in_section)
        .or_else(|| nearest(full, &sections).map(|section| format!("did you mean [{section}]?")))
        .or_else(|| nearest(full, &keys).map(in_section));
    Problem { key: Some(full.to_owned()), message: "there is no such setting".to_owned(), hint }
}

/// serde quotes what it found, and what is said here goes to everybody on the bus: no text, wherever it stands, as
/// it may be a secret in the wrong place, and nothing at all of the sections that have secrets.
fn without_value(message: &str, key: Option<&str>) -> String {
    let section = key.and_then(|key| key.split('.').next()).unwrap_or_default();
    let secret = SECRETS.iter().any(|known| known.split('.').next() == Some(section));
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return if secret { "this is not accepted".to_owned() } else { message.to_owned() };
    };
    let found = match found.split_once(": ") {
        _ if found.starts_with("unknown variant ") => "this is none of the words that it may be",
        Some((_, value)) if value.starts_with("string ") => "wrong type: a text",
        Some(_) if secret => "wrong type",
        _ => found,
    };
    format!("{found}, expected {expected}")
}

/// The known key that looks most like this one, if any does.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &str| {
        let whole = edits(key, known);
        let word = edits(key.rsplit('.').next().unwrap_or(key), known.rsplit('.').next().unwrap_or(known));
        (word, whole)
    };
    let best = known.iter().min_by_key(|known| distance(known))?;
    let word = key.rsplit('.').next().unwrap_or(key);
    (distance(best).0 <= 1 + word.chars().count() / 4).then_some(*best)
}

/// Levenshtein's distance, of texts that are cut at 64 characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
