// SPDX-License-Identifier: GPL-3.0-or-later
//! One program: what it is, which contents its file has had, with whom it talks and what starts it.

use std::cell::Cell;
use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::row::{Connection, Executable, Page, Total};
use picosnitch_api::{Client, Dimension, Error, Query, inert};

use super::live::{chips, columns};
use super::{Context, Frame, file_name, now, place, value};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Program, Sender};
use crate::table::Table;
use crate::words::Chip;

/// Lines of each list.
const LINES: usize = 12;

/// See the module.
pub struct ProgramPage {
    /// What is put into the window.
    pub frame: Frame,
    lists: gtk4::Box,
    table: Table<Connection>,
    id: Cell<i64>,
    sender: Sender,
}

impl ProgramPage {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<Cell<Units>>) -> Self {
        let lists = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .spacing(18)
            .margin_start(12)
            .margin_end(12)
            .margin_top(12)
            .margin_bottom(18)
            .build();
        let clamp = adw::Clamp::builder().maximum_size(980).child(&lists).build();
        let table = Table::new(
            "Connections of this program",
            columns(units, &context.people, false),
            &context.people,
            sender,
            |_| {},
            chips,
        );
        table.root.set_min_content_height(320);
        let all = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
        all.append(&clamp);
        all.append(
            &gtk4::Label::builder()
                .label("Connections")
                .css_classes(["heading"])
                .xalign(0.0)
                .margin_start(18)
                .margin_bottom(6)
                .build(),
        );
        all.append(&table.root);
        let scrolled =
            gtk4::ScrolledWindow::builder().child(&all).hscrollbar_policy(gtk4::PolicyType::Never).build();
        Self { frame: Frame::new(&scrolled, sender), lists, table, id: Cell::new(0), sender: sender.clone() }
    }

    /// Asks for a program; lists and connections are those of the time range.
    pub fn load(&self, id: i64, context: &Context) {
        if self.id.replace(id) != id {
            self.table.set(Vec::new());
            self.frame.root.set_visible_child_name("loading");
        }
        let query = context.query();
        context.asker.ask(context.number, Place::Program(id), move |client| program(client, id, query));
    }

    /// Shows what came, and asks for its connections.
    pub fn got(&self, program: Program, context: &Context) {
        while let Some(child) = self.lists.first_child() {
            self.lists.remove(&child);
        }
        self.lists.append(&head(&program.about));
        self.lists.append(&facts(&program.about, context));
        if let Some(versions) = self.versions(&program, context) {
            self.lists.append(&versions);
        }
        self.totals("Destinations", Dimension::Domain, &program.domains, context);
        self.totals("Addresses", Dimension::Address, &program.addresses, context);
        self.totals("Started by", Dimension::Parent, &program.parents, context);
        self.frame.content();
        let query = Query { path: program.about.path, limit: Some(500), ..context.query() };
        context.asker.ask(context.number, Place::Program(self.id.get()), move |client: Client| async move {
            Ok(Got::ProgramConnections(client.connections(&query).await?))
        });
    }

    /// Shows its connections.
    pub fn connections(&self, page: Page<Connection>) {
        if !self.table.is_selected() {
            self.table.set(page.rows);
        }
    }

    fn versions(&self, program: &Program, context: &Context) -> Option<adw::PreferencesGroup> {
        let hashes = program.about.hashes.as_ref().filter(|hashes| !hashes.is_empty())?;
        let group = adw::PreferencesGroup::builder().title("Versions of its file").build();
        let at = |times: &Option<Vec<i64>>, index: usize| {
            times.as_ref().and_then(|times| times.get(index)).copied()
        };
        for (index, hash) in hashes.iter().enumerate().take(LINES) {
            let first = at(&program.about.hashes_first_seen, index).map(format::minute).unwrap_or_default();
            let last = at(&program.about.hashes_last_seen, index).map(format::minute).unwrap_or_default();
            let verdict =
                program.about.verdicts.as_ref().and_then(|all| all.get(index)).filter(|v| !v.is_empty());
            let mut says = format!("{first} – {last}");
            if let Some(total) = program.contents.iter().find(|total| total.key == *hash) {
                says += &format!(
                    " · ↓ {} ↑ {}",
                    context.units.bytes(total.received),
                    context.units.bytes(total.sent)
                );
            }
            if let Some(verdict) = verdict {
                says += &format!(" · {}", inert(verdict));
            }
            let row = row(&inert(hash), &says);
            row.add_css_class("hash");
            row.add_suffix(&self.filter(Dimension::Sha256, hash, context));
            group.add(&row);
        }
        Some(group)
    }

    fn totals(&self, title: &str, by: Dimension, totals: &[Total], context: &Context) {
        let known: Vec<&Total> = totals.iter().filter(|total| !total.key.is_empty()).collect();
        if known.is_empty() {
            return;
        }
        let group = adw::PreferencesGroup::builder().title(title).build();
        for total in known.iter().take(LINES) {
            let connections = match total.connections {
                1 => "1 connection".into(),
                n => format!("{} connections", format::count(n)),
            };
            let row = row(&value(by, &total.key, &context.people), &connections);
            let bytes =
                format!("↓ {}  ↑ {}", context.units.bytes(total.received), context.units.bytes(total.sent));
            row.add_suffix(
                &gtk4::Label::builder().label(&bytes).css_classes(["numeric", "dim-label"]).build(),
            );
            row.add_suffix(&self.filter(by, &total.key, context));
            group.add(&row);
        }
        if known.len() > LINES {
            group.set_description(Some(&format!("The largest {LINES} of {}.", known.len())));
        }
        self.lists.append(&group);
    }

    fn filter(&self, by: Dimension, key: &str, context: &Context) -> gtk4::Button {
        let button = gtk4::Button::builder()
            .icon_name("edit-find-symbolic")
            .valign(gtk4::Align::Center)
            .css_classes(["flat"])
            .build();
        if let Some(chip) = Chip::of(by, key) {
            let text = format!("Only {}", chip.label(&context.people));
            button.set_tooltip_text(Some(&text));
            crate::speak::label(&button, &text);
            let sender = self.sender.clone();
            button.connect_clicked(move |_| {
                sender.emit(Msg::Filter(chip.clone()));
                sender.emit(Msg::Go(Place::Overview));
            });
        }
        button
    }
}

