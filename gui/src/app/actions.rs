// SPDX-License-Identifier: GPL-3.0-or-later
//! Actions with their keys, the window that lists the keys, what the program says about itself, and
//! saving what is shown as a file.

use gtk4::prelude::*;
use gtk4::{gio, glib};
use libadwaita as adw;
use picosnitch_api::{Client, Error, Format, Query, What};

use crate::APP_ID;
use crate::ask::Failure;
use crate::msg::{Msg, Place, Sender};

/// Sets the actions of the program and their keys.
pub fn set(app: &adw::Application, sender: &Sender, search: &gtk4::SearchBar, range: &gtk4::MenuButton) {
    let add = |name: &str, keys: &[&str], message: fn() -> Msg| {
        let action = gio::SimpleAction::new(name, None);
        let sender = sender.clone();
        action.connect_activate(move |_, _| sender.emit(message()));
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
    let local = |name: &str, keys: &[&str], act: Box<dyn Fn()>| {
        let action = gio::SimpleAction::new(name, None);
        action.connect_activate(move |_, _| act());
        app.add_action(&action);
        app.set_accels_for_action(&format!("app.{name}"), keys);
    };
    let search = search.clone();
    local("find", &["<Ctrl>F"], Box::new(move || search.set_search_mode(!search.is_search_mode())));
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

/// The window that lists the keys.
pub fn shortcuts() -> gtk4::ShortcutsWindow {
    let section = gtk4::ShortcutsSection::builder().section_name("keys").visible(true).build();
    let groups: [(&str, &[(&str, &str)]); 3] = [
        (
            "Places",
            &[
                ("Overview", "<Alt>1"),
                ("Programs", "<Alt>2"),
                ("Destinations", "<Alt>3"),
                ("Timeline", "<Alt>4"),
                ("Live", "<Alt>5"),
                ("Back", "<Alt>Left"),
            ],
        ),
        (
            "Looking",
            &[
                ("Search", "<Ctrl>F"),
                ("Time range", "<Ctrl>T"),
                ("Clear filters", "<Ctrl><Shift>F"),
                ("Refresh", "F5"),
                ("Export what is shown", "<Ctrl>S"),
                ("Settings", "<Ctrl>comma"),
                ("Close", "<Ctrl>W"),
            ],
        ),
        (
            "Chart",
            &[
                ("Move the cursor", "Left Right"),
                ("Select a time", "<Shift>Left <Shift>Right"),
                ("Look closer", "Return"),
                ("Back", "Escape"),
            ],
        ),
    ];
    for (title, keys) in groups {
        let group = gtk4::ShortcutsGroup::builder().title(title).build();
        for (title, keys) in keys {
            group.append(&gtk4::ShortcutsShortcut::builder().title(*title).accelerator(*keys).build());
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
        .comments("Tells you when a program uses the network for the first time or its file changes, and keeps a history of who talked to whom. It watches; it never blocks.")
        .license_type(gtk4::License::Gpl30)
        .build();
    about.present();
}

/// Asks where to, and lets the monitor write there.
pub fn export(parent: &impl IsA<gtk4::Window>, client: Client, what: What, query: Query, sender: &Sender) {
    let dialog = gtk4::FileChooserNative::builder()
        .title("Export What Is Shown")
        .transient_for(parent)
        .action(gtk4::FileChooserAction::Save)
        .accept_label("Export")
        .modal(true)
        .build();
    dialog.set_current_name(&format!("picosnitch-{}.csv", what.word()));
    for (name, pattern) in [("CSV", "*.csv"), ("JSON lines", "*.jsonl")] {
        let filter = gtk4::FileFilter::new();
        filter.set_name(Some(name));
        filter.add_pattern(pattern);
        dialog.add_filter(&filter);
    }
    let (sender, held) = (sender.clone(), std::cell::RefCell::new(Some(dialog.clone())));
    dialog.connect_response(move |dialog, response| {
        // The dialog lives until it is answered.
        held.take();
        let Some(path) = dialog.file().and_then(|file| file.path()) else { return };
        if response != gtk4::ResponseType::Accept {
            return;
        }
        let json = dialog.filter().and_then(|filter| filter.name()).is_some_and(|name| name == "JSON lines");
        let json = json || path.extension().is_some_and(|extension| extension == "jsonl");
        let path = if json { path.with_extension("jsonl") } else { path };
        let (client, query, sender) = (client.clone(), query.clone(), sender.clone());
        relm4::spawn(async move {
            let format = if json { Format::JsonLines } else { Format::Csv };
            let note = match write(&client, what, format, &query, &path).await {
                Ok(()) => format!("Exported to {}", glib::filename_display_name(&path)),
                Err(why) => why,
            };
            sender.emit(Msg::Note(note));
        });
    });
    dialog.show();
}

async fn write(
    client: &Client,
    what: What,
    format: Format,
    query: &Query,
    path: &std::path::Path,
) -> Result<(), String> {
    let file = std::fs::File::create(path).map_err(|error| format!("Cannot write it: {error}"))?;
    client.export(what, format, query, &file).await.map_err(|error: Error| Failure::from(error).why)
}
