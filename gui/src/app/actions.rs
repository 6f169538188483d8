// SPDX-License-Identifier: GPL-3.0-or-later
//! Actions with their keys, the window that lists the keys, what the program says about itself, and
//! saving what is shown as a file.

use std::path::{Path, PathBuf};

use gtk4::prelude::*;
use gtk4::{gio, glib};
use libadwaita as adw;
use picosnitch_api::query::MAX_PAGE;
use picosnitch_api::row::Total;
use picosnitch_api::tongue::{mark, say, tr};
use picosnitch_api::{Client, Dimension, Error, Format, Part, Query, What, inert};

use crate::APP_ID;
use crate::ask::Failure;
use crate::msg::{Msg, Place, Sender};

/// Sets the actions of the program and their keys.
pub fn set(
    app: &adw::Application,
    sender: &Sender,
    (search, entry): (&gtk4::SearchBar, &gtk4::SearchEntry),
    range: &gtk4::MenuButton,
) {
    let add = |name: &str, keys: &[&str], message: fn() -> Msg| {
        let action = gio::SimpleAction::new(name, None);
        let (sender, window) = (sender.clone(), app.downgrade());
        action.connect_activate(move |_, _| {
            sender.emit(message());
            // From outside, as by the menu of the desktop's icon, it may be behind others.
            let window = window.upgrade().and_then(|app| app.active_window());
            if let Some(window) = window.filter(|window| !window.is_active()) {
                window.present();
            }
        });
        app.add_action(&action);
        app.set_accels_for_action(&format!("app.{name}"), keys);
    };
    add("overview", &["<Alt>1"], || Msg::Go(Place::Overview));
    add("programs", &["<Alt>2"], || Msg::Go(Place::Programs));
    add("destinations", &["<Alt>3"], || Msg::Go(Place::Destinations));
    add("timeline", &["<Alt>4"], || Msg::Go(Place::Timeline));
    add("live", &["<Alt>5"], || Msg::Go(Place::Live));
    add("back", &["<Alt>Left"], || Msg::Back);
    add("refresh", &["F5", "<Ctrl>R"], || Msg::Refresh);
    add("export", &["<Ctrl>S"], || Msg::Export);
    add("clear", &["<Ctrl><Shift>F"], || Msg::Clear);
    add("settings", &["<Ctrl>comma"], || Msg::Settings);
    add("about", &[], || Msg::About);
    // GTK does so by itself only for windows that it reads from a file.
    app.set_accels_for_action("win.show-help-overlay", &["<Ctrl>question", "<Ctrl>F1"]);
    let local = |name: &str, keys: &[&str], act: Box<dyn Fn()>| {
        let action = gio::SimpleAction::new(name, None);
        action.connect_activate(move |_, _| act());
        app.add_action(&action);
        app.set_accels_for_action(&format!("app.{name}"), keys);
    };
    let (search, entry) = (search.clone(), entry.clone());
    local(
        "find",
        &["<Ctrl>F"],
        Box::new(move || {
            // An open one that somebody went away from is gone back to.
            if search.is_search_mode() && !entry.state_flags().contains(gtk4::StateFlags::FOCUS_WITHIN) {
                entry.grab_focus();
            } else {
                search.set_search_mode(!search.is_search_mode());
            }
        }),
    );
    let range = range.clone();
    local("range", &["<Ctrl>T"], Box::new(move || range.popup()));
    let window = app.clone();
    local(
        "close",
        &["<Ctrl>W", "<Ctrl>Q"],
        Box::new(move || {
            if let Some(window) = window.active_window() {
                window.close();
            }
        }),
    );
}

/// Escape leads back from a closer look wherever the keyboard is: where there is nothing, there is no chart.
pub fn escape(root: &adw::ApplicationWindow, sender: &Sender) {
    let keys = gtk4::EventControllerKey::new();
    let sender = sender.clone();
    keys.connect_key_pressed(move |_, key, _, _| {
        if key == gtk4::gdk::Key::Escape {
            sender.emit(Msg::Unzoom);
        }
        glib::Propagation::Proceed
    });
    root.add_controller(keys);
}

/// The style sheet knows by a class whether the person asked for high contrast.
pub fn contrast(root: &adw::ApplicationWindow) {
    let window = root.downgrade();
    let set = move |manager: &adw::StyleManager| {
        let Some(window) = window.upgrade() else { return };
        if manager.is_high_contrast() {
            window.add_css_class("high-contrast");
        } else {
            window.remove_css_class("high-contrast");
        }
    };
    let manager = adw::StyleManager::default();
    set(&manager);
    manager.connect_high_contrast_notify(set);
}

