// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections, newest first. While the pointer is over the list, a row is selected or somebody reads further
//! down it holds still, so that nothing moves away under a click.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::prelude::*;
use picosnitch_api::row::{Connection, Page};
use picosnitch_api::tongue::{say, tr};
use picosnitch_api::{Client, Dimension, People, Query, inert};

use super::{Context, Frame, bar, file_name, now, program_name, value};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Part, Place, Sender};
use crate::table::{Column, Name, PAGE, Show, Spot, Table, Wanted};
use crate::words::Chip;

/// How far back it is asked for what is newer, in µs: not all rows are written in the order of their times.
const LATE: i64 = 20_000_000;
/// How often it is asked for all that the first page may lack, in µs. A row that waits for the hash of its program keeps
/// its time, however long that takes.
const WHOLE: i64 = 30_000_000;
/// With so many on the first page it is asked for anew, instead of what is newer alone.
const MOST: usize = 4 * PAGE as usize;

/// See the module.
pub struct Live {
    /// What is put into the window.
    pub frame: Frame,
    table: Table<Connection>,
    /// What the first page was asked for; further ones are of the same.
    query: RefCell<Query>,
    /// Something was recorded while the answer was on its way.
    behind: Cell<bool>,
    newest: Cell<i64>,
    /// When all that the first page may lack was asked for.
    whole: Cell<i64>,
    hold: gtk4::ToggleButton,
    note: gtk4::Label,
}

/// Filters of a connection.
pub fn chips(row: &Connection) -> Vec<Chip> {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let port = |value: Option<u16>| value.map(|value| value.to_string());
    let program = Chip::program(row.path.as_deref(), row.executable, row.foreign_root);
    let values = [
        (Dimension::Name, row.name.clone()),
        (Dimension::Cmdline, row.cmdline.clone()),
        (Dimension::Domain, row.domain.clone()),
        (Dimension::Address, row.address.clone()),
        (Dimension::RemotePort, port(row.remote_port)),
        (Dimension::LocalPort, port(row.local_port)),
        (Dimension::Protocol, row.protocol.clone()),
        (Dimension::Direction, row.direction.clone()),
        (Dimension::Uid, number(row.uid)),
        (Dimension::Parent, row.parent.clone()),
        (Dimension::Grandparent, row.grandparent.clone()),
        (Dimension::Netns, number(row.netns)),
        (Dimension::Unit, row.unit.clone()),
        (Dimension::Container, row.container.clone()),
        (Dimension::Sha256, row.sha256.clone()),
    ];
    Chip::all(program, values)
}

