// SPDX-License-Identifier: GPL-3.0-or-later
//! All programs that were ever seen, with what is known of them in total. The monitor sorts; pages come as
//! they are scrolled to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::prelude::*;
use picosnitch_api::row::{Executable, Page};
use picosnitch_api::tongue::tr;
use picosnitch_api::{Client, Dimension, Query};

use super::{Context, Frame, file_name, now, place};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Sender};
use crate::table::{Column, Name, Show, Table};
use crate::words::Chip;

/// Rows of one page.
const PAGE: u32 = 200;

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
            tr("Programs"),
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
        // The last one: when it was last seen.
        let emit = sender.clone();
        table.on_order(5, move || emit.emit(Msg::Sorted(Place::Programs)));
        let frame = Frame::new(&table.root, sender);
        Self { frame, table, cursor: RefCell::default(), asking: Cell::new(false) }
    }

    /// Asks for the first page.
    pub fn load(&self, context: &Context) {
        self.ask(context, String::new());
    }

    /// Asks for the next page, if there is one.
    pub fn more(&self, context: &Context) {
        let cursor = self.cursor.borrow().clone();
        if !cursor.is_empty() && !self.asking.get() {
            self.ask(context, cursor);
        }
    }

    fn ask(&self, context: &Context, cursor: String) {
        self.asking.set(true);
        let first = cursor.is_empty();
        let (sort, descending) = self.table.order().unwrap_or(("last-seen", true));
        let query = Query {
            limit: Some(PAGE),
            sort: Some(sort.into()),
            descending: Some(descending),
            cursor: (!first).then_some(cursor),
            ..context.query()
        };
        context.asker.ask(context.number, Place::Programs, move |client: Client| async move {
            Ok(Got::Executables(client.executables(&query).await?, first))
        });
    }

    /// An answer that will not come any more.
    pub fn lost(&self) {
        self.asking.set(false);
    }

    /// Somebody points at it, reads further down or selected a row: it holds still.
    pub fn is_held(&self) -> bool {
        self.table.is_busy() || self.table.is_hovered()
    }

    /// Where it is scrolled to.
    pub fn spot(&self) -> f64 {
        self.table.root.vadjustment().value()
    }

    /// Shows what came.
    pub fn got(&self, page: Page<Executable>, first: bool, context: &Context) {
        self.asking.set(false);
        self.cursor.replace(page.cursor);
        if first && page.rows.is_empty() {
            let text = tr("Programs appear here when they first use the network.");
            let icon = "application-x-executable-symbolic";
            return self.frame.empty(icon, tr("No programs yet"), text, &context.view);
        }
        if first {
            self.table.set(page.rows, |a, b| a.id == b.id);
        } else {
            self.table.extend(page.rows);
        }
        self.frame.content();
    }
}

fn columns(units: &Rc<Cell<Units>>) -> Vec<Column<Executable>> {
    let (received, sent) = (units.clone(), units.clone());
    let when = |time: Option<i64>| time.map_or(String::new(), |time| format::ago(time, now()));
    vec![
        Column::new(
            tr("Program"),
            Show::Name(Rc::new(|row: &Executable| {
                let path = row.path.as_deref().unwrap_or_default();
                let new = row.first_seen.is_some_and(|first| now() - first < crate::range::DAY);
                Name {
                    main: file_name(path),
                    sub: place(path),
                    pill: new.then(|| tr("new")),
                    icon: Some(crate::icon::of(path)),
                    ..Name::default()
                }
            })),
        )
        .asked("path"),
        Column::number(tr("Received"), move |row: &Executable| {
            received.get().bytes(row.received.unwrap_or(0))
        })
        .asked("received"),
        Column::number(tr("Sent"), move |row: &Executable| sent.get().bytes(row.sent.unwrap_or(0)))
            .asked("sent"),
        Column::number(tr("Connections"), |row: &Executable| format::count(row.connections.unwrap_or(0)))
            .asked("connections"),
        Column::number(tr("First seen"), move |row: &Executable| when(row.first_seen)).asked("first-seen"),
        Column::number(tr("Last seen"), move |row: &Executable| when(row.last_seen)).asked("last-seen"),
    ]
}
