// SPDX-License-Identifier: GPL-3.0-or-later
//! The first screen: how much, against the period before, when, by whom, and what of it is new.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use gtk4::prelude::*;
use picosnitch_api::row::{Executable, Series, Total};
use picosnitch_api::tongue::{fill, say, say_n, tr, tr_n};
use picosnitch_api::{Client, Dimension, Error, Query, inert_short};

use super::groups::{choose, dimensions};
use super::{Context, Frame, file_name, now, place};
use crate::chart::Chart;
use crate::chart::scale::{Data, LINES};
use crate::format::{self, Units};
use crate::msg::{Got, Msg, Place, Sender, Totals, Whom};
use crate::table::{Column, Name, Show, Table};
use crate::view::View;
use crate::words::Chip;

/// Programs in the table; the page of programs has all.
const PROGRAMS: u32 = 40;
/// Destinations of one program that are counted; more are said as more.
const MAX_NAMES: usize = picosnitch_api::query::MAX_PAGE as usize;
/// Programs with a small chart.
const SPARKS: u32 = 40;
/// How long it is asked with whom programs talked, each time that their totals come.
const WHOM_TIME: Duration = Duration::from_secs(1);

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    total: Total,
    about: Option<Executable>,
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
    /// Every program of the totals: those that are counted.
    counted: RefCell<HashSet<String>>,
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
            move |line: &Line| match line.about.as_ref().and_then(|about| about.id) {
                Some(id) => emit.emit(Msg::Go(Place::Program(id))),
                None => emit.emit(Msg::OpenPath(line.total.key.clone())),
            },
            |line| Chip::of(Dimension::Path, &line.total.key).into_iter().collect(),
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
            counted: RefCell::default(),
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
        let q = query.clone();
        ask(Box::new(move |client| Box::pin(chart(client, q, by))));
        ask(Box::new(move |client| Box::pin(programs(client, query))));
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
            Got::Programs(about, sparks) => self.about(about, sparks, context),
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
        let more = if totals.programs.len() >= 1000 { "+" } else { "" };
        self.programs.set(&format!("{}{more}", format::count(totals.programs.len() as u64)), None);
        let (count, more) = totals.domains;
        let unnamed = totals.unnamed.then(|| tr("and some without a name"));
        self.domains.set(&format!("{}{}", format::count(count as u64), if more { "+" } else { "" }), unnamed);
        self.counted.replace(totals.programs.iter().map(|total| total.key.clone()).collect());
        let same = self.view.borrow().as_ref().is_some_and(|view| is_same(view, &context.view));
        self.view.replace(Some(context.view.clone()));
        let lines = lines(totals.programs, self.lines.take(), same);
        let (query, ask) = (context.query(), to_ask(&lines));
        context.asker.ask(context.number, Place::Overview, move |client| whom(client, query, ask));
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

    fn about(&self, about: Vec<Executable>, sparks: Vec<Series>, context: &Context) {
        let since = context.query().since;
        let is_new = |row: &Executable| is_new(row, since);
        let count = new_of(&self.counted.borrow(), &about, since);
        let more = if about.len() >= picosnitch_api::query::MAX_PAGE as usize { "+" } else { "" };
        let mut by_path = by_path(about);
        let mut sparks: HashMap<String, Vec<f64>> =
            sparks.into_iter().map(|line| (line.key.clone(), coarse(&line))).collect();
        let lines: Vec<Line> = self
            .lines
            .take()
            .into_iter()
            .map(|line| {
                let about = by_path.remove(&line.total.key);
                let new = about.as_ref().is_some_and(is_new);
                Line { spark: sparks.remove(&line.total.key).unwrap_or_default(), about, new, ..line }
            })
            .collect();
        self.programs.note.set_text(&match (count, more) {
            (0, _) => tr("none of them new").into(),
            (count, "") => say_n("{n} new", "{n} new", count as u64),
            (count, more) => {
                fill(tr_n("{n} new", "{n} new", count as u64), &[("n", &format!("{count}{more}"))])
            }
        });
        let same = |a: &Line, b: &Line| a.total.key == b.total.key;
        self.table.set(lines.clone(), same);
        self.lines.replace(lines);
    }
}