/// A row whose texts are no markup.
fn row(title: &str, subtitle: &str) -> adw::ActionRow {
    let row = adw::ActionRow::builder().use_markup(false).title_lines(1).subtitle_lines(2).build();
    row.set_title(title);
    row.set_subtitle(subtitle);
    row
}

fn head(about: &Executable) -> gtk4::Box {
    let path = about.path.as_deref().unwrap_or_default();
    let head = gtk4::Box::builder().orientation(gtk4::Orientation::Vertical).spacing(4).build();
    head.append(
        &gtk4::Label::builder()
            .label(file_name(path))
            .css_classes(["title-1"])
            .xalign(0.0)
            .ellipsize(gtk4::pango::EllipsizeMode::Middle)
            .build(),
    );
    head.append(
        &gtk4::Label::builder()
            .label(place(path))
            .css_classes(["dim-label"])
            .xalign(0.0)
            .selectable(true)
            .wrap(true)
            .wrap_mode(gtk4::pango::WrapMode::WordChar)
            .build(),
    );
    // Until package knowledge comes, what is said is how the content is known.
    let pill = match (&about.sha256, &about.sha256_unknown) {
        (Some(_), _) => "content known, not compared with a package",
        (None, Some(_)) => "content not known",
        (None, None) => "content not yet known",
    };
    head.append(
        &gtk4::Label::builder()
            .label(pill)
            .css_classes(["pill-label", "caption"])
            .halign(gtk4::Align::Start)
            .margin_top(4)
            .build(),
    );
    head
}

fn facts(about: &Executable, context: &Context) -> gtk4::Box {
    let short = gtk4::FlowBox::builder()
        .selection_mode(gtk4::SelectionMode::None)
        .homogeneous(true)
        .min_children_per_line(2)
        .max_children_per_line(4)
        .column_spacing(8)
        .row_spacing(8)
        .css_classes(["card", "facts"])
        .build();
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
                text += &format!("{between}and {} more", values.len() - most);
            }
            text
        })
    };
    add("Received, all time", about.received.map(|bytes| context.units.bytes(bytes)));
    add("Sent, all time", about.sent.map(|bytes| context.units.bytes(bytes)));
    add("Connections", about.connections.map(format::count));
    add(
        "Seen on",
        about.days_seen.map(|days| if days == 1 { "1 day".into() } else { format!("{days} days") }),
    );
    add("First seen", about.first_seen.map(format::minute));
    add("Last seen", about.last_seen.map(|last| format::ago(last, now())));
    add("Process names", list(&about.names, 6, ", "));
    let ports = about.ports.as_ref();
    add("Ports", ports.map(|ports| ports.iter().take(12).map(u16::to_string).collect::<Vec<_>>().join(", ")));
    add("Command lines", list(&about.cmdlines, 3, "\n"));
    add("Why its content is not known", about.sha256_unknown.as_deref().map(|why| inert(why).into_owned()));
    if rows > 0 {
        all.append(&long);
    }
    all
}

async fn program(client: Client, id: i64, query: Query) -> Result<Got, Error> {
    let about = client.executable(id).await?;
    let query = Query { path: about.path.clone(), ..query };
    let ((domains, _), (addresses, _), (parents, _), (contents, _)) = tokio::try_join!(
        client.summary(Dimension::Domain, &query),
        client.summary(Dimension::Address, &query),
        client.summary(Dimension::Parent, &query),
        client.summary(Dimension::Sha256, &query),
    )?;
    Ok(Got::Program(Box::new(Program { about, domains, addresses, parents, contents })))
}
