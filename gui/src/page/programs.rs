// SPDX-License-Identifier: GPL-3.0-or-later
//! All programs that were ever seen, with what is known of them in total.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use picosnitch_api::row::{Executable, Page};
use picosnitch_api::{Client, Dimension, Query};

use super::{Context, Frame, file_name, now, place};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Sender};
use crate::table::{Column, Name, Show, Table};
use crate::words::Chip;

/// Rows that are held at the most; a search finds the others.
const MOST: u32 = 20_000;

/// See the module.
pub struct Programs {
    /// What is put into the window.
    pub frame: Frame,
    table: Table<Executable>,
    cursor: RefCell<String>,
    asking: Cell<bool>,
}

impl Programs {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<Cell<Units>>) -> Self {
        let emit = sender.clone();
        let table = Table::new(
            "Programs",
            columns(units),
            &context.people,
            sender,
            move |row: &Executable| {
                if let Some(id) = row.id {
                    emit.emit(Msg::Go(Place::Program(id)));
                }
            },
            |row| {
                [(Dimension::Path, &row.path), (Dimension::Name, &row.name), (Dimension::Sha256, &row.sha256)]
                    .into_iter()
                    .filter_map(|(by, value)| Chip::of(by, value.clone()?))
                    .collect()
            },
        );
        let emit = sender.clone();
        table.on_end(move || emit.emit(Msg::More(Place::Programs)));
        let frame = Frame::new(&table.root, sender);
        Self { frame, table, cursor: RefCell::default(), asking: Cell::new(false) }
    }

    /// Asks for the first page.
    pub fn load(&self, context: &Context) {
        self.frame.loading();
        self.ask(context, String::new());
    }

    /// Asks for the next page, if there is one.
    pub fn more(&self, context: &Context) {
        let cursor = self.cursor.borrow().clone();
        if !cursor.is_empty() && !self.asking.get() && self.table.len() < MOST {
            self.ask(context, cursor);
        }
    }

    fn ask(&self, context: &Context, cursor: String) {
        self.asking.set(true);
        let first = cursor.is_empty();
        let query = Query {
            limit: Some(if first { 200 } else { 1000 }),
            sort: Some("last-seen".into()),
            cursor: (!first).then_some(cursor),
            ..context.query()
        };
        context.asker.ask(context.number, Place::Programs, move |client: Client| async move {
            Ok(Got::Executables(client.executables(&query).await?, first))
        });
    }

    /// Shows what came, and asks for the rest: sorting is only right over all of them.
    pub fn got(&self, page: Page<Executable>, first: bool, context: &Context) {
        self.asking.set(false);
        self.cursor.replace(page.cursor);
        if first && page.rows.is_empty() {
            let text = "Programs appear here when they first use the network.";
            let icon = "application-x-executable-symbolic";
            return self.frame.empty(icon, "No programs yet", text, context.view.is_filtered());
        }
        if first {
            self.table.set(page.rows);
        } else {
            self.table.extend(page.rows);
        }
        self.frame.content();
        self.more(context);
    }
}

fn columns(units: &Rc<Cell<Units>>) -> Vec<Column<Executable>> {
    let (received, sent) = (units.clone(), units.clone());
    let when = |time: Option<i64>| time.map_or(String::new(), |time| format::ago(time, now()));
    vec![
        Column::new(
            "Program",
            Show::Name(Rc::new(|row: &Executable| {
                let path = row.path.as_deref().unwrap_or_default();
                Name {
                    main: file_name(path),
                    sub: place(path),
                    pill: row
                        .first_seen
                        .is_some_and(|first| now() - first < crate::range::DAY)
                        .then_some("NEW"),
                }
            })),
        )
        .sorted(|a, b| a.path.cmp(&b.path)),
        Column::number("Received", move |row: &Executable| received.get().bytes(row.received.unwrap_or(0)))
            .sorted(|a, b| a.received.cmp(&b.received)),
        Column::number("Sent", move |row: &Executable| sent.get().bytes(row.sent.unwrap_or(0)))
            .sorted(|a, b| a.sent.cmp(&b.sent)),
        Column::number("Connections", |row: &Executable| format::count(row.connections.unwrap_or(0)))
            .sorted(|a, b| a.connections.cmp(&b.connections)),
        Column::number("First seen", move |row: &Executable| when(row.first_seen))
            .sorted(|a, b| a.first_seen.cmp(&b.first_seen)),
        Column::number("Last seen", move |row: &Executable| when(row.last_seen))
            .sorted(|a, b| a.last_seen.cmp(&b.last_seen)),
    ]
}
