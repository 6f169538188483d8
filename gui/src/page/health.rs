// SPDX-License-Identifier: GPL-3.0-or-later
//! What is recorded, how, and what of it is lost.

use std::cell::RefCell;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::inert;
use picosnitch_api::row::Status;
use picosnitch_api::tongue::tr;

use crate::format::{self, Units};

/// Lines that belong together.
struct Part {
    title: &'static str,
    about: &'static str,
    lines: Vec<Line>,
}

/// What it is about, and what is to be said of it; none where the first says it all.
type Line = (String, Option<String>);

/// See the module.
pub struct Health {
    /// What is put into the window.
    pub root: gtk4::ScrolledWindow,
    lists: gtk4::Box,
    shown: RefCell<Vec<Part>>,
    /// What says the values of the lines, in their order.
    values: RefCell<Vec<gtk4::Label>>,
}

impl Health {
    /// An empty one.
    pub fn new() -> Self {
        let lists = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .spacing(18)
            .margin_start(12)
            .margin_end(12)
            .margin_top(18)
            .margin_bottom(18)
            .build();
        let clamp = adw::Clamp::builder().maximum_size(720).child(&lists).build();
        let root = gtk4::ScrolledWindow::builder()
            .child(&clamp)
            .hscrollbar_policy(gtk4::PolicyType::Never)
            .vexpand(true)
            .build();
        let health = Self { root, lists, shown: RefCell::default(), values: RefCell::default() };
        health.set(None, Units::default());
        health
    }

    /// Shows the state; `None` is a monitor that does not run. Lines that are there already stay, with the keyboard
    /// and what is selected of them: only what they say changes.
    pub fn set(&self, status: Option<&Status>, units: Units) {
        let parts = status.map_or_else(absent, |status| parts(status, units));
        if !same(&parts, &self.shown.borrow()) {
            self.build(&parts);
        }
        let lines = parts.iter().flat_map(|part| part.lines.iter().filter_map(|(_, text)| text.as_deref()));
        for (label, text) in self.values.borrow().iter().zip(lines) {
            let text = if text.is_empty() { tr("unknown") } else { text };
            if label.text() != text {
                label.set_text(text);
                label.set_width_chars(i32::try_from(text.chars().count().clamp(1, 16)).unwrap_or(16));
            }
        }
        self.shown.replace(parts);
    }

    fn build(&self, parts: &[Part]) {
        while let Some(child) = self.lists.first_child() {
            self.lists.remove(&child);
        }
        let mut values = Vec::new();
        for part in parts {
            let group = adw::PreferencesGroup::builder().title(part.title).description(part.about).build();
            for (title, value) in &part.lines {
                let row = adw::ActionRow::builder().use_markup(false).build();
                row.set_title(title);
                if value.is_some() {
                    let label = value_label();
                    row.add_suffix(&label);
                    values.push(label);
                } else {
                    row.add_prefix(&gtk4::Image::from_icon_name("dialog-warning-symbolic"));
                }
                group.add(&row);
            }
            self.lists.append(&group);
        }
        self.values.replace(values);
    }
}

/// They differ in values alone.
fn same(parts: &[Part], others: &[Part]) -> bool {
    let line = |((a, x), (b, y)): (&Line, &Line)| a == b && x.is_some() == y.is_some();
    let part = |(a, b): (&Part, &Part)| {
        a.title == b.title && a.lines.len() == b.lines.len() && a.lines.iter().zip(&b.lines).all(line)
    };
    parts.len() == others.len() && parts.iter().zip(others).all(part)
}

fn line(title: &str, text: impl Into<String>) -> Line {
    (title.to_owned(), Some(text.into()))
}

fn absent() -> Vec<Part> {
    vec![Part {
        title: tr("The monitor is not running"),
        about: tr("Nothing is recorded now."),
        lines: vec![
            line(tr("Start it"), "systemctl start picosnitchd"),
            line(tr("If it does not stay up"), "journalctl -u picosnitchd"),
        ],
    }]
}

