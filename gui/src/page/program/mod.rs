// SPDX-License-Identifier: GPL-3.0-or-later
//! One program: what it is, when it used the network, which contents its file has had, with whom it talks,
//! what starts it, its processes and its connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::query::MAX_PAGE;
use picosnitch_api::row::{Connection, Executable, MAX_LISTED, Page, Total};
use picosnitch_api::tongue::{fill, say, tr};
use picosnitch_api::{Client, Dimension, Error, Query, Quiet, inert, quiet};

use super::live::{chips, columns};
use super::overview::ask::chart;
use super::{Context, Frame, file_name, now, place, value};
use crate::chart::Chart;
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Program, Sender};
use crate::table::Table;
use crate::words::Chip;

mod facts;
mod filters;
mod process;

/// Lines of each list.
const LINES: usize = 8;
/// Connections in the table; the page of connections has all.
const CONNECTIONS: u32 = 200;
/// Of which so many are shown at once.
const SHOWN: usize = 40;

/// See the module.
pub struct ProgramPage {
    /// What is put into the window.
    pub frame: Frame,
    scrolled: gtk4::ScrolledWindow,
    head: gtk4::Box,
    lists: gtk4::Box,
    processes: gtk4::Box,
    chart: Chart,
    table: Table<Connection>,
    all: gtk4::Button,
    /// Those of what is made anew with each answer.
    hovers: [gtk4::EventControllerMotion; 3],
    /// The pointer was moved since the program was opened: one that rests where the row was that led here does not
    /// point at anything.
    moved: Rc<Cell<bool>>,
    id: Cell<i64>,
    /// The filter for it.
    chip: RefCell<Option<Chip>>,
    sender: Sender,
}

fn column(spacing: i32) -> gtk4::Box {
    gtk4::Box::new(gtk4::Orientation::Vertical, spacing)
}

fn heading(text: &str) -> gtk4::Label {
    gtk4::Label::builder().label(text).css_classes(["heading"]).xalign(0.0).build()
}

fn empty(list: &gtk4::Box) {
    while let Some(child) = list.first_child() {
        list.remove(&child);
    }
}

