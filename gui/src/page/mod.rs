// SPDX-License-Identifier: GPL-3.0-or-later
//! The pages. Each has a root widget, asks with the view that all share, and shows what comes.

pub mod groups;
pub mod health;
pub mod live;
pub mod overview;
pub mod program;
pub mod programs;
pub mod timeline;

use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use picosnitch_api::row::Executable;
use picosnitch_api::tongue::{mark, say, tr};
use picosnitch_api::{Dimension, People, Query, inert, inert_short};

use crate::ask::{Asker, Failure};
use crate::format::Units;
use crate::msg::{Msg, Sender};
use crate::view::View;

/// What all pages need to ask and to show.
pub struct Context {
    /// What the person looks at.
    pub view: View,
    /// Its number; answers for an older one are dropped.
    pub number: u64,
    /// Names of accounts.
    pub people: Rc<People>,
    /// Where questions go.
    pub asker: Asker,
    /// Units of sizes.
    pub units: Units,
    /// What comes of traffic now.
    pub record: Record,
}

/// What becomes of traffic that there is now: what an empty page says will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// It is recorded.
    #[default]
    On,
    /// Nothing is, for a time.
    Paused,
    /// The history is switched off.
    Off,
}

impl Record {
    /// Where there is nothing yet: a title and a sentence. `title` is for a record that goes on.
    pub fn nothing(self, title: &'static str) -> (&'static str, &'static str) {
        match self {
            Record::On => (title, tr("Listening. Traffic appears here as soon as it is recorded.")),
            Record::Paused => (
                tr("The record is paused"),
                tr("What programs do now is not recorded. It goes on when the pause ends."),
            ),
            Record::Off => (
                tr("The history is switched off"),
                tr(
                    "New and changed programs are told, but traffic is not recorded. The settings can switch it on.",
                ),
            ),
        }
    }
}

impl Context {
    /// The query of the view, now.
    pub fn query(&self) -> Query {
        self.view.query(now(), &self.people)
    }
}

/// µs since the epoch.
pub fn now() -> i64 {
    gtk4::glib::real_time()
}

/// Content, or what stands in for it while there is none.
#[derive(Clone)]
pub struct Frame {
    /// What is put into the window.
    pub root: gtk4::Stack,
    status: adw::StatusPage,
    action: gtk4::Button,
}

impl Frame {
    /// Around a page's content. It begins as loading.
    pub fn new(content: &impl IsA<gtk4::Widget>, sender: &Sender) -> Self {
        let spinner = gtk4::Spinner::builder()
            .width_request(32)
            .height_request(32)
            .halign(gtk4::Align::Center)
            .valign(gtk4::Align::Center)
            .build();
        crate::speak::label(&spinner, tr("Loading"));
        // GTK draws sixty frames a second for one that turns where nobody sees it, and looks through the styles of
        // the whole window for each.
        spinner.connect_map(|spinner| spinner.set_spinning(true));
        spinner.connect_unmap(|spinner| spinner.set_spinning(false));
        let action = gtk4::Button::builder()
            .halign(gtk4::Align::Center)
            .css_classes(["pill", "suggested-action"])
            .visible(false)
            .build();
        let status = adw::StatusPage::builder().child(&action).vexpand(true).build();
        let root = gtk4::Stack::builder().vexpand(true).hexpand(true).build();
        root.add_named(&spinner, Some("loading"));
        root.add_named(content, Some("content"));
        root.add_named(&status, Some("status"));
        let sender = sender.clone();
        action.connect_clicked(move |button| {
            sender.emit(if button.label().is_some_and(|label| label == tr(CLEAR)) {
                Msg::Clear
            } else {
                Msg::Refresh
            });
        });
        Self { root, status, action }
    }

    /// It will come.
    pub fn loading(&self) {
        if self.root.visible_child_name().is_none_or(|name| name != "content") {
            self.root.set_visible_child_name("loading");
        }
    }

    /// Nothing is there, or it could not be asked for.
    pub fn is_empty(&self) -> bool {
        self.root.visible_child_name().is_some_and(|name| name == "status")
    }

    /// It is there.
    pub fn content(&self) {
        // Screen readers are told of pages that nobody sees, too.
        self.status.set_title("");
        self.status.set_description(None);
        self.root.set_visible_child_name("content");
    }

    /// There is nothing; says what will happen, or offers to clear the filters.
    pub fn empty(&self, icon: &str, title: &str, text: &str, view: &View) {
        let filtered = view.is_filtered();
        // What is over does not become more.
        let over = !view.range.is_live();
        self.status.set_icon_name(Some(icon));
        self.status.set_title(if over || filtered { tr("Nothing here") } else { title });
        self.status.set_description(Some(if filtered {
            tr("Nothing matches all filters in this time range.")
        } else if over {
            tr("Nothing was recorded in this time.")
        } else {
            text
        }));
        self.action.set_label(tr(CLEAR));
        self.action.set_visible(filtered);
        self.root.set_visible_child_name("status");
    }

    /// It is not asked for, as the filters cannot be.
    pub fn unclear(&self, problem: &str) {
        self.status.set_icon_name(Some("dialog-warning-symbolic"));
        self.status.set_title(tr("The filters are not understood"));
        self.status.set_description(Some(&gtk4::glib::markup_escape_text(problem)));
        self.action.set_label(tr(CLEAR));
        self.action.set_visible(true);
        self.root.set_visible_child_name("status");
    }

    /// It did not work.
    pub fn failed(&self, failure: &Failure) {
        self.status.set_icon_name(Some("dialog-warning-symbolic"));
        self.status.set_title(tr("No answer"));
        let text = match failure.hint {
            Some(hint) => format!("{}\n{hint}", failure.why),
            None => failure.why.clone(),
        };
        // A status page reads markup.
        self.status.set_description(Some(&gtk4::glib::markup_escape_text(&text)));
        self.action.set_label(tr("Try Again"));
        self.action.set_visible(true);
        self.root.set_visible_child_name("status");
    }
}

const CLEAR: &str = mark("Clear Filters");

/// What people call the program of a path.
pub fn file_name(path: &str) -> String {
    inert_short(path.rsplit('/').next().filter(|file| !file.is_empty()).unwrap_or(path), 48)
}

/// The same, with a word on it if it is not one of this machine's own files.
pub fn program_name(path: &str, foreign: Option<bool>) -> String {
    let program = file_name(path);
    if foreign == Some(true) {
        return say("{program} (in a container)", &[("program", &program)]);
    }
    program
}

/// It was first seen in the time that is shown, which begins at `since`: that is what "new" means on every page. Of all
/// time nothing is new.
pub fn is_new(row: &Executable, since: Option<i64>) -> bool {
    row.first_seen.zip(since).is_some_and(|(first, since)| first >= since)
}

/// A path, inert, for below the name.
pub fn place(path: &str) -> String {
    inert(path).into_owned()
}

/// A horizontal bar above a table.
pub fn bar() -> gtk4::Box {
    gtk4::Box::builder().spacing(8).margin_start(12).margin_end(12).margin_top(6).margin_bottom(6).build()
}

/// The word on the screen for a dimension's values.
pub fn value(by: Dimension, value: &str, people: &People) -> String {
    crate::words::shown(by, value, people, 200)
}
