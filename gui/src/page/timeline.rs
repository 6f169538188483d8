// SPDX-License-Identifier: GPL-3.0-or-later
//! The inbox: everything that was news, whether or not it was shown as a notification.

use std::cell::Cell;
use std::rc::Rc;

use gtk4::prelude::*;
use picosnitch_api::row::{Event, Page};
use picosnitch_api::tongue::{mark, say, tr};
use picosnitch_api::{Client, Dimension, People, Query, inert};

use super::{Context, Frame, bar, file_name, now, program_name, value};
use crate::format;
use crate::msg::{Got, Msg, Part, Place, Sender};
use crate::table::{Column, Name, PAGE, Show, Spot, Table, Wanted};
use crate::words::Chip;

/// See the module.
pub struct Timeline {
    /// What is put into the window.
    pub frame: Frame,
    table: Table<Event>,
    /// There are notices, or some were seen, since it was asked for.
    behind: Cell<bool>,
    note: gtk4::Label,
    seen: gtk4::Button,
}

/// What stands above the list.
const ABOUT: &str = mark("New and changed programs, and gaps in the record.");

/// What a notice says in its first line.
fn title(row: &Event) -> String {
    let name = row.path.as_deref().or(row.name.as_deref()).unwrap_or(tr("a program"));
    let program = || program_name(name, row.foreign_root);
    match row.kind.as_deref() {
        Some("new-executable") => say("New on the network: {program}", &[("program", &program())]),
        Some("hash-changed") => say("{program} changed", &[("program", &program())]),
        Some("verdict") => {
            let verdict = inert(row.message.as_deref().unwrap_or_default());
            say("Suspicious: {program} ({verdict})", &[("program", &program()), ("verdict", &verdict)])
        }
        Some("error") => {
            row.message.as_deref().map_or_else(|| tr("An error").into(), |text| inert(text).into_owned())
        }
        _ => program(),
    }
}

/// Where the program's file lies, or lay.
fn place(row: &Event) -> String {
    let path = row.path.as_deref().map(inert).unwrap_or_default();
    if row.file_deleted == Some(true) {
        return say("{path} (deleted)", &[("path", &path)]);
    }
    path.into_owned()
}

/// Whom it talked to first.
fn contact(row: &Event) -> String {
    let whom = row.domain.as_deref().or(row.address.as_deref()).map(|whom| inert(whom).into_owned());
    let called = row.direction.as_deref() == Some("in");
    match (whom, if called { row.local_port } else { row.remote_port }) {
        (Some(whom), Some(port)) if called => {
            say("{whom} to port {port}", &[("whom", &whom), ("port", &port)])
        }
        (Some(whom), Some(port)) => format!("{whom}:{port}"),
        (Some(whom), None) => whom,
        (None, _) => String::new(),
    }
}