impl Live {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<Cell<Units>>) -> Self {
        let emit = sender.clone();
        let table = Table::new(
            tr("Connections, newest first"),
            columns(units, &context.people, true),
            &context.people,
            sender,
            move |row: &Connection| {
                if let Some(id) = row.executable {
                    emit.emit(Msg::Go(Place::Program(id)));
                }
            },
            chips,
        );
        let emit = sender.clone();
        table.on_sight(move || emit.emit(Msg::More(Place::Live)));
        let emit = sender.clone();
        table.on_release(move || emit.emit(Msg::Hold(false)));
        let hold = gtk4::ToggleButton::builder()
            .label(tr("Hold"))
            .tooltip_text(tr("Keep the list as it is"))
            .build();
        let emit = sender.clone();
        hold.connect_toggled(move |hold| emit.emit(Msg::Hold(hold.is_active())));
        let note =
            gtk4::Label::builder().css_classes(["dim-label"]).hexpand(true).xalign(0.0).wrap(true).build();
        let head = bar();
        head.append(&note);
        head.append(&hold);
        let all = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
        all.append(&head);
        all.append(&table.root);
        let frame = Frame::new(&all, sender);
        Self {
            frame,
            table,
            query: RefCell::default(),
            behind: Cell::new(false),
            newest: Cell::new(0),
            whole: Cell::new(0),
            hold,
            note,
        }
    }

    /// Asks for the first page.
    pub fn load(&self, context: &Context) {
        self.newest.set(0);
        // A time of these days is short: the room is for destinations.
        let recent = context.query().since.is_some_and(|since| format::is_recent(since, now()));
        self.table.column(0, None, Some(if recent { 116 } else { 160 }));
        self.first(context);
    }

    fn first(&self, context: &Context) {
        let query = context.query();
        self.whole.set(now());
        let limit = Some(self.table.first_page());
        self.query.replace(Query { limit: Some(PAGE), ..query.clone() });
        self.table.ask();
        self.ask(context, Part::First, Query { limit, ..query });
    }

    /// Asks for the page that is in sight, if it is not here.
    pub fn more(&self, context: &Context) {
        let Some(Wanted { page, cursor, rows }) = self.table.ask_more() else { return };
        let mut query = Query { cursor, ..self.query.borrow().clone() };
        if page == 0 {
            // As it was, with what came since it was asked for: the second page follows it.
            let newest = self.newest.get() + 1;
            query.until = Some(query.until.map_or(newest, |until| until.min(newest)));
            query.limit = u32::try_from(rows).ok().map(|rows| rows.max(PAGE));
        }
        self.ask(context, Part::Page(page), query);
    }

    /// Something was recorded: asks for it, unless the list holds still.
    pub fn recorded(&self, context: &Context) {
        if !context.view.range.is_live() {
            return;
        }
        let busy = self.hold.is_active() || self.table.is_hovered() || self.table.is_busy();
        // Where nothing is shown, nothing moves.
        let held = busy && !self.frame.is_empty();
        self.note.set_text(if held {
            tr("Held while you point at it, read further down or a row is selected.")
        } else {
            tr("New connections appear as they are recorded.")
        });
        if held {
            return;
        }
        self.behind.set(self.table.is_asking());
        if self.table.is_asking() {
            return;
        }
        if self.newest.get() == 0 || self.table.first() > MOST {
            return self.first(context);
        }
        self.table.ask();
        let query = context.query();
        let since = self.since(query.since, now());
        self.ask(context, Part::Newer, Query { limit: u32::try_from(MOST).ok(), since, ..query });
    }

    /// From when on it is asked for what the first page lacks; `range` is where the range begins.
    fn since(&self, range: Option<i64>, now: i64) -> Option<i64> {
        let whole = now - self.whole.get() >= WHOLE;
        if whole {
            self.whole.set(now);
        }
        since(range, self.newest.get(), whole.then(|| self.table.turn().and_then(|row| row.time)))
    }

    fn ask(&self, context: &Context, part: Part, query: Query) {
        context.asker.ask(context.number, Place::Live, move |client: Client| async move {
            Ok(Got::Connections(client.connections(&query).await?, part))
        });
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

    /// An answer that will not come any more.
    pub fn lost(&self) {
        self.table.lost();
    }

    /// Shows what came.
    pub fn got(&self, page: Page<Connection>, part: Part, context: &Context) {
        let oldest = page.rows.iter().filter_map(|row| row.time).min();
        if part == Part::Newer && !page.cursor.is_empty() && oldest.is_some_and(|at| at > self.newest.get()) {
            // More than a page: what is between would be missing.
            return self.first(context);
        }
        if let Some(newest) = page.rows.iter().filter_map(|row| row.time).max() {
            self.newest.set(self.newest.get().max(newest));
        }
        if part == Part::First {
            if page.rows.is_empty() && page.cursor.is_empty() {
                self.table.lost();
                let (title, text) = context.record.nothing(tr("No connections yet"));
                let icon = "network-transmit-receive-symbolic";
                return self.frame.empty(icon, title, text, &context.view);
            }
            self.note.set_text(if context.view.range.is_live() {
                tr("New connections appear as they are recorded.")
            } else {
                tr("Connections of this time, newest first.")
            });
        }
        self.table.take(page, part, |a, b| a == b, |a, b| a.time < b.time);
        self.frame.content();
        if self.behind.take() {
            self.recorded(context);
        }
        self.more(context);
    }
}

/// From when on: near to the newest row, or for `whole` from the last row of the first page on. With no others behind
/// it, it may lack whatever is in the range.
fn since(range: Option<i64>, newest: i64, whole: Option<Option<i64>>) -> Option<i64> {
    whole.unwrap_or(Some(newest - LATE)).max(range)
}