/// What is shown is of the same rows; a range that ends now goes on.
fn is_same(a: &View, b: &View) -> bool {
    *a == View { by: a.by, ..b.clone() }
}

/// The first of the totals, with what is known of the same programs: it stays until it comes anew, so that nothing
/// flickers. With whom they talked stays only if the rows that are shown are the `same`, as it may not come at once.
fn lines(totals: Vec<Total>, old: Vec<Line>, same: bool) -> Vec<Line> {
    let mut old: HashMap<String, Line> = old.into_iter().map(|line| (line.total.key.clone(), line)).collect();
    let line = |total: Total| match old.remove(&total.key) {
        Some(old) if same => Line { total, ..old },
        Some(old) => Line { total, whom: None, asked: None, ..old },
        None => Line { total, about: None, spark: Vec::new(), new: false, whom: None, asked: None },
    };
    totals.into_iter().take(PROGRAMS as usize).map(line).collect()
}

/// Of whom it is asked with whom they talked, as it may be another one now. Those that were not asked for yet come
/// first, then those whose turn was longest ago, so that busy programs do not take the turns of the others.
fn to_ask(lines: &[Line]) -> Vec<Total> {
    let may_differ = |line: &&Line| line.whom.as_ref().is_none_or(|whom| whom.of != line.total);
    let mut lines: Vec<&Line> = lines.iter().filter(may_differ).collect();
    lines.sort_by_key(|line| line.asked);
    lines.into_iter().map(|line| line.total.clone()).collect()
}

/// Programs by their path; of those that share one, as on the host and in a container, the one that comes first: they
/// come by when they were last seen.
fn by_path(about: Vec<Executable>) -> HashMap<String, Executable> {
    let mut all = HashMap::new();
    for row in about {
        if let Some(path) = row.path.clone() {
            all.entry(path).or_insert(row);
        }
    }
    all
}

fn is_new(row: &Executable, since: Option<i64>) -> bool {
    row.first_seen.zip(since).is_some_and(|(first, since)| first >= since)
}

/// How many of the programs that are counted are new: each once, and none that has no traffic in the range,
/// for else there would be more new ones than there are.
fn new_of(counted: &HashSet<String>, about: &[Executable], since: Option<i64>) -> usize {
    let known = about.iter().filter_map(|row| Some((counted.get(row.path.as_deref()?)?, row)));
    let (new, old): (Vec<_>, Vec<_>) = known.partition(|(_, row)| is_new(row, since));
    let old: HashSet<_> = old.into_iter().map(|(path, _)| path).collect();
    new.into_iter().map(|(path, _)| path).filter(|path| !old.contains(path)).collect::<HashSet<_>>().len()
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Got, Error>> + Send>>;
type Question = Box<dyn FnOnce(Client) -> Answer>;

fn columns(units: &Rc<std::cell::Cell<Units>>) -> Vec<Column<Line>> {
    let (received, sent) = (units.clone(), units.clone());
    vec![
        Column::new(
            tr("Program"),
            Show::Name(Rc::new(|line: &Line| Name {
                main: file_name(&line.total.key),
                sub: place(&line.total.key),
                pill: line.new.then(|| tr("new")),
                icon: Some(crate::icon::of(&line.total.key)),
                ..Name::default()
            })),
        )
        .sorted(|a, b| a.total.key.cmp(&b.total.key)),
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
            line.about
                .as_ref()
                .and_then(|row| row.last_seen)
                .map_or(String::new(), |last| format::ago(last, now()))
        })
        .ages()
        .sorted(|a, b| {
            let last = |line: &Line| line.about.as_ref().and_then(|row| row.last_seen);
            last(a).cmp(&last(b))
        }),
    ]
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

fn sum(totals: &[Total]) -> (u64, u64) {
    totals.iter().fold((0, 0), |sum, total| {
        (u64::saturating_add(sum.0, total.sent), u64::saturating_add(sum.1, total.received))
    })
}

