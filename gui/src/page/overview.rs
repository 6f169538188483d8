// SPDX-License-Identifier: GPL-3.0-or-later
//! The first screen: how much, against the period before, when, by whom, and what of it is new.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

use gtk4::prelude::*;
use picosnitch_api::row::{Executable, Series, Total};
use picosnitch_api::tongue::{fill, say, say_n, tr, tr_n};
use picosnitch_api::{Client, Dimension, Error, inert_short};

use super::groups::{choose, dimensions};
use super::{Context, Frame, is_new, now, place, program_name};
use crate::chart::Chart;
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Sender, Totals, Whom};
use crate::table::{Column, Name, Show, Table};
use crate::view::View;
use crate::words::Chip;

pub mod ask;

use ask::{chart, sparks, totals, whom};

/// Programs in the table; the page of programs has all.
const PROGRAMS: u32 = 40;
/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    /// Its key is the number of the program: others may have its path.
    total: Total,
    about: Executable,
    spark: Vec<f64>,
    new: bool,
    whom: Option<Whom>,
    /// When it was asked with whom, in vain or not.
    asked: Option<Instant>,
}

struct Tile {
    root: gtk4::Box,
    value: gtk4::Label,
    note: gtk4::Label,
}

impl Tile {
    fn new(title: &str) -> Self {
        let root = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .css_classes(["card", "tile"])
            .hexpand(true)
            .build();
        let label = |class: &str| gtk4::Label::builder().xalign(0.0).css_classes([class]).build();
        let title_label = label("caption");
        title_label.set_text(title);
        title_label.add_css_class("dim-label");
        let value = label("title-2");
        value.add_css_class("numeric");
        let note = label("caption");
        note.add_css_class("dim-label");
        for part in [&title_label, &value, &note] {
            root.append(part);
        }
        Self { root, value, note }
    }

    fn set(&self, value: &str, note: Option<&str>) {
        self.value.set_text(value);
        self.note.set_text(note.unwrap_or(" "));
    }
}

/// See the module.
pub struct Overview {
    /// What is put into the window.
    pub frame: Frame,
    scrolled: gtk4::ScrolledWindow,
    received: Tile,
    sent: Tile,
    programs: Tile,
    domains: Tile,
    chart: Chart,
    by: gtk4::DropDown,
    table: Table<Line>,
    lines: RefCell<Vec<Line>>,
    /// What the lines are of.
    view: RefCell<Option<View>>,
}

impl Overview {
    /// An empty one.
    pub fn new(sender: &Sender, context: &Context, units: &Rc<std::cell::Cell<Units>>) -> Self {
        let tiles = gtk4::FlowBox::builder()
            .selection_mode(gtk4::SelectionMode::None)
            .homogeneous(true)
            .max_children_per_line(4)
            .min_children_per_line(1)
            .column_spacing(8)
            .row_spacing(8)
            .build();
        let [received, sent, programs, domains] =
            [tr("Received"), tr("Sent"), tr("Programs"), tr("Destinations")].map(Tile::new);
        for tile in [&received, &sent, &programs, &domains] {
            tiles.append(&tile.root);
        }
        // Something to read, nothing to press. A flow box that the keyboard can enter, and nothing in it that
        // takes the focus, holds it for ever (gtk_flow_box_focus).
        tiles.set_can_focus(false);
        let chart = Chart::new(sender, &context.people, units);
        let by = dimensions(tr("Colours of the chart"));
        let emit = sender.clone();
        by.connect_selected_notify(move |by| {
            if let Some((by, _)) = Dimension::ALL.get(by.selected() as usize) {
                emit.emit(Msg::By(*by));
            }
        });
        let head = gtk4::Box::builder().spacing(8).css_classes(["chart-head"]).build();
        head.append(
            &gtk4::Label::builder()
                .label(tr("Traffic"))
                .css_classes(["heading"])
                .hexpand(true)
                .xalign(0.0)
                .build(),
        );
        head.append(
            &gtk4::Label::builder()
                .label(tr("◆ new  ▲ changed"))
                .css_classes(["caption", "dim-label"])
                .ellipsize(gtk4::pango::EllipsizeMode::End)
                .build(),
        );
        head.append(&chart.toggle);
        head.append(&by);
        let card = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .spacing(6)
            .css_classes(["card", "chart-card"])
            .build();
        card.append(&head);
        card.append(&chart.root);
        let top = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .spacing(12)
            .margin_start(12)
            .margin_end(12)
            .margin_top(12)
            .margin_bottom(12)
            .build();
        top.append(&tiles);
        top.append(&card);
        let emit = sender.clone();
        let table = Table::new(
            tr("Programs that use the network most"),
            columns(units),
            &context.people,
            sender,
            move |line: &Line| {
                if let Some(id) = line.about.id {
                    emit.emit(Msg::Go(Place::Program(id)));
                }
            },
            chips,
        );
        // The page scrolls as a whole, so the table is as high as its rows.
        table.root.set_propagate_natural_height(true);
        table.root.set_vscrollbar_policy(gtk4::PolicyType::Never);
        table.root.set_vexpand(false);
        table.root.set_overflow(gtk4::Overflow::Hidden);
        table.root.add_css_class("card");
        table.root.add_css_class("table-card");
        top.append(&table.root);
        let rest = gtk4::Button::builder()
            .label(tr("All Programs"))
            .halign(gtk4::Align::Center)
            .css_classes(["flat"])
            .build();
        let emit = sender.clone();
        rest.connect_clicked(move |_| emit.emit(Msg::Go(Place::Programs)));
        top.append(&rest);
        let scrolled =
            gtk4::ScrolledWindow::builder().child(&top).hscrollbar_policy(gtk4::PolicyType::Never).build();
        let frame = Frame::new(&scrolled, sender);
        Self {
            frame,
            scrolled,
            received,
            sent,
            programs,
            domains,
            chart,
            by,
            table,
            lines: RefCell::default(),
            view: RefCell::default(),
        }
    }