fn parts(status: &Status, units: Units) -> Vec<Part> {
    let mut parts = Vec::new();
    let degraded = status.degraded.as_deref().unwrap_or_default();
    if !degraded.is_empty() {
        let lines = degraded.iter().map(|why| (inert(why).into_owned(), None)).collect();
        parts.push(Part { title: tr("Not as it should be"), about: "", lines });
    }
    let state = status.state.as_deref().map(|word| match word {
        "starting" => tr("starting").into(),
        "watching" => tr("watching").into(),
        "paused" => tr("paused").into(),
        "stopping" => tr("stopping").into(),
        other => inert(other),
    });
    let text = |text: &Option<String>| text.as_deref().map(inert).unwrap_or_default().into_owned();
    parts.push(Part {
        title: tr("Record"),
        about: "",
        lines: vec![
            line(tr("State"), state.unwrap_or_default()),
            line(tr("Watching since"), status.since.map(format::minute).unwrap_or_default()),
            line(tr("Recorded through"), status.recorded_through.map(format::moment).unwrap_or_default()),
            line(tr("Open connections"), number(status.live_flows)),
            line(tr("Rows written since then"), number(status.rows_written)),
            line(tr("Rows that wait"), number(status.database_queued)),
            line(
                tr("Size of the history"),
                status.database_bytes.map(|size| units.bytes(size)).unwrap_or_default(),
            ),
        ],
    });
    parts.push(Part {
        title: tr("Lost"),
        about: tr("What is not known is counted: 0 says that the record is whole."),
        lines: vec![
            line(tr("Connections"), number(status.lost_flows)),
            line(tr("Bytes"), number(status.lost_bytes)),
            line(tr("Events of the kernel"), number(status.lost_events)),
            line(tr("Rows"), number(status.lost_rows)),
        ],
    });
    parts.extend(elsewhere(status));
    parts.push(Part {
        title: tr("How"),
        about: "",
        lines: vec![
            line(tr("Engine"), text(&status.engine)),
            line(tr("Self-test at the start"), text(&status.self_test)),
            line(tr("Version"), text(&status.version)),
        ],
    });
    parts
}

/// What becomes of that which is sent to others; nothing where nothing is.
fn elsewhere(status: &Status) -> Option<Part> {
    let last = |time: Option<i64>| time.map_or_else(|| tr("not yet").to_owned(), format::moment);
    let mut lines = Vec::new();
    if status.remote_queued.is_some() {
        lines.extend([
            line(tr("Rows that wait for the database"), number(status.remote_queued)),
            line(tr("Rows that it took"), number(status.remote_sent)),
            line(tr("Rows that it will never have"), number(status.remote_lost)),
            line(tr("It took rows last"), last(status.remote_last)),
        ]);
    }
    if status.scan_queued.is_some() {
        lines.extend([
            line(tr("Programs that wait for a verdict"), number(status.scan_queued)),
            line(tr("The scanner answered last"), last(status.scan_last)),
        ]);
    }
    if status.relay_restarts.is_some() {
        lines.push(line(tr("Restarts of the helper that sends"), number(status.relay_restarts)));
    }
    let errors = [&status.remote_error, &status.scan_error].into_iter().flatten();
    lines.extend(errors.map(|why| (inert(why).into_owned(), None)));
    (!lines.is_empty()).then(|| Part { title: tr("Sent elsewhere"), about: "", lines })
}

fn number(value: Option<u64>) -> String {
    value.map(format::count).unwrap_or_default()
}

fn value_label() -> gtk4::Label {
    gtk4::Label::builder()
        .css_classes(["numeric", "dim-label"])
        .selectable(true)
        .xalign(1.0)
        .ellipsize(gtk4::pango::EllipsizeMode::End)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_other_numbers_are_no_other_lines() {
        let of = |lost, degraded: &[&str]| {
            let degraded = degraded.iter().map(|why| (*why).to_owned()).collect();
            let status = Status { lost_rows: Some(lost), degraded: Some(degraded), ..Status::default() };
            parts(&status, Units::default())
        };
        assert!(same(&of(1, &["a"]), &of(2, &["a"])));
        assert!(!same(&of(1, &["a"]), &of(1, &["b"])) && !same(&of(1, &["a"]), &of(1, &[])));
        assert!(!same(&of(1, &[]), &absent()));
    }

    #[test]
    fn d05_what_is_sent_elsewhere_is_told_where_anything_is() {
        let says = |status: &Status| {
            let parts = parts(status, Units::default());
            parts.into_iter().find(|part| part.title == "Sent elsewhere").map(|part| part.lines)
        };
        assert_eq!(says(&Status::default()), None);
        let status = Status {
            remote_queued: Some(3),
            remote_lost: Some(2),
            remote_error: Some("refused".into()),
            relay_restarts: Some(1),
            ..Status::default()
        };
        let lines = says(&status).unwrap_or_default();
        for wanted in [
            ("Rows that wait for the database", Some("3")),
            ("Rows that it will never have", Some("2")),
            ("It took rows last", Some("not yet")),
            ("Restarts of the helper that sends", Some("1")),
            ("refused", None),
        ] {
            let said = lines.iter().any(|(title, text)| (title.as_str(), text.as_deref()) == wanted);
            assert!(said, "{wanted:?} of {lines:?}");
        }
        let scanned = says(&Status { scan_queued: Some(0), ..Status::default() }).unwrap_or_default();
        assert_eq!(scanned.len(), 2);
    }
}
