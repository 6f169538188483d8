// SPDX-License-Identifier: GPL-3.0-or-later
//! What is this person's own: units, and the programs that they muted.

use std::cell::Cell;
use std::rc::Rc;

use gtk4::prelude::*;
use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::tongue::{say, tr};
use picosnitch_api::{Quiet, inert};

use crate::format::Units;
use crate::msg::{Msg, Sender};
use crate::prefs::Prefs;

/// The page of it.
pub fn personal(sender: &Sender, units: &Rc<Cell<Units>>) -> adw::PreferencesPage {
    let page = adw::PreferencesPage::builder().title(tr("You")).icon_name("avatar-default-symbolic").build();
    let look = adw::PreferencesGroup::builder().title(tr("Display")).build();
    let choice = adw::ComboRow::builder()
        .title(tr("Units of sizes"))
        .model(&gtk4::StringList::new(&["KiB, MiB (1024)", "kB, MB (1000)"]))
        .build();
    choice.set_selected(if units.get() == Units::Si { 1 } else { 0 });
    let (set, emit) = (units.clone(), sender.clone());
    choice.connect_selected_notify(move |choice| {
        set.set(if choice.selected() == 1 { Units::Si } else { Units::Iec });
        Prefs { units: set.get(), ..Prefs::load() }.save();
        emit.emit(Msg::Preferences);
    });
    look.add(&choice);
    page.add(&look);
    let file = Quiet::file();
    let quiet = file.as_deref().map(Quiet::load).and_then(Result::ok).unwrap_or_default();
    for (title, text, programs, muted) in [
        (tr("Muted programs"), tr("They are recorded, but no notification is shown."), quiet.muted, true),
        (
            tr("Programs that update themselves"),
            tr("Their changes show no notification."),
            quiet.expected,
            false,
        ),
    ] {
        let group = adw::PreferencesGroup::builder().title(title).description(text).build();
        if programs.is_empty() {
            group.add(&adw::ActionRow::builder().title(tr("None")).sensitive(false).build());
        }
        for program in programs {
            let row = adw::ActionRow::builder().use_markup(false).build();
            let path = inert(&program.path);
            row.set_title(&if program.foreign {
                say("{program} (in a container)", &[("program", &path)])
            } else {
                path.into_owned()
            });
            let remove = gtk4::Button::builder()
                .icon_name("user-trash-symbolic")
                .tooltip_text(tr("Tell me about it again"))
                .valign(gtk4::Align::Center)
                .css_classes(["flat"])
                .build();
            crate::speak::label(&remove, tr("Tell me about it again"));
            let (group_of, row_of, file, sender) =
                (group.downgrade(), row.downgrade(), file.clone(), sender.clone());
            remove.connect_clicked(move |_| {
                let Some(file) = &file else { return };
                let changed = Quiet::change(file, |quiet| {
                    if muted {
                        quiet.muted.remove(&program)
                    } else {
                        quiet.expected.remove(&program)
                    };
                });
                match (changed, group_of.upgrade(), row_of.upgrade()) {
                    (Ok(()), Some(group), Some(row)) => group.remove(&row),
                    (Err(error), ..) => {
                        sender.emit(Msg::Note(say("Cannot save it: {error}", &[("error", &error)])))
                    }
                    _ => {}
                }
            });
            row.add_suffix(&remove);
            group.add(&row);
        }
        page.add(&group);
    }
    page
}