    /// Asks for everything, the totals first.
    pub fn load(&self, context: &Context) {
        choose(&self.by, context.view.by);
        let (query, before, by) =
            (context.query(), context.view.before(now(), &context.people), context.view.by);
        let ask = |question| context.asker.ask(context.number, Place::Overview, question);
        let q = query.clone();
        ask(Box::new(move |client: Client| -> Answer { Box::pin(totals(client, q, before)) }) as Question);
        let q = query;
        ask(Box::new(move |client| Box::pin(chart(client, q, by))));
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

    /// Somebody points at the chart or the table, or selected a row: they hold still.
    pub fn is_held(&self) -> bool {
        self.table.is_selected() || self.table.is_hovered() || self.chart.is_held()
    }

    /// Nothing of what was shown stays.
    pub fn forget(&self) {
        self.lines.take();
    }

    /// Icons are known now.
    pub fn refill(&self) {
        self.table.refill();
    }

    /// Shows what came.
    pub fn got(&self, got: Got, context: &Context) {
        match got {
            Got::Totals(totals) => self.totals(*totals, context),
            Got::Chart(data, by) => self.chart.set(*data, by, context.units),
            Got::Sparks(sparks) => self.sparks(sparks),
            Got::Whom(all, vain) => self.whom(all, vain),
            _ => {}
        }
    }

    fn totals(&self, totals: Totals, context: &Context) {
        if totals.programs.is_empty() {
            self.forget();
            let (title, text) = context.record.nothing(tr("No traffic yet"));
            return self.frame.empty("network-receive-symbolic", title, text, &context.view);
        }
        let (sent, received) = totals.now;
        let note = |now, before: Option<u64>| {
            let before = before?;
            Some(match format::change(now, before) {
                Some(change) => say(
                    "{change} · before {bytes}",
                    &[("change", &change), ("bytes", &context.units.bytes(before))],
                ),
                None => tr("nothing in the period before").to_owned(),
            })
        };
        self.received.set(
            &context.units.bytes(received),
            note(received, totals.before.map(|before| before.1)).as_deref(),
        );
        self.sent
            .set(&context.units.bytes(sent), note(sent, totals.before.map(|before| before.0)).as_deref());
        let query = context.query();
        let more = if totals.more { "+" } else { "" };
        let new = totals.programs.iter().filter(|row| is_new(row, query.since)).count();
        let new = match (new, more) {
            (0, _) => tr("none of them new").into(),
            (new, "") => say_n("{n} new", "{n} new", new as u64),
            (new, more) => fill(tr_n("{n} new", "{n} new", new as u64), &[("n", &format!("{new}{more}"))]),
        };
        let count = format::count(totals.programs.len() as u64);
        self.programs.set(&format!("{count}{more}"), Some(&new));
        let (count, more) = totals.domains;
        let unnamed = totals.unnamed.then(|| tr("and some without a name"));
        self.domains.set(&format!("{}{}", format::count(count as u64), if more { "+" } else { "" }), unnamed);
        let same = self.view.borrow().as_ref().is_some_and(|view| is_same(view, &context.view));
        self.view.replace(Some(context.view.clone()));
        let shared = shared(&totals.programs);
        let lines = lines(totals.programs, self.lines.take(), (same, query.since));
        let shown = lines.iter().map(|line| line.about.clone()).collect();
        let (q, ask) = (query.clone(), to_ask(&lines));
        context
            .asker
            .ask(context.number, Place::Overview, move |client| sparks(client, query, shown, shared));
        context.asker.ask(context.number, Place::Overview, move |client| whom(client, q, ask));
        self.table.set(lines.clone(), |a, b| a.total.key == b.total.key);
        self.lines.replace(lines);
        self.frame.content();
    }

    fn whom(&self, all: Vec<Whom>, vain: Option<String>) {
        let mut all: HashMap<String, Whom> =
            all.into_iter().map(|whom| (whom.of.key.clone(), whom)).collect();
        let mut lines = self.lines.take();
        for line in &mut lines {
            if vain.as_ref() == Some(&line.total.key) || all.contains_key(&line.total.key) {
                line.asked = Some(Instant::now());
            }
            line.whom = all.remove(&line.total.key).or(line.whom.take());
        }
        self.table.set(lines.clone(), |a, b| a.total.key == b.total.key);
        self.lines.replace(lines);
    }

    fn sparks(&self, sparks: Vec<(i64, Series)>) {
        let mut sparks: HashMap<i64, Vec<f64>> =
            sparks.iter().map(|(id, series)| (*id, coarse(series))).collect();
        let mut lines = self.lines.take();
        for line in &mut lines {
            line.spark = line.about.id.and_then(|id| sparks.remove(&id)).unwrap_or_default();
        }
        self.table.set(lines.clone(), |a, b| a.total.key == b.total.key);
        self.lines.replace(lines);
    }
}

/// Filters of a line: the program, and with whom it talked most.
fn chips(line: &Line) -> Vec<Chip> {
    let about = &line.about;
    let program = Chip::program(about.path.as_deref(), about.id, about.foreign_root);
    let largest = line.whom.as_ref().map(|whom| whom.largest.clone());
    // What has no name is counted by its address.
    let is_address = largest.as_deref().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    Chip::all(program, [(if is_address { Dimension::Address } else { Dimension::Domain }, largest)])
}

/// What is shown is of the same rows; a range that ends now goes on.
fn is_same(a: &View, b: &View) -> bool {
    *a == View { by: a.by, ..b.clone() }
}

/// The first of the programs, with what is known of the same ones: it stays until it comes anew, so that nothing
/// flickers. With whom they talked stays only if the rows that are shown are the `same`, as it may not come at once.
fn lines(programs: Vec<Executable>, old: Vec<Line>, (same, since): (bool, Option<i64>)) -> Vec<Line> {
    let mut old: HashMap<String, Line> = old.into_iter().map(|line| (line.total.key.clone(), line)).collect();
    let line = |about: Executable| {
        let (total, new) = (total(&about), is_new(&about, since));
        match old.remove(&total.key) {
            Some(old) if same => Line { total, about, new, ..old },
            Some(old) => Line { total, about, new, whom: None, asked: None, ..old },
            None => Line { total, about, spark: Vec::new(), new, whom: None, asked: None },
        }
    };
    programs.into_iter().take(PROGRAMS as usize).map(line).collect()
}

fn total(about: &Executable) -> Total {
    Total {
        key: about.id.unwrap_or_default().to_string(),
        sent: about.sent.unwrap_or(0),
        received: about.received.unwrap_or(0),
        connections: about.connections.unwrap_or(0),
    }
}

/// Paths that several of these programs have, as on this machine and in a container.
fn shared(programs: &[Executable]) -> HashSet<String> {
    let mut known = HashSet::new();
    programs.iter().filter_map(|row| row.path.clone()).filter(|path| !known.insert(path.clone())).collect()
}

/// Of whom it is asked with whom they talked, as it may be another one now. Those that were not asked for yet come
/// first, then those whose turn was longest ago, so that busy programs do not take the turns of the others.
fn to_ask(lines: &[Line]) -> Vec<Total> {
    let may_differ = |line: &&Line| line.whom.as_ref().is_none_or(|whom| whom.of != line.total);
    let mut lines: Vec<&Line> = lines.iter().filter(may_differ).collect();
    lines.sort_by_key(|line| line.asked);
    lines.into_iter().map(|line| line.total.clone()).collect()
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Got, Error>> + Send>>;
type Question = Box<dyn FnOnce(Client) -> Answer>;

fn columns(units: &Rc<std::cell::Cell<Units>>) -> Vec<Column<Line>> {
    let (received, sent) = (units.clone(), units.clone());
    vec![
        Column::new(
            tr("Program"),
            Show::Name(Rc::new(|line: &Line| Name {
                main: program_name(path(line), line.about.foreign_root),
                sub: place(path(line)),
                pill: line.new.then(|| tr("new")),
                icon: Some(crate::icon::of(path(line), line.about.foreign_root)),
                ..Name::default()
            })),
        )
        .sorted(|a, b| path(a).cmp(path(b))),
        Column::number(tr("Received"), move |line: &Line| received.get().bytes(line.total.received))
            .sorted(|a, b| a.total.received.cmp(&b.total.received)),
        Column::number(tr("Sent"), move |line: &Line| sent.get().bytes(line.total.sent))
            .sorted(|a, b| a.total.sent.cmp(&b.total.sent)),
        Column::new(tr("Activity"), Show::Spark(Rc::new(|line: &Line| line.spark.clone()))).wide(112),
        Column::new(tr("Destinations"), Show::Name(Rc::new(|line: &Line| named(line.whom.as_ref()))))
            .wide(166)
            .sorted(|a, b| {
                let count = |line: &Line| line.whom.as_ref().map(|whom| whom.count);
                count(a).cmp(&count(b))
            }),
        Column::number(tr("Last seen"), |line: &Line| {
            line.about.last_seen.map_or(String::new(), |last| format::ago(last, now()))
        })
        .ages()
        .sorted(|a, b| a.about.last_seen.cmp(&b.about.last_seen)),
    ]
}

fn path(line: &Line) -> &str {
    line.about.path.as_deref().unwrap_or_default()
}

/// The largest destination, and how many there are.
fn named(whom: Option<&Whom>) -> Name {
    let Some(whom) = whom else { return Name::default() };
    let more = if whom.more { "+" } else { "" };
    let count = fill(
        tr_n("{n} destination", "{n} destinations", whom.count as u64 + u64::from(whom.more)),
        &[("n", &format!("{}{more}", format::count(whom.count as u64)))],
    );
    match inert_short(&whom.largest, 80) {
        largest if largest.is_empty() => Name { main: count, ..Name::default() },
        largest if whom.count <= 1 && !whom.more => Name { main: largest, ..Name::default() },
        largest => Name { main: largest, sub: count, ..Name::default() },
    }
}

/// A series in at most 24 columns.
fn coarse(series: &Series) -> Vec<f64> {
    let width = series.points.len().div_ceil(24).max(1);
    let sum = |points: &[picosnitch_api::row::Point]| {
        points.iter().map(|point| point.sent as f64 + point.received as f64).sum()
    };
    series.points.chunks(width).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ask::counted;
    use super::*;

    fn program(id: i64, path: &str, sent: u64) -> Executable {
        Executable {
            id: Some(id),
            path: Some(path.into()),
            sent: Some(sent),
            connections: Some(1),
            ..Executable::default()
        }
    }

    #[test]
    fn d05_programs_that_share_a_path_have_lines_of_their_own() {
        let foreign = Executable { foreign_root: Some(true), ..program(8, "/a", 2) };
        let programs = vec![program(7, "/a", 3), foreign, program(9, "/b", 1)];
        assert_eq!(shared(&programs), ["/a".to_owned()].into());
        let first = lines(programs.clone(), Vec::new(), (true, None));
        let keys: Vec<&str> = first.iter().map(|line| line.total.key.as_str()).collect();
        assert_eq!(keys, ["7", "8", "9"]);
        let mut known = first;
        known[1].spark = vec![1.0];
        let again = lines(programs, known, (true, None));
        let sparks: Vec<usize> = again.iter().map(|line| line.spark.len()).collect();
        assert_eq!(sparks, [0, 1, 0]);
        assert_eq!(program_name("/a", again[1].about.foreign_root), "a (in a container)");
        let chip = chips(&again[1]);
        assert_eq!(
            chip,
            [Chip::program(Some("/a"), Some(8), Some(true)).into_iter().collect::<Vec<_>>()].concat()
        );
    }

    #[test]
    fn d05_with_whom_a_program_talked_most_can_become_a_filter() {
        let with = |largest: &str| {
            let whom = counted(total("7", 1), &[total(largest, 1)]);
            let line = Line { about: program(7, "/a", 1), ..line("7", 1, Some(whom), None) };
            chips(&line).into_iter().map(|chip| (chip.by, chip.value)).collect::<Vec<_>>()
        };
        let path = (Dimension::Path, "/a".to_owned());
        assert_eq!(with("example.org"), [path.clone(), (Dimension::Domain, "example.org".into())]);
        assert_eq!(with("2001:db8::1"), [path.clone(), (Dimension::Address, "2001:db8::1".into())]);
        assert_eq!(with(""), [path]);
    }

    #[test]
    fn d05_a_program_says_with_whom_it_talked() {
        let says = |largest: &str, count, more| {
            let of = Total { key: "/a".into(), sent: 1, received: 2, connections: 3 };
            let name = named(Some(&Whom { of, largest: largest.into(), count, more }));
            (name.main, name.sub)
        };
        assert_eq!(says("example.org", 214, false), ("example.org".into(), "214 destinations".into()));
        assert_eq!(says("example.org", 1, false), ("example.org".into(), String::new()));
        assert_eq!(says("a", 1000, true).1, "1\u{202f}000+ destinations");
        assert_eq!(says("a\u{202e}b", 1, false).0, "a\\u{202e}b");
        assert_eq!(says("example.org", 1, true).1, "1+ destinations", "one has a name, others have none");
    }

    fn total(key: &str, sent: u64) -> Total {
        Total { key: key.into(), sent, received: 0, connections: 1 }
    }

    fn line(key: &str, sent: u64, whom: Option<Whom>, asked: Option<Instant>) -> Line {
        let about = Executable::default();
        Line { total: total(key, sent), about, spark: Vec::new(), new: false, whom, asked }
    }

    #[test]
    fn d05_busy_programs_do_not_take_the_turns_of_others() {
        let now = Instant::now();
        let [old, new] = [Some(now), Some(now + Duration::from_secs(1))];
        let whom = |key, sent| Some(counted(total(key, sent), &[total("x", 1)]));
        let lines = [
            line("/busy", 9, whom("/busy", 8), new),
            line("/in vain", 8, None, new),
            line("/as it was", 7, whom("/as it was", 7), old),
            line("/longest ago", 6, whom("/longest ago", 5), old),
            line("/never", 5, None, None),
        ];
        let asked: Vec<String> = to_ask(&lines).into_iter().map(|total| total.key).collect();
        assert_eq!(asked, ["/never", "/longest ago", "/busy", "/in vain"]);
    }

    #[test]
    fn d05_with_whom_is_of_the_range_and_the_filters_that_are_shown() {
        let view = View::default();
        let mut other = view.clone();
        other.by = Dimension::ALL.iter().map(|(by, _)| *by).find(|by| *by != view.by).unwrap_or(view.by);
        assert!(other != view && is_same(&view, &other), "colours of the chart");
        other.search = "x".into();
        assert!(!is_same(&view, &other));
        let whom = Some(counted(total("7", 1), &[]));
        let of = |id, sent, whom, asked| {
            let about = program(id, "/a", sent);
            Line { about, ..line(&id.to_string(), sent, whom, asked) }
        };
        let old = of(7, 1, whom, Some(Instant::now()));
        let now =
            |same| lines(vec![program(7, "/a", 2), program(8, "/a", 1)], vec![old.clone()], (same, None));
        let next = of(7, 2, None, None);
        let kept = Line { whom: old.whom.clone(), asked: old.asked, ..next.clone() };
        assert_eq!(now(true), [kept, of(8, 1, None, None)]);
        assert_eq!(now(false), [next, of(8, 1, None, None)]);
    }

    #[test]
    fn d05_new_is_what_was_first_seen_in_the_time_that_is_shown() {
        let first = |at| Executable { first_seen: Some(at), ..program(7, "/a", 1) };
        assert!(is_new(&first(10), Some(10)) && !is_new(&first(9), Some(10)));
        assert!(!is_new(&first(10), None), "of all time nothing is new");
        let lines = lines(vec![first(11)], Vec::new(), (true, Some(10)));
        assert!(lines.iter().all(|line| line.new));
    }
}
