// SPDX-License-Identifier: GPL-3.0-or-later
//! Changing a list in the file without losing what is said between its entries. toml_edit keeps the comment that
//! stands behind an entry with what comes next: the prefix of the following one, or the end of the list.

use toml_edit::{Array, Value};

/// Whether two values say the same, however they are written.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => false,
    }
}

/// Up to the end of the line: what is said of the entry before.
fn head(text: &str) -> &str {
    let head = text.split('\n').next().unwrap_or_default();
    if head.contains('#') { head } else { "" }
}

/// From the end of the line on: what is said of the entry that follows, and its indentation.
fn tail(text: &str) -> &str {
    text.find('\n').map_or("", |at| &text[at..])
}

/// Makes the list say what `wanted` says. Entries that stay keep their comments, their place and their form; new ones
/// come last. The lists of the settings are sets: order means nothing.
pub(super) fn update(list: &mut Array, wanted: &Array) {
    let has = |list: &[Value], entry: &Value| list.iter().any(|other| same(other, entry));
    let all: Vec<Value> = wanted.iter().cloned().collect();
    let mut kept: Vec<Value> = Vec::new();
    // What stands behind the last entry that stays, if something was taken out since.
    let mut behind: Option<String> = None;
    let join = |behind: Option<String>, text: &str| match behind {
        Some(head) => head + tail(text),
        None => text.to_owned(),
    };
    for entry in list.iter() {
        let prefix = entry.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        let mut prefix = join(behind.take(), prefix);
        if !has(&all, entry) {
            behind = Some(head(&prefix).to_owned());
            continue;
        }
        if prefix.is_empty() && !kept.is_empty() {
            prefix.push(' ');
        }
        let mut entry = entry.clone();
        entry.decor_mut().set_prefix(prefix);
        kept.push(entry);
    }
    let mut trailing = join(behind, list.trailing().as_str().unwrap_or_default());
    let lines = trailing.contains('\n');
    let indent = kept.last().and_then(|last| last.decor().prefix()?.as_str()?.rsplit_once('\n'));
    let indent = indent.map_or("    ", |(_, indent)| indent).to_owned();
    for entry in &all {
        if has(&kept, entry) {
            continue;
        }
        let prefix = match (lines, kept.is_empty()) {
            (true, _) => {
                let behind = head(&trailing).to_owned();
                trailing = tail(&trailing).to_owned();
                format!("{behind}\n{indent}")
            }
            (false, true) => String::new(),
            (false, false) => " ".to_owned(),
        };
        let mut entry = entry.clone();
        *entry.decor_mut() = toml_edit::Decor::new(prefix, "");
        kept.push(entry);
    }
    let comma = list.trailing_comma() || lines;
    list.clear();
    list.set_trailing_comma(comma && !kept.is_empty());
    kept.into_iter().for_each(|entry| list.push_formatted(entry));
    list.set_trailing(trailing);
}
