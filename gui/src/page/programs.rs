// SPDX-License-Identifier: GPL-3.0-or-later
//! All programs that were ever seen, with what is known of them in total. The monitor sorts; pages come as
//! they are scrolled to.

use std::cell::Cell;
use std::rc::Rc;

use picosnitch_api::row::{Executable, Page};
use picosnitch_api::tongue::tr;
use picosnitch_api::{Client, Dimension, Query};

use super::{Context, Frame, is_new, now, place, program_name};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Part, Place, Sender};
use crate::table::{Column, Name, PAGE, Show, Spot, Table, Wanted};
use crate::words::Chip;

/// See the module.
pub struct Programs {
    /// What is put into the window.
    pub frame: Frame,
    table: Table<Executable>,
    /// When the time begins that is shown.
    since: Rc<Cell<Option<i64>>>,
}

impl Programs {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<Cell<Units>>) -> Self {
        let emit = sender.clone();
        let since = Rc::new(Cell::new(None));
        let table = Table::new(
            tr("Programs"),
            columns(units, &since),
            &context.people,
            sender,
            move |row: &Executable| {
                if let Some(id) = row.id {
                    emit.emit(Msg::Go(Place::Program(id)));
                }
            },
            |row| {
                let program = Chip::program(row.path.as_deref(), row.id, row.foreign_root);
                let values = [(Dimension::Name, row.name.clone()), (Dimension::Sha256, row.sha256.clone())];
                Chip::all(program, values)
            },
        );
        let emit = sender.clone();
        table.on_sight(move || emit.emit(Msg::More(Place::Programs)));
        // The last one: when it was last seen.
        let emit = sender.clone();
        table.on_order(5, move || emit.emit(Msg::Sorted(Place::Programs)));
        let frame = Frame::new(&table.root, sender);
        Self { frame, table, since }
    }

    /// Asks for the first page.
    pub fn load(&self, context: &Context) {
        self.table.ask();
        self.ask(context, Part::First, None);
    }

    /// Asks for the page that is in sight, if it is not here.
    pub fn more(&self, context: &Context) {
        if let Some(Wanted { page, cursor, .. }) = self.table.ask_more() {
            self.ask(context, Part::Page(page), cursor);
        }
    }

    /// The query in the order of the screen; also for an export.
    pub fn shown(&self, query: Query) -> Query {
        let (sort, descending) = self.table.order().unwrap_or(("last-seen", true));
        Query { sort: Some(sort.into()), descending: Some(descending), ..query }
    }

    fn ask(&self, context: &Context, part: Part, cursor: Option<String>) {
        let limit = Some(if part == Part::First { self.table.first_page() } else { PAGE });
        let query = Query { limit, cursor, ..self.shown(context.query()) };
        self.since.set(query.since);
        context.asker.ask(context.number, Place::Programs, move |client: Client| async move {
            Ok(Got::Executables(client.executables(&query).await?, part))
        });
    }

    /// An answer that will not come any more.
    pub fn lost(&self) {
        self.table.lost();
    }

    /// Somebody points at it, reads further down or selected a row: it holds still.
    pub fn is_held(&self) -> bool {
        self.table.is_busy() || self.table.is_hovered()
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

    /// Shows what came.
    pub fn got(&self, page: Page<Executable>, part: Part, context: &Context) {
        if part == Part::First && page.rows.is_empty() {
            self.table.lost();
            let (title, text) = context.record.nothing(tr("No traffic yet"));
            return self.frame.empty("application-x-executable-symbolic", title, text, &context.view);
        }
        self.table.take(page, part, |a, b| a.id == b.id, |_, _| true);
        self.frame.content();
        self.more(context);
    }
}

fn columns(units: &Rc<Cell<Units>>, since: &Rc<Cell<Option<i64>>>) -> Vec<Column<Executable>> {
    let (received, sent, since) = (units.clone(), units.clone(), since.clone());
    let when = |time: Option<i64>| time.map_or(String::new(), |time| format::ago(time, now()));
    vec![
        Column::new(
            tr("Program"),
            Show::Name(Rc::new(move |row: &Executable| {
                let path = row.path.as_deref().unwrap_or_default();
                Name {
                    main: program_name(path, row.foreign_root),
                    sub: place(path),
                    pill: is_new(row, since.get()).then(|| tr("new")),
                    icon: Some(crate::icon::of(path, row.foreign_root)),
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
        Column::number(tr("First seen"), move |row: &Executable| when(row.first_seen))
            .asked("first-seen")
            .ages(),
        Column::number(tr("Last seen"), move |row: &Executable| when(row.last_seen))
            .asked("last-seen")
            .ages(),
    ]
}
