// SPDX-License-Identifier: GPL-3.0-or-later
//! Totals by any dimension: with whom (domains, addresses, ports), for whom (users, units, containers), by
//! what (contents, parents). A row becomes a filter and leads to the overview of it.

use std::cell::Cell;
use std::rc::Rc;

use gtk4::prelude::*;
use picosnitch_api::row::Total;
use picosnitch_api::{Client, Dimension, Query};

use super::{Context, Frame, bar, value};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Sender};
use crate::table::{Column, Table};
use crate::words::{self, Chip};

/// See the module.
pub struct Groups {
    /// What is put into the window.
    pub frame: Frame,
    by: Rc<Cell<Dimension>>,
    table: Table<Total>,
    note: gtk4::Label,
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
            "Totals",
            vec![
                Column::text("Value", move |row: &Total| value(key_by.get(), &row.key, &people))
                    .sorted(|a, b| a.key.cmp(&b.key)),
                Column::number("Received", move |row: &Total| received.get().bytes(row.received))
                    .sorted(|a, b| a.received.cmp(&b.received)),
                Column::number("Sent", move |row: &Total| sent.get().bytes(row.sent))
                    .sorted(|a, b| a.sent.cmp(&b.sent)),
                Column::number("Connections", |row: &Total| format::count(row.connections))
                    .sorted(|a, b| a.connections.cmp(&b.connections)),
            ],
            &context.people,
            sender,
            move |row: &Total| {
                if let Some(chip) = Chip::of(open_by.get(), &row.key) {
                    emit.emit(Msg::Filter(chip));
                    emit.emit(Msg::Go(Place::Overview));
                }
            },
            move |row| Chip::of(chips_by.get(), &row.key).into_iter().collect(),
        );
        let names: Vec<&str> = Dimension::ALL.iter().map(|(by, _)| words::title(*by)).collect();
        let choice = gtk4::DropDown::from_strings(&names);
        let at = Dimension::ALL.iter().position(|(known, _)| *known == by.get()).unwrap_or(0);
        choice.set_selected(at as u32);
        crate::speak::label(&choice, "Group by");
        let (set, emit) = (by.clone(), sender.clone());
        choice.connect_selected_notify(move |choice| {
            if let Some((by, _)) = Dimension::ALL.get(choice.selected() as usize) {
                set.set(*by);
                emit.emit(Msg::Refresh);
            }
        });
        let note =
            gtk4::Label::builder().css_classes(["dim-label", "caption"]).hexpand(true).xalign(1.0).build();
        let head = bar();
        head.append(&gtk4::Label::new(Some("Group by")));
        head.append(&choice);
        head.append(&note);
        let all = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
        all.append(&head);
        all.append(&table.root);
        Self { frame: Frame::new(&all, sender), by, table, note }
    }

    /// Asks.
    pub fn load(&self, context: &Context) {
        self.frame.loading();
        let by = self.by.get();
        let query = Query { limit: Some(picosnitch_api::query::MAX_PAGE), ..context.query() };
        context.asker.ask(context.number, Place::Destinations, move |client: Client| async move {
            let (totals, hidden) = client.summary(by, &query).await?;
            Ok(Got::Groups(totals, hidden))
        });
    }

    /// Shows what came.
    pub fn got(&self, totals: Vec<Total>, context: &Context) {
        let count = totals.len();
        if count == 0 && context.view.is_filtered() {
            return self.frame.empty("network-server-symbolic", "Nothing here", "", true);
        }
        self.note.set_text(&if count >= picosnitch_api::query::MAX_PAGE as usize {
            format!("the largest {}", format::count(count as u64))
        } else {
            format!("{} in this time", format::count(count as u64))
        });
        self.table.set(totals);
        self.frame.content();
    }
}
