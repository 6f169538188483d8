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

/// See the module.
pub struct Health {
    /// What is put into the window.
    pub root: gtk4::ScrolledWindow,
    lists: gtk4::Box,
    /// What the lists say; `None` before they say anything.
    shown: RefCell<Option<(Option<Status>, Units)>>,
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
        let health = Self { root, lists, shown: RefCell::default() };
        health.set(None, Units::default());
        health
    }

    /// Shows the state; `None` is a monitor that does not run. Lists that say it already stay as they are, with
    /// the keyboard where it is.
    pub fn set(&self, status: Option<&Status>, units: Units) {
        let new = Some((status.cloned(), units));
        if *self.shown.borrow() == new {
            return;
        }
        self.shown.replace(new);
        while let Some(child) = self.lists.first_child() {
            self.lists.remove(&child);
        }
        let Some(status) = status else {
            let group = group(tr("The monitor is not running"), tr("Nothing is recorded now."));
            line(&group, tr("Start it"), "systemctl start picosnitchd");
            line(&group, tr("If it does not stay up"), "journalctl -u picosnitchd");
            return self.lists.append(&group);
        };
        let degraded = status.degraded.as_deref().unwrap_or_default();
        if !degraded.is_empty() {
            let group = group(tr("Not as it should be"), "");
            for why in degraded {
                let row = adw::ActionRow::builder().use_markup(false).build();
                row.set_title(&inert(why));
                row.add_prefix(&gtk4::Image::from_icon_name("dialog-warning-symbolic"));
                group.add(&row);
            }
            self.lists.append(&group);
        }
        let record = group(tr("Record"), "");
        let state = status.state.as_deref().map(|word| match word {
            "starting" => tr("starting").into(),
            "watching" => tr("watching").into(),
            "paused" => tr("paused").into(),
            "stopping" => tr("stopping").into(),
            other => inert(other),
        });
        line(&record, tr("State"), &state.unwrap_or_default());
        line(&record, tr("Watching since"), &status.since.map(format::minute).unwrap_or_default());
        line(
            &record,
            tr("Recorded through"),
            &status.recorded_through.map(format::moment).unwrap_or_default(),
        );
        line(&record, tr("Open connections"), &number(status.live_flows));
        line(&record, tr("Rows written since then"), &number(status.rows_written));
        line(&record, tr("Rows that wait"), &number(status.database_queued));
        line(
            &record,
            tr("Size of the history"),
            &status.database_bytes.map(|size| units.bytes(size)).unwrap_or_default(),
        );
        self.lists.append(&record);
        let lost = group(tr("Lost"), tr("What is not known is counted: 0 says that the record is whole."));
        line(&lost, tr("Connections"), &number(status.lost_flows));
        line(&lost, tr("Bytes"), &number(status.lost_bytes));
        line(&lost, tr("Events of the kernel"), &number(status.lost_events));
        line(&lost, tr("Rows"), &number(status.lost_rows));
        self.lists.append(&lost);
        let how = group(tr("How"), "");
        line(&how, tr("Engine"), &status.engine.as_deref().map(inert).unwrap_or_default());
        line(&how, tr("Self-test at the start"), &status.self_test.as_deref().map(inert).unwrap_or_default());
        line(&how, tr("Version"), &status.version.as_deref().map(inert).unwrap_or_default());
        self.lists.append(&how);
    }
}

fn number(value: Option<u64>) -> String {
    value.map(format::count).unwrap_or_default()
}

fn group(title: &str, text: &str) -> adw::PreferencesGroup {
    adw::PreferencesGroup::builder().title(title).description(text).build()
}

fn line(group: &adw::PreferencesGroup, title: &str, text: &str) {
    let row = adw::ActionRow::builder().title(title).build();
    let label = gtk4::Label::builder()
        .label(if text.is_empty() { tr("unknown") } else { text })
        .css_classes(["numeric", "dim-label"])
        .selectable(true)
        .xalign(1.0)
        .ellipsize(gtk4::pango::EllipsizeMode::End)
        .width_chars(i32::try_from(text.chars().count().clamp(1, 16)).unwrap_or(16))
        .build();
    row.add_suffix(&label);
    group.add(&row);
}
