// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known of a program: numbers, times, names, and in a few words where it belongs and how its file
//! was verified.

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::query::MAX_TEXT;
use picosnitch_api::row::{Executable, MAX_LISTED};
use picosnitch_api::tongue::{say, tr};
use picosnitch_api::{Dimension, Origin, inert};

use super::{Context, LINES, ProgramPage, latest, row};
use crate::format;
use crate::page::{is_new, now};

/// Names and ports that are buttons.
const MOST: usize = 24;

/// Words for below the name; `true` where they warn. `since`: when the time begins that is shown.
pub fn pills(about: &Executable, since: Option<i64>) -> Vec<(String, bool)> {
    let path = about.path.as_deref().unwrap_or_default();
    let mut pills = Vec::new();
    // A package's verdict, once the monitor gives one, takes the place of these words.
    pills.push(match (&about.sha256, &about.sha256_unknown) {
        (Some(_), _) => (tr("content of its file known").to_owned(), false),
        (None, Some(_)) => (tr("content of its file not known").to_owned(), true),
        (None, None) => (tr("content of its file not yet known").to_owned(), false),
    });
    let foreign = about.foreign_root == Some(true);
    let origin = Origin::of(path, foreign);
    let says = |origin| match origin {
        Origin::Container => tr("in a container"),
        Origin::Flatpak => "Flatpak",
        Origin::Snap => "Snap",
        Origin::AppImage => "AppImage",
        Origin::Temporary => tr("from a temporary folder"),
        Origin::Memory => tr("from memory, not from a file"),
        Origin::Home => tr("from a home folder"),
        Origin::System => tr("of the system"),
    };
    pills.extend(origin.map(|origin| (says(origin).to_owned(), origin.is_risky())));
    // Whose temporary folder it is.
    let both = foreign && origin.is_some_and(Origin::is_risky);
    pills.extend(both.then(|| (says(Origin::Container).to_owned(), false)));
    pills.extend(is_new(about, since).then(|| (tr("new").to_owned(), false)));
    pills
}

/// Short facts side by side, long ones as lines; what is a value of a filter becomes one.
pub fn facts(page: &ProgramPage, about: &Executable, context: &Context) -> gtk4::Box {
    let short = gtk4::FlowBox::builder()
        .selection_mode(gtk4::SelectionMode::None)
        .homogeneous(true)
        // Six of them: no line has a hole.
        .min_children_per_line(2)
        .max_children_per_line(3)
        .column_spacing(8)
        .row_spacing(8)
        .css_classes(["card", "facts"])
        .build();
    // Nothing to press: see the tiles of the overview.
    short.set_can_focus(false);
    let long = adw::PreferencesGroup::new();
    let all = gtk4::Box::new(gtk4::Orientation::Vertical, 12);
    all.append(&short);
    let mut rows = 0;
    let mut add = |title: &str, text: Option<String>| {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        if text.chars().count() > 32 {
            rows += 1;
            return long.add(&row(title, &text));
        }
        let fact = gtk4::Box::new(gtk4::Orientation::Vertical, 2);
        fact.append(
            &gtk4::Label::builder().label(title).xalign(0.0).css_classes(["caption", "dim-label"]).build(),
        );
        fact.append(
            &gtk4::Label::builder()
                .label(&text)
                .xalign(0.0)
                .ellipsize(gtk4::pango::EllipsizeMode::End)
                .css_classes(["numeric"])
                .build(),
        );
        short.append(&fact);
    };
    add(tr("Received, all time"), about.received.map(|bytes| context.units.bytes(bytes)));
    add(tr("Sent, all time"), about.sent.map(|bytes| context.units.bytes(bytes)));
    add(tr("Connections, all time"), about.connections.map(format::count));
    add(tr("Seen on"), about.days_seen.map(|days| format::days(days.into())));
    add(tr("First seen"), about.first_seen.map(format::minute));
    add(tr("Last seen"), about.last_seen.map(|last| format::ago(last, now())));
    add(
        tr("Why its sha256 is not known"),
        about.sha256_unknown.as_deref().map(|why| inert(why).into_owned()),
    );
    if rows > 0 {
        all.append(&long);
    }
    let names = about.names.clone().unwrap_or_default();
    let ports = about.ports.iter().flatten().map(u16::to_string).collect();
    for (title, by, values) in
        [(tr("Process names"), Dimension::Name, names), (tr("Ports"), Dimension::RemotePort, ports)]
    {
        if let Some(line) = filters(page, title, by, &values, context) {
            all.append(&line);
        }
    }
    all
}