impl Timeline {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context) -> Self {
        let emit = sender.clone();
        let table = Table::new(
            tr("Timeline"),
            columns(&context.people),
            &context.people,
            sender,
            move |row: &Event| {
                emit.emit(Msg::Seen(row.id.into_iter().collect()));
                match (row.executable, &row.path) {
                    (Some(id), _) => emit.emit(Msg::Go(Place::Program(id))),
                    (None, Some(path)) => emit.emit(Msg::OpenPath(path.clone())),
                    (None, None) => emit.emit(Msg::Go(Place::Health)),
                }
            },
            |row| {
                let port = |port: Option<u16>| port.map(|port| port.to_string());
                let program = Chip::program(row.path.as_deref(), row.executable, row.foreign_root);
                let values = [
                    (Dimension::Name, row.name.clone()),
                    (Dimension::Domain, row.domain.clone()),
                    (Dimension::Address, row.address.clone()),
                    (Dimension::RemotePort, port(row.remote_port)),
                    (Dimension::LocalPort, port(row.local_port)),
                    (Dimension::Protocol, row.protocol.clone()),
                    (Dimension::Direction, row.direction.clone()),
                    (Dimension::Parent, row.parent.clone()),
                    (Dimension::Cmdline, row.cmdline.clone()),
                    (Dimension::Uid, row.uid.map(|uid| uid.to_string())),
                    (Dimension::Unit, row.unit.clone()),
                    (Dimension::Container, row.container.clone()),
                    (Dimension::Sha256, row.sha256.clone()),
                ];
                Chip::all(program, values)
            },
        );
        let emit = sender.clone();
        table.on_sight(move || emit.emit(Msg::More(Place::Timeline)));
        let emit = sender.clone();
        table.on_release(move || emit.emit(Msg::Hold(false)));
        let seen = gtk4::Button::builder()
            .label(tr("Mark All as Seen"))
            .sensitive(false)
            .valign(gtk4::Align::Center)
            .build();
        // In two lines where the window is narrow.
        if let Some(label) = seen.child().and_downcast::<gtk4::Label>() {
            label.set_wrap(true);
            label.set_justify(gtk4::Justification::Center);
        }
        let emit = sender.clone();
        seen.connect_clicked(move |_| emit.emit(Msg::Seen(Vec::new())));
        let head = bar();
        let note = gtk4::Label::builder()
            .label(tr(ABOUT))
            .css_classes(["dim-label"])
            .hexpand(true)
            .xalign(0.0)
            .wrap(true)
            .build();
        head.append(&note);
        head.append(&seen);
        let all = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
        all.append(&head);
        all.append(&table.root);
        Self { frame: Frame::new(&all, sender), table, behind: Cell::new(false), note, seen }
    }

    /// Where it is scrolled to, and what is selected.
    pub fn spot(&self) -> Spot {
        self.table.spot()
    }

    /// What is asked for next is shown as it was then.
    pub fn come_back(&self, to: Spot) {
        self.table.come_back(to);
    }

    /// Icons are known now.
    pub fn refill(&self) {
        self.table.refill();
    }

    /// Something is new, or was seen, since it was asked for.
    pub fn fall_behind(&self) {
        self.behind.set(true);
    }

    /// It does not show the latest.
    pub fn is_behind(&self) -> bool {
        self.behind.get()
    }

    /// There is something to mark.
    pub fn set_unread(&self, unread: bool) {
        self.seen.set_sensitive(unread);
    }

    /// Asks for the first page.
    pub fn load(&self, context: &Context) {
        self.behind.set(false);
        self.table.ask();
        self.ask(context, Part::First, None);
    }

    /// Asks for what is new, unless somebody points at the list, selected a row or reads further down: what lets
    /// go of it leads here again, and so does the answer that is on its way.
    pub fn renew(&self, context: &Context) {
        let held = self.table.is_busy() || self.table.is_hovered();
        let waits = self.behind.get() && held && !self.frame.is_empty();
        self.note.set_text(if waits {
            tr("There is something new. It comes when you neither point at the list nor select a row.")
        } else {
            tr(ABOUT)
        });
        if self.behind.get() && !waits && !self.table.is_asking() {
            self.load(context);
        }
    }

    /// Asks for the page that is in sight, if it is not here.
    pub fn more(&self, context: &Context) {
        if let Some(Wanted { page, cursor, .. }) = self.table.ask_more() {
            self.ask(context, Part::Page(page), cursor);
        }
    }

    fn ask(&self, context: &Context, part: Part, cursor: Option<String>) {
        let limit = Some(if part == Part::First { self.table.first_page() } else { PAGE });
        let query = Query { limit, cursor, ..context.query() };
        context.asker.ask(context.number, Place::Timeline, move |client: Client| async move {
            Ok(Got::Notices(client.events(&query).await?, part))
        });
    }

    /// An answer that will not come any more.
    pub fn lost(&self) {
        self.table.lost();
    }

    /// Shows what came.
    pub fn got(&self, page: Page<Event>, part: Part, context: &Context) {
        if part == Part::First && page.rows.is_empty() {
            self.table.lost();
            let text = tr(
                "When a program uses the network for the first time, or its file changes, it is told here.",
            );
            self.frame.empty("emblem-ok-symbolic", tr("Nothing new"), text, &context.view);
        } else {
            self.table.take(page, part, |a, b| a.id == b.id, |_, _| true);
            self.frame.content();
            self.more(context);
        }
        self.renew(context);
    }
}

fn columns(people: &Rc<People>) -> Vec<Column<Event>> {
    let names = people.clone();
    vec![
        Column::new(
            tr("What"),
            Show::Name(Rc::new(|row: &Event| Name {
                main: title(row),
                sub: place(row),
                pill: (row.acknowledged != Some(true)).then(|| tr("unread")),
                strong: row.acknowledged != Some(true),
                icon: Some(match (row.kind.as_deref(), row.path.as_deref()) {
                    (Some("error"), _) => gtk4::gio::ThemedIcon::new("dialog-warning-symbolic").upcast(),
                    (_, path) => crate::icon::of(path.unwrap_or_default(), row.foreign_root),
                }),
            })),
        ),
        Column::text(tr("First contact"), contact).wide(190),
        Column::text(tr("Started by"), |row: &Event| {
            row.parent.as_deref().map(file_name).unwrap_or_default()
        })
        .wide(100),
        Column::text(tr("User"), move |row: &Event| {
            row.uid.map_or(String::new(), |uid| value(Dimension::Uid, &uid.to_string(), &names))
        })
        .wide(80),
        Column::number(tr("When"), |row: &Event| {
            row.time.map_or(String::new(), |time| format::ago(time, now()))
        })
        .wide(100)
        .ages(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_a_program_of_a_container_is_told_as_one() {
        let mut row = Event {
            kind: Some("new-executable".into()),
            path: Some("/usr/bin/curl".into()),
            ..Event::default()
        };
        assert_eq!(title(&row), "New on the network: curl");
        row.foreign_root = Some(true);
        assert_eq!(title(&row), "New on the network: curl (in a container)");
    }
}