async fn totals(client: Client, query: Query, before: Option<Query>) -> Result<Got, Error> {
    let many = Query { limit: Some(picosnitch_api::query::MAX_PAGE), ..query.clone() };
    let earlier = async {
        match before {
            Some(before) => Ok(Some(sum(&client.summary(Dimension::Protocol, &before).await?.0))),
            None => Ok(None),
        }
    };
    // By protocol: everything, also what is beyond the largest programs.
    let ((programs, hidden), (all, _), before, (domains, _)) = tokio::try_join!(
        client.summary(Dimension::Path, &many),
        client.summary(Dimension::Protocol, &query),
        earlier,
        client.summary(Dimension::Domain, &many),
    )?;
    let named = domains.iter().filter(|total| !total.key.is_empty()).count();
    let more = domains.len() >= picosnitch_api::query::MAX_PAGE as usize;
    let (now, unnamed, domains) = (sum(&all), named < domains.len(), (named, more));
    Ok(Got::Totals(Box::new(Totals { programs, now, before, domains, unnamed, hidden })))
}

/// With whom these programs talked: what [`gather`] gets of them.
async fn whom(client: Client, query: Query, programs: Vec<Total>) -> Result<Got, Error> {
    let ask = |of: Total| {
        let limit = Some(picosnitch_api::query::MAX_PAGE);
        let query = Query { path: Some(of.key.clone()), limit, ..query.clone() };
        let client = &client;
        async move {
            let domains = client.summary(Dimension::Domain, &query).await?.0;
            if domains.iter().any(|total| !total.key.is_empty()) {
                return Ok(counted(of, &domains));
            }
            // What has no name is one destination for each address.
            Ok(counted(of, &client.summary(Dimension::Address, &query).await?.0))
        }
    };
    let (all, vain) = gather(programs, WHOM_TIME, ask).await;
    Ok(Got::Whom(all, vain))
}

/// Asks for one after the other until the time is over or one fails, and gives what there is, with the program that
/// was asked for in vain: the page does without the rest, which has its turn the next time.
async fn gather<F>(
    programs: Vec<Total>,
    time: Duration,
    ask: impl Fn(Total) -> F,
) -> (Vec<Whom>, Option<String>)
where
    F: Future<Output = Result<Whom, Error>>,
{
    let (end, mut all) = (tokio::time::Instant::now() + time, Vec::new());
    for of in programs {
        let key = of.key.clone();
        match tokio::time::timeout_at(end, ask(of)).await {
            Ok(Ok(whom)) => all.push(whom),
            Ok(Err(_)) | Err(_) => return (all, Some(key)),
        }
    }
    (all, None)
}

/// Those that have a name, largest first as answered. There are more where the answer is a whole page, and where some
/// have none: nobody counted how many those are.
fn counted(of: Total, answer: &[Total]) -> Whom {
    let names = || answer.iter().map(|total| &total.key).filter(|key| !key.is_empty());
    let count = names().count();
    let more = answer.len() >= MAX_NAMES || count < answer.len();
    Whom { of, largest: names().next().cloned().unwrap_or_default(), count, more }
}

/// The chart of a query; also on the page of a program.
pub async fn chart(client: Client, query: Query, by: Dimension) -> Result<Got, Error> {
    let top = Query { limit: Some(LINES as u32), ..query.clone() };
    let notices = Query { limit: Some(200), ..query.clone() };
    let ((top, _), (all, _), notices) =
        tokio::try_join!(client.series(by, &top), client.series(Dimension::Protocol, &query), async {
            Ok(client.events(&notices).await)
        },)?;
    let markers = match notices {
        Ok(page) => page
            .rows
            .into_iter()
            .filter_map(|row| {
                let changed = match row.kind.as_deref()? {
                    "new-executable" => false,
                    "hash-changed" => true,
                    _ => return None,
                };
                Some((row.time?, changed, file_name(row.path.as_deref()?)))
            })
            .collect(),
        // Filters that notices do not have leave the chart without markers.
        Err(_) => Vec::new(),
    };
    Ok(Got::Chart(Box::new(Data::new(top, &all, markers)), by))
}