/// The file's name; of an interpreter also that of its script, without which all of these look alike.
fn called(row: &Connection) -> String {
    let name = program_name(row.path.as_deref().unwrap_or_default(), row.foreign_root);
    match row.script.as_deref() {
        Some(script) => format!("{name} {}", file_name(script)),
        None => name,
    }
}

/// The address, and whether the name before it was somebody else's look-up in the same network.
fn address(row: &Connection) -> String {
    let address = row.address.as_deref().map(inert).unwrap_or_default();
    match row.domain_source.as_deref() {
        Some("dns-netns") => say("{address}, name looked up by another program", &[("address", &address)]),
        _ => address.into_owned(),
    }
}

/// Columns of connections; `program` is left out on the page of one.
pub fn columns(units: &Rc<Cell<Units>>, people: &Rc<People>, program: bool) -> Vec<Column<Connection>> {
    let (received, sent, names) = (units.clone(), units.clone(), people.clone());
    let mut columns = vec![
        Column::text(tr("Time"), |row: &Connection| row.time.map_or(String::new(), format::lately)).wide(150),
    ];
    if program {
        columns.push(Column::new(
            tr("Program"),
            Show::Name(Rc::new(|row: &Connection| Name {
                main: called(row),
                sub: row
                    .cmdline
                    .as_deref()
                    .or(row.path.as_deref())
                    .map(|text| inert(text).into_owned())
                    .unwrap_or_default(),
                icon: Some(crate::icon::of(row.path.as_deref().unwrap_or_default(), row.foreign_root)),
                ..Name::default()
            })),
        ));
    }
    columns.extend([
        Column::new(
            tr("Destination"),
            Show::Name(Rc::new(|row: &Connection| {
                let port = row.remote_port.map(|port| format!(":{port}")).unwrap_or_default();
                match (&row.domain, &row.address) {
                    (Some(domain), _) => Name {
                        main: format!("{}{port}", inert(domain)),
                        sub: address(row),
                        ..Name::default()
                    },
                    (None, Some(address)) => {
                        Name { main: format!("{}{port}", inert(address)), ..Name::default() }
                    }
                    (None, None) => Name::default(),
                }
            })),
        ),
        Column::text(tr("Protocol"), |row: &Connection| {
            let arrow = if row.direction.as_deref() == Some("in") { "← " } else { "" };
            format!("{arrow}{}", row.protocol.as_deref().map(inert).unwrap_or_default())
        })
        .wide(80),
        Column::text(tr("User"), move |row: &Connection| {
            row.uid.map_or(String::new(), |uid| value(Dimension::Uid, &uid.to_string(), &names))
        })
        .wide(80),
        Column::number(tr("Received"), move |row: &Connection| {
            received.get().bytes(row.received.unwrap_or(0))
        }),
        Column::number(tr("Sent"), move |row: &Connection| sent.get().bytes(row.sent.unwrap_or(0))),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_what_is_written_late_is_asked_for_however_late_it_is() {
        let (range, newest, last) = (Some(1), 9 * WHOLE, WHOLE);
        assert_eq!(since(range, newest, None), Some(newest - LATE));
        assert_eq!(since(range, newest, Some(Some(last))), Some(last));
        assert_eq!(since(range, newest, Some(None)), range);
        assert_eq!(since(None, newest, Some(None)), None);
        assert_eq!(since(Some(newest), newest, None), Some(newest), "not before the range");
    }

    #[test]
    fn d05_scripts_differ_and_a_name_that_was_guessed_is_said_to_be() {
        let mut row = Connection { path: Some("/usr/bin/python3".into()), ..Connection::default() };
        assert_eq!(called(&row), "python3");
        row.script = Some("/home/u/back\u{202e}up.py".into());
        assert_eq!(called(&row), format!("python3 {}", file_name("/home/u/back\u{202e}up.py")));
        assert!(!called(&row).contains('\u{202e}'));
        row.foreign_root = Some(true);
        assert!(called(&row).starts_with("python3 (in a container) "));
        (row.address, row.domain_source) = (Some("192.0.2.1".into()), Some("dns".into()));
        assert_eq!(address(&row), "192.0.2.1");
        row.domain_source = Some("dns-netns".into());
        assert_eq!(address(&row), "192.0.2.1, name looked up by another program");
    }
}