/// The window that lists the keys.
pub fn shortcuts() -> gtk4::ShortcutsWindow {
    let section = gtk4::ShortcutsSection::builder().section_name("keys").visible(true).build();
    let groups: [(&'static str, &[(&'static str, &str)]); 3] = [
        (
            mark("Places"),
            &[
                (mark("Overview"), "<Alt>1"),
                (mark("Programs"), "<Alt>2"),
                (mark("Destinations"), "<Alt>3"),
                (mark("Timeline"), "<Alt>4"),
                (mark("Live"), "<Alt>5"),
                (mark("Back"), "<Alt>Left"),
            ],
        ),
        (
            mark("Looking"),
            &[
                (mark("Search"), "<Ctrl>F"),
                (mark("Time range"), "<Ctrl>T"),
                (mark("Clear filters"), "<Ctrl><Shift>F"),
                (mark("Refresh"), "F5"),
                (mark("Export what is shown"), "<Ctrl>S"),
                (mark("Filters of a row"), "<Shift>F10"),
                (mark("Settings"), "<Ctrl>comma"),
                (mark("Close"), "<Ctrl>W"),
            ],
        ),
        (
            mark("Chart"),
            &[
                (mark("Move the cursor"), "Left Right"),
                (mark("Select a time"), "<Shift>Left <Shift>Right"),
                (mark("Look closer"), "Return"),
                (mark("Back"), "Escape"),
            ],
        ),
    ];
    for (title, keys) in groups {
        let group = gtk4::ShortcutsGroup::builder().title(tr(title)).build();
        for (title, keys) in keys {
            group.append(&gtk4::ShortcutsShortcut::builder().title(tr(title)).accelerator(*keys).build());
        }
        section.append(&group);
    }
    let window = gtk4::ShortcutsWindow::builder().modal(true).build();
    window.set_child(Some(&section));
    window
}

/// What the program says about itself.
pub fn about(parent: &impl IsA<gtk4::Window>) {
    let about = adw::AboutWindow::builder()
        .transient_for(parent)
        .modal(true)
        .application_name("picosnitch")
        .application_icon(APP_ID)
        .version(env!("CARGO_PKG_VERSION"))
        .comments(tr("Tells you when a program uses the network for the first time or its file changes, and keeps a history of who talked to whom. It watches; it never blocks."))
        .license_type(gtk4::License::Gpl30)
        .build();
    about.present();
}

/// What an export holds.
#[derive(Debug, Clone)]
pub enum Shown {
    /// Rows, all that the filters let through; the monitor writes them.
    Rows(What, Box<Query>),
    /// Totals, all of them in the order of the screen; asked for page by page.
    Totals(Dimension, Box<Query>),
}

impl Shown {
    fn word(&self) -> String {
        match self {
            Shown::Rows(what, _) => what.word().to_owned(),
            Shown::Totals(by, _) => format!("totals-by-{}", by.word()),
        }
    }
}

/// Asks where to, and writes there.
pub fn export(parent: &impl IsA<gtk4::Window>, client: Client, what: Shown, sender: &Sender) {
    let dialog = gtk4::FileChooserNative::builder()
        .title(tr("Export What Is Shown"))
        .transient_for(parent)
        .action(gtk4::FileChooserAction::Save)
        .accept_label(tr("Export"))
        .modal(true)
        .build();
    dialog.set_current_name(&format!("picosnitch-{}.csv", what.word()));
    for (name, pattern) in [("CSV", "*.csv"), (JSON, "*.jsonl")] {
        let filter = gtk4::FileFilter::new();
        filter.set_name(Some(tr(name)));
        filter.add_pattern(pattern);
        dialog.add_filter(&filter);
    }
    // The name is right before the dialog asks whether a file of that name may be replaced.
    dialog.connect_filter_notify(|dialog| {
        let Some(name) = dialog.current_name() else { return };
        let right = Path::new(name.as_str()).with_extension(extension(is_json(dialog)));
        if let Some(right) = right.to_str().filter(|right| *right != name.as_str()) {
            dialog.set_current_name(right);
        }
    });
    let (sender, held) = (sender.clone(), std::cell::RefCell::new(Some(dialog.clone())));
    dialog.connect_response(move |dialog, response| {
        // The dialog lives until it is answered.
        held.take();
        let Some(path) = dialog.file().and_then(|file| file.path()) else { return };
        if response != gtk4::ResponseType::Accept {
            return;
        }
        let target = Target::of(path, is_json(dialog));
        let (client, what, sender) = (client.clone(), what.clone(), sender.clone());
        relm4::spawn(async move {
            let note = match write(&client, what, &target).await {
                Ok(()) => {
                    say("Exported to {file}", &[("file", &inert(&glib::filename_display_name(&target.path)))])
                }
                Err(why) => why,
            };
            sender.emit(Msg::Note(note));
        });
    });
    dialog.show();
}

const JSON: &str = mark("JSON lines");

fn is_json(dialog: &gtk4::FileChooserNative) -> bool {
    dialog.filter().and_then(|filter| filter.name()).is_some_and(|name| name == tr(JSON))
}

fn extension(json: bool) -> &'static str {
    if json { "jsonl" } else { "csv" }
}