impl ProgramPage {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<Cell<Units>>) -> Self {
        let (head, lists, processes) = (column(12), column(18), column(18));
        let chart = Chart::new(sender, &context.people, units);
        let title = gtk4::Box::builder().spacing(8).css_classes(["chart-head"]).build();
        let name = heading(tr("Traffic by destination"));
        name.set_hexpand(true);
        title.append(&name);
        title.append(&chart.toggle);
        let card = column(6);
        card.add_css_class("card");
        card.add_css_class("chart-card");
        card.append(&title);
        card.append(&chart.root);
        let table = Table::new(
            tr("Connections of this program"),
            columns(units, &context.people, false),
            &context.people,
            sender,
            |_| {},
            chips,
        );
        table.root.set_propagate_natural_height(true);
        table.root.set_vscrollbar_policy(gtk4::PolicyType::Never);
        table.root.set_vexpand(false);
        table.root.set_overflow(gtk4::Overflow::Hidden);
        table.root.add_css_class("card");
        table.root.add_css_class("table-card");
        let all = gtk4::Button::builder()
            .label(tr("All Connections"))
            .halign(gtk4::Align::Center)
            .css_classes(["flat"])
            .build();
        let connections = column(6);
        connections.append(&heading(tr("Connections")));
        connections.append(&table.root);
        connections.append(&all);
        let page = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .spacing(18)
            .margin_start(12)
            .margin_end(12)
            .margin_top(18)
            .margin_bottom(18)
            .build();
        page.append(&head);
        page.append(&card);
        page.append(&lists);
        page.append(&processes);
        page.append(&connections);
        let hovers = [&head, &lists, &processes].map(|part| {
            let hover = gtk4::EventControllerMotion::new();
            part.add_controller(hover.clone());
            hover
        });
        let moved = Rc::new(Cell::new(false));
        let motion = gtk4::EventControllerMotion::new();
        let (moves, was) = (moved.clone(), Cell::new((-1.0, -1.0)));
        motion.connect_motion(move |_, x, y| {
            if was.replace((x, y)) != (x, y) {
                moves.set(true);
            }
        });
        let clamp = adw::Clamp::builder().maximum_size(980).child(&page).build();
        let scrolled =
            gtk4::ScrolledWindow::builder().child(&clamp).hscrollbar_policy(gtk4::PolicyType::Never).build();
        scrolled.add_controller(motion);
        let program = Self {
            frame: Frame::new(&scrolled, sender),
            scrolled,
            head,
            lists,
            processes,
            chart,
            table,
            all,
            hovers,
            moved,
            id: Cell::new(0),
            chip: RefCell::default(),
            sender: sender.clone(),
        };
        let emit = sender.clone();
        program.all.connect_clicked(move |_| emit.emit(Msg::More(Place::Program(0))));
        program
    }

    /// Asks for a program; lists and connections are those of the time range.
    pub fn load(&self, id: i64, context: &Context) {
        if self.id.replace(id) != id {
            // Of the one before nothing is left, should this one not come.
            self.chip.take();
            self.moved.set(false);
            self.table.clear();
            self.frame.root.set_visible_child_name("loading");
            self.scroll(0.0);
        }
        let query = context.query();
        context.asker.ask(context.number, Place::Program(id), move |client| program(client, id, query));
    }

    /// Where it is scrolled to.
    pub fn spot(&self) -> f64 {
        self.scrolled.vadjustment().value()
    }

    /// Scrolls there.
    pub fn scroll(&self, to: f64) {
        let scrolled = self.scrolled.clone();
        gtk4::glib::idle_add_local_once(move || scrolled.vadjustment().set_value(to));
    }

    /// Somebody points at what is shown, has the keyboard on it or selected a row: it holds still.
    pub fn is_held(&self) -> bool {
        let focus = self.scrolled.root().and_then(|root| root.focus());
        let own = |part: &gtk4::Box| focus.as_ref().is_some_and(|focus| focus.is_ancestor(part));
        let pointed = self.hovers.iter().any(gtk4::EventControllerMotion::contains_pointer)
            || self.table.is_hovered()
            || self.chart.is_hovered();
        (pointed && self.moved.get())
            || [&self.head, &self.lists, &self.processes].into_iter().any(own)
            || self.table.is_selected()
            || self.chart.is_used()
    }

    /// The filter for the program that is shown.
    pub fn chip(&self) -> Option<Chip> {
        self.chip.borrow().clone()
    }

    /// What is exported of it: without it, it would be everything.
    pub fn shown(&self, query: Query) -> Option<Query> {
        let id = self.chip.borrow().as_ref()?.program?.id;
        Some(of(id, query))
    }

    /// Shows what came, and asks for its chart and its connections.
    pub fn got(&self, program: Program, context: &Context) {
        empty(&self.head);
        empty(&self.lists);
        let about = &program.about;
        self.chip.replace(Chip::program(about.path.as_deref(), Some(self.id.get()), about.foreign_root));
        self.head.append(&self.title(&program.about, context));
        // Below the chart: it is seen whole without scrolling.
        self.lists.append(&facts::facts(self, &program.about, context));
        if let Some(versions) = self.versions(&program, context) {
            self.lists.append(&versions);
        }
        self.totals(tr("Destinations"), Dimension::Domain, &program.domains, context);
        let named = program.domains.iter().any(|total| !total.key.is_empty());
        let addresses = if named { tr("Addresses") } else { tr("Addresses without a name") };
        self.totals(addresses, Dimension::Address, &program.addresses, context);
        self.totals(tr("Launched by"), Dimension::Parent, &program.parents, context);
        self.totals(tr("And that by"), Dimension::Grandparent, &program.grandparents, context);
        for (by, totals) in &program.belongs {
            self.totals(crate::words::title(*by), *by, totals, context);
        }
        if let Some(cmdlines) = facts::cmdlines(self, &program.about, context) {
            self.lists.append(&cmdlines);
        }
        self.frame.content();
        let query = of(self.id.get(), context.query());
        let place = Place::Program(self.id.get());
        let connections = Query { limit: Some(CONNECTIONS), ..query.clone() };
        context.asker.ask(context.number, place, move |client: Client| async move {
            Ok(Got::ProgramConnections(client.connections(&connections).await?))
        });
        context.asker.ask(context.number, place, move |client: Client| async move {
            match chart(client, query, Dimension::Domain).await? {
                Got::Chart(data, by) => Ok(Got::ProgramChart(data, by)),
                other => Ok(other),
            }
        });
    }

    /// Shows its connections, and the processes that made them.
    pub fn connections(&self, page: Page<Connection>, context: &Context) {
        empty(&self.processes);
        if let Some(group) = process::processes(self, &page, context) {
            self.processes.append(&group);
        }
        self.all.set_visible(page.rows.len() > SHOWN || !page.cursor.is_empty());
        let mut rows = page.rows;
        rows.truncate(SHOWN);
        if !self.table.is_selected() {
            self.table.set(rows, |a, b| a == b);
        }
    }

    /// Shows when it talked.
    pub fn chart(&self, data: crate::chart::scale::Data, by: Dimension, context: &Context) {
        self.chart.set(data, by, context.units);
    }

    /// Name, path, how its file is known, where it belongs, and what to do with it.
    fn title(&self, about: &Executable, context: &Context) -> gtk4::Box {
        let path = about.path.as_deref().unwrap_or_default();
        let icon = crate::icon::of(path, about.foreign_root);
        let plain = crate::icon::is_plain(&icon);
        let icon = gtk4::Image::builder()
            .gicon(&icon)
            .pixel_size(if plain { 32 } else { 48 })
            .opacity(if plain { 0.55 } else { 1.0 })
            .valign(gtk4::Align::Start)
            .margin_top(4)
            .accessible_role(gtk4::AccessibleRole::Presentation)
            .build();
        let text = column(4);
        text.set_hexpand(true);
        text.append(
            &gtk4::Label::builder()
                .label(file_name(path))
                .css_classes(["title-1"])
                .xalign(0.0)
                .ellipsize(gtk4::pango::EllipsizeMode::Middle)
                .build(),
        );
        text.append(
            &gtk4::Label::builder()
                .label(place(path))
                .css_classes(["dim-label"])
                .xalign(0.0)
                .selectable(true)
                .wrap(true)
                .wrap_mode(gtk4::pango::WrapMode::WordChar)
                .build(),
        );
        let pills = crate::wrap::wrap();
        pills.set_margin_top(4);
        for (says, warned) in facts::pills(about, context.query().since) {
            let pill = gtk4::Label::builder()
                .label(says)
                .ellipsize(gtk4::pango::EllipsizeMode::End)
                .css_classes(["quiet-pill"])
                .build();
            if warned {
                pill.add_css_class("warned");
            }
            pills.append(&pill);
        }
        if !path.is_empty() {
            pills.append(&self.mute(quiet::Program::new(path, about.foreign_root)));
        }
        text.append(&pills);
        let head = gtk4::Box::new(gtk4::Orientation::Horizontal, 14);
        head.append(&icon);
        head.append(&text);
        head
    }

    fn mute(&self, program: quiet::Program) -> gtk4::ToggleButton {
        let quiet = Quiet::file().and_then(|file| Quiet::load(&file).ok()).unwrap_or_default();
        let says = tr("No notifications about this program");
        let button = gtk4::ToggleButton::builder()
            .child(
                &adw::ButtonContent::builder()
                    .icon_name("notifications-disabled-symbolic")
                    .label(tr("Mute"))
                    .build(),
            )
            .active(quiet.muted.contains(&program))
            .css_classes(["value-pill"])
            .tooltip_text(says)
            .build();
        crate::speak::label(&button, says);
        let sender = self.sender.clone();
        button.connect_toggled(move |button| sender.emit(Msg::Mute(program.clone(), button.is_active())));
        button
    }

    fn versions(&self, program: &Program, context: &Context) -> Option<adw::PreferencesGroup> {
        let hashes = program.about.hashes.as_ref().filter(|hashes| !hashes.is_empty())?;
        let bytes = |total: &Total| {
            format!("↓ {} ↑ {}", context.units.bytes(total.received), context.units.bytes(total.sent))
        };
        let group = adw::PreferencesGroup::builder().title(tr("Versions of its file")).build();
        group.set_description(latest(hashes.len(), hashes.len() >= MAX_LISTED).as_deref());
        let at = |times: &Option<Vec<i64>>, index: usize| {
            times.as_ref().and_then(|times| times.get(index)).copied()
        };
        for (index, hash) in hashes.iter().enumerate().take(LINES) {
            let (first, last) =
                (at(&program.about.hashes_first_seen, index), at(&program.about.hashes_last_seen, index));
            let mut says = match (first, last) {
                (Some(first), Some(last)) => format::span(first, last),
                (one, other) => one.or(other).map(format::minute).unwrap_or_default(),
            };
            if let Some(total) = program.contents.iter().find(|total| total.key == *hash) {
                // When it was seen is of all times, its traffic is not.
                says += &format!(" · {}", say("in this time {bytes}", &[("bytes", &bytes(total))]));
            }
            let verdict =
                program.about.verdicts.as_ref().and_then(|all| all.get(index)).filter(|v| !v.is_empty());
            if let Some(verdict) = verdict {
                says += &format!(" · {}", inert(verdict));
            }
            let row = row(&inert(hash), &says);
            row.add_css_class("hash");
            row.add_suffix(&self.filter(Dimension::Sha256, hash, context));
            group.add(&row);
        }
        // Of these nothing but the traffic is known, nor how many they were.
        if let Some(unknown) = program.contents.iter().find(|total| total.key.is_empty()) {
            let says = say("in this time {bytes}", &[("bytes", &bytes(unknown))]);
            group.add(&row(tr("sha256 not known"), &says));
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
            let row = row(&value(by, &total.key, &context.people), &format::connections(total.connections));
            let bytes =
                format!("↓ {}  ↑ {}", context.units.bytes(total.received), context.units.bytes(total.sent));
            row.add_suffix(
                &gtk4::Label::builder().label(&bytes).css_classes(["numeric", "dim-label"]).build(),
            );
            row.add_suffix(&self.filter(by, &total.key, context));
            group.add(&row);
        }
        if known.len() > LINES {
            // More than one answer has.
            let more = if totals.len() >= MAX_PAGE as usize { "+" } else { "" };
            let all = format!("{}{more}", format::count(known.len() as u64));
            let text = fill(tr("The largest {n} of {all}."), &[("n", &LINES), ("all", &all)]);
            group.set_description(Some(&text));
        }
        self.lists.append(&group);
    }
}

