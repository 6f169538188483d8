// SPDX-License-Identifier: GPL-3.0-or-later
//! One notice as a block of lines.

use picosnitch_api::inert;
use picosnitch_api::row::Event;

use crate::out::Style;
use crate::view::{View, far_end, placed};

/// Inert lines, the first with the time and what it is about.
pub fn lines(event: &Event, view: &mut View, style: Style) -> Vec<String> {
    let time = view.time(event.time);
    let indent = " ".repeat(time.len() + 2);
    let path = event.path.as_deref().or(event.name.as_deref()).unwrap_or("an unknown program");
    let path = placed(path.to_owned(), event.foreign_root);
    let (what, about) = match event.kind.as_deref() {
        Some("new-executable") => (style.green("new program"), path),
        Some("hash-changed") => (style.yellow("changed program"), path),
        Some("verdict") => (style.red("suspicious program"), path),
        Some("error") => {
            let kind = event.error.as_deref().unwrap_or("error");
            let message = event.message.as_deref().unwrap_or("no message");
            (style.red(&format!("error ({})", inert(kind))), message.to_owned())
        }
        kind => (inert(kind.unwrap_or("notice")).into_owned(), path),
    };
    let mut lines = vec![format!("{}  {what}  {}", style.dim(&time), style.bold(&inert(&about)))];
    if event.kind.as_deref() == Some("error") {
        return lines;
    }
    let mut put = |label: &str, text: String| {
        lines.push(format!("{indent}{}  {}", style.dim(&format!("{label:<8}")), inert(&text)));
    };
    if let Some(verdict) = event.message.as_ref() {
        put("found by", verdict.clone());
    }
    if event.file_deleted == Some(true) {
        put("file", "was deleted or replaced".to_owned());
    }
    if let Some(to) = destination(event) {
        put(if event.direction.as_deref() == Some("in") { "from" } else { "to" }, to);
    }
    let mut who = format!("user {}", view.user(event.uid));
    if let Some(parent) = &event.parent {
        who.push_str(&format!(", started by {parent}"));
    }
    put("by", who);
    if let Some(place) = [("container", &event.container), ("unit", &event.unit)]
        .into_iter()
        .find_map(|(label, value)| value.as_ref().map(|value| format!("{label} {value}")))
    {
        put("in", place);
    }
    if let Some(cmdline) = event.cmdline.as_ref().filter(|text| !text.is_empty()) {
        put("command", cmdline.clone());
    }
    let known = event.sha256.clone().filter(|text| !text.is_empty());
    let unknown = || match event.sha256_unknown.as_deref() {
        None | Some("pending") => "not known yet".to_owned(),
        Some(why) => format!("not known: {why}"),
    };
    if let Some(old) = event.old_sha256.as_ref().filter(|text| !text.is_empty()) {
        put("was", old.clone());
        put("is now", known.unwrap_or_else(unknown));
    } else {
        put("sha256", known.unwrap_or_else(unknown));
    }
    lines
}

/// `example.com:443 (192.0.2.7, tcp)`, `192.0.2.7:40000 to port 22 (tcp)`.
fn destination(event: &Event) -> Option<String> {
    let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (domain, address, protocol) = (known(&event.domain), known(&event.address), known(&event.protocol));
    let host = domain.clone().or_else(|| address.clone())?;
    let more: Vec<String> = address.filter(|_| domain.is_some()).into_iter().chain(protocol).collect();
    let end = far_end(&host, event.remote_port, event.direction.as_deref(), event.local_port);
    Some(if more.is_empty() { end } else { format!("{end} ({})", more.join(", ")) })
}