async fn programs(client: Client, query: Query) -> Result<Got, Error> {
    let sparks = Query { limit: Some(SPARKS), ..query.clone() };
    let latest =
        Query { limit: Some(picosnitch_api::query::MAX_PAGE), sort: Some("last-seen".into()), ..query };
    let ((sparks, _), latest) =
        tokio::try_join!(client.series(Dimension::Path, &sparks), client.executables(&latest))?;
    Ok(Got::Programs(latest.rows, sparks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_of_programs_that_share_a_path_the_one_seen_last_is_linked() {
        let row = |id, last| Executable {
            id: Some(id),
            path: Some("/a".into()),
            last_seen: Some(last),
            ..Executable::default()
        };
        let known = by_path(vec![row(7, 20), row(8, 10), Executable::default()]);
        assert_eq!((known.len(), known.get("/a").and_then(|row| row.id)), (1, Some(7)));
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
        Line { total: total(key, sent), about: None, spark: Vec::new(), new: false, whom, asked }
    }

    #[test]
    fn d05_destinations_without_a_name_are_more() {
        let says = |keys: &[&str]| {
            let whom = counted(total("/a", 1), &keys.iter().map(|key| total(key, 1)).collect::<Vec<_>>());
            (whom.largest, whom.count, whom.more)
        };
        assert_eq!(says(&["example.org", "b"]), ("example.org".into(), 2, false));
        assert_eq!(says(&["", "example.org"]), ("example.org".into(), 1, true));
        assert_eq!(says(&[""]), (String::new(), 0, true));
        let names: Vec<String> = (1..MAX_NAMES).map(|n| n.to_string()).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(!says(&names).2);
        names.push("");
        assert_eq!(
            says(&names),
            ("1".into(), MAX_NAMES - 1, true),
            "a whole page, one of them without a name"
        );
        names[MAX_NAMES - 1] = "last";
        assert_eq!(says(&names), ("1".into(), MAX_NAMES, true), "a whole page");
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
        let whom = Some(counted(total("/a", 1), &[]));
        let old = line("/a", 1, whom, Some(Instant::now()));
        let now = |same| lines(vec![total("/a", 2), total("/b", 1)], vec![old.clone()], same);
        assert_eq!(now(true), [Line { total: total("/a", 2), ..old.clone() }, line("/b", 1, None, None)]);
        assert_eq!(now(false), [line("/a", 2, None, None), line("/b", 1, None, None)]);
    }

    #[test]
    fn d05_what_is_known_of_destinations_is_shown_when_one_hangs_or_fails() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let programs = || ["/a", "/b", "/c"].map(|key| total(key, 1)).to_vec();
        let answer = |fails: bool| async move {
            let ask = |of: Total| async move {
                match of.key.as_str() {
                    "/b" if fails => Err(Error::Unavailable("no".into())),
                    "/b" => std::future::pending().await,
                    _ => Ok(counted(of, &[])),
                }
            };
            let got = gather(programs(), Duration::from_millis(20), ask);
            tokio::time::timeout(Duration::from_secs(5), got).await.ok()
        };
        for fails in [false, true] {
            let got = runtime.as_ref().ok().and_then(|runtime| runtime.block_on(answer(fails)));
            let got =
                got.map(|(all, vain)| (all.into_iter().map(|whom| whom.of.key).collect::<Vec<_>>(), vain));
            assert_eq!(got, Some((vec!["/a".to_owned()], Some("/b".to_owned()))));
        }
    }

    #[test]
    fn d05_there_are_never_more_new_programs_than_programs() {
        let row = |path: &str, first| Executable {
            path: Some(path.into()),
            first_seen: Some(first),
            ..Executable::default()
        };
        let counted = ["/a", "/b", "/c"].map(str::to_owned).into();
        // Twice there, as in a container and outside of it; known before, there; without traffic; old.
        let about = [row("/a", 10), row("/a", 11), row("/b", 12), row("/b", 3), row("/d", 13), row("/c", 4)];
        assert_eq!(new_of(&counted, &about, Some(10)), 1);
        assert_eq!(new_of(&counted, &about, None), 0, "of all time nothing is new");
    }
}