/// Says that there are more than are shown; with `more` they are not all counted.
fn latest(all: usize, more: bool) -> Option<String> {
    let all = (all > LINES).then(|| format!("{all}{}", if more { "+" } else { "" }))?;
    Some(fill(tr("The latest {n} of {all}."), &[("n", &LINES), ("all", &all)]))
}

/// A row whose texts are no markup.
fn row(title: &str, subtitle: &str) -> adw::ActionRow {
    let row = adw::ActionRow::builder().use_markup(false).title_lines(1).subtitle_lines(2).build();
    row.set_title(title);
    row.set_subtitle(subtitle);
    row
}

/// The query of one program, whatever program is filtered by: another one may have its path.
fn of(id: i64, query: Query) -> Query {
    Query { executable: Some(id), path: None, ..query }
}

async fn program(client: Client, id: i64, query: Query) -> Result<Got, Error> {
    let about = client.executable(id).await?;
    let query = Query { limit: Some(MAX_PAGE), ..of(id, query) };
    let ((domains, _), (addresses, _), (parents, _), (contents, _)) = tokio::try_join!(
        client.summary(Dimension::Domain, &query),
        client.summary(Dimension::Address, &query),
        client.summary(Dimension::Parent, &query),
        client.summary(Dimension::Sha256, &query),
    )?;
    let ((grandparents, _), (users, _), (units, _), (containers, _)) = tokio::try_join!(
        client.summary(Dimension::Grandparent, &query),
        client.summary(Dimension::Uid, &query),
        client.summary(Dimension::Unit, &query),
        client.summary(Dimension::Container, &query),
    )?;
    // One user says no more than the processes do.
    let users = if users.len() > 1 { users } else { Vec::new() };
    // Where everything has a name they would say the same twice.
    let unnamed = domains.is_empty() || domains.iter().any(|total| total.key.is_empty());
    let addresses = if unnamed { addresses } else { Vec::new() };
    let belongs = vec![(Dimension::Uid, users), (Dimension::Unit, units), (Dimension::Container, containers)];
    let program = Program { about, domains, addresses, parents, grandparents, contents, belongs };
    Ok(Got::Program(Box::new(program)))
}

/// When a process last did something, for its line.
fn last(time: Option<i64>) -> String {
    time.map_or(String::new(), |time| format::ago(time, now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_a_list_that_is_cut_says_of_how_many() {
        assert_eq!(latest(LINES, false), None);
        assert_eq!(latest(LINES + 1, false).as_deref(), Some("The latest 8 of 9."));
        assert_eq!(latest(MAX_LISTED, true).as_deref(), Some("The latest 8 of 200+."), "or of more");
    }
}