/// Values as buttons that filter, as many as there is room for.
fn filters(
    page: &ProgramPage,
    title: &str,
    by: Dimension,
    values: &[String],
    context: &Context,
) -> Option<gtk4::Box> {
    let last = values.len().checked_sub(1)?;
    let line = crate::wrap::wrap();
    for value in values.iter().take(MOST) {
        let button = page.filter(by, value, context);
        button.set_child(Some(
            &gtk4::Label::builder()
                .label(crate::page::value(by, value, &context.people))
                .ellipsize(gtk4::pango::EllipsizeMode::Middle)
                .css_classes(["numeric"])
                .build(),
        ));
        button.add_css_class("value-pill");
        line.append(&button);
    }
    if last >= MOST {
        let most = if values.len() >= MAX_LISTED { "+" } else { "" };
        let more = say("and {n} more", &[("n", &format!("{}{most}", values.len() - MOST))]);
        line.append(&gtk4::Label::builder().label(more).css_classes(["dim-label"]).build());
    }
    line.set_hexpand(true);
    let both = gtk4::Box::builder().spacing(10).margin_start(4).margin_end(4).build();
    both.append(
        &gtk4::Label::builder()
            .label(title)
            .xalign(0.0)
            .valign(gtk4::Align::Start)
            .margin_top(4)
            .width_chars(15)
            .css_classes(["caption", "dim-label"])
            .build(),
    );
    both.append(&line);
    Some(both)
}

/// Command lines, with what changes from one to the next as an asterisk.
pub fn cmdlines(page: &ProgramPage, about: &Executable, context: &Context) -> Option<adw::PreferencesGroup> {
    let known = about.cmdlines.as_ref().filter(|known| !known.is_empty())?;
    let group = adw::PreferencesGroup::builder().title(tr("Command lines")).build();
    group.set_description(latest(known.len(), known.len() >= MAX_LISTED).as_deref());
    for cmdline in known.iter().take(LINES) {
        let row = row(&inert(cmdline), "");
        row.set_title_lines(2);
        if let Some(part) = part(cmdline) {
            row.add_suffix(&page.filter(Dimension::Cmdline, part, context));
        }
        group.add(&row);
    }
    Some(group)
}

/// The longest part of a command line that does not change: what a filter can look for.
fn part(cmdline: &str) -> Option<&str> {
    let parts = cmdline.split('*').map(str::trim).filter(|part| part.len() <= MAX_TEXT);
    parts.max_by_key(|part| part.chars().count()).filter(|part| part.chars().count() >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_where_a_program_belongs_does_not_hide_where_it_lies() {
        let says = |path: &str, foreign| {
            let about =
                Executable { path: Some(path.into()), foreign_root: foreign, ..Executable::default() };
            pills(&about, None).split_off(1)
        };
        let pill = |text: &str, warned| (text.to_owned(), warned);
        assert_eq!(says("/app/bin/x", Some(true)), [pill("Flatpak", false)]);
        assert_eq!(says("/usr/bin/x", Some(true)), [pill("in a container", false)]);
        assert_eq!(says("/usr/bin/x", None), [pill("of the system", false)]);
        assert_eq!(says("/tmp/.mount_ObsidiAb3xYz/x", None), [pill("AppImage", false)]);
        assert_eq!(says("/tmp/.mount_x/x", None), [pill("from a temporary folder", true)]);
        assert_eq!(says("/run/user/1000/x", None), [pill("from a temporary folder", true)]);
        let both = [pill("from memory, not from a file", true), pill("in a container", false)];
        assert_eq!(says("/memfd:x", Some(true)), both);
    }

    #[test]
    fn d05_a_command_line_is_looked_for_by_what_does_not_change() {
        assert_eq!(part("/usr/bin/curl --of *"), Some("/usr/bin/curl --of"));
        assert_eq!(part("sh -c * --exactly-this"), Some("--exactly-this"));
        assert_eq!(part("* x *"), None);
        assert_eq!(part(""), None);
    }
}
