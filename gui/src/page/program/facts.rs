// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known of a program: numbers, times, names, and in a few words where it belongs and how its file
//! was verified.

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::inert;
use picosnitch_api::row::Executable;
use picosnitch_api::tongue::{say, tr};

use super::{Context, row};
use crate::format;
use crate::page::now;

/// Words for below the name; `true` where they warn.
pub fn pills(about: &Executable) -> Vec<(String, bool)> {
    let path = about.path.as_deref().unwrap_or_default();
    let mut pills = Vec::new();
    // A package's verdict, once the monitor gives one, takes the place of these words.
    pills.push(match (&about.sha256, &about.sha256_unknown) {
        (Some(_), _) => (tr("sha256 known").to_owned(), false),
        (None, Some(_)) => (tr("sha256 not known").to_owned(), true),
        (None, None) => (tr("sha256 not yet known").to_owned(), false),
    });
    let place = |place: &str| (place.to_owned(), false);
    let belongs = match path {
        _ if about.foreign_root == Some(true) => Some(place(tr("in a container"))),
        path if path.starts_with("/snap/") => Some(("Snap".to_owned(), false)),
        path if path.starts_with("/app/") || path.starts_with("/var/lib/flatpak/") => {
            Some(("Flatpak".to_owned(), false))
        }
        path if path.starts_with("/tmp/.mount_") => Some(("AppImage".to_owned(), false)),
        path if ["/tmp/", "/var/tmp/", "/dev/shm/"].iter().any(|place| path.starts_with(place)) => {
            Some((tr("from a temporary folder").to_owned(), true))
        }
        path if path.starts_with("/memfd:") || path.starts_with("memfd:") => {
            Some((tr("from memory, not from a file").to_owned(), true))
        }
        path if path.starts_with("/home/") => Some(place(tr("from a home folder"))),
        path if path.starts_with("/usr/") => Some(place(tr("of the system"))),
        _ => None,
    };
    pills.extend(belongs);
    let new = about.first_seen.is_some_and(|first| now() - first < crate::range::DAY);
    pills.extend(new.then(|| (tr("new").to_owned(), false)));
    pills
}

/// Short facts side by side, long ones as lines.
pub fn facts(about: &Executable, context: &Context) -> gtk4::Box {
    let short = gtk4::FlowBox::builder()
        .selection_mode(gtk4::SelectionMode::None)
        .homogeneous(true)
        .min_children_per_line(2)
        .max_children_per_line(4)
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
    let list = |values: &Option<Vec<String>>, most: usize, between: &str| {
        values.as_ref().map(|values| {
            let mut text =
                values.iter().take(most).map(|value| inert(value)).collect::<Vec<_>>().join(between);
            if values.len() > most {
                text += between;
                text += &say("and {n} more", &[("n", &(values.len() - most))]);
            }
            text
        })
    };
    add(tr("Received, all time"), about.received.map(|bytes| context.units.bytes(bytes)));
    add(tr("Sent, all time"), about.sent.map(|bytes| context.units.bytes(bytes)));
    add(tr("Connections"), about.connections.map(format::count));
    add(tr("Seen on"), about.days_seen.map(|days| format::days(days.into())));
    add(tr("First seen"), about.first_seen.map(format::minute));
    add(tr("Last seen"), about.last_seen.map(|last| format::ago(last, now())));
    add(tr("Process names"), list(&about.names, 6, ", "));
    let ports = about.ports.as_ref();
    add(
        tr("Ports"),
        ports.map(|ports| ports.iter().take(12).map(u16::to_string).collect::<Vec<_>>().join(", ")),
    );
    add(tr("Command lines"), list(&about.cmdlines, 3, "\n"));
    add(
        tr("Why its sha256 is not known"),
        about.sha256_unknown.as_deref().map(|why| inert(why).into_owned()),
    );
    if rows > 0 {
        all.append(&long);
    }
    all
}
