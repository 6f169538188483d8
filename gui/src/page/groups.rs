// SPDX-License-Identifier: GPL-3.0-or-later
//! Totals by any dimension: with whom (domains, addresses, ports), for whom (users, units, containers), by
//! what (contents, parents). A row becomes a filter and leads to the overview of it.

use std::cell::Cell;
use std::rc::Rc;

use gtk4::prelude::*;
use picosnitch_api::query::MAX_PAGE;
use picosnitch_api::row::Total;
use picosnitch_api::tongue::{fill, say_n, tr};
use picosnitch_api::{Client, Dimension, Query};

use super::{Context, Frame, bar, value};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Sender};
use crate::table::{Column, Spot, Table};
use crate::words::{self, Chip};

/// See the module.
pub struct Groups {
    /// What is put into the window.
    pub frame: Frame,
    by: Rc<Cell<Dimension>>,
    table: Table<Total>,
    note: gtk4::Label,
}

/// The choice of a dimension. `chosen` is not called by [`choose`].
pub fn dimensions(label: &str) -> gtk4::DropDown {
    let names: Vec<&str> = Dimension::ALL.iter().map(|(by, _)| words::title(*by)).collect();
    let choice = gtk4::DropDown::from_strings(&names);
    crate::speak::label(&choice, label);
    choice.set_tooltip_text(Some(label));
    choice
}

/// Shows that this one is chosen.
pub fn choose(choice: &gtk4::DropDown, by: Dimension) {
    let at = Dimension::ALL.iter().position(|(known, _)| *known == by).unwrap_or(0);
    choice.set_selected(at as u32);
}

impl Groups {
    /// An empty one, by domain.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<Cell<Units>>) -> Self {
        let by = Rc::new(Cell::new(Dimension::Domain));
        let (received, sent) = (units.clone(), units.clone());
        let (key_by, people) = (by.clone(), context.people.clone());
        let (open_by, emit) = (by.clone(), sender.clone());
        let chips_by = by.clone();
        let table = Table::new(
            tr("Totals"),
            vec![
                Column::text(words::title(by.get()), move |row: &Total| {
                    value(key_by.get(), &row.key, &people)
                }),
                Column::number(tr("Received"), move |row: &Total| received.get().bytes(row.received))
                    .asked("received"),
                Column::number(tr("Sent"), move |row: &Total| sent.get().bytes(row.sent)).asked("sent"),
                Column::number(tr("Connections"), |row: &Total| format::count(row.connections))
                    .asked("connections"),
            ],
            &context.people,
            sender,
            move |row: &Total| {
                if let Some(chip) = Chip::of(open_by.get(), &row.key) {
                    emit.emit(Msg::FilterIn(chip, Place::Overview));
                }
            },
            move |row| Chip::of(chips_by.get(), &row.key).into_iter().collect(),
        );
        let emit = sender.clone();
        table.on_order(1, move || emit.emit(Msg::Sorted(Place::Destinations)));
        let choice = dimensions(tr("Group by"));
        choose(&choice, by.get());
        let (set, emit) = (by.clone(), sender.clone());
        choice.connect_selected_notify(move |choice| {
            if let Some((by, _)) = Dimension::ALL.get(choice.selected() as usize) {
                set.set(*by);
                emit.emit(Msg::Refresh);
            }
        });
        let note = gtk4::Label::builder()
            .css_classes(["dim-label", "caption"])
            .hexpand(true)
            .xalign(1.0)
            .ellipsize(gtk4::pango::EllipsizeMode::End)
            .build();
        let head = bar();
        head.append(&gtk4::Label::new(Some(tr("Group by"))));
        head.append(&choice);
        head.append(&note);
        let all = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
        all.append(&head);
        all.append(&table.root);
        Self { frame: Frame::new(&all, sender), by, table, note }
    }

    /// Asks.
    pub fn load(&self, context: &Context) {
        let (by, query) = self.shown(context.query());
        self.table.column(0, Some(words::title(by)), None);
        let query = Query { limit: Some(MAX_PAGE), ..query };
        context.asker.ask(context.number, Place::Destinations, move |client: Client| async move {
            let (totals, hidden) = client.summary(by, &query).await?;
            Ok(Got::Groups(totals, hidden))
        });
    }

    /// The dimension that is shown, and the query in the order of the screen; also for an export.
    pub fn shown(&self, query: Query) -> (Dimension, Query) {
        let (sort, descending) = self.table.order().unwrap_or(("total", true));
        (self.by.get(), Query { sort: Some(sort.into()), descending: Some(descending), ..query })
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

    /// An answer that will not come any more.
    pub fn lost(&self) {
        self.table.lost();
    }

    /// Shows what came.
    pub fn got(&self, totals: Vec<Total>, context: &Context) {
        let count = totals.len();
        if count == 0 {
            let (title, text) = context.record.nothing(tr("Nothing here"));
            return self.frame.empty("network-server-symbolic", title, text, &context.view);
        }
        self.note.set_text(&if count >= MAX_PAGE as usize {
            let largest = self.table.order().is_none_or(|(_, descending)| descending);
            let text = if largest {
                tr("The largest {n}. An export has all.")
            } else {
                tr("The smallest {n}. An export has all.")
            };
            fill(text, &[("n", &format::count(count as u64))])
        } else {
            say_n("{n} in this time", "{n} in this time", count as u64)
        });
        self.table.set(totals, |a, b| a.key == b.key);
        self.frame.content();
    }
}