/// Where an export goes, and as what.
#[derive(Debug, PartialEq)]
struct Target {
    path: PathBuf,
    format: Format,
    /// The dialog asked about another name: nothing of this one may be replaced.
    fresh: bool,
}

impl Target {
    /// The name says what it is; JSON lines that were chosen for a name of CSV get a name of their own.
    fn of(path: PathBuf, json: bool) -> Self {
        let named = path.extension().is_some_and(|known| known == extension(true));
        let format = if json || named { Format::JsonLines } else { Format::Csv };
        let fresh = json && path.extension().is_some_and(|known| known == extension(false));
        let path = if fresh { path.with_extension(extension(true)) } else { path };
        Self { path, format, fresh }
    }

    /// Begins it. Nothing that somebody has put in the way is written to, and nobody else reads it.
    fn create(&self) -> std::io::Result<Part> {
        Part::create(&self.path, self.fresh)
    }
}

/// Writes all of it, or leaves what was there.
async fn write(client: &Client, what: Shown, target: &Target) -> Result<(), String> {
    let mut part = target.create().map_err(failed)?;
    fill(client, what, target, &mut part.file).await?;
    part.keep().map_err(failed)
}

fn failed(error: std::io::Error) -> String {
    say("Cannot write it: {error}", &[("error", &error)])
}

async fn fill(client: &Client, what: Shown, target: &Target, file: &mut std::fs::File) -> Result<(), String> {
    let refused = |error: Error| Failure::from(error).why;
    match what {
        Shown::Rows(what, query) => client.export(what, target.format, &query, file).await.map_err(refused),
        Shown::Totals(by, query) => {
            let mut count = 0;
            loop {
                let cursor = Some(count.to_string());
                let query = Query { limit: Some(MAX_PAGE), cursor, ..(*query).clone() };
                let (totals, _) = client.summary(by, &query).await.map_err(refused)?;
                let text = written(by, &totals, target.format, count == 0);
                std::io::Write::write_all(file, text.as_bytes()).map_err(failed)?;
                count += totals.len();
                if totals.len() < MAX_PAGE as usize {
                    return Ok(());
                }
            }
        }
    }
}

/// Totals as a part of a file, with the words of the monitor's own exports; the first part has the header.
fn written(by: Dimension, totals: &[Total], format: Format, first: bool) -> String {
    let mut text = match format {
        Format::Csv if first => format!("{},sent,received,connections\n", by.word()),
        _ => String::new(),
    };
    for total in totals {
        let Total { key, sent, received, connections } = total;
        match format {
            Format::Csv => text += &format!("{},{sent},{received},{connections}\n", cell(key)),
            Format::JsonLines => {
                let line = serde_json::json!({
                    by.word(): key, "sent": sent, "received": received, "connections": connections,
                });
                text += &format!("{line}\n");
            }
        }
    }
    text
}

/// A cell that is one cell, one line, and no formula for whatever opens the file.
fn cell(text: &str) -> String {
    let text = inert(text);
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if formula.is_empty() && !text.contains([',', '"']) {
        return text.into_owned();
    }
    format!("\"{formula}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn d05_an_export_replaces_only_what_the_dialog_asked_about() {
        let dir = std::env::temp_dir().join(format!("picosnitch-export-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (csv, jsonl) = (dir.join("a.csv"), dir.join("a.jsonl"));
        std::fs::write(&jsonl, "kept").unwrap();
        // Asked about a.csv, while JSON lines are wanted.
        let target = Target::of(csv.clone(), true);
        assert_eq!((&target.path, target.format), (&jsonl, Format::JsonLines));
        assert!(target.create().is_err());
        assert_eq!(std::fs::read_to_string(&jsonl).unwrap(), "kept");
        // Asked about this very name.
        let target = Target::of(jsonl.clone(), false);
        assert_eq!(target.format, Format::JsonLines);
        let part = target.create().unwrap();
        assert_eq!(std::fs::read_to_string(&jsonl).unwrap(), "kept", "until the new one is whole");
        part.keep().unwrap();
        assert_eq!(std::fs::read_to_string(&jsonl).unwrap(), "");
        assert_eq!(Target::of(csv.clone(), false), Target { path: csv, format: Format::Csv, fresh: false });
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn s09_totals_cannot_forge_cells_or_lines() {
        let total = |key: &str| Total { key: key.into(), sent: 1, received: 2, connections: 3 };
        let totals = [total("example.org"), total("=1+1"), total("a,\"b\"\nc")];
        let csv = written(Dimension::Domain, &totals, Format::Csv, true);
        assert_eq!(
            csv,
            "domain,sent,received,connections\nexample.org,1,2,3\n\"'=1+1\",1,2,3\n\"a,\"\"b\"\"\\nc\",1,2,3\n"
        );
        let json = written(Dimension::Domain, &totals, Format::JsonLines, true);
        assert_eq!(json.lines().count(), 3);
        assert!(json.lines().next().is_some_and(|line| line.contains(r#""domain":"example.org""#)), "{json}");
    }
}
